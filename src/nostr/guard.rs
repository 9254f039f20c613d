//! A stranger's relay address may not lead into the seller's own network (NIP-90 `relays`, relay hints).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use nostr::RelayUrl;
use nostr::types::url::{Host, Url};

/// The longest a name may take to resolve.
const LOOKUP_WAIT: Duration = Duration::from_secs(5);

/// May we connect to `url`, which a stranger named?
///
/// Yes where it is one of `own`, or where its host resolves to public addresses only. Where `own` itself names a loopback
/// or private address, loopback and private addresses are allowed too: such a seller trades in such a network. A name that
/// does not resolve is not allowed. An onion address is not: it can't be connected to directly.
pub async fn guard_public(url: &RelayUrl, own: &[RelayUrl]) -> bool {
    if own.contains(url) {
        return true;
    }
    let Some(addresses) = addresses(url).await else {
        return false;
    };
    if addresses.is_empty() || addresses.iter().any(|ip| is_nowhere(*ip)) {
        return false;
    }
    if addresses.iter().all(|ip| is_public(*ip)) {
        return true;
    }
    names_private(own).await
}

/// Does the seller's own list hold a relay at a loopback or private address?
async fn names_private(own: &[RelayUrl]) -> bool {
    for url in own {
        let found = addresses(url).await.unwrap_or_default();
        if found.iter().any(|ip| !is_public(*ip)) {
            return true;
        }
    }
    false
}

async fn addresses(url: &RelayUrl) -> Option<Vec<IpAddr>> {
    if url.is_onion() {
        return None;
    }
    match url.host()? {
        Host::Ipv4(ip) => Some(vec![IpAddr::V4(ip)]),
        Host::Ipv6(ip) => Some(vec![IpAddr::V6(ip)]),
        Host::Domain(name) => {
            let port = Url::parse(url.as_str()).ok()?.port_or_known_default()?;
            let lookup = tokio::net::lookup_host((name, port));
            let found = tokio::time::timeout(LOOKUP_WAIT, lookup).await.ok()?.ok()?;
            Some(found.map(|address| address.ip()).collect())
        }
    }
}

/// Addresses that no relay can have.
fn is_nowhere(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_multicast()
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

/// Everything but the special ranges of RFC 6890.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol = a == 192 && b == 0 && c == 0;
    let benchmark = a == 198 && (18..20).contains(&b);
    !(a == 0
        || a >= 240
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || shared
        || protocol
        || benchmark)
}

/// Global unicast (`2000::/3`) only, and where an IPv4 address is inside, that one's rule.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(v4) = ip.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let s = ip.segments();
    if s[0] == 0x64 && s[1] == 0xff9b {
        return is_public_v4(v4_of(s[6], s[7]));
    }
    if s[0] == 0x2002 {
        return is_public_v4(v4_of(s[1], s[2]));
    }
    let documentation = s[0] == 0x2001 && s[1] == 0xdb8;
    let protocol = s[0] == 0x2001 && s[1] < 0x200;
    (s[0] & 0xe000) == 0x2000 && !documentation && !protocol
}

fn v4_of(high: u16, low: u16) -> Ipv4Addr {
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> RelayUrl {
        RelayUrl::parse(text).unwrap()
    }

    #[test]
    fn special_ranges_are_not_public() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "fe80::1",
            "fc00::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "::",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[tokio::test]
    async fn a_strangers_relay_may_not_be_in_our_own_network() {
        let public = [url("wss://8.8.8.8")];
        assert!(!guard_public(&url("ws://127.0.0.1:9"), &public).await);
        assert!(!guard_public(&url("ws://localhost:9"), &public).await);
        assert!(!guard_public(&url("ws://[::1]:9"), &public).await);
        assert!(!guard_public(&url("ws://abc.onion"), &public).await);
        assert!(guard_public(&url("wss://1.1.1.1"), &public).await);
    }

    #[tokio::test]
    async fn a_seller_on_loopback_may_meet_others_there() {
        let own = [url("ws://127.0.0.1:7000")];
        assert!(guard_public(&url("ws://127.0.0.1:7001"), &own).await);
        assert!(!guard_public(&url("ws://0.0.0.0:7001"), &own).await);
    }
}
