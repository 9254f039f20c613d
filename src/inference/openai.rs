//! Servers that speak as `OpenAI` does: llama.cpp, vLLM, LM Studio and gateways in front of them.

mod wire;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::timeout;

use super::chat::Reading;
use super::draft::Draft;
use super::frames::Framing;
use super::http::{Access, Server, usable};
use super::learned::Learned;
use super::lines::Lines;
use super::patience::{Deadlines, JobClock, Patience};
use super::trouble::{Trouble, is_no_api};
use super::{Ask, Endpoint, InferenceError, Progress, address};
use crate::config::schema::Endpoint as Settings;
use crate::domain::health::{EndpointHealth, HealthLevel};
use crate::domain::job::Answer;
use crate::domain::message::Message;
use crate::domain::model_name::same_model;
use crate::domain::text::clean;

/// The port where the settings name neither port nor scheme: llama.cpp's.
const PORT: u16 = 8080;
/// How long a harmless question may take to be refused.
const CHECK: Duration = Duration::from_secs(30);
/// What a seller does whose server takes none of our requests.
const REFUSES_ALL: &str = "compare [text] and this endpoint's `extra` with what the server takes (`vend doctor` asks the same way)";

/// A server with an OpenAI-compatible API.
pub struct OpenAiEndpoint {
    server: Server,
    deadlines: Deadlines,
    slots: u32,
    trusted: Vec<String>,
    own: Own,
    /// Where its calls may be, below its address; the documentation of servers prints it with or without `/v1`.
    prefixes: Vec<String>,
    known: Mutex<Known>,
}

/// What the settings say about each request.
#[derive(Debug, Default)]
pub struct Own {
    stop: Vec<String>,
    think: Option<bool>,
    extra: Map<String, Value>,
}

#[derive(Debug, Default)]
struct Known {
    learned: Learned,
    /// Which of the prefixes it is.
    prefix: Option<String>,
}

