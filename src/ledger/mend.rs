//! Builds anew what can be derived: indexes and figures. Their damaged pages are not read, and not even freed: their names are
//! taken out of the schema, and SQLite forgets them. The tables that hold what happened are left as they are.

use rusqlite::{Connection, params};

use super::{Ledger, LedgerError, balances, rows, stats};
use crate::domain::id::RequestId;

/// Tables that are counted from the jobs, and that can be built again.
pub(super) const DERIVED: [&str; 7] = [
    "totals",
    "drops",
    "model_totals",
    "offer_totals",
    "day_totals",
    "hour_totals",
    "buyer_totals",
];

/// What admission counted can't be counted again; what can be read of it is kept.
const COUNTED: [&str; 3] = ["seen", "understood", "last_seen_at"];

impl Ledger {
    /// Builds indexes and figures anew where a damaged page was met, and looks whether all is well then.
    ///
    /// # Errors
    /// Where it does not commit: what is damaged is more than an index.
    pub async fn mend(&self) -> Result<(), LedgerError> {
        self.writer.alone(mend).await?;
        self.whole.mended();
        Ok(())
    }
}

/// All of it, in one transaction of its own.
pub(super) fn mend(connection: &Connection) -> Result<(), LedgerError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let built = build(connection);
    // Even where it failed the schema may be written to no longer.
    let closed = connection.execute_batch("PRAGMA writable_schema = OFF");
    match built.and(closed.map_err(LedgerError::from)) {
        Ok(()) => Ok(connection.execute_batch("COMMIT")?),
        Err(error) => {
            // It may have been taken back already.
            let _ = connection.execute_batch("ROLLBACK");
            let _ = connection.execute_batch("PRAGMA writable_schema = RESET");
            Err(error)
        }
    }
}

fn build(connection: &Connection) -> Result<(), LedgerError> {
    let indexes = named(connection, "type = 'index' AND sql IS NOT NULL")?;
    let list = DERIVED.map(|name| format!("'{name}'")).join(", ");
    let tables = named(connection, &format!("type = 'table' AND name IN ({list})"))?;
    let counted = counted(connection, "main");
    connection.execute_batch("PRAGMA writable_schema = ON")?;
    connection.execute_batch(&format!(
        "DELETE FROM sqlite_schema WHERE (type = 'index' AND sql IS NOT NULL) OR tbl_name IN ({list})"
    ))?;
    // SQLite reads the schema again.
    connection.execute_batch("PRAGMA writable_schema = RESET")?;
    for sql in tables.iter().chain(&indexes) {
        connection.execute_batch(sql)?;
    }
    count_again(connection, counted)
}

/// Fills empty figures from the jobs.
pub(super) fn count_again(connection: &Connection, counted: Counted) -> Result<(), LedgerError> {
    for (name, value) in counted.totals {
        connection.execute("INSERT INTO totals VALUES (?1, ?2)", params![name, value])?;
    }
    for (reason, count) in counted.drops {
        connection.execute(
            "INSERT INTO drops VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![reason, count],
        )?;
    }
    connection.execute(
        "INSERT INTO totals SELECT ?1, sum(msat) FROM balances HAVING sum(msat) > 0",
        [balances::IN_ALL],
    )?;
    // By row, so that a million jobs are not in memory at once.
    let mut ids = connection.prepare("SELECT id FROM jobs NOT INDEXED")?;
    let mut found = ids.query([])?;
    while let Some(row) = found.next()? {
        let id: Vec<u8> = row.get(0)?;
        let id =
            nostr::EventId::from_slice(&id).map_err(|_| LedgerError::Unreadable("a job's id"))?;
        if let Some(job) = rows::find(connection, &RequestId(id))? {
            stats::count_in(connection, None, &job)?;
        }
    }
    Ok(())
}

fn named(connection: &Connection, which: &str) -> Result<Vec<String>, LedgerError> {
    let sql = format!("SELECT sql FROM sqlite_schema WHERE {which}");
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What admission counted, which no job tells; as far as it can be read.
#[derive(Default)]
pub(super) struct Counted {
    totals: Vec<(&'static str, i64)>,
    drops: Vec<(String, i64)>,
}

pub(super) fn counted(connection: &Connection, of: &str) -> Counted {
    let one = |name: &'static str| {
        let sql = format!("SELECT value FROM {of}.totals WHERE name = ?1");
        let value = connection.query_row(&sql, [name], |row| row.get(0)).ok()?;
        Some((name, value))
    };
    let drops = || -> rusqlite::Result<Vec<(String, i64)>> {
        let mut statement = connection.prepare(&format!("SELECT reason, count FROM {of}.drops"))?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    Counted {
        totals: COUNTED.into_iter().filter_map(one).collect(),
        drops: drops().unwrap_or_default(),
    }
}
