//! The jobs of a ledger can be looked through from another process: a page or a whole job always fits into a line.

use std::path::Path;

use nostr::{EventId, Keys};
use vend::config::Settings;
use vend::control::MAX_LINE;
use vend::control::client::Client;
use vend::control::server::Server;
use vend::domain::command::{Command, Reply};
use vend::domain::id::RequestId;
use vend::domain::query::{JobsQuery, PAGE_MAX, Sort};
use vend::engine::{Engine, Place};
use vend::ledger::Ledger;

const BUYER: &str = "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9";

/// Jobs whose every text is as long and as costly in JSON as strangers could make it.
fn fill(path: &Path, jobs: u32) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let terms = r#"{"model":"m","substituted":null,"params":{"max_tokens":512,"temperature":0.7,"top_k":40,"top_p":0.9,
        "frequency_penalty":0.5,"seed":null},"price":{"min_sats":10,"per_1k_input":2,"per_1k_output":2},"order":"after",
        "bid_msat":null,"invoice_expiry_secs":3600,"job_timeout_secs":300,"check_every_secs":120,"relays":[],"seen_on":""}"#;
    let hostile = "\u{1b}\u{7}".repeat(60_000);
    connection
        .execute(
            &format!(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {jobs})
                 INSERT INTO jobs (id, buyer, kind, state, status, rev, encryption, addressed, terms, model, text_bytes,
                   prompt_tokens, completion_tokens, elapsed_ms, endpoint, error, price_msat, created_at, updated_at)
                 SELECT CAST(printf('%032d', i) AS BLOB), X'{BUYER}', 5050, 'error', 'error', 1, 'plain', 1, '{terms}',
                   CASE WHEN i % 2 THEN ?1 ELSE 'gemma' END, 3 * (i < 3), CASE WHEN i < 3 THEN 1 END,
                   CASE WHEN i < 3 THEN 2 END, CASE WHEN i < 3 THEN 5 END, CASE WHEN i < 3 THEN 'local' END, ?1, 1000 * (i % 50), 1790000000000 + i, unixepoch() * 1000 FROM n"
            ),
            [&hostile],
        )
        .unwrap();
    connection
        .execute_batch(&format!(
            "INSERT INTO totals VALUES ('jobs', {jobs});
             INSERT INTO texts SELECT num, error, error, error FROM jobs WHERE text_bytes > 0;
             INSERT INTO timeline (job_id, at, what, detail) SELECT id, 1, 'run_failed', error FROM jobs WHERE created_at < 1790000000003;
             INSERT INTO outbox (job_id, role, event_id, not_after, settled)
               SELECT id, 'result', randomblob(32), 0, 1 FROM jobs WHERE created_at < 1790000000003;
             INSERT INTO event_texts SELECT o.out_id, j.error FROM outbox o JOIN jobs j ON j.id = o.job_id;"
        ))
        .unwrap();
}

fn id(number: u32) -> RequestId {
    RequestId(EventId::from_slice(format!("{number:032}").as_bytes()).unwrap())
}

#[tokio::test]
async fn pages_and_jobs_fit_into_a_line_and_are_the_same_on_both_ways() {
    // An error means that a provider is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vend.db");
    let ledger = Ledger::open(&path).unwrap();
    fill(&path, 450);
    let place = Place {
        config: dir.path().join("config.toml"),
        data: dir.path().to_owned(),
        pace: None,
        timing: vend::nostr::Timing::default(),
    };
    let engine = Engine::start(ledger, Keys::generate(), Settings::default(), place)
        .await
        .unwrap();
    let socket = dir.path().join("vend.sock");
    let server = Server::listen(&engine, &socket).unwrap();
    let mut client = Client::connect(&socket).await.unwrap();
    let questions = [
        ("", Sort::Time, 0),
        ("", Sort::Amount, 300),
        ("status:error", Sort::Time, 449),
        ("model:gemma min:10", Sort::Tokens, 20),
        ("", Sort::Seconds, 9_999),
    ];
    for (filter, sort, offset) in questions {
        let command = Command::Jobs {
            query: JobsQuery {
                filter: filter.to_owned(),
                sort,
                ascending: false,
            },
            offset,
            limit: u32::MAX,
        };
        let far = client.ask(command.clone()).await.unwrap();
        assert_eq!(far, engine.ask(command).await);
        assert!(serde_json::to_string(&far).unwrap().len() + 64 < MAX_LINE);
        let Reply::Jobs { total, jobs, .. } = far else {
            panic!("{far:?}");
        };
        let there = total.saturating_sub(offset).min(u64::from(PAGE_MAX));
        assert!(jobs.len() as u64 <= there);
        assert_eq!(jobs.is_empty(), there == 0);
    }
    let asked = client.ask(Command::Job { id: id(1) }).await.unwrap();
    assert!(serde_json::to_string(&asked).unwrap().len() + 64 < MAX_LINE);
    let Reply::Job { detail } = asked else {
        panic!("{asked:?}");
    };
    assert_eq!(detail.events[0].role, "result");
    assert_eq!(detail.timeline.len(), 1);
    let cut: Vec<&str> = detail.cut.iter().map(|cut| cut.what.as_str()).collect();
    assert_eq!(cut, ["prompt", "answer", "request", "result"]);
    assert!(detail.prompt.is_some_and(|text| text.len() > 10_000));
    let refused = |reply: Reply| match reply {
        Reply::Refused { detail } => detail,
        other => panic!("{other:?}"),
    };
    let nobody = client.ask(Command::Job { id: id(999) }).await.unwrap();
    assert!(refused(nobody).contains("no job"));
    let strange = Command::Jobs {
        query: JobsQuery {
            filter: "colour:red".to_owned(),
            ..JobsQuery::default()
        },
        offset: 0,
        limit: 1,
    };
    assert!(refused(client.ask(strange).await.unwrap()).contains("use status, model"));
    // A command that names a job reaches the engine too: what it may not do is its answer.
    for command in [
        Command::Cancel { id: id(1) },
        Command::Retry { id: id(999) },
    ] {
        let far = client.ask(command.clone()).await.unwrap();
        assert_eq!(far, engine.ask(command).await);
        assert!(!refused(far).contains("not a command"));
    }
    drop(client);
    server.close().await;
    engine.ask(Command::Stop { now: true }).await;
    engine.ended().await;
}
