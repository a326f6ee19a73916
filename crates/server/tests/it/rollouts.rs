//! Rollouts and revocations over the API: who may, what is answered, what is refused by name.

use domain::Span;
use engine::vault::{Import, Incoming};
use pki::{build::Authority, key::KeyType};
use serde_json::json;
use store::Actor;

use crate::support::{World, entropy};

const FLEET: &str = "[[team]]\nname = \"web\"\ncontacts = [{ channel = \"log\" }]\n[[team]]\nname = \"storage\"\n\
    contacts = [{ channel = \"log\" }]\n[[region]]\nname = \"eu\"\n\
    [[secret]]\nname = \"www\"\nkind = \"certificate\"\nteam = \"web\"\nrollout = \"by-hand\"\n\
    [[node]]\nname = \"n1\"\nregion = \"eu\"\ncanary = true\nsecrets = [\"www\"]\n\
    [[target]]\nname = \"t1\"\nsecret = \"www\"\nendpoint = \"tls://t1.example:443\"\nregion = \"eu\"\nnodes = [\"n1\"]\n\
    [[target]]\nname = \"t2\"\nsecret = \"www\"\nendpoint = \"tls://t2.example:443\"\nregion = \"eu\"\n";

fn world() -> World {
    let world = World::new();
    let fleet = serde_json::to_value(api::fleet::parse(FLEET).unwrap()).unwrap();
    world.post(&world.admin, "/v1/fleet", &json!({ "fleet": fleet })).good();
    let (from, to) = (world.now() - Span::days(1), world.now() + Span::days(90));
    let ca = Authority::new("Test CA", from, to).unwrap();
    let (leaf, key) = ca.leaf(&["t1.example", "t2.example"], KeyType::EcdsaP256, from, to).unwrap();
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    use base64::Engine as _;
    pem += &base64::engine::general_purpose::STANDARD.encode(leaf.der());
    pem += "\n-----END CERTIFICATE-----\n";
    let instance = Incoming { scope: "all".into(), chain: pem.into_bytes(), key: Some(key.expose_pkcs8().to_vec().into()), password: None };
    let import = Import { name: "www", instances: vec![instance], accept_change: false, roots: None, reason: "test", dry_run: false };
    let prepared = world.engine.prepare(import, &world.tick()).unwrap();
    world.engine.store_all(&[prepared], &mut entropy, &Actor::new("test", "setup"), &world.tick()).unwrap();
    world
}

