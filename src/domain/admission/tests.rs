use nostr::{EventBuilder, Keys, Kind, Tag, Timestamp};

use super::*;
use crate::domain::job::TextParams;
use crate::domain::message::Role;
use crate::domain::price::PriceRule;
use DropReason::*;

const NOW: Time = Time(1_795_000_000_000);

/// What is wrong with a request and with the shop; several things at once.
#[derive(Clone, Default)]
struct Case {
    wrong: Vec<DropReason>,
    record: Record,
    fetching: Fetching,
    inputs: Vec<Vec<String>>,
    closed: bool,
    paused: bool,
}

fn price(_: &str) -> PriceRule {
    PriceRule {
        min_sats: 10,
        per_1k_input: 2,
        per_1k_output: 2,
    }
}

fn tag(parts: &[&str]) -> Tag {
    Tag::parse(parts.iter().copied()).unwrap()
}

impl Case {
    fn of(wrong: &[DropReason]) -> Self {
        Self {
            wrong: wrong.to_vec(),
            ..Self::default()
        }
    }

    fn has(&self, reason: DropReason) -> bool {
        self.wrong.contains(&reason)
    }

    fn event(&self) -> Event {
        let mut tags = Vec::new();
        if self.has(NotForUs) {
            tags.push(tag(&["p", &Keys::generate().public_key().to_hex()]));
        }
        if self.has(Undecryptable) {
            tags.push(tag(&["encrypted"]));
        }
        let text = if self.has(PromptTooLong) {
            "x".repeat(101)
        } else {
            "hi".to_owned()
        };
        if !self.has(NoInput) {
            tags.push(tag(&["i", &text, "text"]));
        }
        if self.has(UnsupportedInput) {
            tags.push(tag(&["i", "https://example.com", "url"]));
        }
        if self.has(UnsupportedModel) {
            tags.push(tag(&["param", "model", "another"]));
        }
        if self.has(BadParam) {
            tags.push(tag(&["param", "temperature", "hot"]));
        }
        if self.has(UnsupportedPayment) {
            tags.push(tag(&["t", "elisym"]));
        }
        if self.has(BidTooLow) {
            tags.push(tag(&["bid", "9999"]));
        }
        for input in &self.inputs {
            let parts: Vec<&str> = input.iter().map(String::as_str).collect();
            tags.push(tag(&parts));
        }
        let kind = if self.has(UnsupportedKind) {
            5000
        } else {
            5050
        };
        let age = if self.has(Stale) { 700 } else { 0 };
        EventBuilder::new(Kind::from_u16(kind), "")
            .tags(tags)
            .custom_created_at(Timestamp::from_secs(NOW.secs() - age))
            .sign_with_keys(&Keys::generate())
            .unwrap()
    }

    fn judged(&self) -> Result<Admit, DropReason> {
        let event = self.event();
        let us = Keys::generate().public_key();
        let mut gate = Gate::default();
        let rates = Rates { all: 60, each: 1 };
        if self.has(RateLimited) {
            let buyer = crate::domain::id::Buyer(event.pubkey);
            assert!(gate.pass(buyer, false, false, rates, Duration::ZERO));
        }
        let mut record = self.record;
        record.known = self.has(Duplicate);
        if self.has(Busy) {
            record.waiting = 32;
        }
        let facts = Facts {
            us: &us,
            decrypt: &|_, _, _| Err(()),
            is_blocked: &|_| self.has(Blocked),
            offer: Offer {
                model: "m",
                allow_models: &[],
                available: &|_| None,
                substitute: false,
                defaults: TextParams {
                    max_tokens: 512,
                    temperature: 0.7,
                    top_k: 40,
                    top_p: 0.9,
                    frequency_penalty: 0.5,
                    seed: None,
                },
                token_ceiling: 1_024,
                prompt_bytes: 100,
                price_of: &price,
                priority_percent: 0,
            },
            kinds: &[5000, 5050],
            specials: &[],
            carry: &|_| Ok(()),
            limits: Limits {
                max_request_age_secs: 600,
                queue: 32,
                rates,
            },
            record,
            fetching: self.fetching,
            open: Open {
                sells: !self.has(Offline),
                wallet_down: false,
                cramped: false,
                paused: self.paused,
            },
            closed: &|_| self.closed,
        };
        admit(&event, &facts, &mut gate, NOW, Duration::from_secs(1))
    }
}

#[test]
fn a_paused_shop_is_busy_whoever_asks() {
    let paused = Case {
        paused: true,
        ..Case::default()
    };
    assert_eq!(paused.judged().err(), Some(Busy));
}

