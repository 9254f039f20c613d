//! Looks at one thing that the shop needs, for `vend doctor` and for the tests that a screen asks for.

mod wallet;

use std::time::Duration;

use nostr::{Keys, RelayUrl};

use super::preflight::{Place, open_pool};
use crate::config::Settings;
use crate::domain::health::{Check, CheckKind, CheckStatus, Light};
use crate::domain::text::clean;
use crate::domain::{clock, drift};
use crate::nostr::AuthSeen;

pub use wallet::{opened, wallet};

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

/// Does a relay listen for us, and take our events with at most so many bits of proof of work? Takes at most about fifteen
/// seconds.
pub async fn relay(url: &str, keys: &Keys, most_pow: u8) -> Check {
    let fix = "is the network up? else name other relays: vend config set nostr.relays \"wss://…, wss://…\"";
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
    let bits = seen.info.as_ref().map_or(0, |info| info.min_pow);
    let pow = match bits {
        0 => String::new(),
        bits => format!(", wants {bits} bits of proof of work"),
    };
    let off = seen.clock_off_secs.and_then(drift::noted);
    match seen.subscribed {
        Ok(_) if bits > most_pow => {
            let detail = format!(
                "listens for our kinds{auth}{pow}, more than nostr.max_pow_bits ({most_pow}): it gets no events of ours"
            );
            let fix =
                format!("vend config set nostr.max_pow_bits {bits}, or take it off nostr.relays");
            check(CheckKind::Relay, url, CheckStatus::Warn, &detail, &fix)
        }
        Ok(ms) if off.is_some() => {
            let apart = clock::apart(off.unwrap_or_default());
            let detail = format!(
                "listens for our kinds in {ms} ms{auth}{pow}, but its clock is {apart} of this machine's, and it may refuse our events"
            );
            check(
                CheckKind::Relay,
                url,
                CheckStatus::Warn,
                &detail,
                clock::FIX,
            )
        }
        Ok(ms) => row(
            CheckStatus::Ok,
            &format!("listens for our kinds in {ms} ms{auth}{pow}"),
        ),
        Err(why) if seen.unsure => row(CheckStatus::Warn, &format!("{why}{auth}{pow}")),
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
    let off = |(name, secs)| Some((name, drift::noted(secs)?));
    let clocks = pool.clocks().into_iter().filter_map(off);
    checks.extend(clocks.map(|(name, secs)| {
        let what = format!("the clock of {name} is {}", apart(secs));
        let fix = "timedatectl set-ntp true, here and on the server's machine";
        check(CheckKind::Clock, &name, CheckStatus::Warn, &what, fix)
    }));
    checks
}

/// How far a clock is from ours, in words.
fn apart(secs: i64) -> String {
    let way = if secs > 0 { "ahead of" } else { "behind" };
    format!("{} s {way} this machine's", secs.unsigned_abs())
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
