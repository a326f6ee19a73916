//! The small values of a fleet file: lengths of time, moments, days, endpoints. Each is written as
//! text, in TOML as in JSON, and each is parsed once, here.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use serde::{Deserialize, Serialize};

/// Longest length of time that a fleet may name: a hundred years of 365 days, in seconds.
pub const MAX_PERIOD_SECONDS: i64 = 100 * 365 * 86_400;
/// Longest DNS name in text form (RFC 1035 §2.3.4: 255 octets on the wire).
pub const MAX_HOST_BYTES: usize = 253;
/// Longest label of a DNS name (RFC 1035 §2.3.4).
const MAX_LABEL_BYTES: usize = 63;
/// 9999-12-31T23:59:59Z, "no well-defined expiration date" (RFC 5280 §4.1.2.5). It lies beyond the
/// last moment of the calendar library, hence the constant.
const NO_EXPIRY: (&str, i64) = ("9999-12-31T23:59:59Z", 253_402_300_799);

/// Why a piece of text is not the value that it should be; says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(String);

/// A positive length of time in whole seconds, written like `90d`, `12h`, `36m`, `45s` or `1d12h`.
/// A day is 86,400 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Period(i64);

impl Period {
    /// The length in whole days, for constants; clamped to the permitted range.
    pub fn days(days: i64) -> Period {
        Period(days.saturating_mul(86_400).clamp(1, MAX_PERIOD_SECONDS))
    }

    /// The length in seconds, for constants; clamped to the permitted range.
    pub fn seconds(seconds: i64) -> Period {
        Period(seconds.clamp(1, MAX_PERIOD_SECONDS))
    }

    /// The length in seconds, at least 1.
    pub fn as_secs(self) -> i64 {
        self.0
    }
}

