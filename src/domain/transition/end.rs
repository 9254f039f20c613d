//! How a job ends: delivered, failed, cancelled; and the seller's second try.

use super::Verdict::{Already, Illegal, MayHaveLeft, Taken};
use super::{Next, Verdict};
use crate::domain::balance;
use crate::domain::credit::{self, Debt};
use crate::domain::job::{InvoiceState, PayOrder, State};
use crate::domain::msat::Msat;
use crate::domain::reply::{Reply, Role, Spent};

const PAID_BUT_FAILED: &str =
    "The work could not be completed. Your payment is recorded and owed back to you.";
const HELD_BUT_FAILED: &str =
    "The work could not be completed. Your payment was not taken and goes back to you.";
const UNDELIVERED: &str = "The result could not be delivered. You were not charged.";
const SELLER_CANCELLED: &str = "The seller cancelled this job. You were not charged.";
const SELLER_GAVE_BACK: &str =
    "The seller cancelled this job. Your payment was not taken and goes back to you.";

impl Next {
    pub(super) fn fail(
        &mut self,
        code: &'static str,
        message: String,
        sentence: Option<&'static str>,
    ) -> Verdict {
        let job = &mut self.step.job;
        job.state = State::Error;
        job.boot = None;
        job.next_at = None;
        job.error_code = Some(code.to_owned());
        job.error = Some(message.clone());
        if !job.delivered {
            job.owed = job.paid;
        }
        let owes = !job.owed.is_zero();
        let held = self.give_back();
        let sentence = match (owes, held) {
            (true, _) => Some(PAID_BUT_FAILED),
            (_, true) => Some(HELD_BUT_FAILED),
            _ => sentence,
        };
        if let Some(sentence) = sentence {
            self.draft(
                Role::Error,
                Reply::Error {
                    sentence: sentence.into(),
                },
            );
        }
        self.say(message);
        Taken
    }

    pub(super) fn accepted(&mut self, role: Role, relay: &str) -> Verdict {
        if role != Role::Result || self.step.job.delivered {
            return Already;
        }
        let job = &mut self.step.job;
        let mut taking = false;
        job.state = match (job.state, job.terms.order) {
            (State::Publishing, PayOrder::Before) if !balance::covered(job).is_zero() => {
                State::Paid
            }
            (State::Publishing, PayOrder::Hold) if !job.paid.is_zero() => State::Paid,
            (State::Publishing, PayOrder::Hold) => {
                taking = true;
                State::PendingPayment
            }
            // It was given back, or is on its way back: that was decided, and stays.
            (State::Error | State::Cancelled, PayOrder::Hold) if job.paid.is_zero() => {
                return Already;
            }
            (State::Publishing, PayOrder::After) if job.invoice.is_some() => State::PendingPayment,
            (State::Publishing, _) if !job.balance_used.is_zero() => State::Paid,
            (State::Publishing, _) => State::Completed,
            // A relay that we had given up on had it after all: the buyer may have it, and may pay.
            (State::Error | State::Cancelled, _) if job.result_id.is_some() => {
                job.owed = Msat::ZERO;
                match job.terms.order {
                    PayOrder::Before | PayOrder::Hold if !job.paid.is_zero() => State::Paid,
                    PayOrder::After if job.invoice.is_some() => State::PendingPayment,
                    _ => State::Completed,
                }
            }
            _ => return Already,
        };
        job.delivered = true;
        if let Some(invoice) = job.invoice.as_mut().filter(|_| taking) {
            invoice.state = InvoiceState::Taking;
        }
        let cut = job.answer.as_ref().is_some_and(|answer| answer.cut);
        let then = if taking {
            "; the held payment is taken now"
        } else {
            ""
        };
        self.say(format!("result accepted by {relay}{then}"));
        let balance = self.spent(taking);
        self.draft(
            Role::Success,
            Reply::Success {
                note: cut.then(|| "The answer was cut at max_tokens.".to_owned()),
                balance,
            },
        );
        Taken
    }

