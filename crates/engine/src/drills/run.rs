//! The way of one drill: what is known of it is read from what issuing, rollouts, nodes and observations committed; one step is one
//! transaction that takes its row. Whoever dies between two steps leaves nothing half-way.

use super::{alert, begin, standing, subject, tell, wake};
use crate::{Engine, Error, Result, Tick, incidents, loops, nodes, rollouts, rules};
use domain::{
    Time,
    drill::{
        Kind, Phase,
        course::{self, Expected, Fault as Came, Rollout as Stands, Seen, Step},
        measure::{Marks, Report},
        reason::{Reason, Waiting, Why},
    },
    rollout::State,
    schedule::LEASE,
    words::{RolloutId, TargetId},
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use store::{
    Tx,
    journal::Entry,
    model::{
        drill::{self, Fault, Run},
        incident, issuance, node,
        rollout::{self, Part},
        secret,
    },
    timer,
};

/// How many runs one round takes.
const BATCH: i64 = 100;
/// A run is looked at again after this long at the latest: whoever forgets to wake it costs no more.
const AT_LEAST: domain::Span = domain::Span::seconds(15);

/// What is to be done outside of the transaction that decided it.
enum Act {
    /// Nothing; look again then.
    Rest(Option<Time>),
    /// Ask for a new version of a secret, by its name.
    Renew(String, String),
}

impl Engine {
    /// Moves the drills that are on their way. Says how many there were.
    pub fn drill_runs_once(&self, tick: &Tick) -> Result<usize> {
        let now = tick.now;
        let claims = self.store.write(&rules(), now, |tx| timer::claim(tx, loops::DRILL_RUN, now, &self.holder, LEASE, BATCH))?;
        let open = self.is_open();
        for claim in &claims {
            let act = self.store.try_write(&rules(), now, |tx| one(tx, claim.subject, open, tick))?;
            let next = match act {
                Act::Rest(next) => next,
                // It was committed that a version is asked for; asking twice is asking once.
                Act::Renew(name, reason) => match self.renew_secret(&name, &reason, &rules(), tick) {
                    Ok(_) => Some(now + AT_LEAST),
                    Err(Error::Store(e)) => return Err(Error::Store(e)),
                    Err(error) => {
                        self.store.try_write(&rules(), now, |tx| cannot_issue(tx, claim.subject, &error.to_string(), tick))?;
                        None
                    }
                },
            };
            self.store.write(&rules(), now, |tx| timer::done(tx, loops::DRILL_RUN, claim, next))?;
        }
        Ok(claims.len())
    }
}

fn cannot_issue(tx: &mut Tx<'_>, id: i64, why: &str, tick: &Tick) -> Result<()> {
    if let Some(run) = drill::lock(tx, id)?.filter(|r| !r.phase.is_over()) {
        end(tx, run, Phase::Failed, &[Reason::new(Why::CannotIssue, why)], None, tick)?;
    }
    Ok(())
}

fn one(tx: &mut Tx<'_>, id: i64, open: bool, tick: &Tick) -> Result<Act> {
    let Some(run) = drill::lock(tx, id)?.filter(|r| !r.phase.is_over()) else { return Ok(Act::Rest(None)) };
    let Some(s) = secret::get(tx, run.secret)?.filter(|s| s.retired_at.is_none()) else {
        let gone = Reason::new(Why::Gone, "the secret that it uses left the inventory");
        end(tx, run, Phase::Failed, &[gone], None, tick)?;
        return Ok(Act::Rest(None));
    };
    if run.kind == Kind::Alert {
        return alert_step(tx, run, &s, tick);
    }
    let known = known(tx, &run, &s, open)?;
    let seen = known.seen(&run);
    match course::next(&seen, tick.now) {
        Step::Wait(waiting, then) => waits(tx, run, &waiting, then, tick),
        Step::Issue => {
            let reason = issue_reason(&run);
            let run = Run { phase: Phase::Issuing, version: s.newest_version + 1, ..run };
            drill::put(tx, &run)?;
            note(tx, &run, "issuing", &json!({ "version": run.version }))?;
            Ok(if open { Act::Renew(s.name, reason) } else { Act::Rest(Some(tick.now)) })
        }
        Step::Begin => {
            let mut run = Run {
                issued_at: run.issued_at.or(known.issued_at),
                phase: if run.lifted_at.is_some() { run.phase } else { Phase::Rolling },
                ..run
            };
            break_something(tx, &mut run, tick)?;
            let reason = issue_reason(&run);
            let ask =
                rollouts::Begin { secret: s.id, version: run.version, kind: domain::rollout::Kind::Drill, reason: &reason, revocation: 0 };
            match rollouts::begin(tx, &ask, &rules(), tick) {
                Ok(rollout) => {
                    run.rollout = rollout.0;
                    drill::put(tx, &run)?;
                    note(tx, &run, "rolling", &json!({ "version": run.version, "rollout": rollout.0 }))?;
                    Ok(Act::Rest(Some(tick.now)))
                }
                Err(Error::Refused(no)) => {
                    end(tx, run, Phase::Failed, &[Reason::new(Why::Halted, no.problems.join("; "))], Some(&known.report), tick)?;
                    Ok(Act::Rest(None))
                }
                Err(other) => Err(other),
            }
        }
        Step::Lift => {
            let mut run = Run { phase: Phase::Recovering, noticed_at: Some(tick.now), ..run };
            begin::lifted(tx, &mut run, tick)?;
            drill::put(tx, &run)?;
            Ok(Act::Rest(Some(tick.now)))
        }
        Step::Resume => {
            if let Some(mut r) = rollout::lock(tx, RolloutId(run.rollout))? {
                let body = json!({ "halted_by": r.halted_by, "halted_for": r.halted_reason, "drill": run.id });
                (r.halted_by, r.halted_reason, r.halted_at) = (String::new(), String::new(), None);
                rollout::put(tx, &r)?;
                tx.journal(Entry::new("rollout.resumed", rollouts::subject(r.id), "what the drill made fail is lifted", &body))?;
                timer::set_earlier(tx, loops::ROLLOUT, r.id.0, tick.now)?;
            }
            Ok(Act::Rest(Some(tick.now + AT_LEAST)))
        }
        Step::End(reasons) => {
            let phase = if reasons.is_empty() { Phase::Passed } else { Phase::Failed };
            end(tx, run, phase, &reasons, Some(&known.report), tick)?;
            Ok(Act::Rest(None))
        }
    }
}

fn waits(tx: &mut Tx<'_>, run: Run, waiting: &Waiting, then: Time, tick: &Tick) -> Result<Act> {
    if (run.awaits.as_str(), &run.detail) != (waiting.on.as_str(), &waiting.detail) {
        drill::put(tx, &Run { awaits: waiting.on.as_str().into(), detail: waiting.detail.clone(), ..run })?;
    }
    Ok(Act::Rest(Some(then.min(tick.now + AT_LEAST))))
}

/// Why a version was issued, for whoever reads its history: it is a drill.
fn issue_reason(run: &Run) -> String {
    format!("drill {} of {}: {}", run.id, run.name, run.reason)
}

fn note(tx: &mut Tx<'_>, run: &Run, what: &str, body: &serde_json::Value) -> Result<()> {
    Ok(tx.journal(Entry::new(format!("drill.{what}"), subject(&run.name), "", body))?)
}

/// What is known of a run, as it was committed by others.
struct Known {
    issued_at: Option<Time>,
    cannot_issue: Option<String>,
    rollout: Option<Stands>,
    fault: Option<Came>,
    report: Report,
    behind: u64,
    incident: Option<i64>,
}

impl Known {
    fn seen<'a>(&'a self, run: &Run) -> Seen<'a> {
        Seen {
            kind: run.kind,
            phase: run.phase,
            started_at: run.started_at,
            within: run.within,
            issued_at: self.issued_at,
            cannot_issue: self.cannot_issue.as_deref(),
            rollout: self.rollout.clone(),
            fault: self.fault,
            report: &self.report,
            behind: self.behind,
            incident: self.incident,
        }
    }
}

