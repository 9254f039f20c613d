//! A small file beside the ledger: this identity has sold, and where its last good copy is. Where the ledger is gone and this
//! is there, a new and empty ledger would sell the last requests again and know no open invoice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::atomic;

/// The most of it that is read, bytes.
const MOST: u64 = 8_192;

/// What it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// For whoever finds it.
    pub about: String,
    /// The last good copy of the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_copy: Option<PathBuf>,
}

const ABOUT: &str = "this identity has sold with the ledger vend.db in this folder";

fn path(data: &Path) -> PathBuf {
    data.join("sold.json")
}

/// How old a copy is; none where it can't be read, or comes from the future: it was made under another clock and counts as old.
#[must_use]
pub fn age(copy: &Path) -> Option<Duration> {
    std::fs::metadata(copy)
        .ok()?
        .modified()
        .ok()?
        .elapsed()
        .ok()
}

/// What stands beside the ledger; none where nothing was ever sold with it.
#[must_use]
pub fn read(data: &Path) -> Option<Note> {
    let path = path(data);
    let long = std::fs::metadata(&path).ok()?.len() > MOST;
    let text = if long {
        String::new()
    } else {
        std::fs::read_to_string(&path).unwrap_or_default()
    };
    // One that can't be read says so much at least: there was one.
    Some(serde_json::from_str(&text).unwrap_or_default())
}

/// Writes it, where it is not there yet or there is a newer copy.
///
/// # Errors
/// What the system says.
pub fn write(data: &Path, copy: Option<&Path>) -> std::io::Result<()> {
    let before = read(data);
    let last_copy = copy
        .map(Path::to_owned)
        .or_else(|| before.as_ref().and_then(|note| note.last_copy.clone()));
    let note = Note {
        about: ABOUT.to_owned(),
        last_copy,
    };
    if before.as_ref() == Some(&note) {
        return Ok(());
    }
    let text = serde_json::to_string_pretty(&note)?;
    atomic::replace(&path(data), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_keeps_the_last_copy_and_one_that_is_broken_is_still_a_note() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), None);
        write(folder.path(), None).unwrap();
        write(folder.path(), Some(Path::new("/copies/a.db"))).unwrap();
        write(folder.path(), None).unwrap();
        let note = read(folder.path()).unwrap();
        assert_eq!(note.last_copy, Some("/copies/a.db".into()));
        std::fs::write(path(folder.path()), "{").unwrap();
        assert_eq!(read(folder.path()), Some(Note::default()));
    }
}
