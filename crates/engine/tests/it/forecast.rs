//! What breaks if all goes as planned: asked, asked otherwise, and told when it gets worse.

use crate::world::{Ca, World, person, t};
use domain::{
    Fingerprint, Span, Time,
    finding::{Code, End},
    forecast::{Breaks, Cause, Coming, Serves, Serving, WhatIf, outlook},
    policy::Thresholds,
    release::{Release, Stage, Status},
    target::{Served, Standing},
    words::{ReleaseId, SecretId},
};
use engine::forecast::{Ask, Forecast};
use std::collections::BTreeMap;
use store::model::{
    release::{self, Item, What},
    secret, target,
};

/// As certificates of that storm did: three of them within 179 seconds.
const ENDS: [(&str, &str); 3] = [("blob", "2013-02-22T20:29:53Z"), ("queue", "2013-02-22T20:31:06Z"), ("table", "2013-02-22T20:32:52Z")];
const REGIONS: [&str; 3] = ["asia", "eu", "us"];

fn ca() -> Ca {
    Ca::new(t("2008-01-01T00:00:00Z"), t("2060-01-01T00:00:00Z"))
}

fn fleet(ca: &Ca, secret: &str) -> String {
    let mut toml = format!(
        "[[team]]\nname = \"storage\"\nescalation = \"managers\"\ncontacts = [{{ channel = \"log\" }}]\n[[team]]\nname = \"managers\"\n\
         contacts = [{{ channel = \"log\" }}]\n[[service]]\nname = \"storage\"\nteam = \"storage\"\n[[service]]\nname = \"mail\"\n\
         team = \"storage\"\n[[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n",
        ca.roots()
    );
    for region in REGIONS {
        toml += &format!("[[region]]\nname = \"{region}\"\n");
    }
    for (name, _) in ENDS {
        toml += &format!("[[secret]]\nname = \"{name}\"\nkind = \"certificate\"\nservice = \"storage\"\n{secret}\n");
        for region in REGIONS {
            toml += &format!(
                "[[target]]\nname = \"{name}-{region}\"\nsecret = \"{name}\"\nendpoint = \"tls://{name}.{region}.example:443\"\n\
                 region = \"{region}\"\nroots = \"corp\"\nbackends = \"direct\"\noffers = [\"all\"]\n"
            );
        }
    }
    toml
}

fn address(secret: usize, region: usize) -> String {
    format!("192.0.2.{}:443", secret * 10 + region)
}

/// The fleet in front of its last months: everywhere the old certificates, and the new ones stored as version 2.
fn world(ca: &Ca, now: &str, secret: &str) -> World {
    let mut w = World::new(t(now));
    let mut old = Vec::new();
    for (s, (name, end)) in ENDS.iter().enumerate() {
        old.push(ca.leaf(&names(name), t(end) - Span::days(365) + Span::seconds(1), t(end)));
        for (r, region) in REGIONS.iter().enumerate() {
            w.net.name(&format!("{name}.{region}.example"), &[&address(s, r)]);
            w.net.serves(&address(s, r), &old[s].0);
        }
    }
    w.apply(&fleet(ca, secret));
    for ((name, _), (chain, key)) in ENDS.iter().zip(&old) {
        w.store(name, chain, key).unwrap();
    }
    w.settle();
    for (name, end) in ENDS {
        let (new, key) = ca.leaf(&names(name), w.now, t(end) + Span::days(365));
        w.store_accepting(name, &new, &key).unwrap();
    }
    w.settle();
    w
}

fn names(secret: &str) -> [&str; 3] {
    match secret {
        "blob" => ["blob.asia.example", "blob.eu.example", "blob.us.example"],
        "queue" => ["queue.asia.example", "queue.eu.example", "queue.us.example"],
        _ => ["table.asia.example", "table.eu.example", "table.us.example"],
    }
}

fn planned(build: &str, at: Time, stages: Vec<Stage>) -> Release {
    Release {
        id: ReleaseId(0),
        service: "storage".into(),
        build: build.into(),
        train: String::new(),
        place: 0,
        status: Status::Planned,
        created_at: at,
        earliest_at: at,
        planned_at: at,
        first_planned_at: at,
        built_at: None,
        deployed_at: None,
        observed_at: None,
        ended_at: None,
        stages,
    }
}

