//! Reading a buyer's request (NIP-90), tolerantly: only what leaves nothing to answer is refused.
//!
//! Nothing here trusts the sender: every list and every text is bounded, and a value that means nothing is passed over
//! with a note for the job's timeline. The order of the checks is the order of the drop reasons (see
//! [`DropReason`](super::refusal::DropReason)).

mod agree;
mod input;
mod params;
mod relays;
mod sealed;
pub(crate) mod tags;
mod talk;

use std::time::Duration;

use nostr::{Event, EventId, PublicKey, ToBech32};

use super::id::{Buyer, RequestId};
use super::job::Encryption;
use super::message::{Message, Role};
use super::msat::{MAX_MSAT, Msat};
use super::refusal::DropReason;
use super::text::clean;
use super::time::Time;

pub use agree::{Agreed, Offer, PLAIN, agree, cut_to_bid, prompt};
pub use relays::{named_relay, relay_url};

use input::Inputs;
use params::Params;
use sealed::Inside;
use tags::Gathered;

/// The kind of a text generation request (kinds registry of NIP-90).
pub const TEXT_GENERATION: u16 = 5050;

/// The kinds of requests (NIP-90).
pub const REQUEST_KINDS: std::ops::RangeInclusive<u16> = 5000..=5999;

/// How far ahead of our clock a request's may be.
const AHEAD: Duration = Duration::from_mins(15);

/// Relays of a request that are used.
const MAX_RELAYS: usize = 5;

/// Ids of one cancelling event that are looked at.
const MAX_CANCELLED: usize = 64;

/// Kinds to which the registry gives a meaning that is not an answer to a prompt: text extraction, summarization,
/// translation, video, speech, discovery and search, counting, scanning, timestamps, publishing, proof of work.
const OTHER_SERVICES: [u16; 20] = [
    5000, 5001, 5002, 5200, 5201, 5202, 5203, 5250, 5300, 5301, 5302, 5303, 5400, 5500, 5900, 5901,
    5902, 5903, 5905, 5970,
];

/// Opens what a buyer encrypted: the scheme, the other side's key, the ciphertext.
pub type Decrypt<'a> = dyn Fn(Encryption, &PublicKey, &str) -> Result<String, ()> + 'a;

/// A request as it was understood.
// Each is a fact of its own.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The event's id.
    pub id: RequestId,
    /// Is it one that plain text generation answers?
    pub is_plain_text: bool,
    /// Who asks.
    pub buyer: Buyer,
    /// The event's kind, 5000 to 5999.
    pub kind: u16,
    /// How it came.
    pub encryption: Encryption,
    /// Is our key in a `p` tag, and no other seller's?
    pub addressed: bool,
    /// What is to be answered, in order; never empty.
    pub prompt_parts: Vec<Part>,
    /// Who says each of the parts; none: together they are one text of the buyer's.
    pub roles: Option<Vec<Role>>,
    /// Inputs beyond the number that is read; such a request is too long.
    pub inputs_left_out: usize,
    /// The model asked for, clean and at most 128 characters.
    pub model: Option<String>,
    /// All parameters: names in lower case with underscores, values clean and bounded.
    pub raw_params: Vec<(String, String)>,
    /// The most tokens asked for; above zero.
    pub max_tokens: Option<u32>,
    /// As asked, not yet within limits.
    pub temperature: Option<f64>,
    /// As asked, not yet within limits.
    pub top_k: Option<u32>,
    /// As asked, not yet within limits.
    pub top_p: Option<f64>,
    /// As asked, not yet within limits.
    pub frequency_penalty: Option<f64>,
    /// Fixed randomness.
    pub seed: Option<u64>,
    /// A parameter that we know has a value that is no number at all.
    pub bad_param: bool,
    /// Is the text so far wanted while it is written?
    pub stream: bool,
    /// Does it want to go first, for a surcharge?
    pub priority: bool,
    /// Can it only be paid in another coin?
    pub foreign_payment: bool,
    /// The buyer's ceiling. It is read as msat, as NIP-90 has it; a bid written in sats cannot be told apart.
    pub bid: Option<Msat>,
    /// Where the buyer wants the answers too: at most five, ws or wss, syntactically valid. Whether such a host may be
    /// reached (loopback, private addresses) is for whoever connects to judge.
    pub relays: Vec<String>,
    /// The buyer's clock, seconds.
    pub created_at: u64,
    /// Not after this, seconds (NIP-40).
    pub expiration: Option<u64>,
    /// What was passed over or changed, clean, for the timeline.
    pub notes: Vec<String>,
}

