//! Ollama through its native API: `/api/chat` streamed, with the prompt never cut behind our back.

mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::draft::Draft;
use super::http::{Server, usable};
use super::patience::{Deadlines, JobClock, Patience};
use super::trouble::Trouble;
use super::{Ask, Endpoint, InferenceError, Progress, address};
use crate::config::schema::Endpoint as Settings;
use crate::domain::health::{EndpointHealth, Light};
use crate::domain::job::Answer;
use crate::domain::model_name::{canonical, same_model};
use crate::domain::text::clean;
use wire::{Line, Show};

/// Ollama's port where the settings name none.
const PORT: u16 = 11434;
/// The context asked for where the settings do not say, tokens. Always sent: the server's own default differs by version
/// and by memory.
const NUM_CTX: u32 = 8192;
/// From this version on `truncate: false` and `shift: false` are obeyed.
const OBEYS: [u32; 3] = [0, 12, 6];
/// This one version leaves cached tokens out of its count of the prompt.
const MISCOUNTS: [u32; 3] = [0, 30, 0];

/// An Ollama server.
pub struct OllamaEndpoint {
    server: Server,
    deadlines: Deadlines,
    slots: u32,
    num_ctx: u32,
    allowed: Vec<String>,
    known: Mutex<Known>,
}

/// What the server said about itself.
#[derive(Debug, Default)]
struct Known {
    version: Option<[u32; 3]>,
    /// Model and digest, as listed; when it changes, what was shown of the models may be stale.
    listed: Vec<(String, String)>,
    shows: HashMap<String, Show>,
}

impl fmt::Debug for OllamaEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl OllamaEndpoint {
    /// An endpoint as the settings describe it. Its address is read as `OLLAMA_HOST` is. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// A sentence for the operator: the address can't be read, or the key can't be sent there.
    pub fn new(
        settings: &Settings,
        api_key: Option<SecretString>,
        deadlines: Deadlines,
    ) -> Result<Self, String> {
        let base = address::parse(&settings.url, PORT)
            .map_err(|error| format!("endpoint {}: {error}", clean(&settings.name, 64)))?;
        let remedy = if address::is_loopback(&base) {
            "start it with `ollama serve`"
        } else {
            "start it there with `ollama serve`, and OLLAMA_HOST=0.0.0.0 so that it can be reached"
        };
        let connect = deadlines.connect;
        let server = Server::new(settings, base, api_key, connect, remedy)?;
        Ok(Self {
            server,
            deadlines,
            slots: settings.slots.max(1),
            num_ctx: settings.num_ctx.unwrap_or(NUM_CTX).max(1),
            allowed: settings.models.clone(),
            known: Mutex::default(),
        })
    }

