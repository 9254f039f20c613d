//! Sales under way and just done, by what was asked: a client that tries again joins its purchase and does not buy twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::openai::{ApiError, Usage};
use crate::domain::Hex32;
use crate::domain::msat::Msat;

/// How long a sale can be joined.
pub(super) const JOIN: Duration = Duration::from_secs(600);
/// Sales that are kept for joining.
const MAX_KEPT: usize = 512;

/// What was sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sold {
    pub(super) text: String,
    pub(super) usage: Usage,
    /// The seller's npub; none: this machine's own endpoint.
    pub(super) seller: Option<String>,
    pub(super) paid: Msat,
    /// The request's event.
    pub(super) job: Option<String>,
    pub(super) model: Option<String>,
}

/// How far a sale is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The answer so far, as far as nothing can take it back.
    pub(super) text: String,
    /// Who gives it, and the request's event.
    pub(super) seller: Option<(String, String)>,
    /// Something was paid for it, or may have been.
    pub(super) paid: bool,
    /// Its end.
    pub(super) end: Option<Result<Sold, ApiError>>,
}

struct Entry {
    sale: Arc<watch::Sender<Progress>>,
    at: Instant,
}

/// The sales.
#[derive(Default)]
pub(super) struct Joins {
    all: Mutex<HashMap<Hex32, Entry>>,
}

impl Joins {
    fn lock(&self) -> MutexGuard<'_, HashMap<Hex32, Entry>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sale of this body, where one of the last ten minutes goes on, or was paid or answered.
    pub(super) fn find(&self, body: &Hex32) -> Option<watch::Receiver<Progress>> {
        let all = self.lock();
        let entry = all.get(body).filter(|entry| entry.at.elapsed() < JOIN)?;
        let failed = matches!(&entry.sale.borrow().end, Some(Err(error)) if !error.paid);
        (!failed).then(|| entry.sale.subscribe())
    }

    /// A new sale under this body; the one before is forgotten.
    pub(super) fn begin(
        &self,
        body: Hex32,
    ) -> (Arc<watch::Sender<Progress>>, watch::Receiver<Progress>) {
        let (sale, told) = watch::channel(Progress::default());
        let sale = Arc::new(sale);
        let mut all = self.lock();
        all.retain(|_, entry| entry.at.elapsed() < JOIN);
        if all.len() >= MAX_KEPT {
            let oldest = all.iter().min_by_key(|(_, entry)| entry.at);
            if let Some(oldest) = oldest.map(|(body, _)| *body) {
                all.remove(&oldest);
            }
        }
        let entry = Entry {
            sale: sale.clone(),
            at: Instant::now(),
        };
        all.insert(body, entry);
        (sale, told)
    }

    /// The answer to a purchase of an earlier run: whoever joined it is told, and whoever joins it later.
    pub(super) fn came_late(&self, body: Hex32, sold: Sold) {
        let found = self.lock().get(&body).map(|entry| entry.sale.clone());
        let sale = found.unwrap_or_else(|| self.begin(body).0);
        sale.send_modify(|progress| {
            progress.paid = true;
            progress.end.get_or_insert(Ok(sold));
        });
    }
}
