//! Long prompts at relays that other people wrote, with their limits on: each ends delivered, or its buyer is told.

use serde_json::Value;

use crate::fake_ollama::FakeOllama;
use crate::stage::{Buyer, Place, Server, ready};
use crate::{ANSWER, SANDBOX};

/// Buyers at the same time.
const AT_ONCE: usize = 5;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The relay itself did not take the request.
    NotTaken,
    Delivered,
    /// Before any work.
    Refused,
    /// After the work.
    Failed,
}

fn prompts() -> Vec<String> {
    vec![
        "hi".to_owned(),
        "x".repeat(1_200),
        "x".repeat(32_700),
        "\"".repeat(30_600),
        // An argument holds no other control character.
        "\u{1}\n\\".repeat(4_000),
    ]
}

fn end(heard: &[Value]) -> End {
    let is = |what: &str| heard.iter().any(|line| line["type"] == what);
    let said = |status: &str| heard.iter().any(|line| line["status"] == status);
    if is("result") {
        let result = heard.last().unwrap();
        assert_eq!(result["content"], ANSWER, "{result}");
        for (rule, held) in result["checks"].as_object().unwrap() {
            // The copy of the request is left out where it would not fit.
            assert!(
                *held == true || (rule == "request" && held.is_null()),
                "{rule}: {result}"
            );
        }
        End::Delivered
    } else if said("error") {
        if said("processing") {
            End::Failed
        } else {
            End::Refused
        }
    } else {
        assert!(!is("published"), "heard of, and never ended: {heard:?}");
        End::NotTaken
    }
}

fn settings(model: &FakeOllama) -> String {
    format!(
        "{SANDBOX}[[endpoint]]\nname = \"gpu\"\nkind = \"ollama\"\nurl = \"{}\"\nnum_ctx = 131072\nslots = 4\n\
         [limits]\nper_minute = 100000\nqueue = 1000\n",
        model.url()
    )
}

/// Every prompt in every encryption at this relay.
fn at(relay: &Server, told: bool, model: &FakeOllama) {
    let place = Place::new(&relay.ws(), "after", &settings(model));
    let shop = place.open();
    let (npub, url) = (place.npub(), relay.ws());
    let asked: Vec<(usize, String, &str)> = prompts()
        .into_iter()
        .enumerate()
        .flat_map(|(n, prompt)| {
            ["none", "nip04", "nip44"].map(|scheme| (n, prompt.clone(), scheme))
        })
        .collect();
    let mut ends = Vec::new();
    for some in asked.chunks(AT_ONCE) {
        let buyers: Vec<_> = some
            .iter()
            .map(|(n, prompt, scheme)| (n, scheme, Buyer::ask(&url, &npub, prompt, scheme)))
            .collect();
        for (n, scheme, buyer) in buyers {
            let end = end(&buyer.to_the_end());
            assert!(
                !(told && end == End::Failed),
                "worked for in vain: prompt {n}, {scheme}"
            );
            ends.push(end);
        }
    }
    let count = |what: End| ends.iter().filter(|end| **end == what).count();
    println!(
        "{}: {} delivered, {} refused before the work, {} told after it, {} requests that the relay did not take",
        relay.label(),
        count(End::Delivered),
        count(End::Refused),
        count(End::Failed),
        count(End::NotTaken)
    );
    assert!(count(End::Delivered) >= 6, "{ends:?}");
    // And it sells on.
    let last = Buyer::ask(&url, &npub, "And now?", "nip44").result();
    assert_eq!(last["content"], ANSWER);
    shop.stop(&place);
}

async fn model() -> FakeOllama {
    let model = FakeOllama::start().await;
    model.set_models(&["vend-tiny"]);
    model.set_context(131_072);
    model.set_answer(ANSWER);
    model
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_at_a_relay_on_node_s_ws_server() {
    if !ready("sizes_at_a_relay_on_node_s_ws_server", &["node"]) {
        return;
    }
    let model = model().await;
    for longest in ["40960", "65536", "131072"] {
        for told in [true, false] {
            let more: &[&str] = if told { &[longest, "told"] } else { &[longest] };
            let relay = Server::start("ws", more).up();
            tokio::task::block_in_place(|| at(&relay, told, &model));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_at_nostr_rs_relay() {
    if !ready("sizes_at_nostr_rs_relay", &["relay", "node"]) {
        return;
    }
    let model = model().await;
    for longest in ["65536", "131072"] {
        let relay = Server::start("relay", &[longest]).up();
        // Its description does not say what it takes.
        tokio::task::block_in_place(|| at(&relay, false, &model));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_at_khatru() {
    if !ready("sizes_at_khatru", &["khatru", "node"]) {
        return;
    }
    let model = model().await;
    for longest in ["40960", "65536", "131072"] {
        let relay = Server::start("khatru", &[longest]).up();
        tokio::task::block_in_place(|| at(&relay, true, &model));
    }
}
