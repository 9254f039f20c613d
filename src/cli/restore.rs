//! `vend restore FILE` and `vend repair`: a ledger that is gone or damaged.

use std::path::{Path, PathBuf};

use super::Global;
use super::exit::{Exit, Outcome, say};
use crate::config::place::{DataLock, LockError, Places};
use crate::config::{atomic, note, restored};
use crate::domain::time::Time;
use crate::ledger::{self, Ledger};

/// `vend restore`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A copy made by `vend backup`
    file: PathBuf,
}

fn locked(global: &Global) -> Result<(Places, DataLock), Exit> {
    let places = global.prepared()?;
    let lock = DataLock::take(&places).map_err(|error| match error {
        LockError::Held { .. } => Exit::held(&error),
        LockError::Io { .. } => Exit::failed(&error),
    })?;
    Ok((places, lock))
}

/// Puts a copy in the ledger's place, and says what it does not know.
pub fn main(global: &Global, args: &Args) -> Outcome {
    let (places, _lock) = locked(global)?;
    let copied = Ledger::read_copy(&args.file).map_err(|error| Exit::failed(&error))?;
    let (jobs, last) = copied;
    let path = places.database();
    let io =
        |path: &Path, error: &std::io::Error| Exit::failed(&format!("{}: {error}", path.display()));
    // Whole and on the disk before anything is moved.
    let draft = path.with_extension("restoring");
    let bytes = std::fs::read(&args.file).map_err(|error| io(&args.file, &error))?;
    atomic::replace(&draft, &bytes).map_err(|error| io(&draft, &error))?;
    let kept = match std::fs::metadata(&path) {
        Ok(_) => Some(ledger::aside(&path, "replaced").map_err(|error| io(&path, &error))?),
        Err(_) => None,
    };
    restored::write(&places.data, last).map_err(|error| io(&places.data, &error))?;
    std::fs::rename(&draft, &path).map_err(|error| io(&path, &error))?;
    note::write(&places.data, None).map_err(|error| io(&places.data, &error))?;
    say(&format!("put back {}: {jobs} jobs", args.file.display()))?;
    if let Some(kept) = kept {
        say(&format!(
            "the ledger that was there is kept as {}",
            kept.display()
        ))?;
    }
    let since = last.map_or_else(|| "its making".to_owned(), |at: Time| at.to_string());
    say(&format!(
        "it does not know what happened after {since}: jobs, invoices and payments of that time. Before it sells again, vend asks its relays for its own answers since then"
    ))
}

/// Builds the ledger anew.
pub fn repair(global: &Global) -> Outcome {
    let (places, _lock) = locked(global)?;
    let path = places.database();
    if !path.exists() {
        let words = format!("there is no ledger at {}", path.display());
        return Err(Exit::failed(&words));
    }
    let done = ledger::repair(&path).map_err(|error| {
        let copy = note::read(&places.data).and_then(|note| note.last_copy);
        let copy = copy.filter(|copy| copy.exists());
        let copy = copy.map_or_else(|| "FILE".to_owned(), |copy| copy.display().to_string());
        Exit::failed(&format!("{error}; the way left is `vend restore {copy}`"))
    })?;
    say(&format!(
        "{} jobs taken over, indexes and figures built anew; the old file is kept as {}",
        done.jobs,
        done.kept.display()
    ))
}
