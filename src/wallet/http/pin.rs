//! Trust in one certificate: a node's own, self-signed, compared byte for byte with the file that the settings name.
//!
//! A node's certificate is often marked as an authority, which a strict reader does not take from a server; and its name
//! and dates say nothing that having the very file does not. What is still proved in every handshake is that the server
//! holds the certificate's key.

use std::error::Error;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::{ServerError, words_of};

/// Takes the certificates of the configured file, and no other.
#[derive(Debug)]
struct Pinned {
    certificates: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.certificates.iter().any(|known| known == shown) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// TLS that trusts the certificates of this PEM text alone.
pub(super) fn config(
    pem: &str,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, ServerError> {
    const NONE: &str = "the file holds no certificate: name the server's own, which begins with -----BEGIN CERTIFICATE-----";
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| ServerError::Certificate(NONE))?;
    if certificates.is_empty() {
        return Err(ServerError::Certificate(NONE));
    }
    let pinned = Pinned {
        certificates,
        algorithms: provider.signature_verification_algorithms,
    };
    Ok(ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| ServerError::Client(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth())
}

/// In plain words, where it was the server's certificate that ended the connection.
pub(super) fn distrust(error: &reqwest::Error, pinned: bool) -> Option<String> {
    let rustls::Error::InvalidCertificate(why) = tls_error(error)? else {
        return None;
    };
    Some(match why {
        CertificateError::ApplicationVerificationFailure if pinned => {
            "it shows another certificate than the one in wallet.certificate: if the server made a new one, copy that; \
             if not, somebody stands in between"
                .to_owned()
        }
        _ if !pinned => format!(
            "its certificate is not one that this machine trusts ({}): where it signed its own, set wallet.certificate to that file",
            words_of(error)
        ),
        _ => words_of(error),
    })
}

/// The TLS layer's error, which sits inside input/output errors.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| tls_error(inner)) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
