//! Core Lightning as the seller's wallet, through clnrest and a rune.
//!
//! Its labels are unique for ever, so an invoice that was made but never answered for is found again, and a second one can't
//! be made beside it. Where one expired unpaid, the next is made under the label with a number behind it. Amounts are msat.

mod answers;
mod rune;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::HeaderName;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::answers::{Funds, Info, Invoice, Invoices, Made};
use super::http::{Answer, Kind, Server, Setup};
use super::{
    Caps, Issued, LIST_PAGE, LIST_PAGES, Listed, NewInvoice, PaymentStatus, ServerError, Wallet,
    WalletError, take_page,
};
use crate::domain::health::{HealthLevel, WalletHealth};
use crate::domain::id::PaymentHash;
use crate::domain::msat::Msat;
use crate::domain::text::cut_bytes;
use crate::domain::time::Time;

const BACKEND: &str = "cln";

/// What BOLT 11 holds, bytes.
const MAX_MEMO_BYTES: usize = 639;

/// How many invoices one label may see expire before it is given up.
const MAX_INVOICES: u32 = 16;

/// No node has made so many invoices.
const MAX_INDEX: u64 = 1 << 40;

/// "Duplicate label" (lightning-invoice).
const LABEL_TAKEN: i64 = 900;

/// "Not permitted": a good rune that may not call this method (lightning-checkrune).
const NOT_PERMITTED: i64 = 1502;

const KIND: Kind = Kind {
    name: "clnrest",
    key: "wallet.rune",
    fix: "copy the rune that lightning-cli createrune printed",
    example: "https://127.0.0.1:3010",
    // listfunds names every output and channel.
    max_body: 4 * 1024 * 1024,
    own_words: |_| false,
    wrong_key: |_, _| false,
};

const RUNE_HEADER: HeaderName = HeaderName::from_static("rune");

/// The client of one Core Lightning node.
pub struct Cln {
    server: Server,
    can_spend: bool,
    /// What the node said of the last invoice that it made: that nobody can pay it, say.
    warning: Mutex<Option<String>>,
}

impl fmt::Debug for Cln {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cln({})", self.server.name())
    }
}

impl Cln {
    /// A client for clnrest at `url` with a rune and, where the certificate is self-signed, that certificate (PEM), which
    /// is then the only one trusted. Nothing is sent yet.
    ///
    /// # Errors
    /// An address, a rune or a certificate that can't be used; plain http to a host that is neither this machine nor in a
    /// private network.
    pub fn open(
        url: &str,
        rune: &SecretString,
        certificate: Option<&SecretString>,
    ) -> Result<Self, ServerError> {
        let server = Server::new(Setup {
            kind: &KIND,
            url,
            header: RUNE_HEADER,
            value: rune.clone(),
            secret: rune,
            certificate,
        })?;
        Ok(Self {
            server,
            can_spend: rune::can_spend(rune),
            warning: Mutex::new(None),
        })
    }

    /// The same with another longest time for a call (15 s unless told); at most 30 s.
    #[must_use]
    pub fn call_timeout(mut self, longest: Duration) -> Self {
        self.server.call_timeout(longest);
        self
    }

    async fn call(&self, method: &str, body: &Value) -> Result<Answer, WalletError> {
        let url = self.server.at(&format!("v1/{method}"));
        self.server.post(url, body).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: &str, body: &Value) -> Result<T, WalletError> {
        let answer = self.call(method, body).await?;
        self.server.json(&answer)
    }

    async fn make(&self, new: NewInvoice) -> Result<Issued, WalletError> {
        if new.hold_hash.is_some() {
            return Err(WalletError::Unsupported);
        }
        if new.amount.is_zero() {
            return Err(WalletError::Rejected("an amount of zero".to_owned()));
        }
        for turn in 1..=MAX_INVOICES {
            let label = numbered(&new.label, turn);
            let body = json!({
                "amount_msat": new.amount.0,
                "label": label,
                "description": cut_bytes(&new.memo, MAX_MEMO_BYTES),
                "expiry": new.expiry.as_secs(),
            });
            let answer = self.call("invoice", &body).await?;
            if code(&answer) != Some(LABEL_TAKEN) {
                let made: Made = self.server.json(&answer)?;
                self.remember(&made);
                return made
                    .issued()
                    .ok_or_else(|| WalletError::Protocol("it made no invoice".to_owned()));
            }
            // Made before, by a call whose answer never came; one that can't be paid makes room for the next.
            let made = self.under(&label).await?;
            if let Some(made) = made.filter(|made| made.is_alive() && made.asks(new.amount)) {
                return made
                    .issued()
                    .ok_or_else(|| WalletError::Protocol("it shows no invoice".to_owned()));
            }
        }
        let text = format!("{MAX_INVOICES} invoices under one label have expired");
        Err(WalletError::Rejected(text))
    }

    fn remember(&self, made: &Made) {
        let warning = made.warning().map(|text| self.server.plain(&text));
        // Whole after every statement, so a thread that died while holding it left nothing half done.
        *self.warning.lock().unwrap_or_else(PoisonError::into_inner) = warning;
    }

    async fn under(&self, label: &str) -> Result<Option<Invoice>, WalletError> {
        let found: Invoices = self.ask("listinvoices", &json!({"label": label})).await?;
        Ok(found.one(|invoice| invoice.is_labelled(label)))
    }

