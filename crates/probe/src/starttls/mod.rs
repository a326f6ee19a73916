//! The plain-text conversations that lead to TLS. Each ends exactly at the go-ahead: a single byte more is an injection.

mod ldap;
mod lines;
mod mysql;
mod postgres;
mod xmpp;

use std::{io, time::Duration};

use crate::{
    failure::{Blame, Failure, Phase, quoted},
    limits::REPLY,
    target::{Protocol, Target},
    wire::{Head, Wire},
};

/// Speaks the target's protocol up to the point where the TLS handshake begins.
pub(crate) async fn upgrade(wire: &mut Wire, target: &Target) -> Result<(), Failure> {
    let mut talk = Talk { wire, buffer: Vec::new() };
    match target.protocol {
        Protocol::Tls => {}
        Protocol::Smtp => lines::smtp(&mut talk).await?,
        Protocol::Imap => lines::imap(&mut talk).await?,
        Protocol::Pop3 => lines::pop3(&mut talk).await?,
        Protocol::Ldap => ldap::upgrade(&mut talk).await?,
        Protocol::Postgres => postgres::upgrade(&mut talk).await?,
        Protocol::Mysql => mysql::upgrade(&mut talk).await?,
        Protocol::Xmpp => xmpp::upgrade(&mut talk, target).await?,
    }
    talk.nothing_more()
}

/// The failure of a conversation that took too long.
pub(crate) fn silent(wire: &Wire, limit: Duration) -> Failure {
    let seconds = limit.as_secs_f32();
    let detail = match wire.received() {
        0 => format!("no greeting within {seconds} s; a port that speaks TLS at once also waits like this"),
        count => format!("the way to TLS took longer than {seconds} s; {count} bytes had come in"),
    };
    Failure::new(Phase::StartTls, Blame::Peer, true, detail)
}

/// One side of a conversation: what was received and not yet used.
struct Talk<'a> {
    wire: &'a mut Wire,
    buffer: Vec<u8>,
}

impl Talk<'_> {
    async fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.wire.send(bytes).await.map_err(|error| Failure::io(Phase::StartTls, &error))
    }

    /// Waits for more bytes; `reply` is how long the reply in hand may become.
    async fn hear(&mut self) -> Result<(), Failure> {
        if self.buffer.len() >= REPLY {
            let detail = format!("the peer's reply exceeds {REPLY} bytes and does not end");
            return Err(Failure::new(Phase::StartTls, Blame::Limits, false, detail));
        }
        let mut chunk = [0; 512];
        match self.wire.read(&mut chunk).await {
            Ok(0) => {
                let after = if self.wire.received() == 0 { "without a word" } else { "before the go-ahead" };
                Err(Failure::new(Phase::StartTls, Blame::Peer, true, format!("the peer closed the connection {after}")))
            }
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) => Err(Failure::io(Phase::StartTls, &error)),
        }
    }

    /// Takes exactly `count` bytes.
    async fn take(&mut self, count: usize) -> Result<Vec<u8>, Failure> {
        while self.buffer.len() < count {
            self.hear().await?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Whatever arrives between the go-ahead and the ClientHello was not protected, and a client that reads it later as if it had been is
    /// the injection of CVE-2011-0411 and CVE-2021-23222. In TLS the server never speaks first, so there must be nothing.
    fn nothing_more(mut self) -> Result<(), Failure> {
        let mut chunk = [0; 64];
        if self.buffer.is_empty() {
            match io::Read::read(self.wire, &mut chunk) {
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(Failure::io(Phase::StartTls, &error)),
            }
        }
        // From here on the head of the stream is the head of TLS.
        self.wire.head = Head::default();
        if self.buffer.is_empty() {
            return Ok(());
        }
        let detail = format!("unprotected bytes after the go-ahead (STARTTLS injection): {}", quoted(&self.buffer));
        Err(Failure::new(Phase::StartTls, Blame::Peer, false, detail))
    }
}

/// The peer said no, in its own words.
fn refused(what: &str, said: &[u8]) -> Failure {
    Failure::new(Phase::StartTls, Blame::Peer, false, format!("{what}: {}", quoted(said)))
}

/// The peer speaks something else.
fn foreign(protocol: &str, said: &[u8]) -> Failure {
    refused(&format!("the peer does not speak {protocol}"), said)
}