impl fmt::Debug for OpenAiEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl OpenAiEndpoint {
    /// An endpoint as the settings describe it; its address is the one that the server's documentation prints. Connects to
    /// nothing yet.
    ///
    /// # Errors
    ///
    /// A sentence for the operator: the address can't be read, or the key can't be sent there.
    pub fn new(
        settings: &Settings,
        access: impl Into<Access>,
        deadlines: Deadlines,
    ) -> Result<Self, String> {
        let base = address::parse(&settings.url, PORT)
            .map_err(|error| format!("endpoint {}: {error}", clean(&settings.name, 64)))?;
        let (base, version) = address::split_version(address::without_call(base));
        let prefixes = match version {
            Some(version) => vec![version],
            None => vec!["/v1".to_owned(), String::new()],
        };
        let remedy = "start the server, or mend this endpoint's `url`";
        let connect = deadlines.connect;
        Ok(Self {
            server: Server::new(settings, base, &access.into(), connect, remedy)?,
            deadlines,
            slots: settings.slots.max(1),
            trusted: settings.models.clone(),
            own: Own {
                stop: settings.stop.clone(),
                think: settings.think,
                extra: settings.extra.clone().into_iter().collect(),
            },
            prefixes,
            known: Mutex::default(),
        })
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where its calls are, or may be.
    fn places(&self) -> Vec<String> {
        let known = self.known(|known| known.prefix.clone());
        known.map_or_else(|| self.prefixes.clone(), |prefix| vec![prefix])
    }

    async fn look(&self) -> EndpointHealth {
        // llama.cpp says there that it is loading; other servers need not have it.
        let (health, models) = tokio::join!(self.server.get("/health"), self.list());
        if let Err(trouble @ Trouble::Status(503, _)) = &health {
            return self.server.ill(trouble, self.slots);
        }
        match models {
            Ok(list) => self.describe(usable(wire::models(&list), &[])),
            // A key that may only chat, or a server without a list.
            Err(Trouble::Status(403..=405 | 501, _) | Trouble::Broken(_))
                if !self.trusted.is_empty() =>
            {
                self.describe(Vec::new())
            }
            Err(trouble) => self.server.ill(&trouble, self.slots),
        }
    }

    /// Its list of models, wherever it is.
    async fn list(&self) -> Result<Value, Trouble> {
        let mut first = None;
        for prefix in self.places() {
            match self.server.get(&format!("{prefix}/models")).await {
                Ok(list) if wire::is_list(&list) => {
                    self.known(|known| known.prefix = Some(prefix));
                    return Ok(list);
                }
                Ok(_) => {
                    first.get_or_insert(Trouble::Broken("what it lists are no models".into()));
                }
                Err(trouble @ (Trouble::Unreachable(_) | Trouble::Slow)) => return Err(trouble),
                Err(trouble) => {
                    first.get_or_insert(trouble);
                }
            }
        }
        Err(first.unwrap_or_else(|| Trouble::Broken("it has no address".into())))
    }

    /// The models of the settings are trusted as they stand; without any, those that it lists.
    fn describe(&self, listed: Vec<String>) -> EndpointHealth {
        let lists = |ours: &str| listed.iter().find(|model| same_model(ours, model));
        let missing = self.trusted.iter().find(|ours| lists(ours).is_none());
        let (health, detail) = match missing {
            Some(model) => (
                HealthLevel::Warn,
                format!("does not list the model {model}; it is trusted, as `models` names it"),
            ),
            None if listed.is_empty() => (
                HealthLevel::Warn,
                "lists no models: load one, or name them in this endpoint's `models`".to_owned(),
            ),
            None => (
                HealthLevel::Ok,
                format!("OpenAI-compatible, {} models", listed.len()),
            ),
        };
        let models = if self.trusted.is_empty() {
            listed
        } else {
            let named = self.trusted.iter();
            let named = named.map(|ours| lists(ours).unwrap_or(ours).clone());
            named.collect()
        };
        self.server
            .health("up", health, &detail, models, self.slots)
    }

    async fn run(
        &self,
        ask: Ask,
        progress: watch::Sender<Progress>,
    ) -> Result<Answer, InferenceError> {
        let prompt = ask.prompt();
        if prompt.trim().is_empty() {
            return Err(self.server.rejected("an empty prompt"));
        }
        let job = JobClock::start(ask.deadline);
        let first = self.deadlines.first_for(&prompt, ask.attempt);
        let mut patience =
            Patience::new(&self.server.name, job, first, self.deadlines.between_tokens);
        let lines = match patience.wait(self.open(&ask)).await? {
            Ok(lines) => lines,
            Err(trouble) => return Err(self.refused(trouble, &ask, &patience).await),
        };
        let draft = Draft::new(&self.server.name, &ask, progress);
        let reading = Reading {
            server: &self.server,
            model: &ask.model,
            framing: Framing::Events,
            read: wire::read,
        };
        let draft = reading.whole(lines, draft, &mut patience).await?;
        draft.finish(&prompt, None)
    }

    /// Asks, wherever its calls are, and again without each field that it refuses by name.
    async fn open(&self, ask: &Ask) -> Result<Lines, Trouble> {
        let mut refused = None;
        for prefix in self.places() {
            match self.open_at(&prefix, ask).await {
                Ok(lines) => {
                    self.known(|known| known.prefix = Some(prefix));
                    return Ok(lines);
                }
                Err(Trouble::Status(status @ (404 | 405), body))
                    if status == 405 || is_no_api(&body) =>
                {
                    refused.get_or_insert(Trouble::Status(status, body));
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Err(refused.unwrap_or_else(|| Trouble::Broken("it has no address".into())))
    }

    async fn open_at(&self, prefix: &str, ask: &Ask) -> Result<Lines, Trouble> {
        let path = format!("{prefix}/chat/completions");
        loop {
            let mut body = wire::chat(ask, &self.own);
            self.known(|known| known.learned.apply(&ask.model, &mut body));
            let (status, refusal) = match self.server.stream(&path, &body).await {
                Err(Trouble::Status(status, refusal)) => (status, refusal),
                other => return other,
            };
            // Each round takes a field away, so it ends.
            let learn =
                |known: &mut Known| known.learned.learn(&ask.model, status, &refusal, &body);
            if !self.known(learn) {
                return Err(Trouble::Status(status, refusal));
            }
        }
    }

    /// What a refusal means. One of the request itself may be about what the buyer said, or about how we ask: a harmless
    /// question, asked in the same way, tells.
    async fn refused(&self, trouble: Trouble, ask: &Ask, patience: &Patience) -> InferenceError {
        let error = self.server.failure(trouble, &ask.model);
        let InferenceError::Rejected { endpoint, detail } = &error else {
            return error;
        };
        let harmless = Ask {
            messages: vec![Message::user("Hello.")],
            so_far: None,
            ..ask.clone()
        };
        let again = timeout(CHECK, patience.wait(self.open(&harmless))).await;
        match again {
            Ok(Ok(Err(Trouble::Status(400..=498, _)))) => InferenceError::Refused {
                endpoint: endpoint.clone(),
                detail: detail.clone(),
                fix: REFUSES_ALL,
            },
            _ => error,
        }
    }
}

impl Endpoint for OpenAiEndpoint {
    fn name(&self) -> &str {
        &self.server.name
    }

    fn slots(&self) -> u32 {
        self.slots
    }

    fn health(&self) -> BoxFuture<'_, EndpointHealth> {
        self.look().boxed()
    }

    fn clock_off_secs(&self) -> Option<i64> {
        self.server.clock_off_secs()
    }

    fn missing_fix(&self, model: &str) -> String {
        self.server.missing_fix(model)
    }

    fn answer(
        &self,
        ask: Ask,
        progress: watch::Sender<Progress>,
    ) -> BoxFuture<'_, Result<Answer, InferenceError>> {
        self.run(ask, progress).boxed()
    }
}
