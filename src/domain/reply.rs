//! Writing a seller's events for a request (NIP-90), strictly: feedback (kind 7000) and result (request kind + 1000).
//!
//! What is written here is seen by strangers and kept by relays: every sentence is fixed or clean, the answer to an
//! encrypted request is encrypted in the same scheme, and so is every free text about it. Amounts stay in clear.

use std::borrow::Cow;

use nostr::{Event, JsonUtil, Kind, PublicKey, Tag, Timestamp, UnsignedEvent};
use serde::{Deserialize, Serialize};

use super::job::Encryption;
use super::msat::Msat;
use super::request::{REQUEST_KINDS, relay_url, tags};
use super::size::{self, Shell};
use super::text::clean;
use super::time::Time;

/// The kind of a feedback (NIP-90).
pub const FEEDBACK: u16 = 7000;

/// What a result's kind is above its request's (NIP-90).
pub const RESULT_ABOVE_REQUEST: u16 = 1000;

/// The longest text that this program's NIP-44 encrypts, bytes.
const NIP44_LONGEST: usize = 65_408;

/// The longest content of a result in clear, bytes. Relays refuse events much longer than that.
const LONGEST: usize = 131_072;

/// The longest free text of a feedback, characters.
const LONGEST_NOTE: usize = 300;

const RESULT_ALT: &str = "Text generation result";
const AT_WORK: &str = "Your request is in work.";
const PAY_FIRST: &str = "The work starts once this invoice is paid.";
const KEPT: &str = "What the work does not use of it is your balance for the next request.";
const DONE: &str = "The work is done.";

/// Seals what only the buyer may read: the scheme, the buyer's key, the text.
pub type Encrypt<'a> = dyn Fn(Encryption, &PublicKey, &str) -> Result<String, String> + 'a;

/// What a job's event is for; a job sends at most one event of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Feedback: it waits.
    Queued,
    /// Feedback: it runs.
    Processing,
    /// Feedback: it waits for the payment.
    PaymentRequired,
    /// The answer.
    Result,
    /// Feedback: it is done.
    Success,
    /// Feedback: it failed, or was refused.
    Error,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Processing,
        Self::PaymentRequired,
        Self::Result,
        Self::Success,
        Self::Error,
    ];

    /// The word in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::PaymentRequired => "payment_required",
            Self::Result => "result",
            Self::Success => "success",
            Self::Error => "error",
        }
    }

    /// The word read back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// What a job did to its buyer's balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// What it used of it.
    pub used: Msat,
    /// What is left of its own payment, and was added to it.
    pub left: Msat,
    /// The balance then, where it is known.
    pub rest: Option<Msat>,
}

/// What a buyer is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It is in work.
    Processing {
        /// Its place in the queue, 1 is next; none where it does not wait.
        position: Option<u32>,
        /// The model asked for, and the one that answers instead.
        substituted: Option<(String, String)>,
        /// What is added to its price as it goes first, percent, where nothing was said of it before; 0: nothing.
        priority_percent: u32,
    },
    /// Nothing runs until this is paid.
    PaymentRequired {
        /// What is asked, above zero.
        amount: Msat,
        /// The invoice.
        bolt11: String,
        /// What the buyer's balance pays beside it.
        used: Msat,
        /// What was added as it goes first, percent; 0: nothing.
        priority_percent: u32,
    },
    /// The answer while it is written. The result alone counts.
    Partial {
        /// The text so far; at most [`max_partial_bytes`].
        text: String,
    },
    /// It failed, or was refused.
    Error {
        /// One of the program's own sentences.
        sentence: Cow<'static, str>,
    },
    /// It is done.
    Success {
        /// What the buyer should know, such as a cut answer.
        note: Option<String>,
        /// What it did to the buyer's balance, where it did anything.
        balance: Option<Spent>,
    },
    /// The answer.
    Result {
        /// Its text; never empty, at most [`max_answer_bytes`].
        content: String,
        /// What is asked, above zero, and the invoice; none where nothing is to be paid.
        amount: Option<(Msat, String)>,
        /// The model that answered.
        model: String,
        /// Tokens of the request and of the answer, as they were charged.
        usage: Option<(u32, u32)>,
        /// Relays may forget it after this, seconds (NIP-40).
        expiration: Option<u64>,
    },
}

/// An event to be written, and what it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// What it is for.
    pub role: Role,
    /// What it says.
    pub reply: Reply,
}

