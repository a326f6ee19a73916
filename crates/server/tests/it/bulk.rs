//! Many certificates in one stream.

use std::{collections::BTreeMap, io::Write};

use pki::KeyType;
use serde_json::{Value, json};

use crate::support::{Answer, Chain, World};

fn send(world: &World, token: &str, lines: &[u8]) -> Answer {
    let head = format!(
        "POST /v1/bulk HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        lines.len()
    );
    world.raw(&[head.as_bytes(), lines])
}

fn line(chain: &Chain, name: &str, host: &str) -> String {
    let (leaf, key) = chain.leaf(host, KeyType::EcdsaP256);
    json!({ "name": name, "chain_pem": chain.pem(&leaf), "key_pem": key.expose_pem().as_str() }).to_string()
}

#[test]
fn good_lines_are_stored_and_bad_ones_are_told_by_number() {
    let world = World::new();
    let (chain, other) = (Chain::new(), Chain::new());
    let (leaf, key) = other.leaf("x.example.com", KeyType::EcdsaP256);
    let broken = json!({ "name": "broken", "chain_pem": crate::support::pem(&leaf) + &crate::support::pem(chain.middle.certificate()),
        "key_pem": key.expose_pem().as_str() });
    let mut lines: Vec<String> = (0..1200).map(|n| line(&chain, &format!("s{n}"), "a.example.com")).collect();
    lines[3] = String::from("{ not json");
    lines[4] = broken.to_string();
    lines[5] = line(&chain, "bad name", "a.example.com");
    lines[6] = line(&chain, "blob-key", "a.example.com"); // an opaque secret
    lines[7] = String::new();
    // The same secret twice in one chunk, and once more in the next: a renewal each.
    lines[10] = line(&chain, "twice", "a.example.com");
    lines[11] = line(&chain, "twice", "a.example.com");
    lines[700] = line(&chain, "twice", "a.example.com");
    lines[701] = line(&chain, "twice", "another.example.com");
    let answer = send(&world, &world.admin, lines.join("\n").as_bytes()).good();
    let refused: BTreeMap<u64, String> =
        answer["refused"].as_array().unwrap().iter().map(|r| (r[0].as_u64().unwrap(), r[1].as_str().unwrap().to_owned())).collect();
    assert_eq!(refused.keys().copied().collect::<Vec<_>>(), [4, 5, 6, 7, 702], "{refused:?}");
    assert!(refused[&702].contains("--accept-change"), "{}", refused[&702]);
    assert_eq!(answer["stored"], 1200 - 6);
    assert_eq!(world.get(&world.admin, "/v1/secrets/twice").good()["newest_version"], 3);
    assert_eq!(world.get(&world.admin, "/v1/secrets/s1199").good()["versions"][0]["instances"][0]["has_key"], true);
    assert_eq!(world.get(&world.admin, "/v1/status").good()["secrets"], 1200 - 6 - 2 + 4);
    assert!(world.get(&world.admin, "/v1/audit/verify").good()["intact"].as_bool().unwrap());
    assert!(!answer.to_string().contains("PRIVATE"));
}

#[test]
fn a_sealed_store_takes_no_keys_in_bulk_and_says_how_far_it_came() {
    let world = World::sealed();
    let chain = Chain::new();
    let refused = send(&world, &world.admin, line(&chain, "a", "a.example.com").as_bytes());
    assert_eq!(refused.code(), (503, "sealed".into()));
    assert!(refused.text.contains("0 lines were stored before"), "{}", refused.text);
    let (leaf, _) = chain.leaf("a.example.com", KeyType::EcdsaP256);
    let keyless = json!({ "name": "a", "chain_pem": chain.pem(&leaf) }).to_string();
    assert_eq!(send(&world, &world.admin, keyless.as_bytes()).good()["stored"], 1);
}

