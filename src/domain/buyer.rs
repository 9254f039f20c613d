//! The other side of the counter: what a buyer writes and reads (NIP-90). `vend request` and the demo's buyer use it.

mod due;

use nostr::{Event, EventId, Kind, PublicKey, Tag, Timestamp, UnsignedEvent};

use super::id::RequestId;
use super::invoice;
use super::job::Encryption;
use super::msat::{MAX_MSAT, Msat};
use super::reply::{Encrypt, FEEDBACK, RESULT_ABOVE_REQUEST};
use super::request::{self, Decrypt, REQUEST_KINDS, tags};
use super::sellers::PING;
use super::text::clean_lines;
use super::time::Time;

pub use due::{Due, due};

/// The longest free text of a feedback that is kept, characters.
const LONGEST_EXTRA: usize = 4_096;

/// The longest part of an answer that is kept, bytes. No relay carries more.
const LONGEST_PARTIAL: usize = 1024 * 1024;

/// The longest invoice that is believed, bytes.
const LONGEST_INVOICE: usize = 4_096;

/// What a buyer asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The request's kind, 5000 to 5999.
    pub kind: u16,
    /// What is to be answered.
    pub prompt: String,
    /// The model wished for.
    pub model: Option<String>,
    /// The most tokens of the answer.
    pub max_tokens: Option<u32>,
    /// The most the buyer pays.
    pub bid: Option<Msat>,
    /// The answer's mime type.
    pub output: Option<String>,
    /// Where the answers should go.
    pub relays: Vec<String>,
    /// The one seller who is asked; none: whoever hears it.
    pub to: Option<PublicKey>,
    /// How it is sent. Only a request to one seller can be encrypted.
    pub encrypt: Encryption,
    /// Further parameters (`["param", name, value]`).
    pub params: Vec<(String, String)>,
}

impl Default for Order {
    /// Nothing asked yet: a plain text request to whoever hears it.
    fn default() -> Self {
        Self {
            kind: 5050,
            prompt: String::new(),
            model: None,
            max_tokens: None,
            bid: None,
            output: None,
            relays: Vec::new(),
            to: None,
            encrypt: Encryption::Plain,
            params: Vec::new(),
        }
    }
}

/// The unsigned request. Encrypted, prompt and parameters are inside the content; bid, relays, output and the seller's
/// key stay in clear, as NIP-90 has it.
///
/// # Errors
/// A sentence for the buyer: nothing to ask, a kind that is no request's, nobody to encrypt to, or `encrypt` failed.
pub fn order(
    order: &Order,
    us: &PublicKey,
    now: Time,
    encrypt: &Encrypt,
) -> Result<UnsignedEvent, String> {
    if order.prompt.trim().is_empty() {
        return Err("there is nothing to ask: the prompt is empty".to_owned());
    }
    if !REQUEST_KINDS.contains(&order.kind) {
        return Err(format!(
            "kind {} is no job request: use 5000 to 5999",
            order.kind
        ));
    }
    let mut list = in_clear(order);
    let content = if order.encrypt == Encryption::Plain {
        list.extend(asked(order));
        String::new()
    } else {
        let Some(seller) = &order.to else {
            return Err("an encrypted request needs its seller's key (--to)".to_owned());
        };
        list.push(tags::make("encrypted", []));
        let inside: Vec<Vec<String>> = asked(order).into_iter().map(Tag::to_vec).collect();
        let inside = serde_json::to_string(&inside)
            .map_err(|_| "the request cannot be written".to_owned())?;
        encrypt(order.encrypt, seller, &inside)?
    };
    Ok(UnsignedEvent::new(
        *us,
        Timestamp::from_secs(now.secs()),
        Kind::from_u16(order.kind),
        list,
        content,
    ))
}

