//! Whatever an `LNbits` server does wrong, the shop gets the right error in one plain line, and no wrong invoice passes.

use std::time::Duration;

use lightning_invoice::Currency;
use tempfile::TempDir;
use vend::domain::health::HealthLevel;
use vend::domain::invoice::{Checked, Expected, InvoiceFault, Network, Verdict, check, judge};
use vend::domain::msat::Msat;
use vend::domain::time::Time;
use vend::wallet::lnbits::Lnbits;
use vend::wallet::{Issued, NewInvoice, PaymentStatus, Wallet, WalletError};

use crate::support::fake_wallet::{FakeWallet, Fault};

const LABEL: &str = "vend:0123456789abcdef0123456789abcdef";
const AMOUNT: Msat = Msat(21_000);
const EXPIRY: Duration = Duration::from_mins(10);

/// Ends a test that would otherwise wait for ever; never reached where things work.
const LONG: Duration = Duration::from_mins(1);

struct Fake {
    server: FakeWallet,
    wallet: Lnbits,
    folder: TempDir,
}

fn client(url: &str, key: &str) -> Lnbits {
    // Another test was first: the same provider is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Lnbits::open(url, &key.into()).unwrap()
}

fn fake_on(currency: Currency) -> Fake {
    let folder = tempfile::tempdir().unwrap();
    let server = FakeWallet::start_on(&folder.path().join("record.jsonl"), currency);
    let wallet = client(&server.url(), &server.invoice_key());
    Fake {
        server,
        wallet,
        folder,
    }
}

fn fake() -> Fake {
    fake_on(Currency::Regtest)
}

fn ask() -> NewInvoice {
    NewInvoice {
        amount: AMOUNT,
        memo: "a job".to_owned(),
        expiry: EXPIRY,
        label: LABEL.to_owned(),
        hold_hash: None,
    }
}

fn checked(issued: &Issued, network: Network) -> Result<Checked, InvoiceFault> {
    let expected = Expected {
        amount: AMOUNT,
        network,
        payment_hash: issued.payment_hash,
        longest_expiry: EXPIRY,
    };
    check(&issued.bolt11, &expected, Time::now())
}

/// The error of every call that the engine makes.
async fn errors(fake: &Fake, issued: &Issued) -> [WalletError; 3] {
    [
        fake.wallet.create(ask()).await.unwrap_err(),
        fake.wallet.lookup(issued.clone()).await.unwrap_err(),
        fake.wallet
            .find_by_label(LABEL.to_owned())
            .await
            .unwrap_err(),
    ]
}

fn assert_plain(line: &str, key: &str) {
    assert!(!line.contains(key), "holds the key: {line}");
    assert!(
        line.chars().all(|c| !c.is_control() && c != '\u{202e}'),
        "not plain: {line:?}"
    );
    assert!(line.chars().count() < 240, "too long: {line}");
}

/// The fault that [`check`] finds in what the wallet made under a fault of the server.
async fn invoice_fault(fault: Fault) -> InvoiceFault {
    let fake = fake();
    fake.server.set_fault(fault);
    let issued = fake.wallet.create(ask()).await.unwrap();
    checked(&issued, Network::Regtest).unwrap_err()
}

#[tokio::test]
async fn a_sale_goes_from_invoice_to_paid() {
    let fake = fake();
    let issued = fake.wallet.create(ask()).await.unwrap();
    checked(&issued, Network::Regtest).unwrap();
    assert_eq!(
        fake.wallet.lookup(issued.clone()).await.unwrap(),
        PaymentStatus::Pending
    );
    assert_eq!(fake.server.pay(&issued.bolt11), Ok(AMOUNT.0));
    let PaymentStatus::Paid {
        amount, preimage, ..
    } = fake.wallet.lookup(issued.clone()).await.unwrap()
    else {
        panic!("paid");
    };
    assert_eq!(
        judge(&issued.payment_hash, AMOUNT, amount, preimage.as_ref()),
        Verdict::Paid {
            amount: AMOUNT,
            named: true
        }
    );
    assert!(
        fake.server.pay(&issued.bolt11).is_err(),
        "nobody pays twice"
    );
}

