//! Which jobs the table shows, in which order, which one is chosen, and what is asked of the engine for it.
//!
//! The newest jobs come with the events through the store. What lies beyond them is asked for page by page as it is
//! scrolled to, one question at a time; until the answer is there, the table shows what it has.

use crate::domain::detail::JobDetail;
use crate::domain::id::RequestId;
use crate::domain::job::JobView;
use crate::domain::query::{Filter, JobsQuery, Sort};
use crate::store::Store;

mod acts;
mod asking;
mod completion;
mod listing;
mod pages;

pub use acts::{copied, npub, why_not};
pub use completion::{completed, completions};
pub use listing::Listing;

use asking::Asked;
use pages::Pages;

/// A table that is held still.
#[derive(Clone, Debug)]
struct Frozen {
    live: Vec<JobView>,
    total: u64,
}

/// The table's state.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // Each is a choice of its own; no two of them exclude each other.
pub struct JobsList {
    /// The filter as it is typed.
    pub filter: String,
    /// Why the filter can't be read; the table keeps the last one that could.
    pub trouble: Option<String>,
    /// Stay at the top.
    pub follow: bool,
    /// The chosen job; none: the one at [`JobsList::at`].
    pub chosen: Option<RequestId>,
    /// Is the detail of the chosen job open?
    pub detail: bool,
    /// The first line of the detail.
    pub scroll: usize,
    /// Does the detail show the events as they were signed?
    pub raw: bool,
    /// Is there room for the chosen job beside the table?
    pub beside: bool,
    /// A job that was opened on the recovery desk: it need not be among the table's rows.
    visiting: Option<RequestId>,
    /// Is the next key what to copy?
    pub copying: bool,
    query: JobsQuery,
    read: Filter,
    place: u64,
    pages: Pages,
    frozen: Option<Frozen>,
    whole: Option<Box<JobDetail>>,
    copy_event: Option<RequestId>,
    asked: Option<Asked>,
    /// The engine could not answer: no more questions before the next key.
    resting: bool,
}

impl Default for JobsList {
    fn default() -> Self {
        Self {
            filter: String::new(),
            trouble: None,
            follow: true,
            chosen: None,
            detail: false,
            scroll: 0,
            raw: false,
            beside: false,
            visiting: None,
            copying: false,
            query: JobsQuery::default(),
            read: Filter::default(),
            place: 0,
            pages: Pages::default(),
            frozen: None,
            whole: None,
            copy_event: None,
            asked: None,
            resting: false,
        }
    }
}

impl JobsList {
    /// What is shown, and in which order.
    #[must_use]
    pub const fn query(&self) -> &JobsQuery {
        &self.query
    }

    /// Is the table held still?
    #[must_use]
    pub const fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// The table's rows.
    #[must_use]
    pub fn listing<'a>(&'a self, store: &'a Store) -> Listing<'a> {
        let pages = &self.pages;
        if let Some(frozen) = &self.frozen {
            let live = frozen.live.iter().collect();
            return Listing::new(live, frozen.total, Some(pages), self.query.is_plain(), None);
        }
        let there = store.totals.jobs;
        if self.query.is_plain() {
            let live: Vec<_> = store.jobs.unbroken(there).collect();
            let total = there.max(live.len() as u64);
            return Listing::new(live, total, Some(pages), true, Some(&store.jobs));
        }
        let local = store.jobs.len() as u64 >= there;
        if let Some(total) = pages.total.filter(|_| !local) {
            return Listing::new(Vec::new(), total, Some(pages), false, Some(&store.jobs));
        }
        let all = store.jobs.newest_first();
        let mut live: Vec<_> = all.filter(|job| self.read.matches(job)).collect();
        live.sort_by(|a, b| self.query.compare(a, b));
        let total = live.len() as u64;
        let mut listing = Listing::new(live, total, None, false, None);
        listing.searching = !local;
        listing
    }

    /// The chosen row.
    #[must_use]
    pub fn at(&self, listing: &Listing<'_>) -> u64 {
        let found = self.chosen.and_then(|id| listing.find(id));
        let place = || {
            if self.follow {
                0
            } else {
                listing.row_of(self.place)
            }
        };
        found
            .unwrap_or_else(place)
            .min(listing.total.saturating_sub(1))
    }

    /// The chosen job; none where there is none, or where it has not come yet.
    #[must_use]
    pub fn chosen<'a>(&'a self, store: &'a Store) -> Option<&'a JobView> {
        if let Some(id) = self.visiting {
            let whole = || self.whole(id).map(|whole| &whole.job);
            return store.jobs.get(&id).or_else(whole);
        }
        let known = self.chosen.and_then(|id| store.jobs.get(&id));
        if let Some(job) = known.filter(|_| self.frozen.is_none()) {
            return Some(job);
        }
        let listing = self.listing(store);
        let shown = listing.get(self.at(&listing));
        match self.chosen {
            None => shown,
            Some(id) => shown
                .filter(|job| job.id == id)
                .or_else(|| self.whole(id).map(|whole| &whole.job))
                .or_else(|| listing.find(id).and_then(|row| listing.get(row)))
                .or(known)
                .or(shown),
        }
    }

