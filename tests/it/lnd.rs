//! The LND client against a fake LND: limited and mighty macaroons, pinned certificates, hold invoices, and every way in
//! which a server can be broken.

use crate::support::fake_lnd;
use crate::support::fake_node::{Certificate, FakeNode, Fault, hex};
use crate::support::server_faults;
use crate::support::server_faults::{AMOUNT, EXPIRY, LABEL, ask, checked, paid, provide_tls};
use vend::config::schema::{Backend, SecretSource, Wallet};
use vend::config::secret;
use vend::domain::Hex32;
use vend::domain::health::HealthLevel;
use vend::domain::id::{PaymentHash, Preimage};
use vend::domain::invoice::Verdict;
use vend::domain::msat::Msat;
use vend::wallet::lnd::Lnd;
use vend::wallet::open::open;
use vend::wallet::{Issued, NewInvoice, PaymentStatus, ServerError, Wallet as _, WalletError};

fn client(node: &FakeNode, certificate: Option<Certificate>) -> Lnd {
    provide_tls();
    let pem = certificate.map(|one| one.pem().into());
    Lnd::open(&node.url(), &node.secret().into(), pem.as_ref()).unwrap()
}

fn fake() -> (FakeNode, Lnd) {
    let node = fake_lnd::start(None);
    let wallet = client(&node, None);
    (node, wallet)
}

fn hold() -> (Preimage, NewInvoice) {
    use nostr::hashes::{Hash, sha256};
    let preimage = Preimage(Hex32(rand::random()));
    let hash = sha256::Hash::hash(&preimage.0.0).to_byte_array();
    let new = NewInvoice {
        hold_hash: Some(PaymentHash(Hex32(hash))),
        ..ask()
    };
    (preimage, new)
}

