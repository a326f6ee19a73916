//! Looking now, and waiting for what is seen.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::canned::Canned;

fn detail(observed_at: &str, streak: u32, current: i64, error: Option<&str>) -> Value {
    json!({
        "name": "mx", "secret": "mail", "kind": "endpoint", "endpoint": "smtp://mx.example:25", "server_name": "mx.example", "region": "",
        "stamp": "", "team": "mail", "state": "active", "production": true, "served_until": "2027-02-22T20:29:53Z", "margin_seconds": 1,
        "current": current, "required": 2, "level": "ok", "observed_at": observed_at,
        "observations": [{ "id": 1, "address": "192.0.2.1:25", "vantage": "local", "server_name": "mx.example", "offer": "all",
            "method": "dialled", "last_at": observed_at, "streak": streak, "protocol": "", "cipher": "", "error": error }],
        "history": [], "findings": []
    })
}

const EARLIER: &str = "2026-11-23T20:29:50Z";

#[test]
fn a_newer_observation_is_waited_for_even_within_the_same_second() {
    let server = Canned::new(vec![
        ("GET /v1/targets/mx", 200, detail(EARLIER, 4, 1, None)),
        ("GET /v1/targets/mx", 200, detail(EARLIER, 4, 1, None)),
        ("GET /v1/targets/mx", 200, detail(EARLIER, 5, 2, None)),
        ("POST /v1/targets/mx/look", 200, json!({})),
    ]);
    assert_snapshot!(server.run("observe mx --wait"), @r#"
    mx: 2 of 2 current, served until 2027-02-22 20:29:53Z, in 91 d
    exit 0
    "#);
    assert_eq!(server.lines()[..2], ["GET /v1/targets/mx", "POST /v1/targets/mx/look"]);
    assert_eq!(server.lines().len(), 4);
}

#[test]
fn what_is_not_current_everywhere_is_due() {
    let server = Canned::new(vec![
        ("GET /v1/targets/mx", 200, detail(EARLIER, 4, 1, None)),
        ("GET /v1/targets/mx", 200, detail(crate::canned::NOW, 0, 1, Some("connect: refused"))),
        ("POST /v1/targets/mx/look", 200, json!({})),
    ]);
    assert_snapshot!(server.run("observe mx --wait"), @r#"
    mx: 1 of 2 current, served until 2027-02-22 20:29:53Z, in 91 d; 192.0.2.1:25 from local: connect: refused
    exit 1
    "#);
}

#[test]
fn waiting_has_an_end() {
    let server = Canned::new(vec![("GET /v1/targets/mx", 200, detail(EARLIER, 4, 2, None)), ("POST /v1/targets/mx/look", 200, json!({}))]);
    assert_snapshot!(server.run("observe mx --wait --timeout 1s"), @r#"
    ! mx: not seen anew within 1 s; is the server running its loops?
    exit 1
    "#);
}

#[test]
fn without_waiting_it_is_only_asked_for() {
    let server = Canned::new(vec![("POST /v1/targets/mx/look", 200, json!({})), ("POST /v1/targets/a/look", 200, json!({}))]);
    assert_snapshot!(server.run("observe mx a --reason reloaded"), @r#"
    ! mx: will be looked at now
    ! a: will be looked at now
    exit 0
    "#);
    assert_eq!(server.body(0), json!({ "reason": "reloaded" }));
}
