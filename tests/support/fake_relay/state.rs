//! What the relay knows, and what it says to what it hears. No socket here.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use nostr::filter::MatchEventOptions;
use nostr::{Event, EventBuilder, EventId, Filter, JsonUtil, Keys, Kind, Timestamp};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::fault::Fault;

pub(super) struct Conn {
    pub(super) out: mpsc::Sender<Out>,
    pub(super) cut: CancellationToken,
    pub(super) freeze: CancellationToken,
    pub(super) subs: HashMap<String, Vec<Filter>>,
    pub(super) challenge: String,
    pub(super) authed: bool,
}

pub(super) struct Out {
    pub(super) at: Instant,
    pub(super) frame: Message,
}

pub(super) struct State {
    pub(super) events: Vec<Event>,
    pub(super) ids: HashSet<EventId>,
    pub(super) fault: Fault,
    pub(super) conns: HashMap<u64, Conn>,
    pub(super) next: u64,
    pub(super) held: Option<Event>,
    pub(super) record: Option<File>,
    pub(super) requests: usize,
    pub(super) fetches: usize,
    pub(super) closes: usize,
    pub(super) cap: usize,
    /// The longest message it takes; its description says so where the second is true.
    pub(super) longest: Option<(usize, bool)>,
    /// Seconds by which its clock is ahead.
    pub(super) ahead: i64,
}

impl Conn {
    pub(super) fn say(&self, frame: Message, delay: Duration) {
        let at = Instant::now() + delay;
        if self.out.try_send(Out { at, frame }).is_err() {
            self.cut.cancel();
        }
    }
}

impl State {
    pub(super) fn delay(&self) -> Duration {
        match self.fault {
            Fault::Delay(delay) => delay,
            _ => Duration::ZERO,
        }
    }

    pub(super) fn say(&self, number: u64, value: &Value) {
        if let Some(conn) = self.conns.get(&number) {
            conn.say(Message::text(value.to_string()), self.delay());
        }
    }

    pub(super) fn shout(&self, frame: &Message) {
        for conn in self.conns.values() {
            conn.say(frame.clone(), self.delay());
        }
    }

    pub(super) fn cut(&self) {
        for conn in self.conns.values() {
            conn.cut.cancel();
        }
    }

    /// What a fault does at once to the connections that are open.
    pub(super) fn begin(&mut self) {
        let fault = self.fault.clone();
        match fault {
            Fault::Close(_) | Fault::CloseBare => {
                for (number, sub) in self.open() {
                    self.say_closed(number, &sub);
                    self.forget(number, &sub);
                }
            }
            Fault::Deaf => {
                for (number, sub) in self.open() {
                    self.forget(number, &sub);
                }
            }
            Fault::Drop => self.cut(),
            Fault::HalfOpen => {
                for conn in self.conns.values_mut() {
                    conn.subs.clear();
                    conn.freeze.cancel();
                }
            }
            Fault::Auth => {
                for (number, conn) in &self.conns {
                    self.say(*number, &json!(["AUTH", conn.challenge]));
                }
                for (number, sub) in self.open() {
                    self.say(
                        number,
                        &json!(["CLOSED", sub, "auth-required: who are you?"]),
                    );
                    self.forget(number, &sub);
                }
            }
            Fault::Replay => {
                for (number, sub) in self.open() {
                    for event in &self.events {
                        self.say(number, &json!(["EVENT", sub, event]));
                    }
                }
            }
            Fault::Unasked | Fault::Huge | Fault::Garbage | Fault::Forge => {
                for (number, sub) in self.open() {
                    self.mischief(number, &sub);
                }
            }
            _ => {}
        }
    }

    /// Lets go what a fault held back.
    pub(super) fn release(&mut self) {
        if let Some(event) = self.held.take() {
            self.fan_out(&event);
        }
    }

    pub(super) fn open(&self) -> Vec<(u64, String)> {
        let open = |(number, conn): (&u64, &Conn)| {
            let number = *number;
            conn.subs
                .keys()
                .map(|id| (number, id.clone()))
                .collect::<Vec<_>>()
        };
        self.conns.iter().flat_map(open).collect()
    }

    pub(super) fn forget(&mut self, number: u64, sub: &str) {
        if let Some(conn) = self.conns.get_mut(&number) {
            conn.subs.remove(sub);
        }
    }

