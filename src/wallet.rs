//! The seller's Lightning wallet behind one trait.
//!
//! A wallet's word is believed only where it answers a question of ours about a payment hash of ours; a push is a hint to
//! look. An error is never a status: it changes no invoice.

pub mod cln;
mod http;
mod inbox;
pub mod lnbits;
pub mod lnd;
mod number;
pub mod nwc;
pub mod open;
pub mod phoenixd;
pub mod sandbox;
pub mod spark;

pub use self::http::ServerError;
pub use crate::domain::payment_status::PaymentStatus;

use std::fmt;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::domain::health::{HealthLevel, WalletHealth};
use crate::domain::id::{PaymentHash, Preimage};
use crate::domain::invoice;
use crate::domain::msat::Msat;
use crate::domain::time::Time;

/// What a backend can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "abilities that say nothing of one another, not a state"
)]
pub struct Caps {
    /// Amounts below a sat?
    pub msat: bool,
    /// The longest memo, bytes.
    pub max_memo_bytes: usize,
    /// Can an invoice be found again by our label?
    pub label_lookup: bool,
    /// Does [`Wallet::next_hint`] ever say anything?
    pub push: bool,
    /// Hold invoices: can the payment be held until we settle or cancel it?
    pub hold: bool,
}

/// An invoice to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewInvoice {
    /// What is asked. Never zero: an invoice without an amount takes any amount.
    pub amount: Msat,
    /// What the payer reads. Never the prompt.
    pub memo: String,
    /// How long it can be paid.
    pub expiry: Duration,
    /// Our label, for wallets that keep one.
    pub label: String,
    /// A hold invoice for this payment hash: the wallet holds the payment until [`Wallet::settle`] or [`Wallet::cancel`].
    /// None: an ordinary one, whose preimage the wallet makes.
    pub hold_hash: Option<PaymentHash>,
}

/// An invoice as the wallet made it. Not yet checked: see [`crate::domain::invoice::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Its text.
    pub bolt11: String,
    /// Its payment hash, as the wallet says.
    pub payment_hash: PaymentHash,
    /// What the wallet calls it, where that is not the hash.
    pub backend_ref: Option<String>,
}

/// An invoice of the wallet, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The invoice.
    pub issued: Issued,
    /// The label under which it was made, where the wallet keeps labels.
    pub label: Option<String>,
    /// What its payer reads.
    pub memo: Option<String>,
    /// The wallet says that it is neither paid, held nor over.
    pub open: bool,
}

impl Listed {
    /// When it was made, by its own text.
    #[must_use]
    pub fn made_at(&self) -> Option<Time> {
        let read = invoice::read(&self.issued.bolt11).ok()?;
        Some(invoice::times(&read).0)
    }
}

/// Invoices of one answer to a question for a list.
const LIST_PAGE: usize = 50;
/// The most answers: beyond it the list is cut, newest first where the wallet can.
const LIST_PAGES: usize = 400;

/// Takes a page of a list, newest first, into what was found; true where there may be more that is new enough. `full`: the
/// server had as many to show as were asked for.
fn take_page(found: &mut Vec<Listed>, page: Vec<Listed>, full: bool, since: Time) -> bool {
    let before = found.len();
    let mut old = false;
    for one in page {
        if one.made_at().is_some_and(|at| at < since) {
            old = true;
        } else if !found
            .iter()
            .rev()
            .take(2 * LIST_PAGE)
            .any(|known| known.issued.payment_hash == one.issued.payment_hash)
        {
            found.push(one);
        }
    }
    // A server that gives the same page for ever has no more.
    full && !old && found.len() > before
}

/// Why a wallet gave no answer. `Display` is for the operator and clean of secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalletError {
    /// Nothing answers there.
    #[error("the wallet can't be reached: {0}")]
    Unreachable(String),
    /// No answer in time; what was asked may have been done.
    #[error("the wallet did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// Its certificate is not the one that it should show.
    #[error("the wallet can't be trusted: {0}")]
    Certificate(String),
    /// It refuses our key.
    #[error("the wallet refuses the key: {0}")]
    Unauthorized(String),
    /// Too many questions.
    #[error("the wallet asks to slow down")]
    RateLimited(Option<Duration>),
    /// It answered with a failure of its own.
    #[error("the wallet failed: {0}")]
    Failed(String),
    /// It refuses what was asked.
    #[error("the wallet refused: {0}")]
    Rejected(String),
    /// What it answered is not its protocol.
    #[error("the wallet's answer makes no sense: {0}")]
    Protocol(String),
    /// It can't do that.
    #[error("this wallet can't do that")]
    Unsupported,
}

/// In an `Unreachable` whose question had been sent.
pub(crate) const BROKE_OFF: &str = "broke off before it had answered";

impl WalletError {
    /// The same without a preimage that its words may repeat, as hex or in base64.
    #[must_use]
    pub fn without(self, secret: &Preimage) -> Self {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
        let hex = secret.0.to_string();
        let forms = [
            hex.to_ascii_uppercase(),
            hex,
            STANDARD_NO_PAD.encode(secret.0.0),
            URL_SAFE_NO_PAD.encode(secret.0.0),
        ];
        let plain = |words: String| {
            forms
                .iter()
                .fold(words, |words, form| words.replace(form, "***"))
        };
        match self {
            Self::Unreachable(words) => Self::Unreachable(plain(words)),
            Self::Certificate(words) => Self::Certificate(plain(words)),
            Self::Unauthorized(words) => Self::Unauthorized(plain(words)),
            Self::Failed(words) => Self::Failed(plain(words)),
            Self::Rejected(words) => Self::Rejected(plain(words)),
            Self::Protocol(words) => Self::Protocol(plain(words)),
            Self::TimedOut(_) | Self::RateLimited(_) | Self::Unsupported => self,
        }
    }

