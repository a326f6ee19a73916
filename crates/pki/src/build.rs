//! Makes certificates: for the store's own API, the demo, and tests of everything that reads them.
//!
//! It issues what it is told, sensible or not. Keys, serial numbers and signatures come from aws-lc's
//! generator; times come from the caller.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyUsagePurpose, NameConstraints, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};

use crate::algorithm::{Curve, KeyKind, split_spki};
use crate::certificate::{Certificate, ParseError};
use crate::der::{self, Reader};
use crate::key::{KeyError, KeyType, PrivateKey};
use crate::time::Time;

/// A certificate that issues others, with its key.
#[derive(Debug)]
pub struct Authority {
    certificate: Certificate,
    subject: DistinguishedName,
    key: PrivateKey,
}

/// What may be said about an authority beyond name and dates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityOptions {
    /// The kind of its key.
    pub key_type: KeyType,
    /// How many intermediates may follow below.
    pub path_length: Option<u8>,
    /// DNS subtrees outside of which it may not certify; all are permitted if empty.
    pub permitted: Vec<String>,
    /// DNS subtrees that it may not certify.
    pub excluded: Vec<String>,
    /// Purposes that it is limited to; all if empty.
    pub usages: Vec<Usage>,
}

impl Default for AuthorityOptions {
    fn default() -> Self {
        Self { key_type: KeyType::EcdsaP256, path_length: None, permitted: vec![], excluded: vec![], usages: vec![] }
    }
}

/// What may be said about a leaf beyond names, key and dates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafOptions {
    /// The common name; by default the first name, if it is short enough (64 characters, X.520).
    pub common_name: Option<String>,
    /// The organization.
    pub organization: Option<String>,
    /// Extended key usages; none at all if empty.
    pub usages: Vec<Usage>,
    /// Says of itself that it may issue certificates.
    pub is_ca: bool,
}

impl Default for LeafOptions {
    fn default() -> Self {
        Self { common_name: None, organization: None, usages: vec![Usage::ServerAuth, Usage::ClientAuth], is_ca: false }
    }
}

