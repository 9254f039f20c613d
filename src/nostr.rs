//! Relays: connect, subscribe, verify, publish, health. The only room that touches one.
//!
//! Built on nostr-sdk's relay tasks (queue, ping, NIP-42), with the rest in our own hands, because a shop can't
//! live with a subscription that is lost for good, an event that is lost to lag, or an id that is believed unchecked:
//!
//! - [`connect`] makes the connection: to addresses that [`reach`] allows, and with what is read [`bounded`].
//! - [`transport`] stands between the socket and nostr-sdk. Events are read there, judged by [`intake`] and handed on with
//!   `try_send`; nostr-sdk itself only sees `AUTH` and the `OK` that answers it. So nothing waits in the socket's task, no
//!   broadcast can lag, and no stranger's message can reach nostr-sdk's logs.
//! - [`listener`] owns one relay: it dials, asks, notices silence, hangs up and rests. One connection is one nostr-sdk
//!   `Relay`; what was queued for a dead connection dies with it.
//! - [`publish`] sends one event to one relay and waits for that relay's word alone.

mod ask;
mod asks;
mod bounded;
mod connect;
mod connection;
mod fetch;
mod health;
mod health_reporter;
mod intake;
mod listener;
pub mod long44;
mod outlets;
mod own;
mod parcel;
mod probe;
mod publish;
mod reach;
mod relay_information;
mod seen;
mod session;
mod timing;
mod transient;
mod transport;
mod words;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nostr::{Event, EventId, Keys, PublicKey, RelayUrl};
use nostr_sdk::{Client, ClientOptions};
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use outlets::{Inlets, Outlets, outlets};
pub use own::{Own, own_events};
pub use parcel::Parcel;
pub use probe::{AuthSeen, Probe, probe};
pub use reach::{Reach, Resolve, Resolved};
pub use relay_information::{RelayInfo, document};
pub use timing::Timing;

use crate::domain::announce::HANDLER_INFO;
use crate::domain::health::RelayHealth;
use crate::domain::sellers::HEARTBEAT;
use connection::{RelayConnection, SharedContext};
use listener::Listener;
use transient::TransientRelays;

/// Log targets to be held at `error` or off: below it nostr-sdk and its sockets write whole messages, prompts and answers
/// among them. What they tell as errors is in [`RelayHealth`] in plain words.
pub const NOISY_TARGETS: &[&str] = &[
    "nostr_relay_pool",
    "nostr_sdk",
    "async_wsocket",
    "tokio_tungstenite",
    "tungstenite",
];

/// The most live jobs whose cancellation is listened for; of a longer list the last ones are kept.
pub const CANCELS_CAP: usize = 500;

/// How far back zap receipts are asked for.
pub const ZAP_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// What [`Relays::start`] needs to know.
#[derive(Clone, Debug)]
pub struct RelaysConfig {
    /// The seller's own relays.
    pub urls: Vec<RelayUrl>,
    /// The seller's keys, for NIP-42 only. Their `Debug` shows the public key alone.
    pub keys: Keys,
    /// Request kinds to subscribe to (NIP-90).
    pub kinds: Vec<u16>,
    /// For each relay the last moment it is known to have been listened to, in Unix seconds.
    pub since: HashMap<RelayUrl, u64>,
    /// Events older than this are never asked for.
    pub max_age: Duration,
    /// Zap receipts (NIP-57) that name our key are asked for too, those of the last [`ZAP_WINDOW`].
    pub zaps: bool,
    /// Only events that name our key (`p`) are asked for: what a buyer waits for. Otherwise any.
    pub only_ours: bool,
    /// The longest request that is worth reading, bytes of JSON; 64 KiB are read in any case, and never more than 1 MiB.
    pub longest_request: usize,
    /// The most proof of work for one event, bits: a relay of ours that wants more gets none.
    pub max_pow: u8,
    /// How relays are reached, and which of others' are.
    pub reach: Reach,
    /// Every wait and rate.
    pub timing: Timing,
}

/// Announcements are replaced, not repeated: old ones count.
const ANNOUNCED_WINDOW: Duration = Duration::from_secs(400 * 24 * 3_600);

impl RelaysConfig {
    /// Hears what sellers announce (NIP-89) and that they are there, under a throw-away key: nobody need know who listens.
    #[must_use]
    pub fn announcements(urls: Vec<RelayUrl>) -> Self {
        Self {
            urls,
            keys: Keys::generate(),
            kinds: vec![HANDLER_INFO, HEARTBEAT],
            since: HashMap::new(),
            max_age: ANNOUNCED_WINDOW,
            zaps: false,
            only_ours: false,
            longest_request: 64 * 1024,
            max_pow: 0,
            reach: Reach::public(false),
            timing: Timing::default(),
        }
    }
}

