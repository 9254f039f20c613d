//! vend sells through a real LND: macaroons and certificates of its own making, channels, and payments over them.

mod network;

use std::fs;

use serde_json::Value;
use vend::domain::Hex32;
use vend::domain::health::HealthLevel;
use vend::domain::id::{PaymentHash, Preimage};
use vend::domain::invoice::{Expected, Network, Verdict, check, judge};
use vend::domain::msat::Msat;
use vend::domain::time::Time;
use vend::wallet::lnd::Lnd;
use vend::wallet::{Issued, NewInvoice, PaymentStatus, Wallet, WalletError};

use crate::fake_ollama::{FakeOllama, Fault};
use crate::stage::{Buyer, PATIENCE, Place, Server, Shop, ready, request_of};
use crate::{ANSWER, BUILTIN, QUESTION, bolt11, settled};
use network::Lightning;

const AMOUNT: Msat = Msat(21_500);
/// What docs/wallets.md advises to bake.
const ADVISED: &[&str] = &[
    "info:read",
    "offchain:read",
    "invoices:read",
    "invoices:write",
];

/// The settings for this seller's node, with a macaroon file and a certificate file.
fn settings(network: &Lightning, macaroon: &str, certificate: &str) -> String {
    let wallet = wallet(network, macaroon, certificate);
    format!("{wallet}\n{BUILTIN}")
}

fn wallet(network: &Lightning, macaroon: &str, certificate: &str) -> String {
    format!(
        "[wallet]\nbackend = \"lnd\"\nnetwork = \"regtest\"\nurl = \"{}\"\nmacaroon = {{ file = \"{macaroon}\" }}\n\
         certificate = \"{certificate}\"\n",
        network.url()
    )
}

/// The client with this macaroon (hex), as the settings open it.
fn client(network: &Lightning, macaroon: &str) -> Lnd {
    // Another test was first: the same provider is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pem = fs::read_to_string(network.certificate()).unwrap().into();
    Lnd::open(&network.url(), &macaroon.into(), Some(&pem)).unwrap()
}

fn ask(secs: u64) -> NewInvoice {
    NewInvoice {
        amount: AMOUNT,
        memo: "a job of vend".to_owned(),
        expiry: std::time::Duration::from_secs(secs),
        ..NewInvoice::default()
    }
}

fn hold() -> (Preimage, NewInvoice) {
    use nostr::hashes::{Hash, sha256};
    let preimage = Preimage(Hex32(rand::random()));
    let hash = sha256::Hash::hash(&preimage.0.0).to_byte_array();
    let new = NewInvoice {
        hold_hash: Some(PaymentHash(Hex32(hash))),
        ..ask(600)
    };
    (preimage, new)
}

fn as_asked(issued: &Issued, expiry: std::time::Duration) {
    let expected = Expected {
        amount: AMOUNT,
        network: Network::Regtest,
        payment_hash: issued.payment_hash,
        longest_expiry: expiry,
    };
    check(&issued.bolt11, &expected, Time::now()).unwrap();
}

