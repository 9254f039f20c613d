//! What a single value can't show: settings that do not go together.

use std::collections::HashSet;
use std::path::Path;

use super::keys::did_you_mean;
use super::load::walk;
use super::problem::{PathPart, Problem, SettingsError, Spot, quoted, spot};
use super::schema::{Backend, Endpoint, EndpointKind, SecretSource, Settings, Wallet};
use crate::domain::offer::{self, Template, TemplateError};

/// Checks settings that did not come from a file, or that were changed since: ranges, and what goes together.
///
/// # Errors
/// The first thing wrong. It has a key, but no file and no line.
pub fn check(settings: &Settings) -> Result<(), SettingsError> {
    problems(settings).into_iter().next().map_or(Ok(()), Err)
}

/// Everything wrong with settings that did not come from a file.
#[must_use]
pub fn problems(settings: &Settings) -> Vec<SettingsError> {
    // Only a number beyond TOML's range can't be written.
    let Ok(document) = toml_edit::ser::to_document(settings) else {
        let allowed = "numbers up to 9223372036854775807";
        return vec![SettingsError::of_file(
            Path::new(""),
            "a number too large",
            allowed,
        )];
    };
    let mut problems = walk(document.as_table());
    if problems.is_empty() {
        problems = across(settings);
    }
    problems
        .into_iter()
        .map(|problem| problem.placed(Path::new(""), "", document.as_table()))
        .collect()
}

/// What does not go together, in settings whose single values are right.
pub(super) fn across(settings: &Settings) -> Vec<Problem> {
    let mut problems = Vec::new();
    nostr(settings, &mut problems);
    text(settings, &mut problems);
    wallet(&settings.wallet, &mut problems);
    endpoints(settings, &mut problems);
    offers(settings, &mut problems);
    problems
}

fn nostr(settings: &Settings, problems: &mut Vec<Problem>) {
    if settings.nostr.relays.is_empty() {
        let hint = "a shop without a relay hears nothing";
        problems.push(empty(&["nostr", "relays"], "at least one relay", hint));
    }
    if settings.nostr.kinds.is_empty() {
        let hint = "text generation is 5050";
        problems.push(empty(&["nostr", "kinds"], "at least one kind", hint));
    }
}

fn empty(keys: &[&str], allowed: &str, hint: &str) -> Problem {
    Problem::new(spot(keys), "an empty list", allowed, hint)
}

fn text(settings: &Settings, problems: &mut Vec<Problem>) {
    let text = &settings.text;
    if let Some(limit) = text
        .max_tokens_limit
        .filter(|limit| *limit < text.max_tokens)
    {
        problems.push(Problem::new(
            spot(&["text", "max_tokens_limit"]),
            limit.to_string(),
            format!("at least text.max_tokens, which is {}", text.max_tokens),
            "",
        ));
    }
    let names = settings
        .price
        .models
        .iter()
        .map(|model| model.name.as_str());
    problems.extend(repeated(&["price", "model"], names));
}

fn offers(settings: &Settings, problems: &mut Vec<Problem>) {
    let all = &settings.offers.0;
    let names = all.iter().map(|offer| offer.name.as_str());
    problems.extend(repeated(&["offer"], names));
    for (index, offer) in all.iter().enumerate() {
        if offer.name == offer::PLAIN {
            let spot = in_list(&["offer"], index, "name");
            let hint = "[text] and [price] are the offer of this name";
            let found = quoted(&offer.name);
            problems.push(Problem::new(spot, found, "another name", hint));
        }
        let template = offer.template.as_deref().map(Template::parse);
        if let Some(Err(wrong)) = template {
            let spot = in_list(&["offer"], index, "template");
            let hint = match &wrong {
                TemplateError::Unknown(name) => did_you_mean(name, offer::FIELDS),
                TemplateError::Open | TemplateError::NoInput => None,
            };
            let hint = hint.map_or_else(String::new, |meant| format!("did you mean {{{meant}}}?"));
            problems.push(Problem::new(
                spot,
                wrong.found(),
                TemplateError::ALLOWED,
                &hint,
            ));
        }
    }
}

