//! The recovery desk: which jobs need a person about money, why, and what can be done. A pure derivation from what the
//! ledger knows; nothing here is stored but the decisions.
//!
//! A job has at most one case, the most serious one. A case leaves the list by itself when its cause is gone (the result
//! got out, the wallet answers again), or by a decision, which stays in the history.

mod plan;
mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::{Buyer, PaymentHash, RequestId};
use super::invoice::UNKNOWN_LOOKS;
use super::job::{Invoice, InvoiceState, Job, PayOrder, State, Status};
use super::msat::Msat;
use super::text::clean;
use super::time::Time;
use super::transition::{self, JobEvent};

pub use plan::{NoPlan, Plan, plan};
pub use words::{CaseKind, DeskAction, DisputeKind};

/// A paid job whose state has not changed for this long is stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(600);
/// A payment is late where it came this long after its invoice had expired; less is the clocks' own difference.
pub const LATE_AFTER: Duration = Duration::from_secs(60);
/// Late payments are told for this long.
pub const LATE_TOLD: Duration = Duration::from_secs(30 * 24 * 3_600);
/// An invoice that nobody has seen is told for this long after it has expired.
pub const ORPHAN_TOLD: Duration = Duration::from_secs(24 * 3_600);
/// The longest note, characters.
pub const NOTE_MAX: usize = 400;
/// The most cases and the most decisions that are told at once.
pub const TOLD_MAX: u32 = 200;

/// What the wallet last said of an invoice, where that settles nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// What sort of word.
    pub kind: DisputeKind,
    /// Its words, cleaned.
    pub words: String,
    /// When it first said so.
    pub first_at: Time,
    /// When it last said so; up to ten minutes behind.
    pub last_at: Time,
    /// How often, up to the last time that was written down.
    pub times: u32,
    /// Has a person decided on it?
    #[serde(default)]
    pub decided: bool,
}

impl Dispute {
    /// Is it more than a passing word? A wallet that has just started may not know an invoice for a moment.
    #[must_use]
    pub const fn counts(&self) -> bool {
        !self.decided && (!matches!(self.kind, DisputeKind::Unknown) || self.times >= UNKNOWN_LOOKS)
    }
}

/// Invoices of a job that were asked for and are with nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The backend that was asked.
    pub wallet: String,
    /// How many answers were lost.
    pub lost: u32,
    /// Is the last question still without an answer?
    pub open: bool,
    /// What the wallet said, or that it said nothing.
    pub words: String,
    /// The hash of the one that was found or answered too late.
    pub payment_hash: Option<PaymentHash>,
    /// The last question.
    pub at: Time,
    /// Has a person decided on it?
    pub decided: bool,
}

/// A decision on a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The job.
    pub id: RequestId,
    /// What the case was.
    pub kind: CaseKind,
    /// What was decided.
    pub action: DeskAction,
    /// Why, in the seller's words.
    pub note: String,
    /// The money it was about.
    pub amount_msat: Msat,
    /// When.
    pub at: Time,
}

/// All that the ledger knows of a job that may be a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The job.
    pub job: Job,
    /// What the wallet last said, where that settles nothing.
    pub dispute: Option<Dispute>,
    /// Invoices that are with nobody.
    pub asked: Option<Asked>,
    /// Are the result's signed bytes still kept?
    pub result_kept: bool,
    /// Relays that have the result.
    pub accepted_by: Vec<String>,
    /// Relays to which it is on its way.
    pub due_at: u32,
    /// What was decided, oldest first.
    pub decisions: Vec<Decision>,
}

