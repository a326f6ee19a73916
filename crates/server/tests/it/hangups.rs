//! Whoever hangs up does not free the place of work that goes on.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use domain::Span;
use serde_json::json;
use store::Actor;

use crate::support::{PASSPHRASE, World, answer};

/// A request that waits for the database, because the test holds it; its connection.
fn begin(world: &World, token: &str, path: &str, body: &serde_json::Value) -> TcpStream {
    let mut stream = world.connect();
    let body = body.to_string();
    let auth = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{auth}content-type: application/json\r\ncontent-length: {}",
        body.len()
    );
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    stream
}

/// Hangs up and asks again, several times: the server may not have noticed at first.
fn stays_busy(world: &World, hanging: Vec<TcpStream>, token: &str, path: &str, body: &serde_json::Value) {
    drop(hanging);
    for _ in 0..20 {
        // So that the rate per minute is not what refuses.
        world.pass(Span::minutes(1));
        let mut stream = begin(world, token, path, body);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(answer(&mut stream).code(), (503, "busy".into()), "{path}");
    }
}

/// Fifty callers who hang up at once would each take 64 MiB.
#[test]
fn one_passphrase_is_stretched_at_a_time_whoever_hangs_up() {
    let world = World::new();
    let body = json!({ "passphrase": PASSPHRASE });
    let held = world.engine.store().try_write(&Actor::new("test", "holds the database"), world.now(), |_| {
        let mut two = [begin(&world, "", "/v1/unseal", &body), begin(&world, "", "/v1/unseal", &body)];
        // One of them has the turn and waits for the database; the other one is told so.
        let refused = loop {
            let told = two.iter_mut().position(|stream| {
                stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                matches!(stream.peek(&mut [0]), Ok(1))
            });
            if let Some(told) = told {
                break told;
            }
        };
        let [first, second] = two;
        let (mut refused, waiting) = if refused == 0 { (first, second) } else { (second, first) };
        assert_eq!(answer(&mut refused).code(), (503, "busy".into()));
        stays_busy(&world, vec![waiting], "", "/v1/unseal", &body);
        Ok::<_, store::StoreError>(())
    });
    held.unwrap();
    // And when it is done, the turn is free again.
    let free = (0..600).any(|_| {
        world.pass(Span::minutes(1));
        std::thread::sleep(Duration::from_millis(50));
        world.post("", "/v1/unseal", &body).status == 200
    });
    assert!(free);
}

/// The same holds for whoever has a token.
#[test]
fn long_work_keeps_its_place_whoever_hangs_up() {
    let world = World::new();
    let (path, body) = ("/v1/sweep", json!({}));
    let held = world.engine.store().try_write(&Actor::new("test", "holds the database"), world.now(), |_| {
        let mut hanging: Vec<TcpStream> = Vec::new();
        // The first that is refused says that all places are taken.
        let mut refused = loop {
            let next = begin(&world, &world.admin, path, &body);
            next.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            if matches!(next.peek(&mut [0]), Ok(1)) {
                break next;
            }
            hanging.push(next);
        };
        assert_eq!(hanging.len(), server::http::limits::LONG_REQUESTS_AT_ONCE);
        assert_eq!(answer(&mut refused).code(), (503, "busy".into()));
        stays_busy(&world, hanging, &world.admin, path, &body);
        Ok::<_, store::StoreError>(())
    });
    held.unwrap();
}

/// Sixteen strangers who send half a passphrase keep neither an admin nor a stranger from elsewhere out.
#[test]
fn idle_strangers_do_not_keep_the_store_sealed() {
    let world = World::new();
    world.post(&world.admin, "/v1/seal", &json!({})).good();
    let head =
        "POST /v1/unseal HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n";
    let mut streams = Vec::new();
    let mut waited_for = 0;
    for _ in 0..server::http::limits::STRANGERS_AT_ONCE {
        let mut stream = world.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let mut begins = [0; 12];
        stream.read_exact(&mut begins).unwrap();
        // 100: somebody waits for this body now.
        waited_for += usize::from(begins.ends_with(b"100"));
        streams.push(stream);
    }
    assert_eq!(waited_for, server::http::limits::STRANGERS_PER_PEER);
    assert_eq!(world.post(&world.admin, "/v1/unseal", &json!({ "passphrase": PASSPHRASE })).status, 200);
    drop(streams);
}
