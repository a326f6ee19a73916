use super::*;
use crate::drill::measure::Marks;

const START: Time = Time::from_unix(10_000);
const WITHIN: Span = Span::minutes(60);

fn report(took: &[Option<i64>]) -> Report {
    let marks: Vec<Marks> = took.iter().map(|t| Marks { observed: t.map(|t| START + Span::seconds(t)), ..Marks::default() }).collect();
    Report::of(START, &marks)
}

fn seen<'a>(kind: Kind, phase: Phase, rollout: Option<Rollout>, report: &'a Report) -> Seen<'a> {
    Seen {
        kind,
        phase,
        started_at: START,
        within: WITHIN,
        issued_at: Some(START),
        cannot_issue: None,
        rollout,
        fault: None,
        report,
        behind: report.left,
        incident: None,
        elsewhere: None,
    }
}

fn whys(step: &Step) -> Option<Vec<Why>> {
    match step {
        Step::End(reasons) => Some(reasons.iter().map(|r| r.why).collect()),
        _ => None,
    }
}

fn at(seconds: i64) -> Time {
    START + Span::seconds(seconds)
}

fn running() -> Option<Rollout> {
    Some(Rollout::Running("wave 1".into()))
}

#[test]
fn a_rotation_goes_its_way() {
    let nothing = Report::default();
    let asked = seen(Kind::Rotation, Phase::Asked, None, &nothing);
    assert_eq!(next(&asked, START), Step::Issue);
    let issuing = Seen { phase: Phase::Issuing, issued_at: None, ..asked.clone() };
    assert!(matches!(next(&issuing, START), Step::Wait(Waiting { on: Awaited::Version, .. }, _)));
    assert_eq!(next(&Seen { issued_at: Some(START), ..issuing.clone() }, START), Step::Begin);
    let sealed = Seen { cannot_issue: Some("the store is sealed"), ..issuing.clone() };
    assert_eq!(next(&sealed, START), Step::End(vec![Reason::new(Why::CannotIssue, "the store is sealed")]));
    let end = patience(WITHIN).as_secs();
    for (s, over) in [(end - 1, false), (end, false), (end + 1, true)] {
        assert_eq!(whys(&next(&issuing, at(s))), over.then(|| vec![Why::CannotIssue]), "{s}");
    }
}

#[test]
fn in_time_to_the_second() {
    for (took, reasons) in [(3599, vec![]), (3600, vec![]), (3601, vec![Why::TooSlow])] {
        let all = report(&[Some(5), Some(took)]);
        assert_eq!(whys(&next(&seen(Kind::Rotation, Phase::Rolling, Some(Rollout::Done), &all), at(took))), Some(reasons), "{took}");
    }
}

#[test]
fn whatever_a_rollout_says_only_observation_ends_a_drill_well() {
    let half = report(&[Some(5), None]);
    let done = seen(Kind::Rotation, Phase::Rolling, Some(Rollout::Done), &half);
    assert!(matches!(next(&done, at(10)), Step::Wait(Waiting { on: Awaited::Observation, .. }, _)));
    // The dead that were left behind are not observed: the whole fleet was not.
    let all = report(&[Some(5)]);
    let dead = Seen { behind: 1, ..seen(Kind::Rotation, Phase::Rolling, Some(Rollout::Done), &all) };
    assert_eq!(whys(&next(&dead, at(10))), Some(vec![Why::Unobserved]));
    let none = Report::default();
    assert_eq!(whys(&next(&seen(Kind::Rotation, Phase::Rolling, Some(Rollout::Done), &none), at(10))), Some(vec![Why::Unobserved]));
}

#[test]
fn a_rotation_that_stops_or_goes_back_has_failed() {
    let half = report(&[Some(5), None]);
    for (rollout, why) in [(Rollout::Halted("h".into()), Why::Halted), (Rollout::RolledBack("b".into()), Why::RolledBack)] {
        assert_eq!(whys(&next(&seen(Kind::Rotation, Phase::Rolling, Some(rollout), &half), at(10))), Some(vec![why]));
    }
    let late = seen(Kind::Rotation, Phase::Rolling, running(), &half);
    let end = patience(WITHIN).as_secs();
    for (s, over) in [(3601, false), (end, false), (end + 1, true)] {
        assert_eq!(whys(&next(&late, at(s))), over.then(|| vec![Why::Unobserved]), "{s}");
    }
}

