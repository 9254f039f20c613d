use nostr::{EventId, PublicKey};
use proptest::prelude::*;

use super::*;
use crate::domain::command::{Command, Reply};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::Buyer;
use crate::domain::job::Status;
use crate::domain::msat::Msat;
use crate::domain::time::Time;

const START: i64 = 1_790_000_000_000;
/// Rows of the screen.
const HEIGHT: usize = 20;

fn id(number: u32) -> RequestId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    RequestId(EventId::from_byte_array(bytes))
}

fn job(number: u32) -> JobView {
    JobView {
        id: id(number),
        buyer: Buyer(PublicKey::from_byte_array([7; 32])),
        kind: 5050,
        status: if number.is_multiple_of(3) {
            Status::Error
        } else {
            Status::Paid
        },
        model: Some("m".to_owned()),
        prompt_tokens: None,
        completion_tokens: Some(number % 7),
        elapsed_ms: None,
        price_msat: Some(Msat(u64::from(number % 11) * 1_000)),
        paid_msat: Msat::ZERO,
        bolt11: None,
        payment_hash: None,
        invoice_expires_at: None,
        result_id: None,
        owed_to_buyer_msat: Msat::ZERO,
        balance_used_msat: Msat::ZERO,
        offer: None,
        encrypted: false,
        error: None,
        created_at: Time(START + i64::from(number) * 1_000),
        updated_at: Time(START),
    }
}

/// A shop with a ledger, and a screen that has just been opened on it.
struct Fixture {
    ledger: Vec<JobView>,
    store: Store,
    list: JobsList,
    now: i64,
}

impl Fixture {
    fn new(jobs: u32) -> Self {
        let mut shop = Self {
            ledger: (0..jobs).map(job).collect(),
            store: Store::new(),
            list: JobsList::default(),
            now: START,
        };
        let newest: Vec<JobView> = shop.ledger.iter().rev().take(500).cloned().collect();
        for job in newest.into_iter().rev() {
            shop.tell_job(job, "known");
        }
        shop.totals();
        shop
    }

    fn tell(&mut self, kind: EventKind) {
        if let EventKind::Job { job, .. } = &kind {
            self.list.changed(job);
        }
        self.store.apply(&Event {
            at: Time(self.now),
            kind,
        });
    }

    fn tell_job(&mut self, job: JobView, what: &str) {
        let kind = EventKind::Job {
            job: Box::new(job),
            what: what.to_owned(),
        };
        self.tell(kind);
    }

    fn totals(&mut self) {
        let totals = crate::domain::stats::Totals {
            jobs: self.ledger.len() as u64,
            ..Default::default()
        };
        self.tell(EventKind::Totals {
            totals: Box::new(totals),
        });
    }

    fn admit(&mut self) {
        let new = job(u32::try_from(self.ledger.len()).unwrap());
        self.ledger.push(new.clone());
        self.tell_job(new, "admitted");
        self.totals();
    }

    fn whole(&self, query: &JobsQuery) -> Vec<JobView> {
        let filter = Filter::parse(&query.filter).unwrap();
        let mut jobs: Vec<_> = self
            .ledger
            .iter()
            .filter(|job| filter.matches(job))
            .cloned()
            .collect();
        jobs.sort_by(|a, b| query.compare(a, b));
        jobs
    }

    fn answer(&self, command: &Command) -> Reply {
        let Command::Jobs {
            query,
            offset,
            limit,
        } = command
        else {
            panic!("{command:?}");
        };
        let whole = self.whole(query);
        let from = usize::try_from(*offset).unwrap();
        Reply::Jobs {
            query: query.clone(),
            total: whole.len() as u64,
            offset: *offset,
            jobs: whole.into_iter().skip(from).take(*limit as usize).collect(),
        }
    }

