//! The steps of a payment that the wallet holds (a hold invoice): held, taken, given back.
//!
//! What is decided here is written before the wallet is asked: `Taking` before the first settle, `GivingBack` before the
//! first cancel. Either is repeated until a look at the wallet shows it done.

use super::Verdict::{Already, Illegal, Taken};
use super::{Next, Verdict};
use crate::domain::error::PaymentCode;
use crate::domain::hold;
use crate::domain::invoice::UNKNOWN_LOOKS;
use crate::domain::job::{Invoice, InvoiceState, PayOrder, State};
use crate::domain::msat::Msat;
use crate::domain::time::Time;

const ENDED: &str = PaymentCode::HoldEnded.as_str();
const LOST: &str = PaymentCode::HoldLost.as_str();

impl Next {
    fn invoice_in(&mut self, states: &[InvoiceState]) -> Option<&mut Invoice> {
        let invoice = self.step.job.invoice.as_mut();
        invoice.filter(|invoice| states.contains(&invoice.state))
    }

    /// What is held, or could still be paid, is to go back. True where a payment was held.
    pub(super) fn give_back(&mut self) -> bool {
        if self.step.job.terms.order != PayOrder::Hold {
            return false;
        }
        let held = [InvoiceState::Held, InvoiceState::Open];
        self.invoice_in(&held).is_some_and(|invoice| {
            let was = invoice.state;
            invoice.state = InvoiceState::GivingBack;
            was == InvoiceState::Held
        })
    }

    pub(super) fn held(&mut self, amount: Option<Msat>, until: Time) -> Verdict {
        let now = self.now;
        if self.step.job.terms.order != PayOrder::Hold {
            return Illegal;
        }
        let unheld = [
            InvoiceState::Open,
            InvoiceState::Expired,
            InvoiceState::GivenBack,
        ];
        let Some(invoice) = self.invoice_in(&unheld) else {
            return Already;
        };
        invoice.state = InvoiceState::Held;
        invoice.hold_until = Some(until);
        invoice.late_polls = 0;
        let shown = amount.unwrap_or(invoice.amount).display();
        let has_secret = invoice.preimage.is_some();
        let job = &self.step.job;
        let waits = matches!(job.state, State::AwaitingPayment | State::Unpaid) && !job.delivered;
        if waits && job.has_texts && hold::may_wait(job, now) {
            self.requeue(None);
            self.say(format!("{shown}, until {until} at the latest"));
            return Taken;
        }
        if waits {
            let why = match (job.has_texts, has_secret) {
                (false, _) => "the text of the request is not in this ledger",
                (true, true) => "the work can't be done before they must go back",
                (true, false) => "what takes them is not in this ledger",
            };
            return self.fail(ENDED, format!("{shown} came, but {why}"), None);
        }
        self.give_back();
        self.say(format!("{shown} came when the job had ended, and go back"));
        Taken
    }

    pub(super) fn hold_ends(&mut self) -> Verdict {
        if self.invoice_in(&[InvoiceState::Held]).is_none() {
            return Already;
        }
        self.step.withdraw = true;
        self.step.stop_run = true;
        let why = match self.step.job.state {
            State::Publishing => "no relay accepted the result",
            State::Queued | State::Running => "the work was not done",
            _ => {
                self.give_back();
                self.say("goes back");
                return Taken;
            }
        };
        let message = format!("{why} before the held payment had to go back");
        self.fail(ENDED, message, None)
    }

    /// What is held, or could still be paid, for work that has not begun.
    pub(super) fn shop_closes(&mut self) -> Verdict {
        let job = &self.step.job;
        let waits = matches!(job.state, State::Queued | State::AwaitingPayment);
        if !waits || job.terms.order != PayOrder::Hold || !job.paid.is_zero() {
            return Illegal;
        }
        let taken = self.cancel(false, 0);
        self.say("the shop closed before the work was done");
        taken
    }

    pub(super) fn not_held(&mut self, was: InvoiceState, unknown: bool) -> Verdict {
        let all = [
            InvoiceState::Open,
            InvoiceState::Held,
            InvoiceState::Taking,
            InvoiceState::GivingBack,
        ];
        let invoice = self.invoice_in(&all);
        let Some(invoice) = invoice.filter(|invoice| invoice.state == was) else {
            return Already;
        };
        if unknown {
            invoice.late_polls += 1;
            if invoice.late_polls < UNKNOWN_LOOKS {
                self.say("the wallet does not know the invoice");
                return Taken;
            }
        }
        match invoice.state {
            InvoiceState::Open => self.closed(),
            InvoiceState::Held => self.lost_early(),
            InvoiceState::Taking => self.lost_late(),
            _ => {
                gone(invoice);
                self.say("the payment is not held any more");
            }
        }
        Taken
    }

    /// The wallet takes no payment of the invoice any more, and nobody has paid it.
    fn closed(&mut self) {
        let job = &mut self.step.job;
        if let Some(invoice) = &mut job.invoice {
            invoice.state = InvoiceState::Expired;
        }
        if matches!(job.state, State::PendingPayment | State::AwaitingPayment) {
            job.state = State::Unpaid;
        }
        self.step.withdraw = true;
        self.say("the invoice was cancelled at the wallet, unpaid");
    }

    /// It went back before the work was delivered: the work is not given away, and the wallet is told to make sure.
    fn lost_early(&mut self) {
        self.step.withdraw = true;
        self.step.stop_run = true;
        let message = "the wallet does not hold the payment any more, so the work was stopped";
        self.fail(LOST, message.to_owned(), None);
    }

    /// It went back although the work was delivered.
    fn lost_late(&mut self) {
        let message = "delivered, but the held payment went back before it was taken";
        let job = &mut self.step.job;
        job.invoice.iter_mut().for_each(gone);
        job.state = State::Unpaid;
        job.error_code = Some(LOST.to_owned());
        job.error = Some(message.to_owned());
        self.say(message);
    }

    /// The wallet says that a hold invoice is settled.
    pub(super) fn taken(&mut self, amount: Msat) {
        let job = &mut self.step.job;
        if job.delivered {
            job.state = State::Paid;
            job.error = None;
            job.error_code = None;
            job.owed = Msat::ZERO;
            return;
        }
        match job.state {
            // Not by us, as nothing was delivered: the work goes on, and is paid already.
            State::Queued | State::Running | State::Publishing => {}
            State::AwaitingPayment | State::Unpaid => self.paid_first(amount),
            _ => job.owed = amount,
        }
    }
}

/// Nothing is held, and the secret is of no use any more.
fn gone(invoice: &mut Invoice) {
    invoice.state = InvoiceState::GivenBack;
    invoice.preimage = None;
}
