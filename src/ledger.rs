//! The ledger: jobs, their history, invoices, outbox, figures, in one SQLite file. The only room that touches SQLite.

mod accounting;
mod balances;
pub mod buyers;
mod desk;
mod filter;
mod jobs;
mod list;
mod live;
mod market;
mod mend;
mod outbox;
mod purchases;
mod questions;
mod queue;
mod repair;
mod rows;
mod schema;
mod shift;
mod stats;
mod texts;
mod thread;
mod totals;
mod waiting;
mod wallets;
mod whole;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags};

use thread::Worker;

pub use desk::Proof;
pub use jobs::{Cause, Change, JobFilter, NewJob};
pub use list::Page;
pub use market::Heard;
pub use outbox::Lost;
pub use purchases::{Bought, Caps, Intent, NewPurchase, Progress, Via};
pub use questions::{LostInvoice, Question};
pub use repair::{Repaired, aside, repair};
pub use stats::Counted;
pub use waiting::{Due, Settled, SignedDraft};
pub use whole::Trouble;
use whole::Whole;

/// The application id (SQLite's header) of a copy that secrets were taken out of; 0 otherwise.
const LACKS_SECRETS: i64 = 1;

/// A ledger of this size is read from its first page to its last when it is opened.
const CHECKED_AT_OPEN: u64 = 16 * 1024 * 1024;

/// Why the ledger can't be used, or did not take a change.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite's own error.
    #[error("the ledger failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The change was not committed.
    #[error("the ledger did not commit: {0}")]
    NotCommitted(String),
    /// Another change came first; read again.
    #[error("the job has changed meanwhile")]
    Conflict,
    /// No such job.
    #[error("no job has this id")]
    NoSuchJob,
    /// What stands there can't be read.
    #[error("the ledger holds something unreadable in {0}")]
    Unreadable(&'static str),
    /// Made by a newer vend.
    #[error("{} was made by a newer vend: update this one; the file was not touched", .0.display())]
    Newer(PathBuf),
    /// Damaged.
    #[error("{} is damaged ({detail}): put back a copy made by `vend backup`; the file was not touched", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file or its folder can't be used.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("no thread for the ledger: {0}")]
    Thread(std::io::Error),
    /// The program is ending.
    #[error("the ledger is closed")]
    Closed,
}

impl LedgerError {
    /// Is there no room on the disk?
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Sqlite(rusqlite::Error::SqliteFailure(failure, _))
            if failure.code == rusqlite::ErrorCode::DiskFull)
    }
}

/// The open ledger. A clone is the same ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    writer: Worker,
    reader: Worker,
    /// Reads for people who look through the jobs: a long look must not hold up the shop.
    lister: Worker,
    lists: Arc<Mutex<list::Lists>>,
    /// What something is at work on. Empty where the ledger is only looked at.
    live: live::Shared,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    path: PathBuf,
    whole: Whole,
}

