use std::time::Duration;

use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use nostr::Keys;
use nostr::hashes::{Hash, sha256};
use nostr::secp256k1::{Secp256k1, SecretKey};

use super::*;

const NOW: Time = Time(1_700_000_100_000);
const HONEST: u8 = 1;
const LIAR: u8 = 2;

fn seller(number: u8) -> PublicKey {
    let key = SecretKey::from_slice(&[number; 32]).unwrap();
    Keys::new(key.into()).public_key()
}

fn bolt11(number: u8, msat: u64, currency: Currency) -> String {
    let (secp, key) = (Secp256k1::new(), SecretKey::from_slice(&[7; 32]).unwrap());
    InvoiceBuilder::new(currency)
        .description("a job".to_owned())
        .payment_hash(sha256::Hash::from_byte_array([number; 32]))
        .payment_secret(PaymentSecret([2; 32]))
        .duration_since_epoch(Duration::from_secs(1_700_000_000))
        .min_final_cltv_expiry_delta(18)
        .expiry_time(Duration::from_secs(600))
        .amount_milli_satoshis(msat)
        .build_signed(|message| secp.sign_ecdsa_recoverable(message, &key))
        .unwrap()
        .to_string()
}

fn terms(to: Option<u8>, pays: bool) -> Terms {
    Terms {
        kind: 5050,
        to: to.map(seller),
        pays,
        most: Msat(50_000),
        network: Some(Network::Regtest),
    }
}

fn status(status: Status, words: &str) -> Answer {
    Answer::Feedback {
        status,
        extra: (!words.is_empty()).then(|| words.to_owned()),
        amount: None,
        bolt11: None,
    }
}

fn bill(number: u8, msat: u64) -> Answer {
    Answer::Feedback {
        status: Status::PaymentRequired,
        extra: None,
        amount: Some(Msat(msat)),
        bolt11: Some(bolt11(number, msat, Currency::Regtest)),
    }
}

fn result(content: &str, invoice: Option<(u8, u64)>) -> Answer {
    Answer::Result {
        content: content.to_owned(),
        amount: invoice.map(|(_, msat)| Msat(msat)),
        bolt11: invoice.map(|(number, msat)| bolt11(number, msat, Currency::Regtest)),
        model: None,
        usage: None,
    }
}

fn says(purchase: &mut Purchase, who: u8, answer: Answer) -> Vec<Act> {
    says_kind(purchase, who, 6050, answer)
}

fn says_kind(purchase: &mut Purchase, who: u8, kind: u16, answer: Answer) -> Vec<Act> {
    purchase.heard(seller(who), EventId::all_zeros(), kind, answer, NOW)
}

fn paid() -> Payment {
    Payment::Paid(Paid {
        amount: Msat(21_000),
        fee: None,
        preimage: None,
    })
}

fn payee_of(acts: &[Act]) -> Option<PublicKey> {
    acts.iter().find_map(|act| match act {
        Act::Pay { seller, .. } => Some(*seller),
        _ => None,
    })
}

fn answer_of(acts: &[Act]) -> Option<(PublicKey, String, bool)> {
    acts.iter().find_map(|act| match act {
        Act::End(End::Delivered { delivery, paid, .. }) => {
            Some((delivery.seller, delivery.content.clone(), paid.is_some()))
        }
        _ => None,
    })
}

fn words_of(acts: &[Act]) -> String {
    let words = acts.iter().filter_map(|act| match act {
        Act::Fault { words, .. } | Act::End(End::Failed { words, .. }) => Some(words.as_str()),
        _ => None,
    });
    words.collect::<Vec<_>>().join(" | ")
}

#[test]
fn an_error_of_one_ends_nothing_while_others_may_answer() {
    let mut purchase = Purchase::new(terms(None, true));
    let acts = says(&mut purchase, LIAR, status(Status::Error, "no"));
    assert!(!acts.iter().any(|act| matches!(act, Act::End(_))));
    assert!(payee_of(&says(&mut purchase, HONEST, bill(1, 21_000))).is_some());
    purchase.payment(paid());
    let acts = says(&mut purchase, HONEST, result("Paris", Some((1, 21_000))));
    assert_eq!(
        answer_of(&acts),
        Some((seller(HONEST), "Paris".to_owned(), true))
    );
}

