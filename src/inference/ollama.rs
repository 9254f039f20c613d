//! Ollama through its native API: `/api/chat` streamed, with the prompt never cut behind our back.

mod wire;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
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
use crate::domain::model_name::{canonical, same_model};
use crate::domain::text::clean;
use wire::Show;

/// Ollama's port where the settings name none.
const PORT: u16 = 11434;
/// The context asked for where the settings do not say, tokens. Always sent: the server's own default differs by version
/// and by memory.
const NUM_CTX: u32 = 8192;
/// From this version on `truncate: false` and `shift: false` are obeyed.
const OBEYS: [u32; 3] = [0, 12, 6];
/// How long a harmless question may take to be refused.
const CHECK: Duration = Duration::from_secs(30);
/// What a seller does whose server takes none of our requests.
const REFUSES_ALL: &str =
    "compare [text] with what the server takes (`vend doctor` asks the same way)";
/// This one version leaves cached tokens out of its count of the prompt.
const MISCOUNTS: [u32; 3] = [0, 30, 0];

/// An Ollama server.
pub struct OllamaEndpoint {
    server: Server,
    deadlines: Deadlines,
    slots: u32,
    num_ctx: u32,
    trusted: Vec<String>,
    own: Own,
    known: Mutex<Known>,
}

/// What the settings say about each request.
#[derive(Debug, Default)]
pub struct Own {
    keep_alive: Option<String>,
    think: bool,
    stop: Vec<String>,
    options: Map<String, Value>,
}

