//! Sellers as a buyer sees them: what they announce (NIP-89), whether they are alive, what they did for us, who is asked first.

use std::collections::BTreeMap;
use std::time::Duration;

use nostr::{Event, PublicKey, ToBech32};
use serde::Serialize;
use serde_json::Value;

use super::model_name::same_model;
use super::msat::{MAX_MSAT, Msat};
use super::request::tags;
use super::text::clean;
use super::time::Time;

/// The kind of a heartbeat (NIP draft, PR 2465).
pub const HEARTBEAT: u16 = 11_998;
/// The kind of a ping; it is answered by a feedback with the status `pong`.
pub const PING: u16 = 7_007;
/// A heartbeat that lives no longer than this is the last one, seconds.
const LAST: u64 = 5;
/// A sign of life counts for so long.
pub const ALIVE: Duration = Duration::from_secs(900);
/// A sale counts as a sign of life for so long.
pub const SOLD: Duration = Duration::from_secs(24 * 3600);
/// Models of one seller that are kept.
const MAX_MODELS: usize = 200;
/// The longest name of a model or a seller, characters.
const LONGEST_NAME: usize = 128;
/// Room for how differently two servers count one prompt.
const SLACK_TOKENS: u64 = 64;
/// Stands for a price that was not announced when sellers are compared: dearer than most.
const UNKNOWN_PRICE: u64 = 50_000;

/// What a model costs and does, as its seller says. Unknown values are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ModelOffer {
    /// The least a job costs.
    pub min_msat: Option<u64>,
    /// 1,000 tokens of the prompt.
    pub input_msat_per_1k: Option<u64>,
    /// 1,000 tokens of the answer.
    pub output_msat_per_1k: Option<u64>,
    /// How fast it answers.
    pub tokens_per_second: Option<f64>,
    /// Tokens of prompt and answer together.
    pub context: Option<u64>,
}

impl ModelOffer {
    /// What a job of this size may cost at most; none where no price is known.
    #[must_use]
    pub fn most(&self, size: JobSize) -> Option<Msat> {
        let min = self.min_msat?;
        let part = |rate: Option<u64>, tokens: u64| {
            u128::from(rate.unwrap_or(0)) * u128::from(tokens + SLACK_TOKENS)
        };
        let metered = part(self.input_msat_per_1k, size.prompt_tokens)
            + part(self.output_msat_per_1k, size.max_tokens);
        // Sellers charge whole sats.
        let sats = metered.div_ceil(1_000 * 1_000);
        let metered = u64::try_from(sats.saturating_mul(1_000)).unwrap_or(MAX_MSAT);
        Some(Msat(metered.max(min).min(MAX_MSAT)))
    }
}

/// How large a job is, estimated from above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobSize {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// The most tokens of the answer.
    pub max_tokens: u64,
}

/// What a seller announces.
#[derive(Clone, Debug, PartialEq)]
pub struct Seller {
    /// Its key.
    pub key: PublicKey,
    /// Its name, clean.
    pub name: String,
    /// The models it names, in its order.
    pub models: Vec<(String, ModelOffer)>,
    /// It reads encrypted requests.
    pub encrypts: bool,
    /// It reads chat messages; otherwise they are made one text.
    pub messages: bool,
    /// It sends the answer as it comes.
    pub streams: bool,
    /// When it said so.
    pub at: Time,
}

impl Seller {
    /// The model of this name, as the seller writes it.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&(String, ModelOffer)> {
        self.models.iter().find(|(one, _)| same_model(one, name))
    }
}

