//! Secrets from a person or a pipe; never from an argument.

use std::io::{BufRead, IsTerminal};

use secrecy::SecretString;

/// The longest secret that is read, bytes.
const LONGEST: usize = 4_096;

/// One line: at a terminal a hidden prompt, otherwise the next line of stdin.
///
/// # Errors
/// Where nothing is given.
pub fn secret(what: &str) -> Result<SecretString, String> {
    let text = if std::io::stdin().is_terminal() {
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

/// The identity's passphrase: `VEND_PASSPHRASE`, or asked for.
///
/// # Errors
/// Where nothing is given.
pub fn passphrase() -> Result<SecretString, String> {
    match std::env::var("VEND_PASSPHRASE") {
        Ok(text) if !text.is_empty() => Ok(SecretString::from(text)),
        _ => secret("passphrase of the identity"),
    }
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
