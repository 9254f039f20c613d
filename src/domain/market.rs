//! What is asked and offered on the seller's relays: `vend market`. Counts of public events, kept for a while; never a forecast.

use std::collections::BTreeMap;

use nostr::{Event, PublicKey, ToBech32};
use serde::{Deserialize, Serialize};

use super::model_name::same_model;
use super::msat::{MAX_MSAT, Msat};
use super::refusal::DropReason;
use super::request::tags;
use super::sellers::{self, Seller};
use super::text::clean;

/// So many days are kept.
pub const DAYS_KEPT: u64 = 90;
/// Models that are counted for each day and kind; those beyond are [`OTHERS`].
pub const MODELS_MAX: u32 = 100;
/// Different bids that are counted for each day and kind; those beyond are left out of the median.
pub const BIDS_MAX: u32 = 200;
/// Sellers that are kept, those that were seen last.
pub const SELLERS_MAX: u32 = 500;
/// Models that nobody counts by name any more.
pub const OTHERS: &str = "(others)";
/// The longest name of a model, characters.
const NAME: usize = 64;
/// Kinds of one seller that are kept.
const KINDS_MAX: usize = 32;
/// Models of one seller that are kept.
const MODELS_OF_ONE: usize = 64;

/// One request as it was asked in public.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Its kind.
    pub kind: u16,
    /// The model that it names; empty: none, or not in public.
    pub model: String,
    /// What it offers at most.
    pub bid: Option<Msat>,
}

/// What is public of a request. An encrypted one hides its model.
#[must_use]
pub fn asked(event: &Event) -> Asked {
    let mut asked = Asked {
        kind: event.kind.as_u16(),
        model: String::new(),
        bid: None,
    };
    for tag in tags::of(event) {
        match tags::name(tag) {
            "param" if tags::value(tag).eq_ignore_ascii_case("model") && asked.model.is_empty() => {
                asked.model = clean(tags::at(tag, 2), NAME);
            }
            "bid" if asked.bid.is_none() => {
                let bid = tags::value(tag).parse::<u64>().ok();
                asked.bid = bid
                    .filter(|bid| *bid > 0)
                    .map(|bid| Msat(bid.min(MAX_MSAT)));
            }
            _ => {}
        }
    }
    asked
}

/// Does a request that was dropped for this reason count as asked? Not one that came before, or that anybody may have made up.
#[must_use]
pub const fn counts(reason: DropReason) -> bool {
    !matches!(
        reason,
        DropReason::Duplicate | DropReason::Stale | DropReason::BadSignature
    )
}

/// What a request that was not taken would have brought at least: the least price, or the bid where that is lower. None where it
/// was nothing that could be sold, or was meant for somebody else.
#[must_use]
pub fn worth(reason: DropReason, bid: Option<Msat>, least: Msat) -> Option<Msat> {
    match reason {
        DropReason::Duplicate
        | DropReason::Stale
        | DropReason::NotForUs
        | DropReason::BadSignature => None,
        DropReason::Blocked
        | DropReason::Undecryptable
        | DropReason::NoInput
        | DropReason::BadParam
        | DropReason::UnsupportedPayment => Some(Msat::ZERO),
        DropReason::UnsupportedKind
        | DropReason::UnsupportedInput
        | DropReason::UnsupportedModel
        | DropReason::PromptTooLong
        | DropReason::BidTooLow
        | DropReason::RateLimited
        | DropReason::Busy
        | DropReason::Offline => Some(bid.map_or(least, |bid| bid.min(least))),
    }
}

/// The middle one of bids with their counts, in rising order; of an even number the lower one.
#[must_use]
pub fn median(bids: &[(Msat, u64)]) -> Option<Msat> {
    let total: u64 = bids.iter().map(|(_, count)| count).sum();
    let middle = total.checked_add(1)? / 2;
    let mut passed = 0;
    bids.iter()
        .find(|(_, count)| {
            passed += count;
            passed >= middle && total > 0
        })
        .map(|(bid, _)| *bid)
}

/// What is asked and charged: `vend market --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The days that it is about, today among them.
    pub days: u64,
    /// By day (UTC) and kind, the oldest first.
    pub requests: Vec<Requests>,
    /// Who announces, the newest first.
    pub sellers: Vec<Other>,
    /// What was not taken, the most frequent first.
    pub missed: Vec<Missed>,
}

/// The requests of one day and kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Requests {
    /// `2026-11-21`
    pub day: String,
    /// The kind.
    pub kind: u16,
    /// How many.
    pub count: u64,
    /// How many named each model; who named none is in no model's count.
    pub models: BTreeMap<String, u64>,
    /// The middle bid; none where nobody bid.
    pub bid_msat_median: Option<Msat>,
}

/// A seller as it announces itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Other {
    /// Its key.
    pub npub: String,
    /// Its name, clean.
    pub name: String,
    /// The kinds that it takes.
    pub kinds: Vec<u16>,
    /// Did it give a sign of life when it was looked at last?
    pub alive: bool,
    /// What it charges.
    pub models: BTreeMap<String, Charge>,
}

/// What a model costs elsewhere. Unknown values are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The least a job costs.
    pub min_msat: Option<u64>,
    /// 1,000 tokens of the prompt.
    pub input_msat_per_1k: Option<u64>,
    /// 1,000 tokens of the answer.
    pub output_msat_per_1k: Option<u64>,
}

/// Requests that were not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// The word of the drop reason.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// What they would have brought at least.
    pub worth_msat: Msat,
}

