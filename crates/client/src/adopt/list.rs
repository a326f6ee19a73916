//! A plain list: one place per line, written as `perennial scan` takes them.
//!
//! ```text
//! www.example.com
//! smtp://mail.example.com:25       # STARTTLS
//! www.example.com:443@10.0.0.5     # this address, asked for that name
//! 10.0.0.0/24:443,8443             # a range
//! ```

use api::fleet::{Protocol, check_host};

use super::{AdoptError, Found, Reading, range, split_port, usual_protocol};

pub(super) fn read(path: &str, text: &str, reading: &mut Reading) -> Result<(), AdoptError> {
    for (index, line) in text.lines().enumerate() {
        // In lists, unlike in addresses, '#' begins a comment wherever it stands.
        let content = line.split('#').next().unwrap_or("").trim();
        if content.is_empty() {
            continue;
        }
        let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
        let at = (index + 1, column);
        let source = format!("{}:{}", pki::text::escape(path), index + 1);
        let refuse = |message: String| AdoptError::new(path, at, message);
        if range::looks_like_one(content) {
            for found in range::expand(content, false).map_err(&refuse)? {
                reading.add(Found { source: source.clone(), ..found }).map_err(&refuse)?;
            }
        } else {
            let found = place(content, &source).map_err(&refuse)?;
            reading.add(found).map_err(&refuse)?;
        }
    }
    Ok(())
}

/// One place: `host[:port]`, `proto://host[:port]`, `https://host/path`, each with `@address` if need be.
pub(super) fn place(text: &str, source: &str) -> Result<Found, String> {
    let wrong = |why: &str| format!("{} {why}; write it like www.example.com:443 or smtp://mail.example.com:25", pki::text::escape(text));
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let (rest, address) = match rest.rsplit_once('@') {
        Some((rest, address)) => (rest, Some(address.trim_matches(['[', ']']))),
        None => (rest, None),
    };
    let rest = if scheme == Some("https") { rest.split(['/', '?']).next().unwrap_or(rest) } else { rest };
    let (host, port) = split_port(rest).ok_or_else(|| wrong("is not host and port"))?;
    let host = check_host(host).map_err(|e| e.to_string())?;
    let (protocol, port) = match (scheme, port) {
        (Some("https"), port) => (Protocol::Tls, port.unwrap_or(443)),
        (Some("http"), _) => return Err(wrong("is not encrypted")),
        (Some(word), port) => {
            let protocol: Protocol = word.parse().map_err(|e: api::fleet::ValueError| e.to_string())?;
            (protocol, port.unwrap_or(usual_port(protocol)))
        }
        (None, port) => {
            let port = port.unwrap_or(443);
            (usual_protocol(port).unwrap_or(Protocol::Tls), port)
        }
    };
    let found = |host: String, server_name| Found { host, port, protocol, server_name, source: source.to_owned(), declared: true };
    match address {
        None => Ok(found(host, None)),
        Some(address) => {
            let address: std::net::IpAddr = address.parse().map_err(|_| wrong("has no IP address behind the '@'"))?;
            let server_name = Some(host).filter(|h| h.parse::<std::net::IpAddr>().is_err());
            Ok(found(address.to_string(), server_name))
        }
    }
}

fn usual_port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Tls => 443,
        Protocol::Smtp => 25,
        Protocol::Imap => 143,
        Protocol::Pop3 => 110,
        Protocol::Ldap => 389,
        Protocol::Postgres => 5432,
        Protocol::Mysql => 3306,
        Protocol::Xmpp => 5222,
    }
}
