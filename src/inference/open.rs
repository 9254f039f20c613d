//! From the settings to endpoints.

use std::sync::Arc;

use secrecy::SecretString;

use super::builtin::BuiltinEndpoint;
use super::ollama::OllamaEndpoint;
use super::openai::OpenAiEndpoint;
use super::{Deadlines, Endpoint};
use crate::config::schema::{Endpoint as Settings, EndpointKind, SecretSource};
use crate::domain::text::clean;

/// Makes the endpoints of the settings; connects to nothing yet. `resolve` reads a secret from where it is; `pace` slows
/// the built-in model down to so many tokens per second.
///
/// # Errors
///
/// A sentence for the operator that names the endpoint: a key that can't be read, or an address that can't be used.
pub fn open(
    endpoints: &[Settings],
    resolve: impl Fn(&SecretSource) -> Result<SecretString, String>,
    pace: Option<u32>,
) -> Result<Vec<Arc<dyn Endpoint>>, String> {
    endpoints
        .iter()
        .map(|settings| one(settings, &resolve, pace))
        .collect()
}

fn one(
    settings: &Settings,
    resolve: impl Fn(&SecretSource) -> Result<SecretString, String>,
    pace: Option<u32>,
) -> Result<Arc<dyn Endpoint>, String> {
    let named = |error| format!("endpoint {}: api_key: {error}", clean(&settings.name, 64));
    let key = settings.api_key.as_ref().map(resolve).transpose();
    let key = key.map_err(named)?;
    let deadlines = Deadlines::default();
    Ok(match settings.kind {
        EndpointKind::Ollama => Arc::new(OllamaEndpoint::new(settings, key, deadlines)?),
        EndpointKind::Openai => Arc::new(OpenAiEndpoint::new(settings, key, deadlines)?),
        EndpointKind::Builtin => Arc::new(BuiltinEndpoint::new(settings, pace)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(kind: EndpointKind, url: &str) -> Settings {
        Settings {
            kind,
            url: url.into(),
            api_key: Some(SecretSource::Plain("k".into())),
            ..Settings::default()
        }
    }

    #[test]
    fn every_kind_is_opened() {
        let all = [
            settings(EndpointKind::Ollama, "localhost"),
            settings(EndpointKind::Openai, "http://localhost:8080/v1"),
            settings(EndpointKind::Builtin, ""),
        ];
        let opened = open(&all, |_| Ok(SecretString::from("k")), Some(60)).unwrap();
        assert_eq!(opened.len(), 3);
    }

    #[test]
    fn a_key_or_an_address_that_can_t_be_used_names_its_endpoint() {
        let one = |url, key: Result<&'static str, &'static str>| {
            let all = [settings(EndpointKind::Ollama, url)];
            let resolve = |_: &SecretSource| key.map(SecretString::from).map_err(str::to_owned);
            open(&all, resolve, None).map(|_| ()).unwrap_err()
        };
        assert_eq!(one("localhost", Err("no")), "endpoint local: api_key: no");
        assert!(one("ftp://x", Ok("k")).starts_with("endpoint local: url"));
        assert!(one("http://example.com", Ok("k")).starts_with("endpoint local: "));
    }
}
