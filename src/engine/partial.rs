//! The text of an answer while it is written, for a buyer who asked for it (`["param", "stream", "true"]`): feedback with the
//! status `partial`, at most one a second, encrypted where the order is. It is not kept and not sent again; the result alone
//! counts.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use nostr::{Event as Signed, JsonUtil, RelayUrl};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::context::EngineContext;
use crate::domain::job::{Job, PayOrder};
use crate::domain::reply::{Draft, Reply, Role, max_partial_bytes};
use crate::inference::SoFar;
use crate::nostr::Verdict;

/// Between two of them.
const EVERY: Duration = Duration::from_secs(1);
/// A relay that takes longer gets the next one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Does this job's buyer get it? Not where the payment is only held: who has read the text could still take it back.
#[must_use]
pub fn wanted(job: &Job) -> bool {
    job.terms.stream && job.terms.order != PayOrder::Hold
}

/// Tells until it is aborted, or no relay takes any more of it: a relay that minds one is not to mind the result.
pub async fn tell(shop: Arc<EngineContext>, job: Job, so_far: SoFar) {
    let Some(request) = request_of(&shop, &job).await else {
        return;
    };
    let most = max_partial_bytes(job.encryption);
    let mut relays: Vec<RelayUrl> = shop
        .targets(&job.terms.relays)
        .iter()
        .filter_map(|url| RelayUrl::parse(url).ok())
        .collect();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut told = String::new();
    while !relays.is_empty() {
        ticks.tick().await;
        let Some(text) = so_far.answer().filter(|text| *text != told) else {
            continue;
        };
        if text.len() > most {
            return;
        }
        told.clone_from(&text);
        relays = say(&shop, &job, &request, text, relays).await;
    }
}

/// The request; none where it is erased, or the ledger can't be read, which stops no sale here.
async fn request_of(shop: &EngineContext, job: &Job) -> Option<Signed> {
    let texts = shop.ledger.texts(job.id).await.ok()??;
    Signed::from_json(texts.request_json).ok()
}

/// Tells it once; gives the relays that took it.
async fn say(
    shop: &EngineContext,
    job: &Job,
    request: &Signed,
    text: String,
    relays: Vec<RelayUrl>,
) -> Vec<RelayUrl> {
    // Work for each of them would cost more than they are worth.
    let connections = shop
        .connections()
        .filter(|_| shop.work_wanted().iter().all(|bits| *bits == 0));
    let Some(connections) = connections else {
        return Vec::new();
    };
    let draft = Draft {
        role: Role::Processing,
        reply: Reply::Partial { text },
    };
    let written = shop.write(request, job.encryption, &draft, &job.terms.seen_on);
    let event = match written.await {
        Ok(event) => event,
        Err(error) => {
            tracing::warn!(job = %job.id.short(), "a partial answer is not told: {error}");
            return Vec::new();
        }
    };
    let send = async |url: RelayUrl| {
        let sent = timeout(PATIENCE, connections.relays.publish(&url, &event)).await;
        matches!(sent, Ok(Verdict::Accepted)).then_some(url)
    };
    join_all(relays.into_iter().map(send))
        .await
        .into_iter()
        .flatten()
        .collect()
}
