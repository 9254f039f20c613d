//! The shop's engine: one supervisor that takes commands, and the parts it starts and stops. The screen is only a view.

mod admission;
mod announce;
pub mod audit;
pub mod buyers;
mod carry;
mod clock;
mod copies;
pub mod recovery_desk;
pub use crate::crash;
mod context;
pub mod disk;
mod ends;
mod gpu;
mod health;
mod held_back;
mod holds;
mod in_force;
mod invoicer;
mod last_look;
mod ledger_care;
mod load;
mod lookup;
pub mod machine;
mod mint;
pub mod offers;
mod on_demand_checks;
mod online_session;
mod outbox;
mod partial;
mod payments;
mod pongs;
pub mod preflight;
pub mod probe;
mod radar;
mod recovery;
mod redeliver;
mod signs;
mod stats;
mod status;
mod supervisor;
pub mod transition;
mod twins;
mod wallets;
mod worker;
mod zaps;

use std::sync::Arc;

use nostr::Keys;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::domain::Hex32;
use crate::domain::command::{Command, Reply};
use crate::domain::event::Event;
use crate::domain::id::BootId;
use crate::ledger::{Ledger, LedgerError};

pub use context::EngineContext;
pub use offers::price_rule;
pub use preflight::Place;

/// Commands that may wait.
const COMMANDS: usize = 64;

/// A command with the way back for its answer.
pub type Order = (Command, oneshot::Sender<Reply>);

/// A running engine.
pub struct Engine {
    shop: Arc<EngineContext>,
    orders: mpsc::Sender<Order>,
    supervisor: JoinHandle<()>,
}

impl Engine {
    /// Takes up what the last run of the program left, then waits for commands, offline. Open invoices are watched from
    /// now on.
    ///
    /// # Errors
    /// Where the ledger can't be read or written.
    pub async fn start(
        ledger: Ledger,
        keys: Keys,
        settings: Settings,
        place: Place,
    ) -> Result<Self, LedgerError> {
        clock::start();
        let boot = BootId(Hex32(rand::random()));
        let shop = EngineContext::new(ledger, keys, settings, boot);
        shop.read_standings().await?;
        shop.read_snooze().await?;
        // Run once: whoever starts an engine need not carry its size.
        Box::pin(recovery::recover(&shop)).await?;
        let (orders, inbox) = mpsc::channel(COMMANDS);
        let supervisor = tokio::spawn(supervisor::run(shop.clone(), place, inbox));
        Ok(Self {
            shop,
            orders,
            supervisor,
        })
    }

    /// Where commands go.
    #[must_use]
    pub fn orders(&self) -> mpsc::Sender<Order> {
        self.orders.clone()
    }

    /// Every event from now on. A listener that is too slow misses some, is told how many, and asks for a snapshot.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.shop.listen()
    }

    /// What the parts share.
    #[must_use]
    pub fn shop(&self) -> &Arc<EngineContext> {
        &self.shop
    }

    /// Gives a command and waits for its answer.
    pub async fn ask(&self, command: Command) -> Reply {
        ask(&self.orders, command).await
    }

    /// Waits until the engine has ended by a `stop` command, then closes the ledger.
    pub async fn ended(self) {
        let Self {
            shop,
            orders,
            supervisor,
        } = self;
        drop(orders);
        // A supervisor that died has ended too; the ledger holds what must not be lost.
        let _ = supervisor.await;
        if let Some(shop) = Arc::into_inner(shop) {
            shop.ledger.close().await;
        }
    }
}

/// Gives a command to an engine and waits for its answer.
pub async fn ask(orders: &mpsc::Sender<Order>, command: Command) -> Reply {
    let (back, answer) = oneshot::channel();
    let gone = || Reply::Refused {
        detail: "the engine has ended".to_owned(),
    };
    if orders.send((command, back)).await.is_err() {
        return gone();
    }
    answer.await.unwrap_or_else(|_| gone())
}
