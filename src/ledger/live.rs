//! The live set: the jobs on which something is at work, in memory. It is read once, when the ledger is opened for writing,
//! and changed only by the writer's thread after the change is committed, in the order of the commits. So a step takes its
//! job from here, and no worker asks SQLite what there is to do.
//!
//! A job that only waits for its buyer's money is not here: there may be very many of those, and nothing is done for one
//! until its invoice is looked at.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use nostr::EventId;
use rusqlite::Connection;

use super::questions::Question;
use super::shift::LONGEST_WAIT_MS;
use super::waiting::Waiting;
use super::{LedgerError, queue as moved, rows};
use crate::domain::id::{BootId, RequestId};
use crate::domain::job::{InvoiceState, Job, State};
use crate::domain::queue::{self, Move};
use crate::domain::time::Time;

/// Jobs whose invoice is asked for in one round.
const INVOICES_AT_ONCE: usize = 64;

const AT_WORK: &str = "WHERE j.state IN ('queued', 'quoting', 'running', 'inferred', 'publishing')
  AND j.state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled')";
const HELD: &str = "WHERE i.state <> 'paid' AND i.state IN ('held', 'taking', 'giving_back')";
const AWAITING: &str = "SELECT created_at, id FROM jobs WHERE state = 'awaiting_payment'
  AND state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled')";

/// Is something at work on this job?
fn at_work(job: &Job) -> bool {
    matches!(
        job.state,
        State::Queued | State::Quoting | State::Running | State::Inferred | State::Publishing
    ) || holds(job)
}

/// Is a payment held for it, or to be taken or given back?
fn holds(job: &Job) -> bool {
    let state = job.invoice.as_ref().map(|invoice| invoice.state);
    matches!(
        state,
        Some(InvoiceState::Held | InvoiceState::Taking | InvoiceState::GivingBack)
    )
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Live {
    jobs: HashMap<RequestId, Arc<Job>>,
    /// Jobs that wait for a payment before their work, by their age: their buyers can cancel them.
    awaiting: BTreeSet<(Time, RequestId)>,
    /// Questions for an invoice that are written and not asked yet.
    pub(super) questions: HashMap<RequestId, Question>,
    /// What is due at the relays.
    pub(super) outbox: Waiting,
    /// What the seller moved in the queue.
    pub(super) moves: Vec<Move>,
}

/// The one live set of an open ledger.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Live>>);

impl Shared {
    /// Reads it from the ledger.
    pub(super) fn read(connection: &Connection) -> Result<Self, LedgerError> {
        let shared = Self::default();
        let moves = moved::moves(connection)?;
        shared.with(|live| live.moves = moves);
        for rest in [AT_WORK, HELD] {
            for job in rows::all(connection, rest, [])? {
                shared.with(|live| live.put(&job));
            }
        }
        let mut statement = connection.prepare(AWAITING)?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let id = RequestId(rows::event_id(&row.get::<_, Vec<u8>>(1)?)?);
            let at = Time(row.get(0)?);
            shared.with(|live| live.awaiting.insert((at, id)));
        }
        Ok(shared)
    }

    /// Looks at it, or changes it. Held for moments only.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Live) -> T) -> T {
        // Every change leaves it whole, so a holder that panicked has broken nothing.
        let mut live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut live)
    }
}

impl Live {
    /// A job as it was just committed.
    pub(super) fn put(&mut self, job: &Job) {
        if at_work(job) {
            self.jobs.insert(job.id, Arc::new(job.clone()));
        } else {
            self.jobs.remove(&job.id);
        }
        let place = (job.created_at, job.id);
        if job.state == State::AwaitingPayment {
            self.awaiting.insert(place);
        } else {
            self.awaiting.remove(&place);
        }
    }

    /// The texts of a job were erased, which is a change of it.
    pub(super) fn erased(&mut self, id: &RequestId) {
        if let Some(job) = self.jobs.get_mut(id) {
            let job = Arc::make_mut(job);
            job.has_texts = false;
            job.rev += 1;
        }
    }

