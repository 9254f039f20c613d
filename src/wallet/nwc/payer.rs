//! The other side: paying an invoice through a connection that may spend. A buyer's, never the seller's.

use std::sync::atomic::Ordering;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::answers;
use super::client::NwcClient;
use super::connection::{Connection, NwcError};
use super::shared::Sent;
use crate::domain::id::{PaymentHash, Preimage};
use crate::domain::invoice::{self, Network};
use crate::domain::msat::Msat;
use crate::domain::purchase::Trace;
use crate::wallet::WalletError;

/// How long a wallet is asked what became of a payment.
const LOOK: Duration = Duration::from_secs(30);

/// The wallet's word on a payment that it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The proof; it opens the payment hash.
    pub preimage: Preimage,
    /// What the way cost, where the wallet says.
    pub fee: Option<Msat>,
}

/// Why an invoice was not paid, or may not have been. `Display` is one line for the payer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayError {
    /// Nothing was paid.
    #[error("not paid: {0}")]
    NotPaid(WalletError),
    /// The wallet was asked, and what it did is not known. Paying again could pay twice.
    #[error("it is not known whether it was paid ({0}): look into the wallet before you pay again")]
    NotKnown(WalletError),
}

/// A wallet that pays.
pub struct NwcPayer {
    client: NwcClient,
}

impl NwcPayer {
    /// A payer through a connection string. Nothing is sent yet.
    ///
    /// # Errors
    /// As [`super::Nwc::open`].
    pub fn open(uri: &SecretString) -> Result<Self, NwcError> {
        let client = NwcClient::new(Connection::read(uri)?);
        Ok(Self { client })
    }

    /// Pays an invoice that was checked, in full, and waits for the proof: at most `wait`, and 30 s more where the answer
    /// to the payment did not come. The payment is sent once.
    ///
    /// # Errors
    /// `NotPaid` where nothing was paid, `NotKnown` where that is not certain.
    pub async fn pay(
        &self,
        bolt11: &str,
        hash: &PaymentHash,
        wait: Duration,
    ) -> Result<Receipt, PayError> {
        let params = json!({"invoice": invoice::bare(bolt11)});
        let sent = Sent::default();
        let answer = self
            .client
            .ask("pay_invoice", params, wait, Some(&sent))
            .await;
        let why = match answer {
            Ok(Ok(answer)) => match proven(&answer, hash) {
                Some(receipt) => return Ok(receipt),
                None => WalletError::Protocol(
                    "it says paid, but its proof does not open the payment hash".to_owned(),
                ),
            },
            Ok(Err(refusal)) => match refusal.error() {
                // A failure of its own may have come after the payment left.
                error @ (WalletError::Failed(_) | WalletError::Protocol(_)) => error,
                error => return Err(PayError::NotPaid(error)),
            },
            // A wallet that was not asked has not paid.
            Err(error) if sent.load(Ordering::SeqCst) == 0 => return Err(PayError::NotPaid(error)),
            Err(error) => error,
        };
        self.look(hash).await.ok_or(PayError::NotKnown(why))
    }

    /// The wallet's public key: which wallet this is, whatever connection leads to it.
    #[must_use]
    pub fn identity(&self) -> String {
        self.client.shared.connection.wallet.to_hex()
    }

    /// The network that the wallet is on, where it says so within `wait`.
    pub async fn network(&self, wait: Duration) -> Option<Network> {
        let told = self.client.ask("get_info", json!({}), wait, None).await;
        let told = told.ok()?.ok()?;
        let info = answers::Info::read(&told, &self.client.shared.connection);
        Network::parse(info.network?.as_str())
    }

    /// What the wallet knows of a payment that an earlier run asked for.
    ///
    /// # Errors
    /// Where the wallet does not answer, or does not say.
    pub async fn trace(&self, hash: &PaymentHash) -> Result<Trace, WalletError> {
        let params = json!({"payment_hash": hash.to_string()});
        let found = match self
            .client
            .ask("lookup_invoice", params, LOOK, None)
            .await?
        {
            Ok(found) => found,
            Err(refusal) if refusal.is("NOT_FOUND") => return Ok(Trace::Unknown),
            Err(refusal) => return Err(refusal.error()),
        };
        if let Some(receipt) = proven(&found, hash).filter(|_| answers::is_settled(&found)) {
            return Ok(Trace::Made { fee: receipt.fee });
        }
        let outgoing = found["type"].as_str() != Some("incoming");
        Ok(match found["state"].as_str() {
            Some("failed") if outgoing => Trace::Failed,
            _ if outgoing => Trace::Pending,
            // The seller's side of it, in the same wallet: it says nothing of what was sent.
            _ => Trace::Unknown,
        })
    }

    /// Ends the connection.
    pub async fn close(&self) {
        self.client.close().await;
    }

    /// What became of a payment whose answer did not come.
    async fn look(&self, hash: &PaymentHash) -> Option<Receipt> {
        let params = json!({"payment_hash": hash.to_string()});
        let found = self.client.ask("lookup_invoice", params, LOOK, None).await;
        let found = found.ok()?.ok()?;
        answers::is_settled(&found)
            .then(|| proven(&found, hash))
            .flatten()
    }
}

fn proven(answer: &Value, hash: &PaymentHash) -> Option<Receipt> {
    let (preimage, fee) = answers::receipt(answer);
    let preimage = preimage.filter(|preimage| preimage.opens(hash))?;
    Some(Receipt { preimage, fee })
}
