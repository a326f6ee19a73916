//! Certificates and keys on their way to a node, and what comes back of it.

use super::{Gate, findings, read, said, shown};
use api::agent::{FETCH, Material, REQUEST};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::Span;
use serde_json::{Value, json};

fn fetch(secret: &str, version: i64, generation: i64) -> Value {
    json!({ "secret": secret, "version": version, "generation": generation })
}

#[test]
fn a_key_goes_to_its_node_alone_and_not_before_the_journal_says_so() {
    let gate = Gate::opened();
    let (version, leaf) = gate.store_version();
    let agent = gate.agent("web-1");
    agent.manifest(&gate, 0);
    let material: Material = read(&agent.post(&gate, FETCH, &fetch("blob-tls", version, 1)));
    assert_eq!((material.secret.as_str(), material.version, material.pairs.len()), ("blob-tls", version, 1));
    let pair = &material.pairs[0];
    let chain = super::ders(&pair.chain);
    let served = pki::Certificate::parse(chain[0].clone()).unwrap();
    assert_eq!((served.fingerprint().to_string(), chain.len()), (leaf.clone(), 2));
    let key = pki::PrivateKey::from_der(&STANDARD.decode(&pair.key.as_ref().unwrap().0).unwrap()).unwrap();
    assert!(key.fits(&served));
    let journal = gate.world.journal();
    assert!(journal.contains("key.sent") && journal.contains(&leaf) && journal.contains("node/web-1"));
    assert!(!journal.contains(&pair.key.as_ref().unwrap().0));
    assert!(shown(&gate, "web-1")["installs"][0]["fetched_at"].is_string());

    // Another generation, another version, another secret, one that is not there: each is refused.
    for (wanted, expected) in [
        (fetch("blob-tls", version, 0), (409, "other-generation")),
        (fetch("blob-tls", version, 2), (409, "other-generation")),
        (fetch("blob-tls", version + 1, 1), (403, "not-to-have")),
        (fetch("shop-tls", 1, 1), (403, "not-to-have")),
        (fetch("nothing", 1, 1), (403, "not-to-have")),
        (fetch("blob-key", 1, 1), (403, "not-to-have")),
    ] {
        let answer = agent.post(&gate, FETCH, &wanted);
        assert_eq!(answer.code(), (expected.0, expected.1.into()), "{wanted}");
    }
    let request = json!({ "secret": "blob-tls", "version": version, "generation": 1, "csr": super::csr(&pki::PrivateKey::generate(pki::KeyType::EcdsaP256).unwrap()) });
    assert_eq!(agent.post(&gate, REQUEST, &request).code(), (403, "keys-in-store".into()));
}

#[test]
fn who_asks_again_and_again_for_what_it_is_not_to_have_is_written_down_seldom() {
    let gate = Gate::opened();
    let agent = gate.agent("web-1");
    for _ in 0..12 {
        assert_eq!(agent.post(&gate, FETCH, &fetch("shop-tls", 1, 0)).status, 403);
    }
    let journal = gate.world.journal();
    assert_eq!(journal.matches("node.refused").count(), 2, "the first and the tenth");
    assert!(journal.contains("shop-tls"));
}

#[test]
fn a_node_whose_clock_is_behind_gets_no_certificate_that_it_would_call_not_yet_valid() {
    let gate = Gate::opened();
    let (version, _) = gate.store_version();
    let agent = gate.agent("web-1");
    agent.manifest(&gate, 0);
    let report = |clock: String| {
        let body = json!({ "generation": 1, "instance": "first", "agent": "0.1", "clock": clock, "installs": [] });
        agent.post(&gate, api::agent::REPORT, &body).status
    };
    let behind = |span: Span| (gate.world.now() - span).to_string();
    assert_eq!(report(behind(Span::seconds(30))), 200);
    assert_eq!(findings(&gate, "web-1"), [""; 0]);
    assert_eq!(report(behind(Span::seconds(31))), 200);
    assert_eq!(findings(&gate, "web-1"), ["node-clock"]);
    assert_eq!(agent.post(&gate, FETCH, &fetch("blob-tls", version, 1)).status, 200, "it began a month ago");
    assert_eq!(report(behind(Span::days(40))), 200);
    assert_eq!(agent.post(&gate, FETCH, &fetch("blob-tls", version, 1)).code(), (409, "clock-behind".into()));
    assert_eq!(report(behind(Span::seconds(-5))), 200);
    assert_eq!(findings(&gate, "web-1"), [""; 0]);
    assert_eq!(agent.post(&gate, FETCH, &fetch("blob-tls", version, 1)).status, 200);
}

