//! The engine's side of the socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use futures::{SinkExt, StreamExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::codec::{Framed, LinesCodec};
use tokio_util::sync::CancellationToken;

use super::{Call, ControlMessage, MAX_LINE, What};
use crate::domain::command::{Command, Reply};
use crate::domain::event::{Event, EventKind};
use crate::engine::{Engine, Order, ask};

/// Screens and other watchers at once; one more is refused, so that nobody is shown an empty shop.
const WATCHERS: usize = 32;
/// Connections at once, those of watchers among them. So however many watch, there is room for a command.
const CLIENTS: usize = 256;
/// A connection that neither watches nor has asked anything for so long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// How long a client may take to hear the last word when the shop ends.
const GRACE: Duration = Duration::from_secs(2);
/// Tests that one client may wait for.
const SLOW: usize = 32;

/// A listening socket. Dropped, it stops listening and takes its file away.
pub struct Server {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    path: PathBuf,
}

#[derive(Clone)]
struct Hub {
    orders: mpsc::Sender<Order>,
    watchers: Arc<Semaphore>,
    events: Arc<dyn Fn() -> broadcast::Receiver<Event> + Send + Sync>,
}

impl Server {
    /// Listens at `path`. The caller holds the data directory's lock, so a file that is there is a dead run's.
    ///
    /// # Errors
    /// Where the socket can't be made.
    pub fn listen(engine: &Engine, path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let shop = Arc::downgrade(engine.shop());
        let hub = Hub {
            orders: engine.orders(),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            events: Arc::new(move || match shop.upgrade() {
                Some(shop) => shop.listen(),
                // The engine is gone: a channel that ends at once.
                None => broadcast::channel(1).1,
            }),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept(listener, hub, stop.clone()));
        Ok(Self {
            stop,
            task: Some(task),
            path: path.to_owned(),
        })
    }

    /// Stops listening and waits for the connections to end.
    pub async fn close(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // A listener that died has stopped listening too.
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        // A file that is left is removed by the next run.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, hub: Hub, stop: CancellationToken) {
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if is_ours(&stream) => {
                // Beyond that it is closed at once, which its client says; those that are idle make room.
                if clients.len() < CLIENTS {
                    clients.spawn(serve(stream, hub.clone(), stop.clone()));
                }
            }
            Ok(_) => tracing::warn!("another user tried the control socket"),
            Err(error) => {
                tracing::warn!(%error, "the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Each ends by itself, unless its viewer has stopped reading: that one must not keep the shop from ending.
    let all = async { while clients.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        clients.shutdown().await;
    }
}

/// The file is 0600 already; this holds where the folder was opened by mistake.
fn is_ours(stream: &UnixStream) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw() || peer.uid() == 0)
}

async fn serve(stream: UnixStream, hub: Hub, stop: CancellationToken) {
    let mut line = Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE));
    let mut watch: Option<Watching> = None;
    // Answers that take their time: events and other commands go on meanwhile.
    let mut slow: FuturesUnordered<BoxFuture<'static, ControlMessage>> = FuturesUnordered::new();
    loop {
        let said = tokio::select! {
            () = stop.cancelled() => return,
            Some(word) = slow.next() => {
                if !send(&mut line, &word).await { return; }
                continue;
            }
            said = line.next() => said,
            () = tokio::time::sleep(IDLE), if watch.is_none() && slow.is_empty() => return,
            event = next(&mut watch) => {
                if !tell(&mut line, &hub, event).await { return; }
                continue;
            }
        };
        // A line that is too long, or a client that has left, ends the connection.
        let Some(Ok(said)) = said else { return };
        let answer = match serde_json::from_str::<Call>(&said) {
            Ok(Call {
                id,
                what:
                    What::Command(
                        command @ (Command::Test { .. }
                        | Command::Jobs { .. }
                        | Command::Job { .. }
                        | Command::Queue
                        | Command::Move { .. }
                        | Command::Desk
                        | Command::Recover { .. }),
                    ),
            }) if slow.len() < SLOW => {
                let orders = hub.orders.clone();
                let reply = async move {
                    let reply = ask(&orders, command).await;
                    ControlMessage::Reply { id, reply }
                };
                slow.push(reply.boxed());
                continue;
            }
            Ok(call) => answer(call, &hub, &mut watch, &mut line).await,
            Err(error) => ControlMessage::Reply {
                id: called(&said),
                reply: Reply::Refused {
                    detail: format!("not a command: {error}"),
                },
            },
        };
        if !send(&mut line, &answer).await {
            return;
        }
    }
}

/// The id of a call that can't be read otherwise, so that its caller does not wait for ever; 0 where it has none.
fn called(said: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(said)
        .ok()
        .and_then(|call| call.get("id")?.as_u64())
        .unwrap_or(0)
}

/// Events for a watcher, and its place among the others.
struct Watching {
    events: broadcast::Receiver<Event>,
    _place: OwnedSemaphorePermit,
}

type Line = Framed<UnixStream, LinesCodec>;

async fn answer(
    call: Call,
    hub: &Hub,
    watch: &mut Option<Watching>,
    line: &mut Line,
) -> ControlMessage {
    let reply = match call.what {
        What::Watch { .. } => begin_watch(hub, watch).await,
        // A stop ends the engine and this server with it: the client must hear of it before that.
        What::Command(Command::Stop { now }) => {
            let going = ControlMessage::Reply {
                id: call.id,
                reply: Reply::Done {
                    detail: "stopping".to_owned(),
                },
            };
            if !send(line, &going).await {
                tracing::debug!("whoever asked to stop has left");
            }
            ask(&hub.orders, Command::Stop { now }).await
        }
        What::Command(command) => ask(&hub.orders, command).await,
    };
    ControlMessage::Reply { id: call.id, reply }
}

async fn begin_watch(hub: &Hub, watch: &mut Option<Watching>) -> Reply {
    if watch.is_none() {
        let Ok(place) = hub.watchers.clone().try_acquire_owned() else {
            return Reply::Refused {
                detail: format!("{WATCHERS} others are attached: close one of them first"),
            };
        };
        *watch = Some(Watching {
            events: (hub.events)(),
            _place: place,
        });
    }
    ask(&hub.orders, Command::Snapshot).await
}

/// Never where nobody watches.
async fn next(watch: &mut Option<Watching>) -> Result<Event, RecvError> {
    match watch {
        Some(watch) => watch.events.recv().await,
        None => std::future::pending().await,
    }
}

async fn tell(line: &mut Line, hub: &Hub, event: Result<Event, RecvError>) -> bool {
    match event {
        Ok(event) => send(line, &ControlMessage::Event { event }).await,
        Err(RecvError::Closed) => false,
        Err(RecvError::Lagged(missed)) => {
            let event = Event::now(EventKind::Resync { missed });
            send(line, &ControlMessage::Event { event }).await
                && matches!(
                    ask(&hub.orders, Command::Snapshot).await,
                    Reply::Done { .. } | Reply::Refused { .. }
                )
        }
    }
}

async fn send(line: &mut Line, word: &ControlMessage) -> bool {
    match serde_json::to_string(word) {
        Ok(text) => line.send(text).await.is_ok(),
        Err(error) => {
            tracing::error!(%error, "a word that can't be written");
            true
        }
    }
}
