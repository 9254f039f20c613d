//! The queue as people look at it, and the seller's moves in it.

use rusqlite::{Connection, params};

use super::{Ledger, LedgerError, rows};
use crate::domain::id::RequestId;
use crate::domain::job::Job;
use crate::domain::queue::{self, Move};

const QUEUED: &str = "WHERE j.state = 'queued' AND j.state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled')";
const RUNNING: &str = "WHERE j.state = 'running' AND j.state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled')
  ORDER BY j.created_at";
const MOVES: &str = "SELECT job_id, before_id FROM queue_moves ORDER BY seq";
/// Of jobs that do not wait any more.
const FORGET: &str =
    "DELETE FROM queue_moves WHERE job_id NOT IN (SELECT id FROM jobs WHERE state = 'queued'
    AND state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled'))
  OR before_id NOT IN (SELECT id FROM jobs WHERE state = 'queued'
    AND state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled'))";

/// The queue in its order.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Jobs at work.
    pub running: Vec<Job>,
    /// Jobs that wait, the next one first.
    pub waiting: Vec<Job>,
    /// What the seller moved.
    pub moves: Vec<Move>,
}

impl Ledger {
    /// The queue in its order.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn line(&self) -> Result<Line, LedgerError> {
        self.reader.call(line).await
    }

    /// Moves a waiting job one place up or down. False at the end of the queue, or where it does not wait.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn move_in_queue(&self, id: RequestId, up: bool) -> Result<bool, LedgerError> {
        let live = self.live.clone();
        let moved = self.writer.call_then(
            move |connection| {
                let line = line(connection)?;
                let order: Vec<Box<Job>> = line.waiting.into_iter().map(Box::new).collect();
                let Some(one) = queue::moved(&order, id, up) else {
                    return Ok(None);
                };
                connection.prepare_cached(FORGET)?.execute([])?;
                connection
                    .prepare_cached("INSERT INTO queue_moves (job_id, before_id) VALUES (?1, ?2)")?
                    .execute(params![
                        one.job.0.as_bytes().as_slice(),
                        one.before.0.as_bytes().as_slice()
                    ])?;
                Ok(Some(moves(connection)?))
            },
            move |moves| {
                if let Some(moves) = moves {
                    live.with(|live| live.moves.clone_from(moves));
                }
            },
        );
        moved.await.map(|moves| moves.is_some())
    }
}

fn line(connection: &Connection) -> Result<Line, LedgerError> {
    let moves = moves(connection)?;
    let waiting = rows::all(connection, QUEUED, [])?;
    let mut order: Vec<Box<Job>> = waiting.into_iter().map(Box::new).collect();
    queue::sort(&mut order, &moves);
    Ok(Line {
        running: rows::all(connection, RUNNING, [])?,
        waiting: order.into_iter().map(|job| *job).collect(),
        moves,
    })
}

/// What the seller moved; nothing in a ledger that no vend of this version has opened for writing yet.
pub(super) fn moves(connection: &Connection) -> Result<Vec<Move>, LedgerError> {
    if !connection.table_exists(None, "queue_moves")? {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached(MOVES)?;
    let mut found = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        let id = |at: usize| -> Result<RequestId, LedgerError> {
            Ok(RequestId(rows::event_id(&row.get::<_, Vec<u8>>(at)?)?))
        };
        all.push(Move {
            job: id(0)?,
            before: id(1)?,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use nostr::EventId;

    use super::*;
    use crate::domain::job::PayOrder;
    use crate::domain::time::Time;
    use crate::domain::transition;
    use crate::ledger::NewJob;

    fn id(n: u8) -> RequestId {
        RequestId(EventId::from_byte_array([n; 32]))
    }

    fn firsts(jobs: &[Job]) -> Vec<u8> {
        jobs.iter().map(|job| job.id.0.as_bytes()[0]).collect()
    }

    #[tokio::test]
    async fn a_move_is_in_force_at_once_and_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vend.db");
        let ledger = Ledger::open(&path).unwrap();
        for n in 1..=4 {
            let mut job = transition::tests::job(PayOrder::After);
            (job.id, job.created_at) = (id(n), Time(1_000 + i64::from(n)));
            ledger.admit(NewJob::plain(job)).await.unwrap().unwrap();
        }
        let now = Time(9_000);
        assert!(ledger.move_in_queue(id(4), true).await.unwrap());
        assert!(ledger.move_in_queue(id(4), true).await.unwrap());
        assert!(ledger.move_in_queue(id(1), false).await.unwrap());
        assert!(!ledger.move_in_queue(id(9), true).await.unwrap());
        let wanted = [4, 1, 2, 3];
        assert_eq!(firsts(&ledger.queue(now, 64)), wanted);
        assert_eq!(firsts(&ledger.line().await.unwrap().waiting), wanted);
        ledger.close().await;
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(firsts(&ledger.queue(now, 64)), wanted);
        assert_eq!(firsts(&ledger.queue(now, 2)), wanted[..2]);
        ledger.close().await;
    }
}
