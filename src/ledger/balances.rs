//! What buyers have left with us. A buyer's sum is changed by the transaction that changes what one of its jobs says of it,
//! so that it is always the sum of them (`domain::balance`).

use rusqlite::{Connection, OptionalExtension, params};

use super::{Ledger, LedgerError, rows, totals};
use crate::domain::balance::standing;
use crate::domain::id::Buyer;
use crate::domain::job::Job;
use crate::domain::msat::Msat;

/// The figure that says what all buyers have left with us.
pub(super) const IN_ALL: &str = "balances_msat";

/// Writes what changed of a job's part, and with it the buyer's sum.
///
/// # Errors
/// Where it can't be written, or a sum would be below zero: then nothing of the transaction is.
pub(super) fn write(
    connection: &Connection,
    before: Option<&Job>,
    job: &Job,
) -> Result<(), LedgerError> {
    let part = |job: &Job| (job.balance_used, job.left);
    let was = before.map_or((Msat::ZERO, Msat::ZERO), part);
    if was == part(job) {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO job_balances VALUES (?1, ?2, ?3) ON CONFLICT (job_id) DO UPDATE SET used_msat = ?2, left_msat = ?3",
        )?
        .execute(params![
            job.id.0.as_bytes().as_slice(),
            rows::int(job.balance_used),
            rows::int(job.left)
        ])?;
    let by = standing(job) - before.map_or(0, standing);
    if by == 0 {
        return Ok(());
    }
    let buyer = job.buyer.0.as_bytes().as_slice();
    totals::bump(connection, IN_ALL, by)?;
    // Not by the conflict of an insert: the row that it tries first would be below zero.
    let changed = connection
        .prepare_cached("UPDATE balances SET msat = msat + ?2 WHERE buyer = ?1")?
        .execute(params![buyer, by])?;
    if changed == 0 {
        connection
            .prepare_cached("INSERT INTO balances VALUES (?1, ?2)")?
            .execute(params![buyer, by])?;
    }
    Ok(())
}

/// What a buyer has left with us.
pub(super) fn of(connection: &Connection, buyer: Buyer) -> Result<Msat, LedgerError> {
    let balance: Option<i64> = connection
        .prepare_cached("SELECT msat FROM balances WHERE buyer = ?1")?
        .query_row([buyer.0.as_bytes().as_slice()], |row| row.get(0))
        .optional()?;
    Ok(rows::msat(balance.unwrap_or(0)))
}

impl Ledger {
    /// What a buyer has left with us.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn balance(&self, buyer: Buyer) -> Result<Msat, LedgerError> {
        self.reader
            .call(move |connection| of(connection, buyer))
            .await
    }
}

#[cfg(test)]
mod tests;
