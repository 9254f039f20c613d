//! Who is admitted when not all can be: a flood of fresh keys leaves those who paid before whole.
//!
//! Of the places that all share, a buyer leaves some free for those who rank higher: strangers for those who paid before, and
//! whoever has some for those who have none. Where there are no others, all places are for everybody.

use std::collections::HashMap;
use std::time::Duration;

use super::id::Buyer;

const MINUTE_MS: u64 = 60_000;
/// Buyers of one minute that are remembered; two generations of them are.
const MOST_BUYERS: usize = 8_192;

/// Whoever did not pay before leaves one place in so many to those who did.
const FOR_THE_KNOWN: u32 = 3;
/// Whoever has some already leaves one place in so many to those who have none. Not by shares: what those leave who have but
/// little is taken by many keys, each of which has but little.
const FOR_THE_MODEST: u32 = 3;
/// Whoever paid before leaves one in so many: less than strangers leave to them, so that a flood of fresh keys does not stand in
/// their way.
const BY_THE_KNOWN: u32 = 4;

/// What one buyer has of some places, among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Did this buyer ever pay here?
    pub paid_before: bool,
    /// Did any buyer? Nothing is kept for buyers who do not exist.
    pub anybody_paid: bool,
    /// What this buyer has by now.
    pub mine: u32,
    /// How many buyers have some.
    pub buyers: u32,
}

/// Of `places`, how many this buyer leaves free for those who rank higher.
#[must_use]
pub fn kept_free(places: u32, standing: Standing) -> u32 {
    let Standing {
        paid_before,
        anybody_paid,
        mine,
        buyers,
    } = standing;
    let known = if anybody_paid && !paid_before {
        places / FOR_THE_KNOWN
    } else {
        0
    };
    let modest = match (buyers > 1 && mine > 0, paid_before) {
        (false, _) => 0,
        (true, false) => places / FOR_THE_MODEST,
        (true, true) => places / BY_THE_KNOWN,
    };
    known + modest
}

/// How much may be asked; settings, read anew each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Admissions of all buyers in a minute.
    pub all: u32,
    /// Admissions of one buyer in a minute.
    pub each: u32,
}

/// What one buyer was admitted with of late.
#[derive(Clone, Copy, Debug, Default)]
struct Asks {
    /// Admissions in this generation.
    count: u32,
    /// When its own allowance is whole again, milliseconds of the gate's clock.
    whole_at: u64,
}

/// Counts what is admitted in a minute.
#[derive(Debug, Default)]
pub struct Gate {
    /// Admissions that are left, in 60,000ths; none before the first question.
    left: Option<u64>,
    filled_at: u64,
    young: HashMap<Buyer, Asks>,
    old: HashMap<Buyer, Asks>,
    turned_at: u64,
}

impl Gate {
    /// May this buyer be admitted now? Counts the admission where the answer is yes. `clock` never goes
    /// back: it is the time since the gate was made.
    pub fn pass(
        &mut self,
        buyer: Buyer,
        paid_before: bool,
        anybody_paid: bool,
        rates: Rates,
        clock: Duration,
    ) -> bool {
        let now = u64::try_from(clock.as_millis()).unwrap_or(u64::MAX);
        self.turn(now);
        self.fill(rates.all, now);
        let (mine, mut asks) = self.asked(buyer, now);
        let buyers = self.young.len().max(self.old.len());
        let standing = Standing {
            paid_before,
            anybody_paid,
            mine,
            buyers: u32::try_from(buyers).unwrap_or(u32::MAX),
        };
        let kept = kept_free(rates.all, standing);
        let enough = (u64::from(kept) + 1) * MINUTE_MS;
        let passes = asks.passes(rates.each, now) && self.left.is_some_and(|left| left >= enough);
        if passes {
            asks.take(rates.each, now);
            self.left = self.left.map(|left| left - MINUTE_MS);
            asks.count = asks.count.saturating_add(1);
            self.young.insert(buyer, asks);
        }
        passes
    }

    /// A generation lasts a minute, or until it is full.
    fn turn(&mut self, now: u64) {
        let over = now.saturating_sub(self.turned_at);
        if over >= MINUTE_MS || self.young.len() >= MOST_BUYERS {
            self.old = std::mem::take(&mut self.young);
            self.turned_at = now;
        }
        if over >= 2 * MINUTE_MS {
            self.old.clear();
        }
    }

    fn fill(&mut self, all: u32, now: u64) {
        let passed = now.saturating_sub(self.filled_at);
        self.filled_at = now;
        let most = u64::from(all) * MINUTE_MS;
        let more = passed.saturating_mul(u64::from(all));
        self.left = Some(
            self.left
                .map_or(most, |left| left.saturating_add(more).min(most)),
        );
    }

    /// How often this buyer was admitted in the last minute, about; and what is known of it.
    fn asked(&self, buyer: Buyer, now: u64) -> (u32, Asks) {
        let old = self.old.get(&buyer).copied().unwrap_or_default();
        let young = self.young.get(&buyer).copied().unwrap_or(Asks {
            count: 0,
            whole_at: old.whole_at,
        });
        let rest = MINUTE_MS.saturating_sub(now.saturating_sub(self.turned_at));
        let earlier = u64::from(old.count) * rest / MINUTE_MS;
        let before = u64::from(young.count) + earlier;
        (u32::try_from(before).unwrap_or(u32::MAX), young)
    }
}

impl Asks {
    /// The allowance is `each` at once, and comes back one by one over a minute (GCRA).
    fn passes(self, each: u32, now: u64) -> bool {
        let each = u64::from(each.max(1));
        self.whole_at <= now + MINUTE_MS - MINUTE_MS.div_ceil(each)
    }

    fn take(&mut self, each: u32, now: u64) {
        let gap = MINUTE_MS.div_ceil(u64::from(each.max(1)));
        self.whole_at = self.whole_at.max(now) + gap;
    }
}

#[cfg(test)]
mod tests;
