//! Credit: how much a buyer owes, may come to owe, and when that is too much (SPEC section 5).
//!
//! The debt of a job is kept with it. It is set when the job is admitted, at the most the job may cost, and never grows from
//! there: what is priced, cancelled or left unpaid later is less. So a sum that is within the limits at each admission is
//! within them always.

use std::time::Duration;

use super::job::{Job, PayOrder, State};
use super::msat::Msat;
use super::time::Time;

/// How long what was left unpaid still counts.
const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);

/// What one job adds to its buyer's debt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debt {
    /// How much; zero where nothing is owed.
    pub amount: Msat,
    /// Until when it counts; none for as long as the job is open.
    pub until: Option<Time>,
}

impl Debt {
    /// Nothing is owed.
    pub const NONE: Self = Self {
        amount: Msat::ZERO,
        until: None,
    };

    fn open(amount: Msat) -> Self {
        Self {
            amount,
            until: None,
        }
    }

    /// What counts of it now.
    #[must_use]
    pub fn at(self, now: Time) -> Msat {
        match self.until {
            Some(until) if until <= now => Msat::ZERO,
            _ => self.amount,
        }
    }
}

/// Limits of credit, from the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For one buyer.
    pub each: Msat,
    /// For all buyers together.
    pub all: Msat,
}

impl Limits {
    /// May a job that costs `most` at the most be paid after it is done, where `mine` is owed by its buyer and `all` by all?
    #[must_use]
    pub fn allow(self, mine: Msat, all: Msat, most: Msat) -> bool {
        let within = |owed: Msat, limit: Msat| owed.0.saturating_add(most.0) <= limit.0;
        within(mine, self.each) && within(all, self.all)
    }
}

/// The most a job may cost: the price of all that its prompt can be and its answer may be, under the bid.
#[must_use]
pub fn most(job: &Job) -> Msat {
    let terms = &job.terms;
    let output = terms.params.max_tokens;
    terms
        .price
        .price_under(terms.input_tokens_most, output, terms.bid_msat)
}

/// What a new job adds to the debt.
#[must_use]
pub fn of_new(job: &Job) -> Debt {
    match job.terms.order {
        PayOrder::After => Debt::open(most(job)),
        PayOrder::Before | PayOrder::Hold | PayOrder::Free => Debt::NONE,
    }
}

/// What a job adds to the debt after a step, where the step itself says nothing of it.
#[must_use]
pub(super) fn after(before: &Job, job: &Job, now: Time) -> Debt {
    let entered = before.state != job.state;
    let after = job.terms.order == PayOrder::After;
    match job.state {
        State::Queued | State::Running | State::Inferred | State::Publishing if after => {
            Debt::open(job.price.unwrap_or_else(|| most(job)))
        }
        State::PendingPayment if after && before.state == State::Publishing => {
            Debt::open(job.price.unwrap_or_else(|| most(job)))
        }
        // Delivered after it was given up: it counts on, if it still did.
        State::PendingPayment if after && entered => Debt::open(job.debt.at(now)),
        State::PendingPayment if after => job.debt,
        // Undelivered, but its invoice can still be paid: a relay may have the result after all.
        State::Error if after && job.result_id.is_some() => {
            let expires = job.invoice.as_ref().and_then(|invoice| invoice.expires_at);
            Debt {
                amount: job.price.unwrap_or(Msat::ZERO),
                until: Some(expires.unwrap_or(now)),
            }
        }
        State::Unpaid if job.delivered && entered => left_unpaid(job, now),
        // As it was set when the job came there.
        State::Unpaid | State::Cancelled if job.paid.is_zero() => job.debt,
        _ => Debt::NONE,
    }
}

fn left_unpaid(job: &Job, now: Time) -> Debt {
    let expires = job.invoice.as_ref().and_then(|invoice| invoice.expires_at);
    let amount = match job.terms.order {
        PayOrder::After => job.debt.at(now),
        // It was held, and went back when the work was delivered.
        _ => job.price.unwrap_or(Msat::ZERO),
    };
    Debt {
        amount,
        until: Some(expires.unwrap_or(now).plus(REMEMBERED)),
    }
}

/// What a buyer owes for work that it took back: that of the answer, or of the `tokens` that had come by then. The prompt
/// counts as all the tokens it can have, as the server tells its own count only at the end.
#[must_use]
pub(super) fn taken_back(job: &Job, tokens: u32, now: Time) -> Debt {
    let worked = matches!(job.state, State::Running | State::Inferred);
    if !worked || !job.paid.is_zero() || job.terms.order == PayOrder::Free {
        return Debt::NONE;
    }
    let terms = &job.terms;
    let so_far = || {
        terms
            .price
            .price_under(terms.input_tokens_most, tokens, terms.bid_msat)
    };
    Debt {
        amount: job.price.unwrap_or_else(so_far).min(most(job)),
        until: Some(now.plus(REMEMBERED)),
    }
}

#[cfg(test)]
mod tests;
