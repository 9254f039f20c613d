//! The life of a job as a pure function: `step(job, input) -> what to write`.
//!
//! The engine commits what comes out in one transaction, with the drafts signed inside it, and only then acts. Every
//! side effect (run, ask the wallet, publish, look) is started from what the ledger says, so a run of the program that
//! starts after a crash does the same as one that never crashed. docs/architecture.md has the table.

use std::time::Duration;

use super::id::{BootId, PaymentHash};
use super::invoice;
use super::job::{Answer, Invoice, InvoiceState, Job, PayOrder, State};
use super::msat::Msat;
use super::reply::{Draft, Reply, Role};
use super::time::Time;

/// Runs of inference that one job gets.
pub const MAX_ATTEMPTS: u32 = 3;

/// How long a finished answer waits for a wallet that does not answer.
pub const WALLET_PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// Looks that must find nothing before an invoice that the wallet does not know counts as unpaid.
const UNKNOWN_LOOKS: u32 = 3;

const PAID_BUT_FAILED: &str =
    "The work could not be completed. Your payment is recorded and owed back to you.";
const SELLER_CANCELLED: &str = "The seller cancelled this job. You were not charged.";

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A slot is free and the job is next.
    Start {
        /// The run of the program that works on it.
        boot: BootId,
    },
    /// The run of the program that worked on it is gone.
    Interrupted,
    /// The inference gave an answer.
    Answered(Answer),
    /// The inference failed.
    RunFailed {
        /// The error's word.
        code: &'static str,
        /// For the operator.
        message: String,
        /// For the buyer.
        sentence: Option<&'static str>,
        /// Could another try help?
        again: bool,
    },
    /// The wallet made the invoice, and it was checked.
    InvoiceMade {
        /// Its text.
        bolt11: String,
        /// Its hash.
        payment_hash: PaymentHash,
        /// The wallet's name for it.
        backend_ref: Option<String>,
        /// Its timestamp.
        made_at: Time,
        /// When it expires.
        expires_at: Time,
        /// The backend that made it.
        wallet: String,
        /// The wallet's own name for itself.
        identity: Option<String>,
    },
    /// The wallet gave no invoice; another try may.
    InvoiceDelayed {
        /// For the operator.
        message: String,
        /// The next try.
        until: Time,
    },
    /// The wallet gives no invoice that could be shown.
    InvoiceRefused {
        /// The error's word.
        code: &'static str,
        /// For the operator.
        message: String,
        /// For the buyer.
        sentence: Option<&'static str>,
    },
    /// A relay accepted one of the job's events.
    Accepted {
        /// Which.
        role: Role,
        /// Which relay.
        relay: String,
    },
    /// No relay accepted it while it was of use.
    GaveUp {
        /// Which.
        role: Role,
    },
    /// The wallet confirmed the payment.
    Paid {
        /// What arrived.
        amount: Msat,
        /// When, as the wallet says.
        at: Time,
    },
    /// A look after expiry found nothing.
    NotPaid {
        /// Because the wallet does not know the invoice.
        unknown: bool,
    },
    /// Somebody cancels it.
    Cancel {
        /// The buyer (kind 5) or the seller.
        by_buyer: bool,
    },
    /// The seller asks for another try.
    Retry,
}

impl Input {
    /// The word in the timeline and in the crash points.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Start { .. } => "started",
            Self::Interrupted => "interrupted",
            Self::Answered(_) => "answered",
            Self::RunFailed { .. } => "run_failed",
            Self::InvoiceMade { .. } => "invoiced",
            Self::InvoiceDelayed { .. } => "invoice_delayed",
            Self::InvoiceRefused { .. } => "invoice_refused",
            Self::Accepted { .. } => "accepted",
            Self::GaveUp { .. } => "undelivered",
            Self::Paid { .. } => "paid",
            Self::NotPaid { .. } => "not_paid",
            Self::Cancel { .. } => "cancelled",
            Self::Retry => "retried",
        }
    }
}

/// What a step writes, all in one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The job after it; its `rev` is one higher.
    pub job: Job,
    /// The timeline's words.
    pub detail: String,
    /// Events to sign and put into the outbox. A role that the job already has there is left as it is.
    pub drafts: Vec<Draft>,
    /// Outbox entries of the job are sent no more.
    pub withdraw: bool,
    /// A running inference is to be dropped.
    pub stop_run: bool,
    /// The payment arrived after the invoice was given up.
    pub late: bool,
}