fn stage(w: &World, region: &str, at: Time) -> Stage {
    Stage { region: region.into(), planned_at: Some(at), status: Status::Planned, changed_at: w.now }
}

/// A release that carries version 2 of every secret, and wakes these as whoever plans does.
fn plan(w: &World, release: &Release) -> i64 {
    let ids: Vec<SecretId> = ENDS.iter().map(|(name, _)| w.secret(name).id).collect();
    w.engine
        .store()
        .write(&person(), w.now, |tx| {
            let id = tx.next_id("release")?;
            release::insert(tx, &Release { id: ReleaseId(id), ..release.clone() })?;
            for secret in &ids {
                let item = Item {
                    id: tx.next_id("release_item")?,
                    release: ReleaseId(id),
                    what: What::Version,
                    secret: Some(*secret),
                    version: 2,
                    leaf: None,
                    not_after: None,
                    subject: String::new(),
                    path: String::new(),
                    added_at: w.now,
                    observed_at: None,
                    waited: true,
                };
                release::insert_item(tx, &item)?;
                store::timer::set_earlier(tx, engine::loops::SECRET, secret.0, w.now)?;
            }
            Ok(id)
        })
        .unwrap()
}

/// Another date for a release.
fn replan(w: &World, id: i64, at: Time) {
    let ids: Vec<SecretId> = ENDS.iter().map(|(name, _)| w.secret(name).id).collect();
    w.engine
        .store()
        .write(&person(), w.now, |tx| {
            let mut r = release::lock(tx, ReleaseId(id))?.unwrap().facts;
            (r.planned_at, r.status) = (at, Status::Delayed);
            release::update(tx, &r)?;
            ids.iter().try_for_each(|s| store::timer::set_earlier(tx, engine::loops::SECRET, s.0, w.now))
        })
        .unwrap();
}

fn ask(w: &World, ask: Ask) -> Forecast {
    w.engine.forecast(&Ask { limit: if ask.limit == 0 { 100 } else { ask.limit }, ..ask }, &w.tick()).unwrap()
}

fn groups(w: &World, how: Ask) -> Vec<(String, u64, Vec<String>, Option<Span>)> {
    let it = ask(w, Ask { grouped: true, ..how });
    let at = |b: Breaks| b.at(w.now).unwrap().to_string();
    it.groups.into_iter().map(|g| (at(g.breaks), g.targets, g.regions.into_iter().collect(), g.missed.and_then(|m| m.late))).collect()
}

fn all_regions() -> Vec<String> {
    REGIONS.iter().map(ToString::to_string).collect()
}

