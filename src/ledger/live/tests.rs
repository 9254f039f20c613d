use nostr::EventId;
use proptest::prelude::*;

use super::*;
use crate::domain::job::PayOrder;
use crate::domain::msat::Msat;
use crate::domain::transition::{intent, tests::job as fresh};
use crate::ledger::{Change, Ledger, NewJob};

fn numbered(number: u8, change: impl FnOnce(&mut Job)) -> Job {
    let mut job = fresh(PayOrder::Before);
    job.id = RequestId(EventId::from_byte_array([number; 32]));
    job.created_at = Time(i64::from(number));
    job.updated_at = job.created_at;
    job.invoice = None;
    change(&mut job);
    job
}

fn queued(number: u8, bid: u64, paid: bool) -> Job {
    numbered(number, |job| {
        job.state = State::Queued;
        job.terms.bid_msat = (bid > 0).then(|| Msat::from_sats(bid));
        job.paid = if paid { Msat::from_sats(1) } else { Msat::ZERO };
    })
}

fn ids(jobs: &[Job]) -> Vec<u8> {
    jobs.iter().map(|job| job.id.0.as_bytes()[0]).collect()
}

#[test]
fn the_queue_is_priority_then_paid_ones_then_bids_then_age() {
    let mut live = Live::default();
    // Paid after the work, so that nothing but a payment makes one paid.
    let queued = |number, bid, paid| {
        let mut job = queued(number, bid, paid);
        job.terms.order = PayOrder::After;
        job
    };
    for job in [
        queued(1, 0, false),
        queued(2, 5, false),
        queued(3, 9, false),
        queued(4, 0, true),
        queued(5, 5, false),
    ] {
        live.put(&job);
    }
    live.put(&numbered(6, |job| {
        job.state = State::Queued;
        job.terms.order = PayOrder::After;
        job.next_at = Some(Time(500));
    }));
    live.put(&numbered(7, |job| {
        job.state = State::Queued;
        job.terms.priority_percent = 20;
    }));
    assert_eq!(ids(&live.queue(Time(499), 64)), [7, 4, 3, 2, 5, 1]);
    assert_eq!(ids(&live.queue(Time(500), 3)), [7, 4, 3]);
    assert_eq!(live.next_due([State::Queued; 2]), Some(Time(500)));
    assert_eq!(live.counts(), (7, 0));
}

#[test]
fn whoever_waits_for_money_costs_two_words_and_can_cancel() {
    let mut live = Live::default();
    let waits = |number| numbered(number, |job| job.state = State::AwaitingPayment);
    for number in 1..=9 {
        live.put(&waits(number));
    }
    live.put(&queued(10, 0, false));
    assert_eq!(live.jobs.len(), 1);
    let cancellable = live.cancellable(3);
    let found: Vec<u8> = cancellable.iter().map(|id| id.as_bytes()[0]).collect();
    assert_eq!(found, [7, 8, 9, 10]);
    live.put(&numbered(9, |job| job.state = State::Unpaid));
    assert_eq!(live.awaiting.len(), 8);
}

#[tokio::test]
async fn a_clock_that_is_set_moves_what_is_in_memory_as_it_moves_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vend.db");
    let ledger = Ledger::open(&path).unwrap();
    for (number, state) in [(1, InvoiceState::Open), (2, InvoiceState::Held)] {
        let before = queued(number, 0, false);
        let new = ledger.admit(NewJob::plain(before.clone()));
        new.await.unwrap().unwrap();
        let mut job = before.clone();
        job.rev += 1;
        job.next_at = Some(Time(9_000));
        job.invoice = Some(crate::domain::job::Invoice {
            state,
            hold_until: Some(Time(8_000)),
            expires_at: Some(Time(7_000)),
            late_polls: 2,
            ..intent(&job, Msat::from_sats(10))
        });
        ledger
            .commit(Change::bare(&before, &job, "changed"))
            .await
            .unwrap();
    }
    for (ms, now) in [
        (500, Time(6_000)),
        (-1_000, Time(5_000)),
        (-20_000, Time(1_000)),
    ] {
        ledger.shift_due(ms, now).await.unwrap();
        let read = Shared::read(&Connection::open(&path).unwrap()).unwrap();
        let jobs = read.with(|live| live.jobs.clone());
        ledger.live.with(|live| assert_eq!(live.jobs, jobs, "{ms}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever is written, the live set is what a start would read.
    #[test]
    fn it_is_always_what_the_ledger_says(steps in prop::collection::vec((1_u8..5, 0_usize..12, 0_usize..8, any::<bool>()), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vend.db");
        let invoices = [
            InvoiceState::Intent, InvoiceState::Open, InvoiceState::Paid, InvoiceState::Expired,
            InvoiceState::Held, InvoiceState::Taking, InvoiceState::GivingBack, InvoiceState::GivenBack,
        ];
        runtime.block_on(async {
            let ledger = Ledger::open(&path).unwrap();
            for (number, state, invoice, erase) in steps {
                let id = RequestId(EventId::from_byte_array([number; 32]));
                let Some(before) = ledger.job(id).await.unwrap() else {
                    let job = queued(number, 0, false);
                    let new = ledger.admit(NewJob::plain(job));
                    new.await.unwrap().unwrap();
                    continue;
                };
                let mut job = before.clone();
                job.state = State::ALL[state];
                job.invoice = Some(crate::domain::job::Invoice {
                    state: invoices[invoice],
                    ..intent(&job, Msat::from_sats(10))
                });
                job.rev += 1;
                ledger.commit(Change::bare(&before, &job, "changed")).await.unwrap();
                // One that was made from what was there before changes nothing.
                job.state = State::Paid;
                let stale = ledger.commit(Change::bare(&before, &job, "stale")).await;
                assert!(matches!(stale, Err(LedgerError::Conflict)));
                if erase {
                    ledger.erase_content(Time(i64::MAX)).await.unwrap();
                }
                let read = Shared::read(&Connection::open(&path).unwrap()).unwrap();
                let (jobs, awaiting) = read.with(|live| (live.jobs.clone(), live.awaiting.clone()));
                ledger.live.with(|live| {
                    assert_eq!(live.jobs, jobs);
                    assert_eq!(live.awaiting, awaiting);
                });
            }
        });
    }
}
