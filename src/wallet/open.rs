//! From the settings to the wallet.

use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;

use super::cln::Cln;
use super::lnbits::Lnbits;
use super::lnd::Lnd;
use super::nwc::{Nwc, NwcError};
use super::phoenixd::Phoenixd;
use super::sandbox::{SandboxError, SandboxWallet};
use super::spark::setup::SetupError;
use super::spark::{self, Spark};
use super::{ServerError, Wallet};
use crate::config::schema::{self, Backend, SecretSource};
use crate::domain::invoice::Network;

/// The sandbox's folder in the data directory.
pub const SANDBOX_FOLDER: &str = "sandbox";

/// Puts another connection string into the settings, from a file beside them.
pub const NEW_CONNECTION: &str = "vend config set wallet.uri '{ file = \"nwc.uri\" }'";

/// Why there is no wallet. `Display` is for the operator and names the setting.
#[derive(Debug, thiserror::Error)]
pub enum WalletOpenError {
    /// A setting that the backend needs.
    #[error("the {backend} wallet needs wallet.{key}")]
    Missing {
        /// The backend.
        backend: &'static str,
        /// The setting.
        key: &'static str,
    },
    /// The secret, or the certificate, is not where the settings say.
    #[error("wallet.{key} can't be read: {why}")]
    Secret {
        /// The setting.
        key: &'static str,
        /// What was tried, and why it failed; no part of the secret.
        why: String,
    },
    /// The connection string.
    #[error("wallet.uri can't be used: {0}")]
    Nwc(#[from] NwcError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Spark: its helper or its words.
    #[error(transparent)]
    Spark(#[from] SetupError),
    /// A wallet that is a server.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl WalletOpenError {
    /// The command that mends it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Spark(error) => error.fix(),
            Self::Nwc(_)
            | Self::Missing { backend: "nwc", .. }
            | Self::Secret { key: "uri", .. } => NEW_CONNECTION,
            _ => "vend config check",
        }
    }
}

/// Opens the wallet of the settings. Nothing is sent yet, and there is no fallback to another wallet.
///
/// `resolve` reads a secret from where the settings say it is. The sandbox keeps its books in `data_dir`, Spark its helper
/// and its words.
///
/// # Errors
/// A missing setting, a secret that can't be read, or what the backend itself
/// refuses.
pub fn open(
    settings: &schema::Wallet,
    resolve: impl Fn(&SecretSource) -> Result<SecretString, String>,
    data_dir: &Path,
) -> Result<Arc<dyn Wallet>, WalletOpenError> {
    let needs = Needs { settings, resolve };
    match settings.backend {
        Backend::Sandbox => {
            let dir = data_dir.join(SANDBOX_FOLDER);
            Ok(Arc::new(SandboxWallet::open(
                &dir,
                network(settings.network),
            )?))
        }
        Backend::Lnbits => {
            let (url, key) = needs.url_and("invoice_key", settings.invoice_key.as_ref())?;
            Ok(Arc::new(Lnbits::open(url, &key)?))
        }
        Backend::Lnd => {
            let (url, macaroon) = needs.url_and("macaroon", settings.macaroon.as_ref())?;
            let certificate = needs.certificate()?;
            Ok(Arc::new(Lnd::open(url, &macaroon, certificate.as_ref())?))
        }
        Backend::Cln => {
            let (url, rune) = needs.url_and("rune", settings.rune.as_ref())?;
            let certificate = needs.certificate()?;
            Ok(Arc::new(Cln::open(url, &rune, certificate.as_ref())?))
        }
        Backend::Phoenixd => {
            let (url, password) = needs.url_and("password", settings.password.as_ref())?;
            Ok(Arc::new(Phoenixd::open(url, &password)?))
        }
        Backend::Spark => {
            let account = settings.account.unwrap_or(spark::DEFAULT_ACCOUNT);
            Ok(Arc::new(Spark::open(data_dir, settings.network, account)?))
        }
        Backend::Nwc => {
            let uri = needs.secret("uri", settings.uri.as_ref())?;
            Ok(Arc::new(Nwc::open(&uri)?))
        }
    }
}

/// The settings that a server needs.
struct Needs<'a, R> {
    settings: &'a schema::Wallet,
    resolve: R,
}

impl<'a, R: Fn(&SecretSource) -> Result<SecretString, String>> Needs<'a, R> {
    fn url_and(
        &self,
        key: &'static str,
        source: Option<&SecretSource>,
    ) -> Result<(&'a str, SecretString), WalletOpenError> {
        let url = self.settings.url.as_deref();
        let url = url.ok_or_else(|| self.missing("url"))?;
        Ok((url, self.secret(key, source)?))
    }

    fn secret(
        &self,
        key: &'static str,
        source: Option<&SecretSource>,
    ) -> Result<SecretString, WalletOpenError> {
        self.read(key, source.ok_or_else(|| self.missing(key))?)
    }

    fn missing(&self, key: &'static str) -> WalletOpenError {
        let backend = self.settings.backend.word();
        WalletOpenError::Missing { backend, key }
    }

    /// The certificate is no secret, but its file is found and read as theirs are.
    fn certificate(&self) -> Result<Option<SecretString>, WalletOpenError> {
        let Some(file) = self.settings.certificate.clone() else {
            return Ok(None);
        };
        self.read("certificate", &SecretSource::File { file })
            .map(Some)
    }

