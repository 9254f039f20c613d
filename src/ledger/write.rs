//! Writing a job: whole when it is new, and then only what changed of it. A column that is left alone costs no index.

use std::fmt::Write;

use rusqlite::types::Value;
use rusqlite::{Connection, named_params, params, params_from_iter};

use super::rows::{FOR_EVER, MOST_DEBT, int, json, word};
use super::{LedgerError, balances, questions};
use crate::domain::id::RequestId;
use crate::domain::job::{Invoice, InvoiceState, Job, Texts};
use crate::domain::time::Time;

/// Writes a new job. False where it is there already: then nothing is changed.
pub(super) fn insert(
    connection: &Connection,
    job: &Job,
    texts: &Texts,
) -> Result<bool, LedgerError> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO jobs (id, buyer, kind, state, status, rev, encryption, addressed, terms, model, bid_msat,
               text_bytes, price_msat, debt_msat, debt_until, created_at, updated_at)
             VALUES (:id, :buyer, :kind, :state, :status, :rev, :encryption, :addressed, :terms, :model, :bid,
               :bytes, :price, :debt, :debt_until, :created, :updated)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(named_params! {
            ":id": job.id.0.as_bytes().as_slice(),
            ":buyer": job.buyer.0.as_bytes().as_slice(),
            ":kind": job.kind,
            ":state": job.state.as_str(),
            ":status": job.state.status().as_str(),
            ":rev": number(job.rev),
            ":encryption": word(&job.encryption)?,
            ":addressed": job.addressed,
            ":terms": json(&job.terms)?,
            ":model": job.terms.model,
            ":bid": job.terms.bid_msat.map_or(0, int),
            ":bytes": if job.has_texts { number(texts.bytes().max(1) as u64) } else { 0 },
            ":price": job.price.map(int),
            ":debt": debt(job),
            ":debt_until": debt_until(job),
            ":created": job.created_at.0,
            ":updated": job.updated_at.0,
        })?;
    if inserted == 0 {
        return Ok(false);
    }
    if job.has_texts {
        connection
            .prepare_cached("INSERT INTO texts VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                connection.last_insert_rowid(),
                texts.request_json,
                texts.prompt,
                texts.answer
            ])?;
    }
    if let Some(invoice) = &job.invoice {
        insert_invoice(connection, &job.id, invoice)?;
    }
    balances::write(connection, None, job)?;
    Ok(true)
}

/// Writes what changed of a job, and the answer's text where it came with this change.
///
/// # Errors
/// [`LedgerError::Conflict`] where another change came first.
pub(super) fn update(
    connection: &Connection,
    before: &Job,
    job: &Job,
    answer: Option<&str>,
) -> Result<(), LedgerError> {
    if before.rev + 1 != job.rev {
        return Err(LedgerError::Conflict);
    }
    let mut row = Changed::default();
    row.put("rev", number(job.rev));
    row.put("updated_at", job.updated_at.0);
    if before.state != job.state {
        row.put("state", job.state.as_str().to_owned());
    }
    if before.state.status() != job.state.status() {
        row.put("status", job.state.status().as_str().to_owned());
    }
    row.differs("price_msat", before.price.map(int), job.price.map(int));
    row.differs("paid_msat", int(before.paid), int(job.paid));
    row.differs("owed_msat", int(before.owed), int(job.owed));
    row.differs("debt_msat", debt(before), debt(job));
    row.differs("debt_until", debt_until(before), debt_until(job));
    row.differs("interrupts", before.interrupts, job.interrupts);
    row.differs("attempts", before.attempts, job.attempts);
    row.differs("wallet_tries", before.wallet_tries, job.wallet_tries);
    row.differs("next_at", at(before.next_at), at(job.next_at));
    row.differs("delivered", before.delivered, job.delivered);
    let boot = |job: &Job| job.boot.map(|boot| boot.0.0.to_vec());
    row.differs("boot", boot(before), boot(job));
    let code = |job: &Job| job.error_code.clone();
    row.differs("error_code", code(before), code(job));
    row.differs("error", before.error.clone(), job.error.clone());
    let result = |job: &Job| job.result_id.map(|id| id.as_bytes().to_vec());
    row.differs("result_id", result(before), result(job));
    if let Some(usage) = job.answer.as_ref().filter(|_| before.answer != job.answer) {
        row.put("prompt_tokens", i64::from(usage.prompt_tokens));
        row.put("completion_tokens", i64::from(usage.completion_tokens));
        row.put("estimated", usage.estimated);
        row.put("cut", usage.cut);
        row.put("elapsed_ms", number(usage.elapsed_ms));
        row.put("endpoint", usage.endpoint.clone());
    }
    let id = job.id.0.as_bytes().to_vec();
    if row.write(
        connection,
        "jobs",
        "id = ? AND rev = ?",
        [Value::Blob(id), Value::Integer(number(before.rev))],
    )? == 0
    {
        return Err(LedgerError::Conflict);
    }
    balances::write(connection, Some(before), job)?;
    if let Some(answer) = answer {
        keep_answer(connection, &job.id, answer)?;
    }
    update_invoice(
        connection,
        &job.id,
        before.invoice.as_ref(),
        job.invoice.as_ref(),
    )
}