    pub(super) fn say_closed(&self, number: u64, sub: &str) {
        match &self.fault {
            Fault::CloseBare => self.say(number, &json!(["CLOSED", sub])),
            Fault::Close(words) | Fault::CloseOnce(words) => {
                self.say(number, &json!(["CLOSED", sub, words]));
            }
            _ => {}
        }
    }

    pub(super) fn is_stranger(&self, number: u64) -> bool {
        self.fault == Fault::Auth && !self.conns.get(&number).is_some_and(|conn| conn.authed)
    }

    pub(super) fn event(&mut self, number: u64, parts: &[Value]) {
        let Some(event) = parts
            .get(1)
            .and_then(|value| Event::from_json(value.to_string()).ok())
        else {
            return self.say(number, &json!(["NOTICE", "invalid: no event"]));
        };
        let id = event.id.to_hex();
        let refusal = match &self.fault {
            Fault::Refuse(words) => Some(words.clone()),
            Fault::Pow(bits) if !event.id.check_pow(*bits) => {
                Some(format!("pow: {bits} bits needed"))
            }
            Fault::NoOk => return,
            _ if self.is_stranger(number) => Some("auth-required: who are you?".to_owned()),
            _ if event.verify().is_err() => Some("invalid: bad id or signature".to_owned()),
            _ => None,
        };
        if let Some(words) = refusal {
            return self.say(number, &json!(["OK", id, false, words]));
        }
        let fresh = self.keep(event);
        match self.fault {
            Fault::LoseOk => {}
            Fault::CutBeforeOk => {
                if let Some(conn) = self.conns.get(&number) {
                    conn.cut.cancel();
                }
            }
            _ => {
                let words = if fresh {
                    ""
                } else {
                    "duplicate: already have it"
                };
                self.say(number, &json!(["OK", id, true, words]));
            }
        }
    }

    /// Keeps and sends on. False where it was known.
    pub(super) fn keep(&mut self, event: Event) -> bool {
        if !self.write(event.clone()) {
            return false;
        }
        if self.fault == Fault::Reorder {
            match self.held.take() {
                None => self.held = Some(event),
                Some(earlier) => {
                    self.fan_out(&event);
                    self.fan_out(&earlier);
                }
            }
        } else {
            self.fan_out(&event);
        }
        true
    }

    pub(super) fn write(&mut self, event: Event) -> bool {
        if !self.ids.insert(event.id) {
            return false;
        }
        if let Some(file) = &mut self.record {
            writeln!(file, "{}", event.as_json()).unwrap();
            file.flush().unwrap();
        }
        self.events.push(event);
        true
    }

    pub(super) fn fan_out(&self, event: &Event) {
        for (number, conn) in &self.conns {
            for (sub, filters) in &conn.subs {
                if filters.iter().any(|filter| matches(filter, event)) {
                    self.deliver(*number, sub, event);
                }
            }
        }
    }

    pub(super) fn deliver(&self, number: u64, sub: &str, event: &Event) {
        let times = if self.fault == Fault::Duplicate { 3 } else { 1 };
        let forgery = (self.fault == Fault::Forge).then(|| json!(["EVENT", sub, forged(event)]));
        if let Some(forgery) = &forgery {
            self.say(number, forgery);
        }
        for _ in 0..times {
            self.say(number, &json!(["EVENT", sub, event]));
        }
        if let Some(forgery) = &forgery {
            self.say(number, forgery);
        }
    }

    pub(super) fn request(&mut self, number: u64, parts: &[Value]) {
        self.requests += 1;
        let Some(sub) = parts.get(1).and_then(Value::as_str) else {
            return;
        };
        self.fetches += usize::from(sub.starts_with("vend-get"));
        let filters: Vec<Filter> = parts[2..]
            .iter()
            .filter_map(|value| Filter::from_json(value.to_string()).ok())
            .collect();
        if matches!(
            self.fault,
            Fault::Close(_) | Fault::CloseBare | Fault::CloseOnce(_)
        ) {
            self.say_closed(number, sub);
            if matches!(self.fault, Fault::CloseOnce(_)) {
                self.fault = Fault::None;
            }
            return;
        }
        if self.is_stranger(number) {
            return self.say(
                number,
                &json!(["CLOSED", sub, "auth-required: who are you?"]),
            );
        }
        if self.fault == Fault::Deaf {
            return;
        }
        self.mischief(number, sub);
        for event in self.stored(&filters) {
            self.deliver(number, sub, &event);
        }
        if self.fault != Fault::NoEose {
            self.say(number, &json!(["EOSE", sub]));
        }
        if let Some(conn) = self.conns.get_mut(&number) {
            conn.subs.insert(sub.to_owned(), filters);
        }
    }

