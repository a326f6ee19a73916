//! How the probe speaks TLS: three offers, any certificate accepted, possession of its key always proven.

use std::{cell::RefCell, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme, SupportedCipherSuite,
    client::{
        ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms,
        aws_lc_rs::{self, cipher_suite as suite, kx_group},
        verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
    },
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};

/// What the probe offers to verify. A server with an RSA and an ECDSA certificate shows one of them to [`Offer::All`]; the other
/// one appears when only its kind is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Offer {
    /// Everything that is not broken.
    #[default]
    All,
    /// RSA signatures only.
    RsaOnly,
    /// ECDSA signatures only.
    EcdsaOnly,
    /// Ed25519 signatures only.
    Ed25519Only,
}

impl Offer {
    /// Every offer.
    pub const ALL: [Offer; 4] = [Offer::All, Offer::RsaOnly, Offer::EcdsaOnly, Offer::Ed25519Only];

    /// The word for records and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Offer::All => "all",
            Offer::RsaOnly => "rsa",
            Offer::EcdsaOnly => "ecdsa",
            Offer::Ed25519Only => "ed25519",
        }
    }

    /// The inverse of [`Offer::as_str`].
    pub fn parse(word: &str) -> Option<Offer> {
        Offer::ALL.into_iter().find(|offer| offer.as_str() == word)
    }

    fn schemes(self, algorithms: &WebPkiSupportedAlgorithms) -> Vec<SignatureScheme> {
        let kind = |scheme: &SignatureScheme, kind: &str| format!("{scheme:?}").starts_with(kind);
        let mut schemes = algorithms.supported_schemes();
        match self {
            Offer::All => {}
            Offer::RsaOnly => schemes.retain(|scheme| kind(scheme, "RSA_")),
            Offer::EcdsaOnly => schemes.retain(|scheme| kind(scheme, "ECDSA_")),
            Offer::Ed25519Only => schemes.retain(|scheme| *scheme == SignatureScheme::ED25519),
        }
        schemes
    }

    /// AES-128-GCM with SHA-256 first: a scan carries no secret, and SHA-384 costs a quarter of the handshake on machines with SHA
    /// instructions. The rest is still offered.
    fn suites(self) -> Vec<SupportedCipherSuite> {
        let mut suites = vec![suite::TLS13_AES_128_GCM_SHA256, suite::TLS13_AES_256_GCM_SHA384, suite::TLS13_CHACHA20_POLY1305_SHA256];
        // RFC 8422 §5.1: EdDSA certificates go with the ECDSA suites.
        if self != Offer::RsaOnly {
            suites.extend([
                suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            ]);
        }
        if matches!(self, Offer::All | Offer::RsaOnly) {
            suites.extend([
                suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
                suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            ]);
        }
        suites
    }
}

/// One configuration for all connections of an offer.
///
/// # Errors
/// Only if the TLS library refuses its own defaults.
pub(crate) fn config(offer: Offer) -> Result<Arc<ClientConfig>, Error> {
    let provider = CryptoProvider {
        cipher_suites: offer.suites(),
        // Classic groups first: post-quantum key exchange protects the traffic, and a probe has none; a third of the handshake is saved.
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1, kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    };
    let algorithms = provider.signature_verification_algorithms;
    let witness = Witness { algorithms, schemes: offer.schemes(&algorithms) };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(witness))
        .with_client_cert_resolver(Arc::new(Nobody));
    // A resumed session shows no certificate (RFC 8446 §2.2): every look must be fresh.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// What a connection showed while its packets were processed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// As presented, leaf first.
    pub(crate) chain: Vec<Vec<u8>>,
    /// The peer asked for a client certificate.
    pub(crate) asked: bool,
}

thread_local! {
    /// The configuration is shared by all connections and its callbacks do not say which one they serve; packets are processed without
    /// suspending, so the thread tells.
    static SEEN: RefCell<Seen> = RefCell::default();
}

/// Runs `process`, which must not suspend, and collects into `seen` what the callbacks were shown meanwhile.
pub(crate) fn watch<R>(seen: &mut Seen, process: impl FnOnce() -> R) -> R {
    SEEN.set(std::mem::take(seen));
    let result = process();
    *seen = SEEN.take();
    result
}

/// Answers every request for a client certificate with none.
#[derive(Debug)]
struct Nobody;

