//! What goes over the wire to and from Ollama. Read leniently: fields come and go with its versions.

use serde_json::{Map, Value, json};

use super::super::http::count;
use crate::inference::Ask;

/// How long the model stays loaded after a job: longer than the usual gap between two.
const KEEP_ALIVE: &str = "10m";

/// What `/api/show` says of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Show {
    /// The longest context that the model was made for, tokens.
    pub context: Option<u32>,
    /// What to say in `think`; none: nothing, as a model that can't think refuses the field.
    pub think: Option<Value>,
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
            think: thinks.then(|| if little { json!("low") } else { json!(false) }),
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
pub fn chat(ask: &Ask, num_ctx: u32, show: &Show) -> Value {
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
    let mut body = json!({
        "model": ask.model,
        "messages": [{ "role": "user", "content": ask.prompt }],
        "stream": true,
        "options": options,
        "keep_alive": KEEP_ALIVE,
        "truncate": false,
        "shift": false,
    });
    if let Some(think) = &show.think {
        body["think"] = think.clone();
    }
    body
}

/// One line of the stream.
#[derive(Debug)]
pub enum Line {
    /// It failed; the line as it came.
    Error(String),
    /// A piece of the answer.
    Part(Part),
}

/// A piece of the answer.
#[derive(Debug)]
pub struct Part {
    /// Text of the answer.
    pub content: String,
    /// Text of thinking that the server keeps apart.
    pub thinking: String,
    /// On the last line: how it ended.
    pub end: Option<End>,
}

/// What the last line says. Counts of zero are left out by the server, so none is not zero.
#[derive(Debug)]
pub struct End {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the answer and its thinking.
    pub completion_tokens: Option<u32>,
    /// How long the output took, milliseconds.
    pub output_ms: Option<u64>,
    /// Did it reach `num_predict` or the end of the context?
    pub cut: bool,
}

impl Line {
    /// Reads a line; none where it is not a chat's.
    pub fn read(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let fields = value.as_object()?;
        if fields.get("error").is_some_and(|error| !error.is_null()) {
            return Some(Self::Error(line.to_owned()));
        }
        let done = fields.get("done").and_then(Value::as_bool).unwrap_or(false);
        if !done && !fields.contains_key("message") {
            return None;
        }
        let message = &value["message"];
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        Some(Self::Part(Part {
            content: text("content"),
            thinking: text("thinking"),
            end: done.then(|| End::read(fields)),
        }))
    }
}

impl End {
    fn read(fields: &Map<String, Value>) -> Self {
        let number = |name: &str| fields.get(name).and_then(count);
        let nanos = fields.get("eval_duration").and_then(Value::as_u64);
        Self {
            prompt_tokens: number("prompt_eval_count"),
            completion_tokens: number("eval_count"),
            output_ms: nanos.map(|nanos| (nanos / 1_000_000).max(1)),
            cut: fields.get("done_reason").is_some_and(|why| why == "length"),
        }
    }
}

/// Names in the answers of `/api/tags` and `/api/ps`.
pub fn names(list: &Value) -> impl Iterator<Item = &str> {
    models(list).filter_map(name)
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
            prompt: "hi".into(),
            params: TextParams {
                max_tokens: 0,
                temperature: 0.7,
                top_k: 40,
                top_p: 0.9,
                frequency_penalty: 0.5,
                seed,
            },
            deadline: Duration::from_secs(1),
        }
    }

    #[test]
    fn think_is_sent_only_to_models_that_can_think() {
        let plain = chat(&ask(None), 8192, &Show::unknown("m"));
        assert_eq!(plain.get("think"), None);
        assert_eq!(plain["options"].get("seed"), None);
        let thinker = json!({ "capabilities": ["completion", "thinking"] });
        let show = Show::read("qwen3", &thinker);
        assert_eq!(chat(&ask(None), 8192, &show)["think"], json!(false));
        let show = Show::read("gpt-oss:20b", &thinker);
        assert_eq!(chat(&ask(None), 8192, &show)["think"], json!("low"));
    }

    #[test]
    fn an_answer_is_always_bounded_and_seeds_fit() {
        let body = chat(&ask(Some(u64::MAX)), 8192, &Show::unknown("m"));
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
        assert!(matches!(
            Line::read(r#"{"error":"x"}"#),
            Some(Line::Error(_))
        ));
        assert!(Line::read("{}").is_none());
        assert!(Line::read("[1]").is_none());
        assert!(Line::read(r#"{"message":{"content":"#).is_none());
        let Some(Line::Part(part)) = Line::read(r#"{"message":{"content":null},"done":true}"#)
        else {
            panic!("a part");
        };
        let end = part.end.unwrap();
        assert_eq!(
            (end.prompt_tokens, end.completion_tokens, end.cut),
            (None, None, false)
        );
    }

    #[test]
    fn versions_are_read_where_they_can_be() {
        assert_eq!(version("0.33.0-rc2"), Some([0, 33, 0]));
        assert_eq!(version("v0.9"), Some([0, 9, 0]));
        assert_eq!(version("unknown"), None);
    }
}