#[test]
fn the_forecast_names_the_seconds_the_certificates_and_all_regions() {
    let w = world(&ca(), "2013-01-07T00:00:00Z", "release_bound = true");
    let it = ask(&w, Ask { grouped: true, ..Ask::default() });
    assert_eq!((it.totals.production, it.totals.breaking, it.totals.unknown, it.totals.others), (9, 9, 0, Some(0)));
    assert_eq!(it.totals.first, Some(t("2013-02-22T20:29:53Z")));
    for ((name, end), group) in ENDS.iter().zip(&it.groups) {
        assert_eq!((group.breaks, group.targets, group.position), (Breaks::At(t(end)), 3, Some(0)));
        assert_eq!(group.secrets, (1, vec![(*name).into()]));
        assert_eq!(group.regions.iter().collect::<Vec<_>>(), all_regions().iter().collect::<Vec<_>>());
        assert_eq!(group.first, REGIONS.map(|r| format!("{name}-{r}")));
        assert_eq!(group.missed, None, "nothing is planned");
    }
    assert_eq!(it.groups.len(), 3);

    // A release that was planned in time saves all of them, until what it brings ends.
    let id = plan(&w, &planned("2013.1", t("2013-02-01T00:00:00Z"), Vec::new()));
    assert_eq!(groups(&w, Ask::default()), []);
    let year_after = ask(&w, Ask { until: Some(t("2014-03-01T00:00:00Z")), ..Ask::default() });
    assert_eq!((year_after.totals.breaking, year_after.lines[0].outlook.rests_on), (9, Some(id)));
    assert_eq!(year_after.totals.first, Some(t("2014-02-22T20:29:53Z")));
    // Default lead: 14 days from built to observed. The first of them breaks when the release is a day too late, and all after another week.
    for (delay, broken) in [("7d", 0), ("8d", 9), ("14d", 9)] {
        let how = Ask { delay: vec![("storage/2013.1".into(), Span::parse(delay).unwrap())], ..Ask::default() };
        assert_eq!(ask(&w, how).totals.breaking, broken, "{delay}");
    }
    let late = groups(&w, Ask { delay: vec![(id.to_string(), Span::days(14))], ..Ask::default() });
    assert_eq!(late[0], ("2013-02-22T20:29:53Z".into(), 3, all_regions(), Some(t("2013-03-01T00:00:00Z") - t("2013-02-22T20:29:53Z"))));
    assert_eq!(groups(&w, Ask { cancel: vec![id.to_string()], ..Ask::default() })[2].3, None);
    let silent = groups(&w, Ask { silence: vec!["eu".into()], ..Ask::default() });
    assert_eq!(silent.iter().map(|g| (g.1, g.2.join(","))).collect::<Vec<_>>(), [(1, "eu".into()), (1, "eu".into()), (1, "eu".into())]);
    // Only what was asked for.
    assert_eq!(ask(&w, Ask { secret: Some("queue".into()), cancel: vec![id.to_string()], ..Ask::default() }).totals.breaking, 3);
    assert_eq!(ask(&w, Ask { service: Some("storage".into()), ..Ask::default() }).totals.production, 9);
    assert_eq!(ask(&w, Ask { service: Some("mail".into()), ..Ask::default() }).totals.production, 0);
}

#[test]
fn stages_arrive_region_by_region() {
    let w = world(&ca(), "2013-01-07T00:00:00Z", "release_bound = true");
    let stages = vec![
        stage(&w, "asia", t("2013-02-20T00:00:00Z")),
        stage(&w, "eu", t("2013-02-22T20:29:53Z")),
        Stage { status: Status::Cancelled, ..stage(&w, "us", t("2013-02-20T00:00:00Z")) },
    ];
    plan(&w, &planned("2013.1", t("2013-02-01T00:00:00Z"), stages));
    let it = groups(&w, Ask { secret: Some("blob".into()), ..Ask::default() });
    let end = || String::from("2013-02-22T20:29:53Z");
    assert_eq!(it, [(end(), 1, vec!["us".into()], None), (end(), 1, vec!["eu".into()], Some(Span::ZERO))]);
}

#[test]
fn what_nobody_knows_is_refused_with_its_name() {
    let w = world(&ca(), "2013-01-07T00:00:00Z", "");
    plan(&w, &planned("a/b", t("2013-02-01T00:00:00Z"), Vec::new()));
    let day = Span::days(1);
    for (how, says) in [
        (Ask { delay: vec![("77".into(), day)], ..Ask::default() }, "there is no release "),
        (Ask { delay: vec![("mail/a/b".into(), day)], ..Ask::default() }, "there is no release "),
        (Ask { delay: vec![("storage/a/b".into(), Span::ZERO)], ..Ask::default() }, ""),
        (Ask { delay: vec![("storage/a/b".into(), Span::days(5000))], ..Ask::default() }, ""),
        (Ask { cancel: vec!["no such".into()], ..Ask::default() }, "there is no release "),
        (Ask { silence: vec!["mars".into()], ..Ask::default() }, "there is no region "),
        (Ask { silence: vec!["eu".into(); 101], ..Ask::default() }, ""),
        (Ask { secret: Some("nothing".into()), ..Ask::default() }, "there is no secret "),
        (Ask { service: Some("nothing".into()), ..Ask::default() }, "there is no service "),
        (Ask { limit: engine::forecast::MOST + 1, ..Ask::default() }, ""),
    ] {
        let how = Ask { limit: how.limit.max(1), ..how };
        let refused = w.engine.forecast(&how, &w.tick()).unwrap_err();
        match &refused {
            engine::Error::NotFound { .. } => assert!(!says.is_empty() && refused.to_string().starts_with(says), "{refused}"),
            engine::Error::Refused(r) => assert!(says.is_empty() && r.code == "bad-forecast", "{refused}"),
            other => panic!("{other}"),
        }
    }
    assert!(w.engine.forecast(&Ask { cancel: vec!["storage/a/b".into()], limit: 1, ..Ask::default() }, &w.tick()).is_ok());
}

