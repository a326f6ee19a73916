//! The laws of the design, each by a case that could break it.

use crate::world::{Ca, World, person, t};
use domain::{Span, incident::State, target::Served};
use std::collections::VecDeque;

fn one_target(ca: &Ca, backends: &str, extra: &str) -> String {
    format!(
        "[[team]]\nname = \"web\"\ncontacts = [{{ channel = \"log\" }}]\n[[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n[[secret]]\n\
         name = \"www\"\nkind = \"certificate\"\nteam = \"web\"\n[[target]]\nname = \"www\"\nsecret = \"www\"\n\
         endpoint = \"tls://www.example:443\"\nroots = \"corp\"\nbackends = \"{backends}\"\noffers = [\"all\"]\n{extra}",
        ca.roots()
    )
}

/// A world in which `www` serves a certificate with 10 days left: an incident is open.
fn burning(backends: &str, addresses: &[&str]) -> (World, Ca, Vec<pki::Certificate>) {
    let now = t("2026-03-01T00:00:00Z");
    let mut w = World::new(now);
    let ca = Ca::new(t("2020-01-01T00:00:00Z"), t("2040-01-01T00:00:00Z"));
    let (old, key) = ca.leaf(&["www.example"], now - Span::days(355), now + Span::days(10));
    w.net.name("www.example", addresses);
    for a in addresses {
        w.net.serves(a, &old);
    }
    w.apply(&one_target(&ca, backends, ""));
    w.store("www", &old, &key).unwrap();
    w.settle();
    assert_eq!(w.incidents().len(), 1);
    (w, ca, old)
}

fn renewed(w: &mut World, ca: &Ca) -> Vec<pki::Certificate> {
    let (new, key) = ca.leaf(&["www.example"], w.now - Span::hours(1), w.now + Span::days(364));
    w.store("www", &new, &key).unwrap();
    new
}

#[test]
fn absence_is_not_recovery() {
    let (mut w, ca, _) = burning("direct", &["192.0.2.1:443"]);
    renewed(&mut w, &ca);
    w.net.silent("192.0.2.1:443");
    w.run_until(w.now + Span::days(1), Span::minutes(30));
    let it = &w.incidents();
    assert!(it.iter().all(|i| i.facts.state.is_open()), "silence closed something: {it:?}");
    assert!(w.findings("www").iter().any(|f| f == "unreachable (notice)"), "{:?}", w.findings("www"));
    assert!(matches!(w.secret("www").served, Served::Until(_)), "what was last seen still counts");
    w.run_until(w.now + Span::days(8), Span::hours(3));
    assert!(w.findings("www").iter().any(|f| f == "not-observed (incident)"), "{:?}", w.findings("www"));
    assert_eq!(w.incidents().len(), 2, "silence raises a finding of its own");
}

#[test]
fn a_quorum_of_green_is_not_green() {
    let (mut w, ca, _) = burning("direct", &["192.0.2.1:443", "192.0.2.2:443", "192.0.2.3:443"]);
    let new = renewed(&mut w, &ca);
    w.net.serves("192.0.2.1:443", &new);
    w.net.serves("192.0.2.2:443", &new);
    w.run_until(w.now + Span::hours(5), Span::minutes(20));
    assert!(w.incidents()[0].facts.state.is_open());
    assert!(w.findings("www").iter().any(|f| f.starts_with("partial")), "{:?}", w.findings("www"));
    let t = w.target("www");
    assert_eq!((t.current, t.required), (2, 3));
    w.net.serves("192.0.2.3:443", &new);
    w.run_until(w.now + Span::hours(2), Span::minutes(20));
    assert_eq!(w.incidents()[0].facts.state, State::Resolved);
}

#[test]
fn a_shared_address_needs_thirty_answers_without_the_old_certificate() {
    let (mut w, ca, old) = burning("shared", &["192.0.2.1:443"]);
    let new = renewed(&mut w, &ca);
    // Nine of ten machines have it; the tenth does not.
    let mut answers: VecDeque<_> = std::iter::repeat_n(Ok(new.clone()), 9).collect();
    answers.push_back(Ok(old.clone()));
    for _ in 0..3 {
        answers.extend(std::iter::repeat_n(Ok(new.clone()), 9));
        answers.push_back(Ok(old.clone()));
    }
    answers.push_back(Ok(new.clone()));
    w.net.script("192.0.2.1:443", answers);
    w.run_until(w.now + Span::hours(1) + Span::seconds(1), Span::hours(1));
    assert!(w.incidents()[0].facts.state.is_open());
    w.run_until(w.now + Span::hours(2), Span::seconds(30));
    assert_eq!(w.incidents()[0].facts.state, State::Resolved);
}

