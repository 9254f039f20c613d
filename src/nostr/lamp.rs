//! One relay's light: its health as the screen shows it, and what of it has been told.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::lock;
use super::words::WORDS;
use crate::domain::health::{Light, RelayHealth};
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
    const fn word(self) -> &'static str {
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

    const fn light(self) -> Light {
        match self {
            Self::Connecting | Self::Connected => Light::Unknown,
            Self::Subscribed => Light::Ok,
            Self::Refusing | Self::Unsure => Light::Warn,
            Self::Deaf | Self::NeedsAuth | Self::Down | Self::Closed => Light::Down,
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
        if health.state != state.word() {
            state.word().clone_into(&mut health.state);
            health.since = Time::now();
        }
        health.light = state.light();
        health.detail = detail;
    }
}

/// One relay's light.
pub(super) struct Lamp {
    inner: Mutex<Inner>,
    changed: Arc<Notify>,
}

impl Lamp {
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
        let lamp = Lamp::new("ws://x".into(), Arc::default());
        lamp.show(State::Subscribed, "");
        lamp.refuses(Some("refuses our events: blocked: no".into()));
        assert_eq!(lamp.now().state, "refusing");
        assert!(lamp.now().detail.contains("blocked"));
        lamp.show(State::Down, "gone");
        assert_eq!(lamp.now().state, "down");
        lamp.show(State::Subscribed, "");
        lamp.refuses(None);
        assert_eq!(
            (lamp.now().state.as_str(), lamp.now().light),
            ("subscribed", Light::Ok)
        );
    }

    #[test]
    fn a_state_is_told_once_and_counters_with_the_beat() {
        let lamp = Lamp::new("ws://x".into(), Arc::default());
        assert!(lamp.untold(false).is_some());
        assert!(lamp.untold(true).is_none());
        lamp.count(|health| health.events += 1);
        assert!(lamp.untold(false).is_none());
        assert_eq!(lamp.untold(true).unwrap().events, 1);
    }
}
