//! Pages of a list of jobs. A page anywhere in a million jobs costs about the same.
//!
//! Whole lists, and those of one status, are walked along an index from the nearest place that is known: either end, or
//! the ends of the pages given before. Every other list is looked for once, kept as the jobs' numbers (eight bytes each), and
//! looked for again only when the ledger has changed and some time has passed.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params_from_iter};

use super::filter::{condition, expression};
use super::{Ledger, LedgerError, rows};
use crate::domain::job::{JobView, Status};
use crate::domain::query::{Filter, JobsQuery, PAGE_MAX, Sort, Test};

mod walk;

use walk::Walk;

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
        "SELECT num FROM jobs WHERE {condition} ORDER BY {by} {way}, created_at {way}, num {way}"
    ))?;
    let found = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests;
