//! What wallets say, read as leniently as it is safe to: wallets differ in which fields they fill and how.

use nostr::Event;
use serde::Deserialize;
use serde_json::Value;

use super::cipher::Scheme;
use super::connection::Connection;
use crate::domain::Hex32;
use crate::domain::id::{PaymentHash, Preimage};
use crate::domain::invoice;
use crate::domain::msat::{MAX_MSAT, Msat};
use crate::domain::time::Time;
use crate::wallet::number::{Number, network_word};
use crate::wallet::{Issued, Listed, PaymentStatus, WalletError};

/// Methods that are read of a list; real ones are below thirty.
const MAX_METHODS: usize = 128;

/// Methods that let whoever has the string spend.
const SPENDING: [&str; 4] = [
    "pay_invoice",
    "pay_keysend",
    "multi_pay_invoice",
    "multi_pay_keysend",
];

/// Methods that hold invoices need.
const HOLDING: [&str; 3] = [
    "make_hold_invoice",
    "settle_hold_invoice",
    "cancel_hold_invoice",
];

/// Methods that a sale needs.
const SELLING: [&str; 2] = ["make_invoice", "lookup_invoice"];

/// What a wallet, or one connection to it, can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Methods(Vec<String>);

impl Methods {
    fn read<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let words = words.filter(|word| !word.is_empty() && word.len() <= 64);
        Self(words.take(MAX_METHODS).map(str::to_owned).collect())
    }

    fn has(&self, method: &str) -> bool {
        self.0.iter().any(|one| one == method)
    }

    /// Hold invoices?
    pub(super) fn can_hold(&self) -> bool {
        HOLDING.iter().all(|method| self.has(method))
    }

    /// A method that spends, if any.
    pub(super) fn spends(&self) -> Option<&'static str> {
        SPENDING.into_iter().find(|method| self.has(method))
    }

    /// What a sale needs and this does not have; nothing where it names no method at all.
    pub(super) fn lacks(&self) -> Option<&'static str> {
        let lacking = SELLING.into_iter().find(|method| !self.has(method));
        lacking.filter(|_| !self.0.is_empty())
    }
}

/// The wallet's public word about itself (kind 13194).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Card {
    /// Unix seconds.
    pub(super) at: u64,
    pub(super) methods: Methods,
    /// Encryptions that it offers; none where it does not say.
    offers: Option<Vec<Scheme>>,
}

impl Card {
    /// Reads an event whose author and signature were checked.
    pub(super) fn read(event: &Event) -> Self {
        let tags = event.tags.iter().map(nostr::Tag::as_slice);
        let mut said = tags
            .filter(|tag| tag.first().is_some_and(|name| name == "encryption"))
            .flat_map(|tag| &tag[1..])
            .flat_map(|value| words(value))
            .take(MAX_METHODS)
            .peekable();
        let offers = said.peek().is_some();
        let offers = offers.then(|| said.filter_map(Scheme::read).collect());
        Self {
            at: event.created_at.as_secs(),
            methods: Methods::read(words(&event.content)),
            offers,
        }
    }

    /// NIP-44 where it is offered; NIP-04 where that is, or where the wallet does not say (NIP-47).
    pub(super) fn scheme(&self) -> Result<Scheme, WalletError> {
        let Some(offers) = &self.offers else {
            return Ok(Scheme::Nip04);
        };
        let best = [Scheme::Nip44, Scheme::Nip04];
        let found = best.into_iter().find(|scheme| offers.contains(scheme));
        found.ok_or_else(|| {
            let text = "it offers neither NIP-44 nor NIP-04 encryption".to_owned();
            WalletError::Protocol(text)
        })
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '|' | '[' | ']' | '"' | '\''))
        .filter(|word| !word.is_empty())
}

/// The wallet's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: String,
    words: String,
}

impl Refusal {
    /// `{"code": "…", "message": "…"}`, or words alone.
    fn read(error: &Value, connection: &Connection) -> Self {
        let text = |name: &str| error.get(name).and_then(Value::as_str);
        let code = text("code").unwrap_or("OTHER");
        let message = text("message").or_else(|| error.as_str()).unwrap_or("");
        let code = connection.plain(code).to_ascii_uppercase();
        let words = match connection.plain(message) {
            words if words.is_empty() => code.clone(),
            words => format!("{words} ({code})"),
        };
        Self { code, words }
    }

