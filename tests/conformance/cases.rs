//! The promises, and how each is tried.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use nostr::hashes::{Hash, sha256};
use vend::domain::Hex32;
use vend::domain::health::HealthLevel;
use vend::domain::id::{PaymentHash, Preimage};
use vend::domain::invoice::{Expected, Network, Verdict, check, judge};
use vend::domain::msat::Msat;
use vend::domain::time::Time;
use vend::wallet::{Issued, NewInvoice, PaymentStatus, Wallet, WalletError};

use crate::Outcome::{self, Kept, Otherwise};
use crate::{Stage, Trouble};

const AMOUNT: Msat = Msat(21_000);
const EXPIRY: Duration = Duration::from_mins(10);

/// Longer than a fake takes where all is well, and short enough to wait for.
const SHORT: Duration = Duration::from_secs(2);

type Case = fn(Arc<dyn Stage>) -> BoxFuture<'static, Outcome>;

/// Every promise with its case, in the table's order.
pub const CASES: &[(&str, Case)] = &[
    ("an invoice is what was asked for", |s| created(s).boxed()),
    ("a new invoice is pending", |s| pending(s).boxed()),
    ("a payment is seen, with amount and proof", |s| {
        paid(s).boxed()
    }),
    ("an overpayment is seen whole", |s| overpaid(s).boxed()),
    ("an expired invoice is seen as expired", |s| {
        expired(s).boxed()
    }),
    ("a payment after that is still seen", |s| late(s).boxed()),
    ("an unknown invoice is unknown, not unpaid", |s| {
        unknown(s).boxed()
    }),
    ("a canceled invoice is seen as canceled", |s| {
        canceled(s).boxed()
    }),
    ("a held payment is paid only once settled", |s| {
        held(s).boxed()
    }),
    ("a slow server is timed out", |s| slow(s).boxed()),
    ("a server that is gone is unreachable", |s| down(s).boxed()),
    ("a refused secret is told as that", |s| {
        unauthorized(s).boxed()
    }),
    ("a strange answer changes nothing", |s| garbage(s).boxed()),
    ("two at once are two invoices", |s| two(s).boxed()),
    ("an invoice whose answer was lost does no harm", |s| {
        lost(s).boxed()
    }),
    ("an amount that can't be asked for is refused", |s| {
        amounts(s).boxed()
    }),
    ("the wallet says who it is", |s| identity(s).boxed()),
];

fn ask(label: &str) -> NewInvoice {
    NewInvoice {
        amount: AMOUNT,
        memo: "a job".to_owned(),
        expiry: EXPIRY,
        label: format!("vend:{label}"),
        hold_hash: None,
    }
}

fn assert_as_asked(issued: &Issued) {
    let expected = Expected {
        amount: AMOUNT,
        network: Network::Regtest,
        payment_hash: issued.payment_hash,
        longest_expiry: EXPIRY,
    };
    check(&issued.bolt11, &expected, Time::now()).unwrap();
}

async fn make(stage: &dyn Stage) -> Issued {
    stage.wallet().create(ask("1")).await.unwrap()
}

/// What the engine makes of the wallet's "paid".
async fn verdict(wallet: &dyn Wallet, issued: &Issued) -> Verdict {
    let seen = wallet.lookup(issued.clone()).await.unwrap();
    let PaymentStatus::Paid {
        amount, preimage, ..
    } = seen
    else {
        panic!("{seen:?}");
    };
    assert!(preimage.is_some(), "no proof");
    judge(&issued.payment_hash, AMOUNT, amount, preimage.as_ref())
}

fn booked(amount: Msat) -> Verdict {
    Verdict::Paid {
        amount,
        named: true,
    }
}

async fn created(stage: Arc<dyn Stage>) -> Outcome {
    assert_as_asked(&make(&*stage).await);
    Kept
}

async fn pending(stage: Arc<dyn Stage>) -> Outcome {
    let issued = make(&*stage).await;
    assert_eq!(
        stage.wallet().lookup(issued).await,
        Ok(PaymentStatus::Pending)
    );
    Kept
}

async fn paid(stage: Arc<dyn Stage>) -> Outcome {
    let issued = make(&*stage).await;
    stage.pay(&issued, 0).unwrap();
    assert_eq!(verdict(&*stage.wallet(), &issued).await, booked(AMOUNT));
    // Paid never goes back.
    stage.expire(&issued);
    assert_eq!(verdict(&*stage.wallet(), &issued).await, booked(AMOUNT));
    Kept
}

