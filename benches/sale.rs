//! What one sale costs beside the cryptography that it can't do without, and how long a buyer waits, in one run.
//!
//! `cargo bench --bench sale`; `VEND_BENCH_SALES` says how many (500 unless told).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use nostr::hashes::{Hash, sha256};
use nostr::secp256k1::{Secp256k1, SecretKey};
use nostr::{EventBuilder, Keys, Kind};
use vend::config::load;
use vend::config::place::Places;
use vend::demo::{self, DemoRelay};
use vend::domain::event::News;
use vend::domain::time::Time;
use vend::engine::{Engine, Place};
use vend::ledger::Ledger;

/// CPU time of this whole process, user and system.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    let ticks: u64 =
        fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    Duration::from_millis(ticks * 10)
}

/// One verify, three event signatures, one invoice signature.
fn floor(rounds: u32) -> Duration {
    let keys = Keys::generate();
    let secp = Secp256k1::new();
    let node = SecretKey::from_slice(&[7; 32]).expect("a key");
    let event = |n: u32| {
        EventBuilder::new(Kind::from_u16(7000), format!("{n}"))
            .sign_with_keys(&keys)
            .expect("signed")
    };
    let began = cpu();
    for n in 0..rounds {
        event(n).verify().expect("verified");
        event(n);
        event(n);
        let invoice = InvoiceBuilder::new(Currency::Regtest)
            .description("floor".to_owned())
            .payment_hash(sha256::Hash::hash(&n.to_be_bytes()))
            .payment_secret(PaymentSecret([1; 32]))
            .current_timestamp()
            .min_final_cltv_expiry_delta(18)
            .amount_milli_satoshis(10_000)
            .build_signed(|message| secp.sign_ecdsa_recoverable(message, &node));
        assert!(invoice.is_ok());
    }
    cpu().checked_sub(began).unwrap_or_default() / rounds
}

fn percentile(sorted: &[i64], percent: usize) -> i64 {
    sorted
        .get(sorted.len() * percent / 100)
        .copied()
        .unwrap_or(0)
}

/// Milliseconds from one word of a job's life to another, as the engine tells them.
fn waits(seen: &HashMap<(String, String), Time>, from: &str, to: &str) -> Vec<i64> {
    let mut waits: Vec<i64> = seen
        .iter()
        .filter(|((_, what), _)| what == from)
        .filter_map(|((id, _), at)| Some(seen.get(&(id.clone(), to.to_owned()))?.0 - at.0))
        .collect();
    waits.sort_unstable();
    waits
}

async fn sell(sales: u32) -> (Duration, Duration, HashMap<(String, String), Time>) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let places = Places::new(data.join("config.toml"), data);
    places.prepare().expect("a data directory");
    let relay = DemoRelay::start().await.expect("a relay");
    demo::settings(&places.config, &relay.url, false).expect("settings");
    let settings = load(&places.config).expect("settings");
    let ledger = Ledger::open(&places.database()).expect("a ledger");
    let place = Place {
        config: places.config.clone(),
        data: places.data.clone(),
        pace: None,
    };
    let engine = Engine::start(ledger, Keys::generate(), settings, place)
        .await
        .expect("an engine");
    let mut events = engine.listen();
    let listening = tokio::spawn(async move {
        let mut seen = HashMap::new();
        while let Ok(event) = events.recv().await {
            match event.news {
                News::Job { job, what } => {
                    seen.entry((job.id.to_string(), what)).or_insert(event.at);
                }
                News::Published {
                    id: Some(id), role, ..
                } => {
                    seen.entry((id.to_string(), format!("{role} out")))
                        .or_insert(event.at);
                }
                _ => {}
            }
        }
        seen
    });
    let (began, wall) = (cpu(), Instant::now());
    let sheet = demo::sell(&engine, &relay.url, &places.data, sales)
        .await
        .expect("sold");
    let (spent, wall) = (cpu().checked_sub(began).unwrap_or_default(), wall.elapsed());
    assert!(sheet.ok, "every job was delivered, paid and reconciled");
    engine
        .ask(vend::domain::command::Command::Stop { now: false })
        .await;
    engine.ended().await;
    (
        spent / sales,
        wall / sales,
        listening.await.expect("listened"),
    )
}

fn main() {
    // An error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sales = std::env::var("VEND_BENCH_SALES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(500);
    let floor = floor(5_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (spent, wall, seen) = runtime.block_on(sell(sales));
    println!(
        "crypto floor of a sale            {:>9.3} ms CPU",
        floor.as_secs_f64() * 1e3
    );
    println!(
        "a sale: shop, relay, buyer, model {:>9.3} ms CPU",
        spent.as_secs_f64() * 1e3
    );
    println!(
        "ratio                             {:>9.1}",
        spent.as_secs_f64() / floor.as_secs_f64()
    );
    println!(
        "a sale, wall                      {:>9.3} ms",
        wall.as_secs_f64() * 1e3
    );
    for (name, from, to) in [
        (
            "request admitted to processing out",
            "admitted",
            "processing out",
        ),
        ("last token to result out", "answered", "result out"),
    ] {
        let waits = waits(&seen, from, to);
        println!(
            "{name}: p50 {} ms, p99 {} ms ({} jobs)",
            percentile(&waits, 50),
            percentile(&waits, 99),
            waits.len()
        );
    }
}
