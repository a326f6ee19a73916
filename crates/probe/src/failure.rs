//! What went wrong, in which phase, whose fault it is, and whether to try again.

use std::{fmt, io};

use rustls::{AlertDescription, Error as TlsError, InvalidMessage, PeerIncompatible};

use crate::wire::{Exhausted, Head};

/// The step of a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Name to addresses.
    Resolve,
    /// TCP.
    Connect,
    /// The plain-text upgrade in front of the handshake.
    StartTls,
    /// TLS.
    Handshake,
    /// Taking leave.
    Close,
}

impl Phase {
    /// The word for records and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Resolve => "resolve",
            Phase::Connect => "connect",
            Phase::StartTls => "starttls",
            Phase::Handshake => "handshake",
            Phase::Close => "close",
        }
    }
}

/// Whose fault a failure is, as far as this end can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blame {
    /// Something between here and there: packets vanish or no way leads there.
    Network,
    /// The name does not resolve.
    Dns,
    /// The other end: refuses, hangs up, stays silent, speaks something else.
    Peer,
    /// The two ends found no TLS in common.
    Tls,
    /// This machine: no route, no ports, no descriptors, or a target that cannot be dialled as written.
    Local,
    /// A limit of ours was reached first.
    Limits,
}

impl Blame {
    /// The word for records and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Blame::Network => "network",
            Blame::Dns => "dns",
            Blame::Peer => "peer",
            Blame::Tls => "tls",
            Blame::Local => "local",
            Blame::Limits => "limits",
        }
    }
}

/// A dial that did not end with a proven chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{phase}: {detail}")]
pub struct Failure {
    /// Where it broke.
    pub phase: Phase,
    /// Whose fault it is.
    pub blame: Blame,
    /// Whether the same dial may succeed a little later with nothing changed by people.
    pub retry: bool,
    /// One sentence for people; whatever came from the peer is escaped and bounded.
    pub detail: String,
    /// The chain that was seen before it broke, leaf first. *Not proven*: the peer may not hold its key.
    pub unproven_chain: Vec<Vec<u8>>,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text from the peer, fit to be shown: escaped, and no longer than a line of an error should be.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let shown: String = String::from_utf8_lossy(&bytes[..bytes.len().min(160)]).trim_end().to_owned();
    format!("\"{}\"", pki::text::escape(&shown))
}

impl Failure {
    pub(crate) fn new(phase: Phase, blame: Blame, retry: bool, detail: impl Into<String>) -> Failure {
        Failure { phase, blame, retry, detail: detail.into(), unproven_chain: Vec::new() }
    }

    /// The socket broke.
    pub(crate) fn io(phase: Phase, error: &io::Error) -> Failure {
        use io::ErrorKind as Kind;
        if let Some(exhausted) = error.get_ref().and_then(|inner| inner.downcast_ref::<Exhausted>()) {
            return Failure::new(phase, Blame::Limits, false, exhausted.to_string());
        }
        let (blame, retry, what) = match error.kind() {
            Kind::ConnectionRefused => (Blame::Peer, true, "connection refused: nothing listens on this port"),
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => (Blame::Peer, true, "the peer reset the connection"),
            Kind::UnexpectedEof => (Blame::Peer, true, "the peer closed the connection"),
            Kind::TimedOut => (Blame::Network, true, "TCP gave up: no answer"),
            Kind::HostUnreachable => (Blame::Network, true, "host unreachable"),
            // Without a route the packet never left; that is a fact about this vantage, not about the target.
            Kind::NetworkUnreachable => (Blame::Local, true, "this machine has no route to the address"),
            Kind::AddrNotAvailable => (Blame::Local, true, "no free local port for this destination; lower the rate per address"),
            Kind::PermissionDenied => (Blame::Local, false, "a local rule forbids this connection"),
            _ if matches!(error.raw_os_error(), Some(23 | 24)) => {
                (Blame::Local, true, "no free file descriptors; lower the concurrency or raise the limit of open files")
            }
            _ => return Failure::new(phase, Blame::Network, true, error.to_string()),
        };
        Failure::new(phase, blame, retry, what)
    }

