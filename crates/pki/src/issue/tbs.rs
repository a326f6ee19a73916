//! Writes a TBSCertificate (RFC 5280 §4.1). The one place where certificates are put together.

use super::constraints::Constraints;
use crate::algorithm::split_spki;
use crate::der::{self, Writer};
use crate::name::{COMMON_NAME, ORGANIZATION, write_attribute};
use crate::time::Time;

/// KeyUsage bits (RFC 5280 §4.2.1.3), bit 0 lowest.
pub(crate) const DIGITAL_SIGNATURE: u16 = 1;
pub(crate) const KEY_ENCIPHERMENT: u16 = 1 << 2;
/// keyCertSign and cRLSign.
pub(crate) const AUTHORITY_USAGE: u16 = 0b110_0000;

pub(crate) const SERVER_AUTH: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 3, 1];
pub(crate) const CLIENT_AUTH: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 3, 2];

/// basicConstraints.
#[derive(Clone, Copy)]
pub(crate) enum Basic {
    Leaf,
    Authority { path_length: Option<u8> },
}

/// Everything that a certificate says, except who signed it with what result.
pub(crate) struct Tbs<'a> {
    /// Big-endian digits, not negative.
    pub(crate) serial: &'a [u8],
    /// AlgorithmIdentifier of the signature, with its tag.
    pub(crate) algorithm: &'a [u8],
    /// The issuer's name as encoded.
    pub(crate) issuer: &'a [u8],
    pub(crate) not_before: Time,
    pub(crate) not_after: Time,
    /// The subject as encoded.
    pub(crate) subject: &'a [u8],
    pub(crate) spki: &'a [u8],
    pub(crate) basic: Basic,
    pub(crate) key_usage: u16,
    /// Extended key usages, object identifiers as encoded.
    pub(crate) usages: &'a [&'a [u8]],
    /// `None` for one that signs itself.
    pub(crate) authority_key_identifier: Option<&'a [u8]>,
    /// GeneralNames as encoded, one after the other.
    pub(crate) names: &'a [u8],
    pub(crate) constraints: Option<&'a Constraints>,
    /// Object identifiers as encoded.
    pub(crate) policies: &'a [Vec<u8>],
    pub(crate) crl: Option<&'a str>,
    /// Further extensions as encoded.
    pub(crate) more: &'a [u8],
}

impl Tbs<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(512 + self.spki.len() + self.names.len());
        writer.nest(der::SEQUENCE, |w| {
            w.nest(der::CONTEXT_0, |w| w.unsigned(&[2])); // version 3
            w.unsigned(self.serial);
            w.raw(self.algorithm);
            w.raw(self.issuer);
            w.nest(der::SEQUENCE, |w| {
                put_time(w, self.not_before);
                put_time(w, self.not_after);
            });
            w.raw(self.subject);
            w.raw(self.spki);
            w.nest(0xa3, |w| w.nest(der::SEQUENCE, |w| self.extensions(w)));
        });
        writer.into_bytes()
    }

    fn extensions(&self, w: &mut Writer) {
        // RFC 5280 §4.2.1.9: critical in authorities; in leaves it may be, and who ignores it must not take a leaf for an authority.
        extension(w, 19, true, |w| {
            w.nest(der::SEQUENCE, |w| {
                if let Basic::Authority { path_length } = self.basic {
                    w.yes();
                    if let Some(length) = path_length {
                        w.unsigned(&[length]);
                    }
                }
            });
        });
        if self.key_usage != 0 {
            extension(w, 15, true, |w| w.named_bits(self.key_usage));
        }
        if !self.usages.is_empty() {
            extension(w, 37, false, |w| w.nest(der::SEQUENCE, |w| self.usages.iter().for_each(|usage| w.put(der::OID, usage))));
        }
        extension(w, 14, false, |w| w.put(der::OCTET_STRING, &key_identifier(self.spki)));
        if let Some(identifier) = self.authority_key_identifier {
            authority_key_identifier(w, identifier);
        }
        if !self.names.is_empty() {
            // RFC 5280 §4.2.1.6: critical if the subject is empty.
            let critical = self.subject == [der::SEQUENCE, 0];
            extension(w, 17, critical, |w| w.put(der::SEQUENCE, self.names));
        }
        if let Some(constraints) = self.constraints.filter(|constraints| !constraints.is_empty()) {
            extension(w, 30, true, |w| constraints.write(w));
        }
        if let Some(url) = self.crl {
            // DistributionPoint → distributionPoint [0] → fullName [0] → URI
            extension(w, 31, false, |w| {
                w.nest(der::SEQUENCE, |w| {
                    w.nest(der::SEQUENCE, |w| {
                        w.nest(der::CONTEXT_0, |w| w.nest(der::CONTEXT_0, |w| w.put(0x86, url.as_bytes())));
                    });
                });
            });
        }
        if !self.policies.is_empty() {
            extension(w, 32, false, |w| {
                w.nest(der::SEQUENCE, |w| {
                    for policy in self.policies {
                        w.nest(der::SEQUENCE, |w| w.put(der::OID, policy));
                    }
                });
            });
        }
        w.raw(self.more);
    }
}