/// One input of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text to answer, as it came.
    Text(String),
    /// An event whose content is the text; it is fetched from relays, by its id alone.
    Event {
        /// Its id.
        id: EventId,
        /// A relay that may have it; syntactically valid.
        relay: Option<String>,
        /// Is it a job, so that its result is meant?
        job: bool,
    },
}

impl Request {
    /// Is it past its expiration (NIP-40)? An encrypted request may hold its expiration inside, where [`screen`] does
    /// not see it.
    #[must_use]
    pub fn expired(&self, now: Time) -> bool {
        self.expiration.is_some_and(|at| at <= now.secs())
    }

    /// The conversation, where the parts say these texts; empty where they say nothing.
    #[must_use]
    pub fn messages(&self, texts: Vec<String>) -> Vec<Message> {
        let Some(roles) = &self.roles else {
            let prompt = prompt(&texts);
            let one = (!prompt.trim().is_empty()).then(|| Message::user(prompt));
            return one.into_iter().collect();
        };
        let all = roles.iter().zip(texts);
        all.map(|(role, content)| Message {
            role: *role,
            content,
        })
        .collect()
    }
}

/// A cheap look before anything else: `stale`, then `not_for_us`.
///
/// # Errors
/// The drop reason.
pub fn screen(
    event: &Event,
    us: &PublicKey,
    now: Time,
    max_age_secs: u64,
) -> Result<(), DropReason> {
    let created = event.created_at.as_secs();
    let old = created.saturating_add(max_age_secs) < now.secs();
    let ahead = created > now.plus(AHEAD).secs();
    let over = expiration(tags::of(event)).is_some_and(|at| at <= now.secs());
    if old || ahead || over {
        return Err(DropReason::Stale);
    }
    match named(event, us) {
        Named::Others => Err(DropReason::NotForUs),
        _ => Ok(()),
    }
}

/// Does this event name us, and us alone (`p` tag)? Only then a refusal is told.
#[must_use]
pub fn addressed(event: &Event, us: &PublicKey) -> bool {
    named(event, us) == Named::UsAlone
}

/// How an event is encrypted: the `encrypted` tag of NIP-90, or a content that looks like ciphertext where no `i` says more
/// than where the text is. `?iv=` marks NIP-04, all else is NIP-44, whatever the tag calls it.
#[must_use]
pub fn encryption(event: &Event) -> Encryption {
    if !tags::of(event).any(|tag| tags::name(tag) == "encrypted") {
        let scheme = sealed::scheme(&event.content);
        let open = tags::of(event).any(|tag| tags::name(tag) == "i" && input::is_said(tag));
        scheme.filter(|_| !open).unwrap_or(Encryption::Plain)
    } else if event.content.contains("?iv=") {
        Encryption::Nip04
    } else {
        Encryption::Nip44
    }
}

/// Reads a request whose id and signature were verified. `decrypt` is called only where it is encrypted to us.
///
/// # Errors
/// The first drop reason that holds of `undecryptable`, `no_input`, `unsupported_kind`, `unsupported_input`. A kind outside of [`REQUEST_KINDS`] is `unsupported_kind` before anything is looked at.
pub fn read(event: &Event, us: &PublicKey, decrypt: &Decrypt) -> Result<Request, DropReason> {
    read_offered(event, us, decrypt, false)
}

