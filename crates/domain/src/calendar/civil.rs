//! Days and minutes on the wall, as they are written: `2026-12-15`, `2026-12-15T18:00`.

use super::zone::midnight;
use alloc::{format, string::String};
use jiff::civil::{Date, DateTime};
use pki::text::escape;

/// A day, or a minute of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Civil {
    Day(Date),
    Minute(DateTime),
}

impl Civil {
    /// The minute, or the beginning of the day.
    pub(super) fn moment(self) -> DateTime {
        match self {
            Civil::Day(day) => midnight(day),
            Civil::Minute(minute) => minute,
        }
    }
}

/// Reads `2026-12-15` or `2026-12-15T18:00`.
pub(super) fn read(text: &str) -> Result<Civil, String> {
    let wrong = || {
        format!(
            "\"{}\" is not a day or a minute of the calendar's zone; write it like \"2026-12-15\" or \"2026-12-15T18:00\"",
            escape(text)
        )
    };
    match text.len() {
        10 => day(text).map(Civil::Day),
        16 => moment_with_seconds(&format!("{text}:00")).map(Civil::Minute),
        _ => None,
    }
    .ok_or_else(wrong)
}

/// A day of the years 0 to 9999, written `2026-12-15`.
pub(super) fn day(text: &str) -> Option<Date> {
    let plain = text.bytes().enumerate().all(|(at, b)| if matches!(at, 4 | 7) { b == b'-' } else { b.is_ascii_digit() });
    if text.len() == 10 && plain { text.parse().ok() } else { None }
}

/// A second on the wall, written `2026-12-15T18:00:00`.
pub(super) fn moment_with_seconds(text: &str) -> Option<DateTime> {
    let (date, clock) = text.split_once('T')?;
    let part = |at: usize| match clock.get(at..at + 2) {
        Some(two) if two.bytes().all(|b| b.is_ascii_digit()) => two.parse::<i8>().ok(),
        _ => None,
    };
    let form = clock.len() == 8 && clock.as_bytes()[2] == b':' && clock.as_bytes()[5] == b':';
    let time = jiff::civil::Time::new(part(0)?, part(3)?, part(6)?, 0).ok()?;
    if form { Some(day(date)?.to_datetime(time)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_minutes() {
        for (text, good) in [
            ("2026-12-15", true),
            ("2028-02-29", true),
            ("2026-12-15T18:00", true),
            ("0000-01-01", true),
            ("9999-12-31T23:59", true),
            ("2027-02-29", false),
            ("2026-12-15T24:00", false),
            ("2026-12-15T18:60", false),
            ("2026-12-15 18:00", false),
            ("2026-12-15T18:00:00", false),
            ("2026-12-15T18:00Z", false),
            ("+026-12-15", false),
            ("2026-1-15", false),
            ("15.12.2026", false),
            ("2026-12-1é", false),
            ("", false),
        ] {
            assert_eq!(read(text).is_ok(), good, "{text:?}");
        }
    }
}
