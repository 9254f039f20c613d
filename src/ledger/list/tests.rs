use std::path::Path;

use nostr::PublicKey;
use proptest::prelude::*;

use rusqlite::types::Value;

use super::walk::{Key, walks};
use super::*;
use crate::domain::query::Sort;
use crate::ledger::rows;

const BUYERS: [&str; 2] = [
    "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
    "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
];

/// A ledger of so many jobs of every status, with many that are equal in price, tokens and time.
fn filled(dir: &Path, jobs: u32) -> std::path::PathBuf {
    let path = dir.join("vend.db");
    let connection = crate::ledger::open_writer(&path).unwrap();
    let terms = r#"{"model":"m","substituted":null,"params":{"max_tokens":512,"temperature":0.7,"top_k":40,"top_p":0.9,
        "frequency_penalty":0.5,"seed":null},"price":{"min_sats":10,"per_1k_input":2,"per_1k_output":2},"order":"after",
        "bid_msat":null,"invoice_expiry_secs":3600,"job_timeout_secs":300,"check_every_secs":120,"relays":[],"seen_on":""}"#;
    let [a, b] = BUYERS;
    connection
        .execute_batch(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {jobs})
             INSERT INTO jobs (id, buyer, kind, state, status, rev, encryption, addressed, terms, model, prompt_tokens,
               completion_tokens, estimated, cut, elapsed_ms, endpoint, price_msat, created_at, updated_at)
             SELECT randomblob(32), CASE WHEN i % 3 THEN X'{a}' ELSE X'{b}' END, 5000 + 50 * (i % 2), w, w, 1, 'plain', 1,
               '{terms}', CASE WHEN i % 5 THEN 'Gemma2:latest' ELSE 'llama' END,
               CASE WHEN i % 4 THEN 1 END, CASE WHEN i % 4 THEN i % 7 END, 0, 0, CASE WHEN i % 4 THEN i % 9 END, 'e',
               CASE WHEN i % 6 THEN 10000 + 1000 * (i % 3) END, 1790000000000 + 1000 * (i / 2), 0
             FROM (SELECT i, CASE i % 4 WHEN 0 THEN 'queued' WHEN 1 THEN 'paid' WHEN 2 THEN 'unpaid' ELSE 'error' END w FROM n);
             INSERT INTO totals VALUES ('jobs', {jobs});"
        ))
        .unwrap();
    path
}

fn every_view(path: &Path) -> Vec<JobView> {
    let connection = crate::ledger::open_reader(path).unwrap();
    let mut rows_of = connection.prepare("SELECT num FROM jobs").unwrap();
    let found = rows_of.query_map([], |row| row.get(0)).unwrap();
    found
        .map(|row| rows::view(&connection, row.unwrap()).unwrap().unwrap())
        .collect()
}

fn query(filter: &str, sort: Sort, ascending: bool) -> JobsQuery {
    JobsQuery {
        filter: filter.to_owned(),
        sort,
        ascending,
    }
}

/// What a list is ordered by, without what settles a tie.
fn place(query: &JobsQuery, job: &JobView) -> ((i64, &'static str), i64) {
    (query.sort.value(job), job.created_at.0)
}

#[test]
fn any_page_of_any_list_is_where_the_whole_list_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path(), 300);
    let all = every_view(&path);
    let connection = crate::ledger::open_reader(&path).unwrap();
    let mut lists = Lists::default();
    for filter in ["", "status:paid", "model:gemma kind:5050"] {
        let parsed = Filter::parse(filter).unwrap();
        for sort in Sort::ALL {
            for ascending in [false, true] {
                let query = query(filter, sort, ascending);
                let mut whole: Vec<_> = all.iter().filter(|job| parsed.matches(job)).collect();
                whole.sort_by(|a, b| query.compare(a, b));
                let mut seen = std::collections::BTreeSet::new();
                // There and back again, and from the middle: every way to come to a page.
                for offset in [0, 20, 40, 290, 270, 150, 130, 151, 0, 9_999] {
                    let page = lists
                        .page(&connection, &query, &parsed, offset, 20)
                        .unwrap();
                    assert_eq!(page.total, whole.len() as u64);
                    let expected: Vec<_> = whole
                        .iter()
                        .skip(usize::try_from(offset).unwrap())
                        .take(20)
                        .map(|job| place(&query, job))
                        .collect();
                    let found: Vec<_> = page.jobs.iter().map(|job| place(&query, job)).collect();
                    assert_eq!(found, expected, "{query:?} from {offset}");
                    seen.extend(page.jobs.iter().map(|job| job.id));
                }
                // Pages side by side share no job.
                let pages = (0..15).flat_map(|page| {
                    lists
                        .page(&connection, &query, &parsed, page * 20, 20)
                        .unwrap()
                        .jobs
                });
                let ids: std::collections::BTreeSet<_> = pages.map(|job| job.id).collect();
                assert_eq!(ids.len(), whole.len(), "{query:?}");
            }
        }
    }
}

