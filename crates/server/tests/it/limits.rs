//! What is too large is refused early, and never held.

use std::io::Write;

use crate::support::{World, answer};

#[test]
fn a_gigabyte_is_refused_before_it_is_sent() {
    let world = World::new();
    for (path, token) in [
        ("/v1/secrets/blob-tls/versions", world.admin.as_str()),
        ("/v1/fleet", &world.admin),
        ("/v1/observations", &world.admin),
        ("/v1/unseal", ""),
        ("/v1/status", &world.admin),
    ] {
        let method = if path == "/v1/status" { "GET" } else { "POST" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: 1073741824\r\n\r\n"
        );
        // Nothing of the body is sent: the answer cannot have waited for it.
        let refused = world.raw(&[head.as_bytes()]);
        assert_eq!(refused.code(), (413, "too-large".into()), "{path}");
        assert_eq!(refused.header("connection"), Some("close"), "{path}");
    }
    assert_eq!(world.get(&world.admin, "/v1/status").status, 200);
}

/// Sends chunks until the server has had enough; says how many bytes went out.
fn endless(world: &World, path: &str, kind: &str, part: &[u8]) -> (u64, crate::support::Answer) {
    let mut stream = world.connect();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n",
        world.admin
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
    chunk.extend_from_slice(part);
    chunk.extend_from_slice(b"\r\n");
    let mut sent = 0;
    while sent < 1 << 30 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
        sent += part.len() as u64;
    }
    (sent, answer(&mut stream))
}

#[test]
fn a_stream_without_end_is_cut_off() {
    let world = World::new();
    let spaces = vec![b' '; 64 << 10];
    let (sent, refused) = endless(&world, "/v1/secrets/blob-tls/versions", "application/json", &spaces);
    assert_eq!(refused.code(), (413, "too-large".into()));
    // What lies in socket buffers was sent as well, so this is no exact number.
    assert!(sent < 64 << 20, "{sent}");
    let (sent, refused) = endless(&world, "/v1/bulk", "application/x-ndjson", &spaces);
    assert_eq!(refused.code(), (413, "line-too-long".into()));
    assert!(sent < 64 << 20, "{sent}");
    assert_eq!(world.get(&world.admin, "/v1/status").status, 200);
}

#[test]
fn headers_and_paths_have_their_limits() {
    let world = World::new();
    let many: String = (0..80).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(20 << 10));
    for headers in [many, long] {
        let answer = world.raw(&[format!("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n").as_bytes()]);
        assert_eq!(answer.code(), (431, "headers-too-large".into()));
    }
    assert_eq!(world.get(&world.admin, &format!("/v1/secrets?team={}", "x".repeat(9000))).status, 414);
    assert_eq!(world.get(&world.admin, "/v1/secrets?team=a%00b").status, 400);
}

#[test]
fn texts_have_their_limits() {
    let world = World::new();
    let long = "x".repeat(2001);
    let body = serde_json::json!({ "reason": long });
    for path in [
        "/v1/targets/blob/look",
        "/v1/targets/blob/retire",
        "/v1/secrets/blob-tls/retire",
        "/v1/incidents/1/acknowledge",
        "/v1/clock/confirm",
    ] {
        assert_eq!(world.post(&world.admin, path, &body).code(), (422, "text-too-long".into()), "{path}");
    }
}
