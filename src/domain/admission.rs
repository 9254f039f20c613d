//! Is a request admitted? All rules of SPEC section 4 in their order, from facts that were fetched before.
//!
//! Nothing here comes from the network. Inputs that are events are fetched only for a request that is admitted, and
//! [`complete`] then looks at what was found.

use std::collections::BTreeMap;
use std::time::Duration;

use nostr::{Event, EventId, PublicKey};

use super::balance;
use super::credit;
use super::fair::{Gate, Rates, Standing, kept_free};
use super::id::Preimage;
use super::job::{Invoice, Job, PayOrder, State};
use super::message::{self, Message};
use super::msat::Msat;
use super::offer::{self, Chosen, Special};
use super::refusal::DropReason;
use super::request::{self, Agreed, Decrypt, Offer, Part, Request};
use super::time::Time;
use super::transition;

/// Requests of one buyer whose inputs are fetched at once.
pub const FETCHED_OF_ONE: u32 = 2;
/// Requests of all buyers whose inputs are fetched at once.
pub const FETCHED_OF_ALL: u32 = 16;

/// What the ledger knows of a request and its buyer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The request was seen before, or taken back.
    pub known: bool,
    /// Waiting jobs.
    pub waiting: u32,
    /// Waiting jobs of this buyer.
    pub waiting_of_buyer: u32,
    /// Buyers who have waiting jobs.
    pub buyers_waiting: u32,
    /// Did this buyer ever pay here?
    pub paid_before: bool,
    /// Did any buyer?
    pub anybody_paid: bool,
}

/// Requests whose inputs are being fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetching {
    /// Of this buyer.
    pub of_buyer: u32,
    /// Of all.
    pub of_all: u32,
    /// Buyers who have some.
    pub buyers: u32,
}

/// The settings that admission keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A request may be so old.
    pub max_request_age_secs: u64,
    /// Waiting jobs.
    pub queue: u32,
    /// Admissions in a minute.
    pub rates: Rates,
}

/// The shop itself at this moment.
#[allow(clippy::struct_excessive_bools)] // each is a matter of its own
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// It takes jobs.
    pub sells: bool,
    /// The wallet gives no invoices.
    pub wallet_down: bool,
    /// There is too little room on the disk.
    pub cramped: bool,
    /// The machine's owner has use for it.
    pub paused: bool,
}

/// Cuts what is agreed on to what can be delivered; an error where nothing can.
pub type Carry<'a> = dyn Fn(&mut Agreed) -> Result<(), DropReason> + 'a;

/// Does every endpoint that has this model refuse to work for the seller?
pub type Closed<'a> = dyn Fn(&str) -> bool + 'a;

/// Everything that a request is judged by.
pub struct Facts<'a> {
    /// The seller's key.
    pub us: &'a PublicKey,
    /// Opens what was encrypted to it.
    pub decrypt: &'a Decrypt<'a>,
    /// Is this buyer not served?
    pub is_blocked: &'a dyn Fn(&PublicKey) -> bool,
    /// What is sold as plain text.
    pub offer: Offer<'a>,
    /// The kinds of requests that plain text answers.
    pub kinds: &'a [u16],
    /// What is sold beside it.
    pub specials: &'a [Special],
    /// Cuts the answer to what a result on our relays can carry.
    pub carry: &'a Carry<'a>,
    /// The settings.
    pub limits: Limits,
    /// The ledger's part.
    pub record: Record,
    /// What is on its way.
    pub fetching: Fetching,
    /// The shop's state.
    pub open: Open,
    /// The endpoints' state.
    pub closed: &'a Closed<'a>,
}

/// A request that is admitted, if its inputs are found.
#[derive(Clone, Debug, PartialEq)]
pub struct Admit {
    /// As it was understood.
    pub request: Request,
    /// What both sides agree on.
    pub agreed: Agreed,
    /// The offer that it is for; none: plain text.
    pub special: Option<Special>,
    /// It is admitted where no more jobs than this wait, itself included.
    pub most_waiting: u32,
}

