//! Ciphertext: how it looks, and what buyers put inside it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::talk;
use crate::domain::job::Encryption;

/// The shortest NIP-44 payload, characters.
const SHORTEST: usize = 132;
/// The version byte of NIP-44 v2.
const VERSION: u8 = 2;

/// The scheme of a text that looks like ciphertext; none where it does not.
pub(super) fn scheme(text: &str) -> Option<Encryption> {
    let text = text.trim();
    if let Some((body, iv)) = text.split_once("?iv=") {
        let sealed = |part: &str| !part.is_empty() && STANDARD.decode(part).is_ok();
        return (sealed(body) && sealed(iv) && iv.len() == 24).then_some(Encryption::Nip04);
    }
    let shaped = text.len() >= SHORTEST && text.len().is_multiple_of(4) && text.starts_with('A');
    // Only its beginning is decoded: it may be long, and one blank in it settles the matter.
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    let first = || STANDARD.decode(&text[..4]).ok()?.first().copied();
    (shaped && plain && first() == Some(VERSION)).then_some(Encryption::Nip44)
}

/// What was inside.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// Text, a list of tags, or messages: read as a content in clear is.
    Text(String),
    /// An event, or what stands for one: its content and its tags.
    Event(String, Vec<Vec<String>>),
    /// An object that says nothing we know.
    Unknown,
}

/// Reads what was inside. An object is never taken for the words of a buyer.
pub(super) fn inside(text: String) -> Inside {
    if !text.trim_start().starts_with('{') {
        return Inside::Text(text);
    }
    let Ok(value) = serde_json::from_str::<Value>(&text) else {
        return Inside::Text(text);
    };
    if talk::of(&value).is_some() {
        return Inside::Text(text);
    }
    let tags = tags(&value);
    let mut words = ["content", "prompt", "input", "text"].into_iter();
    let words = words.find_map(|name| value[name].as_str());
    match words {
        None if tags.is_empty() => Inside::Unknown,
        words => Inside::Event(words.unwrap_or_default().to_owned(), tags),
    }
}

/// The tags of an event, and fields that are parameters.
fn tags(value: &Value) -> Vec<Vec<String>> {
    let rows = value["tags"].as_array().into_iter().flatten();
    let row = |row: &Value| {
        let texts = row.as_array()?.iter();
        texts
            .map(|text| text.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
    };
    rows.filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphertext_is_known_by_its_look() {
        let nip44 = STANDARD.encode([vec![2], vec![7; 98]].concat());
        assert_eq!(scheme(&nip44), Some(Encryption::Nip44));
        let nip04 = format!(
            "{}?iv={}",
            STANDARD.encode([7; 32]),
            STANDARD.encode([9; 16])
        );
        assert_eq!(scheme(&format!(" {nip04}\n")), Some(Encryption::Nip04));
        for text in [
            "",
            "hi",
            "What is a?iv=b in a url?",
            &"A".repeat(132),
            &nip44[..128],
        ] {
            assert_eq!(scheme(text), None, "{text}");
        }
        assert_eq!(scheme(&nip44.replacen("BwcH", "Bw H", 1)), None);
    }

    #[test]
    fn an_object_inside_is_read_or_refused_and_never_a_prompt() {
        let text = |text: &str| Inside::Text(text.to_owned());
        let event = |content: &str, tags: &[&[&str]]| {
            let tags = tags
                .iter()
                .map(|tag| tag.iter().map(|&word| word.to_owned()).collect());
            Inside::Event(content.to_owned(), tags.collect())
        };
        for (inner, expected) in [
            ("hi", text("hi")),
            (r#"[["i","x"]]"#, text(r#"[["i","x"]]"#)),
            ("{ not json", text("{ not json")),
            (
                r#"{"kind":5050,"tags":[["i","x","text"]],"content":""}"#,
                event("", &[&["i", "x", "text"]]),
            ),
            (r#"{"prompt":"hi"}"#, event("hi", &[])),
            (r#"{"a":1}"#, Inside::Unknown),
        ] {
            assert_eq!(inside(inner.to_owned()), expected, "{inner}");
        }
    }
}
