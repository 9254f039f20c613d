//! The lines between vend and the Spark helper: one JSON object a line, at most [`MAX_LINE`] bytes. helper/helper.mjs is the
//! other end.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::domain::text::clean;
use crate::wallet::{BROKE_OFF, WalletError};

/// What both ends must speak.
pub(super) const PROTOCOL: u64 = 1;

/// The longest line, bytes. No answer comes near it.
pub(super) const MAX_LINE: usize = 64 * 1024;

/// The longest text of the helper that is passed on, characters.
const TEXT: usize = 240;

/// A question. No `Debug`: one of them holds the words.
#[derive(Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Ask<'a> {
    /// Who is there? Answered by [`Hello`].
    Hello,
    /// Connects the wallet of these words. Answered by [`Account`].
    Open(Opening<'a>),
    /// Who the wallet is, without asking anybody. Answered by [`Account`].
    Address(Opening<'a>),
    /// Makes an invoice. Answered by [`Request`].
    Create {
        amount_sats: u64,
        memo: Cow<'a, str>,
        expiry_s: u64,
    },
    /// Looks at one. Answered by [`Request`].
    Lookup { request_id: Cow<'a, str> },
    /// Answered by [`Balance`].
    Balance,
    /// The helper cleans up and ends.
    Close,
}

/// Which wallet.
#[derive(Serialize)]
pub(super) struct Opening<'a> {
    pub(super) mnemonic: &'a str,
    pub(super) network: &'a str,
    pub(super) account: u32,
    /// A Spark on this machine, for regtest alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) local: Option<&'a Value>,
}

#[derive(Serialize)]
struct Numbered<'a, 'b> {
    id: u64,
    #[serde(flatten)]
    ask: &'a Ask<'b>,
}

/// The line of a question. It is erased when dropped.
pub(super) fn line(id: u64, ask: &Ask<'_>) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    // With room from the start, so that growing leaves no copy of the words behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(4_096));
    serde_json::to_writer(&mut *bytes, &Numbered { id, ask })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// What the helper says.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum HelperMessage {
    /// The answer to a question.
    Answer {
        id: u64,
        #[serde(flatten)]
        answer: Answer,
    },
    /// Something happened: claimed, balance, `stream_up`, `stream_down`.
    Event { event: String },
}

/// How a question was answered.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// With what was asked for.
    Ok(Value),
    /// With a reason why not.
    Error(Fault),
}

/// Why not.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Fault {
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) message: String,
}

impl Fault {
    /// No answer came.
    pub(super) fn late() -> Self {
        Self {
            kind: "timeout".to_owned(),
            message: String::new(),
        }
    }

    /// What the wallet's callers hear; `limit` is the longest time that the call could have taken.
    pub(super) fn into_error(self, limit: Duration) -> WalletError {
        let text = self.text();
        match self.kind.as_str() {
            // Its servers are several: one of them may have done its part.
            "unreachable" => WalletError::Unreachable(format!("Spark {BROKE_OFF}: {text}")),
            "not_open" | "sdk_missing" => WalletError::Unreachable(text),
            "timeout" => WalletError::TimedOut(limit),
            "rate_limited" => WalletError::RateLimited(None),
            "rejected" => WalletError::Rejected(text),
            "bad_request" => WalletError::Protocol(text),
            _ => WalletError::Failed(text),
        }
    }

    /// One clean line. What the SDK says goes on in brackets with keys and whole requests: that is not for a screen or a
    /// log.
    pub(super) fn text(&self) -> String {
        let sentence = self.message.split('[').next().unwrap_or_default();
        let text = clean(sentence, TEXT);
        if text.is_empty() {
            "no reason was given".to_owned()
        } else {
            text
        }
    }
}

/// Reads an answer as what it should be.
pub(super) fn read<T: DeserializeOwned>(value: Value) -> Result<T, WalletError> {
    // Serde's words may repeat what came, so they are not passed on.
    serde_json::from_value(value).map_err(|_| {
        WalletError::Protocol("the Spark helper answered with something else".to_owned())
    })
}

/// The helper, at its start.
#[derive(Deserialize)]
pub(super) struct Hello {
    /// The SDK's version; none where it is not installed.
    pub(super) sdk: Option<String>,
    /// Node's version, `v20.20.2`.
    pub(super) node: String,
}

/// Who the wallet is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Account {
    /// Its public key, 66 hex digits.
    pub identity: String,
    /// Its address for payments from Spark to Spark.
    pub spark_address: String,
}

/// Sats, as text: they are bigger than JavaScript's numbers.
#[derive(Deserialize)]
pub(super) struct Balance {
    available: String,
    incoming: String,
}

impl Balance {
    /// What can be spent, and what has come but is not claimed yet; sats.
    pub(super) fn sats(&self) -> Result<(u64, u64), WalletError> {
        let number = |text: &str| {
            text.parse::<u64>()
                .map_err(|_| WalletError::Protocol("the Spark helper names no balance".to_owned()))
        };
        Ok((number(&self.available)?, number(&self.incoming)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<HelperMessage> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn a_question_is_one_line_with_its_number_and_its_op() {
        let ask = Ask::Create {
            amount_sats: 21,
            memo: "a\njob".into(),
            expiry_s: 600,
        };
        let line = line(3, &ask).unwrap();
        assert_eq!(
            std::str::from_utf8(&line).unwrap(),
            "{\"id\":3,\"op\":\"create\",\"amount_sats\":21,\"memo\":\"a\\njob\",\"expiry_s\":600}\n"
        );
        let open = Ask::Open(Opening {
            mnemonic: "a b",
            network: "MAINNET",
            account: 1,
            local: None,
        });
        let line = super::line(2, &open).unwrap();
        assert_eq!(
            std::str::from_utf8(&line).unwrap(),
            "{\"id\":2,\"op\":\"open\",\"mnemonic\":\"a b\",\"network\":\"MAINNET\",\"account\":1}\n"
        );
    }

    #[test]
    fn answers_events_and_anything_else_are_told_apart() {
        assert!(matches!(
            said("{\"id\":1,\"ok\":{}}"),
            Some(HelperMessage::Answer {
                id: 1,
                answer: Answer::Ok(_)
            })
        ));
        assert!(matches!(
            said("{\"id\":1,\"error\":{\"kind\":\"failed\"}}"),
            Some(HelperMessage::Answer {
                answer: Answer::Error(_),
                ..
            })
        ));
        assert!(matches!(
            said("{\"event\":\"claimed\"}"),
            Some(HelperMessage::Event { .. })
        ));
        for text in [
            "",
            "{}",
            "[]",
            "null",
            "<html>",
            "{\"id\":1}",
            "{\"id\":\"1\",\"ok\":{}}",
            "{\"ok\":{}}",
        ] {
            assert!(said(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_the_sdk_says_is_cut_at_the_first_bracket_and_cleaned() {
        let fault = |kind: &str, message: &str| Fault {
            kind: kind.to_owned(),
            message: message.to_owned(),
        };
        let limit = Duration::from_secs(15);
        assert_eq!(
            fault("failed", "it broke\u{1b}[31m [identityPublicKey: 02ab]").into_error(limit),
            WalletError::Failed("it broke".to_owned())
        );
        assert_eq!(
            fault("timeout", "").into_error(limit),
            WalletError::TimedOut(limit)
        );
        let away = fault("unreachable", "[x]").into_error(limit);
        assert!(away.may_have_done(), "{away}");
        let closed = fault("not_open", "[x]").into_error(limit);
        assert_eq!(
            closed,
            WalletError::Unreachable("no reason was given".to_owned())
        );
        assert!(!closed.may_have_done());
    }
}
