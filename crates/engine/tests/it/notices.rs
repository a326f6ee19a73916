//! What owners are told, in simulated time: rungs for each certificate, and episodes of findings.

use crate::world::{Ca, World, t};
use domain::{Span, finding::Code};
use pki::{Certificate, PrivateKey, build::Authority, key::KeyType};

const NOW: &str = "2026-03-01T00:00:00Z";

fn ca() -> Ca {
    Ca::new(t("2020-01-01T00:00:00Z"), t("2060-01-01T00:00:00Z"))
}

fn fleet(ca: &Ca, targets: &str) -> String {
    format!(
        "[[team]]\nname = \"web\"\ncontacts = [{{ channel = \"log\" }}]\nescalation = \"boss\"\n[[team]]\nname = \"boss\"\n\
         contacts = [{{ channel = \"log\" }}]\n[[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n[[secret]]\nname = \"www\"\n\
         kind = \"certificate\"\nteam = \"web\"\n{targets}",
        ca.roots()
    )
}

fn target(name: &str, extra: &str) -> String {
    format!(
        "[[target]]\nname = \"{name}\"\nsecret = \"www\"\nendpoint = \"tls://{name}.corp.example:443\"\nroots = \"corp\"\nbackends = \"direct\"\n{extra}\n"
    )
}

fn leaf(ca: &Ca, kind: KeyType, from: &World, days: i64) -> (Vec<Certificate>, PrivateKey) {
    let (leaf, key) =
        ca.issuing.leaf(&["*.corp.example"], kind, from.now + Span::days(days) - Span::days(365), from.now + Span::days(days)).unwrap();
    (vec![leaf, ca.issuing.certificate().clone()], key)
}

/// Rungs that were told, with the day of the end, in the order in which they were told.
fn rungs(w: &World) -> Vec<(i64, i64)> {
    let mut all: Vec<_> = w.notices().into_iter().filter_map(|n| Some((n.id, n.rung?, (n.until? - t(NOW)).as_secs() / 86_400))).collect();
    all.sort();
    all.into_iter().map(|(_, rung, day)| (day, rung)).collect()
}

#[test]
fn an_rsa_leaf_beside_an_ecdsa_leaf_has_rungs_of_its_own() {
    let mut w = World::new(t(NOW));
    let ca = ca();
    let (ecdsa, _) = leaf(&ca, KeyType::EcdsaP256, &w, 182);
    let (rsa, _) = leaf(&ca, KeyType::Rsa2048, &w, 190);
    w.net.name("www.corp.example", &["192.0.2.1:443"]);
    for (offer, chain) in [("all", &ecdsa), ("ecdsa", &ecdsa), ("rsa", &rsa)] {
        w.net.answers("192.0.2.1:443", offer, false, Ok(chain.clone()));
    }
    w.apply(&fleet(&ca, &target("www", "offers = [\"all\", \"rsa\", \"ecdsa\"]")));
    w.run_until(t(NOW) + Span::days(35), Span::hours(3));
    assert_eq!(rungs(&w), [(182, 0), (190, 0), (182, 1), (190, 1)]);
    let got = w.post.got.borrow();
    let told: Vec<_> = got.iter().filter(|m| m.code == "leaf-expiring").map(|m| m.served.clone().unwrap()).collect();
    assert_eq!(told[0], ecdsa[0].fingerprint().to_string());
    assert_eq!(told[1], rsa[0].fingerprint().to_string());
}

#[test]
fn two_regions_and_a_standby_each_have_rungs_and_standby_has_no_incident() {
    let mut w = World::new(t(NOW));
    let ca = ca();
    let serve = |w: &World, name: &str, address: &str, days: i64| {
        let (chain, _) = leaf(&ca, KeyType::EcdsaP256, w, days);
        w.net.name(&format!("{name}.corp.example"), &[address]);
        w.net.serves(address, &chain);
    };
    serve(&w, "eu", "192.0.2.1:443", 300);
    serve(&w, "us", "192.0.2.2:443", 181);
    serve(&w, "spare", "192.0.2.3:443", 95);
    let offers = "offers = [\"all\"]";
    let spare = target("spare", &format!("state = \"standby\"\n{offers}"));
    w.apply(&fleet(&ca, &(target("eu", offers) + &target("us", offers) + &spare)));
    w.run_until(t(NOW) + Span::days(30), Span::hours(3));
    assert_eq!(rungs(&w), [(95, 3), (181, 0), (95, 4), (181, 1)], "the standby at once and below its threshold, the region at its rungs");
    assert!(w.incidents().is_empty(), "standby opens none: {:?}", w.incidents());
    let got = w.post.got.borrow();
    let standby = got.iter().find(|m| m.title.contains("standby serves until")).unwrap();
    assert_eq!(standby.targets.iter().map(|p| p.target.as_str()).collect::<Vec<_>>(), ["spare"]);
    assert!(standby.title.contains("on 1 of 3 targets"), "{}", standby.title);
}

