//! The tiny model inside vend as an endpoint: for the demo and for tests, so that a whole sale needs no other program.

mod gguf;
mod model;
mod sampler;
mod tiny;
mod tokenizer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::{Ask, Endpoint, InferenceError, Progress};
use crate::config::schema::{Endpoint as Settings, EndpointKind};
use crate::domain::health::{EndpointHealth, HealthLevel};
use crate::domain::id::EndpointName;
use crate::domain::job::{Answer, TextParams};
use crate::domain::message::{Message, Role};
use crate::domain::model_name::same_model;
use crate::domain::text::clean;

pub use tiny::{Finish, Generated, ModelError, Sampling, TinyModel};

/// What the model is sold as.
pub const MODEL: &str = "vend-tiny";
/// A prompt of more bytes than this can't fit the model's context, whatever it says; so it is not even counted.
const MAX_PROMPT: usize = 8 << 10;
/// So often a paced answer looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(20);

/// The built-in model, behind the same trait as the servers.
#[derive(Debug)]
pub struct BuiltinEndpoint {
    name: String,
    slots: u32,
    allowed: Vec<String>,
    pace: Option<u32>,
}

impl BuiltinEndpoint {
    /// An endpoint as the settings describe it. `pace` slows it down to so many tokens per second, for a screen on which
    /// the work is to be seen; none: as fast as it can.
    #[must_use]
    pub fn new(settings: &Settings, pace: Option<u32>) -> Self {
        Self {
            name: clean(&settings.name, 64),
            slots: settings.slots.max(1),
            allowed: settings.models.clone(),
            pace: pace.filter(|pace| *pace > 0),
        }
    }

    fn describe(&self) -> EndpointHealth {
        let allowed = self.allowed.is_empty() || self.allowed.iter().any(|m| same_model(m, MODEL));
        let (state, health, detail, models) = match TinyModel::embedded() {
            Err(error) => ("down", HealthLevel::Down, error.to_string(), Vec::new()),
            Ok(_) if allowed => (
                "up",
                HealthLevel::Ok,
                format!("{MODEL} · demo model"),
                vec![MODEL.to_owned()],
            ),
            Ok(_) => (
                "up",
                HealthLevel::Warn,
                format!("`models` leaves out {MODEL}, the only one"),
                Vec::new(),
            ),
        };
        EndpointHealth {
            name: EndpointName(self.name.clone()),
            kind: EndpointKind::Builtin.as_str().to_owned(),
            url: String::new(),
            state: state.to_owned(),
            health,
            detail,
            models,
            running: 0,
            slots: self.slots,
            tokens_per_second: None,
        }
    }

    async fn run(
        &self,
        ask: Ask,
        progress: watch::Sender<Progress>,
    ) -> Result<Answer, InferenceError> {
        if !same_model(&ask.model, MODEL) {
            return Err(InferenceError::ModelMissing {
                endpoint: self.name.clone(),
                model: clean(&ask.model, 200),
                fix: format!("set text.model to {MODEL}, or use another server"),
            });
        }
        let work = Work {
            endpoint: self.name.clone(),
            pace: self.pace,
            cancelled: Arc::default(),
            progress,
            ask,
        };
        // The thread ends within a token of the cancel, so it is not joined where this future is dropped.
        let _guard = CancelOnDrop(Arc::clone(&work.cancelled));
        match tokio::task::spawn_blocking(move || work.run()).await {
            Ok(answer) => answer,
            Err(error) => Err(InferenceError::Died {
                endpoint: self.name.clone(),
                detail: clean(&error.to_string(), 200),
                started: true,
            }),
        }
    }
}

impl Endpoint for BuiltinEndpoint {
    fn name(&self) -> &str {
        &self.name
    }

    fn slots(&self) -> u32 {
        self.slots
    }

    fn health(&self) -> BoxFuture<'_, EndpointHealth> {
        async { self.describe() }.boxed()
    }

    fn answer(
        &self,
        ask: Ask,
        progress: watch::Sender<Progress>,
    ) -> BoxFuture<'_, Result<Answer, InferenceError>> {
        self.run(ask, progress).boxed()
    }
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One answer, on a thread of its own.
struct Work {
    endpoint: String,
    pace: Option<u32>,
    cancelled: Arc<AtomicBool>,
    progress: watch::Sender<Progress>,
    ask: Ask,
}

impl Work {
    fn run(&self) -> Result<Answer, InferenceError> {
        let prompt = dialogue(&self.ask.messages);
        if prompt.len() > MAX_PROMPT {
            return Err(self.too_long());
        }
        let model = TinyModel::embedded().map_err(|error| self.died(&error))?;
        let (begun, mut text, mut tokens) = (Instant::now(), String::new(), 0);
        let sampling = sampling(&self.ask.params);
        let limit = self.ask.params.max_tokens.max(1);
        if let Some(so_far) = &self.ask.so_far {
            so_far.begin();
        }
        let mut emit = |piece: &str| {
            if let Some(so_far) = &self.ask.so_far {
                so_far.push(piece, "");
            }
            text.push_str(piece);
            tokens += 1;
            self.progress.send_replace(Progress { tokens });
            self.keep_pace(begun, tokens)
        };
        let generated = model
            .generate(&prompt, limit, &sampling, &[], &mut emit)
            .map_err(|error| match error {
                ModelError::PromptTooLong { .. } => self.too_long(),
                other => self.died(&other),
            })?;
        self.answer(text.trim(), generated, begun.elapsed())
    }

