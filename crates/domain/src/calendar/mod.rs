//! When nothing ships, and when releases leave. The one place where a time on the wall becomes an instant.
//!
//! All of a [`Calendar`] is written in the time of its zone. Two nights of a year are odd there: a moment that a clock change skips
//! counts by the clock before the change, and so *moves forward* (02:30 becomes 03:30); of a moment that comes twice, *the first* is
//! meant (RFC 5545 §3.3.5). A freeze of which nothing is left by that, because it lay inside the skipped hour, is empty that night.
//! Whole days of a recurring freeze end at the same time on the wall, what `lasts` names besides is counted in seconds
//! (RFC 5545 §3.3.6). 29 February occurs in leap years alone. The zones are compiled in and no file of the machine is read.
//!
//! Everything is looked up around the moment that is asked for, never counted from the beginning, so a freeze of 1990 costs what one of
//! last week does; [`FREEZE_HORIZON`] and [`MAX_LOOKS`] bound what is merged.

mod civil;
mod recur;
mod rule;
mod train;
mod weekly;
mod zone;

pub use rule::{MAX_COUNT, MAX_COUNTED_PERIODS, MAX_INTERVAL, MAX_ITEMS, MAX_RULE_BYTES, MAX_SILENT_YEARS};
pub use train::{MAX_CAPACITY, MAX_DEPARTURES, Train};

use crate::{Span, Time};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;
use jiff::civil::{DateTime, Weekday};
use rule::Rule;
use weekly::Weekly;
use zone::{Zone, days_between, later, midnight};

/// Most freezes of a calendar.
pub const MAX_FREEZES: usize = 100;
/// How far a freeze is followed back or ahead; what reaches further has no known beginning or end.
pub const FREEZE_HORIZON: Span = Span::days(3_653);
/// Longest `lasts` of a recurring freeze.
pub const MAX_LASTS: Span = Span::days(366);
/// How often freezes are looked up, in each direction, to merge what overlaps or touches; a freeze of more pieces has no known beginning or
/// end. Enough for three declared freezes that touch day after day for ten years.
pub const MAX_LOOKS: usize = 50_000;
/// Most freezes in a row that a train is followed through without a departure.
pub const MAX_SKIPPED_FREEZES: usize = 1_000;

/// The last second that the calendar library knows in every zone, 9999-12-30T22:00:00Z.
const LAST: i64 = 253_402_207_200;

/// A freeze as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// What people read: `Christmas`.
    pub why: String,
    /// When.
    pub when: When,
}

/// When a freeze is, in the time of the calendar's zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Once.
    Range {
        /// The first day (`2026-12-15`) or minute (`2026-12-15T18:00`) of it.
        from: String,
        /// The first day or minute after it; none for a freeze that never ends.
        until: Option<String>,
    },
    /// Every week: `fri 16:00 - mon 08:00`.
    Weekly(String),
    /// By a rule.
    Recurring {
        /// From when on it recurs: a day or a minute; the minute is when each begins.
        start: String,
        /// How long each is; whole days are days on the wall. At most [`MAX_LASTS`].
        lasts: Span,
        /// An `RRULE` (RFC 5545 §3.3.10) of whole days.
        rule: String,
    },
}

/// What is wrong with a calendar or a train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarError {
    /// Which freeze, from 0; none where it is not about one.
    pub freeze: Option<usize>,
    /// The key that is wrong: `zone`, `from`, `until`, `weekly`, `start`, `lasts`, `rule`, `capacity`, or `freeze` for all of them.
    pub key: &'static str,
    /// What is wrong and what to write instead; texts in it are escaped.
    pub message: String,
}

impl CalendarError {
    fn of(key: &'static str, message: impl Into<String>) -> CalendarError {
        CalendarError { freeze: None, key, message: message.into() }
    }
}

impl fmt::Display for CalendarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.freeze {
            Some(n) => write!(f, "freeze[{n}].{}: {}", self.key, self.message),
            None => write!(f, "{}: {}", self.key, self.message),
        }
    }
}

impl core::error::Error for CalendarError {}

/// A freeze around a moment, merged with whatever overlaps or touches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Its first second; none where it reaches back beyond [`FREEZE_HORIZON`].
    pub from: Option<Time>,
    /// The first second after it; none where it reaches ahead beyond [`FREEZE_HORIZON`], or never ends.
    pub until: Option<Time>,
    /// What the freezes at that very moment are called.
    pub why: String,
}

