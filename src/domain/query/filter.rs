//! What is looked for: `status:paid model:gemma -buyer:npub1… since:2026-11-20 min:10 "some words"`.
//!
//! All terms must hold; a `-` before a term turns it round; quotes keep blanks and colons together. The same terms are
//! tried on a row in memory ([`Filter::matches`]) and written as SQL by the ledger, and both must agree. So letters are
//! compared without regard to case in ASCII only, which is what SQLite does.

use nostr::PublicKey;
use nostr::nips::nip19::FromBech32;

use crate::domain::job::{JobView, Status};
use crate::domain::msat::Msat;
use crate::domain::time::Time;

/// The longest filter, in characters.
pub const FILTER_MAX: usize = 200;
/// The most terms of a filter.
pub const TERMS_MAX: usize = 16;
/// Every key there is, as errors and the help name them.
pub const KEYS: &str = "status, model, buyer, kind, since, until, min, max";

/// Characters of an npub that carry whole bits of the key (NIP-19: five bits each, 255 of 256).
const NPUB_WHOLE: usize = 51;
/// Characters of an npub after its `npub1` (NIP-19: 52 of data, 6 of checksum).
const NPUB_DATA: usize = 58;
/// The alphabet of bech32 (BIP 173).
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const DAY_MS: i64 = 86_400_000;

/// Why a filter can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A word before a colon that is no key.
    #[error("'{0}' is no key: use {KEYS}; \"quotes\" look for a text with a colon")]
    UnknownKey(String),
    /// A key with nothing after it.
    #[error("{key}: needs a value: {allowed}")]
    NoValue {
        /// The key.
        key: &'static str,
        /// What may stand there.
        allowed: &'static str,
    },
    /// A value that its key does not take.
    #[error("'{value}' is no {key}: {allowed}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// What was found.
        value: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// A quote that does not end.
    #[error("a quote is not closed")]
    OpenQuote,
    /// Too much of it.
    #[error("too long: at most {TERMS_MAX} terms and {FILTER_MAX} characters")]
    TooLong,
}

/// The keys that begin with these bits: `lo` to `hi`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first.
    pub lo: [u8; 32],
    /// The last.
    pub hi: [u8; 32],
}

impl KeyRange {
    /// The keys whose hex begins with this; none where it is no hex or too long.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        if hex.is_empty() || hex.len() > 64 {
            return None;
        }
        let mut range = Self::all();
        for (index, digit) in hex.bytes().enumerate() {
            let digit = u8::try_from(char::from(digit).to_digit(16)?).ok()?;
            range.fix(index * 4, 4, digit);
        }
        Some(range)
    }

    /// The keys whose npub begins with this (NIP-19); none where none can.
    #[must_use]
    pub fn from_npub(npub: &str) -> Option<Self> {
        let data = npub.strip_prefix("npub1")?;
        if data.len() >= NPUB_DATA {
            let key = PublicKey::from_bech32(npub).ok()?;
            let bytes: [u8; 32] = key.as_bytes().as_slice().try_into().ok()?;
            return Some(Self {
                lo: bytes,
                hi: bytes,
            });
        }
        let mut range = Self::all();
        for (index, letter) in data.bytes().enumerate() {
            let bits = BECH32.iter().position(|one| *one == letter)?;
            if index < NPUB_WHOLE {
                range.fix(index * 5, 5, u8::try_from(bits).ok()?);
            }
        }
        Some(range)
    }

    /// Is this key among them?
    #[must_use]
    pub fn holds(&self, key: &[u8]) -> bool {
        self.lo.as_slice() <= key && key <= self.hi.as_slice()
    }

    const fn all() -> Self {
        Self {
            lo: [0; 32],
            hi: [0xff; 32],
        }
    }

    /// Fixes `count` bits from bit `at` on, the highest first.
    fn fix(&mut self, at: usize, count: usize, bits: u8) {
        for step in 0..count {
            let (byte, mask) = ((at + step) / 8, 0x80_u8 >> ((at + step) % 8));
            let on = bits & (1 << (count - 1 - step)) != 0;
            if let (Some(lo), Some(hi)) = (self.lo.get_mut(byte), self.hi.get_mut(byte)) {
                *lo = if on { *lo | mask } else { *lo & !mask };
                *hi = if on { *hi | mask } else { *hi & !mask };
            }
        }
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// In one of these statuses.
    Status(Vec<Status>),
    /// The model's name holds this, lower case.
    Model(String),
    /// The buyer's key begins so.
    Buyer(KeyRange),
    /// The request's kind.
    Kind(u16),
    /// Admitted then or later.
    Since(Time),
    /// Admitted before then.
    Before(Time),
    /// Costs so much or more. A job without a price does not.
    Min(Msat),
    /// Costs so much or less. A job without a price does not.
    Max(Msat),
    /// Lower case: in the model's name, at the start of the status, the job's id or the buyer's key, or the kind.
    Word {
        /// As typed, lower case.
        text: String,
        /// Ids and keys whose hex begins so, where it is hex.
        hex: Option<KeyRange>,
        /// Keys whose npub begins so, where it is one.
        npub: Option<KeyRange>,
    },
}

/// A condition, or its opposite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// It must not hold.
    pub not: bool,
    /// The condition.
    pub test: Test,
}

