//! Nostr Wallet Connect against a fake wallet service on a fake relay: what an invoice can become, every way in which a
//! wallet can answer wrongly, and every way in which the relay between can fail.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::support::fake_node::hex;
use crate::support::fake_nwc::{FakeNwc, Fault, LONG, RECEIVING, Setup};
use crate::support::fake_relay::Fault as RelayFault;
use crate::support::server_faults::{AMOUNT, ask, assert_plain, checked, paid};
use nostr::JsonUtil;
use serde_json::json;
use vend::domain::Hex32;
use vend::domain::health::HealthLevel;
use vend::domain::id::{PaymentHash, Preimage};
use vend::domain::invoice::Verdict;
use vend::domain::msat::Msat;
use vend::domain::time::Time;
use vend::wallet::nwc::{Nwc, NwcPayer, PayError};
use vend::wallet::{Issued, NewInvoice, PaymentStatus, Wallet, WalletError};

/// Shorter than a call may take, and long enough for whatever comes at all.
const SHORT: Duration = Duration::from_secs(2);

fn client(fake: &FakeNwc) -> Nwc {
    Nwc::open(&fake.uri().into()).unwrap()
}

fn fake() -> (FakeNwc, Nwc) {
    fake_as(|_| {})
}

fn fake_as(change: impl FnOnce(&mut Setup)) -> (FakeNwc, Nwc) {
    let mut setup = Setup::default();
    change(&mut setup);
    let fake = FakeNwc::start_as(setup);
    let wallet = client(&fake);
    (fake, wallet)
}

fn tag(event: &nostr::Event, name: &str) -> String {
    let tags = event.tags.iter().map(nostr::Tag::as_slice);
    let mut found = tags.filter(|tag| tag[0] == name);
    found.next().unwrap()[1].clone()
}

fn hold() -> (Preimage, NewInvoice) {
    let preimage = Preimage(Hex32(rand::random()));
    let new = NewInvoice {
        hold_hash: Some(preimage.hash()),
        ..ask()
    };
    (preimage, new)
}

async fn seen(wallet: &Nwc, issued: &Issued) -> PaymentStatus {
    wallet.lookup(issued.clone()).await.unwrap()
}

#[tokio::test]
async fn a_sale_goes_from_invoice_to_paid() {
    let (fake, wallet) = fake();
    let odd = NewInvoice {
        amount: Msat(21_500),
        ..ask()
    };
    let odd = wallet.create(odd).await.unwrap();
    assert_eq!(
        fake.books(|books| books.entry(&odd.bolt11).amount_msat),
        21_500
    );
    let issued = wallet.create(ask()).await.unwrap();
    assert_eq!(checked(&issued).unwrap().payee, fake.id());
    assert_eq!(seen(&wallet, &issued).await, PaymentStatus::Pending);
    fake.pay_more(&issued.bolt11, 5_000).unwrap();
    let verdict = paid(&wallet, &issued).await;
    let amount = Msat(26_000);
    assert_eq!(
        verdict,
        Verdict::Paid {
            amount,
            named: true
        }
    );
    let PaymentStatus::Paid {
        at, preimage, fee, ..
    } = seen(&wallet, &issued).await
    else {
        panic!("paid");
    };
    assert!(at.is_some() && preimage.unwrap().opens(&issued.payment_hash) && fee.is_none());
}

