//! The story of 2013-02-22, with the product in it: the store gets the new certificate, and nothing else changes until
//! production is observed.

use crate::world::{Ca, World, t};
use domain::{Span, incident::State, policy::Level};
use engine::message::Kind;

const EXPIRY: &str = "2013-02-22T20:29:53Z";

fn fleet(ca: &Ca) -> String {
    let mut toml = format!(
        "[fleet]\ndefault_owner = \"storage\"\n[[team]]\nname = \"storage\"\nescalation = \"managers\"\ncontacts = [{{ channel = \"log\" }}]\n\
         [[team]]\nname = \"managers\"\ncontacts = [{{ channel = \"log\" }}]\n[[service]]\nname = \"blob\"\nteam = \"storage\"\n\
         [[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n[[secret]]\nname = \"blob\"\nkind = \"certificate\"\nservice = \"blob\"\nrelease_bound = true\n",
        ca.roots()
    );
    for region in ["us", "eu", "asia"] {
        toml += &format!("[[region]]\nname = \"{region}\"\n");
    }
    for region in ["us", "eu", "asia"] {
        toml += &format!(
            "[[target]]\nname = \"blob-{region}\"\nsecret = \"blob\"\nendpoint = \"tls://{region}.blob.example:443\"\nregion = \"{region}\"\n\
             roots = \"corp\"\nbackends = \"direct\"\noffers = [\"all\"]\n"
        );
    }
    toml
}

#[test]
fn only_production_closes_what_production_opened() {
    let expiry = t(EXPIRY);
    let issued = expiry - Span::days(365) + Span::seconds(1);
    let mut w = World::new(t("2012-06-01T00:00:00Z"));
    let ca = Ca::new(t("2008-01-01T00:00:00Z"), t("2030-01-01T00:00:00Z"));
    let (old, old_key) = ca.leaf(&["*.blob.example"], issued, expiry);
    let (new, new_key) = ca.leaf(&["*.blob.example"], t("2013-01-07T00:00:00Z"), t("2014-01-07T00:00:00Z"));
    for (n, region) in ["us", "eu", "asia"].iter().enumerate() {
        let address = format!("192.0.2.{n}:443");
        w.net.name(&format!("{region}.blob.example"), &[&address]);
        w.net.serves(&address, &old);
    }
    w.apply(&fleet(&ca));
    w.store("blob", &old, &old_key).unwrap();
    w.settle();
    assert_eq!(w.secret("blob").served, domain::target::Served::Until(expiry));
    assert!(w.findings("blob-us").is_empty(), "{:?}", w.findings("blob-us"));

    // 180 days before: exactly one notice, at that second.
    let notice_at = expiry - Span::days(180);
    w.run_until(notice_at, Span::hours(12));
    assert_eq!(w.notices().len(), 0, "a threshold belongs to the quiet side");
    w.now = notice_at + Span::seconds(1);
    w.settle();
    assert_eq!(w.notices().len(), 1);
    w.run_until(t("2012-11-24T20:29:53Z"), Span::hours(12));
    assert_eq!(w.notices().len(), 4, "the ladder");
    assert!(w.incidents().is_empty());

    // 90 days before: one incident with three lines.
    w.now = t("2012-11-24T20:29:54Z");
    w.settle();
    let incidents = w.incidents();
    assert_eq!(incidents.len(), 1);
    assert_eq!((incidents[0].facts.state, incidents[0].facts.open_lines, incidents[0].facts.page), (State::Opened, 3, false));
    let (acknowledged_until, incident) = {
        let id = incidents[0].facts.id;
        let it = w.engine.acknowledge(id, None, "renewing", &crate::world::person(), &w.tick()).unwrap();
        (it.facts.quiet_until.unwrap(), id)
    };
    assert_eq!(acknowledged_until - w.now, Span::days(7));

    // 2013-01-07: the store holds the new certificate. In 2013 the alerts stopped here.
    w.run_until(t("2013-01-07T00:00:00Z"), Span::hours(12));
    let before = (w.incidents(), w.secret("blob").served);
    w.store("blob", &new, &new_key).unwrap();
    w.settle();
    assert_eq!(w.secret("blob").served, before.1, "storing changes no runway");
    assert!(w.incidents()[0].facts.state.is_open());
    assert!(w.findings("blob-us").contains(&"older-version (info)".to_owned()), "{:?}", w.findings("blob-us"));
    let told = w.post.got.borrow().len();
    w.run_until(t("2013-02-10T00:00:00Z"), Span::hours(12));
    assert!(w.post.got.borrow().len() > told, "and people go on hearing of it");
    assert!(w.findings("blob-us").contains(&"older-version (notice)".to_owned()));

    // Two of three regions.
    w.net.serves("192.0.2.0:443", &new);
    w.net.serves("192.0.2.1:443", &new);
    w.run_until(t("2013-02-10T06:00:00Z"), Span::minutes(30));
    let it = &w.incidents()[0];
    assert_eq!((it.facts.open_lines, it.facts.proven_lines), (1, 2));
    assert!(it.facts.state.is_open());

    // A day before the end, somebody is woken.
    w.run_until(expiry - Span::hours(23), Span::hours(1));
    assert!(w.incidents()[0].facts.page);

    // And the last one: resolved, with evidence.
    w.net.serves("192.0.2.2:443", &new);
    w.run_until(expiry - Span::hours(21), Span::minutes(10));
    let it = &w.incidents()[0];
    assert_eq!((it.facts.id, it.facts.state, it.facts.proven_lines), (incident, State::Resolved, 3));
    let lines = w.engine.store().read(|tx| store::model::incident::lines(tx, incident, false, 0, 10)).unwrap();
    assert!(lines.iter().all(|l| l.how == "observed" && !l.evidence.is_empty()), "{lines:?}");
    assert_eq!(w.target("blob-asia").level, Level::Info);
    assert!(w.post.got.borrow().iter().any(|m| m.kind == Kind::IncidentResolved && !m.evidence.is_empty()));
    let report = w.engine.store().read(|tx| store::journal::verify(tx, &[])).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}
