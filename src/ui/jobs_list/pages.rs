//! Pages of the ledger that have come, near where the table is looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::job::JobView;
use crate::domain::query::{JobsQuery, PAGE_MAX};
use crate::domain::time::Time;

/// The most jobs that are kept.
pub const KEPT_MAX: u64 = 10 * PAGE_MAX as u64;
/// Pages of a list in which jobs come and go are asked for again after this long, where something has changed.
const REFRESH: Duration = Duration::from_secs(2);

/// The jobs of one list, by their place in it.
///
/// The list of all jobs by time is counted from its oldest job on: no job is ever deleted and new ones come at the other
/// end, so a place there is for good. Other lists are counted from their first row.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    /// Jobs of the whole list, once an answer has said so.
    pub total: Option<u64>,
    /// Has a job changed since the last answer?
    pub stale: bool,
    rows: BTreeMap<u64, JobView>,
    told: Time,
}

impl Pages {
    /// The job at a place.
    pub fn get(&self, key: u64) -> Option<&JobView> {
        self.rows.get(&key)
    }

    /// Every job with its place.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &JobView)> {
        self.rows.iter().map(|(key, job)| (*key, job))
    }

    /// Takes in a later word on a job that is here.
    pub fn put(&mut self, job: &JobView) {
        let held = self.rows.values_mut().find(|held| held.id == job.id);
        if let Some(held) = held.filter(|held| held.updated_at <= job.updated_at) {
            held.clone_from(job);
        }
    }

    /// Is it time to ask again?
    pub fn is_old(&self, now: Time) -> bool {
        self.stale && now.since(self.told) >= REFRESH
    }

    /// Takes in a page.
    pub fn take(
        &mut self,
        query: &JobsQuery,
        total: u64,
        offset: u64,
        jobs: Vec<JobView>,
        now: Time,
    ) {
        let plain = query.is_plain();
        if !plain && self.stale {
            // The list has changed since: rows of two moments would not fit together.
            self.rows.clear();
        }
        self.stale = false;
        self.told = now;
        self.total = Some(total);
        let mut middle = 0;
        for (row, job) in (offset..total).zip(jobs) {
            let key = if plain { total - 1 - row } else { row };
            self.rows.insert(key, job);
            middle = key;
        }
        let near = middle.saturating_sub(KEPT_MAX / 2)..middle.saturating_add(KEPT_MAX / 2);
        self.rows.retain(|key, _| near.contains(key));
    }
}
