//! What a run of the program does first: it takes up what the last one left in the middle.
//!
//! Everything else follows from the ledger by itself: queued jobs are run, wanted invoices asked for, due events sent, open
//! invoices looked at.

use std::sync::Arc;

use super::context::EngineContext;
use super::transition::ApplyError;
use crate::domain::job::State;
use crate::domain::reply::Role;
use crate::domain::time::Time;
use crate::domain::transition::JobEvent;
use crate::ledger::{Cause, Change, LedgerError};

/// Brings every job into a state from which a worker takes it up.
///
/// # Errors
/// Where the ledger can't be read or written.
pub async fn recover(shop: &Arc<EngineContext>) -> Result<(), LedgerError> {
    shop.load_disputes().await?;
    secrets_again(shop).await?;
    for job in shop.ledger.orphans(shop.boot) {
        settled(shop.apply(job.id, JobEvent::Interrupted).await)?;
    }
    accepted(shop).await
}

/// Computes the secrets of hold invoices that a copy lacks. What was held when the copy was made, or is paid only now, is taken
/// as it would have been.
async fn secrets_again(shop: &EngineContext) -> Result<(), LedgerError> {
    let secrets = shop.hold_secrets();
    for before in shop.ledger.without_secrets().await? {
        let Some(secret) = secrets.lacking(&before, Time::now()) else {
            continue;
        };
        let mut job = before.clone();
        job.rev += 1;
        job.updated_at = Time::now();
        if let Some(invoice) = &mut job.invoice {
            invoice.preimage = Some(secret);
        }
        let change = Change {
            before,
            job,
            what: "recovered",
            detail: "the secret of its invoice was computed anew from the seller's key".to_owned(),
            answer: None,
            drafts: Vec::new(),
            withdraw: false,
            cause: Cause::Itself,
        };
        shop.ledger.commit(change).await?;
    }
    // Killed before this, the rest is computed at the next start.
    shop.ledger.has_secrets().await
}

/// Takes up results that a relay has accepted and whose job does not know of it.
///
/// # Errors
/// Where the ledger can't be read or written.
pub async fn accepted(shop: &Arc<EngineContext>) -> Result<(), LedgerError> {
    for (id, relay) in shop.ledger.accepted_unknown().await? {
        let role = Role::Result;
        settled(shop.apply(id, JobEvent::Accepted { role, relay }).await)?;
    }
    Ok(())
}

/// Takes up jobs that this run of the program began and nobody works on any more: the ledger did not take their answer
/// before the shop closed, or their task died. For the worker alone: nobody else may start a job meanwhile.
///
/// # Errors
/// Where the ledger can't be read or written.
pub async fn orphaned_runs(shop: &Arc<EngineContext>) -> Result<(), LedgerError> {
    for job in shop.ledger.at_work() {
        let works = shop.running(|runs| runs.contains_key(&job.id));
        if job.state == State::Running && !works {
            settled(shop.apply(job.id, JobEvent::Interrupted).await)?;
        }
    }
    Ok(())
}

fn settled<T>(outcome: Result<T, ApplyError>) -> Result<(), LedgerError> {
    match outcome {
        Ok(_) | Err(ApplyError::No(_)) => Ok(()),
        Err(ApplyError::Ledger(error)) => Err(error),
        Err(ApplyError::Signing(why)) => Err(LedgerError::NotCommitted(why)),
    }
}
