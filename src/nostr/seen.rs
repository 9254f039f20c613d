//! What keeps a flood cheap: a bounded memory of event ids, and a bucket of verifications.

use std::collections::HashSet;
use std::time::Instant;

use nostr::EventId;

/// An event takes one more token for each so many bytes.
const TOKEN_BYTES: usize = 32 * 1024;

/// Ids kept in each of the two generations: 2 x 32,768 ids are about 4 MB.
const GENERATION: usize = 32_768;

/// The ids that went through in this process, the last 32,768 at the least. The ledger remembers the rest.
#[derive(Default)]
pub(super) struct SeenEvents {
    young: HashSet<EventId>,
    old: HashSet<EventId>,
}

impl SeenEvents {
    /// Did this id go through already?
    pub(super) fn contains(&self, id: &EventId) -> bool {
        self.young.contains(id) || self.old.contains(id)
    }

    /// Remembers an id of a verified event. False where it was known.
    pub(super) fn insert(&mut self, id: EventId) -> bool {
        if self.contains(&id) {
            return false;
        }
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id)
    }
}

/// A token bucket: so many a second, and so many at once.
pub(super) struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(rate: u32, burst: u32) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            rate: f64::from(rate.max(1)),
            burst,
            tokens: burst,
            filled: Instant::now(),
        }
    }

    /// Takes the tokens for an event of so many bytes: one, and more where it is long, as checking it takes longer. False where
    /// there are too few.
    pub(super) fn take_for(&mut self, bytes: usize, now: Instant) -> bool {
        let more = u32::try_from(bytes / TOKEN_BYTES).unwrap_or(u32::MAX);
        self.take((1.0 + f64::from(more)).min(self.burst), now)
    }

    fn take(&mut self, cost: f64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        if self.tokens < cost {
            return false;
        }
        self.tokens -= cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn id(n: usize) -> EventId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        EventId::from_byte_array(bytes)
    }

    #[test]
    fn ids_are_forgotten_only_after_a_whole_generation() {
        let mut seen = SeenEvents::default();
        assert!(seen.insert(id(0)));
        assert!(!seen.insert(id(0)));
        for n in 1..=GENERATION {
            seen.insert(id(n));
        }
        assert!(seen.contains(&id(0)));
        for n in 0..=GENERATION {
            seen.insert(id(GENERATION + 1 + n));
        }
        assert!(!seen.contains(&id(0)));
        assert!(seen.young.len() + seen.old.len() <= 2 * GENERATION);
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(10, 3);
        let start = bucket.filled;
        assert_eq!((0..9).filter(|_| bucket.take_for(9, start)).count(), 3);
        let later = start + Duration::from_millis(200);
        assert_eq!((0..9).filter(|_| bucket.take_for(9, later)).count(), 2);
    }
}
