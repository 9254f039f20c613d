//! A ledger of many jobs, all paid, as a shop has it after years.

use std::path::Path;
use std::time::Duration;

use vend::domain::time::Time;
use vend::ledger::Ledger;

/// Makes a ledger of so many jobs, one a second, with the figures that belong to them.
pub fn fill(path: &Path, jobs: u64) {
    let ledger = Ledger::open(path).expect("a ledger");
    runtime().block_on(ledger.close());
    let connection = rusqlite::Connection::open(path).expect("the file");
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous = OFF;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {jobs})
             INSERT INTO jobs (id, buyer, kind, state, status, rev, encryption, addressed, terms, model, bid_msat, price_msat, paid_msat, delivered, created_at, updated_at)
             SELECT randomblob(32), X'f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9', 5050,
               'paid', 'paid', 7, 'plain', 1,
               '{{\"model\":\"m\",\"substituted\":null,\"params\":{{\"max_tokens\":512,\"temperature\":0.7,\"top_k\":40,\"top_p\":0.9,\"frequency_penalty\":0.5,\"seed\":null}},\"price\":{{\"min_sats\":10,\"per_1k_input\":2,\"per_1k_output\":2}},\"order\":\"after\",\"bid_msat\":null,\"invoice_expiry_secs\":3600,\"job_timeout_secs\":300,\"check_every_secs\":120,\"relays\":[],\"seen_on\":\"wss://relay\"}}',
               'm', 0, 10000, 10000, 1, 1790000000000 + i * 1000, 1790000000000 + i * 1000
             FROM n;
             INSERT INTO invoices (job_id, label, state, amount_msat, wallet, payment_hash, bolt11, made_at, expires_at,
               paid_msat, paid_at)
             SELECT id, 'vend:' || hex(id), 'paid', 10000, 'lnbits', randomblob(32), hex(randomblob(100)),
               created_at, created_at + 3600000, 10000, created_at FROM jobs;
             INSERT INTO totals VALUES ('jobs', {jobs}), ('successful', {jobs}), ('delivered', {jobs}), ('paid', {jobs}),
               ('revenue_msat', {jobs} * 10000), ('seen', {jobs} * 3), ('understood', {jobs} * 2);
             INSERT INTO drops VALUES ('not_for_us', {jobs}), ('stale', {jobs});
             INSERT INTO model_totals VALUES ('m', {jobs}, {jobs} * 10000, {jobs} * 90, {jobs} * 80, {jobs} * 2000);"
        ))
        .expect("filled");
    let now = Time::now();
    for ago in 0..24 {
        let hour = now.minus(Duration::from_secs(ago * 3_600)).hour();
        for (name, value) in [("seen", 9), ("admitted", 5), ("jobs", 5), ("paid", 4)] {
            hours(&connection, &hour, name, value + ago);
        }
        hours(&connection, &hour, "revenue_msat", ago * 10_000);
    }
}

fn hours(connection: &rusqlite::Connection, hour: &str, name: &str, value: u64) {
    connection
        .execute(
            "INSERT INTO hour_totals VALUES (?1, ?2, ?3)",
            rusqlite::params![hour, name, i64::try_from(value).expect("small")],
        )
        .expect("an hour");
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
