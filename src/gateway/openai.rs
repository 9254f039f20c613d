//! OpenAI's shapes: what is asked for, what is answered, and what is refused. Pure.
//!
//! What a request asks for and no seller on Nostr can be held to is refused with a word, never silently left out. Unknown
//! fields are ignored, as OpenAI's own clients send some (`user`, `metadata`).

use serde_json::{Map, Value, json};

use crate::domain::text::clean;

/// Messages of one request.
const MAX_MESSAGES: usize = 1_000;
/// Stop texts, as OpenAI has it.
const MAX_STOPS: usize = 4;
/// The most tokens that can be asked for.
const MAX_TOKENS: u64 = 1_000_000;

/// An error in OpenAI's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// `type`
    pub kind: &'static str,
    /// `code`
    pub code: Option<&'static str>,
    /// `param`
    pub param: Option<String>,
    /// `message`
    pub message: String,
    /// Something was paid: a client must not try again by itself.
    pub paid: bool,
}

impl ApiError {
    /// The request can't be served as it stands (400).
    #[must_use]
    pub fn bad(param: &str, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self {
            param: Some(param.to_owned()),
            code,
            ..Self::new(400, "invalid_request_error", message)
        }
    }

    /// Any other.
    #[must_use]
    pub fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: None,
            param: None,
            message: message.into(),
            paid: false,
        }
    }

    /// With a code.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// After a payment.
    #[must_use]
    pub fn after_payment(mut self) -> Self {
        self.paid = true;
        self
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": clean(&self.message, 600),
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

/// Which of the two end points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Text,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// The text.
    pub content: String,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// By which end point.
    pub form: Form,
    /// The model, as written.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// The most tokens of the answer.
    pub max_tokens: Option<u32>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Further parameters, as NIP-90 names them.
    pub params: Vec<(String, String)>,
    /// As it comes.
    pub stream: bool,
    /// With the usage in a last chunk.
    pub include_usage: bool,
}

impl Wanted {
    /// The conversation as one text, for sellers that read no messages.
    #[must_use]
    pub fn flat(&self) -> String {
        if let [one] = &self.messages[..]
            && one.role == "user"
        {
            return one.content.clone();
        }
        let mut text = String::new();
        for message in &self.messages {
            let name = match message.role {
                "system" => "System",
                "assistant" => "Assistant",
                _ => "User",
            };
            text = text + name + ": " + &message.content + "\n\n";
        }
        text.push_str("Assistant:");
        text
    }

    /// The conversation as NIP-90 sellers that read messages take it.
    #[must_use]
    pub fn chat(&self) -> String {
        let list: Vec<Value> = self
            .messages
            .iter()
            .map(|message| json!({"role": message.role, "content": message.content}))
            .collect();
        json!({ "messages": list }).to_string()
    }

    /// Tokens of the conversation, estimated from above.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        let bytes: usize = self.messages.iter().map(|one| one.content.len() + 16).sum();
        u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(3)
    }

    /// Cut at the first of the texts that end it.
    #[must_use]
    pub fn cut<'a>(&self, text: &'a str) -> &'a str {
        let ends = self.stop.iter().filter_map(|stop| text.find(stop.as_str()));
        ends.min().map_or(text, |end| &text[..end])
    }

    /// The part of an unfinished text that no later end can take back.
    #[must_use]
    pub fn sure<'a>(&self, text: &'a str) -> &'a str {
        let cut = self.cut(text);
        if cut.len() < text.len() {
            return cut;
        }
        let longest = self.stop.iter().map(String::len).max().unwrap_or(0);
        let mut end = text.len().saturating_sub(longest.saturating_sub(1));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        &text[..end]
    }
}

