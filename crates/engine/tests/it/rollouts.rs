//! Versions on their way through a simulated fleet: agents install what they are told, the network answers with it, and only what is seen
//! there moves anything.

use crate::world::{Ca, World, person, t};
use domain::{
    Span,
    rollout::{Kind, State},
    words::RolloutId,
};
use engine::{
    Engine,
    rollouts::{Begin, Detail},
};
use pki::Certificate;
use std::collections::{BTreeMap, BTreeSet};
use store::model::{concern, node, rollout};

pub(crate) const START: &str = "2027-03-01T08:00:00Z";
const MINUTE: Span = Span::minutes(1);

/// A fleet of nodes, one target each, and what their agents do.
pub(crate) struct Fleet {
    pub(crate) w: World,
    pub(crate) ca: Ca,
    /// The chains of each version, from 1.
    versions: Vec<Vec<Certificate>>,
    /// Nodes, and whether each hears of anything.
    nodes: Vec<String>,
    /// Whose agent does nothing.
    pub(crate) deaf: BTreeSet<String>,
    /// Who serves this instead of what it was told.
    pub(crate) serves_instead: BTreeMap<String, Vec<Certificate>>,
    /// Who answers nothing.
    pub(crate) cut: BTreeSet<String>,
    had: BTreeMap<String, i64>,
}

/// `(name, region, stamp, canary)` of each node.
pub(crate) type Place = (String, &'static str, &'static str, bool);

/// One canary, two stamps of eu with three nodes, and three of us.
pub(crate) fn small() -> Vec<Place> {
    let mut all = vec![(String::from("c1"), "eu", "eu-1", true)];
    for n in 1..=3 {
        all.push((format!("a{n}"), "eu", "eu-1", false));
        all.push((format!("b{n}"), "eu", "eu-2", false));
        all.push((format!("u{n}"), "us", "", false));
    }
    all
}

const POLICY: &str = "[[rollout_policy]]\nname = \"fast\"\nquarantine_percent = 34\npatience = \"30m\"\n\
    [[rollout_policy.wave]]\nof = \"canary\"\nsoak = \"10m\"\n[[rollout_policy.wave]]\nof = \"stamp\"\nsoak = \"10m\"\n\
    [[rollout_policy.wave]]\nof = \"region\"\nsoak = \"10m\"\n[[rollout_policy.wave]]\nof = \"rest\"\n";

impl Fleet {
    pub(crate) fn new(places: &[Place], more: &str) -> Fleet {
        let now = t(START);
        let ca = Ca::new(now - Span::days(1000), now + Span::days(3000));
        let w = World::new(now);
        w.apply(&toml(&ca, places, more));
        for (n, (name, ..)) in places.iter().enumerate() {
            w.net.name(&format!("{name}.example"), &[&address(n)]);
        }
        let nodes = places.iter().map(|(name, ..)| name.clone()).collect();
        let empty = BTreeMap::new;
        let mut f = Fleet {
            w,
            ca,
            versions: vec![],
            nodes,
            deaf: BTreeSet::new(),
            serves_instead: BTreeMap::new(),
            cut: BTreeSet::new(),
            had: empty(),
        };
        // Version 1 is what production serves when the story begins.
        f.store(Span::days(90));
        f.run(Span::hours(8), MINUTE);
        assert!(f.all().iter().all(|r| r.state == State::Done), "{:#?}", f.show(f.latest().id));
        f
    }