    fn answer(&self, text: &str, did: Generated, took: Duration) -> Result<Answer, InferenceError> {
        let endpoint = self.endpoint.clone();
        if did.finish == Finish::Cancelled {
            let after = self.ask.deadline;
            return Err(InferenceError::TimedOut { endpoint, after });
        }
        if text.is_empty() {
            return Err(InferenceError::Empty { endpoint });
        }
        Ok(Answer {
            text: text.to_owned(),
            prompt_tokens: did.prompt_tokens,
            completion_tokens: did.completion_tokens,
            estimated: false,
            cut: did.finish == Finish::Length,
            elapsed_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1),
            endpoint,
        })
    }

    /// Waits until the next token is due; false where it is not wanted any more.
    fn keep_pace(&self, begun: Instant, tokens: u32) -> bool {
        let due = self.pace.map_or(Duration::ZERO, |pace| {
            Duration::from_secs(1) * tokens / pace
        });
        while self.is_wanted(begun) {
            let wait = due.saturating_sub(begun.elapsed());
            if wait.is_zero() {
                return true;
            }
            thread::sleep(wait.min(LOOK));
        }
        false
    }

    fn is_wanted(&self, begun: Instant) -> bool {
        !self.cancelled.load(Ordering::Relaxed) && begun.elapsed() < self.ask.deadline
    }

    fn too_long(&self) -> InferenceError {
        InferenceError::TooLong {
            endpoint: self.endpoint.clone(),
            model: MODEL.to_owned(),
        }
    }

    fn died(&self, error: &ModelError) -> InferenceError {
        InferenceError::Died {
            endpoint: self.endpoint.clone(),
            detail: error.to_string(),
            started: false,
        }
    }
}

/// A conversation in the model's own form, which puts `Q: ` before it and `A:` after it.
fn dialogue(messages: &[Message]) -> String {
    let mut text = String::new();
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            text.push_str(match message.role {
                Role::System => "\n",
                Role::Assistant => "\nA: ",
                Role::User => "\nQ: ",
            });
        }
        text.push_str(&message.content);
    }
    text
}

/// The buyer's values in the model's terms; a random seed where none was asked for.
// Sampling needs no more precision than f32 has.
#[allow(clippy::cast_possible_truncation)]
fn sampling(params: &TextParams) -> Sampling {
    Sampling {
        temperature: params.temperature as f32,
        top_k: params.top_k,
        top_p: params.top_p as f32,
        frequency_penalty: params.frequency_penalty as f32,
        seed: params.seed.unwrap_or_else(rand::random),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(pace: Option<u32>) -> BuiltinEndpoint {
        let settings = Settings {
            name: "tiny".into(),
            kind: EndpointKind::Builtin,
            ..Settings::default()
        };
        BuiltinEndpoint::new(&settings, pace)
    }

    fn ask(prompt: &str) -> Ask {
        Ask {
            model: "vend-tiny:latest".into(),
            messages: vec![Message::user(prompt)],
            params: TextParams {
                max_tokens: 40,
                temperature: 0.0,
                top_k: 0,
                top_p: 1.0,
                frequency_penalty: 0.0,
                seed: None,
            },
            deadline: Duration::from_mins(1),
            attempt: 1,
            so_far: None,
        }
    }

    async fn answer(pace: Option<u32>, ask: Ask) -> Result<Answer, InferenceError> {
        endpoint(pace).answer(ask, watch::Sender::default()).await
    }

    #[tokio::test]
    async fn it_answers_with_exact_counts() {
        let answer = answer(None, ask("What is the capital of France?"))
            .await
            .unwrap();
        assert_eq!(answer.text, "The capital of France is Paris.");
        assert!(!answer.cut && !answer.estimated);
        assert!(answer.prompt_tokens > 0 && answer.completion_tokens > 0);
    }

    #[tokio::test]
    async fn it_says_when_the_answer_was_cut() {
        let mut ask = ask("What is the capital of France?");
        ask.params.max_tokens = 2;
        let answer = answer(None, ask).await.unwrap();
        assert!(answer.cut);
        assert_eq!(answer.completion_tokens, 2);
    }

    #[tokio::test]
    async fn a_prompt_that_does_not_fit_is_never_cut() {
        for long in ["why ".repeat(400), "x".repeat(1 << 20)] {
            let error = answer(None, ask(&long)).await.unwrap_err();
            assert!(matches!(error, InferenceError::TooLong { .. }));
        }
    }

    #[tokio::test]
    async fn it_has_no_other_model() {
        let mut ask = ask("hi");
        ask.model = "gemma2".into();
        let error = answer(None, ask).await.unwrap_err();
        assert!(matches!(error, InferenceError::ModelMissing { .. }));
        assert_eq!(endpoint(None).health().await.models, [MODEL]);
    }

    #[tokio::test]
    async fn a_slow_pace_ends_with_the_job_s_time() {
        let mut ask = ask("Tell me a story about a fox.");
        ask.deadline = Duration::from_millis(50);
        let error = answer(Some(1), ask).await.unwrap_err();
        assert!(matches!(error, InferenceError::TimedOut { .. }));
    }

    #[tokio::test]
    async fn dropping_the_future_ends_the_work() {
        let endpoint = endpoint(Some(1));
        let (progress, mut seen) = watch::channel(Progress::default());
        let running = endpoint.answer(ask("Tell me a story about a fox."), progress);
        tokio::select! {
            _ = running => panic!("it can't be done at one token per second"),
            changed = seen.changed() => changed.unwrap(),
        }
        // The sender is in the thread: the channel closes when the thread ends.
        while seen.changed().await.is_ok() {}
    }
}
