//! The rules of a partition, as declared.

use crate::{
    Span, Time,
    calendar::{Calendar, Frozen},
};
use alloc::{string::String, vec::Vec};

/// Most entries of [`Rules::no_expiry_on`].
pub const MAX_DAYS: usize = 1_000;

/// How the certificates of a service may be shared and when they may end. What is absent is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// No certificate is served in two regions.
    pub one_region_per_certificate: bool,
    /// Most production targets that serve one certificate; at least 1.
    pub max_targets_per_certificate: Option<u64>,
    /// Nothing ends inside a freeze of the service's calendar.
    pub no_expiry_in_freeze: bool,
    /// Days on which nothing ends, in the zone of the service's calendar: `mon` … `sun`, or a day such as `2026-12-24`.
    pub no_expiry_on: Vec<String>,
    /// Days of 86,400 s between the ends of two certificates of the service; at least 1.
    pub min_days_between: Option<u32>,
    /// Most of the service's production targets, in per cent, that may lose their certificate within one `window`; 1 to 100.
    pub max_share_percent: Option<u32>,
    /// How wide a window is; [`Rules::WINDOW`] if absent.
    pub window: Option<Span>,
}

impl Rules {
    /// How wide a window is where nothing else is said.
    pub const WINDOW: Span = Span::hours(24);
    /// How much of a service one window may take down where nothing else is said, in per cent.
    pub const SHARE_PERCENT: u32 = 10;

    /// The window in which ends count as simultaneous.
    pub fn window(&self) -> Span {
        self.window.unwrap_or(Self::WINDOW)
    }

    /// How much of a service one window may take down, in per cent.
    pub fn share_percent(&self) -> u32 {
        self.max_share_percent.unwrap_or(Self::SHARE_PERCENT)
    }

    /// The entry of `no_expiry_on` that forbids an end at this moment.
    pub fn listed_day(&self, calendar: &Calendar, end: Time) -> Option<&str> {
        if self.no_expiry_on.is_empty() {
            return None;
        }
        let (weekday, day) = calendar.day(end);
        self.no_expiry_on.iter().find(|listed| *listed == weekday || **listed == day).map(String::as_str)
    }

    /// The freeze that forbids an end at this moment.
    pub fn frozen_end(&self, calendar: &Calendar, end: Time) -> Option<Frozen> {
        if self.no_expiry_in_freeze { calendar.frozen(end) } else { None }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::calendar::{Freeze, When};
    use alloc::{string::ToString, vec};

    #[test]
    fn days_are_those_of_the_calendars_zone() {
        let christmas =
            Freeze { why: "Christmas".into(), when: When::Range { from: "2026-12-15".into(), until: Some("2027-01-04".into()) } };
        let auckland = Calendar::parse("Pacific/Auckland", &[christmas]).unwrap();
        let rules = Rules { no_expiry_in_freeze: true, no_expiry_on: vec!["sat".into(), "2026-11-24".into()], ..Rules::default() };
        // Auckland is 13 h ahead in summer: its days begin at 11:00 UTC.
        for (at, listed, frozen) in [
            ("2026-11-23T10:59:59Z", None, false),
            ("2026-11-23T11:00:00Z", Some("2026-11-24"), false),
            ("2026-11-24T10:59:59Z", Some("2026-11-24"), false),
            ("2026-11-24T11:00:00Z", None, false),
            ("2026-11-27T10:59:59Z", None, false),
            ("2026-11-27T11:00:00Z", Some("sat"), false),
            ("2026-12-14T10:59:59Z", None, false),
            ("2026-12-14T11:00:00Z", None, true),
            ("2027-01-03T10:59:59Z", None, true),
            ("2027-01-03T11:00:00Z", None, false),
        ] {
            let end = Time::parse(at).unwrap();
            assert_eq!(rules.listed_day(&auckland, end), listed, "{at}");
            assert_eq!(rules.frozen_end(&auckland, end).map(|f| f.why), frozen.then(|| "Christmas".to_string()), "{at}");
            let lax = Rules::default();
            assert_eq!((lax.listed_day(&auckland, end), lax.frozen_end(&auckland, end)), (None, None), "{at}");
        }
    }
}
