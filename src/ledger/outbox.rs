//! Events that are signed and on their way: the same bytes until a relay has them or they are of no use.

use nostr::EventId;
use rusqlite::{Connection, OptionalExtension, params};

use super::live::Shared;
use super::thread::Tell;
use super::waiting::{self, Due, Outcome, Put, Settled, SignedDraft};
use super::{Ledger, LedgerError};
use crate::domain::id::RequestId;
use crate::domain::reply::Role;
use crate::domain::time::Time;

/// An event of a job that can reach no relay any more.
pub type Lost = (RequestId, Role);

// Each names the condition of its index to the letter, so that what was sent long ago costs nothing.
const PAST: &str = "SELECT out_id, job_id, role FROM outbox WHERE settled = 0 AND not_after <= ?1";
const ENDED: &str =
    "SELECT o.out_id, o.job_id, o.role FROM outbox o WHERE o.settled = 0 AND o.not_after > ?1
  AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.out_id = o.out_id AND d.state = 'due')";

/// Puts a signed event in. A role that the job already has is left as it is: those bytes may be out already.
pub(super) fn put(
    connection: &Connection,
    job: Option<RequestId>,
    draft: SignedDraft,
) -> Result<Option<Put>, LedgerError> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO outbox (job_id, role, event_id, not_after) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            job.as_ref().map(|id| id.0.as_bytes().as_slice()),
            draft.role.as_str(),
            draft.event_id.as_bytes().as_slice(),
            draft.not_after.0
        ])?;
    if inserted == 0 {
        return Ok(None);
    }
    let out_id = connection.last_insert_rowid();
    connection
        .prepare_cached("INSERT INTO event_texts VALUES (?1, ?2)")?
        .execute(params![out_id, draft.json])?;
    due_at_each(connection, out_id, &draft.relays)?;
    Ok(Some(Put { out_id, job, draft }))
}

/// An event that is kept is due again at every relay it went to, and at these. False where it is not kept.
pub(super) fn again(
    connection: &Connection,
    job: &RequestId,
    role: &str,
    relays: &[String],
    until: Time,
) -> Result<bool, LedgerError> {
    let out_id: Option<i64> = connection
        .prepare_cached("SELECT out_id FROM outbox WHERE job_id = ?1 AND role = ?2")?
        .query_row(params![job.0.as_bytes().as_slice(), role], |row| row.get(0))
        .optional()?;
    let Some(out_id) = out_id else {
        return Ok(false);
    };
    connection
        .prepare_cached(
            "UPDATE outbox SET settled = 0, not_after = max(not_after, ?2) WHERE out_id = ?1",
        )?
        .execute(params![out_id, until.0])?;
    connection
        .prepare_cached(
            "UPDATE delivery SET state = 'due', attempts = 0, ends = 0, next_at = 0 WHERE out_id = ?1",
        )?
        .execute([out_id])?;
    due_at_each(connection, out_id, relays)?;
    Ok(true)
}

/// Another event takes the place of one that no relay has, and is due at these relays alone.
pub(super) fn replace(
    connection: &Connection,
    job: &RequestId,
    draft: SignedDraft,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached("DELETE FROM outbox WHERE job_id = ?1 AND role = ?2")?
        .execute(params![job.0.as_bytes().as_slice(), draft.role.as_str()])?;
    put(connection, Some(*job), draft).map(drop)
}

fn due_at_each(connection: &Connection, out_id: i64, relays: &[String]) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO delivery (out_id, relay, state, next_at) VALUES (?1, ?2, 'due', 0) ON CONFLICT DO NOTHING",
    )?;
    for relay in relays {
        statement.execute(params![out_id, relay])?;
    }
    Ok(())
}

