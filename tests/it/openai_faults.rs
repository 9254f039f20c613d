//! Whatever an OpenAI-compatible server does, its answer is whole and counted, or the operator hears what was wrong.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::watch;
use vend::config::schema::{Endpoint as Settings, EndpointKind};
use vend::domain::health::{EndpointHealth, HealthLevel};
use vend::domain::job::{Answer, TextParams};
use vend::inference::openai::OpenAiEndpoint;
use vend::inference::{Access, Ask, Deadlines, Endpoint, InferenceError};
use wiremock::matchers::{body_partial_json, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const LONG: Duration = Duration::from_mins(1);

fn endpoint_with(server: &MockServer, models: &[&str]) -> OpenAiEndpoint {
    let settings = Settings {
        name: "gpu".into(),
        kind: EndpointKind::Openai,
        url: format!("{}/v1", server.uri()),
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        ..Settings::default()
    };
    OpenAiEndpoint::new(&settings, None, patient()).unwrap()
}

fn patient() -> Deadlines {
    Deadlines {
        connect: LONG,
        first_token: LONG,
        between_tokens: LONG,
    }
}

fn ask() -> Ask {
    Ask {
        model: "m".into(),
        messages: vec![vend::domain::message::Message::user(
            "What is the capital of France?",
        )],
        params: TextParams {
            max_tokens: 64,
            temperature: 0.7,
            top_k: 0,
            top_p: 0.9,
            frequency_penalty: 0.5,
            seed: None,
        },
        deadline: LONG,
        attempt: 1,
        so_far: None,
    }
}

async fn answer(server: &MockServer) -> Result<Answer, InferenceError> {
    endpoint_with(server, &[])
        .answer(ask(), watch::Sender::default())
        .await
}

/// A server whose chat sends these lines.
async fn server_with(lines: &str) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/v1/chat/completions"))
        .respond_with(ResponseTemplate::new(200).set_body_raw(lines, "text/event-stream"))
        .mount(&server)
        .await;
    server
}

/// A server whose chat refuses.
async fn server_refusing(status: u16, body: Value) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(path("/v1/chat/completions"))
        .respond_with(ResponseTemplate::new(status).set_body_json(body))
        .mount(&server)
        .await;
    server
}

async fn outcome(lines: &str) -> Result<Answer, InferenceError> {
    answer(&server_with(lines).await).await
}

async fn chats(server: &MockServer) -> Vec<Value> {
    let requests = server.received_requests().await.unwrap();
    let chats = requests
        .iter()
        .filter(|request| request.url.path().ends_with("completions"));
    chats.map(|chat| chat.body_json().unwrap()).collect()
}

async fn health(replies: &[(&str, u16, Value)], models: &[&str]) -> EndpointHealth {
    let server = MockServer::start().await;
    for (at, status, body) in replies {
        Mock::given(method("GET"))
            .and(path(*at))
            .respond_with(ResponseTemplate::new(*status).set_body_json(body))
            .mount(&server)
            .await;
    }
    endpoint_with(&server, models).health().await
}

const TOKENS: &str = ": ping\n\n\
    data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null},\"finish_reason\":null}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"France, so\"},\"finish_reason\":null}],\"usage\":null}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"<think>hm</thi\"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"nk>\\nPar\"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"is.\"}}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":14,\"completion_tokens\":9},\
    \"timings\":{\"predicted_ms\":120.5}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[tokio::test]
async fn a_whole_answer_comes_with_its_counts_and_without_its_reasoning() {
    let server = server_with(&[TOKENS, STOP, USAGE, DONE].concat()).await;
    let expected = Answer {
        text: "Paris.".into(),
        prompt_tokens: 14,
        completion_tokens: 9,
        estimated: false,
        cut: false,
        elapsed_ms: 120,
        endpoint: "gpu".into(),
    };
    assert_eq!(answer(&server).await.unwrap(), expected);
    let body = json!({
        "model": "m",
        "messages": [{ "role": "user", "content": "What is the capital of France?" }],
        "stream": true,
        "stream_options": { "include_usage": true },
        "max_tokens": 64, "temperature": 0.7, "top_p": 0.9, "top_k": -1, "frequency_penalty": 0.5,
    });
    assert_eq!(chats(&server).await, [body]);
}

#[tokio::test]
async fn the_end_of_the_stream_is_enough_once_a_reason_was_given() {
    let answer = outcome(&[TOKENS, STOP].concat()).await.unwrap();
    assert!(answer.estimated);
    assert_eq!(answer.text, "Paris.");
}

