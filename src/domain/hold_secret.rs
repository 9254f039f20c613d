//! The secrets (preimages) of hold invoices. Each is computed from the seller's key, the request and a number, so that a ledger
//! that is a copy, which holds none of them, can compute them anew and take what is held. Nobody without the key can.

use nostr::SecretKey;
use nostr::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use zeroize::Zeroizing;

use super::hex32::Hex32;
use super::id::{PaymentHash, Preimage, RequestId};
use super::job::{InvoiceState, Job, PayOrder};
use super::time::Time;

/// Keeps this use of the key apart from every other one. Another way of computing needs another label.
const LABEL: &[u8] = b"vend/hold-secret/v1";
/// Numbers that are tried to find a secret again. A job changes its secret at each refusal of its wallet, and is given up
/// long before it has used so many.
const MOST: u32 = 512;

/// The secrets of one seller.
pub struct HoldSecrets(Zeroizing<[u8; 32]>);

impl HoldSecrets {
    /// Those of this key.
    #[must_use]
    pub fn of(key: &SecretKey) -> Self {
        let secret = Zeroizing::new(key.to_secret_bytes());
        Self(Zeroizing::new(hmac(&*secret, &[LABEL])))
    }

    /// The secret of this number of a request. Numbers begin at 0; a job takes the next one where an invoice with the last one
    /// can't be had. No invoice that a buyer has seen is ever followed by another one with its secret.
    #[must_use]
    pub fn secret(&self, request: &RequestId, number: u32) -> Preimage {
        let parts = [request.0.as_bytes().as_slice(), &number.to_be_bytes()];
        Preimage(Hex32(hmac(&*self.0, &parts)))
    }

    /// The secret behind this hash; none where it was not made here, or by a vend that took random ones.
    #[must_use]
    pub fn behind(&self, request: &RequestId, hash: &PaymentHash) -> Option<Preimage> {
        let mut all = (0..MOST).map(|number| self.secret(request, number));
        all.find(|secret| secret.opens(hash))
    }

    /// The one after this.
    #[must_use]
    pub fn after(&self, request: &RequestId, before: &Preimage) -> Preimage {
        let mut numbers = 0..MOST;
        let number = numbers.find(|number| self.secret(request, *number) == *before);
        self.secret(request, number.map_or(0, |number| number + 1))
    }

    /// The secret that a job of a copy lacks; none where it needs none, or where it can't be computed.
    #[must_use]
    pub fn lacking(&self, job: &Job, now: Time) -> Option<Preimage> {
        let invoice = job.invoice.as_ref()?;
        if job.terms.order != PayOrder::Hold || invoice.preimage.is_some() {
            return None;
        }
        match invoice.state {
            InvoiceState::Intent => Some(self.secret(&job.id, 0)),
            InvoiceState::Open | InvoiceState::Held | InvoiceState::Taking => {
                self.behind(&job.id, &invoice.payment_hash?)
            }
            // A clock that is set back opens it again.
            InvoiceState::Expired if invoice.expires_at? > now => {
                self.behind(&job.id, &invoice.payment_hash?)
            }
            InvoiceState::Expired
            | InvoiceState::GivingBack
            | InvoiceState::GivenBack
            | InvoiceState::Paid => None,
        }
    }
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(key);
    for part in parts {
        engine.input(part);
    }
    Hmac::from_engine(engine).to_byte_array()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use nostr::{EventId, Keys};

    use super::*;
    use crate::domain::msat::Msat;
    use crate::domain::transition::intent;
    use crate::domain::transition::tests::job as fresh;

    fn id(byte: u8) -> RequestId {
        RequestId(EventId::from_byte_array([byte; 32]))
    }

    #[test]
    fn the_hmac_is_that_of_rfc_4231() {
        let found = Hex32(hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]));
        let told = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(found.to_string(), told);
    }

    #[test]
    fn one_key_finds_its_secrets_again_and_no_other_key_does() {
        let (us, others) = (Keys::generate(), Keys::generate());
        let secrets = HoldSecrets::of(us.secret_key());
        let again = HoldSecrets::of(us.secret_key());
        let others = HoldSecrets::of(others.secret_key());
        let mut all = HashSet::new();
        for request in [id(1), id(2)] {
            for number in [0, 1, 2, 40] {
                let secret = secrets.secret(&request, number);
                assert!(all.insert(secret.0), "each is used once");
                assert_eq!(again.behind(&request, &secret.hash()), Some(secret));
                assert_eq!(again.behind(&id(3), &secret.hash()), None);
                assert_eq!(others.behind(&request, &secret.hash()), None);
            }
        }
        // It is no bare hash of what everybody knows.
        assert_ne!(secrets.0, others.0);
    }

    #[test]
    fn the_next_secret_was_not_used_before() {
        let secrets = HoldSecrets::of(Keys::generate().secret_key());
        let mut before = secrets.secret(&id(1), 0);
        for number in 1..20 {
            before = secrets.after(&id(1), &before);
            assert_eq!(before, secrets.secret(&id(1), number));
        }
        // After a random one of an older vend.
        let random = Preimage(Hex32([7; 32]));
        assert_eq!(secrets.after(&id(1), &random), secrets.secret(&id(1), 0));
    }

    #[test]
    fn a_copy_gets_back_what_it_lacks_and_nothing_else() {
        let secrets = HoldSecrets::of(Keys::generate().secret_key());
        let now = Time::from_secs(1_000);
        let mut job = fresh(PayOrder::Hold);
        let secret = secrets.secret(&job.id, 3);
        let mut invoice = intent(&job, Msat::from_sats(5));
        invoice.payment_hash = Some(secret.hash());
        invoice.expires_at = Some(now);
        let (first, again) = (Some(secrets.secret(&job.id, 0)), Some(secret));
        for (state, expected) in [
            (InvoiceState::Intent, first),
            (InvoiceState::Open, again),
            (InvoiceState::Held, again),
            (InvoiceState::Taking, again),
            (InvoiceState::GivingBack, None),
            (InvoiceState::GivenBack, None),
            (InvoiceState::Paid, None),
        ] {
            invoice.state = state;
            job.invoice = Some(invoice.clone());
            assert_eq!(secrets.lacking(&job, now), expected, "{state:?}");
        }
        invoice.state = InvoiceState::Expired;
        job.invoice = Some(invoice.clone());
        assert_eq!(secrets.lacking(&job, Time::from_secs(999)), again);
        assert_eq!(secrets.lacking(&job, now), None);
        // Random, of an older vend.
        invoice.state = InvoiceState::Held;
        invoice.payment_hash = Some(Preimage(Hex32([7; 32])).hash());
        job.invoice = Some(invoice.clone());
        assert_eq!(secrets.lacking(&job, now), None);
        invoice.payment_hash = Some(secret.hash());
        job.terms.order = PayOrder::Before;
        job.invoice = Some(invoice);
        assert_eq!(secrets.lacking(&job, now), None);
    }
}
