//! The jobs a screen knows: all that are alive, and the latest of those that have ended.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::domain::id::RequestId;
use crate::domain::job::{JobView, Status};
use crate::domain::time::Time;

/// The most jobs that have ended; the live ones come on top (the queue's limit bounds those).
pub const JOBS_MAX: usize = 2_000;

/// How far an inference is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Tokens so far.
    pub tokens: u32,
    /// The most tokens it may have, where known.
    pub of: Option<u32>,
    /// Milliseconds since it started.
    pub elapsed_ms: u64,
}

impl Progress {
    /// How much of the most it may have is done, 0 to 1; none where that is not known.
    #[must_use]
    pub fn part(self) -> Option<f64> {
        let of = self.of.filter(|of| *of > 0)?;
        Some((f64::from(self.tokens) / f64::from(of)).min(1.0))
    }

    /// Tokens per second so far; 0 before the first millisecond.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // A speed on a screen needs no 53 bits.
    pub fn speed(self) -> f64 {
        if self.elapsed_ms == 0 {
            return 0.0;
        }
        f64::from(self.tokens) * 1_000.0 / self.elapsed_ms as f64
    }
}

/// The jobs by id, in the order of their admission.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    all: BTreeMap<RequestId, JobView>,
    order: BTreeSet<(Reverse<Time>, RequestId)>,
    ended: BTreeSet<(Time, RequestId)>,
    progress: BTreeMap<RequestId, Progress>,
    reach: Reach,
}

/// From when on every job is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reach {
    /// All that there are: none was forgotten or missed, and none had been told of before.
    #[default]
    All,
    /// Every job admitted after this.
    After(Time),
    /// Nothing is sure: events were missed.
    None,
}

impl Jobs {
    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Is none known?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: &RequestId) -> Option<&JobView> {
        self.all.get(id)
    }

    /// All of them, the latest admitted first.
    #[must_use]
    pub fn newest_first(&self) -> impl DoubleEndedIterator<Item = &JobView> {
        self.order.iter().filter_map(|(_, id)| self.all.get(id))
    }

    /// The latest admitted first, as far back as no job is missing. `there` are the jobs of the ledger.
    pub fn unbroken(&self, there: u64) -> impl Iterator<Item = &JobView> {
        let all = self.all.len() as u64 >= there || self.reach == Reach::All;
        self.newest_first().take_while(move |job| match self.reach {
            _ if all => true,
            Reach::After(at) => job.created_at > at,
            _ => false,
        })
    }

    /// Every job admitted after this is known.
    pub(super) fn reach_back_to(&mut self, at: Time) {
        self.reach = match self.reach {
            Reach::After(known) => Reach::After(known.min(at)),
            Reach::All | Reach::None => Reach::After(at),
        };
    }

    /// Jobs may have been missed.
    pub(super) const fn gap(&mut self) {
        self.reach = Reach::None;
    }

    /// How far a running job is.
    #[must_use]
    pub fn progress_of(&self, id: &RequestId) -> Option<Progress> {
        self.progress.get(id).copied()
    }

    /// How many progress figures are kept: at most one for each job at work.
    #[must_use]
    pub fn progresses(&self) -> usize {
        self.progress.len()
    }

    /// Takes in a job, unless a later word on it is known already.
    pub(super) fn put(&mut self, job: &JobView) {
        if let Some(old) = self.all.get(&job.id) {
            if old.updated_at > job.updated_at {
                return;
            }
            self.order.remove(&(Reverse(old.created_at), old.id));
            self.ended.remove(&(old.created_at, old.id));
        }
        self.order.insert((Reverse(job.created_at), job.id));
        if job.status != Status::Processing {
            self.progress.remove(&job.id);
        }
        if has_ended(job.status) {
            self.ended.insert((job.created_at, job.id));
        }
        self.all.insert(job.id, job.clone());
        while self.ended.len() > JOBS_MAX {
            self.forget_oldest();
        }
    }

    /// Takes in how far a job is. A job that isn't at work has none: the figure is late, or its job not yet told of.
    pub(super) fn progress(&mut self, id: RequestId, progress: Progress) {
        let at_work = |job: &JobView| job.status == Status::Processing;
        if !self.all.get(&id).is_some_and(at_work) {
            return;
        }
        self.progress.insert(id, progress);
    }

    fn forget_oldest(&mut self) {
        if let Some((created, id)) = self.ended.pop_first() {
            self.reach = match self.reach {
                Reach::All => Reach::After(created),
                Reach::After(at) => Reach::After(at.max(created)),
                Reach::None => Reach::None,
            };
            self.order.remove(&(Reverse(created), id));
            self.all.remove(&id);
            self.progress.remove(&id);
        }
    }
}

/// Nothing more happens to it, unless money turns up.
#[must_use]
pub const fn has_ended(status: Status) -> bool {
    matches!(
        status,
        Status::Paid | Status::Completed | Status::Unpaid | Status::Error | Status::Cancelled
    )
}
