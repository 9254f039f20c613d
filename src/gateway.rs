//! An OpenAI-compatible server on this machine that buys from sellers on Nostr.
//!
//! A program asks as it would ask OpenAI; the gateway finds a seller, buys over the shop's relay layer (`buyer`), and gives the
//! answer back. One sale runs in a task of its own: what it costs is in the ledger before the wallet is asked, and a program
//! that goes away ends it only while nothing is paid.

mod directory;
mod joins;
mod key;
pub mod openai;
mod own;
mod sale;
mod server;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nostr::{PublicKey, RelayUrl};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::buyer::{Buyer, Heard, Payer, buyer_key, settle_open};
use crate::config::schema::Settings;
use crate::domain::invoice::Network;
use crate::domain::msat::Msat;
use crate::domain::sellers::{JobSize, SellerView, rank};
use crate::domain::time::Time;
use crate::inference::Pool;
use crate::ledger::{Caps, Ledger};

pub use key::gateway_key;

use directory::SellerDirectory;
use joins::Joins;

/// The kind that is bought.
pub const KIND: u16 = 5050;
/// [`Setup::head_wait`] of a gateway that people use.
pub const HEAD_WAIT: Duration = Duration::from_secs(20);
/// Where it listens unless told otherwise.
pub const LISTEN: &str = "127.0.0.1:8450";
/// Requests at once.
const AT_ONCE: usize = 256;
/// Answers of earlier runs that wait to be read.
const LATE: usize = 1_024;
/// How long leaving waits for sales that are paid.
const LEAVE: Duration = Duration::from_secs(10);
/// How often open payments are asked about.
const SETTLE_EVERY: Duration = Duration::from_secs(120);

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address can't be listened on.
    #[error("the gateway can't listen on {0}: {1}")]
    Listen(String, std::io::Error),
    /// A sentence.
    #[error("{0}")]
    Other(String),
}

/// What a gateway needs.
pub struct Setup {
    /// The settings.
    pub settings: Settings,
    /// The data directory.
    pub data: PathBuf,
    /// The ledger.
    pub ledger: Ledger,
    /// Who pays; none: only what is free can be had.
    pub payer: Option<Payer>,
    /// This machine's own endpoints.
    pub own: Option<Pool>,
    /// The key of the shop on this machine, which is not bought from while its own endpoints are asked first.
    pub us: Option<PublicKey>,
    /// How long the head of a request may take to come, and a connection may be idle.
    pub head_wait: Duration,
}

/// What every request of a running gateway shares.
pub(crate) struct Shared {
    ledger: Ledger,
    buyer: Buyer,
    payer: Option<Payer>,
    network: Option<Network>,
    caps: Caps,
    directory: SellerDirectory,
    own: Option<own::Own>,
    us: Option<PublicKey>,
    relays: Vec<String>,
    joins: Joins,
    key: SecretString,
    listen: SocketAddr,
    head_wait: Duration,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

/// A running gateway.
pub struct Gateway {
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Gateway {
    /// Listens, connects in the background, and answers.
    ///
    /// # Errors
    /// Where it can't listen, or a file of its own can't be used.
    pub async fn start(setup: Setup, listen: &str) -> Result<Self, GatewayError> {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| GatewayError::Listen(listen.to_owned(), error))?;
        let address = listener
            .local_addr()
            .map_err(|error| GatewayError::Listen(listen.to_owned(), error))?;
        let key = gateway_key(&setup.data).map_err(GatewayError::Other)?;
        let keys = buyer_key(&setup.data).map_err(GatewayError::Other)?;
        let urls = relays(&setup.settings);
        let (late, heard) = mpsc::channel(LATE);
        let buyer = Buyer::connect(keys, urls.clone(), &[KIND], Some(late));
        let gateway = &setup.settings.gateway;
        let cancel = CancellationToken::new();
        let tasks = TaskTracker::new();
        let network = match &setup.payer {
            Some(payer) => payer.network(Duration::from_secs(5)).await,
            None => None,
        };
        let shared = Arc::new(Shared {
            directory: SellerDirectory::start(urls.clone(), &tasks, cancel.child_token()),
            own: setup
                .own
                .filter(|_| gateway.own_first)
                .map(|pool| own::Own::new(pool, &setup.settings)),
            us: setup.us.filter(|_| gateway.own_first),
            caps: Caps {
                request: Msat::from_sats(gateway.max_sats_per_request),
                day: Msat::from_sats(gateway.max_sats_per_day),
            },
            ledger: setup.ledger,
            buyer,
            payer: setup.payer,
            network,
            relays: urls.iter().map(ToString::to_string).collect(),
            joins: Joins::default(),
            key,
            listen: address,
            head_wait: setup.head_wait,
            room: Arc::new(Semaphore::new(AT_ONCE)),
            tasks: tasks.clone(),
            cancel: cancel.clone(),
        });
        tasks.spawn(settle(shared.clone()));
        tasks.spawn(take_up(shared.clone(), heard));
        if let Some(own) = &shared.own {
            tasks.spawn(own.clone().keep_fresh(cancel.child_token()));
        }
        let serving = tokio::spawn(server::serve(listener, shared.clone()));
        Ok(Self { shared, serving })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.listen
    }

