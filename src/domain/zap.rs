//! Zaps (NIP-57): gifts that somebody sent for a result. They are shown, and never counted as an invoice's payment.

use nostr::hashes::{Hash, sha256};
use nostr::{Event, EventId, JsonUtil, Kind, PublicKey};
use serde_json::Value;

use super::invoice::{self, MAX_BOLT11_BYTES};
use super::msat::Msat;
use super::text::clean;

/// The longest words of a giver that are shown, characters.
const MAX_WORDS: usize = 140;

/// A receipt that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zap {
    /// The event that it was given for.
    pub event: EventId,
    /// What the invoice of the gift asked for.
    pub amount: Msat,
    /// Who gave, as the signed zap request says.
    pub from: PublicKey,
    /// The giver's words, cleaned and cut.
    pub words: String,
}

/// Why a receipt does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoZap {
    /// Kind 9735 is a receipt, and only that.
    #[error("it is no zap receipt")]
    Kind,
    /// Anybody can write a receipt; only the address' provider's counts.
    #[error("it is not signed by the lightning address' provider")]
    Provider,
    /// The zap request is missing, forged, or for somebody else.
    #[error("its zap request does not hold: {0}")]
    Request(&'static str),
    /// The invoice is missing or does not belong to the request.
    #[error("its invoice does not hold: {0}")]
    Invoice(&'static str),
    /// A gift to the seller that names no event.
    #[error("it is for no result")]
    NoEvent,
}

/// Reads a receipt whose id and signature were checked, by the rules of NIP-57, appendix F. `provider` is the `nostrPubkey`
/// of the seller's own lightning address.
///
/// # Errors
/// The first rule that it breaks.
pub fn read(receipt: &Event, provider: &PublicKey, us: &PublicKey) -> Result<Zap, NoZap> {
    if receipt.kind != Kind::ZapReceipt {
        return Err(NoZap::Kind);
    }
    if receipt.pubkey != *provider {
        return Err(NoZap::Provider);
    }
    let written = value(receipt, "description").ok_or(NoZap::Request("it is missing"))?;
    let request = Event::from_json(written).map_err(|_| NoZap::Request("it can't be read"))?;
    check_request(&request, us)?;
    let amount = check_invoice(receipt, &request, written)?;
    let event = value(&request, "e").ok_or(NoZap::NoEvent)?;
    Ok(Zap {
        event: EventId::from_hex(event).map_err(|_| NoZap::NoEvent)?,
        amount,
        from: request.pubkey,
        words: clean(&request.content, MAX_WORDS),
    })
}

fn check_request(request: &Event, us: &PublicKey) -> Result<(), NoZap> {
    let fault = |words| Err(NoZap::Request(words));
    if request.kind != Kind::ZapRequest {
        return fault("its kind is not 9734");
    }
    if request.verify().is_err() {
        return fault("it is forged");
    }
    let count = |name: &str| {
        request
            .tags
            .iter()
            .filter(|tag| tag.kind().as_str() == name)
            .count()
    };
    if count("p") != 1 || value(request, "p") != Some(us.to_hex().as_str()) {
        return fault("it is not for us");
    }
    if count("e") > 1 {
        return fault("it names several events");
    }
    Ok(())
}

fn check_invoice(receipt: &Event, request: &Event, written: &str) -> Result<Msat, NoZap> {
    let bolt11 = value(receipt, "bolt11")
        .filter(|text| text.len() <= MAX_BOLT11_BYTES)
        .ok_or(NoZap::Invoice("it is missing"))?;
    let invoice = invoice::read(bolt11).map_err(|_| NoZap::Invoice("it can't be read"))?;
    let amount = invoice::amount(&invoice)
        .ok()
        .flatten()
        .ok_or(NoZap::Invoice("it names no amount"))?;
    if let Some(hash) = invoice.raw_invoice().description_hash()
        && hash.0 != sha256::Hash::hash(written.as_bytes())
    {
        return Err(NoZap::Invoice("it was made for another zap request"));
    }
    if let Some(asked) = value(request, "amount")
        && asked.parse() != Ok(amount.0)
    {
        return Err(NoZap::Invoice(
            "its amount is not the one that was asked for",
        ));
    }
    Ok(amount)
}

fn value<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    event
        .tags
        .iter()
        .find(|tag| tag.kind().as_str() == name)
        .and_then(|tag| tag.content())
}

/// The key that signs receipts, from a lightning address' LNURL-pay document (LUD-06, NIP-57 appendix B); none where the
/// provider gives no receipts.
#[must_use]
pub fn provider_key(document: &Value) -> Option<PublicKey> {
    if document.get("allowsNostr")?.as_bool() != Some(true) {
        return None;
    }
    PublicKey::from_hex(document.get("nostrPubkey")?.as_str()?).ok()
}

/// Where a lightning address' LNURL-pay document is (LUD-16): over https, and over http only on this machine itself.
#[must_use]
pub fn document_url(address: &str) -> Option<String> {
    let (user, host) = address.split_once('@')?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let scheme = match name {
        "127.0.0.1" | "localhost" | "[::1]" => "http",
        _ => "https",
    };
    Some(format!("{scheme}://{host}/.well-known/lnurlp/{user}"))
}

