//! The invoices that are watched, by when each is looked at next. A few hundred bytes an invoice, and what is not due costs
//! nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Told;
use crate::domain::id::{PaymentHash, RequestId};
use crate::domain::invoice::{Watched, next_poll};
use crate::domain::job::MadeBy;
use crate::domain::time::Time;

/// Looks in a row that lists answer, before one at the invoice alone: a list may be wrong, or be older than it should.
const LISTED_IN_A_ROW: u32 = 7;
/// So long before its expiry an invoice is looked at alone.
const LAST_ALONE: Duration = Duration::from_secs(60);
/// As many invoices are looked at together.
const TOGETHER: usize = 16;
/// Invoices that are looked for in one list.
const IN_A_LIST: usize = 2_000;

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
    expires_at: Time,
    check_every: Duration,
    /// Its payment would be held.
    holds: bool,
    /// Looks in a row that a list answered; as many as may be where the next one is to be at this invoice alone.
    listed: u32,
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

    /// May a list answer the next look? Only that of an invoice which nobody could call unpaid by it, and not of each.
    fn may_be_listed(&self) -> bool {
        let over = self.invoice_time().plus(LAST_ALONE);
        !self.holds && self.fails == 0 && self.listed < LISTED_IN_A_ROW && over < self.expires_at
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
    /// Lists are asked for: where many are watched, looks are put off to a full second, so that one list answers them.
    pub together: bool,
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
                expires_at: watched.expires_at,
                check_every: watched.check_every,
                holds: watched.holds,
                listed: 0,
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
        watch.listed = 0;
        self.busy.insert(id);
        Some((id, watch))
    }

    /// Those that are due with the first one, may be found in one list of the same wallet, and are at least `least(wallet)`;
    /// their looks are under way as in [`Self::take_due`].
    pub fn take_listed(
        &mut self,
        now: Time,
        least: impl FnOnce(&MadeBy) -> Option<usize>,
    ) -> Option<(Arc<MadeBy>, Vec<RequestId>)> {
        let (at, first) = *self.due.first()?;
        if at > now {
            return None;
        }
        let made_by = self.all.get(&first)?.made_by.clone();
        let least = least(&made_by)?;
        let together = |(_, id): &&(Time, RequestId)| {
            let watch = self.all.get(id);
            watch.is_some_and(|one| Arc::ptr_eq(&one.made_by, &made_by) && one.may_be_listed())
        };
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<_> = due.filter(together).take(IN_A_LIST).copied().collect();
        if due.len() < least {
            return None;
        }
        for place in &due {
            self.due.remove(place);
            self.busy.insert(place.1);
            if let Some(watch) = self.all.get_mut(&place.1) {
                watch.next = None;
            }
        }
        let ids = due.into_iter().map(|(_, id)| id).collect();
        Some((made_by, ids))
    }

    /// When the first of these was made, by its own time.
    pub fn first_made(&self, ids: &[RequestId]) -> Option<Time> {
        let made = ids.iter().filter_map(|id| Some(self.all.get(id)?.made_at));
        made.min()
    }

    /// A list was looked at for these: those that it shows as open are looked at again in their time, all others alone now.
    pub fn listed(&mut self, ids: &[RequestId], open: &HashSet<PaymentHash>) {
        let now = Time::now();
        for id in ids {
            let Some(watch) = self.all.get_mut(id) else {
                continue;
            };
            let there = watch.invoice_time();
            let next = next_poll(watch.made_at, watch.expires_at, there, 0, watch.check_every);
            let at = if let Some(at) = next.filter(|_| open.contains(&watch.hash)) {
                watch.listed += 1;
                now.plus(at.since(there))
            } else {
                watch.listed = LISTED_IN_A_ROW;
                Time(0)
            };
            self.again(id, at, false);
        }
    }

    /// When the next look is due; none where nothing waits.
    pub fn earliest(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A look has ended: the next one is at `at`. `nobody`: there was no wallet to ask.
    pub fn again(&mut self, id: &RequestId, at: Time, nobody: bool) {
        self.busy.remove(id);
        let many = self.together && self.all.len() >= TOGETHER;
        let Some(watch) = self.all.get_mut(id) else {
            return;
        };
        let at = if std::mem::take(&mut watch.hurried) {
            Time(0)
        } else {
            at
        };
        let at = if many && at > Time::now() {
            Time(at.0.saturating_add(999) / 1_000 * 1_000)
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
            holds: false,
        }
    }

    /// Open for long, of this wallet.
    fn open(number: u8, backend: &str) -> Watched {
        let mut one = watched(number);
        one.made_by.backend = backend.to_owned();
        (one.made_at, one.expires_at) = (Time::now(), Time::now().plus(Duration::from_secs(3_600)));
        one
    }

    fn numbers(taken: Option<(Arc<MadeBy>, Vec<RequestId>)>) -> Vec<u8> {
        let ids = taken.map(|(_, ids)| ids).unwrap_or_default();
        ids.iter().map(|id| id.0.as_bytes()[0]).collect()
    }

    #[test]
    fn a_list_is_for_many_open_invoices_of_one_wallet() {
        let mut watches = Watches::default();
        for number in 1..=6 {
            watches.add(open(number, "lnd"), Time(i64::from(number)), None);
        }
        watches.add(open(7, "cln"), Time(3), None);
        let mut held = open(8, "lnd");
        held.holds = true;
        watches.add(held, Time(3), None);
        let mut nearly_over = open(9, "lnd");
        nearly_over.expires_at = Time::now().plus(LAST_ALONE);
        watches.add(nearly_over, Time(3), None);
        assert_eq!(numbers(watches.take_listed(Time(5), |_| Some(6))), [0; 0]);
        assert_eq!(numbers(watches.take_listed(Time(5), |_| None)), [0; 0]);
        assert_eq!(
            numbers(watches.take_listed(Time(5), |_| Some(5))),
            [1, 2, 3, 4, 5]
        );
        // Those that are under way are not due, and what is left is of two wallets.
        assert_eq!(numbers(watches.take_listed(Time(9), |_| Some(2))), [0; 0]);
        let left: Vec<u8> = std::iter::from_fn(|| watches.take_due(Time(9)).map(|(id, _)| id))
            .map(|id| id.0.as_bytes()[0])
            .collect();
        assert_eq!(left, [7, 8, 9, 6]);
    }

    #[test]
    fn what_a_list_does_not_show_as_open_is_looked_at_alone() {
        let mut watches = Watches::default();
        for number in 1..=3 {
            watches.add(open(number, "lnd"), Time(0), None);
        }
        let all = |watches: &mut Watches| watches.take_listed(Time::now(), |_| Some(1));
        let (_, ids) = all(&mut watches).unwrap();
        let shown = HashSet::from([watched(1).hash, watched(2).hash]);
        watches.listed(&ids, &shown);
        assert_eq!(numbers(all(&mut watches)), [0; 0]);
        assert_eq!(watches.take_due(Time::now()).unwrap().0, watched(3).id);
        assert!(watches.take_due(Time::now()).is_none());
        // One that lists show as open for ever is looked at alone all the same.
        let mut lists = 1;
        loop {
            watches.hurry(None);
            let Some((_, ids)) = all(&mut watches) else {
                break;
            };
            watches.listed(&ids, &shown);
            lists += 1;
        }
        assert_eq!(lists, LISTED_IN_A_ROW);
        assert!(watches.take_due(Time::now()).is_some());
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
