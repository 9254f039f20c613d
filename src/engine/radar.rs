//! Listens to what is asked and offered on our relays, and counts it (`market.watch`). Nothing of it decides anything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nostr::{Event as Signed, PublicKey};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::{Connections, EngineContext};
use super::offers::price_rule;
use crate::domain::market::{self, Announced, Asked, OTHERS, SELLERS_MAX};
use crate::domain::refusal::DropReason;
use crate::domain::sellers::{ALIVE, HEARTBEAT, heartbeat};
use crate::domain::time::Time;
use crate::ledger::Heard;
use crate::nostr::{RelayEvent, Relays, RelaysConfig};

/// Between two times at which counts are written down.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// Different requests that are counted between them; those beyond lose their model and bid.
const DIFFERENT: usize = 500;
/// The first look at what others announce, and the time between two of them.
const FIRST_LOOK: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// How long one look listens.
const LISTEN: Duration = Duration::from_secs(20);

/// Counts requests as admission sees them.
pub(super) struct Radar {
    shop: Arc<EngineContext>,
    heard: Mutex<Heard>,
    changed: Notify,
}

impl Radar {
    pub(super) fn new(shop: Arc<EngineContext>) -> Self {
        Self {
            shop,
            heard: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// A request was judged; `dropped` says why it was not taken.
    pub(super) fn saw(&self, event: &Signed, dropped: Option<DropReason>) {
        let settings = self.shop.settings();
        if !settings.market.watch || dropped.is_some_and(|reason| !market::counts(reason)) {
            return;
        }
        let asked = market::asked(event);
        let least = price_rule(&settings, &settings.text.model).price(0, 0);
        let worth = dropped
            .and_then(|reason| Some((reason.as_str(), market::worth(reason, asked.bid, least)?)));
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((reason, worth)) = worth {
            let missed = heard.missed.entry(reason).or_default();
            missed.0 += 1;
            missed.1 += worth;
        }
        let asked = if heard.asked.len() < DIFFERENT || heard.asked.contains_key(&asked) {
            asked
        } else {
            Asked {
                model: OTHERS.to_owned(),
                bid: None,
                ..asked
            }
        };
        *heard.asked.entry(asked).or_default() += 1;
        self.changed.notify_one();
    }

    /// Writes down what was counted, until `stop`.
    pub(super) async fn work(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.changed.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(WRITE_EVERY) => {}
            }
            self.write().await;
        }
    }

    async fn write(&self) {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        if heard == Heard::default() {
            return;
        }
        // What the ledger does not take is lost: it is a count of no consequence, and must not grow.
        if let Err(error) = self.shop.ledger.heard(heard, Time::now()).await {
            self.shop.ledger_failed(&error);
        }
    }
}

/// Looks now and then at what others announce, while the shop is online.
pub(super) async fn look_around(
    shop: Arc<EngineContext>,
    market: Connections,
    stop: CancellationToken,
) {
    let mut next = Instant::now() + FIRST_LOOK;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(next) => {}
        }
        next = Instant::now() + LOOK_EVERY;
        if !shop.settings().market.watch {
            continue;
        }
        let sellers = tokio::select! {
            () = stop.cancelled() => return,
            sellers = listen(&shop, &market) => sellers,
        };
        if let Err(error) = shop.ledger.sellers_seen(sellers, Time::now()).await {
            shop.ledger_failed(&error);
        }
    }
}

/// Who announces on our relays, and who of them is there. On connections of its own, so that it can't disturb the shop's.
async fn listen(shop: &EngineContext, connections: &Connections) -> Vec<(Announced, bool)> {
    let (news, mut inbox) = mpsc::channel(256);
    let relays = Relays::start(RelaysConfig::announcements(connections.relays.own()), news);
    let mut sky = Sky::new(shop.keys.public_key(), shop.settings().nostr.kinds.clone());
    let over = tokio::time::sleep(LISTEN);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => break,
            item = inbox.recv() => match item {
                Some(RelayEvent::Event { event, .. }) => sky.take(&event, Time::now()),
                Some(_) => {}
                None => break,
            },
        }
    }
    relays.close().await;
    sky.seen()
}

/// What one look has found; bounded, as strangers make it.
struct Sky {
    us: PublicKey,
    kinds: Vec<u16>,
    sellers: HashMap<PublicKey, (u64, Announced)>,
    beats: HashMap<PublicKey, Time>,
}

impl Sky {
    fn new(us: PublicKey, kinds: Vec<u16>) -> Self {
        Self {
            us,
            kinds,
            sellers: HashMap::new(),
            beats: HashMap::new(),
        }
    }

