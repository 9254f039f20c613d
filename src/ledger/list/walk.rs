//! Walking along an index from the nearest place that is known.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::super::LedgerError;
use super::super::filter::expression;
use super::Kept;
use crate::domain::job::Status;
use crate::domain::query::Sort;

/// The most places of one list that are kept.
const MARKS_MAX: usize = 2_048;
/// Of the rows that a walk passes by, every so many-th is kept as a place.
const MARK_EVERY: u64 = if cfg!(test) { 16 } else { 4_096 };
/// How long the places of a list hold in which jobs change their place. A drift of some rows harms nobody.
const MARKS_HOLD: Duration = Duration::from_secs(10);
/// A job's place: what it is ordered by, when it was admitted, its row.
#[derive(Clone, Debug)]
pub struct Key {
    pub value: Value,
    pub created: i64,
    pub row: i64,
}

/// A list that is walked along an index.
#[derive(Debug)]
pub struct Walk {
    pub sort: Sort,
    pub status: Option<Status>,
    count: Option<Kept<u64>>,
    /// Places by rank, from the least on.
    pub marks: BTreeMap<u64, Key>,
    marked: Instant,
}

/// What a walk came to: the keys asked for, and some on the way with the steps to each.
type Walked = (Vec<Key>, Vec<(u64, Key)>);

impl Walk {
    /// Nothing is known of it yet.
    pub fn new(sort: Sort, status: Option<Status>) -> Self {
        Self {
            sort,
            status,
            count: None,
            marks: BTreeMap::new(),
            marked: Instant::now(),
        }
    }

    /// How many rows it has, and those of a page.
    pub fn page(
        &mut self,
        connection: &Connection,
        version: i64,
        ascending: bool,
        offset: u64,
        limit: u32,
    ) -> Result<(u64, Vec<i64>), LedgerError> {
        let total = self.total(connection, version)?;
        let offset = offset.min(total);
        let count = u64::from(limit).min(total - offset);
        if count == 0 {
            return Ok((total, Vec::new()));
        }
        // Ranks from the least on: `low` to `high`, without `high`.
        let low = if ascending {
            offset
        } else {
            total - offset - count
        };
        let high = low + count;
        // By time, ranks from the oldest on never change: no job is deleted, and new ones come at the other end.
        let firm = self.sort == Sort::Time && self.status.is_none();
        if self.marks.len() > MARKS_MAX || (!firm && self.marked.elapsed() > MARKS_HOLD) {
            self.marks.clear();
        }
        if self.marks.is_empty() {
            self.marked = Instant::now();
        }
        let below = self.marks.range(..=low).next_back();
        let above = self.marks.range(high.saturating_sub(1)..).next();
        let skip_up = below.map_or(low, |(rank, _)| low - rank);
        let skip_down = above.map_or(total - high, |(rank, _)| (rank + 1).saturating_sub(high));
        let up = skip_up < skip_down;
        let (from, skip) = if up {
            (below, skip_up)
        } else {
            (above, skip_down)
        };
        let from = from.map(|(_, key)| key.clone());
        // The rank of the row at which the walk begins.
        let begin = if up {
            low - skip_up
        } else {
            (high + skip_down).saturating_sub(1)
        };
        let rank = |steps: u64| {
            if up {
                begin + steps
            } else {
                begin.saturating_sub(steps)
            }
        };
        let (mut keys, passed) = self.step(connection, from.as_ref(), up, skip, count)?;
        let ends = [(skip, keys.first()), (skip + count - 1, keys.last())];
        if keys.len() as u64 == count {
            for (steps, key) in ends {
                self.marks.extend(key.map(|key| (rank(steps), key.clone())));
            }
        }
        let passed = passed.into_iter();
        self.marks
            .extend(passed.map(|(steps, key)| (rank(steps), key)));
        if !up {
            keys.reverse();
        }
        let mut found: Vec<i64> = keys.into_iter().map(|key| key.row).collect();
        if !ascending {
            found.reverse();
        }
        Ok((total, found))
    }

