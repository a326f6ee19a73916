//! The two messages that are sent (RFC 1035 §4, RFC 2136 §2), and as much of the answers as is needed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Types (RFC 1035 §3.2.2, RFC 3596 §2.1, RFC 8945 §4.2) and classes (RFC 1035 §3.2.4, RFC 2136 §1.3).
pub(crate) const ADDRESS_4: u16 = 1;
pub(crate) const NAME_SERVER: u16 = 2;
pub(crate) const START_OF_AUTHORITY: u16 = 6;
pub(crate) const TEXT: u16 = 16;
pub(crate) const ADDRESS_6: u16 = 28;
pub(crate) const TSIG: u16 = 250;
pub(crate) const INTERNET: u16 = 1;
pub(crate) const NO_CLASS: u16 = 254;
pub(crate) const ANY_CLASS: u16 = 255;
/// The operation of an update, in place (RFC 2136 §1.3).
const UPDATE: u16 = 5 << 11;
/// Bits of the flags: an answer, and one that was cut.
const RESPONSE: u16 = 0x8000;
const TRUNCATED: u16 = 0x0200;
/// The length of a header.
pub(crate) const HEADER: usize = 12;
/// The most records of an answer that are read.
const MAX_RECORDS: usize = 512;
/// The longest name in octets, and label (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// The longest string of a TXT record (RFC 1035 §3.3).
const MAX_STRING: usize = 255;

/// A message without its identifier, which is drawn when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request(pub(crate) Vec<u8>);

/// A question for one type of record. Recursion is not asked for: whoever is asked is to know.
pub(crate) fn query(name: &str, kind: u16) -> Result<Request, String> {
    let mut bytes = header(0, [1, 0, 0, 0]);
    put_name(&mut bytes, name)?;
    put(&mut bytes, &[kind, INTERNET]);
    Ok(Request(bytes))
}

/// An update that adds one TXT record with this time to live, or removes that very record (RFC 2136 §2.5.1, §2.5.4).
pub(crate) fn update(zone: &str, record: &str, value: &str, ttl: Option<u32>) -> Result<Request, String> {
    let mut bytes = header(UPDATE, [1, 0, 1, 0]);
    put_name(&mut bytes, zone)?;
    put(&mut bytes, &[START_OF_AUTHORITY, INTERNET]);
    put_name(&mut bytes, record)?;
    put(&mut bytes, &[TEXT, if ttl.is_some() { INTERNET } else { NO_CLASS }]);
    bytes.extend_from_slice(&ttl.unwrap_or(0).to_be_bytes());
    let length = u8::try_from(value.len()).map_err(|_| format!("a value has at most {MAX_STRING} characters"))?;
    put(&mut bytes, &[u16::from(length) + 1]);
    bytes.push(length);
    bytes.extend_from_slice(value.as_bytes());
    Ok(Request(bytes))
}

fn header(flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    put(&mut bytes, &[0, flags]);
    put(&mut bytes, &counts);
    bytes
}

pub(crate) fn put(bytes: &mut Vec<u8>, numbers: &[u16]) {
    for number in numbers {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
}

/// A name in lower case and without compression, which is also its canonical form (RFC 4034 §6.2).
pub(crate) fn put_name(bytes: &mut Vec<u8>, name: &str) -> Result<(), String> {
    let start = bytes.len();
    for label in name.trim_end_matches('.').split('.').filter(|_| !name.trim_end_matches('.').is_empty()) {
        let length = u8::try_from(label.len()).unwrap_or(u8::MAX);
        if length == 0 || usize::from(length) > MAX_LABEL || !label.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!("{} is no DNS name", pki::text::escape(name)));
        }
        bytes.push(length);
        bytes.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
    }
    bytes.push(0);
    if bytes.len() - start > MAX_NAME {
        return Err(format!("{} is longer than a DNS name may be", pki::text::escape(name)));
    }
    Ok(())
}

/// A record of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// Where it begins.
    pub(crate) at: usize,
    name_at: usize,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    data_at: usize,
    pub(crate) data: &'a [u8],
}

/// An answer. Nothing in it is believed because of its form; what is cut off is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    /// The places of its records: answers first, of which there are so many.
    records: Vec<usize>,
    answers: usize,
    /// All that its header counts is there, and nothing else.
    pub(crate) whole: bool,
}