/// One extension below id-ce, 2.5.29.
pub(crate) fn extension(w: &mut Writer, which: u8, critical: bool, value: impl FnOnce(&mut Writer)) {
    w.nest(der::SEQUENCE, |w| {
        w.put(der::OID, &[0x55, 0x1d, which]);
        if critical {
            w.yes();
        }
        w.nest(der::OCTET_STRING, value);
    });
}

pub(crate) fn authority_key_identifier(w: &mut Writer, identifier: &[u8]) {
    extension(w, 35, false, |w| w.nest(der::SEQUENCE, |w| w.put(0x80, identifier)));
}

/// The identifier of a key: the first 160 bits of the SHA-256 of its bits (RFC 7093 §2, method 1).
pub(crate) fn key_identifier(spki: &[u8]) -> [u8; 20] {
    let (_, key) = split_spki(spki).unwrap_or_default();
    let digest = crate::fingerprint::Fingerprint::of(key);
    let mut identifier = [0; 20];
    identifier.copy_from_slice(&digest.as_bytes()[..20]);
    identifier
}

/// RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050; before 1950 there is no UTCTime either.
pub(crate) fn put_time(w: &mut Writer, time: Time) {
    let digits = generalized(time);
    match time.date().year() {
        1950..2050 => w.put(der::UTC_TIME, digits.get(2..).unwrap_or_default()),
        _ => w.put(der::GENERALIZED_TIME, &digits),
    }
}

/// YYYYMMDDHHMMSSZ.
pub(crate) fn generalized(time: Time) -> Vec<u8> {
    // Always YYYY-MM-DDTHH:MM:SSZ.
    time.to_string().bytes().filter(u8::is_ascii_digit).chain([b'Z']).collect()
}

/// A subject of organization and common name, the general before the particular; perhaps empty.
pub(crate) fn subject(common_name: Option<&str>, organization: Option<&str>) -> Vec<u8> {
    let mut writer = Writer::with_capacity(96);
    writer.nest(der::SEQUENCE, |w| {
        for (oid, text) in [(ORGANIZATION, organization), (COMMON_NAME, common_name)] {
            if let Some(text) = text {
                write_attribute(w, &oid, text);
            }
        }
    });
    writer.into_bytes()
}

/// The content of an object identifier in dotted form (X.690 §8.19).
pub(crate) fn object_identifier(dotted: &str) -> Option<Vec<u8>> {
    const MAX_ARCS: usize = 32;
    let arcs = dotted.split('.').map(|arc| {
        let digits = !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()) && (arc == "0" || !arc.starts_with('0'));
        if digits { arc.parse::<u64>().ok() } else { None }
    });
    let arcs = arcs.collect::<Option<Vec<u64>>>()?;
    let [first, second, rest @ ..] = arcs.as_slice() else { return None };
    if *first > 2 || (*first < 2 && *second > 39) || arcs.len() > MAX_ARCS {
        return None;
    }
    let mut out = Vec::with_capacity(16);
    for arc in std::iter::once((first * 40).checked_add(*second)?).chain(rest.iter().copied()) {
        let groups = (64 - arc.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let more = if group > 0 { 0x80 } else { 0 };
            out.push((arc >> (7 * group)).to_le_bytes()[0] & 0x7f | more);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::algorithm::dotted;

    #[test]
    fn object_identifiers() {
        for text in ["2.23.140.1.2.1", "1.3.6.1.4.1.99999.1", "2.999.3", "0.0", "1.39.0.127.128.18446744073709551615"] {
            assert_eq!(dotted(&object_identifier(text).unwrap()), text);
        }
        for text in ["", "1", "1.", ".1", "3.1", "1.40", "1.2.x", "1.2.03", "1.2.-1", "1.2.18446744073709551616"] {
            assert_eq!(object_identifier(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_written_as_the_standard_says() {
        let check = |text: &str, tag: u8, expected: &str| {
            let mut writer = Writer::with_capacity(20);
            put_time(&mut writer, Time::parse(text).unwrap());
            assert_eq!(writer.into_bytes(), der::element(tag, expected.as_bytes()), "{text}");
        };
        check("2026-11-28T10:00:01Z", der::UTC_TIME, "261128100001Z");
        check("1950-01-01", der::UTC_TIME, "500101000000Z");
        check("1949-12-31T23:59:59Z", der::GENERALIZED_TIME, "19491231235959Z");
        check("2049-12-31T23:59:59Z", der::UTC_TIME, "491231235959Z");
        check("2050-01-01", der::GENERALIZED_TIME, "20500101000000Z");
        check("9999-12-31T23:59:59Z", der::GENERALIZED_TIME, "99991231235959Z");
        check("0001-01-01", der::GENERALIZED_TIME, "00010101000000Z");
    }
}
