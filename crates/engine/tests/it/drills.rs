//! Rehearsals in a simulated fleet: a CA of the store issues, agents install what they are told, the network answers with it, and only
//! what is seen there passes a drill.

use crate::world::{Postbox, World, entropy, person, t};
use domain::{
    Span, Time,
    drill::{Kind, Phase},
};
use engine::{
    Error,
    drills::{Ask, standing},
    issuing::NewAuthority,
};
use pki::Certificate;
use std::collections::{BTreeMap, BTreeSet};
use store::model::{
    concern,
    drill::{self, Run},
    incident, node, rollout, secret,
};

const START: &str = "2027-03-01T08:00:00Z";
const STEP: Span = Span::seconds(15);

/// `(name, region, canary)` of each node; a target stands before each.
const NODES: [(&str, &str, bool); 7] = [
    ("c1", "eu", true),
    ("e1", "eu", false),
    ("e2", "eu", false),
    ("e3", "eu", false),
    ("u1", "us", false),
    ("u2", "us", false),
    ("u3", "us", false),
];

struct Fleet {
    w: World,
    /// Whose agent does nothing at all.
    deaf: BTreeSet<&'static str>,
    /// What each node has in its files and serves.
    had: BTreeMap<&'static str, i64>,
    /// How long an agent takes.
    takes: Span,
    told: BTreeMap<&'static str, (i64, Time)>,
    issues: bool,
    draws: u64,
}

fn fleet(more: &str) -> String {
    let mut toml = String::from(
        "[[team]]\nname = \"web\"\nescalation = \"night\"\ncontacts = [{ channel = \"log\" }, { channel = \"alertmanager\", url = \"http://am.example\" }]\n\
         [[team]]\nname = \"night\"\ncontacts = [{ channel = \"webhook\", url = \"https://hook.example\" }]\n\
         [[service]]\nname = \"web\"\nteam = \"web\"\n[[region]]\nname = \"eu\"\n[[region]]\nname = \"us\"\n\
         [[issuer]]\nname = \"ca\"\nkind = \"internal\"\n\
         [[secret]]\nname = \"www\"\nkind = \"certificate\"\nservice = \"web\"\nnames = [\"*.w.example\"]\nissued_by = [\"ca\"]\nkeys = \"store\"\n\
         renewal = \"automatic\"\nlifetime = \"90d\"\nrollout = \"fast\"\n\
         [[secret]]\nname = \"canary\"\nkind = \"certificate\"\nservice = \"web\"\nnames = [\"canary.example\"]\nissued_by = [\"ca\"]\nkeys = \"store\"\n\
         renewal = \"automatic\"\nlifetime = \"6h\"\nrollout = \"fast\"\n\
         [[rollout_policy]]\nname = \"fast\"\n[[rollout_policy.wave]]\nof = \"all\"\n\
         [[secret]]\nname = \"mail\"\nkind = \"certificate\"\nteam = \"web\"\nnames = [\"mail.example\"]\nissued_by = [\"ca\"]\nkeys = \"store\"\n\
         renewal = \"automatic\"\nlifetime = \"90d\"\n\
         [[node]]\nname = \"canary\"\nregion = \"eu\"\nsecrets = [\"canary\"]\n\
         [[target]]\nname = \"canary\"\nsecret = \"canary\"\nendpoint = \"tls://canary.example:443\"\nroots = \"perennial-ca-ca\"\n\
         backends = \"direct\"\noffers = [\"all\"]\nnodes = [\"canary\"]\nproduction = false\n",
    );
    for (name, region, canary) in NODES {
        let besides = if name == "e2" { ", \"mail\"" } else { "" };
        toml += &format!(
            "[[node]]\nname = \"{name}\"\nregion = \"{region}\"\ncanary = {canary}\nsecrets = [\"www\"{besides}]\n\
             [[target]]\nname = \"{name}\"\nsecret = \"www\"\nendpoint = \"tls://{name}.w.example:443\"\nregion = \"{region}\"\n\
             roots = \"perennial-ca-ca\"\nbackends = \"direct\"\noffers = [\"all\"]\nnodes = [\"{name}\"]\n"
        );
    }
    toml + more
}

fn address(name: &str) -> String {
    let n = NODES.iter().position(|(n, ..)| *n == name).unwrap_or(100);
    format!("10.1.0.{}:443", n + 1)
}