/// A zone, and when nothing ships there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    zone: Zone,
    freezes: Vec<(String, Closed)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Closed {
    /// In seconds; the end is `i64::MAX` where there is none.
    Once(i64, i64),
    Weekly(Weekly),
    /// Days on the wall, and seconds besides.
    Recurring(Rule, i64, i64),
}

impl Default for Calendar {
    fn default() -> Calendar {
        Calendar::open()
    }
}

impl Calendar {
    /// Never frozen; its days are those of UTC.
    pub const fn open() -> Calendar {
        Calendar { zone: Zone::UTC, freezes: Vec::new() }
    }

    /// A calendar from what was written.
    ///
    /// # Errors
    /// The first of the [problems](Calendar::problems).
    pub fn parse(zone: &str, freezes: &[Freeze]) -> Result<Calendar, CalendarError> {
        read(zone, freezes).map_err(|mut problems| problems.swap_remove(0))
    }

    /// All that is wrong with a calendar, in its order: an unknown zone, a date, window or rule that is none or never occurs, a freeze
    /// that ends before it begins, too many of them.
    pub fn problems(zone: &str, freezes: &[Freeze]) -> Vec<CalendarError> {
        read(zone, freezes).err().unwrap_or_default()
    }

    /// Whether it has any freeze.
    pub fn has_freezes(&self) -> bool {
        !self.freezes.is_empty()
    }

    /// The freeze that lies around `at`.
    pub fn frozen(&self, at: Time) -> Option<Frozen> {
        let at = at.unix().min(LAST);
        let (mut from, mut until) = self.around(at)?;
        let why: Vec<&str> = self.freezes.iter().filter(|(_, c)| c.around(&self.zone, at).is_some()).map(|(why, _)| why.as_str()).collect();
        let horizon = FREEZE_HORIZON.as_secs();
        let mut looks = 0;
        while looks <= MAX_LOOKS && from >= at - horizon {
            match self.reach(from - 1) {
                Some((earlier, _)) => from = earlier,
                None => break,
            }
            looks += 4 * self.freezes.len();
        }
        let begins = (looks <= MAX_LOOKS && from >= at - horizon).then(|| Time::from_unix(from));
        looks = 0;
        while looks <= MAX_LOOKS && until <= at + horizon {
            match self.reach(until) {
                Some((_, later)) => until = later,
                None => break,
            }
            looks += 4 * self.freezes.len();
        }
        let ends = (looks <= MAX_LOOKS && until <= at + horizon).then(|| Time::from_unix(until));
        Some(Frozen { from: begins, until: ends, why: why.join(", ") })
    }

    /// Whether nothing ships at `at`; cheaper than [`Calendar::frozen`].
    pub fn is_frozen(&self, at: Time) -> bool {
        self.around(at.unix().min(LAST)).is_some()
    }

    /// `at` where it is open, else the last second before the freeze; none where it is frozen back beyond [`FREEZE_HORIZON`].
    pub fn latest_open(&self, at: Time) -> Option<Time> {
        match self.frozen(at) {
            None => Some(at),
            Some(frozen) => frozen.from.map(|from| from - Span::seconds(1)),
        }
    }

    /// `at` where it is open, else the first second after the freeze; none where it is frozen ahead beyond [`FREEZE_HORIZON`].
    pub fn next_open(&self, at: Time) -> Option<Time> {
        match self.frozen(at) {
            None => Some(at),
            Some(frozen) => frozen.until,
        }
    }

    /// Whether the day of `at` is a Saturday, a Sunday, or frozen from its first second to its last.
    pub fn is_closed_day(&self, at: Time) -> bool {
        let day = self.zone.civil(at.unix()).date();
        if matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday) {
            return true;
        }
        let ends = later(day, 1).map_or(i64::MAX, |next| self.zone.instant(midnight(next)));
        let whole = |f: Frozen| {
            f.from.is_none_or(|from| from.unix() <= self.zone.instant(midnight(day))) && f.until.is_none_or(|u| u.unix() >= ends)
        };
        self.frozen(at).is_some_and(whole)
    }

    /// The day of `at` in the calendar's zone, as (`mon` … `sun`, `2026-12-24`).
    pub fn day(&self, at: Time) -> (&'static str, String) {
        let day = self.zone.civil(at.unix()).date();
        let name = weekly::DAYS.iter().find(|(_, d)| *d == day.weekday()).map_or("", |(name, _)| name);
        (name, day.to_string())
    }

    fn zone(&self) -> &Zone {
        &self.zone
    }

    /// From the earliest beginning to the latest end of the freezes at that very second.
    fn around(&self, at: i64) -> Option<(i64, i64)> {
        let found = self.freezes.iter().filter_map(|(_, closed)| closed.around(&self.zone, at));
        found.reduce(|(from, until), (earlier, later)| (from.min(earlier), until.max(later)))
    }

    /// As [`Calendar::around`], and each freeze is asked where the ones before it have come to already.
    fn reach(&self, at: i64) -> Option<(i64, i64)> {
        let mut found: Option<(i64, i64)> = None;
        // There and back: in whichever order the pieces of a day are declared, one round gets past many of them.
        for (_, closed) in self.freezes.iter().chain(self.freezes.iter().rev()) {
            let (from, until) = found.unwrap_or((at, at));
            for here in if found.is_some() { [from - 1, until] } else { [at, at] } {
                if let Some((earlier, later)) = closed.around(&self.zone, here) {
                    let (from, until) = found.unwrap_or((at, at));
                    found = Some((from.min(earlier), until.max(later)));
                }
            }
        }
        found
    }
}

