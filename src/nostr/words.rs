//! Plain words for what relays and networks say, and what follows from a relay's words.

use super::Verdict;
use crate::domain::text::clean;

/// The most of a stranger's words that is ever kept.
pub(super) const WORDS: usize = 200;

/// Stands for a reason that was not given.
pub(super) const UNNAMED: &str = "it gave no reason";

/// Do a relay's words say that an event is too long for it? Each relay has its own.
pub(super) fn says_too_long(words: &str) -> bool {
    let words = words.to_lowercase();
    [
        "too large",
        "too long",
        "too big",
        "size limit",
        "max size",
        "maximum size",
        "exceeds",
    ]
    .iter()
    .any(|part| words.contains(part))
}

/// Proof of work asked for where a relay names no number. NIP-13 bits.
const UNNAMED_POW: u8 = 16;

/// What an `OK` means for the event (NIP-01, NIP-13, NIP-42).
pub(super) fn verdict(accepted: bool, message: &str) -> Verdict {
    let words = clean(message, WORDS);
    if accepted {
        return Verdict::Accepted;
    }
    match prefix(message) {
        "duplicate" => Verdict::Accepted,
        "pow" => Verdict::NeedsPow(pow_bits(&words)),
        "auth-required" => Verdict::NeedsAuth(words),
        "rate-limited" => Verdict::Slow(words),
        "blocked" | "restricted" | "invalid" | "unsupported" => Verdict::Refused(words),
        // Without a known prefix it may pass; asking again is bounded by the event's own deadline.
        _ => Verdict::Retry(words),
    }
}

/// The machine-readable word before the first colon (NIP-01).
fn prefix(message: &str) -> &str {
    message.split_once(':').map_or("", |(word, _)| word.trim())
}

/// `pow: difficulty 26 is less than 30`, `pow: 28 bits needed`: the largest number that can be meant.
fn pow_bits(words: &str) -> u8 {
    words
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse::<u8>().ok())
        .max()
        .unwrap_or(UNNAMED_POW)
}

/// Why a relay ended a subscription, as far as it matters for asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It wants NIP-42 authentication first.
    Auth,
    /// It does not serve us; asking soon again is of no use.
    Restricted,
    /// Anything else, no reason at all included.
    Other,
}

/// Reads the reason of a `CLOSED`.
pub(super) fn closed(message: &str) -> Closed {
    match prefix(message) {
        "auth-required" => Closed::Auth,
        "restricted" | "blocked" => Closed::Restricted,
        _ => Closed::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ok_prefix_has_its_verdict() {
        assert_eq!(verdict(true, ""), Verdict::Accepted);
        assert_eq!(verdict(false, "duplicate: have it"), Verdict::Accepted);
        assert_eq!(
            verdict(false, "pow: difficulty 26 is less than 30"),
            Verdict::NeedsPow(30)
        );
        assert_eq!(verdict(false, "pow: more"), Verdict::NeedsPow(UNNAMED_POW));
        assert!(matches!(
            verdict(false, "auth-required: who?"),
            Verdict::NeedsAuth(_)
        ));
        for refused in [
            "blocked: a",
            "restricted: b",
            "invalid: c",
            "unsupported: d",
        ] {
            assert!(
                matches!(verdict(false, refused), Verdict::Refused(_)),
                "{refused}"
            );
        }
        assert!(matches!(
            verdict(false, "rate-limited: a"),
            Verdict::Slow(_)
        ));
        for again in ["error: b", "no idea", ""] {
            assert!(
                matches!(verdict(false, again), Verdict::Retry(_)),
                "{again}"
            );
        }
    }

    #[test]
    fn a_strangers_words_are_clean_and_short() {
        let Verdict::Refused(words) =
            verdict(false, &format!("blocked: \u{1b}[2J{}", "x".repeat(5_000)))
        else {
            panic!("not refused");
        };
        assert!(words.chars().count() <= WORDS && !words.contains('\u{1b}'));
    }

    #[test]
    fn closed_reasons_are_told_apart() {
        assert_eq!(closed("auth-required: x"), Closed::Auth);
        assert_eq!(closed("restricted: x"), Closed::Restricted);
        for other in ["", "error: x", "rate-limited: x", "bye", "pow: 4"] {
            assert_eq!(closed(other), Closed::Other, "{other}");
        }
    }
}