/// Reads a body.
///
/// # Errors
/// What is wrong with it, or can't be bought.
pub fn read(body: &[u8], form: Form) -> Result<Wanted, ApiError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        ApiError::new(
            400,
            "invalid_request_error",
            format!("We could not parse the JSON body of your request: {error}"),
        )
    })?;
    let Value::Object(fields) = value else {
        let words = "the body must be a JSON object";
        return Err(ApiError::new(400, "invalid_request_error", words));
    };
    let model = match fields.get("model") {
        Some(Value::String(name)) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => {
            let words = "you must provide a model parameter";
            return Err(ApiError::bad(
                "model",
                Some("missing_required_parameter"),
                words,
            ));
        }
    };
    refuse(&fields, form)?;
    let messages = match form {
        Form::Chat => messages(fields.get("messages"))?,
        Form::Text => vec![Message {
            role: "user",
            content: prompt(fields.get("prompt"))?,
        }],
    };
    let stream = flag(&fields, "stream")?;
    let include_usage = fields
        .get("stream_options")
        .and_then(|options| options["include_usage"].as_bool())
        .unwrap_or(false);
    if !stream
        && fields
            .get("stream_options")
            .is_some_and(|options| !options.is_null())
    {
        let words = "stream_options is only allowed when stream is true";
        return Err(ApiError::bad("stream_options", None, words));
    }
    Ok(Wanted {
        form,
        model,
        messages,
        max_tokens: max_tokens(&fields)?,
        stop: stops(fields.get("stop"))?,
        params: params(&fields)?,
        stream,
        include_usage: stream && include_usage,
    })
}

/// Fields that no seller can be held to, and the values that ask for nothing.
fn refuse(fields: &Map<String, Value>, form: Form) -> Result<(), ApiError> {
    let unsupported = |param: &str, words: &str| {
        let words = format!("'{param}' can't be bought over Nostr: {words}");
        Err(ApiError::bad(param, Some("unsupported_parameter"), words))
    };
    let set = |name: &str| fields.get(name).filter(|value| !value.is_null());
    let not_one = |name: &str| set(name).is_some_and(|value| value.as_u64() != Some(1));
    if not_one("n") {
        return unsupported("n", "one answer is sold at a time; send n = 1");
    }
    if not_one("best_of") {
        return unsupported("best_of", "one answer is sold at a time");
    }
    for name in ["tools", "functions"] {
        if set(name).is_some_and(|value| value.as_array().is_none_or(|list| !list.is_empty())) {
            return unsupported(name, "sellers answer with text, and call no tools");
        }
    }
    let chosen = |name: &str| {
        set(name).is_some_and(|value| !matches!(value.as_str(), Some("none" | "auto")))
    };
    for name in ["tool_choice", "function_call"] {
        if chosen(name) {
            return unsupported(name, "sellers call no tools");
        }
    }
    if set("response_format").is_some_and(|format| format["type"].as_str() != Some("text")) {
        return unsupported(
            "response_format",
            "no seller promises a form; ask for it in words, with type text",
        );
    }
    let asked = |value: &Value| value.as_bool() != Some(false) && value.as_u64() != Some(0);
    for name in ["logprobs", "top_logprobs", "echo"] {
        // In text completions `logprobs` is a number, and 0 asks for some.
        let zero = form == Form::Text && name == "logprobs" && set(name).is_some_and(Value::is_u64);
        if zero || set(name).is_some_and(asked) {
            return unsupported(name, "sellers send the text alone");
        }
    }
    if set("logit_bias").is_some_and(|bias| bias.as_object().is_none_or(|bias| !bias.is_empty())) {
        return unsupported("logit_bias", "sellers do not take it");
    }
    if set("presence_penalty").is_some_and(|value| value.as_f64() != Some(0.0)) {
        return unsupported(
            "presence_penalty",
            "sellers do not take it; frequency_penalty they do",
        );
    }
    let text_only = |value: &Value| {
        value
            .as_array()
            .is_some_and(|list| list.iter().all(|one| one == "text"))
    };
    if set("modalities").is_some_and(|value| !text_only(value)) {
        return unsupported("modalities", "text is sold");
    }
    for name in ["audio", "prediction", "web_search_options"] {
        if set(name).is_some() {
            return unsupported(name, "text is sold, and nothing beside it");
        }
    }
    if set("suffix").is_some_and(|value| value.as_str() != Some("")) {
        return unsupported("suffix", "sellers write on, and do not fill in");
    }
    Ok(())
}

