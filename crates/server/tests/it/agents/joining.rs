//! Who may speak for a node, from the first contact to the last renewal.

use super::{Agent, Gate, findings, settle, shown};
use api::agent::{FETCH, RENEW, Token};
use domain::Span;
use engine::nodes::{CHANGE_OVER, COME_BACK, IDENTITY};
use pki::{PrivateKey, key::KeyType};
use serde_json::json;

#[test]
fn an_invitation_is_good_once_and_an_answer_that_was_lost_may_be_asked_for_again() {
    let gate = Gate::opened();
    let invitation = gate.invite("web-1");
    assert_eq!(invitation.store, gate.address.to_string());
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let again = PrivateKey::from_der(key.expose_pkcs8()).unwrap();
    let agent = Agent::join_with(&gate, &invitation.token, "a", key).map_err(|a| a.text).unwrap();
    assert_eq!((agent.joined.node.as_str(), agent.joined.epoch), ("web-1", 1));
    let leaf = pki::Certificate::parse(agent.chain[0].clone()).unwrap();
    assert_eq!(leaf.lifetime().as_secs(), (IDENTITY + Span::hours(1)).as_secs() + 1);
    assert!(leaf.names()[0].to_string().contains("spiffe://perennial/"), "{:?}", leaf.names());

    // Somebody else with the same string.
    let other = Agent::join(&gate, &invitation.token, "b").map(|_| ()).unwrap_err();
    assert_eq!(other.code(), (401, "bad-token".into()));
    // Itself, whose answer was lost on the way; the certificate that nobody presented is good for nothing any more.
    let copy = PrivateKey::from_der(again.expose_pkcs8()).unwrap();
    let once_more = Agent::join_with(&gate, &invitation.token, "a", again).map_err(|a| a.text).unwrap();
    assert_eq!(once_more.poll(&gate, 0, 0).status, 204, "nothing was decided for it yet");
    assert_eq!(agent.poll(&gate, 0, 0).code(), (403, "agent-revoked".into()));
    // Once the answer was used it was not lost: who has key and string by then is a copy.
    let late = Agent::join_with(&gate, &invitation.token, "b", copy).map(|_| ()).unwrap_err();
    assert_eq!(late.code(), (401, "bad-token".into()));
    assert_eq!(once_more.poll(&gate, 0, 0).status, 204, "and it took nothing from the right one");
    let journal = gate.world.journal();
    for action in ["node.invited", "node.joined", "node.authority"] {
        assert!(journal.contains(action), "{action}");
    }
    let secret = invitation.token.0.split_once('.').unwrap().1;
    assert!(!journal.contains(secret));
    assert_eq!(shown(&gate, "web-1")["node"]["state"], "joined");
}

#[test]
fn what_is_wrong_with_a_token_is_not_said() {
    let gate = Gate::opened();
    let invitation = gate.invite("web-1");
    let (id, secret) = invitation.token.0.split_once('.').unwrap();
    let next = |n: i64| (id.parse::<i64>().unwrap() + n).to_string();
    for wrong in [
        String::new(),
        secret.to_owned(),
        format!("{id}."),
        format!("{id}.{secret}x"),
        format!("{}.{secret}", next(1)),
        format!("x.{secret}"),
    ] {
        let refused = Agent::join(&gate, &Token(wrong.clone()), "a").map(|_| ()).unwrap_err();
        assert_eq!(refused.code(), (401, "bad-token".into()), "{wrong}");
        assert!(!refused.text.contains(secret));
    }
    // One that was taken back by the next one, and one that ran out.
    let second = gate.invite("web-1");
    assert_eq!(Agent::join(&gate, &invitation.token, "a").map(|_| ()).unwrap_err().code().1, "bad-token");
    gate.world.pass(Span::hours(1));
    assert_eq!(Agent::join(&gate, &second.token, "a").map(|_| ()).unwrap_err().code().1, "bad-token");
    // Who guesses is answered no more; who has a good one is, a minute later.
    let mut last = (0, String::new());
    for _ in 0..40 {
        last = Agent::join(&gate, &Token(format!("{id}.guess")), "a").map(|_| ()).unwrap_err().code();
    }
    assert_eq!(last, (429, "too-many-attempts".into()));
    gate.world.pass(Span::minutes(1));
    let third = gate.invite("web-1");
    assert!(Agent::join(&gate, &third.token, "a").is_ok());
}