fn known(tx: &mut Tx<'_>, run: &Run, s: &secret::Secret, open: bool) -> Result<Known> {
    let issued_at = issued_at(tx, run, s)?;
    let row = rollout::get(tx, RolloutId(run.rollout))?;
    let parts = if row.is_some() { rollout::parts(tx, RolloutId(run.rollout))? } else { Vec::new() };
    let live: Vec<&Part> = parts.iter().filter(|p| !p.retired).collect();
    let mut said: BTreeMap<TargetId, Vec<rollout::Carrier>> = BTreeMap::new();
    if let Some(r) = &row {
        for c in rollout::carriers(tx, r.id, r.secret)? {
            said.entry(c.target).or_default().push(c);
        }
    }
    let marks: Vec<Marks> = live.iter().map(|p| marks(p, said.get(&p.target), run.version, issued_at)).collect();
    let waits = match &row {
        Some(r) => rollouts::waits(r)?,
        None => Vec::new(),
    };
    let fault = match (&row, run.kind.is_fault()) {
        (Some(r), true) => Some(came(tx, run, r, &live, &waits)?),
        _ => None,
    };
    Ok(Known {
        issued_at,
        cannot_issue: if run.phase == Phase::Issuing && issued_at.is_none() { cannot(tx, s, open)? } else { None },
        rollout: row.as_ref().map(|r| stands(r, &waits)),
        fault,
        behind: live.iter().filter(|p| p.observed_at.is_none()).count() as u64,
        report: Report::of(run.started_at, &marks),
        incident: drill::incident_since(tx, s.id, run.started_at)?.map(|i| i.0),
    })
}

