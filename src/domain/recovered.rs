//! What a copy of the ledger does not know, by our own events on the relays: jobs that were answered, and invoices that buyers
//! hold. What is taken in is neither answered nor charged again, and its payment is looked for.

use std::collections::BTreeMap;

use nostr::{Event, EventId, Kind};

use super::credit::Debt;
use super::hold_secret::HoldSecrets;
use super::id::{Buyer, Preimage, RequestId};
use super::invoice;
use super::job::{Encryption, Invoice, InvoiceState, Job, MadeBy, PayOrder, State, Terms};
use super::msat::Msat;
use super::time::Time;
use super::transition;

/// What the relays have of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Who asked.
    pub buyer: Option<Buyer>,
    /// The request's kind, where a result tells it.
    pub kind: Option<u16>,
    /// The result.
    pub result: Option<EventId>,
    /// The invoice that the buyer holds.
    pub bolt11: Option<String>,
    /// What takes the payment of that invoice, where it is a hold invoice of ours.
    pub secret: Option<Preimage>,
    /// It was given up, and the buyer told.
    pub failed: bool,
    /// When the first of these events was signed.
    pub at: Time,
}

fn tag<'a>(event: &'a Event, name: &str, place: usize) -> Option<&'a str> {
    event.tags.iter().find_map(|tag| {
        let parts = tag.as_slice();
        (parts.first()? == name).then(|| parts.get(place).map(String::as_str))?
    })
}

/// Sorts our events by the request that they answer.
#[must_use]
pub fn by_request(events: &[Event]) -> BTreeMap<RequestId, Found> {
    let mut all: BTreeMap<RequestId, Found> = BTreeMap::new();
    for event in events {
        let Some(request) = tag(event, "e", 1).and_then(|id| EventId::from_hex(id).ok()) else {
            continue;
        };
        let found = all.entry(RequestId(request)).or_default();
        let at = Time::from_secs(event.created_at.as_secs());
        if found.at == Time(0) || at < found.at {
            found.at = at;
        }
        let buyer = tag(event, "p", 1).and_then(|key| nostr::PublicKey::from_hex(key).ok());
        found.buyer = found.buyer.or(buyer.map(Buyer));
        if event.kind == Kind::JobFeedback {
            found.failed |= tag(event, "status", 1) == Some("error");
        } else {
            found.result = Some(event.id);
            found.kind = event.kind.as_u16().checked_sub(1_000);
        }
        if let Some(bolt11) = tag(event, "amount", 2) {
            found.bolt11 = Some(bolt11.to_owned());
        }
    }
    // Only a sign of life: nothing was answered or asked for.
    all.retain(|_, found| found.result.is_some() || found.bolt11.is_some() || found.failed);
    all
}

impl Found {
    /// Finds what takes the payment of the invoice, where it is a hold invoice of this seller.
    pub fn find_secret(&mut self, id: &RequestId, secrets: &HoldSecrets) {
        let read = self
            .bolt11
            .as_deref()
            .and_then(|text| invoice::read(text).ok());
        let hash = read.as_ref().and_then(invoice::payment_hash);
        self.secret = hash.and_then(|hash| secrets.behind(id, &hash));
    }
}

/// Is there anything that the ledger does not know?
#[must_use]
pub fn is_news(known: Option<&Job>, found: &Found) -> bool {
    let Some(job) = known else {
        return true;
    };
    let bolt11 = job
        .invoice
        .as_ref()
        .and_then(|invoice| invoice.bolt11.as_ref());
    (found.result.is_some() && (job.result_id != found.result || !job.delivered))
        || (found.bolt11.is_some() && bolt11 != found.bolt11.as_ref())
        || (found.failed && found.result.is_none() && !job.state.is_final())
}

/// The invoice that a buyer holds, as the ledger would have it; none where it can't be read.
fn invoice_of(job: &Job, found: &Found, made_by: MadeBy) -> Option<Invoice> {
    let bolt11 = found.bolt11.as_deref()?;
    let read = invoice::read(bolt11).ok()?;
    let amount = invoice::amount(&read).ok()??;
    let (made_at, expires_at) = invoice::times(&read);
    Some(Invoice {
        state: InvoiceState::Open,
        wallet: made_by.backend,
        wallet_key: made_by.key,
        wallet_identity: made_by.identity,
        network: made_by.network,
        preimage: found.secret,
        payment_hash: Some(invoice::payment_hash(&read)?),
        bolt11: Some(bolt11.to_owned()),
        made_at: Some(made_at),
        expires_at: Some(expires_at),
        ..transition::intent(job, amount)
    })
}

/// The job as it must have been: the copy's, brought up to what the relays show.
#[must_use]
pub fn brought_up(mut job: Job, found: &Found, made_by: MadeBy, now: Time) -> Job {
    job.rev += 1;
    job.updated_at = now;
    job.boot = None;
    job.next_at = None;
    if let Some(bolt11) = &found.bolt11 {
        let same = |invoice: &Invoice| invoice.bolt11.as_ref() == Some(bolt11);
        if !job.invoice.as_ref().is_some_and(same)
            && let Some(invoice) = invoice_of(&job, found, made_by)
        {
            job.price = Some(invoice.amount);
            job.invoice = Some(invoice);
        }
    }
    let open = job.invoice.as_ref().is_some_and(|i| i.bolt11.is_some());
    if found.result.is_some() {
        job.result_id = found.result;
        job.delivered = true;
        job.owed = Msat::ZERO;
        take_held(&mut job);
        let paid = !job.paid.is_zero() || (!open && !job.balance_used.is_zero());
        job.state = match (!paid, open) {
            (false, _) => State::Paid,
            (true, true) => State::PendingPayment,
            (true, false) => State::Completed,
        };
    } else if found.failed {
        job.state = State::Error;
        job.error_code = Some("recovered".to_owned());
        job.error = Some("given up after this copy of the ledger was made".to_owned());
        job.owed = job.paid;
    } else if open && matches!(job.state, State::Queued | State::Quoting) && job.paid.is_zero() {
        job.state = State::AwaitingPayment;
    }
    job
}

