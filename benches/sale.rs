//! What one sale costs beside the cryptography that it can't do without, and how long a buyer waits, in one run.
//!
//! `cargo bench --bench sale`; `VEND_BENCH_SALES` says how many (500 unless told), and `VEND_BENCH_ROUNDS` how often that
//! many are sold on the same ledger (3): the last round costs what the first does, or a sale's cost grows with the ledger.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use nostr::hashes::{Hash, sha256};
use nostr::secp256k1::{Secp256k1, SecretKey};
use nostr::{EventBuilder, Keys, Kind};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use vend::config::load;
use vend::config::place::Places;
use vend::demo::{self, DemoRelay};
use vend::domain::event::{Event, EventKind};
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

/// CPU time by the name of the thread: whose work it was.
fn cpu_by_thread() -> HashMap<String, Duration> {
    let mut spent: HashMap<String, Duration> = HashMap::new();
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    for task in tasks.flatten() {
        // A thread may end while it is looked at.
        let Ok(text) = std::fs::read_to_string(task.path().join("stat")) else {
            continue;
        };
        let (head, tail) = text.rsplit_once(')').expect("a name");
        let name = head.split_once('(').expect("a name").1.to_owned();
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let ticks: u64 =
            fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
        *spent.entry(name).or_default() += Duration::from_millis(ticks * 10);
    }
    spent
}

fn runtime(name: &str) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(name)
        .thread_keep_alive(Duration::from_secs(600))
        .enable_all()
        .build()
        .expect("a runtime")
}

struct Sold {
    rounds: Vec<Round>,
    seen: HashMap<(String, String), Time>,
}

struct Round {
    spent: HashMap<String, Duration>,
    wall: Duration,
    written: u64,
}

/// Bytes that this process has sent to the disk.
fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.expect("counted").parse().expect("a number")
}

/// The shop on a runtime of its own, so that its work can be told from the relay's and the buyer's.
fn sell(sales: u32, rounds: u32) -> Sold {
    let (shop, world) = (runtime("shop"), runtime("world"));
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let places = Places::new(data.join("config.toml"), data);
    places.prepare().expect("a data directory");
    let relay = world.block_on(world.spawn(DemoRelay::start()));
    let relay = relay.expect("ran").expect("a relay");
    demo::settings(&places.config, &relay.url, false).expect("settings");
    let settings = load(&places.config).expect("settings");
    let ledger = Ledger::open(&places.database()).expect("a ledger");
    let place = Place {
        config: places.config.clone(),
        data: places.data.clone(),
        pace: None,
        timing: vend::nostr::Timing::default(),
    };
    let engine = shop.spawn(Engine::start(ledger, Keys::generate(), settings, place));
    let engine = shop.block_on(engine).expect("ran").expect("an engine");
    let listening = world.spawn(listen(engine.listen()));
    let rounds = (0..rounds)
        .map(|_| {
            let (before, wall, disk) = (cpu_by_thread(), Instant::now(), written());
            // The calling thread is neither the shop nor the world; the buyer is spawned into the world.
            let sheet = world.block_on(async {
                demo::sell(&engine, &relay.url, &places.data, sales)
                    .await
                    .expect("sold")
            });
            let (mut spent, wall) = (cpu_by_thread(), wall.elapsed());
            for (name, before) in before {
                if let Some(after) = spent.get_mut(&name) {
                    *after = after.saturating_sub(before);
                }
            }
            assert!(sheet.ok, "every job was delivered, paid and reconciled");
            let written = written() - disk;
            Round {
                spent,
                wall,
                written,
            }
        })
        .collect();
    let seen = world.block_on(async {
        engine
            .ask(vend::domain::command::Command::Stop { now: false })
            .await;
        engine.ended().await;
        listening.await.expect("listened")
    });
    Sold { rounds, seen }
}

async fn listen(mut events: broadcast::Receiver<Event>) -> HashMap<(String, String), Time> {
    let mut seen = HashMap::new();
    while let Ok(event) = events.recv().await {
        match event.kind {
            EventKind::Job { job, what } => {
                seen.entry((job.id.to_string(), what)).or_insert(event.at);
            }
            EventKind::Published {
                id: Some(id), role, ..
            } => {
                seen.entry((id.to_string(), format!("{role} out")))
                    .or_insert(event.at);
            }
            _ => {}
        }
    }
    seen
}

fn main() {
    // An error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let number = |name: &str, default| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (sales, rounds) = (
        number("VEND_BENCH_SALES", 500),
        number("VEND_BENCH_ROUNDS", 3),
    );
    let floor = floor(5_000);
    let Sold { rounds, seen } = sell(sales, rounds);
    let ms = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(sales);
    let floor_ms = floor.as_secs_f64() * 1e3;
    println!("crypto floor of a sale             {floor_ms:>9.3} ms CPU");
    for (number, round) in rounds.into_iter().enumerate() {
        println!("round {}", number + 1);
        let mut names: Vec<_> = round.spent.into_iter().collect();
        names.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        for (name, time) in names.into_iter().filter(|(_, time)| !time.is_zero()) {
            let one = ms(time);
            println!(
                "a sale, threads named {name:<14}{one:>8.3} ms CPU, {:>6.1} times the floor",
                one / floor_ms
            );
        }
        println!(
            "a sale, wall                       {:>9.3} ms",
            ms(round.wall)
        );
        let kb = round.written / 1_000 / u64::from(sales);
        println!("a sale, written to the disk        {kb:>9} kB");
    }
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
