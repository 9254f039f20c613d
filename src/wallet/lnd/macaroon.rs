//! The macaroon: how it is written, and whether it can spend.

use secrecy::{ExposeSecret, SecretString};

/// The macaroon's hex digits, from what the settings hold; line breaks, as tools put them in, do not matter. None where it
/// is something else.
pub(super) fn hex(secret: &SecretString) -> Option<SecretString> {
    let digits: String = secret
        .expose_secret()
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let is_hex = digits.len() >= 2
        && digits.len().is_multiple_of(2)
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| digits.into())
}

/// What moves money, or makes a macaroon that does: an entity of LND's and an action on it.
const SPENDS: [(&[u8], &[u8]); 3] = [
    (b"offchain", b"write"),
    (b"onchain", b"write"),
    (b"macaroon", b"generate"),
];

/// Does it allow payments? Its permissions are written in the clear (protobuf, one message for each entity: field 1 its
/// name, field 2 each action). One that can't be read is taken to be limited: the node has the last word.
pub(super) fn can_spend(hex: &str) -> bool {
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .filter_map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect();
    SPENDS
        .iter()
        .any(|(entity, action)| allows(&bytes, entity, action))
}

fn allows(macaroon: &[u8], entity: &[u8], action: &[u8]) -> bool {
    let Ok(length) = u8::try_from(entity.len()) else {
        return false;
    };
    let name = [&[0x0a, length], entity].concat();
    let Some(at) = macaroon
        .windows(name.len())
        .position(|window| window == name)
    else {
        return false;
    };
    let mut rest = &macaroon[at + name.len()..];
    while let [0x12, length, text @ ..] = rest {
        let Some((allowed, after)) = text.split_at_checked(usize::from(*length)) else {
            return false;
        };
        if allowed == action {
            return true;
        }
        rest = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn written(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    #[test]
    fn hex_with_line_breaks_is_read_and_anything_else_is_not() {
        let read = |text: &str| hex(&text.into()).map(|hex| hex.expose_secret().to_owned());
        assert_eq!(read("0201\n036C\r\n"), Some("0201036c".to_owned()));
        for text in ["", " ", "020", "AgEDbG5k", "0x0201", "02 01 zz"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_macaroon_that_can_pay_is_told_from_one_for_invoices() {
        let admin = b"\x02\x01\x03lnd\x1a\x17\x0a\x08offchain\x12\x04read\x12\x05write\x1a\x02";
        let read_only =
            b"\x02\x01\x03lnd\x1a\x10\x0a\x08offchain\x12\x04read\x1a\x0f\x0a\x07address\x12\x05write";
        let coins = b"\x02\x01\x03lnd\x1a\x10\x0a\x08offchain\x12\x04read\x1a\x0f\x0a\x07onchain\x12\x05write";
        let maker = b"\x02\x01\x03lnd\x1a\x14\x0a\x08macaroon\x12\x08generate";
        let invoices = b"\x02\x01\x03lnd\x1a\x17\x0a\x08invoices\x12\x04read\x12\x05write";
        for mighty in [&admin[..], &coins[..], &maker[..]] {
            assert!(can_spend(&written(mighty)), "{mighty:?}");
        }
        for limited in [
            &read_only[..],
            &invoices[..],
            b"\x0a\x08offchain\x12\xff",
            b"",
        ] {
            assert!(!can_spend(&written(limited)), "{limited:?}");
        }
    }
}
