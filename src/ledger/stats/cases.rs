//! How many cases of the recovery desk need somebody.

use rusqlite::Connection;

use super::super::{Ledger, LedgerError};
use crate::domain::desk::STUCK_AFTER;
use crate::domain::time::Time;

/// Cases that need somebody. The conditions are those of `domain::desk`.
pub(in crate::ledger) const NEEDING: &str = "SELECT count(DISTINCT id) FROM (
  SELECT id FROM jobs INDEXED BY jobs_owed WHERE owed_msat > 0
  UNION ALL SELECT id FROM jobs INDEXED BY jobs_undelivered WHERE paid_msat > 0 AND delivered = 0 AND updated_at <= ?1
    AND state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled')
  UNION ALL SELECT i.job_id FROM invoices i WHERE i.state <> 'paid' AND i.state = 'taking' AND i.preimage IS NULL
    AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.job_id = i.job_id AND d.kind = 'disputed')
  UNION ALL SELECT d.job_id FROM doubts d LEFT JOIN invoices i ON i.job_id = d.job_id
    WHERE d.decided = 0 AND (d.kind <> 'unknown' OR d.times >= 3) AND i.state IS NOT 'paid')";

impl Ledger {
    /// How many cases need somebody.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn needing(&self, now: Time) -> Result<u64, LedgerError> {
        self.lister
            .call(move |connection| Ok(u64::try_from(needing(connection, now)?).unwrap_or(0)))
            .await
    }
}

/// How many cases need somebody. None in a ledger that an older vend made and that has only been looked at since.
pub(super) fn needing(connection: &Connection, now: Time) -> Result<i64, LedgerError> {
    if !connection.table_exists(None, "decisions")? {
        return Ok(0);
    }
    Ok(connection
        .prepare_cached(NEEDING)?
        .query_row([now.minus(STUCK_AFTER).0], |row| row.get(0))?)
}
