//! A shop as a process of its own, a relay, a wallet, and buyers who ask and pay.

#![allow(dead_code, reason = "each attack uses a part of it")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use nostr::{Event, EventBuilder, JsonUtil, Keys, Kind, Tag};
use serde_json::Value;
use tokio::process::Child;
use tokio::sync::watch;
use vend::domain::job::Encryption;

use crate::fake_relay::{FakeRelay, Fault};
use crate::fake_wallet::FakeWallet;
use crate::shop::{Home, answers, bolt11};

/// A bound for what should take a second or two.
pub const LONGEST: Duration = Duration::from_secs(120);
/// The most memory a shop may ever have had, kB.
pub const MOST_MEMORY: u64 = 80 * 1024;

/// Lines of the settings that an attack needs otherwise.
#[derive(Clone, Debug)]
pub struct Rules {
    pub payment: &'static str,
    pub price: &'static str,
    pub limits: &'static str,
    /// The lines of `[text]` and of `[[endpoint]]`.
    pub model: String,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            payment: "mode = \"credit\"\ncredit_sats = 1000\nunpaid_sats_total = 100000\n",
            price: "",
            limits: "",
            model: "[text]\nmodel = \"vend-tiny\"\nmax_tokens = 16\n\
                    [[endpoint]]\nname = \"local\"\nkind = \"builtin\"\nslots = 2\n"
                .to_owned(),
        }
    }
}

fn is_strict() -> bool {
    std::env::var_os("VEND_HOSTILE_STRICT").is_some()
}

/// See the module.
pub struct Street {
    pub home: Home,
    pub relay: FakeRelay,
    /// Another relay of the seller: it takes connections and answers nothing.
    pub mute: FakeRelay,
    pub wallet: FakeWallet,
    shop: Child,
    told: Told,
}

/// What the shop has told so far.
#[derive(Clone)]
struct Told {
    events: Arc<Mutex<Vec<Value>>>,
    changed: watch::Sender<usize>,
}

