//! An issuer revokes: one incident over all that serve its certificates, a replacement for each, and an end that only observations bring.

use crate::{
    rollouts::{Fleet, small},
    world::{World, person, t},
};
use domain::{Span, incident::State as Incident, rollout};
use engine::revocations::{Ask, Detail};

const MINUTE: Span = Span::minutes(1);

pub(crate) fn ask(f: &Fleet, issuer: &str) -> Ask {
    Ask { issuer: Some(issuer.into()), deadline: Some(f.w.now + Span::hours(24)), ..Ask::default() }
}

fn open(f: &Fleet, ask: &Ask, reason: &str) -> i64 {
    f.w.engine.open_revocation(ask, false, reason, &person(), &f.w.tick()).unwrap().revocation.id
}

fn show(f: &Fleet, id: i64) -> Detail {
    f.w.engine.store().try_read(|tx| engine::revocations::detail(tx, id)).unwrap()
}

fn code<T: std::fmt::Debug>(result: engine::Result<T>) -> &'static str {
    match result {
        Err(engine::Error::Refused(no)) => no.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_incident_over_everything_that_ends_by_what_was_seen() {
    let mut f = Fleet::new(&small(), "");
    // Somebody else's certificate of the same issuer is affected too.
    let partner = "[[secret]]\nname = \"partner\"\nkind = \"certificate\"\nmanagement = \"external\"\nnames = [\"p.example\"]\n\
        [[target]]\nname = \"p\"\nsecret = \"partner\"\nendpoint = \"tls://p.example:443\"\nroots = \"corp\"\nbackends = \"direct\"\n\
        offers = [\"all\"]\n";
    let with = crate::rollouts::toml(&f.ca, &small(), "") + partner;
    f.w.net.name("p.example", &["10.8.8.8:443"]);
    let theirs = f.ca.leaf(&["p.example"], f.w.now - Span::days(1), f.w.now + Span::days(80)).0;
    f.w.net.serves("10.8.8.8:443", &theirs);
    f.w.apply(&with);
    f.run(Span::minutes(3), MINUTE);

    let id = open(&f, &ask(&f, "Test Issuing"), "the CA says so");
    f.run(MINUTE, MINUTE);
    let open: Vec<_> = f.w.incidents().into_iter().filter(|i| i.facts.state.is_open()).collect();
    assert_eq!(open.len(), 1, "one, over both secrets: {open:#?}");
    assert_eq!((open[0].facts.subject.as_str(), open[0].facts.open_lines), ("revocation/1", 11));
    assert!(!open[0].facts.broken);
    let d = show(&f, id);
    let order: Vec<&str> = d.secrets.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!((d.certificates, order), (2, vec!["www", "partner"]), "what more of production hangs on goes first");
    assert!(d.secrets[0].1.detail.contains("store a replacement: perennial cert import www"), "{:?}", d.secrets[0].1);
    assert!(d.secrets[1].1.detail.contains("somebody else renews it"));
    assert_eq!(code(f.w.engine.start_rollout("www", Some(1), rollout::Kind::Ordinary, "", &person(), &f.w.tick())), "version-revoked");

    // A new version, from another issuer, goes out as an emergency.
    f.ca.issuing = f.ca.root.intermediate("Other CA", f.w.now - Span::days(100), f.w.now + Span::days(3000)).unwrap();
    f.deaf.insert("u2".into());
    f.store(Span::days(90));
    f.run(Span::minutes(10), MINUTE);
    let d = show(&f, id);
    assert_eq!(d.secrets[0].1.rollout, f.latest().id.0, "{:?}", d.secrets[0].1);
    assert_eq!((f.latest().kind, f.latest().revocation), (rollout::Kind::Critical, id));
    assert_eq!((d.secrets[0].2, d.secrets[0].3.clone()), (1, vec!["u2".to_owned()]), "one still serves what is revoked: {}", f.says());
    assert_eq!(d.secrets[0].1.done_at, None);
    f.deaf.clear();
    f.run(Span::minutes(90), MINUTE);
    let d = show(&f, id);
    assert!(d.secrets[0].1.done_at.is_some() && d.secrets[1].1.done_at.is_none() && d.revocation.ended_at.is_none(), "{d:#?}");

    // After the deadline what is still served counts as broken.
    f.run(Span::hours(24), Span::hours(1));
    let incident = f.w.incidents().into_iter().find(|i| i.facts.subject == "revocation/1").unwrap();
    assert!(incident.facts.broken && incident.facts.state.is_open());
    assert_eq!(incident.facts.open_lines, 1);
    let renewed = f.ca.leaf(&["p.example"], f.w.now - Span::days(1), f.w.now + Span::days(80)).0;
    f.w.net.serves("10.8.8.8:443", &renewed);
    f.run(Span::hours(3), Span::minutes(30));
    assert!(show(&f, id).revocation.ended_at.is_some(), "{:#?}", show(&f, id));
    let incident = f.w.incidents().into_iter().find(|i| i.facts.subject == "revocation/1").unwrap();
    assert_eq!(incident.facts.state, Incident::Resolved);
}

#[test]
fn what_cannot_be_opened_is_refused_by_name() {
    let f = Fleet::new(&small(), "");
    let refused = |ask: &Ask, reason: &str| code(f.w.engine.open_revocation(ask, false, reason, &person(), &f.w.tick()));
    assert_eq!(refused(&ask(&f, "Test Issuing"), " "), "reason-missing");
    assert_eq!(refused(&ask(&f, "Nobody"), "x"), "nothing-affected");
    assert_eq!(refused(&ask(&f, " "), "x"), "bad-revocation");
    assert_eq!(refused(&Ask { deadline: Some(f.w.now), ..ask(&f, "Test Issuing") }, "x"), "bad-revocation");
    assert_eq!(refused(&Ask { deadline: None, ..ask(&f, "Test Issuing") }, "x"), "bad-revocation");
    let many = Ask { secrets: vec!["www".into(); 1001], ..ask(&f, "Test Issuing") };
    assert_eq!(refused(&many, "x"), "bad-revocation");
    let one = Ask { issuer: None, secrets: vec!["www".into()], ..ask(&f, "") };
    assert_eq!(open(&f, &one, "x"), 1);
    let leaf = f.w.engine.store().read(|tx| store::model::revocation::leaves(tx, 1)).unwrap()[0].0;
    let by_leaf = Ask { issuer: None, certificates: vec![leaf], ..ask(&f, "") };
    assert_eq!(open(&f, &by_leaf, "x"), 2);
}

#[test]
fn a_good_version_that_is_stored_already_replaces_what_is_revoked() {
    // As in 2013: the renewed certificates lay in the store, and production served the old ones.
    let by_hand = crate::rollouts::toml;
    let mut f = Fleet::new(&small(), "");
    f.w.apply(&by_hand(&f.ca, &small(), "").replace("rollout = \"fast\"", "rollout = \"by-hand\""));
    f.ca.issuing = f.ca.root.intermediate("Other CA", f.w.now - Span::days(100), f.w.now + Span::days(3000)).unwrap();
    f.store(Span::days(90));
    f.run(Span::hours(1), MINUTE);
    assert_eq!(f.told_all(), "1: c1 a1 b1 u1 a2 b2 u2 a3 b3 u3", "nobody brought it");
    let id = open(&f, &ask(&f, "Test Issuing"), "the CA says so");
    f.run(Span::minutes(20), Span::seconds(15));
    let d = show(&f, id);
    assert_eq!((f.latest().version, f.latest().kind, d.secrets[0].1.rollout), (2, rollout::Kind::Critical, f.latest().id.0), "{d:#?}");
    f.run(Span::hours(2), MINUTE);
    assert!(show(&f, id).revocation.ended_at.is_some(), "{:#?}", show(&f, id));
}

#[test]
fn what_was_taken_back_is_not_started_again() {
    let mut f = Fleet::new(&small(), "");
    let www = f.w.secret("www").id;
    let leaf = f.w.engine.store().read(|tx| store::model::secret::leaves_of(tx, www, 1)).unwrap()[0];
    let id = open(&f, &Ask { issuer: None, certificates: vec![leaf], ..ask(&f, "") }, "the key leaked");
    f.store(Span::days(90));
    f.run(Span::minutes(2), Span::seconds(15));
    let first = f.latest();
    assert_eq!((first.version, first.revocation), (2, id));
    // Nobody goes back to what is revoked; it halts, and a person ends it by storing something else.
    let back = f.w.engine.roll_back(first.id, "it breaks", &person(), &f.w.tick());
    assert_eq!(code(back), "version-revoked");
    let end = |tx: &mut store::Tx<'_>| {
        let mut r = store::model::rollout::lock(tx, first.id)?.unwrap();
        (r.state, r.ended_at, r.said) = (rollout::State::RolledBack, Some(f.w.now), "it breaks".into());
        store::model::rollout::put(tx, &r)?;
        store::timer::set(tx, engine::loops::REVOCATION, id, f.w.now)
    };
    f.w.engine.store().write(&person(), f.w.now, end).unwrap();
    f.run(Span::hours(1), MINUTE);
    assert_eq!(f.latest().id, first.id, "{}", f.says());
    let said = show(&f, id).secrets[0].1.detail.clone();
    assert!(said.contains("was taken back: it breaks") && said.contains("rollout critical www"), "{said}");
}

