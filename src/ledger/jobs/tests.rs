use std::time::Duration;

use nostr::EventId;
use nostr::Keys;

use super::*;
use crate::domain::credit::Limits;
use crate::domain::job::State;
use crate::domain::transition;

const LIMITS: Limits = Limits {
    each: Msat::from_sats(100),
    all: Msat::from_sats(200),
};

/// A job that costs 42 sats at the most, and 10 at the least.
fn new(n: u8, buyer: Buyer) -> NewJob {
    let mut job = transition::tests::job(PayOrder::After);
    job.id = RequestId(EventId::from_byte_array([n; 32]));
    job.buyer = buyer;
    job.terms.input_tokens_most = 1_000;
    job.terms.input_tokens_likely = 1_000;
    job.terms.params.max_tokens = 20_000;
    job.debt = credit::of_new(&job);
    NewJob {
        credit: Some(LIMITS),
        ..NewJob::plain(job)
    }
}

fn open() -> (tempfile::TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&folder.path().join("vend.db")).unwrap();
    (folder, ledger)
}

fn buyers(n: usize) -> Vec<Buyer> {
    (0..n)
        .map(|_| Buyer(Keys::generate().public_key()))
        .collect()
}

async fn at_once(ledger: &Ledger, buyers: &[Buyer]) -> Vec<Job> {
    let asks = (1_u8..)
        .zip(buyers)
        .map(|(n, buyer)| ledger.admit(new(n, *buyer)));
    let admitted = futures::future::join_all(asks).await;
    admitted
        .into_iter()
        .map(|job| job.unwrap().unwrap())
        .collect()
}

fn on_credit(jobs: &[Job]) -> usize {
    let after = |job: &&Job| job.terms.order == PayOrder::After;
    jobs.iter().filter(after).count()
}

#[tokio::test]
async fn fifty_at_once_owe_no_more_than_one_after_the_other() {
    let (_folder, ledger) = open();
    let one = buyers(1)[0];
    let jobs = at_once(&ledger, &[one; 50]).await;
    assert_eq!(on_credit(&jobs), 2);
    let (mine, all) = ledger.owed(one, Time::now()).await.unwrap();
    assert_eq!((mine, all), (Msat::from_sats(84), Msat::from_sats(84)));
    let first = jobs.iter().find(|job| job.terms.order == PayOrder::Before);
    let first = first.unwrap();
    assert_eq!(
        (first.state, first.price),
        (State::Quoting, Some(Msat::from_sats(42)))
    );
    let told = ledger.timeline(first.id).await.unwrap();
    assert!(told[0].detail.contains("pays first"), "{told:?}");
}

#[tokio::test]
async fn fifty_fresh_keys_owe_no_more_than_the_limit_of_all() {
    let (_folder, ledger) = open();
    let buyers = buyers(50);
    let jobs = at_once(&ledger, &buyers).await;
    assert_eq!(on_credit(&jobs), 4);
    let (_, all) = ledger.owed(buyers[0], Time::now()).await.unwrap();
    assert_eq!(all, Msat::from_sats(168));
}

#[tokio::test]
async fn a_full_queue_is_full_for_requests_that_come_at_once() {
    let (_folder, ledger) = open();
    let asks = (1_u8..).zip(buyers(9)).map(|(n, buyer)| {
        ledger.admit(NewJob {
            most_waiting: 3,
            ..new(n, buyer)
        })
    });
    let admitted = futures::future::join_all(asks).await;
    let busy = admitted
        .into_iter()
        .filter(|job| job.as_ref().unwrap() == &Err(DropReason::Busy));
    assert_eq!(busy.count(), 6);
}