    /// Ends it: no new requests; sales that are paid may finish for some seconds.
    pub async fn stop(self) {
        self.shared.cancel.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(LEAVE, self.shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("the gateway ends with a purchase open; the next start takes it up");
        }
        // A connection that stays open must not keep the program.
        self.serving.abort();
        let _ = self.serving.await;
        self.shared.buyer.clone().leave().await;
        self.shared.directory.leave().await;
    }
}

/// The gateway's relays: the shop's.
fn relays(settings: &Settings) -> Vec<RelayUrl> {
    let urls = settings.nostr.relays.iter();
    urls.filter_map(|url| RelayUrl::parse(url).ok()).collect()
}

/// Asks the wallet about payments that an earlier run left open, now and every two minutes.
async fn settle(shared: Arc<Shared>) {
    let Some(payer) = &shared.payer else {
        return;
    };
    let mut due = tokio::time::interval(SETTLE_EVERY);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.cancel.cancelled() => return,
            _ = due.tick() => {}
        }
        let settled = tokio::select! {
            () = shared.cancel.cancelled() => return,
            settled = settle_open(&shared.ledger, payer) => settled,
        };
        if let Err(error) = settled {
            tracing::warn!(%error, "open payments could not be looked at");
        }
    }
}

/// Takes up answers to purchases of earlier runs.
async fn take_up(shared: Arc<Shared>, mut late: mpsc::Receiver<Heard>) {
    loop {
        let heard = tokio::select! {
            () = shared.cancel.cancelled() => return,
            heard = late.recv() => heard,
        };
        let Some(heard) = heard else { return };
        match crate::buyer::take_up(&shared.ledger, heard).await {
            Ok(Some((bought, delivery))) => {
                if let Some(body) = bought.body {
                    shared
                        .joins
                        .came_late(body, sale::sold_late(&bought, delivery));
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a late answer was not written down"),
        }
    }
}

/// The sellers in their order, as `vend gateway sellers` shows them. Listens for `wait` first.
///
/// # Errors
/// Where the ledger can't be read.
pub async fn sellers(
    settings: &Settings,
    ledger: Option<&Ledger>,
    wait: Duration,
) -> Result<Vec<SellerView>, GatewayError> {
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let directory = SellerDirectory::start(relays(settings), &tasks, cancel.child_token());
    directory.loaded(wait).await;
    let buyer = Buyer::connect(nostr::Keys::generate(), relays(settings), &[KIND], None);
    directory.ping_silent(&buyer, wait).await;
    let now = Time::now();
    let records = match ledger {
        Some(ledger) => ledger
            .seller_records(now)
            .await
            .map_err(|error| GatewayError::Other(error.to_string()))?,
        None => std::collections::HashMap::new(),
    };
    let known = directory.known(&records, &buyer);
    let size = JobSize {
        prompt_tokens: 500,
        max_tokens: 500,
    };
    let ranked = rank(&known, None, size, now);
    cancel.cancel();
    tasks.close();
    directory.leave().await;
    buyer.leave().await;
    Ok(ranked.iter().map(SellerView::from).collect())
}

/// May it listen there? Beyond this machine only where the settings say so in an address of their own, as the key then stands
/// alone between the wallet and the network.
///
/// # Errors
/// A sentence that says what to write.
pub fn check_listen(listen: &str) -> Result<SocketAddr, String> {
    listen.parse().map_err(|_| {
        format!("{listen} is no address to listen on: write an IP address and a port, as {LISTEN}")
    })
}
