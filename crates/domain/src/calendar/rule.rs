//! Recurrence rules as iCalendar writes them (RFC 5545 §3.3.10): read here, evaluated in [`super::recur`].
//!
//! Days are what a calendar of releases is about, so rules whose period is shorter than a day, rules that set a time of day (it is that
//! of `start`) and rules by number of week or day of the year are refused by name, with what to write instead.

use super::{
    civil,
    weekly::weekday,
    zone::{Zone, days_between, later},
};
use crate::Time;
use alloc::{format, string::String, vec::Vec};
use jiff::civil::{Date, DateTime, Weekday};
use pki::text::escape;

/// Longest rule, in bytes.
pub const MAX_RULE_BYTES: usize = 1_000;
/// Largest `INTERVAL`.
pub const MAX_INTERVAL: i64 = 1_000;
/// Largest `COUNT`.
pub const MAX_COUNT: i64 = 10_000;
/// Most items of `BYMONTHDAY`, `BYDAY` or `BYSETPOS`.
pub const MAX_ITEMS: usize = 100;
/// A rule that does not occur for so many years has ended; one that does not occur in so many years after its start never will.
pub const MAX_SILENT_YEARS: i16 = 100;
/// Most periods that are gone through to find where a `COUNT` ends.
pub const MAX_COUNTED_PERIODS: usize = 20_000;

/// How long a period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Every {
    Day,
    Week,
    Month,
    Year,
}

/// When a rule stops; that moment still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    Never,
    Civil(DateTime),
    Instant(i64),
}

/// A rule with its start. It occurs at the start's time of day, on the days at or after the start that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) start: DateTime,
    pub(super) every: Every,
    pub(super) interval: i64,
    /// Bits 1 to 12; none is all.
    pub(super) months: u16,
    /// 1 to 31, or from the end -1 to -31.
    pub(super) month_days: Vec<i8>,
    /// Which one in the month or year (0 all, -1 the last), and the day.
    pub(super) days: Vec<(i16, Weekday)>,
    /// Which of a period's days, from the front or, negative, from the end.
    pub(super) positions: Vec<i16>,
    pub(super) week_start: Weekday,
    pub(super) until: Until,
}

/// What to write instead of what is not supported.
const REFUSED: [(&str, &str); 9] = [
    ("BYSECOND", "the time of day is that of start; leave it out"),
    ("BYMINUTE", "the time of day is that of start; leave it out"),
    ("BYHOUR", "the time of day is that of start; leave it out, and write another entry for another hour"),
    ("BYYEARDAY", "write BYMONTH with BYMONTHDAY"),
    ("BYWEEKNO", "write FREQ=WEEKLY with INTERVAL, or BYMONTH with BYDAY"),
    ("BYEASTER", "no rule knows Easter; write the range of each year"),
    ("RSCALE", "only the Gregorian calendar is known; leave it out"),
    ("SKIP", "days that a month does not have are left out; for its last day write BYMONTHDAY=-1"),
    ("DTSTART", "write it as start"),
];

