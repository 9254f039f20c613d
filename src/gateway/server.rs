//! The HTTP side: who may ask, what is read, and how answers and errors go out.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nostr::hashes::{Hash, sha256};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::joins::{JOIN, Progress, Sold};
use super::openai::{self, ApiError, Form, Head, Wanted};
use super::{Shared, sale};
use crate::domain::Hex32;
use crate::domain::time::Time;

/// The largest body, bytes.
const BODY: usize = 1024 * 1024;
/// How long a body may take to come.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// Connections at once; one more waits.
const CONNECTIONS: usize = 1_024;
/// After a connection that could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

type App = Arc<Shared>;

/// Serves until the gateway is cancelled.
pub(super) async fn serve(listener: TcpListener, shared: App) -> std::io::Result<()> {
    let (cancel, head_wait) = (shared.cancel.clone(), shared.head_wait);
    let guarded = Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(text))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(middleware::from_fn_with_state(shared.clone(), key_holder));
    let app = Router::new()
        .route("/healthz", get(health))
        .merge(guarded)
        .layer(middleware::from_fn_with_state(shared.clone(), near))
        .with_state(shared);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Those that are open when this is dropped end with it.
    let mut open = JoinSet::new();
    loop {
        let next = async {
            // Never closed.
            let permit = room.clone().acquire_owned().await.ok()?;
            Some((listener.accept().await, permit))
        };
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(_) = open.join_next(), if !open.is_empty() => {}
            Some((accepted, permit)) = next => match accepted {
                Ok((stream, _)) => {
                    let serving = connection(stream, app.clone(), head_wait, cancel.clone());
                    open.spawn(async move {
                        serving.await;
                        drop(permit);
                    });
                }
                // The client has gone, or there are no file descriptors left for a moment.
                Err(error) => {
                    tracing::debug!(%error, "a connection to the gateway was not accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
    while open.join_next().await.is_some() {}
    Ok(())
}

/// One client's connection, until it ends or the gateway does. A head that does not come ends it.
async fn connection(
    stream: TcpStream,
    app: Router,
    head_wait: Duration,
    cancel: CancellationToken,
) {
    // A delta of a stream is small, and must not wait for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection to the gateway");
    }
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_wait)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = cancel.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the gateway ended");
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json_response(status, &self.body());
        if self.paid {
            let never = HeaderValue::from_static("false");
            response.headers_mut().insert("x-should-retry", never);
        }
        response
    }
}

fn json_response(status: StatusCode, value: &Value) -> Response {
    (
        status,
        [(CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}

/// A page in a browser can't use it: it sends an Origin, or a Host that is not this machine's (a name that was made to lead
/// here). No CORS header is ever sent.
async fn near(State(shared): State<App>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if headers.contains_key(ORIGIN) || !host.is_some_and(|host| is_ours(host, &shared)) {
        let words = "web pages can't use the gateway; ask it by its own address, without an Origin";
        return ApiError::new(403, "invalid_request_error", words)
            .code("forbidden")
            .into_response();
    }
    next.run(request).await
}

fn is_ours(host: &str, shared: &Shared) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = name.parse().ok();
    let listens = shared.listen.ip();
    name.eq_ignore_ascii_case("localhost")
        || address.is_some_and(|address| {
            address.is_loopback() || address == listens || listens.is_unspecified()
        })
}

/// Only who holds the key.
async fn key_holder(State(shared): State<App>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok());
    let given = given
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim());
    // Compared as hashes, so that the time it takes tells nothing of the key.
    let hash = |text: &str| sha256::Hash::hash(text.as_bytes());
    let right = given.is_some_and(|given| hash(given) == hash(shared.key.expose_secret()));
    if !right {
        let words = if given.is_some() {
            "Incorrect API key provided. `vend gateway key` prints the right one."
        } else {
            "You didn't provide an API key. Send the one that `vend gateway key` prints as a Bearer token."
        };
        return ApiError::new(401, "invalid_request_error", words)
            .code("invalid_api_key")
            .into_response();
    }
    next.run(request).await
}

#[allow(clippy::unused_async)] // what answers a route is a future
async fn health() -> Response {
    json_response(StatusCode::OK, &json!({"status": "ok"}))
}

#[allow(clippy::unused_async)] // what answers a route is a future
async fn unknown(request: Request) -> Response {
    let words = format!(
        "Unknown request URL: {} {}",
        request.method(),
        request.uri().path()
    );
    ApiError::new(404, "invalid_request_error", words)
        .code("unknown_url")
        .into_response()
}

