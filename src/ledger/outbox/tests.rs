use super::*;

use crate::domain::job::PayOrder;
use crate::domain::transition::tests::job as fresh;
use crate::ledger::NewJob;

/// A ledger with one job, whose result is due at two relays until `not_after`.
async fn with_result(not_after: Time) -> (tempfile::TempDir, Ledger, RequestId) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&dir.path().join("vend.db")).unwrap();
    let job = fresh(PayOrder::After);
    let id = job.id;
    let draft = SignedDraft {
        role: Role::Result,
        event_id: EventId::from_byte_array([9; 32]),
        json: "{}".to_owned(),
        not_after,
        relays: vec!["wss://a".to_owned(), "wss://b".to_owned()],
    };
    let new = ledger.admit(NewJob {
        drafts: vec![draft],
        ..NewJob::plain(job)
    });
    new.await.unwrap().unwrap();
    (dir, ledger, id)
}

async fn says(ledger: &Ledger, relay: &str, settled: Settled) -> Option<Lost> {
    let due = ledger.due_at(relay, Time(1), 9).await.unwrap();
    let settle = ledger.settle(due[0].out_id, relay.to_owned(), settled, String::new());
    settle.await.unwrap()
}

#[tokio::test]
async fn a_result_that_every_relay_refused_is_told_until_that_is_written() {
    let (dir, ledger, id) = with_result(Time(100)).await;
    let lost = Some((id, Role::Result));
    assert_eq!(says(&ledger, "wss://a", Settled::Refused).await, None);
    assert_eq!(says(&ledger, "wss://b", Settled::Refused).await, lost);
    // The program ends before its job knows.
    ledger.close().await;
    let ledger = Ledger::open(&dir.path().join("vend.db")).unwrap();
    assert!(ledger.give_up(Time(1), false).await.unwrap().is_empty());
    let told = ledger.give_up(Time(1), true).await.unwrap();
    assert_eq!(told, [(id, Role::Result)]);
    ledger.settled_for(id, Role::Result).await.unwrap();
    assert!(ledger.give_up(Time(1), true).await.unwrap().is_empty());
    assert!(ledger.give_up(Time(200), true).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_result_that_one_relay_has_is_never_given_up() {
    let (_dir, ledger, _) = with_result(Time(100)).await;
    assert_eq!(says(&ledger, "wss://a", Settled::Ok).await, None);
    assert!(!ledger.outbox_empty(Time(1)).await.unwrap());
    assert!(ledger.give_up(Time(100), true).await.unwrap().is_empty());
    assert!(ledger.outbox_empty(Time(1)).await.unwrap());
    assert!(ledger.due_relays(Time(1)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_result_whose_time_is_past_is_given_up_at_once() {
    let (_dir, ledger, id) = with_result(Time(100)).await;
    says(&ledger, "wss://a", Settled::Again(Time(50))).await;
    assert!(ledger.give_up(Time(99), false).await.unwrap().is_empty());
    let told = ledger.give_up(Time(100), false).await.unwrap();
    assert_eq!(told, [(id, Role::Result)]);
}

#[test]
fn no_question_about_what_is_due_reads_what_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let connection = crate::ledger::open_writer(&dir.path().join("vend.db")).unwrap();
    for (sql, index) in [
        (waiting::FIRST, "delivery_due"),
        (waiting::DUE_RELAYS, "delivery_due"),
        (PAST, "outbox_open"),
        (ENDED, "outbox_open"),
    ] {
        let mut plan = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        for place in 1..=plan.parameter_count() {
            plan.raw_bind_parameter(place, 1).unwrap();
        }
        let mut steps = plan.raw_query();
        let mut all = String::new();
        while let Some(step) = steps.next().unwrap() {
            all += &step.get::<_, String>(3).unwrap();
            all += "; ";
        }
        assert!(all.contains(index), "{sql}: {all}");
        assert!(!all.replace("SCAN at", "").contains("SCAN"), "{sql}: {all}");
    }
}
