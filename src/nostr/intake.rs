//! Judges what a relay sends, cheapest check first, in the task that reads the socket: nothing here waits.
//!
//! Size, kind and age, then the memory of ids, then the bucket, then the signature, then room in the channel. An event that
//! fails for lack of room or of tokens is not remembered: the window is marked as a gap and asked for again (see `session`).

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use nostr::{Event, JsonUtil, Kind, PublicKey, Tag};
use tokio::sync::{Notify, mpsc};

use super::connection::SharedContext;
use super::lock;
use super::parcel::{self, Parcel};
use super::seen::Bucket;
use super::{RelayEvent, RelayUrl, ZAP_WINDOW};
use crate::domain::announce::{self, FLEETING_PING, PING};
use crate::domain::time::Time;
use crate::domain::twin;

/// The most bytes an event may have as JSON, requests aside.
pub(super) const MAX_EVENT: usize = 64 * 1024;

/// The most bytes of a request that is read at all: what a message from a relay of ours may have.
pub(super) const MAX_REQUEST: usize = 1024 * 1024;

/// A ping that is older, seconds, is not answered.
const PING_AGE: u64 = 120;

/// The most bytes of a ping.
const PING_BYTES: usize = 4 * 1024;

/// A tag of a request that is too long is kept where it is no longer than this.
const SHORT_TAG: usize = 256;

/// An event may be this many seconds older than we asked for: clocks and the way here.
const SLACK: u64 = 60;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Handed on.
    Passed,
    /// Known already.
    Known,
    /// Not what we asked for, or not an event.
    Unasked,
    /// Id or signature is wrong.
    Forged,
    /// No token or no room: a gap.
    Dropped,
}

/// The stored events of one answer, to see whether the relay cut it off.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Page {
    /// How many came.
    pub(super) count: usize,
    /// The oldest `created_at` among them.
    pub(super) oldest: Option<u64>,
    /// When the last one came.
    pub(super) last: Option<Instant>,
}

/// One relay's intake.
pub(super) struct Intake {
    shared: Arc<SharedContext>,
    kinds: HashSet<u16>,
    floor: AtomicU64,
    page: Mutex<Page>,
    bucket: Mutex<Bucket>,
    gap: AtomicBool,
    hold: AtomicBool,
    moved: AtomicBool,
    cursor: AtomicU64,
    /// A gap came to be.
    pub(super) gapped: Notify,
}

impl Intake {
    pub(super) fn new(cursor: u64, shared: Arc<SharedContext>) -> Self {
        Self {
            kinds: shared.kinds.iter().copied().collect(),
            floor: AtomicU64::new(0),
            page: Mutex::default(),
            bucket: Mutex::new(Bucket::new(shared.timing.rate, shared.timing.burst)),
            gap: AtomicBool::new(false),
            hold: AtomicBool::new(true),
            moved: AtomicBool::new(false),
            // A clock that once ran ahead must not make us deaf.
            cursor: AtomicU64::new(cursor.min(Time::now().secs())),
            gapped: Notify::new(),
            shared,
        }
    }