/// What is looked for: all terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The terms, in the order in which they were written.
    pub terms: Vec<Term>,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// Where it can't be read; the sentence says what is allowed.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.chars().count() > FILTER_MAX {
            return Err(FilterError::TooLong);
        }
        let mut terms = Vec::new();
        for piece in pieces(text)? {
            if terms.len() >= TERMS_MAX {
                return Err(FilterError::TooLong);
            }
            terms.push(term(&piece)?);
        }
        Ok(Self { terms })
    }

    /// Does it let every job through?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Do all terms hold?
    #[must_use]
    pub fn matches(&self, job: &JobView) -> bool {
        self.terms
            .iter()
            .all(|term| term.test.holds(job) != term.not)
    }
}

impl Test {
    fn holds(&self, job: &JobView) -> bool {
        let model = || job.model.as_deref().unwrap_or("").to_ascii_lowercase();
        let buyer = job.buyer.0.as_bytes().as_slice();
        match self {
            Self::Status(statuses) => statuses.contains(&job.status),
            Self::Model(name) => model().contains(name),
            Self::Buyer(range) => range.holds(buyer),
            Self::Kind(kind) => job.kind == *kind,
            Self::Since(at) => job.created_at >= *at,
            Self::Before(at) => job.created_at < *at,
            Self::Min(least) => job.price_msat.is_some_and(|price| price >= *least),
            Self::Max(most) => job.price_msat.is_some_and(|price| price <= *most),
            Self::Word { text, hex, npub } => {
                let id = job.id.0.as_bytes().as_slice();
                model().contains(text)
                    || job.status.as_str().starts_with(text)
                    || job.kind.to_string() == *text
                    || hex.is_some_and(|range| range.holds(id) || range.holds(buyer))
                    || npub.is_some_and(|range| range.holds(buyer))
            }
        }
    }
}

/// A piece of a filter as it was written.
#[derive(Debug, Default)]
struct Piece {
    not: bool,
    key: Option<String>,
    text: String,
    quoted: bool,
}

/// Cuts at the blanks that are not between quotes.
fn pieces(text: &str) -> Result<Vec<Piece>, FilterError> {
    let mut pieces = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut piece = Piece::default();
        if let Some(after) = rest.strip_prefix('-') {
            piece.not = true;
            rest = after;
        }
        let mut inside = false;
        let mut end = rest.len();
        for (at, c) in rest.char_indices() {
            match c {
                '"' => {
                    inside = !inside;
                    piece.quoted = true;
                }
                ':' if !inside && !piece.quoted && piece.key.is_none() => {
                    piece.key = Some(std::mem::take(&mut piece.text));
                }
                c if c.is_whitespace() && !inside => {
                    end = at;
                    break;
                }
                c => piece.text.push(c),
            }
        }
        if inside {
            return Err(FilterError::OpenQuote);
        }
        rest = rest[end..].trim_start();
        // A lone minus is the start of something that is still being typed.
        if piece.key.is_some() || piece.quoted || !piece.text.is_empty() {
            pieces.push(piece);
        }
    }
    Ok(pieces)
}

fn term(piece: &Piece) -> Result<Term, FilterError> {
    let value = piece.text.to_ascii_lowercase();
    let test = match piece.key.as_deref() {
        None => word(value),
        Some(key) => keyed(&key.to_ascii_lowercase(), &value)?,
    };
    Ok(Term {
        not: piece.not,
        test,
    })
}

fn word(text: String) -> Test {
    Test::Word {
        hex: KeyRange::from_hex(&text),
        npub: KeyRange::from_npub(&text),
        text,
    }
}

fn keyed(key: &str, value: &str) -> Result<Test, FilterError> {
    let (key, allowed, read): (_, _, fn(&str) -> Option<Test>) = match key {
        "status" => ("status", STATUSES, statuses),
        "model" => ("model", "a part of its name", |text| {
            Some(Test::Model(text.to_owned()))
        }),
        "buyer" => ("buyer", "an npub or hex key, or how it begins", |text| {
            KeyRange::from_npub(text)
                .or_else(|| KeyRange::from_hex(text))
                .map(Test::Buyer)
        }),
        "kind" => ("kind", "a number, as 5050", |text| {
            text.parse().ok().map(Test::Kind)
        }),
        "since" => ("since", TIMES, |text| time(text).map(Test::Since)),
        "until" => ("until", TIMES, |text| {
            // A day is meant whole.
            let day = if text.len() == 10 { DAY_MS } else { 1 };
            time(text).map(|at| Test::Before(Time(at.0.saturating_add(day))))
        }),
        "min" => ("min", SATS, |text| sats(text).map(Test::Min)),
        "max" => ("max", SATS, |text| sats(text).map(Test::Max)),
        other => return Err(FilterError::UnknownKey(other.to_owned())),
    };
    if value.is_empty() {
        return Err(FilterError::NoValue { key, allowed });
    }
    read(value).ok_or_else(|| FilterError::BadValue {
        key,
        value: value.to_owned(),
        allowed,
    })
}

const STATUSES: &str = "queued, awaiting_payment, processing, pending_payment, paid, completed, unpaid, error, \
                        cancelled; several with commas";
const TIMES: &str = "2026-11-21 or 2026-11-21T08:30:00Z";
const SATS: &str = "whole sats, as 21";

fn statuses(text: &str) -> Option<Test> {
    let words = text.split(',').filter(|word| !word.is_empty());
    let found: Option<Vec<Status>> = words.map(Status::parse).collect();
    found
        .filter(|statuses| !statuses.is_empty())
        .map(Test::Status)
}

fn time(text: &str) -> Option<Time> {
    Time::parse(&text.to_ascii_uppercase()).ok()
}

fn sats(text: &str) -> Option<Msat> {
    text.parse().ok().map(Msat::from_sats)
}