/// One seller of several announcements of its own: the newest one's words, and the models of all; of a model that several name the
/// newest one's price.
#[must_use]
pub fn merged<'a>(announced: impl IntoIterator<Item = &'a Seller>) -> Option<Seller> {
    let mut all: Vec<&Seller> = announced.into_iter().collect();
    all.sort_by_key(|seller| std::cmp::Reverse(seller.at));
    let (newest, others) = all.split_first()?;
    let mut one = (*newest).clone();
    for (name, offer) in others.iter().flat_map(|seller| &seller.models) {
        if one.models.len() < MAX_MODELS && one.model(name).is_none() {
            one.models.push((name.clone(), *offer));
        }
    }
    Some(one)
}

/// Reads handler information (kind 31990) whose signature was checked. None where it sells no text on this kind, or can't be
/// read.
#[must_use]
pub fn read_seller(event: &Event, kind: u16) -> Option<Seller> {
    let wanted = kind.to_string();
    let mut kinds = tags::of(event).filter(|tag| tags::name(tag) == "k");
    if !kinds.any(|tag| tags::value(tag) == wanted) {
        return None;
    }
    let content: Value = serde_json::from_str(&event.content).ok()?;
    let name = content["name"]
        .as_str()
        .or(content["display_name"].as_str());
    let least = match &content["amount"] {
        Value::String(text) if text == "free" => Some(0),
        value => number(value),
    };
    let common = ModelOffer {
        min_msat: least,
        input_msat_per_1k: None,
        output_msat_per_1k: None,
        tokens_per_second: content["tokensPerSecond"].as_f64(),
        context: number(&content["context"]),
    };
    Some(Seller {
        key: event.pubkey,
        name: clean(name.unwrap_or(""), LONGEST_NAME),
        models: models(&content, common),
        encrypts: flag(&content["encryptionSupported"]),
        messages: flag(&content["messages"]),
        streams: flag(&content["stream"]),
        at: Time::from_secs(event.created_at.as_secs()),
    })
}

fn models(content: &Value, common: ModelOffer) -> Vec<(String, ModelOffer)> {
    let mut all: Vec<(String, ModelOffer)> = Vec::new();
    let named = content["nip90Params"]["model"]["values"].as_array();
    let named = named.into_iter().flatten().filter_map(Value::as_str);
    for name in named.take(MAX_MODELS) {
        let name = clean(name, LONGEST_NAME);
        if !name.is_empty() && !all.iter().any(|(one, _)| *one == name) {
            all.push((name, common));
        }
    }
    let priced = content["pricing"].as_object().into_iter().flatten();
    for (name, price) in priced.take(MAX_MODELS) {
        let name = clean(name, LONGEST_NAME);
        let per_model = |field: &str| number(&content[field][name.as_str()]);
        let offer = ModelOffer {
            min_msat: number(&price["min_msat"]).or(common.min_msat),
            input_msat_per_1k: number(&price["input_msat_per_1k"]),
            output_msat_per_1k: number(&price["output_msat_per_1k"]),
            tokens_per_second: content["tokensPerSecond"][name.as_str()]
                .as_f64()
                .or(common.tokens_per_second),
            context: per_model("context").or(common.context),
        };
        if let Some((_, known)) = all.iter_mut().find(|(one, _)| *one == name) {
            *known = offer;
        } else if !name.is_empty() && all.len() < MAX_MODELS {
            all.push((name, offer));
        }
    }
    all
}

fn flag(value: &Value) -> bool {
    value.as_bool() == Some(true) || value.as_str() == Some("true")
}

fn number(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str()?.trim().parse().ok())
        .filter(|number| *number <= MAX_MSAT)
}

/// Reads a heartbeat (kind 11998): when it was, or none where it says that the seller has stopped.
#[must_use]
pub fn heartbeat(event: &Event) -> Option<Time> {
    let at = event.created_at.as_secs();
    let ends = tags::of(event)
        .filter(|tag| tags::name(tag) == "expiration")
        .find_map(|tag| tags::value(tag).parse::<u64>().ok());
    // The last one before a seller goes is of use for a second.
    ends.is_none_or(|ends| ends > at + LAST)
        .then(|| Time::from_secs(at))
}

