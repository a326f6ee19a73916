//! A range: hosts × ports, such as `10.0.0.0/24:443,8443` or `db.example.com:5000-5100`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::fleet::{Protocol, check_host};

use super::{Found, MAX_RANGE, MAX_RANGE_AT_ALL, parse_port, usual_protocol};

/// Whether a text is written as a range rather than as one place.
pub(super) fn looks_like_one(text: &str) -> bool {
    let ports = text.rsplit_once(':').map_or("", |(_, ports)| ports);
    !text.contains("://") && (text.contains('/') || ports.contains(',') || (ports.contains('-') && !ports.contains(']')))
}

/// Every place that a range stands for, in order. `many` lifts [`MAX_RANGE`] to [`MAX_RANGE_AT_ALL`].
///
/// # Errors
/// What is wrong with the text, or how many places it would stand for.
pub fn expand(text: &str, many: bool) -> Result<Vec<Found>, String> {
    let shown = pki::text::escape(text);
    let (hosts, ports) = split(text).ok_or_else(|| format!("{shown} is not a range; write it like 10.0.0.0/24:443,8443 or host:1-1024"))?;
    let ports = parse_ports(ports).map_err(|why| format!("{shown}: {why}"))?;
    let hosts = Hosts::parse(hosts).map_err(|why| format!("{shown}: {why}"))?;
    let count = hosts.count().saturating_mul(ports.len() as u128);
    if count > u128::from(MAX_RANGE_AT_ALL) {
        return Err(format!("{shown} stands for {count} places, more than {MAX_RANGE_AT_ALL}; split it"));
    }
    if count > u128::from(MAX_RANGE) && !many {
        return Err(format!("{shown} stands for {count} places, more than {MAX_RANGE}; add --yes-many if you may dial them all"));
    }
    let mut out = Vec::new();
    for index in 0..hosts.count() {
        let host = hosts.nth(index);
        for port in &ports {
            out.push(Found {
                host: host.clone(),
                port: *port,
                protocol: usual_protocol(*port).unwrap_or(Protocol::Tls),
                server_name: None,
                source: shown.clone(),
                declared: false,
            });
        }
    }
    Ok(out)
}

/// Hosts and ports; the last colon divides them, outside of brackets.
fn split(text: &str) -> Option<(&str, &str)> {
    let (hosts, ports) = text.rsplit_once(':')?;
    (!ports.contains([']', '/'])).then_some((hosts, ports))
}

