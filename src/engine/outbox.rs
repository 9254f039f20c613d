//! Sends what is signed: the same bytes, relay by relay, until each relay has said yes or no or the event is of no use.
//! A dead relay delays no other.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use nostr::{JsonUtil, RelayUrl};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::crash;
use super::desk::StepError;
use super::shop::Shop;
use crate::domain::event::{Level, News};
use crate::domain::id::RequestId;
use crate::domain::reply::Role;
use crate::domain::step::Input;
use crate::domain::time::Time;
use crate::ledger::{Due, Settled};
use crate::nostr::{Relays, Verdict};

/// Events under way at one relay.
const AT_ONCE: usize = 8;
/// The longest pause between two tries at one relay.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Works until `stop`; what is not out by then stays due in the ledger.
pub async fn work(shop: Arc<Shop>, relays: Relays, stop: CancellationToken) {
    let mut rounds: JoinSet<String> = JoinSet::new();
    let mut busy: HashSet<String> = HashSet::new();
    while !stop.is_cancelled() {
        give_up(&shop).await;
        let wait = launch(&shop, &relays, &mut rounds, &mut busy, &stop).await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = shop.bells.outbox.notified() => {}
            Some(done) = rounds.join_next(), if !rounds.is_empty() => match done {
                Ok(relay) => { busy.remove(&relay); }
                Err(_) => busy.clear(),
            },
            () = tokio::time::sleep(wait) => {}
        }
    }
    while rounds.join_next().await.is_some() {}
}

/// Starts a round at every relay where something is due and none is under way; tells how long nothing is due.
async fn launch(
    shop: &Arc<Shop>,
    relays: &Relays,
    rounds: &mut JoinSet<String>,
    busy: &mut HashSet<String>,
    stop: &CancellationToken,
) -> Duration {
    let due = match shop.ledger.due_relays().await {
        Ok(due) => due,
        Err(error) => {
            shop.notice(Level::Error, "ledger", &error.to_string());
            return Duration::from_secs(5);
        }
    };
    let now = Time::now();
    // Given-up events are looked for at least this often.
    let mut wait = Duration::from_secs(30);
    for (relay, at) in due {
        if at > now {
            wait = wait.min(at.since(now));
        } else if busy.insert(relay.clone()) {
            let (shop, relays, stop) = (shop.clone(), relays.clone(), stop.clone());
            rounds.spawn(async move {
                round(&shop, &relays, &relay, &stop).await;
                relay
            });
        }
    }
    wait.max(Duration::from_millis(20))
}

async fn round(shop: &Arc<Shop>, relays: &Relays, relay: &str, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let due = match shop.ledger.due_at(relay.to_owned(), Time::now(), 32).await {
            Ok(due) => due,
            Err(error) => return shop.notice(Level::Error, "ledger", &error.to_string()),
        };
        if due.is_empty() {
            return;
        }
        futures::stream::iter(due)
            .for_each_concurrent(AT_ONCE, |due| send(shop, relays, due))
            .await;
    }
}

async fn send(shop: &Arc<Shop>, relays: &Relays, due: Due) {
    let (settled, outcome, words) = match (
        RelayUrl::parse(&due.relay),
        nostr::Event::from_json(&due.json),
    ) {
        (Ok(url), Ok(event)) => {
            crash::point("publish.before_send");
            let verdict = relays.publish(&url, &event).await;
            crash::point("publish.after_send");
            settle(verdict, due.attempts)
        }
        _ => (
            Settled::Refused,
            "refused",
            "not a relay's address".to_owned(),
        ),
    };
    if let Err(error) = shop
        .ledger
        .settle(due.out_id, due.relay.clone(), settled, words.clone())
        .await
    {
        return shop.notice(Level::Error, "ledger", &error.to_string());
    }
    crash::point("publish.recorded");
    let accepted = settled == Settled::Ok;
    shop.tell(News::Published {
        id: due.job,
        role: due.role.word().to_owned(),
        relay: due.relay.clone(),
        outcome: outcome.to_owned(),
        detail: words,
    });
    if let (Some(job), true) = (due.job, accepted) {
        accept(shop, job, due.role, due.relay).await;
    }
}

fn settle(verdict: Verdict, attempts: u32) -> (Settled, &'static str, String) {
    let pause = Duration::from_secs(2_u64 << attempts.min(8)).min(LONGEST_PAUSE);
    let again = Settled::Again(Time::now().plus(pause));
    match verdict {
        Verdict::Accepted => (Settled::Ok, "accepted", String::new()),
        Verdict::Refused(words) => (Settled::Refused, "refused", words),
        Verdict::NeedsPow(bits) => (
            Settled::Refused,
            "refused",
            format!("wants proof of work of {bits} bits; later events are mined"),
        ),
        Verdict::NeedsAuth(words) | Verdict::Retry(words) => (again, "retry", words),
    }
}

/// The first relay's yes to a result is a step of its job.
pub async fn accept(shop: &Arc<Shop>, job: RequestId, role: Role, relay: String) {
    if role != Role::Result {
        return;
    }
    match shop.apply(job, Input::Accepted { role, relay }).await {
        Ok(_) | Err(StepError::No(_)) => {}
        Err(error) => shop.notice(Level::Error, "ledger", &error.to_string()),
    }
}

async fn give_up(shop: &Arc<Shop>) {
    let lost = match shop.ledger.give_up(Time::now()).await {
        Ok(lost) => lost,
        Err(error) => return shop.notice(Level::Error, "ledger", &error.to_string()),
    };
    for (job, role) in lost {
        let stepped = shop.apply(job, Input::GaveUp { role }).await;
        if let Err(StepError::Ledger(error)) = &stepped {
            shop.notice(Level::Error, "ledger", &error.to_string());
            continue;
        }
        if let Err(error) = shop.ledger.settled_for(job, role).await {
            shop.notice(Level::Error, "ledger", &error.to_string());
        }
    }
}