    async fn find(&self, label: &str) -> Result<Option<Issued>, WalletError> {
        for turn in 1..=MAX_INVOICES {
            match self.under(&numbered(label, turn)).await? {
                None => return Ok(None),
                Some(invoice) if invoice.is_alive() => return Ok(invoice.issued()),
                Some(_) => {}
            }
        }
        Ok(None)
    }

    async fn look(&self, hash: PaymentHash) -> Result<PaymentStatus, WalletError> {
        let body = json!({"payment_hash": hash});
        let found: Invoices = self.ask("listinvoices", &body).await?;
        if found.is_empty() {
            return Ok(PaymentStatus::Unknown);
        }
        let Some(invoice) = found.one(|invoice| invoice.is_for(&hash)) else {
            let text = "it answered about another payment than was asked for".to_owned();
            return Err(WalletError::Protocol(text));
        };
        invoice.seen()
    }

    /// Invoices from this place on, in the order in which they were made.
    async fn from(&self, start: u64, limit: usize) -> Result<Invoices, WalletError> {
        let body = json!({"index": "created", "start": start, "limit": limit});
        self.ask("listinvoices", &body).await
    }

    /// The node lists oldest first, and says no times: the place is looked for, halving what is left.
    async fn list(&self, since: Time) -> Result<Vec<Listed>, WalletError> {
        let (mut old, mut new) = (0_u64, 1_u64);
        while new < MAX_INDEX && self.from(new, 1).await?.are_before(since) {
            old = new;
            new *= 2;
        }
        while new - old > 1 {
            let middle = old + (new - old) / 2;
            if self.from(middle, 1).await?.are_before(since) {
                old = middle;
            } else {
                new = middle;
            }
        }
        let (mut found, mut start) = (Vec::new(), old);
        for _ in 0..LIST_PAGES {
            let page = self.from(start, LIST_PAGE).await?;
            let Some(last) = page.last_index().filter(|last| *last >= start) else {
                break;
            };
            start = last + 1;
            let listed = page.listed();
            let full = listed.len() >= LIST_PAGE;
            // Before the place there may be one or two that are older.
            take_page(&mut found, listed, full, since);
            if !full {
                break;
            }
        }
        Ok(found)
    }

    async fn ask_health(&self) -> Result<WalletHealth, WalletError> {
        let answer = self.call("getinfo", &json!({})).await?;
        let mut notes = Vec::new();
        let mut health = if code(&answer) == Some(NOT_PERMITTED) {
            self.learn_from_invoices().await?
        } else {
            let info: Info = self.server.json(&answer)?;
            notes.extend(info.notes(|text| self.server.plain(text)));
            info.health(|text| self.server.plain(text))
        };
        self.add_funds(&mut health).await;
        if self.can_spend {
            notes.push(
                "this rune can spend: make one for getinfo, listfunds, invoice and listinvoices"
                    .to_owned(),
            );
        }
        let warning = self.warning.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(warning) = warning.as_deref() {
            notes.push(format!("of the last invoice it said: {warning}"));
        } else if health.can_receive_msat == Some(Msat::ZERO) {
            notes.push(
                "no channel has room to receive: open a channel towards this node".to_owned(),
            );
        }
        drop(warning);
        health.health = if notes.is_empty() {
            HealthLevel::Ok
        } else {
            HealthLevel::Warn
        };
        notes.insert(0, std::mem::take(&mut health.detail));
        health.detail = notes.join("; ");
        Ok(health)
    }

    /// What a rune that may not call getinfo still learns: an invoice's signature tells who made it. So the node has the
    /// same name whatever the rune may do.
    async fn learn_from_invoices(&self) -> Result<WalletHealth, WalletError> {
        let body = json!({"index": "created", "start": 0, "limit": 1});
        let found: Invoices = self.ask("listinvoices", &body).await?;
        Ok(WalletHealth {
            identity: found.maker(),
            detail: "connected with a limited rune".to_owned(),
            ..up()
        })
    }

    /// What the channels hold; nothing where the rune may not ask.
    async fn add_funds(&self, health: &mut WalletHealth) {
        // The node has answered before: that it can be reached is known, and this is a word beside it.
        if let Ok(funds) = self.ask::<Funds>("listfunds", &json!({})).await {
            health.balance_msat = Some(funds.ours());
            health.can_receive_msat = Some(funds.theirs());
        }
    }
}

fn up() -> WalletHealth {
    WalletHealth {
        backend: BACKEND.to_owned(),
        state: "up".to_owned(),
        health: HealthLevel::Ok,
        ..WalletHealth::default()
    }
}

/// The label of the first invoice, and of those that follow where it expired.
fn numbered(label: &str, turn: u32) -> String {
    match turn {
        1 => label.to_owned(),
        turn => format!("{label}#{turn}"),
    }
}

/// The error's number: `{"code": …}`, or inside `{"error": …}`.
fn code(answer: &Answer) -> Option<i64> {
    if answer.status() < 400 {
        return None;
    }
    let object = answer.object()?;
    let inner = object.get("error").and_then(|error| error.get("code"));
    inner.or_else(|| object.get("code"))?.as_i64()
}

impl Wallet for Cln {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn caps(&self) -> Caps {
        Caps {
            msat: true,
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
                        ": make a rune with lightning-cli createrune and set wallet.rune to it"
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