#[tokio::test]
async fn what_is_owed_is_known_after_a_restart_and_forgotten_after_a_day() {
    let (folder, ledger) = open();
    let one = buyers(1)[0];
    let job = ledger.admit(new(1, one)).await.unwrap().unwrap();
    let boot = crate::domain::id::BootId(crate::domain::Hex32([1; 32]));
    let now = Time::now();
    let before = job;
    let job = transition::transition(&before, transition::JobEvent::Start { boot }, now)
        .unwrap()
        .job;
    ledger
        .commit(Change::bare(&before, &job, "started"))
        .await
        .unwrap();
    let cancel = transition::JobEvent::Cancel {
        by_buyer: true,
        tokens: 9_000,
    };
    let before = job;
    let job = transition::transition(&before, cancel, now).unwrap().job;
    ledger
        .commit(Change::bare(&before, &job, "cancelled"))
        .await
        .unwrap();
    ledger.close().await;
    let ledger = Ledger::open(&folder.path().join("vend.db")).unwrap();
    let owed = |after: u64| ledger.owed(one, now.plus(Duration::from_secs(after)));
    // A clock that is set shortens nothing.
    let day = 24 * 3_600_000;
    ledger
        .shift_due(day, now.plus(Duration::from_secs(24 * 3_600)))
        .await
        .unwrap();
    assert_eq!(owed(47 * 3_600).await.unwrap().0, Msat::from_sats(20));
    ledger.shift_due(-day, now).await.unwrap();
    assert_eq!(owed(23 * 3_600).await.unwrap().0, Msat::from_sats(20));
    assert_eq!(owed(25 * 3_600).await.unwrap().0, Msat::ZERO);
}

#[tokio::test]
async fn an_older_ledgers_open_jobs_are_owed_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vend.db");
    let old = crate::ledger::schema::old(&path, 7);
    let buyer = buyers(1)[0];
    for (n, state) in [(1_u8, "queued"), (2, "pending_payment"), (3, "paid")] {
        old.execute(
            "INSERT INTO jobs (id, buyer, kind, state, status, rev, encryption, addressed, terms, model, price_msat,
               created_at, updated_at)
             VALUES (?1, ?2, 5050, ?3, ?3, 0, 'plain', 0, ?4, 'm', ?5, 0, 0)",
            params![
                [n; 32].as_slice(),
                buyer.0.as_bytes().as_slice(),
                state,
                r#"{"model":"m","substituted":null,"params":{"max_tokens":512,"temperature":0.7,"top_k":40,"top_p":0.9,
                  "frequency_penalty":0.5,"seed":null},"price":{"min_sats":10,"per_1k_input":2,"per_1k_output":2},
                  "order":"after","bid_msat":null,"invoice_expiry_secs":3600,"job_timeout_secs":300,
                  "check_every_secs":120,"relays":[],"seen_on":""}"#,
                (state != "queued").then_some(25_000),
            ],
        )
        .unwrap();
    }
    drop(old);
    let ledger = Ledger::open(&path).unwrap();
    let (mine, _) = ledger.owed(buyer, Time::now()).await.unwrap();
    assert_eq!(mine, Msat::from_sats(35));
}

#[test]
fn what_is_owed_is_summed_from_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let connection = crate::ledger::open_writer(&folder.path().join("vend.db")).unwrap();
    for (sql, index) in [
        (OWED_BY_ONE, "jobs_debt_of_buyer"),
        (OWED_BY_ALL, "jobs_debt"),
    ] {
        let mut plan = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let mut steps = plan.raw_query();
        let step: String = steps.next().unwrap().unwrap().get(3).unwrap();
        assert!(
            step.contains("COVERING INDEX") && step.contains(index),
            "{step}"
        );
    }
}

#[tokio::test]
async fn only_so_many_jobs_of_a_day_are_free() {
    let (_folder, ledger) = open();
    let tier = FreeTier {
        each: 2,
        all: 3,
        max_tokens: 128,
    };
    let [one, other] = buyers(2).try_into().unwrap();
    // The first names a longer answer than a free one may be.
    let asks = [one, one, one, one, other, other];
    let asks = (1_u8..).zip(asks).map(|(n, buyer)| {
        ledger.admit(NewJob {
            free: Some((tier, n == 1)),
            ..new(n, buyer)
        })
    });
    let jobs = futures::future::join_all(asks).await;
    let jobs: Vec<Job> = jobs.into_iter().map(|job| job.unwrap().unwrap()).collect();
    let free: Vec<bool> = jobs
        .iter()
        .map(|job| job.terms.order == PayOrder::Free)
        .collect();
    assert_eq!(free, [false, true, true, false, true, false]);
    for job in jobs.iter().filter(|job| job.terms.order == PayOrder::Free) {
        assert_eq!(job.terms.params.max_tokens, 128);
        assert_eq!((job.price, job.invoice.as_ref()), (Some(Msat::ZERO), None));
        assert_eq!((job.state, job.debt.amount), (State::Queued, Msat::ZERO));
    }
}
