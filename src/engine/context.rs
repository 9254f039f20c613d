//! What every part of the engine shares: ledger, keys, settings, the state, and the wakers that wake the workers.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use nostr::Keys;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::buyers::Standings;
use super::clock::ClockState;
use super::disk;
use super::last_look::LastLooks;
use super::machine::MachineState;
use super::payments::Arrived;
use super::recovery_desk::Disputes;
use super::twins::Twins;
use super::wallets::Wallets;
use crate::config::Settings;
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::health::{EndpointHealth, RelayHealth, ShopState, WalletHealth};
use crate::domain::hold_secret::HoldSecrets;
use crate::domain::id::{BootId, Buyer, RequestId};
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::inference::Progress;
use crate::inference::pool::Pool;
use crate::ledger::Ledger;
use crate::nostr::Relays;

/// Bells. Waking one that nobody waits for is kept until somebody does.
#[derive(Debug, Default)]
pub struct Wakers {
    /// A job may be ready to run.
    pub queue: Notify,
    /// A job wants an invoice.
    pub invoices: Notify,
    /// An event is due.
    pub outbox: Notify,
    /// An invoice is to be watched.
    pub polls: Notify,
    /// A payment is held, or something was decided about one.
    pub holds: Notify,
    /// A figure changed.
    pub stats: Notify,
    /// A light may have changed.
    pub health: Notify,
    /// A run began or ended.
    pub runs: Notify,
    /// The machine's load is worth a look.
    pub load: Notify,
}

/// The shop's state with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// The state.
    pub state: ShopState,
    /// What it waits for, or what is down.
    pub detail: String,
    /// Since when.
    pub since: Time,
}

/// Between two tries of what the ledger did not take.
pub const LEDGER_PAUSE: Duration = Duration::from_secs(2);

/// A running inference.
#[derive(Debug)]
pub struct Run {
    /// The job's revision when it began: another try of the job has another one.
    pub rev: u64,
    /// Whose job it is.
    pub buyer: Buyer,
    /// The model that answers.
    pub model: String,
    /// Nothing else runs meanwhile.
    pub alone: bool,
    /// Ends it.
    pub stop: CancellationToken,
    /// How far it is.
    pub progress: watch::Receiver<Progress>,
}

impl Run {
    /// Output tokens so far.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        self.progress.borrow().tokens
    }
}

/// The parts that come with going online.
#[derive(Clone)]
pub struct Connections {
    /// The relays.
    pub relays: Relays,
    /// The inference servers.
    pub pool: Arc<Pool>,
}

/// See the module.
pub struct EngineContext {
    /// The ledger.
    pub ledger: Ledger,
    /// The seller's key.
    pub keys: Keys,
    /// This run of the program.
    pub boot: BootId,
    /// Wakes the workers.
    pub wakers: Wakers,
    /// The state now.
    pub now: watch::Sender<Now>,
    /// The wallet's health now.
    pub wallet_health: watch::Sender<WalletHealth>,
    /// Running inferences.
    pub runs: Mutex<HashMap<RequestId, Run>>,
    disputes: Mutex<Disputes>,
    arrived: Mutex<Arrived>,
    events: broadcast::Sender<Event>,
    settings: watch::Sender<Arc<Settings>>,
    /// What was decided about buyers: see `buyers`.
    pub(super) standings: Standings,
    /// The wallets that are open: see `wallets`.
    pub(super) wallets: Mutex<Wallets>,
    /// The wallet's health as it says itself.
    pub(super) bare_health: Mutex<WalletHealth>,
    connections: RwLock<Option<Connections>>,
    /// What is known of this machine's clock.
    pub(super) clock: ClockState,
    /// Why nothing new is sold now: see `machine`.
    pub(super) machine: MachineState,
    /// Other machines that sell with this key.
    pub(super) twins: Twins,
    /// Looks at held payments directly before their results leave.
    pub(super) last_looks: LastLooks,
    /// Why the ledger failed last; none once it works.
    ledger_trouble: Mutex<Option<String>>,
    /// What was seen of relays and servers when going online failed.
    seen: Mutex<StartReport>,
}

/// Relays and servers as they were seen, in a start that failed.
#[derive(Clone, Debug, Default)]
pub struct StartReport {
    /// Relays, where it came to them.
    pub relays: Vec<RelayHealth>,
    /// Servers, where it came to them.
    pub endpoints: Vec<EndpointHealth>,
}

/// A lock whose holder panicked still holds whole values here: every change is one assignment.
fn held<G>(result: Result<G, PoisonError<G>>) -> G {
    result.unwrap_or_else(PoisonError::into_inner)
}

