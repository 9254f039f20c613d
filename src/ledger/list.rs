//! Pages of a list of jobs. A page anywhere in a million jobs costs about the same.
//!
//! Whole lists, and those of one status, are walked along an index from the nearest place that is known: either end, or
//! the ends of the pages given before. Every other list is looked for once, kept as row numbers (eight bytes a job), and
//! looked for again only when the ledger has changed and some time has passed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::filter::{condition, expression};
use super::{Ledger, LedgerError, rows};
use crate::domain::job::{JobView, Status};
use crate::domain::query::{Filter, JobsQuery, PAGE_MAX, Sort, Test};

/// The most places of one list that are kept.
const MARKS_MAX: usize = 2_048;
/// Of the rows that a walk passes by, every so many-th is kept as a place.
const MARK_EVERY: u64 = if cfg!(test) { 16 } else { 4_096 };
/// How long the places of a list hold in which jobs change their place. A drift of some rows harms nobody.
const MARKS_HOLD: Duration = Duration::from_secs(10);
/// A list is looked for again when it is this many times older than the looking took.
const AGE_FACTOR: u32 = 20;
/// The least age at which a list is looked for again.
const AGE_MIN: Duration = Duration::from_millis(250);

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Jobs of the whole list.
    pub total: u64,
    /// How many come before the first.
    pub offset: u64,
    /// The jobs.
    pub jobs: Vec<JobView>,
}

/// A job's place: what it is ordered by, when it was admitted, its row.
#[derive(Clone, Debug)]
struct Key {
    value: Value,
    created: i64,
    row: i64,
}

/// A list that is walked along an index.
#[derive(Debug)]
struct Walk {
    sort: Sort,
    status: Option<Status>,
    count: Option<Kept<u64>>,
    /// Places by rank, from the least on.
    marks: BTreeMap<u64, Key>,
    marked: Instant,
}

/// Something that was looked for.
#[derive(Debug)]
struct Kept<T> {
    what: T,
    version: i64,
    made: Instant,
    took: Duration,
}

impl<T> Kept<T> {
    fn find(
        version: i64,
        look: impl FnOnce() -> Result<T, LedgerError>,
    ) -> Result<Self, LedgerError> {
        let began = Instant::now();
        let what = look()?;
        Ok(Self {
            what,
            version,
            made: Instant::now(),
            took: began.elapsed(),
        })
    }

    fn serves(&self, version: i64) -> bool {
        self.version == version || self.made.elapsed() < (self.took * AGE_FACTOR).max(AGE_MIN)
    }
}

/// What was looked for: the order, its way, the filter.
type Found = (Sort, bool, Filter);
/// What a walk came to: the keys asked for, and some on the way with the steps to each.
type Walked = (Vec<Key>, Vec<(u64, Key)>);

/// What is remembered of the lists that were asked for last.
#[derive(Debug, Default)]
pub(super) struct Lists {
    walks: Vec<Walk>,
    found: Option<(Found, Kept<Vec<i64>>)>,
}

/// Walked lists that are remembered.
const WALKS_MAX: usize = 4;

impl Ledger {
    /// A page of a list: at most [`PAGE_MAX`] jobs.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn page(
        &self,
        query: JobsQuery,
        filter: Filter,
        offset: u64,
        limit: u32,
    ) -> Result<Page, LedgerError> {
        let lists = self.lists.clone();
        self.lister
            .call(move |connection| {
                // Only this thread takes the lock; after a panic the lists are still whole values.
                let mut lists = lists
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                // One view of the ledger for the count and the page.
                let reading = connection.unchecked_transaction()?;
                let page = lists.page(&reading, &query, &filter, offset, limit.min(PAGE_MAX));
                reading.finish()?;
                page
            })
            .await
    }
}

