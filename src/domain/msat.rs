//! Amounts of money. Every amount inside the program is an integer in millisatoshi; sats exist only for display.

use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Millisatoshi per satoshi.
const MSAT_PER_SAT: u64 = 1_000;

/// The most msat that exist: 21 million bitcoin. Anything above it is a mistake or an attack.
pub const MAX_MSAT: u64 = 21_000_000 * 100_000_000 * MSAT_PER_SAT;

/// An amount in millisatoshi (1 sat = 1000 msat, BOLT 11).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Msat(pub u64);

impl Msat {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// All the money there is.
    pub const MAX: Self = Self(MAX_MSAT);

    /// Whole sats as msat; saturates at the most money there is.
    #[must_use]
    pub const fn from_sats(sats: u64) -> Self {
        let msat = sats.saturating_mul(MSAT_PER_SAT);
        Self(if msat > MAX_MSAT { MAX_MSAT } else { msat })
    }

    /// Is this no money at all?
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or none where it would be more money than exists.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0
            .checked_add(other.0)
            .filter(|sum| *sum <= MAX_MSAT)
            .map(Self)
    }

    /// The sum, held at the most money there is.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0).min(MAX_MSAT))
    }

    /// The difference, not below zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The next whole sat, upwards: wallets that count in sats are asked for this.
    #[must_use]
    pub const fn ceil_to_sats(self) -> u64 {
        self.0.div_ceil(MSAT_PER_SAT)
    }

    /// For a screen: `21 sats`, `21.5 sats`, with thousands set apart by a thin comma.
    #[must_use]
    pub fn display(self) -> Sats {
        Sats(self)
    }
}

impl AddAssign for Msat {
    fn add_assign(&mut self, other: Self) {
        *self = self.saturating_add(other);
    }
}

impl Sum for Msat {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Self::saturating_add)
    }
}

/// An amount as a person reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sats(Msat);

impl fmt::Display for Sats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0.0 / MSAT_PER_SAT, self.0.0 % MSAT_PER_SAT);
        let mut text = grouped(whole);
        if rest > 0 {
            let fraction = format!("{rest:03}");
            text.push('.');
            text.push_str(fraction.trim_end_matches('0'));
        }
        let unit = if whole == 1 && rest == 0 {
            "sat"
        } else {
            "sats"
        };
        f.pad(&format!("{text} {unit}"))
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sats_are_shown_as_people_write_them() {
        assert_eq!(Msat(1_000).display().to_string(), "1 sat");
        assert_eq!(Msat(21_500).display().to_string(), "21.5 sats");
        assert_eq!(Msat(1_234_567_000).display().to_string(), "1,234,567 sats");
        assert_eq!(Msat::ZERO.display().to_string(), "0 sats");
    }

    #[test]
    fn no_sum_exceeds_the_money_there_is() {
        assert_eq!(Msat(MAX_MSAT).checked_add(Msat(1)), None);
        assert_eq!(Msat(MAX_MSAT).saturating_add(Msat(1)), Msat(MAX_MSAT));
        assert_eq!(Msat::from_sats(u64::MAX), Msat(MAX_MSAT));
    }

    #[test]
    fn sat_only_wallets_are_asked_for_the_next_whole_sat() {
        assert_eq!(Msat(20_001).ceil_to_sats(), 21);
        assert_eq!(Msat(21_000).ceil_to_sats(), 21);
    }
}
