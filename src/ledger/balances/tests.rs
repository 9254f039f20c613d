use nostr::{EventId, Keys};

use super::*;
use crate::domain::admission;
use crate::domain::id::RequestId;
use crate::domain::job::PayOrder;
use crate::domain::transition;
use crate::ledger::{Change, NewJob};

/// A job that is paid first, quoted at 42 sats.
fn new(n: u8, buyer: Buyer) -> NewJob {
    let mut job = transition::tests::job(PayOrder::After);
    job.id = RequestId(EventId::from_byte_array([n; 32]));
    job.buyer = buyer;
    job.terms.order = PayOrder::Before;
    job.terms.input_tokens_most = 1_000;
    job.terms.input_tokens_likely = 1_000;
    job.terms.params.max_tokens = 20_000;
    admission::quote(&mut job, None);
    NewJob::plain(job)
}

/// Delivered, with so much left of its payment.
async fn deliver(ledger: &Ledger, job: &Job, left: Msat) {
    let mut after = job.clone();
    after.rev += 1;
    (after.delivered, after.paid, after.left) = (true, Msat::from_sats(42), left);
    let change = Change::bare(job, &after, "accepted");
    ledger.commit(change).await.unwrap();
}

#[tokio::test]
async fn a_balance_outlasts_the_program_and_is_used_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vend.db");
    let ledger = Ledger::open(&path).unwrap();
    let [buyer, other] = [(); 2].map(|()| Buyer(Keys::generate().public_key()));
    let first = ledger.admit(new(1, buyer)).await.unwrap().unwrap();
    assert_eq!(first.balance_used, Msat::ZERO);
    deliver(&ledger, &first, Msat::from_sats(60)).await;
    ledger.close().await;

    let ledger = Ledger::open(&path).unwrap();
    assert_eq!(ledger.balance(buyer).await.unwrap(), Msat::from_sats(60));
    assert_eq!(
        ledger.totals().await.unwrap().balances_msat,
        Msat::from_sats(60)
    );
    // Three at once: the first takes what it needs, the second the rest, and nobody else's request any of it.
    let asks = [(2, buyer), (3, buyer), (4, buyer), (5, other)];
    let asks = asks.map(|(n, buyer)| ledger.admit(new(n, buyer)));
    let jobs = futures::future::join_all(asks).await;
    let used: Vec<u64> = jobs
        .into_iter()
        .map(|job| job.unwrap().unwrap().balance_used.0 / 1_000)
        .collect();
    assert_eq!(used, [42, 18, 0, 0]);
    assert_eq!(ledger.balance(buyer).await.unwrap(), Msat::ZERO);
    let rows = ledger.dealings().await.unwrap();
    assert!(rows.iter().all(|(_, row)| row.balance_msat.is_zero()));
    // As it stands after a start, too.
    ledger.close().await;
    let ledger = Ledger::open(&path).unwrap();
    let id = RequestId(EventId::from_byte_array([2; 32]));
    let job = ledger.job(id).await.unwrap().unwrap();
    assert_eq!(job.balance_used, Msat::from_sats(42));
    assert!(job.invoice.is_none());
    ledger.close().await;
}

#[tokio::test]
async fn a_sum_below_zero_is_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&folder.path().join("vend.db")).unwrap();
    let buyer = Buyer(Keys::generate().public_key());
    let job = ledger.admit(new(1, buyer)).await.unwrap().unwrap();
    let mut after = job.clone();
    after.rev += 1;
    after.balance_used = Msat::from_sats(1);
    let change = Change::bare(&job, &after, "accepted");
    assert!(ledger.commit(change).await.is_err());
    let kept = ledger.job(job.id).await.unwrap().unwrap();
    assert_eq!((kept.rev, kept.balance_used), (job.rev, Msat::ZERO));
    ledger.close().await;
}
