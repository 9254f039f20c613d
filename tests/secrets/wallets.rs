//! The wallets as the scan needs them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vend::wallet::sandbox::SandboxPayer;

use crate::fake_node::{self, Certificate, FakeNode};
use crate::fake_spark::{self, FakeSpark};
use crate::fake_wallet::{self, FakeWallet};
use crate::shop::Home;
use crate::{fake_cln, fake_lnd, fake_nwc, fake_phoenixd};

/// A wallet as the scan needs it.
pub trait Fake {
    /// The lines of `[wallet]`.
    fn settings(&self) -> String;
    /// Pays an invoice.
    fn pay(&self, bolt11: &str);
    /// What must never be told, each by its name.
    fn secrets(&self) -> Vec<(&'static str, String)>;
    /// The secret behind an invoice, hex; none where the fake does not know it.
    fn preimage(&self, bolt11: &str) -> Option<String>;
    /// From now on every answer is an error that repeats the caller's secret, where the fake has such.
    fn spill(&self) {}
    /// From now on it refuses to settle, in words that repeat what it was sent; false where the fake has no such fault.
    fn refuse_to_settle(&self) -> bool {
        false
    }
}

struct Lnbits(FakeWallet);

impl Fake for Lnbits {
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
        self.0.set_fault(fake_wallet::Fault::ServerError);
    }
}

struct Node {
    backend: &'static str,
    key: &'static str,
    fake: FakeNode,
    certificate: &'static str,
}

impl Fake for Node {
    fn settings(&self) -> String {
        format!(
            "backend = \"{}\"\nnetwork = \"regtest\"\nurl = \"{}\"\n{} = \"{}\"\n{}",
            self.backend,
            self.fake.url(),
            self.key,
            self.fake.secret(),
            self.certificate
        )
    }

    fn pay(&self, bolt11: &str) {
        self.fake.pay(bolt11).unwrap();
    }

    fn secrets(&self) -> Vec<(&'static str, String)> {
        let secret = self.fake.secret();
        let pair = STANDARD.encode(format!(":{secret}"));
        vec![
            ("the node's secret", secret),
            ("the secret as HTTP sends it", pair),
        ]
    }

    fn preimage(&self, bolt11: &str) -> Option<String> {
        let preimage = self.fake.books(|books| books.entry(bolt11).preimage);
        preimage.map(|bytes| fake_node::hex(&bytes))
    }

    fn spill(&self) {
        self.fake.set_fault(fake_node::Fault::ServerError);
    }

    fn refuse_to_settle(&self) -> bool {
        self.fake.set_fault(fake_node::Fault::SettleRepeats);
        true
    }
}

struct Sandbox(std::path::PathBuf);

impl Fake for Sandbox {
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

struct Nwc(fake_nwc::FakeNwc);

impl Fake for Nwc {
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
        preimage.map(|bytes| fake_node::hex(&bytes))
    }

    fn spill(&self) {
        self.0.set_fault(fake_nwc::Fault::Code("INTERNAL"));
    }
}

struct Spark {
    fake: FakeSpark,
    words: String,
}

impl Spark {
    /// Installed and with words, by vend itself; its helper's words go no further than to the fake.
    fn start(home: &Home) -> Self {
        let fake = FakeSpark::start();
        fake.programs(&bin(home));
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
        Self { fake, words }
    }
}

impl Fake for Spark {
    fn settings(&self) -> String {
        "backend = \"spark\"\nnetwork = \"regtest\"".to_owned()
    }

    fn pay(&self, bolt11: &str) {
        self.fake.pay(bolt11, 0);
    }

    fn secrets(&self) -> Vec<(&'static str, String)> {
        vec![("the words", self.words.clone())]
    }

    fn preimage(&self, bolt11: &str) -> Option<String> {
        let preimage = self.fake.with(|state| state.books.entry(bolt11).preimage);
        preimage.map(|bytes| fake_node::hex(&bytes))
    }

    fn spill(&self) {
        self.fake
            .with(|state| state.fault = fake_spark::Fault::Unreachable);
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

pub type Start = fn(&Home) -> Box<dyn Fake>;

/// Every wallet there is.
pub const WALLETS: &[(&str, Start)] = &[
    ("sandbox", |home| {
        Box::new(Sandbox(home.data().join("sandbox")))
    }),
    ("spark", |home| Box::new(Spark::start(home))),
    ("lnbits", |home| {
        let record = home.folder.path().join("wallet.jsonl");
        Box::new(Lnbits(FakeWallet::start(&record)))
    }),
    ("lnd", |home| {
        let file = home.folder.path().join("tls.cert");
        std::fs::write(file, Certificate::One.pem()).unwrap();
        Box::new(Node {
            backend: "lnd",
            key: "macaroon",
            fake: fake_lnd::start(Some(Certificate::One)),
            certificate: "certificate = \"tls.cert\"",
        })
    }),
    ("cln", |_| {
        Box::new(Node {
            backend: "cln",
            key: "rune",
            fake: fake_cln::start(None),
            certificate: "",
        })
    }),
    ("phoenixd", |_| {
        Box::new(Node {
            backend: "phoenixd",
            key: "password",
            fake: fake_phoenixd::start(),
            certificate: "",
        })
    }),
    ("nwc", |_| Box::new(Nwc(fake_nwc::FakeNwc::start()))),
];
