//! An Ollama-shaped server on loopback that fails on demand: what Ollama's versions do, as its sources have it.
//!
//! Hand-written HTTP/1.1, so that a stream can be cut anywhere, even inside a chunk. Each connection serves one request.

// Each test that uses it uses a part of it.
#![allow(dead_code)]

#[path = "fake_ollama/http.rs"]
mod http;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use vend::inference::builtin::{Sampling, TinyModel};

use http::{PaymentStatus, Reply, request};

/// What goes wrong at the next requests. [`FakeOllama::stop`] is the fault "not running".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// 404: the model was removed after it was listed.
    ModelMissing,
    /// 503 `server busy`.
    Busy,
    /// 401 to everything.
    Unauthorized,
    /// 403 with an empty body, as to a foreign Host header.
    Forbidden,
    /// 400 about an option.
    Rejected,
    /// 400: the prompt is longer than the context.
    TooLong,
    /// 500 before the stream: the runner crashed.
    FailsBeforeStream,
    /// The socket is closed inside a chunk, after some tokens.
    DiesMidStream,
    /// The stream ends in good form, but no line said `done`.
    EndsWithoutDone,
    /// A line `{"error":…}` after some tokens.
    ErrorMidStream,
    /// A line that is no JSON after some tokens.
    Garbage,
    /// A line without an end.
    EndlessLine,
    /// The chat gives no byte at all.
    StallsBeforeFirst,
    /// The chat falls silent after some tokens.
    StallsMidStream,
    /// The health questions are never answered.
    Hangs,
    /// The answer stands after `<think>…</think>`.
    Thinks,
    /// The thinking is never closed: the tokens ran out.
    ThinksForever,
    /// The thinking comes in its own field.
    ThinksApart,
    /// The last line has no counts and no durations.
    NoCounts,
    /// The prompt was cut: the count is half the context and two.
    Truncates,
    /// The answer ended at `num_predict`.
    Cut,
    /// The model is not in memory, and loading takes this long.
    SlowLoad(Duration),
    /// The answer is empty.
    Empty,
}

/// Who answers.
#[derive(Clone, Debug)]
enum Brain {
    Fixed(String),
    Builtin,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    brain: Brain,
    version: String,
    models: Vec<Value>,
    show: Value,
    seen: Vec<PaymentStatus>,
    date_ahead: i64,
}

#[derive(Clone, Debug)]
struct Shared {
    state: Arc<Mutex<State>>,
    /// Chats whose client went away before the end.
    dropped: watch::Sender<u32>,
    /// Chats that gave a token.
    started: watch::Sender<u32>,
}

/// The server. Dropping it stops it.
#[derive(Debug)]
pub struct FakeOllama {
    address: SocketAddr,
    _held: TcpSocket,
    shared: Shared,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl FakeOllama {
    /// Starts on a free port of 127.0.0.1, with the model `gemma2:latest` and a fixed answer of several pieces.
    pub async fn start() -> Self {
        let (held, listener) = ports().await;
        let state = State {
            fault: Fault::None,
            brain: Brain::Fixed("The capital of France is Paris.".into()),
            version: "0.33.0".into(),
            models: vec![model("gemma2:latest")],
            show: json!({
                "capabilities": ["completion"],
                "model_info": { "general.architecture": "gemma2", "gemma2.context_length": 4096 },
            }),
            seen: Vec::new(),
            date_ahead: 0,
        };
        let mut server = Self {
            address: listener.local_addr().unwrap(),
            _held: held,
            shared: Shared {
                state: Arc::new(Mutex::new(state)),
                dropped: watch::Sender::default(),
                started: watch::Sender::default(),
            },
            stop: CancellationToken::new(),
            task: None,
        };
        server.serve(listener);
        server
    }

    fn serve(&mut self, listener: TcpListener) {
        self.stop = CancellationToken::new();
        let (stop, shared) = (self.stop.clone(), self.shared.clone());
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(Ok((socket, _))) = stop.run_until_cancelled(listener.accept()).await {
                let (shared, stop) = (shared.clone(), stop.clone());
                connections.spawn(async move {
                    // An error means that the client went away, which is what a test may want.
                    let _ = stop.run_until_cancelled(connection(socket, shared)).await;
                });
            }
            connections.shutdown().await;
        }));
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many tokens the model reads.
    pub fn set_context(&self, tokens: u64) {
        self.change(|state| state.show["model_info"]["gemma2.context_length"] = json!(tokens));
    }

    /// What goes wrong from the next request on.
    pub fn set(&self, fault: Fault) {
        self.change(|state| state.fault = fault);
    }

    /// The text of every answer.
    pub fn set_answer(&self, text: &str) {
        self.change(|state| state.brain = Brain::Fixed(text.into()));
    }

    /// Lets the built-in model answer.
    pub fn set_builtin(&self) {
        self.change(|state| state.brain = Brain::Builtin);
    }

    /// The clock is so many seconds ahead of ours.
    pub fn set_date_ahead(&self, secs: i64) {
        self.shared.state.lock().unwrap().date_ahead = secs;
    }

    /// The version that it claims to be.
    pub fn set_version(&self, version: &str) {
        self.change(|state| state.version = version.into());
    }

    /// The models that it has.
    pub fn set_models(&self, names: &[&str]) {
        self.change(|state| state.models = names.iter().map(|name| model(name)).collect());
    }

    /// What `/api/show` answers.
    pub fn set_show(&self, show: Value) {
        self.change(|state| state.show = show);
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<PaymentStatus> {
        self.change(|state| state.seen.clone())
    }

    /// The bodies of all chats so far.
    pub fn requests(&self) -> Vec<Value> {
        let chats = self
            .seen()
            .into_iter()
            .filter(|seen| seen.path == "/api/chat");
        chats.map(|seen| seen.body).collect()
    }

    /// Waits until so many chats have given a token.
    pub async fn started(&self, chats: u32) {
        let mut started = self.shared.started.subscribe();
        started.wait_for(|count| *count >= chats).await.unwrap();
    }

    /// Waits until so many chats were dropped by their client.
    pub async fn dropped(&self, chats: u32) {
        let mut dropped = self.shared.dropped.subscribe();
        dropped.wait_for(|count| *count >= chats).await.unwrap();
    }

    /// Stops: closes every connection and the port.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }

    /// Starts again on the same port.
    pub async fn restart(&mut self) {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.shared.state.lock().unwrap())
    }
}

