use std::path::{Path, PathBuf};

use nostr::EventId;

use super::*;
use crate::domain::id::RequestId;
use crate::domain::msat::Msat;
use crate::domain::time::Time;
use crate::ledger::{JobFilter, Ledger};

const TERMS: &str = r#"{"model":"m","substituted":null,"params":{"max_tokens":512,"temperature":0.7,"top_k":40,"top_p":0.9,
  "frequency_penalty":0.5,"seed":null},"price":{"min_sats":10,"per_1k_input":2,"per_1k_output":2},"order":"after",
  "bid_msat":null,"invoice_expiry_secs":3600,"job_timeout_secs":300,"check_every_secs":120,"relays":[],"seen_on":""}"#;
const BUYER: &str = "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9";

/// As a vend of an older version left it: one job delivered with its texts, one paid whose texts are erased.
fn filled(path: &Path, versions: usize) {
    let old = old(path, versions);
    old.execute_batch(&format!(
        r#"INSERT INTO jobs (id, buyer, kind, state, status, rev, encryption, addressed, terms, model, request_json, prompt,
             answer, price_msat, result_id, delivered, created_at, updated_at)
           VALUES (X'{one}', X'{BUYER}', 5050, 'pending_payment', 'pending_payment', 6, 'plain', 1, '{TERMS}', 'm',
             '{{"request":1}}', 'What is that?', '{{"text":"An answer: ü","prompt_tokens":3,"completion_tokens":4,
             "estimated":false,"cut":true,"elapsed_ms":5,"endpoint":"local"}}', 10000, X'{result}', 1, 1000, 2000);
           INSERT INTO jobs (id, buyer, kind, state, status, rev, encryption, addressed, terms, model, answer, price_msat,
             paid_msat, delivered, created_at, updated_at)
           VALUES (X'{two}', X'{BUYER}', 5050, 'paid', 'paid', 9, 'plain', 1, '{TERMS}', 'm',
             '{{"text":"","prompt_tokens":7,"completion_tokens":8,"estimated":true,"cut":false,"elapsed_ms":9,
             "endpoint":"other"}}', 20000, 20000, 1, 500, 800);
           INSERT INTO timeline (job_id, at, what, detail) VALUES (X'{one}', 1000, 'admitted', 'from a relay');
           INSERT INTO invoices (job_id, label, state, amount_msat, wallet, payment_hash, bolt11, made_at, expires_at)
           VALUES (X'{one}', 'vend:1', 'open', 10000, 'lnd', X'{hash}', 'lnbc1', 1500, 3601500);
           INSERT INTO invoices (job_id, label, state, amount_msat, wallet, payment_hash, bolt11, made_at, expires_at,
             paid_msat, paid_at)
           VALUES (X'{two}', 'vend:2', 'paid', 20000, 'lnd', X'{two}', 'lnbc2', 600, 3600600, 20000, 700);
           INSERT INTO outbox (job_id, role, event_id, event_json, not_after, settled)
           VALUES (X'{one}', 'result', X'{result}', '{{"result":1}}', 9000000000000, 0);
           INSERT INTO delivery (out_id, relay, state, next_at) VALUES (1, 'wss://a', 'ok', 0), (1, 'wss://b', 'due', 0);
           INSERT INTO totals VALUES ('jobs', 2);"#,
        one = "01".repeat(32),
        two = "02".repeat(32),
        hash = "0a".repeat(32),
        result = "0b".repeat(32),
    ))
    .unwrap();
}

fn id(number: u8) -> RequestId {
    RequestId(EventId::from_byte_array([number; 32]))
}

