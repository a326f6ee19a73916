//! Releases: what is sent, and what people read.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::canned::Canned;

fn release(id: i64, build: &str, verdict: &str, slack: Option<i64>) -> Value {
    let ship_by = slack.map(|_| "2026-12-24T00:00:00Z");
    json!({
        "id": id, "service": "storage", "team": "storage", "build": build, "train": "monthly", "status": "planned",
        "created_at": "2026-11-01T00:00:00Z", "planned_at": "2027-01-13T00:00:00Z", "first_planned_at": "2026-12-20T00:00:00Z",
        "ship_by": ship_by, "slack_seconds": slack, "verdict": verdict, "reason": "*.blob is served until 2027-02-22T20:29:53Z",
        "stages": [{ "region": "eu", "status": "planned", "planned_at": "2027-01-20T00:00:00Z", "changed_at": "2026-11-01T00:00:00Z" }],
        "carries": [{ "secret": "*.blob", "version": 3, "newest_version": 4 }],
        "findings": [{ "subject": "release/12", "code": "release-late", "level": "notice", "teams": ["storage"], "since": "2026-11-01T00:00:00Z",
            "until": "2027-02-22T20:29:53Z", "detail": "it is late", "next_step": "ship it before others" }]
    })
}

#[test]
fn the_queue_says_what_ships_first_and_why() {
    let page = json!({ "items": [
        release(12, "2013.1", "late", Some(-20 * 86_400)),
        release(13, "2013.2", "in-time", Some(31 * 86_400)),
        release(14, "2013.3", "undated", None),
        release(15, "2013.4", "carries-nothing", None)
    ] });
    let server = Canned::new(vec![
        ("GET /v1/releases/queue?train=monthly&limit=100", 200, page),
        ("GET /v1/releases/queue?service=storage&limit=100", 200, json!({ "items": [release(13, "2013.2", "in-time", Some(0))] })),
        ("GET /v1/releases?limit=100", 200, json!({ "items": [release(13, "2013.2", "late", Some(-60))] })),
    ]);
    assert_snapshot!(server.run("release queue --train monthly"), @r#"
    ID  SERVICE  BUILD   STATUS   PLANNED                            SHIP BY                            SLACK      BECAUSE
    12  storage  2013.1  planned  2027-01-13 00:00:00Z, in 50 d 3 h  2026-12-24 00:00:00Z, in 30 d 3 h  20 d late  *.blob is served until 2027-02-22T20:29:53Z
    13  storage  2013.2  planned  2027-01-13 00:00:00Z, in 50 d 3 h  2026-12-24 00:00:00Z, in 30 d 3 h  31 d left  *.blob is served until 2027-02-22T20:29:53Z
    14  storage  2013.3  planned  2027-01-13 00:00:00Z, in 50 d 3 h  -                                  unknown    *.blob is served until 2027-02-22T20:29:53Z
    15  storage  2013.4  planned  2027-01-13 00:00:00Z, in 50 d 3 h  -                                  -          *.blob is served until 2027-02-22T20:29:53Z
    exit 1
    "#);
    assert_eq!(server.run("release queue --service storage").exit, 0);
    assert_eq!(server.run("release list").exit, 0, "a list judges nothing");
}

#[test]
fn a_release_is_shown_with_what_it_carries() {
    let server = Canned::new(vec![("GET /v1/releases/12", 200, release(12, "2013.1", "late", Some(-20 * 86_400)))]);
    assert_snapshot!(server.run("release show 12"), @r#"
    release  12
    service  storage
    build    2013.1
    owner    storage
    status   planned
    train    monthly
    planned  2027-01-13 00:00:00Z, in 50 d 3 h; first 2026-12-20T00:00:00Z
    ship by  2026-12-24 00:00:00Z, in 30 d 3 h
    slack    20 d late
    because  *.blob is served until 2027-02-22T20:29:53Z

    carries
    SECRET  VERSION  STORED  IN PRODUCTION
    *.blob  3        4       not observed

    stages
    REGION  STATUS   PLANNED                            SINCE
    eu      planned  2027-01-20 00:00:00Z, in 57 d 3 h  2026-11-01 00:00:00Z, 22 d 20 h ago

    findings
    LEVEL   CODE          UNTIL                          DETAIL      NEXT
    notice  release-late  2027-02-22 20:29:53Z, in 91 d  it is late  ship it before others
    exit 0
    "#);
}

#[test]
fn what_is_said_of_a_release_is_sent() {
    let good = || release(12, "2013.1", "in-time", Some(5));
    let calls: [(&str, &'static str, Value); 8] = [
        (
            "release create storage 2013.1 --train monthly --carries a --carries b --stage eu=2027-01-20 --stage us --reason why",
            "POST /v1/releases",
            json!({ "service": "storage", "build": "2013.1", "train": "monthly", "carries": ["a", "b"], "reason": "why",
                "stages": [{ "region": "eu", "planned_at": "2027-01-20T00:00:00Z" }, { "region": "us", "planned_at": null }] }),
        ),
        (
            "release plan 12 --planned 2027-01-10",
            "POST /v1/releases/12/plan",
            json!({ "planned_at": "2027-01-10T00:00:00Z", "reason": "" }),
        ),
        (
            "release plan 12 --train monthly --before 11 --not-before 2027-01-01",
            "POST /v1/releases/12/plan",
            json!({ "train": "monthly", "before": 11, "not_before": "2027-01-01T00:00:00Z", "reason": "" }),
        ),
        ("release delay 12 --by 14d", "POST /v1/releases/12/delay", json!({ "to": null, "by_seconds": 1_209_600, "reason": "" })),
        (
            "release stage 12 eu --status deployed",
            "POST /v1/releases/12/stage",
            json!({ "region": "eu", "planned_at": null, "status": "deployed", "reason": "" }),
        ),
        ("release built 12", "POST /v1/releases/12/status", json!({ "status": "built", "reason": "" })),
        ("release deployed 12 --reason done", "POST /v1/releases/12/status", json!({ "status": "deployed", "reason": "done" })),
        ("release cancel 12", "POST /v1/releases/12/status", json!({ "status": "cancelled", "reason": "" })),
    ];
    let server = Canned::new(calls.iter().map(|(_, route, _)| (*route, 200, good())).collect());
    for (n, (call, _, body)) in calls.iter().enumerate() {
        assert_eq!(server.run(call).exit, 0, "{call}");
        assert_eq!(server.body(n), *body, "{call}");
    }
    for wrong in [
        "release delay 12",
        "release delay 12 --by 14d --to 2027-01-01",
        "release stage 12 eu",
        "release plan 12 --planned 2027-01-10 --train monthly",
        "release create storage 1 --stage eu=soon",
    ] {
        assert!(!Canned::is_call(wrong), "{wrong}");
    }
}
