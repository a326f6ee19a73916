//! TLS of the agents' door. What a client presents is only held to be its own here: whose it is, the database says.

use crate::tls::{OwnCertificate, TlsError};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};
use std::sync::Arc;

/// Largest certificate that an agent may present, in bytes; ours have about 600.
const MAX_CERTIFICATE: usize = 8 << 10;
/// Most certificates that it may present.
const MAX_CHAIN: usize = 4;

/// The server's side.
pub(super) fn config(own: &Arc<OwnCertificate>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let presented = Arc::new(Presented { algorithms: provider.signature_verification_algorithms });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(presented)
        .with_cert_resolver(Arc::new(WithAuthority(own.clone())));
    // Nothing is resumed: every connection proves its key, and nothing is kept for one that is gone.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The authority goes with the certificate: at the first contact its fingerprint is all that an agent knows.
#[derive(Debug)]
struct WithAuthority(Arc<OwnCertificate>);

impl ResolvesServerCert for WithAuthority {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.with_authority())
    }
}

/// Asks for a certificate and takes none as well; what is presented must be the presenter's.
#[derive(Debug)]
struct Presented {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Presented {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if end_entity.len() > MAX_CERTIFICATE || intermediates.len() >= MAX_CHAIN {
            return Err(Error::General(String::from("what is presented is too large to be an agent's certificate")));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
