//! What the engine is asked to do, by a screen, a control socket or a script.

use serde::{Deserialize, Serialize};

use super::health::Status;
use super::id::RequestId;

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
        /// Which.
        id: RequestId,
    },
    /// The seller asks for a failed job to be tried again.
    Retry {
        /// Which.
        id: RequestId,
    },
    /// Serve this buyer no more (added to `limits.block` for as long as the process lives; the settings file keeps it for good).
    Block {
        /// npub or hex.
        buyer: String,
    },
    /// How is it going?
    Status,
    /// Tell the whole state again as events.
    Snapshot,
    /// End the process.
    Stop {
        /// Without waiting for running jobs.
        now: bool,
    },
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
    /// It can't be done; says why and what to do.
    Refused {
        /// A sentence for a person.
        detail: String,
    },
}
