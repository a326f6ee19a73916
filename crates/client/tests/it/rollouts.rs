//! Rollouts and revocations as they are shown and followed.

use serde_json::{Value, json};

use crate::canned::Canned;

fn rollout(state: &str, observed: i64, waits: Value) -> Value {
    json!({ "id": 12, "secret": "www", "version": 3, "from_version": 2, "kind": "ordinary", "state": state, "halted": false, "targets": 4,
        "begun": 2, "observed": observed, "left_behind": 0, "wave": "canary", "needs_a_person": false, "says": "every target was observed serving it",
        "created_at": "2026-11-23T20:00:00Z", "ended_at": null, "reason": "a new version", "actor": "perennial/rules",
        "begun_at": "2026-11-23T20:00:00Z", "halted_by": null, "halted_reason": null, "halted_at": null, "policy": "standard",
        "plan": "ab12cd34ef56ab12cd34ef56ab12cd34ef56ab12cd34ef56ab12cd34ef56ab12",
        "waves": [{ "title": "canary", "what": "canary", "share_percent": 10, "soak_seconds": 3600, "targets": 1, "begun": 1,
            "observed": observed.min(1), "left_behind": 0 }, { "title": "region eu", "what": "region", "share_percent": 25, "soak_seconds": 0,
            "targets": 3, "begun": observed, "observed": (observed - 1).max(0), "left_behind": 0 }],
        "waits": waits, "more_waits": 0, "left_behind_targets": [], "revocation": null, "takes_back": null, "taken_back_by": null })
}

fn waits(code: &str, text: &str) -> Value {
    json!([{ "code": code, "target": "t1", "until": null, "text": text }])
}

#[test]
fn what_it_waits_for_is_said_wave_by_wave() {
    let text = "the agent of n1, which serves t1, was last heard of on 2026-11-23T20:00:00Z";
    let server = Canned::new(vec![("GET /v1/rollouts/12", 200, rollout("running", 0, waits("node-silent", text)))]);
    let shown = server.run("rollout show 12");
    assert!(shown.out.contains("www version 3 (from 2)") && shown.out.contains(text) && shown.out.contains("region eu"), "{shown}");
    assert_eq!(shown.exit, 0);
    let planned = server.run("rollout plan 12");
    assert!(planned.out.contains("25 %") && planned.out.contains("plan ab12cd34"), "{planned}");
    let stuck = waits("quarantine-exceeded", "2 of the wave canary are dead and at most 0 may be left behind: t1, t2");
    let mut stuck = rollout("running", 0, stuck);
    stuck["needs_a_person"] = json!(true);
    let server = Canned::new(vec![
        ("GET /v1/rollouts/12", 200, stuck.clone()),
        ("GET /v1/rollouts?open=true&limit=100", 200, json!({ "items": [stuck], "next": null })),
    ]);
    assert_eq!((server.run("rollout show 12").exit, server.run("rollout list").exit), (1, 1), "it needs a person");
}

#[test]
fn it_is_followed_line_by_line_until_it_ends() {
    let answers = vec![
        ("GET /v1/rollouts/12", 200, rollout("running", 0, waits("told", "n1 is told"))),
        ("GET /v1/rollouts/12", 200, rollout("running", 1, waits("soak", "it is watched"))),
        ("GET /v1/rollouts/12", 200, rollout("done", 4, json!([]))),
    ];
    let server = Canned::new(answers.clone());
    let watched = server.run("rollout watch 12");
    let lines: Vec<&str> = watched.out.lines().collect();
    assert_eq!(
        lines,
        [
            "canary: 0 of 1 observed, 1 told",
            "waits: n1 is told",
            "canary: 1 of 1 observed, 1 told",
            "region eu: 0 of 3 observed, 1 told",
            "waits: it is watched",
            "region eu: 3 of 3 observed, 4 told",
            "done: every target was observed serving it"
        ]
    );
    assert_eq!(watched.exit, 0);
    let json = Canned::new(answers).run("rollout watch 12 --json");
    assert_eq!((json.out.lines().count(), json.exit), (3, 0), "{json}");
    let back = Canned::new(vec![("GET /v1/rollouts/12", 200, rollout("rolled-back", 1, json!([])))]);
    assert_eq!(back.run("rollout watch 12").exit, 1);
}

#[test]
fn what_is_asked_for_is_sent() {
    let server = Canned::new(vec![
        ("POST /v1/secrets/www/rollouts/critical", 200, rollout("waiting", 0, json!([]))),
        ("POST /v1/rollouts/12/rollback", 200, rollout("waiting", 0, json!([]))),
        ("POST /v1/rollouts/12/resume", 200, rollout("running", 0, json!([]))),
        ("GET /v1/rollouts?open=true&limit=100", 200, json!({ "items": [rollout("running", 1, json!([]))], "next": null })),
    ]);
    assert_eq!(server.run("rollout critical www --reason leaked").exit, 0);
    assert_eq!(server.run("rollout rollback 12 --reason slower").exit, 0);
    assert_eq!(server.run("rollout resume 12 --despite --reason odd").exit, 0);
    let listed = server.run("rollout list");
    assert!(listed.out.contains("2 → 3") && listed.out.contains("1/4"), "{listed}");
}

#[test]
fn a_revocation_is_shown_in_the_order_of_risk() {
    let one = json!({ "id": 1, "asked": ["issuer Test CA"], "deadline": "2026-11-24T20:29:53Z", "reason": "notice", "actor": "token/1",
        "created_at": "2026-11-23T20:29:53Z", "ended_at": null, "withdrawn_by": null, "withdrawn_for": null, "certificates": 2, "incident": 7, "secrets_total": 3,
        "secrets_replaced": 1, "secrets": [
            { "name": "www", "rollout": 12, "detail": "rollout 12 brings version 3", "done_at": null, "still_serving": 4, "targets": ["t1"] }] });
    let mut over = one.clone();
    (over["ended_at"], over["withdrawn_by"], over["withdrawn_for"]) = (one["created_at"].clone(), json!("token/1"), json!("not ours"));
    let server = Canned::new(vec![
        ("POST /v1/revocations", 200, one.clone()),
        ("POST /v1/revocations/1/withdraw", 200, over),
        ("GET /v1/revocations/1", 200, one.clone()),
        ("GET /v1/revocations/1/secrets?limit=100", 200, json!({ "items": one["secrets"], "next": null })),
        ("GET /v1/revocations?limit=100", 200, json!({ "items": [one], "next": null })),
    ]);
    let opened = server.run("revocation open --issuer TestCA --deadline 24h --reason notice");
    assert!(opened.out.contains("rollout 12 brings version 3") && opened.out.contains("and 2 more"), "{opened}");
    assert_eq!((server.run("revocation show 1").exit, server.run("revocation list").exit), (1, 1));
    assert_eq!(server.run("revocation secrets 1").exit, 1);
    let withdrawn = server.run("revocation withdraw 1 --reason notours");
    assert!(withdrawn.exit == 0 && withdrawn.out.contains("not ours"), "{withdrawn}");
}