    /// TLS said no. `head` is how the peer's stream began, which tells plain text from bad TLS.
    pub(crate) fn tls(error: &TlsError, head: Head) -> Failure {
        let (blame, retry, detail) = match error {
            TlsError::InvalidMessage(kind) => match plain_text(head.bytes()) {
                Some(said) => (Blame::Peer, false, said),
                None => match kind {
                    InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge => {
                        (Blame::Limits, false, "the peer's handshake message (its chain?) exceeds 64 KiB".to_owned())
                    }
                    _ => (Blame::Peer, false, format!("the peer sent a malformed TLS message ({kind:?})")),
                },
            },
            TlsError::AlertReceived(alert) => alert_received(*alert, head),
            TlsError::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => (Blame::Tls, false, "the peer speaks only TLS 1.1 or older; TLS 1.2 or 1.3 is needed".to_owned()),
            TlsError::PeerIncompatible(what) => (Blame::Tls, false, format!("nothing in common with the peer ({what:?})")),
            TlsError::InvalidCertificate(what) => {
                (Blame::Tls, false, format!("the peer did not prove that it holds the key of its certificate ({what})"))
            }
            TlsError::NoCertificatesPresented => (Blame::Peer, false, "the peer presented no certificate".to_owned()),
            TlsError::PeerMisbehaved(what) => (Blame::Peer, false, format!("the peer broke the TLS protocol ({what:?})")),
            TlsError::InappropriateMessage { .. } | TlsError::InappropriateHandshakeMessage { .. } => {
                (Blame::Peer, false, format!("the peer broke the TLS protocol ({error})"))
            }
            TlsError::PeerSentOversizedRecord => match plain_text(head.bytes()) {
                Some(said) => (Blame::Peer, false, said),
                None => (Blame::Peer, false, "the peer sent an oversized TLS record".to_owned()),
            },
            TlsError::DecryptError => (Blame::Peer, true, "a record of the peer does not decrypt".to_owned()),
            TlsError::FailedToGetRandomBytes => (Blame::Local, true, "this machine has no randomness".to_owned()),
            other => (Blame::Tls, false, other.to_string()),
        };
        Failure::new(Phase::Handshake, blame, retry, detail)
    }
}

/// An alert, by its RFC 8446 §6 name, with what it usually means for somebody who looks at certificates.
fn alert_received(alert: AlertDescription, head: Head) -> (Blame, bool, String) {
    use AlertDescription as A;
    if matches!(head.bytes(), [21, 3, 0, ..]) {
        return (Blame::Tls, false, format!("the peer refused with an SSL 3.0 alert ({}): it speaks no TLS 1.2 or 1.3", name(alert)));
    }
    let (blame, retry, meaning) = match alert {
        A::HandshakeFailure => {
            (Blame::Tls, false, ": no cipher suite, group or signature scheme in common, or it wants a client certificate")
        }
        A::ProtocolVersion => (Blame::Tls, false, ": it speaks only TLS 1.1 or older"),
        A::InsufficientSecurity => (Blame::Tls, false, ": it wants stronger parameters"),
        A::UnrecognisedName => (Blame::Peer, false, ": it has nothing for this server name"),
        // What rustls servers say when no certificate of theirs fits.
        A::AccessDenied => (Blame::Tls, false, ": it has no certificate for this server name and offer, or wants one from the client"),
        A::CertificateRequired | A::BadCertificate | A::UnknownCA | A::CertificateUnknown => {
            (Blame::Peer, false, ": it wants a client certificate")
        }
        A::InternalError => (Blame::Peer, true, ": an error of its own, often a certificate that it could not load"),
        A::NoApplicationProtocol => (Blame::Tls, false, ": it insists on an application protocol"),
        A::UserCanceled | A::CloseNotify => (Blame::Peer, true, ": it broke off"),
        _ => (Blame::Peer, false, ""),
    };
    (blame, retry, format!("the peer refused with alert {}{meaning}", name(alert)))
}

