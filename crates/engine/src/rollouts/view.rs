//! Everything that the rules look at, read from the database.

use super::policy;
use crate::{Result, Tick, issuing};
use domain::{
    Fingerprint, Span, Time,
    policy::Level,
    rollout::{
        Kind, Plan, State, Wave,
        decide::{Line, Node, Progress, Silence, Target, View},
        plan::What,
    },
    target::Served,
    words::TargetId,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use store::{
    StoreError, Tx,
    model::{
        observation,
        rollout::{self, Carrier, Issued, Part, Rollout},
        secret,
    },
};

/// Loads a rollout that has begun; `parts` are its targets.
pub(super) fn load(tx: &mut Tx<'_>, r: &Rollout, s: &secret::Secret, parts: &[Part], tick: &Tick) -> Result<View> {
    let plan = plan(tx, r, parts)?;
    let back = if r.kind == Kind::Rollback { Some(leaves(tx, r)?) } else { None };
    let mut targets = BTreeMap::new();
    for p in parts {
        let shows = match &back {
            None => p.shows >= r.version,
            Some(leaves) => p.begun_at.is_some() && p.shows == r.version && shows_only(tx, p.target, leaves)?,
        };
        // What nobody dials is taken at its last report.
        let looked_at = if p.vantages.is_empty() { Some(tick.now) } else { p.looked_at };
        targets.insert(p.target, blank(p, shows, looked_at));
    }
    for silence in rollout::silences(tx, r.id)? {
        let Some(t) = targets.get_mut(&silence.target) else { continue };
        if silence.level == Level::Info {
            // A look that failed once, or is still to come, says nothing.
            t.answered_at = None;
            continue;
        }
        let detail = pki::text::escape(&silence.detail);
        // The first of them speaks; since the earliest.
        let before = t.silent.take();
        let since = before.as_ref().and_then(|b| b.since).into_iter().chain(silence.since).min();
        t.silent = Some(Silence { since, detail: before.map_or(detail, |b| b.detail) });
    }
    for l in rollout::lines(tx, r.id, r.secret, r.version)? {
        let Some(t) = targets.get_mut(&l.target) else { continue };
        // That it is to be replaced is why this goes out.
        if l.code != domain::finding::Code::Revoked {
            t.lines.push(Line { incident: l.incident, opened_at: l.opened_at, broken: l.broken, detail: pki::text::escape(&l.detail) });
        }
    }
    said(tx, r, &mut targets, None, tick)?;
    let open = rollout::open_of(tx, r.secret)?;
    let newer = open.iter().find(|o| o.id > r.id && o.state == State::Waiting).map(|o| o.kind);
    let total = rollout::service_size(tx, r.secret, &s.service)?;
    Ok(View {
        kind: r.kind,
        policy: policy::parse(&r.policy)?,
        wave: r.wave.and_then(|w| usize::try_from(w).ok()),
        halted: r.halted_at.map(|at| (pki::text::escape(&r.halted_by), pki::text::escape(&r.halted_reason), at)),
        clock_believed: tick.clock.is_believed(),
        newer,
        total: usize::try_from(total).unwrap_or_default().max(targets.len()),
        targets,
        plan,
    })
}

/// Reads what nodes say of the version, of all targets that were told or only of these.
pub(super) fn said(
    tx: &mut Tx<'_>,
    r: &Rollout,
    targets: &mut BTreeMap<TargetId, Target>,
    only: Option<&BTreeSet<TargetId>>,
    tick: &Tick,
) -> Result<()> {
    let of = |id: &TargetId| only.is_none_or(|o| o.contains(id));
    let carriers: Vec<Carrier> = rollout::carriers(tx, r.id, r.secret)?.into_iter().filter(|c| of(&c.target)).collect();
    if carriers.is_empty() {
        return Ok(());
    }
    let issued = rollout::issued(tx, r.secret, r.version)?;
    // Where no issuer can be asked now, that is what everybody waits for.
    let nobody = !issued.scopes.contains_key("all") && issuing::cannot_ask(tx, r.secret, tick.now)?;
    targets.iter_mut().filter(|(id, _)| of(id)).for_each(|(_, t)| t.nodes.clear());
    for c in carriers {
        if let Some(t) = targets.get_mut(&c.target) {
            t.nodes.push(node(r, &c, &issued, nobody));
        }
    }
    Ok(())
}

fn blank(p: &Part, shows: bool, answered_at: Option<Time>) -> Target {
    Target {
        name: pki::text::escape(&p.name),
        begun_at: p.begun_at,
        observed_at: p.observed_at,
        quarantined_at: p.quarantined_at,
        excused_at: p.excused_at,
        shows,
        answered_at,
        until: match p.served {
            Served::Until(t) if t < Time::NO_EXPIRY => Some(t),
            _ => None,
        },
        silent: None,
        lines: Vec::new(),
        nodes: Vec::new(),
    }
}

/// The leaves of the version that a step back goes to.
fn leaves(tx: &mut Tx<'_>, r: &Rollout) -> Result<BTreeSet<Fingerprint>> {
    Ok(secret::leaves_of(tx, r.secret, r.version)?.into_iter().collect())
}

/// Whether a target shows these leaves and no others: the oldest that it shows says nothing of what else it does.
fn shows_only(tx: &mut Tx<'_>, id: TargetId, leaves: &BTreeSet<Fingerprint>) -> Result<bool> {
    let records = observation::of_target(tx, id)?;
    Ok(records.iter().filter(|o| o.record.good.is_some()).flat_map(|o| o.record.may_serve()).all(|s| leaves.contains(&s.leaf)))
}

fn node(r: &Rollout, c: &Carrier, issued: &Issued, nobody: bool) -> Node {
    let ours = c.version == r.version;
    // Its own, its region's, or everybody's.
    let has = [c.name.as_str(), c.region.as_str(), "all"].into_iter().find_map(|scope| issued.scopes.get(scope));
    let progress = match c.state.as_str() {
        _ if !ours => Progress::Told,
        "failed" if c.failed_at.is_some() => Progress::Failed,
        _ if c.failed_at.is_some() => Progress::RolledBack,
        _ if c.installed_at.is_some() => Progress::Installed,
        _ if c.fetched_at.is_some() => Progress::Fetching,
        _ if has.is_none() && (nobody || issued.asked.contains(&c.name)) => Progress::NotIssued,
        _ => Progress::Told,
    };
    let detail = match progress {
        Progress::NotIssued if nobody => String::from("none of its issuers can be asked now: perennial issuer list"),
        Progress::NotIssued => String::from("its issuer was asked and has not answered"),
        Progress::Failed | Progress::RolledBack if c.detail.is_empty() => String::from("it does not say why"),
        _ => pki::text::escape(&c.detail),
    };
    let ready_at = has.copied().flatten();
    Node { name: pki::text::escape(&c.name), progress, detail, seen_at: c.seen_at, clock_off: Span::seconds(c.clock_off), ready_at }
}

/// The current plan of a rollout; `parts` are the targets that it has now.
pub(super) fn plan(tx: &mut Tx<'_>, r: &Rollout, parts: &[Part]) -> Result<Plan> {
    let Some(hash) = r.plan else { return Ok(Plan { parent: None, version: r.version, waves: Vec::new() }) };
    let (parent, text) = rollout::plan(tx, r.id, &hash)?;
    let mut waves = waves(&text)?;
    for p in parts {
        if let Some(wave) = usize::try_from(p.wave).ok().and_then(|w| waves.get_mut(w)) {
            wave.targets.push(p.target);
        }
    }
    let plan = Plan { parent, version: r.version, waves };
    // Its rows are its targets; a plan that is not what its hash says was written by somebody else.
    if plan.hash() != hash {
        return Err(StoreError::Corrupt { what: format!("the plan of rollout {}", r.id) }.into());
    }
    Ok(plan)
}

/// The waves of a plan as they are kept, without targets.
pub(super) fn waves(text: &str) -> Result<Vec<Wave>> {
    let corrupt = || StoreError::Corrupt { what: String::from("a plan of a rollout") };
    let all: Vec<Value> = serde_json::from_str(text).map_err(|_| corrupt())?;
    let wave = |w: &Value| {
        Some(Wave {
            what: What::parse(w["what"].as_str()?)?,
            of: w["of"].as_str()?.to_owned(),
            share: u32::try_from(w["share"].as_u64()?).ok()?,
            soak: Span::seconds(w["soak"].as_i64()?),
            targets: Vec::new(),
        })
    };
    Ok(all.iter().map(wave).collect::<Option<Vec<_>>>().ok_or_else(corrupt)?)
}

/// The waves of a plan as they are kept.
pub(super) fn waves_text(plan: &Plan) -> String {
    let wave = |w: &Wave| json!({ "what": w.what.as_str(), "of": w.of, "share": w.share, "soak": w.soak.as_secs() });
    Value::from(plan.waves.iter().map(wave).collect::<Vec<_>>()).to_string()
}
