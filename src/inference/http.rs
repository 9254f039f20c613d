//! What all clients of inference servers share: the HTTP client, bounded bodies, and what a failure means.

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, DATE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::address::{is_loopback, is_private, join, shown};
use super::lines::{LineError, Lines};
use super::trouble::{MAX_NAME, MAX_WORDS, SPENT, Trouble, is_spent, is_too_long, refusal, words};
use super::{InferenceError, tls};
use crate::config::schema::{Endpoint as Settings, EndpointKind};
use crate::domain::drift::Drift;
use crate::domain::health::{EndpointHealth, HealthLevel};
use crate::domain::id::EndpointName;
use crate::domain::text::{clean, is_hostile};
use crate::domain::time::Time;

/// The longest wait for a small question (version, models), connecting included.
pub const PROBE: Duration = Duration::from_secs(5);
/// The largest answer to a small question, bytes: a list of thousands of models.
const MAX_BODY: usize = 4 << 20;
/// As much of an error's body as is read, bytes.
const MAX_ERROR: usize = 64 << 10;

/// So long a connection without a request is kept. Ollama keeps its side for ever, others as little as five seconds, and one
/// that the other side closes just then costs a second try.
const IDLE_OLLAMA: Duration = Duration::from_mins(1);
const IDLE: Duration = Duration::from_secs(4);
/// A connection that breaks sooner than this after a request was stale: nobody has begun to answer.
const STALE: Duration = Duration::from_secs(2);

/// What lets us in at a server.
#[derive(Debug, Default)]
pub struct Access {
    /// The key, sent as a Bearer token.
    pub api_key: Option<SecretString>,
    /// Headers of every request.
    pub headers: Vec<(String, SecretString)>,
    /// Certificates that are trusted beside the machine's own (PEM).
    pub certificate: Option<SecretString>,
}

impl From<Option<SecretString>> for Access {
    fn from(api_key: Option<SecretString>) -> Self {
        Self {
            api_key,
            ..Self::default()
        }
    }
}

/// One server: its address, and the client that talks to it alone. The key is inside the client and never shown.
pub struct Server {
    /// The endpoint's name in the settings.
    pub name: String,
    /// What a person does when nothing answers there.
    pub remedy: &'static str,
    kind: EndpointKind,
    base: Url,
    client: Client,
    drift: Drift,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_str();
        write!(f, "{} ({kind} at {})", self.name, shown(&self.base))
    }
}

impl Server {
    /// Sets up the client: no redirects (a key must not travel on), no proxy towards this machine. Dropping an answer closes
    /// its connection, which is how a server learns of it; one that was read to its end is used again.
    ///
    /// # Errors
    ///
    /// A sentence for the operator: the key can't be sent, or would go over the internet in clear.
    pub fn new(
        settings: &Settings,
        base: Url,
        access: &Access,
        connect: Duration,
        remedy: &'static str,
    ) -> Result<Self, String> {
        let name = clean(&settings.name, 64);
        let mut headers = HeaderMap::new();
        let secret = access.api_key.is_some() || !access.headers.is_empty();
        if secret && base.scheme() == "http" && !is_private(&base) {
            return Err(format!(
                "endpoint {name}: a key would go over the internet in clear; use https"
            ));
        }
        if let Some(key) = &access.api_key {
            let value = format!("Bearer {}", key.expose_secret().trim());
            headers.insert(AUTHORIZATION, secret_value(&value, "api_key", &name)?);
        }
        for (header, secret) in &access.headers {
            let value = secret_value(secret.expose_secret().trim(), "headers", &name)?;
            let header = HeaderName::from_bytes(header.as_bytes())
                .map_err(|_| format!("endpoint {name}: headers: a name that no header has"))?;
            headers.insert(header, value);
        }
        // Refused when a provider is installed already, which is just as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("vend/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .connect_timeout(connect)
            .pool_max_idle_per_host(4)
            .pool_idle_timeout(match settings.kind {
                EndpointKind::Ollama => IDLE_OLLAMA,
                _ => IDLE,
            });
        if let Some(pem) = &access.certificate {
            let tls = tls::config(pem.expose_secret())
                .map_err(|error| format!("endpoint {name}: certificate: {error}"))?;
            builder = builder.tls_backend_preconfigured(tls);
        }
        if is_loopback(&base) {
            builder = builder.no_proxy();
            if base.scheme() == "http" && access.certificate.is_none() {
                // Nobody shows a certificate, so the system's hundred and more need not be read.
                builder = builder.tls_certs_only([]);
            }
        }
        let client = builder
            .build()
            .map_err(|error| format!("endpoint {name}: {}", cause(&error)))?;
        Ok(Self {
            name,
            remedy,
            kind: settings.kind,
            base,
            client,
            drift: Drift::default(),
        })
    }

    /// Asks a small question.
    ///
    /// # Errors
    ///
    /// [`Trouble`], within [`PROBE`].
    pub async fn get(&self, path: &str) -> Result<Value, Trouble> {
        self.small(self.client.get(join(&self.base, path))).await
    }

