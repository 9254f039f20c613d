//! What a look at the wallet says about a job. Nothing else does: a push is a hint to look, an error is no answer.

use std::fmt::Display;

use super::hold;
use super::id::Preimage;
use super::invoice::{self, Verdict};
use super::job::{Invoice, InvoiceState, Job, PayOrder};
use super::msat::Msat;
use super::text::clean;
use super::time::Time;
use super::transition::JobEvent;

/// What a look at the wallet saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentStatus {
    /// Not paid yet.
    Pending,
    /// A hold invoice whose payment has come and waits to be settled: not ours yet, and the payer may get it back.
    Held {
        /// What waits; none where the wallet does not say.
        amount: Option<Msat>,
    },
    /// The money is here.
    Paid {
        /// What arrived; none where the wallet does not say.
        amount: Option<Msat>,
        /// When, where the wallet says.
        at: Option<Time>,
        /// The proof, where the wallet gives it.
        preimage: Option<Preimage>,
        /// What the wallet took for it.
        fee: Option<Msat>,
    },
    /// The wallet says it can't be paid any more.
    Expired,
    /// It was canceled: it can't be paid any more, and what was held went back.
    Canceled,
    /// The wallet does not know it. Never taken as "unpaid" by itself.
    Unknown,
    /// Something that needs a person; never taken as "unpaid".
    Attention(String),
}

/// The look itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// When it began.
    pub began: Time,
    /// The same moment by the invoice's own clock: what its age is counted by.
    pub invoice_time: Time,
    /// The beginning of the last look that showed nothing paid or held: what is held now can't have come before.
    pub unheld_at: Option<Time>,
    /// Was the wallet told just before to cancel, and did it say yes?
    pub canceled: bool,
}

impl Poll {
    /// A look that began now, of which nothing else is known.
    #[must_use]
    pub const fn at(began: Time) -> Self {
        Self {
            began,
            invoice_time: began,
            unheld_at: None,
            canceled: false,
        }
    }
}

/// What follows from a look.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// Nothing new.
    Nothing,
    /// A step of the job.
    Transition(JobEvent),
    /// Worth a word to the operator.
    Note(String),
    /// Needs a person.
    Alarm(String),
}

use Finding::{Alarm, Note, Nothing, Transition};

/// Weighs what a look saw, or why the wallet gave no answer: that never changes anything, whatever the time.
#[must_use]
pub fn assess(job: &Job, seen: Result<PaymentStatus, impl Display>, look: &Poll) -> Finding {
    let Some(invoice) = &job.invoice else {
        return Nothing;
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => return Note(clean(&error.to_string(), 200)),
    };
    match (invoice.state, seen) {
        (InvoiceState::Intent | InvoiceState::Paid, _) => Nothing,
        (
            _,
            PaymentStatus::Paid {
                amount,
                at,
                preimage,
                ..
            },
        ) => paid(invoice, amount, at.unwrap_or(look.began), preimage.as_ref()),
        (_, PaymentStatus::Attention(words)) => Alarm(clean(&words, 200)),
        (InvoiceState::Open | InvoiceState::Expired | InvoiceState::GivenBack, seen) => {
            open(job, invoice, &seen, look)
        }
        (InvoiceState::Held, seen) => held(invoice, &seen),
        (InvoiceState::Taking, seen) => taking(invoice, &seen, look),
        (InvoiceState::GivingBack, seen) => giving_back(invoice, &seen, look),
    }
}

fn paid(invoice: &Invoice, amount: Option<Msat>, at: Time, preimage: Option<&Preimage>) -> Finding {
    let Some(hash) = &invoice.payment_hash else {
        return Nothing;
    };
    match invoice::judge(hash, invoice.amount, amount, preimage) {
        Verdict::Paid { amount, .. } => Transition(JobEvent::Paid { amount, at }),
        Verdict::Attention(words) => Alarm(words),
    }
}

