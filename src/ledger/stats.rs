//! Running totals, kept in the same transaction as what they count, so that a million jobs need no adding up.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::totals::{bump, set};
use super::whole::{self, is_damage};
use super::{Ledger, LedgerError, balances, rows};
use crate::domain::energy::{self, Spent};
use crate::domain::health::MoneyNow;
use crate::domain::id::Buyer;
use crate::domain::job::{Job, PayOrder, State};
use crate::domain::stats::{DayStats, Funnel, ModelStats, Totals};
use crate::domain::time::Time;

mod cases;
mod hours;

/// So many buyers are told, those that brought most.
const BUYERS_TOLD: u32 = 20;
/// The figure that says what buyers owe for delivered work, in msat.
const OWED_TO_US: &str = "open_credit_msat";
/// The figure that says when the last request arrived, in milliseconds since the epoch.
const LAST_SEEN: &str = "last_seen_at";
/// Until when the seller takes no new work; 0: it is taken.
const SNOOZED: &str = "snoozed_until";

/// What admission counted since the last time it was written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests that arrived.
    pub seen: u64,
    /// Requests that could be read as a job.
    pub understood: u64,
    /// Dropped, by reason.
    pub drops: BTreeMap<&'static str, u64>,
}

impl Counted {
    /// Counts what another one has counted.
    pub fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.understood += other.understood;
        for (reason, count) in other.drops {
            *self.drops.entry(reason).or_default() += count;
        }
    }
}

/// Counts a change of a job. Damaged figures never stand in the way of what is counted: they are built anew later.
pub(super) fn tally(
    connection: &Connection,
    before: Option<&Job>,
    after: &Job,
) -> Result<(), LedgerError> {
    connection.execute_batch("SAVEPOINT figures")?;
    match count_in(connection, before, after) {
        Ok(()) => Ok(connection.execute_batch("RELEASE figures")?),
        Err(error) if is_damage(&error) => {
            whole::met_damage();
            Ok(connection.execute_batch("ROLLBACK TO figures; RELEASE figures")?)
        }
        Err(error) => Err(error),
    }
}

/// The same, where damage is an error.
pub(super) fn count_in(
    connection: &Connection,
    before: Option<&Job>,
    after: &Job,
) -> Result<(), LedgerError> {
    let was = before.map(|job| job.state);
    let at = after.updated_at;
    if was.is_none() {
        bump(connection, "jobs", 1)?;
        hours::bump(connection, at, "admitted", 1)?;
    }
    for (name, states) in [
        ("successful", &[State::Paid, State::Completed][..]),
        ("failed", &[State::Error][..]),
        ("unpaid", &[State::Unpaid][..]),
    ] {
        let delta = i64::from(states.contains(&after.state))
            - i64::from(was.is_some_and(|state| states.contains(&state)));
        bump(connection, name, delta)?;
    }
    let revenue = rows::int(after.paid) - before.map_or(0, |job| rows::int(job.paid));
    let owed = rows::int(after.owed) - before.map_or(0, |job| rows::int(job.owed));
    bump(connection, "revenue_msat", revenue)?;
    bump(connection, "owed_msat", owed)?;
    let credit = open_credit(after) - before.map_or(0, open_credit);
    bump(connection, OWED_TO_US, credit)?;
    let delivered = i64::from(after.delivered) - i64::from(before.is_some_and(|job| job.delivered));
    bump(connection, "delivered", delivered)?;
    let paid = i64::from(is_paid(after)) - i64::from(before.is_some_and(is_paid));
    bump(connection, "paid", paid)?;
    hours::bump(connection, at, "paid", paid)?;
    hours::bump(connection, at, "jobs", delivered)?;
    hours::bump(connection, at, "revenue_msat", revenue)?;
    if delivered != 0 || revenue != 0 {
        let model = ("model_totals", "model", after.terms.model.as_str());
        by_name(connection, model, after, delivered, revenue)?;
        by_work(connection, &after.terms.model, revenue)?;
        if let Some(offer) = &after.terms.offer {
            let offer = ("offer_totals", "offer", offer.as_str());
            by_name(connection, offer, after, delivered, revenue)?;
        }
        by_day(connection, at, delivered, revenue)?;
        by_buyer(connection, after, delivered, revenue)?;
    }
    Ok(())
}

/// Paid by its invoice, or out of what its buyer had left with us.
fn is_paid(job: &Job) -> bool {
    !job.paid.is_zero() || (job.state == State::Paid && !job.balance_used.is_zero())
}