    /// What matches, newest first (NIP-01), each filter with its limit.
    pub(super) fn stored(&self, filters: &[Filter]) -> Vec<Event> {
        let mut found: Vec<Event> = Vec::new();
        for filter in filters {
            let mut filter = filter.clone();
            let limit = filter.limit.take().unwrap_or(usize::MAX).min(self.cap);
            if self.fault == Fault::Replay {
                filter.since = None;
            }
            let mut part: Vec<Event> = self
                .events
                .iter()
                .filter(|event| matches(&filter, event))
                .cloned()
                .collect();
            part.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
            part.truncate(limit);
            found.extend(part);
        }
        found.retain(|event| !event.kind.is_ephemeral());
        if self.fault == Fault::Reorder {
            found.reverse();
        }
        found
    }

    pub(super) fn mischief(&self, number: u64, sub: &str) {
        let keys = Keys::generate();
        let say = |event: &Event| self.say(number, &json!(["EVENT", sub, event]));
        match self.fault {
            Fault::Unasked => {
                say(&EventBuilder::text_note("wrong kind")
                    .sign_with_keys(&keys)
                    .unwrap());
                let old = EventBuilder::new(Kind::from_u16(5050), "years old")
                    .custom_created_at(Timestamp::from_secs(1_600_000_000));
                say(&old.sign_with_keys(&keys).unwrap());
            }
            Fault::Forge => {
                let event = EventBuilder::new(Kind::from_u16(5050), "made up")
                    .sign_with_keys(&keys)
                    .unwrap();
                say(&forged(&event));
            }
            Fault::Huge => {
                let content = "x".repeat(20 * 1024 * 1024);
                self.say(number, &json!(["EVENT", sub, { "content": content }]));
            }
            Fault::Garbage => {
                let Some(conn) = self.conns.get(&number) else {
                    return;
                };
                for text in [
                    "",
                    "}{",
                    "[]",
                    "[\"EVENT\"]",
                    "[\"OK\",1,2]",
                    "[\"EVENT\",\"vend-jobs\",{}]",
                    "\u{1b}[2J",
                    "null",
                ] {
                    conn.say(Message::text(text), Duration::ZERO);
                }
                conn.say(Message::binary(vec![0, 255, 7]), Duration::ZERO);
            }
            _ => {}
        }
    }

    pub(super) fn close(&mut self, number: u64, parts: &[Value]) {
        self.closes += 1;
        if let Some(sub) = parts.get(1).and_then(Value::as_str) {
            self.forget(number, sub);
        }
    }

    pub(super) fn authenticate(&mut self, number: u64, parts: &[Value], addr: SocketAddr) {
        let Some(event) = parts
            .get(1)
            .and_then(|value| Event::from_json(value.to_string()).ok())
        else {
            return;
        };
        let tag = |name: &str| {
            let found = event
                .tags
                .iter()
                .find(|tag| tag.as_slice().first().is_some_and(|word| word == name));
            found
                .and_then(|tag| tag.as_slice().get(1).cloned())
                .unwrap_or_default()
        };
        let fresh = event
            .created_at
            .as_secs()
            .abs_diff(Timestamp::now().as_secs())
            < 600;
        let Some(conn) = self.conns.get_mut(&number) else {
            return;
        };
        let good = event.kind == Kind::Authentication
            && event.verify().is_ok()
            && fresh
            && tag("challenge") == conn.challenge
            && tag("relay").contains(&addr.to_string());
        conn.authed |= good;
        let words = if good { "" } else { "invalid: not your answer" };
        self.say(number, &json!(["OK", event.id.to_hex(), good, words]));
    }
}

/// The event's id with another author and other content: what a hostile relay would make of it.
pub fn forged(event: &Event) -> Event {
    let mut forged = EventBuilder::new(event.kind, "forged")
        .custom_created_at(event.created_at)
        .sign_with_keys(&Keys::generate())
        .unwrap();
    forged.id = event.id;
    forged
}

fn matches(filter: &Filter, event: &Event) -> bool {
    filter.match_event(event, MatchEventOptions::new())
}
