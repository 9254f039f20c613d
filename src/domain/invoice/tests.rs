use lightning_invoice::{
    Description, ExpiryTime, PayeePubKey, PositiveTimestamp, RawBolt11Invoice, RawDataPart, RawHrp,
    RawTaggedField, Sha256, SiPrefix,
};
use nostr::hashes::{Hash, sha256};
use nostr::secp256k1::{PublicKey, Secp256k1, SecretKey};
use proptest::prelude::*;

use super::*;

const NOW: Time = Time(1_795_000_000_000);

/// An invoice as `LNbits`' test wallet writes them: no feature bits, no payment secret.
struct Draft {
    currency: Currency,
    pico: Option<(u64, SiPrefix)>,
    hashes: Vec<[u8; 32]>,
    made_at: u64,
    expiry: Option<u64>,
    payee: Option<PublicKey>,
}

fn hash_of(text: &str) -> PaymentHash {
    PaymentHash(Hex32(sha256::Hash::hash(text.as_bytes()).to_byte_array()))
}

fn key(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).unwrap()
}

fn public(byte: u8) -> PublicKey {
    PublicKey::from_secret_key(&Secp256k1::new(), &key(byte))
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            currency: Currency::Regtest,
            pico: Some((215_000, SiPrefix::Pico)),
            hashes: vec![hash_of("sale").0.0],
            made_at: NOW.secs(),
            expiry: Some(600),
            payee: None,
        }
    }
}

impl Draft {
    fn sign(self) -> String {
        let mut fields = vec![TaggedField::Description(
            Description::new("a job".to_owned()).unwrap(),
        )];
        for hash in self.hashes {
            fields.push(TaggedField::PaymentHash(Sha256(
                sha256::Hash::from_byte_array(hash),
            )));
        }
        if let Some(expiry) = self.expiry {
            fields.push(TaggedField::ExpiryTime(ExpiryTime::from_seconds(expiry)));
        }
        if let Some(payee) = self.payee {
            fields.push(TaggedField::PayeePubKey(PayeePubKey(payee)));
        }
        let raw = RawBolt11Invoice {
            hrp: RawHrp {
                currency: self.currency,
                raw_amount: self.pico.map(|(amount, _)| amount),
                si_prefix: self.pico.map(|(_, prefix)| prefix),
            },
            data: RawDataPart {
                timestamp: PositiveTimestamp::from_unix_timestamp(self.made_at).unwrap(),
                tagged_fields: fields
                    .into_iter()
                    .map(RawTaggedField::KnownSemantics)
                    .collect(),
            },
        };
        raw.sign(|message| Ok::<_, ()>(Secp256k1::new().sign_ecdsa_recoverable(message, &key(7))))
            .unwrap()
            .to_string()
    }
}

fn expected() -> Expected {
    Expected {
        amount: Msat(21_500),
        network: Network::Regtest,
        payment_hash: hash_of("sale"),
        longest_expiry: Duration::from_mins(10),
    }
}

fn fault(draft: Draft) -> InvoiceFault {
    check(&draft.sign(), &expected(), NOW).unwrap_err()
}

#[test]
fn an_invoice_as_asked_passes_with_its_facts() {
    let checked = check(&Draft::default().sign(), &expected(), NOW).unwrap();
    assert_eq!(
        checked,
        Checked {
            payment_hash: hash_of("sale"),
            amount: Msat(21_500),
            made_at: NOW,
            expires_at: NOW.plus(Duration::from_mins(10)),
            payee: public(7).to_string(),
            clock_off_secs: None,
        }
    );
}

#[test]
fn a_mainnet_invoice_without_feature_bits_passes_as_lnbits_makes_them() {
    let bolt11 = Draft {
        currency: Currency::Bitcoin,
        ..Draft::default()
    }
    .sign();
    assert!(bolt11.starts_with("lnbc"));
    assert!(
        bolt11.parse::<lightning_invoice::Bolt11Invoice>().is_err(),
        "strict reading refuses it"
    );
    let expected = Expected {
        network: Network::Bitcoin,
        ..expected()
    };
    assert!(check(&bolt11, &expected, NOW).is_ok());
}

