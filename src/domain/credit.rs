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
    terms.price_of(terms.input_tokens_most, output)
}

/// What is asked before the work: the price of what the job is likely to use, under the bid.
#[must_use]
pub fn likely(job: &Job) -> Msat {
    let terms = &job.terms;
    let input = match terms.input_tokens_likely {
        0 => terms.input_tokens_most,
        likely => likely.min(terms.input_tokens_most),
    };
    terms.price_of(input, terms.params.max_tokens)
}

/// The most that a job may come to owe: its balance pays for the rest.
#[must_use]
pub fn reserved(job: &Job) -> Msat {
    most(job).saturating_sub(job.balance_used)
}

/// What is due for a job beside what its balance pays.
fn due(job: &Job) -> Msat {
    job.price.map_or_else(
        || reserved(job),
        |price| price.saturating_sub(job.balance_used),
    )
}

/// What a new job adds to the debt.
#[must_use]
pub fn of_new(job: &Job) -> Debt {
    match job.terms.order {
        PayOrder::After => Debt::open(reserved(job)),
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
            Debt::open(due(job))
        }
        State::PendingPayment if after && before.state == State::Publishing => Debt::open(due(job)),
        // Delivered after it was given up: it counts on, if it still did.
        State::PendingPayment if after && entered => Debt::open(job.debt.at(now)),
        State::PendingPayment if after => job.debt,
        // Undelivered, but its invoice can still be paid: a relay may have the result after all.
        State::Error if after && job.result_id.is_some() => {
            let expires = job.invoice.as_ref().and_then(|invoice| invoice.expires_at);
            Debt {
                amount: job.price.map_or(Msat::ZERO, |_| due(before)),
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
        _ => job.price.map_or(Msat::ZERO, |_| due(job)),
    };
    Debt {
        amount,
        until: Some(expires.unwrap_or(now).plus(REMEMBERED)),
    }
}

/// What work costs that a buyer took back: that of the answer, or of the `tokens` that had come by then. The prompt counts as
/// all the tokens it can have, as the server tells its own count only at the end. What the job has set apart of the balance
/// pays for it first; the second is what the buyer owes beyond that.
#[must_use]
pub(super) fn taken_back(job: &Job, tokens: u32, now: Time) -> (Msat, Debt) {
    let worked = matches!(job.state, State::Running | State::Inferred);
    if !worked || !job.paid.is_zero() || job.terms.order == PayOrder::Free {
        return (Msat::ZERO, Debt::NONE);
    }
    let terms = &job.terms;
    let so_far = || terms.price_of(terms.input_tokens_most, tokens);
    let cost = match job.terms.order {
        PayOrder::After => job.price.unwrap_or_else(so_far),
        // Paid first: what is asked is a bound, and not yet the price.
        _ => so_far().min(job.price.unwrap_or(Msat::MAX)),
    };
    let cost = cost.min(most(job));
    let used = cost.min(job.balance_used);
    let debt = match job.terms.order {
        // All of it was paid before it began.
        PayOrder::Before => Debt::NONE,
        _ => Debt {
            amount: cost.saturating_sub(used),
            until: Some(now.plus(REMEMBERED)),
        },
    };
    (used, debt)
}

#[cfg(test)]
mod tests;
