//! The wallets that are open: the one that the settings name, and old ones whose invoices may still bring money. An invoice
//! is looked at with the wallet that made it, and with no other: what another one does not know of says nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::context::EngineContext;
use super::preflight::{self, Place};
use crate::config::Settings;
use crate::config::schema;
use crate::config::wallet_archive::{self, ArchivedWallet};
use crate::domain::event::{EventKind, Level};
use crate::domain::health::{HealthLevel, WalletHealth};
use crate::domain::invoice::Network;
use crate::domain::job::MadeBy;
use crate::ledger::LedgerError;
use crate::wallet::open::WalletOpenError;
use crate::wallet::{Issued, PaymentStatus, Wallet, WalletError, open};

/// Between two questions to another wallet about the invoices of one that is gone.
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// Wallets of which it is remembered whether others know their invoices.
const MOVED_MAX: usize = 64;

/// Calls that began before a wallet was put aside have ended by then.
const CALLS_END: Duration = Duration::from_secs(120);

/// A wallet that is open.
#[derive(Debug)]
pub struct WalletHandle {
    /// The name under which its settings are kept; none where they could not be kept.
    pub key: Option<String>,
    /// The wallet.
    pub wallet: Arc<dyn Wallet>,
    network: schema::Network,
    identity: Mutex<Option<String>>,
    silent: AtomicBool,
    old_since: Mutex<Option<Instant>>,
}

impl WalletHandle {
    fn new(key: Option<String>, wallet: Arc<dyn Wallet>, network: schema::Network) -> Self {
        Self {
            key,
            wallet,
            network,
            identity: Mutex::default(),
            silent: AtomicBool::default(),
            old_since: Mutex::default(),
        }
    }

    /// Looks at the wallet, and learns its name for itself.
    pub async fn health(&self) -> WalletHealth {
        let health = self.wallet.health().await;
        if health.identity.is_some() {
            held(&self.identity).clone_from(&health.identity);
        }
        health
    }

    /// The wallet's own name for itself, as far as it says it; asked for until it is known.
    async fn identity(&self) -> Option<String> {
        let known = held(&self.identity).clone();
        match known {
            Some(identity) => Some(identity),
            None => self.health().await.identity,
        }
    }

    /// Who makes an invoice with it.
    pub async fn made_by(&self) -> MadeBy {
        MadeBy {
            backend: self.wallet.backend().to_owned(),
            key: self.key.clone(),
            identity: self.identity().await,
            network: Some(self.network.as_str().to_owned()),
        }
    }

    /// The network of its invoices.
    pub fn network(&self) -> Network {
        open::network(self.network)
    }

    /// Remembers whether it answered.
    pub fn heard<T>(&self, answer: &Result<T, WalletError>) {
        self.silent.store(answer.is_err(), Ordering::Relaxed);
    }

    fn has_backend(&self, made_by: &MadeBy) -> bool {
        self.wallet.backend() == made_by.backend
    }

    /// Is it another wallet, or another way of writing this one's settings, that may know this invoice all the same?
    fn may_know(&self, made_by: &MadeBy) -> bool {
        let network = Some(self.network.as_str());
        self.has_backend(made_by)
            && (made_by.network.is_none() || made_by.network.as_deref() == network)
    }

    /// Could it be the one, as far as is known? One that does not say who it is, is taken at its word.
    fn could_be(&self, made_by: &MadeBy) -> bool {
        let known = held(&self.identity);
        let names = known.as_ref().zip(made_by.identity.as_ref());
        self.has_backend(made_by) && names.is_none_or(|(is, was)| is == was)
    }

    /// Is it the very one, by the name that both give?
    fn must_be(&self, made_by: &MadeBy) -> bool {
        let known = held(&self.identity);
        self.has_backend(made_by) && made_by.identity.is_some() && *known == made_by.identity
    }
}

/// Why a wallet is not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotOpen {
    /// A sentence for the operator.
    pub words: String,
    /// The command that mends it.
    pub fix: String,
}

impl NotOpen {
    fn of(error: &WalletOpenError, place: &Place) -> Self {
        let folder = place.config.parent().unwrap_or(Path::new("."));
        Self {
            words: error.to_string(),
            fix: error.fix(folder),
        }
    }
}

