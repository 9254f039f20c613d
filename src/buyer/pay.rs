//! Paying a seller: with play money, or through the buyer's own wallet.

use std::time::Duration;

use crate::domain::buyer::Due;
use crate::domain::id::Preimage;
use crate::domain::msat::Msat;
use crate::wallet::nwc::NwcPayer;
use crate::wallet::sandbox::SandboxPayer;

/// How long the buyer's wallet may look for a way to the seller's.
const PAY: Duration = Duration::from_mins(1);

/// Who pays.
pub enum Payer {
    /// The play-money wallet of a data directory on this machine.
    Sandbox(SandboxPayer),
    /// A wallet over Nostr Wallet Connect.
    Nwc(Box<NwcPayer>),
}

/// What was paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// To the seller.
    pub amount: Msat,
    /// For the way, where the wallet says.
    pub fee: Option<Msat>,
    /// The proof, where the wallet gives it; it opens the invoice's hash.
    pub preimage: Option<Preimage>,
}

impl Payer {
    /// Is it play money?
    #[must_use]
    pub const fn is_play_money(&self) -> bool {
        matches!(self, Self::Sandbox(_))
    }

    /// Pays an invoice that was found due, once.
    ///
    /// # Errors
    /// A sentence for the buyer, which says so where it is not known whether the payment was made.
    pub async fn pay(&self, due: &Due) -> Result<Paid, String> {
        match self {
            Self::Sandbox(payer) => {
                let (payer, bolt11) = (payer.clone(), due.bolt11.clone());
                let paid = tokio::task::spawn_blocking(move || payer.pay(&bolt11)).await;
                let paid = paid.map_err(|error| error.to_string())?;
                let paid = paid.map_err(|error| error.to_string())?;
                Ok(Paid {
                    amount: paid.amount,
                    fee: None,
                    preimage: None,
                })
            }
            Self::Nwc(payer) => {
                let receipt = payer.pay(&due.bolt11, &due.hash, PAY).await;
                let receipt = receipt.map_err(|error| error.to_string())?;
                Ok(Paid {
                    amount: due.amount,
                    fee: receipt.fee,
                    preimage: Some(receipt.preimage),
                })
            }
        }
    }
}