impl Fleet {
    fn new(more: &str) -> Fleet {
        let w = World::new(t(START));
        // The set of roots of the issuer exists once its CA does; targets name it from then on.
        let bare = "[[team]]\nname = \"web\"\ncontacts = [{ channel = \"log\" }]\n[[issuer]]\nname = \"ca\"\nkind = \"internal\"\n";
        w.apply(bare);
        let ca = NewAuthority { issuer: "ca".into(), permitted: vec!["example".into()], keep_root: true, reason: "test".into() };
        w.engine.request_authority(&ca, &mut *entropy(3), &person(), &w.tick()).unwrap();
        let mut f = Fleet {
            w,
            deaf: BTreeSet::new(),
            had: BTreeMap::new(),
            takes: Span::seconds(20),
            told: BTreeMap::new(),
            issues: true,
            draws: 0,
        };
        f.w.apply(&f.inventory(more));
        for name in f.names() {
            let zone = if name == "canary" { "example" } else { "w.example" };
            f.w.net.name(&format!("{name}.{zone}"), &[&address(name)]);
        }
        f.run(Span::minutes(20));
        f
    }

    fn inventory(&self, more: &str) -> String {
        let roots = self.w.engine.store().read(|tx| store::model::inventory::roots(tx, "perennial-ca-ca")).unwrap().unwrap();
        fleet(more).replace("perennial-ca-ca", "corp") + &format!("[[roots]]\nname = \"corp\"\npem = \"\"\"\n{roots}\"\"\"\n")
    }

    fn names(&self) -> Vec<&'static str> {
        NODES.iter().map(|(n, ..)| *n).chain(["canary"]).collect()
    }

    fn chain(&self, of: &str, version: i64) -> Option<Vec<Certificate>> {
        let s = self.w.secret(of);
        let all = self.w.engine.store().read(|tx| secret::instances(tx, s.id, Some(version))).unwrap();
        all.first().map(|i| engine::judge::parse_chain(&i.chain))
    }

    /// The agents do what their manifests say, as far as they get one.
    fn agents(&mut self) {
        let now = self.w.now;
        for name in self.names() {
            let of = if name == "canary" { "canary" } else { "www" };
            let s = self.w.secret(of).id;
            let (id, wanted, cut, stale) = self
                .w
                .engine
                .store()
                .read(|tx| {
                    let n = node::by_name(tx, name)?.unwrap();
                    let i = node::install(tx, n.id, s)?.unwrap();
                    let cut = drill::cut_off(tx, now)?.contains(&(n.id, s));
                    Ok((n.id, i.clone(), cut, i.fault == "stale-reload"))
                })
                .unwrap();
            if wanted.version > 0 && !self.deaf.contains(name) && !cut {
                let known = self.told.get(name).copied();
                if known.map(|(g, _)| g) != Some(wanted.generation) {
                    self.told.insert(name, (wanted.generation, now));
                } else if known.is_some_and(|(_, at)| now >= at + self.takes)
                    && wanted.installed_at.is_none()
                    && wanted.state != "rolled-back-now"
                {
                    let chain = self.chain(of, wanted.version);
                    if chain.is_some() {
                        let said = if stale { "rolled-back" } else { "installed" };
                        if !stale {
                            self.had.insert(name, wanted.version);
                        }
                        let target = self.w.target(name).facts.id.0;
                        self.w
                            .engine
                            .store()
                            .write(&person(), now, |tx| {
                                let mut i = wanted.clone();
                                i.fetched_at = i.fetched_at.or(Some(now));
                                i.state = said.into();
                                if stale {
                                    i.failed_at = Some(now);
                                    i.detail = "its own look saw the old certificate".into();
                                    drill::put_back(tx, id, s, now)?;
                                } else {
                                    i.installed_at = Some(now);
                                    i.has = i.version;
                                }
                                node::lock(tx, id)?;
                                node::put_install(tx, &i)?;
                                rollout::wake_by_node(tx, id, engine::loops::ROLLOUT, now)?;
                                store::timer::set_earlier(tx, engine::loops::OBSERVE, target, now)
                            })
                            .unwrap();
                    }
                }
            }
            let has = self.had.get(name).copied().unwrap_or_default();
            match self.chain(of, has) {
                Some(chain) => self.w.net.serves(&address(name), &chain),
                None => self.w.net.silent(&address(name)),
            }
        }
    }

    fn loops(&mut self) {
        if self.issues {
            for _ in 0..20 {
                // No two rounds draw the same, whichever second it is.
                self.draws += 1;
                let seed = 5000 + self.draws;
                if self.w.engine.renew_once(&mut *entropy(seed), &self.w.tick()).unwrap() == 0 {
                    break;
                }
            }
        }
        self.w.settle();
    }

    fn step(&mut self, by: Span) {
        self.w.now = self.w.now + by;
        self.agents();
        self.loops();
        self.agents();
        self.loops();
    }

    fn run(&mut self, time: Span) {
        let (end, by) = (self.w.now + time, if time > Span::hours(2) { Span::minutes(5) } else { STEP });
        while self.w.now < end {
            self.step(by);
        }
    }

    fn ask(&self, ask: &Ask) -> engine::Result<Run> {
        self.w.engine.run_drill(ask, "a test", &person(), &self.w.tick())
    }

    fn start(&self, kind: Kind, node: &str, region: &str) -> Run {
        let maybe = |t: &str| (!t.is_empty()).then(|| t.to_owned());
        let ask = Ask { secret: Some("www".into()), kind: Some(kind), node: maybe(node), region: maybe(region), ..Ask::default() };
        self.ask(&ask).unwrap()
    }

    fn get(&self, id: i64) -> Run {
        self.w.engine.store().read(|tx| drill::get(tx, id)).unwrap().unwrap()
    }

    fn until_over(&mut self, id: i64) -> Run {
        for _ in 0..2000 {
            let run = self.get(id);
            if run.phase.is_over() {
                return run;
            }
            self.step(STEP);
        }
        panic!("it does not end: {:#?}", self.get(id));
    }

    fn whys(&self, run: &Run) -> Vec<String> {
        standing::reasons(&run.reasons).into_iter().map(|r| format!("{}: {}", r.why, r.detail)).collect()
    }

    fn stands(&self, subject: &str) -> Vec<String> {
        let rows = self.w.engine.store().read(|tx| concern::of(tx, subject)).unwrap();
        rows.into_iter().filter(|c| c.gone_at.is_none()).map(|c| c.key).collect()
    }

    fn path(&self) -> Option<i64> {
        let (now, www) = (self.w.now, self.w.secret("www").id);
        self.w.engine.store().try_read(|tx| engine::drills::proven(tx, www, now)).unwrap().map(|(p, _)| p.as_secs())
    }

    fn everything_serves(&self, version: i64) -> bool {
        NODES.iter().all(|(name, ..)| self.w.target(name).shows == version)
    }
}

