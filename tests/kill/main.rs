//! The process is killed at random moments, again and again, under one relay and one wallet that outlive it; then an
//! auditor compares what relay, wallet and ledger say.
//!
//! `VEND_KILLS` says how often (10 unless told), `VEND_KILL_MODE` when buyers pay (each way in turn unless told),
//! `VEND_KILL_SEED` repeats a run.

#[path = "../support/fake_relay.rs"]
mod fake_relay;
#[path = "../support/fake_wallet.rs"]
mod fake_wallet;
#[path = "../support/shop.rs"]
mod shop;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fake_relay::FakeRelay;
use fake_wallet::FakeWallet;
use nostr::Keys;
use serde_json::{Value, json};
use shop::{Home, Running, bolt11};
use vend::domain::job::Encryption;

/// A bound for what should take seconds; a job that was interrupted often waits for up to ten minutes.
const LONGEST: Duration = Duration::from_secs(900);

/// A small generator (xorshift), so that a run can be repeated from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_kills_leave_no_difference_for_an_auditor() {
    let kills = number("VEND_KILLS", 10);
    let seed = number(
        "VEND_KILL_SEED",
        u64::from(std::process::id()) * 2_654_435_761 + 1,
    );
    let mode = std::env::var("VEND_KILL_MODE").ok();
    println!("seed {seed}, {kills} kills");
    let mut dice = Dice(seed);
    let home = Home::new();
    let (relay_record, wallet_record) = (
        home.folder.path().join("relay.jsonl"),
        home.folder.path().join("wallet.jsonl"),
    );
    let relay = FakeRelay::start(Some(relay_record.clone())).await;
    let wallet = Arc::new(FakeWallet::start(&wallet_record));
    let buyers: Vec<Keys> = (0..4).map(|_| Keys::generate()).collect();
    let mut payer = Payer::default();
    let mut sent = 0_u64;
    for _ in 0..kills {
        let any = ["after", "before", "credit"][usize::try_from(dice.roll(3)).unwrap()];
        let mode = mode.clone().unwrap_or_else(|| any.to_owned());
        let (url, key) = (wallet.url(), wallet.invoice_key());
        home.configure(&mode, relay.url().as_str(), &url, &key);
        let mut running = home.run(None);
        for _ in 0..dice.roll(4) {
            ask(&home, &relay, &buyers, &mut dice);
            sent += 1;
        }
        let alive = Duration::from_millis(20 + dice.roll(380));
        live(&mut running, alive).await;
        running.child.kill().await.unwrap();
        // Buyers pay while the shop is dead as well as while it lives.
        payer.pay(&relay, &wallet, &mut dice, false);
    }
    let mut last = home.run(None);
    let settled = settle(
        &home, &mut last, &relay, &wallet, &mut payer, &mut dice, sent,
    );
    let jobs = tokio::time::timeout(LONGEST, settled)
        .await
        .expect("all is settled in time");
    last.child.kill().await.unwrap();

    let jobs_file = home.folder.path().join("jobs.json");
    std::fs::write(&jobs_file, serde_json::to_string(&jobs).unwrap()).unwrap();
    let report = audit(&relay_record, &wallet_record, &jobs_file);
    println!("{report}");
    assert_eq!(report["differences"], json!([]), "seed {seed}");
    every_paid_job_is_delivered(&jobs, seed);
    assert!(report["jobs"].as_u64() > Some(0) && report["payments"].as_u64() > Some(0));
    catches_planted_differences(&home, &relay_record, &wallet_record, &jobs);
}

/// No kill of ours is a buyer's loss.
fn every_paid_job_is_delivered(jobs: &[Value], seed: u64) {
    let paid: Vec<&Value> = jobs.iter().filter(|job| job["paid_msat"] != 0).collect();
    let owed = paid.iter().filter(|job| job["owed_to_buyer_msat"] != 0);
    let undelivered = paid.iter().filter(|job| job["status"] != "paid");
    let (owed, undelivered) = (owed.count(), undelivered.count());
    println!(
        "{} paid jobs, {undelivered} not delivered, {owed} owed back",
        paid.len()
    );
    assert_eq!((undelivered, owed), (0, 0), "seed {seed}");
}

