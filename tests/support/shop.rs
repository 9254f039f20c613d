//! The real binary on a data directory of its own, with a relay and a wallet that outlive it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nostr::nips::{nip04, nip44};
use nostr::{Event, Keys};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use vend::domain::buyer::{self, Order};
use vend::domain::job::Encryption;
use vend::domain::time::Time;

/// Where one shop lives.
pub struct Home {
    pub folder: tempfile::TempDir,
    pub seller: Keys,
}

/// The shop's process.
pub struct Running {
    pub child: Child,
    pub lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Reads the shop's events until one fits, for a minute at most.
    pub async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let mut read = Vec::new();
        let reading = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                let event: Value = serde_json::from_str(&line).unwrap();
                if fits(&event) {
                    return Some(event);
                }
                read.push(line);
            }
            None
        };
        let longest = std::time::Duration::from_secs(60);
        let found = tokio::time::timeout(longest, reading).await;
        match found {
            Ok(Some(event)) => event,
            ended => panic!("not seen ({ended:?}) among:\n{}", read.join("\n")),
        }
    }
}

impl Home {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        let seller = Keys::generate();
        let identity = data.join("identity");
        fs::write(&identity, seller.secret_key().to_secret_hex()).unwrap();
        fs::set_permissions(&identity, fs::Permissions::from_mode(0o600)).unwrap();
        Self { folder, seller }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The built-in model, one relay, an LNbits-shaped wallet.
    pub fn configure(&self, mode: &str, relay: &str, wallet: &str, key: &str) {
        let wallet = format!("backend = \"lnbits\"\nurl = \"{wallet}\"\ninvoice_key = \"{key}\"\n");
        self.configure_with(mode, relay, &wallet, "vend-tiny", "kind = \"builtin\"\n");
    }

    /// One relay; the lines of `[wallet]` and `[[endpoint]]`, and the model.
    pub fn configure_with(
        &self,
        mode: &str,
        relay: &str,
        wallet: &str,
        model: &str,
        endpoint: &str,
    ) {
        let text = format!(
            "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n\
             [text]\nmodel = \"{model}\"\nmax_tokens = 16\n\
             [payment]\nmode = \"{mode}\"\ncredit_sats = 100000\nunpaid_sats_total = 1000000\n\
             [wallet]\nnetwork = \"regtest\"\n{wallet}\
             [[endpoint]]\nname = \"local\"\n{endpoint}slots = 2\n\
             [limits]\nper_buyer_per_minute = 100000\nper_minute = 100000\nqueue = 1000\nper_buyer_running = 4\n"
        );
        self.write_config(&text);
    }

    pub fn write_config(&self, text: &str) {
        let path = self.config();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    /// `vend` on this home.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
        command
            .arg("--data-dir")
            .arg(self.data())
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// The file by which a test moves the wall clock under the shop (feature `crash-points`).
    fn clock_file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// From now on the shop's wall clock is so many milliseconds ahead of the right one.
    pub fn set_clock(&self, ms: i64) {
        let draft = self.folder.path().join("clock.draft");
        fs::write(&draft, ms.to_string()).unwrap();
        fs::rename(draft, self.clock_file()).unwrap();
    }

    /// `vend run --events`, to die at a point where one is named.
    pub fn run(&self, crash_at: Option<&str>) -> Running {
        let mut command = self.command();
        command.args(["run", "--events"]).stdout(Stdio::piped());
        command.stderr(Stdio::null());
        command.env("VEND_CLOCK_FILE", self.clock_file());
        if let Some(point) = crash_at {
            command.env("VEND_CRASH_AT", point);
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    /// `vend jobs --json`, which works while vend runs and while it does not.
    pub async fn jobs(&self) -> Vec<Value> {
        let out = self
            .command()
            .args(["jobs", "--json", "--limit", "1000000"])
            .output()
            .await
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// `vend jobs show ID --json`; none where there is no such job.
    pub async fn show(&self, id: &str) -> Option<Value> {
        let mut command = self.command();
        let out = command.args(["jobs", "show", id, "--json"]).output();
        let out = out.await.unwrap();
        serde_json::from_slice(&out.stdout).ok()
    }

    /// What a buyer has left with the shop, msat (`vend buyers --json`).
    pub async fn balance_of(&self, buyer: &nostr::PublicKey) -> Option<u64> {
        let out = self.command().args(["buyers", "--json"]).output().await;
        let rows: Value = serde_json::from_slice(&out.unwrap().stdout).unwrap();
        let mut rows = rows.as_array().unwrap().iter();
        let row = rows.find(|row| row["buyer"] == buyer.to_hex())?;
        row["balance_msat"].as_u64()
    }

    /// A request to this shop alone.
    pub fn request(&self, buyer: &Keys, scheme: Encryption, prompt: &str) -> Event {
        let order = Order {
            kind: 5050,
            prompt: prompt.to_owned(),
            model: None,
            max_tokens: None,
            bid: None,
            output: None,
            relays: Vec::new(),
            to: Some(self.seller.public_key()),
            encrypt: scheme,
            ..Order::default()
        };
        let key = buyer.secret_key();
        buyer::order(
            &order,
            &buyer.public_key(),
            Time::now(),
            &|scheme, to, text| match scheme {
                Encryption::Plain => Ok(text.to_owned()),
                Encryption::Nip04 => nip04::encrypt(key, to, text).map_err(|e| e.to_string()),
                Encryption::Nip44 => nip44::encrypt(key, to, text, nip44::Version::default())
                    .map_err(|e| e.to_string()),
            },
        )
        .unwrap()
        .sign_with_keys(buyer)
        .unwrap()
    }
}

/// The invoice that an event of the seller asks for, if it asks for one.
pub fn bolt11(event: &Event) -> Option<String> {
    event.tags.iter().find_map(|tag| {
        let parts = tag.as_slice();
        (parts.first().is_some_and(|name| name == "amount"))
            .then(|| parts.get(2).cloned())
            .flatten()
    })
}

/// The request that an event of the seller answers.
pub fn answers(event: &Event) -> Option<String> {
    event.tags.event_ids().next().map(nostr::EventId::to_hex)
}

/// Lines of a JSONL record.
pub fn record(path: &Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}
