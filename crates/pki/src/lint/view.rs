//! A certificate's fields and extensions as they are encoded.

use crate::der::{self, Element, Reader};

/// Most extensions of one certificate that are looked at.
const MAX_EXTENSIONS: usize = 64;

/// The encoded parts of a certificate.
pub(super) struct View<'a> {
    pub(super) version: Option<&'a [u8]>,
    pub(super) serial: &'a [u8],
    pub(super) inner_algorithm: &'a [u8],
    pub(super) outer_algorithm: &'a [u8],
    pub(super) issuer: &'a [u8],
    pub(super) not_before: Element<'a>,
    pub(super) not_after: Element<'a>,
    pub(super) subject: &'a [u8],
    pub(super) unique_identifiers: bool,
    pub(super) extensions: Vec<Extension<'a>>,
}

/// One extension.
pub(super) struct Extension<'a> {
    pub(super) oid: &'a [u8],
    pub(super) critical: bool,
    /// `critical` is written although it is FALSE, or not as DER writes it.
    pub(super) odd_critical: bool,
    pub(super) value: &'a [u8],
}

impl<'a> View<'a> {
    /// `None` if the structure is broken.
    pub(super) fn of(der: &'a [u8]) -> Option<Self> {
        let mut certificate = Reader::new(der).inside(der::SEQUENCE)?;
        let mut tbs = certificate.inside(der::SEQUENCE)?;
        let outer_algorithm = certificate.tagged(der::SEQUENCE)?.raw;
        let version = match tbs.inside(der::CONTEXT_0) {
            Some(mut version) => Some(version.tagged(der::INTEGER)?.value),
            None => None,
        };
        let serial = tbs.tagged(der::INTEGER)?.value;
        let inner_algorithm = tbs.tagged(der::SEQUENCE)?.raw;
        let issuer = tbs.tagged(der::SEQUENCE)?.raw;
        let mut validity = tbs.inside(der::SEQUENCE)?;
        let (not_before, not_after) = (validity.any()?, validity.any()?);
        let subject = tbs.tagged(der::SEQUENCE)?.raw;
        tbs.tagged(der::SEQUENCE)?; // the public key
        let unique_identifiers = [0x81, 0x82].map(|tag| tbs.tagged(tag).is_some()).contains(&true);
        let mut extensions = Vec::with_capacity(10);
        if let Some(mut explicit) = tbs.inside(0xa3) {
            let mut list = explicit.inside(der::SEQUENCE)?;
            while !list.is_empty() {
                if extensions.len() == MAX_EXTENSIONS {
                    return None;
                }
                let mut extension = list.inside(der::SEQUENCE)?;
                let oid = extension.tagged(der::OID)?.value;
                let critical = extension.tagged(der::BOOLEAN).map(|critical| critical.value);
                let value = extension.tagged(der::OCTET_STRING)?.value;
                extensions.push(Extension {
                    oid,
                    critical: critical.is_some_and(|critical| critical != [0]),
                    odd_critical: critical.is_some_and(|critical| critical != [0xff]),
                    value,
                });
            }
        }
        let all = tbs.is_empty();
        let view = Self {
            version,
            serial,
            inner_algorithm,
            outer_algorithm,
            issuer,
            not_before,
            not_after,
            subject,
            unique_identifiers,
            extensions,
        };
        all.then_some(view)
    }

    /// The first extension 2.5.29.`which`.
    pub(super) fn extension(&self, which: u8) -> Option<&Extension<'a>> {
        self.extensions.iter().find(|extension| extension.oid == [0x55, 0x1d, which])
    }

    pub(super) fn subject_key_identifier(&self) -> Option<&'a [u8]> {
        Reader::new(self.extension(14)?.value).tagged(der::OCTET_STRING).map(|identifier| identifier.value)
    }

    /// The keyIdentifier of the authority key identifier.
    pub(super) fn authority_key_identifier(&self) -> Option<&'a [u8]> {
        Reader::new(self.extension(35)?.value).inside(der::SEQUENCE)?.tagged(0x80).map(|identifier| identifier.value)
    }
}