/// The longest answer, bytes, that fits a result. NIP-44 bounds its text; NIP-04 grows it by a third.
#[must_use]
pub const fn max_answer_bytes(encryption: Encryption) -> usize {
    match encryption {
        Encryption::Plain => LONGEST,
        Encryption::Nip04 => LONGEST / 4 * 3 - 64,
        Encryption::Nip44 => NIP44_LONGEST,
    }
}

/// The longest text of a partial answer, bytes: one event of it must never trouble a relay.
#[must_use]
pub const fn max_partial_bytes(encryption: Encryption) -> usize {
    match encryption {
        Encryption::Plain => 32_768,
        Encryption::Nip04 | Encryption::Nip44 => 20_480,
    }
}

/// How an event goes out.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The relay where the request can be found (empty or no relay url: none is named).
    pub hint: &'a str,
    /// The longest message that each of our relays takes, bytes: a result leaves out copies of the request to fit.
    pub longest: &'a [usize],
}

/// The unsigned event for a request, admitted or refused. `encrypt` is called only for the texts that an encrypted
/// request's answer hides.
///
/// # Errors
/// A sentence for the operator: the event is no request, the answer is empty or too long, an invoice asks for nothing,
/// or `encrypt` failed.
pub fn compose(
    request_event: &Event,
    encryption: Encryption,
    us: &PublicKey,
    reply: &Reply,
    way: Way<'_>,
    now: Time,
    encrypt: &Encrypt,
) -> Result<UnsignedEvent, String> {
    let request_kind = request_event.kind.as_u16();
    if !REQUEST_KINDS.contains(&request_kind) {
        return Err(format!("an event of kind {request_kind} is no job request"));
    }
    let writer = ReplyWriter {
        request: request_event,
        encryption,
        encrypt,
        way,
    };
    let mut tags = writer.addressed(way.hint);
    let content = writer.write(reply, &mut tags)?;
    let kind = match reply {
        Reply::Result { .. } => request_kind + RESULT_ABOVE_REQUEST,
        _ => FEEDBACK,
    };
    // A buyer whose clock is ahead would otherwise get an answer older than the question.
    let created_at = now.secs().max(request_event.created_at.as_secs());
    // Built from its parts: the crate's builder drops a `p` tag that names the author, as when we ask ourselves.
    Ok(UnsignedEvent::new(
        *us,
        Timestamp::from_secs(created_at),
        Kind::from_u16(kind),
        tags,
        content,
    ))
}

struct ReplyWriter<'a> {
    request: &'a Event,
    encryption: Encryption,
    encrypt: &'a Encrypt<'a>,
    way: Way<'a>,
}

