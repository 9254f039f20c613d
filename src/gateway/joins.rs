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

/// Who leads a sale tells how far it is.
pub(super) type Teller = Arc<watch::Sender<Progress>>;

struct Entry {
    sale: Teller,
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
        find(&self.lock(), body)
    }

    /// A new sale under this body; the one before is forgotten.
    pub(super) fn begin(&self, body: Hex32) -> (Teller, watch::Receiver<Progress>) {
        begin(&mut self.lock(), body)
    }

    /// The sale that can be joined; else a new one, which the caller leads. In one step, as an answer, or the same client once
    /// more, may come at any moment.
    pub(super) fn join(&self, body: Hex32) -> (Option<Teller>, watch::Receiver<Progress>) {
        let mut all = self.lock();
        if let Some(told) = find(&all, &body) {
            return (None, told);
        }
        let (tell, told) = begin(&mut all, body);
        (Some(tell), told)
    }

    /// The answer to a purchase of an earlier run: whoever joined it is told, and whoever joins it later.
    pub(super) fn came_late(&self, body: Hex32, sold: Sold) {
        let mut all = self.lock();
        let found = all.get(&body).map(|entry| entry.sale.clone());
        let sale = found.unwrap_or_else(|| begin(&mut all, body).0);
        drop(all);
        sale.send_modify(|progress| {
            progress.paid = true;
            progress.end.get_or_insert(Ok(sold));
        });
    }
}

fn find(all: &HashMap<Hex32, Entry>, body: &Hex32) -> Option<watch::Receiver<Progress>> {
    let entry = all.get(body).filter(|entry| entry.at.elapsed() < JOIN)?;
    let failed = matches!(&entry.sale.borrow().end, Some(Err(error)) if !error.paid);
    (!failed).then(|| entry.sale.subscribe())
}

fn begin(all: &mut HashMap<Hex32, Entry>, body: Hex32) -> (Teller, watch::Receiver<Progress>) {
    let (sale, told) = watch::channel(Progress::default());
    let sale = Arc::new(sale);
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

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: Hex32 = Hex32([7; 32]);

    fn sold() -> Sold {
        Sold {
            text: "Paris".to_owned(),
            usage: Usage {
                prompt: 1,
                completion: 1,
            },
            seller: None,
            paid: Msat(10_000),
            job: None,
            model: None,
        }
    }

    #[test]
    fn an_answer_that_came_before_its_client_is_joined_and_not_awaited() {
        let joins = Joins::default();
        assert!(joins.find(&BODY).is_none(), "the client asks");
        joins.came_late(BODY, sold());
        let (leads, told) = joins.join(BODY);
        assert!(leads.is_none());
        assert_eq!(told.borrow().end, Some(Ok(sold())));
    }

    #[test]
    fn of_two_clients_that_try_again_at_once_one_leads() {
        let joins = Joins::default();
        let (one, _first) = joins.join(BODY);
        let (other, _second) = joins.join(BODY);
        assert!(one.is_some() && other.is_none());
    }
}
