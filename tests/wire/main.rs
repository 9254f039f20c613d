//! What a buyer writes, the shop understands; what the shop writes, the buyer reads; what is encrypted stays so.

mod edges;
mod market;

use nostr::{Event, JsonUtil, Keys};
use vend::domain::buyer::{self, Answer, Status};
use vend::domain::job::Encryption;
use vend::domain::msat::Msat;
use vend::domain::refusal::DropReason;
use vend::domain::reply::{Reply, Spent};
use vend::domain::request::{self, Part};

use market::*;

#[test]
fn an_order_is_understood_in_every_scheme() {
    let market = Market::new();
    for scheme in SCHEMES {
        let event = market.ask(scheme);
        request::screen(&event, &market.us(), NOW, 600).unwrap();
        let read = request::read(&event, &market.us(), &|s, from, t| {
            unseal(&market.seller, s, from, t)
        })
        .unwrap();
        assert_eq!(read.encryption, scheme);
        assert_eq!(read.prompt_parts, [Part::Text(PROMPT.to_owned())]);
        assert_eq!(read.model.as_deref(), Some("gemma2"));
        assert_eq!(read.max_tokens, Some(99));
        assert_eq!(read.bid, Some(Msat(21_000)));
        assert_eq!(read.relays, [HINT]);
        assert!(read.addressed && read.notes.is_empty());
    }
}

#[test]
fn a_result_is_read_in_every_scheme_and_carries_its_invoice() {
    let market = Market::new();
    for scheme in SCHEMES {
        let request = market.ask(scheme);
        let event = market.reply(&request, &result(ANSWER));
        let expected = Answer::Result {
            content: ANSWER.to_owned(),
            amount: Some(Msat(21_000)),
            bolt11: Some(INVOICE.to_owned()),
            model: Some("gemma2:latest".to_owned()),
            usage: None,
        };
        assert_eq!(market.hear(&event), expected);
    }
}

#[test]
fn a_plain_result_has_exactly_the_tags_of_the_nip() {
    let market = Market::new();
    let request = market.ask(Encryption::Plain);
    let event = market.reply(&request, &result(ANSWER));
    assert_eq!(event.kind.as_u16(), 6050);
    assert_eq!(event.content, ANSWER);
    let expected = [
        "e",
        "p",
        "amount",
        "request",
        "i",
        "alt",
        "model",
        "expiration",
    ];
    assert_eq!(names(&event), expected);
    assert_eq!(
        values(&event, "e"),
        [[request.id.to_hex(), HINT.to_owned()]]
    );
    assert_eq!(values(&event, "p"), [[market.buyer.public_key().to_hex()]]);
    assert_eq!(values(&event, "amount"), [["21000", INVOICE]]);
    assert_eq!(values(&event, "i"), [[PROMPT, "text"]]);
    assert_eq!(values(&event, "alt"), [["Text generation result"]]);
    assert_eq!(values(&event, "expiration"), [["1795003600"]]);
    let quoted = Event::from_json(&values(&event, "request")[0][0]).unwrap();
    assert_eq!(quoted, request);
    quoted.verify().unwrap();
}

#[test]
fn a_free_result_asks_for_nothing() {
    let market = Market::new();
    let reply = Reply::Result {
        content: ANSWER.to_owned(),
        amount: None,
        model: "gemma2:latest".to_owned(),
        usage: Some((15, 13)),
        expiration: None,
    };
    let event = market.reply(&market.ask(Encryption::Plain), &reply);
    assert_eq!(
        names(&event),
        ["e", "p", "usage", "request", "i", "alt", "model"]
    );
    assert_eq!(values(&event, "usage"), [["15", "13"]]);
}

#[test]
fn nothing_of_an_encrypted_job_is_in_clear() {
    const SENTENCE: &str = "This model is not offered here.";
    const NOTE: &str = "The answer was cut at max_tokens.";
    let market = Market::new();
    let replies = [
        result(ANSWER),
        Reply::Error {
            sentence: SENTENCE.into(),
        },
        Reply::Success {
            note: Some(NOTE.to_owned()),
            balance: None,
        },
        Reply::Processing {
            position: Some(2),
            substituted: Some(("SecretModel".to_owned(), "gemma2".to_owned())),
            priority_percent: 0,
        },
        Reply::PaymentRequired {
            amount: Msat(21_000),
            bolt11: INVOICE.to_owned(),
            used: Msat(5_000),
            priority_percent: 0,
        },
    ];
    for scheme in [Encryption::Nip04, Encryption::Nip44] {
        let request = market.ask(scheme);
        assert!(!request.as_json().contains("secret"));
        for reply in &replies {
            let event = market.reply(&request, reply);
            let json = event.as_json();
            for hidden in [
                PROMPT,
                ANSWER,
                "secret",
                SENTENCE,
                NOTE,
                "SecretModel",
                "place 2",
            ] {
                assert!(!json.contains(hidden), "{hidden} in {json}");
            }
            assert_eq!(values(&event, "encrypted"), [[""; 0]]);
            assert!(values(&event, "i").is_empty());
            assert_eq!(request::encryption(&event), scheme);
            // Whoever else listens can open nothing.
            let stranger = Keys::generate();
            let sealed = unseal(&stranger, scheme, &market.us(), &event.content);
            assert!(sealed.is_err() || !sealed.unwrap().contains("secret"));
        }
        let quoted = market.reply(&request, &result(ANSWER));
        assert_eq!(values(&quoted, "request")[0][0], request.as_json());
    }
}

