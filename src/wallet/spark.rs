//! Spark as the seller's wallet, through the official SDK in a helper process (Node).
//!
//! No server of one's own and no key of anybody: twelve words in a file are the wallet, and the SDK talks to Spark's
//! operators. The helper is one file of ours around the SDK (helper/helper.mjs), put into the data directory by
//! `vend spark install`; see `wire` for the lines between the two, `pipe` for one running helper and `supervise` for its
//! keeper. The words go over the helper's input, never into an argument or a variable. Amounts are whole sats.
//!
//! Spark keeps no label, so an invoice whose answer was lost is left unpublished; it looks invoices up by its own request id,
//! which is kept beside each one.
//!
//! Where Spark is: on mainnet in the SDK's own list of servers, and nothing changes that. On regtest a file `local.json` in
//! the helper's folder may name a Spark on this machine instead, for those who develop against one and for the tests. It is
//! a file and not a setting as it is no choice of a seller's; it is looked for on regtest alone, the helper takes it for
//! regtest alone and with loopback addresses alone, and the wallet's light says that it is used.

pub mod install;
pub mod launch;
pub mod node;
mod pipe;
mod request;
pub mod setup;
mod supervise;
mod wire;
pub mod words;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::launch::{Launch, Timing};
use self::request::Request;
use self::setup::{Setup, SetupError};
use self::supervise::{Question, Shared, Spec, State, supervise};
use self::wire::{Answer, Ask, Balance};
use super::{BROKE_OFF, Caps, Issued, NewInvoice, PaymentStatus, Wallet, WalletError, whole_sats};
use crate::config::schema::Network;
use crate::domain::health::{HealthLevel, WalletHealth};
use crate::domain::id::PaymentHash;
use crate::domain::msat::Msat;
use crate::domain::text::cut_bytes;
use crate::domain::time::Time;

pub use self::wire::Account;

const BACKEND: &str = "spark";

/// The SDK takes 639 characters, and BOLT 11 as many bytes.
const MAX_MEMO_BYTES: usize = 639;

/// The account where the settings name none. The SDK's own default differs between networks.
pub const DEFAULT_ACCOUNT: u32 = 1;

/// Questions that may wait for the helper.
const INBOX: usize = 32;

/// The Spark wallet. The helper starts with the first thing that is asked, and ends with the wallet.
pub struct Spark {
    spec: Spec,
    network: Network,
    shared: Arc<Shared>,
    keeper: OnceLock<Keeper>,
    stop: CancellationToken,
    /// One invoice is made at a time: a second one waits.
    making: tokio::sync::Mutex<()>,
    last_hint: Mutex<Option<Instant>>,
}

struct Keeper {
    asks: mpsc::Sender<Question>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Spark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Spark({}, account {})",
            self.spec.network, self.spec.account
        )
    }
}

