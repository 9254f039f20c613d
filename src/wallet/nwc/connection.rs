//! The connection string (NIP-47): which wallet, over which relays, with which key.

use nostr::nips::nip47::NostrWalletConnectURI;
use nostr::{Keys, PublicKey, RelayUrl};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::domain::text::clean;
use crate::wallet::http::is_near;

/// Relays of one connection that are used; a request goes to each of them.
const MAX_RELAYS: usize = 4;

/// The longest piece of a stranger's words that an operator is shown, characters.
const MAX_WORDS: usize = 120;

/// The string's beginning.
const SCHEME: &str = "nostr+walletconnect:";

/// Why a connection string can't be used. `Display` is one line and holds no part of the string but a relay's host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NwcError {
    /// It is none.
    #[error(
        "it is no connection string: copy it whole from the wallet, nostr+walletconnect://…?relay=wss://…&secret=…"
    )]
    NotOne,
    /// What is said over it would travel in the open.
    #[error(
        "its relay {0} uses ws://, so anybody on the way could see who is paid and when: make a connection over a wss:// relay"
    )]
    PlainWs(String),
}

/// Both ends of the connection. The key signs and encrypts what we say; whoever has it, has the wallet's permissions.
#[derive(Clone)]
pub(super) struct Connection {
    /// The wallet's key: only what it signed is listened to.
    pub(super) wallet: PublicKey,
    /// Ours, made by the wallet for this connection alone.
    pub(super) keys: Keys,
    /// Where both meet; at least one.
    pub(super) relays: Vec<RelayUrl>,
}

impl Connection {
    /// Reads a connection string.
    pub(super) fn read(uri: &SecretString) -> Result<Self, NwcError> {
        let text = uri.expose_secret().trim();
        // Some wallets leave out the slashes.
        let rest = text.strip_prefix(SCHEME).ok_or(NwcError::NotOne)?;
        let whole = format!("{SCHEME}//{}", rest.trim_start_matches('/'));
        let read = NostrWalletConnectURI::parse(&whole).map_err(|_| NwcError::NotOne)?;
        // A key that is no point of the curve can't be encrypted to.
        read.public_key.xonly().map_err(|_| NwcError::NotOne)?;
        let mut relays: Vec<RelayUrl> = Vec::new();
        for relay in read.relays.into_iter().take(MAX_RELAYS) {
            check_relay(&relay)?;
            if !relays.contains(&relay) {
                relays.push(relay);
            }
        }
        Ok(Self {
            wallet: read.public_key,
            keys: Keys::new(read.secret),
            relays,
        })
    }

    /// Which wallet this is: its key and ours. What it says of its node is no help: thousands of wallets may be behind one.
    pub(super) fn identity(&self) -> String {
        format!("{}:{}", self.wallet, self.keys.public_key())
    }

    /// The wallet's words, safe to show: one short line without our key.
    pub(super) fn plain(&self, text: &str) -> String {
        // Cleaned first: what is dropped from between the secret's characters must not bring it together again.
        let line = clean(text, 4_096);
        let secret = self.keys.secret_key().to_secret_hex();
        let hidden = line
            .replace(&secret, "***")
            .replace(&secret.to_uppercase(), "***");
        clean(&hidden, MAX_WORDS)
    }
}

fn check_relay(relay: &RelayUrl) -> Result<(), NwcError> {
    let url = Url::parse(relay.as_str()).map_err(|_| NwcError::NotOne)?;
    if url.scheme() == "ws" && !is_near(&url) {
        return Err(NwcError::PlainWs(host(relay)));
    }
    Ok(())
}

/// A relay's host and port, for a person; its path may hold a key.
pub(super) fn host(relay: &RelayUrl) -> String {
    let Ok(url) = Url::parse(relay.as_str()) else {
        return "the relay".to_owned();
    };
    let port = url.port().map(|port| format!(":{port}"));
    let name = url.host_str().unwrap_or_default();
    clean(&format!("{name}{}", port.unwrap_or_default()), 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "b889ff5b1513b641e2a139f661a661364979c5beee91842f8f0ef42ab558e9d4";
    const SECRET: &str = "71a8c14c1407c113601079c4302dab36460f0ccd0ad506f1f2dc73b5100e4f3c";

    fn read(text: &str) -> Result<Connection, NwcError> {
        Connection::read(&text.into())
    }

    #[test]
    fn a_connection_string_is_read_as_wallets_write_it() {
        for (text, relays) in [
            (
                format!(
                    "nostr+walletconnect://{KEY}?relay=wss%3A%2F%2Frelay.example%2Fv1&secret={SECRET}&lud16=a%40b.example"
                ),
                vec!["wss://relay.example/v1"],
            ),
            (
                format!(
                    " nostr+walletconnect:{KEY}?secret={SECRET}&relay=wss://a.example&relay=wss://b.example&relay=wss://a.example \n"
                ),
                vec!["wss://a.example", "wss://b.example"],
            ),
            (
                format!("nostr+walletconnect://{KEY}?relay=ws://127.0.0.1:7000&secret={SECRET}"),
                vec!["ws://127.0.0.1:7000"],
            ),
        ] {
            let read = read(&text).unwrap();
            let found: Vec<&str> = read
                .relays
                .iter()
                .map(RelayUrl::as_str_without_trailing_slash)
                .collect();
            assert_eq!(found, relays);
            assert_eq!(read.wallet.to_hex(), KEY);
            assert_eq!(read.keys.secret_key().to_secret_hex(), SECRET);
        }
    }

    #[test]
    fn what_is_none_is_refused_and_not_repeated() {
        for text in [
            "",
            "hunter2",
            "nostr+walletconnect://",
            &format!("nostr+walletconnect://{KEY}?relay=wss://relay.example"),
            &format!("nostr+walletconnect://{KEY}?secret={SECRET}"),
            &format!("nostr+walletconnect://{KEY}?relay=https://relay.example&secret={SECRET}"),
            &format!(
                "nostr+walletconnect://{}?relay=wss://relay.example&secret={SECRET}",
                "0".repeat(64)
            ),
            &format!("https://{KEY}?relay=wss://relay.example&secret={SECRET}"),
        ] {
            let error = read(text).err().unwrap();
            assert_eq!(error, NwcError::NotOne, "{text}");
            assert!(!error.to_string().contains(&SECRET[..8]));
        }
    }

    #[test]
    fn a_relay_without_tls_is_for_this_machine_and_private_networks_only() {
        let far = format!("nostr+walletconnect://{KEY}?relay=ws://relay.example&secret={SECRET}");
        let error = read(&far).err().unwrap();
        assert_eq!(error, NwcError::PlainWs("relay.example".to_owned()));
        assert!(!error.to_string().contains(&SECRET[..8]));
    }

    #[test]
    fn the_wallets_words_never_show_our_key() {
        let uri = format!("nostr+walletconnect://{KEY}?relay=wss://relay.example&secret={SECRET}");
        let connection = read(&uri).unwrap();
        let told = connection.plain(&format!(
            "\u{1b}[2Jno {SECRET} and {}\u{202e}",
            SECRET.to_uppercase()
        ));
        assert_eq!(told, "[2Jno *** and ***");
        assert!(connection.plain(&"x".repeat(5_000)).chars().count() <= MAX_WORDS + 1);
    }
}
