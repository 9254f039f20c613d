//! A relay that can be told to misbehave, on loopback.
//!
//! It speaks NIP-01 (EVENT, REQ, CLOSE, EOSE, OK, CLOSED), NIP-42 where told to, and NIP-11 for a plain HTTP GET. It keeps
//! what it accepted in memory and, where asked to, appends each accepted event to a JSONL file for an auditor. Every wait is
//! on an event, never on a clock.

#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "fake_relay/fault.rs"]
mod fault;
#[path = "fake_relay/state.rs"]
mod state;

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use nostr::{Event, Filter, RelayUrl};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use fault::Fault;
#[allow(unused_imports, reason = "each test file uses a part of it")]
pub use state::forged;
use state::{Conn, Out, State};

/// Frames that may wait for one connection; one that falls further behind is cut.
const OUTBOX: usize = 262_144;

/// One open subscription.
#[derive(Clone, Debug)]
pub struct Open {
    /// The connection's number.
    pub connection: u64,
    /// Its id.
    pub id: String,
    /// Its filters.
    pub filters: Vec<Filter>,
}

struct Running {
    cancel: CancellationToken,
    tasks: TaskTracker,
}

enum Port {
    Open(Running),
    /// Nobody listens: connections are refused.
    Closed,
}

struct Inner {
    addr: SocketAddr,
    /// Bound and never listening, so that nobody else gets the port while the relay is stopped.
    _place: TcpSocket,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    port: tokio::sync::Mutex<Port>,
}

/// The relay. Clones are the same relay; it ends with [`FakeRelay::stop`] or the runtime.
#[derive(Clone)]
pub struct FakeRelay {
    inner: Arc<Inner>,
}

impl FakeRelay {
    /// Starts on a free port of 127.0.0.1. `record`: where accepted events are appended, one JSON a line.
    pub async fn start(record: Option<PathBuf>) -> Self {
        let socket = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let addr = socket.local_addr().unwrap();
        let record = record.map(|path| {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .unwrap()
        });
        let state = State {
            events: Vec::new(),
            ids: HashSet::new(),
            fault: Fault::None,
            conns: HashMap::new(),
            next: 0,
            held: None,
            record,
            requests: 0,
            fetches: 0,
            closes: 0,
            cap: usize::MAX,
            longest: None,
            ahead: 0,
        };
        let relay = Self {
            inner: Arc::new(Inner {
                addr,
                state: Mutex::new(state),
                changed: watch::Sender::new(0),
                _place: socket,
                port: tokio::sync::Mutex::new(Port::Closed),
            }),
        };
        relay.restart().await;
        relay
    }

    /// Its address.
    pub fn url(&self) -> RelayUrl {
        RelayUrl::parse(&format!("ws://{}", self.inner.addr)).unwrap()
    }

    /// Begins a fault; ends the one before.
    pub fn set(&self, fault: Fault) {
        let mut state = self.state();
        state.release();
        state.fault = fault;
        state.begin();
        drop(state);
        self.bump();
    }

    /// Ends the fault. What it broke (cut sockets, lost subscriptions, silent sockets) stays broken.
    pub fn heal(&self) {
        self.set(Fault::None);
    }

    /// As if a buyer had published it: kept and sent to whom it matches.
    pub fn inject(&self, event: &Event) {
        self.state().keep(event.clone());
        self.bump();
    }

    /// Kept without being checked or sent: for filling a relay before anybody listens.
    pub fn store(&self, events: impl IntoIterator<Item = Event>) {
        let mut state = self.state();
        for event in events {
            state.write(event);
        }
        drop(state);
        self.bump();
    }

    /// Sends this text to every connection.
    pub fn inject_raw(&self, text: &str) {
        self.state().shout(&Message::text(text));
    }

    /// Sends this event, unchecked and not kept, to every open subscription of this id.
    pub fn send_on(&self, sub: &str, event: &Event) {
        let frame = Message::text(json!(["EVENT", sub, event]).to_string());
        let state = self.state();
        for conn in state
            .conns
            .values()
            .filter(|conn| conn.subs.contains_key(sub))
        {
            conn.say(frame.clone(), Duration::ZERO);
        }
    }

    /// The most stored events of one answer, as many relays have; the newest ones.
    pub fn set_cap(&self, cap: Option<usize>) {
        self.state().cap = cap.unwrap_or(usize::MAX);
    }

    /// Closes the connection at a longer message (code 1009, as servers with a `maxPayload` do). `told`: its description (NIP-11)
    /// says how long.
    pub fn set_longest(&self, bytes: usize, told: bool) {
        self.state().longest = Some((bytes, told));
    }

    /// Its clock (the `Date` of its description) is so many seconds ahead.
    pub fn set_ahead(&self, secs: i64) {
        self.state().ahead = secs;
    }

