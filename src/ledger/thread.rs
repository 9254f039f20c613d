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
use super::whole::Whole;

/// Pieces of work that may wait; more senders wait for room.
const QUEUE: usize = 1_024;
/// The most pieces in one transaction.
const GROUP: usize = 64;

/// Called once with what became of the commit.
pub(super) type Tell = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;
type Work = Box<dyn FnOnce(&Connection) -> (bool, Tell) + Send>;
type Run = Box<dyn Fn(&mut Connection, &mut VecDeque<Work>, &Whole) -> Result<(), String> + Send>;
/// What may wait, and is written with each group. It stays what it was where that is not committed.
pub(super) type Beside = Box<dyn Fn(&Connection) -> Result<Option<Tell>, LedgerError> + Send>;

/// Work, and whether it runs in a transaction of its own making.
struct Piece {
    alone: bool,
    work: Work,
}

/// A handle to the thread. The thread ends when the last handle is gone.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    work: mpsc::Sender<Piece>,
    /// Why the last group was not worked through; its senders learn it by the answer that never comes.
    failure: Arc<Mutex<Option<String>>>,
    whole: Whole,
}

impl Worker {
    /// Starts the thread that writes.
    pub(super) fn writer(
        connection: Connection,
        whole: &Whole,
        beside: Beside,
    ) -> Result<(Self, JoinHandle<()>), LedgerError> {
        let run: Run = Box::new(move |connection, group, whole| {
            write_group(connection, group, whole, &beside)
        });
        Self::spawn("ledger-writer", connection, whole, run)
    }

    /// Starts the thread that reads.
    pub(super) fn reader(
        connection: Connection,
        whole: &Whole,
    ) -> Result<(Self, JoinHandle<()>), LedgerError> {
        Self::spawn("ledger-reader", connection, whole, Box::new(read_group))
    }

    fn spawn(
        name: &str,
        mut connection: Connection,
        whole: &Whole,
        run: Run,
    ) -> Result<(Self, JoinHandle<()>), LedgerError> {
        let (work, mut queue) = mpsc::channel::<Piece>(QUEUE);
        let watched = whole.clone();
        let failure = Arc::new(Mutex::new(None));
        let failed = failure.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Some(first) = queue.blocking_recv() {
                    let (mut group, alone) = gather(first, &mut queue);
                    if !group.is_empty()
                        && let Err(why) = run(&mut connection, &mut group, &watched)
                    {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                    }
                    if let Some(work) = alone {
                        let (_, tell) = work(&connection);
                        tell(Ok(()));
                    }
                    // What is left was not run.
                    drop(group);
                }
                // What waited for another commit, which does not come any more. Where it fails it is as after a crash.
                let _ = run(&mut connection, &mut VecDeque::new(), &watched);
                take_in_log(&connection);
            })
            .map_err(LedgerError::Thread)?;
        let whole = whole.clone();
        Ok((
            Self {
                work,
                failure,
                whole,
            },
            thread,
        ))
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
        self.send(f, then, false).await
    }

    /// Runs `f` on the thread outside of any transaction.
    pub(super) async fn alone<T, F>(&self, f: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        self.send(f, |_| {}, true).await
    }

    async fn send<T, F, G>(&self, f: F, then: G, alone: bool) -> Result<T, LedgerError>
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
            .send(Piece { alone, work })
            .await
            .map_err(|_| LedgerError::Closed)?;
        let done = told.await.map_err(|_| self.not_run())?;
        if let Err(error) = &done {
            self.whole.heard(error);
        }
        done
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

/// What waits, up to a whole group, and then what is to run by itself.
fn gather(first: Piece, queue: &mut mpsc::Receiver<Piece>) -> (VecDeque<Work>, Option<Work>) {
    let mut group = VecDeque::new();
    let mut next = Some(first);
    while let Some(piece) = next.take() {
        if piece.alone {
            return (group, Some(piece.work));
        }
        group.push_back(piece.work);
        if group.len() < GROUP {
            next = queue.try_recv().ok();
        }
    }
    (group, None)
}

fn write_group(
    connection: &mut Connection,
    group: &mut VecDeque<Work>,
    whole: &Whole,
    beside: &Beside,
) -> Result<(), String> {
    whole.look();
    let mut tells = Vec::with_capacity(group.len() + 1);
    let committed = in_transaction(connection, group, &mut tells, beside);
    let failure = committed.err().map(|error| {
        let error = LedgerError::from(error);
        whole.heard(&error);
        error.to_string()
    });
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
    beside: &Beside,
) -> Result<(), rusqlite::Error> {
    let mut transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    written_beside(transaction.savepoint()?, tells, beside)?;
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

fn written_beside(
    savepoint: rusqlite::Savepoint<'_>,
    tells: &mut Vec<Tell>,
    beside: &Beside,
) -> Result<(), rusqlite::Error> {
    match beside(&savepoint) {
        Ok(tell) => {
            tells.extend(tell);
            savepoint.commit()
        }
        Err(_) if savepoint.is_autocommit() => Err(given_up()),
        Err(error) => {
            // It waits on, and holds up nothing else.
            tracing::warn!(%error, "what relays said is not written yet");
            Ok(())
        }
    }
}

fn given_up() -> rusqlite::Error {
    let words = "no room on the disk, or it failed; everything is as it was before";
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
        Some(words.to_owned()),
    )
}

#[allow(clippy::unnecessary_wraps)] // a writer's group may fail
fn read_group(
    connection: &mut Connection,
    group: &mut VecDeque<Work>,
    _: &Whole,
) -> Result<(), String> {
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

    fn nothing() -> Beside {
        Box::new(|_| Ok(None))
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
        let (writer, _thread) = Worker::writer(connection, &Whole::default(), nothing()).unwrap();
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
        let (writer, _thread) = Worker::writer(connection, &Whole::default(), nothing()).unwrap();
        let error = writer.call(small).await.unwrap_err();
        assert!(error.to_string().contains("locked"), "{error}");
        other.execute_batch("ROLLBACK").unwrap();
        writer.call(small).await.unwrap();
    }
}