impl FromStr for Period {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Period, ValueError> {
        let wrong = || {
            ValueError(format!("{} is not a length of time; write it like \"90d\", \"12h\", \"36m\", \"45s\" or \"1d12h\"", quoted(text)))
        };
        let mut total: i64 = 0;
        let mut rest = text;
        let mut smallest = i64::MAX;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
            let unit = match rest[digits..].bytes().next() {
                Some(b'd') => 86_400,
                Some(b'h') => 3_600,
                Some(b'm') => 60,
                Some(b's') => 1,
                _ => return Err(wrong()),
            };
            // Units fall, each at most once, so that one length has few spellings.
            if unit >= smallest {
                return Err(wrong());
            }
            smallest = unit;
            total = number.checked_mul(unit).and_then(|n| total.checked_add(n)).ok_or_else(wrong)?;
            rest = &rest[digits + 1..];
        }
        match total {
            1..=MAX_PERIOD_SECONDS => Ok(Period(total)),
            0 if !text.is_empty() => Err(ValueError("a length of time of zero; write at least \"1s\", or leave the key out".into())),
            0 => Err(wrong()),
            _ => Err(ValueError(format!("{} is longer than a hundred years; write at most \"36500d\"", quoted(text)))),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        for (unit, letter) in [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
            if rest >= unit {
                write!(f, "{}{letter}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

/// A moment in whole seconds since 1970-01-01T00:00:00Z, written as RFC 3339 with an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Moment(i64);

impl Moment {
    /// Unix seconds, UTC.
    pub fn unix(self) -> i64 {
        self.0
    }
}

impl FromStr for Moment {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Moment, ValueError> {
        if text == NO_EXPIRY.0 {
            return Ok(Moment(NO_EXPIRY.1));
        }
        // The calendar library also accepts a zone in brackets (RFC 9557); that is not RFC 3339.
        let parsed = if text.contains('[') { None } else { text.parse::<jiff::Timestamp>().ok() };
        parsed.map(|t| Moment(t.as_second())).ok_or_else(|| {
            ValueError(format!("{} is not a moment; write it as RFC 3339 with its offset, like \"2027-02-22T20:29:53Z\"", quoted(text)))
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(t) => write!(f, "{t}"),
            Err(_) => f.write_str(NO_EXPIRY.0),
        }
    }
}

/// A calendar day in UTC, written `2026-11-22`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Day(Date);

impl FromStr for Day {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Day, ValueError> {
        let parsed = if text.len() == 10 { text.parse::<Date>().ok() } else { None };
        parsed.map(Day).ok_or_else(|| ValueError(format!("{} is not a day; write it like \"2026-11-22\"", quoted(text))))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A day, or a minute of it, on the wall of a calendar's zone: `2026-12-15` or `2026-12-15T18:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Civil {
    /// The beginning of the day, where it is a day.
    moment: DateTime,
    whole_day: bool,
}

impl Default for Civil {
    fn default() -> Civil {
        Civil { moment: DateTime::constant(1970, 1, 1, 0, 0, 0, 0), whole_day: true }
    }
}

impl Civil {
    /// Whether it comes before another moment on the same wall.
    pub fn is_before(self, other: Civil) -> bool {
        self.moment < other.moment
    }
}

impl FromStr for Civil {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Civil, ValueError> {
        // TOML's own dates come with seconds.
        let (date, clock) = text
            .split_once('T')
            .map_or((text, None), |(date, clock)| (date, Some(clock.strip_suffix(":00").filter(|c| c.len() == 5).unwrap_or(clock))));
        let day = if date.len() == 10 && date.starts_with(|c: char| c.is_ascii_digit()) { date.parse::<Date>().ok() } else { None };
        let time = match clock {
            None => Some(Time::midnight()),
            Some(clock) if clock.len() == 5 && clock.as_bytes()[2] == b':' => clock.parse::<Time>().ok(),
            Some(_) => None,
        };
        day.zip(time).map(|(day, time)| Civil { moment: day.to_datetime(time), whole_day: clock.is_none() }).ok_or_else(|| {
            let how = "write it in the time of the calendar's zone, like \"2026-12-15\" or \"2026-12-15T18:00\"";
            ValueError(format!("{} is not a day or a minute; {how}", quoted(text)))
        })
    }
}

impl fmt::Display for Civil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.moment.date())?;
        if self.whole_day { Ok(()) } else { write!(f, "T{:02}:{:02}", self.moment.hour(), self.moment.minute()) }
    }
}

/// What is spoken before the handshake: nothing (TLS at once), or a protocol that upgrades (STARTTLS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TLS from the first byte.
    Tls,
    /// STARTTLS, RFC 3207.
    Smtp,
    /// STARTTLS, RFC 9051 §6.2.1.
    Imap,
    /// STLS, RFC 2595 §4.
    Pop3,
    /// StartTLS extended operation, RFC 4511 §4.14.
    Ldap,
    /// SSLRequest of PostgreSQL.
    Postgres,
    /// SSL request of the MySQL protocol.
    Mysql,
    /// starttls, RFC 6120 §5.
    Xmpp,
}

impl Protocol {
    /// Every protocol with the word that stands for it.
    pub const ALL: [(Protocol, &'static str); 8] = [
        (Protocol::Tls, "tls"),
        (Protocol::Smtp, "smtp"),
        (Protocol::Imap, "imap"),
        (Protocol::Pop3, "pop3"),
        (Protocol::Ldap, "ldap"),
        (Protocol::Postgres, "postgres"),
        (Protocol::Mysql, "mysql"),
        (Protocol::Xmpp, "xmpp"),
    ];

    /// The word in front of `://`.
    pub fn as_str(self) -> &'static str {
        Protocol::ALL.iter().find(|(p, _)| *p == self).map_or("tls", |(_, word)| word)
    }
}

impl FromStr for Protocol {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Protocol, ValueError> {
        Protocol::ALL.iter().find(|(_, word)| *word == text).map(|(p, _)| *p).ok_or_else(|| {
            ValueError(format!(
                "{} is not a protocol that is dialled; use tls, smtp, imap, pop3, ldap, postgres, mysql or xmpp",
                quoted(text)
            ))
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a target is dialled, written `tls://host:443`; an IPv6 address stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Endpoint {
    /// What is spoken before the handshake.
    pub protocol: Protocol,
    /// A DNS name in lower case, or an IP address without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl FromStr for Endpoint {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Endpoint, ValueError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(ValueError(format!(
                "{} is not an endpoint; write protocol, host and port, like \"tls://www.example.com:443\"",
                quoted(text)
            )));
        };
        if scheme == "https" {
            return Err(ValueError("https:// names a page, not an endpoint; write \"tls://host:443\"".into()));
        }
        let protocol = scheme.parse()?;
        let (host, port) = match rest.strip_prefix('[') {
            Some(v6) => {
                v6.split_once("]:").ok_or_else(|| ValueError(format!("{}: after an IPv6 address write \"]:port\"", quoted(text))))?
            }
            None => {
                rest.rsplit_once(':').ok_or_else(|| ValueError(format!("{} has no port; write \"{scheme}://host:port\"", quoted(text))))?
            }
        };
        let bracketed = rest.starts_with('[');
        if host.contains(':') && !bracketed {
            return Err(ValueError(format!("{}: write an IPv6 address in brackets, like \"tls://[2001:db8::1]:443\"", quoted(text))));
        }
        let host = if bracketed {
            match host.parse::<IpAddr>() {
                Ok(IpAddr::V6(address)) => address.to_string(),
                _ => {
                    return Err(ValueError(format!("{} is not an IPv6 address; brackets are for those alone", quoted(host))));
                }
            }
        } else {
            check_host(host)?
        };
        let port = match port.parse::<u16>() {
            Ok(port) if port > 0 && !port_text_is_odd(rest) => port,
            _ => {
                return Err(ValueError(format!("{} is not a port; write a number from 1 to 65535", quoted(port))));
            }
        };
        Ok(Endpoint { protocol, host, port })
    }
}

/// `+443` parses as a number in Rust, yet nobody means it.
fn port_text_is_odd(rest: &str) -> bool {
    rest.rsplit(':').next().is_none_or(|port| !port.bytes().all(|b| b.is_ascii_digit()))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.protocol, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.protocol, self.host, self.port)
        }
    }
}

