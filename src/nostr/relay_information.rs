//! A relay's own description of itself (NIP-11): what it wants of those who publish.

use std::time::Duration;

use nostr::RelayUrl;
use serde::Deserialize;

use super::words::WORDS;
use crate::domain::drift::Drift;
use crate::domain::text::clean;
use crate::domain::time::Time;

/// The most bytes of a document that are read.
const MAX_BYTES: usize = 64 * 1024;

/// The longest the document may take.
const WAIT: Duration = Duration::from_secs(10);

/// What a relay says of itself. Texts are cleaned and cut to 200 characters; a missing field is none or zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayInfo {
    /// Its name.
    pub name: String,
    /// Its software and version.
    pub software: String,
    /// Proof of work it wants (NIP-13 bits), at most 255.
    pub min_pow: u8,
    /// The longest message it reads, in bytes.
    pub max_message_length: Option<u64>,
    /// The most events of one answer.
    pub max_limit: Option<u64>,
    /// It wants NIP-42 before anything else.
    pub auth_required: bool,
    /// It wants to be paid.
    pub payment_required: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    name: serde_json::Value,
    software: serde_json::Value,
    version: serde_json::Value,
    limitation: serde_json::Value,
}

/// Reads the document of a relay; none where there is none or it can't be read, which is no fault.
/// What its answer says of the time goes into `clock`.
pub(super) async fn read(url: &RelayUrl, clock: &Drift) -> Option<RelayInfo> {
    let http = url.as_str().replacen("ws", "http", 1);
    parse(&fetch(&http, "application/nostr+json", clock).await?)
}

/// A small JSON document at an address of the seller's own settings: at most 64 KiB within ten seconds, no redirects; none
/// where it can't be had.
pub async fn document(url: &str) -> Option<Vec<u8>> {
    fetch(url, "application/json", &Drift::default()).await
}

async fn fetch(url: &str, accept: &str, clock: &Drift) -> Option<Vec<u8>> {
    let client = reqwest::Client::builder()
        .timeout(WAIT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .ok()?;
    let request = client.get(url).header("Accept", accept);
    let asked = Time::now();
    let response = request.send().await.ok()?;
    let date = response.headers().get(reqwest::header::DATE);
    clock.heard(
        date.map(reqwest::header::HeaderValue::as_bytes),
        asked,
        Time::now(),
    );
    let mut response = response.error_for_status().ok()?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MAX_BYTES {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

/// Reads leniently: relays put strings where numbers belong, and the other way round.
fn parse(body: &[u8]) -> Option<RelayInfo> {
    let document: Document = serde_json::from_slice(body).ok()?;
    let text = |value: &serde_json::Value| clean(value.as_str().unwrap_or_default(), WORDS);
    let limit = |name: &str| number(document.limitation.get(name)?);
    let says = |name: &str| {
        document
            .limitation
            .get(name)
            .and_then(serde_json::Value::as_bool)
            == Some(true)
    };
    let software = format!("{} {}", text(&document.software), text(&document.version));
    Some(RelayInfo {
        name: text(&document.name),
        software: software.trim().to_owned(),
        min_pow: u8::try_from(limit("min_pow_difficulty").unwrap_or(0)).unwrap_or(u8::MAX),
        max_message_length: limit("max_message_length"),
        max_limit: limit("max_limit"),
        auth_required: says("auth_required"),
        payment_required: says("payment_required"),
    })
}

fn number(value: &serde_json::Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_leniently() {
        let body = br#"{"name":"a\u001b[2Jb","software":"git+https://x","version":"1.2","supported_nips":"all",
            "limitation":{"min_pow_difficulty":"12","max_limit":500,"auth_required":true,"max_message_length":-1}}"#;
        let info = parse(body).unwrap();
        assert_eq!(info.name, "a[2Jb");
        assert_eq!(info.software, "git+https://x 1.2");
        assert_eq!((info.min_pow, info.max_limit), (12, Some(500)));
        assert!(info.auth_required && !info.payment_required);
        assert_eq!(info.max_message_length, None);
    }

    #[test]
    fn what_is_no_document_is_none() {
        assert_eq!(parse(b"<html>"), None);
        assert_eq!(parse(b"{}").unwrap(), RelayInfo::default());
    }
}
