//! A purchase as it is kept, and what became of one whose payment nobody saw end.

use std::time::Duration;

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

use crate::domain::Hex32;
use crate::domain::id::{PaymentHash, RequestId};
use crate::domain::msat::Msat;
use crate::domain::time::Time;

/// How long a payment that the wallet does not know may still be on its way to it.
const ON_ITS_WAY: Duration = Duration::from_secs(300);

/// Where a purchase stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseStatus {
    /// The request is out; nothing was paid.
    Asked,
    /// The wallet was asked to pay, or is about to be.
    Paying,
    /// It is paid; its answer is awaited.
    Paid,
    /// The answer came.
    Delivered,
    /// Nothing was paid, and nothing came.
    Failed,
    /// It was paid, and nothing came.
    Lost,
}

impl PurchaseStatus {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Asked,
        Self::Paying,
        Self::Paid,
        Self::Delivered,
        Self::Failed,
        Self::Lost,
    ];

    /// The word in the ledger and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Paying => "paying",
            Self::Paid => "paid",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }

    /// The word read back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// A purchase as `vend purchases` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PurchaseView {
    /// Its name.
    pub id: Hex32,
    /// The request's event.
    pub request_id: RequestId,
    /// Who was asked, paid or answered.
    pub seller: Option<PublicKey>,
    /// The same, as a person reads it.
    pub npub: Option<String>,
    /// The model asked for, or the one that answered.
    pub model: Option<String>,
    /// Where it stands.
    pub status: PurchaseStatus,
    /// The most that was to be paid.
    pub bid_msat: Option<Msat>,
    /// What was paid, without the way.
    pub paid_msat: Msat,
    /// What the way cost, where the wallet says.
    pub fee_msat: Option<Msat>,
    /// The payment.
    pub payment_hash: Option<PaymentHash>,
    /// Tokens of the request, where they are known.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer, where they are known.
    pub completion_tokens: Option<u64>,
    /// From the request to the answer.
    pub elapsed_ms: Option<u64>,
    /// What went wrong.
    pub error: Option<String>,
    /// When it was asked.
    pub created_at: Time,
}

/// What a wallet knows of a payment that it was to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// It was made.
    Made {
        /// What the way cost.
        fee: Option<Msat>,
    },
    /// It is on its way.
    Pending,
    /// It failed for good.
    Failed,
    /// The wallet knows of none.
    Unknown,
}

/// What becomes of a payment that an earlier run asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// It was made.
    Paid {
        /// What the way cost.
        fee: Option<Msat>,
    },
    /// Nothing was paid, and nothing can be any more.
    NotPaid,
    /// Not known yet: asked again later.
    Open,
}

/// What follows from the wallet's word. A wallet that knows of no payment may still get to see the question: only when the
/// invoice can't be paid any more, nothing was.
#[must_use]
pub fn became(trace: Trace, invoice_expires_at: Time, now: Time) -> Became {
    let over = now > invoice_expires_at.plus(ON_ITS_WAY);
    match trace {
        Trace::Made { fee } => Became::Paid { fee },
        Trace::Failed => Became::NotPaid,
        Trace::Unknown if over => Became::NotPaid,
        Trace::Unknown | Trace::Pending => Became::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_payment_is_open_until_the_invoice_is_over() {
        let expires = Time::from_secs(1_000);
        let at = |secs| became(Trace::Unknown, expires, Time::from_secs(secs));
        assert_eq!(at(10), Became::Open);
        assert_eq!(at(1_300), Became::Open, "the question may be on its way");
        assert_eq!(at(1_301), Became::NotPaid);
        let late = Time::from_secs(9_999);
        assert_eq!(became(Trace::Pending, expires, late), Became::Open);
        let made = Trace::Made { fee: None };
        assert_eq!(became(made, expires, late), Became::Paid { fee: None });
        assert_eq!(became(Trace::Failed, expires, Time(0)), Became::NotPaid);
    }

    #[test]
    fn every_word_of_a_status_is_read_back() {
        for status in PurchaseStatus::ALL {
            assert_eq!(PurchaseStatus::parse(status.as_str()), Some(status));
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(json, format!("\"{}\"", status.as_str()));
        }
    }
}
