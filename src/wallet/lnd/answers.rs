//! LND's answers, as far as they are read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::domain::Hex32;
use crate::domain::id::{PaymentHash, Preimage};
use crate::domain::invoice;
use crate::domain::msat::Msat;
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::wallet::number::{Number, network_word, or_default};
use crate::wallet::{Issued, Listed, PaymentStatus, WalletError};

pub(super) fn to_base64(bytes: &Hex32) -> String {
    STANDARD.encode(bytes.0)
}

fn from_base64(text: &str) -> Option<Hex32> {
    Hex32::from_slice(&STANDARD.decode(text).ok()?)
}

/// `GET /v1/getinfo`
#[derive(Deserialize)]
pub(super) struct Info {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) alias: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) identity_pubkey: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) synced_to_chain: bool,
    #[serde(default, deserialize_with = "or_default")]
    chains: Vec<Chain>,
}

#[derive(Deserialize)]
struct Chain {
    #[serde(default, deserialize_with = "or_default")]
    network: String,
}

impl Info {
    /// The network, in the settings' word.
    pub(super) fn network(&self) -> Option<String> {
        network_word(&self.chains.first()?.network)
    }
}

/// `GET /v1/balance/channels`
#[derive(Deserialize)]
pub(super) struct Balances {
    local_balance: Option<Amount>,
    remote_balance: Option<Amount>,
}

#[derive(Deserialize)]
struct Amount {
    msat: Number,
}

impl Balances {
    pub(super) fn local(&self) -> Option<Msat> {
        self.local_balance
            .as_ref()
            .map(|amount| Msat(amount.msat.0))
    }

    pub(super) fn remote(&self) -> Option<Msat> {
        self.remote_balance
            .as_ref()
            .map(|amount| Msat(amount.msat.0))
    }
}

/// `POST /v1/invoices`, `POST /v2/invoices/hodl`
#[derive(Deserialize)]
pub(super) struct Made {
    r_hash: Option<String>,
    payment_request: Option<String>,
}

impl Made {
    /// The invoice, for the payment that was asked for or that LND names.
    pub(super) fn issued(self, asked: Option<PaymentHash>) -> Option<Issued> {
        let named = || from_base64(self.r_hash.as_deref()?).map(PaymentHash);
        Some(Issued {
            payment_hash: asked.or_else(named)?,
            bolt11: self.payment_request.filter(|text| !text.is_empty())?,
            backend_ref: None,
        })
    }
}

/// `GET /v1/invoices`
#[derive(Deserialize)]
pub(super) struct Invoices {
    #[serde(default, deserialize_with = "or_default")]
    invoices: Vec<Invoice>,
    first_index_offset: Option<Number>,
}

impl Invoices {
    /// Where the page before this one ends; none where there is none.
    pub(super) fn first(&self) -> Option<u64> {
        self.first_index_offset
            .map(|index| index.0)
            .filter(|index| *index > 1)
    }

    /// Those that can be read.
    pub(super) fn listed(self) -> Vec<Listed> {
        let all = self.invoices.into_iter();
        all.filter_map(Invoice::listed).collect()
    }

    /// The node that signed the first of them.
    pub(super) fn maker(&self) -> Option<String> {
        let bolt11 = self.invoices.first()?.payment_request.as_deref()?;
        invoice::payee(&invoice::read(bolt11).ok()?)
    }
}

/// `GET /v1/invoice/{hash}`
#[derive(Deserialize)]
pub(super) struct Invoice {
    r_hash: Option<String>,
    memo: Option<String>,
    payment_request: Option<String>,
    state: Option<String>,
    amt_paid_msat: Option<Number>,
    settle_date: Option<Number>,
    creation_date: Option<Number>,
    expiry: Option<Number>,
    r_preimage: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    htlcs: Vec<Htlc>,
}

/// One part of a payment.
#[derive(Deserialize)]
struct Htlc {
    state: Option<String>,
    amt_msat: Option<Number>,
}

impl Invoice {
    fn listed(self) -> Option<Listed> {
        let hash = PaymentHash(from_base64(self.r_hash.as_deref()?)?);
        let bolt11 = self.payment_request.filter(|text| !text.is_empty())?;
        let open = self.state.as_deref() == Some("OPEN");
        Some(Listed {
            issued: Issued {
                bolt11,
                payment_hash: hash,
                backend_ref: None,
            },
            label: None,
            memo: self.memo,
            open,
        })
    }

    fn is_about(&self, asked: &PaymentHash) -> Result<(), WalletError> {
        if self.r_hash.as_deref().and_then(from_base64) == Some(asked.0) {
            return Ok(());
        }
        let text = "it answered about another payment than was asked for".to_owned();
        Err(WalletError::Protocol(text))
    }

    /// The invoice itself.
    pub(super) fn issued(self, asked: PaymentHash) -> Result<Issued, WalletError> {
        self.is_about(&asked)?;
        let bolt11 = self.payment_request.filter(|text| !text.is_empty());
        Ok(Issued {
            bolt11: bolt11.ok_or_else(|| WalletError::Protocol("it has no text".to_owned()))?,
            payment_hash: asked,
            backend_ref: None,
        })
    }

    pub(super) fn seen(&self, asked: &PaymentHash) -> Result<PaymentStatus, WalletError> {
        self.is_about(asked)?;
        let protocol = |text: &str| Err(WalletError::Protocol(text.to_owned()));
        let Some(state) = self.state.as_deref() else {
            return protocol("it does not say whether the invoice is paid");
        };
        Ok(match state {
            "OPEN" => PaymentStatus::Pending,
            "ACCEPTED" => PaymentStatus::Held {
                amount: self.held(),
            },
            "SETTLED" => self.paid(),
            // LND cancels an invoice by itself when it expires.
            "CANCELED" if self.is_past() => PaymentStatus::Expired,
            "CANCELED" => PaymentStatus::Canceled,
            other => PaymentStatus::Attention(format!("LND calls it '{}'", clean(other, 40))),
        })
    }

    fn paid(&self) -> PaymentStatus {
        let some = |number: Option<Number>| number.map(|it| it.0).filter(|it| *it > 0);
        PaymentStatus::Paid {
            amount: some(self.amt_paid_msat).map(Msat),
            at: some(self.settle_date).map(Time::from_secs),
            preimage: self
                .r_preimage
                .as_deref()
                .and_then(from_base64)
                .and_then(Preimage::told),
            fee: None,
        }
    }

    /// The parts that wait; LND counts an amount as paid only once it is settled.
    fn held(&self) -> Option<Msat> {
        let parts = self
            .htlcs
            .iter()
            .filter(|part| part.state.as_deref() == Some("ACCEPTED"));
        let sum = parts
            .filter_map(|part| part.amt_msat)
            .fold(0_u64, |sum, part| sum.saturating_add(part.0));
        (sum > 0).then_some(Msat(sum))
    }

    fn is_past(&self) -> bool {
        let end = self
            .creation_date
            .zip(self.expiry)
            .map(|(made, lives)| made.0.saturating_add(lives.0));
        end.is_some_and(|end| end <= Time::now().secs())
    }
}