    pub(super) fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// As every wallet's error. A code that nobody knows is a failure of the wallet's own: it says nothing of an invoice.
    pub(super) fn error(self) -> WalletError {
        match self.code.as_str() {
            "RATE_LIMITED" => WalletError::RateLimited(None),
            "UNAUTHORIZED" | "RESTRICTED" => WalletError::Unauthorized(self.words),
            "NOT_IMPLEMENTED" | "QUOTA_EXCEEDED" | "NOT_FOUND" | "BAD_REQUEST" => {
                WalletError::Rejected(self.words)
            }
            "PAYMENT_FAILED" | "INSUFFICIENT_BALANCE" => WalletError::Rejected(self.words),
            "UNSUPPORTED_ENCRYPTION" => WalletError::Protocol(self.words),
            _ => WalletError::Failed(self.words),
        }
    }
}

/// Reads an answer's text: the result, or the wallet's no.
pub(super) fn read(
    text: &str,
    method: &str,
    connection: &Connection,
) -> Result<Result<Value, Refusal>, WalletError> {
    let strange = |what: &str| WalletError::Protocol(what.to_owned());
    let mut answer: Value =
        serde_json::from_str(text).map_err(|_| strange("it is not written in JSON"))?;
    if !answer.is_object() {
        return Err(strange("it is no object"));
    }
    let error = answer["error"].take();
    if !error.is_null() {
        return Ok(Err(Refusal::read(&error, connection)));
    }
    let kind = answer["result_type"].as_str();
    if kind.is_some_and(|kind| kind != method) {
        return Err(strange("it answers another question than was asked"));
    }
    match answer["result"].take() {
        result @ Value::Object(_) => Ok(Ok(result)),
        // What only needs to be done has nothing to tell.
        Value::Null if answer["result_type"].is_string() => Ok(Ok(Value::Null)),
        _ => Err(strange("it has neither a result nor an error")),
    }
}

fn number(value: &Value) -> Option<u64> {
    Number::deserialize(value).ok().map(|number| number.0)
}

fn amount(value: &Value) -> Option<Msat> {
    let msat = number(value).filter(|msat| (1..=MAX_MSAT).contains(msat));
    msat.map(Msat)
}

fn hex32(value: &Value) -> Option<Hex32> {
    value.as_str()?.parse().ok()
}

fn moment(value: &Value) -> Option<Time> {
    number(value)
        .filter(|secs| (1..=u64::from(u32::MAX)).contains(secs))
        .map(Time::from_secs)
}

/// `get_info`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) alias: Option<String>,
    /// In the settings' word.
    pub(super) network: Option<String>,
    /// What this connection may do; none where the wallet does not say.
    pub(super) methods: Option<Methods>,
}

impl Info {
    pub(super) fn read(value: &Value, connection: &Connection) -> Self {
        let text = |name: &str| {
            let words = connection.plain(value[name].as_str()?);
            (!words.is_empty()).then_some(words)
        };
        let methods = value["methods"].as_array();
        Self {
            alias: text("alias"),
            network: text("network").as_deref().and_then(network_word),
            methods: methods.map(|list| Methods::read(list.iter().filter_map(Value::as_str))),
        }
    }
}

/// `get_balance`
pub(super) fn balance(value: &Value) -> Option<Msat> {
    number(&value["balance"])
        .filter(|msat| *msat <= MAX_MSAT)
        .map(Msat)
}

/// `make_invoice`, `make_hold_invoice`
pub(super) fn issued(value: &Value) -> Option<Issued> {
    let bolt11 = value["invoice"].as_str().filter(|text| !text.is_empty())?;
    // The invoice names its payment where the wallet does not.
    let named = hex32(&value["payment_hash"]).map(PaymentHash);
    Some(Issued {
        bolt11: bolt11.to_owned(),
        payment_hash: named.or_else(|| hash_of(bolt11))?,
        backend_ref: None,
    })
}