#[test]
fn a_rotation_goes_the_way_of_an_emergency_and_proves_it() {
    let mut f = Fleet::new("");
    let before = f.w.secret("www").newest_version;
    assert!(f.everything_serves(before), "the story begins well");
    assert_eq!(f.path(), None);
    let run = f.start(Kind::Rotation, "", "");
    let twice = f.ask(&Ask { secret: Some("www".into()), ..Ask::default() });
    assert!(matches!(&twice, Err(Error::Refused(r)) if r.code == "drill-running"), "{twice:?}");
    let run = f.until_over(run.id);
    assert_eq!((run.phase, f.whys(&run)), (Phase::Passed, vec![]));
    assert_eq!((run.version, run.observed, run.quarantined, run.left), (before + 1, 7, 0, 0));
    assert!(f.everything_serves(before + 1));
    // The same code as a crisis: a rollout of the critical policy, whose reason says that it is a drill.
    let r = f.w.engine.store().read(|tx| rollout::get(tx, domain::words::RolloutId(run.rollout))).unwrap().unwrap();
    assert_eq!((r.kind, r.version), (domain::rollout::Kind::Drill, run.version));
    assert!(r.reason.contains("drill") && r.policy.contains("\"critical\""), "{} {}", r.reason, r.policy);
    let rollouts = f.w.engine.store().read(|tx| rollout::of_secret(tx, run.secret, 9)).unwrap();
    assert_eq!(rollouts.iter().filter(|r| r.version == run.version).count(), 1, "no ordinary rollout went before it");
    // Canary, a region, the rest: three waves, each step of each measured.
    let measured = standing::measured(&run.steps);
    let of = |wave: Option<u32>, step: &str| measured.iter().find(|m| m.wave == wave && m.step.as_str() == step).map(|m| m.spread);
    for step in ["issued", "distributed", "installed", "observed", "whole"] {
        for (wave, n) in [(None, 7), (Some(0), 1), (Some(1), 3), (Some(2), 3)] {
            assert_eq!(of(wave, step).map(|s| s.n), Some(n), "{wave:?} {step}: {measured:#?}");
        }
    }
    let (whole, first) = (of(None, "whole").unwrap(), of(Some(0), "whole").unwrap());
    assert!(first.max < whole.p95 && whole.p95.as_secs() < 1200, "{whole:?}");
    assert_eq!((run.p95, run.max), (Some(whole.p95.as_secs()), Some(whole.max.as_secs())));
    // What was measured is what people are woken by, until it is overdue.
    assert_eq!(f.path(), run.p95);
    assert_eq!(f.stands("drill/secret/www"), [""; 0]);
}

