//! `vend repair`: a damaged ledger is read table by table into a new file. Indexes and figures are built anew and not read at
//! all; a damaged page of a table that holds what happened can't be made up for, and is said.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{LedgerError, check_header, count_jobs, damaged, mend, open_file, schema, verify};
use crate::domain::time::Time;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Jobs in it.
    pub jobs: u64,
    /// Where the damaged file is kept.
    pub kept: PathBuf,
}

/// Builds the ledger anew; the old file is kept beside it. Nobody may have it open.
///
/// # Errors
/// Where what happened can't be read any more, or the new file can't be written: the old one is then as it was.
pub fn repair(path: &Path) -> Result<Repaired, LedgerError> {
    let file = |source| LedgerError::File {
        path: path.to_owned(),
        source,
    };
    let old = open_file(path)?;
    check_header(&old, path)?;
    schema::is_current(&old, path)?;
    drop(old);
    let folder = path.parent().unwrap_or(Path::new("."));
    let draft = tempfile::NamedTempFile::new_in(folder).map_err(file)?;
    let jobs = {
        let mut new = Connection::open(draft.path())?;
        schema::migrations()
            .to_latest(&mut new)
            .map_err(|error| damaged(draft.path(), &error))?;
        take_over(&new, path)?
    };
    let jobs = verify(draft.path(), jobs)?;
    draft.as_file().sync_all().map_err(file)?;
    let kept = aside(path, "damaged").map_err(file)?;
    draft.persist(path).map_err(|error| file(error.error))?;
    Ok(Repaired { jobs, kept })
}

fn take_over(new: &Connection, old: &Path) -> Result<u64, LedgerError> {
    new.pragma_update(None, "foreign_keys", "OFF")?;
    new.execute("ATTACH ?1 AS old", [old.to_string_lossy()])?;
    let list = mend::DERIVED.map(|name| format!("'{name}'")).join(", ");
    let sql = format!(
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT IN ({list})"
    );
    let mut names = new.prepare(&sql)?;
    let names = names.query_map([], |row| row.get::<_, String>(0))?;
    new.execute_batch("BEGIN")?;
    for name in names.collect::<Result<Vec<_>, _>>()? {
        // Without a condition SQLite would copy the old indexes page by page, damaged ones too.
        let copied = new.execute_batch(&format!(
            "DELETE FROM main.\"{name}\"; INSERT INTO main.\"{name}\" SELECT * FROM old.\"{name}\" NOT INDEXED WHERE 1"
        ));
        if let Err(error) = copied {
            let words = format!("the table {name} can't be read: {error}");
            return Err(damaged(old, &words));
        }
    }
    mend::count_again(new, mend::counted(new, "old"))?;
    let jobs = count_jobs(new)?;
    new.execute_batch("COMMIT; DETACH old")?;
    Ok(jobs)
}

/// Moves a ledger with its log to a name of its own beside it.
///
/// # Errors
/// What the system says.
pub fn aside(path: &Path, why: &str) -> std::io::Result<PathBuf> {
    let to = path.with_extension(format!("{why}-{}.db", Time::wall().secs()));
    let beside = |path: &Path, end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    std::fs::rename(path, &to)?;
    for end in ["-wal", "-shm"] {
        match std::fs::rename(beside(path, end), beside(&to, end)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(to)
}
