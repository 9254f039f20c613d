//! A whole sale over Nostr Wallet Connect by the real binary on both sides: `vend run` sells, `vend request --pay nwc` buys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::support::fake_nwc::{FakeNwc, Fault};
use crate::support::shop::{Home, Running};
use nostr::ToBech32;
use serde_json::Value;
use tokio::process::Command;
use vend::domain::Hex32;
use vend::domain::id::{PaymentHash, Preimage};

fn open_home(fake: &FakeNwc) -> Home {
    let home = Home::new();
    let text = format!(
        "[nostr]\nrelays = [\"{}\"]\nkinds = [5050]\nannounce = false\n\
         [text]\nmodel = \"vend-tiny\"\nmax_tokens = 16\n\
         [wallet]\nbackend = \"nwc\"\nnetwork = \"regtest\"\nuri = {{ file = \"nwc.uri\" }}\n\
         [[endpoint]]\nname = \"tiny\"\nkind = \"builtin\"\n",
        fake.relay().url()
    );
    for (path, text) in [
        (home.config(), text),
        (home.folder.path().join("nwc.uri"), fake.uri()),
    ] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    home
}

async fn vend(home: &Home, args: &[&str], pays_with: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
    command.arg("--data-dir").arg(home.data());
    command.arg("--config").arg(home.config());
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    if let Some(uri) = pays_with {
        command.env("VEND_BUYER_NWC", uri);
    }
    command.output().await.unwrap()
}

async fn online(home: &Home) -> Running {
    let mut running = home.run(None);
    running
        .until(|event| event["event"] == "state" && event["state"] == "online")
        .await;
    running
}

async fn ask(home: &Home, more: &[&str], pays_with: Option<&str>) -> (Value, String) {
    let seller = home.seller.public_key().to_bech32().unwrap();
    let mut args = vec![
        "request",
        "What is the capital of France?",
        "--to",
        &seller,
        "--json",
    ];
    args.extend(more);
    let out = vend(home, &args, pays_with).await;
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    let sheet = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{err}"));
    (sheet, err)
}

/// Every file below a folder, as text.
fn everything(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            everything(&path, found);
        } else if path.is_file() {
            found.push_str(&String::from_utf8_lossy(&fs::read(&path).unwrap()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_sold_and_bought_over_two_connections() {
    let fake = FakeNwc::start();
    let home = open_home(&fake);
    let doctor = vend(&home, &["doctor", "--json"], None).await;
    let sheet: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let rows = sheet["checks"].as_array().unwrap();
    let rows: Vec<&Value> = rows.iter().filter(|row| row["check"] == "wallet").collect();
    assert_eq!(rows.len(), 2, "{sheet}");
    assert!(rows.iter().all(|row| row["status"] == "ok"), "{sheet}");

    let mut running = online(&home).await;
    let (sheet, err) = ask(&home, &["--pay", "nwc"], Some(&fake.spending_uri())).await;
    assert_eq!(sheet["ok"], true, "{sheet} {err}");
    let paid = sheet["amount_msat"].as_u64().unwrap();
    assert_eq!(
        (sheet["paid_msat"].as_u64(), sheet["fee_msat"].as_u64()),
        (Some(paid), Some(3_000))
    );
    let id = sheet["id"].clone();
    running
        .until(|event| event["event"] == "paid" && event["id"] == id)
        .await;
    let job = home.jobs().await.remove(0);
    assert_eq!(
        (&job["status"], job["paid_msat"].as_u64()),
        (&Value::from("paid"), Some(paid))
    );
    let preimage = sheet["preimage"].as_str().unwrap().to_owned();
    let hash: PaymentHash = job["payment_hash"].as_str().unwrap().parse().unwrap();
    assert!(Preimage(preimage.parse::<Hex32>().unwrap()).opens(&hash));

    // What only the payer and the wallets may know is nowhere in the shop's files.
    let (mut files, data) = (String::new(), home.data());
    everything(&data, &mut files);
    let spending = fake.spending_uri();
    for secret in [fake.secret().as_str(), spending.as_str(), &preimage] {
        assert!(!files.contains(secret) && !err.contains(secret));
    }
    running.child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_the_buyer_pays_is_not_paid_and_a_wallet_that_may_not_spend_says_so() {
    let fake = FakeNwc::start();
    let home = open_home(&fake);
    let text = fs::read_to_string(home.config()).unwrap();
    fs::write(
        home.config(),
        format!("{text}[price]\nmin_price_sats = 1001\n"),
    )
    .unwrap();
    let mut running = online(&home).await;
    let (sheet, err) = ask(&home, &["--pay", "nwc"], Some(&fake.spending_uri())).await;
    assert_eq!(
        (&sheet["ok"], &sheet["preimage"]),
        (&Value::from(false), &Value::Null),
        "{sheet}"
    );
    assert!(err.contains("--bid"), "{err}");
    assert_eq!(sheet["paid_msat"], 0);
    let (sheet, err) = ask(&home, &["--pay", "nwc", "--bid", "2000"], Some(&fake.uri())).await;
    assert_eq!(
        (&sheet["ok"], &sheet["paid_msat"]),
        (&Value::from(false), &Value::from(0)),
        "{sheet}"
    );
    assert!(err.contains("RESTRICTED"), "{err}");
    let err = ask_badly(&home).await;
    assert!(
        err.contains("connection string") && !err.contains("hunter2"),
        "{err}"
    );
    running.child.kill().await.unwrap();
}

async fn ask_badly(home: &Home) -> String {
    let out = vend(
        home,
        &["request", "hello", "--pay", "nwc"],
        Some("nostr+walletconnect://hunter2"),
    )
    .await;
    assert_eq!(out.status.code(), Some(1));
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_names_the_setting_that_mends_a_connection() {
    let fake = FakeNwc::start();
    let home = open_home(&fake);
    fake.set_fault(Fault::Code("UNAUTHORIZED"));
    let doctor = vend(&home, &["doctor", "--json"], None).await;
    assert_eq!(doctor.status.code(), Some(1));
    let sheet: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let rows = sheet["checks"].as_array().unwrap();
    let row = rows.iter().find(|row| row["check"] == "wallet").unwrap();
    assert_eq!(row["status"], "fail", "{row}");
    assert!(
        row["fix"]
            .as_str()
            .unwrap()
            .starts_with("vend config set wallet.uri"),
        "{row}"
    );
    assert!(!row.to_string().contains(&fake.secret()), "{row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_made_while_the_shop_was_dead_is_found() {
    let fake = FakeNwc::start();
    let home = open_home(&fake);
    let mut running = online(&home).await;
    let (sheet, err) = ask(&home, &[], None).await;
    assert_eq!(sheet["ok"], true, "{sheet} {err}");
    running.child.kill().await.unwrap();
    fake.pay(sheet["bolt11"].as_str().unwrap()).unwrap();
    let mut running = home.run(None);
    let id = sheet["id"].clone();
    running
        .until(|event| event["event"] == "paid" && event["id"] == id)
        .await;
    let jobs = home.jobs().await;
    assert_eq!((jobs.len(), &jobs[0]["status"]), (1, &Value::from("paid")));
    running.child.kill().await.unwrap();
}
