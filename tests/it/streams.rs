//! Streams as servers in the field send them (tests/cases/streams.json), each read by the real client; and valid ones, cut
//! and spoilt anywhere: what is sold is whole, or nothing is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use vend::config::schema::{Endpoint as Settings, EndpointKind};
use vend::domain::job::{Answer, TextParams};
use vend::domain::message::Message;
use vend::inference::{Ask, Endpoint, InferenceError};

const LONG: Duration = Duration::from_mins(1);

/// A server that sends these bytes as the answer to every chat, and ends it by closing the connection, so that a cut looks
/// like an end.
struct Server {
    url: String,
    body: Arc<Mutex<Vec<u8>>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let body = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&body);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let body = shared.lock().unwrap().clone();
                // An error means that the client has heard enough.
                tokio::spawn(async move { serve(socket, body).await.ok() });
            }
        });
        Self { url, body }
    }

    fn set(&self, body: impl Into<Vec<u8>>) {
        *self.body.lock().unwrap() = body.into();
    }

    fn endpoint(&self, kind: EndpointKind, num_ctx: u32) -> Arc<dyn Endpoint> {
        let settings = Settings {
            kind,
            url: self.url.clone(),
            num_ctx: Some(num_ctx),
            ..Settings::default()
        };
        let no_key = |_: &_| unreachable!("no secret is set");
        vend::inference::open(&[settings], no_key, None)
            .unwrap()
            .remove(0)
    }
}

async fn serve(mut socket: TcpStream, body: Vec<u8>) -> std::io::Result<()> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    let end = loop {
        let read = socket.read(&mut buffer).await?;
        head.extend_from_slice(&buffer[..read]);
        if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if read == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&head[..end]).to_lowercase();
    let length = text.split("content-length: ").nth(1);
    let length = length.map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
    while head.len() < end + length {
        let read = socket.read(&mut buffer).await?;
        head.extend_from_slice(&buffer[..read]);
    }
    let chat = text.starts_with("post") && text.contains("chat");
    let body = if chat { body } else { b"{}".to_vec() };
    socket
        .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        .await?;
    socket.write_all(&body).await?;
    socket.shutdown().await
}

fn ask(prompt: &str) -> Ask {
    Ask {
        model: "m".into(),
        messages: vec![Message::user(prompt)],
        params: TextParams {
            max_tokens: 512,
            temperature: 0.7,
            top_k: 40,
            top_p: 0.9,
            frequency_penalty: 0.5,
            seed: None,
        },
        deadline: LONG,
        attempt: 1,
        so_far: None,
    }
}

async fn answer(endpoint: &dyn Endpoint, prompt: &str) -> Result<Answer, InferenceError> {
    endpoint.answer(ask(prompt), watch::Sender::default()).await
}

fn cases(kind: &str) -> Vec<(String, Value)> {
    let file: Value = serde_json::from_str(include_str!("../cases/streams.json")).unwrap();
    let cases = file[kind].as_object().unwrap().clone();
    assert!(!cases.is_empty());
    cases.into_iter().collect()
}

async fn every_case(kind: EndpointKind, cases: Vec<(String, Value)>) {
    let server = Server::start().await;
    for (name, case) in cases {
        server.set(case["body"].as_str().unwrap());
        let words = usize::try_from(case["prompt_words"].as_u64().unwrap_or(7)).unwrap();
        let prompt = "word ".repeat(words);
        let context = u32::try_from(case["context"].as_u64().unwrap_or(8192)).unwrap();
        let endpoint = server.endpoint(kind, context);
        let got = answer(&*endpoint, &prompt).await;
        if case["expect"] == "not_sold" {
            assert!(got.is_err(), "{name}: {got:?}");
            continue;
        }
        let got = got.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(got.text, case["answer"], "{name}");
        // A tokenizer takes each of these words for one token, and a template adds few.
        if case["prompt_words"].is_null() {
            continue;
        }
        let most = case["most_prompt_tokens"].as_u64();
        let most = most.unwrap_or(2 * words as u64 + 64);
        assert!(u64::from(got.prompt_tokens) <= most, "{name}: {got:?}");
        assert!(got.prompt_tokens as usize >= words / 2, "{name}: {got:?}");
    }
}

#[tokio::test]
async fn every_stream_of_the_cases_is_sold_or_not_as_it_should() {
    every_case(EndpointKind::Openai, cases("openai")).await;
    every_case(EndpointKind::Ollama, cases("ollama")).await;
}

const TEXT: &str = "Paris is the capital of France. 😀 It has \"two\" banks.";

fn valid(kind: EndpointKind) -> String {
    let pieces: Vec<String> = TEXT
        .split_inclusive(' ')
        .map(|piece| serde_json::to_string(piece).unwrap())
        .collect();
    let mut body = String::new();
    for piece in pieces {
        let line = match kind {
            EndpointKind::Ollama => {
                format!(
                    "{{\"message\":{{\"role\":\"assistant\",\"content\":{piece}}},\"done\":false}}\n"
                )
            }
            _ => format!(
                ": ping\r\n\r\ndata: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{piece}}},\"finish_reason\":\"\"}}]}}\r\n\r\n"
            ),
        };
        body.push_str(&line);
    }
    body += match kind {
        EndpointKind::Ollama => {
            "{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":9,\"eval_count\":14}\n"
        }
        _ => {
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
             data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":14}}\n\ndata: [DONE]\n\n"
        }
    };
    body
}

#[derive(Clone, Debug)]
enum Harm {
    Cut(prop::sample::Index),
    Byte(prop::sample::Index, u8),
    Insert(prop::sample::Index, &'static str),
}

fn harms() -> impl Strategy<Value = Harm> {
    let at = any::<prop::sample::Index>;
    let frames = vec![
        "{\"error\":{\"message\":\"died\"}}\n",
        "data: {\"error\":\"died\"}\n\n",
        "\u{0}\u{0}\n",
        "<html>\n",
        "{\"choices\": \n",
    ];
    prop_oneof![
        at().prop_map(Harm::Cut),
        (at(), prop::sample::select(vec![0, b'"', 0xff])).prop_map(|(at, to)| Harm::Byte(at, to)),
        (at(), prop::sample::select(frames)).prop_map(|(at, frame)| Harm::Insert(at, frame)),
    ]
}

fn harmed(body: &str, harm: &Harm) -> Vec<u8> {
    let mut bytes = body.as_bytes().to_vec();
    match harm {
        Harm::Cut(at) => bytes.truncate(at.index(body.len())),
        Harm::Byte(at, to) => bytes[at.index(body.len())] = *to,
        Harm::Insert(at, frame) => {
            let ends: Vec<usize> = body.match_indices('\n').map(|(at, _)| at + 1).collect();
            let at = ends[at.index(ends.len())];
            bytes.splice(at..at, frame.bytes());
        }
    }
    bytes
}

#[test]
fn of_a_stream_cut_or_spoilt_anywhere_only_the_whole_is_sold() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let server = runtime.block_on(Server::start());
    for kind in [EndpointKind::Openai, EndpointKind::Ollama] {
        let endpoint = server.endpoint(kind, 8192);
        let body = valid(kind);
        server.set(body.as_str());
        let whole = runtime.block_on(answer(&*endpoint, "Where?")).unwrap();
        assert_eq!(whole.text, TEXT);
        proptest!(ProptestConfig::with_cases(150), |(harm in harms())| {
            server.set(harmed(&body, &harm));
            if let Ok(sold) = runtime.block_on(answer(&*endpoint, "Where?")) {
                prop_assert_eq!(sold.text, TEXT);
            }
        });
    }
}