/// A result leaves only while its payment is held: what was not taken is to be taken.
fn take_held(job: &mut Job) {
    let untaken = [
        InvoiceState::Open,
        InvoiceState::Expired,
        InvoiceState::Held,
    ];
    let is_hold = job.terms.order == PayOrder::Hold;
    if let Some(invoice) = job.invoice.as_mut().filter(|_| is_hold)
        && invoice.preimage.is_some()
        && untaken.contains(&invoice.state)
    {
        invoice.state = InvoiceState::Taking;
    }
}

/// A job of which the copy knows nothing at all.
#[must_use]
pub fn unknown(id: RequestId, found: &Found, terms: Terms) -> Option<Job> {
    Some(Job {
        id,
        buyer: found.buyer?,
        kind: found.kind.unwrap_or(5_050),
        // Nobody works on it: its text is not here.
        state: State::AwaitingPayment,
        rev: 0,
        encryption: Encryption::Plain,
        addressed: true,
        terms: Terms {
            order: match (found.secret, found.result) {
                (Some(_), _) => PayOrder::Hold,
                // Whoever has the result and the invoice pays for what was delivered.
                (None, Some(_)) => PayOrder::After,
                (None, None) => terms.order,
            },
            ..terms
        },
        has_texts: false,
        answer: None,
        price: None,
        paid: Msat::ZERO,
        owed: Msat::ZERO,
        balance_used: Msat::ZERO,
        left: Msat::ZERO,
        debt: Debt::default(),
        attempts: 0,
        interrupts: 0,
        wallet_tries: 0,
        next_at: None,
        boot: None,
        error_code: None,
        error: None,
        invoice: None,
        result_id: None,
        delivered: false,
        created_at: found.at,
        updated_at: found.at,
    })
}

#[cfg(test)]
mod tests {
    use nostr::{EventBuilder, Keys, Tag};

    use super::*;
    use crate::domain::transition::tests::job as fresh;

    fn event(us: &Keys, kind: u16, request: EventId, tags: &[&[&str]]) -> Event {
        let buyer = Keys::generate().public_key().to_hex();
        let id = request.to_hex();
        let mut all = vec![
            Tag::parse(["e", id.as_str()]).unwrap(),
            Tag::parse(["p", buyer.as_str()]).unwrap(),
        ];
        all.extend(
            tags.iter()
                .map(|tag| Tag::parse(tag.iter().copied()).unwrap()),
        );
        EventBuilder::new(Kind::from_u16(kind), "")
            .tags(all)
            .sign_with_keys(us)
            .unwrap()
    }

    #[test]
    fn a_sign_of_life_is_no_answer_and_a_result_is() {
        let us = Keys::generate();
        let id = |n: u8| EventId::from_byte_array([n; 32]);
        let events = [
            event(&us, 7000, id(1), &[&["status", "processing"]]),
            event(&us, 7000, id(2), &[&["status", "error", "sorry"]]),
            event(
                &us,
                7000,
                id(3),
                &[
                    &["status", "payment-required"],
                    &["amount", "10000", "lnbcrt1"],
                ],
            ),
            event(&us, 6050, id(4), &[]),
        ];
        let found = by_request(&events);
        assert_eq!(found.len(), 3);
        assert!(found[&RequestId(id(2))].failed);
        assert_eq!(found[&RequestId(id(3))].bolt11.as_deref(), Some("lnbcrt1"));
        let four = &found[&RequestId(id(4))];
        assert_eq!((four.result, four.kind), (Some(events[3].id), Some(5_050)));
    }

    #[test]
    fn what_was_delivered_while_it_was_held_is_taken() {
        let us = Keys::generate();
        let secrets = HoldSecrets::of(us.secret_key());
        let mut job = fresh(PayOrder::Hold);
        let secret = secrets.secret(&job.id, 0);
        let found = Found {
            buyer: Some(job.buyer),
            result: Some(EventId::from_byte_array([9; 32])),
            secret: Some(secret),
            ..Found::default()
        };
        let terms = fresh(PayOrder::After).terms;
        let order = unknown(job.id, &found, terms).unwrap().terms.order;
        assert_eq!(order, PayOrder::Hold, "its invoice says so");
        for (state, has, expected) in [
            (InvoiceState::Open, true, InvoiceState::Taking),
            (InvoiceState::Held, true, InvoiceState::Taking),
            (InvoiceState::Open, false, InvoiceState::Open),
            (InvoiceState::Paid, true, InvoiceState::Paid),
        ] {
            job.invoice = Some(Invoice {
                state,
                preimage: has.then_some(secret),
                ..transition::intent(&job, Msat::from_sats(5))
            });
            let up = brought_up(job.clone(), &found, MadeBy::default(), Time(1));
            assert!(up.delivered);
            assert_eq!(up.invoice.unwrap().state, expected);
        }
    }

    #[test]
    fn what_was_answered_is_not_answered_again() {
        let us = Keys::generate();
        let mut job = fresh(PayOrder::After);
        let result = event(&us, 6050, job.id.0, &[]);
        let found = &by_request(std::slice::from_ref(&result))[&job.id];
        assert!(is_news(None, found) && is_news(Some(&job), found));
        job = brought_up(job, found, MadeBy::default(), Time(1));
        assert_eq!(job.state, State::Completed);
        assert_eq!((job.result_id, job.delivered), (Some(result.id), true));
        assert!(!is_news(Some(&job), found));
    }
}
