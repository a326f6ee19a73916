//! Kinds of keys, signature algorithms and key usages, with the names that their standards give them.

use std::fmt;

use crate::certificate::SignatureProblem;
use crate::der::{self, Reader};

/// Smallest RSA key in bits that is not weak (CA/Browser Forum BR §6.1.5; NIST SP 800-131A).
pub(crate) const MIN_RSA_BITS: u32 = 2048;

/// What kind of public key this is, and how strong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// RSA, with the length of the modulus.
    Rsa {
        /// Bits of the modulus.
        bits: u32,
    },
    /// ECDSA on a named curve.
    Ecdsa {
        /// The curve.
        curve: Curve,
    },
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// Anything else, by name or dotted object identifier.
    Other(String),
}

/// A named elliptic curve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Curve {
    /// NIST P-256, secp256r1.
    P256,
    /// NIST P-384, secp384r1.
    P384,
    /// NIST P-521, secp521r1.
    P521,
    /// Another curve, by name or dotted object identifier; `weak` if shorter than 256 bits.
    Other {
        /// Its name.
        name: String,
        /// Shorter than 256 bits.
        weak: bool,
    },
}

pub(crate) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
pub(crate) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
pub(crate) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
pub(crate) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
pub(crate) const P384: &[u8] = &[0x2b, 0x81, 4, 0, 34];
pub(crate) const P521: &[u8] = &[0x2b, 0x81, 4, 0, 35];

impl KeyKind {
    /// Reads the kind from a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7); `None` if it is not one.
    pub(crate) fn from_spki(spki: &[u8]) -> Option<Self> {
        let (algorithm, key) = split_spki(spki)?;
        let mut algorithm = Reader::new(algorithm);
        let oid = algorithm.tagged(der::OID)?.value;
        Some(match oid {
            RSA | RSA_PSS => {
                let mut key = Reader::new(key).inside(der::SEQUENCE)?;
                let bits = der::bit_length(key.tagged(der::INTEGER)?.value);
                Self::Rsa { bits: u32::try_from(bits).ok()? }
            }
            EC_PUBLIC_KEY => Self::Ecdsa { curve: Curve::from_parameters(algorithm) },
            ED25519 => Self::Ed25519,
            [0x2b, 0x65, 0x71] => Self::Other("Ed448".into()),
            [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 17] => Self::Other("ML-DSA-44".into()),
            [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 18] => Self::Other("ML-DSA-65".into()),
            [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 19] => Self::Other("ML-DSA-87".into()),
            other => Self::Other(dotted(other)),
        })
    }

    /// "rsa", "ecdsa", "ed25519" or "other": what distinguishes the instances of a dual setup.
    #[must_use]
    pub const fn key_type(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "rsa",
            Self::Ecdsa { .. } => "ecdsa",
            Self::Ed25519 => "ed25519",
            Self::Other(_) => "other",
        }
    }

    /// True for RSA below 2048 bits and curves below 256.
    #[must_use]
    pub const fn is_weak(&self) -> bool {
        match self {
            Self::Rsa { bits } => *bits < MIN_RSA_BITS,
            Self::Ecdsa { curve: Curve::Other { weak, .. } } => *weak,
            _ => false,
        }
    }
}

impl Curve {
    fn from_parameters(mut parameters: Reader<'_>) -> Self {
        let other = |name: &str, weak| Self::Other { name: name.into(), weak };
        let Some(oid) = parameters.tagged(der::OID) else {
            // RFC 5480 §2.1.1: only named curves; explicit parameters have hidden attacks.
            return other("explicit parameters", true);
        };
        match oid.value {
            P256 => Self::P256,
            P384 => Self::P384,
            P521 => Self::P521,
            [0x2b, 0x81, 4, 0, 33] => other("P224", true),
            [0x2b, 0x81, 4, 0, 10] => other("secp256k1", false),
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 1] => other("P192", true),
            [0x2b, 0x24, 3, 3, 2, 8, 1, 1, 7] => other("brainpoolP256r1", false),
            [0x2b, 0x24, 3, 3, 2, 8, 1, 1, 11] => other("brainpoolP384r1", false),
            [0x2b, 0x24, 3, 3, 2, 8, 1, 1, 13] => other("brainpoolP512r1", false),
            // The SEC and X9.62 arcs hold the short and binary curves of the past.
            oid => other(&dotted(oid), oid.starts_with(&[0x2b, 0x81, 4, 0]) || oid.starts_with(&P256[..6])),
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA-{bits}"),
            Self::Ecdsa { curve } => write!(f, "ECDSA-{curve}"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P256",
            Self::P384 => "P384",
            Self::P521 => "P521",
            Self::Other { name, .. } => name,
        })
    }
}

