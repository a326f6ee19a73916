//! What drills measure, against computations that are too simple to be wrong; and what no drill can do, whatever it is told.

use domain::{
    Span, Time,
    drill::{
        Kind, Phase,
        course::{self, Expected, Fault, Rollout, Step},
        measure::{Marks, Report, Spread},
        patience,
        schedule::{Past, Run, critical_path, grace},
    },
    policy::{UNPROVEN_PATH, wakes},
};
use proptest::prelude::*;

fn at(n: i64) -> Time {
    Time::from_unix(n)
}

fn marks() -> impl Strategy<Value = Marks> {
    let time = || prop::option::of((0i64..10_000).prop_map(at));
    (0u32..4, time(), time(), time(), time(), prop::bool::weighted(0.1)).prop_map(
        |(wave, issued, distributed, installed, observed, quarantined)| Marks {
            wave,
            issued,
            distributed,
            installed,
            observed,
            quarantined,
        },
    )
}

fn rollouts() -> impl Strategy<Value = Option<Rollout>> {
    let some = prop_oneof![
        Just(Rollout::Running("r".into())),
        Just(Rollout::Halted("h".into())),
        Just(Rollout::RolledBack("b".into())),
        Just(Rollout::ByPerson("p".into())),
        Just(Rollout::Overtaken("o".into())),
        Just(Rollout::Done)
    ];
    prop::option::of(some)
}

fn faults() -> impl Strategy<Value = Option<Fault>> {
    let expected = prop::sample::select(Expected::ALL);
    let some = (expected, 0u64..3, 0u64..3, 0u64..3, 0u64..3).prop_map(|(expected, hit, quarantined, named, put_back)| Fault {
        expected,
        hit,
        quarantined,
        named,
        put_back,
        lifted_at: None,
    });
    prop::option::of(some)
}

proptest! {
    /// Nearest rank by its definition: the smallest measured value that so many of a hundred do not exceed.
    #[test]
    fn ranks_are_what_their_definition_says(values in prop::collection::vec(0i64..500, 1..200)) {
        let spread = Spread::of(values.iter().map(|v| Span::seconds(*v)).collect()).unwrap();
        for (percent, got) in [(50, spread.p50), (95, spread.p95), (100, spread.max)] {
            let enough = |v: &i64| values.iter().filter(|w| *w <= v).count() * 100 >= percent * values.len();
            let want = values.iter().filter(|v| enough(v)).min().unwrap();
            prop_assert_eq!(got.as_secs(), *want);
        }
        prop_assert!(spread.p50 <= spread.p95 && spread.p95 <= spread.max);
    }

    /// Every target is counted once, and no step takes less than no time.
    #[test]
    fn everything_is_counted_once(targets in prop::collection::vec(marks(), 0..60)) {
        let report = Report::of(at(0), &targets);
        prop_assert_eq!(report.observed + report.quarantined + report.left, targets.len() as u64);
        prop_assert_eq!(report.whole().map_or(0, |w| w.n), report.observed);
        let by_wave: u64 = report.waves.values().filter_map(|w| w.get(&domain::drill::measure::Step::Whole)).map(|w| w.n).sum();
        prop_assert_eq!(by_wave, report.observed);
        prop_assert!(report.all.values().all(|s| s.p50 >= Span::ZERO));
    }

    /// A drill passes only when every target was observed, none later than it should have been; and it comes to an end.
    #[test]
    fn nothing_passes_that_was_not_observed(
        kind in prop::sample::select(Kind::ALL.iter().copied().filter(|k| *k != Kind::Alert).collect::<Vec<_>>()),
        phase in prop::sample::select(Phase::ALL), rollout in rollouts(), fault in faults(),
        targets in prop::collection::vec(marks(), 0..20), behind in 0u64..3, now in 0i64..100_000,
    ) {
        prop_assume!(!phase.is_over());
        let report = Report::of(at(0), &targets);
        let within = Span::minutes(60);
        let seen = course::Seen {
            kind, phase, started_at: at(0), within, issued_at: Some(at(0)), cannot_issue: None, rollout, fault, report: &report,
            behind: behind + report.left, incident: None, elsewhere: None,
        };
        match course::next(&seen, at(now)) {
            Step::End(reasons) if reasons.is_empty() => {
                prop_assert_eq!(seen.behind, 0);
                prop_assert_eq!(seen.rollout.clone(), Some(Rollout::Done));
                if kind == Kind::Rotation {
                    prop_assert!(report.whole().unwrap().max <= within);
                } else {
                    prop_assert!(phase == Phase::Recovering && at(now) <= at(0) + within);
                }
            }
            Step::Wait(_, again) => {
                prop_assert!(again > at(now), "whoever waits says until when");
                let later = course::next(&seen, again);
                prop_assert!(!matches!(later, Step::Wait(..)), "and then it is over: {:?}", later);
            }
            _ => {}
        }
    }

    /// What is believed of the critical path is never shorter than what the latest rotation measured, nor than what is unknown counts as
    /// where nothing is proven.
    #[test]
    fn the_critical_path_is_never_shorter_than_what_was_measured(
        runs in prop::collection::vec((prop::sample::select(Phase::ALL), 0i64..100_000, 0i64..100_000), 0..6), now in 0i64..10_000_000,
    ) {
        let mut runs: Vec<Run> = runs.into_iter().filter(|(phase, ..)| phase.is_over()).map(|(phase, ended, p95)| Run {
            kind: Kind::Rotation, phase, ended_at: at(ended), p95: Some(Span::seconds(p95)), every: Span::days(28),
        }).collect();
        runs.sort_by_key(|r| std::cmp::Reverse(r.ended_at));
        let counted = |p: Option<(Span, Time)>| p.map_or(UNPROVEN_PATH, |(p95, _)| p95);
        let believed = counted(critical_path(&[runs.clone()], at(now)));
        if let Some(latest) = runs.iter().find(|r| r.phase != Phase::Aborted) {
            prop_assert!(believed >= latest.p95.unwrap());
            prop_assert!(latest.phase == Phase::Passed || believed >= UNPROVEN_PATH);
            let until = latest.ended_at + Span::days(28) + grace(Span::days(28));
            prop_assert!(at(now) < until || believed >= UNPROVEN_PATH);
        }
        // A longer path wakes people no later.
        prop_assert!(!wakes(false, Span::hours(5), Some(Span::hours(1))) || wakes(false, Span::hours(5), Some(believed.max(Span::hours(1)))));
    }

    /// A drill is always due before it is overdue, unless one has just failed; and one that passes puts both off.
    #[test]
    fn due_comes_before_overdue(declared in 0i64..1000, passed in prop::option::of(0i64..100_000_000), every in 3600i64..31_622_400) {
        let every = Span::seconds(every);
        let past = Past { declared_at: at(declared), passed_at: passed.map(at), ended_at: passed.map(at), running: false };
        let due = past.due_at(every).unwrap();
        prop_assert!(due < past.overdue_at(every));
        let later = Past { passed_at: Some(due), ended_at: Some(due), ..past };
        prop_assert!(later.due_at(every).unwrap() > due && later.overdue_at(every) > past.overdue_at(every));
    }
}

#[test]
fn patience_is_never_shorter_than_the_time_that_was_given() {
    for minutes in [1, 60, 300, 1440] {
        let within = Span::minutes(minutes);
        assert!(patience(within) >= within && patience(within) <= Span::days(1).max(within));
    }
}