#[test]
fn a_drill_that_is_too_slow_fails_and_only_one_that_passes_ends_the_finding() {
    let mut f = Fleet::new("[[drill]]\nname = \"monthly\"\nsecret = \"www\"\nevery = \"30d\"\nwithin = \"5m\"\n");
    let ask = Ask { name: Some("monthly".into()), ..Ask::default() };
    let run = f.ask(&ask).unwrap();
    let run = f.until_over(run.id);
    assert_eq!(run.phase, Phase::Failed);
    assert!(f.whys(&run)[0].starts_with("too-slow: "), "{:?}", f.whys(&run));
    assert_eq!(f.stands("drill/monthly"), ["drill-failed"]);
    assert_eq!(f.path(), None, "what failed proves nothing");
    // A kinder inventory does not end it (law 1).
    f.w.apply(&f.inventory("[[drill]]\nname = \"monthly\"\nsecret = \"www\"\nevery = \"30d\"\nwithin = \"60m\"\n"));
    f.run(Span::minutes(2));
    assert_eq!(f.stands("drill/monthly"), ["drill-failed"]);
    let run = f.ask(&ask).unwrap();
    let run = f.until_over(run.id);
    assert_eq!((run.phase, f.whys(&run)), (Phase::Passed, vec![]));
    assert_eq!(f.stands("drill/monthly"), [""; 0]);
    assert_eq!(f.path(), run.p95);
    let told = f.w.post.got.borrow().iter().filter(|m| m.code == "drill-failed").count();
    assert!(told > 0, "its owner was told");
}

#[test]
fn it_starts_when_it_is_due_and_is_overdue_to_the_second() {
    let mut f = Fleet::new("[[drill]]\nname = \"often\"\nsecret = \"www\"\nevery = \"12h\"\nwithin = \"60m\"\n");
    let declared = f.w.engine.store().read(|tx| drill::by_name(tx, "often")).unwrap().unwrap();
    let due = declared.declared_at + Span::hours(12);
    let runs = |f: &Fleet| f.w.engine.store().read(|tx| drill::runs(tx, Some("often"), None, 9)).unwrap();
    f.w.now = due - Span::seconds(1);
    f.step(Span::seconds(0));
    assert_eq!(runs(&f).len(), 0);
    // Nobody can issue: the store is sealed. What is due begins, and fails with its reason.
    f.w.engine.seal(&person(), &f.w.tick()).unwrap();
    f.step(Span::seconds(1));
    let failed = runs(&f);
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].phase, Phase::Failed);
    assert!(f.whys(&failed[0])[0].starts_with("cannot-issue: the store is sealed"), "{:?}", f.whys(&failed[0]));
    assert_eq!(f.w.secret("www").newest_version, 1, "nothing was asked for");
    // A quarter more than its interval, and then it is overdue besides.
    let overdue = due + Span::hours(3);
    for (s, stands) in [(-1, &["drill-failed"][..]), (0, &["drill-failed", "drill-overdue"]), (1, &["drill-failed", "drill-overdue"])] {
        f.w.now = overdue + Span::seconds(s);
        f.w.settle();
        assert_eq!(f.stands("drill/often"), stands, "{s}");
    }
    // Once it can, the next one passes, and both are gone.
    f.w.engine.unseal(&crate::world::envelope_key(), &person(), &f.w.tick()).unwrap();
    let run = f.ask(&Ask { name: Some("often".into()), ..Ask::default() }).unwrap();
    assert_eq!(f.until_over(run.id).phase, Phase::Passed);
    assert_eq!(f.stands("drill/often"), [""; 0]);
}

#[test]
fn a_node_that_is_down_stops_the_rest_and_everything_ends_on_one_version() {
    let mut f = Fleet::new("");
    let run = f.start(Kind::NodeDown, "e2", "");
    let run = f.until_over(run.id);
    assert_eq!((run.phase, f.whys(&run)), (Phase::Passed, vec![]), "{run:#?}");
    assert!(run.fault_at.is_some() && run.noticed_at >= run.fault_at && run.lifted_at.is_some());
    assert!(f.everything_serves(run.version));
    assert_eq!(f.path(), None, "a fault proves no path");
    assert!(f.w.engine.store().read(|tx| drill::cut_off(tx, f.w.now)).unwrap().is_empty());
    assert_eq!(f.w.incidents().len(), 0);
}