/// Judges one request whose id and signature were verified. `clock` is the gate's.
///
/// # Errors
/// The first drop reason that holds. All limits are looked at, and counted against, before anything is fetched.
pub fn admit(
    event: &Event,
    facts: &Facts,
    gate: &mut Gate,
    now: Time,
    clock: Duration,
) -> Result<Admit, DropReason> {
    if facts.record.known {
        return Err(DropReason::Duplicate);
    }
    request::screen(event, facts.us, now, facts.limits.max_request_age_secs)?;
    if (facts.is_blocked)(&event.pubkey) {
        return Err(DropReason::Blocked);
    }
    let kind = event.kind.as_u16();
    let offered = facts.specials.iter().any(|one| one.kind == kind);
    let request = request::read_offered(event, facts.us, facts.decrypt, offered)?;
    if request.expired(now) {
        return Err(DropReason::Stale);
    }
    let (mut agreed, special) = agree(&request, facts)?;
    (facts.carry)(&mut agreed)?;
    let record = &facts.record;
    if !gate.pass(
        request.buyer,
        record.paid_before,
        record.anybody_paid,
        facts.limits.rates,
        clock,
    ) {
        return Err(DropReason::RateLimited);
    }
    let most_waiting = room(&request, facts)?;
    let nowhere = special.is_some_and(|one| (facts.offer.available)(&one.model).is_none());
    if nowhere
        || (facts.closed)(&agreed.model)
        || !facts.open.sells
        || (facts.open.wallet_down && !agreed.price.is_free())
    {
        return Err(DropReason::Offline);
    }
    Ok(Admit {
        request,
        agreed,
        special: special.cloned(),
        most_waiting,
    })
}

/// What both sides agree on, by the offer that the request is for.
fn agree<'a>(
    request: &Request,
    facts: &Facts<'a>,
) -> Result<(Agreed, Option<&'a Special>), DropReason> {
    let plain = request.is_plain_text && facts.kinds.contains(&request.kind);
    match offer::choose(
        facts.specials,
        plain,
        request.kind,
        request.model.as_deref(),
    ) {
        Chosen::None => Err(DropReason::UnsupportedKind),
        Chosen::Plain => Ok((request::agree(request, &facts.offer)?, None)),
        Chosen::Special(special) => {
            let price_of = |_: &str| special.price;
            let mut agreed = request::agree(request, &special.terms(&facts.offer, &price_of))?;
            agreed.offer.clone_from(&special.name);
            Ok((agreed, Some(special)))
        }
    }
}

/// Is there a place in the queue, on the disk, and among what is fetched? Then how many jobs may wait with this one.
fn room(request: &Request, facts: &Facts) -> Result<u32, DropReason> {
    let (record, fetching) = (&facts.record, &facts.fetching);
    let standing = |mine, buyers| Standing {
        paid_before: record.paid_before,
        anybody_paid: record.anybody_paid,
        mine,
        buyers,
    };
    let queue = facts.limits.queue;
    let kept = kept_free(
        queue,
        standing(record.waiting_of_buyer, record.buyers_waiting),
    );
    let most_waiting = queue - kept;
    if facts.open.paused
        || facts.open.cramped
        || record.waiting.saturating_add(fetching.of_all) >= most_waiting
    {
        return Err(DropReason::Busy);
    }
    let kept = kept_free(FETCHED_OF_ALL, standing(fetching.of_buyer, fetching.buyers));
    let fetches = request
        .prompt_parts
        .iter()
        .any(|part| matches!(part, Part::Event { .. }));
    if fetches && (fetching.of_buyer >= FETCHED_OF_ONE || fetching.of_all + kept >= FETCHED_OF_ALL)
    {
        return Err(DropReason::Busy);
    }
    Ok(most_waiting)
}

/// The inputs that must be fetched: ids, and the relays that may have them.
#[must_use]
pub fn wanted(request: &Request) -> (Vec<EventId>, Vec<String>) {
    let (mut ids, mut hints) = (Vec::new(), Vec::new());
    for part in &request.prompt_parts {
        if let Part::Event { id, relay, .. } = part {
            if !ids.contains(id) {
                ids.push(*id);
            }
            hints.extend(relay.clone());
        }
    }
    (ids, hints)
}

