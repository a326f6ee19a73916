//! Names of certificates: what they cover, and how they are shown.

use std::fmt;
use std::net::IpAddr;

use crate::algorithm::dotted;
use crate::der::{self, Reader, Writer};
use crate::text::push_escaped;

/// One subject alternative name (RFC 5280 §4.2.1.6). `Display` is escaped; the fields are not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A DNS name, perhaps with a wildcard, as it stands in the certificate.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
    /// Any other kind, as "email:…", "URI:…", "dirName:…", or with what is wrong with it.
    Other(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Other(name) => f.write_str(&crate::text::escape(name)),
            Self::Ip(address) => write!(f, "{address}"),
        }
    }
}

impl Name {
    /// Reads one GeneralName.
    pub(crate) fn from_general_name(name: der::Element<'_>) -> Self {
        let text = |kind: &str| match std::str::from_utf8(name.value) {
            Ok(text) => Self::Other(format!("{kind}:{text}")),
            Err(_) => Self::Other(format!("{kind}:#{}", shown_hex(name.value))),
        };
        match name.tag {
            0x82 => match std::str::from_utf8(name.value) {
                Ok(text) if text.is_ascii() => Self::Dns(text.to_owned()),
                _ => text("malformed DNS"),
            },
            0x87 => match name.value.len() {
                4 => <[u8; 4]>::try_from(name.value).map_or_else(|_| text("IP"), |a| Self::Ip(a.into())),
                16 => <[u8; 16]>::try_from(name.value).map_or_else(|_| text("IP"), |a| Self::Ip(a.into())),
                _ => Self::Other(format!("malformed IP:#{}", shown_hex(name.value))),
            },
            0x81 => text("email"),
            0x86 => text("URI"),
            0x88 => Self::Other(format!("RID:{}", dotted(name.value))),
            0xa4 => Self::Other(format!("dirName:{}", distinguished_name(name.value))),
            0xa0 => {
                let oid = Reader::new(name.value).tagged(der::OID).map_or_else(String::new, |o| dotted(o.value));
                Self::Other(format!("otherName:{oid}"))
            }
            tag => Self::Other(format!("unknown [{}]:#{}", tag & 0x1f, shown_hex(name.value))),
        }
    }
}

/// What a client asks for: the reference identifier of RFC 9525 §6.1.
pub(crate) enum Reference {
    Ip(IpAddr),
    /// Lower case, without a final dot.
    Dns(String),
}

impl Reference {
    /// `None` if the text can be no name of a server.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(Self::Ip(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        // RFC 1035 §2.3.4: 253 octets in text, 63 per label; underscores are common in practice.
        let label = |label: &str, index: usize| {
            (index == 0 && label == "*")
                || (!label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
        };
        let ok = name.len() <= 253 && name.split('.').enumerate().all(|(index, l)| label(l, index));
        ok.then(|| Self::Dns(name.to_ascii_lowercase()))
    }

    /// RFC 9525 §6.3: a wildcard is the complete left-most label, stands for exactly one label, and
    /// needs two labels after it. An address is only ever matched by an address.
    pub(crate) fn is_covered_by(&self, name: &Name) -> bool {
        match (self, name) {
            (Self::Ip(asked), Name::Ip(presented)) => asked == presented,
            (Self::Dns(asked), Name::Dns(presented)) => {
                if asked.eq_ignore_ascii_case(presented) {
                    return true;
                }
                let Some(base) = presented.strip_prefix("*.") else {
                    return false;
                };
                let Some((first, rest)) = asked.split_once('.') else {
                    return false;
                };
                first != "*" && base.contains('.') && rest.eq_ignore_ascii_case(base)
            }
            _ => false,
        }
    }
}

/// Most attributes of one distinguished name that are shown.
const MAX_ATTRIBUTES: usize = 32;