    /// What a delivered job does to its buyer's balance; `taking`: its payment is held, and taken next.
    fn spent(&self, taking: bool) -> Option<Spent> {
        let job = &self.step.job;
        let paid = match &job.invoice {
            Some(invoice) if taking => invoice.amount,
            _ => job.paid,
        };
        let spent = Spent {
            used: job.balance_used.min(job.price.unwrap_or(Msat::ZERO)),
            left: if paid.is_zero() {
                Msat::ZERO
            } else {
                balance::left_of(job, paid)
            },
            rest: None,
        };
        (!spent.used.is_zero() || !spent.left.is_zero()).then_some(spent)
    }

    pub(super) fn gave_up(&mut self, role: Role) -> Verdict {
        let job = &self.step.job;
        if role != Role::Result || job.delivered || job.state != State::Publishing {
            return Already;
        }
        let then = match job.terms.order {
            PayOrder::Hold => "the held payment goes back",
            _ => "its invoice is still watched",
        };
        let message = format!("no relay accepted the result in time; {then}");
        self.fail("payment.undelivered", message, Some(UNDELIVERED))
    }

    pub(super) fn cancel(&mut self, by_buyer: bool, tokens: u32) -> Verdict {
        let now = self.now;
        let job = &mut self.step.job;
        match job.state {
            State::Queued
            | State::Quoting
            | State::AwaitingPayment
            | State::Running
            | State::Inferred => {}
            State::Cancelled => return Already,
            // A relay may show the result before it says that it took it.
            State::Publishing | State::PendingPayment => return MayHaveLeft,
            _ => return Illegal,
        }
        (job.balance_used, job.debt) = if by_buyer {
            credit::taken_back(job, tokens, now)
        } else {
            (Msat::ZERO, Debt::NONE)
        };
        job.state = State::Cancelled;
        job.boot = None;
        job.next_at = None;
        job.owed = job.paid;
        if job
            .invoice
            .as_ref()
            .is_some_and(|invoice| invoice.state == InvoiceState::Intent)
        {
            // Nobody has seen an invoice that is only an intent.
            job.invoice = None;
        }
        let owes = !job.owed.is_zero();
        let held = self.give_back();
        self.step.withdraw = true;
        self.step.stop_run = true;
        self.say(if by_buyer {
            "by the buyer"
        } else {
            "by the seller"
        });
        if !by_buyer {
            self.draft(
                Role::Error,
                Reply::Error {
                    sentence: match (owes, held) {
                        (true, _) => PAID_BUT_FAILED,
                        (_, true) => SELLER_GAVE_BACK,
                        _ => SELLER_CANCELLED,
                    }
                    .into(),
                },
            );
        }
        Taken
    }

    pub(super) fn retry(&mut self) -> Verdict {
        let job = &mut self.step.job;
        let open = job
            .invoice
            .as_ref()
            .is_some_and(|invoice| invoice.bolt11.is_some());
        let paid_first =
            matches!(job.terms.order, PayOrder::Before | PayOrder::Hold) && !job.paid.is_zero();
        if job.state != State::Error || job.delivered || !job.has_texts {
            return Illegal;
        }
        if job.result_id.is_some() || (open && !paid_first) {
            // Its one result or invoice was made already and may be known to the buyer.
            return Illegal;
        }
        job.attempts = 0;
        job.interrupts = 0;
        job.wallet_tries = 0;
        job.next_at = None;
        job.owed = Msat::ZERO;
        job.error = None;
        job.error_code = None;
        if let (Some(invoice), Some(price)) = (&mut job.invoice, job.price)
            && invoice.state == InvoiceState::Intent
        {
            // What was set apart of the balance went back when the job failed.
            invoice.amount = price.saturating_sub(job.balance_used);
        }
        job.state = if job.invoice.is_some() && !paid_first {
            match job.terms.order {
                PayOrder::Before | PayOrder::Hold => State::Quoting,
                _ => State::Inferred,
            }
        } else {
            State::Queued
        };
        self.say("by the seller");
        Taken
    }
}