/// Accepts an IP address or a DNS name and returns it in lower case.
pub fn check_host(host: &str) -> Result<String, ValueError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let labels: Vec<&str> = host.strip_suffix('.').unwrap_or(host).split('.').collect();
    if labels.last().is_some_and(|l| !l.is_empty() && l.bytes().all(|b| b.is_ascii_digit())) {
        return Err(ValueError(format!("{} is neither an IPv4 address nor a DNS name", quoted(host))));
    }
    check_dns_name(host)
}

/// Accepts a DNS name as the resolver would take it (RFC 1123 §2.1, and the underscore that is in use)
/// and returns it in lower case, without a final dot.
pub fn check_dns_name(name: &str) -> Result<String, ValueError> {
    let wrong = |why: &str| ValueError(format!("{} is not a host name: {why}", quoted(name)));
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.is_empty() {
        return Err(wrong("it is empty"));
    }
    if bare.len() > MAX_HOST_BYTES {
        return Err(wrong("it has more than 253 characters"));
    }
    if !bare.is_ascii() {
        return Err(wrong("write international names in their xn-- form"));
    }
    for label in bare.split('.') {
        if label.is_empty() {
            return Err(wrong("a label between two dots is empty"));
        }
        if label.len() > MAX_LABEL_BYTES {
            return Err(wrong("a label has more than 63 characters"));
        }
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(wrong("only letters, digits, '-', '_' and dots are possible"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(wrong("a label begins or ends with '-'"));
        }
    }
    Ok(bare.to_ascii_lowercase())
}

/// Accepts what a server certificate may be asked to cover: a DNS name, with `*` as the whole leftmost
/// label if need be (RFC 9525 §6.3), or an IP address.
pub fn check_certificate_name(name: &str) -> Result<(), ValueError> {
    match name.strip_prefix("*.") {
        Some(parent) => check_dns_name(parent).map(drop),
        None => check_host(name).map(drop),
    }
}

/// Text from a file, shown safely inside a message: escaped, and cut to a readable length.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut out = String::from("\"");
    for (index, c) in text.chars().enumerate() {
        if index == SHOWN {
            out.push('…');
            break;
        }
        // Bidi controls and zero-width characters are not "control" in the sense of `char`.
        let invisible = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}');
        if c.is_control() || invisible {
            out.extend(c.escape_unicode());
        } else if c == '"' {
            out.push_str("\\\"");
        } else {
            out.push(c);
        }
    }
    out.push('"');
    out
}

macro_rules! travels_as_text {
    ($($value:ty),*) => {$(
        impl From<$value> for String {
            fn from(value: $value) -> String {
                value.to_string()
            }
        }

        impl TryFrom<String> for $value {
            type Error = ValueError;

            fn try_from(text: String) -> Result<$value, ValueError> {
                text.parse()
            }
        }
    )*};
}

