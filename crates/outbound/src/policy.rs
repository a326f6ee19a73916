//! What a client may do, and for how long.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::error::Error;

/// How many bytes of an answer's body are taken if nobody says otherwise.
pub const DEFAULT_MAX_RESPONSE: usize = 1 << 20;
/// The most certificates that are read from one file of roots.
const MAX_ROOTS: usize = 1024;
/// The most bytes that are read from one file of roots.
const MAX_ROOTS_BYTES: usize = 8 << 20;

/// Host names that may be reached although they lie inside, and without TLS.
///
/// An entry is a host (`alertmanager.internal`, `10.0.0.7`, `::1`) or a host with its port (`localhost:9093`,
/// `[::1]:9093`), which allows that port alone. What counts is the name as it stands in the URL, never where it leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow(BTreeSet<String>);

impl Allow {
    /// Allows nothing.
    pub fn nothing() -> Self {
        Allow::default()
    }

    /// Whether a host, in lower case and without brackets, is allowed on this port.
    pub fn contains(&self, host: &str, port: u16) -> bool {
        self.0.contains(host) || self.0.contains(&with_port(host, port))
    }
}

impl<S: AsRef<str>> FromIterator<S> for Allow {
    fn from_iter<I: IntoIterator<Item = S>>(entries: I) -> Self {
        let canonical = |entry: S| {
            let entry = entry.as_ref().trim().trim_end_matches('.').to_ascii_lowercase();
            match entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(bare) => bare.to_owned(),
                None => entry,
            }
        };
        Allow(entries.into_iter().map(canonical).collect())
    }
}

pub(crate) fn with_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// How long each phase may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From a name to its addresses.
    pub resolve: Duration,
    /// TCP, over all addresses that are tried.
    pub connect: Duration,
    /// TLS.
    pub handshake: Duration,
    /// From the first byte of the request to the last one of the answer; a request may bring its own.
    pub exchange: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            resolve: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            exchange: Duration::from_secs(20),
        }
    }
}

/// What a [`crate::Client`] may do.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Names that may lie inside.
    pub allow: Allow,
    /// Whom to trust.
    pub roots: Arc<RootCertStore>,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// How many bytes of an answer's body are taken.
    pub max_response: usize,
}

impl Policy {
    /// Trusts these roots, allows nothing inside, with the default limits.
    pub fn new(roots: impl Into<Arc<RootCertStore>>) -> Self {
        Policy { allow: Allow::nothing(), roots: roots.into(), timeouts: Timeouts::default(), max_response: DEFAULT_MAX_RESPONSE }
    }
}

/// The roots in a PEM file, for a server with a private authority.
///
/// # Errors
/// [`Error`] if the file is too large, holds no certificate, or one that cannot be a root.
pub fn roots_from_pem(pem: &[u8]) -> Result<RootCertStore, Error> {
    if pem.len() > MAX_ROOTS_BYTES {
        return Err(Error::local(format!("the file of roots has {} bytes, more than {MAX_ROOTS_BYTES}", pem.len())));
    }
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let position = index + 1;
        if position > MAX_ROOTS {
            return Err(Error::local(format!("the file of roots holds more than {MAX_ROOTS} certificates")));
        }
        let certificate = certificate.map_err(|error| Error::local(format!("certificate {position} of the roots is no PEM: {error:?}")))?;
        roots.add(certificate).map_err(|error| Error::local(format!("certificate {position} of the roots cannot be one: {error}")))?;
    }
    if roots.is_empty() {
        return Err(Error::local("the file of roots holds no certificate in PEM".into()));
    }
    Ok(roots)
}
