//! How the shop and the things it leans on are doing: what a light on the screen shows.

use serde::{Deserialize, Serialize};

use super::id::EndpointName;
use super::msat::Msat;
use super::time::Time;

/// Is the shop selling? Always the engine's actual state, never what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShopState {
    /// Not listening. Open invoices are still watched.
    #[default]
    Offline,
    /// Checking wallet, endpoints and relays.
    Starting,
    /// Selling.
    Online,
    /// Selling, but something is down; the detail says what.
    Degraded,
    /// Online, but the machine's owner has use for it now: no new work. The detail says why, and until when.
    Paused,
    /// No new jobs; finishing the running ones.
    Draining,
    /// The process is about to end.
    Stopping,
}

impl ShopState {
    /// Does it take jobs?
    #[must_use]
    pub const fn sells(self) -> bool {
        matches!(self, Self::Online | Self::Degraded)
    }

    /// Does it listen, whether or not it takes jobs now?
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Online | Self::Degraded | Self::Paused)
    }

    /// The word in JSON and on the screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Starting => "starting",
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
        }
    }
}

/// A health level: what a glance must tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthLevel {
    /// Not looked at yet, or not wanted now.
    #[default]
    Unknown,
    /// Works.
    Ok,
    /// Works, but the operator should know something.
    Warn,
    /// Does not work.
    Down,
}

/// A step of going online, or a row of `vend doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub check: CheckKind,
    /// Which one: a url, a name, a path. Empty where there is only one.
    pub target: String,
    /// How it went.
    pub status: CheckStatus,
    /// What was seen.
    pub detail: String,
    /// The command or the setting that mends it; empty where nothing is to mend.
    pub fix: String,
}

/// What a check looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// The data directory and the ledger.
    Data,
    /// The seller's key.
    Identity,
    /// One relay.
    Relay,
    /// One inference server.
    Endpoint,
    /// The model on an endpoint.
    Model,
    /// The Lightning wallet.
    Wallet,
    /// This machine's clock.
    Clock,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// Works.
    Ok,
    /// Works, with something to know.
    Warn,
    /// Does not work.
    Fail,
}

impl CheckStatus {
    /// The word in front of a row.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One relay, as far as we know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RelayHealth {
    /// The relay's address.
    pub url: String,
    /// One word: connecting, connected, subscribed, deaf, `needs_auth`, refusing, down, closed, off (offline: not looked at).
    pub state: String,
    /// The light.
    #[serde(rename = "light")]
    pub health: HealthLevel,
    /// Plain words: the reason and, where it is down, the next try. Strangers' text in it is already clean.
    pub detail: String,
    /// Since when it has been in this state.
    pub since: Time,
    /// Round trip in milliseconds, where measured.
    pub latency_ms: Option<u64>,
    /// Verified events of ours it delivered.
    pub events: u64,
    /// Of our events, how many it accepted.
    pub accepted: u64,
    /// Of our events, how many it refused.
    pub refused: u64,
    /// Forged, unasked or malformed things it sent.
    pub faults: u64,
    /// Proof of work it wants (NIP-13 bits), 0 for none.
    pub pow: u8,
    /// The longest message it takes, bytes, where it said so or was found out.
    #[serde(default)]
    pub longest: Option<usize>,
}

impl RelayHealth {
    /// What is seen of it, without what its counters say.
    #[must_use]
    pub fn sight(&self) -> (&str, HealthLevel, &str) {
        (&self.state, self.health, &self.detail)
    }
}

/// One inference server, as far as we know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointHealth {
    /// Its name in the settings.
    pub name: EndpointName,
    /// ollama, openai or builtin.
    pub kind: String,
    /// Its address; empty for the built-in engine.
    pub url: String,
    /// One word: `up`, `loading`, `down`, `needs_attention`, `resting`, `unknown`, `off` (offline: not looked at).
    pub state: String,
    /// The light.
    #[serde(rename = "light")]
    pub health: HealthLevel,
    /// Plain words: version, or what is wrong and the fix.
    pub detail: String,
    /// Models it can serve now.
    pub models: Vec<String>,
    /// Jobs running on it.
    pub running: u32,
    /// Jobs it may run at once.
    pub slots: u32,
    /// Smoothed speed in tokens per second, where measured.
    pub tokens_per_second: Option<f64>,
}

impl EndpointHealth {
    /// What is seen of it, without what its counters say.
    #[must_use]
    pub fn sight(&self) -> (&str, HealthLevel, &str) {
        (&self.state, self.health, &self.detail)
    }
}

/// The wallet, as far as we know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WalletHealth {
    /// The backend's name in the settings.
    pub backend: String,
    /// One word: up, down, unknown.
    pub state: String,
    /// The light.
    #[serde(rename = "light")]
    pub health: HealthLevel,
    /// Plain words: alias, or what is wrong and the fix.
    pub detail: String,
    /// bitcoin, testnet, signet, regtest; none where the wallet does not say.
    pub network: Option<String>,
    /// The wallet's own name for itself (a node's key, an account), so that a changed wallet is noticed.
    pub identity: Option<String>,
    /// What it holds, where it says.
    pub balance_msat: Option<Msat>,
    /// The most it can receive now, where it says.
    pub can_receive_msat: Option<Msat>,
    /// Does it move real money?
    pub sandbox: bool,
}

impl WalletHealth {
    /// What is seen of it, without what its counters say.
    #[must_use]
    pub fn sight(&self) -> (&str, HealthLevel, &str) {
        (&self.state, self.health, &self.detail)
    }
}

/// Work waiting and running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueHealth {
    /// Jobs waiting for a slot.
    pub waiting: u32,
    /// Jobs in inference.
    pub running: u32,
}

/// What came in, and what is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoneyNow {
    /// What the wallet confirmed today (UTC).
    pub today_msat: Msat,
    /// Jobs delivered today.
    pub today_jobs: u64,
    /// Invoices that buyers have and have not paid yet.
    pub open_invoices: u64,
    /// When a payment came last; none before the first.
    pub last_paid_at: Option<Time>,
    /// How much it was.
    pub last_paid_msat: Option<Msat>,
    /// When a request came last; none before the first.
    pub last_request_at: Option<Time>,
}

/// The answer to `vend status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Does it take jobs?
    pub online: bool,
    /// The state's word.
    pub state: ShopState,
    /// What it waits for, or what is down.
    pub detail: String,
    /// Since when it has been in this state.
    pub since: Time,
    /// Every configured relay.
    pub relays: Vec<RelayHealth>,
    /// Every configured endpoint.
    pub endpoints: Vec<EndpointHealth>,
    /// The wallet.
    pub wallet: WalletHealth,
    /// The queue.
    pub queue: QueueHealth,
    /// What came in.
    #[serde(default)]
    pub money: MoneyNow,
    /// The seller's key as npub.
    pub npub: String,
    /// The running program's version.
    pub version: String,
    /// The running program's process id.
    pub pid: u32,
}
