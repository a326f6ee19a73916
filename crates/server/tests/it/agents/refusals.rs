//! What strangers, the slow, the large and the broken meet.

use super::{Gate, findings, said};
use api::agent::{FETCH, JOIN, MANIFEST, RENEW, REPORT, REQUEST};
use serde_json::json;
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

#[test]
fn without_a_certificate_one_can_join_and_nothing_else() {
    let gate = Gate::opened();
    for (method, path) in [("GET", MANIFEST), ("POST", REPORT), ("POST", RENEW), ("POST", REQUEST), ("POST", FETCH)] {
        assert_eq!(gate.send(None, method, path, b"{}").code(), (401, "unknown-agent".into()), "{path}");
    }
    let agent = gate.agent("web-1");
    for (method, path, expected) in [
        ("GET", JOIN, (405, "method-not-allowed")),
        ("POST", MANIFEST, (405, "method-not-allowed")),
        ("GET", "/v1/status", (404, "not-found")),
        ("GET", "/", (404, "not-found")),
    ] {
        assert_eq!(gate.send(Some(&agent), method, path, b"").code(), (expected.0, expected.1.into()), "{method} {path}");
    }
    // A certificate of somebody else's, held rightly: TLS is content, and the store is not.
    let (from, to) = (gate.world.now() - domain::Span::days(1), gate.world.now() + domain::Span::days(1));
    let authority = pki::build::Authority::new("Others", from, to).unwrap();
    let (leaf, key) = authority.leaf(&["web-1"], pki::KeyType::EcdsaP256, from, to).unwrap();
    let stranger = super::Agent { key, chain: vec![leaf.der().to_vec()], joined: agent.joined.clone(), instance: "x".into() };
    assert_eq!(stranger.poll(&gate, 0, 0).code(), (401, "unknown-agent".into()));
    for path in [RENEW, REPORT, FETCH] {
        let code = match path {
            RENEW => stranger.post(&gate, RENEW, &stranger.renewal(&gate)).code(),
            REPORT => stranger.report(&gate, 0, &json!([])).code(),
            _ => stranger.post(&gate, FETCH, &json!({ "secret": "blob-tls", "version": 1, "generation": 1 })).code(),
        };
        assert_eq!(code, (401, "unknown-agent".into()), "{path}");
    }
    // The agent's own certificate with another key does not get through the handshake.
    let thief = super::Agent { key: pki::PrivateKey::generate(pki::KeyType::EcdsaP256).unwrap(), ..agent.copy("y") };
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| thief.poll(&gate, 0, 0).status));
    assert!(refused.is_err());
}

