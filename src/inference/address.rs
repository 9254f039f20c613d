//! Addresses of inference servers, in the forms that `OLLAMA_HOST` takes too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use crate::domain::text::clean;

/// Reads an address: `host`, `host:port`, `http://host`, `https://host/path`, `[::1]:1234`.
///
/// As in Ollama: without a scheme it is http and `port`; with one, the scheme's own port; an unreadable port is the default
/// one; an address to listen on (`0.0.0.0`, `::`, `:1234`) is this machine.
///
/// # Errors
///
/// A sentence for the operator: another scheme, a user or password in the address, or no host that could be meant.
pub fn parse(text: &str, port: u16) -> Result<Url, String> {
    let text = text.trim();
    let (scheme, rest, port) = match text.split_once("://") {
        None => ("http", text, port),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", rest, 80),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", rest, 443),
        Some(_) => return Err(bad(text, "use http:// or https://")),
    };
    // Azure's documentation prints its version so; any other parameter may be a key.
    let (rest, query) = match rest.split_once("?api-version=") {
        Some((rest, version)) => (rest, Some(version)),
        None => (rest, None),
    };
    if rest.contains(['?', '#', '@']) || query.is_some_and(|version| version.contains(['&', '#'])) {
        // Not shown: it may hold a password.
        return Err(
            "url: leave out user, password and parameters; a key goes into `api_key`".into(),
        );
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = split_port(authority, port);
    let host = dialled(host);
    let mut url = Url::parse(&format!("{scheme}://{host}:{port}/"))
        .map_err(|error| bad(text, &error.to_string()))?;
    url.set_path(path.trim_end_matches('/'));
    if let Some(version) = query {
        url.set_query(Some(&format!("api-version={version}")));
    }
    Ok(url)
}

/// Calls that get pasted with the address, the longest first.
const CALLS: [&str; 10] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/responses",
    "/models",
    "/api/generate",
    "/api/version",
    "/api/chat",
    "/api/tags",
    "/api/show",
];

/// The address without a call that was pasted with it.
#[must_use]
pub fn without_call(mut base: Url) -> Url {
    let path = base.path().trim_end_matches('/').to_owned();
    let call = CALLS.iter().find(|call| path.ends_with(*call));
    base.set_path(&path[..path.len() - call.map_or(0, |call| call.len())]);
    base
}

/// The address without these last steps.
#[must_use]
pub fn without(mut base: Url, steps: &[&str]) -> Url {
    let path = base.path().trim_end_matches('/').to_owned();
    let end = steps.iter().find(|end| path.ends_with(*end));
    base.set_path(&path[..path.len() - end.map_or(0, |end| end.len())]);
    base
}

/// The address without a version at its end, as `/v1` or `/v1beta`, and the version. Its calls come right behind that.
#[must_use]
pub fn split_version(mut base: Url) -> (Url, Option<String>) {
    let path = base.path().trim_end_matches('/').to_owned();
    let Some((rest, last)) = path.rsplit_once('/') else {
        return (base, None);
    };
    let number = last.strip_prefix('v').unwrap_or_default();
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return (base, None);
    }
    base.set_path(rest);
    (base, Some(format!("/{last}")))
}

fn bad(text: &str, why: &str) -> String {
    format!("url {:?}: {why}", clean(text, 80))
}

/// Host and port; an IPv6 address may come with or without its brackets.
fn split_port(authority: &str, default: u16) -> (&str, u16) {
    if authority.parse::<Ipv6Addr>().is_ok() {
        return (authority, default);
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(default)),
        _ => (authority, default),
    }
}

/// The host to connect to: an address to listen on is turned into loopback.
fn dialled(host: &str) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ if bare.is_empty() => Ipv4Addr::LOCALHOST.to_string(),
        _ => host.to_owned(),
    }
}

/// The address with this path after its own.
#[must_use]
pub fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// The address as it is shown: no slash at the end.
#[must_use]
pub fn shown(base: &Url) -> String {
    base.as_str().trim_end_matches('/').to_owned()
}

/// Is it this machine?
#[must_use]
pub fn is_loopback(base: &Url) -> bool {
    match ip(base) {
        Some(ip) => ip.is_loopback(),
        None => base.host_str().is_some_and(|host| {
            let host = host.to_ascii_lowercase();
            host == "localhost" || host.ends_with(".localhost")
        }),
    }
}