#[test]
fn no_common_order_scans_the_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let connection = crate::ledger::open_writer(&dir.path().join("vend.db")).unwrap();
    let key = |value| Key {
        value,
        created: 1,
        row: 1,
    };
    for sort in Sort::ALL {
        let value = if sort == Sort::Status {
            Value::Text("paid".to_owned())
        } else {
            Value::Integer(7)
        };
        let within: &[Option<Status>] = if sort == Sort::Time {
            &[None, Some(Status::Paid)]
        } else {
            &[None]
        };
        for (status, from, up) in within.iter().flat_map(|status| {
            let keys = [None, Some(key(value.clone()))];
            keys.into_iter()
                .flat_map(move |from| [(*status, from.clone(), true), (*status, from, false)])
        }) {
            for (sql, values) in walks(sort, status, from.as_ref(), up) {
                let limited = values.into_iter().chain([Value::Integer(200)]);
                let mut plan = connection
                    .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                    .unwrap();
                let steps: Vec<String> = plan
                    .query_map(params_from_iter(limited), |row| row.get(3))
                    .unwrap()
                    .map(Result::unwrap)
                    .collect();
                assert!(
                    steps.len() == 1 && steps[0].starts_with("SEARCH jobs USING"),
                    "{sql}: {steps:?}"
                );
            }
        }
    }
}

#[test]
fn a_page_next_to_a_known_one_is_found_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path(), 300);
    let connection = crate::ledger::open_reader(&path).unwrap();
    let mut walk = Walk::new(Sort::Amount, None);
    walk.page(&connection, 0, false, 100, 20).unwrap();
    // Both ends of the page are known now, and so are some of the rows on the way to it.
    assert!(walk.marks.contains_key(&180) && walk.marks.contains_key(&199));
    assert!(walk.marks.len() > 2);
    let (_, next) = walk.page(&connection, 0, false, 120, 20).unwrap();
    let whole = Walk::new(Sort::Amount, None)
        .page(&connection, 0, false, 0, 200)
        .unwrap();
    assert_eq!(next, whole.1[120..140]);
}

#[tokio::test]
async fn a_list_that_was_looked_for_is_looked_for_again_when_the_ledger_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path(), 30);
    let ledger = Ledger::open(&path).unwrap();
    let filter = Filter::parse("model:gemma").unwrap();
    let ask = || {
        ledger.page(
            query("model:gemma", Sort::Time, false),
            filter.clone(),
            0,
            5,
        )
    };
    let before = ask().await.unwrap();
    assert_eq!((before.total, before.jobs.len()), (24, 5));
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute("UPDATE jobs SET model = 'other' WHERE model = 'llama'", [])
        .unwrap();
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute("UPDATE jobs SET model = 'gemma'", [])
        .unwrap();
    // It may be some moments old, but not for ever.
    while ask().await.unwrap().total != 30 {
        tokio::task::yield_now().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn rows_and_sql_agree_on_every_filter(
        words in prop::collection::vec(prop_oneof![
            "-?status:(paid|queued|error,unpaid)",
            "-?model:(gem|LLAMA|2:|x)",
            "-?buyer:(f|f9|c60|npub1|npub1l|npub1cc)",
            "-?kind:50[05]0",
            "-?(min|max):1[0-3]",
            "-?(since|until):2026-09-2[0-3]",
            "-?[a-f0-9]{1,2}",
            "-?(gemma|paid|un|err|5050|zz|npub1)",
            "-?\"[a-z :é]{0,3}\"",
        ], 0..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = filled(dir.path(), 60);
        let connection = crate::ledger::open_reader(&path).unwrap();
        let text = words.join(" ");
        let filter = Filter::parse(&text).unwrap();
        let query = query(&text, Sort::Time, true);
        let found = look(&connection, &query, &filter).unwrap();
        let mut found: Vec<_> = found.into_iter().map(|row| rows::view(&connection, row).unwrap().unwrap().id).collect();
        let mut expected: Vec<_> = every_view(&path).iter().filter(|job| filter.matches(job)).map(|job| job.id).collect();
        found.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(found, expected, "{}", text);
    }
}

#[test]
fn a_view_is_what_the_whole_job_shows() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path(), 12);
    let connection = crate::ledger::open_reader(&path).unwrap();
    for view in every_view(&path) {
        let job = rows::find(&connection, &view.id).unwrap().unwrap();
        let mut whole = job.view();
        whole.model.clone_from(&view.model);
        assert_eq!(whole, view);
        assert!(BUYERS.contains(&PublicKey::to_hex(&view.buyer.0).as_str()));
    }
}