/// A distinguished name for people: RFC 4514 (most specific part first), then escaped.
///
/// `der` is the RDNSequence with its tag.
pub(crate) fn distinguished_name(der: &[u8]) -> String {
    let mut sets = Vec::new();
    let mut sequence = Reader::new(der).inside(der::SEQUENCE);
    while let Some(set) = sequence.as_mut().and_then(Reader::any) {
        sets.push(set.value);
        if sets.len() > MAX_ATTRIBUTES {
            break;
        }
    }
    let mut out = String::new();
    for (index, set) in sets.iter().rev().enumerate() {
        let mut attributes = Reader::new(set);
        let mut first = true;
        let mut count = 0;
        while let Some(mut attribute) = attributes.inside(der::SEQUENCE) {
            let (Some(oid), Some(value)) = (attribute.tagged(der::OID), attribute.any()) else {
                break;
            };
            if index > 0 || !first {
                out.push(if first { ',' } else { '+' });
            }
            first = false;
            push_attribute(&mut out, oid.value, value);
            count += 1;
            if count >= MAX_ATTRIBUTES || out.len() > 8 * crate::text::MAX_SHOWN {
                out.push('…');
                return out;
            }
        }
    }
    out
}

pub(crate) const COMMON_NAME: [u8; 3] = [0x55, 4, 3];
pub(crate) const ORGANIZATION: [u8; 3] = [0x55, 4, 10];

/// The common names of a distinguished name; those that are no text as "#" and hexadecimal. `None` if its structure is broken.
pub(crate) fn common_names(der: &[u8]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut sequence = Reader::new(der).inside(der::SEQUENCE)?;
    while !sequence.is_empty() {
        let mut set = sequence.inside(der::SET)?;
        while !set.is_empty() {
            let mut attribute = set.inside(der::SEQUENCE)?;
            let (oid, value) = (attribute.tagged(der::OID)?, attribute.any()?);
            if oid.value == COMMON_NAME {
                found.push(attribute_text(value).unwrap_or_else(|| format!("#{}", shown_hex(value.raw))));
            }
        }
    }
    Some(found)
}

/// Writes a RelativeDistinguishedName with one attribute in UTF-8 (RFC 5280 §4.1.2.4).
pub(crate) fn write_attribute(w: &mut Writer, oid: &[u8], text: &str) {
    w.nest(der::SET, |w| {
        w.nest(der::SEQUENCE, |w| {
            w.put(der::OID, oid);
            w.put(der::UTF8_STRING, text.as_bytes());
        });
    });
}

fn push_attribute(out: &mut String, oid: &[u8], value: der::Element<'_>) {
    let short = match oid {
        [0x55, 4, last] => match last {
            3 => "CN",
            5 => "serialNumber",
            6 => "C",
            7 => "L",
            8 => "ST",
            9 => "STREET",
            10 => "O",
            11 => "OU",
            97 => "organizationIdentifier",
            _ => "",
        },
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, last] => match last {
            1 => "UID",
            25 => "DC",
            _ => "",
        },
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
        _ => "",
    };
    if short.is_empty() {
        out.push_str(&dotted(oid));
    } else {
        out.push_str(short);
    }
    out.push('=');
    match attribute_text(value) {
        Some(text) => push_escaped(out, &quoted(&text)),
        None => {
            out.push('#');
            out.push_str(&shown_hex(value.raw));
        }
    }
}

/// RFC 4514 §2.4, so that a common name cannot pretend to be more attributes.
fn quoted(text: &str) -> std::borrow::Cow<'_, str> {
    let special = |c: char| matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\');
    let at_edge = text.starts_with([' ', '#']) || text.ends_with(' ');
    if !at_edge && !text.contains(special) {
        return text.into();
    }
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len() + 8);
    for (index, c) in text.chars().enumerate() {
        if special(c) || (index == 0 && matches!(c, ' ' | '#')) || (index == last && c == ' ') {
            out.push('\\');
        }
        out.push(c);
    }
    out.into()
}

