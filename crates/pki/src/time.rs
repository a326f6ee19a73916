//! Instants and lengths of time in whole seconds, and the one calendar routine of the product.
//!
//! A day is 86 400 s. "One year later" is a calendar operation and not a number of seconds: the
//! cloud of 2012 fell to a certificate "valid until 29 February 2013", so that date cannot be made here.

use std::fmt;
use std::ops::{Add, Sub};

use jiff::civil;

/// An instant in whole seconds UTC, from 0000-01-01T00:00:00Z to [`Time::NO_EXPIRY`].
///
/// Values outside that range cannot exist: construction and arithmetic saturate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// A length of time in whole seconds; may be negative. Arithmetic saturates.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(i64);

/// A day of the proleptic Gregorian calendar, in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: i16,
    month: u8,
    day: u8,
}

/// A text or a calendar operation that makes no instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// The text is not an instant.
    #[error("`{0}` is not a time; write it like 2027-02-22T20:29:53Z or 2027-02-22")]
    NotATime(String),
    /// The text has the right form but names a day or a second that does not exist.
    #[error("`{0}` does not exist in the calendar")]
    Impossible(String),
    /// The text is not a length of time.
    #[error("`{0}` is not a length of time; write it like 90d, 12h, 36m, 45s or 1d12h")]
    NotASpan(String),
    /// 29 February has no anniversary in that year.
    #[error("{from} has no anniversary in {year}: 29 February does not exist then")]
    NoAnniversary {
        /// The day that was to be moved.
        from: Date,
        /// The year that has no such day.
        year: i32,
    },
    /// The result lies outside years 0 to 9999.
    #[error("the result lies outside the years 0 to 9999")]
    OutOfRange,
}

const DAY: i64 = 86_400;
const FIRST: i64 = -62_167_219_200;
const LAST: i64 = 253_402_300_799;

impl Time {
    /// 9999-12-31T23:59:59Z, which RFC 5280 §4.1.2.5 gives to certificates without expiry.
    pub const NO_EXPIRY: Time = Time(LAST);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Time = Time(0);

    /// Seconds since 1970-01-01T00:00:00Z, brought into range.
    #[must_use]
    pub const fn from_unix(seconds: i64) -> Self {
        if seconds < FIRST {
            Self(FIRST)
        } else if seconds > LAST {
            Self(LAST)
        } else {
            Self(seconds)
        }
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// True for 9999-12-31T23:59:59Z.
    #[must_use]
    pub const fn is_no_expiry(self) -> bool {
        self.0 == LAST
    }

    /// Reads RFC 3339 ("2027-02-22T20:29:53Z", offsets allowed, a fraction of a second is cut off)
    /// or a day alone ("2027-02-22", its first second in UTC).
    ///
    /// # Errors
    /// Other forms, and days or seconds that do not exist.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let not = || TimeError::NotATime(crate::text::escape(text));
        let impossible = || TimeError::Impossible(crate::text::escape(text));
        let bytes = text.as_bytes();
        if bytes.len() > 40 || bytes.len() < 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return Err(not());
        }
        let number = |from: usize, to: usize| digits(bytes.get(from..to)?);
        let (Some(year), Some(month), Some(day)) = (number(0, 4), number(5, 7), number(8, 10)) else {
            return Err(not());
        };
        if bytes.len() == 10 {
            return Self::from_parts(year, month, day, 0, 0, 0).ok_or_else(impossible);
        }
        if bytes.len() < 20 || !matches!(bytes[10], b'T' | b't' | b' ') || bytes[13] != b':' || bytes[16] != b':' {
            return Err(not());
        }
        let (Some(hour), Some(minute), Some(second)) = (number(11, 13), number(14, 16), number(17, 19)) else {
            return Err(not());
        };
        let mut rest = &bytes[19..];
        if rest[0] == b'.' {
            let length = rest[1..].iter().take_while(|b| b.is_ascii_digit()).count();
            if length == 0 {
                return Err(not());
            }
            rest = &rest[1 + length..];
        }
        let offset = match rest {
            b"Z" | b"z" => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let (Some(hours), Some(minutes)) = (digits(&[*h1, *h2]), digits(&[*m1, *m2])) else {
                    return Err(not());
                };
                if hours > 23 || minutes > 59 {
                    return Err(impossible());
                }
                let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60;
                if *sign == b'-' { -seconds } else { seconds }
            }
            _ => return Err(not()),
        };
        let local = Self::from_parts(year, month, day, hour, minute, second).ok_or_else(impossible)?;
        Ok(local - Span(offset))
    }

    /// The instant with these parts in UTC, or `None` if the calendar has none such.
    pub(crate) fn from_parts(year: u16, month: u16, day: u16, hour: u16, minute: u16, second: u16) -> Option<Self> {
        if hour > 23 || minute > 59 || second > 59 {
            return None; // leap seconds do not exist in X.509 (RFC 5280 §4.1.2.5 counts none) nor here
        }
        let date = Date::new(i16::try_from(year).ok()?, u8::try_from(month).ok()?, u8::try_from(day).ok()?)?;
        let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        Some(date.start() + Span(seconds))
    }

    /// The day in UTC.
    #[must_use]
    pub fn date(self) -> Date {
        Date::from_days(self.0.div_euclid(DAY))
    }

    /// The ISO 8601 year and week. The year of a week may differ from the year of the day.
    #[must_use]
    pub fn iso_week(self) -> (i32, u8) {
        let week = self.date().civil().iso_week_date();
        (i32::from(week.year()), week.week().unsigned_abs())
    }

    /// Same day and time of day, `years` later.
    ///
    /// # Errors
    /// 29 February when that year has none, and results outside years 0 to 9999.
    pub fn add_years(self, years: i32) -> Result<Self, TimeError> {
        let from = self.date();
        let year = i32::from(from.year).saturating_add(years);
        let moved = from.with_year(year)?.ok_or(TimeError::NoAnniversary { from, year })?;
        Ok(moved.start() + Span(self.0.rem_euclid(DAY)))
    }

    /// Same day and time of day, `years` later; 29 February becomes the 28th when it must. Saturates.
    #[must_use]
    pub fn add_years_clamped(self, years: i32) -> Self {
        let from = self.date();
        let year = i32::from(from.year).saturating_add(years);
        let moved = match from.with_year(year) {
            Ok(Some(date)) => date,
            Ok(None) => match Date::new(i16::try_from(year).unwrap_or(i16::MAX), from.month, 28) {
                Some(date) => date,
                None => return Time::NO_EXPIRY,
            },
            Err(_) if years < 0 => return Time(FIRST),
            Err(_) => return Time::NO_EXPIRY,
        };
        moved.start() + Span(self.0.rem_euclid(DAY))
    }
}

