//! Who may what: every route × every role, and what a token is.

use domain::Span;
use serde_json::{Value, json};

use crate::support::{Chain, World, import};

/// A path that exists, and a body that is well written.
fn sample(method: &str, path: &str) -> (String, Option<Value>) {
    let path = path.replace("{name}", "nothing").replace("{id}", "999");
    (path, (method == "POST").then(|| json!({})))
}

/// Every route with every credential. Who may not, is told so before anything else: 401 or 403, whatever the body holds.
#[test]
fn every_route_asks_for_permission() {
    let world = World::new();
    let tokens = [
        ("viewer", world.token("v", "viewer", &[], None)),
        ("owner", world.token("o", "owner", &["storage"], None)),
        ("admin", world.token("a", "admin", &[], None)),
        ("vantage", world.token("p", "vantage", &[], Some("office"))),
        ("build", world.builder("b", &["shop"])),
    ];
    let mut table = String::new();
    for (method, path, public) in server::http::routes() {
        let (url, body) = sample(method, path);
        // So that the strangers of this test are not too many for one minute.
        world.pass(Span::minutes(1));
        let nobody = world.send(method, "", &url, body.as_ref());
        let stranger = world.send(method, &format!("prn_{}", "A".repeat(43)), &url, body.as_ref());
        if public {
            assert_ne!(nobody.status, 401, "{method} {path}");
        } else {
            for refused in [nobody, stranger] {
                assert_eq!(refused.code(), (401, "unauthenticated".into()), "{method} {path}");
            }
        }
        let mut row = format!("{:<40}", format!("{method} {path}"));
        for (role, token) in &tokens {
            // Sealing in the middle of it changes nothing for the routes after it: who may is decided first.
            let status = world.send(method, token, &url, body.as_ref()).status;
            assert_ne!(status, 500, "{method} {path} {role}");
            row += if status == 403 { "  ." } else { "  y" };
        }
        table += row.trim_end();
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}

#[test]
fn an_owner_acts_for_its_teams_alone() {
    let world = World::new();
    let owner = world.token("o", "owner", &["storage"], None);
    let reason = json!({ "reason": "a test" });
    for (path, expected) in [
        ("/v1/targets/blob/look", 200),
        ("/v1/targets/shop/look", 403),
        ("/v1/targets/none/look", 404),
        ("/v1/targets/shop/retire", 403),
        ("/v1/targets/blob/retire", 200),
        ("/v1/secrets/shop-tls/retire", 403),
        ("/v1/secrets/none/retire", 403),
        ("/v1/secrets/blob-tls/retire", 200),
    ] {
        assert_eq!(world.post(&owner, path, &reason).status, expected, "{path}");
    }
    let chain = Chain::new();
    let (leaf, key) = chain.leaf("blob.example.com", pki::KeyType::EcdsaP256);
    let body = import(&chain.pem(&leaf), Some(&key));
    for (name, expected) in [("blob-tls", 200), ("shop-tls", 403), ("new-one", 403)] {
        assert_eq!(world.post(&owner, &format!("/v1/secrets/{name}/versions"), &body).status, expected, "{name}");
    }
    let refused = world.post(&owner, "/v1/secrets/shop-tls/versions", &body).json();
    assert_eq!(refused["detail"], "it belongs to web; this token acts for storage");
    let nobody = world.post(&owner, "/v1/secrets/new-one/versions", &body).json();
    assert_eq!(nobody["detail"], "it belongs to no team; an admin can do this, or declare its owner in the inventory");
    // What was refused left nothing behind.
    assert_eq!(world.get(&world.admin, "/v1/secrets/new-one").status, 404);
    // Everything is readable.
    assert_eq!(world.get(&owner, "/v1/secrets/shop-tls").status, 200);
}

/// The journal calls whoever has a token by its name.
#[test]
fn a_name_belongs_to_one_good_token_at_a_time() {
    let world = World::new();
    let wanted = |end: Option<&str>| json!({ "name": "ci", "role": "viewer", "expires_at": end });
    let first = world.post(&world.admin, "/v1/tokens", &wanted(None)).good();
    assert_eq!(world.post(&world.admin, "/v1/tokens", &wanted(None)).code(), (409, "name-taken".into()));
    world.send("DELETE", &world.admin, &format!("/v1/tokens/{}", first["token"]["id"]), None).good();
    world.post(&world.admin, "/v1/tokens", &wanted(Some("2026-06-01T00:01:00Z"))).good();
    assert_eq!(world.post(&world.admin, "/v1/tokens", &wanted(None)).code(), (409, "name-taken".into()));
    world.pass(Span::minutes(1));
    world.post(&world.admin, "/v1/tokens", &wanted(None)).good();
}

#[test]
fn a_token_is_shown_once_and_never_written_down() {
    let world = World::new();
    let made = world.post(&world.admin, "/v1/tokens", &json!({ "name": "ci", "role": "viewer" })).good();
    let value = made["value"].as_str().unwrap().to_owned();
    assert!(value.starts_with("prn_") && value.len() == 47, "{value}");
    assert_eq!(world.get(&value, "/v1/status").status, 200);
    let list = world.get(&world.admin, "/v1/tokens").good().to_string();
    let journal = world.journal();
    assert!(list.contains(r#""name":"ci""#) && journal.contains("token.created") && journal.contains("token/ci"));
    let database = std::fs::read(world.dir.path().join("store.db")).unwrap();
    let log = std::fs::read(world.dir.path().join("store.db-wal")).unwrap_or_default();
    for token in [&value, &world.admin] {
        assert!(!list.contains(&token[4..]) && !journal.contains(&token[4..]));
        let needle = &token.as_bytes()[4..];
        assert!(!database.windows(needle.len()).chain(log.windows(needle.len())).any(|w| w == needle));
    }
    // In whose name something was done is the token's name.
    assert!(journal.contains(r#""actor":"token/root""#), "{journal}");
}

#[test]
fn a_token_ends_by_its_date_and_by_revocation() {
    let world = World::new();
    let end = (world.now() + Span::hours(1)).to_string();
    let wanted = json!({ "name": "short", "role": "admin", "expires_at": end });
    let short = world.post(&world.admin, "/v1/tokens", &wanted).good()["value"].as_str().unwrap().to_owned();
    world.pass(Span::minutes(60) - Span::seconds(1));
    assert_eq!(world.get(&short, "/v1/status").status, 200);
    world.pass(Span::seconds(1));
    assert_eq!(world.get(&short, "/v1/status").status, 401);

    let made = world.post(&world.admin, "/v1/tokens", &json!({ "name": "gone", "role": "viewer" })).good();
    let (id, value) = (made["token"]["id"].as_i64().unwrap(), made["value"].as_str().unwrap());
    assert_eq!(world.get(value, "/v1/status").status, 200);
    assert_eq!(world.send("DELETE", &world.admin, &format!("/v1/tokens/{id}"), None).status, 200);
    assert_eq!(world.get(value, "/v1/status").status, 401);
    assert_eq!(world.send("DELETE", &world.admin, &format!("/v1/tokens/{id}"), None).status, 404);
    // Unknown, ended and taken back look the same.
    let texts: Vec<String> = [value, &short, "prn_x", "nonsense"].iter().map(|t| world.get(t, "/v1/status").text).collect();
    assert!(texts.iter().all(|t| *t == texts[0]), "{texts:?}");
    assert!(world.journal().contains("token.revoked"));
}

#[test]
fn who_guesses_is_slowed_down_and_nobody_else() {
    let world = World::new();
    let guess = format!("prn_{}", "B".repeat(43));
    let mut answers: Vec<u16> = (0..40).map(|_| world.get(&guess, "/v1/status").status).collect();
    answers.dedup();
    assert_eq!(answers, [401, 429]);
    let slowed = world.get(&guess, "/v1/status");
    assert!(slowed.header("retry-after").unwrap().parse::<u64>().unwrap() <= 60);
    assert_eq!(world.get(&world.admin, "/v1/status").status, 200);
    world.pass(Span::minutes(1));
    assert_eq!(world.get(&guess, "/v1/status").status, 401);
}

#[test]
fn metrics_are_open_only_where_the_server_says_so() {
    let closed = World::sealed();
    assert_eq!(closed.get("", "/metrics").status, 401);
    let viewer = closed.token("v", "viewer", &[], None);
    assert!(closed.get(&viewer, "/metrics").text.contains("\nperennial_targets 2\n"));
    let open = World::with(|app| app.metrics_open = true);
    let metrics = open.get("", "/metrics");
    assert_eq!(metrics.status, 200);
    for line in ["perennial_secrets 4", "perennial_sealed 1", "perennial_clock_believed 1", "perennial_open_incidents 0"] {
        assert!(metrics.text.lines().any(|l| l == line), "{line} is missing in {}", metrics.text);
    }
    // The name of a secret is no label.
    assert!(!metrics.text.contains("blob"));
}
