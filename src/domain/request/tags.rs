//! Tags as lists of strings. The typed tags of the `nostr` crate refuse more than a tolerant reader may.

use std::borrow::Cow;

use nostr::{Event, Tag, TagKind};
use serde_json::Value;

/// Tags of a request that are read; what comes after is passed over.
const MAX_TAGS: usize = 64;

/// The names that mean something to a request.
const KNOWN: [&str; 6] = ["i", "param", "bid", "output", "relays", "expiration"];

/// A tag of our own.
pub(crate) fn make<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Tag {
    Tag::custom(TagKind::Custom(Cow::Owned(name.to_owned())), values)
}

/// All tags of an event.
pub(crate) fn of(event: &Event) -> impl Iterator<Item = &[String]> {
    event.tags.iter().map(Tag::as_slice)
}

/// A tag's name, or nothing.
pub(crate) fn name(tag: &[String]) -> &str {
    tag.first().map_or("", String::as_str)
}

/// A tag's first value without white space around it, or nothing.
pub(crate) fn value(tag: &[String]) -> &str {
    at(tag, 1)
}

/// A tag's element without white space around it, or nothing. The name is element 0.
pub(crate) fn at(tag: &[String], index: usize) -> &str {
    tag.get(index).map_or("", |text| text.trim())
}

/// The tags that some apps put into the content, and all do when they encrypt it: a JSON array of arrays of strings.
///
/// Numbers and the like are taken for their text where a tag we know is among them: `["param","top_k",40]`.
pub(super) fn in_content(content: &str) -> Option<Vec<Vec<String>>> {
    if !content.trim_start().starts_with('[') {
        return None;
    }
    let rows: Vec<Vec<Value>> = serde_json::from_str(content).ok()?;
    let strict = rows.iter().flatten().all(Value::is_string);
    let known = rows.iter().any(|row| {
        row.first()
            .and_then(Value::as_str)
            .is_some_and(|name| KNOWN.contains(&name))
    });
    if !strict && !known {
        return None;
    }
    Some(
        rows.into_iter()
            .map(|row| row.into_iter().map(plain).collect())
            .collect(),
    )
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The tags that are read, from inside the content first.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    /// At most [`MAX_TAGS`], all with a known name.
    pub tags: Vec<&'a [String]>,
    /// Inputs that did not fit.
    pub inputs_left_out: usize,
}

impl<'a> Gathered<'a> {
    /// From the event and what its content holds. Inputs inside the content stand for those outside.
    pub fn new(event: &'a Event, inner: &'a [Vec<String>]) -> Self {
        let inside = inner.iter().any(|tag| name(tag) == "i");
        let outer = of(event).filter(|tag| !(inside && name(tag) == "i"));
        let (mut tags, mut inputs_left_out) = (Vec::new(), 0);
        for tag in inner.iter().map(Vec::as_slice).chain(outer) {
            if !KNOWN.contains(&name(tag)) {
                continue;
            }
            if tags.len() < MAX_TAGS {
                tags.push(tag);
            } else if name(tag) == "i" {
                inputs_left_out += 1;
            }
        }
        Self {
            tags,
            inputs_left_out,
        }
    }

    /// All of one name, in order.
    pub fn named(&self, wanted: &'static str) -> impl Iterator<Item = &'a [String]> {
        self.tags
            .iter()
            .copied()
            .filter(move |tag| name(tag) == wanted)
    }
}
