//! Which addresses are inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of inside address this is, or `None` if it is a global unicast one.
///
/// After the IANA special-purpose registries (RFC 6890): whatever is not globally reachable is inside. For IPv6 only
/// 2000::/3 is allocated for global unicast (RFC 4291 §2.4), so everything else is inside by default.
pub fn inside(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => inside_v4(v4),
        IpAddr::V6(v6) => inside_v6(v6),
    }
}

fn inside_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    Some(match (a, b, c) {
        (0, ..) => "unspecified",                            // RFC 1122 §3.2.1.3; Linux dials 0.0.0.0 as loopback
        (127, ..) => "loopback",                             // RFC 1122 §3.2.1.3
        (169, 254, _) => "link-local",                       // RFC 3927; the metadata service of clouds lives at 169.254.169.254
        (10, ..) | (192, 168, _) => "private",               // RFC 1918
        (172, 16..=31, _) => "private",                      // RFC 1918
        (100, 64..=127, _) => "shared by carrier-grade NAT", // RFC 6598
        (192, 0, 0) => "reserved for protocols",             // RFC 6890; 192.0.0.192 is another metadata service
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => "documentation", // RFC 5737
        (192, 88, 99) => "6to4 relay",                       // RFC 7526
        (198, 18..=19, _) => "benchmarking",                 // RFC 2544
        (224..=239, ..) => "multicast",                      // RFC 5771
        (240..=255, ..) => "reserved",                       // RFC 1112 §4, with the broadcast address
        _ => return None,
    })
}

fn inside_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    let last = || {
        let [.., a, b, c, d] = address.octets();
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        // IPv4-mapped (RFC 4291 §2.5.5.2): the kernel dials the IPv4 address.
        [0, 0, 0, 0, 0, 0xffff, ..] => inside_v4(last()),
        // NAT64 (RFC 6052 §2.1): a gateway dials the IPv4 address. Behind such a gateway public ones look like this too.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => inside_v4(last()),
        [0x2001, 0..=0x1ff, ..] => Some("reserved for protocols"), // RFC 2928, with Teredo, which carries IPv4
        [0x2001, 0xdb8, ..] => Some("documentation"),              // RFC 3849
        [0x2002, ..] => Some("6to4"),                              // RFC 3056, carries IPv4
        [0x3fff, 0..=0xfff, ..] => Some("documentation"),          // RFC 9637
        [0x2000..=0x3fff, ..] => None,
        [0xfc00..=0xfdff, ..] => Some("private"),    // RFC 4193
        [0xfe80..=0xfebf, ..] => Some("link-local"), // RFC 4291 §2.5.6
        [0xff00..=0xffff, ..] => Some("multicast"),  // RFC 4291 §2.7
        _ => Some("reserved"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses() {
        let cases = [
            ("0.0.0.0", Some("unspecified")),
            ("0.1.2.3", Some("unspecified")),
            ("10.0.0.0", Some("private")),
            ("10.255.255.255", Some("private")),
            ("9.255.255.255", None),
            ("11.0.0.0", None),
            ("100.63.255.255", None),
            ("100.64.0.0", Some("shared by carrier-grade NAT")),
            ("100.127.255.255", Some("shared by carrier-grade NAT")),
            ("100.128.0.0", None),
            ("127.0.0.1", Some("loopback")),
            ("127.255.255.254", Some("loopback")),
            ("169.253.255.255", None),
            ("169.254.169.254", Some("link-local")),
            ("172.15.255.255", None),
            ("172.16.0.0", Some("private")),
            ("172.31.255.255", Some("private")),
            ("172.32.0.0", None),
            ("192.0.0.192", Some("reserved for protocols")),
            ("192.0.2.1", Some("documentation")),
            ("192.167.255.255", None),
            ("192.168.0.1", Some("private")),
            ("192.169.0.0", None),
            ("198.18.0.1", Some("benchmarking")),
            ("223.255.255.255", None),
            ("224.0.0.1", Some("multicast")),
            ("255.255.255.255", Some("reserved")),
            ("8.8.8.8", None),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::2", Some("reserved")),
            ("::7f00:1", Some("reserved")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:169.254.169.254", Some("link-local")),
            ("::ffff:8.8.8.8", None),
            ("::ffff:0:7f00:1", Some("reserved")),
            ("64:ff9b::a00:1", Some("private")),
            ("64:ff9b::a9fe:a9fe", Some("link-local")),
            ("64:ff9b::808:808", None),
            ("64:ff9b:1::a00:1", Some("reserved")),
            ("100::1", Some("reserved")),
            ("2001::1", Some("reserved for protocols")),
            ("2001:200::1", None),
            ("2001:db8::1", Some("documentation")),
            ("2002:7f00:1::1", Some("6to4")),
            ("2606:4700::1111", None),
            ("3fff::1", Some("documentation")),
            ("3fff:1000::1", None),
            ("4000::1", Some("reserved")),
            ("fc00::1", Some("private")),
            ("fd12:3456::1", Some("private")),
            ("fe80::1", Some("link-local")),
            ("febf::1", Some("link-local")),
            ("fec0::1", Some("reserved")),
            ("ff02::1", Some("multicast")),
        ];
        for (address, expected) in cases {
            assert_eq!(inside(address.parse().unwrap()), expected, "{address}");
        }
    }
}
