//! The phoenixd client against a fake phoenixd: whole sats, forms, fees and fee credit, and every way in which a server
//! can be broken.

use crate::support::fake_phoenixd;
use crate::support::server_faults;
use std::time::Duration;

use crate::support::fake_node::{FakeNode, Fault};
use crate::support::server_faults::{AMOUNT, LABEL, LONG, ask, checked, paid, provide_tls};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vend::domain::Hex32;
use vend::domain::health::HealthLevel;
use vend::domain::id::PaymentHash;
use vend::domain::invoice::Verdict;
use vend::domain::msat::Msat;
use vend::wallet::phoenixd::Phoenixd;
use vend::wallet::{Issued, NewInvoice, PaymentStatus, ServerError, Wallet, WalletError};

fn client(node: &FakeNode) -> Phoenixd {
    provide_tls();
    Phoenixd::open(&node.url(), &node.secret().into()).unwrap()
}

fn fake() -> (FakeNode, Phoenixd) {
    let node = fake_phoenixd::start();
    let wallet = client(&node);
    (node, wallet)
}

#[tokio::test]
async fn a_sale_goes_from_invoice_to_paid() {
    let (node, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    assert_eq!(checked(&issued).unwrap().payee, node.id());
    // The preimage is shown from the start, and proves nothing yet.
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
    let Ok(PaymentStatus::Paid {
        at, preimage, fee, ..
    }) = wallet.lookup(issued).await
    else {
        panic!("paid");
    };
    assert!(at.is_some() && preimage.is_some());
    assert_eq!(fee, None);
}

#[tokio::test]
async fn what_phoenixd_keeps_back_is_a_fee_and_never_an_underpayment() {
    let (node, wallet) = fake();
    let kept = [(4_000, 0, Some(AMOUNT), 4_000), (0, 21_000, None, 21_000)];
    for (fee_msat, credit_msat, amount, fee) in kept {
        let issued = wallet
            .create(NewInvoice {
                label: format!("vend:{credit_msat}"),
                ..ask()
            })
            .await
            .unwrap();
        node.pay(&issued.bolt11).unwrap();
        node.books(|books| {
            let entry = books.entry(&issued.bolt11);
            (entry.fee_msat, entry.credit_msat) = (fee_msat, credit_msat);
        });
        let Ok(PaymentStatus::Paid {
            amount: told,
            fee: told_fee,
            ..
        }) = wallet.lookup(issued.clone()).await
        else {
            panic!("paid");
        };
        assert_eq!((told, told_fee), (amount, Some(Msat(fee))));
        let verdict = paid(&wallet, &issued).await;
        assert!(
            matches!(verdict, Verdict::Paid { amount: AMOUNT, .. }),
            "{verdict:?}"
        );
    }
}

#[tokio::test]
async fn a_paid_invoice_whose_time_is_over_is_paid() {
    let (node, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    node.expire(&issued.bolt11);
    assert_eq!(
        wallet.lookup(issued.clone()).await,
        Ok(PaymentStatus::Expired)
    );
    assert_eq!(wallet.find_by_label(LABEL.to_owned()).await, Ok(None));
    node.pay_late(&issued.bolt11);
    assert!(matches!(paid(&wallet, &issued).await, Verdict::Paid { .. }));
    let found = wallet.find_by_label(LABEL.to_owned()).await;
    assert_eq!(found, Ok(Some(issued)));
}

#[tokio::test]
async fn an_invoice_made_but_never_answered_is_found_by_its_label() {
    let (node, wallet) = fake();
    let short = Duration::from_secs(2);
    assert_eq!(wallet.find_by_label(LABEL.to_owned()).await, Ok(None));
    node.set_fault(Fault::HangAfterCreate);
    let hasty = client(&node).call_timeout(short);
    assert_eq!(hasty.create(ask()).await, Err(WalletError::TimedOut(short)));
    assert!(node.wait_for_created(1, LONG));
    node.set_fault(Fault::None);
    let found = wallet.find_by_label(LABEL.to_owned()).await.unwrap();
    assert!(checked(&found.unwrap()).is_ok());
}

#[tokio::test]
async fn only_whole_sats_are_asked_for_and_a_long_memo_is_cut() {
    let (node, wallet) = fake();
    for amount in [Msat::ZERO, Msat(999), Msat(21_500)] {
        let refused = wallet.create(NewInvoice { amount, ..ask() }).await;
        assert!(
            matches!(refused, Err(WalletError::Rejected(_))),
            "{refused:?}"
        );
    }
    let memo = "é & = %".repeat(100);
    let issued = wallet.create(NewInvoice { memo, ..ask() }).await.unwrap();
    let kept = node.books(|books| books.entry(&issued.bolt11).memo.clone());
    assert!(kept.starts_with("é & = %") && kept.len() <= 128, "{kept}");
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
}

#[tokio::test]
async fn another_payment_and_a_wrong_proof_are_never_a_payment() {
    let (node, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    node.pay(&issued.bolt11).unwrap();
    node.set_fault(Fault::OtherPayment);
    let seen = wallet.lookup(issued.clone()).await;
    assert!(matches!(seen, Err(WalletError::Protocol(_))), "{seen:?}");
    node.set_fault(Fault::WrongPreimage);
    let verdict = paid(&wallet, &issued).await;
    assert!(matches!(verdict, Verdict::Attention(_)), "{verdict:?}");
}

#[tokio::test]
async fn health_shows_the_room_to_receive_and_the_fee_credit() {
    let (node, wallet) = fake();
    node.books(|books| books.fee_credit_sat = 1_200);
    let health = wallet.health().await;
    assert_eq!(health.health, HealthLevel::Ok, "{}", health.detail);
    assert_eq!(health.network.as_deref(), Some("regtest"));
    assert_eq!(health.identity, Some(node.id()));
    assert_eq!(health.balance_msat, Some(Msat(7_000_000)));
    assert_eq!(health.can_receive_msat, Some(Msat(500_000_000)));
    for words in ["phoenixd 0.8.0", "room to receive", "fee credit"] {
        assert!(health.detail.contains(words), "{}", health.detail);
    }
    node.books(|books| books.inbound_msat = 0);
    let health = wallet.health().await;
    assert_eq!(health.health, HealthLevel::Warn);
    assert!(
        health.detail.contains("become fee credit"),
        "{}",
        health.detail
    );
}

#[tokio::test]
async fn a_broken_server_is_told_plainly() {
    let (node, wallet) = fake();
    server_faults::every_fault_is_told_plainly(&node, &wallet).await;
    // The password is not shown in the shape it travels in either.
    node.set_fault(Fault::ServerError);
    let line = wallet.create(ask()).await.unwrap_err().to_string();
    let pair = STANDARD.encode(format!(":{}", node.secret()));
    assert!(line.contains("***") && !line.contains(&pair), "{line}");
    server_faults::a_refused_secret_names_the_setting(&node, &wallet, "wallet.password").await;
}

#[test]
fn an_empty_password_is_refused() {
    provide_tls();
    for password in ["", " \n"] {
        let refused = Phoenixd::open("http://127.0.0.1:9740", &password.into());
        assert!(
            matches!(refused, Err(ServerError::Key { .. })),
            "{password:?}"
        );
    }
}
