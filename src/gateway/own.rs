//! This machine's own endpoints: where they have the model, nothing is bought.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::openai::Wanted;
use crate::config::schema::{Settings, Text};
use crate::domain::job::{Answer, TextParams};
use crate::domain::message::{Message, Role};
use crate::inference::{Ask, Pool, Progress};

/// How often the endpoints are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The conversation, as endpoints take it.
fn messages(wanted: &Wanted) -> Vec<Message> {
    let all = wanted.messages.iter().map(|one| Message {
        role: match one.role {
            "system" => Role::System,
            "assistant" => Role::Assistant,
            _ => Role::User,
        },
        content: one.content.clone(),
    });
    all.collect()
}

/// The own endpoints.
#[derive(Clone)]
pub(super) struct Own {
    pool: Pool,
    text: Text,
    longest: Duration,
}

impl Own {
    pub(super) fn new(pool: Pool, settings: &Settings) -> Self {
        Self {
            pool,
            text: settings.text.clone(),
            longest: Duration::from_secs(settings.limits.job_timeout_secs),
        }
    }

    /// Looks at the endpoints now and then.
    pub(super) async fn keep_fresh(self, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = self.pool.refresh() => {}
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// The models that are here.
    pub(super) fn models(&self) -> Vec<String> {
        self.pool.models()
    }

    /// The model and the answer, where the model is here and a slot is free; none where it has to be bought.
    pub(super) async fn answer(
        &self,
        model: Option<&str>,
        wanted: &Wanted,
    ) -> Option<(String, Answer)> {
        let slot = self.pool.reserve(model.unwrap_or(&self.text.model))?;
        let model = slot.model().to_owned();
        let ask = Ask {
            model: model.clone(),
            messages: messages(wanted),
            params: self.params(wanted),
            deadline: self.longest,
            attempt: 1,
            so_far: None,
        };
        let (progress, _told) = watch::channel(Progress::default());
        match self.pool.answer(slot, ask, progress).await {
            Ok(answer) => Some((model, answer)),
            Err(error) => {
                tracing::warn!(%error, "the own endpoint did not answer: it is bought");
                None
            }
        }
    }

    fn params(&self, wanted: &Wanted) -> TextParams {
        let named = |name: &str| {
            let found = wanted.params.iter().find(|(one, _)| one == name);
            found.map(|(_, value)| value.as_str())
        };
        let number = |name: &str, ours: f64| {
            named(name)
                .and_then(|value| value.parse().ok())
                .unwrap_or(ours)
        };
        TextParams {
            max_tokens: wanted.max_tokens.unwrap_or(self.text.max_tokens),
            temperature: number("temperature", self.text.temperature),
            top_k: self.text.top_k,
            top_p: number("top_p", self.text.top_p),
            frequency_penalty: number("frequency_penalty", self.text.frequency_penalty),
            seed: named("seed").and_then(|value| value.parse().ok()),
        }
    }
}
