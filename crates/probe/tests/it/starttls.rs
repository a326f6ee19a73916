//! The ways to TLS of seven protocols, against peers that follow a script: to the end, broken off at each step, with injected bytes,
//! and refusing.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use probe::{Attempt, Blame, Offer, Phase, Protocol, Settings};
use rustls::version::TLS13;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use crate::peers::{Key, config, dialer, identity, listen, target, visit};

/// What a peer does before TLS.
#[derive(Clone)]
enum Step {
    Say(Vec<u8>),
    /// Waits until the client's words end like this.
    Hear(&'static [u8]),
}
use Step::{Hear, Say};

fn say(bytes: &[u8]) -> Step {
    Say(bytes.to_vec())
}

fn mysql_greeting(capabilities: [u8; 2]) -> Vec<u8> {
    let body = [b"\x0a8.0.36\0\x01\0\0\0scramble\0", &capabilities[..], &[45, 2, 0, 0xff, 0xc7, 21], &[0; 10], b"scramblescra\0"].concat();
    [&[u8::try_from(body.len()).unwrap(), 0, 0, 0], &body[..]].concat()
}

/// A peer that does everything right.
fn script(protocol: Protocol) -> Vec<Step> {
    match protocol {
        Protocol::Tls => vec![],
        Protocol::Smtp => vec![
            say(b"220-mx.example ESMTP\r\n220 welcome\r\n"),
            Hear(b"EHLO [127.0.0.1]\r\n"),
            say(b"250-mx.example\r\n250-SIZE 1000\r\n250-starttls\r\n250 HELP\r\n"),
            Hear(b"STARTTLS\r\n"),
            say(b"220 go ahead\r\n"),
        ],
        Protocol::Imap => vec![
            say(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"),
            Hear(b" STARTTLS\r\n"),
            say(b"* CAPABILITY whatever\r\np1 OK begin\r\n"),
        ],
        Protocol::Pop3 => vec![say(b"+OK ready\r\n"), Hear(b"STLS\r\n"), say(b"+OK begin\r\n")],
        Protocol::Ldap => vec![
            Hear(b"1.3.6.1.4.1.1466.20037"),
            say(b"\x30\x24\x02\x01\x01\x78\x1f\x0a\x01\x00\x04\x00\x04\x00\x8a\x161.3.6.1.4.1.1466.20037"),
        ],
        Protocol::Postgres => vec![Hear(b"\0\0\0\x08\x04\xd2\x16\x2f"), say(b"S")],
        Protocol::Mysql => vec![Say(mysql_greeting([0xff, 0xff])), Hear(&[0; 23])],
        Protocol::Xmpp => vec![
            Hear(b"to='one.example' version='1.0'>"),
            say(b"<?xml version='1.0'?><stream:stream id='1' from='one.example' version='1.0' xmlns='jabber:client'>"),
            say(b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"),
            Hear(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
            say(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
        ],
    }
}

async fn play(stream: &mut TcpStream, steps: &[Step]) -> std::io::Result<()> {
    let mut heard = Vec::new();
    for step in steps {
        match step {
            Say(bytes) => stream.write_all(bytes).await?,
            Hear(end) => {
                heard.clear();
                while !heard.ends_with(end) {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).await?;
                    heard.extend(byte);
                }
            }
        }
    }
    Ok(())
}

/// Plays the steps, and then TLS.
async fn peer(steps: Vec<Step>, acceptor: TlsAcceptor) -> SocketAddr {
    listen(move |mut stream| {
        let (steps, acceptor) = (steps.clone(), acceptor.clone());
        async move {
            if play(&mut stream, &steps).await.is_ok() {
                let _ = visit(&acceptor, stream).await;
            }
        }
    })
    .await
}

/// Plays the steps, ends its stream, and waits for the client to leave.
async fn peer_that_ends(steps: Vec<Step>) -> SocketAddr {
    listen(move |mut stream| {
        let steps = steps.clone();
        async move {
            if play(&mut stream, &steps).await.is_ok() {
                let _ = stream.shutdown().await;
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
        }
    })
    .await
}

fn acceptor() -> (TlsAcceptor, Vec<Vec<u8>>) {
    let identity = identity(Key::Ecdsa);
    (TlsAcceptor::from(Arc::new(config(&[&identity], &TLS13))), identity.chain)
}

async fn dial(address: SocketAddr, protocol: Protocol, edit: impl FnOnce(&mut Settings)) -> Attempt {
    dialer(edit).dial(&target(address, protocol), address.ip(), Offer::All).await
}

#[tokio::test]
async fn every_protocol_reaches_the_certificate() {
    let (acceptor, chain) = acceptor();
    for protocol in Protocol::ALL {
        let address = peer(script(protocol), acceptor.clone()).await;
        let presented = dial(address, protocol, |_| {}).await.result.unwrap_or_else(|failure| panic!("{protocol:?}: {failure}"));
        assert_eq!(presented.chain, chain, "{protocol:?}");
        assert_eq!(presented.aftermath, None, "{protocol:?}");
    }
}

#[tokio::test]
async fn every_protocol_broken_off_at_every_step_is_the_peers_failure() {
    for protocol in Protocol::ALL {
        let steps = script(protocol);
        for cut in 0..steps.len() {
            // A greeting that needs no more words is the go-ahead; after it, it is the handshake that breaks.
            let over = steps[cut..].iter().all(|step| matches!(step, Hear(_)));
            let address = peer_that_ends(steps[..cut].to_vec()).await;
            let failure = dial(address, protocol, |_| {}).await.result.unwrap_err();
            assert_eq!((failure.blame, failure.retry), (Blame::Peer, true), "{protocol:?} {cut}: {failure}");
            assert_eq!(failure.phase == Phase::StartTls, !over, "{protocol:?} {cut}: {failure}");
        }
    }
}

#[tokio::test]
async fn every_protocol_cut_inside_its_last_words_is_a_failure() {
    for protocol in Protocol::ALL {
        let mut steps = script(protocol);
        let Some(Say(words)) = steps.iter_mut().rev().find(|step| matches!(step, Say(_))) else { continue };
        words.pop();
        let address = peer_that_ends(
            steps.into_iter().rev().skip_while(|step| matches!(step, Hear(_))).collect::<Vec<_>>().into_iter().rev().collect(),
        )
        .await;
        let failure = dial(address, protocol, |_| {}).await.result.unwrap_err();
        assert_eq!((failure.phase, failure.blame), (Phase::StartTls, Blame::Peer), "{protocol:?}: {failure}");
    }
}

#[tokio::test]
async fn bytes_after_the_go_ahead_are_an_injection() {
    let (acceptor, _) = acceptor();
    for protocol in Protocol::ALL {
        let mut steps = script(protocol);
        // MySQL's go-ahead is the greeting itself.
        let Some(Say(words)) = steps.iter_mut().rev().find(|step| matches!(step, Say(_))) else { continue };
        words.extend(b"\x1b[31mINJECTED");
        let address = peer(steps, acceptor.clone()).await;
        let failure = dial(address, protocol, |_| {}).await.result.unwrap_err();
        assert_eq!((failure.phase, failure.blame, failure.retry), (Phase::StartTls, Blame::Peer, false), "{protocol:?}: {failure}");
        assert!(failure.detail.contains("injection") && failure.detail.contains("\\u{1b}[31mINJECTED"), "{protocol:?}: {failure}");
    }
}

#[tokio::test]
async fn refusals_are_told_in_the_peers_own_words() {
    let check = async |protocol: Protocol, steps: Vec<Step>, part: &str| {
        let address = peer_that_ends(steps).await;
        let failure = dial(address, protocol, |_| {}).await.result.unwrap_err();
        assert_eq!((failure.phase, failure.blame, failure.retry), (Phase::StartTls, Blame::Peer, false), "{protocol:?}: {failure}");
        assert!(failure.detail.contains(part), "{protocol:?}: {failure}");
    };
    check(Protocol::Smtp, vec![say(b"554 no\r\n")], "refuses the connection (554): \"no\"").await;
    check(Protocol::Smtp, vec![say(b"220 x\r\n"), Hear(b"\r\n"), say(b"250-x\r\n250 HELP\r\n")], "does not offer STARTTLS").await;
    // The server's own name is not an extension.
    check(Protocol::Smtp, vec![say(b"220 x\r\n"), Hear(b"\r\n"), say(b"250 STARTTLS\r\n")], "does not offer STARTTLS").await;
    let refuses = vec![say(b"220 x\r\n"), Hear(b"\r\n"), say(b"250-x\r\n250 STARTTLS\r\n"), Hear(b"\r\n"), say(b"454 later\r\n")];
    check(Protocol::Smtp, refuses, "refuses STARTTLS (454): \"later\"").await;
    check(Protocol::Smtp, vec![say(b"SSH-2.0-OpenSSH_9\r\n")], "does not speak SMTP").await;
    check(Protocol::Imap, vec![say(b"* BYE full\r\n")], "refuses the connection").await;
    check(Protocol::Imap, vec![say(b"* PREAUTH hello\r\n")], "past the point").await;
    check(Protocol::Imap, vec![say(b"* OK\r\n"), Hear(b"\r\n"), say(b"p1 BAD what\r\n")], "refuses STARTTLS").await;
    check(Protocol::Imap, vec![say(b"220 x\r\n")], "does not speak IMAP").await;
    check(Protocol::Pop3, vec![say(b"+OK\r\n"), Hear(b"\r\n"), say(b"-ERR no\r\n")], "refuses STLS").await;
    check(Protocol::Ldap, vec![Hear(b"20037"), say(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\x00\x04\x00")], "result code 52").await;
    check(Protocol::Ldap, vec![Hear(b"20037"), say(b"HTTP/1.1 400 Bad Request\r\n")], "does not speak LDAP").await;
    check(Protocol::Postgres, vec![Hear(b"\x2f"), say(b"N")], "TLS switched off").await;
    check(Protocol::Postgres, vec![Hear(b"\x2f"), say(b"EFATAL: too many")], "too many").await;
    check(Protocol::Postgres, vec![Hear(b"\x2f"), say(b"H")], "does not speak PostgreSQL").await;
    check(Protocol::Mysql, vec![Say(mysql_greeting([0xff, 0xf7]))], "TLS switched off").await;
    check(Protocol::Mysql, vec![say(b"\x10\0\0\0\xff\x69\x04Host is block")], "Host is block").await;
    check(Protocol::Mysql, vec![say(b"SSH-2.0-OpenSSH_9\r\n")], "does not speak MySQL").await;
    let bare = b"<stream:stream id='1'><stream:features></stream:features>";
    check(Protocol::Xmpp, vec![Hear(b"'1.0'>"), say(bare)], "does not offer STARTTLS").await;
    check(Protocol::Xmpp, vec![Hear(b"'1.0'>"), say(b"<stream:stream><stream:error>host-unknown")], "ends the stream").await;
    let offers = b"<stream:stream><stream:features><starttls xmlns='x'/></stream:features>";
    check(Protocol::Xmpp, vec![Hear(b"'1.0'>"), say(offers), Hear(b"xmpp-tls'/>"), say(b"<failure/></stream:stream>")], "refuses STARTTLS")
        .await;
    check(Protocol::Xmpp, vec![Hear(b"'1.0'>"), say(b"HTTP/1.1 400 Bad Request\r\n")], "does not speak XMPP").await;
}

#[tokio::test]
async fn endless_words_and_long_silence_end_at_the_limits() {
    let endless = |chunk: &'static [u8]| listen(move |mut stream| async move { while stream.write_all(chunk).await.is_ok() {} });
    for (protocol, chunk) in [
        (Protocol::Smtp, &b"220-more\r\n"[..]),
        (Protocol::Smtp, b"2222222222222222"),
        (Protocol::Imap, b"* OK ready\r\n"),
        (Protocol::Pop3, b"+OK++++++++++++++"),
        (Protocol::Xmpp, b"<stream:stream>"),
        (Protocol::Ldap, b"\x30\x83\xff\xff\xff"),
    ] {
        let failure = dial(endless(chunk).await, protocol, |_| {}).await.result.unwrap_err();
        assert_eq!((failure.phase, failure.blame, failure.retry), (Phase::StartTls, Blame::Limits, false), "{protocol:?}: {failure}");
    }
    for protocol in Protocol::ALL.into_iter().filter(|protocol| *protocol != Protocol::Tls) {
        let silent = listen(|stream| async move {
            let _held = stream;
            std::future::pending::<()>().await;
        })
        .await;
        let failure = dial(silent, protocol, |settings| settings.phases.starttls = Duration::from_millis(100)).await.result.unwrap_err();
        assert_eq!((failure.phase, failure.blame, failure.retry), (Phase::StartTls, Blame::Peer, true), "{protocol:?}: {failure}");
        assert!(failure.detail.contains("no greeting within 0.1 s"), "{protocol:?}: {failure}");
    }
}
