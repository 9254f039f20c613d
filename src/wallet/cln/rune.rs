//! The rune: whether it can spend.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};

/// The secret half at the rune's start, bytes.
const HASH: usize = 32;

/// Runes come with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Does it allow every method? Its restrictions are written in the clear behind its hash. One that can't be read is taken
/// to be limited: the node has the last word.
pub(super) fn can_spend(rune: &SecretString) -> bool {
    let bytes = BASE64.decode(rune.expose_secret().trim());
    bytes.is_ok_and(|bytes| {
        bytes.get(HASH..).is_some_and(|text| {
            let text = String::from_utf8_lossy(text);
            !text.contains("method")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rune(restrictions: &str, padded: bool) -> SecretString {
        let mut bytes = vec![7; HASH];
        bytes.extend_from_slice(restrictions.as_bytes());
        let text = BASE64.encode(bytes);
        let text = if padded {
            text
        } else {
            text.trim_end_matches('=').to_owned()
        };
        text.into()
    }

    #[test]
    fn a_rune_for_everything_is_told_from_a_limited_one() {
        for padded in [true, false] {
            assert!(can_spend(&rune("=3", padded)));
            assert!(!can_spend(&rune(
                "=4&method=invoice|method=listinvoices",
                padded
            )));
        }
        for other in ["", "not a rune!", "AAAA"] {
            assert!(!can_spend(&other.into()), "{other}");
        }
    }
}