    /// Asks a small question that has a body.
    ///
    /// # Errors
    ///
    /// [`Trouble`], within [`PROBE`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        self.small(self.client.post(join(&self.base, path)).json(body))
            .await
    }

    async fn small(&self, request: RequestBuilder) -> Result<Value, Trouble> {
        let asked = Time::now();
        let sent = request.timeout(PROBE).send().await;
        let response = sent.map_err(|error| sending(&error))?;
        let date = response.headers().get(DATE);
        let date = date.map(HeaderValue::as_bytes);
        self.drift.heard(date, asked, Time::now());
        let (body, whole) = body(accepted(response).await?, MAX_BODY).await?;
        if !whole {
            let text = format!("an answer of more than {MAX_BODY} bytes");
            return Err(Trouble::Broken(text));
        }
        serde_json::from_slice(&body).map_err(|_| Trouble::Broken("the answer is not JSON".into()))
    }

    /// How many seconds its clock is ahead of ours, by its last answer to a small question; none where it does not say.
    #[must_use]
    pub fn clock_off_secs(&self) -> Option<i64> {
        self.drift.secs()
    }

    /// Starts an answer. The caller bounds the time.
    ///
    /// # Errors
    ///
    /// [`Trouble`], when the server refuses before the first byte of the answer.
    pub async fn stream(&self, path: &str, body: &Value) -> Result<Lines, Trouble> {
        let url = join(&self.base, path);
        let begun = Instant::now();
        let first = self.client.post(url.clone()).json(body).send().await;
        let sent = match first {
            Err(error) if !error.is_connect() && !error.is_timeout() && begun.elapsed() < STALE => {
                self.client.post(url).json(body).send().await
            }
            sent => sent,
        };
        let response = sent.map_err(|error| sending(&error))?;
        Ok(Lines::new(accepted(response).await?))
    }

    /// What a seller does when the server lacks the model.
    #[must_use]
    pub fn missing_fix(&self, model: &str) -> String {
        let model = clean(model, MAX_NAME);
        match self.kind {
            EndpointKind::Ollama if is_loopback(&self.base) => format!("run `ollama pull {model}`"),
            EndpointKind::Ollama => format!("run `ollama pull {model}` on its machine"),
            EndpointKind::Openai | EndpointKind::Builtin => {
                "load it in that server, or set text.model to one that it has".to_owned()
            }
        }
    }

    /// What trouble before the first token means for a job.
    #[must_use]
    pub fn failure(&self, trouble: Trouble, model: &str) -> InferenceError {
        let endpoint = self.name.clone();
        match trouble {
            Trouble::Unreachable(detail) => InferenceError::Unreachable {
                endpoint,
                url: shown(&self.base),
                detail: format!("{}; {}", clean(&detail, MAX_WORDS), self.remedy),
            },
            Trouble::Status(status, body) => {
                refusal(endpoint, model, status, &body, self.missing_fix(model))
            }
            Trouble::Broken(detail) => InferenceError::Died {
                endpoint,
                detail: clean(&detail, MAX_WORDS),
                started: false,
            },
            Trouble::Slow => InferenceError::Stalled {
                endpoint,
                after: PROBE,
                started: false,
            },
        }
    }

    /// What an error in the middle of the stream means.
    #[must_use]
    pub fn stream_error(&self, body: &str, model: &str, started: bool) -> InferenceError {
        let endpoint = self.name.clone();
        if !started && is_too_long(body) {
            return InferenceError::TooLong {
                endpoint,
                model: clean(model, MAX_NAME),
            };
        }
        if !started && is_spent(body) {
            return InferenceError::Refused {
                endpoint,
                detail: words(body),
                fix: SPENT,
            };
        }
        self.died(&words(body), started)
    }

    /// The stream ended too early.
    #[must_use]
    pub fn died(&self, detail: &str, started: bool) -> InferenceError {
        InferenceError::Died {
            endpoint: self.name.clone(),
            detail: clean(detail, MAX_WORDS),
            started,
        }
    }

    /// The stream can't be read on.
    #[must_use]
    pub fn unreadable(&self, error: &LineError, started: bool) -> InferenceError {
        match error {
            LineError::Broken(_) => self.died(&error.to_string(), started),
            LineError::TooLong | LineError::NotText => self.protocol(&error.to_string()),
        }
    }

    /// What came is not the protocol.
    #[must_use]
    pub fn protocol(&self, detail: &str) -> InferenceError {
        InferenceError::Protocol {
            endpoint: self.name.clone(),
            detail: clean(detail, MAX_WORDS),
        }
    }

    /// A request that we refuse ourselves.
    #[must_use]
    pub fn rejected(&self, detail: &str) -> InferenceError {
        InferenceError::Rejected {
            endpoint: self.name.clone(),
            detail: clean(detail, MAX_WORDS),
        }
    }

    /// How it is doing: one word, the light, plain words, the models.
    #[must_use]
    pub fn health(
        &self,
        state: &str,
        health: HealthLevel,
        detail: &str,
        models: Vec<String>,
        slots: u32,
    ) -> EndpointHealth {
        EndpointHealth {
            name: EndpointName(self.name.clone()),
            kind: self.kind.as_str().to_owned(),
            url: shown(&self.base),
            state: state.to_owned(),
            health,
            detail: clean(detail, 2 * MAX_WORDS),
            models,
            running: 0,
            slots,
            tokens_per_second: None,
        }
    }

    /// How it is doing when it answers a small question with trouble.
    #[must_use]
    pub fn ill(&self, trouble: &Trouble, slots: u32) -> EndpointHealth {
        let (state, health, detail) = match trouble {
            Trouble::Unreachable(detail) => (
                "down",
                HealthLevel::Down,
                format!("not running: {detail}; {}", self.remedy),
            ),
            Trouble::Status(401 | 403, body) => (
                "needs_attention",
                HealthLevel::Down,
                format!("refuses the key: {}; mend `api_key`", words(body)),
            ),
            Trouble::Status(status, body) if *status == 402 || is_spent(body) => (
                "needs_attention",
                HealthLevel::Down,
                format!("refuses to work: {}; {SPENT}", words(body)),
            ),
            Trouble::Status(503, body) => ("loading", HealthLevel::Warn, words(body)),
            Trouble::Status(status, body) => (
                "down",
                HealthLevel::Down,
                format!("HTTP {status}: {}; check `url` and `kind`", words(body)),
            ),
            Trouble::Broken(detail) => ("down", HealthLevel::Down, detail.clone()),
            Trouble::Slow => (
                "down",
                HealthLevel::Down,
                format!("no answer within {} s", PROBE.as_secs()),
            ),
        };
        self.health(state, health, &detail, Vec::new(), slots)
    }
}

