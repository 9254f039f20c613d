//! What goes over the wire to and from Ollama. Read leniently: fields come and go with its versions.

use serde_json::{Map, Value, json};

use super::super::chat::Piece;
use super::super::draft::{FinishReason, Part};
use super::super::http::{count, is_error};
use super::Own;
use crate::inference::Ask;

/// How long the model stays loaded after a job where the settings do not say: longer than the usual gap between two.
const KEEP_ALIVE: &str = "10m";

/// What `/api/show` says of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Show {
    /// The longest context that the model was made for, tokens.
    pub context: Option<u32>,
    /// Can it think? Then it is told whether to; a model that can't refuses to be told.
    pub thinks: bool,
    /// Can it only think little, and never stop?
    pub little: bool,
    /// Does it run on somebody else's machine?
    pub remote: bool,
}

impl Show {
    /// Reads the answer of `/api/show`.
    pub fn read(model: &str, shown: &Value) -> Self {
        let info = &shown["model_info"];
        let arch = info["general.architecture"].as_str().unwrap_or_default();
        let thinks = shown["capabilities"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == "thinking"));
        // gpt-oss can't stop thinking; it can only think little.
        let little = arch == "gptoss" || model.contains("gpt-oss");
        Self {
            context: count(&info[format!("{arch}.context_length")]).filter(|most| *most > 0),
            thinks,
            little,
            remote: is_remote(model, shown),
        }
    }

    /// A model of which nothing is known but its name.
    pub fn unknown(model: &str) -> Self {
        Self::read(model, &Value::Null)
    }
}

/// The body of `/api/chat`. `truncate` and `shift` off: a prompt that does not fit is an error, never cut. `num_ctx` is
/// the same for every job, as another one reloads the model.
pub fn chat(ask: &Ask, num_ctx: u32, show: &Show, own: &Own) -> Value {
    let params = &ask.params;
    let mut options = json!({
        "num_ctx": num_ctx,
        "num_predict": params.max_tokens.max(1),
        "temperature": params.temperature,
        "top_k": params.top_k,
        "top_p": params.top_p,
        "frequency_penalty": params.frequency_penalty,
        // Off: its default differs by version, and the seller set the frequency penalty.
        "repeat_penalty": 1.0,
    });
    if let Some(seed) = params.seed {
        // Its seeds are signed 32-bit numbers; -1 would mean a random one.
        options["seed"] = json!(seed & 0x7fff_ffff);
    }
    if !own.stop.is_empty() {
        options["stop"] = json!(own.stop);
    }
    if let Some(options) = options.as_object_mut() {
        options.extend(own.options.clone());
    }
    let mut body = json!({
        "model": ask.model,
        "messages": ask.messages,
        "stream": true,
        "options": options,
        "truncate": false,
        "shift": false,
    });
    match own.keep_alive.as_deref().map(str::trim) {
        None => body["keep_alive"] = json!(KEEP_ALIVE),
        Some("") => {}
        // Seconds; below zero: for ever.
        Some(text) => {
            body["keep_alive"] = text
                .parse::<i64>()
                .map_or_else(|_| json!(text), Value::from);
        }
    }
    if show.thinks {
        body["think"] = match (own.think, show.little) {
            (false, true) => json!("low"),
            (think, _) => json!(think),
        };
    }
    body
}

/// What one line of the stream says. The last line is the word that the answer is whole; old versions give no reason with
/// it. Counts of zero are left out by the server, so none is not zero.
pub fn read(value: &Value) -> Piece {
    let Some(fields) = value.as_object() else {
        return Piece::Foreign;
    };
    if is_error(fields.get("error")) {
        return Piece::Error;
    }
    let done = fields.get("done").and_then(Value::as_bool).unwrap_or(false);
    if !done && !fields.contains_key("message") {
        return Piece::Nothing;
    }
    let message = &value["message"];
    let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    let mut part = Part {
        content: text("content"),
        thinking: text("thinking"),
        last: done,
        ..Part::default()
    };
    if done {
        end(fields, &mut part);
    }
    Piece::Part(part)
}

fn end(fields: &Map<String, Value>, part: &mut Part) {
    let number = |name: &str| fields.get(name).and_then(count);
    let nanos = fields.get("eval_duration").and_then(Value::as_u64);
    let why = fields.get("done_reason").and_then(Value::as_str);
    part.finish_reason = why
        .and_then(FinishReason::read)
        .or(Some(FinishReason::Stop));
    part.prompt_tokens = number("prompt_eval_count");
    part.completion_tokens = number("eval_count");
    part.output_ms = nanos.map(|nanos| (nanos / 1_000_000).max(1));
}

/// Name and digest of each model of `/api/tags` that runs on the server itself.
pub fn local_models(tags: &Value) -> Vec<(String, String)> {
    models(tags)
        .filter_map(|model| Some((name(model)?, model)))
        .filter(|(name, model)| !is_remote(name, model))
        .map(|(name, model)| {
            let digest = model["digest"].as_str().unwrap_or_default();
            (name.to_owned(), digest.to_owned())
        })
        .collect()
}

