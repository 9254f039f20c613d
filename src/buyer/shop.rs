//! One purchase: what is heard and paid, handed to the rules, and what they say, done. What the next run must know is in the
//! ledger before the wallet is asked.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use nostr::{Event, PublicKey};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Buyer, BuyerError, Inbox, Payer};
use crate::crash;
use crate::domain::Hex32;
use crate::domain::buyer::Due;
use crate::domain::id::RequestId;
use crate::domain::purchase::{Act, End, Payment, Purchase, PurchaseStatus, Terms};
use crate::domain::time::Time;
use crate::ledger::{Caps, Intent, Ledger, NewPurchase, Progress};

/// How long a relay may take to listen before the request goes out.
const LISTEN: Duration = Duration::from_secs(5);

/// The shortest time a wallet is given: asked too briefly it pays and nobody hears of it.
const PAY: Duration = Duration::from_secs(60);

/// Where a purchase is written down.
#[derive(Clone)]
pub struct Record {
    /// The ledger.
    pub ledger: Ledger,
    /// What is bought.
    pub new: NewPurchase,
    /// What may be spent.
    pub caps: Option<Caps>,
}

impl Record {
    const fn id(&self) -> Hex32 {
        self.new.id
    }
}

/// One purchase's way.
pub struct Trip<'a> {
    /// The signed request.
    pub request: &'a Event,
    /// What is bought, and on which terms.
    pub terms: Terms,
    /// Who pays.
    pub payer: Option<&'a Payer>,
    /// Where it is written down; a purchase that pays has one.
    pub record: Option<&'a Record>,
    /// When nothing more is waited for.
    pub until: Instant,
    /// Wait until an invoice that has to be paid by hand is over.
    pub wait_for_invoice: bool,
    /// Give up where nothing at all is heard within this time.
    pub first_word: Option<Duration>,
    /// Give up when this is cancelled, unless something was paid by then.
    pub cancel: CancellationToken,
}

/// Publishes the request, and goes on until there is an answer, none can come, or time is over. `tell` hears each act.
///
/// # Errors
/// Where the request could not be written down or no relay took it: nothing was paid.
pub async fn buy(
    buyer: &Buyer,
    trip: Trip<'_>,
    tell: &mut (dyn FnMut(&Act) + Send),
) -> Result<End, BuyerError> {
    let began = Instant::now();
    if let Some(record) = trip.record {
        record.ledger.purchase_begins(record.new.clone()).await?;
    }
    crash::point("buy.begun");
    let mut inbox = buyer.follow(RequestId(trip.request.id), trip.terms.to);
    buyer.ready(trip.until.min(began + LISTEN)).await;
    let record = trip.record;
    let sending = buyer.send(trip.request, trip.until).boxed();
    let end = Walk {
        purchase: Purchase::new(trip.terms.clone()),
        sending: Some(sending),
        paying: None,
        until: trip.until,
        trip,
        began,
        heard: false,
    }
    .run(&mut inbox, tell)
    .await;
    if let Err(error) = &end {
        let failed = said(&error.to_string());
        note(record, PurchaseStatus::Failed, failed).await;
    }
    end
}

struct Walk<'a> {
    trip: Trip<'a>,
    purchase: Purchase,
    /// The request on its way. A relay that took it and lost its OK is known by the answers alone.
    sending: Option<BoxFuture<'a, Result<RequestId, BuyerError>>>,
    paying: Option<BoxFuture<'a, Payment>>,
    until: Instant,
    began: Instant,
    /// Somebody has said something.
    heard: bool,
}

