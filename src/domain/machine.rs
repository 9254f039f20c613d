//! May the machine be used for selling now? Its owner's rules, what was read of it, and how long that has been so.
//!
//! Nothing here reads a clock or a sensor. A pause begins within [`BEGINS`] of what causes it, and ends only when the cause has
//! been away for a while, so that a loose plug or a load that comes and goes does not open and close the shop.

pub mod hours;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;

use self::hours::Hours;
use super::time::Time;

/// Between two looks at the machine.
pub const EVERY: Duration = Duration::from_secs(2);
/// What the notice of a pause begins with.
pub const PAUSED: &str = "paused: ";
/// The notice of its end.
pub const RESUMED: &str = "no longer paused";
/// A use that must last to count: a single spike is none.
const BEGINS: Duration = Duration::from_secs(4);
/// How long power, or the end of a program, must last.
const STEADY: Duration = Duration::from_secs(30);
/// How long a load or a temperature must be down.
const CALM: Duration = Duration::from_secs(60);
/// How far below its limit a share in percent must fall.
const BELOW_PERCENT: u8 = 10;
/// How far below its limit a temperature must fall.
const BELOW_CELSIUS: u8 = 5;
/// By how much free memory must be above its least, in percent of it.
const ABOVE_VRAM: u64 = 10;

const SNOOZED: &str = "snoozed";

/// What `[machine]` says. A limit of zero is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// When it sells; empty: always.
    pub hours: Vec<Hours>,
    /// It pauses on battery.
    pub on_battery: bool,
    /// Nobody must have used it for so long; zero: no matter.
    pub idle: Duration,
    /// Programs while which it pauses.
    pub programs: Vec<String>,
    /// The processor's use by others, percent.
    pub max_cpu: u8,
    /// The graphics cards' use by others, percent.
    pub max_gpu: u8,
    /// The hottest graphics card, degrees Celsius.
    pub max_celsius: u8,
    /// The least free graphics memory, millions of bytes.
    pub min_vram_mb: u64,
}

impl Rules {
    /// Is there anything to look at the machine for?
    #[must_use]
    pub fn reads(&self) -> bool {
        let plain = Self {
            hours: self.hours.clone(),
            ..Self::default()
        };
        *self != plain
    }
}

/// One thing that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading<T> {
    /// This machine does not tell.
    #[default]
    Absent,
    /// Our own work hides it: it counts as it was.
    Hidden,
    /// As it is.
    Is(T),
}

impl<T> Reading<T> {
    /// The same of another kind.
    #[must_use]
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Absent => Reading::Absent,
            Self::Hidden => Reading::Hidden,
            Self::Is(value) => Reading::Is(change(value)),
        }
    }
}

impl<T> From<Option<T>> for Reading<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Is)
    }
}

/// The machine as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// Does it run on battery?
    pub on_battery: Reading<bool>,
    /// How long nobody has used keyboard, mouse or terminal.
    pub idle: Reading<Duration>,
    /// Which of the programs run.
    pub programs: Reading<Vec<String>>,
    /// The processor's use by others than vend and its endpoints, percent.
    pub cpu: Reading<u8>,
    /// The graphics cards' use by others, percent.
    pub gpu: Reading<u8>,
    /// The hottest graphics card, degrees Celsius.
    pub celsius: Reading<u8>,
    /// Graphics memory that is free, or used by our endpoints: that of the card with the most. Millions of bytes.
    pub vram_mb: Reading<u64>,
}

/// Why it does not sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The seller said so.
    Snoozed,
    /// It runs on battery.
    Battery,
    /// A graphics card is hot.
    Heat,
    /// A program runs.
    Program,
    /// Somebody uses the machine.
    InUse,
    /// Others use the processor.
    Cpu,
    /// Others use the graphics cards.
    Gpu,
    /// Others use the graphics memory.
    Vram,
    /// It is outside its hours.
    Hours,
}

impl Cause {
    /// The setting behind it; none behind what the seller said.
    #[must_use]
    pub const fn setting(self) -> Option<&'static str> {
        Some(match self {
            Self::Snoozed => return None,
            Self::Battery => "machine.on_battery",
            Self::Heat => "machine.max_gpu_celsius",
            Self::Program => "machine.pause_while",
            Self::InUse => "machine.idle_minutes",
            Self::Cpu => "machine.max_cpu_percent",
            Self::Gpu => "machine.max_gpu_percent",
            Self::Vram => "machine.min_free_vram_mb",
            Self::Hours => "machine.hours",
        })
    }
}