    fn read(
        &self,
        key: &'static str,
        source: &SecretSource,
    ) -> Result<SecretString, WalletOpenError> {
        (self.resolve)(source).map_err(|why| WalletOpenError::Secret { key, why })
    }
}

/// The network of the settings, as invoices know it.
#[must_use]
pub const fn network(network: schema::Network) -> Network {
    match network {
        schema::Network::Bitcoin => Network::Bitcoin,
        schema::Network::Testnet => Network::Testnet,
        schema::Network::Signet => Network::Signet,
        schema::Network::Regtest => Network::Regtest,
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn plain(source: &SecretSource) -> Result<SecretString, String> {
        match source {
            SecretSource::Plain(text) => Ok(text.as_str().into()),
            _ => Err("the variable KEY is not set".to_owned()),
        }
    }

    fn open_in_a_new_folder(settings: &schema::Wallet) -> Result<Arc<dyn Wallet>, WalletOpenError> {
        // Another test may have been first: the same provider is there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        open(settings, plain, tempfile::tempdir().unwrap().path())
    }

    #[test]
    fn the_sandbox_opens_on_regtest_only() {
        let mut settings = schema::Wallet {
            backend: Backend::Sandbox,
            ..schema::Wallet::default()
        };
        let refused = open_in_a_new_folder(&settings).unwrap_err();
        assert!(refused.to_string().contains("wallet.network to regtest"));
        settings.network = schema::Network::Regtest;
        assert_eq!(
            open_in_a_new_folder(&settings).unwrap().backend(),
            "sandbox"
        );
    }

    #[test]
    fn lnbits_needs_its_url_and_its_key() {
        let mut settings = schema::Wallet {
            backend: Backend::Lnbits,
            ..schema::Wallet::default()
        };
        let line = |settings: &_| open_in_a_new_folder(settings).unwrap_err().to_string();
        assert_eq!(line(&settings), "the lnbits wallet needs wallet.url");
        settings.url = Some("http://127.0.0.1:5000".to_owned());
        assert_eq!(
            line(&settings),
            "the lnbits wallet needs wallet.invoice_key"
        );
        settings.invoice_key = Some(SecretSource::Env {
            env: "KEY".to_owned(),
        });
        assert_eq!(
            line(&settings),
            "wallet.invoice_key can't be read: the variable KEY is not set"
        );
        settings.invoice_key = Some(SecretSource::Plain("abc".to_owned()));
        assert_eq!(open_in_a_new_folder(&settings).unwrap().backend(), "lnbits");
        assert_eq!(
            plain(&SecretSource::Plain("abc".to_owned()))
                .unwrap()
                .expose_secret(),
            "abc"
        );
    }

    #[test]
    fn each_server_opens_with_its_own_secret_and_names_what_is_missing() {
        let some = |text: &str| Some(SecretSource::Plain(text.to_owned()));
        for backend in [Backend::Lnd, Backend::Cln, Backend::Phoenixd] {
            let (word, mut settings) = (backend.word(), schema::Wallet::default());
            settings.backend = backend;
            let line = |settings: &_| open_in_a_new_folder(settings).unwrap_err().to_string();
            assert_eq!(
                line(&settings),
                format!("the {word} wallet needs wallet.url")
            );
            settings.url = Some("https://127.0.0.1:1".to_owned());
            let key = match backend {
                Backend::Lnd => "macaroon",
                Backend::Cln => "rune",
                _ => "password",
            };
            assert_eq!(
                line(&settings),
                format!("the {word} wallet needs wallet.{key}")
            );
            match backend {
                Backend::Lnd => settings.macaroon = some("0201"),
                Backend::Cln => settings.rune = some("abc="),
                _ => settings.password = some("abc"),
            }
            assert_eq!(open_in_a_new_folder(&settings).unwrap().backend(), word);
            if backend != Backend::Phoenixd {
                settings.certificate = Some("none.pem".to_owned());
                assert!(line(&settings).starts_with("wallet.certificate can't be read"));
            }
        }
    }

    #[test]
    fn a_connection_string_opens_and_its_errors_never_repeat_it() {
        const SECRET: &str = "71a8c14c1407c113601079c4302dab36460f0ccd0ad506f1f2dc73b5100e4f3c";
        let key = "b889ff5b1513b641e2a139f661a661364979c5beee91842f8f0ef42ab558e9d4";
        let mut settings = schema::Wallet {
            backend: Backend::Nwc,
            ..schema::Wallet::default()
        };
        let line = |settings: &_| open_in_a_new_folder(settings).unwrap_err().to_string();
        assert_eq!(line(&settings), "the nwc wallet needs wallet.uri");
        for (relay, fault) in [
            (
                "relay.example",
                "wallet.uri can't be used: it is no connection string",
            ),
            (
                "ws://relay.example",
                "wallet.uri can't be used: its relay relay.example uses ws://",
            ),
        ] {
            let uri = format!("nostr+walletconnect://{key}?relay={relay}&secret={SECRET}");
            settings.uri = Some(SecretSource::Plain(uri));
            let line = line(&settings);
            assert!(line.starts_with(fault), "{line}");
            assert!(!line.contains(SECRET), "{line}");
        }
        let uri = format!("nostr+walletconnect://{key}?relay=wss://relay.example&secret={SECRET}");
        settings.uri = Some(SecretSource::Plain(uri));
        let wallet = open_in_a_new_folder(&settings).unwrap();
        assert_eq!(wallet.backend(), "nwc");
        assert_eq!(format!("{wallet:?}"), "Nwc(relay.example)");
    }
}