    fn take(&mut self, event: &Signed, now: Time) {
        let (key, most) = (event.pubkey, SELLERS_MAX as usize);
        if key == self.us {
            return;
        }
        if event.kind.as_u16() == HEARTBEAT {
            let room = self.beats.len() < most || self.beats.contains_key(&key);
            if let Some(at) = heartbeat(event).filter(|_| room) {
                let beat = self.beats.entry(key).or_insert(at);
                *beat = (*beat).max(at).min(now);
            }
            return;
        }
        let at = event.created_at.as_secs();
        let known = self.sellers.get(&key);
        let newer = known.is_none_or(|(before, _)| *before <= at);
        let room = known.is_some() || self.sellers.len() < most;
        if let Some(announced) = market::announced(event, &self.kinds).filter(|_| newer && room) {
            self.sellers.insert(key, (at, announced));
        }
    }

    fn seen(self) -> Vec<(Announced, bool)> {
        let now = Time::now();
        let beats = self.beats;
        let alive = |key: &PublicKey| beats.get(key).is_some_and(|at| now.since(*at) <= ALIVE);
        let all = self.sellers.into_values();
        all.map(|(_, seller)| {
            let alive = alive(&seller.key);
            (seller, alive)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use nostr::{EventBuilder, Kind, Tag, Timestamp};

    use nostr::Keys;

    use super::*;
    use crate::config::Settings;
    use crate::domain::Hex32;
    use crate::domain::id::BootId;
    use crate::domain::msat::Msat;
    use crate::ledger::Ledger;

    fn event(keys: &Keys, kind: u16, content: &str, tags: &[&[&str]], at: u64) -> Signed {
        let tags = tags
            .iter()
            .map(|tag| Tag::parse(tag.iter().copied()).unwrap());
        EventBuilder::new(Kind::from_u16(kind), content)
            .tags(tags)
            .custom_created_at(Timestamp::from(at))
            .sign_with_keys(keys)
            .unwrap()
    }

    fn radar(folder: &tempfile::TempDir, watch: bool) -> Radar {
        let ledger = Ledger::open(&folder.path().join("vend.db")).unwrap();
        let mut settings = Settings::default();
        settings.market.watch = watch;
        Radar::new(EngineContext::new(
            ledger,
            Keys::generate(),
            settings,
            BootId(Hex32([1; 32])),
        ))
    }

    #[tokio::test]
    async fn what_is_asked_is_counted_and_what_was_missed_has_its_worth() {
        let folder = tempfile::tempdir().unwrap();
        let radar = radar(&folder, true);
        let now = Time::now().secs();
        let ask = event(&Keys::generate(), 5050, "", &[&["i", "hi", "text"]], now);
        radar.saw(&ask, None);
        radar.saw(&ask, Some(DropReason::Busy));
        radar.saw(&ask, Some(DropReason::Stale));
        radar.write().await;
        let told = radar.shop.ledger.market(1, Time::now()).await.unwrap();
        assert_eq!(told.count(), 2);
        assert_eq!(told.missed.len(), 1);
        assert_eq!(
            (told.missed[0].count, told.missed[0].worth_msat),
            (1, Msat(10_000))
        );
    }

    #[tokio::test]
    async fn nothing_is_counted_where_the_seller_does_not_want_it() {
        let folder = tempfile::tempdir().unwrap();
        let radar = radar(&folder, false);
        radar.saw(
            &event(&Keys::generate(), 5050, "", &[], 1),
            Some(DropReason::Busy),
        );
        assert_eq!(*radar.heard.lock().unwrap(), Heard::default());
    }

    #[tokio::test]
    async fn a_flood_of_made_up_models_is_counted_in_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let radar = radar(&folder, true);
        let keys = Keys::generate();
        for n in 0..2_000 {
            let model = format!("made up {n}");
            radar.saw(
                &event(&keys, 5050, "", &[&["param", "model", &model]], 1),
                None,
            );
        }
        let heard = radar.heard.lock().unwrap();
        assert!(heard.asked.len() <= DIFFERENT + 1);
        assert_eq!(heard.asked.values().sum::<u64>(), 2_000);
    }

    #[test]
    fn others_are_known_by_their_newest_word_and_their_heartbeat() {
        let (us, other, quiet) = (Keys::generate(), Keys::generate(), Keys::generate());
        let now = Time::now();
        let mut sky = Sky::new(us.public_key(), vec![5050]);
        let says = |name: &str| format!("{{\"name\":\"{name}\",\"amount\":\"5000\"}}");
        let at = now.secs();
        for (keys, name, at) in [
            (&us, "us", at),
            (&other, "new", at),
            (&other, "old", at - 9),
            (&quiet, "quiet", at),
        ] {
            sky.take(
                &event(
                    keys,
                    31_990,
                    &says(name),
                    &[&["k", "5050"], &["d", "x"]],
                    at,
                ),
                now,
            );
        }
        let until = (at + 300).to_string();
        let beat: &[&[&str]] = &[&["d", "x"], &["expiration", &until]];
        sky.take(&event(&other, HEARTBEAT, "", beat, at), now);
        let mut seen: Vec<_> = sky
            .seen()
            .into_iter()
            .map(|(one, alive)| (one.name, alive))
            .collect();
        seen.sort();
        assert_eq!(
            seen,
            [("new".to_owned(), true), ("quiet".to_owned(), false)]
        );
    }
}
