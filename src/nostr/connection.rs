//! The connection to one relay: what its socket, its listener and those who publish share.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nostr::{Event, EventId, PublicKey, RelayUrl};
use nostr_sdk::Relay;
use serde_json::value::RawValue;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

use super::asks::Asks;
use super::health::HealthIndicator;
use super::intake::{Intake, Judged, MAX_REQUEST};
use super::parcel;
use super::seen::SeenEvents;
use super::words::WORDS;
use super::{Outlets, RelayEvent, RelaysConfig, Timing, lock};
use crate::domain::drift::Drift;
use crate::domain::text::clean;

/// The most bytes a frame may have: an event and its envelope.
const MAX_FRAME: usize = MAX_REQUEST + 1024;

/// The most bytes of a frame that is not an event.
const MAX_WORDS_FRAME: usize = 16 * 1024;

/// The longest NIP-42 challenge that is answered.
const MAX_CHALLENGE: usize = 1024;

/// Room for a relay's control messages. On overflow everything is asked for again.
const CONTROLS: usize = 64;

/// The shortest time between two NOTICEs that are told.
const NOTICE_GAP: Duration = Duration::from_secs(10);

/// The same NOTICE is told again after this long.
const NOTICE_AGAIN: Duration = Duration::from_secs(600);

/// Events that may wait for their `OK` on one relay.
const MAX_WAITING: usize = 1024;

/// What all lines share.
pub(super) struct SharedContext {
    pub(super) kinds: Vec<u16>,
    /// See [`SharedContext::max_age`].
    max_age_secs: AtomicU64,
    /// Our key.
    pub(super) us: PublicKey,
    /// Our key, where zap receipts that name it are asked for.
    pub(super) zaps: Option<PublicKey>,
    /// Our key, where only what names it is asked for.
    pub(super) named: Option<PublicKey>,
    /// The most proof of work for one event, bits.
    pub(super) max_pow: u8,
    /// The longest request that is worth reading, bytes.
    longest_request: AtomicUsize,
    /// Room for events on their way to the shop.
    pub(super) room: Arc<Semaphore>,
    pub(super) timing: Timing,
    pub(super) seen: Mutex<SeenEvents>,
    pub(super) cancels: watch::Receiver<Vec<EventId>>,
    pub(super) news: Outlets,
    pub(super) changed: Arc<Notify>,
}

impl SharedContext {
    pub(super) fn new(
        config: &RelaysConfig,
        news: Outlets,
        cancels: watch::Receiver<Vec<EventId>>,
        changed: Arc<Notify>,
    ) -> Self {
        Self {
            kinds: config.kinds.clone(),
            max_age_secs: AtomicU64::new(config.max_age.as_secs()),
            us: config.keys.public_key(),
            zaps: config.zaps.then(|| config.keys.public_key()),
            named: config.only_ours.then(|| config.keys.public_key()),
            max_pow: config.max_pow,
            longest_request: AtomicUsize::new(config.longest_request),
            room: parcel::room(),
            timing: config.timing.clone(),
            seen: Mutex::default(),
            cancels,
            news,
            changed,
        }
    }

    /// Events older than this are never asked for, seconds.
    pub(super) fn max_age(&self) -> u64 {
        self.max_age_secs.load(Ordering::Relaxed)
    }

    /// The longest request that is worth reading, bytes.
    pub(super) fn longest_request(&self) -> usize {
        self.longest_request.load(Ordering::Relaxed)
    }

    /// Other limits; true where they let in what was left out before.
    pub(super) fn set_limits(&self, max_age: Duration, longest_request: usize) -> bool {
        let older = self.max_age_secs.swap(max_age.as_secs(), Ordering::Relaxed);
        let longer = self
            .longest_request
            .swap(longest_request, Ordering::Relaxed);
        max_age.as_secs() > older || longest_request > longer
    }
}

/// The connection's state.
#[derive(Clone, Debug)]
pub(super) enum ConnectionState {
    /// Being made.
    Connecting,
    /// Made.
    Up(Box<Relay>),
    /// Failed or lost; why, in plain words.
    Down(String),
    /// Ended by us, as it did not answer; why, in plain words.
    Left(String),
    /// Never again on this connection.
    Gone,
}