#[test]
fn a_node_joins_anew_only_when_a_person_says_so() {
    let gate = Gate::opened();
    let agent = gate.agent("web-1");
    let admin = &gate.world.admin;
    let refused = gate.world.post(admin, "/v1/nodes/web-1/join-token", &json!({}));
    assert_eq!(refused.code(), (409, "node-joined".into()));
    assert_eq!(gate.world.post(admin, "/v1/nodes/web-1/rejoin", &json!({ "reason": " " })).code(), (422, "reason-missing".into()));
    assert_eq!(gate.world.post(admin, "/v1/nodes/web-9/join-token", &json!({})).status, 404);
    let long = gate.world.post(admin, "/v1/nodes/web-2/join-token", &json!({ "valid": "8d" }));
    assert_eq!(long.code(), (422, "bad-validity".into()));
    let viewer = gate.world.token("v", "viewer", &[], None);
    assert_eq!(gate.world.post(&viewer, "/v1/nodes/web-2/join-token", &json!({})).code(), (403, "forbidden".into()));

    let again = gate.world.post(admin, "/v1/nodes/web-1/rejoin", &json!({ "reason": "a new disk" })).good();
    assert_eq!(agent.poll(&gate, 0, 0).code(), (403, "agent-revoked".into()), "at once, not when somebody joins");
    let invitation: api::agent::Invitation = again["join"].as_str().unwrap().parse().unwrap();
    let next = Agent::join(&gate, &invitation.token, "b").map_err(|a| a.text).unwrap();
    assert_eq!(next.manifest(&gate, 0).installs.len(), 0, "whoever was woken by that has another manifest to ask for");

    gate.world.post(admin, "/v1/nodes/web-1/revoke", &json!({ "reason": "sold" })).good();
    assert_eq!(next.poll(&gate, 0, 0).code(), (403, "agent-revoked".into()));
    assert_eq!(shown(&gate, "web-1")["node"]["state"], "revoked");
}

#[test]
fn an_agent_renews_itself_and_comes_back_within_a_named_time() {
    let gate = Gate::opened();
    let mut agent = gate.agent("web-1");
    assert_eq!(agent.poll(&gate, 0, 0).status, 204);
    gate.world.pass(Span::days(20));
    let before = agent.copy("first");
    assert_eq!(agent.renew(&gate).status, 200);
    // The answer may be lost: the one before is good until the next one is presented, and for as long as what is under way takes.
    assert_eq!(before.poll(&gate, 0, 0).status, 204);
    assert_eq!(agent.poll(&gate, 0, 0).status, 204);
    assert_eq!(before.poll(&gate, 0, 0).status, 204);
    assert_eq!(findings(&gate, "web-1"), [""; 0]);

    // Weeks away: it can do nothing but renew, and by its own key alone.
    gate.world.pass(IDENTITY + Span::days(40));
    assert_eq!(agent.poll(&gate, 0, 0).code(), (403, "agent-expired".into()));
    let stranger = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let wrong = api::agent::Renew { csr: super::csr(&stranger), ..agent.renewal(&gate) };
    assert_eq!(agent.post(&gate, RENEW, &wrong).code(), (403, "key-changed".into()));
    assert_eq!(agent.renew(&gate).status, 200);
    assert_eq!(agent.poll(&gate, 0, 0).status, 204);
    gate.world.pass(IDENTITY + COME_BACK);
    assert_eq!(agent.renew(&gate).code(), (403, "agent-too-old".into()));
}

#[test]
fn a_copy_is_noticed_by_the_certificate_that_it_kept() {
    let gate = Gate::opened();
    let mut agent = gate.agent("web-1");
    let mut copy = agent.copy("elsewhere");
    assert_eq!(agent.poll(&gate, 0, 0).status, 204);
    assert_eq!(agent.renew(&gate).status, 200);
    assert_eq!(agent.poll(&gate, 0, 0).status, 204);
    gate.world.pass(CHANGE_OVER);
    assert_eq!(copy.renew(&gate).code(), (403, "agent-superseded".into()));
    assert_eq!(findings(&gate, "web-1"), ["node-cloned"]);
    let notices = |gate: &Gate| gate.world.get(&gate.world.admin, "/v1/notices").good().to_string().matches("node-cloned").count();
    let told = notices(&gate);
    assert!(told > 0);
    // It is told once, and does not heal by itself: not by waiting, and not by the right one's renewal.
    gate.world.pass(Span::days(8));
    assert_eq!(agent.renew(&gate).code(), (403, "agent-cloned".into()));
    assert!(findings(&gate, "web-1").contains(&String::from("node-cloned")));
    assert_eq!(notices(&gate), told);
    assert_eq!(shown(&gate, "web-1")["node"]["state"], "cloned");
    gate.world.post(&gate.world.admin, "/v1/nodes/web-1/rejoin", &json!({ "reason": "the copy is gone" })).good();
    assert_eq!(findings(&gate, "web-1"), [""; 0]);
}

#[test]
fn a_copy_is_noticed_by_its_start() {
    let gate = Gate::opened();
    let agent = gate.agent("web-1");
    let copy = agent.copy("second");
    let report = |a: &Agent| a.report(&gate, 0, &json!([])).status;
    assert_eq!(report(&agent), 200);
    // This may be a restart; the last words of the one before come late.
    assert_eq!((report(&copy), report(&agent), report(&copy)), (200, 200, 200));
    assert_eq!(findings(&gate, "web-1"), [""; 0]);
    gate.world.pass(CHANGE_OVER);
    assert_eq!(agent.report(&gate, 0, &json!([])).code(), (403, "agent-cloned".into()));
    assert_eq!(findings(&gate, "web-1"), ["node-cloned"]);
}

