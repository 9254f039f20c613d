//! Sends what is signed: the same bytes, relay by relay, until each relay has said yes or no or the event is of no use.
//! A dead relay delays no other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use nostr::{JsonUtil, RelayUrl};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::{EngineContext, LEDGER_PAUSE};
use super::crash;
use super::recovery;
use super::transition::ApplyError;
use crate::domain::event::{EventKind, Level};
use crate::domain::reply::Role;
use crate::domain::time::Time;
use crate::domain::transition::JobEvent;
use crate::ledger::{Cause, Due, Lost, Settled};
use crate::nostr::{Relays, Verdict};

/// Events under way at one relay.
const AT_ONCE: usize = 8;
/// Between two looks whether a result's payment is still held, where the last one did not say yes.
const HELD_BACK: Duration = Duration::from_secs(3);
/// Relays of buyers at which events are under way.
const OTHERS_AT_ONCE: usize = 32;
/// How long a relay's word waits for another commit to go with.
const WORDS_WAIT: Duration = Duration::from_secs(1);
/// Between two looks for events that are of no use any more, besides those that are known to be.
const GIVE_UP_EVERY: Duration = Duration::from_secs(30);
/// The longest pause between two tries at one relay.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The first pause at a relay that wants fewer events at once; it doubles each time.
const SLOW_PAUSE: Duration = Duration::from_secs(4);
/// The pauses after a connection ended over an event: a relay ends it once, twice, and then it is not sent there any more.
const AFTER_ENDS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];
/// Tries at a relay of a buyer that does not take an event for now.
const TRIES_AT_OTHERS: u32 = 3;