/// A name that stands for two tables.
fn repeated<'a>(keys: &[&str], names: impl Iterator<Item = &'a str>) -> Vec<Problem> {
    let mut seen = HashSet::new();
    names
        .enumerate()
        .filter(|(_, name)| !seen.insert(*name))
        .map(|(index, name)| {
            let spot = in_list(keys, index, "name");
            let found = format!("{} a second time", quoted(name));
            Problem::new(spot, found, "a name of its own for each", "")
        })
        .collect()
}

fn in_list(keys: &[&str], index: usize, field: &str) -> Spot {
    let mut spot = spot(keys);
    spot.push(PathPart::Index(index));
    spot.push(PathPart::Key(field.to_owned()));
    spot
}

/// Does this backend use this key of `[wallet]`? `backend` and `network` belong to all of them.
#[must_use]
pub fn wallet_uses(backend: Backend, field: &str) -> bool {
    backend.uses(field)
}

/// Can this backend not do without this key of `[wallet]`?
#[must_use]
pub fn wallet_needs(backend: Backend, field: &str) -> bool {
    backend.needs(field)
}

fn wallet(wallet: &Wallet, problems: &mut Vec<Problem>) {
    let (backend, set) = (wallet.backend, wallet.set_keys());
    let foreign = set.iter().filter(|field| !backend.uses(field));
    problems.extend(foreign.map(|field| self::foreign(backend, field)));
    let needs = backend.declared().needs.iter();
    let missing = needs.filter(|field| !set.contains(*field));
    problems.extend(missing.map(|field| self::missing(backend, field)));
    network(wallet, problems);
    connection_string(wallet, problems);
}

/// A key that belongs to another backend.
fn foreign(backend: Backend, field: &str) -> Problem {
    let owners: Vec<&str> = Backend::ALL
        .into_iter()
        .filter(|owner| wallet_uses(*owner, field))
        .map(Backend::as_str)
        .collect();
    Problem::new(
        spot(&["wallet", field]),
        format!("a key of {}", owners.join(", ")),
        format!("nothing here while wallet.backend is {}", backend.as_str()),
        "remove it, or set the backend it belongs to",
    )
}

fn missing(backend: Backend, field: &str) -> Problem {
    Problem::new(
        spot(&["wallet", field]),
        "nothing",
        format!("a value, as wallet.backend is {}", backend.as_str()),
        format!("{} needs wallet.{field}", backend.as_str()),
    )
}

fn network(wallet: &Wallet, problems: &mut Vec<Problem>) {
    let (has, why) = wallet.backend.declared().networks;
    if has.is_empty() || has.contains(&wallet.network) {
        return;
    }
    let words: Vec<&str> = has.iter().map(|network| network.as_str()).collect();
    problems.push(Problem::new(
        spot(&["wallet", "network"]),
        quoted(wallet.network.as_str()),
        format!(
            "{} while wallet.backend is {}",
            words.join(" or "),
            wallet.backend.as_str()
        ),
        why,
    ));
}

/// NIP-47: `nostr+walletconnect://` and the wallet's key.
fn connection_string(wallet: &Wallet, problems: &mut Vec<Problem>) {
    let Some(SecretSource::Plain(uri)) = &wallet.uri else {
        return;
    };
    if !uri.trim_start().starts_with("nostr+walletconnect:") {
        problems.push(Problem::new(
            spot(&["wallet", "uri"]),
            "a text that is no connection string",
            "nostr+walletconnect://…",
            "",
        ));
    }
}

fn endpoints(settings: &Settings, problems: &mut Vec<Problem>) {
    let endpoints = &settings.endpoints.0;
    if endpoints.is_empty() {
        let hint = "leave `endpoint` out to use the local Ollama";
        problems.push(empty(&["endpoint"], "at least one [[endpoint]]", hint));
    }
    let names = endpoints.iter().map(|endpoint| endpoint.name.as_str());
    problems.extend(repeated(&["endpoint"], names));
    for (index, endpoint) in endpoints.iter().enumerate() {
        misplaced(index, endpoint, problems);
        // Only Ollama's way of writing an address leaves the scheme out.
        if endpoint.kind == EndpointKind::Openai && !endpoint.url.contains("://") {
            problems.push(Problem::new(
                in_list(&["endpoint"], index, "url"),
                quoted(&endpoint.url),
                "a whole address as http://127.0.0.1:8080",
                "",
            ));
        }
    }
}

