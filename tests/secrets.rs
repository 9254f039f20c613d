//! What the shop says and writes holds no secret, with any wallet: no key, no macaroon, no rune, no password, and no preimage
//! of an invoice that nobody has paid.
//!
//! A wallet joins by a row in [`WALLETS`].

#[path = "support/drill_cln.rs"]
mod drill_cln;
#[path = "support/drill_lnd.rs"]
mod drill_lnd;
#[path = "support/drill_node.rs"]
mod drill_node;
#[path = "support/drill_nwc.rs"]
mod drill_nwc;
#[path = "support/drill_phoenixd.rs"]
mod drill_phoenixd;
#[path = "support/drill_relay.rs"]
mod drill_relay;
#[path = "support/drill_spark.rs"]
mod drill_spark;
#[path = "support/drill_wallet.rs"]
mod drill_wallet;
#[path = "support/shop.rs"]
mod shop;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use drill_node::{Certificate, DrillNode};
use drill_relay::DrillRelay;
use drill_spark::DrillSpark;
use drill_wallet::DrillWallet;
use nostr::{Event, Keys, Kind, ToBech32};
use serde_json::Value;
use shop::{Home, answers, bolt11};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use vend::domain::job::Encryption;
use vend::wallet::sandbox::SandboxPayer;

const LONGEST: Duration = Duration::from_secs(60);

/// A wallet as the scan needs it.
trait Drill {
    /// The lines of `[wallet]`.
    fn settings(&self) -> String;
    /// Pays an invoice.
    fn pay(&self, bolt11: &str);
    /// What must never be told, each by its name.
    fn secrets(&self) -> Vec<(&'static str, String)>;
    /// The secret behind an invoice, hex; none where the drill does not know it.
    fn preimage(&self, bolt11: &str) -> Option<String>;
    /// From now on every answer is an error that repeats the caller's secret, where the drill has such.
    fn spill(&self) {}
}

struct Lnbits(DrillWallet);

impl Drill for Lnbits {
    fn settings(&self) -> String {
        format!(
            "backend = \"lnbits\"\nnetwork = \"regtest\"\nurl = \"{}\"\ninvoice_key = \"{}\"",
            self.0.url(),
            self.0.invoice_key()
        )
    }

    fn pay(&self, bolt11: &str) {
        self.0.pay(bolt11).unwrap();
    }

    fn secrets(&self) -> Vec<(&'static str, String)> {
        vec![("the invoice key", self.0.invoice_key())]
    }

    fn preimage(&self, bolt11: &str) -> Option<String> {
        Some(self.0.preimage(bolt11))
    }

    fn spill(&self) {
        self.0.set_fault(drill_wallet::Fault::ServerError);
    }
}

struct Node {
    backend: &'static str,
    key: &'static str,
    drill: DrillNode,
    certificate: &'static str,
}

impl Drill for Node {
    fn settings(&self) -> String {
        format!(
            "backend = \"{}\"\nnetwork = \"regtest\"\nurl = \"{}\"\n{} = \"{}\"\n{}",
            self.backend,
            self.drill.url(),
            self.key,
            self.drill.secret(),
            self.certificate
        )
    }

    fn pay(&self, bolt11: &str) {
        self.drill.pay(bolt11).unwrap();
    }

    fn secrets(&self) -> Vec<(&'static str, String)> {
        let secret = self.drill.secret();
        let pair = STANDARD.encode(format!(":{secret}"));
        vec![
            ("the node's secret", secret),
            ("the secret as HTTP sends it", pair),
        ]
    }

    fn preimage(&self, bolt11: &str) -> Option<String> {
        let preimage = self.drill.books(|books| books.entry(bolt11).preimage);
        preimage.map(|bytes| drill_node::hex(&bytes))
    }

    fn spill(&self) {
        self.drill.set_fault(drill_node::Fault::ServerError);
    }
}

struct Sandbox(std::path::PathBuf);

impl Drill for Sandbox {
    fn settings(&self) -> String {
        "backend = \"sandbox\"\nnetwork = \"regtest\"".to_owned()
    }

    fn pay(&self, bolt11: &str) {
        SandboxPayer::open(&self.0).unwrap().pay(bolt11).unwrap();
    }

    fn secrets(&self) -> Vec<(&'static str, String)> {
        let key = std::fs::read_to_string(self.0.join("node-key")).unwrap();
        vec![("the sandbox node's key", key.trim().to_owned())]
    }

    fn preimage(&self, _bolt11: &str) -> Option<String> {
        None
    }
}

struct Nwc(drill_nwc::DrillNwc);

impl Drill for Nwc {
    fn settings(&self) -> String {
        format!(
            "backend = \"nwc\"\nnetwork = \"regtest\"\nuri = \"{}\"",
            self.0.uri()
        )
    }

    fn pay(&self, bolt11: &str) {
        self.0.pay(bolt11).unwrap();
    }

    fn secrets(&self) -> Vec<(&'static str, String)> {
        vec![("the connection's key", self.0.secret())]
    }

