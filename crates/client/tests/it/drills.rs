//! Drills as they are asked for, shown and plotted.

use serde_json::{Value, json};

use crate::canned::{Canned, page, problem};

fn run(id: i64, day: &str, phase: &str, p95: Option<i64>) -> Value {
    json!({ "id": id, "name": "monthly", "secret": "www", "kind": "rotation", "node": null, "region": null, "within_seconds": 3600,
        "actor": "token/1", "reason": "quarterly", "phase": phase, "awaits": null, "detail": null,
        "started_at": format!("{day}T20:00:00Z"), "version": 7, "issued_at": format!("{day}T20:00:05Z"), "rollout": 12, "incident": null,
        "fault_at": null, "noticed_at": null, "lifted_at": null, "ended_at": format!("{day}T20:30:00Z"),
        "reasons": if phase == "failed" { json!([{ "why": "too-slow", "about": null, "detail": "the last target was observed after 2 h" }]) } else { json!([]) },
        "observed": 4, "left_behind": 0, "left": 0, "p50_seconds": p95.map(|p| p / 2), "p95_seconds": p95, "max_seconds": p95 })
}

fn detail(phase: &str) -> Value {
    let step = |wave: Value, step: &str, n: i64| json!({ "wave": wave, "step": step, "targets": 4, "p50_seconds": n, "p95_seconds": n + 1, "max_seconds": n + 2 });
    json!({ "run": run(3, "2026-11-03", phase, Some(600)), "steps": [step(json!(null), "issued", 5), step(json!(1), "whole", 90)],
        "paths": [{ "service": "shop", "p95_seconds": 600, "until": "2026-12-10T20:00:00Z" }, { "service": "mail", "p95_seconds": null, "until": null }] })
}

fn drill(name: &str, standing: &str) -> Value {
    json!({ "name": name, "secret": "www", "kind": "rotation", "every_seconds": 2_592_000, "within_seconds": 3600, "team": "web", "node": null,
        "region": null, "declared_at": "2026-10-01T00:00:00Z", "due_at": "2026-12-03T20:30:00Z", "overdue_at": "2026-12-10T20:30:00Z",
        "passed_at": "2026-11-03T20:30:00Z", "standing": standing, "latest": run(3, "2026-11-03", "passed", Some(600)), "findings": [] })
}

#[test]
fn how_drills_stand_and_when_they_start() {
    let listed = |standing| {
        let server = Canned::new(vec![("GET /v1/drills?limit=100", 200, page(json!([drill("monthly", standing)])))]);
        (server.run("drill list"), server.run("drill schedule"))
    };
    let (list, schedule) = listed("passed");
    assert!(["monthly", "rotation", "passed", "10 min", "1 h", "web"].iter().all(|w| list.out.contains(w)), "{list}");
    assert!(
        ["30 d", "2026-11-03 20:30:00Z", "2026-12-03 20:30:00Z, in 10 d", "2026-12-10 20:30:00Z"].iter().all(|w| schedule.out.contains(w)),
        "{schedule}"
    );
    assert_eq!((list.exit, schedule.exit), (0, 0));
    for standing in ["failed", "overdue"] {
        let (list, schedule) = listed(standing);
        assert_eq!((list.exit, schedule.exit), (1, 1), "{standing}");
    }
}

#[test]
fn what_a_rehearsal_took_is_shown_wave_by_wave_with_what_it_proves() {
    let server = Canned::new(vec![("GET /v1/drills/runs/3", 200, detail("passed"))]);
    let shown = server.run("drill show 3");
    assert_eq!(shown.exit, 0);
    for part in
        ["p50 5 min, p95 10 min, max 10 min", "4 observed, 0 left behind, 0 left", "issued", "whole", "1 min 30 s", "shop", "unknown: 12 h"]
    {
        assert!(shown.out.contains(part), "{part}: {shown}");
    }
    let server = Canned::new(vec![("GET /v1/drills/runs/3", 200, detail("failed"))]);
    let failed = server.run("drill show 3");
    assert!(failed.exit == 1 && failed.out.contains("too-slow") && failed.out.contains("observed after 2 h"), "{failed}");
}

#[test]
fn what_is_asked_for_is_sent_and_what_is_refused_is_said() {
    let server = Canned::new(vec![
        ("POST /v1/drills/run", 200, detail("asked")),
        ("POST /v1/drills/run", 409, problem(409, "drill-running", "drill 3 (monthly) is on its way in the same service", &[])),
        ("POST /v1/drills/runs/3/abort", 200, detail("aborted")),
    ]);
    assert_eq!(server.run("drill run --secret www --kind region-cut --region eu --within 45m --reason quarterly").exit, 0);
    let sent = server.body(0);
    assert_eq!((&sent["secret"], &sent["kind"], &sent["region"]), (&json!("www"), &json!("region-cut"), &json!("eu")));
    assert_eq!((&sent["within_seconds"], &sent["reason"]), (&json!(2700), &json!("quarterly")));
    let refused = server.run("drill run monthly --reason again");
    assert!(refused.exit == 1 && refused.talk.contains("drill 3 (monthly)") && refused.talk.contains("[drill-running]"), "{refused}");
    assert_eq!(server.run("drill abort 3 --reason mistaken").exit, 0);
    assert_eq!(server.body(2), json!({ "reason": "mistaken" }));
    for wrong in [
        "drill run --reason x",
        "drill run monthly --secret www --reason x",
        "drill run monthly",
        "drill run monthly --kind alert --reason x",
    ] {
        assert!(!Canned::is_call(wrong), "{wrong}");
    }
}

#[test]
fn the_plot_has_a_bar_for_each_rehearsal_and_the_mark_of_the_time_that_it_has() {
    let runs = json!([
        run(3, "2026-11-03", "failed", Some(7200)),
        run(2, "2026-10-03", "aborted", None),
        run(1, "2026-09-03", "passed", Some(1800))
    ]);
    let server = Canned::new(vec![("GET /v1/drills/runs?name=monthly&limit=100", 200, page(runs))]);
    let shown = server.run("drill history monthly");
    let plot: Vec<&str> = shown.out.lines().skip_while(|l| !l.starts_with("p95 over time")).skip(1).collect();
    assert_eq!(
        plot,
        [
            "2026-09-03 ##########         |                     30 min, passed",
            "2026-10-03                    |                     aborted",
            "2026-11-03 ###################|#################### 2 h, failed",
        ],
        "{shown}"
    );
    let all = Canned::new(vec![("GET /v1/drills/runs?limit=100", 200, page(json!([run(3, "2026-11-03", "passed", Some(60))])))]);
    let shown = all.run("drill history");
    assert!(shown.out.contains("monthly") && !shown.out.contains("p95 over time"), "{shown}");
    let json = server.run("drill history monthly --json");
    assert!(!json.out.contains("p95 over time"), "{json}");
    let empty = Canned::new(vec![("GET /v1/drills/runs?name=none&limit=100", 200, page(json!([])))]);
    let shown = empty.run("drill history none");
    assert!(shown.exit == 0 && !shown.out.contains('|'), "{shown}");
}
