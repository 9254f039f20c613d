//! Going online, step by step; each step is an event, so that the screen shows what it waits for. The same checks, one by
//! one, make `vend doctor`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nostr::RelayUrl;
use tokio_util::sync::CancellationToken;

use super::context::{Connections, EngineContext, StartReport};
use super::copies;
use super::offers::{kinds, specials};
use crate::config::schema::PayMode;
use crate::config::{Settings, secret};
use crate::domain::event::EventKind;
use crate::domain::health::{Check, CheckKind, CheckStatus, HealthLevel, ShopState, WalletHealth};
use crate::domain::invoice::Network;
use crate::domain::size;
use crate::domain::text::clean;
use crate::inference::pool::Pool;
use crate::nostr::{Inlets, Reach, RelayEvent, Relays, RelaysConfig, Timing, outlets};
use crate::wallet::Wallet;
use crate::wallet::open::WalletOpenError;

/// How long the first relay may take.
const RELAY_TIME: Duration = Duration::from_secs(30);
/// What mends a wallet that can't hold payments.
pub const HOLD_FIX: &str = "vend config set payment.mode before";
/// Signs of the relays that are kept while the first one is waited for.
const EARLY: usize = 256;

/// Where things are, how the built-in model is paced, and how long relays are waited for.
#[derive(Clone, Debug)]
pub struct Place {
    /// The settings file.
    pub config: PathBuf,
    /// The data directory.
    pub data: PathBuf,
    /// Tokens per second of the built-in model, where it is slowed down to be watched.
    pub pace: Option<u32>,
    /// Waits and rates at the relays.
    pub timing: Timing,
}

/// Why the shop stays offline: the sentence with its fix.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(pub String);

/// A market that is open, with what its relays tell.
pub struct Opened {
    /// Relays and servers.
    pub connections: Connections,
    /// Signs that came while it opened.
    pub early: Vec<RelayEvent>,
    /// All else that came and will come.
    pub news: Inlets,
}

impl EngineContext {
    /// Tells one check.
    fn checked(
        &self,
        check: CheckKind,
        target: &str,
        status: CheckStatus,
        detail: &str,
        fix: &str,
    ) {
        self.emit(EventKind::Check {
            check: Check {
                check,
                target: target.to_owned(),
                status,
                detail: clean(detail, 300),
                fix: fix.to_owned(),
            },
        });
    }
}

/// Opens the wallet that the settings name.
///
/// # Errors
/// Where a secret can't be read or the wallet can't be used as set; the sentence says which setting.
pub fn open_wallet(settings: &Settings, place: &Place) -> Result<Arc<dyn Wallet>, WalletOpenError> {
    let folder = place.config.parent().map(PathBuf::from).unwrap_or_default();
    crate::wallet::open::open(
        &settings.wallet,
        |source| secret::resolve(source, &folder),
        &place.data,
    )
}

/// Opens the endpoints that the settings name.
///
/// # Errors
/// Where a secret can't be read or an address is none.
pub fn open_pool(settings: &Settings, place: &Place) -> Result<Arc<Pool>, NotReady> {
    let folder = place.config.parent().map(PathBuf::from).unwrap_or_default();
    let endpoints = crate::inference::open::open(
        &settings.endpoints.0,
        |source| secret::resolve(source, &folder),
        place.pace,
    )
    .map_err(NotReady)?;
    Ok(Arc::new(Pool::new(endpoints)))
}

/// Goes through every step, and looks at everything before it says no.
///
/// # Errors
/// Each step that must hold and does not, with its fix.
pub async fn open(shop: &Arc<EngineContext>, place: &Place) -> Result<Opened, NotReady> {
    let settings = shop.settings();
    shop.see(|seen| *seen = StartReport::default());
    let waits = Waits::new(shop);
    // With something else missing, no relay is waited for longer than it takes to know what each one says.
    let no = CancellationToken::new();
    let (wallet, pool, relays) = tokio::join!(
        waits.over("the wallet", or_no(&no, wallet(shop, &settings, place))),
        waits.over("the model", or_no(&no, endpoints(shop, &settings, place))),
        waits.over("a relay", relays(shop, &settings, place, &no)),
    );
    let why: Vec<String> = [
        wallet.as_ref().err(),
        pool.as_ref().err(),
        relays.as_ref().err(),
    ]
    .into_iter()
    .flatten()
    .map(|error| error.0.clone())
    .collect();
    match (wallet, pool, relays) {
        (Ok(()), Ok(pool), Ok((relays, early, news))) => {
            // Before anything that came already is taken.
            if let Err(why) = copies::ask(shop, place).await {
                relays.close().await;
                return Err(NotReady(why));
            }
            shop.see(|seen| *seen = StartReport::default());
            Ok(Opened {
                connections: Connections { relays, pool },
                early,
                news,
            })
        }
        (_, _, relays) => {
            if let Ok((relays, ..)) = relays {
                shop.see(|seen| seen.relays = relays.health());
                relays.close().await;
            }
            Err(NotReady(why.join("; ")))
        }
    }
}

