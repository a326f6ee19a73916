//! A target's assessment, inside the transaction that changed one of its inputs.

use crate::{Engine, Result, Tick, judge::Terms, loops, tell};
use domain::{
    Fingerprint, Span, Time,
    finding::{Code, Finding, Subject},
    incident::{Again, State, again, reconcile},
    policy::Policy,
    target::{Expected, Known, Newest, Revoked, Standing, View},
    words::{IncidentId, Management, TargetId},
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use store::{
    Tx,
    journal::Entry,
    model::{NO_MARGIN, UNKNOWN_MARGIN, finding, incident, inventory, node, observation, path, revocation, secret, target},
    timer,
};

/// Assesses a target whose row is taken. Says what the rules say, and whether a line waits for evidence.
pub fn target(engine: &Engine, tx: &mut Tx<'_>, t: &target::Target, tick: &Tick) -> Result<(Standing, bool)> {
    let now = tick.now;
    // Before anything is read: who is woken from here on is not forgotten by what is planned below.
    let mark = timer::mark(tx, loops::TARGET, t.facts.id.0)?;
    let owner = secret::get(tx, t.secret)?;
    let view = view(engine, tx, t, owner.as_ref(), now)?;
    let standing = domain::target::assess(&view, now);

    let changed = finding::replace(tx, t.secret, Some(t.facts.id), &standing.findings)?;
    let margin_at = margin_at(&standing);
    let moved = t.served != standing.served
        || t.worst != standing.worst
        || t.shows != standing.shows
        || t.current != i64::from(standing.current)
        || t.required != i64::from(standing.required);
    target::update_standing(tx, t.facts.id, &standing, margin_at, t.observed_at)?;
    let hangs_on_others = path::replace(tx, t.facts.id, &standing.paths)?;
    if hangs_on_others || t.served != standing.served {
        crate::partition::wake(tx, service_of(t, owner.as_ref()), now)?;
    }

    let waiting = lines(tx, t, owner.as_ref(), &standing, tick)?;
    if standing.findings.iter().any(|f| f.code == Code::CameBack) {
        crate::retire::come_back(tx, t, now)?;
    }
    timer::plan(tx, loops::TARGET, t.facts.id.0, standing.next, mark)?;
    if changed || moved {
        timer::set_earlier(tx, loops::SECRET, t.secret.0, now)?;
        let body = json!({
            "served": tell::served_text(standing.served),
            "current": standing.current,
            "required": standing.required,
            "findings": standing.findings.iter().map(|f| format!("{} ({})", f.key(), f.level)).collect::<Vec<_>>(),
        });
        revocation::wake(tx, t.secret, loops::REVOCATION, tick.now)?;
        tx.journal(Entry::new("target.assessed", format!("target/{}", t.facts.name), "", &body))?;
        crate::rollouts::wake(tx, t.facts.id, tick)?;
    }
    Ok((standing, waiting))
}

/// What the rules say about a target now, without changing anything: the sweep's way.
pub(crate) fn stand(engine: &Engine, tx: &mut Tx<'_>, t: &target::Target, now: Time) -> Result<Standing> {
    let owner = secret::get(tx, t.secret)?;
    Ok(domain::target::assess(&view(engine, tx, t, owner.as_ref(), now)?, now))
}

/// The place of a standing in lists: the moment at which its margin is used up.
pub fn margin_at(standing: &Standing) -> i64 {
    use domain::target::Served;
    match (standing.served, standing.worst) {
        (Served::Unknown, _) => UNKNOWN_MARGIN,
        (Served::Broken, _) => 0,
        (_, Some(worst)) if worst.until < Time::NO_EXPIRY => (worst.until - worst.thresholds.incident).unix(),
        _ => NO_MARGIN,
    }
}

/// The policy of a target: its secret's, with that secret's own thresholds on top.
pub fn policy_of(tx: &mut Tx<'_>, t: &target::Target) -> store::Result<Policy> {
    match secret::get(tx, t.secret)? {
        Some(s) => secret_policy(tx, &s),
        None => Ok(Policy::default()),
    }
}

/// The policy of a secret.
pub fn secret_policy(tx: &mut Tx<'_>, s: &secret::Secret) -> store::Result<Policy> {
    let mut policy = inventory::policy(tx, &s.policy)?;
    policy.notice = s.override_notice.map(Span::seconds).or(policy.notice);
    policy.incident = s.override_incident.map(Span::seconds).or(policy.incident);
    Ok(policy)
}

/// The service of a target: its own, or its secret's.
pub(crate) fn service_of<'a>(t: &'a target::Target, owner: Option<&'a secret::Secret>) -> &'a str {
    if t.service.is_empty() { owner.map_or("", |o| &o.service) } else { &t.service }
}

/// The team that answers for a target: its own, its secret's, its service's, or the default owner.
pub fn team_of(tx: &mut Tx<'_>, target_team: &str, service: &str, owner: Option<&secret::Secret>) -> store::Result<String> {
    for team in [target_team, owner.map_or("", |o| o.team.as_str())] {
        if !team.is_empty() {
            return Ok(team.to_owned());
        }
    }
    for service in [service, owner.map_or("", |o| o.service.as_str())] {
        if let Some(team) = inventory::service_team(tx, service)? {
            return Ok(team);
        }
    }
    Ok(inventory::setting(tx, "default_owner")?.unwrap_or_default())
}

fn view(engine: &Engine, tx: &mut Tx<'_>, t: &target::Target, owner: Option<&secret::Secret>, now: Time) -> Result<View> {
    let policy = policy_of(tx, t)?;
    let records: Vec<_> = observation::of_target(tx, t.facts.id)?.into_iter().map(|o| o.record).collect();
    let roots = if t.roots.is_empty() { None } else { Some(inventory::roots(tx, &t.roots)?.unwrap_or_default()) };
    let none = Vec::new();
    let terms = Terms {
        name: (t.check_name && !t.facts.server_name.is_empty()).then_some(t.facts.server_name.as_str()),
        roots: roots.as_deref(),
        expected_names: owner.filter(|o| o.management == Management::External).map_or(&none, |o| &o.names),
        policy: &policy,
    };
    let (mut presented, mut known, mut revoked) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for sighting in records.iter().flat_map(|r| r.may_serve()) {
        if presented.contains_key(&sighting.chain) {
            continue;
        }
        let Some(der) = observation::chain(tx, &sighting.chain)? else { continue };
        match engine.judge.judge(&der, &terms, now) {
            Some(facts) => presented.insert(sighting.chain, facts),
            None => presented.insert(sighting.chain, unreadable(now)),
        };
        if let Some((revocation, deadline, reason)) = revocation::of_leaf(tx, &sighting.leaf)?.into_iter().next() {
            revoked.insert(sighting.leaf, Revoked { revocation, deadline, reason });
        }
        if let Some(whose) = whose(tx, &sighting.leaf, t)? {
            known.insert(sighting.leaf, whose);
        }
    }
    let expected = match owner {
        Some(o) if o.management == Management::External => Expected::External { issuers: o.issuers.clone() },
        Some(o) if o.newest_version > 0 => Expected::Managed(newest(tx, o, t)?),
        _ => Expected::Managed(None),
    };
    let team = team_of(tx, &t.team, &t.service, owner)?;
    Ok(View {
        secret: owner.map(|o| (o.id, o.name.clone())),
        owned: !team.is_empty(),
        expected,
        policy,
        addresses: target::addresses(tx, t.facts.id)?,
        optional_vantages: t.optional_vantages.clone(),
        dialled: t.kind == "endpoint",
        retired_at: t.retired_at,
        target: t.facts.clone(),
        records,
        presented,
        known,
        revoked,
    })
}

/// A leaf that no parser of ours can read is broken now; what it ends at is unknown.
fn unreadable(now: Time) -> domain::target::Presented {
    domain::target::Presented {
        lifetime: domain::target::ASSUMED_LIFETIME,
        issuer: String::from("unknown"),
        names: String::from("nothing readable"),
        key: None,
        covers: true,
        lacks: Vec::new(),
        path: Err(domain::target::PathProblem {
            code: domain::finding::Code::Untrusted,
            detail: String::from("presents something that is no certificate"),
        }),
        until: now,
        ends: Vec::new(),
        breaks_later: None,
        superfluous_expired: None,
        path_taken: None,
    }
}

/// Whose a leaf is; the target's own secret before others.
fn whose(tx: &mut Tx<'_>, leaf: &Fingerprint, t: &target::Target) -> store::Result<Option<Known>> {
    let mut all = secret::known_leaf(tx, leaf)?;
    all.sort_by_key(|(s, _, _)| *s != t.secret);
    Ok(all.into_iter().next().map(|(secret, name, version)| Known { secret, name, version }))
}

/// The newest version, as far as a target may serve it: for each node behind it that node's own instances where there are any, else
/// those of its region, else those for all.
pub(crate) fn newest(tx: &mut Tx<'_>, s: &secret::Secret, t: &target::Target) -> store::Result<Option<Newest>> {
    let Some(version) = secret::versions(tx, s.id, 1)?.into_iter().next() else { return Ok(None) };
    let nodes = node::names_of_target(tx, t.facts.id)?;
    let mut scopes: Vec<&str> = nodes.iter().map(String::as_str).chain(["all"]).collect();
    if !t.facts.region.is_empty() {
        scopes.push(&t.facts.region);
    }
    let mut of: BTreeMap<String, BTreeSet<Fingerprint>> = BTreeMap::new();
    for (scope, leaf) in target::leaves(tx, s.id, version.number, &scopes)? {
        of.entry(scope).or_default().insert(leaf);
    }
    let wide = of.get(&t.facts.region).or(of.get("all")).cloned().unwrap_or_default();
    let leaves = if nodes.is_empty() { wide } else { nodes.iter().flat_map(|n| of.get(n).unwrap_or(&wide)).copied().collect() };
    Ok(Some(Newest { number: version.number, stored_at: version.stored_at, leaves }))
}

/// Reconciles the lines of a target. Says whether one of them waits for evidence.
fn lines(tx: &mut Tx<'_>, t: &target::Target, owner: Option<&secret::Secret>, standing: &Standing, tick: &Tick) -> Result<bool> {
    let open = incident::open_lines_of_target(tx, t.facts.id)?;
    let facts: Vec<_> = open.iter().map(incident::open_line).collect();
    let done = reconcile(&facts, standing, t.facts.baseline.as_ref(), tick.clock.is_believed(), tick.now);
    let waiting = !done.wait.is_empty() && tick.clock.is_believed();

    let mut touched: BTreeSet<IncidentId> = BTreeSet::new();
    for (line, finding) in &done.keep {
        let Some(stored) = open.iter().find(|l| l.id == line.id) else { continue };
        if stored.until != finding.until || stored.broken != finding.broken {
            incident::put_line(
                tx,
                &incident::Line { until: finding.until, broken: finding.broken, detail: finding.detail.clone(), ..stored.clone() },
            )?;
            touched.insert(line.incident);
        }
    }
    for id in &done.close {
        let Some(stored) = open.iter().find(|l| l.id == *id) else { continue };
        let evidence = format!("{:?}", standing.evidence);
        incident::put_line(
            tx,
            &incident::Line { closed_at: Some(tick.now), how: "observed".into(), evidence: evidence.clone(), ..stored.clone() },
        )?;
        touched.insert(stored.incident);
        let body = json!({ "incident": stored.incident.0, "finding": stored.key, "evidence": standing.evidence });
        tx.journal(Entry::new("line.closed", format!("target/{}", t.facts.name), "every required observation shows it gone", &body))?;
    }
    if !done.open.is_empty() {
        // What was seen so far says nothing about the end of what begins now.
        observation::ask_again(tx, t.facts.id, tick.now)?;
    }
    // In the order of subjects, so that two targets never wait for each other.
    let mut new: Vec<(Subject, &Finding)> = done.open;
    new.sort_by(|a, b| a.0.cmp(&b.0));
    for (subject, finding) in new {
        let team = team_of(tx, &t.team, &t.service, owner)?;
        let service = service_of(t, owner);
        let place = Place { secret: t.secret, target: Some(t.facts.id), name: &t.facts.name, team: &team, service };
        touched.insert(open_line(tx, &subject, finding, &place, owner.map_or("", |o| o.name.as_str()), tick)?);
    }
    if !touched.is_empty() {
        crate::rollouts::wake(tx, t.facts.id, tick)?;
        revocation::wake(tx, t.secret, loops::REVOCATION, tick.now)?;
    }
    for id in touched {
        timer::set_earlier(tx, loops::INCIDENT, id.0, tick.now)?;
    }
    Ok(waiting)
}

/// Where a line lies.
pub(crate) struct Place<'a> {
    pub(crate) secret: domain::words::SecretId,
    pub(crate) target: Option<TargetId>,
    pub(crate) name: &'a str,
    pub(crate) team: &'a str,
    pub(crate) service: &'a str,
}

