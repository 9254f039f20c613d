//! Relays that are not our own, which strangers name: may we connect to them, and to which very addresses?

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::domain::address;

/// The longest a name may take to resolve.
const LOOKUP_WAIT: Duration = Duration::from_secs(5);

/// Names that are looked up at once: the system's resolver holds a thread for each, also when nobody waits for it any more.
const LOOKUPS: usize = 8;

/// The most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 8;

/// The addresses of a name, or why there are none.
pub type Resolved<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Looks up names.
pub trait Resolve: Send + Sync {
    /// The addresses of this name.
    fn resolve<'a>(&'a self, name: &'a str, port: u16) -> Resolved<'a>;
}

/// The system's resolver.
struct System {
    room: Arc<Semaphore>,
}

impl Resolve for System {
    fn resolve<'a>(&'a self, name: &'a str, port: u16) -> Resolved<'a> {
        Box::pin(async move {
            let held = self
                .room
                .clone()
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let name = name.to_owned();
            let lookup = tokio::task::spawn_blocking(move || {
                let found = (name.as_str(), port).to_socket_addrs();
                drop(held);
                found.map(Iterator::collect)
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}

/// How relays are reached, and which of others' are.
#[derive(Clone)]
pub struct Reach {
    others: bool,
    resolver: Arc<dyn Resolve>,
    allowed: fn(IpAddr) -> bool,
}

impl Reach {
    /// Our own relays; with `others` also those of buyers, where they are on the public internet.
    #[must_use]
    pub fn public(others: bool) -> Self {
        let resolver = Arc::new(System {
            room: Arc::new(Semaphore::new(LOOKUPS)),
        });
        Self {
            others,
            resolver,
            allowed: address::is_public,
        }
    }

    /// With another resolver and another judgement of addresses: for a test, which has no public addresses.
    #[must_use]
    pub fn with(resolver: Arc<dyn Resolve>, allowed: fn(IpAddr) -> bool) -> Self {
        Self {
            others: true,
            resolver,
            allowed,
        }
    }

    /// Are relays of others used at all?
    pub(super) const fn has_others(&self) -> bool {
        self.others
    }

    /// May a connection to this address of a relay of others be made?
    pub(super) fn allows(&self, ip: IpAddr) -> bool {
        (self.allowed)(ip)
    }

    /// The addresses of a name that a stranger gave. The connection goes to these and to no others, so that a second answer of DNS changes nothing.
    pub(super) async fn look_up(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let looked = tokio::time::timeout(LOOKUP_WAIT, self.resolver.resolve(name, port)).await;
        let mut found = looked.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        found.truncate(MOST_ADDRESSES);
        if found.is_empty() {
            return Err(io::Error::other("resolution returned no addresses"));
        }
        Ok(found)
    }
}

impl Default for Reach {
    fn default() -> Self {
        Self::public(true)
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach")
            .field("others", &self.others)
            .finish_non_exhaustive()
    }
}
