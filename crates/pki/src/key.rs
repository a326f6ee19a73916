//! Private keys: held in memory that is wiped, compared with certificates, never shown.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use zeroize::Zeroizing;

use crate::algorithm::{self, Curve, EC_PUBLIC_KEY, KeyKind, MIN_RSA_BITS, RSA};
use crate::certificate::Certificate;
use crate::der::{self, Reader};
use crate::fingerprint::Fingerprint;

/// Largest private key in bytes that is read; RSA-8192 takes 4.7 kB.
pub const MAX_KEY_BYTES: usize = 16 * 1024;

/// A private key in PKCS#8 (RFC 5958). `Debug` prints only its kind; there is no `Clone`.
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
    kind: KeyKind,
    spki: Vec<u8>,
}

/// The kinds of keys that can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// ECDSA on NIST P-256: the choice for TLS today.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
    /// ECDSA on NIST P-521.
    EcdsaP521,
    /// RSA with 2048 bits, for clients without ECDSA. Slow to generate.
    Rsa2048,
    /// RSA with 3072 bits. Slower.
    Rsa3072,
    /// Ed25519; browsers do not accept it.
    Ed25519,
}

impl KeyType {
    /// True if a key of this kind is what this type makes.
    #[must_use]
    pub fn makes(self, kind: &KeyKind) -> bool {
        *kind
            == match self {
                Self::EcdsaP256 => KeyKind::Ecdsa { curve: Curve::P256 },
                Self::EcdsaP384 => KeyKind::Ecdsa { curve: Curve::P384 },
                Self::EcdsaP521 => KeyKind::Ecdsa { curve: Curve::P521 },
                Self::Rsa2048 => KeyKind::Rsa { bits: 2048 },
                Self::Rsa3072 => KeyKind::Rsa { bits: 3072 },
                Self::Ed25519 => KeyKind::Ed25519,
            }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::EcdsaP521 => "ecdsa-p521",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Ed25519 => "ed25519",
        })
    }
}

/// Why bytes are not a usable private key. Never contains any of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// More than [`MAX_KEY_BYTES`].
    #[error("the private key has {0} bytes, more than the limit of {MAX_KEY_BYTES}")]
    TooLarge(usize),
    /// Neither PKCS#8, PKCS#1 nor SEC1.
    #[error("not a private key in PKCS#8, PKCS#1 or SEC1 form")]
    Unrecognised,
    /// A PKCS#8 key under a password.
    #[error(
        "the private key is encrypted; decrypt it first with `openssl pkey -in KEY -out PLAIN`, or import a PKCS#12 file with its password"
    )]
    Encrypted,
    /// The cryptographic library could not make a key.
    #[error("the generator of the cryptographic library failed")]
    Generation,
    /// A kind of key that cannot be used for TLS here.
    #[error("private keys of kind {0} are not supported; use RSA (2048 bits or more), ECDSA P-256, P-384, P-521, or Ed25519")]
    Unsupported(String),
    /// The numbers in it contradict each other, or it is cut off.
    #[error("the {0} private key is damaged: its parts do not fit together")]
    Damaged(KeyKind),
}