/// Works until `stop`; what is not out by then stays due in the ledger.
pub async fn work(shop: Arc<EngineContext>, relays: Relays, stop: CancellationToken) {
    let mut rounds: JoinSet<(String, Round)> = JoinSet::new();
    let mut busy: HashSet<String> = HashSet::new();
    let mut slow = Slow::default();
    let mut unsure = false;
    // What ended at every relay before this run began is looked for once.
    let mut all = true;
    let mut written = Instant::now();
    let mut given_up = None;
    while !stop.is_cancelled() {
        if unsure {
            // A yes to a result is in the ledger, and its job does not know of it yet.
            let taken = recovery::accepted(&shop).await;
            unsure = taken
                .inspect_err(|error| shop.ledger_failed(error))
                .is_err();
        }
        let past = given_up.is_none_or(|at: Instant| at.elapsed() >= GIVE_UP_EVERY);
        if all || past || shop.ledger.has_past(Time::now()) {
            all = give_up(&shop, all).await.is_err();
            given_up = Some(Instant::now());
        }
        // They go with another commit where one comes soon.
        if shop.ledger.has_words() && written.elapsed() >= WORDS_WAIT {
            if let Err(error) = shop.ledger.write_words().await {
                shop.ledger_failed(&error);
            }
            written = Instant::now();
        }
        let mut wait = launch(&shop, &relays, &mut rounds, (&mut busy, &mut slow), &stop).await;
        if unsure || all {
            wait = wait.min(LEDGER_PAUSE);
        }
        if shop.ledger.has_words() {
            wait = wait.min(WORDS_WAIT);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = shop.wakers.outbox.notified() => {}
            Some(done) = rounds.join_next(), if !rounds.is_empty() => {
                if let Ok((relay, round)) = done {
                    busy.remove(&relay);
                    slow.note(relay, round);
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
    if let Err(error) = shop.ledger.write_words().await {
        shop.ledger_failed(&error);
    }
}

/// Starts a round at every relay where something is due and none is under way; tells how long nothing is due.
async fn launch(
    shop: &Arc<EngineContext>,
    relays: &Relays,
    rounds: &mut JoinSet<(String, Round)>,
    (busy, slow): (&mut HashSet<String>, &mut Slow),
    stop: &CancellationToken,
) -> Duration {
    let now = Time::now();
    let due = match shop.ledger.due_relays(now).await {
        Ok(due) => due,
        Err(error) => {
            shop.ledger_failed(&error);
            return Duration::from_secs(5);
        }
    };
    let own: Vec<String> = relays.own().iter().map(ToString::to_string).collect();
    let mut others = busy.iter().filter(|relay| !own.contains(relay)).count();
    slow.forget(|relay| due.iter().any(|(due, _)| due == relay));
    // Given-up events are looked for at least this often.
    let mut wait = GIVE_UP_EVERY;
    for (relay, at) in due {
        // One that is further ahead than any wait was written under another clock.
        if at > now && at.since(now) <= LONGEST_PAUSE * 3 {
            wait = wait.min(at.since(now));
        } else if let Some(pause) = slow.pause(&relay) {
            wait = wait.min(pause);
        } else if !busy.contains(&relay) && !own.contains(&relay) && others >= OTHERS_AT_ONCE {
            // A place gets free when a round ends, which wakes this.
        } else if busy.insert(relay.clone()) {
            others += usize::from(!own.contains(&relay));
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

/// Relays that want fewer events at once: how often in a row, and until when nothing is sent there.
#[derive(Default)]
struct Slow(HashMap<String, (u32, Instant)>);

impl Slow {
    fn note(&mut self, relay: String, round: Round) {
        if round != Round::Slow {
            self.0.remove(&relay);
            return;
        }
        let now = Instant::now();
        let (times, until) = self.0.entry(relay).or_insert((0, now));
        *until = now + (SLOW_PAUSE * 2_u32.pow((*times).min(8))).min(LONGEST_PAUSE);
        *times += 1;
    }

    fn pause(&self, relay: &str) -> Option<Duration> {
        let (_, until) = self.0.get(relay)?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn forget(&mut self, keeps: impl Fn(&str) -> bool) {
        self.0.retain(|relay, _| keeps(relay));
    }
}

/// How a round at a relay ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// The relay wants fewer events at once.
    Slow,
    /// All that is due was sent, and what the relay said is written down.
    Done,
    /// The ledger did not take something.
    Unwritten,
}

async fn round(
    shop: &Arc<EngineContext>,
    relays: &Relays,
    relay: &str,
    stop: &CancellationToken,
) -> Round {
    while !stop.is_cancelled() {
        let mut due = match shop.ledger.due_at(relay, Time::now(), 32).await {
            Ok(due) => due,
            Err(error) => {
                shop.ledger_failed(&error);
                return Round::Unwritten;
            }
        };
        if due.is_empty() {
            break;
        }
        // What connections ended over goes alone, when nothing else is due, so that it takes no other event with it.
        due.sort_by_key(|due| due.ends > 0);
        let calm = due.iter().take_while(|due| due.ends == 0).count();
        due.truncate(calm.max(1));
        let sent: Vec<Round> = futures::stream::iter(due)
            .map(|due| send(shop, relays, due))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for worst in [Round::Unwritten, Round::Slow] {
            if sent.contains(&worst) {
                return worst;
            }
        }
    }
    Round::Done
}

async fn send(shop: &Arc<EngineContext>, relays: &Relays, due: Due) -> Round {
    let mut slow = false;
    let (settled, outcome, words) = match (
        RelayUrl::parse(&due.relay),
        nostr::Event::from_json(&due.json),
    ) {
        (Ok(url), Ok(event)) => match shop.may_leave(&due).await {
            Ok(()) => {
                crash::point("publish.before_send");
                let verdict = relays.publish(&url, &event).await;
                crash::point("publish.after_send");
                slow = matches!(verdict, Verdict::Slow(_));
                settle(verdict, &due, relays.own().contains(&url))
            }
            Err(why) => (Settled::Again(Time::now().plus(HELD_BACK)), "retry", why),
        },
        _ => (
            Settled::Refused,
            "refused",
            "not a relay's address".to_owned(),
        ),
    };
    let Ok(ended) = record(shop, &due, settled, &words).await else {
        return Round::Unwritten;
    };
    crash::point("publish.recorded");
    if settled == Settled::Refused {
        shop.clock.refused(&words);
    }
    shop.emit(EventKind::Published {
        id: due.job,
        role: due.role.as_str().to_owned(),
        relay: due.relay.clone(),
        outcome: outcome.to_owned(),
        detail: words,
    });
    match ended {
        Some(ended) => lost(shop, ended).await.unwrap_or(Round::Unwritten),
        None if slow => Round::Slow,
        None => Round::Done,
    }
}

/// What a relay's word means for an event, and for this relay alone.
fn settle(verdict: Verdict, due: &Due, own: bool) -> (Settled, &'static str, String) {
    let pause = Duration::from_secs(2_u64 << due.attempts.min(8)).min(LONGEST_PAUSE);
    let at = Time::now().plus(pause);
    let (again, words) = match verdict {
        Verdict::Accepted => return (Settled::Ok, "accepted", String::new()),
        Verdict::Refused(words) => return (Settled::Refused, "refused", words),
        Verdict::NeedsPow(bits) => {
            let words = format!("wants proof of work of {bits} bits");
            return (Settled::Refused, "refused", words);
        }
        Verdict::NeedsAuth(words) | Verdict::Retry(words) | Verdict::Slow(words) => {
            (Settled::Again(at), words)
        }
        Verdict::Down(words) => (Settled::Offline(at), words),
        Verdict::Ended(words) => match AFTER_ENDS.get(due.ends as usize) {
            Some(pause) => (Settled::Ended(Time::now().plus(*pause)), words),
            None => (Settled::GaveUp, words),
        },
    };
    if settled_for_good(again, due, own) {
        return (
            Settled::GaveUp,
            "refused",
            format!("{words}; not sent there any more"),
        );
    }
    (again, "retry", words)
}

/// A relay that ended three connections over an event does not get it any more; a buyer's relay is not waited for long.
fn settled_for_good(settled: Settled, due: &Due, own: bool) -> bool {
    settled == Settled::GaveUp || (!own && due.attempts + 1 >= TRIES_AT_OTHERS)
}

/// Writes down a relay's word. The first yes to a result is a step of its job, and both are one commit. An error where the
/// ledger did not take it, which is told already.
async fn record(
    shop: &Arc<EngineContext>,
    due: &Due,
    settled: Settled,
    words: &str,
) -> Result<Option<Lost>, ()> {
    let relay = due.relay.clone();
    if let (Settled::Ok, Role::Result, Some(job)) = (settled, due.role, due.job) {
        let input = JobEvent::Accepted {
            role: due.role,
            relay: relay.clone(),
        };
        let cause = Cause::Relay {
            out_id: due.out_id,
            relay: relay.clone(),
        };
        match shop.apply_for(job, input, cause).await {
            Ok(_) => return Ok(None),
            // Another relay had it before, or the job has ended.
            Err(ApplyError::No(_)) => {}
            Err(error) => {
                shop.ledger_failed(&error);
                return Err(());
            }
        }
    }
    let words = words.to_owned();
    let ends = matches!(settled, Settled::Refused | Settled::GaveUp);
    let written = if due.role == Role::Result && ends {
        shop.ledger.settle(due.out_id, relay, settled, words).await
    } else {
        let soon = shop.ledger.settle_soon(due.out_id, relay, settled, words);
        soon.await.map(|()| None)
    };
    written.map_err(|error| shop.ledger_failed(&error))
}

/// An error where the ledger could not be read or written, which is told already.
async fn give_up(shop: &Arc<EngineContext>, all: bool) -> Result<(), ()> {
    let given_up = shop.ledger.give_up(Time::now(), all).await;
    for ended in given_up.map_err(|error| shop.ledger_failed(&error))? {
        lost(shop, ended).await?;
    }
    Ok(())
}

/// A result that no relay has, and that none is told any more. An error where the ledger did not take it, which is told.
async fn lost(shop: &Arc<EngineContext>, (job, role): Lost) -> Result<Round, ()> {
    match shop.apply(job, JobEvent::GaveUp { role }).await {
        Err(ApplyError::Ledger(error)) => {
            shop.ledger_failed(&error);
            return Err(());
        }
        Err(ApplyError::Signing(why)) => shop.notice(Level::Error, "job", &why),
        Ok(_) | Err(ApplyError::No(_)) => {}
    }
    let written = shop.ledger.settled_for(job, role).await;
    written.map_err(|error| shop.ledger_failed(&error))?;
    Ok(Round::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(attempts: u32, ends: u32) -> Due {
        Due {
            out_id: 1,
            job: None,
            role: Role::Result,
            json: String::new(),
            relay: String::new(),
            attempts,
            ends,
        }
    }

    #[test]
    fn after_three_ended_connections_a_relay_is_given_up() {
        let ended = || Verdict::Ended("gone".to_owned());
        let wait = |ends| match settle(ended(), &due(ends, ends), true).0 {
            Settled::Ended(at) => Some(at.since(Time::now()).as_secs().div_ceil(10)),
            Settled::GaveUp => None,
            other => panic!("{other:?}"),
        };
        assert_eq!([0, 1, 2].map(wait), [Some(1), Some(6), None]);
    }

    #[test]
    fn a_buyers_relay_gets_three_tries_and_our_own_all_the_time() {
        let down = || Verdict::Down("no".to_owned());
        assert_eq!(settle(down(), &due(2, 0), false).0, Settled::GaveUp);
        assert!(matches!(
            settle(down(), &due(1, 0), false).0,
            Settled::Offline(_)
        ));
        assert!(matches!(
            settle(down(), &due(99, 0), true).0,
            Settled::Offline(_)
        ));
    }

    #[test]
    fn a_relay_that_is_slow_is_left_alone_longer_each_time() {
        let mut slow = Slow::default();
        let mut pauses = Vec::new();
        for _ in 0..3 {
            slow.note("a".to_owned(), Round::Slow);
            let left = slow.pause("a").unwrap();
            pauses.push((left + Duration::from_millis(999)).as_secs());
        }
        assert_eq!(pauses, [4, 8, 16]);
        assert_eq!(slow.pause("b"), None);
        slow.note("a".to_owned(), Round::Done);
        assert_eq!(slow.pause("a"), None);
    }
}