    /// What the server shows of a model; asked once for each model, and again when its models have changed.
    ///
    /// # Errors
    ///
    /// The server's trouble; 404 where it does not have the model.
    async fn show(&self, model: &str) -> Result<Show, Trouble> {
        let name = canonical(model);
        if let Some(show) = self.known(|known| known.shows.get(&name).cloned()) {
            return Ok(show);
        }
        let question = json!({ "model": model });
        let shown = self.server.post("/api/show", &question).await?;
        let show = Show::read(model, &shown);
        self.known(|known| known.shows.insert(name, show.clone()));
        Ok(show)
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn look(&self) -> EndpointHealth {
        let (version, tags) = tokio::join!(
            self.server.get("/api/version"),
            self.server.get("/api/tags")
        );
        match (version, tags) {
            (Ok(version), Ok(tags)) => self.describe(&version, &tags),
            (Err(trouble), _) | (_, Err(trouble)) => self.server.ill(&trouble, self.slots),
        }
    }

    /// The health of a server that answers. Models that run in somebody's cloud are hidden: the buyer's text would leave
    /// this machine, on the seller's account there.
    fn describe(&self, version: &Value, tags: &Value) -> EndpointHealth {
        let listed = wire::local_models(tags);
        let names = listed.iter().map(|(name, _)| name.as_str());
        let models = usable(names, &self.allowed);
        let text = clean(
            version["version"].as_str().unwrap_or("of unknown version"),
            32,
        );
        let number = wire::version(&text);
        self.known(|known| {
            known.version = number;
            if known.listed != listed {
                known.shows.clear();
                known.listed = listed;
            }
        });
        let missing = self
            .allowed
            .iter()
            .find(|ours| !models.iter().any(|model| same_model(ours, model)));
        let (light, detail) = if let Some(model) = missing {
            (
                Light::Warn,
                format!("Ollama {text}; no model {model}: run `ollama pull {model}`"),
            )
        } else if models.is_empty() {
            (
                Light::Warn,
                format!("Ollama {text}; no models yet: run `ollama pull MODEL`"),
            )
        } else if number.is_some_and(|number| number < OBEYS) {
            (
                Light::Warn,
                format!("Ollama {text} may cut long prompts: update it"),
            )
        } else {
            (Light::Ok, format!("Ollama {text}"))
        };
        self.server.health("up", light, &detail, models, self.slots)
    }

    /// Is the model in memory? A server that can't say counts as not.
    async fn is_loaded(&self, model: &str) -> Result<bool, Trouble> {
        match self.server.get("/api/ps").await {
            Ok(loaded) => Ok(wire::names(&loaded).any(|name| same_model(name, model))),
            Err(trouble @ (Trouble::Unreachable(_) | Trouble::Slow)) => Err(trouble),
            Err(Trouble::Status(..) | Trouble::Broken(_)) => Ok(false),
        }
    }

    /// What must be known before the model is asked: is it loaded, and what can it do?
    async fn prepare(&self, model: &str) -> Result<(bool, Show), InferenceError> {
        let failure = |trouble| self.server.failure(trouble, model);
        let loaded = self.is_loaded(model).await.map_err(failure)?;
        let show = match self.show(model).await {
            Ok(show) => show,
            Err(trouble @ (Trouble::Unreachable(_) | Trouble::Status(401 | 403 | 404, _))) => {
                return Err(failure(trouble));
            }
            // Some proxies let only the chat through.
            Err(_) => Show::unknown(model),
        };
        if show.remote {
            let detail = format!("{model} runs in a cloud, not on this machine");
            return Err(self.server.rejected(&detail));
        }
        Ok((loaded, show))
    }

    async fn run(
        &self,
        ask: Ask,
        progress: watch::Sender<Progress>,
    ) -> Result<Answer, InferenceError> {
        if ask.prompt.trim().is_empty() {
            return Err(self.server.rejected("an empty prompt"));
        }
        let job = JobClock::start(ask.deadline);
        let opening = self.patience(job, ask.deadline);
        let (loaded, show) = opening.wait(self.prepare(&ask.model)).await??;
        let first = if loaded {
            self.deadlines.first_token_warm
        } else {
            self.deadlines.first_token_cold
        };
        let num_ctx = show
            .context
            .map_or(self.num_ctx, |most| self.num_ctx.min(most));
        let body = wire::chat(&ask, num_ctx, &show);
        let draft = Draft::new(&self.server.name, progress);
        let draft = self
            .stream(&body, &ask.model, draft, self.patience(job, first))
            .await?;
        draft.finish(&ask.prompt, Some(num_ctx))
    }

    fn patience(&self, job: JobClock, first: std::time::Duration) -> Patience {
        Patience::new(&self.server.name, job, first, self.deadlines.between_tokens)
    }

    /// Asks and reads until the line that says `done`. Without that line it is no answer.
    async fn stream(
        &self,
        body: &Value,
        model: &str,
        mut draft: Draft,
        mut patience: Patience,
    ) -> Result<Draft, InferenceError> {
        let lines = patience.wait(self.server.stream("/api/chat", body)).await?;
        let mut lines = lines.map_err(|trouble| self.server.failure(trouble, model))?;
        loop {
            let line = patience.wait(lines.next()).await?;
            let line = line
                .map_err(|error| self.server.unreadable(&error, patience.started()))?
                .ok_or_else(|| self.ended(patience.started()))?;
            if line.trim().is_empty() {
                continue;
            }
            match Line::read(&line) {
                None if lines.ended() => return Err(self.ended(patience.started())),
                None => return Err(self.server.protocol("a line that is not a chat's")),
                Some(Line::Error(text)) => {
                    return Err(self.server.stream_error(&text, model, patience.started()));
                }
                Some(Line::Part(part)) => {
                    if draft.push(&part.content, &part.thinking)? {
                        patience.token();
                    }
                    if let Some(end) = part.end {
                        self.close(&mut draft, &end);
                        return Ok(draft);
                    }
                }
            }
        }
    }

    /// Takes over what the last line says.
    fn close(&self, draft: &mut Draft, end: &wire::End) {
        let miscounts = self.known(|known| known.version == Some(MISCOUNTS));
        draft.prompt_tokens = end.prompt_tokens.filter(|_| !miscounts);
        draft.completion_tokens = end.completion_tokens;
        draft.server_ms = end.output_ms;
        draft.cut = end.cut;
    }

    fn ended(&self, started: bool) -> InferenceError {
        self.server
            .died("the stream ended before the answer did", started)
    }
}

impl Endpoint for OllamaEndpoint {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> OllamaEndpoint {
        OllamaEndpoint::new(&Settings::default(), None, Deadlines::default()).unwrap()
    }

