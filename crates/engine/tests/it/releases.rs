//! Releases: who hears when that one will be late, and what ends it.

use crate::world::{Ca, World, person, t};
use domain::{
    Span,
    finding::Code,
    release::{Deadline, Status},
    words::ReleaseId,
};
use engine::{
    Error,
    releases::{Delay, Detail, Found, New, Thing, When},
};
use pki::Certificate;
use store::model::{self, release};

const EXPIRY: &str = "2013-02-22T20:29:53Z";

/// A world in which two regions serve a certificate of one year, and its successor is stored.
struct Story {
    w: World,
    ca: Ca,
    old: Vec<Certificate>,
    new: Vec<Certificate>,
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
const TRAIN: &str = "[[calendar]]\nname = \"c\"\nzone = \"UTC\"\n[[train]]\nname = \"weekly\"\ncalendar = \"c\"\nstart = \"2012-10-01T10:00\"\n\
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
    Story { w, ca, old, new }
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

fn at(text: &str) -> Option<When> {
    Some(When::At(t(text)))
}

fn train(before: Option<ReleaseId>) -> Option<When> {
    Some(When::Train { name: None, before, earliest: None })
}

#[test]
fn a_delay_that_makes_it_late_is_told_at_once() {
    let s = story("2012-10-01T00:00:00Z", "");
    let d = s.create("1", at("2012-11-01T00:00:00Z"), &["blob"]);
    assert_eq!((d.late, s.told()), (false, vec![]));
    let delay = |by| s.w.engine.delay_release(id(&d), by, "the other one first", &person(), &s.w.tick());
    let d = delay(Delay::To(t("2012-11-24T20:29:53Z"))).unwrap();
    assert_eq!(
        (d.late, d.slack, d.stored.facts.status),
        (false, Some(Span::ZERO), Status::Delayed),
        "the deadline belongs to the quiet side"
    );
    let d = delay(Delay::By(Span::seconds(1))).unwrap();
    assert_eq!((d.late, d.slack), (true, Some(Span::seconds(-1))));
    s.w.settle();
    assert_eq!(s.told(), both("release-late"));
    // Late already, and later still: that is news.
    delay(Delay::By(Span::days(7))).unwrap();
    s.w.settle();
    assert_eq!(s.told(), both("release-late"));
    assert_eq!(refusal(delay(Delay::To(t("2012-11-01T00:00:00Z")))), "bad-date");
    assert_eq!(refusal(delay(Delay::By(Span::ZERO))), "bad-date");
}

#[test]
fn time_alone_makes_late_what_nobody_built() {
    let mut s = story("2012-10-01T00:00:00Z", "");
    let d = s.create("1", at("2012-11-01T00:00:00Z"), &["blob"]);
    let built = s.create("2", at("2012-11-01T00:00:00Z"), &["blob"]);
    s.says(id(&built), Status::Built);
    s.w.run_until(t("2012-11-24T20:29:53Z"), Span::days(1));
    assert_eq!(s.told(), []);
    s.w.now = t("2012-11-24T20:29:54Z");
    s.w.settle();
    assert_eq!(s.told(), both("release-late"));
    assert_eq!((s.show(id(&d)).late, s.show(id(&built)).late), (true, false));
}

#[test]
fn who_is_overtaken_in_a_train_hears_that_day() {
    let mut s = story("2012-09-30T00:00:00Z", TRAIN);
    let fillers: Vec<Detail> = (0..7).map(|n| s.create(&format!("filler {n}"), None, &[])).collect();
    assert_eq!(fillers[6].stored.facts.planned_at, t("2012-11-12T10:00:00Z"));
    let d = s.create("1", None, &["blob"]);
    assert_eq!((d.stored.facts.planned_at, d.late), (t("2012-11-19T10:00:00Z"), false));
    s.w.settle();
    assert_eq!(s.told(), []);
    s.w.now = t("2012-10-01T00:00:00Z");
    // The queue says which one should ship first, and what carries nothing waits as it stands.
    let queue = s.w.engine.release_queue(Some("weekly"), None, None, 10, &s.w.tick()).unwrap();
    assert_eq!(queue[..2].iter().map(|d| d.stored.facts.build.as_str()).collect::<Vec<_>>(), ["1", "filler 0"]);

    let first = s.create("important", train(Some(id(&d))), &[]);
    assert_eq!(first.stored.facts.planned_at, t("2012-11-19T10:00:00Z"));
    s.w.settle();
    assert_eq!(s.told(), both("release-late"));
    let now = s.show(id(&d));
    assert_eq!((now.stored.facts.planned_at, now.late), (t("2012-11-26T10:00:00Z"), true));

    // Moved to the front of the line, it is late no more; whoever it overtook was planned anew.
    let d =
        s.w.engine
            .plan_release(id(&d), &train(Some(id(&fillers[0]))).unwrap(), "it carries a certificate", &person(), &s.w.tick())
            .unwrap();
    assert_eq!((d.stored.facts.planned_at, d.late), (t("2012-10-01T10:00:00Z"), false));
    assert_eq!(s.show(id(&fillers[0])).stored.facts.planned_at, t("2012-10-08T10:00:00Z"));
    // Cancelled, its room is another's.
    s.says(id(&d), Status::Cancelled);
    assert_eq!(s.show(id(&fillers[0])).stored.facts.planned_at, t("2012-10-01T10:00:00Z"));
    // Nobody said that the first was built: an hour after its departure it waits for the next one.
    s.w.run_until(t("2012-10-01T10:59:59Z"), Span::hours(6));
    assert_eq!(s.show(id(&fillers[0])).stored.facts.planned_at, t("2012-10-01T10:00:00Z"));
    s.w.now = t("2012-10-01T11:00:00Z");
    s.w.settle();
    assert_eq!(s.show(id(&fillers[0])).stored.facts.planned_at, t("2012-10-08T10:00:00Z"));
    assert_eq!(s.show(id(&fillers[1])).stored.facts.planned_at, t("2012-10-15T10:00:00Z"));
}

#[test]
fn a_target_that_goes_back_makes_it_late() {
    let mut s = story("2012-12-01T00:00:00Z", "");
    for address in ["192.0.2.0:443", "192.0.2.1:443"] {
        s.w.net.serves(address, &s.new);
    }
    s.w.run_until(t("2012-12-02T00:00:00Z"), Span::hours(1));
    let d = s.create("1", at("2012-12-20T00:00:00Z"), &["blob"]);
    assert_eq!((d.late, d.stored.ship_by, d.stored.urgency), (false, None, release::urgency(Deadline::Never)));
    assert!(d.carries[0].2.is_some(), "production shows it already");
    s.w.settle();
    s.told();
    s.w.net.serves("192.0.2.1:443", &s.old);
    s.w.run_until(t("2012-12-02T02:00:00Z"), Span::hours(1));
    assert_eq!(s.told(), both("release-late"));
    let d = s.show(id(&d));
    assert!(d.concerns[0].detail.contains("1 of 2 targets"), "{}", d.concerns[0].detail);
    assert_eq!(d.carries[0].2, None);
}

#[test]
fn deployed_is_a_claim_and_observed_is_over() {
    let mut s = story("2012-10-01T00:00:00Z", "");
    let d = s.create("1", at("2012-10-02T00:00:00Z"), &["blob"]);
    s.w.now = t("2012-10-02T00:00:00Z");
    s.says(id(&d), Status::Built);
    s.w.settle();
    s.w.now = t("2012-10-05T00:00:00Z");
    let dials = *s.w.net.dials.borrow();
    s.w.settle();
    s.w.now = t("2012-10-05T00:00:01Z");
    s.w.settle();
    assert_eq!(*s.w.net.dials.borrow(), dials + 2, "as often as ever");
    let said = s.says(id(&d), Status::Deployed);
    assert_eq!((codes(&said), said.concerns[0].level), (vec![Code::DeployedUnobserved], domain::policy::Level::Info));
    s.w.settle();
    assert_eq!(*s.w.net.dials.borrow(), dials + 4, "looked at at once");
    assert_eq!(s.told(), []);
    // One of two shows it.
    s.w.net.serves("192.0.2.0:443", &s.new);
    let claimed = s.w.now;
    s.w.run_until(claimed + Span::minutes(60) - Span::seconds(1), Span::minutes(30));
    assert_eq!(s.told(), []);
    s.w.now = claimed + Span::hours(1);
    s.w.settle();
    assert_eq!(s.told(), both("deployed-unobserved"));
    let standing = &s.show(id(&d)).concerns[0];
    for part in ["blob", "version 2", "blob-eu"] {
        assert!(standing.detail.contains(part), "{part}: {}", standing.detail);
    }
    s.w.net.serves("192.0.2.1:443", &s.new);
    s.w.run_until(claimed + Span::hours(3), Span::minutes(30));
    let d = s.show(id(&d));
    let observed = d.stored.facts.observed_at.unwrap();
    assert!(observed <= claimed + Span::hours(3));
    assert_eq!((d.stored.facts.ended_at, codes(&d), d.stored.facts.status), (Some(observed), vec![], Status::Deployed));
    let samples = s.w.engine.store().read(|tx| release::lead_samples(tx, "storage")).unwrap();
    assert_eq!(samples, [observed - t("2012-10-02T00:00:00Z")]);
    assert_eq!(refusal(s.w.engine.release_is(id(&d), Status::Cancelled, "", &person(), &s.w.tick())), "release-ended");
    s.says(id(&d), Status::Deployed);
}

#[test]
fn what_nobody_called_deployed_is_observed_and_says_so() {
    let mut s = story("2012-10-01T00:00:00Z", "");
    let d = s.create("1", at("2012-10-02T00:00:00Z"), &["blob"]);
    s.says(id(&d), Status::Built);
    for address in ["192.0.2.0:443", "192.0.2.1:443"] {
        s.w.net.serves(address, &s.new);
    }
    s.w.run_until(t("2012-10-01T06:00:00Z"), Span::hours(1));
    let there = s.show(id(&d)).stored.facts;
    assert_eq!((there.status, there.observed_at.is_some(), there.ended_at), (Status::Built, true, None));
    let journal = s.w.engine.store().read(|tx| {
        tx.query("SELECT reason FROM journal WHERE action = 'release.observed' ORDER BY seq", &[])?
            .iter()
            .map(|r| Ok(r.text(0)?.to_owned()))
            .collect::<store::Result<Vec<_>>>()
    });
    assert_eq!(journal.unwrap(), ["production was observed serving what it carries, and nobody said that it was deployed"]);
    assert!(s.says(id(&d), Status::Deployed).stored.facts.ended_at.is_some(), "nothing is waited for any more");

    // What is in production before it is built says nothing about how long releases take.
    let again = s.create("2", at("2012-10-02T00:00:00Z"), &["blob"]);
    s.says(id(&again), Status::Built);
    assert!(s.says(id(&again), Status::Deployed).stored.facts.ended_at.is_some());
    assert_eq!(s.w.engine.store().read(|tx| release::lead_samples(tx, "storage")).unwrap().len(), 1);
}

#[test]
fn a_freeze_moves_the_deadline_and_a_new_one_is_told() {
    let with = |freeze: &str| {
        format!(
            "[[calendar]]\nname = \"c\"\nzone = \"UTC\"\n{freeze}[[service]]\nname = \"storage\"\nteam = \"storage\"\ncalendar = \"c\"\n"
        )
    };
    let s = story("2012-10-01T00:00:00Z", &with(""));
    let d = s.create("1", at("2012-11-22T00:00:00Z"), &["blob"]);
    assert_eq!((d.late, d.stored.ship_by), (false, Some(t("2012-11-24T20:29:53Z"))));
    let freeze = "[[calendar.freeze]]\nwhy = \"Thanksgiving\"\nfrom = \"2012-11-21\"\nuntil = \"2012-11-26\"\n";
    s.w.apply(&fleet(&s.ca, &with(freeze)));
    s.w.settle();
    assert_eq!(s.told(), both("release-late"));
    let d = s.show(id(&d));
    assert_eq!(d.stored.ship_by, Some(t("2012-11-20T23:59:59Z")));
    assert!(d.stored.reason.contains("moved to before the freeze Thanksgiving"), "{}", d.stored.reason);
}

#[test]
fn what_a_scan_finds_is_registered_and_the_same_again_changes_nothing() {
    let s = story("2012-10-01T00:00:00Z", "");
    let ca = Ca::new(t("2008-01-01T00:00:00Z"), t("2030-01-01T00:00:00Z"));
    let (stranger, _) = ca.leaf(&["x.example"], t("2012-08-01T00:00:00Z"), t("2014-01-07T00:00:00Z"));
    let d = s.create("1", at("2012-10-20T00:00:00Z"), &[]);
    assert!(d.stored.reason.contains("carries no certificate"), "{}", d.stored.reason);
    let key = Found { thing: Thing::KeyInTheClear, path: "a.tar!etc/ssl/key.pem".into() };
    let found = [
        s.found(&s.new, "a.tar!new.pem"),
        s.found(&s.new, "b.tar!new.pem"),
        s.found(&stranger, "a.tar!x\u{1b}.pem"),
        key.clone(),
        // The issuer comes with its leaf, and is no stranger.
        s.found(&s.new[1..], "a.tar!new.pem"),
    ];
    let carry = |found: &[Found]| s.w.engine.carry(id(&d), found, "scan", &person(), &s.w.tick());
    let entries = || s.w.engine.store().read(store::journal::head).unwrap().seq;
    let d1 = carry(&found).unwrap();
    assert_eq!(d1.carries, [("blob".to_owned(), 2, None)]);
    assert_eq!(d1.stored.ship_by, Some(t("2012-11-24T20:29:53Z")));
    assert_eq!(codes(&d1), [Code::CarriesUnknown, Code::KeyInBuild]);
    assert!(
        d1.concerns[0].detail.contains("x\\u{1b}.pem") && d1.concerns[0].level == domain::policy::Level::Info,
        "{}",
        d1.concerns[0].detail
    );
    assert!(d1.concerns[1].detail.contains("a.tar!etc/ssl/key.pem"));
    s.w.settle();
    assert_eq!(s.told(), both("key-in-build"));

    let (before, items) = (entries(), s.w.engine.release_items(id(&d), 0, 100).unwrap());
    assert_eq!(items.len(), 4);
    carry(&found).unwrap();
    carry(&[found[3].clone(), found[1].clone(), found[0].clone(), found[2].clone(), found[0].clone()]).unwrap();
    assert_eq!((entries(), s.w.engine.release_items(id(&d), 0, 100).unwrap()), (before, items));

    // Built again with the old one: what an earlier scan found is replaced.
    let d2 = carry(&[s.found(&s.old, "a.tar!old.pem")]).unwrap();
    assert_eq!((d2.carries[0].1, codes(&d2)), (1, vec![Code::CarriesOlder]));
    assert!(d2.carries[0].2.is_some() && d2.stored.ship_by.is_none(), "production serves it already; it saves nothing");
    s.w.settle();
    assert_eq!(s.told(), both("carries-older"));
    let bad = |found: Found| refusal(carry(&[found]));
    assert_eq!(bad(Found { path: String::new(), ..key.clone() }), "bad-item");
    assert_eq!(bad(Found { path: "x".repeat(engine::releases::MAX_TEXT + 1), ..key.clone() }), "bad-item");
    assert_eq!(refusal(carry(&vec![key; engine::releases::MAX_ITEMS + 1])), "too-many-items");
}

#[test]
fn a_build_is_created_once_and_what_is_not_known_is_refused() {
    let s = story("2012-10-01T00:00:00Z", TRAIN);
    let blob = vec!["blob".to_owned()];
    let try_new = |n: &New<'_>| s.w.engine.create_release(n, &person(), &s.w.tick());
    let first = try_new(&new("1", at("2012-10-05T00:00:00Z"), &blob)).unwrap();
    let seq = || s.w.engine.store().read(store::journal::head).unwrap().seq;
    let before = seq();
    assert_eq!(try_new(&new("1", at("2012-10-05T00:00:00Z"), &blob)).unwrap(), first);
    assert_eq!(seq(), before, "nothing is written twice");
    assert_eq!(refusal(try_new(&new("1", at("2012-10-06T00:00:00Z"), &blob))), "release-exists");
    assert_eq!(refusal(try_new(&new("1", at("2012-10-05T00:00:00Z"), &[]))), "release-exists");
    let unknown = try_new(&New { service: "nothing", ..new("2", None, &[]) }).unwrap_err();
    assert!(unknown.to_string().contains("no service nothing; there are storage"), "{unknown}");
    assert_eq!(refusal(Err::<(), _>(unknown)), "unknown-service");
    assert_eq!(refusal(try_new(&new("2", None, &["other".to_owned()]))), "unknown-secret");
    assert_eq!(refusal(try_new(&new("", None, &[]))), "bad-release");
    assert_eq!(refusal(try_new(&new(&"x".repeat(engine::releases::MAX_BUILD + 1), None, &[]))), "bad-release");
    assert_eq!(refusal(try_new(&new("2", at("2032-10-05T00:00:00Z"), &[]))), "bad-date");
    let stages = [("moon".to_owned(), None)];
    assert_eq!(refusal(try_new(&New { stages: &stages, ..new("2", None, &[]) })), "unknown-region");
    let by = |name: &str| Some(When::Train { name: Some(name.into()), before: None, earliest: None });
    assert_eq!(refusal(try_new(&new("2", by("none"), &[]))), "unknown-train");
    assert_eq!(refusal(try_new(&new("2", train(Some(id(&first))), &[]))), "not-in-train");
    assert!(s.w.engine.releases(None, None, 10, &s.w.tick()).unwrap().len() == 1, "a refusal leaves nothing");
    assert_eq!(refusal(s.w.engine.release_is(id(&first), Status::Deployed, "", &person(), &s.w.tick())), "release-not-built");
    assert!(matches!(s.w.engine.release(ReleaseId(77), &s.w.tick()), Err(Error::NotFound { .. })));
    s.says(id(&first), Status::Cancelled);
    assert_eq!(refusal(s.w.engine.release_is(id(&first), Status::Built, "", &person(), &s.w.tick())), "release-cancelled");
    let stage = s.w.engine.stage_release(id(&first), "eu", None, Some(Status::Deployed), "", &person(), &s.w.tick());
    assert_eq!(refusal(stage), "release-cancelled");
}

#[test]
fn messages_about_a_certificate_name_the_release_that_brings_it() {
    let mut s = story("2012-08-25T00:00:00Z", "");
    s.w.run_until(t("2012-08-27T00:00:00Z"), Span::hours(12));
    let text = |s: &Story| s.w.post.got.borrow().iter().rev().find(|m| m.code == "leaf-expiring").map(|m| m.release.clone()).unwrap();
    assert!(text(&s).ends_with("no release is known to carry it"), "{}", text(&s));
    s.create("2013.1", at("2013-02-25T00:00:00Z"), &["blob"]);
    s.w.run_until(t("2012-11-25T00:00:00Z"), Span::hours(12));
    let notice =
        s.w.post
            .got
            .borrow()
            .iter()
            .rev()
            .find(|m| m.kind == engine::message::Kind::Notice && m.code == "leaf-expiring")
            .unwrap()
            .release
            .clone();
    let wanted =
        "release 1 (storage 2013.1) carries version 2, planned 2013-02-25T00:00:00Z, must be built by 2012-11-24T20:29:53Z, 92 d 3 h";
    assert!(notice.contains(wanted), "{notice}");
    let opened = s.w.post.got.borrow().iter().find(|m| m.kind == engine::message::Kind::IncidentOpened).unwrap().release.clone();
    assert!(opened.starts_with(wanted), "{opened}");
}

#[test]
fn a_cadence_that_certificates_do_not_allow_is_told_and_who_cannot_ride_once() {
    let monthly = TRAIN.replace("FREQ=WEEKLY", "FREQ=WEEKLY;INTERVAL=4");
    let mut s = story("2012-10-01T00:00:00Z", &monthly);
    let of = |s: &Story| s.w.engine.store().read(|tx| model::concern::of(tx, "service/storage")).unwrap();
    // 121 d 16 h at which its renewal is due, less 90 d, is more than four weeks; the newest version lives longer and changes little.
    assert_eq!(of(&s), []);
    let ca = Ca::new(t("2008-01-01T00:00:00Z"), t("2030-01-01T00:00:00Z"));
    let (short, key) = ca.leaf(&["*.blob.example"], t("2012-10-01T00:00:00Z"), t("2012-11-17T00:00:00Z") - Span::seconds(1));
    s.w.store_accepting("blob", &short, &key).unwrap();
    s.w.settle();
    let found = of(&s);
    assert_eq!(
        found.iter().map(|c| (c.code, c.teams.clone())).collect::<Vec<_>>(),
        [(Code::CadenceTooSlow, vec!["security".into(), "storage".into()])]
    );
    assert!(found[0].detail.contains("the train weekly leaves up to 28 d apart"), "{}", found[0].detail);
    let told = |s: &Story, code: &str| s.w.post.got.borrow().iter().filter(|m| m.code == code).count();
    assert_eq!((told(&s, "cadence-too-slow"), told(&s, "cannot-ride-releases")), (2, 1));
    s.w.run_until(t("2012-10-20T00:00:00Z"), Span::days(1));
    assert_eq!((told(&s, "cadence-too-slow"), told(&s, "cannot-ride-releases")), (6, 1), "weekly, and once");
}

#[test]
fn five_measured_releases_replace_the_assumption() {
    let mut s = story("2012-10-01T00:00:00Z", "");
    for n in 0..5 {
        let (cert, key) = s.ca.leaf(&["*.blob.example"], t("2012-08-01T00:00:00Z"), t("2014-02-07T00:00:00Z") + Span::days(n));
        s.w.store_accepting("blob", &cert, &key).unwrap();
        let now = s.w.now;
        let d = s.create(&n.to_string(), Some(When::At(now)), &["blob"]);
        s.says(id(&d), Status::Built);
        s.w.run_until(now + Span::days(2), Span::hours(12));
        for address in ["192.0.2.0:443", "192.0.2.1:443"] {
            s.w.net.serves(address, &cert);
        }
        s.says(id(&d), Status::Deployed);
        s.w.settle();
        assert!(s.show(id(&d)).stored.facts.ended_at.is_some(), "{n}");
    }
    let (cert, key) = s.ca.leaf(&["*.blob.example"], t("2012-08-01T00:00:00Z"), t("2014-03-07T00:00:00Z"));
    s.w.store_accepting("blob", &cert, &key).unwrap();
    let d = s.create("next", at("2012-12-01T00:00:00Z"), &["blob"]);
    assert!(d.stored.reason.contains("releases of storage take 2 d (95 % of the newest 5)"), "{}", d.stored.reason);
}

#[test]
fn nobody_waits_for_a_secret_that_left_the_inventory() {
    let s = story("2013-01-07T00:00:00Z", "");
    let d = s.create("1", at("2013-02-25T00:00:00Z"), &["blob"]);
    assert!(d.late);
    for target in ["blob-us", "blob-eu"] {
        s.w.engine.retire_target(target, "gone", &person(), &s.w.tick()).unwrap();
    }
    s.w.settle();
    assert_eq!(codes(&s.show(id(&d))), [Code::ReleaseUndated], "nothing says where it is used");
    s.w.engine.retire_secret("blob", "gone", &person(), &s.w.tick()).unwrap();
    s.w.settle();
    assert_eq!(codes(&s.show(id(&d))), []);
    s.says(id(&d), Status::Built);
    assert!(s.says(id(&d), Status::Deployed).stored.facts.ended_at.is_some());
}

#[test]
fn what_was_promised_with_a_build_is_not_scanned_away_and_its_key_stays() {
    let s = story("2012-10-01T00:00:00Z", "");
    let key = Found { thing: Thing::KeyInTheClear, path: "a.tar!key.pem".into() };
    let d = s.create("1", at("2012-10-20T00:00:00Z"), &[]);
    let carry = |of: &Detail, found: &[Found]| s.w.engine.carry(id(of), found, "scan", &person(), &s.w.tick());
    let found = [s.found(&s.new, "a.tar!new.pem"), key.clone()];
    carry(&d, &found).unwrap();
    for status in [Status::Built, Status::Deployed] {
        s.w.engine.release_is(id(&d), status, "", &person(), &s.w.tick()).unwrap();
    }
    // Production was not seen: an empty scan ends nothing.
    assert_eq!(refusal(carry(&d, &[])), "release-deployed");
    assert!(codes(&s.show(id(&d))).contains(&Code::DeployedUnobserved));
    carry(&d, &found).unwrap();

    // What carries nothing of ours ends with the claim, and the key that it shipped is still told of, until another build is there instead.
    let ship = |build: &str, found: &[Found]| {
        let d = s.create(build, at("2012-10-20T00:00:00Z"), &[]);
        carry(&d, found).unwrap();
        for status in [Status::Built, Status::Deployed] {
            s.w.engine.release_is(id(&d), status, "", &person(), &s.w.tick()).unwrap();
        }
        s.show(id(&d))
    };
    let second = ship("2", &[key]);
    assert!(second.stored.facts.ended_at.is_some() && second.stored.reason.contains("carries no certificate of ours"));
    assert_eq!(codes(&second), [Code::KeyInBuild]);
    ship("3", &[]);
    assert_eq!(codes(&s.show(id(&second))), []);
}

#[test]
fn a_pipeline_moves_nobody_else() {
    let s = story("2012-10-01T00:00:00Z", "");
    let register = |when| {
        let new = New { service: "storage", build: "9", when, carries: &[], stages: &[], reason: "scan" };
        refusal(s.w.engine.register_build(&new, &[], &person(), &s.w.tick()).map(|(d, _)| d))
    };
    let first = s.create("1", at("2012-10-20T00:00:00Z"), &[]);
    assert_eq!(register(Some(When::Train { name: Some("another".into()), before: None, earliest: None })), "not-its-train");
    assert_eq!(register(Some(When::Train { name: None, before: Some(id(&first)), earliest: None })), "not-its-train");
}
