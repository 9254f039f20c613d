//! Fields of a request that a server refuses by name. They are left out from then on, or renamed, for the model that was
//! asked: one model of a gateway may take what another does not.

use std::collections::HashMap;

use serde_json::Value;

use super::trouble::{is_too_long, words};
use crate::domain::model_name::canonical;

/// Without these it would be another request.
const KEPT: [&str; 7] = [
    "model",
    "messages",
    "stream",
    "options",
    "truncate",
    "shift",
    "keep_alive",
];
/// Of several that a refusal names, the one that matters least goes first; what is not in the list goes before all.
const LAST: [&str; 6] = [
    "stream_options",
    "seed",
    "top_k",
    "frequency_penalty",
    "top_p",
    "temperature",
];
/// The old and the new name of the token limit. A request never goes out without one.
const OLD_LIMIT: &str = "max_tokens";
const NEW_LIMIT: &str = "max_completion_tokens";
/// Ollama's options that every job has alike, or that bound the answer.
const OPTIONS_KEPT: [&str; 2] = ["num_ctx", "num_predict"];

/// What was learned, by model.
#[derive(Debug, Default)]
pub struct Learned {
    models: HashMap<String, Changes>,
}

#[derive(Clone, Debug, Default)]
struct Changes {
    left_out: Vec<String>,
    new_limit: bool,
}

impl Learned {
    /// The request as this model's server takes it.
    pub fn apply(&self, model: &str, body: &mut Value) {
        let Some(changes) = self.models.get(&canonical(model)) else {
            return;
        };
        for part in ["", "/options"] {
            let fields = body.pointer_mut(part).and_then(Value::as_object_mut);
            if let Some(fields) = fields {
                fields.retain(|name, _| !changes.left_out.contains(name));
            }
        }
        if changes.new_limit
            && let Some(fields) = body.as_object_mut()
            && let Some(limit) = fields.remove(OLD_LIMIT)
        {
            fields.insert(NEW_LIMIT.to_owned(), limit);
        }
    }

    /// Learns from a refusal of `sent`; false where there is nothing to learn from it.
    pub fn learn(&mut self, model: &str, status: u16, refusal: &str, sent: &Value) -> bool {
        if !matches!(status, 400 | 404 | 422 | 501) || is_too_long(refusal) {
            return false;
        }
        let param = serde_json::from_str::<Value>(refusal).ok();
        let param = param.as_ref().and_then(param_of).map(last_step);
        let said = words(refusal);
        // A server that has no such model may name it in words that are fields too.
        if status == 404 && param.is_none() {
            return false;
        }
        let names =
            |name: &str| param == Some(name) || (param.is_none() && has_word(refusal, name));
        let changes = self.models.entry(canonical(model)).or_default();
        let limit = names(OLD_LIMIT) || has_word(&said, OLD_LIMIT);
        if limit && sent.get(OLD_LIMIT).is_some() && has_word(refusal, NEW_LIMIT) {
            changes.new_limit = true;
            return true;
        }
        let mut fields = sent_fields(sent);
        fields.sort_by_key(|name| LAST.iter().position(|last| last == name));
        let Some(field) = fields.into_iter().find(|name| names(name)) else {
            return false;
        };
        changes.left_out.push(field.to_owned());
        true
    }
}

/// The fields that may be left out.
fn sent_fields(sent: &Value) -> Vec<&str> {
    let top = sent.as_object().into_iter().flatten();
    let top = top.map(|(name, _)| name.as_str());
    let top = top.filter(|name| !KEPT.contains(name) && *name != OLD_LIMIT && *name != NEW_LIMIT);
    let options = sent["options"].as_object().into_iter().flatten();
    let options = options.map(|(name, _)| name.as_str());
    top.chain(options.filter(|name| !OPTIONS_KEPT.contains(name)))
        .collect()
}

/// The field that a refusal names in a place of its own.
fn param_of(refusal: &Value) -> Option<&str> {
    let error = &refusal["error"];
    [
        &error["param"],
        &refusal["param"],
        &error["details"]["param"],
    ]
    .into_iter()
    .find_map(Value::as_str)
    .filter(|param| !param.is_empty())
}

/// `body.top_k` and `/top_k` mean `top_k`.
fn last_step(param: &str) -> &str {
    param.rsplit(['.', '/']).next().unwrap_or(param)
}

/// Does the text hold this name as a word of its own?
fn has_word(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + name.len()..].starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent() -> Value {
        json!({
            "model": "m", "messages": [], "stream": true, "max_tokens": 5, "temperature": 0.7, "top_p": 0.9,
            "top_k": 40, "frequency_penalty": 0.5, "stream_options": {}, "min_p": 0.1,
        })
    }

    /// What goes out after this refusal, however many times it is given.
    fn after(refusal: &str) -> Value {
        let mut learned = Learned::default();
        let mut body = sent();
        while learned.learn("m", 400, refusal, &body) {
            learned.apply("m", &mut body);
        }
        body
    }

    #[test]
    fn a_field_that_is_refused_by_name_is_left_out() {
        for (refusal, field) in [
            (
                r#"{"error":{"message":"no","param":"frequency_penalty"}}"#,
                "frequency_penalty",
            ),
            (
                r#"{"error":"Unknown field: stream_options"}"#,
                "stream_options",
            ),
            (
                r#"{"detail":[{"loc":["body","top_k"],"msg":"extra"}]}"#,
                "top_k",
            ),
            (r#"{"error":{"message":"x","param":"body.min_p"}}"#, "min_p"),
        ] {
            let body = after(refusal);
            assert_eq!(body.get(field), None, "{refusal}");
            assert_eq!(body["temperature"], 0.7, "{refusal}");
        }
    }

    #[test]
    fn the_token_limit_is_renamed_and_never_left_out() {
        let body = after(
            r#"{"error":{"message":"'max_tokens' is not supported. Use 'max_completion_tokens' instead.","param":"max_tokens"}}"#,
        );
        assert_eq!(
            (body.get("max_tokens"), &body["max_completion_tokens"]),
            (None, &json!(5))
        );
        assert_eq!(after(r#"{"error":"max_tokens is too large"}"#), sent());
    }

    #[test]
    fn of_two_that_exclude_each_other_the_lesser_goes_first() {
        let mut learned = Learned::default();
        let refusal = "`temperature` and `top_p` cannot both be specified";
        assert!(learned.learn("m", 400, refusal, &sent()));
        let mut body = sent();
        learned.apply("m", &mut body);
        assert_eq!(
            (body.get("top_p"), &body["temperature"]),
            (None, &json!(0.7))
        );
        let mut other = sent();
        learned.apply("other", &mut other);
        assert_eq!(other, sent());
    }

    #[test]
    fn a_prompt_that_is_too_long_or_a_word_in_passing_teaches_nothing() {
        for refusal in [
            r#"{"error":"maximum context length is 4096; reduce max_tokens or max_completion_tokens"}"#,
            r#"{"error":"stopped: the models are busy"}"#,
            "",
        ] {
            assert_eq!(after(refusal), sent(), "{refusal}");
        }
    }
}
