//! The calendar against one that goes through the minutes of two months, one by one.

use super::*;
use alloc::collections::BTreeSet;
use jiff::{
    Timestamp, ToSpan,
    civil::{Date, date},
    tz::{TimeZone, TimeZoneDatabase},
};
use proptest::prelude::*;

const ZONES: [&str; 6] = ["UTC", "Europe/Dublin", "America/New_York", "Australia/Lord_Howe", "Pacific/Auckland", "Asia/Kathmandu"];
/// The clocks of all these zones change in these months.
const FIRST: [Date; 3] = [date(2026, 3, 1), date(2026, 10, 1), date(2027, 9, 20)];
const DAYS: i64 = 60;
const MINUTES: usize = (DAYS * 24 * 60) as usize;

/// RFC 5545 §3.3.5 by trying: the earliest minute that shows this on the wall, else by the clock of before.
fn instant(zone: &TimeZone, civil: DateTime) -> i64 {
    let utc = civil.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second();
    let offset = |at: i64| i64::from(zone.to_offset(Timestamp::from_second(at).unwrap()).seconds());
    let (before, after) = (offset(utc - 86_400), offset(utc + 86_400));
    let shows = |at: &i64| zone.to_datetime(Timestamp::from_second(*at).unwrap()) == civil;
    [utc - before, utc - after].into_iter().filter(shows).min().unwrap_or(utc - before)
}

/// Days of the simple rules that are drawn below, by counting from the start.
fn days(start: Date, rule: &str, last: Date) -> BTreeSet<Date> {
    let (every, interval) = rule.split_once(";INTERVAL=").unwrap();
    let interval: i32 = interval.parse().unwrap();
    let mut found = BTreeSet::new();
    let (mut day, mut n) = (start, 0);
    while day <= last {
        found.insert(day);
        n += interval;
        day = start.checked_add(if every == "FREQ=DAILY" { n.days() } else { (7 * n).days() }).unwrap();
    }
    found
}

fn drawn() -> impl Strategy<Value = Freeze> {
    let clock = (0..24i64, 0..4i64).prop_map(|(h, m)| format!("{h:02}:{:02}", m * 15));
    let day = (0..80i64, 0..3usize).prop_map(|(n, epoch)| FIRST[epoch].checked_add((n - 10).days()).unwrap());
    prop_oneof![
        (day.clone(), clock.clone(), 1..20i64).prop_map(|(day, clock, days)| {
            once(&format!("{day}T{clock}"), Some(&format!("{}T{clock}", day.checked_add(days.days()).unwrap())))
        }),
        (0..7usize, clock.clone(), 0..7usize, clock.clone())
            .prop_filter("not a whole week", |(a, b, c, d)| (a, b) != (c, d))
            .prop_map(|(a, b, c, d)| weekly(&format!("{} {b} - {} {d}", weekly::DAYS[a].0, weekly::DAYS[c].0))),
        (day, clock, 1..3_000i64, prop_oneof![Just("FREQ=DAILY"), Just("FREQ=WEEKLY")], 2..9i32).prop_map(
            |(day, clock, minutes, every, n)| recurring(
                &format!("{day}T{clock}"),
                Span::minutes(minutes),
                &format!("{every};INTERVAL={n}")
            )
        ),
    ]
}