impl EngineContext {
    /// A shop that is offline.
    #[must_use]
    pub fn new(ledger: Ledger, keys: Keys, settings: Settings, boot: BootId) -> Arc<Self> {
        let (events, _) = broadcast::channel(4_096);
        Arc::new(Self {
            ledger,
            keys,
            boot,
            wakers: Wakers::default(),
            now: watch::Sender::new(Now {
                state: ShopState::Offline,
                detail: String::new(),
                since: Time::now(),
            }),
            wallet_health: watch::Sender::new(WalletHealth::default()),
            runs: Mutex::new(HashMap::new()),
            disputes: Mutex::default(),
            arrived: Mutex::default(),
            events,
            settings: watch::Sender::new(Arc::new(settings)),
            standings: Standings::default(),
            wallets: Mutex::default(),
            bare_health: Mutex::default(),
            connections: RwLock::new(None),
            clock: ClockState::default(),
            machine: MachineState::default(),
            twins: Twins::default(),
            last_looks: LastLooks::default(),
            ledger_trouble: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    /// The secrets of hold invoices.
    #[must_use]
    pub fn hold_secrets(&self) -> HoldSecrets {
        HoldSecrets::of(self.keys.secret_key())
    }

    /// What the last start saw, if it failed; nothing after any other way to be offline.
    #[must_use]
    pub fn seen(&self) -> StartReport {
        held(self.seen.lock()).clone()
    }

    /// Keeps what a start sees, until the next one.
    pub fn see(&self, change: impl FnOnce(&mut StartReport)) {
        let mut seen = held(self.seen.lock());
        change(&mut seen);
    }

    /// Tells everybody who listens.
    pub fn emit(&self, news: EventKind) {
        // Nobody listening is no failure: the ledger holds what must not be lost.
        let _ = self.events.send(Event::now(news));
    }

    /// Something for the operator; strangers' text in it is cleaned here.
    pub fn notice(&self, level: Level, category: &str, message: &str) {
        self.emit(EventKind::Notice {
            level,
            category: category.to_owned(),
            message: clean(message, 400),
        });
    }

    /// Listens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The settings in force. Asked for at each use, never kept: they may be others at any time.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }

    /// Tells whoever must do something when other settings are in force.
    #[must_use]
    pub fn settings_changes(&self) -> watch::Receiver<Arc<Settings>> {
        self.settings.subscribe()
    }

    /// Puts other settings in force; false where they are the same.
    pub fn set_settings(&self, settings: Settings) -> bool {
        self.settings.send_if_modified(|held| {
            let other = **held != settings;
            if other {
                *held = Arc::new(settings);
            }
            other
        })
    }

    /// Relays and servers, while online or draining.
    #[must_use]
    pub fn connections(&self) -> Option<Connections> {
        held(self.connections.read()).clone()
    }

    /// Opens or closes the market.
    pub fn set_connections(&self, connections: Option<Connections>) {
        *held(self.connections.write()) = connections;
    }

    /// The running inferences.
    pub fn running<T>(&self, look: impl FnOnce(&mut HashMap<RequestId, Run>) -> T) -> T {
        let mut runs = held(self.runs.lock());
        look(&mut runs)
    }

    /// What the wallet says of invoices where that settles nothing.
    pub fn disputed_invoices<T>(&self, look: impl FnOnce(&mut Disputes) -> T) -> T {
        let mut disputes = held(self.disputes.lock());
        look(&mut disputes)
    }

    /// Invoices that the watching has not taken up yet.
    pub fn arrived<T>(&self, change: impl FnOnce(&mut Arrived) -> T) -> T {
        let mut arrived = held(self.arrived.lock());
        change(&mut arrived)
    }

    /// The ledger could not be read or written: told to the operator, and the shop is degraded until it can be again.
    pub fn ledger_failed(&self, error: &dyn Display) {
        let words = clean(&error.to_string(), 300);
        self.notice(Level::Error, "ledger", &words);
        *held(self.ledger_trouble.lock()) = Some(words);
        self.wakers.health.notify_one();
    }

    /// The ledger took a change.
    pub fn ledger_works(&self) {
        if held(self.ledger_trouble.lock()).take().is_some() {
            self.wakers.health.notify_one();
        }
    }

    /// Why the ledger could not be read or written the last time, where nothing was written since.
    #[must_use]
    pub fn ledger_trouble(&self) -> Option<String> {
        held(self.ledger_trouble.lock()).clone()
    }

    /// Why nothing new may be written down: the ledger is gone or damaged, or there is too little room on the disk.
    #[must_use]
    pub fn cramped(&self) -> Option<String> {
        if let Some(trouble) = self.ledger.trouble() {
            return Some(trouble.words().to_owned());
        }
        disk::free_mb(self.ledger.path()).and_then(disk::cramped)
    }

    /// The state changes; told only where it is another one.
    pub fn set_state(&self, state: ShopState, detail: &str) {
        let changed = self.now.send_if_modified(|now| {
            if now.state == state && now.detail == detail {
                return false;
            }
            if now.state != state {
                now.since = Time::now();
            }
            now.state = state;
            detail.clone_into(&mut now.detail);
            true
        });
        if changed {
            self.emit_state();
        }
    }

    /// Tells the state as it is.
    pub fn emit_state(&self) {
        let now = self.now.borrow().clone();
        self.emit(EventKind::State {
            state: now.state,
            detail: now.detail,
            since: now.since,
            npub: self.npub(),
        });
    }

    /// The seller's key as people read it.
    #[must_use]
    pub fn npub(&self) -> String {
        use nostr::nips::nip19::ToBech32;
        self.keys
            .public_key()
            .to_bech32()
            .unwrap_or_else(|_| self.keys.public_key().to_hex())
    }

    /// Does it take jobs now?
    #[must_use]
    pub fn sells(&self) -> bool {
        self.now.borrow().state.sells()
    }
}
