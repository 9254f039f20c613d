//! What is sold beside plain text (SPEC section 3, `[[offer]]`): which offer a request is for, and what the model is told then.

use std::collections::BTreeMap;

use serde::Serialize;

use super::job::TextParams;
use super::message::{self, Message, Role};
use super::model_name::same_model;
use super::msat::Msat;
use super::price::{PriceRule, most_input_tokens};
use super::request::{Offer as Terms, Request};
use super::text::clean;

pub use super::request::PLAIN;

/// The kind of a summary (kinds registry of NIP-90).
pub const SUMMARY: u16 = 5001;
/// The kind of a translation.
pub const TRANSLATION: u16 = 5002;

/// The fields of a template.
pub const FIELDS: [&str; 3] = ["input", "language", "length"];

const SUMMARIZE: &str = "Summarize the following text in {length}. Write in the language of the text. Give the summary alone, without a word about it.\n\n{input}";
const TRANSLATE: &str = "Translate the following text into {language}. Give the translation alone, without a word about it, and keep its form.\n\n{input}";
const AS_IT_IS: &str = "{input}";

/// What a field is where the request does not say.
const LANGUAGE: &str = "English";
const LENGTH: &str = "a few sentences";
/// The longest value of a field, characters: it is a stranger's, and stands among the seller's words.
const VALUE_MAX: usize = 60;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Words(String),
    Field(&'static str),
}

/// What becomes of a buyer's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A field that there is not.
    #[error("{{{0}}} is no field of a template")]
    Unknown(String),
    /// A brace without its other one.
    #[error("a brace without its other one")]
    Open,
    /// The buyer's text is nowhere in it.
    #[error("{{input}} is not in it")]
    NoInput,
}

impl TemplateError {
    /// What a template may be, in words.
    pub const ALLOWED: &'static str = "a text with {input} in it, and where wanted {language} and {length}; a brace itself is written twice";

    /// What is there instead, in words.
    #[must_use]
    pub fn found(&self) -> String {
        match self {
            Self::Unknown(name) => format!("the field {{{}}}", clean(name, VALUE_MAX)),
            Self::Open => "a brace without its other one".to_owned(),
            Self::NoInput => "a template without {input}".to_owned(),
        }
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The first thing wrong with it.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut words = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            words.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                words.push_str(brace);
                rest = after;
                continue;
            }
            let (name, after) = rest
                .split_once('}')
                .filter(|_| brace == "{")
                .ok_or(TemplateError::Open)?;
            let field = FIELDS.into_iter().find(|field| *field == name.trim());
            let field = field.ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
            if !words.is_empty() {
                pieces.push(Piece::Words(std::mem::take(&mut words)));
            }
            pieces.push(Piece::Field(field));
            rest = after;
        }
        words.push_str(rest);
        if !words.is_empty() {
            pieces.push(Piece::Words(words));
        }
        if pieces.contains(&Piece::Field("input")) {
            Ok(Self(pieces))
        } else {
            Err(TemplateError::NoInput)
        }
    }

    /// What is usual for a kind.
    #[must_use]
    pub fn usual(kind: u16) -> Self {
        let text = match kind {
            SUMMARY => SUMMARIZE,
            TRANSLATION => TRANSLATE,
            _ => AS_IT_IS,
        };
        // A test reads all of them.
        Self::parse(text).unwrap_or_else(|_| Self(vec![Piece::Field("input")]))
    }

    /// Does it have this field?
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        let is = |piece: &Piece| matches!(piece, Piece::Field(name) if *name == field);
        self.0.iter().any(is)
    }

    /// The text that it makes.
    #[must_use]
    pub fn fill(&self, input: &str, values: &BTreeMap<&str, String>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Words(words) => text.push_str(words),
                Piece::Field("input") => text.push_str(input),
                Piece::Field(name) => {
                    text.push_str(values.get(name).map_or("", String::as_str));
                }
            }
        }
        text
    }
}

/// What is sold under a name of its own, as the settings have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Special {
    /// Its name.
    pub name: String,
    /// The kind of its requests.
    pub kind: u16,
    /// The model that answers.
    pub model: String,
    /// Instructions that stand before the conversation; empty: none.
    pub system: String,
    /// What becomes of the buyer's text.
    pub template: Template,
    /// What it costs.
    pub price: PriceRule,
    /// Tokens of an answer where the request does not say.
    pub max_tokens: u32,
    /// The most a buyer may ask for.
    pub token_ceiling: u32,
}

impl Special {
    /// What is offered by it: as plain text is, where it says nothing else.
    #[must_use]
    pub fn terms<'a>(
        &'a self,
        plain: &Terms<'a>,
        price_of: &'a dyn Fn(&str) -> PriceRule,
    ) -> Terms<'a> {
        Terms {
            model: &self.model,
            allow_models: &[],
            available: plain.available,
            substitute: plain.substitute,
            defaults: TextParams {
                max_tokens: self.max_tokens,
                ..plain.defaults.clone()
            },
            token_ceiling: self.token_ceiling,
            prompt_bytes: plain.prompt_bytes,
            price_of,
            priority_percent: plain.priority_percent,
        }
    }

    /// The conversation as the model gets it: the last of the buyer's own messages in the template's words.
    #[must_use]
    pub fn told(&self, request: &Request, messages: Vec<Message>) -> Vec<Message> {
        self.filled(&request.raw_params, messages)
    }

    /// The same, of a request with these parameters.
    #[must_use]
    pub fn filled(&self, params: &[(String, String)], mut messages: Vec<Message>) -> Vec<Message> {
        let values = values(params);
        let last = messages.iter_mut().rev().find(|one| one.role == Role::User);
        if let Some(last) = last {
            last.content = self.template.fill(&last.content, &values);
        }
        messages
    }
}