impl ResolvesClientCert for Nobody {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        SEEN.with_borrow_mut(|seen| seen.asked = true);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Records any chain; insists on the handshake's signature.
#[derive(Debug)]
struct Witness {
    algorithms: WebPkiSupportedAlgorithms,
    schemes: Vec<SignatureScheme>,
}

impl Witness {
    fn offered(&self, signed: &DigitallySignedStruct) -> Result<(), Error> {
        if self.schemes.contains(&signed.scheme) { Ok(()) } else { Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()) }
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        SEEN.with_borrow_mut(|seen| {
            seen.chain = std::iter::once(leaf).chain(above).map(|certificate| certificate.to_vec()).collect();
        });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.offered(signed)?;
        match verify_tls12_signature(message, leaf, signed, &self.algorithms) {
            Err(error) if unreadable(&error) => {
                let key = public_key(leaf).ok_or(error)?;
                let entity = webpki::RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
                let (_, candidates) = self
                    .algorithms
                    .mapping
                    .iter()
                    .find(|(scheme, _)| *scheme == signed.scheme)
                    .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
                // In TLS 1.2 the scheme does not say which curve the key is on, hence several candidates.
                candidates
                    .iter()
                    .find(|algorithm| entity.verify_signature(**algorithm, message, signed.signature()).is_ok())
                    .map(|_| HandshakeSignatureValid::assertion())
                    .ok_or_else(|| CertificateError::BadSignature.into())
            }
            other => other,
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.offered(signed)?;
        match verify_tls13_signature(message, leaf, signed, &self.algorithms) {
            Err(error) if unreadable(&error) => {
                let key = public_key(leaf).ok_or(error)?;
                verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
            }
            other => other,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

/// Whether the certificate, rather than the signature, was the problem. The strict parser refuses version 1, for instance, which
/// hand-made internal certificates often are; the key in them can be asked all the same.
fn unreadable(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(what) if *what != CertificateError::BadSignature)
}

/// The SubjectPublicKeyInfo of a certificate of any version (RFC 5280 §4.1): skips what stands before it and looks at nothing else.
fn public_key<'a>(certificate: &'a CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'a>> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // serialNumber, signature, issuer, validity, subject
    for _ in 0..5 {
        rest = element(rest)?.2;
    }
    let after = element(rest)?.2;
    let whole = rest.get(..rest.len() - after.len())?;
    (whole.first() == Some(&SEQUENCE)).then(|| SubjectPublicKeyInfoDer::from(whole))
}

/// Splits one DER element off: tag, contents, what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (contents, after) = rest.split_at_checked(length)?;
    Some((tag, contents, after))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_cheap_suite_and_group_stand_first_and_the_rest_is_still_offered() {
        for offer in Offer::ALL {
            let config = config(offer).unwrap();
            let provider = config.crypto_provider();
            assert_eq!(provider.cipher_suites[0].suite(), rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
            assert_eq!(provider.kx_groups[0].name(), rustls::NamedGroup::X25519);
            assert!(provider.cipher_suites.len() >= 6 && provider.kx_groups.len() == 4);
        }
    }

    #[test]
    fn offers_divide_the_schemes() {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let [all, rsa, ecdsa, ed25519] = Offer::ALL.map(|offer| offer.schemes(&algorithms));
        // What is left are post-quantum signatures, which no key type of the inventory asks for.
        let left = |s: &SignatureScheme| !rsa.contains(s) && !ecdsa.contains(s) && !ed25519.contains(s);
        assert!(all.iter().filter(|s| left(s)).all(|s| format!("{s:?}").contains("DSA")), "{all:?}");
        assert!(rsa.iter().all(|s| !ecdsa.contains(s)));
        assert!(rsa.contains(&SignatureScheme::RSA_PSS_SHA256) && !rsa.contains(&SignatureScheme::ECDSA_NISTP256_SHA256));
        assert_eq!(ed25519, [SignatureScheme::ED25519]);
        assert!(ecdsa.contains(&SignatureScheme::ECDSA_NISTP256_SHA256));
        for offer in Offer::ALL {
            assert_eq!(Offer::parse(offer.as_str()), Some(offer));
        }
    }

    #[test]
    fn the_public_key_is_found_and_nonsense_is_not() {
        let key = rcgen::KeyPair::generate().unwrap();
        let der = rcgen::CertificateParams::new(vec!["a.example".into()]).unwrap().self_signed(&key).unwrap().der().clone();
        assert_eq!(public_key(&der).unwrap().as_ref(), rcgen::PublicKeyData::subject_public_key_info(&key));
        for cut in 0..der.len() {
            assert!(public_key(&CertificateDer::from(&der[..cut])).is_none(), "{cut}");
        }
        for nonsense in [&[][..], &[0x30], &[0x30, 0x84, 1, 1, 1, 1], &[0x30, 0x80, 0, 0]] {
            assert!(public_key(&CertificateDer::from(nonsense)).is_none());
        }
    }
}
