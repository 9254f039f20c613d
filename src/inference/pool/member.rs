//! What the pool knows of one endpoint. Pure: time comes in as an argument.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::health::{EndpointHealth, HealthLevel};
use crate::domain::id::EndpointName;
use crate::domain::job::Answer;
use crate::domain::model_name::{canonical, same_model};
use crate::inference::InferenceError;

/// So many failures in a row send an endpoint to rest.
const PATIENCE: u32 = 3;
/// The first rest; each further one is twice as long.
const FIRST_REST: Duration = Duration::from_secs(10);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_mins(5);
/// How an endpoint that refuses to work gets jobs again.
pub(super) const UNTIL: &str =
    "it takes no job until it is tested (Settings, t) or the shop goes online again";
/// How much the newest answer counts in the smoothed speed.
const NEWEST: f64 = 0.3;

/// One endpoint's state.
#[derive(Debug)]
pub struct Member {
    /// As at the last look.
    health: EndpointHealth,
    slots: u32,
    running: u32,
    speed: Option<f64>,
    /// In a row.
    failures: u32,
    rest: Option<Rest>,
    /// Why it takes no job until somebody looks: it refuses to work for the seller.
    closed: Option<String>,
    /// How long the last rest was; zero since a job succeeded.
    rested: Duration,
    /// Models that it listed but refused as missing; in canonical form.
    missing: HashSet<String>,
    turn: u64,
}

#[derive(Debug)]
struct Rest {
    since: Instant,
    until: Instant,
    detail: String,
}

impl Member {
    /// An endpoint of which nothing is known yet.
    pub fn new(name: &str, slots: u32) -> Self {
        Self {
            health: EndpointHealth {
                name: EndpointName(name.to_owned()),
                kind: String::new(),
                url: String::new(),
                state: "unknown".to_owned(),
                health: HealthLevel::Unknown,
                detail: "not looked at yet".to_owned(),
                models: Vec::new(),
                running: 0,
                slots,
                tokens_per_second: None,
            },
            slots: slots.max(1),
            running: 0,
            speed: None,
            failures: 0,
            rest: None,
            closed: None,
            rested: Duration::ZERO,
            missing: HashSet::new(),
            turn: 0,
        }
    }

    /// What is shown of it.
    pub fn shown(&self) -> EndpointHealth {
        let mut health = self.health.clone();
        health.models = self.models().collect();
        health.running = self.running;
        health.slots = self.slots;
        health.tokens_per_second = self.speed;
        if let Some(rest) = &self.rest {
            "resting".clone_into(&mut health.state);
            health.health = HealthLevel::Down;
            health.detail.clone_from(&rest.detail);
        }
        if let Some(why) = &self.closed {
            "needs_attention".clone_into(&mut health.state);
            health.health = HealthLevel::Down;
            health.detail.clone_from(why);
        }
        health
    }

