//! Purchases that an earlier run left open: what the wallet and the relays know of them.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Heard, Payer};
use crate::domain::buyer::Answer;
use crate::domain::id::RequestId;
use crate::domain::purchase::{
    Act, Became, Delivery, End, Paid, Payment, Purchase, PurchaseStatus, Terms, became,
};
use crate::domain::time::Time;
use crate::ledger::{Bought, Ledger, LedgerError, Progress};

/// No request is waited for longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Open purchases that are looked at in one go.
const AT_ONCE: u32 = 200;

/// Asks the wallet about every payment that is not decided, and writes down what became of it. Returns how many are still open.
///
/// # Errors
/// Where the ledger can't be used. A wallet that does not answer leaves a purchase as it is.
pub async fn settle_open(ledger: &Ledger, payer: &Payer) -> Result<usize, LedgerError> {
    let now = Time::now();
    ledger
        .purchases_abandon(now.minus(LONGEST_WAIT), now)
        .await?;
    let mut open = 0;
    let identity = payer.identity();
    for bought in ledger.purchases(true, AT_ONCE).await? {
        let undecided = bought.view.status == PurchaseStatus::Paying || is_unsure(&bought);
        if !undecided || bought.payer.as_ref() != Some(&identity) {
            continue;
        }
        if !settle(ledger, payer, &bought).await? {
            open += 1;
        }
    }
    Ok(open)
}

/// Its answer came, and it is not known whether it was paid.
fn is_unsure(bought: &Bought) -> bool {
    bought.view.status == PurchaseStatus::Delivered && bought.view.paid_msat.is_zero()
}

/// True where it is decided now.
async fn settle(ledger: &Ledger, payer: &Payer, bought: &Bought) -> Result<bool, LedgerError> {
    let (Some(hash), Some(expires_at)) = (bought.view.payment_hash, bought.invoice_expires_at)
    else {
        return Ok(false);
    };
    let trace = match payer.trace(&hash).await {
        Ok(trace) => trace,
        Err(error) => {
            tracing::info!(id = %bought.view.id, %error, "the wallet does not say what became of a payment");
            return Ok(false);
        }
    };
    let now = Time::now();
    let delivered = bought.view.status == PurchaseStatus::Delivered;
    let (status, progress) = match became(trace, expires_at, now) {
        Became::Open => return Ok(false),
        Became::Paid { fee } => (
            if delivered {
                PurchaseStatus::Delivered
            } else {
                PurchaseStatus::Paid
            },
            Progress {
                paid: bought.due,
                fee,
                error: Some(String::new()),
                ..Progress::default()
            },
        ),
        Became::NotPaid => (
            if delivered {
                PurchaseStatus::Delivered
            } else {
                PurchaseStatus::Failed
            },
            Progress {
                error: Some("it was not paid".to_owned()),
                unpaid: true,
                ..Progress::default()
            },
        ),
    };
    ledger
        .purchase_goes_on(bought.view.id, status, progress, now)
        .await?;
    Ok(true)
}

/// Takes up answers to purchases of earlier runs, for `wait` or until none is awaited. Returns what came.
///
/// # Errors
/// Where the ledger can't be used.
pub async fn collect(
    ledger: &Ledger,
    late: &mut mpsc::Receiver<Heard>,
    wait: Duration,
) -> Result<Vec<(Bought, Delivery)>, LedgerError> {
    let until = Instant::now() + wait;
    let mut awaited: HashSet<RequestId> = ledger
        .purchases(true, AT_ONCE)
        .await?
        .into_iter()
        .filter(|bought| bought.view.status != PurchaseStatus::Delivered)
        .map(|bought| bought.view.request_id)
        .collect();
    let mut came = Vec::new();
    while !awaited.is_empty() {
        let Ok(Some(heard)) = tokio::time::timeout_at(until, late.recv()).await else {
            break;
        };
        if !awaited.contains(&heard.request) {
            continue;
        }
        if let Some((bought, delivery)) = take_up(ledger, heard).await? {
            awaited.remove(&bought.view.request_id);
            came.push((bought, delivery));
        }
    }
    Ok(came)
}

