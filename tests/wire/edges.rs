//! What must not be sent, and what other sellers send.

use nostr::{Event, PublicKey, UnsignedEvent};
use vend::domain::buyer::{self, Answer, Order, Status};
use vend::domain::job::Encryption;
use vend::domain::msat::Msat;
use vend::domain::reply::{Reply, Way, compose, max_answer_bytes};
use vend::domain::time::Time;

use crate::market::*;

#[test]
fn our_own_request_keeps_its_buyer() {
    let mut market = Market::new();
    market.buyer = market.seller.clone();
    let event = market.reply(&market.ask(Encryption::Plain), &result(ANSWER));
    assert_eq!(values(&event, "p"), [[market.us().to_hex()]]);
}

#[test]
fn an_answer_is_never_older_than_its_question() {
    let market = Market::new();
    let order = order(None, Encryption::Plain);
    let ahead = Time::from_secs(NOW.secs() + 500);
    let none = |_: Encryption, _: &PublicKey, _: &str| Err(String::new());
    let request = buyer::order(&order, &market.buyer.public_key(), ahead, &none)
        .unwrap()
        .sign_with_keys(&market.buyer)
        .unwrap();
    let event = market.reply(&request, &result(ANSWER));
    assert_eq!(event.created_at, request.created_at);
}

#[test]
fn what_must_not_be_sent_is_not_composed() {
    let market = Market::new();
    let plain = market.ask(Encryption::Plain);
    let fails = |request: &Event, reply: &Reply| market.compose(request, reply).unwrap_err();
    assert!(fails(&plain, &result(" \n")).contains("empty"));
    let nothing = Reply::PaymentRequired {
        amount: Msat(0),
        bolt11: INVOICE.to_owned(),
        used: Msat::ZERO,
        priority_percent: 0,
    };
    assert!(fails(&plain, &nothing).contains("nothing"));
    let feedback = market.reply(
        &plain,
        &Reply::Success {
            note: None,
            balance: None,
        },
    );
    assert!(fails(&feedback, &result(ANSWER)).contains("no job request"));
    let own = market.reply(&plain, &result(ANSWER));
    assert!(
        fails(
            &own,
            &Reply::Success {
                note: None,
                balance: None
            }
        )
        .contains("no job request")
    );
}

#[test]
fn the_longest_answer_fits_and_one_byte_more_does_not() {
    let market = Market::new();
    assert_eq!(max_answer_bytes(Encryption::Nip44), 65_408);
    for scheme in SCHEMES {
        let request = market.ask(scheme);
        let most = "a".repeat(max_answer_bytes(scheme));
        let event = market.reply(&request, &result(&most));
        assert!(matches!(market.hear(&event), Answer::Result { content, .. } if content == most));
        let more = format!("{most}a");
        assert!(
            market
                .compose(&request, &result(&more))
                .unwrap_err()
                .contains("too long")
        );
    }
}

#[test]
fn strangers_names_in_a_feedback_are_clean() {
    let market = Market::new();
    let substituted = Some(("\u{1b}[31m\u{202e}evil\n".repeat(50), "gemma2".to_owned()));
    let reply = Reply::Processing {
        position: None,
        substituted,
        priority_percent: 0,
    };
    let event = market.reply(&market.ask(Encryption::Plain), &reply);
    let said = &values(&event, "status")[0][1];
    assert!(said.chars().count() <= 300 && !said.chars().any(vend::domain::text::is_hostile));
    assert!(said.ends_with("gemma2 answers instead."));
}

#[test]
fn a_hint_that_is_no_relay_is_left_out() {
    let market = Market::new();
    let request = market.ask(Encryption::Plain);
    for hint in ["", "https://nos.lol", "not a url"] {
        let none = |_: Encryption, _: &PublicKey, _: &str| Err(String::new());
        let reply = Reply::Success {
            note: None,
            balance: None,
        };
        let event = compose(
            &request,
            Encryption::Plain,
            &market.us(),
            &reply,
            Way {
                hint,
                longest: &[65_536],
            },
            NOW,
            &none,
        )
        .unwrap()
        .sign_with_keys(&market.seller)
        .unwrap();
        assert_eq!(values(&event, "e"), [[request.id.to_hex()]]);
    }
}

#[test]
fn an_order_that_makes_no_sense_is_told_at_once() {
    let market = Market::new();
    let us = market.buyer.public_key();
    let none = |_: Encryption, _: &PublicKey, _: &str| Err("no cipher".to_owned());
    let fails = |order: &Order| buyer::order(order, &us, NOW, &none).unwrap_err();
    let good = || order(Some(market.us()), Encryption::Plain);
    assert!(
        fails(&Order {
            prompt: " ".to_owned(),
            ..good()
        })
        .contains("empty")
    );
    assert!(fails(&Order { kind: 1, ..good() }).contains("5000 to 5999"));
    let nobody = Order {
        to: None,
        encrypt: Encryption::Nip44,
        ..good()
    };
    assert!(fails(&nobody).contains("--to"));
    let broken = Order {
        encrypt: Encryption::Nip44,
        ..good()
    };
    assert_eq!(fails(&broken), "no cipher");
}

#[test]
fn other_sellers_spellings_are_read() {
    let market = Market::new();
    let request = market.ask(Encryption::Plain);
    let id = request.id.to_hex();
    let other = |kind: u16, tags: &[&[&str]], content: &str| {
        let tags = tags
            .iter()
            .map(|tag| nostr::Tag::parse(tag.iter().copied()).unwrap());
        let at = nostr::Timestamp::from_secs(NOW.secs());
        UnsignedEvent::new(market.us(), at, nostr::Kind::from_u16(kind), tags, content)
            .sign_with_keys(&market.seller)
            .unwrap()
    };
    let e: &[&str] = &["e", &id];
    let read = |event: &Event| buyer::read_answer(event, &|_, _, _| Err(())).map(|(_, a)| a);
    let asked = other(
        7000,
        &[e, &["status", "payment_required"], &["amount", "21000"]],
        "",
    );
    let expected = Answer::Feedback {
        status: Status::PaymentRequired,
        extra: None,
        amount: Some(Msat(21_000)),
        bolt11: None,
    };
    assert_eq!(read(&asked), Some(expected));
    let partial = other(7000, &[e, &["status", "partial"]], "Because\u{1b}[2J of");
    assert!(matches!(read(&partial),
        Some(Answer::Feedback { status: Status::Partial, extra: Some(text), .. }) if text == "Because\u{1b}[2J of"));
    let sealed = other(7000, &[e, &["status", "processing"], &["encrypted"]], "?");
    assert!(matches!(
        read(&sealed),
        Some(Answer::Feedback { extra: None, .. })
    ));
    let amount: &[&str] = &["amount", "lots", "ln bc1"];
    let odd = other(6050, &[e, amount], "hi");
    assert!(matches!(
        read(&odd),
        Some(Answer::Result {
            amount: None,
            bolt11: None,
            ..
        })
    ));
    let sealed = other(6050, &[e, &["encrypted"]], "x");
    assert_eq!(read(&sealed), Some(Answer::Sealed));
    assert_eq!(read(&other(6050, &[], "hi")), None);
    assert_eq!(read(&other(7000, &[e], "hi")), None);
    assert_eq!(read(&other(7000, &[e, &["status", "dancing"]], "")), None);
    assert_eq!(read(&other(1, &[e], "hi")), None);
    assert_eq!(read(&request), None);
}