impl ReplyWriter<'_> {
    /// Exactly one `e` and one `p`.
    fn addressed(&self, relay_hint: &str) -> Vec<Tag> {
        let id = self.request.id.to_hex();
        let hint = relay_url(relay_hint);
        let buyer = self.request.pubkey.to_hex();
        vec![
            tags::make("e", std::iter::once(id.as_str()).chain(hint.as_deref())),
            tags::make("p", [buyer.as_str()]),
        ]
    }

    /// Adds the reply's own tags and gives the content.
    fn write(&self, reply: &Reply, tags: &mut Vec<Tag>) -> Result<String, String> {
        match reply {
            Reply::Processing {
                position,
                substituted,
                priority_percent,
            } => {
                let mut text = in_work(*position, substituted.as_ref());
                if let Some(words) = goes_first(*priority_percent) {
                    text = format!("{text} {words}");
                }
                self.feedback("processing", &text, tags)
            }
            Reply::PaymentRequired {
                amount,
                bolt11,
                used,
                priority_percent,
            } => {
                tags.push(amount_tag(*amount, bolt11)?);
                let text = pay_first(*used, *priority_percent);
                self.feedback("payment-required", &text, tags)
            }
            Reply::Partial { text } => {
                tags.push(tags::make("status", ["partial"]));
                if self.encryption == Encryption::Plain {
                    return Ok(text.clone());
                }
                self.seal(text, tags)
            }
            Reply::Error { sentence } => self.feedback("error", sentence, tags),
            Reply::Success { note, balance } => {
                let note = note.as_deref().unwrap_or(DONE);
                let Some(spent) = balance else {
                    return self.feedback("success", note, tags);
                };
                if let Some(rest) = spent.rest {
                    tags.push(tags::make("balance", [rest.0.to_string().as_str()]));
                }
                let text = format!("{note} {}", told(spent));
                self.feedback("success", &text, tags)
            }
            Reply::Result {
                content,
                amount,
                model,
                usage,
                expiration,
            } => {
                if let Some((amount, bolt11)) = amount {
                    tags.push(amount_tag(*amount, bolt11)?);
                }
                if let Some((prompt, completion)) = usage {
                    let counts = [prompt.to_string(), completion.to_string()];
                    tags.push(tags::make("usage", counts.iter().map(String::as_str)));
                }
                self.result(content, model, *expiration, tags)
            }
        }
    }

    /// The status is in clear; the free text beside it only where the request was.
    fn feedback(&self, status: &str, text: &str, tags: &mut Vec<Tag>) -> Result<String, String> {
        let text = clean(text, LONGEST_NOTE);
        if self.encryption == Encryption::Plain {
            tags.push(tags::make("status", [status, text.as_str()]));
            return Ok(String::new());
        }
        tags.push(tags::make("status", [status]));
        self.seal(&text, tags)
    }

    fn result(
        &self,
        answer: &str,
        model: &str,
        expiration: Option<u64>,
        tags: &mut Vec<Tag>,
    ) -> Result<String, String> {
        let most = max_answer_bytes(self.encryption);
        if answer.trim().is_empty() {
            return Err("an empty answer is no result".to_owned());
        }
        if answer.len() > most {
            let length = answer.len();
            return Err(format!(
                "the answer is too long for one event: {length} of {most} bytes"
            ));
        }
        let Way { hint, longest } = self.way;
        let shell = Shell::new(self.request, self.encryption, model, hint);
        // Too long for every relay: that was known before the work, so they take less since. One may take it all the same.
        let fit = shell.fit(answer, longest).unwrap_or_default();
        if fit.request {
            // An encrypted request is quoted as it came, so still encrypted.
            let request = self
                .request
                .try_as_json()
                .map_err(|_| "the request cannot be quoted".to_owned())?;
            tags.push(tags::make("request", [request.as_str()]));
        }
        if fit.inputs {
            tags.extend(size::copied_inputs(self.request).cloned());
        }
        tags.push(tags::make("alt", [RESULT_ALT]));
        tags.push(tags::make("model", [model]));
        if let Some(at) = expiration {
            tags.push(tags::make("expiration", [at.to_string().as_str()]));
        }
        if self.encryption == Encryption::Plain {
            return Ok(answer.to_owned());
        }
        self.seal(answer, tags)
    }

    fn seal(&self, text: &str, tags: &mut Vec<Tag>) -> Result<String, String> {
        tags.push(tags::make("encrypted", []));
        (self.encrypt)(self.encryption, &self.request.pubkey, text)
    }
}

/// An invoice of zero would let the payer choose the amount (BOLT 11).
fn amount_tag(amount: Msat, bolt11: &str) -> Result<Tag, String> {
    if amount.is_zero() || bolt11.is_empty() {
        return Err("an invoice that asks for nothing is not sent".to_owned());
    }
    let msat = amount.0.to_string();
    Ok(tags::make("amount", [msat.as_str(), bolt11]))
}

fn goes_first(percent: u32) -> Option<String> {
    (percent > 0).then(|| format!("It goes first, for {percent} % more."))
}

fn pay_first(used: Msat, priority_percent: u32) -> String {
    let mut words = Vec::new();
    if !used.is_zero() {
        words.push(format!(
            "{} of your balance pay for a part.",
            used.display()
        ));
    }
    words.extend(goes_first(priority_percent));
    words.extend([PAY_FIRST, KEPT].map(str::to_owned));
    words.join(" ")
}

/// What became of the buyer's balance, in plain words.
fn told(spent: &Spent) -> String {
    let mut words = Vec::new();
    if !spent.used.is_zero() {
        words.push(format!(
            "{} of your balance were used.",
            spent.used.display()
        ));
    }
    if !spent.left.is_zero() {
        words.push(format!(
            "{} of your payment are left: they are your balance here and pay for your next requests.",
            spent.left.display()
        ));
    }
    if let Some(rest) = spent.rest.filter(|rest| *rest != spent.left) {
        words.push(format!("Your balance is {}.", rest.display()));
    }
    words.join(" ")
}

fn in_work(position: Option<u32>, substituted: Option<&(String, String)>) -> String {
    const NAME: usize = 64;
    let place = position.map_or_else(
        || AT_WORK.to_owned(),
        |place| format!("In the queue, at place {place}."),
    );
    let Some((asked, ours)) = substituted else {
        return place;
    };
    let (asked, ours) = (clean(asked, NAME), clean(ours, NAME));
    format!("{place} The model {asked} is not offered here; {ours} answers instead.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_back_from_its_word() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
            let json = format!("\"{}\"", role.as_str());
            assert_eq!(serde_json::to_string(&role).unwrap(), json);
        }
        assert_eq!(Role::parse("partial"), None);
    }
}
