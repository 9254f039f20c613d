//! Who pays first and pays more than the work used gets the rest as a balance, and the next request uses it, down to no invoice
//! at all; over restarts, and where the payment is held.

use crate::support::inside::{Inside, is_result, status_of};
use nostr::{Event, EventBuilder, Keys, Kind, Tag};
use serde_json::Value;
use vend::domain::command::Command;
use vend::domain::event::EventKind;
use vend::domain::job::Status;
use vend::wallet::open::SANDBOX_FOLDER;
use vend::wallet::sandbox::SandboxPayer;

/// A sat for each token.
fn settings(relay: &str, mode: &str) -> String {
    format!(
        "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n\
         [text]\nmodel = \"vend-tiny\"\nmax_tokens = 200\n\
         [price]\nmin_price_sats = 1\nprice_per_1k_tokens = 1000\n\
         [payment]\nmode = \"{mode}\"\n\
         [wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\
         [[endpoint]]\nname = \"local\"\nkind = \"builtin\"\n"
    )
}

async fn online(shop: &mut Inside) {
    shop.engine.ask(Command::GoOnline).await;
    shop.hear(|kind| matches!(kind, EventKind::State { state, .. } if state.sells()).then_some(()))
        .await;
}

fn ask(shop: &Inside, buyer: &Keys, max_tokens: u32, number: u32) -> Event {
    let request = EventBuilder::new(Kind::from_u16(5050), "")
        .tags([
            Tag::parse(["i", "What is the capital of France?", "text"]).unwrap(),
            Tag::parse(["param", "max_tokens", &max_tokens.to_string()]).unwrap(),
            Tag::public_key(shop.home.seller.public_key()),
            // Two requests of one second are two.
            Tag::parse(["alt", &format!("request {number}")]).unwrap(),
        ])
        .sign_with_keys(buyer)
        .unwrap();
    shop.relay.inject(&request);
    request
}

fn pay(shop: &Inside, invoice: &str) {
    let payer = SandboxPayer::open(&shop.home.data().join(SANDBOX_FOLDER)).unwrap();
    payer.pay(invoice).unwrap();
}

/// What the buyer was told at the end: the words, and the sum of its balance.
async fn told(shop: &Inside, request: &Event) -> (String, Option<u64>) {
    let is = |event: &Event| status_of(event).as_deref() == Some("success");
    let event = shop.answer(request, is).await;
    let tag = |name: &str, at: usize| {
        let tags = event.tags.iter().map(Tag::as_slice);
        let found = tags
            .filter(|tag| tag[0] == name)
            .find_map(|tag| tag.get(at));
        found.cloned()
    };
    let rest = tag("balance", 1).map(|msat| msat.parse().unwrap());
    (tag("status", 2).unwrap_or_default(), rest)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

/// Buys one answer; what was paid for it, what it used of the balance, and what it costs, msat.
async fn buy(
    shop: &mut Inside,
    buyer: &Keys,
    (turn, max_tokens): (u32, u32),
    invoice: bool,
) -> (u64, u64, u64) {
    let request = ask(shop, buyer, max_tokens, turn);
    if invoice {
        let bolt11 = shop.invoice(&request).await;
        pay(shop, &bolt11);
    }
    shop.until(&request, |job, _| job.status == Status::Paid)
        .await;
    shop.answer(&request, is_result).await;
    let job = shop.json(&["jobs", "show", &request.id.to_hex()]);
    assert_eq!(job["bolt11"].is_string(), invoice, "{job}");
    let (words, rest) = told(shop, &request).await;
    assert!(words.contains("balance"), "{words}");
    let buyers = shop.json(&["buyers"]);
    assert_eq!(rest, buyers[0]["balance_msat"].as_u64(), "{words}");
    (
        number(&job["paid_msat"]),
        number(&job["balance_used_msat"]),
        number(&job["price_msat"]),
    )
}

async fn what_is_left_is_used(mode: &str) {
    let mut shop = Inside::start(|relay| settings(relay, mode)).await;
    online(&mut shop).await;
    let buyer = Keys::generate();
    let (paid, used, price) = buy(&mut shop, &buyer, (1, 200), true).await;
    assert_eq!(used, 0);
    assert!(price < paid, "{price} of {paid}");
    let mut balance = paid - price;
    let mut confirmed = paid;
    assert_eq!(number(&shop.json(&["buyers"])[0]["balance_msat"]), balance);
    let stats = shop.json(&["stats"]);
    assert_eq!(number(&stats["balances_msat"]), balance);
    assert_eq!(number(&stats["revenue_msat"]), confirmed);

    // It outlasts the program, pays a part of the next quote, and gets the rest of that.
    shop = shop.restart().await;
    online(&mut shop).await;
    let (paid, used, price) = buy(&mut shop, &buyer, (2, 200), true).await;
    assert!(used > 0 && paid > 0);
    confirmed += paid;
    balance = balance + paid - price;
    assert_eq!(number(&shop.json(&["buyers"])[0]["balance_msat"]), balance);

    // A quote that it covers is not asked for.
    let (paid, used, price) = buy(&mut shop, &buyer, (3, 4), false).await;
    assert_eq!((paid, used), (0, price));
    balance -= price;
    let buyers = shop.json(&["buyers"]);
    assert_eq!(number(&buyers[0]["balance_msat"]), balance);
    assert_eq!(number(&buyers[0]["paid_msat"]), confirmed);
    let stats = shop.json(&["stats"]);
    assert_eq!(number(&stats["balances_msat"]), balance);
    assert_eq!(number(&stats["revenue_msat"]), confirmed, "never twice");
    assert_eq!(number(&stats["successful"]), 3);
    shop.close().await;
}

#[tokio::test]
async fn what_is_left_of_a_payment_pays_for_the_next_request() {
    what_is_left_is_used("before").await;
}

#[tokio::test]
async fn what_is_left_of_a_held_payment_pays_for_the_next_request() {
    what_is_left_is_used("hold").await;
}
