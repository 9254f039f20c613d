//! One event to one relay, and that relay's word on it.

use std::time::{Duration, Instant};

use nostr::{ClientMessage, Event};
use nostr_sdk::Relay;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Verdict;
use super::connection::{Auth, ConnectionState, RelayConnection, SharedContext};
use super::words::{UNNAMED, says_too_long, verdict};
use crate::domain::size;
use crate::domain::work::work_of;

/// Sends the event as it is and waits for its `OK`; where the relay wants NIP-42 first, once more after that.
pub(super) async fn publish(
    connection: &RelayConnection,
    event: &Event,
    shared: &SharedContext,
) -> Verdict {
    let (timing, max_pow) = (&shared.timing, shared.max_pow);
    let relay = match up(connection, timing.connect_wait).await {
        Ok(relay) => relay,
        Err(why) => return Verdict::Down(format!("not connected: {why}")),
    };
    let mut said = send(connection, &relay, event, timing.ok_wait).await;
    if matches!(said, Verdict::NeedsAuth(_)) && authenticated(connection, timing.auth_wait).await {
        said = send(connection, &relay, event, timing.ok_wait).await;
    }
    note(connection, event, &said, max_pow);
    said
}

/// The connection, where it is made or is being made; otherwise why not.
pub(super) async fn up(connection: &RelayConnection, wait: Duration) -> Result<Relay, String> {
    let mut watched = connection.state.subscribe();
    let settled = timeout(
        wait,
        watched.wait_for(|state| !matches!(state, ConnectionState::Connecting)),
    )
    .await;
    match settled.map(|state| state.map(|state| state.clone())) {
        Ok(Ok(ConnectionState::Up(relay))) => Ok(*relay),
        Ok(Ok(ConnectionState::Down(why) | ConnectionState::Left(why))) => Err(why),
        Ok(Ok(ConnectionState::Connecting)) | Err(_) => {
            Err("it does not answer in time".to_owned())
        }
        Ok(Ok(ConnectionState::Gone) | Err(_)) => Err("closed".to_owned()),
    }
}

async fn send(
    connection: &RelayConnection,
    relay: &Relay,
    event: &Event,
    wait: Duration,
) -> Verdict {
    let Some(answer) = connection.await_ok(event.id) else {
        return Verdict::Retry("too many events wait for this relay".to_owned());
    };
    if relay.send_msg(ClientMessage::event(event.clone())).is_err() {
        return Verdict::Down("not connected, or too much is queued for it".to_owned());
    }
    match timeout(wait, answer).await {
        Ok(Ok(answer)) => verdict(answer.accepted, &answer.message),
        Ok(Err(_)) => ended(connection),
        Err(_) => Verdict::Retry("no OK in time".to_owned()),
    }
}

/// Why nobody will answer on this connection any more.
fn ended(connection: &RelayConnection) -> Verdict {
    match &*connection.state.borrow() {
        ConnectionState::Gone => Verdict::Down("closed".to_owned()),
        ConnectionState::Down(why) if connection.was_too_big() => {
            Verdict::Refused(format!("too long: {why}"))
        }
        ConnectionState::Left(why) => Verdict::Retry(format!("no OK in time: {why}")),
        ConnectionState::Down(why) => {
            Verdict::Ended(format!("the connection ended before its OK: {why}"))
        }
        ConnectionState::Connecting | ConnectionState::Up(_) => {
            Verdict::Ended("the connection ended before its OK".to_owned())
        }
    }
}

/// Waits until NIP-42 has an outcome on this connection: did it succeed?
async fn authenticated(connection: &RelayConnection, wait: Duration) -> bool {
    let mut auth: watch::Receiver<Auth> = connection.auth.subscribe();
    let done = timeout(
        wait,
        auth.wait_for(|auth| matches!(auth, Auth::Done | Auth::Failed)),
    )
    .await;
    matches!(done.map(|auth| auth.map(|auth| *auth)), Ok(Ok(Auth::Done)))
}

/// Writes the relay's word into its light.
fn note(connection: &RelayConnection, event: &Event, said: &Verdict, max_pow: u8) {
    let bytes = size::message(event);
    if let Verdict::Refused(words) | Verdict::Retry(words) = said
        && says_too_long(words)
    {
        connection.asks(|asks| asks.too_long(bytes));
    }
    let refusal = match said {
        Verdict::Accepted => {
            connection.health.count(|health| health.accepted += 1);
            connection.health.refuses(None);
            connection.asks(|asks| asks.accepted(work_of(event)));
            return;
        }
        Verdict::Retry(_) | Verdict::Slow(_) | Verdict::Down(_) | Verdict::Ended(_) => return,
        Verdict::Refused(words) => format!("refuses our events: {}", or_unnamed(words)),
        Verdict::NeedsAuth(words) => format!("needs AUTH for our events: {}", or_unnamed(words)),
        Verdict::NeedsPow(bits) => {
            connection.asks(|asks| asks.refused_pow(*bits, Instant::now()));
            format!("wants {bits} bits of proof of work; later events are mined")
        }
    };
    connection.health.count(|health| health.refused += 1);
    connection.health.refuses(Some(refusal));
    connection.judge_pow(max_pow);
}

fn or_unnamed(words: &str) -> &str {
    if words.is_empty() { UNNAMED } else { words }
}
