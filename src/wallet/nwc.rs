//! Nostr Wallet Connect (NIP-47) as the seller's wallet: questions and answers to any wallet that speaks it, over relays.
//!
//! The connection string is all that is needed, and a secret: whoever has it may do with the wallet what the connection
//! may. One that only receives is enough, and one that can spend is warned about. The wallet keeps no label of ours, so an
//! invoice whose answer was lost stays behind unpublished and expires. Amounts are msat.

mod answers;
mod cipher;
mod client;
mod connection;
mod heard;
mod payer;
mod relay_connection;
mod session;
mod shared;

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use secrecy::SecretString;
use serde_json::{Value, json};

use self::answers::{Info, Methods, Refusal};
use self::client::{Answered, NwcClient};
use self::connection::{Connection, host};
use super::{
    Caps, Issued, LIST_PAGE, LIST_PAGES, Listed, NewInvoice, PaymentStatus, Wallet, WalletError,
    take_page,
};
use crate::domain::health::{HealthLevel, WalletHealth};
use crate::domain::id::{PaymentHash, Preimage};
use crate::domain::text::cut_bytes;
use crate::domain::time::Time;

pub use self::connection::NwcError;
pub use self::payer::{NwcPayer, PayError, Receipt};
use self::shared::lock;

const BACKEND: &str = "nwc";

/// What BOLT 11 holds, bytes.
const MAX_MEMO_BYTES: usize = 639;

/// How long a question may take, the way to the wallet included: wallets on phones and behind slow nodes need it.
const CALL: Duration = Duration::from_secs(30);

/// What to do about a connection that does not serve.
const RENEW: &str = "set wallet.uri to a new connection string";

/// The client of one wallet.
pub struct Nwc {
    client: NwcClient,
    call: Duration,
    /// What this connection may do, as `get_info` last told.
    methods: Mutex<Option<Methods>>,
}

impl fmt::Debug for Nwc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nwc({})", self.relays())
    }
}

impl Nwc {
    /// A client for the wallet of a connection string (`nostr+walletconnect://…`). Nothing is sent yet.
    ///
    /// # Errors
    /// A string that is none, or whose relay would be talked to in the open. No part of the string but the relay's host is
    /// in the error.
    pub fn open(uri: &SecretString) -> Result<Self, NwcError> {
        Ok(Self {
            client: NwcClient::new(Connection::read(uri)?),
            call: CALL,
            methods: Mutex::default(),
        })
    }

    /// The same with another longest time for a call (30 s unless told); at most 30 s.
    #[must_use]
    pub fn call_timeout(mut self, longest: Duration) -> Self {
        self.call = longest.min(CALL);
        self
    }

    fn connection(&self) -> &Connection {
        &self.client.shared.connection
    }

    fn relays(&self) -> String {
        let relays = self.connection().relays.iter().map(host);
        relays.collect::<Vec<_>>().join(", ")
    }

    async fn ask(&self, method: &str, params: Value) -> Answered {
        self.client.ask(method, params, self.call, None).await
    }

    async fn told(&self, method: &str, params: Value) -> Result<Value, WalletError> {
        self.ask(method, params).await?.map_err(Refusal::error)
    }

    async fn make(&self, new: NewInvoice) -> Result<Issued, WalletError> {
        if new.amount.is_zero() {
            return Err(WalletError::Rejected("an amount of zero".to_owned()));
        }
        let mut params = json!({
            "amount": new.amount.0,
            "description": cut_bytes(&new.memo, MAX_MEMO_BYTES),
            "expiry": new.expiry.as_secs(),
        });
        let method = if let Some(hash) = new.hold_hash {
            self.learn_of_holding().await?;
            params["payment_hash"] = Value::from(hash.to_string());
            "make_hold_invoice"
        } else {
            "make_invoice"
        };
        let made = self.told(method, params).await?;
        answers::issued(&made).ok_or_else(|| WalletError::Protocol("it made no invoice".to_owned()))
    }