    /// The wall clock was set by `ms` and shows `now`: what the ledger's shift says, of what is here.
    pub(super) fn shift(&mut self, ms: i64, now: Time) {
        let moved = |at: &mut Time| at.0 = at.0.saturating_add(ms);
        for job in self.jobs.values_mut() {
            let job = Arc::make_mut(job);
            if !job.state.is_final() {
                job.next_at.iter_mut().for_each(moved);
                job.next_at = job.next_at.map(|at| at.max(Time(0)));
            }
            // By the clock as it was, what still counts goes on to count for as long.
            if let Some(until) = &mut job.debt.until
                && !job.debt.amount.is_zero()
                && until.0 > now.0.saturating_sub(ms)
            {
                moved(until);
                *until = (*until).max(Time(0));
            }
            let held = holds(job);
            let Some(invoice) = &mut job.invoice else {
                continue;
            };
            if held {
                invoice.hold_until.iter_mut().for_each(moved);
            }
            let open = matches!(
                invoice.state,
                InvoiceState::Open | InvoiceState::Expired | InvoiceState::GivenBack
            );
            if ms <= 0 && open && invoice.expires_at.is_some_and(|at| at > now) {
                invoice.late_polls = 0;
            }
        }
    }

    /// A job, where something is at work on it.
    pub(super) fn get(&self, id: &RequestId) -> Option<Arc<Job>> {
        self.jobs.get(id).cloned()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Job> {
        self.jobs.values().map(|job| (**job).clone()).collect()
    }

    /// What their buyers can still cancel, the oldest first; of those that wait for a payment the newest `most`.
    pub(super) fn cancellable(&self, most: usize) -> Vec<EventId> {
        let newest = self.awaiting.iter().rev().take(most);
        let mut all: BTreeSet<(Time, RequestId)> = newest.copied().collect();
        all.extend(self.jobs.values().map(|job| (job.created_at, job.id)));
        all.into_iter().map(|(_, id)| id.0).collect()
    }

    /// Queued jobs that may start now, in the queue's order (`domain::queue`).
    pub(super) fn queue(&self, now: Time, limit: usize) -> Vec<Job> {
        let due = |job: &&Arc<Job>| job.state == State::Queued && is_due(job, now);
        let mut queued: Vec<Arc<Job>> = self.jobs.values().filter(due).cloned().collect();
        queue::sort(&mut queued, &self.moves);
        queued.truncate(limit);
        queued.into_iter().map(|job| (*job).clone()).collect()
    }

    /// Jobs for which the wallet is to be asked for an invoice now, the oldest first.
    pub(super) fn wanting_invoice(&self, now: Time) -> Vec<Job> {
        let wants = |job: &&Arc<Job>| {
            matches!(job.state, State::Inferred | State::Quoting) && is_due(job, now)
        };
        let mut wanting: Vec<&Arc<Job>> = self.jobs.values().filter(wants).collect();
        wanting.sort_by_key(|job| (job.created_at, job.id));
        wanting.truncate(INVOICES_AT_ONCE);
        wanting.into_iter().map(|job| (**job).clone()).collect()
    }

    /// The moment at which the next waiting job of these states may be tried.
    pub(super) fn next_due(&self, states: [State; 2]) -> Option<Time> {
        let of_them = self.jobs.values().filter(|job| states.contains(&job.state));
        of_them.filter_map(|job| job.next_at).min()
    }

    /// Jobs for which a payment is held, or that wait for the wallet to take one or to give one back.
    pub(super) fn holds(&self) -> Vec<Job> {
        let mut held: Vec<&Arc<Job>> = self.jobs.values().filter(|job| holds(job)).collect();
        held.sort_by_key(|job| (job.invoice.as_ref().and_then(|one| one.hold_until), job.id));
        held.into_iter().map(|job| (**job).clone()).collect()
    }

    /// Jobs that another run of the program left in the middle of inference.
    pub(super) fn orphans(&self, boot: BootId) -> Vec<Job> {
        let orphan = |job: &&Arc<Job>| job.state == State::Running && job.boot != Some(boot);
        let found = self.jobs.values().filter(orphan);
        found.map(|job| (**job).clone()).collect()
    }

    /// Numbers of waiting and of running jobs.
    pub(super) fn counts(&self) -> (u32, u32) {
        let count = |state: State| {
            let of = self.jobs.values().filter(|job| job.state == state);
            u32::try_from(of.count()).unwrap_or(u32::MAX)
        };
        (count(State::Queued), count(State::Running))
    }
}

fn is_due(job: &Job, now: Time) -> bool {
    // One that is further ahead than any wait was written under another clock.
    let ahead = now.0.saturating_add(LONGEST_WAIT_MS);
    job.next_at.is_none_or(|at| at <= now || at.0 > ahead)
}

#[cfg(test)]
mod tests;
