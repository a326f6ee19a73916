//! The way of a drill that replaces a certificate: what comes next, and how it ended.
//!
//! Nothing here is told by the drill itself: a rollout is done when its targets were observed, a fault was noticed when the rollout says so,
//! production is well when every target was observed on one version.

use super::{
    Kind, Phase,
    measure::Report,
    patience,
    reason::{Awaited, Reason, Waiting, Why},
};
use crate::{
    Span, Time,
    rollout::{plan::What, policy::allowed},
    words::word,
};
use alloc::{format, string::String, vec, vec::Vec};

word!(
    /// What has to come of a fault.
    Expected {
        /// The dead are left behind as open lines, and the others finish.
        Quarantine = "quarantine",
        /// The rollout stops in front of it, and nothing behind it changes.
        Halt = "halt",
        /// The node puts the last good version back by itself, and the rollout stops, goes back, or leaves it behind.
        PutBack = "put-back",
    }
);

/// What a fault must lead to: where the policy allows its dead to be left behind in every wave, that; else the rollout stops.
///
/// `waves` has, for each wave, what it is, how many of its targets the fault hits, and how many it has; of these `percent` may be quarantined
/// ([`allowed`]).
pub fn expected(kind: Kind, waves: &[(What, usize, usize)], percent: u32) -> Option<Expected> {
    match kind {
        Kind::Rotation | Kind::Alert => None,
        Kind::StaleReload => Some(Expected::PutBack),
        Kind::NodeDown | Kind::RegionCut => {
            let may = |(what, hit, size): &(What, usize, usize)| *hit <= allowed(*what, *size, percent);
            Some(if waves.iter().all(may) { Expected::Quarantine } else { Expected::Halt })
        }
    }
}

/// Where the rollout is, with the sentence that it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollout {
    /// On its way, or waiting for something that comes by itself.
    Running(String),
    /// The rules stopped it, and somebody has to say how it goes on.
    Halted(String),
    /// By the rules it went back, or is about to.
    RolledBack(String),
    /// A person stopped it, or took it back.
    ByPerson(String),
    /// Another rollout took its place, or something real is on its way.
    Overtaken(String),
    /// Its last target was observed.
    Done,
}

/// What came of a fault so far, as committed by rollouts, nodes and observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What has to come of it.
    pub expected: Expected,
    /// Targets behind what does not work.
    pub hit: u64,
    /// Of these: left behind as open lines.
    pub quarantined: u64,
    /// Of these: why the rollout goes no further, since a node failed there, or since patience with them is over and they were not observed.
    pub named: u64,
    /// Of these: the node claims that the last good version is in place again.
    pub put_back: u64,
    /// When it was lifted.
    pub lifted_at: Option<Time>,
}

/// What is known of a drill that replaces a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<'a> {
    /// What is rehearsed.
    pub kind: Kind,
    /// Where it is.
    pub phase: Phase,
    /// When it was noticed that a certificate is to be replaced.
    pub started_at: Time,
    /// Within which time all has to be observed.
    pub within: Span,
    /// When the version existed.
    pub issued_at: Option<Time>,
    /// Why no version can be issued.
    pub cannot_issue: Option<&'a str>,
    /// Where its rollout is; none before it began.
    pub rollout: Option<Rollout>,
    /// What was made to go wrong.
    pub fault: Option<Fault>,
    /// What it took so far.
    pub report: &'a Report,
    /// Targets, the dead included, that were not observed on the version (or a later one).
    pub behind: u64,
    /// An incident that was opened on the secret since.
    pub incident: Option<i64>,
    /// Something real that what is made to fail, or what goes out, would hold up.
    pub elsewhere: Option<String>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing; look again at that time, or when something else changes.
    Wait(Waiting, Time),
    /// Ask for a version.
    Issue,
    /// Begin the rollout of the version (again, after it went back).
    Begin,
    /// What was made to go wrong was noticed: end it.
    Lift,
    /// The fault is lifted: let a rollout that stopped go on.
    Resume,
    /// It is over; no reason where it passed. A fault that still stands is lifted by it.
    End(Vec<Reason>),
}

/// What comes next at `now`.
pub fn next(s: &Seen<'_>, now: Time) -> Step {
    if s.phase.is_over() {
        return Step::End(Vec::new());
    }
    if let Some(incident) = s.incident {
        let detail = format!("incident {incident} was opened on what the drill uses; the incident goes first");
        return Step::End(vec![Reason::new(Why::IncidentOpened, detail)]);
    }
    // What people and emergencies say stands above any rehearsal.
    if let Some(why) = &s.elsewhere {
        return Step::End(vec![Reason::new(Why::Overtaken, why)]);
    }
    match &s.rollout {
        Some(Rollout::ByPerson(why)) => return Step::End(vec![Reason::new(Why::Halted, why)]),
        Some(Rollout::Overtaken(why)) => return Step::End(vec![Reason::new(Why::Overtaken, why)]),
        _ => {}
    }
    // A fault is never left standing for longer than the drill may take; a rotation that is late is measured on.
    let end = s.started_at + if s.kind.is_fault() { s.within } else { patience(s.within) };
    match s.phase {
        Phase::Asked => Step::Issue,
        Phase::Issuing => issuing(s, end, now),
        _ if !s.kind.is_fault() => rotation(s, end, now),
        Phase::Rolling => fault(s, end, now),
        _ => recovering(s, end, now),
    }
}

