//! How busy the machine is that answers.

use serde::{Deserialize, Serialize};

/// The machine's load at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineLoad {
    /// All processors together, 0 to 100.
    pub cpu_percent: u8,
    /// Memory in use, in bytes.
    pub memory_used: u64,
    /// Memory there is, in bytes.
    pub memory_total: u64,
    /// The graphics processors that tell; empty where none does.
    pub gpus: Vec<GpuLoad>,
}

/// One graphics processor. What its driver does not tell is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuLoad {
    /// What it calls itself; clean.
    pub name: String,
    /// 0 to 100.
    pub busy_percent: Option<u8>,
    /// Its memory in use, in bytes.
    pub memory_used: Option<u64>,
    /// Its memory, in bytes.
    pub memory_total: Option<u64>,
}