/// The models that can be had: `auto`, the sellers', this machine's own.
async fn listed(shared: &Shared) -> Vec<Value> {
    shared.directory.loaded(Duration::from_secs(5)).await;
    let now = Time::now();
    let records = match shared.ledger.seller_records(now).await {
        Ok(records) => records,
        Err(error) => {
            tracing::warn!(%error, "the sellers' records can't be read");
            HashMap::new()
        }
    };
    let mut names: BTreeMap<String, (u64, &str)> = BTreeMap::new();
    for (seller, known) in shared.directory.known(&records, &shared.buyer) {
        if !known.is_alive(now) {
            continue;
        }
        for (name, _) in seller.models {
            names.entry(name).or_insert((seller.at.secs(), "nostr"));
        }
    }
    for name in shared.own.iter().flat_map(super::own::Own::models) {
        names.insert(name, (now.secs(), "vend"));
    }
    let mut all = vec![entry("auto", now.secs(), "nostr")];
    all.extend(
        names
            .iter()
            .map(|(name, (at, owner))| entry(name, *at, owner)),
    );
    all
}

fn entry(name: &str, created: u64, owner: &str) -> Value {
    json!({"id": name, "object": "model", "created": created, "owned_by": owner})
}

async fn models(State(shared): State<App>) -> Response {
    let data = listed(&shared).await;
    json_response(StatusCode::OK, &json!({"object": "list", "data": data}))
}

async fn model(State(shared): State<App>, Path(name): Path<String>) -> Response {
    let all = listed(&shared).await;
    match all.into_iter().find(|one| one["id"] == name.as_str()) {
        Some(found) => json_response(StatusCode::OK, &found),
        None => ApiError::new(
            404,
            "invalid_request_error",
            format!("The model '{name}' does not exist"),
        )
        .code("model_not_found")
        .into_response(),
    }
}

async fn chat(State(shared): State<App>, request: Request) -> Response {
    complete(shared, request, Form::Chat).await.into_response()
}

async fn text(State(shared): State<App>, request: Request) -> Response {
    complete(shared, request, Form::Text).await.into_response()
}

async fn complete(shared: App, request: Request, form: Form) -> Result<Response, ApiError> {
    let Ok(permit) = shared.room.clone().try_acquire_owned() else {
        let words = "too many requests at once; try again in a moment";
        return Err(ApiError::new(429, "rate_limit_exceeded", words).code("rate_limit_exceeded"));
    };
    let retried = is_retried(request.headers());
    let body = body(request).await?;
    let wanted = openai::read(&body, form)?;
    let name = match form {
        Form::Chat => "chat",
        Form::Text => "text",
    };
    let hash = sha256::Hash::hash(&[name.as_bytes(), b"\n", &body].concat());
    let told = begin(&shared, &wanted, Hex32(hash.to_byte_array()), retried).await?;
    let head = Head {
        form,
        id: format!(
            "{}{:016x}",
            if form == Form::Chat {
                "chatcmpl-"
            } else {
                "cmpl-"
            },
            rand::random::<u64>()
        ),
        created: Time::now().secs(),
        model: wanted.model.clone(),
    };
    if wanted.stream {
        stream(told, head, wanted.include_usage, permit).await
    } else {
        whole(told, head, permit).await
    }
}

/// Does this client try again what it has sent before?
fn is_retried(headers: &HeaderMap) -> bool {
    let count = headers.get("x-stainless-retry-count");
    let count = count.and_then(|count| count.to_str().ok()?.parse::<u32>().ok());
    count.is_some_and(|count| count > 0) || headers.contains_key("idempotency-key")
}

async fn body(request: Request) -> Result<Bytes, ApiError> {
    let reading = to_bytes(request.into_body(), BODY);
    match tokio::time::timeout(BODY_WAIT, reading).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let words = format!("the body is larger than {BODY} bytes, or broke off");
            Err(ApiError::new(413, "invalid_request_error", words).code("request_too_large"))
        }
        Err(_) => {
            let words = "the body did not come in time";
            Err(ApiError::new(408, "timeout", words).code("timeout"))
        }
    }
}

/// A new sale, or the one that this client began before.
async fn begin(
    shared: &App,
    wanted: &Wanted,
    body: Hex32,
    retried: bool,
) -> Result<watch::Receiver<Progress>, ApiError> {
    if retried {
        if let Some(told) = shared.joins.find(&body) {
            return Ok(told);
        }
        let found = shared
            .ledger
            .purchase_by_body(body, Time::now().minus(JOIN))
            .await
            .map_err(|error| {
                ApiError::new(
                    503,
                    "server_error",
                    format!("the ledger can't be read: {error}"),
                )
            })?;
        let (leads, told) = shared.joins.join(body);
        if let Some(tell) = leads {
            match found {
                Some(bought) => shared.tasks.spawn(sale::resume(bought, tell)),
                None => shared
                    .tasks
                    .spawn(sale::run(shared.clone(), wanted.clone(), body, tell)),
            };
        }
        return Ok(told);
    }
    let (tell, told) = shared.joins.begin(body);
    shared
        .tasks
        .spawn(sale::run(shared.clone(), wanted.clone(), body, tell));
    Ok(told)
}

