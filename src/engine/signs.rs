//! What the relays say of themselves: health, cursors, notices, forged events. Apart from requests, which may be many.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::admission::Counts;
use super::context::EngineContext;
use super::pongs::{self, Pongs};
use super::twins;
use crate::domain::event::{EventKind, Level};
use crate::domain::health::HealthLevel;
use crate::domain::id::Buyer;
use crate::domain::refusal::DropReason;
use crate::nostr::RelayEvent;

/// Events of our own key that are judged at once.
const OWN_AT_ONCE: usize = 64;

/// Takes what comes until `stop`; `early` came while the shop was still starting.
pub(super) async fn work(
    shop: &Arc<EngineContext>,
    counts: &Counts,
    early: Vec<RelayEvent>,
    mut news: mpsc::Receiver<RelayEvent>,
    stop: &CancellationToken,
) {
    let pongs = Pongs::default();
    // Ended with this, and few: see the limits of `pongs`, and `OWN_AT_ONCE`.
    let mut answers: JoinSet<()> = JoinSet::new();
    for item in early {
        match item {
            RelayEvent::Own { event } => twins::heard(shop.clone(), event.into_event()).await,
            item => take(shop, counts, item).await,
        }
    }
    loop {
        let item = tokio::select! {
            () = stop.cancelled() => return,
            item = news.recv() => item,
            Some(_) = answers.join_next(), if !answers.is_empty() => continue,
        };
        match item {
            None => return,
            Some(RelayEvent::Ping { event, .. }) => {
                if let Some(connections) = shop
                    .connections()
                    .filter(|_| pongs.may(event.pubkey, Instant::now()))
                {
                    answers.spawn(pongs::answer(shop.clone(), connections, event.into_event()));
                }
            }
            Some(RelayEvent::Own { event }) => {
                // One that is passed over is followed by others.
                if answers.len() < OWN_AT_ONCE {
                    answers.spawn(twins::heard(shop.clone(), event.into_event()));
                }
            }
            Some(item) => take(shop, counts, item).await,
        }
    }
}

async fn take(shop: &Arc<EngineContext>, counts: &Counts, news: RelayEvent) {
    match news {
        RelayEvent::Unverified { pubkey, .. } => {
            counts.drop(DropReason::BadSignature, Buyer(pubkey));
        }
        RelayEvent::Notice { relay, words } => {
            let message = format!("{relay} says: {words}");
            shop.notice(Level::Info, "relay", &message);
        }
        RelayEvent::Cursor { relay, at } => {
            if let Err(error) = shop.ledger.set_cursor(relay.to_string(), at).await {
                shop.ledger_failed(&error);
            }
        }
        RelayEvent::Health(relay) => {
            if matches!(relay.health, HealthLevel::Ok | HealthLevel::Warn)
                && let Err(error) = shop.ledger.hurry(relay.url.clone()).await
            {
                shop.ledger_failed(&error);
            }
            shop.wakers.outbox.notify_one();
            shop.wakers.health.notify_one();
            shop.emit(EventKind::Relay { relay });
        }
        // Requests go another way; pings and our own events are taken before this.
        RelayEvent::Event { .. }
        | RelayEvent::TooLong { .. }
        | RelayEvent::Ping { .. }
        | RelayEvent::Own { .. } => {}
    }
}
