use super::{
    breach::{Region, Remembered, SETTLES_WITHIN, remember, standing},
    *,
};
use alloc::{string::ToString, vec};

const END: Time = Time::from_unix(2_000_000_000);
const S: Span = Span::seconds(1);

fn fp(n: u8) -> Fingerprint {
    Fingerprint::from_bytes([n; 32])
}

fn serving(position: usize) -> Serving {
    let cause = Cause { about: fp(1), position, lifetime: Span::days(365) };
    Serving { served: Served::Until(END), cause: Some(cause), version: Serves::NotYet(2) }
}

fn rescue(release: i64, version: i64, arrives_at: Time, until: Time) -> Rescue {
    Rescue { release, name: alloc::format!("storage/{release}"), version, arrives_at, until, leaf: fp(version as u8) }
}

fn plan(rescues: &[Rescue]) -> Plan {
    Plan { automatic: false, rescues: rescues.to_vec() }
}

/// When it breaks, because of which certificate, on which release that rests, and which one is how much too late.
type Says = (Breaks, Option<Fingerprint>, Option<i64>, Option<(i64, Option<i64>)>);

fn says(o: &Outlook) -> Says {
    (o.breaks, o.about, o.rests_on, o.missed.as_ref().map(|m| (m.release, m.late.map(Span::as_secs))))
}

#[test]
fn what_arrives_at_the_very_second_of_the_break_is_too_late() {
    let now = END - Span::days(100);
    let later = END + Span::days(365);
    for (plus, wanted) in [
        (-1, (Breaks::At(later), Some(fp(2)), Some(7), None)),
        (0, (Breaks::At(END), Some(fp(1)), None, Some((7, Some(0))))),
        (1, (Breaks::At(END), Some(fp(1)), None, Some((7, Some(1))))),
    ] {
        let got = outlook(&serving(0), &plan(&[rescue(7, 2, END + Span::seconds(plus), later)]), now);
        assert_eq!(says(&got), wanted, "arrives {plus} s after the end");
    }
}

#[test]
fn each_rescue_in_time_carries_it_to_the_next() {
    let now = END - Span::days(100);
    let day = |n| END + Span::days(n);
    for (what, rescues, wanted) in [
        ("nothing", vec![], (Breaks::At(END), Some(fp(1)), None, None)),
        ("one", vec![rescue(1, 2, day(-1), day(10))], (Breaks::At(day(10)), Some(fp(2)), Some(1), None)),
        (
            "two, in whatever order they are given",
            vec![rescue(2, 3, day(5), day(20)), rescue(1, 2, day(-1), day(10))],
            (Breaks::At(day(20)), Some(fp(3)), Some(2), None),
        ),
        (
            "the second too late for the first's end",
            vec![rescue(1, 2, day(-1), day(10)), rescue(2, 3, day(13), day(20))],
            (Breaks::At(day(10)), Some(fp(2)), Some(1), Some((2, Some(3 * 86_400)))),
        ),
        (
            "the same version again saves nothing",
            vec![rescue(1, 2, day(-1), day(10)), rescue(2, 2, day(5), day(10)), rescue(3, 3, day(11), day(30))],
            (Breaks::At(day(10)), Some(fp(2)), Some(1), Some((3, Some(86_400)))),
        ),
        (
            "a newer version that lives shorter breaks earlier",
            vec![rescue(1, 2, day(-50), day(-20))],
            (Breaks::At(day(-20)), Some(fp(2)), Some(1), None),
        ),
        (
            "one that has ended when it arrives breaks what it is brought to",
            vec![rescue(1, 2, day(-5), day(-20))],
            (Breaks::At(day(-5)), Some(fp(2)), Some(1), None),
        ),
        ("one without end", vec![rescue(1, 2, day(-5), Time::NO_EXPIRY)], (Breaks::Never, Some(fp(2)), Some(1), None)),
    ] {
        assert_eq!(says(&outlook(&serving(0), &plan(&rescues), now)), wanted, "{what}");
    }
}

#[test]
fn what_a_target_serves_already_is_no_rescue() {
    let now = END - Span::days(100);
    let later = END + Span::days(365);
    for (version, carried, until, saves) in [
        (Serves::Version(2), 2, later, false),
        (Serves::Version(2), 1, later, false),
        (Serves::Version(1), 2, later, true),
        (Serves::NotYet(2), 2, END - Span::days(1), true),
        (Serves::NotYet(3), 2, END - Span::days(1), false),
        (Serves::NotYet(3), 2, later, true),
    ] {
        let s = Serving { version, ..serving(0) };
        let got = outlook(&s, &plan(&[rescue(1, carried, now + Span::days(1), until)]), now);
        assert_eq!(got.rests_on.is_some(), saves, "{version:?} and version {carried} until {until}");
    }
}

