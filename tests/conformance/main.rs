//! One list of promises that every wallet keeps, tried on every backend. The table of docs/wallets.md is made from what is
//! seen here: `UPDATE_DOCS=1 cargo test --test conformance` writes it, and without that it is compared.
//!
//! A new backend is a file beside this one with a [`Stage`], and a line in [`BACKENDS`].

#![allow(
    clippy::duplicate_mod,
    reason = "Spark's fake brings the node's books along"
)]

#[path = "../support/fake_cln.rs"]
mod fake_cln;
#[path = "../support/fake_lnd.rs"]
mod fake_lnd;
#[path = "../support/fake_node.rs"]
mod fake_node;
#[path = "../support/fake_nwc.rs"]
mod fake_nwc;
#[path = "../support/fake_phoenixd.rs"]
mod fake_phoenixd;
#[path = "../support/fake_relay.rs"]
mod fake_relay;
#[path = "../support/fake_spark.rs"]
mod fake_spark;
#[path = "../support/fake_wallet.rs"]
mod fake_wallet;

mod cases;
mod lnbits;
mod nodes;
mod nwc;
mod sandbox;
mod spark;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vend::wallet::{Issued, Wallet};

/// What is done to a wallet's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No answer within a call's time.
    Slow,
    /// Nobody is there.
    Down,
    /// The secret is refused.
    Unauthorized,
    /// A web page instead of an answer.
    Garbage,
    /// A new invoice is made, but its answer never comes.
    LostAnswer,
}

/// Why something can't happen to a backend.
pub type Cannot = &'static str;

/// A backend with everything around it: who pays, what goes wrong.
pub trait Stage: Send + Sync {
    /// The wallet as the shop opens it.
    fn wallet(&self) -> Arc<dyn Wallet>;

    /// The same wallet, with a short time for each call.
    fn hasty(&self, call: Duration) -> Arc<dyn Wallet>;

    /// A payer pays, and so much more than is asked for.
    ///
    /// # Errors
    /// Where no payer can.
    fn pay(&self, issued: &Issued, more_msat: u64) -> Result<(), Cannot>;

    /// The invoice's time is over.
    fn expire(&self, issued: &Issued);

    /// A payment that was on its way when the invoice expired arrives.
    ///
    /// # Errors
    /// Where none can.
    fn pay_late(&self, issued: &Issued) -> Result<(), Cannot>;

    /// From now on this goes wrong; none: all is well again.
    ///
    /// # Errors
    /// Where it can't.
    fn trouble(&self, trouble: Option<Trouble>) -> Result<(), Cannot>;

    /// Waits until an invoice was made.
    fn wait_for_created(&self);
}

/// How a case went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The promise was kept.
    Kept,
    /// It was kept in the way that these words say, or can't come up.
    Otherwise(&'static str),
}

type Start = fn() -> Box<dyn Stage>;

/// Every backend, in the table's order.
const BACKENDS: &[(&str, Start)] = &[
    ("sandbox", sandbox::start),
    ("Spark", spark::start),
    ("LNbits", lnbits::start),
    ("LND", nodes::lnd),
    ("Core Lightning", nodes::cln),
    ("phoenixd", nodes::phoenixd),
    ("NWC", nwc::start),
];

const BEGIN: &str = "<!-- conformance: made by UPDATE_DOCS=1 cargo test --test conformance -->\n";
const END: &str = "<!-- conformance: end -->\n";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/wallets.md")
}

fn table(rows: &[(&str, Vec<Outcome>)]) -> String {
    let mut out = String::from("| promise |");
    for (name, _) in BACKENDS {
        write!(out, " {name} |").unwrap();
    }
    out.push_str("\n| --- |");
    out.push_str(&" --- |".repeat(BACKENDS.len()));
    out.push('\n');
    for (promise, outcomes) in rows {
        write!(out, "| {promise} |").unwrap();
        for outcome in outcomes {
            let cell = match outcome {
                Outcome::Kept => "yes",
                Outcome::Otherwise(words) => words,
            };
            write!(out, " {cell} |").unwrap();
        }
        out.push('\n');
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wallet_keeps_every_promise_and_the_page_says_so() {
    // Another test was first: the same provider is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (mut rows, mut broken) = (Vec::new(), Vec::new());
    for (promise, case) in cases::CASES {
        // In tasks, so that one that fails does not hide the others.
        let tried: Vec<_> = BACKENDS
            .iter()
            .map(|(name, start)| (name, tokio::spawn(case(Arc::from(start())))))
            .collect();
        let mut outcomes = Vec::new();
        for (name, outcome) in tried {
            match outcome.await {
                Ok(outcome) => outcomes.push(outcome),
                Err(_) => broken.push(format!("{name}: {promise}")),
            }
        }
        rows.push((*promise, outcomes));
    }
    assert!(broken.is_empty(), "not kept:\n{}", broken.join("\n"));

    let text = std::fs::read_to_string(page()).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    let wanted = format!("{head}{BEGIN}{}{END}{tail}", table(&rows));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(page(), wanted).unwrap();
        return;
    }
    assert!(
        text == wanted,
        "docs/wallets.md is behind: run UPDATE_DOCS=1 cargo test --test conformance"
    );
}
