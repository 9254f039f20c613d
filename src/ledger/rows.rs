//! Rows to jobs and back.

use nostr::{EventId, PublicKey};
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LedgerError;
use crate::domain::Hex32;
use crate::domain::credit::Debt;
use crate::domain::id::{BootId, Buyer, PaymentHash, Preimage, RequestId};
use crate::domain::job::{Encryption, Invoice, InvoiceState, Job, JobView, State, Status};
use crate::domain::msat::Msat;
use crate::domain::time::Time;

/// The columns of a job with its invoice, in the order that [`job`] reads them.
pub(super) const JOB: &str = "SELECT
  j.id, j.buyer, j.kind, j.state, j.rev, j.encryption, j.addressed, j.terms, j.request_json, j.prompt, j.answer,
  j.price_msat, j.paid_msat, j.owed_msat, j.attempts, j.wallet_tries, j.next_at, j.boot, j.error_code, j.error,
  j.result_id, j.delivered, j.created_at, j.updated_at,
  i.label, i.state, i.amount_msat, i.wallet, i.wallet_identity, i.payment_hash, i.bolt11, i.backend_ref, i.made_at,
  i.expires_at, i.paid_msat, i.paid_at, i.looks, i.late_looks, i.wallet_key, i.network, i.preimage, i.hold_until,
  j.debt_msat, j.debt_until, j.interrupts
  FROM jobs j LEFT JOIN invoices i ON i.job_id = j.id ";

/// A debt above this counts as this: the sum of many must stay a number.
const MOST_DEBT: Msat = Msat(1_000_000_000_000_000);
/// The debt of an open job has no end.
const FOR_EVER: Time = Time(i64::MAX);

/// A word of an enum as serde writes it.
pub(super) fn word<T: Serialize>(value: &T) -> Result<String, LedgerError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        _ => Err(LedgerError::Unreadable("a word")),
    }
}

pub(super) fn unword<T: DeserializeOwned>(
    text: &str,
    what: &'static str,
) -> Result<T, LedgerError> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|_| LedgerError::Unreadable(what))
}

fn json<T: Serialize>(value: &T) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|_| LedgerError::Unreadable("a value to store"))
}

fn unjson<T: DeserializeOwned>(text: &str, what: &'static str) -> Result<T, LedgerError> {
    serde_json::from_str(text).map_err(|_| LedgerError::Unreadable(what))
}

/// SQLite's integers are signed; no amount of money reaches the sign.
pub(super) fn int(msat: Msat) -> i64 {
    i64::try_from(msat.0).unwrap_or(i64::MAX)
}

/// The amount back.
pub(super) fn msat(value: i64) -> Msat {
    Msat(u64::try_from(value).unwrap_or(0))
}

pub(super) fn id32(bytes: &[u8], what: &'static str) -> Result<Hex32, LedgerError> {
    Hex32::from_slice(bytes).ok_or(LedgerError::Unreadable(what))
}

pub(super) fn event_id(bytes: &[u8]) -> Result<EventId, LedgerError> {
    EventId::from_slice(bytes).map_err(|_| LedgerError::Unreadable("an event id"))
}

