//! Lists of revoked certificates (CRL version 2, RFC 5280 §5): made by an issuer, and read.

mod build;

use std::fmt;
use std::ops::Range;

use crate::algorithm::verify_signed;
use crate::certificate::{Certificate, SignatureProblem, date, range_within};
use crate::der::{self, Reader};
use crate::name::distinguished_name;
use crate::pem::{self, PemError};
use crate::time::Time;

pub use build::{CrlTemplate, Revocation};

/// Largest list in bytes that is read; about 500,000 entries.
pub const MAX_CRL_BYTES: usize = 20 * 1024 * 1024;

/// Why a certificate was revoked (RFC 5280 §5.3.1). "unspecified" is said by leaving the reason out, and "removeFromCRL" is for delta lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The private key is, or may be, in other hands.
    KeyCompromise,
    /// The same of the authority's key.
    CaCompromise,
    /// The subject's name or other facts changed.
    AffiliationChanged,
    /// It was replaced.
    Superseded,
    /// It is no longer needed.
    CessationOfOperation,
    /// Revoked for the time being.
    CertificateHold,
    /// The privilege was withdrawn.
    PrivilegeWithdrawn,
    /// The attribute authority's key is in other hands.
    AaCompromise,
}

impl Reason {
    const ALL: [(Self, u8, &'static str); 8] = [
        (Self::KeyCompromise, 1, "keyCompromise"),
        (Self::CaCompromise, 2, "cACompromise"),
        (Self::AffiliationChanged, 3, "affiliationChanged"),
        (Self::Superseded, 4, "superseded"),
        (Self::CessationOfOperation, 5, "cessationOfOperation"),
        (Self::CertificateHold, 6, "certificateHold"),
        (Self::PrivilegeWithdrawn, 9, "privilegeWithdrawn"),
        (Self::AaCompromise, 10, "aACompromise"),
    ];

    fn entry(self) -> (u8, &'static str) {
        Self::ALL.into_iter().find(|(reason, ..)| *reason == self).map_or((0, "unspecified"), |(_, code, name)| (code, name))
    }

    /// The name that RFC 5280 gives it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.entry().1
    }

