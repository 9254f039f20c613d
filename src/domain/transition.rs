//! The life of a job as a pure function: `transition(job, input) -> what to write`.
//!
//! The engine commits what comes out in one transaction, with the drafts signed inside it, and only then acts. Every
//! side effect (run, ask the wallet, publish, look) is started from what the ledger says, so a run of the program that
//! starts after a crash does the same as one that never crashed. docs/architecture.md has the table.

mod end;
mod held;
mod payment;

use std::time::Duration;

use super::balance;
use super::credit;
use super::hold;
use super::id::{BootId, PaymentHash, Preimage};
use super::job::{Answer, Invoice, InvoiceState, Job, MadeBy, PayOrder, State, Usage};
use super::msat::Msat;
use super::reply::{Draft, Reply, Role};
use super::time::Time;

/// Runs of inference that one job gets and that fail by themselves.
pub const MAX_ATTEMPTS: u32 = 3;

/// The longest pause after an interruption.
const LONGEST_PAUSE_SECS: u64 = 600;

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobEvent {
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
    /// The run could not be made, through trouble of the seller's own: the job waits for another endpoint, or for the seller.
    PutBack {
        /// For the operator.
        message: String,
        /// Not before this.
        until: Time,
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
        /// The wallet that made it.
        made_by: MadeBy,
    },
    /// The wallet gave no invoice; another try may.
    InvoiceDelayed {
        /// For the operator.
        message: String,
        /// The next try.
        until: Time,
        /// For a hold invoice: a secret that replaces the first, as nobody has seen an invoice for that one.
        fresh: Option<Preimage>,
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
    /// The wallet holds the buyer's payment: it is neither taken nor given back yet.
    Held {
        /// What waits; none where the wallet does not say.
        amount: Option<Msat>,
        /// When it must be taken or given back.
        until: Time,
    },
    /// The time of a held payment runs out before the work can be delivered.
    HoldEnds,
    /// The wallet does not hold the payment any more, and did not give it to us.
    NotHeld {
        /// What the invoice was when the wallet was looked at. Of one that is to be taken by now, more must be known.
        was: InvoiceState,
        /// Because the wallet does not know the invoice.
        unknown: bool,
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
        /// When the look began.
        began: Time,
    },
    /// The clock was ahead when the invoice was called unpaid: its time is not over.
    NotExpired,
    /// Somebody cancels it.
    Cancel {
        /// The buyer (kind 5) or the seller.
        by_buyer: bool,
        /// Output tokens that had come by then, where it runs.
        tokens: u32,
    },
    /// The shop stops or goes offline, and nobody will do the work for what the wallet holds.
    ShopCloses,
    /// The seller asks for another try.
    Retry,
}

impl JobEvent {
    /// The word in the timeline and in the crash points.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Start { .. } => "started",
            Self::Interrupted => "interrupted",
            Self::Answered(_) => "answered",
            Self::RunFailed { .. } => "run_failed",
            Self::PutBack { .. } => "put_back",
            Self::InvoiceMade { .. } => "invoiced",
            Self::InvoiceDelayed { .. } => "invoice_delayed",
            Self::InvoiceRefused { .. } => "invoice_refused",
            Self::Accepted { .. } => "accepted",
            Self::GaveUp { .. } => "undelivered",
            Self::Held { .. } => "held",
            Self::HoldEnds => "hold_ends",
            Self::NotHeld { .. } => "given_back",
            Self::Paid { .. } => "paid",
            Self::NotPaid { .. } => "not_paid",
            Self::NotExpired => "not_expired",
            Self::Cancel { .. } | Self::ShopCloses => "cancelled",
            Self::Retry => "retried",
        }
    }
}

