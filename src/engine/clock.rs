//! Notices a clock that is set back. What waits for a moment on the wall's clock would then wait for too long: a payment must
//! not be looked at, taken or given back an hour late because somebody corrected the time.

use std::time::{Duration, Instant};

use crate::domain::time::Time;

/// Less is how clocks are kept in step.
const SLACK: Duration = Duration::from_secs(2);

/// Both clocks as they were last read: the one on the wall, and the one that nobody can set.
#[derive(Debug)]
pub struct Clock {
    wall: Time,
    steady: Instant,
}

impl Clock {
    /// Reads them.
    pub fn start() -> Self {
        Self {
            wall: Time::now(),
            steady: Instant::now(),
        }
    }

    /// By how much the wall's clock was set back since the last reading, where that is more than two seconds.
    pub fn set_back(&mut self) -> Option<Duration> {
        self.read(Time::now(), Instant::now())
    }

    fn read(&mut self, wall: Time, steady: Instant) -> Option<Duration> {
        let gone = steady.saturating_duration_since(self.steady);
        let back = self.wall.plus(gone).since(wall);
        *self = Self { wall, steady };
        (back > SLACK).then_some(back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_is_noticed_once_and_one_that_goes_ahead_is_not() {
        let secs = Duration::from_secs;
        let mut clock = Clock::start();
        let (wall, steady) = (clock.wall, clock.steady);
        assert_eq!(clock.read(wall.plus(secs(60)), steady + secs(60)), None);
        assert_eq!(clock.read(wall.plus(secs(119)), steady + secs(120)), None);
        let back = clock.read(wall.plus(secs(10)), steady + secs(121));
        assert_eq!(back, Some(secs(110)));
        assert_eq!(clock.read(wall.plus(secs(11)), steady + secs(122)), None);
        assert_eq!(clock.read(wall.plus(secs(9_000)), steady + secs(123)), None);
    }
}