#[cfg(test)]
mod tests {
    use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
    use nostr::secp256k1::{Secp256k1, SecretKey};
    use nostr::{EventBuilder, Keys, Tag};

    use super::*;

    struct Gift {
        provider: Keys,
        giver: Keys,
        us: Keys,
        result: EventId,
    }

    fn gift() -> Gift {
        Gift {
            provider: Keys::generate(),
            giver: Keys::generate(),
            us: Keys::generate(),
            result: EventId::all_zeros(),
        }
    }

    fn tag(parts: &[&str]) -> Tag {
        Tag::parse(parts.iter().copied()).unwrap()
    }

    fn bolt11(msat: u64, described: &str) -> String {
        InvoiceBuilder::new(Currency::Regtest)
            .description_hash(sha256::Hash::hash(described.as_bytes()))
            .payment_hash(sha256::Hash::hash(b"gift"))
            .payment_secret(PaymentSecret([1; 32]))
            .current_timestamp()
            .min_final_cltv_expiry_delta(18)
            .amount_milli_satoshis(msat)
            .build_signed(|message| {
                Secp256k1::new()
                    .sign_ecdsa_recoverable(message, &SecretKey::from_slice(&[7; 32]).unwrap())
            })
            .unwrap()
            .to_string()
    }

    fn given(by: &Keys, request: &str, bolt11: &str) -> Event {
        EventBuilder::new(Kind::ZapReceipt, "")
            .tags([tag(&["bolt11", bolt11]), tag(&["description", request])])
            .sign_with_keys(by)
            .unwrap()
    }

    impl Gift {
        fn request(&self, tags: &[&[&str]]) -> String {
            let mut all = vec![
                tag(&["p", &self.us.public_key().to_hex()]),
                tag(&["e", &self.result.to_hex()]),
            ];
            all.extend(tags.iter().map(|parts| tag(parts)));
            EventBuilder::new(Kind::ZapRequest, "thank\u{1b}[2Js")
                .tags(all)
                .sign_with_keys(&self.giver)
                .unwrap()
                .as_json()
        }

        fn read(&self, receipt: &Event) -> Result<Zap, NoZap> {
            read(receipt, &self.provider.public_key(), &self.us.public_key())
        }
    }

    #[test]
    fn a_whole_receipt_is_a_zap_and_its_words_are_cleaned() {
        let gift = gift();
        let request = gift.request(&[&["amount", "21000"]]);
        let receipt = given(&gift.provider, &request, &bolt11(21_000, &request));
        let zap = gift.read(&receipt).unwrap();
        assert_eq!((zap.event, zap.amount), (gift.result, Msat(21_000)));
        assert_eq!(
            (zap.from, zap.words.as_str()),
            (gift.giver.public_key(), "thank[2Js")
        );
    }

    #[test]
    fn a_receipt_that_breaks_a_rule_is_none() {
        let gift = gift();
        let good = gift.request(&[&["amount", "21000"]]);
        let by = &gift.provider;
        let cases = [
            (
                given(&gift.giver, &good, &bolt11(21_000, &good)),
                NoZap::Provider,
            ),
            (
                given(by, &good, &bolt11(21_000, "another")),
                NoZap::Invoice("it was made for another zap request"),
            ),
            (
                given(by, &good, &bolt11(22_000, &good)),
                NoZap::Invoice("its amount is not the one that was asked for"),
            ),
            (
                given(by, &good, "lnbcrt1"),
                NoZap::Invoice("it can't be read"),
            ),
            (
                given(by, "{}", &bolt11(1_000, "{}")),
                NoZap::Request("it can't be read"),
            ),
        ];
        for (receipt, why) in cases {
            assert_eq!(gift.read(&receipt), Err(why));
        }
        let forged = good.replace("21000", "22000");
        let receipt = given(by, &forged, &bolt11(22_000, &forged));
        assert_eq!(gift.read(&receipt), Err(NoZap::Request("it is forged")));
        let two = gift.request(&[&["p", &gift.provider.public_key().to_hex()]]);
        let receipt = given(by, &two, &bolt11(1_000, &two));
        assert_eq!(gift.read(&receipt), Err(NoZap::Request("it is not for us")));
    }

    #[test]
    fn a_provider_is_known_by_its_document() {
        let key = Keys::generate().public_key();
        let says =
            |allows: bool| serde_json::json!({"allowsNostr": allows, "nostrPubkey": key.to_hex()});
        assert_eq!(provider_key(&says(true)), Some(key));
        assert_eq!(provider_key(&says(false)), None);
        assert_eq!(provider_key(&Value::Null), None);
        assert_eq!(
            document_url("me@shop.example").as_deref(),
            Some("https://shop.example/.well-known/lnurlp/me")
        );
        assert_eq!(
            document_url("me@127.0.0.1:9").as_deref(),
            Some("http://127.0.0.1:9/.well-known/lnurlp/me")
        );
    }
}
