//! What is cancelled, and what goes back when the shop closes.

use std::sync::Arc;
use std::time::Duration;

use super::context::{EngineContext, Run};
use super::transition::ApplyError;
use crate::domain::id::RequestId;
use crate::domain::job::{InvoiceState, Job, PayOrder, State};
use crate::domain::time::Time;
use crate::domain::transition::{JobEvent, TransitionError};

/// How long a process that ends waits for the wallet and the relays to hear of payments that go back.
const PATIENCE: Duration = Duration::from_secs(5);

impl EngineContext {
    /// Somebody takes a job back. From the moment that its result may have left this changes nothing but its history.
    ///
    /// # Errors
    /// As [`EngineContext::apply`].
    pub async fn cancel(
        self: &Arc<Self>,
        id: RequestId,
        by_buyer: bool,
    ) -> Result<Job, ApplyError> {
        let tokens = self.running(|runs| runs.get(&id).map_or(0, Run::tokens));
        let stepped = self.apply(id, JobEvent::Cancel { by_buyer, tokens }).await;
        if let Err(ApplyError::No(TransitionError::MayHaveLeft)) = &stepped {
            let who = if by_buyer { "buyer" } else { "seller" };
            let words = format!("by the {who}, when the result may have left: nothing changes");
            self.ledger.note_once(id, "cancel_late", words).await?;
        }
        stepped
    }
}

/// Gives back what is held for jobs that wait for their work, and tells their buyers. `open`: closes unpaid hold invoices
/// too, so that nobody pays for what nobody will do. True where anything was decided.
pub async fn give_back_waiting(shop: &Arc<EngineContext>, open: bool) -> bool {
    let mut jobs = shop.ledger.at_work();
    if open {
        match shop.ledger.open_holds().await {
            Ok(more) => jobs.extend(more),
            Err(error) => shop.ledger_failed(&error),
        }
    }
    let mut decided = false;
    for job in jobs.iter().filter(|job| waits(job, open)) {
        match shop.apply(job.id, JobEvent::ShopCloses).await {
            Ok(_) => decided = true,
            Err(ApplyError::No(_)) => {}
            Err(error) => shop.ledger_failed(&error),
        }
    }
    decided
}

fn waits(job: &Job, open: bool) -> bool {
    let state = job.invoice.as_ref().map(|invoice| invoice.state);
    let wanted = match state {
        Some(InvoiceState::Held) => true,
        Some(InvoiceState::Open) => open,
        _ => false,
    };
    wanted
        && job.terms.order == PayOrder::Hold
        && matches!(job.state, State::Queued | State::AwaitingPayment)
}

/// The process ends: nothing may stay held for jobs that nobody works on. `open` as in [`give_back_waiting`].
pub async fn before_exit(shop: &Arc<EngineContext>, open: bool) {
    if give_back_waiting(shop, open).await {
        carried_out(shop).await;
    }
}

/// Waits, for a few seconds at most, until the wallet has given back what was decided and what buyers are told is out. What
/// is not done by then is done by the next run of the program.
pub async fn carried_out(shop: &EngineContext) {
    let mut events = shop.listen();
    let done = async {
        loop {
            let state = |job: &Job| job.invoice.as_ref().map(|invoice| invoice.state);
            let goes_back = |job: &Job| state(job) == Some(InvoiceState::GivingBack);
            let giving_back = shop.ledger.holds().iter().any(goes_back);
            let sends = shop.connections().is_some()
                && !shop.ledger.outbox_empty(Time::now()).await.unwrap_or(true);
            if !giving_back && !sends {
                return;
            }
            // Any event may be the one that ends the wait; a missed one is caught a second later.
            let _ = tokio::time::timeout(Duration::from_secs(1), events.recv()).await;
        }
    };
    // Out of time: it is in the ledger.
    let _ = tokio::time::timeout(PATIENCE, done).await;
}