/// Is it this machine or a network of the seller's own, where a key may go without TLS?
#[must_use]
pub fn is_private(base: &Url) -> bool {
    if is_loopback(base) {
        return true;
    }
    match ip(base) {
        // 100.64.0.0/10 is what carriers and Tailscale use (RFC 6598).
        Some(IpAddr::V4(ip)) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        Some(IpAddr::V6(ip)) => ip.is_unique_local() || ip.is_unicast_link_local(),
        None => base.host_str().is_some_and(is_private_name),
    }
}

fn is_private_name(host: &str) -> bool {
    const OWN: [&str; 5] = [".local", ".lan", ".internal", ".home.arpa", ".test"];
    let host = host.to_ascii_lowercase();
    !host.contains('.') || OWN.iter().any(|end| host.ends_with(end))
}

fn ip(base: &Url) -> Option<IpAddr> {
    let host = base.host_str()?;
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        shown(&parse(text, 11434).unwrap())
    }

    #[test]
    fn addresses_are_read_as_ollama_reads_them() {
        for (text, url) in [
            ("", "http://127.0.0.1:11434"),
            ("127.0.0.1", "http://127.0.0.1:11434"),
            ("1.2.3.4:5", "http://1.2.3.4:5"),
            (":8080", "http://127.0.0.1:8080"),
            ("gpu-box", "http://gpu-box:11434"),
            ("http://gpu-box", "http://gpu-box"),
            ("HTTP://gpu-box:11434/", "http://gpu-box:11434"),
            ("https://example.com/ollama/", "https://example.com/ollama"),
            ("example.com:1/a/b", "http://example.com:1/a/b"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:99", "http://127.0.0.1:99"),
            ("::", "http://[::1]:11434"),
            ("[::]:99", "http://[::1]:99"),
            ("::1", "http://[::1]:11434"),
            ("[fd00::2]", "http://[fd00::2]:11434"),
            ("host:66000", "http://host:11434"),
            ("host:x", "http://host:11434"),
        ] {
            assert_eq!(read(text), url, "{text}");
        }
    }

    #[test]
    fn what_documentation_prints_is_an_address() {
        for (text, base, version) in [
            ("http://h:1/v1/chat/completions", "http://h:1", Some("/v1")),
            ("https://h/api/v1/", "https://h/api", Some("/v1")),
            ("https://h/v1beta/openai/", "https://h/v1beta/openai", None),
            ("http://h:11434/api/chat", "http://h:11434", None),
            (
                "https://h/openai/deployments/d/chat/completions?api-version=2024-10-21",
                "https://h/openai/deployments/d?api-version=2024-10-21",
                None,
            ),
        ] {
            let (url, found) = split_version(without_call(parse(text, 1).unwrap()));
            assert_eq!((shown(&url).as_str(), found.as_deref()), (base, version));
        }
        assert!(parse("https://h/v1?key=secret", 1).is_err());
        assert!(parse("https://h/v1?api-version=1&key=secret", 1).is_err());
    }

    #[test]
    fn an_address_with_a_password_is_refused_without_showing_it() {
        let error = parse("http://me:secret@host", 1).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        assert!(parse("ftp://host", 1).is_err());
        assert!(parse("http://a b", 1).is_err());
    }

    #[test]
    fn a_path_is_kept_in_front() {
        let base = parse("https://example.com/ollama", 1).unwrap();
        assert_eq!(
            join(&base, "/api/chat").as_str(),
            "https://example.com/ollama/api/chat"
        );
    }

    #[test]
    fn the_seller_s_own_networks_are_told_from_the_internet() {
        let private = |text| is_private(&parse(text, 1).unwrap());
        for own in [
            "localhost",
            "127.9.9.9",
            "::1",
            "10.1.2.3",
            "100.64.0.1",
            "gpu.lan",
            "gpu",
            "fd00::1",
        ] {
            assert!(private(own), "{own}");
        }
        for public in ["8.8.8.8", "api.example.com", "2001:db8::1", "100.128.0.1"] {
            assert!(!private(public), "{public}");
        }
        assert!(!is_loopback(&parse("10.1.2.3", 1).unwrap()));
    }
}
