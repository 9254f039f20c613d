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
use super::recovery;
use super::shop::{LEDGER_PAUSE, Shop};
use crate::domain::event::{Level, News};
use crate::domain::id::RequestId;
use crate::domain::reply::Role;
use crate::domain::step::Input;
use crate::domain::time::Time;
use crate::ledger::{Due, Lost, Settled};
use crate::nostr::{Relays, Verdict};

/// Events under way at one relay.
const AT_ONCE: usize = 8;
/// Between two looks whether a result's payment is still held, where the last one did not say yes.
const HELD_BACK: Duration = Duration::from_secs(3);
/// The longest pause between two tries at one relay.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Works until `stop`; what is not out by then stays due in the ledger.
pub async fn work(shop: Arc<Shop>, relays: Relays, stop: CancellationToken) {
    let mut rounds: JoinSet<(String, Round)> = JoinSet::new();
    let mut busy: HashSet<String> = HashSet::new();
    let mut unsure = false;
    // What ended at every relay before this run began is looked for once.
    let mut all = true;
    while !stop.is_cancelled() {
        if unsure {
            // A yes to a result is in the ledger, and its job does not know of it yet.
            let taken = recovery::accepted(&shop).await;
            unsure = taken
                .inspect_err(|error| shop.ledger_failed(error))
                .is_err();
        }
        all = give_up(&shop, all).await.is_err();
        let mut wait = launch(&shop, &relays, &mut rounds, &mut busy, &stop).await;
        if unsure || all {
            wait = wait.min(LEDGER_PAUSE);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = shop.bells.outbox.notified() => {}
            Some(done) = rounds.join_next(), if !rounds.is_empty() => {
                if let Ok((relay, round)) = done {
                    busy.remove(&relay);
                    unsure |= round == Round::Unwritten;
                    all |= round == Round::Unwritten;
                } else {
                    busy.clear();
                    all = true;
                }
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
    while rounds.join_next().await.is_some() {}
}

/// Starts a round at every relay where something is due and none is under way; tells how long nothing is due.
async fn launch(
    shop: &Arc<Shop>,
    relays: &Relays,
    rounds: &mut JoinSet<(String, Round)>,
    busy: &mut HashSet<String>,
    stop: &CancellationToken,
) -> Duration {
    let due = match shop.ledger.due_relays().await {
        Ok(due) => due,
        Err(error) => {
            shop.ledger_failed(&error);
            return Duration::from_secs(5);
        }
    };
    let now = Time::now();
    // Given-up events are looked for at least this often.
    let mut wait = Duration::from_secs(30);
    for (relay, at) in due {
        // One that is further ahead than any wait was written under another clock.
        if at > now && at.since(now) <= LONGEST_PAUSE * 3 {
            wait = wait.min(at.since(now));
        } else if busy.insert(relay.clone()) {
            let (shop, relays, stop) = (shop.clone(), relays.clone(), stop.clone());
            rounds.spawn(async move {
                let ended = round(&shop, &relays, &relay, &stop).await;
                if ended == Round::Unwritten {
                    // The same events are due at once, and the relay is not to be told them in a loop.
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(LEDGER_PAUSE) => {}
                    }
                }
                (relay, ended)
            });
        }
    }
    wait.max(Duration::from_millis(20))
}

/// How a round at a relay ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// All that is due was sent, and what the relay said is written down.
    Done,
    /// The ledger did not take something.
    Unwritten,
}

async fn round(shop: &Arc<Shop>, relays: &Relays, relay: &str, stop: &CancellationToken) -> Round {
    while !stop.is_cancelled() {
        let due = match shop.ledger.due_at(relay.to_owned(), Time::now(), 32).await {
            Ok(due) => due,
            Err(error) => {
                shop.ledger_failed(&error);
                return Round::Unwritten;
            }
        };
        if due.is_empty() {
            break;
        }
        let sent: Vec<Round> = futures::stream::iter(due)
            .map(|due| send(shop, relays, due))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        if sent.contains(&Round::Unwritten) {
            return Round::Unwritten;
        }
    }
    Round::Done
}

async fn send(shop: &Arc<Shop>, relays: &Relays, due: Due) -> Round {
    let (settled, outcome, words) = match (
        RelayUrl::parse(&due.relay),
        nostr::Event::from_json(&due.json),
    ) {
        (Ok(url), Ok(event)) => match shop.may_leave(&due).await {
            Ok(()) => {
                crash::point("publish.before_send");
                let verdict = relays.publish(&url, &event).await;
                crash::point("publish.after_send");
                settle(verdict, due.attempts)
            }
            Err(why) => (Settled::Again(Time::now().plus(HELD_BACK)), "retry", why),
        },
        _ => (
            Settled::Refused,
            "refused",
            "not a relay's address".to_owned(),
        ),
    };
    let written = shop
        .ledger
        .settle(due.out_id, due.relay.clone(), settled, words.clone());
    let ended = match written.await {
        Ok(ended) => ended,
        Err(error) => {
            shop.ledger_failed(&error);
            return Round::Unwritten;
        }
    };
    crash::point("publish.recorded");
    let accepted = settled == Settled::Ok;
    if settled == Settled::Refused {
        shop.clock.refused(&words);
    }
    shop.tell(News::Published {
        id: due.job,
        role: due.role.word().to_owned(),
        relay: due.relay.clone(),
        outcome: outcome.to_owned(),
        detail: words,
    });
    match (due.job, ended) {
        (Some(job), _) if accepted => accept(shop, job, due.role, due.relay).await,
        (_, Some(ended)) => lost(shop, ended).await.unwrap_or(Round::Unwritten),
        _ => Round::Done,
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
async fn accept(shop: &Arc<Shop>, job: RequestId, role: Role, relay: String) -> Round {
    if role != Role::Result {
        return Round::Done;
    }
    match shop.apply(job, Input::Accepted { role, relay }).await {
        Ok(_) | Err(StepError::No(_)) => Round::Done,
        Err(error) => {
            shop.ledger_failed(&error);
            Round::Unwritten
        }
    }
}

/// An error where the ledger could not be read or written, which is told already.
async fn give_up(shop: &Arc<Shop>, all: bool) -> Result<(), ()> {
    let given_up = shop.ledger.give_up(Time::now(), all).await;
    for ended in given_up.map_err(|error| shop.ledger_failed(&error))? {
        lost(shop, ended).await?;
    }
    Ok(())
}

/// A result that no relay has, and that none is told any more. An error where the ledger did not take it, which is told.
async fn lost(shop: &Arc<Shop>, (job, role): Lost) -> Result<Round, ()> {
    match shop.apply(job, Input::GaveUp { role }).await {
        Err(StepError::Ledger(error)) => {
            shop.ledger_failed(&error);
            return Err(());
        }
        Err(StepError::Signing(why)) => shop.notice(Level::Error, "job", &why),
        Ok(_) | Err(StepError::No(_)) => {}
    }
    let written = shop.ledger.settled_for(job, role).await;
    written.map_err(|error| shop.ledger_failed(&error))?;
    Ok(Round::Done)
}
