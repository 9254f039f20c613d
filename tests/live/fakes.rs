//! The fake nodes judged by an independent client: `LNbits`' own adapters for LND, Core Lightning and phoenixd make
//! invoices on them and see them paid, beside vend's clients. What the two agree on is no invention of ours.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use vend::domain::Hex32;
use vend::domain::id::PaymentHash;
use vend::domain::invoice::{Expected, Network, check};
use vend::domain::msat::Msat;
use vend::domain::time::Time;
use vend::wallet::cln::Cln;
use vend::wallet::lnd::Lnd;
use vend::wallet::phoenixd::Phoenixd;
use vend::wallet::{Issued, NewInvoice, PaymentStatus, Wallet};

use crate::fake_node::{Certificate, FakeNode, hex};
use crate::stage::{here, ready, tools};
use crate::{fake_cln, fake_lnd, fake_phoenixd};

const AMOUNT: Msat = Msat(21_000);
const EXPIRY: Duration = Duration::from_mins(10);

/// `LNbits`' adapter in a process of its own.
struct Adapter {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Adapter {
    fn start(kind: &str, node: &FakeNode, secret: &str) -> Self {
        let mut child = Command::new(tools().join("lnbits/bin/python"))
            .arg(here().join("adapters.py"))
            .args([kind, &node.url(), secret])
            .args(certificate(node))
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let asks = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            asks,
            answers,
        }
    }

    fn ask(&mut self, line: &str) -> Value {
        writeln!(self.asks, "{line}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{line}: no answer: {answer:?}"))
    }

    /// Makes an invoice of 21 sats.
    fn create(&mut self) -> Issued {
        issued(&self.ask("create 21 600 a job of LNbits"))
    }

    /// Paid, given up, or (none) pending.
    fn look(&mut self, issued: &Issued) -> Option<bool> {
        self.ask(&format!("look {}", issued.payment_hash))["paid"].as_bool()
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // It has ended already where its input was closed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the node's certificate is, where it has one. Python's TLS is as strict as any.
fn certificate(node: &FakeNode) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("tests/support/fake_node/one.cert.pem");
    node.url().starts_with("https").then_some(file)
}

fn issued(answer: &Value) -> Issued {
    assert_eq!(answer["ok"], true, "{answer}");
    Issued {
        bolt11: answer["bolt11"].as_str().unwrap().to_owned(),
        payment_hash: answer["hash"].as_str().unwrap().parse().unwrap(),
        backend_ref: None,
    }
}

fn as_asked(issued: &Issued) {
    let expected = Expected {
        amount: AMOUNT,
        network: Network::Regtest,
        payment_hash: issued.payment_hash,
        longest_expiry: EXPIRY,
    };
    check(&issued.bolt11, &expected, Time::now()).unwrap();
}

fn provide_tls() {
    // Another test was first: the same provider is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Both clients make an invoice, and each sees what becomes of both.
async fn both_agree(kind: &str, node: &FakeNode, ours: &dyn Wallet) {
    let mut theirs = Adapter::start(kind, node, &node.secret());
    let status = theirs.ask("status");
    assert_eq!(status["error"], Value::Null, "{kind}: {status}");
    assert_eq!(status["balance_msat"], 7_000_000, "{kind}: {status}");
    let by_us = ours
        .create(NewInvoice {
            amount: AMOUNT,
            memo: "a job of vend".to_owned(),
            expiry: EXPIRY,
            label: "vend:live".to_owned(),
            hold_hash: None,
        })
        .await
        .unwrap();
    for issued in [theirs.create(), by_us] {
        as_asked(&issued);
        assert_eq!(theirs.look(&issued), None, "{kind}: pending");
        assert_eq!(
            ours.lookup(issued.clone()).await,
            Ok(PaymentStatus::Pending)
        );
        node.pay(&issued.bolt11).unwrap();
        assert_eq!(theirs.look(&issued), Some(true), "{kind}: paid");
        let seen = ours.lookup(issued.clone()).await;
        let Ok(PaymentStatus::Paid {
            amount, preimage, ..
        }) = seen
        else {
            panic!("{kind}: {seen:?}");
        };
        assert_eq!(amount, Some(AMOUNT));
        assert!(preimage.unwrap().opens(&issued.payment_hash));
    }
    let mut stranger = Adapter::start(kind, node, "0201036c6e64aa");
    let refused = stranger.ask("create 21 600 a job");
    assert_ne!(refused["ok"], true, "{kind}: {refused}");
    assert_eq!(node.books(|books| books.all().len()), 2);
}

#[tokio::test]
async fn fakes_lnd_is_taken_for_one_by_lnbits() {
    if !ready("fakes_lnd_is_taken_for_one_by_lnbits", &["lnbits"]) {
        return;
    }
    provide_tls();
    let node = fake_lnd::start(Some(Certificate::One));
    let pem = Certificate::One.pem().into();
    let ours = Lnd::open(&node.url(), &node.secret().into(), Some(&pem)).unwrap();
    both_agree("lnd", &node, &ours).await;
    held_payments_agree(&node, &ours).await;
}

/// Hold invoices: made by one client, settled or canceled by the other.
async fn held_payments_agree(node: &FakeNode, ours: &dyn Wallet) {
    use nostr::hashes::{Hash, sha256};
    let mut theirs = Adapter::start("lnd", node, &node.secret());
    for settled in [true, false] {
        let preimage = Hex32(rand::random());
        let hash = PaymentHash(Hex32(sha256::Hash::hash(&preimage.0).to_byte_array()));
        let issued = issued(&theirs.ask(&format!("hold 21 {hash}")));
        node.pay(&issued.bolt11).unwrap();
        assert_eq!(theirs.look(&issued), None, "held is not paid");
        let amount = Some(AMOUNT);
        assert_eq!(
            ours.lookup(issued.clone()).await,
            Ok(PaymentStatus::Held { amount })
        );
        let done = if settled {
            theirs.ask(&format!("settle {}", hex(&preimage.0)))
        } else {
            theirs.ask(&format!("cancel {hash}"))
        };
        assert_eq!(done["ok"], true, "{done}");
        assert_eq!(theirs.look(&issued), Some(settled));
        let seen = ours.lookup(issued).await.unwrap();
        assert_eq!(
            matches!(seen, PaymentStatus::Paid { .. }),
            settled,
            "{seen:?}"
        );
    }
}

#[tokio::test]
async fn fakes_core_lightning_is_taken_for_one_by_lnbits() {
    if !ready(
        "fakes_core_lightning_is_taken_for_one_by_lnbits",
        &["lnbits"],
    ) {
        return;
    }
    provide_tls();
    let node = fake_cln::start(Some(Certificate::One));
    let pem = Certificate::One.pem().into();
    let ours = Cln::open(&node.url(), &node.secret().into(), Some(&pem)).unwrap();
    both_agree("cln", &node, &ours).await;
}

#[tokio::test]
async fn fakes_phoenixd_is_taken_for_one_by_lnbits() {
    if !ready("fakes_phoenixd_is_taken_for_one_by_lnbits", &["lnbits"]) {
        return;
    }
    provide_tls();
    let node = fake_phoenixd::start();
    let ours = Phoenixd::open(&node.url(), &node.secret().into()).unwrap();
    both_agree("phoenixd", &node, &ours).await;
    let mut theirs = Adapter::start("phoenixd", &node, &node.secret());
    let unknown = theirs.ask(&format!("look {}", "06".repeat(32)));
    assert_eq!(
        unknown["paid"], false,
        "LNbits takes phoenixd's 404 for unpaid"
    );
}