#[test]
fn what_was_to_have_arrived_and_was_not_observed_saves_nothing() {
    let arrives = END - Span::days(50);
    let it = plan(&[rescue(7, 2, arrives, END + Span::days(365))]);
    let at = |plus: i64| outlook(&serving(0), &it, arrives + ARRIVAL_GRACE + Span::seconds(plus));
    assert_eq!(at(-1).rests_on, Some(7));
    assert_eq!(at(0).rests_on, Some(7), "a moment belongs to the side that trusts");
    assert_eq!(at(0).next, Some(arrives + ARRIVAL_GRACE + S), "and somebody looks at the second after it");
    assert_eq!(says(&at(1)), (Breaks::At(END), Some(fp(1)), None, Some((7, None))));
    assert_eq!(breach::rescue(&at(1)), "release storage/7 was to arrive 2033-03-29T03:33:20Z and was not observed");
}

#[test]
fn a_proven_automatic_renewal_counts_to_the_second_until_it_is_overdue() {
    let automatic = Plan { automatic: true, rescues: Vec::new() };
    let overdue = END - policy::renewal_overdue(Span::days(365));
    for (plus, wanted) in [(-1, Breaks::Never), (0, Breaks::Never), (1, Breaks::At(END))] {
        assert_eq!(outlook(&serving(0), &automatic, overdue + Span::seconds(plus)).breaks, wanted, "{plus}");
    }
    assert_eq!(outlook(&serving(0), &automatic, overdue).next, Some(overdue + S));
    let now = END - Span::days(300);
    assert_eq!(outlook(&serving(1), &automatic, now).breaks, Breaks::At(END), "it renews nothing above the leaf");
    assert_eq!(outlook(&Serving { cause: None, ..serving(0) }, &automatic, now).breaks, Breaks::At(END), "who knows what ends");
}

#[test]
fn broken_unknown_and_without_end() {
    let now = END;
    let fix = plan(&[rescue(1, 2, now + Span::days(2), now + Span::days(300))]);
    for (served, wanted) in [
        (Served::Broken, (Breaks::Now, Some(fp(1)), None, Some((1, Some(2 * 86_400))))),
        (Served::Until(END), (Breaks::Now, Some(fp(1)), None, Some((1, Some(2 * 86_400))))),
        (Served::Unknown, (Breaks::Unknown, Some(fp(1)), None, None)),
        (Served::Until(Time::NO_EXPIRY), (Breaks::Never, Some(fp(1)), None, None)),
    ] {
        assert_eq!(says(&outlook(&Serving { served, ..serving(0) }, &fix, now)), wanted, "{served:?}");
    }
    let before = outlook(&serving(0), &Plan::default(), END - S);
    assert_eq!((before.breaks, before.next), (Breaks::At(END), Some(END)));
}

#[test]
fn what_if() {
    let now = END - Span::days(100);
    let day = |n| END + Span::days(n);
    let coming = [Coming {
        release: 7,
        name: "storage/7".to_string(),
        version: 2,
        brings: [("all".to_string(), (day(300), fp(2))), ("us".to_string(), (day(200), fp(3)))].into(),
        arrives: [("eu".to_string(), Some(day(-10))), ("asia".to_string(), Some(day(3))), ("mars".to_string(), None)].into(),
        elsewhere: day(-5),
    }];
    let with = |change: &dyn Fn(&mut WhatIf), region: &str| {
        let mut what = WhatIf::default();
        change(&mut what);
        outlook(&serving(0), &what.plan(region, &coming, false), now).breaks
    };
    let delay = |days| move |w: &mut WhatIf| w.delays = [(7, Span::days(days))].into();
    assert_eq!(with(&|_| (), "eu"), Breaks::At(day(300)));
    assert_eq!(with(&|_| (), "us"), Breaks::At(day(200)), "what is for the region goes before what is for all");
    assert_eq!(with(&|_| (), "asia"), Breaks::At(END), "its stage comes too late");
    assert_eq!(with(&|_| (), "mars"), Breaks::At(END), "it was cancelled there");
    assert_eq!(with(&|_| (), ""), Breaks::At(day(300)));
    assert_eq!(with(&delay(9), "eu"), Breaks::At(day(300)));
    assert_eq!(with(&delay(10), "eu"), Breaks::At(END));
    assert_eq!(with(&delay(5), "us"), Breaks::At(END));
    assert_eq!(with(&|w| w.cancelled = [7].into(), "eu"), Breaks::At(END));
    let silence = |w: &mut WhatIf| w.silenced = ["eu".to_string()].into();
    assert_eq!(with(&silence, "eu"), Breaks::At(END));
    assert_eq!(with(&silence, "us"), Breaks::At(day(200)));
    let mut silent = WhatIf::default();
    silence(&mut silent);
    assert!(!silent.plan("eu", &[], true).automatic && silent.plan("us", &[], true).automatic);
}

