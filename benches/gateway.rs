//! What the gateway adds to a seller's time, how soon a seller's first words reach the client, and what two hundred purchases
//! at once take.
//!
//! The seller answers at once, result first, and the gateway pays before it answers its client, so the time of a purchase is
//! the gateway's own: request, payment and every durable step included. `VEND_BENCH_ROUNDS` says how many (200 unless told).

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "../tests/support/fake_relay.rs"]
mod fake_relay;
#[path = "../tests/support/shop.rs"]
mod shop;

use std::collections::HashSet;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fake_relay::FakeRelay;
use nostr::{Event, EventBuilder, EventId, Keys, Kind, Tag};
use serde_json::{Value, json};
use shop::Home;
use tokio::io::{AsyncBufReadExt, BufReader};
use vend::domain::invoice::Network;
use vend::domain::msat::Msat;
use vend::wallet::open::SANDBOX_FOLDER;
use vend::wallet::sandbox::SandboxWallet;
use vend::wallet::{NewInvoice, Wallet};

const LONGEST: Duration = Duration::from_secs(120);
const AT_ONCE: usize = 200;
/// Between a seller's first words and its result.
const WRITING: Duration = Duration::from_millis(200);

/// A seller that answers in its own process: at once, or with a part before it.
struct Seller {
    keys: Keys,
    relay: FakeRelay,
    wallet: SandboxWallet,
    /// When the request came and when the answer went, in the order of the requests.
    times: Mutex<Vec<(Instant, Instant)>>,
    first_part: Mutex<Option<Instant>>,
}

impl Seller {
    fn say(&self, request: &Event, kind: u16, content: &str, more: &[&[&str]]) {
        let mut tags = vec![Tag::event(request.id), Tag::public_key(request.pubkey)];
        tags.extend(
            more.iter()
                .map(|parts| Tag::parse(parts.iter().copied()).expect("a tag")),
        );
        let event = EventBuilder::new(Kind::from_u16(kind), content)
            .tags(tags)
            .sign_with_keys(&self.keys)
            .expect("signed");
        self.relay.inject(&event);
    }

    fn announce(&self) {
        let content = json!({
            "name": "bench", "stream": true, "nip90Params": {"model": {"values": ["bench"]}},
            "pricing": {"bench": {"min_msat": 1_000, "input_msat_per_1k": 0, "output_msat_per_1k": 0}},
        });
        let tags = [["d", "x"], ["k", "5050"]].map(|parts| Tag::parse(parts).expect("a tag"));
        let event = EventBuilder::new(Kind::from_u16(31_990), content.to_string())
            .tags(tags)
            .sign_with_keys(&self.keys)
            .expect("signed");
        self.relay.inject(&event);
    }

    async fn serve(self: Arc<Self>, request: Event, came: Instant) {
        let bolt11 = self.wallet.create(NewInvoice {
            amount: Msat::from_sats(1),
            memo: "a job".to_owned(),
            expiry: Duration::from_secs(600),
            label: request.id.to_hex(),
            hold_hash: None,
        });
        let bolt11 = bolt11.await.expect("an invoice").bolt11;
        if request
            .tags
            .iter()
            .any(|tag| tag.as_slice().contains(&"stream".to_owned()))
        {
            let said = Instant::now();
            self.say(&request, 7000, "Paris", &[&["status", "partial"]]);
            self.first_part.lock().expect("a lock").get_or_insert(said);
            tokio::time::sleep(WRITING).await;
        }
        self.say(
            &request,
            6050,
            "Paris it is.",
            &[&["amount", "1000", &bolt11]],
        );
        let mut times = self.times.lock().expect("a lock");
        times.push((came, Instant::now()));
    }

    async fn sell(self: Arc<Self>) {
        let us = self.keys.public_key();
        let mut seen: HashSet<EventId> = HashSet::new();
        loop {
            let asked = |event: &Event| {
                event.kind == Kind::from_u16(5050)
                    && event.tags.public_keys().any(|key| *key == us)
                    && !seen.contains(&event.id)
            };
            let Some(request) = self.relay.wait_for(asked, LONGEST * 5).await else {
                return;
            };
            let came = Instant::now();
            seen.insert(request.id);
            tokio::spawn(self.clone().serve(request, came));
        }
    }
}

/// The gateway, a process of its own.
struct Gateway {
    url: String,
    key: String,
    pid: u32,
    client: reqwest::Client,
    _child: tokio::process::Child,
}

