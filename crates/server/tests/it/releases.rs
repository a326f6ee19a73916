//! Releases over HTTP, and what a token for builds may do.

use pki::KeyType;
use serde_json::{Value, json};

use crate::support::{Chain, World, import};

/// A store that holds two versions of `shop-tls`; their fingerprints.
fn stored(world: &World) -> (String, String) {
    let chain = Chain::new();
    let mut prints = (0..2).map(|_| {
        let (leaf, key) = chain.leaf("shop.example.com", KeyType::EcdsaP256);
        world.post(&world.admin, "/v1/secrets/shop-tls/versions", &import(&chain.pem(&leaf), Some(&key))).good();
        leaf.fingerprint().to_string()
    });
    (prints.next().unwrap(), prints.next().unwrap())
}

fn certificate(path: &str, print: &str) -> Value {
    json!({ "path": path, "fingerprint_sha256": print, "subject": "CN=shop.example.com", "not_after": "2027-05-01T00:00:00Z" })
}

fn carry(build: &str, found: &Value) -> Value {
    json!({ "service": "shop", "build": build, "planned_at": "2026-07-01T00:00:00Z", "found": found })
}

#[test]
fn a_release_from_its_creation_to_its_end() {
    let world = World::new();
    stored(&world);
    let owner = world.token("o", "owner", &["web"], None);
    let wanted = json!({ "service": "shop", "build": "1.0", "planned_at": "2026-07-01", "carries": ["shop-tls"],
        "stages": [{ "region": "eu", "planned_at": "2026-07-03" }], "reason": "a test" });
    let made = world.post(&owner, "/v1/releases", &wanted).good();
    assert_eq!(
        (&made["id"], &made["status"], &made["team"], &made["planned_at"], &made["verdict"]),
        (&json!(1), &json!("planned"), &json!("web"), &json!("2026-07-01T00:00:00Z"), &json!("undated")),
        "{made}"
    );
    assert_eq!(made["carries"], json!([{ "secret": "shop-tls", "version": 2, "newest_version": 2 }]));
    assert_eq!((&made["stages"][0]["region"], &made["stages"][0]["planned_at"]), (&json!("eu"), &json!("2026-07-03T00:00:00Z")));
    assert_eq!((&made["findings"][0]["code"], &made["findings"][0]["subject"]), (&json!("release-undated"), &json!("release/1")));
    assert_eq!(world.post(&owner, "/v1/releases", &wanted).good()["id"], 1, "the same again is the one that exists");
    let other = json!({ "service": "shop", "build": "1.0", "planned_at": "2026-08-01" });
    assert_eq!(world.post(&owner, "/v1/releases", &other).code(), (409, "release-exists".into()));

    let put = |what: &str, body: Value| world.post(&owner, &format!("/v1/releases/1/{what}"), &body);
    assert_eq!(put("plan", json!({ "planned_at": "2026-07-05" })).good()["planned_at"], "2026-07-05T00:00:00Z");
    let delayed = put("delay", json!({ "by_seconds": 86_400, "reason": "another goes first" })).good();
    assert_eq!((&delayed["status"], &delayed["planned_at"]), (&json!("delayed"), &json!("2026-07-06T00:00:00Z")));
    assert_eq!(put("delay", json!({ "to": "2026-07-08" })).good()["first_planned_at"], "2026-07-01T00:00:00Z");
    assert_eq!(put("stage", json!({ "region": "eu", "status": "deployed" })).good()["stages"][0]["status"], "deployed");
    for (what, body, expected) in [
        ("delay", json!({}), (422, "bad-date")),
        ("delay", json!({ "to": "2026-07-09", "by_seconds": 1 }), (422, "bad-date")),
        ("plan", json!({ "planned_at": "2026-07-09", "train": "monthly" }), (422, "bad-release")),
        ("plan", json!({ "train": "nowhere" }), (422, "unknown-train")),
        ("plan", json!({ "planed_at": "2026-07-09" }), (422, "bad-body")),
        ("plan", json!({ "planned_at": "soon" }), (422, "bad-time")),
        ("stage", json!({ "region": "eu" }), (422, "bad-release")),
        ("stage", json!({ "region": "moon", "status": "built" }), (422, "unknown-region")),
        ("status", json!({ "status": "gone" }), (422, "bad-release")),
        ("status", json!({ "status": "deployed" }), (409, "release-not-built")),
    ] {
        assert_eq!(put(what, body.clone()).code(), (expected.0, expected.1.to_owned()), "{what} {body}");
    }
    for status in ["built", "deploying", "deployed"] {
        assert_eq!(put("status", json!({ "status": status })).good()["status"], status);
    }
    // Deployed is a claim: nothing was observed.
    let shown = world.get(&owner, "/v1/releases/1").good();
    assert!(shown["ended_at"].is_null() && shown["observed_at"].is_null(), "{shown}");
    assert_eq!(put("status", json!({ "status": "cancelled", "reason": "a test" })).good()["verdict"], "over");
    assert_eq!(put("plan", json!({ "planned_at": "2026-09-01" })).code(), (409, "release-cancelled".into()));
    let journal = world.journal();
    for action in ["created", "planned", "delayed", "stage", "built", "deploying", "deployed", "cancelled"] {
        assert!(journal.contains(&format!("release.{action}")), "{action}");
    }
}

