//! Tells the figures when they changed, keeps the list of cancellable jobs at the relays, and erases old content.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::context::EngineContext;
use crate::domain::event::{EventKind, Level};
use crate::domain::time::Time;

/// Changes that come together are told together.
const GATHER: Duration = Duration::from_millis(500);
/// Of the jobs that wait for a payment so many are watched for cancels.
const CANCELS: usize = 500;
/// Between two looks for content that is to be erased.
const ERASE_EVERY: Duration = Duration::from_secs(900);
/// Between two looks at what strangers' texts take.
const BOUND_EVERY: Duration = Duration::from_secs(20);

/// Works until `stop`.
pub async fn work(shop: Arc<EngineContext>, stop: CancellationToken) {
    let mut watched = Vec::new();
    let mut erase = tokio::time::interval(ERASE_EVERY);
    let mut bound = tokio::time::interval(BOUND_EVERY);
    let mut settings = shop.settings_changes();
    let mut hours = shop.settings().privacy.keep_content_hours;
    let mut most = shop.settings().limits.unpaid_text_mb;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = erase.tick() => tidy(&shop).await,
            _ = bound.tick() => bound_texts(&shop).await,
            Ok(()) = settings.changed() => {
                let (keep, bound) = {
                    let now = settings.borrow_and_update();
                    (now.privacy.keep_content_hours, now.limits.unpaid_text_mb)
                };
                if std::mem::replace(&mut hours, keep) != keep {
                    tidy(&shop).await;
                }
                if std::mem::replace(&mut most, bound) != bound {
                    bound_texts(&shop).await;
                }
            }
            () = shop.wakers.stats.notified() => {
                tell(&shop).await;
                watch_cancels(&shop, &mut watched);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(GATHER) => {}
                }
            }
        }
    }
}

/// Tells the figures as they are.
pub async fn tell(shop: &EngineContext) {
    match shop.ledger.totals().await {
        Ok(totals) => shop.emit(EventKind::Totals {
            totals: Box::new(totals),
        }),
        Err(error) => shop.ledger_failed(&error),
    }
}

fn watch_cancels(shop: &EngineContext, watched: &mut Vec<nostr::EventId>) {
    let Some(connections) = shop.connections() else {
        watched.clear();
        return;
    };
    let live = shop.ledger.cancellable(CANCELS);
    if live != *watched {
        connections.relays.watch_cancels(live.clone());
        *watched = live;
    }
}

async fn tidy(shop: &EngineContext) {
    let hours = shop.settings().privacy.keep_content_hours;
    let before = Time::now().minus(Duration::from_secs(hours.saturating_mul(3_600)));
    if let Err(error) = shop.ledger.erase_content(before).await {
        shop.ledger_failed(&error);
    }
}

/// Keeps what strangers sent and have not paid for within its limit.
async fn bound_texts(shop: &EngineContext) {
    let most = u64::from(shop.settings().limits.unpaid_text_mb).saturating_mul(1 << 20);
    match shop.ledger.erase_unpaid(most).await {
        Ok(0) => {}
        Ok(count) => {
            let words = format!(
                "the texts of {count} unpaid jobs were erased, the oldest first: see limits.unpaid_text_mb"
            );
            shop.notice(Level::Warn, "ledger", &words);
        }
        Err(error) => shop.ledger_failed(&error),
    }
}
