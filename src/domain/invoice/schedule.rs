//! When an open invoice is looked at again, and when it may be called unpaid.

use std::time::Duration;

use crate::domain::time::Time;

const SEC: u64 = 1;
const MINUTE: u64 = 60 * SEC;
const HOUR: u64 = 60 * MINUTE;

/// How often a young invoice is looked at: up to this age, with this gap. A buyer who pays, pays soon, and waits for it.
const YOUNG: [(Duration, Duration); 3] = [
    (Duration::from_secs(30), Duration::from_secs(2)),
    (Duration::from_secs(2 * MINUTE), Duration::from_secs(5)),
    (Duration::from_secs(10 * MINUTE), Duration::from_secs(15)),
];

/// The looks that follow, from expiry on: a payment that a route holds can settle late.
const LATE: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_secs(30),
    Duration::from_secs(MINUTE),
    Duration::from_secs(5 * MINUTE),
    Duration::from_secs(10 * MINUTE),
    Duration::from_secs(HOUR),
    Duration::from_secs(24 * HOUR),
];

/// How many answered looks follow expiry, the one at expiry among them.
pub const LATE_LOOKS: u32 = 7;

/// An invoice may be called unpaid only by a look at least this long after its expiry.
pub const MAY_CLOSE_AFTER: Duration = Duration::from_secs(MINUTE);

/// So many answers "I do not know this invoice" after expiry stand for one "not paid".
pub const UNKNOWN_LOOKS: u32 = 3;

/// A late look that is overdue (the wallet did not answer, or nothing ran) is made up for after this long at most.
const OVERDUE_GAP: Duration = Duration::from_secs(30);

/// The shortest gap, whatever the settings say: a look costs the wallet something.
const SHORTEST_GAP: Duration = Duration::from_secs(1);

/// When to look next, from `now`, the moment the last look ended.
///
/// - Before expiry: every 2 s in the first 30 s, 5 s to 2 min, 15 s to 10 min, then every `check_every`; never a longer
///   gap than `check_every`, and always one look at the moment of expiry.
/// - From expiry on: one at expiry, then +30 s, +60 s, +5 min, +10 min, +1 h and +24 h.
///
/// `late_polls` counts the looks that [`is_due`] counts; one that failed does not, and is tried again within 30 s. None when
/// all [`LATE_LOOKS`] were answered: only then is the invoice left alone.
///
/// Where nothing ran for a while (a restart), the caller looks once at every open invoice first. `made_at` should be our
/// own clock's. Jitter and the wallet's rate limit are the caller's.
#[must_use]
pub fn next_poll(
    made_at: Time,
    expires_at: Time,
    now: Time,
    late_polls: u32,
    check_every: Duration,
) -> Option<Time> {
    let longest = check_every.max(SHORTEST_GAP);
    if now < expires_at {
        let gap = gap_at_age(now.since(made_at), longest);
        return Some(now.plus(gap).min(expires_at));
    }
    let slot = LATE.get(usize::try_from(late_polls).ok()?)?;
    let due = expires_at.plus(*slot);
    if due > now || (now == expires_at && slot.is_zero()) {
        Some(due)
    } else {
        Some(now.plus(OVERDUE_GAP.min(longest)))
    }
}

/// Does a look that the wallet answered count as a late one, where `late_polls` were counted before? Only when its time had
/// come: hints can make many looks at once, and they must not use up those that are meant for later.
#[must_use]
pub fn is_due(expires_at: Time, began: Time, late_polls: u32) -> bool {
    let slot = usize::try_from(late_polls).ok().and_then(|n| LATE.get(n));
    slot.is_some_and(|slot| began >= expires_at.plus(*slot))
}

fn gap_at_age(age: Duration, longest: Duration) -> Duration {
    YOUNG
        .iter()
        .find(|(up_to, _)| age < *up_to)
        .map_or(longest, |(_, gap)| *gap)
        .min(longest)
}

