//! The wallets as the scan needs them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vend::wallet::sandbox::SandboxPayer;

use crate::drill_node::{self, Certificate, DrillNode};
use crate::drill_spark::{self, DrillSpark};
use crate::drill_wallet::{self, DrillWallet};
use crate::shop::Home;
use crate::{drill_cln, drill_lnd, drill_nwc, drill_phoenixd};

/// A wallet as the scan needs it.
pub trait Drill {
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
    /// From now on it refuses to settle, in words that repeat what it was sent; false where the drill has no such fault.
    fn refuse_to_settle(&self) -> bool {
        false
    }
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

    fn refuse_to_settle(&self) -> bool {
        self.drill.set_fault(drill_node::Fault::SettleRepeats);
        true
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

pub fn path(home: &Home) -> std::ffi::OsString {
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let usual = std::env::split_paths(&usual);
    std::env::join_paths(std::iter::once(bin(home)).chain(usual)).unwrap()
}

pub type Start = fn(&Home) -> Box<dyn Drill>;

/// Every wallet there is.
pub const WALLETS: &[(&str, Start)] = &[
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