/// When the version of a run existed; none before it does.
fn issued_at(tx: &mut Tx<'_>, run: &Run, s: &secret::Secret) -> Result<Option<Time>> {
    if run.issued_at.is_some() || run.version == 0 || s.newest_version < run.version {
        return Ok(run.issued_at);
    }
    let behind_newest = s.newest_version - run.version + 1;
    let versions = secret::versions(tx, s.id, behind_newest)?;
    Ok(versions.iter().find(|v| v.number == run.version).map(|v| v.stored_at))
}

/// Why no version will be issued by itself.
fn cannot(tx: &mut Tx<'_>, s: &secret::Secret, open: bool) -> Result<Option<String>> {
    if !open {
        return Ok(Some(String::from("the store is sealed, so nothing can be issued; open it: perennial unseal")));
    }
    let state = issuance::renewal(tx, s.id)?;
    Ok(state.filter(|r| r.terminal && r.version == s.newest_version).map(|r| r.detail))
}

fn marks(p: &Part, said: Option<&Vec<rollout::Carrier>>, version: i64, issued: Option<Time>) -> Marks {
    // Several nodes may stand behind one target: the last of them decides, and one that said nothing leaves it unknown.
    let all = |of: fn(&rollout::Carrier) -> Option<Time>| {
        let nodes = said.filter(|n| !n.is_empty())?;
        let times: Option<Vec<Time>> = nodes.iter().map(|c| of(c).filter(|_| c.version == version)).collect();
        times?.into_iter().max()
    };
    Marks {
        wave: u32::try_from(p.wave).unwrap_or_default(),
        issued,
        distributed: all(|c| c.fetched_at),
        installed: all(|c| c.installed_at),
        observed: p.observed_at,
        quarantined: p.quarantined_at.is_some(),
    }
}

