//! The recovery desk's hands: keeps what the wallet says of an invoice in doubt, and does what a person decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::context::EngineContext;
use super::payments;
use super::redeliver;
use super::transition::ApplyError;
use crate::config::Settings;
use crate::domain::command::Reply;
use crate::domain::desk::{
    CaseKind, Desk, DeskAction, Dispute, DisputeKind, Facts, NoPlan, Plan, plan,
};
use crate::domain::event::EventKind;
use crate::domain::id::RequestId;
use crate::domain::invoice::{self, UNKNOWN_LOOKS};
use crate::domain::job::Job;
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::domain::transition::{self, JobEvent, TransitionError};
use crate::ledger::{Cause, Change, Ledger, LedgerError, Proof};
use crate::wallet::PaymentStatus;

/// The same word of the wallet is written down again after this long.
const WRITE_EVERY: Duration = Duration::from_secs(600);
/// How long a result that is sent again is of use.
const SENT_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Tries against other changes of the same job.
const TRIES: u32 = 16;

/// What the wallet says of invoices where that settles nothing, and when it was last written down.
pub type Disputes = HashMap<RequestId, (Dispute, Time)>;

/// What a person decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The job.
    pub id: RequestId,
    /// What it was when it was looked at, where known.
    pub case: Option<CaseKind>,
    /// What to do.
    pub action: DeskAction,
    /// Why, in the seller's words.
    pub note: String,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// It is not possible.
    #[error(transparent)]
    No(#[from] NoPlan),
    /// The job does not take the step.
    #[error(transparent)]
    Transition(#[from] ApplyError),
    /// The ledger did not take it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Only a running shop can do it.
    #[error(
        "the wallet is asked by a running vend: start it with `vend` or `vend run`, which looks at every open invoice, or run `vend audit`"
    )]
    NeedsShop,
    /// Only a shop that is online can ask the relays.
    #[error("the relays are asked first whether one has the result: go online, then try again")]
    NeedsRelays,
    /// The result is out.
    #[error("a relay has the result already: use deliver, which sends the same one to the others")]
    IsOut,
    /// The wallet could not be asked.
    #[error("{0}")]
    Wallet(String),
}

