//! Calendars, trains and partition rules: their form. What a rule means, and which zones there are, the server says.

use super::super::model::Fleet;
use super::super::place::Path;
use super::super::planning::{Freeze, Partition, Train};
use super::super::values::{Day, Period, quoted};
use super::super::{MAX_ALL_FREEZES, MAX_FREEZES, MAX_LIST, MAX_TEXT_BYTES};
use super::{Check, Names, is_name};

/// Longest time between the ends of two certificates that can be asked for, in days.
const MAX_DAYS_BETWEEN: u32 = 366;
/// Most releases per departure.
const MAX_CAPACITY: u32 = 10_000;
/// Most days on which nothing may end.
const MAX_DAYS: usize = 1_000;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

pub(super) fn planning(c: &mut Check, fleet: &Fleet, names: &Names<'_>) {
    let freezes: usize = fleet.calendars.iter().map(|calendar| calendar.freezes.len()).sum();
    if freezes > MAX_ALL_FREEZES {
        c.say(
            Path::default().key("calendar"),
            format!("{freezes} freezes in all calendars, more than {MAX_ALL_FREEZES}; write rules that recur"),
        );
    }
    for (i, calendar) in fleet.calendars.iter().enumerate() {
        let at = || Path::item("calendar", i);
        if calendar.zone.is_empty() || calendar.zone.len() > MAX_TEXT_BYTES {
            c.say(at().key("zone"), "a calendar needs its zone; add zone = \"Europe/Dublin\" or \"UTC\"");
        }
        if calendar.freezes.len() > MAX_FREEZES {
            c.say(at().key("freeze"), format!("a calendar has at most {MAX_FREEZES} freezes"));
        }
        for (j, f) in calendar.freezes.iter().enumerate().take(MAX_FREEZES) {
            freeze(c, f, &|| at().key("freeze").index(j));
        }
    }
    for (i, t) in fleet.trains.iter().enumerate() {
        train(c, names, t, &|| Path::item("train", i));
    }
    for (i, p) in fleet.partitions.iter().enumerate() {
        partition(c, p, &|| Path::item("partition", i));
    }
    for (i, s) in fleet.services.iter().enumerate() {
        let at = || Path::item("service", i);
        c.refer_if(s.calendar.as_ref(), "calendar", &names.calendars, || at().key("calendar"));
        c.refer_if(s.train.as_ref(), "train", &names.trains, || at().key("train"));
        c.refer_if(s.partition.as_ref(), "partition", &names.partitions, || at().key("partition"));
    }
    for (i, r) in fleet.regions.iter().enumerate() {
        let needs = || Path::item("region", i).key("needs");
        c.distinct(&r.needs, &needs);
        for (j, name) in r.needs.iter().enumerate().take(MAX_LIST) {
            if *name == r.name {
                c.say(needs().index(j), "a region always needs itself; leave it out");
            } else {
                c.refer(name, "region", &names.regions, || needs().index(j));
            }
        }
    }
    for (i, s) in fleet.secrets.iter().enumerate() {
        for (key, value) in [("validation", &s.validation), ("dns_provider", &s.dns_provider)] {
            if value.as_ref().is_some_and(|text| !is_name(text)) {
                c.say(Path::item("secret", i).key(key), "write a short word such as \"dns-01\"; letters, digits and . _ - : @ + *");
            }
        }
    }
}

fn freeze(c: &mut Check, f: &Freeze, at: &dyn Fn() -> Path) {
    if f.why.trim().is_empty() || f.why.len() > MAX_TEXT_BYTES {
        c.say(at().key("why"), "a freeze needs a reason that people can read; add why = \"…\"");
    }
    let once = f.from.is_some() || f.until.is_some();
    let recurring = [("start", f.start.is_some()), ("lasts", f.lasts.is_some()), ("rule", f.rule.is_some())];
    let said = recurring.iter().filter(|(_, said)| *said).count();
    match (once, f.weekly.is_some(), said) {
        (true, false, 0) if f.from.is_none() => c.say(at().key("from"), "from is missing; add the first day of the freeze"),
        (true, false, 0) | (false, true, 0) | (false, false, 3) => {}
        (false, false, 1 | 2) => {
            let missing: Vec<&str> = recurring.iter().filter(|(_, said)| !said).map(|(key, _)| *key).collect();
            let message = format!("a recurring freeze needs start, lasts and rule; add {}", missing.join(" and "));
            c.say(at(), message);
        }
        _ => c.say(at(), "a freeze is one of three: from with until, weekly, or start with lasts and rule; write one of them"),
    }
    if let (Some(from), Some(until)) = (f.from, f.until)
        && !from.is_before(until)
    {
        c.say(at().key("until"), format!("it ends before it begins ({from}); until is the first day or minute after the freeze"));
    }
}

fn train(c: &mut Check, names: &Names<'_>, t: &Train, at: &dyn Fn() -> Path) {
    c.refer_if(t.calendar.as_ref(), "calendar", &names.calendars, || at().key("calendar"));
    if t.rule.is_empty() || t.rule.len() > MAX_TEXT_BYTES {
        c.say(at().key("rule"), "a train needs its rule; add rule = \"FREQ=WEEKLY;INTERVAL=4\"");
    }
    within(c, Some(t.capacity), 1, MAX_CAPACITY, || at().key("capacity"));
}

fn partition(c: &mut Check, p: &Partition, at: &dyn Fn() -> Path) {
    if *p == (Partition { name: p.name.clone(), window: p.window, ..Partition::default() }) {
        c.say(at(), "nothing is asked for; add a rule such as one_region_per_certificate = true, or leave the partition out");
    }
    within(c, p.max_targets_per_certificate, 1, u32::MAX, || at().key("max_targets_per_certificate"));
    within(c, p.min_days_between, 1, MAX_DAYS_BETWEEN, || at().key("min_days_between"));
    within(c, p.max_share_percent, 1, 100, || at().key("max_share_percent"));
    if p.window.is_some_and(|w| w > Period::days(366)) {
        c.say(at().key("window"), "a window is at most 366d wide");
    }
    let on = || at().key("no_expiry_on");
    c.distinct(&p.no_expiry_on, &on);
    if p.no_expiry_on.len() > MAX_DAYS {
        c.say(on(), format!("at most {MAX_DAYS} days; a rule that recurs belongs into a freeze, with no_expiry_in_freeze = true"));
    }
    for (i, day) in p.no_expiry_on.iter().enumerate().take(MAX_DAYS) {
        if !DAYS.contains(&day.as_str()) && day.parse::<Day>().is_err() {
            c.say(on().index(i), format!("{} is not a day; write mon, tue, wed, thu, fri, sat, sun or \"2026-12-24\"", quoted(day)));
        }
    }
    if DAYS.iter().all(|day| p.no_expiry_on.iter().any(|listed| listed == day)) {
        c.say(on(), "every day is listed, so nothing could ever end; leave one day of the week out");
    }
}

fn within(c: &mut Check, number: Option<u32>, least: u32, most: u32, path: impl Fn() -> Path) {
    if number.is_some_and(|n| !(least..=most).contains(&n)) {
        c.say(path(), format!("write a number from {least} to {most}"));
    }
}
