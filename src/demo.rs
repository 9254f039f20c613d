//! The whole shop on loopback: a relay, the built-in model, play money, and a buyer who asks and pays.
//!
//! Buyer and seller meet only on the relay, over its websocket; the buyer pays the very invoice that it received. No
//! socket leaves this machine.

mod buyer;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use nostr_relay_builder::prelude::{LocalRelay, RateLimit, RelayBuilder};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::edit;
use crate::domain::command::{Command, Reply};
use crate::domain::event::EventKind;
use crate::domain::health::ShopState;
use crate::domain::job::{JobView, Status};
use crate::domain::msat::Msat;
use crate::engine::Engine;
use crate::wallet::open::SANDBOX_FOLDER;

pub use buyer::Bought;

/// What every sheet of the demo says.
pub const NOTE: &str = "DEMO on this machine only: no real money moves";

/// What every tab of the demo says beside the sandbox's own words.
pub const BANNER: &str = "DEMO on this machine only";

/// Tokens per second at which a person can watch the built-in model.
pub const WATCHABLE: u32 = 60;

/// Why the demo could not run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DemoError(pub String);

fn failed(error: impl std::fmt::Display) -> DemoError {
    DemoError(error.to_string())
}

/// The sheet of `vend demo --headless --json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Was every job delivered, paid and reconciled?
    pub ok: bool,
    /// Says that no real money moved.
    pub note: &'static str,
    /// The seller's jobs of this run.
    pub jobs: Vec<JobView>,
    /// What the buyer saw.
    pub buyer: BuyerSheet,
    /// What the seller's wallet confirmed.
    pub seller: SellerSheet,
    /// From the first request to the last payment.
    pub elapsed_ms: u64,
}

/// The buyer's side.
#[derive(Debug, Serialize)]
pub struct BuyerSheet {
    /// Requests published.
    pub sent: u64,
    /// Results received.
    pub delivered: u64,
    /// Paid.
    pub paid_msat: Msat,
}

/// The seller's side.
#[derive(Debug, Serialize)]
pub struct SellerSheet {
    /// Confirmed by the wallet.
    pub confirmed_msat: Msat,
}

/// The relay of the demo.
pub struct DemoRelay {
    relay: LocalRelay,
    /// Where it listens: loopback.
    pub url: String,
}

impl DemoRelay {
    /// Starts a relay on a free port of the loopback address.
    ///
    /// # Errors
    /// Where no port can be had.
    pub async fn start() -> Result<Self, DemoError> {
        let builder = RelayBuilder::default()
            .addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
            .rate_limit(RateLimit {
                max_reqs: 500,
                // Its own limit never refills above one event a second; the shop has limits of its own.
                notes_per_minute: 1_000_000,
            });
        let relay = LocalRelay::new(builder);
        relay.run().await.map_err(failed)?;
        let url = relay.url().await.to_string();
        Ok(Self { relay, url })
    }

    /// Stops it.
    pub fn stop(&self) {
        self.relay.shutdown();
    }
}