/// NIP-42 on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    /// Not asked for.
    None,
    /// The relay sent a challenge.
    Asked,
    /// The relay took our answer.
    Done,
    /// It did not.
    Failed,
}

/// Our subscriptions, each with its fixed id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sub {
    /// Requests.
    Jobs,
    /// The older part of a long catch-up.
    More,
    /// Cancellations.
    Cancel,
}

impl Sub {
    pub(super) const fn id(self) -> &'static str {
        match self {
            Self::Jobs => "vend-jobs",
            Self::More => "vend-more",
            Self::Cancel => "vend-cancel",
        }
    }

    fn named(id: &str) -> Option<Self> {
        [Self::Jobs, Self::More, Self::Cancel]
            .into_iter()
            .find(|sub| sub.id() == id)
    }
}

/// What the listener must know of what a relay said.
#[derive(Debug)]
pub(super) enum Control {
    /// Everything stored was sent.
    Eose(Sub),
    /// The relay ended it; its words, uncleaned but bounded.
    Closed(Sub, String),
}

/// A relay's `OK`.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) accepted: bool,
    pub(super) message: String,
}

/// Who waits for a fetch on this connection.
pub(super) struct Get {
    /// What this relay has not sent yet: it is asked for each id once.
    pub(super) wanted: HashSet<EventId>,
    /// Takes what was found, and none at the end.
    pub(super) found: mpsc::Sender<Option<Event>>,
    /// The relay has said that it has no more.
    pub(super) ended: bool,
}

/// The prefix of the subscription ids of fetches.
pub(super) const GET: &str = "vend-get-";

/// The connection to one relay.
pub(super) struct RelayConnection {
    pub(super) url: RelayUrl,
    pub(super) own: bool,
    /// What it wants of events.
    asks: Mutex<Asks>,
    pub(super) health: HealthIndicator,
    pub(super) intake: Intake,
    /// How far its clock is off ours, by its HTTP answers.
    pub(super) clock: Drift,
    pub(super) state: watch::Sender<ConnectionState>,
    pub(super) auth: watch::Sender<Auth>,
    /// Sockets of this connection that are not closed yet.
    pub(super) sockets: watch::Sender<usize>,
    /// Users of a connection that is not our own.
    pub(super) users: watch::Sender<usize>,
    /// A `CLOSE` has left.
    pub(super) parted: Notify,
    /// Control messages were lost.
    pub(super) missed: AtomicBool,
    /// Its address may not be connected to.
    forbidden: AtomicBool,
    /// It ended the connection over the size of the one event that waited for its `OK`.
    too_big: AtomicBool,
    pub(super) gets: Mutex<HashMap<String, Get>>,
    /// Why the connection failed or ended, where the socket told.
    ended: Mutex<Option<String>>,
    epoch: AtomicU64,
    heard: Mutex<Instant>,
    /// The last NOTICE that was told, and when.
    noticed: Mutex<Option<(String, Instant)>>,
    controls: mpsc::Sender<Control>,
    oks: Mutex<HashMap<EventId, Vec<oneshot::Sender<Answer>>>>,
}

impl RelayConnection {
    pub(super) fn new(
        url: RelayUrl,
        own: bool,
        cursor: u64,
        shared: Arc<SharedContext>,
    ) -> (Arc<Self>, mpsc::Receiver<Control>) {
        let (controls, inbox) = mpsc::channel(CONTROLS);
        let connection = Self {
            health: HealthIndicator::new(url.to_string(), shared.changed.clone()),
            url,
            own,
            asks: Mutex::default(),
            intake: Intake::new(cursor, shared),
            clock: Drift::default(),
            state: watch::Sender::new(ConnectionState::Connecting),
            auth: watch::Sender::new(Auth::None),
            sockets: watch::Sender::new(0),
            users: watch::Sender::new(0),
            parted: Notify::new(),
            missed: AtomicBool::new(false),
            forbidden: AtomicBool::new(false),
            too_big: AtomicBool::new(false),
            gets: Mutex::default(),
            ended: Mutex::default(),
            epoch: AtomicU64::new(0),
            heard: Mutex::new(Instant::now()),
            noticed: Mutex::default(),
            controls,
            oks: Mutex::default(),
        };
        (Arc::new(connection), inbox)
    }