#[test]
fn a_bad_invoice_of_one_ends_nothing_while_others_may_answer() {
    let other_network = Answer::Feedback {
        status: Status::PaymentRequired,
        extra: None,
        amount: Some(Msat(21_000)),
        bolt11: Some(bolt11(3, 21_000, Currency::Bitcoin)),
    };
    let no_invoice = status(Status::PaymentRequired, "");
    for (bad, why) in [
        (bill(3, 50_001), "--bid"),
        (other_network, "of bitcoin"),
        (no_invoice, "no invoice"),
        (result("dear", Some((3, 60_000))), "--bid"),
    ] {
        let mut purchase = Purchase::new(terms(None, true));
        let acts = says(&mut purchase, LIAR, bad.clone());
        assert!(words_of(&acts).contains(why), "{acts:?}");
        assert!(payee_of(&acts).is_none() && answer_of(&acts).is_none());
        let acts = says(&mut purchase, HONEST, result("Paris", Some((1, 21_000))));
        assert_eq!(payee_of(&acts), Some(seller(HONEST)));
        let acts = purchase.payment(paid());
        assert_eq!(answer_of(&acts).unwrap().1, "Paris");
        // Alone asked, the same is the end, and says why.
        let mut alone = Purchase::new(terms(Some(LIAR), true));
        let acts = says(&mut alone, LIAR, bad);
        assert!(
            matches!(acts.last(), Some(Act::End(End::Failed { words, .. })) if words.contains(why)),
            "{acts:?}"
        );
    }
}

#[test]
fn once_one_is_paid_only_its_result_is_the_answer() {
    let mut purchase = Purchase::new(terms(None, true));
    assert!(payee_of(&says(&mut purchase, HONEST, bill(1, 21_000))).is_some());
    // While the payment is on its way, and after it.
    for _ in 0..2 {
        assert!(says(&mut purchase, LIAR, result("mine", None)).is_empty());
        assert!(says(&mut purchase, LIAR, bill(2, 1_000)).is_empty());
        assert!(says(&mut purchase, LIAR, status(Status::Error, "x")).is_empty());
        purchase.payment(paid());
    }
    let acts = says(&mut purchase, HONEST, result("Paris", None));
    assert_eq!(answer_of(&acts).unwrap().1, "Paris");
}

#[test]
fn one_request_is_never_paid_twice() {
    let mut purchase = Purchase::new(terms(Some(HONEST), true));
    assert!(payee_of(&says(&mut purchase, HONEST, bill(1, 21_000))).is_some());
    assert!(payee_of(&says(&mut purchase, HONEST, bill(2, 21_000))).is_none());
    purchase.payment(paid());
    assert!(payee_of(&says(&mut purchase, HONEST, bill(3, 21_000))).is_none());
    let acts = says(&mut purchase, HONEST, result("Paris", Some((4, 21_000))));
    assert!(payee_of(&acts).is_none());
    assert_eq!(
        answer_of(&acts),
        Some((seller(HONEST), "Paris".to_owned(), true))
    );
}

#[test]
fn an_invoice_that_was_not_paid_is_not_tried_again_but_another_sellers_is() {
    let mut purchase = Purchase::new(terms(None, true));
    says(&mut purchase, LIAR, bill(1, 21_000));
    let acts = purchase.payment(Payment::NotPaid("not paid: no way".to_owned()));
    assert!(words_of(&acts).contains("no way"));
    assert!(payee_of(&says(&mut purchase, LIAR, bill(1, 21_000))).is_none());
    assert!(payee_of(&says(&mut purchase, HONEST, bill(2, 21_000))).is_some());
}

#[test]
fn a_payment_that_is_not_known_binds_as_one_that_is_made() {
    let mut purchase = Purchase::new(terms(None, true));
    says(&mut purchase, HONEST, bill(1, 21_000));
    purchase.payment(Payment::NotKnown("who knows".to_owned()));
    assert!(payee_of(&says(&mut purchase, LIAR, bill(2, 1_000))).is_none());
    assert!(payee_of(&says(&mut purchase, HONEST, bill(3, 1_000))).is_none());
    let end = purchase.clone().give_up("no result within 9 s");
    assert!(matches!(end, End::Unsure { words, .. } if words.contains("who knows")));
    let acts = says(&mut purchase, HONEST, result("Paris", None));
    assert!(
        matches!(
            &acts[..],
            [Act::End(End::Delivered {
                unsure: Some(_),
                paid: None,
                ..
            })]
        ),
        "{acts:?}"
    );
}

#[test]
fn a_sealed_empty_or_foreign_result_is_said_plainly_and_is_no_answer() {
    for (kind, answer, why) in [
        (6050, Answer::Sealed, "can't open"),
        (6050, result("  \n", None), "empty"),
        (6100, result("a picture", None), "kind 6100"),
    ] {
        let mut purchase = Purchase::new(terms(None, false));
        let acts = says_kind(&mut purchase, LIAR, kind, answer.clone());
        assert!(words_of(&acts).contains(why), "{acts:?}");
        let acts = says(&mut purchase, HONEST, result("Paris", None));
        assert_eq!(answer_of(&acts).unwrap().1, "Paris");
        // A payee's money is gone: it may still do better, and only time ends it.
        let mut bought = Purchase::new(terms(Some(LIAR), true));
        says(&mut bought, LIAR, bill(1, 21_000));
        bought.payment(paid());
        let acts = says_kind(&mut bought, LIAR, kind, answer);
        assert!(words_of(&acts).contains(why));
        assert!(matches!(bought.give_up("no result"), End::Lost { .. }));
    }
}

