//! What waits for a part of the shop: questions that are asked all day, and cost what is alive, not what ever was.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::super::{Ledger, LedgerError, rows};
use crate::domain::admission::Record;
use crate::domain::id::{BootId, Buyer};
use crate::domain::job::Job;
use crate::domain::time::Time;

/// How long after its expiry an invoice is still looked at.
pub(in crate::ledger) const WATCH_AFTER_EXPIRY: Duration = Duration::from_secs(25 * 3600);

// The questions about jobs that are alive, asked all day. Each names the condition of the index `jobs_live` to the letter:
// without it SQLite can't know that the index holds every such job, and reads the whole table.
const QUEUED: &str = "WHERE j.state = 'queued'
  AND j.state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled') AND (j.next_at IS NULL OR j.next_at <= ?1
    OR j.next_at > ?1 + 900000)
  ORDER BY j.paid_msat > 0 OR i.state IS 'held' DESC, j.bid_msat DESC, j.created_at LIMIT ?2";
const WANTING_INVOICE: &str = "WHERE j.state IN ('inferred', 'quoting')
  AND j.state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled') AND (j.next_at IS NULL OR j.next_at <= ?1
    OR j.next_at > ?1 + 900000)
  ORDER BY j.created_at LIMIT 64";
// The plus keeps SQLite from walking every job by its time only to spare itself the sorting of a few.
const ALIVE: &str = "WHERE j.state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled') ORDER BY +j.created_at";
const ORPHANED: &str = "WHERE j.state = 'running'
  AND j.state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled') AND (j.boot IS NULL OR j.boot <> ?1)";

const WAITING: &str =
    "state = 'queued' AND state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled')";
const WATCHED: &str = "WHERE ((i.state <> 'paid' AND i.state = 'open')
    OR (i.state <> 'paid' AND i.state IN ('expired', 'given_back') AND i.expires_at > ?1))
  ORDER BY i.expires_at";
const HELD: &str = "WHERE i.state <> 'paid' AND i.state IN ('held', 'taking', 'giving_back') ORDER BY i.hold_until";

/// How many jobs wait.
pub(super) fn waiting(connection: &Connection) -> Result<u32, LedgerError> {
    let sql = format!("SELECT count(*) FROM jobs WHERE {WAITING}");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([], |row| row.get(0))?)
}

/// How many jobs wait, how many of one buyer, and of how many buyers.
pub(super) fn waiting_of(connection: &Connection, buyer: Buyer) -> Result<Record, LedgerError> {
    let sql = format!(
        "SELECT count(*), coalesce(sum(buyer = ?1), 0), count(DISTINCT buyer) FROM jobs WHERE {WAITING}"
    );
    let record =
        connection
            .prepare_cached(&sql)?
            .query_row([buyer.0.as_bytes().as_slice()], |row| {
                Ok(Record {
                    waiting: row.get(0)?,
                    waiting_of_buyer: row.get(1)?,
                    buyers_waiting: row.get(2)?,
                    ..Record::default()
                })
            })?;
    Ok(record)
}

impl Ledger {
    /// Jobs that are not final.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn live_jobs(&self) -> Result<Vec<Job>, LedgerError> {
        self.reader
            .call(|connection| rows::all(connection, ALIVE, []))
            .await
    }

    /// Queued jobs that may start now: paid ones first, then the higher bid, then age.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn queue(&self, now: Time, limit: u32) -> Result<Vec<Job>, LedgerError> {
        self.reader
            .call(move |connection| rows::all(connection, QUEUED, params![now.0, limit]))
            .await
    }

    /// The moment at which the next waiting job of these states may be tried.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn next_due(&self, states: [&'static str; 2]) -> Result<Option<Time>, LedgerError> {
        self.reader
            .call(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT min(next_at) FROM jobs WHERE state IN (?1, ?2) AND next_at IS NOT NULL
                         AND state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled')",
                    )?
                    .query_row(params![states[0], states[1]], |row| {
                        row.get::<_, Option<i64>>(0)
                    })?
                    .map(Time))
            })
            .await
    }

    /// Jobs for which the wallet is to be asked for an invoice now.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn wanting_invoice(&self, now: Time) -> Result<Vec<Job>, LedgerError> {
        self.reader
            .call(move |connection| rows::all(connection, WANTING_INVOICE, params![now.0]))
            .await
    }

    /// Jobs whose invoice may still bring money.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn watched(&self, now: Time) -> Result<Vec<Job>, LedgerError> {
        self.reader
            .call(move |connection| {
                let young = now.minus(WATCH_AFTER_EXPIRY).0;
                rows::all(connection, WATCHED, params![young])
            })
            .await
    }

    /// Jobs for which a payment is held, or that wait for the wallet to take one or to give one back.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn holds(&self) -> Result<Vec<Job>, LedgerError> {
        self.reader
            .call(|connection| rows::all(connection, HELD, []))
            .await
    }

    /// Jobs that another run of the program left in the middle of inference.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn orphans(&self, boot: BootId) -> Result<Vec<Job>, LedgerError> {
        self.reader
            .call(move |connection| rows::all(connection, ORPHANED, params![boot.0.0.as_slice()]))
            .await
    }

    /// Numbers of waiting and running jobs, and of one buyer's running ones.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn queue_counts(&self) -> Result<(u32, u32), LedgerError> {
        self.reader
            .call(|connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT coalesce(sum(state = 'queued'), 0), coalesce(sum(state = 'running'), 0) FROM jobs
                         WHERE state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled')",
                    )?
                    .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_question_about_live_jobs_reads_the_ended_ones() {
        let dir = tempfile::tempdir().unwrap();
        let connection = crate::ledger::open_writer(&dir.path().join("vend.db")).unwrap();
        for rest in [QUEUED, WANTING_INVOICE, ALIVE, ORPHANED] {
            let sql = format!("EXPLAIN QUERY PLAN {} {rest}", rows::JOB);
            let mut plan = connection.prepare(&sql).unwrap();
            for place in 1..=plan.parameter_count() {
                plan.raw_bind_parameter(place, 1).unwrap();
            }
            let mut steps = plan.raw_query();
            let first: String = steps.next().unwrap().unwrap().get(3).unwrap();
            assert!(first.contains("USING INDEX jobs_live"), "{rest}: {first}");
        }
        let sql =
            format!("EXPLAIN QUERY PLAN SELECT count(DISTINCT buyer) FROM jobs WHERE {WAITING}");
        let mut plan = connection.prepare(&sql).unwrap();
        let mut steps = plan.raw_query();
        while let Some(step) = steps.next().unwrap() {
            let step: String = step.get(3).unwrap();
            assert!(!step.contains("SCAN"), "{WAITING}: {step}");
        }
        for rest in [WATCHED, HELD] {
            let sql = format!("EXPLAIN QUERY PLAN {} {rest}", rows::JOB);
            let mut plan = connection.prepare(&sql).unwrap();
            let mut steps = plan.raw_query();
            while let Some(step) = steps.next().unwrap() {
                let step: String = step.get(3).unwrap();
                assert!(!step.contains("SCAN"), "{rest}: {step}");
            }
        }
    }
}