    /// Everything that is kept of a job, once it has come.
    #[must_use]
    pub fn whole(&self, id: RequestId) -> Option<&JobDetail> {
        self.whole.as_deref().filter(|whole| whole.job.id == id)
    }

    /// Chooses the row that `to` makes of the present one.
    pub fn go(&mut self, store: &Store, to: impl FnOnce(usize, usize) -> usize) {
        let listing = self.listing(store);
        let last = listing.total.saturating_sub(1);
        let here = usize::try_from(self.at(&listing)).unwrap_or(usize::MAX);
        let at = to(here, usize::try_from(last).unwrap_or(usize::MAX)) as u64;
        let at = at.min(last);
        let (place, chosen) = (listing.key(at), listing.get(at).map(|job| job.id));
        (self.place, self.chosen) = (place, chosen);
        self.follow = false;
    }

    /// Stays at the top, or no more.
    pub fn toggle_follow(&mut self, store: &Store) {
        let follow = !self.follow;
        self.frozen = None;
        self.go(store, |at, _| if follow { 0 } else { at });
        if follow {
            self.chosen = None;
        }
        self.follow = follow;
    }

    /// Holds the table still, or lets it go on.
    pub fn toggle_freeze(&mut self, store: &Store) {
        if self.frozen.take().is_some() {
            return;
        }
        let listing = self.listing(store);
        self.frozen = Some(Frozen {
            live: listing.live().cloned().collect(),
            total: listing.total,
        });
    }

    /// The next order.
    pub fn sort(&mut self) {
        self.query.sort = self.query.sort.next();
        self.anew();
    }

    /// This order; asked for again, the other way round.
    pub fn sort_by(&mut self, sort: Sort) {
        if self.query.sort == sort {
            return self.reverse();
        }
        self.query.sort = sort;
        self.query.ascending = false;
        self.anew();
    }

    /// The other way round.
    pub fn reverse(&mut self) {
        self.query.ascending = !self.query.ascending;
        self.anew();
    }

    /// The filter was changed: the table follows where it can be read.
    pub fn refilter(&mut self) {
        match Filter::parse(&self.filter) {
            Ok(read) => {
                self.trouble = None;
                if read != self.read {
                    self.read = read;
                    self.query.filter = self.filter.trim().to_owned();
                    self.anew();
                }
            }
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    /// No filter.
    pub fn unfilter(&mut self) {
        self.filter.clear();
        self.refilter();
    }

    /// Another list: its first row, and nothing of the old one.
    fn anew(&mut self) {
        self.frozen = None;
        self.pages = Pages::default();
        self.place = 0;
        self.chosen = None;
        self.follow = true;
        self.resting = false;
    }

    /// Opens the chosen job, which it then stays with while others come in above it.
    pub fn open(&mut self, store: &Store) {
        self.chosen = self.chosen(store).map(|job| job.id);
        self.detail = self.chosen.is_some();
        self.scroll = 0;
        self.raw = false;
    }

    /// Opens a job of the recovery desk. The table stays as it is.
    pub const fn visit(&mut self, id: RequestId) {
        self.visiting = Some(id);
        self.detail = true;
        self.scroll = 0;
        self.raw = false;
    }

    /// The job that was opened on the recovery desk.
    #[must_use]
    pub const fn visited(&self) -> Option<RequestId> {
        self.visiting
    }

    /// Closes the detail.
    pub fn close(&mut self) {
        self.detail = false;
        if self.visiting.take().is_some() {
            self.whole = None;
            return;
        }
        self.whole = None;
        if self.follow {
            self.chosen = None;
        }
    }

    /// Is a question open?
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.asked.is_some()
    }

    /// A key was pressed: what the engine could not answer may be asked again.
    pub const fn wake(&mut self) {
        self.resting = false;
    }

    /// A job has changed, so pages are older than the ledger.
    pub fn changed(&mut self, job: &JobView) {
        self.pages.stale = true;
        if self.frozen.is_none() {
            self.pages.put(job);
        }
    }

    /// What the order is called.
    #[must_use]
    pub fn order(&self) -> String {
        let way = match (self.query.sort, self.query.ascending) {
            (Sort::Time, false) => "newest first",
            (Sort::Time, true) => "oldest first",
            (Sort::Status, false) => "z to a",
            (Sort::Status, true) => "a to z",
            (_, false) => "most first",
            (_, true) => "least first",
        };
        format!("{}, {way}", self.query.sort.as_str())
    }
}

#[cfg(test)]
mod tests;