fn keep_answer(connection: &Connection, id: &RequestId, text: &str) -> Result<(), LedgerError> {
    let id = id.0.as_bytes().as_slice();
    let kept = connection
        .prepare_cached(
            "UPDATE texts SET answer = ?2 WHERE num = (SELECT num FROM jobs WHERE id = ?1)",
        )?
        .execute(params![id, text])?;
    // Where the request is erased, so is what was answered to it.
    if kept == 1 {
        connection
            .prepare_cached("UPDATE jobs SET text_bytes = text_bytes + ?2 WHERE id = ?1")?
            .execute(params![id, number(text.len() as u64)])?;
    }
    Ok(())
}

fn insert_invoice(
    connection: &Connection,
    id: &RequestId,
    invoice: &Invoice,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO invoices (job_id, label, state, amount_msat, wallet, wallet_identity, payment_hash, bolt11,
               backend_ref, made_at, expires_at, paid_msat, paid_at, looks, late_looks, wallet_key, network, preimage,
               hold_until)
             VALUES (:job, :label, :state, :amount, :wallet, :identity, :hash, :bolt11, :reference, :made, :expires,
               :paid, :paid_at, :looks, :late, :key, :network, :preimage, :until)",
        )?
        .execute(named_params! {
            ":job": id.0.as_bytes().as_slice(),
            ":label": invoice.label,
            ":state": word(&invoice.state)?,
            ":amount": int(invoice.amount),
            ":wallet": invoice.wallet,
            ":identity": invoice.wallet_identity,
            ":hash": invoice.payment_hash.map(|hash| hash.0.0.to_vec()),
            ":bolt11": invoice.bolt11,
            ":reference": invoice.backend_ref,
            ":made": at(invoice.made_at),
            ":expires": at(invoice.expires_at),
            ":paid": int(invoice.paid),
            ":paid_at": at(invoice.paid_at),
            ":looks": invoice.polls,
            ":late": invoice.late_polls,
            ":key": invoice.wallet_key,
            ":network": invoice.network,
            ":preimage": invoice.preimage.map(|secret| secret.0.0.to_vec()),
            ":until": at(invoice.hold_until),
        })?;
    Ok(())
}

