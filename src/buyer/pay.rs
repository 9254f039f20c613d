//! Paying a seller: with play money, or through the buyer's own wallet.

use std::time::Duration;

use crate::domain::buyer::Due;
use crate::domain::id::PaymentHash;
use crate::domain::invoice::Network;
use crate::domain::purchase::{Paid, Payment, Trace};
use crate::wallet::nwc::{NwcPayer, PayError};
use crate::wallet::sandbox::{PayError as SandboxError, SandboxPayer};

/// Who pays.
pub enum Payer {
    /// The play-money wallet of a data directory on this machine.
    Sandbox(SandboxPayer),
    /// A wallet over Nostr Wallet Connect.
    Nwc(Box<NwcPayer>),
}

impl Payer {
    /// Is it play money?
    #[must_use]
    pub const fn is_play_money(&self) -> bool {
        matches!(self, Self::Sandbox(_))
    }

    /// Which wallet this is: what another run must open again to learn of a payment.
    #[must_use]
    pub fn identity(&self) -> String {
        match self {
            Self::Sandbox(_) => "sandbox".to_owned(),
            Self::Nwc(payer) => payer.identity(),
        }
    }

    /// The network that it pays on, where that is known within `wait`.
    pub async fn network(&self, wait: Duration) -> Option<Network> {
        match self {
            Self::Sandbox(_) => Some(Network::Regtest),
            Self::Nwc(payer) => payer.network(wait).await,
        }
    }

    /// Pays an invoice that was found due, once.
    pub async fn pay(&self, due: &Due, wait: Duration) -> Payment {
        match self {
            Self::Sandbox(payer) => {
                let (payer, bolt11) = (payer.clone(), due.bolt11.clone());
                let paid = tokio::task::spawn_blocking(move || payer.pay(&bolt11)).await;
                match paid {
                    Ok(Ok(paid)) => Payment::Paid(Paid {
                        amount: paid.amount,
                        fee: None,
                        preimage: None,
                    }),
                    // The books failed in the middle: the mark may be there.
                    Ok(Err(error @ SandboxError::Sandbox(_))) => {
                        Payment::NotKnown(error.to_string())
                    }
                    Ok(Err(error)) => Payment::NotPaid(error.to_string()),
                    Err(error) => Payment::NotKnown(error.to_string()),
                }
            }
            Self::Nwc(payer) => match payer.pay(&due.bolt11, &due.hash, wait).await {
                Ok(receipt) => Payment::Paid(Paid {
                    amount: due.amount,
                    fee: receipt.fee,
                    preimage: Some(receipt.preimage),
                }),
                Err(error @ PayError::NotPaid(_)) => Payment::NotPaid(error.to_string()),
                Err(error @ PayError::NotKnown(_)) => Payment::NotKnown(error.to_string()),
            },
        }
    }

    /// What became of a payment that an earlier run asked for.
    ///
    /// # Errors
    /// A sentence, where the wallet does not say.
    pub async fn trace(&self, hash: &PaymentHash) -> Result<Trace, String> {
        match self {
            Self::Sandbox(payer) => {
                let (payer, hash) = (payer.clone(), *hash);
                let found = tokio::task::spawn_blocking(move || payer.trace(&hash)).await;
                let found = found.map_err(|error| error.to_string())?;
                found.map_err(|error| error.to_string())
            }
            Self::Nwc(payer) => payer.trace(hash).await.map_err(|error| error.to_string()),
        }
    }
}
