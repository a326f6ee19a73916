//! Name constraints (RFC 5280 §4.2.1.10): what an authority may certify at all.

use std::net::IpAddr;

use crate::der::{self, Reader, Writer};
use crate::san::{San, uri_host};

/// One subtree of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subtree {
    /// A DNS name and all below it; the empty one is all DNS names.
    Dns(String),
    /// A network: address and length of its prefix.
    Ip(IpAddr, u8),
    /// The host of URIs; with a leading dot, what is below it. rustls takes no URI under an authority that constrains URIs.
    Uri(String),
    /// A subtree of another kind, or one that cannot be read, as encoded.
    Other(Vec<u8>),
}

/// What an authority may and may not certify. No subtree of a kind among `permitted`: every name of that kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    /// Names of these kinds must lie in one of the subtrees of that kind.
    pub permitted: Vec<Subtree>,
    /// Names must not lie in one of these.
    pub excluded: Vec<Subtree>,
}

/// Most subtrees of one certificate that are read.
const MAX_SUBTREES: usize = 4_096;

impl Constraints {
    /// These subtrees alone: of DNS names and addresses, a kind that is not among them is excluded as a whole, since leaving a kind out
    /// permits all of it.
    #[must_use]
    pub fn only(permitted: Vec<Subtree>) -> Self {
        let mut excluded = Vec::new();
        if !permitted.iter().any(|subtree| matches!(subtree, Subtree::Dns(_))) {
            excluded.push(Subtree::Dns(String::new()));
        }
        for all in [IpAddr::from([0u8; 4]), IpAddr::from([0u8; 16])] {
            if !permitted.iter().any(|subtree| matches!(subtree, Subtree::Ip(address, _) if address.is_ipv4() == all.is_ipv4())) {
                excluded.push(Subtree::Ip(all, 0));
            }
        }
        Self { permitted, excluded }
    }

    /// True if nothing is constrained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.permitted.is_empty() && self.excluded.is_empty()
    }

    /// May this name be certified?
    #[must_use]
    pub fn allow(&self, name: &San) -> bool {
        let mut of_kind = self.permitted.iter().filter(|subtree| subtree.is_of_kind(name)).peekable();
        let permitted = of_kind.peek().is_none() || of_kind.any(|subtree| subtree.contains(name));
        permitted && !self.excluded.iter().any(|subtree| subtree.contains(name) || subtree.is_within(name))
    }

    /// What is wrong with the form of a subtree.
    pub(crate) fn problem(&self) -> Option<String> {
        self.permitted.iter().chain(&self.excluded).find_map(|subtree| {
            let problem = match subtree {
                Subtree::Dns(base) if base.is_empty() => None,
                Subtree::Dns(base) if base.starts_with('*') => Some("a subtree has no wildcard"),
                Subtree::Dns(base) => crate::san::dns_problem(base.strip_prefix('.').unwrap_or(base)),
                Subtree::Uri(base) => crate::san::dns_problem(base.strip_prefix('.').unwrap_or(base)),
                Subtree::Ip(IpAddr::V4(_), length) if *length > 32 => Some("a prefix has at most 32 bits"),
                Subtree::Ip(_, length) if *length > 128 => Some("a prefix has at most 128 bits"),
                Subtree::Ip(..) => None,
                Subtree::Other(_) => Some("it is of a kind that is not known here, or cannot be read"),
            };
            problem.map(|problem| match subtree {
                Subtree::Dns(base) | Subtree::Uri(base) => format!("`{}`: {problem}", crate::text::escape(base)),
                Subtree::Ip(address, length) => format!("{address}/{length}: {problem}"),
                Subtree::Other(_) => problem.to_owned(),
            })
        })
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.nest(der::SEQUENCE, |w| {
            for (tag, subtrees) in [(0xa0, &self.permitted), (0xa1, &self.excluded)] {
                if !subtrees.is_empty() {
                    w.nest(tag, |w| subtrees.iter().for_each(|subtree| w.nest(der::SEQUENCE, |w| subtree.write(w))));
                }
            }
        });
    }

    /// Reads the extension's value; `None` if it is broken.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let mut outer = Reader::new(value);
        let mut lists = outer.inside(der::SEQUENCE)?;
        let permitted = lists.inside(0xa0).map_or(Some(vec![]), subtrees)?;
        let excluded = lists.inside(0xa1).map_or(Some(vec![]), subtrees)?;
        (outer.is_empty() && lists.is_empty()).then_some(Self { permitted, excluded })
    }
}

fn subtrees(mut list: Reader<'_>) -> Option<Vec<Subtree>> {
    let mut found = Vec::new();
    while !list.is_empty() {
        if found.len() == MAX_SUBTREES {
            return None;
        }
        // minimum and maximum are 0 and absent, or whoever reads this must refuse it.
        let mut subtree = list.inside(der::SEQUENCE)?;
        let base = subtree.any()?;
        found.push(if subtree.is_empty() { Subtree::read(base) } else { Subtree::Other(base.raw.to_vec()) });
    }
    Some(found)
}

