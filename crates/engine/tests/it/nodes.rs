//! Nodes that join while something else goes on.

use crate::{
    issuing, revocations,
    rollouts::{Fleet, small},
    world::{World, entropy, person},
};
use api::agent::{Fetch, Join, Request, Token};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::Span;
use engine::{Error, nodes::Agent};
use pki::{KeyType, PrivateKey, San, csr};
use store::model::{authority, node, secret};

const MINUTE: Span = Span::minutes(1);

/// A node joins; its agent, as the store recognises it from then on.
fn join(w: &World, name: &str) -> Agent {
    let seed = name.bytes().fold(77, |seed, b| seed * 31 + u64::from(b));
    let invited = w.engine.invite(name, Span::hours(1), None, &mut *entropy(seed), &person(), &w.tick()).unwrap();
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let join = Join {
        token: Token(invited.token.to_string()),
        csr: STANDARD.encode(csr::build(&key, None, &[]).unwrap()),
        clock: w.now.to_string(),
        agent: "0.1".into(),
        instance: "a".into(),
    };
    let joined = w.engine.join(&join, &mut *entropy(seed + 1), &w.tick()).unwrap();
    let leaf = STANDARD.decode(&joined.identity.chain[0]).unwrap();
    w.engine.recognise(&pki::Fingerprint::of(&leaf), &w.tick()).unwrap()
}

fn code<T: std::fmt::Debug>(result: engine::Result<T>) -> &'static str {
    match result {
        Err(Error::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_that_joins_during_a_rollout_has_what_was_served_before_until_its_wave() {
    let mut f = Fleet::new(&small(), "");
    f.store(Span::days(90));
    f.w.settle();
    // Rebuilt from nothing: nothing is decided for them.
    let forget = |f: &Fleet, name: &str| {
        let store = f.w.engine.store();
        let none = |tx: &mut store::Tx<'_>| {
            let (n, s) = (node::by_name(tx, name)?.unwrap(), secret::by_name(tx, "www")?.unwrap());
            node::put_install(tx, &node::Install::new(n.id, s.id))
        };
        store.write(&person(), f.w.now, none).unwrap();
    };
    for (name, expected) in [("a1", 1), ("u1", 1), ("c1", 2)] {
        forget(&f, name);
        join(&f.w, name);
        assert_eq!(f.told(name), expected, "{name}");
    }
    f.run(Span::hours(1), MINUTE);
    assert_eq!(f.told_all(), "2: c1 a1 b1 u1 a2 b2 u2 a3 b3 u3");
}

#[test]
fn what_was_taken_back_is_not_handed_out_again() {
    let f = Fleet::new(&small(), "");
    let agent = join(&f.w, "a1");
    let generation = agent.node.generation;
    let fetch = Fetch { secret: "www".into(), version: 1, generation, instance: None };
    assert!(f.w.engine.fetch(&agent, &fetch, &f.w.tick()).is_ok());
    assert_eq!(f.w.engine.manifest_of("a1").unwrap().1.len(), 1);
    f.w.engine.open_revocation(&revocations::ask(&f, "Test Issuing"), false, "the CA says so", &person(), &f.w.tick()).unwrap();
    assert_eq!(code(f.w.engine.fetch(&agent, &fetch, &f.w.tick())), "version-revoked");
    assert_eq!(f.w.engine.manifest_of("a1").unwrap().1.len(), 0, "nor by hand");
}

#[test]
fn one_node_does_not_use_up_what_an_issuer_grants_to_all() {
    let mut w = issuing::with_ca();
    let node = "[[region]]\nname = \"eu\"\n[[node]]\nname = \"web-1\"\nregion = \"eu\"\nsecrets = [\"node\"]\n";
    w.apply(&format!("{}{node}", issuing::FLEET));
    issuing::renew(&w);
    let agent = join(&w, "web-1");
    let ask = |w: &World, key: &PrivateKey| {
        let names = [San::parse("node.example.internal").unwrap()];
        let generation = w.engine.store().read(|tx| node::get(tx, agent.node.id)).unwrap().unwrap().generation;
        let csr = STANDARD.encode(csr::build(key, None, &names).unwrap());
        let request = Request { secret: "node".into(), version: 1, generation, csr, instance: None };
        w.engine.request(&agent, &request, &mut *entropy(w.now.unix() as u64 + generation as u64), &w.tick())
    };
    let keys: Vec<PrivateKey> = (0..5).map(|_| PrivateKey::generate(KeyType::EcdsaP256).unwrap()).collect();
    for key in &keys[..4] {
        w.now = w.now + MINUTE;
        ask(&w, key).unwrap();
    }
    assert_eq!(code(ask(&w, &keys[4])), "too-many-keys");
    assert!(ask(&w, &keys[3]).is_ok(), "the same key gets the same answer");
    let signed = |w: &World| {
        let s = w.secret("node");
        w.engine.store().read(|tx| authority::issued_for(tx, s.id, 1, 10)).unwrap().len()
    };
    assert_eq!(signed(&w), 4);
    w.now = w.now + Span::days(1);
    ask(&w, &keys[4]).unwrap();
    assert_eq!(signed(&w), 5);
}

#[test]
fn the_owner_of_a_key_hears_of_more_machines_that_get_it() {
    let f = Fleet::new(&small(), "");
    let told = |f: &Fleet| -> Vec<String> {
        f.w.notices().into_iter().filter(|n| n.code == engine::nodes::GIVEN).map(|n| format!("{}: {}", n.team, n.detail)).collect()
    };
    assert_eq!(told(&f), [""; 0], "with nothing stored there is nothing to be sent");
    let mut more = small();
    more.extend([("x1".into(), "eu", "", false), ("x2".into(), "eu", "", false)]);
    let toml = crate::rollouts::toml(&f.ca, &more, "");
    f.w.apply(&toml);
    f.w.apply(&toml);
    let said = told(&f);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("web: www: ") && said[0].contains("x1, x2 are to have it"), "{said:?}");
    join(&f.w, "x1");
    assert_eq!((f.journal("secret.given"), f.journal("secret.node-joined")), (1, 1));
}

#[test]
fn a_failed_install_stands_in_the_journal_of_the_incident_that_it_would_end() {
    let mut f = Fleet::new(&small(), "");
    f.w.engine.open_revocation(&revocations::ask(&f, "Test Issuing"), false, "the CA says so", &person(), &f.w.tick()).unwrap();
    f.run(MINUTE, MINUTE);
    let agent = join(&f.w, "a1");
    let report = |state: &str| {
        let one = serde_json::json!([{ "secret": "www", "version": 1, "state": state, "detail": "no room", "attempts": 1, "at": f.w.now.to_string() }]);
        let report = serde_json::json!({ "generation": agent.node.generation, "instance": "a", "agent": "0.1", "clock": f.w.now.to_string(),
            "installs": one });
        let said = [(agent.certificate.fingerprint, serde_json::from_value(report).unwrap())];
        f.w.engine.reports(&said, &f.w.tick()).unwrap().remove(0).unwrap();
    };
    report("fetching");
    assert_eq!(f.journal("incident.install-failed"), 0);
    report("rolled-back");
    report("rolled-back");
    assert_eq!(f.journal("incident.install-failed"), 1, "once, as long as it is no news");
    assert_eq!(f.w.incidents().iter().filter(|i| i.facts.state.is_open()).count(), 1, "a claim opens none");
}