/// What a buyer owes for this job, delivered and not paid.
fn open_credit(job: &Job) -> i64 {
    let owes = job.state == State::PendingPayment && job.terms.order == PayOrder::After;
    if owes {
        job.price
            .map_or(0, |price| rows::int(price.saturating_sub(job.balance_used)))
    } else {
        0
    }
}

/// What a model brought since the machine's work on it is counted.
fn by_work(connection: &Connection, model: &str, revenue: i64) -> Result<(), LedgerError> {
    if revenue != 0 {
        connection
            .prepare_cached(
                "INSERT INTO model_work VALUES (?1, 0, 0, ?2) ON CONFLICT (model) DO UPDATE SET
                   revenue_msat = revenue_msat + ?2",
            )?
            .execute(params![model, revenue])?;
    }
    Ok(())
}

/// Counts a job for its model, or for its offer: the table, its key's column, the key.
fn by_name(
    connection: &Connection,
    (table, column, name): (&str, &str, &str),
    job: &Job,
    delivered: i64,
    revenue: i64,
) -> Result<(), LedgerError> {
    let answer = job.answer.as_ref();
    let output = answer.map_or(0, |a| i64::from(a.completion_tokens)) * delivered;
    let tokens = answer.map_or(0, |a| i64::from(a.prompt_tokens)) * delivered + output;
    let elapsed = answer.map_or(0, |a| i64::try_from(a.elapsed_ms).unwrap_or(0)) * delivered;
    connection
        .prepare_cached(
            &format!("INSERT INTO {table} VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT ({column}) DO UPDATE SET
               jobs = jobs + ?2, revenue_msat = revenue_msat + ?3, tokens = tokens + ?4,
               output_tokens = output_tokens + ?5, elapsed_ms = elapsed_ms + ?6"),
        )?
        .execute(params![name, delivered, revenue, tokens, output, elapsed])?;
    Ok(())
}

fn by_day(
    connection: &Connection,
    at: Time,
    delivered: i64,
    revenue: i64,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO day_totals VALUES (?1, ?2, ?3) ON CONFLICT (day) DO UPDATE SET
               jobs = jobs + ?2, revenue_msat = revenue_msat + ?3",
        )?
        .execute(params![at.day(), delivered, revenue])?;
    Ok(())
}

fn by_buyer(
    connection: &Connection,
    job: &Job,
    delivered: i64,
    revenue: i64,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO buyer_totals VALUES (?1, ?2, ?3) ON CONFLICT (buyer) DO UPDATE SET
               jobs = jobs + ?2, revenue_msat = revenue_msat + ?3",
        )?
        .execute(params![
            job.buyer.0.as_bytes().as_slice(),
            delivered,
            revenue
        ])?;
    Ok(())
}

