//! The invoices of the fake, right and wrong.

use lightning_invoice::{
    Currency, Description, ExpiryTime, PayeePubKey, PaymentSecret, PositiveTimestamp,
    RawBolt11Invoice, RawDataPart, RawHrp, RawTaggedField, Sha256, SiPrefix, TaggedField,
};
use nostr::hashes::sha256;
use nostr::secp256k1::{PublicKey, Secp256k1, SecretKey};

use super::{Fault, Shared, now};

/// An invoice before it is signed.
pub struct Draft {
    currency: Currency,
    amount_msat: Option<u64>,
    hash: Option<sha256::Hash>,
    pub made_at: u64,
    pub expiry: u64,
    payee: Option<PublicKey>,
}

pub fn draft(
    shared: &Shared,
    fault: &Fault,
    amount_msat: u64,
    expiry: u64,
    hash: sha256::Hash,
) -> Draft {
    let mut draft = Draft {
        currency: shared.currency.clone(),
        amount_msat: Some(amount_msat),
        hash: Some(hash),
        made_at: now(),
        expiry,
        payee: None,
    };
    match fault {
        Fault::WrongAmount => draft.amount_msat = Some(amount_msat + 1_000),
        Fault::NoAmount => draft.amount_msat = None,
        Fault::WrongNetwork if draft.currency == Currency::Signet => {
            draft.currency = Currency::Bitcoin;
        }
        Fault::WrongNetwork => draft.currency = Currency::Signet,
        Fault::NoHash => draft.hash = None,
        Fault::Expired => draft.made_at -= expiry,
        Fault::ExpiryTooLong => draft.expiry = 86_400,
        Fault::BadSignature => {
            let other = SecretKey::from_slice(&[1; 32]).unwrap();
            draft.payee = Some(PublicKey::from_secret_key(&Secp256k1::new(), &other));
        }
        _ => {}
    }
    draft
}

/// Like `LNbits`' test wallet: signed, with a payment secret, but without feature bits.
pub fn sign(draft: &Draft, node: &SecretKey) -> String {
    let mut fields = vec![
        TaggedField::Description(Description::new("fake".to_owned()).unwrap()),
        TaggedField::PaymentSecret(PaymentSecret(rand::random())),
        TaggedField::ExpiryTime(ExpiryTime::from_seconds(draft.expiry)),
    ];
    fields.extend(
        draft
            .hash
            .map(|hash| TaggedField::PaymentHash(Sha256(hash))),
    );
    fields.extend(
        draft
            .payee
            .map(|payee| TaggedField::PayeePubKey(PayeePubKey(payee))),
    );
    let raw = RawBolt11Invoice {
        hrp: RawHrp {
            currency: draft.currency.clone(),
            raw_amount: draft.amount_msat.map(|msat| msat * 10),
            si_prefix: draft.amount_msat.map(|_| SiPrefix::Pico),
        },
        data: RawDataPart {
            timestamp: PositiveTimestamp::from_unix_timestamp(draft.made_at).unwrap(),
            tagged_fields: fields
                .into_iter()
                .map(RawTaggedField::KnownSemantics)
                .collect(),
        },
    };
    raw.sign(|message| Ok::<_, ()>(Secp256k1::new().sign_ecdsa_recoverable(message, node)))
        .unwrap()
        .to_string()
}
