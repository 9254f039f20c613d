//! How long each part of an answer is waited for.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::InferenceError;

/// The longest wait for each part of an answer. The whole job's time is the asker's ([`super::Ask::deadline`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Until a connection stands.
    pub connect: Duration,
    /// From the request to the first token of a short prompt. A server may unload a model at any moment, so no model counts
    /// as loaded.
    pub first_token: Duration,
    /// From one token to the next.
    pub between_tokens: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_mins(2),
            between_tokens: Duration::from_secs(30),
        }
    }
}

impl Deadlines {
    /// The wait for the first token of an answer to this prompt, at this try (from 1). A CPU reads as little as twenty tokens
    /// a second, and equal time-outs one after another would be waste.
    #[must_use]
    pub fn first_for(&self, prompt: &str, attempt: u32) -> Duration {
        const BYTES_A_SECOND: u64 = 20 * 4;
        let reading = Duration::from_secs(prompt.len() as u64 / BYTES_A_SECOND);
        self.first_token
            .saturating_add(reading)
            .saturating_mul(attempt.max(1))
    }
}

/// The end of a job's time.
#[derive(Clone, Copy, Debug)]
pub struct JobClock {
    whole: Duration,
    ends: Instant,
}

impl JobClock {
    /// A job that starts now and has this long.
    #[must_use]
    pub fn start(whole: Duration) -> Self {
        Self {
            whole,
            ends: from_now(whole),
        }
    }

    /// What is left of it.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }
}

/// Waits for the parts of one answer, each within its limit and all within the job's time.
#[derive(Debug)]
pub struct Patience {
    endpoint: String,
    job: JobClock,
    /// How long the next token is waited for.
    limit: Duration,
    until: Instant,
    between: Duration,
    started: bool,
}

impl Patience {
    /// Starts the wait for the first token.
    #[must_use]
    pub fn new(endpoint: &str, job: JobClock, first_token: Duration, between: Duration) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            job,
            limit: first_token,
            until: from_now(first_token),
            between,
            started: false,
        }
    }

    /// A token arrived: the wait for the next one starts.
    pub fn token(&mut self) {
        self.started = true;
        self.limit = self.between;
        self.until = from_now(self.between);
    }

    /// The answer is whole: what may still follow it is waited for this long at most.
    pub fn ending(&mut self, tail: Duration) {
        self.until = self.until.min(from_now(tail));
    }

    /// Has a token arrived?
    #[must_use]
    pub const fn started(&self) -> bool {
        self.started
    }

    /// Waits for the next part.
    ///
    /// # Errors
    ///
    /// [`InferenceError::Stalled`] when no token came in time, [`InferenceError::TimedOut`] when the job's time ended.
    pub async fn wait<F: Future>(&self, part: F) -> Result<F::Output, InferenceError> {
        let by_job = self.job.ends <= self.until;
        let until = self.job.ends.min(self.until);
        timeout_at(until, part).await.map_err(|_| {
            if by_job {
                InferenceError::TimedOut {
                    endpoint: self.endpoint.clone(),
                    after: self.job.whole,
                }
            } else {
                InferenceError::Stalled {
                    endpoint: self.endpoint.clone(),
                    after: self.limit,
                    started: self.started,
                }
            }
        })
    }
}

/// That long from now; a year where that is beyond what the clock can say.
fn from_now(wait: Duration) -> Instant {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    Instant::now() + wait.min(YEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_prompt_and_a_second_try_are_waited_for_longer() {
        let deadlines = Deadlines::default();
        let short = deadlines.first_for("hi", 1);
        assert!(short >= Duration::from_secs(35), "{short:?}");
        // Eight thousand tokens at twenty a second.
        let long = deadlines.first_for(&"word ".repeat(8_000), 1);
        assert!(long >= Duration::from_secs(400), "{long:?}");
        assert_eq!(deadlines.first_for("hi", 2), 2 * short);
    }
}
