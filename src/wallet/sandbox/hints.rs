//! Word of a payment, from a payer to every wallet open on the same folder in this process.
//!
//! Only a hint to look, as any push is. A payer in another process is found by looking.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use crate::domain::id::PaymentHash;
use crate::wallet::inbox::Inbox;

static OPEN: LazyLock<Mutex<HashMap<PathBuf, Vec<Weak<Inbox>>>>> = LazyLock::new(Mutex::default);

/// The inbox of a wallet on this folder; it ends when dropped.
pub(super) fn open(dir: &Path) -> Arc<Inbox> {
    let inbox = Arc::new(Inbox::default());
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

/// Tells every wallet open on this folder in this process.
pub(super) fn tell(dir: &Path, hash: PaymentHash) {
    let inboxes: Vec<_> = held(&OPEN).get(dir).cloned().unwrap_or_default();
    for inbox in inboxes.iter().filter_map(Weak::upgrade) {
        inbox.put(Some(hash));
    }
}

/// The data is whole after every statement above, so a thread that died while holding it left nothing half done.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