fn update_invoice(
    connection: &Connection,
    id: &RequestId,
    before: Option<&Invoice>,
    after: Option<&Invoice>,
) -> Result<(), LedgerError> {
    let (before, after) = match (before, after) {
        (None, None) => return Ok(()),
        (Some(_), None) => {
            // Only an intent, which nobody has seen, is ever taken back.
            connection
                .prepare_cached("DELETE FROM invoices WHERE job_id = ?1 AND state = 'intent'")?
                .execute([id.0.as_bytes().as_slice()])?;
            return Ok(());
        }
        (None, Some(invoice)) => {
            insert_invoice(connection, id, invoice)?;
            return answered(connection, id, None, invoice);
        }
        (Some(before), Some(after)) => (before, after),
    };
    let mut row = Changed::default();
    if before.state != after.state {
        row.put("state", word(&after.state)?);
    }
    row.differs("amount_msat", int(before.amount), int(after.amount));
    row.differs("wallet", before.wallet.clone(), after.wallet.clone());
    let identity = |invoice: &Invoice| invoice.wallet_identity.clone();
    row.differs("wallet_identity", identity(before), identity(after));
    let hash = |invoice: &Invoice| invoice.payment_hash.map(|hash| hash.0.0.to_vec());
    row.differs("payment_hash", hash(before), hash(after));
    row.differs("bolt11", before.bolt11.clone(), after.bolt11.clone());
    let reference = |invoice: &Invoice| invoice.backend_ref.clone();
    row.differs("backend_ref", reference(before), reference(after));
    row.differs("made_at", at(before.made_at), at(after.made_at));
    row.differs("expires_at", at(before.expires_at), at(after.expires_at));
    row.differs("paid_msat", int(before.paid), int(after.paid));
    row.differs("paid_at", at(before.paid_at), at(after.paid_at));
    row.differs("looks", before.polls, after.polls);
    row.differs("late_looks", before.late_polls, after.late_polls);
    row.differs(
        "wallet_key",
        before.wallet_key.clone(),
        after.wallet_key.clone(),
    );
    row.differs("network", before.network.clone(), after.network.clone());
    let secret = |invoice: &Invoice| invoice.preimage.map(|secret| secret.0.0.to_vec());
    row.differs("preimage", secret(before), secret(after));
    row.differs("hold_until", at(before.hold_until), at(after.hold_until));
    if !row.values.is_empty() {
        let id = Value::Blob(id.0.as_bytes().to_vec());
        row.write(connection, "invoices", "job_id = ?", [id])?;
    }
    answered(connection, id, Some(before.state), after)
}

/// An invoice that came answers the question for it.
fn answered(
    connection: &Connection,
    id: &RequestId,
    before: Option<InvoiceState>,
    invoice: &Invoice,
) -> Result<(), LedgerError> {
    let came = before.is_none_or(|state| state == InvoiceState::Intent)
        && invoice.state != InvoiceState::Intent;
    if came {
        questions::answered(connection, id)?;
    }
    Ok(())
}

fn debt(job: &Job) -> i64 {
    int(job.debt.amount.min(MOST_DEBT))
}

fn debt_until(job: &Job) -> i64 {
    job.debt.until.unwrap_or(FOR_EVER).0
}

fn at(time: Option<Time>) -> Option<i64> {
    time.map(|at| at.0)
}

/// SQLite's integers are signed; no count reaches the sign.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The columns of a row that changed.
#[derive(Default)]
struct Changed {
    columns: String,
    values: Vec<Value>,
}

impl Changed {
    fn put(&mut self, column: &str, value: impl Into<Value>) {
        let comma = if self.values.is_empty() { "" } else { ", " };
        // Writing to a string can't fail.
        let _ = write!(self.columns, "{comma}{column} = ?");
        self.values.push(value.into());
    }

    #[allow(clippy::needless_pass_by_value)] // both are made for this, and one of them is stored
    fn differs<T: PartialEq + Into<Value>>(&mut self, column: &str, before: T, after: T) {
        if before != after {
            self.put(column, after);
        }
    }

    fn write(
        self,
        connection: &Connection,
        table: &str,
        condition: &str,
        bound: impl IntoIterator<Item = Value>,
    ) -> Result<usize, LedgerError> {
        let sql = format!("UPDATE {table} SET {} WHERE {condition}", self.columns);
        let values = self.values.into_iter().chain(bound);
        Ok(connection
            .prepare_cached(&sql)?
            .execute(params_from_iter(values))?)
    }
}