/// Fields of a request that are each job's own.
const OURS: [&str; 8] = [
    "model",
    "messages",
    "stream",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "num_predict",
    "num_ctx",
];

/// Fields in `extra` that are each job's own.
fn misplaced(index: usize, endpoint: &Endpoint, problems: &mut Vec<Problem>) {
    for ours in OURS
        .iter()
        .filter(|ours| endpoint.extra.contains_key(**ours))
    {
        problems.push(Problem::new(
            in_list(&["endpoint"], index, "extra"),
            quoted(ours),
            "other fields: each job has its own",
            "",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(settings: &Settings) -> String {
        check(settings).unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_can_be_used() {
        assert_eq!(check(&Settings::default()), Ok(()));
    }

    #[test]
    fn ranges_hold_for_settings_without_a_file_too() {
        let mut settings = Settings::default();
        settings.limits.queue = 0;
        assert_eq!(
            line(&settings),
            "limits.queue: found 0; allowed: a whole number of jobs from 1 to 100000"
        );
        settings.limits.queue = 1;
        settings.price.min_price_sats = u64::MAX;
        assert!(line(&settings).contains("a number too large"));
    }

    #[test]
    fn each_backend_has_its_own_keys() {
        for backend in Backend::ALL {
            let mut settings = Settings::default();
            settings.wallet.backend = backend;
            if backend == Backend::Sandbox {
                settings.wallet.network = crate::config::schema::Network::Regtest;
            }
            let needs = !backend.declared().needs.is_empty();
            assert_eq!(check(&settings).is_err(), needs, "{backend:?}");
            settings.wallet.password = Some(SecretSource::Plain("hunter2".to_owned()));
            settings.wallet.url = Some("http://127.0.0.1:9740".to_owned());
            let fits = check(&settings).is_ok();
            assert_eq!(fits, backend == Backend::Phoenixd, "{backend:?}");
        }
    }

    #[test]
    fn play_money_never_passes_for_real_money() {
        let mut settings = Settings::default();
        settings.wallet.backend = Backend::Sandbox;
        assert!(line(&settings).contains("allowed: regtest while wallet.backend is sandbox"));
    }

    #[test]
    fn a_shop_has_a_relay_a_kind_and_an_endpoint() {
        let mut settings = Settings::default();
        settings.nostr.relays.clear();
        settings.nostr.kinds.clear();
        settings.endpoints.0.clear();
        let keys: Vec<_> = problems(&settings).into_iter().map(|p| p.key).collect();
        let expected = ["nostr.relays", "nostr.kinds", "endpoint"];
        assert_eq!(keys, expected.map(|key| Some(key.to_owned())));
    }

    #[test]
    fn a_field_that_each_job_has_of_its_own_is_no_extra() {
        let mut settings = Settings::default();
        let extra = &mut settings.endpoints.0[0].extra;
        extra.insert("min_p".to_owned(), 1.into());
        assert_eq!(check(&settings), Ok(()));
        let extra = &mut settings.endpoints.0[0].extra;
        extra.insert("stream".to_owned(), false.into());
        assert!(line(&settings).contains("each job has its own"));
    }

    #[test]
    fn two_endpoints_have_two_names() {
        let mut settings = Settings::default();
        let twin = settings.endpoints.0[0].clone();
        settings.endpoints.0.push(twin);
        assert_eq!(
            line(&settings),
            "endpoint.local.name: found \"local\" a second time; allowed: a name of its own for each"
        );
    }

    #[test]
    fn a_ceiling_is_not_below_what_is_given_unasked() {
        let mut settings = Settings::default();
        settings.text.max_tokens_limit = Some(100);
        assert!(line(&settings).contains("at least text.max_tokens, which is 512"));
    }
}
