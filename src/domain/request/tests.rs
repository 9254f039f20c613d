//! A case for each way in which requests are seen to arrive.

mod any;
mod dialects;
mod reading;
mod terms;
mod values;

use nostr::nips::{nip04, nip44};
use nostr::{Event, Keys, Kind, PublicKey, Tag, Timestamp, UnsignedEvent};

use super::*;
use crate::domain::job::TextParams;
use crate::domain::price::PriceRule;

/// Tags as they are written down in a case.
type Tags<'a> = &'a [&'a [&'a str]];

const NOW: Time = Time(1_795_000_000_000);
const MAX_AGE: u64 = 600;

fn seller() -> Keys {
    Keys::parse("0000000000000000000000000000000000000000000000000000000000000003").unwrap()
}

fn buyer() -> Keys {
    Keys::parse("0000000000000000000000000000000000000000000000000000000000000005").unwrap()
}

fn us() -> PublicKey {
    seller().public_key()
}

fn at(kind: u16, created_at: u64, tags: &[&[&str]], content: &str) -> Event {
    let tags = tags
        .iter()
        .map(|tag| Tag::parse(tag.iter().copied()).unwrap());
    UnsignedEvent::new(
        buyer().public_key(),
        Timestamp::from_secs(created_at),
        Kind::from_u16(kind),
        tags,
        content,
    )
    .sign_with_keys(&buyer())
    .unwrap()
}

fn ask(tags: &[&[&str]], content: &str) -> Event {
    at(5050, NOW.secs(), tags, content)
}

fn decrypt(scheme: Encryption, from: &PublicKey, text: &str) -> Result<String, ()> {
    let keys = seller();
    match scheme {
        Encryption::Plain => Err(()),
        Encryption::Nip04 => nip04::decrypt(keys.secret_key(), from, text).map_err(|_| ()),
        Encryption::Nip44 => nip44::decrypt(keys.secret_key(), from, text).map_err(|_| ()),
    }
}

fn encrypt(scheme: Encryption, text: &str) -> String {
    let keys = buyer();
    match scheme {
        Encryption::Plain => text.to_owned(),
        Encryption::Nip04 => nip04::encrypt(keys.secret_key(), &us(), text).unwrap(),
        Encryption::Nip44 => {
            nip44::encrypt(keys.secret_key(), &us(), text, nip44::Version::V2).unwrap()
        }
    }
}

fn understood(event: &Event) -> Result<Request, DropReason> {
    read(event, &us(), &decrypt)
}

/// The text parts, joined by `|`; what is on a relay as `event:` or `job:`.
fn inputs(event: &Event) -> Result<String, DropReason> {
    let parts = understood(event)?.prompt_parts;
    let shown = parts.into_iter().map(|part| match part {
        Part::Text(text) => text,
        Part::Event { id, relay, job } => {
            let what = if job { "job" } else { "event" };
            format!("{what}:{}@{}", &id.to_hex()[..4], relay.unwrap_or_default())
        }
    });
    Ok(shown.collect::<Vec<_>>().join("|"))
}

fn offer<'a>(
    allow_models: &'a [String],
    available: &'a dyn Fn(&str) -> Option<String>,
    price_of: &'a dyn Fn(&str) -> PriceRule,
) -> Offer<'a> {
    Offer {
        model: "gemma2:latest",
        allow_models,
        available,
        substitute: false,
        defaults: TextParams {
            max_tokens: 512,
            temperature: 0.7,
            top_k: 40,
            top_p: 0.9,
            frequency_penalty: 0.5,
            seed: None,
        },
        token_ceiling: 1_024,
        prompt_bytes: 1_000,
        price_of,
        priority_percent: 0,
    }
}

fn price(_: &str) -> PriceRule {
    PriceRule {
        min_sats: 10,
        per_1k_input: 2,
        per_1k_output: 2,
    }
}