impl PrivateKey {
    /// Reads PKCS#8, PKCS#1 (RSA) or SEC1 (ECDSA) in DER and checks that the key is consistent.
    ///
    /// # Errors
    /// Encrypted, unsupported, weak (RSA below 2048 bits) and damaged keys.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLarge(der.len()));
        }
        match Form::of(der).ok_or(KeyError::Unrecognised)? {
            Form::Encrypted => Err(KeyError::Encrypted),
            Form::Pkcs8 { algorithm, key } => Self::from_parts(algorithm, key, Zeroizing::new(der.to_vec())),
            Form::Pkcs1 => {
                let algorithm = [der::element(der::OID, RSA), vec![0x05, 0]].concat();
                Self::from_parts(&algorithm, der, wrap(&algorithm, der))
            }
            Form::Sec1 { curve } => {
                let algorithm = [der::element(der::OID, EC_PUBLIC_KEY), curve.to_vec()].concat();
                Self::from_parts(&algorithm, der, wrap(&algorithm, der))
            }
        }
    }

    /// A fresh key from the cryptographic library's generator.
    ///
    /// # Errors
    /// The generator fails.
    pub fn generate(kind: KeyType) -> Result<Self, KeyError> {
        let failed = |_| KeyError::Generation;
        let ecdsa = |algorithm| {
            let document = EcdsaKeyPair::generate(algorithm).map_err(failed)?.to_pkcs8v1().map_err(failed)?;
            Ok(Zeroizing::new(document.as_ref().to_vec()))
        };
        let rsa = |size| {
            let pair = rsa::KeyPair::generate(size).map_err(failed)?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
            Ok(Zeroizing::new(der.as_ref().to_vec()))
        };
        let pkcs8 = match kind {
            KeyType::EcdsaP256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyType::EcdsaP384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyType::EcdsaP521 => ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING),
            KeyType::Rsa2048 => rsa(rsa::KeySize::Rsa2048),
            KeyType::Rsa3072 => rsa(rsa::KeySize::Rsa3072),
            KeyType::Ed25519 => {
                let pair = Ed25519KeyPair::generate().map_err(failed)?;
                Ok(Zeroizing::new(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec()))
            }
        }?;
        Self::from_der(&pkcs8)
    }

    /// The Ed25519 key of a seed (RFC 8032 §5.1.5): the same seed is the same key. For simulations, which must repeat; a seed that
    /// anybody can guess is a key that anybody has.
    ///
    /// # Errors
    /// The cryptographic library refuses the seed.
    pub fn ed25519_of(seed: &[u8; 32]) -> Result<Self, KeyError> {
        // RFC 8410 §7: PKCS#8 version 1 without the public half.
        const PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let pkcs8 = Zeroizing::new([PREFIX.as_slice(), seed].concat());
        Self::from_der(&pkcs8)
    }

    fn from_parts(algorithm: &[u8], key: &[u8], pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let mut parameters = Reader::new(algorithm);
        let oid = parameters.tagged(der::OID).ok_or(KeyError::Unrecognised)?.value;
        let spki = match oid {
            RSA => rsa_public(key)?,
            EC_PUBLIC_KEY => ecdsa_public(parameters, &pkcs8)?,
            [0x2b, 0x65, 0x70] => {
                let damaged = |_| KeyError::Damaged(KeyKind::Ed25519);
                // OpenSSL writes version 1, without the public half; then there is nothing to compare.
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).map_err(damaged)?;
                public(pair.public_key()).ok_or(KeyError::Damaged(KeyKind::Ed25519))?
            }
            other => return Err(KeyError::Unsupported(algorithm::dotted(other))),
        };
        let kind = KeyKind::from_spki(&spki).ok_or(KeyError::Unrecognised)?;
        Ok(Self { pkcs8, kind, spki })
    }

    /// The kind of key.
    #[must_use]
    pub fn kind(&self) -> &KeyKind {
        &self.kind
    }

    /// SHA-256 of the SubjectPublicKeyInfo of its public half.
    #[must_use]
    pub fn spki_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.spki)
    }

    /// The SubjectPublicKeyInfo of its public half, DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The secret as a PEM block `PRIVATE KEY`, as servers read it. The same care as [`PrivateKey::expose_pkcs8`].
    #[must_use]
    pub fn expose_pem(&self) -> Zeroizing<String> {
        crate::pem::encode("PRIVATE KEY", &self.pkcs8)
    }

    /// True if the certificate is for this key's public half.
    #[must_use]
    pub fn fits(&self, certificate: &Certificate) -> bool {
        // Comparing the key itself, not the whole SubjectPublicKeyInfo: RFC 4055 §1.2 lets RSA
        // parameters be NULL or, in old certificates, absent.
        let bits = |spki| algorithm::split_spki(spki).map(|(_, key)| key);
        let (ours, theirs) = (bits(self.spki.as_slice()), bits(certificate.spki_der()));
        self.kind == *certificate.key() && ours.is_some() && ours == theirs
    }

    /// The secret itself, PKCS#8 DER. Whoever calls this is where secrets leave: seal, sign, or write to a node.
    #[must_use]
    pub fn expose_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.kind)
    }
}

