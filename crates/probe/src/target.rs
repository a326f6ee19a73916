//! What to dial, and how people write it.

use std::{fmt, net::IpAddr};

use rustls_pki_types::ServerName;

use crate::failure::{Blame, Failure, Phase};

/// What is spoken before TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Protocol {
    /// TLS at once.
    #[default]
    Tls,
    /// SMTP, RFC 3207.
    Smtp,
    /// IMAP, RFC 9051 §6.2.1.
    Imap,
    /// POP3, RFC 2595 §4.
    Pop3,
    /// LDAP, RFC 4511 §4.14.
    Ldap,
    /// PostgreSQL, SSLRequest.
    Postgres,
    /// MySQL, SSLRequest after the greeting.
    Mysql,
    /// XMPP, RFC 6120 §5.
    Xmpp,
}

/// Scheme, protocol, port. The first row of a protocol is its own name; the others are names that people use.
const SCHEMES: &[(&str, Protocol, u16)] = &[
    ("tls", Protocol::Tls, 443),
    ("smtp", Protocol::Smtp, 25),
    ("imap", Protocol::Imap, 143),
    ("pop3", Protocol::Pop3, 110),
    ("ldap", Protocol::Ldap, 389),
    ("postgres", Protocol::Postgres, 5432),
    ("mysql", Protocol::Mysql, 3306),
    ("xmpp", Protocol::Xmpp, 5222),
    ("https", Protocol::Tls, 443),
    ("smtps", Protocol::Tls, 465),
    ("submission", Protocol::Smtp, 587),
    ("imaps", Protocol::Tls, 993),
    ("pop3s", Protocol::Tls, 995),
    ("ldaps", Protocol::Tls, 636),
    ("postgresql", Protocol::Postgres, 5432),
];

impl Protocol {
    /// Every protocol, by its own name.
    pub const ALL: [Protocol; 8] = [
        Protocol::Tls,
        Protocol::Smtp,
        Protocol::Imap,
        Protocol::Pop3,
        Protocol::Ldap,
        Protocol::Postgres,
        Protocol::Mysql,
        Protocol::Xmpp,
    ];

    /// The scheme in front of `://`.
    pub fn as_str(self) -> &'static str {
        SCHEMES.iter().find(|(_, protocol, _)| *protocol == self).map_or("tls", |(scheme, ..)| scheme)
    }

    /// The registered port.
    pub fn default_port(self) -> u16 {
        SCHEMES.iter().find(|(_, protocol, _)| *protocol == self).map_or(443, |(.., port)| *port)
    }

    /// By its own name only; [`Target::parse`] knows aliases too.
    pub fn parse(name: &str) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == name)
    }
}

/// Something that is dialled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// A name or an address (without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The name asked for in TLS (and in XMPP's `to`); the host itself if absent. An address is never sent as a name.
    pub server_name: Option<String>,
    /// What is spoken before TLS.
    pub protocol: Protocol,
    /// Dial this address instead of resolving the host.
    pub address: Option<IpAddr>,
}

/// Why a target cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing there.
    #[error("the target is empty; write host, host:port or protocol://host:port")]
    Empty,
    /// Longer than any name, port and address together.
    #[error("the target is longer than {} characters", Target::MAX_LENGTH)]
    TooLong,
    /// Unknown in front of `://`.
    #[error("unknown protocol \"{0}\"; known are tls, https, smtp, imap, pop3, ldap, postgres, mysql, xmpp")]
    Protocol(String),
    /// After the colon.
    #[error("\"{0}\" is not a port; ports are 1 to 65535")]
    Port(String),
    /// After the at sign.
    #[error("\"{0}\" after @ is not an IP address")]
    Address(String),
    /// The host.
    #[error("\"{0}\" is neither a host name nor an address{1}")]
    Host(String, &'static str),
}

impl Target {
    /// The longest text that [`Target::parse`] looks at.
    pub const MAX_LENGTH: usize = 400;

    /// Reads `[protocol://]host[:port][@address]`; IPv6 addresses with a port stand in brackets. An `https://` URL may carry a path,
    /// which plays no part.
    ///
    /// # Errors
    /// Says which part cannot be read.
    pub fn parse(text: &str) -> Result<Target, TargetError> {
        let show = |part: &str| pki::text::escape(part);
        if text.len() > Target::MAX_LENGTH {
            return Err(TargetError::TooLong);
        }
        let (scheme, rest) = text.trim().split_once("://").unwrap_or(("tls", text.trim()));
        let (_, protocol, default_port) =
            *SCHEMES.iter().find(|(name, ..)| scheme.eq_ignore_ascii_case(name)).ok_or_else(|| TargetError::Protocol(show(scheme)))?;
        let rest = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let (authority, address) = match rest.rsplit_once('@') {
            Some((authority, pin)) => {
                let bare = pin.strip_prefix('[').and_then(|pin| pin.strip_suffix(']')).unwrap_or(pin);
                (authority, Some(bare.parse::<IpAddr>().map_err(|_| TargetError::Address(show(pin)))?))
            }
            None => (rest, None),
        };
        let (host, port) = split_port(authority)?;
        let port = match port {
            None => default_port,
            Some(digits) => match digits.parse::<u16>() {
                Ok(port) if port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => port,
                _ => return Err(TargetError::Port(show(digits))),
            },
        };
        if host.is_empty() {
            return Err(TargetError::Empty);
        }
        let target = Target { host: host.to_owned(), port, server_name: None, protocol, address };
        if target.tls_name().is_err() {
            return Err(TargetError::Host(show(host), why_not(host)));
        }
        Ok(target)
    }

