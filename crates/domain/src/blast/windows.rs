//! What ends together: windows that slide over the moments at which targets fall.

use super::{Reach, ServiceShare, Snapshot, Tally, shares};
use crate::{Span, Time};
use alloc::{collections::BTreeSet, vec::Vec};

/// Targets that fall within one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first of them falls here, and the window begins.
    pub from: Time,
    /// The last of them falls here: less than the window's length after the first.
    pub last: Time,
    /// What falls.
    pub reach: Reach,
    /// Its members, in the order in which they fall.
    members: (u32, u32),
}

/// Windows that do not overlap, the widest first.
#[derive(Debug, Clone)]
pub struct Windows<'a> {
    snapshot: &'a Snapshot,
    /// The windows.
    pub all: Vec<Window>,
    falling: Vec<(i64, u32)>,
}

impl Windows<'_> {
    /// The targets of a window, in the order in which they fall.
    pub fn targets(&self, w: &Window) -> impl Iterator<Item = u32> + '_ {
        self.falling[w.members.0 as usize..w.members.1 as usize].iter().map(|(_, t)| *t)
    }

    /// What a window takes of each service, the largest share first.
    pub fn services(&self, w: &Window) -> Vec<ServiceShare> {
        shares(self.snapshot, self.targets(w))
    }

    /// Those behind a place in the list: `after` is the width and the beginning of the last one before.
    pub fn after(&self, after: Option<(u32, Time)>) -> &[Window] {
        let from = after.map_or(0, |(width, from)| {
            self.all.partition_point(|w| w.reach.targets > width || (w.reach.targets == width && w.from <= from))
        });
        &self.all[from..]
    }
}

/// What falls together after `now`, in windows `[t, t + width)` that begin when a target falls, at `before` at the latest (exclusive).
///
/// Every such window was looked at; the list has the widest of them, then the widest that does not overlap with it, and so on. What
/// is equally wide comes in the order of time.
pub fn windows(s: &Snapshot, width: Span, now: Time, before: Time) -> Windows<'_> {
    let width = width.max(Span::seconds(1)).as_secs();
    let mut falling: Vec<(i64, u32)> = (0..s.len()).filter_map(|t| Some((s.falls(t, now)?.unix(), t))).collect();
    falling.sort_unstable();

    let mut candidates = Vec::new();
    let mut tally = Tally::new(s);
    let (mut begin, mut end) = (0, 0);
    while begin < falling.len() && falling[begin].0 < before.unix() {
        let from = falling[begin].0;
        while end < falling.len() && falling[end].0 - from < width {
            tally.add(s.place(falling[end].1));
            end += 1;
        }
        candidates.push(Window {
            from: Time::from_unix(from),
            last: Time::from_unix(falling[end - 1].0),
            reach: tally.reach,
            members: (begin as u32, end as u32),
        });
        while begin < end && falling[begin].0 == from {
            tally.remove(s.place(falling[begin].1));
            begin += 1;
        }
    }
    // The widest first, and of those the earliest: one number for each, since moving whole windows about costs more than all the rest.
    let mut order: Vec<u64> = (0u64..).zip(&candidates).map(|(n, c)| (u64::from(u32::MAX - c.reach.targets) << 32) | n).collect();
    order.sort_unstable();
    let mut taken: BTreeSet<i64> = BTreeSet::new();
    let mut all = Vec::new();
    for n in order {
        let candidate = candidates[(n & u64::from(u32::MAX)) as usize];
        let from = candidate.from.unix();
        if taken.range(from - width + 1..from + width).next().is_none() {
            taken.insert(from);
            all.push(candidate);
        }
    }
    Windows { snapshot: s, all, falling }
}