#[test]
fn acknowledging_closes_nothing_and_ends_with_the_runway() {
    let (mut w, _, _) = burning("direct", &["192.0.2.1:443"]);
    let id = w.incidents()[0].facts.id;
    let it = w.engine.acknowledge(id, None, "on it", &person(), &w.tick()).unwrap();
    assert_eq!(it.facts.quiet_until.unwrap() - w.now, Span::hours(60), "a quarter of ten days");
    let told = w.post.got.borrow().len();
    w.run_until(w.now + Span::hours(59), Span::hours(1));
    assert_eq!(w.post.got.borrow().len(), told + 1, "the acknowledgement itself is told, and then it is quiet");
    w.run_until(w.now + Span::hours(2), Span::hours(1));
    assert!(w.post.got.borrow().len() > told + 1, "nothing improved");
    assert!(w.incidents()[0].facts.state.is_open());
}

#[test]
fn pruning_is_refused_over_an_open_incident_and_retires_otherwise() {
    let (mut w, ca, _) = burning("direct", &["192.0.2.1:443"]);
    let without = api::fleet::parse("[[team]]\nname = \"web\"\ncontacts = [{ channel = \"log\" }]\n").unwrap();
    let prune = engine::inventory::Options { prune: true, ..Default::default() };
    let error = w.engine.apply(&without, &prune, &person(), &w.tick()).unwrap_err();
    assert!(error.to_string().contains("open incident"), "{error}");
    assert!(error.to_string().contains("its targets first: perennial secret retire www --reason"), "{error}");
    assert!(w.target("www").retired_at.is_none(), "nothing was half done");

    let new = renewed(&mut w, &ca);
    w.net.serves("192.0.2.1:443", &new);
    w.run_until(w.now + Span::hours(3), Span::minutes(10));
    assert_eq!(w.incidents()[0].facts.state, State::Resolved);
    w.engine.apply(&without, &prune, &person(), &w.tick()).unwrap();
    assert!(w.target("www").retired_at.is_some());
    // It still answers with what it served when it was retired: it comes back.
    w.run_until(w.now + Span::hours(2), Span::minutes(10));
    assert!(w.target("www").retired_at.is_none());
}

#[test]
fn a_retired_target_that_is_gone_stays_retired() {
    let (mut w, _, _) = burning("direct", &["192.0.2.1:443"]);
    w.net.silent("192.0.2.1:443");
    w.engine.retire_target("www", "decommissioned", &person(), &w.tick()).unwrap();
    w.run_until(w.now + Span::days(12), Span::hours(1));
    assert!(w.target("www").retired_at.is_some());
    assert_eq!(w.incidents()[0].facts.state, State::Retired);
    let id = w.incidents()[0].facts.id;
    let lines = w.engine.store().read(|tx| store::model::incident::lines(tx, id, false, 0, 10)).unwrap();
    assert!(lines.iter().all(|l| l.how == "retired" && l.evidence == "retired by test/operator: decommissioned"), "{lines:?}");
}

#[test]
fn while_the_clock_is_doubted_nothing_closes_and_openings_are_grouped() {
    let (mut w, ca, _) = burning("direct", &["192.0.2.1:443"]);
    let new = renewed(&mut w, &ca);
    w.net.serves("192.0.2.1:443", &new);
    w.doubted = true;
    w.run_until(w.now + Span::hours(3), Span::minutes(10));
    assert!(w.incidents()[0].facts.state.is_open());
    w.doubted = false;
    w.run_until(w.now + Span::hours(2), Span::minutes(10));
    assert_eq!(w.incidents()[0].facts.state, State::Resolved);
}

