use std::path::Path;

use nostr::EventId;

use super::*;
use crate::domain::Hex32;
use crate::domain::desk::{self, Plan, plan};
use crate::domain::job::{InvoiceState, PayOrder, State};
use crate::domain::transition::{intent, tests::job as fresh};
use crate::ledger::stats::NEEDING;
use crate::ledger::{Change, NewJob, SignedDraft};
use crate::ledger::{LostInvoice, Question};

fn file(dir: &tempfile::TempDir) -> std::path::PathBuf {
    dir.path().join("vend.db")
}

async fn put(ledger: &Ledger, mut job: Job, number: u8, change: impl FnOnce(&mut Job)) -> Job {
    job.id = RequestId(EventId::from_byte_array([number; 32]));
    job.invoice = None;
    let admitted = ledger.admit(NewJob::plain(job.clone()));
    admitted.await.unwrap().unwrap();
    let before = job.clone();
    job.invoice = Some(intent(&job, Msat::from_sats(10)));
    change(&mut job);
    job.rev += 1;
    let step = Change {
        drafts: vec![result(number)],
        ..Change::bare(&before, &job, "changed")
    };
    ledger.commit(step).await.unwrap();
    job
}

fn result(number: u8) -> SignedDraft {
    SignedDraft {
        role: Role::Result,
        event_id: EventId::from_byte_array([0x40 + number; 32]),
        json: "{}".to_owned(),
        not_after: Time::now(),
        relays: vec!["wss://one".to_owned()],
    }
}

/// Pay first, paid, failed.
fn owed(job: &mut Job) {
    let now = Time::now();
    job.state = State::Error;
    job.paid = Msat::from_sats(10);
    job.owed = job.paid;
    let invoice = job.invoice.as_mut().unwrap();
    invoice.state = InvoiceState::Paid;
    invoice.wallet = "lnd".to_owned();
    invoice.payment_hash = Some(PaymentHash(Hex32(job.id.0.to_bytes())));
    invoice.made_at = Some(now);
    invoice.expires_at = Some(now.plus(STUCK_AFTER));
    invoice.paid_at = Some(now);
}

/// Delivered, its invoice open.
fn open(job: &mut Job) {
    owed(job);
    job.state = State::PendingPayment;
    (job.paid, job.owed, job.delivered) = (Msat::ZERO, Msat::ZERO, true);
    let invoice = job.invoice.as_mut().unwrap();
    (invoice.state, invoice.paid_at) = (InvoiceState::Open, None);
}

fn word(kind: DisputeKind, words: &str, times: u32) -> Dispute {
    Dispute {
        kind,
        words: words.to_owned(),
        first_at: Time::now(),
        last_at: Time::now(),
        times,
        decided: false,
    }
}

fn question(sure: bool) -> Question {
    Question {
        wallet: "lnd",
        sure,
    }
}

async fn kinds(ledger: &Ledger) -> Vec<CaseKind> {
    let now = Time::now();
    let desk = desk::Desk::of(&ledger.desk(now).await.unwrap(), Vec::new(), now);
    let needing = desk.cases.iter().filter(|case| case.needs_you).count();
    let counted = ledger.totals().await.unwrap().cases;
    assert_eq!(needing as u64, counted, "the count is the list's");
    desk.cases.into_iter().map(|case| case.kind).collect()
}

async fn marked(ledger: &Ledger, id: RequestId, action: DeskAction) {
    let facts = ledger.desk_of(id).await.unwrap().unwrap();
    let plan = plan(&facts, None, action, "note", Time::now()).unwrap();
    let Plan::Mark {
        job,
        decision,
        withdraw,
    } = plan
    else {
        panic!("{plan:?}");
    };
    let same = (job.clone(), decision.clone());
    ledger.decide(*job, decision, withdraw).await.unwrap();
    let again = ledger.decide(*same.0, same.1, withdraw).await;
    assert!(matches!(again, Err(LedgerError::Conflict)), "twice is once");
}