#[tokio::test]
async fn a_stream_that_ends_without_a_reason_is_no_answer() {
    for lines in [
        TOKENS.to_owned(),
        [TOKENS, DONE].concat(),
        [TOKENS, USAGE].concat(),
        [TOKENS, &STOP.replace("stop", ""), DONE].concat(),
        [TOKENS, &STOP.replace("stop", "tool_calls"), USAGE, DONE].concat(),
    ] {
        let error = outcome(&lines).await.unwrap_err();
        assert!(
            matches!(error, InferenceError::Died { started: true, .. }),
            "{error}"
        );
    }
    let error = outcome("").await.unwrap_err();
    assert!(
        matches!(error, InferenceError::Died { started: false, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn the_reason_decides_what_the_answer_is_worth() {
    let with = |reason: &str| [TOKENS, &STOP.replace("stop", reason), DONE].concat();
    assert!(outcome(&with("length")).await.unwrap().cut);
    let filtered = outcome(&with("content_filter")).await;
    assert!(matches!(filtered, Err(InferenceError::Rejected { .. })));
    let aborted = outcome(&with("abort")).await;
    assert!(matches!(aborted, Err(InferenceError::Died { .. })));
    let empty = outcome(&[STOP, DONE].concat()).await;
    assert!(matches!(empty, Err(InferenceError::Empty { .. })));
}

#[tokio::test]
async fn an_error_in_the_stream_is_seen_in_every_form() {
    for error in [
        "data: {\"error\":{\"message\":\"boom\",\"code\":500}}\n\n",
        "{\"error\":\"boom\"}\n\n",
    ] {
        let error = outcome(&[TOKENS, error].concat()).await.unwrap_err();
        assert!(error.to_string().contains("boom"), "{error}");
        assert!(matches!(error, InferenceError::Died { started: true, .. }));
    }
    let error = outcome("data: nonsense\n\ndata: more\n\n")
        .await
        .unwrap_err();
    assert!(matches!(error, InferenceError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    use InferenceError as E;
    let refused = async |status, body| {
        answer(&server_refusing(status, body).await)
            .await
            .unwrap_err()
    };
    let error =
        |kind: &str, text: &str| json!({ "error": { "message": text, "type": kind, "code": 1 } });
    let long = error(
        "exceed_context_size_error",
        "the request exceeds the available context size",
    );
    assert!(matches!(refused(400, long).await, E::TooLong { .. }));
    let wrong = refused(400, json!({ "detail": "bad field" })).await;
    assert!(matches!(&wrong, E::Refused { detail, .. } if detail.contains("bad field")));
    let key = error("authentication_error", "Invalid API Key");
    assert!(matches!(refused(401, key).await, E::Unauthorized { .. }));
    let missing = error("NotFoundError", "The model `m` does not exist.");
    assert!(matches!(
        refused(404, missing).await,
        E::ModelMissing { .. }
    ));
    let loading = error("unavailable_error", "Loading model");
    assert!(matches!(refused(503, loading).await, E::Busy { .. }));
    assert!(matches!(
        refused(500, Value::Null).await,
        E::Died { started: false, .. }
    ));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let server = MockServer::start().await;
    Mock::given(path("/v1/chat/completions"))
        .respond_with(ResponseTemplate::new(307).insert_header("location", "/elsewhere"))
        .mount(&server)
        .await;
    let error = answer(&server).await.unwrap_err();
    assert!(matches!(error, InferenceError::Protocol { .. }), "{error}");
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_that_does_not_know_stream_options_is_asked_without_and_that_is_remembered() {
    let server = server_with(&[TOKENS, STOP, DONE].concat()).await;
    let refusal = json!({ "error": { "message": "Unknown field: stream_options" } });
    Mock::given(body_partial_json(json!({ "stream_options": {} })))
        .respond_with(ResponseTemplate::new(400).set_body_json(refusal))
        .with_priority(1)
        .mount(&server)
        .await;
    let endpoint = endpoint_with(&server, &[]);
    for _ in 0..2 {
        endpoint
            .answer(ask(), watch::Sender::default())
            .await
            .unwrap();
    }
    let sent: Vec<bool> = chats(&server)
        .await
        .iter()
        .map(|chat| chat.get("stream_options").is_some())
        .collect();
    assert_eq!(sent, [true, false, false]);
}

#[tokio::test]
async fn a_refusal_that_names_a_field_again_and_again_ends() {
    let body = json!({ "error": "stream_options, top_k and seed are all wrong" });
    let server = server_refusing(400, body).await;
    let error = answer(&server).await.unwrap_err();
    assert!(matches!(error, InferenceError::Refused { .. }));
    // The last is a harmless question, asked in the same way.
    assert_eq!(chats(&server).await.len(), 4);
}

#[tokio::test]
async fn an_address_is_taken_as_the_server_s_documentation_prints_it() {
    let stream = [TOKENS, STOP, DONE].concat();
    for (served, urls) in [
        (
            "/v1",
            ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/models"],
        ),
        (
            "",
            [
                "",
                "/",
                "/chat/completions",
                "/models",
                "/chat/completions/",
                "//",
            ],
        ),
        (
            "/api/v1",
            [
                "/api/v1",
                "/api/v1/",
                "/api",
                "/api/",
                "/api/v1/chat/completions",
                "/api/v1/models",
            ],
        ),
        (
            "/v1beta/openai",
            [
                "/v1beta/openai",
                "/v1beta/openai/",
                "/v1beta/openai/chat/completions",
                "/v1beta/openai/models",
                "/v1beta/openai",
                "/v1beta/openai",
            ],
        ),
        (
            "/openai/deployments/d",
            [
                "/openai/deployments/d/chat/completions?api-version=2024-10-21",
                "/openai/deployments/d?api-version=1",
                "/openai/deployments/d",
                "/openai/deployments/d",
                "/openai/deployments/d/",
                "/openai/deployments/d/models",
            ],
        ),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path(format!("{served}/chat/completions")))
            .respond_with(
                ResponseTemplate::new(200).set_body_raw(stream.as_str(), "text/event-stream"),
            )
            .mount(&server)
            .await;
        Mock::given(method("GET"))
            .and(path(format!("{served}/models")))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!([{ "id": "m" }])))
            .mount(&server)
            .await;
        for url in urls {
            let settings = Settings {
                kind: EndpointKind::Openai,
                url: format!("{}{url}", server.uri()),
                ..Settings::default()
            };
            // Asked first, and looked at first: both find the place.
            for look in [false, true] {
                let endpoint = OpenAiEndpoint::new(&settings, None, patient()).unwrap();
                if look {
                    assert_eq!(endpoint.health().await.models, ["m"], "{url}");
                }
                let answer = endpoint.answer(ask(), watch::Sender::default()).await;
                assert_eq!(answer.unwrap().text, "Paris.", "{url}");
            }
        }
    }
}

#[tokio::test]
async fn a_request_has_what_the_settings_say_of_this_server() {
    let server = server_with(&[TOKENS, STOP, DONE].concat()).await;
    let mut settings = Settings {
        kind: EndpointKind::Openai,
        url: server.uri(),
        think: Some(false),
        stop: vec!["</s>".into()],
        ..Settings::default()
    };
    settings.extra.insert("min_p".into(), json!(0.05));
    settings.extra.insert("top_k".into(), json!(20));
    let access = Access {
        headers: vec![("X-Api-Key".into(), SecretString::from("hush"))],
        ..Access::default()
    };
    let endpoint = OpenAiEndpoint::new(&settings, access, patient()).unwrap();
    endpoint
        .answer(ask(), watch::Sender::default())
        .await
        .unwrap();
    assert!(!format!("{endpoint:?}").contains("hush"));
    let seen = server.received_requests().await.unwrap();
    let chat = seen.last().unwrap();
    assert_eq!(chat.headers["x-api-key"], "hush");
    let body: Value = chat.body_json().unwrap();
    assert_eq!((&body["min_p"], &body["top_k"]), (&json!(0.05), &json!(20)));
    assert_eq!(body["stop"], json!(["</s>"]));
    assert_eq!(
        body["chat_template_kwargs"],
        json!({ "enable_thinking": false })
    );
}

#[tokio::test]
async fn a_conversation_goes_out_with_its_roles() {
    let server = server_with(&[TOKENS, STOP, DONE].concat()).await;
    let text = r#"{"messages":[{"role":"system","content":"a"},{"role":"user","content":"b"},{"role":"assistant","content":"c"},{"role":"user","content":"d"}]}"#;
    let ask = Ask {
        messages: vend::domain::message::from_text(text),
        ..ask()
    };
    endpoint_with(&server, &[])
        .answer(ask, watch::Sender::default())
        .await
        .unwrap();
    let sent = &chats(&server).await[0]["messages"];
    assert_eq!(
        json!({ "messages": sent }),
        serde_json::from_str::<Value>(text).unwrap()
    );
}

#[tokio::test]
async fn models_are_listed_and_those_of_the_settings_are_trusted() {
    let list = json!({ "object": "list", "data": [{ "id": "b" }, { "id": "a" }, { "id": 7 }] });
    let all = health(&[("/v1/models", 200, list.clone())], &[]).await;
    assert_eq!((all.state.as_str(), all.health), ("up", HealthLevel::Ok));
    assert_eq!(all.models, ["a", "b"]);
    let one = health(&[("/v1/models", 200, list.clone())], &["B:latest"]).await;
    assert_eq!(one.models, ["b"]);
    let none = health(&[("/v1/models", 200, list)], &["c"]).await;
    assert_eq!(
        (none.health, none.models),
        (HealthLevel::Warn, vec!["c".to_owned()])
    );
}

#[tokio::test]
async fn a_loading_server_and_a_refused_key_are_told() {
    let text = json!({ "error": { "message": "Loading model", "type": "unavailable_error" } });
    let list = json!({ "data": [{ "id": "m" }] });
    let loading = health(&[("/health", 503, text), ("/v1/models", 200, list)], &[]).await;
    assert_eq!(
        (loading.state.as_str(), loading.detail.as_str()),
        ("loading", "Loading model")
    );
    assert!(loading.models.is_empty());
    let refused = health(&[("/v1/models", 401, json!({ "error": "no" }))], &[]).await;
    assert_eq!(
        (refused.state.as_str(), refused.health),
        ("needs_attention", HealthLevel::Down)
    );
}

#[tokio::test]
async fn a_server_without_a_list_serves_what_the_settings_name() {
    let bare = health(&[], &["m"]).await;
    assert_eq!(
        (bare.state.as_str(), bare.models),
        ("up", vec!["m".to_owned()])
    );
    assert_eq!(health(&[], &[]).await.state, "down");
}
