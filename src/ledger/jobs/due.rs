//! What waits for a part of the shop. All of it but the open invoices is answered from the live set.

use std::time::Duration;

use nostr::EventId;
use rusqlite::{Connection, Row, params};

use super::super::{LACKS_SECRETS, Ledger, LedgerError, rows};
use crate::domain::admission::Record;
use crate::domain::id::{BootId, Buyer, PaymentHash, RequestId};
use crate::domain::invoice::Watched;
use crate::domain::job::{Job, MadeBy, State};
use crate::domain::time::Time;

/// How long after its expiry an invoice is still looked at.
pub(in crate::ledger) const WATCH_AFTER_EXPIRY: Duration = Duration::from_secs(25 * 3600);

// Each names the condition of its index to the letter: without it SQLite can't know that the index holds every such job, and
// reads the whole table.
const WATCHED: &str = "SELECT i.job_id, i.payment_hash, i.wallet, i.wallet_key, i.wallet_identity, i.network, i.made_at,
    i.expires_at, i.late_looks, json_extract(j.terms, '$.check_every_secs'),
    json_extract(j.terms, '$.order') = 'hold'
  FROM invoices i JOIN jobs j ON j.id = i.job_id
  WHERE ((i.state <> 'paid' AND i.state = 'open')
    OR (i.state <> 'paid' AND i.state IN ('expired', 'given_back') AND i.expires_at > ?1))
    AND i.payment_hash IS NOT NULL AND i.made_at IS NOT NULL AND i.expires_at IS NOT NULL";
const OPEN_HOLDS: &str = "WHERE j.state = 'awaiting_payment'
  AND j.state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled')
  AND i.state = 'open' AND json_extract(j.terms, '$.order') = 'hold'";

const WITHOUT_SECRET: &str =
    "WHERE i.state <> 'paid' AND i.state IN ('intent', 'open', 'held', 'taking', 'expired')
  AND i.preimage IS NULL AND json_extract(j.terms, '$.order') = 'hold'";

const WAITING: &str =
    "state = 'queued' AND state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled')";

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

fn lacks_secrets(connection: &Connection) -> Result<bool, LedgerError> {
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok(id == LACKS_SECRETS)
}

impl Ledger {
    /// Jobs whose hold invoices lack their secrets, as this is a copy that they were taken out of.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn without_secrets(&self) -> Result<Vec<Job>, LedgerError> {
        self.writer
            .call(|connection| {
                if lacks_secrets(connection)? {
                    rows::all(connection, WITHOUT_SECRET, [])
                } else {
                    Ok(Vec::new())
                }
            })
            .await
    }

    /// From now on this ledger lacks none that can be had.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn has_secrets(&self) -> Result<(), LedgerError> {
        self.writer
            .call(|connection| {
                if lacks_secrets(connection)? {
                    connection.pragma_update(None, "application_id", 0)?;
                }
                Ok(())
            })
            .await
    }

    /// Jobs on which something is at work: not those that only wait for their buyer's money.
    #[must_use]
    pub fn at_work(&self) -> Vec<Job> {
        self.live.with(|live| live.all())
    }

    /// Jobs that their buyers can still cancel, the oldest first; of those that wait for a payment the newest `most`.
    #[must_use]
    pub fn cancellable(&self, most: usize) -> Vec<EventId> {
        self.live.with(|live| live.cancellable(most))
    }

    /// Queued jobs that may start now, in the queue's order (`domain::queue`).
    #[must_use]
    pub fn queue(&self, now: Time, limit: usize) -> Vec<Job> {
        self.live.with(|live| live.queue(now, limit))
    }

    /// The moment at which the next waiting job of these states may be tried.
    #[must_use]
    pub fn next_due(&self, states: [State; 2]) -> Option<Time> {
        self.live.with(|live| live.next_due(states))
    }

    /// Jobs for which the wallet is to be asked for an invoice now.
    #[must_use]
    pub fn wanting_invoice(&self, now: Time) -> Vec<Job> {
        self.live.with(|live| live.wanting_invoice(now))
    }

    /// Jobs for which a payment is held, or that wait for the wallet to take one or to give one back.
    #[must_use]
    pub fn holds(&self) -> Vec<Job> {
        self.live.with(|live| live.holds())
    }

    /// Jobs that another run of the program left in the middle of inference.
    #[must_use]
    pub fn orphans(&self, boot: BootId) -> Vec<Job> {
        self.live.with(|live| live.orphans(boot))
    }

    /// Numbers of waiting and of running jobs.
    #[must_use]
    pub fn queue_counts(&self) -> (u32, u32) {
        self.live.with(|live| live.counts())
    }

    /// Jobs whose hold invoice is with the buyer and not paid.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn open_holds(&self) -> Result<Vec<Job>, LedgerError> {
        self.reader
            .call(|connection| rows::all(connection, OPEN_HOLDS, []))
            .await
    }

    /// Invoices that may still bring money.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn watched(&self, now: Time) -> Result<Vec<Watched>, LedgerError> {
        self.reader
            .call(move |connection| {
                let mut statement = connection.prepare_cached(WATCHED)?;
                let mut found = statement.query(params![now.minus(WATCH_AFTER_EXPIRY).0])?;
                let mut all = Vec::new();
                while let Some(row) = found.next()? {
                    all.push(watched(row)?);
                }
                Ok(all)
            })
            .await
    }
}

fn watched(row: &Row<'_>) -> Result<Watched, LedgerError> {
    let hash = rows::id32(&row.get::<_, Vec<u8>>(1)?, "a payment hash")?;
    let check_every: Option<u32> = row.get(9)?;
    Ok(Watched {
        id: RequestId(rows::event_id(&row.get::<_, Vec<u8>>(0)?)?),
        hash: PaymentHash(hash),
        made_by: MadeBy {
            backend: row.get(2)?,
            key: row.get(3)?,
            identity: row.get(4)?,
            network: row.get(5)?,
        },
        made_at: Time(row.get(6)?),
        expires_at: Time(row.get(7)?),
        late_polls: row.get(8)?,
        check_every: Duration::from_secs(check_every.unwrap_or_default().into()),
        holds: row.get::<_, Option<bool>>(10)?.unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_question_about_what_is_open_reads_the_ended_ones() {
        let dir = tempfile::tempdir().unwrap();
        let connection = crate::ledger::open_writer(&dir.path().join("vend.db")).unwrap();
        for sql in [
            WATCHED.to_owned(),
            format!("{} {OPEN_HOLDS}", rows::JOB),
            format!("SELECT count(DISTINCT buyer) FROM jobs WHERE {WAITING}"),
        ] {
            let mut plan = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap();
            for place in 1..=plan.parameter_count() {
                plan.raw_bind_parameter(place, 1).unwrap();
            }
            let mut steps = plan.raw_query();
            while let Some(step) = steps.next().unwrap() {
                let step: String = step.get(3).unwrap();
                assert!(!step.contains("SCAN"), "{sql}: {step}");
            }
        }
    }
}
