//! An `LNbits` server (written against 1.6.2) as the seller's wallet, through its REST interface and the invoice key.
//!
//! Its websocket is left alone: anybody who knows a payment hash can forge its "paid", and a buyer knows it. The schedule of
//! looks finds payments instead. Amounts are whole sats.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::header::HeaderName;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::http::{Answer, Kind, Server, Setup};
use super::number::or_default;
use super::{
    Caps, Issued, LIST_PAGE, LIST_PAGES, Listed, NewInvoice, PaymentStatus, ServerError, Wallet,
    WalletError, take_page, whole_sats,
};
use crate::domain::Hex32;
use crate::domain::health::{HealthLevel, WalletHealth};
use crate::domain::id::{PaymentHash, Preimage};
use crate::domain::invoice;
use crate::domain::msat::Msat;
use crate::domain::text::{clean, cut_bytes};
use crate::domain::time::Time;

const BACKEND: &str = "lnbits";

/// `LNbits` takes 640 characters, BOLT 11 holds 639 bytes.
const MAX_MEMO_BYTES: usize = 639;

/// `LNbits`' limit for an `external_id`, characters; it may hold no blanks either.
const MAX_LABEL: usize = 256;

/// Invoices read under one label. More than one or two means that something else uses our labels.
const MAX_FOUND: &str = "20";

/// The part of the interface that a seller needs.
const API: &str = "api/v1";

const KIND: Kind = Kind {
    name: "LNbits",
    key: "wallet.invoice_key",
    fix: "copy the invoice/read key anew",
    example: "http://127.0.0.1:5000",
    max_body: 256 * 1024,
    own_words: |_| false,
    // `LNbits` answers a wrong key with 404 "Wallet not found."
    wrong_key: |status, words| status == 404 && is_unknown_wallet(words),
};

/// Where the key goes.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// The client of one `LNbits` wallet.
pub struct Lnbits {
    server: Server,
    identity: String,
}

impl fmt::Debug for Lnbits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lnbits({})", self.server.name())
    }
}

impl Lnbits {
    /// A client for the server at `url` (it may have a path) with the wallet's invoice key. Nothing is sent yet.
    ///
    /// # Errors
    /// An address or a key that can't be used; plain http to a host that is neither this machine nor in a private network.
    pub fn open(url: &str, invoice_key: &SecretString) -> Result<Self, ServerError> {
        let server = Server::new(Setup {
            kind: &KIND,
            url,
            header: KEY_HEADER,
            value: invoice_key.clone(),
            secret: invoice_key,
            certificate: None,
        })?;
        let identity = identity(&server.name(), invoice_key);
        Ok(Self { server, identity })
    }

    /// The same with another longest time for a call (15 s unless told); at most 30 s.
    #[must_use]
    pub fn call_timeout(mut self, longest: Duration) -> Self {
        self.server.call_timeout(longest);
        self
    }

    fn at(&self, path: &str) -> Url {
        self.server.at(&format!("{API}/{path}"))
    }

    async fn make(&self, new: NewInvoice) -> Result<Issued, WalletError> {
        if new.hold_hash.is_some() {
            return Err(WalletError::Unsupported);
        }
        let sats = whole_sats(new.amount, KIND.name)?;
        if new.label.len() > MAX_LABEL || new.label.contains(char::is_whitespace) {
            let text = format!("a label is at most {MAX_LABEL} bytes without blanks");
            return Err(WalletError::Rejected(text));
        }
        let body = json!({
            "out": false,
            "amount": sats,
            "unit": "sat",
            "memo": cut_bytes(&new.memo, MAX_MEMO_BYTES),
            "expiry": new.expiry.as_secs(),
            "external_id": new.label,
        });
        let answer = self.server.post(self.at("payments"), &body).await?;
        let made: Record = self.server.json(&answer)?;
        made.issued()
            .ok_or_else(|| WalletError::Protocol("it made no invoice".to_owned()))
    }

    async fn look(&self, hash: PaymentHash) -> Result<PaymentStatus, WalletError> {
        let url = self.at(&format!("payments/{hash}"));
        let answer = self.server.get(url).await?;
        if knows_no_payment(&answer) {
            return Ok(PaymentStatus::Unknown);
        }
        seen(&self.server.json(&answer)?, &hash)
    }

    async fn find(&self, label: &str) -> Result<Option<Issued>, WalletError> {
        let mut url = self.at("payments");
        url.query_pairs_mut()
            .append_pair("external_id", label)
            .append_pair("limit", MAX_FOUND);
        let answer = self.server.get(url).await?;
        let found: Option<Vec<Record>> = self.server.json(&answer)?;
        Ok(pick(found.unwrap_or_default(), label, Time::now()))
    }