/// Why a step is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStep {
    /// It has happened already.
    #[error("it has happened already")]
    Already,
    /// A job in this state can't do that.
    #[error("a job that is {} can't be {what}", .state.status().word())]
    Illegal {
        /// Where the job is.
        state: State,
        /// What was asked.
        what: &'static str,
    },
}

/// Takes one step.
///
/// # Errors
/// [`NoStep`] where the step was taken before or the state does not allow it; nothing is to be written then.
pub fn step(job: &Job, input: Input, now: Time) -> Result<Step, NoStep> {
    let what = input.word();
    let mut next = Next::of(job, now);
    let taken = match input {
        Input::Start { boot } => next.start(boot),
        Input::Interrupted => next.interrupted(),
        Input::Answered(answer) => next.answered(answer),
        Input::RunFailed {
            code,
            message,
            sentence,
            again,
        } => next.run_failed(code, message, sentence, again),
        Input::InvoiceMade {
            bolt11,
            payment_hash,
            backend_ref,
            made_at,
            expires_at,
            wallet,
            identity,
        } => next.invoiced(|invoice| Invoice {
            state: InvoiceState::Open,
            wallet,
            wallet_identity: identity,
            payment_hash: Some(payment_hash),
            bolt11: Some(bolt11),
            backend_ref,
            made_at: Some(made_at),
            expires_at: Some(expires_at),
            ..invoice
        }),
        Input::InvoiceDelayed { message, until } => next.invoice_delayed(message, until),
        Input::InvoiceRefused {
            code,
            message,
            sentence,
        } => next.invoice_refused(code, message, sentence),
        Input::Accepted { role, relay } => next.accepted(role, &relay),
        Input::GaveUp { role } => next.gave_up(role),
        Input::Paid { amount, at } => next.paid(amount, at),
        Input::NotPaid { unknown } => next.not_paid(unknown),
        Input::Cancel { by_buyer } => next.cancel(by_buyer),
        Input::Retry => next.retry(),
    };
    match taken {
        Verdict::Taken => Ok(next.step),
        Verdict::Already => Err(NoStep::Already),
        Verdict::Illegal => Err(NoStep::Illegal {
            state: job.state,
            what,
        }),
    }
}

/// The invoice that a job of this price will ask for.
#[must_use]
pub fn intent(job: &Job, amount: Msat) -> Invoice {
    Invoice {
        label: job.id.label(),
        state: InvoiceState::Intent,
        amount,
        wallet: String::new(),
        wallet_identity: None,
        payment_hash: None,
        bolt11: None,
        backend_ref: None,
        made_at: None,
        expires_at: None,
        paid: Msat::ZERO,
        paid_at: None,
        looks: 0,
        late_looks: 0,
        next_look_at: None,
    }
}

enum Verdict {
    Taken,
    Already,
    Illegal,
}

use Verdict::{Already, Illegal, Taken};

struct Next {
    step: Step,
    now: Time,
}

impl Next {
    fn of(job: &Job, now: Time) -> Self {
        let mut job = job.clone();
        job.rev += 1;
        job.updated_at = now;
        Self {
            step: Step {
                job,
                detail: String::new(),
                drafts: Vec::new(),
                withdraw: false,
                stop_run: false,
                late: false,
            },
            now,
        }
    }

    fn draft(&mut self, role: Role, reply: Reply) {
        self.step.drafts.push(Draft { role, reply });
    }

    fn say(&mut self, detail: impl Into<String>) {
        self.step.detail = detail.into();
    }

    fn start(&mut self, boot: BootId) -> Verdict {
        let job = &mut self.step.job;
        if job.state != State::Queued {
            return Illegal;
        }
        job.state = State::Running;
        job.attempts += 1;
        job.boot = Some(boot);
        job.next_at = None;
        let attempt = job.attempts;
        let substituted = job
            .terms
            .substituted
            .clone()
            .map(|asked| (asked, job.terms.model.clone()));
        self.say(format!("try {attempt} of {MAX_ATTEMPTS}"));
        if attempt == 1 {
            self.draft(
                Role::Processing,
                Reply::Processing {
                    position: None,
                    substituted,
                },
            );
        }
        Taken
    }

