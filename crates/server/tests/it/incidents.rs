//! From what was seen to an incident, and what people do with it.

use domain::{Span, Time};
use pki::KeyType;
use serde_json::{Value, json};

use crate::support::{Chain, World, base64};

/// The office sees a certificate at `blob` that ends in ten days.
fn opened() -> (World, i64) {
    let world = World::new();
    let office = world.token("office", "vantage", &[], Some("office"));
    let chain = Chain::new();
    let from = Time::parse("2025-06-10").unwrap();
    let (leaf, _) = chain.middle.leaf(&["blob.example.com"], KeyType::EcdsaP256, from, world.now() + Span::days(10)).unwrap();
    let report = json!({
        "target_name": "blob", "method": "dialled", "at": world.now().to_string(), "resolved": ["192.0.2.7:443"],
        "attempts": [{ "address": "192.0.2.7:443", "chain": [base64(leaf.der()), base64(chain.middle.certificate().der())] }]
    });
    world.post(&office, "/v1/observations", &report).good();
    let open = world.get(&world.admin, "/v1/incidents").good();
    let id = open["items"].as_array().unwrap().iter().find(|i| i["teams"] == json!(["storage"])).unwrap_or_else(|| panic!("{open}"));
    let id = id["id"].as_i64().unwrap();
    (world, id)
}

