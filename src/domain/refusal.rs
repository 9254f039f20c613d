//! Why a request was not admitted, in the order in which it is looked at.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The drop reasons of admission. The first that holds is the one that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// Seen before, from any relay, at any time.
    Duplicate,
    /// Too old, too far ahead, or past its expiration (NIP-40).
    Stale,
    /// Its `p` tags name other sellers.
    NotForUs,
    /// The buyer is on the block list, or not on the allow list.
    Blocked,
    /// The id or the signature does not verify (NIP-01).
    BadSignature,
    /// Encrypted, but not so that we can read it (NIP-04, NIP-44).
    Undecryptable,
    /// Nothing in it to answer.
    NoInput,
    /// A kind, or a job of that kind, that is not served.
    UnsupportedKind,
    /// An input that is not fetched, such as a url.
    UnsupportedInput,
    /// A model that we do not have and do not substitute.
    UnsupportedModel,
    /// A parameter that is no number at all.
    BadParam,
    /// More text than the settings or the model allow.
    PromptTooLong,
    /// It can only be paid in another coin.
    UnsupportedPayment,
    /// The buyer's ceiling is below the minimum price.
    BidTooLow,
    /// More than one buyer, or all buyers, may ask in a minute.
    RateLimited,
    /// The queue is full.
    Busy,
    /// The shop does not sell now.
    Offline,
}

impl DropReason {
    /// All of them, in the order of admission.
    pub const ALL: [Self; 17] = [
        Self::Duplicate,
        Self::Stale,
        Self::NotForUs,
        Self::Blocked,
        Self::BadSignature,
        Self::Undecryptable,
        Self::NoInput,
        Self::UnsupportedKind,
        Self::UnsupportedInput,
        Self::UnsupportedModel,
        Self::BadParam,
        Self::PromptTooLong,
        Self::UnsupportedPayment,
        Self::BidTooLow,
        Self::RateLimited,
        Self::Busy,
        Self::Offline,
    ];

    /// Could the request be read as a job?
    #[must_use]
    pub fn is_understood(self) -> bool {
        self > Self::UnsupportedInput
    }

    /// The word in JSON and in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::NotForUs => "not_for_us",
            Self::Blocked => "blocked",
            Self::BadSignature => "bad_signature",
            Self::Undecryptable => "undecryptable",
            Self::NoInput => "no_input",
            Self::UnsupportedKind => "unsupported_kind",
            Self::UnsupportedInput => "unsupported_input",
            Self::UnsupportedModel => "unsupported_model",
            Self::BadParam => "bad_param",
            Self::PromptTooLong => "prompt_too_long",
            Self::UnsupportedPayment => "unsupported_payment",
            Self::BidTooLow => "bid_too_low",
            Self::RateLimited => "rate_limited",
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }

    /// The word read back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// The plain sentence for a buyer who asked us alone; none where an answer would be noise or a leak.
    #[must_use]
    pub const fn sentence(self) -> Option<&'static str> {
        match self {
            Self::Duplicate | Self::NotForUs | Self::Blocked | Self::BadSignature | Self::Stale => {
                None
            }
            Self::Undecryptable => Some("This request could not be decrypted."),
            Self::NoInput => Some("This request holds no text to answer."),
            Self::UnsupportedKind => Some("This kind of job is not offered here."),
            Self::UnsupportedInput => Some("This type of input is not supported; send text."),
            Self::UnsupportedModel => Some("This model is not offered here."),
            Self::BadParam => Some("A parameter of this request is not a number."),
            Self::PromptTooLong => Some("This request is too long."),
            Self::UnsupportedPayment => Some("Payment is taken over Lightning only."),
            Self::BidTooLow => Some("The bid is below the minimum price."),
            Self::RateLimited => Some("Too many requests; please try again in a minute."),
            Self::Busy => Some("Busy; please try again later."),
            Self::Offline => Some("Not taking jobs right now; please try again later."),
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