/// What the relays tell.
#[derive(Clone, Debug)]
pub enum RelayEvent {
    /// An event that we asked for (a request, a cancellation, a zap receipt): id and signature checked by us, kind and age as asked, at most 64 KiB (a request: [`RelaysConfig::longest_request`], where that is more), and not told before
    /// in this process as far back as 32,768 events. Its `created_at` may lie ahead: that is for admission to judge.
    Event {
        /// Who sent it.
        relay: RelayUrl,
        /// The event.
        event: Parcel,
    },
    /// A ping that names our key (kinds 7007 and 20200), at most two minutes old.
    Ping {
        /// Who sent it.
        relay: RelayUrl,
        /// The event.
        event: Parcel,
    },
    /// An event of our own key: a result, an announcement, or a word of another machine that has the key. It may be one that we
    /// have sent.
    Own {
        /// The event.
        event: Parcel,
    },
    /// A request that is longer than [`RelaysConfig::longest_request`]: verified as a whole, and told without its long parts.
    TooLong {
        /// Who sent it.
        relay: RelayUrl,
        /// What is left of it: id, author, time, kind and the short tags.
        event: Parcel,
    },
    /// A relay's health changed: its state at once, its counters about once a second.
    Health(RelayHealth),
    /// Everything up to this moment has come from this relay. At most every [`Timing::cursor_every`].
    Cursor {
        /// Which relay.
        relay: RelayUrl,
        /// Unix seconds.
        at: u64,
    },
    /// A forged event was dropped (counted as `bad_signature`). Not told while the channel is more than half full.
    Unverified {
        /// Who sent it.
        relay: RelayUrl,
        /// The id it claimed.
        id: EventId,
        /// The author it claimed, who has nothing to do with it.
        pubkey: PublicKey,
    },
    /// A relay's NOTICE (NIP-01): the same words at most every ten minutes, others at most every ten seconds.
    Notice {
        /// Who said it.
        relay: RelayUrl,
        /// Its words, cleaned and cut.
        words: String,
    },
}

/// A relay's word on one event. The texts are the relay's own, cleaned and cut to 200 characters, or ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds the event (`duplicate:` too).
    Accepted,
    /// It does not take the event, now or later: `blocked:`, `restricted:`, `invalid:`, `unsupported:`, or an address we may
    /// not connect to.
    Refused(String),
    /// It may take these very bytes later: `error:`, no known prefix, no `OK`.
    Retry(String),
    /// It takes these very bytes later, and wants fewer at once: `rate-limited:`.
    Slow(String),
    /// There is no connection to it now.
    Down(String),
    /// The relay, or the network, ended the connection while this event waited for its `OK`.
    Ended(String),
    /// It wants this many bits of proof of work (NIP-13). Final for this event, which is signed already.
    NeedsPow(u8),
    /// It wants NIP-42 authentication, which did not succeed in time.
    NeedsAuth(String),
}

impl Verdict {
    /// Is it worth another try, by what this says?
    #[must_use]
    pub const fn may_come_later(&self) -> bool {
        matches!(
            self,
            Self::Retry(_) | Self::Slow(_) | Self::Down(_) | Self::Ended(_)
        )
    }
}

/// What one of our own relays wants of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// The relay.
    pub relay: RelayUrl,
    /// Bits of proof of work (NIP-13); 0 for none.
    pub pow: u8,
    /// The longest message, bytes: an event and what is around it.
    pub longest: usize,
    /// It wants more work than the settings allow, so nothing is sent to it.
    pub left_out: bool,
}

/// The shop's relays. Clones share one set of connections and subscriptions; when the last one is dropped everything ends,
/// and [`Relays::close`] also waits until it has.
#[derive(Clone)]
pub struct Relays {
    inner: Arc<Inner>,
}

struct Inner {
    own: Vec<Arc<RelayConnection>>,
    urls: Vec<RelayUrl>,
    transient: TransientRelays,
    cancels: watch::Sender<Vec<EventId>>,
    shared: Arc<SharedContext>,
    cancel: CancellationToken,
    tasks: TaskTracker,
    client: Client,
    _end: DropGuard,
}