/// It takes no new work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// All that holds now, the most telling first; never empty.
    pub causes: Vec<Cause>,
    /// Why, and until when, in the seller's local time.
    pub words: String,
    /// The same without what the seller has put off; empty where that is all.
    pub rules: String,
    /// When it opens again, where that is known.
    pub until: Option<Time>,
}

impl Pause {
    /// Why it pauses beside what the seller has put off.
    #[must_use]
    pub fn without_snooze(&self) -> Option<String> {
        (!self.rules.is_empty()).then(|| self.rules.clone())
    }

    /// What a buyer is told.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self.until {
            Some(until) => {
                let until = Time::from_secs(until.secs() + u64::from(until.0 % 1_000 > 0));
                format!("Busy until {until}; please try again then.")
            }
            None => "Busy; please try again later.".to_owned(),
        }
    }
}

/// A moment on both clocks, and where the local one is.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// On the wall.
    pub wall: Time,
    /// On a clock that nobody can set.
    pub steady: Duration,
    /// The local time zone.
    pub zone: &'a TimeZone,
}

/// What comes of a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It pauses; none: it may sell.
    pub pause: Option<Pause>,
    /// Settings that this machine tells nothing for, so that they can't be kept to.
    pub blind: Vec<&'static str>,
}

/// How long a cause has been there, or away.
#[derive(Clone, Copy, Debug, Default)]
struct Track {
    pauses: bool,
    /// Since when it has been otherwise.
    since: Option<Duration>,
}

impl Track {
    /// Takes one look in. It changes over when the look has been the other way for `begins`, or for `ends`.
    fn settle(&mut self, holds: bool, now: Duration, (begins, ends): (Duration, Duration)) {
        if holds == self.pauses {
            self.since = None;
            return;
        }
        let since = *self.since.get_or_insert(now);
        let wait = if holds { begins } else { ends };
        if now.saturating_sub(since) >= wait {
            *self = Self {
                pauses: holds,
                since: None,
            };
        }
    }
}

/// What is remembered from look to look.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    tracks: BTreeMap<Cause, Track>,
    programs: Vec<String>,
    blind: Vec<&'static str>,
}

impl Watch {
    /// One look: the rules, what was read, and until when the seller has put it off.
    pub fn look(
        &mut self,
        rules: &Rules,
        readings: &Readings,
        snoozed: Option<Time>,
        now: Moment<'_>,
    ) -> Verdict {
        self.blind.clear();
        let at = now.steady;
        let share = |limit: u8, low: u8| limit.saturating_sub(low);
        let battery = rules.on_battery.then_some(readings.on_battery);
        self.take(Cause::Battery, battery, at, (Duration::ZERO, STEADY));
        if let Reading::Is(running) = &readings.programs
            && !running.is_empty()
        {
            self.programs.clone_from(running);
        }
        let runs = readings.programs.clone().map(|running| !running.is_empty());
        let programs = (!rules.programs.is_empty()).then_some(runs);
        self.take(Cause::Program, programs, at, (Duration::ZERO, STEADY));
        let used = readings.idle.map(|idle| idle < rules.idle);
        let used = (!rules.idle.is_zero()).then_some(used);
        self.take(Cause::InUse, used, at, (Duration::ZERO, Duration::ZERO));
        for (cause, limit, reading, low, begins) in [
            (
                Cause::Heat,
                rules.max_celsius,
                readings.celsius,
                BELOW_CELSIUS,
                Duration::ZERO,
            ),
            (
                Cause::Cpu,
                rules.max_cpu,
                readings.cpu,
                BELOW_PERCENT,
                BEGINS,
            ),
            (
                Cause::Gpu,
                rules.max_gpu,
                readings.gpu,
                BELOW_PERCENT,
                BEGINS,
            ),
        ] {
            let most = if self.pauses(cause) {
                share(limit, low)
            } else {
                limit
            };
            let over = (limit > 0).then(|| reading.map(|value| value > most));
            self.take(cause, over, at, (begins, CALM));
        }
        let least = if self.pauses(Cause::Vram) {
            rules
                .min_vram_mb
                .saturating_add(rules.min_vram_mb.saturating_mul(ABOVE_VRAM) / 100)
        } else {
            rules.min_vram_mb
        };
        let short = (rules.min_vram_mb > 0).then(|| readings.vram_mb.map(|free| free < least));
        self.take(Cause::Vram, short, at, (BEGINS, CALM));
        Verdict {
            pause: self.pause(rules, snoozed, now),
            blind: self.blind.clone(),
        }
    }

    fn pauses(&self, cause: Cause) -> bool {
        self.tracks.get(&cause).is_some_and(|track| track.pauses)
    }