fn open(job: &Job, invoice: &Invoice, seen: &PaymentStatus, look: &Poll) -> Finding {
    if let (PayOrder::Hold, PaymentStatus::Held { amount }) = (job.terms.order, seen) {
        return payment_came(job, invoice, *amount, look);
    }
    let over = invoice.expires_at.is_some_and(|at| look.invoice_time >= at);
    let unknown = *seen == PaymentStatus::Unknown;
    if over {
        return Transition(JobEvent::NotPaid {
            unknown,
            began: look.invoice_time,
        });
    }
    if unknown {
        return does_not_know();
    }
    let is_hold = job.terms.order == PayOrder::Hold && invoice.state == InvoiceState::Open;
    if is_hold && *seen == PaymentStatus::Canceled {
        // Whoever did it: another run of the program, of which this ledger knows nothing, or the node's owner.
        return not_held(invoice, false);
    }
    // A payment that an ordinary invoice holds is on its way, no more.
    Nothing
}

fn does_not_know() -> Finding {
    Note("the wallet does not know its invoice".to_owned())
}

fn payment_came(job: &Job, invoice: &Invoice, amount: Option<Msat>, look: &Poll) -> Finding {
    if let Some(less) = amount.filter(|amount| *amount < invoice.amount) {
        let words = format!(
            "the wallet holds only {} of {}",
            less.display(),
            invoice.amount.display()
        );
        return Alarm(words);
    }
    let delta = invoice.bolt11.as_deref().map(hold::delta);
    let (Some(Ok(delta)), Some(made_at)) = (delta, invoice.made_at) else {
        return Alarm("a payment is held for an invoice that can't be read".to_owned());
    };
    // It can't have come after this look, whatever a wallet's clock, or ours before it was set back, said.
    // When it was made, by our clock.
    let made_at = look.began.minus(look.invoice_time.since(made_at));
    let since = look.unheld_at.unwrap_or(made_at).max(made_at);
    let since = since.min(look.began);
    Transition(JobEvent::Held {
        amount,
        until: hold::until(delta, job, since),
    })
}

fn not_held(invoice: &Invoice, unknown: bool) -> Finding {
    Transition(JobEvent::NotHeld {
        was: invoice.state,
        unknown,
    })
}

fn held(invoice: &Invoice, seen: &PaymentStatus) -> Finding {
    match seen {
        PaymentStatus::Expired | PaymentStatus::Canceled => not_held(invoice, false),
        PaymentStatus::Unknown => does_not_know(),
        _ => Nothing,
    }
}

/// Is all the time over in which the payment could still be held?
fn is_over(invoice: &Invoice, look: &Poll) -> bool {
    let end = invoice.hold_until.max(invoice.expires_at);
    end.is_some_and(|end| look.began > end)
}

/// To be settled. A wallet that says "expired" may mean the clock alone, so that is believed only when all time is over.
fn taking(invoice: &Invoice, seen: &PaymentStatus, look: &Poll) -> Finding {
    match seen {
        PaymentStatus::Canceled => not_held(invoice, false),
        PaymentStatus::Expired if is_over(invoice, look) => not_held(invoice, false),
        PaymentStatus::Unknown if is_over(invoice, look) => not_held(invoice, true),
        PaymentStatus::Unknown => does_not_know(),
        _ => Nothing,
    }
}

/// To be canceled. A wallet may forget what it canceled, or go on calling it expired.
fn giving_back(invoice: &Invoice, seen: &PaymentStatus, look: &Poll) -> Finding {
    let sure = look.canceled || is_over(invoice, look);
    match seen {
        PaymentStatus::Canceled => not_held(invoice, false),
        PaymentStatus::Expired if sure => not_held(invoice, false),
        PaymentStatus::Unknown if look.canceled => not_held(invoice, false),
        PaymentStatus::Unknown if sure => not_held(invoice, true),
        PaymentStatus::Unknown => does_not_know(),
        _ => Nothing,
    }
}

#[cfg(test)]
mod tests;