impl Lists {
    fn page(
        &mut self,
        connection: &Connection,
        query: &JobsQuery,
        filter: &Filter,
        offset: u64,
        limit: u32,
    ) -> Result<Page, LedgerError> {
        let version: i64 =
            connection.query_row("SELECT data_version FROM pragma_data_version", [], |row| {
                row.get(0)
            })?;
        let (total, found) = match walked(filter, query.sort) {
            Some((sort, status)) => {
                let walk = self.walk(sort, status);
                walk.page(connection, version, query.ascending, offset, limit)?
            }
            None => self.found(connection, version, query, filter, offset, limit)?,
        };
        let mut jobs = Vec::with_capacity(found.len());
        for row in found {
            jobs.extend(rows::view(connection, row)?);
        }
        Ok(Page {
            total,
            offset: offset.min(total),
            jobs,
        })
    }

    fn walk(&mut self, sort: Sort, status: Option<Status>) -> &mut Walk {
        let known = self
            .walks
            .iter()
            .position(|walk| walk.sort == sort && walk.status == status);
        let walk = known.map_or_else(|| Walk::new(sort, status), |at| self.walks.remove(at));
        self.walks.truncate(WALKS_MAX - 1);
        self.walks.insert(0, walk);
        &mut self.walks[0]
    }

    fn found(
        &mut self,
        connection: &Connection,
        version: i64,
        query: &JobsQuery,
        filter: &Filter,
        offset: u64,
        limit: u32,
    ) -> Result<(u64, Vec<i64>), LedgerError> {
        let what = (query.sort, query.ascending, filter.clone());
        let held = self.found.take();
        let held = held.filter(|(known, kept)| *known == what && kept.serves(version));
        let kept = match held {
            Some((_, kept)) => kept,
            None => Kept::find(version, || look(connection, query, filter))?,
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let page = kept.what.iter().skip(from).take(limit as usize);
        let answer = (kept.what.len() as u64, page.copied().collect());
        self.found = Some((what, kept));
        Ok(answer)
    }
}

/// Is there an index for this list? Within one status, the order by status is the order by time.
fn walked(filter: &Filter, sort: Sort) -> Option<(Sort, Option<Status>)> {
    match filter.terms.as_slice() {
        [] => Some((sort, None)),
        [term] if !term.not && matches!(sort, Sort::Time | Sort::Status) => match &term.test {
            Test::Status(statuses) if statuses.len() == 1 => {
                Some((Sort::Time, statuses.first().copied()))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Every row of a list, in its order.
fn look(
    connection: &Connection,
    query: &JobsQuery,
    filter: &Filter,
) -> Result<Vec<i64>, LedgerError> {
    let (condition, values) = condition(filter);
    let by = expression(query.sort);
    let way = if query.ascending { "ASC" } else { "DESC" };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT rowid FROM jobs WHERE {condition} ORDER BY {by} {way}, created_at {way}, rowid {way}"
    ))?;
    let found = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

impl Walk {
    fn new(sort: Sort, status: Option<Status>) -> Self {
        Self {
            sort,
            status,
            count: None,
            marks: BTreeMap::new(),
            marked: Instant::now(),
        }
    }

    fn page(
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
                .query_row([status.word()], |row| row.get(0))?;
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
fn walks(
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
    let by_time = format!("created_at {way}, rowid {way}");
    let by_all = match sort {
        Sort::Time => by_time.clone(),
        _ => format!("{by} {way}, {by_time}"),
    };
    let query = |condition: &str, order: &str, values: Vec<Value>| {
        let word = status.map(|status| Value::Text(status.word().to_owned()));
        (
            format!(
                "SELECT rowid, {by}, created_at FROM jobs WHERE {within}{condition} ORDER BY {order} LIMIT ?"
            ),
            word.into_iter().chain(values).collect(),
        )
    };
    let beyond = format!("{by} {sign} ?");
    let Some(key) = from else {
        return vec![query(&beyond, &by_all, vec![bound(up)])];
    };
    // The key itself is the first that is found.
    let tie = format!("(created_at, rowid) {sign}= (?, ?)");
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

#[cfg(test)]
mod tests;