fn money(connection: &Connection, now: Time) -> Result<MoneyNow, LedgerError> {
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    let today = connection
        .prepare_cached("SELECT jobs, revenue_msat FROM day_totals WHERE day = ?1")?
        .query_row([now.day()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (jobs, revenue): (i64, i64) = today.unwrap_or_default();
    let open: i64 = connection
        .prepare_cached("SELECT count(*) FROM invoices WHERE state <> 'paid' AND state = 'open'")?
        .query_row([], |row| row.get(0))?;
    let last: Option<(i64, i64)> = connection
        .prepare_cached(
            "SELECT paid_at, paid_msat FROM invoices WHERE state = 'paid' ORDER BY paid_at DESC LIMIT 1",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let asked: Option<i64> = connection
        .prepare_cached("SELECT value FROM totals WHERE name = ?1")?
        .query_row([LAST_SEEN], |row| row.get(0))
        .optional()?;
    Ok(MoneyNow {
        today_msat: rows::msat(revenue),
        today_jobs: unsigned(jobs),
        open_invoices: unsigned(open),
        last_paid_at: last.map(|(at, _)| Time(at)),
        last_paid_msat: last.map(|(_, amount)| rows::msat(amount)),
        last_request_at: asked.map(Time),
    })
}

/// What the machine spent on the models. None in a ledger that an older vend made and that has only been looked at since.
fn add_work(
    connection: &Connection,
    models: &mut BTreeMap<String, ModelStats>,
) -> Result<(), LedgerError> {
    if !connection.table_exists(None, "model_work")? {
        return Ok(());
    }
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    let mut statement = connection
        .prepare_cached("SELECT model, busy_ms, energy_mj, revenue_msat FROM model_work")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let model = models.entry(row.get(0)?).or_default();
        let earned = rows::msat(row.get(3)?);
        model.busy_ms = unsigned(row.get(1)?);
        model.energy_mj = unsigned(row.get(2)?);
        model.sats_per_hour = energy::sats_per_hour(earned, model.busy_ms);
        model.sats_per_kwh = energy::sats_per_kwh(earned, model.energy_mj);
    }
    Ok(())
}

/// The buyers that brought most. None in a ledger that an older vend made and that has only been looked at since.
fn best_buyers(connection: &Connection) -> Result<BTreeMap<String, DayStats>, LedgerError> {
    let mut buyers = BTreeMap::new();
    if !connection.table_exists(None, "buyer_totals")? {
        return Ok(buyers);
    }
    let mut statement = connection.prepare_cached(
        "SELECT buyer, jobs, revenue_msat FROM buyer_totals ORDER BY revenue_msat DESC, jobs DESC LIMIT ?1",
    )?;
    let mut found = statement.query([BUYERS_TOLD])?;
    while let Some(row) = found.next()? {
        let buyer = rows::id32(&row.get::<_, Vec<u8>>(0)?, "a buyer's key")?;
        let stats = DayStats {
            jobs: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
            revenue_msat: rows::msat(row.get(2)?),
        };
        buyers.insert(buyer.to_string(), stats);
    }
    Ok(buyers)
}

/// Did this buyer ever pay, and did any buyer?
pub(super) fn paid_before(
    connection: &Connection,
    buyer: Buyer,
) -> Result<(bool, bool), LedgerError> {
    let this = connection
        .prepare_cached("SELECT 1 FROM buyer_totals WHERE buyer = ?1 AND revenue_msat > 0")?
        .exists([buyer.0.as_bytes().as_slice()])?;
    let any = this
        || connection
            .prepare_cached("SELECT 1 FROM buyer_totals WHERE revenue_msat > 0 LIMIT 1")?
            .exists([])?;
    Ok((this, any))
}

/// What buyers owe for delivered work. The index of the live jobs answers it, so it costs what is open, not what ever was.
const OPEN_CREDIT: &str =
    "SELECT coalesce(sum(price_msat), 0) FROM jobs WHERE state = 'pending_payment'
    AND json_extract(terms, '$.order') = 'after'
    AND state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled')";

impl Ledger {
    /// Adds what admission counted.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn count(&self, counted: Counted) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| {
                let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
                let now = Time::now();
                hours::count(connection, now, &counted)?;
                hours::forget(connection, now)?;
                if counted.seen > 0 {
                    set(connection, LAST_SEEN, now.0)?;
                }
                bump(connection, "seen", signed(counted.seen))?;
                bump(connection, "understood", signed(counted.understood))?;
                for (reason, count) in counted.drops {
                    connection
                        .prepare_cached(
                            "INSERT INTO drops VALUES (?1, ?2) ON CONFLICT (reason) DO UPDATE SET count = count + ?2",
                        )?
                        .execute(params![reason, signed(count)])?;
                }
                Ok(())
            })
            .await
    }

    /// All figures.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn totals(&self) -> Result<Totals, LedgerError> {
        self.reader
            .call(|connection| {
                let mut totals = read(connection)?;
                let now = Time::now();
                totals.hours = hours::read(connection, now)?;
                totals.buyers = best_buyers(connection)?;
                totals.cases = u64::try_from(cases::needing(connection, now)?).unwrap_or(0);
                Ok(totals)
            })
            .await
    }

    /// What came in today and last, and what is waited for.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn money(&self, now: Time) -> Result<MoneyNow, LedgerError> {
        self.reader
            .call(move |connection| money(connection, now))
            .await
    }

    /// Adds what the machine spent on models.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn spent(&self, all: Vec<Spent>) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| {
                for spent in &all {
                    let busy = i64::try_from(spent.busy.as_millis()).unwrap_or(i64::MAX);
                    let drawn = i64::try_from(spent.millijoules).unwrap_or(i64::MAX);
                    connection
                        .prepare_cached(
                            "INSERT INTO model_work VALUES (?1, ?2, ?3, 0) ON CONFLICT (model) DO UPDATE SET
                               busy_ms = busy_ms + ?2, energy_mj = energy_mj + ?3",
                        )?
                        .execute(params![spent.model, busy, drawn])?;
                }
                Ok(())
            })
            .await
    }

    /// Remembers until when the seller takes no new work; none: it is taken.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn set_snoozed(&self, until: Option<Time>) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| set(connection, SNOOZED, until.map_or(0, |until| until.0)))
            .await
    }

    /// Until when the seller takes no new work, as it was said last.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn snoozed(&self) -> Result<Option<Time>, LedgerError> {
        self.reader
            .call(|connection| {
                let until: Option<i64> = connection
                    .prepare_cached("SELECT value FROM totals WHERE name = ?1")?
                    .query_row([SNOOZED], |row| row.get(0))
                    .optional()?;
                Ok(until.filter(|until| *until > 0).map(Time))
            })
            .await
    }

    /// Remembers how far each relay was heard.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn set_cursor(&self, relay: String, at: u64) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO cursor VALUES (?1, ?2) ON CONFLICT (relay) DO UPDATE SET at = max(at, ?2)",
                    )?
                    .execute(params![relay, i64::try_from(at).unwrap_or(i64::MAX)])?;
                Ok(())
            })
            .await
    }

    /// How far each relay was heard, unix seconds.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn cursors(&self) -> Result<Vec<(String, u64)>, LedgerError> {
        self.reader
            .call(|connection| {
                let mut statement = connection.prepare_cached("SELECT relay, at FROM cursor")?;
                let rows = statement.query_map([], |row| {
                    Ok((
                        row.get(0)?,
                        u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
                    ))
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}

fn read(connection: &Connection) -> Result<Totals, LedgerError> {
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    let mut names: BTreeMap<String, i64> = BTreeMap::new();
    let mut statement = connection.prepare_cached("SELECT name, value FROM totals")?;
    for row in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (name, value) = row?;
        names.insert(name, value);
    }
    let open_credit = match names.get(OWED_TO_US) {
        Some(kept) => *kept,
        // An older vend did not keep it, or nothing was ever delivered.
        None => connection
            .prepare_cached(OPEN_CREDIT)?
            .query_row([], |row| row.get(0))?,
    };
    let get = |name: &str| names.get(name).copied().unwrap_or(0);
    let mut totals = Totals {
        jobs: unsigned(get("jobs")),
        successful: unsigned(get("successful")),
        failed: unsigned(get("failed")),
        unpaid: unsigned(get("unpaid")),
        revenue_msat: rows::msat(get("revenue_msat")),
        owed_msat: rows::msat(get("owed_msat")),
        open_credit_msat: rows::msat(open_credit),
        balances_msat: rows::msat(get(balances::IN_ALL)),
        last_request_at: names.get(LAST_SEEN).map(|at| Time(*at)),
        funnel: Funnel {
            seen: unsigned(get("seen")),
            understood: unsigned(get("understood")),
            admitted: unsigned(get("jobs")),
            delivered: unsigned(get("delivered")),
            paid: unsigned(get("paid")),
        }
        .in_order(),
        ..Totals::default()
    };
    let mut statement = connection.prepare_cached("SELECT reason, count FROM drops")?;
    for row in statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))? {
        let (reason, count) = row?;
        totals.drops.insert(reason, unsigned(count));
    }
    totals.models = by_names(connection, "model_totals", "model")?;
    // A ledger that no vend of this version has opened for writing yet has none.
    if connection.table_exists(None, "offer_totals")? {
        totals.offers = by_names(connection, "offer_totals", "offer")?;
    }
    add_work(connection, &mut totals.models)?;
    let mut statement =
        connection.prepare_cached("SELECT day, jobs, revenue_msat FROM day_totals")?;
    let mut rows_of = statement.query([])?;
    while let Some(row) = rows_of.next()? {
        totals.days.insert(
            row.get(0)?,
            DayStats {
                jobs: unsigned(row.get(1)?),
                revenue_msat: rows::msat(row.get(2)?),
            },
        );
    }
    Ok(totals)
}

