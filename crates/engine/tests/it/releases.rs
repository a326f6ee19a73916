#![allow(dead_code, unused_imports, reason = "the rest of the story follows")]
//! Releases: who hears when that one will be late, and what ends it.

use crate::world::{Ca, World, person, t};
use domain::{
    Span, Time,
    finding::Code,
    release::{Deadline, Status},
    words::ReleaseId,
};
use engine::{
    Error,
    releases::{Delay, Detail, Found, New, Thing, When},
};
use pki::{Certificate, PrivateKey};
use store::model::{self, release};

const EXPIRY: &str = "2013-02-22T20:29:53Z";

/// A world in which two regions serve a certificate of one year, and its successor is stored.
struct Story {
    w: World,
    old: Vec<Certificate>,
    new: Vec<Certificate>,
    key: PrivateKey,
}

fn fleet(ca: &Ca, more: &str) -> String {
    let mut toml = format!(
        "[fleet]\ndefault_owner = \"storage\"\n[[team]]\nname = \"storage\"\ncontacts = [{{ channel = \"log\" }}]\n\
         [[team]]\nname = \"security\"\ncontacts = [{{ channel = \"log\" }}]\n[[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n\
         [[secret]]\nname = \"blob\"\nkind = \"certificate\"\nteam = \"security\"\nservice = \"storage\"\nrelease_bound = true\n{more}",
        ca.roots()
    );
    if !more.contains("[[service]]") {
        toml += "[[service]]\nname = \"storage\"\nteam = \"storage\"\n";
    }
    for region in ["us", "eu"] {
        toml += &format!(
            "[[region]]\nname = \"{region}\"\n[[target]]\nname = \"blob-{region}\"\nsecret = \"blob\"\nendpoint = \"tls://{region}.blob.example:443\"\n\
             region = \"{region}\"\nroots = \"corp\"\nbackends = \"direct\"\noffers = [\"all\"]\n"
        );
    }
    toml
}

/// The weekly train of one release that leaves on Mondays.
const TRAIN: &str = "[[calendar]]\nname = \"c\"\nzone = \"UTC\"\n[[train]]\nname = \"weekly\"\ncalendar = \"c\"\nstart = \"2013-01-07T10:00\"\n\
    rule = \"FREQ=WEEKLY\"\ncapacity = 1\n[[service]]\nname = \"storage\"\nteam = \"storage\"\ncalendar = \"c\"\ntrain = \"weekly\"\n";

fn story(at: &str, more: &str) -> Story {
    let expiry = t(EXPIRY);
    let mut w = World::new(t(at));
    let ca = Ca::new(t("2008-01-01T00:00:00Z"), t("2030-01-01T00:00:00Z"));
    let (old, old_key) = ca.leaf(&["*.blob.example"], expiry - Span::days(365) + Span::seconds(1), expiry);
    let (new, key) = ca.leaf(&["*.blob.example"], t("2012-08-01T00:00:00Z"), t("2014-01-07T00:00:00Z"));
    for (n, region) in ["us", "eu"].iter().enumerate() {
        let address = format!("192.0.2.{n}:443");
        w.net.name(&format!("{region}.blob.example"), &[&address]);
        w.net.serves(&address, &old);
    }
    w.apply(&fleet(&ca, more));
    w.store("blob", &old, &old_key).unwrap();
    w.settle();
    w.store_accepting("blob", &new, &key).unwrap();
    w.settle();
    w.post.got.borrow_mut().clear();
    Story { w, old, new, key }
}

fn new<'a>(build: &'a str, when: Option<When>, carries: &'a [String]) -> New<'a> {
    New { service: "storage", build, when, carries, stages: &[], reason: "test" }
}

impl Story {
    fn create(&self, build: &str, when: Option<When>, carries: &[&str]) -> Detail {
        let carries: Vec<String> = carries.iter().map(|c| (*c).to_owned()).collect();
        self.w.engine.create_release(&new(build, when, &carries), &person(), &self.w.tick()).unwrap()
    }

    fn show(&self, id: ReleaseId) -> Detail {
        self.w.engine.release(id, &self.w.tick()).unwrap()
    }

    fn says(&self, id: ReleaseId, status: Status) -> Detail {
        self.w.engine.release_is(id, status, "test", &person(), &self.w.tick()).unwrap()
    }

    /// Who was told what since this was asked last: team and rule.
    fn told(&self) -> Vec<(String, String)> {
        let mut told: Vec<(String, String)> =
            self.w.post.got.borrow_mut().drain(..).filter(|m| m.subject.contains("/release/")).map(|m| (m.team, m.code)).collect();
        told.sort();
        told
    }

    fn found(&self, chain: &[Certificate], path: &str) -> Found {
        let c = &chain[0];
        let thing = Thing::Certificate { fingerprint: c.fingerprint(), subject: c.subject().to_owned(), not_after: Some(c.not_after()) };
        Found { thing, path: path.into() }
    }
}

fn id(d: &Detail) -> ReleaseId {
    d.stored.facts.id
}

fn codes(d: &Detail) -> Vec<Code> {
    d.concerns.iter().map(|c| c.code).collect()
}

fn both(code: &str) -> Vec<(String, String)> {
    ["security", "storage"].map(|team| (team.to_owned(), code.to_owned())).to_vec()
}

fn refusal<T: std::fmt::Debug>(result: engine::Result<T>) -> &'static str {
    match result {
        Err(Error::Refused(r)) => r.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn created_late_both_owners_hear_at_once() {
    let s = story("2013-01-07T00:00:00Z", "");
    let d = s.create("2013.1", Some(When::At(t("2013-02-25T00:00:00Z"))), &["blob"]);
    // 90 days before the end; releases are taken to need 14 days.
    assert_eq!(d.stored.ship_by, Some(t("2012-11-24T20:29:53Z")));
    assert_eq!(d.slack, Some(t("2012-11-24T20:29:53Z") - t("2013-02-25T00:00:00Z")));
    assert_eq!((d.late, codes(&d)), (true, vec![Code::ReleaseLate]));
    let said = &d.concerns[0].detail;
    for part in ["release 1 (storage 2013.1)", "blob", "2013-02-22T20:29:53Z", "2 of 2 targets", "92 d 3 h", "14 d"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // In the outbox by the very transaction that created it.
    while s.w.engine.deliver_once(&s.w.post, &s.w.tick()).unwrap() > 0 {}
    assert_eq!(s.told(), both("release-late"));
    s.w.settle();
    assert_eq!(s.told(), [], "and once");
}
