use super::{
    decide::{Cause, Decision, Line, Node, Progress, SILENT_AFTER, Silence, Target, View, culprits, decide, in_the_way, note},
    plan::{Placed, Plan, What},
    policy::{CRITICAL, LONGEST_CRITICAL_PATIENCE, LONGEST_CRITICAL_SOAK, Policy, Rule, STANDARD, Scope, allowed},
    *,
};
use crate::{
    Span, Time,
    words::{IncidentId, TargetId},
};
use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

const T: Time = Time::from_unix(1_800_000_000);
const S: Span = Span::seconds(1);
const HOUR: Span = Span::hours(1);
const PATIENCE: Span = Span::minutes(30);

fn placed(id: i64, region: &str, stamp: &str, canary: bool, nodes: usize) -> Placed {
    Placed { id: TargetId(id), region: region.into(), stamp: stamp.into(), canary, nodes }
}

/// A canary, two stamps of eu, us, one without a region, one that a release brings it to.
fn fleet() -> Vec<Placed> {
    vec![
        placed(1, "eu", "eu-1", true, 1),
        placed(2, "eu", "eu-1", false, 1),
        placed(3, "eu", "eu-2", false, 1),
        placed(4, "eu", "eu-2", false, 1),
        placed(5, "us", "us-1", false, 1),
        placed(6, "us", "", false, 3),
        placed(7, "", "", false, 1),
        placed(8, "eu", "eu-1", false, 0),
        placed(9, "us", "", false, 1),
    ]
}