/// A case with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The job; also the case's name.
    pub id: RequestId,
    /// What it is about.
    pub kind: CaseKind,
    /// Must somebody do something?
    pub needs_you: bool,
    /// Since when.
    pub since: Time,
    /// What is so, in a sentence.
    pub text: String,
    /// What can be done, the best first.
    pub actions: Vec<DeskAction>,
    /// Who asked.
    pub buyer: Buyer,
    /// The job's status.
    pub status: Status,
    /// The model.
    pub model: String,
    /// What the invoice asks for.
    pub amount_msat: Option<Msat>,
    /// What the wallet confirmed.
    pub paid_msat: Msat,
    /// What is owed back.
    pub owed_to_buyer_msat: Msat,
    /// The invoice's hash.
    pub payment_hash: Option<PaymentHash>,
    /// When the invoice was made.
    pub invoice_made_at: Option<Time>,
    /// When it expires.
    pub invoice_expires_at: Option<Time>,
    /// When the payment was confirmed.
    pub paid_at: Option<Time>,
    /// The backend that made the invoice.
    pub wallet: Option<String>,
    /// That wallet's own name for itself.
    pub wallet_identity: Option<String>,
    /// What that wallet calls the invoice.
    pub wallet_ref: Option<String>,
    /// What the wallet said, and when.
    pub wallet_said: Option<Dispute>,
    /// How many invoices were asked for and are with nobody.
    pub lost_invoices: u32,
    /// The result event's id.
    pub result_id: Option<String>,
    /// Are its signed bytes still kept?
    pub result_kept: bool,
    /// Relays that have it.
    pub accepted_by: Vec<String>,
    /// Why the job failed.
    pub error: Option<String>,
}

/// The desk as it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desk {
    /// Open cases: first those that need somebody, the newest first.
    pub cases: Vec<Case>,
    /// Cases that need somebody and are not among these: a list has an end, money has not.
    #[serde(default)]
    pub more: u64,
    /// What was decided, the latest first.
    pub history: Vec<Decision>,
}

impl Desk {
    /// The cases among these facts, in their order.
    #[must_use]
    pub fn of(facts: &[Facts], history: Vec<Decision>, now: Time) -> Self {
        let mut cases: Vec<Case> = facts.iter().filter_map(|facts| case(facts, now)).collect();
        cases.sort_by_key(|case| {
            (
                !case.needs_you,
                std::cmp::Reverse(case.since),
                case.id.0.to_bytes(),
            )
        });
        cases.truncate(TOLD_MAX as usize);
        Self {
            cases,
            more: 0,
            history,
        }
    }

    /// With the number of cases that need somebody in all.
    #[must_use]
    pub fn of_all(mut self, needing: u64) -> Self {
        let listed = self.cases.iter().filter(|case| case.needs_you).count();
        self.more = needing.saturating_sub(listed as u64);
        self
    }
}

/// The case that a job is, if it is one.
#[must_use]
pub fn case(facts: &Facts, now: Time) -> Option<Case> {
    let kind = kind(facts, now)?;
    let job = &facts.job;
    let invoice = job.invoice.as_ref();
    let found = facts.asked.as_ref().and_then(|asked| asked.payment_hash);
    Some(Case {
        id: job.id,
        kind,
        needs_you: kind.needs_you(),
        since: since(kind, facts),
        text: text(kind, facts),
        actions: actions(kind, facts, now),
        buyer: job.buyer,
        status: job.state.status(),
        model: clean(&job.terms.model, 200),
        amount_msat: invoice.map(|invoice| invoice.amount).or(job.price),
        paid_msat: job.paid,
        owed_to_buyer_msat: job.owed,
        payment_hash: invoice.and_then(|invoice| invoice.payment_hash).or(found),
        invoice_made_at: invoice.and_then(|invoice| invoice.made_at),
        invoice_expires_at: invoice.and_then(|invoice| invoice.expires_at),
        paid_at: invoice.and_then(|invoice| invoice.paid_at),
        wallet: invoice
            .map(|invoice| invoice.wallet.clone())
            .filter(|word| !word.is_empty())
            .or_else(|| facts.asked.as_ref().map(|asked| asked.wallet.clone())),
        wallet_identity: invoice
            .and_then(|invoice| invoice.wallet_identity.as_deref())
            .map(|name| clean(name, 200)),
        wallet_ref: invoice
            .and_then(|invoice| invoice.backend_ref.as_deref())
            .map(|name| clean(name, 200)),
        wallet_said: facts.dispute.clone(),
        lost_invoices: facts.asked.as_ref().map_or(0, |asked| lost(job, asked)),
        result_id: job.result_id.map(|id| id.to_hex()),
        result_kept: facts.result_kept,
        accepted_by: (facts.accepted_by.iter())
            .map(|relay| clean(relay, 200))
            .collect(),
        error: job.error.as_deref().map(|error| clean(error, 400)),
    })
}