    fn health(version: &str, tags: &Value) -> EndpointHealth {
        endpoint().describe(&json!({ "version": version }), tags)
    }

    #[test]
    fn cloud_models_are_hidden() {
        let tags = json!({ "models": [
            { "name": "gemma2:latest", "digest": "a" },
            { "name": "big:671b-cloud" },
            { "name": "big:cloud" },
            { "name": "alias:1", "remote_host": "https://example.com" },
            { "name": "alias:2", "remote_model": "big" },
        ]});
        let health = health("0.33.0", &tags);
        assert_eq!(health.models, ["gemma2:latest"]);
        assert_eq!(
            (health.light, health.detail.as_str()),
            (Light::Ok, "Ollama 0.33.0")
        );
    }

    #[test]
    fn a_server_that_cuts_prompts_or_has_no_models_is_a_warning() {
        let tags = json!({ "models": [{ "name": "m" }] });
        assert_eq!(health("0.12.5", &tags).light, Light::Warn);
        assert_eq!(health("0.12.6", &tags).light, Light::Ok);
        assert_eq!(health("custom build", &tags).light, Light::Ok);
        assert_eq!(
            health("0.33.0", &json!({ "models": null })).light,
            Light::Warn
        );
    }

    #[test]
    fn a_model_of_the_settings_that_is_not_there_is_named_with_its_remedy() {
        let settings = Settings {
            models: vec!["gemma2".into()],
            ..Settings::default()
        };
        let endpoint = OllamaEndpoint::new(&settings, None, Deadlines::default()).unwrap();
        let tags = json!({ "models": [{ "name": "other:latest" }] });
        let health = endpoint.describe(&json!({ "version": "0.33.0" }), &tags);
        assert_eq!(health.models, [""; 0]);
        assert!(health.detail.contains("`ollama pull gemma2`"));
    }

    #[test]
    fn what_was_shown_is_forgotten_when_the_models_change() {
        let endpoint = endpoint();
        let tags = |digest| json!({ "models": [{ "name": "m", "digest": digest }] });
        let shows = || endpoint.known(|known| known.shows.len());
        endpoint.describe(&Value::Null, &tags("a"));
        endpoint.known(|known| known.shows.insert("m:latest".into(), Show::unknown("m")));
        endpoint.describe(&Value::Null, &tags("a"));
        assert_eq!(shows(), 1);
        endpoint.describe(&Value::Null, &tags("b"));
        assert_eq!(shows(), 0);
    }
}
