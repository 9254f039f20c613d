//! Plain words for a connection that could not be made.

use super::text::clean;

/// The most of a library's words that is shown, characters.
const MAX_WORDS: usize = 200;

/// Why a connection could not be made. `error` is the network library's text.
#[must_use]
pub fn dial_failure(error: &str) -> String {
    let low = error.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| low.contains(part));
    if says(&[
        "lookup address",
        "resolution returned no",
        "name or service",
        "nodename nor servname",
    ]) {
        return "its name does not resolve".to_owned();
    }
    if says(&["connection refused"]) {
        return "nothing listens there".to_owned();
    }
    if let Some(code) = http_code(&low) {
        return format!("it answers HTTP {code} instead of a relay's handshake");
    }
    if says(&["timeout", "timed out"]) {
        return "it does not answer in time".to_owned();
    }
    if says(&["unreachable", "no route"]) {
        return "the network does not reach it".to_owned();
    }
    if says(&[
        "certificate",
        "tls",
        "ssl",
        "corrupt message",
        "handshakefailure",
        "alert",
        "unknownissuer",
    ]) {
        return format!("the secure connection failed ({})", clean(error, 100));
    }
    if says(&["handshake", "connection reset", "closed", "eof"]) {
        return "it ended the connection during the handshake".to_owned();
    }
    clean(error, MAX_WORDS)
}

fn http_code(low: &str) -> Option<u16> {
    let (_, rest) = low.split_once("http error: ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_errors_are_told_in_plain_words() {
        let told = |error: &str| dial_failure(error);
        assert_eq!(
            told("failed to lookup address information: Name or service not known"),
            "its name does not resolve"
        );
        assert_eq!(
            told("Connection refused (os error 111)"),
            "nothing listens there"
        );
        assert_eq!(
            told("HTTP error: 403 Forbidden"),
            "it answers HTTP 403 instead of a relay's handshake"
        );
        assert!(
            told("IO error: received corrupt message of type InvalidContentType")
                .starts_with("the secure connection failed")
        );
        assert!(
            told("invalid peer certificate: UnknownIssuer")
                .starts_with("the secure connection failed")
        );
        assert_eq!(told("timeout"), "it does not answer in time");
    }
}
