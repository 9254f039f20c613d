//! What a request asks to be answered: its `i` tags, or its content.

use nostr::EventId;

use super::tags::{self, Gathered};
use super::{Part, named_relay};
use crate::domain::text::is_hostile;

/// Inputs of a request that are read.
const MAX_INPUTS: usize = 8;

/// Contents that name the event instead of asking something; letters and digits only, in lower case.
const CAPTIONS: [&str; 14] = [
    "nip90textgenerationrequest",
    "nip90textgenerationjobrequest",
    "nip90textgeneration",
    "nip90imagegenerationrequest",
    "nip90jobrequest",
    "nip90request",
    "nip90",
    "textgenerationrequest",
    "textgenerationjobrequest",
    "textgeneration",
    "imagegenerationrequest",
    "jobrequest",
    "dvmjobrequest",
    "dvmrequest",
];

/// The inputs of a request.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// What can be answered, in order.
    pub parts: Vec<Part>,
    /// Is there one that is neither text nor a thing on a relay?
    pub unsupported: bool,
    /// Is there a url to fetch?
    pub has_url: bool,
    /// Inputs that were not read.
    pub left_out: usize,
}

impl Inputs {
    /// From the `i` tags; from the content only where none of them holds anything and it is not a caption.
    pub fn read(gathered: &Gathered, content: &str) -> Self {
        let mut inputs = Self {
            left_out: gathered.inputs_left_out,
            ..Self::default()
        };
        for tag in gathered.named("i") {
            inputs.add(tag);
        }
        if inputs.is_empty() && says_something(content) && !is_caption(content) {
            inputs.parts.push(Part::Text(content.to_owned()));
        }
        inputs
    }

    /// Is there nothing to answer, and nothing that was meant to be?
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && !self.unsupported
    }

    fn add(&mut self, tag: &[String]) {
        let data = tag.get(1).map_or("", String::as_str);
        if !says_something(data) {
            return;
        }
        if self.parts.len() == MAX_INPUTS {
            self.left_out += 1;
            return;
        }
        match part(tag, data) {
            Some(part) => self.parts.push(part),
            None => self.unsupported = true,
        }
        self.has_url |= tags::at(tag, 2).eq_ignore_ascii_case("url");
    }
}

/// One `i` tag: `["i", data, type, relay?, marker?]` (NIP-90).
fn part(tag: &[String], data: &str) -> Option<Part> {
    let kind = tags::at(tag, 2).to_ascii_lowercase();
    match kind.as_str() {
        "" | "text" | "prompt" => Some(Part::Text(data.to_owned())),
        "event" | "job" => Some(Part::Event {
            id: EventId::parse(data.trim()).ok()?,
            relay: named_relay(tags::at(tag, 3)),
            job: kind == "job",
        }),
        _ => None,
    }
}

/// Is there anything in it that a person could see?
pub(super) fn says_something(text: &str) -> bool {
    text.chars().any(|c| !c.is_whitespace() && !is_hostile(c))
}

fn is_caption(content: &str) -> bool {
    const LONGEST: usize = 80;
    if content.len() > LONGEST {
        return false;
    }
    let letters: String = content
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    CAPTIONS.contains(&letters.as_str())
}
