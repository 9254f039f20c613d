//! Two machines with one key, and announcements of a clock that was wrong.

use nostr::{Event, EventBuilder, EventId, Kind, Tag, Timestamp};
use serde_json::Value;

use super::shop::Home;
use super::{LONGEST, World, is_open};

const OTHER: &str = "another machine sells with this identity";

/// A second machine with the key of the first one.
async fn second(first: &World) -> World {
    let mut other = World::new("after").await;
    let identity = std::fs::read(first.home.data().join("identity")).unwrap();
    std::fs::write(other.home.data().join("identity"), identity).unwrap();
    other.home.seller = first.home.seller.clone();
    let config = std::fs::read_to_string(other.home.config()).unwrap();
    let (own, shared) = (other.relay.url().to_string(), first.relay.url().to_string());
    other.home.write_config(&config.replace(&own, &shared));
    other.relay = first.relay.clone();
    other
}

fn says(event: &Value, state: &str, words: &str) -> bool {
    event["event"] == "state"
        && event["state"] == state
        && event["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains(OTHER) && detail.contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_machines_with_one_key_the_later_goes_offline() {
    let first = World::new("after").await;
    let other = second(&first).await;
    let mut earlier = first.home.run(None);
    earlier.until(is_open).await;
    // By whole seconds: the second one begins in another one.
    let millis = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let into = u64::from(millis.unwrap().subsec_millis());
    tokio::time::sleep(std::time::Duration::from_millis(1_001 - into)).await;
    let mut later = other.home.run(None);
    later.until(is_open).await;
    let request = first.ask();
    let begun = std::time::Instant::now();
    tokio::join!(
        later.until(|event| says(event, "offline", "went offline")),
        earlier.until(|event| says(event, "degraded", "goes offline")),
    );
    println!("told on both after {} ms", begun.elapsed().as_millis());
    // That request was answered by both; the next one is not.
    assert!(first.results(&request) >= 1);
    let next = first.sell(&mut earlier).await;
    assert_eq!(first.results(&next), 1);
    let (_, status) = other.vend(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["state"], "offline", "{status}");
    first.stop(earlier).await;
    other.stop(later).await;
}

/// The handler info of this key, dated so many seconds ahead.
fn announced(home: &Home, ahead: u64) -> Event {
    let at = Timestamp::from_secs(Timestamp::now().as_secs() + ahead);
    EventBuilder::new(Kind::from_u16(31_990), "{}")
        .tag(Tag::identifier("vend"))
        .custom_created_at(at)
        .sign_with_keys(&home.seller)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_of_a_clock_that_was_ahead_is_deleted_and_said_anew() {
    let world = World::new("after").await;
    let config = std::fs::read_to_string(world.home.config()).unwrap();
    let config = config.replace("announce = false", "announce = true");
    world.home.write_config(&config);
    let wrong = announced(&world.home, 86_400);
    world.relay.inject(&wrong);
    let mut shop = world.home.run(None);
    shop.until(is_open).await;
    let named = |event: &Event, id: EventId| event.tags.event_ids().any(|one| *one == id);
    let is_deleted = |event: &Event| event.kind == Kind::EventDeletion && named(event, wrong.id);
    let deleted = world.relay.wait_for(is_deleted, LONGEST).await;
    assert!(deleted.is_some(), "nobody asked to delete it");
    let is_anew = |event: &Event| {
        let late = Timestamp::now().as_secs() + 600;
        event.kind.as_u16() == 31_990 && event.id != wrong.id && event.created_at.as_secs() < late
    };
    let anew = world.relay.wait_for(is_anew, LONGEST).await;
    assert!(anew.is_some(), "it was not said anew");
    world.stop(shop).await;
}