async fn overpaid(stage: Arc<dyn Stage>) -> Outcome {
    let issued = make(&*stage).await;
    if let Err(why) = stage.pay(&issued, 5_000) {
        return Otherwise(why);
    }
    let all = Msat(AMOUNT.0 + 5_000);
    assert_eq!(verdict(&*stage.wallet(), &issued).await, booked(all));
    Kept
}

async fn expired(stage: Arc<dyn Stage>) -> Outcome {
    let issued = make(&*stage).await;
    stage.expire(&issued);
    assert_eq!(
        stage.wallet().lookup(issued).await,
        Ok(PaymentStatus::Expired)
    );
    Kept
}

async fn late(stage: Arc<dyn Stage>) -> Outcome {
    let issued = make(&*stage).await;
    stage.expire(&issued);
    let wallet = stage.wallet();
    assert_eq!(
        wallet.lookup(issued.clone()).await,
        Ok(PaymentStatus::Expired)
    );
    if let Err(why) = stage.pay_late(&issued) {
        assert_eq!(wallet.lookup(issued).await, Ok(PaymentStatus::Expired));
        return Otherwise(why);
    }
    assert_eq!(verdict(&*wallet, &issued).await, booked(AMOUNT));
    Kept
}

async fn unknown(stage: Arc<dyn Stage>) -> Outcome {
    let made = make(&*stage).await;
    let stranger = Issued {
        payment_hash: PaymentHash(Hex32([6; 32])),
        // Some wallets look by a name of their own.
        backend_ref: made.backend_ref.map(|_| "no such invoice".to_owned()),
        ..made
    };
    assert_eq!(
        stage.wallet().lookup(stranger).await,
        Ok(PaymentStatus::Unknown)
    );
    Kept
}

async fn canceled(stage: Arc<dyn Stage>) -> Outcome {
    let (wallet, issued) = (stage.wallet(), make(&*stage).await);
    match wallet.cancel(issued.clone()).await {
        Ok(()) => {}
        Err(error) => {
            assert_eq!(error, WalletError::Unsupported);
            return Otherwise("can't cancel");
        }
    }
    assert_eq!(wallet.lookup(issued).await, Ok(PaymentStatus::Canceled));
    Kept
}

async fn held(stage: Arc<dyn Stage>) -> Outcome {
    let wallet = stage.wallet();
    let preimage = Preimage(Hex32(rand::random()));
    let hash = Hex32(sha256::Hash::hash(&preimage.0.0).to_byte_array());
    let new = NewInvoice {
        hold_hash: Some(PaymentHash(hash)),
        ..ask("1")
    };
    let made = wallet.create(new).await;
    if !wallet.caps().hold {
        assert_eq!(made, Err(WalletError::Unsupported));
        return Otherwise("can't hold");
    }
    let issued = made.unwrap();
    assert_eq!(issued.payment_hash, PaymentHash(hash));
    assert_as_asked(&issued);
    stage.pay(&issued, 0).unwrap();
    let amount = Some(AMOUNT);
    assert_eq!(
        wallet.lookup(issued.clone()).await,
        Ok(PaymentStatus::Held { amount })
    );
    wallet.settle(preimage).await.unwrap();
    assert_eq!(verdict(&*wallet, &issued).await, booked(AMOUNT));
    Kept
}

async fn slow(stage: Arc<dyn Stage>) -> Outcome {
    let issued = make(&*stage).await;
    if let Err(why) = stage.trouble(Some(Trouble::Slow)) {
        return Otherwise(why);
    }
    let call = Duration::from_millis(200);
    let wallet = stage.hasty(call);
    let error = WalletError::TimedOut(call);
    assert_eq!(wallet.create(ask("2")).await, Err(error.clone()));
    assert_eq!(wallet.lookup(issued).await, Err(error));
    Kept
}

/// The error of each call that the engine makes.
async fn errors(wallet: &dyn Wallet, issued: &Issued) -> Vec<WalletError> {
    let mut errors = vec![
        wallet.create(ask("2")).await.unwrap_err(),
        wallet.lookup(issued.clone()).await.unwrap_err(),
    ];
    if wallet.caps().label_lookup {
        let found = wallet.find_by_label("vend:2".to_owned()).await;
        errors.push(found.unwrap_err());
    }
    errors
}

