//! Why a drill failed: words for machines, sentences for people.

use crate::{Span, words::word};
use alloc::{
    format,
    string::{String, ToString},
};

word!(
    /// Why a drill failed, by the word that machines see; stable for ever.
    Why {
        /// Something stood against it before it began.
        CannotBegin = "cannot-begin",
        /// No version could be issued.
        CannotIssue = "cannot-issue",
        /// The rollout came to a halt.
        Halted = "halted",
        /// The rollout went back.
        RolledBack = "rolled-back",
        /// All was observed, later than it should have been.
        TooSlow = "too-slow",
        /// Not all was observed.
        Unobserved = "unobserved",
        /// What was made to go wrong was not noticed.
        FaultUnnoticed = "fault-unnoticed",
        /// The node did not put the last good version back by itself.
        NotPutBack = "not-put-back",
        /// The fault was lifted, and production did not come together on one version.
        NotRecovered = "not-recovered",
        /// An incident was opened on what the drill used.
        IncidentOpened = "incident-opened",
        /// A certificate ran out, and no incident was opened, or nobody was woken.
        NotPaged = "not-paged",
        /// A channel did not take the page.
        ChannelSilent = "channel-silent",
        /// No person acknowledged the page.
        NotAcknowledged = "not-acknowledged",
        /// Something real went before it, and it made way.
        Overtaken = "overtaken",
        /// Somebody ended it.
        Aborted = "aborted",
        /// What it was to use left the inventory.
        Gone = "gone",
    }
);

/// Why a drill failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// The word.
    pub why: Why,
    /// What it is about: a team and its channel, a node; empty where the drill as a whole.
    pub about: String,
    /// The sentence. Names and texts in it are escaped.
    pub detail: String,
}

impl Reason {
    /// About the drill as a whole.
    pub fn new(why: Why, detail: impl Into<String>) -> Reason {
        Reason { why, about: String::new(), detail: detail.into() }
    }

    /// About something of it.
    pub fn about(why: Why, about: impl Into<String>, detail: impl Into<String>) -> Reason {
        Reason { why, about: about.into(), detail: detail.into() }
    }

    /// All was observed, too late.
    pub fn too_slow(took: Span, within: Span) -> Reason {
        Reason::new(Why::TooSlow, format!("the last target was observed after {took}; it should have been within {within}"))
    }

    /// Some were not observed.
    pub fn unobserved(left: u64, after: Span) -> Reason {
        let targets = if left == 1 { String::from("1 target was") } else { format!("{left} targets were") };
        Reason::new(Why::Unobserved, format!("{targets} not observed on the new version after {after}"))
    }
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.detail)
    }
}

word!(
    /// What a drill waits for.
    Awaited {
        /// A new version.
        Version = "version",
        /// The rollout.
        Rollout = "rollout",
        /// Targets that are to be observed.
        Observation = "observation",
        /// That what was made to go wrong is noticed.
        Notice = "notice",
        /// That the certificate runs out and somebody is woken.
        Page = "page",
        /// That every channel takes the page.
        Channels = "channels",
        /// That a person acknowledges.
        Acknowledgement = "acknowledgement",
        /// That production proves that it is well again.
        Recovery = "recovery",
    }
);

/// What a drill waits for, with a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The word.
    pub on: Awaited,
    /// The sentence.
    pub detail: String,
}

impl Waiting {
    /// With its sentence.
    pub fn new(on: Awaited, detail: impl ToString) -> Waiting {
        Waiting { on, detail: detail.to_string() }
    }
}
