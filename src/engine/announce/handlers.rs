//! The handler info of each offer, as the settings say it.

use std::collections::HashMap;

use nostr::{Kind, PublicKey, Tags, UnsignedEvent};

use crate::config::Settings;
use crate::domain::announce::{self, Handler, Sold};
use crate::domain::offer::{self, Special};
use crate::domain::price::PriceRule;
use crate::domain::time::Time;
use crate::engine::offers::{price_rule, specials};

/// The `d` tag of plain text's announcement, which is replaced each time; another offer's has its name behind it.
const IDENTIFIER: &str = "vend";
const ABOUT: &str = "Text generation by a local language model, paid over Lightning";

/// What a relay keeps one of: the kind, and of handler info the identifier (`d`).
pub(in crate::engine) type Place = (u16, String);

/// Tokens a second that were measured, by model.
pub(super) type Speeds = HashMap<String, f64>;

/// Where an announcement replaces an older one.
pub(in crate::engine) fn place_of(kind: Kind, tags: &Tags) -> Place {
    let kind = kind.as_u16();
    let identifier = tags.identifier().filter(|_| kind == announce::HANDLER_INFO);
    (kind, identifier.unwrap_or_default().to_owned())
}

/// Is it one of vend's? Other programs of this key have handlers of their own.
pub(in crate::engine) fn is_our_identifier(identifier: &str) -> bool {
    let rest = identifier.strip_prefix(IDENTIFIER);
    rest.is_some_and(|rest| rest.is_empty() || (rest.len() > 1 && rest.starts_with('-')))
}

/// The `d` tag of an offer's announcement.
fn identifier(offer: &str) -> String {
    format!("{IDENTIFIER}-{offer}")
}

/// Of every announcement, plain text's first.
pub(super) fn identifiers(settings: &Settings) -> Vec<String> {
    let others = settings.offers.0.iter();
    let others = others.map(|offer| identifier(&offer.name));
    let all = std::iter::once(IDENTIFIER.to_owned()).chain(others);
    all.collect()
}

/// The `d` tags of an event.
pub(super) fn identifiers_of(tags: &Tags) -> Vec<String> {
    let all = tags.iter().filter(|tag| tag.as_slice()[0] == "d");
    all.filter_map(|tag| tag.content().map(str::to_owned))
        .collect()
}

/// The handler info of each offer; without kinds where nothing is taken any more.
pub(super) fn all(
    us: &PublicKey,
    settings: &Settings,
    speeds: &Speeds,
    open: bool,
    now: Time,
) -> Vec<UnsignedEvent> {
    let plain = plain(us, settings, speeds, open, now);
    let others = specials(settings);
    let others = others.iter().zip(&settings.offers.0);
    let others = others.map(|(special, said)| {
        let about = said.about.as_deref().filter(|about| !about.is_empty());
        let info = (special, about);
        of_special(us, settings, speeds, info, open, now)
    });
    std::iter::once(plain).chain(others).collect()
}

/// The handler info of an offer that there is no longer.
pub(super) fn gone(
    us: &PublicKey,
    settings: &Settings,
    identifier: &str,
    now: Time,
) -> UnsignedEvent {
    let info = Handler {
        identifier,
        name: shop_name(settings),
        about: "No longer offered",
        ..general(settings)
    };
    announce::handler(us, &info, now)
}

fn sold(speeds: &Speeds, name: &str, price: PriceRule) -> Sold {
    Sold {
        name: name.to_owned(),
        price,
        tokens_per_second: speeds.get(name).copied(),
    }
}

fn plain(
    us: &PublicKey,
    settings: &Settings,
    speeds: &Speeds,
    open: bool,
    now: Time,
) -> UnsignedEvent {
    let text = &settings.text;
    let mut names = vec![&text.model];
    names.extend(text.allow_models.iter().filter(|name| **name != text.model));
    let sold = |name: &String| sold(speeds, name, price_rule(settings, name));
    let models: Vec<Sold> = names.into_iter().map(sold).collect();
    let info = Handler {
        identifier: IDENTIFIER,
        name: shop_name(settings),
        about: ABOUT,
        kinds: if open { &settings.nostr.kinds } else { &[] },
        models: &models,
        token_ceiling: text.token_ceiling(),
        more_params: priority(settings),
        ..general(settings)
    };
    announce::handler(us, &info, now)
}

fn of_special(
    us: &PublicKey,
    settings: &Settings,
    speeds: &Speeds,
    (special, about): (&Special, Option<&str>),
    open: bool,
    now: Time,
) -> UnsignedEvent {
    let usual = match special.kind {
        offer::SUMMARY => "Summaries by a local language model, paid over Lightning",
        offer::TRANSLATION => "Translations by a local language model, paid over Lightning",
        _ => ABOUT,
    };
    let fields = ["language", "length"].into_iter();
    let fields = fields.filter(|name| special.template.has(name));
    let params: Vec<&str> = fields.chain(priority(settings).iter().copied()).collect();
    let info = Handler {
        identifier: &identifier(&special.name),
        name: &format!("{}: {}", shop_name(settings), special.name),
        about: about.unwrap_or(usual),
        kinds: if open { &[special.kind] } else { &[] },
        models: &[sold(speeds, &special.model, special.price)],
        token_ceiling: special.token_ceiling,
        more_params: &params,
        ..general(settings)
    };
    announce::handler(us, &info, now)
}

fn shop_name(settings: &Settings) -> &str {
    match settings.nostr.name.as_str() {
        "" => "vend",
        name => name,
    }
}

/// The parameter of a request that wants to go first, where that is offered.
const fn priority(settings: &Settings) -> &'static [&'static str] {
    if settings.price.priority_percent > 0 {
        &["priority"]
    } else {
        &[]
    }
}

/// What is so for every offer.
fn general(settings: &Settings) -> Handler<'static> {
    let endpoints = settings.endpoints.0.iter();
    Handler {
        identifier: IDENTIFIER,
        name: "",
        about: "",
        picture: None,
        kinds: &[],
        models: &[],
        token_ceiling: 0,
        context: endpoints.filter_map(|endpoint| endpoint.num_ctx).min(),
        stream: true,
        messages: true,
        more_params: &[],
    }
}