#[test]
fn a_reload_that_serves_the_old_one_is_put_back_noticed_and_repaired() {
    for node in ["c1", "e2"] {
        let mut f = Fleet::new("");
        let run = f.start(Kind::StaleReload, node, "");
        let run = f.until_over(run.id);
        assert_eq!((run.phase, f.whys(&run)), (Phase::Passed, vec![]), "{node} {run:#?}");
        assert!(f.everything_serves(run.version), "{node}");
    }
}

#[test]
fn a_region_that_is_cut_off_halts_the_rest() {
    let mut f = Fleet::new("");
    let run = f.start(Kind::RegionCut, "", "us");
    let mut seen = false;
    for _ in 0..2000 {
        f.step(STEP);
        let now = f.get(run.id);
        seen |= now.phase == Phase::Recovering;
        if !seen {
            assert!(["u1", "u2", "u3"].iter().all(|n| f.w.target(n).shows < now.version.max(2)), "nothing came through the cut");
        }
        if now.phase.is_over() {
            break;
        }
    }
    let run = f.get(run.id);
    assert_eq!((run.phase, f.whys(&run)), (Phase::Passed, vec![]), "{run:#?}");
    assert!(seen && f.everything_serves(run.version));
}

#[test]
fn a_fault_is_never_made_where_something_is_wrong_and_can_be_ended() {
    let mut f = Fleet::new("");
    let codes = |e: engine::Result<Run>| match e {
        Err(Error::Refused(r)) => r.problems.join("; "),
        other => panic!("{other:?}"),
    };
    let ask = |kind, node: &str| Ask { secret: Some("www".into()), kind: Some(kind), node: Some(node.into()), ..Ask::default() };
    let text = codes(f.ask(&ask(Kind::NodeDown, "canary")));
    assert!(text.contains("no node that is to have www"), "{text}");
    let text = codes(f.ask(&Ask { secret: Some("www".into()), kind: Some(Kind::Alert), ..Ask::default() }));
    assert!(text.contains("are production") && text.contains("kind \"alert\""), "{text}");
    // Aborting lifts the fault at once; the version goes on, since it is a good one.
    let run = f.start(Kind::NodeDown, "e2", "");
    f.run(Span::minutes(3));
    assert!(!f.w.engine.store().read(|tx| drill::cut_off(tx, f.w.now)).unwrap().is_empty());
    let aborted = f.w.engine.abort_drill(run.id, "wrong day", &person(), &f.w.tick()).unwrap();
    assert_eq!(aborted.phase, Phase::Aborted);
    assert!(f.w.engine.store().read(|tx| drill::cut_off(tx, f.w.now)).unwrap().is_empty());
    assert!(f.w.engine.abort_drill(run.id, "again", &person(), &f.w.tick()).is_err());
    f.run(Span::minutes(20));
    assert!(f.everything_serves(f.w.secret("www").newest_version));
    assert_eq!(f.stands("drill/secret/www"), [""; 0], "what was ended by hand is no finding");
    // Below the threshold nothing is made to fail; a rotation may be the cure.
    f.issues = false;
    f.w.now = f.w.now + Span::days(70);
    f.step(STEP);
    f.run(Span::minutes(2));
    let text = codes(f.ask(&ask(Kind::NodeDown, "e2")));
    assert!(text.contains("below its incident threshold") && text.contains("incident"), "{text}");
}