/// Whole after every statement, so a thread that died while holding it left nothing half done.
fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spark {
    /// The wallet of this data directory. Nothing is started yet.
    ///
    /// # Errors
    /// A helper that is not installed, words that are not there or can't be read.
    pub fn open(data: &Path, network: Network, account: u32) -> Result<Self, SetupError> {
        let setup = Setup::new(data);
        setup.ready()?;
        Ok(Self::of(setup.spec(network, account), network))
    }

    /// The same with another helper: for whoever uses this library with one of their own, as the tests do. Nothing is looked
    /// at yet.
    #[must_use]
    pub fn with_helper(
        data: &Path,
        network: Network,
        account: u32,
        launch: Launch,
        timing: Timing,
    ) -> Self {
        let spec = Spec {
            launch,
            timing,
            ..Setup::new(data).spec(network, account)
        };
        Self::of(spec, network)
    }

    fn of(spec: Spec, network: Network) -> Self {
        Self {
            spec,
            network,
            shared: Arc::new(Shared {
                state: watch::Sender::new(State::Starting),
                hint: Notify::new(),
                again: Notify::new(),
                incoming: Mutex::default(),
            }),
            keeper: OnceLock::new(),
            stop: CancellationToken::new(),
            making: tokio::sync::Mutex::new(()),
            last_hint: Mutex::new(None),
        }
    }

    /// The same with another longest time for a call.
    #[must_use]
    pub fn call_timeout(mut self, longest: Duration) -> Self {
        let timing = &mut self.spec.timing;
        for limit in [&mut timing.call, &mut timing.create, &mut timing.health] {
            *limit = longest;
        }
        self
    }

    fn asker(&self) -> Asker {
        let keeper = self.keeper.get_or_init(|| {
            let (asks, inbox) = mpsc::channel(INBOX);
            let asker = Asker {
                asks: asks.clone(),
                shared: self.shared.clone(),
                timing: self.spec.timing.clone(),
            };
            let keep = supervise(
                self.spec.clone(),
                self.shared.clone(),
                inbox,
                self.stop.clone(),
            );
            let tasks = vec![
                tokio::spawn(keep),
                tokio::spawn(watch_balance(asker, self.stop.clone())),
            ];
            Keeper {
                asks,
                tasks: Mutex::new(tasks),
            }
        });
        Asker {
            asks: keeper.asks.clone(),
            shared: self.shared.clone(),
            timing: self.spec.timing.clone(),
        }
    }

    async fn make(&self, new: NewInvoice) -> Result<Issued, WalletError> {
        if new.hold_hash.is_some() {
            return Err(WalletError::Unsupported);
        }
        let ask = Ask::Create {
            amount_sats: whole_sats(new.amount, "Spark")?,
            memo: cut_bytes(&new.memo, MAX_MEMO_BYTES).to_owned().into(),
            // Without one Spark's invoices live for 30 days.
            expiry_s: new.expiry.as_secs(),
        };
        let limit = self.spec.timing.create;
        let made = async {
            let _one_at_a_time = self.making.lock().await;
            self.asker().ask::<Request>(ask, limit).await
        };
        let made = tokio::time::timeout(limit, made).await;
        made.map_err(|_| WalletError::TimedOut(limit))??
            .issued()
            .ok_or_else(|| WalletError::Protocol("it made no invoice".to_owned()))
    }

    async fn look(&self, issued: &Issued) -> Result<PaymentStatus, WalletError> {
        let Some(request_id) = issued.backend_ref.clone() else {
            let text = "Spark finds invoices by its own id, and this one has none".to_owned();
            return Err(WalletError::Rejected(text));
        };
        let ask = Ask::Lookup {
            request_id: request_id.into(),
        };
        let found: Request = self.asker().ask(ask, self.spec.timing.call).await?;
        found.seen(issued, Time::now())
    }

    async fn ask_health(&self) -> Result<WalletHealth, String> {
        let asker = self.asker();
        let limit = self.spec.timing.health;
        let up = tokio::time::timeout(limit, asker.up()).await;
        let (account, local) =
            up.map_err(|_| "the Spark helper is still starting".to_owned())??;
        let balance = asker.balance().await;
        let (available, incoming) = balance.map_err(|error| error.to_string())?;
        let mut words = Vec::new();
        if local {
            words.push("a Spark on this machine (spark/local.json)".to_owned());
        } else {
            words.push("connected".to_owned());
        }
        words.push(format!("{} to spend", Msat::from_sats(available).display()));
        let mut health = HealthLevel::Ok;
        if incoming > 0 {
            words.push(format!("{} arriving", Msat::from_sats(incoming).display()));
            if self.shared.is_stuck(self.spec.timing.stuck) {
                health = HealthLevel::Warn;
                words.push("it takes long: the helper is started again to claim it".to_owned());
            }
        }
        Ok(WalletHealth {
            backend: BACKEND.to_owned(),
            state: "up".to_owned(),
            health,
            detail: words.join("; "),
            network: Some(self.network.as_str().to_owned()),
            identity: Some(account.identity),
            balance_msat: Some(Msat::from_sats(available)),
            ..WalletHealth::default()
        })
    }

    /// Waits for a hint; those within a second of the last one are one. Cancelled, it loses none.
    async fn hinted(&self) -> Option<PaymentHash> {
        // The helper runs from here on, as money can be claimed only while it does.
        drop(self.asker());
        let last = *held(&self.last_hint);
        if let Some(last) = last {
            tokio::time::sleep_until(last + self.spec.timing.hint_every).await;
        }
        self.shared.hint.notified().await;
        *held(&self.last_hint) = Some(Instant::now());
        None
    }

    async fn end(&self) {
        self.stop.cancel();
        let tasks = self
            .keeper
            .get()
            .map(|keeper| std::mem::take(&mut *held(&keeper.tasks)));
        for task in tasks.unwrap_or_default() {
            if task.await.is_err() {
                tracing::error!("the keeper of the Spark helper died");
            }
        }
    }
}