    /// Takes in what one rule saw; none: there is no such rule.
    fn take(
        &mut self,
        cause: Cause,
        saw: Option<Reading<bool>>,
        now: Duration,
        waits: (Duration, Duration),
    ) {
        let Some(saw) = saw else {
            self.tracks.remove(&cause);
            return;
        };
        let holds = match saw {
            Reading::Hidden => return,
            Reading::Is(holds) => holds,
            // What can't be read pauses nothing for ever, and is said.
            Reading::Absent => {
                self.blind.extend(cause.setting());
                false
            }
        };
        self.tracks
            .entry(cause)
            .or_default()
            .settle(holds, now, waits);
    }

    fn pause(&self, rules: &Rules, snoozed: Option<Time>, now: Moment<'_>) -> Option<Pause> {
        let said = |until: Time| hours::words(now.zone, now.wall, until);
        let mut causes: Vec<(Cause, Option<Time>, String)> = Vec::new();
        if let Some(until) = snoozed.filter(|until| *until > now.wall) {
            let words = format!("{SNOOZED}, until {}", said(until));
            causes.push((Cause::Snoozed, Some(until), words));
        }
        for (cause, track) in &self.tracks {
            if track.pauses {
                causes.push((*cause, None, self.words(*cause, rules)));
            }
        }
        if !hours::open(&rules.hours, now.zone, now.wall) {
            let until = hours::opens(&rules.hours, now.zone, now.wall);
            let when = until.map_or_else(String::new, |until| format!(", until {}", said(until)));
            causes.push((Cause::Hours, until, format!("outside its hours{when}")));
        }
        if causes.is_empty() {
            return None;
        }
        let known = causes.iter().all(|(_, until, _)| until.is_some());
        let last = causes.iter().filter_map(|(_, until, _)| *until).max();
        let joined = |all: bool| {
            let told = causes
                .iter()
                .filter(|(cause, ..)| all || *cause != Cause::Snoozed);
            let words: Vec<&str> = told.map(|(_, _, words)| words.as_str()).collect();
            words.join("; ")
        };
        Some(Pause {
            words: joined(true),
            rules: joined(false),
            until: last.filter(|_| known),
            causes: causes.iter().map(|(cause, ..)| *cause).collect(),
        })
    }

    /// Why, and what ends it. The same words for as long as the cause lasts.
    fn words(&self, cause: Cause, rules: &Rules) -> String {
        match cause {
            Cause::Battery => "on battery, until power returns".to_owned(),
            Cause::Heat => format!(
                "the graphics card is hotter than {} °C, until it has cooled to {} °C",
                rules.max_celsius,
                rules.max_celsius.saturating_sub(BELOW_CELSIUS)
            ),
            Cause::Program => match self.programs.as_slice() {
                [one] => format!("{one} runs, until it ends"),
                many => format!("{} run, until they end", many.join(", ")),
            },
            Cause::InUse => format!(
                "somebody uses the machine, until nobody has for {} minutes",
                rules.idle.as_secs() / 60
            ),
            Cause::Cpu => format!(
                "others use more than {} % of the processor, until they use less",
                rules.max_cpu
            ),
            Cause::Gpu => format!(
                "others use more than {} % of the graphics card, until they use less",
                rules.max_gpu
            ),
            Cause::Vram => format!(
                "less than {} MB of graphics memory are free, until more are",
                rules.min_vram_mb
            ),
            Cause::Snoozed | Cause::Hours => String::new(),
        }
    }
}

/// Does a pause's reason begin with what the seller has put off? It is told first.
#[must_use]
pub fn is_snoozed(words: &str) -> bool {
    words.starts_with(SNOOZED)
}

/// Reads a duration as people write it: `45s`, `90m`, `3h`, `1h30m`, `2d`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no duration: write 45s, 90m, 3h, 1h30m or 2d, up to 30d");
    let (mut total, mut digits) = (0_u64, String::new());
    for letter in text.trim().chars() {
        if letter.is_ascii_digit() && digits.len() < 9 {
            digits.push(letter);
            continue;
        }
        let unit = match letter.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        total = total.saturating_add(number.saturating_mul(unit));
        digits.clear();
    }
    if !digits.is_empty() || total == 0 || total > LONGEST_SNOOZE.as_secs() {
        return Err(wrong());
    }
    Ok(Duration::from_secs(total))
}

/// The longest that the seller may put it off.
pub const LONGEST_SNOOZE: Duration = Duration::from_secs(30 * 86_400);

#[cfg(test)]
mod tests;
