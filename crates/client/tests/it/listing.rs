//! Lists and details, as they are shown.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::canned::{Canned, page};

fn secret(name: &str, served_until: &str, margin: Option<i64>, targets: i64, findings: i64) -> Value {
    counted(name, served_until, margin, targets, (targets, targets), findings)
}

fn counted(name: &str, served_until: &str, margin: Option<i64>, targets: i64, current: (i64, i64), findings: i64) -> Value {
    json!({
        "name": name, "kind": "certificate", "management": "managed", "renewal": "by-hand", "team": "storage", "service": "blob",
        "newest_version": 3, "served_until": served_until, "runway_seconds": margin, "margin_seconds": margin, "targets": targets,
        "current": current.0, "required": current.1, "findings": findings
    })
}

fn target(name: &str, current: i64, required: i64, level: &str) -> Value {
    json!({
        "name": name, "secret": "*.blob", "kind": "endpoint", "endpoint": "tls://blob.eu.example:443", "server_name": "a.blob.eu.example",
        "region": "eu", "stamp": "eu-1", "team": "storage", "state": "active", "production": true,
        "served_until": "2027-02-22T20:29:53Z", "margin_seconds": 86400, "current": current, "required": required, "level": level,
        "observed_at": "2026-11-23T20:29:23Z"
    })
}

fn finding(level: &str, detail: &str) -> Value {
    json!({ "code": "leaf-expiring", "level": level, "target": "blob-eu", "secret": "*.blob", "broken": false,
        "since": "2026-11-20T00:00:00Z", "until": "2027-02-22T20:29:53Z", "detail": detail })
}

