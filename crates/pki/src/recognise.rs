//! What a file is by its first bytes, before all of it is there.

use crate::der;

/// Bytes of a file that [`recognise`] wants to see; fewer only if there are no more.
pub const HEAD: usize = 32;

/// What a file seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// A DER certificate of version 2 or 3: nothing else begins so.
    Certificate,
    /// A SEQUENCE that begins with a SEQUENCE that begins with an INTEGER: perhaps a certificate of version 1, a request, a list.
    PerhapsCertificate,
    /// PKCS#12 (RFC 7292 §4).
    Pkcs12,
    /// PKCS#7 or CMS signedData (RFC 5652 §5).
    Pkcs7,
    /// PKCS#8, in the clear (RFC 5958 §2).
    Pkcs8,
    /// PKCS#8 under a password (RFC 5958 §3).
    EncryptedPkcs8,
    /// Perhaps an RSA key of PKCS#1 (RFC 8017 appendix A.1.2).
    PerhapsPkcs1,
    /// Perhaps an elliptic curve's key of SEC 1 (RFC 5915 §3).
    PerhapsSec1,
    /// A Java keystore, JKS or JCEKS.
    JavaKeystore,
}

/// A shape, and how many bytes it takes, if its beginning says so (BER of indefinite length and Java keystores do not).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// What it seems to be.
    pub shape: Shape,
    /// Its length in bytes with header.
    pub length: Option<u64>,
}

/// 1.2.840.113549.1: what begins the names of RSA's standards.
const PKCS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1];
/// BER's mark of a length that is told by an end (X.690 §8.1.3.6).
const INDEFINITE: u8 = 0x80;

/// Says what begins with these bytes; `None` for nothing that this crate reads.
#[must_use]
pub fn recognise(head: &[u8]) -> Option<Recognised> {
    if matches!(head.first_chunk()?, [0xfe, 0xed, 0xfe, 0xed] | [0xce, 0xce, 0xce, 0xce]) {
        let version = head.get(4..8)?;
        return matches!(version, [0, 0, 0, 1 | 2]).then_some(Recognised { shape: Shape::JavaKeystore, length: None });
    }
    let (inner, length) = enter(head, der::SEQUENCE)?;
    let shape = match *inner.first()? {
        der::SEQUENCE => {
            let (inside, _) = enter(inner, der::SEQUENCE)?;
            if inside.starts_with(&[der::CONTEXT_0, 3, der::INTEGER, 1]) {
                Shape::Certificate
            } else if inside.first() == Some(&der::INTEGER) {
                Shape::PerhapsCertificate
            } else {
                // Password-based encryption: PKCS#5 (RFC 8018) or PKCS#12 appendix C.
                let arc = oid(inside)?.strip_prefix(PKCS)?;
                matches!(arc.first(), Some(5 | 12)).then_some(Shape::EncryptedPkcs8)?
            }
        }
        // id-signedData.
        der::OID => (oid(inner)? == [PKCS, &[7, 2]].concat()).then_some(Shape::Pkcs7)?,
        der::INTEGER => {
            let version = match inner {
                [_, 1, version, ..] => *version,
                _ => return None,
            };
            let next = inner.get(3..)?;
            match (version, *next.first()?) {
                (3, der::SEQUENCE) => {
                    let (info, _) = enter(next, der::SEQUENCE)?;
                    oid(info)?.strip_prefix(PKCS).filter(|arc| matches!(arc, [7, 1 | 2])).map(|_| Shape::Pkcs12)?
                }
                (0 | 1, der::SEQUENCE) => {
                    let (algorithm, _) = enter(next, der::SEQUENCE)?;
                    (algorithm.first() == Some(&der::OID)).then_some(Shape::Pkcs8)?
                }
                (0, der::INTEGER) => Shape::PerhapsPkcs1,
                (1, der::OCTET_STRING) => Shape::PerhapsSec1,
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Recognised { shape, length })
}

/// What follows the header of an element with this tag, as far as it is there; its length with header.
fn enter(bytes: &[u8], tag: u8) -> Option<(&[u8], Option<u64>)> {
    let (&[first, length], rest) = bytes.split_first_chunk()?;
    if first != tag {
        return None;
    }
    if length == INDEFINITE {
        return Some((rest, None));
    }
    if length < INDEFINITE {
        return Some((rest, Some(2 + u64::from(length))));
    }
    let count = usize::from(length & 0x7f);
    if count > 4 || rest.len() < count {
        return None;
    }
    let (digits, rest) = rest.split_at(count);
    let content = digits.iter().fold(0u64, |sum, &digit| (sum << 8) | u64::from(digit));
    Some((rest, Some(2 + u64::from(length & 0x7f) + content)))
}

/// The content of the OID that stands first, all of which must be there.
fn oid(bytes: &[u8]) -> Option<&[u8]> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    (tag == der::OID).then_some(())?;
    rest.get(..usize::from(length))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn table() {
        let check = |hex: &str, expected: Option<(Shape, Option<u64>)>| {
            let head = ::hex::decode(hex.replace(' ', "")).unwrap();
            assert_eq!(recognise(&head).map(|found| (found.shape, found.length)), expected, "{hex}");
        };
        check("30820300 308201e8 a003020102", Some((Shape::Certificate, Some(0x304))));
        check("30820300 308201e8 020105", Some((Shape::PerhapsCertificate, Some(0x304))));
        check("3082094f 020103 3082 0915 0609 2a864886f70d010701", Some((Shape::Pkcs12, Some(0x953))));
        check("3080 020103 3080 0609 2a864886f70d010701", Some((Shape::Pkcs12, None)));
        check("30820300 0609 2a864886f70d010702 a0", Some((Shape::Pkcs7, Some(0x304))));
        check("3081ee 020100 3010 0607 2a8648ce3d0201", Some((Shape::Pkcs8, Some(0xf1))));
        check("3081ee 304b 0609 2a864886f70d01050d", Some((Shape::EncryptedPkcs8, Some(0xf1))));
        check("308204a4 020100 0282010100", Some((Shape::PerhapsPkcs1, Some(0x4a8))));
        check("3077 020101 0420", Some((Shape::PerhapsSec1, Some(0x79))));
        check("feedfeed 00000002 00000001", Some((Shape::JavaKeystore, None)));
        check("cececece 00000002 00000001", Some((Shape::JavaKeystore, None)));
        for nothing in
            ["", "30", "3082", "feedfeed", "feedfeed 00000009", "feedface 00000002", "302e 312e 32", "3085 0000000001 30", "1f8b 0800"]
        {
            check(nothing, None);
        }
        assert_eq!(recognise(b"0.1.2\n"), None);
    }
}
