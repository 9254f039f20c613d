//! Hours of the week in local time, as `machine.hours` writes them: `mon-fri 22:00-07:00`.

use jiff::civil::{Date, DateTime, Time as Clock, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::domain::time::Time;

/// How far ahead the next opening is looked for: any hours come within a week, and once a year a clock that is set forward
/// leaves some out.
const DAYS_AHEAD: i64 = 16;
/// Changes of the clock that are looked at within that time; zones have two in a year.
const CLOCK_CHANGES: usize = 4;
const DAY_MINUTES: u16 = 24 * 60;
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// One line of `machine.hours`: days, and from when to when. An end that is not after its start is on the next day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    days: [bool; 7],
    start: u16,
    end: u16,
}

/// Monday is 0.
fn number(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

impl Hours {
    /// Reads `mon-fri 22:00-07:00`, `sat,sun 00:00-24:00`, or hours of every day, `22:00-07:00`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let lower = text.to_ascii_lowercase();
        let mut words = lower.split_whitespace();
        let (days, hours) = match (words.next(), words.next(), words.next()) {
            (Some(hours), None, None) => ([true; 7], hours),
            (Some(list), Some(hours), None) => (days(list)?, hours),
            _ => return Err(""),
        };
        let (start, end) = hours.split_once('-').ok_or("hours are as 22:00-07:00")?;
        let (start, end) = (minute(start)?, minute(end)?);
        if start == end || start == DAY_MINUTES {
            return Err("a whole day is 00:00-24:00");
        }
        Ok(Self { days, start, end })
    }

    /// Does it hold at this day and minute?
    fn holds(&self, day: usize, minute: u16) -> bool {
        let of = |day: usize| self.days.get(day).copied().unwrap_or(false);
        if self.start < self.end {
            return of(day) && self.start <= minute && minute < self.end;
        }
        (of(day) && self.start <= minute) || (of((day + 6) % 7) && minute < self.end)
    }
}

fn days(list: &str) -> Result<[bool; 7], &'static str> {
    let mut days = [false; 7];
    for part in list.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (mut at, to) = (day(from)?, day(to)?);
        loop {
            if let Some(day) = days.get_mut(at) {
                *day = true;
            }
            if at == to {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Ok(days)
}

fn day(word: &str) -> Result<usize, &'static str> {
    let found = DAYS.iter().find(|(name, _)| *name == word);
    found
        .map(|(_, day)| number(*day))
        .ok_or("days are mon, tue, wed, thu, fri, sat and sun")
}

fn minute(text: &str) -> Result<u16, &'static str> {
    const WRONG: &str = "times are from 00:00 to 24:00";
    let (hour, minute) = text.split_once(':').ok_or(WRONG)?;
    let number = |part: &str| {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u16>().ok().filter(|_| digits).ok_or(WRONG)
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let at = hour * 60 + minute;
    if minute > 59 || at > DAY_MINUTES {
        return Err(WRONG);
    }
    Ok(at)
}

fn stamp(at: Time) -> Option<Timestamp> {
    Timestamp::from_millisecond(at.0).ok()
}

/// Is it within any of these hours? No hours are all hours.
#[must_use]
pub fn open(hours: &[Hours], zone: &TimeZone, at: Time) -> bool {
    if hours.is_empty() {
        return true;
    }
    let Some(at) = stamp(at) else { return true };
    let local = zone.to_datetime(at);
    let minute = minute_of(local);
    hours
        .iter()
        .any(|one| one.holds(number(local.weekday()), minute))
}

fn minute_of(local: DateTime) -> u16 {
    u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).unwrap_or(0)
}

/// The first moment after `now` that is within the hours, where it is not within them now.
#[must_use]
pub fn opens(hours: &[Hours], zone: &TimeZone, now: Time) -> Option<Time> {
    let from = stamp(now)?;
    let today = zone.to_datetime(from).date();
    let mut found: Vec<Time> = Vec::new();
    for ahead in 0..DAYS_AHEAD {
        let Ok(date) = today.checked_add(Span::new().days(ahead)) else {
            continue;
        };
        for one in hours {
            found.extend(starts(zone, date, one.start));
        }
    }
    // A clock that is set may jump into the hours.
    let changes = zone.following(from).take(CLOCK_CHANGES);
    found.extend(changes.map(|change| Time(change.timestamp().as_millisecond())));
    found.retain(|at| *at > now && open(hours, zone, *at));
    found.into_iter().min()
}

