//! What goes over the wire to and from an OpenAI-compatible server.

use serde_json::{Value, json};

use super::super::chat::Piece;
use super::super::draft::{FinishReason, Part};
use super::super::http::{count, is_error};
use super::Own;
use crate::inference::Ask;

/// The body of a chat. All sampling values are sent, as some servers have defaults of their own for each model; `max_tokens`
/// too, as without it llama.cpp fills its context.
pub fn chat(ask: &Ask, own: &Own) -> Value {
    let params = &ask.params;
    let mut body = json!({
        "model": ask.model,
        "messages": ask.messages,
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
    if !own.stop.is_empty() {
        body["stop"] = json!(own.stop);
    }
    if let Some(think) = own.think {
        // Templates know the first, gateways and Ollama the second.
        body["chat_template_kwargs"] = json!({ "enable_thinking": think });
        if !think {
            body["reasoning_effort"] = json!("none");
        }
    }
    if let Some(fields) = body.as_object_mut() {
        fields.extend(own.extra.clone());
    }
    body
}

/// Is it a list of models, in any of the forms below?
pub fn is_list(list: &Value) -> bool {
    list.is_array() || list["data"].is_array() || list["models"].is_array()
}

/// Names in a list of models: `{"data":[{"id"}]}`, a bare list, `{"models":[{"name"}]}`, or names alone.
pub fn models(list: &Value) -> impl Iterator<Item = &str> {
    let models = [list, &list["data"], &list["models"]]
        .into_iter()
        .find_map(Value::as_array);
    models.into_iter().flatten().filter_map(named)
}

fn named(model: &Value) -> Option<&str> {
    let mut fields = ["id", "name", "model"].into_iter();
    model
        .as_str()
        .or_else(|| fields.find_map(|field| model[field].as_str()))
}

/// What an event says. Objects without choices, counts or an error are passed over.
pub fn read(value: &Value) -> Piece {
    let Some(fields) = value.as_object() else {
        // Some gateways put an error into a list.
        return value.get(0).map_or(Piece::Foreign, read);
    };
    let present = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    let detail = is_error(fields.get("detail")) && !present("choices");
    if is_error(fields.get("error")) || detail || value["object"] == "error" {
        return Piece::Error;
    }
    if !present("choices") && !present("usage") {
        return Piece::Nothing;
    }
    Piece::Part(part(value))
}

/// The last piece, with the usage, has no choices. Of several choices only the first is ours: one was asked for.
fn part(value: &Value) -> Part {
    let choices = value["choices"].as_array().map_or(&[][..], Vec::as_slice);
    let choice = choices
        .iter()
        .find(|choice| choice["index"].as_u64().unwrap_or(0) == 0)
        .unwrap_or(&Value::Null);
    // A whole answer has a message where a stream has a delta.
    let said = match &choice["delta"] {
        Value::Null => &choice["message"],
        delta => delta,
    };
    let (mut content, mut thinking) = (String::new(), String::new());
    spoken(&said["content"], &mut content, &mut thinking);
    for name in ["reasoning_content", "reasoning"] {
        thinking.push_str(said[name].as_str().unwrap_or_default());
    }
    let usage = &value["usage"];
    Part {
        closing: choices.is_empty() && count(&usage["completion_tokens"]).is_some(),
        content,
        thinking,
        finish_reason: choice["finish_reason"]
            .as_str()
            .and_then(FinishReason::read),
        prompt_tokens: count(&usage["prompt_tokens"]),
        completion_tokens: count(&usage["completion_tokens"]),
        output_ms: value["timings"]["predicted_ms"].as_f64().and_then(millis),
        last: false,
    }
}

/// Text, or a list of parts of it, some of which may be reasoning.
fn spoken(content: &Value, text: &mut String, thinking: &mut String) {
    match content {
        Value::String(said) => text.push_str(said),
        Value::Array(parts) => {
            for part in parts {
                if is_thought(part) {
                    let mut inner = String::new();
                    spoken(&part["thinking"], &mut inner, &mut String::new());
                    thinking.push_str(&inner);
                } else {
                    spoken(part.get("text").unwrap_or(part), text, thinking);
                }
            }
        }
        _ => {}
    }
}

fn is_thought(part: &Value) -> bool {
    let kind = part["type"].as_str().unwrap_or_default();
    kind.contains("thinking") || kind.contains("reasoning")
}

/// Whole milliseconds of llama.cpp's fractional ones.
fn millis(ms: f64) -> Option<u64> {
    let time = std::time::Duration::try_from_secs_f64(ms / 1000.0).ok()?;
    u64::try_from(time.as_millis()).ok().map(|ms| ms.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_part(data: &str) -> Part {
        match read(&serde_json::from_str(data).unwrap()) {
            Piece::Part(part) => part,
            other => panic!("not a part: {other:?}"),
        }
    }

    #[test]
    fn lists_of_models_come_in_many_forms() {
        for list in [
            r#"{"object":"list","data":[{"id":"a"},{"id":7},{"id":"b"}]}"#,
            r#"[{"id":"a"},{"id":"b"}]"#,
            r#"{"models":[{"name":"a"},{"model":"b"}]}"#,
            r#"["a","b"]"#,
        ] {
            let list = serde_json::from_str(list).unwrap();
            assert!(is_list(&list));
            assert_eq!(models(&list).collect::<Vec<_>>(), ["a", "b"], "{list}");
        }
        assert!(!is_list(&json!({ "detail": "x" })));
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
        assert_eq!((part.content.as_str(), part.finish_reason), ("", None));
        assert!(part.closing);
    }

    #[test]
    fn reasoning_is_no_answer() {
        for delta in [
            r#"{"reasoning_content":"hm","content":null}"#,
            r#"{"reasoning":"hm","content":""}"#,
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}"#,
        ] {
            let part = read_part(&format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#));
            assert_eq!((part.content.as_str(), part.thinking.as_str()), ("", "hm"));
        }
    }

    #[test]
    fn content_may_be_a_list_and_only_the_first_choice_counts() {
        let part = read_part(
            r#"{"choices":[{"index":1,"delta":{"content":"no"},"finish_reason":"stop"},
                {"index":0,"delta":{"content":["Pa",{"type":"text","text":"ris"}]}}]}"#,
        );
        assert_eq!((part.content.as_str(), part.finish_reason), ("Paris", None));
        let other = read_part(
            r#"{"choices":[{"index":1,"delta":{"content":"no"},"finish_reason":"stop"}]}"#,
        );
        assert_eq!(other, Part::default());
    }

    #[test]
    fn errors_in_the_stream_are_seen() {
        let said = |data: &str| read(&serde_json::from_str(data).unwrap());
        for error in [
            r#"{"error":{"message":"x"}}"#,
            r#"{"detail":"x"}"#,
            r#"[{"error":{"code":400}}]"#,
            r#"{"object":"error","message":"x"}"#,
        ] {
            assert_eq!(said(error), Piece::Error, "{error}");
        }
        for nothing in ["{}", r#"{"error":"","type":"ping"}"#, r#"{"error":null}"#] {
            assert_eq!(said(nothing), Piece::Nothing, "{nothing}");
        }
        assert_eq!(said("7"), Piece::Foreign);
    }
}