#[test]
fn the_same_leaf_in_two_secrets_is_open_until_both_are_without_it() {
    let mut f = Fleet::new(&small(), "");
    let more = "[[secret]]\nname = \"copy\"\nkind = \"certificate\"\n\
        [[target]]\nname = \"p\"\nsecret = \"copy\"\nendpoint = \"tls://p.example:443\"\nroots = \"corp\"\nbackends = \"direct\"\n\
        offers = [\"all\"]\nserver_name = \"c1.example\"\n";
    f.w.net.name("p.example", &["10.8.8.8:443"]);
    let (chain, key) = f.ca.leaf(&["c1.example", "p.example"], f.w.now - Span::days(1), f.w.now + Span::days(80));
    f.w.net.serves("10.8.8.8:443", &chain);
    f.w.apply(&(crate::rollouts::toml(&f.ca, &small(), "") + more));
    f.w.store_accepting("copy", &chain, &key).unwrap();
    f.w.apply(&(crate::rollouts::toml(&f.ca, &small(), "") + more + "[[secret]]\nname = \"other\"\nkind = \"certificate\"\n"));
    f.w.store_accepting("other", &chain, &key).unwrap();
    f.run(Span::minutes(5), MINUTE);
    let leaf = domain::Fingerprint::of(chain[0].der());
    let id = open(&f, &Ask { issuer: None, certificates: vec![leaf], ..ask(&f, "") }, "the key leaked");
    let d = show(&f, id);
    assert_eq!((d.certificates, d.count.0), (1, 2), "one certificate, of two secrets: {d:#?}");
    f.run(Span::minutes(30), MINUTE);
    assert!(show(&f, id).revocation.ended_at.is_none(), "a target still answers with it");
    // Stored once more under another number it stays revoked.
    f.w.store_accepting("copy", &chain, &key).unwrap();
    assert_eq!(code(f.w.engine.start_rollout("copy", Some(2), rollout::Kind::Ordinary, "", &person(), &f.w.tick())), "version-revoked");
}