/// Nothing of this job is sent any more. Tells which events that were.
pub(super) fn withdraw(connection: &Connection, job: &RequestId) -> Result<Vec<i64>, LedgerError> {
    let id = job.0.as_bytes().as_slice();
    let mut open =
        connection.prepare_cached("SELECT out_id FROM outbox WHERE job_id = ?1 AND settled = 0")?;
    let open: Vec<i64> = open
        .query_map([id], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for out_id in &open {
        connection
            .prepare_cached(
                "UPDATE delivery SET state = 'gave_up', last_reply = 'withdrawn' WHERE state = 'due' AND out_id = ?1",
            )?
            .execute([out_id])?;
        mark_settled(connection, *out_id)?;
    }
    Ok(open)
}

/// Writes the words of relays that wait, with what is committed next. What is to be said of it after the commit.
pub(super) fn write_words(
    connection: &Connection,
    live: &Shared,
) -> Result<Option<Tell>, LedgerError> {
    let (words, upto) = live.with(|live| live.outbox.words());
    if words.is_empty() {
        return Ok(None);
    }
    for word in &words {
        written(
            connection,
            word.out_id,
            &word.relay,
            word.settled,
            &word.words,
        )?;
    }
    let live = live.clone();
    Ok(Some(Box::new(move |committed| {
        if committed.is_ok() {
            live.with(|live| live.outbox.wrote(upto));
        }
    })))
}

impl Ledger {
    /// What is due at this relay now, the longest due first.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn due_at(
        &self,
        relay: &str,
        now: Time,
        limit: usize,
    ) -> Result<Vec<Due>, LedgerError> {
        self.read_due(now).await?;
        let found = self.live.with(|live| live.outbox.due_at(relay, now, limit));
        let mut due = Vec::with_capacity(found.len());
        for (mut one, has_bytes) in found {
            if !has_bytes {
                match self.event_text(one.out_id).await? {
                    Some(json) => one.json = json,
                    // It was erased in this moment.
                    None => continue,
                }
            }
            due.push(one);
        }
        Ok(due)
    }

    async fn event_text(&self, out_id: i64) -> Result<Option<String>, LedgerError> {
        self.reader
            .call(move |connection| {
                Ok(connection
                    .prepare_cached("SELECT event_json FROM event_texts WHERE out_id = ?1")?
                    .query_row([out_id], |row| row.get(0))
                    .optional()?)
            })
            .await
    }

    /// Reads what is due, where what is in memory is not what the ledger holds.
    async fn read_due(&self, now: Time) -> Result<(), LedgerError> {
        if self.live.with(|live| live.outbox.is_read(now)) {
            return Ok(());
        }
        let live = self.live.clone();
        // By the writer, so that it falls between two commits.
        self.writer
            .call_then(waiting::read, move |read| {
                live.with(|live| live.outbox.fill(read, now));
            })
            .await
            .map(drop)
    }

    /// Something changed in the outbox that is not in memory.
    pub(super) fn outbox_changed(&self) -> impl FnOnce() + Send + 'static {
        let live = self.live.clone();
        move || live.with(|live| live.outbox.forget())
    }

    /// Relays at which something is due, now or later, with the moment of the first.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn due_relays(&self, now: Time) -> Result<Vec<(String, Time)>, LedgerError> {
        self.read_due(now).await?;
        Ok(self.live.with(|live| live.outbox.due_relays(now)))
    }

    /// Is an event that is still due of no use any more?
    #[must_use]
    pub fn has_past(&self, now: Time) -> bool {
        self.live.with(|live| live.outbox.has_past(now))
    }

    /// Takes a relay's word on an event that may wait for the next commit: what would be lost with it is that the relay has
    /// the event, which it says again when the event is sent again. The refusal of a result may not wait, as its job may end
    /// by it.
    ///
    /// # Errors
    /// Where so many words wait that this one was to be committed, and was not.
    pub async fn settle_soon(
        &self,
        out_id: i64,
        relay: String,
        settled: Settled,
        words: String,
    ) -> Result<(), LedgerError> {
        let word = Outcome {
            out_id,
            relay,
            settled,
            words,
        };
        match self.live.with(|live| live.outbox.say(word)) {
            Ok(()) => Ok(()),
            Err(word) => self
                .settle(word.out_id, word.relay, word.settled, word.words)
                .await
                .map(drop),
        }
    }

    /// Do words of relays wait for a commit?
    #[must_use]
    pub fn has_words(&self) -> bool {
        self.live.with(|live| live.outbox.has_words())
    }

    /// Commits the words of relays that wait.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn write_words(&self) -> Result<(), LedgerError> {
        self.writer.call(|_| Ok(())).await
    }

    /// Writes down a relay's word on an event. Where that was the last relay, and none has accepted a job's result, its job
    /// is to be told.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn settle(
        &self,
        out_id: i64,
        relay: String,
        settled: Settled,
        words: String,
    ) -> Result<Option<Lost>, LedgerError> {
        let (live, at) = (self.live.clone(), relay.clone());
        self.writer
            .call_then(
                move |connection| written(connection, out_id, &relay, settled, &words),
                move |_| live.with(|live| live.outbox.settle(out_id, &at, settled)),
            )
            .await
    }

    /// The relay is there again: what waits for a connection alone is due now.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn hurry(&self, relay: String) -> Result<(), LedgerError> {
        let changed = self.outbox_changed();
        self.writer
            .call_then(
                move |connection| {
                    Ok(connection
                        .prepare_cached(
                            "UPDATE delivery SET next_at = 0 WHERE state = 'due' AND relay = ?1 AND offline = 1
                             AND ends = 0 AND next_at > 0",
                        )?
                        .execute([relay])?)
                },
                move |hurried| {
                    if *hurried > 0 {
                        changed();
                    }
                },
            )
            .await
            .map(drop)
    }

    /// Results that can reach no relay any more as their time is past. With `all`, those that every relay refused too: for a
    /// start, as [`Self::settle`] tells them while the program runs. Each is told until [`Self::settled_for`].
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn give_up(&self, now: Time, all: bool) -> Result<Vec<Lost>, LedgerError> {
        let changed = self.outbox_changed();
        let given_up = self.writer.call_then(
            move |connection| {
                let mut lost = Vec::new();
                let past = open_of(connection, PAST, now)?;
                let any = !past.is_empty();
                for (out_id, job, role) in past {
                    connection
                        .prepare_cached(
                            "UPDATE delivery SET state = 'gave_up', last_reply = last_reply || ' (past its time)'
                             WHERE out_id = ?1 AND state = 'due'",
                        )?
                        .execute([out_id])?;
                    lost.extend(ended_at_all(connection, out_id, job, &role)?);
                }
                if all {
                    for (out_id, job, role) in open_of(connection, ENDED, now)? {
                        lost.extend(ended_at_all(connection, out_id, job, &role)?);
                    }
                }
                Ok((lost, any))
            },
            move |(_, any)| {
                if *any {
                    changed();
                }
            },
        );
        given_up.await.map(|(lost, _)| lost)
    }

    /// The job's step on a given-up event is written: it is told no more.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn settled_for(&self, job: RequestId, role: Role) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| {
                connection.execute(
                    "UPDATE outbox SET settled = 1 WHERE job_id = ?1 AND role = ?2",
                    params![job.0.as_bytes().as_slice(), role.as_str()],
                )?;
                Ok(())
            })
            .await
    }

    /// Results that a relay has accepted while their job does not know it yet (the process died in between).
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn accepted_unknown(&self) -> Result<Vec<(RequestId, String)>, LedgerError> {
        self.reader
            .call(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT j.id, min(d.relay) FROM jobs j
                     JOIN outbox o ON o.job_id = j.id AND o.role = 'result'
                     JOIN delivery d ON d.out_id = o.out_id AND d.state = 'ok'
                     WHERE j.state = 'publishing'
                       AND j.state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled') GROUP BY j.id",
                )?;
                let rows = statement
                    .query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?)))?
                    .collect::<Result<Vec<(Vec<u8>, String)>, _>>()?;
                Ok(rows
                    .into_iter()
                    .filter_map(|(id, relay)| {
                        EventId::from_slice(&id)
                            .ok()
                            .map(|id| (RequestId(id), relay))
                    })
                    .collect())
            })
            .await
    }

    /// Is anything due that could go out?
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn outbox_empty(&self, now: Time) -> Result<bool, LedgerError> {
        if self.has_words() {
            self.write_words().await?;
        }
        self.reader
            .call(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT 1 FROM outbox o WHERE o.settled = 0 AND o.not_after > ?1
                         AND EXISTS (SELECT 1 FROM delivery d WHERE d.out_id = o.out_id AND d.state = 'due') LIMIT 1",
                    )?
                    .query_row(params![now.0], |_| Ok(()))
                    .optional()?
                    .is_none())
            })
            .await
    }

    /// Did this ledger's seller sign this event, as far as is written down here?
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn has_signed(&self, event: EventId) -> Result<bool, LedgerError> {
        self.reader
            .call(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM outbox WHERE event_id = ?1)
                     OR EXISTS (SELECT 1 FROM jobs WHERE result_id = ?1)",
                )?;
                Ok(statement.query_row([event.as_bytes().as_slice()], |row| row.get(0))?)
            })
            .await
    }

    /// The events of a job as they were signed, for a detail view.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn events_of(&self, job: RequestId) -> Result<Vec<(String, String)>, LedgerError> {
        self.reader
            .call(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT o.role, t.event_json FROM outbox o JOIN event_texts t ON t.out_id = o.out_id
                     WHERE o.job_id = ?1 ORDER BY o.out_id",
                )?;
                let rows = statement.query_map([job.0.as_bytes().as_slice()], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}