fn stands(r: &rollout::Rollout, waits: &[rollouts::Waits]) -> Stands {
    let first = || waits.first().map_or_else(|| r.said.clone(), |w| w.text.clone());
    match r.state {
        State::Done => Stands::Done,
        State::RolledBack | State::Superseded => {
            Stands::RolledBack(format!("rollout {} is {}: {}", r.id, r.state, pki::text::escape(&r.said)))
        }
        State::Running if !r.halted_by.is_empty() => Stands::Halted(format!(
            "rollout {} was halted by {}: {}",
            r.id,
            pki::text::escape(&r.halted_by),
            pki::text::escape(&r.halted_reason)
        )),
        State::Waiting | State::Running => Stands::Running(first()),
    }
}

/// What came of the fault so far.
fn came(tx: &mut Tx<'_>, run: &Run, r: &rollout::Rollout, live: &[&Part], waits: &[rollouts::Waits]) -> Result<Came> {
    let hit = begin::hit(tx, run.secret, &run.node, &run.region)?.map(|(_, targets)| targets).unwrap_or_default();
    let hit_parts: Vec<&&Part> = live.iter().filter(|p| hit.contains(&p.target)).collect();
    let mut waves: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for p in live {
        let wave = waves.entry(p.wave).or_default();
        wave.0 += u64::from(hit.contains(&p.target));
        wave.1 += 1;
    }
    let waves: Vec<(u64, u64)> = waves.into_values().collect();
    let percent = rollouts::quarantine_of(&r.policy)?;
    let stuck = waits.iter().any(|w| w.code == "quarantine-exceeded");
    let failed: BTreeSet<&str> = waits.iter().filter(|w| w.code == "node-failed").filter_map(|w| w.target.as_deref()).collect();
    let named =
        if stuck { hit_parts.len() } else { hit_parts.iter().filter(|p| failed.contains(pki::text::escape(&p.name).as_str())).count() };
    let mut put_back = BTreeSet::new();
    for f in drill::faults_of(tx, run.id)?.into_iter().filter(|f| f.put_back_at.is_some()) {
        put_back.extend(node::targets_of(tx, f.node, run.secret)?);
    }
    Ok(Came {
        expected: course::expected(run.kind, &waves, percent).unwrap_or(Expected::Halt),
        hit: hit_parts.len() as u64,
        quarantined: hit_parts.iter().filter(|p| p.quarantined_at.is_some()).count() as u64,
        named: named as u64,
        put_back: hit_parts.iter().filter(|p| put_back.contains(&p.target)).count() as u64,
        lifted_at: run.lifted_at,
    })
}

/// Makes go wrong what is rehearsed, once, before the version goes out.
fn break_something(tx: &mut Tx<'_>, run: &mut Run, tick: &Tick) -> Result<()> {
    if !run.kind.is_fault() || run.fault_at.is_some() {
        return Ok(());
    }
    let Some((hit, _)) = begin::hit(tx, run.secret, &run.node, &run.region)? else { return Ok(()) };
    for n in &hit {
        let fault = Fault { run: run.id, node: n.id, secret: run.secret, kind: run.kind, since: tick.now, put_back_at: None };
        drill::set_fault(tx, &fault)?;
    }
    run.fault_at = Some(tick.now);
    note(
        tx,
        run,
        "fault",
        &json!({ "run": run.id, "fault": run.kind.as_str(), "nodes": hit.iter().take(100).map(|n| &n.name).collect::<Vec<_>>() }),
    )
}

/// What is made to go wrong is lifted: the nodes hear of a new generation, without it. Says how many there were.
pub(super) fn lift(tx: &mut Tx<'_>, run: &Run, tick: &Tick) -> Result<usize> {
    let faults = drill::faults_of(tx, run.id)?;
    drill::lift(tx, run.id)?;
    for f in &faults {
        let Some(n) = node::lock(tx, f.node)?.filter(|n| n.retired_at.is_none()) else { continue };
        if f.kind == Kind::StaleReload {
            if let Some(i) = node::install(tx, n.id, f.secret)?.filter(|i| i.version > 0) {
                match nodes::desire(tx, n.id, f.secret, i.version, i.rollout, tick) {
                    Ok(_) | Err(Error::Refused(_) | Error::NotFound { .. }) => {}
                    Err(other) => return Err(other),
                }
            }
        } else {
            node::advance(tx, n.id, tick.now)?;
        }
    }
    Ok(faults.len())
}

