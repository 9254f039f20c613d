//! Jobs' texts: read by the step that needs them, and erased in time.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::jobs::WATCH_AFTER_EXPIRY;
use super::{Ledger, LedgerError, rows};
use crate::domain::id::RequestId;
use crate::domain::job::Texts;
use crate::domain::time::Time;

/// Jobs erased in one transaction: others' changes wait no longer than that takes.
const AT_ONCE: u32 = 128;
/// Verdicts on events that made no job are kept for so much longer than content.
const VERDICTS_KEPT: Duration = Duration::from_secs(48 * 3600);

const ENDED: &str = "SELECT num, id FROM jobs WHERE text_bytes > 0
  AND state IN ('paid', 'completed', 'unpaid', 'error', 'cancelled') AND updated_at < ?1 LIMIT ?2";
/// Nobody can pay for it any more, whether its wallet was ever asked or not.
const OUT_OF_TIME: &str = "SELECT j.num, j.id FROM invoices i JOIN jobs j ON j.id = i.job_id
  WHERE i.state <> 'paid' AND i.state = 'open' AND i.expires_at < ?1 AND j.text_bytes > 0 LIMIT ?2";
const UNPAID_BYTES: &str =
    "SELECT coalesce(sum(text_bytes), 0) FROM jobs INDEXED BY jobs_unpaid_texts
  WHERE text_bytes > 0 AND paid_msat = 0";
/// Those on which nothing is at work, and for which no payment is held.
const UNPAID: &str = "SELECT j.num, j.id, j.text_bytes FROM jobs j INDEXED BY jobs_unpaid_texts
  LEFT JOIN invoices i ON i.job_id = j.id
  WHERE j.text_bytes > 0 AND j.paid_msat = 0
    AND j.state IN ('awaiting_payment', 'pending_payment', 'paid', 'completed', 'unpaid', 'error', 'cancelled')
    AND (i.state IS NULL OR i.state NOT IN ('held', 'taking', 'giving_back'))
  ORDER BY j.created_at LIMIT ?1";

impl Ledger {
    /// The texts of a job; none where they are erased.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn texts(&self, id: RequestId) -> Result<Option<Texts>, LedgerError> {
        self.reader
            .call(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT t.request_json, t.prompt, t.answer FROM jobs j JOIN texts t ON t.num = j.num
                         WHERE j.id = ?1",
                    )?
                    .query_row([id.0.as_bytes().as_slice()], |row| {
                        Ok(Texts {
                            request_json: row.get(0)?,
                            prompt: row.get(1)?,
                            answer: row.get(2)?,
                        })
                    })
                    .optional()?)
            })
            .await
    }

    /// What a job asks; none where it is erased.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn prompt(&self, id: RequestId) -> Result<Option<String>, LedgerError> {
        self.reader
            .call(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT t.prompt FROM jobs j JOIN texts t ON t.num = j.num WHERE j.id = ?1",
                    )?
                    .query_row([id.0.as_bytes().as_slice()], |row| row.get(0))
                    .optional()?)
            })
            .await
    }

    /// Takes prompts, answers and sent events of jobs that ended before `before` out of the ledger, and of those whose
    /// invoice nobody can pay any more. In small steps, between which others' changes are written.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn erase_content(&self, before: Time) -> Result<usize, LedgerError> {
        let over = Time::now().minus(WATCH_AFTER_EXPIRY);
        let mut all = 0;
        for (sql, until) in [(ENDED, before), (OUT_OF_TIME, over)] {
            loop {
                let live = self.live.clone();
                let erased = self.writer.call_then(
                    move |connection| {
                        let found = found(connection, sql, until)?;
                        for (num, id) in &found {
                            erase(connection, *num, id)?;
                        }
                        Ok(found)
                    },
                    // One of them may wait for relays since long ago.
                    move |found| {
                        let ids = found.iter().filter_map(|(_, id)| rows::event_id(id).ok());
                        live.with(|live| {
                            ids.for_each(|id| live.erased(&RequestId(id)));
                            live.outbox.forget();
                        });
                    },
                );
                let erased = erased.await?.len();
                all += erased;
                if erased < AT_ONCE as usize {
                    break;
                }
            }
        }
        self.writer
            .call(move |connection| {
                // An invoice that nobody can pay any more needs its secret no more.
                connection.execute(
                    "UPDATE invoices SET preimage = NULL WHERE state <> 'paid' AND state = 'expired'
                     AND preimage IS NOT NULL AND expires_at < ?1",
                    params![over.0],
                )?;
                connection.execute(
                    "DELETE FROM outbox WHERE job_id IS NULL AND not_after < ?1",
                    params![before.0],
                )?;
                // Requests are only taken while they are young, so an old verdict decides nothing any more.
                connection.execute(
                    "DELETE FROM seen WHERE at < ?1",
                    params![before.minus(VERDICTS_KEPT).0],
                )?;
                Ok(())
            })
            .await?;
        Ok(all)
    }

    /// Takes the texts of unpaid jobs out of the ledger, the oldest first, until what is left of them has at most `most`
    /// bytes. Jobs that are at work and those for which a payment is held are left alone. Who pays for one of the others
    /// later is owed the money.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn erase_unpaid(&self, most: u64) -> Result<usize, LedgerError> {
        let bytes = self.reader.call(|connection| {
            Ok(connection
                .prepare_cached(UNPAID_BYTES)?
                .query_row([], |row| row.get::<_, i64>(0))?)
        });
        let mut over = bytes
            .await?
            .saturating_sub(i64::try_from(most).unwrap_or(i64::MAX));
        let mut all = 0;
        while over > 0 {
            let changed = self.outbox_changed();
            let erased = self.writer.call_then(
                move |connection| erase_oldest(connection, over),
                move |_| changed(),
            );
            let (erased, freed) = erased.await?;
            if erased == 0 {
                break;
            }
            all += erased;
            over -= freed;
        }
        Ok(all)
    }
}

/// Of some of the oldest unpaid jobs, so many that `over` bytes are free. How many, and what they had.
fn erase_oldest(connection: &Connection, over: i64) -> Result<(usize, i64), LedgerError> {
    let mut statement = connection.prepare_cached(UNPAID)?;
    let oldest = statement
        .query_map([AT_ONCE], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<Vec<(i64, Vec<u8>, i64)>, _>>()?;
    let (mut erased, mut freed) = (0, 0);
    for (num, id, bytes) in oldest {
        if freed >= over {
            break;
        }
        erase(connection, num, &id)?;
        erased += 1;
        freed += bytes;
    }
    Ok((erased, freed))
}

fn found(
    connection: &Connection,
    sql: &str,
    until: Time,
) -> Result<Vec<(i64, Vec<u8>)>, LedgerError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![until.0, AT_ONCE], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Everything that was said in a job. Its signed events quote it, so they go too.
fn erase(connection: &Connection, num: i64, id: &[u8]) -> Result<(), LedgerError> {
    connection
        .prepare_cached("DELETE FROM texts WHERE num = ?1")?
        .execute([num])?;
    connection
        .prepare_cached("DELETE FROM outbox WHERE job_id = ?1")?
        .execute([id])?;
    connection
        .prepare_cached("UPDATE jobs SET text_bytes = 0, rev = rev + 1 WHERE num = ?1")?
        .execute([num])?;
    Ok(())
}

#[cfg(test)]
mod tests;
