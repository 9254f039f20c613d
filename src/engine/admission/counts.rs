//! What admission counts: told and written down a little later, many at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::domain::event::EventKind;
use crate::domain::id::Buyer;
use crate::domain::refusal::DropReason;
use crate::engine::context::EngineContext;
use crate::ledger::Counted;

/// How often counted drops are told and written down.
const TELL_EVERY: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Waiting {
    counted: Counted,
    /// The last buyer of each reason, as an example.
    examples: BTreeMap<DropReason, Buyer>,
}

/// See the module.
pub(in crate::engine) struct Counts {
    shop: Arc<EngineContext>,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

impl Counts {
    pub(super) fn new(shop: Arc<EngineContext>) -> Self {
        Self {
            shop,
            waiting: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// A request was dropped, or an event that is none of its author's.
    pub(in crate::engine) fn drop(&self, reason: DropReason, buyer: Buyer) {
        self.change(|waiting| {
            *waiting.counted.drops.entry(reason.as_str()).or_default() += 1;
            waiting.examples.insert(reason, buyer);
        });
    }

    /// A request arrived that was not seen before.
    pub(super) fn seen(&self) {
        self.change(|waiting| waiting.counted.seen += 1);
    }

    /// It could be read as a job.
    pub(super) fn understood(&self) {
        self.change(|waiting| waiting.counted.understood += 1);
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// Tells and writes until `stop`; what is counted after it is for [`Counts::flush`].
    pub(super) async fn work(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => self.flush().await,
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(TELL_EVERY) => {}
            }
        }
    }

    /// Tells and writes what is waiting.
    pub(super) async fn flush(&self) {
        let Waiting { counted, examples } =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if counted == Counted::default() {
            return;
        }
        for (reason, buyer) in examples {
            self.shop.emit(EventKind::Dropped {
                reason: reason.as_str().to_owned(),
                count: counted.drops.get(reason.as_str()).copied().unwrap_or(0),
                buyer: buyer.to_string(),
            });
        }
        if let Err(error) = self.shop.ledger.count(counted.clone()).await {
            self.shop.ledger_failed(&error);
            // Written down with the next ones.
            self.change(|waiting| waiting.counted.add(counted));
        }
        self.shop.wakers.stats.notify_one();
    }
}
