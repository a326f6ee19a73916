//! What ACME asks of certificates: how a CA names one (RFC 9773 §4.1), and the one that proves a name over TLS (RFC 8737).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::certificate::Certificate;
use crate::der::{self, Reader};

/// id-ce-authorityKeyIdentifier, 2.5.29.35.
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
/// The extensions of a TBSCertificate, `[3]`, and the key identifier of an AuthorityKeyIdentifier, `[0]`.
const CONTEXT_3: u8 = 0xa3;
const PRIMITIVE_0: u8 = 0x80;

/// The two parts by which a CA knows a certificate that it issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateId<'a> {
    /// The key identifier of the authority key identifier.
    pub authority_key_id: &'a [u8],
    /// The content of the serial number, a leading 00 included.
    pub serial: &'a [u8],
}

impl CertificateId<'_> {
    /// The identifier as it stands in URLs: both parts in base64url, with a dot between.
    #[must_use]
    pub fn encode(&self) -> String {
        format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(self.authority_key_id), BASE64_URL_SAFE_NO_PAD.encode(self.serial))
    }
}

/// The SubjectPublicKeyInfo of a request (RFC 2986 §4.1), DER; what else it says is not looked at.
#[must_use]
pub fn key_of_request(csr: &[u8]) -> Option<&[u8]> {
    let mut info = Reader::new(csr).inside(der::SEQUENCE)?.inside(der::SEQUENCE)?;
    info.tagged(der::INTEGER)?; // version
    info.tagged(der::SEQUENCE)?; // subject
    Some(info.tagged(der::SEQUENCE)?.raw)
}

impl Certificate {
    /// How its issuer knows it (RFC 9773 §4.1); `None` where it does not name its issuer's key.
    #[must_use]
    pub fn acme_id(&self) -> Option<CertificateId<'_>> {
        let mut tbs = Reader::new(self.der()).inside(der::SEQUENCE)?.inside(der::SEQUENCE)?;
        tbs.tagged(der::CONTEXT_0); // version
        let serial = tbs.tagged(der::INTEGER)?.value;
        let mut extensions = loop {
            if let Some(mut wrapped) = tbs.inside(CONTEXT_3) {
                break wrapped.inside(der::SEQUENCE)?;
            }
            tbs.any()?;
        };
        while let Some(mut extension) = extensions.inside(der::SEQUENCE) {
            if extension.tagged(der::OID)?.value == AUTHORITY_KEY_IDENTIFIER {
                const BOOLEAN: u8 = 0x01;
                extension.tagged(BOOLEAN); // critical
                let value = extension.tagged(der::OCTET_STRING)?.value;
                let authority_key_id = Reader::new(value).inside(der::SEQUENCE)?.tagged(PRIMITIVE_0)?.value;
                return Some(CertificateId { authority_key_id, serial });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Authority, KeyType, Time};

    /// The example of RFC 9773 §4.1.
    #[test]
    fn an_identifier_is_encoded_as_the_standard_says() {
        let id = CertificateId {
            authority_key_id: &[
                0x69, 0x88, 0x5B, 0x6B, 0x87, 0x46, 0x40, 0x41, 0xE1, 0xB3, 0x7B, 0x84, 0x7B, 0xA0, 0xAE, 0x2C, 0xDE, 0x01, 0xC8, 0xD4,
            ],
            serial: &[0x00, 0x87, 0x65, 0x43, 0x21],
        };
        assert_eq!(id.encode(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    }

    #[test]
    fn a_leaf_names_its_issuers_key_and_a_root_names_none() {
        let (from, until) = (Time::from_unix(1_700_000_000), Time::from_unix(1_800_000_000));
        let authority = Authority::new("Root", from, until).unwrap();
        let (leaf, _) = authority.leaf(&["a.example.com"], KeyType::EcdsaP256, from, until).unwrap();
        let id = leaf.acme_id().unwrap();
        assert_eq!(id.authority_key_id.len(), 20);
        let hex: String = id.serial.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, leaf.serial());
    }
}
