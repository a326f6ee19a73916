//! One X.509 certificate (RFC 5280), parsed once, cheap to clone.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use x509_parser::certificate::X509CertificateParser;
use x509_parser::extensions::{BasicConstraints, KeyUsage as ParsedKeyUsage};
use x509_parser::nom::Parser as _;
use x509_parser::prelude::FromDer;

use crate::algorithm::{self, KeyKind, KeyUsage};
use crate::der::{self, Reader};
use crate::fingerprint::Fingerprint;
use crate::name::{Name, Reference, distinguished_name};
use crate::time::{Span, Time};

/// Largest certificate in bytes that is parsed; one with 10,000 names takes about a quarter of it.
pub const MAX_CERTIFICATE_BYTES: usize = 1024 * 1024;
/// Most subject alternative names of one certificate.
pub const MAX_NAMES: usize = 20_000;
/// Most extended key usages of one certificate.
pub const MAX_EXTENDED_KEY_USAGES: usize = 256;

/// A parsed certificate. Clones share one allocation.
///
/// Parsing does not verify anything: dates may contradict each other, the key may be weak, the
/// signature may be wrong. See [`crate::path`] and [`crate::import`].
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    der: Box<[u8]>,
    fingerprint: Fingerprint,
    spki_fingerprint: OnceLock<Fingerprint>,
    serial: Range<usize>,
    issuer: Range<usize>,
    subject: Range<usize>,
    spki: Range<usize>,
    issuer_shown: OnceLock<String>,
    subject_shown: OnceLock<String>,
    not_before: Time,
    not_after: Time,
    key: KeyKind,
    signature_algorithm: Cow<'static, str>,
    weak_signature: bool,
    names: Vec<Name>,
    basic_constraints: Option<BasicConstraints>,
    key_usage: Option<KeyUsage>,
    extended_key_usage: Vec<String>,
    has_name_constraints: bool,
}

