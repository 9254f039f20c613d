//! The key that buys: one for each data directory, so that a seller knows a buyer who has paid, and so that an answer that
//! comes after a crash can be opened.

use std::io::ErrorKind;
use std::path::Path;

use nostr::{Keys, SecretKey};

use crate::config::atomic;

/// The file's name in the data directory.
pub const BUYER_KEY: &str = "buyer.key";

/// Reads the buyer's key, or makes one (0600).
///
/// # Errors
/// A sentence: the file can't be used, or holds no key.
pub fn buyer_key(data: &Path) -> Result<Keys, String> {
    let path = data.join(BUYER_KEY);
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    match std::fs::read_to_string(&path) {
        Ok(text) => read(&text).map_err(|error| failed(&error)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let keys = Keys::generate();
            let text = format!("{}\n", keys.secret_key().to_secret_hex());
            match atomic::create(&path, text.as_bytes()) {
                Ok(()) => Ok(keys),
                // Another vend made it meanwhile.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let text = std::fs::read_to_string(&path).map_err(|error| failed(&error))?;
                    read(&text).map_err(|error| failed(&error))
                }
                Err(error) => Err(failed(&error)),
            }
        }
        Err(error) => Err(failed(&error)),
    }
}

fn read(text: &str) -> Result<Keys, &'static str> {
    SecretKey::from_hex(text.trim())
        .map(Keys::new)
        .map_err(|_| "it holds no key: put back what was there, or remove it for a new one")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_private_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = buyer_key(dir.path()).unwrap();
        assert_eq!(buyer_key(dir.path()).unwrap(), first);
        let path = dir.path().join(BUYER_KEY);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "hunter2").unwrap();
        let error = buyer_key(dir.path()).unwrap_err();
        assert!(error.contains("holds no key") && !error.contains("hunter2"));
    }
}
