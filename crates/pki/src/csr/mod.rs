//! Requests for certificates (PKCS#10, RFC 2986): read, checked, made.
//!
//! ```text
//! Csr::parse(bytes)          what is asked for; nothing is believed yet
//!   → check(csr, &rules)     all that stands against it at once, or a `Checked`
//!   → issue::Issuer          which builds from a template; of a request it takes the public key and names that were permitted
//! ```
//!
//! No extension of a request is ever copied into a certificate.

mod build;
mod check;
pub(crate) mod weak;

use std::fmt;
use std::ops::Range;

use crate::algorithm::{self, KeyKind, verify_signed};
use crate::certificate::{SignatureProblem, range_within};
use crate::der::{self, Reader};
use crate::fingerprint::Fingerprint;
use crate::name::{self, Name, distinguished_name};
use crate::pem::{self, PemError};
use crate::san::San;

pub(crate) use build::MAX_COMMON_NAME;
pub use build::{BuildCsrError, build};
pub use check::{Checked, CsrCode, CsrProblem, Rules, check};

/// Largest request in bytes that is read, in DER; its PEM may be half as large again.
pub const MAX_CSR_BYTES: usize = 128 * 1024;
/// Most names that one request may ask for.
pub const MAX_CSR_NAMES: usize = 1_000;
/// Most attributes, and most extensions, of one request.
const MAX_PARTS: usize = 64;

/// A request that could be read. Nothing in it was checked yet, its signature neither.
#[derive(Clone)]
pub struct Csr {
    der: Box<[u8]>,
    info: Range<usize>,
    spki: Range<usize>,
    signature_algorithm: Range<usize>,
    signature: Range<usize>,
    subject: String,
    common_names: Vec<String>,
    key: KeyKind,
    names: Vec<San>,
    unusable: Vec<String>,
    asks_to_be_ca: bool,
}

