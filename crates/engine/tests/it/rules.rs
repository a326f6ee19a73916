//! What the rules say about what is served: one case each, from presented bytes to the finding.

use crate::world::{Ca, World, pem, t};
use domain::{Span, Time, incident::State, target::Served};
use pki::{Certificate, build::Authority, key::KeyType};

struct Case {
    w: World,
    ca: Ca,
}

const NOW: &str = "2026-03-01T00:00:00Z";

fn case() -> Case {
    let w = World::new(t(NOW));
    Case { w, ca: Ca::new(t("2020-01-01T00:00:00Z"), t("2060-01-01T00:00:00Z")) }
}

impl Case {
    fn declare(&self, secret: &str, target: &str) {
        let toml = format!(
            "[[team]]\nname = \"web\"\ncontacts = [{{ channel = \"log\" }}]\n[[region]]\nname = \"eu\"\n[[vantage]]\nname = \"far\"\nrequired = true\n\
             [[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n[[secret]]\nname = \"www\"\nkind = \"certificate\"\nteam = \"web\"\n{secret}\n\
             [[target]]\nname = \"www\"\nsecret = \"www\"\nendpoint = \"tls://www.example:443\"\nbackends = \"direct\"\noffers = [\"all\"]\n{target}\n",
            self.ca.roots()
        );
        self.w.apply(&toml);
        self.w.net.name("www.example", &["192.0.2.1:443"]);
    }
    fn leaf(&self, names: &[&str], days: i64) -> (Vec<Certificate>, pki::PrivateKey) {
        self.ca.leaf(names, self.w.now - Span::days(30), self.w.now + Span::days(days))
    }
    fn finds(&self, chain: &[Certificate], wanted: &str) {
        self.w.net.serves("192.0.2.1:443", chain);
        self.w.settle();
        let found = self.w.findings("www");
        assert!(found.iter().any(|f| f == wanted), "wanted {wanted}, found {found:?}");
    }
}

#[test]
fn a_wrong_name_wakes_somebody() {
    let c = case();
    c.declare("", "roots = \"corp\"");
    c.finds(&c.leaf(&["other.example"], 335).0, "wrong-name (incident)");
    assert!(c.w.incidents()[0].facts.page);
}

#[test]
fn a_chain_to_no_known_root_and_one_without_its_intermediate() {
    let c = case();
    c.declare("", "");
    c.finds(&c.leaf(&["www.example"], 335).0, "untrusted (incident)");
    assert_eq!(c.w.target("www").served, Served::Broken);

    let c = case();
    c.declare("", "roots = \"corp\"");
    c.finds(&c.leaf(&["www.example"], 335).0[..1], "incomplete-chain (incident)");
}

#[test]
fn what_has_expired_and_is_still_in_use() {
    let c = case();
    c.declare("", "roots = \"corp\"");
    c.finds(&c.leaf(&["www.example"], -1).0, "expired (incident)");
    assert!(c.w.incidents()[0].facts.page);
}

#[test]
fn a_certificate_that_is_none_of_ours() {
    let mut c = case();
    c.declare("", "roots = \"corp\"");
    let (ours, key) = c.leaf(&["www.example"], 335);
    c.w.store("www", &ours, &key).unwrap();
    c.finds(&c.leaf(&["www.example"], 335).0, "not-ours (incident)");
}

#[test]
fn an_issuer_that_nobody_expected_and_a_name_that_is_missing() {
    let c = case();
    c.declare("management = \"external\"\nissuers = [\"Let's Encrypt\"]\nnames = [\"www.example\", \"www2.example\"]", "roots = \"corp\"");
    let chain = c.leaf(&["www.example"], 335).0;
    c.finds(&chain, "not-ours (notice)");
    c.finds(&chain, "wrong-name (notice)");
}

#[test]
fn a_private_ca_is_told_about_long_before_its_leaves() {
    let w = World::new(t(NOW));
    let from = t("2020-01-01T00:00:00Z");
    let root = Authority::new("Root", from, t("2060-01-01T00:00:00Z")).unwrap();
    // 300 days left of a CA that lives more than seven years: below its incident threshold of 365 days.
    let issuing = root.intermediate("Issuing", from, w.now + Span::days(300)).unwrap();
    let c = Case { ca: Ca { root, issuing }, w };
    c.declare("", "roots = \"corp\"");
    c.finds(&c.leaf(&["www.example"], 200).0, "path-expiring (incident)");
    let incident = &c.w.incidents()[0];
    assert_eq!(incident.facts.subject, format!("certificate/{}", c.ca.issuing.certificate().fingerprint()));
    assert!(!incident.facts.page, "there is time");
}