fn region(breaks: Breaks, about: u8, served_until: Time) -> Region {
    let outlook = Outlook { breaks, about: Some(fp(about)), position: Some(0), rests_on: None, missed: None, next: None };
    Region { outlook, served_until: Some(served_until), unknown: false, self_renewing: false }
}

#[test]
fn a_break_that_enters_the_forecast_stands_until_it_is_another() {
    let now = END - Span::days(300);
    let later = END + Span::days(365);
    let first = remember(None, &region(Breaks::At(later), 2, END), now);
    assert_eq!(first.breach, None, "the first forecast is no news");
    let entered = remember(Some(&first), &region(Breaks::At(END), 1, END), now + S);
    assert_eq!(entered.breach.as_ref().and_then(|b| b.instead_of), Some(later));
    let stays = remember(Some(&entered), &region(Breaks::At(END), 1, END), now + Span::days(9));
    assert_eq!(stays.breach, entered.breach);
    let better = remember(Some(&stays), &region(Breaks::At(END + S), 2, END), now + Span::days(10));
    assert_eq!(better.breach, None);
    let again = remember(Some(&better), &region(Breaks::At(END), 1, END), now + Span::days(11));
    assert!(again.breach.is_some());
    // Another certificate at the same second is another forecast, and no earlier break.
    assert_eq!(remember(Some(&again), &region(Breaks::At(END), 4, END), now + Span::days(12)).breach, None);
}

#[test]
fn what_is_no_news() {
    let now = END - Span::days(300);
    let later = END + Span::days(365);
    let old = remember(None, &region(Breaks::At(later), 2, END), now);
    let enters = |before: &Remembered, is: &Region, at: Time| remember(Some(before), is, at).breach.is_some();
    let is = region(Breaks::At(END), 1, END);
    assert!(enters(&old, &is, now + S));
    assert!(!enters(&old, &region(Breaks::At(later), 1, END), now + S), "at the same second");
    assert!(enters(&old, &region(Breaks::At(later - S), 1, END), now + S));
    assert!(!enters(&old, &region(Breaks::Now, 1, END), now + S), "what is broken has an incident");
    let never = Remembered { breaks_at: None, ..old.clone() };
    assert!(enters(&never, &is, now + S));
    // A renewal that is under way or overdue has a finding of its own; one that was undone has none.
    let own = Region { self_renewing: true, ..is.clone() };
    assert!(!enters(&never, &own, now + S));
    assert!(enters(&never, &Region { served_until: Some(END - S), ..own }, now + S));
    // While the region's targets are looked at for the first time.
    let unsettled = Remembered { unknown: true, ..old };
    for (after, wanted) in [(SETTLES_WITHIN - S, false), (SETTLES_WITHIN, true), (SETTLES_WITHIN + S, true)] {
        assert_eq!(enters(&unsettled, &is, now + after), wanted, "{after} after the first forecast");
    }
}

#[test]
fn since_when_it_is_broken_does_not_move() {
    let r = region(Breaks::Now, 1, END);
    let first = remember(None, &r, END + S);
    assert_eq!(first.breaks_at, Some(END + S));
    assert_eq!(remember(Some(&first), &r, END + Span::days(1)).breaks_at, Some(END + S));
    let ended = remember(Some(&remember(None, &region(Breaks::At(END), 1, END), END - S)), &r, END);
    assert_eq!(ended.breaks_at, Some(END));
}

#[test]
fn regions_that_break_together_are_told_together() {
    let now = END - Span::days(300);
    let breach = |about: u8, until: Time| {
        let first = remember(None, &region(Breaks::Never, about, END), now);
        remember(Some(&first), &region(Breaks::At(until), about, END), now + S)
    };
    let quiet = remember(None, &region(Breaks::At(END), 1, END), now);
    let regions = [
        ("asia".to_string(), breach(1, END)),
        ("eu".to_string(), breach(1, END)),
        ("us".to_string(), breach(2, END + S)),
        ("spare".to_string(), quiet),
    ];
    let told = standing(&regions);
    let keys: Vec<_> = told.iter().map(|e| e.key.clone()).collect();
    assert_eq!(
        keys,
        [
            alloc::format!("forecast-breach/{}/2033-05-18T03:33:20Z", fp(1)),
            alloc::format!("forecast-breach/{}/2033-05-18T03:33:21Z", fp(2))
        ]
    );
    assert_eq!(
        told[0].detail,
        "as things are planned now, production breaks 2033-05-18T03:33:20Z in asia, eu, when the leaf ends; nothing was to break before; \
         nothing is planned that would save it"
    );
}