#[test]
fn what_an_agent_says_is_a_claim_that_makes_others_look() {
    let gate = Gate::opened();
    let (version, leaf) = gate.store_version();
    let agent = gate.agent("web-1");
    agent.manifest(&gate, 0);
    let due = || {
        let store = gate.world.engine.store();
        store
            .read(|tx| {
                let t = store::model::target::by_name(tx, "blob")?.unwrap();
                store::timer::get(tx, engine::loops::OBSERVE, t.facts.id.0)
            })
            .unwrap()
    };
    gate.world.pass(Span::hours(1));
    let far = gate.world.now() + Span::days(1);
    let store = gate.world.engine.store();
    let push = || {
        store
            .write(&engine::rules(), gate.world.now(), |tx| {
                let t = store::model::target::by_name(tx, "blob")?.unwrap();
                store::timer::set(tx, engine::loops::OBSERVE, t.facts.id.0, far)
            })
            .unwrap();
    };
    push();
    let install = || shown(&gate, "web-1")["installs"][0].clone();

    // It failed: that stands, is told to the owner, and makes others look.
    assert_eq!(agent.report(&gate, 1, &said(&gate, version, "rolled-back", "the reload served the old one")).status, 200);
    assert_eq!(due(), Some(gate.world.now()));
    assert_eq!((install()["state"].clone(), install()["failed_at"].is_string()), (json!("rolled-back"), true));
    assert_eq!(findings(&gate, "web-1"), ["install-failed"]);
    let plan = gate.world.get(&gate.world.admin, "/v1/plan/findings").good().to_string();
    assert!(plan.contains("the reload served the old one") && plan.contains("storage"), "{plan}");

    // The same again is no news.
    push();
    assert_eq!(agent.report(&gate, 1, &said(&gate, version, "rolled-back", "the reload served the old one")).status, 200);
    assert_eq!(due(), Some(far));

    let mut done = said(&gate, version, "installed", "");
    done[0]["leaf"] = json!(leaf);
    assert_eq!(agent.report(&gate, 1, &done).status, 200);
    assert_eq!(due(), Some(gate.world.now()));
    assert!(install()["installed_at"].is_string() && install()["failed_at"].is_null(), "{}", install());
    assert_eq!(findings(&gate, "web-1"), [""; 0]);
    // Not a word of it changed what the target serves: nobody has looked.
    let target = gate.world.get(&gate.world.admin, "/v1/targets/blob").good();
    assert_eq!(target["current"], 0, "{target}");
    // What it says about a version before the one it is to have is no success.
    let (next, _) = gate.store_version();
    let tick = gate.world.tick();
    store
        .try_write(&engine::rules(), tick.now, |tx| {
            let (n, s) = (store::model::node::by_name(tx, "web-1")?.unwrap(), store::model::secret::by_name(tx, "blob-tls")?.unwrap());
            engine::nodes::desire(tx, n.id, s.id, next, None, &tick)
        })
        .unwrap();
    assert_eq!(agent.report(&gate, 1, &done).status, 200);
    assert!(install()["installed_at"].is_null(), "{}", install());
    // Nor is a word about a generation that it cannot know.
    assert_eq!(agent.report(&gate, 99, &said(&gate, next, "installed", "")).status, 200);
    assert_eq!(shown(&gate, "web-1")["node"]["acted"], 2);
}

