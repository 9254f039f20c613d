//! Which addresses a stranger may make us connect to: hosts of the public internet, spelled as they are.
//!
//! A relay's url in a request is a stranger's text. It may name the seller's own router, a cloud's metadata service or another
//! program on this machine, in spellings that readers of urls and resolvers of names take apart differently. So what is not
//! plain is refused, public or not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nostr::types::url::{Host, Url};

/// Names that never belong to a relay of the public internet (RFC 6761, 6762, 7686, 8375, and private use by custom).
const PRIVATE_ZONES: [&str; 10] = [
    "alt",
    "home.arpa",
    "internal",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "test",
];

/// Azure's platform service answers every machine there at this address, which is from a public range.
const AZURE_PLATFORM: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// May a stranger's relay be at this url, as far as its text tells? The addresses of a name are judged by [`is_public`] when
/// they are known; `allowed` stands for it, so that a test can have relays on loopback.
#[must_use]
pub fn may_be_public(url: &Url, allowed: impl Fn(IpAddr) -> bool) -> bool {
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain || !matches!(url.scheme(), "ws" | "wss") || url.port() == Some(0) {
        return false;
    }
    match url.host() {
        Some(Host::Ipv4(ip)) => allowed(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => allowed(IpAddr::V6(ip)),
        Some(Host::Domain(name)) => is_public_name(name),
        None => false,
    }
}

/// A name with a dot in it (others are looked up in the seller's own network), not in a private zone.
fn is_public_name(name: &str) -> bool {
    let in_zone = |zone: &str| {
        name.strip_suffix(zone)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    name.contains('.') && !name.ends_with('.') && !PRIVATE_ZONES.into_iter().any(in_zone)
}

/// Is the host spelled as it is read? Decimal, octal and hex addresses, unicode dots and letters, percent signs, zone ids and
/// trailing dots are not.
#[must_use]
pub fn is_plainly_spelled(text: &str, url: &Url) -> bool {
    let Some((_, rest)) = text.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match url.host() {
        Some(Host::Ipv4(ip)) => host_of(authority).parse() == Ok(ip),
        Some(Host::Ipv6(ip)) => authority
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
            .is_some_and(|(inside, _)| inside.parse() == Ok(ip)),
        Some(Host::Domain(name)) => {
            host_of(authority).eq_ignore_ascii_case(name) && !name.ends_with('.')
        }
        None => false,
    }
}

fn host_of(authority: &str) -> &str {
    authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host)
}

/// Is this an address of the public internet? Those that carry another address inside (mapped, NAT64, 6to4, Teredo) are not.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

/// Everything but the special ranges of RFC 6890 and what came after it.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol = a == 192 && b == 0 && c == 0;
    let relay_6to4 = a == 192 && b == 88 && c == 99;
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
        || relay_6to4
        || benchmark
        || ip == AZURE_PLATFORM)
}

/// Global unicast (`2000::/3`) alone, without the ranges in it that are for documents, protocols and tunnels. What lies
/// outside are loopback, mapped, NAT64 (`64:ff9b::/96`), local and multicast addresses.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    let protocol = s[0] == 0x2001 && s[1] < 0x200;
    let documentation = (s[0] == 0x2001 && s[1] == 0xdb8) || (s[0] == 0x3fff && s[1] < 0x1000);
    let tunnel_6to4 = s[0] == 0x2002;
    (s[0] & 0xe000) == 0x2000 && !protocol && !documentation && !tunnel_6to4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_ranges_are_not_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:53aa:64c::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn names_of_the_sellers_own_network_are_not_public() {
        let may = |text: &str| may_be_public(&Url::parse(text).unwrap(), is_public);
        for text in [
            "ws://localhost",
            "ws://x.localhost",
            "ws://printer",
            "ws://router.lan",
            "ws://nas.local",
            "ws://metadata.google.internal",
            "ws://x.home.arpa",
            "ws://abc.onion",
            "ws://a.test",
            "ws://a.example.",
        ] {
            assert!(!may(text), "{text}");
        }
        for text in [
            "wss://nos.lol",
            "ws://relay.example.com:7777/path",
            "wss://mylocal",
            "wss://8.8.8.8",
        ] {
            assert_eq!(may(text), text != "wss://mylocal", "{text}");
        }
    }
}