    /// Several questions in the time of one call.
    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, WalletError>>,
    ) -> Result<T, WalletError> {
        match tokio::time::timeout(self.call, work).await {
            Ok(done) => done,
            Err(_) => Err(self.client.silence(self.call)),
        }
    }

    /// Are hold invoices there? Asked for where nothing is known yet.
    async fn learn_of_holding(&self) -> Result<(), WalletError> {
        if !self.can_hold() {
            self.client.card().await?;
        }
        if self.can_hold() {
            Ok(())
        } else {
            Err(WalletError::Unsupported)
        }
    }

    fn can_hold(&self) -> bool {
        let card = self.client.known_card();
        let told = lock(&self.methods)
            .clone()
            .or(card.map(|card| card.methods));
        told.is_some_and(|methods| methods.can_hold())
    }

    /// Settles or cancels. Wallets have no word for "that has happened before": what the invoice is by then tells.
    async fn conclude(
        &self,
        method: &str,
        params: Value,
        issued: Issued,
        done: fn(&PaymentStatus) -> bool,
    ) -> Result<(), WalletError> {
        self.learn_of_holding().await?;
        let Err(refusal) = self.ask(method, params).await? else {
            return Ok(());
        };
        if self.look(&issued).await.as_ref().is_ok_and(done) {
            return Ok(());
        }
        Err(rejected(refusal))
    }

    async fn look(&self, issued: &Issued) -> Result<PaymentStatus, WalletError> {
        let params = json!({"payment_hash": issued.payment_hash.to_string()});
        match self.ask("lookup_invoice", params).await? {
            Ok(found) => answers::seen(&found, issued, Time::now()),
            Err(refusal) if refusal.is("NOT_FOUND") => Ok(PaymentStatus::Unknown),
            Err(refusal) => Err(refusal.error()),
        }
    }

    async fn list(&self, since: Time) -> Result<Vec<Listed>, WalletError> {
        let mut found = Vec::new();
        for page in 0..LIST_PAGES {
            let params = json!({
                "from": since.secs(),
                "limit": LIST_PAGE,
                "offset": page * LIST_PAGE,
                "unpaid": true,
                "type": "incoming",
            });
            let answer = match self.ask("list_transactions", params).await? {
                Ok(answer) => answer,
                Err(no) if no.is("NOT_IMPLEMENTED") || no.is("RESTRICTED") => {
                    return Err(WalletError::Unsupported);
                }
                Err(refusal) => return Err(refusal.error()),
            };
            let listed = answers::listed(&answer);
            let full = listed.len() >= LIST_PAGE;
            if !take_page(&mut found, listed, full, since) {
                break;
            }
        }
        Ok(found)
    }

    async fn ask_health(&self) -> Result<WalletHealth, WalletError> {
        let (info, balance) = tokio::join!(
            self.ask("get_info", json!({})),
            self.ask("get_balance", json!({}))
        );
        let info = match info? {
            Ok(value) => Info::read(&value, self.connection()),
            // It knows the connection and may not tell: what its card says is enough to sell.
            Err(no) if no.is("RESTRICTED") || no.is("NOT_IMPLEMENTED") => Info::default(),
            Err(refusal) => return Err(refusal.error()),
        };
        lock(&self.methods).clone_from(&info.methods);
        let card = self.client.known_card().map(|card| card.methods);
        if let Some(lacking) = info
            .methods
            .as_ref()
            .or(card.as_ref())
            .and_then(Methods::lacks)
        {
            let text = format!("this connection may not {lacking}");
            return Err(WalletError::Unauthorized(text));
        }
        let mut words = vec![info.alias.clone().unwrap_or_else(|| "connected".to_owned())];
        let spends = info.methods.as_ref().and_then(Methods::spends);
        if let Some(method) = spends {
            words.push(format!(
                "this connection can spend ({method}): make one that only receives, and {RENEW}"
            ));
        }
        if info.network.is_none() {
            words.push("it does not say on which network".to_owned());
        }
        Ok(WalletHealth {
            backend: BACKEND.to_owned(),
            state: "up".to_owned(),
            health: spends.map_or(HealthLevel::Ok, |_| HealthLevel::Warn),
            detail: words.join("; "),
            network: info.network,
            identity: Some(self.connection().identity()),
            // Beside the point where the connection may not ask.
            balance_msat: balance
                .ok()
                .and_then(Result::ok)
                .as_ref()
                .and_then(answers::balance),
            ..WalletHealth::default()
        })
    }

    /// What is wrong, and what may mend it. Silence has several reasons that look the same from here.
    fn fix(&self, error: &WalletError) -> String {
        match error {
            WalletError::TimedOut(_) => format!(
                ": no answer though its relay {} is up: the wallet is offline, or this connection was removed in it; open the wallet, or {RENEW}",
                self.relays()
            ),
            WalletError::Unreachable(_) => {
                ": no answer, as the relay of wallet.uri can't be used".to_owned()
            }
            WalletError::Unauthorized(_) => format!(": {RENEW} that may make and look up invoices"),
            _ => String::new(),
        }
    }
}

impl Wallet for Nwc {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn caps(&self) -> Caps {
        Caps {
            msat: true,
            max_memo_bytes: MAX_MEMO_BYTES,
            label_lookup: false,
            push: true,
            hold: self.can_hold(),
        }
    }

    fn health(&self) -> BoxFuture<'_, WalletHealth> {
        async {
            self.ask_health()
                .await
                .unwrap_or_else(|error| super::down(BACKEND, &error, &self.fix(&error)))
        }
        .boxed()
    }

    fn create(&self, new: NewInvoice) -> BoxFuture<'_, Result<Issued, WalletError>> {
        self.within(self.make(new)).boxed()
    }

    fn lookup(&self, issued: Issued) -> BoxFuture<'_, Result<PaymentStatus, WalletError>> {
        async move { self.look(&issued).await }.boxed()
    }

    fn find_by_label(&self, _label: String) -> BoxFuture<'_, Result<Option<Issued>, WalletError>> {
        async { Err(WalletError::Unsupported) }.boxed()
    }

    fn made_since(&self, since: Time) -> BoxFuture<'_, Result<Vec<Listed>, WalletError>> {
        self.list(since).boxed()
    }

    fn next_hint(&self) -> BoxFuture<'_, Option<PaymentHash>> {
        async {
            self.client.start();
            self.client.shared.inbox.next().await
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.client.close().boxed()
    }

    fn settle(&self, preimage: Preimage) -> BoxFuture<'_, Result<(), WalletError>> {
        let issued = Issued {
            bolt11: String::new(),
            payment_hash: preimage.hash(),
            backend_ref: None,
        };
        let params = json!({"preimage": preimage.0.to_string()});
        let done = |seen: &PaymentStatus| matches!(seen, PaymentStatus::Paid { .. });
        self.within(self.conclude("settle_hold_invoice", params, issued, done))
            .boxed()
    }

    fn cancel(&self, issued: Issued) -> BoxFuture<'_, Result<(), WalletError>> {
        let params = json!({"payment_hash": issued.payment_hash.to_string()});
        let done = |seen: &PaymentStatus| matches!(seen, PaymentStatus::Canceled);
        self.within(self.conclude("cancel_hold_invoice", params, issued, done))
            .boxed()
    }
}

/// A no to settling or canceling. Wallets give it as a failure of their own too; that it stands is known from a look.
fn rejected(refusal: Refusal) -> WalletError {
    match refusal.error() {
        WalletError::Failed(words) => WalletError::Rejected(words),
        other => other,
    }
}
