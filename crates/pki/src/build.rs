//! Makes certificates: for the store's own API, the demo, and tests of everything that reads them.
//!
//! It issues what it is told, sensible or not. Keys, serial numbers and signatures come from aws-lc's
//! generator; times come from the caller.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::certificate::{Certificate, ParseError};
use crate::der::{self, Writer};
use crate::issue::{
    AUTHORITY_USAGE, Basic, Constraints, DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, Subtree, Tbs, key_identifier, subject, subject_key_identifier,
};
use crate::key::{KeyError, KeyType, PrivateKey};
use crate::sign::{SignError, Signer};
use crate::time::Time;

/// A certificate that issues others, with its key.
#[derive(Debug)]
pub struct Authority {
    certificate: Certificate,
    key: PrivateKey,
    /// Whether serial numbers follow from what is signed.
    repeats: bool,
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
    /// A name that a certificate cannot hold.
    #[error("`{0}` is not ASCII, and a DNS name in a certificate is")]
    Name(String),
    /// A failing signature.
    #[error("the certificate could not be built: {0}")]
    Sign(#[from] SignError),
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
        Self::root(subject, key, not_before, not_after, options, false)
    }

    /// A self-signed root of which everything follows from the arguments, and so does everything that it issues with keys that repeat
    /// ([`PrivateKey::ed25519_of`]). For simulations alone: its serial numbers hold no randomness.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn repeatable(subject: &str, seed: &[u8; 32], not_before: Time, not_after: Time) -> Result<Self, BuildError> {
        Self::root(subject, PrivateKey::ed25519_of(seed)?, not_before, not_after, &AuthorityOptions::default(), true)
    }

    fn root(
        subject: &str,
        key: PrivateKey,
        not_before: Time,
        not_after: Time,
        options: &AuthorityOptions,
        repeats: bool,
    ) -> Result<Self, BuildError> {
        let name = self::subject(Some(subject), None);
        let issuer = Signing { key: &key, name: &name, identifier: None, repeats };
        let certificate = issuer.authority(&name, &key, not_before, not_after, options)?;
        Ok(Self { certificate, key, repeats })
    }

    /// Takes up an authority that was built before and stored.
    ///
    /// # Errors
    /// The key does not fit, or it is no CA.
    pub fn resume(certificate: Certificate, key: PrivateKey) -> Result<Self, BuildError> {
        let refuse = |why| Err(BuildError::NoAuthority(certificate.subject().to_owned(), why));
        if !key.fits(&certificate) {
            return refuse("the key is not its key");
        }
        if !certificate.is_ca() {
            return refuse("it is no CA certificate");
        }
        Ok(Self { certificate, key, repeats: false })
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
        self.intermediate_for(key, subject, not_before, not_after, options)
    }

    /// An authority below this one, for a key that exists.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn intermediate_for(
        &self,
        key: PrivateKey,
        subject: &str,
        not_before: Time,
        not_after: Time,
        options: &AuthorityOptions,
    ) -> Result<Self, BuildError> {
        let certificate =
            self.signing(|issuer| issuer.authority(&self::subject(Some(subject), None), &key, not_before, not_after, options))?;
        Ok(Self { certificate, key, repeats: self.repeats })
    }

    /// Another certificate for another authority's name and key, signed by this one.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn cross_sign(&self, other: &Authority, not_before: Time, not_after: Time) -> Result<Certificate, BuildError> {
        let name = other.certificate.subject_der();
        self.signing(|issuer| issuer.authority(name, &other.key, not_before, not_after, &AuthorityOptions::default()))
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
        let first = names.first().map(AsRef::as_ref).filter(|name| name.chars().count() <= 64);
        let subject = subject(options.common_name.as_deref().or(first), options.organization.as_deref());
        let transports = key.kind().key_type() == "rsa";
        let leaf = Content {
            subject: &subject,
            basic: if options.is_ca { Basic::Authority { path_length: None } } else { Basic::Leaf },
            key_usage: DIGITAL_SIGNATURE | if transports { KEY_ENCIPHERMENT } else { 0 },
            usages: &options.usages,
            names: &general_names(names)?,
            constraints: None,
            more: &[],
        };
        self.signing(|issuer| issuer.sign(key, not_before, not_after, &leaf))
    }

    fn signing<T>(&self, work: impl FnOnce(&Signing<'_>) -> Result<T, BuildError>) -> Result<T, BuildError> {
        let identifier = subject_key_identifier(&self.certificate);
        work(&Signing { key: &self.key, name: self.certificate.subject_der(), identifier: identifier.as_deref(), repeats: self.repeats })
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
    // RFC 5280 §4.1.2.4: an issuer is not empty, and who signs itself is its own.
    let subject = subject(Some("ACME challenge"), None);
    let mut identifier = Writer::with_capacity(64);
    identifier.nest(der::SEQUENCE, |w| {
        w.put(der::OID, &[0x2b, 6, 1, 5, 5, 7, 1, 31]); // id-pe-acmeIdentifier
        w.yes();
        w.nest(der::OCTET_STRING, |w| w.put(der::OCTET_STRING, digest));
    });
    let content = Content {
        subject: &subject,
        basic: Basic::Leaf,
        key_usage: 0,
        usages: &[],
        names: &general_names(&[name])?,
        constraints: None,
        more: &identifier.into_bytes(),
    };
    let issuer = Signing { key: &key, name: &subject, identifier: None, repeats: false };
    let certificate = issuer.sign(&key, not_before, not_after, &content)?;
    Ok((certificate, key))
}

/// GeneralNames as encoded, one after the other: whatever is ASCII, well-formed or not.
fn general_names<N: AsRef<str>>(names: &[N]) -> Result<Vec<u8>, BuildError> {
    let mut encoded = Writer::with_capacity(256);
    for name in names {
        let name = name.as_ref();
        match name.parse() {
            Ok(std::net::IpAddr::V4(address)) => encoded.put(0x87, &address.octets()),
            Ok(std::net::IpAddr::V6(address)) => encoded.put(0x87, &address.octets()),
            Err(_) if name.is_ascii() => encoded.put(0x82, name.as_bytes()),
            Err(_) => return Err(BuildError::Name(crate::text::escape(name))),
        }
    }
    Ok(encoded.into_bytes())
}

/// Whoever signs.
struct Signing<'a> {
    key: &'a PrivateKey,
    name: &'a [u8],
    /// `None` for one that signs itself.
    identifier: Option<&'a [u8]>,
    /// Whether the serial number follows from what is signed.
    repeats: bool,
}

