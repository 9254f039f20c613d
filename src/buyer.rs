//! Buying over relays, as `vend request`, the gateway and the demo do. The seller's engine knows nothing of it.
//!
//! On the relay layer of the shop (`nostr`), so that a buyer survives what a seller does: ended subscriptions, NIP-42, rate
//! limits, dead relays, clocks that differ. What becomes of a request is decided by `domain::purchase`; [`shop`] does what it
//! says, and writes it down first.

mod key;
mod pay;
mod resume;
mod routes;
mod send;
mod shop;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nostr::{Event, EventId, Keys, PublicKey, RelayUrl, UnsignedEvent};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::domain::buyer::{self as words, Answer, Order};
use crate::domain::id::RequestId;
use crate::domain::job::Encryption;
use crate::domain::reply::{FEEDBACK, RESULT_ABOVE_REQUEST};
use crate::domain::time::Time;
use crate::nostr::{Reach, Relays, RelaysConfig, Timing};

pub use key::buyer_key;
pub use pay::Payer;
pub use resume::{collect, settle_open, take_up};
pub use routes::Inbox;
pub use shop::{Record, Trip, buy};

use routes::{Ready, Routes};

/// What relays tell and was not read yet.
const NEWS: usize = 1_024;

/// Sellers' clocks differ from ours, and relays keep answers: nothing that may be one is left out for its time.
const WINDOW: Duration = Duration::from_secs(48 * 3600);

/// Results of common kinds (NIP-90) are heard whatever was asked for, so that one of the wrong kind can be told.
const OTHER_RESULTS: [u16; 7] = [6_000, 6_001, 6_002, 6_050, 6_100, 6_200, 6_300];

/// How long an event that nobody waits for is tried.
const BACKGROUND: Duration = Duration::from_secs(30);

/// How long leaving may take.
const LEAVE: Duration = Duration::from_secs(1);

/// Why a buyer could not buy.
#[derive(Debug, thiserror::Error)]
pub enum BuyerError {
    /// The request can't be written.
    #[error("{0}")]
    Order(String),
    /// No relay took the request.
    #[error("no relay took the request: {0}")]
    NotSent(String),
    /// What is to be known after a crash could not be written down, so nothing was done.
    #[error(transparent)]
    Ledger(#[from] crate::ledger::LedgerError),
}

/// One answer, with who gave it. Id and signature were checked.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The request it answers.
    pub request: RequestId,
    /// The event's id.
    pub event: EventId,
    /// The event's kind.
    pub kind: u16,
    /// Who gave it.
    pub seller: PublicKey,
    /// What it says.
    pub answer: Answer,
}

/// A buyer who is connected. Clones share one set of connections.
#[derive(Clone)]
pub struct Buyer {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Keys,
    relays: Relays,
    routes: Routes,
    ready: watch::Receiver<Ready>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    _end: DropGuard,
}

impl Buyer {
    /// Connects in the background, and listens for answers that name this key to requests of these kinds. What answers none of
    /// the requests that are followed goes to `late`, where one is given.
    ///
    /// Needs a tokio runtime.
    #[must_use]
    pub fn connect(
        keys: Keys,
        relays: Vec<RelayUrl>,
        kinds: &[u16],
        late: Option<mpsc::Sender<Heard>>,
    ) -> Self {
        let mut listened: Vec<u16> = kinds
            .iter()
            .map(|kind| kind.saturating_add(RESULT_ABOVE_REQUEST))
            .collect();
        listened.extend(OTHER_RESULTS.into_iter().chain([FEEDBACK]));
        listened.sort_unstable();
        listened.dedup();
        let (news, inbox) = mpsc::channel(NEWS);
        let relays = Relays::start(
            RelaysConfig {
                urls: relays,
                keys: keys.clone(),
                kinds: listened,
                since: HashMap::new(),
                max_age: WINDOW,
                zaps: false,
                only_ours: true,
                longest_request: 1024 * 1024,
                max_pow: 0,
                reach: Reach::public(false),
                timing: timing(),
            },
            news,
        );
        let cancel = CancellationToken::new();
        let tasks = TaskTracker::new();
        let routes = Routes::default();
        let (tell_ready, ready) = watch::channel(Ready::default());
        tasks.spawn(routes::run(
            inbox,
            keys.clone(),
            routes.clone(),
            late,
            (relays.own(), tell_ready),
            cancel.child_token(),
        ));
        Self {
            inner: Arc::new(Inner {
                keys,
                relays,
                routes,
                ready,
                tasks,
                _end: cancel.clone().drop_guard(),
                cancel,
            }),
        }
    }

    /// Signs a request; publishing it is [`Self::send`].
    ///
    /// # Errors
    /// Where the order can't be written or encrypted.
    pub fn write(&self, order: &Order) -> Result<Event, BuyerError> {
        let keys = &self.inner.keys;
        words::order(
            order,
            &keys.public_key(),
            Time::now(),
            &|scheme, to, text| encrypt(keys, scheme, to, text),
        )
        .map_err(BuyerError::Order)?
        .sign_with_keys(keys)
        .map_err(|error| BuyerError::Order(error.to_string()))
    }

