//! `vend doctor`: looks at everything the shop needs, and names the command that mends what is wrong.

use std::time::Duration;

use nostr::{Keys, RelayUrl};
use serde::Serialize;

use super::Global;
use super::ask::Json;
use super::exit::{Exit, Outcome, json, runtime, say};
use super::prompt;
use crate::config::place::{Places, read_lock};
use crate::config::{Settings, load, secret};
use crate::domain::health::{Check, CheckKind, CheckStatus, Light};
use crate::domain::invoice::{self, Expected, Network};
use crate::domain::msat::Msat;
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::engine::Place;
use crate::engine::preflight::{open_pool, open_wallet};
use crate::identity;
use crate::ledger::Ledger;
use crate::nostr::{AuthSeen, probe};
use crate::wallet::{NewInvoice, Wallet};

/// How long one relay may take.
const RELAY_TIME: Duration = Duration::from_secs(15);

#[derive(Serialize)]
struct Sheet {
    ok: bool,
    checks: Vec<Check>,
}

fn check(check: CheckKind, target: &str, status: CheckStatus, detail: &str, fix: &str) -> Check {
    Check {
        check,
        target: target.to_owned(),
        status,
        detail: clean(detail, 300),
        fix: fix.to_owned(),
    }
}

/// Looks, prints, and fails where something failed.
pub fn main(global: &Global, as_json: Json) -> Outcome {
    let places = global.places()?;
    let settings = load(&places.config).map_err(|error| Exit::settings(&error))?;
    let checks = runtime()?.block_on(look(&places, &settings));
    let ok = checks.iter().all(|check| check.status != CheckStatus::Fail);
    if as_json.json {
        json(&Sheet { ok, checks })?;
    } else {
        for check in &checks {
            print(check)?;
        }
    }
    if ok { Ok(()) } else { Err(Exit::silent()) }
}

fn print(check: &Check) -> Outcome {
    let kind = serde_json::to_value(check.check)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default();
    say(&format!(
        "{:<4}  {kind:<8} {}  {}",
        check.status.word(),
        check.target,
        check.detail
    ))?;
    if !check.fix.is_empty() {
        say(&format!("                fix: {}", check.fix))?;
    }
    Ok(())
}

async fn look(places: &Places, settings: &Settings) -> Vec<Check> {
    let mut checks = vec![data(places)];
    if checks[0].status == CheckStatus::Fail {
        return checks;
    }
    let (row, keys) = who(places);
    checks.push(row);
    for warning in secret::warnings(settings, &places.config) {
        let path = places.config.display().to_string();
        let fix = format!("chmod 600 {path}");
        checks.push(check(
            CheckKind::Data,
            &path,
            CheckStatus::Warn,
            &warning,
            &fix,
        ));
    }
    // A doctor without a key still looks at relays; whoever needs AUTH is told so.
    let keys = keys.unwrap_or_else(Keys::generate);
    let relays = settings.nostr.relays.iter().map(|url| relay(url, &keys));
    checks.extend(futures::future::join_all(relays).await);
    let place = Place {
        config: places.config.clone(),
        data: places.data.clone(),
        pace: None,
    };
    checks.extend(endpoints(settings, &place).await);
    checks.extend(wallet(settings, &place).await);
    checks
}

fn data(places: &Places) -> Check {
    let path = places.data.display().to_string();
    let fail =
        |detail: &str, fix: &str| check(CheckKind::Data, &path, CheckStatus::Fail, detail, fix);
    if let Err(error) = places.prepare() {
        return fail(&error.to_string(), "vend --data-dir DIR");
    }
    if let Some(holder) = read_lock(places) {
        let detail = format!("a vend is running on it (process {})", holder.pid);
        return check(CheckKind::Data, &path, CheckStatus::Ok, &detail, "");
    }
    let file = places.database();
    if !file.exists() {
        return check(
            CheckKind::Data,
            &path,
            CheckStatus::Ok,
            "private; no ledger yet",
            "",
        );
    }
    match Ledger::look(&file) {
        Ok(_) => check(
            CheckKind::Data,
            &path,
            CheckStatus::Ok,
            "private; the ledger opens",
            "",
        ),
        Err(error) => fail(&error.to_string(), "put back a copy made by `vend backup`"),
    }
}

fn who(places: &Places) -> (Check, Option<Keys>) {
    let path = places.identity();
    let target = path.display().to_string();
    let kind = CheckKind::Identity;
    if !path.exists() {
        let detail = "none yet; one is made at the first start";
        return (
            check(
                kind,
                &target,
                CheckStatus::Warn,
                detail,
                "vend keys generate",
            ),
            None,
        );
    }
    let ask: identity::AskPassphrase<'_> = &mut prompt::passphrase;
    match identity::load(&path, Some(ask)) {
        Ok(identity) => (
            check(kind, &target, CheckStatus::Ok, &identity.npub(), ""),
            Some(identity.keys().clone()),
        ),
        Err(error) => (
            check(
                kind,
                &target,
                CheckStatus::Fail,
                &error.to_string(),
                "vend keys import",
            ),
            None,
        ),
    }
}

async fn relay(url: &str, keys: &Keys) -> Check {
    let fix = "vend config set nostr.relays";
    let row = |status, detail: &str| {
        let fix = if status == CheckStatus::Ok { "" } else { fix };
        check(CheckKind::Relay, url, status, detail, fix)
    };
    let Ok(parsed) = RelayUrl::parse(url) else {
        return row(CheckStatus::Fail, "not a relay's address");
    };
    let seen = probe(&parsed, keys, RELAY_TIME).await;
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

async fn endpoints(settings: &Settings, place: &Place) -> Vec<Check> {
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

async fn wallet(settings: &Settings, place: &Place) -> Vec<Check> {
    let word = settings.wallet.backend.word();
    let row = |status, detail: &str, fix: &str| check(CheckKind::Wallet, word, status, detail, fix);
    let fix = "vend config set wallet.backend lnbits";
    let wallet = match open_wallet(settings, place) {
        Ok(wallet) => wallet,
        Err(error) => return vec![row(CheckStatus::Fail, &error.0, fix)],
    };
    let health = wallet.health().await;
    let status = match health.light {
        Light::Ok => CheckStatus::Ok,
        Light::Warn | Light::Unknown => CheckStatus::Warn,
        Light::Down => CheckStatus::Fail,
    };
    let fix = if status == CheckStatus::Fail {
        "vend config check"
    } else {
        ""
    };
    let mut checks = vec![row(status, &health.detail, fix)];
    if status != CheckStatus::Fail {
        checks.extend(trial(settings, &*wallet).await);
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