/// An extended key usage (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// TLS servers.
    ServerAuth,
    /// TLS clients.
    ClientAuth,
    /// Signing of programs.
    CodeSigning,
    /// Everything.
    Any,
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A name or subject that cannot be encoded, or a failing signature.
    #[error("the certificate could not be built: {0}")]
    Build(#[from] rcgen::Error),
    /// No randomness, or a key that cannot be generated.
    #[error("the generator of the cryptographic library failed")]
    Entropy,
    /// A key that cannot be used.
    #[error("the key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// The result does not parse: a date or size that X.509 cannot express.
    #[error("what was built is no certificate that we read: {0}")]
    Parse(#[from] ParseError),
    /// A certificate and key that do not make an authority.
    #[error("{0} cannot be used as an authority: {1}")]
    NoAuthority(String, &'static str),
}

impl Authority {
    /// A self-signed root with an ECDSA P-256 key. `subject` becomes its common name.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn new(subject: &str, not_before: Time, not_after: Time) -> Result<Self, BuildError> {
        Self::new_with(subject, not_before, not_after, &AuthorityOptions::default())
    }

    /// A self-signed root.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn new_with(subject: &str, not_before: Time, not_after: Time, options: &AuthorityOptions) -> Result<Self, BuildError> {
        let key = PrivateKey::generate(options.key_type).map_err(|_| BuildError::Entropy)?;
        let params = authority_params(common_name(subject), not_before, not_after, options)?;
        let certificate = sign(&params, &key, &key, params.distinguished_name.clone())?;
        Ok(Self { certificate, subject: params.distinguished_name, key })
    }

    /// Takes up an authority that was built here before and stored.
    ///
    /// # Errors
    /// The key does not fit, it is no CA, or its subject is more than a common name.
    pub fn resume(certificate: Certificate, key: PrivateKey) -> Result<Self, BuildError> {
        let refuse = |why| Err(BuildError::NoAuthority(certificate.subject().to_owned(), why));
        if !key.fits(&certificate) {
            return refuse("the key is not its key");
        }
        if !certificate.is_ca() {
            return refuse("it is no CA certificate");
        }
        let Some(subject) = single_common_name(certificate.subject_der()) else {
            return refuse("its subject is not one common name in UTF-8");
        };
        let subject = common_name(subject);
        Ok(Self { subject, key, certificate })
    }

    /// An authority below this one, with an ECDSA P-256 key.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn intermediate(&self, subject: &str, not_before: Time, not_after: Time) -> Result<Self, BuildError> {
        self.intermediate_with(subject, not_before, not_after, &AuthorityOptions::default())
    }

    /// An authority below this one.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn intermediate_with(
        &self,
        subject: &str,
        not_before: Time,
        not_after: Time,
        options: &AuthorityOptions,
    ) -> Result<Self, BuildError> {
        let key = PrivateKey::generate(options.key_type).map_err(|_| BuildError::Entropy)?;
        let params = authority_params(common_name(subject), not_before, not_after, options)?;
        let certificate = sign(&params, &key, &self.key, self.subject.clone())?;
        Ok(Self { certificate, subject: params.distinguished_name, key })
    }

    /// Another certificate for another authority's name and key, signed by this one.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn cross_sign(&self, other: &Authority, not_before: Time, not_after: Time) -> Result<Certificate, BuildError> {
        let params = authority_params(other.subject.clone(), not_before, not_after, &AuthorityOptions::default())?;
        sign(&params, &other.key, &self.key, self.subject.clone())
    }

    /// A leaf with a fresh key, for servers and clients. IP addresses among `names` are recognised.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn leaf<N: AsRef<str>>(
        &self,
        names: &[N],
        key_type: KeyType,
        not_before: Time,
        not_after: Time,
    ) -> Result<(Certificate, PrivateKey), BuildError> {
        let key = PrivateKey::generate(key_type).map_err(|_| BuildError::Entropy)?;
        let certificate = self.issue(&key, names, not_before, not_after, &LeafOptions::default())?;
        Ok((certificate, key))
    }

    /// A leaf for a key that exists.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn issue<N: AsRef<str>>(
        &self,
        key: &PrivateKey,
        names: &[N],
        not_before: Time,
        not_after: Time,
        options: &LeafOptions,
    ) -> Result<Certificate, BuildError> {
        let mut params = params(not_before, not_after)?;
        for name in names {
            let name = name.as_ref();
            params.subject_alt_names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.try_into()?),
            });
        }
        params.distinguished_name = DistinguishedName::new();
        if let Some(organization) = &options.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        let first = names.first().map(AsRef::as_ref).filter(|name| name.chars().count() <= 64);
        if let Some(name) = options.common_name.as_deref().or(first) {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if key.kind().key_type() == "rsa" {
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        params.is_ca = if options.is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        params.extended_key_usages = options.usages.iter().copied().map(purpose).collect();
        sign(&params, key, &self.key, self.subject.clone())
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its private key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }
}

/// The certificate that proves control of a name over TLS (RFC 8737 §3), with a key of its own: self-signed, for that name alone,
/// with `digest`, the SHA-256 of the key authorization, in a critical extension. Valid for nothing else.
///
/// # Errors
/// See [`BuildError`].
pub fn acme_challenge(name: &str, digest: &[u8; 32], not_before: Time, not_after: Time) -> Result<(Certificate, PrivateKey), BuildError> {
    let key = PrivateKey::generate(KeyType::EcdsaP256).map_err(|_| BuildError::Entropy)?;
    let mut params = params(not_before, not_after)?;
    // RFC 5280 §4.1.2.4: an issuer is not empty, and who signs itself is its own.
    params.distinguished_name = common_name("ACME challenge");
    params.subject_alt_names.push(match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into()?),
    });
    params.custom_extensions.push(CustomExtension::new_acme_identifier(digest));
    let certificate = sign(&params, &key, &key, params.distinguished_name.clone())?;
    Ok((certificate, key))
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

/// The text of a subject that is exactly one UTF-8 common name: what [`common_name`] encodes.
fn single_common_name(subject_der: &[u8]) -> Option<&str> {
    const SET: u8 = 0x31;
    const UTF8_STRING: u8 = 0x0c;
    let mut sequence = Reader::new(subject_der).inside(der::SEQUENCE)?;
    let mut set = sequence.inside(SET)?;
    let mut attribute = set.inside(der::SEQUENCE)?;
    let is_cn = attribute.tagged(der::OID)?.value == [0x55, 4, 3];
    let text = std::str::from_utf8(attribute.tagged(UTF8_STRING)?.value).ok()?;
    (is_cn && sequence.is_empty() && set.is_empty() && attribute.is_empty()).then_some(text)
}

