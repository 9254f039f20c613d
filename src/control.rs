//! The running engine over a Unix socket (0600): one JSON document a line.
//!
//! A client sends `{"id":1,"command":"status"}` and gets `{"id":1,"reply":{…}}`. After `{"id":2,"command":"watch"}` it also
//! gets `{"event":{…}}` for everything that happens, until it leaves. A viewer that is too slow misses events, is told so
//! by a `resync` event, and gets the whole state again; it never slows the engine.

pub mod client;
pub mod server;

use serde::{Deserialize, Serialize};

use crate::domain::command::{Command, Reply};
use crate::domain::event::Event;

/// The longest line either side takes, bytes.
pub const MAX_LINE: usize = 1 << 20;

/// What a client sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// Comes back with the reply.
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub what: What,
}

/// A command, or the wish to see every event.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum What {
    /// A command to the engine.
    Command(Command),
    /// From now on every event, starting with the whole state.
    Watch {
        /// Always `watch`.
        command: Watch,
    },
}

/// The word `watch`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// From now on every event.
    Watch,
}

/// What the server sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ControlMessage {
    /// The answer to a call.
    Reply {
        /// The call's id.
        id: u64,
        /// The answer.
        reply: Reply,
    },
    /// Something happened.
    Event {
        /// What.
        event: Event,
    },
}
