//! What of a service breaks its rules now.

use super::Rules;
use crate::{
    Fingerprint, Span, Time,
    blast::{By, Group, Snapshot, groups, windows},
    calendar::{Calendar, Frozen},
};
use alloc::{string::String, vec::Vec};

/// One way in which a service breaks its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breach {
    /// A certificate is served in more than one region.
    SharedAcrossRegions {
        /// Which.
        certificate: Served,
        /// In how many regions.
        regions: u32,
    },
    /// More targets serve a certificate than may.
    TooManyTargets {
        /// Which.
        certificate: Served,
        /// How many may.
        most: u64,
    },
    /// A certificate ends inside a freeze.
    InFreeze {
        /// Which.
        certificate: Served,
        /// The freeze.
        freeze: Frozen,
    },
    /// A certificate ends on a day on which none may.
    OnClosedDay {
        /// Which.
        certificate: Served,
        /// The day as the rules list it.
        day: String,
    },
    /// Two certificates end too soon after each other.
    TooClose {
        /// The one that ends later.
        certificate: Served,
        /// The one that ends before it, or with it.
        before: Served,
        /// How far apart they must be.
        least: Span,
    },
    /// One window takes too much of the service down.
    WindowTooWide {
        /// When its first target falls.
        from: Time,
        /// When its last target falls.
        last: Time,
        /// How many fall.
        targets: u32,
        /// Of how many.
        of: u32,
        /// How much may, in per cent.
        percent: u32,
    },
}

/// A certificate that is served, as breaches name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Its fingerprint.
    pub leaf: Fingerprint,
    /// A path through it, in the snapshot.
    pub path: u32,
    /// How many targets may answer with it.
    pub targets: u32,
    /// When it ends.
    pub not_after: Time,
}

/// Everything in which a service's targets break its rules at `now`: the widest or soonest first within each rule. What has ended
/// already is no matter of partition any more.
pub fn breaches(s: &Snapshot, rules: &Rules, calendar: &Calendar, now: Time) -> Vec<Breach> {
    let leaves = groups(s, By::Leaf);
    let served = |g: &Group| Served { leaf: g.print, path: g.path, targets: g.reach.targets, not_after: s.dates(g.path).1 };
    let mut all = Vec::new();
    if rules.one_region_per_certificate {
        let shared = leaves.all.iter().filter(|g| g.reach.regions > 1);
        all.extend(shared.map(|g| Breach::SharedAcrossRegions { certificate: served(g), regions: g.reach.regions }));
    }
    if let Some(most) = rules.max_targets_per_certificate {
        let wide = leaves.all.iter().take_while(|g| u64::from(g.reach.targets) > most);
        all.extend(wide.map(|g| Breach::TooManyTargets { certificate: served(g), most }));
    }
    let mut ends: Vec<Served> = leaves.all.iter().map(served).filter(|c| c.not_after > now && c.not_after < Time::NO_EXPIRY).collect();
    ends.sort_by_key(|c| (c.not_after, c.leaf));
    for certificate in &ends {
        if let Some(freeze) = rules.frozen_end(calendar, certificate.not_after) {
            all.push(Breach::InFreeze { certificate: *certificate, freeze });
        }
        if let Some(day) = rules.listed_day(calendar, certificate.not_after) {
            all.push(Breach::OnClosedDay { certificate: *certificate, day: String::from(day) });
        }
    }
    if let Some(days) = rules.min_days_between {
        let least = Span::days(days.into());
        let close = ends.windows(2).filter(|w| w[1].not_after - w[0].not_after < least);
        all.extend(close.map(|w| Breach::TooClose { certificate: w[1], before: w[0], least }));
    }
    if let Some(percent) = rules.max_share_percent {
        let of = s.len();
        let too_wide = |targets: u32| u64::from(targets) * 100 > u64::from(percent) * u64::from(of);
        let all_windows = windows(s, rules.window(), now, Time::NO_EXPIRY).all;
        // A single target is not divided any further.
        let wide = all_windows.iter().take_while(|w| w.reach.targets > 1 && too_wide(w.reach.targets));
        all.extend(wide.map(|w| Breach::WindowTooWide { from: w.from, last: w.last, targets: w.reach.targets, of, percent }));
    }
    all
}
