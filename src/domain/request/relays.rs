//! Relay urls from strangers.

use nostr::types::url::{Host, Url};

use crate::domain::address::is_plainly_spelled;

/// The longest url that is looked at, bytes.
const LONGEST: usize = 255;

/// A relay's url in one spelling: ws or wss, a valid host, no user, no fragment. None for anything else.
///
/// This is about the spelling alone: the host may still be a loopback or a private address.
#[must_use]
pub fn relay_url(text: &str) -> Option<String> {
    let text = text.trim();
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
    if text.len() > LONGEST || text.contains(odd) {
        return None;
    }
    // The parser would read the host of `wss:///path` and `wss:host` out of what follows.
    let (_, rest) = text.split_once("://")?;
    if rest.starts_with('/') {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let scheme = matches!(url.scheme(), "ws" | "wss");
    if !plain || !scheme || url.port() == Some(0) || !valid_host(&url) {
        return None;
    }
    let spelled = url.as_str();
    let bare = url.path() == "/" && url.query().is_none();
    Some(if bare {
        spelled.trim_end_matches('/').to_owned()
    } else {
        spelled.to_owned()
    })
}

/// A relay's url that a stranger named, in one spelling: as [`relay_url`], without a query, and with a host that is spelled as
/// it is read. Whether it may be connected to is judged where that is done.
#[must_use]
pub fn named_relay(text: &str) -> Option<String> {
    let text = text.trim();
    let spelled = relay_url(text)?;
    let url = Url::parse(text).ok()?;
    (url.query().is_none() && is_plainly_spelled(text, &url)).then_some(spelled)
}

/// Names as RFC 1123 has them (underscores are seen in the field); addresses were checked by the parser.
fn valid_host(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name.len() <= 253 && name.split('.').all(valid_label)
        }
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    }
}

fn valid_label(label: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}