#[test]
fn another_key_signs_manifests_once_every_agent_knows_it() {
    let gate = Gate::opened();
    let admin = &gate.world.admin;
    let ask = |body: Value| gate.world.post(admin, "/v1/manifest-key", &body);
    let state = || gate.world.get(admin, "/v1/manifest-key").good();
    assert_eq!(ask(json!({ "reason": "yearly" })).code(), (409, "not-born".into()), "nobody has joined");
    gate.store_version();
    let (mut one, two) = (gate.agent("web-1"), gate.agent("web-2"));
    let said = |agent: &super::Agent, generation| agent.report(&gate, generation, &json!([])).status;
    for agent in [&one, &two] {
        assert_eq!(agent.manifest(&gate, 0).next_key, None);
        assert_eq!(said(agent, 1), 200);
    }
    let viewer = gate.world.token("v", "viewer", &[], None);
    assert_eq!(gate.world.post(&viewer, "/v1/manifest-key", &json!({ "reason": "x" })).status, 403);
    assert_eq!(ask(json!({ "reason": " " })).code(), (422, "reason-missing".into()));
    assert_eq!(ask(json!({ "reason": "x", "finish": true })).code(), (409, "no-rotation".into()));

    let announced = ask(json!({ "reason": "yearly" })).good();
    assert_eq!((announced["waiting"].clone(), announced["waits_for"].clone()), (json!(2), json!(["web-1", "web-2"])));
    assert_eq!(ask(json!({ "reason": "yearly" })).code(), (409, "rotation-open".into()));
    // The next one is named by manifests that the old one signs; also to one that joins meanwhile.
    let next = one.manifest(&gate, 1).next_key.unwrap();
    assert_eq!(said(&one, 2), 200);
    super::settle(&gate);
    assert_eq!(state()["waits_for"], json!(["web-2"]), "one has not said that it knows it");
    assert_eq!(ask(json!({ "reason": "x", "finish": true })).code(), (409, "agents-wait".into()));
    assert_eq!(two.manifest(&gate, 1).next_key.as_ref(), Some(&next));
    assert_eq!(said(&two, 2), 200);
    super::settle(&gate);
    let now = state();
    assert_eq!((now["next"].clone(), now["key"].clone()), (json!(null), announced["next"].clone()));
    // From here on it signs: who keeps to the old one would refuse it.
    let old = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one.manifest(&gate, 0).generation));
    assert!(old.is_err());
    one.joined.manifest_key = next;
    assert_eq!((one.manifest(&gate, 0).generation, one.manifest(&gate, 0).next_key), (2, None));
    let journal = gate.world.journal();
    assert!(journal.contains("node.manifest-key.announced") && journal.contains("node.manifest-key.replaced"));

    // Whoever is silent for a week is left behind when a person says so.
    ask(json!({ "reason": "it leaked" })).good();
    gate.world.pass(Span::days(7));
    let left = ask(json!({ "reason": "web-2 is gone", "finish": true })).good();
    assert_eq!(left["next"], json!(null));
    assert!(gate.world.journal().contains("web-2 is gone"));
}

#[test]
fn a_manifest_can_be_carried_by_hand_and_holds_no_key() {
    let gate = Gate::opened();
    let (version, _) = gate.store_version();
    let admin = &gate.world.admin;
    assert_eq!(gate.world.get(admin, "/v1/nodes/web-1/manifest").status, 404, "nobody has joined yet");
    let agent = gate.agent("web-1");
    let carried = gate.world.get(admin, "/v1/nodes/web-1/manifest").good();
    let signed = json!({ "payload": carried["payload"], "signature": carried["signature"] });
    assert_eq!(agent.verified(&signed.to_string()), agent.manifest(&gate, 0));
    assert_eq!((carried["material"][0]["secret"].clone(), carried["material"][0]["version"].clone()), (json!("blob-tls"), json!(version)));
    assert!(!carried.to_string().contains("key\""));
    let viewer = gate.world.token("v", "viewer", &[], None);
    assert_eq!(gate.world.get(&viewer, "/v1/nodes/web-1/manifest").status, 403);
}