    fn preimage(&self, bolt11: &str) -> Option<String> {
        let preimage = self.0.books(|books| books.entry(bolt11).preimage);
        preimage.map(|bytes| drill_node::hex(&bytes))
    }

    fn spill(&self) {
        self.0.set_fault(drill_nwc::Fault::Code("INTERNAL"));
    }
}

struct Spark {
    drill: DrillSpark,
    words: String,
}

impl Spark {
    /// Installed and with words, by vend itself; its helper's words go no further than to the drill.
    fn start(home: &Home) -> Self {
        let drill = DrillSpark::start();
        drill.programs(&bin(home));
        let ran = |args: &[&str]| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vend"));
            command.arg("--data-dir").arg(home.data());
            command.arg("--config").arg(home.config());
            let out = command.args(args).env("PATH", path(home)).output().unwrap();
            let errors = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.success(), "{args:?}: {errors}");
            String::from_utf8(out.stdout).unwrap()
        };
        ran(&["spark", "install"]);
        let words = ran(&["spark", "create"]).trim().to_owned();
        Self { drill, words }
    }
}

impl Drill for Spark {
    fn settings(&self) -> String {
        "backend = \"spark\"\nnetwork = \"regtest\"".to_owned()
    }

    fn pay(&self, bolt11: &str) {
        self.drill.pay(bolt11, 0);
    }

    fn secrets(&self) -> Vec<(&'static str, String)> {
        vec![("the words", self.words.clone())]
    }

    fn preimage(&self, bolt11: &str) -> Option<String> {
        let preimage = self.drill.with(|state| state.books.entry(bolt11).preimage);
        preimage.map(|bytes| drill_node::hex(&bytes))
    }

    fn spill(&self) {
        self.drill
            .with(|state| state.fault = drill_spark::Fault::Unreachable);
    }
}

/// Programs that stand before the system's own.
fn bin(home: &Home) -> std::path::PathBuf {
    home.folder.path().join("bin")
}

fn path(home: &Home) -> std::ffi::OsString {
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let usual = std::env::split_paths(&usual);
    std::env::join_paths(std::iter::once(bin(home)).chain(usual)).unwrap()
}

type Start = fn(&Home) -> Box<dyn Drill>;

/// Every wallet there is.
const WALLETS: &[(&str, Start)] = &[
    ("sandbox", |home| {
        Box::new(Sandbox(home.data().join("sandbox")))
    }),
    ("spark", |home| Box::new(Spark::start(home))),
    ("lnbits", |home| {
        let record = home.folder.path().join("wallet.jsonl");
        Box::new(Lnbits(DrillWallet::start(&record)))
    }),
    ("lnd", |home| {
        let file = home.folder.path().join("tls.cert");
        std::fs::write(file, Certificate::One.pem()).unwrap();
        Box::new(Node {
            backend: "lnd",
            key: "macaroon",
            drill: drill_lnd::start(Some(Certificate::One)),
            certificate: "certificate = \"tls.cert\"",
        })
    }),
    ("cln", |_| {
        Box::new(Node {
            backend: "cln",
            key: "rune",
            drill: drill_cln::start(None),
            certificate: "",
        })
    }),
    ("phoenixd", |_| {
        Box::new(Node {
            backend: "phoenixd",
            key: "password",
            drill: drill_phoenixd::start(),
            certificate: "",
        })
    }),
    ("nwc", |_| Box::new(Nwc(drill_nwc::DrillNwc::start()))),
];

/// Everything that was said or written, with where that was.
#[derive(Default)]
struct Said(Vec<(String, Vec<u8>)>);

impl Said {
    fn add(&mut self, place: &str, bytes: &[u8]) {
        self.0.push((place.to_owned(), bytes.to_vec()));
    }