/// `list_transactions`: what came in, as far as it can be read.
pub(super) fn listed(value: &Value) -> Vec<Listed> {
    let all = value["transactions"].as_array();
    let incoming = all
        .into_iter()
        .flatten()
        .filter(|one| one["type"].as_str() != Some("outgoing"));
    let read = |one: &Value| {
        Some(Listed {
            issued: issued(one)?,
            label: None,
            memo: one["description"].as_str().map(str::to_owned),
            // Wallets differ in whether, and how, they say it here.
            open: false,
        })
    };
    incoming.filter_map(read).collect()
}

fn hash_of(bolt11: &str) -> Option<PaymentHash> {
    invoice::payment_hash(&invoice::read(bolt11).ok()?)
}

/// `lookup_invoice`
pub(super) fn seen(value: &Value, asked: &Issued, now: Time) -> Result<PaymentStatus, WalletError> {
    let strange = |text: &str| Err(WalletError::Protocol(text.to_owned()));
    if !value.is_object() {
        return strange("it tells nothing of the invoice");
    }
    let named = hex32(&value["payment_hash"]).map(PaymentHash);
    let named = named.or_else(|| hash_of(value["invoice"].as_str()?));
    if named.is_some_and(|hash| hash != asked.payment_hash) {
        return strange("it answered about another payment than was asked for");
    }
    // A payer with the same wallet: what went out is not what came in.
    if value["type"].as_str() == Some("outgoing") {
        return strange("it answered about a payment that went out");
    }
    let over = moment(&value["expires_at"]).is_some_and(|at| at <= now);
    let settled_at = moment(&value["settled_at"]);
    Ok(match state(value).as_deref() {
        Some("settled") => paid(value, asked, settled_at),
        Some("accepted") => PaymentStatus::Held {
            amount: amount(&value["amount"]),
        },
        Some("expired") => PaymentStatus::Expired,
        // NIP-47 has no word for a canceled one.
        Some("failed") if over => PaymentStatus::Expired,
        Some("failed") => PaymentStatus::Canceled,
        None if is_settled(value) => paid(value, asked, settled_at),
        None if over => PaymentStatus::Expired,
        None | Some("pending") => PaymentStatus::Pending,
        Some(_) => PaymentStatus::Attention(
            "the wallet calls the invoice by a word that we don't know".into(),
        ),
    })
}

fn state(value: &Value) -> Option<String> {
    value["state"].as_str().map(str::to_ascii_lowercase)
}

/// `state` is optional (NIP-47): then a moment of settling says it. Some wallets count that in milliseconds, so that there is
/// one is all that is asked.
pub(super) fn is_settled(value: &Value) -> bool {
    match state(value) {
        Some(state) => state == "settled",
        None => number(&value["settled_at"]).is_some_and(|at| at > 0),
    }
}

/// A payment is settled only where all that was asked for came in (BOLT 4); some wallets show it without their fee.
fn paid(value: &Value, asked: &Issued, at: Option<Time>) -> PaymentStatus {
    let read = invoice::read(&asked.bolt11).ok();
    let due = read.and_then(|read| invoice::amount(&read).ok().flatten());
    let fee = amount(&value["fees_paid"]);
    let shown = amount(&value["amount"]).map(|shown| match due {
        Some(due) if shown < due => shown.saturating_add(fee.unwrap_or_default()).min(due),
        _ => shown,
    });
    PaymentStatus::Paid {
        amount: shown,
        at,
        preimage: hex32(&value["preimage"]).and_then(Preimage::told),
        fee,
    }
}

/// What a notification is about (NIP-47).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Something came in; none: it does not say for which payment.
    Received(Option<PaymentHash>),
    /// Anything else.
    Other,
}

/// Reads a notification's text.
pub(super) fn notice(text: &str) -> Notice {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    match value["notification_type"].as_str() {
        Some("payment_received" | "hold_invoice_accepted") => {
            let hash = hex32(&value["notification"]["payment_hash"]);
            Notice::Received(hash.map(PaymentHash))
        }
        _ => Notice::Other,
    }
}

/// `pay_invoice`: the proof and the fee.
pub(super) fn receipt(value: &Value) -> (Option<Preimage>, Option<Msat>) {
    let preimage = hex32(&value["preimage"]).and_then(Preimage::told);
    (preimage, amount(&value["fees_paid"]))
}

#[cfg(test)]
mod tests;
