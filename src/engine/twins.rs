//! Notices another machine that sells with this key, by results that we have not signed, and settles which of the two goes: see
//! `domain::twin`. Also keeps what relays hold of our own announcements, for `announce`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nostr::{Event as Signed, EventId};
use tokio::sync::Notify;

use super::announce::{Place, is_our_identifier, place_of};
use super::context::EngineContext;
use super::mint;
use crate::domain::announce;
use crate::domain::event::{EventKind, Level};
use crate::domain::health::{Check, CheckKind, CheckStatus};
use crate::domain::time::Time;
use crate::domain::twin::{self, AWAY, Claim, Machine};

/// It stays red for so long after the other machine was heard last.
const RED_FOR: Duration = Duration::from_secs(300);
/// Between two words of ours: the other one's results may be many.
const CLAIM_EVERY: Duration = Duration::from_secs(5);
/// Words of ours that are remembered.
const CLAIMS: usize = 32;
/// Announcements of ours that are remembered: more offers than anybody has.
const ANNOUNCED: usize = 256;
/// How long the relays may take for a word.
const SAYING: Duration = Duration::from_secs(15);

/// What is known of other machines with this key.
#[derive(Debug, Default)]
pub struct Twins {
    inner: Mutex<Inner>,
    /// Rings when it is for us to go.
    pub leave: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Since when we sell.
    us: Option<Machine>,
    heard: Option<Instant>,
    words: String,
    /// Why we went, until we are told to go online again.
    gone: Option<String>,
    claimed: Option<Instant>,
    claims: VecDeque<EventId>,
    /// Our announcements as relays hold them: the newest of each.
    announced: HashMap<Place, Held>,
}

/// An announcement of ours that a relay has shown.
#[derive(Clone, Copy, Debug)]
struct Held {
    id: EventId,
    /// When it is dated, in seconds.
    at: u64,
    /// It names kinds that are taken.
    open: bool,
}

impl Twins {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// We go online.
    pub fn begin(&self, since: Time, boot: String) {
        let mut inner = self.lock();
        let since = since.secs();
        inner.us = Some(Machine { since, boot });
        inner.gone = None;
        inner.heard = None;
        inner.words.clear();
    }

    /// Red, while another machine is there.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let inner = self.lock();
        let lately = inner.heard.is_some_and(|at| at.elapsed() < RED_FOR);
        (lately && !inner.words.is_empty()).then(|| inner.words.clone())
    }

    /// Why we are offline, where it is for another machine.
    #[must_use]
    pub fn gone(&self) -> Option<String> {
        self.lock().gone.clone()
    }

    /// The newest of our announcements of this place that a relay has shown, and when it is dated.
    #[must_use]
    pub fn announced(&self, place: &Place) -> Option<(EventId, u64)> {
        let inner = self.lock();
        inner.announced.get(place).map(|held| (held.id, held.at))
    }

    /// The identifiers of our offers that relays show as open.
    #[must_use]
    pub fn offered(&self) -> Vec<String> {
        let inner = self.lock();
        let open = inner.announced.iter().filter(|(_, held)| held.open);
        open.map(|(place, _)| place.1.clone()).collect()
    }

    fn keep(&self, event: &Signed) {
        // Other programs of this key have handlers and heartbeats of their own.
        let theirs = |name: &str| !is_our_identifier(name);
        if event.tags.identifier().is_some_and(theirs) {
            return;
        }
        let place = place_of(event.kind, &event.tags);
        let handler = place.0 == announce::HANDLER_INFO;
        let held = Held {
            id: event.id,
            at: event.created_at.as_secs(),
            open: handler && event.tags.iter().any(|tag| tag.as_slice()[0] == "k"),
        };
        let mut inner = self.lock();
        if inner.announced.len() >= ANNOUNCED && !inner.announced.contains_key(&place) {
            return;
        }
        let newest = inner.announced.entry(place).or_insert(held);
        if held.at > newest.at {
            *newest = held;
        }
    }

    /// May we say since when we sell? A yes counts.
    fn may_claim(&self) -> bool {
        let mut inner = self.lock();
        let lately = inner.claimed.is_some_and(|at| at.elapsed() < CLAIM_EVERY);
        if !lately {
            inner.claimed = Some(Instant::now());
        }
        !lately
    }
}

