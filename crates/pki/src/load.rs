//! Files as people have them: PEM with anything around it, DER, PKCS#12.

use crate::certificate::{Certificate, ParseError};
use crate::der::{self, Reader};
use crate::key::{self, KeyError, PrivateKey};
use crate::pem::{self, PemError};
use crate::pkcs12;

/// What one upload may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole file.
    pub bytes: usize,
    /// Bytes of a PKCS#12 file, each of which may be turned over several times.
    pub pkcs12_bytes: usize,
    /// Certificates, and entries of any kind in a PKCS#12 file.
    pub certificates: usize,
    /// Private keys.
    pub keys: usize,
    /// Iterations of key derivation that one PKCS#12 file may ask for in total. OpenSSL writes
    /// 2,048 for each of three, Windows 2,000, careful people 600,000.
    pub pkcs12_iterations: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 16 * 1024 * 1024, pkcs12_bytes: 1024 * 1024, certificates: 200, keys: 16, pkcs12_iterations: 2_000_000 }
    }
}

/// What a file held, in its order.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Its certificates.
    pub certificates: Vec<Certificate>,
    /// Its private keys.
    pub keys: Vec<PrivateKey>,
}

/// Why a file could not be read. Never contains any of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The file is larger than its limit.
    #[error("the file has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More certificates, keys or entries than the limit.
    #[error("the file holds more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Broken PEM.
    #[error("broken PEM: {0}")]
    Pem(#[from] PemError),
    /// A certificate in it cannot be read.
    #[error("{place}: {problem}")]
    Certificate {
        /// Where in the file.
        place: String,
        /// What is wrong.
        problem: ParseError,
    },
    /// A private key in it cannot be read.
    #[error("{place}: {problem}")]
    Key {
        /// Where in the file.
        place: String,
        /// What is wrong.
        problem: KeyError,
    },
    /// PEM blocks, but none that is of use here.
    #[error("the file holds neither certificate nor private key, only: {0}; {1}")]
    NothingUseful(String, &'static str),
    /// Neither PEM nor any known DER.
    #[error("neither PEM, a DER certificate, a DER private key nor PKCS#12 (the first bytes tell nothing known)")]
    Unrecognised,
    /// PKCS#12 whose outside is broken, or which uses encodings or protections that are not read.
    #[error(
        "the PKCS#12 file is damaged or uses BER, scrypt or a signature; write it anew with `openssl pkcs12 -in FILE -nodes | openssl pkcs12 -export -out NEW`"
    )]
    BadPkcs12,
    /// PKCS#12 asks for absurd work.
    #[error("the PKCS#12 file asks for {iterations} iterations of key derivation, more than the limit of {limit}")]
    TooManyIterations {
        /// What it asks for.
        iterations: u64,
        /// The limit.
        limit: u64,
    },
    /// PKCS#12 without a password.
    #[error("the PKCS#12 file needs its password (give an empty one if it has none)")]
    PasswordNeeded,
    /// PKCS#12 that did not open. Deliberately does not say why.
    #[error("the PKCS#12 file does not open with this password, or is damaged")]
    WrongPassword,
}

