//! What the relays say of themselves: health, cursors, notices, forged events. Apart from requests, which may be many.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::admission::Counts;
use super::pongs::{self, Pongs};
use super::shop::Shop;
use crate::domain::event::{Level, News};
use crate::domain::health::Light;
use crate::domain::id::Buyer;
use crate::domain::refusal::DropReason;
use crate::nostr::RelayNews;

/// Takes what comes until `stop`; `early` came while the shop was still starting.
pub(super) async fn work(
    shop: &Arc<Shop>,
    counts: &Counts,
    early: Vec<RelayNews>,
    mut news: mpsc::Receiver<RelayNews>,
    stop: &CancellationToken,
) {
    for item in early {
        take(shop, counts, item).await;
    }
    let pongs = Pongs::default();
    // Ended with this, and few: see the limits of `pongs`.
    let mut answers: JoinSet<()> = JoinSet::new();
    loop {
        let item = tokio::select! {
            () = stop.cancelled() => return,
            item = news.recv() => item,
            Some(_) = answers.join_next(), if !answers.is_empty() => continue,
        };
        match item {
            None => return,
            Some(RelayNews::Ping { event, .. }) => {
                if let Some(market) = shop
                    .market()
                    .filter(|_| pongs.may(event.pubkey, Instant::now()))
                {
                    answers.spawn(pongs::answer(shop.clone(), market, event.into_event()));
                }
            }
            Some(item) => take(shop, counts, item).await,
        }
    }
}

async fn take(shop: &Arc<Shop>, counts: &Counts, news: RelayNews) {
    match news {
        RelayNews::Unverified { pubkey, .. } => {
            counts.drop(DropReason::BadSignature, Buyer(pubkey));
        }
        RelayNews::Said { relay, words } => {
            let message = format!("{relay} says: {words}");
            shop.notice(Level::Info, "relay", &message);
        }
        RelayNews::Cursor { relay, at } => {
            if let Err(error) = shop.ledger.set_cursor(relay.to_string(), at).await {
                shop.ledger_failed(&error);
            }
        }
        RelayNews::Health(relay) => {
            if matches!(relay.light, Light::Ok | Light::Warn)
                && let Err(error) = shop.ledger.hurry(relay.url.clone()).await
            {
                shop.ledger_failed(&error);
            }
            shop.bells.outbox.notify_one();
            shop.bells.lights.notify_one();
            shop.tell(News::Relay { relay });
        }
        // Requests go another way; pings are taken before this.
        RelayNews::Event { .. } | RelayNews::TooLong { .. } | RelayNews::Ping { .. } => {}
    }
}
