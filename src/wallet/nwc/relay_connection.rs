//! The line to one relay of the connection: dials, and dials again. What is said over it is the [`super::session`].
//!
//! On plain sockets, not on nostr-sdk's client: that one answers from a cache, hides which relay refused what, and knows
//! no bound for what it is sent.

use std::sync::Arc;
use std::time::Duration;

use nostr::RelayUrl;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

use super::session::Session;
use super::shared::Shared;
use crate::domain::dial::dial_failure;

/// How long a dial may take, TLS and the handshake included.
const DIAL: Duration = Duration::from_secs(10);

/// The longest frame that is read, bytes.
const MAX_FRAME: usize = 256 * 1024;

/// Rests between failed dials, seconds; the last one from then on. A question cuts a rest short.
const RESTS: [u64; 6] = [1, 1, 2, 5, 15, 30];

/// The shortest rest, whoever asks.
const SHORTEST_REST: Duration = Duration::from_millis(100);

/// A connection that held so long was a good one.
const HELD: Duration = Duration::from_secs(30);

/// An open connection to a relay.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Keeps one relay listened to, until `stop`.
pub(super) async fn run(shared: Arc<Shared>, index: usize, stop: CancellationToken) {
    let Some(url) = shared.connection.relays.get(index).cloned() else {
        return;
    };
    let (mut failures, mut before) = (0_usize, false);
    loop {
        let began = Instant::now();
        let why = tokio::select! {
            () = stop.cancelled() => return,
            dialled = dial(&url) => match dialled {
                Ok(socket) => {
                    let mut session = Session::new(&shared, index, &url, socket);
                    if before {
                        // What was told while nobody listened is found by looking.
                        shared.inbox.put(None);
                    }
                    before = true;
                    let why = tokio::select! {
                        () = stop.cancelled() => return,
                        why = session.work() => why,
                    };
                    shared.way(index, |way| way.up = false);
                    if began.elapsed() >= HELD {
                        failures = 0;
                    }
                    // One that worked is made anew at once, and whoever asks need not know. One that breaks again and
                    // again is as bad as none.
                    if failures == 0 {
                        failures = 1;
                        continue;
                    }
                    why
                }
                Err(why) => why,
            },
        };
        let rest = RESTS[failures.min(RESTS.len() - 1)];
        failures += 1;
        let why = shared.connection.plain(&why);
        shared.way(index, |way| {
            way.failed += 1;
            way.why = why;
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = rested(&shared, index, Duration::from_secs(rest)) => {}
        }
    }
}

async fn rested(shared: &Shared, index: usize, rest: Duration) {
    tokio::time::sleep(SHORTEST_REST).await;
    if let Some(kick) = shared.kicks.get(index) {
        // Over either way: the time has passed, or somebody asks.
        let _ = timeout(rest, kick.notified()).await;
    }
}

async fn dial(url: &RelayUrl) -> Result<Socket, String> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let dialling = tokio_tungstenite::connect_async_with_config(url.as_str(), Some(config), true);
    match timeout(DIAL, dialling).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(dial_failure(&error.to_string())),
        Err(_) => Err(format!("no connection within {} s", DIAL.as_secs())),
    }
}