    /// The reason with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(.., name)| *name == text).map(|(reason, ..)| reason)
    }

    fn code(self) -> u8 {
        self.entry().0
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, number, _)| *number == code).map(|(reason, ..)| reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A list that could be read. Its signature was not checked yet.
#[derive(Clone)]
pub struct Crl {
    der: Box<[u8]>,
    to_be_signed: Range<usize>,
    algorithm: Range<usize>,
    signature: Range<usize>,
    issuer: Range<usize>,
    this_update: Time,
    next_update: Option<Time>,
    entries: Range<usize>,
    count: usize,
    number: Option<Vec<u8>>,
    authority_key_identifier: Option<Vec<u8>>,
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The serial number in lower-case hexadecimal as [`Certificate::serial`] gives it.
    pub serial: String,
    /// When it was revoked.
    pub revoked_at: Time,
    /// Why, if it is said.
    pub reason: Option<Reason>,
    /// Since when it was not to be trusted, if it is said.
    pub invalid_since: Option<Time>,
}

/// Why bytes are not a list that is read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// More than [`MAX_CRL_BYTES`].
    #[error("the list has {0} bytes, more than the limit of {MAX_CRL_BYTES}")]
    TooLarge(usize),
    /// Broken PEM.
    #[error("the list's PEM cannot be read: {0}")]
    Pem(#[from] PemError),
    /// Not a CRL in DER.
    #[error("not a list of revoked certificates (CRL): {0}")]
    NotACrl(&'static str),
    /// A date that does not exist or is not written as RFC 5280 §5.1.2.4 asks.
    #[error("a date of the list cannot be read")]
    BadDate,
    /// A critical extension that is not known here; whoever ignores it takes the list for something else (RFC 5280 §5.2).
    #[error("the list has a critical extension that is not known here, so it does not say what it seems to")]
    UnknownCritical,
}

impl Crl {
    /// Reads one list, DER or PEM; nothing may follow it.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, CrlError> {
        if bytes.len() > MAX_CRL_BYTES * 3 / 2 {
            return Err(CrlError::TooLarge(bytes.len()));
        }
        // DER begins with a SEQUENCE; looking through megabytes for PEM comes after that.
        if bytes.first() == Some(&der::SEQUENCE) || !pem::looks_like_pem(bytes) {
            return Self::from_der(bytes);
        }
        let blocks = pem::blocks(bytes, 2)?;
        match blocks.as_slice() {
            [block] if block.label == "X509 CRL" => Self::from_der(&block.bytes),
            _ => Err(CrlError::NotACrl("the file is not one PEM block `X509 CRL`")),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, CrlError> {
        if der.len() > MAX_CRL_BYTES {
            return Err(CrlError::TooLarge(der.len()));
        }
        let broken = || CrlError::NotACrl("its structure is broken");
        let mut outer = Reader::new(der);
        let mut list = outer.inside(der::SEQUENCE).ok_or(CrlError::NotACrl("it does not begin with a complete SEQUENCE in DER"))?;
        if !outer.is_empty() {
            return Err(CrlError::NotACrl("other bytes follow it"));
        }
        let to_be_signed = list.tagged(der::SEQUENCE).ok_or_else(broken)?;
        let algorithm = list.tagged(der::SEQUENCE).ok_or_else(broken)?;
        let (unused, signature) = list.tagged(der::BIT_STRING).and_then(|bits| bits.value.split_first()).ok_or_else(broken)?;
        if *unused != 0 || !list.is_empty() {
            return Err(broken());
        }
        let mut fields = Reader::new(to_be_signed.value);
        let version_2 = fields.tagged(der::INTEGER).map(|version| version.value);
        if version_2.is_some_and(|version| version != [1]) {
            return Err(CrlError::NotACrl("its version is not 2"));
        }
        // RFC 5280 §5.1.1.2
        if fields.tagged(der::SEQUENCE).ok_or_else(broken)?.raw != algorithm.raw {
            return Err(CrlError::NotACrl("the signature algorithm inside is not the one outside"));
        }
        let issuer = fields.tagged(der::SEQUENCE).ok_or_else(broken)?;
        let is_time = |tag: u8| tag == der::UTC_TIME || tag == der::GENERALIZED_TIME;
        let this_update = time(fields.any().ok_or_else(broken)?)?;
        let mut next = fields;
        let next_update = match next.any() {
            Some(element) if is_time(element.tag) => {
                fields = next;
                Some(time(element)?)
            }
            _ => None,
        };
        let entries = fields.tagged(der::SEQUENCE).map_or(&[][..], |entries| entries.value);
        let mut count = 0;
        for entry in Entries(Reader::new(entries)) {
            entry?;
            count += 1;
        }
        let mut crl = Self {
            to_be_signed: range_within(der, to_be_signed.raw),
            algorithm: range_within(der, algorithm.value),
            signature: range_within(der, signature),
            issuer: range_within(der, issuer.raw),
            this_update,
            next_update,
            entries: if entries.is_empty() { 0..0 } else { range_within(der, entries) },
            count,
            number: None,
            authority_key_identifier: None,
            der: der.into(),
        };
        if let Some(mut explicit) = fields.inside(der::CONTEXT_0) {
            let mut extensions = explicit.inside(der::SEQUENCE).ok_or_else(broken)?;
            while !extensions.is_empty() {
                let (oid, critical, value) = extension(&mut extensions).ok_or_else(broken)?;
                let mut value = Reader::new(value);
                match oid {
                    [0x55, 0x1d, 20] => crl.number = value.tagged(der::INTEGER).map(|number| number.value.to_vec()),
                    [0x55, 0x1d, 35] => {
                        let identifier = value.inside(der::SEQUENCE).and_then(|mut key| key.tagged(0x80));
                        crl.authority_key_identifier = identifier.map(|identifier| identifier.value.to_vec());
                    }
                    _ if critical => return Err(CrlError::UnknownCritical),
                    _ => {}
                }
            }
        }
        if fields.is_empty() { Ok(crl) } else { Err(broken()) }
    }

    /// The bytes of the list.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The list as a PEM block.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode("X509 CRL", &self.der).to_string()
    }

    /// The issuer for people, escaped.
    #[must_use]
    pub fn issuer(&self) -> String {
        distinguished_name(self.issuer_der())
    }

    /// The issuer as encoded, with its tag.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        &self.der[self.issuer.clone()]
    }

    /// The keyIdentifier of the authority's key, if it says so.
    #[must_use]
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.authority_key_identifier.as_deref()
    }

    /// When it was made.
    #[must_use]
    pub fn this_update(&self) -> Time {
        self.this_update
    }

    /// By when there will be another one. After it, clients that insist on a list refuse everything that its issuer signed.
    #[must_use]
    pub fn next_update(&self) -> Option<Time> {
        self.next_update
    }

    /// Its number, if it has one that fits 64 bits.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        let digits = self.number.as_deref()?;
        let digits = &digits[digits.iter().take_while(|&&digit| digit == 0).count()..];
        (digits.len() <= 8).then(|| digits.iter().fold(0, |number, &digit| (number << 8) | u64::from(digit)))
    }

    /// How many entries it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// True if nothing is revoked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its entries, in their order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        // All of them were read when the list was parsed.
        Entries(Reader::new(&self.der[self.entries.clone()])).map_while(Result::ok)
    }

    /// The entry for this certificate, if its issuer is the list's. Says nothing where the list has no word on it.
    #[must_use]
    pub fn revocation_of(&self, certificate: &Certificate) -> Option<Entry> {
        if certificate.issuer_der() != self.issuer_der() {
            return None;
        }
        let serial = certificate.serial();
        self.entries().find(|entry| entry.serial == serial)
    }

    /// Verifies that this authority made the list, and may (RFC 5280 §6.3.3 (f), (g)).
    ///
    /// # Errors
    /// See [`SignatureProblem`].
    pub fn check_signature(&self, issuer: &Certificate) -> Result<(), SignatureProblem> {
        let may = issuer.key_usage().is_none_or(|usage| usage.allows("cRLSign"));
        if !may || issuer.subject_der() != self.issuer_der() {
            return Err(SignatureProblem::Invalid);
        }
        let part = |range: &Range<usize>| &self.der[range.clone()];
        verify_signed(issuer.spki_der(), part(&self.to_be_signed), part(&self.algorithm), part(&self.signature))
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crl")
            .field("issuer", &self.issuer())
            .field("this_update", &self.this_update)
            .field("next_update", &self.next_update)
            .field("entries", &self.count)
            .finish_non_exhaustive()
    }
}

