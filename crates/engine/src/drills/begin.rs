//! Beginning a drill, and ending one by hand. Both are privileged acts: an intent in the journal, with a reason.

use super::{UNDECLARED, run::lift, subject, wake};
use crate::{Engine, Error, Refusal, Result, Tick, intent::Intent, loops};
use domain::{
    Span, Time,
    drill::{
        EVERY, Kind, LEAST_WITHIN, MOST_WITHIN, Phase, WITHIN,
        begin::{Facts, against},
        reason::{Reason, Why},
    },
    issuing::KeysAt,
    words::{Management, SecretId, TargetId},
};
use serde_json::json;
use std::collections::BTreeSet;
use store::{
    Actor, Tx,
    journal::Entry,
    model::{
        drill::{self, Drill, Run},
        issuance, node, rollout,
        secret::{self, Secret},
    },
    timer,
};

/// Nodes of a region are read in pages of this many.
const PAGE: i64 = 1_000;

/// What is asked for: a drill of the inventory by its name, or one with a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// The drill of the inventory.
    pub name: Option<String>,
    /// The secret, where no drill of the inventory is named.
    pub secret: Option<String>,
    /// What is rehearsed with it; a rotation where nothing is said.
    pub kind: Option<Kind>,
    /// The node that fails.
    pub node: Option<String>,
    /// The region that is cut off.
    pub region: Option<String>,
    /// Within which time it has to be over.
    pub within: Option<Span>,
}

/// What is rehearsed, with all that was left open filled in.
struct Planned {
    name: String,
    secret: String,
    kind: Kind,
    node: String,
    region: String,
    every: Span,
    within: Span,
}

impl Engine {
    /// Begins a drill.
    ///
    /// # Errors
    /// There is no such drill or secret; no reason; `bad-drill` for one that asks for what does not belong together; `drill-refused` with
    /// all that stands against it.
    pub fn run_drill(&self, ask: &Ask, reason: &str, actor: &Actor, tick: &Tick) -> Result<Run> {
        if reason.trim().is_empty() {
            return Err(Error::refused("reason-missing", "a drill needs a reason: --reason \"…\""));
        }
        self.store.try_write(actor, tick.now, |tx| {
            let planned = planned(tx, ask)?;
            begin(tx, &planned, reason, actor, tick)
        })
    }

    /// Ends a drill by hand: what it made go wrong is lifted at once. A rollout that is on its way stays one: it brings a good certificate.
    ///
    /// # Errors
    /// There is no such run, it is over, or there is no reason.
    pub fn abort_drill(&self, id: i64, reason: &str, actor: &Actor, tick: &Tick) -> Result<Run> {
        if reason.trim().is_empty() {
            return Err(Error::refused("reason-missing", "ending a drill needs a reason: --reason \"…\""));
        }
        self.store.try_write(actor, tick.now, |tx| {
            let run = drill::lock(tx, id)?.ok_or_else(|| Error::not_found("drill run", &id.to_string()))?;
            if run.phase.is_over() {
                let problem = format!("drill {id} is over: it {}", run.phase);
                return Err(Error::refused("drill-over", problem));
            }
            let content = json!({ "run": id, "kind": run.kind.as_str(), "phase": run.phase.as_str() });
            Intent::new("abort-drill", subject(&run.name), content).approved(tx, reason, actor)?;
            let why = Reason::new(Why::Aborted, format!("ended by {}/{}: {}", actor.issuer, actor.subject, pki::text::escape(reason)));
            super::run::end(tx, run, Phase::Aborted, &[why], None, tick)
        })
    }
}

