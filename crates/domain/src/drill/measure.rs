//! What a drill took: noticed → issued → distributed → installed → observed, for each target, each wave and in all.

use crate::{Span, Time, words::word};
use alloc::{collections::BTreeMap, vec::Vec};

word!(
    /// A step of the way, and the whole of it.
    Step {
        /// From the moment at which it was noticed to the version.
        Issued = "issued",
        /// From the version until the node had fetched it; its wave's turn is part of it.
        Distributed = "distributed",
        /// Until the agent claimed that it is in place.
        Installed = "installed",
        /// Until the server itself observed it.
        Observed = "observed",
        /// From noticed to observed.
        Whole = "whole",
    }
);

/// When one target passed what. What never happened, or was never said, is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// The wave that brought it, 0-based.
    pub wave: u32,
    /// When the version existed.
    pub issued: Option<Time>,
    /// When its node fetched it (the last of them, where there are several).
    pub distributed: Option<Time>,
    /// When its agent claimed that it is in place.
    pub installed: Option<Time>,
    /// When the server observed it.
    pub observed: Option<Time>,
    /// Whether it was left behind as dead: an open line, and no part of the measure.
    pub quarantined: bool,
}

impl Marks {
    /// How long a step took; none where one of its ends is unknown.
    ///
    /// The server may see the new certificate before the agent says a word. A step takes no time then, and the whole is still the whole.
    pub fn took(&self, step: Step, noticed: Time) -> Option<Span> {
        let (from, to) = match step {
            Step::Issued => (Some(noticed), self.issued),
            Step::Distributed => (self.issued, self.distributed),
            Step::Installed => (self.distributed, self.installed),
            Step::Observed => (self.installed.or(self.distributed), self.observed),
            Step::Whole => (Some(noticed), self.observed),
        };
        Some((to? - from?).max(Span::ZERO))
    }
}

/// How a step was spread over targets, by nearest rank: each number is one that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Over how many targets.
    pub n: u64,
    /// Half of them took no longer.
    pub p50: Span,
    /// 95 of 100 took no longer.
    pub p95: Span,
    /// None took longer.
    pub max: Span,
}

impl Spread {
    /// None of nothing.
    pub fn of(mut took: Vec<Span>) -> Option<Spread> {
        took.sort_unstable();
        Some(Spread { n: took.len() as u64, p50: nearest_rank(&took, 50)?, p95: nearest_rank(&took, 95)?, max: *took.last()? })
    }
}

/// The smallest value that at least `percent` of a hundred do not exceed; of values in ascending order.
fn nearest_rank(sorted: &[Span], percent: usize) -> Option<Span> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// The steps of a set of targets.
pub type Steps = BTreeMap<Step, Spread>;

/// What a drill took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// All targets together.
    pub all: Steps,
    /// Each wave.
    pub waves: BTreeMap<u32, Steps>,
    /// Targets that were observed.
    pub observed: u64,
    /// Targets that were left behind as dead.
    pub quarantined: u64,
    /// Targets that are still to be observed.
    pub left: u64,
}

impl Report {
    /// Adds up what is known of the targets.
    pub fn of(noticed: Time, targets: &[Marks]) -> Report {
        let mut waves: BTreeMap<u32, Vec<&Marks>> = BTreeMap::new();
        let counted = || targets.iter().filter(|m| !m.quarantined);
        for m in counted() {
            waves.entry(m.wave).or_default().push(m);
        }
        let observed = counted().filter(|m| m.observed.is_some()).count() as u64;
        let quarantined = targets.iter().filter(|m| m.quarantined).count() as u64;
        Report {
            all: steps(noticed, counted()),
            waves: waves.iter().map(|(wave, marks)| (*wave, steps(noticed, marks.iter().copied()))).collect(),
            observed,
            quarantined,
            left: targets.len() as u64 - quarantined - observed,
        }
    }

    /// The whole way of everything that was observed.
    pub fn whole(&self) -> Option<Spread> {
        self.all.get(&Step::Whole).copied()
    }
}

fn steps<'a>(noticed: Time, marks: impl Iterator<Item = &'a Marks> + Clone) -> Steps {
    let spread = |step: Step| Some((step, Spread::of(marks.clone().filter_map(|m| m.took(step, noticed)).collect())?));
    Step::ALL.iter().filter_map(|step| spread(*step)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn s(n: i64) -> Span {
        Span::seconds(n)
    }

    #[test]
    fn ranks_are_values_that_were_measured() {
        for (values, p50, p95, max) in [
            (vec![7], 7, 7, 7),
            (vec![1, 2], 1, 2, 2),
            (vec![3, 1, 2], 2, 3, 3),
            ((1..=20).collect(), 10, 19, 20),
            ((1..=21).collect(), 11, 20, 21),
            ((1..=100).rev().collect(), 50, 95, 100),
        ] {
            let n = values.len() as u64;
            let spread = Spread::of(values.into_iter().map(s).collect());
            assert_eq!(spread, Some(Spread { n, p50: s(p50), p95: s(p95), max: s(max) }));
        }
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn each_step_begins_where_the_one_before_ended() {
        let t = |n: i64| Some(Time::from_unix(1000 + n));
        let noticed = Time::from_unix(1000);
        let marks = |issued, distributed, installed, observed| Marks { issued, distributed, installed, observed, ..Marks::default() };
        for (m, want) in [
            (marks(t(1), t(3), t(6), t(10)), [Some(1), Some(2), Some(3), Some(4), Some(10)]),
            // Seen before the agent said a word.
            (marks(t(1), t(3), t(12), t(10)), [Some(1), Some(2), Some(9), Some(0), Some(10)]),
            // No agent stands behind it.
            (marks(t(1), None, None, t(10)), [Some(1), None, None, None, Some(10)]),
            (marks(t(1), t(3), None, t(10)), [Some(1), Some(2), None, Some(7), Some(10)]),
            (marks(t(1), t(3), None, None), [Some(1), Some(2), None, None, None]),
            (Marks::default(), [None; 5]),
        ] {
            let got = Step::ALL.iter().map(|step| m.took(*step, noticed).map(Span::as_secs)).collect::<Vec<_>>();
            assert_eq!(got, want, "{m:?}");
        }
    }

    #[test]
    fn waves_are_told_apart_and_the_dead_are_no_part_of_it() {
        let noticed = Time::from_unix(0);
        let seen = |wave, at| Marks { wave, observed: Some(Time::from_unix(at)), ..Marks::default() };
        let dead = Marks { wave: 1, quarantined: true, observed: Some(Time::from_unix(9999)), ..Marks::default() };
        let report = Report::of(noticed, &[seen(0, 5), seen(1, 20), seen(1, 30), dead, Marks { wave: 2, ..Marks::default() }]);
        let whole = |steps: &Steps| steps.get(&Step::Whole).map(|w| (w.n, w.max.as_secs()));
        assert_eq!(whole(&report.all), Some((3, 30)));
        assert_eq!(report.waves.values().map(whole).collect::<Vec<_>>(), [Some((1, 5)), Some((2, 30)), None]);
        assert_eq!((report.observed, report.quarantined, report.left), (3, 1, 1));
    }
}