#[test]
fn lists_go_page_by_page() {
    let world = World::new();
    for n in 0..5 {
        let service = if n % 2 == 0 { "shop" } else { "blob-storage" };
        let wanted = json!({ "service": service, "build": n.to_string(), "planned_at": "2026-07-01" });
        world.post(&world.admin, "/v1/releases", &wanted).good();
    }
    let all = |path: &str| {
        let (mut ids, mut after) = (Vec::new(), String::new());
        loop {
            let page = world.get(&world.admin, &format!("{path}limit=2&after={after}")).good();
            ids.extend(page["items"].as_array().unwrap().iter().map(|r| r["id"].as_i64().unwrap()));
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => return ids,
            }
        }
    };
    assert_eq!(all("/v1/releases?"), [5, 4, 3, 2, 1]);
    assert_eq!(all("/v1/releases?service=shop&"), [5, 3, 1]);
    assert_eq!(all("/v1/releases/queue?"), [1, 2, 3, 4, 5]);
    assert_eq!(all("/v1/releases/queue?service=blob-storage&"), [2, 4]);
    assert_eq!(all("/v1/releases/queue?train=monthly&service=shop&"), [] as [i64; 0]);
    // A page as long as may be asked for ends nothing early.
    let found: Vec<Value> = (0..1200).map(|n| json!({ "path": format!("k{n:04}"), "private_key": true })).collect();
    world.post(&world.admin, "/v1/releases/carry", &carry("0", &json!(found))).good();
    let page = world.get(&world.admin, "/v1/releases/1/items?limit=1000").good();
    let next = page["next"].as_str().expect("there are more").to_owned();
    assert!(
        !page["items"].as_array().unwrap().is_empty()
            && world.get(&world.admin, &format!("/v1/releases/1/items?after={next}")).status == 200
    );
    assert_eq!(world.get(&world.admin, "/v1/releases/9/items").status, 404);
}

