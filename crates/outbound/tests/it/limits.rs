//! Peers that are slow, endless, broken, or simply large.

use std::time::Duration;

use http::Response;
use http_body_util::Full;
use hyper::body::Bytes;
use outbound::{Answer, Blame, Error, Method, Phase, Request, retry_after};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::servers::{Server, http, raw, silent, text, write};
use crate::{PATIENT, SHORT, client, get};

async fn fails(server: &Server, change: impl FnOnce(&mut outbound::Policy)) -> Error {
    client(&[&server.host()], change).send(get(server.url("/"))).await.unwrap_err()
}

#[tokio::test]
async fn what_is_sent_and_what_comes_back() {
    let server = http(|seen| {
        assert_eq!(seen.head.method, "POST");
        assert_eq!(seen.head.uri, "/a/b?c=d");
        assert_eq!(seen.head.headers["content-type"], "text/plain");
        assert_eq!(seen.head.headers["x-own"], "yes");
        assert_eq!(seen.head.headers["content-length"], "5", "the caller's own length is not believed");
        assert!(!seen.head.headers.contains_key("transfer-encoding"));
        assert!(seen.head.headers["user-agent"].to_str().unwrap().starts_with("perennial/"));
        assert_eq!(seen.body, "hello");
        Response::builder().status(201).header("x-back", "1").body(Full::from("answer")).unwrap()
    })
    .await;
    let mut request = Request::new(Method::POST, server.url("/a/b?c=d")).with_body("text/plain", "hello");
    request.headers.insert("x-own", "yes".parse().unwrap());
    request.headers.insert("content-length", "999".parse().unwrap());
    request.headers.insert("transfer-encoding", "chunked".parse().unwrap());
    request.headers.insert("host", "evil.example".parse().unwrap());
    let response = client(&[&server.host()], |_| ()).send(request).await.unwrap();
    assert_eq!((response.status.as_u16(), &response.body[..], response.cut), (201, &b"answer"[..], false));
    assert_eq!(response.headers["x-back"], "1");
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let server = http(|seen| {
        let intact = seen.body.len() == 24_000_001 && seen.body.iter().all(|byte| *byte == 7);
        text(200, if intact { "intact" } else { "damaged" })
    })
    .await;
    let request = Request::new(Method::PUT, server.url("/")).with_body("application/octet-stream", vec![7; 24_000_001]);
    assert_eq!(client(&[&server.host()], |_| ()).send(request).await.unwrap().body, "intact");
}

#[tokio::test]
async fn an_answer_may_be_as_long_as_the_limit() {
    let server = http(|seen| {
        let length = seen.head.uri.path()[1..].parse().unwrap();
        Response::new(Full::from(vec![b'x'; length]))
    })
    .await;
    let client = client(&[&server.host()], |policy| policy.max_response = 5000);
    for (length, fits) in [(0, true), (4999, true), (5000, true), (5001, false), (1_000_000, false)] {
        match client.send(get(server.url(&format!("/{length}")))).await {
            Ok(response) => assert!(fits && response.body.len() == length, "{length}"),
            Err(error) => {
                assert!(!fits, "{length}: {error}");
                assert_eq!((error.phase, error.blame, error.retry), (Phase::Body, Blame::Limits, false));
            }
        }
    }
}

