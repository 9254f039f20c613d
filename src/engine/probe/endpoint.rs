//! Each inference server asked for what a sale asks, in the same words: the settings' own parameters, streamed. Only that
//! proves that its answers can be sold.

use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::watch;

use super::{apart, check};
use crate::config::Settings;
use crate::config::schema::{Endpoint, EndpointKind};
use crate::domain::drift;
use crate::domain::health::{Check, CheckKind, CheckStatus, EndpointHealth, HealthLevel};
use crate::domain::job::{Answer, TextParams};
use crate::domain::message::{self, Message};
use crate::domain::model_name::same_model;
use crate::engine::offers::specials;
use crate::engine::preflight::{Place, open_pool};
use crate::inference::{Ask, InferenceError, Pool, Progress};

/// A question that every model answers shortly.
const QUESTION: &str = "What is the capital of France?";
/// The longest wait for its answer; a job's own time may be shorter.
const LONGEST: Duration = Duration::from_mins(5);

/// What was found of one server.
struct Found {
    rows: Vec<Check>,
    has_model: bool,
    models: Vec<String>,
    missing_fix: String,
}

/// Does each server answer, and does each that has the model sell?
pub async fn endpoints(settings: &Settings, place: &Place) -> Vec<Check> {
    let all = settings.endpoints.0.iter();
    let found = join_all(all.map(|one| endpoint(settings, one, place))).await;
    let nobody_has_it = found.iter().all(|one| !one.has_model);
    let missing = nobody_has_it.then(|| missing(settings, &found));
    let others = unsold(settings, &found);
    let rows = found.into_iter().flat_map(|one| one.rows);
    rows.chain(missing).chain(others).collect()
}

/// Offers whose own model no server has. Plain text is sold all the same.
fn unsold(settings: &Settings, found: &[Found]) -> Vec<Check> {
    let names = found.iter().flat_map(|one| &one.models);
    let nobody_answers = names.clone().next().is_none();
    let mut rows = Vec::new();
    for special in specials(settings) {
        let plain = same_model(&special.model, &settings.text.model);
        if plain || names.clone().any(|name| same_model(name, &special.model)) {
            continue;
        }
        let detail = format!("no endpoint has it: the offer {} is not sold", special.name);
        let fix = if nobody_answers {
            "vend doctor, when a server answers".to_owned()
        } else {
            format!("vend config set offer.{}.model", special.name)
        };
        rows.push(check(
            CheckKind::Model,
            &special.model,
            CheckStatus::Warn,
            &detail,
            &fix,
        ));
    }
    rows
}

async fn endpoint(settings: &Settings, one: &Endpoint, place: &Place) -> Found {
    let mut alone = settings.clone();
    alone.endpoints.0 = vec![one.clone()];
    let pool = match open_pool(&alone, place) {
        Ok(pool) => pool,
        Err(error) => {
            let fix = "vend config check";
            let row = check(
                CheckKind::Endpoint,
                &one.name,
                CheckStatus::Fail,
                &error.0,
                fix,
            );
            return Found {
                rows: vec![row],
                has_model: false,
                models: Vec::new(),
                missing_fix: String::new(),
            };
        }
    };
    let health = pool.refresh_all().await;
    let model = &settings.text.model;
    let missing_fix = pool.missing_fix(&one.name, model);
    let rows = health
        .iter()
        .map(|health| reached(one, health, &missing_fix));
    let mut rows: Vec<Check> = rows.collect();
    let has_model = pool.has_model(model);
    if has_model {
        rows.push(sale(settings, one, &pool).await);
    }
    for (name, secs) in pool.clocks() {
        let Some(secs) = drift::noted(secs) else {
            continue;
        };
        let what = format!("the clock of {name} is {}", apart(secs));
        let fix = "timedatectl set-ntp true, here and on the server's machine";
        rows.push(check(
            CheckKind::Clock,
            &name,
            CheckStatus::Warn,
            &what,
            fix,
        ));
    }
    Found {
        rows,
        has_model,
        models: pool.models(),
        missing_fix,
    }
}

fn reached(one: &Endpoint, health: &EndpointHealth, missing_fix: &str) -> Check {
    let name = &one.name;
    let (status, fix) = match (health.health, health.state.as_str(), one.kind) {
        (HealthLevel::Ok, ..) => (CheckStatus::Ok, String::new()),
        (HealthLevel::Warn, ..) if health.models.is_empty() => {
            (CheckStatus::Warn, missing_fix.to_owned())
        }
        // What is to be done stands in the words of a warning.
        (HealthLevel::Warn | HealthLevel::Unknown, ..) => (CheckStatus::Warn, String::new()),
        (HealthLevel::Down, "needs_attention", _) => (
            CheckStatus::Fail,
            format!("vend config set endpoint.{name}.api_key"),
        ),
        (HealthLevel::Down, _, EndpointKind::Ollama) => (
            CheckStatus::Fail,
            format!(
                "ollama serve on its machine, or vend config set endpoint.{name}.url with where it is"
            ),
        ),
        (HealthLevel::Down, ..) => (
            CheckStatus::Fail,
            format!("start that server, or vend config set endpoint.{name}.url with where it is"),
        ),
    };
    check(CheckKind::Endpoint, name, status, &health.detail, &fix)
}