/// Each freeze as pairs of instants, over the months and a margin.
fn pieces(zone: &TimeZone, freeze: &Freeze, first: Date) -> Vec<(i64, i64)> {
    let (begin, last) = (first.checked_sub(40.days()).unwrap(), first.checked_add((DAYS + 40).days()).unwrap());
    let at = |text: &str| instant(zone, text.parse::<DateTime>().unwrap());
    match &freeze.when {
        When::Range { from, until } => vec![(at(from), at(until.as_deref().unwrap()))],
        When::Weekly(window) => {
            let words: Vec<&str> = window.split([' ', '-']).filter(|w| !w.is_empty()).collect();
            let number = |word: &str| weekly::DAYS.iter().position(|(name, _)| *name == word).unwrap() as i64;
            let ahead = (number(words[2]) - number(words[0])).rem_euclid(7);
            let ahead = if ahead == 0 && words[3] <= words[1] { 7 } else { ahead };
            begin
                .series(1.day())
                .take_while(|day| *day <= last)
                .filter(|day| i64::from(day.weekday().to_monday_zero_offset()) == number(words[0]))
                .map(|day| (at(&format!("{day}T{}", words[1])), at(&format!("{}T{}", day.checked_add(ahead.days()).unwrap(), words[3]))))
                .collect()
        }
        When::Recurring { start, lasts, rule } => {
            let start: DateTime = start.parse().unwrap();
            let (whole, more) = (lasts.as_secs() / 86_400, lasts.as_secs() % 86_400);
            let wall = |day: Date| instant(zone, day.to_datetime(start.time()));
            days(start.date(), rule, last).into_iter().map(|day| (wall(day), wall(day.checked_add(whole.days()).unwrap()) + more)).collect()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn it_agrees_minute_by_minute(zone in 0..ZONES.len(), epoch in 0..FIRST.len(), freezes in prop::collection::vec(drawn(), 0..4)) {
        let c = match Calendar::parse(ZONES[zone], &freezes) {
            Ok(c) => c,
            // A range of which a clock change leaves nothing.
            Err(e) => { prop_assert_eq!(e.key, "until"); return Ok(()); }
        };
        let tz = TimeZoneDatabase::bundled().get(ZONES[zone]).unwrap();
        let first = FIRST[epoch];
        let begins = first.to_datetime(jiff::civil::Time::midnight()).to_zoned(TimeZone::UTC).unwrap().timestamp().as_second();
        let mut shut = vec![false; MINUTES];
        for (from, until) in freezes.iter().flat_map(|f| pieces(&tz, f, first)) {
            for at in (from - begins) / 60..(until - begins) / 60 {
                if let Some(minute) = usize::try_from(at).ok().and_then(|at| shut.get_mut(at)) {
                    *minute = true;
                }
            }
        }
        for (n, frozen) in shut.iter().enumerate() {
            let at = Time::from_unix(begins + n as i64 * 60);
            let border = n > 0 && shut[n - 1] != *frozen;
            // Every minute takes a minute without optimisation; all borders, and some of what lies between them, take a second.
            if !border && n % 17 != 0 && shut.get(n + 1).is_none_or(|next| next == frozen) {
                continue;
            }
            prop_assert_eq!(c.is_frozen(at), *frozen, "{} in {}", at, ZONES[zone]);
            if border || n % 1_009 == 0 {
                let second = Span::seconds(1);
                prop_assert_eq!(c.is_frozen(at + Span::seconds(59)), *frozen);
                // What reaches beyond these months is not judged here.
                let before = if *frozen { shut[..n].iter().rposition(|f| !f).map(|m| Time::from_unix(begins + (m as i64 + 1) * 60) - second) } else { Some(at) };
                let after = if *frozen { shut[n..].iter().position(|f| !f).map(|m| Time::from_unix(begins + (n + m) as i64 * 60)) } else { Some(at) };
                if before.is_some() {
                    prop_assert_eq!(c.latest_open(at), before, "latest before {}", at);
                }
                if after.is_some() {
                    prop_assert_eq!(c.next_open(at), after, "next after {}", at);
                }
            }
        }
    }

    #[test]
    fn no_rule_makes_it_panic_or_stay(rule in "(FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY))(;(INTERVAL|COUNT|BYMONTH|BYMONTHDAY|BYDAY|BYSETPOS|WKST|UNTIL)=[-0-9MOTUWEHFRSA,]{0,9}){0,4}|\\PC{0,40}") {
        if let Ok(train) = Train::parse("2026-01-31T02:30", &rule, 1) {
            let c = Calendar::parse("Europe/Dublin", &[weekly("fri 16:00 - mon 08:00")]).unwrap();
            let found = train.departures(&c, Time::EPOCH, 20);
            prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(found.iter().all(|at| !c.is_frozen(*at)));
        }
    }
}
