//! Answers to those who look through the jobs. Nothing here changes anything.

use std::sync::Arc;

use super::context::EngineContext;
use crate::domain::command::Reply;
use crate::domain::detail::{JobDetail, bounded_page};
use crate::domain::id::RequestId;
use crate::domain::query::{Filter, JobsQuery};
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

fn refused(why: &impl std::fmt::Display) -> Reply {
    Reply::Refused {
        detail: why.to_string(),
    }
}