#[test]
fn a_mistake_is_withdrawn_and_a_try_leaves_nothing_behind() {
    let mut f = Fleet::new(&small(), "");
    let tried = f.w.engine.open_revocation(&ask(&f, "Test Issuing"), true, "try", &person(), &f.w.tick()).unwrap();
    assert_eq!((tried.revocation.id, tried.certificates, tried.count, tried.secrets[0].0.as_str()), (0, 1, (1, 0), "www"));
    f.run(Span::minutes(20), MINUTE);
    assert_eq!((f.w.incidents().len(), f.journal("intent.approved")), (0, 0));
    let id = open(&f, &ask(&f, "Test Issuing"), "somebody else's list");
    f.run(Span::minutes(2), MINUTE);
    assert_eq!(f.w.incidents()[0].facts.open_lines, 10);
    let withdraw = |f: &Fleet, why| f.w.engine.withdraw_revocation(id, why, &person(), &f.w.tick());
    assert_eq!(code(withdraw(&f, " ")), "reason-missing");
    withdraw(&f, "it was not ours").unwrap();
    assert_eq!(code(withdraw(&f, "again")), "revocation-ended");
    f.run(Span::hours(12), Span::minutes(30));
    assert!(f.w.incidents().iter().all(|i| !i.facts.state.is_open()), "{:#?}", f.w.incidents());
    let d = show(&f, id);
    assert_eq!((d.revocation.withdrawn_by.as_str(), d.revocation.withdrawn_for.as_str()), ("test/operator", "it was not ours"));
    // Its version may go anywhere again.
    f.w.engine.start_rollout("www", Some(1), rollout::Kind::Ordinary, "", &person(), &f.w.tick()).unwrap();
}

