//! phoenixd (written against 0.8.0) as the seller's wallet, through its API and a password. The limited-access password is
//! enough.
//!
//! phoenixd buys room to receive from its service provider as payments come in: the first ones may turn into fee credit, and
//! later ones may lose a fee. The buyer has paid in full all the same. Amounts are whole sats.

mod answers;

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};

use self::answers::{Balance, Info, Made, Payment};
use super::http::{Answer, Kind, Server, Setup};
use super::number::node_key;
use super::{
    Caps, Issued, LIST_PAGE, LIST_PAGES, Listed, NewInvoice, PaymentStatus, ServerError, Wallet,
    WalletError, take_page, whole_sats,
};
use crate::domain::health::{HealthLevel, WalletHealth};
use crate::domain::id::PaymentHash;
use crate::domain::msat::Msat;
use crate::domain::text::cut_bytes;
use crate::domain::time::Time;

const BACKEND: &str = "phoenixd";

/// phoenixd takes 128 characters, which are never more than as many bytes.
const MAX_MEMO_BYTES: usize = 128;

/// Invoices read under one label. More than one or two means that something else uses our labels.
const MAX_FOUND: &str = "20";

const KIND: Kind = Kind {
    name: "phoenixd",
    key: "wallet.password",
    fix: "copy http-password-limited-access from phoenix.conf",
    example: "http://127.0.0.1:9740",
    max_body: 256 * 1024,
    // "Invalid authentication (use basic auth …)", or nothing at all.
    own_words: |words| words.trim().is_empty() || words.to_ascii_lowercase().contains("auth"),
    wrong_key: |_, _| false,
};

/// The client of one phoenixd.
pub struct Phoenixd {
    server: Server,
}

impl fmt::Debug for Phoenixd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phoenixd({})", self.server.name())
    }
}

impl Phoenixd {
    /// A client for the API at `url` with one of its passwords. Nothing is sent yet.
    ///
    /// # Errors
    /// An address or a password that can't be used; plain http to a host that is neither this machine nor in a private
    /// network.
    pub fn open(url: &str, password: &SecretString) -> Result<Self, ServerError> {
        let password = SecretString::from(password.expose_secret().trim());
        // HTTP's basic authentication; phoenixd takes any user.
        let pair = STANDARD.encode(format!(":{}", password.expose_secret()));
        let server = Server::new(Setup {
            kind: &KIND,
            url,
            header: AUTHORIZATION,
            value: format!("Basic {pair}").into(),
            secret: &password,
            certificate: None,
        })?;
        Ok(Self { server })
    }

    /// The same with another longest time for a call (15 s unless told); at most 30 s.
    #[must_use]
    pub fn call_timeout(mut self, longest: Duration) -> Self {
        self.server.call_timeout(longest);
        self
    }

    async fn make(&self, new: NewInvoice) -> Result<Issued, WalletError> {
        if new.hold_hash.is_some() {
            return Err(WalletError::Unsupported);
        }
        let sats = whole_sats(new.amount, KIND.name)?;
        let fields = [
            ("amountSat", &*sats.to_string()),
            ("description", cut_bytes(&new.memo, MAX_MEMO_BYTES)),
            ("expirySeconds", &*new.expiry.as_secs().to_string()),
            ("externalId", &*new.label),
        ];
        let url = self.server.at("createinvoice");
        let answer = self.server.post_form(url, &fields).await?;
        let made: Made = self.server.json(&answer)?;
        made.issued()
            .ok_or_else(|| WalletError::Protocol("it made no invoice".to_owned()))
    }

    async fn look(&self, issued: &Issued) -> Result<PaymentStatus, WalletError> {
        let hash = issued.payment_hash;
        let url = self.server.at(&format!("payments/incoming/{hash}"));
        let answer = self.server.get(url).await?;
        if knows_no_payment(&answer) {
            return Ok(PaymentStatus::Unknown);
        }
        let payment: Payment = self.server.json(&answer)?;
        payment.seen(issued)
    }

    async fn find(&self, label: &str) -> Result<Option<Issued>, WalletError> {
        let mut url = self.server.at("payments/incoming");
        // Without `all` only what was paid is listed.
        url.query_pairs_mut()
            .append_pair("externalId", label)
            .append_pair("all", "true")
            .append_pair("limit", MAX_FOUND);
        let answer = self.server.get(url).await?;
        let found: Option<Vec<Payment>> = self.server.json(&answer)?;
        Ok(found
            .unwrap_or_default()
            .into_iter()
            .find(|payment| payment.is_labelled(label) && payment.is_alive())
            .and_then(Payment::issued))
    }

    async fn list(&self, since: Time) -> Result<Vec<Listed>, WalletError> {
        let mut found = Vec::new();
        let from = since.0.max(0).to_string();
        for page in 0..LIST_PAGES {
            let mut url = self.server.at("payments/incoming");
            url.query_pairs_mut()
                .append_pair("from", &from)
                .append_pair("all", "true")
                .append_pair("limit", &LIST_PAGE.to_string())
                .append_pair("offset", &(page * LIST_PAGE).to_string());
            let answer = self.server.get(url).await?;
            let payments: Option<Vec<Payment>> = self.server.json(&answer)?;
            let payments = payments.unwrap_or_default();
            let full = payments.len() >= LIST_PAGE;
            let listed = payments.into_iter().filter_map(Payment::listed).collect();
            if !take_page(&mut found, listed, full, since) {
                break;
            }
        }
        Ok(found)
    }

    async fn ask_health(&self) -> Result<WalletHealth, WalletError> {
        let answer = self.server.get(self.server.at("getinfo")).await?;
        let info: Info = self.server.json(&answer)?;
        let answer = self.server.get(self.server.at("getbalance")).await?;
        let balance: Balance = self.server.json(&answer)?;
        let can_receive = info.inbound();
        let mut words = vec![format!("phoenixd {}", self.server.plain(&info.version))];
        if can_receive.is_zero() {
            words.push(
                "no room to receive yet: the first payments become fee credit until it can buy a channel"
                    .to_owned(),
            );
        } else {
            words.push(format!("room to receive {}", can_receive.display()));
        }
        if balance.fee_credit > 0 {
            let credit = Msat::from_sats(balance.fee_credit);
            words.push(format!("fee credit {}", credit.display()));
        }
        Ok(WalletHealth {
            backend: BACKEND.to_owned(),
            state: "up".to_owned(),
            health: if can_receive.is_zero() {
                HealthLevel::Warn
            } else {
                HealthLevel::Ok
            },
            detail: words.join("; "),
            network: info.network().map(|word| self.server.plain(&word)),
            identity: node_key(&info.node_id),
            balance_msat: Some(Msat::from_sats(balance.balance)),
            can_receive_msat: Some(can_receive),
            sandbox: false,
        })
    }
}

/// phoenixd's words for a payment that it does not have: two, as it says the first of a path that it does not know too. A
/// "not found" in other words comes from something else.
fn knows_no_payment(answer: &Answer) -> bool {
    answer.status() == 404 && {
        let text = answer.detail().unwrap_or_else(|| answer.text());
        ["unknown endpoint (check api doc)", "not found"]
            .contains(&text.trim().to_ascii_lowercase().as_str())
    }
}

impl Wallet for Phoenixd {
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
                        ": set wallet.password to http-password-limited-access of phoenix.conf"
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
        async move { self.look(&issued).await }.boxed()
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
