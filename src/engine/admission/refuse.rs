//! Answers to requests that were addressed to us alone and not admitted: one `error` feedback each, and not many in all.
//!
//! Beside admission, as signing may take a while where relays want proof of work.

use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use nostr::{Event as Signed, JsonUtil, PublicKey, RelayUrl};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::event::Level;
use crate::domain::refusal::DropReason;
use crate::domain::reply::{Draft, Reply, Role};
use crate::domain::request;
use crate::domain::time::Time;
use crate::engine::context::EngineContext;
use crate::ledger::SignedDraft;

/// Refusals answered to one buyer in [`A_WHILE`].
const PER_BUYER: u32 = 3;
/// See [`PER_BUYER`].
const A_WHILE: Duration = Duration::from_secs(600);
/// Refusals answered to all buyers in a minute. It bounds the buyers that are remembered, too.
const PER_MINUTE: u32 = 30;
/// How long an answer is of use.
const OF_USE: Duration = Duration::from_secs(600);
/// Refusals that may wait to be written; more are not answered.
const WAITING: usize = 64;

/// A request that was not admitted.
pub(super) struct Refused {
    event: Box<Signed>,
    relay: RelayUrl,
    reason: DropReason,
}

/// Where refusals are put.
#[derive(Clone)]
pub(super) struct Refusals(mpsc::Sender<Refused>);

/// Writes them.
pub(super) struct Refuser {
    shop: Arc<EngineContext>,
    waiting: mpsc::Receiver<Refused>,
    limits: Limits,
}

pub(super) fn refusals(shop: Arc<EngineContext>) -> (Refusals, Refuser) {
    let (sender, waiting) = mpsc::channel(WAITING);
    let refuser = Refuser {
        shop,
        waiting,
        limits: Limits::default(),
    };
    (Refusals(sender), refuser)
}

impl Refusals {
    /// Answers, if it is not too much.
    pub(super) fn put(&self, event: Box<Signed>, relay: RelayUrl, reason: DropReason) {
        // Where there is no room, too many are answered already.
        let _ = self.0.try_send(Refused {
            event,
            relay,
            reason,
        });
    }
}

/// How many are answered.
struct Limits {
    all: DefaultDirectRateLimiter,
    each: HashMap<PublicKey, (Instant, u32)>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            all: RateLimiter::direct(Quota::per_minute(
                NonZeroU32::new(PER_MINUTE).unwrap_or(NonZeroU32::MIN),
            )),
            each: HashMap::new(),
        }
    }
}

impl Limits {
    fn pass(&mut self, buyer: PublicKey, now: Instant) -> bool {
        self.each
            .retain(|_, (since, _)| now.duration_since(*since) < A_WHILE);
        let answered = self.each.get(&buyer).map_or(0, |(_, count)| *count);
        if answered >= PER_BUYER || self.all.check().is_err() {
            return false;
        }
        self.each.entry(buyer).or_insert((now, 0)).1 += 1;
        true
    }
}

impl Refuser {
    /// Writes until `stop`.
    pub(super) async fn work(mut self, stop: &CancellationToken) {
        loop {
            let refused = tokio::select! {
                () = stop.cancelled() => return,
                refused = self.waiting.recv() => refused,
            };
            let Some(refused) = refused else { return };
            if self.limits.pass(refused.event.pubkey, Instant::now()) {
                self.answer(&refused).await;
            }
        }
    }

    async fn answer(&self, refused: &Refused) {
        let Refused {
            event,
            relay,
            reason,
        } = refused;
        let pause = self.shop.pause().filter(|_| *reason == DropReason::Busy);
        let sentence: Cow<'static, str> = match (pause, reason.sentence()) {
            (Some(pause), _) => pause.sentence().into(),
            (None, Some(sentence)) => sentence.into(),
            (None, None) => return,
        };
        let draft = Draft {
            role: Role::Error,
            reply: Reply::Error { sentence },
        };
        let scheme = request::encryption(event);
        let written = self.shop.write(event, scheme, &draft, relay.as_str()).await;
        let answer = match written {
            Ok(signed) => SignedDraft {
                role: Role::Error,
                event_id: signed.id,
                json: signed.as_json(),
                not_after: Time::now().plus(OF_USE),
                relays: self.shop.targets_of(&signed, &[]),
            },
            Err(error) => return self.shop.notice(Level::Error, "job", &error.to_string()),
        };
        let kept = self
            .shop
            .ledger
            .refuse(event.id, reason.as_str(), Time::now(), Some(answer));
        match kept.await {
            Ok(_) => self.shop.wakers.outbox.notify_one(),
            Err(error) => self.shop.ledger_failed(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;

    #[test]
    fn one_buyer_hears_three_refusals_and_all_hear_thirty() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        let loud = Keys::generate().public_key();
        assert_eq!((0..9).filter(|_| limits.pass(loud, now)).count(), 3);
        let others = (0..100).filter(|_| limits.pass(Keys::generate().public_key(), now));
        assert!((27..=29).contains(&others.count()));
        assert!(limits.each.len() <= 30);
    }
}
