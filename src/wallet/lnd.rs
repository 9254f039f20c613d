//! LND as the seller's wallet, through its REST interface and a macaroon. `invoice.macaroon` is enough.
//!
//! LND keeps no label of ours, so an invoice whose answer was lost stays behind unpublished and expires. Its JSON writes
//! 64-bit numbers as text and bytes as base64. Amounts are msat.

mod answers;
mod macaroon;

use std::fmt;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::HeaderName;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use self::answers::{Balances, Info, Invoice, Invoices, Made, to_base64};
use super::http::{Answer, Kind, Server, Setup};
use super::number::node_key;
use super::{
    Caps, Issued, LIST_PAGE, LIST_PAGES, Listed, NewInvoice, PaymentStatus, ServerError, Wallet,
    WalletError, take_page,
};
use crate::domain::health::{HealthLevel, WalletHealth};
use crate::domain::id::{PaymentHash, Preimage};
use crate::domain::msat::Msat;
use crate::domain::text::cut_bytes;
use crate::domain::time::Time;

const BACKEND: &str = "lnd";

/// What BOLT 11 holds, bytes.
const MAX_MEMO_BYTES: usize = 639;

const KIND: Kind = Kind {
    name: "LND's REST interface",
    key: "wallet.macaroon",
    fix: "name the file, wallet.macaroon = { file = \"…/invoice.macaroon\" }, or write its hex digits",
    example: "https://127.0.0.1:8080",
    max_body: 256 * 1024,
    own_words: |_| false,
    wrong_key: |_, words| refuses_macaroon(words),
};

const MACAROON_HEADER: HeaderName = HeaderName::from_static("grpc-metadata-macaroon");

/// The client of one LND node.
pub struct Lnd {
    server: Server,
    can_spend: bool,
}

impl fmt::Debug for Lnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lnd({})", self.server.name())
    }
}

impl Lnd {
    /// A client for the REST interface at `url` with a macaroon (hex) and, where the certificate is self-signed, that
    /// certificate (PEM), which is then the only one trusted. Nothing is sent yet.
    ///
    /// # Errors
    /// An address, a macaroon or a certificate that can't be used; plain http to a host that is neither this machine nor
    /// in a private network.
    pub fn open(
        url: &str,
        macaroon: &SecretString,
        certificate: Option<&SecretString>,
    ) -> Result<Self, ServerError> {
        let hex = macaroon::hex(macaroon).ok_or(ServerError::Key {
            setting: KIND.key,
            fix: KIND.fix,
        })?;
        let server = Server::new(Setup {
            kind: &KIND,
            url,
            header: MACAROON_HEADER,
            value: hex.clone(),
            secret: &hex,
            certificate,
        })?;
        let can_spend = macaroon::can_spend(hex.expose_secret());
        Ok(Self { server, can_spend })
    }

    /// The same with another longest time for a call (15 s unless told); at most 30 s.
    #[must_use]
    pub fn call_timeout(mut self, longest: Duration) -> Self {
        self.server.call_timeout(longest);
        self
    }

    async fn make(&self, new: NewInvoice) -> Result<Issued, WalletError> {
        let mut body = json!({
            "value_msat": new.amount.0.to_string(),
            "memo": cut_bytes(&new.memo, MAX_MEMO_BYTES),
            "expiry": new.expiry.as_secs().to_string(),
            // Hints to channels that are not announced: without them a payer finds no way to such a node.
            "private": true,
        });
        if new.amount.is_zero() {
            return Err(WalletError::Rejected("an amount of zero".to_owned()));
        }
        let path = if let Some(hash) = &new.hold_hash {
            body["hash"] = Value::from(to_base64(&hash.0));
            "v2/invoices/hodl"
        } else {
            "v1/invoices"
        };
        let answer = self.server.post(self.server.at(path), &body).await?;
        if let Some(hash) = new.hold_hash.filter(|_| says(&answer, "already exists")) {
            // Made before, and the answer was lost.
            return self.made_before(hash).await;
        }
        let made: Made = self.told(&answer)?;
        // The answer to a hold invoice does not repeat its hash.
        made.issued(new.hold_hash)
            .ok_or_else(|| WalletError::Protocol("it made no invoice".to_owned()))
    }

    /// The invoice that LND has for this payment.
    async fn made_before(&self, hash: PaymentHash) -> Result<Issued, WalletError> {
        let url = self.server.at(&format!("v1/invoice/{hash}"));
        let answer = self.server.get(url).await?;
        let invoice: Invoice = self.told(&answer)?;
        invoice.issued(hash)
    }

    async fn look(&self, hash: PaymentHash) -> Result<PaymentStatus, WalletError> {
        let url = self.server.at(&format!("v1/invoice/{hash}"));
        let answer = self.server.get(url).await?;
        if knows_no_invoice(&answer) {
            return Ok(PaymentStatus::Unknown);
        }
        let invoice: Invoice = self.told(&answer)?;
        invoice.seen(&hash)
    }

    /// Settles or cancels. `done` is LND's word where that has happened before.
    async fn conclude(&self, what: &str, body: &Value, done: &str) -> Result<(), WalletError> {
        let url = self.server.at(&format!("v2/invoices/{what}"));
        let answer = self.server.post(url, body).await?;
        if (200..300).contains(&answer.status()) || says(&answer, done) {
            return Ok(());
        }
        if knows_no_invoice(&answer) {
            let text = "LND does not know the invoice".to_owned();
            return Err(WalletError::Rejected(text));
        }
        self.told(&answer).map(|_: Value| ())
    }

    fn told<T: serde::de::DeserializeOwned>(&self, answer: &Answer) -> Result<T, WalletError> {
        match self.server.json(answer) {
            // LND has one status for its own troubles and for a no: the words about an invoice tell them apart.
            Err(WalletError::Failed(words)) if words.starts_with("invoice ") => {
                Err(WalletError::Rejected(words))
            }
            other => other,
        }
    }

