//! Servers that speak as `OpenAI` does: llama.cpp, vLLM, LM Studio and gateways in front of them.

mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::draft::Draft;
use super::http::{Server, usable};
use super::lines::Lines;
use super::patience::{Deadlines, JobClock, Patience};
use super::sse::Events;
use super::trouble::Trouble;
use super::{Ask, Endpoint, InferenceError, Progress, address};
use crate::config::schema::Endpoint as Settings;
use crate::domain::health::{EndpointHealth, Light};
use crate::domain::job::Answer;
use crate::domain::model_name::{canonical, same_model};
use crate::domain::text::clean;
use wire::{Ending, Piece};

/// The port where the settings name neither port nor scheme: llama.cpp's.
const PORT: u16 = 8080;
/// So long after an answer the model is taken to be loaded still. (LM Studio unloads after an hour.)
const WARM: Duration = Duration::from_mins(30);
/// Fields that not every server knows. One that refuses a request and names such a field is asked again without it.
const OPTIONAL: [&str; 3] = ["stream_options", "top_k", "seed"];

/// A server with an OpenAI-compatible API.
pub struct OpenAiEndpoint {
    server: Server,
    deadlines: Deadlines,
    slots: u32,
    allowed: Vec<String>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Optional fields that it refuses.
    refused: Vec<&'static str>,
    /// When each model last answered.
    answered: HashMap<String, Instant>,
}

