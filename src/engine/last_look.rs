//! A look at a held payment directly before its result leaves. A wallet can let a payment go at any moment, and a result
//! that is out can't be called back: so it leaves only when the wallet shows the payment held now.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::context::EngineContext;
use super::payments::{Told, issued, learned};
use crate::domain::id::RequestId;
use crate::domain::job::{InvoiceState, Job};
use crate::domain::payment_status::{PaymentStatus, Poll};
use crate::domain::reply::Role;
use crate::domain::time::Time;
use crate::ledger::Due;

/// One look serves every relay that the result goes to now.
const FRESH: Duration = Duration::from_secs(2);
/// A wallet that does not answer within this keeps no other event waiting.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a wallet did not answer, nobody waits for it again for so long.
const SILENT: Duration = Duration::from_secs(5);

const SILENT_WORDS: &str = "held back: the wallet does not say whether the payment is still held";

/// When each payment was last seen held. One task looks, those for other relays wait for its answer.
type Cell = Arc<tokio::sync::Mutex<Option<Instant>>>;

/// The looks of the last seconds.
#[derive(Debug, Default)]
pub struct LastLooks {
    cells: Mutex<HashMap<RequestId, Cell>>,
    /// By the name of the wallet: when it last did not answer.
    silent: Mutex<HashMap<String, Instant>>,
}

impl LastLooks {
    fn cell(&self, id: RequestId) -> Cell {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        // One that nobody holds and that is old is of no use any more.
        cells.retain(|_, cell| {
            Arc::strong_count(cell) > 1 || cell.try_lock().is_ok_and(|at| is_fresh(*at))
        });
        cells.entry(id).or_default().clone()
    }

    fn is_silent(&self, wallet: &str) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.get(wallet).is_some_and(|at| at.elapsed() < SILENT)
    }

    fn answered(&self, wallet: &str, answered: bool) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            silent.remove(wallet);
        } else {
            silent.insert(wallet.to_owned(), Instant::now());
        }
    }
}

fn is_fresh(at: Option<Instant>) -> bool {
    at.is_some_and(|at| at.elapsed() < FRESH)
}

impl EngineContext {
    /// May this event leave now? Everything may but a result whose payment should be held and is not known to be.
    ///
    /// # Errors
    /// Why it is held back; it is tried again in a few seconds.
    pub async fn may_leave(self: &Arc<Self>, due: &Due) -> Result<(), String> {
        let (Some(id), Role::Result) = (due.job, due.role) else {
            return Ok(());
        };
        let words = |error: &dyn std::fmt::Display| format!("held back: {error}");
        match self.ledger.invoice_state(id).await {
            Ok(Some(InvoiceState::Held)) => {}
            // Decided since it was read as due.
            Ok(Some(InvoiceState::GivingBack | InvoiceState::GivenBack)) => {
                return Err("held back: its payment goes back".to_owned());
            }
            Ok(_) => return Ok(()),
            Err(error) => return Err(words(&error)),
        }
        let cell = self.last_looks.cell(id);
        let mut seen_at = cell.lock().await;
        if is_fresh(*seen_at) {
            return Ok(());
        }
        let job = self.ledger.job(id).await.map_err(|error| words(&error))?;
        let Some(job) = job else {
            return Ok(());
        };
        self.is_held(&job).await?;
        *seen_at = Some(Instant::now());
        Ok(())
    }

    async fn is_held(self: &Arc<Self>, job: &Job) -> Result<(), String> {
        let (Some(invoice), Some(issued)) = (&job.invoice, issued(job)) else {
            return Ok(());
        };
        let made_by = invoice.made_by();
        let name = made_by.key.clone().unwrap_or_default();
        if self.last_looks.is_silent(&name) {
            return Err(SILENT_WORDS.to_owned());
        }
        let look = Poll::at(Time::now());
        let looking = async {
            let seen = self.look(&made_by, &issued).await?;
            seen.map_err(|error| error.to_string())
        };
        let Ok(Ok(seen)) = tokio::time::timeout(PATIENCE, looking).await else {
            self.last_looks.answered(&name, false);
            return Err(SILENT_WORDS.to_owned());
        };
        self.last_looks.answered(&name, true);
        let here = matches!(
            seen,
            PaymentStatus::Held { .. } | PaymentStatus::Paid { .. }
        );
        // What was seen is a step of the job too: a payment that is gone ends it.
        let told = learned(self, job, Ok(seen), &look, &mut Told::default()).await;
        if here && told.is_ok() {
            Ok(())
        } else {
            Err("held back: the wallet does not show the payment as held".to_owned())
        }
    }
}