/// What the server said about itself.
#[derive(Debug, Default)]
struct Known {
    version: Option<[u32; 3]>,
    /// Model and digest, as listed; when it changes, what was shown of the models may be stale.
    listed: Vec<(String, String)>,
    shows: HashMap<String, Show>,
    learned: Learned,
    /// Models that it has answered with, and that were not unloaded since.
    loaded: BTreeSet<String>,
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
        access: impl Into<Access>,
        deadlines: Deadlines,
    ) -> Result<Self, String> {
        let base = address::parse(&settings.url, PORT)
            .map_err(|error| format!("endpoint {}: {error}", clean(&settings.name, 64)))?;
        // What is pasted with the address: a call, or the place of its OpenAI-compatible one.
        let base = address::without(address::without_call(base), &["/api", "/v1"]);
        let remedy = if address::is_loopback(&base) {
            "start it with `ollama serve`"
        } else {
            "start it there with `ollama serve`, and OLLAMA_HOST=0.0.0.0 so that it can be reached"
        };
        let connect = deadlines.connect;
        let server = Server::new(settings, base, &access.into(), connect, remedy)?;
        Ok(Self {
            server,
            deadlines,
            slots: settings.slots.max(1),
            num_ctx: settings.num_ctx.unwrap_or(NUM_CTX).max(1),
            trusted: settings.models.clone(),
            own: Own {
                keep_alive: settings.keep_alive.clone(),
                think: settings.think.unwrap_or(false),
                stop: settings.stop.clone(),
                options: settings.extra.clone().into_iter().collect(),
            },
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
            // Some proxies let only the chat through.
            (version, Err(Trouble::Status(403..=405, _))) if !self.trusted.is_empty() => {
                self.describe(&version.unwrap_or_default(), &Value::Null)
            }
            (Err(trouble), _) | (_, Err(trouble)) => self.server.ill(&trouble, self.slots),
        }
    }

    /// The health of a server that answers. Models that run in somebody's cloud are hidden: the buyer's text would leave
    /// this machine, on the seller's account there.
    fn describe(&self, version: &Value, tags: &Value) -> EndpointHealth {
        let local = wire::local_models(tags);
        let listed = usable(local.iter().map(|(name, _)| name.as_str()), &[]);
        let text = clean(
            version["version"].as_str().unwrap_or("of unknown version"),
            32,
        );
        let number = wire::version(&text);
        self.known(|known| {
            known.version = number;
            if known.listed != local {
                known.shows.clear();
                known.listed = local;
            }
        });
        let lists = |ours: &str| listed.iter().find(|model| same_model(ours, model));
        let missing = self.trusted.iter().find(|ours| lists(ours).is_none());
        let (health, detail) = if let Some(model) = missing {
            let fix = self.server.missing_fix(model);
            (
                HealthLevel::Warn,
                format!("Ollama {text} does not list {model}, which `models` names: {fix}"),
            )
        } else if listed.is_empty() {
            let fix = self.server.missing_fix("MODEL");
            (
                HealthLevel::Warn,
                format!("Ollama {text}; no models yet: {fix}"),
            )
        } else if number.is_some_and(|number| number < OBEYS) {
            (
                HealthLevel::Warn,
                format!("Ollama {text} may cut long prompts: update it"),
            )
        } else {
            (HealthLevel::Ok, format!("Ollama {text}"))
        };
        let models = if self.trusted.is_empty() {
            listed
        } else {
            let named = self.trusted.iter();
            named
                .map(|ours| lists(ours).unwrap_or(ours).clone())
                .collect()
        };
        self.server
            .health("up", health, &detail, models, self.slots)
    }

    /// A chat without a message, and a stay of no time: Ollama's way to unload. Only models that worked for the shop; others
    /// are somebody else's.
    async fn unload_all(&self) -> Result<Vec<String>, String> {
        let models = self.known(|known| std::mem::take(&mut known.loaded));
        let mut unloaded = Vec::new();
        for model in models {
            let body = json!({ "model": model, "messages": [], "keep_alive": 0 });
            match self.server.post("/api/chat", &body).await {
                Ok(_) => unloaded.push(model),
                // It is not there any more, and so not in memory.
                Err(Trouble::Status(404, _)) => {}
                Err(trouble) => return Err(self.server.failure(trouble, &model).to_string()),
            }
        }
        Ok(unloaded)
    }

    /// What must be known before the model is asked: what can it do?
    async fn prepare(&self, model: &str) -> Result<Show, InferenceError> {
        let failure = |trouble| self.server.failure(trouble, model);
        let show = match self.show(model).await {
            Ok(show) => show,
            // Some proxies let only the chat through.
            Err(Trouble::Status(404, body)) if is_no_api(&body) => Show::unknown(model),
            Err(trouble @ (Trouble::Unreachable(_) | Trouble::Status(401 | 403 | 404, _))) => {
                return Err(failure(trouble));
            }
            Err(_) => Show::unknown(model),
        };
        // Named in the settings, it is the seller's own choice.
        let chosen = self.trusted.iter().any(|ours| same_model(ours, model));
        if show.remote && !chosen {
            let detail = format!("{model} runs in a cloud, not on this machine");
            return Err(self.server.rejected(&detail));
        }
        Ok(show)
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
        let between = self.deadlines.between_tokens;
        let mut patience = Patience::new(&self.server.name, job, first, between);
        let show = patience.wait(self.prepare(&ask.model)).await??;
        let num_ctx = show
            .context
            .map_or(self.num_ctx, |most| self.num_ctx.min(most));
        self.known(|known| known.loaded.insert(ask.model.clone()));
        let lines = match patience.wait(self.open(&ask, num_ctx, &show)).await? {
            Ok(lines) => lines,
            Err(trouble) => return Err(self.refused(trouble, &ask, &show, &patience).await),
        };
        let draft = Draft::new(&self.server.name, &ask, progress);
        let reading = Reading {
            server: &self.server,
            model: &ask.model,
            framing: Framing::Lines,
            read: wire::read,
        };
        let mut draft = reading.whole(lines, draft, &mut patience).await?;
        if self.known(|known| known.version == Some(MISCOUNTS)) {
            draft.doubt_prompt();
        }
        draft.finish(&prompt, Some(num_ctx))
    }

    /// Asks, and again without each field that the server refuses by name.
    async fn open(&self, ask: &Ask, num_ctx: u32, show: &Show) -> Result<Lines, Trouble> {
        loop {
            let mut body = wire::chat(ask, num_ctx, show, &self.own);
            self.known(|known| known.learned.apply(&ask.model, &mut body));
            let (status, refusal) = match self.server.stream("/api/chat", &body).await {
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
    async fn refused(
        &self,
        trouble: Trouble,
        ask: &Ask,
        show: &Show,
        patience: &Patience,
    ) -> InferenceError {
        let error = self.server.failure(trouble, &ask.model);
        let InferenceError::Rejected { endpoint, detail } = &error else {
            return error;
        };
        let harmless = Ask {
            messages: vec![Message::user("Hello.")],
            so_far: None,
            ..ask.clone()
        };
        let asked = self.open(
            &harmless,
            self.num_ctx.min(show.context.unwrap_or(u32::MAX)),
            show,
        );
        match timeout(CHECK, patience.wait(asked)).await {
            Ok(Ok(Err(Trouble::Status(400..=498, _)))) => InferenceError::Refused {
                endpoint: endpoint.clone(),
                detail: detail.clone(),
                fix: REFUSES_ALL,
            },
            _ => error,
        }
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

    fn unload(&self) -> BoxFuture<'_, Result<Vec<String>, String>> {
        self.unload_all().boxed()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> OllamaEndpoint {
        OllamaEndpoint::new(
            &Settings::default(),
            Access::default(),
            Deadlines::default(),
        )
        .unwrap()
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
            (health.health, health.detail.as_str()),
            (HealthLevel::Ok, "Ollama 0.33.0")
        );
    }

    #[test]
    fn a_server_that_cuts_prompts_or_has_no_models_is_a_warning() {
        let tags = json!({ "models": [{ "name": "m" }] });
        assert_eq!(health("0.12.5", &tags).health, HealthLevel::Warn);
        assert_eq!(health("0.12.6", &tags).health, HealthLevel::Ok);
        assert_eq!(health("custom build", &tags).health, HealthLevel::Ok);
        assert_eq!(
            health("0.33.0", &json!({ "models": null })).health,
            HealthLevel::Warn
        );
    }

    #[test]
    fn a_model_of_the_settings_is_trusted_and_named_where_it_is_not_listed() {
        let settings = Settings {
            models: vec!["gemma2".into()],
            ..Settings::default()
        };
        let endpoint =
            OllamaEndpoint::new(&settings, Access::default(), Deadlines::default()).unwrap();
        let tags = json!({ "models": [{ "name": "other:latest" }] });
        let health = endpoint.describe(&json!({ "version": "0.33.0" }), &tags);
        assert_eq!(health.models, ["gemma2"]);
        assert_eq!(health.health, HealthLevel::Warn);
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
