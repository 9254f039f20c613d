//! The Core Lightning client against a fake clnrest: unique labels, limited and mighty runes, pinned certificates, and
//! every way in which a server can be broken.

use crate::support::fake_cln;
use crate::support::server_faults;
use std::time::Duration;

use crate::support::fake_node::{Certificate, FakeNode, Fault};
use crate::support::server_faults::{AMOUNT, LABEL, LONG, ask, checked, paid, provide_tls};
use vend::domain::Hex32;
use vend::domain::health::HealthLevel;
use vend::domain::id::PaymentHash;
use vend::domain::invoice::Verdict;
use vend::domain::msat::Msat;
use vend::wallet::cln::Cln;
use vend::wallet::{Issued, NewInvoice, PaymentStatus, ServerError, Wallet, WalletError};

fn client(node: &FakeNode, certificate: Option<Certificate>) -> Cln {
    provide_tls();
    let pem = certificate.map(|one| one.pem().into());
    Cln::open(&node.url(), &node.secret().into(), pem.as_ref()).unwrap()
}

fn fake() -> (FakeNode, Cln) {
    let node = fake_cln::start(None);
    let wallet = client(&node, None);
    (node, wallet)
}

#[tokio::test]
async fn a_sale_goes_from_invoice_to_paid() {
    let (node, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    assert_eq!(checked(&issued).unwrap().payee, node.id());
    assert_eq!(
        wallet.lookup(issued.clone()).await,
        Ok(PaymentStatus::Pending)
    );
    node.pay_more(&issued.bolt11, 5_000).unwrap();
    let amount = Msat(26_000);
    assert_eq!(
        paid(&wallet, &issued).await,
        Verdict::Paid {
            amount,
            named: true
        }
    );
    let Ok(PaymentStatus::Paid { at, preimage, .. }) = wallet.lookup(issued).await else {
        panic!("paid");
    };
    assert!(at.is_some() && preimage.is_some());
}

#[tokio::test]
async fn a_label_has_one_invoice_however_often_it_is_asked_for() {
    let (node, wallet) = fake();
    let find = || wallet.find_by_label(LABEL.to_owned());
    assert_eq!(find().await, Ok(None));
    let first = wallet.create(ask()).await.unwrap();
    assert_eq!(wallet.create(ask()).await, Ok(first.clone()));
    assert_eq!(find().await, Ok(Some(first.clone())));
    assert_eq!(node.books(|books| books.all().len()), 1);
    node.pay(&first.bolt11).unwrap();
    assert_eq!(wallet.create(ask()).await, Ok(first.clone()));
    assert_eq!(find().await, Ok(Some(first)));
}

#[tokio::test]
async fn an_invoice_made_but_never_answered_is_found_again() {
    let (node, wallet) = fake();
    let short = Duration::from_secs(2);
    node.set_fault(Fault::HangAfterCreate);
    let hasty = client(&node, None).call_timeout(short);
    assert_eq!(hasty.create(ask()).await, Err(WalletError::TimedOut(short)));
    assert!(node.wait_for_created(1, LONG));
    node.set_fault(Fault::None);
    let issued = wallet.create(ask()).await.unwrap();
    assert!(checked(&issued).is_ok());
    assert_eq!(node.books(|books| books.all().len()), 1);
}

#[tokio::test]
async fn a_label_whose_invoice_expired_or_asked_for_something_else_gets_another() {
    let (node, wallet) = fake();
    let first = wallet.create(ask()).await.unwrap();
    node.expire(&first.bolt11);
    assert_eq!(wallet.find_by_label(LABEL.to_owned()).await, Ok(None));
    let second = wallet.create(ask()).await.unwrap();
    assert_ne!(first, second);
    let found = wallet.find_by_label(LABEL.to_owned()).await;
    assert_eq!(found, Ok(Some(second.clone())));
    let dearer = NewInvoice {
        amount: Msat(22_000),
        ..ask()
    };
    let third = wallet.create(dearer).await.unwrap();
    assert!(third != first && third != second);
    assert_eq!(wallet.create(ask()).await, Ok(second));
}

#[tokio::test]
async fn a_label_that_only_saw_invoices_expire_is_given_up_in_the_end() {
    let (node, wallet) = fake();
    for _ in 0..16 {
        let issued = wallet.create(ask()).await.unwrap();
        node.expire(&issued.bolt11);
    }
    let refused = wallet.create(ask()).await;
    assert!(
        matches!(refused, Err(WalletError::Rejected(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_expired_invoice_is_expired_until_a_late_payment_is_seen() {
    let (node, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    node.expire(&issued.bolt11);
    assert_eq!(
        wallet.lookup(issued.clone()).await,
        Ok(PaymentStatus::Expired)
    );
    node.pay_late(&issued.bolt11);
    let amount = AMOUNT;
    assert_eq!(
        paid(&wallet, &issued).await,
        Verdict::Paid {
            amount,
            named: true
        }
    );
}

#[tokio::test]
async fn an_unknown_invoice_is_unknown_and_hold_invoices_are_not_offered() {
    let (_node, wallet) = fake();
    let issued = Issued {
        bolt11: "lnbcrt1".to_owned(),
        payment_hash: PaymentHash(Hex32([6; 32])),
        backend_ref: None,
    };
    assert_eq!(
        wallet.lookup(issued.clone()).await,
        Ok(PaymentStatus::Unknown)
    );
    let hold = NewInvoice {
        hold_hash: Some(issued.payment_hash),
        ..ask()
    };
    assert_eq!(wallet.create(hold).await, Err(WalletError::Unsupported));
    assert_eq!(wallet.cancel(issued).await, Err(WalletError::Unsupported));
}

#[tokio::test]
async fn a_strange_word_another_payment_and_a_wrong_proof_are_never_a_payment() {
    let (node, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    node.pay(&issued.bolt11).unwrap();
    node.set_fault(Fault::StrangeState);
    let seen = wallet.lookup(issued.clone()).await;
    assert!(matches!(seen, Ok(PaymentStatus::Attention(_))), "{seen:?}");
    node.set_fault(Fault::OtherPayment);
    let seen = wallet.lookup(issued.clone()).await;
    assert!(matches!(seen, Err(WalletError::Protocol(_))), "{seen:?}");
    node.set_fault(Fault::WrongPreimage);
    let verdict = paid(&wallet, &issued).await;
    assert!(matches!(verdict, Verdict::Attention(_)), "{verdict:?}");
}

#[tokio::test]
async fn health_tells_the_nodes_name_and_what_keeps_it_from_receiving() {
    let (node, wallet) = fake();
    let health = wallet.health().await;
    assert_eq!(
        (health.health, health.detail.as_str()),
        (HealthLevel::Ok, "fake")
    );
    assert_eq!(health.network.as_deref(), Some("regtest"));
    assert_eq!(health.identity, Some(node.id()));
    assert_eq!(health.balance_msat, Some(Msat(7_000_000)));
    assert_eq!(health.can_receive_msat, Some(Msat(500_000_000)));
    node.books(|books| {
        books.synced = false;
        books.inbound_msat = 0;
    });
    let health = wallet.health().await;
    assert_eq!(health.health, HealthLevel::Warn);
    for words in ["Still loading", "open a channel"] {
        assert!(health.detail.contains(words), "{}", health.detail);
    }
}

#[tokio::test]
async fn an_invoice_that_nobody_can_pay_is_warned_about_until_the_next_one_can_be() {
    let (node, wallet) = fake();
    node.books(|books| {
        books.inbound_msat = 0;
        books.limited = true;
    });
    wallet.create(ask()).await.unwrap();
    let health = wallet.health().await;
    assert_eq!(health.health, HealthLevel::Warn);
    assert!(
        health
            .detail
            .contains("Insufficient incoming channel capacity"),
        "{}",
        health.detail
    );
    node.books(|books| books.inbound_msat = 1_000_000);
    let next = NewInvoice {
        label: "vend:2".to_owned(),
        ..ask()
    };
    wallet.create(next).await.unwrap();
    assert_eq!(wallet.health().await.health, HealthLevel::Ok);
}

#[tokio::test]
async fn a_limited_rune_sells_and_the_node_keeps_its_name() {
    let (node, wallet) = fake();
    node.books(|books| books.limited = true);
    let health = wallet.health().await;
    assert_eq!(health.health, HealthLevel::Ok, "{}", health.detail);
    assert!(health.detail.contains("limited rune"), "{}", health.detail);
    assert_eq!(health.identity, None);
    wallet.create(ask()).await.unwrap();
    assert_eq!(wallet.health().await.identity, Some(node.id()));
}

#[tokio::test]
async fn a_rune_that_can_spend_is_warned_about() {
    let node = fake_cln::start_with(&fake_cln::rune("=0"));
    let health = client(&node, None).health().await;
    assert_eq!(health.health, HealthLevel::Warn);
    assert!(health.detail.contains("can spend"), "{}", health.detail);
}

#[tokio::test]
async fn a_self_signed_certificate_is_pinned_and_any_other_is_refused() {
    let node = fake_cln::start(Some(Certificate::Two));
    let pinned = client(&node, Some(Certificate::Two));
    assert!(pinned.create(ask()).await.is_ok());
    for other in [None, Some(Certificate::One)] {
        let refused = client(&node, other).create(ask()).await;
        assert!(
            matches!(refused, Err(WalletError::Certificate(_))),
            "{refused:?}"
        );
    }
}

#[test]
fn a_rune_that_no_header_can_hold_is_refused() {
    provide_tls();
    for rune in ["", " ", "a\nb"] {
        let refused = Cln::open("https://127.0.0.1:1", &rune.into(), None);
        assert!(matches!(refused, Err(ServerError::Key { .. })), "{rune:?}");
    }
}

#[tokio::test]
async fn a_broken_server_is_told_plainly() {
    let (node, wallet) = fake();
    server_faults::every_fault_is_told_plainly(&node, &wallet).await;
    server_faults::a_refused_secret_names_the_setting(&node, &wallet, "wallet.rune").await;
}
