//! The waiting jobs in their order, and why each stands where it stands.
//!
//! First those that pay to go first, then those that are paid, then the higher bid, then age. The seller may move one before
//! another; that holds for as long as both wait.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::id::{Buyer, RequestId};
use super::job::{Job, PayOrder};
use super::msat::Msat;
use super::text::clean;
use super::time::Time;

/// The most waiting jobs that are told at once, and the most running ones.
pub const TOLD_MAX: usize = 1_000;

/// The seller's word: this job stands directly before that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The job that was moved.
    pub job: RequestId,
    /// The one behind it.
    pub before: RequestId,
}

/// Brings queued jobs into their order.
pub fn sort<T: Deref<Target = Job>>(jobs: &mut Vec<T>, moves: &[Move]) {
    jobs.sort_by_key(|job| {
        let first = job.terms.priority_percent > 0;
        let bid = job.terms.bid_msat.unwrap_or(Msat::ZERO);
        (
            !first,
            !is_paid(job),
            std::cmp::Reverse(bid),
            job.created_at,
            job.id,
        )
    });
    for one in moves {
        let at = |jobs: &[T], id: RequestId| jobs.iter().position(|job| job.id == id);
        let (Some(from), Some(_)) = (at(jobs, one.job), at(jobs, one.before)) else {
            continue;
        };
        let job = jobs.remove(from);
        let to = at(jobs, one.before).unwrap_or(from);
        jobs.insert(to, job);
    }
}

/// Paid, by an invoice or out of a balance: one that is paid first would not be queued else.
fn is_paid(job: &Job) -> bool {
    !job.paid.is_zero() || matches!(job.terms.order, PayOrder::Before | PayOrder::Hold)
}

/// What moves a job one place up or down in this order; none at the end of it, or where it does not wait.
#[must_use]
pub fn moved<T: Deref<Target = Job>>(order: &[T], id: RequestId, up: bool) -> Option<Move> {
    let at = order.iter().position(|job| job.id == id)?;
    let other = if up { at.checked_sub(1)? } else { at + 1 };
    let other = order.get(other)?.id;
    let (job, before) = if up { (id, other) } else { (other, id) };
    Some(Move { job, before })
}

/// The queue as it is told: `vend queue --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Jobs at work.
    pub running: Vec<Queued>,
    /// Jobs that wait, the next one first.
    pub waiting: Vec<Waiting>,
}

/// A job of the queue, at work or waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// The request's event id.
    pub id: RequestId,
    /// Who asked.
    pub buyer: Buyer,
    /// The model that is to answer.
    pub model: String,
    /// The offer that it is for.
    pub offer: Option<String>,
    /// The buyer's ceiling.
    pub bid_msat: Option<Msat>,
    /// Does it pay to go first?
    pub priority: bool,
    /// When it came.
    pub since: Time,
}

/// A job that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Which, and whose.
    #[serde(flatten)]
    pub job: Queued,
    /// Its place, 1 is next.
    pub position: usize,
    /// Why it stands there, in plain words.
    pub why: String,
}

impl Queued {
    fn of(job: &Job) -> Self {
        Self {
            id: job.id,
            buyer: job.buyer,
            model: clean(&job.terms.model, 200),
            offer: job.terms.offer.clone(),
            bid_msat: job.terms.bid_msat,
            priority: job.terms.priority_percent > 0,
            since: job.created_at,
        }
    }
}

impl Queue {
    /// Of jobs at work, and of waiting ones in their order; `per_buyer`: so many of one buyer run at once.
    #[must_use]
    pub fn of(running: &[Job], order: &[Job], moves: &[Move], per_buyer: u32, now: Time) -> Self {
        let mut of_buyer: HashMap<Buyer, u32> = HashMap::new();
        for job in running {
            *of_buyer.entry(job.buyer).or_default() += 1;
        }
        let here: HashSet<RequestId> = order.iter().map(|job| job.id).collect();
        let is_moved = |id: RequestId| {
            let mut all = moves.iter();
            all.any(|one| one.job == id && here.contains(&one.before))
        };
        let running = running.iter().take(TOLD_MAX).map(Queued::of);
        let waiting = order.iter().take(TOLD_MAX).zip(1..).map(|(job, position)| {
            let at_work = of_buyer.get(&job.buyer).copied().unwrap_or(0);
            Waiting {
                job: Queued::of(job),
                position,
                why: why(job, is_moved(job.id), at_work, per_buyer, now),
            }
        });
        Self {
            running: running.collect(),
            waiting: waiting.collect(),
        }
    }
}