#[test]
fn where_a_budget_is_too_small_for_all_the_riskiest_get_it() {
    let fleet = |budget: &str| {
        let mut toml = format!(
            "[fleet]\ndefault_owner = \"web\"\n[[team]]\nname = \"web\"\ncontacts = [{{ channel = \"log\" }}]\n\
             [[issuer]]\nname = \"public\"\nkind = \"acme\"\ndirectory = \"https://acme.example.net/directory\"\n\
             challenge = \"http-01\"\n{budget}\n"
        );
        for n in 1..=5 {
            toml += &format!(
                "[[secret]]\nname = \"s{n}\"\nkind = \"certificate\"\nrenewal = \"automatic\"\nnames = [\"s{n}.example.com\"]\n\
                 issued_by = [\"public\"]\nkeys = \"store\"\n"
            );
            // What was declared last is at the greatest risk.
            for m in 0..n {
                toml += &format!("[[target]]\nname = \"s{n}-{m}\"\nsecret = \"s{n}\"\nendpoint = \"tls://s{n}.example.com:{}\"\n", 443 + m);
            }
        }
        toml
    };
    let mut w = World::new(t("2026-03-01T10:00:00Z"));
    w.apply(&fleet(""));
    let script = crate::orders::Script::new();
    crate::orders::turn(&w, &script);
    w.now = w.now + Span::days(8);
    w.apply(&fleet("budget = { orders = 2, window = \"7d\" }"));
    let secrets = (1..=5).map(|n| format!("s{n}")).collect();
    let ask = Ask { secrets, deadline: Some(w.now + Span::hours(24)), ..Ask::default() };
    let id = w.engine.open_revocation(&ask, false, "a leak", &person(), &w.tick()).unwrap().revocation.id;
    for _ in 0..60 {
        w.now = w.now + MINUTE;
        w.engine.revocations_once(&w.tick()).unwrap();
        crate::orders::turn(&w, &script);
    }
    let versions: Vec<i64> = (1..=5).map(|n| w.secret(&format!("s{n}")).newest_version).collect();
    let shown = w.engine.store().try_read(|tx| engine::revocations::detail(tx, id)).unwrap();
    let states: Vec<_> = (1..=5)
        .map(|n| {
            let id = w.secret(&format!("s{n}")).id;
            w.engine.store().read(|tx| Ok((store::model::issuance::renewal(tx, id)?, store::model::order::of_secret(tx, id, 1)?))).unwrap()
        })
        .map(|(renewal, orders)| (renewal.map(|r| r.detail), orders.first().map(|o| (o.state, o.detail.clone()))))
        .collect();
    assert_eq!(versions, [1, 1, 1, 2, 2], "{states:?} {shown:?}");
}

