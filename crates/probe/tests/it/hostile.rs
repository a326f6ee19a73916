//! Peers that misbehave. Each gets a failure with a phase, an owner and a reason, in bounded time and space.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use probe::{Blame, Failure, Offer, Phase, Protocol, Settings};
use rustls::version::{TLS12, TLS13};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::TcpStream,
    time::sleep,
};

use crate::peers::{Key, config, dialer, identity, listen, serve, target};

async fn failure(address: SocketAddr, edit: impl FnOnce(&mut Settings)) -> Failure {
    dialer(edit).dial(&target(address, Protocol::Tls), address.ip(), Offer::All).await.result.unwrap_err()
}

/// Answers the ClientHello with these bytes and hangs up when the client does.
async fn answers(bytes: Vec<u8>) -> SocketAddr {
    let bytes = Arc::new(bytes);
    listen(move |mut stream| {
        let bytes = Arc::clone(&bytes);
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let _ = copy(&mut stream, &mut tokio::io::sink()).await;
        }
    })
    .await
}

fn short_handshake(settings: &mut Settings) {
    settings.phases.handshake = Duration::from_millis(300);
}

#[tokio::test]
async fn a_stream_cut_anywhere_in_the_handshake_is_a_failure_of_the_peer() {
    for version in [&TLS12, &TLS13] {
        let identity = identity(Key::Ecdsa);
        let (server, _visits) = serve(config(&[&identity], version)).await;
        // Inside the first header, at its end, inside ServerHello, between messages, inside the chain. The first flight of these servers is
        // longer than the last cut: two certificates of 400 bytes and a signature.
        for cut in [0, 1, 4, 5, 6, 50, 100, 130, 200, 400, 800] {
            let cutter = listen(move |mut client| async move {
                let mut upstream = TcpStream::connect(server).await.unwrap();
                let (mut from_client, mut to_client) = client.split();
                let (from_server, mut to_server) = upstream.split();
                let forth = async {
                    let _ = copy(&mut from_client, &mut to_server).await;
                };
                let back = async {
                    let _ = copy(&mut from_server.take(cut), &mut to_client).await;
                };
                // When the cut is reached, both directions end.
                tokio::select! { () = forth => {}, () = back => {} }
            })
            .await;
            let failure = failure(cutter, |_| {}).await;
            assert_eq!((failure.phase, failure.blame, failure.retry), (Phase::Handshake, Blame::Peer, true), "{cut}: {failure}");
            let expected = if cut == 0 { "without answering" } else { "in the middle" };
            assert!(failure.detail.contains(expected), "{cut}: {failure}");
        }
    }
}