    /// May what was asked have been done all the same?
    #[must_use]
    pub fn may_have_done(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Failed(_) | Self::Protocol(_) => true,
            Self::Unreachable(words) => words.contains(BROKE_OFF),
            Self::Certificate(_)
            | Self::Unauthorized(_)
            | Self::RateLimited(_)
            | Self::Rejected(_)
            | Self::Unsupported => false,
        }
    }
}

/// A Lightning wallet that can make invoices and look them up.
///
/// Every call ends by itself within 30 s (a `TimedOut` at the latest).
pub trait Wallet: Send + Sync + fmt::Debug {
    /// The backend's word in the settings.
    fn backend(&self) -> &'static str;

    /// What it can do.
    fn caps(&self) -> Caps;

    /// Is it there, and who is it? An unreachable wallet is a health, not an error.
    fn health(&self) -> BoxFuture<'_, WalletHealth>;

    /// Makes an invoice. Called twice it may make two; only a stored one is ever shown to a buyer.
    /// With a `hold_hash`, `Unsupported` where hold invoices are; called twice with the same one it gives the same invoice,
    /// or refuses.
    fn create(&self, new: NewInvoice) -> BoxFuture<'_, Result<Issued, WalletError>>;

    /// Looks at one invoice.
    fn lookup(&self, issued: Issued) -> BoxFuture<'_, Result<PaymentStatus, WalletError>>;

    /// The invoice made under this label, if any; `Unsupported` where labels are not kept.
    fn find_by_label(&self, label: String) -> BoxFuture<'_, Result<Option<Issued>, WalletError>>;

    /// The invoices that were made since then, in any order; `Unsupported` where the wallet can't list them. A wallet may show
    /// older ones, and payments that were not asked for through vend.
    fn made_since(&self, _since: Time) -> BoxFuture<'_, Result<Vec<Listed>, WalletError>> {
        async { Err(WalletError::Unsupported) }.boxed()
    }

    /// Does [`Wallet::made_since`] say of each invoice whether it is open, in fewer calls than one for each?
    fn lists_open(&self) -> bool {
        false
    }

    /// Waits until the wallet hints that something was paid: the hash, or none for "look at all".
    /// A wallet without pushes waits for ever.
    fn next_hint(&self) -> BoxFuture<'_, Option<PaymentHash>>;

    /// Takes the payment that is held for the invoice of this preimage. Called twice it changes nothing more. `Unsupported`
    /// unless told otherwise.
    fn settle(&self, _preimage: Preimage) -> BoxFuture<'_, Result<(), WalletError>> {
        async { Err(WalletError::Unsupported) }.boxed()
    }

    /// Closes an invoice: what is held goes back to the payer, and nobody can pay it any more. Called twice it changes
    /// nothing more; what is settled stays settled (`Rejected`). `Unsupported` unless told otherwise.
    fn cancel(&self, _issued: Issued) -> BoxFuture<'_, Result<(), WalletError>> {
        async { Err(WalletError::Unsupported) }.boxed()
    }

    /// How many seconds the wallet's clock is ahead of ours (below zero: behind), by the last answer that told; none where
    /// none has.
    fn clock_off_secs(&self) -> Option<i64> {
        None
    }

    /// Ends what runs beside the wallet, and returns when it has ended; the wallet is of no use afterwards. For those that
    /// have nothing beside them, nothing. A wallet that is dropped without it ends by itself, a little later.
    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

/// The whole sats of an amount, for a backend that counts in nothing smaller.
fn whole_sats(amount: Msat, backend: &str) -> Result<u64, WalletError> {
    let sats = amount.ceil_to_sats();
    if amount.is_zero() || Msat::from_sats(sats) != amount {
        let text = format!(
            "{backend} counts in whole sats, and {} msat is not",
            amount.0
        );
        return Err(WalletError::Rejected(text));
    }
    Ok(sats)
}

/// The health of a wallet that gave this error instead of an answer; `fix` says what mends it.
fn down(backend: &str, error: &WalletError, fix: &str) -> WalletHealth {
    WalletHealth {
        backend: backend.to_owned(),
        state: "down".to_owned(),
        health: HealthLevel::Down,
        detail: format!("{error}{fix}"),
        ..WalletHealth::default()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::domain::Hex32;

    #[test]
    fn an_error_that_repeats_a_preimage_loses_it() {
        let secret = Preimage(Hex32([0xab; 32]));
        let forms = [secret.0.to_string(), STANDARD.encode(secret.0.0)];
        for form in forms {
            let words = format!("no: {{\"preimage\":\"{form}\"}}");
            for error in [
                WalletError::Rejected(words.clone()),
                WalletError::Failed(words.clone()),
                WalletError::Protocol(words),
            ] {
                let said = error.without(&secret).to_string();
                assert!(!said.contains(&form) && said.contains("***"), "{said}");
            }
        }
    }
}