fn params(not_before: Time, not_after: Time) -> Result<CertificateParams, BuildError> {
    let mut params = CertificateParams::default();
    // The type of these instants has no name here, but their calendar starts where ours does.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let moment = |time: Time| {
        let distance = std::time::Duration::from_secs(time.unix().unsigned_abs());
        if time < Time::EPOCH { epoch - distance } else { epoch + distance }
    };
    params.not_before = moment(not_before);
    params.not_after = moment(not_after);
    params.use_authority_key_identifier_extension = true;
    // RFC 5280 §4.1.2.2: positive, at most 20 octets; CA/Browser Forum BR §7.1: at least 64 random bits.
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| BuildError::Entropy)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn authority_params(
    subject: DistinguishedName,
    not_before: Time,
    not_after: Time,
    options: &AuthorityOptions,
) -> Result<CertificateParams, BuildError> {
    let mut params = params(not_before, not_after)?;
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.is_ca = IsCa::Ca(options.path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.extended_key_usages = options.usages.iter().copied().map(purpose).collect();
    if !options.permitted.is_empty() || !options.excluded.is_empty() {
        let trees = |names: &[String]| names.iter().cloned().map(GeneralSubtree::DnsName).collect();
        params.name_constraints =
            Some(NameConstraints { permitted_subtrees: trees(&options.permitted), excluded_subtrees: trees(&options.excluded) });
    }
    Ok(params)
}

fn purpose(usage: Usage) -> ExtendedKeyUsagePurpose {
    match usage {
        Usage::ServerAuth => ExtendedKeyUsagePurpose::ServerAuth,
        Usage::ClientAuth => ExtendedKeyUsagePurpose::ClientAuth,
        Usage::CodeSigning => ExtendedKeyUsagePurpose::CodeSigning,
        Usage::Any => ExtendedKeyUsagePurpose::Any,
    }
}

fn sign(
    params: &CertificateParams,
    subject: &PrivateKey,
    issuer: &PrivateKey,
    issuer_name: DistinguishedName,
) -> Result<Certificate, BuildError> {
    let mut issuer_params = CertificateParams::default();
    issuer_params.distinguished_name = issuer_name;
    issuer_params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let issuer = Issuer::new(issuer_params, Signer(issuer));
    let built = params.signed_by(&Signer(subject), &issuer)?;
    Ok(Certificate::parse(built.der().as_ref())?)
}

/// Lets the builder sign without ever holding a key.
struct Signer<'a>(&'a PrivateKey);

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        split_spki(self.0.spki_der()).map_or(&[], |(_, key)| key)
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.0.kind() {
            KeyKind::Rsa { .. } => &rcgen::PKCS_RSA_SHA256,
            KeyKind::Ecdsa { curve: Curve::P384 } => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyKind::Ecdsa { curve: Curve::P521 } => &rcgen::PKCS_ECDSA_P521_SHA512,
            KeyKind::Ecdsa { .. } => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyKind::Ed25519 | KeyKind::Other(_) => &rcgen::PKCS_ED25519,
        }
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let failed = |_| rcgen::Error::RemoteKeyError;
        let rejected = |_| rcgen::Error::RemoteKeyError;
        let pkcs8 = self.0.expose_pkcs8();
        let random = SystemRandom::new();
        let ecdsa = |algorithm| {
            let pair = EcdsaKeyPair::from_private_key_der(algorithm, pkcs8).map_err(rejected)?;
            Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec())
        };
        match self.0.kind() {
            KeyKind::Rsa { .. } => {
                let pair = rsa::KeyPair::from_pkcs8(pkcs8).map_err(rejected)?;
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut out).map_err(failed)?;
                Ok(out)
            }
            KeyKind::Ecdsa { curve: Curve::P384 } => ecdsa(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyKind::Ecdsa { curve: Curve::P521 } => ecdsa(&signature::ECDSA_P521_SHA512_ASN1_SIGNING),
            KeyKind::Ecdsa { .. } => ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyKind::Ed25519 | KeyKind::Other(_) => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(rejected)?;
                Ok(pair.sign(message).as_ref().to_vec())
            }
        }
    }
}
