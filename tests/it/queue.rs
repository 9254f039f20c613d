//! `vend queue` over the control socket, and from the ledger where nothing runs: what waits and why, moved and cancelled.

use crate::support::fake_ollama::{FakeOllama, Fault};
use crate::support::inside::{Inside, status_of};
use nostr::{Event, EventBuilder, Keys, Kind, Tag};
use serde_json::Value;
use vend::config::place::{DataLock, Places};
use vend::control::server::Server;
use vend::domain::command::Command;
use vend::domain::event::EventKind;
use vend::domain::job::Status;

fn settings(relay: &str, model: &str) -> String {
    format!(
        "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n\
         [price]\npriority_percent = 20\n[payment]\nmode = \"after\"\n\
         [wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\
         [[endpoint]]\nname = \"local\"\nkind = \"ollama\"\nurl = \"{model}\"\n"
    )
}

fn ask(shop: &Inside, tags: &[&[&str]]) -> Event {
    let mut all = vec![
        Tag::parse(["i", "Good morning", "text"]).unwrap(),
        Tag::public_key(shop.home.seller.public_key()),
    ];
    all.extend(
        tags.iter()
            .map(|tag| Tag::parse(tag.iter().copied()).unwrap()),
    );
    let request = EventBuilder::new(Kind::from_u16(5050), "").tags(all);
    let request = request.sign_with_keys(&Keys::generate()).unwrap();
    shop.relay.inject(&request);
    request
}

fn waiting(queue: &Value) -> Vec<(String, String)> {
    let all = queue["waiting"].as_array().unwrap().iter();
    all.map(|one| {
        let text = |key: &str| one[key].as_str().unwrap().to_owned();
        (text("id"), text("why"))
    })
    .collect()
}

fn ids(queue: &Value) -> Vec<String> {
    waiting(queue).into_iter().map(|(id, _)| id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_says_why_and_is_changed_over_the_socket() {
    let model = FakeOllama::start().await;
    let url = model.url();
    let mut shop = Inside::start(|relay| settings(relay, &url)).await;
    shop.engine.ask(Command::GoOnline).await;
    shop.hear(|kind| matches!(kind, EventKind::State { state, .. } if state.sells()).then_some(()))
        .await;
    let lock = DataLock::take(&Places::new(shop.home.config(), shop.home.data())).unwrap();
    let server = Server::listen(&shop.engine, &lock.holder().socket).unwrap();
    model.set(Fault::StallsBeforeFirst);
    let runs = ask(&shop, &[]);
    shop.until(&runs, |job, _| job.status == Status::Processing)
        .await;
    let mut waits = Vec::new();
    for tags in [
        &[][..],
        &[&["bid", "30000"][..]],
        &[&["param", "priority", "high"]],
    ] {
        let request = ask(&shop, tags);
        shop.until(&request, |job, _| job.status == Status::Queued)
            .await;
        waits.push(request);
    }
    let hex: Vec<String> = waits.iter().map(|request| request.id.to_hex()).collect();
    let told = shop.json(&["queue"]);
    assert_eq!(told["running"][0]["id"], runs.id.to_hex());
    assert_eq!(ids(&told), [hex[2].clone(), hex[1].clone(), hex[0].clone()]);
    let whys: Vec<String> = waiting(&told).into_iter().map(|(_, why)| why).collect();
    assert_eq!(
        whys,
        ["pays 20 % more to go first", "bids 30 sats", "by its age"]
    );
    let first = &told["waiting"][0];
    assert_eq!(
        (&first["position"], &first["priority"]),
        (&1.into(), &true.into())
    );
    assert_eq!(
        (&first["offer"], &first["model"]),
        (&"text".into(), &"gemma2:latest".into())
    );

    // Moved by the beginning of its id, and back.
    let told = shop.json(&["queue", "up", &hex[0][..12]]);
    assert_eq!(ids(&told), [hex[2].clone(), hex[0].clone(), hex[1].clone()]);
    assert_eq!(waiting(&told)[1].1, "the seller moved it");
    assert_eq!(shop.say(&["queue", "down", &hex[2]]).trim(), "moved down");
    assert_eq!(
        ids(&shop.json(&["queue"])),
        [hex[0].clone(), hex[2].clone(), hex[1].clone()]
    );

    // Cancelled: its buyer hears it.
    shop.say(&["queue", "cancel", &hex[1]]);
    let is = |event: &Event| status_of(event).as_deref() == Some("error");
    shop.answer(&waits[1], is).await;
    assert_eq!(
        ids(&shop.json(&["queue"])),
        [hex[0].clone(), hex[2].clone()]
    );

    // What nothing runs on is read from the ledger, in the same order.
    server.close().await;
    drop(lock);
    shop.engine.ask(Command::Stop { now: true }).await;
    let told = shop.json(&["queue"]);
    assert_eq!(ids(&told), [hex[0].clone(), hex[2].clone()]);
    assert_eq!(
        told["running"][0]["id"],
        runs.id.to_hex(),
        "it goes on at the next start"
    );
}