/// Does `step`, and tells the others where it fails.
async fn or_no<T>(
    no: &CancellationToken,
    step: impl Future<Output = Result<T, NotReady>>,
) -> Result<T, NotReady> {
    let done = step.await;
    if done.is_err() {
        no.cancel();
    }
    done
}

/// What going online still waits for, as the screen says it.
struct Waits<'a> {
    shop: &'a Arc<EngineContext>,
    left: Mutex<Vec<&'static str>>,
}

impl<'a> Waits<'a> {
    fn new(shop: &'a Arc<EngineContext>) -> Self {
        let left = Mutex::new(vec!["the wallet", "the model", "a relay"]);
        let waits = Self { shop, left };
        waits.say(None);
        waits
    }

    async fn over<T>(&self, what: &'static str, step: impl Future<Output = T>) -> T {
        let done = step.await;
        self.say(Some(what));
        done
    }

    fn say(&self, over: Option<&'static str>) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|one| Some(*one) != over);
        let words = match left.as_slice() {
            [] => return,
            [one] => format!("waiting for {one}"),
            [first, last] => format!("waiting for {first} and {last}"),
            [first, rest @ .., last] => {
                format!("waiting for {first}, {} and {last}", rest.join(", "))
            }
        };
        self.shop.set_state(ShopState::Starting, &words);
    }
}

async fn wallet(
    shop: &Arc<EngineContext>,
    settings: &Settings,
    place: &Place,
) -> Result<(), NotReady> {
    let word = settings.wallet.backend.as_str();
    let fix = "vend doctor";
    if let Err(error) = shop.open_wallet_handle(settings, place) {
        let (words, fix) = (&error.words, &error.fix);
        shop.checked(CheckKind::Wallet, word, CheckStatus::Fail, words, fix);
        shop.wallet_failed(words).await;
        return Err(NotReady(error.words));
    }
    shop.wallets_changed();
    shop.wakers.invoices.notify_one();
    let health = shop.look_at_wallet().await;
    if health.health == HealthLevel::Down {
        shop.checked(
            CheckKind::Wallet,
            word,
            CheckStatus::Fail,
            &health.detail,
            fix,
        );
        return Err(NotReady(format!("wallet {word}: {}", health.detail)));
    }
    if let Some(why) = other_network(settings, &health) {
        let found = health.network.as_deref().unwrap_or_default();
        let fix = network_fix(found);
        shop.checked(CheckKind::Wallet, word, CheckStatus::Fail, &why, &fix);
        return Err(NotReady(format!("{why}: {fix}")));
    }
    if let Some(why) = shop
        .wallet()
        .and_then(|wallet| cant_hold(settings, &*wallet))
    {
        shop.checked(CheckKind::Wallet, word, CheckStatus::Fail, &why, HOLD_FIX);
        return Err(NotReady(why));
    }
    shop.checked(CheckKind::Wallet, word, CheckStatus::Ok, &health.detail, "");
    Ok(())
}

/// Why this wallet's money is not what the settings say; nothing where it does not say on which network it is.
#[must_use]
pub fn other_network(settings: &Settings, health: &WalletHealth) -> Option<String> {
    let asked = settings.wallet.network.as_str();
    let found = health.network.as_deref().filter(|found| *found != asked)?;
    let found = clean(found, 40);
    Some(format!(
        "the wallet is on {found}, and the settings say {asked}"
    ))
}

/// What mends a wallet on another network: the command, where it is a network that the settings know.
#[must_use]
pub fn network_fix(found: &str) -> String {
    match Network::parse(found) {
        Some(network) => format!("vend config set wallet.network {network}, or use another wallet"),
        None => "use a wallet on bitcoin, testnet, signet or regtest".to_owned(),
    }
}

/// Why these settings can't be sold under with this wallet: they ask it to hold payments, and it can't.
#[must_use]
pub fn cant_hold(settings: &Settings, wallet: &dyn Wallet) -> Option<String> {
    let asked = settings.payment.mode == PayMode::Hold;
    (asked && !wallet.caps().hold).then(|| {
        let backend = wallet.backend();
        format!(
            "this {backend} wallet can't hold payments: set payment.mode to before or credit, or use a wallet that can (lnd; docs/wallets.md lists them)"
        )
    })
}