/// The registered name of an alert (RFC 8446 §6).
pub(crate) fn name(alert: AlertDescription) -> String {
    let camel = match alert {
        AlertDescription::UnrecognisedName => "UnrecognizedName".to_owned(),
        AlertDescription::UnknownCA => "UnknownCa".to_owned(),
        AlertDescription::UnknownPSKIdentity => "UnknownPskIdentity".to_owned(),
        AlertDescription::Unknown(code) => return format!("{code}"),
        other => format!("{other:?}"),
    };
    let mut snake = String::with_capacity(camel.len() + 4);
    for (at, letter) in camel.chars().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Recognises the usual plain-text peers from their first bytes.
fn plain_text(head: &[u8]) -> Option<String> {
    let hint = match head {
        [b'H', b'T', b'T', b'P', b'/', ..] | [b'<', ..] => "it answers plain HTTP",
        [b'S', b'S', b'H', b'-', ..] => "it is an SSH server",
        [b'2', b'2', b'0', b' ' | b'-', ..] => "it greets like SMTP; try smtp://",
        [b'*', b' ', b'O', b'K', ..] => "it greets like IMAP; try imap://",
        [b'+', b'O', b'K', ..] => "it greets like POP3; try pop3://",
        // MySQL: 3-byte length, sequence 0, protocol version 10.
        [_, 0, 0, 0, 10, ..] => "it greets like MySQL; try mysql://",
        // A TLS record begins with its content type, 20 to 24 (RFC 8446 §5.1), and version 3.x.
        [20..=24, 3, ..] | [] => return None,
        _ => return Some(format!("the peer speaks no TLS on this port: its answer begins {}", quoted(head))),
    };
    Some(format!("the peer speaks no TLS on this port: {hint}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn alerts_carry_their_registered_names() {
        let check = |alert, expected: &str| assert_eq!(name(alert), expected);
        check(AlertDescription::HandshakeFailure, "handshake_failure");
        check(AlertDescription::UnknownCA, "unknown_ca");
        check(AlertDescription::UnrecognisedName, "unrecognized_name");
        check(AlertDescription::CertificateRequired, "certificate_required");
        check(AlertDescription::Unknown(250), "250");
    }

    #[test]
    fn first_bytes_tell_plain_text_from_tls() {
        let check = |head: &[u8], expected: Option<&str>| {
            let got = plain_text(head);
            match expected {
                Some(part) => assert!(got.as_deref().is_some_and(|text| text.contains(part)), "{head:?}: {got:?}"),
                None => assert_eq!(got, None, "{head:?}"),
            }
        };
        check(b"HTTP/1.1 400 Bad", Some("plain HTTP"));
        check(b"SSH-2.0-x", Some("SSH"));
        check(b"220 mx ESMTP", Some("smtp://"));
        check(b"* OK ready", Some("imap://"));
        check(b"+OK ready", Some("pop3://"));
        check(b"\x4a\0\0\0\x0a8.0", Some("mysql://"));
        check(b"\x1b[31mhello", Some("\\u{1b}"));
        check(&[22, 3, 3, 0, 9], None);
        check(&[], None);
    }

    #[test]
    fn socket_errors_have_an_owner() {
        let check = |kind: io::ErrorKind, blame, retry| {
            let got = Failure::io(Phase::Connect, &io::Error::from(kind));
            assert_eq!((got.blame, got.retry), (blame, retry), "{kind:?}");
        };
        check(io::ErrorKind::ConnectionRefused, Blame::Peer, true);
        check(io::ErrorKind::ConnectionReset, Blame::Peer, true);
        check(io::ErrorKind::TimedOut, Blame::Network, true);
        check(io::ErrorKind::NetworkUnreachable, Blame::Local, true);
        check(io::ErrorKind::AddrNotAvailable, Blame::Local, true);
        check(io::ErrorKind::PermissionDenied, Blame::Local, false);
        assert_eq!(Failure::io(Phase::Connect, &io::Error::from_raw_os_error(24)).blame, Blame::Local);
        assert_eq!(Failure::io(Phase::Handshake, &io::Error::other(Exhausted::In(9))).blame, Blame::Limits);
    }
}
