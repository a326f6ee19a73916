//! Issuing by an internal CA, in simulated time and against a real database.

use crate::world::{World, entropy, person, t};
use domain::{
    Fingerprint, Span, Time,
    issuing::{AuthorityState, IssuedState},
    words::SecretId,
};
use engine::{
    Error,
    issuing::{Answer, NewAuthority},
};
use pki::{Certificate, KeyType, PrivateKey, San, csr};
use store::model::{authority, held, intent, inventory, issuance, secret};

pub(crate) const FLEET: &str = r#"
[fleet]
default_owner = "platform"
[[team]]
name = "platform"
contacts = [{ channel = "log" }]
[[issuer]]
name = "eu-ca"
kind = "internal"
crl = "http://crl.example.internal/v1/crl"
[[secret]]
name = "www"
kind = "certificate"
renewal = "automatic"
names = ["www.example.internal"]
issued_by = ["eu-ca"]
keys = "store"
lifetime = "90d"
[[secret]]
name = "node"
kind = "certificate"
renewal = "automatic"
names = ["node.example.internal", "*.node.example.internal"]
issued_by = ["eu-ca"]
lifetime = "47d"
"#;

pub(crate) fn ca(issuer: &str) -> NewAuthority {
    NewAuthority { issuer: issuer.into(), permitted: vec!["example.internal".into()], keep_root: true, reason: "test".into() }
}

pub(crate) fn world() -> World {
    let w = World::new(t("2026-03-01T10:00:00Z"));
    w.apply(FLEET);
    w
}

fn with_ca() -> World {
    let w = world();
    let requested = w.engine.request_authority(&ca("eu-ca"), &mut *entropy(3), &person(), &w.tick()).unwrap();
    assert!(requested.done);
    w
}

/// Renews until nothing is due at this second.
pub(crate) fn renew(w: &World) {
    for n in 0..50 {
        if w.engine.renew_once(&mut *entropy(1000 + n + w.now.unix() as u64), &w.tick()).unwrap() == 0 {
            return;
        }
    }
    panic!("renewal does not come to rest at {}", w.now);
}

fn instances(w: &World, name: &str) -> Vec<secret::Instance> {
    let s = w.secret(name);
    w.engine.store().read(|tx| secret::instances(tx, s.id, Some(s.newest_version))).unwrap()
}

fn request(key: &PrivateKey, names: &[&str]) -> Vec<u8> {
    let names: Vec<San> = names.iter().map(|n| San::parse(n).unwrap()).collect();
    csr::build(key, None, &names).unwrap()
}

fn issued(answer: Answer) -> Vec<Certificate> {
    match answer {
        Answer::Issued(chain) => chain.into_iter().map(|der| Certificate::parse(der).unwrap()).collect(),
        Answer::Pending { what, .. } => panic!("waits: {what}"),
    }
}

fn problems(e: Error) -> String {
    match e {
        Error::Refused(r) => format!("{}: {}", r.code, r.problems.join("; ")),
        other => other.to_string(),
    }
}

#[test]
fn a_ca_is_limited_watched_and_trusted_by_name() {
    let w = with_ca();
    let all = w.engine.store().read(|tx| authority::of_issuer(tx, "eu-ca")).unwrap();
    assert_eq!(all.len(), 2);
    let current = all.iter().find(|a| a.state == AuthorityState::Current).unwrap();
    let c = Certificate::parse(current.certificate.clone()).unwrap();
    assert!(c.is_ca() && c.path_length() == Some(0) && c.has_name_constraints());
    let roots = w.engine.store().read(|tx| inventory::roots(tx, "perennial-ca-eu-ca")).unwrap().unwrap();
    assert!(roots.contains("BEGIN CERTIFICATE"));
    for name in ["perennial-ca-eu-ca-root", "perennial-ca-eu-ca-issuing"] {
        let s = w.secret(name);
        assert!(s.expires_at.is_some() && !s.declared, "{name}");
    }
    // Applying the same inventory again takes nothing of it away.
    w.apply(FLEET);
    assert!(w.engine.store().read(|tx| inventory::roots(tx, "perennial-ca-eu-ca")).unwrap().is_some());
}

