//! From nothing to a shop that the doctor finds well, by the README's own lines, in a folder that is not the settings'.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::fake_ollama::FakeOllama;
use crate::support::fake_relay::FakeRelay;
use crate::support::fake_wallet::FakeWallet;
use lightning_invoice::Currency;

/// A person's machine: a home, and the folder in which they happen to be.
struct Person {
    home: tempfile::TempDir,
    stands: PathBuf,
}

impl Person {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let stands = home.path().join("src/vend");
        std::fs::create_dir_all(&stands).unwrap();
        Self { home, stands }
    }

    fn types(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vend"))
            .args(args)
            .current_dir(&self.stands)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may have ended.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What a command that works prints.
    fn does(&self, args: &[&str], input: &str) -> String {
        let out = self.types(args, input);
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{args:?}: {errors}");
        String::from_utf8(out.stdout).unwrap() + &errors
    }

    fn config(&self) -> PathBuf {
        self.home.path().join(".config/vend/config.toml")
    }

    fn doctor(&self) -> (bool, Vec<serde_json::Value>) {
        let out = self.types(&["doctor", "--json"], "");
        let sheet: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let ok = sheet["ok"].as_bool().unwrap();
        assert_eq!(out.status.success(), ok);
        (ok, sheet["checks"].as_array().unwrap().clone())
    }
}

/// The lines of `vend …` in the README's "Go live", as they stand.
fn lines() -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (_, live) = text.split_once("## Go live").unwrap();
    let (live, _) = live.split_once("\n## ").unwrap();
    live.lines()
        .map(str::trim)
        .filter_map(|line| line.strip_prefix("vend "))
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_lnbits_step_works_as_it_stands_wherever_one_stands() {
    let person = Person::new();
    let relay = FakeRelay::start(None).await;
    let model = FakeOllama::start().await;
    let record = person.home.path().join("lnbits.jsonl");
    let lnbits = FakeWallet::start_on(&record, Currency::Bitcoin);
    let lines = lines();
    let is = |words: &[&str]| {
        let found = lines.iter().find(|line| {
            line.starts_with(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
        });
        found
            .unwrap_or_else(|| panic!("the README says {words:?}"))
            .clone()
    };
    let keys = is(&["keys", "generate"]);
    person.does(&keys.iter().map(String::as_str).collect::<Vec<_>>(), "");

    // The one line, with the server of this test in the place of the one on port 5000.
    let set = is(&["config", "set", "wallet.backend", "lnbits"]);
    assert!(set.contains(&"http://127.0.0.1:5000".to_owned()), "{set:?}");
    let url = lnbits.url();
    let set: Vec<&str> = set
        .iter()
        .map(|word| {
            if word == "http://127.0.0.1:5000" {
                url.as_str()
            } else {
                word
            }
        })
        .collect();
    let said = person.does(&set, &format!("{}\n", lnbits.invoice_key()));
    assert!(said.contains("wallet.invoice_key is set"), "{said}");
    assert!(!said.contains(&lnbits.invoice_key()), "{said}");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(person.config()).unwrap());
    assert_eq!(mode & 0o777, 0o600, "it holds the key");

    // Nothing of a test goes to a public relay.
    let relays = relay.url().to_string();
    person.does(
        &[
            "config",
            "set",
            "nostr.relays",
            &relays,
            "endpoint.local.url",
            &model.url(),
        ],
        "",
    );
    let (ok, rows) = person.doctor();
    assert!(ok, "{rows:#?}");
    assert_eq!(
        person.does(&["config", "check"], "").trim(),
        "the settings are valid"
    );
}

#[test]
fn a_key_file_that_nobody_made_is_named_with_what_makes_it() {
    let person = Person::new();
    let args = [
        "config",
        "set",
        "wallet.backend",
        "lnbits",
        "wallet.url",
        "http://127.0.0.1:9",
        "wallet.invoice_key",
        "{ file = \"lnbits.key\" }",
        "nostr.relays",
        "ws://127.0.0.1:9",
        "endpoint.local.url",
        "http://127.0.0.1:9",
    ];
    let place = person.home.path().join(".config/vend/lnbits.key");
    let place = place.to_string_lossy();
    let said = person.does(&args, "");
    assert!(said.contains(&*place), "{said}");
    let out = person.types(&["config", "check"], "");
    let words = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(3), "{words}");
    assert!(
        words.contains(&*place) && words.contains("vend config set wallet.invoice_key -"),
        "{words}"
    );
    assert!(words.contains("config.toml:"), "{words}");
    let (_, rows) = person.doctor();
    let row = rows.iter().find(|row| row["check"] == "wallet").unwrap();
    let fix = row["fix"].as_str().unwrap();
    assert!(
        fix.contains(&*place) && fix.contains("vend config set wallet.invoice_key"),
        "{fix}"
    );

    // It is there, but where the person stands.
    let here = person.stands.join("lnbits.key");
    std::fs::write(&here, "0123456789abcdef\n").unwrap();
    person.does(
        &[
            "config",
            "set",
            "wallet.invoice_key",
            "{ file = \"lnbits.key\" }",
        ],
        "",
    );
    let text = std::fs::read_to_string(person.config()).unwrap();
    assert!(text.contains(&*here.to_string_lossy()), "{text}");
}
