//! Word of a payment, from a payer to every wallet open on the same folder in this process.
//!
//! Only a hint to look, as any push is. A payer in another process is found by looking.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::domain::id::PaymentHash;

/// Hints that wait to be read; more than these become one "look at all".
const MAX_WAITING: usize = 256;

static OPEN: LazyLock<Mutex<HashMap<PathBuf, Vec<Weak<Inbox>>>>> = LazyLock::new(Mutex::default);

/// The hints for one open wallet.
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
    /// The inbox of a wallet on this folder; it ends when dropped.
    pub(super) fn open(dir: &Path) -> Arc<Self> {
        let inbox = Arc::new(Self::default());
        let mut open = held(&OPEN);
        open.retain(|_, inboxes| {
            inboxes.retain(|inbox| inbox.strong_count() > 0);
            !inboxes.is_empty()
        });
        open.entry(dir.to_owned())
            .or_default()
            .push(Arc::downgrade(&inbox));
        inbox
    }

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

    fn put(&self, hash: PaymentHash) {
        let mut waiting = held(&self.waiting);
        if waiting.hashes.len() < MAX_WAITING {
            waiting.hashes.push_back(hash);
        } else {
            waiting.look_at_all = true;
        }
        drop(waiting);
        self.news.notify_one();
    }
}

/// Tells every wallet open on this folder in this process.
pub(super) fn tell(dir: &Path, hash: PaymentHash) {
    let inboxes: Vec<_> = held(&OPEN).get(dir).cloned().unwrap_or_default();
    for inbox in inboxes.iter().filter_map(Weak::upgrade) {
        inbox.put(hash);
    }
}

/// The data is whole after every statement above, so a thread that died while holding it left nothing half done.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
