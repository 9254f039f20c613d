//! What the shop says about itself: NIP-89 handler info, a profile (kind 0), a relay list (NIP-65), a heartbeat.
//!
//! All are replaceable: a newer one takes the place of the older, so a change is told by publishing it again.

use nostr::{Event, Kind, PublicKey, Tag, Timestamp, UnsignedEvent};
use serde_json::{Map, Value, json};

use super::msat::Msat;
use super::price::PriceRule;
use super::request::{relay_url, tags};
use super::time::Time;

/// The kind of handler info (NIP-89).
pub const HANDLER_INFO: u16 = 31_990;

/// The kind of a heartbeat (nips PR 2465): who has none of late is hidden by clients.
pub const HEARTBEAT: u16 = 11_998;

/// Between two heartbeats; each one is of use for so long.
pub const HEARTBEAT_SECS: u64 = 300;

/// What the shop says about itself: profile, relay list, heartbeat, handler info.
pub const KINDS: [u16; 4] = [0, 10_002, HEARTBEAT, HANDLER_INFO];

/// The kinds of a ping, and of the answers to them.
pub const PING: u16 = 7007;
/// A ping that no relay keeps.
pub const FLEETING_PING: u16 = 20_200;
const FLEETING_PONG: u16 = 20_201;
const FEEDBACK: u16 = 7000;

/// A model that is sold.
#[derive(Clone, Debug, PartialEq)]
pub struct Sold {
    /// Its name.
    pub name: String,
    /// What it costs.
    pub price: PriceRule,
    /// How fast it is here, where that was measured.
    pub tokens_per_second: Option<f64>,
}

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
    pub models: &'a [Sold],
    /// The most output tokens a buyer may ask for.
    pub token_ceiling: u32,
    /// How many tokens prompt and answer may have together, where that is set.
    pub context: Option<u32>,
    /// Answers come in parts where a buyer wants it.
    pub stream: bool,
    /// Requests may be chat messages.
    pub messages: bool,
    /// Parameters beside those of every text generation.
    pub more_params: &'a [&'a str],
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
    if let Some(first) = info.models.first() {
        let free = first.price.is_free();
        let amount = if free {
            json!("free")
        } else {
            json!(first.price.minimum())
        };
        content.insert("amount".to_owned(), amount);
        if let Some(speed) = first.tokens_per_second {
            content.insert("tokensPerSecond".to_owned(), json!(rounded(speed)));
        }
    }
    content.insert("pricing".to_owned(), pricing(info.models));
    if let Some(context) = info.context {
        content.insert("context".to_owned(), json!(context));
    }
    for (name, is) in [("stream", info.stream), ("messages", info.messages)] {
        if is {
            content.insert(name.to_owned(), json!(true));
        }
    }
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

/// What each model costs, in msat.
fn pricing(models: &[Sold]) -> Value {
    let of = |sold: &Sold| {
        let PriceRule {
            min_sats,
            per_1k_input,
            per_1k_output,
        } = sold.price;
        let mut price = Map::new();
        price.insert("min_msat".to_owned(), json!(Msat::from_sats(min_sats)));
        price.insert(
            "input_msat_per_1k".to_owned(),
            json!(Msat::from_sats(per_1k_input)),
        );
        price.insert(
            "output_msat_per_1k".to_owned(),
            json!(Msat::from_sats(per_1k_output)),
        );
        if let Some(speed) = sold.tokens_per_second {
            price.insert("tokens_per_second".to_owned(), json!(rounded(speed)));
        }
        (sold.name.clone(), Value::Object(price))
    };
    Value::Object(models.iter().map(of).collect())
}

/// A speed with two digits: a new announcement for each small change would be noise.
fn rounded(speed: f64) -> f64 {
    if !speed.is_finite() || speed <= 0.0 {
        return 0.0;
    }
    let unit = 10_f64.powf(speed.log10().floor() - 1.0);
    let digits = (speed / unit).round() * unit;
    (digits * 100.0).round() / 100.0
}

