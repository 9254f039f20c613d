//! Is the ledger the file at its path, and is it whole?

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::{Ledger, LedgerError, open_file};

/// Between two tables of a check: others want the disk too.
const BREATH: Duration = Duration::from_millis(50);
/// So many faults are told; one is enough to know.
const FAULTS: usize = 3;

/// What is wrong with the file. Nothing more may be sold on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is not at its path any more, or another file is there. In words.
    Gone(String),
    /// Its pages are damaged. In words.
    Damaged(String),
}

impl Trouble {
    /// What is wrong and what to do.
    #[must_use]
    pub fn words(&self) -> &str {
        match self {
            Self::Gone(words) | Self::Damaged(words) => words,
        }
    }
}

/// One file: its device and its number there.
type FileId = (u64, u64);

/// What is known of the ledger's files. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Whole {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    path: PathBuf,
    file: Option<FileId>,
    log: Option<FileId>,
    trouble: Option<Trouble>,
    /// SQLite met a damaged page since this was asked last.
    met_damage: bool,
}

fn id(path: &Path) -> Option<FileId> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// SQLite's own log beside the file.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

impl Whole {
    /// The files as they are now.
    pub(super) fn of(path: &Path) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                path: path.to_owned(),
                file: id(path),
                log: id(&log_of(path)),
                trouble: None,
                met_damage: false,
            })),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.lock().trouble.clone()
    }

    /// Something is wrong; what was known first stays.
    pub(super) fn blame(&self, trouble: Trouble) {
        self.lock().trouble.get_or_insert(trouble);
    }

    /// It was mended.
    pub(super) fn mended(&self) {
        let mut inner = self.lock();
        if matches!(inner.trouble, Some(Trouble::Damaged(_))) {
            inner.trouble = None;
        }
        inner.met_damage = false;
    }

    /// Did SQLite meet a damaged page?
    pub(super) fn heard(&self, error: &LedgerError) {
        if is_damage(error) {
            self.lock().met_damage = true;
        }
    }

    /// Was damage met since this was asked last?
    pub(super) fn take_damage(&self) -> bool {
        let in_figures = FIGURES.swap(false, Ordering::Relaxed);
        std::mem::take(&mut self.lock().met_damage) || in_figures
    }

    /// Looks whether the files at the paths are still the ones that are open.
    pub(super) fn look(&self) {
        let mut inner = self.lock();
        if inner.trouble.is_some() {
            return;
        }
        let shown = inner.path.display().to_string();
        let gone = match (inner.file, id(&inner.path)) {
            (Some(ours), Some(there)) if ours == there => None,
            (None, _) => None,
            (Some(_), None) => Some(format!("{shown} was deleted or moved while it is in use")),
            (Some(_), Some(_)) => Some(format!(
                "another file was put at {shown} while ours is in use"
            )),
        };
        let gone = gone.or_else(|| {
            let there = id(&log_of(&inner.path));
            match inner.log {
                // It comes with the first change.
                None => {
                    inner.log = there;
                    None
                }
                Some(ours) if there == Some(ours) => None,
                Some(_) => Some(format!(
                    "{shown}-wal was deleted or replaced while it is in use"
                )),
            }
        });
        inner.trouble = gone.map(|what| {
            Trouble::Gone(format!(
                "ledger: {what}: nothing more is sold; run `vend stop`, then `vend restore` with the copy that vend has made of it"
            ))
        });
    }
}

/// A figure could not be counted.
static FIGURES: AtomicBool = AtomicBool::new(false);

/// A damaged page was met among the figures, which stood in nobody's way.
pub(super) fn met_damage() {
    FIGURES.store(true, Ordering::Relaxed);
}

/// Is it a damaged page, and not a full disk or a busy file?
#[must_use]
pub(super) fn is_damage(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Sqlite(rusqlite::Error::SqliteFailure(failure, _))
        if matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// The faults that SQLite finds; none: it is whole. `thorough` compares the indexes with their tables too.
///
/// # Errors
/// Where it can't be read at all.
pub(super) fn faults(
    connection: &Connection,
    thorough: bool,
    breath: Duration,
) -> Result<Vec<String>, rusqlite::Error> {
    let mut names = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let names = names.query_map([], |row| row.get::<_, String>(0))?;
    let pragma = if thorough {
        "integrity_check"
    } else {
        "quick_check"
    };
    let mut found = Vec::new();
    for name in names.collect::<Result<Vec<_>, _>>()? {
        let quoted = name.replace('"', "\"\"");
        let mut check = connection.prepare(&format!("PRAGMA {pragma}(\"{quoted}\")"))?;
        let rows = check.query_map([], |row| row.get::<_, String>(0))?;
        for row in rows {
            match row {
                Ok(text) if text == "ok" => {}
                Ok(text) => found.push(format!("{name}: {text}")),
                Err(error) => found.push(format!("{name}: {error}")),
            }
            if found.len() >= FAULTS {
                return Ok(found);
            }
        }
        drop(check);
        std::thread::sleep(breath);
    }
    Ok(found)
}

impl Ledger {
    /// What is wrong with the file; none: it is the one at its path, and whole as far as is known.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.whole.trouble()
    }

    /// Looks whether the file at the path is still the one that is open.
    pub fn look_at_file(&self) {
        self.whole.look();
    }

    /// Was a damaged page met since this was asked last?
    #[must_use]
    pub fn met_damage(&self) -> bool {
        self.whole.take_damage()
    }

    /// Reads the whole file and looks for damage, slowly, beside everything else. What it finds is [`Ledger::trouble`].
    ///
    /// # Errors
    /// Where no second connection can be had.
    pub async fn check(&self) -> Result<Vec<String>, LedgerError> {
        let path = self.path.clone();
        let read = move || {
            let connection = open_file(&path)?;
            Ok::<_, LedgerError>(faults(&connection, true, BREATH)?)
        };
        let read = tokio::task::spawn_blocking(read).await;
        let found = read.map_err(|error| LedgerError::NotCommitted(error.to_string()))?;
        let found = match found {
            Ok(found) => found,
            Err(error) if is_damage(&error) => vec![error.to_string()],
            Err(error) => return Err(error),
        };
        Ok(found)
    }

    /// Says that the file is damaged: nothing more is sold on it.
    pub fn blame_damage(&self, faults: &[String], last_copy: Option<&str>) {
        let copy = last_copy.map_or_else(
            || "put back a copy made by `vend backup`".to_owned(),
            |copy| format!("the last good copy is {copy}: `vend restore {copy}`"),
        );
        let words = format!(
            "ledger: {} is damaged ({}): nothing more is sold; run `vend stop`, then `vend repair`; where that does not do, {copy}",
            self.path.display(),
            crate::domain::text::clean(&faults.join("; "), 200)
        );
        self.whole.blame(Trouble::Damaged(words));
    }

    /// Writes what the open ledger holds into a private file, though its own file is gone.
    ///
    /// # Errors
    /// Where it can't be written.
    pub async fn rescue(&self, to: &Path) -> Result<(), LedgerError> {
        let to = to.to_owned();
        self.lister
            .call(move |connection| super::back_up_over(connection, &to))
            .await
    }
}

#[cfg(test)]
mod tests;