impl Drop for FakeOllama {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A listener on a free port, and a socket that only holds the port: while the server is stopped, no other test gets it,
/// and a connection to it is refused. Other systems than Linux do not let two sockets share a port so.
async fn ports() -> (TcpSocket, TcpListener) {
    let held = TcpSocket::new_v4().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    if !cfg!(target_os = "linux") {
        return (held, TcpListener::bind(any).await.unwrap());
    }
    held.set_reuseaddr(true).unwrap();
    held.bind(any).unwrap();
    let listener = TcpListener::bind(held.local_addr().unwrap()).await.unwrap();
    (held, listener)
}

fn model(name: &str) -> Value {
    json!({ "name": name, "model": name, "digest": format!("digest of {name}"), "size": 1 })
}

/// Serves one request.
async fn connection(socket: TcpStream, shared: Shared) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    let seen = request(&mut socket).await?;
    let (fault, date_ahead) = {
        let mut state = shared.state.lock().unwrap();
        state.seen.push(seen.clone());
        (state.fault, state.date_ahead)
    };
    let mut out = Reply { socket, date_ahead };
    if seen.path == "/api/chat" {
        let chat = chat(&mut out, &seen.body, fault, &shared).await;
        if chat.is_err() {
            shared.dropped.send_modify(|count| *count += 1);
        }
        chat
    } else {
        question(&mut out, &seen, fault, &shared).await
    }
}

/// Everything but the chat.
async fn question(
    out: &mut Reply,
    seen: &PaymentStatus,
    fault: Fault,
    shared: &Shared,
) -> std::io::Result<()> {
    if fault == Fault::Hangs {
        return out.hang().await;
    }
    if fault == Fault::Unauthorized {
        return out.error(401, "unauthorized").await;
    }
    let (version, models, show) = {
        let state = shared.state.lock().unwrap();
        (
            state.version.clone(),
            state.models.clone(),
            state.show.clone(),
        )
    };
    let asked = seen.body["model"].as_str().unwrap_or_default();
    let has = models.iter().any(|model| model["name"] == asked);
    match seen.path.as_str() {
        "/" => out.whole(200, "text/plain", "Ollama is running").await,
        "/api/version" => out.json(200, &json!({ "version": version })).await,
        "/api/ps" if matches!(fault, Fault::SlowLoad(_)) => {
            out.json(200, &json!({ "models": [] })).await
        }
        "/api/tags" | "/api/ps" => out.json(200, &json!({ "models": models })).await,
        "/api/show" if has && fault != Fault::ModelMissing => out.json(200, &show).await,
        "/api/show" => out.error(404, &format!("model '{asked}' not found")).await,
        _ => out.whole(404, "text/plain", "404 page not found").await,
    }
}

