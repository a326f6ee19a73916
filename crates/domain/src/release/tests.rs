use super::*;
use crate::{
    calendar::{Freeze, When},
    release::{DEFAULT_LEAD, Stage, tests as base},
};
use alloc::vec;

fn t(text: &str) -> Time {
    Time::parse(text).expect("a time")
}

/// A certificate of one year that ends on 2013-02-22 and must be built for 90 days before.
fn carries() -> Carries {
    Carries {
        secret: SecretId(5),
        name: "blob".into(),
        owner: "security".into(),
        version: 2,
        newest: 2,
        scanned_older: false,
        brought: None,
        serves: base::serves(t("2013-02-22T20:29:53Z"), Span::days(365)),
        production: 3,
        behind: Behind { count: 3, more: false, first: vec!["blob-eu".into(), "blob-us".into()] },
        observed_at: None,
    }
}

const SHIP_BY: &str = "2012-11-24T20:29:53Z";

fn view(planned: Time) -> View {
    let release = Release { planned_at: planned, ..base::release(Status::Planned, false) };
    View {
        release,
        owner: "storage".into(),
        lead: DEFAULT_LEAD,
        measured: 0,
        calendar: Calendar::open(),
        carries: vec![carries()],
        keys: Finds::default(),
        strangers: Finds::default(),
    }
}

fn codes(s: &Standing) -> Vec<(Code, Level)> {
    s.concerns.iter().map(|c| (c.code, c.level)).collect()
}

