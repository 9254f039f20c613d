//! `vend price`: what a request would cost here, under each offer. From the settings alone; nothing is asked of anybody.

use serde::Serialize;

use super::exit::{Exit, Outcome, json, say};
use super::{Global, settings};
use crate::config::Settings;
use crate::domain::message::{self, Message};
use crate::domain::model_name::same_model;
use crate::domain::offer::{PLAIN, Quote};
use crate::domain::text::clean;
use crate::engine::offers::{price_rule, specials};

/// `vend price`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What would be asked
    prompt: String,
    /// Only offers on this model
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Only offers for requests of this kind
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(5000..=5999))]
    kind: Option<u16>,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told {
    offers: Vec<Quote>,
}

/// Prints the prices.
pub fn main(global: &Global, args: &Args) -> Outcome {
    let settings = settings::load(&global.places()?.config)?;
    let fits = |quote: &Quote| {
        let model = args.model.as_deref();
        model.is_none_or(|model| same_model(model, &quote.model))
    };
    let mut offers: Vec<Quote> = plain(&settings, args)
        .chain(others(&settings, args))
        .collect();
    offers.retain(fits);
    if args.json {
        return json(&Told { offers });
    }
    if offers.is_empty() {
        let words = "no offer is for such a request: see `vend config show`";
        return Err(Exit::failed(&words));
    }
    for quote in &offers {
        let least = quote.least_msat.display();
        let price = if quote.least_msat == quote.most_msat {
            least.to_string()
        } else {
            format!("{least} to {}", quote.most_msat.display())
        };
        say(&format!(
            "{:<12} kind {}, {}: {price} ({} prompt tokens)",
            clean(&quote.offer, 40),
            quote.kind,
            clean(&quote.model, 60),
            quote.prompt_tokens
        ))?;
    }
    Ok(())
}

/// Plain text on each of its models.
fn plain<'a>(settings: &'a Settings, args: &'a Args) -> impl Iterator<Item = Quote> + 'a {
    let text = &settings.text;
    let kinds = &settings.nostr.kinds;
    let kind = args.kind.filter(|kind| kinds.contains(kind));
    let kind = kind.or_else(|| kinds.first().copied().filter(|_| args.kind.is_none()));
    let others = text.allow_models.iter();
    let models = std::iter::once(&text.model).chain(others.filter(|name| **name != text.model));
    models.filter_map(move |model| {
        let messages = message::under(&text.system, vec![Message::user(&args.prompt)]);
        let of = (PLAIN, kind?, model.as_str());
        let price = price_rule(settings, model);
        Some(Quote::of(of, price, text.max_tokens, &messages))
    })
}

fn others<'a>(settings: &'a Settings, args: &'a Args) -> impl Iterator<Item = Quote> + 'a {
    let all = specials(settings).into_iter();
    let of_kind = all.filter(|one| args.kind.is_none_or(|kind| kind == one.kind));
    of_kind.map(|one| {
        let asked = one.filled(&[], vec![Message::user(&args.prompt)]);
        let messages = message::under(&one.system, asked);
        let of = (one.name.as_str(), one.kind, one.model.as_str());
        Quote::of(of, one.price, one.max_tokens, &messages)
    })
}