fn breaches(w: &World) -> Vec<(String, String)> {
    let got = w.post.got.borrow();
    got.iter().filter(|m| m.code == Code::ForecastBreach.as_str()).map(|m| (m.team.clone(), m.title.clone())).collect()
}

#[test]
fn a_breach_that_enters_is_told_at_once_and_months_before_any_threshold() {
    // 270 days before the end: the first notice of the ladder is 90 days away.
    let mut w = world(&ca(), "2012-05-28T00:00:00Z", "release_bound = true");
    w.run_until(w.now + Span::days(2), Span::hours(12));
    let id = plan(&w, &planned("2013.1", t("2013-01-01T00:00:00Z"), Vec::new()));
    w.settle();
    assert_eq!(breaches(&w), [], "a plan that makes it better is no news");
    assert!(w.notices().iter().all(|n| n.rung.is_none()), "and no threshold is near");
    // Still in time: no news. A week later it is not.
    replan(&w, id, t("2013-02-08T00:00:00Z"));
    w.settle();
    assert_eq!(breaches(&w), []);
    w.now = w.now + Span::hours(1);
    replan(&w, id, t("2013-02-09T00:00:00Z"));
    w.settle();
    let told = breaches(&w);
    assert_eq!(
        told.iter().map(|(team, _)| team.as_str()).collect::<Vec<_>>(),
        ["storage"; 3],
        "each certificate once, however many regions"
    );
    assert_eq!(
        told[0].1,
        "blob: as things are planned now, production breaks 2013-02-22T20:29:53Z in asia, eu, us, when the leaf ends; \
         2014-02-22T20:29:53Z was planned before; release storage/2013.1 arrives 2013-02-23T00:00:00Z, 3 h 30 min too late"
    );
    // Once, whatever time does; and what is told again is another breach.
    w.run_until(w.now + Span::days(20), Span::hours(12));
    assert_eq!(breaches(&w).len(), 3);
    replan(&w, id, t("2013-01-01T00:00:00Z"));
    w.settle();
    let stands = |w: &World| w.notices().iter().filter(|n| n.code == Code::ForecastBreach.as_str() && n.ended_at.is_none()).count();
    assert_eq!((breaches(&w).len(), stands(&w)), (3, 0), "better again: the episode is over, and nobody is told");
    w.now = w.now + Span::days(1);
    replan(&w, id, t("2013-03-01T00:00:00Z"));
    w.settle();
    assert_eq!((breaches(&w).len(), stands(&w)), (6, 3));
}

#[test]
fn an_older_certificate_that_comes_back_is_a_breach() {
    let ca = ca();
    let mut w = world(&ca, "2012-05-28T00:00:00Z", "");
    // Everything serves version 2, which ends a year later.
    let id = w.secret("blob").id;
    let new = w.engine.store().read(|tx| secret::instances(tx, id, None)).unwrap();
    let chain = |version: i64| {
        let i = new.iter().find(|i| i.version == version).unwrap();
        engine::judge::parse_chain(&i.chain)
    };
    REGIONS.iter().enumerate().for_each(|(r, _)| w.net.serves(&address(0, r), &chain(2)));
    w.run_until(w.now + Span::days(2), Span::hours(1));
    assert_eq!(groups(&w, Ask { secret: Some("blob".into()), ..Ask::default() }), []);
    // One region is rolled back.
    w.net.serves(&address(0, 1), &chain(1));
    w.run_until(w.now + Span::hours(2), Span::minutes(30));
    let told = breaches(&w);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].1.contains("production breaks 2013-02-22T20:29:53Z in eu, when the leaf ends; 2014-02-22T20:29:53Z was planned before"),
        "{told:?}"
    );
    assert!(told[0].1.ends_with("nothing is planned that would save it"), "{told:?}");
    let entries =
        w.engine.store().read(|tx| tx.query("SELECT body FROM journal WHERE action = 'forecast.breach' ORDER BY seq", &[])).unwrap();
    assert_eq!(entries.len(), 1);
    assert!(entries[0].text(0).unwrap().contains("\"region\":\"eu\""), "{entries:?}");
}