impl Ledger {
    /// Opens the file, making or migrating it; before a migration a copy is put beside it.
    ///
    /// # Errors
    /// Where the file can't be used, is damaged, or was made by a newer vend (then it is left as it is).
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::open_telling(path, &mut |_| {})
    }

    /// The same. A migration tells each of its steps in words, as one of a large ledger takes a while.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_telling(path: &Path, tell: &mut dyn FnMut(&str)) -> Result<Self, LedgerError> {
        let writer = open_writer_telling(path, tell)?;
        let whole = Whole::of(path);
        let found = at_open(&writer, path)?;
        let live = live::Shared::read(&writer)?;
        let reader = open_reader(path)?;
        let words = live.clone();
        let beside =
            Box::new(move |connection: &Connection| outbox::write_words(connection, &words));
        let (writer, writing) = Worker::writer(writer, &whole, beside)?;
        let (reader, reading) = Worker::reader(reader, &whole)?;
        let (lister, listing) = Worker::reader(open_reader(path)?, &whole)?;
        let ledger = Self {
            writer,
            reader,
            lister,
            lists: Arc::default(),
            live,
            threads: Arc::new(Mutex::new(vec![writing, reading, listing])),
            path: path.to_owned(),
            whole,
        };
        if !found.is_empty() {
            ledger.blame_damage(&found, None);
        }
        Ok(ledger)
    }

    /// Opens the file for reading only, whether a vend has it open or not. Writing to it fails.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn look(path: &Path) -> Result<Self, LedgerError> {
        let whole = Whole::default();
        let (reader, reading) = Worker::reader(open_reader(path)?, &whole)?;
        Ok(Self {
            writer: reader.clone(),
            lister: reader.clone(),
            lists: Arc::default(),
            live: live::Shared::default(),
            reader,
            threads: Arc::new(Mutex::new(vec![reading])),
            path: path.to_owned(),
            whole,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the threads after the work that waits. Other clones answer [`LedgerError::Closed`] only once all are gone, so
    /// this is for the last one.
    pub async fn close(self) {
        let Self {
            writer,
            reader,
            lister,
            threads,
            ..
        } = self;
        drop((writer, reader, lister));
        let threads = threads
            .lock()
            .map(|mut held| std::mem::take(&mut *held))
            .unwrap_or_default();
        // A thread ends when every clone of the handle is gone; the joining must not block the async threads.
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A panicked ledger thread has nothing left to close.
                let _ = thread.join();
            }
        });
        // Clones that outlive this would wait for ever: the process ends anyway, so waiting is bounded.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), joined).await;
    }

    /// Writes something that changes nothing: does the disk take it?
    ///
    /// # Errors
    /// Where it does not.
    pub async fn probe(&self) -> Result<(), LedgerError> {
        self.writer
            .call(|connection| {
                let version: i64 =
                    connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
                Ok(connection.pragma_update(None, "user_version", version)?)
            })
            .await
    }

    /// What a copy holds: how many jobs, and when something last happened in it.
    ///
    /// # Errors
    /// Where it is not whole, or was made by a newer vend.
    pub fn read_copy(copy: &Path) -> Result<(u64, Option<crate::domain::time::Time>), LedgerError> {
        let connection = open_file(copy)?;
        check_header(&connection, copy)?;
        schema::refuse_newer(&connection, copy)?;
        let jobs = verify(copy, 0)?;
        let last = connection.query_row("SELECT max(updated_at) FROM jobs", [], |row| {
            row.get::<_, Option<i64>>(0)
        })?;
        Ok((jobs, last.map(crate::domain::time::Time)))
    }

    /// A consistent copy, made while the ledger is in use (`VACUUM INTO`); the file must not exist. It lacks the secrets of
    /// payments that are held or could still be. It appears under its name only when it is whole, has been read again, and is
    /// on the disk. Tells how many jobs are in it.
    ///
    /// # Errors
    /// Where the copy can't be written, or is not whole.
    pub async fn backup(&self, to: &Path) -> Result<u64, LedgerError> {
        let (from, to) = (self.path.clone(), to.to_owned());
        // With a connection of its own: the reader may show an old ledger as a new one, which can't be copied.
        self.reader
            .call(move |_| back_up(&open_file(&from)?, &to))
            .await
    }

    /// The same of the open ledger, by what it holds rather than by what stands at its path.
    ///
    /// # Errors
    /// As [`Ledger::backup`].
    pub async fn backup_open(&self, to: &Path) -> Result<u64, LedgerError> {
        let to = to.to_owned();
        self.lister
            .call(move |connection| back_up(connection, &to))
            .await
    }
}

/// What is damaged in a ledger that is opened, after what can be built anew was. A large one is looked at later, beside its
/// use.
fn at_open(connection: &Connection, path: &Path) -> Result<Vec<String>, LedgerError> {
    let size = std::fs::metadata(path).map_or(0, |found| found.len());
    if size > CHECKED_AT_OPEN {
        return Ok(Vec::new());
    }
    let look = |connection| match whole::faults(connection, true, std::time::Duration::ZERO) {
        Ok(found) => Ok(found),
        Err(error) => Ok::<_, LedgerError>(vec![error.to_string()]),
    };
    let found = look(connection)?;
    if found.is_empty() {
        return Ok(found);
    }
    match mend::mend(connection) {
        Ok(()) => look(connection),
        // The faults say what is wrong.
        Err(_) => Ok(found),
    }
}