/// A wallet whose settings are kept, but that can't be opened.
#[derive(Clone, Debug)]
struct Shut {
    key: String,
    why: String,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Wallets {
    data: PathBuf,
    now: Option<Arc<WalletHandle>>,
    old: Vec<Arc<WalletHandle>>,
    shut: Vec<Shut>,
    /// Which wallet knows the invoices of one that moved, or has another key by now: learned by asking.
    moved: Vec<(MadeBy, Arc<WalletHandle>)>,
    /// Who was asked last about the invoices of a wallet that is gone, and did not know them.
    strangers: Vec<(MadeBy, Option<String>, Instant)>,
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Every change is one assignment, so a holder that panicked left a whole value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wallets {
    /// The one that made an invoice, as far as is known of each.
    fn made(&self, made_by: &MadeBy) -> Result<Arc<WalletHandle>, String> {
        let open = || self.now.iter().chain(&self.old);
        let named = |handle: &&Arc<WalletHandle>| handle.key.is_some() && handle.key == made_by.key;
        let by_name = open().find(named).filter(|handle| handle.could_be(made_by));
        // Its settings may have been written in another way since, with a new key for instance: then the old ones may not
        // work any more.
        let works = |handle: &&Arc<WalletHandle>| !handle.silent.load(Ordering::Relaxed);
        let by_identity = || open().find(|handle| handle.must_be(made_by) && works(handle));
        // Of the time before settings were kept.
        let unnamed = || {
            let now = self.now.as_ref().filter(|_| made_by.key.is_none());
            now.filter(|handle| handle.could_be(made_by))
        };
        let found = by_name.filter(works).or_else(by_identity);
        let found = found.or_else(|| self.moved_to(made_by)).or(by_name);
        let found = found.or_else(unnamed);
        found.cloned().ok_or_else(|| {
            let mut shut = self.shut.iter();
            match shut.find(|shut| Some(&shut.key) == made_by.key.as_ref()) {
                Some(shut) => format!("its old wallet can't be opened: {}", shut.why),
                None => format!(
                    "its invoice was made by another wallet ({}) and can't be looked at with this one",
                    made_by.backend
                ),
            }
        })
    }

    /// The wallet that has shown that it knows invoices made by this one.
    fn moved_to(&self, made_by: &MadeBy) -> Option<&Arc<WalletHandle>> {
        let found = self.moved.iter().find(|(of, _)| of == made_by);
        let (_, handle) = found?;
        self.now
            .iter()
            .chain(&self.old)
            .find(|one| Arc::ptr_eq(one, handle))
    }

    /// Wallets that may be the one that is asked for under another address or with another key, and were not asked lately.
    fn perhaps(
        &mut self,
        made_by: &MadeBy,
        tried: Option<&Arc<WalletHandle>>,
    ) -> Vec<Arc<WalletHandle>> {
        self.strangers.retain(|(.., at)| at.elapsed() < ASK_AGAIN);
        let strangers = &self.strangers;
        let asked = |handle: &WalletHandle| {
            let mut all = strangers.iter();
            all.any(|(of, key, _)| of == made_by && *key == handle.key)
        };
        let tried = |handle: &Arc<WalletHandle>| tried.is_some_and(|one| Arc::ptr_eq(one, handle));
        let all = self.now.iter().chain(&self.old);
        all.filter(|handle| handle.may_know(made_by) && !asked(handle) && !tried(handle))
            .cloned()
            .collect()
    }
}

impl EngineContext {
    /// The wallet that the settings name, once opened.
    #[must_use]
    pub fn wallet(&self) -> Option<Arc<dyn Wallet>> {
        self.wallet_of().map(|handle| handle.wallet.clone())
    }

    /// The same, with what is known of it.
    #[must_use]
    pub fn wallet_of(&self) -> Option<Arc<WalletHandle>> {
        held(&self.wallets).now.clone()
    }

    /// Ends what runs beside the wallets; they are of no use afterwards.
    pub async fn close_wallets(&self) {
        let open: Vec<_> = {
            let wallets = held(&self.wallets);
            wallets.now.iter().chain(&wallets.old).cloned().collect()
        };
        futures::future::join_all(open.iter().map(|handle| handle.wallet.close())).await;
    }

    /// Is any wallet open?
    #[must_use]
    pub fn has_wallets(&self) -> bool {
        let wallets = held(&self.wallets);
        wallets.now.is_some() || !wallets.old.is_empty()
    }

    /// Opens the wallet of the settings in place of the one that is open, which stays as an old one. Its settings are kept
    /// first: an invoice must never be made with a wallet that nobody finds again.
    ///
    /// # Errors
    /// As [`preflight::open_wallet`]; and where the settings can't be kept. Nothing is changed then.
    pub fn open_wallet_handle(&self, settings: &Settings, place: &Place) -> Result<(), NotOpen> {
        let wallet =
            preflight::open_wallet(settings, place).map_err(|error| NotOpen::of(&error, place))?;
        let key = wallet_archive::keep(&place.data, &place.config, &settings.wallet).map_err(
            |error| {
                let folder = place.data.join(wallet_archive::FOLDER);
                NotOpen {
                    words: format!(
                        "the wallet's settings can't be kept in {}: {error}",
                        folder.display()
                    ),
                    fix: "vend doctor".to_owned(),
                }
            },
        )?;
        let handle = WalletHandle::new(Some(key), wallet, settings.wallet.network);
        let mut wallets = held(&self.wallets);
        wallets.data.clone_from(&place.data);
        wallets.old.retain(|old| old.key != handle.key);
        wallets
            .shut
            .retain(|shut| Some(&shut.key) != handle.key.as_ref());
        if let Some(before) = wallets.now.take().filter(|before| before.key != handle.key) {
            *held(&before.old_since) = Some(Instant::now());
            wallets.old.push(before);
        }
        wallets.now = Some(Arc::new(handle));
        Ok(())
    }

    /// Opens the old wallets whose invoices may still bring money, and forgets the settings of the others.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn open_archived_wallets(&self, place: &Place) -> Result<(), LedgerError> {
        held(&self.wallets).data.clone_from(&place.data);
        let used = self.ledger.wallets_in_use().await?;
        let (all, wrong) = match wallet_archive::all(&place.data) {
            Ok(found) => found,
            Err(error) => (Vec::new(), vec![error.to_string()]),
        };
        for why in wrong {
            self.notice(Level::Error, "wallet", &format!("kept settings: {why}"));
        }
        let now = self.wallet_of().and_then(|handle| handle.key.clone());
        for ArchivedWallet { key, wallet } in all {
            if Some(&key) == now.as_ref() {
                continue;
            }
            if !used.contains(&key) {
                self.forget(&key);
                continue;
            }
            let settings = Settings {
                wallet,
                ..Settings::default()
            };
            let opened = preflight::open_wallet(&settings, place);
            let mut wallets = held(&self.wallets);
            match opened {
                Ok(wallet) => {
                    let handle = WalletHandle::new(Some(key), wallet, settings.wallet.network);
                    *held(&handle.old_since) = Some(Instant::now());
                    wallets.old.push(Arc::new(handle));
                }
                Err(error) => wallets.shut.push(Shut {
                    key,
                    why: error.to_string(),
                }),
            }
        }
        Ok(())
    }

    fn forget(&self, key: &str) {
        let data = held(&self.wallets).data.clone();
        if let Err(error) = wallet_archive::forget(&data, key) {
            let words = format!("the settings of the old wallet {key} can't be removed: {error}");
            self.notice(Level::Warn, "wallet", &words);
        }
    }

    /// Closes old wallets that have no invoice left to watch.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    async fn close_old_purses(&self) -> Result<(), LedgerError> {
        let idle = |handle: &WalletHandle| {
            let since = *held(&handle.old_since);
            since.is_some_and(|since| since.elapsed() > CALLS_END)
        };
        if !held(&self.wallets).old.iter().any(|handle| idle(handle)) {
            return Ok(());
        }
        let used = self.ledger.wallets_in_use().await?;
        let unused = |handle: &Arc<WalletHandle>| {
            idle(handle) && !handle.key.as_ref().is_some_and(|key| used.contains(key))
        };
        let gone: Vec<_> = held(&self.wallets)
            .old
            .extract_if(.., |handle| unused(handle))
            .collect();
        for key in gone.iter().filter_map(|handle| handle.key.as_ref()) {
            self.forget(key);
        }
        Ok(())
    }