/// The conversation to go on with, with the inputs that were found in their places.
///
/// # Errors
/// `no_input` where one was not found, or nothing is in them; `prompt_too_long`; `bid_too_low`. `system` is the seller's own
/// instructions, empty where there are none: their tokens are billed, and no limit of the buyer's.
pub fn complete(
    admit: &mut Admit,
    found: &BTreeMap<EventId, String>,
    prompt_bytes: usize,
    system: &str,
) -> Result<Vec<Message>, DropReason> {
    let request = &admit.request;
    let mut texts = Vec::with_capacity(request.prompt_parts.len());
    for part in &request.prompt_parts {
        match part {
            Part::Text(text) => texts.push(text.clone()),
            Part::Event { id, .. } => {
                let text = found.get(id).ok_or(DropReason::NoInput)?;
                texts.push(text.clone());
            }
        }
    }
    let asked = request.messages(texts);
    let prompt = message::spoken(&asked);
    if prompt.trim().is_empty() {
        return Err(DropReason::NoInput);
    }
    if prompt.len() > prompt_bytes {
        return Err(DropReason::PromptTooLong);
    }
    let (system, asked) = match &admit.special {
        Some(special) => (special.system.as_str(), special.told(request, asked)),
        None => (system, asked),
    };
    let messages = message::under(system, asked);
    request::cut_to_bid(
        &mut admit.agreed,
        admit.request.bid,
        message::most_bytes(&messages),
    )?;
    Ok(messages)
}

/// Pay first: the price of what the job is likely to use is asked before it runs. `preimage`: of a hold invoice, whose secret is
/// ours.
pub fn quote(job: &mut Job, preimage: Option<Preimage>) {
    let amount = credit::likely(job);
    job.price = Some(amount);
    if amount.is_zero() {
        job.terms.order = PayOrder::Free;
        return;
    }
    job.state = State::Quoting;
    job.invoice = Some(Invoice {
        preimage,
        ..transition::intent(job, amount)
    });
}

/// Jobs that are free, from the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeTier {
    /// For one buyer in a day.
    pub each: u32,
    /// For all buyers in a day.
    pub all: u32,
    /// The longest answer, tokens.
    pub max_tokens: u32,
}

impl FreeTier {
    /// May this job be free, where its buyer had `mine` and all had `all` today? One that names a longer answer is not, nor one that
    /// is to go first.
    #[must_use]
    pub fn takes(self, job: &Job, names_length: bool, mine: u32, all: u32) -> bool {
        let fits = !names_length || job.terms.params.max_tokens <= self.max_tokens;
        fits && job.terms.priority_percent == 0 && mine < self.each && all < self.all
    }

    /// Makes the job free, its answer no longer than a free one may be.
    pub fn give(self, job: &mut Job) {
        job.terms.order = PayOrder::Free;
        let most = &mut job.terms.params.max_tokens;
        *most = (*most).min(self.max_tokens);
        job.price = Some(Msat::ZERO);
        job.invoice = None;
        job.state = State::Queued;
        job.balance_used = Msat::ZERO;
        job.debt = credit::of_new(job);
    }
}

/// Sets apart what the job may use of its buyer's balance. What that covers is asked of nobody: all of it, and there is no
/// invoice.
pub fn use_balance(job: &mut Job, balance: Msat) {
    let cost = match job.terms.order {
        PayOrder::Free => Msat::ZERO,
        PayOrder::After => credit::most(job),
        PayOrder::Before | PayOrder::Hold => job.price.unwrap_or(Msat::ZERO),
    };
    job.balance_used = balance::usable(balance, cost);
    let left_to_pay = cost.saturating_sub(job.balance_used);
    if let Some(invoice) = &mut job.invoice {
        invoice.amount = left_to_pay;
        if left_to_pay.is_zero() {
            // Paid already: nothing is held, and nothing is waited for.
            job.invoice = None;
            job.terms.order = PayOrder::Before;
            job.state = State::Queued;
        }
    }
    job.debt = credit::of_new(job);
}

/// Turns a job whose buyer's credit is used up into one that is paid first.
pub fn pay_first(job: &mut Job, balance: Msat) {
    job.terms.order = PayOrder::Before;
    quote(job, None);
    use_balance(job, balance);
}

#[cfg(test)]
mod tests;