impl Rule {
    /// Reads a rule.
    pub(super) fn parse(start: DateTime, text: &str) -> Result<Rule, String> {
        if text.len() > MAX_RULE_BYTES {
            return Err(format!("a rule has at most {MAX_RULE_BYTES} characters"));
        }
        let upper = text.trim().to_ascii_uppercase();
        if upper.starts_with("RRULE") {
            return Err(String::from("write the rule alone, without RRULE:"));
        }
        let mut every = None;
        let (mut count, mut until) = (None, Until::Never);
        let mut rule = Rule {
            start,
            until,
            every: Every::Day,
            interval: 1,
            months: 0,
            month_days: Vec::new(),
            days: Vec::new(),
            positions: Vec::new(),
            week_start: Weekday::Monday,
        };
        let mut seen: Vec<&str> = Vec::new();
        for part in upper.split(';') {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("\"{}\" is no part of a rule; write parts like FREQ=MONTHLY between semicolons", escape(part)));
            };
            if seen.contains(&name) {
                return Err(format!("{} stands twice; leave one out", escape(name)));
            }
            seen.push(name);
            match name {
                "FREQ" => every = Some(frequency(value)?),
                "INTERVAL" => rule.interval = number(name, value, 1, MAX_INTERVAL)?,
                "COUNT" => count = Some(number(name, value, 1, MAX_COUNT)?),
                "UNTIL" => until = self::until(value)?,
                "BYMONTH" => {
                    for month in numbers(name, value, 12, false)? {
                        rule.months |= 1 << month;
                    }
                }
                "BYMONTHDAY" => {
                    rule.month_days = numbers(name, value, 31, true)?.into_iter().filter_map(|n| i8::try_from(n).ok()).collect()
                }
                "BYSETPOS" => rule.positions = numbers(name, value, 366, true)?,
                "BYDAY" => rule.days = days(value)?,
                "WKST" => rule.week_start = two_letters(value).ok_or_else(|| not("WKST", value, "write a day such as WKST=MO"))?,
                other => return Err(unknown(other)),
            }
        }
        rule.every = every.ok_or("FREQ is missing; write FREQ=DAILY, FREQ=WEEKLY, FREQ=MONTHLY or FREQ=YEARLY")?;
        if count.is_some() && until != Until::Never {
            // RFC 5545 §3.3.10: both MUST NOT occur in the same rule.
            return Err(String::from("COUNT and UNTIL exclude each other; leave one out"));
        }
        rule.fits()?;
        rule.fill_from_start();
        rule.ends(count, until)?;
        Ok(rule)
    }

    /// Whether the parts go together (the table of RFC 5545 §3.3.10).
    fn fits(&self) -> Result<(), String> {
        let in_days = !self.month_days.is_empty() || !self.days.is_empty();
        if self.every == Every::Week && !self.month_days.is_empty() {
            return Err(String::from("BYMONTHDAY does not go with FREQ=WEEKLY; write FREQ=MONTHLY"));
        }
        if matches!(self.every, Every::Week | Every::Day) && self.days.iter().any(|(which, _)| *which != 0) {
            return Err(String::from(
                "BYDAY with a number, such as 2MO, goes with FREQ=MONTHLY and FREQ=YEARLY alone; leave the number out",
            ));
        }
        if self.every == Every::Month && self.days.iter().any(|(which, _)| which.abs() > 5) {
            return Err(String::from("no month has more than five weeks; BYDAY counts from 1 to 5, or from -1 to -5"));
        }
        if !self.positions.is_empty() && !in_days && self.months == 0 {
            // RFC 5545 §3.3.10: BYSETPOS MUST only be used in conjunction with another BYxxx rule part.
            return Err(String::from("BYSETPOS chooses from the days of another part; add BYDAY, BYMONTHDAY or BYMONTH"));
        }
        Ok(())
    }

    /// What the rule does not say comes from the start (RFC 5545 §3.3.10).
    fn fill_from_start(&mut self) {
        if !self.month_days.is_empty() || !self.days.is_empty() {
            return;
        }
        match self.every {
            Every::Day => {}
            Every::Week => self.days.push((0, self.start.weekday())),
            Every::Month | Every::Year => {
                self.month_days.push(self.start.day());
                if self.every == Every::Year && self.months == 0 {
                    self.months = 1 << self.start.month();
                }
            }
        }
    }

    /// Puts the last occurrence in the place of a count, and refuses what never occurs.
    fn ends(&mut self, count: Option<i64>, until: Until) -> Result<(), String> {
        let mut days = self.days_from(self.start.date());
        let Some(first) = days.next() else {
            return Err(format!("it never occurs in the {MAX_SILENT_YEARS} years after its start; is there such a day?"));
        };
        let before_it_begins = match until {
            Until::Never => false,
            Until::Civil(end) => first.to_datetime(self.start.time()) > end,
            // The zone is not known here; no two zones are further apart than this.
            Until::Instant(end) => days_between(Zone::UTC.civil(end).date(), first) > 1,
        };
        if before_it_begins {
            return Err(format!("UNTIL lies before the first occurrence on {first}"));
        }
        let Some(count) = count else {
            self.until = until;
            return Ok(());
        };
        let mut last = first;
        for _ in 1..count {
            match days.next() {
                Some(day) => last = day,
                None => break,
            }
            if days.periods() > MAX_COUNTED_PERIODS {
                return Err(format!("COUNT={count} reaches beyond {last}; write UNTIL with the day on which it ends"));
            }
        }
        self.until = Until::Civil(last.to_datetime(self.start.time()));
        Ok(())
    }

    /// The number of the period that a day lies in, counted from the one of the start.
    pub(super) fn period_of(&self, day: Date) -> i64 {
        let start = self.start.date();
        let month = |d: Date| i64::from(d.year()) * 12 + i64::from(d.month());
        match self.every {
            Every::Day => days_between(start, day),
            Every::Week => days_between(self.week_of(start), self.week_of(day)) / 7,
            Every::Month => month(day) - month(start),
            Every::Year => i64::from(day.year()) - i64::from(start.year()),
        }
    }

    /// The first day of the week that a day lies in.
    pub(super) fn week_of(&self, day: Date) -> Date {
        later(day, -i64::from(day.weekday().since(self.week_start))).unwrap_or(Date::MIN)
    }
}

fn not(name: &str, value: &str, how: &str) -> String {
    format!("{name}={} is not possible; {how}", escape(value))
}