/// Adds a line to the incident of a subject, which is opened, opened again, or created for it.
pub(crate) fn open_line(
    tx: &mut Tx<'_>,
    subject: &Subject,
    f: &Finding,
    place: &Place<'_>,
    secret_name: &str,
    tick: &Tick,
) -> Result<IncidentId> {
    let now = tick.now;
    let key = subject.to_string();
    let mut latest = incident::latest_of(tx, &key)?;
    let is_open = |i: &Option<incident::Incident>| i.as_ref().is_some_and(|i| i.facts.state.is_open());
    if !is_open(&latest) {
        // There may be no row yet to be taken: whoever waited for the turn sees what the one before has opened.
        tx.turn(&format!("incident {key}"))?;
        latest = incident::latest_of(tx, &key)?;
    }
    // Whoever held its row may have closed it meanwhile: what counts is what the row says once it is taken.
    if let Some(i) = &latest {
        latest = incident::lock(tx, i.facts.id)?;
    }
    let (mut it, news) = match latest {
        Some(i) if i.facts.state.is_open() => (i, None),
        other => {
            let closed = other.as_ref().and_then(|i| i.ended_at.map(|at| (i.facts.id, at)));
            match (again(closed, now), other) {
                (Again::Reopen(_), Some(mut i)) => {
                    i.facts.state = State::Opened;
                    i.facts.opened_at = now;
                    i.facts.escalated = false;
                    i.facts.quiet_until = None;
                    i.answered.clear();
                    i.ended_at = None;
                    (i, Some("reopened"))
                }
                (decision, _) => {
                    let repeats = if let Again::Repeat(id) = decision { Some(id) } else { None };
                    let id = IncidentId(tx.next_id("incident")?);
                    (tell::new_incident(id, subject, f, secret_name, repeats, now), Some("opened"))
                }
            }
        }
    };
    let line = incident::Line {
        id: tx.next_id("incident_line")?,
        incident: it.facts.id,
        secret: place.secret,
        target: place.target,
        key: f.key(),
        code: f.code,
        about: f.about,
        until: f.until,
        broken: f.broken,
        detail: f.detail.clone(),
        opened_at: now,
        closed_at: None,
        how: String::new(),
        evidence: String::new(),
    };
    it.facts.open_lines += 1;
    it.facts.broken |= f.broken;
    it.facts.until = match (it.facts.until, f.until) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let new_team = !place.team.is_empty() && !it.teams.iter().any(|t| t == place.team);
    if new_team {
        it.teams.push(place.team.to_owned());
    }
    if !place.service.is_empty() && !it.services.iter().any(|s| s == place.service) {
        it.services.push(place.service.to_owned());
    }
    let runway = it.facts.until.map_or(Span::days(7), |t| domain::policy::remaining(t, now));
    it.facts.page |= domain::policy::wakes(it.facts.broken, runway, None) && news.is_some();
    it.changed = news.is_none();
    if new_team && news.is_none() {
        domain::incident::joined(&mut it.facts, now);
    }
    incident::put(tx, &it)?;
    incident::put_line(tx, &line)?;
    let body = json!({ "incident": it.facts.id.0, "subject": key, "finding": f.key(), "detail": f.detail });
    tx.journal(Entry::new("line.opened", format!("target/{}", place.name), "", &body))?;
    if let Some(news) = news {
        let body = json!({ "subject": key, "title": it.title, "page": it.facts.page, "until": it.facts.until.map(|t| t.to_string()),
            "repeats": it.repeats.map(|r| r.0) });
        tx.journal(Entry::new(format!("incident.{news}"), format!("incident/{}", it.facts.id), "", &body))?;
        it.facts.told_at = now;
        incident::put(tx, &it)?;
        tell::incident(tx, &it, tell::News::Opened, now)?;
    } else if new_team {
        tell::incident_to(tx, &it, tell::News::Opened, &[place.team.to_owned()], now)?;
    }
    Ok(it.facts.id)
}
