//! Storing certificates, and a store that is sealed.

use domain::{Span, Time};
use pki::KeyType;
use serde_json::json;

use crate::support::{Chain, PASSPHRASE, World, base64, cheap, import, pem};

#[test]
fn every_kind_of_key_comes_in() {
    let world = World::new();
    let chain = Chain::new();
    for (name, kind, word) in
        [("rsa-tls", KeyType::Rsa2048, "rsa"), ("ecdsa-tls", KeyType::EcdsaP256, "ecdsa"), ("ed-tls", KeyType::Ed25519, "ed25519")]
    {
        let (leaf, key) = chain.leaf("blob.example.com", kind);
        let stored = world.post(&world.admin, &format!("/v1/secrets/{name}/versions"), &import(&chain.pem(&leaf), Some(&key))).good();
        assert_eq!(stored["version"], 1);
        assert_eq!(stored["instances"][0]["key_type"], word);
        assert_eq!(stored["instances"][0]["fingerprint_sha256"], leaf.fingerprint().to_string());
        let shown = world.get(&world.admin, &format!("/v1/secrets/{name}")).good();
        let instance = &shown["versions"][0]["instances"][0];
        assert_eq!(instance["has_key"], true);
        assert_eq!(instance["not_after"], leaf.not_after().to_string());
        assert_eq!(shown["versions"][0]["actor"], "token/root");
        assert_eq!(shown["versions"][0]["reason"], "a test");
    }
    // Without its key: born elsewhere, and that is said.
    let (leaf, _) = chain.leaf("blob.example.com", KeyType::EcdsaP256);
    world.post(&world.admin, "/v1/secrets/keyless/versions", &import(&chain.pem(&leaf), None)).good();
    assert_eq!(world.get(&world.admin, "/v1/secrets/keyless").good()["versions"][0]["instances"][0]["has_key"], false);
}

#[test]
fn what_is_wrong_with_a_chain_is_said_at_once() {
    let world = World::new();
    let (chain, other) = (Chain::new(), Chain::new());
    let (leaf, key) = chain.leaf("blob.example.com", KeyType::EcdsaP256);
    let (_, wrong_key) = chain.leaf("blob.example.com", KeyType::EcdsaP256);
    let post = |body: &serde_json::Value| world.post(&world.admin, "/v1/secrets/blob-tls/versions", body);
    let cases = [
        ("another intermediate", import(&(pem(&leaf) + &pem(other.middle.certificate())), Some(&key))),
        ("another key", import(&chain.pem(&leaf), Some(&wrong_key))),
        ("no certificate", import("hello", Some(&key))),
        ("another name", import(&chain.pem(&chain.leaf("shop.example.com", KeyType::EcdsaP256).0), None)),
    ];
    for (what, body) in &cases {
        let refused = post(body);
        assert_eq!(refused.code(), (422, "bad-certificate".into()), "{what}: {}", refused.text);
    }
    let both = post(&import(&(pem(&chain.leaf("shop.example.com", KeyType::EcdsaP256).0) + &pem(other.middle.certificate())), Some(&key)));
    assert!(both.json()["problems"].as_array().unwrap().len() >= 2, "{}", both.text);
    let roots = |root: &pki::build::Authority| {
        let mut body = import(&chain.pem(&leaf), Some(&key));
        body["roots"] = json!(pem(root.certificate()));
        body["dry_run"] = json!(true);
        body
    };
    assert_eq!(post(&roots(&other.root)).status, 422);
    let fits = post(&roots(&chain.root)).good();
    assert_eq!((&fits["done"], &fits["version"]), (&json!(false), &json!(1)));
    assert_eq!(world.get(&world.admin, "/v1/secrets/blob-tls").good()["newest_version"], 0);
}