    /// Stores the next version, which lives for this long.
    pub(crate) fn store(&mut self, life: Span) -> i64 {
        let names: Vec<String> = self.nodes.iter().map(|n| format!("{n}.example")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (chain, key) = self.ca.leaf(&names, self.w.now - Span::hours(1), self.w.now + life);
        self.versions.push(chain.clone());
        if self.versions.len() == 1 {
            self.serve();
        }
        self.w.store_accepting("www", &chain, &key).unwrap();
        self.versions.len() as i64
    }

    /// The agents do what they are told, and the network answers with what they have.
    pub(crate) fn serve(&mut self) {
        for (n, name) in self.nodes.clone().iter().enumerate() {
            let told = self.told(name);
            if !self.deaf.contains(name) && told > 0 && self.had.insert(name.clone(), told) != Some(told) {
                // What its report makes happen: somebody looks.
                let (id, now) = (self.w.target(name).facts.id.0, self.w.now);
                let wake = |tx: &mut store::Tx<'_>| store::timer::set_earlier(tx, engine::loops::OBSERVE, id, now);
                self.w.engine.store().write(&person(), now, wake).unwrap();
            }
            let has = self.had.get(name).copied().unwrap_or(1);
            let chain = self.serves_instead.get(name).filter(|_| has > 1).unwrap_or(&self.versions[has as usize - 1]).clone();
            if self.cut.contains(name) { self.w.net.silent(&address(n)) } else { self.w.net.serves(&address(n), &chain) }
        }
    }

    /// Which version a node is to have.
    pub(crate) fn told(&self, name: &str) -> i64 {
        let found = self.w.engine.store().read(|tx| {
            let id = node::by_name(tx, name)?.unwrap().id;
            let secret = store::model::secret::by_name(tx, "www")?.unwrap().id;
            node::install(tx, id, secret)
        });
        found.unwrap().map_or(0, |i| i.version)
    }

    /// One minute, or another step: the loops, the agents, the loops again.
    pub(crate) fn run(&mut self, time: Span, step: Span) {
        let end = self.w.now + time;
        while self.w.now < end {
            self.w.now = (self.w.now + step).min(end);
            self.serve();
            self.w.settle();
            self.serve();
            self.w.settle();
        }
    }

    pub(crate) fn all(&self) -> Vec<rollout::Rollout> {
        self.w.engine.store().read(|tx| rollout::page(tx, false, None, 100)).unwrap()
    }

    pub(crate) fn latest(&self) -> rollout::Rollout {
        self.all().remove(0)
    }

    pub(crate) fn show(&self, id: RolloutId) -> Detail {
        self.w.engine.store().try_read(|tx| engine::rollouts::detail(tx, id)).unwrap()
    }

    /// "canary 1/1 soak; stamp eu-1 0/3": observed of all for each wave that has begun, and what is waited for.
    pub(crate) fn says(&self) -> String {
        let d = self.show(self.latest().id);
        let begun = d.rollout.wave.map_or(0, |w| w as usize + 1);
        let waves: Vec<_> = d.waves.iter().take(begun).map(|w| format!("{} {}/{}", w.title, w.count.observed, w.count.targets)).collect();
        let mut codes: Vec<_> = d.waits.iter().map(|w| w.code.as_str()).collect();
        codes.dedup();
        format!("{}: {}; {}", d.rollout.state, waves.join(", "), codes.join(" "))
    }

    pub(crate) fn told_all(&self) -> String {
        let mut by_version: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
        for n in &self.nodes {
            by_version.entry(self.told(n)).or_default().push(n);
        }
        by_version.iter().map(|(v, n)| format!("{v}: {}", n.join(" "))).collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn concerns(&self, id: RolloutId) -> Vec<String> {
        let rows = self.w.engine.store().read(|tx| concern::of(tx, &format!("rollout/{id}"))).unwrap();
        rows.into_iter().filter(|c| c.gone_at.is_none()).map(|c| c.key).collect()
    }

    pub(crate) fn journal(&self, action: &str) -> usize {
        let sql = "SELECT COUNT(*) FROM journal WHERE action = $1";
        self.w.engine.store().read(|tx| tx.query_one(sql, &[action.into()])?.int(0)).unwrap() as usize
    }
}

pub(crate) fn address(n: usize) -> String {
    format!("10.1.{}.{}:443", n / 250, n % 250 + 1)
}

pub(crate) fn toml(ca: &Ca, places: &[Place], more: &str) -> String {
    let mut toml = format!(
        "[[team]]\nname = \"web\"\ncontacts = [{{ channel = \"log\" }}]\n[[service]]\nname = \"web\"\nteam = \"web\"\n\
         [[region]]\nname = \"eu\"\n[[region]]\nname = \"us\"\n[[stamp]]\nname = \"eu-1\"\nregion = \"eu\"\n[[stamp]]\nname = \"eu-2\"\n\
         region = \"eu\"\n[[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n{POLICY}\
         [[secret]]\nname = \"www\"\nkind = \"certificate\"\nservice = \"web\"\nrollout = \"fast\"\n{more}\n",
        ca.roots()
    );
    for (name, region, stamp, canary) in places {
        let stamp = if stamp.is_empty() { String::new() } else { format!("stamp = \"{stamp}\"\n") };
        toml += &format!(
            "[[node]]\nname = \"{name}\"\nregion = \"{region}\"\n{stamp}canary = {canary}\nsecrets = [\"www\"]\n\
             [[target]]\nname = \"{name}\"\nsecret = \"www\"\nendpoint = \"tls://{name}.example:443\"\nregion = \"{region}\"\n{stamp}\
             roots = \"corp\"\nbackends = \"direct\"\noffers = [\"all\"]\nnodes = [\"{name}\"]\n"
        );
    }
    toml
}

#[test]
fn a_version_goes_out_wave_by_wave_and_only_what_was_seen_moves_it() {
    let mut f = Fleet::new(&small(), "");
    f.store(Span::days(90));
    f.w.settle();
    assert_eq!(f.told_all(), "1: a1 b1 u1 a2 b2 u2 a3 b3 u3; 2: c1", "the canary alone");
    f.deaf.extend(f.nodes.clone());
    f.run(Span::minutes(5), MINUTE);
    assert_eq!(f.says(), "running: canary 0/1; node-silent", "told is not seen");
    f.deaf.clear();
    f.run(MINUTE, MINUTE);
    assert_eq!(f.says(), "running: canary 1/1; soak");
    f.run(Span::minutes(9), MINUTE);
    assert_eq!(f.says(), "running: canary 1/1; soak", "one minute before the end of its soak");
    f.run(MINUTE, MINUTE);
    assert_eq!(f.told_all(), "1: b1 u1 b2 u2 b3 u3; 2: c1 a1 a2 a3", "then a stamp");
    assert_eq!(f.says(), "running: canary 1/1, stamp eu-1 3/3; soak");
    f.run(Span::minutes(10), MINUTE);
    assert_eq!(f.told_all(), "1: u1 u2 u3; 2: c1 a1 b1 a2 b2 a3 b3", "then the rest of the region");
    f.run(Span::minutes(10), MINUTE);
    assert_eq!(f.says(), "done: canary 1/1, stamp eu-1 3/3, region eu 3/3, region us 3/3; ");
    assert_eq!((f.journal("rollout.begun"), f.journal("rollout.done"), f.w.incidents().len()), (2, 2, 0));
    // The same version again is the same rollout while it runs, and a new one that has nothing to do when it is over.
    let again = f.w.engine.start_rollout("www", None, Kind::Ordinary, "", &person(), &f.w.tick()).unwrap();
    assert_eq!(f.w.engine.start_rollout("www", None, Kind::Ordinary, "", &person(), &f.w.tick()).unwrap(), again);
    f.run(Span::minutes(40), MINUTE);
    assert_eq!(f.latest().state, State::Done);
}

#[test]
fn a_canary_that_dies_takes_the_rollout_back() {
    let mut f = Fleet::new(&small(), "");
    // Its install put something up that nobody trusts.
    let stranger = Ca::new(f.w.now - Span::days(1), f.w.now + Span::days(30));
    f.serves_instead.insert("c1".into(), stranger.leaf(&["c1.example"], f.w.now - Span::days(1), f.w.now + Span::days(30)).0);
    f.store(Span::days(90));
    f.run(Span::minutes(2), MINUTE);
    let all = f.all();
    assert_eq!((all[1].state, all[0].kind, all[0].version), (State::RolledBack, Kind::Rollback, 1), "{:#?}", f.show(all[1].id));
    assert_eq!(f.told_all(), "1: c1 a1 b1 u1 a2 b2 u2 a3 b3 u3");
    assert_eq!(f.concerns(all[1].id), ["rolled-back"]);
    f.serves_instead.clear();
    f.run(Span::minutes(5), MINUTE);
    assert_eq!(f.latest().state, State::Done, "{}", f.says());
    f.run(Span::hours(2), Span::minutes(10));
    assert_eq!(f.all().len(), 3, "nothing starts it again by itself");
    assert!(f.w.incidents().iter().all(|i| !i.facts.state.is_open()), "the incident resolved by what was seen");
    // A newer one does.
    f.store(Span::days(90));
    f.run(Span::hours(1), MINUTE);
    assert_eq!((f.latest().version, f.latest().state), (3, State::Done));
    assert_eq!(f.concerns(all[1].id), [""; 0]);
}

#[test]
fn a_region_that_is_cut_off_halts_the_rest_and_loses_nothing() {
    let mut f = Fleet::new(&small(), "");
    f.store(Span::days(90));
    f.run(Span::minutes(12), MINUTE);
    assert_eq!(f.says(), "running: canary 1/1, stamp eu-1 3/3; soak");
    for n in ["c1", "a1", "a2", "a3", "b1", "b2", "b3"] {
        f.cut.insert(n.into());
        f.deaf.insert(n.into());
    }
    f.run(Span::hours(1), MINUTE);
    let said = f.says();
    assert!(said.starts_with("running: canary ") && said.contains("no-signal"), "{said}");
    assert_eq!(f.told_all(), "1: b1 u1 b2 u2 b3 u3; 2: c1 a1 a2 a3", "nothing else was begun");
    f.cut.clear();
    f.deaf.clear();
    f.run(Span::hours(2), MINUTE);
    assert_eq!(f.latest().state, State::Done, "{} {:#?}", f.says(), f.show(f.latest().id).waits);
    assert_eq!(f.told_all(), "2: c1 a1 b1 u1 a2 b2 u2 a3 b3 u3");
}

#[test]
fn a_dead_target_is_left_behind_as_an_open_line_and_never_forgotten() {
    let mut f = Fleet::new(&small(), "");
    f.deaf.insert("a2".into());
    f.store(Span::days(90));
    f.run(Span::minutes(12), MINUTE);
    assert_eq!(f.says(), "running: canary 1/1, stamp eu-1 2/3; node-silent");
    f.run(Span::minutes(40), MINUTE);
    f.run(Span::minutes(30), MINUTE);
    assert_eq!(f.says(), "done: canary 1/1, stamp eu-1 2/3, region eu 3/3, region us 3/3; ");
    let id = f.latest().id;
    assert_eq!(f.show(id).left_behind, (1, vec!["a2".into()]));
    assert_eq!(f.concerns(id), ["left-behind/a2"]);
    f.run(Span::days(3), Span::hours(1));
    assert_eq!(f.concerns(id), ["left-behind/a2"], "time closes nothing");
    f.deaf.clear();
    f.run(Span::hours(1), Span::minutes(10));
    assert_eq!(f.concerns(id), [""; 0], "an observation does");
    assert_eq!(f.show(id).left_behind.0, 0);
}

#[test]
fn more_dead_ones_than_allowed_stop_the_rest() {
    let mut f = Fleet::new(&small(), "");
    f.deaf.extend(["a1".into(), "a2".into()]);
    f.store(Span::days(90));
    f.run(Span::hours(3), MINUTE);
    assert_eq!(f.says(), "running: canary 1/1, stamp eu-1 1/3; quarantine-exceeded node-silent");
    assert_eq!(f.concerns(f.latest().id), ["rollout-stuck"]);
    assert_eq!(f.told_all(), "1: b1 u1 b2 u2 b3 u3; 2: c1 a1 a2 a3");
    // One of them comes back: the other is one of three, which may be left behind.
    f.deaf.remove("a1");
    f.run(Span::hours(1), MINUTE);
    assert_eq!(f.latest().state, State::Done, "{}", f.says());
}

#[test]
fn a_person_halts_resumes_and_takes_back() {
    let mut f = Fleet::new(&small(), "");
    f.store(Span::days(90));
    f.run(Span::minutes(2), MINUTE);
    let (id, tick) = (f.latest().id, f.w.tick());
    assert_eq!(code(f.w.engine.halt_rollout(id, " ", &person(), &tick)), "reason-missing");
    assert_eq!(code(f.w.engine.resume_rollout(id, false, "", &person(), &tick)), "not-halted");
    f.w.engine.halt_rollout(id, "the deploy of the day", &person(), &tick).unwrap();
    f.run(Span::hours(2), MINUTE);
    assert_eq!(f.says(), "running: canary 1/1; halted");
    assert_eq!(f.told_all(), "1: a1 b1 u1 a2 b2 u2 a3 b3 u3; 2: c1");
    let text = &f.show(id).waits[0].text;
    assert!(text.contains("test/operator") && text.contains("the deploy of the day"), "{text}");
    f.w.engine.resume_rollout(id, false, "", &person(), &f.w.tick()).unwrap();
    f.run(MINUTE, MINUTE);
    assert_eq!(f.says(), "running: canary 1/1, stamp eu-1 3/3; soak");
    let back = f.w.engine.roll_back(id, "it is slower", &person(), &f.w.tick()).unwrap();
    f.run(Span::minutes(3), MINUTE);
    assert_eq!(f.told_all(), "1: c1 a1 b1 u1 a2 b2 u2 a3 b3 u3", "only who was told goes back");
    assert_eq!((f.latest().id, f.latest().state), (back, State::Done), "{}", f.says());
    assert_eq!(code(f.w.engine.roll_back(id, "again", &person(), &f.w.tick())), "nothing-to-take-back");
    assert_eq!(f.journal("intent.approved"), 2, "halting and taking back are intents");
}

#[test]
fn an_older_version_than_what_is_served_does_not_go_out_past_every_gate() {
    let mut f = Fleet::new(&small(), "");
    f.store(Span::days(90));
    f.run(Span::hours(2), MINUTE);
    assert_eq!((f.latest().version, f.latest().state), (2, State::Done));
    let start = |f: &Fleet, kind| code(f.w.engine.start_rollout("www", Some(1), kind, "back", &person(), &f.w.tick()));
    assert_eq!(start(&f, Kind::Ordinary), "newer-is-shown");
    assert_eq!(start(&f, Kind::Critical), "newer-is-shown");
    // The way back is one that is observed.
    f.w.engine.roll_back(f.latest().id, "it is slower", &person(), &f.w.tick()).unwrap();
    f.run(Span::minutes(5), MINUTE);
    assert_eq!(f.told_all(), "1: c1 a1 b1 u1 a2 b2 u2 a3 b3 u3");
    assert_eq!((f.latest().kind, f.latest().state), (Kind::Rollback, State::Done));
}

#[test]
fn a_watch_ends_with_a_look_and_one_failure_does_not_begin_it_anew() {
    let mut f = Fleet::new(&small(), "");
    f.store(Span::days(90));
    f.run(Span::minutes(3), MINUTE);
    assert_eq!(f.says(), "running: canary 1/1; soak");
    // One handshake of its watch fails.
    let good = f.versions[1].clone();
    let failure = || Err(domain::observation::Failure { blame: domain::words::Blame::Network, retry: true, detail: "reset".into() });
    f.w.net.script(&address(0), [failure(), Ok(good)].into());
    f.w.engine.look_now(f.w.target("c1").facts.id, &person(), &f.w.tick()).unwrap();
    f.w.settle();
    assert_eq!(f.w.findings("c1"), ["unreachable (info)"]);
    f.run(Span::minutes(8), MINUTE);
    assert_eq!(f.told_all(), "1: b1 u1 b2 u2 b3 u3; 2: c1 a1 a2 a3", "ten minutes after it was observed first: {}", f.says());
    // What dies at the end of its watch is seen before others follow.
    f.run(Span::minutes(9), MINUTE);
    assert_eq!(f.says(), "running: canary 1/1, stamp eu-1 3/3; soak");
    f.cut.insert("a1".into());
    f.run(Span::minutes(2), MINUTE);
    assert_eq!(f.told_all(), "1: b1 u1 b2 u2 b3 u3; 2: c1 a1 a2 a3", "{}", f.says());
    f.cut.clear();
    f.run(Span::hours(1), MINUTE);
    assert_eq!(f.latest().state, State::Done, "{}", f.says());
}

#[test]
fn a_person_goes_on_past_what_the_rules_stopped_for_and_past_an_incident() {
    let mut f = Fleet::new(&small(), "");
    f.run(Span::days(67), Span::hours(6));
    f.store(Span::days(90));
    f.run(Span::minutes(2), MINUTE);
    // Too late to go back: the canary that breaks halts it.
    f.w.now = f.w.now + Span::days(1);
    let stranger = Ca::new(f.w.now - Span::days(1), f.w.now + Span::days(30));
    let theirs = stranger.leaf(&["c1.example"], f.w.now - Span::days(1), f.w.now + Span::days(30)).0;
    f.serves_instead.insert("c1".into(), theirs);
    f.w.engine.halt_rollout(f.latest().id, "look", &person(), &f.w.tick()).unwrap();
    f.run(Span::minutes(6), MINUTE);
    let id = f.latest().id;
    f.w.engine.resume_rollout(id, false, "", &person(), &f.w.tick()).unwrap();
    f.run(MINUTE, MINUTE);
    assert_eq!(f.show(id).rollout.halted_by, "the rules", "{}", f.says());
    assert_eq!(f.w.engine.resume_rollout(id, false, "one odd machine", &person(), &f.w.tick()).unwrap(), 1);
    f.run(Span::hours(2), MINUTE);
    assert_eq!(f.latest().state, State::Done, "{} {:?}", f.says(), f.show(id).waits);
    assert_eq!(f.show(id).left_behind, (1, vec!["c1".into()]), "as an open line");
    assert_eq!(code(f.w.engine.resume_rollout(id, true, " ", &person(), &f.w.tick())), "reason-missing");
}

#[test]
fn more_dead_ones_than_allowed_are_left_behind_by_a_person_alone() {
    let mut f = Fleet::new(&small(), "");
    f.deaf.extend(["a1".into(), "a2".into()]);
    f.store(Span::days(90));
    f.run(Span::hours(3), MINUTE);
    assert_eq!(f.says(), "running: canary 1/1, stamp eu-1 1/3; quarantine-exceeded node-silent");
    let id = f.latest().id;
    assert_eq!(f.w.engine.resume_rollout(id, true, "both are being replaced", &person(), &f.w.tick()).unwrap(), 2);
    f.run(Span::hours(1), MINUTE);
    assert_eq!(f.latest().state, State::Done, "{}", f.says());
    assert_eq!(f.show(id).left_behind.0, 2);
    assert_eq!(f.concerns(id), ["left-behind/a1", "left-behind/a2"]);
    assert_eq!(code(f.w.engine.resume_rollout(id, true, "again", &person(), &f.w.tick())), "rollout-ended");
}

#[test]
fn what_is_taken_back_goes_back_before_what_waits_behind_it() {
    let mut f = Fleet::new(&small(), "");
    f.store(Span::days(90));
    f.run(Span::minutes(12), MINUTE);
    f.deaf.insert("b1".into());
    f.run(Span::minutes(10), MINUTE);
    f.store(Span::days(91));
    f.run(MINUTE, MINUTE);
    let (all, tick) = (f.all(), f.w.tick());
    assert_eq!((all[0].state, all[1].state), (State::Waiting, State::Running), "{}", f.says());
    let back = f.w.engine.roll_back(all[1].id, "it is slower", &person(), &tick).unwrap();
    f.deaf.clear();
    f.run(MINUTE, MINUTE);
    let all = f.all();
    let told: Vec<_> = all.iter().take(4).map(|r| (r.version, r.kind, r.state)).collect();
    let wanted = [
        (3, Kind::Ordinary, State::Running),
        (1, Kind::Rollback, State::Done),
        (3, Kind::Ordinary, State::Superseded),
        (2, Kind::Ordinary, State::RolledBack),
    ];
    assert!(told == wanted && all[1].id == back, "{told:#?}");
    f.run(Span::hours(2), MINUTE);
    assert_eq!(f.told_all(), "3: c1 a1 b1 u1 a2 b2 u2 a3 b3 u3");
}

#[test]
fn going_back_is_to_what_most_targets_had() {
    let mut f = Fleet::new(&small(), "");
    f.store(Span::days(90));
    f.run(Span::minutes(3), MINUTE);
    assert_eq!(f.told_all(), "1: a1 b1 u1 a2 b2 u2 a3 b3 u3; 2: c1");
    // The canary alone has version 2 when version 3 takes over.
    f.store(Span::days(91));
    f.run(Span::minutes(3), MINUTE);
    assert_eq!((f.latest().version, f.latest().from_version), (3, 1), "{}", f.says());
}

#[test]
fn one_damaged_row_does_not_hold_up_the_others() {
    let mut f = Fleet::new(&small(), "");
    f.store(Span::days(90));
    f.run(Span::minutes(2), MINUTE);
    let (now, bad) = (f.w.now, f.latest().id);
    let damage = |tx: &mut store::Tx<'_>| {
        tx.execute("UPDATE rollout SET policy = 'x' WHERE id = $1", &[bad.0.into()])?;
        store::timer::set(tx, engine::loops::ROLLOUT, bad.0, now)?;
        store::timer::set(tx, engine::loops::ROLLOUT, 999, now)
    };
    f.w.engine.store().write(&person(), now, damage).unwrap();
    assert_eq!(f.w.engine.rollouts_once(&f.w.tick()).unwrap(), 2);
    let due = |id| f.w.engine.store().read(|tx| store::timer::get(tx, engine::loops::ROLLOUT, id)).unwrap();
    assert!(due(bad.0).is_some_and(|t| t > now), "it is tried again later");
    assert_eq!(due(999), None, "and the other one was done");
}

#[test]
fn nobody_goes_back_to_what_is_below_its_incident_threshold() {
    let mut f = Fleet::new(&small(), "");
    // 90 days: the incident begins with 22 d 12 h left.
    f.run(Span::days(67), Span::hours(6));
    f.store(Span::days(90));
    f.run(Span::minutes(2), MINUTE);
    assert_eq!(f.says(), "running: canary 1/1; soak");
    f.w.now = f.w.now + Span::days(1);
    f.w.engine.halt_rollout(f.latest().id, "look", &person(), &f.w.tick()).unwrap();
    f.run(MINUTE, MINUTE);
    let id = f.latest().id;
    assert_eq!(code(f.w.engine.roll_back(id, "no", &person(), &f.w.tick())), "version-too-old");
    assert_eq!(f.latest().state, State::Running, "nothing was changed");
    // By rule it halts, and says so.
    f.w.engine.resume_rollout(id, false, "", &person(), &f.w.tick()).unwrap();
    let stranger = Ca::new(f.w.now - Span::days(1), f.w.now + Span::days(30));
    f.serves_instead.insert("c1".into(), stranger.leaf(&["c1.example"], f.w.now - Span::days(1), f.w.now + Span::days(30)).0);
    f.run(Span::minutes(6), MINUTE);
    let d = f.show(id);
    assert_eq!((d.rollout.state, d.rollout.halted_by.as_str()), (State::Running, "the rules"));
    assert!(d.waits[0].text.contains("canary c1 died") && d.waits[0].text.contains("below its incident threshold"), "{:?}", d.waits);
    assert_eq!(f.concerns(id), ["rollout-stuck"]);
}

#[test]
fn a_newer_version_takes_over_where_nothing_is_half_way() {
    let mut f = Fleet::new(&small(), "");
    f.store(Span::days(90));
    f.run(Span::minutes(12), MINUTE);
    f.deaf.insert("b1".into());
    f.run(Span::minutes(10), MINUTE);
    assert_eq!(f.says(), "running: canary 1/1, stamp eu-1 3/3, region eu 2/3; node-silent");
    f.store(Span::days(91));
    f.run(MINUTE, MINUTE);
    assert_eq!(f.says(), "waiting: ; behind");
    f.deaf.clear();
    f.run(MINUTE, MINUTE);
    let all = f.all();
    assert_eq!((all[1].state, all[0].state), (State::Superseded, State::Running));
    assert_eq!(code(f.w.engine.start_rollout("www", Some(2), Kind::Ordinary, "", &person(), &f.w.tick())), "newer-under-way");
    f.run(Span::hours(1), MINUTE);
    assert_eq!((f.latest().version, f.latest().state), (3, State::Done));
    assert_eq!(f.told_all(), "3: c1 a1 b1 u1 a2 b2 u2 a3 b3 u3");
}

#[test]
fn an_emergency_goes_the_same_way_faster_and_waits_for_nothing() {
    let mut f = Fleet::new(&small(), "");
    f.store(Span::days(90));
    f.deaf.insert("c1".into());
    f.run(Span::minutes(3), MINUTE);
    assert_eq!(code(f.w.engine.start_rollout("www", None, Kind::Critical, "", &person(), &f.w.tick())), "reason-missing");
    let id = f.w.engine.start_rollout("www", None, Kind::Critical, "the key leaked", &person(), &f.w.tick()).unwrap();
    f.deaf.clear();
    f.run(Span::minutes(6), Span::seconds(15));
    assert_eq!(f.says(), "done: canary 1/1, region eu 6/6, all 3/3; ");
    assert_eq!((f.latest().id, f.all()[1].state), (id, State::Superseded));
}

#[test]
fn while_the_clock_is_doubted_nothing_goes_out() {
    let mut f = Fleet::new(&small(), "");
    f.w.doubted = true;
    f.store(Span::days(90));
    f.run(Span::hours(2), MINUTE);
    assert_eq!(f.says(), "running: ; clock-not-believed");
    assert_eq!(f.told_all(), "1: c1 a1 b1 u1 a2 b2 u2 a3 b3 u3");
    f.w.doubted = false;
    f.run(Span::hours(8), MINUTE);
    assert_eq!(f.latest().state, State::Done, "{}", f.says());
}

#[test]
fn whoever_dies_between_two_steps_leaves_nothing_half_way() {
    let run = |dies: bool| {
        let mut f = Fleet::new(&small(), "");
        f.store(Span::days(90));
        for n in 0..240 {
            f.w.now = f.w.now + MINUTE;
            f.serve();
            if dies && n % 13 == 0 {
                // Another process on the same database takes what is due and is killed before it does it; and this one starts anew.
                let store = f.w.engine.store().clone();
                let claim = |tx: &mut store::Tx<'_>| {
                    store::timer::claim(tx, engine::loops::ROLLOUT, f.w.now, &format!("dead{n}"), domain::schedule::LEASE, 10)
                };
                store.write(&person(), f.w.now, claim).unwrap();
                f.w.engine = Engine::new(store, &format!("here{n}"), Vec::new());
            }
            f.w.settle();
            f.serve();
            f.w.settle();
        }
        (f.says(), f.told_all(), f.all().len(), f.journal("rollout.advanced"), f.journal("node.desired"))
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn two_engines_on_one_database_do_everything_once() {
    let mut f = Fleet::new(&small(), "");
    let other = Engine::new(f.w.engine.store().clone(), "there", Vec::new());
    f.store(Span::days(90));
    for _ in 0..45 {
        f.w.now = f.w.now + MINUTE;
        f.serve();
        let tick = f.w.tick();
        std::thread::scope(|s| {
            s.spawn(|| other.rollouts_once(&tick).unwrap());
            f.w.engine.rollouts_once(&tick).unwrap();
        });
        f.w.settle();
        f.serve();
        f.w.settle();
    }
    assert_eq!(f.latest().state, State::Done, "{}", f.says());
    assert_eq!(f.journal("rollout.advanced"), 8, "four waves of each of two rollouts, each once");
}

#[test]
fn what_has_no_agent_is_waited_for_last() {
    let mut places = small();
    places.truncate(4);
    let mut f = Fleet::new(&places, "");
    let mut with = toml(&f.ca, &places, "");
    with += "[[target]]\nname = \"byhand\"\nsecret = \"www\"\nendpoint = \"tls://byhand.example:443\"\nroots = \"corp\"\nbackends = \"direct\"\n\
             offers = [\"all\"]\n";
    f.w.net.name("byhand.example", &["10.9.9.9:443"]);
    f.w.net.serves("10.9.9.9:443", &f.versions[0]);
    f.store(Span::days(90));
    f.run(Span::minutes(2), MINUTE);
    f.w.apply(&with);
    f.run(Span::hours(1), MINUTE);
    assert!(f.says().ends_with("targets without an agent 0/1; nobody-carries"), "{}", f.says());
    assert_eq!(f.journal("rollout.planned"), 1, "the plan followed the inventory");
    f.run(Span::days(1), Span::hours(1));
    assert!(f.says().ends_with("nobody-carries"), "time is no observation");
    let chain = f.versions[1].clone();
    f.w.net.serves("10.9.9.9:443", &chain);
    f.run(Span::hours(2), Span::minutes(10));
    assert_eq!(f.latest().state, State::Done, "{}", f.says());
}

#[test]
fn what_rides_releases_or_is_started_by_hand_does_not_start_by_itself() {
    for more in ["release_bound = true", "#"] {
        let now = t(START);
        let ca = Ca::new(now - Span::days(1000), now + Span::days(3000));
        let mut w = World::new(now);
        let by_hand = if more == "#" { "rollout = \"by-hand\"" } else { "rollout = \"fast\"" };
        w.apply(&toml(&ca, &small(), more).replace("rollout = \"fast\"", by_hand));
        let names: Vec<String> = small().iter().map(|(name, ..)| format!("{name}.example")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (chain, key) = ca.leaf(&names, now, now + Span::days(90));
        w.store("www", &chain, &key).unwrap();
        let all = |w: &World| w.engine.store().read(|tx| rollout::page(tx, false, None, 10)).unwrap();
        assert_eq!(all(&w).len(), 0, "{more}");
        w.engine.start_rollout("www", None, Kind::Ordinary, "", &person(), &w.tick()).unwrap();
        assert_eq!(all(&w).len(), 1, "{more}");
    }
}

#[test]
fn what_cannot_go_out_is_refused_by_name() {
    let mut f = Fleet::new(&small(), "");
    let start = |f: &Fleet, version| code(f.w.engine.start_rollout("www", Some(version), Kind::Ordinary, "", &person(), &f.w.tick()));
    assert_eq!(start(&f, 7), "no-version");
    assert_eq!(start(&f, 0), "no-version");
    f.w.now = f.w.now + Span::days(80);
    assert_eq!(start(&f, 1), "version-too-old");
    assert!(matches!(
        f.w.engine.start_rollout("nothing", None, Kind::Ordinary, "", &person(), &f.w.tick()),
        Err(engine::Error::NotFound { .. })
    ));
    f.w.apply("[[secret]]\nname = \"alone\"\nkind = \"certificate\"\n");
    let (chain, key) = f.ca.leaf(&["x.example"], f.w.now, f.w.now + Span::days(90));
    f.w.store("alone", &chain, &key).unwrap();
    assert_eq!(code(f.w.engine.start_rollout("alone", None, Kind::Ordinary, "", &person(), &f.w.tick())), "no-targets");
}

#[test]
fn a_secret_has_one_rollout_on_its_way() {
    let f = Fleet::new(&small(), "");
    let s = f.w.secret("www");
    let tick = f.w.tick();
    let begin = || {
        let ask = Begin { secret: s.id, version: 1, kind: Kind::Ordinary, reason: "", revocation: 0 };
        f.w.engine.store().try_write(&person(), tick.now, |tx| engine::rollouts::begin(tx, &ask, &person(), &tick)).unwrap()
    };
    assert_eq!(begin(), begin());
}

fn code<T: std::fmt::Debug>(result: engine::Result<T>) -> &'static str {
    match result {
        Err(engine::Error::Refused(no)) => no.code,
        other => panic!("{other:?}"),
    }
}