impl EngineContext {
    /// Remembers what an earlier run of the program wrote down.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn load_disputes(&self) -> Result<(), LedgerError> {
        let known = self.ledger.disputes().await?;
        let known = known.into_iter().map(|(id, dispute)| {
            let at = dispute.last_at;
            (id, (dispute, at))
        });
        self.disputed_invoices(|disputes| disputes.extend(known));
        Ok(())
    }

    /// What the wallet says of a job's invoice settles nothing: kept for the recovery desk.
    pub async fn dispute(&self, id: RequestId, kind: DisputeKind, words: &str) {
        let now = Time::now();
        let words = clean(words, 300);
        let due = self.disputed_invoices(|disputes| {
            let held = disputes.entry(id).or_insert_with(|| {
                let fresh = Dispute {
                    kind,
                    words: words.clone(),
                    first_at: now,
                    last_at: now,
                    times: 0,
                    decided: false,
                };
                (fresh, Time(0))
            });
            let (dispute, written) = held;
            if dispute.kind != kind || dispute.words != words {
                (dispute.kind, dispute.words) = (kind, words);
                (dispute.first_at, dispute.times, *written) = (now, 0, Time(0));
            }
            dispute.times = dispute.times.saturating_add(1);
            dispute.last_at = now;
            let due = dispute.times <= UNKNOWN_LOOKS || now.since(*written) >= WRITE_EVERY;
            if due {
                *written = now;
            }
            due.then(|| dispute.clone())
        });
        let Some(dispute) = due else { return };
        if let Err(error) = self.ledger.dispute(id, dispute).await {
            // The next such word writes it.
            self.disputed_invoices(|disputes| disputes.remove(&id));
            self.ledger_failed(&error);
        }
        self.wakers.stats.notify_one();
    }

    /// Weighs what a look at the wallet saw: keeps what needs a person, and gives the proof of a payment, which is to be kept
    /// with the payment.
    ///
    /// # Errors
    /// Where the ledger does not take it: then the wallet is to be asked again.
    pub async fn assess(
        &self,
        job: &Job,
        seen: &PaymentStatus,
    ) -> Result<Option<Proof>, LedgerError> {
        let Some(invoice) = &job.invoice else {
            return Ok(None);
        };
        match seen {
            PaymentStatus::Paid {
                amount,
                preimage,
                fee,
                ..
            } => {
                let Some(hash) = &invoice.payment_hash else {
                    return Ok(None);
                };
                match invoice::judge(hash, invoice.amount, *amount, preimage.as_ref()) {
                    invoice::Verdict::Paid { .. } => {
                        self.no_doubt(job.id).await?;
                        let (preimage, fee) = (*preimage, *fee);
                        let proves = preimage.is_some() || fee.is_some();
                        return Ok(proves.then_some(Proof { preimage, fee }));
                    }
                    invoice::Verdict::Attention(words) => {
                        self.dispute(job.id, DisputeKind::Attention, &words).await;
                    }
                }
            }
            PaymentStatus::Unknown => {
                let words = "the wallet does not know the invoice";
                self.dispute(job.id, DisputeKind::Unknown, words).await;
            }
            PaymentStatus::Attention(words) => {
                self.dispute(job.id, DisputeKind::Attention, words).await;
            }
            PaymentStatus::Pending
            | PaymentStatus::Held { .. }
            | PaymentStatus::Expired
            | PaymentStatus::Canceled => {
                self.no_doubt(job.id).await?;
            }
        }
        Ok(None)
    }

    async fn no_doubt(&self, id: RequestId) -> Result<(), LedgerError> {
        let Some(held) = self.disputed_invoices(|disputes| disputes.remove(&id)) else {
            return Ok(());
        };
        if let Err(error) = self.ledger.no_doubt(id).await {
            self.disputed_invoices(|disputes| disputes.insert(id, held));
            return Err(error);
        }
        self.wakers.stats.notify_one();
        Ok(())
    }
}

/// The desk as it is.
pub async fn desk(shop: Arc<EngineContext>) -> Reply {
    match of(&shop.ledger, Time::now()).await {
        Ok(desk) => Reply::Desk {
            desk: Box::new(desk),
        },
        Err(error) => refused(&error),
    }
}

/// The open cases and the last decisions.
///
/// # Errors
/// Where the ledger can't be read.
pub async fn of(ledger: &Ledger, now: Time) -> Result<Desk, LedgerError> {
    let facts = ledger.desk(now).await?;
    let desk = Desk::of(&facts, ledger.decisions().await?, now);
    Ok(desk.of_all(ledger.needing(now).await?))
}

/// Does what a person decided, in a running shop.
pub async fn act(shop: Arc<EngineContext>, order: Order) -> Reply {
    match carry_out(&shop, &order).await {
        Ok(detail) => Reply::Done { detail },
        Err(error) => refused(&error),
    }
}

fn refused(why: &impl std::fmt::Display) -> Reply {
    Reply::Refused {
        detail: why.to_string(),
    }
}

async fn carry_out(shop: &Arc<EngineContext>, order: &Order) -> Result<String, CaseError> {
    let (facts, plan) = planned(&shop.ledger, order).await?;
    let said = match plan {
        Plan::Already(words) => return Ok(words),
        Plan::Retry => {
            let job = shop.apply(order.id, JobEvent::Retry).await?;
            format!("the job is {}", job.state.status().as_str())
        }
        Plan::Poll => payments::look_now(shop, &facts.job)
            .await
            .map_err(CaseError::Wallet)?,
        Plan::Send => {
            let relays = shop.targets(&facts.job.terms.relays);
            let count = relays.len();
            send(&shop.ledger, order, relays).await?;
            shop.wakers.outbox.notify_one();
            if shop.connections().is_some() {
                format!("its result is sent to {count} relays again")
            } else {
                format!("its result goes to {count} relays when the shop goes online")
            }
        }
        Plan::SendAnew => redeliver::send_anew(shop, &facts.job).await?,
        Plan::Mark { .. } => marked(&shop.ledger, order, plan).await?,
    };
    // Whoever watches sees the job as it is now.
    if let Some(job) = shop.ledger.job(order.id).await? {
        shop.emit(EventKind::Job {
            job: Box::new(job.view()),
            what: order.action.history().to_owned(),
        });
    }
    shop.wakers.stats.notify_one();
    Ok(said)
}

