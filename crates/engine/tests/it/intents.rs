//! What cannot be undone is an intent: its content and hash, how many had to approve it, and who did.

use crate::world::{Ca, World, person, t};
use domain::Span;
use engine::intent::Intent;
use serde_json::Value;

const FLEET: &str = "[[team]]\nname = \"web\"\ncontacts = [{ channel = \"log\" }]\n[[roots]]\nname = \"corp\"\npem = \"\"\"\nROOTS\"\"\"\n\
    [[secret]]\nname = \"www\"\nkind = \"certificate\"\nteam = \"web\"\n";
const TARGETS: &str = "[[target]]\nname = \"a\"\nsecret = \"www\"\nendpoint = \"tls://a.example:443\"\nroots = \"corp\"\n\
    [[target]]\nname = \"b\"\nsecret = \"www\"\nendpoint = \"tls://b.example:443\"\nroots = \"corp\"\n";

fn intents(w: &World) -> Vec<(String, String, Value)> {
    let sql = "SELECT subject, reason, body FROM journal WHERE action = 'intent.approved' ORDER BY epoch, seq";
    let rows = w.engine.store().read(|tx| tx.query(sql, &[])).unwrap();
    rows.iter().map(|r| (r.text(0).unwrap().into(), r.text(1).unwrap().into(), serde_json::from_str(r.text(2).unwrap()).unwrap())).collect()
}

#[test]
fn retiring_pruning_and_forcing_are_journaled_as_intents() {
    let mut w = World::new(t("2026-03-01T00:00:00Z"));
    let ca = Ca::new(t("2020-01-01T00:00:00Z"), t("2040-01-01T00:00:00Z"));
    let fleet = FLEET.replace("ROOTS", &ca.roots());
    w.apply(&(fleet.clone() + TARGETS));
    assert_eq!(intents(&w), []);

    w.engine.retire_target("a", "the region was given up", &person(), &w.tick()).unwrap();
    let (subject, reason, body) = intents(&w).remove(0);
    assert_eq!((subject.as_str(), reason.as_str()), ("target/a", "the region was given up"));
    assert_eq!((&body["what"], &body["approvals_required"]), (&"retire".into(), &1.into()));
    assert_eq!(body["approved_by"], serde_json::json!(["test/operator"]));
    assert_eq!(body["content"]["endpoint"], "tls://a.example:443");
    let again = Intent::new("retire", "target/a", body["content"].clone());
    assert_eq!(body["hash"], again.hash().to_string(), "the hash is that of what was done");

    let prune = engine::inventory::Options { prune: true, ..Default::default() };
    let applied = w.engine.apply(&api::fleet::parse(&fleet).unwrap(), &prune, &person(), &w.tick()).unwrap();
    let (subject, _, body) = intents(&w).remove(1);
    assert_eq!((subject.as_str(), &body["what"], &body["content"]["plan"]), ("inventory", &"prune".into(), &applied.plan.into()));
    assert_eq!(body["content"]["changes"], serde_json::json!({ "retire target": 1 }));

    // An ordinary renewal is no intent; what a person had to accept is one.
    let leaf = |names: &[&str]| ca.leaf(names, w.now - Span::days(1), w.now + Span::days(90));
    let ((one, one_key), (two, two_key), (three, three_key)) = (leaf(&["a.example"]), leaf(&["a.example"]), leaf(&["b.example"]));
    w.store("www", &one, &one_key).unwrap();
    w.store("www", &two, &two_key).unwrap();
    assert_eq!(intents(&w).len(), 2);
    assert!(w.store("www", &three, &three_key).is_err());
    w.store_accepting("www", &three, &three_key).unwrap();
    let (subject, _, body) = intents(&w).remove(2);
    assert_eq!((subject.as_str(), &body["what"], &body["content"]["version"]), ("secret/www", &"force".into(), &3.into()));
    assert!(body["content"]["changes"].to_string().contains("b.example"), "{body}");
    assert!(body["content"]["leaves"].to_string().contains(&three[0].fingerprint().to_string()), "{body}");
}