/// How many jobs a ledger has.
///
/// # Errors
/// Where it is none, or can't be read.
fn count_jobs(connection: &Connection) -> Result<u64, LedgerError> {
    let count = connection.query_row("SELECT count(*) FROM jobs NOT INDEXED", [], |row| {
        row.get::<_, i64>(0)
    })?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Reads a copy from its first page to its last.
fn verify(copy: &Path, least: u64) -> Result<u64, LedgerError> {
    let connection = open_file(copy)?;
    let found = whole::faults(&connection, true, std::time::Duration::ZERO)?;
    if let Some(first) = found.first() {
        return Err(damaged(copy, first));
    }
    let jobs = count_jobs(&connection).map_err(|error| damaged(copy, &error))?;
    if jobs < least {
        let words = format!("{jobs} of {least} jobs are in the copy");
        return Err(damaged(copy, &words));
    }
    Ok(jobs)
}

/// A private copy in the place of any that is there, secrets and all: the file itself is gone.
fn back_up_over(connection: &Connection, to: &Path) -> Result<(), LedgerError> {
    let file = |source| LedgerError::File {
        path: to.to_owned(),
        source,
    };
    let folder = to.parent().unwrap_or(Path::new("."));
    let draft = tempfile::NamedTempFile::new_in(folder).map_err(file)?;
    fill(connection, draft.path())?;
    verify(draft.path(), 0)?;
    draft.as_file().sync_all().map_err(file)?;
    draft.persist(to).map_err(|error| file(error.error))?;
    Ok(())
}

fn back_up(connection: &Connection, to: &Path) -> Result<u64, LedgerError> {
    let file = |source| LedgerError::File {
        path: to.to_owned(),
        source,
    };
    let folder = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Only its owner can read it (0600); gone again where anything below fails.
    let draft = tempfile::NamedTempFile::new_in(folder).map_err(file)?;
    let least = count_jobs(connection)?;
    fill(connection, draft.path())?;
    without_secrets(draft.path())?;
    let jobs = verify(draft.path(), least)?;
    draft.as_file().sync_all().map_err(file)?;
    draft
        .persist_noclobber(to)
        .map_err(|error| file(error.error))?;
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(file)?;
    Ok(jobs)
}

/// Takes the secrets of hold invoices that are not settled out of a copy: whoever has one could take a payment that is on
/// its way. A copy is put back when those payments are long over.
fn without_secrets(copy: &Path) -> Result<(), LedgerError> {
    let connection = Connection::open(copy)?;
    if !connection.column_exists(None, "invoices", "preimage")? {
        // Copied from a ledger of the time before held payments.
        return Ok(());
    }
    connection.pragma_update(None, "secure_delete", "ON")?;
    // A journal on the disk would hold them for a moment.
    connection.pragma_update(None, "journal_mode", "MEMORY")?;
    let taken_out = connection.execute(
        "UPDATE invoices SET preimage = NULL WHERE state <> 'paid' AND preimage IS NOT NULL",
        [],
    )?;
    if taken_out > 0 {
        connection.pragma_update(None, "application_id", LACKS_SECRETS)?;
    }
    Ok(())
}

/// A private file (0600) with a consistent copy of the ledger.
fn copy_to(connection: &Connection, to: &Path) -> Result<(), LedgerError> {
    let file = |source| LedgerError::File {
        path: to.to_owned(),
        source,
    };
    // Under its name only when it is whole: a run that is killed leaves a `.partial` behind, which the next one takes away.
    let draft = to.with_extension("partial");
    private_file(&draft).map_err(file)?;
    fill(connection, &draft)?;
    verify(&draft, 0)?;
    std::fs::rename(&draft, to).map_err(file)
}

/// Takes away half copies, and all whole ones but the newest.
fn sweep(path: &Path) {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else {
        return;
    };
    let start = format!("{}.before-", stem.to_string_lossy());
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut whole = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(&start) {
            continue;
        }
        if name.strip_suffix(".partial").is_some() {
            // A file that can't be removed harms nobody.
            let _ = std::fs::remove_file(entry.path());
        } else if name.strip_suffix(".db").is_some() {
            whole.push(entry.path());
        }
    }
    whole.sort();
    whole.pop();
    for old in whole {
        let _ = std::fs::remove_file(old);
    }
}

/// Writes the copy into an empty file.
fn fill(connection: &Connection, file: &Path) -> Result<(), LedgerError> {
    let text = file.to_string_lossy().into_owned();
    connection.execute("VACUUM INTO ?1", [text])?;
    Ok(())
}