/// `/api/chat`.
async fn chat(out: &mut Reply, body: &Value, fault: Fault, shared: &Shared) -> std::io::Result<()> {
    let model = body["model"].as_str().unwrap_or_default();
    match fault {
        Fault::ModelMissing => return out.error(404, &format!("model '{model}' not found")).await,
        Fault::Busy => {
            let text = "server busy, please try again. maximum pending requests exceeded";
            return out.error(503, text).await;
        }
        Fault::Unauthorized => return out.error(401, "unauthorized").await,
        Fault::Forbidden => return out.whole(403, "text/plain", "").await,
        Fault::Rejected => return out.error(400, "invalid option: top_k").await,
        Fault::TooLong => {
            let text = "the prompt is longer than the context length of this model";
            return out.error(400, text).await;
        }
        Fault::FailsBeforeStream => {
            return out
                .error(500, "model runner has unexpectedly stopped")
                .await;
        }
        Fault::StallsBeforeFirst | Fault::Hangs => return out.hang().await,
        Fault::SlowLoad(wait) => tokio::time::sleep(wait).await,
        _ => {}
    }
    let (pieces, counted, written) = think(body, fault, shared).await;
    out.head(200, "application/x-ndjson", None).await?;
    let half = pieces.len().div_ceil(2);
    for (index, piece) in pieces.iter().enumerate() {
        if index == half && !go_on(out, fault).await? {
            return Ok(());
        }
        let field = if fault == Fault::ThinksApart && index < half {
            "thinking"
        } else {
            "content"
        };
        let mut message = json!({ "role": "assistant", "content": "" });
        message[field] = json!(piece);
        out.line(&json!({ "model": model, "message": message, "done": false }))
            .await?;
        if index == 0 {
            shared.started.send_modify(|count| *count += 1);
        }
    }
    let context = body["options"]["num_ctx"].as_u64().unwrap_or(4096);
    let counted = if fault == Fault::Truncates {
        context / 2 + 2
    } else {
        counted
    };
    let why = if fault == Fault::Cut {
        "length"
    } else {
        "stop"
    };
    let mut last = json!({
        "model": model, "message": { "role": "assistant", "content": "" },
        "done": true, "done_reason": why,
    });
    if fault != Fault::NoCounts {
        last["prompt_eval_count"] = json!(counted);
        last["eval_count"] = json!(written);
        last["eval_duration"] = json!(250_000_000_u64);
        last["load_duration"] = json!(1_000_000_u64);
    }
    out.line(&last).await?;
    out.end().await
}

/// Half-way through the answer: what goes wrong there. False where that was the end of it.
async fn go_on(out: &mut Reply, fault: Fault) -> std::io::Result<bool> {
    match fault {
        Fault::DiesMidStream => out.torn(r#"{"message":{"role":"assi"#).await?,
        Fault::EndsWithoutDone => out.end().await?,
        Fault::ErrorMidStream => {
            out.line(&json!({ "error": "CUDA error:\u{1b}[31m out of memory" }))
                .await?;
            out.end().await?;
        }
        Fault::Garbage => {
            out.chunk(b"<html>not a line of a chat</html>\n").await?;
            out.end().await?;
        }
        Fault::EndlessLine => {
            let part = vec![b'x'; 64 << 10];
            // The client is to leave; twice its bound is enough.
            for _ in 0..32 {
                out.chunk(&part).await?;
            }
        }
        Fault::StallsMidStream => out.hang().await?,
        _ => return Ok(true),
    }
    Ok(false)
}

/// The answer in pieces, the tokens of the prompt and those of the answer.
async fn think(body: &Value, fault: Fault, shared: &Shared) -> (Vec<String>, u64, u64) {
    let prompt = body["messages"][0]["content"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let brain = shared.state.lock().unwrap().brain.clone();
    let (text, counts) = match brain {
        Brain::Fixed(text) => (text, None),
        Brain::Builtin => tokio::task::spawn_blocking(move || infer(&prompt))
            .await
            .unwrap(),
    };
    let text = match fault {
        Fault::Empty => String::new(),
        Fault::Thinks => format!("<think>Let me see… </think>\n\n{text}"),
        Fault::ThinksForever => format!("<think>Let me see… {text}"),
        Fault::ThinksApart => format!("Let me see, and see again: {text}"),
        _ => text,
    };
    let pieces = pieces(&text);
    let words = body["messages"][0]["content"]
        .as_str()
        .unwrap_or_default()
        .split_whitespace();
    let guess = (words.count() as u64 + 10, pieces.len() as u64);
    let (counted, written) = counts.unwrap_or(guess);
    (pieces, counted, written)
}

/// The built-in model's greedy answer, with its counts.
fn infer(prompt: &str) -> (String, Option<(u64, u64)>) {
    let mut text = String::new();
    let generated = TinyModel::embedded()
        .unwrap()
        .generate(prompt, 128, &Sampling::default(), &[], &mut |piece| {
            text.push_str(piece);
            true
        })
        .unwrap();
    let counts = (
        generated.prompt_tokens.into(),
        generated.completion_tokens.into(),
    );
    (text, Some(counts))
}

/// Five characters a piece, so that tags fall over the borders.
fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters
        .chunks(5)
        .map(|piece| piece.iter().collect())
        .collect()
}
