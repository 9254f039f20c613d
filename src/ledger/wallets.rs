//! Which wallets made the invoices that may still bring money.

use std::collections::BTreeSet;

use rusqlite::params;

use super::jobs::WATCH_AFTER_EXPIRY;
use super::{Ledger, LedgerError};
use crate::domain::job::MadeBy;
use crate::domain::time::Time;

const IN_USE: &str = "SELECT DISTINCT wallet_key FROM invoices
  WHERE ((state <> 'paid' AND state IN ('open', 'held', 'taking', 'giving_back'))
    OR (state <> 'paid' AND state IN ('expired', 'given_back') AND expires_at > ?1))
  AND wallet_key IS NOT NULL";
const OPEN: &str = "SELECT wallet, wallet_key, wallet_identity, network, count(*) FROM invoices
  WHERE state <> 'paid' AND state IN ('open', 'held', 'taking', 'giving_back') GROUP BY 1, 2, 3, 4 ORDER BY 1, 2";

impl Ledger {
    /// The names of the wallets that are still needed.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn wallets_in_use(&self) -> Result<BTreeSet<String>, LedgerError> {
        self.reader
            .call(|connection| {
                let mut statement = connection.prepare_cached(IN_USE)?;
                let young = Time::now().minus(WATCH_AFTER_EXPIRY).0;
                let rows = statement.query_map(params![young], |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Numbers of invoices that nothing is decided about yet, by the wallet that made them.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn open_by_wallet(&self) -> Result<Vec<(MadeBy, u64)>, LedgerError> {
        self.reader
            .call(|connection| {
                let mut statement = connection.prepare_cached(OPEN)?;
                let rows = statement.query_map([], |row| {
                    let made_by = MadeBy {
                        backend: row.get(0)?,
                        key: row.get(1)?,
                        identity: row.get(2)?,
                        network: row.get(3)?,
                    };
                    let count: i64 = row.get(4)?;
                    Ok((made_by, u64::try_from(count).unwrap_or(0)))
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_open_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let connection = crate::ledger::open_writer(&dir.path().join("vend.db")).unwrap();
        for sql in [IN_USE, OPEN] {
            let mut plan = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap();
            let mut steps = plan.raw_query();
            let mut all = String::new();
            while let Some(step) = steps.next().unwrap() {
                all += &step.get::<_, String>(3).unwrap();
                all += "; ";
            }
            assert!(all.contains("USING INDEX invoices_state"), "{all}");
            assert!(!all.contains("SCAN"), "{all}");
        }
    }
}
