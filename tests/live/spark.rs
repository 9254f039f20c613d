//! The official Spark SDK, unmodified, through vend's own helper, against a Spark on loopback (`spark_remote.mjs`): from
//! `vend spark install` to a job that is sold and seen paid.

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use nostr::secp256k1::SecretKey;
use serde_json::{Value, json};
use vend::config::schema::Network;
use vend::demo::DemoRelay;
use vend::domain::Hex32;
use vend::domain::invoice::{self, Expected};
use vend::domain::msat::Msat;
use vend::domain::time::Time;
use vend::wallet::spark::Spark;
use vend::wallet::{Issued, NewInvoice, PaymentStatus, Wallet};

use crate::fake_node::{Accounting, NewEntry};
use crate::stage::{Buyer, Place, Process, here, lines, ready, request_of, tools, until};
use crate::{ANSWER, BUILTIN, QUESTION, bolt11, settled};

const WALLET: &str = "[wallet]\nbackend = \"spark\"\nnetwork = \"regtest\"\n\n";

/// The Spark on loopback. Its invoices are signed here, by the library that vend trusts.
struct Remote {
    process: Process,
    asks: ChildStdin,
    lines: Receiver<Value>,
    /// What goes into `local.json`.
    place: Value,
    signed: usize,
}

impl Remote {
    fn start() -> Self {
        let certificate = here().join("../support/fake_node/one.cert.pem");
        let key = here().join("../support/fake_node/one.key.pem");
        let mut process = Process::start(
            "the local Spark",
            Command::new("node")
                .arg(here().join("spark_remote.mjs"))
                .args([certificate, key])
                .env("VEND_LIVE_TOOLS", tools())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        );
        let asks = process.input();
        let lines = lines(&mut process);
        let place = until(&lines, "the local Spark", |line| line["ready"].is_object());
        Self {
            process,
            asks,
            lines,
            place: place["ready"].clone(),
            signed: 0,
        }
    }

    fn tell(&mut self, line: &Value) {
        writeln!(self.asks, "{line}").unwrap();
    }

    /// Signs the next invoice that is asked for.
    fn sign(&mut self) {
        let asked = until(&self.lines, "an invoice to sign", |line| {
            line["sign"].is_object()
        });
        let asked = &asked["sign"];
        let hash: Hex32 = asked["payment_hash"].as_str().unwrap().parse().unwrap();
        let made = Accounting::default().make(
            NewEntry {
                memo: asked["memo"].as_str().unwrap().to_owned(),
                amount_msat: asked["amount_sats"].as_u64().unwrap() * 1_000,
                expiry: asked["expiry_s"].as_u64().unwrap(),
                // The SDK keeps the preimage; only the hash is known here.
                hold_hash: Some(hash.0),
                ..NewEntry::default()
            },
            &SecretKey::from_slice(&[9; 32]).unwrap(),
        );
        let signed = json!({"signed": {"id": asked["id"], "bolt11": made.bolt11}});
        self.signed += 1;
        self.tell(&signed);
    }

    /// A payer pays: two operators give their shares of the preimage, which must open the invoice.
    fn pay(&mut self, bolt11: &str) -> u64 {
        let read = invoice::read(bolt11).unwrap();
        let hash = payment_hash(bolt11);
        self.tell(&json!({"pay": hash}));
        let paid = until(&self.lines, "the payment", |line| line["paid"].is_object());
        assert_eq!(paid["paid"]["payment_hash"], hash);
        invoice::amount(&read).unwrap().unwrap().0
    }

    /// Spark's word for this payment from now on.
    fn set(&mut self, issued: &Issued, status: &str) {
        self.tell(&json!({"status": {"payment_hash": issued.payment_hash, "status": status}}));
        until(&self.lines, "the new state", |line| line["set"].is_object());
    }
}