fn unknown(name: &str) -> String {
    let how = REFUSED.iter().find(|(refused, _)| *refused == name).map(|(_, how)| *how);
    let name = escape(name);
    match how {
        Some(how) => format!("{name} is not supported: {how}"),
        None => {
            format!("{name} is no part of a rule; possible are FREQ, INTERVAL, COUNT, UNTIL, BYMONTH, BYMONTHDAY, BYDAY, BYSETPOS and WKST")
        }
    }
}

fn frequency(value: &str) -> Result<Every, String> {
    match value {
        "DAILY" => Ok(Every::Day),
        "WEEKLY" => Ok(Every::Week),
        "MONTHLY" => Ok(Every::Month),
        "YEARLY" => Ok(Every::Year),
        "SECONDLY" | "MINUTELY" | "HOURLY" => {
            Err(format!("FREQ={value} is not supported: nothing is planned more often than daily; write FREQ=DAILY, several if need be"))
        }
        _ => Err(not("FREQ", value, "write DAILY, WEEKLY, MONTHLY or YEARLY")),
    }
}

fn number(name: &str, value: &str, least: i64, most: i64) -> Result<i64, String> {
    let digits = !value.is_empty() && value.len() <= 9 && value.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| value.parse::<i64>().ok()).flatten().filter(|n| (least..=most).contains(n));
    number.ok_or_else(|| not(name, value, &format!("write a number from {least} to {most}")))
}

/// Numbers from 1 on; from the end too where `signed`.
fn numbers(name: &str, value: &str, most: i64, signed: bool) -> Result<Vec<i16>, String> {
    let mut found = Vec::new();
    for item in value.split(',') {
        let (negative, digits) = sign(item);
        if negative && !signed {
            return Err(not(name, item, &format!("write a number from 1 to {most}")));
        }
        let n = number(name, digits, 1, most)?;
        let n = i16::try_from(if negative { -n } else { n }).unwrap_or_default();
        if found.contains(&n) {
            return Err(format!("{name}: {n} stands twice; leave one out"));
        }
        found.push(n);
    }
    limited(name, found)
}

fn limited<T>(name: &str, found: Vec<T>) -> Result<Vec<T>, String> {
    if found.len() > MAX_ITEMS { Err(format!("{name} has at most {MAX_ITEMS} items")) } else { Ok(found) }
}

fn sign(item: &str) -> (bool, &str) {
    match item.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, item.strip_prefix('+').unwrap_or(item)),
    }
}

fn two_letters(word: &str) -> Option<Weekday> {
    super::weekly::DAYS.iter().find(|(name, _)| word.len() == 2 && name[..2].eq_ignore_ascii_case(word)).and_then(|(name, _)| weekday(name))
}

fn days(value: &str) -> Result<Vec<(i16, Weekday)>, String> {
    let mut found = Vec::new();
    for item in value.split(',') {
        let wrong = || not("BYDAY", item, "write days such as MO, 2TU or -1FR");
        let at = item.len().checked_sub(2).filter(|at| item.is_char_boundary(*at)).ok_or_else(wrong)?;
        let (which, day) = item.split_at(at);
        let day = two_letters(day).ok_or_else(wrong)?;
        let which = match sign(which) {
            (_, "") if which.is_empty() => 0,
            (negative, digits) => {
                let n = number("BYDAY", digits, 1, 53).map_err(|_| wrong())?;
                i16::try_from(if negative { -n } else { n }).unwrap_or_default()
            }
        };
        if found.contains(&(which, day)) {
            return Err(format!("BYDAY: {} stands twice; leave one out", escape(item)));
        }
        found.push((which, day));
    }
    limited("BYDAY", found)
}