    /// A new connection begins: its number. Frames of the ones before are ignored from now on.
    pub(super) fn begin(&self) -> u64 {
        self.auth.send_replace(Auth::None);
        lock(&self.ended).take();
        self.too_big.store(false, Ordering::SeqCst);
        *lock(&self.heard) = Instant::now();
        self.epoch.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The connection is over: nobody gets an answer on it any more.
    pub(super) fn end(&self, state: ConnectionState) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        // Before those who wait are let go: they look why.
        self.state.send_replace(state);
        lock(&self.oks).clear();
        lock(&self.gets).clear();
    }

    /// It closes the connection because a message is too big. Which one is known where one alone is under way.
    pub(super) fn closed_over_size(&self) {
        let one = lock(&self.oks).len() == 1;
        self.too_big.store(one, Ordering::SeqCst);
    }

    /// Did it end this connection over the size of the one event that waited?
    pub(super) fn was_too_big(&self) -> bool {
        self.too_big.load(Ordering::SeqCst)
    }

    /// What it wants of events, read or changed.
    pub(super) fn asks<T>(&self, look: impl FnOnce(&mut Asks) -> T) -> T {
        look(&mut lock(&self.asks))
    }

    /// What it wants has changed: said where that is more work than the seller's settings allow.
    pub(super) fn judge_pow(&self, most: u8) {
        let (bits, longest) = self.asks(|asks| (asks.pow(Instant::now()), asks.known_longest()));
        self.health.count(|health| {
            health.pow = bits;
            health.longest = longest;
        });
        if bits > most {
            self.health.refuses(Some(format!(
                "wants {bits} bits of proof of work and gets no events: nostr.max_pow_bits is {most}. Raise it, or take the relay off nostr.relays"
            )));
        }
    }

    /// Its address may not be connected to, now or later.
    pub(super) fn forbid(&self) {
        self.forbidden.store(true, Ordering::SeqCst);
    }

    /// May its address not be connected to?
    pub(super) fn is_forbidden(&self) -> bool {
        self.forbidden.load(Ordering::SeqCst)
    }

    /// Keeps why the connection failed or ended; the first reason counts.
    pub(super) fn blame(&self, why: String) {
        lock(&self.ended).get_or_insert(why);
    }

    /// Why the connection failed or ended.
    pub(super) fn blamed(&self) -> Option<String> {
        lock(&self.ended).take()
    }

    /// When the last frame came, pongs included.
    pub(super) fn heard(&self) -> Instant {
        *lock(&self.heard)
    }

