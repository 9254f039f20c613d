//! One look at one relay, for `vend doctor`.

use std::collections::HashMap;
use std::time::Duration;

use nostr::{Keys, RelayUrl};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::domain::health::HealthLevel;

use super::connection::Auth;
use super::relay_information::{self, RelayInfo};
use super::{Reach, RelayEvent, Relays, RelaysConfig, Timing};
use crate::domain::drift::Drift;

/// The kinds a probe subscribes to: the text jobs this shop serves (NIP-90).
const KINDS: [u16; 2] = [5050, 5100];

/// How a relay and NIP-42 get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthSeen {
    /// It did not ask.
    NotAsked,
    /// It asked and took our answer.
    Accepted,
    /// It asked and did not take our answer, or did not say in time.
    Refused,
}

/// What a look at a relay showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Connected? Otherwise why not, in plain words.
    pub connected: Result<(), String>,
    /// NIP-42.
    pub auth: AuthSeen,
    /// Did a subscription to our kinds reach `EOSE`? In how many milliseconds, or why not, in plain words.
    pub subscribed: Result<u64, String>,
    /// It listens, and did not say where its stored events end.
    pub unsure: bool,
    /// Its NIP-11 document, where it has one.
    pub info: Option<RelayInfo>,
    /// How many seconds its clock is ahead of ours, by its HTTP answer.
    pub clock_off_secs: Option<i64>,
}

/// Connects to a relay, authenticates where asked to, subscribes once, and leaves. Takes at most about `timeout` and the
/// time to leave. The relay must be one of the seller's own settings: its address is not guarded.
pub async fn probe(url: &RelayUrl, keys: &Keys, timeout: Duration) -> Probe {
    let until = Instant::now() + timeout;
    let (news, mut inbox) = mpsc::channel(64);
    let relays = Relays::start(config(url, keys, timeout), news);
    let clock = Drift::default();
    let read_info = relay_information::read(url, &clock);
    let look = look(&relays, &mut inbox, until);
    let (mut seen, info) = tokio::join!(look, async {
        timeout_at(until, read_info).await.ok().flatten()
    });
    seen.info = info;
    seen.clock_off_secs = clock.secs();
    relays.close().await;
    seen
}

fn config(url: &RelayUrl, keys: &Keys, timeout: Duration) -> RelaysConfig {
    RelaysConfig {
        urls: vec![url.clone()],
        keys: keys.clone(),
        kinds: KINDS.to_vec(),
        since: HashMap::new(),
        // A short window: the answer matters, not the events.
        max_age: Duration::from_mins(1),
        zaps: false,
        only_ours: false,
        longest_request: 0,
        max_pow: 0,
        reach: Reach::public(false),
        timing: Timing {
            connect_wait: timeout,
            eose_wait: timeout / 2,
            ..Timing::default()
        },
    }
}

async fn look(relays: &Relays, inbox: &mut mpsc::Receiver<RelayEvent>, until: Instant) -> Probe {
    let mut seen = Probe {
        connected: Err("it does not answer in time".to_owned()),
        auth: AuthSeen::NotAsked,
        subscribed: Err("it did not answer the subscription in time".to_owned()),
        unsure: false,
        info: None,
        clock_off_secs: None,
    };
    while let Ok(Some(item)) = timeout_at(until, inbox.recv()).await {
        let RelayEvent::Health(health) = item else {
            continue;
        };
        let reason = health
            .detail
            .split("; next try")
            .next()
            .unwrap_or_default()
            .to_owned();
        match health.state.as_str() {
            "down" if seen.connected.is_err() => {
                seen.connected = Err(reason);
                seen.subscribed = Err("not connected".to_owned());
                return seen;
            }
            "connected" => seen.connected = Ok(()),
            "subscribed" if health.health == HealthLevel::Warn => {
                seen.connected = Ok(());
                seen.subscribed = Err(reason);
                seen.unsure = true;
                break;
            }
            "subscribed" | "refusing" => {
                seen.connected = Ok(());
                seen.subscribed = Ok(health.latency_ms.unwrap_or_default());
                break;
            }
            "closed" | "down" | "deaf" => {
                seen.connected = seen.connected.or(if health.state == "closed" {
                    Ok(())
                } else {
                    Err(reason.clone())
                });
                seen.subscribed = Err(reason);
                break;
            }
            "needs_auth" => {
                seen.connected = Ok(());
                seen.subscribed = Err(reason);
            }
            _ => {}
        }
    }
    seen.auth = auth(relays, until).await;
    seen
}

/// NIP-42's outcome, waited for where the relay has asked.
async fn auth(relays: &Relays, until: Instant) -> AuthSeen {
    let Some(connection) = relays.inner.own.first() else {
        return AuthSeen::NotAsked;
    };
    let mut auth = connection.auth.subscribe();
    let wait = until
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(500));
    let settled = timeout(wait, auth.wait_for(|auth| *auth != Auth::Asked)).await;
    match settled.map(|auth| auth.map(|auth| *auth)) {
        Ok(Ok(Auth::None)) => AuthSeen::NotAsked,
        Ok(Ok(Auth::Done)) => AuthSeen::Accepted,
        _ => AuthSeen::Refused,
    }
}