fn digits(bytes: &[u8]) -> Option<u16> {
    bytes.iter().try_fold(0u16, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u16::from(byte - b'0')))
}

impl Date {
    /// The day, if it exists and lies in the years 0 to 9999.
    #[must_use]
    pub fn new(year: i16, month: u8, day: u8) -> Option<Self> {
        if !(0..=9999).contains(&year) {
            return None;
        }
        civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
        Some(Self { year, month, day })
    }

    /// Reads "2027-02-22".
    ///
    /// # Errors
    /// Other forms, and days that do not exist.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        if text.len() != 10 {
            return Err(TimeError::NotATime(crate::text::escape(text)));
        }
        Time::parse(text).map(Time::date)
    }

    /// The year, 0 to 9999.
    #[must_use]
    pub const fn year(self) -> i16 {
        self.year
    }

    /// The month, 1 to 12.
    #[must_use]
    pub const fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, 1 to 31.
    #[must_use]
    pub const fn day(self) -> u8 {
        self.day
    }

    /// The first second of the day in UTC.
    #[must_use]
    pub fn start(self) -> Time {
        let epoch = civil::Date::constant(1970, 1, 1);
        // Both lie within four-digit years, so the difference in days always exists.
        let days = epoch.until(self.civil()).map_or(0, |span| i64::from(span.get_days()));
        Time::from_unix(days * DAY)
    }

    fn civil(self) -> civil::Date {
        // Every constructor has asked jiff whether the day exists; the default is never taken.
        let [month, day] = [self.month, self.day].map(|part| i8::try_from(part).unwrap_or(1));
        civil::Date::new(self.year, month, day).unwrap_or(civil::Date::constant(1970, 1, 1))
    }

    fn from_days(days: i64) -> Self {
        let date =
            civil::Date::constant(1970, 1, 1).checked_add(jiff::Span::new().days(days)).unwrap_or(civil::Date::constant(9999, 12, 31));
        Self { year: date.year(), month: date.month().unsigned_abs(), day: date.day().unsigned_abs() }
    }

    /// `Ok(None)` if that year lacks the day; only 29 February can be missing.
    fn with_year(self, year: i32) -> Result<Option<Self>, TimeError> {
        let year = i16::try_from(year).map_err(|_| TimeError::OutOfRange)?;
        if !(0..=9999).contains(&year) {
            return Err(TimeError::OutOfRange);
        }
        Ok(Self::new(year, self.month, self.day))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// This many days of 86 400 s.
    #[must_use]
    pub const fn days(days: i64) -> Self {
        Self(days.saturating_mul(DAY))
    }

    /// This many hours.
    #[must_use]
    pub const fn hours(hours: i64) -> Self {
        Self(hours.saturating_mul(3600))
    }

    /// This many minutes.
    #[must_use]
    pub const fn minutes(minutes: i64) -> Self {
        Self(minutes.saturating_mul(60))
    }

    /// This many seconds.
    #[must_use]
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// The length in seconds.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0
    }

    /// Reads "90d", "12h", "36m", "45s", "1d12h"; units in falling order, each once. No sign.
    ///
    /// # Errors
    /// Other forms, and lengths beyond 10,000 years of 366 days.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let not = || TimeError::NotASpan(crate::text::escape(text));
        if text.is_empty() || text.len() > 40 {
            return Err(not());
        }
        let mut total: i64 = 0;
        let mut rest = text;
        let mut below = i64::MAX;
        while !rest.is_empty() {
            let length = rest.bytes().take_while(u8::is_ascii_digit).count();
            let count: i64 = rest[..length].parse().map_err(|_| not())?;
            let unit = match rest.as_bytes().get(length) {
                Some(b'd') => DAY,
                Some(b'h') => 3600,
                Some(b'm') => 60,
                Some(b's') => 1,
                _ => return Err(not()),
            };
            if unit >= below {
                return Err(not());
            }
            below = unit;
            rest = &rest[length + 1..];
            total = count.checked_mul(unit).and_then(|s| s.checked_add(total)).ok_or_else(not)?;
        }
        if total > 3_660_000 * DAY {
            return Err(not());
        }
        Ok(Self(total))
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time::from_unix(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Time;
    fn sub(self, span: Span) -> Time {
        Time::from_unix(self.0.saturating_sub(span.0))
    }
}

