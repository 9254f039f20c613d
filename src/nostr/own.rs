//! What this seller has published, by the relays' own memory: for a ledger that is a copy and does not know it.

use std::collections::HashMap;
use std::time::Duration;

use nostr::{Event, Filter, Keys, Kind, RelayUrl, Timestamp};
use nostr_sdk::Client;

/// Events of one answer.
const PAGE: usize = 200;
/// The most answers of one relay.
const PAGES: u32 = 50;
/// How long one answer may take.
const WAIT: Duration = Duration::from_secs(15);

/// What the relays say.
#[derive(Debug, Default)]
pub struct Own {
    /// The events, each once, oldest first.
    pub events: Vec<Event>,
    /// Relays that answered.
    pub answered: usize,
}

/// Asks each relay for this key's events of these kinds since then. Takes as long as the slowest relay.
pub async fn own_events(relays: &[RelayUrl], keys: &Keys, kinds: &[Kind], since: u64) -> Own {
    let client = Client::new(keys.clone());
    let asked = relays
        .iter()
        .map(|url| ask(&client, url, keys, kinds, since));
    let answers = futures::future::join_all(asked).await;
    client.shutdown().await;
    let answered = answers.iter().flatten().count();
    let mut events: HashMap<_, Event> = HashMap::new();
    for event in answers.into_iter().flatten().flatten() {
        events.insert(event.id, event);
    }
    let mut events: Vec<Event> = events.into_values().collect();
    events.sort_by_key(|event| (event.created_at, event.id));
    Own { events, answered }
}

/// One relay's part, page by page; none where it does not answer.
async fn ask(
    client: &Client,
    url: &RelayUrl,
    keys: &Keys,
    kinds: &[Kind],
    since: u64,
) -> Option<Vec<Event>> {
    client.add_relay(url.clone()).await.ok()?;
    client.try_connect_relay(url.clone(), WAIT).await.ok()?;
    let us = keys.public_key();
    let mut found: HashMap<_, Event> = HashMap::new();
    let mut until: Option<u64> = None;
    for _ in 0..PAGES {
        let mut filter = Filter::new()
            .author(us)
            .kinds(kinds.iter().copied())
            .since(Timestamp::from_secs(since))
            .limit(PAGE);
        if let Some(until) = until {
            filter = filter.until(Timestamp::from_secs(until));
        }
        let page = client.fetch_events_from([url.clone()], filter, WAIT).await;
        let page = page.ok()?;
        let before = found.len();
        let mut oldest = u64::MAX;
        for event in page {
            oldest = oldest.min(event.created_at.as_secs());
            // Ours, and as we signed it: nothing else is taken in.
            if event.pubkey == us && event.verify().is_ok() {
                found.insert(event.id, event);
            }
        }
        if found.len() == before {
            break;
        }
        until = Some(oldest);
    }
    Some(found.into_values().collect())
}