#[test]
fn an_incident_is_handled_by_its_team_and_never_closed_by_it() {
    let (world, id) = opened();
    let (storage, web) = (world.token("s", "owner", &["storage"], None), world.token("w", "owner", &["web"], None));
    let viewer = world.token("v", "viewer", &[], None);
    let reason = json!({ "reason": "on it" });
    let act = |token: &str, what: &str, body: &Value| world.post(token, &format!("/v1/incidents/{id}/{what}"), body);
    for who in [&web, &viewer] {
        for what in ["acknowledge", "mitigate", "review"] {
            let body = if what == "review" { json!({ "cause": "other", "text": "t" }) } else { reason.clone() };
            assert_eq!(act(who, what, &body).status, 403, "{what}");
        }
    }
    let acknowledged = act(&storage, "acknowledge", &reason).good();
    assert_eq!((&acknowledged["state"], &acknowledged["acknowledged_by"]), (&json!("acknowledged"), &json!("s")));
    assert!(acknowledged["quiet_until"].as_str().is_some());
    assert_eq!(act(&storage, "mitigate", &reason).good()["state"], "mitigated");
    // Only observation closes: there is no such route, and a review has to wait.
    assert_eq!(act(&storage, "resolve", &reason).status, 404);
    let review = json!({ "cause": "other", "own_cause": "x", "text": "t" });
    assert_eq!(act(&storage, "review", &review).code(), (409, "incident-open".into()));
    assert_eq!(act(&storage, "review", &json!({ "cause": "bad luck", "text": "t" })).code(), (422, "bad-cause".into()));
    assert_eq!(world.post(&world.admin, "/v1/incidents/999/acknowledge", &reason).status, 404);

    let detail = world.get(&viewer, &format!("/v1/incidents/{id}")).good();
    assert_eq!(detail["lines"][0]["target"], "blob");
    assert_eq!(detail["lines"][0]["secret"], "blob-tls");
    let findings = world.get(&viewer, "/v1/findings?secret=blob-tls").good();
    assert!(findings["items"].as_array().unwrap().iter().any(|f| f["target"] == "blob"), "{findings}");
    let journal = world.journal();
    assert!(journal.contains("incident.acknowledged") && journal.contains(r#""actor":"token/s""#) && journal.contains("on it"));
}

/// A certificate of storage that ends in ten days, and a place of each team where it may be seen.
struct Shared {
    world: World,
    storage: String,
    web: String,
    office: String,
    chain: Vec<String>,
    subject: String,
}

impl Shared {
    fn new() -> Shared {
        let world = World::new();
        let mut fleet = crate::support::fleet();
        let image = json!({ "name": "image", "secret": "shop-tls", "kind": "artifact" });
        fleet["target"].as_array_mut().unwrap().push(image);
        world.post(&world.admin, "/v1/fleet", &json!({ "fleet": fleet })).good();
        let (storage, web) = (world.token("s", "owner", &["storage"], None), world.token("w", "owner", &["web"], None));
        let office = world.token("office", "vantage", &[], Some("office"));
        let chain = Chain::new();
        let from = Time::parse("2025-06-10").unwrap();
        let (leaf, _) = chain.middle.leaf(&["blob.example.com"], KeyType::EcdsaP256, from, world.now() + Span::days(10)).unwrap();
        let subject = format!("certificate/{}", leaf.fingerprint());
        let chain = vec![base64(leaf.der()), base64(chain.middle.certificate().der())];
        Shared { world, storage, web, office, chain, subject }
    }

    fn seen(&self, token: &str, target: &str, method: &str, address: &str) {
        let resolved = if method == "dialled" { json!([address]) } else { json!([]) };
        let attempts = json!([{ "address": address, "chain": self.chain }]);
        let at = self.world.now().to_string();
        let report = json!({ "target_name": target, "method": method, "at": at, "resolved": resolved, "attempts": attempts });
        self.world.post(token, "/v1/observations", &report).good();
    }

    fn incident(&self) -> Value {
        let open = self.world.get(&self.world.admin, "/v1/incidents").good();
        let all = open["items"].as_array().unwrap();
        all.iter().find(|i| i["subject"] == self.subject.as_str()).unwrap_or_else(|| panic!("{open}")).clone()
    }

    fn act(&self, token: &str, what: &str, body: &Value) -> crate::support::Answer {
        self.world.post(token, &format!("/v1/incidents/{}/{what}", self.incident()["id"]), body)
    }

    /// How often storage and web were told about it.
    fn heard(&self) -> (usize, usize) {
        while self.world.engine.incidents_once(&self.world.tick()).unwrap() > 0 {}
        let id = self.incident()["id"].clone();
        let told = |tx: &mut store::Tx<'_>, team: &str| {
            let rows = tx.query("SELECT message FROM outbox WHERE team = $1 ORDER BY id", &[team.into()])?;
            let about = |text: &str| serde_json::from_str::<Value>(text).unwrap()["incident"] == id;
            Ok::<_, store::StoreError>(rows.iter().filter(|r| about(r.text(0).unwrap())).count())
        };
        self.world.engine.store().read(|tx| Ok((told(tx, "storage")?, told(tx, "web")?))).unwrap()
    }
}

/// Somebody shows another team's certificate at a place of its own, and so becomes part of that team's incident.
#[test]
fn an_acknowledgement_quiets_only_the_teams_it_is_given_for() {
    let s = Shared::new();
    let reason = json!({ "reason": "mine now" });
    s.seen(&s.office, "blob", "dialled", "192.0.2.7:443");
    assert_eq!(s.act(&s.web, "acknowledge", &reason).status, 403);
    s.seen(&s.web, "image", "agent-read", "layer.tar");
    assert_eq!(s.incident()["teams"], json!(["storage", "web"]));

    // It is said for web alone; what is said for everybody is not web's to say.
    assert_eq!(s.act(&s.web, "acknowledge", &reason).good()["state"], "opened");
    assert_eq!(s.act(&s.web, "mitigate", &reason).status, 403);
    assert_eq!(s.act(&s.web, "review", &json!({ "cause": "other", "own_cause": "none", "text": "nothing happened" })).status, 403);
    // That there are more lines is told to everybody.
    s.world.pass(Span::minutes(11));
    let (storage, web) = s.heard();
    s.world.pass(Span::days(1));
    // Nobody of storage reacted: storage hears of it again, and web is quiet.
    assert_eq!(s.heard(), (storage + 1, web));
    // The quiet of web ends by itself.
    s.world.pass(Span::days(2));
    assert_eq!(s.heard(), (storage + 1, web + 1));

    assert_eq!(s.act(&s.storage, "acknowledge", &reason).good()["state"], "opened");
    assert_eq!(s.act(&s.web, "acknowledge", &reason).good()["state"], "acknowledged");
}

/// Whoever acknowledges first has not answered for those who come later.
#[test]
fn who_joins_later_is_not_quieted_by_what_was_said_before() {
    let s = Shared::new();
    s.seen(&s.web, "image", "agent-read", "layer.tar");
    let quiet = |i: &Value| Time::parse(i["quiet_until"].as_str().unwrap()).unwrap() - s.world.now();
    let alone = s.act(&s.web, "acknowledge", &json!({ "reason": "mine" })).good();
    assert_eq!(alone["state"], "acknowledged");
    assert!(quiet(&alone) > Span::days(2), "{alone}");
    s.seen(&s.office, "blob", "dialled", "192.0.2.7:443");
    assert_eq!(s.incident()["teams"], json!(["web", "storage"]));
    let (storage, web) = s.heard();
    s.world.pass(quiet(&s.incident()));
    assert_eq!(s.heard(), (storage + 1, web));
    assert!(s.world.now() < Time::parse("2026-06-02T12:00:00Z").unwrap());
}

#[test]
fn what_is_retired_ends_its_incident_and_its_review_has_actions() {
    let (world, id) = opened();
    let storage = world.token("s", "owner", &["storage"], None);
    world.post(&storage, "/v1/targets/blob/retire", &json!({ "reason": "gone" })).good();
    while world.engine.incidents_once(&world.tick()).unwrap() > 0 {}
    let ended = world.get(&world.admin, &format!("/v1/incidents/{id}")).good();
    assert_eq!(ended["state"], "retired", "{ended}");
    let action = json!({ "what": "watch it", "owner": "storage", "due_at": "2026-07-01T00:00:00Z" });
    let review = json!({ "cause": "other", "own_cause": "nobody looked", "text": "t", "actions": [action] });
    assert_eq!(world.post(&storage, &format!("/v1/incidents/{id}/review"), &review).good()["state"], "reviewed");
    let reviewed = world.get(&world.admin, &format!("/v1/incidents/{id}")).good();
    let action = reviewed["actions"][0]["id"].as_i64().unwrap();
    let web = world.token("w", "owner", &["web"], None);
    assert_eq!(world.post(&web, &format!("/v1/actions/{action}/done"), &json!({})).status, 403);
    world.post(&storage, &format!("/v1/actions/{action}/done"), &json!({ "reason": "done" })).good();
    let open = world.get(&world.admin, "/v1/incidents").good();
    assert!(!open["items"].as_array().unwrap().iter().any(|i| i["id"] == id));
    let all = world.get(&world.admin, "/v1/incidents?all=true").good();
    assert!(all["items"].as_array().unwrap().iter().any(|i| i["id"] == id));
}

#[test]
fn lists_come_in_pages_without_loss() {
    let (world, _) = opened();
    // Two secrets that end within their notice threshold, by then.
    let ends = json!({ "value": base64("x"), "expires_at": "2027-03-01T00:00:00Z" });
    world.post(&world.admin, "/v1/secrets/blob-key/opaque", &ends).good();
    world.pass(Span::days(200));
    world.engine.secrets_once(&world.tick()).unwrap();
    for (list, key) in
        [("/v1/secrets", "name"), ("/v1/targets", "name"), ("/v1/findings", "detail"), ("/v1/notices", "id"), ("/v1/audit", "seq")]
    {
        let whole = world.get(&world.admin, &format!("{list}?limit=1000")).good();
        let whole: Vec<&Value> = whole["items"].as_array().unwrap().iter().map(|i| &i[key]).collect();
        assert!(whole.len() > 1, "{list}: {whole:?}");
        let (mut pages, mut after) = (Vec::new(), String::new());
        loop {
            let page = world.get(&world.admin, &format!("{list}?limit=1&after={after}")).good();
            pages.extend(page["items"].as_array().unwrap().iter().map(|i| i[key].clone()));
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(pages.iter().collect::<Vec<_>>(), whole, "{list}");
    }
}

#[test]
fn the_store_is_swept_verified_and_copied() {
    let (world, _) = opened();
    let a = &world.admin;
    let swept = world.post(a, "/v1/sweep", &json!({})).good();
    assert_eq!((&swept["secrets"], &swept["targets"]), (&json!(4), &json!(2)));
    assert_eq!(world.get(a, "/v1/sweeps").good()[0]["id"], swept["id"]);
    assert!(world.get(a, "/v1/status").good()["last_sweep"].as_str().is_some());
    let verified = world.get(a, "/v1/audit/verify").good();
    assert_eq!((&verified["intact"], &verified["faults"]), (&json!(true), &json!([])));
    let head = verified["head"].as_str().unwrap();
    assert_eq!(world.get(a, &format!("/v1/audit/verify?head={head}")).good()["intact"], true);
    let forged = format!("1:1:{}", "00".repeat(32));
    assert_eq!(world.get(a, &format!("/v1/audit/verify?head={forged}")).good()["intact"], false);

    let copy = world.post(a, "/v1/backup", &json!({ "path": "copy.db" })).good();
    assert!(std::path::Path::new(copy["file"].as_str().unwrap()).exists());
    assert_eq!(world.post(a, "/v1/backup", &json!({ "path": "copy.db" })).code(), (409, "file-exists".into()));
    assert_eq!(world.post(a, "/v1/backup", &json!({ "path": "../copy.db" })).code(), (422, "bad-path".into()));
    assert_eq!(world.post(a, "/v1/clock/confirm", &json!({})).code(), (422, "reason-missing".into()));
    assert_eq!(world.post(a, "/v1/clock/confirm", &json!({ "reason": "my watch" })).good()["clock_doubts"], json!([]));
    assert!(world.journal().contains("clock.confirmed"));
}
