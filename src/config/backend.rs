//! Each wallet backend, declared once: its keys, which of them it can't do without, its secret, and what mends what goes wrong
//! with it. Checks, the form, `vend doctor` and the documentation read this table; `wallet::open` opens what [`Wallet::chosen`]
//! gives.

use super::schema::{Backend, Network, SecretSource, Wallet};

/// What one backend needs, and what mends it.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    /// Its keys in `[wallet]`, beside `backend` and `network`, which all have.
    pub keys: &'static [&'static str],
    /// Those that it can't do without.
    pub needs: &'static [&'static str],
    /// The one that is a secret.
    pub secret: Option<&'static str>,
    /// The networks that it has, and why no others; empty: all.
    pub networks: (&'static [Network], &'static str),
    /// What mends a secret that can't be read, or that its server refuses.
    pub renew: &'static str,
    /// What makes room to receive.
    pub room: &'static str,
}

const ROOM: &str = "open a channel towards this node, or buy inbound liquidity for it";

const SPARK: Declared = Declared {
    keys: &["account"],
    needs: &[],
    secret: None,
    networks: (
        &[Network::Bitcoin, Network::Regtest],
        "Spark has no other networks",
    ),
    renew: "vend spark restore",
    room: ROOM,
};

const NWC: Declared = Declared {
    keys: &["uri"],
    needs: &["uri"],
    secret: Some("uri"),
    networks: (&[], ""),
    renew: "vend config set wallet.uri (it asks for the connection string that the wallet shows)",
    room: ROOM,
};

const LNBITS: Declared = Declared {
    keys: &["url", "invoice_key"],
    needs: &["url", "invoice_key"],
    secret: Some("invoice_key"),
    networks: (&[], ""),
    renew: "vend config set wallet.invoice_key (it asks for the invoice/read key of the wallet's page)",
    room: ROOM,
};

const LND: Declared = Declared {
    keys: &["url", "macaroon", "certificate"],
    needs: &["url", "macaroon"],
    secret: Some("macaroon"),
    networks: (&[], ""),
    renew: "vend config set wallet.macaroon (it asks for the hex of the node's invoice.macaroon)",
    room: ROOM,
};

const CLN: Declared = Declared {
    keys: &["url", "rune", "certificate"],
    needs: &["url", "rune"],
    secret: Some("rune"),
    networks: (&[], ""),
    renew: "lightning-cli createrune, then vend config set wallet.rune (it asks for the rune)",
    room: ROOM,
};

const PHOENIXD: Declared = Declared {
    keys: &["url", "password"],
    needs: &["url", "password"],
    secret: Some("password"),
    networks: (&[], ""),
    renew: "vend config set wallet.password (it asks for http-password-limited-access of phoenix.conf)",
    room: "pay it a first invoice that is larger than its fee for a channel; until then what comes becomes fee credit",
};

const SANDBOX: Declared = Declared {
    keys: &[],
    needs: &[],
    secret: None,
    networks: (
        &[Network::Regtest],
        "the sandbox is play money and says so by its network",
    ),
    renew: "vend doctor",
    room: ROOM,
};

impl Backend {
    /// What it needs, and what mends it.
    #[must_use]
    pub const fn declared(self) -> &'static Declared {
        match self {
            Self::Spark => &SPARK,
            Self::Nwc => &NWC,
            Self::Lnbits => &LNBITS,
            Self::Lnd => &LND,
            Self::Cln => &CLN,
            Self::Phoenixd => &PHOENIXD,
            Self::Sandbox => &SANDBOX,
        }
    }

    /// Does it use this key of `[wallet]`?
    #[must_use]
    pub fn uses(self, field: &str) -> bool {
        matches!(field, "backend" | "network") || self.declared().keys.contains(&field)
    }

    /// Can it not do without this key of `[wallet]`?
    #[must_use]
    pub fn needs(self, field: &str) -> bool {
        self.declared().needs.contains(&field)
    }
}

/// The wallet that the settings choose, with all that its backend needs.
#[derive(Clone, Copy, Debug)]
pub enum Chosen<'a> {
    /// Spark through its helper.
    Spark {
        /// The account number; none: the usual one.
        account: Option<u32>,
    },
    /// Nostr Wallet Connect.
    Nwc {
        /// The connection string.
        uri: &'a SecretSource,
    },
    /// An `LNbits` server.
    Lnbits {
        /// Its address.
        url: &'a str,
        /// The wallet's invoice key.
        invoice_key: &'a SecretSource,
    },
    /// LND's REST interface.
    Lnd {
        /// Its address.
        url: &'a str,
        /// The invoice macaroon.
        macaroon: &'a SecretSource,
        /// The path of its own certificate.
        certificate: Option<&'a str>,
    },
    /// Core Lightning's clnrest.
    Cln {
        /// Its address.
        url: &'a str,
        /// The rune.
        rune: &'a SecretSource,
        /// The path of its own certificate.
        certificate: Option<&'a str>,
    },
    /// phoenixd.
    Phoenixd {
        /// Its address.
        url: &'a str,
        /// The http password.
        password: &'a SecretSource,
    },
    /// Play money on this machine.
    Sandbox,
}

impl Wallet {
    /// What the settings choose.
    ///
    /// # Errors
    /// The key that the backend can't do without, and that is not set.
    pub fn chosen(&self) -> Result<Chosen<'_>, &'static str> {
        let url = || self.url.as_deref().ok_or("url");
        let certificate = self.certificate.as_deref();
        Ok(match self.backend {
            Backend::Spark => Chosen::Spark {
                account: self.account,
            },
            Backend::Nwc => Chosen::Nwc {
                uri: self.uri.as_ref().ok_or("uri")?,
            },
            Backend::Lnbits => Chosen::Lnbits {
                url: url()?,
                invoice_key: self.invoice_key.as_ref().ok_or("invoice_key")?,
            },
            Backend::Lnd => Chosen::Lnd {
                url: url()?,
                macaroon: self.macaroon.as_ref().ok_or("macaroon")?,
                certificate,
            },
            Backend::Cln => Chosen::Cln {
                url: url()?,
                rune: self.rune.as_ref().ok_or("rune")?,
                certificate,
            },
            Backend::Phoenixd => Chosen::Phoenixd {
                url: url()?,
                password: self.password.as_ref().ok_or("password")?,
            },
            Backend::Sandbox => Chosen::Sandbox,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_backend_is_refused_without_what_it_declares_to_need() {
        for backend in Backend::ALL {
            let declared = backend.declared();
            let empty = Wallet {
                backend,
                ..Wallet::default()
            };
            assert_eq!(
                empty.chosen().err(),
                declared.needs.first().copied(),
                "{backend:?}"
            );
            let mut full = empty;
            full.url = Some("https://127.0.0.1".to_owned());
            for (_, secret) in full.secrets_mut() {
                *secret = Some(SecretSource::Plain("x".to_owned()));
            }
            assert!(full.chosen().is_ok(), "{backend:?}");
            assert!(declared.needs.iter().all(|key| declared.keys.contains(key)));
            let named: Vec<&str> = full.secrets().iter().map(|(key, _)| *key).collect();
            let its = declared.keys.iter().filter(|key| named.contains(*key));
            assert!(its.eq(declared.secret.iter()), "{backend:?}");
        }
    }
}
