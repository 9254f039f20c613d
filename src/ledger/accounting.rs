//! What the books and an audit need: confirmed payments, and every invoice of a time.

use rusqlite::{Connection, Row, params};

use super::{Ledger, LedgerError, rows};
use crate::domain::accounting::{Receipt, sats};
use crate::domain::id::{Buyer, PaymentHash, RequestId};
use crate::domain::job::Job;
use crate::domain::time::Time;

const PAID: &str = "FROM invoices i JOIN jobs j ON j.id = i.job_id";
/// A page of the payments of a time: from `since` on, before `until`, after the place (`at`, `id`).
const WHEN: &str = "WHERE i.state = 'paid' AND i.paid_at >= ?1 AND i.paid_at < ?2 AND (i.paid_at, i.job_id) > (?3, ?4)
  ORDER BY i.paid_at, i.job_id LIMIT ?5";
const COLUMNS: &str =
    "SELECT i.paid_at, j.id, j.buyer, i.paid_msat, i.payment_hash, i.wallet, j.model,
  j.prompt_tokens, j.completion_tokens, json_extract(j.terms, '$.offer')";
const PROOFS: &str = "p.preimage, p.fee_msat,
  (SELECT sum(d.amount_msat) FROM decisions d WHERE d.job_id = j.id AND d.action = 'refunded'),
  (SELECT b.left_msat FROM job_balances b WHERE b.job_id = j.id)";
/// A page of the invoices of a time: from `since` on, before `until`, after the place (`at`, `id`).
const MADE: &str = "WHERE i.made_at >= ?1 AND i.made_at < ?2 AND (i.made_at, i.job_id) > (?3, ?4)
  ORDER BY i.made_at, i.job_id LIMIT ?5";

impl Ledger {
    /// The next payments confirmed from `since` on and before `until`, oldest first, after the one given; at most `limit`.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn receipts(
        &self,
        since: Time,
        until: Time,
        after: Option<(Time, RequestId)>,
        limit: u32,
    ) -> Result<Vec<Receipt>, LedgerError> {
        self.lister
            .call(move |connection| {
                // An older vend's ledger that has only been looked at since has no proofs.
                let sql = if connection.table_exists(None, "proofs")? {
                    format!(
                        "{COLUMNS}, {PROOFS} {PAID} LEFT JOIN proofs p ON p.job_id = j.id {WHEN}"
                    )
                } else {
                    format!("{COLUMNS}, NULL, NULL, NULL, NULL {PAID} {WHEN}")
                };
                let mut statement = connection.prepare_cached(&sql)?;
                let (since, at, id) = place(since, after.as_ref());
                let mut found = statement.query(params![since, until.0, at, id, limit])?;
                let mut all = Vec::new();
                while let Some(row) = found.next()? {
                    all.push(receipt(row)?);
                }
                Ok(all)
            })
            .await
    }

    /// Is there an invoice of this payment?
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn has_invoice(&self, hash: PaymentHash) -> Result<bool, LedgerError> {
        self.lister
            .call(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM invoices WHERE payment_hash = ?1)",
                )?;
                Ok(statement.query_row([hash.0.0.as_slice()], |row| row.get(0))?)
            })
            .await
    }

    /// How many invoices were made from `since` on and before `until`.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn made_count(&self, since: Time, until: Time) -> Result<u64, LedgerError> {
        self.lister
            .call(move |connection| {
                let count: i64 = connection
                    .prepare_cached(
                        "SELECT count(*) FROM invoices WHERE made_at >= ?1 AND made_at < ?2",
                    )?
                    .query_row(params![since.0, until.0], |row| row.get(0))?;
                Ok(u64::try_from(count).unwrap_or(0))
            })
            .await
    }

    /// The next jobs whose invoice was made from `since` on and before `until`, after the one given; at most `limit`.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn made_after(
        &self,
        since: Time,
        until: Time,
        after: Option<(Time, RequestId)>,
        limit: u32,
    ) -> Result<Vec<Job>, LedgerError> {
        self.lister
            .call(move |connection| made(connection, since, until, after, limit))
            .await
    }
}

fn made(
    connection: &Connection,
    since: Time,
    until: Time,
    after: Option<(Time, RequestId)>,
    limit: u32,
) -> Result<Vec<Job>, LedgerError> {
    let (since, at, id) = place(since, after.as_ref());
    rows::all(connection, MADE, params![since, until.0, at, id, limit])
}

/// Where a page begins: from when on, and after which place.
fn place(since: Time, after: Option<&(Time, RequestId)>) -> (i64, i64, &[u8]) {
    match after {
        // What came before the last page is not walked again.
        Some((at, id)) => (since.max(*at).0, at.0, id.0.as_bytes().as_slice()),
        None => (since.0, i64::MIN, &[]),
    }
}

fn receipt(row: &Row<'_>) -> Result<Receipt, LedgerError> {
    let hash: Option<Vec<u8>> = row.get(4)?;
    let (prompt, completion): (Option<u32>, Option<u32>) = (row.get(7)?, row.get(8)?);
    let preimage: Option<Vec<u8>> = row.get(10)?;
    let amount = rows::msat(row.get(3)?);
    let buyer = nostr::PublicKey::from_slice(&row.get::<_, Vec<u8>>(2)?)
        .map_err(|_| LedgerError::Unreadable("a buyer's key"))?;
    Ok(Receipt {
        paid_at: row.get::<_, Option<i64>>(0)?.map(Time),
        job: RequestId(rows::event_id(&row.get::<_, Vec<u8>>(1)?)?),
        buyer: Buyer(buyer),
        amount_msat: amount,
        payment_hash: hash
            .map(|bytes| rows::id32(&bytes, "a payment hash").map(PaymentHash))
            .transpose()?,
        wallet: row.get(5)?,
        model: row.get(6)?,
        tokens: prompt.zip(completion).map(|(a, b)| a.saturating_add(b)),
        amount_sat: sats(amount),
        preimage: preimage
            .map(|bytes| rows::id32(&bytes, "a preimage"))
            .transpose()?,
        fee_msat: row.get::<_, Option<i64>>(11)?.map(rows::msat),
        refunded_msat: rows::msat(row.get::<_, Option<i64>>(12)?.unwrap_or(0)),
        left_msat: rows::msat(row.get::<_, Option<i64>>(13)?.unwrap_or(0)),
        offer: row.get(9)?,
        value: None,
        currency: None,
        rate: None,
        rate_date: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_are_read_along_their_indexes() {
        let dir = tempfile::tempdir().unwrap();
        let connection = crate::ledger::open_writer(&dir.path().join("vend.db")).unwrap();
        let receipts =
            format!("{COLUMNS}, {PROOFS} {PAID} LEFT JOIN proofs p ON p.job_id = j.id {WHEN}");
        for (sql, index) in [
            (receipts, "invoices_paid"),
            (format!("{} {MADE}", rows::JOB), "invoices_made"),
        ] {
            let mut plan = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap();
            for place in 1..=plan.parameter_count() {
                plan.raw_bind_parameter(place, 1).unwrap();
            }
            let mut steps = plan.raw_query();
            let first: String = steps.next().unwrap().unwrap().get(3).unwrap();
            assert!(first.contains(index), "{sql}: {first}");
        }
    }
}
