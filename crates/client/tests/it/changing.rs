//! Commands that change something: what is sent, and what is said.

use insta::assert_snapshot;
use pki::Authority;
use serde_json::{Value, json};

use crate::canned::{Canned, problem};

const FLEET: &str = "[fleet]\ndefault_owner = \"storage\"\n\n[[team]]\nname = \"storage\"\ncontacts = [{ channel = \"log\" }]\n\n[[secret]]\nname = \"mail\"\nkind = \"certificate\"\nmanagement = \"external\"\nteam = \"storage\"\n";

fn applied(done: bool, changes: Value) -> Value {
    json!({ "plan": "ab12", "done": done, "changes": changes })
}

#[test]
fn a_fleet_is_put_in_place() {
    let changes = json!([
        { "what": "add", "kind": "secret", "name": "mail", "fields": [] },
        { "what": "change", "kind": "target", "name": "mx", "fields": [{ "field": "region", "before": "", "after": "eu" }] },
        { "what": "left-over", "kind": "target", "name": "old", "fields": [] }
    ]);
    let server = Canned::new(vec![
        ("POST /v1/fleet", 200, applied(false, changes.clone())),
        ("POST /v1/fleet", 200, applied(true, changes)),
        ("POST /v1/fleet", 200, applied(true, json!([]))),
    ]);
    server.file("fleet.toml", FLEET.as_bytes());
    assert_snapshot!(server.run("apply --file @fleet.toml --dry-run"), @r#"
    + add secret mail
    ~ change target mx
        region: (nothing) -> eu
    ? left-over target old
    ! 2 changes would be made; to make exactly these: perennial apply --file @fleet.toml --plan ab12; 1 that the file does not name stay, --prune retires them
    exit 0
    "#);
    assert_snapshot!(server.run("apply --file @fleet.toml --plan ab12"), @r#"
    + add secret mail
    ~ change target mx
        region: (nothing) -> eu
    ? left-over target old
    ! 2 changes made; 1 that the file does not name stay, --prune retires them
    exit 0
    "#);
    assert_snapshot!(server.run("apply --file @fleet.toml"), @r#"
    ! nothing to change
    exit 0
    "#);
    assert_eq!(server.body(0)["dry_run"], true);
    assert_eq!(server.body(1)["plan"], "ab12");
    assert_eq!(server.body(1)["fleet"]["secret"][0]["name"], "mail");
    assert_eq!(server.asked()[0].token.as_deref(), Some("Bearer prn_test"));
}

#[test]
fn a_wrong_fleet_is_said_with_its_places_before_anything_is_sent() {
    let server = Canned::new(vec![]);
    server.file("fleet.toml", FLEET.replace("team = \"storage\"\n", "team = \"nobody\"\ncolour = 1\n").as_bytes());
    assert_snapshot!(server.run("apply --file @fleet.toml"), @r#"
    ! perennial: @fleet.toml has 2 problems; nothing was sent
    ! @fleet.toml:12:8: no team is called "nobody"; declare it with [[team]] or correct the name
    ! @fleet.toml:13:1: unknown key "colour"; possible here: dns_provider, expires, issued_by, issuers, key_type, keys, kind, lifetime, management, name, names, override, policy, profile, release_bound, renewal, rollout, service, spiffe_id, team, validation, window
    exit 2
    "#);
    server.file("broken.toml", b"[fleet\n");
    assert_eq!(server.run("apply --file @broken.toml").exit, 2);
    server.file("latin.toml", b"[fleet]\n# caf\xe9\n");
    assert_snapshot!(server.run("apply --file @latin.toml"), @r#"
    ! perennial: @latin.toml:2: this is not UTF-8, as TOML must be
    exit 2
    "#);
    assert!(server.lines().is_empty());
}

#[test]
fn what_the_server_says_by_path_is_shown_by_line() {
    let refusal = problem(422, "bad-fleet", "the fleet has problems", &["secret[0].team: there is no team storage", "something else"]);
    let server = Canned::new(vec![("POST /v1/fleet", 422, refusal)]);
    server.file("fleet.toml", FLEET.as_bytes());
    assert_snapshot!(server.run("apply --file @fleet.toml"), @r#"
    ! perennial: refused: the fleet has problems [bad-fleet]
    !   - @fleet.toml:12:8: there is no team storage
    !   - something else
    exit 1
    "#);
}

#[test]
fn a_dry_run_shows_what_is_wrong_with_a_rule_by_line() {
    let wrong = "calendar[0].freeze[1].rule: FREQ=HOURLY is not supported";
    let server = Canned::new(vec![("POST /v1/fleet", 422, problem(422, "bad-fleet", wrong, &[wrong]))]);
    let text = "[[calendar]]\nname = \"eu\"\nzone = \"Europe/Dublin\"\n[[calendar.freeze]]\nwhy = \"weekend\"\nweekly = \"fri 16:00 - mon 08:00\"\n\
                [[calendar.freeze]]\nwhy = \"night\"\nstart = \"2026-01-01\"\nlasts = \"8h\"\nrule = \"FREQ=HOURLY\"\n";
    server.file("fleet.toml", text.as_bytes());
    let answer = server.run("apply --dry-run --file @fleet.toml").to_string();
    assert!(answer.contains("@fleet.toml:11:8: FREQ=HOURLY is not supported"), "{answer}");
}

#[test]
fn a_retired_secret_has_to_leave_the_file_too() {
    let server = Canned::new(vec![("POST /v1/secrets/hook-key/retire", 200, json!({}))]);
    assert_snapshot!(server.run("secret retire hook-key --reason given_up"), @r#"
    ! hook-key: retired; take it out of fleet.toml too, or the next apply brings it back
    exit 0
    "#);
    assert_eq!(server.body(0), json!({ "reason": "given up" }));
}

fn stored(done: bool) -> Value {
    json!({
        "secret": "mail", "version": 2, "done": done,
        "instances": [{ "scope": "all", "key_type": "ecdsa", "fingerprint_sha256": "ab12" }],
        "differences": [
            { "field": "serial", "before": "01", "after": "02", "ordinary": true },
            { "field": "issuer", "before": "CN=Old", "after": "CN=New\u{202e}", "ordinary": false }
        ]
    })
}

#[test]
fn a_certificate_comes_in_with_several_instances() {
    let server = Canned::new(vec![("POST /v1/secrets/mail/versions", 200, stored(true))]);
    for name in ["a.pem", "a.key", "b.p12", "pw", "roots.pem"] {
        server.file(name, format!("{name} bytes\n").as_bytes());
    }
    let ended = server.run(
        "cert import mail --chain @a.pem --key @a.key --more scope=eu,p12=@b.p12,password-file=@pw --roots @roots.pem --accept-change \
         --reason renewed_by_hand",
    );
    assert_snapshot!(ended, @r#"
    FIELD   BEFORE  AFTER           NOTE
    serial  01      02              as in every renewal
    issuer  CN=Old  CN=New\u{202e}  CHANGES
    all  ecdsa  ab12
    ! mail: version 2 stored; nothing is renewed until production is seen to serve it
    exit 0
    "#);
    assert_eq!(
        server.body(0),
        json!({
            "instances": [
                { "scope": "all", "chain": "YS5wZW0gYnl0ZXMK", "key": "YS5rZXkgYnl0ZXMK" },
                { "scope": "eu", "chain": "Yi5wMTIgYnl0ZXMK", "password": "pw bytes" }
            ],
            "accept_change": true, "roots": "roots.pem bytes\n", "reason": "renewed by hand", "dry_run": false
        })
    );
}

#[test]
fn a_change_that_nobody_accepted_is_shown_with_all_differences() {
    let refusal = problem(422, "change-not-accepted", "issuer changes", &["issuer changes"]);
    let server =
        Canned::new(vec![("POST /v1/secrets/mail/versions", 422, refusal), ("POST /v1/secrets/mail/versions", 200, stored(false))]);
    server.file("a.pem", b"x");
    assert_snapshot!(server.run("cert import mail --chain @a.pem"), @r#"
    FIELD   BEFORE  AFTER           NOTE
    serial  01      02              as in every renewal
    issuer  CN=Old  CN=New\u{202e}  CHANGES
    ! perennial: refused: issuer changes [change-not-accepted]
    ! next: if these changes are meant, add --accept-change --reason "…"
    exit 1
    "#);
    // The second question stores nothing.
    assert_eq!((server.body(1)["dry_run"].clone(), server.body(1)["accept_change"].clone()), (json!(true), json!(true)));
    assert_eq!(server.lines().len(), 2);
}

#[test]
fn many_come_in_and_refusals_keep_their_lines() {
    let server =
        Canned::new(vec![("POST /v1/bulk", 200, json!({ "stored": 1, "refused_count": 1, "refused": [[2, "the key is another's"]] }))]);
    server.file("many.ndjson", b"{\"name\":\"a\"}\n\n\n{\"name\":\"b\"}\n");
    assert_snapshot!(server.run("cert import --bulk @many.ndjson"), @r#"
    line 4: the key is another's
    ! 1 stored, 1 refused
    exit 1
    "#);
    assert_eq!(server.asked()[0].body, b"{\"name\":\"a\"}\n{\"name\":\"b\"}\n");
    assert_snapshot!(server.run("cert import --bulk @many.ndjson --json"), @r#"
    {"stored":1,"refused_count":1,"refused":[[4,"the key is another's"]]}
    ! 1 stored, 1 refused
    exit 1
    "#);
}

#[test]
fn a_secret_never_comes_from_the_line() {
    let answer = json!({ "secret": "hook", "version": 1, "done": true, "instances": [], "differences": [] });
    let answers = || vec![("POST /v1/secrets/hook/opaque", 200, answer.clone())];
    let server = Canned::new(answers()).piping(b"s3cret\n");
    assert_snapshot!(server.run("secret put hook --expires 2027-01-01"), @r#"
    ! hook: version 1 stored, 7 bytes
    exit 0
    "#);
    assert_eq!(server.body(0), json!({ "value": "czNjcmV0Cg==", "expires_at": "2027-01-01T00:00:00Z", "reason": "" }));
    let server = Canned::new(answers()).typing(&["typed"]);
    server.run("secret put hook");
    assert_eq!(server.body(0)["value"], "dHlwZWQ=");
    let server = Canned::new(answers());
    assert_eq!((server.run("secret put hook").exit, server.lines().len()), (2, 0));
}

#[test]
fn incidents_go_their_way() {
    let incident = |state: &str, repeats: Option<i64>| {
        json!({
            "id": 12, "subject": "s", "title": "t", "code": "c", "state": state, "page": false, "opened_at": "2026-11-22T20:29:53Z",
            "quiet_until": "2026-11-24T20:29:53Z", "open_lines": 1, "proven_lines": 0, "retired_lines": 0, "teams": [], "services": [],
            "repeats": repeats
        })
    };
    let server = Canned::new(vec![
        ("POST /v1/incidents/12/acknowledge", 200, incident("acknowledged", None)),
        ("POST /v1/incidents/12/review", 200, incident("reviewed", Some(3))),
        ("POST /v1/actions/5/done", 200, json!({})),
    ]);
    assert_snapshot!(server.run("incident ack 12 --reason on_it"), @r#"
    ! incident 12: acknowledged; quiet until 2026-11-24 20:29:53Z, in 1 d; it closes when production is seen to be right
    exit 0
    "#);
    assert_snapshot!(server.run("incident review 12 --cause release-delayed --text it_waited --action flag_it;storage;2027-01-01"), @r#"
    ! incident 12: reviewed
    ! THIS REPEATS INCIDENT 3: the same root cause within a year; were its actions done?
    exit 0
    "#);
    assert_snapshot!(server.run("incident done 5"), @r#"
    ! action 5: done
    exit 0
    "#);
    assert_eq!(
        server.body(1),
        json!({ "cause": "release-delayed", "own_cause": "", "text": "it waited",
            "actions": [{ "what": "flag it", "owner": "storage", "due_at": "2027-01-01T00:00:00Z" }] })
    );
}

#[test]
fn a_token_is_shown_once_or_put_into_a_private_file() {
    let list = json!([
        { "id": 3, "name": "anna", "role": "owner", "teams": ["a", "b"], "vantage": null, "created_at": "2026-11-23T20:29:52Z",
          "expires_at": "2027-02-22T20:29:53Z", "revoked_at": null },
        { "id": 2, "name": "us", "role": "vantage", "teams": [], "vantage": "us", "created_at": "2026-11-23T20:29:52Z",
          "expires_at": null, "revoked_at": "2026-11-23T20:29:53Z" }
    ]);
    let made = json!({ "token": { "id": 4, "name": "eu", "role": "vantage", "teams": [], "vantage": "eu",
        "created_at": "2026-11-23T20:29:53Z", "expires_at": null, "revoked_at": null }, "value": "prn_new" });
    let server = Canned::new(vec![("POST /v1/tokens", 200, made), ("DELETE /v1/tokens/4", 200, json!({})), ("GET /v1/tokens", 200, list)]);
    assert_snapshot!(server.run("token create eu --role vantage --vantage eu"), @r#"
    prn_new
    ! token 4 of eu; it is not shown again
    exit 0
    "#);
    assert_snapshot!(server.run("token create eu --role vantage --vantage eu --out @token"), @r#"
    ! token 4 of eu is in @token
    exit 0
    "#);
    let file = server.folder.path().join("token");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "prn_new\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let again = server.run("token create eu --role vantage --vantage eu --out @token");
    assert_eq!((again.exit, server.lines().len()), (2, 2));
    assert_snapshot!(server.run("token list"), @r#"
    ID  NAME  ROLE     FOR  CREATED                        ENDS
     3  anna  owner    a b  2026-11-23 20:29:52Z, 1 s ago  2027-02-22 20:29:53Z, in 91 d
     2  us    vantage  us   2026-11-23 20:29:52Z, 1 s ago  revoked 2026-11-23 20:29:53Z, now
    exit 0
    "#);
    assert_snapshot!(server.run("token revoke 4"), @r#"
    ! token 4: revoked
    exit 0
    "#);
}

#[test]
fn a_token_that_was_refused_leaves_no_file() {
    let server = Canned::new(vec![("POST /v1/tokens", 403, problem(403, "forbidden", "an admin may do this", &[]))]);
    assert_eq!(server.run("token create eu --role admin --out @token").exit, 1);
    assert!(!server.folder.path().join("token").exists());
}

#[test]
fn the_store_is_opened() {
    let status = json!({
        "version": "0.1.0", "store_id": "s1", "epoch": 1, "now": "2026-11-23T20:29:50Z", "sealed": false, "initialised": true,
        "clock_doubts": [], "secrets": 0, "targets": 0, "open_incidents": 0, "outbox_waiting": 0, "outbox_stuck": 0,
        "last_sweep": null, "findings": []
    });
    let answers = || vec![("POST /v1/unseal", 200, status.clone()), ("POST /v1/kek/rotate", 200, json!({ "moved": 7 }))];
    let server = Canned::new(answers()).typing(&["correct horse", "correct horse"]);
    assert_snapshot!(server.run("unseal --init"), @r#"
    ! the store is open
    exit 0
    "#);
    // The first key is an admin's to make; opening needs the passphrase alone.
    assert_eq!(server.asked()[0].token.as_deref(), Some("Bearer prn_test"));
    assert_eq!(server.body(0), json!({ "passphrase": "correct horse", "init": true }));
    let server = Canned::new(answers()).typing(&["correct horse"]);
    assert_eq!((server.run("unseal").exit, &server.asked()[0].token), (0, &None));
    let server = Canned::new(answers());
    server.file("pass", b"new one\n");
    assert_snapshot!(server.run("kek rotate --passphrase-file @pass"), @r#"
    ! 7 data keys lie under the new key; start the server with the new passphrase (--passphrase-file) from now on: what opened it before opens older backups only
    exit 0
    "#);
    assert_eq!(server.body(0), json!({ "passphrase": "new one" }));
    let server = Canned::new(answers());
    server.file("key", b"0123\n");
    assert_eq!(server.run("kek rotate --key-file @key").exit, 0);
    assert_eq!(server.body(0), json!({ "key_file": "0123" }));
    let server = Canned::new(answers()).typing(&["one", "other"]);
    assert_eq!((server.run("unseal --init").exit, server.lines().len()), (2, 0));
}

#[test]
fn a_sweep_is_waited_for() {
    let sweep = |finished: Value, missed: i64| {
        json!({ "id": 3, "started_at": "2026-11-23T20:29:53Z", "finished_at": finished, "secrets": 5, "instances": 6, "targets": 7,
            "missed": missed, "report": if missed > 0 { json!(["secret/mail: timer was late"]) } else { json!([]) } })
    };
    let server = Canned::new(vec![
        ("POST /v1/sweep", 200, sweep(json!(null), 0)),
        ("GET /v1/sweeps", 200, json!([sweep(json!("2026-11-23T20:30:53Z"), 1)])),
    ]);
    assert_snapshot!(server.run("sweep"), @r#"
    ID  STARTED                    ENDED                           SECRETS  INSTANCES  TARGETS  MISSED
     3  2026-11-23 20:29:53Z, now  2026-11-23 20:30:53Z, in 1 min        5          6        7       1
      missed: secret/mail: timer was late
    exit 1
    "#);
    assert_eq!(server.run("sweep --timeout 0s").exit, 1);
}

#[test]
fn evidence_is_handed_in() {
    let server = Canned::new(vec![("POST /v1/observations", 200, json!({}))]);
    let at = pki::Time::parse("2026-01-01").unwrap();
    let root = Authority::new("Root", at, at + pki::Span::days(100)).unwrap();
    server.file("root.der", root.certificate().der());
    let ended = server.run("observe report --target mx --method attested --chain @root.der --address /etc/x --expires 2027-01-01");
    assert_snapshot!(ended, @r#"
    ! mx: attested evidence taken in
    exit 0
    "#);
    let body = server.body(0);
    assert_eq!((body["target_name"].as_str(), body["method"].as_str()), (Some("mx"), Some("attested")));
    assert_eq!((body["at"].as_str(), body["expires_at"].as_str()), (Some(crate::canned::NOW), Some("2027-01-01T00:00:00Z")));
    assert_eq!(body["attempts"][0]["address"], "/etc/x");
    assert!(body["attempts"][0]["chain"][0].as_str().unwrap().starts_with("MII"));
    server.file("no.pem", b"nothing");
    assert_eq!(server.run("observe report --target mx --method agent-read --chain @no.pem").exit, 2);
}