impl Sub for Time {
    type Output = Span;
    fn sub(self, other: Time) -> Span {
        Span(self.0 - other.0)
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl Sub for Span {
    type Output = Span;
    fn sub(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.0.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}Z", self.date())
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The two largest units, cut off and not rounded: "91 d", "3 d 4 h", "13 h 7 min", "45 s", "-2 d".
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let all = self.0.unsigned_abs();
        let parts = [(all / 86_400, "d"), (all / 3600 % 24, "h"), (all / 60 % 60, "min"), (all % 60, "s")];
        let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
        let (count, unit) = parts[first];
        write!(f, "{count} {unit}")?;
        match parts.get(first + 1) {
            Some((count, unit)) if *count > 0 => write!(f, " {count} {unit}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn time(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    #[test]
    fn instants() {
        let check = |seconds: i64, text: &str| {
            assert_eq!(Time::from_unix(seconds).to_string(), text);
            assert_eq!(time(text).unix(), seconds);
        };
        check(0, "1970-01-01T00:00:00Z");
        check(-1, "1969-12-31T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_330_473_600, "2012-02-29T00:00:00Z");
        check(2_147_483_647, "2038-01-19T03:14:07Z");
        check(2_147_483_648, "2038-01-19T03:14:08Z");
        check(2_524_607_999, "2049-12-31T23:59:59Z");
        check(2_524_608_000, "2050-01-01T00:00:00Z");
        check(4_107_542_399, "2100-02-28T23:59:59Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        check(253_402_300_799, "9999-12-31T23:59:59Z");
        check(-62_167_219_200, "0000-01-01T00:00:00Z");
        assert!(time("9999-12-31T23:59:59Z").is_no_expiry());
    }

    #[test]
    fn range_saturates() {
        assert_eq!(Time::from_unix(i64::MAX), Time::NO_EXPIRY);
        assert_eq!(Time::NO_EXPIRY + Span::seconds(1), Time::NO_EXPIRY);
        assert_eq!(Time::from_unix(i64::MIN) - Span::seconds(i64::MAX), Time::from_unix(FIRST));
        assert_eq!(Span::days(i64::MAX) + Span::days(1), Span::seconds(i64::MAX));
        assert_eq!(Time::from_unix(5) - Time::from_unix(7), Span::seconds(-2));
    }

    #[test]
    fn other_ways_to_write_an_instant() {
        let check = |text: &str, same: &str| assert_eq!(time(text), time(same), "{text}");
        check("2027-02-22", "2027-02-22T00:00:00Z");
        check("2027-02-22t20:29:53z", "2027-02-22T20:29:53Z");
        check("2027-02-22 20:29:53Z", "2027-02-22T20:29:53Z");
        check("2027-02-22T20:29:53.999Z", "2027-02-22T20:29:53Z");
        check("2027-02-22T22:29:53+02:00", "2027-02-22T20:29:53Z");
        check("2027-02-22T20:29:53-00:30", "2027-02-22T20:59:53Z");
    }

    #[test]
    fn what_is_no_instant() {
        let check = |text: &str, impossible: bool| match Time::parse(text) {
            Err(TimeError::Impossible(_)) => assert!(impossible, "{text}"),
            Err(TimeError::NotATime(_)) => assert!(!impossible, "{text}"),
            other => panic!("{text}: {other:?}"),
        };
        check("2013-02-29T00:00:00Z", true);
        check("2013-02-29", true);
        check("2100-02-29", true);
        check("2013-13-01", true);
        check("2013-00-01", true);
        check("2013-04-31", true);
        check("2013-04-30T24:00:00Z", true);
        check("2016-12-31T23:59:60Z", true);
        check("2013-04-30T00:00:00+24:00", true);
        for text in ["", "now", "2013", "2013-4-30", "20130430T000000Z", "2013-04-30T00:00Z", "2013-04-30T00:00:00"] {
            check(text, false);
        }
        check("2013-04-30T00:00:00.Z", false);
        check("2013-04-30T00:00:00+0100", false);
        check("éé13-04-30", false);
        check(&"9".repeat(5000), false);
    }

    #[test]
    fn years_are_a_calendar_operation() {
        let leap = time("2012-02-29T12:00:00Z");
        let error = leap.add_years(1).unwrap_err();
        assert_eq!(error.to_string(), "2012-02-29 has no anniversary in 2013: 29 February does not exist then");
        assert_eq!(leap.add_years(4), Ok(time("2016-02-29T12:00:00Z")));
        assert_eq!(leap.add_years_clamped(1), time("2013-02-28T12:00:00Z"));
        assert_eq!(leap.add_years_clamped(4), time("2016-02-29T12:00:00Z"));
        assert_eq!(time("2096-02-29").add_years_clamped(4), time("2100-02-28"));
        assert_eq!(time("2013-02-22T23:59:59Z").add_years(1), Ok(time("2014-02-22T23:59:59Z")));
        assert_eq!(time("2013-02-22").add_years(-13), Ok(time("2000-02-22")));
        assert_eq!(time("9999-01-01").add_years(1), Err(TimeError::OutOfRange));
        assert_eq!(time("9999-01-01").add_years_clamped(i32::MAX), Time::NO_EXPIRY);
        assert_eq!(time("0001-01-01").add_years_clamped(i32::MIN), Time::from_unix(FIRST));
    }

    #[test]
    fn iso_weeks() {
        let check = |text: &str, week: (i32, u8)| assert_eq!(time(text).iso_week(), week, "{text}");
        check("2013-02-22", (2013, 8));
        check("2020-12-31", (2020, 53));
        check("2021-01-03", (2020, 53));
        check("2021-01-04", (2021, 1));
        check("2024-12-30", (2025, 1));
        check("9999-12-31", (9999, 52));
    }

    #[test]
    fn spans() {
        let check = |text: &str, span: Span, shown: &str| {
            assert_eq!(Span::parse(text), Ok(span));
            assert_eq!(span.to_string(), shown);
        };
        check("91d", Span::days(91), "91 d");
        check("3d4h5m", Span::days(3) + Span::hours(4) + Span::minutes(5), "3 d 4 h");
        check("160h", Span::hours(160), "6 d 16 h");
        check("13h7m36s", Span::seconds(47_256), "13 h 7 min");
        check("45s", Span::seconds(45), "45 s");
        check("1d12h", Span::hours(36), "1 d 12 h");
        check("0s", Span::ZERO, "0 s");
        assert_eq!(Span::days(-2).to_string(), "-2 d");
        assert_eq!(Span::seconds(-3661).to_string(), "-1 h 1 min");
        assert_eq!(Span::seconds(i64::MIN).to_string(), "-106751991167300 d 15 h");
        for text in ["", "d", "5", "5x", "-5d", "5h1d", "1d1d", "5 d", "1.5d", "99999999999999999999d", "4000000d", "5é"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_second_round_trips(seconds in FIRST..=LAST) {
            let time = Time::from_unix(seconds);
            prop_assert_eq!(Time::parse(&time.to_string()), Ok(time));
            prop_assert!(time.date().start() <= time);
            prop_assert!(time - time.date().start() < Span::days(1));
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = (Time::parse(&text), Span::parse(&text), Date::parse(&text));
        }

        #[test]
        fn order_is_kept(a in FIRST..=LAST, b in FIRST..=LAST) {
            let (a, b) = (Time::from_unix(a), Time::from_unix(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }
}
