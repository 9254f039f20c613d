//! Relays that are not our own: a request's `relays` tag, a hint. Connected to when needed, for a short while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nostr::{Event, RelayUrl};
use nostr_sdk::RelayPool;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Verdict;
use super::connect::{NOT_PUBLIC, may_try};
use super::connection::{ConnectionState, RelayConnection, SharedContext};
use super::listener::{Dialled, dial, hang_up};
use super::lock;
use super::publish::publish;
use super::reach::Reach;
use super::transport::Directory;

/// The most of them at once: a stranger names them.
const MAX_TRANSIENT: usize = 32;

/// Why there is no connection to a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoConnection {
    /// Its address is not public, or does not resolve.
    NotAllowed,
    /// Too many at once.
    TooMany,
}

/// The relays that are not our own.
pub(super) struct TransientRelays {
    pool: RelayPool,
    shared: Arc<SharedContext>,
    directory: Directory,
    reach: Reach,
    tasks: TaskTracker,
    cancel: CancellationToken,
    connections: Arc<Mutex<HashMap<RelayUrl, Arc<RelayConnection>>>>,
}

impl TransientRelays {
    pub(super) fn new(
        pool: RelayPool,
        shared: Arc<SharedContext>,
        directory: Directory,
        reach: Reach,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            pool,
            shared,
            directory,
            reach,
            tasks,
            cancel,
            connections: Arc::default(),
        }
    }

    /// Publishes to a relay that is not our own.
    pub(super) async fn publish(&self, url: &RelayUrl, event: &Event) -> Verdict {
        let connection = match self.connection(url) {
            Ok(connection) => connection,
            Err(NoConnection::NotAllowed) => return Verdict::Refused(NOT_PUBLIC.to_owned()),
            Err(NoConnection::TooMany) => {
                return Verdict::Retry("too many other relays at once".to_owned());
            }
        };
        let _use = Use::of(&connection);
        let said = publish(&connection, event, &self.shared).await;
        if connection.is_forbidden() {
            return Verdict::Refused(NOT_PUBLIC.to_owned());
        }
        said
    }

    /// The connection to a relay that is not our own; made where there is none.
    pub(super) fn connection(&self, url: &RelayUrl) -> Result<Arc<RelayConnection>, NoConnection> {
        if let Some(connection) = self.existing(url) {
            return Ok(connection);
        }
        if self.cancel.is_cancelled() || !may_try(url.into(), &self.reach) {
            return Err(NoConnection::NotAllowed);
        }
        let mut connections = lock(&self.connections);
        if let Some(connection) = connections.get(url) {
            return Ok(connection.clone());
        }
        if connections.len() >= MAX_TRANSIENT {
            return Err(NoConnection::TooMany);
        }
        // A transient relay has no subscription: what it says of one is of no interest.
        let (connection, _) = RelayConnection::new(url.clone(), false, 0, self.shared.clone());
        self.directory.enter(&connection);
        connections.insert(url.clone(), connection.clone());
        drop(connections);
        self.tasks.spawn(stay(
            connection.clone(),
            self.pool.clone(),
            self.connections.clone(),
            self.shared.clone(),
            self.cancel.child_token(),
        ));
        Ok(connection)
    }

    fn existing(&self, url: &RelayUrl) -> Option<Arc<RelayConnection>> {
        lock(&self.connections).get(url).cloned()
    }
}

/// Somebody uses a connection: it stays.
struct Use<'a>(&'a RelayConnection);

impl<'a> Use<'a> {
    fn of(connection: &'a RelayConnection) -> Self {
        connection.users.send_modify(|users| *users += 1);
        Self(connection)
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        self.0.users.send_modify(|users| *users -= 1);
    }
}

/// One transient relay's life: one connection, until it is lost or nobody has used it for a while.
async fn stay(
    connection: Arc<RelayConnection>,
    pool: RelayPool,
    connections: Arc<Mutex<HashMap<RelayUrl, Arc<RelayConnection>>>>,
    shared: Arc<SharedContext>,
    cancel: CancellationToken,
) {
    let why = match dial(&connection, &pool, &shared.timing, &cancel).await {
        Dialled::Up(relay, mut notes) => {
            connection
                .state
                .send_replace(ConnectionState::Up(relay.clone()));
            tokio::select! {
                () = cancel.cancelled() => {}
                () = unused(&connection, shared.timing.guest_idle) => {}
                () = super::listener::lost(&connection, &relay, &mut notes) => {}
            }
            "the connection ended".to_owned()
        }
        Dialled::Failed(why) => why,
        Dialled::Cancelled => "closed".to_owned(),
    };
    // From here on a new publish makes a new connection; those that wait on this one are told.
    lock(&connections).remove(&connection.url);
    connection.end(ConnectionState::Down(why));
    hang_up(&connection, &pool, &shared.timing).await;
}

/// Ends when nobody has used the connection for `idle`.
async fn unused(connection: &RelayConnection, idle: Duration) {
    let mut users = connection.users.subscribe();
    loop {
        if users.wait_for(|users| *users == 0).await.is_err() {
            return;
        }
        if timeout(idle, users.wait_for(|users| *users > 0))
            .await
            .is_err()
        {
            return;
        }
    }
}
