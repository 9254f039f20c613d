//! What the relays say of themselves: health, cursors, notices, forged events. Apart from requests, which may be many.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::admission::Counts;
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
    loop {
        let item = tokio::select! {
            () = stop.cancelled() => return,
            item = news.recv() => item,
        };
        let Some(item) = item else { return };
        take(shop, counts, item).await;
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
            if relay.light == Light::Ok
                && let Err(error) = shop.ledger.hurry(relay.url.clone()).await
            {
                shop.ledger_failed(&error);
            }
            shop.bells.outbox.notify_one();
            shop.bells.lights.notify_one();
            shop.tell(News::Relay { relay });
        }
        // Events go another way.
        RelayNews::Event { .. } => {}
    }
}