impl Message {
    /// Reads an answer; `None` where it is no answer at all.
    pub(crate) fn read(bytes: Vec<u8>) -> Option<Message> {
        let number = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        (number(2)? & RESPONSE != 0).then_some(())?;
        let counts = [number(4)?, number(6)?, number(8)?, number(10)?].map(usize::from);
        let mut at = HEADER;
        for _ in 0..counts[0].min(MAX_RECORDS) {
            at = skip_name(&bytes, at)? + 4;
        }
        let wanted = counts[1] + counts[2] + counts[3];
        let mut records = Vec::new();
        while records.len() < wanted.min(MAX_RECORDS) {
            let Some(record) = record(&bytes, at) else { break };
            records.push(at);
            at = record.data_at + record.data.len();
        }
        let whole = records.len() == wanted && at == bytes.len();
        let answers = counts[1].min(records.len());
        Some(Message { records, answers, whole, bytes })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn id(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// The response code (RFC 1035 §4.1.1).
    pub(crate) fn code(&self) -> u8 {
        self.bytes[3] & 0x0f
    }

    pub(crate) fn was_cut(&self) -> bool {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]]) & TRUNCATED != 0
    }

    /// Whether it repeats the question of a request, where it repeats one (an answer to an update need not, RFC 2136 §3.8).
    pub(crate) fn answers_to(&self, request: &[u8]) -> bool {
        let question = |bytes: &[u8]| {
            let end = skip_name(bytes, HEADER)? + 4;
            bytes.get(HEADER..end).map(<[u8]>::to_ascii_lowercase)
        };
        let asked = self.bytes[4..6] == [0, 0] || question(&self.bytes) == question(request);
        asked && self.bytes[2] & 0x78 == request[2] & 0x78
    }

    /// The records of the answer with this type.
    pub(crate) fn answers(&self, kind: u16) -> impl Iterator<Item = Record<'_>> {
        let answers = self.records.iter().take(self.answers);
        answers.filter_map(|at| record(&self.bytes, *at)).filter(move |r| r.kind == kind && r.class == INTERNET)
    }

    /// An address of a name that came along.
    pub(crate) fn addresses(&self, name: &str, kind: u16) -> Option<IpAddr> {
        let records = self.records.iter().filter_map(|at| record(&self.bytes, *at));
        records.filter(|r| r.kind == kind && r.class == INTERNET && self.name_at(r.name_at).as_deref() == Some(name)).find_map(|r| {
            let v4 = || <[u8; 4]>::try_from(r.data).ok().map(|a| IpAddr::V4(Ipv4Addr::from(a)));
            v4().or_else(|| <[u8; 16]>::try_from(r.data).ok().map(|a| IpAddr::V6(Ipv6Addr::from(a))))
        })
    }

    /// The name that a record's data begins with, lower case, without a final dot.
    pub(crate) fn name_in(&self, record: Record<'_>) -> Option<String> {
        self.name_at(record.data_at)
    }

    /// The last record, where it is a signature.
    pub(crate) fn signature(&self) -> Option<Record<'_>> {
        let last = record(&self.bytes, *self.records.last()?)?;
        (self.whole && last.kind == TSIG && last.class == ANY_CLASS && last.ttl == 0).then_some(last)
    }

    /// The owner of a record, in lower case.
    pub(crate) fn owner(&self, record: Record<'_>) -> Option<String> {
        self.name_at(record.name_at)
    }

    fn name_at(&self, at: usize) -> Option<String> {
        let (mut at, mut name, mut jumps) = (at, String::new(), 0);
        loop {
            let length = usize::from(*self.bytes.get(at)?);
            match length {
                0 => return (name.len() <= MAX_NAME).then_some(name),
                1..=MAX_LABEL => {
                    let label = self.bytes.get(at + 1..at + 1 + length)?;
                    // Names of servers are letters, digits and hyphens; anything else leads nowhere that we go.
                    label.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_').then_some(())?;
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
                    at += 1 + length;
                }
                0xc0.. => {
                    // A pointer leads back (RFC 1035 §4.1.4), so there are fewer than labels fit into a name.
                    let to = (length & 0x3f) << 8 | usize::from(*self.bytes.get(at + 1)?);
                    jumps += 1;
                    (to < at && jumps < 128).then_some(())?;
                    at = to;
                }
                _ => return None,
            }
            (name.len() <= MAX_NAME).then_some(())?;
        }
    }
}

/// Where a name ends that begins at `at`.
fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match usize::from(*bytes.get(at)?) {
            0 => return Some(at + 1),
            length @ 1..=MAX_LABEL => at += 1 + length,
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

fn record(bytes: &[u8], at: usize) -> Option<Record<'_>> {
    let fixed = skip_name(bytes, at)?;
    let field = |from: usize| Some(u16::from_be_bytes([*bytes.get(fixed + from)?, *bytes.get(fixed + from + 1)?]));
    let ttl = u32::from(field(4)?) << 16 | u32::from(field(6)?);
    let data_at = fixed + 10;
    let data = bytes.get(data_at..data_at + usize::from(field(8)?))?;
    Some(Record { at, name_at: at, kind: field(0)?, class: field(2)?, ttl, data_at, data })
}

