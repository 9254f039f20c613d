//! Stands between the sockets and nostr-sdk.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{Sink, SinkExt, Stream, StreamExt};
use nostr::types::url::Url;
use nostr::util::BoxedFuture;
use nostr::{Event, RelayUrl, SubscriptionId};
use nostr_sdk::pool::ConnectionMode;
use nostr_sdk::pool::policy::{AdmitPolicy, AdmitStatus, PolicyError};
use nostr_sdk::pool::transport::error::TransportError;
use nostr_sdk::pool::transport::websocket::{WebSocketSink, WebSocketStream, WebSocketTransport};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message as Frame};

use super::connect::{self, NOT_PUBLIC, NoSocket};
use super::connection::RelayConnection;
use super::lock;
use super::reach::Reach;
use super::words::WORDS;
use crate::domain::text::clean;

/// Frames that are swallowed before others get their turn.
const TURN: usize = 64;

/// A WebSocket message, by the only name nostr-sdk gives it.
trait OkOf {
    type Ok;
}

impl<T, E> OkOf for Result<T, E> {
    type Ok = T;
}

type Item = <WebSocketStream as Stream>::Item;
type Message = <Item as OkOf>::Ok;

/// No event ever reaches nostr-sdk; were one to, it would end here.
#[derive(Debug)]
pub(super) struct NoEvents;

impl AdmitPolicy for NoEvents {
    fn admit_event<'a>(
        &'a self,
        _: &'a RelayUrl,
        _: &'a SubscriptionId,
        _: &'a Event,
    ) -> BoxedFuture<'a, Result<AdmitStatus, PolicyError>> {
        Box::pin(async { Ok(AdmitStatus::Rejected { reason: None }) })
    }
}

/// Finds the line of a connection, and dials.
#[derive(Clone)]
pub(super) struct Directory {
    inner: Arc<DirectoryInner>,
}

struct DirectoryInner {
    connections: Mutex<HashMap<RelayUrl, Weak<RelayConnection>>>,
    reach: Reach,
    wait: Duration,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Directory")
    }
}

impl Directory {
    pub(super) fn new(reach: Reach, wait: Duration) -> Self {
        let inner = DirectoryInner {
            connections: Mutex::default(),
            reach,
            wait,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Enters a line, and forgets those that are gone.
    pub(super) fn enter(&self, connection: &Arc<RelayConnection>) {
        let mut connections = lock(&self.inner.connections);
        connections.retain(|_, connection| connection.strong_count() > 0);
        connections.insert(connection.url.clone(), Arc::downgrade(connection));
    }

    fn connection(&self, url: &Url) -> Option<Arc<RelayConnection>> {
        let url = RelayUrl::parse(url.as_str()).ok()?;
        lock(&self.inner.connections).get(&url)?.upgrade()
    }
}

impl WebSocketTransport for Directory {
    fn support_ping(&self) -> bool {
        true
    }

    fn connect<'a>(
        &'a self,
        url: &'a Url,
        _: &'a ConnectionMode,
        _: Duration,
    ) -> BoxedFuture<'a, Result<(WebSocketSink, WebSocketStream), TransportError>> {
        Box::pin(async move {
            let connection = self
                .connection(url)
                .ok_or_else(|| failed("no such relay"))?;
            let epoch = connection.begin();
            let Directory { inner } = self;
            let made = connect::connect(
                url,
                connection.own,
                &inner.reach,
                &connection.clock,
                inner.wait,
            )
            .await;
            let (sink, stream) = match made {
                Ok(socket) => socket.split(),
                Err(NoSocket::NotAllowed) => {
                    connection.forbid();
                    connection.blame(NOT_PUBLIC.to_owned());
                    return Err(failed(NOT_PUBLIC));
                }
                Err(NoSocket::Failed(why)) => {
                    connection.blame(why.clone());
                    return Err(failed(&why));
                }
            };
            connection.mark_heard();
            let socket = Arc::new(Socket::new(connection, epoch));
            let sink = TapSink {
                inner: sink,
                socket: socket.clone(),
                parting: false,
            };
            let stream = TapStream {
                inner: stream,
                socket,
            };
            Ok((
                Box::new(sink) as WebSocketSink,
                Box::pin(stream) as WebSocketStream,
            ))
        })
    }
}

