//! The commands as a person or a script meets them: the real binary, its exit codes and its words.

use std::process::{Output, Stdio};
use std::time::Duration;

use crate::support::fake_relay::FakeRelay;
use crate::support::fake_wallet::FakeWallet;
use crate::support::shop::{Home, Running};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const LONGEST: Duration = Duration::from_secs(60);

fn vend(home: &Home) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
    command.arg("--data-dir").arg(home.data());
    command.arg("--config").arg(home.config());
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn ran(home: &Home, args: &[&str]) -> Output {
    vend(home).args(args).output().await.unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn open_shop() -> (Home, FakeRelay, FakeWallet, Running) {
    let home = Home::new();
    let relay = FakeRelay::start(None).await;
    let wallet = FakeWallet::start(&home.folder.path().join("wallet.jsonl"));
    let url = relay.url();
    home.configure("credit", url.as_str(), &wallet.url(), &wallet.invoice_key());
    let mut running = home.run(None);
    running
        .until(|event| event["event"] == "state" && event["state"] == "online")
        .await;
    (home, relay, wallet, running)
}

#[tokio::test]
async fn wrong_settings_end_with_3_and_name_file_line_key_and_what_is_allowed() {
    for (text, line, key, allowed) in [
        (
            "\n[price]\nmin_prise_sats = 1\n",
            ":3",
            "min_prise_sats",
            "min_price_sats",
        ),
        (
            "[price]\nmin_price_sats = \"ten\"\n",
            ":2",
            "price.min_price_sats",
            "number",
        ),
        ("[text]\ntemperature = 9.0\n", ":2", "text.temperature", "2"),
        ("[wallet]\nbackend = \"sandbox\"\n", "", "wallet", "regtest"),
    ] {
        let home = Home::new();
        std::fs::write(home.config(), text).unwrap();
        for command in [&["config", "check"][..], &["run"], &["doctor"]] {
            let out = ran(&home, command).await;
            let said = words(&out.stderr);
            assert_eq!(out.status.code(), Some(3), "{command:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            for part in ["config.toml", line, key, allowed] {
                assert!(said.contains(part), "{part} in: {said}");
            }
        }
    }
}

#[tokio::test]
async fn wrong_usage_ends_with_2() {
    let home = Home::new();
    for args in [
        &["jobs", "--status", "rich"][..],
        &["jobs", "--filter", "colour:red"],
        &["receipts"],
        &["config", "set", "wallet.invoice_key", "in-the-clear"],
        &[],
    ] {
        assert_eq!(ran(&home, args).await.status.code(), Some(2), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_shop_on_the_same_data_ends_with_4() {
    let (home, _relay, _wallet, _running) = open_shop().await;
    let out = ran(&home, &["run"]).await;
    let said = words(&out.stderr);
    assert_eq!(out.status.code(), Some(4), "{said}");
    assert!(
        said.contains("another vend") && said.lines().count() == 1,
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_presses_leave_one_subscription() {
    let (home, relay, _wallet, mut running) = open_shop().await;
    for press in 0..20 {
        let command = if press % 2 == 0 { "offline" } else { "online" };
        let out = ran(&home, &[command]).await;
        assert!(
            out.status.success() || words(&out.stderr).contains("try again"),
            "{}",
            words(&out.stderr)
        );
    }
    // Whatever the last press met, one more opens the shop, and then it is open once.
    loop {
        let out = ran(&home, &["online"]).await;
        if words(&out.stdout).contains("online already") {
            break;
        }
        running.until(|event| event["event"] == "state").await;
    }
    let one = |relay: &FakeRelay| {
        let subscribed = relay.subscriptions();
        let jobs = subscribed.iter().filter(|sub| sub.id == "vend-jobs");
        jobs.count() == 1 && relay.connections() == 1
    };
    assert!(relay.wait_until(one, LONGEST).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_shop_answers_and_ends_when_told() {
    let (home, _relay, _wallet, mut running) = open_shop().await;
    let status: Value =
        serde_json::from_slice(&ran(&home, &["status", "--json"]).await.stdout).unwrap();
    assert_eq!(status["online"], true);
    for key in [
        "state",
        "since",
        "relays",
        "endpoints",
        "wallet",
        "queue",
        "version",
        "pid",
    ] {
        assert!(!status[key].is_null(), "{key}");
    }
    let doctor: Value =
        serde_json::from_slice(&ran(&home, &["doctor", "--json"]).await.stdout).unwrap();
    assert_eq!(doctor["ok"], true, "{doctor}");
    let stats: Value =
        serde_json::from_slice(&ran(&home, &["stats", "--json"]).await.stdout).unwrap();
    for key in [
        "jobs",
        "successful",
        "failed",
        "unpaid",
        "revenue_msat",
        "owed_msat",
        "funnel",
        "drops",
        "models",
    ] {
        assert!(!stats[key].is_null(), "{key}");
    }
    assert!(ran(&home, &["stop"]).await.status.success());
    let ended = tokio::time::timeout(LONGEST, running.child.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(ended.success(), "{ended}");
    assert_eq!(ran(&home, &["status"]).await.status.code(), Some(1));
    let copy = home.folder.path().join("copy.db");
    let out = ran(&home, &["backup", copy.to_str().unwrap()]).await;
    assert!(
        out.status.success() && copy.exists(),
        "{}",
        words(&out.stderr)
    );
}

#[tokio::test]
async fn an_identity_goes_in_and_out_by_stdin_alone() {
    let home = Home::new();
    std::fs::remove_file(home.data().join("identity")).unwrap();
    let secret = home.seller.secret_key().to_secret_hex();
    let mut child = vend(&home)
        .args(["keys", "import"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(format!("{secret}\n").as_bytes())
        .await
        .unwrap();
    drop(stdin);
    let out = child.wait_with_output().await.unwrap();
    assert!(out.status.success());
    let shown = words(&ran(&home, &["keys", "show"]).await.stdout);
    assert!(
        shown.contains(&home.seller.public_key().to_hex()),
        "{shown}"
    );
    assert!(!shown.contains(&secret));
    assert_eq!(
        ran(&home, &["keys", "generate"]).await.status.code(),
        Some(1)
    );
    assert!(words(&ran(&home, &["keys", "export"]).await.stdout).starts_with("nsec1"));
}

#[tokio::test]
async fn a_ledger_that_is_no_ledger_is_refused_and_left_as_it_is() {
    let home = Home::new();
    let file = home.data().join("vend.db");
    std::fs::write(&file, vec![7_u8; 4_096]).unwrap();
    std::fs::write(
        home.config(),
        "[wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n",
    )
    .unwrap();
    let out = ran(&home, &["run"]).await;
    let said = words(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("damaged"), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), vec![7_u8; 4_096]);
}
