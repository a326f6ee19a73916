//! What is kept of a finding that must not be forgotten.
//!
//! opened → acknowledged → mitigated → resolved or retired → reviewed. The subject is the certificate that ends, the lines are
//! the targets. A line closes on evidence alone (law 1), and silence is none (law 2).

use crate::{
    Span, Time,
    finding::{Finding, Subject},
    policy::{self, Level},
    target::Standing,
    words::{IncidentId, TargetId, word},
};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};

word!(
    /// Where an incident is on its way.
    State {
        /// Nobody has said that they look after it.
        Opened = "opened",
        /// Somebody has; it is quiet for a while.
        Acknowledged = "acknowledged",
        /// Users are no longer hurt; production still has to prove it.
        Mitigated = "mitigated",
        /// Every line was observed to be gone.
        Resolved = "resolved",
        /// Every line that was left was taken out of the inventory.
        Retired = "retired",
        /// Root cause and corrective actions are written down.
        Reviewed = "reviewed",
    }
);

impl State {
    /// Whether production still has something to prove.
    pub fn is_open(self) -> bool {
        matches!(self, State::Opened | State::Acknowledged | State::Mitigated)
    }
}

/// The same subject within this time is the same incident again.
pub const REOPENS_WITHIN: Span = Span::days(7);
/// A repeat is looked for in this much past.
pub const REPEATS_WITHIN: Span = Span::days(365);

/// An open line of a target, wherever it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLine {
    /// Its number.
    pub id: i64,
    /// Its incident.
    pub incident: IncidentId,
    /// [`Finding::key`].
    pub key: String,
    /// Since when.
    pub opened_at: Time,
}

/// What is to be done with the lines of one target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciled<'a> {
    /// Findings that need a new line, with the subject of the incident it belongs to.
    pub open: Vec<(Subject, &'a Finding)>,
    /// Lines that were proven to be gone; `Standing::evidence` goes with them.
    pub close: Vec<i64>,
    /// Lines that stay, with what the rules say now.
    pub keep: Vec<(OpenLine, &'a Finding)>,
    /// Lines whose finding is gone and that wait for evidence (or for a clock that is believed).
    pub wait: Vec<i64>,
}

/// Compares what is open for a target with what the rules say now.
pub fn reconcile<'a>(
    lines: &[OpenLine],
    standing: &'a Standing,
    baseline: Option<&(String, Time)>,
    clock_believed: bool,
    now: Time,
) -> Reconciled<'a> {
    let mut done = Reconciled::default();
    let wanted: Vec<&Finding> = standing.findings.iter().filter(|f| f.level == Level::Incident).collect();
    for finding in &wanted {
        let key = finding.key();
        match lines.iter().find(|l| l.key == key) {
            Some(line) => done.keep.push((line.clone(), finding)),
            None => {
                let subject = match baseline {
                    Some((name, until)) if now < *until => Subject::Baseline(name.clone()),
                    _ if !clock_believed => Subject::Store(crate::finding::Code::ClockNotBelieved),
                    _ => finding.subject.clone(),
                };
                done.open.push((subject, finding));
            }
        }
    }
    for line in lines.iter().filter(|l| !wanted.iter().any(|f| f.key() == l.key)) {
        let proven = standing.settled_since.is_some_and(|since| since >= line.opened_at);
        if proven && clock_believed {
            done.close.push(line.id);
        } else {
            done.wait.push(line.id);
        }
    }
    done
}

/// What an incident is, as far as its own way goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Its number.
    pub id: IncidentId,
    /// Its subject, as text.
    pub subject: String,
    /// Where it is.
    pub state: State,
    /// When it was opened (the last time).
    pub opened_at: Time,
    /// When it was last acknowledged, and until when it is quiet.
    pub quiet_until: Option<Time>,
    /// When people were last told.
    pub told_at: Time,
    /// Whether the escalation contact was told.
    pub escalated: bool,
    /// Whether somebody was woken.
    pub page: bool,
    /// Whether a line is already broken.
    pub broken: bool,
    /// The earliest end among its open lines.
    pub until: Option<Time>,
    /// Open lines.
    pub open_lines: u64,
    /// Lines that closed on evidence.
    pub proven_lines: u64,
    /// Lines that were taken out of the inventory.
    pub retired_lines: u64,
}

/// What happens to an incident now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing; look again at that time.
    Wait(Option<Time>),
    /// Every line is proven to be gone.
    Resolve,
    /// What was left was taken out of the inventory.
    Retire,
    /// Somebody is woken: from now on it pages.
    Page,
    /// The escalation contact hears of it.
    Escalate,
    /// The acknowledgement has ended and nothing was observed to improve.
    Remind,
}

/// An open incident is told again after this long at the latest.
pub const REMIND_AFTER: Span = Span::days(7);

