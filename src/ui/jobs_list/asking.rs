//! What the table asks of the engine, one question at a time, and what it does with the answers.

use super::{JobsList, acts};
use crate::domain::command::{Command, Reply};
use crate::domain::id::RequestId;
use crate::domain::query::{Filter, JobsQuery, PAGE_MAX};
use crate::store::Store;

/// What the engine was asked and has not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Page(JobsQuery),
    Job(RequestId),
}

impl JobsList {
    /// The event of this job, to be copied; none where it is not known yet: then it comes with the engine's answer.
    ///
    /// # Errors
    /// Where there is no such event any more; the sentence says so.
    pub fn event_of(&mut self, id: RequestId) -> Result<Option<String>, String> {
        if let Some(whole) = self.whole(id) {
            return acts::event(whole).map(Some);
        }
        self.copy_event = Some(id);
        Ok(None)
    }

    /// The next question for the engine, where `height` rows are shown. None while one is open.
    pub fn question(&mut self, store: &Store, height: usize) -> Option<Command> {
        if self.asked.is_some() || self.resting {
            return None;
        }
        let shown = self.visiting.or(self.chosen.filter(|_| self.detail));
        let shown = shown.or_else(|| {
            let beside = self.beside.then(|| self.chosen(store));
            beside.flatten().map(|job| job.id)
        });
        let wanted = self.copy_event.or(shown);
        let known = |id: RequestId| {
            let live = store.jobs.get(&id).map(|job| job.updated_at);
            let whole = self.whole(id).map(|whole| whole.job.updated_at);
            whole.is_some_and(|whole| live.is_none_or(|live| live <= whole))
        };
        if let Some(id) = wanted.filter(|id| !known(*id)) {
            self.asked = Some(Asked::Job(id));
            return Some(Command::Job { id });
        }
        let offset = self.missing(store, height)?;
        self.asked = Some(Asked::Page(self.query.clone()));
        Some(Command::Jobs {
            query: self.query.clone(),
            offset,
            limit: PAGE_MAX,
        })
    }

    /// Where the page begins that is to be asked for.
    fn missing(&self, store: &Store, height: usize) -> Option<u64> {
        if self.detail {
            return None;
        }
        let listing = self.listing(store);
        let at = self.at(&listing);
        let height = height as u64;
        let first = listing.first_row(at, height);
        let half = u64::from(PAGE_MAX) / 2;
        if listing.searching {
            return Some(0);
        }
        if listing.is_paged()
            && self.pages.is_old(store.now)
            && self.frozen.is_none()
            && !self.query.is_plain()
        {
            return Some(at.saturating_sub(half));
        }
        // A screen more on both sides, so that the next page is there when it is scrolled to.
        let near = first.saturating_sub(height)..(first + 2 * height).min(listing.total);
        let gap = near.clone().find(|row| listing.get(*row).is_none())?;
        // Scrolling up, the gap begins above: the page then ends with what is shown.
        let begin = if gap < first {
            (first + height).saturating_sub(u64::from(PAGE_MAX))
        } else {
            gap
        };
        let begin = begin.max(listing.live_rows());
        // A table that is held still counts its rows from a time when there were fewer jobs.
        let come = match (&self.frozen, self.query.is_plain()) {
            (Some(frozen), true) => store.totals.jobs.saturating_sub(frozen.total),
            _ => 0,
        };
        Some(begin + come)
    }

    /// Takes in the engine's answer; gives a text to copy where one was waited for.
    ///
    /// # Errors
    /// Where the engine could not tell of a job, or what was to be copied is not there.
    pub fn answered(&mut self, store: &Store, reply: Reply) -> Result<Option<String>, String> {
        let asked = self.asked.take();
        match (reply, asked) {
            (
                Reply::Jobs {
                    query,
                    total,
                    offset,
                    jobs,
                },
                Some(Asked::Page(of)),
            ) if of == query => {
                // A late answer to another list than the one that is shown by now is dropped.
                if query == self.query {
                    self.trouble = self
                        .trouble
                        .take()
                        .filter(|_| Filter::parse(&self.filter).is_err());
                    self.pages.take(&query, total, offset, jobs, store.now);
                }
                Ok(None)
            }
            (Reply::Job { detail }, Some(Asked::Job(id))) if detail.job.id == id => {
                let copy = self.copy_event.take_if(|wanted| *wanted == id);
                let text = copy.map(|_| acts::event(&detail));
                self.whole = Some(detail);
                text.transpose()
            }
            (Reply::Refused { detail }, asked) => {
                self.resting = true;
                self.copy_event = None;
                match asked {
                    // The list stays as it is; the reason is shown above it.
                    Some(Asked::Page(_)) => self.trouble = Some(detail),
                    _ => return Err(detail),
                }
                Ok(None)
            }
            // An answer to nothing that was asked.
            _ => {
                self.resting = true;
                Ok(None)
            }
        }
    }
}
