//! The seller's Nostr key: kept in the data directory, private, and under a passphrase where the seller wants one (NIP-49).
//!
//! Nothing here shows the secret but [`export`]. `Debug` and `Display` show the npub.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use nostr::nips::nip19::{FromBech32, ToBech32};
use nostr::nips::nip49::{EncryptedSecretKey, KeySecurity};
use nostr::{Keys, PublicKey, SecretKey};
use secrecy::{ExposeSecret, SecretString};

mod file;

use crate::config::atomic;
use file::{Kept, Stored};

/// scrypt's cost for a new passphrase: 64 MiB and about a tenth of a second (NIP-49's own example).
const LOG_N: u8 = 16;

/// Why there is no identity. `Display` names the fix and holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none yet.
    #[error("there is no identity at {path}: run `vend keys generate`, or `vend keys import`")]
    Missing {
        /// The file.
        path: String,
    },
    /// There is one already, which is never overwritten.
    #[error(
        "there is an identity at {path} already: keep it safe first, as with `mv {path} {path}.old`"
    )]
    Exists {
        /// The file.
        path: String,
    },
    /// Others may read it.
    #[error("{path} can be read by other users: run `chmod 600 {path}`")]
    Open {
        /// The file.
        path: String,
    },
    /// The file is not what vend writes.
    #[error("{path} holds no identity: {why}; put the right file there, or move it away")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong; no part of the file.
        why: &'static str,
    },
    /// It is under a passphrase and none was given.
    #[error("the identity is under a passphrase: {0}")]
    PassphraseNeeded(String),
    /// The passphrase does not open it.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// A passphrase that protects nothing.
    #[error("an empty passphrase protects nothing: give a longer one, or none")]
    EmptyPassphrase,
    /// What was given as a key is none.
    #[error("this is no secret key: give an nsec, an ncryptsec or 64 hex digits")]
    NoKey,
    /// An npub was given.
    #[error("this is a public key: to sell, vend needs the secret one (nsec)")]
    PublicKey,
    /// The passphrase could not be applied.
    #[error("the key can't be put under a passphrase: {0}")]
    Protect(String),
    /// The file can't be used.
    #[error("{path} can't be used: {cause}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
}

/// Asks for the passphrase: at a prompt, from stdin, or from `VEND_PASSPHRASE`. Its error is one line for the operator.
pub type AskPassphrase<'a> = &'a mut dyn FnMut() -> Result<SecretString, String>;

/// The seller.
#[derive(Clone)]
pub struct Identity {
    keys: Keys,
}

impl Identity {
    /// The keys, for what signs and decrypts. They are erased from memory when dropped.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Who this is.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.keys.public_key()
    }

    /// Who this is, as people write it (NIP-19).
    #[must_use]
    pub fn npub(&self) -> String {
        npub(&self.public_key())
    }

    fn of(secret: SecretKey) -> Self {
        Self {
            keys: Keys::new(secret),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.npub())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.npub())
    }
}

/// What is known of an identity without its passphrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Who it is; none where the file does not say and is under a passphrase.
    pub public_key: Option<PublicKey>,
    /// Is it under a passphrase?
    pub needs_passphrase: bool,
}

/// Reads the identity. `ask` is called only where it is under a passphrase.
///
/// # Errors
/// No file, one that others may read, one that holds something else, or a passphrase that does not open it.
pub fn load(path: &Path, ask: Option<AskPassphrase<'_>>) -> Result<Identity, IdentityError> {
    let stored = file::read(path)?;
    let secret = match stored.kept {
        Kept::Plain(secret) => secret,
        Kept::Protected(protected) => unlock(&protected, ask)?,
    };
    let identity = Identity::of(secret);
    if stored
        .public_key
        .is_some_and(|key| key != identity.public_key())
    {
        return Err(IdentityError::Damaged {
            path: path.display().to_string(),
            why: "its public key is not that of its secret key",
        });
    }
    Ok(identity)
}

/// Reads the identity, or makes one without a passphrase where there is none.
///
/// # Errors
/// As [`load`] and [`generate`].
pub fn load_or_create(
    path: &Path,
    ask: Option<AskPassphrase<'_>>,
) -> Result<Identity, IdentityError> {
    match load(path, ask) {
        Err(IdentityError::Missing { .. }) => generate(path, None),
        other => other,
    }
}

/// Makes a new identity, under a passphrase where one is given, and keeps it.
///
/// # Errors
/// There is one already, the passphrase is empty, or the file can't be written.
pub fn generate(path: &Path, protect: Option<&SecretString>) -> Result<Identity, IdentityError> {
    let identity = Identity::of(SecretKey::generate());
    keep(path, &identity, protect, KeySecurity::Medium)?;
    Ok(identity)
}

