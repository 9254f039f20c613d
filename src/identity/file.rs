//! The identity's file: `{"npub": …, "secret": …}`, or nothing but an nsec or ncryptsec, as a person would put it there.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nostr::nips::nip19::FromBech32;
use nostr::nips::nip49::EncryptedSecretKey;
use nostr::{PublicKey, SecretKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::IdentityError;
use crate::config::atomic::OTHERS;

/// The largest file, bytes; vend's own are a few hundred.
const FILE_MAX: u64 = 4_096;

/// What the file holds.
pub(super) struct Stored {
    /// Who it is, where the file says.
    pub(super) public_key: Option<PublicKey>,
    /// The secret.
    pub(super) kept: Kept,
}

/// The secret, as it is kept.
pub(super) enum Kept {
    /// As it is.
    Plain(SecretKey),
    /// Under a passphrase (NIP-49).
    Protected(EncryptedSecretKey),
}

#[derive(Serialize, Deserialize)]
struct Text {
    npub: String,
    secret: String,
}

impl Drop for Text {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Stored {
    /// The file's text.
    pub(super) fn text(npub: &str, secret: &str) -> Zeroizing<String> {
        // Both are bech32, which JSON takes as it is.
        Zeroizing::new(format!("{{\"npub\":\"{npub}\",\"secret\":\"{secret}\"}}\n"))
    }
}

/// Reads the file; refuses one that others may read.
pub(super) fn read(path: &Path) -> Result<Stored, IdentityError> {
    let shown = || path.display().to_string();
    let io = |cause: std::io::Error| match cause.kind() {
        ErrorKind::NotFound => IdentityError::Missing { path: shown() },
        _ => IdentityError::Io {
            path: shown(),
            cause,
        },
    };
    let file = File::open(path).map_err(io)?;
    // Of the open file, so that it is the one that is read.
    if file.metadata().map_err(io)?.mode() & OTHERS != 0 {
        return Err(IdentityError::Open { path: shown() });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(4_097));
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    parse(&bytes).map_err(|why| IdentityError::Damaged { path: shown(), why })
}

fn parse(bytes: &[u8]) -> Result<Stored, &'static str> {
    if bytes.len() as u64 > FILE_MAX {
        return Err("it is too large");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty");
    }
    if !text.starts_with('{') {
        return Ok(Stored {
            public_key: None,
            kept: kept(text)?,
        });
    }
    let text: Text = serde_json::from_str(text).map_err(|_| "it is cut short or changed")?;
    let public_key = PublicKey::parse(&text.npub).map_err(|_| "its npub is not one")?;
    Ok(Stored {
        public_key: Some(public_key),
        kept: kept(&text.secret)?,
    })
}

fn kept(secret: &str) -> Result<Kept, &'static str> {
    if secret.starts_with("ncryptsec1") {
        let protected = EncryptedSecretKey::from_bech32(secret);
        return protected
            .map(Kept::Protected)
            .map_err(|_| "its ncryptsec is cut short or changed");
    }
    SecretKey::parse(secret)
        .map(Kept::Plain)
        .map_err(|_| "its secret key is cut short or changed")
}