/// What a step writes, all in one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The job after it; its `rev` is one higher.
    pub job: Job,
    /// The timeline's words.
    pub detail: String,
    /// The answer's text, to be kept with the step that brings it.
    pub answer: Option<String>,
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
pub enum TransitionError {
    /// It has happened already.
    #[error("it has happened already")]
    Already,
    /// The buyer may have the result.
    #[error("the result may have left already, so the job can't be cancelled any more")]
    MayHaveLeft,
    /// A job in this state can't do that.
    #[error("a job that is {} can't be {what}", .state.status().as_str())]
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
/// [`TransitionError`] where the step was taken before or the state does not allow it; nothing is to be written then.
pub fn transition(job: &Job, input: JobEvent, now: Time) -> Result<Transition, TransitionError> {
    let what = input.as_str();
    let mut next = Next::of(job, now);
    let taken = match input {
        JobEvent::Start { boot } => next.start(boot),
        JobEvent::Interrupted => next.interrupted(),
        JobEvent::Answered(answer) => next.answered(answer),
        JobEvent::RunFailed {
            code,
            message,
            sentence,
            again,
        } => next.run_failed(code, message, sentence, again),
        JobEvent::PutBack { message, until } => next.put_back(&message, until),
        JobEvent::InvoiceMade {
            bolt11,
            payment_hash,
            backend_ref,
            made_at,
            expires_at,
            made_by,
        } => next.invoiced(|invoice| Invoice {
            state: InvoiceState::Open,
            wallet: made_by.backend,
            wallet_key: made_by.key,
            wallet_identity: made_by.identity,
            network: made_by.network,
            payment_hash: Some(payment_hash),
            bolt11: Some(bolt11),
            backend_ref,
            made_at: Some(made_at),
            expires_at: Some(expires_at),
            ..invoice
        }),
        JobEvent::InvoiceDelayed {
            message,
            until,
            fresh,
        } => next.invoice_delayed(message, until, fresh),
        JobEvent::InvoiceRefused {
            code,
            message,
            sentence,
        } => next.invoice_refused(code, message, sentence),
        JobEvent::Accepted { role, relay } => next.accepted(role, &relay),
        JobEvent::GaveUp { role } => next.gave_up(role),
        JobEvent::Paid { amount, at } => next.paid(amount, at),
        JobEvent::Held { amount, until } => next.held(amount, until),
        JobEvent::HoldEnds => next.hold_ends(),
        JobEvent::NotHeld { was, unknown } => next.not_held(was, unknown),
        JobEvent::NotPaid { unknown, began } => next.not_paid(unknown, began),
        JobEvent::NotExpired => next.not_expired(),
        JobEvent::Cancel { by_buyer, tokens } => next.cancel(by_buyer, tokens),
        JobEvent::ShopCloses => next.shop_closes(),
        JobEvent::Retry => next.retry(),
    };
    match taken {
        Verdict::Taken => {
            balance::settle(&mut next.step.job);
            next.step.job.debt = credit::after(job, &next.step.job, now);
            Ok(next.step)
        }
        Verdict::Already => Err(TransitionError::Already),
        Verdict::MayHaveLeft => Err(TransitionError::MayHaveLeft),
        Verdict::Illegal => Err(TransitionError::Illegal {
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
        wallet_key: None,
        wallet_identity: None,
        network: None,
        preimage: None,
        hold_until: None,
        payment_hash: None,
        bolt11: None,
        backend_ref: None,
        made_at: None,
        expires_at: None,
        paid: Msat::ZERO,
        paid_at: None,
        polls: 0,
        late_polls: 0,
        next_poll_at: None,
    }
}

/// How long an interrupted job waits: a second at first, twice as long each time, ten minutes at the most.
fn after_interruptions(times: u32) -> Duration {
    let secs = 1_u64 << times.saturating_sub(1).min(16);
    Duration::from_secs(secs.min(LONGEST_PAUSE_SECS))
}

enum Verdict {
    Taken,
    Already,
    MayHaveLeft,
    Illegal,
}

use Verdict::{Illegal, Taken};

struct Next {
    step: Transition,
    now: Time,
}

impl Next {
    fn of(job: &Job, now: Time) -> Self {
        let mut job = job.clone();
        job.rev += 1;
        job.updated_at = now;
        Self {
            step: Transition {
                job,
                detail: String::new(),
                answer: None,
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
        let now = self.now;
        let job = &mut self.step.job;
        if job.state != State::Queued || !hold::may_start(job, now) {
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
        let priority_percent = job.terms.surcharge_to_tell();
        self.say(format!("try {attempt} of {MAX_ATTEMPTS}"));
        if attempt == 1 {
            self.draft(
                Role::Processing,
                Reply::Processing {
                    position: None,
                    substituted,
                    priority_percent,
                },
            );
        }
        Taken
    }

    fn interrupted(&mut self) -> Verdict {
        if self.step.job.state != State::Running {
            return Illegal;
        }
        let job = &mut self.step.job;
        // It was not the job that failed, as far as is known: the run does not count.
        job.attempts = job.attempts.saturating_sub(1);
        job.interrupts = job.interrupts.saturating_add(1);
        let wait = after_interruptions(job.interrupts);
        let alone = if job.runs_alone() { ", alone" } else { "" };
        self.requeue(Some(self.now.plus(wait)));
        let secs = wait.as_secs();
        self.say(format!(
            "the program ended in the middle; next try in {secs} s{alone}"
        ));
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
            let price = job
                .terms
                .price_of(answer.prompt_tokens, answer.completion_tokens);
            // A server may count more than the text can be; more than was reserved is never asked.
            let price = price.min(credit::most(job));
            job.price = Some(price);
            job.balance_used = job.balance_used.min(price);
        } else if let Some(quoted) = job.price {
            // What was asked was a bound; this is what the work costs.
            let price = job
                .terms
                .price_of(answer.prompt_tokens, answer.completion_tokens);
            job.price = Some(price.min(quoted).min(balance::covered(job)));
        }
        job.answer = Some(Usage::from(&answer));
        let due = job
            .price
            .map(|price| price.saturating_sub(job.balance_used));
        match (job.terms.order, due.filter(|due| !due.is_zero())) {
            (PayOrder::After, Some(amount)) => {
                job.state = State::Inferred;
                job.invoice = Some(intent(job, amount));
            }
            _ => self.publish(None),
        }
        self.step.answer = Some(answer.text);
        self.say(detail);
        Taken
    }

    /// From here on the result's bytes exist; the same ones go out however often the program dies.
    fn publish(&mut self, amount: Option<(Msat, String)>) {
        let job = &mut self.step.job;
        job.state = State::Publishing;
        let model = job.terms.model.clone();
        let usage = job.answer.as_ref();
        let usage = usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens));
        self.draft(
            Role::Result,
            Reply::Result {
                // The text is put in where the event is signed: an empty one is never sent.
                content: String::new(),
                amount,
                model,
                usage,
                expiration: None,
            },
        );
    }

    /// Nothing was generated, so the try does not count.
    fn put_back(&mut self, message: &str, until: Time) -> Verdict {
        let job = &mut self.step.job;
        if job.state != State::Running {
            return Illegal;
        }
        job.attempts = job.attempts.saturating_sub(1);
        self.requeue(Some(until));
        self.say(format!(
            "{message}; it waits, and nothing is charged for it"
        ));
        Taken
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
}

#[cfg(test)]
mod cancel_tests;
#[cfg(test)]
pub(crate) mod tests;
