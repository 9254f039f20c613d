//! Events that are signed and on their way: the same bytes until a relay has them or they are of no use.

use nostr::EventId;
use rusqlite::{Connection, OptionalExtension, params};

use super::shift::LONGEST_WAIT_MS;
use super::{Ledger, LedgerError};
use crate::domain::id::RequestId;
use crate::domain::reply::Role;
use crate::domain::time::Time;

/// A signed event, ready for the outbox.
#[derive(Clone, Debug)]
pub struct SignedDraft {
    /// What it is for its job.
    pub role: Role,
    /// Its id.
    pub event_id: EventId,
    /// Its bytes.
    pub json: String,
    /// Of no use after this.
    pub not_after: Time,
    /// Where it goes.
    pub relays: Vec<String>,
}

/// One event due at one relay.
#[derive(Clone, Debug)]
pub struct Due {
    /// The outbox entry.
    pub out_id: i64,
    /// Its job; none for a refusal.
    pub job: Option<RequestId>,
    /// What it is for its job.
    pub role: Role,
    /// Its bytes.
    pub json: String,
    /// The relay.
    pub relay: String,
    /// Tries so far.
    pub attempts: u32,
    /// Connections that ended while it waited for its `OK`.
    pub ends: u32,
}

/// A relay's word, as the ledger keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Accepted.
    Ok,
    /// Refused for good.
    Refused,
    /// To be tried again at this moment.
    Again(Time),
    /// There was no connection: tried again at this moment, or when there is one.
    Offline(Time),
    /// The connection ended while it waited: tried again at this moment, which a new connection does not bring nearer.
    Ended(Time),
    /// Not sent to this relay any more.
    GaveUp,
}

/// An event of a job that can reach no relay any more.
pub type Lost = (RequestId, Role);

// Each names the condition of its index to the letter, so that what was sent long ago costs nothing.
const DUE_AT: &str =
    "SELECT o.out_id, o.job_id, o.role, t.event_json, d.attempts, d.next_at, d.ends
  FROM delivery d JOIN outbox o ON o.out_id = d.out_id JOIN event_texts t ON t.out_id = d.out_id
  WHERE d.state = 'due' AND d.relay = ?2 AND d.next_at <= ?1 AND o.not_after > ?1
  UNION ALL SELECT o.out_id, o.job_id, o.role, t.event_json, d.attempts, d.next_at, d.ends
  FROM delivery d JOIN outbox o ON o.out_id = d.out_id JOIN event_texts t ON t.out_id = d.out_id
  WHERE d.state = 'due' AND d.relay = ?2 AND d.next_at > ?1 + ?4 AND o.not_after > ?1
  ORDER BY 6, 1 LIMIT ?3";
/// From relay to relay: a grouping would read everything that is due.
const DUE_RELAYS: &str = "WITH RECURSIVE at(relay) AS (
    SELECT min(relay) FROM delivery WHERE state = 'due'
    UNION ALL SELECT (SELECT min(relay) FROM delivery WHERE state = 'due' AND relay > at.relay) FROM at
      WHERE at.relay IS NOT NULL)
  SELECT relay, (SELECT min(next_at) FROM delivery WHERE state = 'due' AND relay = at.relay) FROM at
  WHERE relay IS NOT NULL";
const PAST: &str = "SELECT out_id, job_id, role FROM outbox WHERE settled = 0 AND not_after <= ?1";
const ENDED: &str =
    "SELECT o.out_id, o.job_id, o.role FROM outbox o WHERE o.settled = 0 AND o.not_after > ?1
  AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.out_id = o.out_id AND d.state = 'due')";