    async fn list(&self, since: Time) -> Result<Vec<Listed>, WalletError> {
        let mut found = Vec::new();
        for page in 0..LIST_PAGES {
            let mut url = self.at("payments");
            url.query_pairs_mut()
                .append_pair("limit", &LIST_PAGE.to_string())
                .append_pair("offset", &(page * LIST_PAGE).to_string())
                .append_pair("sortby", "time")
                .append_pair("direction", "desc");
            let answer = self.server.get(url).await?;
            let records: Option<Vec<Record>> = self.server.json(&answer)?;
            let records = records.unwrap_or_default();
            let full = records.len() >= LIST_PAGE;
            // What was sent is listed too, and makes a page of ours shorter than the server's.
            let listed: Vec<Listed> = records.into_iter().filter_map(Record::listed).collect();
            let only_sent = full && listed.is_empty();
            if !take_page(&mut found, listed, full, since) && !only_sent {
                break;
            }
        }
        Ok(found)
    }

    async fn ask_health(&self) -> Result<WalletHealth, WalletError> {
        let answer = self.server.get(self.at("wallet")).await?;
        let wallet: Account = self.server.json(&answer)?;
        // A label: it can be changed at any time, and two wallets may have the same.
        let name = self.server.plain(&wallet.name);
        // Only an admin key is told the wallet's id.
        let (health, detail) = if wallet.id.is_some() {
            let detail = format!(
                "{name}: this is the admin key, which can spend: set wallet.invoice_key to the invoice/read key"
            );
            (HealthLevel::Warn, detail)
        } else {
            (HealthLevel::Ok, name.clone())
        };
        Ok(WalletHealth {
            backend: BACKEND.to_owned(),
            state: "up".to_owned(),
            health,
            detail,
            network: None,
            identity: Some(self.identity.clone()),
            balance_msat: u64::try_from(wallet.balance).ok().map(Msat),
            can_receive_msat: None,
            sandbox: false,
        })
    }
}

impl Wallet for Lnbits {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn caps(&self) -> Caps {
        Caps {
            msat: false,
            max_memo_bytes: MAX_MEMO_BYTES,
            label_lookup: true,
            push: false,
            hold: false,
        }
    }

    fn health(&self) -> BoxFuture<'_, WalletHealth> {
        async {
            self.ask_health().await.unwrap_or_else(|error| {
                let fix = match error {
                    WalletError::Unauthorized(_) => {
                        ": set wallet.invoice_key to the invoice/read key that LNbits shows for the wallet"
                    }
                    _ => "",
                };
                super::down(BACKEND, &error, fix)
            })
        }
        .boxed()
    }

    fn create(&self, new: NewInvoice) -> BoxFuture<'_, Result<Issued, WalletError>> {
        self.make(new).boxed()
    }

    fn lookup(&self, issued: Issued) -> BoxFuture<'_, Result<PaymentStatus, WalletError>> {
        self.look(issued.payment_hash).boxed()
    }

    fn find_by_label(&self, label: String) -> BoxFuture<'_, Result<Option<Issued>, WalletError>> {
        async move { self.find(&label).await }.boxed()
    }

    fn made_since(&self, since: Time) -> BoxFuture<'_, Result<Vec<Listed>, WalletError>> {
        self.list(since).boxed()
    }

    fn lists_open(&self) -> bool {
        true
    }

    fn clock_off_secs(&self) -> Option<i64> {
        self.server.clock_off_secs()
    }

    fn next_hint(&self) -> BoxFuture<'_, Option<PaymentHash>> {
        futures::future::pending().boxed()
    }
}

/// Which wallet this is: an invoice key tells its id to nobody, so its address and the key itself do. Whoever reads the
/// digest learns no key: it is 128 random bits.
fn identity(server: &str, invoice_key: &SecretString) -> String {
    use nostr::hashes::{Hash, sha256};
    let key = invoice_key.expose_secret().trim();
    let digest = sha256::Hash::hash(format!("vend:lnbits:{server}:{key}").as_bytes()).to_string();
    format!("{server}#{}", digest.get(..32).unwrap_or(&digest))
}

/// Does the server say that it does not know this payment? A "not found" of a wrong address, or for a wrong key, says
/// nothing about a payment.
fn knows_no_payment(answer: &Answer) -> bool {
    answer.status() == 404
        && answer.detail().is_some_and(|detail| {
            !is_unknown_wallet(&detail) && !detail.trim().eq_ignore_ascii_case("not found")
        })
}

