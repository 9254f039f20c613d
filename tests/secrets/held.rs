//! With `payment.mode = "hold"` the seller makes the preimage, and whoever has it can take the payment. So until the payment
//! is taken it is nowhere but in the ledger, and when the payment went back it is not there any more either.

use nostr::{Event, EventBuilder, Keys, nips::nip09::EventDeletionRequest};
use vend::domain::job::Encryption;

use crate::fake_ollama::{FakeOllama, Fault};
use crate::fake_relay::FakeRelay;
use crate::run::{self, LONGEST, Run};
use crate::shop::{Home, answers, bolt11};
use crate::wallets::{Start, WALLETS};

/// Wallets that hold, among the table's.
const HOLDING: [&str; 3] = ["sandbox", "lnd", "nwc"];

/// A request, its invoice, and the secret of that.
struct Asked {
    request: Event,
    invoice: String,
    secret: String,
}

impl Asked {
    fn id(&self) -> String {
        self.request.id.to_hex()
    }
}

async fn ask(shop: &Run, relay: &FakeRelay, buyer: &Keys) -> Asked {
    let request = shop.home.request(buyer, Encryption::Plain, "hello");
    relay.inject(&request);
    let id = request.id.to_hex();
    let is = |event: &Event| answers(event).as_deref() == Some(&id) && bolt11(event).is_some();
    let asked = relay.wait_for(is, LONGEST).await.expect("an invoice");
    Asked {
        invoice: bolt11(&asked).unwrap(),
        secret: secret(&shop.home, &request).expect("made by the seller"),
        request,
    }
}

/// As it stands in the ledger, hex.
fn secret(home: &Home, request: &Event) -> Option<String> {
    let ledger = rusqlite::Connection::open(home.data().join("vend.db")).unwrap();
    let sql =
        "SELECT lower(hex(preimage)) FROM invoices WHERE job_id = ?1 AND preimage IS NOT NULL";
    let mut statement = ledger.prepare(sql).unwrap();
    let mut found = statement.query([request.id.as_bytes().as_slice()]).unwrap();
    found.next().unwrap().map(|row| row.get(0).unwrap())
}

async fn came_to(shop: &mut Run, asked: &Asked, what: &str) {
    let id = asked.id();
    shop.until(what, |event| {
        event["event"] == "job" && event["job"]["id"] == *id && event["what"] == what
    })
    .await;
}

async fn scan(name: &str, start: Start) {
    let home = Home::new();
    let relay = FakeRelay::start(None).await;
    let wallet = start(&home);
    let model = FakeOllama::start().await;
    let endpoint = format!(
        "name = \"gpu\"\nkind = \"ollama\"\nurl = \"{}\"",
        model.url()
    );
    run::configure(&home, &relay, "hold", &*wallet, "gemma2:latest", &endpoint);
    let mut shop = Run::start(home);
    shop.until("online", |event| event["state"] == "online")
        .await;

    // The work fails; the buyer cancels; nobody pays.
    model.set(Fault::TooLong);
    let failed = ask(&shop, &relay, &Keys::generate()).await;
    wallet.pay(&failed.invoice);
    came_to(&mut shop, &failed, "given_back").await;
    model.set(Fault::StallsMidStream);
    let buyer = Keys::generate();
    let cancelled = ask(&shop, &relay, &buyer).await;
    wallet.pay(&cancelled.invoice);
    model.started(1).await;
    let deletion = EventDeletionRequest::new().id(cancelled.request.id);
    let deletion = EventBuilder::delete(deletion).sign_with_keys(&buyer);
    relay.inject(&deletion.unwrap());
    came_to(&mut shop, &cancelled, "given_back").await;
    let unpaid = ask(&shop, &relay, &Keys::generate()).await;
    // One is held and worked for; of one the wallet refuses to settle, in words that repeat the secret.
    let held = ask(&shop, &relay, &Keys::generate()).await;
    wallet.pay(&held.invoice);
    came_to(&mut shop, &held, "held").await;
    model.started(2).await;
    let mut all = vec![failed, cancelled, unpaid, held];
    model.set(Fault::None);
    if wallet.refuse_to_settle() {
        let taken = ask(&shop, &relay, &Keys::generate()).await;
        wallet.pay(&taken.invoice);
        let refused = "the settling is refused";
        let words = |event: &serde_json::Value| {
            let words = event["message"].as_str().unwrap_or_default();
            words.contains("can't settle with") && words.contains("***")
        };
        shop.until(refused, words).await;
        all.push(taken);
    }
    let ids: Vec<_> = all.iter().map(Asked::id).collect();
    shop.ask_everything(&ids).await;
    for gone in &all[..2] {
        assert_eq!(secret(&shop.home, &gone.request), None, "{name}: of no use");
    }
    let (home, mut said) = shop.end().await;
    assert!(said.size("logs") > 1_000, "{name}: the log was read");
    for gone in &all[..2] {
        said.holds_no("the preimage of what went back", &gone.secret);
    }
    // What is not taken yet is in the ledger, so that it can be, and nowhere else in the data directory.
    for one in &all[2..] {
        assert_eq!(secret(&home, &one.request).as_ref(), Some(&one.secret));
    }
    said.forget("the ledger");
    for folder in ["logs", "sandbox", "wallets"] {
        let folder = home.data().join(folder);
        if folder.exists() {
            said.add_files(&folder);
        }
    }
    for one in &all {
        said.holds_no("the preimage of a payment that was not taken", &one.secret);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_preimage_of_a_payment_that_was_not_taken_is_in_anything_that_is_said_or_written() {
    let rows = WALLETS.iter().filter(|(name, _)| HOLDING.contains(name));
    let scans: Vec<_> = rows.map(|(name, start)| scan(name, *start)).collect();
    assert_eq!(scans.len(), HOLDING.len());
    futures::future::join_all(scans).await;
}
