//! What the shop says about itself: NIP-89 handler info, a profile (kind 0), a relay list (NIP-65).
//!
//! All three are replaceable: a newer one takes the place of the older, so a change is told by publishing it again.

use nostr::{Kind, PublicKey, Tag, Timestamp, UnsignedEvent};
use serde_json::{Map, Value, json};

use super::price::PriceRule;
use super::request::{relay_url, tags};
use super::time::Time;

/// The kind of handler info (NIP-89).
pub const HANDLER_INFO: u16 = 31_990;

/// What the handler info says.
#[derive(Clone, Debug, PartialEq)]
pub struct Handler<'a> {
    /// The `d` tag: stable, so that the next one takes the place of this one.
    pub identifier: &'a str,
    /// The shop's name.
    pub name: &'a str,
    /// A sentence about it.
    pub about: &'a str,
    /// A picture's url.
    pub picture: Option<&'a str>,
    /// The kinds of requests it takes, one `k` tag each. Empty: it takes none any more.
    pub kinds: &'a [u16],
    /// Models a buyer may name; the first is the one that answers where none is named.
    pub models: &'a [String],
    /// The most output tokens a buyer may ask for.
    pub token_ceiling: u32,
    /// What the first model costs.
    pub price: PriceRule,
}

/// The handler info, kind 31990 (NIP-89, with the fields that NIP-90 apps look for).
///
/// `amount` is `"free"`, or the least a job costs in msat.
#[must_use]
pub fn handler(us: &PublicKey, info: &Handler, now: Time) -> UnsignedEvent {
    let mut content = Map::new();
    content.insert("name".to_owned(), json!(info.name));
    content.insert("about".to_owned(), json!(info.about));
    if let Some(picture) = info.picture {
        content.insert("picture".to_owned(), json!(picture));
    }
    let amount = if info.price.is_free() {
        json!("free")
    } else {
        json!(info.price.minimum())
    };
    content.insert("amount".to_owned(), amount);
    content.insert("encryptionSupported".to_owned(), json!(true));
    content.insert("cashuAccepted".to_owned(), json!(false));
    content.insert("nip90Params".to_owned(), params(info));

    let mut list = vec![tags::make("d", [info.identifier])];
    for kind in info.kinds {
        list.push(tags::make("k", [kind.to_string().as_str()]));
    }
    list.push(tags::make("t", ["dvm"]));
    list.push(tags::make("alt", ["Data vending machine: text generation"]));
    event(us, HANDLER_INFO, list, Value::Object(content), now)
}

/// The parameters a request may carry (kinds registry, 5050), with the values that fit.
fn params(info: &Handler) -> Value {
    let free = || json!({ "required": false, "values": [] });
    json!({
        "model": { "required": false, "values": info.models },
        "max_tokens": { "required": false, "values": [], "max": info.token_ceiling },
        "temperature": free(),
        "top_k": free(),
        "top_p": free(),
        "frequency_penalty": free(),
        "seed": free(),
    })
}

/// The profile, kind 0 (NIP-01, NIP-24). None where there is nothing to say: an empty one would wipe out what the
/// seller's key already shows.
#[must_use]
pub fn profile(
    us: &PublicKey,
    name: &str,
    about: &str,
    lightning_address: &str,
    now: Time,
) -> Option<UnsignedEvent> {
    let mut content = Map::new();
    for (key, value) in [
        ("name", name),
        ("about", about),
        ("lud16", lightning_address),
    ] {
        if !value.trim().is_empty() {
            content.insert(key.to_owned(), json!(value.trim()));
        }
    }
    if content.is_empty() {
        return None;
    }
    content.insert("bot".to_owned(), json!(true));
    Some(event(us, 0, Vec::new(), Value::Object(content), now))
}

/// The relay list, kind 10002 (NIP-65): read and written alike. Urls that are none are left out.
#[must_use]
pub fn relay_list(us: &PublicKey, relays: &[String], now: Time) -> UnsignedEvent {
    let list = relays
        .iter()
        .filter_map(|relay| relay_url(relay))
        .map(|relay| tags::make("r", [relay.as_str()]))
        .collect();
    event(us, 10_002, list, Value::String(String::new()), now)
}

fn event(us: &PublicKey, kind: u16, list: Vec<Tag>, content: Value, now: Time) -> UnsignedEvent {
    let content = match content {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let at = Timestamp::from_secs(now.secs());
    UnsignedEvent::new(*us, at, Kind::from_u16(kind), list, content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nostr::Keys;

    const NOW: Time = Time(1_795_000_000_000);
    const PRICE: PriceRule = PriceRule {
        min_sats: 10,
        per_1k_input: 2,
        per_1k_output: 2,
    };

    fn info(models: &[String]) -> Handler<'_> {
        Handler {
            identifier: "vend",
            name: "shop",
            about: "answers",
            picture: None,
            kinds: &[5050, 5100],
            models,
            token_ceiling: 512,
            price: PRICE,
        }
    }

    fn tags_of(event: &UnsignedEvent, name: &str) -> Vec<String> {
        let all = event.tags.iter().map(Tag::as_slice);
        all.filter(|tag| tags::name(tag) == name)
            .map(|tag| tags::value(tag).to_owned())
            .collect()
    }

    #[test]
    fn handler_info_has_one_d_and_one_k_for_each_kind() {
        let us = Keys::generate().public_key();
        let models = ["gemma2:latest".to_owned()];
        let event = handler(&us, &info(&models), NOW);
        assert_eq!(event.kind.as_u16(), 31_990);
        assert_eq!(tags_of(&event, "d"), ["vend"]);
        assert_eq!(tags_of(&event, "k"), ["5050", "5100"]);
        let content: Value = serde_json::from_str(&event.content).unwrap();
        assert_eq!(content["amount"], 10_000);
        assert_eq!(content["encryptionSupported"], true);
        assert_eq!(content["cashuAccepted"], false);
        assert_eq!(
            content["nip90Params"]["model"]["values"][0],
            "gemma2:latest"
        );
        assert_eq!(content["nip90Params"]["max_tokens"]["max"], 512);
        assert!(content.get("picture").is_none());
    }

    #[test]
    fn a_free_shop_says_free() {
        let us = Keys::generate().public_key();
        let mut info = info(&[]);
        info.price = PriceRule {
            min_sats: 0,
            per_1k_input: 0,
            per_1k_output: 0,
        };
        let content: Value = serde_json::from_str(&handler(&us, &info, NOW).content).unwrap();
        assert_eq!(content["amount"], "free");
    }

    #[test]
    fn a_profile_holds_the_lightning_address_and_is_never_empty() {
        let us = Keys::generate().public_key();
        assert!(profile(&us, "", " ", "", NOW).is_none());
        let event = profile(&us, "shop", "", "shop@example.com", NOW).unwrap();
        assert_eq!(event.kind.as_u16(), 0);
        let content: Value = serde_json::from_str(&event.content).unwrap();
        assert_eq!(content["lud16"], "shop@example.com");
        assert!(content.get("about").is_none());
    }

    #[test]
    fn the_relay_list_names_valid_relays_only() {
        let us = Keys::generate().public_key();
        let relays = ["wss://nos.lol/".to_owned(), "https://nos.lol".to_owned()];
        let event = relay_list(&us, &relays, NOW);
        assert_eq!(event.kind.as_u16(), 10_002);
        assert_eq!(tags_of(&event, "r"), ["wss://nos.lol"]);
        assert_eq!(event.content, "");
    }
}