/// The forms in which private keys come, told apart by their first elements.
enum Form<'a> {
    /// RFC 5958: version, AlgorithmIdentifier, OCTET STRING.
    Pkcs8 { algorithm: &'a [u8], key: &'a [u8] },
    /// RFC 8017 appendix A.1.2: version 0, modulus, …
    Pkcs1,
    /// RFC 5915 §3: version 1, OCTET STRING, `[0]` curve. `curve` is the OID with its tag.
    Sec1 { curve: &'a [u8] },
    /// RFC 5958 §3: AlgorithmIdentifier, OCTET STRING.
    Encrypted,
}

impl<'a> Form<'a> {
    fn of(der: &'a [u8]) -> Option<Self> {
        let mut outer = Reader::new(der);
        let mut key = outer.inside(der::SEQUENCE)?;
        if !outer.is_empty() {
            return None;
        }
        if key.tagged(der::SEQUENCE).is_some() {
            return key.tagged(der::OCTET_STRING).map(|_| Self::Encrypted);
        }
        let version = key.unsigned()?;
        if let Some(algorithm) = key.tagged(der::SEQUENCE) {
            let key = key.tagged(der::OCTET_STRING)?;
            return Some(Self::Pkcs8 { algorithm: algorithm.value, key: key.value });
        }
        if version == 1 && key.tagged(der::OCTET_STRING).is_some() {
            let curve = key.inside(der::CONTEXT_0)?.tagged(der::OID)?.raw;
            return Some(Self::Sec1 { curve });
        }
        (version == 0 && key.tagged(der::INTEGER).is_some()).then_some(Self::Pkcs1)
    }
}

/// True for bytes that look like a private key of any form.
pub(crate) fn looks_like_key(der: &[u8]) -> bool {
    Form::of(der).is_some()
}

fn wrap(algorithm: &[u8], key: &[u8]) -> Zeroizing<Vec<u8>> {
    let octets = Zeroizing::new(der::element(der::OCTET_STRING, key));
    let head = [&[der::INTEGER, 1, 0], der::element(der::SEQUENCE, algorithm).as_slice()].concat();
    let content = Zeroizing::new([head.as_slice(), octets.as_slice()].concat());
    Zeroizing::new(der::element(der::SEQUENCE, &content))
}

fn rsa_public(pkcs1: &[u8]) -> Result<Vec<u8>, KeyError> {
    let modulus = (|| {
        let mut key = Reader::new(pkcs1).inside(der::SEQUENCE)?;
        key.unsigned()?;
        key.tagged(der::INTEGER)
    })();
    let bits = modulus.map_or(0, |modulus| der::bit_length(modulus.value));
    let bits = u32::try_from(bits).unwrap_or(u32::MAX);
    if bits < MIN_RSA_BITS {
        return Err(KeyError::Unsupported(format!("RSA-{bits}")));
    }
    let damaged = KeyError::Damaged(KeyKind::Rsa { bits });
    let pair = rsa::KeyPair::from_der(pkcs1).map_err(|_| damaged.clone())?;
    public(pair.public_key()).ok_or(damaged)
}

fn ecdsa_public(mut parameters: Reader<'_>, pkcs8: &[u8]) -> Result<Vec<u8>, KeyError> {
    let curve = parameters.tagged(der::OID).ok_or_else(|| KeyError::Unsupported("ECDSA without a named curve".into()))?;
    let (signing, curve) = match curve.value {
        algorithm::P256 => (&ECDSA_P256_SHA256_ASN1_SIGNING, algorithm::Curve::P256),
        algorithm::P384 => (&ECDSA_P384_SHA384_ASN1_SIGNING, algorithm::Curve::P384),
        algorithm::P521 => (&ECDSA_P521_SHA512_ASN1_SIGNING, algorithm::Curve::P521),
        other => return Err(KeyError::Unsupported(format!("ECDSA on curve {}", algorithm::dotted(other)))),
    };
    let damaged = KeyError::Damaged(KeyKind::Ecdsa { curve });
    let pair = EcdsaKeyPair::from_private_key_der(signing, pkcs8).map_err(|_| damaged.clone())?;
    public(pair.public_key()).ok_or(damaged)
}

fn public(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Option<Vec<u8>> {
    key.as_der().ok().map(|der| der.as_ref().to_vec())
}
