//! The gateway dies at every point of a purchase, in both orders of payment, and under load at any moment: no payment is made
//! twice, none is unrecorded, and no answer is taken from one who was not paid. `VEND_GATEWAY_KILLS` says how often it is killed
//! (50 unless told).

#[path = "support/fake_relay.rs"]
mod fake_relay;
#[path = "support/shop.rs"]
mod shop;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use fake_relay::FakeRelay;
use nostr::Kind;
use serde_json::{Value, json};
use shop::{Home, Running};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use vend::crash::BUYER_POINTS;

const LONGEST: Duration = Duration::from_secs(180);
const SIGABRT: i32 = 6;
/// Programs that ask at the same time.
const AT_ONCE: usize = 8;

/// A shop that sells, and the folder on which gateways come and go.
struct World {
    home: Home,
    _relay: FakeRelay,
    shop: Running,
    key: String,
}

struct Gateway {
    child: Child,
    url: String,
}

fn vend(home: &Home, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
    command.arg("--data-dir").arg(home.data());
    command.arg("--config").arg(home.config());
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl World {
    async fn open(mode: &str) -> Self {
        // An error means that one is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (home, relay) = (Home::new(), FakeRelay::start(None).await);
        let url = relay.url().to_string();
        let sandbox = "backend = \"sandbox\"\n";
        home.configure_with(mode, &url, sandbox, "vend-tiny", "kind = \"builtin\"\n");
        let text = fs::read_to_string(home.config()).unwrap();
        let text = text.replace("announce = false", "announce = true");
        home.write_config(&format!(
            "{text}[gateway]\nown_first = false\nmax_sats_per_day = 1000000\n"
        ));
        let mut shop = home.run(None);
        shop.until(|event| event["event"] == "state" && event["state"] == "online")
            .await;
        let announced = relay.wait_for(|event| event.kind == Kind::from_u16(31_990), LONGEST);
        announced.await.expect("announced");
        let key = vend(&home, &["gateway", "key"]).output().await.unwrap();
        let key = String::from_utf8(key.stdout).unwrap().trim().to_owned();
        Self {
            home,
            _relay: relay,
            shop,
            key,
        }
    }

    async fn gateway(&self, crash_at: Option<&str>) -> Gateway {
        let mut command = vend(&self.home, &["gateway", "--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some(point) = crash_at {
            command.env("VEND_CRASH_AT", point);
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(LONGEST, lines.next_line()).await;
        let line = line.unwrap().unwrap().expect("an address");
        let url = line.split_whitespace().next().unwrap().to_owned();
        Gateway { child, url }
    }

    /// One chat; the status with the seller it was bought from, or none where the gateway died.
    async fn ask(&self, gateway: &str, prompt: &str, retry: u32) -> Option<(u16, Option<String>)> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(LONGEST)
            .build();
        let body = json!({"model": "auto", "max_tokens": 16, "messages": [{"role": "user", "content": prompt}]});
        let answer = client
            .unwrap()
            .post(format!("{gateway}/chat/completions"))
            .bearer_auth(&self.key)
            .header("x-stainless-retry-count", retry.to_string())
            .json(&body)
            .send()
            .await
            .ok()?;
        let seller = answer.headers().get("x-vend-seller");
        let seller = seller.map(|value| value.to_str().unwrap().to_owned());
        Some((answer.status().as_u16(), seller))
    }

    /// Payment hashes that the sandbox's books show as paid.
    fn paid(&self) -> BTreeSet<String> {
        let files = fs::read_dir(self.home.data().join("sandbox")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names
            .filter_map(|name| name.strip_suffix(".paid").map(str::to_owned))
            .collect()
    }

    async fn purchases(&self) -> Vec<Value> {
        let out = vend(&self.home, &["purchases", "--json"]).output().await;
        let out = out.unwrap();
        serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)))
    }

    /// Waits until the purchases say of each payment what the wallet's books say, and of nothing else that it was paid.
    async fn reconciled(&self, what: &str) -> Vec<Value> {
        let waiting = async {
            loop {
                let (books, rows) = (self.paid(), self.purchases().await);
                let written = rows.iter().filter(|row| row["paid_msat"] != 0);
                let mut times: BTreeMap<&str, usize> = BTreeMap::new();
                for row in written {
                    *times
                        .entry(row["payment_hash"].as_str().unwrap())
                        .or_default() += 1;
                }
                assert!(times.values().all(|times| *times == 1), "{what}: {rows:?}");
                assert!(
                    times.keys().all(|hash| books.contains(*hash)),
                    "{what}: written as paid, and was not: {rows:?}"
                );
                if times.len() == books.len() {
                    return rows;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let rows = tokio::time::timeout(LONGEST, waiting).await;
        rows.unwrap_or_else(|_| panic!("{what}: a payment is not written down"))
    }
}

async fn all_points(mode: &str) {
    let mut world = World::open(mode).await;
    for point in BUYER_POINTS {
        let what = format!("{mode} {point}");
        let prompt = format!("What is the capital of France? {point}");
        let before = (world.paid().len(), world.purchases().await.len());
        let mut gateway = world.gateway(Some(point)).await;
        let died = world.ask(&gateway.url, &prompt, 0).await;
        assert_eq!(died, None, "{what}: no answer of one that died");
        let status = gateway.child.wait().await.unwrap();
        assert_eq!(status.signal(), Some(SIGABRT), "{what}");
        // The client tries again, as OpenAI's own do.
        let mut gateway = world.gateway(None).await;
        let (status, _) = world
            .ask(&gateway.url, &prompt, 1)
            .await
            .expect("an answer");
        let rows = world.reconciled(&what).await;
        let paid = world.paid().len() - before.0;
        let new = rows.len() - before.1;
        assert!(paid <= 1, "{what}: paid twice: {rows:?}");
        let early = ["buy.begun", "buy.sent", "buy.intent.before"].contains(point);
        // Nothing was bought before the intent; from there on nothing is bought again.
        assert_eq!(new, if early { 2 } else { 1 }, "{what}: {rows:?}");
        let expected = match (*point, mode) {
            // It may have been paid, so nothing is bought again, and nobody answers what nobody paid.
            ("buy.intent.after", "before") => (503, 0),
            // With the result first, the answer is there.
            ("buy.intent.after", _) => (200, 0),
            _ => (200, 1),
        };
        assert_eq!((status, paid), expected, "{what}: {rows:?}");
        gateway.child.kill().await.unwrap();
    }
    world.shop.child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_pays_first_outlives_every_crash() {
    all_points("before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_pays_after_outlives_every_crash() {
    all_points("after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_under_load_pay_nothing_twice_and_lose_no_payment() {
    let kills = std::env::var("VEND_GATEWAY_KILLS").ok();
    let kills: usize = kills.and_then(|n| n.parse().ok()).unwrap_or(50);
    let mut world = World::open("before").await;
    let seller = vend::identity::npub(&world.home.seller.public_key());
    let mut answered = 0;
    for round in 0..kills {
        let mut gateway = world.gateway(None).await;
        let asks = (0..AT_ONCE).map(|n| {
            let (world, url) = (&world, gateway.url.clone());
            async move {
                world
                    .ask(&url, &format!("What is {round} plus {n}?"), 0)
                    .await
            }
        });
        let asks = futures::future::join_all(asks);
        let life = Duration::from_millis(rand::random_range(50..4_000));
        let kill = async {
            tokio::time::sleep(life).await;
            gateway.child.kill().await.unwrap();
        };
        let (all, ()) = tokio::join!(asks, kill);
        for (status, from) in all.into_iter().flatten() {
            assert_eq!((status, from.as_deref()), (200, Some(seller.as_str())));
            answered += 1;
        }
    }
    // The last one takes up what the others left.
    let mut gateway = world.gateway(None).await;
    let rows = world.reconciled("after the kills").await;
    let paid = rows.iter().filter(|row| row["paid_msat"] != 0).count();
    println!(
        "{kills} kills: {} requests went out, {paid} payments in the books and written down once each, {answered} answers given",
        rows.len()
    );
    assert!(paid >= answered, "every answer was paid for");
    gateway.child.kill().await.unwrap();
    world.shop.child.kill().await.unwrap();
}
