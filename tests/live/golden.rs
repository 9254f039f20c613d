//! The tiny model's own forward pass beside llama.cpp's, in both of the servers that people run it with.

use std::sync::Arc;
use std::time::Duration;

use vend::config::schema::{Endpoint as Settings, EndpointKind, SecretSource};
use vend::domain::job::{Answer, TextParams};
use vend::inference::{Ask, Endpoint, Progress};

use super::stage::{Server, gguf, ready};

/// Two tokens score almost the same here, and the servers round differently; golden.json does not mark it.
const NEAR_TIE: &str = "Write a haiku about the lighthouse.";

fn endpoint(kind: EndpointKind, url: &str) -> Arc<dyn Endpoint> {
    let settings = Settings {
        name: kind.as_str().to_owned(),
        kind,
        url: url.to_owned(),
        ..Settings::default()
    };
    let no_key = |_: &SecretSource| Err("no key is set".to_owned());
    vend::inference::open(&[settings], no_key, None)
        .unwrap()
        .remove(0)
}

async fn greedy(endpoint: &dyn Endpoint, prompt: &str) -> Answer {
    let ask = Ask {
        model: "vend-tiny".to_owned(),
        messages: vec![vend::domain::message::Message::user(prompt)],
        params: TextParams {
            max_tokens: 128,
            temperature: 0.0,
            top_k: 1,
            top_p: 1.0,
            frequency_penalty: 0.0,
            seed: None,
        },
        deadline: Duration::from_mins(1),
        attempt: 1,
        so_far: None,
    };
    let (progress, _seen) = tokio::sync::watch::channel(Progress::default());
    let answer = endpoint.answer(ask, progress).await;
    answer.unwrap_or_else(|error| panic!("{} on {prompt:?}: {error}", endpoint.name()))
}

#[tokio::test]
async fn the_tiny_model_answers_as_llama_cpp_and_ollama_do() {
    if !ready(
        "the_tiny_model_answers_as_llama_cpp_and_ollama_do",
        &["ollama", "llama"],
    ) {
        return;
    }
    // An error means that a provider is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (llama, ollama) = (
        Server::start("llama", &[gguf().to_str().unwrap()]),
        Server::start("ollama", &[]).up(),
    );
    ollama.teach();
    let llama = llama.up();
    let ours = endpoint(EndpointKind::Builtin, "");
    let theirs = [
        endpoint(EndpointKind::Openai, &llama.http()),
        endpoint(EndpointKind::Ollama, &ollama.http()),
    ];
    let golden = include_str!("../../src/inference/builtin/golden.json");
    let golden: Vec<serde_json::Value> = serde_json::from_str(golden).unwrap();
    let mut compared = 0;
    for case in golden {
        let prompt = case["prompt"].as_str().unwrap();
        if case["stable"] != true || prompt == NEAR_TIE {
            continue;
        }
        let our = greedy(ours.as_ref(), prompt).await;
        for server in &theirs {
            let their = greedy(server.as_ref(), prompt).await;
            let name = server.name();
            assert_eq!(our.text, their.text, "{name} on {prompt:?}");
            assert_eq!(
                our.prompt_tokens, their.prompt_tokens,
                "{name} on {prompt:?}"
            );
            assert_eq!(
                our.completion_tokens, their.completion_tokens,
                "{name} on {prompt:?}"
            );
        }
        compared += 1;
    }
    assert_eq!(compared, 18);
}