#[tokio::test]
async fn every_case_is_found_counted_and_closed_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&file(&dir)).unwrap();
    let failed = put(&ledger, fresh(PayOrder::Before), 1, owed).await;
    let doubted = put(&ledger, fresh(PayOrder::After), 2, open).await;
    let stuck = put(&ledger, fresh(PayOrder::Before), 3, |job| {
        owed(job);
        (job.state, job.owed) = (State::Queued, Msat::ZERO);
        job.updated_at = Time::now().minus(STUCK_AFTER * 2);
    })
    .await;
    let late = put(&ledger, fresh(PayOrder::After), 4, |job| {
        owed(job);
        (job.state, job.owed, job.delivered) = (State::Paid, Msat::ZERO, true);
        let invoice = job.invoice.as_mut().unwrap();
        invoice.expires_at = Some(Time::now().minus(STUCK_AFTER));
    })
    .await;
    let lost = put(&ledger, fresh(PayOrder::After), 5, |job| {
        (job.state, job.invoice) = (State::Cancelled, None);
    })
    .await;
    ledger
        .dispute(doubted.id, word(DisputeKind::Unknown, "u", 2))
        .await
        .unwrap();
    ledger.asking(lost.id, question(false)).await.unwrap();
    let mut expected = vec![
        CaseKind::Undelivered,
        CaseKind::Undelivered,
        CaseKind::Late,
        CaseKind::Orphan,
    ];
    let mut found = kinds(&ledger).await;
    found.sort();
    assert_eq!(found, expected);
    ledger
        .dispute(doubted.id, word(DisputeKind::Unknown, "u", 3))
        .await
        .unwrap();
    expected.insert(2, CaseKind::Disputed);
    found = kinds(&ledger).await;
    found.sort();
    assert_eq!(found, expected);

    for (job, action) in [
        (&failed, DeskAction::Refunded),
        (&doubted, DeskAction::Waive),
        (&late, DeskAction::Waive),
        (&lost, DeskAction::Waive),
    ] {
        marked(&ledger, job.id, action).await;
    }
    assert_eq!(
        kinds(&ledger).await,
        [CaseKind::Undelivered],
        "the stuck one"
    );
    let history = ledger.decisions().await.unwrap();
    assert_eq!(history.len(), 4);
    assert_eq!(history[3].amount_msat, Msat::from_sats(10));
    assert_eq!(ledger.totals().await.unwrap().owed_msat, Msat::ZERO);
    let told = ledger.timeline(failed.id).await.unwrap();
    assert_eq!(
        (&*told.last().unwrap().what, &*told.last().unwrap().detail),
        ("refunded", "note")
    );
    let due = ledger.desk_of(failed.id).await.unwrap().unwrap().due_at;
    assert_eq!(
        due, 0,
        "a buyer who was given the money back gets no result on top"
    );

    // The same word stays closed, another one is another case.
    ledger
        .dispute(doubted.id, word(DisputeKind::Unknown, "u", 9))
        .await
        .unwrap();
    assert_eq!(kinds(&ledger).await.len(), 1);
    ledger
        .dispute(doubted.id, word(DisputeKind::Attention, "FAILED", 1))
        .await
        .unwrap();
    assert_eq!(kinds(&ledger).await.len(), 2);
    ledger.no_doubt(doubted.id).await.unwrap();
    assert_eq!(kinds(&ledger).await.len(), 1);
    let facts = ledger.desk_of(stuck.id).await.unwrap().unwrap();
    assert_eq!(facts.due_at, 1);
    let held = plan(&facts, None, DeskAction::Deliver, "", Time::now());
    assert!(matches!(held, Ok(Plan::Already(_))), "{held:?}");
}

#[tokio::test]
async fn a_held_payment_without_its_secret_is_a_case_until_it_is_decided() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&file(&dir)).unwrap();
    let taking = |secret| {
        move |job: &mut Job| {
            open(job);
            let invoice = job.invoice.as_mut().unwrap();
            (invoice.state, invoice.preimage) = (InvoiceState::Taking, secret);
        }
    };
    let secret = Some(Preimage(Hex32([5; 32])));
    put(&ledger, fresh(PayOrder::Hold), 1, taking(secret)).await;
    assert_eq!(kinds(&ledger).await, []);
    let lacks = put(&ledger, fresh(PayOrder::Hold), 2, taking(None)).await;
    assert_eq!(kinds(&ledger).await, [CaseKind::Disputed]);
    marked(&ledger, lacks.id, DeskAction::Waive).await;
    assert_eq!(kinds(&ledger).await, []);
}

#[tokio::test]
async fn a_result_is_sent_again_as_the_same_bytes_to_old_and_new_relays() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&file(&dir)).unwrap();
    let job = put(&ledger, fresh(PayOrder::Before), 1, owed).await;
    let out = ledger.due_at("wss://one", Time(0), 9).await.unwrap();
    ledger
        .settle(
            out[0].out_id,
            "wss://one".to_owned(),
            crate::ledger::Settled::Refused,
            "no".to_owned(),
        )
        .await
        .unwrap();
    let before = ledger.events_of(job.id).await.unwrap();
    let until = Time::now().plus(STUCK_AFTER);
    let relays = vec!["wss://one".to_owned(), "wss://two".to_owned()];
    for _ in 0..2 {
        assert!(
            ledger
                .send_again(job.id, relays.clone(), until, String::new())
                .await
                .unwrap()
        );
    }
    for relay in relays {
        let due = ledger.due_at(&relay, Time::now(), 9).await.unwrap();
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].json, "{}");
    }
    assert_eq!(ledger.events_of(job.id).await.unwrap(), before);
    let other = RequestId(EventId::from_byte_array([9; 32]));
    let sent = ledger
        .send_again(other, Vec::new(), until, String::new())
        .await;
    assert!(!sent.unwrap(), "what is not kept is not sent");
}

