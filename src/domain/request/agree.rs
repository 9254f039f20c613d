//! Does the request fit what the shop offers? Model, length, bid; and the parameters brought within limits.

use std::fmt::Display;

use super::{Notes, Part, Request};
use crate::domain::job::TextParams;
use crate::domain::msat::Msat;
use crate::domain::price::{PriceRule, most_input_tokens};
use crate::domain::refusal::DropReason;

/// Between two inputs of one request.
const BETWEEN: &str = "\n\n";

/// The smallest `top_p`: zero would leave no token to choose.
const LEAST_TOP_P: f64 = 0.01;

/// The name of the first offer: plain text, by the settings' `[text]` and `[price]`.
pub const PLAIN: &str = "text";

/// What the shop offers at this moment.
pub struct Offer<'a> {
    /// The model sold where a request names none.
    pub model: &'a str,
    /// Models a buyer may name besides; empty: only `model`.
    pub allow_models: &'a [String],
    /// The name under which an endpoint serves a model; none where no endpoint has it.
    pub available: &'a dyn Fn(&str) -> Option<String>,
    /// Does our model answer where another was asked for?
    pub substitute: bool,
    /// How text is generated where the request does not say.
    pub defaults: TextParams,
    /// The most output tokens a buyer may ask for.
    pub token_ceiling: u32,
    /// The longest prompt, bytes.
    pub prompt_bytes: usize,
    /// What a model costs.
    pub price_of: &'a dyn Fn(&str) -> PriceRule,
    /// What is added for a request that wants to go first, percent; 0: not offered.
    pub priority_percent: u32,
}

/// What both sides agree on.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreed {
    /// The model that answers, as its endpoint names it.
    pub model: String,
    /// The model asked for, where ours stands in for it; clean.
    pub substituted: Option<String>,
    /// How text is generated, within limits.
    pub params: TextParams,
    /// What it costs.
    pub price: PriceRule,
    /// What is added to it, as it goes first; percent.
    pub priority_percent: u32,
    /// Did the request say how long its answer may be?
    pub names_length: bool,
    /// The offer that it is for.
    pub offer: String,
    /// What was changed, clean, for the timeline.
    pub notes: Vec<String>,
}

/// Judges model, parameters, length and bid, in that order, and brings the parameters within limits.
///
/// Inputs that are still on a relay count nothing here: whoever fetches them looks at the length of the whole prompt.
///
/// # Errors
/// `unsupported_model`, `bad_param`, `prompt_too_long`, `unsupported_payment`, `bid_too_low`.
pub fn agree(request: &Request, offer: &Offer) -> Result<Agreed, DropReason> {
    let (model, substituted) = model(request.model.as_deref(), offer)?;
    if request.bad_param {
        return Err(DropReason::BadParam);
    }
    if request.inputs_left_out > 0 || length(&request.prompt_parts) > offer.prompt_bytes {
        return Err(DropReason::PromptTooLong);
    }
    let price = (offer.price_of)(&model);
    if request.foreign_payment && !price.is_free() {
        return Err(DropReason::UnsupportedPayment);
    }
    let priority_percent = if request.priority && !price.is_free() {
        offer.priority_percent
    } else {
        0
    };
    let own = |bid| PriceRule::beside(priority_percent, bid);
    if request.bid.is_some_and(|bid| price.refuses(own(bid))) {
        return Err(DropReason::BidTooLow);
    }
    let mut notes = Notes::default();
    if let Some(asked) = &substituted {
        notes.add(&format!(
            "model {asked} is not offered: {model} stands in for it"
        ));
    }
    let mut agreed = Agreed {
        params: params(request, offer, &mut notes),
        model,
        substituted,
        price,
        priority_percent,
        names_length: request.max_tokens.is_some(),
        offer: PLAIN.to_owned(),
        notes: notes.0,
    };
    cut_to_bid(&mut agreed, request.bid, length(&request.prompt_parts))?;
    Ok(agreed)
}