/// Looks until the wallet sees what is waited for.
async fn seen(
    wallet: &Lnd,
    issued: &Issued,
    fits: impl Fn(&PaymentStatus) -> bool,
) -> PaymentStatus {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let seen = wallet.lookup(issued.clone()).await.unwrap();
        if fits(&seen) {
            return seen;
        }
        assert!(std::time::Instant::now() < end, "{seen:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The payer's node finds its way by the invoice's hint, and pays what was asked and a fee for the way.
fn pay(network: &Lightning, bolt11: &str) -> u64 {
    let read = network.decode(bolt11);
    let hints = read["route_hints"].as_array().unwrap();
    assert_eq!(hints.len(), 1, "{read}");
    let before = network.payer_holds();
    let paid = network.pay(bolt11).done();
    assert_eq!(paid["status"], "SUCCEEDED", "{paid}");
    let (amount, fee) = (number(&paid["amount_msat"]), number(&paid["fee_msat"]));
    assert!(fee > 0, "{paid}");
    assert_eq!(before - network.payer_holds(), amount + fee);
    amount
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Result first (`credit`), then payment first; a third job's invoice is left to expire.
#[test]
fn lnd_sells_over_channels() {
    if !ready("lnd_sells_over_channels", &["relay", "node", "lnd"]) {
        return;
    }
    let relay = Server::start("relay", &[]);
    let network = Lightning::open(&["payer", "hub", "seller"]);
    let relay = relay.up();
    let place = Place::new(&relay.ws(), "credit", "");
    place.secret("vend.macaroon", &network.bake(ADVISED));
    let certificate = network.certificate();
    let wallet = settings(&network, "vend.macaroon", certificate.to_str().unwrap());
    place.settle(&relay.ws(), "credit", &wallet);

    let row = place.doctor("wallet");
    assert_eq!(row["status"], "ok", "{row}");
    let shop = place.open();
    let status = place.vend(&["status", "--json"]).json();
    let health = &status["wallet"];
    assert_eq!(health["detail"], "seller", "{health}");
    assert_eq!(health["network"], "regtest", "{health}");
    assert_eq!(health["identity"], network.seller_key(), "{health}");
    assert_eq!(health["balance_msat"], 0, "{health}");
    let room = number(&health["can_receive_msat"]);
    assert_eq!(room, network.seller_may_receive(), "{health}");
    assert!(room > 900_000_000, "{health}");

    let result = Buyer::ask(&relay.ws(), &place.npub(), QUESTION, "nip44").result();
    assert_eq!(result["content"], ANSWER);
    let first = request_of(&result);
    let paid = pay(&network, bolt11(&result));
    settled(&place, &shop, &first, &result["amount_msat"], paid);
    let doubled = network.pay(bolt11(&result)).refused();
    assert!(doubled.contains("invoice is already paid"), "{doubled}");
    shop.stop(&place);

    place.settle(&relay.ws(), "before", &wallet);
    let shop = place.open();
    let buyer = Buyer::ask(&relay.ws(), &place.npub(), QUESTION, "nip44");
    let asked = buyer.feedback("payment-required");
    let second = request_of(&asked);
    assert_eq!(place.job(&second)["status"], "awaiting_payment");
    let paid = pay(&network, bolt11(&asked));
    assert_eq!(buyer.result()["content"], ANSWER);
    became(&place, &shop, &second, "paid");
    assert_eq!(place.job(&second)["paid_msat"], paid);
    shop.stop(&place);

    let brief = format!("invoice_expiry_secs = 1\n\n{wallet}");
    place.settle(&relay.ws(), "credit", &brief);
    let shop = place.open();
    let result = Buyer::ask(&relay.ws(), &place.npub(), QUESTION, "none").result();
    let third = request_of(&result);
    became(&place, &shop, &third, "unpaid");
    let late = network.pay(bolt11(&result)).refused();
    assert!(late.contains("invoice expired"), "{late}");
    let job = place.job(&third);
    assert_eq!(job["paid_msat"], 0, "{job}");
    let figures = place.vend(&["stats", "--json"]).json();
    let revenue: u64 = [&first, &second]
        .map(|id| number(&place.job(id)["paid_msat"]))
        .iter()
        .sum();
    assert_eq!(figures["revenue_msat"], revenue, "{figures}");
    // What the ledger says is what the seller's channels hold.
    assert_eq!(network.seller_holds(), revenue);
    shop.stop(&place);
}

/// Waits until the job has this status. It may have got it while something else was waited for.
fn became(place: &Place, shop: &Shop, id: &str, status: &str) {
    if place.job(id)["status"] != status {
        shop.event(status, |event| {
            event["event"] == "job" && event["job"]["id"] == id && event["job"]["status"] == status
        });
    }
    assert_eq!(place.job(id)["status"], status);
}

/// LND's own macaroons and certificate, the right ones and others, and the words of `vend doctor`.
#[test]
fn lnd_macaroons_and_certificates() {
    if !ready("lnd_macaroons_and_certificates", &["relay", "lnd"]) {
        return;
    }
    let relay = Server::start("relay", &[]);
    let network = Lightning::open(&["other", "lone"]);
    let relay = relay.up();
    let place = Place::new(&relay.ws(), "credit", "");
    let own = network.certificate();
    let (own, others) = (own.to_str().unwrap(), network.payers_certificate());
    place.secret("advised", &network.bake(ADVISED));
    place.secret("blind", &network.bake(&["info:read", "invoices:write"]));
    let more = [ADVISED, &["macaroon:generate"]].concat();
    place.secret("maker", &network.bake(&more));
    place.secret("strangers", &network.bake_of_payer(ADVISED));
    place.secret("half", "0201");
    let doctor = |macaroon: &str, certificate: &str| {
        let wallet = settings(&network, macaroon, certificate);
        place.settle(&relay.ws(), "credit", &wallet);
        let row = place.doctor("wallet");
        (
            row["status"].as_str().unwrap().to_owned(),
            row["detail"].as_str().unwrap().to_owned(),
        )
    };
    let file = |name: &str| network.macaroon(name).to_str().unwrap().to_owned();
    let fine = doctor("advised", own);
    assert_eq!(fine.0, "ok", "{fine:?}");
    let fine = doctor(&file("invoice"), own);
    assert_eq!(fine.0, "ok", "{fine:?}");
    let mighty = doctor(&file("admin"), own);
    assert_eq!(mighty.0, "warn", "{mighty:?}");
    assert!(mighty.1.contains("this macaroon can spend"), "{mighty:?}");
    let maker = doctor("maker", own);
    assert_eq!(maker.0, "warn", "{maker:?}");
    for weak in [&file("readonly"), "blind", "strangers", "half"] {
        let refused = doctor(weak, own);
        assert_eq!(refused.0, "fail", "{weak}: {refused:?}");
        let words = "the wallet refuses the key";
        assert!(refused.1.contains(words), "{weak}: {refused:?}");
    }
    let other = doctor("advised", others.to_str().unwrap());
    assert_eq!(other.0, "fail", "{other:?}");
    let words = "another certificate than the one in wallet.certificate";
    assert!(other.1.contains(words), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lnd_holds_settles_and_cancels() {
    if !ready("lnd_holds_settles_and_cancels", &["lnd"]) {
        return;
    }
    let network = Lightning::open(&["payer", "seller"]);
    let wallet = client(&network, &network.bake(ADVISED));
    let health = wallet.health().await;
    assert_eq!(
        (health.health, health.detail.as_str()),
        (HealthLevel::Ok, "seller")
    );
    let begin = network.payer_holds();

    // Settled: the payer's proof is our preimage.
    let (preimage, new) = hold();
    let issued = wallet.create(new.clone()).await.unwrap();
    as_asked(&issued, new.expiry);
    // As after an answer that was lost: never a second invoice for one payment.
    assert_eq!(wallet.create(new).await, Ok(issued.clone()));
    assert_eq!(
        wallet.lookup(issued.clone()).await,
        Ok(PaymentStatus::Pending)
    );
    let early = wallet.settle(preimage).await;
    assert!(matches!(early, Err(WalletError::Rejected(_))), "{early:?}");
    let paying = network.pay(&issued.bolt11);
    let held = seen(&wallet, &issued, |seen| *seen != PaymentStatus::Pending).await;
    let amount = Some(AMOUNT);
    assert_eq!(held, PaymentStatus::Held { amount });
    wallet.settle(preimage).await.unwrap();
    // As after a crash in between.
    wallet.settle(preimage).await.unwrap();
    let paid = seen(&wallet, &issued, |seen| {
        matches!(seen, PaymentStatus::Paid { .. })
    })
    .await;
    let PaymentStatus::Paid {
        amount,
        at,
        preimage: proof,
        ..
    } = paid
    else {
        unreachable!("it is paid");
    };
    assert!(at.is_some());
    let verdict = judge(&issued.payment_hash, AMOUNT, amount, proof.as_ref());
    assert_eq!(
        verdict,
        Verdict::Paid {
            amount: AMOUNT,
            named: true
        }
    );
    let done = paying.done();
    assert_eq!(done["status"], "SUCCEEDED", "{done}");
    assert_eq!(done["preimage"], preimage.0.to_string());
    assert_eq!(begin - network.payer_holds(), AMOUNT.0);
    let settled = wallet.cancel(issued).await;
    assert!(
        matches!(settled, Err(WalletError::Rejected(_))),
        "{settled:?}"
    );

    // Canceled: the payment fails, and the payer has its money back.
    let begin = network.payer_holds();
    let (preimage, new) = hold();
    let issued = wallet.create(new).await.unwrap();
    let paying = network.pay(&issued.bolt11);
    seen(&wallet, &issued, |seen| {
        matches!(seen, PaymentStatus::Held { .. })
    })
    .await;
    wallet.cancel(issued.clone()).await.unwrap();
    wallet.cancel(issued.clone()).await.unwrap();
    assert_eq!(wallet.lookup(issued).await, Ok(PaymentStatus::Canceled));
    let done = paying.done();
    assert_eq!(done["status"], "FAILED", "{done}");
    assert_eq!(network.payer_holds(), begin);
    let late = wallet.settle(preimage).await;
    assert!(matches!(late, Err(WalletError::Rejected(_))), "{late:?}");
    let unknown = wallet.settle(Preimage(Hex32([5; 32]))).await;
    assert!(
        matches!(unknown, Err(WalletError::Rejected(_))),
        "{unknown:?}"
    );

    // LND cancels by itself what has expired.
    let issued = wallet.create(ask(1)).await.unwrap();
    let gone = seen(&wallet, &issued, |seen| *seen != PaymentStatus::Pending).await;
    assert_eq!(gone, PaymentStatus::Expired);
    let stranger = Issued {
        payment_hash: PaymentHash(Hex32([6; 32])),
        ..issued
    };
    assert_eq!(wallet.lookup(stranger).await, Ok(PaymentStatus::Unknown));
}

/// `payment.mode = "hold"`: the payer's money moves when the result is delivered, and comes back when the model fails.
#[tokio::test(flavor = "multi_thread")]
async fn lnd_holds_a_buyers_payment_until_the_result_is_delivered() {
    const NAME: &str = "lnd_holds_a_buyers_payment_until_the_result_is_delivered";
    if !ready(NAME, &["relay", "node", "lnd"]) {
        return;
    }
    let relay = Server::start("relay", &[]);
    let network = Lightning::open(&["payer", "seller"]);
    let relay = relay.up();
    // A model that can be made to fail: the real ones are in other tests.
    let model = FakeOllama::start().await;
    model.set_models(&["vend-tiny"]);
    model.set_answer(ANSWER);
    let endpoint = format!(
        "[[endpoint]]\nname = \"gpu\"\nkind = \"ollama\"\nurl = \"{}\"\n",
        model.url()
    );
    let place = Place::new(&relay.ws(), "hold", "");
    place.secret("vend.macaroon", &network.bake(ADVISED));
    let certificate = network.certificate();
    let wallet = wallet(&network, "vend.macaroon", certificate.to_str().unwrap());
    place.settle(&relay.ws(), "hold", &format!("{wallet}\n{endpoint}"));
    let shop = place.open();

    let begin = network.payer_holds();
    let buyer = Buyer::ask(&relay.ws(), &place.npub(), QUESTION, "nip44");
    let asked = buyer.feedback("payment-required");
    let id = request_of(&asked);
    assert!(model.requests().is_empty(), "nothing has run");
    let paying = network.pay(bolt11(&asked));
    assert_eq!(buyer.result()["content"], ANSWER);
    let done = paying.done();
    assert_eq!(done["status"], "SUCCEEDED", "{done}");
    let paid = number(&done["amount_msat"]);
    assert_eq!(begin - network.payer_holds(), paid);
    became(&place, &shop, &id, "paid");
    let job = place.job(&id);
    assert_eq!(job["paid_msat"], paid, "{job}");
    assert_eq!(job["price_msat"], asked["amount_msat"], "{job}");
    assert_eq!(history(&place, &id), "held paid");

    model.set(Fault::Rejected);
    let begin = network.payer_holds();
    let buyer = Buyer::ask(&relay.ws(), &place.npub(), QUESTION, "nip44");
    let asked = buyer.feedback("payment-required");
    let id = request_of(&asked);
    let paying = network.pay(bolt11(&asked));
    shop.event("the end of the hold", |event| {
        event["event"] == "job" && event["job"]["id"] == *id && event["what"] == "given_back"
    });
    let done = paying.done();
    assert_eq!(done["status"], "FAILED", "{done}");
    assert_eq!(network.payer_holds(), begin);
    let job = place.job(&id);
    assert_eq!(job["status"], "error", "{job}");
    assert_eq!(job["paid_msat"], 0, "{job}");
    assert_eq!(job["owed_to_buyer_msat"], 0, "{job}");
    assert_eq!(history(&place, &id), "held given_back");
    let figures = place.vend(&["stats", "--json"]).json();
    assert_eq!(figures["revenue_msat"], paid, "{figures}");
    shop.stop(&place);
}

/// What the job's timeline says of its held payment.
fn history(place: &Place, id: &str) -> String {
    let job = place.vend(&["jobs", "show", id, "--json"]).json();
    let all = job["timeline"].as_array().unwrap().iter();
    let words = all.map(|entry| entry["what"].as_str().unwrap());
    let words = words.filter(|word| ["held", "given_back", "paid"].contains(word));
    words.collect::<Vec<_>>().join(" ")
}
