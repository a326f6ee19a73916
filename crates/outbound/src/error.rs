//! What went wrong, whose fault it is, and whether to try again.

use std::fmt;

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Looking at the URL and the configuration; nothing was sent.
    Prepare,
    /// Finding the host's addresses.
    Resolve,
    /// Judging the addresses.
    Guard,
    /// TCP.
    Connect,
    /// TLS.
    Handshake,
    /// Sending the request and waiting for the status. The peer may have acted on it.
    Request,
    /// Reading the answer's body. The peer has answered.
    Body,
}

/// Who has to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Whoever gave the URL or the configuration.
    Local,
    /// The name service.
    Dns,
    /// The way there.
    Network,
    /// TLS on either side, mostly the peer's certificate.
    Tls,
    /// The peer.
    Peer,
    /// A limit of this client.
    Limits,
}

/// A request that got no usable answer. It names the host, never the URL's path, which often is a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}{}", Host(host))]
pub struct Error {
    /// How far it came.
    pub phase: Phase,
    /// Who has to change something.
    pub blame: Blame,
    /// Whether the same request may succeed later.
    pub retry: bool,
    /// One sentence, safe to show: bounded and without control characters.
    pub detail: String,
    /// `host:port`, or empty if there is none yet.
    pub host: String,
}

struct Host<'a>(&'a str);

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (host {})", self.0) }
    }
}

impl Error {
    pub(crate) fn new(phase: Phase, blame: Blame, retry: bool, detail: impl AsRef<str>) -> Self {
        Error { phase, blame, retry, detail: shown(detail.as_ref()), host: String::new() }
    }

    pub(crate) fn local(detail: String) -> Self {
        Error::new(Phase::Prepare, Blame::Local, false, detail)
    }

    pub(crate) fn at(self, host: &str) -> Self {
        Error { host: shown(host), ..self }
    }
}

/// The most characters of a detail.
const MAX_DETAIL: usize = 400;

/// Errors of TLS repeat what the peer's certificate says, so nothing in them may move a cursor or turn text around.
fn shown(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == MAX_DETAIL {
            out.push('…');
            break;
        }
        match c {
            '\'' | '"' | '\\' => out.push(c),
            _ => out.extend(c.escape_debug()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_harmless() {
        for (text, expected) in [
            ("plain \"quoted\" – text", "plain \"quoted\" – text"),
            ("a\x1b[31mb\r\n", "a\\u{1b}[31mb\\r\\n"),
            ("x\u{202e}y\u{200b}", "x\\u{202e}y\\u{200b}"),
        ] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown(&"x".repeat(5000)).chars().count(), MAX_DETAIL + 1);
    }
}
