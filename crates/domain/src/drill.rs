//! Rehearsals: what they measure, when they are due, what they prove, and what they may never touch.
//!
//! A drill runs the code of a crisis (a version is issued, and a rollout of the critical policy takes it out), so what it measures is what a
//! crisis would take. Its times are read from what nodes, rollouts and observations committed; nothing is timed for the drill's sake.
//! [`measure`] adds them up, [`course`] says what comes next, [`alert`] does so where a certificate runs out on purpose, [`schedule`]
//! when a drill is due and what it has proven, [`begin`] what stands against one.

pub mod alert;
pub mod begin;
pub mod course;
pub mod measure;
pub mod reason;
pub mod schedule;

use crate::{Span, words::word};

word!(
    /// What is rehearsed.
    Kind {
        /// A certificate is replaced everywhere by the way of an emergency, and what that takes is measured.
        Rotation = "rotation",
        /// A certificate that nobody depends on runs out, and every channel must confirm the page.
        Alert = "alert",
        /// A node is down while a version goes out.
        NodeDown = "node-down",
        /// A node changes its files and goes on serving the old certificate.
        StaleReload = "stale-reload",
        /// A region is cut off while a version goes out.
        RegionCut = "region-cut",
    }
);

impl Kind {
    /// Whether something is made to go wrong.
    pub const fn is_fault(self) -> bool {
        matches!(self, Kind::NodeDown | Kind::StaleReload | Kind::RegionCut)
    }
}

word!(
    /// Where a drill is on its way.
    Phase {
        /// It was decided, and nothing was done yet.
        Asked = "asked",
        /// A new version was asked for.
        Issuing = "issuing",
        /// The version goes out; or, in an alert drill, the certificate runs out.
        Rolling = "rolling",
        /// The fault is lifted, and production has to end well.
        Recovering = "recovering",
        /// It was seen to do what it should, in time.
        Passed = "passed",
        /// It was not.
        Failed = "failed",
        /// Somebody ended it.
        Aborted = "aborted",
    }
);

impl Phase {
    /// Whether it is over.
    pub const fn is_over(self) -> bool {
        matches!(self, Phase::Passed | Phase::Failed | Phase::Aborted)
    }
}

/// Within which time the whole fleet has to be observed, where a drill says nothing else.
pub const WITHIN: Span = Span::minutes(60);
/// How often a drill is due where nobody declared it: for so long what it proved is believed.
pub const EVERY: Span = Span::days(30);
/// The shortest time within which a drill can be asked to be over.
pub const LEAST_WITHIN: Span = Span::minutes(1);
/// The longest: a fleet that needs more than a day has no emergency path.
pub const MOST_WITHIN: Span = Span::days(1);
/// Drills are not due more often than this: each costs a certificate.
pub const LEAST_EVERY: Span = Span::hours(1);
/// Nor more seldom: people and machines are others after a year.
pub const MOST_EVERY: Span = Span::days(366);

/// How long a drill is measured that is not over in its time: it has failed then, and by how much is worth knowing.
pub fn patience(within: Span) -> Span {
    Span::seconds(within.as_secs().saturating_mul(4)).min(MOST_WITHIN).max(within)
}
