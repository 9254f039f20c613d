//! Numbers, keys and networks as wallets write them.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A whole number, written as one or as text: gRPC's JSON quotes 64-bit numbers, and Core Lightning before 23.08 wrote
/// "21000msat".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Number(pub(super) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = match Value::deserialize(deserializer)? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.strip_suffix("msat").unwrap_or(&text).parse().ok(),
            _ => None,
        };
        found
            .map(Self)
            .ok_or_else(|| D::Error::custom("a whole number was expected"))
    }
}

/// What a server leaves out, and what it writes as `null`: Go's JSON writes an empty list so.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A node's public key, which is its identity: 66 hex digits that are not a row of zeros, as some wallets send in its place.
pub(super) fn node_key(text: &str) -> Option<String> {
    let is_key = text.len() == 66
        && text.bytes().all(|digit| digit.is_ascii_hexdigit())
        && text[2..].bytes().any(|digit| digit != b'0');
    is_key.then(|| text.to_ascii_lowercase())
}

/// A network in the settings' word, where it is one that they know; none where the wallet does not say.
pub(super) fn network_word(text: &str) -> Option<String> {
    let word = text.trim().to_ascii_lowercase();
    match word.as_str() {
        "" => None,
        "mainnet" | "main" | "bitcoin" => Some("bitcoin".to_owned()),
        "testnet" | "testnet3" | "testnet4" | "test" => Some("testnet".to_owned()),
        _ => Some(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_bare_quoted_and_with_its_old_unit() {
        for (text, want) in [
            ("21000", 21_000),
            ("\"21000\"", 21_000),
            ("\"21000msat\"", 21_000),
            ("\"0\"", 0),
        ] {
            let read: Number = serde_json::from_str(text).unwrap();
            assert_eq!(read, Number(want), "{text}");
        }
        for text in ["-1", "1.5", "\"-1\"", "\"1sat\"", "true", "null", "[]"] {
            assert!(serde_json::from_str::<Number>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_that_is_null_is_an_empty_one() {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default, deserialize_with = "or_default")]
            list: Vec<u8>,
        }
        for (text, len) in [("{}", 0), ("{\"list\":null}", 0), ("{\"list\":[1]}", 1)] {
            let read: Answer = serde_json::from_str(text).unwrap();
            assert_eq!(read.list.len(), len, "{text}");
        }
        assert!(serde_json::from_str::<Answer>("{\"list\":{}}").is_err());
    }

    #[test]
    fn a_network_has_one_word_however_it_is_written() {
        for (text, word) in [
            ("mainnet", Some("bitcoin")),
            (" MainNet ", Some("bitcoin")),
            ("testnet3", Some("testnet")),
            ("Signet", Some("signet")),
            ("mutinynet", Some("mutinynet")),
            ("", None),
        ] {
            assert_eq!(network_word(text).as_deref(), word, "{text}");
        }
    }

    #[test]
    fn zeros_are_no_key_of_a_node() {
        let key = format!("02{}", "aB".repeat(32));
        assert_eq!(node_key(&key), Some(key.to_ascii_lowercase()));
        for text in [
            String::new(),
            "0".repeat(66),
            format!("02{}", "0".repeat(64)),
            "é".repeat(33),
        ] {
            assert_eq!(node_key(&text), None, "{text}");
        }
    }
}
