//! A time zone, and the two ways through it: from an instant to the time on the wall, and back.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time as Clock},
    tz::{TimeZone, TimeZoneDatabase},
};
use pki::text::escape;

/// Longest name of a zone, in bytes; the longest of the database has 32.
const MAX_ZONE_BYTES: usize = 64;

/// A zone of the bundled database: no file of the machine is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone(TimeZone);

impl Zone {
    pub(super) const UTC: Zone = Zone(TimeZone::UTC);

    /// The zone with an IANA name such as `Europe/Dublin`; else why not, and what may have been meant.
    pub(super) fn named(name: &str) -> Result<Zone, String> {
        let all = TimeZoneDatabase::bundled();
        let known = name.len() <= MAX_ZONE_BYTES && !name.eq_ignore_ascii_case("Etc/Unknown");
        if let Some(zone) = known.then(|| all.get(name).ok()).flatten() {
            return Ok(Zone(zone));
        }
        let names: Vec<String> = all.available().map(|n| n.to_string()).collect();
        let how = match nearest(name, &names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => String::from("write an IANA name like \"Europe/Dublin\" or \"UTC\""),
        };
        Err(format!("no time zone is called \"{}\"; {how}", escape(name)))
    }

    /// The time on the wall.
    pub(super) fn civil(&self, at: i64) -> DateTime {
        let at = Timestamp::from_second(at).unwrap_or(if at < 0 { Timestamp::MIN } else { Timestamp::MAX });
        self.0.to_datetime(at)
    }

    /// The instant of a time on the wall (RFC 5545 §3.3.5): one that a clock change skips counts as by the clock before the change
    /// and so moves forward; of one that happens twice the first is meant.
    pub(super) fn instant(&self, civil: DateTime) -> i64 {
        let end = if civil.year() < 0 { Timestamp::MIN } else { Timestamp::MAX };
        self.0.to_ambiguous_timestamp(civil).compatible().unwrap_or(end).as_second()
    }
}

/// Midnight at the beginning of a day.
pub(super) fn midnight(day: Date) -> DateTime {
    day.to_datetime(Clock::midnight())
}

/// So many days later, within the years that there are.
pub(super) fn later(day: Date, days: i64) -> Option<Date> {
    day.checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

/// Whole days from one day to another.
pub(super) fn days_between(from: Date, to: Date) -> i64 {
    from.until(to).map_or(0, |span| i64::from(span.get_days()))
}

/// A town alone, or a name with at most two letters wrong.
fn nearest<'n>(name: &str, names: &'n [String]) -> Option<&'n str> {
    let name = name.to_ascii_lowercase().replace(' ', "_");
    if name.len() < 3 || name.len() > MAX_ZONE_BYTES {
        return None;
    }
    let town = |full: &str| full.rsplit('/').next().is_some_and(|t| t.eq_ignore_ascii_case(&name));
    let by_distance = names.iter().map(|n| (distance(&name, &n.to_ascii_lowercase()), n)).min().filter(|(d, _)| *d <= 2);
    names.iter().find(|n| town(n)).or(by_distance.map(|(_, n)| n)).map(String::as_str)
}

/// How many letters are inserted, left out or replaced.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