/// Ends a run: whatever it made go wrong is lifted, its result is kept, and whoever must hear of it does.
pub(super) fn end(tx: &mut Tx<'_>, run: Run, phase: Phase, reasons: &[Reason], report: Option<&Report>, tick: &Tick) -> Result<Run> {
    let mut run = Run {
        phase,
        awaits: String::new(),
        detail: String::new(),
        ended_at: Some(tick.now),
        reasons: standing::reasons_column(reasons),
        ..run
    };
    begin::lifted(tx, &mut run, tick)?;
    if let Some(report) = report {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        (run.observed, run.quarantined, run.left) = (count(report.observed), count(report.quarantined), count(report.left));
        let whole = report.whole();
        (run.p50, run.p95, run.max) = (whole.map(|w| w.p50.as_secs()), whole.map(|w| w.p95.as_secs()), whole.map(|w| w.max.as_secs()));
        run.steps = standing::steps_column(report);
    }
    drill::put(tx, &run)?;
    let body = json!({ "run": run.id, "kind": run.kind.as_str(), "secret": run.secret.0, "version": run.version, "rollout": run.rollout,
        "observed": run.observed, "left": run.left, "p95": run.p95, "max": run.max,
        "reasons": reasons.iter().take(20).map(|r| r.why.as_str()).collect::<Vec<_>>() });
    tx.journal(Entry::new(format!("drill.{phase}"), subject(&run.name), "", &body))?;
    told(tx, &run, tick.now)?;
    if run.kind == Kind::Rotation {
        // Whoever is woken depends on what was proven.
        incident::wake_open(tx, loops::INCIDENT, tick.now)?;
    }
    Ok(run)
}

/// Says what stands after a run is over.
fn told(tx: &mut Tx<'_>, run: &Run, now: Time) -> Result<()> {
    match drill::by_name(tx, &run.name)? {
        Some(declared) => {
            let past = drill::past(tx, &declared)?;
            tell(tx, &declared, &past, now)?;
            wake(tx, &run.name, now)
        }
        None => super::tell_undeclared(tx, run, now),
    }
}

fn alert_step(tx: &mut Tx<'_>, run: Run, s: &secret::Secret, tick: &Tick) -> Result<Act> {
    let mut run = run;
    let seen = alert::seen(tx, &mut run, s, tick)?;
    match domain::drill::alert::next(&seen, tick.now) {
        domain::drill::alert::Step::Wait(waiting, then) => waits(tx, run, &waiting, then, tick),
        domain::drill::alert::Step::Hold => {
            let run = Run { phase: Phase::Rolling, fault_at: Some(tick.now), ..run };
            drill::put(tx, &run)?;
            note(tx, &run, "holding", &json!({ "run": run.id, "runs_out_at": seen.runs_out_at.to_string() }))?;
            Ok(Act::Rest(Some(tick.now)))
        }
        domain::drill::alert::Step::Escalate => {
            drill::put(tx, &run)?;
            incidents::escalate(tx, domain::words::IncidentId(run.incident), "a drill lets the escalation contact hear at once", tick.now)?;
            Ok(Act::Rest(Some(tick.now + AT_LEAST)))
        }
        domain::drill::alert::Step::Lift => {
            run.phase = Phase::Recovering;
            begin::lifted(tx, &mut run, tick)?;
            drill::put(tx, &run)?;
            Ok(Act::Renew(s.name.clone(), issue_reason(&run)))
        }
        domain::drill::alert::Step::End(reasons) => {
            let phase = if reasons.is_empty() { Phase::Passed } else { Phase::Failed };
            let held = run.lifted_at.is_none();
            let reason = issue_reason(&run);
            end(tx, run, phase, &reasons, None, tick)?;
            Ok(if held { Act::Renew(s.name.clone(), reason) } else { Act::Rest(None) })
        }
    }
}