impl Subtree {
    fn read(base: der::Element<'_>) -> Self {
        let text = std::str::from_utf8(base.value).ok().filter(|text| text.is_ascii());
        let network = |octets: usize| {
            let (address, mask) = base.value.split_at_checked(octets)?;
            let bits = mask.iter().fold(0u128, |bits, &octet| (bits << 8) | u128::from(octet)) << (128 - 8 * octets);
            let length = bits.leading_ones();
            let address = match octets {
                4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
                _ => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
            };
            (mask.len() == octets && bits.count_ones() == length).then_some(Self::Ip(address, u8::try_from(length).ok()?))
        };
        let read = match base.tag {
            0x82 => text.map(|text| Self::Dns(text.to_ascii_lowercase())),
            0x86 => text.map(|text| Self::Uri(text.to_ascii_lowercase())),
            0x87 => network(if base.value.len() == 8 { 4 } else { 16 }),
            _ => None,
        };
        read.unwrap_or_else(|| Self::Other(base.raw.to_vec()))
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Dns(base) => w.put(0x82, base.as_bytes()),
            Self::Uri(base) => w.put(0x86, base.as_bytes()),
            Self::Ip(IpAddr::V4(address), length) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*length).min(32)).unwrap_or(0);
                w.put(0x87, &[(u32::from(*address) & mask).to_be_bytes(), mask.to_be_bytes()].concat());
            }
            Self::Ip(IpAddr::V6(address), length) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(*length).min(128)).unwrap_or(0);
                w.put(0x87, &[(u128::from(*address) & mask).to_be_bytes(), mask.to_be_bytes()].concat());
            }
            Self::Other(raw) => w.raw(raw),
        }
    }

    fn is_of_kind(&self, name: &San) -> bool {
        match self {
            Self::Dns(_) => name.as_dns().is_some(),
            Self::Ip(..) => name.as_ip().is_some(),
            Self::Uri(_) => name.as_uri().is_some(),
            Self::Other(_) => false,
        }
    }

    fn contains(&self, name: &San) -> bool {
        match self {
            Self::Dns(base) => name.as_dns().is_some_and(|name| is_below(name, base)),
            Self::Ip(network, length) => match (network, name.as_ip()) {
                (IpAddr::V4(network), Some(IpAddr::V4(address))) => {
                    let mask = u32::MAX.checked_shl(32 - u32::from(*length).min(32)).unwrap_or(0);
                    u32::from(*network) & mask == u32::from(address) & mask
                }
                (IpAddr::V6(network), Some(IpAddr::V6(address))) => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(*length).min(128)).unwrap_or(0);
                    u128::from(*network) & mask == u128::from(address) & mask
                }
                _ => false,
            },
            Self::Uri(base) => name.as_uri().and_then(|uri| uri.split_once("://")).is_some_and(|(_, rest)| {
                let host = uri_host(rest).to_ascii_lowercase();
                if base.starts_with('.') { host.len() > base.len() && host.ends_with(base.as_str()) } else { host == *base }
            }),
            Self::Other(_) => false,
        }
    }

    /// A wildcard stands for names inside of this subtree too.
    fn is_within(&self, name: &San) -> bool {
        match (self, name.as_dns().and_then(|name| name.strip_prefix("*."))) {
            (Self::Dns(base), Some(covered)) => base.split_once('.').is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(covered)),
            _ => false,
        }
    }
}

fn is_below(name: &str, base: &str) -> bool {
    let base = base.strip_prefix('.').unwrap_or(base);
    if base.is_empty() {
        return true;
    }
    let Some(before) = name.len().checked_sub(base.len()) else { return false };
    name.as_bytes()[before..].eq_ignore_ascii_case(base.as_bytes()) && (before == 0 || name.as_bytes()[before - 1] == b'.')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn inside_and_outside() {
        let constraints = Constraints {
            permitted: vec![
                Subtree::Dns("example.com".into()),
                Subtree::Ip("10.1.0.0".parse().unwrap(), 16),
                Subtree::Uri(".example.org".into()),
                Subtree::Uri("td.test".into()),
            ],
            excluded: vec![Subtree::Dns("secret.example.com".into()), Subtree::Ip("::".parse().unwrap(), 0)],
        };
        let check = |name: &str, allowed: bool| assert_eq!(constraints.allow(&San::parse(name).unwrap()), allowed, "{name}");
        check("example.com", true);
        check("EXAMPLE.com", true);
        check("www.example.com", true);
        check("*.www.example.com", true);
        check("notexample.com", false);
        check("example.org", false);
        check("secret.example.com", false);
        check("a.secret.example.com", false);
        check("*.example.com", false); // would cover secret.example.com
        check("10.1.255.255", true);
        check("10.2.0.0", false);
        check("2001:db8::1", false);
        check("https://a.example.org/", true);
        check("https://example.org/", false);
        check("spiffe://td.test/x", true);
        check("https://user@td.test:80/x", true);
        check("spiffe://td2.test/x", false);
        check("urn:x", false);

        let mut writer = Writer::with_capacity(64);
        constraints.write(&mut writer);
        assert_eq!(Constraints::read(&writer.into_bytes()), Some(constraints));
    }

    #[test]
    fn what_is_not_said_is_not_permitted() {
        let only = Constraints::only(vec![Subtree::Dns("example.com".into())]);
        assert!(only.allow(&San::parse("a.example.com").unwrap()));
        assert!(!only.allow(&San::parse("192.0.2.1").unwrap()));
        assert!(!only.allow(&San::parse("::1").unwrap()));
        let only = Constraints::only(vec![Subtree::Ip("192.0.2.0".parse().unwrap(), 24)]);
        assert!(only.allow(&San::parse("192.0.2.1").unwrap()));
        assert!(!only.allow(&San::parse("::1").unwrap()));
        assert!(!only.allow(&San::parse("localhost").unwrap()));
        assert!(Constraints::default().allow(&San::parse("localhost").unwrap()));
    }
}
