//! What a rollout waits for, each with a sentence that a person can read and a code that machines can.

use super::RolloutId;
use crate::{Span, Time, words::IncidentId};
use alloc::{string::String, vec::Vec};
use core::fmt;

/// Why nothing happens now. Names and texts in it are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Somebody, or a rule, stopped it.
    Halted {
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// Since when.
        since: Time,
    },
    /// Mass actions are held while the clock is not believed.
    ClockNotBelieved,
    /// Another rollout of the same secret has to come to a point at which it can be left.
    Behind {
        /// Which.
        rollout: RolloutId,
    },
    /// More targets of a wave are dead than may be left behind.
    QuarantineExceeded {
        /// Which wave.
        wave: String,
        /// Dead ones, those that are quarantined already included.
        dead: usize,
        /// How many may be.
        allowed: usize,
        /// Who they are.
        targets: Vec<String>,
    },
    /// An incident began at a target after its nodes were told.
    NewIncident {
        /// Which.
        incident: IncidentId,
        /// Where.
        target: String,
        /// What it says of that target.
        detail: String,
        /// Since when.
        since: Time,
    },
    /// A required vantage, or the target, does not answer.
    NoSignal {
        /// Which target.
        target: String,
        /// Since when, where that is known.
        since: Option<Time>,
        /// What is missing.
        detail: String,
        /// When it counts as dead.
        until: Time,
    },
    /// Its nodes say that they have it, and no observation has shown that yet.
    Unobserved {
        /// Which target.
        target: String,
        /// Since when its nodes are told.
        since: Time,
        /// When it counts as dead.
        until: Time,
    },
    /// A node has not fetched what it is to have.
    Told {
        /// For which target.
        target: String,
        /// The node.
        node: String,
        /// Since when it is told.
        since: Time,
        /// When the target counts as dead.
        until: Time,
    },
    /// The agent of a node has not been heard of.
    NodeSilent {
        /// For which target.
        target: String,
        /// The node.
        node: String,
        /// Since when; none where its agent never joined.
        since: Option<Time>,
    },
    /// A node says that it could not install it.
    NodeFailed {
        /// For which target.
        target: String,
        /// The node.
        node: String,
        /// What it says.
        detail: String,
    },
    /// A node's clock is off, so it is given no certificate that it would call not yet valid.
    NodeClock {
        /// For which target.
        target: String,
        /// The node.
        node: String,
        /// By how much; positive where the node is ahead.
        off: Span,
    },
    /// The certificate for a node does not exist yet.
    NotIssued {
        /// For which target.
        target: String,
        /// The node.
        node: String,
        /// What is waited for.
        detail: String,
    },
    /// No agent is known behind a target.
    NobodyCarries {
        /// Which target.
        target: String,
    },
    /// The others of the wave wait until some of those that are on their way were observed.
    ShareLimit {
        /// Of which wave.
        wave: String,
        /// How many wait.
        waiting: usize,
        /// How many may be on their way at once.
        limit: usize,
    },
    /// The wave was observed and is watched.
    Soak {
        /// Which wave.
        wave: String,
        /// Until when.
        until: Time,
        /// Whether it is shorter than the policy says, because what is served elsewhere ends before.
        shortened: bool,
    },
    /// The watch is over, and the targets of the wave are looked at once more.
    LastLook {
        /// Which wave.
        wave: String,
        /// When the watch was over.
        until: Time,
        /// Who was not seen since.
        targets: Vec<String>,
    },
}