/// No server has the model.
fn missing(settings: &Settings, found: &[Found]) -> Check {
    let model = &settings.text.model;
    let mut has: Vec<&str> = found
        .iter()
        .flat_map(|one| one.models.iter().map(String::as_str))
        .collect();
    has.dedup();
    let fix = found
        .iter()
        .map(|one| one.missing_fix.as_str())
        .find(|fix| !fix.is_empty())
        .unwrap_or("vend config check");
    let (detail, fix) = match has.first() {
        None => ("no endpoint has it".to_owned(), fix.to_owned()),
        Some(first) => (
            format!("no endpoint has it; there is {}", has.join(", ")),
            format!("{fix}; or vend config set text.model \"{first}\""),
        ),
    };
    check(CheckKind::Model, model, CheckStatus::Fail, &detail, &fix)
}

/// The question as a buyer's job asks it.
fn ask(settings: &Settings) -> Ask {
    let text = &settings.text;
    Ask {
        model: text.model.clone(),
        messages: message::under(&text.system, vec![Message::user(QUESTION)]),
        params: TextParams {
            max_tokens: text.max_tokens,
            temperature: text.temperature,
            top_k: text.top_k,
            top_p: text.top_p,
            frequency_penalty: text.frequency_penalty,
            seed: None,
        },
        deadline: Duration::from_secs(settings.limits.job_timeout_secs).min(LONGEST),
        attempt: 1,
        so_far: None,
    }
}

async fn sale(settings: &Settings, one: &Endpoint, pool: &Pool) -> Check {
    let model = &settings.text.model;
    let row = |status, detail: &str, fix: &str| {
        let detail = format!("{}: {detail}", one.name);
        check(CheckKind::Model, model, status, &detail, fix)
    };
    let Some(slot) = pool.reserve(model) else {
        let fix = "vend doctor, when it is up";
        return row(
            CheckStatus::Warn,
            "it has the model and takes no job now",
            fix,
        );
    };
    let began = Instant::now();
    let (progress, mut seen) = watch::channel(Progress::default());
    let first = async { seen.changed().await.ok().map(|()| began.elapsed()) };
    let (answer, first) = tokio::join!(pool.answer(slot, ask(settings), progress), first);
    match answer {
        Ok(answer) => {
            let speed = speed(&answer);
            let detail = format!(
                "sells: {:.1} s to the first token, {speed:.1} tokens a second",
                first.unwrap_or_else(|| began.elapsed()).as_secs_f64()
            );
            match too_slow(settings, speed) {
                Some((why, fix)) => row(CheckStatus::Warn, &format!("{detail}; {why}"), &fix),
                None => row(CheckStatus::Ok, &detail, ""),
            }
        }
        Err(error) => row(
            CheckStatus::Fail,
            &error.to_string(),
            &mend(settings, one, &error),
        ),
    }
}

fn speed(answer: &Answer) -> f64 {
    let took = Duration::from_millis(answer.elapsed_ms.max(1));
    f64::from(answer.completion_tokens) / took.as_secs_f64()
}

/// At this speed the longest answer would not be done in a job's time.
fn too_slow(settings: &Settings, speed: f64) -> Option<(String, String)> {
    let (tokens, time) = (
        settings.text.token_ceiling(),
        settings.limits.job_timeout_secs,
    );
    let needs = f64::from(tokens) / speed.max(f64::MIN_POSITIVE);
    let left = Duration::from_secs(time).as_secs_f64();
    (needs > left).then(|| {
        (
            format!("an answer of {tokens} tokens would take {needs:.0} s, and limits.job_timeout_secs is {time}"),
            "vend config set limits.job_timeout_secs, or a smaller text.max_tokens".to_owned(),
        )
    })
}

/// What mends it, at this server.
fn mend(settings: &Settings, one: &Endpoint, error: &InferenceError) -> String {
    use InferenceError as E;
    let name = &one.name;
    match error {
        E::Unauthorized { .. } => format!("vend config set endpoint.{name}.api_key"),
        E::Refused { fix, .. } => (*fix).to_owned(),
        E::ModelMissing { fix, .. } => fix.clone(),
        E::Rejected { .. } => {
            "compare [text] with what the server takes; its own log says more".to_owned()
        }
        E::TooLong { .. } | E::Truncated { .. } => format!(
            "give the model more context: vend config set endpoint.{name}.num_ctx 8192, or the server's own setting"
        ),
        E::Empty { .. } => format!(
            "a model that reasons needs more than text.max_tokens = {} before it answers: raise it, or vend config set endpoint.{name}.think false",
            settings.text.max_tokens
        ),
        E::Stalled { .. } | E::TimedOut { .. } => format!(
            "a smaller model, or more time: vend config set endpoint.{name}.first_token_secs and limits.job_timeout_secs"
        ),
        E::Busy { .. } | E::NoEndpoint { .. } => {
            "wait until it is free, then vend doctor".to_owned()
        }
        E::Protocol { .. } => {
            format!(
                "vend config set endpoint.{name}.url, or endpoint.{name}.kind: this is another kind of server"
            )
        }
        E::Unreachable { .. } | E::Died { .. } => "look at that server's log".to_owned(),
    }
}