#[test]
fn what_looks_at_a_fleet_for_the_first_time_enters_nothing() {
    let ca = ca();
    let mut w = World::new(t("2012-05-28T00:00:00Z"));
    // Three certificates under one secret and region, the one that ends first is seen last.
    for (n, region) in [(0, "asia"), (1, "eu"), (2, "us")] {
        let (chain, _) = ca.leaf(&["*.blob.example"], w.now - Span::days(30), w.now + Span::days(335 - 20 * n));
        w.net.name(&format!("blob.{region}.example"), &[&address(0, n as usize)]);
        w.net.serves(&address(0, n as usize), &chain);
    }
    for (name, _) in &ENDS[1..] {
        for region in REGIONS {
            w.net.unresolved(&format!("{name}.{region}.example"));
        }
    }
    let toml = fleet(&ca, "").replace("region = \"eu\"", "region = \"asia\"").replace("region = \"us\"", "region = \"asia\"");
    w.apply(&toml);
    for region in REGIONS {
        let id = w.target(&format!("blob-{region}")).facts.id;
        w.engine.look_now(id, &person(), &w.tick()).unwrap();
        w.settle();
        w.now = w.now + Span::minutes(10);
    }
    assert_eq!(groups(&w, Ask { secret: Some("blob".into()), ..Ask::default() }).len(), 3);
    assert_eq!(breaches(&w), []);
}

#[test]
fn automatic_renewal_counts_while_it_is_proven_and_is_no_breach_when_it_is_late() {
    let ca = ca();
    let mut w = world(&ca, "2012-03-01T00:00:00Z", "renewal = \"automatic\"");
    let serve = |w: &World, version: i64| {
        for (s, (name, _)) in ENDS.iter().enumerate() {
            let id = w.secret(name).id;
            let all = w.engine.store().read(|tx| secret::instances(tx, id, Some(version))).unwrap();
            REGIONS.iter().enumerate().for_each(|(r, _)| w.net.serves(&address(s, r), &engine::judge::parse_chain(&all[0].chain)));
        }
    };
    assert_eq!(ask(&w, Ask::default()).totals.breaking, 9, "never seen to work");
    serve(&w, 2);
    w.run_until(w.now + Span::hours(6), Span::minutes(30));
    assert!(w.secret("blob").completed_unaided);
    let far = || Ask { until: Some(t("2020-01-01T00:00:00Z")), ..Ask::default() };
    assert_eq!((ask(&w, far()).totals.breaking, breaches(&w)), (0, vec![]));
    let silent = Ask { silence: all_regions(), ..far() };
    assert_eq!(ask(&w, silent).totals.breaking, 9);
    // A renewal is under way: nothing is proven until it is observed, and nobody hears of that.
    let (chain, key) = ca.leaf(&names("blob"), w.now, w.now + Span::days(800));
    w.store_accepting("blob", &chain, &key).unwrap();
    w.settle();
    assert_eq!((ask(&w, far()).totals.breaking, breaches(&w)), (3, vec![]));
    // And it becomes overdue: that has a finding of its own.
    w.run_until(t("2013-12-20T00:00:00Z"), Span::days(2));
    assert!(w.notices().iter().any(|n| n.code == Code::RenewalOverdue.as_str()));
    assert_eq!(breaches(&w), []);
}

