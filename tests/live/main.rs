//! vend against the real programs that it will meet: a relay, Ollama, llama.cpp's server, `LNbits` and a buyer on another
//! Nostr library. README.md says what each test proves. A tool that is not installed skips the tests that need it.

mod service;
mod spark;
mod stage;

#[path = "../support/fake_cln.rs"]
mod fake_cln;
#[path = "../support/fake_lnd.rs"]
mod fake_lnd;
#[path = "../support/fake_node.rs"]
mod fake_node;
#[path = "../support/fake_ollama.rs"]
mod fake_ollama;
#[path = "../support/fake_phoenixd.rs"]
mod fake_phoenixd;
#[path = "../support/fake_relay.rs"]
mod fake_relay;
#[path = "../support/fake_wallet.rs"]
mod fake_wallet;

use serde_json::Value;
use stage::{Buyer, Lnbits, Place, Server, Shop, gguf, ready, request_of};
use vend::wallet::sandbox::SandboxPayer;

const QUESTION: &str = "What is the capital of France?";
const ANSWER: &str = "The capital of France is Paris.";
const SANDBOX: &str = "[wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n";
const BUILTIN: &str = "[[endpoint]]\nname = \"tiny\"\nkind = \"builtin\"\n";

fn ollama(server: &Server) -> String {
    format!(
        "[[endpoint]]\nname = \"gpu\"\nkind = \"ollama\"\nurl = \"{}\"\n",
        server.http()
    )
}

/// `LNbits`' play money makes invoices of the main network: no node is behind them.
fn lnbits(place: &Place, wallet: &Lnbits) -> String {
    place.secret(
        "invoice_key",
        &format!("{}\n", wallet.as_str("seller_inkey")),
    );
    format!(
        "[wallet]\nbackend = \"lnbits\"\nnetwork = \"bitcoin\"\nurl = \"{}\"\ninvoice_key = {{ file = \"invoice_key\" }}\n\n",
        wallet.as_str("url")
    )
}

fn bolt11(answer: &Value) -> &str {
    answer["bolt11"].as_str().unwrap()
}

/// What must hold of a job that was delivered and paid.
fn settled(place: &Place, shop: &Shop, id: &str, asked: &Value, paid: u64) {
    let told = shop.paid(id);
    assert_eq!(told["amount_msat"], *asked);
    assert_eq!(*asked, paid);
    let job = place.job(id);
    assert_eq!(job["status"], "paid", "{job}");
    assert_eq!(job["paid_msat"], *asked, "{job}");
    assert_eq!(job["price_msat"], *asked, "{job}");
    assert_eq!(job["owed_to_buyer_msat"], 0, "{job}");
}

/// Result first, the invoice on it, then the payment.
fn sale_on_credit(place: &Place, shop: &Shop, relay: &Server, wallet: &Lnbits, encryption: &str) {
    let buyer = Buyer::ask(&relay.ws(), &place.npub(), QUESTION, encryption);
    buyer.feedback("processing");
    let result = buyer.result();
    assert_eq!(result["content"], ANSWER);
    assert_eq!(result["encryption"], encryption);
    let id = request_of(&result);
    let paid = wallet.pay(bolt11(&result));
    settled(place, shop, &id, &result["amount_msat"], paid);
    assert_eq!(place.job(&id)["result_id"], result["id"]);
    assert_eq!(place.job(&id)["encrypted"], encryption != "none");
}

/// The invoice first; nothing runs before it is paid.
fn sale_in_advance(place: &Place, shop: &Shop, relay: &Server, wallet: &Lnbits, encryption: &str) {
    let buyer = Buyer::ask(&relay.ws(), &place.npub(), QUESTION, encryption);
    let asked = buyer.feedback("payment-required");
    let id = request_of(&asked);
    let job = place.job(&id);
    assert_eq!(job["status"], "awaiting_payment", "{job}");
    assert_eq!(job["completion_tokens"], Value::Null, "{job}");
    let paid = wallet.pay(bolt11(&asked));
    let result = buyer.result();
    assert_eq!(result["content"], ANSWER);
    assert_eq!(result["encryption"], encryption);
    shop.event("the end of the job", |event| {
        event["event"] == "job" && event["job"]["id"] == *id && event["job"]["status"] == "paid"
    });
    let job = place.job(&id);
    assert_eq!(asked["amount_msat"], paid);
    assert_eq!(job["paid_msat"], paid, "{job}");
    assert_eq!(job["result_id"], result["id"], "{job}");
}

