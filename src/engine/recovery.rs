//! What a run of the program does first: it takes up what the last one left in the middle.
//!
//! Everything else follows from the ledger by itself: queued jobs are run, wanted invoices asked for, due events sent, open
//! invoices looked at.

use std::sync::Arc;

use super::desk::StepError;
use super::shop::Shop;
use crate::domain::reply::Role;
use crate::domain::step::Input;
use crate::ledger::LedgerError;

/// Brings every job into a state from which a worker takes it up.
///
/// # Errors
/// Where the ledger can't be read or written.
pub async fn recover(shop: &Arc<Shop>) -> Result<(), LedgerError> {
    shop.load_doubts().await?;
    for job in shop.ledger.orphans(shop.boot).await? {
        settled(shop.apply(job.id, Input::Interrupted).await)?;
    }
    for (id, relay) in shop.ledger.accepted_unknown().await? {
        let role = Role::Result;
        settled(shop.apply(id, Input::Accepted { role, relay }).await)?;
    }
    Ok(())
}

fn settled<T>(outcome: Result<T, StepError>) -> Result<(), LedgerError> {
    match outcome {
        Ok(_) | Err(StepError::No(_)) => Ok(()),
        Err(StepError::Ledger(error)) => Err(error),
        Err(StepError::Signing(why)) => Err(LedgerError::NotCommitted(why)),
    }
}