/// A source that gives the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// What every target is asked for alone, sorted: the slow way.
fn naive(w: &World, coming: &[Coming], until: Time) -> Vec<(i64, i64, String)> {
    let all = w.engine.store().read(|tx| target::page(tx, domain::words::TargetId(0), 1000)).unwrap();
    let mut lines = Vec::new();
    for it in all.into_iter().filter(|t| t.facts.production) {
        let cause = it.worst.map(|e| Cause { about: e.about, position: e.position, lifetime: e.lifetime });
        let plan = WhatIf::default().plan(&it.facts.region, coming, false);
        let version = if it.required > 0 && it.current == it.required { Serves::Version(2) } else { Serves::NotYet(2) };
        let o = outlook(&Serving { served: it.served, cause, version }, &plan, w.now);
        match o.breaks {
            Breaks::Now => lines.push((i64::MIN, it.facts.id.0, it.facts.name.clone())),
            Breaks::At(at) if at < until => lines.push((at.unix(), it.facts.id.0, it.facts.name.clone())),
            _ => {}
        }
    }
    lines.sort();
    lines
}

#[test]
fn one_pass_in_pages_says_what_each_target_says_alone() {
    let ca = ca();
    let w = world(&ca, "2012-05-28T00:00:00Z", "");
    let ids: BTreeMap<String, (domain::words::TargetId, SecretId)> = w
        .engine
        .store()
        .read(|tx| {
            Ok(target::page(tx, domain::words::TargetId(0), 1000)?
                .into_iter()
                .map(|t| (t.facts.name.clone(), (t.facts.id, t.secret)))
                .collect())
        })
        .unwrap();
    assert_eq!(ids.len(), 9);
    let mut dice = Dice(7);
    for round in 0..60 {
        let until = w.now + Span::days(200);
        w.engine
            .store()
            .write(&person(), w.now, |tx| {
                for (id, _) in ids.values() {
                    // Few moments and certificates, so that there are groups; some targets never seen, some broken.
                    let at = w.now + Span::days(dice.below(6) as i64 * 50 - 50);
                    let end = End {
                        about: Fingerprint::from_bytes([dice.below(2) as u8; 32]),
                        position: dice.below(2) as usize,
                        until: at,
                        thresholds: Thresholds::for_leaf(Span::days(365)),
                        lifetime: Span::days(365),
                    };
                    let served =
                        [Served::Unknown, Served::Broken, Served::Until(at), Served::Until(at), Served::Until(at)][dice.below(5) as usize];
                    let standing = Standing {
                        served,
                        worst: Some(end),
                        ends: Some(end),
                        current: dice.below(2) as u32,
                        required: 1,
                        shows: 0,
                        settled_since: None,
                        evidence: Vec::new(),
                        findings: Vec::new(),
                        lifetime: None,
                        next: None,
                        paths: Default::default(),
                    };
                    target::update_standing(tx, *id, &standing, 0, None)?;
                }
                Ok(())
            })
            .unwrap();
        let wanted = naive(&w, &[], until);
        for limit in [1, 2, 3, 100] {
            let (mut got, mut after) = (Vec::new(), None);
            loop {
                let it = ask(&w, Ask { until: Some(until), limit, after, ..Ask::default() });
                assert_eq!(it.totals.breaking as usize, wanted.len(), "round {round}");
                got.extend(it.lines.iter().map(|l| (l.place.at, l.place.number, l.target.clone())));
                after = it.lines.last().map(|l| l.place);
                if !it.more {
                    break;
                }
            }
            assert_eq!(got, wanted, "round {round} in pages of {limit}");
            let (mut groups, mut after) = (Vec::new(), None);
            loop {
                let it = ask(&w, Ask { until: Some(until), limit, after, grouped: true, ..Ask::default() });
                after = it.groups.last().map(|g| g.place);
                groups.extend(it.groups);
                if !it.more {
                    break;
                }
            }
            assert_eq!(groups.iter().map(|g| g.targets).sum::<u64>() as usize, wanted.len(), "round {round} in pages of {limit}");
            assert!(groups.windows(2).all(|g| g[0].place < g[1].place), "round {round}");
        }
    }
}
