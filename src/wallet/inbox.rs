//! Hints that wait for whoever looks at invoices.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::id::PaymentHash;

/// Hints that wait to be read; more than these become one "look at all".
const MAX_WAITING: usize = 256;

/// The hints for one open wallet. A hash that waits already is not put in again.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    news: Notify,
}

enum Hint {
    Nothing,
    One(PaymentHash),
    LookAtAll,
}

#[derive(Debug, Default)]
struct Waiting {
    hashes: VecDeque<PaymentHash>,
    look_at_all: bool,
}

impl Inbox {
    /// The next hint; none stands for "look at all". Dropping the future loses nothing.
    pub(super) async fn next(&self) -> Option<PaymentHash> {
        loop {
            let news = self.news.notified();
            match self.take() {
                Hint::One(hash) => return Some(hash),
                Hint::LookAtAll => return None,
                Hint::Nothing => news.await,
            }
        }
    }

    fn take(&self) -> Hint {
        let mut waiting = held(&self.waiting);
        if std::mem::take(&mut waiting.look_at_all) {
            waiting.hashes.clear();
            return Hint::LookAtAll;
        }
        waiting.hashes.pop_front().map_or(Hint::Nothing, Hint::One)
    }

    /// Something happened to this payment; none: to any.
    pub(super) fn put(&self, hash: Option<PaymentHash>) {
        let mut waiting = held(&self.waiting);
        match hash {
            Some(hash) if waiting.hashes.contains(&hash) => {}
            Some(hash) if waiting.hashes.len() < MAX_WAITING => waiting.hashes.push_back(hash),
            _ => waiting.look_at_all = true,
        }
        drop(waiting);
        self.news.notify_one();
    }
}

/// The data is whole after every statement above, so a thread that died while holding it left nothing half done.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