fn shape(plan: &Plan) -> String {
    let wave = |w: &Wave| format!("{}: {}", w.title(), w.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    plan.waves.iter().map(wave).collect::<Vec<_>>().join("; ")
}

#[test]
fn canary_then_a_stamp_then_a_region_then_a_region_after_the_other() {
    let plan = Plan::first(2, &Policy::standard(), &fleet());
    assert_eq!(
        shape(&plan),
        "canary: 1; stamp eu-1: 2; region eu: 3 4; region us: 5 9 6; targets without a region: 7; targets without an agent: 8"
    );
    let plan = Plan::first(2, &Policy::critical(), &fleet());
    assert_eq!(shape(&plan), "canary: 1; region eu: 2 3 4; all: 5 7 9 6; targets without an agent: 8");
    let named = Policy { regions: vec!["us".into(), "mars".into()], ..Policy::standard() };
    let plan = Plan::first(2, &named, &fleet());
    assert_eq!(
        shape(&plan),
        "canary: 1; stamp us-1: 5; region us: 9 6; region eu: 2 3 4; targets without a region: 7; targets without an agent: 8"
    );
    let short = Policy { waves: vec![Rule { of: Scope::Canary, share: 1, soak: Span::ZERO }], ..Policy::standard() };
    assert_eq!(shape(&Plan::first(2, &short, &fleet()[..3])), "canary: 1; all: 2 3", "nobody is forgotten");
    assert!(Plan::first(2, &Policy::standard(), &[]).waves.is_empty());
}

#[test]
fn a_plan_follows_from_the_one_before_it() {
    let policy = Policy::standard();
    let first = Plan::first(2, &policy, &fleet());
    assert_eq!(first.next(2, &policy, &fleet()), None, "nothing changed");
    let mut now = fleet();
    now.remove(1); // 2 is gone, and its wave has begun
    now.push(placed(10, "eu", "eu-1", true, 1)); // a canary too late: it goes with its region
    now.push(placed(11, "mars", "", false, 1));
    now.push(placed(12, "mars", "", false, 0));
    now[6].nodes = 1; // 8 got an agent
    let second = first.next(2, &policy, &now).expect("a plan");
    assert_eq!(
        shape(&second),
        "canary: 1; stamp eu-1: ; region eu: 3 4 8 10; region us: 5 9 6; targets without a region: 7; region mars: 11; targets without an \
         agent: 12"
    );
    assert_eq!(second.parent, Some(first.hash()));
    assert_ne!(second.hash(), first.hash());
    assert_ne!(Plan { parent: None, ..second.clone() }.hash(), second.hash(), "the hash binds the parent");
    assert_eq!(second.next(2, &policy, &now), None);
    assert_eq!((second.wave_of(TargetId(8)), second.wave_of(TargetId(2))), (Some(2), None));
}

#[test]
fn a_hash_cannot_be_made_twice_by_names_that_look_like_more() {
    let wave = |of: &str| Wave { what: What::Region, of: of.into(), share: 1, soak: S, targets: vec![TargetId(1)] };
    let plan = |waves| Plan { parent: None, version: 1, waves };
    let twice = plan(vec![wave("a"), wave("b")]);
    let once = plan(vec![Wave { targets: vec![TargetId(1)], ..wave("a 1 1\n1\nwave region 1:b") }]);
    assert_ne!(twice.hash(), once.hash());
}

#[test]
fn what_a_policy_may_say() {
    assert_eq!(Policy::standard().problems(false), [""; 0]);
    assert_eq!(Policy::critical().problems(true), [""; 0]);
    assert_eq!((Policy::standard().name.as_str(), Policy::critical().name.as_str()), (STANDARD, CRITICAL));
    let with = |alter: fn(&mut Policy)| {
        let mut p = Policy::critical();
        alter(&mut p);
        p.problems(true).join("; ")
    };
    for (alter, wanted) in [
        ((|p| p.waves.clear()) as fn(&mut Policy), "a policy has 1 to 20 waves, not 0"),
        (|p| p.waves.truncate(1), "the last wave is canary"),
        (|p| p.waves.reverse(), "nothing is left after the wave all"),
        (|p| p.waves[0].share = 0, "the share of the wave canary is 0 percent"),
        (|p| p.waves[0].share = 101, "is 101 percent"),
        (|p| p.waves[0].soak = LONGEST_CRITICAL_SOAK + S, "at most 15 min"),
        (|p| p.quarantine = 51, "51 percent may be quarantined"),
        (|p| p.patience = Span::ZERO, "the patience of a critical policy"),
        (|p| p.patience = LONGEST_CRITICAL_PATIENCE + S, "is not between 1 s and 1 h"),
    ] {
        let said = with(alter);
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let mut long = Policy::critical();
    long.waves[0].soak = LONGEST_CRITICAL_SOAK;
    assert_eq!(long.problems(true), [""; 0], "exactly the longest");
    long.waves[0].soak = LONGEST_CRITICAL_SOAK + S;
    assert_eq!(long.problems(false), [""; 0], "which only emergencies are bound by");
}

fn node(progress: Progress) -> Node {
    Node { name: "web".into(), progress, detail: "reload: exit status 1".into(), seen_at: Some(T), clock_off: Span::ZERO, ready_at: None }
}

fn target(id: i64) -> Target {
    Target {
        name: format!("t{id}"),
        begun_at: None,
        observed_at: None,
        quarantined_at: None,
        excused_at: None,
        shows: false,
        // Looked at all the time, where a case does not say otherwise.
        answered_at: Some(T + Span::days(1000)),
        until: Some(T + Span::days(90)),
        silent: None,
        lines: vec![],
        nodes: vec![node(Progress::Told)],
    }
}

fn line(at: Time, broken: bool) -> Line {
    Line { incident: IncidentId(7), opened_at: at, broken, detail: "serves nothing".into() }
}

/// One canary, then fifty targets of eu, of which one may be left behind; everything of `wave` and before it was told at T.
fn view(wave: Option<usize>) -> View {
    let mut all: Vec<Placed> = (2..=51).map(|n| placed(n, "eu", "", false, 1)).collect();
    all.insert(0, placed(1, "eu", "", true, 1));
    let waves = [(Scope::Canary, 100), (Scope::Rest, 100)];
    let policy = Policy {
        waves: waves.map(|(of, share)| Rule { of, share, soak: Span::hours(1) }).to_vec(),
        patience: PATIENCE,
        ..Policy::standard()
    };
    let plan = Plan::first(2, &policy, &all);
    let targets = all.iter().map(|p| (p.id, target(p.id.0))).collect();
    let mut v = View { kind: Kind::Ordinary, policy, wave, halted: None, clock_believed: true, newer: None, targets, total: 51, plan };
    for id in v.plan.waves.iter().take(wave.map_or(0, |w| w + 1)).flat_map(|w| w.targets.clone()) {
        let t = v.targets.get_mut(&id).expect("planned");
        (t.begun_at, t.observed_at, t.shows) = (Some(T), Some(T), true);
    }
    v
}

fn at(v: &mut View, id: i64) -> &mut Target {
    v.targets.get_mut(&TargetId(id)).expect("a target")
}

fn not_yet(v: &mut View, id: i64) -> &mut Target {
    let t = at(v, id);
    (t.observed_at, t.shows) = (None, false);
    t
}

/// The decision in a word: the codes of what is waited for, and when to look again, in seconds from T.
fn said(v: &View, now: Time) -> String {
    match decide(v, now) {
        Decision::Wait(reasons, next) => {
            let codes: Vec<_> = reasons.iter().map(Reason::code).collect();
            format!("wait {} next {:?}", codes.join(" "), next.map(|n| (n - T).as_secs()))
        }
        Decision::Advance { wave, targets } => format!("advance {wave} {}", targets.len()),
        Decision::Quarantine(who) => format!("quarantine {who:?}"),
        Decision::Done(open) => format!("done {}", open.len()),
        Decision::RollBack(Cause::CanaryDied { .. }) => "canary died".into(),
        Decision::RollBack(Cause::TooManyFailed { failed, allowed, .. }) => format!("{failed} failed of {allowed}"),
        Decision::GiveWay => "give way".into(),
    }
}

#[test]
fn each_reason_and_each_threshold_at_one_second_before_and_after() {
    type Case = (&'static str, fn(&mut View), Option<usize>, Time, &'static str);
    let cases: &[Case] = &[
        ("begins", |_| (), None, T, "advance 0 1"),
        ("soaks", |_| (), Some(0), T + HOUR - S, "wait soak next Some(3600)"),
        ("soaked", |_| (), Some(0), T + HOUR, "advance 1 50"),
        ("soaked long ago", |_| (), Some(0), T + HOUR + S, "advance 1 50"),
        ("the end soaks too", |_| (), Some(1), T + HOUR - S, "wait soak next Some(3600)"),
        ("over", |_| (), Some(1), T + HOUR, "done 0"),
        (
            "a soak is a part of what is left: 8 s over two waves, of which a quarter each",
            |v| at(v, 9).until = Some(T + S + S + S + S + S + S + S + S),
            Some(0),
            T,
            "wait soak next Some(1)",
        ),
        ("and no more", |v| at(v, 9).until = Some(T + Span::seconds(8)), Some(0), T + S, "advance 1 50"),
        ("told", |v| not_yet(v, 9).begun_at = Some(T), Some(1), T + S, "wait told next Some(600)"),
        (
            "silent agent −1",
            |v| {
                not_yet(v, 9);
            },
            Some(1),
            T + SILENT_AFTER - S,
            "wait told next Some(600)",
        ),
        (
            "silent agent 0",
            |v| {
                not_yet(v, 9);
            },
            Some(1),
            T + SILENT_AFTER,
            "wait node-silent next Some(1800)",
        ),
        ("never joined", |v| not_yet(v, 9).nodes[0].seen_at = None, Some(1), T, "wait node-silent next Some(1800)"),
        ("claimed", |v| not_yet(v, 9).nodes[0].progress = Progress::Installed, Some(1), T + S, "wait unobserved next Some(600)"),
        ("not issued", |v| not_yet(v, 9).nodes[0].progress = Progress::NotIssued, Some(1), T + S, "wait not-issued next Some(600)"),
        ("clock off by 30 s", |v| not_yet(v, 9).nodes[0].clock_off = Span::seconds(30), Some(1), T, "wait told next Some(600)"),
        ("by 31 s", |v| not_yet(v, 9).nodes[0].clock_off = Span::seconds(31), Some(1), T, "wait node-clock next Some(600)"),
        ("behind by 31 s", |v| not_yet(v, 9).nodes[0].clock_off = Span::seconds(-31), Some(1), T, "wait node-clock next Some(600)"),
        ("failed", |v| not_yet(v, 9).nodes[0].progress = Progress::Failed, Some(1), T, "wait node-failed next Some(600)"),
        (
            "one dead −1",
            |v| {
                not_yet(v, 9);
            },
            Some(1),
            T + PATIENCE - S,
            "wait node-silent next Some(1800)",
        ),
        (
            "one dead 0",
            |v| {
                not_yet(v, 9);
            },
            Some(1),
            T + PATIENCE,
            "quarantine [TargetId(9)]",
        ),
        (
            "one dead +1",
            |v| {
                not_yet(v, 9);
            },
            Some(1),
            T + PATIENCE + S,
            "quarantine [TargetId(9)]",
        ),
        (
            "two dead are more than 2 % of fifty",
            |v| {
                not_yet(v, 9);
                not_yet(v, 10);
            },
            Some(1),
            T + PATIENCE,
            "wait quarantine-exceeded node-silent node-silent next None",
        ),
        (
            "one dead beside one left behind, too",
            |v| {
                not_yet(v, 9).quarantined_at = Some(T);
                not_yet(v, 10);
            },
            Some(1),
            T + PATIENCE,
            "wait quarantine-exceeded node-silent next None",
        ),
        ("left behind, listed at the end", |v| not_yet(v, 9).quarantined_at = Some(T), Some(1), T + HOUR, "done 1"),
        ("an incident in its turn", |v| at(v, 9).lines.push(line(T, false)), Some(1), T + HOUR, "wait new-incident next None"),
        ("one from before", |v| at(v, 9).lines.push(line(T - S, true)), Some(1), T + HOUR, "done 0"),
        (
            "at the canary, long after its wave",
            |v| at(v, 1).lines.push(line(T + HOUR, false)),
            Some(1),
            T + HOUR,
            "wait new-incident next None",
        ),
        ("one broken of fifty", |v| at(v, 9).lines.push(line(T, true)), Some(1), T + HOUR, "wait new-incident next None"),
        (
            "two",
            |v| {
                at(v, 9).lines.push(line(T, true));
                at(v, 10).lines.push(line(T, true));
            },
            Some(1),
            T,
            "2 failed of 1",
        ),
        (
            "two that could not, while there is patience",
            |v| {
                for n in [9, 10] {
                    not_yet(v, n).nodes[0].progress = Progress::RolledBack;
                }
            },
            Some(1),
            T + PATIENCE - S,
            "wait node-failed node-failed next Some(1800)",
        ),
        (
            "and when there is none",
            |v| {
                for n in [9, 10] {
                    not_yet(v, n).nodes[0].progress = Progress::RolledBack;
                }
            },
            Some(1),
            T + PATIENCE,
            "2 failed of 1",
        ),
        ("the canary's install", |v| not_yet(v, 1).nodes[0].progress = Progress::RolledBack, Some(0), T, "canary died"),
        ("tried again, and seen", |v| at(v, 1).nodes[0].progress = Progress::RolledBack, Some(0), T, "wait soak next Some(3600)"),
        ("the canary is broken", |v| at(v, 1).lines.push(line(T, true)), Some(0), T + S, "canary died"),
        ("the canary dies while others go", |v| at(v, 1).lines.push(line(T + S, true)), Some(1), T + S, "canary died"),
        (
            "the canary never comes up −1",
            |v| not_yet(v, 1).silent = Some(Silence { since: Some(T + S), detail: "refused".into() }),
            Some(0),
            T + PATIENCE - S,
            "wait node-silent no-signal next Some(1800)",
        ),
        (
            "the canary never comes up 0",
            |v| not_yet(v, 1).silent = Some(Silence { since: Some(T + S), detail: "refused".into() }),
            Some(0),
            T + PATIENCE,
            "canary died",
        ),
        (
            "the canary served it and is cut off",
            |v| at(v, 1).silent = Some(Silence { since: Some(T + S), detail: "refused".into() }),
            Some(0),
            T + PATIENCE + S,
            "wait quarantine-exceeded node-silent no-signal next None",
        ),
        (
            "it was silent before its turn",
            |v| not_yet(v, 1).silent = Some(Silence { since: Some(T - S), detail: "refused".into() }),
            Some(0),
            T + PATIENCE,
            "wait quarantine-exceeded node-silent no-signal next None",
        ),
        (
            "no rolling back",
            |v| {
                v.policy.roll_back = false;
                at(v, 1).lines.push(line(T, true));
            },
            Some(0),
            T,
            "wait new-incident next None",
        ),
        (
            "a step back is not taken back",
            |v| {
                v.kind = Kind::Rollback;
                at(v, 1).lines.push(line(T, true));
            },
            Some(0),
            T,
            "wait new-incident next None",
        ),
        (
            "a watch ends with a look: −1",
            |v| at(v, 1).answered_at = Some(T + HOUR - S),
            Some(0),
            T + HOUR,
            "wait last-look next Some(3605)",
        ),
        ("0", |v| at(v, 1).answered_at = Some(T + HOUR), Some(0), T + HOUR, "advance 1 50"),
        ("a look that failed is none", |v| at(v, 1).answered_at = None, Some(0), T + HOUR, "wait last-look next Some(3605)"),
        (
            "where nothing is watched nothing is looked at twice",
            |v| {
                v.plan.waves[0].soak = Span::ZERO;
                at(v, 1).answered_at = Some(T - S);
            },
            Some(0),
            T,
            "advance 1 50",
        ),
        (
            "seen before its turn",
            |v| (at(v, 1).observed_at, at(v, 1).answered_at) = (None, Some(T - S)),
            Some(0),
            T,
            "wait told next Some(600)",
        ),
        (
            "what has ended already hurries nobody",
            |v| {
                not_yet(v, 9).begun_at = None;
                at(v, 9).until = Some(T - S);
            },
            Some(0),
            T,
            "wait soak next Some(3600)",
        ),
        (
            "nor what was left behind",
            |v| {
                let t = not_yet(v, 9);
                (t.quarantined_at, t.until) = (Some(T), Some(T + S + S));
            },
            Some(1),
            T,
            "wait soak next Some(3600)",
        ),
        (
            "the issuer is waited for: nobody is dead of that",
            |v| not_yet(v, 9).nodes[0] = Node { seen_at: Some(T + Span::days(1)), ..node(Progress::NotIssued) },
            Some(1),
            T + Span::days(1),
            "wait not-issued next Some(87000)",
        ),
        (
            "patience counts from when it could have had it −1",
            |v| not_yet(v, 9).nodes[0].ready_at = Some(T + HOUR),
            Some(1),
            T + HOUR + PATIENCE - S,
            "wait node-silent next Some(5400)",
        ),
        ("0", |v| not_yet(v, 9).nodes[0].ready_at = Some(T + HOUR), Some(1), T + HOUR + PATIENCE, "quarantine [TargetId(9)]"),
        (
            "who died in an earlier wave is said",
            |v| at(v, 1).silent = Some(Silence { since: Some(T + S), detail: "refused".into() }),
            Some(1),
            T + PATIENCE + S,
            "wait quarantine-exceeded node-silent no-signal next None",
        ),
        (
            "a step back tells everybody before anything else goes on",
            |v| (v.kind, v.newer) = (Kind::Rollback, Some(Kind::Critical)),
            None,
            T,
            "advance 0 1",
        ),
        (
            "and then makes way",
            |v| {
                (v.kind, v.newer) = (Kind::Rollback, Some(Kind::Critical));
                not_yet(v, 9);
            },
            Some(1),
            T,
            "give way",
        ),
        ("or is done", |v| (v.kind, v.newer) = (Kind::Rollback, Some(Kind::Critical)), Some(1), T + HOUR, "done 0"),
        ("halted", |v| v.halted = Some(("ann".into(), "look".into(), T)), Some(0), T + HOUR, "wait halted next None"),
        (
            "halted while the canary dies",
            |v| {
                v.halted = Some(("ann".into(), "look".into(), T));
                at(v, 1).lines.push(line(T, true));
            },
            Some(0),
            T,
            "wait halted next None",
        ),
        ("clock", |v| v.clock_believed = false, Some(0), T + HOUR, "wait clock-not-believed next Some(3660)"),
        ("a newer one, nothing on its way", |v| v.newer = Some(Kind::Ordinary), Some(0), T, "give way"),
        (
            "a newer one",
            |v| {
                v.newer = Some(Kind::Ordinary);
                not_yet(v, 9);
            },
            Some(1),
            T + PATIENCE - S,
            "wait node-silent next Some(1800)",
        ),
        (
            "what is dead is on nobody's way",
            |v| {
                v.newer = Some(Kind::Ordinary);
                not_yet(v, 9);
            },
            Some(1),
            T + PATIENCE,
            "give way",
        ),
        (
            "an emergency waits for nothing",
            |v| {
                v.newer = Some(Kind::Critical);
                not_yet(v, 9);
            },
            Some(1),
            T,
            "give way",
        ),
        (
            "a rehearsal overtakes nobody",
            |v| {
                v.newer = Some(Kind::Drill);
                not_yet(v, 9);
            },
            Some(1),
            T + PATIENCE - S,
            "wait node-silent next Some(1800)",
        ),
        (
            "an emergency overtakes a rehearsal",
            |v| {
                (v.kind, v.newer) = (Kind::Drill, Some(Kind::Critical));
                not_yet(v, 9);
            },
            Some(1),
            T,
            "give way",
        ),
        (
            "production went back",
            |v| {
                not_yet(v, 1);
            },
            Some(1),
            T + S,
            "wait told next Some(600)",
        ),
    ];
    for (what, alter, wave, now, wanted) in cases {
        let mut v = view(*wave);
        alter(&mut v);
        assert_eq!(said(&v, *now), *wanted, "{what}");
    }
}

#[test]
fn one_failed_look_does_not_begin_a_watch_anew_and_silence_holds_it() {
    let mut v = view(Some(0));
    // A single failure is no silence: the latest look counts as none, and what was seen stands.
    at(&mut v, 1).answered_at = None;
    assert_eq!(note(&mut v, T + S), []);
    assert_eq!(said(&v, T + S), "wait soak next Some(3600)");
    at(&mut v, 1).silent = Some(Silence { since: Some(T + S), detail: "refused".into() });
    assert_eq!(note(&mut v, T + S + S), []);
    assert_eq!(said(&v, T + SILENT_AFTER), "wait node-silent no-signal next Some(1801)");
    let t = at(&mut v, 1);
    (t.silent, t.answered_at) = (None, Some(T + HOUR));
    assert_eq!(note(&mut v, T + HOUR), []);
    assert_eq!(said(&v, T + HOUR), "advance 1 50", "it is watched from when it was first seen");
}

#[test]
fn a_person_goes_on_past_what_stands_and_not_past_what_comes() {
    let mut v = view(Some(0));
    at(&mut v, 1).lines.push(line(T + S, true));
    assert_eq!((said(&v, T + S).as_str(), culprits(&v, T + S)), ("canary died", vec![TargetId(1)]));
    at(&mut v, 1).excused_at = Some(T + S);
    assert_eq!((said(&v, T + S).as_str(), culprits(&v, T + S)), ("wait soak next Some(3600)", vec![]));
    at(&mut v, 1).lines.push(line(T + S + S, true));
    assert_eq!(said(&v, T + S + S), "canary died");

    // Who could not install it is left behind at once, whatever the policy allows.
    let mut v = view(Some(0));
    not_yet(&mut v, 1).nodes[0].progress = Progress::RolledBack;
    assert_eq!(culprits(&v, T), [TargetId(1)]);
    at(&mut v, 1).excused_at = Some(T);
    assert_eq!(said(&v, T), "quarantine [TargetId(1)]");
    at(&mut v, 1).quarantined_at = Some(T);
    assert_eq!(said(&v, T + HOUR), "advance 1 50");

    // The dead and new incidents hold it up, and are no reason to go back.
    let mut v = view(Some(1));
    not_yet(&mut v, 9);
    not_yet(&mut v, 10);
    at(&mut v, 11).lines.push(line(T, false));
    assert_eq!(culprits(&v, T + PATIENCE), []);
    let who = in_the_way(&v, T + PATIENCE);
    assert_eq!(who, [TargetId(9), TargetId(10), TargetId(11)]);
    who.iter().for_each(|id| at(&mut v, id.0).excused_at = Some(T + PATIENCE));
    assert_eq!(said(&v, T + PATIENCE), "quarantine [TargetId(9), TargetId(10)]");
    [9, 10].into_iter().for_each(|id| at(&mut v, id).quarantined_at = Some(T + PATIENCE));
    assert_eq!(said(&v, T + HOUR + PATIENCE), "done 2");
}

#[test]
fn how_many_of_a_wave_may_be_left_behind() {
    for (what, size, percent, wanted) in [
        (What::Region, 9, 2, 0),
        (What::Region, 10, 2, 1),
        (What::Region, 49, 2, 1),
        (What::Region, 149, 2, 2),
        (What::Region, 3, 34, 1),
        (What::Region, 1000, 0, 0),
        (What::Canary, 1000, 50, 0),
        (What::All, 10, 1, 1),
    ] {
        assert_eq!(allowed(what, size, percent), wanted, "{what} {size} {percent}");
    }
}

#[test]
fn a_wave_holds_no_more_than_its_share_on_the_way() {
    let mut v = view(Some(0));
    v.plan.waves[1].share = 10;
    let now = T + Span::hours(1);
    assert_eq!(said(&v, now), "advance 1 5", "a tenth of 51");
    v.wave = Some(1);
    for id in 2..=6 {
        at(&mut v, id).begun_at = Some(now);
        at(&mut v, id).nodes[0].seen_at = Some(now);
    }
    assert_eq!(said(&v, now), "wait told told told told told share-limit next Some(4200)");
    at(&mut v, 4).shows = true;
    assert_eq!(note(&mut v, now), [TargetId(4)]);
    assert_eq!(said(&v, now), "advance 1 1");
    at(&mut v, 4).shows = false;
    assert_eq!(note(&mut v, now), [TargetId(4)], "production went back");
    assert_eq!(at(&mut v, 4).observed_at, None);
    v.plan.waves[1].share = 1;
    v.wave = Some(0);
    (2..=6).for_each(|id| at(&mut v, id).begun_at = None);
    assert_eq!(said(&v, now), "advance 1 1", "one always may");
}

#[test]
fn what_nobody_carries_is_waited_for_last_and_never_dead() {
    let mut v = view(Some(1));
    v.plan.waves.push(Wave { what: What::Others, of: String::new(), share: 100, soak: Span::ZERO, targets: vec![TargetId(60)] });
    v.targets.insert(TargetId(60), Target { nodes: vec![], ..target(60) });
    let now = T + Span::hours(1);
    assert_eq!(said(&v, now), "advance 2 1");
    v.wave = Some(2);
    at(&mut v, 60).begun_at = Some(now);
    assert_eq!(said(&v, now + Span::days(300)), "wait nobody-carries next None");
    v.newer = Some(Kind::Ordinary);
    assert_eq!(said(&v, now), "give way", "nor in anybody's way");
    v.newer = None;
    at(&mut v, 60).shows = true;
    assert_eq!(note(&mut v, now), [TargetId(60)]);
    assert_eq!(said(&v, now), "done 0");
}

#[test]
fn what_was_left_behind_and_is_seen_is_a_target_like_any_other() {
    let mut v = view(Some(1));
    let t = not_yet(&mut v, 9);
    (t.quarantined_at, t.shows) = (Some(T), true);
    assert_eq!(note(&mut v, T + S), [TargetId(9)]);
    assert_eq!((at(&mut v, 9).quarantined_at, at(&mut v, 9).observed_at), (None, Some(T + S)));
    assert_eq!(note(&mut v, T + S + S), []);
}

#[test]
fn every_reason_is_a_sentence_that_names_what_it_is_about() {
    let (target, node, detail) = (String::from("www"), String::from("web-1"), String::from("exit status 1"));
    let until = T + S;
    for (reason, words) in [
        (Reason::Halted { by: "ann".into(), reason: "lunch".into(), since: T }, &["ann", "lunch", "2027-01-15T08:00:00Z", "resume"][..]),
        (Reason::ClockNotBelieved, &["clock", "perennial status"]),
        (Reason::Behind { rollout: RolloutId(3) }, &["rollout 3"]),
        (
            Reason::QuarantineExceeded {
                wave: "region eu".into(),
                dead: 5,
                allowed: 1,
                targets: ["a", "b", "c", "d"].map(String::from).to_vec(),
            },
            &["5 of the wave region eu", "at most 1", "a, b, c and 1 more"],
        ),
        (
            Reason::NewIncident { incident: IncidentId(7), target: target.clone(), detail: detail.clone(), since: T },
            &["incident 7", "www", "exit status 1"],
        ),
        (Reason::NoSignal { target: target.clone(), since: None, detail: detail.clone(), until }, &["www", "no signal", "08:00:01Z"]),
        (Reason::Unobserved { target: target.clone(), since: T, until }, &["www", "08:00:00Z", "08:00:01Z"]),
        (Reason::Told { target: target.clone(), node: node.clone(), since: T, until }, &["web-1", "www", "has not installed"]),
        (Reason::NodeSilent { target: target.clone(), node: node.clone(), since: None }, &["web-1", "never joined"]),
        (Reason::NodeSilent { target: target.clone(), node: node.clone(), since: Some(T) }, &["last heard of on 2027"]),
        (
            Reason::NodeFailed { target: target.clone(), node: node.clone(), detail: detail.clone() },
            &["could not install", "exit status 1"],
        ),
        (Reason::NodeClock { target: target.clone(), node: node.clone(), off: Span::seconds(-40) }, &["40 s behind"]),
        (Reason::NodeClock { target: target.clone(), node: node.clone(), off: Span::seconds(40) }, &["40 s ahead"]),
        (Reason::NotIssued { target: target.clone(), node, detail }, &["not issued yet: exit status 1"]),
        (Reason::NobodyCarries { target }, &["no agent is known behind www"]),
        (Reason::ShareLimit { wave: "canary".into(), waiting: 3, limit: 2 }, &["3 more of the wave canary", "at most 2"]),
        (Reason::Soak { wave: "canary".into(), until, shortened: true }, &["canary", "08:00:01Z", "shorter than the policy"]),
        (
            Reason::LastLook { wave: "canary".into(), until, targets: ["a", "b", "c", "d"].map(String::from).to_vec() },
            &["canary", "08:00:01Z", "a, b, c and 1 more"],
        ),
    ] {
        let text = reason.to_string();
        for word in words {
            assert!(text.contains(word), "{}: {word:?} in {text}", reason.code());
        }
    }
}
