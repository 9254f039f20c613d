//! The table as rows from 0 on: first what the store has, then what came in pages; some rows have not come yet.

use super::pages::Pages;
use crate::domain::id::RequestId;
use crate::domain::job::JobView;
use crate::store::Jobs;

/// The rows of the table at one moment.
pub struct Listing<'a> {
    /// All rows, those that have not come too.
    pub total: u64,
    /// The engine has yet to say what the list holds; these are only the jobs that the screen knows.
    pub searching: bool,
    live: Vec<&'a JobView>,
    pages: Option<&'a Pages>,
    from_end: bool,
    newer: Option<&'a Jobs>,
}

impl<'a> Listing<'a> {
    pub(super) const fn new(
        live: Vec<&'a JobView>,
        total: u64,
        pages: Option<&'a Pages>,
        from_end: bool,
        newer: Option<&'a Jobs>,
    ) -> Self {
        Self {
            total,
            searching: false,
            live,
            pages,
            from_end,
            newer,
        }
    }

    /// The job in a row; none where it has not come yet.
    #[must_use]
    pub fn get(&self, row: u64) -> Option<&'a JobView> {
        let live = usize::try_from(row).ok().and_then(|row| self.live.get(row));
        if let Some(job) = live {
            return Some(job);
        }
        let kept = self
            .pages?
            .get(self.key(row))
            .filter(|_| row < self.total)?;
        // An event may have brought a later word on it than the page.
        let newer = self.newer.and_then(|jobs| jobs.get(&kept.id));
        Some(
            newer
                .filter(|newer| newer.updated_at > kept.updated_at)
                .unwrap_or(kept),
        )
    }

    /// The row of a job.
    #[must_use]
    pub fn find(&self, id: RequestId) -> Option<u64> {
        let live = self.live.iter().position(|job| job.id == id);
        if let Some(row) = live {
            return Some(row as u64);
        }
        let mut kept = self.pages?.iter();
        let (key, _) = kept.find(|(_, job)| job.id == id)?;
        Some(self.row_of(key)).filter(|row| *row < self.total)
    }

    /// A row's place: for the list of all jobs by time counted from its end, so that it stays while others come.
    #[must_use]
    pub const fn key(&self, row: u64) -> u64 {
        if self.from_end {
            self.total.saturating_sub(1).saturating_sub(row)
        } else {
            row
        }
    }

    /// The row of a place.
    #[must_use]
    pub const fn row_of(&self, key: u64) -> u64 {
        // The way there is the way back.
        self.key(key)
    }

    /// The first of `height` rows that have this one in the middle, as far as the ends allow.
    #[must_use]
    pub fn first_row(&self, at: u64, height: u64) -> u64 {
        at.saturating_sub(height / 2)
            .min(self.total.saturating_sub(height))
    }

    /// The rows that the store has.
    pub fn live(&self) -> impl Iterator<Item = &'a JobView> {
        self.live.iter().copied()
    }

    /// How many of the first rows the store has.
    #[must_use]
    pub fn live_rows(&self) -> u64 {
        self.live.len() as u64
    }

    /// Do its rows come in pages?
    #[must_use]
    pub const fn is_paged(&self) -> bool {
        self.pages.is_some()
    }
}
