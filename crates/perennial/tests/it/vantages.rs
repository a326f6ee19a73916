//! A vantage: looks from elsewhere, and can do nothing else.

use pki::Span;
use serde_json::json;

use crate::harness::{
    World, listener,
    process::{Talking, run},
    so, wait,
    world::{secret, target},
};

const NAME: &str = "shop.test.example";

#[test]
fn a_required_vantage_is_waited_for_and_can_do_nothing_else() {
    let mut world = World::sqlite("vantages");
    world.start();
    let pair = world.paper.leaf("good", &[NAME], Span::days(80));
    let served = listener::serve(&pair.chain, &pair.key);
    let target = target("shop", "front", served, NAME).trim_end().to_owned() + "\nvantages = [\"local\", \"eu\"]\n\n";
    let policy = "[[policy]]\nname = \"quick\"\nclass = \"leaf\"\ninterval = \"10s\"\n\n";
    let shop = secret("shop").trim_end().to_owned() + "\npolicy = \"quick\"\n\n";
    let vantages = "[[vantage]]\nname = \"eu\"\n\n[[vantage]]\nname = \"us\"\n\n";
    world.apply(&world.fleet("{ channel = \"log\" }", &format!("{vantages}{policy}{shop}{target}")));
    world.import("shop", &pair);

    // Our own look is one of two: green from here is not green.
    world.ends(1, &["observe", "front", "--wait"]);
    let shown = world.one(&["target", "show", "front"]);
    assert_eq!((&shown["current"], &shown["required"], &shown["served_until"]), (&1.into(), &2.into(), &"unknown".into()), "{shown:#}");
    let findings = world.run(&["findings"]);
    assert!(findings.out.contains("never-observed"), "{findings:?}");

    let token = world.path().join("eu.token").display().to_string();
    world.ok(&["token", "create", "eu", "--role", "vantage", "--vantage", "eu", "--out", &token]);
    let url = format!("https://{}", world.address);
    let vantage = |more: &[&str]| {
        let mut command = world.command(&["vantage", "--name", "eu", "--server", &url, "--token-file", &token, "--ca"]);
        command.arg(world.data.join("tls/ca.pem")).args(more);
        command
    };
    let once = run(&mut vantage(&["--once"]));
    assert_eq!(once.code, 0, "{once:?}");
    assert!(once.err.contains("1 targets looked at from eu, 0 could not be reported"), "{once:?}");
    wait(20, "both vantages show it", || {
        let shown = world.one(&["target", "show", "front"]);
        let until = pair.chain[0].not_after().to_string();
        so(shown["current"] == 2 && shown["required"] == 2 && shown["served_until"] == until.as_str(), shown)
    });
    world.ok(&["runway"]);
    let seen = || {
        let shown = world.one(&["target", "show", "front"]);
        let eu = shown["observations"].as_array().unwrap().iter().find(|o| o["vantage"] == "eu").unwrap().clone();
        assert_eq!((&eu["method"], &eu["fingerprint_sha256"]), (&"dialled".into(), &pair.fingerprint().as_str().into()), "{eu:#}");
        eu["streak"].as_i64().unwrap()
    };

    // It may do this, and nothing else.
    let token = std::fs::read_to_string(&token).unwrap().trim().to_owned();
    let api = world.api().with_token(&token);
    assert_eq!(api.get("/v1/vantage/work").status, 200);
    for path in [
        "status",
        "secrets",
        "secrets/shop",
        "targets",
        "targets/front",
        "findings",
        "incidents",
        "notices",
        "expiring",
        "expiring/weeks",
        "sweeps",
        "audit",
        "audit/verify",
        "tokens",
    ] {
        let answer = api.get(&format!("/v1/{path}"));
        assert_eq!((answer.status, answer.body["code"].as_str()), (403, Some("forbidden")), "{path}: {answer:?}");
    }
    let fleet = json!({ "fleet": {}, "prune": true });
    let instance = json!({ "instances": [{ "chain": "AAAA" }], "reason": "x" });
    for (path, body) in [
        ("fleet", fleet),
        ("secrets/shop/versions", instance),
        ("secrets/shop/opaque", json!({ "value": "AAAA", "reason": "x" })),
        ("targets/front/look", json!({})),
        ("targets/front/retire", json!({ "reason": "x" })),
        ("secrets/shop/retire", json!({ "reason": "x" })),
        ("sweep", json!({})),
        ("seal", json!({})),
        ("kek/rotate", json!({ "passphrase": "a new passphrase" })),
        ("clock/confirm", json!({ "reason": "x" })),
        ("backup", json!({})),
        ("tokens", json!({ "name": "x", "role": "admin" })),
    ] {
        let answer = api.post(&format!("/v1/{path}"), &body);
        assert_eq!((answer.status, answer.body["code"].as_str()), (403, Some("forbidden")), "{path}: {answer:?}");
    }
    // Nor may it say how it saw something other than by dialling.
    let claim = |method: &str| json!({ "target_name": "front", "method": method, "at": "2026-01-01T00:00:00Z", "attempts": [], "expires_at": "2030-01-01T00:00:00Z" });
    for method in ["attested", "agent-read", "peer-seen"] {
        let answer = api.post("/v1/observations", &claim(method));
        assert_eq!(answer.status, 403, "{method}: {answer:?}");
    }
    // Nor speak for a target that is not looked at from there.
    let other = world.path().join("us.token").display().to_string();
    world.ok(&["token", "create", "us", "--role", "vantage", "--vantage", "us", "--out", &other]);
    let us = world.api().with_token(std::fs::read_to_string(&other).unwrap().trim());
    assert_eq!(us.post("/v1/observations", &claim("dialled")).status, 403);
    assert_eq!(us.get("/v1/vantage/work").body["looks"], json!([]));
    assert_eq!(world.one(&["target", "show", "front"])["current"], 2);

    // Left alone, it goes on; a token that was taken back ends it.
    let before = seen();
    let mut running = Talking::start(&mut vantage(&[])).unwrap();
    wait(40, "it looks again by itself", || so(seen() > before, running.said()));
    let id = world.json(&["token", "list"]).into_iter().find(|t| t["name"] == "eu").unwrap()["id"].to_string();
    world.ok(&["token", "revoke", &id]);
    assert_eq!(running.ended(90).code(), Some(1), "{}", running.said());
    assert_eq!(run(&mut vantage(&["--once"])).code, 1);
}