fn messages(value: Option<&Value>) -> Result<Vec<Message>, ApiError> {
    let bad = |param: &str, words: &str| Err(ApiError::bad(param, None, words));
    let Some(Value::Array(list)) = value else {
        return bad("messages", "'messages' must be an array");
    };
    if list.is_empty() || list.len() > MAX_MESSAGES {
        return bad("messages", "'messages' must have from 1 to 1000 entries");
    }
    let mut all = Vec::with_capacity(list.len());
    for (index, message) in list.iter().enumerate() {
        let role = match message["role"].as_str() {
            Some("system" | "developer") => "system",
            Some("user") => "user",
            Some("assistant") => "assistant",
            _ => {
                let words = "only the roles system, developer, user and assistant can be bought";
                return bad(&format!("messages[{index}].role"), words);
            }
        };
        if message["tool_calls"]
            .as_array()
            .is_some_and(|calls| !calls.is_empty())
        {
            let words = "sellers call no tools";
            return bad(&format!("messages[{index}].tool_calls"), words);
        }
        let content = content(&message["content"], index)?;
        all.push(Message { role, content });
    }
    if all.iter().all(|one| one.content.trim().is_empty()) {
        return bad(
            "messages",
            "there is nothing to answer: every message is empty",
        );
    }
    Ok(all)
}

fn content(value: &Value, index: usize) -> Result<String, ApiError> {
    let param = format!("messages[{index}].content");
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let mut text = String::new();
            for part in parts {
                let (Some("text"), Some(words)) = (part["type"].as_str(), part["text"].as_str())
                else {
                    let words =
                        "only parts of type text can be bought: no images, no audio, no files";
                    return Err(ApiError::bad(&param, Some("unsupported_value"), words));
                };
                text.push_str(words);
            }
            Ok(text)
        }
        _ => Err(ApiError::bad(
            &param,
            None,
            "a message's content must be text",
        )),
    }
}

fn prompt(value: Option<&Value>) -> Result<String, ApiError> {
    let text = match value {
        Some(Value::String(text)) => Some(text),
        Some(Value::Array(list)) => match &list[..] {
            [Value::String(text)] => Some(text),
            _ => None,
        },
        _ => None,
    };
    match text {
        Some(text) if !text.trim().is_empty() => Ok(text.clone()),
        _ => Err(ApiError::bad(
            "prompt",
            None,
            "'prompt' must be one text that is not empty",
        )),
    }
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, ApiError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(ApiError::bad(
            name,
            None,
            format!("'{name}' must be true or false"),
        )),
    }
}

fn max_tokens(fields: &Map<String, Value>) -> Result<Option<u32>, ApiError> {
    for name in ["max_completion_tokens", "max_tokens"] {
        let Some(value) = fields.get(name).filter(|value| !value.is_null()) else {
            continue;
        };
        let number = value
            .as_u64()
            .filter(|number| (1..=MAX_TOKENS).contains(number));
        let number = number.and_then(|number| u32::try_from(number).ok());
        return match number {
            Some(number) => Ok(Some(number)),
            None => Err(ApiError::bad(
                name,
                None,
                format!("'{name}' must be from 1 to {MAX_TOKENS}"),
            )),
        };
    }
    Ok(None)
}

fn stops(value: Option<&Value>) -> Result<Vec<String>, ApiError> {
    let bad = || {
        Err(ApiError::bad(
            "stop",
            None,
            "'stop' must be a text, or up to 4 of them, none empty",
        ))
    };
    let list = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => {
            let texts: Option<Vec<String>> = list
                .iter()
                .map(|one| one.as_str().map(str::to_owned))
                .collect();
            let Some(texts) = texts else { return bad() };
            texts
        }
        Some(_) => return bad(),
    };
    if list.len() > MAX_STOPS || list.iter().any(String::is_empty) {
        return bad();
    }
    Ok(list)
}

