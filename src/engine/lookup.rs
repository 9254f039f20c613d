//! Answers to those who look through the jobs, and the seller's moves in the queue.

use std::sync::Arc;

use super::context::EngineContext;
use crate::domain::command::Reply;
use crate::domain::detail::{JobDetail, bounded_page};
use crate::domain::id::RequestId;
use crate::domain::query::{Filter, JobsQuery};
use crate::domain::queue::Queue;
use crate::domain::time::Time;
use crate::ledger::LedgerError;

/// A page of the jobs in the ledger; refused where the filter can't be read.
pub async fn jobs(shop: Arc<EngineContext>, query: JobsQuery, offset: u64, limit: u32) -> Reply {
    let filter = match Filter::parse(&query.filter) {
        Ok(filter) => filter,
        Err(error) => return refused(&error),
    };
    match shop.ledger.page(query.clone(), filter, offset, limit).await {
        Ok(page) => Reply::Jobs {
            query,
            total: page.total,
            offset: page.offset,
            jobs: bounded_page(page.jobs),
        },
        Err(error) => refused(&error),
    }
}

/// One job with everything that is kept of it; refused where there is none.
pub async fn job(shop: Arc<EngineContext>, id: RequestId) -> Reply {
    match detail(&shop, id).await {
        Ok(detail) => Reply::Job {
            detail: Box::new(detail),
        },
        Err(error) => refused(&error),
    }
}

async fn detail(shop: &EngineContext, id: RequestId) -> Result<JobDetail, LedgerError> {
    let job = shop.ledger.job(id).await?.ok_or(LedgerError::NoSuchJob)?;
    let texts = shop.ledger.texts(id).await?;
    let timeline = shop.ledger.timeline(id).await?;
    let events = shop.ledger.events_of(id).await?;
    Ok(JobDetail::of(&job, texts.as_ref(), timeline, events))
}

/// What runs, and what waits and why.
pub async fn queue(shop: Arc<EngineContext>) -> Reply {
    let most = shop.settings().limits.per_buyer_running;
    match shop.ledger.line().await {
        Ok(line) => Reply::Queue {
            queue: Box::new(Queue::of(
                &line.running,
                &line.waiting,
                &line.moves,
                most,
                Time::now(),
            )),
        },
        Err(error) => refused(&error),
    }
}

/// Moves a waiting job one place; what may run next is looked at anew.
pub async fn move_in_queue(shop: Arc<EngineContext>, id: RequestId, up: bool) -> Reply {
    match shop.ledger.move_in_queue(id, up).await {
        Ok(true) => {
            shop.wakers.queue.notify_one();
            let way = if up { "up" } else { "down" };
            Reply::Done {
                detail: format!("moved {way}"),
            }
        }
        Ok(false) => refused(&"it does not wait, or is at the end of the queue: see `vend queue`"),
        Err(error) => {
            shop.ledger_failed(&error);
            refused(&error)
        }
    }
}

fn refused(why: &impl std::fmt::Display) -> Reply {
    Reply::Refused {
        detail: why.to_string(),
    }
}