#[test]
fn a_lightning_prefix_and_upper_case_are_read() {
    let bolt11 = Draft::default().sign();
    for text in [
        format!("lightning:{bolt11}"),
        format!("LIGHTNING:{}", bolt11.to_uppercase()),
        format!(" {}\n", bolt11.to_uppercase()),
    ] {
        assert!(check(&text, &expected(), NOW).is_ok(), "{text}");
    }
}

#[test]
fn text_that_is_no_invoice_is_refused() {
    let long = "l".repeat(MAX_BOLT11_BYTES + 1);
    for text in ["", "lnbc", "lightning:", "lnbc1\u{1b}[31m", long.as_str()] {
        let fault = check(text, &expected(), NOW).unwrap_err();
        assert!(matches!(fault, InvoiceFault::NotAnInvoice(_)), "{fault}");
    }
}

#[test]
fn a_changed_character_is_refused() {
    let bolt11 = Draft::default().sign();
    let changed = bolt11.replacen("lnbcrt215000p", "lnbcrt216000p", 1);
    assert_ne!(bolt11, changed);
    assert!(matches!(
        check(&changed, &expected(), NOW),
        Err(InvoiceFault::NotAnInvoice(_))
    ));
}

#[test]
fn a_signature_by_another_than_the_named_payee_is_refused() {
    let other = Draft {
        payee: Some(public(9)),
        ..Draft::default()
    };
    assert_eq!(fault(other), InvoiceFault::BadSignature);
    let same = Draft {
        payee: Some(public(7)),
        ..Draft::default()
    };
    assert_eq!(
        check(&same.sign(), &expected(), NOW).unwrap().payee,
        public(7).to_string()
    );
}

#[test]
fn no_hash_another_hash_and_a_second_hash_are_refused() {
    let other = hash_of("another sale");
    let none = Draft {
        hashes: vec![],
        ..Draft::default()
    };
    assert_eq!(fault(none), InvoiceFault::NoHash);
    let refused = InvoiceFault::OtherHash {
        asked: hash_of("sale"),
        found: other,
    };
    let wrong = Draft {
        hashes: vec![other.0.0],
        ..Draft::default()
    };
    assert_eq!(fault(wrong), refused);
    let both = Draft {
        hashes: vec![hash_of("sale").0.0, other.0.0],
        ..Draft::default()
    };
    assert_eq!(fault(both), refused);
}

#[test]
fn only_the_exact_amount_passes() {
    let amount = |amount, prefix| Draft {
        pico: Some((amount, prefix)),
        ..Draft::default()
    };
    let other = |found| InvoiceFault::OtherAmount {
        asked: Msat(21_500),
        found: Msat(found),
    };
    assert_eq!(fault(amount(215_010, SiPrefix::Pico)), other(21_501));
    assert_eq!(fault(amount(21, SiPrefix::Micro)), other(2_100_000));
    assert_eq!(
        fault(Draft {
            pico: None,
            ..Draft::default()
        }),
        InvoiceFault::NoAmount
    );
    assert_eq!(fault(amount(0, SiPrefix::Pico)), InvoiceFault::NoAmount);
    let odd = fault(amount(215_001, SiPrefix::Pico));
    assert!(
        matches!(odd, InvoiceFault::NotAnInvoice(_)),
        "below a msat: {odd}"
    );
}

#[test]
fn an_invoice_of_another_network_is_refused_with_the_fix() {
    for (currency, found) in [
        (Currency::Bitcoin, "bitcoin"),
        (Currency::BitcoinTestnet, "testnet"),
        (Currency::Signet, "signet"),
        (Currency::Simnet, "simnet"),
    ] {
        let fault = fault(Draft {
            currency,
            ..Draft::default()
        });
        assert_eq!(
            fault,
            InvoiceFault::OtherNetwork {
                asked: Network::Regtest,
                found
            }
        );
        assert!(fault.to_string().contains("wallet.network"));
    }
}

