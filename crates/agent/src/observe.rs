//! What is installed and what is listened to on this node. Reads and dials; changes nothing, and uses no identity of the part that installs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use pki::{Certificate, Time};
use probe::{Dialer, Offer, Protocol, Settings, Target};
use serde::Serialize;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{Config, config::Install, error::Error, files, install};

/// Most listening sockets that are dialled.
const MOST_LISTENERS: usize = 4096;
/// Sockets that are dialled at the same time.
const AT_ONCE: usize = 16;
/// Largest list of sockets that is read, in bytes.
const MOST_BYTES: usize = 64 << 20;

/// What a file or a socket shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// A path, or `ip:port`.
    pub place: String,
    /// The secret that the configuration names for it.
    pub secret: Option<String>,
    /// The target that the configuration names for it.
    pub target: Option<String>,
    /// What was spoken before TLS; nothing for a file.
    pub protocol: Option<&'static str>,
    /// The certificate.
    pub leaf: Option<Leaf>,
    /// The whole chain (DER), leaf first; for a report.
    #[serde(skip)]
    pub chain: Vec<Vec<u8>>,
    /// Why there is none.
    pub failure: Option<String>,
}

/// A certificate, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leaf {
    /// SHA-256.
    pub fingerprint: String,
    /// Escaped.
    pub subject: String,
    /// Escaped.
    pub names: Vec<String>,
    /// RFC 3339.
    pub not_after: String,
    /// Seconds until then.
    pub remaining: i64,
}

/// Reads the configured files, and dials whatever listens here.
///
/// # Errors
/// The dialler cannot be made.
pub async fn observe(config: &Config, now: Time) -> Result<Vec<Seen>, Error> {
    let mut all: Vec<Seen> = config.installs.iter().map(|install| file(install, now)).collect();
    let dialer = Dialer::new(Settings::default()).map_err(|failure| Error::Answer(failure.to_string()))?;
    let mut configured: BTreeMap<u16, &Install> = BTreeMap::new();
    for install in &config.installs {
        if let Some(look) = &install.look {
            configured.entry(look.port).or_insert(install);
        }
    }
    let (permits, mut running) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for address in listeners(Path::new("/proc/net")) {
        let install = configured.get(&address.port());
        let look = install.and_then(|install| install.look.as_ref());
        let protocol = look.map_or_else(|| usual(address.port()), |look| look.protocol);
        let target = Target {
            host: address.ip().to_string(),
            port: address.port(),
            server_name: look.and_then(|look| look.server_name.clone()),
            protocol,
            address: Some(address.ip()),
        };
        let (secret, of) = (install.map(|install| install.secret.clone()), install.and_then(|install| install.target.clone()));
        let (dialer, permits, is_configured) = (dialer.clone(), Arc::clone(&permits), install.is_some());
        running.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let result = dialer.dial(&target, address.ip(), Offer::All).await.result;
            let (chain, failure) = match result {
                Ok(presented) => (presented.chain, None),
                Err(failure) => (Vec::new(), Some(failure.to_string())),
            };
            // What speaks no TLS and was not expected to is no news.
            (is_configured || failure.is_none()).then_some((address, secret, of, protocol, chain, failure))
        });
    }
    while let Some(done) = running.join_next().await {
        if let Ok(Some((address, secret, target, protocol, chain, failure))) = done {
            let leaf = chain.first().and_then(|der| leaf(der, now));
            all.push(Seen { place: address.to_string(), secret, target, protocol: Some(protocol.as_str()), leaf, chain, failure });
        }
    }
    all.sort_by(|a, b| (a.protocol, &a.place).cmp(&(b.protocol, &b.place)));
    Ok(all)
}

fn file(install: &Install, now: Time) -> Seen {
    let (place, path) = (install.place.path().display().to_string(), install::chain_path(install));
    let chain = match files::read(&path) {
        Ok(Some(bytes)) => pki::load(&bytes, None, pki::Limits::default())
            .map(|loaded| loaded.certificates.iter().map(|one| one.der().to_vec()).collect::<Vec<_>>())
            .map_err(|error| error.to_string()),
        Ok(None) => Err("there is no file".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let (chain, failure) = match chain {
        Ok(chain) if chain.is_empty() => (chain, Some("there is no certificate in the file".to_owned())),
        Ok(chain) => (chain, None),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    let leaf = chain.first().and_then(|der| leaf(der, now));
    Seen { place, secret: Some(install.secret.clone()), target: install.target.clone(), protocol: None, leaf, chain, failure }
}

fn leaf(der: &[u8], now: Time) -> Option<Leaf> {
    let leaf = Certificate::parse(der).ok()?;
    Some(Leaf {
        fingerprint: leaf.fingerprint().to_string(),
        subject: leaf.subject().to_owned(),
        names: leaf.names().iter().map(ToString::to_string).collect(),
        not_after: leaf.not_after().to_string(),
        remaining: (leaf.not_after() - now).as_secs(),
    })
}

/// What is usually spoken at a port before TLS.
fn usual(port: u16) -> Protocol {
    let known = Protocol::ALL.into_iter().find(|protocol| *protocol != Protocol::Tls && protocol.default_port() == port);
    known.unwrap_or(if port == 587 { Protocol::Smtp } else { Protocol::Tls })
}

/// Addresses at which something listens, as they are dialled from here.
fn listeners(net: &Path) -> Vec<SocketAddr> {
    let mut found = BTreeSet::new();
    for name in ["tcp", "tcp6"] {
        let text = fs::read(net.join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(text.get(..MOST_BYTES).unwrap_or(&text));
        found.extend(text.lines().skip(1).filter_map(listener));
    }
    found.into_iter().take(MOST_LISTENERS).collect()
}

/// One line of `/proc/net/tcp`: state 0A listens; addresses are words in the order of this machine's bytes.
fn listener(line: &str) -> Option<SocketAddr> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, state) = (fields.next()?, fields.nth(1)?);
    if state != "0A" {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for word in 0..address.len() / 8 {
        let word = u32::from_str_radix(address.get(word * 8..word * 8 + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes.as_slice()).ok()?),
        16 => {
            let six = Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?);
            six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4)
        }
        _ => return None,
    };
    Some(SocketAddr::new(
        match address {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            // Most of these take IPv4 too.
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            other => other,
        },
        port,
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn listening_sockets_are_found_as_they_are_dialled() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(listener(line).map(|address| address.to_string()).as_deref(), expected, "{line}");
        };
        if cfg!(target_endian = "little") {
            check("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000", Some("127.0.0.1:8080"));
            check("   1: 00000000:01BB 00000000:0000 0A 00000000:00000000", Some("127.0.0.1:443"));
            check("   2: 0100007F:1F90 0100007F:D431 01 00000000:00000000", None);
            check("   3: 00000000000000000000000001000000:1538 00000000000000000000000000000000:0000 0A", Some("[::1]:5432"));
            check("   4: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 0A", Some("127.0.0.1:80"));
            check("   5: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A", Some("[::1]:443"));
        }
        check("", None);
        check("garbage here 0A 0A", None);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listeners(Path::new("/proc/net")).contains(&socket.local_addr().unwrap()));
    }

    #[test]
    fn ports_have_their_usual_protocols() {
        assert_eq!(usual(5432), Protocol::Postgres);
        assert_eq!(usual(587), Protocol::Smtp);
        assert_eq!(usual(8443), Protocol::Tls);
    }
}