/// Keeps an identity that exists elsewhere: nsec, 64 hex digits, or ncryptsec (then `ask` gives its passphrase). It is kept
/// under `protect`, or without a passphrase.
///
/// # Errors
/// There is one already, what was given is no secret key, or the file can't be written.
pub fn import(
    path: &Path,
    secret: &SecretString,
    ask: Option<AskPassphrase<'_>>,
    protect: Option<&SecretString>,
) -> Result<Identity, IdentityError> {
    vacant(path)?;
    let text = secret.expose_secret().trim();
    let secret = if text.starts_with("ncryptsec1") {
        let protected = EncryptedSecretKey::from_bech32(text).map_err(|_| IdentityError::NoKey)?;
        unlock(&protected, ask)?
    } else if text.starts_with("npub1") {
        return Err(IdentityError::PublicKey);
    } else {
        SecretKey::parse(text).map_err(|_| IdentityError::NoKey)?
    };
    let identity = Identity::of(secret);
    keep(path, &identity, protect, KeySecurity::Unknown)?;
    Ok(identity)
}

/// The secret key as people carry it: ncryptsec under `protect` where one is given, else nsec.
///
/// # Errors
/// An empty passphrase.
pub fn export(
    identity: &Identity,
    protect: Option<&SecretString>,
) -> Result<SecretString, IdentityError> {
    let text = match protect {
        Some(passphrase) => ncryptsec(identity, passphrase, KeySecurity::Unknown)?,
        None => nsec(identity)?,
    };
    Ok(text.into())
}

/// Is it under a passphrase?
///
/// # Errors
/// As [`load`], but for the passphrase.
pub fn needs_passphrase(path: &Path) -> Result<bool, IdentityError> {
    summary(path).map(|summary| summary.needs_passphrase)
}

/// What is known without the passphrase.
///
/// # Errors
/// As [`load`], but for the passphrase.
pub fn summary(path: &Path) -> Result<Summary, IdentityError> {
    let stored = file::read(path)?;
    Ok(match stored.kept {
        Kept::Plain(secret) => Summary {
            public_key: Some(Keys::new(secret).public_key()),
            needs_passphrase: false,
        },
        Kept::Protected(_) => Summary {
            public_key: stored.public_key,
            needs_passphrase: true,
        },
    })
}

fn unlock(
    protected: &EncryptedSecretKey,
    ask: Option<AskPassphrase<'_>>,
) -> Result<SecretKey, IdentityError> {
    let Some(ask) = ask else {
        let fix = "start vend at a terminal, or set VEND_PASSPHRASE".to_owned();
        return Err(IdentityError::PassphraseNeeded(fix));
    };
    let passphrase = ask().map_err(IdentityError::PassphraseNeeded)?;
    // The library refuses a cost that would take more than 256 MiB.
    protected
        .decrypt(passphrase.expose_secret())
        .map_err(|_| IdentityError::WrongPassphrase)
}

fn keep(
    path: &Path,
    identity: &Identity,
    protect: Option<&SecretString>,
    security: KeySecurity,
) -> Result<(), IdentityError> {
    vacant(path)?;
    let secret = match protect {
        Some(passphrase) => ncryptsec(identity, passphrase, security)?,
        None => nsec(identity)?,
    };
    let text = Stored::text(&identity.npub(), &secret);
    atomic::create(path, text.as_bytes()).map_err(|cause| match cause.kind() {
        ErrorKind::AlreadyExists => exists(path),
        _ => IdentityError::Io {
            path: path.display().to_string(),
            cause,
        },
    })
}

/// Refuses early, before anyone is asked for a passphrase.
fn vacant(path: &Path) -> Result<(), IdentityError> {
    match path.symlink_metadata() {
        Ok(_) => Err(exists(path)),
        Err(_) => Ok(()),
    }
}

fn exists(path: &Path) -> IdentityError {
    IdentityError::Exists {
        path: path.display().to_string(),
    }
}

fn nsec(identity: &Identity) -> Result<String, IdentityError> {
    let text = identity.keys.secret_key().to_bech32();
    text.map_err(|error| IdentityError::Protect(error.to_string()))
}

fn ncryptsec(
    identity: &Identity,
    passphrase: &SecretString,
    security: KeySecurity,
) -> Result<String, IdentityError> {
    if passphrase.expose_secret().is_empty() {
        return Err(IdentityError::EmptyPassphrase);
    }
    let failed = |error: &dyn fmt::Display| IdentityError::Protect(error.to_string());
    let secret = identity.keys.secret_key();
    EncryptedSecretKey::new(secret, passphrase.expose_secret(), LOG_N, security)
        .map_err(|error| failed(&error))?
        .to_bech32()
        .map_err(|error| failed(&error))
}

/// A public key as people write it (NIP-19).
#[must_use]
pub fn npub(key: &PublicKey) -> String {
    // Bech32 of 32 bytes never fails; hex says the same.
    key.to_bech32().unwrap_or_else(|_| key.to_hex())
}

#[cfg(test)]
mod tests;
