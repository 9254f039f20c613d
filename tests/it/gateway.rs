//! The gateway over a real relay: a shop of ours, and sellers that err, lie, ask for more, or stream one thing and send another.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::fake_relay::FakeRelay;
use crate::support::shop::Home;
use nostr::{Event, EventBuilder, Keys, Kind, Tag, ToBech32};
use reqwest::Response;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use vend::buyer::Payer;
use vend::config::schema::{Backend, Network as NetworkWord, Settings};
use vend::domain::invoice::Network;
use vend::domain::msat::Msat;
use vend::gateway::{Gateway, Setup, gateway_key};
use vend::ledger::Ledger;
use vend::wallet::sandbox::{SandboxPayer, SandboxWallet};
use vend::wallet::{NewInvoice, Wallet};

const LONGEST: Duration = Duration::from_secs(60);
/// Long enough for an honest client here, and short for one that never ends its head.
const HEAD_WAIT: Duration = Duration::from_secs(3);
const QUESTION: &str = "What is the capital of France?";

/// A buyer's machine: a data directory with a gateway on it.
struct Desk {
    data: tempfile::TempDir,
    gateway: Gateway,
    key: String,
    ledger: Ledger,
}

impl Desk {
    /// `sandbox`: the folder of the sellers' play money.
    async fn open(relay: &FakeRelay, sandbox: &Path, change: impl FnOnce(&mut Settings)) -> Self {
        let data = tempfile::tempdir().unwrap();
        Self::on(data, relay, sandbox, change).await
    }

    async fn on(
        data: tempfile::TempDir,
        relay: &FakeRelay,
        sandbox: &Path,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = Settings::default();
        settings.nostr.relays = vec![relay.url().to_string()];
        settings.wallet.backend = Backend::Sandbox;
        settings.wallet.network = NetworkWord::Regtest;
        settings.gateway.own_first = false;
        change(&mut settings);
        let ledger = Ledger::open(&data.path().join("vend.db")).unwrap();
        let setup = Setup {
            settings,
            data: data.path().to_owned(),
            ledger: ledger.clone(),
            payer: Some(Payer::Sandbox(SandboxPayer::open(sandbox).unwrap())),
            own: None,
            us: None,
            head_wait: HEAD_WAIT,
        };
        let gateway = Gateway::start(setup, "127.0.0.1:0").await.unwrap();
        let key = gateway_key(data.path()).unwrap().expose_secret().to_owned();
        Self {
            data,
            gateway,
            key,
            ledger,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address())
    }

    async fn ask(&self, body: &Value, retry: u32) -> Response {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(LONGEST)
            .build()
            .unwrap();
        client
            .post(self.url("/v1/chat/completions"))
            .bearer_auth(&self.key)
            .header("x-stainless-retry-count", retry.to_string())
            .json(body)
            .send()
            .await
            .unwrap()
    }

    async fn purchases(&self) -> Vec<Value> {
        let all = self.ledger.purchases(false, 1_000).await.unwrap();
        all.iter()
            .map(|one| serde_json::to_value(&one.view).unwrap())
            .collect()
    }
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 16})
}

async fn json_of(response: Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

/// What a street of sellers plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plays {
    Honest,
    /// Pays first: 30 sats.
    First,
    Dearer,
    WrongAmount,
    Garbage,
    Empty,
    Refuses,
    /// Takes the money and says `error`.
    Thief,
    /// Streams one thing and sends another.
    TwoFaced,
    /// Streams the answer in parts.
    Streams,
}

struct Stall {
    keys: Keys,
    plays: Plays,
    wallet: Arc<SandboxWallet>,
}

