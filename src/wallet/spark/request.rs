//! One invoice of Spark (the SDK calls it a `LightningReceiveRequest`), and what its state means for a sale.

use serde::Deserialize;

use crate::domain::Hex32;
use crate::domain::id::{PaymentHash, Preimage};
use crate::domain::invoice;
use crate::domain::msat::Msat;
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::wallet::{Issued, PaymentStatus, WalletError};

/// The answer to `create` and `lookup`.
#[derive(Default, Deserialize)]
pub(super) struct Request {
    #[serde(rename = "request_id")]
    id: Option<String>,
    /// The SDK's word; null where Spark does not know the request. An answer without it is none.
    #[serde(deserialize_with = "Option::deserialize")]
    status: Option<String>,
    bolt11: Option<String>,
    payment_hash: Option<PaymentHash>,
    amount_msat: Option<u64>,
    /// RFC 3339, as Spark writes it.
    expires_at: Option<String>,
    /// What was passed on to us once the payment came.
    received_msat: Option<u64>,
    preimage: Option<String>,
}

impl Request {
    pub(super) fn issued(self) -> Option<Issued> {
        Some(Issued {
            bolt11: self.bolt11?,
            payment_hash: self.payment_hash?,
            backend_ref: Some(self.id?),
        })
    }

    /// What the state says, at this moment.
    pub(super) fn seen(&self, issued: &Issued, now: Time) -> Result<PaymentStatus, WalletError> {
        let Some(status) = self.status.as_deref() else {
            return Ok(PaymentStatus::Unknown);
        };
        if self.payment_hash != Some(issued.payment_hash) {
            let text = "it answered about another payment than was asked for".to_owned();
            return Err(WalletError::Protocol(text));
        }
        let preimage = self.preimage();
        let proved = preimage.is_some_and(|preimage| preimage.opens(&issued.payment_hash));
        let over = self.is_over(issued, now);
        Ok(match status {
            // Spark has no word for an invoice that expired.
            "INVOICE_CREATED" if over => PaymentStatus::Expired,
            "INVOICE_CREATED" => PaymentStatus::Pending,
            "TRANSFER_COMPLETED" => self.paid(preimage),
            "LIGHTNING_PAYMENT_RECEIVED" | "PAYMENT_PREIMAGE_RECOVERED" if proved => {
                self.paid(preimage)
            }
            "TRANSFER_CREATED" | "LIGHTNING_PAYMENT_RECEIVED" | "PAYMENT_PREIMAGE_RECOVERED" => {
                on_its_way(
                    over,
                    "Spark has the buyer's payment and has not passed it on yet",
                )
            }
            "TRANSFER_CREATION_FAILED"
            | "TRANSFER_FAILED"
            | "REFUND_SIGNING_FAILED"
            | "REFUND_SIGNING_COMMITMENTS_QUERYING_FAILED"
            | "PAYMENT_PREIMAGE_RECOVERING_FAILED" => PaymentStatus::Attention(format!(
                "the buyer may have paid, but Spark could not pass it on ({status}); it is looked at again"
            )),
            other => {
                let word = clean(other, 60);
                tracing::warn!(status = word, "Spark is in a state that vend does not know");
                on_its_way(over, "Spark is in a state that this vend does not know")
            }
        })
    }

    fn preimage(&self) -> Option<Preimage> {
        let bytes: Hex32 = self.preimage.as_deref()?.parse().ok()?;
        Preimage::told(bytes)
    }

    /// By Spark's word, or else by the invoice's own.
    fn is_over(&self, issued: &Issued, now: Time) -> bool {
        let told = self.expires_at.as_deref();
        let told = told.and_then(|text| Time::parse(text).ok());
        let at = told.or_else(|| {
            let read = invoice::read(&issued.bolt11).ok()?;
            Some(invoice::times(&read).1)
        });
        at.is_some_and(|at| at <= now)
    }

    /// A payment is settled only where all that was asked for came in (BOLT 4). Where less was passed on, the rest is a fee:
    /// the buyer has paid in full.
    fn paid(&self, preimage: Option<Preimage>) -> PaymentStatus {
        let (asked, received) = (self.amount_msat, self.received_msat.filter(|n| *n > 0));
        let amount = received.map(|received| received.max(asked.unwrap_or(0)));
        let fee = asked
            .zip(received)
            .map(|(asked, got)| asked.saturating_sub(got));
        PaymentStatus::Paid {
            amount: amount.map(Msat),
            at: None,
            preimage,
            fee: fee.filter(|fee| *fee > 0).map(Msat),
        }
    }
}

/// Pending, until the invoice's time is over: from then on "pending" would make it unpaid, which it may not be.
fn on_its_way(over: bool, words: &str) -> PaymentStatus {
    if over {
        PaymentStatus::Attention(format!("{words}; it is looked at again"))
    } else {
        PaymentStatus::Pending
    }
}

#[cfg(test)]
mod tests {
    use nostr::hashes::{Hash, sha256};

    use super::*;