/// The unsigned withdrawal of a request (kind 5, NIP-09): its seller need not go on.
#[must_use]
pub fn withdrawal(request: &Event, now: Time) -> UnsignedEvent {
    let kind = request.kind.as_u16().to_string();
    let list = [
        tags::make("e", [request.id.to_hex().as_str()]),
        tags::make("k", [kind.as_str()]),
    ];
    UnsignedEvent::new(
        request.pubkey,
        Timestamp::from_secs(now.secs()),
        Kind::EventDeletion,
        list,
        "",
    )
}

/// What an encrypted request hides.
fn asked(order: &Order) -> Vec<Tag> {
    let mut list = vec![tags::make("i", [order.prompt.as_str(), "text"])];
    if let Some(model) = &order.model {
        list.push(tags::make("param", ["model", model.as_str()]));
    }
    if let Some(most) = order.max_tokens {
        let most = most.to_string();
        list.push(tags::make("param", ["max_tokens", most.as_str()]));
    }
    for (name, value) in &order.params {
        list.push(tags::make("param", [name.as_str(), value.as_str()]));
    }
    list
}

fn in_clear(order: &Order) -> Vec<Tag> {
    let mut list = Vec::new();
    if let Some(seller) = &order.to {
        list.push(tags::make("p", [seller.to_hex().as_str()]));
    }
    if let Some(bid) = order.bid {
        list.push(tags::make("bid", [bid.0.to_string().as_str()]));
    }
    if let Some(output) = &order.output {
        list.push(tags::make("output", [output.as_str()]));
    }
    if !order.relays.is_empty() {
        list.push(tags::make(
            "relays",
            order.relays.iter().map(String::as_str),
        ));
    }
    list
}

/// How far the seller is (NIP-90, `status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It waits until it is paid.
    PaymentRequired,
    /// It is in work.
    Processing,
    /// It failed, or was refused.
    Error,
    /// It is done.
    Success,
    /// A part of the answer.
    Partial,
}

impl Status {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaymentRequired => "payment-required",
            Self::Processing => "processing",
            Self::Error => "error",
            Self::Success => "success",
            Self::Partial => "partial",
        }
    }

    /// The word read back; an underscore is read as a hyphen, and capitals do not matter.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let word = word.trim().to_ascii_lowercase().replace('_', "-");
        [
            Self::PaymentRequired,
            Self::Processing,
            Self::Error,
            Self::Success,
            Self::Partial,
        ]
        .into_iter()
        .find(|status| status.as_str() == word)
    }
}

/// What a seller says about a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A feedback.
    Feedback {
        /// How far it is.
        status: Status,
        /// Free text; its hostile characters are gone, but for a part of the answer, which is as it came. None where it could
        /// not be decrypted.
        extra: Option<String>,
        /// What is asked.
        amount: Option<Msat>,
        /// The invoice as written; not checked.
        bolt11: Option<String>,
    },
    /// A result that can't be opened with this buyer's key.
    Sealed,
    /// A result.
    Result {
        /// The answer as it came: from a stranger, and not yet made safe to show.
        content: String,
        /// What is asked.
        amount: Option<Msat>,
        /// The invoice as written; not checked.
        bolt11: Option<String>,
        /// The model that answered, as the seller says.
        model: Option<String>,
        /// Tokens of request and answer (`["usage", prompt, completion]`), as the seller says.
        usage: Option<(u64, u64)>,
    },
}

