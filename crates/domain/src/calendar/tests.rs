#![allow(clippy::unwrap_used, clippy::expect_used)]

mod naive;
mod rfc5545;

use super::*;
use alloc::{string::ToString, vec};

fn t(text: &str) -> Time {
    Time::parse(text).unwrap()
}

fn once(from: &str, until: Option<&str>) -> Freeze {
    Freeze { why: "once".into(), when: When::Range { from: from.into(), until: until.map(Into::into) } }
}

fn weekly(window: &str) -> Freeze {
    Freeze { why: "weekly".into(), when: When::Weekly(window.into()) }
}

fn recurring(start: &str, lasts: Span, rule: &str) -> Freeze {
    Freeze { why: "recurring".into(), when: When::Recurring { start: start.into(), lasts, rule: rule.into() } }
}

fn calendar(zone: &str, freezes: &[Freeze]) -> Calendar {
    Calendar::parse(zone, freezes).unwrap()
}

/// At -1, 0 and +1 s of both borders, with what is around them.
#[track_caller]
fn frozen_between(c: &Calendar, from: &str, until: &str) {
    let (from, until, s) = (t(from), t(until), Span::seconds(1));
    for (at, frozen) in [(from - s, false), (from, true), (from + s, true), (until - s - s, true), (until - s, true), (until, false)] {
        assert_eq!(c.is_frozen(at), frozen, "{at}");
        assert_eq!(c.frozen(at).map(|f| (f.from, f.until)), frozen.then_some((Some(from), Some(until))), "{at}");
        assert_eq!(c.latest_open(at), Some(if frozen { from - s } else { at }), "{at}");
        assert_eq!(c.next_open(at), Some(if frozen { until } else { at }), "{at}");
    }
}