/// The text of a DirectoryString and its relatives (RFC 5280 §4.1.2.4); `None` for other types.
fn attribute_text(value: der::Element<'_>) -> Option<String> {
    match value.tag {
        // UTF8String, NumericString, PrintableString, IA5String, VisibleString
        0x0c | 0x12 | 0x13 | 0x16 | 0x1a => std::str::from_utf8(value.value).ok().map(str::to_owned),
        // TeletexString, in practice Latin-1
        0x14 => Some(value.value.iter().map(|&byte| char::from(byte)).collect()),
        // BMPString, in practice UTF-16
        0x1e => {
            let units = value.value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            Some(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
        }
        // UniversalString
        0x1c => {
            let words = value.value.chunks_exact(4).map(|w| u32::from_be_bytes([w[0], w[1], w[2], w[3]]));
            Some(words.map(|w| char::from_u32(w).unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
        }
        _ => None,
    }
}

/// Bytes that are no text, cut to what somebody may want to read.
fn shown_hex(bytes: &[u8]) -> String {
    const MAX: usize = 32;
    if bytes.len() <= MAX {
        return hex::encode(bytes);
    }
    format!("{}…", hex::encode(&bytes[..MAX]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn coverage() {
        let check = |presented: &str, asked: &str, expected: bool| {
            let name = presented.parse().map_or_else(|_| Name::Dns(presented.into()), Name::Ip);
            let covered = Reference::parse(asked).is_some_and(|r| r.is_covered_by(&name));
            assert_eq!(covered, expected, "{presented} for {asked}");
        };
        check("example.com", "example.com", true);
        check("Example.COM", "eXample.com.", true);
        check("example.com", "www.example.com", false);
        check("*.example.com", "www.example.com", true);
        check("*.example.com", "WWW.EXAMPLE.com.", true);
        check("*.example.com", "example.com", false);
        check("*.example.com", "a.b.example.com", false);
        check("*.example.com", "*.example.com", true);
        check("*.example.com", ".example.com", false);
        check("*.com", "example.com", false);
        check("*", "example", false);
        check("w*.example.com", "www.example.com", false);
        check("*.*.example.com", "a.b.example.com", false);
        check("a.*.com", "a.example.com", false);
        check("*.core.windows.net", "blob.core.windows.net", true);
        check("192.0.2.1", "192.0.2.1", true);
        check("2001:db8::1", "[2001:DB8:0::1]", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("example.com", "", false);
        check("", "", false);
        check("example.com", "exa mple.com", false);
        check("_acme.example.com", "_acme.example.com", true);
        check(&"a".repeat(64), &"a".repeat(64), false);
        check("example.com", "example.com..", false);
    }

    #[test]
    fn an_address_needs_an_address() {
        let asked = Reference::parse("192.0.2.1").unwrap();
        assert!(!asked.is_covered_by(&Name::Dns("192.0.2.1".into())));
        assert!(!asked.is_covered_by(&Name::Dns("*.0.2.1".into())));
    }

    fn rdn(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        let pair = [der::element(der::OID, oid), der::element(tag, value)].concat();
        der::element(0x31, &der::element(der::SEQUENCE, &pair))
    }

    #[test]
    fn distinguished_names_are_readable_and_harmless() {
        let check = |rdns: &[Vec<u8>], expected: &str| {
            assert_eq!(distinguished_name(&der::element(der::SEQUENCE, &rdns.concat())), expected);
        };
        let cn = |text: &str| rdn(&[0x55, 4, 3], 0x0c, text.as_bytes());
        check(&[rdn(&[0x55, 4, 6], 0x13, b"CH"), rdn(&[0x55, 4, 10], 0x0c, b"Acme"), cn("example.com")], "CN=example.com,O=Acme,C=CH");
        check(&[cn("a,O=Bank+CN=b")], "CN=a\\,O=Bank\\+CN=b");
        check(&[cn(" x ")], "CN=\\ x\\ ");
        check(&[cn("\x1b[31m\u{202e}x\0")], "CN=\\u{1b}[31m\\u{202e}x\\u{0}");
        check(&[rdn(&[0x55, 4, 3], 0x1e, &[0, 0x48, 0, 0x69])], "CN=Hi");
        check(&[rdn(&[0x55, 4, 3], 0x14, &[0x5a, 0xfc])], "CN=Zü");
        check(&[rdn(&[0x55, 4, 3], 0x0c, &[0xff])], "CN=#0c01ff");
        check(&[rdn(&[0x2a, 3, 4], 0x0c, b"x")], "1.2.3.4=x");
        check(&[], "");
        assert!(distinguished_name(&der::element(der::SEQUENCE, &vec![cn(&"\0".repeat(5000)); 500].concat())).len() < 30_000);
    }
}
