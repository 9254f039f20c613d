//! What the engine is asked to do, by a screen, a control socket or a script.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::desk::{CaseKind, Desk, DeskAction};
use super::detail::JobDetail;
use super::health::{Check, Status};
use super::id::RequestId;
use super::job::JobView;
use super::query::JobsQuery;
use super::queue::Queue;
use super::standing::Decision;

/// A command to the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Start selling. Asked for twice, it is still one start.
    GoOnline,
    /// Take no more jobs; running ones finish.
    GoOffline {
        /// Cancel running jobs instead.
        now: bool,
    },
    /// Read the settings file again.
    ApplySettings,
    /// The seller cancels a job.
    Cancel {
        /// Which; `job` on the socket, where `id` is the call's.
        #[serde(rename = "job")]
        id: RequestId,
    },
    /// The seller asks for a failed job to be tried again.
    Retry {
        /// Which; `job` on the socket, where `id` is the call's.
        #[serde(rename = "job")]
        id: RequestId,
    },
    /// Serve this buyer no more, until it is decided otherwise: as [`Command::Decide`].
    Block {
        /// npub or hex.
        buyer: String,
    },
    /// Decide about a buyer. The ledger keeps it: it outlasts restarts and saves of the settings.
    Decide {
        /// npub or hex.
        buyer: String,
        /// What.
        #[serde(flatten)]
        decision: Decision,
    },
    /// Take no new work for a while; running work is finished. It outlasts restarts.
    Snooze {
        /// For how long.
        secs: u64,
    },
    /// End a snooze.
    Resume,
    /// How is it going?
    Status,
    /// Tell the whole state again as events.
    Snapshot,
    /// Try out one thing, as the settings file now has it; the answer may take half a minute.
    Test {
        /// Which.
        what: Probe,
    },
    /// A page of the jobs in the ledger.
    Jobs {
        /// Which, and in which order.
        #[serde(default)]
        query: JobsQuery,
        /// How many to leave out before the first.
        #[serde(default)]
        offset: u64,
        /// At most so many; more than [`super::query::PAGE_MAX`] are not given.
        limit: u32,
    },
    /// One job with everything that is kept of it.
    Job {
        /// Which; `job` on the socket, where `id` is the call's.
        #[serde(rename = "job")]
        id: RequestId,
    },
    /// Copy the ledger; the answer comes when the copy has been read again.
    Backup {
        /// An absolute path; nothing may be there yet.
        file: PathBuf,
    },
    /// The queue: what runs, and what waits and why.
    Queue,
    /// Move a waiting job one place.
    Move {
        /// Which; `job` on the socket, where `id` is the call's.
        #[serde(rename = "job")]
        id: RequestId,
        /// Nearer to its turn, or further back.
        up: bool,
    },
    /// The recovery desk: open cases, and what was decided.
    Desk,
    /// Do something about a case of the recovery desk.
    Recover {
        /// Which; `job` on the socket, where `id` is the call's.
        #[serde(rename = "job")]
        id: RequestId,
        /// What the case was when it was looked at; where it has changed since, nothing is done.
        #[serde(default)]
        case: Option<CaseKind>,
        /// What to do.
        action: DeskAction,
        /// Why, in the seller's words.
        #[serde(default)]
        note: String,
    },
    /// End the process.
    Stop {
        /// Without waiting for running jobs.
        now: bool,
    },
}

/// What a [`Command::Test`] looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "probe", rename_all = "snake_case")]
pub enum Probe {
    /// A relay: does it listen for us? It need not be in the settings yet.
    Relay {
        /// Its address.
        url: String,
    },
    /// An inference server: does it answer, and does the model give a first token?
    Endpoint {
        /// Its name in the settings.
        name: String,
    },
    /// The wallet: does it make an invoice, and find it again?
    Wallet,
}

/// What the engine answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// It is done, or under way; `detail` says which.
    Done {
        /// A sentence for a person.
        detail: String,
    },
    /// The status asked for.
    Status {
        /// It.
        status: Box<Status>,
    },
    /// What a test showed.
    Tested {
        /// In the order in which it was looked at.
        checks: Vec<Check>,
    },
    /// The page asked for.
    Jobs {
        /// The question, so that a late answer can be told from the one that is waited for.
        query: JobsQuery,
        /// How many jobs the whole list has. For a filtered list it may be some seconds old.
        total: u64,
        /// How many come before the first.
        offset: u64,
        /// The jobs; fewer than asked for at the list's end, or where more would not fit into one line of the socket.
        jobs: Vec<JobView>,
    },
    /// The job asked for.
    Job {
        /// It.
        detail: Box<JobDetail>,
    },
    /// The recovery desk.
    Desk {
        /// It.
        desk: Box<Desk>,
    },
    /// The queue.
    Queue {
        /// It.
        queue: Box<Queue>,
    },
    /// It can't be done; says why and what to do.
    Refused {
        /// A sentence for a person.
        detail: String,
    },
}