/// Why bytes are not a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// More than [`MAX_CERTIFICATE_BYTES`].
    #[error("the certificate has {0} bytes, more than the limit of {MAX_CERTIFICATE_BYTES}")]
    TooLarge(usize),
    /// Not DER, cut off, or followed by something else.
    #[error("not a DER certificate: {0}")]
    NotDer(&'static str),
    /// A date that does not exist or is not written as RFC 5280 §4.1.2.5 asks.
    #[error("the certificate's {field} is `{text}`: {problem}")]
    BadDate {
        /// "notBefore" or "notAfter".
        field: &'static str,
        /// The date as written, escaped.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An extension that cannot be read.
    #[error("the certificate's {0} extension cannot be read")]
    BadExtension(&'static str),
    /// An extension that occurs more than once (RFC 5280 §4.2).
    #[error("the certificate has more than one {0} extension")]
    RepeatedExtension(&'static str),
    /// More than [`MAX_NAMES`] names or [`MAX_EXTENDED_KEY_USAGES`] usages.
    #[error("the certificate's {what} lists more than {limit} entries")]
    TooMany {
        /// The extension.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl Certificate {
    /// Parses one certificate; nothing may follow it.
    ///
    /// # Errors
    /// Says what is wrong: not DER, a date that does not exist, a broken extension, too large.
    pub fn parse(der: impl Into<Vec<u8>>) -> Result<Self, ParseError> {
        parse(der.into().into_boxed_slice()).map(|inner| Self(Arc::new(inner)))
    }

    /// The bytes that were parsed.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The certificate as a PEM block.
    #[must_use]
    pub fn to_pem(&self) -> String {
        crate::pem::encode("CERTIFICATE", self.der()).to_string()
    }

    /// SHA-256 of the whole certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// SHA-256 of the SubjectPublicKeyInfo: equal for certificates of one key.
    #[must_use]
    pub fn spki_fingerprint(&self) -> Fingerprint {
        *self.0.spki_fingerprint.get_or_init(|| Fingerprint::of(self.spki_der()))
    }

    /// The serial number in lower-case hexadecimal, as encoded (a leading 00 included).
    #[must_use]
    pub fn serial(&self) -> String {
        hex::encode(&self.0.der[self.0.serial.clone()])
    }

    /// The subject for people, escaped: "CN=example.com,O=Acme". May be empty.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.0.subject_shown.get_or_init(|| distinguished_name(self.subject_der()))
    }

    /// The issuer for people, escaped.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.0.issuer_shown.get_or_init(|| distinguished_name(self.issuer_der()))
    }

    /// The subject as encoded, with its tag.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        &self.0.der[self.0.subject.clone()]
    }

    /// The issuer as encoded, with its tag.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        &self.0.der[self.0.issuer.clone()]
    }

    /// The SubjectPublicKeyInfo as encoded, with its tag.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.0.der[self.0.spki.clone()]
    }

    /// The subject alternative names in their order; the common name does not count (RFC 9525 §2).
    #[must_use]
    pub fn names(&self) -> &[Name] {
        &self.0.names
    }

    /// Would a client that asks for this DNS name or IP address accept the certificate's names?
    /// A wildcard asked for, as in "*.example.com", is covered by the same wildcard alone.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        Reference::parse(name).is_some_and(|asked| self.0.names.iter().any(|n| asked.is_covered_by(n)))
    }

    /// The first second of validity.
    #[must_use]
    pub fn not_before(&self) -> Time {
        self.0.not_before
    }

    /// The last second of validity (RFC 5280 §4.1.2.5); a guardian treats it as already over.
    #[must_use]
    pub fn not_after(&self) -> Time {
        self.0.not_after
    }

    /// notAfter − notBefore + 1 s. Zero or negative for certificates that were never valid.
    #[must_use]
    pub fn lifetime(&self) -> Span {
        self.0.not_after - self.0.not_before + Span::seconds(1)
    }

    /// The kind of its public key.
    #[must_use]
    pub fn key(&self) -> &KeyKind {
        &self.0.key
    }

    /// "rsa", "ecdsa", "ed25519" or "other".
    #[must_use]
    pub fn key_type(&self) -> &'static str {
        self.0.key.key_type()
    }

    /// The name of the algorithm that signed it, or its dotted identifier.
    #[must_use]
    pub fn signature_algorithm(&self) -> &str {
        &self.0.signature_algorithm
    }

    /// True if the signature's digest is SHA-1 or older.
    #[must_use]
    pub fn has_weak_signature(&self) -> bool {
        self.0.weak_signature
    }

    /// True if basicConstraints says that it may issue certificates.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.0.basic_constraints.as_ref().is_some_and(|constraints| constraints.ca)
    }

    /// How many intermediates may follow below a CA, if it says so.
    #[must_use]
    pub fn path_length(&self) -> Option<u32> {
        self.0.basic_constraints.as_ref().and_then(|constraints| constraints.path_len_constraint)
    }

    /// Subject and issuer are the same name: a root, or a step of a root's key change.
    #[must_use]
    pub fn self_issued(&self) -> bool {
        self.subject_der() == self.issuer_der()
    }

    /// What its key may be used for; `None` if it does not say.
    #[must_use]
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.0.key_usage
    }

    /// Names such as "serverAuth", or dotted identifiers; empty if it does not say.
    #[must_use]
    pub fn extended_key_usage(&self) -> &[String] {
        &self.0.extended_key_usage
    }

    /// True if it limits the names of what is below it (RFC 5280 §4.2.1.10).
    #[must_use]
    pub fn has_name_constraints(&self) -> bool {
        self.0.has_name_constraints
    }
}

/// Why a signature on a certificate does not prove who issued it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum SignatureProblem {
    /// It was made by another key, or the certificate was changed.
    #[error("the signature does not verify")]
    Invalid,
    /// The algorithm is not accepted (SHA-1 and older, RSA below 2048 bits, unknown ones).
    #[error("its signature algorithm is not accepted for this key")]
    Unsupported,
}

impl Certificate {
    /// Verifies the signature on this certificate with the key of `issuer`, and nothing else.
    ///
    /// # Errors
    /// See [`SignatureProblem`].
    pub fn check_signature(&self, issuer: &Certificate) -> Result<(), SignatureProblem> {
        let (tbs, signed_with, signature) = self.signed_parts().ok_or(SignatureProblem::Invalid)?;
        algorithm::verify_signed(issuer.spki_der(), tbs, signed_with, signature)
    }

    /// TBSCertificate with its tag, the signature algorithm's content, the signature.
    pub(crate) fn signed_parts(&self) -> Option<(&[u8], &[u8], &[u8])> {
        let mut certificate = Reader::new(self.der()).inside(der::SEQUENCE)?;
        let tbs = certificate.tagged(der::SEQUENCE)?.raw;
        let algorithm = certificate.tagged(der::SEQUENCE)?.value;
        let (unused, signature) = certificate.tagged(der::BIT_STRING)?.value.split_first()?;
        // A signature is whole octets; another count of unused bits would be a second encoding of it.
        (*unused == 0).then_some((tbs, algorithm, signature))
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.fingerprint == other.0.fingerprint
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject())
            .field("not_after", &self.0.not_after)
            .field("fingerprint", &self.0.fingerprint)
            .finish_non_exhaustive()
    }
}