#[test]
fn a_thousand_targets_of_one_certificate_are_one_incident() {
    let now = t("2026-03-01T00:00:00Z");
    let mut w = World::new(now);
    let ca = Ca::new(t("2020-01-01T00:00:00Z"), t("2040-01-01T00:00:00Z"));
    let (old, key) = ca.leaf(&["*.corp.example", "www.example"], now - Span::days(300), now + Span::days(65));
    let mut toml = one_target(&ca, "direct", "");
    w.net.name("www.example", &["192.0.2.1:443"]);
    w.net.serves("192.0.2.1:443", &old);
    for n in 0..999 {
        let address = format!("10.0.{}.{}:443", n / 250, n % 250);
        w.net.name(&format!("n{n}.corp.example"), &[&address]);
        w.net.serves(&address, &old);
        toml += &format!(
            "[[target]]\nname = \"n{n}\"\nsecret = \"www\"\nendpoint = \"tls://n{n}.corp.example:443\"\nroots = \"corp\"\nbackends = \"direct\"\noffers = [\"all\"]\n"
        );
    }
    w.apply(&toml);
    w.store("www", &old, &key).unwrap();
    w.settle();
    let incidents = w.incidents();
    assert_eq!((incidents.len(), incidents[0].facts.open_lines), (1, 1000));
    assert!(w.post.got.borrow().len() < 10, "a handful of messages: {}", w.post.got.borrow().len());
}

#[test]
fn the_first_day_of_an_adoption_is_one_incident() {
    let now = t("2026-03-01T00:00:00Z");
    let w = World::new(now);
    let ca = Ca::new(t("2020-01-01T00:00:00Z"), t("2040-01-01T00:00:00Z"));
    let mut toml = format!(
        "[fleet]\ndefault_owner = \"web\"\nbaseline = \"2026-03-01\"\n[[team]]\nname = \"web\"\ncontacts = [{{ channel = \"log\" }}]\n[[roots]]\n\
         name = \"corp\"\npem = \"\"\"\n{}\"\"\"\n",
        ca.roots()
    );
    for n in 0..20 {
        let (chain, _) = ca.leaf(&[&format!("n{n}.example")], now - Span::days(360), now + Span::days(n - 5));
        let address = format!("192.0.2.{n}:443");
        w.net.name(&format!("n{n}.example"), &[&address]);
        w.net.serves(&address, &chain);
        toml += &format!("[[secret]]\nname = \"n{n}\"\nkind = \"certificate\"\nmanagement = \"external\"\n");
        toml += &format!(
            "[[target]]\nname = \"n{n}\"\nsecret = \"n{n}\"\nendpoint = \"tls://n{n}.example:443\"\nroots = \"corp\"\nbackends = \"direct\"\noffers = [\"all\"]\n"
        );
    }
    w.apply(&toml);
    w.settle();
    let incidents = w.incidents();
    assert_eq!(incidents.len(), 1);
    assert_eq!(incidents[0].facts.open_lines, 20);
    assert_eq!(incidents[0].facts.subject, "baseline/2026-03-01");
}

#[test]
fn a_message_that_cannot_be_delivered_is_kept_and_tried_again() {
    let (mut w, _, _) = burning("direct", &["192.0.2.1:443"]);
    *w.post.refuses.borrow_mut() = true;
    let id = w.incidents()[0].facts.id;
    w.engine.acknowledge(id, None, "on it", &person(), &w.tick()).unwrap();
    w.run_until(w.now + Span::hours(1), Span::minutes(5));
    let (waiting, stuck) = w.engine.store().read(|tx| store::model::outbox::waiting(tx, 8)).unwrap();
    assert!(waiting >= 1 && stuck <= waiting);
    *w.post.refuses.borrow_mut() = false;
    w.run_until(w.now + Span::hours(1), Span::minutes(5));
    assert_eq!(w.engine.store().read(|tx| store::model::outbox::waiting(tx, 8)).unwrap().0, 0);
}

#[test]
fn the_sweep_finds_what_the_schedule_missed() {
    let (w, _, _) = burning("direct", &["192.0.2.1:443"]);
    let (id, secret) = (w.target("www").facts.id, w.secret("www").id);
    let quiet = w.engine.sweep_once(true, &person(), &w.tick()).unwrap().unwrap();
    assert_eq!((quiet.secrets, quiet.instances, quiet.targets, quiet.missed), (1, 1, 1, 0), "{}", quiet.report);
    w.engine
        .store()
        .write(&person(), w.now, |tx| {
            store::timer::clear(tx, engine::loops::OBSERVE, id.0)?;
            store::timer::clear(tx, engine::loops::SECRET, secret.0)
        })
        .unwrap();
    let loud = w.engine.sweep_once(true, &person(), &w.tick()).unwrap().unwrap();
    assert_eq!(loud.missed, 2, "{}", loud.report);
    assert!(loud.report.contains("nobody was to look at it from local"), "{}", loud.report);
}