impl Walk<'_> {
    async fn run(
        mut self,
        inbox: &mut Inbox,
        tell: &mut (dyn FnMut(&Act) + Send),
    ) -> Result<End, BuyerError> {
        let silent_at = self.trip.first_word.map(|long| Instant::now() + long);
        loop {
            let silence = async {
                match silent_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let acts = tokio::select! {
                biased;
                payment = done(&mut self.paying) => {
                    self.paying = None;
                    self.paid(payment).await
                }
                sent = done(&mut self.sending) => {
                    self.sending = None;
                    crash::point("buy.sent");
                    match sent {
                        Err(error) if !self.heard => return Err(error),
                        _ => Vec::new(),
                    }
                }
                heard = inbox.next() => match heard {
                    Some(heard) => {
                        self.heard = true;
                        self.purchase.heard(
                            heard.seller,
                            heard.event,
                            heard.kind,
                            heard.answer,
                            Time::now(),
                        )
                    }
                    None => vec![Act::End(self.purchase.give_up("the connection has ended"))],
                },
                () = self.trip.cancel.cancelled(), if self.purchase.payee().is_none() => {
                    vec![Act::End(self.purchase.give_up("nobody waits for the answer any more"))]
                }
                () = silence, if !self.heard => {
                    let secs = self.trip.first_word.unwrap_or_default().as_secs();
                    vec![Act::End(self.purchase.give_up(&format!("nothing was heard within {secs} s")))]
                }
                () = tokio::time::sleep_until(self.until) => {
                    let secs = self.until.saturating_duration_since(self.began).as_secs_f64().round();
                    vec![Act::End(self.purchase.give_up(&format!("no result within {secs} s")))]
                }
            };
            if let Some(end) = self.act(acts, inbox, tell).await {
                self.write_end(&end).await;
                return Ok(end);
            }
        }
    }

    /// Does what the rules say; an intent that is not taken gives them something new to say.
    async fn act(
        &mut self,
        acts: Vec<Act>,
        inbox: &Inbox,
        tell: &mut (dyn FnMut(&Act) + Send),
    ) -> Option<End> {
        let mut acts = std::collections::VecDeque::from(acts);
        while let Some(act) = acts.pop_front() {
            tell(&act);
            match act {
                Act::End(end) => return Some(end),
                Act::Pay { seller, due } => match self.intend(seller, &due).await {
                    Ok(()) => {
                        inbox.only(seller);
                        self.pay(due);
                    }
                    Err(words) => acts.extend(self.purchase.payment(Payment::NotPaid(words))),
                },
                Act::Invoice { due, .. } if self.trip.wait_for_invoice => {
                    let left = due.expires_at.since(Time::now());
                    self.until = self.until.max(Instant::now() + left);
                }
                Act::Feedback { .. }
                | Act::Partial { .. }
                | Act::Fault { .. }
                | Act::Invoice { .. } => {}
            }
        }
        None
    }

    /// Committed, or why nothing is paid.
    async fn intend(&mut self, seller: PublicKey, due: &Due) -> Result<(), String> {
        let (Some(record), Some(payer)) = (self.trip.record, self.trip.payer) else {
            return match self.trip.payer {
                Some(_) => Ok(()),
                None => Err("not paid: there is no wallet".to_owned()),
            };
        };
        crash::point("buy.intent.before");
        let intent = record.ledger.purchase_intends(
            record.id(),
            seller,
            due.clone(),
            payer.identity(),
            record.caps,
            Time::now(),
        );
        let said = match intent.await {
            Ok(Intent::Committed) => Ok(()),
            Ok(Intent::OverRequest) => Err(format!(
                "not paid: it asks for {}, which is more than gateway.max_sats_per_request",
                due.amount.display()
            )),
            Ok(Intent::OverDay(spent)) => Err(format!(
                "not paid: {} were spent in the last 24 hours, and {} more would be beyond gateway.max_sats_per_day",
                spent.display(),
                due.amount.display()
            )),
            Ok(Intent::SameInvoice) => {
                Err("not paid: it sent the invoice of another purchase".to_owned())
            }
            Ok(Intent::NotNow) => Err("not paid: this purchase can't be paid now".to_owned()),
            Err(error) => Err(format!("not paid: {error}")),
        };
        crash::point("buy.intent.after");
        said
    }

    fn pay(&mut self, due: Due) {
        let Some(payer) = self.trip.payer else {
            return;
        };
        // A payment that the seller holds is over only with the work.
        let wait = self
            .until
            .saturating_duration_since(Instant::now())
            .max(PAY);
        self.paying = Some(async move { payer.pay(&due, wait).await }.boxed());
    }

    async fn paid(&mut self, payment: Payment) -> Vec<Act> {
        crash::point("buy.paid.before");
        let (status, progress) = match &payment {
            Payment::Paid(paid) => (
                PurchaseStatus::Paid,
                Progress {
                    paid: Some(paid.amount),
                    fee: paid.fee,
                    error: Some(String::new()),
                    ..Progress::default()
                },
            ),
            Payment::NotPaid(words) => (PurchaseStatus::Asked, said(words)),
            Payment::NotKnown(words) => (PurchaseStatus::Paying, said(words)),
        };
        note(self.trip.record, status, progress).await;
        crash::point("buy.paid.after");
        self.purchase.payment(payment)
    }

    async fn write_end(&mut self, end: &End) {
        let (status, mut progress) = written(end);
        progress.elapsed_ms = u64::try_from(self.began.elapsed().as_millis()).ok();
        crash::point("buy.delivered.before");
        note(self.trip.record, status, progress).await;
        crash::point("buy.delivered.after");
    }
}

/// Waits for ever where nothing is under way.
async fn done<T>(under_way: &mut Option<BoxFuture<'_, T>>) -> T {
    match under_way {
        Some(under_way) => under_way.await,
        None => std::future::pending().await,
    }
}

fn said(words: &str) -> Progress {
    Progress {
        error: Some(words.to_owned()),
        ..Progress::default()
    }
}

/// How an end stands in the ledger.
fn written(end: &End) -> (PurchaseStatus, Progress) {
    match end {
        End::Delivered {
            delivery, unsure, ..
        } => (
            PurchaseStatus::Delivered,
            Progress {
                seller: Some(delivery.seller),
                model: delivery.model.clone(),
                error: Some(unsure.clone().unwrap_or_default()),
                ..Progress::default()
            },
        ),
        End::Failed { words, .. } => (PurchaseStatus::Failed, said(words)),
        End::Lost { words, .. } => (PurchaseStatus::Lost, said(words)),
        End::Unsure { words, .. } => (PurchaseStatus::Paying, said(words)),
    }
}

/// Writes a step that has happened. Where the ledger does not take it, it is told: the next run learns it from wallet and
/// relays.
async fn note(record: Option<&Record>, status: PurchaseStatus, progress: Progress) {
    let Some(record) = record else {
        return;
    };
    let noted = record
        .ledger
        .purchase_goes_on(record.id(), status, progress, Time::now())
        .await;
    if let Err(error) = noted {
        tracing::error!(id = %record.id(), %error, "a purchase's step was not written down");
    }
}