fn ask(home: &Home, relay: &FakeRelay, buyers: &[Keys], dice: &mut Dice) {
    let buyer = &buyers[usize::try_from(dice.roll(buyers.len() as u64)).unwrap()];
    let scheme = match dice.roll(3) {
        0 => Encryption::Plain,
        1 => Encryption::Nip04,
        _ => Encryption::Nip44,
    };
    let prompt = format!("What is {} plus {}?", dice.roll(10), dice.roll(10_000));
    relay.inject(&home.request(buyer, scheme, &prompt));
}

/// Lets it live for a while, reading what it prints so that a full pipe never holds it up.
async fn live(running: &mut Running, alive: Duration) {
    let reading = async { while let Ok(Some(_)) = running.lines.next_line().await {} };
    // The random moment of the kill is what is tested: there is no event to wait for.
    let _ = tokio::time::timeout(alive, reading).await;
}

/// Pays invoices that have reached the relay, some of them never.
#[derive(Default)]
struct Payer {
    decided: BTreeSet<String>,
}

impl Payer {
    fn pay(&mut self, relay: &FakeRelay, wallet: &FakeWallet, dice: &mut Dice, all: bool) {
        for invoice in relay.events().iter().filter_map(bolt11) {
            if self.decided.contains(&invoice) || (!all && dice.roll(3) == 0) {
                continue;
            }
            self.decided.insert(invoice.clone());
            if dice.roll(8) != 0 {
                wallet.pay(&invoice).unwrap();
            }
        }
    }
}

/// The last run: until every job has come to rest, and every payment is known.
async fn settle(
    home: &Home,
    running: &mut Running,
    relay: &FakeRelay,
    wallet: &FakeWallet,
    payer: &mut Payer,
    dice: &mut Dice,
    sent: u64,
) -> Vec<Value> {
    loop {
        payer.pay(relay, wallet, dice, true);
        let paid = shop::record(&home.folder.path().join("wallet.jsonl"))
            .iter()
            .filter(|line| line["what"] == "paid")
            .count();
        let jobs = home.jobs().await;
        let at_work = |job: &Value| matches!(job["status"].as_str(), Some("queued" | "processing"));
        let known = jobs
            .iter()
            .filter(|job| job["paid_msat"].as_u64() > Some(0))
            .count();
        if jobs.len() as u64 == sent && known == paid && !jobs.iter().any(at_work) {
            return jobs;
        }
        // Something happens, or a look at the wallet is due within a few seconds.
        let _ = tokio::time::timeout(Duration::from_secs(1), running.lines.next_line()).await;
    }
}

fn auditor() -> PathBuf {
    let bin = Path::new(env!("CARGO_BIN_EXE_vend"));
    bin.parent().unwrap().join("examples").join("audit")
}

fn audit(relay: &Path, wallet: &Path, jobs: &Path) -> Value {
    let out = std::process::Command::new(auditor())
        .args([relay, wallet, jobs])
        .output()
        .expect("the auditor is built: cargo build --example audit");
    serde_json::from_slice(&out.stdout).unwrap_or_else(|_| {
        panic!("the auditor said: {}", String::from_utf8_lossy(&out.stderr));
    })
}

/// An auditor that never finds anything proves nothing.
fn catches_planted_differences(home: &Home, relay: &Path, wallet: &Path, jobs: &[Value]) {
    let file = |name: &str| home.folder.path().join(name);
    let differences = |relay: &Path, wallet: &Path, jobs: &[Value]| {
        let path = file("planted.json");
        std::fs::write(&path, serde_json::to_string(jobs).unwrap()).unwrap();
        audit(relay, wallet, &path)["differences"]
            .as_array()
            .unwrap()
            .len()
    };
    let mut richer = jobs.to_vec();
    let unpaid = richer.iter().position(|job| job["paid_msat"] == 0);
    let index = unpaid.unwrap_or(0);
    richer[index]["paid_msat"] = json!(1_000_000);
    assert!(
        differences(relay, wallet, &richer) > 0,
        "an invented payment"
    );
    let fewer = &jobs[..jobs.len() - 1];
    assert!(differences(relay, wallet, fewer) > 0, "a lost job");
    let text = std::fs::read_to_string(relay).unwrap();
    let result = text
        .lines()
        .find(|line| line.contains("\"kind\":6050"))
        .unwrap();
    let mut second: Value = serde_json::from_str(result).unwrap();
    second["id"] = json!("00".repeat(32));
    let doubled = file("doubled.jsonl");
    std::fs::write(&doubled, format!("{text}{second}\n")).unwrap();
    assert!(differences(&doubled, wallet, jobs) > 0, "a second result");
}
