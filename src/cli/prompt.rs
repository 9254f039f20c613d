//! Secrets from a person or a pipe; never from an argument.

use std::io::{BufRead, IsTerminal, Read as _};

use secrecy::SecretString;

/// The longest secret that is read, bytes.
const LONGEST: usize = 4_096;

/// One line: at a terminal a hidden prompt, otherwise the next line of stdin.
///
/// # Errors
/// Where nothing is given.
pub fn secret(what: &str) -> Result<SecretString, String> {
    let text = if std::io::stdin().is_terminal() {
        super::signals::give_back_on_end();
        rpassword::prompt_password(format!("{what}: ")).map_err(|error| error.to_string())?
    } else {
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .read_line(&mut text)
            .map_err(|error| error.to_string())?;
        text
    };
    let text = text.trim().to_owned();
    if text.is_empty() || text.len() > LONGEST {
        return Err(format!("{what}: nothing was given"));
    }
    Ok(SecretString::from(text))
}

/// The identity's passphrase: `VEND_PASSPHRASE`, the file that `VEND_PASSPHRASE_FILE` names, or asked for.
///
/// # Errors
/// Where nothing is given.
pub fn passphrase() -> Result<SecretString, String> {
    match std::env::var("VEND_PASSPHRASE") {
        Ok(text) if !text.is_empty() => return Ok(SecretString::from(text)),
        _ => {}
    }
    match std::env::var_os("VEND_PASSPHRASE_FILE") {
        Some(path) if !path.is_empty() => of_file(std::path::Path::new(&path)),
        _ => secret("passphrase of the identity"),
    }
}

/// The first line of a file, as systemd's credentials and a container's secrets are.
fn of_file(path: &std::path::Path) -> Result<SecretString, String> {
    let failed =
        |why: &dyn std::fmt::Display| format!("VEND_PASSPHRASE_FILE: {}: {why}", path.display());
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST as u64 + 1).read_to_string(&mut text))
        .map_err(|error| failed(&error))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() || text.len() > LONGEST {
        return Err(failed(&"no passphrase in its first line"));
    }
    Ok(SecretString::from(line))
}

/// The connection string of a buyer's wallet: `VEND_BUYER_NWC`, or asked for.
///
/// # Errors
/// Where nothing is given.
pub fn buyer_wallet() -> Result<SecretString, String> {
    match std::env::var("VEND_BUYER_NWC") {
        Ok(text) if !text.is_empty() => Ok(SecretString::from(text)),
        _ => secret("connection string of the wallet that pays"),
    }
}
