//! Who sells: announcements and heartbeats on the gateway's relays, kept in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nostr::{Event, PublicKey, RelayUrl};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::KIND;
use crate::buyer::Buyer;
use crate::domain::sellers::{
    HEARTBEAT, Known, Seller, SellerRecord, heartbeat, merged, read_seller,
};
use crate::domain::time::Time;
use crate::nostr::{RelayEvent, Relays, RelaysConfig, Timing};

/// Sellers that are kept; strangers make them.
const MAX_SELLERS: usize = 2_000;
/// Sellers that are asked for a sign of life in one go.
const PINGS: usize = 20;
/// How long their answer is waited for.
const PONG: Duration = Duration::from_secs(3);

/// The longest identifier that is told from another, characters.
const LONGEST_IDENTIFIER: usize = 64;
/// Announcements of one seller that are kept.
const MAX_ANNOUNCED: usize = 8;

#[derive(Default)]
struct State {
    /// By the announcement's identifier (`d`): a seller may have several offers.
    sellers: HashMap<PublicKey, BTreeMap<String, Seller>>,
    beats: HashMap<PublicKey, Time>,
}

/// Who sells.
pub(super) struct SellerDirectory {
    state: Arc<Mutex<State>>,
    relays: Relays,
    loaded: watch::Receiver<bool>,
}

impl SellerDirectory {
    /// Listens in the background.
    pub(super) fn start(
        urls: Vec<RelayUrl>,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let (news, inbox) = mpsc::channel(1_024);
        let relays = Relays::start(
            RelaysConfig {
                timing: Timing {
                    close_wait: Duration::from_millis(300),
                    ..Timing::default()
                },
                ..RelaysConfig::announcements(urls)
            },
            news,
        );
        let state: Arc<Mutex<State>> = Arc::default();
        let (tell, loaded) = watch::channel(false);
        let count = relays.own().len();
        tasks.spawn(read(inbox, state.clone(), (tell, count), cancel));
        Self {
            state,
            relays,
            loaded,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a relay has told what it has, or every one has failed, or `wait`.
    pub(super) async fn loaded(&self, wait: Duration) {
        let mut loaded = self.loaded.clone();
        // Where it takes longer, what is known by then is used.
        let _ = tokio::time::timeout(wait, loaded.wait_for(|loaded| *loaded)).await;
    }

    /// Every seller with what is known of it.
    pub(super) fn known(
        &self,
        records: &HashMap<PublicKey, SellerRecord>,
        buyer: &Buyer,
    ) -> Vec<(Seller, Known)> {
        let state = self.lock();
        let all = state.sellers.values().filter_map(merged_of).map(|seller| {
            let beat = state.beats.get(&seller.key).copied();
            let known = Known {
                // Who announced itself a moment ago was there.
                seen: beat
                    .max(buyer.pong_of(&seller.key))
                    .max(Some(seller.at.min(Time::now()))),
                record: records.get(&seller.key).copied().unwrap_or_default(),
            };
            (seller, known)
        });
        all.collect()
    }

    /// Asks sellers without a sign of life for one, and waits for the first for a while.
    pub(super) async fn ping_silent(&self, buyer: &Buyer, wait: Duration) {
        let now = Time::now();
        let none = HashMap::new();
        let mut silent: Vec<Seller> = self
            .known(&none, buyer)
            .into_iter()
            .filter(|(_, known)| !known.is_alive(now))
            .map(|(seller, _)| seller)
            .collect();
        silent.sort_by_key(|seller| std::cmp::Reverse(seller.at));
        silent.truncate(PINGS);
        if silent.is_empty() {
            return;
        }
        let until = Instant::now() + wait.min(PONG);
        buyer.ready(until).await;
        for seller in &silent {
            buyer.ping(&seller.key);
        }
        while Instant::now() < until {
            if silent
                .iter()
                .all(|seller| buyer.pong_of(&seller.key).is_some())
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the connections.
    pub(super) async fn leave(&self) {
        let closing = self.relays.clone().close();
        if tokio::time::timeout(Duration::from_secs(1), closing)
            .await
            .is_err()
        {
            tracing::debug!("a relay is slow to part");
        }
    }
}

async fn read(
    mut news: mpsc::Receiver<RelayEvent>,
    state: Arc<Mutex<State>>,
    (loaded, count): (watch::Sender<bool>, usize),
    cancel: CancellationToken,
) {
    let mut settled: HashMap<String, bool> = HashMap::new();
    loop {
        let item = tokio::select! {
            () = cancel.cancelled() => return,
            item = news.recv() => item,
        };
        match item {
            None => return,
            Some(RelayEvent::Event { event, .. }) => {
                take(
                    &mut state.lock().unwrap_or_else(PoisonError::into_inner),
                    &event,
                );
            }
            Some(RelayEvent::Health(health)) => {
                let told = matches!(health.state.as_str(), "subscribed" | "refusing");
                let over = !matches!(health.state.as_str(), "connecting" | "connected");
                *settled.entry(health.url).or_default() |= over;
                let all = settled.len() >= count && settled.values().all(|over| *over);
                if told || all {
                    loaded.send_replace(true);
                }
            }
            Some(_) => {}
        }
    }
}

fn take(state: &mut State, event: &Event) {
    let key = event.pubkey;
    if event.kind.as_u16() == HEARTBEAT {
        match heartbeat(event) {
            Some(at) if state.beats.len() < MAX_SELLERS || state.beats.contains_key(&key) => {
                let beat = state.beats.entry(key).or_insert(at);
                // A clock that is ahead must not keep a seller alive for longer.
                *beat = (*beat).max(at).min(Time::now());
            }
            Some(_) => {}
            None => {
                state.beats.remove(&key);
            }
        }
        return;
    }
    let at = Time::from_secs(event.created_at.as_secs());
    let identifier: String = (event.tags.identifier().unwrap_or_default())
        .chars()
        .take(LONGEST_IDENTIFIER)
        .collect();
    let announced = state.sellers.get(&key);
    let known = announced.and_then(|all| all.get(&identifier));
    if known.is_some_and(|known| known.at > at) {
        return;
    }
    // A handler of other things by the same key takes nothing back.
    let Some(seller) = read_seller(event, KIND) else {
        return;
    };
    let has_room = match announced {
        Some(all) => all.len() < MAX_ANNOUNCED || known.is_some(),
        None => state.sellers.len() < MAX_SELLERS,
    };
    if has_room {
        let all = state.sellers.entry(key).or_default();
        all.insert(identifier, seller);
    }
}

fn merged_of(announced: &BTreeMap<String, Seller>) -> Option<Seller> {
    merged(announced.values())
}
