//! Makes the connection to a relay: name, address, TCP, TLS, WebSocket, each with our own bounds.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use nostr::types::url::{Host, Url};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::bounded::{Bounded, Bounds};
use super::reach::Reach;
use crate::domain::address::may_be_public;
use crate::domain::dial::dial_failure;
use crate::domain::drift::Drift;
use crate::domain::time::Time;

/// After this long the next address of a name is tried beside the ones before (RFC 8305).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// The most bytes of a message from a relay of ours.
const OWN_MESSAGE: u64 = 1024 * 1024 + 1024;

/// The most bytes of a message from a relay of others, which says `OK` or gives an input.
const OTHERS_MESSAGE: u64 = 128 * 1024;

/// The most bytes from a relay of others on one connection.
const OTHERS_ALL: u64 = 4 * 1024 * 1024;

/// What is read from a socket at once; each connection holds so much.
const READ_BUFFER: usize = 16 * 1024;

/// A connection, message by message.
pub(super) type Socket = WebSocketStream<Bounded<MaybeTlsStream<TcpStream>>>;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoSocket {
    /// A relay of others that we may not connect to.
    NotAllowed,
    /// It could not be made; why, in plain words.
    Failed(String),
}

/// What a relay of others is told of where it is not on the public internet.
pub(super) const NOT_PUBLIC: &str = "its address does not lead to a public relay";

/// Connects. A relay of others is connected to only at public addresses, each judged as it is connected to.
pub(super) async fn connect(
    url: &Url,
    own: bool,
    reach: &Reach,
    clock: &Drift,
    wait: Duration,
) -> Result<Socket, NoSocket> {
    let making = async {
        let addresses = addresses(url, own, reach).await?;
        socket(url, own, addresses, clock)
            .await
            .map_err(|error| NoSocket::Failed(dial_failure(&error)))
    };
    tokio::time::timeout(wait, making)
        .await
        .unwrap_or_else(|_| Err(NoSocket::Failed(dial_failure("timed out"))))
}

/// May a relay of others be tried, as far as its url tells?
pub(super) fn may_try(url: &Url, reach: &Reach) -> bool {
    reach.has_others() && may_be_public(url, |ip| reach.allows(ip))
}

/// The addresses that may be connected to.
async fn addresses(url: &Url, own: bool, reach: &Reach) -> Result<Vec<SocketAddr>, NoSocket> {
    if !own && !may_try(url, reach) {
        return Err(NoSocket::NotAllowed);
    }
    let failed = |error: io::Error| NoSocket::Failed(dial_failure(&error.to_string()));
    let port = url.port_or_known_default().unwrap_or_default();
    let found = match url.host() {
        Some(Host::Ipv4(ip)) => vec![SocketAddr::new(ip.into(), port)],
        Some(Host::Ipv6(ip)) => vec![SocketAddr::new(ip.into(), port)],
        // Strangers' names have their own bounds, so that slow ones keep our own relays from nothing.
        Some(Host::Domain(name)) if own => tokio::net::lookup_host((name, port))
            .await
            .map_err(failed)?
            .collect(),
        Some(Host::Domain(name)) => reach.look_up(name, port).await.map_err(failed)?,
        None => return Err(NoSocket::Failed("its address has no host".to_owned())),
    };
    // One private address among public ones is no accident.
    if !own && !found.iter().all(|address| reach.allows(address.ip())) {
        return Err(NoSocket::NotAllowed);
    }
    Ok(found)
}

async fn socket(
    url: &Url,
    own: bool,
    addresses: Vec<SocketAddr>,
    clock: &Drift,
) -> Result<Socket, String> {
    let words = |error: io::Error| error.to_string();
    let tcp = race(addresses).await.map_err(words)?;
    // Small frames are answered one by one.
    tcp.set_nodelay(true).map_err(words)?;
    let stream = if url.scheme() == "wss" {
        MaybeTlsStream::Rustls(secured(url, tcp).await?)
    } else {
        MaybeTlsStream::Plain(tcp)
    };
    let bounds = bounds(own);
    let most = usize::try_from(bounds.message).unwrap_or(usize::MAX);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(most))
        .max_frame_size(Some(most));
    let bounded = Bounded::new(stream, bounds);
    let asked = Time::now();
    let made = tokio_tungstenite::client_async_with_config(url.as_str(), bounded, Some(config));
    let (socket, answer) = made.await.map_err(|error| error.to_string())?;
    let date = answer
        .headers()
        .get("date")
        .map(tokio_tungstenite::tungstenite::http::HeaderValue::as_bytes);
    clock.heard(date, asked, Time::now());
    Ok(socket)
}

const fn bounds(own: bool) -> Bounds {
    if own {
        Bounds {
            message: OWN_MESSAGE,
            skip: true,
            all: None,
        }
    } else {
        Bounds {
            message: OTHERS_MESSAGE,
            skip: false,
            all: Some(OTHERS_ALL),
        }
    }
}

/// The first of these addresses that answers; the next one is tried when the one before failed or takes its time.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = by_turns(addresses).into_iter();
    let mut tries = FuturesUnordered::new();
    let mut failure = io::Error::other("resolution returned no addresses");
    loop {
        match waiting.next() {
            Some(address) => tries.push(TcpStream::connect(address)),
            None if tries.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            Some(made) = tries.next() => match made {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if waiting.len() > 0 => {}
        }
    }
}

/// The two families by turns, in the resolver's order, so that one that does not work costs one pause.
fn by_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

async fn secured(
    url: &Url,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let config = ClientConfig::builder().with_root_certificates(roots);
        Arc::new(config.with_no_client_auth())
    });
    let name = match url.host() {
        Some(Host::Ipv4(ip)) => ServerName::IpAddress(std::net::IpAddr::V4(ip).into()),
        Some(Host::Ipv6(ip)) => ServerName::IpAddress(std::net::IpAddr::V6(ip).into()),
        Some(Host::Domain(name)) => {
            ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?
        }
        None => return Err("its address has no host".to_owned()),
    };
    TlsConnector::from(config.clone())
        .connect(name, tcp)
        .await
        .map_err(|error| format!("tls: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_of_version_six_is_no_name() {
        let url = Url::parse("ws://[::1]:7777").unwrap();
        let found = addresses(&url, true, &Reach::public(false)).await;
        assert_eq!(found, Ok(vec!["[::1]:7777".parse().unwrap()]));
        let theirs = addresses(&url, false, &Reach::public(true)).await;
        assert_eq!(theirs, Err(NoSocket::NotAllowed));
    }

    #[test]
    fn the_families_are_tried_by_turns() {
        let all = ["[2606::1]:1", "[2606::2]:1", "[2606::3]:1", "8.8.8.8:1"];
        let all = all.map(|text| text.parse().unwrap()).to_vec();
        let turns: Vec<String> = by_turns(all).iter().map(ToString::to_string).collect();
        assert_eq!(
            turns,
            ["[2606::1]:1", "8.8.8.8:1", "[2606::2]:1", "[2606::3]:1"]
        );
    }
}