    /// What it accepted so far, injected events included, in this order.
    pub fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    /// REQs heard so far, refused ones included.
    pub fn requests(&self) -> usize {
        self.state().requests
    }

    /// REQs heard so far that ask for events by id, as inputs are.
    pub fn fetches(&self) -> usize {
        self.state().fetches
    }

    /// CLOSEs heard so far.
    pub fn closes(&self) -> usize {
        self.state().closes
    }

    /// The open subscriptions.
    pub fn subscriptions(&self) -> Vec<Open> {
        let state = self.state();
        let open = |(connection, conn): (&u64, &Conn)| {
            let connection = *connection;
            let open = |(id, filters): (&String, &Vec<Filter>)| Open {
                connection,
                id: id.clone(),
                filters: filters.clone(),
            };
            conn.subs.iter().map(open).collect::<Vec<_>>()
        };
        state.conns.iter().flat_map(open).collect()
    }

    /// Open connections, silent ones included.
    pub fn connections(&self) -> usize {
        self.state().conns.len()
    }

    /// Cuts every connection once.
    pub fn cut(&self) {
        self.state().cut();
    }

    /// Waits for an event that was or will be accepted.
    pub async fn wait_for(
        &self,
        wanted: impl Fn(&Event) -> bool,
        timeout: Duration,
    ) -> Option<Event> {
        let mut found = None;
        self.wait_until(
            |relay| {
                found = relay
                    .state()
                    .events
                    .iter()
                    .find(|event| wanted(event))
                    .cloned();
                found.is_some()
            },
            timeout,
        )
        .await;
        found
    }

