//! Trains: when releases leave.

use super::{
    Calendar, CalendarError, Frozen, MAX_SKIPPED_FREEZES, civil,
    rule::{Rule, Until},
    zone::later,
};
use crate::{Span, Time};
use alloc::{format, vec::Vec};

/// Most departures that are looked at to find the widest gap.
pub const MAX_DEPARTURES: usize = 5_000;
/// Most releases per departure.
pub const MAX_CAPACITY: u32 = 10_000;

/// Departures at the same time of day, on the days that a rule names; in the zone of the calendar that is asked with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Train {
    rule: Rule,
    capacity: u32,
}

impl Train {
    /// A train by its start (a day or minute on the wall, `2026-01-06T10:00`), its rule (RFC 5545) and how many releases one departure
    /// takes. The start need not be a departure itself: the rule's days count, from the start on.
    ///
    /// # Errors
    /// A start that is none, a rule that is none, is not supported or never occurs, and a capacity of 0 or more than [`MAX_CAPACITY`];
    /// [`CalendarError::key`] says which.
    pub fn parse(start: &str, rule: &str, capacity: u32) -> Result<Train, CalendarError> {
        let start = civil::read(start).map_err(|message| CalendarError::of("start", message))?;
        let rule = Rule::parse(start.moment(), rule).map_err(|message| CalendarError::of("rule", message))?;
        if !(1..=MAX_CAPACITY).contains(&capacity) {
            return Err(CalendarError::of("capacity", format!("a departure takes 1 to {MAX_CAPACITY} releases")));
        }
        Ok(Train { rule, capacity })
    }

    /// How many releases one departure takes; at least 1.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Whether it has a last departure.
    pub fn ends(&self) -> bool {
        self.rule.until != Until::Never
    }

    /// The departures at or after `from`, at most so many, strictly rising. Those inside a freeze do not take place. Fewer come where
    /// the train ends, where nothing opens within [`FREEZE_HORIZON`](super::FREEZE_HORIZON), or where more than
    /// [`MAX_SKIPPED_FREEZES`] freezes in a row swallow all departures.
    pub fn departures(&self, calendar: &Calendar, from: Time, most: usize) -> Vec<Time> {
        let mut found = Vec::new();
        let mut from = from.unix();
        let mut skipped = 0;
        'freezes: while found.len() < most && skipped <= MAX_SKIPPED_FREEZES {
            let zone = calendar.zone();
            // A day earlier, for clock changes around midnight.
            let day = zone.civil(from).date();
            for (_, at) in self.rule.occurrences(zone, later(day, -1).unwrap_or(day)).skip_while(|(_, at)| *at < from) {
                if at >= super::LAST {
                    break;
                }
                let at = Time::from_unix(at);
                match calendar.frozen(at) {
                    // A day that a zone left out makes two departures one.
                    None if found.last() == Some(&at) => {}
                    None => found.push(at),
                    Some(Frozen { until: Some(until), .. }) => {
                        from = until.unix();
                        skipped += 1;
                        continue 'freezes;
                    }
                    Some(_) => break 'freezes,
                }
                skipped = 0;
                if found.len() == most {
                    break;
                }
            }
            break;
        }
        found
    }

    /// The longest wait for a departure by whom one has just been missed: the widest gap between two departures that follow each other,
    /// the first of them between `from` and `from + within`, or the wait from `from` to its first departure if that is longer.
    ///
    /// None where some departure of that time has none after it, or there is none at all: who misses it waits for ever. At most
    /// [`MAX_DEPARTURES`] are looked at.
    pub fn widest_gap(&self, calendar: &Calendar, from: Time, within: Span) -> Option<Span> {
        let end = from + within;
        let (mut before, mut widest) = (from, Span::ZERO);
        let mut looked = 0;
        while before <= end && looked < MAX_DEPARTURES {
            let start = if looked == 0 { from } else { before + Span::seconds(1) };
            let page = self.departures(calendar, start, 64);
            if page.is_empty() {
                return None;
            }
            for at in page {
                if before > end {
                    break;
                }
                widest = widest.max(at - before);
                before = at;
                looked += 1;
            }
        }
        Some(widest)
    }
}