    /// Hears what answers this request from now on, only from `to` where it is given.
    #[must_use]
    pub fn follow(&self, request: RequestId, to: Option<PublicKey>) -> Inbox {
        self.inner.routes.follow(request, to)
    }

    /// Waits until a relay listens, or every one has failed, or `until`. A relay that keeps nothing tells only those who
    /// listened before.
    pub async fn ready(&self, until: Instant) {
        let mut ready = self.inner.ready.clone();
        let settled = ready.wait_for(|ready| ready.listening || ready.settled);
        // Where it takes longer the request goes out all the same: relays that keep answers give them later.
        let _ = tokio::time::timeout_at(until, settled).await;
    }

    /// Publishes a request to every relay of this buyer; goes on in the background with those that do not take it yet, until
    /// `until`. Returns with the first that has taken it.
    ///
    /// # Errors
    /// Where no relay took it in time, or none ever will.
    pub async fn send(&self, request: &Event, until: Instant) -> Result<RequestId, BuyerError> {
        let inner = &self.inner;
        send::to_all(&inner.relays, &inner.tasks, &inner.cancel, request, until).await?;
        Ok(RequestId(request.id))
    }

    /// Takes a request back (kind 5), in the background: its seller need not go on.
    pub fn withdraw(&self, request: &Event) {
        self.send_in_background(words::withdrawal(request, Time::now()));
    }

    fn send_in_background(&self, unsigned: UnsignedEvent) {
        let Ok(event) = unsigned.sign_with_keys(&self.inner.keys) else {
            tracing::warn!("an event of the buyer could not be signed");
            return;
        };
        let relays = self.inner.relays.clone();
        let (tasks, cancel) = (self.inner.tasks.clone(), self.inner.cancel.clone());
        let until = Instant::now() + BACKGROUND;
        self.inner.tasks.spawn(async move {
            let sending = send::to_all(&relays, &tasks, &cancel, &event, until);
            let sent = tokio::select! {
                () = cancel.cancelled() => return,
                sent = sending => sent,
            };
            if let Err(error) = sent {
                tracing::info!(event = %event.id, %error, "not taken");
            }
        });
    }

    /// Asks a seller for a sign of life, in the background.
    pub fn ping(&self, seller: &PublicKey) {
        let unsigned = words::ping(&self.public_key(), seller, Time::now());
        self.send_in_background(unsigned);
    }

    /// When a seller last answered a ping of ours.
    #[must_use]
    pub fn pong_of(&self, seller: &PublicKey) -> Option<Time> {
        self.inner.routes.pong_of(seller)
    }

    /// The buyer's key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.inner.keys.public_key()
    }

    /// How each relay is.
    #[must_use]
    pub fn relays(&self) -> Vec<crate::domain::health::RelayHealth> {
        self.inner.relays.health()
    }

    /// Leaves, within about a second.
    pub async fn leave(self) {
        let inner = &self.inner;
        inner.cancel.cancel();
        inner.tasks.close();
        let leaving = async {
            inner.tasks.wait().await;
            inner.relays.clone().close().await;
        };
        if tokio::time::timeout(LEAVE, leaving).await.is_err() {
            tracing::debug!("a relay is slow to part");
        }
    }
}

/// A person waits: relays are tried again sooner than a shop does it.
fn timing() -> Timing {
    let secs = Duration::from_secs;
    Timing {
        retry_first: secs(1),
        retry_cap: secs(15),
        closed_first: secs(1),
        closed_cap: secs(30),
        restricted_wait: secs(60),
        overlap: WINDOW,
        close_wait: Duration::from_millis(300),
        ..Timing::default()
    }
}

fn encrypt(keys: &Keys, scheme: Encryption, to: &PublicKey, text: &str) -> Result<String, String> {
    use nostr::nips::{nip04, nip44};
    let key = keys.secret_key();
    match scheme {
        Encryption::Plain => Ok(text.to_owned()),
        Encryption::Nip04 => nip04::encrypt(key, to, text).map_err(|error| error.to_string()),
        Encryption::Nip44 => nip44::encrypt(key, to, text, nip44::Version::default())
            .map_err(|error| error.to_string()),
    }
}

fn decrypt(keys: &Keys, scheme: Encryption, from: &PublicKey, text: &str) -> Result<String, ()> {
    use nostr::nips::{nip04, nip44};
    let key = keys.secret_key();
    match scheme {
        Encryption::Plain => Ok(text.to_owned()),
        Encryption::Nip04 => nip04::decrypt(key, from, text).map_err(drop),
        Encryption::Nip44 => nip44::decrypt(key, from, text).map_err(drop),
    }
}