/// Takes up one answer to a purchase of an earlier run that was paid, or may have been; only the paid seller's result is one.
///
/// # Errors
/// Where the ledger can't be used.
pub async fn take_up(
    ledger: &Ledger,
    heard: Heard,
) -> Result<Option<(Bought, Delivery)>, LedgerError> {
    if !matches!(heard.answer, Answer::Result { .. }) {
        return Ok(None);
    }
    let Some(bought) = ledger.purchase_of(heard.request).await? else {
        return Ok(None);
    };
    let awaited = matches!(
        bought.view.status,
        PurchaseStatus::Paying | PurchaseStatus::Paid | PurchaseStatus::Lost
    );
    let Some(delivery) = answer_to(&bought, heard) else {
        return Ok(None);
    };
    if awaited {
        let progress = Progress {
            model: delivery.model.clone(),
            error: Some(String::new()),
            ..Progress::default()
        };
        let delivered = PurchaseStatus::Delivered;
        ledger
            .purchase_goes_on(bought.view.id, delivered, progress, Time::now())
            .await?;
    } else if bought.view.status != PurchaseStatus::Delivered || bought.view.payment_hash.is_none()
    {
        return Ok(None);
    }
    Ok(Some((bought, delivery)))
}

/// The answer, where this is the paid seller's.
fn answer_to(bought: &Bought, heard: Heard) -> Option<Delivery> {
    let seller = bought.view.seller?;
    let terms = Terms {
        kind: bought.kind,
        to: Some(seller),
        pays: true,
        most: bought.due.unwrap_or_default(),
        network: None,
    };
    let paid = Payment::Paid(Paid {
        amount: bought.view.paid_msat,
        fee: bought.view.fee_msat,
        preimage: None,
    });
    let mut purchase = Purchase::resumed(terms, seller, paid);
    let now = Time::now();
    let acts = purchase.heard(heard.seller, heard.event, heard.kind, heard.answer, now);
    acts.into_iter().find_map(|act| match act {
        Act::End(End::Delivered { delivery, .. }) => Some(delivery),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use nostr::{EventId, Keys};

    use super::*;
    use crate::domain::Hex32;
    use crate::domain::buyer::Due;
    use crate::domain::id::PaymentHash;
    use crate::domain::job::Encryption;
    use crate::domain::msat::Msat;
    use crate::ledger::{Intent, NewPurchase, Via};
    use crate::wallet::sandbox::SandboxPayer;

    #[tokio::test]
    async fn an_answer_that_nobody_paid_is_not_asked_about_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("vend.db")).unwrap();
        let payer = Payer::Sandbox(SandboxPayer::open(&dir.path().join("sandbox")).unwrap());
        let (id, now) = (Hex32([1; 32]), Time::now());
        let new = NewPurchase {
            id,
            request_id: RequestId(EventId::from_byte_array([1; 32])),
            via: Via::Gateway,
            kind: 5050,
            encryption: Encryption::Nip44,
            seller: None,
            model: None,
            bid: None,
            body: None,
            at: now,
        };
        ledger.purchase_begins(new).await.unwrap();
        let due = Due {
            bolt11: "lnbcrt1".to_owned(),
            hash: PaymentHash(Hex32([2; 32])),
            amount: Msat::from_sats(10),
            expires_at: now.minus(Duration::from_secs(600)),
        };
        let seller = Keys::generate().public_key();
        let intent = ledger.purchase_intends(id, seller, due, payer.identity(), None, now);
        assert_eq!(intent.await.unwrap(), Intent::Committed);
        // A crash before the wallet was asked; the seller's answer was there already.
        let answered = PurchaseStatus::Delivered;
        let noted = ledger.purchase_goes_on(id, answered, Progress::default(), now);
        noted.await.unwrap();
        assert_eq!(ledger.spent_today(now).await.unwrap(), Msat::from_sats(10));

        assert_eq!(settle_open(&ledger, &payer).await.unwrap(), 0);
        assert!(ledger.purchases(true, 10).await.unwrap().is_empty());
        let row = ledger.purchases(false, 10).await.unwrap().remove(0).view;
        assert_eq!((row.status, row.payment_hash), (answered, None));
        assert_eq!(row.error.as_deref(), Some("it was not paid"));
        assert_eq!(ledger.spent_today(now).await.unwrap(), Msat::ZERO);
    }
}