fn gone() -> ApiError {
    ApiError::new(503, "server_error", "the gateway ends").code("ends")
}

async fn whole(
    mut told: watch::Receiver<Progress>,
    mut head: Head,
    _permit: OwnedSemaphorePermit,
) -> Result<Response, ApiError> {
    let end = told.wait_for(|progress| progress.end.is_some()).await;
    let end = end.ok().and_then(|progress| progress.end.clone());
    let sold = end.ok_or_else(gone)??;
    if let Some(model) = &sold.model {
        head.model.clone_from(model);
    }
    let mut response = json_response(StatusCode::OK, &head.whole(&sold.text, sold.usage));
    label(response.headers_mut(), &sold);
    Ok(response)
}

fn label(headers: &mut HeaderMap, sold: &Sold) {
    let sats = sold.paid.ceil_to_sats().to_string();
    let seller = sold.seller.as_deref().unwrap_or("own");
    let pairs = [
        ("x-vend-seller", Some(seller)),
        ("x-vend-sats", Some(sats.as_str())),
        ("x-vend-job", sold.job.as_deref()),
    ];
    for (name, value) in pairs {
        if let (Ok(name), Some(Ok(value))) = (
            HeaderName::from_bytes(name.as_bytes()),
            value.map(HeaderValue::from_str),
        ) {
            headers.insert(name, value);
        }
    }
}

/// How far a stream is.
struct Flow {
    told: watch::Receiver<Progress>,
    head: Head,
    include_usage: bool,
    /// Bytes of the answer that are out.
    out: usize,
    first: bool,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

/// Waits for the first part, the answer, or the failure, so that a failure has its status; then streams.
async fn stream(
    mut told: watch::Receiver<Progress>,
    mut head: Head,
    include_usage: bool,
    permit: OwnedSemaphorePermit,
) -> Result<Response, ApiError> {
    let begun = |progress: &Progress| progress.end.is_some() || !progress.text.is_empty();
    let now = told.wait_for(begun).await.map_err(|_| gone())?.clone();
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert("cache-control", HeaderValue::from_static("no-cache"));
    match (&now.end, &now.seller) {
        (Some(Err(error)), _) if now.text.is_empty() => return Err(error.clone()),
        (Some(Ok(sold)), _) => {
            label(headers, sold);
            if let Some(model) = &sold.model {
                head.model.clone_from(model);
            }
        }
        (_, Some((npub, job))) => {
            for (name, value) in [("x-vend-seller", npub), ("x-vend-job", job)] {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.insert(name, value);
                }
            }
        }
        _ => {}
    }
    let flow = Flow {
        told,
        head,
        include_usage,
        out: 0,
        first: true,
        over: false,
        _permit: permit,
    };
    let parts = futures::stream::unfold(flow, |mut flow| async move {
        let part = flow.next().await?;
        Some((Ok::<_, Infallible>(part), flow))
    });
    *response.body_mut() = Body::from_stream(parts);
    Ok(response)
}

impl Flow {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let out = self.out;
        let news = |progress: &Progress| progress.end.is_some() || progress.text.len() > out;
        let told = self.told.wait_for(news).await;
        let Ok(now) = told.map(|progress| progress.clone()) else {
            return Some(self.broken(&gone()));
        };
        match now.end {
            None => Some(self.part(&now.text)),
            Some(Err(error)) => Some(self.broken(&error)),
            Some(Ok(sold)) => Some(self.last(&sold)),
        }
    }

    fn part(&mut self, text: &str) -> Bytes {
        let new = text.get(self.out..).unwrap_or_default().to_owned();
        self.out = text.len();
        let first = std::mem::take(&mut self.first);
        line(&self.head.chunk(&new, first, false, self.include_usage))
    }

    /// The rest, the reason, the usage, and the end's mark.
    fn last(&mut self, sold: &Sold) -> Bytes {
        self.over = true;
        let mut all = Vec::new();
        if sold.text.len() > self.out || self.first {
            all.extend_from_slice(&self.part(&sold.text));
        }
        all.extend_from_slice(&line(&self.head.chunk("", false, true, self.include_usage)));
        if self.include_usage {
            all.extend_from_slice(&line(&self.head.usage(sold.usage)));
        }
        all.extend_from_slice(b"data: [DONE]\n\n");
        Bytes::from(all)
    }

    /// A stream that can't go on ends with its error, as OpenAI's do.
    fn broken(&mut self, error: &ApiError) -> Bytes {
        self.over = true;
        line(&error.body())
    }
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}
