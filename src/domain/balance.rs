//! What a buyer has left with us (SPEC section 5): what it paid above the real price of its jobs. Kept per buyer, and used by
//! its next jobs before anything is asked of it.
//!
//! A job sets apart what it may use of the balance when it is admitted, in the transaction that writes it, so that two jobs
//! never use the same sats. What it does not use goes back when its price is known or when it ends without a result. All of it
//! follows from the job alone: at every moment a buyer's balance is the sum of [`standing`] over its jobs.

use super::job::{Job, PayOrder, State};
use super::msat::Msat;

/// Wallets that count in sats can't be asked for less.
const MSAT_PER_SAT: u64 = 1_000;

/// What of a balance a job that costs `cost` at the most can use: whole sats, so that what is left to ask is whole sats too.
#[must_use]
pub fn usable(balance: Msat, cost: Msat) -> Msat {
    Msat(balance.0 - balance.0 % MSAT_PER_SAT).min(cost)
}

/// The most a job can be charged: what is set apart for it, and what was paid for it, or is held.
#[must_use]
pub fn covered(job: &Job) -> Msat {
    let invoice = job.invoice.as_ref();
    let paid = match job.terms.order {
        _ if !job.paid.is_zero() => job.paid,
        PayOrder::Hold => invoice.map_or(Msat::ZERO, |invoice| invoice.amount),
        _ => Msat::ZERO,
    };
    job.balance_used.saturating_add(paid)
}

/// What is left of a payment of `paid` once the job has its price: what the balance did not cover is taken from it.
#[must_use]
pub fn left_of(job: &Job, paid: Msat) -> Msat {
    let price = job.price.unwrap_or(Msat::ZERO);
    paid.saturating_sub(price.saturating_sub(job.balance_used.min(price)))
}

/// What a job, as it stands, has added to its buyer's balance (above zero) or holds of it (below), msat.
#[must_use]
pub fn standing(job: &Job) -> i64 {
    signed(job.left) - signed(job.balance_used)
}

/// A balance of `now` after a step, where `left` of the job's payment is added to it, or will be once a held payment is taken.
#[must_use]
pub fn then(now: Msat, before: &Job, after: &Job, left: Msat) -> Msat {
    let returned = before.balance_used.saturating_sub(after.balance_used);
    now.saturating_add(returned).saturating_add(left)
}

fn signed(amount: Msat) -> i64 {
    // All the money there is has fewer bits than that.
    i64::try_from(amount.0).unwrap_or(i64::MAX)
}

/// Settles a job's share of the balance after a step.
pub(super) fn settle(job: &mut Job) {
    if job.delivered {
        let price = job.price.unwrap_or(Msat::ZERO);
        job.balance_used = job.balance_used.min(price);
        let is_kept = !job.paid.is_zero() && job.owed.is_zero();
        job.left = if is_kept {
            left_of(job, job.paid)
        } else {
            Msat::ZERO
        };
        return;
    }
    job.left = Msat::ZERO;
    // What a buyer took back has its own rule, where it is cancelled.
    if matches!(job.state, State::Error | State::Unpaid) {
        job.balance_used = Msat::ZERO;
    }
}

#[cfg(test)]
mod tests;
