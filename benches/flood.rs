//! A relay that sends 10,000 unwanted events a second, and what that costs the shop: memory, CPU time, and whether a job
//! is still served.
//!
//! `cargo bench --bench flood`; `VEND_BENCH_SECONDS` says how long (30 unless told).

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "../tests/support/fake_relay.rs"]
mod fake_relay;
#[path = "../tests/support/fake_wallet.rs"]
mod fake_wallet;
#[path = "../tests/support/shop.rs"]
mod shop;

use std::time::{Duration, Instant};

use fake_relay::FakeRelay;
use fake_wallet::FakeWallet;
use nostr::{EventBuilder, Keys, Kind, Tag, Timestamp};
use serde_json::json;
use shop::{Home, answers};
use vend::domain::job::Encryption;

/// Events a second.
const RATE: usize = 10_000;
/// Frames are sent in so many portions a second, 10 ms apart.
const PORTIONS: usize = 100;
const LONGEST: Duration = Duration::from_secs(120);

/// Resident memory, kB, and CPU time of a process.
fn cost(pid: u32) -> (u64, Duration) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .expect("VmRSS");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("Linux");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    let ticks: u64 =
        fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    (resident, Duration::from_millis(ticks * 10))
}

/// Unwanted in every way: another kind, too old, for somebody else, without input, forged, not an event.
fn unwanted() -> Vec<String> {
    let (keys, other) = (Keys::generate(), Keys::generate().public_key());
    let sign = |kind: u16, text: String, tags: Vec<Tag>, age: u64| {
        let at = Timestamp::from_secs(Timestamp::now().as_secs() - age);
        EventBuilder::new(Kind::from_u16(kind), text)
            .tags(tags)
            .custom_created_at(at)
            .sign_with_keys(&keys)
            .expect("signed")
    };
    (0..5_000)
        .map(|n| {
            let text = format!("event {n}");
            let mut event = match n % 5 {
                0 => json!(sign(1, text, vec![], 0)),
                1 => json!(sign(5050, text, vec![], 86_400)),
                2 => json!(sign(5050, text, vec![Tag::public_key(other)], 0)),
                3 => json!(sign(5050, String::new(), vec![], n)),
                _ => json!(sign(5050, text, vec![], 0)),
            };
            if n % 5 == 4 {
                event["content"] = json!("forged");
            }
            json!(["EVENT", "vend-jobs", event]).to_string()
        })
        .collect()
}

fn main() {
    let seconds = std::env::var("VEND_BENCH_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(30);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(flood(seconds));
}

async fn flood(seconds: u64) {
    let home = Home::new();
    let relay = FakeRelay::start(None).await;
    let wallet = FakeWallet::start(&home.folder.path().join("wallet.jsonl"));
    let url = relay.url();
    home.configure("after", url.as_str(), &wallet.url(), &wallet.invoice_key());
    let mut shop = home.run(None);
    let pid = shop.child.id().expect("a process");
    assert!(relay.wait_subscribed("vend-jobs", 1, LONGEST).await);
    // Its events are read and thrown away, as a pipe that nobody reads would hold it up.
    let reading =
        tokio::spawn(async move { while let Ok(Some(_)) = shop.lines.next_line().await {} });
    let frames = unwanted();
    let (first, before) = cost(pid);
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let (mut sent, mut memory) = (0, Vec::new());
    while began.elapsed() < Duration::from_secs(seconds) {
        tick.tick().await;
        for frame in frames
            .iter()
            .cycle()
            .skip(sent % frames.len())
            .take(RATE / PORTIONS)
        {
            relay.inject_raw(frame);
            sent += 1;
        }
        if sent % RATE == 0 {
            memory.push(cost(pid).0);
        }
    }
    let took = began.elapsed();
    let (last, after) = cost(pid);
    let quarter = memory.len() / 4;
    let settled = memory.get(quarter).copied().unwrap_or(first);
    println!(
        "sent                        {:>9.0} events/s over {:.0} s",
        sent as f64 / took.as_secs_f64(),
        took.as_secs_f64()
    );
    println!("memory before               {first:>9} kB");
    println!("memory after a quarter      {settled:>9} kB");
    println!(
        "memory at the end           {last:>9} kB, {:.2} times the quarter's",
        last as f64 / settled as f64
    );
    let busy = after.saturating_sub(before).as_secs_f64();
    println!(
        "CPU of one core             {:>9.1} %, {:.1} us an event",
        busy / took.as_secs_f64() * 1e2,
        busy * 1e6 / sent as f64
    );
    let buyer = Keys::generate();
    let request = home.request(&buyer, Encryption::Plain, "Hello.");
    let id = request.id.to_hex();
    let asked = Instant::now();
    relay.inject(&request);
    let result = relay
        .wait_for(
            |event| event.kind == Kind::from_u16(6050) && answers(event).as_deref() == Some(&id),
            LONGEST,
        )
        .await;
    println!(
        "a job after the flood       {:>9.0} ms to its result ({})",
        asked.elapsed().as_secs_f64() * 1e3,
        if result.is_some() {
            "served"
        } else {
            "NOT SERVED"
        }
    );
    shop.child.kill().await.expect("killed");
    reading.abort();
}