/// What is kept of a seller's announcement.
#[derive(Clone, Debug, PartialEq)]
pub struct Announced {
    /// Its key.
    pub key: PublicKey,
    /// Its name, clean.
    pub name: String,
    /// The kinds that it takes.
    pub kinds: Vec<u16>,
    /// What it charges.
    pub models: BTreeMap<String, Charge>,
}

/// Reads handler information (kind 31990) whose signature was checked; none where it takes none of these kinds.
#[must_use]
pub fn announced(event: &Event, kinds: &[u16]) -> Option<Announced> {
    let mut taken: Vec<u16> = tags::of(event)
        .filter(|tag| tags::name(tag) == "k")
        .filter_map(|tag| tags::value(tag).parse().ok())
        .collect();
    taken.truncate(KINDS_MAX);
    let kind = *taken.iter().find(|kind| kinds.contains(kind))?;
    let seller: Seller = sellers::read_seller(event, kind)?;
    let charge = |offer: &sellers::ModelOffer| Charge {
        min_msat: offer.min_msat,
        input_msat_per_1k: offer.input_msat_per_1k,
        output_msat_per_1k: offer.output_msat_per_1k,
    };
    let models = seller.models.iter().take(MODELS_OF_ONE);
    Some(Announced {
        key: seller.key,
        name: seller.name.clone(),
        kinds: taken,
        models: models
            .map(|(name, offer)| (clean(name, NAME), charge(offer)))
            .collect(),
    })
}

impl Announced {
    /// As it is told.
    #[must_use]
    pub fn told(self, alive: bool) -> Other {
        let npub = self.key.to_bech32().unwrap_or_else(|_| self.key.to_hex());
        Other {
            npub,
            name: self.name,
            kinds: self.kinds,
            alive,
            models: self.models,
        }
    }
}

impl Report {
    /// All requests.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.requests.iter().map(|one| one.count).sum()
    }

    /// Requests that named one of these models.
    #[must_use]
    pub fn named(&self, ours: &[String]) -> u64 {
        let is_ours = |name: &str| ours.iter().any(|one| same_model(one, name));
        let models = self.requests.iter().flat_map(|one| &one.models);
        models
            .filter(|(name, _)| is_ours(name))
            .map(|(_, count)| count)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use nostr::{EventBuilder, Keys, Kind, Tag};

    use super::*;

    fn event(kind: u16, content: &str, tags: &[&[&str]]) -> Event {
        let tags = tags
            .iter()
            .map(|tag| Tag::parse(tag.iter().copied()).unwrap());
        EventBuilder::new(Kind::from_u16(kind), content)
            .tags(tags)
            .sign_with_keys(&Keys::generate())
            .unwrap()
    }

    #[test]
    fn what_is_public_of_a_request_is_its_kind_model_and_bid() {
        let tags: &[&[&str]] = &[
            &["i", "hi", "text"],
            &["param", "model", " llama3\u{1b} "],
            &["bid", "12000"],
        ];
        let told = asked(&event(5050, "", tags));
        assert_eq!((told.kind, told.bid), (5050, Some(Msat(12_000))));
        assert!(told.model.starts_with("llama3") && !told.model.contains('\u{1b}'));
        let silent = asked(&event(
            5100,
            "ciphertext",
            &[&["encrypted"], &["bid", "-1"]],
        ));
        assert_eq!(
            silent,
            Asked {
                kind: 5100,
                model: String::new(),
                bid: None
            }
        );
        let long = "x".repeat(5_000);
        assert!(
            asked(&event(5050, "", &[&["param", "model", &long]]))
                .model
                .chars()
                .count()
                <= NAME + 1
        );
    }

    #[test]
    fn the_middle_bid_is_one_that_was_made() {
        let bids = |all: &[(u64, u64)]| {
            all.iter()
                .map(|(bid, n)| (Msat(*bid), *n))
                .collect::<Vec<_>>()
        };
        assert_eq!(median(&[]), None);
        assert_eq!(median(&bids(&[(5, 1)])), Some(Msat(5)));
        assert_eq!(median(&bids(&[(5, 1), (9, 1)])), Some(Msat(5)));
        assert_eq!(median(&bids(&[(1, 2), (5, 1), (9, 100)])), Some(Msat(9)));
    }

    #[test]
    fn what_was_missed_is_worth_its_bid_or_the_least_price() {
        let (least, low) = (Msat(10_000), Some(Msat(3_000)));
        assert_eq!(worth(DropReason::Busy, None, least), Some(least));
        assert_eq!(
            worth(DropReason::Busy, Some(Msat(90_000)), least),
            Some(least)
        );
        assert_eq!(worth(DropReason::BidTooLow, low, least), low);
        assert_eq!(worth(DropReason::NoInput, low, least), Some(Msat::ZERO));
        assert_eq!(worth(DropReason::NotForUs, low, least), None);
    }

    #[test]
    fn an_announcement_tells_what_its_seller_charges() {
        let content = r#"{"name":"other","nip90Params":{"model":{"required":false,"values":["a"]}},"amount":"5000"}"#;
        let other = event(
            31_990,
            content,
            &[&["k", "5050"], &["k", "5002"], &["d", "x"]],
        );
        let read = announced(&other, &[5050, 5100]).unwrap();
        assert_eq!(
            (read.name.as_str(), &read.kinds[..]),
            ("other", &[5050, 5002][..])
        );
        assert_eq!(read.models["a"].min_msat, Some(5_000));
        assert_eq!(announced(&other, &[5100]), None);
    }
}
