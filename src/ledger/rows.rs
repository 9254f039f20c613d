//! Rows to jobs and back.

use nostr::{EventId, PublicKey};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LedgerError;
use crate::domain::Hex32;
use crate::domain::credit::Debt;
use crate::domain::id::{BootId, Buyer, PaymentHash, Preimage, RequestId};
use crate::domain::job::{Encryption, Invoice, Job, JobView, State, Status, Usage};
use crate::domain::msat::Msat;
use crate::domain::time::Time;

/// The columns of a job with its invoice, in the order that [`job`] reads them. No text is among them.
pub(super) const JOB: &str = "SELECT
  j.id, j.buyer, j.kind, j.state, j.rev, j.encryption, j.addressed, j.terms, j.text_bytes, j.prompt_tokens,
  j.completion_tokens, j.price_msat, j.paid_msat, j.owed_msat, j.attempts, j.wallet_tries, j.next_at, j.boot, j.error_code,
  j.error, j.result_id, j.delivered, j.created_at, j.updated_at,
  i.label, i.state, i.amount_msat, i.wallet, i.wallet_identity, i.payment_hash, i.bolt11, i.backend_ref, i.made_at,
  i.expires_at, i.paid_msat, i.paid_at, i.looks, i.late_looks, i.wallet_key, i.network, i.preimage, i.hold_until,
  j.estimated, j.cut, j.elapsed_ms, j.endpoint, j.debt_msat, j.debt_until, j.interrupts, b.used_msat, b.left_msat
  FROM jobs j LEFT JOIN invoices i ON i.job_id = j.id LEFT JOIN job_balances b ON b.job_id = j.id ";

/// A debt above this counts as this: the sum of many must stay a number.
pub(super) const MOST_DEBT: Msat = Msat(1_000_000_000_000_000);
/// The debt of an open job has no end.
pub(super) const FOR_EVER: Time = Time(i64::MAX);

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

pub(super) fn json<T: Serialize>(value: &T) -> Result<String, LedgerError> {
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
    let state =
        State::parse(&row.get::<_, String>(3)?).ok_or(LedgerError::Unreadable("a job's state"))?;
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
        has_texts: row.get::<_, i64>(8)? > 0,
        answer: usage(row)?,
        price: row.get::<_, Option<i64>>(11)?.map(msat),
        paid: msat(row.get(12)?),
        owed: msat(row.get(13)?),
        balance_used: msat(row.get::<_, Option<i64>>(49)?.unwrap_or(0)),
        left: msat(row.get::<_, Option<i64>>(50)?.unwrap_or(0)),
        debt: Debt {
            amount: msat(row.get(46)?),
            until: Some(Time(row.get(47)?)).filter(|until| *until != FOR_EVER),
        },
        attempts: row.get(14)?,
        interrupts: row.get(48)?,
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

fn usage(row: &Row<'_>) -> Result<Option<Usage>, LedgerError> {
    let (Some(prompt_tokens), Some(completion_tokens)) = (row.get(9)?, row.get(10)?) else {
        return Ok(None);
    };
    let elapsed: Option<i64> = row.get(44)?;
    Ok(Some(Usage {
        prompt_tokens,
        completion_tokens,
        estimated: row.get::<_, Option<bool>>(42)?.unwrap_or(false),
        cut: row.get::<_, Option<bool>>(43)?.unwrap_or(false),
        elapsed_ms: elapsed.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0),
        endpoint: row.get::<_, Option<String>>(45)?.unwrap_or_default(),
    }))
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
        polls: row.get(36)?,
        late_polls: row.get(37)?,
        next_poll_at: None,
        wallet_key: row.get(38)?,
        network: row.get(39)?,
        preimage: preimage
            .map(|bytes| id32(&bytes, "an invoice's secret").map(Preimage))
            .transpose()?,
        hold_until: row.get::<_, Option<i64>>(41)?.map(Time),
    }))
}

/// What other programs see of the job of this number.
pub(super) fn view(connection: &Connection, num: i64) -> Result<Option<JobView>, LedgerError> {
    connection
        .prepare_cached(
            "SELECT j.id, j.buyer, j.kind, j.status, j.model, j.prompt_tokens, j.completion_tokens, j.elapsed_ms,
               j.price_msat, j.paid_msat, i.bolt11, i.payment_hash, i.expires_at, j.result_id, j.owed_msat, j.encryption,
               j.error, j.created_at, j.updated_at, b.used_msat, json_extract(j.terms, '$.offer')
             FROM jobs j LEFT JOIN invoices i ON i.job_id = j.id LEFT JOIN job_balances b ON b.job_id = j.id
             WHERE j.num = ?1",
        )?
        .query_row([num], |row| Ok(seen(row)))
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
        status: Status::parse(&row.get::<_, String>(3)?)
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
        balance_used_msat: msat(row.get::<_, Option<i64>>(19)?.unwrap_or(0)),
        offer: row.get(20)?,
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
