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
        schedule::Run as Ended,
    },
    rollout::{State, plan::What},
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
        for claim in &claims {
            let done = self.drill_run(claim, tick);
            self.left_for_later(loops::DRILL_RUN, claim, done, tick)?;
        }
        Ok(claims.len())
    }

    fn drill_run(&self, claim: &timer::Claim, tick: &Tick) -> Result<()> {
        let (now, open) = (tick.now, self.is_open());
        let act = self.store.try_write(&rules(), now, |tx| one(tx, claim.subject, open, tick))?;
        let next = match act {
            Act::Rest(next) => next,
            // It was committed that a version is asked for; asking twice is asking once.
            Act::Renew(name, reason) => match self.renew_secret(&name, &reason, &rules(), tick) {
                Ok(_) => Some(now + AT_LEAST),
                Err(Error::Store(e)) => return Err(Error::Store(e)),
                Err(error) => self.store.try_write(&rules(), now, |tx| cannot_issue(tx, claim.subject, &error.to_string(), tick))?,
            },
        };
        self.store.write(&rules(), now, |tx| timer::done(tx, loops::DRILL_RUN, claim, next))?;
        Ok(())
    }
}

fn cannot_issue(tx: &mut Tx<'_>, id: i64, why: &str, tick: &Tick) -> Result<Option<Time>> {
    let Some(run) = drill::lock(tx, id)? else { return Ok(None) };
    if run.phase.is_over() {
        return over(tx, &run, tick.now);
    }
    let run = end(tx, run, Phase::Failed, &[Reason::new(Why::CannotIssue, why)], None, tick)?;
    over(tx, &run, tick.now)
}

/// When something stands about a run that is over because time went by: a rehearsal of the inventory is due again by its own timer, and
/// whoever asked for one by hand is told when what it has proven is believed no longer.
fn over(tx: &mut Tx<'_>, run: &Run, now: Time) -> Result<Option<Time>> {
    let (latest, passed) = drill::latest(tx, &run.name)?;
    let newest = latest.as_ref().zip(passed.as_ref()).is_some_and(|(l, p)| l.id == run.id && p.id == run.id);
    let Some(ended_at) = run.ended_at.filter(|_| newest && run.kind == Kind::Rotation && run.name.starts_with(super::UNDECLARED)) else {
        return Ok(None);
    };
    let until = Ended { kind: run.kind, phase: run.phase, ended_at, p95: None, every: run.every }.believed_until();
    if now < until {
        return Ok(Some(until));
    }
    super::tell_lapsed(tx, run, until, now)?;
    incident::wake_open(tx, loops::INCIDENT, now)?;
    Ok(None)
}

fn one(tx: &mut Tx<'_>, id: i64, open: bool, tick: &Tick) -> Result<Act> {
    let Some(run) = drill::lock(tx, id)? else { return Ok(Act::Rest(None)) };
    if run.phase.is_over() {
        return Ok(Act::Rest(over(tx, &run, tick.now)?));
    }
    let Some(s) = secret::get(tx, run.secret)?.filter(|s| s.retired_at.is_none()) else {
        let gone = Reason::new(Why::Gone, "the secret that it uses left the inventory");
        end(tx, run, Phase::Failed, &[gone], None, tick)?;
        return Ok(Act::Rest(None));
    };
    if run.kind == Kind::Alert {
        return alert_step(tx, run, &s, tick);
    }
    let known = known(tx, &run, &s, open, tick.now)?;
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
            let halted = rollout::lock(tx, RolloutId(run.rollout))?;
            // A person who halts it at this moment has the last word.
            if let Some(mut r) = halted.filter(|r| r.state.is_open() && r.halted_by == rollouts::THE_RULES) {
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
            let run = end(tx, run, phase, &reasons, Some(&known.report), tick)?;
            Ok(Act::Rest(over(tx, &run, tick.now)?))
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
    elsewhere: Option<String>,
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
            elsewhere: self.elsewhere.clone(),
        }
    }
}

fn known(tx: &mut Tx<'_>, run: &Run, s: &secret::Secret, open: bool, now: Time) -> Result<Known> {
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
    let fault = match &row {
        // What was lifted is not asked about any more.
        Some(r) if run.kind.is_fault() && run.lifted_at.is_none() => Some(came(tx, run, r, &live, &waits, now)?),
        _ => None,
    };
    let rollout = match &row {
        Some(r) => Some(stands(tx, r, &waits)?),
        None => None,
    };
    Ok(Known {
        issued_at,
        cannot_issue: if run.phase == Phase::Issuing && issued_at.is_none() { cannot(tx, s, open)? } else { None },
        rollout,
        fault,
        behind: live.iter().filter(|p| p.observed_at.is_none()).count() as u64,
        report: Report::of(run.started_at, &marks),
        incident: drill::incident_since(tx, s.id, run.started_at, &[])?.map(|i| i.0),
        elsewhere: elsewhere(tx, run, row.is_none())?,
    })
}