#[test]
fn an_incident_goes_before_every_drill() {
    let nothing = Report::default();
    for kind in [Kind::Rotation, Kind::NodeDown, Kind::StaleReload, Kind::RegionCut] {
        for phase in [Phase::Asked, Phase::Issuing, Phase::Rolling, Phase::Recovering] {
            let s = Seen { incident: Some(7), ..seen(kind, phase, None, &nothing) };
            assert_eq!(whys(&next(&s, START)), Some(vec![Why::IncidentOpened]), "{kind} {phase}");
        }
    }
}

#[test]
fn people_and_emergencies_go_before_every_drill() {
    let nothing = Report::default();
    let by_person = || Some(Rollout::ByPerson("p".into()));
    let overtaken = || Some(Rollout::Overtaken("o".into()));
    for kind in [Kind::Rotation, Kind::NodeDown, Kind::StaleReload, Kind::RegionCut] {
        for phase in [Phase::Rolling, Phase::Recovering] {
            let fault = Some(Fault { quarantined: 2, named: 2, put_back: 2, ..hit(Expected::PutBack) });
            let s = |rollout| Seen { fault, ..seen(kind, phase, rollout, &nothing) };
            assert_eq!(whys(&next(&s(by_person()), START)), Some(vec![Why::Halted]), "{kind} {phase}");
            assert_eq!(whys(&next(&s(overtaken()), START)), Some(vec![Why::Overtaken]), "{kind} {phase}");
            let other = Seen { elsewhere: Some("another secret".into()), ..s(running()) };
            assert_eq!(whys(&next(&other, START)), Some(vec![Why::Overtaken]), "{kind} {phase}");
        }
    }
}

fn hit(expected: Expected) -> Fault {
    Fault { expected, hit: 2, quarantined: 0, named: 0, put_back: 0, lifted_at: None }
}

#[test]
fn a_fault_is_lifted_when_what_was_expected_was_seen() {
    use Expected::{Halt, PutBack, Quarantine};
    let half = report(&[Some(5), None]);
    let halted = || Some(Rollout::Halted("h".into()));
    let back = || Some(Rollout::RolledBack("b".into()));
    let done = || Some(Rollout::Done);
    let lift = Some(true);
    for (kind, fault, rollout, lifts) in [
        (Kind::NodeDown, hit(Quarantine), running(), Some(false)),
        (Kind::NodeDown, Fault { quarantined: 2, ..hit(Quarantine) }, running(), Some(false)),
        (Kind::NodeDown, Fault { quarantined: 2, ..hit(Quarantine) }, done(), lift),
        (Kind::NodeDown, Fault { quarantined: 1, ..hit(Quarantine) }, done(), Some(false)),
        (Kind::NodeDown, hit(Quarantine), halted(), None),
        (Kind::NodeDown, hit(Halt), running(), Some(false)),
        (Kind::NodeDown, Fault { named: 1, ..hit(Halt) }, running(), lift),
        // What the rules stop for another reason says nothing of the fault.
        (Kind::RegionCut, hit(Halt), halted(), None),
        (Kind::RegionCut, hit(Halt), back(), None),
        (Kind::RegionCut, hit(Halt), done(), None),
        (Kind::StaleReload, hit(PutBack), halted(), Some(false)),
        (Kind::StaleReload, Fault { put_back: 2, ..hit(PutBack) }, running(), Some(false)),
        (Kind::StaleReload, Fault { put_back: 1, named: 1, ..hit(PutBack) }, running(), Some(false)),
        (Kind::StaleReload, Fault { put_back: 2, named: 1, ..hit(PutBack) }, running(), lift),
        (Kind::StaleReload, Fault { put_back: 2, ..hit(PutBack) }, back(), lift),
        (Kind::StaleReload, Fault { put_back: 2, quarantined: 2, ..hit(PutBack) }, running(), lift),
        (Kind::StaleReload, hit(PutBack), done(), None),
        // A fault that hits nothing rehearses nothing.
        (Kind::StaleReload, Fault { hit: 0, ..hit(PutBack) }, back(), Some(false)),
    ] {
        let s = Seen { fault: Some(fault), ..seen(kind, Phase::Rolling, rollout, &half) };
        match (next(&s, at(10)), lifts) {
            (Step::Lift, Some(true)) | (Step::Wait(..), Some(false)) => {}
            (Step::End(reasons), None) if reasons[0].why == Why::FaultUnnoticed => {}
            (step, _) => panic!("{kind} {fault:?}: {step:?}"),
        }
    }
}

