//! What a screen draws: a pure fold of the engine's events, plus a bounded feed.
//!
//! Events carry absolute values, so one that comes twice or late does no harm. Everything kept has a bound, so a screen
//! that stays open for a month needs no more memory than one that has just been opened.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::domain::event::{Event, EventKind, Level};
use crate::domain::health::{
    Check, EndpointHealth, QueueHealth, RelayHealth, ShopState, WalletHealth,
};
use crate::domain::job::{JobView, Status};
use crate::domain::load::MachineLoad;
use crate::domain::machine::{PAUSED, RESUMED};
use crate::domain::stats::Totals;
use crate::domain::telemetry::{Telemetry, telemetry};
use crate::domain::time::Time;

mod jobs;
mod stats;
mod verdict;

pub use jobs::{JOBS_MAX, Jobs, Progress, has_ended};
pub use verdict::{Mood, Verdict};

/// The most lines of the feed.
pub const FEED_MAX: usize = 5_000;
/// The most relays, endpoints or checks; the settings allow fewer.
pub const HEALTH_MAX: usize = 256;

/// What a job is told with where the whole state is told: the newest jobs, the oldest of them first.
const KNOWN: &str = "known";

/// The last thing the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When.
    pub at: Time,
    /// How serious.
    pub level: Level,
    /// relay, wallet, model, job, ledger, shop.
    pub category: String,
    /// Plain words.
    pub message: String,
}

/// Everything a screen draws.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// The shop's actual state.
    pub state: ShopState,
    /// What it waits for, or what is down.
    pub detail: String,
    /// Since when.
    pub since: Time,
    /// The seller's key as npub.
    pub npub: String,
    /// The checks of the current or last start, in the order they ended.
    pub checks: Vec<Check>,
    /// By address.
    pub relays: BTreeMap<String, RelayHealth>,
    /// By name.
    pub endpoints: BTreeMap<String, EndpointHealth>,
    /// The wallet.
    pub wallet: WalletHealth,
    /// Work waiting and running.
    pub queue: QueueHealth,
    /// The figures.
    pub totals: Totals,
    /// The machine's load, once told.
    pub load: Option<MachineLoad>,
    /// The jobs.
    pub jobs: Jobs,
    /// The last notice.
    pub notice: Option<Notice>,
    /// When the last event happened: the screen's idea of "today".
    pub now: Time,
    feed: VecDeque<Arc<Telemetry>>,
    fed: u64,
}

impl Store {
    /// Nothing known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what the engine tells.
    pub fn apply(&mut self, event: &Event) {
        self.now = self.now.max(event.at);
        let is_fed = self.is_fed(&event.kind);
        match &event.kind {
            EventKind::State {
                state,
                detail,
                since,
                npub,
            } => {
                let other = *state != self.state;
                // A new start has new checks, and may have other relays and endpoints; offline has none of either.
                if other && *state == ShopState::Starting {
                    self.checks.clear();
                }
                if other && matches!(state, ShopState::Starting | ShopState::Offline) {
                    self.relays.clear();
                    self.endpoints.clear();
                }
                if other {
                    // What was said of a pause is so no more; of its end, only while it sells.
                    let past = |one: &mut Notice| match state {
                        ShopState::Paused => false,
                        ShopState::Offline => {
                            one.message.starts_with(PAUSED) || one.message == RESUMED
                        }
                        _ => one.message.starts_with(PAUSED),
                    };
                    self.notice.take_if(past);
                }
                self.state = *state;
                self.detail.clone_from(detail);
                self.since = *since;
                self.npub.clone_from(npub);
            }
            EventKind::Check { check } => self.check(check),
            EventKind::Relay { relay } => put(&mut self.relays, &relay.url, relay),
            EventKind::Endpoint { endpoint } => {
                put(&mut self.endpoints, &endpoint.name.0, endpoint);
            }
            EventKind::Wallet { wallet } => self.wallet.clone_from(wallet),
            EventKind::Job { job, what } => {
                self.jobs.put(job);
                if what == KNOWN {
                    self.jobs.reach_back_to(job.created_at);
                }
            }
            // What was missed may be a job; the whole state follows and says from when on all are known.
            EventKind::Resync { .. } => self.jobs.gap(),
            EventKind::Progress {
                id,
                tokens,
                of,
                elapsed_ms,
            } => {
                let progress = Progress {
                    tokens: *tokens,
                    of: *of,
                    elapsed_ms: *elapsed_ms,
                };
                self.jobs.progress(*id, progress);
            }
            EventKind::Totals { totals } => self.totals.clone_from(totals),
            EventKind::Load { load } => self.load = Some((**load).clone()),
            EventKind::Queue { waiting, running } => {
                self.queue = QueueHealth {
                    waiting: *waiting,
                    running: *running,
                };
            }
            EventKind::Notice {
                level,
                category,
                message,
            } => {
                self.notice = Some(Notice {
                    at: event.at,
                    level: *level,
                    category: category.clone(),
                    message: message.clone(),
                });
            }
            EventKind::Dropped { .. }
            | EventKind::Published { .. }
            | EventKind::Paid { .. }
            | EventKind::Settings { .. } => {}
        }
        if is_fed {
            self.feed_with(event);
        }
    }

