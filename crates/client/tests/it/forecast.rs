//! What breaks, and what everything hangs on, as they are shown.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::canned::Canned;

const LEAF: &str = "ab12cd34ef56ab12cd34ef56ab12cd34ef56ab12cd34ef56ab12cd34ef56ab12";

fn answer(targets: Value, groups: Value, next: Option<&str>) -> Value {
    json!({ "until": "2027-11-23T20:29:53Z", "production": 9, "breaking": 4, "broken": 1, "first": "2026-11-23T20:29:53Z", "unknown": 12,
        "unknown_first": ["queue-eu", "queue-us"], "others": 3, "targets": targets, "groups": groups, "next": next })
}

fn group(at: &str, broken: bool, targets: u64, rescue: Value) -> Value {
    json!({ "breaks_at": at, "broken": broken, "certificate": LEAF, "position": 0, "targets": targets, "share_basis_points": targets * 10_000 / 9,
        "regions": ["asia", "eu", "us"], "secrets": 1, "first_secrets": ["*.blob"], "first_targets": ["blob-asia", "blob-eu"], "rescue": rescue })
}

#[test]
fn one_line_for_each_certificate_and_date() {
    let late = json!({ "release": 12, "name": "storage/2027.3", "arrives_at": "2027-02-25T00:00:00Z", "late_seconds": 185_407 });
    let absent = json!({ "release": 12, "name": "storage/2027.3", "arrives_at": "2026-11-01T00:00:00Z" });
    let groups = json!([
        group("2026-11-23T20:29:53Z", true, 1, absent),
        group("2027-02-22T20:29:53Z", false, 2, late),
        group("2027-03-22T20:29:53Z", false, 1, Value::Null),
    ]);
    let server = Canned::new(vec![(
        "GET /v1/forecast?until=2027-11-23T00%3A00%3A00Z&delay=12%3D14d%2Cmail%2F7%3D1d&silence=eu&grouped=true&limit=100",
        200,
        answer(json!([]), groups, None),
    )]);
    assert_snapshot!("forecast", server.run("forecast --until 2027-11-23 --delay 12=14d --delay mail/7=1d --silence-region eu"));
}

#[test]
fn one_value_for_each_target_over_all_pages() {
    let target = |name: &str| {
        json!({ "target": name, "secret": "*.blob", "service": "storage", "region": "eu", "stamp": "", "breaks_at": "2027-02-22T20:29:53Z",
            "broken": false, "certificate": LEAF, "position": 0 })
    };
    let server = Canned::new(vec![
        ("GET /v1/forecast?cancel=12&limit=10000", 200, answer(json!([target("a")]), json!([]), Some("p2"))),
        ("GET /v1/forecast?cancel=12&limit=10000&after=p2", 200, answer(json!([target("b")]), json!([]), None)),
    ]);
    let ended = server.run("forecast --cancel 12 --json --all");
    let names: Vec<Value> = ended.out.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["target"].clone()).collect();
    assert_eq!((names, ended.exit), (vec![json!("a"), json!("b")], 1));
}

#[test]
fn nothing_breaks() {
    let none = json!({ "until": "2027-11-23T20:29:53Z", "production": 9, "breaking": 0, "broken": 0, "unknown": 0 });
    let server = Canned::new(vec![("GET /v1/forecast?grouped=true&limit=100", 200, none)]);
    assert_snapshot!("forecast_of_nothing", server.run("forecast"));
}

#[test]
fn what_everything_hangs_on() {
    let items = json!([
        { "kind": "root", "what": "CN=Root", "unknown": false, "targets": 9, "of": 9, "services": ["storage"],
          "detail": "all 9 of 9 production targets, all of one service, hang on one root", "next_step": "keep another ready" },
        { "kind": "validation", "what": "unknown", "unknown": true, "targets": 2, "of": 9, "services": [],
          "detail": "of 2 of 9 production targets the validation is not known", "next_step": "prove a second" },
    ]);
    let server = Canned::new(vec![("GET /v1/spof", 200, json!({ "production": 9, "items": items, "more": 3 }))]);
    assert_snapshot!("spof", server.run("spof"));
}
