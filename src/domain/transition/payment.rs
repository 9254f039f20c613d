//! Invoices and what became of them, where nothing is held.

use std::time::Duration;

use super::Verdict::{Already, Illegal, Taken};
use super::{Next, Verdict};
use crate::domain::id::Preimage;
use crate::domain::invoice::{self, UNKNOWN_LOOKS};
use crate::domain::job::{Invoice, InvoiceState, PayOrder, State};
use crate::domain::msat::Msat;
use crate::domain::reply::{Reply, Role};
use crate::domain::time::Time;

/// How long a finished answer waits for a wallet that does not answer.
const WALLET_PATIENCE: Duration = Duration::from_secs(6 * 3600);

impl Next {
    pub(super) fn invoiced(&mut self, made: impl FnOnce(Invoice) -> Invoice) -> Verdict {
        let job = &mut self.step.job;
        let Some(invoice) = job
            .invoice
            .take_if(|invoice| invoice.state == InvoiceState::Intent)
        else {
            return Already;
        };
        let invoice = made(invoice);
        let amount = invoice.amount;
        let bolt11 = invoice.bolt11.clone().unwrap_or_default();
        job.invoice = Some(invoice);
        job.next_at = None;
        match job.state {
            State::Inferred => self.publish(Some((amount, bolt11))),
            State::Quoting => {
                job.state = State::AwaitingPayment;
                let used = job.balance_used;
                let priority_percent = job.terms.priority_percent;
                self.draft(
                    Role::PaymentRequired,
                    Reply::PaymentRequired {
                        amount,
                        bolt11,
                        used,
                        priority_percent,
                    },
                );
            }
            _ => return Illegal,
        }
        self.say(amount.display().to_string());
        Taken
    }

    fn wants_invoice(&self) -> bool {
        matches!(self.step.job.state, State::Inferred | State::Quoting)
    }

    pub(super) fn invoice_delayed(
        &mut self,
        message: String,
        until: Time,
        fresh: Option<Preimage>,
    ) -> Verdict {
        if !self.wants_invoice() {
            return Already;
        }
        let job = &mut self.step.job;
        if self.now.since(job.created_at) > WALLET_PATIENCE {
            return self.invoice_refused(
                "payment.wallet_unreachable",
                message,
                Some("Payment is temporarily unavailable here. You were not charged."),
            );
        }
        job.wallet_tries += 1;
        job.next_at = Some(until);
        if let (Some(invoice), Some(_)) = (&mut job.invoice, fresh) {
            invoice.preimage = fresh;
        }
        self.say(message);
        Taken
    }

    pub(super) fn invoice_refused(
        &mut self,
        code: &'static str,
        message: String,
        sentence: Option<&'static str>,
    ) -> Verdict {
        if self.wants_invoice() {
            self.fail(code, message, sentence)
        } else {
            Already
        }
    }

    pub(super) fn paid(&mut self, amount: Msat, at: Time) -> Verdict {
        let job = &mut self.step.job;
        let Some(invoice) = job.invoice.as_mut() else {
            return Illegal;
        };
        match invoice.state {
            InvoiceState::Paid => return Already,
            InvoiceState::Intent => return Illegal,
            _ => {}
        }
        let late = matches!(
            invoice.state,
            InvoiceState::Expired | InvoiceState::GivenBack
        );
        let held = matches!(
            invoice.state,
            InvoiceState::Held | InvoiceState::Taking | InvoiceState::GivingBack
        );
        invoice.state = InvoiceState::Paid;
        invoice.paid = amount;
        invoice.paid_at = Some(at);
        invoice.next_poll_at = None;
        job.paid = amount;
        self.step.late = late;
        self.say(format!(
            "{}{}",
            amount.display(),
            match (late, held) {
                (true, _) => ", after expiry",
                (_, true) => " taken",
                _ => "",
            }
        ));
        match self.step.job.terms.order {
            PayOrder::Before => self.paid_first(amount),
            PayOrder::Hold => self.taken(amount),
            PayOrder::After | PayOrder::Free => self.paid_after(),
        }
        Taken
    }

    /// Whoever pays the invoice has read it, and it rides on the result: so the result has arrived.
    fn paid_after(&mut self) {
        let job = &mut self.step.job;
        job.state = State::Paid;
        job.error = None;
        job.error_code = None;
        job.owed = Msat::ZERO;
        if !job.delivered {
            job.delivered = true;
            self.draft(
                Role::Success,
                Reply::Success {
                    note: None,
                    balance: None,
                },
            );
        }
    }

    pub(super) fn paid_first(&mut self, amount: Msat) {
        let job = &mut self.step.job;
        match job.state {
            State::AwaitingPayment | State::Unpaid if job.has_texts => self.requeue(None),
            State::AwaitingPayment | State::Unpaid => {
                self.fail(
                    "payment.expired",
                    "paid after the request's text was erased".to_owned(),
                    None,
                );
            }
            // Delivered by another run of the program, of which this ledger knew nothing.
            _ if job.delivered => {
                job.state = State::Paid;
                job.error = None;
                job.error_code = None;
                job.owed = Msat::ZERO;
            }
            _ => job.owed = amount,
        }
    }

    pub(super) fn not_paid(&mut self, unknown: bool, began: Time) -> Verdict {
        let job = &mut self.step.job;
        let Some(invoice) = job.invoice.as_mut() else {
            return Illegal;
        };
        let (Some(expires_at), true) = (
            invoice.expires_at,
            matches!(
                invoice.state,
                InvoiceState::Open | InvoiceState::Expired | InvoiceState::GivenBack
            ),
        ) else {
            return Already;
        };
        if !invoice::is_due(expires_at, began, invoice.late_polls) {
            return Already;
        }
        invoice.polls += 1;
        invoice.late_polls += 1;
        let closes = invoice.state == InvoiceState::Open
            && invoice::may_close(expires_at, began, invoice.late_polls)
            && (!unknown || invoice.late_polls >= UNKNOWN_LOOKS);
        if !closes {
            self.say("a look after expiry found nothing");
            return Taken;
        }
        invoice.state = InvoiceState::Expired;
        if matches!(job.state, State::PendingPayment | State::AwaitingPayment) {
            job.state = State::Unpaid;
        }
        self.step.withdraw = true;
        self.say("the invoice expired unpaid");
        Taken
    }

    pub(super) fn not_expired(&mut self) -> Verdict {
        let now = self.now;
        let job = &mut self.step.job;
        let Some(invoice) = job.invoice.as_mut().filter(|invoice| {
            invoice.state == InvoiceState::Expired && invoice.expires_at.is_some_and(|at| at > now)
        }) else {
            return Already;
        };
        if job.state != State::Unpaid {
            return Already;
        }
        invoice.state = InvoiceState::Open;
        invoice.late_polls = 0;
        job.state = if job.delivered {
            State::PendingPayment
        } else {
            State::AwaitingPayment
        };
        self.say("this machine's clock was ahead: the invoice can still be paid");
        Taken
    }
}
