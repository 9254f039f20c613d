//! Which notifications came already: relays send them again.

use std::collections::{HashSet, VecDeque};

use nostr::{EventId, Kind};

/// NIP-44 and NIP-04 notifications (NIP-47).
const NOTIFICATIONS: [u16; 2] = [23_197, 23_196];

/// The kinds of notifications.
pub(super) fn kinds() -> [Kind; 2] {
    NOTIFICATIONS.map(Kind::from_u16)
}

/// Is it a notification of the wallet's?
pub(super) fn is_notification(kind: Kind) -> bool {
    NOTIFICATIONS.contains(&kind.as_u16())
}

/// Ids that are kept; of a longer row the oldest are forgotten.
const MAX_KEPT: usize = 512;

/// The ids of the last notifications, each entered after its signature was checked.
#[derive(Debug, Default)]
pub(super) struct Heard {
    ids: HashSet<EventId>,
    row: VecDeque<EventId>,
}

impl Heard {
    pub(super) fn knows(&self, id: EventId) -> bool {
        self.ids.contains(&id)
    }

    /// Enters an id; false where it was there.
    pub(super) fn enter(&mut self, id: EventId) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.row.push_back(id);
        if self.row.len() > MAX_KEPT
            && let Some(oldest) = self.row.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
