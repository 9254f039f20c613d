//! What is sold, as the settings say it: plain text by `[text]` and `[price]`, and each `[[offer]]` beside it.

use crate::config::Settings;
use crate::config::schema::Offer;
use crate::domain::model_name::same_model;
use crate::domain::offer::{Special, Template};
use crate::domain::price::PriceRule;

/// The price of a model: its own, or the general one.
#[must_use]
pub fn price_rule(settings: &Settings, model: &str) -> PriceRule {
    let general = &settings.price;
    general
        .models
        .iter()
        .find(|price| same_model(&price.name, model))
        .map_or(
            PriceRule {
                min_sats: general.min_price_sats,
                per_1k_input: general.price_per_1k_tokens,
                per_1k_output: general.price_per_1k_tokens,
            },
            |own| PriceRule {
                min_sats: own.min_price_sats.unwrap_or(general.min_price_sats),
                per_1k_input: own.price_per_1k_input,
                per_1k_output: own.price_per_1k_output,
            },
        )
}

/// What is sold beside plain text. An offer says what it does otherwise than plain text.
#[must_use]
pub fn specials(settings: &Settings) -> Vec<Special> {
    let all = settings.offers.0.iter();
    all.map(|one| special(one, settings)).collect()
}

/// The kinds of requests that are listened for: those of plain text, and those of the other offers.
#[must_use]
pub fn kinds(settings: &Settings) -> Vec<u16> {
    let mut kinds = settings.nostr.kinds.clone();
    for offer in &settings.offers.0 {
        if !kinds.contains(&offer.kind) {
            kinds.push(offer.kind);
        }
    }
    kinds
}

fn special(one: &Offer, settings: &Settings) -> Special {
    let text = &settings.text;
    let model = one.model.as_ref().unwrap_or(&text.model);
    let general = price_rule(settings, model);
    let template = one.template.as_deref().map(Template::parse);
    Special {
        name: one.name.clone(),
        kind: one.kind,
        model: model.clone(),
        system: one.system.as_ref().unwrap_or(&text.system).clone(),
        // One that can't be read is refused with the settings.
        template: template
            .and_then(Result::ok)
            .unwrap_or_else(|| Template::usual(one.kind)),
        price: PriceRule {
            min_sats: one.min_price_sats.unwrap_or(general.min_sats),
            per_1k_input: one.price_per_1k_input.unwrap_or(general.per_1k_input),
            per_1k_output: one.price_per_1k_output.unwrap_or(general.per_1k_output),
        },
        max_tokens: one.max_tokens.unwrap_or(text.max_tokens),
        token_ceiling: one.max_tokens.unwrap_or_else(|| text.token_ceiling()),
    }
}
