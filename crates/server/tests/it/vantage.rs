//! What was seen, and who may say so.

use pki::KeyType;
use serde_json::{Value, json};

use crate::support::{Chain, World, base64};

fn report(world: &World, target: &str, chain: &[&[u8]]) -> Value {
    json!({
        "target_name": target, "method": "dialled", "at": world.now().to_string(), "resolved": ["192.0.2.7:443"],
        "attempts": [{ "address": "192.0.2.7:443", "chain": chain.iter().map(base64).collect::<Vec<_>>(), "protocol": "TLSv1.3", "cipher": "x" }]
    })
}

#[test]
fn a_vantage_takes_its_work_and_reports_what_it_saw() {
    let world = World::new();
    let office = world.token("office", "vantage", &[], Some("office"));
    let work = world.get(&office, "/v1/vantage/work").good();
    let hosts: Vec<&str> = work["looks"].as_array().unwrap().iter().map(|l| l["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["blob.example.com", "shop.example.com"]);
    // Taken: nobody else is to look at it meanwhile.
    assert_eq!(world.get(&office, "/v1/vantage/work").good()["looks"], json!([]));

    let chain = Chain::new();
    let (leaf, _) = chain.leaf("blob.example.com", KeyType::EcdsaP256);
    world.post(&office, "/v1/observations", &report(&world, "blob", &[leaf.der(), chain.middle.certificate().der()])).good();
    let shown = world.get(&world.admin, "/v1/targets/blob").good();
    let seen = &shown["observations"][0];
    assert_eq!((&seen["vantage"], &seen["address"], &seen["method"]), (&json!("office"), &json!("192.0.2.7:443"), &json!("dialled")));
    assert_eq!(seen["fingerprint_sha256"], leaf.fingerprint().to_string());
    assert!(world.journal().contains(r#""actor":"token/office""#));
    // By its number too, with a clock that is ahead: nobody has seen the future.
    let id = work["looks"][1]["target"].as_i64().unwrap();
    let mut ahead = report(&world, "", &[leaf.der()]);
    ahead.as_object_mut().unwrap().remove("target_name");
    (ahead["target"], ahead["at"]) = (json!(id), json!("2039-01-01T00:00:00Z"));
    world.post(&office, "/v1/observations", &ahead).good();
    assert_eq!(world.get(&world.admin, "/v1/targets/shop").good()["observations"][0]["last_at"], world.now().to_string());
}

#[test]
fn nobody_speaks_for_a_vantage_but_itself() {
    let world = World::new();
    let office = world.token("office", "vantage", &[], Some("office"));
    let moon = world.token("moon", "vantage", &[], Some("moon"));
    let viewer = world.token("v", "viewer", &[], None);
    let owner = world.token("o", "owner", &["storage"], None);
    let chain = Chain::new();
    let (leaf, _) = chain.leaf("blob.example.com", KeyType::EcdsaP256);
    let dialled = report(&world, "blob", &[leaf.der()]);
    let told = |method: &str, target: &str| {
        json!({ "target_name": target, "method": method, "at": world.now().to_string(), "expires_at": "2026-07-01T00:00:00Z",
            "attempts": [{ "address": "/etc/tls/a.pem", "chain": [base64(leaf.der())] }] })
    };
    for (who, token, body, expected) in [
        ("its own", &office, dialled.clone(), 200),
        ("not looked at from there", &moon, dialled.clone(), 403),
        ("an owner has not dialled", &owner, dialled.clone(), 403),
        ("an admin has not dialled", &world.admin, dialled.clone(), 403),
        ("a viewer says nothing", &viewer, dialled, 403),
        ("a vantage does not attest", &office, told("attested", "blob"), 403),
        ("a vantage reads no files", &office, told("agent-read", "blob"), 403),
        ("an owner attests its own", &owner, told("attested", "blob"), 200),
        ("an owner does not attest others", &owner, told("attested", "shop"), 403),
        ("an admin attests", &world.admin, told("peer-seen", "shop"), 200),
    ] {
        let answer = world.post(token, "/v1/observations", &body);
        assert_eq!(answer.status, expected, "{who}: {}", answer.text);
    }
    // What a person says takes no address away from what is dialled.
    let shown = world.get(&world.admin, "/v1/targets/blob").good();
    assert_eq!(shown["required"], 2, "{shown}");
    // The query cannot name another vantage either, and nobody can have a token for the server itself.
    assert_eq!(world.get(&moon, "/v1/vantage/work?vantage=office").status, 400);
    assert_eq!(world.get(&moon, "/v1/vantage/work").good()["looks"], json!([]));
    let local = json!({ "name": "l", "role": "vantage", "vantage": "local" });
    assert_eq!(world.post(&world.admin, "/v1/tokens", &local).code(), (422, "bad-token".into()));
    // And a vantage reads nothing else.
    assert_eq!(world.get(&office, "/v1/secrets").status, 403);
}

/// What is changed, how, and the status and code that it is refused with.
type Case<'a> = (&'a str, &'a dyn Fn(&mut Value), (u16, &'a str));

#[test]
fn what_is_wrong_with_a_report() {
    let world = World::new();
    let office = world.token("office", "vantage", &[], Some("office"));
    let good = report(&world, "blob", &[b"no certificate, and that is what was presented"]);
    world.post(&office, "/v1/observations", &good).good();
    let change = |f: &dyn Fn(&mut Value)| {
        let mut body = good.clone();
        f(&mut body);
        world.post(&office, "/v1/observations", &body).code()
    };
    let cases: [Case; 11] = [
        ("method", &|b| b["method"] = json!("guessed"), (422, "bad-method")),
        ("both", &|b| b["target"] = json!(1), (422, "bad-target")),
        ("nothing", &|b| b["target_name"] = json!("none"), (404, "not-found")),
        ("time", &|b| b["at"] = json!("yesterday"), (422, "bad-time")),
        ("name", &|b| b["resolved"] = json!(["blob.example.com:443"]), (422, "bad-address")),
        ("path", &|b| b["attempts"][0]["address"] = json!("/etc/passwd"), (422, "bad-address")),
        ("offer", &|b| b["attempts"][0]["offer"] = json!("both"), (422, "bad-offer")),
        ("base64", &|b| b["attempts"][0]["chain"] = json!(["!"]), (422, "bad-chain")),
        ("long chain", &|b| b["attempts"][0]["chain"] = json!(vec!["AAAA"; 17]), (422, "bad-chain")),
        ("many", &|b| b["resolved"] = json!(vec!["192.0.2.7:443"; 257]), (422, "too-many-attempts")),
        ("blame", &|b| b["attempts"][0]["failure"] = json!({ "blame": "you", "retry": true, "detail": "" }), (422, "bad-blame")),
    ];
    for (what, f, (status, code)) in cases {
        assert_eq!(change(f), (status, code.into()), "{what}");
    }
    let admin = |body: Value| world.post(&world.admin, "/v1/observations", &body).code();
    let attested = json!({ "target_name": "blob", "method": "attested", "at": world.now().to_string() });
    assert_eq!(admin(attested.clone()), (422, "expiry-missing".into()));
    let mut over = attested;
    over["expires_at"] = json!(world.now().to_string());
    assert_eq!(admin(over), (422, "bad-time".into()));
}