fn models(list: &Value) -> impl Iterator<Item = &Value> {
    list["models"].as_array().into_iter().flatten()
}

fn name(model: &Value) -> Option<&str> {
    model["name"].as_str().or_else(|| model["model"].as_str())
}

fn is_remote(name: &str, fields: &Value) -> bool {
    let says = |field: &str| fields[field].as_str().is_some_and(|text| !text.is_empty());
    let name = name.to_ascii_lowercase();
    says("remote_host")
        || says("remote_model")
        || name.ends_with("-cloud")
        || name.ends_with(":cloud")
}

/// A version's three numbers; none where they can't be told. `0.33.0-rc2` counts as `0.33.0`.
pub fn version(text: &str) -> Option<[u32; 3]> {
    let text = text.trim_start_matches('v');
    let numbers = text.split(['-', '+']).next()?;
    let mut parts = numbers.split('.').map(|part| part.parse().ok());
    Some([
        parts.next()??,
        parts.next()??,
        parts.next().flatten().unwrap_or(0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::TextParams;
    use std::time::Duration;

    fn ask(seed: Option<u64>) -> Ask {
        Ask {
            model: "m".into(),
            messages: vec![crate::domain::message::Message::user("hi")],
            params: TextParams {
                max_tokens: 0,
                temperature: 0.7,
                top_k: 40,
                top_p: 0.9,
                frequency_penalty: 0.5,
                seed,
            },
            deadline: Duration::from_secs(1),
            attempt: 1,
            so_far: None,
        }
    }

    fn body(show: &Show, own: &Own) -> Value {
        chat(&ask(None), 8192, show, own)
    }

    #[test]
    fn think_is_sent_only_to_models_that_can_think() {
        let plain = body(&Show::unknown("m"), &Own::default());
        assert_eq!(plain.get("think"), None);
        assert_eq!(plain["options"].get("seed"), None);
        let thinker = json!({ "capabilities": ["completion", "thinking"] });
        let show = Show::read("qwen3", &thinker);
        assert_eq!(body(&show, &Own::default())["think"], json!(false));
        let own = Own {
            think: true,
            ..Own::default()
        };
        assert_eq!(body(&show, &own)["think"], json!(true));
        let show = Show::read("gpt-oss:20b", &thinker);
        assert_eq!(body(&show, &Own::default())["think"], json!("low"));
    }

    #[test]
    fn how_long_a_model_stays_is_the_seller_s_to_say() {
        let with = |keep_alive: Option<&str>| {
            let own = Own {
                keep_alive: keep_alive.map(str::to_owned),
                ..Own::default()
            };
            body(&Show::unknown("m"), &own).get("keep_alive").cloned()
        };
        assert_eq!(with(None), Some(json!("10m")));
        assert_eq!(with(Some("1h")), Some(json!("1h")));
        assert_eq!(with(Some("-1")), Some(json!(-1)));
        assert_eq!(with(Some("")), None);
    }

    #[test]
    fn an_answer_is_always_bounded_and_seeds_fit() {
        let body = chat(
            &ask(Some(u64::MAX)),
            8192,
            &Show::unknown("m"),
            &Own::default(),
        );
        assert_eq!(body["options"]["num_predict"], 1);
        assert_eq!(body["options"]["seed"], i32::MAX);
    }

    #[test]
    fn the_model_s_context_is_found_by_its_architecture() {
        let shown = json!({ "model_info": { "general.architecture": "llama", "llama.context_length": 4096 } });
        assert_eq!(Show::read("m", &shown).context, Some(4096));
        assert_eq!(Show::unknown("m").context, None);
    }

    #[test]
    fn a_line_is_a_part_an_end_an_error_or_nothing() {
        assert_eq!(read(&json!({ "error": "x" })), Piece::Error);
        assert_eq!(read(&json!({})), Piece::Nothing);
        assert_eq!(read(&json!([1])), Piece::Foreign);
        let quiet = json!({ "error": "", "message": { "content": null }, "done": true });
        let Piece::Part(part) = read(&quiet) else {
            panic!("a part");
        };
        assert_eq!((part.prompt_tokens, part.completion_tokens), (None, None));
        assert_eq!(
            (part.finish_reason, part.last),
            (Some(FinishReason::Stop), true)
        );
        let unloaded = json!({ "message": {}, "done": true, "done_reason": "unload" });
        let Piece::Part(part) = read(&unloaded) else {
            panic!("a part");
        };
        assert_eq!(
            part.finish_reason,
            Some(FinishReason::Unknown("unload".into()))
        );
    }

    #[test]
    fn versions_are_read_where_they_can_be() {
        assert_eq!(version("0.33.0-rc2"), Some([0, 33, 0]));
        assert_eq!(version("v0.9"), Some([0, 9, 0]));
        assert_eq!(version("unknown"), None);
    }
}
