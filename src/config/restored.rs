//! A mark beside the ledger: it is a copy that was put back, and has not asked yet what it does not know.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic;
use crate::domain::time::Time;

#[derive(Serialize, Deserialize)]
struct Mark {
    /// The last moment of which it knows.
    since: Time,
}

fn path(data: &Path) -> PathBuf {
    data.join("restored.json")
}

/// From when on the copy knows nothing; none where the ledger is no such copy.
#[must_use]
pub fn read(data: &Path) -> Option<Time> {
    let text = std::fs::read_to_string(path(data)).ok()?;
    // One that can't be read still says that much is missing.
    let mark = serde_json::from_str(&text).unwrap_or(Mark { since: Time(0) });
    Some(mark.since)
}

/// Marks the ledger.
///
/// # Errors
/// What the system says.
pub fn write(data: &Path, last: Option<Time>) -> std::io::Result<()> {
    let since = last.unwrap_or_default();
    let text = serde_json::to_string_pretty(&Mark { since })?;
    atomic::replace(&path(data), text.as_bytes())
}

/// It has asked.
///
/// # Errors
/// What the system says.
pub fn clear(data: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path(data)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
