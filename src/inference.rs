//! Inference servers behind one trait, and the pool that shares work among them.

pub mod address;
pub mod builtin;
mod chat;
mod counts;
mod draft;
pub mod frames;
pub mod http;
mod learned;
pub mod lines;
pub mod ollama;
pub mod open;
pub mod openai;
pub mod patience;
pub mod pool;
mod so_far;
mod surrogates;
pub mod think;
mod tls;
pub mod trouble;

use std::fmt;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::domain::health::EndpointHealth;
use crate::domain::job::{Answer, TextParams};
use crate::domain::message::{self, Message};

pub use http::Access;
pub use open::open;
pub use patience::Deadlines;
pub use pool::{Pool, Slot};
pub use so_far::SoFar;

/// What an endpoint is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The model, as the endpoint names it.
    pub model: String,
    /// The conversation to go on with; never empty.
    pub messages: Vec<Message>,
    /// How text is generated.
    pub params: TextParams,
    /// The whole job's time.
    pub deadline: Duration,
    /// Which try it is, from 1: a later one waits longer for its first token.
    pub attempt: u32,
    /// Where the text goes while it is written, for who wants to see it.
    pub so_far: Option<SoFar>,
}

impl Ask {
    /// All that the model reads, without its template.
    #[must_use]
    pub fn prompt(&self) -> String {
        message::spoken(&self.messages)
    }
}

/// How far an inference is: read at will, never waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Chunks or tokens so far.
    pub tokens: u32,
}

/// Why there is no answer. `Display` is for the operator: what happened, and the command that mends it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InferenceError {
    /// Nothing answers at the endpoint's address.
    #[error("{endpoint} is not running at {url}: {detail}")]
    Unreachable {
        /// The endpoint's name.
        endpoint: String,
        /// Its address.
        url: String,
        /// The system's words.
        detail: String,
    },
    /// It does not have the model.
    #[error("{endpoint} does not have the model {model}: {fix}")]
    ModelMissing {
        /// The endpoint's name.
        endpoint: String,
        /// The model.
        model: String,
        /// What the seller does.
        fix: String,
    },
    /// It has no room now (503).
    #[error("{endpoint} is busy: {detail}")]
    Busy {
        /// The endpoint's name.
        endpoint: String,
        /// Its words.
        detail: String,
    },
    /// It refuses our key (401, 403).
    #[error("{endpoint} refuses the key: {detail}")]
    Unauthorized {
        /// The endpoint's name.
        endpoint: String,
        /// Its words.
        detail: String,
    },
    /// It refuses to work for the seller, whatever is asked: the account is empty, or it takes none of our requests.
    #[error("{endpoint} refuses to work: {detail}; {fix}")]
    Refused {
        /// The endpoint's name.
        endpoint: String,
        /// Its words.
        detail: String,
        /// What the seller does.
        fix: &'static str,
    },
    /// It refuses the request itself (400).
    #[error("{endpoint} refused the request: {detail}")]
    Rejected {
        /// The endpoint's name.
        endpoint: String,
        /// Its words.
        detail: String,
    },
    /// The prompt does not fit the model's context.
    #[error("the prompt does not fit the context of {model} on {endpoint}")]
    TooLong {
        /// The endpoint's name.
        endpoint: String,
        /// The model.
        model: String,
    },
    /// The stream ended, or reported an error, before the answer was whole.
    #[error("{endpoint} died in the middle of an answer: {detail}")]
    Died {
        /// The endpoint's name.
        endpoint: String,
        /// What was seen.
        detail: String,
        /// Had a token arrived?
        started: bool,
    },
    /// No token for too long.
    #[error("{endpoint} stalled: no token for {} s", .after.as_secs())]
    Stalled {
        /// The endpoint's name.
        endpoint: String,
        /// How long was waited.
        after: Duration,
        /// Had a token arrived?
        started: bool,
    },
    /// The job's time ran out.
    #[error("{endpoint} did not finish within {} s", .after.as_secs())]
    TimedOut {
        /// The endpoint's name.
        endpoint: String,
        /// The job's time.
        after: Duration,
    },
    /// The answer holds no text.
    #[error("{endpoint} gave an empty answer")]
    Empty {
        /// The endpoint's name.
        endpoint: String,
    },
    /// The server cut the prompt without saying so.
    #[error("{endpoint} cut the prompt: it counted {counted} tokens of about {expected}")]
    Truncated {
        /// The endpoint's name.
        endpoint: String,
        /// Tokens it counted.
        counted: u32,
        /// Tokens expected at least.
        expected: u32,
    },
    /// What it sent is not its protocol.
    #[error("{endpoint} sent something that is not its protocol: {detail}")]
    Protocol {
        /// The endpoint's name.
        endpoint: String,
        /// What was seen.
        detail: String,
    },
    /// No endpoint can take it now.
    #[error("no endpoint can serve {model} now")]
    NoEndpoint {
        /// The model.
        model: String,
    },
}

impl InferenceError {
    /// Is it the seller's own trouble, of which no buyer's job is to die? Nothing was generated then.
    #[must_use]
    pub const fn is_the_seller_s(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. } | Self::Unauthorized { .. } | Self::ModelMissing { .. }
        )
    }
}

/// One inference server, or the built-in engine.
pub trait Endpoint: Send + Sync + fmt::Debug {
    /// Its name in the settings.
    fn name(&self) -> &str;

    /// Jobs at once.
    fn slots(&self) -> u32;

    /// Is it there, and which models does it have? An unreachable server is a health, not an error.
    /// `running` and `tokens_per_second` are filled in by the pool.
    fn health(&self) -> BoxFuture<'_, EndpointHealth>;

    /// How many seconds its clock is ahead of ours (below zero: behind), by the last answer that told; none where none has.
    fn clock_off_secs(&self) -> Option<i64> {
        None
    }

    /// What the seller does where it lacks a model.
    fn missing_fix(&self, _model: &str) -> String {
        "load it in that server, or set text.model to one that it has".to_owned()
    }

    /// Asks the server to unload the models that it has answered with since the last time; tells their names. Servers that can't
    /// unload do nothing. An error is a sentence for the operator.
    fn unload(&self) -> BoxFuture<'_, Result<Vec<String>, String>> {
        std::future::ready(Ok(Vec::new())).boxed()
    }

    /// Answers; whole or not at all. Dropping the future cancels the work on the server.
    fn answer(
        &self,
        ask: Ask,
        progress: watch::Sender<Progress>,
    ) -> BoxFuture<'_, Result<Answer, InferenceError>>;
}