/// The contents of the AlgorithmIdentifier and of the public key's bits.
pub(crate) fn split_spki(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut whole = Reader::new(spki).inside(der::SEQUENCE)?;
    let algorithm = whole.tagged(der::SEQUENCE)?.value;
    // A BIT STRING starts with its number of unused bits, which is 0 for keys.
    let (unused, key) = whole.tagged(der::BIT_STRING)?.value.split_first()?;
    (*unused == 0 && whole.is_empty()).then_some((algorithm, key))
}

/// Verifies a signature over `message`. `signed_with` is the content of its AlgorithmIdentifier.
pub(crate) fn verify_signed(spki: &[u8], message: &[u8], signed_with: &[u8], signature: &[u8]) -> Result<(), SignatureProblem> {
    let (algorithm, key) = split_spki(spki).ok_or(SignatureProblem::Unsupported)?;
    let mut problem = SignatureProblem::Unsupported;
    for candidate in webpki::ALL_VERIFICATION_ALGS {
        if candidate.signature_alg_id().as_ref() == signed_with && candidate.public_key_alg_id().as_ref() == algorithm {
            if candidate.verify_signature(key, message, signature).is_ok() {
                return Ok(());
            }
            problem = SignatureProblem::Invalid;
        }
    }
    Err(problem)
}

/// The name of a signature algorithm, and whether its digest can be forged (MD2 to SHA-1).
///
/// `algorithm` is the content of an AlgorithmIdentifier (RFC 5280 §4.1.1.2).
pub(crate) fn signature_algorithm(algorithm: &[u8]) -> Option<(std::borrow::Cow<'static, str>, bool)> {
    let mut reader = Reader::new(algorithm);
    let oid = reader.tagged(der::OID)?.value;
    let (name, weak) = match oid {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last] => match last {
            2 => ("md2WithRSAEncryption", true),
            3 => ("md4WithRSAEncryption", true),
            4 => ("md5WithRSAEncryption", true),
            5 => ("sha1WithRSAEncryption", true),
            // RFC 4055 §3.1: without parameters the digest is SHA-1.
            10 => ("RSASSA-PSS", !names_sha2(reader)),
            11 => ("sha256WithRSAEncryption", false),
            12 => ("sha384WithRSAEncryption", false),
            13 => ("sha512WithRSAEncryption", false),
            14 => ("sha224WithRSAEncryption", false),
            _ => return Some((dotted(oid).into(), false)),
        },
        [0x2b, 0x0e, 3, 2, 29] => ("sha1WithRSASignature", true),
        [0x2a, 0x86, 0x48, 0xce, 0x38, 4, 3] => ("dsa-with-SHA1", true),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1] => ("ecdsa-with-SHA1", true),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1] => ("ecdsa-with-SHA224", false),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => ("ecdsa-with-SHA256", false),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => ("ecdsa-with-SHA384", false),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => ("ecdsa-with-SHA512", false),
        ED25519 => ("Ed25519", false),
        [0x2b, 0x65, 0x71] => ("Ed448", false),
        _ => return Some((dotted(oid).into(), false)),
    };
    Some((name.into(), weak))
}

/// True if RSASSA-PSS parameters name SHA-256, SHA-384 or SHA-512 as their digest.
fn names_sha2(mut parameters: Reader<'_>) -> bool {
    let digest = (|| {
        let mut parameters = parameters.inside(der::SEQUENCE)?;
        let mut hash = parameters.inside(der::CONTEXT_0)?.inside(der::SEQUENCE)?;
        Some(hash.tagged(der::OID)?.value)
    })();
    matches!(digest, Some([0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1..=3]))
}

