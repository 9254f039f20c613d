//! Numbers as wallets write them.

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
}
