//! Answers pings: a client that wants to know whether the shop is there asks it (kinds 7007 and 20200).

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use nostr::{Event as Signed, PublicKey};

use super::context::{Connections, EngineContext};
use super::mint;
use crate::domain::announce;
use crate::domain::event::Level;
use crate::domain::time::Time;

/// Each key is answered once in this time.
const EACH: Duration = Duration::from_secs(60);
/// All keys together, in a minute.
const ALL: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);
/// Keys that are remembered: as many as can be answered within the time.
const KEYS: usize = 128;

/// Who was answered lately.
pub(super) struct Pongs {
    answered: Mutex<HashMap<PublicKey, Instant>>,
    all: DefaultDirectRateLimiter,
}

impl Default for Pongs {
    fn default() -> Self {
        Self {
            answered: Mutex::default(),
            all: RateLimiter::direct(Quota::per_minute(ALL)),
        }
    }
}

impl Pongs {
    /// Is this key answered now? A yes counts.
    pub(super) fn may(&self, key: PublicKey, now: Instant) -> bool {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.retain(|_, at| now.saturating_duration_since(*at) < EACH);
        if answered.contains_key(&key) || answered.len() >= KEYS || self.all.check().is_err() {
            return false;
        }
        answered.insert(key, now);
        true
    }
}

/// Answers one ping, on each of our relays.
pub(super) async fn answer(shop: Arc<EngineContext>, connections: Connections, ping: Signed) {
    let us = shop.keys.public_key();
    let Some(unsigned) = announce::pong(&us, &ping, Time::now()).filter(|_| shop.sells()) else {
        return;
    };
    let event = match mint::sign(shop.keys.clone(), unsigned, shop.work_wanted()).await {
        Ok(event) => event,
        Err(error) => return shop.notice(Level::Error, "shop", &error.to_string()),
    };
    // Who pings asks again; a relay's word on it matters to nobody.
    shop.publish_once(&connections, &event).await;
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;

    #[test]
    fn each_key_is_answered_once_a_minute_and_all_within_bounds() {
        let (pongs, now) = (Pongs::default(), Instant::now());
        let key = Keys::generate().public_key();
        assert!(pongs.may(key, now));
        assert!(!pongs.may(key, now + Duration::from_secs(59)));
        assert!(pongs.may(key, now + EACH));
        let many = (0..200)
            .filter(|_| pongs.may(Keys::generate().public_key(), now))
            .count();
        assert!((1..60).contains(&many), "{many}");
    }
}
