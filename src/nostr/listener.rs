//! One own relay, from the first dial to the last goodbye: dial, listen, hang up, rest, again.

use std::sync::Arc;
use std::time::Duration;

use nostr::RelayUrl;
use nostr_sdk::pool::RelayNotification;
use nostr_sdk::{Relay, RelayOptions, RelayPool, RelayStatus};
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::{Auth, ConnectionState, Control, RelayConnection, SharedContext};
use super::health::State;
use super::session::{Ended, Session};
use super::timing::{Timing, doubled, jittered};

/// Owns one relay of the seller.
pub(super) struct Listener {
    connection: Arc<RelayConnection>,
    controls: mpsc::Receiver<Control>,
    pool: RelayPool,
    shared: Arc<SharedContext>,
    cancel: CancellationToken,
    /// Connections in a row that came to nothing.
    failures: u32,
    /// The last connection did not deliver.
    deaf: bool,
    /// NIP-11 was read.
    read_info: bool,
    /// It has said where its stored events end.
    eosed: bool,
}

impl Listener {
    pub(super) fn new(
        connection: Arc<RelayConnection>,
        controls: mpsc::Receiver<Control>,
        pool: RelayPool,
        shared: Arc<SharedContext>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            connection,
            controls,
            pool,
            shared,
            cancel,
            failures: 0,
            deaf: false,
            read_info: false,
            eosed: false,
        }
    }

    /// Runs until cancelled.
    pub(super) async fn run(mut self) {
        while !self.cancel.is_cancelled() {
            self.show(State::Connecting, "");
            let why = match dial(
                &self.connection,
                &self.pool,
                &self.shared.timing,
                &self.cancel,
            )
            .await
            {
                Dialled::Up(relay, notes) => self.listen(relay, notes).await,
                Dialled::Failed(why) => Some(why),
                Dialled::Cancelled => None,
            };
            let Some(why) = why else {
                break;
            };
            let left = self.deaf;
            self.connection.end(if left {
                ConnectionState::Left(why.clone())
            } else {
                ConnectionState::Down(why.clone())
            });
            hang_up(&self.connection, &self.pool, &self.shared.timing).await;
            self.rest(&why).await;
        }
        self.connection.end(ConnectionState::Gone);
        hang_up(&self.connection, &self.pool, &self.shared.timing).await;
        self.connection.health.show(State::Closed, "");
    }

    /// Listens until the connection ends: why, or none where we were told to end.
    async fn listen(&mut self, relay: Box<Relay>, notes: Notes) -> Option<String> {
        // What an earlier connection said is void.
        while self.controls.try_recv().is_ok() {}
        self.connection
            .state
            .send_replace(ConnectionState::Up(relay.clone()));
        self.show(
            State::Connected,
            "waiting for its answer to our subscription",
        );
        let mut session = Session::new(
            &self.connection,
            *relay,
            notes,
            &self.shared,
            (self.read_info, self.eosed),
        );
        let ended = session.run(&mut self.controls, &self.cancel).await;
        self.read_info = session.has_read_info();
        self.eosed = session.has_eosed();
        if session.was_live() {
            self.failures = 0;
            self.deaf = false;
        }
        match ended {
            Ended::Cancelled => None,
            Ended::Lost => Some(
                self.connection
                    .blamed()
                    .unwrap_or_else(|| "the connection was lost".to_owned()),
            ),
            Ended::Deaf => {
                self.deaf = true;
                Some("connected, but it did not answer our subscription twice".to_owned())
            }
        }
    }

    async fn rest(&mut self, why: &str) {
        let timing = &self.shared.timing;
        let wait = jittered(doubled(timing.retry_first, self.failures, timing.retry_cap));
        self.failures = self.failures.saturating_add(1);
        self.show(
            State::Down,
            &format!("{why}; next try in {} s", seconds(wait)),
        );
        tokio::select! {
            () = self.cancel.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// A deaf relay is shown as deaf until it answers.
    fn show(&self, state: State, detail: &str) {
        let state = if self.deaf { State::Deaf } else { state };
        self.connection.health.show(state, detail);
    }
}

/// Whole seconds, rounded up: "next try in 0 s" helps nobody.
pub(super) fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// nostr-sdk's notes on one connection.
pub(super) type Notes = broadcast::Receiver<RelayNotification>;

/// How a dial ended.
pub(super) enum Dialled {
    /// Connected.
    Up(Box<Relay>, Notes),
    /// Not connected; why, in plain words.
    Failed(String),
    /// We were told to end.
    Cancelled,
}

/// Makes one connection with one try. nostr-sdk's own retries are off: it would not tell when the next one is, and it would
/// send what was queued for the connection before.
pub(super) async fn dial(
    connection: &Arc<RelayConnection>,
    pool: &RelayPool,
    timing: &Timing,
    cancel: &CancellationToken,
) -> Dialled {
    connection.state.send_replace(ConnectionState::Connecting);
    let relay = match fresh(pool, &connection.url).await {
        Ok(relay) => relay,
        Err(error) => return Dialled::Failed(crate::domain::dial::dial_failure(&error)),
    };
    let mut notes = relay.notifications();
    relay.connect();
    // The transport has its own deadline; this one only guards against a task that never reports.
    let deadline = timing.connect_wait * 2;
    let settled = tokio::select! {
        () = cancel.cancelled() => return Dialled::Cancelled,
        settled = timeout(deadline, settled(&relay, &mut notes)) => settled.unwrap_or(false),
    };
    if settled {
        return Dialled::Up(Box::new(relay), notes);
    }
    Dialled::Failed(
        connection
            .blamed()
            .unwrap_or_else(|| "the connection failed".to_owned()),
    )
}

/// A new relay in nostr-sdk's pool, in place of the one before.
async fn fresh(pool: &RelayPool, url: &RelayUrl) -> Result<Relay, String> {
    // There is none before the first dial.
    let _ = pool.force_remove_relay(url).await;
    let options = RelayOptions::new().reconnect(false).ping(true);
    pool.add_relay(url, options)
        .await
        .map_err(|error| error.to_string())?;
    pool.relay(url).await.map_err(|error| error.to_string())
}

/// Waits for the dial's outcome: connected?
async fn settled(relay: &Relay, notes: &mut Notes) -> bool {
    loop {
        match notes.recv().await {
            Ok(RelayNotification::RelayStatus { status }) => match status {
                RelayStatus::Connected => return true,
                RelayStatus::Disconnected | RelayStatus::Terminated | RelayStatus::Banned => {
                    return false;
                }
                _ => {}
            },
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => {
                if relay.is_connected() {
                    return true;
                }
            }
            Err(broadcast::error::RecvError::Closed) => return false,
        }
    }
}

/// Waits until the connection is lost; keeps NIP-42's outcome on the way.
pub(super) async fn lost(connection: &RelayConnection, relay: &Relay, notes: &mut Notes) {
    while !matches!(note(connection, relay, &notes.recv().await), Noted::Lost) {}
}

/// What a note means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    Nothing,
    Authenticated,
    AuthFailed,
    Lost,
}

