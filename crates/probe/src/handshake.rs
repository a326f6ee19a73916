//! The handshake itself, driven by hand so that whatever was seen before a failure is kept.

use std::{io, sync::Arc, time::Duration};

use rustls::{CipherSuite, ClientConfig, ClientConnection, Error as TlsError, ProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::time::timeout;

use crate::{
    failure::{Blame, Failure, Phase},
    tls::{Seen, watch},
    wire::Wire,
};

/// What a peer presented in a complete handshake, and proved to hold the key of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// DER, as presented, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub protocol: &'static str,
    /// The registered name of the cipher suite.
    pub cipher: &'static str,
    /// The key-exchange group, as its registered name.
    pub group: &'static str,
    /// The peer asked for a client certificate; it was given none.
    pub client_certificate_asked: bool,
    /// What went wrong after the chain was proven, such as an alert for lack of a client certificate or a reset while closing. It
    /// takes nothing from the chain.
    pub aftermath: Option<Failure>,
}

/// Runs one fresh, complete handshake, then takes leave.
pub(crate) async fn handshake(
    wire: &mut Wire,
    config: &Arc<ClientConfig>,
    name: ServerName<'static>,
    limit: Duration,
    close_limit: Duration,
) -> Result<Presented, Failure> {
    let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(|error| Failure::tls(&error, wire.head))?;
    let mut seen = Seen::default();
    let outcome = match timeout(limit, shake(wire, &mut tls, &mut seen)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(silent(wire, limit)),
    };
    match outcome {
        Ok(()) => {
            let farewell = match timeout(close_limit, take_leave(wire, &mut tls, seen.asked)).await {
                Ok(done) => done,
                Err(_) => Err(Failure::new(Phase::Close, Blame::Peer, true, "the peer did not end the connection")),
            };
            presented(&tls, seen, farewell.err(), wire)
        }
        // Up to TLS 1.2 the peer misses the client certificate before the handshake is over. By then its chain has been proven by the
        // signed key exchange (RFC 5246 §7.4.3), which was checked before our answer.
        Err(failure) if seen.asked && tls.peer_certificates().is_some() && failure.blame != Blame::Limits => {
            presented(&tls, seen, Some(failure), wire)
        }
        Err(failure) => Err(Failure { unproven_chain: seen.chain, ..failure }),
    }
}

async fn shake(wire: &mut Wire, tls: &mut ClientConnection, seen: &mut Seen) -> Result<(), Failure> {
    let broken = |error: io::Error| Failure::io(Phase::Handshake, &error);
    loop {
        // When the handshake is over, what is left to send (our Finished) goes out together with the close_notify.
        if !tls.is_handshaking() {
            return Ok(());
        }
        if tls.wants_write() {
            flush(wire, tls).await.map_err(broken)?;
        }
        wire.readable().await.map_err(broken)?;
        match tls.read_tls(wire) {
            Ok(0) => return Err(hung_up(wire)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(hung_up(wire)),
            Err(error) => return Err(broken(error)),
        }
        if let Err(error) = watch(seen, || tls.process_new_packets().map(drop)) {
            // The alert tells the peer's log why; whether it arrives is not our concern any more.
            let _ = tls.write_tls(wire);
            return Err(Failure::tls(&error, wire.head));
        }
    }
}

/// close_notify (RFC 8446 §6.1), FIN, and then the peer's stream to its end, so that the peer sees an orderly close and no reset.
async fn take_leave(wire: &mut Wire, tls: &mut ClientConnection, expects_alert: bool) -> Result<(), Failure> {
    let broken = |error: io::Error| Failure::io(Phase::Close, &error);
    tls.send_close_notify();
    flush(wire, tls).await.map_err(broken)?;
    wire.finish().await.map_err(broken)?;
    if expects_alert {
        return last_words(wire, tls).await;
    }
    // Session tickets and the peer's close_notify: of no interest, so they are not even decrypted.
    let mut scratch = [0; 1024];
    while wire.read(&mut scratch).await.map_err(broken)? > 0 {}
    Ok(())
}

/// In TLS 1.3 a peer misses the client certificate only after the handshake is over for us (RFC 8446 §4.4.2.4).
async fn last_words(wire: &mut Wire, tls: &mut ClientConnection) -> Result<(), Failure> {
    let broken = |error: io::Error| Failure::io(Phase::Close, &error);
    loop {
        wire.readable().await.map_err(broken)?;
        match tls.read_tls(wire) {
            Ok(0) => return Ok(()),
            Ok(_) => match tls.process_new_packets() {
                Ok(_) => {}
                Err(error @ TlsError::AlertReceived(_)) => {
                    return Err(Failure { phase: Phase::Close, ..Failure::tls(&error, wire.head) });
                }
                Err(_) => return Ok(()),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(broken(error)),
        }
    }
}

async fn flush(wire: &mut Wire, tls: &mut ClientConnection) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(wire) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wire.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn presented(tls: &ClientConnection, seen: Seen, aftermath: Option<Failure>, wire: &Wire) -> Result<Presented, Failure> {
    let (Some(protocol), Some(suite)) = (tls.protocol_version(), tls.negotiated_cipher_suite()) else {
        return Err(Failure::tls(&TlsError::HandshakeNotComplete, wire.head));
    };
    Ok(Presented {
        chain: seen.chain,
        protocol: if protocol == ProtocolVersion::TLSv1_3 { "TLSv1.3" } else { "TLSv1.2" },
        cipher: registered(suite.suite()),
        group: tls.negotiated_key_exchange_group().and_then(|group| group.name().as_str()).unwrap_or("unknown"),
        client_certificate_asked: seen.asked,
        aftermath,
    })
}

/// The TLS 1.3 suites by their names in the registry (RFC 8446 §B.4); the library spells them its own way.
fn registered(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

fn hung_up(wire: &Wire) -> Failure {
    let detail = match wire.received() {
        0 => "the peer closed the connection without answering the ClientHello".to_owned(),
        count => format!("the peer broke off in the middle of the handshake, after {count} bytes"),
    };
    Failure::new(Phase::Handshake, Blame::Peer, true, detail)
}

fn silent(wire: &Wire, limit: Duration) -> Failure {
    let seconds = limit.as_secs_f32();
    match wire.received() {
        0 => Failure::new(Phase::Handshake, Blame::Peer, true, format!("no answer to the ClientHello within {seconds} s")),
        count => {
            let detail = format!("the handshake was not over within {seconds} s; {count} bytes had come in");
            Failure::new(Phase::Handshake, Blame::Peer, true, detail)
        }
    }
}