#[test]
fn feedback_is_read_in_every_scheme_with_amount_and_status_in_clear() {
    let market = Market::new();
    let substituted = Some(("LLaMA-2".to_owned(), "gemma2".to_owned()));
    let cases = [
        (
            Reply::Processing {
                position: Some(2),
                substituted,
                priority_percent: 0,
            },
            "processing",
            "In the queue, at place 2. The model LLaMA-2 is not offered here; gemma2 answers instead.",
        ),
        (
            Reply::Processing {
                position: None,
                substituted: None,
                priority_percent: 0,
            },
            "processing",
            "Your request is in work.",
        ),
        (
            Reply::Processing {
                position: None,
                substituted: None,
                priority_percent: 25,
            },
            "processing",
            "Your request is in work. It goes first, for 25 % more.",
        ),
        (
            Reply::PaymentRequired {
                amount: Msat(21_000),
                bolt11: INVOICE.to_owned(),
                used: Msat::ZERO,
                priority_percent: 0,
            },
            "payment-required",
            "The work starts once this invoice is paid. What the work does not use of it is your balance for the next request.",
        ),
        (
            Reply::PaymentRequired {
                amount: Msat(21_000),
                bolt11: INVOICE.to_owned(),
                used: Msat(5_000),
                priority_percent: 50,
            },
            "payment-required",
            "5 sats of your balance pay for a part. It goes first, for 50 % more. The work starts once this invoice is paid. \
             What the work does not use of it is your balance for the next request.",
        ),
        (
            Reply::Error {
                sentence: "Busy; please try again later.".into(),
            },
            "error",
            "Busy; please try again later.",
        ),
        (
            Reply::Success {
                note: None,
                balance: None,
            },
            "success",
            "The work is done.",
        ),
        (
            Reply::Success {
                note: None,
                balance: Some(Spent {
                    used: Msat(12_000),
                    left: Msat(3_000),
                    rest: Some(Msat(20_000)),
                }),
            },
            "success",
            "The work is done. 12 sats of your balance were used. 3 sats of your payment are left: they are your balance here \
             and pay for your next requests. Your balance is 20 sats.",
        ),
    ];
    for scheme in SCHEMES {
        let request = market.ask(scheme);
        for (reply, word, sentence) in &cases {
            let event = market.reply(&request, reply);
            assert_eq!(event.kind.as_u16(), 7000);
            assert_eq!(values(&event, "status")[0][0], *word);
            assert_eq!(values(&event, "e").len(), 1);
            assert_eq!(values(&event, "p").len(), 1);
            let paid_first = matches!(reply, Reply::PaymentRequired { .. });
            let expected = Answer::Feedback {
                status: Status::parse(word).unwrap(),
                extra: Some((*sentence).to_owned()),
                amount: paid_first.then_some(Msat(21_000)),
                bolt11: paid_first.then(|| INVOICE.to_owned()),
            };
            assert_eq!(market.hear(&event), expected);
            if scheme == Encryption::Plain {
                assert_eq!(event.content, "");
                assert_eq!(values(&event, "status"), [[*word, *sentence]]);
            }
        }
    }
}

#[test]
fn a_refusal_of_what_could_not_be_read_is_encrypted_too() {
    let market = Market::new();
    let mut unsigned = buyer::order(
        &order(Some(market.us()), Encryption::Nip44),
        &market.buyer.public_key(),
        NOW,
        &|s, to, t| seal(&market.buyer, s, to, t),
    )
    .unwrap();
    unsigned.content = "no ciphertext".to_owned();
    let event = unsigned.sign_with_keys(&market.buyer).unwrap();
    let refused = request::read(&event, &market.us(), &|s, from, t| {
        unseal(&market.seller, s, from, t)
    });
    assert_eq!(refused, Err(DropReason::Undecryptable));
    let sentence = DropReason::Undecryptable.sentence().unwrap();
    let reply = market.reply(
        &event,
        &Reply::Error {
            sentence: sentence.into(),
        },
    );
    assert!(!reply.as_json().contains(sentence));
    assert!(
        matches!(market.hear(&reply), Answer::Feedback { extra: Some(text), .. } if text == sentence)
    );
}
