//! A window that returns every week, such as `fri 16:00 - mon 08:00`.

use super::zone::{Zone, later, midnight};
use alloc::{format, string::String};
use jiff::{
    SignedDuration,
    civil::{DateTime, Weekday},
};
use pki::text::escape;

/// Minutes of a week.
const WEEK: i64 = 7 * 24 * 60;

/// The days as they are written, Monday first.
pub(super) const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// The day that a word of three letters stands for.
pub(super) fn weekday(word: &str) -> Option<Weekday> {
    DAYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, day)| *day)
}

/// From a minute of the week, for so many minutes on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weekly {
    day: Weekday,
    /// Minutes after midnight of that day.
    begins: i64,
    /// Minutes, 1 to a week less one.
    lasts: i64,
}

impl Weekly {
    /// Reads `fri 16:00 - mon 08:00`. It may wrap over the end of the week; `24:00` is the end of a day.
    pub(super) fn parse(text: &str) -> Result<Weekly, String> {
        let wrong = || format!("\"{}\" is not a weekly window; write it like \"fri 16:00 - mon 08:00\"", escape(text));
        let (from, until) = text.split_once('-').ok_or_else(wrong)?;
        let [(day, begins), (last, ends)] = [moment(from).ok_or_else(wrong)?, moment(until).ok_or_else(wrong)?];
        let of_week = |day: Weekday, minute: i64| i64::from(day.to_monday_zero_offset()) * 24 * 60 + minute;
        let lasts = (of_week(last, ends) - of_week(day, begins)).rem_euclid(WEEK);
        if lasts == 0 {
            return Err(format!("\"{}\" ends when it begins; nothing could ever ship, so write two different moments", escape(text)));
        }
        Ok(Weekly { day, begins, lasts })
    }

    /// The window around an instant.
    pub(super) fn around(&self, zone: &Zone, at: i64) -> Option<(i64, i64)> {
        let today = zone.civil(at).date();
        // A window is shorter than a week; a day more on both sides for clock changes around midnight.
        let back = i64::from(today.weekday().since(self.day));
        (-1..=1).filter_map(|week| later(today, 7 * week - back)).find_map(|day| {
            let minutes = |n: i64| midnight(day).checked_add(SignedDuration::from_mins(n)).unwrap_or(DateTime::MAX);
            let (from, until) = (zone.instant(minutes(self.begins)), zone.instant(minutes(self.begins + self.lasts)));
            // What lies inside an hour that a clock change skips is empty that night.
            (from <= at && at < until).then_some((from, until))
        })
    }
}

/// A day and the minutes after its midnight.
fn moment(text: &str) -> Option<(Weekday, i64)> {
    let (day, clock) = text.trim().split_once(' ')?;
    let (hour, minute) = clock.trim().split_once(':')?;
    let two = |text: &str| if text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()) { text.parse::<i64>().ok() } else { None };
    let minutes = two(hour)? * 60 + two(minute).filter(|m| *m < 60)?;
    (minutes <= 24 * 60).then_some((weekday(day)?, minutes))
}