    /// Everything up to this moment has come, in Unix seconds; 0 for never.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor.load(Ordering::Relaxed)
    }

    /// Has the cursor moved in this process?
    pub(super) fn moved(&self) -> bool {
        self.moved.load(Ordering::Relaxed)
    }

    /// The page so far.
    pub(super) fn page(&self) -> Page {
        *lock(&self.page)
    }

    /// An answer to a `REQ` from `since` on begins. Until [`Intake::caught_up`] the cursor stands still.
    pub(super) fn begin(&self, since: u64, first: bool) {
        *lock(&self.page) = Page::default();
        self.hold.store(true, Ordering::SeqCst);
        if first {
            self.floor.store(since, Ordering::Relaxed);
        } else {
            self.floor.fetch_min(since, Ordering::Relaxed);
        }
    }

    /// Everything stored has come.
    pub(super) fn caught_up(&self) {
        self.hold.store(false, Ordering::SeqCst);
        self.alive();
    }

    /// Our clock was set: the cursor is no later than now, and the whole window is asked for.
    pub(super) fn clock_stepped(&self) {
        self.cursor.fetch_min(Time::now().secs(), Ordering::Relaxed);
        self.gap.store(true, Ordering::SeqCst);
        self.gapped.notify_one();
    }

    /// Was something dropped since the last time this was asked? From here on the cursor stands still until
    /// [`Intake::caught_up`].
    pub(super) fn take_gap(&self) -> bool {
        if self.has_gap() {
            self.hold.store(true, Ordering::SeqCst);
        }
        self.gap.swap(false, Ordering::SeqCst)
    }

    fn has_gap(&self) -> bool {
        self.gap.load(Ordering::SeqCst)
    }

    /// The relay is known to be healthy now.
    fn alive(&self) {
        if self.has_gap() || self.hold.load(Ordering::SeqCst) {
            return;
        }
        self.cursor.fetch_max(Time::now().secs(), Ordering::Relaxed);
        self.moved.store(true, Ordering::Relaxed);
    }

    /// A request.
    pub(super) fn job(&self, relay: &RelayUrl, json: &str) -> Judged {
        let Some(event) = read(json, MAX_REQUEST) else {
            return Judged::Unasked;
        };
        let created = event.created_at.as_secs();
        if event.kind == Kind::ZapReceipt && self.shared.zaps.is_some() && json.len() <= MAX_EVENT {
            return self.zap(relay, event, json.len());
        }
        if event.pubkey == self.shared.us && self.shared.named.is_none() && self.is_own(&event) {
            return self.own(relay, event, json.len());
        }
        if is_ping(&event) && self.shared.named.is_none() {
            return self.ping(relay, event, json.len());
        }
        if !self.kinds.contains(&event.kind.as_u16())
            || created < self.oldest_wanted()
            || self.shared.named.is_some_and(|us| !names(&event, us))
        {
            return Judged::Unasked;
        }
        self.turn(created);
        let judged = self.admit(relay, event, json.len());
        if judged == Judged::Passed {
            self.alive();
        }
        judged
    }

    /// A ping. It says nothing of where in the requests we are, and is of no use when it is old.
    fn ping(&self, relay: &RelayUrl, event: Event, bytes: usize) -> Judged {
        let ours = names(&event, self.shared.us);
        let oldest = Time::now().secs().saturating_sub(PING_AGE);
        if !ours || bytes > PING_BYTES || event.created_at.as_secs() < oldest {
            return Judged::Unasked;
        }
        self.admit(relay, event, bytes)
    }

    /// What we ask for of our own key: see `catch_up::own_filters`.
    fn is_own(&self, event: &Event) -> bool {
        let kind = event.kind.as_u16();
        announce::KINDS.contains(&kind)
            || kind == twin::CLAIM
            || kind
                .checked_sub(1_000)
                .is_some_and(|request| self.kinds.contains(&request))
    }

    /// An event of our own key. It says nothing of where in the requests we are.
    fn own(&self, relay: &RelayUrl, event: Event, bytes: usize) -> Judged {
        match self.admit(relay, event, bytes) {
            // Nothing for the counts, as most of it is what we have sent; and no gap: what another machine does it does again.
            Judged::Passed | Judged::Dropped => Judged::Known,
            judged => judged,
        }
    }

    /// A zap receipt (NIP-57). It says nothing of where in the requests we are.
    fn zap(&self, relay: &RelayUrl, event: Event, bytes: usize) -> Judged {
        let oldest = Time::now()
            .secs()
            .saturating_sub(ZAP_WINDOW.as_secs() + SLACK);
        let ours = self.shared.zaps.is_some_and(|us| names(&event, us));
        if !ours || event.created_at.as_secs() < oldest {
            return Judged::Unasked;
        }
        self.admit(relay, event, bytes)
    }

    /// A cancellation (NIP-09).
    pub(super) fn cancel(&self, relay: &RelayUrl, json: &str) -> Judged {
        let Some(event) = read(json, MAX_EVENT) else {
            return Judged::Unasked;
        };
        let watched = self.shared.cancels.borrow();
        let ours = event.kind == Kind::EventDeletion
            && event.tags.event_ids().any(|id| watched.contains(id));
        drop(watched);
        if !ours {
            return Judged::Unasked;
        }
        self.admit(relay, event, json.len())
    }

    /// An event that was fetched by id: read and verified, or none.
    pub(super) fn fetched(&self, json: &str) -> Result<Event, Judged> {
        let event = read(json, MAX_EVENT).ok_or(Judged::Unasked)?;
        if !lock(&self.bucket).take_for(json.len(), Instant::now()) {
            return Err(Judged::Dropped);
        }
        event.verify().map_err(|_| Judged::Forged)?;
        Ok(event)
    }

    fn admit(&self, relay: &RelayUrl, event: Event, bytes: usize) -> Judged {
        if lock(&self.shared.seen).contains(&event.id) {
            // Cheap, and tells a copy from a forgery that borrows a known id.
            if event.verify_id() {
                return Judged::Known;
            }
            return self.forged(relay, &event);
        }
        if !lock(&self.bucket).take_for(bytes, Instant::now()) {
            return self.dropped();
        }
        if event.verify().is_err() {
            return self.forged(relay, &event);
        }
        let is_own =
            event.pubkey == self.shared.us && self.shared.named.is_none() && self.is_own(&event);
        let is_ping = is_ping(&event);
        let signs = &self.shared.news.signs;
        if (is_ping || is_own) && signs.capacity() * 2 < signs.max_capacity() {
            // Whoever pings asks again; health has this way too.
            return Judged::Known;
        }
        let way = if is_own {
            signs
        } else {
            self.shared.news.of(event.kind)
        };
        let permit = match way.try_reserve() {
            // It is only shown, and is asked for again with the next subscription.
            Err(mpsc::error::TrySendError::Full(())) if event.kind == Kind::ZapReceipt => {
                return Judged::Dropped;
            }
            Ok(permit) => permit,
            Err(mpsc::error::TrySendError::Full(())) => return self.dropped(),
            // Nobody listens any more: the shop is closing.
            Err(mpsc::error::TrySendError::Closed(())) => return Judged::Known,
        };
        let too_long = bytes > self.shared.longest_request().max(MAX_EVENT);
        let kept = if too_long { 0 } else { bytes };
        let Some(room) = parcel::reserve(&self.shared.room, kept) else {
            return self.dropped();
        };
        if !lock(&self.shared.seen).insert(event.id) {
            return Judged::Known;
        }
        let relay = relay.clone();
        permit.send(if is_own {
            let event = Parcel::new(event, room);
            RelayEvent::Own { event }
        } else if is_ping {
            let event = Parcel::new(event, room);
            RelayEvent::Ping { relay, event }
        } else if too_long {
            let event = Parcel::new(shortened(&event), room);
            RelayEvent::TooLong { relay, event }
        } else {
            let event = Parcel::new(event, room);
            RelayEvent::Event { relay, event }
        });
        Judged::Passed
    }

    fn forged(&self, relay: &RelayUrl, event: &Event) -> Judged {
        self.report(RelayEvent::Unverified {
            relay: relay.clone(),
            id: event.id,
            pubkey: event.pubkey,
        });
        Judged::Forged
    }

    /// Tells what is good to know and no loss: not while the channel is more than half full.
    pub(super) fn report(&self, report: RelayEvent) {
        let news = &self.shared.news.signs;
        if news.capacity() > news.max_capacity() / 2 {
            // Where the channel closes meanwhile, nobody wants it.
            let _ = news.try_send(report);
        }
    }

    fn dropped(&self) -> Judged {
        self.ask_again();
        Judged::Dropped
    }

    /// Something that is wanted was not taken: all of the time that is of interest is asked for again.
    pub(super) fn ask_again(&self) {
        if !self.gap.swap(true, Ordering::SeqCst) {
            self.gapped.notify_one();
        }
    }

    fn oldest_wanted(&self) -> u64 {
        let floor = self.floor.load(Ordering::Relaxed);
        let age = self.shared.max_age().saturating_add(SLACK);
        floor.max(Time::now().secs().saturating_sub(age))
    }

    fn turn(&self, created: u64) {
        let mut page = lock(&self.page);
        page.count += 1;
        page.oldest = Some(page.oldest.map_or(created, |oldest| oldest.min(created)));
        page.last = Some(Instant::now());
    }
}

fn is_ping(event: &Event) -> bool {
    [PING, FLEETING_PING].contains(&event.kind.as_u16())
}

fn names(event: &Event, us: PublicKey) -> bool {
    event.tags.public_keys().any(|key| *key == us)
}

fn read(json: &str, most: usize) -> Option<Event> {
    if json.len() > most {
        return None;
    }
    Event::from_json(json).ok()
}

/// What is needed to refuse a request: whose it is, whom it asks, and when.
fn shortened(event: &Event) -> Event {
    let short = |tag: &&Tag| tag.as_slice().iter().map(String::len).sum::<usize>() <= SHORT_TAG;
    let tags = event.tags.iter().filter(short).take(64).cloned();
    let (id, author, sig) = (event.id, event.pubkey, event.sig);
    let tags: Vec<Tag> = tags.collect();
    Event::new(id, author, event.created_at, event.kind, tags, "", sig)
}
