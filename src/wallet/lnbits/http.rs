//! Talking to the server: one key, in one header, to one address; short waits, small answers, no redirects.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::LnbitsError;
use crate::domain::text::clean;
use crate::wallet::WalletError;

/// Where the key goes. Never in a url: urls end up in logs.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

const CONNECT: Duration = Duration::from_secs(5);

/// The longest answer that is read, bytes.
const MAX_BODY: usize = 256 * 1024;

/// The longest piece of the server's words that an operator is shown, characters.
const MAX_WORDS: usize = 120;

/// Longer waits than this are not believed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The server's address, the key, and the client that holds them.
pub(super) struct Server {
    base: Url,
    key: SecretString,
    header: HeaderValue,
    client: reqwest::Client,
    pub(super) call: Duration,
}

/// What came back.
pub(super) struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Server {
    pub(super) fn new(url: &str, key: &SecretString, call: Duration) -> Result<Self, LnbitsError> {
        let base = base_url(url)?;
        let key = key.expose_secret().trim();
        let mut header = HeaderValue::from_str(key).map_err(|_| LnbitsError::Key)?;
        if key.is_empty() {
            return Err(LnbitsError::Key);
        }
        header.set_sensitive(true);
        // Without one the client's builder would panic.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let text = "no TLS provider was installed at the start".to_owned();
            return Err(LnbitsError::Client(text));
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("vend/", env!("CARGO_PKG_VERSION")));
        // A proxy is no way to this machine or its own network, and over http it would read the key.
        if is_near(&base) {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|error| LnbitsError::Client(words_of(&error)))?;
        Ok(Self {
            base,
            key: key.into(),
            header,
            client,
            call,
        })
    }

    /// Host and path, for a person: never the scheme's secrets, as there are none.
    pub(super) fn name(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        let port = self.base.port().map(|port| format!(":{port}"));
        let path = self.base.path().trim_end_matches('/');
        clean(&format!("{host}{}{path}", port.unwrap_or_default()), 200)
    }

    /// The address of an API path, such as `payments`.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!(
            "{}/api/v1/{path}",
            self.base.path().trim_end_matches('/')
        ));
        url
    }

    pub(super) async fn get(&self, url: Url) -> Result<Answer, WalletError> {
        self.send(self.client.request(Method::GET, url)).await
    }

    pub(super) async fn post(&self, url: Url, body: &Value) -> Result<Answer, WalletError> {
        self.send(self.client.request(Method::POST, url).json(body))
            .await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, WalletError> {
        let response = request
            .header(KEY_HEADER, self.header.clone())
            .timeout(self.call)
            .send()
            .await
            .map_err(|error| self.no_answer(error))?;
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = self.read(response).await?;
        Ok(Answer {
            status,
            retry_after,
            body,
        })
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, WalletError> {
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.no_answer(error))?
        {
            if body.len() + chunk.len() > MAX_BODY {
                let text = format!("it is larger than {} KiB", MAX_BODY / 1024);
                return Err(WalletError::Protocol(text));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn no_answer(&self, error: reqwest::Error) -> WalletError {
        let error = error.without_url();
        let name = self.name();
        if error.is_connect() {
            let words = if error.is_timeout() {
                format!("no connection within {} s", CONNECT.as_secs())
            } else {
                self.plain(&words_of(&error))
            };
            WalletError::Unreachable(format!("{name}: {words}: is LNbits running there?"))
        } else if error.is_timeout() {
            WalletError::TimedOut(self.call)
        } else {
            let words = self.plain(&words_of(&error));
            WalletError::Unreachable(format!("{name} broke off before it had answered: {words}"))
        }
    }

    /// The answer's JSON, where the server did what was asked.
    pub(super) fn json<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, WalletError> {
        if let Some(error) = self.refusal(answer) {
            return Err(error);
        }
        serde_json::from_slice(&answer.body)
            .map_err(|error| WalletError::Protocol(self.plain(&error.to_string())))
    }

    fn refusal(&self, answer: &Answer) -> Option<WalletError> {
        let status = answer.status;
        if status.is_success() {
            return None;
        }
        let text = detail(&answer.body)
            .unwrap_or_else(|| String::from_utf8_lossy(&answer.body).into_owned());
        let words = match self.plain(&text) {
            words if words.is_empty() => format!("HTTP {}", status.as_u16()),
            words => format!("{words} (HTTP {})", status.as_u16()),
        };
        Some(match status.as_u16() {
            401 | 403 => WalletError::Unauthorized(words),
            // `LNbits` answers a wrong key with 404 "Wallet not found."
            404 if is_unknown_wallet(&text) => WalletError::Unauthorized(words),
            404 => WalletError::Protocol(format!("{words}: is wallet.url right?")),
            429 => WalletError::RateLimited(answer.retry_after),
            300..=399 => WalletError::Protocol(format!(
                "it sends us elsewhere (HTTP {}): set wallet.url to the final address",
                status.as_u16()
            )),
            400..=499 => WalletError::Rejected(words),
            _ => WalletError::Failed(words),
        })
    }

    /// The server's words, safe to show: one short line without the key.
    pub(super) fn plain(&self, text: &str) -> String {
        // Cleaned first: what is dropped from between the key's characters must not bring it together again.
        let line = clean(text, 4_096).replace(self.key.expose_secret(), "***");
        clean(&line, MAX_WORDS)
    }
}

impl Answer {
    /// Does the server say that it does not know this payment? A "not found" of a wrong address, or for a wrong key, says
    /// nothing about a payment.
    pub(super) fn knows_no_payment(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
            && detail(&self.body).is_some_and(|detail| {
                !is_unknown_wallet(&detail) && !detail.trim().eq_ignore_ascii_case("not found")
            })
    }
}

fn is_unknown_wallet(detail: &str) -> bool {
    detail.to_ascii_lowercase().contains("wallet not found")
}

/// `FastAPI`'s words for an error: `{"detail": …}`; some proxies write `message`.
fn detail(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    match value.get("detail").or_else(|| value.get("message"))? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let wait = Duration::from_secs(value.trim().parse().ok()?);
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The innermost cause: "Connection refused" says more than "error sending request".
fn words_of(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// The server's address without a slash at its end, from what a person wrote.
fn base_url(text: &str) -> Result<Url, LnbitsError> {
    let wrong = |why| LnbitsError::Url {
        url: clean(text, 200),
        why,
    };
    let mut url = Url::parse(text.trim())
        .map_err(|_| wrong("write https://host or http://127.0.0.1:5000"))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Its text may hold a password, so it is not shown.
        return Err(LnbitsError::Url {
            url: "***".to_owned(),
            why: "a name or password has no place in it: the key goes to wallet.invoice_key",
        });
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("write https://host or http://127.0.0.1:5000"));
    }
    if url.scheme() == "http" && !is_near(&url) {
        return Err(LnbitsError::PlainHttp(clean(
            url.host_str().unwrap_or_default(),
            200,
        )));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// This machine or a private network: there http is a choice a person may make, as no stranger is on the line.
fn is_near(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => is_near_v4(ip),
        Ok(IpAddr::V6(ip)) => ip
            .to_ipv4_mapped()
            .map_or_else(|| is_near_v6(ip), is_near_v4),
        Err(_) => is_near_name(bare.trim_end_matches('.')),
    }
}

fn is_near_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    // 100.64.0.0/10 (RFC 6598): where Tailscale and its like put their encrypted networks.
    ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || (a == 100 && (64..128).contains(&b))
}

fn is_near_v6(ip: Ipv6Addr) -> bool {
    ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
}

/// `localhost`, a bare name (a container, a machine in the house), or a name that only a private network gives out.
fn is_near_name(name: &str) -> bool {
    !name.contains('.')
        || [".localhost", ".local", ".lan", ".internal", ".home.arpa"]
            .iter()
            .any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_or_without_a_slash_and_with_a_path() {
        for (written, want) in [
            ("https://ln.example", "https://ln.example/api/v1/payments"),
            ("https://ln.example/", "https://ln.example/api/v1/payments"),
            (
                " https://ln.example/bits// ",
                "https://ln.example/bits/api/v1/payments",
            ),
            (
                "http://127.0.0.1:5000/?a=b#c",
                "http://127.0.0.1:5000/api/v1/payments",
            ),
        ] {
            super::super::tests::provide_tls();
            let key = SecretString::from("key");
            let server = Server::new(written, &key, CONNECT).unwrap();
            assert_eq!(server.at("payments").as_str(), want);
        }
    }

    #[test]
    fn http_is_for_this_machine_and_private_networks_only() {
        for near in [
            "http://localhost:5000",
            "http://127.0.0.1",
            "http://[::1]:5000",
            "http://10.1.2.3",
            "http://192.168.1.9",
            "http://172.16.0.1",
            "http://lnbits:5000",
            "http://box.local",
            "http://[fd00::1]",
            "http://100.100.1.1",
            "http://[::ffff:192.168.1.9]",
            "https://ln.example",
        ] {
            assert!(base_url(near).is_ok(), "{near}");
        }
        for far in [
            "http://ln.example",
            "http://8.8.8.8",
            "http://172.32.0.1",
            "http://[2001:db8::1]",
            "http://localhost.example",
            "http://100.128.0.1",
            "http://127.0.0.1.example",
            "http://[::ffff:8.8.8.8]",
        ] {
            assert!(
                matches!(base_url(far), Err(LnbitsError::PlainHttp(_))),
                "{far}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_a_password_in_it_is_not_shown() {
        for text in [
            "",
            "ln.example",
            "localhost:5000",
            "ftp://ln.example",
            "https://",
        ] {
            assert!(
                matches!(base_url(text), Err(LnbitsError::Url { .. })),
                "{text}"
            );
        }
        let error = base_url("https://me:hunter2@ln.example").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
