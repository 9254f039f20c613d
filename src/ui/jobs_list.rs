//! Which jobs the table shows, in which order, and which one is chosen.

use std::cmp::Reverse;

use crate::domain::id::RequestId;
use crate::domain::job::JobView;
use crate::store::Store;

/// The order of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The latest admitted first.
    #[default]
    Time,
    /// The dearest first.
    Amount,
    /// By status.
    Status,
}

impl Order {
    /// The word on the screen.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Amount => "amount",
            Self::Status => "status",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Time => Self::Amount,
            Self::Amount => Self::Status,
            Self::Status => Self::Time,
        }
    }
}

/// The table's state.
#[derive(Clone, Debug)]
pub struct JobsList {
    /// Only jobs that hold this text.
    pub filter: String,
    /// The order.
    pub order: Order,
    /// Stay at the top.
    pub follow: bool,
    /// The chosen job; none: the first.
    pub chosen: Option<RequestId>,
    /// Is the detail of the chosen job open?
    pub detail: bool,
    /// The first line of the detail.
    pub scroll: usize,
}

impl Default for JobsList {
    fn default() -> Self {
        Self {
            filter: String::new(),
            order: Order::default(),
            follow: true,
            chosen: None,
            detail: false,
            scroll: 0,
        }
    }
}

impl JobsList {
    /// The jobs as the table has them.
    #[must_use]
    pub fn rows<'a>(&self, store: &'a Store) -> Vec<&'a JobView> {
        let words = self.filter.to_lowercase();
        let all = store.jobs.newest_first();
        let mut rows: Vec<_> = all.filter(|job| holds(job, &words)).collect();
        match self.order {
            Order::Time => {}
            Order::Amount => rows.sort_by_key(|job| Reverse(job.price_msat)),
            Order::Status => rows.sort_by_key(|job| job.status.word()),
        }
        rows
    }

    /// The chosen row.
    #[must_use]
    pub fn at(&self, rows: &[&JobView]) -> usize {
        let chosen = |job: &&JobView| Some(job.id) == self.chosen;
        rows.iter().position(chosen).unwrap_or(0)
    }

    /// The chosen job.
    #[must_use]
    pub fn chosen<'a>(&self, store: &'a Store) -> Option<&'a JobView> {
        if let Some(job) = self.chosen.and_then(|id| store.jobs.get(&id)) {
            return Some(job);
        }
        self.rows(store).first().copied()
    }

    /// Chooses the row that `to` makes of the present one.
    pub fn go(&mut self, store: &Store, to: impl FnOnce(usize, usize) -> usize) {
        let rows = self.rows(store);
        let last = rows.len().saturating_sub(1);
        let at = to(self.at(&rows), last).min(last);
        self.chosen = rows.get(at).map(|job| job.id);
        self.follow = false;
    }

    /// Stays at the top, or no more.
    pub fn toggle_follow(&mut self, store: &Store) {
        let follow = !self.follow;
        self.go(store, |at, _| if follow { 0 } else { at });
        if follow {
            self.chosen = None;
        }
        self.follow = follow;
    }

    /// The next order.
    pub fn sort(&mut self) {
        self.order = self.order.next();
    }
}

fn holds(job: &JobView, words: &str) -> bool {
    if words.is_empty() {
        return true;
    }
    let model = job.model.as_deref().unwrap_or_default();
    let kind = job.kind.to_string();
    job.status.word().contains(words)
        || kind.contains(words)
        || model.to_lowercase().contains(words)
        || job.id.to_string().starts_with(words)
        || job.buyer.to_string().starts_with(words)
}