fn parse(der: Box<[u8]>) -> Result<Inner, ParseError> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        return Err(ParseError::TooLarge(der.len()));
    }
    let fields = Fields::find(&der)?;
    let not_before = date(fields.not_before, "notBefore")?;
    let not_after = date(fields.not_after, "notAfter")?;
    let key = KeyKind::from_spki(fields.spki).ok_or(ParseError::NotDer("the public key cannot be read"))?;
    let (signature_algorithm, weak_signature) =
        algorithm::signature_algorithm(fields.algorithm).ok_or(ParseError::NotDer("the signature algorithm cannot be read"))?;

    // Extensions are read below, only those that matter: the rest may say what it likes.
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    let (rest, parsed) = parser.parse(&der).map_err(|_| ParseError::NotDer("its structure is broken"))?;
    if !rest.is_empty() {
        return Err(ParseError::NotDer("other bytes follow it"));
    }
    let mut extensions = Extensions::default();
    for extension in parsed.tbs_certificate.extensions() {
        extensions.read(extension.oid.as_bytes(), extension.value)?;
    }

    let range = |part: &[u8]| range_within(&der, part);
    Ok(Inner {
        fingerprint: Fingerprint::of(&der),
        spki_fingerprint: OnceLock::new(),
        serial: range(fields.serial),
        issuer: range(fields.issuer),
        subject: range(fields.subject),
        spki: range(fields.spki),
        issuer_shown: OnceLock::new(),
        subject_shown: OnceLock::new(),
        not_before,
        not_after,
        key,
        signature_algorithm,
        weak_signature,
        names: extensions.names.unwrap_or_default(),
        basic_constraints: extensions.basic_constraints,
        key_usage: extensions.key_usage,
        extended_key_usage: extensions.extended_key_usage.unwrap_or_default(),
        has_name_constraints: extensions.has_name_constraints,
        der,
    })
}

/// Where `part`, a slice of `whole`, lies in it.
pub(crate) fn range_within(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr()).min(whole.len());
    start..(start + part.len()).min(whole.len())
}

/// The fields of a certificate that are kept by place (RFC 5280 §4.1).
struct Fields<'a> {
    serial: &'a [u8],
    issuer: &'a [u8],
    not_before: der::Element<'a>,
    not_after: der::Element<'a>,
    subject: &'a [u8],
    spki: &'a [u8],
    algorithm: &'a [u8],
}

impl<'a> Fields<'a> {
    fn find(der: &'a [u8]) -> Result<Self, ParseError> {
        let mut outer = Reader::new(der);
        let mut certificate = outer.inside(der::SEQUENCE).ok_or(ParseError::NotDer("it does not begin with a complete SEQUENCE"))?;
        if !outer.is_empty() {
            return Err(ParseError::NotDer("other bytes follow it"));
        }
        Self::walk(&mut certificate).ok_or(ParseError::NotDer("its structure is broken"))
    }

    fn walk(certificate: &mut Reader<'a>) -> Option<Self> {
        let mut tbs = certificate.inside(der::SEQUENCE)?;
        let algorithm = certificate.tagged(der::SEQUENCE)?.value;
        certificate.tagged(der::BIT_STRING)?;
        if !certificate.is_empty() {
            return None;
        }
        tbs.tagged(der::CONTEXT_0); // version; absent in version 1
        let serial = tbs.tagged(der::INTEGER)?.value;
        tbs.tagged(der::SEQUENCE)?; // signature, repeated from outside
        let issuer = tbs.tagged(der::SEQUENCE)?.raw;
        let mut validity = tbs.inside(der::SEQUENCE)?;
        let (not_before, not_after) = (validity.any()?, validity.any()?);
        let subject = tbs.tagged(der::SEQUENCE)?.raw;
        let spki = tbs.tagged(der::SEQUENCE)?.raw;
        validity.is_empty().then_some(Self { serial, issuer, not_before, not_after, subject, spki, algorithm })
    }
}