#[test]
fn an_expired_invoice_and_one_that_lives_too_long_are_refused() {
    let made_at = NOW.secs() - 600;
    assert_eq!(
        fault(Draft {
            made_at,
            ..Draft::default()
        }),
        InvoiceFault::Expired
    );
    let lives = |expiry| Draft {
        expiry,
        ..Draft::default()
    };
    assert!(check(&lives(Some(660)).sign(), &expected(), NOW).is_ok());
    let too_long = |secs| InvoiceFault::ExpiryTooLong {
        asked: Duration::from_mins(10),
        found: Duration::from_secs(secs),
    };
    assert_eq!(fault(lives(Some(661))), too_long(661));
    assert_eq!(
        fault(lives(None)),
        too_long(3_600),
        "an hour where none is named (BOLT 11)"
    );
    assert!(matches!(
        fault(lives(Some(u64::MAX))),
        InvoiceFault::ExpiryTooLong { .. }
    ));
}

#[test]
fn a_wallet_whose_clock_differs_is_told_apart() {
    let off = |made_at| {
        let bolt11 = Draft {
            made_at,
            ..Draft::default()
        }
        .sign();
        check(&bolt11, &expected(), NOW).unwrap().clock_off_secs
    };
    assert_eq!(off(NOW.secs() + 60), None);
    assert_eq!(off(NOW.secs() + 61), Some(61));
    assert_eq!(off(NOW.secs() - 300), Some(-300));
}

#[test]
fn every_fault_is_one_plain_line() {
    let hash = hash_of("sale");
    for fault in [
        InvoiceFault::NotAnInvoice("x".to_owned()),
        InvoiceFault::BadSignature,
        InvoiceFault::NoHash,
        InvoiceFault::OtherHash {
            asked: hash,
            found: hash,
        },
        InvoiceFault::NoAmount,
        InvoiceFault::OtherAmount {
            asked: Msat(1),
            found: Msat(2),
        },
        InvoiceFault::OtherNetwork {
            asked: Network::Regtest,
            found: "bitcoin",
        },
        InvoiceFault::Expired,
        InvoiceFault::ExpiryTooLong {
            asked: Duration::ZERO,
            found: Duration::ZERO,
        },
    ] {
        let line = fault.to_string();
        assert!(
            line.contains("invoice") && !line.contains('\n') && line.len() < 240,
            "{line}"
        );
    }
}

#[test]
fn paid_means_at_least_what_was_asked_and_a_proof_that_fits() {
    let preimage = Preimage(Hex32([7; 32]));
    let hash = PaymentHash(Hex32(sha256::Hash::hash(&[7; 32]).to_byte_array()));
    let asked = Msat(21_000);
    let judge = |seen, preimage| judge(&hash, asked, seen, preimage);
    let paid = |amount, named| Verdict::Paid {
        amount: Msat(amount),
        named,
    };
    assert_eq!(judge(Some(asked), Some(&preimage)), paid(21_000, true));
    assert_eq!(judge(Some(Msat(22_000)), None), paid(22_000, true));
    assert_eq!(judge(None, None), paid(21_000, false));
    assert!(matches!(
        judge(Some(Msat(20_999)), None),
        Verdict::Attention(_)
    ));
    let wrong = Preimage(Hex32([8; 32]));
    assert!(matches!(
        judge(Some(asked), Some(&wrong)),
        Verdict::Attention(_)
    ));
}

#[test]
fn a_network_is_known_by_the_word_of_the_settings() {
    for network in [
        Network::Bitcoin,
        Network::Testnet,
        Network::Signet,
        Network::Regtest,
    ] {
        assert_eq!(Network::parse(network.as_str()), Some(network));
    }
    assert_eq!(Network::parse("mainnet"), None);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        prop_assert!(check(&text, &expected(), NOW).is_err());
        let prefixed = "lnbcrt1".to_owned() + &text;
        prop_assert!(check(&prefixed, &expected(), NOW).is_err());
    }
}

#[test]
fn an_invoice_loses_what_wallets_write_before_it() {
    for text in [
        "lnbc1x",
        " lnbc1x\n",
        "lightning:lnbc1x",
        "LIGHTNING:lnbc1x",
        "Lightning://lnbc1x",
    ] {
        assert_eq!(bare(text), "lnbc1x", "{text}");
    }
    assert_eq!(bare("é"), "é");
}
