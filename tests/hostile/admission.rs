//! Attacks on the way in: inputs that never come, floods.

use nostr::nips::nip44;
use nostr::{EventBuilder, Keys, Kind, Tag};

use crate::street::{Rules, Street};

/// Eight inputs that no relay has, in spellings that were not moved aside once.
fn nowhere(n: usize) -> Vec<Vec<String>> {
    let kinds = [
        "Event", " event ", "EVENT", "job", "Job", "event", "JOB ", "Event",
    ];
    let input = |(k, kind): (usize, &&str)| {
        let id = format!("{:064x}", n * 100 + k + 1);
        ["i", &id, kind, "ws://127.0.0.1:9"]
            .map(str::to_owned)
            .to_vec()
    };
    kinds.iter().enumerate().map(input).collect()
}

fn as_tags(tags: &[Vec<String>]) -> Vec<Vec<&str>> {
    tags.iter()
        .map(|tag| tag.iter().map(String::as_str).collect())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_that_never_come_hold_nobody_up() {
    let street = Street::open(&Rules {
        payment: "mode = \"before\"\n",
        ..Rules::default()
    })
    .await;
    let quiet = street.quiet(2).await;
    let attackers: Vec<Keys> = (0..3).map(|_| Keys::generate()).collect();
    for (n, attacker) in attackers.iter().enumerate() {
        // Three of each: two are looked for, and one is too many.
        for k in 0..3 {
            let tags = nowhere(n * 3 + k);
            let tags = as_tags(&tags);
            let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
            street.publish(&street.request(attacker, &tags));
        }
    }
    // And one that hides them inside an encryption.
    let hidden = Keys::generate();
    let inside = serde_json::to_string(&nowhere(100)).unwrap();
    let seller = street.home.seller.public_key();
    let inside = nip44::encrypt(hidden.secret_key(), &seller, inside, nip44::Version::V2).unwrap();
    let hidden = EventBuilder::new(Kind::from_u16(5050), inside)
        .tag(Tag::parse(["encrypted"]).unwrap())
        .tag(Tag::public_key(seller))
        .sign_with_keys(&hidden)
        .unwrap();
    street.publish(&hidden);
    // A buyer takes a request back meanwhile, and is heard.
    let regretful = Keys::generate();
    let request = street.request(&regretful, &[&["i", "What is one plus one?", "text"]]);
    street.publish(&request);
    street.comes_to(&request, &["awaiting_payment"]).await;
    let back = EventBuilder::new(Kind::EventDeletion, "")
        .tag(Tag::event(request.id))
        .sign_with_keys(&regretful)
        .unwrap();
    street.publish(&back);
    street.comes_to(&request, &["cancelled"]).await;
    let attacked = street.sales("inputs that never come", 4).await;
    let dropped = |event: &serde_json::Value| event["event"] == "dropped";
    let reason = |word: &'static str| {
        move |event: &serde_json::Value| dropped(event) && event["reason"] == word
    };
    street.told(reason("busy")).await;
    street.told(reason("no_input")).await;
    street.held_nobody_up(&quiet, &attacked);
    // Each of the nine hears one word at most, and three of one key at the most.
    let words = |attacker: &Keys| {
        let key = attacker.public_key();
        let events = street.relay.events();
        let to = |event: &&nostr::Event| {
            event.kind == Kind::from_u16(7000) && event.tags.public_keys().any(|to| *to == key)
        };
        events.iter().filter(to).count()
    };
    assert!(attackers.iter().all(|attacker| words(attacker) <= 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_fetched_for_a_request_that_is_dropped() {
    let street = Street::open(&Rules::default()).await;
    let poor = nowhere(0);
    let mut poor = as_tags(&poor);
    poor.push(vec!["bid", "9999"]);
    let unknown = nowhere(1);
    let mut unknown = as_tags(&unknown);
    unknown.push(vec!["param", "model", "nobody-has-it"]);
    for (tags, reason) in [(poor, "bid_too_low"), (unknown, "unsupported_model")] {
        let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
        street.publish(&street.request(&Keys::generate(), &tags));
        street
            .told(|event| event["event"] == "dropped" && event["reason"] == reason)
            .await;
    }
    street.sales("requests that are dropped", 1).await;
    assert_eq!((street.relay.fetches(), street.mute.fetches()), (0, 0));
    // The same inputs in a request that is admitted are asked for, once for all of them.
    let tags = nowhere(2);
    let tags = as_tags(&tags);
    let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
    street.publish(&street.request(&Keys::generate(), &tags));
    street
        .told(|event| event["event"] == "dropped" && event["reason"] == "no_input")
        .await;
    assert_eq!(street.relay.fetches(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_two_junk_requests_take_no_sale_from_ten_buyers() {
    let street = Street::open(&Rules {
        payment: "mode = \"before\"\n",
        ..Rules::default()
    })
    .await;
    // A shop that has sold before: the first payment of all sets places apart, which are then not the strangers'.
    street.sales("the first sale", 1).await;
    let quiet = street.quiet(1).await;
    let keys: Vec<Keys> = (0..11).map(|_| Keys::generate()).collect();
    for n in 0..62 {
        let text = format!("junk {n}");
        let request = street.request(&keys[n % keys.len()], &[&["i", &text, "text"]]);
        street.publish(&request);
    }
    let attacked = street.sales("62 junk requests", 10).await;
    street.held_nobody_up(&quiet, &attacked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_fresh_keys_leaves_a_known_buyer_whole() {
    let street = Street::open(&Rules {
        payment: "mode = \"before\"\n",
        ..Rules::default()
    })
    .await;
    let known = Keys::generate();
    let quiet = street.sales_to("quiet", std::slice::from_ref(&known)).await;
    for n in 0..300 {
        let event = EventBuilder::new(Kind::from_u16(5050), "")
            .tag(Tag::parse(["i", &format!("flood {n}"), "text"]).unwrap())
            .sign_with_keys(&Keys::generate())
            .unwrap();
        street.publish(&event);
    }
    // What he asks now comes after the whole flood.
    street
        .told(|event| event["event"] == "dropped" && event["reason"] == "rate_limited")
        .await;
    let four = vec![known; 4];
    let attacked = street.sales_to("300 fresh keys", &four).await;
    street.held_nobody_up(&quiet, &attacked);
}
