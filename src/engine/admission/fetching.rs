//! Requests whose inputs are being fetched from relays: counted while they are, so that their number has a bound.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::admission::Fetching;
use crate::domain::id::Buyer;

/// See the module. Clones count together.
#[derive(Clone, Default)]
pub(super) struct Slots(Arc<Mutex<BTreeMap<Buyer, u32>>>);

/// One of them, until it is dropped.
pub(super) struct Slot {
    slots: Slots,
    buyer: Buyer,
}

impl Slots {
    /// How many there are now.
    pub(super) fn now(&self, buyer: Buyer) -> Fetching {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Fetching {
            of_buyer: slots.get(&buyer).copied().unwrap_or(0),
            of_all: slots.values().sum(),
            buyers: u32::try_from(slots.len()).unwrap_or(u32::MAX),
        }
    }

    /// One more. Whether there may be one is for `domain::admission` to say.
    pub(super) fn take(&self, buyer: Buyer) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *slots.entry(buyer).or_default() += 1;
        Slot {
            slots: self.clone(),
            buyer,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut slots = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = slots.get_mut(&self.buyer) {
            *count -= 1;
            if *count == 0 {
                slots.remove(&self.buyer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;

    #[test]
    fn a_slot_is_free_again_when_it_is_dropped() {
        let slots = Slots::default();
        let (one, two) = (
            Buyer(Keys::generate().public_key()),
            Buyer(Keys::generate().public_key()),
        );
        let held = [slots.take(one), slots.take(one), slots.take(two)];
        let now = slots.now(one);
        assert_eq!((now.of_buyer, now.of_all, now.buyers), (2, 3, 2));
        drop(held);
        assert_eq!(slots.now(one), Fetching::default());
    }
}
