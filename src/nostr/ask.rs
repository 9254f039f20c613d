//! One subscription on one connection: when to ask, and what silence or `CLOSED` mean. No clock, no socket.

use std::time::{Duration, Instant};

use super::timing::{Timing, doubled};
use super::words::Closed;

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not wanted.
    Off,
    /// To be asked for now.
    Due,
    /// `REQ` is out, `EOSE` is not in.
    Asked(Instant),
    /// `EOSE` came.
    Live(Instant),
    /// The relay ended it; asked for again at this moment.
    Resting(Instant),
    /// The relay wants NIP-42 first; asked for again then, or at this moment.
    WaitingAuth(Instant),
}

/// A subscription's state.
#[derive(Debug)]
pub(super) struct Ask {
    phase: Phase,
    /// `CLOSED` in a row.
    closed: u32,
    /// `REQ` without `EOSE` in a row.
    unanswered: u32,
    /// Goes on without an `EOSE`: the relay has never sent one.
    patient: bool,
    /// When the ask that went on without one was sent.
    went_on: Option<Instant>,
}

/// What time brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tick {
    /// Nothing to do.
    Nothing,
    /// Send the `REQ`.
    Ask,
    /// Two asks went unanswered: the relay does not hear us.
    Deaf,
    /// An ask went unanswered, and is taken for open.
    GoOn,
}

impl Ask {
    /// Wanted from the start, or not.
    pub(super) fn new(wanted: bool) -> Self {
        let phase = if wanted { Phase::Due } else { Phase::Off };
        Self {
            phase,
            closed: 0,
            unanswered: 0,
            patient: false,
            went_on: None,
        }
    }

    /// Goes on without an `EOSE`, where the relay has never sent one.
    pub(super) fn be_patient(&mut self, patient: bool) {
        self.patient = patient;
    }