async fn is_all_there(ledger: &Ledger) {
    let jobs = ledger.jobs(JobFilter::default()).await.unwrap();
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    assert_eq!(ids, [id(1), id(2)]);
    let [one, two] = jobs.try_into().unwrap();
    assert!(one.has_texts && !two.has_texts);
    assert_eq!((one.rev, two.rev), (6, 9));
    assert_eq!(two.paid, Msat::from_sats(20));
    let usage = one.answer.unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (3, 4));
    assert!(usage.cut && !usage.estimated);
    assert_eq!((usage.elapsed_ms, &*usage.endpoint), (5, "local"));
    assert!(two.answer.unwrap().estimated);
    assert_eq!(one.invoice.unwrap().bolt11.as_deref(), Some("lnbc1"));
    let texts = ledger.texts(id(1)).await.unwrap().unwrap();
    assert_eq!(texts.request_json, r#"{"request":1}"#);
    assert_eq!(texts.prompt, "What is that?");
    assert_eq!(texts.answer.as_deref(), Some("An answer: ü"));
    assert_eq!(ledger.texts(id(2)).await.unwrap(), None);
    let events = ledger.events_of(id(1)).await.unwrap();
    assert_eq!(
        events,
        [("result".to_owned(), r#"{"result":1}"#.to_owned())]
    );
    assert_eq!(ledger.timeline(id(1)).await.unwrap().len(), 1);
    let watched = ledger.watched(Time(2_000)).await.unwrap();
    assert_eq!(watched.len(), 1);
    assert_eq!(watched[0].id, id(1));
    assert_eq!(watched[0].check_every.as_secs(), 120);
}

fn copies(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .filter(|path| path.to_string_lossy().contains("before"))
        .collect()
}

#[tokio::test]
async fn a_ledger_of_any_older_version_is_taken_over_whole() {
    for versions in 1..=9 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vend.db");
        filled(&path, versions);
        let mut told = Vec::new();
        let ledger = Ledger::open_telling(&path, &mut |words| told.push(words.to_owned())).unwrap();
        assert_eq!(told.len(), 1 + LATEST - versions, "{told:?}");
        is_all_there(&ledger).await;
        let due = ledger.due_at("wss://b", Time(5_000), 9).await;
        let due = due.unwrap();
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].json, r#"{"result":1}"#);
        ledger.close().await;
        let [copy] = copies(dir.path()).try_into().unwrap();
        let connection = Connection::open(&path).unwrap();
        let wrong: i64 = connection
            .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(wrong, 0);
        let bytes: i64 = connection
            .query_row("SELECT max(text_bytes) FROM jobs", [], |row| row.get(0))
            .unwrap();
        assert_eq!(bytes, 13 + 13 + 13);
        // The copy is what was there before.
        let before = Connection::open(copy).unwrap();
        let version: i64 = before
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(usize::try_from(version), Ok(versions));
    }
}

#[tokio::test]
async fn a_migration_that_was_cut_off_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vend.db");
    filled(&path, 9);
    // Killed after the first of its phases.
    let mut half = Connection::open(&path).unwrap();
    half.pragma_update(None, "foreign_keys", "OFF").unwrap();
    let first: Migrations<'_> = VERSIONS.into_iter().take(10).map(M::up).collect();
    first.to_latest(&mut half).unwrap();
    drop(half);
    // Looked at before it goes on.
    is_all_there(&Ledger::look(&path).unwrap()).await;
    is_all_there(&Ledger::open(&path).unwrap()).await;
}

#[tokio::test]
async fn a_ledger_that_no_new_vend_has_opened_is_read_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vend.db");
    filled(&path, 3);
    let ledger = Ledger::look(&path).unwrap();
    is_all_there(&ledger).await;
    let page = ledger.page(
        crate::domain::query::JobsQuery::default(),
        crate::domain::query::Filter::parse("model:m").unwrap(),
        0,
        9,
    );
    assert_eq!(page.await.unwrap().jobs.len(), 2);
    let receipts = ledger
        .receipts(Time(0), Time(i64::MAX), None, 9)
        .await
        .unwrap();
    assert_eq!(receipts[0].tokens, Some(15));
    let copy = dir.path().join("copy.db");
    ledger.backup(&copy).await.unwrap();
    let whole = std::fs::read(&copy).unwrap();
    let twice = ledger.backup(&copy).await;
    assert!(twice.is_err(), "a copy is never replaced");
    assert_eq!(std::fs::read(&copy).unwrap(), whole);
    let files = std::fs::read_dir(dir.path()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(
        names
            .into_iter()
            .all(|name| name.starts_with("vend.db") || name == "copy.db")
    );
    assert!(ledger.holds().is_empty());
}

#[test]
fn invoices_of_renamed_wallets_are_taken_up_by_the_name_of_their_settings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vend.db");
    let old = old(&path, 5);
    for (n, wallet, identity) in [
        (1_u8, "lnbits", "lnbits.example#Alice"),
        (2, "nwc", "02aa"),
        (3, "lnd", "02bb"),
    ] {
        let id = [n; 32];
        old.execute(
            "INSERT INTO jobs (id, buyer, kind, state, status, rev, encryption, addressed, terms, model, created_at, updated_at)
             VALUES (?1, ?1, 5050, 'pending_payment', 'pending_payment', 1, 'plain', 0, '{}', 'm', 1, 1)",
            [id],
        )
        .unwrap();
        old.execute(
            "INSERT INTO invoices (job_id, label, state, amount_msat, wallet, wallet_identity, wallet_key)
             VALUES (?1, ?2, 'open', 1, ?2, ?3, 'kept')",
            rusqlite::params![id, wallet, identity],
        )
        .unwrap();
    }
    drop(old);
    let opened = crate::ledger::open_writer(&path).unwrap();
    let mut rows = opened
        .prepare("SELECT wallet_key, wallet_identity FROM invoices ORDER BY job_id")
        .unwrap();
    let found: Vec<(String, Option<String>)> = rows
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let kept = |identity: Option<&str>| ("kept".to_owned(), identity.map(str::to_owned));
    assert_eq!(found, [kept(None), kept(None), kept(Some("02bb"))]);
}