#[tokio::test]
async fn an_endless_answer_ends_at_the_limit() {
    let server = raw(|mut stream| async move {
        write(&mut stream, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
        while write(&mut stream, chunk.as_bytes()).await {}
    })
    .await;
    let error = fails(&server, |policy| policy.max_response = 100_000).await;
    assert_eq!((error.phase, error.blame, error.retry), (Phase::Body, Blame::Limits, false), "{error}");

    // Where the status is the answer, the peer did take the message.
    let mut request = get(server.url("/"));
    request.answer = Answer::Status;
    let response = client(&[&server.host()], |policy| policy.max_response = 100_000).send(request).await.unwrap();
    assert_eq!((response.status.as_u16(), response.body.len(), response.cut), (200, 100_000, true));
}

#[tokio::test]
async fn an_answer_that_drips_runs_out_of_time() {
    let server = raw(|mut stream| async move {
        write(&mut stream, b"HTTP/1.1 202 Accepted\r\ncontent-length: 100000\r\n\r\n").await;
        while write(&mut stream, b"x").await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let error = fails(&server, |policy| policy.timeouts.exchange = SHORT).await;
    assert_eq!((error.phase, error.blame, error.retry), (Phase::Body, Blame::Peer, true), "{error}");

    let mut request = get(server.url("/"));
    request.answer = Answer::Status;
    request.timeout = Some(SHORT);
    let response = client(&[&server.host()], |_| ()).send(request).await.unwrap();
    assert!(response.cut && response.status == 202);
}

#[tokio::test]
async fn a_silent_server_runs_out_of_time() {
    let server = silent().await;
    let error = fails(&server, |policy| policy.timeouts.exchange = SHORT).await;
    assert_eq!((error.phase, error.blame, error.retry), (Phase::Request, Blame::Peer, true), "{error}");
    let mut request = get(format!("https://{}/", server.address));
    request.timeout = Some(PATIENT);
    let client = client(&[&server.host()], |policy| policy.timeouts.handshake = SHORT);
    let error = client.send(request).await.unwrap_err();
    assert_eq!((error.phase, error.blame, error.retry), (Phase::Handshake, Blame::Peer, true), "{error}");
}

#[tokio::test]
async fn nobody_listens() {
    // Bound and dropped: nothing listens there now.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = client(&["127.0.0.1"], |_| ());
    let error = client.send(get(format!("http://{address}/"))).await.unwrap_err();
    assert_eq!((error.phase, error.blame, error.retry), (Phase::Connect, Blame::Network, true), "{error}");
    let error = client.send(get("https://no-such-host.invalid/")).await.unwrap_err();
    assert_eq!((error.phase, error.blame, error.retry), (Phase::Resolve, Blame::Dns, true), "{error}");
}

#[tokio::test]
async fn answers_that_are_none() {
    let broken: [(&'static [u8], Phase); 5] = [
        (b"", Phase::Request),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Phase::Request),
        (b"HTTP/1.1 200 OK\r\ncontent-le", Phase::Request),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", Phase::Body),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", Phase::Body),
    ];
    for (bytes, phase) in broken {
        let server = raw(move |mut stream| async move {
            write(&mut stream, bytes).await;
            let _ = stream.shutdown().await;
        })
        .await;
        let error = fails(&server, |_| ()).await;
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!((error.phase, error.blame, error.retry), (phase, Blame::Peer, true), "{shown:?}: {error}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    for line in ["x-more: y\r\n".to_owned(), format!("x-long: {}\r\n", "y".repeat(8000))] {
        let server = raw(move |mut stream| {
            let line = line.clone();
            async move {
                write(&mut stream, b"HTTP/1.1 200 OK\r\n").await;
                while write(&mut stream, line.as_bytes()).await {}
            }
        })
        .await;
        let error = fails(&server, |_| ()).await;
        assert_eq!((error.phase, error.blame), (Phase::Request, Blame::Peer), "{error}");
    }
}

#[tokio::test]
async fn a_peer_cannot_silence_us_for_ever() {
    let server = http(|_| {
        let absurd = "31536000000";
        Response::builder().status(429).header("retry-after", absurd).body(Full::<Bytes>::default()).unwrap()
    })
    .await;
    let response = client(&[&server.host()], |_| ()).send(get(server.url("/"))).await.unwrap();
    assert_eq!((response.status.as_u16(), retry_after(&response)), (429, Some(3600)));
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_counts() {
    let server = raw(|mut stream| async move {
        write(&mut stream, b"HTTP/1.1 413 Too Large\r\ncontent-length: 8\r\nconnection: close\r\n\r\ntoo much").await;
        // Reads on, so that closing does not reset what was answered.
        let mut sink = vec![0; 65536];
        while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let request = Request::new(Method::PUT, server.url("/")).with_body("application/octet-stream", vec![0; 8 << 20]);
    let response = client(&[&server.host()], |_| ()).send(request).await.unwrap();
    assert_eq!((response.status.as_u16(), &response.body[..]), (413, &b"too much"[..]));
}
