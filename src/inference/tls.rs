//! Trust in a certificate of the settings, beside those that this machine trusts.
//!
//! A server that signed its own certificate often marks it as an authority, which a strict reader does not take from a
//! server: the very file is trusted as it is. What an authority in the file signed is checked as usual.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

const NONE: &str = "the file holds no certificate, which begins with -----BEGIN CERTIFICATE-----";

#[derive(Debug)]
struct Trusting {
    known: Vec<CertificateDer<'static>>,
    signed: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.known.iter().any(|known| known == shown) {
            return Ok(ServerCertVerified::assertion());
        }
        self.signed
            .verify_server_cert(shown, between, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

/// TLS that trusts the certificates of this PEM text, and what they signed.
///
/// # Errors
///
/// A sentence for the operator: it holds no certificate.
pub fn config(pem: &str) -> Result<ClientConfig, String> {
    let provider = CryptoProvider::get_default().ok_or("no crypto provider is installed")?;
    let known: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| NONE)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(known.iter().cloned());
    if known.is_empty() || roots.is_empty() {
        return Err(NONE.to_owned());
    }
    let signed = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let signed = signed.build().map_err(|error| error.to_string())?;
    let config = ClientConfig::builder_with_provider(Arc::clone(provider));
    let config = config.with_safe_default_protocol_versions();
    Ok(config
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting { known, signed }))
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ClientConnection, ServerConfig, ServerConnection};

    const ONE: (&str, &str) = (
        include_str!("../../tests/support/fake_node/one.cert.pem"),
        include_str!("../../tests/support/fake_node/one.key.pem"),
    );
    const TWO: &str = include_str!("../../tests/support/fake_node/two.cert.pem");

    /// A handshake in memory with a server that shows the first certificate.
    fn greeted(trusted: &str) -> Result<(), rustls::Error> {
        let chain = CertificateDer::pem_slice_iter(ONE.0.as_bytes());
        let chain = chain.collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(ONE.1.as_bytes()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(chain, key).unwrap();
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let client = config_of(trusted);
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        while client.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            // What the client's refusal does to the server is not the question.
            let _ = server.process_new_packets();
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    fn config_of(pem: &str) -> ClientConfig {
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        config(pem).unwrap()
    }

    #[test]
    fn a_server_that_signed_itself_is_trusted_by_its_own_file_alone() {
        assert_eq!(greeted(ONE.0), Ok(()));
        assert!(greeted(TWO).is_err());
    }

    #[test]
    fn a_file_without_a_certificate_is_said() {
        config_of(ONE.0);
        for text in ["", "-----BEGIN NOTHING-----"] {
            assert!(config(text).unwrap_err().contains("no certificate"));
        }
    }
}