fn kind(facts: &Facts, now: Time) -> Option<CaseKind> {
    let job = &facts.job;
    if !job.owed.is_zero() {
        let can_deliver = facts.result_kept || can_retry(job, now);
        return Some(if can_deliver {
            CaseKind::Undelivered
        } else {
            CaseKind::Owed
        });
    }
    if is_stuck(job, now) {
        return Some(CaseKind::Undelivered);
    }
    if cant_be_taken(facts) {
        return Some(CaseKind::Disputed);
    }
    let invoice = job.invoice.as_ref();
    let is_paid = invoice.is_some_and(|invoice| invoice.state == InvoiceState::Paid);
    if !is_paid && facts.dispute.as_ref().is_some_and(Dispute::counts) {
        return Some(CaseKind::Disputed);
    }
    if is_late(facts, now) {
        return Some(CaseKind::Late);
    }
    let asked = facts.asked.as_ref()?;
    let told = Duration::from_secs(job.terms.invoice_expiry_secs).saturating_add(ORPHAN_TOLD);
    let is_orphan = !asked.decided && lost(job, asked) > 0 && now < asked.at.plus(told);
    is_orphan.then_some(CaseKind::Orphan)
}

/// Delivered, and the payment that is held for it waits for a secret that a copied ledger lacks.
fn cant_be_taken(facts: &Facts) -> bool {
    let is_decided = |one: &Decision| one.kind == CaseKind::Disputed;
    let lacks =
        |invoice: &Invoice| invoice.state == InvoiceState::Taking && invoice.preimage.is_none();
    facts.job.invoice.as_ref().is_some_and(lacks) && !facts.decisions.iter().any(is_decided)
}

fn is_stuck(job: &Job, now: Time) -> bool {
    !job.paid.is_zero()
        && !job.delivered
        && !job.state.is_final()
        && now >= job.updated_at.plus(STUCK_AFTER)
}

fn is_late(facts: &Facts, now: Time) -> bool {
    let job = &facts.job;
    let Some(invoice) = &job.invoice else {
        return false;
    };
    let (Some(paid_at), Some(expires_at)) = (invoice.paid_at, invoice.expires_at) else {
        return false;
    };
    let decided = (facts.decisions.iter()).any(|one| one.kind == CaseKind::Late);
    // A held payment came in time, and is taken when the work is delivered.
    invoice.state == InvoiceState::Paid
        && job.terms.order != PayOrder::Hold
        && paid_at > expires_at.plus(LATE_AFTER)
        && now < paid_at.plus(LATE_TOLD)
        && !decided
}

/// How many invoices of the job may be with the wallet and with nobody else. The one that is being asked for is none.
fn lost(job: &Job, asked: &Asked) -> u32 {
    let waits = matches!(job.state, State::Inferred | State::Quoting);
    asked.lost.saturating_add(u32::from(asked.open && !waits))
}

fn can_retry(job: &Job, now: Time) -> bool {
    transition::transition(job, JobEvent::Retry, now).is_ok()
}

fn since(kind: CaseKind, facts: &Facts) -> Time {
    let job = &facts.job;
    let paid_at = job.invoice.as_ref().and_then(|invoice| invoice.paid_at);
    match kind {
        CaseKind::Undelivered | CaseKind::Owed | CaseKind::Late => paid_at,
        CaseKind::Disputed => facts.dispute.as_ref().map(|dispute| dispute.first_at),
        CaseKind::Orphan => facts.asked.as_ref().map(|asked| asked.at),
    }
    .unwrap_or(job.updated_at)
}