/// The parameters a request may carry (kinds registry, 5050), with the values that fit.
fn params(info: &Handler) -> Value {
    let free = || json!({ "required": false, "values": [] });
    let mut params = json!({
        "model": { "required": false, "values": info.models.iter().map(|sold| &sold.name).collect::<Vec<_>>() },
        "max_tokens": { "required": false, "values": [], "max": info.token_ceiling },
        "temperature": free(),
        "top_k": free(),
        "top_p": free(),
        "frequency_penalty": free(),
        "seed": free(),
    });
    for name in info.more_params {
        params[*name] = free();
    }
    params
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

/// A heartbeat that belongs to the handler info of these identifiers: there is but one of a seller. The last one before the shop goes offline is of use for a
/// second: a relay takes nothing that is of none.
#[must_use]
pub fn heartbeat(us: &PublicKey, identifiers: &[String], last: bool, now: Time) -> UnsignedEvent {
    let secs = if last { 1 } else { HEARTBEAT_SECS };
    let until = (now.secs() + secs).to_string();
    let ours = identifiers.iter();
    let mut list: Vec<Tag> = ours.map(|one| tags::make("d", [one.as_str()])).collect();
    list.push(tags::make("expiration", [until.as_str()]));
    event(us, HEARTBEAT, list, Value::String(String::new()), now)
}

/// The answer to a ping; none where this is no ping of us.
#[must_use]
pub fn pong(us: &PublicKey, ping: &Event, now: Time) -> Option<UnsignedEvent> {
    let ours = ping.tags.public_keys().any(|key| key == us);
    let (kind, status) = match ping.kind.as_u16() {
        PING => (FEEDBACK, true),
        FLEETING_PING => (FLEETING_PONG, false),
        _ => return None,
    };
    if !ours || ping.pubkey == *us {
        return None;
    }
    let (id, author) = (ping.id.to_hex(), ping.pubkey.to_hex());
    let mut list = vec![
        tags::make("e", [id.as_str()]),
        tags::make("p", [author.as_str()]),
    ];
    if status {
        list.push(tags::make("status", ["pong"]));
    }
    let mut answer = event(us, kind, list, Value::String(String::new()), now);
    // A client whose clock is ahead would otherwise get an answer older than its question.
    answer.created_at = answer.created_at.max(ping.created_at);
    Some(answer)
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

    fn sold(price: PriceRule) -> Vec<Sold> {
        let name = "gemma2:latest".to_owned();
        vec![Sold {
            name,
            price,
            tokens_per_second: Some(41.37),
        }]
    }

    fn info(models: &[Sold]) -> Handler<'_> {
        Handler {
            identifier: "vend",
            name: "shop",
            about: "answers",
            picture: None,
            kinds: &[5050, 5100],
            models,
            token_ceiling: 512,
            context: Some(8192),
            stream: false,
            messages: true,
            more_params: &["language"],
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
        let models = sold(PRICE);
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
        assert_eq!(content["nip90Params"]["language"]["required"], false);
        assert!(content.get("picture").is_none());
        assert_eq!(content["tokensPerSecond"], 41.0);
        assert_eq!(content["context"], 8192);
        assert_eq!(content["messages"], true);
        assert!(content.get("stream").is_none(), "only what is so is said");
        let price = &content["pricing"]["gemma2:latest"];
        assert_eq!(price["min_msat"], 10_000);
        assert_eq!(
            (&price["input_msat_per_1k"], &price["output_msat_per_1k"]),
            (&json!(2_000), &json!(2_000))
        );
    }

    #[test]
    fn a_free_shop_says_free() {
        let us = Keys::generate().public_key();
        let models = sold(PriceRule {
            min_sats: 0,
            per_1k_input: 0,
            per_1k_output: 0,
        });
        let content = handler(&us, &info(&models), NOW).content;
        let content: Value = serde_json::from_str(&content).unwrap();
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
    fn a_heartbeat_belongs_to_its_handler_info_and_ends() {
        let us = Keys::generate().public_key();
        let ours = ["vend".to_owned()];
        let beat = heartbeat(&us, &ours, false, NOW);
        assert_eq!(
            (beat.kind.as_u16(), tags_of(&beat, "d")),
            (11_998, vec!["vend".to_owned()])
        );
        assert_eq!(
            tags_of(&beat, "expiration"),
            [(NOW.secs() + 300).to_string()]
        );
        let last = heartbeat(&us, &ours, true, NOW);
        assert_eq!(tags_of(&last, "expiration"), [(NOW.secs() + 1).to_string()]);
    }

    #[test]
    fn a_ping_of_us_is_answered_in_its_way() {
        let (us, other) = (Keys::generate(), Keys::generate());
        let ping = |kind: u16, to: &Keys, by: &Keys| {
            let to = Tag::public_key(to.public_key());
            let built = nostr::EventBuilder::new(Kind::from_u16(kind), "")
                .tag(to)
                .allow_self_tagging();
            built.sign_with_keys(by).unwrap()
        };
        let key = us.public_key();
        let asked = ping(7007, &us, &other);
        let answer = pong(&key, &asked, NOW).unwrap();
        assert_eq!(
            (answer.kind.as_u16(), tags_of(&answer, "status")),
            (7000, vec!["pong".to_owned()])
        );
        assert_eq!(tags_of(&answer, "e"), [asked.id.to_hex()]);
        assert_eq!(tags_of(&answer, "p"), [other.public_key().to_hex()]);
        let fleeting = pong(&key, &ping(20_200, &us, &other), NOW).unwrap();
        assert_eq!(fleeting.kind.as_u16(), 20_201);
        assert!(pong(&key, &ping(7007, &other, &other), NOW).is_none());
        assert!(
            pong(&key, &ping(7007, &us, &us), NOW).is_none(),
            "never ourselves"
        );
        assert!(pong(&key, &ping(5050, &us, &other), NOW).is_none());
    }

    #[test]
    fn a_speed_has_two_digits() {
        let told = [0.0, 0.123, 1.0, 9.96, 41.37, 128.4].map(|speed| rounded(speed).to_string());
        assert_eq!(told, ["0", "0.12", "1", "10", "41", "130"]);
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