fn failed(why: &str) -> TransportError {
    TransportError::backend(std::io::Error::other(why.to_owned()))
}

/// One open socket of a line; the line counts them, so that closing can wait for the last.
struct Socket {
    connection: Arc<RelayConnection>,
    epoch: u64,
}

impl Socket {
    fn new(connection: Arc<RelayConnection>, epoch: u64) -> Self {
        connection.sockets.send_modify(|open| *open += 1);
        Self { connection, epoch }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.connection.sockets.send_modify(|open| *open -= 1);
    }
}

struct TapStream {
    inner: SplitStream<connect::Socket>,
    socket: Arc<Socket>,
}

impl TapStream {
    /// What of a frame nostr-sdk is to see.
    fn hear(&self, frame: Frame) -> Option<Message> {
        let connection = &self.socket.connection;
        match frame {
            Frame::Text(text) => connection.text(&text).map(Message::Text),
            // A message that came in parts is read as if it were of bytes: see `bounded`.
            Frame::Binary(bytes) => {
                if let Ok(text) = std::str::from_utf8(&bytes) {
                    connection.text(text).map(Message::Text)
                } else {
                    connection.fault();
                    None
                }
            }
            Frame::Ping(bytes) => Some(Message::Ping(bytes.to_vec())),
            Frame::Pong(bytes) => Some(Message::Pong(bytes.to_vec())),
            Frame::Close(frame) => {
                connection.blame(goodbye(frame.as_ref()));
                if frame
                    .as_ref()
                    .is_some_and(|frame| frame.code == CloseCode::Size)
                {
                    connection.closed_over_size();
                }
                Some(Message::Close(frame.map(Into::into)))
            }
            // Never read, only written.
            Frame::Frame(_) => None,
        }
    }
}

/// Why a relay closed the connection, in its words where it gave any.
fn goodbye(frame: Option<&CloseFrame>) -> String {
    let Some(frame) = frame else {
        return "it closed the connection".to_owned();
    };
    let (code, words) = (u16::from(frame.code), clean(&frame.reason, WORDS / 2));
    if words.is_empty() {
        format!("it closed the connection (code {code})")
    } else {
        format!("it closed the connection (code {code}): {words}")
    }
}

impl Stream for TapStream {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        for _ in 0..TURN {
            let item = ready!(self.inner.poll_next_unpin(cx));
            let Socket { connection, epoch } = &*self.socket;
            if !connection.is_current(*epoch) {
                // The listener has turned away from this connection.
                return Poll::Ready(None);
            }
            connection.mark_heard();
            match item {
                Some(Ok(frame)) => {
                    if let Some(message) = self.hear(frame) {
                        return Poll::Ready(Some(Ok(message)));
                    }
                }
                Some(Err(error)) => {
                    let why = format!(
                        "the connection broke ({})",
                        clean(&error.to_string(), WORDS / 2)
                    );
                    connection.blame(why.clone());
                    return Poll::Ready(Some(Err(failed(&why))));
                }
                None => {
                    connection.blame("it ended the connection without a word".to_owned());
                    return Poll::Ready(None);
                }
            }
        }
        // A flood must not keep this task from sending, pinging and ending.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

struct TapSink {
    inner: SplitSink<connect::Socket, Frame>,
    socket: Arc<Socket>,
    /// A `CLOSE` is in the buffer.
    parting: bool,
}

fn broken(error: tungstenite::Error) -> TransportError {
    TransportError::backend(error)
}

impl Sink<Message> for TapSink {
    type Error = TransportError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready_unpin(cx).map_err(broken)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Message) -> Result<(), Self::Error> {
        if let Message::Text(text) = &item {
            self.parting |= text.starts_with("[\"CLOSE\"");
        }
        self.inner.start_send_unpin(item.into()).map_err(broken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        ready!(self.inner.poll_flush_unpin(cx)).map_err(broken)?;
        if std::mem::take(&mut self.parting) {
            self.socket.connection.parted.notify_one();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_close_unpin(cx).map_err(broken)
    }
}