#[test]
fn an_error_after_the_payment_is_a_loss_and_before_its_outcome_waits_for_it() {
    let mut purchase = Purchase::new(terms(None, true));
    says(&mut purchase, LIAR, bill(1, 21_000));
    let acts = says(&mut purchase, LIAR, status(Status::Error, "gone"));
    assert!(!acts.iter().any(|act| matches!(act, Act::End(_))));
    let acts = purchase.payment(paid());
    assert!(matches!(&acts[..], [Act::End(End::Lost { words, .. })] if words.contains("gone")));
    // Where nothing was paid, the others go on.
    let mut purchase = Purchase::new(terms(None, true));
    says(&mut purchase, LIAR, bill(1, 21_000));
    says(&mut purchase, LIAR, status(Status::Error, "gone"));
    let acts = purchase.payment(Payment::NotPaid("no".to_owned()));
    assert!(!acts.iter().any(|act| matches!(act, Act::End(_))));
    assert!(payee_of(&says(&mut purchase, HONEST, bill(2, 1_000))).is_some());
}

#[test]
fn an_answer_to_a_held_payment_waits_for_the_wallets_word() {
    let mut purchase = Purchase::new(terms(Some(HONEST), true));
    says(&mut purchase, HONEST, bill(1, 21_000));
    assert!(says(&mut purchase, HONEST, result("Paris", None)).is_empty());
    let end = purchase.clone().give_up("no more time");
    assert!(
        matches!(
            end,
            End::Delivered {
                unsure: Some(_),
                paid: None,
                ..
            }
        ),
        "an answer that is here is not thrown away"
    );
    let acts = purchase.payment(paid());
    assert_eq!(answer_of(&acts).unwrap().1, "Paris");
}

#[test]
fn nobody_who_was_not_asked_is_listened_to() {
    let mut purchase = Purchase::new(terms(Some(HONEST), true));
    for answer in [
        result("mine", None),
        bill(2, 1),
        status(Status::Error, "no"),
        status(Status::Partial, "mi"),
    ] {
        assert!(says(&mut purchase, LIAR, answer).is_empty());
    }
}

#[test]
fn parts_of_two_answers_are_never_mixed() {
    let mut purchase = Purchase::new(terms(None, true));
    assert_eq!(
        says(&mut purchase, LIAR, status(Status::Partial, "Be")).len(),
        1
    );
    assert!(says(&mut purchase, HONEST, status(Status::Partial, "Pa")).is_empty());
    says(&mut purchase, HONEST, bill(1, 21_000));
    purchase.payment(paid());
    let acts = says(&mut purchase, HONEST, status(Status::Partial, "Par"));
    assert!(matches!(&acts[..], [Act::Partial { text, .. }] if text == "Par"));
}

#[test]
fn who_does_not_pay_sees_the_invoice_and_takes_the_first_answer() {
    let mut purchase = Purchase::new(terms(None, false));
    let acts = says(&mut purchase, HONEST, bill(1, 21_000));
    assert!(acts.iter().any(|act| matches!(act, Act::Invoice { .. })));
    let acts = says(&mut purchase, LIAR, result("first", Some((2, 9_000_000))));
    assert_eq!(answer_of(&acts).unwrap().1, "first");
}

#[test]
fn a_failure_names_what_each_seller_said() {
    let mut purchase = Purchase::new(terms(None, true));
    says(&mut purchase, LIAR, status(Status::Error, "too busy"));
    let End::Failed { words, .. } = purchase.give_up("no result within 3 s") else {
        panic!("nothing was paid");
    };
    assert!(words.starts_with("no result within 3 s; ") && words.ends_with("said: too busy"));
}

#[test]
fn a_flood_of_sellers_takes_no_more_than_their_number() {
    let mut purchase = Purchase::new(terms(None, true));
    for number in 1..=200 {
        says(&mut purchase, number, status(Status::Error, "no"));
    }
    assert_eq!(purchase.heard.len(), MAX_SELLERS);
    assert!(purchase.out.len() <= MAX_SELLERS);
}

#[test]
fn a_purchase_of_an_earlier_run_listens_to_its_payee_alone() {
    let paid = Payment::Paid(Paid {
        amount: Msat(1),
        fee: None,
        preimage: None,
    });
    let mut purchase = Purchase::resumed(terms(None, true), seller(HONEST), paid);
    assert!(says(&mut purchase, LIAR, result("mine", None)).is_empty());
    assert!(answer_of(&says(&mut purchase, HONEST, result("Paris", None))).is_some());
}