impl Stall {
    fn open(relay: &FakeRelay, sandbox: &Path, plays: Plays, model: &str, sats: u64) -> Arc<Self> {
        let stall = Arc::new(Self {
            keys: Keys::generate(),
            plays,
            wallet: Arc::new(SandboxWallet::open(sandbox, Network::Regtest).unwrap()),
        });
        let content = json!({
            "name": format!("{plays:?}"), "encryptionSupported": true, "stream": true,
            "nip90Params": {"model": {"values": [model]}},
            "pricing": {model: {"min_msat": sats * 1_000, "input_msat_per_1k": 0, "output_msat_per_1k": 0}},
        });
        let tags = [["d", "x"], ["k", "5050"]].map(|parts| Tag::parse(parts).unwrap());
        let event = EventBuilder::new(Kind::from_u16(31_990), content.to_string())
            .tags(tags)
            .sign_with_keys(&stall.keys)
            .unwrap();
        relay.inject(&event);
        tokio::spawn(stall.clone().sell(relay.clone()));
        stall
    }

    fn npub(&self) -> String {
        self.keys.public_key().to_bech32().unwrap()
    }

    async fn sell(self: Arc<Self>, relay: FakeRelay) {
        let us = self.keys.public_key();
        let mut seen = HashSet::new();
        loop {
            let asked = |event: &Event| {
                event.kind == Kind::from_u16(5050)
                    && event.tags.public_keys().any(|key| *key == us)
                    && !seen.contains(&event.id)
            };
            let Some(request) = relay.wait_for(asked, LONGEST * 5).await else {
                return;
            };
            seen.insert(request.id);
            tokio::spawn(self.clone().serve(relay.clone(), request));
        }
    }

    async fn bill(&self, request: &Event, sats: u64) -> String {
        let new = NewInvoice {
            amount: Msat::from_sats(sats),
            memo: "a job".to_owned(),
            expiry: Duration::from_secs(600),
            label: request.id.to_hex(),
            hold_hash: None,
        };
        self.wallet.create(new).await.unwrap().bolt11
    }

    fn say(&self, relay: &FakeRelay, request: &Event, kind: u16, content: &str, more: &[&[&str]]) {
        let (id, buyer) = (request.id.to_hex(), request.pubkey.to_hex());
        let mut tags = vec![["e", id.as_str()], ["p", buyer.as_str()]].map_tags();
        tags.extend(
            more.iter()
                .map(|parts| Tag::parse(parts.iter().copied()).unwrap()),
        );
        let event = EventBuilder::new(Kind::from_u16(kind), content)
            .tags(tags)
            .sign_with_keys(&self.keys)
            .unwrap();
        relay.inject(&event);
    }

