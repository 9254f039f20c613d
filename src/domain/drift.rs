//! How far a server's clock is off ours, by the `Date` that it writes into its answers (RFC 9110, section 6.6.1).

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::time::Time;

/// How far a clock may be off ours before it is worth a word, seconds: invoices and signatures have times in them.
const SLACK_SECS: i64 = 60;
/// `Date` counts whole seconds.
const TICK: Duration = Duration::from_secs(1);
const NEVER_SAID: i64 = i64::MIN;

/// By how many seconds a clock is off ours, where that is worth a word.
#[must_use]
pub fn noted(secs: i64) -> Option<i64> {
    (secs.abs() > SLACK_SECS).then_some(secs)
}

/// What the last answer that had a date told; a server that writes none is never said to be off.
#[derive(Debug)]
pub struct Drift(AtomicI64);

impl Default for Drift {
    fn default() -> Self {
        Self(AtomicI64::new(NEVER_SAID))
    }
}

impl Drift {
    /// Takes in the header of an answer that was asked for at `asked` and is here `now`: the server wrote it in between. One
    /// that is missing or no date changes nothing.
    pub fn heard(&self, header: Option<&[u8]>, asked: Time, now: Time) {
        let Some(date) = header.and_then(read) else {
            return;
        };
        let off = if date > now {
            date.0.saturating_sub(now.0)
        } else {
            // Not ahead: behind by what is missing to the asking, or not at all.
            date.plus(TICK).0.saturating_sub(asked.0).min(0)
        };
        self.0.store(off / 1_000, Ordering::Relaxed);
    }

    /// Our own clock was set by `ms` milliseconds.
    pub fn shift(&self, ms: i64) {
        if let Some(secs) = self.secs() {
            self.0
                .store(secs.saturating_sub(ms / 1_000), Ordering::Relaxed);
        }
    }

    /// How many whole seconds it is ahead of ours; below zero: behind.
    #[must_use]
    pub fn secs(&self) -> Option<i64> {
        let secs = self.0.load(Ordering::Relaxed);
        (secs != NEVER_SAID).then_some(secs)
    }
}

fn read(header: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(header).ok()?;
    let at = OffsetDateTime::parse(text.trim(), &Rfc2822).ok()?;
    Some(Time(at.unix_timestamp().saturating_mul(1_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110's own example: 784,111,777 s.
    const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
    const AT: i64 = 784_111_777_000;

    fn off(asked: i64, now: i64) -> Option<i64> {
        let drift = Drift::default();
        drift.heard(Some(DATE), Time(asked), Time(now));
        drift.secs()
    }

    #[test]
    fn a_date_within_the_question_and_its_answer_is_no_difference() {
        assert_eq!(off(AT + 400, AT + 900), Some(0));
        assert_eq!(off(AT - 3_000, AT + 20_000), Some(0));
        assert_eq!(off(AT - 100_000, AT - 90_000), Some(90));
        assert_eq!(off(AT + 90_000, AT + 100_000), Some(-89));
    }

    #[test]
    fn what_is_no_date_says_nothing() {
        let drift = Drift::default();
        for header in [None, Some(&b"yesterday"[..]), Some(b""), Some(b"\xff")] {
            drift.heard(header, Time(0), Time(0));
            assert_eq!(drift.secs(), None);
        }
    }
}
