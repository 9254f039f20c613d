//! Sums and other figures by their names.

use rusqlite::{Connection, params};

use super::LedgerError;

/// Adds to a sum.
pub(super) fn bump(connection: &Connection, name: &str, by: i64) -> Result<(), LedgerError> {
    if by == 0 {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO totals VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = value + ?2",
        )?
        .execute(params![name, by])?;
    Ok(())
}

/// A figure that is no sum.
pub(super) fn set(connection: &Connection, name: &str, value: i64) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO totals VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        )?
        .execute(params![name, value])?;
    Ok(())
}