#[test]
fn a_change_is_accepted_by_a_person_or_not_at_all() {
    let world = World::new();
    let chain = Chain::new();
    let post = |body: &serde_json::Value| world.post(&world.admin, "/v1/secrets/wild/versions", body);
    let (leaf, key) = chain.leaf("a.example.com", KeyType::EcdsaP256);
    post(&import(&chain.pem(&leaf), Some(&key))).good();
    // A renewal changes key, serial and dates, and nobody has to be asked.
    let (leaf, key) = chain.leaf("a.example.com", KeyType::EcdsaP256);
    assert_eq!(post(&import(&chain.pem(&leaf), Some(&key))).good()["version"], 2);
    let (leaf, key) = chain.leaf("b.example.com", KeyType::EcdsaP256);
    let mut body = import(&chain.pem(&leaf), Some(&key));
    let refused = post(&body);
    assert_eq!(refused.code(), (409, "change-not-accepted".into()));
    assert!(refused.text.contains("names changes from"), "{}", refused.text);
    body["accept_change"] = json!(true);
    let stored = post(&body).good();
    assert_eq!(stored["version"], 3);
    let extraordinary: Vec<_> = stored["differences"].as_array().unwrap().iter().filter(|d| d["ordinary"] == false).collect();
    assert!(!extraordinary.is_empty());
}

#[test]
fn a_sealed_store_reads_and_does_not_store_keys() {
    let world = World::new();
    let chain = Chain::new();
    let (leaf, key) = chain.leaf("blob.example.com", KeyType::EcdsaP256);
    let body = import(&chain.pem(&leaf), Some(&key));
    let sealed = world.post(&world.admin, "/v1/seal", &json!({})).good();
    assert_eq!(sealed["sealed"], true);
    for path in ["/v1/status", "/v1/secrets", "/v1/secrets/blob-tls", "/v1/targets", "/v1/expiring", "/readyz"] {
        assert_eq!(world.get(&world.admin, path).status, 200, "{path}");
    }
    let refused = world.post(&world.admin, "/v1/secrets/blob-tls/versions", &body);
    assert_eq!(refused.code(), (503, "sealed".into()));
    // It still watches: what people and vantages say is taken in.
    world.post(&world.admin, "/v1/targets/blob/look", &json!({})).good();
    // A wrong passphrase has one answer, whatever the cause.
    let wrong = world.post("", "/v1/unseal", &json!({ "passphrase": "wrong horse battery" }));
    assert_eq!(wrong.code(), (403, "cannot-open".into()));
    assert_eq!(world.post("", "/v1/unseal", &json!({ "passphrase": "" })).text, wrong.text);
    let opened = world.post("", "/v1/unseal", &json!({ "passphrase": PASSPHRASE })).good();
    assert_eq!(opened["sealed"], false);
    world.post(&world.admin, "/v1/secrets/blob-tls/versions", &body).good();
    let journal = world.journal();
    assert!(journal.contains("store.sealed") && journal.contains("passphrase/anybody") && !journal.contains(PASSPHRASE));
}

#[test]
fn who_guesses_passphrases_is_stopped() {
    let world = World::new();
    let guess = json!({ "passphrase": "wrong horse battery" });
    let codes: Vec<u16> = (0..8).map(|_| world.post("", "/v1/unseal", &guess).status).collect();
    assert_eq!(codes, [403, 403, 403, 403, 403, 403, 429, 429]);
    // Also for the right one: the limit is on trying.
    assert_eq!(world.post("", "/v1/unseal", &json!({ "passphrase": PASSPHRASE })).status, 429);
    world.pass(Span::minutes(1));
    assert_eq!(world.post("", "/v1/unseal", &json!({ "passphrase": PASSPHRASE })).status, 200);
}

#[test]
fn the_first_key_is_an_admins_to_make() {
    let world = World::sealed();
    let init = json!({ "passphrase": PASSPHRASE, "init": true });
    assert_eq!(world.post("", "/v1/unseal", &init).status, 401);
    let viewer = world.token("v", "viewer", &[], None);
    assert_eq!(world.post(&viewer, "/v1/unseal", &init).status, 403);
    assert_eq!(
        world.post(&world.admin, "/v1/unseal", &json!({ "passphrase": "short", "init": true })).code(),
        (422, "bad-passphrase".into())
    );
    assert_eq!(world.post(&world.admin, "/v1/unseal", &init).good()["initialised"], true);
    assert_eq!(world.post(&world.admin, "/v1/unseal", &init).code(), (409, "already-initialised".into()));
}