#[test]
fn an_intermediate_that_ends_first_has_rungs_beside_the_leaf() {
    let mut w = World::new(t(NOW));
    let from = t("2025-09-01T00:00:00Z");
    let root = Authority::new("Root", from, t("2060-01-01T00:00:00Z")).unwrap();
    let issuing = root.intermediate("Issuing", from, w.now + Span::days(450)).unwrap();
    let ca = Ca { root, issuing };
    let (chain, _) = leaf(&ca, KeyType::EcdsaP256, &w, 185);
    w.net.name("www.corp.example", &["192.0.2.1:443"]);
    w.net.serves("192.0.2.1:443", &chain);
    w.apply(&fleet(&ca, &target("www", "offers = [\"all\"]")));
    // The issuing CA lives 631 days: its notice is at 315 days and a half, so that two rungs come while the leaf serves.
    w.run_until(t(NOW) + Span::days(184), Span::hours(12));
    let told = rungs(&w);
    assert_eq!(told.iter().filter(|(day, _)| *day == 450).map(|(_, rung)| *rung).collect::<Vec<_>>(), [0, 1], "{told:?}");
    assert_eq!(told.iter().filter(|(day, _)| *day == 185).map(|(_, rung)| *rung).collect::<Vec<_>>(), [0, 1, 2, 3], "{told:?}");
}

#[test]
fn a_finding_that_went_and_comes_back_is_told_at_once_and_to_the_owner_alone() {
    let mut w = World::new(t(NOW));
    let ca = ca();
    let (chain, _) = leaf(&ca, KeyType::EcdsaP256, &w, 350);
    w.net.name("www.corp.example", &["192.0.2.1:443"]);
    w.net.serves("192.0.2.1:443", &chain);
    w.apply(&fleet(&ca, &target("www", "offers = [\"all\"]")));
    w.settle();
    let told = |w: &World| {
        let got = w.post.got.borrow();
        got.iter().filter(|m| m.code == Code::Unreachable.as_str()).map(|m| m.team.clone()).collect::<Vec<_>>()
    };
    w.net.silent("192.0.2.1:443");
    w.run_until(w.now + Span::hours(8), Span::minutes(10));
    assert_eq!(told(&w), ["web"]);
    w.net.serves("192.0.2.1:443", &chain);
    w.run_until(w.now + Span::hours(3), Span::minutes(10));
    assert!(w.notices().iter().all(|n| n.ended_at.is_some()), "{:?}", w.notices());
    // The next day, well within a week: news, and no reminder.
    w.net.silent("192.0.2.1:443");
    w.run_until(w.now + Span::days(1), Span::minutes(30));
    assert_eq!(told(&w), ["web", "web"]);
    // It stays: after a week both hear that nothing was done.
    w.run_until(w.now + Span::days(6) + Span::hours(12), Span::hours(1));
    assert_eq!(told(&w), ["web", "web", "web", "boss"]);
}

#[test]
fn a_finding_of_the_store_that_went_and_comes_back_is_told_again() {
    let mut w = World::new(t(NOW));
    let told = |w: &World| w.notices().iter().filter(|n| n.code == Code::ClockNotBelieved.as_str()).count();
    w.doubted = true;
    let own = |w: &World| w.engine.own_once(&w.tick()).unwrap();
    assert_eq!((own(&w), own(&w), told(&w)), (1, 0, 1));
    w.now = w.now + Span::hours(2);
    w.doubted = false;
    assert_eq!(own(&w), 0);
    assert!(w.notices()[0].ended_at.is_some());
    w.now = w.now + Span::minutes(1);
    w.doubted = true;
    assert_eq!((own(&w), told(&w)), (1, 2));
    w.now = w.now + Span::hours(23);
    assert_eq!(own(&w), 0);
    w.now = w.now + Span::hours(1);
    assert_eq!((own(&w), told(&w)), (1, 3), "daily while it stays");
    assert!(w.notices()[0].again && !w.notices()[1].again);
}

#[test]
fn automatic_renewal_mutes_after_it_was_seen_to_work_and_until_it_is_overdue() {
    let mut w = World::new(t(NOW));
    let ca = ca();
    w.net.name("www.corp.example", &["192.0.2.1:443"]);
    w.apply(&(fleet(&ca, "renewal = \"automatic\"\n") + &target("www", "offers = [\"all\"]")));
    let renew = |w: &mut World| {
        let (chain, key) = leaf(&ca, KeyType::EcdsaP256, w, 365);
        w.store("www", &chain, &key).unwrap();
        w.net.serves("192.0.2.1:443", &chain);
        w.settle();
    };
    renew(&mut w);
    // The first time nobody has seen it work: at 180 days there is a notice. At 121 d 16 h it is renewed.
    w.run_until(t(NOW) + Span::days(243), Span::hours(6));
    assert_eq!(rungs(&w).iter().map(|(_, rung)| *rung).collect::<Vec<_>>(), [0, 1, 2]);
    renew(&mut w);
    w.run_until(w.now + Span::hours(4), Span::minutes(30));
    assert!(w.secret("www").completed_unaided);
    let told = w.notices().len();
    // The second time it is trusted, until it is overdue.
    let renewed = t(NOW) + Span::days(243);
    w.run_until(renewed + Span::days(365) - Span::days(103) - Span::hours(16), Span::hours(6));
    assert_eq!(w.notices().len(), told, "{:?}", w.notices());
    w.run_until(w.now + Span::hours(1), Span::minutes(30));
    let codes: Vec<_> = w.notices().iter().take(2).map(|n| n.code.clone()).collect();
    assert!(codes.contains(&"renewal-overdue".to_owned()) && codes.contains(&"leaf-expiring".to_owned()), "{codes:?}");
    // Somebody had to be told, so that this rotation proves nothing.
    renew(&mut w);
    w.run_until(w.now + Span::hours(4), Span::minutes(30));
    assert!(w.target("www").current == w.target("www").required && w.target("www").required > 0);
    assert!(!w.secret("www").completed_unaided);
}
