//! An issuer revokes: one incident over all that serve its certificates, a replacement for each, and an end that only observations bring.

use crate::{
    rollouts::{Fleet, small},
    world::person,
};
use domain::{Span, incident::State as Incident, rollout};
use engine::revocations::{Ask, Detail};

const MINUTE: Span = Span::minutes(1);

pub(crate) fn ask(f: &Fleet, issuer: &str) -> Ask {
    Ask { issuer: Some(issuer.into()), deadline: Some(f.w.now + Span::hours(24)), ..Ask::default() }
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

    let id = f.w.engine.open_revocation(&ask(&f, "Test Issuing"), "the CA says so", &person(), &f.w.tick()).unwrap();
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
    let open = |ask: &Ask, reason: &str| code(f.w.engine.open_revocation(ask, reason, &person(), &f.w.tick()));
    assert_eq!(open(&ask(&f, "Test Issuing"), " "), "reason-missing");
    assert_eq!(open(&ask(&f, "Nobody"), "x"), "nothing-affected");
    assert_eq!(open(&ask(&f, " "), "x"), "bad-revocation");
    assert_eq!(open(&Ask { deadline: Some(f.w.now), ..ask(&f, "Test Issuing") }, "x"), "bad-revocation");
    assert_eq!(open(&Ask { deadline: None, ..ask(&f, "Test Issuing") }, "x"), "bad-revocation");
    let many = Ask { secrets: vec!["www".into(); 1001], ..ask(&f, "Test Issuing") };
    assert_eq!(open(&many, "x"), "bad-revocation");
    let one = Ask { issuer: None, secrets: vec!["www".into()], ..ask(&f, "") };
    assert_eq!(f.w.engine.open_revocation(&one, "x", &person(), &f.w.tick()).unwrap(), 1);
    let leaf = f.w.engine.store().read(|tx| store::model::revocation::leaves(tx, 1)).unwrap()[0].0;
    let by_leaf = Ask { issuer: None, certificates: vec![leaf], ..ask(&f, "") };
    assert_eq!(f.w.engine.open_revocation(&by_leaf, "x", &person(), &f.w.tick()).unwrap(), 2);
}