/// Cuts the answer to what the bid pays for beside a prompt of so many bytes. A prompt counts as all the tokens it can be, so
/// that no work is ever done for less than its price.
///
/// # Errors
/// `bid_too_low` where it does not pay for one token of an answer.
pub fn cut_to_bid(
    agreed: &mut Agreed,
    bid: Option<Msat>,
    prompt_bytes: usize,
) -> Result<(), DropReason> {
    let Some(bid) = bid else {
        return Ok(());
    };
    let input = most_input_tokens(prompt_bytes);
    let own = PriceRule::beside(agreed.priority_percent, bid);
    let output = agreed.price.output_within(input, own);
    let output = output.filter(|output| *output > 0);
    let output = output.ok_or(DropReason::BidTooLow)?;
    let asked = agreed.params.max_tokens;
    if output < asked {
        agreed.params.max_tokens = output;
        let words = format!("the bid pays for {output} of {asked} tokens: max_tokens is cut to it");
        agreed.notes.push(words);
    }
    Ok(())
}

/// The whole prompt: the texts in order, a blank line between them; blank ones are left out.
#[must_use]
pub fn prompt(parts: &[String]) -> String {
    let texts: Vec<&str> = parts
        .iter()
        .map(String::as_str)
        .filter(|text| !text.trim().is_empty())
        .collect();
    texts.join(BETWEEN)
}

/// The model that answers, and the one it stands in for.
fn model(asked: Option<&str>, offer: &Offer) -> Result<(String, Option<String>), DropReason> {
    let served = |name: &str| (offer.available)(name);
    // Whether our own model is up is for the endpoints' health to say; it is never refused by name.
    let ours = || served(offer.model).unwrap_or_else(|| offer.model.to_owned());
    let Some(asked) = asked else {
        return Ok((ours(), None));
    };
    if same_model(asked, offer.model) {
        return Ok((ours(), None));
    }
    let named = offer
        .allow_models
        .iter()
        .find(|allowed| same_model(asked, allowed))
        .and_then(|allowed| served(allowed));
    match named {
        Some(name) => Ok((name, None)),
        None if offer.substitute => Ok((ours(), Some(asked.to_owned()))),
        None => Err(DropReason::UnsupportedModel),
    }
}

/// One model under two names: any case, with or without `:latest`.
fn same_model(one: &str, other: &str) -> bool {
    fn bare(name: &str) -> String {
        let lower = name.trim().to_lowercase();
        lower.strip_suffix(":latest").unwrap_or(&lower).to_owned()
    }
    bare(one) == bare(other)
}

fn length(parts: &[Part]) -> usize {
    let texts = parts.iter().map(|part| match part {
        Part::Text(text) => text.len(),
        Part::Event { .. } => 0,
    });
    texts
        .sum::<usize>()
        .saturating_add(BETWEEN.len() * parts.len().saturating_sub(1))
}

fn params(request: &Request, offer: &Offer, notes: &mut Notes) -> TextParams {
    let ours = &offer.defaults;
    let most = offer.token_ceiling.max(1);
    let mut float = |name, asked: Option<f64>, default, (low, high): (f64, f64)| {
        asked.map_or(default, |asked| {
            held(name, asked, asked.clamp(low, high), notes)
        })
    };
    let temperature = float(
        "temperature",
        request.temperature,
        ours.temperature,
        (0.0, 2.0),
    );
    let top_p = float("top_p", request.top_p, ours.top_p, (LEAST_TOP_P, 1.0));
    let frequency_penalty = float(
        "frequency_penalty",
        request.frequency_penalty,
        ours.frequency_penalty,
        (-2.0, 2.0),
    );
    TextParams {
        max_tokens: request
            .max_tokens
            .map_or(ours.max_tokens.clamp(1, most), |asked| {
                held("max_tokens", asked, asked.clamp(1, most), notes)
            }),
        temperature,
        top_k: request.top_k.map_or(ours.top_k, |asked| {
            held("top_k", asked, asked.min(1_000), notes)
        }),
        top_p,
        frequency_penalty,
        seed: request.seed.or(ours.seed),
    }
}

/// Tells the timeline where a value was changed.
fn held<T: PartialEq + Display + Copy>(name: &str, asked: T, used: T, notes: &mut Notes) -> T {
    if asked != used {
        // A float can be three hundred digits long.
        let asked: String = asked.to_string().chars().take(24).collect();
        notes.add(&format!("{name} {asked} is out of bounds: {used} is used"));
    }
    used
}
