//! What is said is encrypted: NIP-44 where the wallet offers it, else NIP-04.

use nostr::nips::{nip04, nip44};

use super::connection::Connection;
use crate::wallet::WalletError;

/// The longest content that is read, bytes: NIP-44 holds 64 KiB of text.
const MAX_CONTENT: usize = 96 * 1024;

/// How a message is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Nip44,
    Nip04,
}

impl Scheme {
    /// The word in `encryption` tags (NIP-47).
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Nip44 => "nip44_v2",
            Self::Nip04 => "nip04",
        }
    }

    /// Reads such a word as wallets spell it: `nip44_v2`, `nip44-v2`, `NIP44v2`, `nip44`.
    pub(super) fn read(word: &str) -> Option<Self> {
        let plain: String = word
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        match plain.as_str() {
            "nip44v2" | "nip44" => Some(Self::Nip44),
            "nip04" | "nip4" => Some(Self::Nip04),
            _ => None,
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Nip44 => Self::Nip04,
            Self::Nip04 => Self::Nip44,
        }
    }
}

/// Encrypts for the wallet.
pub(super) fn seal(
    scheme: Scheme,
    connection: &Connection,
    text: &str,
) -> Result<String, WalletError> {
    let (key, wallet) = (connection.keys.secret_key(), &connection.wallet);
    let failed = |error: &dyn std::fmt::Display| {
        WalletError::Rejected(connection.plain(&format!("it can't be encrypted: {error}")))
    };
    match scheme {
        Scheme::Nip44 => {
            nip44::encrypt(key, wallet, text, nip44::Version::V2).map_err(|error| failed(&error))
        }
        Scheme::Nip04 => nip04::encrypt(key, wallet, text).map_err(|error| failed(&error)),
    }
}

/// Decrypts what the wallet signed, in whichever of both it wrote it: the signature has told already who speaks.
pub(super) fn open(connection: &Connection, content: &str) -> Result<String, WalletError> {
    if content.len() > MAX_CONTENT {
        let text = format!("it is larger than {} KiB", MAX_CONTENT / 1024);
        return Err(WalletError::Protocol(text));
    }
    let (key, wallet) = (connection.keys.secret_key(), &connection.wallet);
    // NIP-04 ends in its initialization vector; NIP-44 is base64 alone.
    let opened = if content.contains("?iv=") {
        nip04::decrypt(key, wallet, content).ok()
    } else {
        nip44::decrypt(key, wallet, content).ok()
    };
    opened.ok_or_else(|| WalletError::Protocol("it can't be decrypted".to_owned()))
}
