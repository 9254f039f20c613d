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
use crate::config::{Chosen, secret};
use crate::domain::invoice::Network;

/// The sandbox's folder in the data directory.
pub const SANDBOX_FOLDER: &str = "sandbox";

/// Why there is no wallet. `Display` is for the operator and names the setting.
#[derive(Debug, thiserror::Error)]
pub enum WalletOpenError {
    /// A setting that the backend needs.
    #[error("the {} wallet needs wallet.{key}", .backend.as_str())]
    Missing {
        /// The backend.
        backend: Backend,
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
        /// Where the settings say it is.
        place: SecretSource,
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
    /// The command that mends it. `folder` is the settings file's: a file is looked for there.
    #[must_use]
    pub fn fix(&self, folder: &Path) -> String {
        match self {
            Self::Spark(error) => error.fix().to_owned(),
            Self::Nwc(_) => Backend::Nwc.declared().renew.to_owned(),
            Self::Missing { backend, key } if backend.declared().secret == Some(*key) => {
                backend.declared().renew.to_owned()
            }
            Self::Missing { key, .. } => format!("vend config set wallet.{key} VALUE"),
            Self::Secret {
                key: "certificate", ..
            }
            | Self::Server(ServerError::Certificate(_)) => {
                "vend config set wallet.certificate PATH (the server's own file, as a whole path)"
                    .to_owned()
            }
            Self::Secret { key, place, .. } => {
                let mut all = Backend::ALL.iter().map(|backend| backend.declared());
                let its = all.find(|declared| declared.secret == Some(*key));
                let renew = its.map_or("vend config check", |declared| declared.renew);
                match place {
                    SecretSource::File { file } => {
                        let place = secret::place(file, folder, &|name| std::env::var_os(name));
                        format!("put it into {}, for you alone; or {renew}", place.display())
                    }
                    SecretSource::Env { env } => format!("set {env} where vend starts; or {renew}"),
                    SecretSource::Plain(_) => renew.to_owned(),
                }
            }
            Self::Server(ServerError::Key { setting, .. }) => format!("vend config set {setting}"),
            Self::Server(ServerError::Url { .. } | ServerError::PlainHttp(_)) => {
                "vend config set wallet.url https://HOST".to_owned()
            }
            Self::Sandbox(_) | Self::Server(ServerError::Client(_)) => "vend doctor".to_owned(),
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
    let read = |key: &'static str, source: &SecretSource| {
        resolve(source).map_err(|why| WalletOpenError::Secret {
            key,
            why,
            place: source.clone(),
        })
    };
    // The certificate is no secret, but its file is found and read as theirs are.
    let certificate = |file: Option<&str>| {
        file.map(|file| {
            let file = file.to_owned();
            read("certificate", &SecretSource::File { file })
        })
        .transpose()
    };
    let chosen = settings.chosen().map_err(|key| WalletOpenError::Missing {
        backend: settings.backend,
        key,
    })?;
    Ok(match chosen {
        Chosen::Sandbox => {
            let dir = data_dir.join(SANDBOX_FOLDER);
            Arc::new(SandboxWallet::open(&dir, network(settings.network))?)
        }
        Chosen::Lnbits { url, invoice_key } => {
            Arc::new(Lnbits::open(url, &read("invoice_key", invoice_key)?)?)
        }
        Chosen::Lnd {
            url,
            macaroon,
            certificate: file,
        } => {
            let macaroon = read("macaroon", macaroon)?;
            Arc::new(Lnd::open(url, &macaroon, certificate(file)?.as_ref())?)
        }
        Chosen::Cln {
            url,
            rune,
            certificate: file,
        } => {
            let rune = read("rune", rune)?;
            Arc::new(Cln::open(url, &rune, certificate(file)?.as_ref())?)
        }
        Chosen::Phoenixd { url, password } => {
            Arc::new(Phoenixd::open(url, &read("password", password)?)?)
        }
        Chosen::Spark { account } => {
            let account = account.unwrap_or(spark::DEFAULT_ACCOUNT);
            Arc::new(Spark::open(data_dir, settings.network, account)?)
        }
        Chosen::Nwc { uri } => Arc::new(Nwc::open(&read("uri", uri)?)?),
    })
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
            let (word, mut settings) = (backend.as_str(), schema::Wallet::default());
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