impl Reason {
    /// Stable, for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Reason::Halted { .. } => "halted",
            Reason::ClockNotBelieved => "clock-not-believed",
            Reason::Behind { .. } => "behind",
            Reason::QuarantineExceeded { .. } => "quarantine-exceeded",
            Reason::NewIncident { .. } => "new-incident",
            Reason::NoSignal { .. } => "no-signal",
            Reason::Unobserved { .. } => "unobserved",
            Reason::Told { .. } => "told",
            Reason::NodeSilent { .. } => "node-silent",
            Reason::NodeFailed { .. } => "node-failed",
            Reason::NodeClock { .. } => "node-clock",
            Reason::NotIssued { .. } => "not-issued",
            Reason::NobodyCarries { .. } => "nobody-carries",
            Reason::ShareLimit { .. } => "share-limit",
            Reason::Soak { .. } => "soak",
            Reason::LastLook { .. } => "last-look",
        }
    }

    /// Whether nothing but a person ends it.
    pub const fn needs_a_person(&self) -> bool {
        matches!(self, Reason::Halted { .. } | Reason::QuarantineExceeded { .. } | Reason::NobodyCarries { .. })
    }

    /// The target that it is about, where it is about one.
    pub fn target(&self) -> Option<&str> {
        match self {
            Reason::NewIncident { target, .. }
            | Reason::NoSignal { target, .. }
            | Reason::Unobserved { target, .. }
            | Reason::Told { target, .. }
            | Reason::NodeSilent { target, .. }
            | Reason::NodeFailed { target, .. }
            | Reason::NodeClock { target, .. }
            | Reason::NotIssued { target, .. }
            | Reason::NobodyCarries { target } => Some(target),
            _ => None,
        }
    }

    /// When time alone ends it, or makes something else of it.
    pub const fn until(&self) -> Option<Time> {
        match self {
            Reason::NoSignal { until, .. } | Reason::Unobserved { until, .. } | Reason::Told { until, .. } | Reason::Soak { until, .. } => {
                Some(*until)
            }
            _ => None,
        }
    }
}

/// How many names a sentence has room for.
const SHOWN: usize = 3;

/// Some of these names, and how many more there are.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(SHOWN);
    if more > 0 { alloc::format!("{shown} and {more} more") } else { shown }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Halted { by, reason, since } => {
                write!(f, "halted by {by} since {since}: {reason}; it goes on with `perennial rollout resume`")
            }
            Reason::ClockNotBelieved => {
                f.write_str("the clock is not believed, so nothing is sent out until it is: see `perennial status`")
            }
            Reason::Behind { rollout } => write!(f, "rollout {rollout} of the same secret still has targets on their way"),
            Reason::QuarantineExceeded { wave, dead, allowed, targets } => {
                write!(
                    f,
                    "{dead} of the wave {wave} are dead and at most {allowed} may be left behind: {}; bring them back, take them out of the \
                     inventory, or go on without them (`perennial rollout resume --despite`)",
                    some(targets)
                )
            }
            Reason::NewIncident { incident, target, detail, since } => {
                write!(
                    f,
                    "incident {incident} began at {target} on {since}, after its turn: {detail}; it goes on when that is over, or with `perennial rollout resume --despite`"
                )
            }
            Reason::NoSignal { target, since, detail, until } => {
                write!(f, "{target} gives no signal")?;
                if let Some(since) = since {
                    write!(f, " since {since}")?;
                }
                write!(f, ": {detail}; it counts as dead from {until} on")
            }
            Reason::Unobserved { target, since, until } => {
                write!(f, "{target} was not observed serving it yet; told since {since}, it counts as dead from {until} on")
            }
            Reason::Told { target, node, since, until } => {
                write!(
                    f,
                    "{node}, which serves {target}, is told since {since} and has not installed it; it counts as dead from {until} on"
                )
            }
            Reason::NodeSilent { target, node, since: Some(since) } => {
                write!(f, "the agent of {node}, which serves {target}, was last heard of on {since}")
            }
            Reason::NodeSilent { target, node, since: None } => {
                write!(f, "the agent of {node}, which serves {target}, has never joined: `perennial node join-token {node}`")
            }
            Reason::NodeFailed { target, node, detail } => write!(f, "{node}, which serves {target}, could not install it: {detail}"),
            Reason::NodeClock { target, node, off } => {
                let (off, way) = if *off < Span::ZERO { (Span::ZERO - *off, "behind") } else { (*off, "ahead") };
                write!(f, "the clock of {node}, which serves {target}, is {off} {way}; it gets no certificate until it is right")
            }
            Reason::NotIssued { target, node, detail } => {
                write!(f, "the certificate of {node}, which serves {target}, is not issued yet: {detail}")
            }
            Reason::NobodyCarries { target } => {
                write!(f, "no agent is known behind {target}: a release or a person has to bring it there")
            }
            Reason::ShareLimit { wave, waiting, limit } => {
                write!(f, "{waiting} more of the wave {wave} wait for their turn: at most {limit} may be on their way at once")
            }
            Reason::Soak { wave, until, shortened } => {
                let why = if *shortened { ", shorter than the policy says, since what others serve ends soon" } else { "" };
                write!(f, "every target of the wave {wave} was observed; it is watched until {until}{why}")
            }
            Reason::LastLook { wave, until, targets } => {
                write!(f, "the wave {wave} was watched until {until}; before the next one these are looked at once more: {}", some(targets))
            }
        }
    }
}
