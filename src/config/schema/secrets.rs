//! Where secrets are in the settings. Serialised, a secret is `***`: what prints settings can't print one. Whoever needs the
//! places of all of them asks here, and every field of the tables that hold any is named here, so that none can be forgotten.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Endpoint, SecretSource, Settings, Wallet};
use crate::config::keys::Section;

/// What stands for a secret where settings are shown.
pub const MASK: &str = "***";

impl Serialize for SecretSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named = |serializer: S, name: &str, value: &str| {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(name, value)?;
            map.end()
        };
        match self {
            // One that is empty is none, and is told as that.
            Self::Plain(text) if text.is_empty() => serializer.serialize_str(""),
            Self::Plain(_) => serializer.serialize_str(MASK),
            Self::Env { env } => named(serializer, "env", env),
            Self::File { file } => named(serializer, "file", file),
        }
    }
}

impl Wallet {
    /// Its secrets by their keys, set or not.
    #[must_use]
    pub const fn secrets(&self) -> [(&'static str, &Option<SecretSource>); 5] {
        let Self {
            backend: _,
            network: _,
            account: _,
            uri,
            url: _,
            invoice_key,
            macaroon,
            rune,
            password,
            certificate: _,
        } = self;
        [
            ("uri", uri),
            ("invoice_key", invoice_key),
            ("macaroon", macaroon),
            ("rune", rune),
            ("password", password),
        ]
    }

    /// The same, to be changed.
    #[must_use]
    pub const fn secrets_mut(&mut self) -> [(&'static str, &mut Option<SecretSource>); 5] {
        let Self {
            backend: _,
            network: _,
            account: _,
            uri,
            url: _,
            invoice_key,
            macaroon,
            rune,
            password,
            certificate: _,
        } = self;
        [
            ("uri", uri),
            ("invoice_key", invoice_key),
            ("macaroon", macaroon),
            ("rune", rune),
            ("password", password),
        ]
    }

    /// Which of its keys are set, beside `backend` and `network`.
    #[must_use]
    pub fn set_keys(&self) -> Vec<&'static str> {
        let plain = [
            ("account", self.account.is_some()),
            ("url", self.url.is_some()),
            ("certificate", self.certificate.is_some()),
        ];
        let secrets = self.secrets().map(|(key, secret)| (key, secret.is_some()));
        let all = plain.into_iter().chain(secrets);
        all.filter(|(_, is_set)| *is_set)
            .map(|(key, _)| key)
            .collect()
    }
}

impl Endpoint {
    /// Its secrets by their keys.
    #[must_use]
    pub fn secrets(&self) -> Vec<(&str, &SecretSource)> {
        let Self {
            name: _,
            kind: _,
            url: _,
            slots: _,
            api_key,
            num_ctx: _,
            models: _,
            certificate: _,
            headers,
            keep_alive: _,
            think: _,
            stop: _,
            extra: _,
            first_token_secs: _,
            between_tokens_secs: _,
        } = self;
        let key = api_key.iter().map(|secret| ("api_key", secret));
        let headers = headers.values().map(|secret| ("headers", secret));
        key.chain(headers).collect()
    }
}

/// A secret of the settings.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The table that it is in.
    pub section: Section,
    /// Which table of a list.
    pub table: Option<&'a str>,
    /// Its key there.
    pub field: &'a str,
    /// Where it comes from.
    pub source: &'a SecretSource,
}

impl Settings {
    /// Every secret that is set.
    #[must_use]
    pub fn secrets(&self) -> Vec<Held<'_>> {
        let wallet = self.wallet.secrets().into_iter();
        let wallet = wallet.filter_map(|(field, secret)| {
            let source = secret.as_ref()?;
            Some(Held {
                section: Section::Wallet,
                table: None,
                field,
                source,
            })
        });
        let endpoints = self.endpoints.0.iter().flat_map(|endpoint| {
            let all = endpoint.secrets().into_iter();
            all.map(|(field, source)| Held {
                section: Section::Endpoint,
                table: Some(endpoint.name.as_str()),
                field,
                source,
            })
        });
        let gateway = self.gateway.nwc.iter().map(|source| Held {
            section: Section::Gateway,
            table: None,
            field: "nwc",
            source,
        });
        wallet.chain(endpoints).chain(gateway).collect()
    }
}
