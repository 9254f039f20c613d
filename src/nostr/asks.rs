//! What a relay wants of the events that it takes: proof of work (NIP-13) and a bounded size. Each relay for itself.

use std::time::{Duration, Instant};

use super::relay_information::RelayInfo;
use crate::domain::size::COMMON_LONGEST;

/// A `pow:` refusal counts for this long; then an event is tried again without.
const POW_REMEMBERED: Duration = Duration::from_secs(600);

/// What one relay wants, from its description (NIP-11) and its words.
#[derive(Debug, Default)]
pub(super) struct Asks {
    described_pow: u8,
    said_pow: Option<(u8, Instant)>,
    described_longest: Option<usize>,
    /// Shorter than something that was too long for it.
    learnt_longest: Option<usize>,
}

impl Asks {
    /// Its description was read.
    pub(super) fn described(&mut self, info: &RelayInfo) {
        self.described_pow = info.min_pow;
        self.described_longest = info
            .max_message_length
            .filter(|longest| *longest > 0)
            .map(|longest| usize::try_from(longest).unwrap_or(usize::MAX));
    }

    /// It refused an event for its lack of work.
    pub(super) fn refused_pow(&mut self, bits: u8, now: Instant) {
        self.said_pow = Some((bits, now));
    }

    /// It took an event that had this much work.
    pub(super) fn accepted(&mut self, bits: u8) {
        self.said_pow = self.said_pow.filter(|(said, _)| *said <= bits);
    }

    /// An event of this many bytes was too long for it.
    pub(super) fn too_long(&mut self, bytes: usize) {
        let shorter = bytes.saturating_sub(1);
        self.learnt_longest = Some(
            self.learnt_longest
                .map_or(shorter, |known| known.min(shorter)),
        );
    }

    /// The bits of work that it wants now.
    pub(super) fn pow(&self, now: Instant) -> u8 {
        let fresh = |at: Instant| now.saturating_duration_since(at) < POW_REMEMBERED;
        let said = self.said_pow.filter(|(_, at)| fresh(*at));
        said.map_or(0, |(bits, _)| bits).max(self.described_pow)
    }

    /// The longest message that it is known to take, bytes.
    pub(super) fn known_longest(&self) -> Option<usize> {
        self.described_longest
            .or(self.learnt_longest)
            .map(|_| self.longest())
    }

    /// The longest message that it takes, bytes.
    pub(super) fn longest(&self) -> usize {
        let described = self.described_longest.unwrap_or(COMMON_LONGEST);
        self.learnt_longest
            .map_or(described, |learnt| learnt.min(described))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_about_work_is_forgotten_and_a_description_is_not() {
        let (mut asks, now) = (Asks::default(), Instant::now());
        asks.refused_pow(24, now);
        assert_eq!(asks.pow(now), 24);
        assert_eq!(asks.pow(now + POW_REMEMBERED), 0);
        asks.accepted(30);
        assert_eq!(asks.pow(now), 24);
        asks.accepted(8);
        assert_eq!(asks.pow(now), 0, "it took less than it said");
        asks.described(&RelayInfo {
            min_pow: 12,
            ..RelayInfo::default()
        });
        assert_eq!(asks.pow(now + POW_REMEMBERED), 12);
    }

    #[test]
    fn the_longest_message_is_described_learnt_or_common() {
        let mut asks = Asks::default();
        assert_eq!(asks.longest(), COMMON_LONGEST);
        asks.described(&RelayInfo {
            max_message_length: Some(131_072),
            ..RelayInfo::default()
        });
        assert_eq!(asks.longest(), 131_072);
        asks.too_long(70_000);
        asks.too_long(90_000);
        assert_eq!(asks.longest(), 69_999);
    }
}