/// An object identifier in dotted form; identifiers that are broken or absurdly long end in "…".
pub(crate) fn dotted(oid: &[u8]) -> String {
    const MAX_ARCS: usize = 32;
    let mut out = String::new();
    let mut arc: u64 = 0;
    let mut arcs = 0;
    for (index, byte) in oid.iter().enumerate() {
        if arc > (u64::MAX >> 7) || arcs >= MAX_ARCS {
            out.push('…');
            return out;
        }
        arc = (arc << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            if index + 1 == oid.len() {
                out.push('…');
            }
            continue;
        }
        if arcs == 0 {
            let first = (arc / 40).min(2);
            out = format!("{first}.{}", arc - first * 40);
        } else {
            out.push('.');
            out.push_str(&arc.to_string());
        }
        arcs += 1;
        arc = 0;
    }
    out
}

/// What a key may be used for (RFC 5280 §4.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyUsage(u16);

const USAGES: [&str; 9] = [
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
];

impl KeyUsage {
    /// Bit 0 is the lowest: digitalSignature.
    pub(crate) const fn from_flags(flags: u16) -> Self {
        Self(flags)
    }

    /// True if the usage with this name from RFC 5280 is allowed.
    #[must_use]
    pub fn allows(self, name: &str) -> bool {
        self.names().any(|n| n == name)
    }

    /// The names of the allowed usages, in the order of RFC 5280.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        USAGES.into_iter().enumerate().filter_map(move |(bit, name)| (self.0 >> bit & 1 == 1).then_some(name))
    }
}

impl fmt::Display for KeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// The name of an extended key usage (RFC 5280 §4.2.1.12), or its dotted form.
pub(crate) fn extended_key_usage(oid: &[u8]) -> String {
    let name = match oid {
        [0x55, 0x1d, 0x25, 0] => "anyExtendedKeyUsage",
        [0x2b, 6, 1, 5, 5, 7, 3, last] => match last {
            1 => "serverAuth",
            2 => "clientAuth",
            3 => "codeSigning",
            4 => "emailProtection",
            8 => "timeStamping",
            9 => "OCSPSigning",
            _ => return dotted(oid),
        },
        _ => return dotted(oid),
    };
    name.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn dotted_form() {
        let check = |oid: &[u8], expected: &str| assert_eq!(dotted(oid), expected);
        check(RSA, "1.2.840.113549.1.1.1");
        check(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1], "2.16.840.1.101.3.4.2.1");
        check(&[0x88, 0x37, 3], "2.999.3");
        check(&[], "");
        check(&[0x2a, 0x80], "1.2…");
        assert!(dotted(&[0xff; 100]).ends_with('…'));
        assert!(dotted(&[1; 1000]).len() < 100);
    }

    #[test]
    fn weak_signatures() {
        let check = |oid: &[u8], name: &str, weak: bool| {
            let (found, is_weak) = signature_algorithm(&der::element(der::OID, oid)).unwrap();
            assert_eq!((found.as_ref(), is_weak), (name, weak));
        };
        check(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], "sha1WithRSAEncryption", true);
        check(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11], "sha256WithRSAEncryption", false);
        check(RSA_PSS, "RSASSA-PSS", true);
        check(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1], "ecdsa-with-SHA1", true);
        check(&[0x2a, 3, 4], "1.2.3.4", false);
    }

    #[test]
    fn usages_by_name() {
        let usage = KeyUsage::from_flags(0b101);
        assert_eq!(usage.to_string(), "digitalSignature, keyEncipherment");
        assert!(usage.allows("keyEncipherment"));
        assert!(!usage.allows("keyCertSign"));
        assert_eq!(extended_key_usage(&[0x2b, 6, 1, 5, 5, 7, 3, 1]), "serverAuth");
        assert_eq!(extended_key_usage(&[0x2a, 3]), "1.2.3");
    }
}
