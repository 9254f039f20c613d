//! A client that knows NIP-89, NIP-65 and the heartbeat alone finds the shop, sees what changes, and sees it gone.

use crate::support::fake_relay::Fault;
use crate::support::inside::{Inside, LONGEST, status_of};
use nostr::{Event, EventBuilder, Keys, Kind, Tag, Timestamp};
use serde_json::Value;
use vend::domain::command::Command;
use vend::domain::event::EventKind;

fn settings(relay: &str, min_price: u64) -> String {
    format!(
        "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\n\
         [text]\nmodel = \"vend-tiny\"\n[price]\nmin_price_sats = {min_price}\nprice_per_1k_tokens = 3\n\
         [wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\
         [[endpoint]]\nname = \"local\"\nkind = \"builtin\"\n"
    )
}

fn tags(event: &Event, name: &str) -> Vec<String> {
    let all = event.tags.iter().map(Tag::as_slice);
    all.filter(|tag| tag[0] == name)
        .map(|tag| tag[1].clone())
        .collect()
}

/// The newest of a replaceable kind is what a relay would give.
async fn newest(shop: &Inside, kind: u16, fits: impl Fn(&Event) -> bool) -> Event {
    let seller = shop.home.seller.public_key();
    let fits = |event: &Event| event.pubkey == seller && event.kind.as_u16() == kind && fits(event);
    shop.relay.wait_for(fits, LONGEST).await.unwrap()
}

/// What the handler info says in its content.
fn said(event: &Event, name: &str) -> Value {
    let content: Value = serde_json::from_str(&event.content).unwrap();
    content[name].clone()
}

fn least(event: &Event) -> Value {
    said(event, "pricing")["vend-tiny"]["min_msat"].clone()
}

async fn online(shop: &mut Inside) {
    shop.engine.ask(Command::GoOnline).await;
    shop.hear(|kind| matches!(kind, EventKind::State { state, .. } if state.sells()).then_some(()))
        .await;
}

#[tokio::test]
async fn a_client_finds_the_shop_its_price_and_its_end() {
    let mut shop = Inside::start(|relay| settings(relay, 10)).await;
    online(&mut shop).await;
    let info = newest(&shop, 31_990, |_| true).await;
    assert_eq!(
        (tags(&info, "k"), least(&info)),
        (vec!["5050".to_owned()], Value::from(10_000))
    );
    for name in ["stream", "messages", "encryptionSupported"] {
        assert_eq!(said(&info, name), true, "{name}");
    }
    let list = newest(&shop, 10_002, |_| true).await;
    assert_eq!(tags(&list, "r"), [shop.relay.url().to_string()]);
    let beat = newest(&shop, 11_998, |_| true).await;
    assert_eq!(tags(&beat, "d"), tags(&info, "d"));
    let ends: u64 = tags(&beat, "expiration")[0].parse().unwrap();
    assert_eq!(ends, beat.created_at.as_secs() + 300);

    // A changed price is told by itself.
    let text = settings(shop.relay.url().as_str(), 25);
    std::fs::write(shop.home.config(), text).unwrap();
    shop.engine.ask(Command::ApplySettings).await;
    let changed = newest(&shop, 31_990, |event| least(event) == 25_000).await;
    assert!(changed.created_at > info.created_at && changed.created_at <= Timestamp::now());

    shop.engine.ask(Command::GoOffline { now: false }).await;
    let gone = newest(&shop, 31_990, |event| tags(event, "k").is_empty()).await;
    assert!(gone.created_at > changed.created_at);
    let soon = |event: &Event| {
        let until: u64 = tags(event, "expiration")[0].parse().unwrap();
        until <= event.created_at.as_secs() + 1
    };
    let last = newest(&shop, 11_998, soon).await;
    assert!(last.created_at > beat.created_at);
    shop.close().await;
}

#[tokio::test]
async fn a_ping_is_answered_once() {
    let mut shop = Inside::start(|relay| settings(relay, 10)).await;
    online(&mut shop).await;
    let buyer = Keys::generate();
    let us = Tag::public_key(shop.home.seller.public_key());
    for (kind, answer) in [(7007, 7000), (20_200, 20_201)] {
        let ping = |by: &Keys| {
            let ping = EventBuilder::new(Kind::from_u16(kind), "").tag(us.clone());
            ping.sign_with_keys(by).unwrap()
        };
        let (first, other) = (ping(&buyer), ping(&Keys::generate()));
        shop.relay.inject(&first);
        shop.relay.inject(&other);
        let asked = if kind == 7007 { &first } else { &other };
        let id = asked.id.to_hex();
        let pong = newest(&shop, answer, |event| tags(event, "e") == [id.clone()]).await;
        assert_eq!(tags(&pong, "p"), [asked.pubkey.to_hex()]);
        assert_eq!(
            status_of(&pong).as_deref(),
            (kind == 7007).then_some("pong")
        );
        let unanswered = |event: &Event| {
            event.kind.as_u16() == answer && tags(event, "e") == [first.id.to_hex()]
        };
        let again = shop.relay.events().into_iter().filter(unanswered).count();
        assert_eq!(
            again,
            usize::from(kind == 7007),
            "the second within a minute is not"
        );
    }
    shop.close().await;
}

#[tokio::test]
async fn what_a_relay_refused_for_now_is_told_again() {
    let mut shop = Inside::start(|relay| settings(relay, 10)).await;
    shop.relay
        .set(Fault::Refuse("rate-limited: slow down".to_owned()));
    online(&mut shop).await;
    shop.hear(|kind| {
        matches!(kind, EventKind::Published { outcome, .. } if outcome == "retry").then_some(())
    })
    .await;
    shop.relay.heal();
    for kind in [31_990, 10_002, 11_998] {
        newest(&shop, kind, |_| true).await;
    }
    shop.close().await;
}
