//! Certificates that travel in PKCS#7 or CMS signedData (RFC 5652 §5), as .p7b files do. Nothing is verified.

use crate::certificate::{Certificate, ParseError};
use crate::der::{self, Reader};

/// Most certificates of one message.
pub const MAX_CERTIFICATES: usize = 10_000;

/// id-signedData (RFC 5652 §5.1).
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
/// `[1]`, implicit: the lists of revoked certificates.
const CONTEXT_1: u8 = 0xa1;

/// Why bytes are not signedData.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs7Error {
    /// Not signedData in DER.
    #[error("not PKCS#7 signedData in DER; if it is BER, write it anew with `openssl pkcs7 -inform DER -in FILE -outform DER -out NEW`")]
    Malformed,
    /// More than [`MAX_CERTIFICATES`].
    #[error("the PKCS#7 message holds more than {MAX_CERTIFICATES} certificates")]
    TooMany,
}

/// The certificates of a message in their order, each by itself: one that cannot be read does not hide the others.
///
/// # Errors
/// See [`Pkcs7Error`].
pub fn certificates(bytes: &[u8]) -> Result<Vec<Result<Certificate, ParseError>>, Pkcs7Error> {
    let mut list = match find(bytes).ok_or(Pkcs7Error::Malformed)? {
        Some(list) => list,
        None => return Ok(Vec::new()),
    };
    let mut found = Vec::new();
    while !list.is_empty() {
        if found.len() == MAX_CERTIFICATES {
            return Err(Pkcs7Error::TooMany);
        }
        let element = list.any().ok_or(Pkcs7Error::Malformed)?;
        // Other choices of CertificateChoices (RFC 5652 §10.2.2) are attribute certificates and the like.
        if element.tag == der::SEQUENCE {
            found.push(Certificate::parse(element.raw));
        }
    }
    Ok(found)
}

/// The content of `certificates [0] IMPLICIT`, if it is there.
fn find(bytes: &[u8]) -> Option<Option<Reader<'_>>> {
    let mut info = Reader::new(bytes).inside(der::SEQUENCE)?;
    (info.tagged(der::OID)?.value == SIGNED_DATA).then_some(())?;
    let mut signed = info.inside(der::CONTEXT_0)?.inside(der::SEQUENCE)?;
    signed.unsigned()?;
    signed.tagged(0x31)?; // digestAlgorithms, a SET
    signed.tagged(der::SEQUENCE)?; // encapContentInfo
    match signed.inside(der::CONTEXT_0) {
        Some(list) => Some(Some(list)),
        // Without certificates there follow revocation lists, or the signers' SET.
        None => (signed.tagged(CONTEXT_1).is_some() || signed.tagged(0x31).is_some()).then_some(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn message(certificates: &[&[u8]]) -> Vec<u8> {
        let data = der::element(der::SEQUENCE, &der::element(der::OID, &SIGNED_DATA[..8].iter().chain(&[1]).copied().collect::<Vec<_>>()));
        let list = match certificates {
            [] => Vec::new(),
            some => der::element(der::CONTEXT_0, &some.concat()),
        };
        let signed = [&[der::INTEGER, 1, 1, 0x31, 0][..], &data, &list, &[0x31, 0]].concat();
        let content = der::element(der::CONTEXT_0, &der::element(der::SEQUENCE, &signed));
        der::element(der::SEQUENCE, &[der::element(der::OID, SIGNED_DATA), content].concat())
    }

    #[test]
    fn each_certificate_stands_for_itself() {
        let (from, until) = (crate::Time::parse("2020-01-01").unwrap(), crate::Time::parse("2040-01-01").unwrap());
        let root = crate::Authority::new("Root", from, until).unwrap();
        let good = root.certificate().der();
        let broken = der::element(der::SEQUENCE, b"xyz");
        let found = certificates(&message(&[good, &broken, good])).unwrap();
        assert_eq!(found.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(certificates(&message(&[])), Ok(Vec::new()));
        let whole = message(&[good]);
        for cut in 0..whole.len() {
            assert_eq!(certificates(&whole[..cut]), Err(Pkcs7Error::Malformed), "{cut}");
        }
        assert_eq!(certificates(good), Err(Pkcs7Error::Malformed));
    }
}
