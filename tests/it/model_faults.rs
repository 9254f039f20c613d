//! Whatever an Ollama server does wrong, the operator hears in plain words what it was, and no buyer gets half an answer.

use std::sync::Arc;
use std::time::Duration;

use crate::support::fake_ollama::{FakeOllama, Fault};
use secrecy::SecretString;
use serde_json::json;
use tokio::sync::watch;
use vend::config::schema::Endpoint as Settings;
use vend::domain::health::HealthLevel;
use vend::domain::job::{Answer, TextParams};
use vend::inference::ollama::OllamaEndpoint;
use vend::inference::{Ask, Deadlines, Endpoint, InferenceError, Pool, Progress};

/// A wait that no test is to reach.
const LONG: Duration = Duration::from_mins(1);
/// A wait that a test is to sit out.
const SHORT: Duration = Duration::from_millis(60);

fn patient() -> Deadlines {
    Deadlines {
        connect: LONG,
        first_token: LONG,
        between_tokens: LONG,
    }
}

fn endpoint_with(url: &str, deadlines: Deadlines) -> OllamaEndpoint {
    let settings = Settings {
        url: url.into(),
        ..Settings::default()
    };
    OllamaEndpoint::new(&settings, None, deadlines).unwrap()
}

fn ask(prompt: &str) -> Ask {
    Ask {
        model: "gemma2:latest".into(),
        messages: vec![vend::domain::message::Message::user(prompt)],
        params: TextParams {
            max_tokens: 64,
            temperature: 0.7,
            top_k: 40,
            top_p: 0.9,
            frequency_penalty: 0.5,
            seed: Some(7),
        },
        deadline: LONG,
        attempt: 1,
        so_far: None,
    }
}

const QUESTION: &str = "What is the capital of France?";

async fn answer_of(
    server: &FakeOllama,
    deadlines: Deadlines,
    ask: Ask,
) -> Result<Answer, InferenceError> {
    let endpoint = endpoint_with(&server.url(), deadlines);
    endpoint.answer(ask, watch::Sender::default()).await
}

/// The outcome of one job under a fault, with deadlines that are not reached.
async fn under(fault: Fault) -> Result<Answer, InferenceError> {
    let server = FakeOllama::start().await;
    server.set(fault);
    answer_of(&server, patient(), ask(QUESTION)).await
}

/// The error under a fault; its line for the operator is plain: one line, the endpoint named, nothing hostile in it.
async fn error_under(fault: Fault) -> (InferenceError, String) {
    let error = under(fault).await.unwrap_err();
    let line = error.to_string();
    assert!(line.contains("local"), "{line}");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    (error, line)
}

#[tokio::test]
async fn a_job_is_asked_with_every_parameter_and_answered_with_the_server_s_counts() {
    let server = FakeOllama::start().await;
    let (progress, seen) = watch::channel(Progress::default());
    let endpoint = endpoint_with(&server.url(), patient());
    let answer = endpoint.answer(ask(QUESTION), progress).await.unwrap();
    assert_eq!(
        answer,
        Answer {
            text: "The capital of France is Paris.".into(),
            prompt_tokens: 16,
            completion_tokens: 7,
            estimated: false,
            cut: false,
            elapsed_ms: 250,
            endpoint: "local".into(),
        }
    );
    assert_eq!(seen.borrow().tokens, 7);
    let expected = json!({
        "model": "gemma2:latest",
        "messages": [{ "role": "user", "content": QUESTION }],
        "stream": true,
        "options": {
            "num_ctx": 4096, "num_predict": 64, "temperature": 0.7, "top_k": 40, "top_p": 0.9,
            "frequency_penalty": 0.5, "repeat_penalty": 1.0, "seed": 7,
        },
        "keep_alive": "10m",
        "truncate": false,
        "shift": false,
    });
    assert_eq!(server.requests(), [expected]);
}

#[tokio::test]
async fn a_thinking_model_is_told_not_to_think_and_is_looked_at_once() {
    let server = FakeOllama::start().await;
    server.set_show(json!({ "capabilities": ["completion", "thinking"] }));
    let endpoint = endpoint_with(&server.url(), patient());
    for _ in 0..2 {
        endpoint
            .answer(ask(QUESTION), watch::Sender::default())
            .await
            .unwrap();
    }
    for request in server.requests() {
        assert_eq!(request["think"], json!(false));
        assert_eq!(request["options"]["num_ctx"], 8192);
    }
    let shows = server
        .seen()
        .into_iter()
        .filter(|seen| seen.path == "/api/show");
    assert_eq!(shows.count(), 1);
}

