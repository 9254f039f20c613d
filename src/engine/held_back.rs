//! Requests that look too old or too new by a clock that is wrong, or may be: they are judged again when the clock was set.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use nostr::{Event as Signed, RelayUrl};

/// So many are kept, the newest; a request has 64 KiB at most.
const MOST: usize = 64;

/// The requests.
#[derive(Debug, Default)]
pub struct HeldBack(Mutex<VecDeque<(RelayUrl, Signed)>>);

impl HeldBack {
    /// Keeps one.
    pub fn keep(&self, relay: &RelayUrl, event: &Signed) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().any(|(_, one)| one.id == event.id) {
            return;
        }
        if kept.len() >= MOST {
            kept.pop_front();
        }
        kept.push_back((relay.clone(), event.clone()));
    }

    /// All of them, to be judged again.
    pub fn take(&self) -> VecDeque<(RelayUrl, Signed)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
