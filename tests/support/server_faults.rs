//! What every wallet that is a server must get right when the server does not.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::time::Duration;

use vend::domain::Hex32;
use vend::domain::health::HealthLevel;
use vend::domain::id::PaymentHash;
use vend::domain::invoice::{Checked, Expected, InvoiceFault, Network, check};
use vend::domain::msat::Msat;
use vend::domain::time::Time;
use vend::wallet::{Issued, NewInvoice, PaymentStatus, Wallet, WalletError};

use super::fake_node::{FakeNode, Fault};

pub const LABEL: &str = "vend:0123456789abcdef0123456789abcdef";
pub const AMOUNT: Msat = Msat(21_000);
pub const EXPIRY: Duration = Duration::from_mins(10);

/// Ends a test that would otherwise wait for ever; never reached where things work.
pub const LONG: Duration = Duration::from_mins(1);

/// The process does this once; in a test, every test may be the first.
pub fn provide_tls() {
    // Another test was first: the same provider is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub fn ask() -> NewInvoice {
    NewInvoice {
        amount: AMOUNT,
        memo: "a job".to_owned(),
        expiry: EXPIRY,
        label: LABEL.to_owned(),
        hold_hash: None,
    }
}

pub fn checked(issued: &Issued) -> Result<Checked, InvoiceFault> {
    let expected = Expected {
        amount: AMOUNT,
        network: Network::Regtest,
        payment_hash: issued.payment_hash,
        longest_expiry: EXPIRY,
    };
    check(&issued.bolt11, &expected, Time::now())
}

pub fn assert_plain(line: &str, secret: &str) {
    assert!(!line.contains(secret), "holds the secret: {line}");
    assert!(
        line.chars().all(|c| !c.is_control() && c != '\u{202e}'),
        "not plain: {line:?}"
    );
    assert!(line.chars().count() < 300, "too long: {line}");
}

/// The error of every call that the engine makes.
async fn errors(wallet: &dyn Wallet, issued: &Issued) -> Vec<WalletError> {
    let mut errors = vec![
        wallet.create(ask()).await.unwrap_err(),
        wallet.lookup(issued.clone()).await.unwrap_err(),
    ];
    if wallet.caps().label_lookup {
        errors.push(wallet.find_by_label(LABEL.to_owned()).await.unwrap_err());
    }
    if wallet.caps().hold {
        // Another one: where an answer breaks off, it was canceled all the same.
        let other = Issued {
            payment_hash: PaymentHash(Hex32([8; 32])),
            ..issued.clone()
        };
        errors.push(wallet.cancel(other).await.unwrap_err());
    }
    errors
}

fn is_a_proxys(error: &WalletError) -> bool {
    matches!(error, WalletError::Unreachable(words) if words.contains("not the wallet"))
}

/// Is it the right error?
type Is = fn(&WalletError) -> bool;

/// Each way in which a server can be broken gives the right error in one plain line that never holds the secret, and none
/// of them is taken for a word about the invoice.
pub async fn every_fault_is_told_plainly(node: &FakeNode, wallet: &dyn Wallet) {
    let is: &[(Fault, Is)] = &[
        (Fault::Down, |e| matches!(e, WalletError::Unreachable(_))),
        (Fault::ServerError, |e| matches!(e, WalletError::Failed(_))),
        // A proxy's no, in words or as a page, is not the wallet's: the key may be right.
        (Fault::Forbidden, is_a_proxys),
        (Fault::WebPage(401), is_a_proxys),
        (Fault::WebPage(403), is_a_proxys),
        (Fault::KeyRevoked, |e| {
            matches!(e, WalletError::Unauthorized(_))
        }),
        (Fault::Busy, |e| {
            *e == WalletError::RateLimited(Some(Duration::from_secs(7)))
        }),
        (Fault::Redirect, |e| matches!(e, WalletError::Protocol(_))),
        (Fault::Huge, |e| matches!(e, WalletError::Protocol(_))),
        (Fault::Truncated, |e| {
            matches!(e, WalletError::Unreachable(_))
        }),
        (Fault::WebPage(404), |e| {
            matches!(e, WalletError::Protocol(_))
        }),
        (Fault::WebPage(502), |e| matches!(e, WalletError::Failed(_))),
    ];
    let issued = wallet.create(ask()).await.unwrap();
    for (fault, is) in is {
        node.set_fault(fault.clone());
        for error in errors(wallet, &issued).await {
            assert!(is(&error), "{fault:?}: {error:?}");
            assert_plain(&error.to_string(), &node.secret());
        }
        let health = wallet.health().await;
        assert_eq!(
            health.health,
            HealthLevel::Down,
            "{fault:?}: {}",
            health.detail
        );
        assert_plain(&health.detail, &node.secret());
    }
    // A page that says "200 OK" is no answer either.
    node.set_fault(Fault::WebPage(200));
    let page = wallet.lookup(issued.clone()).await;
    assert!(matches!(page, Err(WalletError::Protocol(_))), "{page:?}");
    let page = wallet.create(ask()).await;
    assert!(matches!(page, Err(WalletError::Protocol(_))), "{page:?}");
    node.set_fault(Fault::None);
    assert_eq!(wallet.lookup(issued).await, Ok(PaymentStatus::Pending));
    assert!(!format!("{wallet:?}").contains(&node.secret()));
}

/// The words of a refused secret name the setting that mends it.
pub async fn a_refused_secret_names_the_setting(
    node: &FakeNode,
    wallet: &dyn Wallet,
    setting: &str,
) {
    node.set_fault(Fault::KeyRevoked);
    let health = wallet.health().await;
    assert_eq!(health.health, HealthLevel::Down);
    assert!(health.detail.contains(setting), "{}", health.detail);
}

/// What was paid is judged by the engine's own rules.
pub async fn paid(wallet: &dyn Wallet, issued: &Issued) -> vend::domain::invoice::Verdict {
    let PaymentStatus::Paid {
        amount, preimage, ..
    } = wallet.lookup(issued.clone()).await.unwrap()
    else {
        panic!("paid");
    };
    vend::domain::invoice::judge(&issued.payment_hash, AMOUNT, amount, preimage.as_ref())
}
