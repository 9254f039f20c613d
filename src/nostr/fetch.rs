//! Events by id, from several relays at once, for inputs of type `event` and `job` (NIP-90).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nostr::{ClientMessage, Event, EventId, Filter, RelayUrl, SubscriptionId};
use nostr_sdk::Relay;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::connection::{GET, Get, RelayConnection};
use super::publish::up;
use super::{Inner, lock};

/// The most ids of one fetch: a request with more inputs is refused long before.
const MAX_IDS: usize = 32;

/// The most relays of one fetch that are not our own: a stranger names them.
const MAX_HINTS: usize = 4;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A relay that is asked.
enum Way {
    Own(Arc<RelayConnection>),
    Hint(RelayUrl),
}

/// Asks every relay that is up, and gathers what verifies and is wanted.
pub(super) async fn fetch(
    inner: &Inner,
    mut ids: Vec<EventId>,
    hints: Vec<RelayUrl>,
    wait: Duration,
) -> Vec<Event> {
    ids.truncate(MAX_IDS);
    let until = Instant::now() + wait;
    let name = format!("{GET}{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let ways = ways(inner, hints);
    let asked_of = ways.len();
    // Each line may find every id and end once.
    let room = asked_of.max(1) * (ids.len() + 1);
    let (sender, mut inbox) = mpsc::channel(room);
    let wanted = Arc::new(ids);
    let asking = futures::future::join_all(
        ways.into_iter()
            .map(|way| ask(inner, way, &name, wanted.clone(), sender.clone(), wait)),
    );
    // The asks go out in the background of the gathering: a line that is still connecting delays no other.
    let mut asking = std::pin::pin!(asking);
    let mut asked: Option<Vec<Option<Asked>>> = None;
    let mut found = HashMap::new();
    let mut ends = 0;
    while found.len() < wanted.len() && ends < asked_of {
        tokio::select! {
            all = &mut asking, if asked.is_none() => {
                ends += all.iter().filter(|one| one.is_none()).count();
                asked = Some(all);
            }
            item = timeout_at(until, inbox.recv()) => match item {
                Ok(Some(Some(event))) => {
                    found.insert(event.id, event);
                }
                Ok(Some(None)) => ends += 1,
                Ok(None) | Err(_) => break,
            },
        }
    }
    found.into_values().collect()
}

/// Our own relays, and the hints that are not among them, each once.
fn ways(inner: &Inner, hints: Vec<RelayUrl>) -> Vec<Way> {
    let mut others: Vec<RelayUrl> = Vec::new();
    for url in hints {
        if others.len() < MAX_HINTS && !inner.urls.contains(&url) && !others.contains(&url) {
            others.push(url);
        }
    }
    let own = inner.own.iter().cloned().map(Way::Own);
    own.chain(others.into_iter().map(Way::Hint)).collect()
}

/// One line's part; ends its subscription when dropped.
struct Asked {
    connection: Arc<RelayConnection>,
    relay: Relay,
    name: String,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if lock(&self.connection.gets).remove(&self.name).is_some() {
            // A relay that can't be told is not connected, and has forgotten the subscription.
            let _ = self
                .relay
                .send_msg(ClientMessage::close(SubscriptionId::new(&self.name)));
        }
    }
}

async fn ask(
    inner: &Inner,
    way: Way,
    name: &str,
    wanted: Arc<Vec<EventId>>,
    found: mpsc::Sender<Option<Event>>,
    wait: Duration,
) -> Option<Asked> {
    let connection = match way {
        Way::Own(connection) => connection,
        Way::Hint(url) => inner.transient.connection(&url).ok()?,
    };
    let relay = up(&connection, wait).await.ok()?;
    let filter = Filter::new()
        .ids(wanted.iter().copied())
        .limit(wanted.len());
    let get = Get {
        wanted: wanted.iter().copied().collect(),
        found,
        ended: false,
    };
    lock(&connection.gets).insert(name.to_owned(), get);
    let asked = Asked {
        connection,
        relay,
        name: name.to_owned(),
    };
    let request = ClientMessage::req(SubscriptionId::new(name), vec![filter]);
    asked.relay.send_msg(request).ok()?;
    Some(asked)
}