/// What a request's parameters say of the template's fields.
fn values(params: &[(String, String)]) -> BTreeMap<&'static str, String> {
    let said = |name: &str| {
        let mut all = params.iter();
        let value = all.find(|(key, value)| key == name && !value.trim().is_empty());
        value.map(|(_, value)| clean(value.trim(), VALUE_MAX))
    };
    BTreeMap::from([
        (
            "language",
            said("language").unwrap_or_else(|| LANGUAGE.to_owned()),
        ),
        (
            "length",
            said("length").unwrap_or_else(|| LENGTH.to_owned()),
        ),
    ])
}

/// What a request would cost under an offer (`vend price`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quote {
    /// The offer.
    pub offer: String,
    /// The kind of such a request.
    pub kind: u16,
    /// The model that answers.
    pub model: String,
    /// The tokens that the prompt is likely to have, with what the seller puts around it.
    pub prompt_tokens: u32,
    /// What a short answer costs.
    pub least_msat: Msat,
    /// What is asked where it is paid first.
    pub most_msat: Msat,
}

impl Quote {
    /// Of a request with this conversation and no `max_tokens` of its own.
    #[must_use]
    pub fn of(
        (offer, kind, model): (&str, u16, &str),
        price: PriceRule,
        max_tokens: u32,
        messages: &[Message],
    ) -> Self {
        let most_input = most_input_tokens(message::most_bytes(messages));
        let prompt_tokens = message::likely_tokens(messages).min(most_input);
        Self {
            offer: offer.to_owned(),
            kind,
            model: model.to_owned(),
            prompt_tokens,
            least_msat: price.price(prompt_tokens, 1),
            most_msat: price.price(prompt_tokens, max_tokens),
        }
    }
}

/// Which offer a request is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Chosen<'a> {
    /// Plain text.
    Plain,
    /// One of the others.
    Special(&'a Special),
    /// None has its kind.
    None,
}

/// The offer of a request's kind and model. One that names no model, or one that no other offer has, is for plain text where
/// plain text serves its kind, and else for the first offer of that kind.
#[must_use]
pub fn choose<'a>(
    specials: &'a [Special],
    plain: bool,
    kind: u16,
    model: Option<&str>,
) -> Chosen<'a> {
    let mut of_kind = specials.iter().filter(|one| one.kind == kind);
    let named = model.and_then(|model| {
        let mut all = of_kind.clone();
        all.find(|one| same_model(&one.model, model))
    });
    match named {
        Some(special) => Chosen::Special(special),
        None if plain => Chosen::Plain,
        None => of_kind.next().map_or(Chosen::None, Chosen::Special),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(name: &str, kind: u16, model: &str) -> Special {
        Special {
            name: name.to_owned(),
            kind,
            model: model.to_owned(),
            system: String::new(),
            template: Template::usual(kind),
            price: PriceRule {
                min_sats: 1,
                per_1k_input: 1,
                per_1k_output: 1,
            },
            max_tokens: 10,
            token_ceiling: 10,
        }
    }

    #[test]
    fn a_template_is_filled_and_its_braces_are_kept() {
        let template = Template::parse("To { language }: {{as is}}\n{input}").unwrap();
        let values = BTreeMap::from([("language", "French".to_owned())]);
        assert_eq!(
            template.fill("{length}", &values),
            "To French: {as is}\n{length}"
        );
        assert!(template.has("language") && !template.has("length"));
    }

    #[test]
    fn what_is_wrong_with_a_template_is_told() {
        for (text, wrong) in [
            (
                "{input} {languge}",
                TemplateError::Unknown("languge".to_owned()),
            ),
            ("{input", TemplateError::Open),
            ("input}", TemplateError::Open),
            ("only words", TemplateError::NoInput),
            ("", TemplateError::NoInput),
        ] {
            assert_eq!(Template::parse(text), Err(wrong), "{text}");
        }
    }

    #[test]
    fn the_usual_templates_are_right() {
        for (text, kind, field) in [
            (SUMMARIZE, SUMMARY, "length"),
            (TRANSLATE, TRANSLATION, "language"),
            (AS_IT_IS, 5050, "input"),
        ] {
            assert_eq!(Template::parse(text), Ok(Template::usual(kind)));
            assert!(Template::usual(kind).has(field));
        }
    }

    #[test]
    fn a_request_finds_the_offer_of_its_kind_and_model() {
        let all = [
            special("translate", TRANSLATION, "a"),
            special("law", 5050, "law:latest"),
            special("better", TRANSLATION, "b"),
        ];
        let name = |plain, kind, model| match choose(&all, plain, kind, model) {
            Chosen::Plain => PLAIN,
            Chosen::Special(special) => special.name.as_str(),
            Chosen::None => "none",
        };
        assert_eq!(name(true, 5050, None), "text");
        assert_eq!(name(true, 5050, Some("LAW")), "law");
        assert_eq!(name(true, 5050, Some("other")), "text");
        assert_eq!(name(false, TRANSLATION, None), "translate");
        assert_eq!(name(false, TRANSLATION, Some("b")), "better");
        assert_eq!(name(false, TRANSLATION, Some("c")), "translate");
        assert_eq!(name(false, SUMMARY, None), "none");
    }
}