#[test]
fn the_key_is_rotated_and_what_was_sealed_stays_usable() {
    let world = World::new();
    let chain = Chain::new();
    let (leaf, key) = chain.leaf("blob.example.com", KeyType::EcdsaP256);
    world.post(&world.admin, "/v1/secrets/blob-tls/versions", &import(&chain.pem(&leaf), Some(&key))).good();
    world.post(&world.admin, "/v1/secrets/blob-key/opaque", &json!({ "value": base64("opaque bytes"), "reason": "r" })).good();
    let moved = world.post(&world.admin, "/v1/kek/rotate", &json!({ "passphrase": "another long passphrase" })).good();
    assert_eq!(moved["moved"], 2);
    world.engine.seal(&store::Actor::new("test", "x"), &world.tick()).unwrap();
    assert!(world.engine.unseal(&cheap(PASSPHRASE), &store::Actor::new("test", "x"), &world.tick()).is_err());
    assert_eq!(world.post("", "/v1/unseal", &json!({ "passphrase": "another long passphrase" })).status, 200);

    // To a key file, which is opened by starting with it.
    let digits = "0123456789abcdef".repeat(4);
    let rotate = |body: serde_json::Value| world.post(&world.admin, "/v1/kek/rotate", &body);
    assert_eq!(rotate(json!({ "key_file": "short" })).code(), (422, "bad-key-file".into()));
    assert_eq!(rotate(json!({})).code(), (422, "bad-rotation".into()));
    assert_eq!(rotate(json!({ "key_file": digits, "passphrase": "another long passphrase" })).code(), (422, "bad-rotation".into()));
    assert_eq!(rotate(json!({ "key_file": digits })).good()["moved"], 2);
    world.engine.seal(&store::Actor::new("test", "x"), &world.tick()).unwrap();
    assert_eq!(world.post("", "/v1/unseal", &json!({ "passphrase": "another long passphrase" })).status, 403);
    let file = envelope::KeyFile::parse(digits.as_bytes()).unwrap();
    world.engine.unseal(&file, &store::Actor::new("test", "x"), &world.tick()).unwrap();
}

#[test]
fn what_ends_soon_is_listed_in_pages_and_counted_in_weeks() {
    let world = World::new();
    let chain = Chain::new();
    for n in 0..5 {
        let from = Time::parse("2026-05-01").unwrap();
        let end = world.now() + Span::days(30 + 7 * n);
        let (leaf, _) = chain.middle.leaf(&["a.example.com"], KeyType::EcdsaP256, from, end).unwrap();
        world.post(&world.admin, &format!("/v1/secrets/s{n}/versions"), &import(&chain.pem(&leaf), None)).good();
    }
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let page = world.get(&world.admin, &format!("/v1/expiring?within=53d&limit=2&after={after}")).good();
        names.extend(page["items"].as_array().unwrap().iter().map(|e| e["secret"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(names, ["s0", "s1", "s2", "s3"]);
    let weeks = world.get(&world.admin, "/v1/expiring/weeks").good();
    let weeks: Vec<(&str, i64)> =
        weeks.as_array().unwrap().iter().map(|w| (w["week"].as_str().unwrap(), w["count"].as_i64().unwrap())).collect();
    assert_eq!(weeks, [("2026-W27", 1), ("2026-W28", 1), ("2026-W29", 1), ("2026-W30", 1), ("2026-W31", 1)]);
    assert_eq!(world.get(&world.admin, "/v1/expiring?within=soon").code(), (400, "bad-query".into()));
}

#[test]
fn opaque_and_tracked_secrets_are_attested() {
    let world = World::new();
    let put = json!({ "value": base64("x"), "expires_at": "2027-01-01T00:00:00Z", "reason": "r" });
    assert_eq!(world.post(&world.admin, "/v1/secrets/blob-key/opaque", &put).good()["version"], 1);
    let attest = |name: &str, body| world.post(&world.admin, &format!("/v1/secrets/{name}/attest"), &body);
    attest("blob-key", json!({ "version": 1, "reason": "seen in production" })).good();
    attest("vendor-root", json!({ "expires_at": "2028-01-01T00:00:00Z", "reason": "the vendor's page" })).good();
    for (name, body, expected) in [
        ("blob-key", json!({ "version": 1, "reason": "" }), (422, "reason-missing")),
        ("blob-key", json!({ "reason": "x" }), (422, "bad-body")),
        ("blob-key", json!({ "version": 7, "reason": "x" }), (404, "not-found")),
        ("blob-tls", json!({ "version": 1, "reason": "x" }), (409, "wrong-kind")),
        ("vendor-root", json!({ "expires_at": "29 February", "reason": "x" }), (422, "bad-time")),
    ] {
        assert_eq!(attest(name, body).code(), (expected.0, expected.1.into()), "{name}");
    }
}
