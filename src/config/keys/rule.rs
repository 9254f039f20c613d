//! What a line of text in the settings must be.

use std::net::SocketAddr;

use nostr::PublicKey;
use nostr::types::url::{Host, Url};

use crate::domain::machine::hours::Hours;

/// The longest text of a setting, bytes.
const TEXT_MAX: usize = 1_024;

/// The longest text of several lines, bytes.
const PROSE_MAX: usize = 16_384;

/// The longest name, bytes.
const NAME_MAX: usize = 200;

/// What a text must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Any one line; may be empty.
    Line,
    /// A text of one or more lines; may be empty.
    Prose,
    /// A text that ends an answer.
    Stop,
    /// A model's or an endpoint's name.
    Name,
    /// A relay's address (NIP-01: ws or wss).
    Relay,
    /// A server's http or https address, or as `OLLAMA_HOST` writes it.
    Server,
    /// An http or https address.
    Http,
    /// A lightning address (LUD-16), or empty.
    LightningAddress,
    /// An IP address and a port, or empty.
    Listen,
    /// A path.
    Path,
    /// Days and hours of the week.
    Hours,
    /// A currency's letters (ISO 4217).
    Currency,
    /// A person: npub or hex public key.
    Person,
}

impl Rule {
    /// In words, as errors say it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Line => "a line of text, may be empty",
            Self::Prose => "a text, may be empty",
            Self::Stop => "a text that is not empty",
            Self::Name => "a name of 1 to 200 characters",
            Self::Relay => "a relay address as wss://relay.example or ws://127.0.0.1:7777",
            Self::Server => {
                "an address as http://127.0.0.1:11434 or https://gpu.example, or host:port"
            }
            Self::Http => "an address as https://host:port",
            Self::LightningAddress => "a lightning address as name@host, or empty",
            Self::Listen => "an IP address and a port as 127.0.0.1:8450, or empty",
            Self::Path => "a path",
            Self::Hours => "days and hours as mon-fri 22:00-07:00 or sat,sun 00:00-24:00",
            Self::Currency => "three to five capital letters as EUR",
            Self::Person => "an npub or a public key of 64 hex digits",
        }
    }

    /// Does the text keep the rule?
    ///
    /// # Errors
    /// A hint, which may be empty.
    pub fn check(self, text: &str) -> Result<(), &'static str> {
        let lines = matches!(self, Self::Prose | Self::Stop);
        let plain = |c: char| !c.is_control() || (lines && matches!(c, '\n' | '\t'));
        if !text.chars().all(plain) {
            return Err("it holds a control character");
        }
        if text.len()
            > if self == Self::Prose {
                PROSE_MAX
            } else {
                TEXT_MAX
            }
        {
            return Err("it is too long");
        }
        match self {
            Self::Name => name(text),
            Self::Relay => address(text, &["wss", "ws"]),
            Self::Server => server(text),
            Self::Http => address(text, &["https", "http"]),
            Self::LightningAddress => lightning_address(text),
            Self::Listen if text.is_empty() || text.parse::<SocketAddr>().is_ok() => Ok(()),
            Self::Listen => Err("a name is not taken"),
            Self::Path if text.trim().is_empty() => Err(""),
            Self::Stop if text.is_empty() => Err(""),
            Self::Line | Self::Path | Self::Prose | Self::Stop => Ok(()),
            Self::Hours => Hours::parse(text).map(drop),
            Self::Currency => currency(text),
            Self::Person => person(text),
        }
    }
}

fn currency(text: &str) -> Result<(), &'static str> {
    let capital = text.bytes().all(|byte| byte.is_ascii_uppercase());
    if capital && (3..=5).contains(&text.len()) {
        Ok(())
    } else {
        Err("")
    }
}

fn name(text: &str) -> Result<(), &'static str> {
    if text.trim().is_empty() {
        Err("")
    } else if text.trim() != text {
        Err("take the blanks off its ends")
    } else if text.len() > NAME_MAX {
        Err("it is too long")
    } else {
        Ok(())
    }
}