impl Drop for Spark {
    fn drop(&mut self) {
        // The keeper then lets the helper clean up, and kills one that does not.
        self.stop.cancel();
    }
}

/// Asks the helper.
#[derive(Clone)]
struct Asker {
    asks: mpsc::Sender<Question>,
    shared: Arc<Shared>,
    timing: Timing,
}

impl Asker {
    /// Waits until the wallet is open; the sentence where it is down.
    async fn up(&self) -> Result<(Account, bool), String> {
        let mut state = self.shared.state.subscribe();
        let known = state.wait_for(|state| *state != State::Starting).await;
        // The other end is in `shared`, which we hold.
        match known.as_deref() {
            Ok(State::Up { account, local }) => Ok((account.clone(), *local)),
            Ok(State::Down(why)) => Err(why.clone()),
            Ok(State::Starting) | Err(_) => Err(pipe::ENDED.to_owned()),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        ask: Ask<'static>,
        limit: Duration,
    ) -> Result<T, WalletError> {
        let asked = async {
            self.up().await.map_err(WalletError::Unreachable)?;
            let (back, answer) = oneshot::channel();
            let question = Question { ask, limit, back };
            let sent = self.asks.send(question).await;
            sent.map_err(|_| WalletError::Unreachable(pipe::ENDED.to_owned()))?;
            // It may have been at work on it.
            answer
                .await
                .map_err(|_| WalletError::Unreachable(format!("the Spark helper {BROKE_OFF}")))
        };
        let answer = tokio::time::timeout(limit, asked).await;
        match answer.map_err(|_| WalletError::TimedOut(limit))?? {
            Answer::Ok(value) => wire::read(value),
            Answer::Error(fault) => Err(fault.into_error(limit)),
        }
    }

    /// Sats to spend, and sats that have come but are not claimed yet.
    async fn balance(&self) -> Result<(u64, u64), WalletError> {
        let balance: Balance = self.ask(Ask::Balance, self.timing.call).await?;
        let (available, incoming) = balance.sats()?;
        if self.shared.note_incoming(incoming, self.timing.stuck) {
            tracing::warn!(incoming, "sats have come to Spark and are not claimed");
            self.shared.again.notify_one();
        }
        Ok((available, incoming))
    }
}

/// Looks at the balance now and then, so that money that is not claimed is noticed with nobody asking.
async fn watch_balance(asker: Asker, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(asker.timing.balance_every) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            // An error is the light's affair: whoever asks for the health hears it.
            _ = asker.balance() => {}
        }
    }
}

impl Wallet for Spark {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn caps(&self) -> Caps {
        Caps {
            msat: false,
            max_memo_bytes: MAX_MEMO_BYTES,
            label_lookup: false,
            push: true,
            hold: false,
        }
    }

    fn health(&self) -> BoxFuture<'_, WalletHealth> {
        async {
            let limit = self.spec.timing.health;
            let health = match tokio::time::timeout(limit, self.ask_health()).await {
                Ok(health) => health,
                Err(_) => Err(WalletError::TimedOut(limit).to_string()),
            };
            health.unwrap_or_else(|detail| WalletHealth {
                backend: BACKEND.to_owned(),
                state: "down".to_owned(),
                health: HealthLevel::Down,
                detail,
                ..WalletHealth::default()
            })
        }
        .boxed()
    }

    fn create(&self, new: NewInvoice) -> BoxFuture<'_, Result<Issued, WalletError>> {
        self.make(new).boxed()
    }

    fn lookup(&self, issued: Issued) -> BoxFuture<'_, Result<PaymentStatus, WalletError>> {
        async move { self.look(&issued).await }.boxed()
    }

    fn find_by_label(&self, _label: String) -> BoxFuture<'_, Result<Option<Issued>, WalletError>> {
        async { Err(WalletError::Unsupported) }.boxed()
    }

    fn next_hint(&self) -> BoxFuture<'_, Option<PaymentHash>> {
        self.hinted().boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.end().boxed()
    }
}
