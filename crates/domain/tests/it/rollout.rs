//! Random rollouts through random worlds: what must hold whatever nodes claim, whoever falls silent, and in whichever order it happens.

use domain::{
    Span, Time,
    rollout::{
        Decision, Kind, Placed, Plan, Policy, decide,
        decide::{Line, Node, Progress, Silence, Target, View, note},
        plan::What,
        policy::{Rule, Scope, allowed},
    },
    words::{IncidentId, TargetId},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NOW: Time = Time::from_unix(1_800_000_000);

fn placed() -> impl Strategy<Value = Vec<Placed>> {
    let one = (0..3usize, 0..3usize, prop::bool::weighted(0.1), 0..3usize);
    prop::collection::vec(one, 0..60).prop_map(|all| {
        let regions = ["", "eu", "us"];
        let stamps = ["", "1", "2"];
        all.into_iter()
            .enumerate()
            .map(|(n, (region, stamp, canary, nodes))| Placed {
                id: TargetId(n as i64),
                region: regions[region].into(),
                stamp: format!("{}{}", regions[region], stamps[stamp]),
                canary,
                nodes,
            })
            .collect()
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let scopes = prop_oneof![Just(Scope::Canary), Just(Scope::Stamp), Just(Scope::Region)];
    let rule = (scopes, 1u32..=100, 0i64..120);
    let last = (prop_oneof![Just(Scope::Rest), Just(Scope::All)], 1u32..=100, 0i64..120);
    (prop::collection::vec(rule, 0..4), last, 0u32..=50, any::<bool>()).prop_map(|(mut waves, last, quarantine, roll_back)| {
        waves.push(last);
        let waves = waves.into_iter().map(|(of, share, soak)| Rule { of, share, soak: Span::minutes(soak) }).collect();
        Policy { waves, quarantine, roll_back, patience: Span::minutes(30), ..Policy::standard() }
    })
}

/// Something that happens to one target, `minutes` after what happened before.
#[derive(Debug, Clone)]
enum Event {
    Shows(bool),
    Silent(bool),
    Claims(Progress),
    Incident(bool),
    Closed,
    /// All are looked at, and answer.
    Looked,
}

fn events() -> impl Strategy<Value = Vec<(usize, Event, i64)>> {
    let event = prop_oneof![
        6 => Just(Event::Shows(true)),
        1 => Just(Event::Shows(false)),
        1 => any::<bool>().prop_map(Event::Silent),
        2 => prop::sample::select(Progress::ALL).prop_map(Event::Claims),
        1 => any::<bool>().prop_map(Event::Incident),
        1 => Just(Event::Closed),
        3 => Just(Event::Looked),
    ];
    prop::collection::vec((0..60usize, event, 0i64..40), 0..200)
}

fn view(plan: Plan, policy: Policy, all: &[Placed]) -> View {
    let target = |p: &Placed| Target {
        name: format!("t{}", p.id),
        begun_at: None,
        observed_at: None,
        quarantined_at: None,
        excused_at: None,
        shows: false,
        answered_at: None,
        until: None,
        silent: None,
        lines: vec![],
        nodes: (0..p.nodes)
            .map(|n| Node {
                name: format!("n{n}"),
                progress: Progress::Told,
                detail: String::new(),
                seen_at: Some(NOW),
                clock_off: Span::ZERO,
                ready_at: None,
            })
            .collect(),
    };
    View {
        kind: Kind::Ordinary,
        policy,
        wave: None,
        halted: None,
        clock_believed: true,
        newer: None,
        targets: all.iter().map(|p| (p.id, target(p))).collect::<BTreeMap<_, _>>(),
        total: all.len(),
        plan,
    }
}

fn happens(v: &mut View, at: usize, event: &Event, now: Time) {
    if matches!(event, Event::Looked) {
        v.targets.values_mut().for_each(|t| t.answered_at = Some(now));
    }
    let Some(t) = v.targets.values_mut().nth(at) else { return };
    match event {
        Event::Shows(it) => (t.shows, t.answered_at) = (*it, Some(now)),
        Event::Silent(true) => t.silent = Some(Silence { since: Some(now), detail: String::new() }),
        Event::Silent(false) => t.silent = None,
        Event::Claims(it) => t.nodes.iter_mut().for_each(|n| n.progress = *it),
        Event::Incident(broken) => t.lines.push(Line { incident: IncidentId(1), opened_at: now, broken: *broken, detail: String::new() }),
        Event::Closed => t.lines.clear(),
        Event::Looked => {}
    }
}

/// Does what was decided, as the engine would. Says whether something was done.
fn act(v: &mut View, decision: &Decision, now: Time) -> bool {
    match decision {
        Decision::Advance { wave, targets } => {
            v.wave = Some(*wave);
            for id in targets {
                v.targets.get_mut(id).expect("a target of the plan").begun_at = Some(now);
            }
            true
        }
        Decision::Quarantine(targets) => {
            for id in targets {
                v.targets.get_mut(id).expect("a target of the plan").quarantined_at = Some(now);
            }
            true
        }
        _ => false,
    }
}

/// What holds of every decision.
fn holds(v: &View, decision: &Decision) {
    let waves = &v.plan.waves;
    let finished = |w: usize| waves[w].targets.iter().all(|id| v.targets[id].serves() || v.targets[id].quarantined_at.is_some());
    let allowed = |w: usize| allowed(waves[w].what, waves[w].targets.len(), v.policy.quarantine);
    let behind = |w: usize| waves[w].targets.iter().filter(|id| v.targets[id].quarantined_at.is_some()).count();
    for w in 0..waves.len() {
        assert!(behind(w) <= allowed(w), "more left behind than the policy allows");
    }
    match decision {
        Decision::Advance { wave, targets } => {
            assert!(!targets.is_empty(), "an advance moves something");
            assert!(*wave == v.wave.map_or(0, |w| w) || Some(*wave) == v.wave.map(|w| w + 1), "waves go one by one");
            assert!(
                targets.iter().all(|id| v.targets[id].begun_at.is_none() && waves[*wave].targets.contains(id)),
                "each once, in its wave"
            );
            for w in 0..*wave {
                assert!(finished(w), "never past a target that was not observed, except those left behind");
            }
            let flying = v.targets.values().filter(|t| t.begun_at.is_some() && !t.serves() && t.quarantined_at.is_none()).count();
            if waves[*wave].what != What::Others {
                let limit = (v.total * waves[*wave].share as usize / 100).max(1);
                assert!(flying + targets.len() <= limit, "no more than the share on the way");
            }
        }
        Decision::Quarantine(targets) => {
            assert!(
                targets.iter().all(|id| !v.targets[id].serves() && v.targets[id].begun_at.is_some()),
                "only what is dead is left behind"
            );
        }
        Decision::Done(open) => {
            for (id, t) in &v.targets {
                assert!(t.serves() != open.contains(id), "done means observed, or listed as open");
            }
        }
        Decision::Wait(reasons, _) => assert!(!reasons.is_empty(), "whoever waits says for what"),
        Decision::RollBack(_) => assert!(v.policy.roll_back && v.wave.is_some()),
        Decision::GiveWay => panic!("nobody asked"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_target_is_in_exactly_one_wave(all in placed(), later in placed(), policy in policy(), begun in 0usize..6) {
        let plan = Plan::first(1, &policy, &all);
        let check = |plan: &Plan, all: &[Placed]| {
            let listed: Vec<_> = plan.targets().collect();
            let set: BTreeSet<_> = listed.iter().copied().collect();
            assert_eq!(listed.len(), set.len(), "no target twice");
            assert_eq!(set, all.iter().map(|p| p.id).collect(), "no target forgotten");
        };
        check(&plan, &all);
        let begun = begun.min(plan.waves.len());
        if let Some(next) = plan.next(begun, &policy, &later) {
            check(&next, &later);
            prop_assert_eq!(next.parent, Some(plan.hash()));
            for (before, after) in plan.waves.iter().zip(&next.waves).take(begun) {
                prop_assert!(after.targets.iter().all(|t| before.targets.contains(t)), "nothing is put into a wave that has begun");
            }
            prop_assert_eq!(next.next(begun, &policy, &later), None);
        }
    }

    #[test]
    fn never_past_what_was_not_observed(all in placed(), policy in policy(), events in events()) {
        let mut v = view(Plan::first(1, &policy, &all), policy, &all);
        let mut now = NOW;
        let mut was: (Option<usize>, BTreeMap<TargetId, Option<Time>>) = (None, BTreeMap::new());
        for (at, event, minutes) in &events {
            now = now + Span::minutes(*minutes);
            happens(&mut v, *at, event, now);
            // At most each target and each wave is acted on once, and once left behind.
            for round in 0.. {
                prop_assert!(round < 300, "comes to rest");
                note(&mut v, now);
                let before = v.clone();
                let decision = decide(&v, now);
                prop_assert_eq!(&decision, &decide(&before, now), "the same values, the same answer");
                holds(&v, &decision);
                if let Decision::Wait(_, next) = &decision {
                    prop_assert!(next.is_none_or(|n| n > now), "what is waited for is still to come");
                    if let Some(next) = next {
                        let until = Time::from_unix(next.unix() - 1);
                        let later = decide(&v, until);
                        prop_assert!(matches!(later, Decision::Wait(..)), "nothing happens before it is looked at again: {later:?}");
                    }
                }
                if !act(&mut v, &decision, now) {
                    break;
                }
            }
            // What has begun is never taken back by deciding, and nothing that was observed or is open is closed by it.
            let begun: BTreeMap<_, _> = v.targets.iter().filter(|(_, t)| t.begun_at.is_some()).map(|(id, t)| (*id, t.begun_at)).collect();
            prop_assert!(v.wave >= was.0, "waves only go forward");
            prop_assert!(was.1.iter().all(|(id, at)| begun.get(id) == Some(at)), "each target is told once");
            was = (v.wave, begun);
        }
    }

    #[test]
    fn without_evidence_nothing_ends(all in placed(), policy in policy(), minutes in prop::collection::vec(1i64..600, 1..40)) {
        prop_assume!(all.iter().any(|p| p.nodes > 0));
        let mut v = view(Plan::first(1, &Policy { quarantine: 0, ..policy.clone() }, &all), Policy { quarantine: 0, ..policy }, &all);
        v.targets.values_mut().for_each(|t| t.nodes.iter_mut().for_each(|n| n.progress = Progress::Installed));
        let mut now = NOW;
        for m in minutes {
            now = now + Span::minutes(m);
            while { note(&mut v, now); let d = decide(&v, now); prop_assert!(!matches!(d, Decision::Done(_))); act(&mut v, &d, now) } {}
        }
        prop_assert_eq!(v.wave, Some(0), "claims and time advance nothing");
    }
}
