//! Moments in the ledger after the wall clock was set.

use rusqlite::params;

use super::{Ledger, LedgerError, rows};
use crate::domain::id::RequestId;
use crate::domain::time::Time;

/// A stored due time further ahead than this was written under another clock: it is due now. The longest wait of a job is
/// ten minutes, and that of an event five.
pub(super) const LONGEST_WAIT_MS: i64 = 15 * 60 * 1_000;

const SHIFTS: [&str; 3] = [
    "UPDATE jobs SET next_at = max(0, next_at + ?1) WHERE next_at IS NOT NULL
       AND state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled')",
    "UPDATE delivery SET next_at = max(0, next_at + ?1) WHERE state = 'due' AND next_at > 0",
    "UPDATE invoices SET hold_until = hold_until + ?1 WHERE state <> 'paid' AND hold_until IS NOT NULL
       AND state IN ('held', 'taking', 'giving_back')",
];

const DEBTS: &str = "UPDATE jobs SET debt_until = max(0, debt_until + ?1)
  WHERE debt_msat > 0 AND debt_until > ?2 AND debt_until < 9223372036854775807";

impl Ledger {
    /// The wall clock was set by `ms` and shows `now`: due times move with it. An event's last moment moves only forwards; it
    /// may be an invoice's, which the wallet's clock decides. Looks after an expiry that has not come count no more.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn shift_due(&self, ms: i64, now: Time) -> Result<(), LedgerError> {
        let live = self.live.clone();
        let shifted = self.writer.call_then(
            move |connection| {
                for shift in SHIFTS {
                    connection.prepare_cached(shift)?.execute([ms])?;
                }
                // By the clock as it was, what still counts goes on to count for as long.
                connection
                    .prepare_cached(DEBTS)?
                    .execute([ms, now.0.saturating_sub(ms)])?;
                if ms > 0 {
                    connection
                        .prepare_cached(
                            "UPDATE outbox SET not_after = not_after + ?1 WHERE settled = 0",
                        )?
                        .execute([ms])?;
                } else {
                    connection
                        .prepare_cached(
                            "UPDATE invoices SET late_looks = 0 WHERE state <> 'paid' AND expires_at > ?1
                             AND state IN ('open', 'expired', 'given_back')",
                        )?
                        .execute([now.0])?;
                }
                Ok(())
            },
            move |()| {
                live.with(|live| {
                    live.shift(ms, now);
                    live.outbox.forget();
                });
            },
        );
        shifted.await
    }

    /// Jobs that were called unpaid before their invoice's time was over.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn closed_too_early(&self, now: Time) -> Result<Vec<RequestId>, LedgerError> {
        self.reader
            .call(move |connection| {
                let jobs = rows::all(
                    connection,
                    "WHERE i.state <> 'paid' AND i.state = 'expired' AND i.expires_at > ?1 AND j.state = 'unpaid'",
                    params![now.0],
                )?;
                Ok(jobs.into_iter().map(|job| job.id).collect())
            })
            .await
    }
}
