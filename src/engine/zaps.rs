//! Zaps to a result (NIP-57): checked against the seller's own lightning address, written into the job's history, told.
//! They are never a payment.

use std::sync::Arc;
use std::time::Duration;

use nostr::{Event as Signed, PublicKey};
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::EngineContext;
use crate::domain::event::{EventKind, Level};
use crate::domain::time::Time;
use crate::domain::zap::{self, NoZap};
use crate::nostr::RelayEvent;

/// A provider that did not answer is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What is known of the address' provider.
#[derive(Default)]
struct Known {
    /// The key that signs receipts.
    key: Option<PublicKey>,
    /// When it was asked last without success.
    failed: Option<Instant>,
}

/// Takes receipts for as long as the shop is online.
pub(super) struct Zaps {
    shop: Arc<EngineContext>,
    address: String,
    known: Mutex<Known>,
}

impl Zaps {
    /// For the lightning address of the settings in force.
    pub(super) fn new(shop: Arc<EngineContext>) -> Self {
        let address = shop.settings().nostr.lightning_address.clone();
        Self {
            shop,
            address,
            known: Mutex::default(),
        }
    }

    /// Takes receipts until `stop`. The address' provider may keep us waiting, so they have a way of their own.
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
            let Some(item) = item else { return };
            if let RelayEvent::Event { event, .. } = item {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.take(&event) => {}
                }
            }
        }
    }

    /// A receipt came from a relay; its id and signature were checked.
    async fn take(&self, receipt: &Signed) {
        let Some(provider) = self.provider().await else {
            return;
        };
        let zap = match zap::read(receipt, &provider, &self.shop.keys.public_key()) {
            Ok(zap) => zap,
            // Gifts to the seller that are for no result are not this shop's business.
            Err(NoZap::NoEvent) => return,
            Err(why) => {
                let message = format!("a zap was not believed: {why}");
                return self.shop.notice(Level::Info, "zap", &message);
            }
        };
        let detail = format!("{} sats, a gift: {}", zap.amount.display(), zap.words);
        let detail = detail.trim_end_matches([':', ' ']).to_owned();
        let kept = self
            .shop
            .ledger
            .zap(receipt.id, zap.event, detail.clone(), Time::now());
        match kept.await {
            // Known already, or for something that is not a result of ours.
            Ok(None) => {}
            Ok(Some(job)) => {
                let message = format!("job {} was zapped: {detail}", job.id.short());
                self.shop.notice(Level::Info, "zap", &message);
                self.shop.emit(EventKind::Job {
                    job: Box::new(job.view()),
                    what: "zapped".to_owned(),
                });
            }
            Err(error) => self.shop.ledger_failed(&error),
        }
    }

    /// The key that signs the receipts of our own address. Asked for once; told where it can't be had.
    async fn provider(&self) -> Option<PublicKey> {
        let mut known = self.known.lock().await;
        let rests = known.failed.is_some_and(|at| at.elapsed() < ASK_AGAIN);
        if known.key.is_none() && !rests {
            match fetch(&self.address).await {
                Ok(key) => known.key = Some(key),
                Err(why) => {
                    known.failed = Some(Instant::now());
                    let message =
                        format!("zaps can't be checked: {why}; asked again when one comes");
                    self.shop.notice(Level::Warn, "zap", &message);
                }
            }
        }
        known.key
    }
}

async fn fetch(address: &str) -> Result<PublicKey, String> {
    let url = zap::document_url(address).ok_or("nostr.lightning_address is empty")?;
    let body = crate::nostr::document(&url)
        .await
        .ok_or_else(|| format!("{url} does not answer with a document"))?;
    let document: Value =
        serde_json::from_slice(&body).map_err(|_| format!("{url} is not a JSON document"))?;
    zap::provider_key(&document)
        .ok_or_else(|| "the lightning address' provider gives no zap receipts (NIP-57)".to_owned())
}
