//! One connection for one request after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outbound::{Blame, Client, Method, Phase, Policy, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::servers::{http, https, identity, text};
use crate::{client, get};

fn post(url: impl Into<String>) -> Request {
    Request::new(Method::POST, url).with_body("text/plain", "x")
}

#[tokio::test]
async fn a_connection_is_used_again_only_by_a_client_that_keeps_it() {
    let server = http(|seen| {
        let closes = seen.head.headers.get("connection").is_some_and(|value| value == "close");
        text(200, if closes { "closes" } else { "keeps" })
    })
    .await;
    let plain = client(&[&server.host()], |_| ());
    for _ in 0..3 {
        assert_eq!(plain.send(get(server.url("/"))).await.unwrap().body, "closes");
    }
    assert_eq!(server.connections(), 3);
    let keeping = plain.clone().keeping_alive();
    for request in [get(server.url("/")), post(server.url("/")), get(server.url("/"))] {
        assert_eq!(keeping.clone().send(request).await.unwrap().body, "keeps");
    }
    assert_eq!(server.connections(), 4);
    // Another destination is another connection, and never this one.
    let other = http(|_| text(200, "other")).await;
    let both = client(&[&server.host(), &other.host()], |_| ()).keeping_alive();
    for (url, body) in [(server.url("/"), "keeps"), (other.url("/"), "other"), (server.url("/"), "keeps")] {
        assert_eq!(both.send(get(url)).await.unwrap().body, body);
    }
    assert_eq!((server.connections(), other.connections()), (6, 1));
}

#[tokio::test]
async fn one_handshake_does_for_many_requests() {
    let known = identity("localhost", false);
    let server = https(&known, |_| text(200, "private")).await;
    let host = format!("localhost:{}", server.address.port());
    let client = client(&[&host], |policy: &mut Policy| policy.roots = Arc::new(known.roots.clone())).keeping_alive();
    for _ in 0..5 {
        assert_eq!(client.send(get(format!("https://{host}/"))).await.unwrap().body, "private");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn requests_at_the_same_time_do_not_wait_for_each_other() {
    let server = http(|_| text(200, "ok")).await;
    let client = client(&[&server.host()], |_| ()).keeping_alive();
    let (one, two) = tokio::join!(client.send(get(server.url("/"))), client.send(get(server.url("/"))));
    assert!(one.is_ok() && two.is_ok());
    client.send(get(server.url("/"))).await.unwrap();
    assert_eq!(server.connections(), 2, "one was kept, and used again");
}

/// Answers this many requests on each connection, then does the last thing with the next one. Counts the requests that it read.
async fn fickle(answers: usize, reads_on: bool) -> (String, Arc<AtomicUsize>, tokio::sync::watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, heads) = (format!("http://{}/", listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
    let (closed, closes) = tokio::sync::watch::channel(0);
    let counted = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            for _ in 0..answers {
                head(&mut stream, &counted).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
            if reads_on {
                head(&mut stream, &counted).await;
            }
            drop(stream);
            closed.send_modify(|count| *count += 1);
        }
    });
    (url, heads, closes)
}

async fn head(stream: &mut TcpStream, heads: &AtomicUsize) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    if head.starts_with(b"POST") {
        let _body = stream.read_u8().await;
    }
    heads.fetch_add(1, Ordering::SeqCst);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_no_failure() {
    let (url, heads, mut closes) = fickle(1, false).await;
    let client = client(&["127.0.0.1"], |_| ()).keeping_alive();
    for (count, request) in [get(&url), post(&url), get(&url), post(&url)].into_iter().enumerate() {
        assert_eq!(client.send(request).await.unwrap().body, "ok");
        closes.wait_for(|closed| *closed > count).await.unwrap();
        // What the peer did is known to the system by now; this process hears of it when it next looks.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(heads.load(Ordering::SeqCst), 4, "nothing was sent twice");
}

#[tokio::test]
async fn what_may_have_been_done_is_asked_again_only_where_that_does_no_harm() {
    let (url, heads, _) = fickle(1, true).await;
    let client: Client = client(&["127.0.0.1"], |_| ()).keeping_alive();
    client.send(get(&url)).await.unwrap();
    // Read and not answered: on a new connection it is.
    assert_eq!(client.send(get(&url)).await.unwrap().body, "ok");
    assert_eq!(heads.load(Ordering::SeqCst), 3);
    let error = client.send(post(&url)).await.unwrap_err();
    assert_eq!((error.phase, error.blame, error.retry), (Phase::Request, Blame::Peer, true), "{error}");
    assert_eq!(heads.load(Ordering::SeqCst), 4);
    assert_eq!(client.send(post(&url)).await.unwrap().body, "ok", "the next one has a new connection");
}

#[tokio::test]
async fn whoever_gives_up_leaves_nobody_waiting() {
    let server = http(|_| text(200, "ok")).await;
    let silent = crate::servers::silent().await;
    let client = client(&["127.0.0.1"], |_| ()).keeping_alive();
    tokio::select! {
        _ = client.send(get(silent.url("/"))) => panic!("nobody answers there"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    client.send(get(server.url("/"))).await.unwrap();
    client.send(get(server.url("/"))).await.unwrap();
    assert_eq!(server.connections(), 1);
}