#[test]
fn bodies_have_a_limit_and_a_form() {
    let gate = Gate::opened();
    let agent = gate.agent("web-1");
    let large = vec![b' '; (256 << 10) + 1];
    for path in [RENEW, REQUEST, FETCH, JOIN] {
        assert_eq!(gate.send(Some(&agent), "POST", path, &large).code(), (413, "too-large".into()), "{path}");
    }
    let report = vec![b' '; (4 << 20) + 1];
    assert_eq!(gate.send(Some(&agent), "POST", REPORT, &report).code(), (413, "too-large".into()));
    for (body, expected) in [
        (&b"{"[..], (400, "bad-json")),
        (b"[]", (422, "bad-body")),
        (br#"{"secret":"\u0000"}"#, (400, "bad-json")),
        (br#"{"secret":"a","version":1,"generation":1,"more":1}"#, (422, "bad-body")),
    ] {
        assert_eq!(gate.send(Some(&agent), "POST", FETCH, body).code(), (expected.0, expected.1.into()));
    }
    let join = json!({ "token": "1.hunter2", "csr": 5, "clock": "", "agent": "", "instance": "" });
    let refused = gate.send(None, "POST", JOIN, join.to_string().as_bytes());
    assert_eq!(refused.code(), (422, "bad-body".into()));
    assert!(!refused.text.contains("hunter2"));
    for (field, value) in [("clock", "yesterday"), ("instance", "a\nb"), ("agent", "x")] {
        let mut body =
            json!({ "generation": 0, "instance": "first", "agent": "0.1", "clock": gate.world.now().to_string(), "installs": [] });
        body[field] = if field == "agent" { json!("x".repeat(200)) } else { json!(value) };
        assert_eq!(agent.post(&gate, REPORT, &body).status, 422, "{field}");
    }
    let mut many = said(&gate, 1, "installed", "");
    many[0]["leaf"] = json!("nonsense");
    assert_eq!(agent.report(&gate, 0, &many).code(), (422, "bad-report".into()));
    let one = many[0].clone();
    let many: Vec<_> = (0..1001)
        .map(|n| {
            let mut one = one.clone();
            one["secret"] = json!(format!("s-{n}"));
            one["leaf"] = json!(null);
            one
        })
        .collect();
    assert_eq!(agent.report(&gate, 0, &json!(many)).code(), (422, "too-many-installs".into()));
    assert_eq!(agent.poll(&gate, 0, 0).status, 204, "and it goes on");
    assert_eq!(findings(&gate, "web-1"), [""; 0]);
}

#[test]
fn requests_for_an_identity_are_held_to_their_key() {
    let gate = Gate::opened();
    let mut agent = gate.agent("web-1");
    let good = agent.renewal(&gate);
    let mut der = super::ders(std::slice::from_ref(&good.csr))[0].clone();
    let last = der.len() - 1;
    der[last] ^= 1;
    let broken = super::csr_text(&der);
    for csr in [String::from("!"), super::csr_text(b"nothing"), broken] {
        let wrong = api::agent::Renew { csr: csr.clone(), ..good.clone() };
        assert_eq!(agent.post(&gate, RENEW, &wrong).code(), (422, "bad-csr".into()), "{csr}");
    }
    assert_eq!(agent.renew(&gate).status, 200);
}

/// Somebody with a certificate that others issued.
fn stranger(gate: &Gate) -> super::Agent {
    let agent = gate.agent("web-2");
    let (from, to) = (gate.world.now() - domain::Span::days(1), gate.world.now() + domain::Span::days(1));
    let authority = pki::build::Authority::new("Others", from, to).unwrap();
    let (leaf, key) = authority.leaf(&["web-1"], pki::KeyType::EcdsaP256, from, to).unwrap();
    super::Agent { key, chain: vec![leaf.der().to_vec()], joined: agent.joined, instance: "x".into() }
}

#[test]
fn a_certificate_that_anyone_can_make_makes_nobody_an_agent() {
    let gate = Gate::opened();
    let agent = gate.agent("web-1");
    let stranger = stranger(&gate);
    // As many as one address may have of those that are nobody; the next one is turned away, whatever it presents.
    let greet = |who: Option<&super::Agent>| {
        let mut stream = gate.connect(who).ok()?;
        stream.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").ok()?;
        let mut first = [0; 12];
        stream.read_exact(&mut first).ok()?;
        (&first == b"HTTP/1.1 404").then_some(stream)
    };
    let kept: Vec<_> = (0..32).map(|_| greet(Some(&stranger)).expect("a place")).collect();
    assert!(greet(Some(&stranger)).is_none() && greet(None).is_none());
    // Whom the store knows has a place of its own.
    assert!(greet(Some(&agent)).is_some());
    assert_eq!(agent.poll(&gate, 0, 0).status, 204);
    drop(kept);
    // What a stranger sends is not kept: it is told who it is not, whatever it says.
    let large = vec![b'x'; 3 << 20];
    let until = super::instant() + Duration::from_secs(20);
    let code = loop {
        let sent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| gate.send(Some(&stranger), "POST", REPORT, &large).code()));
        match sent {
            Ok(code) => break code,
            Err(_) => assert!(super::instant() < until, "places are not given back"),
        }
    };
    assert_eq!(code, (401, "unknown-agent".into()));
}

#[test]
fn some_addresses_that_stop_in_their_handshakes_keep_nobody_else_out() {
    let gate = Gate::opened();
    let agent = gate.agent("web-1");
    // The first byte of a handshake, and no more: from four addresses, as many as each may greet with at a time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let slow: Vec<TcpStream> = (0..=255u8)
        .map(|n| {
            runtime.block_on(async {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.bind(std::net::SocketAddr::from(([127, 0, 0, 2 + n % 4], 0))).unwrap();
                let mut stream = socket.connect(gate.address).await.unwrap().into_std().unwrap();
                stream.write_all(&[22]).unwrap();
                stream
            })
        })
        .collect();
    assert_eq!(agent.poll(&gate, 0, 0).status, 204);
    // None of them had been given up by then.
    let open = slow.iter().filter(|s| matches!(s.peek(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)).count();
    assert_eq!(open, 256);
}

#[test]
fn who_is_slow_or_silent_keeps_nobody_out() {
    let gate = Gate::opened();
    let agent = gate.agent("web-1");
    // As many as one address may greet with at a time, all silent.
    let silent: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(gate.address).unwrap()).collect();
    // Others of the same address wait for them; they are given up after some seconds.
    let began = super::instant();
    let answered = loop {
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| agent.poll(&gate, 0, 0).status));
        match tried {
            Ok(status) => break status,
            Err(_) => assert!(began.elapsed() < Duration::from_secs(60), "silent ones are never given up"),
        }
    };
    assert_eq!(answered, 204);
    drop(silent);
    // A body that trickles is given up, and holds no thread meanwhile.
    let mut slow = gate.connect(Some(&agent)).unwrap();
    slow.write_all(format!("POST {REPORT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{").as_bytes()).unwrap();
    slow.flush().unwrap();
    assert_eq!(agent.poll(&gate, 0, 0).status, 204);
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = slow.read(&mut buffer) {
        text += &String::from_utf8_lossy(&buffer[..n]);
        if text.contains("\"busy\"") {
            break;
        }
    }
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
}
