//! Conversations as JSON: `{"messages":[{"role","content"}…]}`, as clients of chat servers write them, in a content or an input.

use serde_json::Value;

use super::input::says_something;
use crate::domain::message::Role;

/// The most messages that are read.
pub(super) const MAX_MESSAGES: usize = 128;

/// Fields beside the messages that are parameters of the request.
const PARAMS: [&str; 8] = [
    "model",
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "frequency_penalty",
    "seed",
    "stream",
];

/// A conversation as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Talk {
    /// Who says what.
    pub messages: Vec<(Role, String)>,
    /// Is there a role or a part that is not served: a tool, an image?
    pub unsupported: bool,
    /// Messages that were not read.
    pub left_out: usize,
    /// What stands beside them, as `param` tags.
    pub params: Vec<Vec<String>>,
}

/// The conversation in a text; none where it is another text.
pub(super) fn read(text: &str) -> Option<Talk> {
    let text = text.trim_start();
    if !text.starts_with(['{', '[']) {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    of(&value)
}

/// The conversation in an object with `messages`, or in a bare list of them.
pub(super) fn of(value: &Value) -> Option<Talk> {
    let messages = value.get("messages").unwrap_or(value).as_array()?;
    let is_message = |one: &Value| one["role"].is_string() && one.get("content").is_some();
    if messages.is_empty() || !messages.iter().all(is_message) {
        return None;
    }
    let mut talk = Talk {
        left_out: messages.len().saturating_sub(MAX_MESSAGES),
        params: params(value),
        ..Talk::default()
    };
    for one in messages.iter().take(MAX_MESSAGES) {
        let role = one["role"].as_str().and_then(Role::parse);
        match (role, content(&one["content"])) {
            (Some(role), Some(text)) if says_something(&text) => talk.messages.push((role, text)),
            // An empty message says nothing, whoever says it.
            (Some(_), Some(_)) => {}
            _ => talk.unsupported = true,
        }
    }
    Some(talk)
}

/// Text, or a list of parts that are all text; none where one is not.
fn content(content: &Value) -> Option<String> {
    match content {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts
            .iter()
            .map(part)
            .collect::<Option<Vec<_>>>()
            .map(|all| all.concat()),
        _ => None,
    }
}

fn part(part: &Value) -> Option<&str> {
    let is_text = match part["type"].as_str() {
        None => true,
        Some(kind) => matches!(kind, "text" | "input_text" | "output_text"),
    };
    let text = part.as_str().or_else(|| part["text"].as_str());
    text.filter(|_| is_text)
}

fn params(value: &Value) -> Vec<Vec<String>> {
    let param = |name: &str| {
        let text = match &value[name] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => return None,
        };
        Some(vec!["param".to_owned(), name.to_owned(), text])
    };
    PARAMS.into_iter().filter_map(param).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<String> {
        let talk = read(text)?;
        let lines = talk.messages.iter();
        let lines = lines.map(|(role, text)| format!("{}: {text}", role.as_str()));
        let mut lines: Vec<String> = lines.collect();
        if talk.unsupported {
            lines.push("unsupported".to_owned());
        }
        Some(lines.join("|"))
    }

    #[test]
    fn messages_are_read_in_every_form() {
        for (text, expected) in [
            (
                r#"{"messages":[{"role":"developer","content":"a"},{"role":"User","content":"b"}]}"#,
                "system: a|user: b",
            ),
            (
                r#" [{"role":"user","content":[{"type":"text","text":"a"},{"text":"b"},"c"]}]"#,
                "user: abc",
            ),
            (
                r#"{"messages":[{"role":"assistant","content":null},{"role":"user","content":"b","name":"x"}]}"#,
                "user: b",
            ),
            (
                r#"{"messages":[{"role":"tool","content":"a"}]}"#,
                "unsupported",
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}"#,
                "unsupported",
            ),
            (
                r#"{"messages":[{"role":"user","content":7}]}"#,
                "unsupported",
            ),
        ] {
            assert_eq!(said(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_json_is_another_text() {
        for text in [
            "hi",
            "{",
            "[1, 2]",
            "{}",
            r#"{"messages":[]}"#,
            r#"{"messages":"hi"}"#,
            r#"[["i","x"]]"#,
            r#"[{"role":"x"}]"#,
        ] {
            assert_eq!(said(text), None, "{text}");
        }
    }

    #[test]
    fn what_stands_beside_the_messages_is_a_parameter() {
        let talk = read(
            r#"{"messages":[{"role":"user","content":"a"}],"max_tokens":7,"stream":true,"tools":[]}"#,
        );
        let params = talk.unwrap().params;
        assert_eq!(
            params,
            [["param", "max_tokens", "7"], ["param", "stream", "true"]]
        );
    }

    #[test]
    fn endless_conversations_are_bounded() {
        let one = r#"{"role":"user","content":"a"}"#;
        let all = vec![one; MAX_MESSAGES + 3].join(",");
        let talk = read(&format!("[{all}]")).unwrap();
        assert_eq!((talk.messages.len(), talk.left_out), (MAX_MESSAGES, 3));
    }
}