/// May an invoice that the wallet says is not paid be called unpaid?
///
/// Only where the wallet answered a look begun at least 60 s after expiry, so that a payment in flight at the last moment
/// is not missed. `now` is the moment at which that look began, and `late_polls` counts it. A look that failed never
/// allows it, and an answer "unknown" only as the third of its kind ([`UNKNOWN_LOOKS`]). "Unpaid" is final for the job,
/// not for the money: the looks go on to +24 h.
#[must_use]
pub fn may_close(expires_at: Time, now: Time, late_polls: u32) -> bool {
    late_polls > 0 && now >= expires_at.plus(MAY_CLOSE_AFTER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MADE: Time = Time(1_795_000_000_000);

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Every look until the schedule ends, seconds after the invoice was made; the wallet always answers.
    fn polls(expiry: Duration, check_every: Duration) -> Vec<u64> {
        let expires_at = MADE.plus(expiry);
        let (mut now, mut late, mut all) = (MADE, 0, Vec::new());
        while let Some(at) = next_poll(MADE, expires_at, now, late, check_every) {
            all.push(at.since(MADE).as_secs());
            late += u32::from(at >= expires_at);
            now = at;
        }
        all
    }

    #[test]
    fn a_fresh_invoice_is_looked_at_every_few_seconds_and_an_old_one_seldom() {
        let polls = polls(secs(1_200), secs(120));
        assert_eq!(polls[..3], [2, 4, 6]);
        let gap_after = |at: u64| {
            let i = polls.iter().position(|look| *look >= at).unwrap();
            polls[i + 1] - polls[i]
        };
        assert_eq!(gap_after(10), 2);
        assert_eq!(gap_after(60), 5);
        assert_eq!(gap_after(300), 15);
        assert_eq!(gap_after(620), 120);
    }

    #[test]
    fn it_is_looked_at_at_expiry_and_six_times_after() {
        let polls = polls(secs(600), secs(120));
        let late: Vec<u64> = polls
            .iter()
            .filter(|at| **at >= 600)
            .map(|at| at - 600)
            .collect();
        assert_eq!(late, [0, 30, 60, 300, 600, 3_600, 86_400]);
        assert_eq!(late.len(), usize::try_from(LATE_LOOKS).unwrap());
    }

    #[test]
    fn a_look_that_failed_is_tried_again_and_never_forgotten() {
        let expires_at = MADE.plus(secs(600));
        let years_later = expires_at.plus(secs(100_000_000));
        for late in 0..LATE_LOOKS {
            let next = next_poll(MADE, expires_at, years_later, late, secs(120)).unwrap();
            assert_eq!(next, years_later.plus(secs(30)));
        }
        assert_eq!(
            next_poll(MADE, expires_at, years_later, LATE_LOOKS, secs(120)),
            None
        );
    }

    #[test]
    fn unpaid_needs_an_answer_a_minute_after_expiry() {
        let expires_at = MADE.plus(secs(600));
        assert!(!may_close(expires_at, expires_at, 1));
        assert!(!may_close(expires_at, expires_at.plus(secs(59)), 2));
        assert!(!may_close(expires_at, expires_at.plus(secs(3_600)), 0));
        assert!(may_close(expires_at, expires_at.plus(secs(60)), 1));
    }

    #[test]
    fn many_looks_at_once_count_as_one() {
        let expires_at = MADE.plus(secs(600));
        assert!(!is_due(expires_at, MADE.plus(secs(599)), 0));
        let mut late = 0;
        for at in [600, 600, 601, 629, 630, 631, 660, 661] {
            late += u32::from(is_due(expires_at, MADE.plus(secs(at)), late));
        }
        assert_eq!(late, 3);
        assert!(!is_due(expires_at, MADE.plus(secs(1_000_000)), LATE_LOOKS));
    }

    proptest! {
        #[test]
        fn no_gap_before_expiry_is_longer_than_the_settings_say(
            expiry in 1_u64..8_000, check_every in 1_u64..4_000,
        ) {
            let mut last = 0;
            for at in polls(secs(expiry), secs(check_every)).into_iter().filter(|at| *at <= expiry) {
                prop_assert!(at > last && at - last <= check_every);
                last = at;
            }
            prop_assert_eq!(last, expiry);
        }

        #[test]
        fn there_is_exactly_one_look_at_expiry_and_the_schedule_ends(
            expiry in 1_u64..8_000, check_every in 1_u64..4_000,
        ) {
            let polls = polls(secs(expiry), secs(check_every));
            prop_assert_eq!(polls.iter().filter(|at| **at == expiry).count(), 1);
            prop_assert_eq!(polls.last().copied(), Some(expiry + 86_400));
        }

        #[test]
        fn the_next_look_is_always_ahead(
            made in 0_i64..10_000_000, expiry in 0_i64..10_000_000, now in 0_i64..100_000_000,
            late in 0_u32..10, check_every in 0_u64..4_000,
        ) {
            let expires_at = Time(made + expiry);
            if let Some(at) = next_poll(Time(made), expires_at, Time(now), late, secs(check_every)) {
                prop_assert!(at > Time(now) || (at == expires_at && now == expires_at.0));
            }
        }
    }
}
