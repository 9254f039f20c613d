//! From the settings to endpoints.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::builtin::BuiltinEndpoint;
use super::ollama::OllamaEndpoint;
use super::openai::OpenAiEndpoint;
use super::{Access, Deadlines, Endpoint};
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
    let access = access(settings, resolve)?;
    let secs = |own: Option<u64>, usual| own.map_or(usual, Duration::from_secs);
    let usual = Deadlines::default();
    let deadlines = Deadlines {
        first_token: secs(settings.first_token_secs, usual.first_token),
        between_tokens: secs(settings.between_tokens_secs, usual.between_tokens),
        ..usual
    };
    Ok(match settings.kind {
        EndpointKind::Ollama => Arc::new(OllamaEndpoint::new(settings, access, deadlines)?),
        EndpointKind::Openai => Arc::new(OpenAiEndpoint::new(settings, access, deadlines)?),
        EndpointKind::Builtin => Arc::new(BuiltinEndpoint::new(settings, pace)),
    })
}

/// What lets us in there. The certificate is no secret, but its file is found and read as theirs are.
fn access(
    settings: &Settings,
    resolve: impl Fn(&SecretSource) -> Result<SecretString, String>,
) -> Result<Access, String> {
    let read = |key: &str, source: &SecretSource| {
        let named = |error| format!("endpoint {}: {key}: {error}", clean(&settings.name, 64));
        resolve(source).map_err(named)
    };
    let api_key = settings.api_key.as_ref();
    let api_key = api_key.map(|source| read("api_key", source)).transpose()?;
    let headers = settings.headers.iter();
    let headers = headers.map(|(name, source)| Ok((name.clone(), read("headers", source)?)));
    let certificate = settings.certificate.clone();
    let certificate = certificate.map(|file| read("certificate", &SecretSource::File { file }));
    Ok(Access {
        api_key,
        headers: headers.collect::<Result<_, String>>()?,
        certificate: certificate.transpose()?,
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
