//! Stands between the sockets and nostr-sdk.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{Sink, Stream};
use nostr::types::url::Url;
use nostr::util::BoxedFuture;
use nostr::{Event, RelayUrl, SubscriptionId};
use nostr_sdk::pool::ConnectionMode;
use nostr_sdk::pool::policy::{AdmitPolicy, AdmitStatus, PolicyError};
use nostr_sdk::pool::transport::error::TransportError;
use nostr_sdk::pool::transport::websocket::{
    DefaultWebsocketTransport, WebSocketSink, WebSocketStream, WebSocketTransport,
};

use super::guard::guard_public;
use super::line::Line;
use super::lock;
use super::words::WORDS;
use crate::domain::dial::dial_failure;
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
    lines: Mutex<HashMap<RelayUrl, Weak<Line>>>,
    own: Vec<RelayUrl>,
    wait: Duration,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Directory")
    }
}

impl Directory {
    pub(super) fn new(own: Vec<RelayUrl>, wait: Duration) -> Self {
        let inner = DirectoryInner {
            lines: Mutex::default(),
            own,
            wait,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Enters a line, and forgets those that are gone.
    pub(super) fn enter(&self, line: &Arc<Line>) {
        let mut lines = lock(&self.inner.lines);
        lines.retain(|_, line| line.strong_count() > 0);
        lines.insert(line.url.clone(), Arc::downgrade(line));
    }

    fn line(&self, url: &Url) -> Option<Arc<Line>> {
        let url = RelayUrl::parse(url.as_str()).ok()?;
        lock(&self.inner.lines).get(&url)?.upgrade()
    }
}

impl WebSocketTransport for Directory {
    fn support_ping(&self) -> bool {
        true
    }

    fn connect<'a>(
        &'a self,
        url: &'a Url,
        mode: &'a ConnectionMode,
        _: Duration,
    ) -> BoxedFuture<'a, Result<(WebSocketSink, WebSocketStream), TransportError>> {
        Box::pin(async move {
            let line = self.line(url).ok_or_else(|| failed("no such relay"))?;
            let epoch = line.begin();
            // Asked again right before the dial: the name may lead elsewhere by now.
            if !line.own && !guard_public(&line.url, &self.inner.own).await {
                line.blame("its address is not public".to_owned());
                return Err(failed("its address is not public"));
            }
            let (sink, stream) = DefaultWebsocketTransport
                .connect(url, mode, self.inner.wait)
                .await
                .map_err(|error| {
                    let why = dial_failure(&error.to_string());
                    line.blame(why.clone());
                    failed(&why)
                })?;
            line.mark_heard();
            let socket = Arc::new(Socket::new(line, epoch));
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
    line: Arc<Line>,
    epoch: u64,
}

impl Socket {
    fn new(line: Arc<Line>, epoch: u64) -> Self {
        line.sockets.send_modify(|open| *open += 1);
        Self { line, epoch }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.line.sockets.send_modify(|open| *open -= 1);
    }
}

struct TapStream {
    inner: WebSocketStream,
    socket: Arc<Socket>,
}

impl Stream for TapStream {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        for _ in 0..TURN {
            let item = ready!(self.inner.as_mut().poll_next(cx));
            let Socket { line, epoch } = &*self.socket;
            if !line.is_current(*epoch) {
                // The listener has turned away from this connection.
                return Poll::Ready(None);
            }
            line.mark_heard();
            match item {
                Some(Ok(Message::Text(frame))) => {
                    if let Some(frame) = line.text(&frame) {
                        return Poll::Ready(Some(Ok(Message::Text(frame))));
                    }
                }
                Some(Ok(Message::Binary(_))) => {
                    line.fault();
                }
                Some(Err(error)) => {
                    let why = format!(
                        "the connection broke ({})",
                        clean(&error.to_string(), WORDS / 2)
                    );
                    line.blame(why.clone());
                    return Poll::Ready(Some(Err(failed(&why))));
                }
                other => return Poll::Ready(other),
            }
        }
        // A flood must not keep this task from sending, pinging and ending.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

struct TapSink {
    inner: WebSocketSink,
    socket: Arc<Socket>,
    /// A `CLOSE` is in the buffer.
    parting: bool,
}

impl Sink<Message> for TapSink {
    type Error = TransportError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Message) -> Result<(), Self::Error> {
        if let Message::Text(text) = &item {
            self.parting |= text.starts_with("[\"CLOSE\"");
        }
        Pin::new(&mut self.inner).start_send(item)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        if std::mem::take(&mut self.parting) {
            self.socket.line.parted.notify_one();
        }
        Poll::Ready(flushed)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