/// Reads one note.
pub(super) fn note(
    connection: &RelayConnection,
    relay: &Relay,
    note: &Result<RelayNotification, broadcast::error::RecvError>,
) -> Noted {
    let gone = |status: RelayStatus| {
        matches!(
            status,
            RelayStatus::Disconnected | RelayStatus::Terminated | RelayStatus::Banned
        )
    };
    match note {
        Ok(RelayNotification::Authenticated) => {
            connection.auth.send_replace(Auth::Done);
            Noted::Authenticated
        }
        Ok(RelayNotification::AuthenticationFailed) => {
            connection.auth.send_replace(Auth::Failed);
            Noted::AuthFailed
        }
        Ok(RelayNotification::RelayStatus { status }) if gone(*status) => Noted::Lost,
        Ok(RelayNotification::Shutdown) | Err(broadcast::error::RecvError::Closed) => Noted::Lost,
        Err(broadcast::error::RecvError::Lagged(_)) if gone(relay.status()) => Noted::Lost,
        Ok(_) | Err(_) => Noted::Nothing,
    }
}

/// Ends the connection and waits, for a while, until its socket is closed.
pub(super) async fn hang_up(connection: &RelayConnection, pool: &RelayPool, timing: &Timing) {
    // Not there where the dial never got that far.
    let _ = pool.force_remove_relay(&connection.url).await;
    let mut sockets = connection.sockets.subscribe();
    let closed = timeout(timing.close_wait, sockets.wait_for(|open| *open == 0)).await;
    if closed.is_err() {
        tracing::debug!(relay = %connection.url, "the old socket is slow to close");
    }
}