fn params(fields: &Map<String, Value>) -> Result<Vec<(String, String)>, ApiError> {
    let mut all = Vec::new();
    for (name, min, max) in [
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("frequency_penalty", -2.0, 2.0),
    ] {
        let Some(value) = fields.get(name).filter(|value| !value.is_null()) else {
            continue;
        };
        let number = value.as_f64().filter(|number| (min..=max).contains(number));
        let Some(number) = number else {
            let words = format!("'{name}' must be a number from {min} to {max}");
            return Err(ApiError::bad(name, None, words));
        };
        all.push((name.to_owned(), number.to_string()));
    }
    if let Some(value) = fields.get("seed").filter(|value| !value.is_null()) {
        let Some(seed) = value.as_i64() else {
            return Err(ApiError::bad("seed", None, "'seed' must be a whole number"));
        };
        all.push(("seed".to_owned(), seed.to_string()));
    }
    Ok(all)
}

/// Tokens, as the seller or the own endpoint counts them, or estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the request.
    pub prompt: u64,
    /// Of the answer.
    pub completion: u64,
}

impl Usage {
    fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        })
    }
}

/// What every chunk and answer of one request has in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// By which end point.
    pub form: Form,
    /// `id`
    pub id: String,
    /// `created`
    pub created: u64,
    /// `model`
    pub model: String,
}