fn why(job: &Job, is_moved: bool, at_work: u32, per_buyer: u32, now: Time) -> String {
    let stands = if is_moved {
        "the seller moved it".to_owned()
    } else if job.terms.priority_percent > 0 {
        format!("pays {} % more to go first", job.terms.priority_percent)
    } else if is_paid(job) {
        "is paid already".to_owned()
    } else if let Some(bid) = job.terms.bid_msat {
        format!("bids {}", bid.display())
    } else {
        "by its age".to_owned()
    };
    if let Some(at) = job.next_at.filter(|at| *at > now) {
        return format!("{stands}; not before {at}, as its last try failed");
    }
    if at_work >= per_buyer {
        return format!("{stands}; {at_work} of its buyer's jobs run already");
    }
    if job.runs_alone() {
        return format!("{stands}; runs alone, as its runs were cut off before");
    }
    stands
}

#[cfg(test)]
mod tests {
    use nostr::EventId;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::transition;

    fn job(n: u8) -> Box<Job> {
        let mut job = transition::tests::job(PayOrder::After);
        job.id = RequestId(EventId::from_byte_array([n; 32]));
        Box::new(job)
    }

    fn ids(jobs: &[Box<Job>]) -> Vec<u8> {
        jobs.iter().map(|job| job.id.0.as_bytes()[0]).collect()
    }

    #[test]
    fn a_job_moves_one_place_and_says_so() {
        let mut jobs: Vec<Box<Job>> = (1..=4).map(job).collect();
        let id = |n: u8| RequestId(EventId::from_byte_array([n; 32]));
        let mut moves = vec![moved(&jobs, id(3), true).unwrap()];
        sort(&mut jobs, &moves);
        assert_eq!(ids(&jobs), [1, 3, 2, 4]);
        moves.push(moved(&jobs, id(1), false).unwrap());
        sort(&mut jobs, &moves);
        assert_eq!(ids(&jobs), [3, 1, 2, 4]);
        assert_eq!(moved(&jobs, id(3), true), None, "it is the first");
        assert_eq!(moved(&jobs, id(4), false), None, "it is the last");
        assert_eq!(moved(&jobs, id(9), true), None, "it does not wait");
        let order: Vec<Job> = jobs.iter().map(|job| (**job).clone()).collect();
        let told = Queue::of(&[], &order, &moves, 2, Time(0));
        assert_eq!(told.waiting[0].why, "the seller moved it");
        assert_eq!(
            (told.waiting[3].position, told.waiting[3].why.as_str()),
            (4, "by its age")
        );
    }

    #[test]
    fn each_says_why_it_stands_where_it_stands() {
        let mut jobs: Vec<Box<Job>> = (1..=4).map(job).collect();
        jobs[0].next_at = Some(Time(5_000));
        jobs[1].terms.bid_msat = Some(Msat::from_sats(9));
        jobs[2].terms.order = PayOrder::Before;
        jobs[3].terms.priority_percent = 25;
        let running = vec![(*jobs[1]).clone()];
        sort(&mut jobs, &[]);
        let order: Vec<Job> = jobs.iter().map(|job| (**job).clone()).collect();
        let told = Queue::of(&running, &order, &[], 1, Time(0));
        let whys: Vec<&str> = told.waiting.iter().map(|one| one.why.as_str()).collect();
        assert_eq!(whys[0], "pays 25 % more to go first");
        assert_eq!(whys[1], "is paid already");
        assert_eq!(whys[2], "bids 9 sats; 1 of its buyer's jobs run already");
        assert!(whys[3].starts_with("by its age; not before "), "{whys:?}");
        assert_eq!(told.running.len(), 1);
    }

    proptest! {
        #[test]
        fn moves_lose_and_double_nothing(all in prop::collection::vec((1_u8..9, any::<bool>()), 0..40)) {
            let mut jobs: Vec<Box<Job>> = (1..=6).map(job).collect();
            let mut moves = Vec::new();
            for (n, up) in all {
                let id = RequestId(EventId::from_byte_array([n; 32]));
                let before = ids(&jobs);
                let Some(one) = moved(&jobs, id, up) else { continue };
                moves.push(one);
                sort(&mut jobs, &moves);
                let at = |order: &[u8]| order.iter().position(|one| *one == n).unwrap();
                let (was, is) = (at(&before), at(&ids(&jobs)));
                prop_assert_eq!(is + usize::from(up), was + usize::from(!up), "one place");
                let mut there = ids(&jobs);
                there.sort_unstable();
                prop_assert_eq!(there, [1, 2, 3, 4, 5, 6]);
            }
        }
    }
}
