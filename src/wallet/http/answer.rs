//! What came back from a wallet's server, and what it means where it is a refusal.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Server;
use crate::wallet::WalletError;

/// Longer waits than this are not believed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// What came back.
pub(in crate::wallet) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Its HTTP status.
    pub(in crate::wallet) const fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// Its body as a JSON object; none where it is not one.
    pub(in crate::wallet) fn object(&self) -> Option<serde_json::Map<String, Value>> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Its whole body as text. Not clean.
    pub(in crate::wallet) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Is it a web page? Then it comes from a proxy, a firewall or a log-in before the server, or from another server.
    fn is_page(&self) -> bool {
        let html = self.content_type.to_ascii_lowercase().contains("text/html");
        let start = self.body.trim_ascii_start();
        html || start.starts_with(b"<")
    }

    /// The words of a JSON error: `{"detail": …}`, `{"message": …}`, `{"error": …}`, `{"error": {"message": …}}`. Not clean.
    pub(in crate::wallet) fn detail(&self) -> Option<String> {
        let object = self.object()?;
        let words = ["detail", "message", "error"]
            .iter()
            .find_map(|name| object.get(*name))?;
        match words.get("message").unwrap_or(words) {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }
}

impl Server {
    /// The answer's JSON, where the server did what was asked.
    pub(in crate::wallet) fn json<T: DeserializeOwned>(
        &self,
        answer: &Answer,
    ) -> Result<T, WalletError> {
        if let Some(error) = self.refusal(answer) {
            return Err(error);
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            WalletError::Protocol(if answer.is_page() {
                "it is a web page: is wallet.url right?".to_owned()
            } else {
                self.plain(&error.to_string())
            })
        })
    }

    /// Why the server did not do what was asked; none where it did.
    pub(in crate::wallet) fn refusal(&self, answer: &Answer) -> Option<WalletError> {
        if answer.status.is_success() {
            return None;
        }
        let status = answer.status();
        let detail = answer.detail();
        let is_own =
            detail.is_some() || (!answer.is_page() && (self.kind.own_words)(&answer.text()));
        let text = match detail {
            Some(detail) => detail,
            None if answer.is_page() => "a web page".to_owned(),
            None => answer.text(),
        };
        let words = match self.plain(&text) {
            words if words.is_empty() => format!("HTTP {status}"),
            words => format!("{words} (HTTP {status})"),
        };
        Some(match status {
            401 | 403 | 407 | 451 if !is_own => WalletError::Unreachable(format!(
                "{}: a proxy, firewall or log-in before {} refuses, not the wallet: {words}",
                self.name(),
                self.kind.name
            )),
            401 | 403 => WalletError::Unauthorized(words),
            _ if (self.kind.wrong_key)(status, &text) => WalletError::Unauthorized(words),
            404 => WalletError::Protocol(format!("{words}: is wallet.url right?")),
            429 => WalletError::RateLimited(answer.retry_after),
            300..=399 => WalletError::Protocol(format!(
                "it sends us elsewhere (HTTP {status}): set wallet.url to the final address"
            )),
            400..=499 => WalletError::Rejected(words),
            _ => WalletError::Failed(words),
        })
    }
}

pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let wait = Duration::from_secs(value.trim().parse().ok()?);
    Some(wait.min(MAX_RETRY_AFTER))
}
