//! The beginning of a job's id, as people copy it from a screen.

use std::fmt;
use std::str::FromStr;

use crate::domain::hex32::Hex32;

/// The fewest digits that name a job.
pub const DIGITS_MIN: usize = 8;

/// Eight to 64 hex digits with which an id begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdBeginning(String);

impl IdBeginning {
    /// The first and the last id that begin so.
    #[must_use]
    pub fn range(&self) -> (Hex32, Hex32) {
        let filled = |digit: char| {
            let text: String = self
                .0
                .chars()
                .chain(std::iter::repeat(digit))
                .take(64)
                .collect();
            // 64 hex digits, as the digits were looked at when this was made.
            text.parse().unwrap_or(Hex32([0; 32]))
        };
        (filled('0'), filled('f'))
    }

    /// Does an id begin so?
    #[must_use]
    pub fn fits(&self, id: &impl fmt::Display) -> bool {
        id.to_string().starts_with(&self.0)
    }
}

impl fmt::Display for IdBeginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for IdBeginning {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let right =
            (DIGITS_MIN..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit());
        if !right {
            return Err(format!(
                "an id is 64 hex digits, or at least its first {DIGITS_MIN}"
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_has_eight_digits_or_more_and_spans_what_begins_so() {
        for wrong in ["", "0123456", "0123456g", "01234567 ", &"0".repeat(65)] {
            assert!(wrong.parse::<IdBeginning>().is_err(), "{wrong:?}");
        }
        let odd: IdBeginning = "ABCDEF012".parse().unwrap();
        let (first, last) = odd.range();
        assert_eq!(first.to_string(), format!("abcdef012{}", "0".repeat(55)));
        assert_eq!(last.to_string(), format!("abcdef012{}", "f".repeat(55)));
        assert!(odd.fits(&first) && odd.fits(&last));
        assert!(!odd.fits(&Hex32([0xab; 32])));
        let whole: IdBeginning = "a7".repeat(32).parse().unwrap();
        assert_eq!(whole.range().0, whole.range().1);
    }
}