    /// The feed, oldest first.
    #[must_use]
    pub const fn feed(&self) -> &VecDeque<Arc<Telemetry>> {
        &self.feed
    }

    /// How many lines have ever entered the feed, the forgotten ones too.
    #[must_use]
    pub const fn fed(&self) -> u64 {
        self.fed
    }

    /// The number of the oldest line that is kept, counted from 0.
    #[must_use]
    pub fn first_fed(&self) -> u64 {
        self.fed.saturating_sub(self.feed.len() as u64)
    }

    /// The jobs in inference, newest first.
    pub fn running(&self) -> impl Iterator<Item = &JobView> {
        self.jobs
            .newest_first()
            .filter(|job| job.status == Status::Processing)
    }

    /// The jobs that wait for a slot or for their price, the longest waiting first.
    pub fn waiting(&self) -> impl Iterator<Item = &JobView> {
        self.jobs
            .newest_first()
            .rev()
            .filter(|job| job.status == Status::Queued)
    }

    fn check(&mut self, check: &Check) {
        let same = |old: &&mut Check| old.check == check.check && old.target == check.target;
        if let Some(old) = self.checks.iter_mut().find(same) {
            old.clone_from(check);
        } else if self.checks.len() < HEALTH_MAX {
            self.checks.push(check.clone());
        }
    }

    /// Is it news for the feed? Not what a gauge shows, not what a snapshot says again, and no light that is as it was: its
    /// counters change with every job.
    fn is_fed(&self, kind: &EventKind) -> bool {
        match kind {
            EventKind::Progress { .. }
            | EventKind::Totals { .. }
            | EventKind::Load { .. }
            | EventKind::Queue { .. } => false,
            EventKind::Job { what, .. } => what != KNOWN,
            EventKind::Relay { relay } => {
                let held = self.relays.get(&relay.url);
                held.is_none_or(|held| held.sight() != relay.sight())
            }
            EventKind::Endpoint { endpoint } => {
                let held = self.endpoints.get(&endpoint.name.0);
                held.is_none_or(|held| held.sight() != endpoint.sight())
            }
            EventKind::Wallet { wallet } => self.wallet.sight() != wallet.sight(),
            _ => true,
        }
    }

    fn feed_with(&mut self, event: &Event) {
        if self.feed.len() >= FEED_MAX {
            self.feed.pop_front();
        }
        self.feed.push_back(Arc::new(telemetry(event)));
        self.fed = self.fed.saturating_add(1);
    }
}

fn put<T: Clone>(all: &mut BTreeMap<String, T>, name: &str, one: &T) {
    if all.len() < HEALTH_MAX || all.contains_key(name) {
        all.insert(name.to_owned(), one.clone());
    }
}

#[cfg(test)]
mod tests;