/// The moments at which a local clock shows this minute: two where it is set back over it, one otherwise.
fn starts(zone: &TimeZone, date: Date, minute: u16) -> Vec<Time> {
    let (hour, minute) = (minute / 60, minute % 60);
    let hour = i8::try_from(hour).unwrap_or(0);
    let minute = i8::try_from(minute).unwrap_or(0);
    let Ok(clock) = Clock::new(hour, minute, 0, 0) else {
        return Vec::new();
    };
    let local = || zone.to_ambiguous_zoned_datetime(DateTime::from_parts(date, clock));
    [local().earlier(), local().later()]
        .into_iter()
        .filter_map(Result::ok)
        .map(|at| Time(at.timestamp().as_millisecond()))
        .collect()
}

/// A moment as people read it here: `22:00 CET`, with its day where that is not today's.
#[must_use]
pub fn words(zone: &TimeZone, now: Time, at: Time) -> String {
    let (Some(today), Some(at)) = (stamp(now), stamp(at)) else {
        return at.to_string();
    };
    let today = zone.to_datetime(today).date();
    let info = zone.to_offset_info(at);
    let local = zone.to_datetime(at);
    let clock = format!(
        "{:02}:{:02} {}",
        local.hour(),
        local.minute(),
        info.abbreviation()
    );
    if local.date() == today {
        return clock;
    }
    let near = today
        .checked_add(Span::new().days(6))
        .is_ok_and(|last| local.date() <= last);
    if near {
        let name = DAYS.iter().find(|(_, day)| *day == local.weekday());
        format!("{} {clock}", name.map_or("", |(name, _)| *name))
    } else {
        format!("{} {clock}", local.date())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    fn all(texts: &[&str]) -> Vec<Hours> {
        texts
            .iter()
            .map(|text| Hours::parse(text).unwrap())
            .collect()
    }

    #[test]
    fn hours_are_read_as_people_write_them() {
        for good in [
            "mon-fri 22:00-07:00",
            "sat,sun 00:00-24:00",
            "22:00-7:00",
            "FRI-Mon 08:30-9:00",
        ] {
            assert!(Hours::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "mon",
            "mon 22",
            "mo 22:00-07:00",
            "mon 24:00-07:00",
            "mon 22:60-07:00",
            "mon 25:00-07:00",
            "mon 07:00-07:00",
            "mon 22:00 - 07:00",
            "mon +2:00-07:00",
        ] {
            assert!(Hours::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let (night, zone) = (all(&["fri 22:00-07:00"]), berlin());
        // 2026-11-27 is a Friday; Berlin is at UTC+1.
        for (when, expected) in [
            ("2026-11-27T20:59:00Z", false),
            ("2026-11-27T21:00:00Z", true),
            ("2026-11-28T05:59:59Z", true),
            ("2026-11-28T06:00:00Z", false),
            ("2026-11-27T02:00:00Z", false),
        ] {
            assert_eq!(open(&night, &zone, at(when)), expected, "{when}");
        }
        assert_eq!(
            opens(&night, &zone, at("2026-11-28T06:00:00Z")),
            Some(at("2026-12-04T21:00:00Z"))
        );
    }

    #[test]
    fn the_next_opening_is_right_at_every_minute_of_months_with_dst() {
        let zone = berlin();
        let sets = [
            all(&["mon-fri 22:00-07:00", "sat,sun 00:00-24:00"]),
            all(&["sun 02:30-02:45"]),
            all(&["sat,sun 01:30-02:30", "wed 12:00-12:01"]),
        ];
        for hours in &sets {
            for (from, days) in [("2026-03-20", 16), ("2026-10-18", 16)] {
                let from = at(from);
                let minutes: Vec<bool> = (0..(days + 8) * 1_440)
                    .map(|minute| open(hours, &zone, from.shifted(minute * MINUTE)))
                    .collect();
                // From the end: when each closed minute opens next.
                let mut next = None;
                let mut expected = vec![None; minutes.len()];
                for (index, open) in minutes.iter().enumerate().rev() {
                    if *open {
                        next = Some(index);
                    }
                    expected[index] = next;
                }
                for minute in (0..days * 1_440).step_by(7) {
                    let index = usize::try_from(minute).unwrap();
                    let now = from.shifted(minute * MINUTE);
                    if minutes[index] {
                        continue;
                    }
                    let Some(open) = expected[index] else {
                        continue;
                    };
                    let open = from.shifted(i64::try_from(open).unwrap() * MINUTE);
                    assert_eq!(opens(hours, &zone, now), Some(open), "{now} {hours:?}");
                }
            }
        }
    }

    #[test]
    fn a_moment_names_its_zone_and_its_day() {
        let (zone, now) = (berlin(), at("2026-07-01T12:00:00Z"));
        let said = |when: &str| words(&zone, now, at(when));
        assert_eq!(said("2026-07-01T20:00:00Z"), "22:00 CEST");
        assert_eq!(said("2026-07-03T20:00:00Z"), "fri 22:00 CEST");
        assert_eq!(said("2026-12-01T20:00:00Z"), "2026-12-01 21:00 CET");
    }
}