#[tokio::test]
async fn a_sale_goes_from_invoice_to_paid() {
    let (node, wallet) = fake();
    let new = NewInvoice {
        amount: Msat(21_500),
        ..ask()
    };
    let odd = wallet.create(new).await.unwrap();
    assert_eq!(
        node.books(|books| books.entry(&odd.bolt11).amount_msat),
        21_500
    );
    let issued = wallet.create(ask()).await.unwrap();
    assert_eq!(checked(&issued).unwrap().payee, node.id());
    assert_eq!(
        wallet.lookup(issued.clone()).await,
        Ok(PaymentStatus::Pending)
    );
    node.pay_more(&issued.bolt11, 5_000).unwrap();
    let verdict = paid(&wallet, &issued).await;
    let amount = Msat(26_000);
    assert_eq!(
        verdict,
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
async fn what_lnd_cancels_by_itself_has_expired_and_what_somebody_cancels_is_canceled() {
    let (node, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    let other = wallet.create(ask()).await.unwrap();
    node.expire(&issued.bolt11);
    assert_eq!(
        wallet.lookup(issued.clone()).await,
        Ok(PaymentStatus::Expired)
    );
    node.pay_late(&issued.bolt11);
    assert!(matches!(paid(&wallet, &issued).await, Verdict::Paid { .. }));
    wallet.cancel(other.clone()).await.unwrap();
    assert_eq!(
        wallet.lookup(other.clone()).await,
        Ok(PaymentStatus::Canceled)
    );
    // As after a crash in between.
    wallet.cancel(other).await.unwrap();
    let settled = wallet.cancel(issued).await;
    assert!(
        matches!(settled, Err(WalletError::Rejected(_))),
        "{settled:?}"
    );
}

#[tokio::test]
async fn a_held_payment_is_the_sellers_only_once_it_is_settled() {
    let (node, wallet) = fake();
    let (preimage, new) = hold();
    let issued = wallet.create(new.clone()).await.unwrap();
    checked(&issued).unwrap();
    // As after an answer that was lost: the same invoice again.
    assert_eq!(wallet.create(new).await, Ok(issued.clone()));
    let early = wallet.settle(preimage).await;
    assert!(matches!(early, Err(WalletError::Rejected(_))), "{early:?}");
    node.pay(&issued.bolt11).unwrap();
    assert_eq!(
        wallet.lookup(issued.clone()).await,
        Ok(PaymentStatus::Held {
            amount: Some(AMOUNT)
        })
    );
    wallet.settle(preimage).await.unwrap();
    wallet.settle(preimage).await.unwrap();
    assert!(matches!(paid(&wallet, &issued).await, Verdict::Paid { .. }));
    let unknown = wallet.settle(Preimage(Hex32([5; 32]))).await;
    assert!(
        matches!(unknown, Err(WalletError::Rejected(_))),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn a_held_payment_goes_back_when_it_is_canceled() {
    let (node, wallet) = fake();
    let (preimage, new) = hold();
    let issued = wallet.create(new).await.unwrap();
    node.pay(&issued.bolt11).unwrap();
    wallet.cancel(issued.clone()).await.unwrap();
    assert_eq!(wallet.lookup(issued).await, Ok(PaymentStatus::Canceled));
    assert!(wallet.settle(preimage).await.is_err());
}

#[tokio::test]
async fn an_unknown_invoice_is_unknown_and_labels_are_not_kept() {
    let (_node, wallet) = fake();
    let issued = Issued {
        bolt11: "lnbcrt1".to_owned(),
        payment_hash: PaymentHash(Hex32([6; 32])),
        backend_ref: None,
    };
    assert_eq!(wallet.lookup(issued).await, Ok(PaymentStatus::Unknown));
    let found = wallet.find_by_label(LABEL.to_owned()).await;
    assert_eq!(found, Err(WalletError::Unsupported));
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
    assert!(health.detail.contains("catching up"), "{}", health.detail);
    assert!(
        health.detail.contains("open a channel"),
        "{}",
        health.detail
    );
}

#[tokio::test]
async fn a_macaroon_for_invoices_only_sells_and_the_node_keeps_its_name() {
    let (node, wallet) = fake();
    node.books(|books| books.limited = true);
    let health = wallet.health().await;
    assert_eq!(health.health, HealthLevel::Ok, "{}", health.detail);
    assert!(health.detail.contains("invoices only"), "{}", health.detail);
    assert_eq!(health.identity, None);
    let issued = wallet.create(ask()).await.unwrap();
    assert_eq!(wallet.lookup(issued).await, Ok(PaymentStatus::Pending));
    assert_eq!(wallet.health().await.identity, Some(node.id()));
}

#[tokio::test]
async fn a_macaroon_that_can_spend_is_warned_about() {
    let admin = hex(b"\x02\x01\x03lnd\x1a\x17\x0a\x08offchain\x12\x04read\x12\x05write");
    let node = fake_lnd::start_with(&admin, None);
    let health = client(&node, None).health().await;
    assert_eq!(health.health, HealthLevel::Warn);
    assert!(
        health.detail.contains("invoice.macaroon"),
        "{}",
        health.detail
    );
}

#[tokio::test]
async fn a_self_signed_certificate_is_pinned_and_any_other_is_refused_in_plain_words() {
    let node = fake_lnd::start(Some(Certificate::One));
    let pinned = client(&node, Some(Certificate::One));
    assert!(pinned.create(ask()).await.is_ok());
    let told = |wallet: Lnd| async move { wallet.create(ask()).await.unwrap_err() };
    let changed = told(client(&node, Some(Certificate::Two))).await;
    assert!(
        matches!(changed, WalletError::Certificate(_)),
        "{changed:?}"
    );
    assert!(
        changed
            .to_string()
            .contains("another certificate than the one in wallet.certificate"),
        "{changed}"
    );
    let unpinned = told(client(&node, None)).await;
    assert!(
        matches!(unpinned, WalletError::Certificate(_)),
        "{unpinned:?}"
    );
    assert!(
        unpinned.to_string().contains("set wallet.certificate"),
        "{unpinned}"
    );
    assert_eq!(
        node.books(|books| books.all().len()),
        1,
        "nothing was asked of it"
    );
}

#[tokio::test]
async fn the_settings_may_name_lnds_own_files() {
    provide_tls();
    let binary = b"\x02\x01\x03lnd\xff\xfe\x0a\x01";
    let node = fake_lnd::start_with(&hex(binary), Some(Certificate::One));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("invoice.macaroon"), binary).unwrap();
    std::fs::write(folder.path().join("tls.cert"), Certificate::One.pem()).unwrap();
    let settings = Wallet {
        backend: Backend::Lnd,
        url: Some(node.url()),
        macaroon: Some(SecretSource::File {
            file: "invoice.macaroon".to_owned(),
        }),
        certificate: Some("tls.cert".to_owned()),
        ..Wallet::default()
    };
    let resolve = |source: &SecretSource| secret::resolve(source, folder.path());
    let wallet = open(&settings, resolve, folder.path()).unwrap();
    checked(&wallet.create(ask()).await.unwrap()).unwrap();
}

#[test]
fn settings_that_cant_work_are_refused_before_anything_is_sent() {
    provide_tls();
    let try_open = |url: &str, macaroon: &str, pem: Option<&str>| {
        let pem = pem.map(Into::into);
        Lnd::open(url, &macaroon.into(), pem.as_ref()).map(drop)
    };
    for macaroon in ["", " ", "AgEDbG5k", "020"] {
        let refused = try_open("https://127.0.0.1:1", macaroon, None);
        assert!(
            matches!(refused, Err(ServerError::Key { .. })),
            "{macaroon}"
        );
    }
    for pem in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nx"] {
        let refused = try_open("https://127.0.0.1:1", "0201", Some(pem));
        assert!(matches!(refused, Err(ServerError::Certificate(_))), "{pem}");
    }
    let refused = try_open("http://127.0.0.1:1", "0201", Some(Certificate::One.pem()));
    assert!(
        matches!(refused, Err(ServerError::Certificate(_))),
        "{refused:?}"
    );
    let refused = try_open("http://lnd.example:8080", "0201", None);
    assert!(
        matches!(refused, Err(ServerError::PlainHttp(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_broken_server_is_told_plainly() {
    let (node, wallet) = fake();
    server_faults::every_fault_is_told_plainly(&node, &wallet).await;
    server_faults::a_refused_secret_names_the_setting(&node, &wallet, "wallet.macaroon").await;
}

#[tokio::test]
async fn an_invoice_made_but_never_answered_is_left_behind_and_the_next_is_as_good() {
    let (node, wallet) = fake();
    let short = std::time::Duration::from_secs(2);
    let hasty = client(&node, None).call_timeout(short);
    node.set_fault(Fault::HangAfterCreate);
    let error = hasty.create(ask()).await.unwrap_err();
    assert_eq!(error, WalletError::TimedOut(short));
    assert!(node.wait_for_created(1, server_faults::LONG));
    node.set_fault(Fault::None);
    let issued = wallet.create(ask()).await.unwrap();
    assert!(checked(&issued).is_ok());
    assert!(EXPIRY > short);
}