/// The demo's settings in its own file: the built-in model by name, play money, and this run's relay. What the user changes
/// there stays.
///
/// # Errors
/// Where the file can't be written.
pub fn settings(config: &Path, relay: &str, watched: bool) -> Result<(), DemoError> {
    let fresh = !config.exists();
    if fresh {
        let slots = if watched { 1 } else { 2 };
        let text = format!(
            "# The demo's own settings: a relay on this machine, the built-in model, play money.\n\
             start_online = true\n\n\
             [nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nname = \"vend demo\"\n\n\
             [text]\nmodel = \"vend-tiny\"\nmax_tokens = 128\ntemperature = 0.2\nfrequency_penalty = 0.0\n\n\
             [wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\n\
             [[endpoint]]\nname = \"demo\"\nkind = \"builtin\"\nslots = {slots}\n\n\
             [limits]\nper_buyer_per_minute = 100000\nper_minute = 100000\nqueue = 1000\nper_buyer_running = 8\n"
        );
        write_private(config, &text).map_err(failed)?;
    }
    edit::set(config, "nostr.relays", &format!("[\"{relay}\"]")).map_err(failed)?;
    Ok(())
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A buyer who keeps asking and paying until stopped: life on the dashboard.
pub struct Regular {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Regular {
    /// Comes in.
    #[must_use]
    pub fn start(relay: String, data: &Path, seller: nostr::PublicKey) -> Self {
        let stop = CancellationToken::new();
        let sandbox = data.join(SANDBOX_FOLDER);
        let task = tokio::spawn(buyer::regular(relay, sandbox, seller, stop.clone()));
        Self { stop, task }
    }

    /// Leaves.
    pub async fn leave(self) {
        self.stop.cancel();
        // A buyer who fell over has left too.
        let _ = self.task.await;
    }
}

/// Sells `jobs` jobs and draws up the sheet.
///
/// # Errors
/// Where the shop can't go online or the buyer can't reach it; jobs that fail are on the sheet.
pub async fn sell(
    engine: &Engine,
    relay: &str,
    data: &Path,
    jobs: u32,
) -> Result<Report, DemoError> {
    online(engine).await?;
    let began = Instant::now();
    let sandbox: PathBuf = data.join(SANDBOX_FOLDER);
    let seller = engine.shop().keys.public_key();
    let bought = buyer::buy(relay, &sandbox, seller, jobs).await?;
    let views = settled(engine, &bought).await?;
    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let confirmed: Msat = views.iter().map(|job| job.paid_msat).sum();
    let all_paid = views.len() == jobs as usize
        && views
            .iter()
            .all(|job| job.status == Status::Paid && job.result_id.is_some());
    Ok(Report {
        ok: all_paid
            && bought.delivered == u64::from(jobs)
            && bought.paid == confirmed
            && !confirmed.is_zero(),
        note: NOTE,
        jobs: views,
        buyer: BuyerSheet {
            sent: bought.requests.len() as u64,
            delivered: bought.delivered,
            paid_msat: bought.paid,
        },
        seller: SellerSheet {
            confirmed_msat: confirmed,
        },
        elapsed_ms,
    })
}

/// Presses the button and waits until the shop is open.
///
/// # Errors
/// The sentence that the shop stays offline with.
pub async fn online(engine: &Engine) -> Result<(), DemoError> {
    let mut now = engine.shop().now.subscribe();
    if let Reply::Refused { detail } = engine.ask(Command::GoOnline).await {
        return Err(DemoError(detail));
    }
    let mut starting = false;
    loop {
        let seen = now.borrow_and_update().clone();
        match seen.state {
            state if state.is_open() => return Ok(()),
            ShopState::Starting => starting = true,
            ShopState::Offline if starting => return Err(DemoError(seen.detail)),
            _ => {}
        }
        now.changed().await.map_err(failed)?;
    }
}

/// Waits until the seller knows of every payment, and reads its side from the ledger.
async fn settled(engine: &Engine, bought: &Bought) -> Result<Vec<JobView>, DemoError> {
    let shop: &Arc<_> = engine.shop();
    let mut events = engine.listen();
    let patience = tokio::time::sleep(buyer::PATIENCE);
    tokio::pin!(patience);
    loop {
        let mut views = Vec::with_capacity(bought.requests.len());
        for id in &bought.requests {
            if let Some(job) = shop.ledger.job(*id).await.map_err(failed)? {
                views.push(job.view());
            }
        }
        let open = views
            .iter()
            .any(|job| !matches!(job.status, Status::Paid | Status::Completed | Status::Error));
        if !open {
            return Ok(views);
        }
        tokio::select! {
            () = &mut patience => return Ok(views),
            () = changed(&mut events) => {}
        }
    }
}

async fn changed(events: &mut tokio::sync::broadcast::Receiver<crate::domain::event::Event>) {
    loop {
        match events.recv().await {
            Ok(event) if !matches!(event.kind, EventKind::Job { .. }) => {}
            // A missed event may have been the one.
            _ => return,
        }
    }
}
