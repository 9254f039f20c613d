//! What a request asks to be answered: its `i` tags, or its content.

use nostr::EventId;

use super::tags::{self, Gathered};
use super::talk::{self, MAX_MESSAGES, Talk};
use super::{Part, named_relay, sealed};
use crate::domain::message::Role;
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

/// Words that only say where the text is.
const PLACES: [&str; 4] = ["text", "prompt", "encrypted", "content"];

/// Roles of conversations that are not served.
const OTHER_ROLES: [&str; 4] = ["tool", "function", "ipython", "observation"];

/// The inputs of a request.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// What can be answered, in order.
    pub parts: Vec<Part>,
    /// Who says each of the parts; none: they are one text of the buyer's.
    pub roles: Option<Vec<Role>>,
    /// Is there one that is neither text nor a thing on a relay?
    pub unsupported: bool,
    /// Is there ciphertext where words should be?
    pub sealed: bool,
    /// Is there a url to fetch?
    pub has_url: bool,
    /// Inputs that were not read.
    pub left_out: usize,
    /// Parameters that came with a conversation.
    pub params: Vec<Vec<String>>,
}

impl Inputs {
    /// From the `i` tags; from the content only where none of them holds anything and it is not a caption. An `i` that only
    /// names the place of the text is nothing beside a content that says something.
    pub fn read(gathered: &Gathered, content: &str) -> Self {
        let mut inputs = Self {
            left_out: gathered.inputs_left_out,
            ..Self::default()
        };
        let speaks = says_something(content) && !is_caption(content);
        let all: Vec<&[String]> = gathered
            .named("i")
            .filter(|tag| says_something(data(tag)) && !(speaks && is_place(tag)))
            .collect();
        if all.iter().any(|tag| role(tag).is_some()) {
            inputs.take_turns(&all);
        } else {
            for tag in all {
                inputs.add(tag);
            }
        }
        if inputs.is_empty() && speaks {
            inputs.parts.push(Part::Text(content.to_owned()));
        }
        let talk = match inputs.parts.as_slice() {
            [Part::Text(text)] => talk::read(text),
            _ => None,
        };
        if let Some(talk) = talk {
            inputs.take_talk(talk);
        }
        inputs.sealed = inputs.parts.iter().any(|part| match part {
            Part::Text(text) => sealed::scheme(text).is_some(),
            Part::Event { .. } => false,
        });
        inputs
    }

    /// Is there nothing to answer, and nothing that was meant to be?
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && !self.unsupported
    }

    /// A conversation in JSON.
    fn take_talk(&mut self, talk: Talk) {
        let (roles, texts): (Vec<_>, Vec<_>) = talk.messages.into_iter().unzip();
        self.parts = texts.into_iter().map(Part::Text).collect();
        self.roles = Some(roles);
        self.unsupported |= talk.unsupported;
        self.left_out += talk.left_out;
        self.params = talk.params;
    }

    /// A conversation in `i` tags: the fifth element says who speaks; where it says nothing, the buyer does.
    fn take_turns(&mut self, all: &[&[String]]) {
        let mut roles = Vec::new();
        for tag in all {
            if self.parts.len() == MAX_MESSAGES {
                self.left_out += 1;
                continue;
            }
            let role = match tags::at(tag, 4) {
                "" => Some(Role::User),
                _ => role(tag),
            };
            match (role, part(tag, data(tag))) {
                (Some(role), Some(part @ Part::Text(_))) => {
                    roles.push(role);
                    self.parts.push(part);
                }
                _ => self.unsupported = true,
            }
        }
        self.roles = Some(roles);
    }

    fn add(&mut self, tag: &[String]) {
        let data = data(tag);
        if self.parts.len() == MAX_INPUTS {
            self.left_out += 1;
            return;
        }
        let other = OTHER_ROLES.contains(&tags::at(tag, 4).to_ascii_lowercase().as_str());
        match part(tag, data) {
            Some(part) if !other => self.parts.push(part),
            _ => self.unsupported = true,
        }
        self.has_url |= tags::at(tag, 2).eq_ignore_ascii_case("url");
    }
}

fn data(tag: &[String]) -> &str {
    tag.get(1).map_or("", String::as_str)
}

fn role(tag: &[String]) -> Option<Role> {
    Role::parse(tags::at(tag, 4))
}

/// Does an `i` tag say something of its own?
pub(super) fn is_said(tag: &[String]) -> bool {
    says_something(data(tag)) && !is_place(tag)
}

/// Does the input only say where the text is?
fn is_place(tag: &[String]) -> bool {
    let word = tags::value(tag).to_ascii_lowercase();
    PLACES.contains(&word.as_str())
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
