//! phoenixd's answers, as far as they are read.

use serde::Deserialize;

use crate::domain::Hex32;
use crate::domain::id::{PaymentHash, Preimage};
use crate::domain::invoice;
use crate::domain::msat::Msat;
use crate::domain::time::Time;
use crate::wallet::number::{network_word, or_default};
use crate::wallet::{Issued, Listed, PaymentStatus, WalletError};

/// `GET /getinfo`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Info {
    pub(super) node_id: String,
    #[serde(default, deserialize_with = "or_default")]
    chain: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) version: String,
    #[serde(default, deserialize_with = "or_default")]
    channels: Vec<Channel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Channel {
    inbound_liquidity_sat: Option<u64>,
}

impl Info {
    /// The network, in the settings' word.
    pub(super) fn network(&self) -> Option<String> {
        network_word(&self.chain)
    }

    /// What can come in before more room is bought.
    pub(super) fn inbound(&self) -> Msat {
        let sats = self
            .channels
            .iter()
            .filter_map(|channel| channel.inbound_liquidity_sat)
            .fold(0, u64::saturating_add);
        Msat::from_sats(sats)
    }
}

/// `GET /getbalance`; sats.
#[derive(Deserialize)]
pub(super) struct Balance {
    #[serde(rename = "balanceSat")]
    pub(super) balance: u64,
    #[serde(rename = "feeCreditSat", default, deserialize_with = "or_default")]
    pub(super) fee_credit: u64,
}

/// `POST /createinvoice`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Made {
    payment_hash: Option<PaymentHash>,
    serialized: Option<String>,
}

impl Made {
    pub(super) fn issued(self) -> Option<Issued> {
        Some(Issued {
            bolt11: self.serialized?,
            payment_hash: self.payment_hash?,
            backend_ref: None,
        })
    }
}

/// `GET /payments/incoming/{hash}`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Payment {
    #[serde(rename = "paymentHash")]
    hash: PaymentHash,
    external_id: Option<String>,
    description: Option<String>,
    invoice: Option<String>,
    is_paid: bool,
    is_expired: Option<bool>,
    #[serde(default, deserialize_with = "or_default")]
    received_sat: u64,
    /// msat, unlike the other amounts.
    #[serde(default, deserialize_with = "or_default")]
    fees: u64,
    /// Milliseconds since 1970.
    completed_at: Option<i64>,
    /// Here from the start, so it proves nothing before the payment.
    preimage: Option<Hex32>,
}

impl Payment {
    pub(super) fn is_labelled(&self, label: &str) -> bool {
        self.external_id.as_deref() == Some(label)
    }

    /// Was it paid, or can it still be?
    pub(super) fn is_alive(&self) -> bool {
        // phoenixd looks at the clock alone: an invoice that was paid is called expired too.
        self.is_paid || !self.is_past(self.invoice.as_deref())
    }

    fn is_past(&self, bolt11: Option<&str>) -> bool {
        // Before 0.5 phoenixd did not say.
        self.is_expired.unwrap_or_else(|| {
            let read = bolt11.and_then(|text| invoice::read(text).ok());
            read.is_some_and(|read| invoice::times(&read).1 <= Time::now())
        })
    }

    pub(super) fn issued(self) -> Option<Issued> {
        Some(Issued {
            bolt11: self.invoice?,
            payment_hash: self.hash,
            backend_ref: None,
        })
    }

    pub(super) fn listed(mut self) -> Option<Listed> {
        let (label, memo) = (self.external_id.take(), self.description.take());
        let open = !self.is_paid && self.is_alive();
        let issued = self.issued()?;
        Some(Listed {
            issued,
            label,
            memo,
            open,
        })
    }

    pub(super) fn seen(&self, issued: &Issued) -> Result<PaymentStatus, WalletError> {
        if self.hash != issued.payment_hash {
            let text = "it answered about another payment than was asked for".to_owned();
            return Err(WalletError::Protocol(text));
        }
        Ok(if self.is_paid {
            self.paid(issued)
        } else if self.is_past(Some(&issued.bolt11)) {
            PaymentStatus::Expired
        } else {
            PaymentStatus::Pending
        })
    }

    /// A payment is settled only where all that was asked for came in (BOLT 4). What phoenixd shows as received may be
    /// less: its fee is off, and what became fee credit. So less than was asked is not passed on as what was paid.
    fn paid(&self, issued: &Issued) -> PaymentStatus {
        let read = invoice::read(&issued.bolt11).ok();
        let asked = read
            .and_then(|read| invoice::amount(&read).ok().flatten())
            .unwrap_or_default();
        let received = Msat::from_sats(self.received_sat);
        let gross = received.saturating_add(Msat(self.fees));
        let kept_back = Msat(asked.0.max(gross.0).saturating_sub(received.0));
        PaymentStatus::Paid {
            amount: (gross >= asked && !gross.is_zero()).then_some(gross),
            at: self.completed_at.map(Time),
            preimage: self.preimage.and_then(Preimage::told),
            fee: (!kept_back.is_zero()).then_some(kept_back),
        }
    }
}