/// What a seller did for us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SellerRecord {
    /// Requests to it.
    pub asked: u64,
    /// Answers.
    pub delivered: u64,
    /// Requests that came to nothing, unpaid.
    pub failed: u64,
    /// Payments that nothing came for.
    pub lost: u64,
    /// Paid to it.
    pub paid_msat: Msat,
    /// From a request to its answer, the middle of them.
    pub seconds_median: Option<u64>,
    /// Its last answer.
    #[serde(skip)]
    pub last_delivered: Option<Time>,
}

/// What is known of a seller beside what it announces.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    /// Its last heartbeat or answer to a ping.
    pub seen: Option<Time>,
    /// What it did for us.
    pub record: SellerRecord,
}

impl Known {
    /// Is it there? By a heartbeat or pong of the last 15 minutes, or a sale of the last day.
    #[must_use]
    pub fn is_alive(&self, now: Time) -> bool {
        let within = |at: Option<Time>, long: Duration| at.is_some_and(|at| now.since(at) <= long);
        within(self.seen, ALIVE) || within(self.record.last_delivered, SOLD)
    }
}

/// A seller in its place, with the reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// What it announces.
    pub seller: Seller,
    /// The model that it would be asked for; none: its own choice.
    pub model: Option<String>,
    /// What is known of it.
    pub known: Known,
    /// Is it there?
    pub alive: bool,
    /// The most this job costs there, where it says so.
    pub most: Option<Msat>,
    /// Why it stands where it stands.
    pub reasons: Vec<String>,
    score: f64,
}

/// Puts the sellers that have this model (any, where none is named) into order: alive ones first, then by price, speed and
/// record.
#[must_use]
pub fn rank(
    sellers: &[(Seller, Known)],
    model: Option<&str>,
    size: JobSize,
    now: Time,
) -> Vec<Ranked> {
    let mut all: Vec<Ranked> = sellers
        .iter()
        .filter_map(|(seller, known)| place(seller, *known, model, size, now))
        .collect();
    all.sort_by(|a, b| {
        b.alive
            .cmp(&a.alive)
            .then(a.score.total_cmp(&b.score))
            .then(a.seller.key.cmp(&b.seller.key))
    });
    all
}

fn place(
    seller: &Seller,
    known: Known,
    model: Option<&str>,
    size: JobSize,
    now: Time,
) -> Option<Ranked> {
    let found = match model {
        Some(name) => Some(seller.model(name)?),
        None => seller.models.first(),
    };
    let offer = found.map(|(_, offer)| *offer).unwrap_or_default();
    let (alive, most) = (known.is_alive(now), offer.most(size));
    let mut reasons = vec![alive_words(&known, now)];
    reasons.push(match most {
        Some(Msat(0)) => "free".to_owned(),
        Some(most) => format!("at most {} for such a job", most.display()),
        None => "price not announced".to_owned(),
    });
    #[allow(clippy::cast_precision_loss)] // a score, not an amount
    let price = most.map_or(UNKNOWN_PRICE, |most| most.0) as f64 + 1_000.0;
    let (speed, words) = speed(&known.record, &offer);
    reasons.extend(words);
    let (trust, words) = trust(&known.record);
    reasons.extend(words);
    Some(Ranked {
        seller: seller.clone(),
        model: found.map(|(name, _)| name.clone()),
        known,
        alive,
        most,
        reasons,
        score: price * speed * trust,
    })
}

fn alive_words(known: &Known, now: Time) -> String {
    if known.seen.is_some_and(|at| now.since(at) <= ALIVE) {
        "alive".to_owned()
    } else if known.is_alive(now) {
        "sold to us in the last day".to_owned()
    } else {
        "no sign of life".to_owned()
    }
}

