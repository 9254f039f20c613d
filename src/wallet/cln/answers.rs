//! Core Lightning's answers, as far as they are read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::up;
use crate::domain::Hex32;
use crate::domain::health::WalletHealth;
use crate::domain::id::{PaymentHash, Preimage};
use crate::domain::invoice;
use crate::domain::msat::Msat;
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::wallet::number::{Number, network_word, node_key, or_default};
use crate::wallet::{Issued, Listed, PaymentStatus, WalletError};

/// getinfo
#[derive(Deserialize)]
pub(super) struct Info {
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    alias: String,
    #[serde(default, deserialize_with = "or_default")]
    network: String,
    warning_bitcoind_sync: Option<String>,
    warning_lightningd_sync: Option<String>,
}

impl Info {
    pub(super) fn health(self, plain: impl Fn(&str) -> String) -> WalletHealth {
        WalletHealth {
            detail: plain(&self.alias),
            network: network_word(&plain(&self.network)),
            identity: node_key(&self.id),
            ..up()
        }
    }

    pub(super) fn notes(&self, plain: impl Fn(&str) -> String) -> Vec<String> {
        [&self.warning_bitcoind_sync, &self.warning_lightningd_sync]
            .into_iter()
            .flatten()
            .map(|text| plain(text))
            .collect()
    }
}

/// listfunds
#[derive(Deserialize)]
pub(super) struct Funds {
    #[serde(default, deserialize_with = "or_default")]
    channels: Vec<Channel>,
}

#[derive(Deserialize)]
struct Channel {
    #[serde(default, deserialize_with = "or_default")]
    our_amount_msat: Number,
    #[serde(default, deserialize_with = "or_default")]
    amount_msat: Number,
    /// Absent in old answers.
    #[serde(default = "yes")]
    connected: bool,
    state: Option<String>,
}

const fn yes() -> bool {
    true
}

impl Funds {
    /// What the channels hold of ours.
    pub(super) fn ours(&self) -> Msat {
        Msat(sum(self.channels.iter().map(|one| one.our_amount_msat.0)))
    }

    /// What could come in through channels that work now. The peer's reserve is in it, so it is a little too much.
    pub(super) fn theirs(&self) -> Msat {
        let works = |one: &&Channel| {
            one.connected && matches!(one.state.as_deref(), None | Some("CHANNELD_NORMAL"))
        };
        let theirs = |one: &Channel| one.amount_msat.0.saturating_sub(one.our_amount_msat.0);
        Msat(sum(self.channels.iter().filter(works).map(theirs)))
    }
}

fn sum(amounts: impl Iterator<Item = u64>) -> u64 {
    amounts.fold(0, u64::saturating_add)
}

/// invoice
#[derive(Deserialize)]
pub(super) struct Made {
    bolt11: Option<String>,
    payment_hash: Option<PaymentHash>,
    /// `warning_capacity` and its like.
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl Made {
    pub(super) fn issued(self) -> Option<Issued> {
        issued(self.bolt11, self.payment_hash)
    }

    /// Why a payer may find no way to this node. The warning about unused private channels is none: they were not needed.
    pub(super) fn warning(&self) -> Option<String> {
        [
            "warning_capacity",
            "warning_offline",
            "warning_deadends",
            "warning_mpp",
        ]
        .iter()
        .find_map(|name| self.others.get(*name)?.as_str())
        .map(str::to_owned)
    }
}

fn issued(bolt11: Option<String>, payment_hash: Option<PaymentHash>) -> Option<Issued> {
    Some(Issued {
        bolt11: bolt11?,
        payment_hash: payment_hash?,
        backend_ref: None,
    })
}

/// listinvoices
#[derive(Deserialize)]
pub(super) struct Invoices {
    #[serde(deserialize_with = "or_default")]
    invoices: Vec<Invoice>,
}

impl Invoices {
    pub(super) fn is_empty(&self) -> bool {
        self.invoices.is_empty()
    }

    /// The one that was asked for, whatever else the node shows.
    pub(super) fn one(self, is_it: impl Fn(&Invoice) -> bool) -> Option<Invoice> {
        self.invoices.into_iter().find(is_it)
    }

    /// Is there one, and was it made before then?
    pub(super) fn are_before(&self, since: Time) -> bool {
        let bolt11 = self.invoices.first().and_then(|one| one.bolt11.as_deref());
        let read = bolt11.and_then(|text| invoice::read(text).ok());
        // One without a text, as for an offer, is passed over: it tells nothing.
        read.map_or(!self.invoices.is_empty(), |read| {
            invoice::times(&read).0 < since
        })
    }

    /// The place of the last one.
    pub(super) fn last_index(&self) -> Option<u64> {
        self.invoices.last()?.created_index.map(|index| index.0)
    }

    /// Those that can be read.
    pub(super) fn listed(self) -> Vec<Listed> {
        let all = self.invoices.into_iter();
        all.filter_map(|mut one| {
            let (label, memo) = (one.label.take(), one.description.take());
            let open = one.status.as_deref() == Some("unpaid");
            let issued = one.issued()?;
            Some(Listed {
                issued,
                label,
                memo,
                open,
            })
        })
        .collect()
    }

    /// The node that signed the first of them.
    pub(super) fn maker(&self) -> Option<String> {
        let bolt11 = self.invoices.first()?.bolt11.as_deref()?;
        invoice::payee(&invoice::read(bolt11).ok()?)
    }
}

#[derive(Deserialize)]
pub(super) struct Invoice {
    label: Option<String>,
    description: Option<String>,
    created_index: Option<Number>,
    bolt11: Option<String>,
    payment_hash: Option<PaymentHash>,
    amount_msat: Option<Number>,
    status: Option<String>,
    expires_at: Option<Number>,
    amount_received_msat: Option<Number>,
    paid_at: Option<Number>,
    payment_preimage: Option<Hex32>,
}

impl Invoice {
    pub(super) fn is_labelled(&self, label: &str) -> bool {
        self.label.as_deref() == Some(label)
    }

    pub(super) fn is_for(&self, hash: &PaymentHash) -> bool {
        self.payment_hash.as_ref() == Some(hash)
    }

    pub(super) fn asks(&self, amount: Msat) -> bool {
        self.amount_msat.map(|msat| Msat(msat.0)) == Some(amount)
    }

    /// Was it paid, or can it still be?
    pub(super) fn is_alive(&self) -> bool {
        match self.status.as_deref() {
            Some("paid") => true,
            Some("expired") => false,
            _ => self.expires_at.is_none_or(|end| end.0 > Time::now().secs()),
        }
    }

    pub(super) fn issued(self) -> Option<Issued> {
        issued(self.bolt11, self.payment_hash)
    }

    pub(super) fn seen(&self) -> Result<PaymentStatus, WalletError> {
        let Some(status) = self.status.as_deref() else {
            let text = "it does not say whether the invoice is paid".to_owned();
            return Err(WalletError::Protocol(text));
        };
        Ok(match status {
            "unpaid" => PaymentStatus::Pending,
            "expired" => PaymentStatus::Expired,
            "paid" => PaymentStatus::Paid {
                amount: self.amount_received_msat.map(|msat| Msat(msat.0)),
                at: self.paid_at.map(|at| Time::from_secs(at.0)),
                preimage: self.payment_preimage.and_then(Preimage::told),
                fee: None,
            },
            other => {
                PaymentStatus::Attention(format!("Core Lightning calls it '{}'", clean(other, 40)))
            }
        })
    }
}