    /// Is this the connection in use?
    pub(super) fn is_current(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::SeqCst) == epoch
    }

    /// A frame of any sort came.
    pub(super) fn mark_heard(&self) {
        *lock(&self.heard) = Instant::now();
    }

    /// Waits for an `OK` to this event. Drop the receiver to stop waiting. None where too many wait.
    pub(super) fn await_ok(&self, id: EventId) -> Option<oneshot::Receiver<Answer>> {
        let (sender, receiver) = oneshot::channel();
        let mut oks = lock(&self.oks);
        if oks.len() >= MAX_WAITING {
            oks.retain(|_, waiting| waiting.iter().any(|one| !one.is_closed()));
            if oks.len() >= MAX_WAITING {
                return None;
            }
        }
        oks.entry(id).or_default().push(sender);
        Some(receiver)
    }

    /// A text frame: what of it nostr-sdk is to see, which is NIP-42 alone.
    pub(super) fn text(&self, frame: &str) -> Option<String> {
        let frame = frame.trim();
        if frame.len() > MAX_FRAME {
            return self.fault();
        }
        let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(frame) else {
            return self.fault();
        };
        let word = |n: usize| {
            parts
                .get(n)
                .and_then(|part| serde_json::from_str::<String>(part.get()).ok())
        };
        let verb = word(0).unwrap_or_default();
        if verb == "EVENT" {
            let (Some(sub), Some(event)) = (word(1), parts.get(2)) else {
                return self.fault();
            };
            self.event(&sub, event.get());
            return None;
        }
        if frame.len() > MAX_WORDS_FRAME {
            return self.fault();
        }
        match (verb.as_str(), word(1)) {
            ("OK", Some(id)) => {
                let accepted = parts.get(2).is_some_and(|part| part.get() == "true");
                self.ok(&id, accepted, &word(3).unwrap_or_default())
            }
            ("EOSE", Some(id)) => self.ended_get(&id, Control::Eose),
            ("CLOSED", Some(id)) => {
                let words = word(2).unwrap_or_default();
                self.ended_get(&id, |sub| Control::Closed(sub, words))
            }
            ("AUTH", Some(challenge)) if challenge.len() <= MAX_CHALLENGE => {
                self.auth.send_replace(Auth::Asked);
                Some(frame.to_owned())
            }
            ("NOTICE", Some(words)) => {
                self.notice(clean(&words, WORDS));
                None
            }
            ("COUNT" | "NEG-MSG" | "NEG-ERR", _) => None,
            _ => self.fault(),
        }
    }

    /// A relay's words for people: told, but never at a flood's pace.
    fn notice(&self, words: String) {
        let now = Instant::now();
        let mut last = lock(&self.noticed);
        if let Some((said, at)) = &*last {
            let passed = now.saturating_duration_since(*at);
            if passed < NOTICE_GAP || (*said == words && passed < NOTICE_AGAIN) {
                return;
            }
        }
        *last = Some((words.clone(), now));
        drop(last);
        self.intake.report(RelayEvent::Notice {
            relay: self.url.clone(),
            words,
        });
    }

    /// A frame that no relay should send.
    pub(super) fn fault(&self) -> Option<String> {
        self.health.count(|health| health.faults += 1);
        None
    }

    fn event(&self, sub: &str, json: &str) {
        let judged = match Sub::named(sub) {
            Some(Sub::Jobs | Sub::More) => self.intake.job(&self.url, json),
            Some(Sub::Cancel) => self.intake.cancel(&self.url, json),
            None if sub.starts_with(GET) => self.got(sub, json),
            None => Judged::Unasked,
        };
        match judged {
            Judged::Passed => self.health.count(|health| health.events += 1),
            Judged::Unasked | Judged::Forged => self.health.count(|health| health.faults += 1),
            Judged::Known | Judged::Dropped => {}
        }
    }

    fn got(&self, sub: &str, json: &str) -> Judged {
        let open = lock(&self.gets).contains_key(sub);
        if !open {
            // A fetch that has ended meanwhile.
            return Judged::Known;
        }
        let event = match self.intake.fetched(json) {
            Ok(event) => event,
            Err(judged) => return judged,
        };
        if let Some(get) = lock(&self.gets).get_mut(sub)
            && get.wanted.remove(&event.id)
        {
            // There is room for every wanted id of each connection.
            let _ = get.found.try_send(Some(event));
            return Judged::Known;
        }
        Judged::Unasked
    }

    fn ok(&self, id: &str, accepted: bool, message: &str) -> Option<String> {
        let Ok(event) = EventId::from_hex(id) else {
            return self.fault();
        };
        if let Some(waiting) = lock(&self.oks).remove(&event) {
            for one in waiting {
                let message = message.to_owned();
                // Whoever does not wait any more is not told.
                let _ = one.send(Answer { accepted, message });
            }
            return None;
        }
        // The answer to our AUTH, rebuilt so that it is short and whole.
        (*self.auth.borrow() == Auth::Asked)
            .then(|| serde_json::json!(["OK", id, accepted, clean(message, WORDS)]).to_string())
    }

    fn ended_get(&self, id: &str, control: impl FnOnce(Sub) -> Control) -> Option<String> {
        if let Some(sub) = Sub::named(id) {
            if self.controls.try_send(control(sub)).is_err() {
                self.missed.store(true, Ordering::SeqCst);
            }
        } else if let Some(get) = lock(&self.gets).get_mut(id)
            && !std::mem::replace(&mut get.ended, true)
        {
            // There is room for one end of each connection.
            let _ = get.found.try_send(None);
        }
        None
    }
}