    async fn serve(self: Arc<Self>, relay: FakeRelay, request: Event) {
        let (asked, sats) = match self.plays {
            Plays::Dearer => ("90000", 90),
            Plays::WrongAmount => ("10000", 30),
            Plays::First | Plays::Thief => ("30000", 30),
            _ => ("10000", 10),
        };
        let bolt11 = self.bill(&request, sats).await;
        let amount: &[&str] = &["amount", asked, &bolt11];
        let result =
            |content: &str, more: &[&[&str]]| self.say(&relay, &request, 6050, content, more);
        let part = |text: &str| {
            self.say(&relay, &request, 7000, text, &[&["status", "partial"]]);
        };
        match self.plays {
            Plays::Honest | Plays::Dearer | Plays::WrongAmount => result("Paris", &[amount]),
            Plays::Garbage => self.say(&relay, &request, 6050, "?iv=", &[&["encrypted"]]),
            Plays::Empty => result("", &[]),
            Plays::Refuses => self.say(
                &relay,
                &request,
                7000,
                "",
                &[&["status", "error", "too busy"]],
            ),
            Plays::TwoFaced => {
                part("Lon");
                tokio::time::sleep(Duration::from_millis(500)).await;
                result("Paris", &[amount]);
            }
            Plays::Streams => {
                for text in ["Pa", "Paris is", "Paris is the"] {
                    part(text);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                result("Paris is the capital.", &[amount, &["usage", "12", "5"]]);
            }
            Plays::First | Plays::Thief => {
                self.say(
                    &relay,
                    &request,
                    7000,
                    "",
                    &[&["status", "payment-required"], amount],
                );
                let hash = vend::domain::invoice::read(&bolt11).unwrap();
                let hash = vend::domain::invoice::payment_hash(&hash).unwrap();
                let issued = vend::wallet::Issued {
                    bolt11: bolt11.clone(),
                    payment_hash: hash,
                    backend_ref: None,
                };
                while !matches!(
                    self.wallet.lookup(issued.clone()).await,
                    Ok(vend::wallet::PaymentStatus::Paid { .. })
                ) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                if self.plays == Plays::Thief {
                    self.say(&relay, &request, 7000, "", &[&["status", "error", "gone"]]);
                } else {
                    result("Paris", &[]);
                }
            }
        }
    }
}

trait MapTags {
    fn map_tags(self) -> Vec<Tag>;
}

impl<const N: usize> MapTags for Vec<[&str; N]> {
    fn map_tags(self) -> Vec<Tag> {
        self.into_iter()
            .map(|parts| Tag::parse(parts).unwrap())
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_is_bought_from_a_shop_of_ours_plain_and_streamed() {
    let relay = FakeRelay::start(None).await;
    let home = Home::new();
    let url = relay.url().to_string();
    let text = format!(
        "[nostr]\nrelays = [\"{url}\"]\nkinds = [5050]\n[text]\nmodel = \"vend-tiny\"\nmax_tokens = 16\n\
         [wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\
         [[endpoint]]\nname = \"local\"\nkind = \"builtin\"\nslots = 2\n"
    );
    fs::write(home.config(), text).unwrap();
    fs::set_permissions(home.config(), fs::Permissions::from_mode(0o600)).unwrap();
    let mut running = home.run(None);
    running
        .until(|event| event["event"] == "state" && event["state"] == "online")
        .await;
    relay
        .wait_for(|event| event.kind == Kind::from_u16(31_990), LONGEST)
        .await
        .expect("not announced");
    let sandbox = home.data().join("sandbox");
    let desk = Desk::open(&relay, &sandbox, |_| {}).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let models = client
        .get(desk.url("/v1/models"))
        .bearer_auth(&desk.key)
        .send()
        .await
        .unwrap();
    let models = json_of(models).await;
    let ids: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["id"].as_str())
        .collect();
    assert!(
        ids.contains(&"auto") && ids.iter().any(|id| id.starts_with("vend-tiny")),
        "{models}"
    );

    let answer = desk.ask(&chat("vend-tiny"), 0).await;
    assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let (seller, sats, job) = (
        header("x-vend-seller"),
        header("x-vend-sats"),
        header("x-vend-job"),
    );
    assert_eq!(seller, home.seller.public_key().to_bech32().unwrap());
    let body = json_of(answer).await;
    assert_eq!(body["object"], "chat.completion");
    let content = body["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(!content.is_empty());
    running
        .until(|event| event["event"] == "paid" && event["id"] == job.as_str())
        .await;
    let shown = home.show(&job).await.unwrap();
    assert_eq!(
        shown["paid_msat"].as_u64().unwrap(),
        sats.parse::<u64>().unwrap() * 1_000
    );
    assert_eq!(shown["encrypted"], true);

    let mut streamed = chat("auto");
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({"include_usage": true});
    let answer = desk.ask(&streamed, 0).await;
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    let (said, usage) = read_stream(&text);
    assert!(
        !said.is_empty() && usage["total_tokens"].as_u64().unwrap() > 0,
        "{text}"
    );
    let rows = desk.purchases().await;
    assert_eq!(rows.len(), 2);
    assert!(
        rows.iter().all(|row| row["status"] == "delivered"),
        "{rows:?}"
    );
    desk.gateway.stop().await;
    running.child.kill().await.unwrap();
}

/// The text of a stream and its usage; it must end as OpenAI's do.
fn read_stream(text: &str) -> (String, Value) {
    let events: Vec<&str> = text
        .split("\n\n")
        .filter(|event| !event.is_empty())
        .collect();
    assert_eq!(events.last(), Some(&"data: [DONE]"), "{text}");
    let (mut said, mut usage, mut reasons) = (String::new(), Value::Null, 0);
    for (index, event) in events[..events.len() - 1].iter().enumerate() {
        let chunk: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(chunk["object"], "chat.completion.chunk");
        let Some(choice) = chunk["choices"].get(0) else {
            usage = chunk["usage"].clone();
            continue;
        };
        if index == 0 {
            assert_eq!(choice["delta"]["role"], "assistant");
        }
        said.push_str(choice["delta"]["content"].as_str().unwrap_or(""));
        reasons += usize::from(choice["finish_reason"] == "stop");
    }
    assert_eq!(reasons, 1, "{text}");
    (said, usage)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_seller_is_left_for_the_next_and_nothing_is_paid_to_it() {
    let relay = FakeRelay::start(None).await;
    let sandbox = tempfile::tempdir().unwrap();
    let honest = Stall::open(&relay, sandbox.path(), Plays::Honest, "m", 10);
    for plays in [
        Plays::Dearer,
        Plays::WrongAmount,
        Plays::Garbage,
        Plays::Empty,
        Plays::Refuses,
    ] {
        // Each has a model of its own that it shares with the honest one, and is cheaper.
        let model = format!("{plays:?}").to_lowercase();
        Stall::open(&relay, sandbox.path(), plays, &model, 9);
        let other = Stall::open(&relay, sandbox.path(), Plays::Honest, &model, 10);
        let desk = Desk::open(&relay, sandbox.path(), |_| {}).await;
        let answer = desk.ask(&chat(&model), 0).await;
        assert_eq!(answer.status(), 200, "{plays:?}: {:?}", answer.text().await);
        assert_eq!(
            answer.headers()["x-vend-seller"].to_str().unwrap(),
            other.npub(),
            "{plays:?}"
        );
        assert_eq!(answer.headers()["x-vend-sats"], "10");
        let rows = desk.purchases().await;
        let failed: Vec<&Value> = rows
            .iter()
            .filter(|row| row["status"] == "failed")
            .collect();
        assert_eq!((rows.len(), failed.len()), (2, 1), "{plays:?}: {rows:?}");
        assert_eq!(failed[0]["paid_msat"], 0);
        assert!(failed[0]["error"].is_string(), "{plays:?}");
        desk.gateway.stop().await;
    }
    drop(honest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thief_is_paid_once_and_a_client_that_tries_again_does_not_buy_again() {
    let relay = FakeRelay::start(None).await;
    let sandbox = tempfile::tempdir().unwrap();
    Stall::open(&relay, sandbox.path(), Plays::Thief, "m", 30);
    Stall::open(&relay, sandbox.path(), Plays::Honest, "m", 40);
    let desk = Desk::open(&relay, sandbox.path(), |_| {}).await;
    for retry in 0..3 {
        let answer = desk.ask(&chat("m"), retry).await;
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["x-should-retry"], "false");
        let body = json_of(answer).await;
        assert!(
            body["error"]["message"].as_str().unwrap().contains("gone"),
            "{body}"
        );
    }
    let rows = desk.purchases().await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (&rows[0]["status"], &rows[0]["paid_msat"]),
        (&json!("lost"), &json!(30_000))
    );
    // Asked anew it is bought, from another: what was lost costs the place.
    let mut other = chat("m");
    other["max_tokens"] = json!(17);
    let answer = desk.ask(&other, 0).await;
    assert_eq!(answer.status(), 200);
    let job = answer.headers()["x-vend-job"].clone();
    let again = desk.ask(&other, 1).await;
    assert_eq!(again.headers()["x-vend-job"], job, "joined");
    assert_eq!(desk.purchases().await.len(), 2);
    desk.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_from_its_parts_and_ends_with_an_error_where_they_differ() {
    let relay = FakeRelay::start(None).await;
    let sandbox = tempfile::tempdir().unwrap();
    Stall::open(&relay, sandbox.path(), Plays::Streams, "streams", 10);
    Stall::open(&relay, sandbox.path(), Plays::TwoFaced, "two-faced", 10);
    let desk = Desk::open(&relay, sandbox.path(), |_| {}).await;
    let mut body = chat("streams");
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let text = desk.ask(&body, 0).await.text().await.unwrap();
    let (said, usage) = read_stream(&text);
    assert_eq!(said, "Paris is the capital.");
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(12), &json!(5))
    );
    assert!(
        text.matches("chat.completion.chunk").count() > 3,
        "in parts: {text}"
    );
    body["model"] = json!("two-faced");
    let text = desk.ask(&body, 0).await.text().await.unwrap();
    assert!(
        text.contains("\"Lon\"") && text.contains("another one than it had streamed"),
        "{text}"
    );
    assert!(!text.contains("[DONE]"), "{text}");
    desk.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caps_hold_with_fifty_requests_at_once() {
    let relay = FakeRelay::start(None).await;
    let sandbox = tempfile::tempdir().unwrap();
    Stall::open(&relay, sandbox.path(), Plays::First, "m", 30);
    let desk = Desk::open(&relay, sandbox.path(), |settings| {
        settings.gateway.max_sats_per_day = 200;
    })
    .await;
    let asks = (0..50).map(|number| {
        let mut body = chat("m");
        body["seed"] = json!(number);
        let desk = &desk;
        async move { desk.ask(&body, 0).await.status().as_u16() }
    });
    let all = futures::future::join_all(asks).await;
    let sold = all.iter().filter(|status| **status == 200).count();
    assert_eq!(sold, 6, "{all:?}");
    assert!(
        all.iter().all(|status| [200, 402].contains(status)),
        "{all:?}"
    );
    let rows = desk.purchases().await;
    let paid: u64 = rows
        .iter()
        .filter_map(|row| row["paid_msat"].as_u64())
        .sum();
    assert_eq!(paid, 180_000);
    // Dearer than one request may be.
    Stall::open(&relay, sandbox.path(), Plays::Honest, "dear", 101);
    let answer = desk.ask(&chat("dear"), 0).await;
    let status = answer.status();
    let body = json_of(answer).await;
    assert!(status == 402 || status == 404, "{body}");
    desk.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_web_pages_get_nothing() {
    let relay = FakeRelay::start(None).await;
    let sandbox = tempfile::tempdir().unwrap();
    let desk = Desk::open(&relay, sandbox.path(), |_| {}).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = desk.url("/v1/models");
    let get = || client.get(&url).bearer_auth(&desk.key);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    let wrong = client
        .get(&url)
        .bearer_auth("sk-vend-0")
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 401);
    assert_eq!(json_of(wrong).await["error"]["code"], "invalid_api_key");
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("host", "evil.example:8450"),
    ] {
        let answer = get().header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{name}: {value}");
        assert!(
            answer
                .headers()
                .keys()
                .all(|key| !key.as_str().starts_with("access-control"))
        );
    }
    let health = client.get(desk.url("/healthz")).send().await.unwrap();
    assert_eq!(health.status(), 200);
    let unknown = client
        .get(desk.url("/v1/embeddings"))
        .bearer_auth(&desk.key)
        .send()
        .await
        .unwrap();
    assert_eq!(unknown.status(), 404);
    let none = desk.ask(&chat("nobody-has-it"), 0).await;
    assert_eq!(none.status(), 404);
    assert_eq!(json_of(none).await["error"]["code"], "model_not_found");
    let mode = fs::metadata(desk.data.path().join("gateway.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    desk.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_finish_a_head_are_left_and_hold_nobody_up() {
    let relay = FakeRelay::start(None).await;
    let sandbox = tempfile::tempdir().unwrap();
    Stall::open(&relay, sandbox.path(), Plays::Honest, "m", 10);
    let desk = Desk::open(&relay, sandbox.path(), |_| {}).await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = tokio::net::TcpStream::connect(desk.gateway.address())
            .await
            .unwrap();
        stream
            .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-a: ")
            .await
            .unwrap();
        slow.push(stream);
    }
    assert_eq!(desk.ask(&chat("m"), 0).await.status(), 200);
    // Each is ended by the gateway: with an answer or without one, but never kept.
    for mut stream in slow {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(LONGEST, stream.read_to_end(&mut rest)).await;
        ended.expect("it is ended").unwrap();
        let said = String::from_utf8_lossy(&rest);
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 408"),
            "{said}"
        );
    }
    desk.gateway.stop().await;
}