/// Makes an empty file that only its owner can read. SQLite then fills it in.
fn private_file(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

/// Prepared statements that are kept: more than there are kinds of them.
const STATEMENTS: usize = 256;

#[cfg(test)]
fn open_writer(path: &Path) -> Result<Connection, LedgerError> {
    open_writer_telling(path, &mut |_| {})
}

fn open_writer_telling(path: &Path, tell: &mut dyn FnMut(&str)) -> Result<Connection, LedgerError> {
    let fresh = !path.exists();
    if fresh {
        private_file(path).map_err(|source| LedgerError::File {
            path: path.to_owned(),
            source,
        })?;
    }
    let mut connection = Connection::open(path)?;
    check_header(&connection, path)?;
    sweep(path);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: a commit survives a power cut. A sent invoice that is forgotten is money lost.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    sort_beside(&connection, path);
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Off while tables are put in the place of others, which may be asked for only outside of a transaction.
    connection.pragma_update(None, "foreign_keys", "OFF")?;
    migrate(&mut connection, path, fresh, tell)?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    Ok(connection)
}

fn migrate(
    connection: &mut Connection,
    path: &Path,
    fresh: bool,
    tell: &mut dyn FnMut(&str),
) -> Result<(), LedgerError> {
    use rusqlite_migration::{Error as Mig, MigrationDefinitionError, SchemaVersion};
    let migrations = schema::migrations();
    let newer = || LedgerError::Newer(path.to_owned());
    let pending = match migrations.pending_migrations(connection) {
        Ok(pending) => pending,
        Err(Mig::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead)) => {
            return Err(newer());
        }
        Err(error) => return Err(damaged(path, &error)),
    };
    if pending < 0 {
        return Err(newer());
    }
    let made = migrations.current_version(connection).ok();
    if pending > 0 && !fresh && made != Some(SchemaVersion::NoneSet) {
        let now = crate::domain::time::Time::now().secs();
        let copy = path.with_extension(format!("before-{now}.db"));
        tell(&format!(
            "the ledger is of an older version: a copy of it is put to {}",
            copy.display()
        ));
        copy_to(connection, &copy)?;
        sweep(path);
        // What is moved is large: with little memory most of it would be written to the disk several times.
        connection.pragma_update(None, "cache_size", -200_000)?;
        // A transaction for each version, so that a start that is cut off goes on from the last one.
        let latest = schema::LATEST;
        let steps = usize::try_from(pending).unwrap_or(latest);
        for step in 1..=steps {
            tell(&format!(
                "the ledger is brought up to date: step {step} of {steps}"
            ));
            let moved = migrations.to_version(connection, latest - (steps - step));
            moved.map_err(|error| damaged(path, &error))?;
        }
        connection.pragma_update(None, "cache_size", -2_000)?;
        return Ok(());
    }
    match migrations.to_latest(connection) {
        Ok(()) => Ok(()),
        Err(Mig::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead)) => {
            Err(newer())
        }
        Err(error) => Err(damaged(path, &error)),
    }
}

fn damaged(path: &Path, detail: &dyn std::fmt::Display) -> LedgerError {
    LedgerError::Damaged {
        path: path.to_owned(),
        detail: detail.to_string(),
    }
}

/// Reads the file's first page: a file that is no database is refused before anything is written to it.
fn check_header(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
            row.get::<_, i64>(0)
        })
        .map(drop)
        .map_err(|error| damaged(path, &error))
}

fn open_reader(path: &Path) -> Result<Connection, LedgerError> {
    let connection = open_file(path)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    schema::refuse_newer(&connection, path)?;
    schema::read_as_new(&connection)?;
    Ok(connection)
}

/// For reading only, as it is.
fn open_file(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    sort_beside(&connection, path);
    Ok(connection)
}

/// Large sorts spill into files, which may hold a buyer's words: they belong beside the ledger, not into a folder of the
/// system that others clean, back up or fill. SQLite keeps one such place for the process, which must not change while another
/// connection may read it, so the first ledger decides. SQLite looks at others where the place is gone, so a refusal is no
/// reason not to open.
fn sort_beside(connection: &Connection, path: &Path) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    let folder = path.parent().and_then(Path::to_str);
    let Some(folder) = folder.filter(|folder| !folder.is_empty()) else {
        return;
    };
    ONCE.call_once(|| {
        if let Err(error) = connection.pragma_update(None, "temp_store_directory", folder) {
            tracing::debug!(%error, "the ledger's temporary files stay where the system has them");
        }
    });
}
