//! A real `LNbits` wallet gets another name while invoices are open: it is the same wallet, and they are paid and booked.

use serde_json::Value;

use crate::fake_relay::FakeRelay;
use crate::stage::{Lnbits, Place, Server, ready, script};
use crate::{BUILTIN, QUESTION, lnbits};

/// The newest job, once its result was delivered with an invoice.
fn ask(place: &Place, relay: &str) -> Value {
    let (npub, known) = (place.npub(), place.vend(&["jobs", "--json"]).json());
    let args = [
        "request",
        QUESTION,
        "--relay",
        relay,
        "--to",
        &npub,
        "--timeout",
        "120",
        "--json",
    ];
    let said = place.vend(&args);
    let jobs = place.vend(&["jobs", "--json"]).json();
    let all = jobs.as_array().unwrap();
    assert_eq!(
        all.len(),
        known.as_array().unwrap().len() + 1,
        "{} {}",
        said.out,
        said.err
    );
    all[0].clone()
}

fn pay(wallet: &Lnbits, job: &Value) {
    wallet.pay(job["bolt11"].as_str().unwrap());
}

fn id(job: &Value) -> &str {
    job["id"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lnbits_renamed_while_open_is_paid_and_booked() {
    const NAME: &str = "lnbits_renamed_while_open_is_paid_and_booked";
    if !ready(NAME, &["lnbits"]) {
        return;
    }
    let relay = FakeRelay::start(None).await;
    let relay = relay.url().to_string();
    let wallet = Lnbits::open(Server::start("lnbits", &[]));
    let place = Place::new(&relay, "after", "");
    let settings = format!("{}{BUILTIN}", lnbits(&place, &wallet));
    place.settle(&relay, "after", &settings);
    let shop = place.open();
    let (first, second) = (ask(&place, &relay), ask(&place, &relay));
    let before = place.vend(&["status", "--json"]).json();

    let (url, key) = (wallet.as_str("url"), wallet.as_str("seller_adminkey"));
    let renamed = script(
        "lnbits.py",
        &["rename", "--url", url, "--key", key, "Bobs till"],
    );
    assert_eq!(renamed["name"], "Bobs till");
    pay(&wallet, &first);
    shop.paid(id(&first));
    shop.stop(&place);

    // A start under the new name takes up what was made under the old one.
    let shop = place.open();
    pay(&wallet, &second);
    shop.paid(id(&second));
    let after = place.vend(&["status", "--json"]).json();
    let (before, after) = (&before["wallet"], &after["wallet"]);
    assert!(
        before["detail"].as_str().unwrap().contains("seller"),
        "{before}"
    );
    assert!(
        after["detail"].as_str().unwrap().contains("Bobs till"),
        "{after}"
    );
    assert_eq!(before["identity"], after["identity"]);
    let audit = place.vend(&["audit", "--json"]).json();
    assert_eq!(audit["ok"], true, "{audit}");
    assert_eq!(audit["agree"], 2, "{audit}");
    shop.stop(&place);
}
