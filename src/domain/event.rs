//! What the engine tells: every event carries absolute values, so that seeing one twice, or late, does no harm.

use serde::{Deserialize, Serialize};

use super::health::{Check, EndpointHealth, RelayHealth, ShopState, WalletHealth};
use super::id::RequestId;
use super::job::JobView;
use super::load::MachineLoad;
use super::msat::Msat;
use super::stats::Totals;
use super::time::Time;

/// One event of the engine: one JSON line of `vend run --events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl Event {
    /// News that happened now.
    #[must_use]
    pub fn now(kind: EventKind) -> Self {
        Self {
            at: Time::now(),
            kind,
        }
    }
}

/// What an event tells. docs/protocol.md lists each with its fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The shop's state changed.
    State {
        /// The actual state.
        state: ShopState,
        /// What it waits for, what is down, or empty.
        detail: String,
        /// Since when.
        since: Time,
        /// The seller's npub.
        npub: String,
    },
    /// One step of going online ended.
    Check {
        /// What was looked at and seen.
        check: Check,
    },
    /// A relay's health changed.
    Relay {
        /// Its health now.
        relay: RelayHealth,
    },
    /// An endpoint's health changed.
    Endpoint {
        /// Its health now.
        endpoint: EndpointHealth,
    },
    /// The wallet's health changed.
    Wallet {
        /// Its health now.
        wallet: WalletHealth,
    },
    /// A job came to be, or changed.
    Job {
        /// The job now.
        job: Box<JobView>,
        /// What happened to it, one word of its timeline.
        what: String,
    },
    /// An inference goes on (at most four times a second for each job).
    Progress {
        /// The job.
        id: RequestId,
        /// Tokens so far.
        tokens: u32,
        /// The most tokens it may have; none where the teller does not say.
        #[serde(default)]
        of: Option<u32>,
        /// Milliseconds since it started.
        elapsed_ms: u64,
    },
    /// Requests were dropped (told at most a few times a second; `count` tells how many this stands for).
    Dropped {
        /// The word of the reason.
        reason: String,
        /// How many since the last such event.
        count: u64,
        /// One of them: the buyer's hex key.
        buyer: String,
    },
    /// A relay's word on one of our events.
    Published {
        /// The job it belongs to; none for an announcement.
        id: Option<RequestId>,
        /// processing, result, …
        role: String,
        /// The relay.
        relay: String,
        /// accepted, refused, retry.
        outcome: String,
        /// The relay's own words, cleaned.
        detail: String,
    },
    /// The wallet confirmed a payment.
    Paid {
        /// The job.
        id: RequestId,
        /// What arrived.
        amount_msat: Msat,
        /// After the invoice had expired.
        late: bool,
    },
    /// The figures changed (told at most twice a second).
    Totals {
        /// All of them.
        totals: Box<Totals>,
    },
    /// Work waiting and running changed.
    Queue {
        /// Waiting for a slot.
        waiting: u32,
        /// In inference.
        running: u32,
    },
    /// How busy the machine is (told while a job runs, once after it, and with a snapshot).
    Load {
        /// The machine now.
        load: Box<MachineLoad>,
    },
    /// Settings were read again.
    Settings {
        /// What applies now and what at the next going online.
        detail: String,
    },
    /// Something the operator should know that has no light of its own.
    Notice {
        /// How serious.
        level: Level,
        /// relay, wallet, model, job, ledger, shop.
        category: String,
        /// Plain words, cleaned.
        message: String,
    },
    /// The viewer missed events and was given the whole state again.
    Resync {
        /// How many it missed.
        missed: u64,
    },
}

/// How serious a telemetry line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Detail.
    Debug,
    /// Normal course.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}