/// What happens to an open incident at `now`.
pub fn step(incident: &Incident, critical_path: Option<Span>, now: Time) -> Step {
    if !incident.state.is_open() {
        return Step::Wait(None);
    }
    if incident.open_lines == 0 {
        return if incident.proven_lines > 0 || incident.retired_lines == 0 { Step::Resolve } else { Step::Retire };
    }
    let runway = incident.until.map_or(Span::days(7), |t| policy::remaining(t, now));
    if !incident.page && policy::wakes(incident.broken, runway, critical_path) {
        return Step::Page;
    }
    let mut next = incident.until.map(|t| t - policy::wakes_below(critical_path) + Span::seconds(1)).filter(|t| *t > now);
    let mut at = |t: Time| next = Some(next.map_or(t, |n: Time| n.min(t)));
    match (incident.state, incident.quiet_until) {
        (State::Opened, _) if !incident.escalated => {
            let due = incident.opened_at
                + policy::escalates_after(incident.until.map_or(Span::days(7), |t| policy::remaining(t, incident.opened_at)));
            if now >= due {
                return Step::Escalate;
            }
            at(due);
        }
        (_, Some(quiet)) => {
            if now >= quiet && incident.told_at < quiet {
                return Step::Remind;
            }
            at(if now < quiet { quiet } else { incident.told_at + REMIND_AFTER });
            if now >= quiet && now >= incident.told_at + REMIND_AFTER {
                return Step::Remind;
            }
        }
        _ => {
            if now >= incident.told_at + REMIND_AFTER {
                return Step::Remind;
            }
            at(incident.told_at + REMIND_AFTER);
        }
    }
    Step::Wait(next)
}

/// Until when an acknowledgement at `now` quiets. Silencing cannot outlast the runway (law 10).
pub fn quiet_until(incident: &Incident, now: Time) -> Time {
    let runway = incident.until.map_or(Span::days(7), |t| policy::remaining(t, now));
    let quiet = now + policy::acknowledged_for(runway);
    match incident.until {
        Some(until) if until > now => quiet.min(until),
        _ => quiet,
    }
}

/// Somebody is concerned who was not when others acknowledged or mitigated: what these said quiets no longer than it would take to
/// escalate.
pub fn joined(incident: &mut Incident, now: Time) {
    if incident.state == State::Opened && !incident.escalated {
        return;
    }
    let runway = incident.until.map_or(Span::days(7), |t| policy::remaining(t, now));
    let due = now + policy::escalates_after(runway);
    incident.quiet_until = Some(incident.quiet_until.map_or(due, |quiet| quiet.min(due)));
}

/// What a closed incident says to a new finding with its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The same incident is opened again.
    Reopen(IncidentId),
    /// A new one, which is a repeat of that one.
    Repeat(IncidentId),
    /// A new one.
    New,
}

/// The latest closed incident of the same subject decides.
pub fn again(latest_closed: Option<(IncidentId, Time)>, now: Time) -> Again {
    match latest_closed {
        Some((id, at)) if now < at + REOPENS_WITHIN => Again::Reopen(id),
        Some((id, at)) if now < at + REPEATS_WITHIN => Again::Repeat(id),
        _ => Again::New,
    }
}

word!(
    /// The fixed list of root causes; an own one may be written beside it.
    RootCause {
        /// A new certificate waited in a release that missed the date.
        ReleaseDelayed = "release-delayed",
        /// It was renewed, and some or all places never got it.
        RenewedNotDeployed = "renewed-not-deployed",
        /// It lay on the disk, and the process kept the old one.
        RenewedNotReloaded = "renewed-not-reloaded",
        /// Automation failed and told nobody.
        RenewalFailed = "renewal-failed",
        /// Nobody renewed it.
        NotRenewed = "not-renewed",
        /// It was in no inventory.
        NeverTracked = "never-tracked",
        /// Alerts went nowhere.
        AlertMisrouted = "alert-misrouted",
        /// Something above the leaf ended.
        ChainExpiry = "chain-expiry",
        /// It was inside a shipped product.
        BakedIn = "baked-in",
        /// A date was computed wrongly.
        DateArithmetic = "date-arithmetic",
        /// A CA revoked or was distrusted.
        Revocation = "revocation",
        /// Wrong name, key or chain.
        WrongContent = "wrong-content",
        /// Those who rely on it were not ready.
        RelyingParty = "relying-party",
        /// A checker became stricter.
        ValidatorChange = "validator-change",
        /// A clock was wrong.
        Clock = "clock",
        /// Something else; the review's text says what.
        Other = "other",
    }
);

/// A review of the past, as far as repeats go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The incident.
    pub incident: IncidentId,
    /// When it was opened.
    pub opened_at: Time,
    /// Why it happened.
    pub cause: RootCause,
    /// Services, teams and issuers that it touched.
    pub touched: Vec<String>,
}

/// The most recent past incident with the same root cause that touched the same service, team or issuer within a year.
pub fn repeat_of(current: &Past, past: &[Past]) -> Option<IncidentId> {
    past.iter()
        .filter(|p| p.incident != current.incident && p.cause == current.cause)
        .filter(|p| p.opened_at <= current.opened_at && current.opened_at < p.opened_at + REPEATS_WITHIN)
        .filter(|p| p.touched.iter().any(|t| current.touched.contains(t)))
        .max_by_key(|p| (p.opened_at, p.incident))
        .map(|p| p.incident)
}

/// The line key of a target within an incident, for tables.
pub fn line_key(target: TargetId, key: &str) -> String {
    let mut text = target.to_string();
    text.push('/');
    text.push_str(key);
    text
}
