//! From what relays tell to those who wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nostr::{Keys, PublicKey, RelayUrl};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Heard, decrypt};
use crate::domain::buyer::{is_pong, read_answer};
use crate::domain::id::RequestId;
use crate::domain::time::Time;
use crate::nostr::RelayEvent;

/// Answers to one request that may wait to be read; beyond it a flood is dropped.
const INBOX: usize = 256;

/// How the relays are, as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ready {
    /// One has answered our subscription.
    pub(super) listening: bool,
    /// Each has answered it, or has failed once.
    pub(super) settled: bool,
}

struct Route {
    to: Option<PublicKey>,
    tell: mpsc::Sender<Heard>,
}

/// Sellers whose answer to a ping is remembered.
const MAX_PONGS: usize = 4_096;

/// Who waits for which request.
#[derive(Clone, Default)]
pub(super) struct Routes {
    open: Arc<Mutex<HashMap<RequestId, Route>>>,
    /// When each seller last answered a ping.
    pongs: Arc<Mutex<HashMap<PublicKey, Time>>>,
}

impl Routes {
    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Route>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn follow(&self, request: RequestId, to: Option<PublicKey>) -> Inbox {
        let (tell, heard) = mpsc::channel(INBOX);
        self.lock().insert(request, Route { to, tell });
        Inbox {
            request,
            heard,
            routes: self.clone(),
        }
    }

    /// When a seller last answered a ping of ours.
    pub(super) fn pong_of(&self, seller: &PublicKey) -> Option<Time> {
        let pongs = self.pongs.lock().unwrap_or_else(PoisonError::into_inner);
        pongs.get(seller).copied()
    }

    fn pong(&self, seller: PublicKey) {
        let mut pongs = self.pongs.lock().unwrap_or_else(PoisonError::into_inner);
        if pongs.len() < MAX_PONGS || pongs.contains_key(&seller) {
            pongs.insert(seller, Time::now());
        }
    }

    /// Gives it back where nobody waits for this request.
    fn hand(&self, heard: Heard) -> Option<Heard> {
        let open = self.lock();
        let Some(route) = open.get(&heard.request) else {
            return Some(heard);
        };
        if route.to.is_some_and(|to| to != heard.seller) {
            // Nobody asked this one: its words take no place.
            tracing::debug!(request = %heard.request, seller = %heard.seller, "answered unasked");
            return None;
        }
        if route.tell.try_send(heard).is_err() {
            tracing::warn!("too many answers to one request at once: one was dropped");
        }
        None
    }
}

/// What is heard of one request. Dropped, nobody waits for it any more.
pub struct Inbox {
    request: RequestId,
    heard: mpsc::Receiver<Heard>,
    routes: Routes,
}

impl Inbox {
    /// The next answer; none when the buyer has left.
    pub async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }

    /// From now on only this seller is heard.
    pub fn only(&self, seller: PublicKey) {
        if let Some(route) = self.routes.lock().get_mut(&self.request) {
            route.to = Some(seller);
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.routes.lock().remove(&self.request);
    }
}

/// Reads the relays' news until cancelled.
pub(super) async fn run(
    mut news: mpsc::Receiver<RelayEvent>,
    keys: Keys,
    routes: Routes,
    late: Option<mpsc::Sender<Heard>>,
    (relays, tell_ready): (Vec<RelayUrl>, watch::Sender<Ready>),
    cancel: CancellationToken,
) {
    let mut states: HashMap<String, bool> = relays
        .iter()
        .map(|relay| (relay.to_string(), false))
        .collect();
    loop {
        let item = tokio::select! {
            () = cancel.cancelled() => return,
            item = news.recv() => item,
        };
        match item {
            None => return,
            Some(RelayEvent::Event { event, .. }) => {
                let read = read_answer(&event, &|scheme, from, text| {
                    decrypt(&keys, scheme, from, text)
                });
                let Some((request, answer)) = read else {
                    if is_pong(&event) {
                        routes.pong(event.pubkey);
                    }
                    continue;
                };
                let heard = Heard {
                    request,
                    event: event.id,
                    kind: event.kind.as_u16(),
                    seller: event.pubkey,
                    answer,
                };
                if let (Some(heard), Some(late)) = (routes.hand(heard), &late)
                    && late.try_send(heard).is_err()
                {
                    tracing::debug!("too many late answers at once: one was dropped");
                }
            }
            Some(RelayEvent::Health(health)) => {
                let listening = matches!(health.state.as_str(), "subscribed" | "refusing");
                let settled = !matches!(health.state.as_str(), "connecting" | "connected");
                if let Some(state) = states.get_mut(&health.url) {
                    *state |= settled;
                }
                let all = states.values().all(|settled| *settled);
                tell_ready.send_if_modified(|ready| {
                    let now = Ready {
                        listening: ready.listening || listening,
                        settled: all,
                    };
                    std::mem::replace(ready, now) != now
                });
            }
            Some(_) => {}
        }
    }
}