/// As [`read`]; `offered`: something else than plain text is sold for requests of this kind.
///
/// # Errors
/// As [`read`], where an offered kind is never `unsupported_kind`.
pub fn read_offered(
    event: &Event,
    us: &PublicKey,
    decrypt: &Decrypt,
    offered: bool,
) -> Result<Request, DropReason> {
    let kind = event.kind.as_u16();
    if !REQUEST_KINDS.contains(&kind) {
        return Err(DropReason::UnsupportedKind);
    }
    let encryption = encryption(event);
    let opened = open(event, us, encryption, decrypt)?;
    let (said, inner) = match opened.map(sealed::inside) {
        None => in_clear(event.content.clone()),
        Some(Inside::Text(text)) => in_clear(text),
        Some(Inside::Event(said, tags)) => (said, tags),
        Some(Inside::Unknown) => return Err(DropReason::UnsupportedInput),
    };
    let gathered = Gathered::new(event, &inner);

    let inputs = Inputs::read(&gathered, &said);
    if inputs.sealed {
        return Err(DropReason::Undecryptable);
    }
    if inputs.is_empty() {
        return Err(DropReason::NoInput);
    }
    let is_plain_text = serves(kind, &inputs, &gathered);
    if !is_plain_text && !offered {
        return Err(DropReason::UnsupportedKind);
    }
    if inputs.unsupported {
        return Err(DropReason::UnsupportedInput);
    }
    let mut notes = Notes::default();
    let params = Params::read(&gathered, &inputs.params, &mut notes);
    let relays = relays_of(&gathered, &mut notes);
    note_output(&gathered, &mut notes);
    Ok(Request {
        id: RequestId(event.id),
        is_plain_text,
        buyer: Buyer(event.pubkey),
        kind,
        encryption,
        addressed: addressed(event, us),
        prompt_parts: inputs.parts,
        roles: inputs.roles,
        inputs_left_out: inputs.left_out,
        model: params.model,
        raw_params: params.raw,
        max_tokens: params.max_tokens,
        temperature: params.temperature,
        top_k: params.top_k,
        top_p: params.top_p,
        frequency_penalty: params.frequency_penalty,
        seed: params.seed,
        bad_param: params.bad,
        stream: params.stream,
        priority: params.priority,
        foreign_payment: foreign_payment(event),
        bid: bid(&gathered, &mut notes),
        relays,
        created_at: event.created_at.as_secs(),
        expiration: expiration(gathered.tags.iter().copied()),
        notes: notes.0,
    })
}

/// The jobs that a deletion event (kind 5, NIP-09) takes back. Whoever acts on it first checks that the event's author
/// is the job's buyer.
#[must_use]
pub fn read_cancel(event: &Event) -> Vec<RequestId> {
    if event.kind != nostr::Kind::EventDeletion {
        return Vec::new();
    }
    let mut ids: Vec<RequestId> = Vec::new();
    for tag in tags::of(event).filter(|tag| tags::name(tag) == "e") {
        if let Ok(id) = EventId::from_hex(tags::value(tag))
            && !ids.contains(&RequestId(id))
        {
            ids.push(RequestId(id));
        }
        if ids.len() == MAX_CANCELLED {
            break;
        }
    }
    ids
}

/// Notes for the timeline: clean, few, short.
#[derive(Debug, Default)]
struct Notes(Vec<String>);

impl Notes {
    const MOST: usize = 16;
    const LENGTH: usize = 160;