/// The figures of each model, or of each offer.
fn by_names(
    connection: &Connection,
    table: &str,
    column: &str,
) -> Result<BTreeMap<String, ModelStats>, LedgerError> {
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {column}, jobs, revenue_msat, tokens, output_tokens, elapsed_ms FROM {table}"
    ))?;
    let mut found = statement.query([])?;
    let mut all = BTreeMap::new();
    while let Some(row) = found.next()? {
        let (output, elapsed): (i64, i64) = (row.get(4)?, row.get(5)?);
        let stats = ModelStats {
            jobs: unsigned(row.get(1)?),
            revenue_msat: rows::msat(row.get(2)?),
            tokens: unsigned(row.get(3)?),
            tokens_per_second: speed(output, elapsed),
            ..ModelStats::default()
        };
        all.insert(row.get(0)?, stats);
    }
    Ok(all)
}

#[allow(clippy::cast_precision_loss)] // a speed for people, rounded to tenths anyway
fn speed(tokens: i64, elapsed_ms: i64) -> Option<f64> {
    (tokens > 0 && elapsed_ms > 0)
        .then(|| (tokens as f64 * 10_000.0 / elapsed_ms as f64).round() / 10.0)
}

#[cfg(test)]
pub(super) use cases::NEEDING;

#[cfg(test)]
mod tests;