#[test]
fn an_issuer_that_works_for_an_hour_makes_nobody_dead() {
    let mut w = World::new(t("2026-03-01T10:00:00Z"));
    let script = crate::orders::Script::new();
    w.apply(&format!(
        "[fleet]\ndefault_owner = \"web\"\n[[team]]\nname = \"web\"\ncontacts = [{{ channel = \"log\" }}]\n[[region]]\nname = \"eu\"\n\
         [[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n[[issuer]]\nname = \"public\"\nkind = \"acme\"\n\
         directory = \"https://acme.example.net/directory\"\nchallenge = \"http-01\"\n\
         [[secret]]\nname = \"www\"\nkind = \"certificate\"\nrenewal = \"automatic\"\nnames = [\"www.example.com\"]\nissued_by = [\"public\"]\n\
         [[node]]\nname = \"web-1\"\nregion = \"eu\"\nsecrets = [\"www\"]\n[[target]]\nname = \"www\"\nsecret = \"www\"\nregion = \"eu\"\n\
         endpoint = \"tls://www.example.com:443\"\nroots = \"corp\"\nbackends = \"direct\"\noffers = [\"all\"]\nnodes = [\"web-1\"]\n",
        script.ca.roots()
    ));
    w.net.name("www.example.com", &["10.1.0.1:443"]);
    w.net.silent("10.1.0.1:443");
    let minute = |w: &mut World| {
        w.now = w.now + MINUTE;
        w.settle();
        crate::orders::turn(w, &script);
        w.settle();
    };
    // What the node's agent would do: ask with the key that was born there, and serve what comes.
    let key = |_| pki::PrivateKey::generate(pki::KeyType::EcdsaP256).unwrap();
    let keys: Vec<_> = (0..2).map(key).collect();
    let ask = |w: &World, version: i64| {
        let csr = pki::csr::build(&keys[version as usize - 1], None, &[pki::San::parse("www.example.com").unwrap()]).unwrap();
        let id = w.secret("www").id;
        match w.engine.issue_for_node("web-1", id, version, &csr, &w.tick(), &mut *crate::world::entropy(9)) {
            Ok(engine::issuing::Answer::Issued(chain)) => {
                Some(chain.into_iter().map(|c| pki::Certificate::parse(c).unwrap()).collect::<Vec<_>>())
            }
            Ok(engine::issuing::Answer::Pending { .. }) => None,
            Err(e) => panic!("{e}"),
        }
    };
    let serve = |w: &World, chain: &[pki::Certificate]| {
        w.net.serves("10.1.0.1:443", chain);
        w.engine.look_now(w.target("www").facts.id, &person(), &w.tick()).unwrap();
    };
    minute(&mut w);
    assert_eq!(w.secret("www").newest_version, 1, "announced");
    assert!(ask(&w, 1).is_none());
    minute(&mut w);
    serve(&w, &ask(&w, 1).expect("it came"));
    (0..5).for_each(|_| minute(&mut w));

    let ask_for = Ask { secrets: vec!["www".into()], deadline: Some(w.now + Span::hours(24)), ..Ask::default() };
    let id = w.engine.open_revocation(&ask_for, false, "a leak", &person(), &w.tick()).unwrap().revocation.id;
    minute(&mut w);
    assert_eq!(w.secret("www").newest_version, 2, "announced by the revocation");
    for _ in 0..100 {
        let pending = engine::ports::Answer::Pending { retry_after: Some(MINUTE), what: "processing".into() };
        script.next.lock().unwrap().push_back(pending);
    }
    let latest = |w: &World| {
        w.engine.store().try_read(|tx| {
            let found = store::model::rollout::page(tx, false, None, 1)?.remove(0);
            engine::rollouts::detail(tx, found.id)
        })
    };
    for _ in 0..60 {
        minute(&mut w);
        assert!(ask(&w, 2).is_none());
    }
    let d = latest(&w).unwrap();
    assert_eq!((d.rollout.version, d.rollout.kind, d.rollout.state), (2, rollout::Kind::Critical, rollout::State::Running), "{d:#?}");
    assert_eq!((d.left_behind.0, d.needs_a_person), (0, false), "an hour is no reason to give anybody up: {:?}", d.waits);
    script.next.lock().unwrap().clear();
    (0..5).for_each(|_| minute(&mut w));
    serve(&w, &ask(&w, 2).expect("it came"));
    (0..30).for_each(|_| minute(&mut w));
    assert_eq!(latest(&w).unwrap().rollout.state, rollout::State::Done, "{:?}", latest(&w).unwrap().waits);
    let d = w.engine.store().try_read(|tx| engine::revocations::detail(tx, id)).unwrap();
    assert!(d.revocation.ended_at.is_some(), "{d:#?}");
}
