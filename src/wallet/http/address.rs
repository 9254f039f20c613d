//! Where a wallet's server is: what a person may write, and where its key may travel in the open.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use super::{Kind, ServerError};
use crate::domain::text::clean;

/// The server's address without a slash at its end, from what a person wrote.
pub(super) fn base_url(text: &str, kind: &Kind) -> Result<Url, ServerError> {
    let wrong = || ServerError::Url {
        url: clean(text, 200),
        why: format!("write https://host or {}", kind.example),
    };
    let mut url = Url::parse(text.trim()).map_err(|_| wrong())?;
    if !url.username().is_empty() || url.password().is_some() {
        // Its text may hold a password, so it is not shown.
        return Err(ServerError::Url {
            url: "***".to_owned(),
            why: format!(
                "a name or password has no place in it: the secret goes to {}",
                kind.key
            ),
        });
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong());
    }
    if url.scheme() == "http" && !is_near(&url) {
        return Err(ServerError::PlainHttp(clean(
            url.host_str().unwrap_or_default(),
            200,
        )));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// The address of a path below the server's.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

/// This machine or a private network: there http (or ws) is a choice a person may make, as no stranger is on the line.
pub(in crate::wallet) fn is_near(url: &Url) -> bool {
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

    const KIND: Kind = Kind {
        name: "a server",
        key: "wallet.key",
        fix: "copy it anew",
        example: "http://127.0.0.1:5000",
        own_words: |_| false,
        max_body: 1_024,
        wrong_key: |_, _| false,
    };

    fn base_url(text: &str) -> Result<Url, ServerError> {
        super::base_url(text, &KIND)
    }

    #[test]
    fn an_address_is_read_with_or_without_a_slash_and_with_a_path() {
        for (written, want) in [
            ("https://ln.example", "https://ln.example/v1/payments"),
            ("https://ln.example/", "https://ln.example/v1/payments"),
            (
                " https://ln.example/bits// ",
                "https://ln.example/bits/v1/payments",
            ),
            (
                "http://127.0.0.1:5000/?a=b#c",
                "http://127.0.0.1:5000/v1/payments",
            ),
        ] {
            let base = base_url(written).unwrap();
            assert_eq!(below(&base, "v1/payments").as_str(), want);
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
                matches!(base_url(far), Err(ServerError::PlainHttp(_))),
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
                matches!(base_url(text), Err(ServerError::Url { .. })),
                "{text}"
            );
        }
        let error = base_url("https://me:hunter2@ln.example").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