impl Head {
    /// A whole answer.
    #[must_use]
    pub fn whole(&self, text: &str, usage: Usage) -> Value {
        let (object, choice) = match self.form {
            Form::Chat => (
                "chat.completion",
                json!({"index": 0, "message": {"role": "assistant", "content": text, "refusal": null},
                    "logprobs": null, "finish_reason": "stop"}),
            ),
            Form::Text => (
                "text_completion",
                json!({"index": 0, "text": text, "logprobs": null, "finish_reason": "stop"}),
            ),
        };
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model,
            "choices": [choice], "usage": usage.json()})
    }

    /// One chunk of a stream. `first` carries the role; `last` the reason why it ends.
    #[must_use]
    pub fn chunk(&self, text: &str, first: bool, last: bool, with_usage: bool) -> Value {
        let reason = last.then_some("stop");
        let choice = match self.form {
            Form::Chat => {
                let mut delta = Map::new();
                if first {
                    delta.insert("role".to_owned(), json!("assistant"));
                }
                if !text.is_empty() || first {
                    delta.insert("content".to_owned(), json!(text));
                }
                json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason})
            }
            Form::Text => {
                json!({"index": 0, "text": text, "logprobs": null, "finish_reason": reason})
            }
        };
        self.event(&json!([choice]), with_usage.then_some(Value::Null))
    }

    /// The chunk after the last one, which has the usage alone.
    #[must_use]
    pub fn usage(&self, usage: Usage) -> Value {
        self.event(&json!([]), Some(usage.json()))
    }

    fn event(&self, choices: &Value, usage: Option<Value>) -> Value {
        let object = match self.form {
            Form::Chat => "chat.completion.chunk",
            Form::Text => "text_completion",
        };
        let mut event = json!({"id": self.id, "object": object, "created": self.created,
            "model": self.model, "choices": choices});
        if let (Some(usage), Some(fields)) = (usage, event.as_object_mut()) {
            fields.insert("usage".to_owned(), usage);
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(more: &str) -> Result<Wanted, ApiError> {
        let body =
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{more}}}"#);
        read(body.as_bytes(), Form::Chat)
    }

    #[test]
    fn what_asks_for_nothing_special_is_answered() {
        for more in [
            "",
            r#","n":1,"tools":[],"tool_choice":"none","response_format":{"type":"text"},"logprobs":false"#,
            r#","presence_penalty":0,"logit_bias":{},"modalities":["text"],"user":"me","made_up":{"a":1}"#,
            r#","temperature":0,"top_p":1,"seed":7,"stop":null,"max_tokens":null,"stream":false"#,
            r#","stream":true,"stream_options":{"include_usage":true},"stop":["a","b"]"#,
        ] {
            assert!(chat(more).is_ok(), "{more}: {:?}", chat(more));
        }
    }

    #[test]
    fn what_nobody_sells_is_refused_by_its_name() {
        for (more, param) in [
            (r#","n":2"#, "n"),
            (r#","tools":[{"type":"function"}]"#, "tools"),
            (r#","functions":[{}]"#, "functions"),
            (r#","tool_choice":"required""#, "tool_choice"),
            (
                r#","response_format":{"type":"json_object"}"#,
                "response_format",
            ),
            (
                r#","response_format":{"type":"json_schema"}"#,
                "response_format",
            ),
            (r#","logprobs":true"#, "logprobs"),
            (r#","top_logprobs":3"#, "top_logprobs"),
            (r#","logit_bias":{"1":2}"#, "logit_bias"),
            (r#","presence_penalty":0.5"#, "presence_penalty"),
            (r#","modalities":["text","audio"]"#, "modalities"),
            (r#","audio":{}"#, "audio"),
            (r#","temperature":3"#, "temperature"),
            (r#","temperature":"hot""#, "temperature"),
            (r#","max_tokens":0"#, "max_tokens"),
            (r#","max_completion_tokens":-1"#, "max_completion_tokens"),
            (r#","stop":["a","b","c","d","e"]"#, "stop"),
            (r#","stop":"""#, "stop"),
            (r#","seed":1.5"#, "seed"),
            (r#","stream":"yes""#, "stream"),
            (
                r#","stream_options":{"include_usage":true}"#,
                "stream_options",
            ),
        ] {
            let error = chat(more).unwrap_err();
            assert_eq!(
                (error.status, error.param.as_deref()),
                (400, Some(param)),
                "{more}"
            );
            assert_eq!(error.body()["error"]["type"], "invalid_request_error");
        }
    }

    #[test]
    fn messages_are_read_as_clients_send_them() {
        let read = |messages: &str| {
            read(
                format!(r#"{{"model":"m","messages":{messages}}}"#).as_bytes(),
                Form::Chat,
            )
        };
        let wanted = read(
            r#"[{"role":"developer","content":"short"},
                {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
                {"role":"assistant","content":"c"},{"role":"user","content":"d"}]"#,
        )
        .unwrap();
        assert_eq!(
            wanted.flat(),
            "System: short\n\nUser: ab\n\nAssistant: c\n\nUser: d\n\nAssistant:"
        );
        let chat: Value = serde_json::from_str(&wanted.chat()).unwrap();
        assert_eq!(chat["messages"][0]["role"], "system");
        for bad in [
            "[]",
            "3",
            r#"[{"role":"tool","content":"x"}]"#,
            r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]"#,
            r#"[{"role":"user","content":null}]"#,
            r#"[{"role":"user","content":"  "}]"#,
        ] {
            assert_eq!(read(bad).unwrap_err().status, 400, "{bad}");
        }
        assert_eq!(super::read(b"{", Form::Chat).unwrap_err().status, 400);
        let text = super::read(br#"{"model":"m","prompt":["one"]}"#, Form::Text).unwrap();
        assert_eq!(text.flat(), "one");
    }

    #[test]
    fn an_answer_ends_before_its_stop_text_and_a_stream_never_passes_it() {
        let wanted = chat(r#","stop":["\n\n","END"]"#).unwrap();
        assert_eq!(wanted.cut("one\n\ntwo"), "one");
        assert_eq!(wanted.sure("one E"), "one");
        assert_eq!(wanted.sure("one EN"), "one ");
        assert_eq!(wanted.sure("one END"), "one ");
        assert_eq!(chat("").unwrap().sure("all of it"), "all of it");
    }
}
