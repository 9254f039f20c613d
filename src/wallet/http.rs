//! Talking to a wallet's server: one key, in one header, to one address; short waits, small answers, no redirects.

mod address;
mod answer;
mod pin;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

pub(super) use self::address::is_near;
use self::address::{base_url, below};
pub(super) use self::answer::Answer;
use super::{BROKE_OFF, WalletError};
use crate::domain::drift::Drift;
use crate::domain::text::clean;
use crate::domain::time::Time;

const CONNECT: Duration = Duration::from_secs(5);

/// How long a call may take, the connection included.
const CALL: Duration = Duration::from_secs(15);

/// No call may be let take longer than a wallet's call may.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// The longest piece of the server's words that an operator is shown, characters.
const MAX_WORDS: usize = 120;

/// What tells one kind of server from another.
pub(super) struct Kind {
    /// What a person calls it.
    pub(super) name: &'static str,
    /// The setting that holds its secret.
    pub(super) key: &'static str,
    /// What to do where that secret can't be used.
    pub(super) fix: &'static str,
    /// An address as one writes it.
    pub(super) example: &'static str,
    /// The longest answer that is read, bytes.
    pub(super) max_body: usize,
    /// Are these plain words its own, where it refuses the secret? Most servers say all in JSON: other words are a proxy's.
    pub(super) own_words: fn(&str) -> bool,
    /// Does this answer (HTTP status, words) refuse the secret, beside 401 and 403?
    pub(super) wrong_key: fn(u16, &str) -> bool,
}

/// Why a wallet's server can't be used as it is set up. `Display` is for the operator and names the setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// The address is none.
    #[error("wallet.url '{url}' can't be used: {why}")]
    Url {
        /// What was written.
        url: String,
        /// What is wrong, and the fix.
        why: String,
    },
    /// The secret would travel in the open.
    #[error(
        "wallet.url uses http to {0}, so anybody on the way could read the key: write https://, or reach the server through a private network"
    )]
    PlainHttp(String),
    /// The secret can't be sent.
    #[error("{setting} is empty or holds characters that it can't: {fix}")]
    Key {
        /// The setting.
        setting: &'static str,
        /// What to do.
        fix: &'static str,
    },
    /// The certificate is none, or has no use.
    #[error("wallet.certificate can't be used: {0}")]
    Certificate(&'static str),
    /// The program's own part failed.
    #[error("the connection to the wallet can't be set up: {0}")]
    Client(String),
}

/// What is needed to reach a server.
pub(super) struct Setup<'a> {
    /// What it is.
    pub(super) kind: &'static Kind,
    /// Its address, as a person wrote it.
    pub(super) url: &'a str,
    /// Where the secret goes. Never in a url: urls end up in logs.
    pub(super) header: HeaderName,
    /// What is sent there.
    pub(super) value: SecretString,
    /// What must never be shown, beside `value`.
    pub(super) secret: &'a SecretString,
    /// The one certificate that is trusted (PEM); none: those that this machine trusts.
    pub(super) certificate: Option<&'a SecretString>,
}

/// The server's address, the secret, and the client that holds them.
pub(super) struct Server {
    kind: &'static Kind,
    base: Url,
    header: (HeaderName, HeaderValue),
    secrets: Vec<SecretString>,
    client: reqwest::Client,
    call: Duration,
    pinned: bool,
    drift: Drift,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.name())
    }
}

impl Server {
    pub(super) fn new(setup: Setup<'_>) -> Result<Self, ServerError> {
        let kind = setup.kind;
        let base = base_url(setup.url, kind)?;
        let unusable = || ServerError::Key {
            setting: kind.key,
            fix: kind.fix,
        };
        // Of "Basic abc" the last word is the secret.
        let sent = setup.value.expose_secret().split_whitespace().next_back();
        let secrets: Vec<SecretString> = [setup.secret.expose_secret().trim(), sent.unwrap_or("")]
            .map(SecretString::from)
            .into();
        if secrets.iter().any(|one| one.expose_secret().is_empty()) {
            return Err(unusable());
        }
        let value = setup.value.expose_secret().trim();
        let mut value = HeaderValue::from_str(value).map_err(|_| unusable())?;
        value.set_sensitive(true);
        Ok(Self {
            kind,
            header: (setup.header, value),
            secrets,
            client: client(&base, setup.certificate)?,
            call: CALL,
            pinned: setup.certificate.is_some(),
            drift: Drift::default(),
            base,
        })
    }

    /// Another longest time for a call (15 s unless told); at most 30 s.
    pub(super) fn call_timeout(&mut self, longest: Duration) {
        self.call = longest.min(LONGEST_CALL);
    }