travels_as_text!(Period, Moment, Day, Civil, Endpoint);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn periods() {
        for (text, expected) in [
            ("90d", Some(7_776_000)),
            ("1d12h", Some(129_600)),
            ("36m", Some(2_160)),
            ("45s", Some(45)),
            ("1d1h1m1s", Some(90_061)),
            ("36500d", Some(MAX_PERIOD_SECONDS)),
            ("36501d", None),
            ("", None),
            ("0s", None),
            ("90", None),
            ("d", None),
            ("-1d", None),
            ("1h1d", None),
            ("1d1d", None),
            ("1.5h", None),
            ("1 d", None),
            ("99999999999999999999d", None),
            ("9223372036854775807d", None),
            ("1é", None),
        ] {
            let parsed = text.parse::<Period>().ok();
            assert_eq!(parsed.map(Period::as_secs), expected, "{text:?}");
            if let Some(period) = parsed {
                assert_eq!(period.to_string(), text);
            }
        }
    }

    #[test]
    fn moments_and_days() {
        for (text, expected) in [
            ("2027-02-22T20:29:53Z", Some(1_803_328_193)),
            ("2027-02-22T21:29:53+01:00", Some(1_803_328_193)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799)),
            ("2027-02-29T00:00:00Z", None),
            ("2027-02-22T20:29:53", None),
            ("2027-02-22T20:29:53Z[UTC]", None),
            ("2027-02-22", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Moment>().ok().map(Moment::unix), expected, "{text:?}");
        }
        assert_eq!("9999-12-31T23:59:59Z".parse::<Moment>().unwrap().to_string(), "9999-12-31T23:59:59Z");
        assert_eq!("2028-02-29".parse::<Day>().unwrap().to_string(), "2028-02-29");
        for wrong in ["2027-02-29", "20270222", "2027-2-2", "", "2027-02-22T00:00:00"] {
            assert!(wrong.parse::<Day>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn days_and_minutes_on_the_wall() {
        for (text, expected) in [
            ("2026-12-15", Some("2026-12-15")),
            ("2026-12-15T18:00", Some("2026-12-15T18:00")),
            ("2026-12-15T18:00:00", Some("2026-12-15T18:00")),
            ("2026-12-15T00:00", Some("2026-12-15T00:00")),
            ("2026-12-15T18:00:30", None),
            ("2026-12-15T18", None),
            ("2026-12-15T24:00", None),
            ("2026-12-15T18:00Z", None),
            ("2026-12-15 18:00", None),
            ("2027-02-29", None),
            ("+002026-12-15", None),
            ("-2026-12-15", None),
            ("20261215", None),
            ("2026-12-15Té:00", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Civil>().ok().map(|c| c.to_string()).as_deref(), expected, "{text:?}");
        }
        let before = |a: &str, b: &str| a.parse::<Civil>().unwrap().is_before(b.parse().unwrap());
        assert!(
            before("2026-12-15", "2026-12-15T00:01")
                && !before("2026-12-15", "2026-12-15T00:00")
                && !before("2026-12-15T00:00", "2026-12-15")
        );
    }

    #[test]
    fn endpoints() {
        for (text, expected) in [
            ("tls://www.Example.com:443", Some("tls://www.example.com:443")),
            ("smtp://mail.example.com.:25", Some("smtp://mail.example.com:25")),
            ("tls://[2001:DB8::1]:443", Some("tls://[2001:db8::1]:443")),
            ("postgres://10.0.0.5:5432", Some("postgres://10.0.0.5:5432")),
            ("tls://_dmarc.example.com:1", Some("tls://_dmarc.example.com:1")),
            ("https://www.example.com", None),
            ("gopher://www.example.com:70", None),
            ("www.example.com:443", None),
            ("tls://www.example.com", None),
            ("tls://www.example.com:0", None),
            ("tls://www.example.com:65536", None),
            ("tls://www.example.com:+443", None),
            ("tls://www.example.com:443/path", None),
            ("tls://2001:db8::1:443", None),
            ("tls://[10.0.0.5]:443", None),
            ("tls://[2001:db8::1]", None),
            ("tls://10.0.0.256:443", None),
            ("tls://*.example.com:443", None),
            ("tls://bücher.example:443", None),
            ("tls://a..b:443", None),
            ("tls://-a.b:443", None),
            ("tls://:443", None),
            ("tls://user@host:443", None),
        ] {
            assert_eq!(text.parse::<Endpoint>().ok().map(|e| e.to_string()).as_deref(), expected, "{text:?}");
        }
        assert!(check_dns_name(&"a".repeat(64)).is_err());
        assert!(check_dns_name(&["a"; 128].join(".")).is_err());
        assert!(check_dns_name(&["a"; 127].join(".")).is_ok());
    }

    #[test]
    fn hostile_text_is_shown_escaped_and_short() {
        assert_eq!(quoted("a\u{1b}[31m\u{202e}b\"c"), "\"a\\u{1b}[31m\\u{202e}b\\\"c\"");
        assert_eq!(quoted(&"x".repeat(1_000)).chars().count(), 83);
    }
}
