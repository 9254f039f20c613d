//! Looks at one thing that the shop needs, for `vend doctor` and for the tests that a screen asks for.

use std::time::Duration;

use nostr::{Keys, RelayUrl};

use super::preflight::{self, Place, open_pool, open_wallet};
use crate::config::Settings;
use crate::config::schema::Backend;
use crate::domain::health::{Check, CheckKind, CheckStatus, Light};
use crate::domain::invoice::{self, Expected, Network};
use crate::domain::msat::Msat;
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::nostr::AuthSeen;
use crate::wallet::open::NEW_CONNECTION;
use crate::wallet::spark::setup::Setup;
use crate::wallet::{NewInvoice, Wallet};

/// How long one relay may take.
const RELAY_TIME: Duration = Duration::from_secs(15);

/// One row of what was seen; strangers' text in `detail` is cleaned here.
#[must_use]
pub fn check(
    check: CheckKind,
    target: &str,
    status: CheckStatus,
    detail: &str,
    fix: &str,
) -> Check {
    Check {
        check,
        target: target.to_owned(),
        status,
        detail: clean(detail, 300),
        fix: fix.to_owned(),
    }
}

/// Does a relay listen for us? Takes at most about fifteen seconds.
pub async fn relay(url: &str, keys: &Keys) -> Check {
    let fix = "vend config set nostr.relays";
    let row = |status, detail: &str| {
        let fix = if status == CheckStatus::Ok { "" } else { fix };
        check(CheckKind::Relay, url, status, detail, fix)
    };
    let Ok(parsed) = RelayUrl::parse(url) else {
        return row(CheckStatus::Fail, "not a relay's address");
    };
    let seen = crate::nostr::probe(&parsed, keys, RELAY_TIME).await;
    if let Err(why) = seen.connected {
        return row(CheckStatus::Fail, &why);
    }
    let auth = match seen.auth {
        AuthSeen::NotAsked => String::new(),
        other => format!(", AUTH {other:?}"),
    };
    let pow = seen
        .info
        .as_ref()
        .map(|info| info.min_pow)
        .filter(|bits| *bits > 0)
        .map_or_else(String::new, |bits| format!(", wants {bits} bits of work"));
    match seen.subscribed {
        Ok(ms) => row(
            CheckStatus::Ok,
            &format!("listens for our kinds in {ms} ms{auth}{pow}"),
        ),
        Err(why) => row(CheckStatus::Fail, &format!("{why}{auth}{pow}")),
    }
}

/// Does each inference server answer, and does one of them give a first token of the model?
pub async fn endpoints(settings: &Settings, place: &Place) -> Vec<Check> {
    let pool = match open_pool(settings, place) {
        Ok(pool) => pool,
        Err(error) => {
            let fix = "vend config check";
            return vec![check(
                CheckKind::Endpoint,
                "",
                CheckStatus::Fail,
                &error.0,
                fix,
            )];
        }
    };
    let mut checks = Vec::new();
    for endpoint in pool.refresh_all().await {
        let name = endpoint.name.to_string();
        let (status, fix) = match endpoint.light {
            Light::Ok => (CheckStatus::Ok, ""),
            Light::Warn | Light::Unknown => (CheckStatus::Warn, ""),
            Light::Down => (
                CheckStatus::Fail,
                "start the server, or correct endpoint.url",
            ),
        };
        checks.push(check(
            CheckKind::Endpoint,
            &name,
            status,
            &endpoint.detail,
            fix,
        ));
    }
    checks.push(model(settings, &pool).await);
    checks
}

/// One token from the model: the only proof that it can be sold.
async fn model(settings: &Settings, pool: &crate::inference::Pool) -> Check {
    let model = &settings.text.model;
    let fix = format!("ollama pull {model}");
    let Some(slot) = pool.reserve(model) else {
        let detail = "no endpoint has it";
        return check(CheckKind::Model, model, CheckStatus::Fail, detail, &fix);
    };
    let ask = crate::inference::Ask {
        model: model.clone(),
        prompt: "Hello.".to_owned(),
        params: crate::domain::job::TextParams {
            max_tokens: 8,
            temperature: 0.0,
            top_k: 1,
            top_p: 1.0,
            frequency_penalty: 0.0,
            seed: None,
        },
        deadline: Duration::from_secs(300),
    };
    let (progress, _seen) = tokio::sync::watch::channel(crate::inference::Progress::default());
    let began = std::time::Instant::now();
    match pool.answer(slot, ask, progress).await {
        Ok(answer) => {
            let detail = format!(
                "answered {} tokens in {} ms",
                answer.completion_tokens,
                began.elapsed().as_millis()
            );
            check(CheckKind::Model, model, CheckStatus::Ok, &detail, "")
        }
        Err(error) => check(
            CheckKind::Model,
            model,
            CheckStatus::Fail,
            &error.to_string(),
            &fix,
        ),
    }
}