/// One job of a [`JOB`] query.
pub(super) fn job(row: &Row<'_>) -> Result<Job, LedgerError> {
    let id = RequestId(event_id(&row.get::<_, Vec<u8>>(0)?)?);
    let buyer = PublicKey::from_slice(&row.get::<_, Vec<u8>>(1)?)
        .map_err(|_| LedgerError::Unreadable("a buyer's key"))?;
    let state = State::from_word(&row.get::<_, String>(3)?)
        .ok_or(LedgerError::Unreadable("a job's state"))?;
    let answer: Option<String> = row.get(10)?;
    let boot: Option<Vec<u8>> = row.get(17)?;
    let result_id: Option<Vec<u8>> = row.get(20)?;
    Ok(Job {
        id,
        buyer: Buyer(buyer),
        kind: row.get(2)?,
        state,
        rev: u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
        encryption: unword(&row.get::<_, String>(5)?, "an encryption")?,
        addressed: row.get(6)?,
        terms: unjson(&row.get::<_, String>(7)?, "a job's terms")?,
        request_json: row.get(8)?,
        prompt: row.get(9)?,
        answer: answer.map(|text| unjson(&text, "an answer")).transpose()?,
        price: row.get::<_, Option<i64>>(11)?.map(msat),
        paid: msat(row.get(12)?),
        owed: msat(row.get(13)?),
        debt: Debt {
            amount: msat(row.get(42)?),
            until: Some(Time(row.get(43)?)).filter(|until| *until != FOR_EVER),
        },
        attempts: row.get(14)?,
        interrupts: row.get(44)?,
        wallet_tries: row.get(15)?,
        next_at: row.get::<_, Option<i64>>(16)?.map(Time),
        boot: boot
            .map(|bytes| id32(&bytes, "a boot id").map(BootId))
            .transpose()?,
        error_code: row.get(18)?,
        error: row.get(19)?,
        result_id: result_id.map(|bytes| event_id(&bytes)).transpose()?,
        delivered: row.get(21)?,
        created_at: Time(row.get(22)?),
        updated_at: Time(row.get(23)?),
        invoice: invoice(row)?,
    })
}

fn invoice(row: &Row<'_>) -> Result<Option<Invoice>, LedgerError> {
    let Some(label) = row.get::<_, Option<String>>(24)? else {
        return Ok(None);
    };
    let hash: Option<Vec<u8>> = row.get(29)?;
    let preimage: Option<Vec<u8>> = row.get(40)?;
    Ok(Some(Invoice {
        label,
        state: unword(&row.get::<_, String>(25)?, "an invoice's state")?,
        amount: msat(row.get(26)?),
        wallet: row.get(27)?,
        wallet_identity: row.get(28)?,
        payment_hash: hash
            .map(|bytes| id32(&bytes, "a payment hash").map(PaymentHash))
            .transpose()?,
        bolt11: row.get(30)?,
        backend_ref: row.get(31)?,
        made_at: row.get::<_, Option<i64>>(32)?.map(Time),
        expires_at: row.get::<_, Option<i64>>(33)?.map(Time),
        paid: msat(row.get(34)?),
        paid_at: row.get::<_, Option<i64>>(35)?.map(Time),
        looks: row.get(36)?,
        late_looks: row.get(37)?,
        next_look_at: None,
        wallet_key: row.get(38)?,
        network: row.get(39)?,
        preimage: preimage
            .map(|bytes| id32(&bytes, "an invoice's secret").map(Preimage))
            .transpose()?,
        hold_until: row.get::<_, Option<i64>>(41)?.map(Time),
    }))
}

/// What other programs see of the job in this row; its texts are not read.
pub(super) fn view(connection: &Connection, row: i64) -> Result<Option<JobView>, LedgerError> {
    connection
        .prepare_cached(
            "SELECT j.id, j.buyer, j.kind, j.status, j.model, json_extract(j.answer, '$.prompt_tokens'),
               json_extract(j.answer, '$.completion_tokens'), json_extract(j.answer, '$.elapsed_ms'), j.price_msat,
               j.paid_msat, i.bolt11, i.payment_hash, i.expires_at, j.result_id, j.owed_msat, j.encryption, j.error,
               j.created_at, j.updated_at
             FROM jobs j LEFT JOIN invoices i ON i.job_id = j.id WHERE j.rowid = ?1",
        )?
        .query_row([row], |row| Ok(seen(row)))
        .optional()?
        .transpose()
}

