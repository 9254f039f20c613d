//! The wallet's rows: is it there, is it the right one, can money come in, does it make an invoice and find it again. A row
//! that is not well names what mends it.

use std::path::Path;
use std::time::Duration;

use super::super::preflight::{self, Place, network_fix, open_wallet};
use super::{apart, check};
use crate::config::Settings;
use crate::config::schema::Backend;
use crate::domain::drift;
use crate::domain::health::{Check, CheckKind, CheckStatus, HealthLevel, WalletHealth};
use crate::domain::invoice::{self, Expected, InvoiceFault, Network};
use crate::domain::msat::Msat;
use crate::domain::time::Time;
use crate::wallet::spark::setup::Setup;
use crate::wallet::{Issued, NewInvoice, Wallet, WalletError};

/// What the trial's invoice asks for.
const AMOUNT: Msat = Msat::from_sats(1);
/// How long it can be paid.
const EXPIRY: Duration = Duration::from_secs(60);

/// Opens the wallet that the settings name, and tries it out.
pub async fn wallet(settings: &Settings, place: &Place) -> Vec<Check> {
    let mut checks = Vec::new();
    if settings.wallet.backend == Backend::Spark {
        let found = Setup::new(&place.data).look().await;
        let whole = found.iter().all(|one| one.ok);
        checks.extend(found.iter().map(|one| {
            let status = if one.ok {
                CheckStatus::Ok
            } else {
                CheckStatus::Fail
            };
            row(settings, status, &one.detail, one.fix)
        }));
        if !whole {
            return checks;
        }
    }
    match open_wallet(settings, place) {
        Ok(wallet) => {
            checks.extend(opened(settings, &*wallet).await);
            wallet.close().await;
        }
        Err(error) => {
            let words = error.to_string();
            let folder = place.config.parent().unwrap_or(Path::new("."));
            let fix = error.fix(folder);
            checks.push(row(settings, CheckStatus::Fail, &words, &fix));
        }
    }
    checks
}

/// Does a wallet answer, is it on the right network, can it receive, does it make an invoice and find it again?
pub async fn opened(settings: &Settings, wallet: &dyn Wallet) -> Vec<Check> {
    let health = wallet.health().await;
    if health.health == HealthLevel::Down {
        // Its health has words only; the same question as a sale's has the error.
        let fix = match wallet.create(trial()).await {
            Err(error) => mend(settings, &error),
            Ok(_) => "vend doctor".to_owned(),
        };
        return vec![row(settings, CheckStatus::Fail, &health.detail, &fix)];
    }
    let status = match health.health {
        HealthLevel::Ok => CheckStatus::Ok,
        HealthLevel::Warn | HealthLevel::Unknown | HealthLevel::Down => CheckStatus::Warn,
    };
    let fix = match settings.wallet.backend {
        backend if health.can_receive_msat == Some(Msat::ZERO) => backend.declared().room,
        // What a connection may do too much, a new one mends.
        Backend::Nwc if status != CheckStatus::Ok => Backend::Nwc.declared().renew,
        _ => "",
    };
    let mut checks = vec![row(settings, status, &health.detail, fix)];
    if let Some(why) = preflight::cant_hold(settings, wallet) {
        checks.push(row(settings, CheckStatus::Fail, &why, preflight::HOLD_FIX));
    }
    checks.extend(small_room(settings, &health));
    if let Some(other) = other_network(settings, &health) {
        checks.push(other);
        return checks;
    }
    checks.extend(tried(settings, wallet).await);
    checks
}

fn row(settings: &Settings, status: CheckStatus, detail: &str, fix: &str) -> Check {
    let word = settings.wallet.backend.as_str();
    check(CheckKind::Wallet, word, status, detail, fix)
}

/// What mends a wallet that answers with this error.
fn mend(settings: &Settings, error: &WalletError) -> String {
    let wallet = &settings.wallet;
    if wallet.backend == Backend::Nwc {
        // Its silence has many causes, a connection that was removed among them.
        return wallet.backend.declared().renew.to_owned();
    }
    let fix = match error {
        WalletError::Unauthorized(_) => wallet.backend.declared().renew,
        WalletError::Certificate(_) => {
            return match &wallet.certificate {
                Some(file) => format!(
                    "if you renewed the certificate, copy the server's own anew to {file}; if not, do not go on: somebody stands in between"
                ),
                None => {
                    "vend config set wallet.certificate tls.cert (the server's own file)".to_owned()
                }
            };
        }
        WalletError::Unreachable(_) | WalletError::Protocol(_) => {
            return match &wallet.url {
                Some(url) => format!(
                    "start the wallet's server at {url}, or vend config set wallet.url with where it is"
                ),
                None => "is this machine on the net? Try again".to_owned(),
            };
        }
        WalletError::TimedOut(_) => "look at the wallet's server: it is there and does not answer",
        WalletError::RateLimited(_) => "wait a minute, then vend doctor",
        WalletError::Failed(_) => "look at the log of the wallet's server",
        WalletError::Rejected(_) | WalletError::Unsupported => "vend config check",
    };
    fix.to_owned()
}