#[test]
fn slack_has_one_meaning_to_the_second() {
    let by = t(SHIP_BY);
    let long_before = by - Span::days(100);
    for (plus, late) in [(-1, false), (0, false), (1, true)] {
        let at = by + Span::seconds(plus);
        // By its plan, by the clock while nobody built it, and by when it was built.
        let planned = assess(&view(at), long_before);
        let mut built = view(long_before);
        (built.release.status, built.release.built_at) = (Status::Built, Some(at));
        for (how, s) in [("planned", planned), ("now", assess(&view(long_before), at)), ("built", assess(&built, at + Span::days(9)))] {
            assert_eq!((s.slack, codes(&s) == [(Code::ReleaseLate, Level::Notice)]), (Some(Span::seconds(-plus)), late), "{how} {plus}");
            assert_eq!((s.ship_by, s.deadline, s.over), (Some(by), Deadline::By(by), false), "{how} {plus}");
        }
    }
    let s = assess(&view(long_before), long_before);
    assert_eq!(s.next, Some(by + Span::seconds(1)), "and somebody looks at that second");
    let late = assess(&view(by + Span::days(93)), long_before);
    assert_eq!(late.concerns[0].teams, ["security", "storage"]);
    assert_eq!(late.concerns[0].until, Some(t("2013-02-22T20:29:53Z")));
    let said = &late.concerns[0].detail;
    for part in ["release 12 (storage 2013.1)", "blob", "93 d late", "3 of 3 targets", "2013-02-22T20:29:53Z", SHIP_BY, "14 d"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Another date is another thing to hear of.
    let later = assess(&view(by + Span::days(94)), long_before);
    assert_ne!(later.concerns[0].key(), late.concerns[0].key());
}

#[test]
fn a_freeze_moves_the_deadline_before_it() {
    let freeze = |from: &str, until: Option<&str>| {
        let when = When::Range { from: from.into(), until: until.map(Into::into) };
        Calendar::parse("UTC", &[Freeze { why: "quiet".into(), when }]).expect("a calendar")
    };
    let by = t(SHIP_BY);
    let now = by - Span::days(400);
    for (calendar, wanted) in [
        (freeze("2012-11-20", Some("2012-11-24")), by),
        (freeze("2012-11-20", Some("2012-11-25")), t("2012-11-19T23:59:59Z")),
        (freeze("2012-11-24T20:29", None), t("2012-11-24T20:28:59Z")),
        (freeze("2012-11-24T20:30", None), by),
        // Through a leap day: what is frozen since 29 February moves to the day before.
        (freeze("2012-02-29", Some("2012-12-01")), t("2012-02-28T23:59:59Z")),
        (freeze("2012-03-01", Some("2012-12-01")), t("2012-02-29T23:59:59Z")),
    ] {
        let s = assess(&View { calendar, ..view(now) }, now);
        assert_eq!(s.ship_by, Some(wanted));
        assert_eq!(s.reason.contains("before the freeze quiet"), wanted != by, "{}", s.reason);
    }
}

#[test]
fn what_nobody_can_date_is_told_and_comes_first() {
    let now = t("2012-10-01T00:00:00Z");
    let none = |served| Serves { served, worst: None };
    for (serves, production, deadline, wanted) in [
        (none(Served::Unknown), 3, Deadline::Undated, &[(Code::ReleaseUndated, Level::Notice)][..]),
        (none(Served::Unknown), 0, Deadline::Undated, &[(Code::ReleaseUndated, Level::Notice)]),
        (none(Served::Broken), 3, Deadline::Now, &[(Code::ReleaseLate, Level::Notice)]),
        (none(Served::Until(Time::NO_EXPIRY)), 3, Deadline::Never, &[]),
    ] {
        let mut v = view(now);
        v.carries[0] = Carries { serves, production, ..carries() };
        let s = assess(&v, now);
        assert_eq!((s.deadline, codes(&s).as_slice()), (deadline, wanted), "{serves:?}");
        assert_eq!(s.next, None, "time alone changes nothing there: {serves:?}");
    }
    // One that cannot be dated hides none that is late.
    let mut v = view(t("2013-02-25T00:00:00Z"));
    v.carries.push(Carries { secret: SecretId(6), name: "queue".into(), serves: none(Served::Unknown), ..carries() });
    let s = assess(&v, now);
    assert_eq!((s.deadline, s.ship_by), (Deadline::Undated, Some(t(SHIP_BY))));
    assert_eq!(codes(&s), [(Code::ReleaseLate, Level::Notice), (Code::ReleaseUndated, Level::Notice)]);
}

#[test]
fn only_observation_ends_it() {
    let now = t("2012-10-01T00:00:00Z");
    let (all, some, no) = (Behind::default(), carries().behind, 0);
    for (status, production, behind, over, items) in [
        (Status::Built, 3, &all, false, 1),
        (Status::Deployed, 3, &all, true, 1),
        (Status::Deployed, 3, &some, false, 0),
        (Status::Deployed, no, &all, false, 0),
        (Status::Cancelled, 3, &some, true, 0),
    ] {
        let mut v = view(now);
        (v.release.status, v.release.built_at, v.release.deployed_at) = (status, Some(now), Some(now));
        v.carries[0] = Carries { production, behind: behind.clone(), ..carries() };
        let s = assess(&v, now);
        assert_eq!((s.over, s.items_over.len()), (over, items), "{status} {production} {behind:?}");
    }
    let mut nothing = view(now);
    nothing.carries.clear();
    assert_eq!((assess(&nothing, now).deadline, assess(&nothing, now).over), (Deadline::Never, false));
    nothing.release.status = Status::Deployed;
    assert!(assess(&nothing, now).over);
}

#[test]
fn a_claim_has_an_hour() {
    let at = t("2012-10-01T00:00:00Z");
    for (plus, level) in [(-1, Level::Info), (0, Level::Notice), (1, Level::Notice)] {
        let mut v = view(at);
        (v.release.status, v.release.built_at, v.release.deployed_at) = (Status::Deployed, Some(at), Some(at));
        v.release.stages.push(Stage { region: "eu".into(), planned_at: None, status: Status::Deployed, changed_at: at });
        v.carries[0].behind = Behind { count: 1000, more: true, first: vec!["blob-eu".into()] };
        let s = assess(&v, at + Span::hours(1) + Span::seconds(plus));
        assert_eq!(codes(&s), [(Code::DeployedUnobserved, level)], "{plus}");
        let said = &s.concerns[0].detail;
        assert!(said.contains("more than 1000 of 3 targets do not show it: blob-eu, and more than 999 more"), "{said}");
    }
}

#[test]
fn what_should_not_be_in_a_build() {
    let now = t("2012-10-01T00:00:00Z");
    let mut v = view(now);
    v.keys = Finds { count: 2, first: vec!["a!key.pem".into()] };
    v.strangers = Finds { count: 1, first: vec!["x.pem (CN=x)".into()] };
    v.carries[0].newest = 3;
    for (scanned_older, level) in [(false, Level::Info), (true, Level::Notice)] {
        v.carries[0].scanned_older = scanned_older;
        let s = assess(&v, now);
        assert_eq!(codes(&s), [(Code::KeyInBuild, Level::Notice), (Code::CarriesOlder, level), (Code::CarriesUnknown, Level::Info)]);
        assert_eq!(s.concerns[2].teams, ["storage"]);
        assert!(s.concerns[0].detail.contains("2 private keys in the clear: a!key.pem, and 1 more"), "{}", s.concerns[0].detail);
    }
}

#[test]
fn what_a_rollout_has_brought_is_not_taken_back_by_a_release_unheard() {
    for (brought, carries_version, wanted) in
        [(None, 1, false), (Some(1), 1, false), (Some(2), 2, false), (Some(2), 3, false), (Some(2), 1, true)]
    {
        let mut v = view(t(SHIP_BY));
        v.carries = vec![Carries { version: carries_version, brought, ..carries() }];
        let said = assess(&v, t(SHIP_BY)).concerns;
        let back: Vec<_> = said.iter().filter(|c| c.code == Code::TakesBack).collect();
        assert_eq!(!back.is_empty(), wanted, "{brought:?} {carries_version}");
        if let Some(c) = back.first() {
            assert!(c.level == Level::Notice && c.teams.len() == 2, "both owners hear of it: {:?}", c.teams);
        }
    }
}
