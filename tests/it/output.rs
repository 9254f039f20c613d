//! What the commands write: nothing in it steers a terminal, and a reader that goes away is no trouble.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::fake_ollama::FakeOllama;
use crate::support::fake_relay::{FakeRelay, Fault};
use crate::support::fake_wallet::FakeWallet;
use crate::support::shop::{Home, Running, answers, bolt11};
use nostr::{Event, EventBuilder, Keys, Kind, Tag};
use serde_json::{Value, json};
use vend::domain::job::Encryption;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

const LONGEST: Duration = Duration::from_secs(120);

/// What strangers write: each steers, hides, reorders or piles up.
const HOSTILE: [&str; 40] = [
    "\u{1b}[31mred",
    "\u{1b}]0;title\u{7}",
    "\u{1b}]52;c;aGk=\u{1b}\\",
    "\u{1b}P+q544e\u{1b}\\",
    "\u{1b}_Ga=T\u{1b}\\",
    "\u{1b}c",
    "\u{1b}[2J\u{1b}[H",
    "\u{1b}[?1049h",
    "\u{9b}2J",
    "\u{9d}0;x\u{9c}",
    "\u{90}x\u{9c}",
    "\u{85}next",
    "a\u{8}b",
    "a\rb",
    "\u{7}bell",
    "\u{0}nul",
    "\u{7f}del",
    "\u{e}shift out",
    "\u{202e}evil",
    "\u{202d}x\u{202c}",
    "\u{2066}x\u{2069}",
    "\u{2067}x",
    "\u{200f}x\u{200e}",
    "\u{61c}x",
    "zero\u{200b}width",
    "jo\u{200d}in",
    "jo\u{200c}in",
    "\u{feff}bom",
    "so\u{ad}ft",
    "fill\u{115f}er",
    "fill\u{1160}er",
    "fill\u{3164}er",
    "fill\u{ffa0}er",
    "line\u{2028}sep\u{2029}",
    "\u{2060}\u{2063}\u{206a}x",
    "\u{fff9}a\u{fffa}b\u{fffb}",
    "\u{e0041}\u{e007f}tag",
    "vowel\u{17b4}\u{180e}\u{34f}",
    "z\u{300}\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}\u{307}\u{308}\u{309}\u{30a}\u{30b}algo",
    "dots\u{2800}\u{fe0f}\u{1d173}",
];

/// Is there a character that must not reach a terminal raw? Told apart here by the ranges of Unicode, not by the program's own
/// rule.
fn raw(text: &str) -> Option<char> {
    let mut marks = 0;
    text.chars().find(|c| {
        let code = u32::from(*c);
        marks = if (0x300..=0x36f).contains(&code) { marks + 1 } else { 0 };
        let control = (code < 0x20 && code != 0x0a) || (0x7f..=0x9f).contains(&code);
        let hidden = matches!(code, 0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180e
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x2800 | 0x3164 | 0xfe00..=0xfe0f
            | 0xfeff | 0xffa0 | 0xfff9..=0xfffb | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff);
        control || hidden || marks > 8
    })
}

fn vend(home: &Home, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
    command.arg("--data-dir").arg(home.data());
    command.arg("--config").arg(home.config());
    command.args(args).stdin(Stdio::null());
    command
}

fn said(home: &Home, args: &[&str]) -> String {
    let out = vend(home, args).output().unwrap();
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    let errors = String::from_utf8(out.stderr).expect("UTF-8");
    for (what, text) in [("stdout", &text), ("stderr", &errors)] {
        let found = raw(text);
        assert!(found.is_none(), "{found:?} raw on {what} of {args:?}");
    }
    text
}

fn said_json(home: &Home, args: &[&str]) -> Value {
    let text = said(home, args);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}: {text}"))
}