    fn add(&mut self, note: &str) {
        if self.0.len() < Self::MOST {
            self.0.push(clean(note, Self::LENGTH));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Nobody,
    UsAlone,
    UsAndOthers,
    Others,
}

/// Whom the `p` tags name. An empty `p` tag names nobody; anything else that is not our key, hex or npub, is another.
fn named(event: &Event, us: &PublicKey) -> Named {
    let hex = us.to_hex();
    let Ok(npub) = us.to_bech32();
    let (mut ours, mut others) = (false, false);
    for tag in tags::of(event).filter(|tag| tags::name(tag) == "p") {
        let key = tags::value(tag);
        if key.eq_ignore_ascii_case(&hex) || key.eq_ignore_ascii_case(&npub) {
            ours = true;
        } else if !key.is_empty() {
            others = true;
        }
    }
    match (ours, others) {
        (false, false) => Named::Nobody,
        (true, false) => Named::UsAlone,
        (true, true) => Named::UsAndOthers,
        (false, true) => Named::Others,
    }
}

/// The text inside an encrypted request; none where it is plain. Without our `p` tag it is not meant for our key.
fn open(
    event: &Event,
    us: &PublicKey,
    encryption: Encryption,
    decrypt: &Decrypt,
) -> Result<Option<String>, DropReason> {
    if encryption == Encryption::Plain {
        return Ok(None);
    }
    if !matches!(named(event, us), Named::UsAlone | Named::UsAndOthers) {
        return Err(DropReason::Undecryptable);
    }
    decrypt(encryption, &event.pubkey, &event.content)
        .map(Some)
        .map_err(|()| DropReason::Undecryptable)
}

/// A content's words and its tags: one or the other.
fn in_clear(content: String) -> (String, Vec<Vec<String>>) {
    match tags::in_content(&content) {
        Some(tags) => (String::new(), tags),
        None => (content, Vec::new()),
    }
}

/// Marketplaces whose orders are paid on other chains, by the topic (`t`) that they carry.
const MARKETS: [&str; 1] = ["elisym"];
/// Other coins; a topic of ours beside one means that Lightning is taken too.
const COINS: [&str; 10] = [
    "solana",
    "sol",
    "usdc",
    "usdt",
    "ethereum",
    "eth",
    "monero",
    "xmr",
    "x402",
    "spl-token",
];
const OURS: [&str; 5] = ["bitcoin", "btc", "lightning", "sats", "zap"];

/// Can it only be paid in another coin? Its topics say so.
fn foreign_payment(event: &Event) -> bool {
    let has = |topics: &[&str]| {
        let mut all = tags::of(event).filter(|tag| tags::name(tag) == "t");
        all.any(|tag| topics.contains(&tags::value(tag).to_ascii_lowercase().as_str()))
    };
    let asks_msat = tags::of(event).any(|tag| tags::name(tag) == "bid");
    has(&MARKETS) || (has(&COINS) && !has(&OURS) && !asks_msat)
}

/// Text generation is served. Some buyers send prompts on the kinds of other services (5100 is image generation): a
/// plain prompt there is answered, but nothing that asks for a picture or for a url to be read.
fn serves(kind: u16, inputs: &Inputs, gathered: &Gathered) -> bool {
    if kind == TEXT_GENERATION {
        return true;
    }
    !OTHER_SERVICES.contains(&kind) && !inputs.has_url && !params::asks_for_an_image(gathered)
}

fn bid(gathered: &Gathered, notes: &mut Notes) -> Option<Msat> {
    let mut texts = gathered.named("bid").map(tags::value).peekable();
    texts.peek()?;
    let bid = texts.find_map(params::whole_text);
    if bid.is_none() {
        notes.add("the bid is not an amount and was ignored");
    }
    bid.map(|msat| Msat(msat.min(MAX_MSAT)))
}

/// The earliest, where several are given.
fn expiration<'a>(tags: impl Iterator<Item = &'a [String]>) -> Option<u64> {
    tags.filter(|tag| tags::name(tag) == "expiration")
        .filter_map(|tag| params::whole_text(tags::value(tag)))
        .min()
}

fn relays_of(gathered: &Gathered, notes: &mut Notes) -> Vec<String> {
    let mut relays: Vec<String> = Vec::new();
    let mut unused = 0_usize;
    for text in gathered
        .named("relays")
        .flat_map(|tag| tag.iter().skip(1))
        .filter(|text| !text.trim().is_empty())
    {
        match named_relay(text) {
            Some(url) if relays.contains(&url) => {}
            Some(url) if relays.len() < MAX_RELAYS => relays.push(url),
            _ => unused += 1,
        }
    }
    if unused > 0 {
        notes.add(&format!(
            "{unused} of its relays are not used: no valid ws or wss url, or more than {MAX_RELAYS}"
        ));
    }
    relays
}

fn note_output(gathered: &Gathered, notes: &mut Notes) {
    for output in gathered.named("output").map(tags::value) {
        let mime = output.split(';').next().unwrap_or_default().trim();
        let served = ["", "text", "text/plain", "text/markdown"];
        if !served.iter().any(|known| mime.eq_ignore_ascii_case(known)) {
            let shown = clean(mime, 64);
            notes.add(&format!("output {shown} is ignored: the answer is text"));
        }
    }
}

#[cfg(test)]
mod tests;