/// Something real that this rehearsal would hold up: another rollout of the same secret before its own begins, or something else that a
/// node is to have which hears of nothing.
fn elsewhere(tx: &mut Tx<'_>, run: &Run, before: bool) -> Result<Option<String>> {
    use domain::rollout::Kind as Why;
    let open = if before { rollout::open_of(tx, run.secret)? } else { Vec::new() };
    if let Some(r) = open.iter().find(|r| !matches!(r.kind, Why::Drill | Why::Rollback)) {
        return Ok(Some(format!("rollout {} of version {} is {} and no rehearsal; it goes first", r.id, r.version, r.kind)));
    }
    let held = drill::holds_up(tx, run.id)?;
    Ok(held.map(|(node, secret)| {
        let (node, secret) = (pki::text::escape(&node), pki::text::escape(&secret));
        format!("node {node}, which the drill cut off, is to have another version of {secret}; that goes first")
    }))
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

/// How many rollouts behind one the one that takes it back is looked for.
const TAKEN_BACK_WITHIN: i64 = 50;

fn stands(tx: &mut Tx<'_>, r: &rollout::Rollout, waits: &[rollouts::Waits]) -> Result<Stands> {
    let ended = || format!("rollout {} is {}: {}", r.id, r.state, pki::text::escape(&r.said));
    Ok(match r.state {
        State::Done => Stands::Done,
        State::Superseded => Stands::Overtaken(ended()),
        State::RolledBack => {
            let later = rollout::of_secret(tx, r.secret, TAKEN_BACK_WITHIN)?;
            let rules = rules();
            let by_rules = format!("{}/{}", rules.issuer, rules.subject);
            // The rules take back what began, always by another rollout; whatever else goes back does so by a person.
            match later.iter().find(|l| l.takes_back == r.id.0) {
                Some(back) if back.actor == by_rules => Stands::RolledBack(ended()),
                Some(back) => Stands::ByPerson(format!("{} took it back: {}", pki::text::escape(&back.actor), ended())),
                None => Stands::ByPerson(format!("a person took it back: {}", ended())),
            }
        }
        State::Running if !r.halted_by.is_empty() => {
            let (by, why) = (pki::text::escape(&r.halted_by), pki::text::escape(&r.halted_reason));
            let sentence = format!("rollout {} was halted by {by}: {why}", r.id);
            if r.halted_by == rollouts::THE_RULES { Stands::Halted(sentence) } else { Stands::ByPerson(sentence) }
        }
        State::Waiting | State::Running => Stands::Running(waits.first().map_or_else(|| r.said.clone(), |w| w.text.clone())),
    })
}

/// What came of the fault so far.
fn came(tx: &mut Tx<'_>, run: &Run, r: &rollout::Rollout, live: &[&Part], waits: &[rollouts::Waits], now: Time) -> Result<Came> {
    let hit = drill::hit(tx, run.id)?;
    let hit_parts: Vec<&&Part> = live.iter().filter(|p| hit.contains_key(&p.target)).collect();
    let mut waves: Vec<(What, usize, usize)> = rollouts::kinds(tx, r)?.into_iter().map(|what| (what, 0, 0)).collect();
    for p in live {
        if let Some(wave) = usize::try_from(p.wave).ok().and_then(|w| waves.get_mut(w)) {
            wave.1 += usize::from(hit.contains_key(&p.target));
            wave.2 += 1;
        }
    }
    let (percent, patience) = rollouts::leaves_behind(&r.policy)?;
    let stuck = waits.iter().any(|w| w.code == "quarantine-exceeded");
    let failed: BTreeSet<&str> = waits.iter().filter(|w| w.code == "node-failed").filter_map(|w| w.target.as_deref()).collect();
    // That the rollout stands still may have another cause: it does so for a target of the fault once patience with that one is over.
    let dead = |p: &Part| p.observed_at.is_none() && p.quarantined_at.is_none() && p.begun_at.is_some_and(|at| at + patience <= now);
    let named = hit_parts.iter().filter(|p| (stuck && dead(p)) || failed.contains(pki::text::escape(&p.name).as_str())).count();
    let count = |of: &dyn Fn(&Part) -> bool| hit_parts.iter().filter(|p| of(p)).count() as u64;
    Ok(Came {
        expected: course::expected(run.kind, &waves, percent).unwrap_or(Expected::Halt),
        hit: hit_parts.len() as u64,
        quarantined: count(&|p| p.quarantined_at.is_some()),
        named: named as u64,
        put_back: count(&|p| hit.get(&p.target).copied().unwrap_or_default()),
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
        None if run.name.starts_with(super::UNDECLARED) => super::tell_undeclared(tx, run, now),
        // It left the inventory on its way: no later run could end what is said of it.
        None => super::retired(tx, &run.name, now),
    }
}

fn alert_step(tx: &mut Tx<'_>, run: Run, s: &secret::Secret, tick: &Tick) -> Result<Act> {
    let mut run = run;
    let seen = alert::seen(tx, &mut run, s, tick)?;
    match domain::drill::alert::next(&seen, tick.now) {
        domain::drill::alert::Step::Wait(waiting, then) => waits(tx, run, &waiting, then, tick),
        domain::drill::alert::Step::Hold => {
            // What runs out is the version of now.
            let run = Run { phase: Phase::Rolling, fault_at: Some(tick.now), version: s.newest_version, ..run };
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
