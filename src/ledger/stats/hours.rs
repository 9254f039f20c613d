//! The figures of the last hours, for the screen's small charts and for the reason why nothing is earned.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::super::{LedgerError, rows};
use super::Counted;
use crate::domain::stats::HourStats;
use crate::domain::time::Time;

/// How long an hour's figures are kept.
const KEPT: Duration = Duration::from_secs(48 * 3_600);
/// How far back the figures tell: twenty-four hours with the one that runs.
const TOLD: Duration = Duration::from_secs(23 * 3_600);
/// In front of the word of a drop reason.
const DROP: &str = "drop:";

/// Adds to a figure of an hour.
pub fn bump(connection: &Connection, at: Time, name: &str, by: i64) -> Result<(), LedgerError> {
    if by == 0 {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO hour_totals VALUES (?1, ?2, ?3) ON CONFLICT (hour, name) DO UPDATE SET
               value = value + ?3",
        )?
        .execute(params![at.hour(), name, by])?;
    Ok(())
}

/// Adds what admission counted.
pub fn count(connection: &Connection, at: Time, counted: &Counted) -> Result<(), LedgerError> {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    bump(connection, at, "seen", signed(counted.seen))?;
    for (reason, times) in &counted.drops {
        bump(connection, at, &format!("{DROP}{reason}"), signed(*times))?;
    }
    Ok(())
}

/// Lets go of what is older than anybody asks for.
pub fn forget(connection: &Connection, now: Time) -> Result<(), LedgerError> {
    connection
        .prepare_cached("DELETE FROM hour_totals WHERE hour < ?1")?
        .execute(params![now.minus(KEPT).hour()])?;
    Ok(())
}

/// The last twenty-four hours. None in a ledger that an older vend made and that has only been looked at since.
pub fn read(
    connection: &Connection,
    now: Time,
) -> Result<BTreeMap<String, HourStats>, LedgerError> {
    let mut hours: BTreeMap<String, HourStats> = BTreeMap::new();
    if !connection.table_exists(None, "hour_totals")? {
        return Ok(hours);
    }
    let mut statement =
        connection.prepare_cached("SELECT hour, name, value FROM hour_totals WHERE hour >= ?1")?;
    let mut all = statement.query(params![now.minus(TOLD).hour()])?;
    while let Some(row) = all.next()? {
        let (name, value): (String, i64) = (row.get(1)?, row.get(2)?);
        put(hours.entry(row.get(0)?).or_default(), &name, value);
    }
    Ok(hours)
}

fn put(hour: &mut HourStats, name: &str, value: i64) {
    let count = u64::try_from(value).unwrap_or(0);
    match name {
        "seen" => hour.seen = count,
        "admitted" => hour.admitted = count,
        "jobs" => hour.jobs = count,
        "paid" => hour.paid = count,
        "revenue_msat" => hour.revenue_msat = rows::msat(value),
        _ => {
            if let Some(reason) = name.strip_prefix(DROP) {
                hour.drops.insert(reason.to_owned(), count);
            }
        }
    }
}