#[test]
fn a_copy_that_only_asks_is_noticed_and_a_used_string_does_not_wash_it_clean() {
    let gate = Gate::opened();
    let (version, _) = gate.store_version();
    let fetch = |generation: i64, instance: &str| {
        let wanted = api::agent::Fetch { secret: "blob-tls".into(), version, generation, instance: Some(instance.into()) };
        serde_json::to_value(wanted).unwrap()
    };
    for only_polls in [true, false] {
        let name = if only_polls { "web-1" } else { "web-2" };
        let invitation = gate.invite(name);
        let agent = Agent::join(&gate, &invitation.token, "first").map_err(|a| a.text).unwrap();
        let generation = agent.manifest(&gate, 0).generation;
        let thief = agent.copy("second");
        let asks = |who: &Agent| match only_polls {
            true => who.poll(&gate, generation, 0).status,
            false => who.post(&gate, FETCH, &fetch(generation, &who.instance)).status,
        };
        let good = if only_polls { 204 } else { 200 };
        assert_eq!((asks(&agent), asks(&thief), asks(&agent), asks(&thief)), (good, good, good, good), "it may be a restart");
        assert_eq!(findings(&gate, name), [""; 0]);
        gate.world.pass(CHANGE_OVER);
        asks(&agent);
        assert_eq!(findings(&gate, name), ["node-cloned"]);
        for who in [&agent, &thief] {
            assert_eq!(who.post(&gate, FETCH, &fetch(generation, &who.instance)).code(), (403, "agent-cloned".into()));
            assert_eq!(who.poll(&gate, generation, 0).status, 204, "manifests still reach whoever it is");
        }
        let again = PrivateKey::from_der(agent.key.expose_pkcs8()).unwrap();
        let refused = Agent::join_with(&gate, &invitation.token, "third", again).map(|_| ()).unwrap_err();
        assert_eq!(refused.code(), (401, "bad-token".into()));
        assert_eq!(findings(&gate, name), ["node-cloned"]);
    }
}

#[test]
fn what_leaves_the_inventory_is_nobody_once_a_person_prunes() {
    let gate = Gate::opened();
    let agent = gate.agent("web-1");
    assert_eq!(agent.poll(&gate, 0, 0).status, 204);
    let mut fleet = crate::support::fleet();
    fleet["node"] = json!([{ "name": "web-2", "region": "eu", "secrets": ["blob-tls"] }]);
    let apply = |dry_run: bool, prune: bool| {
        let body = json!({ "fleet": fleet, "dry_run": dry_run, "prune": prune });
        let applied = gate.world.post(&gate.world.admin, "/v1/fleet", &body).good();
        let of = applied["changes"].as_array().unwrap().iter().filter(|c| c["kind"] == "node" && c["name"] == "web-1");
        let polled = agent.poll(&gate, 0, 0);
        let code = if polled.status == 204 { (204, String::new()) } else { polled.code() };
        (of.map(|c| c["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), code)
    };
    let good = (204, String::new());
    assert_eq!(apply(true, true), (vec!["retire".into()], good.clone()), "only said");
    assert_eq!(apply(false, false), (vec!["left-over".into()], good.clone()), "named, and left alone");
    assert_eq!(apply(false, true), (vec!["retire".into()], (403, "node-retired".into())));
    assert_eq!(gate.world.get(&gate.world.admin, "/v1/nodes/web-1/manifest").status, 404);
    // One that comes back is another one: it has to join again.
    gate.apply(&["blob-tls"]);
    assert_eq!(agent.poll(&gate, 0, 0).code(), (403, "agent-revoked".into()));
    assert!(Agent::join(&gate, &gate.invite("web-1").token, "again").is_ok());
}

#[test]
fn silence_is_a_finding_and_a_word_ends_it() {
    let gate = Gate::opened();
    let agent = gate.agent("web-1");
    gate.world.pass(engine::nodes::SILENT_AFTER - Span::seconds(1));
    assert_eq!(findings(&gate, "web-1"), [""; 0]);
    gate.world.pass(Span::seconds(1));
    assert_eq!(findings(&gate, "web-1"), ["node-silent"]);
    assert_eq!(shown(&gate, "web-1")["node"]["state"], "silent");
    assert_eq!(agent.report(&gate, 0, &json!([])).status, 200);
    settle(&gate);
    assert_eq!(findings(&gate, "web-1"), [""; 0]);
}

#[test]
fn certificates_of_an_earlier_life_of_the_store_are_good_when_a_person_says_so() {
    let gate = Gate::opened();
    let agent = gate.agent("web-1");
    assert_eq!(agent.poll(&gate, 0, 0).status, 204);
    let url = format!("sqlite:{}", gate.world.dir.path().join("store.db").display());
    server::restore::restored(&url, "a test").unwrap();
    assert_eq!(agent.poll(&gate, 0, 0).code(), (403, "other-epoch".into()));
    let readmitted = gate.world.post(&gate.world.admin, "/v1/readmit-nodes", &json!({ "reason": "restored from yesterday" })).good();
    assert_eq!(readmitted["certificates"], 1);
    // The agent has seen a later generation than the restored store: the next one is later still.
    assert_eq!(agent.poll(&gate, 7, 0).status, 200);
    assert_eq!(agent.manifest(&gate, 7).generation, 8);
}
