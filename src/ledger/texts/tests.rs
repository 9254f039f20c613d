use super::*;
use crate::domain::job::{InvoiceState, Job, PayOrder, State};
use crate::domain::msat::Msat;
use crate::domain::transition::{intent, tests::job as fresh};
use crate::ledger::{Change, NewJob};
use nostr::EventId;

async fn put(
    ledger: &Ledger,
    number: u8,
    bytes: usize,
    change: impl FnOnce(&mut Job),
) -> RequestId {
    let mut job = fresh(PayOrder::Before);
    job.id = RequestId(EventId::from_byte_array([number; 32]));
    job.created_at = Time(i64::from(number));
    job.updated_at = job.created_at;
    job.invoice = None;
    job.has_texts = true;
    let texts = Texts {
        request_json: String::new(),
        prompt: "x".repeat(bytes),
        answer: None,
    };
    let new = ledger.admit(NewJob {
        texts,
        ..NewJob::plain(job.clone())
    });
    new.await.unwrap().unwrap();
    let before = job.clone();
    job.invoice = Some(intent(&job, Msat::from_sats(10)));
    change(&mut job);
    job.rev += 1;
    let step = Change::bare(&before, &job, "changed");
    ledger.commit(step).await.unwrap();
    job.id
}

fn waits(job: &mut Job) {
    job.state = State::AwaitingPayment;
    let invoice = job.invoice.as_mut().unwrap();
    invoice.state = InvoiceState::Open;
    invoice.expires_at = Some(Time::now().plus(Duration::from_secs(600)));
}

async fn kept(ledger: &Ledger, ids: &[RequestId]) -> Vec<bool> {
    let mut all = Vec::new();
    for id in ids {
        let texts = ledger.texts(*id).await.unwrap().is_some();
        let job = ledger.job(*id).await.unwrap().unwrap();
        assert_eq!(job.has_texts, texts);
        all.push(texts);
    }
    all
}

fn file(dir: &tempfile::TempDir) -> std::path::PathBuf {
    dir.path().join("vend.db")
}

#[tokio::test]
async fn the_oldest_texts_of_unpaid_jobs_go_first_and_work_keeps_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&file(&dir)).unwrap();
    let mut ids = vec![
        put(&ledger, 1, 1_000, |job| job.state = State::Queued).await,
        put(&ledger, 2, 1_000, |job| {
            waits(job);
            job.invoice.as_mut().unwrap().state = InvoiceState::Held;
        })
        .await,
        put(&ledger, 3, 1_000, |job| {
            waits(job);
            job.paid = Msat::from_sats(10);
        })
        .await,
    ];
    for number in 4..=8 {
        ids.push(put(&ledger, number, 1_000, waits).await);
    }
    // Of 7,000 unpaid bytes: three of the five that wait have to go.
    assert_eq!(ledger.erase_unpaid(4_500).await.unwrap(), 3);
    assert_eq!(
        kept(&ledger, &ids).await,
        [true, true, true, false, false, false, true, true]
    );
    assert_eq!(ledger.erase_unpaid(4_500).await.unwrap(), 0);
    // What is at work is never erased, whatever it takes.
    assert_eq!(ledger.erase_unpaid(0).await.unwrap(), 2);
    assert_eq!(kept(&ledger, &ids).await[..3], [true, true, true]);
}

#[tokio::test]
async fn a_request_that_nobody_can_pay_any_more_is_erased_and_its_money_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&file(&dir)).unwrap();
    let over = Time::now()
        .minus(WATCH_AFTER_EXPIRY)
        .minus(Duration::from_secs(1));
    let old = put(&ledger, 1, 100, |job| {
        waits(job);
        job.invoice.as_mut().unwrap().expires_at = Some(over);
    })
    .await;
    let young = put(&ledger, 2, 100, waits).await;
    let ended = put(&ledger, 3, 100, |job| job.state = State::Error).await;
    assert_eq!(ledger.erase_content(Time(4)).await.unwrap(), 2);
    assert_eq!(
        kept(&ledger, &[old, young, ended]).await,
        [false, true, false]
    );
    let job = ledger.job(old).await.unwrap().unwrap();
    assert_eq!(job.state, State::AwaitingPayment);
    assert_eq!(job.price, Some(Msat::from_sats(10)));
    // A change that was made from the job as it was before loses.
    let mut stale = job.clone();
    stale.rev -= 1;
    let mut after = stale.clone();
    after.rev += 1;
    let lost = ledger.commit(Change::bare(&stale, &after, "paid")).await;
    assert!(matches!(lost, Err(LedgerError::Conflict)), "{lost:?}");
}

#[tokio::test]
async fn what_is_erased_stands_in_no_file_of_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&file(&dir)).unwrap();
    let prompt = "a secret of a stranger ".repeat(4_000);
    let mut job = fresh(PayOrder::After);
    job.state = State::Error;
    let texts = Texts {
        request_json: "{}".to_owned(),
        prompt,
        answer: Some("a secret of a stranger, answered".to_owned()),
    };
    let new = ledger.admit(NewJob {
        texts,
        ..NewJob::plain(job)
    });
    new.await.unwrap().unwrap();
    assert_eq!(ledger.erase_content(Time(i64::MAX)).await.unwrap(), 1);
    ledger.close().await;
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let secret = b"secret of a stranger";
        assert!(!bytes.windows(secret.len()).any(|part| part == secret));
    }
}

#[test]
fn no_erasing_reads_the_jobs_that_stay() {
    let dir = tempfile::tempdir().unwrap();
    let connection = crate::ledger::open_writer(&file(&dir)).unwrap();
    for (sql, index) in [
        (ENDED, "jobs_ended_texts"),
        (OUT_OF_TIME, "invoices_state"),
        (UNPAID_BYTES, "jobs_unpaid_texts"),
        (UNPAID, "jobs_unpaid_texts"),
    ] {
        let mut plan = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        for place in 1..=plan.parameter_count() {
            plan.raw_bind_parameter(place, 1).unwrap();
        }
        let mut steps = plan.raw_query();
        let first: String = steps.next().unwrap().unwrap().get(3).unwrap();
        assert!(first.contains(index), "{sql}: {first}");
    }
}