/// RFC 5280 §4.1.2.5: UTCTime is YYMMDDHHMMSSZ and means 1950 to 2049; GeneralizedTime is
/// YYYYMMDDHHMMSSZ. Seconds are required, fractions and other zones are forbidden.
pub(crate) fn date(element: der::Element<'_>, field: &'static str) -> Result<Time, ParseError> {
    let bad = |problem| ParseError::BadDate {
        field,
        text: crate::text::escape(&String::from_utf8_lossy(&element.value[..element.value.len().min(64)])),
        problem,
    };
    let years = match element.tag {
        der::UTC_TIME => 2,
        der::GENERALIZED_TIME => 4,
        _ => return Err(bad("it is neither UTCTime nor GeneralizedTime")),
    };
    let digits = match element.value.split_last() {
        Some((b'Z', digits)) if digits.len() == years + 10 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ if years == 2 => return Err(bad("a UTCTime is written YYMMDDHHMMSSZ (RFC 5280 §4.1.2.5.1)")),
        _ => return Err(bad("a GeneralizedTime is written YYYYMMDDHHMMSSZ (RFC 5280 §4.1.2.5.2)")),
    };
    let number = |part: &[u8]| part.iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let (year, rest) = digits.split_at(years);
    let year = match (years, number(year)) {
        (2, short @ 50..) => 1900 + short,
        (2, short) => 2000 + short,
        (_, year) => year,
    };
    let part = |index: usize| number(&rest[2 * index..2 * index + 2]);
    Time::from_parts(year, part(0), part(1), part(2), part(3), part(4)).ok_or_else(|| bad("that day or second does not exist"))
}

#[derive(Default)]
struct Extensions {
    names: Option<Vec<Name>>,
    basic_constraints: Option<BasicConstraints>,
    key_usage: Option<KeyUsage>,
    extended_key_usage: Option<Vec<String>>,
    has_name_constraints: bool,
}

impl Extensions {
    fn read(&mut self, oid: &[u8], value: &[u8]) -> Result<(), ParseError> {
        // All of them are below id-ce, 2.5.29.
        let &[0x55, 0x1d, which] = oid else { return Ok(()) };
        match which {
            15 => once(&mut self.key_usage, "keyUsage", || {
                let (rest, usage) = ParsedKeyUsage::from_der(value).ok()?;
                rest.is_empty().then(|| KeyUsage::from_flags(usage.flags))
            }),
            17 => {
                let name = "subjectAltName";
                let names = elements(value, name, MAX_NAMES)?;
                once(&mut self.names, name, || Some(names.into_iter().map(Name::from_general_name).collect()))
            }
            19 => once(&mut self.basic_constraints, "basicConstraints", || {
                let (rest, constraints) = BasicConstraints::from_der(value).ok()?;
                rest.is_empty().then_some(constraints)
            }),
            30 if self.has_name_constraints => Err(ParseError::RepeatedExtension("nameConstraints")),
            30 => {
                self.has_name_constraints = true;
                Ok(())
            }
            37 => {
                let name = "extKeyUsage";
                let usages = elements(value, name, MAX_EXTENDED_KEY_USAGES)?;
                once(&mut self.extended_key_usage, name, || {
                    let oid = |e: der::Element<'_>| (e.tag == der::OID).then(|| algorithm::extended_key_usage(e.value));
                    usages.into_iter().map(oid).collect()
                })
            }
            _ => Ok(()),
        }
    }
}

fn once<T>(slot: &mut Option<T>, name: &'static str, read: impl FnOnce() -> Option<T>) -> Result<(), ParseError> {
    if slot.is_some() {
        return Err(ParseError::RepeatedExtension(name));
    }
    *slot = Some(read().ok_or(ParseError::BadExtension(name))?);
    Ok(())
}

/// The elements of a SEQUENCE OF, at most `limit`.
fn elements<'a>(value: &'a [u8], what: &'static str, limit: usize) -> Result<Vec<der::Element<'a>>, ParseError> {
    let mut outer = Reader::new(value);
    let mut list = outer.inside(der::SEQUENCE).ok_or(ParseError::BadExtension(what))?;
    if !outer.is_empty() {
        return Err(ParseError::BadExtension(what));
    }
    let mut found = Vec::new();
    while !list.is_empty() {
        if found.len() == limit {
            return Err(ParseError::TooMany { what, limit });
        }
        found.push(list.any().ok_or(ParseError::BadExtension(what))?);
    }
    Ok(found)
}
