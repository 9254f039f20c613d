//! One event to every relay of a buyer: the first that takes it is enough, the others are tried on.

use std::time::Duration;

use nostr::{Event, RelayUrl};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::BuyerError;
use crate::domain::text::clean;
use crate::nostr::{Relays, Verdict};

/// The first pause before a relay that did not take the event is asked again; it doubles each time.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
/// The longest such pause.
const AGAIN_CAP: Duration = Duration::from_secs(10);
/// The most of a relay's words that is told.
const WORDS: usize = 120;

/// A relay's last word: taken, or why not.
type RelayAnswer = (RelayUrl, Result<(), (String, bool)>);

pub(super) async fn to_all(
    relays: &Relays,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
    event: &Event,
    until: Instant,
) -> Result<(), BuyerError> {
    let own = relays.own();
    let (tell, mut told) = mpsc::channel(own.len().max(1) * 2);
    for relay in &own {
        let (relays, relay, event) = (relays.clone(), relay.clone(), event.clone());
        let (tell, cancel) = (tell.clone(), cancel.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep_until(until) => {}
                () = to_one(&relays, relay, &event, &tell) => {}
            }
        });
    }
    drop(tell);
    let mut words: Vec<(RelayUrl, String)> = Vec::with_capacity(own.len());
    let reading = async {
        while let Some((relay, said)) = told.recv().await {
            match said {
                Ok(()) => return true,
                Err((why, _)) => {
                    words.retain(|(one, _)| *one != relay);
                    words.push((relay, why));
                }
            }
        }
        false
    };
    if tokio::time::timeout_at(until, reading).await == Ok(true) {
        return Ok(());
    }
    Err(BuyerError::NotSent(why(relays, &own, &words)))
}

/// What each relay said, or how it is where it said nothing.
fn why(relays: &Relays, own: &[RelayUrl], words: &[(RelayUrl, String)]) -> String {
    if own.is_empty() {
        return "no relay is named: give --relay, or set nostr.relays".to_owned();
    }
    let health = relays.health();
    let each = own.iter().map(|relay| {
        let said = words.iter().find(|(one, _)| one == relay);
        let found = health.iter().find(|one| one.url == relay.to_string());
        let detail = match (said, found) {
            (Some((_, why)), _) => why.clone(),
            (None, Some(health)) if !health.detail.is_empty() => health.detail.clone(),
            _ => "no answer in time".to_owned(),
        };
        format!("{relay}: {}", clean(&detail, WORDS))
    });
    each.collect::<Vec<_>>().join("; ")
}

async fn to_one(relays: &Relays, relay: RelayUrl, event: &Event, tell: &mpsc::Sender<RelayAnswer>) {
    let mut pause = AGAIN_FIRST;
    loop {
        let (word, is_last) = match relays.publish(&relay, event).await {
            Verdict::Accepted => (Ok(()), true),
            Verdict::Refused(why) => (Err((why, true)), true),
            Verdict::NeedsPow(bits) => {
                let why = format!("it wants {bits} bits of proof of work");
                (Err((why, true)), true)
            }
            Verdict::Retry(why)
            | Verdict::Slow(why)
            | Verdict::Down(why)
            | Verdict::Ended(why)
            | Verdict::NeedsAuth(why) => (Err((why, false)), false),
        };
        // Nobody waits any more where another relay was first; the event still goes to this one.
        let _ = tell.try_send((relay.clone(), word));
        if is_last {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN_CAP);
    }
}