    /// The same target at one address, asked without a server name: an address is none (RFC 6066 §3).
    #[must_use]
    pub fn without_name(&self, address: IpAddr) -> Target {
        Target { host: address.to_string(), server_name: None, address: Some(address), ..self.clone() }
    }

    /// The name that TLS asks for: the explicit one, else the host; a leading or trailing dot is not part of it (RFC 6066 §3).
    ///
    /// # Errors
    /// A [`Blame::Local`] failure when the name cannot be sent.
    pub fn tls_name(&self) -> Result<ServerName<'static>, Failure> {
        let name = self.server_name.as_deref().unwrap_or(&self.host);
        let bare = name.strip_suffix('.').unwrap_or(name);
        ServerName::try_from(bare).map(|name| name.to_owned()).map_err(|_| {
            let detail = format!("\"{}\" cannot be sent as a server name{}", pki::text::escape(name), why_not(name));
            Failure::new(Phase::Handshake, Blame::Local, false, detail)
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.protocol != Protocol::Tls {
            write!(f, "{}://", self.protocol.as_str())?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "{}:{}", self.host, self.port)?;
        }
        match self.address {
            Some(address) => write!(f, "@{address}"),
            None => Ok(()),
        }
    }
}

/// Host and port; a bare IPv6 address has no port.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), TargetError> {
    if let Some(inside) = authority.strip_prefix('[') {
        let Some((host, after)) = inside.split_once(']') else {
            return Err(TargetError::Host(pki::text::escape(authority), ": the bracket is never closed"));
        };
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(TargetError::Port(pki::text::escape(after))),
        };
    }
    match authority.rsplit_once(':') {
        Some(_) if authority.parse::<std::net::Ipv6Addr>().is_ok() => Ok((authority, None)),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

/// The usual reasons why a name is none.
fn why_not(name: &str) -> &'static str {
    if name.contains("*.") || name == "*" {
        ": a wildcard is not something that can be dialled"
    } else if !name.is_ascii() {
        ": write international names in their xn-- form (RFC 5890)"
    } else if name.len() > 253 {
        ": names have at most 253 characters"
    } else if name.split('.').any(|label| label.len() > 63) {
        ": each part between dots has at most 63 characters"
    } else if name.contains("..") || name.starts_with('.') {
        ": there is an empty part between dots"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn targets_as_people_write_them() {
        let check = |text: &str, shown: &str| {
            let target = Target::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(target.to_string(), shown, "{text}");
        };
        check("example.com", "example.com:443");
        check("example.com:8443", "example.com:8443");
        check(" example.com \n", "example.com:443");
        check("https://example.com/a/b?c", "example.com:443");
        check("tls://example.com:1", "example.com:1");
        check("SMTP://mx.example.com", "smtp://mx.example.com:25");
        check("imaps://mail.example.com", "mail.example.com:993");
        check("postgresql://db", "postgres://db:5432");
        check("xmpp://chat.example.com", "xmpp://chat.example.com:5222");
        check("example.com@192.0.2.1", "example.com:443@192.0.2.1");
        check("example.com:8443@2001:db8::1", "example.com:8443@2001:db8::1");
        check("example.com@[2001:db8::1]", "example.com:443@2001:db8::1");
        check("192.0.2.1:8443", "192.0.2.1:8443");
        check("2001:db8::1", "[2001:db8::1]:443");
        check("[2001:db8::1]:8443", "[2001:db8::1]:8443");
        check("under_score.example.com", "under_score.example.com:443");
        check("example.com.", "example.com.:443");
    }

    #[test]
    fn what_cannot_be_read_says_which_part() {
        let check = |text: &str, part: &str| {
            let error = Target::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("", "empty");
        check(":443", "empty");
        check("gopher://example.com", "unknown protocol \"gopher\"");
        check("example.com:0", "\"0\" is not a port");
        check("example.com:65536", "\"65536\" is not a port");
        check("example.com:+443", "\"+443\" is not a port");
        check("example.com:", "\"\" is not a port");
        check("example.com@nowhere", "\"nowhere\" after @");
        check("*.example.com", "wildcard");
        check("bücher.example", "xn--");
        check("a..b", "empty part");
        check(&format!("{}.com", "a".repeat(64)), "63 characters");
        check("exa mple.com", "neither a host name");
        check("\u{1b}[31m.com", "\\u{1b}");
        check("[::1", "bracket");
        check(&"a".repeat(500), "longer than 400");
    }

    #[test]
    fn addresses_are_never_sent_as_names() {
        let target = Target::parse("192.0.2.1").unwrap();
        assert!(matches!(target.tls_name(), Ok(ServerName::IpAddress(_))));
        let named = Target { server_name: Some("www.example.com.".into()), ..target };
        let nameless = named.without_name("192.0.2.7".parse().unwrap());
        assert!(matches!(nameless.tls_name(), Ok(ServerName::IpAddress(_))) && nameless.address.is_some());
        assert!(matches!(named.tls_name(), Ok(ServerName::DnsName(name)) if name.as_ref() == "www.example.com"));
        let wrong = Target { server_name: Some("not a name".into()), ..named };
        let failure = wrong.tls_name().unwrap_err();
        assert_eq!((failure.blame, failure.retry), (Blame::Local, false));
    }
}