async fn endpoints(
    shop: &Arc<EngineContext>,
    settings: &Settings,
    place: &Place,
) -> Result<Arc<Pool>, NotReady> {
    let pool = open_pool(settings, place)?;
    let mut seen = String::new();
    let mut fix = String::new();
    let model = &settings.text.model;
    for endpoint in pool.refresh().await {
        let status = match endpoint.health {
            HealthLevel::Ok => CheckStatus::Ok,
            HealthLevel::Warn | HealthLevel::Unknown => CheckStatus::Warn,
            HealthLevel::Down => CheckStatus::Fail,
        };
        let name = endpoint.name.to_string();
        shop.checked(CheckKind::Endpoint, &name, status, &endpoint.detail, "");
        if status == CheckStatus::Fail {
            seen = format!("{name}: {}", endpoint.detail);
        } else if fix.is_empty() {
            fix = pool.missing_fix(&name, model);
        }
        shop.see(|seen| seen.endpoints.push(endpoint.clone()));
        shop.emit(EventKind::Endpoint { endpoint });
    }
    if pool.has_model(model) {
        shop.checked(CheckKind::Model, model, CheckStatus::Ok, "ready", "");
        for special in specials(settings) {
            if !pool.has_model(&special.model) {
                let words = format!("no endpoint has it: the offer {} is not sold", special.name);
                let fix = format!("vend config set offer.{}.model", special.name);
                shop.checked(
                    CheckKind::Model,
                    &special.model,
                    CheckStatus::Warn,
                    &words,
                    &fix,
                );
            }
        }
        return Ok(pool);
    }
    let mut words = format!("no endpoint has the model {model}: {fix} or set text.model");
    if !seen.is_empty() {
        // A model can't be pulled into a server that does not answer.
        "start the model server, or run `vend doctor`".clone_into(&mut fix);
        words = seen;
    }
    shop.checked(CheckKind::Model, model, CheckStatus::Fail, &words, &fix);
    Err(NotReady(words))
}

async fn relays(
    shop: &Arc<EngineContext>,
    settings: &Settings,
    place: &Place,
    no: &CancellationToken,
) -> Result<(Relays, Vec<RelayEvent>, Inlets), NotReady> {
    let urls: Vec<RelayUrl> = settings
        .nostr
        .relays
        .iter()
        .filter_map(|url| RelayUrl::parse(url).ok())
        .collect();
    let cursors = shop
        .ledger
        .cursors()
        .await
        .map_err(|error| NotReady(error.to_string()))?;
    let (tell, mut news) = outlets();
    let relays = Relays::start(
        RelaysConfig {
            urls,
            keys: shop.keys.clone(),
            kinds: kinds(settings),
            since: cursors
                .into_iter()
                .filter_map(|(url, at)| Some((RelayUrl::parse(&url).ok()?, at)))
                .collect(),
            max_age: Duration::from_secs(settings.limits.max_request_age_secs),
            zaps: !settings.nostr.lightning_address.is_empty(),
            only_ours: false,
            longest_request: size::longest_request(settings.limits.prompt_bytes as usize),
            max_pow: settings.nostr.max_pow_bits,
            reach: Reach::public(settings.nostr.buyers_relays),
            timing: place.timing.clone(),
        },
        tell,
    );
    let mut early = Vec::new();
    let first = first(shop, &mut news, &mut early, relays.health().len(), no);
    let found = tokio::time::timeout(RELAY_TIME, first).await;
    if found == Ok(true) {
        return Ok((relays, early, news));
    }
    let words: Vec<String> = relays
        .health()
        .iter()
        .map(|relay| format!("{}: {}", relay.url, relay.detail))
        .collect();
    for relay in relays.health() {
        shop.checked(
            CheckKind::Relay,
            &relay.url,
            CheckStatus::Fail,
            &relay.detail,
            "vend config set nostr.relays",
        );
    }
    shop.see(|seen| seen.relays = relays.health());
    relays.close().await;
    Err(NotReady(format!("no relay answers. {}", words.join("; "))))
}

/// Waits for the first relay that listens for us; once `no` says that we can't go online, only until each of the `relays` has
/// said that it can't be reached.
async fn first(
    shop: &EngineContext,
    news: &mut Inlets,
    early: &mut Vec<RelayEvent>,
    relays: usize,
    no: &CancellationToken,
) -> bool {
    let mut down = HashSet::new();
    loop {
        let item = tokio::select! {
            item = news.signs.recv() => item,
            () = no.cancelled(), if down.len() >= relays => return false,
        };
        let Some(item) = item else { return false };
        let RelayEvent::Health(relay) = item else {
            if early.len() < EARLY {
                early.push(item);
            }
            continue;
        };
        // One that listens and has a word to say about it does, too.
        let listens = ["subscribed", "refusing"].contains(&relay.state.as_str());
        let ok = relay.health == HealthLevel::Ok || listens;
        if relay.health == HealthLevel::Down {
            down.insert(relay.url.clone());
        }
        if ok {
            let status = match relay.health {
                HealthLevel::Ok => CheckStatus::Ok,
                _ => CheckStatus::Warn,
            };
            shop.checked(CheckKind::Relay, &relay.url, status, &relay.detail, "");
        }
        shop.emit(EventKind::Relay { relay });
        if ok {
            return true;
        }
    }
}
