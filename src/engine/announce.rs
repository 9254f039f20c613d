//! Lets buyers find the shop: handler info (NIP-89), profile, relay list, heartbeat. No part of any sale.
//!
//! What is said is compared with what was said last, so a changed setting is told within seconds. A relay that does not take it
//! is tried again, later each time, and holds up no other.

mod handlers;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nostr::{
    Event as Signed, EventBuilder, EventId, Kind, RelayUrl, Tag, Timestamp, UnsignedEvent,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::handlers::Speeds;
pub(super) use self::handlers::{Place, is_our_identifier, place_of};
use super::context::{Connections, EngineContext};
use super::mint;
use crate::domain::announce::{self, HEARTBEAT_SECS};
use crate::domain::event::{EventKind, Level};
use crate::domain::time::Time;
use crate::nostr::Verdict;

/// Between two looks at what is to be said.
const LOOK: Duration = Duration::from_secs(2);
/// The first and the longest pause after a relay did not take an announcement for now.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// The same after it refused.
const AFTER_REFUSAL: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(21_600));
/// A measured speed that changes is told at most this often.
const SPEED_EVERY: Duration = Duration::from_secs(600);
/// An announcement is dated this much ahead at most: relays take 15 minutes.
const AHEAD: Duration = Duration::from_secs(600);
/// What another machine, or an earlier clock, has announced is said anew at most this often.
const OVERRIDE_EVERY: Duration = Duration::from_secs(60);
/// The longest that deleting an announcement may take.
const DELETING: Duration = Duration::from_secs(10);
/// The longest the farewell may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// Announces for as long as the shop is online, and takes it back at the end.
pub async fn work(shop: Arc<EngineContext>, connections: Connections, stop: CancellationToken) {
    let mut board = Board::new(shop, connections);
    loop {
        if board.shop.settings().nostr.announce {
            board.renew().await;
            board.send();
        }
        tokio::select! {
            () = stop.cancelled() => break,
            Some(done) = board.sending.join_next(), if !board.sending.is_empty() => {
                if let Ok(said) = done {
                    board.settle(said);
                }
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    board.sending.shutdown().await;
    if board.shop.settings().nostr.announce {
        // A relay that does not answer keeps nobody from going offline: the heartbeat ends by itself.
        let _ = tokio::time::timeout(FAREWELL, board.take_back()).await;
    }
}

/// The date of the next announcement of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// This one: later than the last one, as relays keep the newest.
    At(Time),
    /// The clock is not there yet, by less than a second.
    Wait,
    /// The last one was dated under a wrong clock, so far ahead that no relay would take a later one: it is to be deleted.
    Delete,
}

/// What the next announcement is dated, where the last one is of this second.
#[must_use]
pub fn stamp(now: Time, last: Option<u64>) -> Stamp {
    match last {
        Some(last) if last == now.secs() => Stamp::Wait,
        Some(last) if last > now.secs() => {
            if last - now.secs() < AHEAD.as_secs() {
                Stamp::At(Time::from_secs(last + 1))
            } else {
                Stamp::Delete
            }
        }
        _ => Stamp::At(now),
    }
}

/// One relay that has not taken an announcement yet.
struct Try {
    times: u32,
    at: Instant,
    under_way: bool,
}

/// One announcement as it stands.
struct Notice {
    event: Signed,
    /// What it says; the same again is not told again.
    says: (Vec<Vec<String>>, String),
    /// It is to be signed anew all the same.
    stale: bool,
    tries: HashMap<RelayUrl, Try>,
}

struct Board {
    shop: Arc<EngineContext>,
    connections: Connections,
    said: HashMap<Place, Notice>,
    speeds: Speeds,
    measured: Option<Instant>,
    beat: Option<Instant>,
    /// The announcements that our last heartbeat was for.
    beaten: Vec<String>,
    /// Our last heartbeat said that it was the last.
    ended: bool,
    /// Announcements that were deleted, and when another one's was last said anew.
    deleted: HashSet<EventId>,
    overridden: Option<Instant>,
    sending: JoinSet<(Place, RelayUrl, Signed, Verdict)>,
}

impl Board {
    fn new(shop: Arc<EngineContext>, connections: Connections) -> Self {
        Self {
            shop,
            connections,
            said: HashMap::new(),
            speeds: Speeds::new(),
            measured: None,
            beat: None,
            beaten: Vec::new(),
            ended: false,
            deleted: HashSet::new(),
            overridden: None,
            sending: JoinSet::new(),
        }
    }

    /// Signs anew what says something else than before, and the heartbeat when it is time.
    async fn renew(&mut self) {
        self.measure();
        let (settings, us) = (self.shop.settings(), self.shop.keys.public_key());
        let now = self.shop.signed_at(None);
        // While the machine's owner has use for it, it takes no kinds and is not there, as offline.
        let paused = self.shop.pauses();
        let identifiers = handlers::identifiers(&settings);
        let mut wanted = handlers::all(&us, &settings, &self.speeds, !paused, now);
        wanted.extend(self.no_longer_sold(&identifiers, now));
        let nostr = &settings.nostr;
        wanted.extend(announce::profile(
            &us,
            &nostr.name,
            "",
            &nostr.lightning_address,
            now,
        ));
        wanted.push(announce::relay_list(&us, &nostr.relays, now));
        let due = if paused {
            !self.ended
        } else {
            let long_ago = |at: Instant| at.elapsed().as_secs() >= HEARTBEAT_SECS;
            self.ended || self.beat.is_none_or(long_ago) || self.beaten != identifiers
        };
        if nostr.heartbeat && due {
            wanted.push(announce::heartbeat(&us, &identifiers, paused, now));
        }
        for unsigned in wanted {
            self.say(unsigned, now).await;
        }
    }

    async fn say(&mut self, mut unsigned: UnsignedEvent, now: Time) {
        let place = place_of(unsigned.kind, &unsigned.tags);
        let kind = place.0;
        let tags = unsigned.tags.iter().map(|tag| tag.clone().to_vec());
        let says = (tags.collect(), unsigned.content.clone());
        let others = self.hidden_by(&place, now);
        let last = self.said.get(&place);
        if last.is_some_and(|last| last.says == says && !last.stale) && others.is_none() {
            return;
        }
        let ours = last.map(|last| (last.event.id, last.event.created_at.as_secs()));
        // What relays hold counts too: it may have been dated by another run, under another clock.
        let held = self.shop.twins.announced(&place);
        let held = held.filter(|(id, _)| !self.deleted.contains(id));
        let newest = ours.into_iter().chain(held).max_by_key(|(_, at)| *at);
        match (stamp(now, newest.map(|(_, at)| at)), newest) {
            (Stamp::At(at), _) => unsigned.created_at = Timestamp::from_secs(at.secs()),
            (Stamp::Delete, Some((id, _))) if self.shop.clock.is_sure() => {
                self.delete(&place, id, now).await;
                unsigned.created_at = Timestamp::from_secs(now.secs());
            }
            // Perhaps it is our clock that is wrong: nobody has said yet.
            (Stamp::Wait | Stamp::Delete, _) => return,
        }
        if others.is_some() {
            self.overridden = Some(Instant::now());
        }
        // The date is part of the id.
        unsigned.id = None;
        let Some(event) = self.sign(unsigned).await else {
            return;
        };
        if kind == announce::HEARTBEAT {
            self.beat = Some(Instant::now());
            self.beaten = handlers::identifiers_of(&event.tags);
            self.ended = self.shop.pauses();
        }
        let at = Instant::now();
        let relays = self.shop.targets_of(&event, &[]);
        let relays = relays.iter().filter_map(|url| RelayUrl::parse(url).ok());
        let tries = relays.map(|relay| {
            let first = Try {
                times: 0,
                at,
                under_way: false,
            };
            (relay, first)
        });
        let tries = tries.collect();
        let stale = false;
        self.said.insert(
            place,
            Notice {
                event,
                says,
                stale,
                tries,
            },
        );
    }

    /// Offers that are announced, by us or by an earlier run, and are in the settings no longer: they take no kinds any more.
    fn no_longer_sold(&self, identifiers: &[String], now: Time) -> Vec<UnsignedEvent> {
        let said = self.said.keys();
        let said = said.filter(|place| place.0 == announce::HANDLER_INFO);
        let mut gone: Vec<String> = said.map(|place| place.1.clone()).collect();
        gone.extend(self.shop.twins.offered());
        gone.retain(|one| !identifiers.contains(one));
        gone.sort_unstable();
        gone.dedup();
        let (settings, us) = (self.shop.settings(), self.shop.keys.public_key());
        let gone = gone.iter();
        gone.map(|one| handlers::gone(&us, &settings, one, now))
            .collect()
    }

    /// An announcement of this place that is not ours and was dated ahead under a wrong clock: relays show it instead of ours.
    fn hidden_by(&self, place: &Place, now: Time) -> Option<EventId> {
        let said = &self.said.get(place)?.event;
        let (id, at) = self.shop.twins.announced(place)?;
        let ahead = now.plus(OVERRIDE_EVERY).secs();
        let newer = at > said.created_at.as_secs() && at > ahead;
        let hides = id != said.id && newer && !self.deleted.contains(&id);
        let lately = self
            .overridden
            .is_some_and(|at| at.elapsed() < OVERRIDE_EVERY);
        (hides && !lately).then_some(id)
    }

    /// Asks the relays to delete (NIP-09) an announcement that is dated too far ahead, before the next one comes.
    async fn delete(&mut self, place: &Place, id: EventId, now: Time) {
        if !self.deleted.insert(id) {
            return;
        }
        self.said.remove(place);
        let kind = place.0;
        let (hex, number) = (id.to_hex(), kind.to_string());
        let tags = [["e", hex.as_str()], ["k", number.as_str()]];
        // Neither is refused: each has a name and a value.
        let tags = tags.into_iter().filter_map(|tag| Tag::parse(tag).ok());
        let unsigned = EventBuilder::new(Kind::EventDeletion, "dated by a wrong clock")
            .tags(tags)
            .custom_created_at(Timestamp::from_secs(now.secs()))
            .build(self.shop.keys.public_key());
        let Some(event) = self.sign(unsigned).await else {
            return;
        };
        let words = format!(
            "an announcement (kind {kind}) was dated ahead under a wrong clock: relays are asked to delete it, and get a new one"
        );
        self.shop.notice(Level::Warn, "clock", &words);
        let relays = self.connections.relays.own();
        let sent = relays
            .iter()
            .map(|relay| self.connections.relays.publish(relay, &event));
        // A relay that does not answer keeps the old one until its date has come.
        let _ = tokio::time::timeout(DELETING, futures::future::join_all(sent)).await;
    }

    async fn sign(&self, unsigned: UnsignedEvent) -> Option<Signed> {
        let signed = mint::sign(self.shop.keys.clone(), unsigned, self.shop.work_wanted()).await;
        signed
            .inspect_err(|error| self.shop.notice(Level::Error, "shop", &error.to_string()))
            .ok()
    }

    /// Speeds as they were measured; a small change is no news.
    fn measure(&mut self) {
        if self.measured.is_some_and(|at| at.elapsed() < SPEED_EVERY) {
            return;
        }
        let mut speeds = Speeds::new();
        for endpoint in self.connections.pool.health() {
            let Some(speed) = endpoint.tokens_per_second else {
                continue;
            };
            for model in endpoint.models {
                let best = speeds.entry(model).or_default();
                *best = best.max(speed);
            }
        }
        if !speeds.is_empty() {
            self.measured = Some(Instant::now());
            self.speeds = speeds;
        }
    }

    /// Sends what is due, to each relay by itself.
    fn send(&mut self) {
        let now = Instant::now();
        for (place, said) in &mut self.said {
            let due = |one: &Try| !one.under_way && one.at <= now;
            for (relay, one) in said.tries.iter_mut().filter(|(_, one)| due(one)) {
                one.under_way = true;
                let (place, relay, event) = (place.clone(), relay.clone(), said.event.clone());
                let relays = self.connections.relays.clone();
                self.sending.spawn(async move {
                    let verdict = relays.publish(&relay, &event).await;
                    (place, relay, event, verdict)
                });
            }
        }
    }

    /// A relay's word on an announcement.
    fn settle(&mut self, (place, relay, event, verdict): (Place, RelayUrl, Signed, Verdict)) {
        let kind = place.0;
        let (outcome, detail) = match &verdict {
            Verdict::Accepted => ("accepted", String::new()),
            Verdict::Refused(words) | Verdict::NeedsAuth(words) => ("refused", words.clone()),
            Verdict::NeedsPow(bits) => ("refused", format!("wants proof of work of {bits} bits")),
            Verdict::Retry(words)
            | Verdict::Slow(words)
            | Verdict::Down(words)
            | Verdict::Ended(words) => ("retry", words.clone()),
        };
        self.shop.emit(EventKind::Published {
            id: None,
            role: format!("kind {kind}"),
            relay: relay.to_string(),
            outcome: outcome.to_owned(),
            detail,
        });
        // Something else is said by now: that is on its way there by itself.
        let Some(said) = self
            .said
            .get_mut(&place)
            .filter(|said| said.event.id == event.id)
        else {
            return;
        };
        if verdict == Verdict::Accepted {
            said.tries.remove(&relay);
            return;
        }
        if matches!(verdict, Verdict::NeedsPow(_)) && kind != announce::HEARTBEAT {
            // Nothing of it is wrong but its lack of work: it is signed anew, with it. A heartbeat is soon anyway.
            said.stale = true;
        }
        let (first, most) = match verdict {
            Verdict::Refused(_) | Verdict::NeedsPow(_) => AFTER_REFUSAL,
            _ => AGAIN,
        };
        if let Some(one) = said.tries.get_mut(&relay) {
            let wait = first.saturating_mul(1 << one.times.min(16)).min(most);
            one.times += 1;
            one.at = Instant::now() + wait;
            one.under_way = false;
        }
    }

    /// The shop goes offline: it takes no kinds any more, and its heartbeat ends.
    async fn take_back(&self) {
        let (settings, us) = (self.shop.settings(), self.shop.keys.public_key());
        let now = self.shop.signed_at(None);
        let mut last = handlers::all(&us, &settings, &self.speeds, false, now);
        if settings.nostr.heartbeat {
            let identifiers = handlers::identifiers(&settings);
            last.push(announce::heartbeat(&us, &identifiers, true, now));
        }
        let farewell = last.into_iter().map(|mut unsigned| async move {
            let place = place_of(unsigned.kind, &unsigned.tags);
            let before = self.said.get(&place).map(|said| said.event.created_at);
            if let Some(before) = before.filter(|before| unsigned.created_at <= *before) {
                // In the same second: it must be newer, or relays keep the other.
                unsigned.created_at = before + 1_u64;
            }
            let Some(event) = self.sign(unsigned).await else {
                return;
            };
            let relays = self.connections.relays.own();
            let sent = relays
                .iter()
                .map(|relay| self.connections.relays.publish(relay, &event));
            futures::future::join_all(sent).await;
        });
        futures::future::join_all(farewell).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_later_than_the_last_and_never_far_ahead() {
        let now = Time(1_795_000_000_000);
        let at = |secs: u64| Stamp::At(Time::from_secs(secs));
        assert_eq!(stamp(now, None), Stamp::At(now));
        assert_eq!(stamp(now, Some(now.secs() - 1)), Stamp::At(now));
        assert_eq!(stamp(now, Some(now.secs())), Stamp::Wait);
        assert_eq!(stamp(now, Some(now.secs() + 1)), at(now.secs() + 2));
        assert_eq!(stamp(now, Some(now.secs() + 599)), at(now.secs() + 600));
        // The clock was a day ahead, and is right again.
        assert_eq!(stamp(now, Some(now.secs() + 86_400)), Stamp::Delete);
    }
}