fn seen(row: &Row<'_>) -> Result<JobView, LedgerError> {
    let buyer = PublicKey::from_slice(&row.get::<_, Vec<u8>>(1)?)
        .map_err(|_| LedgerError::Unreadable("a buyer's key"))?;
    let encryption: Encryption = unword(&row.get::<_, String>(15)?, "an encryption")?;
    let elapsed: Option<i64> = row.get(7)?;
    let hash: Option<Vec<u8>> = row.get(11)?;
    let result_id: Option<Vec<u8>> = row.get(13)?;
    Ok(JobView {
        id: RequestId(event_id(&row.get::<_, Vec<u8>>(0)?)?),
        buyer: Buyer(buyer),
        kind: row.get(2)?,
        status: Status::from_word(&row.get::<_, String>(3)?)
            .ok_or(LedgerError::Unreadable("a job's status"))?,
        model: Some(row.get(4)?),
        prompt_tokens: row.get(5)?,
        completion_tokens: row.get(6)?,
        elapsed_ms: elapsed.and_then(|ms| u64::try_from(ms).ok()),
        price_msat: row.get::<_, Option<i64>>(8)?.map(msat),
        paid_msat: msat(row.get(9)?),
        bolt11: row.get(10)?,
        payment_hash: hash
            .map(|bytes| id32(&bytes, "a payment hash").map(PaymentHash))
            .transpose()?,
        invoice_expires_at: row.get::<_, Option<i64>>(12)?.map(Time),
        result_id: result_id.map(|bytes| event_id(&bytes)).transpose()?,
        owed_to_buyer_msat: msat(row.get(14)?),
        encrypted: encryption != Encryption::Plain,
        error: row.get(16)?,
        created_at: Time(row.get(17)?),
        updated_at: Time(row.get(18)?),
    })
}

/// The job with this id.
pub(super) fn find(connection: &Connection, id: &RequestId) -> Result<Option<Job>, LedgerError> {
    let mut statement = connection.prepare_cached(&format!("{JOB} WHERE j.id = ?1"))?;
    statement
        .query_row([id.0.as_bytes().as_slice()], |row| Ok(job(row)))
        .optional()?
        .transpose()
}

/// Every job of a query that starts with [`JOB`].
pub(super) fn all(
    connection: &Connection,
    rest: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<Job>, LedgerError> {
    let mut statement = connection.prepare_cached(&format!("{JOB} {rest}"))?;
    let rows = statement.query_map(params, |row| Ok(job(row)))?;
    let mut jobs = Vec::new();
    for row in rows {
        jobs.push(row??);
    }
    Ok(jobs)
}

/// Writes a new job. False where it is there already: then nothing is changed.
pub(super) fn insert(connection: &Connection, job: &Job) -> Result<bool, LedgerError> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO jobs (id, buyer, kind, state, status, rev, encryption, addressed, terms, model, bid_msat,
               request_json, prompt, price_msat, debt_msat, debt_until, created_at, updated_at)
             VALUES (:id, :buyer, :kind, :state, :status, :rev, :encryption, :addressed, :terms, :model, :bid,
               :request, :prompt, :price, :debt, :debt_until, :created, :updated)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(named_params! {
            ":id": job.id.0.as_bytes().as_slice(),
            ":buyer": job.buyer.0.as_bytes().as_slice(),
            ":kind": job.kind,
            ":state": job.state.word(),
            ":status": job.state.status().word(),
            ":rev": i64::try_from(job.rev).unwrap_or(i64::MAX),
            ":encryption": word(&job.encryption)?,
            ":addressed": job.addressed,
            ":terms": json(&job.terms)?,
            ":model": job.terms.model,
            ":bid": job.terms.bid_msat.map_or(0, int),
            ":request": job.request_json,
            ":prompt": job.prompt,
            ":price": job.price.map(int),
            ":debt": int(job.debt.amount.min(MOST_DEBT)),
            ":debt_until": job.debt.until.unwrap_or(FOR_EVER).0,
            ":created": job.created_at.0,
            ":updated": job.updated_at.0,
        })?;
    if inserted == 1 {
        write_invoice(connection, job)?;
    }
    Ok(inserted == 1)
}

