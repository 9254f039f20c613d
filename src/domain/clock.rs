//! Is this machine's clock right? Steps of the wall clock, and what other machines say about it.

use std::time::Duration;

use super::drift;
use super::health::HealthLevel;
use super::time::Time;

/// A smaller step is how clocks are kept in step with each other.
pub const STEP: Duration = Duration::from_secs(2);

/// Buyers' and relays' limit for moments ahead of theirs, seconds: what is signed later than this is refused, and a request
/// that is dated later is too.
pub const AHEAD_SECS: u64 = 15 * 60;

/// A signed event is dated this much after the real time at most, to be no older than a request that is dated ahead.
const SIGNED_AHEAD: Duration = Duration::from_secs(10 * 60);

/// What turns on the system's own way to keep the time.
pub const FIX: &str = "timedatectl set-ntp true";

/// By how many milliseconds the wall clock was set; none where it goes as it should.
#[must_use]
pub fn step(should_be: Time, wall: Time) -> Option<i64> {
    let ms = wall.0.saturating_sub(should_be.0);
    (Duration::from_millis(ms.unsigned_abs()) > STEP).then_some(ms)
}

/// How far this machine's clock is off, by what others say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// [`HealthLevel::Warn`], or [`HealthLevel::Down`] where requests can't be judged by it.
    pub health: HealthLevel,
    /// How many seconds the others are ahead of us; below zero: behind. Zero where only a relay's refusal tells.
    pub off_secs: i64,
    /// In words, with who says so.
    pub words: String,
}

/// What others say of the time.
#[derive(Clone, Debug, Default)]
pub struct Witnesses {
    /// How many seconds each of our relays is ahead of us.
    pub relays: Vec<i64>,
    /// The wallet.
    pub wallet: Option<i64>,
    /// The model servers.
    pub endpoints: Vec<i64>,
    /// A relay refused one of our events lately for its date, with these words.
    pub refused: Option<String>,
}

/// Judges our clock. Relays are asked first: wallets and model servers are often on this very machine, and prove nothing.
/// The middle one counts, so that one liar among several changes nothing.
#[must_use]
pub fn judge(said: &Witnesses, max_age_secs: u64) -> Option<Fault> {
    let wallet: Vec<i64> = said.wallet.into_iter().collect();
    let ranked = [
        ("relays", &said.relays),
        ("the wallet", &wallet),
        ("the model servers", &said.endpoints),
    ];
    let heard = ranked.into_iter().find_map(|(who, all)| {
        let off = middle(all)?;
        Some((who, all.len(), off))
    });
    if let Some((who, count, off)) = heard
        && let Some(off) = drift::noted(off)
    {
        let limit = if off > 0 { AHEAD_SECS } else { max_age_secs };
        let health = if off.unsigned_abs() > limit {
            HealthLevel::Down
        } else {
            HealthLevel::Warn
        };
        let by = if who == "relays" {
            format!("{count} of our relays")
        } else {
            who.to_owned()
        };
        let words = format!(
            "this machine's clock is {} by what {by} say: run `{FIX}`",
            apart(-off)
        );
        return Some(Fault {
            health,
            off_secs: off,
            words,
        });
    }
    let words = said.refused.as_ref()?;
    Some(Fault {
        health: HealthLevel::Warn,
        off_secs: 0,
        words: format!(
            "a relay refuses our events for their date ({words}): compare this machine's clock, or run `{FIX}`"
        ),
    })
}

/// The middle one; of two, the one nearer to our own clock.
fn middle(all: &[i64]) -> Option<i64> {
    let mut all = all.to_vec();
    all.sort_unstable();
    let upper = *all.get(all.len() / 2)?;
    let lower = all[(all.len() - 1) / 2];
    Some(if upper.unsigned_abs() < lower.unsigned_abs() {
        upper
    } else {
        lower
    })
}