/// `20270131` (to the end of that day), `20270131T100000` on the wall, or `20270131T100000Z` in UTC.
fn until(value: &str) -> Result<Until, String> {
    let wrong = || not("UNTIL", value, "write a day like 20270131, or a moment like 20270131T100000Z that exists");
    if !value.is_ascii() || value.len() < 8 {
        return Err(wrong());
    }
    let day = format!("{}-{}-{}", &value[..4], &value[4..6], &value[6..8]);
    let civil = match value.get(8..).unwrap_or_default().trim_end_matches('Z') {
        "" if value.len() == 8 => return civil::day(&day).map(|d| Until::Civil(d.at(23, 59, 59, 0))).ok_or_else(wrong),
        clock if clock.len() == 7 && clock.starts_with('T') => format!("{day}T{}:{}:{}", &clock[1..3], &clock[3..5], &clock[5..7]),
        _ => return Err(wrong()),
    };
    match value.len() {
        15 => civil::moment_with_seconds(&civil).map(Until::Civil).ok_or_else(wrong),
        16 => Time::parse(&(civil + "Z")).map(|t| Until::Instant(t.unix())).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_rule_is_said_by_name() {
        let start = civil::read("2026-01-31T10:00").map_err(drop);
        for (rule, says) in [
            ("", "\"\" is no part of a rule; write parts like FREQ=MONTHLY between semicolons"),
            ("INTERVAL=2", "FREQ is missing"),
            ("FREQ=MONTHLY;", "\"\" is no part of a rule"),
            ("RRULE:FREQ=DAILY", "without RRULE:"),
            ("FREQ=HOURLY", "FREQ=HOURLY is not supported: nothing is planned more often than daily"),
            ("FREQ=FORTNIGHTLY", "FREQ=FORTNIGHTLY is not possible; write DAILY, WEEKLY, MONTHLY or YEARLY"),
            ("FREQ=YEARLY;BYWEEKNO=20", "BYWEEKNO is not supported: write FREQ=WEEKLY with INTERVAL"),
            ("FREQ=YEARLY;BYYEARDAY=100", "BYYEARDAY is not supported: write BYMONTH with BYMONTHDAY"),
            ("FREQ=DAILY;BYHOUR=9", "BYHOUR is not supported: the time of day is that of start"),
            ("FREQ=DAILY;FREQ=DAILY", "FREQ stands twice"),
            ("FREQ=DAILY;COLOUR=RED", "COLOUR is no part of a rule; possible are FREQ, INTERVAL"),
            ("FREQ=DAILY;\u{1b}[31m=1", "\\u{1b}[31M is no part of a rule"),
            ("FREQ=DAILY;INTERVAL=0", "INTERVAL=0 is not possible; write a number from 1 to 1000"),
            ("FREQ=DAILY;INTERVAL=1001", "from 1 to 1000"),
            ("FREQ=DAILY;COUNT=10001", "from 1 to 10000"),
            ("FREQ=DAILY;COUNT=99999999999999999999", "from 1 to 10000"),
            ("FREQ=DAILY;COUNT=2;UNTIL=20270101", "COUNT and UNTIL exclude each other"),
            ("FREQ=DAILY;UNTIL=20270229", "UNTIL=20270229 is not possible"),
            ("FREQ=DAILY;UNTIL=2027-01-01", "UNTIL=2027-01-01 is not possible"),
            ("FREQ=DAILY;UNTIL=20270101T250000Z", "is not possible"),
            ("FREQ=DAILY;UNTIL=20270101ZZZ", "is not possible"),
            ("FREQ=DAILY;UNTIL=20260130", "UNTIL lies before the first occurrence on 2026-01-31"),
            ("FREQ=DAILY;UNTIL=20260131T095959", "UNTIL lies before the first occurrence"),
            ("FREQ=YEARLY;BYMONTH=13", "BYMONTH=13 is not possible; write a number from 1 to 12"),
            ("FREQ=YEARLY;BYMONTH=-1", "BYMONTH=-1 is not possible"),
            ("FREQ=YEARLY;BYMONTH=1,1", "BYMONTH: 1 stands twice"),
            ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY=0 is not possible"),
            ("FREQ=MONTHLY;BYMONTHDAY=-32", "BYMONTHDAY=32 is not possible; write a number from 1 to 31"),
            ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY does not go with FREQ=WEEKLY"),
            ("FREQ=WEEKLY;BYDAY=2MO", "BYDAY with a number"),
            ("FREQ=MONTHLY;BYDAY=6MO", "no month has more than five weeks"),
            ("FREQ=MONTHLY;BYDAY=MONDAY", "BYDAY=MONDAY is not possible; write days such as MO, 2TU or -1FR"),
            ("FREQ=MONTHLY;BYDAY=0MO", "BYDAY=0MO is not possible"),
            ("FREQ=MONTHLY;BYDAY=-MO", "BYDAY=-MO is not possible"),
            ("FREQ=MONTHLY;BYDAY=é", "BYDAY="),
            ("FREQ=MONTHLY;BYDAY=", "BYDAY= is not possible"),
            ("FREQ=MONTHLY;BYDAY=MO,MO", "BYDAY: MO stands twice"),
            ("FREQ=WEEKLY;WKST=XX", "WKST=XX is not possible"),
            ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS chooses from the days of another part"),
            ("FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30", "it never occurs in the 100 years after its start"),
            ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "it never occurs"),
            ("FREQ=YEARLY;BYDAY=-54MO", "is not possible"),
            ("FREQ=DAILY;INTERVAL=1000;COUNT=10000", ""),
        ] {
            let found = start.map(|s| Rule::parse(s.moment(), rule).err().unwrap_or_default()).unwrap_or_default();
            assert!(found.contains(says) && (says.is_empty() == found.is_empty()), "{rule}: {found}");
        }
    }
}
