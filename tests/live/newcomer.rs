//! From nothing to a paid job by the README's own lines: a fresh home, a real Ollama, a real relay, and `LNbits`. Only addresses
//! differ, and the model that is there to be had.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::stage::{Lnbits, Process, Server, lines, ready, until};
use crate::{ANSWER, QUESTION};

/// A person's machine: a home, and the folder in which they happen to be.
struct Person {
    home: tempfile::TempDir,
    stands: PathBuf,
}

impl Person {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let stands = home.path().join("somewhere/else");
        std::fs::create_dir_all(&stands).unwrap();
        Self { home, stands }
    }

    fn vend<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
        command.args(args).current_dir(&self.stands).env_clear();
        command
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin");
        command
    }

    /// What a command that works prints.
    fn does<S: AsRef<std::ffi::OsStr>>(&self, args: &[S], input: &str) -> String {
        let mut child = self
            .vend(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may have ended.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let out = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&out.stderr);
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success(), "{errors}{text}");
        text
    }
}

/// The README's line that begins so, in words.
fn line(begins: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(page).unwrap();
    let mut all = text.lines().map(str::trim);
    let found = all.find(|line| line.starts_with(begins));
    let found = found.unwrap_or_else(|| panic!("the README says {begins:?}"));
    found
        .split_whitespace()
        .skip(1)
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_newcomer_comes_from_nothing_to_a_paid_job() {
    if !ready(
        "a_newcomer_comes_from_nothing_to_a_paid_job",
        &["relay", "ollama", "lnbits"],
    ) {
        return;
    }
    let (relay, wallet) = (Server::start("relay", &[]), Server::start("lnbits", &[]));
    let model = Server::start("ollama", &[]).up();
    model.teach();
    let (relay, wallet) = (relay.up(), Lnbits::open(wallet));

    let seller = Person::new();
    seller.does(&line("vend keys generate"), "");
    let mut set = line("vend config set wallet.backend lnbits");
    let address = set.iter_mut().find(|word| word.starts_with("http://"));
    *address.unwrap() = wallet.as_str("url").to_owned();
    seller.does(&set, &format!("{}\n", wallet.as_str("seller_inkey")));
    let (url, server) = (relay.ws(), model.http());
    let more = [
        ["nostr.relays", &url],
        ["endpoint.local.url", &server],
        ["text.model", "vend-tiny"],
        ["text.temperature", "0"],
        ["text.frequency_penalty", "0"],
    ];
    seller.does(&[&["config", "set"][..], &more.concat()].concat(), "");
    let doctor: Value = serde_json::from_str(&seller.does(&["doctor", "--json"], "")).unwrap();
    assert_eq!(doctor["ok"], true, "{doctor}");
    let mut run = seller.vend(&["run", "--events"]);
    run.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut run = Process::start("vend run", &mut run);
    let events = lines(&mut run);
    until(&events, "online", |event| {
        event["event"] == "state" && event["state"] == "online"
    });
    let shown = seller.does(&["keys", "show"], "");
    let npub = shown
        .split_whitespace()
        .find(|word| word.starts_with("npub1"));

    // The buyer sees what is to pay, pays it with a wallet of their own, and has the answer.
    let buyer = Person::new();
    let asks = [
        "request",
        QUESTION,
        "--relay",
        &url,
        "--to",
        npub.unwrap(),
        "--wait",
    ];
    let mut asks = buyer.vend(&asks);
    asks.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut asks = asks.spawn().unwrap();
    let mut told = BufReader::new(asks.stdout.take().unwrap()).lines();
    let mut told = told.by_ref().map(Result::unwrap);
    let mut before: Vec<String> = Vec::new();
    let invoice = told.find(|line| {
        before.push(line.clone());
        line.starts_with("lnbc")
    });
    let paid = wallet.pay(&invoice.expect("an invoice"));
    let sats = format!("to pay: {} sats", paid / 1_000);
    assert!(before.iter().any(|line| line.contains(&sats)), "{before:?}");
    before.extend(told);
    assert!(asks.wait().unwrap().success(), "{before:?}");
    assert!(before.iter().any(|line| line == ANSWER), "{before:?}");
    let sold = until(&events, "the payment", |event| event["event"] == "paid");
    assert_eq!(sold["amount_msat"], paid, "{sold}");
    seller.does(&["stop"], "");
}
