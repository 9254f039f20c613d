//! One thread owns one connection; the rest of the program sends it work and waits for its commit.
//!
//! The writer groups what is waiting into one transaction (one fsync for all of it), each piece in a savepoint of its
//! own, so that a piece that fails takes only itself back. Nobody is told "done" before the commit.

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
        run: fn(&mut Connection, Vec<Work>),
    ) -> Result<(Self, JoinHandle<()>), LedgerError> {
        let (work, mut queue) = mpsc::channel::<Work>(QUEUE);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Some(first) = queue.blocking_recv() {
                    let mut group = vec![first];
                    while group.len() < GROUP {
                        let Ok(next) = queue.try_recv() else { break };
                        group.push(next);
                    }
                    run(&mut connection, group);
                }
            })
            .map_err(LedgerError::Thread)?;
        Ok((Self { work }, thread))
    }

    /// Runs `f` on the thread and answers after its commit.
    pub(super) async fn call<T, F>(&self, f: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let result = f(connection);
            let keep = result.is_ok();
            let report: Tell = Box::new(move |committed| {
                // The caller may have gone away; what was committed stays.
                let _ = tell.send(committed.and(result));
            });
            (keep, report)
        });
        self.work
            .send(work)
            .await
            .map_err(|_| LedgerError::Closed)?;
        told.await.map_err(|_| LedgerError::Closed)?
    }
}

fn write_group(connection: &mut Connection, group: Vec<Work>) {
    let mut tells = Vec::with_capacity(group.len());
    let committed = in_transaction(connection, group, &mut tells);
    let failure = committed.err().map(|error| error.to_string());
    for tell in tells {
        tell(match &failure {
            None => Ok(()),
            Some(why) => Err(LedgerError::NotCommitted(why.clone())),
        });
    }
}

fn in_transaction(
    connection: &mut Connection,
    group: Vec<Work>,
    tells: &mut Vec<Tell>,
) -> Result<(), rusqlite::Error> {
    let begun = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
    let mut transaction = match begun {
        Ok(transaction) => transaction,
        Err(error) => {
            // Nothing ran: the senders learn it by the answer that never comes.
            drop(group);
            return Err(error);
        }
    };
    for work in group {
        let savepoint = transaction.savepoint()?;
        let (keep, tell) = work(&savepoint);
        tells.push(tell);
        if keep {
            savepoint.commit()?;
        }
    }
    transaction.commit()
}

fn read_group(connection: &mut Connection, group: Vec<Work>) {
    for work in group {
        let (_, tell) = work(connection);
        tell(Ok(()));
    }
}
