//! What the commands write: nothing in it steers a terminal, and a reader that goes away is no trouble.

#[path = "support/drill_ollama.rs"]
mod drill_ollama;
#[path = "support/drill_relay.rs"]
mod drill_relay;
#[path = "support/shop.rs"]
mod shop;

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use drill_ollama::DrillOllama;
use drill_relay::DrillRelay;
use nostr::Keys;
use serde_json::Value;
use shop::Home;
use vend::domain::job::Encryption;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stranger_steers_a_terminal_through_any_command() {
    let home = Home::new();
    let relay = DrillRelay::start(None).await;
    let model = DrillOllama::start().await;
    model.set_answer(&HOSTILE.concat());
    let endpoint = format!("kind = \"ollama\"\nurl = \"{}\"\n", model.url());
    let url = relay.url();
    let wallet = "backend = \"sandbox\"\n";
    home.configure_with("after", url.as_str(), wallet, "gemma2:latest", &endpoint);
    let mut run = home.run(None);
    run.until(|event| event["event"] == "state" && event["state"] == "online")
        .await;
    let buyer = Keys::generate();
    let mut ids = Vec::new();
    for text in HOSTILE {
        let request = home.request(&buyer, Encryption::Plain, &format!("say {text} twice"));
        ids.push(request.id.to_hex());
        relay.inject(&request);
    }
    for _ in &ids {
        run.until(|event| event["event"] == "job" && event["job"]["status"] == "pending_payment")
            .await;
    }
    for args in [
        &["status"][..],
        &["jobs"],
        &["jobs", "--filter", "say"],
        &["stats"],
        &["receipts", "--format", "csv"],
        &["recover"],
        &["audit"],
        &["doctor"],
        &["config", "show"],
        &["keys", "show"],
        &["config", "get", "text.model\u{1b}[31m"],
        &["jobs", "show", "\u{202e}00000000"],
    ] {
        said(&home, args);
    }
    for args in [
        &["status", "--json"][..],
        &["jobs", "--json"],
        &["stats", "--json"],
        &["receipts", "--format", "json"],
        &["recover", "--json"],
        &["audit", "--json"],
        &["doctor", "--json"],
    ] {
        let text = said(&home, args);
        let _: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}"));
    }
    for (id, text) in ids.iter().zip(HOSTILE) {
        said(&home, &["jobs", "show", id]);
        // The beginning of an id is enough, and JSON says the same as before it was escaped.
        let shown = said(&home, &["jobs", "show", &id[..12], "--json"]);
        let job: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(job["id"], id.as_str());
        assert_eq!(job["prompt"], format!("say {text} twice"));
    }
    let logs = std::fs::read_dir(home.data().join("logs")).unwrap();
    for file in logs {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(raw(&text).is_none(), "{:?}", raw(&text));
    }
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
    // SQLite has one such place for all connections of a process.
    let place: String = rusqlite::Connection::open_in_memory()
        .unwrap()
        .pragma_query_value(None, "temp_store_directory", |row| row.get(0))
        .unwrap();
    assert_eq!(std::path::Path::new(&place), dir.path());
}