/// Opens the wallet that the settings name, and tries it out.
pub async fn wallet(settings: &Settings, place: &Place) -> Vec<Check> {
    let word = settings.wallet.backend.word();
    let row = |status, detail: &str, fix: &str| check(CheckKind::Wallet, word, status, detail, fix);
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
            row(status, &one.detail, one.fix)
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
        Err(error) => checks.push(row(CheckStatus::Fail, &error.to_string(), error.fix())),
    }
    checks
}

/// Does a wallet answer, make an invoice and find it again?
pub async fn opened(settings: &Settings, wallet: &dyn Wallet) -> Vec<Check> {
    let word = settings.wallet.backend.word();
    let row = |status, detail: &str, fix: &str| check(CheckKind::Wallet, word, status, detail, fix);
    let health = wallet.health().await;
    let status = match health.light {
        Light::Ok => CheckStatus::Ok,
        Light::Warn | Light::Unknown => CheckStatus::Warn,
        Light::Down => CheckStatus::Fail,
    };
    let fix = match (status, settings.wallet.backend) {
        (CheckStatus::Ok, _) => "",
        // What may be wrong with a connection, and what it may do too much, a new one mends.
        (_, Backend::Nwc) => NEW_CONNECTION,
        // Spark has neither an address nor a key to set.
        (CheckStatus::Fail, Backend::Spark) => "look at this machine's way to the internet",
        (CheckStatus::Fail, _) => "vend config check",
        _ => "",
    };
    let mut checks = vec![row(status, &health.detail, fix)];
    if let Some(why) = preflight::cant_hold(settings, wallet) {
        checks.push(row(CheckStatus::Fail, &why, preflight::HOLD_FIX));
    }
    if status != CheckStatus::Fail {
        checks.extend(trial(settings, wallet).await);
    }
    checks
}

/// Makes an invoice that nobody sees, checks it, and looks it up: what every sale needs.
async fn trial(settings: &Settings, wallet: &dyn Wallet) -> Vec<Check> {
    let word = settings.wallet.backend.word();
    let row = |status, detail: &str, fix: &str| check(CheckKind::Wallet, word, status, detail, fix);
    let amount = Msat::from_sats(1);
    let expiry = Duration::from_secs(60);
    let new = NewInvoice {
        amount,
        memo: "vend doctor".to_owned(),
        expiry,
        label: format!("vend:doctor:{}", Time::now().0),
        hold_hash: None,
    };
    let issued = match wallet.create(new).await {
        Ok(issued) => issued,
        Err(error) => return vec![row(CheckStatus::Fail, &error.to_string(), "")],
    };
    let network = settings.wallet.network.word();
    let expected = Expected {
        amount,
        network: Network::from_word(network).unwrap_or(Network::Bitcoin),
        payment_hash: issued.payment_hash,
        longest_expiry: expiry,
    };
    let checked = match invoice::check(&issued.bolt11, &expected, Time::now()) {
        Ok(checked) => checked,
        Err(fault) => {
            let fix = "set wallet.network to the wallet's own, or mend the wallet";
            return vec![row(CheckStatus::Fail, &fault.to_string(), fix)];
        }
    };
    let mut checks = Vec::new();
    if let Some(secs) = checked.clock_off_secs {
        let detail = format!("this machine and the wallet differ by {secs} s");
        let fix = "timedatectl set-ntp true";
        checks.push(check(CheckKind::Clock, "", CheckStatus::Warn, &detail, fix));
    }
    checks.push(match wallet.lookup(issued).await {
        Ok(_) => row(CheckStatus::Ok, "makes invoices and finds them again", ""),
        Err(error) => row(CheckStatus::Fail, &error.to_string(), ""),
    });
    checks
}
