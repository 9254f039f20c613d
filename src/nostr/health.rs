//! One relay's light: its health as the screen shows it, and what of it has been told.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::lock;
use super::words::WORDS;
use crate::domain::health::{HealthLevel, RelayHealth};
use crate::domain::text::clean;
use crate::domain::time::Time;

/// The state words of [`RelayHealth::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Connected,
    Subscribed,
    /// Subscribed, as far as can be told.
    Unsure,
    Deaf,
    NeedsAuth,
    Refusing,
    Down,
    Closed,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Subscribed | Self::Unsure => "subscribed",
            Self::Deaf => "deaf",
            Self::NeedsAuth => "needs_auth",
            Self::Refusing => "refusing",
            Self::Down => "down",
            Self::Closed => "closed",
        }
    }

    const fn health(self) -> HealthLevel {
        match self {
            Self::Connecting | Self::Connected => HealthLevel::Unknown,
            Self::Subscribed => HealthLevel::Ok,
            Self::Refusing | Self::Unsure => HealthLevel::Warn,
            Self::Deaf | Self::NeedsAuth | Self::Down | Self::Closed => HealthLevel::Down,
        }
    }
}

struct Inner {
    state: State,
    detail: String,
    /// Why it does not take our events, from the last refusal on until it takes one.
    refusing: Option<String>,
    health: RelayHealth,
    told: Option<RelayHealth>,
}

impl Inner {
    /// Writes state and refusal into the health.
    fn draw(&mut self) {
        let (state, detail) = match (&self.refusing, self.state) {
            (Some(words), State::Subscribed) => (State::Refusing, words.clone()),
            (_, state) => (state, self.detail.clone()),
        };
        let health = &mut self.health;
        if health.state != state.as_str() {
            state.as_str().clone_into(&mut health.state);
            health.since = Time::now();
        }
        health.health = state.health();
        health.detail = detail;
    }
}

/// One relay's light.
pub(super) struct HealthIndicator {
    inner: Mutex<Inner>,
    changed: Arc<Notify>,
}

impl HealthIndicator {
    pub(super) fn new(url: String, changed: Arc<Notify>) -> Self {
        let health = RelayHealth {
            url,
            since: Time::now(),
            ..RelayHealth::default()
        };
        let mut inner = Inner {
            state: State::Connecting,
            detail: String::new(),
            refusing: None,
            health,
            told: None,
        };
        inner.draw();
        Self {
            inner: Mutex::new(inner),
            changed,
        }
    }

    /// The health now.
    pub(super) fn now(&self) -> RelayHealth {
        lock(&self.inner).health.clone()
    }

    /// A new state. Strangers' text in `detail` is cleaned here too.
    pub(super) fn show(&self, state: State, detail: &str) {
        let mut inner = lock(&self.inner);
        inner.state = state;
        inner.detail = clean(detail, WORDS);
        inner.draw();
        drop(inner);
        self.changed.notify_one();
    }

    /// It does not take our events (its words, cleaned), or takes them again.
    pub(super) fn refuses(&self, words: Option<String>) {
        let mut inner = lock(&self.inner);
        if inner.refusing == words {
            return;
        }
        inner.refusing = words;
        inner.draw();
        drop(inner);
        self.changed.notify_one();
    }

    /// Changes a counter. Told with the next beat.
    pub(super) fn count(&self, change: impl FnOnce(&mut RelayHealth)) {
        change(&mut lock(&self.inner).health);
    }

    /// The health where it has not been told: always where the state changed, with `counters` also where only a number did.
    pub(super) fn untold(&self, counters: bool) -> Option<RelayHealth> {
        let mut inner = lock(&self.inner);
        let fresh = match &inner.told {
            None => true,
            Some(told) if counters => *told != inner.health,
            Some(told) => {
                told.state != inner.health.state
                    || told.detail != inner.health.detail
                    || told.pow != inner.health.pow
                    || told.longest != inner.health.longest
            }
        };
        if !fresh {
            return None;
        }
        inner.told = Some(inner.health.clone());
        inner.told.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_while_subscribed_and_goes_with_an_acceptance() {
        let health = HealthIndicator::new("ws://x".into(), Arc::default());
        health.show(State::Subscribed, "");
        health.refuses(Some("refuses our events: blocked: no".into()));
        assert_eq!(health.now().state, "refusing");
        assert!(health.now().detail.contains("blocked"));
        health.show(State::Down, "gone");
        assert_eq!(health.now().state, "down");
        health.show(State::Subscribed, "");
        health.refuses(None);
        assert_eq!(
            (health.now().state.as_str(), health.now().health),
            ("subscribed", HealthLevel::Ok)
        );
    }

    #[test]
    fn a_state_is_told_once_and_counters_with_the_beat() {
        let health = HealthIndicator::new("ws://x".into(), Arc::default());
        assert!(health.untold(false).is_some());
        assert!(health.untold(true).is_none());
        health.count(|health| health.events += 1);
        assert!(health.untold(false).is_none());
        assert_eq!(health.untold(true).unwrap().events, 1);
    }
}