fn issuing(s: &Seen<'_>, end: Time, now: Time) -> Step {
    if let Some(why) = s.cannot_issue {
        return Step::End(vec![Reason::new(Why::CannotIssue, why)]);
    }
    if s.issued_at.is_some() {
        return Step::Begin;
    }
    if now > end {
        return Step::End(vec![Reason::new(Why::CannotIssue, format!("no version was issued within {}", end - s.started_at))]);
    }
    Step::Wait(Waiting::new(Awaited::Version, "a new version was asked for"), after(end))
}

fn rotation(s: &Seen<'_>, end: Time, now: Time) -> Step {
    match &s.rollout {
        None => Step::Begin,
        Some(Rollout::RolledBack(why)) => Step::End(vec![Reason::new(Why::RolledBack, why)]),
        Some(Rollout::Halted(why)) => Step::End(vec![Reason::new(Why::Halted, why)]),
        Some(Rollout::Done) if s.report.left == 0 => Step::End(verdict(s)),
        _ if now > end => Step::End(vec![Reason::unobserved(s.behind.max(s.report.left), now - s.started_at)]),
        Some(Rollout::Running(why)) => Step::Wait(Waiting::new(Awaited::Rollout, why), after(end)),
        Some(Rollout::Done | Rollout::ByPerson(_) | Rollout::Overtaken(_)) => {
            Step::Wait(Waiting::new(Awaited::Observation, format!("{} are still to be observed", s.report.left)), after(end))
        }
    }
}

/// What stands against a drill whose rollout is over: everything was observed, in time.
fn verdict(s: &Seen<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    match s.report.whole() {
        None => reasons.push(Reason::new(Why::Unobserved, "not one target was observed on the new version")),
        Some(whole) if whole.max > s.within => reasons.push(Reason::too_slow(whole.max, s.within)),
        Some(_) => {}
    }
    if s.behind > 0 {
        let took = s.report.whole().map_or(s.within, |w| w.max);
        reasons.push(Reason::unobserved(s.behind, took));
    }
    reasons
}

fn fault(s: &Seen<'_>, end: Time, now: Time) -> Step {
    let (Some(rollout), Some(fault)) = (&s.rollout, &s.fault) else { return Step::Begin };
    let stopped = matches!(rollout, Rollout::Halted(_) | Rollout::RolledBack(_));
    let noticed = match fault.expected {
        Expected::Quarantine => fault.quarantined == fault.hit && matches!(rollout, Rollout::Done),
        // A node that hears of nothing breaks nothing: a rollout that the rules stop or take back has another cause.
        Expected::Halt => fault.named > 0,
        Expected::PutBack => fault.put_back == fault.hit && (stopped || fault.named + fault.quarantined > 0),
    };
    if noticed && fault.hit > 0 {
        return Step::Lift;
    }
    let unexpected = match (fault.expected, rollout) {
        (Expected::Quarantine, Rollout::Halted(why) | Rollout::RolledBack(why)) => {
            Some(format!("the dead should have been left behind as open lines, and the rollout stopped instead: {why}"))
        }
        (Expected::Halt, Rollout::Halted(why) | Rollout::RolledBack(why)) => {
            Some(format!("the rollout should have stopped in front of what does not answer, and ended otherwise: {why}"))
        }
        (_, Rollout::Done) if fault.expected != Expected::Quarantine => {
            Some(String::from("the rollout was done as if nothing had happened"))
        }
        _ => None,
    };
    if let Some(detail) = unexpected {
        return Step::End(vec![Reason::new(Why::FaultUnnoticed, detail)]);
    }
    if now > end {
        return Step::End(vec![unnoticed(fault, end - s.started_at)]);
    }
    let detail = match fault.expected {
        Expected::Quarantine => "the dead are to be left behind as open lines, and the others to finish",
        Expected::Halt => "the rollout is to stop in front of what does not answer",
        Expected::PutBack => "the node is to put the last good version back by itself, and the rollout to notice",
    };
    Step::Wait(Waiting::new(Awaited::Notice, detail), after(end))
}

fn unnoticed(fault: &Fault, after: Span) -> Reason {
    if fault.expected == Expected::PutBack && fault.put_back < fault.hit {
        let left = fault.hit - fault.put_back;
        return Reason::new(Why::NotPutBack, format!("{left} of {} did not put the last good version back within {after}", fault.hit));
    }
    let what = match fault.expected {
        Expected::Quarantine => format!("{} of {} were left behind as open lines", fault.quarantined, fault.hit),
        Expected::Halt | Expected::PutBack => String::from("the rollout neither stopped nor said that it waits for them"),
    };
    Reason::new(Why::FaultUnnoticed, format!("after {after} {what}"))
}

fn recovering(s: &Seen<'_>, end: Time, now: Time) -> Step {
    let rest = || {
        let stands = match &s.rollout {
            Some(
                Rollout::Running(why) | Rollout::Halted(why) | Rollout::RolledBack(why) | Rollout::ByPerson(why) | Rollout::Overtaken(why),
            ) => format!("; its rollout: {why}"),
            Some(Rollout::Done) | None => String::new(),
        };
        format!("{} are not observed on the new version{stands}", s.behind)
    };
    match &s.rollout {
        // Nothing is pushed any more once the time is over: what is there to be done is a person's to say.
        _ if now > end => Step::End(vec![Reason::new(Why::NotRecovered, format!("after {}: {}", end - s.started_at, rest()))]),
        Some(Rollout::Halted(_)) => Step::Resume,
        None | Some(Rollout::RolledBack(_)) => Step::Begin,
        Some(Rollout::Done) if s.behind == 0 => Step::End(Vec::new()),
        Some(_) => Step::Wait(Waiting::new(Awaited::Recovery, rest()), after(end)),
    }
}

fn after(end: Time) -> Time {
    end + Span::seconds(1)
}

#[cfg(test)]
mod tests;