/// Reads the lines of `vend run --events` until one fits. Each is JSON that steers nothing.
async fn until(run: &mut Running, fits: impl Fn(&Value) -> bool) -> Value {
    let reading = async {
        while let Some(line) = run.lines.next_line().await.unwrap() {
            assert!(raw(&line).is_none(), "{:?} raw in {line}", raw(&line));
            let event: Value = serde_json::from_str(&line).unwrap();
            if fits(&event) {
                return event;
            }
        }
        panic!("the shop ended");
    };
    tokio::time::timeout(LONGEST, reading).await.unwrap()
}

fn is_open(event: &Value) -> bool {
    event["event"] == "state" && (event["state"] == "online" || event["state"] == "degraded")
}

/// Logs are the owner's alone, and as clean as what is printed.
fn judge_logs(home: &Home) {
    for file in std::fs::read_dir(home.data().join("logs")).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.path().display());
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(raw(&text).is_none(), "{:?} raw in the log", raw(&text));
    }
}

/// Every command that prints what is known of jobs, buyers and the world outside, as text and as JSON.
fn everything(home: &Home) {
    for args in [
        &["status"][..],
        &["jobs"],
        &["jobs", "--filter", "say"],
        &["stats"],
        &["buyers"],
        &["purchases"],
        &["receipts", "--format", "csv"],
        &["recover"],
        &["audit"],
        &["queue"],
        &["queue", "up", "\u{202e}00000000"],
        &["market"],
        &["price", "\u{9b}2J\u{202e}hello"],
        &["doctor"],
        &["config", "show"],
        &["keys", "show"],
        &["config", "get", "text.model\u{1b}[31m"],
        &["jobs", "show", "\u{202e}00000000"],
        &["recover", "\u{9b}2J00000000"],
        &["buyers", "block", "\u{202e}npub"],
    ] {
        said(home, args);
    }
    for args in [
        &["status", "--json"][..],
        &["jobs", "--json"],
        &["stats", "--json"],
        &["buyers", "--json"],
        &["purchases", "--json"],
        &["receipts", "--format", "json"],
        &["recover", "--json"],
        &["audit", "--json"],
        &["queue", "--json"],
        &["market", "--json"],
        &["price", "\u{9b}2J\u{202e}hello", "--json"],
        &["doctor", "--json"],
    ] {
        said_json(home, args);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stranger_steers_a_terminal_through_any_command() {
    let home = Home::new();
    let relay = FakeRelay::start(None).await;
    let model = FakeOllama::start().await;
    model.set_answer(&HOSTILE.concat());
    let endpoint = format!("kind = \"ollama\"\nurl = \"{}\"\n", model.url());
    let url = relay.url();
    let wallet = "backend = \"sandbox\"\n";
    home.configure_with("after", url.as_str(), wallet, "gemma2:latest", &endpoint);
    let mut run = home.run(None);
    until(&mut run, is_open).await;
    let buyer = Keys::generate();
    // Some in each request: `vend audit` asks the wallet about five jobs a second.
    let texts: Vec<String> = HOSTILE.chunks(5).map(<[&str]>::concat).collect();
    let mut ids = Vec::new();
    for text in &texts {
        let request = home.request(&buyer, Encryption::Plain, &format!("say {text} twice"));
        ids.push(request.id.to_hex());
        relay.inject(&request);
    }
    for _ in &ids {
        until(&mut run, |event| {
            event["event"] == "job" && event["job"]["status"] == "pending_payment"
        })
        .await;
    }
    everything(&home);
    for (id, text) in ids.iter().zip(&texts) {
        said(&home, &["jobs", "show", id]);
        // The beginning of an id is enough, and JSON says the same as before it was escaped.
        let job = said_json(&home, &["jobs", "show", &id[..12], "--json"]);
        assert_eq!(job["id"], id.as_str());
        assert_eq!(job["prompt"], format!("say {text} twice"));
    }
    judge_logs(&home);
    if cfg!(target_os = "linux") {
        let pid = run.child.id().unwrap();
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core"))
            .unwrap();
        let numbers: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
        assert_eq!(numbers, ["0", "0"], "{core}");
    }
}

/// A model server whose every word is hostile: the names of its models, and the error in the middle of each answer.
async fn hostile_server() -> MockServer {
    let (server, words) = (MockServer::start().await, HOSTILE.concat());
    let mut models: Vec<Value> = HOSTILE.iter().map(|name| json!({ "id": name })).collect();
    models.push(json!({ "id": "m" }));
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "data": models })))
        .mount(&server)
        .await;
    let error = json!({ "error": { "message": words, "type": words, "code": words } });
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(500).set_body_json(error))
        .mount(&server)
        .await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_relay_wallet_or_server_steers_a_terminal_either() {
    let (home, words) = (Home::new(), HOSTILE.concat());
    let (relay, foe) = (FakeRelay::start(None).await, FakeRelay::start(None).await);
    foe.set(Fault::Refuse(format!("blocked: {words}")));
    let wallet = FakeWallet::start(&home.folder.path().join("wallet.jsonl"));
    wallet.rename(&words);
    let server = hostile_server().await;
    let relays = format!("{}\", \"{}", relay.url(), foe.url());
    let backend = format!(
        "backend = \"lnbits\"\nurl = \"{}\"\ninvoice_key = \"{}\"\n",
        wallet.url(),
        wallet.invoice_key()
    );
    let endpoint = format!("kind = \"openai\"\nurl = \"{}\"\n", server.uri());
    home.configure_with("before", &relays, &backend, "m", &endpoint);
    let mut run = home.run(None);
    until(&mut run, is_open).await;
    for text in ["NOTICE", "CLOSED", "OK", "AUTH", "nonsense"] {
        foe.inject_raw(&json!([text, words, false, words]).to_string());
    }
    foe.inject_raw(&words);
    // Paid, and then every run fails: a case of the recovery desk.
    let request = home.request(
        &Keys::generate(),
        Encryption::Plain,
        &format!("say {words}"),
    );
    let id = request.id.to_hex();
    relay.inject(&request);
    let asks = |event: &Event| answers(event).as_deref() == Some(&id) && bolt11(event).is_some();
    let asked = relay.wait_for(asks, LONGEST).await.expect("an invoice");
    wallet.pay(&bolt11(&asked).unwrap()).unwrap();
    let failed = until(&mut run, |event| {
        event["event"] == "job" && event["job"]["id"] == *id && event["job"]["status"] == "error"
    })
    .await;
    assert_ne!(failed["job"]["owed_to_buyer_msat"], 0, "{failed}");
    everything(&home);
    said(&home, &["jobs", "show", &id]);
    said_json(&home, &["jobs", "show", &id, "--json"]);
    said(&home, &["recover", &id]);
    assert_eq!(said_json(&home, &["recover", &id, "--json"])["id"], *id);
    judge_logs(&home);
}

