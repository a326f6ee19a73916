//! On which days a rule occurs: any stretch of time is looked up by itself, without counting from the start.

use super::{
    rule::{Every, MAX_SILENT_YEARS, Rule, Until},
    zone::{Zone, days_between, later},
};
use alloc::vec::Vec;
use jiff::civil::{Date, DateTime};

impl Rule {
    /// The days on which it occurs, from a day on, in rising order; to the end of its `UNTIL` in the civil calendar.
    pub(super) fn days_from(&self, from: Date) -> Days<'_> {
        let from = from.max(self.start.date());
        let period = self.period_of(from).div_euclid(self.interval) * self.interval;
        Days { rule: self, from, period, found: Vec::new(), at: 0, last: from, periods: 0 }
    }

    /// When it occurs, from a day on: on the wall and as an instant, never falling.
    pub(super) fn occurrences<'r>(&'r self, zone: &'r Zone, from: Date) -> impl Iterator<Item = (DateTime, i64)> + 'r {
        let ends = move |civil: DateTime, at: i64| match self.until {
            Until::Never => false,
            Until::Civil(end) => civil > end,
            Until::Instant(end) => at > end,
        };
        self.days_from(from)
            .map(move |day| day.to_datetime(self.start.time()))
            .map(move |civil| (civil, zone.instant(civil)))
            .take_while(move |(civil, at)| !ends(*civil, *at))
    }

    fn names(&self, day: Date) -> bool {
        let length = day.days_in_month();
        let month = self.months == 0 || self.months & (1 << day.month()) != 0;
        let month_day =
            self.month_days.is_empty() || self.month_days.iter().any(|n| day.day() == if *n > 0 { *n } else { length + 1 + *n });
        month
            && month_day
            && (self.days.is_empty() || self.days.iter().any(|(which, weekday)| day.weekday() == *weekday && self.is_the(day, *which)))
    }

    /// Whether a day is the n-th of its weekday: in its month, or in its year where the rule names no month (RFC 5545 §3.3.10).
    fn is_the(&self, day: Date, which: i16) -> bool {
        if which == 0 {
            return true;
        }
        let (at, of) = if self.every == Every::Year && self.months == 0 {
            (day.day_of_year(), day.days_in_year())
        } else {
            (i16::from(day.day()), i16::from(day.days_in_month()))
        };
        if which > 0 { (at - 1) / 7 + 1 == which } else { (of - at) / 7 + 1 == -which }
    }

    /// The first day of a period; none behind the last year of the calendar.
    fn begins(&self, period: i64) -> Option<Date> {
        let start = self.start.date();
        match self.every {
            Every::Day => later(start, period),
            Every::Week => later(self.week_of(start), 7 * period),
            Every::Month => {
                let month = i64::from(start.year()) * 12 + i64::from(start.month()) - 1 + period;
                first_of(month.div_euclid(12), month.rem_euclid(12) + 1)
            }
            Every::Year => first_of(i64::from(start.year()) + period, 1),
        }
    }

    /// The days of a period that the rule names, in rising order; those before the start included, since positions count them.
    fn days_of(&self, begins: Date, found: &mut Vec<Date>) {
        found.clear();
        match self.every {
            Every::Day => self.collect(begins, 1, found),
            Every::Week => self.collect(begins, 7, found),
            Every::Month => self.month(begins, found),
            Every::Year => (1..=12).filter_map(|month| first_of(begins.year().into(), month)).for_each(|first| self.month(first, found)),
        }
        if !self.positions.is_empty() {
            let count = i16::try_from(found.len()).unwrap_or(i16::MAX);
            let mut position = 0;
            found.retain(|_| {
                position += 1;
                self.positions.iter().any(|p| position == if *p > 0 { *p } else { count + 1 + *p })
            });
        }
    }

    fn month(&self, first: Date, found: &mut Vec<Date>) {
        if self.months == 0 || self.months & (1 << first.month()) != 0 {
            self.collect(first, first.days_in_month(), found);
        }
    }

    fn collect(&self, first: Date, count: i8, found: &mut Vec<Date>) {
        let mut day = first;
        for n in 0..count {
            if self.names(day) {
                found.push(day);
            }
            match day.tomorrow() {
                Ok(next) if n + 1 < count => day = next,
                _ => break,
            }
        }
    }

    /// The first period, on the rule's grid, from this one on that may hold a day of a month that the rule names.
    fn skip(&self, period: i64) -> i64 {
        let Some(day) = self.begins(period).filter(|_| self.months != 0 && self.every == Every::Day) else { return period };
        let months = (0..12).scan(day.first_of_month(), |month, _| {
            let this = *month;
            *month = later(this.last_of_month(), 1)?;
            Some(this)
        });
        let named = months.into_iter().find(|month| self.months & (1 << month.month()) != 0);
        let ahead = named.map_or(0, |month| days_between(day, month).max(0));
        period + (ahead + self.interval - 1) / self.interval * self.interval
    }
}

fn first_of(year: i64, month: i64) -> Option<Date> {
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, 1).ok()
}

/// The days of a rule, one period after the other.
pub(super) struct Days<'r> {
    rule: &'r Rule,
    from: Date,
    period: i64,
    found: Vec<Date>,
    at: usize,
    last: Date,
    periods: usize,
}

impl Days<'_> {
    /// How many periods were gone through.
    pub(super) fn periods(&self) -> usize {
        self.periods
    }

    fn beyond(&self, day: Date) -> bool {
        match self.rule.until {
            Until::Never => false,
            Until::Civil(end) => day > end.date(),
            // A day or two more, whatever the zone; `occurrences` compares instants.
            Until::Instant(end) => days_between(Zone::UTC.civil(end).date(), day) > 2,
        }
    }
}

impl Iterator for Days<'_> {
    type Item = Date;

    fn next(&mut self) -> Option<Date> {
        loop {
            while let Some(day) = self.found.get(self.at).copied() {
                self.at += 1;
                if day >= self.from {
                    self.last = day;
                    return (!self.beyond(day)).then_some(day);
                }
            }
            self.period = self.rule.skip(self.period);
            let begins = self.rule.begins(self.period)?;
            if begins.year() - self.last.year() > MAX_SILENT_YEARS || self.beyond(begins) {
                return None;
            }
            self.rule.days_of(begins, &mut self.found);
            self.at = 0;
            self.periods += 1;
            self.period += self.rule.interval;
        }
    }
}