#[test]
fn runway_is_sorted_by_margin_and_counts_what_is_current() {
    let server = Canned::new(vec![(
        "GET /v1/secrets?team=storage&limit=100",
        200,
        page(json!([
            counted("*.queue", "broken", None, 1, (0, 1), 2),
            counted("*.blob", "2027-02-22T20:29:53Z", Some(-3600), 2, (3, 4), 1),
            secret("mail", "2027-11-23T20:29:53Z", Some(275 * 86400), 1, 0),
            secret("unused", "unknown", None, 0, 1),
        ])),
    )]);
    assert_snapshot!(server.run("runway --team storage"), @r#"
    NAME     SERVED UNTIL                    MARGIN  CURRENT  OWNER    FINDINGS
    *.queue  broken now                           -  0 of 1   storage         2
    *.blob   2027-02-22 20:29:53Z, in 91 d     -1 h  3 of 4   storage         1
    mail     2027-11-23 20:29:53Z, in 365 d   275 d  1 of 1   storage         0
    unused   no targets                           -  -        storage         1
    exit 1
    "#);
    let json = server.run("runway --team storage --json");
    let first: Value = serde_json::from_str(json.out.lines().next().unwrap()).unwrap();
    assert_eq!((first["name"].as_str(), &first["current"], &first["required"], json.exit), (Some("*.queue"), &0.into(), &1.into(), 1));
    assert_eq!(server.lines().len(), 2, "one question for each call, however many secrets there are");
}

#[test]
fn runway_without_trouble_ends_well() {
    let server = Canned::new(vec![("GET /v1/secrets?limit=100", 200, page(json!([secret("mail", "9999-12-31T23:59:59Z", None, 1, 0)])))]);
    assert_snapshot!(server.run("runway"), @r#"
    NAME  SERVED UNTIL  MARGIN  CURRENT  OWNER    FINDINGS
    mail  no expiry          -  1 of 1   storage         0
    exit 0
    "#);
}

#[test]
fn what_a_server_says_cannot_move_the_cursor() {
    let server = Canned::new(vec![
        ("GET /v1/plan/findings?limit=100", 200, page(json!([]))),
        (
            "GET /v1/findings?limit=100",
            200,
            page(json!([finding("notice", "subject CN=\u{1b}[2J<script>\u{202e}gpj.exe\r\nincident none")])),
        ),
    ]);
    assert_snapshot!(server.run("findings"), @r#"
    LEVEL   CODE           SUBJECT                   UNTIL                          DETAIL
    notice  leaf-expiring  target/blob-eu of *.blob  2027-02-22 20:29:53Z, in 91 d  subject CN=\u{1b}[2J<script>\u{202e}gpj.exe\u{d}\u{a}incident none
    exit 1
    "#);
}

#[test]
fn colours_only_where_somebody_looks() {
    let answers = || {
        vec![
            ("GET /v1/plan/findings?limit=100", 200, page(json!([]))),
            ("GET /v1/findings?limit=100", 200, page(json!([finding("incident", "it ends")]))),
        ]
    };
    assert!(Canned::new(answers()).colourful().run("findings").out.contains("\u{1b}[31mincident\u{1b}[0m"));
    assert!(!Canned::new(answers()).run("findings").out.contains('\u{1b}'));
}

/// What is planned stands before what is observed, and a place in either leads on from there.
#[test]
fn findings_are_one_list() {
    let plan = |n: u32| {
        json!({ "subject": format!("release/{n}"), "code": "release-late", "level": "notice", "teams": ["storage"], "since": "2026-11-23T00:00:00Z",
            "detail": "it is late", "next_step": "build it" })
    };
    let server = Canned::new(vec![
        ("GET /v1/plan/findings?limit=2", 200, page(json!([plan(7)]))),
        ("GET /v1/findings?limit=1", 200, json!({ "items": [finding("info", "it ends")], "next": "q" })),
        ("GET /v1/findings?limit=2&after=q", 200, page(json!([finding("info", "it ends too")]))),
        ("GET /v1/plan/findings?limit=1", 200, json!({ "items": [plan(7)], "next": "p" })),
        ("GET /v1/plan/findings?limit=2&after=p", 200, page(json!([plan(8)]))),
        ("GET /v1/findings?limit=1", 200, page(json!([]))),
        ("GET /v1/findings?limit=100&secret=a", 200, page(json!([]))),
    ]);
    assert_snapshot!(server.run("findings --limit 2"), @r#"
    LEVEL   CODE           SUBJECT                   UNTIL                          DETAIL
    notice  release-late   release/7                 -                              it is late
    info    leaf-expiring  target/blob-eu of *.blob  2027-02-22 20:29:53Z, in 91 d  it ends
    ! there are more: --all shows all, --after q goes on from here
    exit 1
    "#);
    assert_eq!(server.run("findings --limit 2 --after q").exit, 0, "the first list is not begun again");
    assert_eq!(server.run("findings --limit 1").talk, "there are more: --all shows all, --after plan.p goes on from here\n");
    let last = server.run("findings --limit 2 --after plan.p --json");
    assert_eq!((last.out, last.exit), (format!("{}\n", plan(8)), 1));
    server.run("findings --secret a");
    assert_eq!(server.lines().len(), 7);
}

#[test]
fn lists_say_where_they_go_on() {
    let server = Canned::new(vec![
        ("GET /v1/notices?limit=1", 200, json!({ "items": [], "next": "p 2" })),
        ("GET /v1/secrets?limit=1000", 200, json!({ "items": [secret("a", "unknown", None, 0, 0)], "next": "p2" })),
        ("GET /v1/secrets?limit=1000&after=p2", 200, json!({ "items": [secret("b", "unknown", None, 0, 0)] })),
    ]);
    assert_snapshot!(server.run("notice list --limit 1"), @r#"
    ! none of these
    ! there are more: --all shows all, --after p 2 goes on from here
    exit 0
    "#);
    assert_snapshot!(server.run("secret list --all"), @r#"
    NAME  KIND                 VERSION  SERVED UNTIL  TARGETS  OWNER    FINDINGS
    a     managed certificate  3        no targets          0  storage         0
    b     managed certificate  3        no targets          0  storage         0
    exit 0
    "#);
}

#[test]
fn a_page_that_leads_nowhere_ends_the_list() {
    let server = Canned::new(vec![("GET /v1/secrets?limit=1000", 200, json!({ "items": [], "next": "x" }))]);
    assert_eq!(server.run("secret list --all").exit, 0);
    assert_eq!(server.lines().len(), 1);
}

#[test]
fn names_are_escaped_on_their_way() {
    let server = Canned::new(vec![]);
    server.run("target show ../tokens?x=1");
    server.run("secret show ..");
    assert_eq!(server.lines(), ["GET /v1/targets/..%2Ftokens%3Fx%3D1", "GET /v1/secrets/%2E%2E"]);
}

#[test]
fn a_secret_in_detail() {
    let mut detail = secret("*.blob", "2027-02-22T20:29:53Z", Some(-3600), 1, 1);
    detail["versions"] = json!([
        { "number": 2, "stored_at": "2026-11-22T20:29:53Z", "actor": "tokens/anna", "reason": "renewed", "expires_at": null,
          "instances": [
            { "scope": "all", "key_type": "ecdsa", "fingerprint_sha256": "ab12", "subject": "CN=*.blob", "issuer": "CN=CA",
              "not_before": "2026-11-22T00:00:00Z", "not_after": "2027-11-22T00:00:00Z", "has_key": true },
            { "scope": "eu", "key_type": "rsa", "fingerprint_sha256": "cd34", "subject": "CN=*.blob", "issuer": "CN=CA",
              "not_before": "2026-11-22T00:00:00Z", "not_after": "2027-11-22T00:00:00Z", "has_key": false } ] },
        { "number": 1, "stored_at": "2026-01-01T00:00:00Z", "actor": "tokens/anna", "reason": "", "expires_at": "2027-01-01T00:00:00Z",
          "instances": [] }
    ]);
    detail["target_list"] = json!([target("blob-eu", 2, 3, "notice")]);
    detail["finding_list"] = json!([finding("notice", "served instance belongs to version 1, version 2 is stored since 1 d")]);
    let server = Canned::new(vec![("GET /v1/secrets/%2A.blob", 200, detail)]);
    assert_snapshot!(server.run("cert show *.blob"), @r#"
    secret        *.blob
    kind          managed certificate, renewed by-hand
    owner         storage
    service       blob
    served until  2027-02-22 20:29:53Z, in 91 d
    margin        -1 h

    versions
    VERSION  STORED                                BY           SCOPE  KEY                 NOT AFTER                           SHA-256
          2  2026-11-22 20:29:53Z, 1 d ago         tokens/anna  all    ecdsa, sealed here  2027-11-22 00:00:00Z, in 363 d 3 h  ab12
          2  2026-11-22 20:29:53Z, 1 d ago         tokens/anna  eu     rsa                 2027-11-22 00:00:00Z, in 363 d 3 h  cd34
          1  2026-01-01 00:00:00Z, 326 d 20 h ago  tokens/anna  -      -                   2027-01-01 00:00:00Z, in 38 d 3 h   -

    targets
    NAME     SECRET  ENDPOINT                   STATE   CURRENT  SERVED UNTIL                   LEVEL   LOOKED AT
    blob-eu  *.blob  tls://blob.eu.example:443  active  2 of 3   2027-02-22 20:29:53Z, in 91 d  notice  2026-11-23 20:29:23Z, 30 s ago

    findings
    LEVEL   CODE           SECRET  TARGET   UNTIL                          DETAIL
    notice  leaf-expiring  *.blob  blob-eu  2027-02-22 20:29:53Z, in 91 d  served instance belongs to version 1, version 2 is stored since 1 d
    exit 0
    "#);
}

#[test]
fn a_target_in_detail() {
    let mut detail = target("blob-eu", 1, 2, "incident");
    detail["observations"] = json!([
        { "id": 7, "address": "192.0.2.1:443", "vantage": "local", "server_name": "a", "offer": "all", "method": "dialled",
          "last_at": "2026-11-23T20:29:23Z", "good_at": "2026-11-23T20:29:23Z", "fingerprint_sha256": "ab12", "streak": 31,
          "protocol": "TLSv1.3", "cipher": "TLS_AES_128_GCM_SHA256" },
        { "id": 8, "address": "192.0.2.2:443", "vantage": "eu", "server_name": "a", "offer": "rsa", "method": "dialled",
          "last_at": "2026-11-23T20:29:23Z", "good_at": null, "fingerprint_sha256": "ab12", "other_fingerprints_sha256": ["cd34"], "streak": 0,
          "protocol": "", "cipher": "", "failing_since": "2026-11-23T19:29:53Z", "blame": "network", "error": "connect: refused" }
    ]);
    detail["history"] = json!([{ "at": "2026-11-23T19:29:53Z", "change": "failed", "observation": 8, "detail": "connect: refused" }]);
    detail["findings"] = json!([]);
    let server = Canned::new(vec![("GET /v1/targets/blob-eu", 200, detail)]);
    assert_snapshot!(server.run("target show blob-eu"), @r#"
    target        blob-eu
    secret        *.blob
    endpoint      tls://blob.eu.example:443
    server name   a.blob.eu.example
    where         eu / eu-1
    owner         storage
    state         active
    current       1 of 2
    served until  2027-02-22 20:29:53Z, in 91 d
    looked at     2026-11-23 20:29:23Z, 30 s ago

    observations
    ADDRESS        VANTAGE  OFFER  METHOD   LAST                            PRESENTED (SHA-256)    STREAK  TLS      FAILURE
    192.0.2.1:443  local    all    dialled  2026-11-23 20:29:23Z, 30 s ago  ab12                       31  TLSv1.3  -
    192.0.2.2:443  eu       rsa    dialled  2026-11-23 20:29:23Z, 30 s ago  ab12 (sometimes cd34)       0  -        connect: refused (network, since 2026-11-23 19:29:53Z, 1 h ago)

    history
    AT                             CHANGE  PRESENTED (SHA-256)  DETAIL
    2026-11-23 19:29:53Z, 1 h ago  failed  -                    connect: refused
    exit 0
    "#);
}

fn incident(state: &str) -> Value {
    json!({
        "id": 12, "subject": "certificate/ab12", "title": "*.blob ends in 24 d", "code": "leaf-expiring", "state": state, "page": true,
        "opened_at": "2026-11-22T20:29:53Z", "quiet_until": null, "acknowledged_by": null, "until": "2026-12-17T20:29:53Z",
        "ended_at": null, "open_lines": 2, "proven_lines": 1, "retired_lines": 0, "teams": ["storage", "edge"], "services": ["blob"],
        "repeats": 3, "root_cause": null
    })
}

#[test]
fn incidents() {
    let server = Canned::new(vec![
        ("GET /v1/incidents?limit=100", 200, page(json!([incident("opened")]))),
        ("GET /v1/incidents?all=true&limit=100", 200, page(json!([incident("reviewed")]))),
    ]);
    assert_snapshot!(server.run("incident list"), @r#"
    ID  STATE   UNTIL                          OPEN    TEAMS         OPENED                         TITLE
    12  opened  2026-12-17 20:29:53Z, in 24 d  2 of 3  storage edge  2026-11-22 20:29:53Z, 1 d ago  *.blob ends in 24 d (REPEATS 3)
    exit 1
    "#);
    assert_snapshot!(server.run("incident list --closed"), @r#"
    ID  STATE     UNTIL  OPEN    TEAMS         OPENED                         TITLE
    12  reviewed  -      2 of 3  storage edge  2026-11-22 20:29:53Z, 1 d ago  *.blob ends in 24 d (REPEATS 3)
    exit 0
    "#);
}

#[test]
fn an_incident_in_detail() {
    let mut detail = incident("opened");
    detail["lines"] = json!([
        { "id": 1, "secret": "*.blob", "target": "blob-eu", "code": "leaf-expiring", "detail": "serves version 1", "opened_at": "2026-11-22T20:29:53Z" },
        { "id": 2, "secret": "*.blob", "target": "blob-us", "code": "leaf-expiring", "detail": "served version 1",
          "opened_at": "2026-11-22T20:29:53Z", "closed_at": "2026-11-23T10:00:00Z", "how": "observed", "evidence": "7 9" }
    ]);
    detail["actions"] = json!([{ "id": 5, "what": "flag releases", "owner": "storage", "due_at": "2027-01-01T00:00:00Z" }]);
    detail["review"] = json!("Line one\nline \u{1b}[1mtwo");
    let server = Canned::new(vec![("GET /v1/incidents/12", 200, detail)]);
    assert_snapshot!(server.run("incident show 12"), @r#"
    incident   12
    title      *.blob ends in 24 d
    state      opened
    urgent     yes: somebody is woken
    repeats    INCIDENT 3
    subject    certificate/ab12
    teams      storage edge
    services   blob
    opened     2026-11-22 20:29:53Z, 1 d ago
    outage at  2026-12-17 20:29:53Z, in 24 d
    lines      2 open, 1 proven, 0 retired

    lines
    LINE  STATE           SECRET  TARGET   CODE           DETAIL
       1  open            *.blob  blob-eu  leaf-expiring  serves version 1
       2  observed (7 9)  *.blob  blob-us  leaf-expiring  served version 1

    corrective actions
    ACTION  OWNER    DUE                                DONE     WHAT
         5  storage  2027-01-01 00:00:00Z, in 38 d 3 h  not yet  flag releases

    review
      Line one
      line \u{1b}[1mtwo
    exit 0
    "#);
}

fn status() -> Value {
    json!({
        "version": "0.1.0", "store_id": "s1", "epoch": 1, "now": "2026-11-23T20:29:50Z", "sealed": false, "initialised": true,
        "clock_doubts": [], "secrets": 4, "targets": 9, "open_incidents": 0, "outbox_waiting": 0, "outbox_stuck": 0,
        "last_sweep": "2026-11-20T00:00:00Z", "findings": []
    })
}

#[test]
fn status_in_order_and_not() {
    let mut bad = status();
    bad["sealed"] = json!(true);
    bad["open_incidents"] = json!(2);
    bad["clock_doubts"] = json!(["the system does not say that it is synchronised"]);
    bad["last_sweep"] = json!(null);
    bad["findings"] = json!([finding("notice", "no sweep for 8 d")]);
    assert_snapshot!(Canned::new(vec![("GET /v1/status", 200, status())]).run("status"), @r#"
    store             s1, epoch 1
    version           0.1.0
    time there        2026-11-23 20:29:50Z, 3 s ago
    vault             open
    secrets           4
    targets           9
    open incidents    0
    messages waiting  0
    messages stuck    0
    last sweep        2026-11-20 00:00:00Z, 3 d 20 h ago
    exit 0
    "#);
    assert_snapshot!(Canned::new(vec![("GET /v1/status", 200, bad)]).run("status"), @r#"
    store             s1, epoch 1
    version           0.1.0
    time there        2026-11-23 20:29:50Z, 3 s ago
    vault             sealed; open it with `perennial unseal`
    secrets           4
    targets           9
    open incidents    2
    messages waiting  0
    messages stuck    0
    last sweep        never
    clock doubted     the system does not say that it is synchronised

    findings of the store
    LEVEL   CODE           SECRET  TARGET   UNTIL                          DETAIL
    notice  leaf-expiring  *.blob  blob-eu  2027-02-22 20:29:53Z, in 91 d  no sweep for 8 d
    exit 1
    "#);
    let mut fresh = status();
    (fresh["sealed"], fresh["initialised"]) = (json!(true), json!(false));
    assert_eq!(Canned::new(vec![("GET /v1/status", 200, fresh)]).run("status").exit, 0);
}

#[test]
fn what_is_stored_and_ends() {
    let ending = json!({ "secret": "mail", "version": 2, "scope": "all", "not_after": "2027-02-22T20:29:53Z", "fingerprint_sha256": "ab" });
    let server = Canned::new(vec![
        ("GET /v1/expiring?within=129600s&limit=100", 200, page(json!([ending]))),
        ("GET /v1/expiring/weeks?within=15552000s", 200, json!([{ "region": "eu", "week": "2027-W08", "count": 3 }])),
    ]);
    assert_snapshot!(server.run("expiring --within 1d12h"), @r#"
    NOT AFTER                      SECRET  VERSION  SCOPE  SHA-256
    2027-02-22 20:29:53Z, in 91 d  mail          2  all    ab
    exit 0
    "#);
    assert_snapshot!(server.run("expiring --weeks"), @r#"
    WEEK      REGION  CERTIFICATES
    2027-W08  eu                 3
    exit 0
    "#);
}

#[test]
fn the_journal() {
    let report = |intact| {
        json!({ "intact": intact, "entries": 10, "epochs": 1, "faults": if intact { json!([]) } else { json!(["entry 1:4 was changed"]) },
            "head": "1:10:ab" })
    };
    let entry = json!({ "epoch": 1, "seq": 4, "at": "2026-11-23T20:29:52Z", "actor": "tokens/anna", "action": "incident.review",
        "subject": "incident/12", "reason": "", "body": {} });
    let answers =
        |intact| vec![("GET /v1/audit/verify", 200, report(intact)), ("GET /v1/audit?limit=100", 200, page(json!([entry.clone()])))];
    assert_snapshot!(Canned::new(answers(true)).run("audit verify"), @r#"
    journal  intact
    entries  10
    epochs   1
    head     1:10:ab
    ! write the head down elsewhere and give it to --head next time: a journal whose end was cut off looks intact without it
    exit 0
    "#);
    assert_snapshot!(Canned::new(answers(false)).run("audit verify"), @r#"
    journal  NOT INTACT
    entries  10
    epochs   1
    head     1:10:ab
      fault: entry 1:4 was changed
    ! write the head down elsewhere and give it to --head next time: a journal whose end was cut off looks intact without it
    exit 1
    "#);
    assert_snapshot!(Canned::new(answers(true)).run("audit list"), @r#"
    ENTRY  AT                             ACTOR        ACTION           SUBJECT      REASON
    1:4    2026-11-23 20:29:52Z, 1 s ago  tokens/anna  incident.review  incident/12  -
    exit 0
    "#);
}