#[tokio::test]
async fn the_built_in_model_can_stand_behind_the_fake() {
    let server = FakeOllama::start().await;
    server.set_builtin();
    let answer = answer_of(&server, patient(), ask(QUESTION)).await.unwrap();
    assert_eq!(answer.text, "The capital of France is Paris.");
}

#[tokio::test]
async fn a_server_that_is_not_running_is_unreachable_with_the_remedy() {
    let mut server = FakeOllama::start().await;
    server.stop().await;
    let error = answer_of(&server, patient(), ask(QUESTION))
        .await
        .unwrap_err();
    assert!(
        matches!(error, InferenceError::Unreachable { .. }),
        "{error}"
    );
    let line = error.to_string();
    assert!(
        line.contains(&server.url()) && line.contains("`ollama serve`"),
        "{line}"
    );

    let endpoint = endpoint_with(&server.url(), patient());
    let health = endpoint.health().await;
    assert_eq!(
        (health.state.as_str(), health.health),
        ("down", HealthLevel::Down)
    );
    assert!(
        health.detail.contains("`ollama serve`"),
        "{}",
        health.detail
    );

    server.restart().await;
    assert_eq!(endpoint.health().await.models, ["gemma2:latest"]);
}

#[tokio::test]
async fn a_missing_model_is_named_with_the_command_that_gets_it() {
    let (error, line) = error_under(Fault::ModelMissing).await;
    assert!(matches!(error, InferenceError::ModelMissing { .. }));
    assert!(line.contains("`ollama pull gemma2:latest`"), "{line}");
}

#[tokio::test]
async fn a_busy_server_is_busy() {
    let (error, line) = error_under(Fault::Busy).await;
    assert!(matches!(error, InferenceError::Busy { .. }));
    assert!(line.contains("maximum pending requests"), "{line}");
}

#[tokio::test]
async fn a_refused_key_or_host_is_said() {
    let (error, _) = error_under(Fault::Unauthorized).await;
    assert!(matches!(error, InferenceError::Unauthorized { .. }));
    let (error, line) = error_under(Fault::Forbidden).await;
    assert!(matches!(error, InferenceError::Unauthorized { .. }));
    assert!(line.contains("Host header"), "{line}");
}

#[tokio::test]
async fn a_refused_request_is_told_from_one_that_is_too_long() {
    let (error, line) = error_under(Fault::Rejected).await;
    assert!(matches!(error, InferenceError::Refused { .. }));
    assert!(line.contains("invalid option: top_k"), "{line}");
    let (error, line) = error_under(Fault::TooLong).await;
    assert!(matches!(error, InferenceError::TooLong { .. }));
    assert!(line.contains("gemma2:latest"), "{line}");
}

#[tokio::test]
async fn a_crash_before_the_stream_is_a_death_before_the_first_token() {
    let (error, line) = error_under(Fault::FailsBeforeStream).await;
    assert!(matches!(error, InferenceError::Died { started: false, .. }));
    assert!(
        line.contains("model runner has unexpectedly stopped"),
        "{line}"
    );
}

#[tokio::test]
async fn a_stream_that_breaks_or_just_ends_is_no_answer() {
    for fault in [Fault::DiesMidStream, Fault::EndsWithoutDone] {
        let (error, line) = error_under(fault).await;
        assert!(
            matches!(error, InferenceError::Died { started: true, .. }),
            "{fault:?}: {line}"
        );
    }
}

#[tokio::test]
async fn an_error_in_the_middle_is_told_in_the_server_s_words_made_safe() {
    let (error, line) = error_under(Fault::ErrorMidStream).await;
    assert!(matches!(error, InferenceError::Died { started: true, .. }));
    assert!(line.contains("CUDA error:[31m out of memory"), "{line}");
}