/// Writes a changed job over the one it was made from.
///
/// # Errors
/// [`LedgerError::Conflict`] where another change came first.
pub(super) fn update(connection: &Connection, job: &Job) -> Result<(), LedgerError> {
    let before = i64::try_from(job.rev).unwrap_or(i64::MAX) - 1;
    let changed = connection
        .prepare_cached(
            "UPDATE jobs SET state = :state, status = :status, rev = :rev, answer = :answer, price_msat = :price,
               paid_msat = :paid, owed_msat = :owed, attempts = :attempts, wallet_tries = :tries, next_at = :next_at,
               debt_msat = :debt, debt_until = :debt_until, interrupts = :interrupts,
               boot = :boot, error_code = :code, error = :error, result_id = :result, delivered = :delivered,
               updated_at = :updated
             WHERE id = :id AND rev = :before",
        )?
        .execute(named_params! {
            ":state": job.state.word(),
            ":status": job.state.status().word(),
            ":rev": before + 1,
            ":answer": job.answer.as_ref().map(json).transpose()?,
            ":price": job.price.map(int),
            ":paid": int(job.paid),
            ":owed": int(job.owed),
            ":attempts": job.attempts,
            ":debt": int(job.debt.amount.min(MOST_DEBT)),
            ":debt_until": job.debt.until.unwrap_or(FOR_EVER).0,
            ":interrupts": job.interrupts,
            ":tries": job.wallet_tries,
            ":next_at": job.next_at.map(|at| at.0),
            ":boot": job.boot.map(|boot| boot.0.0.to_vec()),
            ":code": job.error_code,
            ":error": job.error,
            ":result": job.result_id.map(|id| id.as_bytes().to_vec()),
            ":delivered": job.delivered,
            ":updated": job.updated_at.0,
            ":id": job.id.0.as_bytes().as_slice(),
            ":before": before,
        })?;
    if changed == 0 {
        return Err(LedgerError::Conflict);
    }
    write_invoice(connection, job)
}

fn write_invoice(connection: &Connection, job: &Job) -> Result<(), LedgerError> {
    let Some(invoice) = &job.invoice else {
        // Only an intent, which nobody has seen, is ever taken back.
        connection
            .prepare_cached("DELETE FROM invoices WHERE job_id = ?1 AND state = 'intent'")?
            .execute([job.id.0.as_bytes().as_slice()])?;
        return Ok(());
    };
    connection
        .prepare_cached(
            "INSERT INTO invoices (job_id, label, state, amount_msat, wallet, wallet_identity, payment_hash, bolt11,
               backend_ref, made_at, expires_at, paid_msat, paid_at, looks, late_looks, wallet_key, network, preimage,
               hold_until)
             VALUES (:job, :label, :state, :amount, :wallet, :identity, :hash, :bolt11, :reference, :made, :expires,
               :paid, :paid_at, :looks, :late, :key, :network, :preimage, :until)
             ON CONFLICT (job_id) DO UPDATE SET state = :state, wallet = :wallet, wallet_identity = :identity,
               payment_hash = :hash, bolt11 = :bolt11, backend_ref = :reference, made_at = :made,
               expires_at = :expires, paid_msat = :paid, paid_at = :paid_at, looks = :looks, late_looks = :late,
               wallet_key = :key, network = :network, preimage = :preimage, hold_until = :until",
        )?
        .execute(named_params! {
            ":job": job.id.0.as_bytes().as_slice(),
            ":label": invoice.label,
            ":state": word(&invoice.state)?,
            ":amount": int(invoice.amount),
            ":wallet": invoice.wallet,
            ":identity": invoice.wallet_identity,
            ":hash": invoice.payment_hash.map(|hash| hash.0.0.to_vec()),
            ":bolt11": invoice.bolt11,
            ":reference": invoice.backend_ref,
            ":made": invoice.made_at.map(|at| at.0),
            ":expires": invoice.expires_at.map(|at| at.0),
            ":paid": int(invoice.paid),
            ":paid_at": invoice.paid_at.map(|at| at.0),
            ":looks": invoice.looks,
            ":late": invoice.late_looks,
            ":key": invoice.wallet_key,
            ":network": invoice.network,
            ":preimage": invoice.preimage.map(|secret| secret.0.0.to_vec()),
            ":until": invoice.hold_until.map(|at| at.0),
        })?;
    if invoice.state != InvoiceState::Intent {
        super::desk::answered(connection, &job.id)?;
    }
    Ok(())
}

/// One line of history.
pub(super) fn note(
    connection: &Connection,
    job: &RequestId,
    at: Time,
    what: &str,
    detail: &str,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached("INSERT INTO timeline (job_id, at, what, detail) VALUES (?1, ?2, ?3, ?4)")?
        .execute(rusqlite::params![
            job.0.as_bytes().as_slice(),
            at.0,
            what,
            detail
        ])?;
    Ok(())
}