#[test]
fn a_real_sale() {
    if !ready("a_real_sale", &["relay", "ollama", "lnbits", "node"]) {
        return;
    }
    let (relay, wallet) = (Server::start("relay", &[]), Server::start("lnbits", &[]));
    let model = Server::start("ollama", &[]).up();
    model.teach();
    let (relay, wallet) = (relay.up(), Lnbits::open(wallet));
    let place = Place::new(&relay.ws(), "credit", "");
    let settings = format!("{}{}", lnbits(&place, &wallet), ollama(&model));
    place.settle(&relay.ws(), "credit", &settings);

    let shop = place.open();
    let status = place.vend(&["status", "--json"]).json();
    assert_eq!(status["online"], true, "{status}");
    assert_eq!(status["state"], "online", "{status}");
    for encryption in ["none", "nip04", "nip44"] {
        sale_on_credit(&place, &shop, &relay, &wallet, encryption);
    }
    let doctor = place.vend(&["doctor", "--json"]);
    assert_eq!(doctor.code, Some(0), "{}{}", doctor.out, doctor.err);
    assert_eq!(doctor.json()["ok"], true, "{}", doctor.out);
    shop.stop(&place);

    place.settle(&relay.ws(), "after", &settings);
    let shop = place.open();
    sale_on_credit(&place, &shop, &relay, &wallet, "nip44");
    shop.stop(&place);

    place.settle(&relay.ws(), "before", &settings);
    let shop = place.open();
    for encryption in ["none", "nip04", "nip44"] {
        sale_in_advance(&place, &shop, &relay, &wallet, encryption);
    }
    let jobs = place.vend(&["jobs", "--json"]).json();
    let all: u64 = jobs
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["paid_msat"].as_u64().unwrap())
        .sum();
    let figures = place.vend(&["stats", "--json"]).json();
    assert_eq!(jobs.as_array().unwrap().len(), 7);
    assert_eq!(figures["revenue_msat"], all, "{figures}");
    shop.stop(&place);
}

#[test]
fn the_openai_client_against_llama_cpp() {
    const KEY: &str = "a-key-of-the-test";
    if !ready(
        "the_openai_client_against_llama_cpp",
        &["relay", "llama", "node"],
    ) {
        return;
    }
    let file = gguf();
    let model = Server::start("llama", &[file.to_str().unwrap(), "--api-key", KEY]);
    let (relay, model) = (Server::start("relay", &[]).up(), model.up());
    let endpoint = format!(
        "{SANDBOX}\n[[endpoint]]\nname = \"llama\"\nkind = \"openai\"\nurl = \"{}\"\napi_key = {{ file = \"api_key\" }}\n",
        model.http()
    );
    let place = Place::new(&relay.ws(), "credit", &endpoint);
    place.secret("api_key", KEY);
    let shop = place.open();
    let npub = place.npub();

    let said = place.vend(&[
        "request", QUESTION, "--to", &npub, "--pay", "sandbox", "--json",
    ]);
    let sheet = said.json();
    assert_eq!(said.code, Some(0), "{sheet} {}", said.err);
    assert_eq!(sheet["content"], ANSWER);
    let id = sheet["id"].as_str().unwrap();
    let paid = sheet["paid_msat"].as_u64().unwrap();
    settled(&place, &shop, id, &sheet["amount_msat"], paid);

    let buyer = Buyer::ask(&relay.ws(), &npub, QUESTION, "nip44");
    let result = buyer.result();
    assert_eq!(result["content"], ANSWER);
    let payer = SandboxPayer::open(&place.data().join(vend::wallet::open::SANDBOX_FOLDER)).unwrap();
    let paid = payer.pay(bolt11(&result)).unwrap().amount.0;
    let id = request_of(&result);
    settled(&place, &shop, &id, &result["amount_msat"], paid);
    let doctor = place.vend(&["doctor", "--json"]);
    assert_eq!(doctor.code, Some(0), "{}{}", doctor.out, doctor.err);
    shop.stop(&place);
}

