//! Moments. Rules that depend on time take it as an argument; only the engine reads the clock.

use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const MS_PER_SEC: i64 = 1_000;

/// What [`Time::now`] goes by in this process.
static ANCHOR: RwLock<Option<Anchor>> = RwLock::new(None);

/// A moment on both clocks: the one on the wall, and the one that nobody can set.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    /// On the wall.
    pub wall: Time,
    /// The same moment on the monotonic clock.
    pub steady: Instant,
}

impl Anchor {
    /// What the wall clock would show at this monotonic moment, had nobody set it.
    #[must_use]
    pub fn now(&self, steady: Instant) -> Time {
        self.wall
            .plus(steady.saturating_duration_since(self.steady))
    }

    /// [`Time::now`] goes by this from now on.
    pub fn put(self) {
        *ANCHOR.write().unwrap_or_else(PoisonError::into_inner) = Some(self);
    }
}

/// By how many milliseconds a test has moved the wall clock under this program.
#[cfg(feature = "crash-points")]
fn moved() -> i64 {
    let file = std::env::var_os("VEND_CLOCK_FILE");
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Nothing.
#[cfg(not(feature = "crash-points"))]
const fn moved() -> i64 {
    0
}

/// A moment in milliseconds since the Unix epoch; in JSON RFC 3339 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    /// Now. Where the process has a clock that watches for steps ([`Anchor`]), this goes on by monotonic time, and takes over
    /// a step of the wall clock only when every stored due time was moved with it.
    #[must_use]
    pub fn now() -> Self {
        let anchor = *ANCHOR.read().unwrap_or_else(PoisonError::into_inner);
        anchor.map_or_else(Self::wall, |anchor| anchor.now(Instant::now()))
    }

    /// The clock on the wall, which anybody can set at any moment.
    #[must_use]
    pub fn wall() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Self(ms.saturating_add(moved()))
    }

    /// This moment and `ms` milliseconds, which may be below zero.
    #[must_use]
    pub const fn shifted(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// From Nostr's and BOLT 11's whole seconds.
    #[must_use]
    pub fn from_secs(secs: u64) -> Self {
        Self(
            i64::try_from(secs)
                .unwrap_or(i64::MAX)
                .saturating_mul(MS_PER_SEC),
        )
    }

    /// Whole seconds since the epoch, not below zero.
    #[must_use]
    pub fn secs(self) -> u64 {
        u64::try_from(self.0.div_euclid(MS_PER_SEC)).unwrap_or(0)
    }

    /// The moment `after` this one.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        let ms = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(ms))
    }

    /// The moment `before` this one.
    #[must_use]
    pub fn minus(self, before: Duration) -> Self {
        let ms = i64::try_from(before.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(ms))
    }

    /// How long after `earlier` this is; zero where it is before it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The UTC day, as `2026-11-21`.
    #[must_use]
    pub fn day(self) -> String {
        self.to_string().chars().take(10).collect()
    }

    /// The UTC hour, as `2026-11-21T08`.
    #[must_use]
    pub fn hour(self) -> String {
        self.to_string().chars().take(13).collect()
    }

    /// The time of day in UTC to the minute, as `08:30`.
    #[must_use]
    pub fn clock(self) -> String {
        self.to_string().chars().skip(11).take(5).collect()
    }

    /// Reads RFC 3339, or a plain day `2026-11-21` (its start, UTC).
    ///
    /// # Errors
    /// Where the text is neither; the sentence says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let full = if text.len() == 10 {
            format!("{text}T00:00:00Z")
        } else {
            text.to_owned()
        };
        OffsetDateTime::parse(&full, &Rfc3339)
            .map(|at| Self(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)))
            .map_err(|_| format!("'{text}' is no time: write 2026-11-21 or 2026-11-21T08:30:00Z"))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0) * 1_000_000;
        let text = OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok())
            .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned());
        f.pad(&text)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_rfc_3339_utc_and_reads_back() {
        let at = Time(1_795_000_000_123);
        let json = serde_json::to_string(&at).unwrap();
        assert_eq!(json, "\"2026-11-18T11:06:40.123Z\"");
        assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), at);
    }

    #[test]
    fn a_plain_day_is_its_start() {
        assert_eq!(Time::parse("1970-01-02").unwrap(), Time(86_400_000));
        assert!(Time::parse("yesterday").unwrap_err().contains("2026-11-21"));
    }
}