#[tokio::test]
async fn what_is_not_the_protocol_is_said_and_never_swallowed_without_bound() {
    for fault in [Fault::Garbage, Fault::EndlessLine] {
        let (error, line) = error_under(fault).await;
        assert!(
            matches!(error, InferenceError::Protocol { .. }),
            "{fault:?}: {line}"
        );
    }
}

#[tokio::test]
async fn a_stall_is_told_before_and_after_the_first_token() {
    for (fault, began) in [
        (Fault::StallsBeforeFirst, false),
        (Fault::StallsMidStream, true),
    ] {
        let server = FakeOllama::start().await;
        server.set(fault);
        let mut deadlines = patient();
        if began {
            deadlines.between_tokens = SHORT;
        } else {
            deadlines.first_token = SHORT;
        }
        let error = answer_of(&server, deadlines, ask(QUESTION))
            .await
            .unwrap_err();
        let InferenceError::Stalled { after, started, .. } = error else {
            panic!("{fault:?}: {error}");
        };
        assert_eq!((after, started), (SHORT, began));
        server.dropped(1).await;
    }
}

#[tokio::test]
async fn a_model_that_must_be_loaded_first_is_given_its_time() {
    let server = FakeOllama::start().await;
    server.set(Fault::SlowLoad(2 * SHORT));
    let answer = answer_of(&server, patient(), ask(QUESTION)).await.unwrap();
    assert_eq!(answer.text, "The capital of France is Paris.");

    server.set(Fault::SlowLoad(LONG));
    let deadlines = Deadlines {
        first_token: SHORT,
        ..patient()
    };
    // A second try waits longer.
    let second = Ask {
        attempt: 2,
        ..ask(QUESTION)
    };
    let error = answer_of(&server, deadlines, second).await.unwrap_err();
    assert!(
        matches!(error, InferenceError::Stalled { started: false, after, .. } if after == 2 * SHORT),
        "{error}"
    );
    // Whether it is loaded is not asked for each job.
    assert!(server.seen().iter().all(|seen| seen.path != "/api/ps"));
}

#[tokio::test]
async fn the_job_s_own_time_ends_everything() {
    for fault in [
        Fault::StallsMidStream,
        Fault::StallsBeforeFirst,
        Fault::Hangs,
    ] {
        let server = FakeOllama::start().await;
        server.set(fault);
        let mut ask = ask(QUESTION);
        ask.deadline = SHORT;
        let error = answer_of(&server, patient(), ask).await.unwrap_err();
        assert!(
            matches!(error, InferenceError::TimedOut { after, .. } if after == SHORT),
            "{error}"
        );
    }
}

#[tokio::test]
async fn thinking_is_taken_out_and_is_never_the_answer() {
    let answer = under(Fault::Thinks).await.unwrap();
    assert_eq!(answer.text, "The capital of France is Paris.");
    assert!(matches!(
        under(Fault::ThinksForever).await,
        Err(InferenceError::Empty { .. })
    ));
    let answer = under(Fault::ThinksApart).await.unwrap();
    assert!(!answer.text.contains("Let me see"), "{}", answer.text);
}

#[tokio::test]
async fn missing_counts_are_estimated_and_marked() {
    let answer = under(Fault::NoCounts).await.unwrap();
    assert!(answer.estimated);
    // One for each word, and one more for each long one: never more than a tokenizer gives.
    assert_eq!((answer.prompt_tokens, answer.completion_tokens), (6, 6));
    assert!(answer.elapsed_ms >= 1);
}

#[tokio::test]
async fn counts_of_the_version_that_miscounts_are_not_trusted() {
    let server = FakeOllama::start().await;
    server.set_version("0.30.0");
    let endpoint = endpoint_with(&server.url(), patient());
    endpoint.health().await;
    let answer = endpoint
        .answer(ask(QUESTION), watch::Sender::default())
        .await
        .unwrap();
    assert!(answer.estimated);
}

