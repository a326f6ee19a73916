//! A secret is taken out of the inventory by hand: what had no way to an end gets one, and nothing is called resolved by it.

use crate::world::{World, entropy, person, t};
use domain::{Span, incident::State};
use engine::message::Kind;
use store::model::{finding, incident};

const TEAM: &str = "[[team]]\nname = \"web\"\ncontacts = [{ channel = \"log\" }]\n";
const ROOT: &str = "[[secret]]\nname = \"vendor-root\"\nkind = \"tracked\"\nteam = \"web\"\nexpires = \"2026-03-05T00:00:00Z\"\n";

/// A tracked secret that ends within hours, with an incident of its own.
fn ending() -> World {
    let mut w = World::new(t("2026-03-01T00:00:00Z"));
    w.apply(&(TEAM.to_owned() + ROOT));
    w.run_until(t("2026-03-04T18:00:00Z"), Span::hours(3));
    assert!(w.incidents()[0].facts.state.is_open());
    w
}

fn refused(result: engine::Result<()>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_secret_with_an_incident_of_its_own_is_retired_by_hand() {
    let mut w = ending();
    let gone = api::fleet::parse(TEAM).unwrap();
    let prune = engine::inventory::Options { prune: true, ..Default::default() };
    let pruned = w.engine.apply(&gone, &prune, &person(), &w.tick()).unwrap_err().to_string();
    assert!(pruned.contains("perennial secret retire vendor-root --reason"), "{pruned}");
    assert!(refused(w.engine.retire_secret("vendor-root", " ", &person(), &w.tick())).contains("needs a reason"));
    assert!(refused(w.engine.retire_secret("none", "x", &person(), &w.tick())).contains("none"));
    assert!(w.secret("vendor-root").retired_at.is_none(), "nothing was half done");

    w.engine.retire_secret("vendor-root", "the appliance\u{1b} is gone", &person(), &w.tick()).unwrap();
    let s = w.secret("vendor-root");
    assert_eq!((s.retired_at, s.open_findings), (Some(w.now), 0));
    w.run_until(w.now + Span::days(10), Span::hours(6));
    let it = w.incidents().remove(0);
    assert_eq!((w.incidents().len(), it.facts.state, it.facts.retired_lines, it.facts.proven_lines), (1, State::Retired, 1, 0));
    let (lines, findings) = w
        .engine
        .store()
        .read(|tx| Ok((incident::lines(tx, it.facts.id, false, 0, 10)?, finding::list(tx, Some(s.id), None, 10)?)))
        .unwrap();
    assert_eq!((lines[0].how.as_str(), lines[0].evidence.as_str()), ("retired", "retired by test/operator: the appliance\\u{1b} is gone"));
    assert_eq!(findings, []);
    assert!(w.notices().iter().all(|n| n.ended_at.is_some()), "{:?}", w.notices());
    {
        let told = w.post.got.borrow();
        assert!(!told.iter().any(|m| m.kind == Kind::IncidentResolved), "nobody proved anything");
        let over: Vec<_> = told.iter().filter(|m| m.kind == Kind::IncidentRetired).collect();
        assert_eq!((over.len(), &over[0].evidence), (1, &vec![lines[0].evidence.clone()]));
        assert!(over[0].next_step.starts_with("nothing looks at it any more"), "{}", over[0].next_step);
    }
    // It is an intent, and what was decided is in it.
    let sql = "SELECT body FROM journal WHERE action = 'intent.approved' AND subject = 'secret/vendor-root'";
    let body = w.engine.store().read(|tx| tx.query_one(sql, &[])?.text(0).map(str::to_owned)).unwrap();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["what"], &body["content"]["open_lines"]), (&"retire".into(), &serde_json::json!([lines[0].id])));

    // Now pruning has nothing against it; and a file that still names it brings it back, with an incident of its own again.
    w.engine.apply(&gone, &prune, &person(), &w.tick()).unwrap();
    w.apply(&(TEAM.to_owned() + ROOT));
    w.settle();
    assert!(w.secret("vendor-root").retired_at.is_none());
    assert!(w.incidents().iter().any(|i| i.facts.state.is_open()));
}

#[test]
fn a_secret_whose_targets_are_not_retired_stays() {
    let w = World::new(t("2026-03-01T00:00:00Z"));
    let target = |n: u32| format!("[[target]]\nname = \"t{n}\"\nsecret = \"www\"\nendpoint = \"tls://t{n}.example:443\"\n");
    let secret = "[[secret]]\nname = \"www\"\nkind = \"certificate\"\nteam = \"web\"\n";
    w.apply(&(TEAM.to_owned() + secret + &(0..7).map(target).collect::<String>()));
    let retire = || w.engine.retire_secret("www", "given up", &person(), &w.tick());
    let why = refused(retire());
    assert!(why.contains("still used by 7 targets: t0, t1, t2, t3, t4, …; retire what is gone first: perennial target retire t0"), "{why}");
    for n in 0..6 {
        w.engine.retire_target(&format!("t{n}"), "given up", &person(), &w.tick()).unwrap();
    }
    assert!(refused(retire()).contains("still used by 1 target: t6; retire"), "{}", refused(retire()));
    w.engine.retire_target("t6", "given up", &person(), &w.tick()).unwrap();
    retire().unwrap();
    assert_eq!(w.secret("www").retired_at, Some(w.now));
}

#[test]
fn who_stores_a_retired_value_anew_has_it_back() {
    let w = World::new(t("2026-03-01T00:00:00Z"));
    let put = || w.engine.put_opaque("hook-key", b"0123456789abcdef", None, "", &mut *entropy(5), &person(), &w.tick()).unwrap();
    put();
    w.engine.retire_secret("hook-key", "given up", &person(), &w.tick()).unwrap();
    assert!(w.secret("hook-key").retired_at.is_some());
    put();
    assert!(w.secret("hook-key").retired_at.is_none());
}

#[test]
fn a_plan_that_holds_no_longer_is_named_beside_the_one_that_does() {
    let w = World::new(t("2026-03-01T00:00:00Z"));
    let fleet = api::fleet::parse(TEAM).unwrap();
    let options = |plan: Option<&str>, dry_run| engine::inventory::Options { dry_run, plan: plan.map(Into::into), ..Default::default() };
    let dry = w.engine.apply(&fleet, &options(None, true), &person(), &w.tick()).unwrap();
    let refused = w.engine.apply(&fleet, &options(Some("0ld"), false), &person(), &w.tick()).unwrap_err().to_string();
    assert!(refused.contains("no longer those of plan 0ld") && refused.contains(&format!("those of {}", dry.plan)), "{refused}");
    w.engine.apply(&fleet, &options(Some(&dry.plan), false), &person(), &w.tick()).unwrap();
}
