//! The computer is somebody's: a shop that is paused takes no new work, finishes what runs, says so everywhere, and goes on.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use crate::support::fake_wallet::FakeWallet;
use crate::support::inside::{Inside, LONGEST, is_result, status_of};
use nostr::{Event as Signed, Keys, Kind, Timestamp};
use serde_json::json;
use vend::config::place::{DataLock, Places};
use vend::control::server::Server;
use vend::demo::online;
use vend::domain::event::EventKind;
use vend::domain::health::ShopState;
use vend::domain::job::Encryption;
use wiremock::matchers::{body_partial_json, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn settings(relay: &str, model: &str, wallet: &FakeWallet, machine: &str) -> String {
    format!(
        "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\n[text]\nmodel = \"m\"\nmax_tokens = 16\n\
         [price]\nprice_per_1k_tokens = 0\n[payment]\nmode = \"after\"\n[limits]\nper_buyer_running = 1\n\
         [wallet]\nnetwork = \"regtest\"\nbackend = \"lnbits\"\nurl = \"{}\"\ninvoice_key = \"{}\"\n\
         [[endpoint]]\nname = \"gpu\"\nkind = \"openai\"\nurl = \"{model}\"\n[machine]\n{machine}\n",
        wallet.url(),
        wallet.invoice_key()
    )
}

/// A model server that takes its time.
async fn slow_server(wait: Duration) -> MockServer {
    let server = MockServer::start().await;
    let list = ResponseTemplate::new(200).set_body_json(json!({ "data": [{ "id": "m" }] }));
    Mock::given(method("GET"))
        .and(path("/v1/models"))
        .respond_with(list)
        .mount(&server)
        .await;
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"Paris.\"},\"finish_reason\":\"stop\"}]}\n\n\
                  data: [DONE]\n\n";
    let answer = ResponseTemplate::new(200).set_body_raw(stream, "text/event-stream");
    Mock::given(method("POST"))
        .respond_with(answer.set_delay(wait))
        .mount(&server)
        .await;
    server
}

/// The newest announcement, once it takes kinds or takes none.
async fn announced(inside: &Inside, takes_kinds: bool, after: Timestamp) -> Signed {
    let is = |event: &Signed| {
        let kinds = event
            .tags
            .iter()
            .filter(|tag| tag.as_slice()[0] == "k")
            .count();
        event.kind == Kind::from_u16(31_990)
            && (kinds > 0) == takes_kinds
            && event.created_at > after
    };
    inside
        .relay
        .wait_for(is, LONGEST)
        .await
        .expect("an announcement")
}

async fn state(inside: &Inside, wanted: ShopState) -> String {
    let mut now = inside.engine.shop().now.subscribe();
    let found = now.wait_for(|now| now.state == wanted);
    let found = tokio::time::timeout(LONGEST, found).await.unwrap().unwrap();
    found.detail.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snoozed_shop_finishes_says_until_when_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = FakeWallet::start(&folder.path().join("lnbits.jsonl"));
    let server = slow_server(Duration::from_secs(3)).await;
    let mut inside = Inside::start(|relay| settings(relay, &server.uri(), &wallet, "")).await;
    let places = Places::new(inside.home.config(), inside.home.data());
    let lock = DataLock::take(&places).unwrap();
    let socket = Server::listen(&inside.engine, &lock.holder().socket).unwrap();
    online(&inside.engine).await.unwrap();
    let open = announced(&inside, true, Timestamp::from(0)).await;

    let buyer = Keys::generate();
    let running = inside.ask(&buyer);
    // Another question: the same one in the same second would be the same event.
    let waiting = inside
        .home
        .request(&buyer, Encryption::Plain, "What is the capital of Peru?");
    inside.relay.inject(&waiting);
    inside
        .until(&running, |job, _| job.status.as_str() == "processing")
        .await;
    let said = inside.say(&["snooze", "1h"]);
    assert!(said.starts_with("no new work until "), "{said}");
    assert!(
        state(&inside, ShopState::Paused)
            .await
            .starts_with("snoozed, until ")
    );
    let status = inside.json(&["status"]);
    assert_eq!(
        (&status["state"], &status["online"]),
        (&json!("paused"), &json!(false))
    );
    assert!(
        inside
            .say(&["status"])
            .starts_with("paused: snoozed, until ")
    );

    // A new one is told until when; the one that runs is finished, the one that waits is not begun.
    let refused = inside.ask(&Keys::generate());
    let told = inside
        .answer(&refused, |event| {
            status_of(event).as_deref() == Some("error")
        })
        .await;
    let words = told
        .tags
        .iter()
        .find(|tag| tag.as_slice()[0] == "status")
        .unwrap();
    let words = format!(
        "{} {}",
        words.as_slice().get(2).cloned().unwrap_or_default(),
        told.content
    );
    assert!(
        words.contains("Busy until 2") && words.contains("Z; please"),
        "{words}"
    );
    inside.answer(&running, is_result).await;
    let closed = announced(&inside, false, open.created_at).await;
    let job = inside
        .engine
        .shop()
        .ledger
        .job(vend::domain::id::RequestId(waiting.id))
        .await;
    assert_eq!(job.unwrap().unwrap().view().status.as_str(), "queued");

    assert_eq!(inside.say(&["resume"]), "takes new work again\n");
    state(&inside, ShopState::Online).await;
    inside.answer(&waiting, is_result).await;
    announced(&inside, true, closed.created_at).await;
    socket.close().await;
    drop(lock);
    inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_game_that_starts_is_seen_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = FakeWallet::start(&folder.path().join("lnbits.jsonl"));
    let server = slow_server(Duration::ZERO).await;
    // A program with a name of its own: a copy of `sleep`.
    let name = format!("game{}", std::process::id());
    let game = folder.path().join(&name);
    std::fs::copy("/bin/sleep", &game).unwrap();
    std::fs::set_permissions(&game, std::fs::Permissions::from_mode(0o755)).unwrap();
    let machine = format!("pause_while = [\"{name}\"]");
    let mut inside = Inside::start(|relay| settings(relay, &server.uri(), &wallet, &machine)).await;
    online(&inside.engine).await.unwrap();
    let mut plays = std::process::Command::new(&game)
        .arg("600")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let why = inside
        .hear(|kind| match kind {
            EventKind::State {
                state: ShopState::Paused,
                detail,
                ..
            } => Some(detail),
            _ => None,
        })
        .await;
    plays.kill().unwrap();
    plays.wait().unwrap();
    assert_eq!(why, format!("{name} runs, until it ends"));
    inside.close().await;
}

#[tokio::test]
async fn ollama_is_asked_to_unload_what_the_shop_has_used_and_nothing_else() {
    use vend::config::schema::Endpoint as Settings;
    use vend::domain::job::TextParams;
    use vend::domain::message::Message;
    use vend::inference::ollama::OllamaEndpoint;
    use vend::inference::{Ask, Deadlines, Endpoint, Pool, Progress};

    let server = MockServer::start().await;
    let line = "{\"message\":{\"content\":\"Paris.\"},\"done\":true,\"done_reason\":\"stop\",\
                \"prompt_eval_count\":9,\"eval_count\":2}\n";
    let answer = ResponseTemplate::new(200).set_body_raw(line, "application/x-ndjson");
    let show = ResponseTemplate::new(200).set_body_json(json!({ "capabilities": ["completion"] }));
    Mock::given(path("/api/show"))
        .respond_with(show)
        .mount(&server)
        .await;
    let gone =
        ResponseTemplate::new(200).set_body_json(json!({ "done": true, "done_reason": "unload" }));
    Mock::given(path("/api/chat"))
        .and(body_partial_json(
            json!({ "model": "m", "messages": [], "keep_alive": 0 }),
        ))
        .respond_with(gone)
        .with_priority(1)
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(path("/api/chat"))
        .respond_with(answer)
        .mount(&server)
        .await;
    let long = Duration::from_secs(60);
    let deadlines = Deadlines {
        connect: long,
        first_token: long,
        between_tokens: long,
    };
    let endpoint = Settings {
        url: server.uri(),
        ..Settings::default()
    };
    let endpoint = OllamaEndpoint::new(&endpoint, None, deadlines).unwrap();
    let pool = Pool::new(vec![
        std::sync::Arc::new(endpoint) as std::sync::Arc<dyn Endpoint>
    ]);
    assert_eq!(
        pool.unload().await,
        [("local".to_owned(), Ok(Vec::new()))],
        "nothing was used"
    );

    let params = TextParams {
        max_tokens: 16,
        temperature: 0.7,
        top_k: 40,
        top_p: 0.9,
        frequency_penalty: 0.0,
        seed: None,
    };
    let ask = Ask {
        model: "m".to_owned(),
        messages: vec![Message::user("What is the capital of France?")],
        params,
        deadline: long,
        attempt: 1,
        so_far: None,
    };
    pool.refresh().await;
    let (progress, _seen) = tokio::sync::watch::channel(Progress::default());
    let endpoint = Settings {
        url: server.uri(),
        ..Settings::default()
    };
    let endpoint = OllamaEndpoint::new(&endpoint, None, deadlines).unwrap();
    endpoint.answer(ask, progress).await.unwrap();
    assert_eq!(endpoint.unload().await, Ok(vec!["m".to_owned()]));
    assert_eq!(endpoint.unload().await, Ok(Vec::new()), "once");
}