fn time(element: der::Element<'_>) -> Result<Time, CrlError> {
    date(element, "date").map_err(|_| CrlError::BadDate)
}

/// One Extension: its identifier, whether it is critical, its value.
fn extension<'a>(extensions: &mut Reader<'a>) -> Option<(&'a [u8], bool, &'a [u8])> {
    let mut extension = extensions.inside(der::SEQUENCE)?;
    let oid = extension.tagged(der::OID)?.value;
    let critical = extension.tagged(der::BOOLEAN).is_some_and(|critical| critical.value != [0]);
    let value = extension.tagged(der::OCTET_STRING)?.value;
    extension.is_empty().then_some((oid, critical, value))
}

struct Entries<'a>(Reader<'a>);

impl Iterator for Entries<'_> {
    type Item = Result<Entry, CrlError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = entry(&mut self.0);
        if entry.is_err() {
            self.0 = Reader::new(&[]);
        }
        Some(entry)
    }
}

fn entry(entries: &mut Reader<'_>) -> Result<Entry, CrlError> {
    let broken = || CrlError::NotACrl("an entry is broken");
    let mut entry = entries.inside(der::SEQUENCE).ok_or_else(broken)?;
    let serial = hex::encode(entry.tagged(der::INTEGER).ok_or_else(broken)?.value);
    let revoked_at = time(entry.any().ok_or_else(broken)?)?;
    let mut read = Entry { serial, revoked_at, reason: None, invalid_since: None };
    if let Some(mut extensions) = entry.inside(der::SEQUENCE) {
        while !extensions.is_empty() {
            let (oid, critical, value) = extension(&mut extensions).ok_or_else(broken)?;
            let mut value = Reader::new(value);
            match oid {
                [0x55, 0x1d, 21] => {
                    let code = value.tagged(der::ENUMERATED).map(|code| code.value);
                    read.reason = code.and_then(|code| <[u8; 1]>::try_from(code).ok()).and_then(|[code]| Reason::from_code(code));
                }
                [0x55, 0x1d, 24] => read.invalid_since = Some(time(value.any().ok_or_else(broken)?)?),
                // certificateIssuer, for one, would make it an entry about somebody else's certificate (§5.3.3).
                _ if critical => return Err(CrlError::UnknownCritical),
                _ => {}
            }
        }
    }
    if entry.is_empty() { Ok(read) } else { Err(broken()) }
}

#[cfg(test)]
mod tests;