    /// The wallet that made an invoice; or why there is none to ask.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn wallet_handle_of(&self, made_by: &MadeBy) -> Result<Arc<WalletHandle>, String> {
        let open: Vec<_> = {
            let wallets = held(&self.wallets);
            wallets.now.iter().chain(&wallets.old).cloned().collect()
        };
        for handle in open.iter().filter(|handle| handle.has_backend(made_by)) {
            handle.identity().await;
        }
        held(&self.wallets).made(made_by)
    }

    /// Looks at an invoice with the wallet that made it. Where that one is gone, others of its backend are asked: an `LNbits`
    /// that moved, or whose key was renewed, still knows what it made. A wallet that does not know the invoice says nothing.
    ///
    /// # Errors
    /// A sentence for the operator: there is nobody to ask.
    pub async fn look(
        &self,
        made_by: &MadeBy,
        issued: &Issued,
    ) -> Result<Result<PaymentStatus, WalletError>, String> {
        let handle = self.wallet_handle_of(made_by).await;
        let seen = match &handle {
            Ok(handle) => {
                let seen = handle.wallet.lookup(issued.clone()).await;
                handle.heard(&seen);
                Ok(seen)
            }
            Err(words) => Err(words.clone()),
        };
        if matches!(seen, Ok(Ok(_))) {
            return seen;
        }
        let tried = handle.ok();
        let others = held(&self.wallets).perhaps(made_by, tried.as_ref());
        for other in others {
            let answer = other.wallet.lookup(issued.clone()).await;
            let knows = !matches!(
                answer,
                Err(_) | Ok(PaymentStatus::Unknown | PaymentStatus::Attention(_))
            );
            let mut wallets = held(&self.wallets);
            if knows {
                wallets.moved.retain(|(of, _)| of != made_by);
                if wallets.moved.len() < MOVED_MAX {
                    wallets.moved.push((made_by.clone(), other));
                }
                return Ok(answer);
            }
            if answer.is_ok() && wallets.strangers.len() < MOVED_MAX {
                let key = other.key.clone();
                wallets
                    .strangers
                    .push((made_by.clone(), key, Instant::now()));
            }
        }
        seen
    }

    /// Each wallet but the present one that has open invoices: how many, and its state in words.
    async fn old_wallets(&self) -> Result<Vec<(String, bool)>, LedgerError> {
        let open = self.ledger.open_by_wallet().await?;
        let wallets = held(&self.wallets);
        let Some(now) = &wallets.now else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for (made_by, count) in open {
            let (invoices, are) = match count {
                1 => ("invoice", "is"),
                _ => ("invoices", "are"),
            };
            let backend = made_by.told();
            let of_old = format!("{count} {invoices} of the old wallet {backend} {are}");
            match wallets.made(&made_by) {
                Ok(handle) if Arc::ptr_eq(now, &handle) => {}
                Ok(handle) if handle.silent.load(Ordering::Relaxed) => {
                    let words = format!("{of_old} still watched, but it does not answer");
                    found.push((words, false));
                }
                Ok(_) => found.push((format!("{of_old} still watched"), true)),
                Err(_) => {
                    let words = format!(
                        "{count} {invoices} of another wallet ({backend}) can't be looked at"
                    );
                    found.push((words, false));
                }
            }
        }
        Ok(found)
    }

    /// Looks at the wallet and remembers what was seen.
    pub async fn look_at_wallet(&self) -> WalletHealth {
        let health = match self.wallet_of() {
            Some(handle) => handle.health().await,
            None => WalletHealth {
                backend: self.settings().wallet.backend.as_str().to_owned(),
                state: "down".to_owned(),
                health: HealthLevel::Down,
                detail: "no wallet is open: see `vend doctor`".to_owned(),
                ..WalletHealth::default()
            },
        };
        *held(&self.bare_health) = health;
        if let Err(error) = self.close_old_purses().await {
            self.ledger_failed(&error);
        }
        self.emit_wallet().await
    }

    /// The wallet that the settings name can't be opened: that is what was seen of it.
    pub async fn wallet_failed(&self, words: &str) {
        *held(&self.bare_health) = WalletHealth {
            backend: self.settings().wallet.backend.as_str().to_owned(),
            state: "down".to_owned(),
            health: HealthLevel::Down,
            detail: words.to_owned(),
            ..WalletHealth::default()
        };
        self.emit_wallet().await;
    }

    /// Tells the wallet's health, with a word on old wallets whose invoices are still open, where it is another one.
    pub async fn emit_wallet(&self) -> WalletHealth {
        let old = match self.old_wallets().await {
            Ok(old) => old,
            Err(error) => {
                self.ledger_failed(&error);
                Vec::new()
            }
        };
        let mut health = held(&self.bare_health).clone();
        for (words, well) in old {
            if !well && health.health == HealthLevel::Ok {
                health.health = HealthLevel::Warn;
            }
            if !health.detail.is_empty() {
                health.detail += "; ";
            }
            health.detail += &words;
        }
        let changed = self.wallet_health.send_if_modified(|held| {
            let changed = *held != health;
            *held = health.clone();
            changed
        });
        if changed {
            self.emit(EventKind::Wallet {
                wallet: health.clone(),
            });
            self.wakers.health.notify_one();
        }
        health
    }
}
