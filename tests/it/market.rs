//! What is asked on the relays is counted, and `vend market` tells it; a seller who does not want that has nothing counted.

use std::time::{Duration, Instant};

use crate::support::inside::{Inside, LONGEST};
use nostr::{EventBuilder, Keys, Kind, Tag};
use serde_json::{Value, json};
use vend::demo::online;

fn settings(relay: &str, watch: bool) -> String {
    format!(
        "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n[text]\nmodel = \"vend-tiny\"\nmax_tokens = 16\n\
         [payment]\nmode = \"after\"\n[wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\
         [[endpoint]]\nname = \"e0\"\nkind = \"builtin\"\n[market]\nwatch = {watch}\n"
    )
}

/// An open request that names a model and a bid.
fn ask(inside: &Inside, model: &str, bid: &str) {
    let tags = [
        Tag::parse(["i", "What is the capital of France?", "text"]),
        Tag::parse(["param", "model", model]),
        Tag::parse(["bid", bid]),
    ];
    let tags = tags.map(Result::unwrap);
    let request = EventBuilder::new(Kind::from_u16(5050), "")
        .tags(tags)
        .sign_with_keys(&Keys::generate())
        .unwrap();
    inside.relay.inject(&request);
}

async fn told(inside: &Inside, fits: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let told = inside.json(&["market", "--days", "2"]);
        if fits(&told) {
            return told;
        }
        assert!(began.elapsed() < LONGEST, "{told}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_and_what_was_missed_is_told() {
    let inside = Inside::start(|relay| settings(relay, true)).await;
    online(&inside.engine).await.unwrap();
    ask(&inside, "vend-tiny", "90000");
    ask(&inside, "another", "4000");
    ask(&inside, "another", "6000");
    let sum = |told: &Value| {
        let all = told["requests"].as_array().unwrap().iter();
        all.map(|one| one["count"].as_u64().unwrap()).sum::<u64>()
    };
    let report = told(&inside, |told| sum(told) == 3).await;
    assert_eq!(report["days"], 2);
    let requests = &report["requests"][0];
    assert_eq!(requests["kind"], 5050);
    assert_eq!(requests["models"], json!({ "another": 2, "vend-tiny": 1 }));
    assert_eq!(requests["bid_msat_median"], 6_000);
    let missed = json!([{ "reason": "unsupported_model", "count": 2, "worth_msat": 10_000 }]);
    assert_eq!(report["missed"], missed);
    let said = inside.say(&["market"]);
    assert!(
        said.starts_with("3 requests in 7 days; 1 named a model you have"),
        "{said}"
    );
    inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seller_who_does_not_want_it_has_nothing_counted() {
    let mut inside = Inside::start(|relay| settings(relay, false)).await;
    online(&inside.engine).await.unwrap();
    ask(&inside, "another", "4000");
    inside
        .hear(|news| matches!(news, vend::domain::event::EventKind::Dropped { .. }).then_some(()))
        .await;
    let said = inside.say(&["market"]);
    assert!(
        said.contains("nothing is counted while market.watch is false"),
        "{said}"
    );
    assert_eq!(told(&inside, |_| true).await["requests"], json!([]));
    inside.close().await;
}