#[test]
fn what_a_build_carries_is_told_apart() {
    let world = World::new();
    let (older, newest) = stored(&world);
    let unknown = "ab".repeat(32);
    let found = json!([
        certificate("image.tar!a.pem", &newest),
        certificate("image.tar!old/a.pem", &older),
        certificate("image.tar!b.pem", &unknown),
        { "path": "image.tar!key.pem", "private_key": true },
    ]);
    let ci = world.builder("ci", &["shop"]);
    let answer = world.post(&ci, "/v1/releases/carry", &carry("7", &found)).good();
    assert_eq!(
        ["created", "versions", "older", "unknown", "keys", "verdict"].map(|field| answer[field].clone()),
        [json!(true), json!(1), json!(1), json!(1), json!(1), json!("undated")],
        "{answer}"
    );
    let codes: Vec<&str> = answer["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"key-in-build") && codes.contains(&"carries-unknown"), "{codes:?}");
    // The same again changes nothing, and what the token may read is that one answer.
    let entries = world.journal().matches("release.scanned").count();
    let again = world.post(&ci, "/v1/releases/carry", &carry("7", &found)).good();
    assert_eq!((&again["created"], &again["id"], &again["keys"]), (&json!(false), &answer["id"], &json!(1)));
    assert_eq!(world.journal().matches("release.scanned").count(), entries);
    let read = world.get(&ci, "/v1/releases/carry?service=shop&build=7").good();
    assert_eq!(read, again);
    let items = world.get(&world.admin, "/v1/releases/1/items").good();
    let kinds: Vec<&str> = items["items"].as_array().unwrap().iter().map(|i| i["what"].as_str().unwrap()).collect();
    assert_eq!(kinds.len(), 4);
    assert!(["version", "older", "unknown", "key"].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    // A later scan replaces what the one before found.
    let less = world.post(&ci, "/v1/releases/carry", &carry("7", &json!([certificate("a.pem", &newest)]))).good();
    assert_eq!(["versions", "older", "unknown", "keys"].map(|field| less[field].as_i64().unwrap()), [1, 0, 0, 0]);
    // It keeps the dates that the release has.
    let later = json!({ "service": "shop", "build": "7", "planned_at": "2026-12-01", "found": [] });
    let kept = world.post(&ci, "/v1/releases/carry", &later).good();
    assert_eq!((&kept["planned_at"], &kept["verdict"]), (&json!("2026-07-01T00:00:00Z"), &json!("carries-nothing")));
}

/// Whatever is wrong with one part of it: no release is left behind.
#[test]
fn a_registration_is_whole_or_not_at_all() {
    let world = World::new();
    let ci = world.builder("ci", &["shop"]);
    let print = "ab".repeat(32);
    let good = certificate("a", &print);
    let bad = |change: Value| {
        let mut item = good.clone();
        item.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        item
    };
    for (found, code) in [
        (json!([good, bad(json!({ "path": "" }))]), "bad-item"),
        (json!([good, bad(json!({ "path": "x".repeat(5000) }))]), "bad-item"),
        (json!([good, bad(json!({ "fingerprint_sha256": "nonsense" }))]), "bad-item"),
        (json!([good, bad(json!({ "private_key": true }))]), "bad-item"),
        (json!([good, { "path": "b" }]), "bad-item"),
        (json!([good, bad(json!({ "not_after": "soon" }))]), "bad-time"),
        (json!([good, bad(json!({ "key": "-----BEGIN PRIVATE KEY-----" }))]), "bad-body"),
        (json!((0..10_001).map(|n| json!({ "path": n.to_string(), "private_key": true })).collect::<Vec<_>>()), "too-many-items"),
    ] {
        assert_eq!(world.post(&ci, "/v1/releases/carry", &carry("1", &found)).code(), (422, code.to_owned()));
    }
    let huge = json!([{ "path": "x".repeat(17 << 20), "private_key": true }]);
    assert_eq!(world.post(&ci, "/v1/releases/carry", &carry("1", &huge)).status, 413);
    let nowhere = json!({ "service": "shop", "build": "1", "train": "nowhere", "found": [] });
    assert_eq!(world.post(&ci, "/v1/releases/carry", &nowhere).code(), (422, "not-its-train".into()));
    assert_eq!(world.get(&ci, "/v1/releases/carry?service=shop&build=1").status, 404);
    assert_eq!(world.get(&world.admin, "/v1/releases").good()["items"], json!([]));
}

#[test]
fn a_token_for_builds_can_do_this_alone() {
    let world = World::new();
    let ci = world.builder("ci", &["shop"]);
    world.post(&ci, "/v1/releases/carry", &carry("1", &json!([]))).good();
    // Another service, whether there is one of that name or not, and nothing says which there are.
    for service in ["blob-storage", "nowhere", ""] {
        let wanted = json!({ "service": service, "build": "1", "found": [] });
        let refused = world.post(&ci, "/v1/releases/carry", &wanted);
        assert_eq!(refused.code(), (403, "forbidden".into()), "{service}");
        let text = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(text.starts_with("this token speaks for builds of shop alone, not of "), "{text}");
        assert_eq!(world.get(&ci, &format!("/v1/releases/carry?service={service}&build=1")).status, 403);
    }
    for (method, path) in [
        ("GET", "/v1/releases"),
        ("GET", "/v1/releases/1"),
        ("GET", "/v1/releases/1/items"),
        ("GET", "/v1/releases/queue"),
        ("POST", "/v1/releases"),
        ("POST", "/v1/releases/1/plan"),
        ("POST", "/v1/releases/1/status"),
        ("GET", "/v1/status"),
        ("GET", "/v1/secrets"),
        ("GET", "/v1/plan/findings"),
        ("GET", "/v1/audit"),
        ("GET", "/metrics"),
    ] {
        let body = (method == "POST").then(|| json!({ "service": "shop", "build": "2", "status": "built" }));
        assert_eq!(world.send(method, &ci, path, body.as_ref()).status, 403, "{method} {path}");
    }
    // Whoever may be told which services there are, is told.
    let unknown = json!({ "service": "nowhere", "build": "1", "planned_at": "2026-07-01", "found": [] });
    let refused = world.post(&world.admin, "/v1/releases/carry", &unknown);
    assert_eq!(refused.code(), (422, "unknown-service".into()));
    assert!(refused.json()["detail"].as_str().unwrap().contains("there are blob-storage, shop"), "{}", refused.text);
    // An owner speaks for the services of its teams.
    let owner = world.token("o", "owner", &["storage"], None);
    assert_eq!(world.post(&owner, "/v1/releases/carry", &carry("2", &json!([]))).status, 403);
    assert_eq!(world.post(&owner, "/v1/releases/1/status", &json!({ "status": "built" })).status, 403);
    let own = json!({ "service": "blob-storage", "build": "1", "planned_at": "2026-07-01" });
    world.post(&owner, "/v1/releases", &own).good();
    let viewer = world.token("v", "viewer", &[], None);
    assert_eq!(world.post(&viewer, "/v1/releases", &own).status, 403);
    assert_eq!(world.get(&viewer, "/v1/releases/1").status, 200);
}