impl fmt::Debug for OpenAiEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl OpenAiEndpoint {
    /// An endpoint as the settings describe it; its address may end in `/v1` or not. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// A sentence for the operator: the address can't be read, or the key can't be sent there.
    pub fn new(
        settings: &Settings,
        api_key: Option<SecretString>,
        deadlines: Deadlines,
    ) -> Result<Self, String> {
        let mut base = address::parse(&settings.url, PORT)
            .map_err(|error| format!("endpoint {}: {error}", clean(&settings.name, 64)))?;
        if let Some(path) = base.path().strip_suffix("/v1").map(str::to_owned) {
            base.set_path(&path);
        }
        let remedy = "start the server, or mend this endpoint's `url`";
        let connect = deadlines.connect;
        Ok(Self {
            server: Server::new(settings, base, api_key, connect, remedy)?,
            deadlines,
            slots: settings.slots.max(1),
            allowed: settings.models.clone(),
            known: Mutex::default(),
        })
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn look(&self) -> EndpointHealth {
        // llama.cpp says there that it is loading; other servers need not have it.
        let (health, models) =
            tokio::join!(self.server.get("/health"), self.server.get("/v1/models"));
        if let Err(trouble @ Trouble::Status(503, _)) = &health {
            return self.server.ill(trouble, self.slots);
        }
        match models {
            Ok(list) => self.describe(usable(wire::models(&list), &self.allowed)),
            Err(Trouble::Status(404, _)) if !self.allowed.is_empty() => {
                self.describe(self.allowed.clone())
            }
            Err(trouble) => self.server.ill(&trouble, self.slots),
        }
    }

    fn describe(&self, models: Vec<String>) -> EndpointHealth {
        let missing = self
            .allowed
            .iter()
            .find(|ours| !models.iter().any(|model| same_model(ours, model)));
        let (light, detail) = match missing {
            Some(model) => (Light::Warn, format!("does not list the model {model}")),
            None if models.is_empty() => (Light::Warn, "lists no models".to_owned()),
            None => (
                Light::Ok,
                format!("OpenAI-compatible, {} models", models.len()),
            ),
        };
        self.server.health("up", light, &detail, models, self.slots)
    }

    async fn run(
        &self,
        ask: Ask,
        progress: watch::Sender<Progress>,
    ) -> Result<Answer, InferenceError> {
        if ask.prompt.trim().is_empty() {
            return Err(self.server.rejected("an empty prompt"));
        }
        let model = canonical(&ask.model);
        let answered = self.known(|known| known.answered.get(&model).copied());
        let first = if answered.is_some_and(|at| at.elapsed() < WARM) {
            self.deadlines.first_token_warm
        } else {
            self.deadlines.first_token_cold
        };
        let job = JobClock::start(ask.deadline);
        let mut patience =
            Patience::new(&self.server.name, job, first, self.deadlines.between_tokens);
        let lines = self.open(&ask, &patience).await?;
        let draft = Draft::new(&self.server.name, progress);
        let draft = self.read(lines, &ask.model, draft, &mut patience).await?;
        self.known(|known| known.answered.insert(model, Instant::now()));
        draft.finish(&ask.prompt, None)
    }

    /// Asks; again without an optional field that the server refuses by name.
    async fn open(&self, ask: &Ask, patience: &Patience) -> Result<Lines, InferenceError> {
        loop {
            let refused = self.known(|known| known.refused.clone());
            let body = wire::chat(ask, &refused);
            let trouble = match patience
                .wait(self.server.stream("/v1/chat/completions", &body))
                .await?
            {
                Ok(lines) => return Ok(lines),
                Err(trouble) => trouble,
            };
            let Some(field) = named_field(&trouble, &body) else {
                return Err(self.server.failure(trouble, &ask.model));
            };
            self.known(|known| known.refused.push(field));
        }
    }

    /// Reads until the end of the stream. It is an answer only when the server gave a reason why it ended.
    async fn read(
        &self,
        mut lines: Lines,
        model: &str,
        mut draft: Draft,
        patience: &mut Patience,
    ) -> Result<Draft, InferenceError> {
        let mut events = Events::default();
        let mut finished = false;
        loop {
            let line = match patience.wait(lines.next()).await {
                Ok(Ok(line)) => line,
                // The answer is whole; only its counts may be missing.
                Ok(Err(_)) | Err(_) if finished => return Ok(draft),
                Ok(Err(error)) => return Err(self.server.unreadable(&error, patience.started())),
                Err(error) => return Err(error),
            };
            let over = line.is_none();
            let data = match line {
                Some(line) => events
                    .push(&line)
                    .map_err(|error| self.server.unreadable(&error, patience.started()))?,
                None => events.finish(),
            };
            if let Some(data) = data {
                match wire::read(&data) {
                    None if over || lines.ended() => {}
                    None => return Err(self.server.protocol("an event that is not a chat's")),
                    Some(Piece::Done) => return self.ended(finished, draft, patience.started()),
                    Some(Piece::Error) if finished => return Ok(draft),
                    Some(Piece::Error) => {
                        return Err(self.server.stream_error(&data, model, patience.started()));
                    }
                    Some(Piece::Part(part)) => {
                        if draft.push(&part.content, &part.thinking)? {
                            patience.token();
                        }
                        part.counts(&mut draft);
                        finished |= self.ending(part.ending, &mut draft, patience.started())?;
                    }
                }
            }
            if over {
                return self.ended(finished, draft, patience.started());
            }
        }
    }

    /// Did the server give a reason why the answer ended, and is it one of an answer?
    fn ending(
        &self,
        ending: Option<Ending>,
        draft: &mut Draft,
        started: bool,
    ) -> Result<bool, InferenceError> {
        match ending {
            None => return Ok(false),
            Some(Ending::Stop) => {}
            Some(Ending::Length) => draft.cut = true,
            Some(Ending::Filtered) => {
                return Err(self
                    .server
                    .rejected("the server's content filter stopped the answer"));
            }
            Some(Ending::Aborted) => {
                return Err(self.server.died("the server aborted the answer", started));
            }
        }
        Ok(true)
    }

    fn ended(&self, finished: bool, draft: Draft, started: bool) -> Result<Draft, InferenceError> {
        if finished {
            Ok(draft)
        } else {
            Err(self
                .server
                .died("the stream ended before the answer did", started))
        }
    }
}

/// The optional field that a refusal names, where it was sent.
fn named_field(trouble: &Trouble, sent: &Value) -> Option<&'static str> {
    let Trouble::Status(400 | 422, words) = trouble else {
        return None;
    };
    OPTIONAL
        .into_iter()
        .find(|field| sent.get(field).is_some() && words.contains(*field))
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

    fn answer(
        &self,
        ask: Ask,
        progress: watch::Sender<Progress>,
    ) -> BoxFuture<'_, Result<Answer, InferenceError>> {
        self.run(ask, progress).boxed()
    }
}
