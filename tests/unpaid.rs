//! Strangers send long requests, are asked to pay first, and never pay. That must cost the shop next to nothing: its memory
//! stays small, and whoever pays is served as before. `VEND_UNPAID` says how many (160 unless told).
#![cfg(target_os = "linux")]

#[path = "support/fake_relay.rs"]
mod fake_relay;
#[path = "support/fake_wallet.rs"]
mod fake_wallet;
#[path = "support/shop.rs"]
mod shop;

use std::fs;
use std::io::Write;
use std::time::Duration;

use fake_relay::FakeRelay;
use fake_wallet::FakeWallet;
use futures::StreamExt;
use nostr::{Event, Keys, Kind};
use serde_json::Value;
use shop::{Home, Running, answers, bolt11};
use tokio::sync::mpsc;
use vend::domain::job::Encryption;

const LONGEST: Duration = Duration::from_secs(60);
/// What the shop may take, kB.
const MOST_KB: u64 = 80 * 1024;
/// A long prompt, whose event fits what relays take.
const PROMPT: usize = 60_000;
/// Strangers who wait for their invoice at the same time.
const AT_ONCE: usize = 8;

fn asked_to_pay(event: &Event, id: &str) -> bool {
    event.kind == Kind::from_u16(7000)
        && answers(event).as_deref() == Some(id)
        && bolt11(event).is_some()
}

fn answered(event: &Event, id: &str) -> bool {
    event.kind == Kind::from_u16(6050) && answers(event).as_deref() == Some(id)
}

/// The shop's process, whose events are read on as whoever starts `vend run --events` does.
struct Shop {
    child: tokio::process::Child,
    events: mpsc::UnboundedReceiver<Value>,
}

impl Shop {
    async fn online(home: &Home) -> Self {
        let Running { child, mut lines } = home.run(None);
        let (tell, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // The test may be over.
                let _ = tell.send(serde_json::from_str(&line).unwrap());
            }
        });
        let mut shop = Self { child, events };
        shop.until(|event| event["event"] == "state" && event["state"] == "online")
            .await;
        shop
    }

    async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let reading = async {
            loop {
                let event = self.events.recv().await.expect("the shop ended");
                if fits(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(LONGEST, reading).await.unwrap()
    }

    /// The process' memory, kB.
    fn memory(&self) -> u64 {
        let pid = self.child.id().unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let words = line.unwrap().split_whitespace().nth(1);
        words.unwrap().parse().unwrap()
    }
}

async fn asks_and_pays(home: &Home, relay: &FakeRelay, wallet: &FakeWallet) {
    let request = home.request(&Keys::generate(), Encryption::Plain, "What is a shop?");
    let id = request.id.to_hex();
    relay.inject(&request);
    let asked = relay.wait_for(|event| asked_to_pay(event, &id), LONGEST);
    let invoice = bolt11(&asked.await.expect("an invoice")).unwrap();
    wallet.pay(&invoice).unwrap();
    let result = relay.wait_for(|event| answered(event, &id), LONGEST).await;
    result.expect("a result for whoever paid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_never_paid_cost_next_to_nothing() {
    let strangers = std::env::var("VEND_UNPAID").ok();
    let strangers: usize = strangers.and_then(|n| n.parse().ok()).unwrap_or(160);
    let home = Home::new();
    let relay = FakeRelay::start(None).await;
    let wallet = FakeWallet::start(&home.folder.path().join("wallet.jsonl"));
    let url = relay.url();
    home.configure("before", url.as_str(), &wallet.url(), &wallet.invoice_key());
    let mut settings = fs::OpenOptions::new()
        .append(true)
        .open(home.config())
        .unwrap();
    writeln!(settings, "prompt_bytes = 65536").unwrap();
    let mut shop = Shop::online(&home).await;
    let before = shop.memory();
    let asks = |number: usize| {
        let (home, relay) = (&home, &relay);
        async move {
            let prompt = format!("{number:06} {}", "long ".repeat(PROMPT / 5));
            let request = home.request(&Keys::generate(), Encryption::Plain, &prompt[..PROMPT]);
            let id = request.id.to_hex();
            relay.inject(&request);
            let asked = relay.wait_for(|event| asked_to_pay(event, &id), LONGEST);
            asked.await.expect("an invoice");
            id
        }
    };
    let first = asks(0).await;
    // Some at once, and each of them is served: that is the most that a stranger can have of it.
    let rest = futures::stream::iter(1..strangers).map(asks);
    rest.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    let took = shop.memory();
    println!("{strangers} unpaid requests: {before} kB before, {took} kB after");
    assert!(took < MOST_KB, "{took} kB, {before} kB before");
    asks_and_pays(&home, &relay, &wallet).await;
    let set = ["config", "set", "limits.unpaid_text_mb", "8"];
    let set = home.command().args(set).output().await.unwrap();
    assert!(set.status.success(), "{set:?}");
    // What is beyond the bound was erased from the oldest on; who pays for it is owed the money, and the money is known.
    shop.until(|event| {
        let words = event["message"].as_str();
        event["event"] == "notice" && words.is_some_and(|words| words.contains("unpaid_text_mb"))
    })
    .await;
    let invoice = home.show(&first).await.unwrap()["bolt11"].clone();
    wallet.pay(invoice.as_str().unwrap()).unwrap();
    let told = shop
        .until(|event| event["job"]["id"] == first.as_str() && event["what"] == "paid")
        .await;
    assert_eq!(told["job"]["status"], "error", "{told}");
    assert_eq!(
        told["job"]["owed_to_buyer_msat"], told["job"]["price_msat"],
        "{told}"
    );
    // Over a restart too.
    shop.child.kill().await.unwrap();
    let shop = Shop::online(&home).await;
    asks_and_pays(&home, &relay, &wallet).await;
    let took = shop.memory();
    assert!(took < MOST_KB, "{took} kB after a restart");
}