#[tokio::test]
async fn the_record_holds_every_invoice_and_every_payment() {
    let fake = fake();
    let issued = fake.wallet.create(ask()).await.unwrap();
    fake.server.pay(&issued.bolt11).unwrap();
    let record = std::fs::read_to_string(fake.folder.path().join("record.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = record
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["what"], "create");
    assert_eq!(lines[0]["label"], LABEL);
    assert_eq!(lines[0]["bolt11"], issued.bolt11.as_str());
    assert_eq!(lines[1]["what"], "paid");
    assert_eq!(lines[1]["payment_hash"], issued.payment_hash.to_string());
}

#[tokio::test]
async fn a_mainnet_invoice_without_feature_bits_is_taken_on_mainnet_only() {
    let fake = fake_on(Currency::Bitcoin);
    let issued = fake.wallet.create(ask()).await.unwrap();
    assert!(issued.bolt11.starts_with("lnbc"));
    assert!(checked(&issued, Network::Bitcoin).is_ok());
    assert!(matches!(
        checked(&issued, Network::Regtest),
        Err(InvoiceFault::OtherNetwork { .. })
    ));
}

#[tokio::test]
async fn a_path_in_the_url_is_kept() {
    let fake = fake();
    let wallet = client(
        &format!("{}/bits/", fake.server.url()),
        &fake.server.invoice_key(),
    );
    assert!(wallet.create(ask()).await.is_ok());
}

#[tokio::test]
async fn an_invoice_is_found_again_by_its_label() {
    let fake = fake();
    assert_eq!(
        fake.wallet.find_by_label(LABEL.to_owned()).await.unwrap(),
        None
    );
    let issued = fake.wallet.create(ask()).await.unwrap();
    assert_eq!(
        fake.wallet.find_by_label(LABEL.to_owned()).await.unwrap(),
        Some(issued)
    );
    fake.server.set_fault(Fault::ForgetLabels);
    assert_eq!(
        fake.wallet.find_by_label(LABEL.to_owned()).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn an_invoice_made_but_never_answered_is_timed_out_and_found_by_its_label() {
    let fake = fake();
    fake.server.set_fault(Fault::HangAfterCreate);
    let short = Duration::from_secs(2);
    let hasty = client(&fake.server.url(), &fake.server.invoice_key()).call_timeout(short);
    let error = hasty.create(ask()).await.unwrap_err();
    assert_eq!(error, WalletError::TimedOut(short));
    assert!(fake.server.wait_for_created(1, LONG));
    fake.server.set_fault(Fault::None);
    let found = fake
        .wallet
        .find_by_label(LABEL.to_owned())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.bolt11, fake.server.created_for(LABEL)[0].bolt11);
    assert!(checked(&found, Network::Regtest).is_ok());
}

#[tokio::test]
async fn a_server_slower_than_a_call_may_be_is_timed_out_and_one_just_slow_is_waited_for() {
    let fake = fake();
    fake.server.set_fault(Fault::Slow(LONG));
    let short = Duration::from_millis(200);
    let hasty = client(&fake.server.url(), &fake.server.invoice_key()).call_timeout(short);
    assert_eq!(
        hasty.create(ask()).await.unwrap_err(),
        WalletError::TimedOut(short)
    );
    fake.server
        .set_fault(Fault::Slow(Duration::from_millis(50)));
    assert!(fake.wallet.create(ask()).await.is_ok());
}

#[tokio::test]
async fn a_server_that_drops_connections_and_one_that_is_gone_are_unreachable() {
    let fake = fake();
    let issued = fake.wallet.create(ask()).await.unwrap();
    let key = fake.server.invoice_key();
    fake.server.set_fault(Fault::Down);
    for error in errors(&fake, &issued).await {
        assert!(matches!(error, WalletError::Unreachable(_)), "{error}");
        assert_plain(&error.to_string(), &key);
    }
    // Nothing listens on port 1, and no other test is ever given it.
    let gone = "http://127.0.0.1:1";
    let error = client(gone, &key).lookup(issued).await.unwrap_err();
    assert!(matches!(error, WalletError::Unreachable(_)), "{error}");
    assert!(
        error.to_string().contains("is LNbits running there?"),
        "{error}"
    );
    let health = client(gone, &key).health().await;
    assert_eq!(
        (health.state.as_str(), health.health),
        ("down", HealthLevel::Down)
    );
}

#[tokio::test]
async fn a_failing_server_is_quoted_without_the_key_and_without_its_colours() {
    let fake = fake();
    let issued = fake.wallet.create(ask()).await.unwrap();
    fake.server.set_fault(Fault::ServerError);
    for error in errors(&fake, &issued).await {
        assert!(matches!(error, WalletError::Failed(_)), "{error}");
        let line = error.to_string();
        assert!(
            line.contains("no funding source for ***") && line.contains("500"),
            "{line}"
        );
        assert_plain(&line, &fake.server.invoice_key());
    }
}

#[tokio::test]
async fn a_busy_server_says_how_long_to_wait() {
    let fake = fake();
    let issued = fake.wallet.create(ask()).await.unwrap();
    fake.server.set_fault(Fault::Busy);
    for error in errors(&fake, &issued).await {
        assert_eq!(
            error,
            WalletError::RateLimited(Some(Duration::from_secs(7)))
        );
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_an_endless_answer_not_read() {
    let fake = fake();
    let issued = fake.wallet.create(ask()).await.unwrap();
    for (fault, word) in [(Fault::Redirect, "wallet.url"), (Fault::Huge, "256 KiB")] {
        fake.server.set_fault(fault);
        for error in errors(&fake, &issued).await {
            assert!(matches!(error, WalletError::Protocol(_)), "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}

#[tokio::test]
async fn a_web_page_is_neither_an_answer_nor_an_unknown_payment() {
    let fake = fake();
    let issued = fake.wallet.create(ask()).await.unwrap();
    for status in [200, 404] {
        fake.server.set_fault(Fault::WebPage(status));
        for error in errors(&fake, &issued).await {
            assert!(matches!(error, WalletError::Protocol(_)), "{error}");
        }
    }
    for status in [401, 403] {
        fake.server.set_fault(Fault::WebPage(status));
        for error in errors(&fake, &issued).await {
            let line = error.to_string();
            assert!(line.contains("not the wallet: a web page"), "{line}");
            assert!(!line.contains("key"), "{line}");
        }
    }
    fake.server.set_fault(Fault::WebPage(520));
    for error in errors(&fake, &issued).await {
        assert!(matches!(error, WalletError::Failed(_)), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_told_with_the_setting_to_change() {
    let fake = fake();
    fake.server.set_fault(Fault::KeyRevoked);
    let error = fake.wallet.create(ask()).await.unwrap_err();
    assert!(matches!(error, WalletError::Unauthorized(_)), "{error}");
    let health = fake.wallet.health().await;
    assert_eq!(health.health, HealthLevel::Down);
    assert!(
        health.detail.contains("wallet.invoice_key"),
        "{}",
        health.detail
    );
    assert_plain(&health.detail, &fake.server.invoice_key());
}

#[tokio::test]
async fn a_healthy_server_is_up_with_a_name_of_its_own() {
    let fake = fake();
    let health = fake.wallet.health().await;
    assert_eq!(
        (health.state.as_str(), health.health),
        ("up", HealthLevel::Ok)
    );
    assert_eq!(health.balance_msat, Some(Msat::ZERO));
    assert_eq!(health.detail, "fake");
    fake.server.rename("another");
    let renamed = fake.wallet.health().await;
    assert_eq!(renamed.detail, "another");
    assert!(health.identity.is_some() && renamed.identity == health.identity);
    let key = fake.server.invoice_key();
    assert!(!health.identity.unwrap().contains(&key));
    assert!(!health.sandbox);
}

#[tokio::test]
async fn an_invoice_that_the_server_does_not_know_is_unknown_and_not_unpaid() {
    let fake = fake();
    let issued = fake.wallet.create(ask()).await.unwrap();
    fake.server.set_fault(Fault::UnknownOnLookup);
    assert_eq!(
        fake.wallet.lookup(issued).await.unwrap(),
        PaymentStatus::Unknown
    );
}

#[tokio::test]
async fn a_payment_of_less_needs_a_person() {
    let fake = fake();
    let issued = fake.wallet.create(ask()).await.unwrap();
    fake.server.pay(&issued.bolt11).unwrap();
    fake.server.set_fault(Fault::PaidLess);
    let PaymentStatus::Paid {
        amount, preimage, ..
    } = fake.wallet.lookup(issued.clone()).await.unwrap()
    else {
        panic!("paid");
    };
    let verdict = judge(&issued.payment_hash, AMOUNT, amount, preimage.as_ref());
    assert!(matches!(verdict, Verdict::Attention(_)), "{verdict:?}");
}

#[tokio::test]
async fn an_expired_invoice_is_refused_and_looked_up_as_expired() {
    let fake = fake();
    fake.server.set_fault(Fault::Expired);
    let issued = fake.wallet.create(ask()).await.unwrap();
    assert_eq!(
        checked(&issued, Network::Regtest).unwrap_err(),
        InvoiceFault::Expired
    );
    assert_eq!(
        fake.wallet.lookup(issued).await.unwrap(),
        PaymentStatus::Expired
    );
    assert_eq!(
        fake.wallet.find_by_label(LABEL.to_owned()).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn an_invoice_that_is_not_what_was_asked_never_passes() {
    let other = InvoiceFault::OtherAmount {
        asked: AMOUNT,
        found: Msat(22_000),
    };
    assert_eq!(invoice_fault(Fault::WrongAmount).await, other);
    assert_eq!(invoice_fault(Fault::NoAmount).await, InvoiceFault::NoAmount);
    let other = InvoiceFault::OtherNetwork {
        asked: Network::Regtest,
        found: "signet",
    };
    assert_eq!(invoice_fault(Fault::WrongNetwork).await, other);
    let wrong = invoice_fault(Fault::WrongHash).await;
    assert!(matches!(wrong, InvoiceFault::OtherHash { .. }), "{wrong}");
    assert_eq!(invoice_fault(Fault::NoHash).await, InvoiceFault::NoHash);
    assert_eq!(
        invoice_fault(Fault::BadSignature).await,
        InvoiceFault::BadSignature
    );
    let long = invoice_fault(Fault::ExpiryTooLong).await;
    assert!(matches!(long, InvoiceFault::ExpiryTooLong { .. }), "{long}");
    let text = invoice_fault(Fault::NotAnInvoice).await;
    assert!(matches!(text, InvoiceFault::NotAnInvoice(_)), "{text}");
}