/// Why bytes are not a request that is read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// More than [`MAX_CSR_BYTES`].
    #[error("the request has {0} bytes, more than the limit of {MAX_CSR_BYTES}")]
    TooLarge(usize),
    /// Broken PEM.
    #[error("the request's PEM cannot be read: {0}")]
    Pem(#[from] PemError),
    /// PEM with something else in it, or more.
    #[error("the file holds {0}; send one block `CERTIFICATE REQUEST` and nothing else")]
    NotOneRequest(String),
    /// Not a PKCS#10 request in DER.
    #[error("not a request for a certificate (PKCS#10): {0}")]
    NotACsr(&'static str),
    /// More than [`MAX_CSR_NAMES`].
    #[error("the request asks for more than {MAX_CSR_NAMES} names; divide them among several certificates")]
    TooManyNames,
}

impl Csr {
    /// Reads one request, DER or PEM; nothing may follow it.
    ///
    /// # Errors
    /// Says what is wrong with its form. What is wrong with its content is said by [`check`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CsrError> {
        if !pem::looks_like_pem(bytes) {
            return Self::from_der(bytes);
        }
        if bytes.len() > MAX_CSR_BYTES * 3 / 2 {
            return Err(CsrError::TooLarge(bytes.len()));
        }
        let blocks = pem::blocks(bytes, 8)?;
        match blocks.as_slice() {
            [block] if matches!(block.label, "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") => Self::from_der(&block.bytes),
            [] => Err(CsrError::NotOneRequest("no complete PEM block".into())),
            blocks if blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY")) => {
                Err(CsrError::NotOneRequest("a private key, which must not leave its machine".into()))
            }
            [block] => Err(CsrError::NotOneRequest(format!("a block `{}`", crate::text::escape(block.label)))),
            blocks => Err(CsrError::NotOneRequest(format!("{} PEM blocks", blocks.len()))),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR_BYTES {
            return Err(CsrError::TooLarge(der.len()));
        }
        let broken = || CsrError::NotACsr("its structure is broken");
        let mut outer = Reader::new(der);
        let mut request = outer.inside(der::SEQUENCE).ok_or(CsrError::NotACsr("it does not begin with a complete SEQUENCE in DER"))?;
        if !outer.is_empty() {
            return Err(CsrError::NotACsr("other bytes follow it"));
        }
        let info = request.tagged(der::SEQUENCE).ok_or_else(broken)?;
        let algorithm = request.tagged(der::SEQUENCE).ok_or_else(broken)?;
        let (unused, signature) = request.tagged(der::BIT_STRING).and_then(|bits| bits.value.split_first()).ok_or_else(broken)?;
        if *unused != 0 || !request.is_empty() {
            return Err(broken());
        }
        let mut fields = Reader::new(info.value);
        // RFC 2986 §4.1: version 1 is written as 0, and there is no other.
        if fields.tagged(der::INTEGER).ok_or_else(broken)?.value != [0] {
            return Err(CsrError::NotACsr("its version is not 1"));
        }
        let subject = fields.tagged(der::SEQUENCE).ok_or_else(broken)?;
        let spki = fields.tagged(der::SEQUENCE).ok_or_else(broken)?;
        let key = KeyKind::from_spki(spki.raw).ok_or(CsrError::NotACsr("the public key cannot be read"))?;
        let mut asked = Asked::default();
        // OpenSSL and others leave out the attributes where there are none, against the letter of the RFC.
        if let Some(attributes) = fields.tagged(der::CONTEXT_0) {
            asked.attributes(attributes.value)?;
        }
        if !fields.is_empty() {
            return Err(broken());
        }
        let range = |part: &[u8]| range_within(der, part);
        Ok(Self {
            info: range(info.raw),
            spki: range(spki.raw),
            signature_algorithm: range(algorithm.value),
            signature: range(signature),
            subject: distinguished_name(subject.raw),
            common_names: name::common_names(subject.raw).ok_or(CsrError::NotACsr("its subject cannot be read"))?,
            key,
            names: asked.names,
            unusable: asked.unusable,
            asks_to_be_ca: asked.to_be_ca,
            der: der.into(),
        })
    }

    /// The bytes of the request.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The request as a PEM block.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE REQUEST", &self.der).to_string()
    }

    /// The subject for people, escaped. It is never copied.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The subject's first common name as it stands there: foreign text, to be escaped before it is shown.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.common_names.first().map(String::as_str)
    }

    /// The subject alternative names that are well-formed, in their order.
    #[must_use]
    pub fn names(&self) -> &[San] {
        &self.names
    }

    /// Those that are not, each with what is wrong, escaped.
    #[must_use]
    pub fn unusable_names(&self) -> &[String] {
        &self.unusable
    }

    /// True if it wants basicConstraints with CA, or a keyUsage that signs certificates or lists.
    #[must_use]
    pub const fn asks_to_be_ca(&self) -> bool {
        self.asks_to_be_ca
    }

    /// The SubjectPublicKeyInfo as encoded, with its tag.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.der[self.spki.clone()]
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.spki_der())
    }

    /// The kind of its public key.
    #[must_use]
    pub const fn key(&self) -> &KeyKind {
        &self.key
    }

    /// Verifies that whoever made the request holds the private key (RFC 2986 §4.2).
    ///
    /// # Errors
    /// See [`SignatureProblem`].
    pub fn check_signature(&self) -> Result<(), SignatureProblem> {
        let part = |range: &Range<usize>| &self.der[range.clone()];
        verify_signed(self.spki_der(), part(&self.info), part(&self.signature_algorithm), part(&self.signature))
    }

    fn weak_signature(&self) -> bool {
        algorithm::signature_algorithm(&self.der[self.signature_algorithm.clone()]).is_none_or(|(_, weak)| weak)
    }
}

impl fmt::Debug for Csr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csr").field("subject", &self.subject).field("names", &self.names).field("key", &self.key).finish_non_exhaustive()
    }
}

/// What the attributes of a request ask for.
#[derive(Default)]
struct Asked {
    names: Vec<San>,
    unusable: Vec<String>,
    to_be_ca: bool,
    seen: Vec<Vec<u8>>,
}

/// RFC 2985 §5.4.2, and what Microsoft's tools wrote before it (1.3.6.1.4.1.311.2.1.14).
const EXTENSION_REQUESTS: [&[u8]; 2] = [&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14], &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 14]];

impl Asked {
    fn attributes(&mut self, attributes: &[u8]) -> Result<(), CsrError> {
        const BROKEN: CsrError = CsrError::NotACsr("its attributes are broken");
        let mut attributes = Reader::new(attributes);
        let mut count = 0;
        while !attributes.is_empty() {
            count += 1;
            if count > MAX_PARTS {
                return Err(CsrError::NotACsr("it has more than 64 attributes"));
            }
            let mut attribute = attributes.inside(der::SEQUENCE).ok_or(BROKEN)?;
            let kind = attribute.tagged(der::OID).ok_or(BROKEN)?.value;
            let mut values = attribute.inside(der::SET).ok_or(BROKEN)?;
            if !attribute.is_empty() {
                return Err(BROKEN);
            }
            if EXTENSION_REQUESTS.contains(&kind) {
                let extensions = values.inside(der::SEQUENCE).ok_or(BROKEN)?;
                if !values.is_empty() {
                    return Err(CsrError::NotACsr("its request for extensions has more than one value"));
                }
                self.extensions(extensions)?;
            }
        }
        Ok(())
    }