    /// How many seconds its clock is ahead of ours, by its last answer; none where it does not say.
    pub(super) fn clock_off_secs(&self) -> Option<i64> {
        self.drift.secs()
    }

    /// Host and path, for a person: never the scheme's secrets, as there are none.
    pub(super) fn name(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        let port = self.base.port().map(|port| format!(":{port}"));
        let path = self.base.path().trim_end_matches('/');
        clean(&format!("{host}{}{path}", port.unwrap_or_default()), 200)
    }

    /// The address of an API path, such as `v1/invoices`.
    pub(super) fn at(&self, path: &str) -> Url {
        below(&self.base, path)
    }

    pub(super) async fn get(&self, url: Url) -> Result<Answer, WalletError> {
        self.send(self.client.request(Method::GET, url)).await
    }

    pub(super) async fn post(&self, url: Url, body: &Value) -> Result<Answer, WalletError> {
        self.send(self.client.request(Method::POST, url).json(body))
            .await
    }

    /// Posts a form (`application/x-www-form-urlencoded`).
    pub(super) async fn post_form(
        &self,
        url: Url,
        fields: &[(&str, &str)],
    ) -> Result<Answer, WalletError> {
        // A url's query is written the same way.
        let mut form = url.clone();
        form.query_pairs_mut().clear().extend_pairs(fields);
        let body = form.query().unwrap_or_default().to_owned();
        let request = self
            .client
            .request(Method::POST, url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        self.send(request).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, WalletError> {
        let (header, value) = self.header.clone();
        let asked = Time::now();
        let response = request
            .header(header, value)
            .timeout(self.call)
            .send()
            .await
            .map_err(|error| self.no_answer(error))?;
        let date = response.headers().get(DATE);
        let date = date.map(HeaderValue::as_bytes);
        self.drift.heard(date, asked, Time::now());
        let (status, retry_after) = (response.status(), answer::retry_after(&response));
        let content_type = response.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let body = self.read(response).await?;
        Ok(Answer {
            status,
            retry_after,
            content_type,
            body,
        })
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, WalletError> {
        let (mut body, most) = (Vec::new(), self.kind.max_body);
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.no_answer(error))?
        {
            if body.len() + chunk.len() > most {
                let text = format!("it is larger than {} KiB", most / 1024);
                return Err(WalletError::Protocol(text));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn no_answer(&self, error: reqwest::Error) -> WalletError {
        let error = error.without_url();
        let name = self.name();
        if let Some(why) = pin::distrust(&error, self.pinned) {
            return WalletError::Certificate(format!("{name}: {why}"));
        }
        if error.is_connect() {
            let words = if error.is_timeout() {
                format!("no connection within {} s", CONNECT.as_secs())
            } else {
                self.plain(&words_of(&error))
            };
            let kind = self.kind.name;
            WalletError::Unreachable(format!("{name}: {words}: is {kind} running there?"))
        } else if error.is_timeout() {
            WalletError::TimedOut(self.call)
        } else {
            let words = self.plain(&words_of(&error));
            WalletError::Unreachable(format!("{name} {BROKE_OFF}: {words}"))
        }
    }

    /// The server's words, safe to show: one short line without the secret.
    pub(super) fn plain(&self, text: &str) -> String {
        // Cleaned first: what is dropped from between the secret's characters must not bring it together again.
        let mut line = clean(text, 4_096);
        for secret in &self.secrets {
            line = line.replace(secret.expose_secret(), "***");
        }
        clean(&line, MAX_WORDS)
    }
}

fn client(base: &Url, certificate: Option<&SecretString>) -> Result<reqwest::Client, ServerError> {
    // Without one the client's builder would panic.
    let Some(provider) = rustls::crypto::CryptoProvider::get_default() else {
        let text = "no TLS provider was installed at the start".to_owned();
        return Err(ServerError::Client(text));
    };
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("vend/", env!("CARGO_PKG_VERSION")));
    // A proxy is no way to this machine or its own network, and over http it would read the key.
    if is_near(base) {
        builder = builder.no_proxy();
        if base.scheme() == "http" {
            // Nobody shows a certificate, so the system's hundred and more need not be read.
            builder = builder.tls_certs_only([]);
        }
    }
    if let Some(pem) = certificate {
        if base.scheme() != "https" {
            let why = "wallet.url uses http, which shows none: write https://";
            return Err(ServerError::Certificate(why));
        }
        builder = builder.tls_backend_preconfigured(pin::config(pem.expose_secret(), provider)?);
    }
    builder
        .build()
        .map_err(|error| ServerError::Client(words_of(&error)))
}

/// The innermost cause: "Connection refused" says more than "error sending request".
fn words_of(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
