//! An event on its way to the shop. What is on its way at once is bounded in bytes, not only in number.

use std::ops::Deref;
use std::sync::Arc;

use nostr::Event;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most bytes of events on their way, KiB.
const ROOM: usize = 32 * 1024;

/// Room for events on their way.
pub(super) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ROOM))
}

/// Takes room for an event of so many bytes; none where there is too little now.
pub(super) fn reserve(room: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let kib = u32::try_from(bytes / 1024 + 1).ok()?;
    room.clone().try_acquire_many_owned(kib).ok()
}

/// An event with its room, which is free again when the last copy is dropped.
#[derive(Clone, Debug)]
pub struct Parcel {
    event: Box<Event>,
    _room: Arc<OwnedSemaphorePermit>,
}

impl Parcel {
    pub(super) fn new(event: Event, room: OwnedSemaphorePermit) -> Self {
        Self {
            event: Box::new(event),
            _room: Arc::new(room),
        }
    }

    /// The event alone.
    #[must_use]
    pub fn into_event(self) -> Event {
        *self.event
    }
}

impl Deref for Parcel {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}