/// What differs from one certificate to the next.
struct Content<'a> {
    subject: &'a [u8],
    basic: Basic,
    key_usage: u16,
    usages: &'a [Usage],
    /// GeneralNames as encoded.
    names: &'a [u8],
    constraints: Option<&'a Constraints>,
    /// Further extensions as encoded.
    more: &'a [u8],
}

impl Signing<'_> {
    fn authority(
        &self,
        name: &[u8],
        key: &PrivateKey,
        not_before: Time,
        not_after: Time,
        options: &AuthorityOptions,
    ) -> Result<Certificate, BuildError> {
        let trees = |names: &[String]| names.iter().cloned().map(Subtree::Dns).collect();
        let constraints = Constraints { permitted: trees(&options.permitted), excluded: trees(&options.excluded) };
        let content = Content {
            subject: name,
            basic: Basic::Authority { path_length: options.path_length },
            key_usage: AUTHORITY_USAGE,
            usages: &options.usages,
            names: &[],
            constraints: Some(&constraints),
            more: &[],
        };
        self.sign(key, not_before, not_after, &content)
    }

    fn sign(&self, key: &PrivateKey, not_before: Time, not_after: Time, content: &Content<'_>) -> Result<Certificate, BuildError> {
        // RFC 5280 §4.1.2.2: positive, at most 20 octets; CA/Browser Forum BR §7.1: at least 64 random bits.
        let mut serial = [0; 16];
        if self.repeats {
            let parts = [self.key.spki_der(), content.subject, key.spki_der(), content.names];
            let dates = [not_before.unix().to_be_bytes(), not_after.unix().to_be_bytes()].concat();
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[&parts.concat(), &dates[..]].concat());
            serial.copy_from_slice(&digest.as_ref()[..16]);
        } else {
            SystemRandom::new().fill(&mut serial).map_err(|_| BuildError::Entropy)?;
        }
        serial[0] = serial[0] & 0x7f | 0x40;
        let signer = Signer::new(self.key)?;
        let usages: Vec<&[u8]> = content.usages.iter().map(|usage| usage.identifier()).collect();
        let own = key_identifier(key.spki_der());
        let tbs = Tbs {
            serial: &serial,
            algorithm: &signer.algorithm(),
            issuer: self.name,
            not_before,
            not_after,
            subject: content.subject,
            spki: key.spki_der(),
            basic: content.basic,
            key_usage: content.key_usage,
            usages: &usages,
            authority_key_identifier: self.identifier.or((self.name == content.subject).then_some(&own)),
            names: content.names,
            constraints: content.constraints,
            policies: &[],
            crl: None,
            more: content.more,
        };
        Ok(Certificate::parse(signer.signed(&tbs.encode())?)?)
    }
}

impl Usage {
    /// The object identifier as encoded.
    const fn identifier(self) -> &'static [u8] {
        match self {
            Self::ServerAuth => &crate::issue::SERVER_AUTH,
            Self::ClientAuth => &crate::issue::CLIENT_AUTH,
            Self::CodeSigning => &[0x2b, 6, 1, 5, 5, 7, 3, 3],
            Self::Any => &[0x55, 0x1d, 37, 0],
        }
    }
}