#[tokio::test]
async fn one_who_accepts_and_stays_silent_and_one_who_dribbles_run_into_the_limit() {
    let silent = listen(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let failed = failure(silent, short_handshake).await;
    assert_eq!((failed.phase, failed.blame, failed.retry), (Phase::Handshake, Blame::Peer, true));
    assert!(failed.detail.contains("no answer to the ClientHello within 0.3 s"), "{failed}");

    let dribbler = listen(|mut stream| async move {
        // A record of 16 kB that would take minutes.
        for byte in [22, 3, 3, 0x3f, 0xff, 2, 0, 0x3f, 0xfb].into_iter().chain(std::iter::repeat(3)) {
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let failed = failure(dribbler, short_handshake).await;
    assert_eq!((failed.phase, failed.blame, failed.retry), (Phase::Handshake, Blame::Peer, true));
    assert!(failed.detail.contains("not over within 0.3 s"), "{failed}");
}

/// A TLS 1.2 ServerHello (RFC 5246 §7.4.1.3) in its record.
fn server_hello(version: [u8; 2]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    // No session id; TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256; no compression; an empty renegotiation_info (RFC 5746 §3.4).
    body.extend([0, 0xc0, 0x2b, 0, 0, 5, 0xff, 0x01, 0, 1, 0]);
    let mut message = vec![2, 0, 0, u8::try_from(body.len()).unwrap()];
    message.extend(body);
    record(22, version, &message)
}

fn record(kind: u8, version: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind, version[0], version[1], length[0], length[1]], payload].concat()
}

#[tokio::test]
async fn an_endless_chain_is_not_read() {
    let endless = listen(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(&server_hello([3, 3])).await;
        // A Certificate message of 16 MB whose records never stop.
        let mut chunk = vec![11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc];
        loop {
            chunk.resize(16_000, 0);
            if stream.write_all(&record(22, [3, 3], &chunk)).await.is_err() {
                return;
            }
            chunk.clear();
        }
    })
    .await;
    let failed = failure(endless, |_| {}).await;
    assert_eq!((failed.phase, failed.blame, failed.retry), (Phase::Handshake, Blame::Limits, false), "{failed}");
}

#[tokio::test]
async fn a_dial_reads_and_writes_no_more_than_its_limits() {
    let identity = identity(Key::Ecdsa);
    let (server, _visits) = serve(config(&[&identity], &TLS13)).await;
    let failed = failure(server, |settings| settings.limits.bytes_in = 600).await;
    assert_eq!((failed.phase, failed.blame), (Phase::Handshake, Blame::Limits), "{failed}");
    assert!(failed.detail.contains("more than 600 bytes"), "{failed}");
    let failed = failure(server, |settings| settings.limits.bytes_out = 100).await;
    assert_eq!((failed.phase, failed.blame), (Phase::Handshake, Blame::Limits), "{failed}");
    // After the handshake the chain is safe, whatever still comes.
    let chatty = dialer(|settings| settings.phases.close = Duration::from_millis(300));
    let (inner, _visits) = serve(config(&[&identity], &TLS12)).await;
    let never_closes = listen(move |mut client| async move {
        let mut upstream = TcpStream::connect(inner).await.unwrap();
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = upstream.split();
        let back = async {
            let _ = copy(&mut from_server, &mut to_client).await;
            std::future::pending::<()>().await;
        };
        let forth = async {
            let _ = copy(&mut from_client, &mut to_server).await;
            let _ = to_server.shutdown().await;
            std::future::pending::<()>().await;
        };
        tokio::join!(forth, back);
    })
    .await;
    let presented = chatty.dial(&target(never_closes, Protocol::Tls), never_closes.ip(), Offer::All).await.result.unwrap();
    assert_eq!(presented.chain, identity.chain);
    assert_eq!(presented.aftermath.unwrap().phase, Phase::Close);
}

#[tokio::test]
async fn what_is_not_tls_is_called_by_its_name() {
    let check = async |bytes: &[u8], blame, part: &str| {
        let failed = failure(answers(bytes.to_vec()).await, |_| {}).await;
        assert_eq!((failed.phase, failed.blame, failed.retry), (Phase::Handshake, blame, false), "{failed}");
        assert!(failed.detail.contains(part), "{failed}");
    };
    check(b"HTTP/1.1 400 Bad Request\r\n\r\n", Blame::Peer, "speaks no TLS on this port: it answers plain HTTP").await;
    check(b"220 mx.example ESMTP\r\n", Blame::Peer, "smtp://").await;
    check(b"\x1b]0;owned\x07 hello there, stranger", Blame::Peer, "\\u{1b}").await;
    check(&server_hello([3, 1]), Blame::Tls, "TLS 1.1 or older").await;
    check(&server_hello([3, 0]), Blame::Tls, "TLS 1.1 or older").await;
    check(&record(21, [3, 1], &[2, 70]), Blame::Tls, "protocol_version").await;
    check(&record(21, [3, 0], &[2, 40]), Blame::Tls, "SSL 3.0 alert (handshake_failure)").await;
    check(&record(21, [3, 3], &[2, 112]), Blame::Peer, "unrecognized_name").await;
    check(&record(22, [3, 3], &[2, 0, 0, 1, 9]), Blame::Peer, "malformed").await;
    check(&record(23, [3, 3], &[0; 20]), Blame::Peer, "broke the TLS protocol").await;
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let resets = listen(|stream| async move {
        // Unread bytes at close make the system send a reset.
        stream.readable().await.unwrap();
        drop(stream);
    })
    .await;
    let failed = failure(resets, |_| {}).await;
    assert_eq!((failed.phase, failed.blame, failed.retry), (Phase::Handshake, Blame::Peer, true), "{failed}");
}