/// Judges an event of our own key. May take as long as the relays do to take an answer.
pub(super) async fn heard(shop: Arc<EngineContext>, event: Signed) {
    let kind = event.kind.as_u16();
    if announce::KINDS.contains(&kind) {
        return shop.twins.keep(&event);
    }
    let Some(us) = shop.twins.lock().us.clone() else {
        return;
    };
    let about = event.id;
    if kind == twin::CLAIM {
        let now = shop.signed_at(None);
        let claim = twin::read(&event, now).filter(|claim| claim.machine.boot != us.boot);
        let Some(claim) = claim else { return };
        if !is_ours(&shop, &claim.about).await {
            return;
        }
        met(&shop, &us, Some(&claim.machine));
    } else {
        // Older ones are of an earlier run, or of a ledger that was lost.
        if event.created_at.as_secs() < us.since || is_ours(&shop, &event.id).await {
            return;
        }
        met(&shop, &us, None);
    }
    if shop.twins.may_claim() {
        let machine = us;
        say(&shop, &Claim { machine, about }).await;
    }
}

/// Did we sign it?
async fn is_ours(shop: &EngineContext, id: &EventId) -> bool {
    if shop.twins.lock().claims.contains(id) {
        return true;
    }
    match shop.ledger.has_signed(*id).await {
        Ok(ours) => ours,
        Err(error) => {
            shop.ledger_failed(&error);
            // Nothing is concluded from what can't be read.
            true
        }
    }
}

fn met(shop: &EngineContext, us: &Machine, other: Option<&Machine>) {
    let at = |secs: u64| Time::from_secs(secs).to_string();
    let goes = other.is_some_and(|other| twin::goes(us, other));
    let words = match other {
        None => format!(
            "{AWAY}: a result that this one has not signed is on the relays. Each request is answered and charged twice: stop one of the two"
        ),
        Some(other) if goes => format!(
            "{AWAY}, since {}: this one, the later, went offline. Stop the other one first, or give this one a key of its own (`vend keys generate`)",
            at(other.since)
        ),
        Some(other) => format!(
            "{AWAY}, since {}: it is the later one and goes offline",
            at(other.since)
        ),
    };
    let news = {
        let mut inner = shop.twins.lock();
        inner.heard = Some(Instant::now());
        // What the other one has said of itself says more than a result of it.
        let news = inner.words.is_empty() || (other.is_some() && inner.words != words);
        if news {
            inner.words.clone_from(&words);
        }
        if goes {
            inner.gone = Some(words.clone());
        }
        news
    };
    if news {
        shop.notice(Level::Error, "shop", &words);
        shop.emit(EventKind::Check {
            check: Check {
                check: CheckKind::Identity,
                target: "this key".to_owned(),
                status: CheckStatus::Fail,
                detail: words,
                fix: "vend stop".to_owned(),
            },
        });
        shop.wakers.health.notify_one();
    }
    if goes {
        shop.twins.leave.notify_one();
    }
}

/// Says since when we sell, on each of our relays.
async fn say(shop: &Arc<EngineContext>, claim: &Claim) {
    let Some(connections) = shop.connections() else {
        return;
    };
    let unsigned = twin::claim(&shop.keys.public_key(), claim, shop.signed_at(None));
    let event = match mint::sign(shop.keys.clone(), unsigned, shop.work_wanted()).await {
        Ok(event) => event,
        Err(error) => return shop.notice(Level::Error, "shop", &error.to_string()),
    };
    {
        let mut inner = shop.twins.lock();
        if inner.claims.len() >= CLAIMS {
            inner.claims.pop_front();
        }
        inner.claims.push_back(event.id);
    }
    // One relay that both machines listen to is enough; the next result brings the next word.
    let _ = tokio::time::timeout(SAYING, shop.publish_once(&connections, &event)).await;
}
