//! The engine in the test's own process, on a home of its own and a fake relay.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::time::Duration;

use nostr::{Event as Signed, Keys, Kind};
use serde_json::Value;
use tokio::sync::broadcast::Receiver;
use vend::config::load::load;
use vend::domain::command::Command;
use vend::domain::event::{Event, EventKind};
use vend::domain::id::RequestId;
use vend::domain::job::{Encryption, JobView};
use vend::engine::{Engine, Place};
use vend::ledger::Ledger;
use vend::nostr::Timing;

use super::fake_relay::FakeRelay;
use super::shop::{Home, answers, bolt11};

/// A bound for what should take seconds.
pub const LONGEST: Duration = Duration::from_secs(120);

/// A shop that can be stopped and started again.
pub struct Inside {
    pub home: Home,
    pub relay: FakeRelay,
    pub engine: Engine,
    events: Receiver<Event>,
    timing: Timing,
    /// Everything that was told, as `vend run --events` prints it.
    pub told: String,
}

async fn start(home: &Home, timing: Timing) -> (Engine, Receiver<Event>) {
    // An error means that one is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ledger = Ledger::open(&home.data().join("vend.db")).unwrap();
    let place = Place {
        config: home.config(),
        data: home.data(),
        pace: None,
        timing,
    };
    let settings = load(&home.config()).unwrap();
    let keys = home.seller.clone();
    let engine = Engine::start(ledger, keys, settings, place).await.unwrap();
    let events = engine.listen();
    (engine, events)
}

impl Inside {
    /// Starts it, offline, with the settings that are made for its relay.
    pub async fn start(settings: impl FnOnce(&str) -> String) -> Self {
        Self::with_timing(Timing::default(), settings).await
    }

    /// The same, where relays are waited for otherwise.
    pub async fn with_timing(timing: Timing, settings: impl FnOnce(&str) -> String) -> Self {
        let (home, relay) = (Home::new(), FakeRelay::start(None).await);
        let text = settings(relay.url().as_str());
        std::fs::write(home.config(), text).unwrap();
        let (engine, events) = start(&home, timing.clone()).await;
        Self {
            home,
            relay,
            engine,
            events,
            timing,
            told: String::new(),
        }
    }

    /// Another run of the program on the same ledger. What was running is cut off.
    pub async fn restart(self) -> Self {
        self.restart_after(|_| ()).await
    }

    /// The same, with something done between the two runs.
    pub async fn restart_after(mut self, between: impl FnOnce(&Home)) -> Self {
        self.engine.ask(Command::Stop { now: true }).await;
        self.engine.ended().await;
        between(&self.home);
        (self.engine, self.events) = start(&self.home, self.timing.clone()).await;
        self
    }

    pub async fn close(self) {
        self.engine.ask(Command::Stop { now: true }).await;
        self.engine.ended().await;
    }

    pub fn ask(&self, buyer: &Keys) -> Signed {
        let request = self
            .home
            .request(buyer, Encryption::Plain, "What is the capital of France?");
        self.relay.inject(&request);
        request
    }

    /// The seller's event on this request that fits.
    pub async fn answer(&self, request: &Signed, fits: impl Fn(&Signed) -> bool) -> Signed {
        let id = request.id.to_hex();
        let seller = self.home.seller.public_key();
        let is = |event: &Signed| {
            event.pubkey == seller && answers(event).as_deref() == Some(&id) && fits(event)
        };
        self.relay.wait_for(is, LONGEST).await.expect("an answer")
    }

    /// The invoice that the buyer gets for this request.
    pub async fn invoice(&self, request: &Signed) -> String {
        let asked = self.answer(request, |event| bolt11(event).is_some()).await;
        bolt11(&asked).unwrap()
    }

    /// Hears what the shop tells until something fits.
    pub async fn hear<T>(&mut self, mut fits: impl FnMut(EventKind) -> Option<T>) -> T {
        let heard = async {
            loop {
                let event = self.events.recv().await.unwrap();
                self.told += &serde_json::to_string(&event).unwrap();
                if let Some(found) = fits(event.kind) {
                    return found;
                }
            }
        };
        tokio::time::timeout(LONGEST, heard).await.unwrap()
    }

    /// Hears what the shop tells until a job of this request fits.
    pub async fn until(
        &mut self,
        request: &Signed,
        fits: impl Fn(&JobView, &str) -> bool,
    ) -> JobView {
        let id = RequestId(request.id);
        self.hear(|kind| match kind {
            EventKind::Job { job, what } if job.id == id && fits(&job, &what) => Some(*job),
            _ => None,
        })
        .await
    }

    /// `vend COMMAND` beside the running shop: its standard output.
    pub fn say(&self, args: &[&str]) -> String {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_vend"))
            .arg("--data-dir")
            .arg(self.home.data())
            .arg("--config")
            .arg(self.home.config())
            .args(args)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{args:?}: {errors}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// `vend COMMAND --json`.
    pub fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--json"]].concat();
        serde_json::from_str(&self.say(&args)).unwrap()
    }
}

/// The word of a feedback.
pub fn status_of(event: &Signed) -> Option<String> {
    event.tags.iter().find_map(|tag| {
        let parts = tag.as_slice();
        (parts.first()? == "status").then(|| parts.get(1).cloned())?
    })
}

pub fn is_result(event: &Signed) -> bool {
    event.kind == Kind::from_u16(6050)
}