    async fn list(&self, since: Time) -> Result<Vec<Listed>, WalletError> {
        let mut found = Vec::new();
        let mut before = None;
        for _ in 0..LIST_PAGES {
            let mut url = self.server.at("v1/invoices");
            url.query_pairs_mut()
                .append_pair("num_max_invoices", &LIST_PAGE.to_string())
                .append_pair("reversed", "true");
            if let Some(before) = before {
                let before: u64 = before;
                url.query_pairs_mut()
                    .append_pair("index_offset", &before.to_string());
            }
            let answer = self.server.get(url).await?;
            let page: Invoices = self.told(&answer)?;
            before = page.first();
            let listed = page.listed();
            let full = listed.len() >= LIST_PAGE && before.is_some();
            if !take_page(&mut found, listed, full, since) {
                break;
            }
        }
        Ok(found)
    }

    async fn ask_health(&self) -> Result<WalletHealth, WalletError> {
        let info = self.server.get(self.server.at("v1/getinfo")).await?;
        let limited = says(&info, "permission denied");
        let (mut health, mut notes) = if limited {
            (self.learn_from_invoices().await?, Vec::new())
        } else {
            told_by_info(&self.server.json(&info)?, |text| self.server.plain(text))
        };
        self.add_balances(&mut health).await;
        if self.can_spend {
            notes.push(
                "this macaroon can spend: set wallet.macaroon to invoice.macaroon".to_owned(),
            );
        }
        if health.can_receive_msat == Some(Msat::ZERO) {
            notes.push(
                "no channel has room to receive: open a channel towards this node".to_owned(),
            );
        }
        health.health = if notes.is_empty() {
            HealthLevel::Ok
        } else {
            HealthLevel::Warn
        };
        let name = match (health.detail.is_empty(), limited) {
            (_, true) => "connected with a macaroon for invoices only".to_owned(),
            (true, false) => "connected".to_owned(),
            (false, false) => health.detail,
        };
        notes.insert(0, name);
        health.detail = notes.join("; ");
        Ok(health)
    }

    /// What a macaroon that may not ask the node about itself still learns: the newest invoice's signature tells who made
    /// it. So the node has the same name whatever the macaroon may do.
    async fn learn_from_invoices(&self) -> Result<WalletHealth, WalletError> {
        let mut url = self.server.at("v1/invoices");
        url.query_pairs_mut()
            .append_pair("num_max_invoices", "1")
            .append_pair("reversed", "true");
        let answer = self.server.get(url).await?;
        let found: Invoices = self.told(&answer)?;
        Ok(WalletHealth {
            identity: found.maker(),
            ..up()
        })
    }

    /// What the channels hold; nothing where the macaroon may not ask.
    async fn add_balances(&self, health: &mut WalletHealth) {
        let url = self.server.at("v1/balance/channels");
        let Ok(answer) = self.server.get(url).await else {
            // The node has answered before: that it can be reached is known, and this is a word beside it.
            return;
        };
        if let Ok(balances) = self.server.json::<Balances>(&answer) {
            health.balance_msat = balances.local();
            health.can_receive_msat = balances.remote();
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

fn told_by_info(info: &Info, plain: impl Fn(&str) -> String) -> (WalletHealth, Vec<String>) {
    let mut notes = Vec::new();
    if !info.synced_to_chain {
        notes.push("it is still catching up with the chain, and can't receive until then".into());
    }
    let health = WalletHealth {
        detail: plain(&info.alias),
        network: info.network().map(|word| plain(&word)),
        identity: node_key(&info.identity_pubkey),
        ..up()
    };
    (health, notes)
}

impl Wallet for Lnd {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn caps(&self) -> Caps {
        Caps {
            msat: true,
            max_memo_bytes: MAX_MEMO_BYTES,
            label_lookup: false,
            push: false,
            hold: true,
        }
    }

    fn health(&self) -> BoxFuture<'_, WalletHealth> {
        async {
            self.ask_health().await.unwrap_or_else(|error| {
                let fix = match error {
                    WalletError::Unauthorized(_) => {
                        ": set wallet.macaroon to this node's invoice.macaroon"
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

    fn find_by_label(&self, _label: String) -> BoxFuture<'_, Result<Option<Issued>, WalletError>> {
        async { Err(WalletError::Unsupported) }.boxed()
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

    fn settle(&self, preimage: Preimage) -> BoxFuture<'_, Result<(), WalletError>> {
        async move {
            let body = json!({"preimage": to_base64(&preimage.0)});
            self.conclude("settle", &body, "invoice already settled")
                .await
        }
        .boxed()
    }

    fn cancel(&self, issued: Issued) -> BoxFuture<'_, Result<(), WalletError>> {
        async move {
            let body = json!({"payment_hash": to_base64(&issued.payment_hash.0)});
            self.conclude("cancel", &body, "invoice already canceled")
                .await
        }
        .boxed()
    }
}

fn says(answer: &Answer, words: &str) -> bool {
    answer.status() >= 400 && answer.detail().is_some_and(|text| text.contains(words))
}

/// LND's words for an invoice that it does not have. Newer ones come with 404, older ones with 500.
fn knows_no_invoice(answer: &Answer) -> bool {
    says(answer, "unable to locate invoice") || says(answer, "there are no existing invoices")
}

/// LND answers a macaroon that it does not take, or can't read, with 500 and words.
fn refuses_macaroon(words: &str) -> bool {
    const WORDS: [&str; 4] = [
        "permission denied",
        "verification failed",
        "macaroon",
        "unmarshal v",
    ];
    WORDS.iter().any(|word| words.contains(word))
}
