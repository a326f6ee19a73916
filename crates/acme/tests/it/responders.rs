//! What stands open to the internet: known tokens and names, and nothing for anybody else.

use std::{sync::Arc, time::Duration};

use acme::{http, tls};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(20);

/// All that comes back for these bytes; the connection must end by itself.
async fn answer(port: u16, request: &[u8]) -> String {
    let talk = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    timeout(SOON, talk).await.expect("the connection ends")
}

#[tokio::test]
async fn only_known_tokens_are_answered() {
    let (responder, listener) = (http::Responder::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(responder.clone().listen(listener));
    responder.serve_token("known", "known.thumbprint").unwrap();
    let get = async |path: &str| answer(port, format!("GET {path} HTTP/1.1\r\nHost: www.example.test\r\n\r\n").as_bytes()).await;
    let good = get("/.well-known/acme-challenge/known").await;
    assert!(good.starts_with("HTTP/1.1 200 OK\r\n") && good.ends_with("\r\n\r\nknown.thumbprint"), "{good}");
    for path in ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/other", "/.well-known/acme-challenge/known/", "/metrics"]
    {
        let bad = get(path).await;
        assert!(bad.starts_with("HTTP/1.1 404 ") && bad.ends_with("\r\n\r\n"), "{path}: {bad}");
    }
    assert!(answer(port, b"POST /.well-known/acme-challenge/known HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
    // A head without end, one that is too long, TLS, nothing at all: each ends without a word.
    let long = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 10_000]].concat();
    for odd in [&long[..], b"\x16\x03\x01\x00\x05hello", b"GET /.well-known/acme-challenge/known HTTP/1.1\r\nHost: x\r\n", b""] {
        assert_eq!(answer(port, odd).await, "");
    }
    assert_eq!(responder.served(), 1);
    responder.forget("known");
    assert_eq!(responder.served(), 0, "only those who look late still find it");
}

/// Whoever says nothing keeps nobody out.
#[tokio::test]
async fn idle_connections_do_not_fill_the_room() {
    let (responder, listener) = (http::Responder::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(responder.clone().listen(listener));
    responder.serve_token("known", "known.thumbprint").unwrap();
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let good = answer(port, b"GET /.well-known/acme-challenge/known HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(good.ends_with("known.thumbprint"), "{good}");
    // They are sent away, though they never spoke.
    for mut stream in idle {
        assert_eq!(timeout(SOON, stream.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
    }
}

#[tokio::test]
async fn nobody_but_a_ca_gets_a_handshake() {
    let (responder, listener) = (tls::Responder::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(responder.clone().listen(listener).unwrap());
    let shakes = async |protocols: &[&[u8]], name: &str| {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        timeout(SOON, connector.connect(name, stream)).await.unwrap().unwrap_err().to_string()
    };
    // Nothing is shown yet: no alert speaks of a certificate.
    for (protocols, name) in
        [(&[b"acme-tls/1".as_slice()][..], "www.example.test"), (&[b"h2"], "www.example.test"), (&[], "www.example.test")]
    {
        let why = shakes(protocols, name).await;
        assert!(why.contains("alert"), "{why}");
    }
    assert!(answer(port, b"GET / HTTP/1.1\r\n\r\n").await.len() < 16);
}
