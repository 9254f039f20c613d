//! The local key: whoever has it may spend the gateway's money, so it is a file that only its owner reads.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::config::atomic;
use crate::domain::Hex32;

/// The file in the data directory.
fn key_path(data: &Path) -> PathBuf {
    data.join("gateway.key")
}

/// Reads the key, or makes one (0600).
///
/// # Errors
/// A sentence: the file can't be used, or is empty.
pub fn gateway_key(data: &Path) -> Result<SecretString, String> {
    let path = key_path(data);
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    loop {
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().len() < 16 => {
                return Err(failed(&"it holds no key: remove it for a new one"));
            }
            Ok(text) => return Ok(text.trim().to_owned().into()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&error)),
        }
        let hex = Hex32(rand::random());
        match atomic::create(&path, format!("sk-vend-{hex}\n").as_bytes()) {
            // Made by us, or by another vend meanwhile: read.
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn the_key_is_private_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let first = gateway_key(dir.path()).unwrap();
        let again = gateway_key(dir.path()).unwrap();
        assert_eq!(first.expose_secret(), again.expose_secret());
        let path = key_path(dir.path());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "\n").unwrap();
        assert!(gateway_key(dir.path()).is_err());
    }
}
