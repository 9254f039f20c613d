//! Which jobs are listed, and in which order: one language for the dashboard, the control socket and scripts.

use serde::{Deserialize, Serialize};

use super::job::JobView;

mod filter;

pub use filter::{FILTER_MAX, Filter, FilterError, KEYS, KeyRange, TERMS_MAX, Term, Test};

/// The most jobs of one page.
pub const PAGE_MAX: u32 = 200;

/// What a list of jobs is ordered by. Jobs that are equal in it are ordered by the time of their admission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// The time of admission.
    #[default]
    Time,
    /// The price; jobs that have none yet come below the cheapest.
    Amount,
    /// The status, by its word.
    Status,
    /// Output tokens; jobs without an answer come below the shortest.
    Tokens,
    /// Seconds of inference; jobs without an answer come below the fastest.
    Seconds,
}

impl Sort {
    /// All of them, in the order in which a key goes through them.
    pub const ALL: [Self; 5] = [
        Self::Time,
        Self::Amount,
        Self::Status,
        Self::Tokens,
        Self::Seconds,
    ];

    /// The word on the screen and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Amount => "amount",
            Self::Status => "status",
            Self::Tokens => "tokens",
            Self::Seconds => "seconds",
        }
    }

    /// The next one, round and round.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Time => Self::Amount,
            Self::Amount => Self::Status,
            Self::Status => Self::Tokens,
            Self::Tokens => Self::Seconds,
            Self::Seconds => Self::Time,
        }
    }

    /// What two jobs are compared by. A number that is not known yet counts as -1.
    #[must_use]
    pub fn value(self, job: &JobView) -> (i64, &'static str) {
        let number =
            |value: Option<u64>| value.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX));
        match self {
            Self::Time => (job.created_at.0, ""),
            Self::Amount => (number(job.price_msat.map(|price| price.0)), ""),
            Self::Status => (0, job.status.as_str()),
            Self::Tokens => (number(job.completion_tokens.map(u64::from)), ""),
            Self::Seconds => (number(job.elapsed_ms), ""),
        }
    }
}

/// A list of jobs that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JobsQuery {
    /// What is looked for, in the language of [`Filter`]; empty: every job.
    #[serde(default)]
    pub filter: String,
    /// The order.
    #[serde(default)]
    pub sort: Sort,
    /// The least first; otherwise the latest, dearest or longest first.
    #[serde(default)]
    pub ascending: bool,
}

impl JobsQuery {
    /// Every job, the latest admitted first.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.filter.trim().is_empty() && self.sort == Sort::Time && !self.ascending
    }

    /// Which of two jobs comes first.
    #[must_use]
    pub fn compare(&self, a: &JobView, b: &JobView) -> std::cmp::Ordering {
        let key = |job: &JobView| (self.sort.value(job), job.created_at);
        let up = key(a).cmp(&key(b)).then(b.id.cmp(&a.id));
        if self.ascending { up } else { up.reverse() }
    }
}

#[cfg(test)]
mod tests;
