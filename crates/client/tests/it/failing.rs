//! How commands end when they cannot do what was asked.

use std::net::SocketAddr;

use insta::assert_snapshot;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::canned::{Canned, problem};

#[test]
fn refusals_are_sentences() {
    let server = Canned::new(vec![
        ("GET /v1/secrets/mail", 404, problem(404, "not-found", "there is no secret mail", &["there is no secret mail"])),
        ("GET /v1/status", 401, problem(401, "unauthenticated", "this needs a token", &[])),
        ("POST /v1/secrets/x/opaque", 503, problem(503, "sealed", "the store is sealed", &[])),
    ])
    .piping(b"x");
    assert_snapshot!(server.run("secret show mail"), @r#"
    ! perennial: refused: there is no secret mail [not-found]
    exit 1
    "#);
    assert_snapshot!(server.run("status"), @r#"
    ! perennial: refused: this needs a token [unauthenticated]
    ! next: the token that was sent is not valid (any more): name another by --token-file F or PERENNIAL_TOKEN, or use --data DIR beside the server
    exit 1
    "#);
    assert_snapshot!(server.run("secret put x"), @r#"
    ! perennial: refused: the store is sealed [sealed]
    ! next: open the store with `perennial unseal`, then try again
    exit 1
    "#);
}

#[test]
fn no_token_at_all_is_told_apart_from_a_wrong_one() {
    // Opening the store is asked without a token.
    let server = Canned::new(vec![("POST /v1/unseal", 401, problem(401, "unauthenticated", "this needs a token", &[]))]).typing(&["p"]);
    assert_snapshot!(server.run("unseal"), @r#"
    ! perennial: refused: this needs a token, and none was named [unauthenticated]
    ! next: name one: --token-file F, PERENNIAL_TOKEN, or --data DIR beside the server
    exit 1
    "#);
}

#[test]
fn who_answers_something_else_is_no_server() {
    let server = Canned::new(vec![
        ("GET /v1/status", 502, json!("<html>bad gateway</html>")),
        ("GET /v1/sweeps", 200, json!({ "unexpected": true })),
    ]);
    assert_snapshot!(server.run("status"), @r#"
    ! perennial: what answers at http://server (status 502) is not a Perennial server, or one that is much newer
    ! next: look at --server, and at proxies in between
    exit 4
    "#);
    assert_eq!(server.run("sweep --list").exit, 4);
}

#[test]
fn nobody_there() {
    // Bound, so that nobody else gets the port, and not listening, so that it refuses.
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = bound.local_addr().unwrap().as_socket().unwrap().port();
    let ended = Canned::new(vec![]).run(&format!("status --server http://127.0.0.1:{port}"));
    assert_snapshot!(ended.to_string().replace(&port.to_string(), "PORT"), @r#"
    ! perennial: no answer from http://127.0.0.1:PORT: 127.0.0.1:PORT does not accept a connection: Connection refused (os error 111)
    ! next: is the server running there, and are host and port in --server right?
    exit 4
    "#);
}

#[test]
fn a_token_does_not_travel_in_plain_text() {
    let server = Canned::new(vec![]);
    assert_snapshot!(server.run("status --server http://192.0.2.1"), @r#"
    ! perennial: --server: the server's URL begins with http://, which would send the token in plain text; use https:// (host 192.0.2.1:80)
    exit 2
    "#);
}