#[tokio::test]
async fn a_lost_answer_is_counted_and_an_answer_that_came_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&file(&dir)).unwrap();
    let mut job = put(&ledger, fresh(PayOrder::After), 1, |job| {
        job.state = State::Inferred;
    })
    .await;
    let id = job.id;
    let asked = async |ledger: &Ledger| ledger.desk_of(id).await.unwrap().unwrap().asked;
    ledger.asking(job.id, question(false)).await.unwrap();
    ledger
        .lost_invoice(job.id, LostInvoice::None)
        .await
        .unwrap();
    assert_eq!(asked(&ledger).await, None, "the wallet surely made none");
    ledger.asking(job.id, question(false)).await.unwrap();
    ledger
        .lost_invoice(job.id, LostInvoice::Perhaps("15 s".to_owned()))
        .await
        .unwrap();
    ledger.asking(job.id, question(false)).await.unwrap();
    let one = asked(&ledger).await.unwrap();
    assert_eq!((one.lost, one.open, &*one.words), (1, true, "15 s"));
    // A wallet that keeps labels is sure that the second question found nothing of the first.
    ledger.asking(job.id, question(true)).await.unwrap();
    assert_eq!(asked(&ledger).await.unwrap().lost, 1);
    let before = job.clone();
    owed(&mut job);
    job.rev += 1;
    ledger
        .commit(Change::bare(&before, &job, "invoiced"))
        .await
        .unwrap();
    let one = asked(&ledger).await.unwrap();
    assert_eq!((one.lost, one.open), (1, false));
}

#[tokio::test]
async fn a_question_that_goes_with_its_step_is_asked_or_taken_back() {
    let (_dir, ledger) = {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&file(&dir)).unwrap();
        (dir, ledger)
    };
    let asked = |number: u8| {
        let mut job = fresh(PayOrder::Before);
        job.id = RequestId(EventId::from_byte_array([number; 32]));
        job.state = State::Quoting;
        job.invoice = Some(crate::domain::transition::intent(&job, Msat(9_000)));
        crate::ledger::NewJob {
            question: Some(question(false)),
            ..crate::ledger::NewJob::plain(job)
        }
    };
    let lost = |facts: Vec<Facts>| -> Vec<u32> {
        let of = |facts: Facts| facts.asked.map(|asked| asked.lost);
        facts.into_iter().filter_map(of).collect()
    };
    let cancelled = |before: &Job| {
        let mut job = before.clone();
        job.rev += 1;
        (job.state, job.invoice) = (State::Cancelled, None);
        crate::ledger::Change::bare(before, &job, "cancelled")
    };
    // Cancelled before the wallet was asked: nothing can be lost.
    let first = ledger.admit(asked(1)).await.unwrap().unwrap();
    ledger.commit(cancelled(&first)).await.unwrap();
    assert_eq!(ledger.take_question(first.id), None);
    assert_eq!(lost(ledger.desk(Time::now()).await.unwrap()), [0_u32; 0]);
    // Cancelled while it was asked: the wallet may have made one.
    let second = ledger.admit(asked(2)).await.unwrap().unwrap();
    assert_eq!(ledger.take_question(second.id), Some(question(false)));
    assert_eq!(ledger.take_question(second.id), None);
    ledger.commit(cancelled(&second)).await.unwrap();
    let hash = PaymentHash(crate::domain::Hex32([7; 32]));
    let late = ledger.lost_invoice(second.id, LostInvoice::Late(hash));
    late.await.unwrap();
    assert_eq!(lost(ledger.desk(Time::now()).await.unwrap()), [1]);
}

#[test]
fn no_question_of_the_desk_reads_the_ordinary_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let connection = crate::ledger::open_writer(&dir.path().join("vend.db")).unwrap();
    for sql in [OWED, STUCK, DOUBTED, SECRETLESS, LATE, ASKED, NEEDING] {
        let plan = explained(&connection, sql);
        let few = [
            "jobs_owed",
            "jobs_live",
            "jobs_undelivered",
            "invoices_late",
            "invoices_state",
        ];
        for step in &plan {
            let large = [
                "SCAN jobs",
                "SCAN invoices",
                "SCAN i ",
                "SEARCH jobs",
                "SEARCH invoices",
            ];
            if large.iter().any(|table| step.starts_with(table)) {
                assert!(
                    few.iter().any(|index| step.contains(index)),
                    "{sql}: {step}"
                );
            }
        }
    }
}

fn explained(connection: &Connection, sql: &str) -> Vec<String> {
    let mut plan = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    for place in 1..=plan.parameter_count() {
        plan.raw_bind_parameter(place, 1).unwrap();
    }
    let mut steps = plan.raw_query();
    let mut all = Vec::new();
    while let Some(step) = steps.next().unwrap() {
        all.push(step.get(3).unwrap());
    }
    all
}

#[tokio::test]
async fn a_ledger_of_an_older_vend_that_is_only_looked_at_has_no_cases() {
    let dir = tempfile::tempdir().unwrap();
    let path: &Path = &file(&dir);
    let old = Connection::open(path).unwrap();
    old.execute_batch("CREATE TABLE jobs (id BLOB)").unwrap();
    drop(old);
    let ledger = Ledger::look(path).unwrap();
    assert_eq!(ledger.desk(Time::now()).await.unwrap(), Vec::new());
    assert_eq!(ledger.decisions().await.unwrap(), Vec::new());
}