#[test]
fn a_rollout_is_started_watched_halted_resumed_and_taken_back_by_whoever_may() {
    let world = world();
    let (owner, other) = (world.token("o", "owner", &["web"], None), world.token("x", "owner", &["storage"], None));
    let viewer = world.token("v", "viewer", &[], None);
    let start = json!({ "reason": "by hand" });
    for who in [&viewer, &other] {
        assert_eq!(world.post(who, "/v1/secrets/www/rollouts", &start).code(), (403, "forbidden".into()));
        assert_eq!(world.post(who, "/v1/secrets/www/rollouts/critical", &start).code(), (403, "forbidden".into()));
    }
    let begun = world.post(&owner, "/v1/secrets/www/rollouts", &start).good();
    assert_eq!((&begun["id"], &begun["state"], &begun["kind"]), (&json!(1), &json!("waiting"), &json!("ordinary")));
    assert_eq!(world.post(&owner, "/v1/secrets/www/rollouts", &start).good()["id"], 1, "the same again is the same");
    world.engine.rollouts_once(&world.tick()).unwrap();
    let shown = world.get(&viewer, "/v1/rollouts/1").good();
    let titles: Vec<_> = shown["waves"].as_array().unwrap().iter().map(|w| w["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["canary", "targets without an agent"]);
    assert_eq!((&shown["begun"], &shown["waits"][0]["code"]), (&json!(1), &json!("node-silent")));
    assert!(shown["waits"][0]["text"].as_str().unwrap().contains("n1"), "{shown}");
    assert_eq!(shown["plan"].as_str().unwrap().len(), 64);

    for act in ["halt", "resume", "rollback"] {
        assert_eq!(world.post(&other, &format!("/v1/rollouts/1/{act}"), &json!({ "reason": "x" })).code().0, 403);
        assert_eq!(world.post(&owner, &format!("/v1/rollouts/9/{act}"), &json!({ "reason": "x" })).code(), (404, "not-found".into()));
    }
    assert_eq!(world.post(&owner, "/v1/rollouts/1/resume", &json!({ "reason": "" })).code().1, "not-halted");
    assert_eq!(world.post(&owner, "/v1/rollouts/1/halt", &json!({ "reason": "" })).code().1, "reason-missing");
    let halted = world.post(&owner, "/v1/rollouts/1/halt", &json!({ "reason": "lunch" })).good();
    assert_eq!((&halted["halted"], &halted["halted_reason"]), (&json!(true), &json!("lunch")));
    world.engine.rollouts_once(&world.tick()).unwrap();
    assert_eq!(world.get(&viewer, "/v1/rollouts?open=true").good()["items"][0]["halted"], true);
    world.post(&owner, "/v1/rollouts/1/resume", &json!({ "reason": "" })).good();
    let despite = |reason: &str| world.post(&owner, "/v1/rollouts/1/resume", &json!({ "despite": true, "reason": reason })).code().1;
    assert_eq!((despite(""), despite("x")), ("reason-missing".into(), "nothing-in-the-way".into()));
    assert_eq!(world.get(&viewer, "/v1/rollouts?limit=101").code().0, 400, "no list gives fewer than it is asked for");
    // Nobody was ever seen serving anything, so there is nothing to go back to.
    assert_eq!(world.post(&owner, "/v1/rollouts/1/rollback", &json!({ "reason": "x" })).code().1, "no-version-before");
    assert_eq!(world.post(&owner, "/v1/secrets/www/rollouts/critical", &json!({})).code().1, "reason-missing");
    let critical = world.post(&owner, "/v1/secrets/www/rollouts/critical", &start).good();
    assert_eq!((&critical["id"], &critical["kind"], &critical["policy"]), (&json!(2), &json!("critical"), &json!("critical")));
    assert_eq!(world.post(&owner, "/v1/secrets/www/rollouts", &json!({ "version": 7 })).code().1, "no-version");
}

#[test]
fn a_revocation_is_an_admins() {
    let world = world();
    let owner = world.token("o", "owner", &["web"], None);
    let deadline = (world.now() + Span::hours(24)).to_string();
    let ask = json!({ "issuer": "Test CA", "deadline": deadline, "reason": "the CA says so" });
    assert_eq!(world.post(&owner, "/v1/revocations", &ask).code(), (403, "forbidden".into()));
    let within = json!({ "issuer": "Test CA", "within_seconds": 86400, "dry_run": true, "reason": "a try" });
    let tried = world.post(&world.admin, "/v1/revocations", &within).good();
    assert_eq!((&tried["id"], &tried["deadline"], &tried["secrets_total"]), (&json!(0), &json!(deadline), &json!(1)));
    assert_eq!(world.get(&owner, "/v1/revocations").good()["items"], json!([]), "nothing was opened");
    let opened = world.post(&world.admin, "/v1/revocations", &ask).good();
    assert_eq!((&opened["id"], &opened["certificates"], &opened["secrets"][0]["name"]), (&json!(1), &json!(1), &json!("www")));
    world.engine.revocations_once(&world.tick()).unwrap();
    let shown = world.get(&owner, "/v1/revocations/1").good();
    assert!(shown["secrets"][0]["detail"].as_str().unwrap().contains("perennial cert import www"), "{shown}");
    assert_eq!(world.get(&owner, "/v1/revocations").good()["items"][0]["asked"], json!(["issuer Test CA"]));
    assert_eq!(world.get(&owner, "/v1/revocations/2").code(), (404, "not-found".into()));
    for (bad, code) in [
        (json!({ "issuer": "Nobody", "deadline": deadline, "reason": "x" }), "nothing-affected"),
        (json!({ "certificates": ["ab"], "deadline": deadline, "reason": "x" }), "bad-revocation"),
        (json!({ "issuer": "Test CA", "deadline": "soon", "reason": "x" }), "bad-time"),
        (json!({ "issuer": "Test CA", "deadline": deadline, "within_seconds": 60, "reason": "x" }), "bad-revocation"),
        (json!({ "issuer": "Test CA", "within_seconds": -1, "reason": "x" }), "bad-revocation"),
    ] {
        assert_eq!(world.post(&world.admin, "/v1/revocations", &bad).code().1, code);
    }
    assert_eq!(world.get(&owner, "/v1/revocations/1/secrets").good()["items"][0]["name"], "www");
    let why = json!({ "reason": "it was not ours" });
    assert_eq!(world.post(&owner, "/v1/revocations/1/withdraw", &why).code().0, 403);
    let withdrawn = world.post(&world.admin, "/v1/revocations/1/withdraw", &why).good();
    assert_eq!(withdrawn["withdrawn_for"], "it was not ours");
    assert_eq!(world.post(&world.admin, "/v1/revocations/1/withdraw", &why).code().1, "revocation-ended");
}