/// Writes down a relay's word on an event: see [`Ledger::settle`].
fn written(
    connection: &Connection,
    out_id: i64,
    relay: &str,
    settled: Settled,
    words: &str,
) -> Result<Option<Lost>, LedgerError> {
    let (state, next_at) = match settled {
        Settled::Ok => ("ok", 0),
        Settled::Refused => ("refused", 0),
        Settled::GaveUp => ("gave_up", 0),
        Settled::Again(at) | Settled::Offline(at) | Settled::Ended(at) => ("due", at.0),
    };
    let (offline, ended) = (
        matches!(settled, Settled::Offline(_)),
        matches!(settled, Settled::Ended(_)),
    );
    connection
        .prepare_cached(
            "UPDATE delivery SET state = ?3, next_at = ?4, attempts = attempts + 1, last_reply = ?5,
             offline = ?6, ends = ends + ?7
             WHERE out_id = ?1 AND relay = ?2 AND state = 'due'",
        )?
        .execute(params![out_id, relay, state, next_at, words, offline, ended])?;
    if state == "due" || any(connection, out_id, "due")? {
        return Ok(None);
    }
    let ended = connection
        .prepare_cached("SELECT job_id, role FROM outbox WHERE out_id = ?1 AND settled = 0")?
        .query_row([out_id], |row| {
            Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    match ended {
        Some((job, role)) => ended_at_all(connection, out_id, job, &role),
        None => Ok(None),
    }
}

/// A relay has this event.
pub(super) fn accepted(
    connection: &Connection,
    out_id: i64,
    relay: &str,
) -> Result<(), LedgerError> {
    written(connection, out_id, relay, Settled::Ok, "").map(drop)
}

type Open = (i64, Option<Vec<u8>>, String);

fn open_of(connection: &Connection, sql: &str, now: Time) -> Result<Vec<Open>, LedgerError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([now.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Nothing of this event is due any more. A result that no relay has is told; it is marked only once its job's step is
/// written: see `settled_for`.
fn ended_at_all(
    connection: &Connection,
    out_id: i64,
    job: Option<Vec<u8>>,
    role: &str,
) -> Result<Option<Lost>, LedgerError> {
    if !any(connection, out_id, "ok")? {
        let job = job
            .and_then(|id| EventId::from_slice(&id).ok())
            .map(RequestId);
        if let (Some(job), Some(Role::Result)) = (job, Role::parse(role)) {
            return Ok(Some((job, Role::Result)));
        }
    }
    mark_settled(connection, out_id)?;
    Ok(None)
}

fn any(connection: &Connection, out_id: i64, state: &str) -> Result<bool, LedgerError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM delivery WHERE out_id = ?1 AND state = ?2")?
        .exists(params![out_id, state])?)
}

fn mark_settled(connection: &Connection, out_id: i64) -> Result<(), LedgerError> {
    connection
        .prepare_cached("UPDATE outbox SET settled = 1 WHERE out_id = ?1")?
        .execute([out_id])?;
    Ok(())
}

#[cfg(test)]
mod tests;