#[test]
fn a_request_with_nothing_wrong_is_admitted() {
    let mut admitted = Case::default().judged().unwrap();
    assert_eq!(admitted.most_waiting, 32);
    let asked = complete(&mut admitted, &BTreeMap::new(), 100, "");
    assert_eq!(asked, Ok(vec![Message::user("hi")]));
}

#[test]
fn the_seller_s_instructions_stand_first_and_count_for_no_limit_of_the_buyer_s() {
    let mut admitted = Case::default().judged().unwrap();
    let system = "s".repeat(200);
    let asked = complete(&mut admitted, &BTreeMap::new(), 100, &system).unwrap();
    let roles: Vec<Role> = asked.iter().map(|one| one.role).collect();
    assert_eq!(roles, [Role::System, Role::User]);
}

#[test]
fn nothing_is_taken_where_every_endpoint_refuses_to_work() {
    let case = Case {
        closed: true,
        ..Case::default()
    };
    assert_eq!(case.judged(), Err(Offline));
}

#[test]
fn of_any_two_reasons_the_first_of_the_order_is_told() {
    let all = DropReason::ALL
        .into_iter()
        .filter(|reason| *reason != BadSignature);
    let all: Vec<DropReason> = all.collect();
    for (n, first) in all.iter().enumerate() {
        assert_eq!(Case::of(&[*first]).judged(), Err(*first));
        for second in &all[n..] {
            // A request without input has no long one, and one with another kind of input has one.
            if *first == NoInput && [PromptTooLong, UnsupportedInput].contains(second) {
                continue;
            }
            let told = Case::of(&[*first, *second]).judged();
            assert_eq!(told, Err(*first), "{first} and {second}");
        }
    }
}

fn with_event(id: &str, relay: &str) -> Vec<String> {
    ["i", id, " EVENT ", relay].map(str::to_owned).to_vec()
}

#[test]
fn inputs_to_fetch_are_bounded_for_each_buyer_and_for_all() {
    let mut case = Case {
        inputs: vec![with_event(&"ab".repeat(32), "wss://relay.example.com")],
        ..Case::default()
    };
    let admitted = case.judged().unwrap();
    let (ids, hints) = wanted(&admitted.request);
    assert_eq!((ids.len(), hints.len()), (1, 1));
    for (of_buyer, of_all, taken) in [(1, 15, true), (2, 2, false), (0, 16, false)] {
        case.fetching = Fetching {
            of_buyer,
            of_all,
            buyers: 1,
        };
        assert_eq!(case.judged().is_ok(), taken, "{of_buyer} {of_all}");
    }
    // Whoever needs nothing from a relay is not held up by those who do.
    case.inputs.clear();
    assert!(case.judged().is_ok());
}

#[test]
fn what_a_limit_refuses_is_never_fetched() {
    for reason in [RateLimited, Busy, Offline, Blocked, BidTooLow] {
        let case = Case {
            inputs: vec![with_event(&"ab".repeat(32), "wss://relay.example.com")],
            ..Case::of(&[reason])
        };
        assert_eq!(case.judged(), Err(reason));
    }
}

#[test]
fn strangers_leave_places_in_the_queue_to_those_who_paid() {
    let mut case = Case {
        record: Record {
            waiting: 22,
            waiting_of_buyer: 0,
            buyers_waiting: 22,
            anybody_paid: true,
            ..Record::default()
        },
        ..Case::default()
    };
    assert_eq!(case.judged(), Err(Busy));
    case.record.paid_before = true;
    assert_eq!(case.judged().unwrap().most_waiting, 32);
}

#[test]
fn what_was_found_is_judged_like_what_was_sent() {
    let id = "ab".repeat(32);
    let case = Case {
        inputs: vec![with_event(&id, "")],
        ..Case::default()
    };
    let mut admitted = case.judged().unwrap();
    let id = EventId::from_hex(&id).unwrap();
    let found = |text: &str| BTreeMap::from([(id, text.to_owned())]);
    assert_eq!(
        complete(&mut admitted, &found("there"), 100, ""),
        Ok(vec![Message::user("hi\n\nthere")])
    );
    assert_eq!(
        complete(&mut admitted, &BTreeMap::new(), 100, ""),
        Err(NoInput)
    );
    assert_eq!(
        complete(&mut admitted, &found(&"x".repeat(100)), 100, ""),
        Err(PromptTooLong)
    );
}