fn planned(tx: &mut Tx<'_>, ask: &Ask) -> Result<Planned> {
    let bad = |problem: &str| Error::refused("bad-drill", problem);
    match (&ask.name, &ask.secret) {
        (Some(name), None) => {
            let d = drill::by_name(tx, name)?.ok_or_else(|| Error::not_found("drill", name))?;
            if ask.kind.is_some() || ask.node.is_some() || ask.region.is_some() || ask.within.is_some() {
                return Err(bad("a drill of the inventory is run as it is declared; name a secret to choose kind, node, region and time"));
            }
            Ok(of_inventory(&d))
        }
        (None, Some(secret)) => {
            let kind = ask.kind.unwrap_or(Kind::Rotation);
            let (node, region) = (ask.node.clone().unwrap_or_default(), ask.region.clone().unwrap_or_default());
            match kind {
                Kind::NodeDown | Kind::StaleReload if node.is_empty() => return Err(bad("this kind of drill needs the node that fails")),
                Kind::RegionCut if region.is_empty() => return Err(bad("this kind of drill needs the region that is cut off")),
                Kind::Rotation | Kind::Alert if !node.is_empty() || !region.is_empty() => {
                    return Err(bad("nothing fails in this kind of drill; leave node and region out"));
                }
                _ => {}
            }
            let within = ask.within.unwrap_or(WITHIN);
            if within < LEAST_WITHIN || within > MOST_WITHIN {
                return Err(bad(&format!("a drill is to be over within {LEAST_WITHIN} to {MOST_WITHIN}, not {within}")));
            }
            Ok(Planned { name: format!("{UNDECLARED}{secret}"), secret: secret.clone(), kind, node, region, every: EVERY, within })
        }
        _ => Err(bad("name either a drill of the inventory or a secret")),
    }
}

fn of_inventory(d: &Drill) -> Planned {
    Planned {
        name: d.name.clone(),
        secret: d.secret.clone(),
        kind: d.kind,
        node: d.node.clone(),
        region: d.region.clone(),
        every: d.every,
        within: d.within,
    }
}

/// Begins a drill that is due, in the transaction that noticed it. What stands against it is a result: it failed.
pub(super) fn scheduled(tx: &mut Tx<'_>, d: &Drill, actor: &Actor, tick: &Tick) -> Result<()> {
    let planned = of_inventory(d);
    match begin(tx, &planned, "it is due", actor, tick) {
        Ok(_) => Ok(()),
        Err(Error::Refused(refusal)) => {
            // Two drills of one service that are due on the same day: the second waits for its turn.
            if refusal.code == "drill-running" {
                return Ok(());
            }
            let Some(s) = secret::by_name(tx, &d.secret)? else { return Ok(()) };
            let why = Reason::new(Why::CannotBegin, refusal.problems.join("; "));
            let run = new_run(tx, &planned, &s, "it is due", actor, tick.now)?;
            let over = Run { ended_at: Some(tick.now), phase: Phase::Failed, ..run };
            drill::insert(tx, &over)?;
            super::run::end(tx, over, Phase::Failed, &[why], None, tick)?;
            Ok(())
        }
        Err(Error::NotFound { .. }) => Ok(()),
        Err(other) => Err(other),
    }
}

fn begin(tx: &mut Tx<'_>, p: &Planned, reason: &str, actor: &Actor, tick: &Tick) -> Result<Run> {
    let s = secret::by_name(tx, &p.secret)?.filter(|s| s.retired_at.is_none()).ok_or_else(|| Error::not_found("secret", &p.secret))?;
    tx.turn(&format!("drills/{}", service(p.kind, &s)))?;
    let facts = facts(tx, p, &s, tick.now)?;
    let against = against(p.kind, &facts);
    if let Some(first) = against.first() {
        // Whoever only has to wait for another one is told so by its own code.
        let code = if against.len() == 1 && first.code == "drill-running" { "drill-running" } else { "drill-refused" };
        return Err(Error::Refused(Refusal { code, problems: against.into_iter().map(|a| a.detail).collect() }));
    }
    let run = new_run(tx, p, &s, reason, actor, tick.now)?;
    drill::insert(tx, &run)?;
    if p.kind == Kind::Rotation {
        let services = drill::services_of(tx, s.id)?;
        drill::reaches(tx, run.id, &services)?;
    }
    let content = json!({ "run": run.id, "secret": s.name, "kind": p.kind.as_str(), "node": p.node, "region": p.region,
        "within": p.within.as_secs(), "targets": facts.targets });
    Intent::new("drill", subject(&p.name), content).approved(tx, reason, actor)?;
    timer::set(tx, loops::DRILL_RUN, run.id, tick.now)?;
    wake(tx, &p.name, tick.now)?;
    Ok(run)
}

/// In which service one drill at a time may be on its way. A certificate that runs out takes its time, and holds no other drill up by it.
fn service(kind: Kind, s: &Secret) -> String {
    if s.service.is_empty() || kind == Kind::Alert { format!("{UNDECLARED}{}", s.name) } else { s.service.clone() }
}