    fn extensions(&mut self, mut extensions: Reader<'_>) -> Result<(), CsrError> {
        const BROKEN: CsrError = CsrError::NotACsr("its requested extensions are broken");
        while !extensions.is_empty() {
            let mut extension = extensions.inside(der::SEQUENCE).ok_or(BROKEN)?;
            let kind = extension.tagged(der::OID).ok_or(BROKEN)?.value;
            extension.tagged(der::BOOLEAN);
            let value = extension.tagged(der::OCTET_STRING).ok_or(BROKEN)?.value;
            if !extension.is_empty() {
                return Err(BROKEN);
            }
            if self.seen.iter().any(|seen| seen == kind) {
                return Err(CsrError::NotACsr("it asks for the same extension twice"));
            }
            if self.seen.len() == MAX_PARTS {
                return Err(CsrError::NotACsr("it asks for more than 64 extensions"));
            }
            self.seen.push(kind.to_vec());
            match kind {
                [0x55, 0x1d, 15] => self.key_usage(value).ok_or(CsrError::NotACsr("its keyUsage cannot be read"))?,
                [0x55, 0x1d, 17] => self.alternative_names(value)?,
                [0x55, 0x1d, 19] => self.basic_constraints(value).ok_or(CsrError::NotACsr("its basicConstraints cannot be read"))?,
                _ => {} // asked for, and not copied
            }
        }
        Ok(())
    }

    fn key_usage(&mut self, value: &[u8]) -> Option<()> {
        const CERT_AND_CRL_SIGN: u8 = 0b110;
        let mut outer = Reader::new(value);
        let (_, bits) = outer.tagged(der::BIT_STRING)?.value.split_first()?;
        self.to_be_ca |= bits.first().is_some_and(|first| first & CERT_AND_CRL_SIGN != 0);
        outer.is_empty().then_some(())
    }

    fn basic_constraints(&mut self, value: &[u8]) -> Option<()> {
        let mut outer = Reader::new(value);
        let mut constraints = outer.inside(der::SEQUENCE)?;
        let ca = constraints.tagged(der::BOOLEAN).is_some_and(|ca| ca.value != [0]);
        let path_length = constraints.tagged(der::INTEGER).is_some();
        self.to_be_ca |= ca || path_length;
        (outer.is_empty() && constraints.is_empty()).then_some(())
    }

    fn alternative_names(&mut self, value: &[u8]) -> Result<(), CsrError> {
        const BROKEN: CsrError = CsrError::NotACsr("its subjectAltName cannot be read");
        let mut outer = Reader::new(value);
        let mut names = outer.inside(der::SEQUENCE).ok_or(BROKEN)?;
        if !outer.is_empty() {
            return Err(BROKEN);
        }
        while !names.is_empty() {
            if self.names.len() + self.unusable.len() == MAX_CSR_NAMES {
                return Err(CsrError::TooManyNames);
            }
            match usable(names.any().ok_or(BROKEN)?) {
                Ok(name) => self.names.push(name),
                Err(problem) => self.unusable.push(problem),
            }
        }
        Ok(())
    }
}

/// The GeneralName as a name that may be certified, or what is wrong with it.
fn usable(name: der::Element<'_>) -> Result<San, String> {
    let shown = || Name::from_general_name(name).to_string();
    let text = || std::str::from_utf8(name.value).map_err(|_| format!("`{}` is not text in IA5", shown()));
    match name.tag {
        0x82 => San::dns(text()?).map_err(|problem| problem.to_string()),
        0x86 => San::uri(text()?).map_err(|problem| problem.to_string()),
        0x87 => match Name::from_general_name(name) {
            Name::Ip(address) => Ok(San::ip(address)),
            _ => Err(format!("`{}` is no address of 4 or 16 octets", shown())),
        },
        _ => Err(format!("`{}` is neither a DNS name, an address nor a URI", shown())),
    }
}