    /// The models that it has, as it names them.
    pub fn models(&self) -> impl Iterator<Item = String> + '_ {
        let has = |name: &&String| !self.missing.contains(&canonical(name));
        self.health.models.iter().filter(has).cloned()
    }

    /// Its own name for the model, where it has it.
    pub fn offers(&self, model: &str) -> Option<&str> {
        let mut models = self.health.models.iter();
        let name = models.find(|name| same_model(name, model))?;
        (!self.missing.contains(&canonical(name))).then_some(name)
    }

    /// Its own name for the model, where it can run a job on it now.
    pub fn can_run(&self, model: &str) -> Option<&str> {
        let well = self.rest.is_none() && self.closed.is_none();
        let well = well && self.health.state == "up" && self.free() > 0;
        well.then(|| self.offers(model)).flatten()
    }

    /// Why it takes no job until somebody looks.
    pub fn closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }

    /// Somebody has looked: it may work again.
    pub fn reopen(&mut self) {
        self.closed = None;
    }

    /// Free places.
    pub fn free(&self) -> u32 {
        self.slots.saturating_sub(self.running)
    }

    /// A job starts; `turn` orders the starts of the whole pool.
    pub fn enter(&mut self, turn: u64) {
        self.running += 1;
        self.turn = turn;
    }

    /// A job is over.
    pub fn leave(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// When it last started a job.
    pub fn last_turn(&self) -> u64 {
        self.turn
    }

    /// Less loaded first, then the one unused for longer.
    pub fn compare_load(&self, other: &Self) -> Ordering {
        let load = |one: &Self, of: &Self| u64::from(one.running) * u64::from(of.slots);
        let by_load = load(self, other).cmp(&load(other, self));
        by_load.then(self.turn.cmp(&other.turn))
    }

    /// Is it to be left alone?
    pub fn rests(&self, now: Instant) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.until > now)
    }

    /// What is left of its rest; zero where it waits for a look.
    pub fn rest_left(&self, now: Instant) -> Option<Duration> {
        let rest = self.rest.as_ref()?;
        Some(rest.until.saturating_duration_since(now))
    }

    /// A look that began at `began` found this.
    pub fn looked(&mut self, health: EndpointHealth, began: Instant, now: Instant) {
        let up = health.state == "up";
        self.health = health;
        // What began before the rest says nothing about why it rests.
        let rest = self.rest.take_if(|rest| rest.since <= began);
        if up {
            let listed = &self.health.models;
            self.missing
                .retain(|model| !listed.iter().any(|name| same_model(name, model)));
            if rest.is_some() {
                // On probation: the next failure sends it back to rest.
                self.failures = PATIENCE - 1;
            }
        } else if rest.is_some() {
            let detail = self.health.detail.clone();
            self.go_to_rest(&detail, now);
        }
    }

    /// A job succeeded.
    pub fn succeeded(&mut self, answer: &Answer) {
        self.failures = 0;
        self.rested = Duration::ZERO;
        if answer.elapsed_ms == 0 {
            return;
        }
        let took = Duration::from_millis(answer.elapsed_ms).as_secs_f64();
        let speed = f64::from(answer.completion_tokens) / took;
        self.speed = Some(
            self.speed
                .map_or(speed, |last| last + NEWEST * (speed - last)),
        );
    }

    /// A job failed. What is the request's fault, or only the answer's, does not count against the endpoint.
    pub fn failed(&mut self, error: &InferenceError, now: Instant) {
        use InferenceError as E;
        match error {
            E::ModelMissing { model, .. } => {
                self.missing.insert(canonical(model));
            }
            E::Unreachable { .. } => self.rest_unless_resting(error, now),
            E::Unauthorized { .. } | E::Refused { .. } => {
                self.closed = Some(format!("{error}; {UNTIL}"));
            }
            E::Busy { .. } | E::Died { .. } | E::Stalled { .. } | E::Protocol { .. } => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= PATIENCE {
                    self.rest_unless_resting(error, now);
                }
            }
            E::Rejected { .. }
            | E::TooLong { .. }
            | E::TimedOut { .. }
            | E::Empty { .. }
            | E::Truncated { .. }
            | E::NoEndpoint { .. } => {}
        }
    }

    fn rest_unless_resting(&mut self, error: &InferenceError, now: Instant) {
        if self.rest.is_none() {
            self.go_to_rest(&error.to_string(), now);
        }
    }

    fn go_to_rest(&mut self, why: &str, now: Instant) {
        let length = if self.rested.is_zero() {
            FIRST_REST
        } else {
            (self.rested * 2).min(LONGEST_REST)
        };
        self.rested = length;
        self.rest = Some(Rest {
            since: now,
            until: now + length,
            detail: format!("rests for {} s: {why}", length.as_secs()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(state: &str) -> EndpointHealth {
        let mut health = Member::new("a", 1).shown();
        health.state = state.to_owned();
        health.models = vec!["m".to_owned()];
        health
    }

    fn member(now: Instant) -> Member {
        let mut member = Member::new("a", 1);
        member.looked(health("up"), now, now);
        member
    }

    fn died() -> InferenceError {
        InferenceError::Died {
            endpoint: "a".into(),
            detail: "gone".into(),
            started: true,
        }
    }

    fn unreachable() -> InferenceError {
        InferenceError::Unreachable {
            endpoint: "a".into(),
            url: "http://x".into(),
            detail: "refused".into(),
        }
    }

    fn answer() -> Answer {
        Answer {
            text: "ok".into(),
            prompt_tokens: 1,
            completion_tokens: 1,
            estimated: false,
            cut: false,
            elapsed_ms: 1,
            endpoint: "a".into(),
        }
    }

    #[test]
    fn each_rest_is_twice_as_long_up_to_five_minutes() {
        let mut now = Instant::now();
        let mut member = member(now);
        member.failed(&unreachable(), now);
        for secs in [10, 20, 40, 80, 160, 300, 300] {
            let rest = member.rest_left(now).unwrap();
            assert_eq!(rest.as_secs(), secs);
            now += rest;
            assert!(!member.rests(now), "it is looked at again");
            assert_eq!(
                member.can_run("m"),
                None,
                "but takes no job before the look"
            );
            member.looked(health("down"), now, now);
            assert_eq!(member.shown().state, "resting");
        }
        member.looked(health("up"), now, now);
        assert_eq!(member.can_run("m"), Some("m"));
    }

    #[test]
    fn three_failures_in_a_row_are_a_rest_and_after_it_one_more_is() {
        let now = Instant::now();
        let mut member = member(now);
        member.failed(&died(), now);
        member.failed(&died(), now);
        member.succeeded(&answer());
        member.failed(&died(), now);
        member.failed(&died(), now);
        assert_eq!(member.rest_left(now), None);
        member.failed(&died(), now);
        assert_eq!(member.rest_left(now), Some(FIRST_REST));
        let now = now + FIRST_REST;
        member.looked(health("up"), now, now);
        member.failed(&died(), now);
        assert_eq!(member.rest_left(now), Some(2 * FIRST_REST));
    }

    #[test]
    fn a_job_that_succeeds_makes_the_next_rest_short_again() {
        let now = Instant::now();
        let mut member = member(now);
        for _ in 0..2 {
            member.failed(&unreachable(), now);
            assert_eq!(member.rest_left(now), Some(FIRST_REST));
            member.looked(health("up"), now, now);
            member.succeeded(&answer());
        }
    }

    #[test]
    fn a_look_that_began_before_the_failure_does_not_end_the_rest() {
        let began = Instant::now();
        let mut member = member(began);
        let failed = began + Duration::from_millis(1);
        member.failed(&unreachable(), failed);
        member.looked(health("up"), began, failed);
        assert!(member.rests(failed));
    }

    #[test]
    fn the_buyer_s_mistakes_do_not_count() {
        let now = Instant::now();
        let mut member = member(now);
        for _ in 0..9 {
            member.failed(
                &InferenceError::TooLong {
                    endpoint: "a".into(),
                    model: "m".into(),
                },
                now,
            );
        }
        assert_eq!(member.can_run("m"), Some("m"));
    }

    #[test]
    fn a_server_that_still_loads_takes_no_job() {
        let now = Instant::now();
        let mut member = member(now);
        member.looked(health("loading"), now, now);
        assert_eq!(member.can_run("m"), None);
        assert_eq!(member.rest_left(now), None);
    }
}