impl Street {
    /// Opens the shop and waits until it sells.
    pub async fn open(rules: &Rules) -> Self {
        let home = Home::new();
        let (relay, mute) = (FakeRelay::start(None).await, FakeRelay::start(None).await);
        mute.set(Fault::Deaf);
        let wallet = FakeWallet::start(&home.folder.path().join("wallet.jsonl"));
        let text = format!(
            "[nostr]\nrelays = [\"{}\", \"{}\"]\nkinds = [5050]\nannounce = false\n\
             [payment]\n{}[price]\n{}[limits]\n{}\
             [wallet]\nbackend = \"lnbits\"\nnetwork = \"regtest\"\nurl = \"{}\"\ninvoice_key = \"{}\"\n{}",
            relay.url(),
            mute.url(),
            rules.payment,
            rules.price,
            rules.limits,
            wallet.url(),
            wallet.invoice_key(),
            rules.model,
        );
        home.write_config(&text);
        let running = home.run(None);
        let told = Told {
            events: Arc::default(),
            changed: watch::Sender::new(0),
        };
        let (mut lines, hears) = (running.lines, told.clone());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                hears.add(serde_json::from_str(&line).unwrap());
            }
        });
        let street = Self {
            home,
            relay,
            mute,
            wallet,
            shop: running.child,
            told,
        };
        let online = |event: &Value| {
            event["event"] == "state"
                && ["online", "degraded"].contains(&event["state"].as_str().unwrap_or(""))
        };
        street.told(online).await;
        assert!(street.relay.wait_subscribed("vend-jobs", 1, LONGEST).await);
        street
    }

    /// Waits until the shop has told something that fits.
    pub async fn told(&self, fits: impl Fn(&Value) -> bool) -> Value {
        self.told_times(1, fits).await.remove(0)
    }

    /// Waits until it has told so many things that fit.
    pub async fn told_times(&self, times: usize, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut changed = self.told.changed.subscribe();
        let reading = async {
            loop {
                changed.borrow_and_update();
                let found: Vec<Value> = self.heard(&fits);
                if found.len() >= times {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(LONGEST, reading)
            .await
            .expect("the shop tells it")
    }

    /// All that it has told and that fits.
    pub fn heard(&self, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let events = self.told.events.lock().unwrap();
        events.iter().filter(|event| fits(event)).cloned().collect()
    }

    /// Waits until the job of this request has come to one of these.
    pub async fn comes_to(&self, request: &Event, statuses: &[&str]) -> Value {
        let id = request.id.to_hex();
        let told = self
            .told(|event| {
                event["event"] == "job"
                    && event["job"]["id"] == *id
                    && statuses.contains(&event["job"]["status"].as_str().unwrap_or(""))
            })
            .await;
        told["job"].clone()
    }

    /// A request to this shop with these tags, its text among them.
    pub fn request(&self, buyer: &Keys, tags: &[&[&str]]) -> Event {
        let tags = tags
            .iter()
            .map(|tag| Tag::parse(tag.iter().copied()).unwrap());
        EventBuilder::new(Kind::from_u16(5050), "")
            .tags(tags)
            .tag(Tag::public_key(self.home.seller.public_key()))
            .sign_with_keys(buyer)
            .unwrap()
    }

    /// Somebody publishes it.
    pub fn publish(&self, event: &Event) {
        self.relay.inject(event);
    }

    /// One honest sale: asks, pays what is asked, and waits for the result and for the shop's word that it is paid. How long
    /// it took, or the seller's refusal.
    pub async fn sale(&self, buyer: &Keys) -> Result<Duration, String> {
        // Two requests of one buyer with one text in one second would be one event.
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let n = ASKED.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let prompt = format!("What is {n} plus {n}?");
        let request = self.home.request(buyer, Encryption::Plain, &prompt);
        let id = request.id.to_hex();
        self.publish(&request);
        let ours = |event: &Event| answers(event).as_deref() == Some(&id);
        let refused = |event: &Event| {
            let parts = event.tags.iter().map(Tag::as_slice);
            event.kind == Kind::from_u16(7000)
                && parts
                    .into_iter()
                    .any(|tag| tag[0] == "status" && tag[1] == "error")
        };
        let asked = self
            .relay
            .wait_for(
                |event| ours(event) && (bolt11(event).is_some() || refused(event)),
                LONGEST,
            )
            .await
            .ok_or("nothing was heard")?;
        if refused(&asked) {
            return Err(asked.as_json());
        }
        self.wallet.pay(&bolt11(&asked).ok_or("no invoice")?)?;
        let result = |event: &Event| ours(event) && event.kind == Kind::from_u16(6050);
        self.relay
            .wait_for(result, LONGEST)
            .await
            .ok_or("no result")?;
        self.comes_to(&request, &["paid"]).await;
        Ok(began.elapsed())
    }

    /// So many honest sales before the attack, to compare with: only where somebody compares (see [`crate`]).
    pub async fn quiet(&self, count: usize) -> Vec<Duration> {
        if is_strict() {
            self.sales("quiet", count).await
        } else {
            Vec::new()
        }
    }

    /// So many honest sales, each to a buyer of its own: one after the other where somebody compares, and else at once. Every one
    /// ends.
    pub async fn sales(&self, what: &str, count: usize) -> Vec<Duration> {
        let buyers: Vec<Keys> = (0..count).map(|_| Keys::generate()).collect();
        self.sales_to(what, &buyers).await
    }

    /// The same, to these buyers.
    pub async fn sales_to(&self, what: &str, buyers: &[Keys]) -> Vec<Duration> {
        let cpu = self.cpu();
        let at_once = if is_strict() { 1 } else { buyers.len() };
        let sales = futures::stream::iter(buyers.iter().enumerate());
        let sales = sales.map(|(n, buyer)| async move {
            let sale = self.sale(buyer).await;
            sale.unwrap_or_else(|why| panic!("{what}: sale {n} failed: {why}"))
        });
        let took: Vec<Duration> = sales.buffered(at_once.max(1)).collect().await;
        let worst = took.iter().max().unwrap_or(&Duration::ZERO).as_millis();
        println!(
            "{what}: {} sales, the slowest {worst} ms; memory {} kB at most, CPU {} ms",
            took.len(),
            self.memory(),
            self.cpu().saturating_sub(cpu).as_millis()
        );
        took
    }

    /// Was nobody held up, and did it cost no more than it may?
    pub fn held_nobody_up(&self, quiet: &[Duration], attacked: &[Duration]) {
        assert!(self.memory() < MOST_MEMORY, "{} kB", self.memory());
        if is_strict() {
            let slowest = quiet.iter().max().unwrap();
            let bound = (*slowest * 3).max(Duration::from_secs(3));
            assert!(
                attacked.iter().all(|took| *took <= bound),
                "{attacked:?} of {bound:?}"
            );
        }
    }

    fn proc(&self, file: &str) -> String {
        let pid = self.shop.id().expect("the shop runs");
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
    }

    /// The most memory that it ever had, kB; 0 where the system does not say.
    pub fn memory(&self) -> u64 {
        let status = self.proc("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak.and_then(|text| text.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    }

    /// CPU time so far.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .into_iter()
            .flat_map(str::split_whitespace)
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let ticks = fields
            .get(11)
            .zip(fields.get(12))
            .map_or(0, |(user, system)| user + system);
        Duration::from_millis(ticks * 10)
    }
}

impl Told {
    fn add(&self, event: Value) {
        self.events.lock().unwrap().push(event);
        self.changed.send_modify(|count| *count += 1);
    }
}
