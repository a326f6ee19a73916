//! Refusals, pinned: peers parse them.

use serde_json::json;

use crate::support::{World, base64};

#[test]
fn problems_as_they_travel() {
    let world = World::sealed();
    let a = &world.admin;
    let plain = |request: &str| world.raw(&[request.replace("TOKEN", a).as_bytes()]);
    let cases = [
        ("unknown route", world.get("", "/v2/nothing")),
        ("unknown method", world.send("PUT", a, "/v1/status", None)),
        ("no token", world.get("", "/v1/status")),
        ("no such secret", world.get(a, "/v1/secrets/none\u{7f}".trim_end_matches('\u{7f}'))),
        ("hostile name", world.get(a, "/v1/secrets/%1b%5b31mred%3cscript%3e")),
        ("NUL in a path", world.get(a, "/v1/secrets/a%00b")),
        ("no number", world.get(a, "/v1/incidents/x")),
        ("unknown query", world.get(a, "/v1/secrets?colour=red")),
        ("bad limit", world.get(a, "/v1/secrets?limit=1001")),
        ("bad cursor", world.get(a, "/v1/secrets?after=MSB0YXJnZXRzIDEgMiA")),
        ("no JSON", plain("POST /v1/sweep/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")),
        (
            "cut JSON",
            plain("POST /v1/fleet HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer TOKEN\r\ncontent-length: 2\r\n\r\n{\""),
        ),
        (
            "form",
            plain(
                "POST /v1/fleet HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer TOKEN\r\n\
                 content-type: application/x-www-form-urlencoded\r\ncontent-length: 3\r\n\r\na=b",
            ),
        ),
        ("unknown field", world.post(a, "/v1/tokens", &json!({ "name": "a", "role": "viewer", "colour": "red" }))),
        ("unknown role", world.post(a, "/v1/tokens", &json!({ "name": "a", "role": "\u{1b}[2Jroot" }))),
        ("sealed", world.post(a, "/v1/secrets/blob-key/opaque", &json!({ "value": base64("x") }))),
        ("bad base64 is not repeated", world.post(a, "/v1/secrets/blob-key/opaque", &json!({ "value": "s3cret!" }))),
        ("wrong type is not repeated", world.post(a, "/v1/secrets/blob-key/opaque", &json!({ "value": ["s3cret"] }))),
        ("not initialised", world.post("", "/v1/unseal", &json!({ "passphrase": "wrong wrong" }))),
        ("reason missing", world.post(a, "/v1/targets/blob/retire", &json!({ "reason": " " }))),
        ("targets remain", world.post(a, "/v1/secrets/blob-tls/retire", &json!({ "reason": "gone" }))),
        ("bad fleet", world.post(a, "/v1/fleet", &json!({ "fleet": { "target": [{ "name": "a", "secret": "b", "kind": "endpoint" }] } }))),
    ];
    let mut all = String::new();
    for (name, answer) in cases {
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}: {}", answer.text);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{name}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}");
        let problem = answer.json();
        assert_eq!(problem["status"], answer.status, "{name}");
        let retry = answer.header("retry-after").map(|r| format!(" (retry-after {r})")).unwrap_or_default();
        all += &format!("{name}{retry}\n{}\n\n", answer.text);
    }
    assert!(!all.contains("s3cret"));
    insta::assert_snapshot!(all);
}

#[test]
fn good_answers_are_not_kept_either() {
    let world = World::sealed();
    for path in ["/v1/status", "/healthz", "/readyz", "/v1/openapi.json"] {
        let answer = world.get(&world.admin, path);
        assert_eq!(
            (answer.status, answer.header("cache-control"), answer.header("x-content-type-options")),
            (200, Some("no-store"), Some("nosniff")),
            "{path}"
        );
    }
}