/// A wallet that has less room than the cheapest job costs.
fn small_room(settings: &Settings, health: &WalletHealth) -> Option<Check> {
    let room_left = health.can_receive_msat.filter(|room| !room.is_zero())?;
    let least = Msat::from_sats(settings.price.min_price_sats);
    (room_left < least).then(|| {
        let detail = format!(
            "it can receive {}, and a job costs at least {}",
            room_left.display(),
            least.display()
        );
        row(
            settings,
            CheckStatus::Warn,
            &detail,
            settings.wallet.backend.declared().room,
        )
    })
}

fn other_network(settings: &Settings, health: &WalletHealth) -> Option<Check> {
    let detail = preflight::other_network(settings, health)?;
    let fix = network_fix(health.network.as_deref().unwrap_or_default());
    Some(row(settings, CheckStatus::Fail, &detail, &fix))
}

fn trial() -> NewInvoice {
    NewInvoice {
        amount: AMOUNT,
        memo: "vend doctor".to_owned(),
        expiry: EXPIRY,
        label: format!("vend:doctor:{}", Time::now().0),
        hold_hash: None,
    }
}

/// Makes an invoice that nobody sees, checks it, and looks it up: what every sale needs.
async fn tried(settings: &Settings, wallet: &dyn Wallet) -> Vec<Check> {
    let failed = |error: &WalletError| {
        let fix = mend(settings, error);
        row(settings, CheckStatus::Fail, &error.to_string(), &fix)
    };
    let issued = match wallet.create(trial()).await {
        Ok(issued) => issued,
        Err(error) => return vec![failed(&error)],
    };
    let network = settings.wallet.network.as_str();
    let expected = Expected {
        amount: AMOUNT,
        network: Network::parse(network).unwrap_or(Network::Bitcoin),
        payment_hash: issued.payment_hash,
        longest_expiry: EXPIRY,
    };
    let now = Time::now();
    let checked = match invoice::check(&issued.bolt11, &expected, now) {
        Ok(checked) => checked,
        Err(fault) => return vec![faulty(settings, &issued, &fault, now)],
    };
    let mut checks = Vec::new();
    if let Some(secs) = checked.clock_off_secs {
        checks.push(clock(CheckStatus::Warn, secs));
    }
    let looked = wallet.lookup(issued).await;
    if checks.is_empty() {
        // The invoice may have been stamped by another machine than the one that answers.
        let off = wallet.clock_off_secs().and_then(drift::noted);
        checks.extend(off.map(|secs| clock(CheckStatus::Warn, secs)));
    }
    checks.push(match looked {
        Ok(_) => row(
            settings,
            CheckStatus::Ok,
            "makes invoices and finds them again",
            "",
        ),
        Err(error) => failed(&error),
    });
    checks
}

/// The row of an invoice that no buyer may be shown.
fn faulty(settings: &Settings, issued: &Issued, fault: &InvoiceFault, now: Time) -> Check {
    let fix = match fault {
        InvoiceFault::Expired => {
            let made = invoice::read(&issued.bolt11)
                .ok()
                .map(|one| invoice::times(&one).0);
            if let Some(made) = made {
                return clock(CheckStatus::Fail, made.0.saturating_sub(now.0) / 1_000);
            }
            "compare the clocks of this machine and the wallet".to_owned()
        }
        InvoiceFault::OtherNetwork { found, .. } => network_fix(found),
        _ => "update the wallet's server, or use another wallet: vend config set wallet.backend"
            .to_owned(),
    };
    row(settings, CheckStatus::Fail, &fault.to_string(), &fix)
}

/// The wallet's clock is `secs` seconds ahead of ours; below zero: behind.
fn clock(status: CheckStatus, secs: i64) -> Check {
    let detail = format!(
        "the wallet's clock is {}: invoices expire too early or too late",
        apart(secs)
    );
    let fix = "timedatectl set-ntp true, here and on the wallet's machine";
    check(CheckKind::Clock, "wallet", status, &detail, fix)
}