#[test]
fn an_alert_drill_expects_every_channel_and_a_person() {
    let mut f = Fleet::new("[[drill]]\nname = \"pager\"\nsecret = \"canary\"\nkind = \"alert\"\nevery = \"90d\"\nwithin = \"60m\"\n");
    let ask = Ask { name: Some("pager".into()), ..Ask::default() };
    // One channel is silent.
    f.w.post.down.borrow_mut().push("webhook");
    let run = f.ask(&ask).unwrap();
    // It may take hours, and holds no other drill of the service up.
    assert_eq!((run.service.as_str(), f.w.secret("canary").service.as_str()), ("secret/canary", "web"));
    for _ in 0..4000 {
        f.step(Span::minutes(1));
        if f.get(run.id).noticed_at.is_some() {
            break;
        }
    }
    let it = f.get(run.id).incident;
    assert!(it > 0, "{:#?}\n{:#?}\n{:?}", f.get(run.id), f.w.incidents(), f.w.findings("canary"));
    assert!(f.get(run.id).lifted_at.is_none());
    let id = domain::words::IncidentId(it);
    f.run(Span::minutes(5));
    f.w.engine.acknowledge(id, None, "I am here", &person(), &f.w.tick()).unwrap();
    let over = f.until_over(run.id);
    assert_eq!(over.phase, Phase::Failed);
    assert_eq!(f.stands("drill/pager"), ["channel-silent/night/webhook"], "{:?}", f.whys(&over));
    // What was held back goes on, and the incident ends by what is seen.
    f.run(Span::hours(3));
    let it = f.w.engine.store().read(|tx| incident::get(tx, id)).unwrap().unwrap();
    assert!(!it.facts.state.is_open(), "{it:#?}");
    // And once more, with everybody there.
    f.w.post.down.borrow_mut().clear();
    let run = f.ask(&ask).unwrap();
    let mut acknowledged = false;
    let over = loop {
        f.step(Span::minutes(1));
        let now = f.get(run.id);
        if now.noticed_at.is_some() && !acknowledged && f.w.now > now.noticed_at.unwrap() + Span::minutes(3) {
            f.w.engine.acknowledge(domain::words::IncidentId(now.incident), None, "I am here", &person(), &f.w.tick()).unwrap();
            acknowledged = true;
        }
        if now.phase.is_over() {
            break now;
        }
    };
    assert_eq!((over.phase, f.whys(&over)), (Phase::Passed, vec![]));
    assert_eq!(f.stands("drill/pager"), [""; 0]);
    let _: &Postbox = &f.w.post;
}

#[test]
fn whoever_dies_between_two_steps_leaves_nothing_half_way() {
    // Each round of the drills' loops is lost after what it committed in turn: the claim runs out, and whoever comes next reads it back.
    for lost in 0..4 {
        let mut f = Fleet::new("");
        let run = f.start(Kind::StaleReload, "e2", "");
        let mut n = 0;
        let mut phase = Phase::Asked;
        while !f.get(run.id).phase.is_over() {
            f.step(STEP);
            let now = f.get(run.id);
            if now.phase != phase {
                phase = now.phase;
                if n == lost && !phase.is_over() {
                    // As if the process had died with the claim in its hand.
                    let at = f.w.now;
                    f.w.engine
                        .store()
                        .write(&person(), at, |tx| {
                            store::timer::claim(tx, engine::loops::DRILL_RUN, at + STEP, "dead", Span::minutes(1), 9)
                        })
                        .unwrap();
                }
                n += 1;
            }
        }
        let over = f.get(run.id);
        assert_eq!((over.phase, f.whys(&over)), (Phase::Passed, vec![]), "{lost}");
        assert!(f.everything_serves(over.version));
        let rollouts = f.w.engine.store().read(|tx| rollout::of_secret(tx, over.secret, 20)).unwrap();
        assert!(rollouts.iter().filter(|r| r.version == over.version).count() <= 2, "{rollouts:#?}");
    }
}

/// Steps until something of a run is so.
fn until(f: &mut Fleet, id: i64, what: &str, so: impl Fn(&Run) -> bool) -> Run {
    for _ in 0..2000 {
        let run = f.get(id);
        if so(&run) {
            return run;
        }
        f.step(STEP);
    }
    panic!("{what}: {:#?}", f.get(id));
}

#[test]
fn a_person_who_halts_or_takes_back_has_the_last_word() {
    for halts in [true, false] {
        let mut f = Fleet::new("");
        let run = f.start(Kind::RegionCut, "", "us");
        let run = until(&mut f, run.id, "its rollout is on its way", |r| r.rollout > 0);
        f.run(Span::minutes(2));
        let rollout = domain::words::RolloutId(run.rollout);
        let tick = f.w.tick();
        if halts {
            f.w.engine.halt_rollout(rollout, "I do not like this", &person(), &tick).unwrap();
        } else {
            f.w.engine.roll_back(rollout, "I do not like this", &person(), &tick).unwrap();
        }
        f.step(STEP);
        let over = f.get(run.id);
        assert_eq!(over.phase, Phase::Failed, "{over:#?}");
        assert!(f.whys(&over)[0].starts_with("halted: ") && f.whys(&over)[0].contains("I do not like this"), "{:?}", f.whys(&over));
        assert!(over.lifted_at.is_some() && over.noticed_at.is_none());
        // And nothing is pushed on behind them.
        f.run(Span::minutes(20));
        let all = f.w.engine.store().read(|tx| rollout::of_secret(tx, run.secret, 9)).unwrap();
        assert_eq!(all.iter().filter(|r| r.version == run.version).count(), 1, "{all:#?}");
        assert!(!halts || all[0].halted_by.starts_with("test/"), "{all:#?}");
    }
}