#[test]
fn a_secret_whose_keys_are_born_in_the_store_is_issued_and_renewed_through_years() {
    let mut w = with_ca();
    renew(&w);
    let first = instances(&w, "www");
    assert_eq!(first.len(), 1);
    assert!(w.engine.store().read(|tx| secret::sealed(tx, first[0].id)).unwrap().is_some(), "its key lies with it");
    let id = w.secret("www").id;
    assert!(w.engine.store().read(|tx| held::of(tx, "request-key", id.0, 10)).unwrap().is_empty(), "and nowhere else");
    let mut ends = Vec::new();
    let end = w.now + Span::days(800);
    let mut before = w.secret("www").newest_version;
    while w.now < end {
        w.now = w.now + Span::hours(6);
        renew(&w);
        let s = w.secret("www");
        let now_has = instances(&w, "www");
        assert_eq!(now_has.len(), 1);
        let left = now_has[0].not_after - w.now;
        assert!(left > Span::days(25), "{}: {left} left", w.now);
        if s.newest_version != before {
            before = s.newest_version;
            ends.push(w.now);
        }
    }
    // 90 days less a third and what was spread: 11 to 15 renewals, at least a day of which is the 29th of February 2028's year.
    assert!((11..=16).contains(&ends.len()), "{} renewals", ends.len());
    assert!(w.engine.store().read(|tx| intent::list(tx, Some("open"), None, 10)).unwrap().is_empty());
}

#[test]
fn due_to_the_second() {
    let mut w = with_ca();
    renew(&w);
    let id = w.secret("www").id;
    let due = w.engine.store().read(|tx| issuance::renewal(tx, id)).unwrap().unwrap().due_at.unwrap();
    for (at, version) in [(due - Span::seconds(1), 1), (due, 2), (due + Span::seconds(1), 2)] {
        w.now = at;
        renew(&w);
        assert_eq!(w.secret("www").newest_version, version, "{at}");
    }
}

#[test]
fn a_key_born_on_a_node_gets_its_certificate_and_the_same_one_again() {
    let w = with_ca();
    renew(&w);
    let s = w.secret("node");
    assert_eq!(s.newest_version, 1, "announced");
    assert!(instances(&w, "node").is_empty());
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let csr = request(&key, &["node.example.internal"]);
    let seed = std::cell::Cell::new(7);
    let ask = |csr: &[u8], version| {
        seed.set(seed.get() + 1);
        w.engine.issue_for_node("web-1", s.id, version, csr, &w.tick(), &mut *entropy(seed.get()))
    };
    let chain = issued(ask(&csr, 1).unwrap());
    assert_eq!(chain.len(), 2);
    assert!(key.fits(&chain[0]));
    assert_eq!(issued(ask(&csr, 1).unwrap())[0], chain[0], "the same key, the same answer");
    let all = instances(&w, "node");
    assert_eq!(all.iter().map(|i| i.scope.as_str()).collect::<Vec<_>>(), ["web-1"]);
    assert!(w.engine.store().read(|tx| secret::sealed(tx, all[0].id)).unwrap().is_none(), "no key of a node lies here");
    let rows = w.engine.store().read(|tx| authority::issued_for(tx, s.id, 1, 10)).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].state, rows[0].serial.len()), (IssuedState::Signed, 16));
    // Another key of the same node takes the place of the first.
    let other = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let again = issued(ask(&request(&other, &["node.example.internal"]), 1).unwrap());
    assert_ne!(again[0], chain[0]);
    assert_eq!(instances(&w, "node").len(), 1);
    assert!(problems(ask(&csr, 2).unwrap_err()).starts_with("no-version"));
}

#[test]
fn requests_that_ask_for_more_are_refused_with_all_that_stands_against_them() {
    let w = with_ca();
    renew(&w);
    let s = w.secret("node");
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let ask = |csr: &[u8]| problems(w.engine.issue_for_node("web-1", s.id, 1, csr, &w.tick(), &mut *entropy(7)).unwrap_err());
    assert!(ask(&request(&key, &["evil.example.com"])).contains("evil.example.com"));
    assert!(ask(&request(&key, &["*.example.internal"])).contains("not permitted"));
    let rsa = PrivateKey::generate(KeyType::Rsa2048).unwrap();
    assert!(ask(&request(&rsa, &["node.example.internal"])).starts_with("bad-request"));
    assert!(ask(b"rubbish").starts_with("bad-request"));
    let mut broken = request(&key, &["node.example.internal"]);
    let last = broken.len() - 1;
    broken[last] ^= 1;
    assert!(ask(&broken).starts_with("bad-request"));
    assert!(w.engine.store().read(|tx| authority::issued_for(tx, s.id, 1, 10)).unwrap().is_empty(), "nothing was to be signed");
}

#[test]
fn a_sealed_store_issues_nothing_and_watches_on() {
    let w = with_ca();
    renew(&w);
    let s = w.secret("node");
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let csr = request(&key, &["node.example.internal"]);
    w.engine.seal(&person(), &w.tick()).unwrap();
    let refused = w.engine.issue_for_node("web-1", s.id, 1, &csr, &w.tick(), &mut *entropy(7));
    assert!(matches!(refused, Err(Error::Sealed)), "{refused:?}");
    w.settle();
    w.engine.renew_once(&mut *entropy(5), &w.tick()).unwrap();
}