    /// Waits until something holds; looked at after every change of this relay. False after `timeout`.
    pub async fn wait_until(
        &self,
        mut holds: impl FnMut(&Self) -> bool,
        timeout: Duration,
    ) -> bool {
        let mut changed = self.inner.changed.subscribe();
        let wait = async {
            while !holds(self) {
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(timeout, wait).await.is_ok()
    }

    /// Waits until this many subscriptions of this id are open.
    pub async fn wait_subscribed(&self, id: &str, count: usize, timeout: Duration) -> bool {
        let open = |relay: &Self| {
            relay
                .subscriptions()
                .iter()
                .filter(|open| open.id == id)
                .count()
        };
        self.wait_until(|relay| open(relay) == count, timeout).await
    }

    /// Cuts every connection and refuses new ones, until [`FakeRelay::restart`]. What it accepted is kept.
    pub async fn stop(&self) {
        let mut port = self.inner.port.lock().await;
        if let Port::Open(running) = std::mem::replace(&mut *port, Port::Closed) {
            running.cancel.cancel();
            running.tasks.close();
            running.tasks.wait().await;
        }
        drop(port);
        self.bump();
    }

    /// Listens on the same port again.
    pub async fn restart(&self) {
        let mut port = self.inner.port.lock().await;
        if matches!(*port, Port::Open(_)) {
            return;
        }
        let listener = bind(self.inner.addr).listen(1024).unwrap();
        let running = Running {
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let (relay, cancel, tasks) = (self.clone(), running.cancel.clone(), running.tasks.clone());
        running.tasks.spawn(relay.accept(listener, cancel, tasks));
        *port = Port::Open(running);
    }

    async fn accept(self, listener: TcpListener, cancel: CancellationToken, tasks: TaskTracker) {
        loop {
            let stream = tokio::select! {
                () = cancel.cancelled() => return,
                stream = listener.accept() => match stream {
                    Ok((stream, _)) => stream,
                    // The client has gone before it was accepted.
                    Err(_) => continue,
                },
            };
            let (relay, cut) = (self.clone(), cancel.child_token());
            tasks.spawn(async move { relay.serve(stream, cut).await });
        }
    }

    async fn serve(&self, stream: TcpStream, cut: CancellationToken) {
        // Small frames are answered one by one: without this each would wait for the acknowledgement of the one before.
        stream.set_nodelay(true).unwrap();
        let (number, outbox, freeze) = self.enter(&cut);
        self.bump();
        tokio::select! {
            () = cut.cancelled() => {}
            () = self.talk(stream, number, outbox, freeze) => {}
        }
        self.state().conns.remove(&number);
        self.bump();
    }

    fn enter(&self, cut: &CancellationToken) -> (u64, mpsc::Receiver<Out>, CancellationToken) {
        let freeze = CancellationToken::new();
        let (out, outbox) = mpsc::channel(OUTBOX);
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        let conn = Conn {
            out,
            cut: cut.clone(),
            freeze: freeze.clone(),
            subs: HashMap::new(),
            challenge: format!("fake-{number}"),
            authed: false,
        };
        state.conns.insert(number, conn);
        if state.fault == Fault::HalfOpen {
            freeze.cancel();
        }
        (number, outbox, freeze)
    }

    async fn talk(
        &self,
        mut stream: TcpStream,
        number: u64,
        mut outbox: mpsc::Receiver<Out>,
        freeze: CancellationToken,
    ) {
        if freeze.is_cancelled() {
            return swallow(&mut stream).await;
        }
        let Some(mut socket) = self.handshake(stream).await else {
            return;
        };
        self.greet(number);
        loop {
            tokio::select! {
                biased;
                () = freeze.cancelled() => return swallow(socket.get_mut()).await,
                next = outbox.recv() => {
                    let Some(out) = next else { return };
                    tokio::time::sleep_until(out.at).await;
                    if socket.send(out.frame).await.is_err() {
                        return;
                    }
                }
                frame = socket.next() => match frame {
                    Some(Ok(Message::Text(text))) if self.is_too_long(text.len()) => {
                        let (code, reason) = (CloseCode::Size, "max payload size exceeded".into());
                        // The client may have gone.
                        let _ = socket.close(Some(CloseFrame { code, reason })).await;
                        return;
                    }
                    Some(Ok(Message::Text(text))) => self.hear(number, text.as_str()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                },
            }
        }
    }

    fn is_too_long(&self, bytes: usize) -> bool {
        let longest = self.state().longest;
        longest.is_some_and(|(longest, _)| bytes > longest)
    }

    /// The WebSocket handshake, or none where it was a plain GET or a fault.
    async fn handshake(&self, mut stream: TcpStream) -> Option<WebSocketStream<TcpStream>> {
        let mut head = [0; 4096];
        let seen = stream.peek(&mut head).await.ok()?;
        let text = String::from_utf8_lossy(&head[..seen]).to_lowercase();
        let fault = self.state().fault.clone();
        if !text.contains("upgrade: websocket") {
            let bits = if let Fault::Pow(bits) = fault {
                bits
            } else {
                0
            };
            let longest = self.state().longest.filter(|(_, told)| *told);
            let body = json!({
                "name": "fake", "software": "fake-relay", "version": "1", "supported_nips": [1, 11, 42],
                "limitation": { "min_pow_difficulty": bits, "auth_required": fault == Fault::Auth,
                    "max_message_length": longest.map(|(longest, _)| longest) },
            });
            let ahead = self.state().ahead;
            answer(&mut stream, "200 OK", &body.to_string(), ahead).await;
            return None;
        }
        if let Fault::Http(code) = fault {
            answer(&mut stream, &format!("{code} No"), "", 0).await;
            return None;
        }
        tokio_tungstenite::accept_async(stream).await.ok()
    }

    /// What a new connection gets at once.
    fn greet(&self, number: u64) {
        let state = self.state();
        let Some(conn) = state.conns.get(&number) else {
            return;
        };
        match state.fault {
            Fault::Drop => conn.cut.cancel(),
            Fault::Auth => state.say(number, &json!(["AUTH", conn.challenge])),
            _ => {}
        }
    }

    fn hear(&self, number: u64, text: &str) {
        let Ok(Value::Array(parts)) = serde_json::from_str(text) else {
            return;
        };
        let mut state = self.state();
        match parts.first().and_then(Value::as_str) {
            Some("EVENT") => state.event(number, &parts),
            Some("REQ") => state.request(number, &parts),
            Some("CLOSE") => state.close(number, &parts),
            Some("AUTH") => state.authenticate(number, &parts, self.inner.addr),
            _ => state.say(number, &json!(["NOTICE", "error: unknown"])),
        }
        drop(state);
        self.bump();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap()
    }

    fn bump(&self) {
        self.inner.changed.send_modify(|count| *count += 1);
    }
}

fn bind(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(addr).unwrap();
    socket
}

/// Reads and answers nothing, until the other side gives up.
async fn swallow(stream: &mut TcpStream) {
    let mut waste = [0; 4096];
    while stream.read(&mut waste).await.is_ok_and(|read| read > 0) {}
}

async fn answer(stream: &mut TcpStream, status: &str, body: &str, ahead: i64) {
    let length = body.len();
    let date = (time::OffsetDateTime::now_utc() + time::Duration::seconds(ahead))
        .format(&time::format_description::well_known::Rfc2822)
        .unwrap()
        .replace("+0000", "GMT");
    let head = format!(
        "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: application/nostr+json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    // The request is read, so that closing does not reset the connection before the answer is read. Errors mean that the
    // client has gone, which is its right.
    let mut waste = [0; 4096];
    let _ = stream.read(&mut waste).await;
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
    let _ = stream.shutdown().await;
}