#[test]
fn an_emergency_overtakes_a_drill_and_lifts_its_fault() {
    let mut f = Fleet::new("");
    let run = f.start(Kind::RegionCut, "", "us");
    until(&mut f, run.id, "its rollout is on its way", |r| r.rollout > 0);
    f.run(Span::minutes(2));
    let kind = domain::rollout::Kind::Critical;
    let id = f.w.engine.start_rollout("www", None, kind, "the key leaked", &person(), &f.w.tick()).unwrap();
    f.step(STEP);
    let over = f.get(run.id);
    assert_eq!(over.phase, Phase::Failed, "{over:#?}");
    assert!(f.whys(&over)[0].starts_with("overtaken: "), "{:?}", f.whys(&over));
    assert!(f.w.engine.store().read(|tx| drill::cut_off(tx, f.w.now)).unwrap().is_empty());
    assert_ne!(id.0, over.rollout, "the rehearsal's rollout is not the emergency's");
    f.run(Span::minutes(20));
    assert!(f.everything_serves(f.w.secret("www").newest_version));
}

#[test]
fn a_drill_before_its_rollout_makes_way_for_a_real_one() {
    let mut f = Fleet::new("");
    let run = f.start(Kind::RegionCut, "", "us");
    let before = f.w.secret("www").newest_version;
    let tick = f.w.tick();
    let id = f.w.engine.start_rollout("www", Some(before), domain::rollout::Kind::Ordinary, "again", &person(), &tick).unwrap();
    // What everything serves already would be over at once.
    f.w.engine.halt_rollout(id, "not yet", &person(), &tick).unwrap();
    let over = f.until_over(run.id);
    assert!(f.whys(&over)[0].starts_with("overtaken: "), "{:?}", f.whys(&over));
    assert_eq!(over.fault_at, None, "nothing is made to fail while something real is on its way");
}

#[test]
fn what_stands_still_for_another_reason_proves_no_fault_noticed() {
    let mut f = Fleet::new("");
    // The canary itself is dead; the fault is one wave further, where nothing comes.
    f.deaf.insert("c1");
    let run = f.start(Kind::NodeDown, "u1", "");
    let over = f.until_over(run.id);
    assert_eq!((over.phase, over.noticed_at), (Phase::Failed, None), "{over:#?}");
    assert!(f.whys(&over)[0].starts_with("fault-unnoticed: "), "{:?}", f.whys(&over));
}

#[test]
fn a_node_that_is_cut_off_from_one_secret_is_not_from_another() {
    let mut f = Fleet::new("");
    let run = f.start(Kind::NodeDown, "e2", "");
    until(&mut f, run.id, "the node is cut off", |r| r.fault_at.is_some());
    f.run(Span::minutes(2));
    assert_eq!(f.get(run.id).phase, Phase::Rolling);
    let mail = f.w.secret("mail");
    f.w.engine.renew_secret("mail", "a test", &person(), &f.w.tick()).unwrap();
    f.run(Span::minutes(1));
    let newest = f.w.secret("mail").newest_version;
    assert!(newest > mail.newest_version);
    let tick = f.w.tick();
    f.w.engine
        .store()
        .try_write(&person(), tick.now, |tx| {
            let e2 = node::by_name(tx, "e2")?.unwrap().id;
            engine::nodes::desire(tx, e2, mail.id, newest, None, &tick)
        })
        .unwrap();
    f.step(STEP);
    let over = f.get(run.id);
    assert_eq!(over.phase, Phase::Failed, "{over:#?}");
    assert!(f.whys(&over)[0].contains("node e2") && f.whys(&over)[0].contains("mail"), "{:?}", f.whys(&over));
    assert!(f.w.engine.store().read(|tx| drill::cut_off(tx, f.w.now)).unwrap().is_empty());
}

