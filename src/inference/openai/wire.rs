//! What goes over the wire to and from an OpenAI-compatible server.

use serde_json::{Value, json};

use super::super::draft::Draft;
use super::super::http::count;
use crate::inference::Ask;

/// The body of `/v1/chat/completions`, without the fields that this server refuses. All sampling values are sent, as
/// some servers have defaults of their own for each model; `max_tokens` too, as without it llama.cpp fills its context.
pub fn chat(ask: &Ask, refused: &[&str]) -> Value {
    let params = &ask.params;
    let mut body = json!({
        "model": ask.model,
        "messages": [{ "role": "user", "content": ask.prompt }],
        "stream": true,
        "stream_options": { "include_usage": true },
        "max_tokens": params.max_tokens.max(1),
        "temperature": params.temperature,
        "top_p": params.top_p,
        "frequency_penalty": params.frequency_penalty,
        // vLLM writes "off" as -1, and llama.cpp understands it.
        "top_k": if params.top_k == 0 { -1 } else { i64::from(params.top_k) },
    });
    if let Some(seed) = params.seed {
        body["seed"] = json!(seed & 0x7fff_ffff);
    }
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|name, _| !refused.contains(&name.as_str()));
    }
    body
}

/// Names in the answer of `/v1/models`.
pub fn models(list: &Value) -> impl Iterator<Item = &str> {
    let models = list["data"].as_array().into_iter().flatten();
    models.filter_map(|model| model["id"].as_str())
}

/// One event of the stream.
#[derive(Debug)]
pub enum Piece {
    /// `[DONE]`
    Done,
    /// It failed.
    Error,
    /// A piece of the answer; perhaps only its counts.
    Part(Part),
}

/// A piece of the answer.
#[derive(Debug)]
pub struct Part {
    /// Text of the answer.
    pub content: String,
    /// Text of reasoning that the server keeps apart.
    pub thinking: String,
    /// Why the answer ended, once it has.
    pub ending: Option<Ending>,
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    output_ms: Option<u64>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was complete.
    Stop,
    /// At the token limit or the end of the context.
    Length,
    /// A content filter took it.
    Filtered,
    /// The server gave up.
    Aborted,
}

impl Part {
    /// Takes over the counts that came with it.
    pub fn counts(&self, draft: &mut Draft) {
        draft.prompt_tokens = self.prompt_tokens.or(draft.prompt_tokens);
        draft.completion_tokens = self.completion_tokens.or(draft.completion_tokens);
        draft.server_ms = self.output_ms.or(draft.server_ms);
    }
}

/// Reads an event's data; none where it is not a chat's.
pub fn read(data: &str) -> Option<Piece> {
    if data.trim() == "[DONE]" {
        return Some(Piece::Done);
    }
    let value: Value = serde_json::from_str(data).ok()?;
    let fields = value.as_object()?;
    let present = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    if present("error") || (present("detail") && !present("choices")) {
        return Some(Piece::Error);
    }
    if !present("choices") && !present("usage") {
        return None;
    }
    Some(Piece::Part(part(&value)))
}

/// The last piece, with the usage, has no choices.
fn part(value: &Value) -> Part {
    let choice = &value["choices"][0];
    let delta = &choice["delta"];
    let text = |name: &str| delta[name].as_str().unwrap_or_default();
    let thinking = [text("reasoning_content"), text("reasoning")].concat();
    let usage = &value["usage"];
    Part {
        content: text("content").to_owned(),
        thinking,
        ending: choice["finish_reason"].as_str().map(ending),
        prompt_tokens: count(&usage["prompt_tokens"]),
        completion_tokens: count(&usage["completion_tokens"]),
        output_ms: value["timings"]["predicted_ms"].as_f64().and_then(millis),
    }
}

/// Whole milliseconds of llama.cpp's fractional ones.
fn millis(ms: f64) -> Option<u64> {
    let time = std::time::Duration::try_from_secs_f64(ms / 1000.0).ok()?;
    u64::try_from(time.as_millis()).ok().map(|ms| ms.max(1))
}

fn ending(word: &str) -> Ending {
    match word {
        "length" | "max_tokens" => Ending::Length,
        "content_filter" => Ending::Filtered,
        "abort" | "error" | "cancelled" => Ending::Aborted,
        _ => Ending::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_part(data: &str) -> Part {
        match read(data) {
            Some(Piece::Part(part)) => part,
            other => panic!("not a part: {other:?}"),
        }
    }

    #[test]
    fn the_usage_piece_has_no_choices() {
        let part = read_part(
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2},"timings":{"predicted_ms":12.7}}"#,
        );
        assert_eq!(
            (part.prompt_tokens, part.completion_tokens),
            (Some(3), Some(2))
        );
        assert_eq!(part.output_ms, Some(12));
        assert_eq!((part.content.as_str(), part.ending), ("", None));
    }

    #[test]
    fn reasoning_is_no_answer() {
        for field in ["reasoning_content", "reasoning"] {
            let data = format!(r#"{{"choices":[{{"delta":{{"{field}":"hm","content":null}}}}]}}"#);
            let part = read_part(&data);
            assert_eq!((part.content.as_str(), part.thinking.as_str()), ("", "hm"));
        }
    }

    #[test]
    fn errors_in_the_stream_are_seen() {
        assert!(matches!(
            read(r#"{"error":{"message":"x"}}"#),
            Some(Piece::Error)
        ));
        assert!(matches!(read(r#"{"detail":"x"}"#), Some(Piece::Error)));
        assert!(matches!(read("[DONE]"), Some(Piece::Done)));
        assert!(read("{}").is_none());
        assert!(read("nonsense").is_none());
    }
}