fn address(text: &str, schemes: &[&str]) -> Result<(), &'static str> {
    if text.trim() != text {
        return Err("take the blanks off its ends");
    }
    // Two addresses run together, which the relay library refuses; and a missing host, which the parser would take from
    // the path.
    if text.matches("://").count() != 1 || text.contains(":///") {
        return Err("");
    }
    let url = Url::parse(text).map_err(|_| "")?;
    if !schemes.contains(&url.scheme()) {
        return Err("");
    }
    match url.host() {
        Some(Host::Domain(host)) => domain(host),
        Some(_) => Ok(()),
        None => Err(""),
    }
}

/// Names as RFC 1123 has them, plus the underscore that container networks use.
fn domain(host: &str) -> Result<(), &'static str> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.len() <= 253 && host.split('.').all(label) {
        Ok(())
    } else {
        Err("its host is not a valid name")
    }
}

/// As Ollama reads `OLLAMA_HOST`: the scheme may be left out, and so may the host.
fn server(text: &str) -> Result<(), &'static str> {
    if text.contains("://") {
        return address(text, &["http", "https"]);
    }
    if text.trim().is_empty() || text.trim() != text {
        return Err("");
    }
    let text = if text.starts_with(':') && !text.starts_with("::") {
        format!("http://127.0.0.1{text}")
    } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("http://[{text}]")
    } else {
        format!("http://{text}")
    };
    address(&text, &["http"])
}

fn lightning_address(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Ok(());
    }
    let (user, host) = text.split_once('@').ok_or("")?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+');
    if user.is_empty() || !user.bytes().all(fits) || host.contains('@') {
        return Err("");
    }
    address(&format!("https://{host}"), &["https"])
}

fn person(text: &str) -> Result<(), &'static str> {
    if text.starts_with("nsec1") {
        return Err("this is a secret key: take it out of the file");
    }
    // A key that is no point of the curve can't sign, so no event ever comes from it.
    PublicKey::parse(text)
        .and_then(|key| key.xonly().map(drop))
        .map_err(|_| "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(rule: Rule, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(rule.check(text), Ok(()), "{rule:?} {text}");
        }
        for text in bad {
            assert!(rule.check(text).is_err(), "{rule:?} {text}");
        }
    }

    #[test]
    fn instructions_may_have_lines_and_other_texts_have_one() {
        takes(Rule::Prose, &["", "a\n\tb"], &["a\u{1b}b"]);
        takes(Rule::Stop, &["\n\n", "</s>"], &[""]);
        takes(Rule::Line, &["", "a"], &["a\nb"]);
    }

    #[test]
    fn a_relay_is_a_ws_address_with_a_host() {
        takes(
            Rule::Relay,
            &[
                "wss://nos.lol",
                "ws://127.0.0.1:7777",
                "ws://[::1]:7777/path",
                "wss://relay:8080",
            ],
            &[
                "",
                "nos.lol",
                "https://nos.lol",
                "wss://",
                "wss:///x",
                "wss://a..b",
                "wss://-a.b",
                "wss://a wss://b",
                " wss://nos.lol",
                "wss://nos.lol:99999",
            ],
        );
    }

    #[test]
    fn a_server_may_be_written_as_ollama_writes_it() {
        takes(
            Rule::Server,
            &[
                "http://127.0.0.1:11434",
                "https://ollama.com/x",
                "0.0.0.0",
                "gpu:11434",
                ":11434",
                "::",
                "[::1]:11434",
                "host_1",
            ],
            &["", " ", "ftp://x", "http://", "a b", "host:port"],
        );
    }

    #[test]
    fn a_person_is_a_public_key() {
        takes(
            Rule::Person,
            &[
                "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg",
                "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e",
            ],
            &[
                "",
                "alice",
                "npub1xxx",
                "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5",
            ],
        );
    }

    #[test]
    fn hours_are_days_and_times() {
        takes(
            Rule::Hours,
            &["mon-fri 22:00-07:00", "sat,sun 00:00-24:00", "08:00-20:00"],
            &["", "nights", "mon-fri", "mon 7-22", "mon 22:00-25:00"],
        );
    }

    #[test]
    fn a_lightning_address_has_a_name_and_a_host() {
        takes(
            Rule::LightningAddress,
            &["", "me@getalby.com", "a.b-c@x.example"],
            &["me", "@x", "me@", "a b@x", "me@x@y"],
        );
    }
}
