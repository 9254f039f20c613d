//! One thread owns one connection; the rest of the program sends it work and waits for its commit.
//!
//! The writer groups what is waiting into one transaction (one fsync for all of it), each piece in a savepoint of its
//! own, so that a piece that fails takes only itself back. Nobody is told "done" before the commit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::LedgerError;

/// Pieces of work that may wait; more senders wait for room.
const QUEUE: usize = 1_024;
/// The most pieces in one transaction.
const GROUP: usize = 64;

type Tell = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;
type Work = Box<dyn FnOnce(&Connection) -> (bool, Tell) + Send>;

/// A handle to the thread. The thread ends when the last handle is gone.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    work: mpsc::Sender<Work>,
    /// Why the last group was not worked through; its senders learn it by the answer that never comes.
    failure: Arc<Mutex<Option<String>>>,
}

impl Worker {
    /// Starts the thread that writes.
    pub(super) fn writer(connection: Connection) -> Result<(Self, JoinHandle<()>), LedgerError> {
        Self::spawn("ledger-writer", connection, write_group)
    }

    /// Starts the thread that reads.
    pub(super) fn reader(connection: Connection) -> Result<(Self, JoinHandle<()>), LedgerError> {
        Self::spawn("ledger-reader", connection, read_group)
    }

    fn spawn(
        name: &str,
        mut connection: Connection,
        run: fn(&mut Connection, &mut VecDeque<Work>) -> Result<(), String>,
    ) -> Result<(Self, JoinHandle<()>), LedgerError> {
        let (work, mut queue) = mpsc::channel::<Work>(QUEUE);
        let failure = Arc::new(Mutex::new(None));
        let failed = failure.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Some(first) = queue.blocking_recv() {
                    let mut group = VecDeque::from([first]);
                    while group.len() < GROUP {
                        let Ok(next) = queue.try_recv() else { break };
                        group.push_back(next);
                    }
                    if let Err(why) = run(&mut connection, &mut group) {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                    }
                    // What is left was not run.
                    drop(group);
                }
                take_in_log(&connection);
            })
            .map_err(LedgerError::Thread)?;
        Ok((Self { work, failure }, thread))
    }

    /// Runs `f` on the thread and answers after its commit.
    pub(super) async fn call<T, F>(&self, f: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        self.call_then(f, |_| {}).await
    }

    /// Runs `f` on the thread, and `then` once it is committed, in the order of the commits; answers after both.
    pub(super) async fn call_then<T, F, G>(&self, f: F, then: G) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
        G: FnOnce(&T) + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let result = f(connection);
            let keep = result.is_ok();
            let report: Tell = Box::new(move |committed| {
                if committed.is_ok()
                    && let Ok(done) = &result
                {
                    then(done);
                }
                // The caller may have gone away; what was committed stays.
                let _ = tell.send(committed.and(result));
            });
            (keep, report)
        });
        self.work
            .send(work)
            .await
            .map_err(|_| LedgerError::Closed)?;
        told.await.map_err(|_| self.not_run())?
    }

    fn not_run(&self) -> LedgerError {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let why = failure.clone();
        why.map_or(LedgerError::Closed, LedgerError::NotCommitted)
    }
}

/// SQLite's own log is taken into the file, and with it goes what was erased since. A reader that closes last could not do
/// that. Where it fails nothing is lost: the next opening does it.
fn take_in_log(connection: &Connection) {
    if connection.is_readonly("main") == Ok(false) {
        let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }
}

fn write_group(connection: &mut Connection, group: &mut VecDeque<Work>) -> Result<(), String> {
    let mut tells = Vec::with_capacity(group.len());
    let committed = in_transaction(connection, group, &mut tells);
    let failure = committed.err().map(|error| error.to_string());
    for tell in tells {
        tell(match &failure {
            None => Ok(()),
            Some(why) => Err(LedgerError::NotCommitted(why.clone())),
        });
    }
    failure.map_or(Ok(()), Err)
}

fn in_transaction(
    connection: &mut Connection,
    group: &mut VecDeque<Work>,
    tells: &mut Vec<Tell>,
) -> Result<(), rusqlite::Error> {
    let mut transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    while let Some(work) = group.pop_front() {
        let savepoint = transaction.savepoint()?;
        let (keep, tell) = work(&savepoint);
        tells.push(tell);
        // A full disk makes SQLite give up the whole transaction, and what came before with it.
        if savepoint.is_autocommit() {
            return Err(given_up());
        }
        if keep {
            savepoint.commit()?;
        }
    }
    transaction.commit()
}

fn given_up() -> rusqlite::Error {
    let words = "no room on the disk, or it failed; everything is as it was before";
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
        Some(words.to_owned()),
    )
}

#[allow(clippy::unnecessary_wraps)] // a writer's group may fail
fn read_group(connection: &mut Connection, group: &mut VecDeque<Work>) -> Result<(), String> {
    while let Some(work) = group.pop_front() {
        let (_, tell) = work(connection);
        tell(Ok(()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(connection: &Connection) -> Result<(), LedgerError> {
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))", [])?;
        Ok(())
    }

    fn small(connection: &Connection) -> Result<(), LedgerError> {
        connection.execute("INSERT INTO t VALUES (1)", [])?;
        Ok(())
    }

    #[tokio::test]
    async fn nobody_is_told_done_when_the_disk_was_full_in_the_middle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute("CREATE TABLE t (x)", []).unwrap();
        // SQLite's own word for a full disk, with a file that may not grow.
        connection.pragma_update(None, "max_page_count", 3).unwrap();
        let (writer, _thread) = Worker::writer(connection).unwrap();
        // The first keeps the thread busy until the others wait behind it, so that they are one group.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let first = writer.call(move |_| {
            wait.recv().unwrap();
            Ok(())
        });
        let rest = async {
            let rest =
                futures::future::join3(writer.call(small), writer.call(full), writer.call(small));
            futures::pin_mut!(rest);
            assert!(futures::poll!(&mut rest).is_pending());
            go.send(()).unwrap();
            rest.await
        };
        // The first may be of the group too.
        let (_, (before, too_much, after)) = futures::join!(first, rest);
        assert!(too_much.is_err());
        let look = Connection::open(&path).unwrap();
        let kept: i64 = look
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        let told = i64::from(before.is_ok()) + i64::from(after.is_ok());
        assert_eq!(kept, told, "{before:?} {after:?}");
        writer.call(small).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_not_run_is_told_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute("CREATE TABLE t (x)", []).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection.busy_timeout(std::time::Duration::ZERO).unwrap();
        let (writer, _thread) = Worker::writer(connection).unwrap();
        let error = writer.call(small).await.unwrap_err();
        assert!(error.to_string().contains("locked"), "{error}");
        other.execute_batch("ROLLBACK").unwrap();
        writer.call(small).await.unwrap();
    }
}
