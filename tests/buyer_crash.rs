//! The buyer dies at every point of a purchase, in both orders of payment: no payment twice, none unrecorded, and the next run
//! learns what became of it.

#[path = "support/fake_relay.rs"]
mod fake_relay;
#[path = "support/shop.rs"]
mod shop;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Output, Stdio};

use fake_relay::FakeRelay;
use serde_json::Value;
use shop::Home;
use tokio::process::Command;
use vend::crash::BUYER_POINTS;

const SANDBOX: &str = "backend = \"sandbox\"\n";
const SIGABRT: i32 = 6;

async fn vend(home: &Home, args: &[&str], crash_at: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
    command.arg("--data-dir").arg(home.data());
    command.arg("--config").arg(home.config());
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    if let Some(point) = crash_at {
        command.env("VEND_CRASH_AT", point);
    }
    command.output().await.unwrap()
}

/// Payment hashes that the sandbox's books show as paid.
fn paid(home: &Home) -> BTreeSet<String> {
    let files = fs::read_dir(home.data().join("sandbox")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names
        .filter_map(|name| name.strip_suffix(".paid").map(str::to_owned))
        .collect()
}

async fn purchases(home: &Home, check: bool) -> Vec<Value> {
    let mut args = vec!["purchases", "--json"];
    if check {
        args.extend(["--check", "--timeout", "5"]);
    }
    let out = vend(home, &args, None).await;
    serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)))
}

async fn all_points(mode: &str) {
    let relay = FakeRelay::start(None).await;
    let home = Home::new();
    let url = relay.url().to_string();
    home.configure_with(mode, &url, SANDBOX, "vend-tiny", "kind = \"builtin\"\n");
    let mut running = home.run(None);
    running
        .until(|event| event["event"] == "state" && event["state"] == "online")
        .await;
    let seller = home.seller.public_key().to_hex();
    for (number, point) in BUYER_POINTS.iter().enumerate() {
        let prompt = format!("What is the capital of France? {number}");
        let args = [
            "request",
            &prompt,
            "--to",
            &seller,
            "--pay",
            "sandbox",
            "--encrypt",
            "nip44",
        ];
        let before = paid(&home);
        let out = vend(&home, &args, Some(point)).await;
        let words = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(
            out.status.signal(),
            Some(SIGABRT),
            "{mode} {point}: {words}"
        );
        let rows = purchases(&home, true).await;
        assert_eq!(rows.len(), number + 1, "{mode} {point}");
        let (row, new) = (&rows[0], paid(&home));
        let new: Vec<&String> = new.difference(&before).collect();
        let status = row["status"].as_str().unwrap();
        assert!(new.len() <= 1, "{mode} {point}: paid twice: {row}");
        if let [hash] = new[..] {
            assert_eq!(row["payment_hash"], hash.as_str(), "{mode} {point}: {row}");
            assert!(
                ["paid", "delivered"].contains(&status),
                "{mode} {point}: {row}"
            );
            assert_ne!(row["paid_msat"], 0, "{mode} {point}: {row}");
        } else {
            // With the result first its answer is there, and whether it was paid is asked on.
            let answered = mode == "after" && *point == "buy.intent.after" && status == "delivered";
            assert!(
                answered || ["asked", "paying"].contains(&status),
                "{mode} {point}: {row}"
            );
            assert_eq!(row["paid_msat"], 0, "{mode} {point}: {row}");
        }
        let late = [
            "buy.paid.before",
            "buy.paid.after",
            "buy.delivered.before",
            "buy.delivered.after",
        ];
        assert_eq!(
            new.len(),
            usize::from(late.contains(point)),
            "{mode} {point}: {row}"
        );
        if late.contains(point) {
            assert_eq!(
                status, "delivered",
                "{mode} {point}: its answer is on the relay: {row}"
            );
        }
    }
    running.child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_that_is_paid_first_outlives_every_crash() {
    all_points("before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_that_is_paid_after_outlives_every_crash() {
    all_points("after").await;
}
