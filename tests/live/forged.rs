//! `LNbits` lets anybody who knows a payment hash, and a buyer does, send "paid" to everybody who listens for that payment on
//! its websocket. vend must not be among those who believe it.

use futures::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::stage::{Buyer, Lnbits, PATIENCE, Place, Server, ready, request_of};
use crate::{ANSWER, BUILTIN, QUESTION, bolt11, lnbits};

/// What the server itself sends when a payment has come.
fn success() -> Value {
    json!({"pending": false, "status": "success"})
}

/// A payment by its hash, as `LNbits`' own front page asks for it: without a key.
async fn shown(wallet: &Lnbits, hash: &str) -> Value {
    let url = format!("{}/api/v1/payments/{hash}", wallet.as_str("url"));
    let answer = reqwest::Client::new().get(url).send().await.unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// Forges the message, and hears it as one would who listens.
async fn forge(wallet: &Lnbits, hash: &str) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let socket = format!("{}/api/v1/ws/{hash}", wallet.as_str("url"));
    let listening = socket.replacen("http", "ws", 1);
    let (mut heard, _) = tokio_tungstenite::connect_async(listening).await.unwrap();
    let mut forged = reqwest::Url::parse(&socket).unwrap();
    forged
        .query_pairs_mut()
        .append_pair("data", &success().to_string());
    let answer = reqwest::Client::new().post(forged).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    let message = tokio::time::timeout(PATIENCE, heard.next()).await.unwrap();
    let Some(Ok(Message::Text(text))) = message else {
        panic!("{message:?}");
    };
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), success());
}

#[tokio::test(flavor = "multi_thread")]
async fn lnbits_forged_payment_changes_nothing() {
    const NAME: &str = "lnbits_forged_payment_changes_nothing";
    if !ready(NAME, &["relay", "lnbits", "node"]) {
        return;
    }
    let relay = Server::start("relay", &[]);
    let wallet = Lnbits::open(Server::start("lnbits", &[]));
    let relay = relay.up();
    let place = Place::new(&relay.ws(), "before", "");
    let settings = format!("{}{BUILTIN}", lnbits(&place, &wallet));
    place.settle(&relay.ws(), "before", &settings);
    let shop = place.open();

    let buyer = Buyer::ask(&relay.ws(), &place.npub(), QUESTION, "nip44");
    let asked = buyer.feedback("payment-required");
    let id = request_of(&asked);
    let hash = place.job(&id)["payment_hash"].as_str().unwrap().to_owned();
    forge(&wallet, &hash).await;
    // Two looks that surely began after it.
    wallet.looked_at(&hash, 3);
    let truth = shown(&wallet, &hash).await;
    assert_eq!(truth["paid"], false, "{truth}");
    let job = place.vend(&["jobs", "show", &id, "--json"]).json();
    assert_eq!(job["status"], "awaiting_payment", "{job}");
    assert_eq!(job["paid_msat"], 0, "{job}");
    assert_eq!(job["completion_tokens"], Value::Null, "{job}");
    assert_eq!(job["result_id"], Value::Null, "{job}");
    let told = job["timeline"].as_array().unwrap().iter();
    let told: Vec<_> = told.filter_map(|line| line["what"].as_str()).collect();
    assert_eq!(told, ["admitted", "invoiced"], "nothing has run");
    let audit = place.vend(&["audit", "--json"]);
    assert_eq!(audit.json()["agree"], 1, "{} {}", audit.out, audit.err);

    // And then it is paid for real.
    let paid = wallet.pay(bolt11(&asked));
    let result = buyer.result();
    assert_eq!(result["content"], ANSWER);
    shop.event("the end of the job", |event| {
        event["event"] == "job" && event["job"]["id"] == *id && event["job"]["status"] == "paid"
    });
    let job = place.job(&id);
    assert_eq!(job["paid_msat"], paid, "{job}");
    assert_eq!(job["result_id"], result["id"], "{job}");
    shop.stop(&place);
}