    fn total(&mut self, connection: &Connection, version: i64) -> Result<u64, LedgerError> {
        let unsigned = |count: i64| u64::try_from(count).unwrap_or(0);
        let Some(status) = self.status else {
            // Kept by every change itself, so this is exact and costs nothing.
            let jobs = connection
                .prepare_cached("SELECT value FROM totals WHERE name = 'jobs'")?
                .query_row([], |row| row.get(0))
                .optional()?;
            return Ok(unsigned(jobs.unwrap_or(0)));
        };
        if let Some(kept) = self.count.as_ref().filter(|kept| kept.serves(version)) {
            return Ok(kept.what);
        }
        let kept = Kept::find(version, || {
            let count = connection
                .prepare_cached("SELECT count(*) FROM jobs WHERE status = ?1")?
                .query_row([status.as_str()], |row| row.get(0))?;
            Ok(unsigned(count))
        })?;
        let count = kept.what;
        self.count = Some(kept);
        Ok(count)
    }

    /// The `count` keys from `from` on, or from the end on, after `skip` of them; and some of those that were skipped, each
    /// with the steps to it.
    fn step(
        &self,
        connection: &Connection,
        from: Option<&Key>,
        up: bool,
        skip: u64,
        count: u64,
    ) -> Result<Walked, LedgerError> {
        let (mut keys, mut passed) = (Vec::new(), Vec::new());
        let mut steps = 0;
        let end = skip.saturating_add(count);
        for (sql, mut values) in walks(self.sort, self.status, from, up) {
            let left = i64::try_from(end - steps).unwrap_or(i64::MAX);
            values.push(Value::Integer(left));
            let mut statement = connection.prepare_cached(&sql)?;
            let mut found = statement.query(params_from_iter(values))?;
            while let Some(row) = found.next()? {
                if steps >= skip {
                    keys.push(key(row)?);
                } else if steps % MARK_EVERY == MARK_EVERY - 1 {
                    passed.push((steps, key(row)?));
                }
                steps += 1;
            }
        }
        Ok((keys, passed))
    }
}

fn key(row: &rusqlite::Row<'_>) -> Result<Key, LedgerError> {
    Ok(Key {
        row: row.get(0)?,
        value: row.get(1)?,
        created: row.get(2)?,
    })
}

/// The queries of a walk, one after the other, with the values they bind; each binds its limit last. Two of them after a
/// key: the jobs that are equal to it in the order's first column, then the rest; together they would need a scan.
pub fn walks(
    sort: Sort,
    status: Option<Status>,
    from: Option<&Key>,
    up: bool,
) -> Vec<(String, Vec<Value>)> {
    let by = expression(sort);
    let (sign, way) = if up { (">", "ASC") } else { ("<", "DESC") };
    let bound = |least: bool| match sort {
        Sort::Status => Value::Text(if least { "" } else { "~" }.to_owned()),
        _ => Value::Integer(if least { i64::MIN } else { i64::MAX }),
    };
    let within = if status.is_some() {
        "status = ? AND "
    } else {
        ""
    };
    let by_time = format!("created_at {way}, num {way}");
    let by_all = match sort {
        Sort::Time => by_time.clone(),
        _ => format!("{by} {way}, {by_time}"),
    };
    let query = |condition: &str, order: &str, values: Vec<Value>| {
        let word = status.map(|status| Value::Text(status.as_str().to_owned()));
        (
            format!(
                "SELECT num, {by}, created_at FROM jobs WHERE {within}{condition} ORDER BY {order} LIMIT ?"
            ),
            word.into_iter().chain(values).collect(),
        )
    };
    let beyond = format!("{by} {sign} ?");
    let Some(key) = from else {
        return vec![query(&beyond, &by_all, vec![bound(up)])];
    };
    // The key itself is the first that is found.
    let tie = format!("(created_at, num) {sign}= (?, ?)");
    let place = [Value::Integer(key.created), Value::Integer(key.row)];
    if sort == Sort::Time {
        return vec![query(&tie, &by_time, place.to_vec())];
    }
    let equal = std::iter::once(key.value.clone()).chain(place).collect();
    vec![
        query(&format!("{by} = ? AND {tie}"), &by_time, equal),
        query(&beyond, &by_all, vec![key.value.clone()]),
    ]
}