#[test]
fn every_kind_of_freeze_in_its_zone() {
    for (zone, freeze, from, until) in [
        // Dublin calls summer its standard time and puts the clock *back* in winter (negative daylight saving).
        ("Europe/Dublin", once("2026-12-15", Some("2027-01-04")), "2026-12-15T00:00:00Z", "2027-01-04T00:00:00Z"),
        ("Europe/Dublin", once("2026-07-01T18:00", Some("2026-07-02")), "2026-07-01T17:00:00Z", "2026-07-01T23:00:00Z"),
        ("Europe/Dublin", weekly("fri 16:00 - mon 08:00"), "2026-03-27T16:00:00Z", "2026-03-30T07:00:00Z"),
        ("Europe/Dublin", weekly("sun 22:00 - mon 04:00"), "2026-10-25T22:00:00Z", "2026-10-26T04:00:00Z"),
        // 01:30 is skipped on 29 March and moves to 02:30; it comes twice on 25 October, and the first is meant.
        ("Europe/Dublin", weekly("sun 01:30 - sun 05:00"), "2026-03-29T01:30:00Z", "2026-03-29T04:00:00Z"),
        ("Europe/Dublin", weekly("sun 01:30 - sun 05:00"), "2026-10-25T00:30:00Z", "2026-10-25T05:00:00Z"),
        ("Europe/Dublin", weekly("sat 20:00 - sun 01:30"), "2026-10-24T19:00:00Z", "2026-10-25T00:30:00Z"),
        ("America/New_York", weekly("sun 02:30 - sun 04:00"), "2026-03-08T07:30:00Z", "2026-03-08T08:00:00Z"),
        ("America/New_York", weekly("sun 01:30 - sun 04:00"), "2026-11-01T05:30:00Z", "2026-11-01T09:00:00Z"),
        ("America/New_York", once("2026-03-08", Some("2026-03-09")), "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"),
        // A zone with half an hour, whose clock also changes by half an hour only.
        ("Australia/Lord_Howe", weekly("sun 02:15 - sun 06:00"), "2026-10-03T15:45:00Z", "2026-10-03T19:00:00Z"),
        ("Australia/Lord_Howe", weekly("sun 01:45 - sun 06:00"), "2026-04-04T14:45:00Z", "2026-04-04T19:30:00Z"),
        ("Asia/Kolkata", once("2026-11-01", Some("2026-11-02")), "2026-10-31T18:30:00Z", "2026-11-01T18:30:00Z"),
        // Whole days end at the same time on the wall, what is more is counted.
        ("Europe/Dublin", recurring("2026-03-28T12:00", Span::days(1), "FREQ=YEARLY"), "2026-03-28T12:00:00Z", "2026-03-29T11:00:00Z"),
        ("Europe/Dublin", recurring("2026-03-29T00:30", Span::hours(3), "FREQ=YEARLY"), "2026-03-29T00:30:00Z", "2026-03-29T03:30:00Z"),
        ("UTC", recurring("2024-02-29", Span::days(1), "FREQ=YEARLY"), "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
        ("UTC", recurring("2024-01-31", Span::days(1), "FREQ=MONTHLY;BYMONTHDAY=-1"), "2027-02-28T00:00:00Z", "2027-03-01T00:00:00Z"),
        // What is longer than its distance is one.
        ("UTC", recurring("2026-01-01", Span::days(9), "FREQ=WEEKLY;COUNT=3"), "2026-01-01T00:00:00Z", "2026-01-24T00:00:00Z"),
        // Beyond the tables of zones, of 32 bits, of two-digit years, and at the end of the calendar.
        ("Europe/Dublin", recurring("2026-01-19", Span::days(1), "FREQ=YEARLY"), "2038-01-19T00:00:00Z", "2038-01-20T00:00:00Z"),
        ("America/New_York", recurring("1990-12-31T23:00", Span::hours(2), "FREQ=YEARLY"), "2050-01-01T04:00:00Z", "2050-01-01T06:00:00Z"),
        ("Europe/Dublin", recurring("1990-07-04", Span::days(1), "FREQ=YEARLY"), "2049-07-03T23:00:00Z", "2049-07-04T23:00:00Z"),
        ("UTC", recurring("1996-02-28", Span::days(1), "FREQ=YEARLY"), "2100-02-28T00:00:00Z", "2100-03-01T00:00:00Z"),
        ("UTC", weekly("sat 00:00 - sun 24:00"), "9999-12-25T00:00:00Z", "9999-12-27T00:00:00Z"),
    ] {
        if from.starts_with("2100") {
            // 2100 is no leap year: the day after 28 February is 1 March.
            frozen_between(&calendar(zone, &[freeze]), from, "2100-03-01T00:00:00Z");
        } else {
            frozen_between(&calendar(zone, &[freeze]), from, until);
        }
    }
}

#[test]
fn leap_days_are_those_of_leap_years() {
    let c = calendar("UTC", &[recurring("2096-02-29", Span::days(1), "FREQ=YEARLY")]);
    for (at, frozen) in [
        ("2096-02-29T12:00:00Z", true),
        ("2097-02-28T12:00:00Z", false),
        ("2097-03-01T12:00:00Z", false),
        ("2100-02-28T12:00:00Z", false),
        ("2100-03-01T12:00:00Z", false),
        ("2104-02-29T12:00:00Z", true),
        ("2400-02-29T12:00:00Z", true),
        ("2092-02-29T12:00:00Z", false),
    ] {
        assert_eq!(c.is_frozen(t(at)), frozen, "{at}");
    }
}

#[test]
fn what_overlaps_or_touches_is_one_and_each_moment_has_its_reason() {
    let christmas = Freeze { why: "Christmas".into(), ..once("2026-12-15", Some("2027-01-02")) };
    let c = calendar("Europe/Dublin", &[christmas, weekly("fri 16:00 - mon 08:00"), once("2027-01-04T08:00", Some("2027-01-04T09:00"))]);
    // 11 to 14 December is a weekend that ends on Monday at eight; the next day Christmas begins.
    frozen_between(&c, "2026-12-15T00:00:00Z", "2027-01-04T09:00:00Z");
    let why = |at: &str| c.frozen(t(at)).unwrap().why;
    assert_eq!((why("2026-12-16T00:00:00Z"), why("2026-12-19T00:00:00Z")), ("Christmas".to_string(), "Christmas, weekly".to_string()));
    assert_eq!((why("2027-01-03T00:00:00Z"), why("2027-01-04T08:30:00Z")), ("weekly".to_string(), "once".to_string()));
    // Inside a window that began before a clock change that skips its end, nothing is left over.
    let skipped = calendar("Europe/Dublin", &[weekly("sun 01:10 - sun 02:05")]);
    assert!(!skipped.is_frozen(t("2026-03-29T01:07:00Z")) && skipped.is_frozen(t("2026-04-05T00:30:00Z")));
}

#[test]
fn what_never_ends_and_what_reaches_beyond_the_horizon() {
    let s = Span::seconds(1);
    let c = calendar("UTC", &[once("2026-12-15", None)]);
    let begins = t("2026-12-15T00:00:00Z");
    assert_eq!((c.next_open(begins - s), c.next_open(begins), c.latest_open(begins)), (Some(begins - s), None, Some(begins - s)));
    assert_eq!(c.latest_open(begins + FREEZE_HORIZON), Some(begins - s));
    assert_eq!(c.latest_open(begins + FREEZE_HORIZON + s), None);
    assert_eq!(c.latest_open(Time::NO_EXPIRY), None);
    let open = Calendar::open();
    assert_eq!(
        (open.latest_open(Time::NO_EXPIRY), open.next_open(Time::from_unix(i64::MIN))),
        (Some(Time::NO_EXPIRY), Some(Time::from_unix(i64::MIN)))
    );
    // Two windows that leave nothing open.
    let shut = calendar("Europe/Dublin", &[weekly("mon 00:00 - fri 24:00"), weekly("sat 00:00 - sun 24:00")]);
    assert_eq!((shut.latest_open(begins), shut.next_open(begins)), (None, None));
    // A hundred pieces a day take many steps, and few of time.
    let pieces: Vec<Freeze> =
        (0..96).rev().map(|n| recurring(&format!("2020-01-01T{:02}:{:02}", n / 4, n % 4 * 15), Span::minutes(15), "FREQ=DAILY")).collect();
    let shut = calendar("UTC", &pieces);
    assert_eq!(
        (shut.latest_open(t("2020-03-01T00:00:00Z")), shut.next_open(t("2020-01-01T00:00:00Z"))),
        (Some(t("2019-12-31T23:59:59Z")), None)
    );
}

#[test]
fn closed_days() {
    let c = calendar("Pacific/Auckland", &[once("2026-12-23", Some("2026-12-25")), weekly("wed 00:00 - wed 23:59")]);
    for (at, closed) in [
        ("2026-12-18T10:59:59Z", false), // Friday there
        ("2026-12-18T11:00:00Z", true),  // Saturday
        ("2026-12-20T10:59:59Z", true),  // Sunday
        ("2026-12-20T11:00:00Z", false), // Monday
        ("2026-12-15T12:00:00Z", false), // Wednesday, but for a minute
        ("2026-12-22T12:00:00Z", true),  // Wednesday, Christmas
        ("2026-12-24T10:59:59Z", true),
        ("2026-12-24T11:00:00Z", false),
    ] {
        assert_eq!(c.is_closed_day(t(at)), closed, "{at}");
    }
    assert_eq!(c.day(t("2026-12-24T11:00:00Z")), ("fri", "2026-12-25".to_string()));
}

#[test]
fn what_is_wrong_is_said_at_once_with_its_place() {
    let many = vec![weekly("sat 00:00 - sun 24:00"); MAX_FREEZES + 1];
    let wrong =
        [once("2026-12-15", Some("2026-12-15")), weekly("fri 16:00"), weekly("mon 00:00 - sun 24:00"), weekly("fri 16:00 - mon 24:01")];
    let more = [
        once("2026-02-29", None),
        recurring("2026-01-01", Span::ZERO, "FREQ=DAILY"),
        recurring("2026-01-01", MAX_LASTS + Span::seconds(1), "FREQ=DAILY"),
        recurring("2026-01-01T9:00", Span::days(1), "FREQ=DAILY"),
        recurring("2026-01-01", Span::days(1), "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30"),
        once("2026-03-29T01:10", Some("2026-03-29T02:05")),
    ];
    let all = [&wrong[..], &more[..]].concat();
    let said: Vec<String> =
        Calendar::problems("Dublin", &all).iter().map(|e| e.to_string().split(':').next().unwrap().to_string()).collect();
    let places =
        ["zone", "freeze[0].until", "freeze[1].weekly", "freeze[2].weekly", "freeze[3].weekly", "freeze[4].from", "freeze[5].lasts"];
    assert_eq!(said, [&places[..], &["freeze[6].lasts", "freeze[7].start", "freeze[8].rule"]].concat());
    // The skipped hour is known only where the zone is.
    assert_eq!(Calendar::problems("Europe/Dublin", &all).last().unwrap().freeze, Some(9));
    assert_eq!(Calendar::parse("UTC", &many).unwrap_err().to_string(), "freeze: a calendar has at most 100 freezes");
    for (zone, meant) in [
        ("Dublin", "did you mean \"Europe/Dublin\"?"),
        ("Europe/Dubln", "did you mean \"Europe/Dublin\"?"),
        ("new york", "did you mean \"America/New_York\"?"),
        ("+01:00", "write an IANA name"),
        ("Etc/Unknown", "no time zone"),
        ("\u{1b}[31m", "\\u{1b}[31m"),
        ("", "write an IANA name"),
    ] {
        let said = Calendar::parse(zone, &[]).unwrap_err();
        assert!(said.key == "zone" && said.message.contains(meant), "{said}");
    }
    for zone in ["UTC", "europe/dublin", "Europe/Dublin", "America/Argentina/ComodRivadavia"] {
        assert!(Calendar::parse(zone, &[]).is_ok(), "{zone}");
    }
}

#[test]
fn trains_leave_when_it_is_open() {
    let train = |start: &str, rule: &str| Train::parse(start, rule, 1).unwrap();
    let eu = calendar("Europe/Dublin", &[once("2026-12-15", Some("2027-01-04")), weekly("fri 16:00 - mon 08:00")]);
    let list = |train: &Train, c: &Calendar, from: &str, most: usize| {
        train.departures(c, t(from), most).iter().map(|d| d.to_string()[..16].to_string()).collect::<Vec<_>>().join(" ")
    };
    let monthly = train("2026-01-06T10:00", "FREQ=WEEKLY;INTERVAL=4");
    assert_eq!(list(&monthly, &eu, "2026-10-13T09:00:00Z", 3), "2026-10-13T09:00 2026-11-10T10:00 2026-12-08T10:00");
    assert_eq!(list(&monthly, &eu, "2026-10-13T09:00:01Z", 3), "2026-11-10T10:00 2026-12-08T10:00 2027-01-05T10:00");
    // Every two weeks: one departure falls into Christmas.
    let fortnight = train("2026-12-08T10:00", "FREQ=WEEKLY;INTERVAL=2");
    assert_eq!(list(&fortnight, &eu, "2026-01-01T00:00:00Z", 2), "2026-12-08T10:00 2027-01-05T10:00");
    assert_eq!(fortnight.widest_gap(&eu, t("2026-12-01T00:00:00Z"), Span::days(60)), Some(Span::days(28)));
    assert_eq!(fortnight.widest_gap(&eu, t("2027-01-06T00:00:00Z"), Span::days(60)), Some(Span::days(14)));
    // The wait for the first one counts too.
    assert_eq!(fortnight.widest_gap(&Calendar::open(), t("2026-10-09T10:00:00Z"), Span::days(90)), Some(Span::days(60)));
    // A train that ends, one that has no end, and one that no calendar lets go.
    let three = train("2026-01-06T10:00", "FREQ=DAILY;COUNT=3");
    assert_eq!(three.departures(&eu, t("2026-01-01T00:00:00Z"), 100).len(), 3);
    assert!(three.ends() && !monthly.ends());
    assert_eq!(three.widest_gap(&eu, t("2026-01-07T00:00:00Z"), Span::days(9)), None);
    assert_eq!(train("2026-01-06", "FREQ=DAILY").departures(&Calendar::open(), t("2026-01-01T00:00:00Z"), 4_000).len(), 4_000);
    assert_eq!(list(&train("2026-01-03T10:00", "FREQ=WEEKLY"), &eu, "2026-01-01T00:00:00Z", 5), "");
    assert_eq!(
        list(&train("2026-01-03T10:00", "FREQ=DAILY"), &calendar("UTC", &[once("2026-01-01", None)]), "2025-01-01T00:00:00Z", 5),
        ""
    );
    // Samoa had no 30 December 2011: what would have left then leaves with the next one.
    let samoa = calendar("Pacific/Apia", &[]);
    assert_eq!(
        list(&train("2011-12-28T12:00", "FREQ=DAILY;COUNT=5"), &samoa, "2011-01-01T00:00:00Z", 9),
        "2011-12-28T22:00 2011-12-29T22:00 2011-12-30T22:00 2011-12-31T22:00"
    );
    // 02:30 in New York, on the night without it.
    let night = train("2026-03-07T02:30", "FREQ=DAILY;COUNT=3");
    assert_eq!(
        list(&night, &calendar("America/New_York", &[]), "2026-01-01T00:00:00Z", 9),
        "2026-03-07T07:30 2026-03-08T07:30 2026-03-09T06:30"
    );
    for (start, rule, capacity, key) in [
        ("6 January", "FREQ=DAILY", 1, "start"),
        ("2026-01-06", "FREQ=HOURLY", 1, "rule"),
        ("2026-01-06", "FREQ=DAILY", 0, "capacity"),
        ("2026-01-06", "FREQ=DAILY", MAX_CAPACITY + 1, "capacity"),
    ] {
        assert_eq!(Train::parse(start, rule, capacity).unwrap_err().key, key);
    }
}

#[test]
fn the_last_days_of_the_calendar_do_not_overflow() {
    let c = calendar("Asia/Kolkata", &[recurring("9999-01-01", Span::days(300), "FREQ=MONTHLY"), weekly("thu 00:00 - fri 12:00")]);
    for at in ["9999-12-30T21:59:59Z", "9999-12-30T22:00:00Z", "9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z"] {
        let _ = (c.frozen(t(at)), c.latest_open(t(at)), c.next_open(t(at)), c.is_closed_day(t(at)));
    }
    let train = Train::parse("9999-12-28", "FREQ=DAILY", 1).unwrap();
    assert_eq!(train.departures(&Calendar::open(), t("9999-12-01T00:00:00Z"), 9).len(), 3);
}
