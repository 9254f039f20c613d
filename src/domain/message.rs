//! A conversation: what a model is asked, as chat messages with their roles.
//!
//! A job keeps it as one text: the buyer's own words where there is but one user message, else the JSON in which buyers
//! send a conversation too, `{"messages":[{"role","content"}…]}`.

use serde::{Deserialize, Serialize};

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that stand above the conversation.
    System,
    /// The buyer.
    User,
    /// The model, in an earlier answer.
    Assistant,
}

impl Role {
    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    /// The role of this name, in any case; `developer` is the newer name of `system`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "system" | "developer" => Some(Self::System),
            "user" => Some(Self::User),
            "assistant" => Some(Self::Assistant),
            _ => None,
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// What the buyer says.
    #[must_use]
    pub fn user(content: impl Into<String>) -> Self {
        Self {
            role: Role::User,
            content: content.into(),
        }
    }
}

/// What the model is told: the seller's own words, where there are any, before what was asked.
#[must_use]
pub fn under(system: &str, asked: Vec<Message>) -> Vec<Message> {
    let ours = (!system.trim().is_empty()).then(|| Message {
        role: Role::System,
        content: system.to_owned(),
    });
    ours.into_iter().chain(asked).collect()
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    messages: Vec<Message>,
}

/// The one text under which a conversation is kept; [`from_text`] gives it back exactly.
#[must_use]
pub fn to_text(messages: Vec<Message>) -> String {
    if let [one] = messages.as_slice()
        && one.role == Role::User
        && kept(&one.content).is_none()
    {
        return one.content.clone();
    }
    // Strings and unit variants alone: it can't fail.
    serde_json::to_string(&Kept { messages }).unwrap_or_default()
}

/// The conversation of a text.
#[must_use]
pub fn from_text(text: &str) -> Vec<Message> {
    kept(text).unwrap_or_else(|| vec![Message::user(text)])
}

fn kept(text: &str) -> Option<Vec<Message>> {
    if !text.starts_with("{\"messages\":") {
        return None;
    }
    let kept: Kept = serde_json::from_str(text).ok()?;
    (!kept.messages.is_empty()).then_some(kept.messages)
}

/// All that is said, one message after the other: what a model reads, without its template.
#[must_use]
pub fn spoken(messages: &[Message]) -> String {
    let texts: Vec<&str> = messages.iter().map(|one| one.content.as_str()).collect();
    texts.join("\n\n")
}

/// As many bytes as what a model reads can have, counting what a template adds to each message beyond the first.
#[must_use]
pub fn most_bytes(messages: &[Message]) -> usize {
    const TEMPLATE: usize = 8;
    spoken(messages).len() + TEMPLATE * messages.len().saturating_sub(1)
}

/// The tokens that a model is likely to read at the most. No two models count alike, and none can be asked before: three
/// letters are taken for a token, a digit or a sign for one, and two bytes of other scripts.
#[must_use]
pub fn likely_tokens(messages: &[Message]) -> u32 {
    /// What a template adds to a conversation, and to each message of it.
    const TEMPLATE: usize = 24;
    const EACH: usize = 8;
    let (mut letters, mut signs, mut others) = (0_usize, 0_usize, 0_usize);
    for c in messages.iter().flat_map(|one| one.content.chars()) {
        match c {
            ' ' | 'a'..='z' | 'A'..='Z' => letters += 1,
            c if c.is_ascii() => signs += 1,
            c => others += c.len_utf8(),
        }
    }
    let said = letters.div_ceil(3) + signs + others.div_ceil(2);
    let tokens = said + TEMPLATE + EACH * messages.len().saturating_sub(1);
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_user_message_is_kept_as_its_own_words() {
        assert_eq!(to_text(vec![Message::user("Hi.")]), "Hi.");
        assert_eq!(from_text("Hi."), [Message::user("Hi.")]);
    }

    #[test]
    fn a_likely_count_is_near_what_models_count_and_within_the_bound() {
        let cases = [
            ("What is Nostr?", 24 + 5 + 1),
            ("2026-11-30", 24 + 10),
            ("Привет", 24 + 6),
            ("你好", 24 + 3),
        ];
        for (text, tokens) in cases {
            let talk = [Message::user(text)];
            assert_eq!(likely_tokens(&talk), tokens, "{text}");
            let most = crate::domain::price::most_input_tokens(most_bytes(&talk));
            assert!(tokens <= most);
        }
    }

    #[test]
    fn developer_is_system_and_other_roles_are_none() {
        assert_eq!(Role::parse(" Developer"), Some(Role::System));
        assert_eq!(Role::parse("tool"), None);
    }

    proptest! {
        #[test]
        fn a_conversation_comes_back_as_it_was_kept(
            talk in prop::collection::vec(
                (
                    prop::sample::select(vec![Role::System, Role::User, Role::Assistant]),
                    prop::sample::select(vec![
                        "", "Hi", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "{\"messages\":[]}", "é\n\"",
                    ]),
                ),
                1..5,
            ),
        ) {
            let talk: Vec<Message> = talk
                .into_iter()
                .map(|(role, content)| Message { role, content: content.to_owned() })
                .collect();
            prop_assert_eq!(from_text(&to_text(talk.clone())), talk);
        }
    }
}