fn new_run(tx: &mut Tx<'_>, p: &Planned, s: &Secret, reason: &str, actor: &Actor, now: Time) -> Result<Run> {
    Ok(Run {
        id: tx.next_id("drill_run")?,
        name: p.name.clone(),
        secret: s.id,
        service: service(p.kind, s),
        kind: p.kind,
        node: p.node.clone(),
        region: p.region.clone(),
        every: p.every,
        within: p.within,
        actor: format!("{}/{}", actor.issuer, actor.subject),
        reason: reason.to_owned(),
        phase: Phase::Asked,
        awaits: String::new(),
        detail: String::new(),
        started_at: now,
        version: 0,
        issued_at: None,
        rollout: 0,
        incident: 0,
        fault_at: None,
        noticed_at: None,
        lifted_at: None,
        ended_at: None,
        reasons: String::from("[]"),
        observed: 0,
        quarantined: 0,
        left: 0,
        p50: None,
        p95: None,
        max: None,
        steps: String::from("{}"),
    })
}

fn facts(tx: &mut Tx<'_>, p: &Planned, s: &Secret, now: Time) -> Result<Facts> {
    let tally = drill::tally(tx, s.id)?;
    let count = |n: i64| u64::try_from(n).unwrap_or_default();
    let running = match drill::open_in(tx, &service(p.kind, s))? {
        Some(run) => Some(run),
        None => drill::open_of(tx, s.id)?,
    };
    let hit = if p.kind.is_fault() { hit(tx, s.id, &p.node, &p.region)?.map(|(_, targets)| targets.len() as u64) } else { None };
    Ok(Facts {
        secret: pki::text::escape(&s.name),
        not_renewed: not_renewed(tx, s)?,
        targets: count(tally.targets),
        production: count(tally.production),
        behind: count(tally.behind),
        short: tally.margin_at < now.unix(),
        incident: drill::incident_since(tx, s.id, Time::EPOCH, &[])?.map(|i| i.0),
        rollout: rollout::open_of(tx, s.id)?.first().map(|r| r.id.0),
        running: running.map(|r| (r.id, pki::text::escape(&r.name))),
        declared_canary: drill::is_declared_canary(tx, &s.name)?,
        hit,
    })
}

fn not_renewed(tx: &mut Tx<'_>, s: &Secret) -> Result<Option<String>> {
    if s.kind != domain::words::Kind::Certificate || s.management == Management::External {
        return Ok(Some(format!("it is {} and {}", s.kind, s.management)));
    }
    let issued = issuance::get(tx, s.id)?.filter(|i| !i.issued_by.is_empty());
    let Some(issued) = issued else {
        return Ok(Some(String::from("nobody is declared to issue it (issued_by)")));
    };
    let carried = node::any_behind(tx, s.id)?;
    Ok((issued.keys == KeysAt::Node && !carried).then(|| String::from("its keys are born on nodes, and no node stands behind its targets")))
}

/// The nodes that a fault hits, and the targets behind them; none where nothing is called so.
pub(super) fn hit(tx: &mut Tx<'_>, secret: SecretId, name: &str, region: &str) -> Result<Option<(Vec<node::Node>, BTreeSet<TargetId>)>> {
    let mut nodes = Vec::new();
    if name.is_empty() {
        let mut after = String::new();
        loop {
            let page = node::page(tx, region, &after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = last.name.clone();
            nodes.extend(page);
        }
    } else {
        nodes.extend(node::by_name(tx, name)?);
    }
    let (mut hit, mut targets) = (Vec::new(), BTreeSet::new());
    for n in nodes.into_iter().filter(|n| n.retired_at.is_none()) {
        if node::install(tx, n.id, secret)?.is_some() {
            targets.extend(node::targets_of(tx, n.id, secret)?);
            hit.push(n);
        }
    }
    Ok((!hit.is_empty()).then_some((hit, targets)))
}

/// What a run made go wrong is lifted, journaled, and whoever was cut off hears.
pub(super) fn lifted(tx: &mut Tx<'_>, run: &mut Run, tick: &Tick) -> Result<()> {
    if run.lifted_at.is_some() || (run.fault_at.is_none() && run.kind != Kind::Alert) {
        return Ok(());
    }
    run.lifted_at = Some(tick.now);
    if run.kind == Kind::Alert {
        timer::set_earlier(tx, loops::RENEW, run.secret.0, tick.now)?;
    }
    let nodes = lift(tx, run, tick)?;
    tx.journal(Entry::new("drill.lifted", subject(&run.name), "", &json!({ "run": run.id, "nodes": nodes })))?;
    Ok(())
}