fn parse_ports(text: &str) -> Result<Vec<u16>, String> {
    let mut out: Vec<u16> = Vec::new();
    for part in text.split(',') {
        let wrong = || format!("{} is not a port; write numbers from 1 to 65535", pki::text::escape(part));
        let (low, high) = match part.split_once('-') {
            Some((low, high)) => (parse_port(low).ok_or_else(wrong)?, parse_port(high).ok_or_else(wrong)?),
            None => parse_port(part).map(|p| (p, p)).ok_or_else(wrong)?,
        };
        if low > high {
            return Err(format!("{part} runs backwards"));
        }
        // A text of overlapping spans must not grow without end before duplicates are dropped.
        if out.len() > 4 * usize::from(u16::MAX) {
            return Err("the list of ports repeats itself".to_owned());
        }
        out.extend(low..=high);
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

/// A name, or a run of addresses. Of an IPv4 network of at most /30, the first and the last address are
/// no hosts and are left out.
enum Hosts {
    Name(String),
    V4 { first: u32, count: u64 },
    V6 { first: u128, bits: u32 },
}

impl Hosts {
    fn parse(text: &str) -> Result<Hosts, String> {
        let bare = text.replace(['[', ']'], "");
        let Some((address, length)) = bare.split_once('/') else {
            return check_host(&bare).map(Hosts::Name).map_err(|e| e.to_string());
        };
        let wrong = || format!("{} is not a network; write it like 10.0.0.0/24", pki::text::escape(text));
        let length: u32 = length.parse().map_err(|_| wrong())?;
        match address.parse::<IpAddr>().map_err(|_| wrong())? {
            IpAddr::V4(v4) if length <= 32 => {
                let bits = 32 - length;
                let size = 1u64 << bits;
                let first = u64::from(u32::from(v4)) & !(size - 1);
                let (first, count) = if bits >= 2 { (first + 1, size - 2) } else { (first, size) };
                Ok(Hosts::V4 { first: u32::try_from(first).map_err(|_| wrong())?, count })
            }
            IpAddr::V6(v6) if length <= 128 => {
                let bits = 128 - length;
                let mask = 1u128.checked_shl(bits).map_or(0, |size| !(size - 1));
                Ok(Hosts::V6 { first: u128::from(v6) & mask, bits })
            }
            _ => Err(wrong()),
        }
    }

    fn count(&self) -> u128 {
        match self {
            Hosts::Name(_) => 1,
            Hosts::V4 { count, .. } => u128::from(*count),
            Hosts::V6 { bits, .. } => 1u128.checked_shl(*bits).unwrap_or(u128::MAX),
        }
    }

    fn nth(&self, index: u128) -> String {
        match self {
            Hosts::Name(name) => name.clone(),
            Hosts::V4 { first, .. } => {
                let offset = u32::try_from(index).unwrap_or(u32::MAX);
                Ipv4Addr::from(first.saturating_add(offset)).to_string()
            }
            Hosts::V6 { first, .. } => Ipv6Addr::from(first.saturating_add(index)).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn ranges() {
        let check = |text: &str, expected: Result<(usize, &str, &str), &str>| {
            let got = expand(text, false);
            match (got, expected) {
                (Ok(found), Ok((count, first, last))) => {
                    let show = |f: &Found| format!("{}://{} {}", f.protocol, f.host, f.port);
                    assert_eq!((found.len(), show(&found[0]).as_str(), show(&found[count - 1]).as_str()), (count, first, last), "{text}");
                }
                (Err(e), Err(part)) => assert!(e.contains(part), "{text}: {e}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        };
        check("10.0.0.0/24:443,8443", Ok((508, "tls://10.0.0.1 443", "tls://10.0.0.254 8443")));
        check("10.0.0.77/31:443", Ok((2, "tls://10.0.0.76 443", "tls://10.0.0.77 443")));
        check("10.0.0.7/32:25", Ok((1, "smtp://10.0.0.7 25", "smtp://10.0.0.7 25")));
        check("255.255.255.252/30:443", Ok((2, "tls://255.255.255.253 443", "tls://255.255.255.254 443")));
        check("host.example:1-1024", Ok((1_024, "tls://host.example 1", "tls://host.example 1024")));
        check("[2001:db8::]/126:443", Ok((4, "tls://2001:db8:: 443", "tls://2001:db8::3 443")));
        check("2001:db8::/127:443", Ok((2, "tls://2001:db8:: 443", "tls://2001:db8::1 443")));
        check("host:443,443,440-444", Ok((5, "tls://host 440", "tls://host 444")));
        check("10.0.0.0/8:443", Err("16777214 places"));
        check("10.0.0.0/15:443", Err("--yes-many"));
        check("0.0.0.0/0:1-65535", Err("split it"));
        check("[::]/0:1-65535", Err("split it"));
        check("10.0.0.0/33:443", Err("not a network"));
        check("10.0.0.0/24", Err("not a range"));
        check("host:0-5", Err("not a port"));
        check("host:9-5", Err("backwards"));
        check("host:", Err("not a port"));
        check("host:1-65536", Err("not a port"));
        check(&format!("host:{}", vec!["1-65535"; 50].join(",")), Err("repeats"));
    }

    #[test]
    fn many_are_possible_when_asked_for() {
        assert_eq!(expand("10.0.0.0/15:443", true).unwrap().len(), 131_070);
    }
}
