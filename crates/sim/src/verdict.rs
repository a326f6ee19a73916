//! What a scenario shows: the two histories, held against what it expects.

use crate::{
    Detector, History, Options, Result, Signal,
    history::play,
    scenario::{Catchable, Expect, Scenario},
};
use domain::Span;

/// What came of a scenario.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// In which people react.
    pub history: History,
    /// In which they do not.
    pub control: History,
    /// The first that an owner heard.
    pub first: Option<Signal>,
    /// How long before the outage that was.
    pub lead: Option<Span>,
    /// The first from another detector.
    pub second: Option<Signal>,
    /// Why it is not as it should be; none if it is.
    pub failures: Vec<String>,
}

/// Plays both histories and judges them.
///
/// # Errors
/// The scenario cannot be carried out as written.
pub fn replay(scenario: &Scenario, options: &Options) -> Result<Verdict> {
    let history = play(scenario, options, true)?;
    let control = play(scenario, options, false)?;
    let first = history.signals.iter().find(|signal| signal.detector.is_some()).cloned();
    let other = |signal: &&Signal| signal.detector.is_some() && signal.detector != first.as_ref().and_then(|f| f.detector);
    let second = history.signals.iter().find(other).cloned();
    let lead = first.as_ref().map(|signal| scenario.outage.at - signal.at);
    let failures = judge(scenario, &history, &control, lead, second.as_ref());
    Ok(Verdict { history, control, first, lead, second, failures })
}

fn judge(scenario: &Scenario, history: &History, control: &History, lead: Option<Span>, second: Option<&Signal>) -> Vec<String> {
    let outage = &scenario.outage;
    let mut failures = Vec::new();
    match control.broke {
        None => failures.push(String::from("the control shows no outage, so the scenario proves nothing")),
        Some(at) if apart(at - outage.at) > outage.within => {
            failures.push(format!("the control breaks at {at}, and production broke at {}", outage.at));
        }
        Some(_) if control.worst.0 < outage.reach_percent => {
            failures.push(format!(
                "the control turns away the clients of {} % of all targets, and it were {} %",
                control.worst.0, outage.reach_percent
            ));
        }
        Some(_) => {}
    }
    if let (Catchable::Yes | Catchable::Deadline, Some(at)) = (outage.catchable, history.broke) {
        failures.push(format!("production breaks at {at} all the same, {} targets at the worst", history.worst.1));
    }
    match lead {
        None => failures.push(String::from("nobody hears anything")),
        Some(lead) if lead < outage.lead => failures.push(format!("the first signal comes {lead} before, and {} are asked", outage.lead)),
        Some(_) => {}
    }
    if second.is_none() {
        failures.push(String::from("no second detector says anything"));
    }
    failures.extend(scenario.expect.iter().filter_map(|expect| missing(expect, history)));
    for never in &scenario.never {
        if let Some(signal) = history.signals.iter().find(|signal| never.is(signal)) {
            failures.push(format!("{}: {} is told {} ({}), which must never be", signal.at, signal.team, signal.code, signal.title));
        }
    }
    failures
}

fn missing(expect: &Expect, history: &History) -> Option<String> {
    let what = || {
        let told = &expect.told;
        let words = [told.kind.as_deref(), told.code.as_deref(), told.secret.as_deref(), told.team.as_deref()];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    let first = history.signals.iter().find(|signal| expect.told.is(signal));
    match (first, expect.not_before) {
        (None, _) => Some(format!("not told: {}, by {}", what(), expect.by)),
        (Some(first), _) if first.at > expect.by => Some(format!("told at {}, after {}: {}", first.at, expect.by, what())),
        (Some(first), Some(earliest)) if first.at < earliest => Some(format!("told at {}, before {earliest}: {}", first.at, what())),
        (Some(_), _) => None,
    }
}

fn apart(span: Span) -> Span {
    if span < Span::ZERO { Span::ZERO - span } else { span }
}

impl Verdict {
    /// Whether it is as it should be.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// The detectors that said something, each once, in the order in which they did.
    pub fn detectors(&self) -> Vec<Detector> {
        let mut seen = Vec::new();
        for detector in self.history.signals.iter().filter_map(|signal| signal.detector) {
            if !seen.contains(&detector) {
                seen.push(detector);
            }
        }
        seen
    }
}
