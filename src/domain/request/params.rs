//! The `param` tags of a request (NIP-90; names from the registry's page on kind 5050).

use super::Notes;
use super::input::says_something;
use super::tags::{self, Gathered};
use crate::domain::refusal::DropReason;
use crate::domain::text::clean;

/// The longest model name, parameter name or value that is kept, characters.
const LONGEST: usize = 128;

/// Parameters that ask for a picture.
const IMAGE: [&str; 9] = [
    "size",
    "ratio",
    "width",
    "height",
    "lora",
    "style",
    "negative_prompt",
    "steps",
    "guidance_scale",
];

/// The parameters of a request. Of two with one name the first holds.
#[derive(Debug, Default)]
pub(super) struct Params {
    pub raw: Vec<(String, String)>,
    pub model: Option<String>,
    pub max_tokens: Option<u32>,
    pub temperature: Option<f64>,
    pub top_k: Option<u32>,
    pub top_p: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub seed: Option<u64>,
    pub stream: bool,
    pub priority: bool,
    /// A known name has a value that is no number at all.
    pub bad: bool,
}

impl Params {
    /// Reads them all. An empty value says nothing and is passed over; unknown names are too.
    pub fn read(gathered: &Gathered, more: &[Vec<String>], notes: &mut Notes) -> Self {
        let mut params = Self::default();
        let more = more.iter().map(Vec::as_slice);
        for tag in gathered.named("param").chain(more) {
            let (name, value) = (name_of(tag), tags::at(tag, 2));
            let kept = (clean(&name, LONGEST), clean(value, LONGEST));
            params.raw.push(kept);
            if says_something(value) {
                params.bad |= params.take(&name, value, notes).is_err();
            }
        }
        params
    }

    fn take(&mut self, name: &str, value: &str, notes: &mut Notes) -> Result<(), DropReason> {
        match name {
            "model" => first(&mut self.model, Some(clean(value, LONGEST))),
            "max_tokens" => first(&mut self.max_tokens, tokens(number(value)?, notes)),
            "temperature" => first(&mut self.temperature, Some(number(value)?)),
            "top_k" => first(&mut self.top_k, Some(top_k(number(value)?, notes))),
            "top_p" => first(&mut self.top_p, Some(number(value)?)),
            "frequency_penalty" => first(&mut self.frequency_penalty, Some(number(value)?)),
            "stream" => self.stream |= is_yes(value),
            "priority" => self.priority |= value.trim().eq_ignore_ascii_case("high"),
            "seed" => first(&mut self.seed, seed(value, notes)?),
            _ => {}
        }
        Ok(())
    }
}

fn is_yes(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    matches!(value.as_str(), "true" | "1" | "yes")
}

fn first<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

/// Does any parameter ask for a picture?
pub(super) fn asks_for_an_image(gathered: &Gathered) -> bool {
    gathered
        .named("param")
        .any(|tag| IMAGE.contains(&name_of(tag).as_str()))
}

/// Hyphen and underscore are one, and so are capitals.
fn name_of(tag: &[String]) -> String {
    tags::value(tag).to_ascii_lowercase().replace('-', "_")
}

/// `0` and `-1` mean "no limit" to several apps; an answer of no tokens helps nobody. So our default holds.
fn tokens(number: f64, notes: &mut Notes) -> Option<u32> {
    let tokens = to_u32(whole(number));
    if tokens == 0 {
        notes.add(&format!("max_tokens {number} is no limit: ours holds"));
    }
    (tokens > 0).then_some(tokens)
}

/// Zero is "off" to the servers; below it there is nothing.
fn top_k(number: f64, notes: &mut Notes) -> u32 {
    if number < 0.0 {
        notes.add("a top_k below zero is off");
    }
    to_u32(whole(number))
}

/// A seed below zero means "any" to the servers that know it.
fn seed(value: &str, notes: &mut Notes) -> Result<Option<u64>, DropReason> {
    if let Ok(seed) = value.parse() {
        return Ok(Some(seed));
    }
    let seed = number(value)?;
    if seed < 0.0 {
        notes.add("a seed below zero was ignored");
        return Ok(None);
    }
    Ok(Some(whole(seed)))
}

/// A number, written as anyone writes it; held within what a float can say.
fn number(text: &str) -> Result<f64, DropReason> {
    // `inf` and `nan` are floats to the parser, and numbers to nobody.
    let text = text.trim();
    if !text.bytes().any(|b| b.is_ascii_digit()) {
        return Err(DropReason::BadParam);
    }
    text.parse::<f64>()
        .map(|number| number.clamp(f64::MIN, f64::MAX))
        .map_err(|_| DropReason::BadParam)
}

/// The whole part; below zero is zero, too much is the most there is.
fn whole(number: f64) -> u64 {
    // By way of text, as there is no checked conversion from a float.
    format!("{:.0}", number.trunc().max(0.0))
        .parse()
        .unwrap_or(u64::MAX)
}

/// A whole number of at least zero as text; none for anything else.
pub(super) fn whole_text(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse()
        .ok()
        .or_else(|| number(text).ok().filter(|n| *n >= 0.0).map(whole))
}

fn to_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