/// Does what a person decided on a ledger that no shop has open. What only a shop can do waits for one, and says so.
///
/// # Errors
/// [`CaseError`]; nothing was written then.
pub async fn act_without_shop(
    ledger: &Ledger,
    settings: &Settings,
    order: &Order,
) -> Result<String, CaseError> {
    let (facts, plan) = planned(ledger, order).await?;
    match plan {
        Plan::Already(words) => Ok(words),
        Plan::Poll => Err(CaseError::NeedsShop),
        Plan::SendAnew => Err(CaseError::NeedsRelays),
        Plan::Retry => {
            retry(ledger, order.id).await?;
            Ok("the job is queued; it runs when vend is online".to_owned())
        }
        Plan::Send => {
            let mut relays = settings.nostr.relays.clone();
            relays.extend(facts.job.terms.relays);
            send(ledger, order, relays).await?;
            Ok("its result is sent again when vend is online".to_owned())
        }
        Plan::Mark { .. } => marked(ledger, order, plan).await,
    }
}

async fn planned(ledger: &Ledger, order: &Order) -> Result<(Facts, Plan), CaseError> {
    let facts = ledger.desk_of(order.id).await?;
    let facts = facts.ok_or(LedgerError::NoSuchJob)?;
    let plan = plan(&facts, order.case, order.action, &order.note, Time::now())?;
    Ok((facts, plan))
}

async fn send(ledger: &Ledger, order: &Order, relays: Vec<String>) -> Result<(), CaseError> {
    let until = Time::now().plus(SENT_FOR);
    let note = clean(&order.note, crate::domain::desk::NOTE_MAX);
    if ledger.send_again(order.id, relays, until, note).await? {
        return Ok(());
    }
    // Erased since it was looked at.
    Err(NoPlan::NoCase(order.id.short()).into())
}

/// Writes a decision; where another change of the job came first, what it is about is looked at again.
async fn marked(ledger: &Ledger, order: &Order, first: Plan) -> Result<String, CaseError> {
    let mut next = first;
    let mut tries = 0;
    loop {
        let (job, decision, withdraw) = match next {
            Plan::Mark {
                job,
                decision,
                withdraw,
            } => (job, decision, withdraw),
            Plan::Already(words) => return Ok(words),
            Plan::Retry | Plan::Poll | Plan::Send | Plan::SendAnew => {
                return Err(NoPlan::NoCase(order.id.short()).into());
            }
        };
        let said = format!(
            "marked {}: {}",
            decision.action.history(),
            decision.amount_msat.display()
        );
        match ledger.decide(*job, decision, withdraw).await {
            Ok(()) => return Ok(said),
            Err(LedgerError::Conflict) if tries < TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
        next = planned(ledger, order).await?.1;
    }
}

async fn retry(ledger: &Ledger, id: RequestId) -> Result<(), CaseError> {
    let job = ledger.job(id).await?.ok_or(LedgerError::NoSuchJob)?;
    let step = transition::transition(&job, JobEvent::Retry, Time::now()).map_err(step_error)?;
    let change = Change {
        before: job,
        job: step.job,
        what: JobEvent::Retry.as_str(),
        detail: step.detail,
        answer: None,
        // A retry signs nothing.
        drafts: Vec::new(),
        withdraw: step.withdraw,
        cause: Cause::Itself,
    };
    ledger.commit(change).await?;
    Ok(())
}

fn step_error(no: TransitionError) -> CaseError {
    CaseError::Transition(no.into())
}
