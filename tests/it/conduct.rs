//! What the shop says of itself, and how it ends: no secret and no stranger's control character anywhere, a drain on SIGTERM.

use crate::support::fake_ollama;
use crate::support::fake_wallet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::fake_relay::FakeRelay;
use crate::support::fake_wallet::FakeWallet;
use crate::support::shop::{Home, answers, bolt11};
use nostr::{EventBuilder, Keys, Kind, Tag, ToBech32};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use vend::domain::job::Encryption;
use vend::domain::text::is_hostile;

const LONGEST: Duration = Duration::from_secs(60);
/// What a stranger sends to steer a terminal: escape sequences, a waker, a C1 control, bidi.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}2J\u{202e}\u{2066}evil";
const PROMPT: &str = "marmalade-sandwich-prompt";

struct Shop {
    home: Home,
    relay: FakeRelay,
    wallet: FakeWallet,
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

/// The shop with everything logged, its standard output kept line by line.
async fn open(mode: &str) -> Shop {
    let home = Home::new();
    let relay = FakeRelay::start(None).await;
    let wallet = FakeWallet::start(&home.folder.path().join("wallet.jsonl"));
    let url = relay.url();
    home.configure(mode, url.as_str(), &wallet.url(), &wallet.invoice_key());
    let mut child = command(&home)
        .args(["--log", "trace", "run", "--events"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap()).lines();
    let (tell, lines) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(line)) = reader.next_line().await {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    let mut shop = Shop {
        home,
        relay,
        wallet,
        child,
        lines,
    };
    shop.until(|event| event["event"] == "state" && event["state"] == "online")
        .await;
    shop
}

fn command(home: &Home) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
    command.arg("--data-dir").arg(home.data());
    command.arg("--config").arg(home.config());
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Shop {
    /// Reads events until one fits; gives every line that was read.
    async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> String {
        let mut all = String::new();
        let reading = async {
            while let Some(line) = self.lines.recv().await {
                let event: Value = serde_json::from_str(&line).unwrap();
                all.push_str(&line);
                all.push('\n');
                if fits(&event) {
                    return;
                }
            }
            panic!("the shop ended");
        };
        tokio::time::timeout(LONGEST, reading).await.unwrap();
        all
    }

    fn term(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    }

    /// What the shop said until its end, on standard output and standard error.
    async fn ended(&mut self) -> String {
        let ended = tokio::time::timeout(LONGEST, self.child.wait());
        assert!(ended.await.unwrap().unwrap().success());
        let mut all = String::new();
        while let Some(line) = self.lines.recv().await {
            all.push_str(&line);
            all.push('\n');
        }
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().unwrap();
        pipe.read_to_string(&mut stderr).await.unwrap();
        all + &stderr
    }
}

fn logs(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).unwrap();
    files
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect()
}

/// Everything a stranger can make the shop repeat: models, tags, content, a relay's and a wallet's words.
fn strangers(shop: &Shop, buyer: &Keys) {
    let to = |tags: Vec<Vec<String>>| {
        let mut all = vec![Tag::public_key(shop.home.seller.public_key())];
        all.extend(tags.into_iter().map(|tag| Tag::parse(tag).unwrap()));
        all
    };
    let word = |text: &str| text.to_owned();
    for tags in [
        vec![
            vec![word("i"), word(HOSTILE), word("text")],
            vec![word("param"), word("model"), word(HOSTILE)],
        ],
        vec![vec![word("i"), word(HOSTILE), word(HOSTILE)]],
        vec![
            vec![word("i"), word("x"), word("text")],
            vec![word("param"), word("temperature"), word(HOSTILE)],
        ],
        vec![vec![word("encrypted")]],
    ] {
        let event = EventBuilder::new(Kind::from_u16(5050), HOSTILE)
            .tags(to(tags))
            .sign_with_keys(buyer)
            .unwrap();
        shop.relay.inject(&event);
    }
    shop.relay
        .inject_raw(&serde_json::json!(["NOTICE", HOSTILE]).to_string());
    shop.relay.inject_raw(&format!("[\"OK\",\"{HOSTILE}\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_and_no_control_character_in_anything_it_says() {
    let mut shop = open("after").await;
    let buyer = Keys::generate();
    strangers(&shop, &buyer);
    let request = shop
        .home
        .request(&buyer, Encryption::Nip44, &format!("{PROMPT} {HOSTILE}"));
    shop.relay.inject(&request);
    let id = request.id.to_hex();
    let result = shop.relay.wait_for(
        |event| event.kind == Kind::from_u16(6050) && answers(event).as_deref() == Some(&id),
        LONGEST,
    );
    let invoice = bolt11(&result.await.expect("a result")).expect("an invoice");
    shop.wallet.pay(&invoice).unwrap();
    let mut said = shop
        .until(|event| event["event"] == "paid" && event["id"] == id.as_str())
        .await;

    // A server that repeats the caller's key and paints the terminal, as the doctor meets it.
    shop.wallet.set_fault(fake_wallet::Fault::ServerError);
    for args in [
        &["status", "--json"][..],
        &["doctor", "--json"],
        &["jobs", "--json"],
        &["stats", "--json"],
        &["jobs"],
        &["stats"],
        &["status"],
        &["doctor"],
        &["config", "show"],
        &["keys", "show"],
        &["receipts", "--format", "csv"],
    ] {
        let out = command(&shop.home).args(args).output().await.unwrap();
        said.push_str(&String::from_utf8_lossy(&out.stdout));
        said.push_str(&String::from_utf8_lossy(&out.stderr));
    }
    let pid = shop.child.id().unwrap();
    for file in ["cmdline", "environ"] {
        // Closed to everybody but root, which is better still.
        let Ok(bytes) = std::fs::read(format!("/proc/{pid}/{file}")) else {
            assert_eq!(file, "environ");
            continue;
        };
        said.push_str(&String::from_utf8_lossy(&bytes).replace('\0', "\n"));
    }
    shop.term();
    said.push_str(&shop.ended().await);
    let logs = logs(&shop.home.data().join("logs"));
    assert!(logs.lines().count() > 10, "the log was read: {logs}");
    for line in logs.lines() {
        let line: Value = serde_json::from_str(line).expect("a JSON line");
        for key in [
            "at", "level", "category", "action", "label", "value", "context",
        ] {
            assert!(line.get(key).is_some(), "{key} in {line}");
        }
    }
    said.push_str(&logs);

    let secret = shop.home.seller.secret_key();
    for (what, secret) in [
        ("the identity", secret.to_secret_hex()),
        ("the identity as nsec", secret.to_bech32().unwrap()),
        ("the wallet's key", shop.wallet.invoice_key()),
        ("a prompt", PROMPT.to_owned()),
    ] {
        let at = said.find(&secret);
        let around = at.map(|at| said[..at].lines().last().unwrap_or_default().to_owned());
        assert!(at.is_none(), "{what} was told after: {around:?}");
    }
    let raw = said.chars().find(|c| *c != '\n' && is_hostile(*c));
    assert!(raw.is_none(), "{raw:?} was told raw");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_to_end_lets_the_running_job_finish_and_takes_no_other() {
    let mut shop = open("after").await;
    let buyer = Keys::generate();
    let request = shop.home.request(&buyer, Encryption::Plain, PROMPT);
    shop.relay.inject(&request);
    let id = request.id.to_hex();
    shop.until(|event| event["event"] == "job" && event["job"]["id"] == id.as_str())
        .await;
    shop.term();
    shop.ended().await;
    let jobs = shop.home.jobs().await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0]["status"], "pending_payment", "{}", jobs[0]);
    let result =
        shop.relay.events().into_iter().find(|event| {
            event.kind == Kind::from_u16(6050) && answers(event).as_deref() == Some(&id)
        });
    assert!(result.is_some(), "its result is on the relay");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_word_to_end_leaves_the_running_job_for_the_next_start() {
    let home = Home::new();
    let relay = FakeRelay::start(None).await;
    let model = fake_ollama::FakeOllama::start().await;
    let endpoint = format!("kind = \"ollama\"\nurl = \"{}\"\n", model.url());
    home.configure_with(
        "after",
        relay.url().as_str(),
        "backend = \"sandbox\"\n",
        "gemma2:latest",
        &endpoint,
    );
    let mut run = home.run(None);
    run.until(|event| event["event"] == "state" && event["state"] == "online")
        .await;
    model.set(fake_ollama::Fault::StallsMidStream);
    relay.inject(&home.request(&Keys::generate(), Encryption::Plain, PROMPT));
    run.until(|event| event["event"] == "job" && event["job"]["status"] == "processing")
        .await;
    let pid = Pid::from_raw(i32::try_from(run.child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    run.until(|event| event["event"] == "state" && event["state"] == "draining")
        .await;
    kill_process(pid, Signal::TERM).unwrap();
    let ended = tokio::time::timeout(LONGEST, run.child.wait()).await;
    assert!(ended.unwrap().unwrap().success());
    let jobs = home.jobs().await;
    assert_eq!(jobs.len(), 1);
    assert!(
        jobs[0]["status"] != "cancelled" && jobs[0]["error"].is_null(),
        "{}",
        jobs[0]
    );
}

#[tokio::test]
async fn a_ledger_of_a_newer_vend_is_refused_and_left_as_it_is() {
    let home = Home::new();
    std::fs::write(
        home.config(),
        "[wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n",
    )
    .unwrap();
    let file = home.data().join("vend.db");
    let made = rusqlite::Connection::open(&file).unwrap();
    made.execute_batch(
        "CREATE TABLE future (x); INSERT INTO future VALUES (7); PRAGMA user_version = 999;",
    )
    .unwrap();
    drop(made);
    let out = command(&home).arg("run").output().await.unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(
        said.contains("newer vend") && said.lines().count() == 1,
        "{said}"
    );
    let made = rusqlite::Connection::open(&file).unwrap();
    let kept: (i64, i64) = made
        .query_row(
            "SELECT x, (SELECT count(*) FROM sqlite_schema) FROM future",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!(kept, (7, 1));
}