#[tokio::test]
async fn what_was_made_since_is_listed_where_the_wallet_lists() {
    let (fake, wallet) = fake();
    let since = Time::now().minus(Duration::from_secs(60));
    assert_eq!(
        wallet.made_since(since).await.unwrap_err(),
        WalletError::Unsupported,
        "this connection may not"
    );
    drop(fake);

    let (fake, wallet) = fake_as(|setup| setup.methods.push("list_transactions"));
    let mut made = Vec::new();
    // More than one page of the wallet.
    for _ in 0..60 {
        made.push(wallet.create(ask()).await.unwrap());
    }
    fake.pay(&made[3].bolt11).unwrap();
    let listed = wallet.made_since(since).await.unwrap();
    let hashes = |all: Vec<PaymentHash>| all.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(
        hashes(listed.iter().map(|one| one.issued.payment_hash).collect()),
        hashes(made.iter().map(|one| one.payment_hash).collect()),
        "the paid one and the others"
    );
    assert!(
        listed
            .iter()
            .all(|one| one.memo.as_deref() == Some("a job"))
    );
    let later = Time::now().plus(Duration::from_secs(60));
    assert_eq!(wallet.made_since(later).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_request_is_encrypted_for_the_wallet_and_is_over_by_itself() {
    let (fake, wallet) = fake();
    wallet.create(ask()).await.unwrap();
    let heard = fake.heard().remove(0);
    assert_eq!(
        (heard.method.as_str(), heard.scheme),
        ("make_invoice", "nip44_v2")
    );
    assert_eq!(tag(&heard.event, "encryption"), "nip44_v2");
    let over: u64 = tag(&heard.event, "expiration").parse().unwrap();
    let made = heard.event.created_at.as_secs();
    assert!((30..=300).contains(&(over - made)), "{made} to {over}");
    assert!(fake.uri().contains(&tag(&heard.event, "p")));
    assert!(!heard.event.as_json().contains("a job"));
}

#[tokio::test]
async fn a_late_payment_is_seen_and_an_unknown_invoice_is_not_unpaid() {
    let (fake, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    fake.expire(&issued.bolt11);
    assert_eq!(seen(&wallet, &issued).await, PaymentStatus::Expired);
    fake.pay_late(&issued.bolt11);
    assert!(matches!(paid(&wallet, &issued).await, Verdict::Paid { .. }));
    let unknown = Issued {
        payment_hash: PaymentHash(Hex32([6; 32])),
        ..issued
    };
    assert_eq!(seen(&wallet, &unknown).await, PaymentStatus::Unknown);
    let labelled = wallet.find_by_label("vend:1".to_owned()).await;
    assert_eq!(labelled, Err(WalletError::Unsupported));
}

#[tokio::test]
async fn a_held_payment_is_the_sellers_only_once_it_is_settled() {
    let (fake, wallet) = fake();
    let (preimage, new) = hold();
    let issued = wallet.create(new.clone()).await.unwrap();
    assert!(wallet.caps().hold);
    checked(&issued).unwrap();
    assert!(wallet.create(new).await.is_err(), "one for each hash");
    let early = wallet.settle(preimage).await;
    assert!(matches!(early, Err(WalletError::Rejected(_))), "{early:?}");
    fake.pay(&issued.bolt11).unwrap();
    let amount = Some(AMOUNT);
    assert_eq!(seen(&wallet, &issued).await, PaymentStatus::Held { amount });
    wallet.settle(preimage).await.unwrap();
    // As after a crash in between.
    wallet.settle(preimage).await.unwrap();
    assert!(matches!(paid(&wallet, &issued).await, Verdict::Paid { .. }));
    let settled = wallet.cancel(issued).await;
    assert!(
        matches!(settled, Err(WalletError::Rejected(_))),
        "{settled:?}"
    );
}

#[tokio::test]
async fn a_held_payment_goes_back_when_it_is_canceled() {
    let (fake, wallet) = fake();
    let (preimage, new) = hold();
    let issued = wallet.create(new).await.unwrap();
    fake.pay(&issued.bolt11).unwrap();
    wallet.cancel(issued.clone()).await.unwrap();
    wallet.cancel(issued.clone()).await.unwrap();
    assert_eq!(seen(&wallet, &issued).await, PaymentStatus::Canceled);
    assert!(wallet.settle(preimage).await.is_err());
}

#[tokio::test]
async fn a_wallet_without_hold_invoices_is_not_asked_for_one() {
    let (fake, wallet) = fake_as(|setup| setup.methods = RECEIVING.to_vec());
    let (preimage, new) = hold();
    assert_eq!(wallet.create(new).await, Err(WalletError::Unsupported));
    assert_eq!(wallet.settle(preimage).await, Err(WalletError::Unsupported));
    assert!(!wallet.caps().hold && fake.heard().is_empty());
}

#[tokio::test]
async fn silence_is_told_honestly() {
    let (fake, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    fake.set_fault(Fault::Silent);
    let hasty = client(&fake).call_timeout(SHORT);
    let error = hasty.lookup(issued).await.unwrap_err();
    assert_eq!(error, WalletError::TimedOut(SHORT));
    let health = hasty.health().await;
    assert_eq!(health.health, HealthLevel::Down);
    for words in [
        "no answer",
        "relay 127.0.0.1",
        "offline",
        "removed",
        "wallet.uri",
    ] {
        assert!(health.detail.contains(words), "{words}: {}", health.detail);
    }
    assert!(!health.detail.contains("key"), "{}", health.detail);
    assert_plain(&health.detail, &fake.secret());
}

#[tokio::test]
async fn a_slow_wallet_is_waited_for() {
    let (fake, wallet) = fake();
    fake.set_fault(Fault::Slow(Duration::from_millis(300)));
    let issued = wallet.create(ask()).await.unwrap();
    assert_eq!(seen(&wallet, &issued).await, PaymentStatus::Pending);
}

#[tokio::test]
async fn an_answer_that_is_none_changes_nothing() {
    let (fake, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    fake.pay(&issued.bolt11).unwrap();
    for fault in [
        Fault::Garbage,
        Fault::Huge,
        Fault::OtherReader,
        Fault::OtherPayment,
    ] {
        fake.set_fault(fault.clone());
        let error = wallet.lookup(issued.clone()).await.unwrap_err();
        assert!(
            matches!(error, WalletError::Protocol(_)),
            "{fault:?}: {error:?}"
        );
        assert_plain(&error.to_string(), &fake.secret());
    }
    fake.set_fault(Fault::StrangeState);
    let strange = seen(&wallet, &issued).await;
    assert!(
        matches!(strange, PaymentStatus::Attention(_)),
        "{strange:?}"
    );
    fake.set_fault(Fault::WrongPreimage);
    let verdict = paid(&wallet, &issued).await;
    assert!(matches!(verdict, Verdict::Attention(_)), "{verdict:?}");
    fake.set_fault(Fault::NoState);
    assert!(matches!(paid(&wallet, &issued).await, Verdict::Paid { .. }));
}

#[tokio::test]
async fn only_the_wallets_own_signature_counts() {
    let (fake, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    fake.set_fault(Fault::Forged);
    assert_eq!(seen(&wallet, &issued).await, PaymentStatus::Pending);
    // The relay itself forges what it passes on: the true answer follows, and counts.
    fake.set_fault(Fault::None);
    fake.relay().set(RelayFault::Forge);
    assert_eq!(seen(&wallet, &issued).await, PaymentStatus::Pending);
}

#[tokio::test]
async fn a_no_is_the_right_error_and_never_shows_the_secret() {
    type Is = fn(&WalletError) -> bool;
    let is: &[(&str, Is)] = &[
        ("UNAUTHORIZED", |e| {
            matches!(e, WalletError::Unauthorized(_))
        }),
        ("RESTRICTED", |e| matches!(e, WalletError::Unauthorized(_))),
        ("RATE_LIMITED", |e| *e == WalletError::RateLimited(None)),
        ("INTERNAL", |e| matches!(e, WalletError::Failed(_))),
        ("FULL_MOON", |e| matches!(e, WalletError::Failed(_))),
        ("QUOTA_EXCEEDED", |e| matches!(e, WalletError::Rejected(_))),
    ];
    let (fake, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    for (code, is) in is {
        fake.set_fault(Fault::Code(code));
        for error in [
            wallet.create(ask()).await.unwrap_err(),
            wallet.lookup(issued.clone()).await.unwrap_err(),
        ] {
            assert!(is(&error), "{code}: {error:?}");
            assert_plain(&error.to_string(), &fake.secret());
        }
    }
    fake.set_fault(Fault::Code("UNAUTHORIZED"));
    let health = wallet.health().await;
    assert_eq!(health.health, HealthLevel::Down);
    assert!(
        health.detail.contains("set wallet.uri"),
        "{}",
        health.detail
    );
    assert!(!format!("{wallet:?}").contains(&fake.secret()));
}

#[tokio::test]
async fn the_wallets_encryption_is_spoken_whatever_its_card_says() {
    // What the card offers; does the service understand NIP-44, NIP-04; has it a card; what is spoken in the end.
    for (offers, speaks, card, spoken) in [
        (Some("nip44_v2 nip04"), (true, true), true, "nip44_v2"),
        (Some("nip44_v2"), (true, false), true, "nip44_v2"),
        (Some("nip04"), (false, true), true, "nip04"),
        (None, (false, true), true, "nip04"),
        (None, (true, true), false, "nip04"),
        // A card that is behind: the wallet says so, and is asked again.
        (Some("nip44_v2"), (false, true), true, "nip04"),
        (None, (true, false), true, "nip44_v2"),
    ] {
        let (fake, wallet) = fake_as(|setup| {
            (setup.offers, setup.speaks, setup.card) = (offers, speaks, card);
        });
        let issued = wallet.create(ask()).await.unwrap();
        assert_eq!(seen(&wallet, &issued).await, PaymentStatus::Pending);
        let heard = fake.heard();
        let schemes: Vec<&str> = heard.iter().map(|one| one.scheme).collect();
        assert_eq!(schemes, [spoken, spoken], "{offers:?} {speaks:?} {card}");
        assert!(
            heard
                .iter()
                .all(|one| tag(&one.event, "encryption") == spoken)
        );
    }
}

#[tokio::test]
async fn an_answer_in_the_other_encryption_is_read_all_the_same() {
    let (fake, wallet) = fake();
    fake.set_fault(Fault::OtherScheme);
    let issued = wallet.create(ask()).await.unwrap();
    assert_eq!(seen(&wallet, &issued).await, PaymentStatus::Pending);
}

#[tokio::test]
async fn a_relay_that_was_gone_between_two_questions_is_found_again() {
    let (fake, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    fake.set_down(true);
    let error = wallet.lookup(issued.clone()).await.unwrap_err();
    assert!(matches!(error, WalletError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
    assert!(!error.may_have_done(), "it was never asked: {error}");
    let health = wallet.health().await;
    assert_eq!(health.health, HealthLevel::Down);
    assert!(health.detail.contains("no answer"), "{}", health.detail);
    fake.pay(&issued.bolt11).unwrap();
    fake.set_down(false);
    assert!(matches!(paid(&wallet, &issued).await, Verdict::Paid { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_whose_answer_was_lost_with_the_connection_is_asked_anew() {
    let (fake, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    fake.set_fault(Fault::Silent);
    let (found, ()) = tokio::join!(wallet.lookup(issued.clone()), async {
        tokio::task::block_in_place(|| {
            assert!(fake.wait_for_heard("lookup_invoice", 1));
            fake.set_fault(Fault::None);
            fake.relay().cut();
        });
    });
    assert_eq!(found, Ok(PaymentStatus::Pending));
    assert!(fake.heard().len() >= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_was_out_when_the_relay_went_may_have_been_answered() {
    let (fake, wallet) = fake();
    let wallet = Arc::new(wallet);
    fake.set_fault(Fault::HangAfterCreate);
    let asking = tokio::spawn({
        let wallet = wallet.clone();
        async move { wallet.create(ask()).await }
    });
    tokio::task::block_in_place(|| {
        assert!(fake.wait_for_created(1));
        fake.set_down(true);
    });
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, WalletError::Unreachable(_)), "{error:?}");
    assert!(error.may_have_done(), "an invoice was made: {error}");
    fake.relay()
        .set(RelayFault::Refuse("blocked: no".to_owned()));
    fake.set_down(false);
    let error = wallet.create(ask()).await.unwrap_err();
    assert!(!error.may_have_done(), "no relay passed it on: {error}");
}

#[tokio::test]
async fn a_wallet_that_is_closed_leaves_its_relay() {
    let (fake, wallet) = fake();
    wallet.create(ask()).await.unwrap();
    assert_eq!(fake.relay().connections(), 1);
    wallet.close().await;
    let relay = fake.relay().clone();
    let left = async move {
        relay
            .wait_until(|relay| relay.connections() == 0, LONG)
            .await
    };
    assert!(fake.on(left));
}

#[tokio::test]
async fn another_run_finds_what_the_one_before_has_made() {
    let (fake, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    drop(wallet);
    fake.pay(&issued.bolt11).unwrap();
    let next = client(&fake);
    assert!(matches!(paid(&next, &issued).await, Verdict::Paid { .. }));
}

#[tokio::test]
async fn an_invoice_made_but_never_answered_is_left_behind_and_the_next_is_as_good() {
    let (fake, wallet) = fake();
    fake.set_fault(Fault::HangAfterCreate);
    let error = client(&fake)
        .call_timeout(SHORT)
        .create(ask())
        .await
        .unwrap_err();
    assert_eq!(error, WalletError::TimedOut(SHORT));
    assert!(fake.wait_for_created(1));
    fake.set_fault(Fault::None);
    let issued = wallet.create(ask()).await.unwrap();
    assert!(checked(&issued).is_ok());
}

#[tokio::test]
async fn a_relay_that_asks_who_we_are_is_told() {
    let fake = FakeNwc::start();
    fake.relay().set(RelayFault::Auth);
    let wallet = client(&fake);
    let issued = wallet.create(ask()).await.unwrap();
    assert_eq!(seen(&wallet, &issued).await, PaymentStatus::Pending);
    assert_eq!(fake.heard()[0].scheme, "nip44_v2", "the card was read");
}

#[tokio::test]
async fn a_relay_that_does_not_take_our_questions_is_named_with_its_words() {
    let (fake, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    let words = format!("blocked: \u{1b}[2Jno {}", fake.secret());
    fake.relay().set(RelayFault::Refuse(words));
    let error = wallet.lookup(issued).await.unwrap_err();
    assert!(matches!(error, WalletError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().contains("blocked:"), "{error}");
    assert_plain(&error.to_string(), &fake.secret());
}

#[tokio::test]
async fn a_relays_nonsense_does_not_get_in_the_way() {
    for fault in [
        RelayFault::Garbage,
        RelayFault::Unasked,
        RelayFault::Duplicate,
        RelayFault::LoseOk,
    ] {
        let (fake, wallet) = fake();
        fake.relay().set(fault.clone());
        let issued = wallet.create(ask()).await.unwrap();
        assert_eq!(
            seen(&wallet, &issued).await,
            PaymentStatus::Pending,
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_push_is_a_hint_and_a_forged_one_is_not_even_that() {
    let (fake, wallet) = fake();
    let wallet = Arc::new(wallet);
    let forged = wallet.create(ask()).await.unwrap();
    let mut last = None;
    for kind in [23_197, 23_196] {
        let issued = wallet.create(ask()).await.unwrap();
        fake.notify_forged(&hex(&forged.payment_hash.0.0));
        fake.notify(kind, &hex(&issued.payment_hash.0.0));
        let hint = tokio::time::timeout(LONG, wallet.next_hint())
            .await
            .unwrap();
        assert_eq!(hint, Some(issued.payment_hash), "{kind}");
        // The wallet's own "paid" is no payment either.
        assert_eq!(seen(&wallet, &issued).await, PaymentStatus::Pending);
        last = Some(issued);
    }
    assert_eq!(seen(&wallet, &forged).await, PaymentStatus::Pending);
    // What was told while the relay was gone is found by looking at all.
    fake.set_down(true);
    fake.set_down(false);
    assert_eq!(seen(&wallet, &last.unwrap()).await, PaymentStatus::Pending);
    let hint = tokio::time::timeout(LONG, wallet.next_hint())
        .await
        .unwrap();
    assert_eq!(hint, None);
}

#[tokio::test]
async fn health_tells_who_it_is_and_that_a_connection_can_spend() {
    let (fake, wallet) = fake();
    let health = wallet.health().await;
    assert_eq!(
        (health.health, health.detail.as_str()),
        (HealthLevel::Ok, "fake")
    );
    assert_eq!(health.network.as_deref(), Some("regtest"));
    // Thousands of wallets may be behind one node: the connection's two keys tell this one.
    let identity = health.identity.unwrap();
    assert!(!identity.contains(&fake.id()), "{identity}");
    assert_eq!(identity.split(':').count(), 2);
    assert_eq!(health.balance_msat, Some(Msat(7_000_000)));
    let spender = Nwc::open(&fake.spending_uri().into()).unwrap();
    let health = spender.health().await;
    assert_eq!(health.health, HealthLevel::Warn);
    assert!(health.detail.contains("can spend"), "{}", health.detail);
}

#[tokio::test]
async fn health_shows_an_unknown_network_as_unknown_and_needs_what_a_sale_needs() {
    let (fake, wallet) = fake_as(|setup| setup.info = json!({}));
    let health = wallet.health().await;
    assert_eq!((health.health, health.network), (HealthLevel::Ok, None));
    assert!(health.detail.contains("network"), "{}", health.detail);
    fake.set_up(|setup| setup.methods = vec!["make_invoice", "lookup_invoice"]);
    let health = wallet.health().await;
    assert_eq!(
        (health.health, health.identity.is_some()),
        (HealthLevel::Ok, true)
    );
    let issued = wallet.create(ask()).await.unwrap();
    assert_eq!(seen(&wallet, &issued).await, PaymentStatus::Pending);
    fake.set_up(|setup| setup.methods = vec!["get_info", "lookup_invoice"]);
    let health = wallet.health().await;
    assert_eq!(health.health, HealthLevel::Down);
    assert!(health.detail.contains("make_invoice"), "{}", health.detail);
    assert!(
        health.detail.contains("set wallet.uri"),
        "{}",
        health.detail
    );
}

#[tokio::test]
async fn a_payer_pays_once_and_has_the_proof() {
    let (fake, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    let payer = NwcPayer::open(&fake.spending_uri().into()).unwrap();
    let pay = |issued: Issued| {
        let payer = &payer;
        async move { payer.pay(&issued.bolt11, &issued.payment_hash, SHORT).await }
    };
    let receipt = pay(issued.clone()).await.unwrap();
    assert!(receipt.preimage.opens(&issued.payment_hash));
    assert_eq!(receipt.fee, Some(Msat(3_000)));
    assert!(matches!(paid(&wallet, &issued).await, Verdict::Paid { .. }));
    let again = pay(issued).await;
    assert!(matches!(again, Err(PayError::NotPaid(_))), "{again:?}");

    // The payment is made, and its answer lost: what became of it is looked up, and it is never sent twice.
    let issued = wallet.create(ask()).await.unwrap();
    fake.set_fault(Fault::HangAfterPay);
    let receipt = pay(issued.clone()).await.unwrap();
    assert!(receipt.preimage.opens(&issued.payment_hash));
    let paid = fake
        .heard()
        .iter()
        .filter(|one| one.method == "pay_invoice")
        .count();
    assert_eq!(paid, 3);

    let issued = wallet.create(ask()).await.unwrap();
    fake.set_fault(Fault::Code("INTERNAL"));
    let unsure = pay(issued.clone()).await;
    assert!(matches!(unsure, Err(PayError::NotKnown(_))), "{unsure:?}");
    fake.set_fault(Fault::Code("INSUFFICIENT_BALANCE"));
    let refused = pay(issued.clone()).await;
    assert!(matches!(refused, Err(PayError::NotPaid(_))), "{refused:?}");
    fake.set_down(true);
    let nobody = pay(issued).await;
    assert!(matches!(nobody, Err(PayError::NotPaid(_))), "{nobody:?}");
}

#[tokio::test]
async fn a_connection_that_only_receives_pays_nothing() {
    let (fake, wallet) = fake();
    let issued = wallet.create(ask()).await.unwrap();
    let payer = NwcPayer::open(&fake.uri().into()).unwrap();
    let refused = payer.pay(&issued.bolt11, &issued.payment_hash, SHORT).await;
    let Err(PayError::NotPaid(WalletError::Unauthorized(words))) = refused else {
        panic!("{refused:?}");
    };
    assert!(words.contains("RESTRICTED"), "{words}");
}