    /// Every file below a folder.
    fn add_files(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.add_files(&path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                self.add(&path.display().to_string(), &bytes);
            }
        }
    }

    /// None of it holds this, as text, as bytes, or in base64.
    fn holds_no(&self, what: &str, secret: &str) {
        assert!(secret.len() >= 16, "{what} is too short to be looked for");
        let mut forms = vec![
            secret.as_bytes().to_vec(),
            STANDARD.encode(secret).into_bytes(),
        ];
        if let Some(bytes) = unhex(secret) {
            forms.push(STANDARD.encode(&bytes).into_bytes());
            forms.push(bytes);
        }
        for (place, said) in &self.0 {
            for form in &forms {
                let at = said.windows(form.len()).position(|part| part == form);
                assert!(at.is_none(), "{what} is in {place}");
            }
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

fn command(home: &Home) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
    command.arg("--data-dir").arg(home.data());
    command.arg("--config").arg(home.config());
    command.env("PATH", path(home));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn scan(name: &str, start: Start) {
    let home = Home::new();
    let relay = DrillRelay::start(None).await;
    let wallet = start(&home);
    let text = format!(
        "[nostr]\nrelays = [\"{}\"]\nkinds = [5050]\nannounce = false\n\
         [text]\nmodel = \"vend-tiny\"\nmax_tokens = 16\n[payment]\nmode = \"after\"\n\
         [wallet]\n{}\n[[endpoint]]\nname = \"tiny\"\nkind = \"builtin\"\n",
        relay.url(),
        wallet.settings()
    );
    std::fs::write(home.config(), text).unwrap();
    std::fs::set_permissions(home.config(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut said = Said::default();
    let mut child = command(&home)
        .args(["--log", "trace", "run", "--events"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines();
    let buyer = Keys::generate();
    let mut jobs = Vec::new();
    let mut unpaid = String::new();
    let mut all = String::new();
    loop {
        let line = tokio::time::timeout(LONGEST, events.next_line())
            .await
            .unwrap();
        let line = line.unwrap().expect("the shop runs");
        all.push_str(&line);
        all.push('\n');
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["event"] == "state" && event["state"] == "online" && jobs.is_empty() {
            for number in 0..2 {
                // Two requests with one text in one second would be one event.
                let prompt = format!("hello {number}");
                let request = home.request(&buyer, Encryption::Plain, &prompt);
                relay.inject(&request);
                let id = request.id.to_hex();
                let invoice = result_of(&relay, &id).await;
                if number == 0 {
                    wallet.pay(&invoice);
                } else {
                    unpaid = invoice;
                }
                jobs.push(id);
            }
        }
        if event["event"] == "paid" {
            break;
        }
    }
    wallet.spill();
    let backup = home.folder.path().join("copy.db");
    let backup = backup.to_str().unwrap();
    for args in [
        &["status", "--json"][..],
        &["status"],
        &["doctor", "--json"],
        &["doctor"],
        &["jobs", "--json"],
        &["jobs"],
        &["jobs", "show", &jobs[0], "--json"],
        &["jobs", "show", &jobs[1], "--json"],
        &["jobs", "show", &jobs[1]],
        &["stats", "--json"],
        &["stats"],
        &["receipts", "--format", "csv"],
        &["receipts", "--format", "json"],
        &["recover", "--json"],
        &["recover"],
        &["audit", "--json"],
        &["audit"],
        &["config", "show"],
        &["config", "check"],
        &["keys", "show"],
        &["spark", "address"],
        &["backup", backup],
    ] {
        let out = command(&home).args(args).output().await.unwrap();
        assert_ne!(out.status.code(), Some(2), "{args:?} is no command");
        said.add(&format!("the output of {args:?}"), &out.stdout);
        said.add(&format!("the errors of {args:?}"), &out.stderr);
    }
    let pid = child.id().unwrap();
    for file in ["cmdline", "environ"] {
        let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
        assert!(!bytes.is_empty());
        said.add(file, &bytes);
    }
    let stopped = command(&home)
        .args(["stop", "--now"])
        .output()
        .await
        .unwrap();
    assert!(stopped.status.success());
    while let Ok(Some(line)) = events.next_line().await {
        all.push_str(&line);
        all.push('\n');
    }
    let mut errors = Vec::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_end(&mut errors)
        .await
        .unwrap();
    child.wait().await.unwrap();
    said.add("the events", all.as_bytes());
    said.add("the shop's errors", &errors);
    said.add_files(&home.data().join("logs"));
    said.add("the backup", &std::fs::read(backup).unwrap());
    said.add(
        "the ledger",
        &std::fs::read(home.data().join("vend.db")).unwrap(),
    );
    let logged: usize = said
        .0
        .iter()
        .filter(|(place, _)| place.contains("logs"))
        .map(|(_, bytes)| bytes.len())
        .sum();
    assert!(logged > 1_000, "{name}: the log was read");

    let key = home.seller.secret_key();
    said.holds_no("the identity", &key.to_secret_hex());
    said.holds_no("the identity as nsec", &key.to_bech32().unwrap());
    for (what, secret) in wallet.secrets() {
        said.holds_no(what, &secret);
    }
    if let Some(preimage) = wallet.preimage(&unpaid) {
        said.holds_no("the preimage of an unpaid invoice", &preimage);
    }
}

async fn result_of(relay: &DrillRelay, id: &str) -> String {
    let is =
        |event: &Event| event.kind == Kind::from_u16(6050) && answers(event).as_deref() == Some(id);
    let result = relay.wait_for(is, LONGEST).await.expect("a result");
    bolt11(&result).expect("an invoice")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wallet_s_secret_is_in_anything_that_is_said_or_written() {
    for (name, start) in WALLETS {
        scan(name, *start).await;
    }
}

/// The scan finds what it looks for: else it would prove nothing.
#[test]
fn a_secret_in_any_form_is_found() {
    let secret = "00112233445566778899aabbccddeeff";
    let bytes = unhex(secret).unwrap();
    for form in [
        secret.as_bytes().to_vec(),
        bytes.clone(),
        STANDARD.encode(&bytes).into_bytes(),
        STANDARD.encode(secret).into_bytes(),
    ] {
        let mut said = Said::default();
        said.add("somewhere", &[b"before ", &form[..], b" after"].concat());
        let found = std::panic::catch_unwind(|| said.holds_no("it", secret));
        assert!(found.is_err(), "{form:?}");
    }
}