    /// Asks and answers until the screen has no question left; tells how many there were.
    fn settle(&mut self) -> u32 {
        let mut asked = 0;
        while let Some(command) = self.list.question(&self.store, HEIGHT) {
            assert_eq!(
                self.list.question(&self.store, HEIGHT),
                None,
                "one at a time"
            );
            let reply = self.answer(&command);
            self.list.answered(&self.store, reply).unwrap();
            asked += 1;
            assert!(asked < 9, "no end of questions");
        }
        asked
    }

    fn shown(&self) -> Vec<Option<RequestId>> {
        let listing = self.list.listing(&self.store);
        let first = listing.first_row(self.list.at(&listing), HEIGHT as u64);
        (first..(first + HEIGHT as u64).min(listing.total))
            .map(|row| listing.get(row).map(|job| job.id))
            .collect()
    }

    fn expected(&self) -> Vec<Option<RequestId>> {
        let listing = self.list.listing(&self.store);
        let first = listing.first_row(self.list.at(&listing), HEIGHT as u64);
        let first = usize::try_from(first).unwrap();
        let whole = self.whole(self.list.query());
        whole
            .iter()
            .skip(first)
            .take(HEIGHT)
            .map(|job| Some(job.id))
            .collect()
    }

    fn go(&mut self, rows: usize, down: bool) {
        self.list.go(&self.store, |at, last| {
            if down {
                at.saturating_add(rows).min(last)
            } else {
                at.saturating_sub(rows)
            }
        });
    }
}

#[test]
fn following_costs_no_question() {
    let mut shop = Fixture::new(5_000);
    assert_eq!(shop.settle(), 0);
    for _ in 0..50 {
        shop.admit();
        assert_eq!(shop.settle(), 0);
        assert_eq!(shop.shown(), shop.expected());
    }
    let listing = shop.list.listing(&shop.store);
    assert_eq!((listing.total, shop.list.at(&listing)), (5_050, 0));
}

#[test]
fn any_place_of_a_long_list_is_reached_with_a_few_questions() {
    let mut shop = Fixture::new(50_000);
    shop.go(usize::MAX, true);
    // The keys work before the answer is there; the rows are yet to come.
    assert_eq!(shop.shown(), vec![None; HEIGHT]);
    assert!(shop.settle() <= 2);
    assert_eq!(shop.shown(), shop.expected());
    assert_eq!(shop.shown().last().unwrap(), &Some(id(0)));
    for _ in 0..30 {
        shop.go(HEIGHT, false);
        assert!(shop.settle() <= 1);
        assert_eq!(shop.shown(), shop.expected());
    }
    shop.go(20_000, false);
    assert!(shop.settle() <= 2);
    assert_eq!(shop.shown(), shop.expected());
    shop.go(usize::MAX, false);
    assert_eq!(shop.settle(), 0);
    assert_eq!(shop.shown(), shop.expected());
}

#[test]
fn a_row_far_down_stays_put_while_jobs_come_in() {
    let mut shop = Fixture::new(5_000);
    shop.go(3_000, true);
    shop.settle();
    shop.go(1, true);
    let (chosen, shown) = (shop.list.chosen, shop.shown());
    assert!(chosen.is_some());
    for _ in 0..40 {
        shop.admit();
    }
    assert_eq!((shop.list.chosen, shop.shown()), (chosen, shown));
    assert_eq!(shop.settle(), 0);
}

#[test]
fn a_late_answer_to_another_list_is_dropped() {
    let mut shop = Fixture::new(5_000);
    shop.list.sort();
    let late = shop.list.question(&shop.store, HEIGHT).unwrap();
    shop.list.sort();
    let reply = shop.answer(&late);
    shop.list.answered(&shop.store, reply).unwrap();
    let listing = shop.list.listing(&shop.store);
    assert!(listing.searching);
    assert_eq!(shop.settle(), 1);
    assert_eq!(shop.shown(), shop.expected());
}

