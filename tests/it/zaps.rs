//! Gifts for a result (NIP-57): shown in the job's history when the address' provider vouches for them, never counted as paid.

use std::time::Duration;

use crate::support::fake_relay::FakeRelay;
use crate::support::fake_wallet::FakeWallet;
use crate::support::shop::{Home, Running, answers};
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use nostr::hashes::{Hash, sha256};
use nostr::secp256k1::{Secp256k1, SecretKey};
use nostr::{Event, EventBuilder, EventId, JsonUtil, Keys, Kind, Tag};
use serde_json::{Value, json};
use vend::domain::job::Encryption;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const LONGEST: Duration = Duration::from_secs(60);

fn bolt11(msat: u64, described: &str) -> String {
    InvoiceBuilder::new(Currency::Regtest)
        .description_hash(sha256::Hash::hash(described.as_bytes()))
        .payment_hash(sha256::Hash::hash(described.as_bytes()))
        .payment_secret(PaymentSecret([1; 32]))
        .current_timestamp()
        .min_final_cltv_expiry_delta(18)
        .amount_milli_satoshis(msat)
        .build_signed(|message| {
            Secp256k1::new()
                .sign_ecdsa_recoverable(message, &SecretKey::from_slice(&[7; 32]).unwrap())
        })
        .unwrap()
        .to_string()
}

fn tag(parts: &[&str]) -> Tag {
    Tag::parse(parts.iter().copied()).unwrap()
}

fn receipt(provider: &Keys, seller: &Keys, result: EventId, words: &str) -> Event {
    let seller = seller.public_key().to_hex();
    let request = EventBuilder::new(Kind::ZapRequest, words)
        .tags([tag(&["p", &seller]), tag(&["e", &result.to_hex()])])
        .sign_with_keys(&Keys::generate())
        .unwrap()
        .as_json();
    EventBuilder::new(Kind::ZapReceipt, "")
        .tags([
            tag(&["p", &seller]),
            tag(&["bolt11", &bolt11(21_000, &request)]),
            tag(&["description", &request]),
        ])
        .sign_with_keys(provider)
        .unwrap()
}

/// The next notice about zaps.
async fn told(shop: &mut Running) -> String {
    let wait = async {
        loop {
            let line = shop
                .lines
                .next_line()
                .await
                .unwrap()
                .expect("the shop runs");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == "notice" && event["category"] == "zap" {
                return event["message"].as_str().unwrap().to_owned();
            }
        }
    };
    tokio::time::timeout(LONGEST, wait).await.expect("a notice")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gift_is_shown_once_and_pays_nothing() {
    let provider = Keys::generate();
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/.well-known/lnurlp/me"))
        .respond_with(ResponseTemplate::new(200).set_body_json(
            json!({"tag": "payRequest", "allowsNostr": true, "nostrPubkey": provider.public_key().to_hex()}),
        ))
        .mount(&server)
        .await;
    let relay = FakeRelay::start(None).await;
    let home = Home::new();
    let wallet = FakeWallet::start(&home.folder.path().join("wallet.jsonl"));
    let (url, key) = (wallet.url(), wallet.invoice_key());
    home.configure("after", relay.url().as_str(), &url, &key);
    let address = format!("me@{}", server.address());
    let config = std::fs::read_to_string(home.config()).unwrap();
    let with = config.replace(
        "[nostr]\n",
        &format!("[nostr]\nlightning_address = \"{address}\"\n"),
    );
    std::fs::write(home.config(), with).unwrap();

    let mut running = home.run(None);
    assert!(relay.wait_subscribed("vend-jobs", 1, LONGEST).await);
    let request = home.request(&Keys::generate(), Encryption::Plain, "hello");
    relay.inject(&request);
    let id = request.id.to_hex();
    let result = relay
        .wait_for(
            |event| event.kind.as_u16() == 6050 && answers(event).as_ref() == Some(&id),
            LONGEST,
        )
        .await
        .expect("a result");

    // Anybody can write a receipt.
    relay.inject(&receipt(&Keys::generate(), &home.seller, result.id, "lies"));
    assert!(
        told(&mut running)
            .await
            .contains("not signed by the lightning address' provider")
    );
    let gift = receipt(&provider, &home.seller, result.id, "thank\u{1b}[2J you");
    relay.inject(&gift);
    let message = told(&mut running).await;
    assert!(
        message.contains("was zapped: 21 sats") && message.contains("thank"),
        "{message}"
    );
    assert!(!message.contains('\u{1b}'));

    // The same one again, after a restart too, is known; the next one is told.
    relay.inject(&gift);
    running.child.kill().await.unwrap();
    let mut running = home.run(None);
    assert!(relay.wait_subscribed("vend-jobs", 1, LONGEST).await);
    relay.inject(&gift);
    relay.inject(&receipt(&provider, &home.seller, result.id, "more"));
    // The forged one is still within the day that is asked for.
    let mut words = told(&mut running).await;
    while words.contains("not believed") {
        words = told(&mut running).await;
    }
    assert!(words.contains("more"), "{words}");
    let jobs = home.jobs().await;
    assert_eq!(jobs[0]["status"], "pending_payment");
    assert_eq!(jobs[0]["paid_msat"], 0);
    running.child.kill().await.unwrap();
}