#[test]
fn the_end_of_a_plan_is_followed_and_the_plan_marked_done() {
    let mut w = World::new(t("2026-03-01T10:00:00Z"));
    w.apply(&format!("{FLEET}\n[[service]]\nname = \"shop\"\nteam = \"platform\"\n").replacen(
        "name = \"www\"",
        "name = \"www\"\nservice = \"shop\"",
        1,
    ));
    w.engine.request_authority(&ca("eu-ca"), &mut *entropy(3), &person(), &w.tick()).unwrap();
    let wanted = w.now + Span::days(71);
    let content = serde_json::json!({ "certificate": "www-eu-1", "secret": "www", "service": "shop", "region": "", "part": 1,
        "not_after": wanted.to_string(), "lifetime_at_most_seconds": 90 * 86_400, "names": ["www.example.internal"], "targets": [] });
    w.engine
        .store()
        .try_write(&person(), w.now, |tx| {
            engine::intent::Intent::new("issue", "service/shop/www-eu-1", content.clone()).kept(tx, &content, "test", &person(), w.now)
        })
        .unwrap();
    renew(&w);
    assert_eq!(instances(&w, "www")[0].not_after, wanted);
    let all = w.engine.store().read(|tx| intent::list(tx, None, None, 10)).unwrap();
    assert!(all.iter().all(|i| i.state == "done"), "{all:?}");
    w.now = wanted;
}

#[test]
fn what_a_crash_left_between_intended_and_signed_is_finished_with_the_same_bytes() {
    let mut w = with_ca();
    renew(&w);
    let s = w.secret("node");
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let csr = request(&key, &["node.example.internal"]);
    let row = w.engine.intend_only("web-1", s.id, 1, &csr, &w.tick(), &mut *entropy(7)).unwrap();
    assert!(instances(&w, "node").is_empty());
    // Another process takes over, later.
    w.now = w.now + Span::minutes(10);
    renew(&w);
    let after = w.engine.store().read(|tx| authority::issued(tx, row)).unwrap().unwrap();
    assert_eq!(after.state, IssuedState::Signed);
    let c = Certificate::parse(after.der.clone()).unwrap();
    assert_eq!(after.tbs_hash, Fingerprint::of(tbs(&after.der)));
    assert!(key.fits(&c));
    assert_eq!(instances(&w, "node").len(), 1);
    // The node asks again and gets what was finished.
    let answer = w.engine.issue_for_node("web-1", s.id, 1, &csr, &w.tick(), &mut *entropy(8)).unwrap();
    assert_eq!(issued(answer)[0], c);
}

/// The first element inside of a certificate: what was signed.
fn tbs(der: &[u8]) -> &[u8] {
    let header = |at: usize| match der[at + 1] {
        n if n < 0x80 => (2, usize::from(n)),
        n => {
            let k = usize::from(n & 0x7f);
            (2 + k, der[at + 2..at + 2 + k].iter().fold(0, |a, b| (a << 8) | usize::from(*b)))
        }
    };
    let (outer, _) = header(0);
    let (own, len) = header(outer);
    &der[outer..outer + own + len]
}

#[test]
fn what_cannot_be_issued_is_told_at_once_with_the_next_step() {
    let w = world();
    renew(&w);
    w.settle();
    let id = w.secret("www").id;
    let row = w.engine.store().read(|tx| issuance::renewal(tx, id)).unwrap().unwrap();
    assert!(row.terminal && row.detail.contains("perennial ca create eu-ca"), "{}", row.detail);
    assert!(w.notices().iter().any(|n| n.code == "renewal-failed" && n.detail.contains("perennial ca create")), "{:?}", w.notices());
    // The CA comes: what waited for it goes on without anybody's help, and the finding is over.
    w.engine.request_authority(&ca("eu-ca"), &mut *entropy(3), &person(), &w.tick()).unwrap();
    renew(&w);
    w.settle();
    assert_eq!(w.secret("www").newest_version, 1);
    assert!(w.notices().iter().all(|n| n.code != "renewal-failed" || n.ended_at.is_some()), "{:?}", w.notices());
}

#[test]
fn a_doubted_clock_renews_nothing_and_a_person_may() {
    let mut w = with_ca();
    renew(&w);
    let id = w.secret("www").id;
    let due: Time = w.engine.store().read(|tx| issuance::renewal(tx, id)).unwrap().unwrap().due_at.unwrap();
    (w.now, w.doubted) = (due + Span::days(1), true);
    renew(&w);
    assert_eq!(w.secret("www").newest_version, 1);
    w.engine.renew_secret("www", "the clock is right", &person(), &w.tick()).unwrap();
    renew(&w);
    assert_eq!(w.secret("www").newest_version, 2);
    let _ = SecretId(1);
}
