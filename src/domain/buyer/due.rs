//! Is a seller's invoice one that a buyer may pay?

use crate::domain::id::PaymentHash;
use crate::domain::invoice::{self, Network};
use crate::domain::msat::Msat;
use crate::domain::time::Time;

/// An invoice that is what its seller said, and not more than the buyer pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The invoice as written.
    pub bolt11: String,
    /// The payment; its proof opens this.
    pub hash: PaymentHash,
    /// What it asks for.
    pub amount: Msat,
    /// Until when it can be paid.
    pub expires_at: Time,
}

/// Reads an invoice that came with a feedback or a result. `asked` is the amount beside it (NIP-90, `amount`), `most` what the
/// buyer pays at most, `network` the one that the buyer's wallet pays on, where it is known.
///
/// # Errors
/// A sentence for the buyer: it is none, names no payment or no amount, is of another network, asks for another amount than the
/// seller said or for more than the buyer pays, or has expired.
pub fn due(
    bolt11: &str,
    asked: Option<Msat>,
    most: Msat,
    network: Option<Network>,
    now: Time,
) -> Result<Due, String> {
    let read = invoice::read(bolt11).map_err(|fault| format!("not paid: {fault}"))?;
    let no = |why: String| Err(format!("not paid: the invoice {why}"));
    let found = invoice::network_word(&read);
    if let Some(ours) = network.filter(|ours| ours.as_str() != found) {
        return no(format!("is of {found}, and the wallet pays on {ours}"));
    }
    let Some(hash) = invoice::payment_hash(&read) else {
        return no("has no payment hash".to_owned());
    };
    let amount = invoice::amount(&read).map_err(|fault| format!("not paid: {fault}"))?;
    let Some(amount) = amount.filter(|amount| !amount.is_zero()) else {
        return no("names no amount, so it would take any".to_owned());
    };
    match asked {
        None => return no("came without the amount that the seller asks for".to_owned()),
        Some(asked) if asked != amount => {
            let (found, said) = (amount.display(), asked.display());
            return no(format!("asks for {found}, but the seller said {said}"));
        }
        Some(_) => {}
    }
    if amount > most {
        let (found, most) = (amount.display(), most.display());
        return no(format!(
            "asks for {found}, and you pay {most} at most: --bid says how much"
        ));
    }
    let expires_at = invoice::times(&read).1;
    if expires_at <= now {
        return no("has expired".to_owned());
    }
    Ok(Due {
        bolt11: bolt11.to_owned(),
        hash,
        amount,
        expires_at,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
    use nostr::hashes::{Hash, sha256};
    use nostr::secp256k1::{Secp256k1, SecretKey};

    use super::*;
    use crate::domain::Hex32;

    const MADE_AT: u64 = 1_700_000_000;

    fn bolt11(msat: Option<u64>) -> String {
        let (secp, key) = (Secp256k1::new(), SecretKey::from_slice(&[7; 32]).unwrap());
        let builder = InvoiceBuilder::new(Currency::Bitcoin)
            .description("a job".to_owned())
            .payment_hash(sha256::Hash::from_byte_array([1; 32]))
            .payment_secret(PaymentSecret([2; 32]))
            .duration_since_epoch(Duration::from_secs(MADE_AT))
            .min_final_cltv_expiry_delta(18)
            .expiry_time(Duration::from_secs(600));
        let builder = match msat {
            Some(msat) => builder.amount_milli_satoshis(msat),
            None => builder,
        };
        let signed = builder.build_signed(|message| secp.sign_ecdsa_recoverable(message, &key));
        signed.unwrap().to_string()
    }

    fn read(bolt11: &str, asked: Option<u64>, most: u64, after: u64) -> Result<Due, String> {
        let now = Time::from_secs(MADE_AT + after);
        due(bolt11, asked.map(Msat), Msat(most), None, now)
    }

    #[test]
    fn an_invoice_as_the_seller_said_is_due() {
        let text = bolt11(Some(21_000));
        let want = Due {
            bolt11: text.clone(),
            hash: PaymentHash(Hex32([1; 32])),
            amount: Msat(21_000),
            expires_at: Time::from_secs(MADE_AT + 600),
        };
        assert_eq!(read(&text, Some(21_000), 21_000, 599), Ok(want));
    }

    #[test]
    fn an_invoice_of_another_network_is_not_paid() {
        let text = bolt11(Some(21_000));
        let on = |network| {
            due(
                &text,
                Some(Msat(21_000)),
                Msat(21_000),
                Some(network),
                Time::from_secs(MADE_AT),
            )
        };
        assert!(on(Network::Bitcoin).is_ok());
        let words = on(Network::Regtest).unwrap_err();
        assert!(words.contains("of bitcoin"), "{words}");
    }

    #[test]
    fn anything_else_is_not_paid_and_says_why() {
        let text = bolt11(Some(21_000));
        for (told, why) in [
            (read(&text, Some(20_000), 90_000, 0), "but the seller said"),
            (read(&text, Some(22_000), 90_000, 0), "but the seller said"),
            (read(&text, None, 90_000, 0), "without the amount"),
            (read(&text, Some(21_000), 20_999, 0), "--bid"),
            (read(&text, Some(21_000), 90_000, 600), "expired"),
            (
                read(&bolt11(None), Some(21_000), 90_000, 0),
                "names no amount",
            ),
            (
                read("lnbc1", Some(21_000), 90_000, 0),
                "not a Lightning invoice",
            ),
        ] {
            let words = told.unwrap_err();
            assert!(
                words.starts_with("not paid: ") && words.contains(why),
                "{words}"
            );
        }
    }
}