impl Gateway {
    async fn start(home: &Home) -> Self {
        let mut command = home.command();
        command.args(["gateway", "--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().expect("a gateway");
        let pid = child.id().expect("a process");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(LONGEST, lines.next_line()).await;
        let line = line.expect("in time").expect("a line").expect("an address");
        let url = line.split_whitespace().next().expect("an address");
        let key = home.command().args(["gateway", "key"]).output().await;
        let key = String::from_utf8(key.expect("a key").stdout).expect("text");
        Self {
            url: url.to_owned(),
            key: key.trim().to_owned(),
            pid,
            client: reqwest::Client::builder()
                .no_proxy()
                .timeout(LONGEST)
                .build()
                .expect("a client"),
            _child: child,
        }
    }

    async fn post(&self, prompt: &str, stream: bool) -> reqwest::Response {
        let body = json!({"model": "auto", "max_tokens": 16, "stream": stream, "messages": [{"role": "user", "content": prompt}]});
        let answer = self
            .client
            .post(format!("{}/chat/completions", self.url))
            .bearer_auth(&self.key)
            .json(&body)
            .send()
            .await
            .expect("an answer");
        assert_eq!(
            answer.status(),
            200,
            "{}",
            answer.text().await.unwrap_or_default()
        );
        answer
    }

    async fn ask(&self, prompt: &str) {
        let answer: Value = self.post(prompt, false).await.json().await.expect("JSON");
        assert_eq!(answer["choices"][0]["message"]["content"], "Paris it is.");
    }

    /// The most memory it ever had, MB.
    fn most_memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb: f64 = line
            .and_then(|text| text.split_whitespace().next()?.parse().ok())
            .expect("VmHWM");
        kb / 1024.0
    }
}

fn ms(mut all: Vec<Duration>) -> String {
    all.sort_unstable();
    let at = |percent: usize| all[(all.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    format!(
        "p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        at(50),
        at(99),
        at(100)
    )
}

#[tokio::main]
async fn main() {
    let rounds = std::env::var("VEND_BENCH_ROUNDS").ok();
    let rounds: usize = rounds.and_then(|text| text.parse().ok()).unwrap_or(200);
    let (home, relay) = (Home::new(), FakeRelay::start(None).await);
    let sandbox = "backend = \"sandbox\"\n";
    let url = relay.url().to_string();
    home.configure_with("after", &url, sandbox, "vend-tiny", "kind = \"builtin\"\n");
    let text = std::fs::read_to_string(home.config()).expect("settings");
    home.write_config(&format!(
        "{text}[gateway]\nown_first = false\nmax_sats_per_day = 1000000\n"
    ));
    let folder = home.data().join(SANDBOX_FOLDER);
    std::fs::create_dir_all(&folder).expect("a folder");
    let seller = Arc::new(Seller {
        keys: Keys::generate(),
        relay: relay.clone(),
        wallet: SandboxWallet::open(&folder, Network::Regtest).expect("a wallet"),
        times: Mutex::default(),
        first_part: Mutex::default(),
    });
    seller.announce();
    tokio::spawn(seller.clone().sell());
    let gateway = Gateway::start(&home).await;
    gateway.ask("the first one waits for the sellers").await;
    seller.times.lock().expect("a lock").clear();

    let mut added = Vec::new();
    for round in 0..rounds {
        let asked = Instant::now();
        gateway.ask(&format!("What is {round} plus one?")).await;
        let whole = asked.elapsed();
        let (came, went) = *seller.times.lock().expect("a lock").last().expect("a sale");
        added.push(whole.saturating_sub(went - came));
    }
    println!(
        "added to the seller's time, {rounds} purchases one after the other: {}",
        ms(added)
    );

    let mut deltas = Vec::new();
    for round in 0..rounds.min(50) {
        seller.first_part.lock().expect("a lock").take();
        let mut answer = gateway.post(&format!("Write about {round}"), true).await;
        let mut text = String::new();
        while let Some(chunk) = answer.chunk().await.expect("a part") {
            let came = Instant::now();
            text.push_str(&String::from_utf8_lossy(&chunk));
            if text.contains("Paris") && deltas.len() == round {
                let said = seller.first_part.lock().expect("a lock").expect("a part");
                deltas.push(came - said);
            }
        }
        assert!(text.contains("[DONE]"), "{text}");
    }
    println!(
        "from a seller's first words to the client's: {}",
        ms(deltas)
    );

    let started = Instant::now();
    let before = gateway.most_memory();
    let prompts: Vec<String> = (0..AT_ONCE).map(|n| format!("At once: {n}?")).collect();
    futures::future::join_all(prompts.iter().map(|prompt| gateway.ask(prompt))).await;
    println!(
        "{AT_ONCE} purchases at once: {:.1} s, memory {before:.1} MB before, at most {:.1} MB",
        started.elapsed().as_secs_f64(),
        gateway.most_memory()
    );
}