/// Reads certificates and private keys from PEM, DER or PKCS#12; the form is detected.
///
/// The password is used for PKCS#12 alone.
///
/// # Errors
/// Says which block is wrong and why, and for forms that are not read, how to convert them.
pub fn load(bytes: &[u8], password: Option<&str>, limits: Limits) -> Result<Loaded, LoadError> {
    if bytes.len() > limits.bytes {
        return Err(LoadError::TooLarge { bytes: bytes.len(), limit: limits.bytes });
    }
    if pkcs12::looks_like_pkcs12(bytes) {
        let password = password.ok_or(LoadError::PasswordNeeded)?;
        let (certificates, keys) = pkcs12::open(bytes, password, &limits)?;
        return Ok(Loaded { certificates, keys });
    }
    if looks_like_certificate(bytes) {
        let place = "the file".to_owned();
        let certificate = Certificate::parse(bytes).map_err(|problem| LoadError::Certificate { place, problem })?;
        return Ok(Loaded { certificates: vec![certificate], keys: Vec::new() });
    }
    if key::looks_like_key(bytes) {
        let place = "the file".to_owned();
        let key = PrivateKey::from_der(bytes).map_err(|problem| LoadError::Key { place, problem })?;
        return Ok(Loaded { certificates: Vec::new(), keys: vec![key] });
    }
    if pem::looks_like_pem(bytes) {
        return from_pem(bytes, &limits);
    }
    if bytes.first() == Some(&der::SEQUENCE) && bytes.get(1) == Some(&0x80) {
        return Err(LoadError::BadPkcs12); // BER of indefinite length is what some tools write as .p12
    }
    Err(LoadError::Unrecognised)
}

/// Certificate: SEQUENCE { SEQUENCE, SEQUENCE, BIT STRING } (RFC 5280 §4.1), perhaps cut off.
fn looks_like_certificate(bytes: &[u8]) -> bool {
    let Some(header) = bytes.get(..4) else { return false };
    let mut outer = Reader::new(bytes);
    match outer.inside(der::SEQUENCE) {
        Some(mut inner) => {
            inner.tagged(der::SEQUENCE).is_some() && inner.tagged(der::SEQUENCE).is_some() && inner.tagged(der::BIT_STRING).is_some()
        }
        // Cut off: a SEQUENCE whose length takes two bytes, followed by another one.
        None => header[..2] == [der::SEQUENCE, 0x82] && bytes.get(4) == Some(&der::SEQUENCE),
    }
}

fn from_pem(bytes: &[u8], limits: &Limits) -> Result<Loaded, LoadError> {
    let mut loaded = Loaded::default();
    let mut others: Vec<String> = Vec::new();
    let mut advice = "";
    for block in pem::blocks(bytes, 2 * limits.certificates + limits.keys)? {
        let place = format!("line {}, block {}", block.line, crate::text::escape(block.label));
        match block.label {
            "CERTIFICATE" | "X509 CERTIFICATE" => {
                if loaded.certificates.len() == limits.certificates {
                    return Err(LoadError::TooMany { what: "certificates", limit: limits.certificates });
                }
                let certificate = Certificate::parse(block.bytes.as_slice());
                loaded.certificates.push(certificate.map_err(|problem| LoadError::Certificate { place, problem })?);
            }
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => {
                if loaded.keys.len() == limits.keys {
                    return Err(LoadError::TooMany { what: "private keys", limit: limits.keys });
                }
                let key = if block.encrypted || block.label.starts_with("ENCRYPTED") {
                    Err(KeyError::Encrypted)
                } else {
                    PrivateKey::from_der(&block.bytes)
                };
                loaded.keys.push(key.map_err(|problem| LoadError::Key { place, problem })?);
            }
            label => {
                advice = advice_for(label);
                if others.len() < 8 {
                    others.push(crate::text::escape(label));
                }
            }
        }
    }
    if loaded.certificates.is_empty() && loaded.keys.is_empty() {
        let others = if others.is_empty() { "no complete block".into() } else { others.join(", ") };
        return Err(LoadError::NothingUseful(others, advice));
    }
    Ok(loaded)
}

fn advice_for(label: &str) -> &'static str {
    match label {
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => "a request must be signed by an issuer first",
        "PKCS7" | "CMS" => "convert it with `openssl pkcs7 -print_certs -in FILE`",
        "TRUSTED CERTIFICATE" => "convert it with `openssl x509 -in FILE`",
        "OPENSSH PRIVATE KEY" => "convert it with `ssh-keygen -p -m PEM -f FILE`",
        "PUBLIC KEY" | "RSA PUBLIC KEY" => "a public key alone is of no use here",
        _ => "expected CERTIFICATE or PRIVATE KEY blocks",
    }
}