#[tokio::test]
async fn a_prompt_that_was_cut_is_never_sold() {
    let server = FakeOllama::start().await;
    server.set(Fault::Truncates);
    let error = answer_of(&server, patient(), ask(&"word ".repeat(5000)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, InferenceError::Truncated { counted: 2050, .. }),
        "{error}"
    );
    // The same count is fine where the prompt can have it.
    answer_of(&server, patient(), ask(&"word ".repeat(2000)))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_answer_at_the_token_limit_is_marked_as_cut() {
    assert!(under(Fault::Cut).await.unwrap().cut);
}

#[tokio::test]
async fn an_empty_answer_is_no_answer() {
    let (error, _) = error_under(Fault::Empty).await;
    assert!(matches!(error, InferenceError::Empty { .. }));
    let server = FakeOllama::start().await;
    server.set_answer(" \n ");
    let error = answer_of(&server, patient(), ask(QUESTION))
        .await
        .unwrap_err();
    assert!(matches!(error, InferenceError::Empty { .. }));
}

#[tokio::test]
async fn an_empty_prompt_never_reaches_the_server() {
    let server = FakeOllama::start().await;
    let error = answer_of(&server, patient(), ask(" \n")).await.unwrap_err();
    assert!(matches!(error, InferenceError::Rejected { .. }));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn dropping_the_answer_cancels_the_work_on_the_server() {
    let server = FakeOllama::start().await;
    server.set(Fault::StallsMidStream);
    let endpoint = endpoint_with(&server.url(), patient());
    tokio::select! {
        _ = endpoint.answer(ask(QUESTION), watch::Sender::default()) => panic!("it stalls"),
        () = server.started(1) => {}
    }
    server.dropped(1).await;
}

#[tokio::test]
async fn a_key_is_sent_and_never_shown() {
    let server = FakeOllama::start().await;
    let settings = Settings {
        url: server.url(),
        ..Settings::default()
    };
    let key = Some(SecretString::from("hush"));
    let endpoint = OllamaEndpoint::new(&settings, key, patient()).unwrap();
    endpoint
        .answer(ask(QUESTION), watch::Sender::default())
        .await
        .unwrap();
    for seen in server.seen() {
        assert_eq!(seen.authorization.as_deref(), Some("Bearer hush"));
    }
    assert!(!format!("{endpoint:?}").contains("hush"));
    server.set(Fault::Unauthorized);
    let health = endpoint.health().await;
    assert_eq!(health.state, "needs_attention");
    assert!(health.detail.contains("`api_key`"), "{}", health.detail);
}

#[tokio::test]
async fn a_model_in_somebody_s_cloud_is_never_asked() {
    let server = FakeOllama::start().await;
    server.set_show(json!({ "remote_host": "https://ollama.com:443", "remote_model": "gemma2" }));
    let error = answer_of(&server, patient(), ask(QUESTION))
        .await
        .unwrap_err();
    assert!(matches!(error, InferenceError::Rejected { .. }), "{error}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_dead_server_s_job_is_done_by_another_and_it_comes_back() {
    let (mut first, second) = (FakeOllama::start().await, FakeOllama::start().await);
    let endpoints = [&first, &second]
        .map(|server| Arc::new(endpoint_with(&server.url(), patient())) as Arc<dyn Endpoint>);
    let pool = Pool::new(endpoints.to_vec());
    pool.refresh().await;
    assert_eq!(pool.free_slots("gemma2"), 2);

    first.stop().await;
    let slot = pool.reserve("gemma2").unwrap();
    pool.answer(slot, ask(QUESTION), watch::Sender::default())
        .await
        .unwrap();
    assert_eq!(second.requests().len(), 1);
    assert_eq!(pool.health()[0].state, "resting");
    assert_eq!(pool.free_slots("gemma2"), 1);

    first.restart().await;
    pool.refresh_all().await;
    assert_eq!(pool.free_slots("gemma2"), 2);
}

#[tokio::test]
async fn a_job_that_died_after_its_first_token_is_not_done_twice() {
    let (first, second) = (FakeOllama::start().await, FakeOllama::start().await);
    first.set(Fault::DiesMidStream);
    let endpoints = [&first, &second]
        .map(|server| Arc::new(endpoint_with(&server.url(), patient())) as Arc<dyn Endpoint>);
    let pool = Pool::new(endpoints.to_vec());
    pool.refresh().await;
    let slot = pool.reserve("gemma2").unwrap();
    let error = pool
        .answer(slot, ask(QUESTION), watch::Sender::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, InferenceError::Died { started: true, .. }),
        "{error}"
    );
    assert!(second.requests().is_empty());
    assert_eq!(pool.free_slots("gemma2"), 2);
}