async fn down(stage: Arc<dyn Stage>) -> Outcome {
    let (wallet, issued) = (stage.wallet(), make(&*stage).await);
    if let Err(why) = stage.trouble(Some(Trouble::Down)) {
        return Otherwise(why);
    }
    for error in errors(&*wallet, &issued).await {
        assert!(matches!(error, WalletError::Unreachable(_)), "{error:?}");
    }
    assert_eq!(wallet.health().await.health, HealthLevel::Down);
    stage.trouble(None).unwrap();
    assert_eq!(wallet.lookup(issued).await, Ok(PaymentStatus::Pending));
    Kept
}

async fn unauthorized(stage: Arc<dyn Stage>) -> Outcome {
    let (wallet, issued) = (stage.wallet(), make(&*stage).await);
    if let Err(why) = stage.trouble(Some(Trouble::Unauthorized)) {
        return Otherwise(why);
    }
    let error = wallet.create(ask("2")).await.unwrap_err();
    assert!(matches!(error, WalletError::Unauthorized(_)), "{error:?}");
    // Some wallets let anybody look; none says more for it.
    if let Ok(seen) = wallet.lookup(issued).await {
        assert_eq!(seen, PaymentStatus::Pending);
    }
    let health = wallet.health().await;
    assert_eq!(health.health, HealthLevel::Down);
    assert!(health.detail.contains("set wallet."), "{}", health.detail);
    Kept
}

async fn garbage(stage: Arc<dyn Stage>) -> Outcome {
    let (wallet, issued) = (stage.wallet(), make(&*stage).await);
    if let Err(why) = stage.trouble(Some(Trouble::Garbage)) {
        return Otherwise(why);
    }
    for error in errors(&*wallet, &issued).await {
        assert!(matches!(error, WalletError::Protocol(_)), "{error:?}");
    }
    Kept
}

async fn two(stage: Arc<dyn Stage>) -> Outcome {
    let wallet = stage.wallet();
    let (one, other) = tokio::join!(wallet.create(ask("1")), wallet.create(ask("2")));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_ne!(one.payment_hash, other.payment_hash);
    stage.pay(&other, 0).unwrap();
    assert_eq!(wallet.lookup(one).await, Ok(PaymentStatus::Pending));
    assert_eq!(verdict(&*wallet, &other).await, booked(AMOUNT));
    Kept
}

/// Asked again, as the shop does after a crash: by label first where the wallet keeps labels.
async fn lost(stage: Arc<dyn Stage>) -> Outcome {
    let wallet = stage.wallet();
    if stage.trouble(Some(Trouble::LostAnswer)).is_ok() {
        let lost = stage.hasty(SHORT).create(ask("1")).await;
        assert_eq!(lost, Err(WalletError::TimedOut(SHORT)));
        stage.wait_for_created();
        stage.trouble(None).unwrap();
    } else {
        drop(wallet.create(ask("1")).await.unwrap());
    }
    if !wallet.caps().label_lookup {
        assert_as_asked(&make(&*stage).await);
        return Otherwise("left unpublished");
    }
    let found = wallet.find_by_label("vend:1".to_owned()).await.unwrap();
    assert_as_asked(&found.unwrap());
    Otherwise("found by label")
}

async fn amounts(stage: Arc<dyn Stage>) -> Outcome {
    let wallet = stage.wallet();
    let nothing = NewInvoice {
        amount: Msat::ZERO,
        ..ask("1")
    };
    let refused = wallet.create(nothing).await;
    assert!(
        matches!(refused, Err(WalletError::Rejected(_))),
        "{refused:?}"
    );
    let odd = NewInvoice {
        amount: Msat(21_500),
        ..ask("2")
    };
    let made = wallet.create(odd).await;
    if wallet.caps().msat {
        assert!(made.is_ok(), "{made:?}");
        return Otherwise("yes, counts in msat");
    }
    assert!(matches!(made, Err(WalletError::Rejected(_))), "{made:?}");
    Otherwise("yes, counts in sats")
}

async fn identity(stage: Arc<dyn Stage>) -> Outcome {
    let wallet = stage.wallet();
    let first = wallet.health().await;
    assert_eq!(first.health, HealthLevel::Ok, "{}", first.detail);
    assert_eq!(first.backend, wallet.backend());
    let identity = first.identity.unwrap();
    let again = stage.hasty(Duration::from_secs(20)).health().await.identity;
    assert_eq!(again, Some(identity));
    Kept
}