/// Sellers who write hostile words wherever a seller can: one answers, and one refuses.
async fn hostile_sellers(relay: FakeRelay, answering: Keys, refusing: Keys) {
    let words = HOSTILE.concat();
    for keys in [&answering, &refusing] {
        let model = format!("m {words}");
        let content = json!({
            "name": words, "about": words, "encryptionSupported": true,
            "nip90Params": { "model": { "values": [model, words] } },
            "pricing": { model: { "min_msat": 1_000, "input_msat_per_1k": 0, "output_msat_per_1k": 0 } },
        });
        let tags = [["d", "x"], ["k", "5050"]].map(|parts| Tag::parse(parts).unwrap());
        let event = EventBuilder::new(Kind::from_u16(31_990), content.to_string()).tags(tags);
        relay.inject(&event.sign_with_keys(keys).unwrap());
    }
    let mut seen = HashSet::new();
    loop {
        let asked = |event: &Event| event.kind == Kind::from_u16(5050) && !seen.contains(&event.id);
        let Some(request) = relay.wait_for(asked, LONGEST * 5).await else {
            return;
        };
        seen.insert(request.id);
        let (id, buyer) = (request.id.to_hex(), request.pubkey.to_hex());
        let refuses = request
            .tags
            .public_keys()
            .any(|key| *key == refusing.public_key());
        let keys = if refuses { &refusing } else { &answering };
        let say = |kind: u16, tag: &[&str]| {
            let tags = [&["e", id.as_str()][..], &["p", buyer.as_str()], tag];
            let tags = tags.map(|parts| Tag::parse(parts.iter().copied()).unwrap());
            let event = EventBuilder::new(Kind::from_u16(kind), words.as_str()).tags(tags);
            relay.inject(&event.sign_with_keys(keys).unwrap());
        };
        say(7000, &["status", "processing", &words]);
        say(7000, &["status", "partial", &words]);
        if refuses {
            say(7000, &["status", "error", &words]);
        } else {
            say(6050, &["model", &words]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_seller_steers_a_buyers_terminal() {
    let (home, relay) = (Home::new(), FakeRelay::start(None).await);
    let wallet = "backend = \"sandbox\"\n";
    let url = relay.url().to_string();
    home.configure_with("after", &url, wallet, "vend-tiny", "kind = \"builtin\"\n");
    let (answering, refusing) = (Keys::generate(), Keys::generate());
    let (one, other) = (
        answering.public_key().to_hex(),
        refusing.public_key().to_hex(),
    );
    let sellers = tokio::spawn(hostile_sellers(relay.clone(), answering, refusing));
    for more in [
        &["--to", &one][..],
        &["--to", &one, "--stream"],
        &["--to", &one, "--json"],
        &["--to", &one, "--pay", "sandbox"],
        &["--to", &other],
        &["--to", &other, "--json"],
        &["--to", &other, "--pay", "sandbox"],
    ] {
        // An argument holds no NUL.
        let prompt = format!("say {}", HOSTILE.concat().replace('\0', ""));
        let args = [&["request", &prompt][..], more].concat();
        let text = said(&home, &args);
        assert!(!text.is_empty(), "{more:?}");
        if more.contains(&"--json") {
            let sheet: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(sheet["ok"], more[1] == one, "{more:?}: {sheet}");
        }
    }
    let bought = said_json(&home, &["purchases", "--json"]);
    assert_eq!(bought.as_array().map(Vec::len), Some(2), "{bought}");
    said(&home, &["purchases"]);
    said(&home, &["purchases", "--check", "--timeout", "1"]);
    said(&home, &["gateway", "sellers", "--timeout", "2"]);
    let known = said_json(&home, &["gateway", "sellers", "--timeout", "2", "--json"]);
    assert_eq!(known.as_array().map(Vec::len), Some(2), "{known}");
    sellers.abort();
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let home = Home::new();
    std::fs::write(
        home.config(),
        "[wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n",
    )
    .unwrap();
    for args in [
        &["--help"][..],
        &["jobs"],
        &["jobs", "--json"],
        &["stats"],
        &["stats", "--json"],
        &["receipts", "--format", "csv"],
        &["receipts", "--format", "json"],
        &["recover"],
        &["config", "show"],
        &["config", "path"],
        &["keys", "show"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["man"],
        &["man", "config"],
        &["doctor"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = vend(&home, args);
        command.stdout(writer).stderr(Stdio::piped());
        let out = command.spawn().unwrap().wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&out.stderr);
        assert_eq!(errors, "", "{args:?}");
        assert!(
            matches!(out.status.code(), Some(0 | 141)),
            "{args:?}: {:?}",
            out.status
        );
    }
}

#[test]
fn the_ledger_sorts_beside_itself_and_not_in_a_folder_of_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vend.db");
    drop(vend::ledger::Ledger::open(&path).unwrap());
    // SQLite has one such place for all connections of a process: here the folder of whichever test opened a ledger last.
    let place: String = rusqlite::Connection::open_in_memory()
        .unwrap()
        .pragma_query_value(None, "temp_store_directory", |row| row.get(0))
        .unwrap();
    assert_ne!(place, "");
    assert_ne!(std::path::Path::new(&place), std::env::temp_dir());
}