#[test]
fn a_root_of_one_s_own_that_ends() {
    let w = World::new(t(NOW));
    let from = t("2020-01-01T00:00:00Z");
    let root = Authority::new("Root", from, w.now + Span::days(600)).unwrap();
    let issuing = root.intermediate("Issuing", from, w.now + Span::days(600) - Span::hours(1)).unwrap();
    let c = Case { ca: Ca { root, issuing }, w };
    c.declare("", "roots = \"corp\"");
    c.finds(&c.leaf(&["www.example"], 335).0, "path-expiring (notice)");
}

#[test]
fn a_superfluous_expired_cross_sign_is_a_notice() {
    let c = case();
    c.declare("", "roots = \"corp\"");
    let old = Authority::new("Old Root", t("2000-01-01T00:00:00Z"), t("2030-01-01T00:00:00Z")).unwrap();
    let cross = old.cross_sign(&c.ca.root, t("2010-01-01T00:00:00Z"), t("2020-05-30T10:48:00Z")).unwrap();
    let mut chain = c.leaf(&["www.example"], 335).0;
    chain.push(cross);
    c.finds(&chain, "incomplete-chain (notice)");
    assert!(c.w.incidents().is_empty());
    assert_eq!(c.w.target("www").served, Served::Until(c.w.now + Span::days(335)));
}

#[test]
fn no_expiry_in_9999() {
    let c = case();
    c.declare("", "roots = \"corp\"");
    let (leaf, _) = c.ca.issuing.leaf(&["www.example"], KeyType::EcdsaP256, c.w.now, Time::NO_EXPIRY).unwrap();
    c.w.net.serves("192.0.2.1:443", &[leaf, c.ca.issuing.certificate().clone()]);
    c.w.settle();
    assert!(c.w.incidents().is_empty());
    assert!(c.w.findings("www").iter().all(|f| !f.contains("leaf-expiring")), "{:?}", c.w.findings("www"));
}

#[test]
fn draining_mutes_unreachable_and_nothing_else() {
    let mut c = case();
    let until = c.w.now + Span::days(20);
    c.declare("", &format!("roots = \"corp\"\nstate = \"drained\"\ndrained_until = \"{until}\""));
    let chain = c.leaf(&["www.example"], 335).0;
    c.w.net.serves("192.0.2.1:443", &chain);
    c.w.settle();
    c.w.net.silent("192.0.2.1:443");
    c.w.run_until(until - Span::hours(1), Span::hours(6));
    assert!(c.w.findings("www").is_empty(), "{:?}", c.w.findings("www"));
    c.w.run_until(until + Span::days(1), Span::hours(1));
    assert!(c.w.findings("www").iter().any(|f| f.starts_with("unreachable")), "{:?}", c.w.findings("www"));
}

#[test]
fn a_required_vantage_that_never_reports_is_heard_of() {
    let mut c = case();
    c.declare("", "roots = \"corp\"\nvantages = [\"local\", \"far\"]");
    c.w.net.serves("192.0.2.1:443", &c.leaf(&["www.example"], 335).0);
    c.w.run_until(c.w.now + Span::hours(8), Span::hours(1));
    assert!(c.w.findings("www").iter().any(|f| f == "never-observed (notice)"), "{:?}", c.w.findings("www"));
    c.w.run_until(c.w.now + Span::days(8), Span::hours(6));
    assert!(c.w.findings("www").iter().any(|f| f == "never-observed (incident)"), "{:?}", c.w.findings("www"));
}

