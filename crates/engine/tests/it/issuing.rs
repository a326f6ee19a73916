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

pub(crate) fn with_ca() -> World {
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

/// The root has no limits, and is the newest row: what takes the issuing CA's place is limited as that one was.
#[test]
fn a_renewed_ca_is_limited_as_the_one_before_it() {
    let w = with_ca();
    let again = NewAuthority { permitted: Vec::new(), keep_root: false, ..ca("eu-ca") };
    let made = w.engine.request_authority(&again, &mut *entropy(5), &person(), &w.tick()).unwrap();
    assert_eq!((made.done, made.permitted), (true, vec![String::from("example.internal")]));
    let current = w.engine.store().read(|tx| authority::current(tx, "eu-ca")).unwrap().unwrap();
    assert!(Certificate::parse(current.certificate).unwrap().has_name_constraints());
    assert_eq!(current.permitted, ["example.internal"]);

    let w = world();
    let unlimited = NewAuthority { permitted: Vec::new(), ..ca("eu-ca") };
    let refused = w.engine.request_authority(&unlimited, &mut *entropy(5), &person(), &w.tick()).unwrap_err();
    assert!(problems(refused).contains("--permit"));
    assert!(w.engine.store().read(|tx| authority::of_issuer(tx, "eu-ca")).unwrap().is_empty());
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
    // The CA's own key, keys that can be factored, and one that asks to be a CA: openssl writes what our own requests never say.
    let by = w.engine.store().read(|tx| authority::current(tx, "eu-ca")).unwrap().unwrap();
    for (name, says) in [("roca", "ROCA"), ("close", "Fermat"), ("small", "prime factor")] {
        let pem = std::fs::read(format!("{}/../pki/tests/it/weak/{name}.csr", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let said = ask(&pem);
        assert!(said.starts_with("bad-request") && said.contains(says), "{said}");
    }
    let own = w.engine.store().read(|tx| held::get(tx, by.held)).unwrap().unwrap();
    let as_its_own = issue_for_spki(&own.spki);
    assert!(ask(&as_its_own).starts_with("bad-request"));
    if let Some(ca) = asks_to_be_a_ca("node.example.internal") {
        let said = ask(&ca);
        assert!(said.starts_with("bad-request") && said.contains("asks to be an authority"), "{said}");
    }
    let mut broken = request(&key, &["node.example.internal"]);
    let last = broken.len() - 1;
    broken[last] ^= 1;
    assert!(ask(&broken).starts_with("bad-request"));
    assert!(w.engine.store().read(|tx| authority::issued_for(tx, s.id, 1, 10)).unwrap().is_empty(), "nothing was to be signed");
}

/// A request for somebody's public key, whose signature cannot be right.
fn issue_for_spki(spki: &[u8]) -> Vec<u8> {
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let csr = request(&key, &["node.example.internal"]);
    let at = csr.windows(key.spki_der().len()).position(|w| w == key.spki_der()).unwrap();
    [&csr[..at], spki, &csr[at + spki.len()..]].concat()
}

/// A request for basicConstraints with CA:TRUE, by openssl.
#[expect(clippy::print_stderr, reason = "a check that is left out is said aloud")]
fn asks_to_be_a_ca(name: &str) -> Option<Vec<u8>> {
    let names = format!("subjectAltName=DNS:{name}");
    let arguments = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null", "-subj", "/"];
    let extensions = ["-addext", &names, "-addext", "basicConstraints=critical,CA:TRUE", "-outform", "DER"];
    let made = std::process::Command::new("openssl").args(arguments).args(extensions).output();
    match made {
        Ok(made) if made.status.success() => Some(made.stdout),
        _ => {
            eprintln!("SKIPPED: openssl is missing (apt: openssl)");
            None
        }
    }
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

/// A crash left something unsigned whose key is held here, and a person stored another version meanwhile.
#[test]
fn what_a_crash_left_behind_takes_nothing_from_what_was_imported() {
    let mut w = with_ca();
    let s = w.secret("www");
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let csr = request(&key, &["www.example.internal"]);
    let left = w.engine.intend_only("all", s.id, 1, &csr, &w.tick(), &mut *entropy(7)).unwrap();
    let row = held::Held {
        id: 4711,
        purpose: "request-key".into(),
        subject: s.id.0,
        fingerprint: key.spki_fingerprint(),
        spki: key.spki_der().to_vec(),
        created_at: w.now,
    };
    w.engine.store().write(&person(), w.now, |tx| held::insert(tx, &row)).unwrap();
    let (chain, imported) = crate::world::Ca::new(t("2020-01-01T00:00:00Z"), t("2040-01-01T00:00:00Z")).leaf(
        &["www.example.internal"],
        w.now,
        w.now + Span::days(90),
    );
    w.store("www", &chain, &imported).unwrap();
    w.now = w.now + Span::minutes(3);
    renew(&w);
    let row = w.engine.store().read(|tx| authority::issued(tx, left)).unwrap().unwrap();
    assert_eq!(row.state, IssuedState::Signed);
    let has = instances(&w, "www");
    assert_eq!((has.len(), has[0].leaf), (1, chain[0].fingerprint()));
    assert!(w.engine.store().read(|tx| secret::sealed(tx, has[0].id)).unwrap().is_some(), "its key is still there");
}

#[test]
fn a_key_that_leaked_is_not_imported() {
    let mut w = with_ca();
    let ca = crate::world::Ca::new(t("2020-01-01T00:00:00Z"), t("2040-01-01T00:00:00Z"));
    let (chain, key) = ca.leaf(&["www.example.internal"], w.now, w.now + Span::days(90));
    w.engine.store().write(&person(), w.now, |tx| authority::leaked(tx, &key.spki_fingerprint(), w.now)).unwrap();
    assert!(problems(w.store("www", &chain, &key).unwrap_err()).contains("leaked key"));
}

#[test]
fn the_budget_of_an_internal_issuer_counts_what_it_was_to_sign() {
    let w = world();
    w.apply(
        &FLEET
            .replace("crl = ", "budget = { orders = 2, window = \"7d\" }\ncrl = ")
            .replace("renewal = \"automatic\"\nnames = [\"www", "names = [\"www"),
    );
    w.engine.request_authority(&ca("eu-ca"), &mut *entropy(3), &person(), &w.tick()).unwrap();
    renew(&w);
    let s = w.secret("node");
    let ask = |n: u64, now| {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let csr = request(&key, &["node.example.internal"]);
        w.engine.issue_for_node(&format!("web-{n}"), s.id, 1, &csr, &engine::Tick::at(now), &mut *entropy(n)).unwrap()
    };
    for n in 0..2 {
        issued(ask(n, w.now));
    }
    let Answer::Pending { retry_after, .. } = ask(2, w.now + Span::days(1)) else { panic!("the budget is used up") };
    assert_eq!(retry_after, Span::days(6));
    issued(ask(2, w.now + Span::days(7)));
}

/// A wildcard has a certificate on each of very many nodes.
#[test]
fn everything_of_a_version_is_revoked_and_what_is_not_signed_yet_never_is() {
    let w = with_ca();
    renew(&w);
    let s = w.secret("node");
    let by = w.engine.store().read(|tx| authority::current(tx, "eu-ca")).unwrap().unwrap();
    let print = |n: i64| Fingerprint::of(&n.to_be_bytes());
    w.engine
        .store()
        .write(&person(), w.now, |tx| {
            for (n, id) in (1..=10_003_i64).zip(tx.next_ids("issued", 10_003)?) {
                let row = authority::Issued {
                    id,
                    authority: by.id,
                    serial: n.to_be_bytes().to_vec(),
                    secret: s.id,
                    version: 1,
                    scope: format!("n{n}"),
                    key: print(n),
                    tbs_hash: print(n),
                    der: vec![1],
                    state: IssuedState::Intended,
                    not_after: w.now + Span::days(40),
                    revocable: true,
                    intended_at: w.now,
                    done_at: None,
                    revoked_at: None,
                    reason: String::new(),
                };
                authority::intend(tx, &row)?;
                if n != 7 {
                    authority::signed(tx, id, &[2], w.now)?;
                }
            }
            Ok(())
        })
        .unwrap();
    let reason = domain::issuing::Reason::KeyCompromise;
    assert_eq!(w.engine.revoke("node", 1, reason, "stolen", &person(), &w.tick()).unwrap(), 10_002);
    let (left, leaked) = w
        .engine
        .store()
        .read(|tx| Ok((authority::intended(tx, w.now + Span::days(1), 10)?, authority::is_compromised(tx, &print(10_003))?)))
        .unwrap();
    assert!(left.is_empty() && leaked);
    assert_eq!(w.engine.revoke("node", 1, reason, "again", &person(), &w.tick()).unwrap(), 0);
}

/// What no certificate, list, budget or person can ask about any more is let go of.
#[test]
fn records_of_issuing_do_not_grow_for_ever() {
    let mut w = with_ca();
    let begun = w.now;
    renew(&w);
    w.engine.revoke("www", 1, domain::issuing::Reason::KeyCompromise, "stolen", &person(), &w.tick()).unwrap();
    let key = instances(&w, "www")[0].key;
    while w.now < begun + Span::days(600) {
        w.now = w.now + Span::days(1);
        renew(&w);
        for _ in 0..3 {
            w.engine.housekeeping_once(&w.tick()).unwrap();
        }
    }
    let newest = w.secret("www").newest_version;
    let id = w.secret("www").id;
    let kept =
        w.engine.store().read(|tx| (1..=newest).map(|v| authority::issued_for(tx, id, v, 10)).collect::<store::Result<Vec<_>>>()).unwrap();
    assert!(newest > 8 && kept.iter().filter(|rows| !rows.is_empty()).count() <= 3, "{newest} versions");
    assert!(w.engine.store().read(|tx| authority::is_compromised(tx, &key)).unwrap(), "for good");
}