#[test]
fn a_stream_that_breaks_off_says_how_far_it_came() {
    let world = World::new();
    let chain = Chain::new();
    let text = line(&chain, "a", "a.example.com");
    let head = format!(
        "POST /v1/bulk HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{text}\n\r\nnonsense\r\n",
        world.admin,
        text.len() + 1
    );
    let broken: Answer = world.raw(&[head.as_bytes()]);
    assert_eq!(broken.status, 400, "{}", broken.text);
    let body: Value = serde_json::from_str(&broken.text).unwrap_or_default();
    assert!(body.is_null() || body["code"] == "bad-body", "{body}");
}

#[test]
fn nothing_is_nothing() {
    let world = World::new();
    assert_eq!(send(&world, &world.admin, b"\n\n").good(), json!({ "stored": 0, "refused_count": 0, "refused": [] }));
}

#[test]
fn more_are_refused_than_are_named() {
    let world = World::new();
    let answer = send(&world, &world.admin, "{}\n".repeat(1003).as_bytes()).good();
    assert_eq!((&answer["stored"], &answer["refused_count"]), (&json!(0), &json!(1003)));
    assert_eq!(answer["refused"].as_array().unwrap().len(), 1000);
}

/// `cargo test --release -p server --test it -- --ignored rate --nocapture`: rows per second over the wire, every line fully checked
/// (chain of leaf and intermediate, ECDSA P-256, key against certificate), sealed and committed.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stderr, clippy::disallowed_methods)]
fn rate_of_a_bulk_import() {
    let rows = std::env::var("ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let world = World::new();
    let chain = Chain::new();
    let lines: Vec<String> = (0..rows).map(|n| line(&chain, &format!("s{n}"), &format!("h{n}.example.com"))).collect();
    let text = lines.join("\n");
    for round in 0..3 {
        let names = text.replace("\"name\":\"s", &format!("\"name\":\"r{round}-"));
        let began = std::time::Instant::now();
        let answer = send(&world, &world.admin, names.as_bytes()).good();
        let seconds = began.elapsed().as_secs_f64();
        assert_eq!(answer["stored"], rows);
        eprintln!("round {round}: {rows} rows in {seconds:.2} s = {:.0} rows/s", f64::from(rows) / seconds);
    }
}

#[test]
fn a_stream_ends_with_the_token_that_opened_it() {
    let world = World::new();
    let token = world.token("mover", "admin", &[], None);
    let chain = Chain::new();
    let (leaf, _) = chain.leaf("a.example.com", KeyType::EcdsaP256);
    let lines = |from: usize| -> String {
        let one = |n: usize| json!({ "name": format!("s{n}"), "chain_pem": chain.pem(&leaf) }).to_string() + "\n";
        (from..from + server::http::limits::BULK_CHUNK).map(one).collect()
    };
    let parts = [lines(0), lines(1000), lines(10_000)];
    let mut stream = world.connect();
    let length: usize = parts.iter().map(String::len).sum();
    let head = format!(
        "POST /v1/bulk HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-type: application/x-ndjson\r\ncontent-length: {length}\r\n\r\n"
    );
    // A chunk is stored when the one after it has come.
    for part in [&head, &parts[0], &parts[1]] {
        stream.write_all(part.as_bytes()).unwrap();
    }
    while world.get(&world.admin, "/v1/secrets/s0").status != 200 {
        std::thread::yield_now();
    }
    let tokens = world.get(&world.admin, "/v1/tokens").good();
    let id = &tokens.as_array().unwrap().iter().find(|t| t["name"] == "mover").unwrap()["id"];
    world.send("DELETE", &world.admin, &format!("/v1/tokens/{id}"), None).good();
    // It may answer before it has read everything.
    let _ = stream.write_all(parts[2].as_bytes());
    let refused = crate::support::answer(&mut stream);
    assert_eq!(refused.code(), (401, "unauthenticated".into()), "{}", refused.text);
    assert_eq!(world.get(&world.admin, "/v1/secrets/s10000").status, 404);
}