/// Puts a signed event in. A role that the job already has is left as it is: those bytes may be out already.
pub(super) fn put(
    connection: &Connection,
    job: Option<&RequestId>,
    draft: &SignedDraft,
) -> Result<(), LedgerError> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO outbox (job_id, role, event_id, not_after) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            job.map(|id| id.0.as_bytes().as_slice()),
            draft.role.as_str(),
            draft.event_id.as_bytes().as_slice(),
            draft.not_after.0
        ])?;
    if inserted == 0 {
        return Ok(());
    }
    let out_id = connection.last_insert_rowid();
    connection
        .prepare_cached("INSERT INTO event_texts VALUES (?1, ?2)")?
        .execute(params![out_id, draft.json])?;
    due_at_each(connection, out_id, &draft.relays)
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
    draft: &SignedDraft,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached("DELETE FROM outbox WHERE job_id = ?1 AND role = ?2")?
        .execute(params![job.0.as_bytes().as_slice(), draft.role.as_str()])?;
    put(connection, Some(job), draft)
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

/// Nothing of this job is sent any more.
pub(super) fn withdraw(connection: &Connection, job: &RequestId) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "UPDATE delivery SET state = 'gave_up', last_reply = 'withdrawn' WHERE state = 'due'
             AND out_id IN (SELECT out_id FROM outbox WHERE job_id = ?1)",
        )?
        .execute([job.0.as_bytes().as_slice()])?;
    connection
        .prepare_cached("UPDATE outbox SET settled = 1 WHERE job_id = ?1 AND settled = 0")?
        .execute([job.0.as_bytes().as_slice()])?;
    Ok(())
}