    const PREIMAGE: Preimage = Preimage(Hex32([7; 32]));

    fn hash() -> PaymentHash {
        PaymentHash(Hex32(sha256::Hash::hash(&PREIMAGE.0.0).to_byte_array()))
    }

    fn issued() -> Issued {
        Issued {
            bolt11: String::new(),
            payment_hash: hash(),
            backend_ref: Some("1".to_owned()),
        }
    }

    fn request(status: &str) -> Request {
        Request {
            status: Some(status.to_owned()),
            payment_hash: Some(hash()),
            amount_msat: Some(21_000),
            expires_at: Some("2026-11-21T12:00:00Z".to_owned()),
            ..Request::default()
        }
    }

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    fn before() -> Time {
        at("2026-11-21T11:59:59Z")
    }

    fn after() -> Time {
        at("2026-11-21T12:00:00Z")
    }

    fn paid() -> PaymentStatus {
        PaymentStatus::Paid {
            amount: None,
            at: None,
            preimage: Some(PREIMAGE),
            fee: None,
        }
    }

    fn polls(request: &Request) -> (PaymentStatus, PaymentStatus) {
        let look = |now| request.seen(&issued(), now).unwrap();
        (look(before()), look(after()))
    }

    fn with_preimage(status: &str, preimage: &str) -> Request {
        Request {
            preimage: Some(preimage.to_owned()),
            ..request(status)
        }
    }

    #[test]
    fn an_unpaid_one_is_pending_and_then_expired() {
        let request = request("INVOICE_CREATED");
        assert_eq!(
            polls(&request),
            (PaymentStatus::Pending, PaymentStatus::Expired)
        );
        // What the preimage of an invoice that nobody paid is, proves nothing.
        let request = with_preimage("INVOICE_CREATED", &PREIMAGE.0.to_string());
        assert_eq!(
            polls(&request),
            (PaymentStatus::Pending, PaymentStatus::Expired)
        );
    }

    #[test]
    fn a_completed_one_is_paid_whatever_the_clock_says() {
        let request = with_preimage("TRANSFER_COMPLETED", &PREIMAGE.0.to_string());
        assert_eq!(polls(&request), (paid(), paid()));
    }

    #[test]
    fn a_received_one_is_paid_with_its_proof_and_else_on_its_way() {
        for status in ["LIGHTNING_PAYMENT_RECEIVED", "PAYMENT_PREIMAGE_RECOVERED"] {
            let request = with_preimage(status, &PREIMAGE.0.to_string());
            assert_eq!(polls(&request), (paid(), paid()), "{status}");
            for wrong in ["", "00", &"08".repeat(32)] {
                let (early, late) = polls(&with_preimage(status, wrong));
                assert_eq!(early, PaymentStatus::Pending, "{status} {wrong}");
                assert!(matches!(late, PaymentStatus::Attention(_)), "{late:?}");
            }
        }
    }

    #[test]
    fn what_is_on_its_way_is_never_called_unpaid() {
        for status in ["TRANSFER_CREATED", "FUTURE_VALUE", "PAID_IN_GOATS", ""] {
            let (early, late) = polls(&request(status));
            assert_eq!(early, PaymentStatus::Pending, "{status}");
            assert!(matches!(late, PaymentStatus::Attention(_)), "{late:?}");
        }
    }

    #[test]
    fn a_failure_of_spark_wants_a_person() {
        for status in [
            "TRANSFER_CREATION_FAILED",
            "TRANSFER_FAILED",
            "REFUND_SIGNING_FAILED",
            "REFUND_SIGNING_COMMITMENTS_QUERYING_FAILED",
            "PAYMENT_PREIMAGE_RECOVERING_FAILED",
        ] {
            let (early, late) = polls(&request(status));
            assert!(matches!(early, PaymentStatus::Attention(_)), "{early:?}");
            assert_eq!(early, late);
        }
    }

    #[test]
    fn an_unknown_one_is_unknown_and_another_one_is_no_answer() {
        let unknown = Request::default();
        assert_eq!(
            polls(&unknown),
            (PaymentStatus::Unknown, PaymentStatus::Unknown)
        );
        for hash in [None, Some(PaymentHash(Hex32([1; 32])))] {
            let other = Request {
                payment_hash: hash,
                ..request("TRANSFER_COMPLETED")
            };
            let seen = other.seen(&issued(), before());
            assert!(matches!(seen, Err(WalletError::Protocol(_))), "{seen:?}");
        }
    }

    #[test]
    fn what_spark_keeps_back_is_a_fee_and_no_underpayment() {
        for (received, amount, fee) in [
            (21_000, 21_000, None),
            (25_000, 25_000, None),
            (20_000, 21_000, Some(Msat(1_000))),
        ] {
            let request = Request {
                received_msat: Some(received),
                ..request("TRANSFER_COMPLETED")
            };
            let seen = PaymentStatus::Paid {
                amount: Some(Msat(amount)),
                at: None,
                preimage: None,
                fee,
            };
            assert_eq!(polls(&request).0, seen);
        }
    }
}