/// How far a clock is from the right time, in words: above zero it is ahead.
#[must_use]
pub fn apart(secs: i64) -> String {
    let (count, unit) = match secs.unsigned_abs() {
        secs @ 0..120 => (secs, "s"),
        secs @ 120..7_200 => (secs / 60, "min"),
        secs @ 7_200..172_800 => (secs / 3_600, "hours"),
        secs => (secs / 86_400, "days"),
    };
    let way = if secs > 0 { "ahead" } else { "behind" };
    format!("{count} {unit} {way}")
}

/// The date of an event that is signed now. Others' clocks correct ours where they are known to differ; it is never before
/// the request that it answers, and never so far ahead that a relay refuses it.
#[must_use]
pub fn signed_at(now: Time, fault: Option<&Fault>, request: Option<Time>) -> Time {
    let off = fault.map_or(0, |fault| fault.off_secs);
    let real = now.shifted(off.saturating_mul(1_000));
    match request {
        Some(request) => real.max(request.min(real.plus(SIGNED_AHEAD))),
        None => real,
    }
}

/// Does a relay refuse an event for its date?
#[must_use]
pub fn blames_the_date(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    [
        "created_at",
        "timestamp",
        "too far in the",
        "future",
        "too old",
    ]
    .iter()
    .any(|told| words.contains(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_relays(relays: &[i64]) -> Option<Fault> {
        let said = Witnesses {
            relays: relays.to_vec(),
            endpoints: vec![0],
            ..Witnesses::default()
        };
        judge(&said, 600)
    }

    #[test]
    fn a_step_is_more_than_two_seconds_either_way() {
        let at = Time(1_000_000);
        assert_eq!(step(at, Time(1_002_000)), None);
        assert_eq!(step(at, Time(998_000)), None);
        assert_eq!(step(at, Time(1_002_001)), Some(2_001));
        assert_eq!(step(at, Time(0)), Some(-1_000_000));
    }

    #[test]
    fn a_minute_off_is_yellow_and_more_than_the_age_limits_red() {
        assert_eq!(by_relays(&[60, -60, 0]), None);
        let health = |relays: &[i64]| by_relays(relays).unwrap().health;
        assert_eq!(health(&[61, 61, 61]), HealthLevel::Warn);
        // We are ahead: requests look older than they are.
        assert_eq!(health(&[-600, -600]), HealthLevel::Warn);
        assert_eq!(health(&[-601, -601]), HealthLevel::Down);
        // We are behind: they look dated ahead.
        assert_eq!(health(&[900]), HealthLevel::Warn);
        assert_eq!(health(&[901]), HealthLevel::Down);
        let words = by_relays(&[-7_200; 3]).unwrap().words;
        assert!(
            words.contains("2 hours ahead") && words.contains(FIX),
            "{words}"
        );
    }

    #[test]
    fn one_liar_among_relays_changes_nothing() {
        assert_eq!(by_relays(&[0, 1, 86_400]), None);
        assert_eq!(by_relays(&[0, -86_400]), None);
        let off = by_relays(&[-86_400, -86_390, 0]).unwrap().off_secs;
        assert_eq!(off, -86_390);
    }

    #[test]
    fn what_is_signed_is_never_behind_its_request_nor_far_ahead() {
        let fault = by_relays(&[3_600]).unwrap();
        let now = Time::from_secs(1_000_000);
        let real = Time::from_secs(1_003_600);
        assert_eq!(signed_at(now, Some(&fault), None), real);
        let request = Time::from_secs(1_003_700);
        assert_eq!(signed_at(now, Some(&fault), Some(request)), request);
        let years = Time::from_secs(9_000_000);
        let latest = signed_at(now, None, Some(years));
        assert!(latest.since(now) < Duration::from_secs(AHEAD_SECS));
    }

    #[test]
    fn a_relays_words_about_the_date_are_known() {
        for words in [
            "invalid: created_at too late",
            "invalid: event timestamp is in the future",
            "rejected: event creation date is too far off from the current time (too far in the future)",
        ] {
            assert!(blames_the_date(words), "{words}");
        }
        assert!(!blames_the_date("blocked: you are not on the list"));
    }
}