/// Slower costs more; what is not known counts as the middle.
fn speed(record: &SellerRecord, offer: &ModelOffer) -> (f64, Option<String>) {
    #[allow(clippy::cast_precision_loss)] // seconds
    if let Some(seconds) = record.seconds_median {
        let words = format!("{seconds} s in the middle");
        return ((seconds as f64 / 10.0).clamp(0.5, 4.0), Some(words));
    }
    match offer.tokens_per_second.filter(|speed| *speed > 0.0) {
        // Said, not measured: it weighs less.
        Some(speed) => (
            (30.0 / speed).clamp(0.8, 1.5),
            Some(format!("says {speed:.0} tokens a second")),
        ),
        None => (1.0, None),
    }
}

/// What was lost weighs most, then what failed.
fn trust(record: &SellerRecord) -> (f64, Option<String>) {
    if record.asked == 0 {
        return (1.0, Some("not asked yet".to_owned()));
    }
    #[allow(clippy::cast_precision_loss)] // counts
    let share = |count: u64| count as f64 / (record.asked as f64 + 1.0);
    let factor = 1.0 + 4.0 * share(record.failed) + 20.0 * share(record.lost);
    let words = format!(
        "{} of {} delivered, {} failed, {} lost",
        record.delivered, record.asked, record.failed, record.lost
    );
    (factor, Some(words))
}

/// A seller as `vend gateway sellers` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SellerView {
    /// As a person reads its key.
    pub npub: String,
    /// Its name.
    pub name: String,
    /// Is it there?
    pub alive: bool,
    /// Why it stands where it stands.
    pub reasons: Vec<String>,
    /// What it sells.
    pub models: BTreeMap<String, ModelOffer>,
    /// What it did for us.
    pub record: SellerRecord,
}

impl From<&Ranked> for SellerView {
    fn from(ranked: &Ranked) -> Self {
        let seller = &ranked.seller;
        Self {
            npub: seller.key.to_bech32().unwrap_or_default(),
            name: seller.name.clone(),
            alive: ranked.alive,
            reasons: ranked.reasons.clone(),
            models: seller.models.iter().cloned().collect(),
            record: ranked.known.record,
        }
    }
}

#[cfg(test)]
mod tests {
    use nostr::{EventBuilder, Keys, Kind, Tag};

    use super::*;

    const NOW: Time = Time(1_800_000_000_000);
    const SIZE: JobSize = JobSize {
        prompt_tokens: 436,
        max_tokens: 436,
    };

    fn announced(keys: &Keys, content: &Value) -> Seller {
        let tags = [["d", "vend"], ["k", "5050"]].map(|parts| Tag::parse(parts).unwrap());
        let event = EventBuilder::new(Kind::from_u16(31_990), content.to_string())
            .tags(tags)
            .sign_with_keys(keys)
            .unwrap();
        assert!(read_seller(&event, 5100).is_none());
        read_seller(&event, 5050).unwrap()
    }

    fn priced(min_sats: u64) -> Seller {
        let content = serde_json::json!({
            "name": "shop", "encryptionSupported": true, "stream": true,
            "nip90Params": {"model": {"values": ["gemma2:latest", "llama3"]}},
            "pricing": {"gemma2:latest":
                {"min_msat": min_sats * 1_000, "input_msat_per_1k": 2_000, "output_msat_per_1k": 4_000}},
            "tokensPerSecond": 25.0, "context": 8192,
        });
        announced(&Keys::generate(), &content)
    }

    fn known(record: SellerRecord) -> Known {
        Known {
            seen: Some(NOW),
            record,
        }
    }

    #[test]
    fn an_announcement_is_read_as_ours_and_as_others_write_it() {
        let ours = priced(10);
        assert!(ours.encrypts && ours.streams && !ours.messages);
        let (_, offer) = ours.model("Gemma2").unwrap();
        assert_eq!(
            offer.most(SIZE),
            Some(Msat(10_000)),
            "3 sats are below the least"
        );
        let large = JobSize {
            prompt_tokens: 9_936,
            max_tokens: 936,
        };
        assert_eq!(offer.most(large), Some(Msat(24_000)));
        let others =
            serde_json::json!({"name": "dvm\u{1b}[2J", "amount": "5000", "nip90Params": {}});
        let others = announced(&Keys::generate(), &others);
        assert_eq!(others.name, "dvm[2J");
        assert!(others.models.is_empty() && !others.encrypts);
    }

