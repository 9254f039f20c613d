//! Buyers take requests back (NIP-09, kind 5). Only the author of a request can.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use nostr::{Event as Signed, EventId, PublicKey, RelayUrl};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::domain::event::Level;
use crate::domain::id::RequestId;
use crate::domain::request;
use crate::engine::context::EngineContext;
use crate::engine::transition::ApplyError;
use crate::nostr::RelayEvent;

/// Cancels that came before their request, or while it was being admitted; the oldest are forgotten first.
const EARLY: usize = 1_024;

/// See the module.
pub(super) struct Cancels {
    shop: Arc<EngineContext>,
    early: Mutex<VecDeque<(EventId, PublicKey)>>,
}

impl Cancels {
    pub(super) fn new(shop: Arc<EngineContext>) -> Self {
        Self {
            shop,
            early: Mutex::default(),
        }
    }

    /// Takes cancels until `stop`.
    pub(super) async fn work(
        &self,
        mut news: mpsc::Receiver<RelayEvent>,
        stop: &CancellationToken,
    ) {
        loop {
            let item = tokio::select! {
                () = stop.cancelled() => return,
                item = news.recv() => item,
            };
            match item {
                Some(RelayEvent::Event { relay, event }) => self.take(&event, &relay).await,
                Some(_) => {}
                None => return,
            }
        }
    }

    async fn take(&self, event: &Signed, relay: &RelayUrl) {
        for id in request::read_cancel(event) {
            // Before the look into the ledger, so that a request on its way there finds it on one side or the other.
            self.remember(id.0, event.pubkey);
            match self.shop.ledger.job(id).await {
                Ok(Some(job)) if job.buyer.0 == event.pubkey => self.cancel(id).await,
                Ok(_) => {}
                Err(error) => self.shop.notice(
                    Level::Error,
                    "ledger",
                    &format!("a cancel from {relay}: {error}"),
                ),
            }
        }
    }

    /// The buyer's own word on a job.
    pub(super) async fn cancel(&self, id: RequestId) {
        match self.shop.cancel(id, true).await {
            Ok(_) | Err(ApplyError::No(_)) => {}
            Err(error) => self.shop.notice(Level::Error, "job", &error.to_string()),
        }
    }

    fn remember(&self, id: EventId, by: PublicKey) {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        if early.len() >= EARLY {
            early.pop_front();
        }
        early.push_back((id, by));
    }

    /// Did its author take this request back?
    pub(super) fn has(&self, id: EventId, by: PublicKey) -> bool {
        let early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        early.contains(&(id, by))
    }
}