    fn interrupted(&mut self) -> Verdict {
        if self.step.job.state != State::Running {
            return Illegal;
        }
        if self.step.job.attempts >= MAX_ATTEMPTS {
            return self.fail(
                "processing.interrupted",
                format!("the program ended {MAX_ATTEMPTS} times in the middle of this job"),
                Some("The work could not be completed. You were not charged."),
            );
        }
        self.requeue(None);
        self.say("the program ended in the middle; queued again");
        Taken
    }

    fn requeue(&mut self, next_at: Option<Time>) {
        let job = &mut self.step.job;
        job.state = State::Queued;
        job.boot = None;
        job.next_at = next_at;
    }

    fn answered(&mut self, answer: Answer) -> Verdict {
        let job = &mut self.step.job;
        if job.state != State::Running {
            return Illegal;
        }
        if answer.text.trim().is_empty() {
            return self.fail(
                "processing.empty",
                "the answer was empty".to_owned(),
                Some("The work could not be completed. You were not charged."),
            );
        }
        job.boot = None;
        let counts = if answer.estimated { " (estimated)" } else { "" };
        let detail = format!(
            "{} + {} tokens{counts} on {}{}",
            answer.prompt_tokens,
            answer.completion_tokens,
            answer.endpoint,
            if answer.cut {
                ", cut at max_tokens"
            } else {
                ""
            }
        );
        if job.terms.order == PayOrder::After {
            job.price = Some(job.terms.price.price_under(
                answer.prompt_tokens,
                answer.completion_tokens,
                job.terms.bid_msat,
            ));
        }
        job.answer = Some(answer);
        let due = job.price.filter(|price| !price.is_zero());
        match (job.terms.order, due) {
            (PayOrder::After, Some(amount)) => {
                job.state = State::Inferred;
                job.invoice = Some(intent(job, amount));
            }
            _ => self.publish(None),
        }
        self.say(detail);
        Taken
    }

    /// From here on the result's bytes exist; the same ones go out however often the program dies.
    fn publish(&mut self, amount: Option<(Msat, String)>) {
        let job = &mut self.step.job;
        job.state = State::Publishing;
        let content = job.answer.as_ref().map(|a| a.text.clone());
        let model = job.terms.model.clone();
        self.draft(
            Role::Result,
            Reply::Result {
                content: content.unwrap_or_default(),
                amount,
                model,
                expiration: None,
            },
        );
    }

    fn run_failed(
        &mut self,
        code: &'static str,
        message: String,
        sentence: Option<&'static str>,
        again: bool,
    ) -> Verdict {
        let job = &self.step.job;
        if job.state != State::Running {
            return Illegal;
        }
        if !again || job.attempts >= MAX_ATTEMPTS {
            return self.fail(code, message, sentence);
        }
        let wait = Duration::from_secs(match job.attempts {
            1 => 1,
            2 => 5,
            _ => 30,
        });
        self.requeue(Some(self.now.plus(wait)));
        self.say(format!("{message}; next try in {} s", wait.as_secs()));
        Taken
    }

