//! The times that the screen shows: local ones, or UTC, as `screen.time` says. What other programs read stays UTC.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::domain::screen::TimeKind;
use crate::domain::time::Time;

/// The zone of the screen's times. Tests are in none, wherever they run.
fn zone(kind: TimeKind) -> TimeZone {
    if kind == TimeKind::Utc || cfg!(test) {
        TimeZone::UTC
    } else {
        TimeZone::system()
    }
}

/// A moment moved by the zone's offset: its day and its time of day, read as UTC, are those of the screen's zone.
#[must_use]
pub fn here(kind: TimeKind, at: Time) -> Time {
    moved(&zone(kind), at)
}

/// What the zone is called at a moment, as `CET`.
#[must_use]
pub fn name(kind: TimeKind, at: Time) -> String {
    called(&zone(kind), at)
}

fn moved(zone: &TimeZone, at: Time) -> Time {
    let Ok(stamp) = Timestamp::from_millisecond(at.0) else {
        return at;
    };
    at.shifted(i64::from(zone.to_offset(stamp).seconds()) * 1_000)
}

fn called(zone: &TimeZone, at: Time) -> String {
    let Ok(stamp) = Timestamp::from_millisecond(at.0) else {
        return "UTC".to_owned();
    };
    zone.to_offset_info(stamp).abbreviation().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_time_moves_with_the_season_and_names_its_zone() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let at = |text: &str| Time::parse(text).unwrap();
        let winter = at("2026-11-21T23:30:00Z");
        assert_eq!(moved(&berlin, winter).clock(), "00:30");
        assert_eq!(moved(&berlin, winter).day(), "2026-11-22");
        assert_eq!(called(&berlin, winter), "CET");
        let summer = at("2026-07-01T12:00:00Z");
        assert_eq!(moved(&berlin, summer).clock(), "14:00");
        assert_eq!(called(&berlin, summer), "CEST");
        assert_eq!(here(TimeKind::Utc, summer), summer);
        assert_eq!(name(TimeKind::Utc, summer), "UTC");
    }
}