#[test]
fn a_canary_proves_its_own_way_and_no_other() {
    let mut f = Fleet::new("");
    let run = f.ask(&Ask { secret: Some("canary".into()), ..Ask::default() }).unwrap();
    let run = f.until_over(run.id);
    assert_eq!((run.phase, f.whys(&run)), (Phase::Passed, vec![]));
    assert_eq!(f.path(), None, "of www, in the same service");
    let canary = f.w.secret("canary").id;
    let (path, reached) =
        f.w.engine
            .store()
            .try_read(|tx| Ok::<_, Error>((engine::drills::proven(tx, canary, f.w.now)?, drill::reached_by(tx, run.id)?)))
            .unwrap();
    assert_eq!(path.map(|(p, _)| p.as_secs()), run.p95);
    assert_eq!(reached, [""; 0], "what is not production proves no way to a service");
}

#[test]
fn what_nobody_declared_says_when_its_proof_has_lapsed() {
    let mut f = Fleet::new("");
    let run = f.start(Kind::Rotation, "", "");
    let run = f.until_over(run.id);
    let until = run.ended_at.unwrap() + run.every + domain::drill::schedule::grace(run.every);
    f.w.now = until - Span::seconds(1);
    f.w.settle();
    assert_eq!((f.path(), f.stands("drill/secret/www")), (run.p95, vec![]));
    f.w.now = until;
    f.w.settle();
    assert_eq!((f.path(), f.stands("drill/secret/www")), (None, vec!["drill-overdue".to_owned()]));
    // The next one that passes ends it.
    let run = f.start(Kind::Rotation, "", "");
    let run = f.until_over(run.id);
    assert_eq!((run.phase, f.stands("drill/secret/www")), (Phase::Passed, vec![]), "{:?}", f.whys(&run));
}

#[test]
fn a_drill_that_left_the_inventory_on_its_way_leaves_no_finding_behind() {
    let mut f = Fleet::new("[[drill]]\nname = \"monthly\"\nsecret = \"www\"\nevery = \"30d\"\nwithin = \"5m\"\n");
    let run = f.ask(&Ask { name: Some("monthly".into()), ..Ask::default() }).unwrap();
    f.run(Span::minutes(1));
    let fleet = api::fleet::parse(&f.inventory("")).unwrap();
    let options = engine::inventory::Options { prune: true, ..engine::inventory::Options::default() };
    f.w.engine.apply(&fleet, &options, &person(), &f.w.tick()).unwrap();
    let over = f.until_over(run.id);
    assert_eq!(over.phase, Phase::Failed);
    assert_eq!(f.stands("drill/monthly"), [""; 0]);
}

#[test]
fn one_row_that_cannot_be_read_holds_up_no_other_drill() {
    let drill = |name: &str, every: &str| format!("[[drill]]\nname = \"{name}\"\nsecret = \"www\"\nevery = \"{every}\"\n");
    let mut f = Fleet::new(&(drill("broken", "12h") + &drill("good", "12h")));
    f.w.engine.store().write(&person(), f.w.now, |tx| tx.execute("UPDATE drill SET kind = 'x' WHERE name = 'broken'", &[])).unwrap();
    f.w.now = f.w.now + Span::hours(13);
    for _ in 0..3 {
        f.w.now = f.w.now + Span::seconds(1);
        f.w.engine.drills_once(&f.w.tick()).unwrap();
    }
    let runs = f.w.engine.store().read(|tx| drill::runs(tx, None, None, 9)).unwrap();
    assert_eq!(runs.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["good"]);
}

#[test]
fn an_alert_drill_that_nobody_acknowledges_fails_and_lets_the_renewal_go() {
    let mut f = Fleet::new("[[drill]]\nname = \"pager\"\nsecret = \"canary\"\nkind = \"alert\"\nevery = \"90d\"\n");
    let run = f.ask(&Ask { name: Some("pager".into()), ..Ask::default() }).unwrap();
    f.run(Span::minutes(2));
    let canary = f.w.secret("canary");
    let holds = |f: &Fleet| f.w.engine.store().read(|tx| drill::holds(tx, canary.id)).unwrap();
    assert!(holds(&f), "its renewal waits");
    f.run(Span::hours(10));
    let over = f.get(run.id);
    assert_eq!((over.phase, over.version), (Phase::Failed, canary.newest_version), "{over:#?}");
    assert!(f.whys(&over)[0].starts_with("not-acknowledged: "), "{:?}", f.whys(&over));
    assert_eq!((holds(&f), f.stands("drill/pager")), (false, vec!["drill-failed".to_owned()]));
    assert!(f.w.secret("canary").newest_version > canary.newest_version, "and it is renewed");
}