    #[test]
    fn cheaper_comes_first_and_a_bad_record_costs_the_place() {
        let (cheap, dear) = (priced(10), priced(20));
        let fresh = known(SellerRecord::default());
        let order = |cheaps: Known| {
            let all = [(dear.clone(), fresh), (cheap.clone(), cheaps)];
            rank(&all, Some("gemma2"), SIZE, NOW)[0].seller.key
        };
        assert_eq!(order(fresh), cheap.key);
        let record = SellerRecord {
            asked: 9,
            delivered: 6,
            lost: 3,
            ..SellerRecord::default()
        };
        assert_eq!(order(known(record)), dear.key);
        let record = SellerRecord {
            asked: 9,
            delivered: 2,
            failed: 7,
            ..SellerRecord::default()
        };
        assert_eq!(order(known(record)), dear.key);
        assert_eq!(
            order(Known {
                seen: None,
                ..fresh
            }),
            dear.key,
            "no sign of life"
        );
        let named = rank(&[(cheap, fresh), (dear, fresh)], Some("mistral"), SIZE, NOW);
        assert!(named.is_empty());
    }

    #[test]
    fn several_announcements_of_a_seller_are_one_seller() {
        let offer = |min| ModelOffer {
            min_msat: Some(min),
            input_msat_per_1k: None,
            output_msat_per_1k: None,
            tokens_per_second: None,
            context: None,
        };
        let key = nostr::Keys::generate().public_key();
        let said = |name: &str, at, models: &[(&str, u64)]| Seller {
            key,
            name: name.to_owned(),
            models: models
                .iter()
                .map(|(name, min)| ((*name).to_owned(), offer(*min)))
                .collect(),
            encrypts: true,
            messages: true,
            streams: true,
            at: Time(at),
        };
        let plain = said("shop", 2, &[("gemma2", 10)]);
        let law = said("shop: law", 1, &[("law", 50), ("gemma2:latest", 99)]);
        let one = merged([&law, &plain]).unwrap();
        assert_eq!(one.name, "shop");
        let models: Vec<_> = one
            .models
            .iter()
            .map(|(name, offer)| (name.as_str(), offer.min_msat))
            .collect();
        assert_eq!(models, [("gemma2", Some(10)), ("law", Some(50))]);
        assert!(merged([]).is_none());
    }

    #[test]
    fn a_seller_lives_by_beat_pong_or_sale_and_dies_by_a_beat_that_is_over() {
        let beat = |ends: u64| {
            let ends = ends.to_string();
            EventBuilder::new(Kind::from_u16(HEARTBEAT), "")
                .tags([Tag::parse(["expiration", ends.as_str()]).unwrap()])
                .custom_created_at(nostr::Timestamp::from_secs(1_000))
                .sign_with_keys(&Keys::generate())
                .unwrap()
        };
        assert_eq!(heartbeat(&beat(1_300)), Some(Time::from_secs(1_000)));
        assert_eq!(heartbeat(&beat(1_000)), None);
        let sold = SellerRecord {
            last_delivered: Some(NOW),
            ..SellerRecord::default()
        };
        let known = Known {
            seen: None,
            record: sold,
        };
        assert!(known.is_alive(NOW.plus(SOLD)) && !known.is_alive(NOW.plus(SOLD * 2)));
        let known = Known {
            seen: Some(NOW),
            ..Known::default()
        };
        assert!(known.is_alive(NOW.plus(ALIVE)) && !known.is_alive(NOW.plus(ALIVE * 2)));
    }
}
