use nostr::nips::nip19::ToBech32;
use nostr::{EventId, PublicKey};
use proptest::prelude::*;

use super::*;
use crate::domain::id::{Buyer, RequestId};
use crate::domain::job::Status;
use crate::domain::msat::Msat;
use crate::domain::time::Time;

const BUYER: &str = "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9";

fn job() -> JobView {
    JobView {
        id: RequestId(EventId::from_byte_array([0xab; 32])),
        buyer: Buyer(PublicKey::from_hex(BUYER).unwrap()),
        kind: 5050,
        status: Status::Paid,
        model: Some("Gemma2:latest".to_owned()),
        prompt_tokens: Some(1),
        completion_tokens: Some(2),
        elapsed_ms: Some(3),
        price_msat: Some(Msat(21_000)),
        paid_msat: Msat::ZERO,
        bolt11: None,
        payment_hash: None,
        invoice_expires_at: None,
        result_id: None,
        owed_to_buyer_msat: Msat::ZERO,
        balance_used_msat: Msat::ZERO,
        offer: None,
        encrypted: false,
        error: None,
        created_at: Time::parse("2026-11-20T12:00:00Z").unwrap(),
        updated_at: Time(0),
    }
}

fn holds(text: &str) -> bool {
    Filter::parse(text).unwrap().matches(&job())
}

#[test]
fn every_key_looks_at_its_own_field() {
    for yes in [
        "",
        "status:paid",
        "status:error,paid",
        "model:gemma",
        "model:\"gemma2:\"",
        "kind:5050",
        "since:2026-11-20",
        "since:2026-11-20T12:00:00z",
        "until:2026-11-20",
        "until:2026-11-20T12:00:00Z",
        "min:21",
        "max:21",
        "GEMMA",
        "5050",
        "pai",
        "abab",
        "f9308",
        "\"gemma2:latest\"",
        "-status:error -model:llama -min:22 -zz",
        "-",
        "status:paid min:10 gemma",
    ] {
        assert!(holds(yes), "{yes}");
        if !yes.is_empty() && yes != "-" && !yes.contains(' ') {
            assert!(!holds(&format!("-{yes}")), "-{yes}");
        }
    }
    for no in [
        "status:unpaid",
        "model:llama",
        "kind:5100",
        "since:2026-11-21",
        "until:2026-11-19",
        "min:22",
        "max:20",
        "id",
        "status:paid status:error",
    ] {
        assert!(!holds(no), "{no}");
    }
}

#[test]
fn a_buyer_is_known_by_any_beginning_of_either_form() {
    let npub = PublicKey::from_hex(BUYER).unwrap().to_bech32().unwrap();
    for length in 5..=npub.len() {
        // The whole text must be right to its checksum; until then its beginning counts.
        assert!(holds(&format!("buyer:{}", &npub[..length])), "{length}");
        assert!(holds(&npub[..length]), "{length}");
    }
    for length in 1..=64 {
        assert!(holds(&format!("buyer:{}", &BUYER[..length])), "{length}");
    }
    assert!(!holds("buyer:npub1qqq"));
    assert!(!holds("buyer:e"));
}

#[test]
fn what_can_not_be_read_is_answered_with_what_can() {
    let error = |text: &str| Filter::parse(text).unwrap_err().to_string();
    assert_eq!(
        error("stat:paid"),
        "'stat' is no key: use status, model, buyer, kind, since, until, min, max; \"quotes\" look for a text with a colon"
    );
    assert!(error("status:piad").contains("'piad' is no status: queued, "));
    assert!(error("min:").contains("min: needs a value: whole sats"));
    assert!(error("since:yesterday").contains("2026-11-21"));
    assert!(error("kind:x").contains("5050"));
    assert!(error("buyer:npub1b").contains("npub"));
    assert_eq!(error("\"a"), "a quote is not closed");
    assert!(error(&"a ".repeat(20)).contains("at most 16 terms"));
    assert!(error(&"a".repeat(201)).contains("200 characters"));
}

#[test]
fn unknown_amounts_are_neither_small_nor_large() {
    let free = JobView {
        price_msat: None,
        ..job()
    };
    let holds = |text| Filter::parse(text).unwrap().matches(&free);
    assert!(!holds("min:0") && !holds("max:9999"));
    assert!(holds("-min:0") && holds("-max:9999"));
}

#[test]
fn both_directions_are_each_others_mirror() {
    let (a, mut b) = (job(), job());
    b.id = RequestId(EventId::from_byte_array([1; 32]));
    b.price_msat = None;
    for sort in Sort::ALL {
        let query = |ascending| JobsQuery {
            sort,
            ascending,
            ..JobsQuery::default()
        };
        assert_eq!(query(true).compare(&a, &b), query(false).compare(&b, &a));
        assert_eq!(query(true).compare(&a, &a), std::cmp::Ordering::Equal);
    }
    let amount = JobsQuery {
        sort: Sort::Amount,
        ..JobsQuery::default()
    };
    assert!(amount.compare(&a, &b).is_lt());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_a_sentence(text in prop_oneof![
        any::<String>(),
        "[-\": a-f0-9npub1statuskindmodelsinceminé]{0,60}",
    ]) {
        match Filter::parse(&text) {
            Ok(filter) => {
                let all = filter.terms.iter().all(|term| Filter { terms: vec![term.clone()] }.matches(&job()));
                prop_assert_eq!(filter.matches(&job()), all);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn quotes_keep_any_text_whole(text in "[a-zA-Z0-9 :/.é日-]{1,40}") {
        let filter = Filter::parse(&format!("-\"{text}\"")).unwrap();
        prop_assert_eq!(filter.terms.len(), 1);
        prop_assert!(filter.terms[0].not);
        let kept = matches!(&filter.terms[0].test, Test::Word { text: kept, .. } if *kept == text.to_ascii_lowercase());
        prop_assert!(kept);
    }
}