fn payment_hash(bolt11: &str) -> String {
    use vend::domain::invoice::read;
    let read = read(bolt11).unwrap();
    let hash = read.payment_hash().unwrap();
    hash.0.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn spark_the_official_sdk_sells() {
    if !ready("spark_the_official_sdk_sells", &["node", "spark"]) {
        return;
    }
    // Another test was first: the same provider is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let relay = DemoRelay::start().await.unwrap();
    let url = relay.url.clone();
    let mut remote = Remote::start();
    let place = Place::new(&url, "credit", &format!("{WALLET}{BUILTIN}"));

    let installed = place.vend(&["spark", "install"]);
    assert_eq!(installed.code, Some(0), "{}", installed.err);
    assert!(installed.out.contains("SDK 0.8.8"), "{}", installed.out);
    let again = place.vend(&["spark", "install"]);
    assert!(again.out.starts_with("installed already"), "{}", again.out);
    let words = place.vend(&["spark", "create"]);
    assert_eq!(words.out.split_whitespace().count(), 12, "{}", words.err);
    let local = place.data().join("spark/local.json");
    std::fs::write(local, remote.place.to_string()).unwrap();
    let address = place.vend(&["spark", "address", "--json"]).json();
    let shown = address["spark_address"].as_str().unwrap();
    assert!(shown.starts_with("sparkl1"), "{address}");

    every_word_of_the_sdk_is_understood(&place, &mut remote, &address).await;

    let shop = place.open();
    let asked = Buyer::ask(&url, &place.npub(), QUESTION, "nip44");
    asked.feedback("processing");
    remote.sign();
    let result = asked.result();
    assert_eq!(result["content"], ANSWER);
    let id = request_of(&result);
    let paid = remote.pay(bolt11(&result));
    settled(&place, &shop, &id, &result["amount_msat"], paid);

    let status = place.vend(&["status", "--json"]).json();
    assert_eq!(
        status["wallet"]["identity"], address["identity"],
        "{status}"
    );
    assert!(
        status["wallet"]["detail"]
            .as_str()
            .unwrap()
            .contains("spark/local.json"),
        "{status}"
    );
    // Spark goes away: the light turns red, the shop stays.
    remote.process.kill();
    let state = shop.state("degraded");
    assert!(
        state["detail"].as_str().unwrap().contains("wallet spark"),
        "{state}"
    );
    shop.stop(&place);
    assert_eq!(remote.signed, 2);
}

/// The wallet alone: an invoice as asked for, and every state that the SDK knows, in its own enum's words.
async fn every_word_of_the_sdk_is_understood(place: &Place, remote: &mut Remote, address: &Value) {
    let wallet = Arc::new(Spark::open(&place.data(), Network::Regtest, 1).unwrap());
    let health = wallet.health().await;
    assert_eq!(
        health.identity.as_deref(),
        address["identity"].as_str(),
        "{}",
        health.detail
    );
    assert_eq!(health.balance_msat, Some(Msat::ZERO));
    let (amount, expiry) = (Msat(21_000), Duration::from_mins(10));
    let new = NewInvoice {
        amount,
        memo: "ein Auftrag für Öl".to_owned(),
        expiry,
        label: "vend:live".to_owned(),
        hold_hash: None,
    };
    let maker = wallet.clone();
    let making = tokio::spawn(async move { maker.create(new).await });
    remote.sign();
    let issued = making.await.unwrap().unwrap();
    let expected = Expected {
        amount,
        network: invoice::Network::Regtest,
        payment_hash: issued.payment_hash,
        longest_expiry: expiry,
    };
    invoice::check(&issued.bolt11, &expected, Time::now()).unwrap();
    let look = async |id: Option<String>| {
        let issued = Issued {
            backend_ref: id,
            ..issued.clone()
        };
        wallet.lookup(issued).await.unwrap()
    };
    let ours = issued.backend_ref.clone();
    assert_eq!(look(ours.clone()).await, PaymentStatus::Pending);
    let stranger = "SparkLightningReceiveRequest:0".to_owned();
    assert_eq!(look(Some(stranger)).await, PaymentStatus::Unknown);
    for pending in [
        "TRANSFER_CREATED",
        "LIGHTNING_PAYMENT_RECEIVED",
        "PAYMENT_PREIMAGE_RECOVERED",
        "A_WORD_OF_TOMORROW",
    ] {
        remote.set(&issued, pending);
        assert_eq!(
            look(ours.clone()).await,
            PaymentStatus::Pending,
            "{pending}"
        );
    }
    for failed in [
        "TRANSFER_CREATION_FAILED",
        "TRANSFER_FAILED",
        "REFUND_SIGNING_FAILED",
        "REFUND_SIGNING_COMMITMENTS_QUERYING_FAILED",
        "PAYMENT_PREIMAGE_RECOVERING_FAILED",
    ] {
        remote.set(&issued, failed);
        let seen = look(ours.clone()).await;
        assert!(
            matches!(seen, PaymentStatus::Attention(_)),
            "{failed}: {seen:?}"
        );
    }
    remote.pay(&issued.bolt11);
    for paid in [
        "TRANSFER_COMPLETED",
        "LIGHTNING_PAYMENT_RECEIVED",
        "PAYMENT_PREIMAGE_RECOVERED",
    ] {
        remote.set(&issued, paid);
        let seen = look(ours.clone()).await;
        let PaymentStatus::Paid {
            amount: got,
            preimage,
            fee,
            ..
        } = seen
        else {
            panic!("{paid}: {seen:?}");
        };
        assert_eq!((got, fee), (Some(amount), None));
        assert!(preimage.unwrap().opens(&issued.payment_hash));
    }
    wallet.close().await;
}