    /// Is a subscription open at the relay, as far as we know?
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Asked(_) | Phase::Live(_))
    }

    /// Did the relay answer it?
    pub(super) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live(_))
    }

    /// Since when it has been answered.
    pub(super) fn live_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Live(since) => Some(since),
            _ => None,
        }
    }

    /// Asks again as soon as it may: not while an answer is awaited or the relay wants us to wait.
    pub(super) fn want(&mut self) {
        if matches!(self.phase, Phase::Off | Phase::Live(_)) {
            self.phase = Phase::Due;
        }
    }

    /// Not wanted any more.
    pub(super) fn unwant(&mut self) {
        self.phase = Phase::Off;
    }

    /// `REQ` was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.phase = Phase::Asked(now);
    }

    /// `REQ` was sent for a subscription whose `EOSE` nobody waits for.
    pub(super) fn sent_unwatched(&mut self, now: Instant) {
        self.phase = Phase::Live(now);
    }

    /// `EOSE` came: how long it took.
    pub(super) fn eose(&mut self, now: Instant) -> Option<Duration> {
        let late = self.went_on.take();
        let at = match self.phase {
            Phase::Asked(at) => at,
            Phase::Live(_) => late?,
            _ => return None,
        };
        self.patient = false;
        self.phase = Phase::Live(now);
        self.unanswered = 0;
        Some(now.saturating_duration_since(at))
    }

    /// `CLOSED` came: how long we rest. `authed`: NIP-42 has succeeded on this connection.
    pub(super) fn closed(
        &mut self,
        why: Closed,
        authed: bool,
        now: Instant,
        timing: &Timing,
    ) -> Duration {
        if let Phase::Live(since) = self.phase
            && now.saturating_duration_since(since) > timing.closed_cap
        {
            // It worked for a long while: this is not one of a row.
            self.closed = 0;
        }
        let times = self.closed;
        self.closed = self.closed.saturating_add(1);
        self.unanswered = 0;
        let backoff = doubled(timing.closed_first, times, timing.closed_cap);
        let (wait, phase): (_, fn(Instant) -> Phase) = match why {
            // The CLOSED of a REQ that was sent before the AUTH: ask at once.
            Closed::Auth if authed && times == 0 => (Duration::ZERO, Phase::Resting),
            Closed::Auth if !authed => (timing.closed_cap, Phase::WaitingAuth),
            Closed::Restricted => (timing.restricted_wait, Phase::Resting),
            Closed::Auth | Closed::Other => (backoff, Phase::Resting),
        };
        self.phase = phase(now + wait);
        wait
    }

    /// NIP-42 succeeded.
    pub(super) fn authenticated(&mut self) {
        if matches!(self.phase, Phase::WaitingAuth(_)) {
            self.phase = Phase::Due;
        }
    }

    /// The next moment at which [`Ask::tick`] has something to do. `heard`: the last event of this subscription.
    pub(super) fn deadline(
        &self,
        now: Instant,
        heard: Option<Instant>,
        timing: &Timing,
    ) -> Option<Instant> {
        match self.phase {
            Phase::Off | Phase::Live(_) => None,
            Phase::Due => Some(now),
            Phase::Asked(at) => Some(heard.map_or(at, |heard| heard.max(at)) + timing.eose_wait),
            Phase::Resting(until) | Phase::WaitingAuth(until) => Some(until),
        }
    }

    /// What is to be done now.
    pub(super) fn tick(&mut self, now: Instant, heard: Option<Instant>, timing: &Timing) -> Tick {
        if self.deadline(now, heard, timing).is_none_or(|at| at > now) {
            return Tick::Nothing;
        }
        if let Phase::Asked(at) = self.phase {
            if self.patient {
                self.phase = Phase::Live(now);
                self.went_on = Some(at);
                return Tick::GoOn;
            }
            self.unanswered += 1;
            if self.unanswered >= 2 {
                return Tick::Deaf;
            }
        }
        self.phase = Phase::Due;
        Tick::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, secs: u64) -> Instant {
        start + Duration::from_secs(secs)
    }

    #[test]
    fn every_closed_is_followed_by_a_new_ask() {
        let timing = Timing::default();
        for why in [Closed::Auth, Closed::Restricted, Closed::Other] {
            let now = Instant::now();
            let mut ask = Ask::new(true);
            ask.sent(now);
            let wait = ask.closed(why, false, now, &timing);
            assert_eq!(ask.tick(now, None, &timing), Tick::Nothing, "{why:?}");
            assert_eq!(ask.tick(now + wait, None, &timing), Tick::Ask, "{why:?}");
        }
    }

    #[test]
    fn closed_again_and_again_waits_longer_each_time_even_after_eose() {
        let timing = Timing::default();
        let now = Instant::now();
        let mut ask = Ask::new(true);
        let waits: Vec<u64> = (0..8)
            .map(|_| {
                ask.sent(now);
                ask.eose(now);
                ask.closed(Closed::Other, false, now, &timing).as_secs()
            })
            .collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        ask.sent(now);
        ask.eose(now);
        let later = after(now, 301);
        assert_eq!(
            ask.closed(Closed::Other, false, later, &timing).as_secs(),
            5
        );
    }

    #[test]
    fn authentication_brings_the_ask_at_once() {
        let timing = Timing::default();
        let now = Instant::now();
        let mut ask = Ask::new(true);
        ask.sent(now);
        ask.closed(Closed::Auth, false, now, &timing);
        ask.authenticated();
        assert_eq!(ask.tick(now, None, &timing), Tick::Ask);
        // The other order: authenticated before the CLOSED was read.
        ask.closed = 0;
        ask.sent(now);
        assert_eq!(ask.closed(Closed::Auth, true, now, &timing), Duration::ZERO);
        assert_eq!(ask.tick(now, None, &timing), Tick::Ask);
    }

    #[test]
    fn two_asks_without_an_answer_are_deaf_and_one_is_not() {
        let timing = Timing::default();
        let now = Instant::now();
        let mut ask = Ask::new(true);
        ask.sent(now);
        assert_eq!(ask.tick(after(now, 19), None, &timing), Tick::Nothing);
        // An event on the way keeps it waiting.
        assert_eq!(
            ask.tick(after(now, 20), Some(after(now, 5)), &timing),
            Tick::Nothing
        );
        assert_eq!(ask.tick(after(now, 20), None, &timing), Tick::Ask);
        ask.sent(after(now, 20));
        assert_eq!(ask.tick(after(now, 40), None, &timing), Tick::Deaf);
    }

    #[test]
    fn a_relay_that_never_sent_eose_is_listened_to_all_the_same() {
        let timing = Timing::default();
        let now = Instant::now();
        let mut ask = Ask::new(true);
        ask.be_patient(true);
        ask.sent(now);
        assert_eq!(ask.tick(after(now, 19), None, &timing), Tick::Nothing);
        assert_eq!(ask.tick(after(now, 20), None, &timing), Tick::GoOn);
        assert!(ask.is_live());
        // From the first one on it is known to send them.
        assert_eq!(ask.eose(after(now, 25)), Some(Duration::from_secs(25)));
        assert_eq!(ask.eose(after(now, 26)), None);
        ask.want();
        ask.sent(after(now, 30));
        assert_eq!(ask.tick(after(now, 50), None, &timing), Tick::Ask);
    }

    #[test]
    fn an_answer_is_measured_and_clears_the_count() {
        let timing = Timing::default();
        let now = Instant::now();
        let mut ask = Ask::new(true);
        ask.sent(now);
        assert_eq!(ask.tick(after(now, 20), None, &timing), Tick::Ask);
        ask.sent(after(now, 20));
        assert_eq!(ask.eose(after(now, 21)), Some(Duration::from_secs(1)));
        assert!(ask.is_live() && ask.is_open());
        ask.want();
        ask.sent(after(now, 30));
        assert_eq!(ask.tick(after(now, 50), None, &timing), Tick::Ask);
    }
}