#[test]
fn ollama_faults_for_real() {
    if !ready("ollama_faults_for_real", &["relay", "ollama", "node"]) {
        return;
    }
    let relay = Server::start("relay", &[]);
    let mut model = Server::start("ollama", &[]).up();
    let relay = relay.up();
    let settings = format!("{SANDBOX}\n{}", ollama(&model));
    let place = Place::new(&relay.ws(), "credit", &settings);

    let doctor = place.vend(&["doctor", "--json"]);
    assert_eq!(doctor.code, Some(1), "{}", doctor.out);
    let sheet = doctor.json();
    let rows = sheet["checks"].as_array().unwrap();
    let row = rows.iter().find(|row| row["check"] == "model").unwrap();
    assert_eq!(row["status"], "fail", "{row}");
    assert_eq!(row["fix"], "ollama pull vend-tiny", "{row}");

    // As after a reboot: the shop is there before its model, and opens by itself when the model is.
    let shop = place.start();
    let state = shop.event("why it is offline", |event| {
        event["event"] == "state" && event["state"] == "offline" && event["detail"] != ""
    });
    let detail = state["detail"].as_str().unwrap();
    assert!(detail.contains("ollama pull"), "{state}");
    model.teach();
    shop.state("online");
    let npub = place.npub();
    let sold = || {
        let result = Buyer::ask(&relay.ws(), &npub, QUESTION, "none").result();
        assert_eq!(result["content"], ANSWER);
    };
    sold();
    model.kill();
    let state = shop.state("degraded");
    let detail = state["detail"].as_str().unwrap();
    assert!(detail.contains("endpoint gpu"), "{state}");
    assert_eq!(
        place.vend(&["status", "--json"]).json()["state"],
        "degraded"
    );
    model.restart();
    shop.state("online");
    sold();
    shop.stop(&place);
}

#[test]
fn relay_killed_and_restarted() {
    if !ready("relay_killed_and_restarted", &["relay", "node"]) {
        return;
    }
    let mut relay = Server::start("relay", &[]).up();
    let place = Place::new(&relay.ws(), "credit", &format!("{SANDBOX}\n{BUILTIN}"));
    let shop = place.open();
    let npub = place.npub();
    let sold = |relay: &Server| {
        let result = Buyer::ask(&relay.ws(), &npub, QUESTION, "nip44").result();
        assert_eq!(result["content"], ANSWER);
        request_of(&result)
    };
    let first = sold(&relay);
    relay.kill();
    shop.state("degraded");
    relay.restart();
    let second = sold(&relay);
    shop.state("online");
    assert_ne!(first, second);
    let jobs = place.vend(&["jobs", "--json"]).json();
    // The relay serves the first request again after the break: no work is done twice.
    assert_eq!(jobs.as_array().unwrap().len(), 2, "{jobs}");
    shop.stop(&place);
}

#[test]
fn kill_and_resume() {
    if !ready("kill_and_resume", &["relay", "lnbits", "node"]) {
        return;
    }
    let relay = Server::start("relay", &[]);
    let wallet = Lnbits::open(Server::start("lnbits", &[]));
    let relay = relay.up();
    let place = Place::new(&relay.ws(), "credit", "");
    let settings = format!("{}{BUILTIN}", lnbits(&place, &wallet));
    place.settle(&relay.ws(), "credit", &settings);

    let mut shop = place.open();
    let result = Buyer::ask(&relay.ws(), &place.npub(), QUESTION, "nip44").result();
    let id = request_of(&result);
    shop.kill();
    let before = place.job(&id);
    assert_eq!(before["result_id"], result["id"], "{before}");
    let paid = wallet.pay(bolt11(&result));
    assert_eq!(place.job(&id)["paid_msat"], 0);

    let shop = place.open();
    settle_after_restart(&place, &id, paid, &shop);
    // The same job, the same result: nothing was made a second time.
    let after = place.job(&id);
    assert_eq!(after["result_id"], result["id"], "{after}");
    assert_eq!(after["bolt11"], result["bolt11"], "{after}");
    let jobs = place.vend(&["jobs", "--json"]).json();
    assert_eq!(jobs.as_array().unwrap().len(), 1, "{jobs}");
    shop.stop(&place);
}

/// The payment may be seen while the shop is still going online, so the ledger is asked first.
fn settle_after_restart(place: &Place, id: &str, paid: u64, shop: &Shop) {
    if place.job(id)["status"] != "paid" {
        shop.paid(id);
    }
    let job = place.job(id);
    assert_eq!(job["status"], "paid", "{job}");
    assert_eq!(job["paid_msat"], paid, "{job}");
}

mod disk;
mod fakes;
mod forged;
mod gateway;
mod golden;
mod lnd;
mod newcomer;
mod nwc;
mod renamed;
mod sizes;