/// Reads a seller's event whose id and signature were verified. Whether that seller was asked is for the caller to judge.
///
/// None where it is neither a feedback nor a result, or names no request.
#[must_use]
pub fn read_answer(event: &Event, decrypt: &Decrypt) -> Option<(RequestId, Answer)> {
    let kind = event.kind.as_u16();
    let is_result = kind
        .checked_sub(RESULT_ABOVE_REQUEST)
        .is_some_and(|request| REQUEST_KINDS.contains(&request));
    if !is_result && kind != FEEDBACK {
        return None;
    }
    let id = named(event, "e").find_map(|tag| EventId::from_hex(tags::value(tag)).ok())?;
    let (amount, bolt11) = asks(event);
    let answer = if is_result {
        let Some(content) = opened(event, decrypt) else {
            return Some((RequestId(id), Answer::Sealed));
        };
        Answer::Result {
            content,
            amount,
            bolt11,
            model: named(event, "model")
                .next()
                .map(|tag| clean_lines(tags::value(tag), 128)),
            usage: named(event, "usage").find_map(usage),
        }
    } else {
        let tag = named(event, "status").next()?;
        let status = Status::parse(tags::value(tag))?;
        Answer::Feedback {
            status,
            extra: match status {
                Status::Partial => partial(event, tag, decrypt),
                _ => extra(event, tag, decrypt),
            },
            amount,
            bolt11,
        }
    };
    Some((RequestId(id), answer))
}

/// Is it a seller's answer to a ping?
#[must_use]
pub fn is_pong(event: &Event) -> bool {
    event.kind.as_u16() == FEEDBACK
        && named(event, "status").any(|tag| tags::value(tag).eq_ignore_ascii_case("pong"))
}

/// The unsigned ping of a seller.
#[must_use]
pub fn ping(us: &PublicKey, seller: &PublicKey, now: Time) -> UnsignedEvent {
    let list = [tags::make("p", [seller.to_hex().as_str()])];
    let at = Timestamp::from_secs(now.secs());
    UnsignedEvent::new(*us, at, Kind::from_u16(PING), list, "")
}

fn named<'a>(event: &'a Event, wanted: &'static str) -> impl Iterator<Item = &'a [String]> {
    tags::of(event).filter(move |tag| tags::name(tag) == wanted)
}

/// `["usage", prompt, completion]`: no model counts to a billion.
fn usage(tag: &[String]) -> Option<(u64, u64)> {
    let count = |index| {
        let count: u64 = tags::at(tag, index).parse().ok()?;
        (count <= 1_000_000_000).then_some(count)
    };
    Some((count(1)?, count(2)?))
}

/// The content in clear.
fn opened(event: &Event, decrypt: &Decrypt) -> Option<String> {
    match request::encryption(event) {
        Encryption::Plain => Some(event.content.clone()),
        scheme => decrypt(scheme, &event.pubkey, &event.content).ok(),
    }
}

/// The free text: beside the status, or in the content where it is encrypted or long.
fn extra(event: &Event, status: &[String], decrypt: &Decrypt) -> Option<String> {
    let beside = tags::at(status, 2);
    let text = if event.content.is_empty() {
        beside.to_owned()
    } else {
        opened(event, decrypt).unwrap_or_else(|| beside.to_owned())
    };
    let text = clean_lines(text.trim(), LONGEST_EXTRA);
    (!text.is_empty()).then_some(text)
}

/// The answer so far, to the letter: the result begins with it.
fn partial(event: &Event, status: &[String], decrypt: &Decrypt) -> Option<String> {
    let text = if event.content.is_empty() {
        status.get(2).cloned().unwrap_or_default()
    } else {
        opened(event, decrypt)?
    };
    (!text.is_empty() && text.len() <= LONGEST_PARTIAL).then_some(text)
}

/// `["amount", msat, bolt11?]`
fn asks(event: &Event) -> (Option<Msat>, Option<String>) {
    let Some(tag) = named(event, "amount").next() else {
        return (None, None);
    };
    let amount = tags::value(tag)
        .parse()
        .ok()
        .filter(|msat| *msat <= MAX_MSAT)
        .map(Msat);
    let invoice = invoice::bare(tags::at(tag, 2));
    let plausible = !invoice.is_empty()
        && invoice.len() <= LONGEST_INVOICE
        && invoice.bytes().all(|b| b.is_ascii_alphanumeric());
    (amount, plausible.then(|| invoice.to_owned()))
}