    fn invoiced(&mut self, made: impl FnOnce(Invoice) -> Invoice) -> Verdict {
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
                self.draft(
                    Role::PaymentRequired,
                    Reply::PaymentRequired { amount, bolt11 },
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

    fn invoice_delayed(&mut self, message: String, until: Time) -> Verdict {
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
        self.say(message);
        Taken
    }

    fn invoice_refused(
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

    fn fail(
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
        let sentence = if owes {
            Some(PAID_BUT_FAILED)
        } else {
            sentence
        };
        if let Some(sentence) = sentence {
            self.draft(Role::Error, Reply::Error { sentence });
        }
        self.say(message);
        Taken
    }

    fn accepted(&mut self, role: Role, relay: &str) -> Verdict {
        if role != Role::Result || self.step.job.delivered {
            return Already;
        }
        let job = &mut self.step.job;
        job.state = match (job.state, job.terms.order) {
            (State::Publishing, PayOrder::Before) => State::Paid,
            (State::Publishing, PayOrder::After) if job.invoice.is_some() => State::PendingPayment,
            (State::Publishing, _) => State::Completed,
            // A relay that we had given up on had it after all: the buyer may have it, and may pay.
            (State::Error | State::Cancelled, _) if job.result_id.is_some() => {
                job.owed = Msat::ZERO;
                match job.terms.order {
                    PayOrder::Before => State::Paid,
                    PayOrder::After if job.invoice.is_some() => State::PendingPayment,
                    _ => State::Completed,
                }
            }
            _ => return Already,
        };
        job.delivered = true;
        let cut = job.answer.as_ref().is_some_and(|answer| answer.cut);
        self.say(format!("result accepted by {relay}"));
        self.draft(
            Role::Success,
            Reply::Success {
                note: cut.then(|| "The answer was cut at max_tokens.".to_owned()),
            },
        );
        Taken
    }

    fn gave_up(&mut self, role: Role) -> Verdict {
        let job = &self.step.job;
        if role != Role::Result || job.delivered || job.state != State::Publishing {
            return Already;
        }
        self.fail(
            "payment.undelivered",
            "no relay accepted the result in time; its invoice is still watched".to_owned(),
            None,
        )
    }

    fn paid(&mut self, amount: Msat, at: Time) -> Verdict {
        let job = &mut self.step.job;
        let Some(invoice) = job.invoice.as_mut() else {
            return Illegal;
        };
        match invoice.state {
            InvoiceState::Paid => return Already,
            InvoiceState::Intent => return Illegal,
            InvoiceState::Open | InvoiceState::Expired => {}
        }
        let late = invoice.state == InvoiceState::Expired;
        invoice.state = InvoiceState::Paid;
        invoice.paid = amount;
        invoice.paid_at = Some(at);
        invoice.next_look_at = None;
        job.paid = amount;
        self.step.late = late;
        self.say(format!(
            "{}{}",
            amount.display(),
            if late { ", after expiry" } else { "" }
        ));
        match self.step.job.terms.order {
            PayOrder::Before => self.paid_first(amount),
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
            self.draft(Role::Success, Reply::Success { note: None });
        }
    }

    fn paid_first(&mut self, amount: Msat) {
        let job = &mut self.step.job;
        match job.state {
            State::AwaitingPayment | State::Unpaid if job.prompt.is_some() => self.requeue(None),
            State::AwaitingPayment | State::Unpaid => {
                self.fail(
                    "payment.expired",
                    "paid after the request's text was erased".to_owned(),
                    None,
                );
            }
            _ => job.owed = amount,
        }
    }

    fn not_paid(&mut self, unknown: bool) -> Verdict {
        let now = self.now;
        let job = &mut self.step.job;
        let Some(invoice) = job.invoice.as_mut() else {
            return Illegal;
        };
        let (Some(expires_at), true) = (
            invoice.expires_at,
            matches!(invoice.state, InvoiceState::Open | InvoiceState::Expired),
        ) else {
            return Already;
        };
        if now <= expires_at {
            return Already;
        }
        invoice.looks += 1;
        invoice.late_looks += 1;
        let closes = invoice.state == InvoiceState::Open
            && invoice::may_close(expires_at, now, invoice.late_looks)
            && (!unknown || invoice.late_looks >= UNKNOWN_LOOKS);
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

    fn cancel(&mut self, by_buyer: bool) -> Verdict {
        let job = &mut self.step.job;
        match job.state {
            State::Queued
            | State::Quoting
            | State::AwaitingPayment
            | State::Running
            | State::Inferred
            | State::Publishing => {}
            State::Cancelled => return Already,
            _ => return Illegal,
        }
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
                    sentence: if owes {
                        PAID_BUT_FAILED
                    } else {
                        SELLER_CANCELLED
                    },
                },
            );
        }
        Taken
    }

    fn retry(&mut self) -> Verdict {
        let job = &mut self.step.job;
        let open = job
            .invoice
            .as_ref()
            .is_some_and(|invoice| invoice.bolt11.is_some());
        let paid_first = job.terms.order == PayOrder::Before && !job.paid.is_zero();
        if job.state != State::Error || job.delivered || job.prompt.is_none() {
            return Illegal;
        }
        if job.result_id.is_some() || (open && !paid_first) {
            // Its one result or invoice was made already and may be known to the buyer.
            return Illegal;
        }
        job.attempts = 0;
        job.wallet_tries = 0;
        job.next_at = None;
        job.owed = Msat::ZERO;
        job.error = None;
        job.error_code = None;
        job.state = if job.invoice.is_some() && !paid_first {
            match job.terms.order {
                PayOrder::Before => State::Quoting,
                _ => State::Inferred,
            }
        } else {
            State::Queued
        };
        self.say("by the seller");
        Taken
    }
}

#[cfg(test)]
pub(crate) mod tests;
