//! What the shop says and writes holds no secret, with any wallet: no key, no macaroon, no rune, no password, no preimage of
//! an invoice that nobody has paid, and none of a payment that is held or went back.
//!
//! A wallet joins by a row in [`wallets::WALLETS`].

mod held;
mod run;
mod said;
mod wallets;

#[path = "../support/fake_cln.rs"]
mod fake_cln;
#[path = "../support/fake_lnd.rs"]
mod fake_lnd;
#[path = "../support/fake_node.rs"]
mod fake_node;
#[path = "../support/fake_nwc.rs"]
mod fake_nwc;
#[path = "../support/fake_ollama.rs"]
mod fake_ollama;
#[path = "../support/fake_phoenixd.rs"]
mod fake_phoenixd;
#[path = "../support/fake_relay.rs"]
mod fake_relay;
#[path = "../support/fake_spark.rs"]
mod fake_spark;
#[path = "../support/fake_wallet.rs"]
mod fake_wallet;
#[path = "../support/shop.rs"]
mod shop;

use nostr::{Event, Keys, Kind, ToBech32};
use shop::{Home, answers, bolt11};
use vend::domain::job::Encryption;

use fake_relay::FakeRelay;
use run::{LONGEST, Run};
use wallets::{Start, WALLETS};

async fn scan(name: &str, start: Start) {
    let home = Home::new();
    let relay = FakeRelay::start(None).await;
    let wallet = start(&home);
    let endpoint = "name = \"tiny\"\nkind = \"builtin\"";
    run::configure(&home, &relay, "after", &*wallet, "vend-tiny", endpoint);
    let mut shop = Run::start(home);
    shop.until("online", |event| event["state"] == "online")
        .await;
    let buyer = Keys::generate();
    let mut jobs = Vec::new();
    let mut unpaid = String::new();
    for number in 0..2 {
        // Two requests with one text in one second would be one event.
        let prompt = format!("hello {number}");
        let request = shop.home.request(&buyer, Encryption::Plain, &prompt);
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
    shop.until("paid", |event| event["event"] == "paid").await;
    wallet.spill();
    shop.ask_everything(&jobs).await;
    let (home, said) = shop.end().await;
    assert!(said.size("logs") > 1_000, "{name}: the log was read");

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

async fn result_of(relay: &FakeRelay, id: &str) -> String {
    let is =
        |event: &Event| event.kind == Kind::from_u16(6050) && answers(event).as_deref() == Some(id);
    let result = relay.wait_for(is, LONGEST).await.expect("a result");
    bolt11(&result).expect("an invoice")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wallet_s_secret_is_in_anything_that_is_said_or_written() {
    // At once: most of it is waiting.
    let scans = WALLETS.iter().map(|(name, start)| scan(name, *start));
    futures::future::join_all(scans).await;
}