impl Closed {
    /// The freeze around a second.
    fn around(&self, zone: &Zone, at: i64) -> Option<(i64, i64)> {
        match self {
            Closed::Once(from, until) => (*from <= at && at < *until).then_some((*from, *until)),
            Closed::Weekly(window) => window.around(zone, at),
            Closed::Recurring(rule, days, seconds) => {
                let today = zone.civil(at).date();
                // Days more on both sides, for clock changes around midnight.
                let first = later(today, -(days + seconds / 86_400 + 2)).unwrap_or(today);
                let mut found: Option<(i64, i64)> = None;
                for (begins, from) in rule.occurrences(zone, first).take_while(|(begins, _)| days_between(today, begins.date()) <= 1) {
                    let until = zone.instant(wall(begins, *days)).saturating_add(*seconds);
                    if from <= at && at < until {
                        found = Some(found.map_or((from, until), |(f, u)| (f.min(from), u.max(until))));
                    }
                }
                found
            }
        }
    }
}

/// The same time on the wall, days later.
fn wall(from: DateTime, days: i64) -> DateTime {
    later(from.date(), days).map_or(DateTime::MAX, |day| day.to_datetime(from.time()))
}

fn read(zone: &str, freezes: &[Freeze]) -> Result<Calendar, Vec<CalendarError>> {
    let mut problems = Vec::new();
    // What is wrong with dates does not depend on the zone: it is all said at once.
    let zone = Zone::named(zone).unwrap_or_else(|message| {
        problems.push(CalendarError::of("zone", message));
        Zone::UTC
    });
    if freezes.len() > MAX_FREEZES {
        problems.push(CalendarError::of("freeze", format!("a calendar has at most {MAX_FREEZES} freezes")));
    }
    let mut closed = Vec::new();
    for (n, freeze) in freezes.iter().enumerate().take(MAX_FREEZES) {
        match read_freeze(&zone, &freeze.when) {
            Ok(one) => closed.push((freeze.why.clone(), one)),
            Err(error) => problems.push(CalendarError { freeze: Some(n), ..error }),
        }
    }
    if problems.is_empty() { Ok(Calendar { zone, freezes: closed }) } else { Err(problems) }
}

fn read_freeze(zone: &Zone, when: &When) -> Result<Closed, CalendarError> {
    let moment = |key: &'static str, text: &str| civil::read(text).map(civil::Civil::moment).map_err(|e| CalendarError::of(key, e));
    match when {
        When::Range { from, until: None } => Ok(Closed::Once(zone.instant(moment("from", from)?), i64::MAX)),
        When::Range { from, until: Some(until) } => {
            let (begins, ends) = (zone.instant(moment("from", from)?), zone.instant(moment("until", until)?));
            if ends <= begins {
                let message = "it ends before it begins; until is the first day or minute after the freeze";
                return Err(CalendarError::of("until", message));
            }
            Ok(Closed::Once(begins, ends))
        }
        When::Weekly(window) => Weekly::parse(window).map(Closed::Weekly).map_err(|e| CalendarError::of("weekly", e)),
        When::Recurring { start, lasts, rule } => {
            let start = moment("start", start)?;
            if *lasts < Span::seconds(1) || *lasts > MAX_LASTS {
                return Err(CalendarError::of(
                    "lasts",
                    format!("a recurring freeze lasts 1s to {}d each time", MAX_LASTS.as_secs() / 86_400),
                ));
            }
            let rule = Rule::parse(start, rule).map_err(|e| CalendarError::of("rule", e))?;
            Ok(Closed::Recurring(rule, lasts.as_secs() / 86_400, lasts.as_secs() % 86_400))
        }
    }
}

#[cfg(test)]
mod tests;