/// The strings of a TXT record, joined.
pub(crate) fn text(mut data: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let end = usize::from(*length).min(rest.len());
        joined.extend_from_slice(&rest[..end]);
        data = &rest[end..];
    }
    joined
}

/// Response codes by the names that people look for (RFC 1035 §4.1.1, RFC 2136 §2.2).
pub(crate) fn code_name(code: u8) -> String {
    match code {
        0 => "NOERROR".into(),
        1 => "FORMERR".into(),
        2 => "SERVFAIL".into(),
        3 => "NXDOMAIN".into(),
        4 => "NOTIMP (it takes no updates)".into(),
        5 => "REFUSED (the key may not do this)".into(),
        9 => "NOTAUTH (it is not the primary server of this zone, or does not take the key)".into(),
        10 => "NOTZONE".into(),
        other => format!("code {other}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_written_as_the_standards_say() {
        let Request(bytes) = query("a.example", TEXT).unwrap();
        assert_eq!(bytes, b"\0\0\0\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x10\0\x01");
        let Request(bytes) = update("Example.", "_acme-challenge.example", "v", Some(60)).unwrap();
        let zone = b"\0\0\x28\0\0\x01\0\0\0\x01\0\0\x07example\0\0\x06\0\x01";
        let record = b"\x0f_acme-challenge\x07example\0\0\x10\0\x01\0\0\0\x3c\0\x02\x01v";
        assert_eq!(bytes, [&zone[..], record].concat());
        let Request(bytes) = update("example", "example", "v", None).unwrap();
        assert!(bytes.ends_with(b"\x07example\0\0\x10\0\xfe\0\0\0\0\0\x02\x01v"));
        for name in ["a..b", "a b", &"x".repeat(64), &"a.".repeat(200)] {
            assert!(query(name, TEXT).is_err(), "{name}");
        }
        assert!(update("a", "a", &"x".repeat(256), None).is_err());
        assert_eq!(text(b"\x02ab\x01c\x09d"), b"abcd");
    }

    #[test]
    fn an_answer_with_compression() {
        let mut bytes = b"\0\x07\x84\0\0\x01\0\x02\0\0\0\x01\x07example\0\0\x02\0\x01".to_vec();
        bytes.extend(b"\xc0\x0c\0\x02\0\x01\0\0\0\x01\0\x06\x03NS1\xc0\x0c");
        bytes.extend(b"\xc0\x0c\0\x02\0\x01\0\0\0\x01\0\x02\xc0\x0c");
        bytes.extend(b"\x03ns1\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04\x7f\0\0\x01");
        let answer = Message::read(bytes.clone()).unwrap();
        assert!(answer.whole);
        let names: Vec<_> = answer.answers(NAME_SERVER).map(|r| answer.name_in(r).unwrap()).collect();
        assert_eq!(names, ["ns1.example", "example"]);
        assert_eq!(answer.addresses("ns1.example", ADDRESS_4), Some("127.0.0.1".parse().unwrap()));
        assert!(answer.answers_to(&query("EXAMPLE", NAME_SERVER).unwrap().0));
        assert!(!answer.answers_to(&query("example", TEXT).unwrap().0));
        assert!(!Message::read(bytes[..bytes.len() - 1].to_vec()).unwrap().whole);
        // A name that leads to itself.
        let mut circle = b"\0\x07\x84\0\0\0\0\x01\0\0\0\0".to_vec();
        circle.extend(b"\xc0\x0c\0\x02\0\x01\0\0\0\x01\0\x02\xc0\x18");
        let answer = Message::read(circle).unwrap();
        assert_eq!(answer.answers(NAME_SERVER).next().and_then(|r| answer.name_in(r)), None);
    }

    proptest! {
        #[test]
        fn no_answer_is_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..600), counts in any::<[u8; 4]>()) {
            let mut bytes = bytes;
            if bytes.len() > 12 {
                bytes[2] |= 0x80;
                for (n, count) in counts.into_iter().enumerate() {
                    bytes[4 + 2 * n] = 0;
                    bytes[5 + 2 * n] = count & 3;
                }
            }
            if let Some(answer) = Message::read(bytes) {
                for kind in [NAME_SERVER, TEXT, ADDRESS_4] {
                    answer.answers(kind).for_each(|r| drop((answer.name_in(r), text(r.data))));
                }
                let _ = (answer.addresses("a", ADDRESS_4), answer.signature().map(|r| r.at), answer.code(), answer.id(), answer.was_cut());
                let _ = answer.answers_to(&query("a", TEXT).unwrap().0);
            }
        }
    }
}
