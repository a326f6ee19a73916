#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::thread;

use api::v1::{Report, Work};
use pki::{Authority, KeyType, Span, Time};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

#[test]
fn pauses_grow_are_bounded_and_belong_to_the_name() {
    let mut last = Duration::ZERO;
    for failures in 1..=9 {
        let (a, again, b) = (pause("eu", failures), pause("eu", failures), pause("us", failures));
        let whole = LONGEST_PAUSE.min(Duration::from_secs(1 << failures));
        assert!(a >= whole / 2 && a <= whole, "{failures}: {a:?}");
        assert!(a >= last / 2);
        assert_eq!(a, again);
        assert_ne!(a, b);
        last = a;
    }
    assert!(pause("eu", u32::MAX) <= LONGEST_PAUSE);
}

#[test]
fn a_server_cannot_make_a_vantage_spin_or_sleep_for_ever() {
    let check = |asked: u64, least: u64, most: u64| {
        let wait = spread("eu", asked);
        assert!(wait >= Duration::from_secs(least) && wait <= Duration::from_secs(most), "{asked}: {wait:?}");
    };
    check(0, 1, 2);
    check(5, 5, 6);
    check(u64::MAX, 3600, 4320);
}

/// A server that hands `work` out and gives `status` to whatever it is told.
fn server(work: Work, status: u16) -> (String, thread::JoinHandle<Vec<Report>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let looks = work.looks.len();
    let told = thread::spawn(move || {
        let mut reports = Vec::new();
        while reports.len() < looks {
            let (stream, _) = listener.accept().unwrap();
            let (line, body) = request(&stream);
            let answer = if line.starts_with("GET /v1/vantage/work?") { serde_json::to_string(&work).unwrap() } else { "{}".to_owned() };
            if line.starts_with("POST /v1/observations") {
                reports.push(serde_json::from_slice(&body).unwrap());
            }
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", answer.len());
            (&stream).write_all(head.as_bytes()).and_then(|()| (&stream).write_all(answer.as_bytes())).unwrap();
        }
        reports
    });
    (url, told)
}

fn request(stream: &TcpStream) -> (String, Vec<u8>) {
    let mut input = BufReader::new(stream);
    let mut first = String::new();
    input.read_line(&mut first).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        input.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).unwrap();
    (first, body)
}

fn work(ports: &[u16]) -> Work {
    let look = |(at, port): (usize, &u16)| Look {
        target: i64::try_from(at).unwrap() + 1,
        host: "127.0.0.1".into(),
        port: *port,
        server_name: "a.example".into(),
        protocol: "tls".into(),
        also: vec![format!("127.0.0.1:{port}"), format!("elsewhere.example:{port}")],
        offers: vec!["all".into(), "ecdsa".into()],
        unnamed: Vec::new(),
        handshakes: 2,
    };
    Work { looks: ports.iter().enumerate().map(look).collect(), again_after_seconds: 5 }
}

fn once(url: &str) -> Result<Exit, Error> {
    let args = Args { name: "eu".into(), once: true, connection: Connection { server: Some(url.to_owned()), ..Connection::default() } };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Box::pin(watch(&args, &|_| None)))
}

/// Serves `chain` for as many handshakes.
fn serve_tls(chain: Vec<Vec<u8>>, key: Vec<u8>, handshakes: usize) -> u16 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(key.into()))
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for _ in 0..handshakes {
            let (mut stream, _) = listener.accept().unwrap();
            let mut tls = rustls::ServerConnection::new(Arc::new(config.clone())).unwrap();
            while tls.is_handshaking() {
                tls.complete_io(&mut stream).unwrap();
            }
            let _until_the_peer_has_left = rustls::Stream::new(&mut tls, &mut stream).read(&mut [0; 16]);
        }
    });
    port
}

#[test]
fn what_is_presented_is_reported_as_it_was() {
    let from = Time::from_unix(1_790_000_000);
    let authority = Authority::new("Root", from, from + Span::days(900)).unwrap();
    let (leaf, key) = authority.leaf(&["a.example"], KeyType::EcdsaP256, from, from + Span::days(90)).unwrap();
    let port = serve_tls(vec![leaf.der().to_vec()], key.expose_pkcs8().to_vec(), 4);
    // One that hangs up at once.
    let broken = TcpListener::bind("127.0.0.1:0").unwrap();
    let broken_port = broken.local_addr().unwrap().port();
    thread::spawn(move || broken.incoming().for_each(drop));

    let (url, told) = server(work(&[port, broken_port]), 200);
    assert_eq!(once(&url).unwrap(), Exit::Ok);
    let mut reports = told.join().unwrap();
    reports.sort_by_key(|report| report.target);
    let [good, bad] = reports.as_slice() else { panic!("{} reports", reports.len()) };

    assert_eq!((good.target, &*good.method, &good.unresolved), (Some(1), "dialled", &None));
    assert_eq!(good.resolved, [format!("127.0.0.1:{port}")]);
    let offers: Vec<&str> = good.attempts.iter().map(|attempt| attempt.offer.as_str()).collect();
    assert_eq!(offers, ["all", "all", "ecdsa", "ecdsa"], "each offer twice, and the address that was named twice only once");
    use base64::Engine as _;
    let der = base64::engine::general_purpose::STANDARD.encode(leaf.der());
    assert!(good.attempts.iter().all(|attempt| attempt.chain == [der.clone()] && attempt.failure.is_none()));
    assert_eq!(good.attempts[0].protocol, "TLSv1.3");

    // One attempt for each offer: who does not answer once is not asked again.
    let blames: Vec<&str> = bad.attempts.iter().map(|attempt| attempt.failure.as_ref().unwrap().blame.as_str()).collect();
    assert_eq!(blames, ["peer", "peer"]);
}

#[test]
fn a_token_that_is_not_accepted_ends_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        request(&stream);
        let body = r#"{"type":"about:blank","title":"t","status":403,"code":"forbidden","detail":"no vantage"}"#;
        (&stream).write_all(format!("HTTP/1.1 403 x\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    });
    let args = Args { name: "eu".into(), once: false, connection: Connection { server: Some(url), ..Connection::default() } };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Not only once: it would go on for ever if it took this for a passing trouble.
    let error = runtime.block_on(Box::pin(watch(&args, &|_| None))).unwrap_err();
    assert_eq!(error.exit(), Exit::Due);
}