#[test]
fn what_nobody_noticed_in_time_has_failed() {
    let half = report(&[Some(5), None]);
    for (fault, why) in [
        (hit(Expected::Halt), Why::FaultUnnoticed),
        (hit(Expected::Quarantine), Why::FaultUnnoticed),
        (hit(Expected::PutBack), Why::NotPutBack),
        (Fault { put_back: 2, ..hit(Expected::PutBack) }, Why::FaultUnnoticed),
    ] {
        let s = Seen { fault: Some(fault), ..seen(Kind::NodeDown, Phase::Rolling, running(), &half) };
        for (now, over) in [(3599, false), (3600, false), (3601, true)] {
            assert_eq!(whys(&next(&s, at(now))), over.then(|| vec![why]), "{fault:?} {now}");
        }
    }
}

#[test]
fn afterwards_everything_ends_on_one_version() {
    let half = report(&[Some(5), None]);
    let s = |rollout, behind| Seen { behind, ..seen(Kind::NodeDown, Phase::Recovering, rollout, &half) };
    assert_eq!(next(&s(Some(Rollout::Halted("h".into())), 1), at(10)), Step::Resume);
    assert_eq!(next(&s(Some(Rollout::RolledBack("b".into())), 1), at(10)), Step::Begin);
    assert!(matches!(next(&s(running(), 0), at(10)), Step::Wait(Waiting { on: Awaited::Recovery, .. }, _)));
    assert!(matches!(next(&s(Some(Rollout::Done), 1), at(10)), Step::Wait(..)));
    assert_eq!(next(&s(Some(Rollout::Done), 0), at(3600)), Step::End(vec![]));
    for rollout in [running(), Some(Rollout::Halted("h".into())), Some(Rollout::Done)] {
        for (now, over) in [(3600, false), (3601, true)] {
            assert_eq!(whys(&next(&s(rollout.clone(), 1), at(now))), over.then(|| vec![Why::NotRecovered]), "{rollout:?} {now}");
        }
    }
}

#[test]
fn the_policy_says_what_is_expected_of_the_dead() {
    use Expected::{Halt, Quarantine};
    let region = |hit, size| (What::Region, hit, size);
    for (waves, percent, want) in [
        (&[region(1, 50)][..], 2, Quarantine),
        (&[region(1, 10)], 2, Quarantine),
        (&[region(1, 9)], 2, Halt),
        (&[(What::Canary, 1, 50)], 2, Halt),
        (&[region(2, 100)], 2, Quarantine),
        (&[region(3, 100)], 2, Halt),
        (&[region(1, 50)], 0, Halt),
        (&[region(0, 3), region(1, 50)], 2, Quarantine),
        (&[region(1, 3), region(0, 50)], 2, Halt),
    ] {
        assert_eq!(expected(Kind::NodeDown, waves, percent), Some(want), "{waves:?}");
        assert_eq!(expected(Kind::RegionCut, waves, percent), Some(want), "{waves:?}");
    }
    assert_eq!(expected(Kind::StaleReload, &[region(1, 1)], 0), Some(Expected::PutBack));
    assert_eq!(expected(Kind::Rotation, &[region(1, 1)], 0), None);
}
