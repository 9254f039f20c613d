//! What goes wrong at a server, and what that means for a job. The status decides first, the server's words second.

use serde_json::Value;

use super::InferenceError;
use crate::domain::text::clean;

/// As much of a server's words as is shown, characters.
pub const MAX_WORDS: usize = 200;
/// What a seller does whose account is empty.
pub const SPENT: &str = "add credit to the account there, or raise its budget";
/// The longest name of a model, characters.
pub const MAX_NAME: usize = 200;

/// Why a server gave nothing of use. Not yet cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection.
    Unreachable(String),
    /// An HTTP status that is no success, with the beginning of its body.
    Status(u16, String),
    /// The connection broke, or the body is not what it should be.
    Broken(String),
    /// No answer in time.
    Slow,
}

/// What a status before the stream means. The status decides first, the words second. `fix` is for a model that is missing.
#[must_use]
pub fn refusal(
    endpoint: String,
    model: &str,
    status: u16,
    body: &str,
    fix: String,
) -> InferenceError {
    let mut detail = format!("HTTP {status}: {}", words(body));
    if status == 403 && body.is_empty() {
        // What Ollama on loopback says to a proxy that passes the outer Host header on.
        detail.push_str(" (behind a proxy, set the Host header to localhost)");
    }
    let model = clean(model, MAX_NAME);
    match status {
        400 | 413 | 422 if is_too_long(body) => InferenceError::TooLong { endpoint, model },
        400 | 403 if is_policy(body) => InferenceError::Rejected { endpoint, detail },
        402 => spent(endpoint, detail),
        400..=498 if is_spent(body) => spent(endpoint, detail),
        401 | 403 => InferenceError::Unauthorized { endpoint, detail },
        404 if is_no_api(body) => InferenceError::Protocol { endpoint, detail },
        404 => InferenceError::ModelMissing {
            endpoint,
            model,
            fix,
        },
        429 | 503 => InferenceError::Busy { endpoint, detail },
        // 499: it cancelled the work itself.
        499..=599 => InferenceError::Died {
            endpoint,
            detail,
            started: false,
        },
        400..=498 => InferenceError::Rejected { endpoint, detail },
        _ => InferenceError::Protocol { endpoint, detail },
    }
}

fn spent(endpoint: String, detail: String) -> InferenceError {
    InferenceError::Refused {
        endpoint,
        detail,
        fix: SPENT,
    }
}

/// Does a refusal say that the seller's account there is empty?
#[must_use]
pub fn is_spent(body: &str) -> bool {
    const SIGNS: [&str; 17] = [
        "budget has been exceeded",
        "budget_exceeded",
        "exceeded budget",
        "budget exceeded",
        "insufficient_quota",
        "insufficient quota",
        "exceeded your current quota",
        "insufficient balance",
        "insufficient_balance",
        "insufficient credit",
        "insufficient funds",
        "credit balance",
        "credits are needed",
        "more credits",
        "out of credits",
        "billing",
        "arrearage",
    ];
    has_sign(body, &SIGNS)
}

/// Does a refusal mind what the buyer said, rather than how we asked?
#[must_use]
pub fn is_policy(body: &str) -> bool {
    const SIGNS: [&str; 9] = [
        "content_filter",
        "content management policy",
        "content_policy",
        "content policy",
        "moderation",
        "flagged",
        "invalid_prompt",
        "safety",
        "data_inspection",
    ];
    has_sign(body, &SIGNS)
}

fn has_sign(body: &str, signs: &[&str]) -> bool {
    let body = body.to_lowercase();
    signs.iter().any(|sign| body.contains(sign))
}

/// A 404 of a web server that has no such path at all, rather than of an inference server that lacks a model.
#[must_use]
pub fn is_no_api(body: &str) -> bool {
    let body = body.trim_start();
    body.is_empty()
        || body.starts_with("404 page")
        || body.to_ascii_lowercase().starts_with("not found")
        || body.starts_with("Cannot ")
        || body.starts_with('<')
        || body
            .replace(' ', "")
            .starts_with("{\"detail\":\"NotFound\"")
}

/// Does a refusal say that the prompt does not fit the context?
#[must_use]
pub fn is_too_long(body: &str) -> bool {
    const SIGNS: [&str; 7] = [
        "context length",
        "context size",
        "context window",
        "exceed_context_size",
        "context_length_exceeded",
        "max_model_len",
        "prompt is too long",
    ];
    has_sign(body, &SIGNS)
}

/// A server's own words about an error, in any of the usual forms (`{"error":"…"}`, `{"error":{"message":…}}`,
/// `{"detail":…}`, `{"message":…}`, plain text), cleaned.
#[must_use]
pub fn words(body: &str) -> String {
    let json = serde_json::from_str::<Value>(body).ok();
    let text = match &json {
        Some(value) => spoken(value).unwrap_or("an error without words").to_owned(),
        None if body.trim_start().starts_with('<') => "a web page".to_owned(),
        None => body.to_owned(),
    };
    let text = clean(&text, MAX_WORDS);
    if text.is_empty() {
        "no words".to_owned()
    } else {
        text
    }
}

fn spoken(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(items) => items.first().and_then(spoken),
        Value::Object(fields) => ["error", "message", "detail", "msg", "type"]
            .iter()
            .find_map(|name| fields.get(*name).and_then(spoken)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: u16, body: &str) -> InferenceError {
        refusal("local".into(), "m", status, body, String::new())
    }

    #[test]
    fn errors_are_read_in_every_form() {
        for body in [
            r#"{"error":"no"}"#,
            r#"{"error":{"message":"no","type":"x","code":401}}"#,
            r#"{"error":{"code":"x","message":"no"}}"#,
            r#"{"detail":"no"}"#,
            r#"{"detail":[{"loc":["a"],"msg":"no"}]}"#,
            r#"{"object":"error","message":"no"}"#,
            "no",
            " \u{1b}no\n",
        ] {
            assert_eq!(words(body), "no", "{body}");
        }
        assert_eq!(words("<html>"), "a web page");
        assert_eq!(words(""), "no words");
    }

    #[test]
    fn the_status_decides_what_a_refusal_means() {
        use InferenceError as E;
        assert!(matches!(meaning(400, "bad option"), E::Rejected { .. }));
        let long = r#"{"error":{"type":"exceed_context_size_error","message":"x"}}"#;
        assert!(matches!(meaning(400, long), E::TooLong { .. }));
        assert!(matches!(meaning(401, ""), E::Unauthorized { .. }));
        assert!(matches!(meaning(403, ""), E::Unauthorized { .. }));
        assert!(matches!(
            meaning(404, "model 'm' not found"),
            E::ModelMissing { .. }
        ));
        assert!(matches!(
            meaning(404, "404 page not found"),
            E::Protocol { .. }
        ));
        for (status, body) in [
            (402, "more credits are needed"),
            (402, ""),
            (400, "Budget has been exceeded"),
            (429, r#"{"error":{"code":"insufficient_quota"}}"#),
            (403, "Your credit balance is too low"),
        ] {
            assert!(matches!(meaning(status, body), E::Refused { .. }), "{body}");
        }
        let flagged = "your input was flagged by moderation";
        assert!(matches!(meaning(403, flagged), E::Rejected { .. }));
        assert!(matches!(meaning(429, "slow down"), E::Busy { .. }));
        assert!(matches!(meaning(503, "busy"), E::Busy { .. }));
        assert!(matches!(
            meaning(500, "boom"),
            E::Died { started: false, .. }
        ));
        assert!(matches!(meaning(302, ""), E::Protocol { .. }));
    }
}