impl Ledger {
    /// What is due at this relay now, the longest due first.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn due_at(
        &self,
        relay: String,
        now: Time,
        limit: u32,
    ) -> Result<Vec<Due>, LedgerError> {
        self.reader
            .call(move |connection| {
                let mut statement = connection.prepare_cached(DUE_AT)?;
                let bound = LONGEST_WAIT_MS;
                let rows = statement.query_map(params![now.0, relay, limit, bound], |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, Option<Vec<u8>>>(1)?,
                        row.get::<_, String>(2)?,
                        row.get::<_, String>(3)?,
                        row.get::<_, u32>(4)?,
                        row.get::<_, u32>(6)?,
                    ))
                })?;
                let mut due = Vec::new();
                for row in rows {
                    let (out_id, job, role, json, attempts, ends) = row?;
                    due.push(Due {
                        out_id,
                        job: job
                            .and_then(|id| EventId::from_slice(&id).ok())
                            .map(RequestId),
                        role: Role::parse(&role)
                            .ok_or(LedgerError::Unreadable("an outbox role"))?,
                        json,
                        relay: relay.clone(),
                        attempts,
                        ends,
                    });
                }
                Ok(due)
            })
            .await
    }

    /// Relays at which something is due, now or later, with the moment of the first.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn due_relays(&self) -> Result<Vec<(String, Time)>, LedgerError> {
        self.reader
            .call(|connection| {
                let mut statement = connection.prepare_cached(DUE_RELAYS)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, Time(row.get(1)?))))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
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
        self.writer
            .call(move |connection| written(connection, out_id, &relay, settled, &words))
            .await
    }

    /// The relay is there again: what waits for a connection alone is due now.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn hurry(&self, relay: String) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE delivery SET next_at = 0 WHERE state = 'due' AND relay = ?1 AND offline = 1 AND ends = 0
                         AND next_at > 0",
                    )?
                    .execute([relay])?;
                Ok(())
            })
            .await
    }

    /// Results that can reach no relay any more as their time is past. With `all`, those that every relay refused too: for a
    /// start, as [`Self::settle`] tells them while the program runs. Each is told until [`Self::settled_for`].
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn give_up(&self, now: Time, all: bool) -> Result<Vec<Lost>, LedgerError> {
        self.writer
            .call(move |connection| {
                let mut lost = Vec::new();
                for (out_id, job, role) in open_of(connection, PAST, now)? {
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
                Ok(lost)
            })
            .await
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
mod tests {
    use super::*;

    use crate::domain::job::PayOrder;
    use crate::domain::transition::tests::job as fresh;
    use crate::ledger::NewJob;

    /// A ledger with one job, whose result is due at two relays until `not_after`.
    async fn with_result(not_after: Time) -> (tempfile::TempDir, Ledger, RequestId) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("vend.db")).unwrap();
        let job = fresh(PayOrder::After);
        let id = job.id;
        let draft = SignedDraft {
            role: Role::Result,
            event_id: EventId::from_byte_array([9; 32]),
            json: "{}".to_owned(),
            not_after,
            relays: vec!["wss://a".to_owned(), "wss://b".to_owned()],
        };
        let new = ledger.admit(NewJob {
            drafts: vec![draft],
            ..NewJob::plain(job)
        });
        new.await.unwrap().unwrap();
        (dir, ledger, id)
    }

    async fn says(ledger: &Ledger, relay: &str, settled: Settled) -> Option<Lost> {
        let due = ledger.due_at(relay.to_owned(), Time(1), 9).await.unwrap();
        let settle = ledger.settle(due[0].out_id, relay.to_owned(), settled, String::new());
        settle.await.unwrap()
    }

    #[tokio::test]
    async fn a_result_that_every_relay_refused_is_told_until_that_is_written() {
        let (dir, ledger, id) = with_result(Time(100)).await;
        let lost = Some((id, Role::Result));
        assert_eq!(says(&ledger, "wss://a", Settled::Refused).await, None);
        assert_eq!(says(&ledger, "wss://b", Settled::Refused).await, lost);
        // The program ends before its job knows.
        ledger.close().await;
        let ledger = Ledger::open(&dir.path().join("vend.db")).unwrap();
        assert!(ledger.give_up(Time(1), false).await.unwrap().is_empty());
        let told = ledger.give_up(Time(1), true).await.unwrap();
        assert_eq!(told, [(id, Role::Result)]);
        ledger.settled_for(id, Role::Result).await.unwrap();
        assert!(ledger.give_up(Time(1), true).await.unwrap().is_empty());
        assert!(ledger.give_up(Time(200), true).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_result_that_one_relay_has_is_never_given_up() {
        let (_dir, ledger, _) = with_result(Time(100)).await;
        assert_eq!(says(&ledger, "wss://a", Settled::Ok).await, None);
        assert!(!ledger.outbox_empty(Time(1)).await.unwrap());
        assert!(ledger.give_up(Time(100), true).await.unwrap().is_empty());
        assert!(ledger.outbox_empty(Time(1)).await.unwrap());
        assert!(ledger.due_relays().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_result_whose_time_is_past_is_given_up_at_once() {
        let (_dir, ledger, id) = with_result(Time(100)).await;
        says(&ledger, "wss://a", Settled::Again(Time(50))).await;
        assert!(ledger.give_up(Time(99), false).await.unwrap().is_empty());
        let told = ledger.give_up(Time(100), false).await.unwrap();
        assert_eq!(told, [(id, Role::Result)]);
    }

    #[test]
    fn no_question_about_what_is_due_reads_what_was_sent() {
        let dir = tempfile::tempdir().unwrap();
        let connection = crate::ledger::open_writer(&dir.path().join("vend.db")).unwrap();
        for (sql, index) in [
            (DUE_AT, "delivery_due"),
            (DUE_RELAYS, "delivery_due"),
            (PAST, "outbox_open"),
            (ENDED, "outbox_open"),
        ] {
            let mut plan = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap();
            for place in 1..=plan.parameter_count() {
                plan.raw_bind_parameter(place, 1).unwrap();
            }
            let mut steps = plan.raw_query();
            let mut all = String::new();
            while let Some(step) = steps.next().unwrap() {
                all += &step.get::<_, String>(3).unwrap();
                all += "; ";
            }
            assert!(all.contains(index), "{sql}: {all}");
            assert!(!all.replace("SCAN at", "").contains("SCAN"), "{sql}: {all}");
        }
    }
}
