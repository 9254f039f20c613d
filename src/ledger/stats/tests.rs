use std::path::{Path, PathBuf};

use nostr::{EventId, Keys};

use super::*;
use crate::domain::credit::Debt;
use crate::domain::id::{Buyer, RequestId};
use crate::domain::job::{Encryption, PayOrder, Terms, TextParams};
use crate::domain::msat::Msat;
use crate::domain::price::PriceRule;
use crate::ledger::{Change, NewJob};

fn file(folder: &Path) -> PathBuf {
    folder.join("vend.db")
}

fn job() -> Job {
    let now = Time::now();
    Job {
        id: RequestId(EventId::from_byte_array([7; 32])),
        buyer: Buyer(Keys::generate().public_key()),
        kind: 5050,
        state: State::Queued,
        rev: 0,
        encryption: Encryption::Plain,
        addressed: true,
        terms: Terms {
            offer: None,
            model: "m".to_owned(),
            substituted: None,
            params: TextParams {
                max_tokens: 10,
                temperature: 0.0,
                top_k: 1,
                top_p: 1.0,
                frequency_penalty: 0.0,
                seed: None,
            },
            price: PriceRule {
                min_sats: 10,
                per_1k_input: 2,
                per_1k_output: 2,
            },
            priority_percent: 0,
            order: PayOrder::After,
            bid_msat: None,
            input_tokens_most: 69,
            input_tokens_likely: 69,
            invoice_expiry_secs: 600,
            job_timeout_secs: 60,
            check_every_secs: 60,
            relays: Vec::new(),
            seen_on: String::new(),
            stream: false,
        },
        has_texts: false,
        answer: None,
        price: Some(Msat::from_sats(21)),
        paid: Msat::ZERO,
        owed: Msat::ZERO,
        balance_used: Msat::ZERO,
        left: Msat::ZERO,
        debt: Debt::NONE,
        attempts: 0,
        interrupts: 0,
        wallet_tries: 0,
        next_at: None,
        boot: None,
        error_code: None,
        error: None,
        invoice: None,
        result_id: None,
        delivered: false,
        created_at: now,
        updated_at: now,
    }
}

async fn change(ledger: &Ledger, job: &mut Job, change: impl FnOnce(&mut Job)) {
    let before = job.clone();
    change(job);
    job.rev += 1;
    ledger
        .commit(Change::bare(&before, job, "changed"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_sale_is_owed_while_it_is_open_and_counts_in_its_hour_once_paid() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&file(folder.path())).unwrap();
    let mut job = job();
    let hour = job.updated_at.hour();
    ledger
        .admit(NewJob::plain(job.clone()))
        .await
        .unwrap()
        .unwrap();
    change(&ledger, &mut job, |job| {
        job.state = State::PendingPayment;
        job.delivered = true;
    })
    .await;
    let open = ledger.totals().await.unwrap();
    assert_eq!(open.open_credit_msat, Msat::from_sats(21));
    assert_eq!((open.hours[&hour].admitted, open.hours[&hour].jobs), (1, 1));
    assert_eq!(open.hours[&hour].paid, 0);
    change(&ledger, &mut job, |job| {
        job.state = State::Paid;
        job.paid = Msat::from_sats(21);
    })
    .await;
    let paid = ledger.totals().await.unwrap();
    assert_eq!(paid.open_credit_msat, Msat::ZERO);
    assert_eq!(paid.hours[&hour].paid, 1);
    assert_eq!(paid.hours[&hour].revenue_msat, Msat::from_sats(21));
}

#[tokio::test]
async fn requests_count_in_their_hour_with_why_they_were_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&file(folder.path())).unwrap();
    assert_eq!(ledger.totals().await.unwrap().last_request_at, None);
    let before = Time::now();
    let counted = Counted {
        seen: 3,
        understood: 2,
        drops: [("busy", 2)].into(),
    };
    ledger.count(counted.clone()).await.unwrap();
    ledger.count(counted).await.unwrap();
    let totals = ledger.totals().await.unwrap();
    assert!(totals.last_request_at.unwrap() >= before);
    // The two may fall on both sides of a full hour.
    let seen: u64 = totals.hours.values().map(|hour| hour.seen).sum();
    let busy: u64 = totals.hours.values().map(|hour| hour.drops["busy"]).sum();
    assert_eq!((seen, busy), (6, 4));
}

#[test]
fn old_hours_are_not_told_and_older_ones_are_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    drop(Ledger::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    let now = Time(1_795_000_000_000);
    for hours in [0, 23, 24, 48, 49] {
        let at = Time(now.0 - hours * 3_600_000);
        hours::bump(&connection, at, "seen", 1).unwrap();
    }
    assert_eq!(hours::read(&connection, now).unwrap().len(), 2);
    hours::forget(&connection, now).unwrap();
    let left = "SELECT count(*) FROM hour_totals";
    let left: i64 = connection.query_row(left, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 4);
}

#[tokio::test]
async fn a_ledger_without_hours_is_read_all_the_same_and_gets_them_when_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    drop(crate::ledger::schema::old(&path, 1));
    let totals = Ledger::look(&path).unwrap().totals().await.unwrap();
    assert!(totals.hours.is_empty());
    let ledger = Ledger::open(&path).unwrap();
    let job = job();
    let admitted = ledger.admit(NewJob::plain(job));
    admitted.await.unwrap().unwrap();
    assert_eq!(ledger.totals().await.unwrap().hours.len(), 1);
}

#[test]
fn what_is_owed_is_asked_of_the_index_of_live_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    drop(Ledger::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    let plan: String = connection
        .query_row(&format!("EXPLAIN QUERY PLAN {OPEN_CREDIT}"), [], |row| {
            row.get(3)
        })
        .unwrap();
    assert!(plan.contains("jobs_live"), "{plan}");
}