#[test]
fn a_filter_shows_what_is_known_at_once_and_the_ledger_when_it_answers() {
    let mut shop = Fixture::new(5_000);
    shop.list.filter = "status:error min:3".to_owned();
    shop.list.refilter();
    assert!(!shop.shown().is_empty());
    assert_eq!(shop.settle(), 1);
    assert_eq!(shop.shown(), shop.expected());
    shop.go(usize::MAX, true);
    shop.settle();
    assert_eq!(shop.shown(), shop.expected());
    // Typing on, what can't be read leaves the list as it is.
    shop.list.filter = "status:error mim:3".to_owned();
    shop.list.refilter();
    assert!(
        shop.list
            .trouble
            .as_ref()
            .unwrap()
            .contains("'mim' is no key: use status")
    );
    assert_eq!(shop.shown(), shop.expected());
    shop.list.unfilter();
    assert!(shop.list.trouble.is_none() && shop.list.query().is_plain());
}

#[test]
fn a_filtered_list_is_asked_for_again_when_jobs_have_changed_but_not_for_every_one() {
    let mut shop = Fixture::new(5_000);
    shop.list.filter = "status:paid".to_owned();
    shop.list.refilter();
    shop.settle();
    shop.admit();
    assert_eq!(shop.settle(), 0);
    shop.now += 3_000;
    shop.admit();
    shop.admit();
    assert_eq!(shop.settle(), 1);
    assert_eq!(shop.shown(), shop.expected());
}

#[test]
fn a_small_ledger_is_filtered_and_sorted_without_a_question() {
    let mut shop = Fixture::new(300);
    for _ in Sort::ALL {
        shop.list.sort();
        shop.list.reverse();
        shop.list.filter = "status:error".to_owned();
        shop.list.refilter();
        shop.go(150, true);
        assert_eq!(shop.settle(), 0);
        assert_eq!(shop.shown(), shop.expected());
    }
}

#[test]
fn a_frozen_table_stays_as_it_is_until_it_is_let_go() {
    let mut shop = Fixture::new(5_000);
    shop.list.toggle_freeze(&shop.store);
    let shown = shop.shown();
    for _ in 0..30 {
        shop.admit();
    }
    assert_eq!(shop.shown(), shown);
    // It can be looked through all the same.
    shop.go(2_000, true);
    shop.settle();
    assert!(shop.shown().iter().all(Option::is_some));
    shop.list.toggle_freeze(&shop.store);
    shop.go(usize::MAX, false);
    assert_eq!(shop.shown(), shop.expected());
}

#[test]
fn an_engine_that_can_not_answer_is_not_asked_again_before_the_next_key() {
    let mut shop = Fixture::new(5_000);
    shop.list.sort();
    assert!(shop.list.question(&shop.store, HEIGHT).is_some());
    let detail = "the ledger failed".to_owned();
    shop.list
        .answered(&shop.store, Reply::Refused { detail })
        .unwrap();
    assert_eq!(shop.list.trouble.as_deref(), Some("the ledger failed"));
    assert_eq!(shop.list.question(&shop.store, HEIGHT), None);
    shop.list.wake();
    assert_eq!(shop.settle(), 1);
    assert!(shop.list.trouble.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_is_pressed_the_rows_are_the_ledgers(
        steps in prop::collection::vec((0_u8..7, 0_usize..3_000), 1..25),
    ) {
        let mut shop = Fixture::new(3_000);
        for (what, rows) in steps {
            match what {
                0 => shop.go(rows, true),
                1 => shop.go(rows, false),
                2 => shop.list.sort(),
                3 => shop.list.reverse(),
                4 => shop.list.toggle_follow(&shop.store),
                5 => {
                    shop.list.filter = ["", "status:paid", "min:5 -status:error", "zz"][rows % 4].to_owned();
                    shop.list.refilter();
                }
                _ => {
                    shop.now += 3_000;
                    shop.admit();
                }
            }
            shop.settle();
            prop_assert_eq!(shop.shown(), shop.expected());
        }
    }
}