fn is_unknown_wallet(detail: &str) -> bool {
    detail.to_ascii_lowercase().contains("wallet not found")
}

/// `GET /api/v1/wallet`
#[derive(Deserialize)]
struct Account {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    balance: i64,
    id: Option<serde::de::IgnoredAny>,
}

/// A payment as `LNbits` writes it in several answers. Of what it may hold, only this is read.
#[derive(Deserialize)]
struct Record {
    payment_hash: Option<PaymentHash>,
    bolt11: Option<String>,
    /// The invoice's name before 1.0.
    payment_request: Option<String>,
    /// msat; below zero: sent, not received.
    amount: Option<i64>,
    fee: Option<i64>,
    status: Option<String>,
    external_id: Option<String>,
    memo: Option<String>,
}

impl Record {
    fn issued(self) -> Option<Issued> {
        Some(Issued {
            bolt11: self.bolt11.or(self.payment_request)?,
            payment_hash: self.payment_hash?,
            backend_ref: None,
        })
    }

    fn listed(mut self) -> Option<Listed> {
        let received = self.amount.is_some_and(|msat| msat > 0);
        let (label, memo) = (self.external_id.take(), self.memo.take());
        let open = self.status.as_deref() == Some("pending");
        Some(Listed {
            issued: self.issued().filter(|_| received)?,
            label,
            memo,
            open,
        })
    }

    fn is_ours(&self, label: &str) -> bool {
        self.external_id.as_deref() == Some(label) && self.amount.is_some_and(|msat| msat > 0)
    }

    /// Can it neither be paid any more, nor was it? `LNbits` calls an expired invoice pending until somebody looks at it.
    fn is_dead(&self, now: Time) -> bool {
        let is_past =
            |bolt11: &str| invoice::read(bolt11).is_ok_and(|i| invoice::times(&i).1 <= now);
        match self.status.as_deref() {
            Some("success") => false,
            Some("failed" | "expired") => true,
            _ => self.bolt11.as_deref().is_some_and(is_past),
        }
    }
}

/// `GET /api/v1/payments/{hash}`
#[derive(Deserialize)]
struct Poll {
    paid: Option<bool>,
    status: Option<String>,
    preimage: Option<String>,
    details: Option<Record>,
}

/// Of several invoices under one label (`LNbits` lets there be), the first listed, which is the newest. One that has expired
/// is none: it can't be paid any more. The label is compared here too, as an older server ignores the question's filter.
fn pick(found: Vec<Record>, label: &str, now: Time) -> Option<Issued> {
    found
        .into_iter()
        .find(|payment| payment.is_ours(label) && !payment.is_dead(now))?
        .issued()
}

fn seen(look: &Poll, asked: &PaymentHash) -> Result<PaymentStatus, WalletError> {
    let named = look
        .details
        .as_ref()
        .and_then(|details| details.payment_hash);
    if named.is_some_and(|named| named != *asked) {
        let text = "it answered about another payment than was asked for".to_owned();
        return Err(WalletError::Protocol(text));
    }
    if look.paid.is_none() && look.status.is_none() {
        let text = "it does not say whether the invoice is paid".to_owned();
        return Err(WalletError::Protocol(text));
    }
    let status = look.status.as_deref().unwrap_or_default();
    // Whether a preimage is there says nothing: `LNbits` has it from the start.
    if look.paid == Some(true) || status == "success" {
        return Ok(paid(look, asked));
    }
    Ok(match status {
        // `LNbits`' word for an invoice that expired.
        "failed" | "expired" => PaymentStatus::Expired,
        "pending" | "" => PaymentStatus::Pending,
        other => PaymentStatus::Attention(format!("LNbits calls it '{}'", clean(other, 40))),
    })
}

fn paid(look: &Poll, asked: &PaymentHash) -> PaymentStatus {
    let details = look.details.as_ref();
    let msat = |amount: Option<i64>| {
        let amount = u64::try_from(amount?).ok()?;
        (amount > 0).then_some(Msat(amount))
    };
    // With some funding sources `LNbits` fills in zeros: only a preimage that opens the hash is passed on as a proof.
    let preimage = look
        .preimage
        .as_deref()
        .and_then(|hex| hex.parse::<Hex32>().ok())
        .and_then(Preimage::told)
        .filter(|preimage| preimage.opens(asked));
    PaymentStatus::Paid {
        amount: msat(details.and_then(|details| details.amount)),
        at: None,
        preimage,
        fee: msat(
            details
                .and_then(|details| details.fee)
                .map(i64::saturating_abs),
        ),
    }
}