fn secret_value(text: &str, setting: &str, name: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| format!("endpoint {name}: {setting} holds characters that no key has"))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn accepted(response: Response) -> Result<Response, Trouble> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    // The status says enough when the words don't come.
    let read = tokio::time::timeout(PROBE, body(response, MAX_ERROR)).await;
    let body = match read {
        Ok(Ok((body, _))) => String::from_utf8_lossy(&body).into_owned(),
        _ => String::new(),
    };
    Err(Trouble::Status(status.as_u16(), body))
}

/// The beginning of a body, and whether it is all of it.
async fn body(mut response: Response, limit: usize) -> Result<(Vec<u8>, bool), Trouble> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| sending(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            body.truncate(limit);
            return Ok((body, false));
        }
    }
    Ok((body, true))
}

fn sending(error: &reqwest::Error) -> Trouble {
    if error.is_connect() {
        Trouble::Unreachable(cause(error))
    } else if error.is_timeout() {
        Trouble::Slow
    } else {
        Trouble::Broken(cause(error))
    }
}

/// The deepest cause of an error, cleaned: the system's words, without the address that the outer ones repeat.
#[must_use]
pub fn cause(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(next) = deepest.source() {
        deepest = next;
    }
    clean(&deepest.to_string(), MAX_WORDS)
}

/// A count in JSON: none where it is absent, negative or not a number.
#[must_use]
pub fn count(value: &Value) -> Option<u32> {
    value
        .as_u64()
        .map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

/// Does this field tell of an error? Null, `false` and empty text tell of none.
#[must_use]
pub fn is_error(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(_) => true,
    }
}

/// The models that may be used: those with a name that can be shown and sent back as it is, on the allow-list where there
/// is one, each once, sorted.
#[must_use]
pub fn usable<'a>(names: impl Iterator<Item = &'a str>, allowed: &[String]) -> Vec<String> {
    use crate::domain::model_name::{canonical, same_model};
    let fits = |name: &str| {
        !name.is_empty()
            && name.chars().count() <= MAX_NAME
            && !name
                .chars()
                .any(|c| is_hostile(c) || (c != ' ' && c.is_whitespace()))
    };
    let mut models: Vec<String> = names
        .filter(|name| fits(name))
        .filter(|name| allowed.is_empty() || allowed.iter().any(|ours| same_model(ours, name)))
        .map(str::to_owned)
        .collect();
    models.sort_by_cached_key(|name| canonical(name));
    models.dedup_by(|a, b| same_model(a, b));
    models
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_models_whose_names_are_safe_and_allowed_are_used() {
        let names = ["b:latest", "A:1", "b", "x\u{1b}[0m", "", "c:2"];
        assert_eq!(usable(names.into_iter(), &[]), ["A:1", "b:latest", "c:2"]);
        assert_eq!(usable(names.into_iter(), &["B".into()]), ["b:latest"]);
    }

    #[test]
    fn a_key_never_goes_over_the_internet_in_clear() {
        let settings = Settings::default();
        let key = SecretString::from("k");
        let new = |url: &str| {
            let base = super::super::address::parse(url, 80).unwrap();
            Server::new(&settings, base, &Some(key.clone()).into(), PROBE, "")
        };
        assert!(new("http://api.example.com").is_err());
        assert!(new("https://api.example.com").is_ok());
        let shown = format!("{:?}", new("http://10.0.0.2").unwrap());
        assert_eq!(shown, "local (ollama at http://10.0.0.2)");
    }
}