impl Relays {
    /// Starts one listener for each relay and returns at once; connecting goes on in the background. What the relays say goes
    /// to `news`: when the way of the requests is full, they are dropped and asked for again later.
    ///
    /// Needs a tokio runtime.
    #[must_use]
    pub fn start(config: RelaysConfig, news: impl Into<Outlets>) -> Self {
        let news = news.into();
        // Whoever was first has set it, and every part of this program sets the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cancel = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (cancels, watched) = watch::channel(Vec::new());
        let changed = Arc::new(Notify::new());
        let shared = Arc::new(SharedContext::new(
            &config,
            news.clone(),
            watched,
            changed.clone(),
        ));
        let directory = transport::Directory::new(config.reach.clone(), config.timing.connect_wait);
        let client = client(config.keys.clone(), directory.clone());

        let mut urls: Vec<RelayUrl> = Vec::with_capacity(config.urls.len());
        for url in config.urls {
            // Named twice is still one relay: never two listeners.
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        let mut own = Vec::with_capacity(urls.len());
        for url in &urls {
            let cursor = config.since.get(url).copied().unwrap_or(0);
            let (connection, controls) =
                RelayConnection::new(url.clone(), true, cursor, shared.clone());
            directory.enter(&connection);
            let pool = client.pool().clone();
            let listener = Listener::new(
                connection.clone(),
                controls,
                pool,
                shared.clone(),
                cancel.child_token(),
            );
            tasks.spawn(listener.run());
            own.push(connection);
        }
        tasks.spawn(health_reporter::run(
            own.clone(),
            news.signs,
            changed,
            config.timing.clone(),
            cancel.child_token(),
        ));
        let transient = TransientRelays::new(
            client.pool().clone(),
            shared.clone(),
            directory,
            config.reach,
            tasks.clone(),
            cancel.child_token(),
        );
        Self {
            inner: Arc::new(Inner {
                own,
                urls,
                transient,
                cancels,
                shared,
                _end: cancel.clone().drop_guard(),
                cancel,
                tasks,
                client,
            }),
        }
    }

    /// The seller's own relays, as configured.
    #[must_use]
    pub fn own(&self) -> Vec<RelayUrl> {
        self.inner.urls.clone()
    }

    /// The health of every own relay, in the order of the settings.
    #[must_use]
    pub fn health(&self) -> Vec<RelayHealth> {
        self.inner
            .own
            .iter()
            .map(|connection| connection.health.now())
            .collect()
    }

    /// How many seconds each own relay's clock is ahead of ours, for those that say.
    #[must_use]
    pub fn clocks(&self) -> Vec<i64> {
        let own = self.inner.own.iter();
        own.filter_map(|connection| connection.clock.secs())
            .collect()
    }

    /// Our clock was set by `ms` milliseconds: what was asked for by the old one is asked for anew.
    pub fn clock_stepped(&self, ms: i64) {
        for connection in &self.inner.own {
            connection.clock.shift(ms);
            connection.intake.clock_stepped();
        }
    }

    /// What each of our own relays wants of events. Those that want more work than the settings allow are left out of sending.
    #[must_use]
    pub fn wants(&self) -> Vec<Wants> {
        let now = Instant::now();
        let of = |connection: &Arc<RelayConnection>| {
            let (pow, longest) = connection.asks(|asks| (asks.pow(now), asks.longest()));
            Wants {
                relay: connection.url.clone(),
                pow,
                longest,
                left_out: pow > self.inner.shared.max_pow,
            }
        };
        self.inner.own.iter().map(of).collect()
    }

    /// Other limits of what is read, from now on. What they let in and was left out before is asked for again.
    pub fn set_limits(&self, max_age: Duration, longest_request: usize) {
        if self.inner.shared.set_limits(max_age, longest_request) {
            for connection in &self.inner.own {
                connection.intake.ask_again();
            }
        }
    }

    /// Sends these very bytes to one relay and waits for its `OK`, never for another relay. A relay that is not our own is
    /// connected to on demand where [`Reach`] allows it, and left alone again after [`Timing::guest_idle`].
    pub async fn publish(&self, relay: &RelayUrl, event: &Event) -> Verdict {
        if let Some(connection) = self.own_line(relay) {
            return publish::publish(connection, event, &self.inner.shared).await;
        }
        self.inner.transient.publish(relay, event).await
    }

    /// Listens for cancellations (kind 5, NIP-09) of these jobs. The list replaces the one before; empty ends the subscription.
    /// At most [`CANCELS_CAP`] are kept.
    pub fn watch_cancels(&self, mut jobs: Vec<EventId>) {
        if jobs.len() > CANCELS_CAP {
            jobs.drain(..jobs.len() - CANCELS_CAP);
        }
        self.inner.cancels.send_if_modified(|now| {
            let changed = *now != jobs;
            *now = jobs;
            changed
        });
    }

    /// Fetches events by id from our own relays and the hints, where [`Reach`] allows them; all ids in one query of each
    /// relay. What does not carry a wanted id and verify is dropped. Returns when all are found, when every relay has answered,
    /// or after `timeout`, the looking up of the hints' addresses included; at most 32 ids.
    pub async fn fetch(
        &self,
        ids: Vec<EventId>,
        hints: Vec<RelayUrl>,
        timeout: Duration,
    ) -> Vec<Event> {
        fetch::fetch(&self.inner, ids, hints, timeout).await
    }

    /// Ends every subscription and connection, and waits until every task has ended.
    pub async fn close(self) {
        self.inner.cancel.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.client.shutdown().await;
    }

    fn own_line(&self, url: &RelayUrl) -> Option<&Arc<RelayConnection>> {
        self.inner
            .own
            .iter()
            .find(|connection| &connection.url == url)
    }
}

/// nostr-sdk's part: sockets, queues, pings and NIP-42. Its database is empty and stays so, as no event gets that far.
fn client(keys: Keys, directory: transport::Directory) -> Client {
    Client::builder()
        .signer(keys)
        .admit_policy(transport::NoEvents)
        .websocket_transport(directory)
        .opts(ClientOptions::new().automatic_authentication(true))
        .build()
}

/// Locks, also where another holder panicked: nothing in this room is left half changed under a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