fn text(kind: CaseKind, facts: &Facts) -> String {
    let job = &facts.job;
    let why = job.error.as_deref().map_or_else(
        || format!("the job is {}", job.state.status().as_str()),
        |error| clean(error, 200),
    );
    let paid = job.paid.display();
    match kind {
        CaseKind::Undelivered if job.owed.is_zero() => {
            format!("paid {paid}, and nothing has moved for ten minutes: {why}")
        }
        CaseKind::Undelivered => format!("paid {paid}, and nothing was delivered: {why}"),
        CaseKind::Owed => format!(
            "{} is owed back, as the work can't be delivered any more: {why}",
            job.owed.display()
        ),
        CaseKind::Disputed => disputed(facts),
        CaseKind::Late => {
            let invoice = job.invoice.as_ref();
            let late = invoice
                .and_then(|invoice| Some(invoice.paid_at?.since(invoice.expires_at?)))
                .unwrap_or_default();
            format!(
                "paid {paid} {} min after its invoice had expired; it is counted",
                late.as_secs() / 60
            )
        }
        CaseKind::Orphan => {
            let asked = facts.asked.as_ref();
            let words = asked.map_or("", |asked| asked.words.as_str());
            let words = clean(words, 200);
            let because = if words.is_empty() {
                String::new()
            } else {
                format!(": {words}")
            };
            let count = asked.map_or(0, |asked| lost(job, asked));
            let what = if count == 1 {
                "an invoice was".to_owned()
            } else {
                format!("{count} invoices were")
            };
            format!("{what} asked for and never shown to anybody, so nobody can pay{because}")
        }
    }
}

fn disputed(facts: &Facts) -> String {
    let job = &facts.job;
    let amount = (job.invoice.as_ref()).map_or_else(Msat::default, |invoice| invoice.amount);
    let given = if job.delivered {
        "delivered, "
    } else {
        "not delivered, "
    };
    let asks = amount.display();
    if cant_be_taken(facts) {
        return format!(
            "{given}{asks} held: the secret that takes them is not in this ledger, and can't be computed from this key; in time they go back by themselves"
        );
    }
    let Some(dispute) = &facts.dispute else {
        return String::new();
    };
    match dispute.kind {
        DisputeKind::Attention => format!("{given}{asks} asked: {}", clean(&dispute.words, 200)),
        DisputeKind::Unknown => {
            format!("{given}{asks} asked: the wallet does not know the invoice")
        }
        DisputeKind::OtherWallet => format!(
            "{given}{asks} asked: the invoice was made by another wallet, which can't be asked now"
        ),
    }
}

fn actions(kind: CaseKind, facts: &Facts, now: Time) -> Vec<DeskAction> {
    use DeskAction::{Deliver, Redeliver, Refunded, Retry, Waive};
    let job = &facts.job;
    let polls = (job.invoice.as_ref()).is_some_and(|i| i.bolt11.is_some());
    let settled = job.state.is_final();
    let offered = |action: &DeskAction| match (kind, action) {
        (CaseKind::Undelivered, Retry) => can_retry(job, now),
        (CaseKind::Disputed, Retry) => polls,
        (CaseKind::Undelivered, Redeliver) => {
            settled && facts.result_kept && facts.accepted_by.is_empty() && !job.delivered
        }
        (_, Redeliver)
        | (CaseKind::Owed | CaseKind::Late | CaseKind::Orphan, Retry)
        | (CaseKind::Orphan, Deliver | Refunded) => false,
        (_, Deliver) => facts.result_kept,
        // A job that still runs is cancelled first: only then is it known what is owed.
        (CaseKind::Undelivered, Refunded | Waive) => settled,
        (_, Refunded | Waive) => true,
    };
    let mut all = DeskAction::ALL.to_vec();
    if kind == CaseKind::Undelivered && facts.result_kept {
        // The work is done: sending it is better than doing it again.
        all.swap(0, 1);
    }
    all.retain(offered);
    all
}

#[cfg(test)]
mod tests;
