//! The invoices that are watched, by when each is looked at next. A few hundred bytes an invoice, and what is not due costs
//! nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::Told;
use crate::domain::id::{PaymentHash, RequestId};
use crate::domain::invoice::Watched;
use crate::domain::job::MadeBy;
use crate::domain::time::Time;

/// One invoice that is watched.
#[derive(Debug)]
pub struct Watch {
    /// The wallet that made it.
    pub made_by: Arc<MadeBy>,
    /// Its payment hash.
    pub hash: PaymentHash,
    /// Its own timestamp.
    made_at: Time,
    /// When it was made, where this run of the program saw it made.
    made: Option<Instant>,
    /// Looks in a row that the wallet did not answer.
    pub fails: u32,
    /// When the last look began that showed nothing paid or held.
    pub unheld_at: Option<Time>,
    /// What was said of it last.
    pub told: Told,
    /// The next look; none while one is under way.
    next: Option<Time>,
    /// It is to be looked at again as soon as the look under way has ended.
    hurried: bool,
    /// Was there no wallet to ask?
    nobody: bool,
}

impl Watch {
    /// What the clock of the invoice's maker shows: from its making on by monotonic time, where that was seen, so that no wrong
    /// clock of ours makes it look expired.
    pub fn invoice_time(&self) -> Time {
        match self.made {
            Some(made) => self.made_at.plus(made.elapsed()),
            None => Time::now(),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Watches {
    all: HashMap<RequestId, Watch>,
    due: BTreeSet<(Time, RequestId)>,
    by_hash: HashMap<PaymentHash, RequestId>,
    /// Each wallet once.
    wallets: HashSet<Arc<MadeBy>>,
    /// Those under way.
    busy: HashSet<RequestId>,
}

impl Watches {
    /// Watches an invoice from now on, with a look at `at`; one that is watched already keeps its time.
    pub fn add(&mut self, watched: Watched, at: Time, made: Option<Instant>) {
        let id = watched.id;
        if self.all.contains_key(&id) {
            return;
        }
        let made_by = self.wallet(watched.made_by);
        self.by_hash.insert(watched.hash, id);
        self.due.insert((at, id));
        self.all.insert(
            id,
            Watch {
                made_by,
                hash: watched.hash,
                made_at: watched.made_at,
                made,
                fails: 0,
                unheld_at: None,
                told: Told::default(),
                next: Some(at),
                hurried: false,
                nobody: false,
            },
        );
    }

    fn wallet(&mut self, made_by: MadeBy) -> Arc<MadeBy> {
        if let Some(known) = self.wallets.get(&made_by) {
            return known.clone();
        }
        // Few: each settings' wallet that was ever in use, while its invoices are watched.
        let held = Arc::new(made_by);
        self.wallets.retain(|known| Arc::strong_count(known) > 1);
        self.wallets.insert(held.clone());
        held
    }

    /// A watched invoice.
    pub fn get(&mut self, id: &RequestId) -> Option<&mut Watch> {
        self.all.get_mut(id)
    }

    /// The next invoice that is due at `now`; its look is under way until [`Self::again`] or [`Self::forget`].
    pub fn take_due(&mut self, now: Time) -> Option<(RequestId, &Watch)> {
        let (at, id) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        let watch = self.all.get_mut(&id)?;
        watch.next = None;
        self.busy.insert(id);
        Some((id, watch))
    }

    /// When the next look is due; none where nothing waits.
    pub fn earliest(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A look has ended: the next one is at `at`. `nobody`: there was no wallet to ask.
    pub fn again(&mut self, id: &RequestId, at: Time, nobody: bool) {
        self.busy.remove(id);
        let Some(watch) = self.all.get_mut(id) else {
            return;
        };
        let at = if std::mem::take(&mut watch.hurried) {
            Time(0)
        } else {
            at
        };
        if let Some(before) = watch.next.replace(at) {
            self.due.remove(&(before, *id));
        }
        watch.nobody = nobody;
        self.due.insert((at, *id));
    }

    /// The invoice is watched no more.
    pub fn forget(&mut self, id: &RequestId) {
        self.busy.remove(id);
        let Some(watch) = self.all.remove(id) else {
            return;
        };
        self.by_hash.remove(&watch.hash);
        if let Some(next) = watch.next {
            self.due.remove(&(next, *id));
        }
    }

    /// A look died: what was under way is due again.
    pub fn lost_looks(&mut self, at: Time) {
        for id in std::mem::take(&mut self.busy) {
            self.again(&id, at, false);
        }
    }

    /// A hint makes the look happen now; none means "look at all".
    pub fn hurry(&mut self, hint: Option<PaymentHash>) {
        if let Some(hash) = hint {
            if let Some(id) = self.by_hash.get(&hash).copied() {
                self.now(&id);
            }
        } else {
            let all: Vec<RequestId> = self.all.keys().copied().collect();
            for id in all {
                self.now(&id);
            }
        }
    }

    /// The wall clock was set: everything is looked at, and what a look said before tells no time any more.
    pub fn clock_stepped(&mut self) {
        for watch in self.all.values_mut() {
            watch.unheld_at = None;
        }
        self.hurry(None);
    }

    /// There may be a wallet now for those that had none.
    pub fn wallets_changed(&mut self) {
        let alone = self.all.iter().filter(|(_, watch)| watch.nobody);
        let alone: Vec<RequestId> = alone.map(|(id, _)| *id).collect();
        for id in alone {
            self.now(&id);
        }
    }

    fn now(&mut self, id: &RequestId) {
        let Some(watch) = self.all.get_mut(id) else {
            return;
        };
        if let Some(before) = watch.next {
            watch.next = Some(Time(0));
            self.due.remove(&(before, *id));
            self.due.insert((Time(0), *id));
        } else {
            watch.hurried = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nostr::EventId;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Hex32;

    fn watched(number: u8) -> Watched {
        Watched {
            id: RequestId(EventId::from_byte_array([number; 32])),
            hash: PaymentHash(Hex32([number; 32])),
            made_by: MadeBy {
                backend: "sandbox".to_owned(),
                ..MadeBy::default()
            },
            made_at: Time(0),
            expires_at: Time(1_000),
            late_polls: 0,
            check_every: Duration::from_secs(60),
        }
    }

    #[test]
    fn what_is_due_first_is_looked_at_first_and_once() {
        let mut watches = Watches::default();
        for (number, at) in [(1, 30), (2, 10), (3, 99)] {
            watches.add(watched(number), Time(at), None);
        }
        watches.add(watched(1), Time(0), None);
        let second = watches.take_due(Time(50)).unwrap().0;
        let first = watches.take_due(Time(50)).unwrap().0;
        assert_eq!((second, first), (watched(2).id, watched(1).id));
        assert!(watches.take_due(Time(50)).is_none());
        assert_eq!(watches.earliest(), Some(Time(99)));
        watches.again(&first, Time(60), false);
        watches.forget(&second);
        assert_eq!(watches.earliest(), Some(Time(60)));
    }

    #[test]
    fn a_hint_during_a_look_asks_for_another_one() {
        let mut watches = Watches::default();
        watches.add(watched(1), Time(0), None);
        let id = watches.take_due(Time(1)).unwrap().0;
        watches.hurry(Some(watched(1).hash));
        assert!(watches.take_due(Time(1)).is_none());
        watches.again(&id, Time(500), false);
        assert_eq!(watches.take_due(Time(1)).map(|(id, _)| id), Some(id));
    }

    #[test]
    fn one_without_a_wallet_waits_for_one() {
        let mut watches = Watches::default();
        for number in [1, 2] {
            watches.add(watched(number), Time(0), None);
        }
        while let Some(id) = watches.take_due(Time(1)).map(|(id, _)| id) {
            watches.again(&id, Time(900), id == watched(1).id);
        }
        watches.wallets_changed();
        assert_eq!(
            watches.take_due(Time(1)).map(|(id, _)| id),
            Some(watched(1).id)
        );
        assert!(watches.take_due(Time(1)).is_none());
    }

    proptest! {
        /// Whatever happens, every watched invoice is either under way or due once.
        #[test]
        fn none_is_lost_and_none_is_doubled(steps in prop::collection::vec((0_u8..7, 0_u8..5, 0_i64..9), 0..60)) {
            let mut watches = Watches::default();
            for (what, number, at) in steps {
                let one = watched(number);
                match what {
                    0 => watches.add(one, Time(at), None),
                    1 => drop(watches.take_due(Time(at)).map(|(id, _)| id)),
                    2 => watches.again(&one.id, Time(at), at > 4),
                    3 => watches.forget(&one.id),
                    4 => watches.hurry((at > 1).then_some(one.hash)),
                    5 => watches.wallets_changed(),
                    _ => watches.lost_looks(Time(at)),
                }
                prop_assert_eq!(watches.all.len(), watches.by_hash.len());
                let waiting = watches.all.iter().filter(|(_, watch)| watch.next.is_some()).count();
                prop_assert_eq!(waiting, watches.due.len());
                for (at, id) in &watches.due {
                    prop_assert_eq!(watches.all[id].next, Some(*at));
                }
                for id in &watches.busy {
                    prop_assert!(watches.all[id].next.is_none());
                }
                prop_assert_eq!(watches.busy.len() + waiting, watches.all.len());
            }
        }
    }
}