#[test]
fn an_address_that_left_the_name_is_looked_at_for_a_day() {
    let mut c = case();
    c.declare("", "roots = \"corp\"");
    let good = c.leaf(&["www.example"], 335).0;
    let bad = c.leaf(&["www.example"], 5).0;
    c.w.net.name("www.example", &["192.0.2.1:443", "192.0.2.2:443"]);
    c.w.net.serves("192.0.2.1:443", &good);
    c.w.net.serves("192.0.2.2:443", &bad);
    c.w.settle();
    assert_eq!(c.w.incidents().len(), 1);
    // It leaves the name and still answers with what ends: nothing is closed by a change of DNS for as long as clients remember it.
    c.w.net.name("www.example", &["192.0.2.1:443"]);
    c.w.run_until(c.w.now + Span::hours(20), Span::minutes(30));
    assert!(c.w.incidents()[0].facts.state.is_open());
    c.w.run_until(c.w.now + Span::hours(8), Span::minutes(30));
    assert_eq!(c.w.incidents()[0].facts.state, State::Resolved);
}

#[test]
fn each_region_serves_its_own_instance() {
    let c = case();
    c.declare("", "roots = \"corp\"\nregion = \"eu\"");
    let ((eu, eu_key), (all, all_key)) = (c.leaf(&["www.example"], 335), c.leaf(&["www.example"], 335));
    let incoming = |scope: &str, chain: &[Certificate], key: &pki::PrivateKey| engine::vault::Incoming {
        scope: scope.into(),
        chain: pem(chain).into_bytes(),
        key: Some(key.expose_pkcs8().to_vec().into()),
        password: None,
    };
    let import = engine::vault::Import {
        name: "www",
        instances: vec![incoming("all", &all, &all_key), incoming("eu", &eu, &eu_key)],
        accept_change: false,
        roots: Some(c.ca.roots()),
        reason: "",
        dry_run: false,
    };
    let prepared = c.w.engine.prepare(import, &c.w.tick()).unwrap();
    c.w.engine.store_all(&[prepared], &mut *crate::world::entropy(3), &crate::world::person(), &c.w.tick()).unwrap();
    c.w.net.serves("192.0.2.1:443", &eu);
    c.w.settle();
    assert!(c.w.findings("www").is_empty(), "{:?}", c.w.findings("www"));
    let t = c.w.target("www");
    assert_eq!((t.current, t.required), (1, 1));
}

#[test]
fn the_end_of_an_intermediate_proves_nothing() {
    let w = World::new(t(NOW));
    let from = t("2020-01-01T00:00:00Z");
    let end = w.now + Span::days(3);
    let root = Authority::new("Root", from, t("2060-01-01T00:00:00Z")).unwrap();
    let issuing = root.intermediate("Issuing", from, end).unwrap();
    let mut c = Case { ca: Ca { root, issuing }, w };
    c.declare("", "roots = \"corp\"");
    c.finds(&c.leaf(&["www.example"], 335).0, "path-expiring (incident)");
    c.w.run_until(end - Span::seconds(1), Span::minutes(30));
    for second in 0..4 {
        c.w.now = end + Span::seconds(second);
        c.w.settle();
        let incidents = c.w.incidents();
        assert_eq!(incidents.len(), 1, "at {second} s");
        assert!(incidents[0].facts.state.is_open(), "time alone closed it at {second} s");
    }
    c.w.run_until(end + Span::hours(6), Span::minutes(30));
    let incidents = c.w.incidents();
    assert_eq!((incidents.len(), incidents[0].facts.state.is_open(), incidents[0].facts.proven_lines), (1, true, 0));
    assert!(c.w.findings("www").iter().any(|f| f == "expired (incident)"), "{:?}", c.w.findings("www"));
    assert_eq!(c.w.target("www").served, Served::Until(end), "and nobody is told that it serves for another year");
}

#[test]
fn the_end_of_a_leaf_proves_nothing() {
    let mut c = case();
    c.declare("", "roots = \"corp\"");
    let (chain, _) = c.leaf(&["www.example"], 1);
    c.finds(&chain, "leaf-expiring (incident)");
    let end = c.w.now + Span::days(1);
    c.w.run_until(end - Span::seconds(1), Span::minutes(30));
    for second in 0..4 {
        c.w.now = end + Span::seconds(second);
        c.w.settle();
    }
    c.w.run_until(end + Span::hours(6), Span::minutes(30));
    let it = &c.w.incidents()[0];
    assert_eq!((c.w.incidents().len(), it.facts.state.is_open(), it.facts.proven_lines), (1, true, 0));
}
