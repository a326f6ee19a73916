//! Rows as stored → data as it travels. Texts that came from outside were escaped when they were stored or are escaped here.

use std::collections::BTreeSet;

use api::v1;
use domain::{Fingerprint, Time, target::Served};
use engine::{tell::served_text, vault};
use store::model::{
    NO_MARGIN, UNKNOWN_MARGIN, concern, finding::FindingRow, incident, notice, observation, secret, sweep::Sweep, target::Target,
    token::Token,
};

use super::problem::Problem;

/// A time that somebody wrote.
pub(crate) fn time(field: &str, text: &str) -> Result<Time, Problem> {
    Time::parse(text).map_err(|e| Problem::unprocessable("bad-time", format!("{field}: {}", pki::text::escape(&e.to_string()))))
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn maybe<T: ToString>(value: Option<T>) -> Option<String> {
    value.map(|v| v.to_string())
}

fn hex(f: Option<Fingerprint>) -> Option<String> {
    maybe(f)
}

pub(crate) fn secret(s: &secret::Secret, now: Time) -> v1::Secret {
    let margin = (s.margin_at != UNKNOWN_MARGIN && s.margin_at != NO_MARGIN).then(|| s.margin_at.saturating_sub(now.unix()));
    v1::Secret {
        name: s.name.clone(),
        kind: s.kind.to_string(),
        management: s.management.to_string(),
        renewal: s.renewal.to_string(),
        team: if s.owner.is_empty() { s.team.clone() } else { s.owner.clone() },
        service: s.service.clone(),
        newest_version: s.newest_version,
        served_until: served_text(s.served),
        runway_seconds: match s.served {
            Served::Until(t) => Some((t - now).as_secs()),
            Served::Broken => Some(0),
            Served::Unknown => None,
        },
        margin_seconds: margin,
        targets: s.target_count,
        current: s.current,
        required: s.required,
        findings: s.open_findings,
        retired_at: maybe(s.retired_at),
    }
}

pub(crate) fn version(v: &secret::Version, instances: Vec<v1::Instance>) -> v1::Version {
    v1::Version {
        number: v.number,
        stored_at: v.stored_at.to_string(),
        actor: v.actor.clone(),
        reason: pki::text::escape(&v.reason),
        expires_at: maybe(v.expires_at),
        instances,
    }
}

pub(crate) fn instance(i: &secret::Instance, has_key: bool) -> v1::Instance {
    v1::Instance {
        scope: i.scope.clone(),
        key_type: i.key_type.clone(),
        fingerprint_sha256: i.leaf.to_string(),
        subject: i.subject.clone(),
        issuer: i.issuer.clone(),
        not_before: i.not_before.to_string(),
        not_after: i.not_after.to_string(),
        has_key,
    }
}

pub(crate) fn target(t: &Target, secret: &str, team: String, now: Time) -> v1::Target {
    let margin = match (t.served, t.worst) {
        (Served::Until(_), Some(worst)) if worst.until < Time::NO_EXPIRY => Some(worst.margin(now).as_secs()),
        _ => None,
    };
    let host = if t.host.contains(':') && !t.host.starts_with('[') { format!("[{}]", t.host) } else { t.host.clone() };
    v1::Target {
        name: t.facts.name.clone(),
        secret: secret.to_owned(),
        kind: t.kind.clone(),
        endpoint: if t.protocol.is_empty() { String::new() } else { format!("{}://{host}:{}", t.protocol, t.port) },
        server_name: t.facts.server_name.clone(),
        region: t.facts.region.clone(),
        stamp: t.stamp.clone(),
        team,
        state: t.facts.state.to_string(),
        production: t.facts.production,
        served_until: served_text(t.served),
        margin_seconds: margin,
        current: t.current,
        required: t.required,
        level: t.level.to_string(),
        observed_at: maybe(t.observed_at),
    }
}

pub(crate) fn observation(o: &observation::Observation) -> v1::Observation {
    let r = &o.record;
    let c = &r.combination;
    v1::Observation {
        id: r.id.0,
        address: pki::text::escape(&c.address),
        vantage: c.vantage.clone(),
        server_name: c.server_name.clone(),
        offer: c.offer.to_string(),
        method: c.method.to_string(),
        last_at: r.last_at.to_string(),
        good_at: maybe(r.good.map(|g| g.at)),
        fingerprint_sha256: hex(r.good.map(|g| g.leaf)),
        other_fingerprints_sha256: r.others.iter().map(|o| o.leaf.to_string()).collect::<BTreeSet<_>>().into_iter().collect(),
        streak: r.streak,
        protocol: pki::text::escape(&o.protocol),
        cipher: pki::text::escape(&o.cipher),
        failing_since: maybe(r.failing.as_ref().map(|f| f.since)),
        blame: maybe(r.failing.as_ref().map(|f| f.last.blame)),
        error: r.failing.as_ref().map(|f| pki::text::escape(&f.last.detail)),
    }
}

pub(crate) fn change(c: &observation::ChangeRow) -> v1::Change {
    v1::Change {
        at: c.at.to_string(),
        change: c.change.clone(),
        observation: c.observation,
        fingerprint_sha256: hex(c.leaf),
        detail: pki::text::escape(&c.detail),
    }
}

pub(crate) fn finding(f: &FindingRow, secret: Option<String>, target: Option<String>) -> v1::Finding {
    let subject = match (&target, &secret) {
        (Some(target), _) => format!("target/{target}"),
        (None, Some(secret)) => format!("secret/{secret}"),
        (None, None) => String::from("store"),
    };
    v1::Finding {
        code: f.code.to_string(),
        level: f.level.to_string(),
        subject,
        target,
        secret,
        broken: f.broken,
        fingerprint_sha256: hex(f.about),
        since: maybe(f.since),
        until: maybe(f.until),
        detail: f.detail.clone(),
    }
}

/// A finding of the store itself.
pub(crate) fn own_finding(f: &domain::finding::Finding) -> v1::Finding {
    v1::Finding {
        code: f.code.to_string(),
        level: f.level.to_string(),
        subject: String::from("store"),
        target: None,
        secret: None,
        broken: f.broken,
        fingerprint_sha256: hex(f.about),
        since: maybe(f.since),
        until: maybe(f.until),
        detail: f.detail.clone(),
    }
}

/// What the rules say about what is planned.
pub(crate) fn concern(c: &concern::Stored) -> v1::PlanFinding {
    v1::PlanFinding {
        subject: c.subject.clone(),
        code: c.code.to_string(),
        level: c.level.to_string(),
        teams: c.teams.clone(),
        since: c.since.to_string(),
        until: maybe(c.until),
        told_at: maybe(c.told_at),
        detail: c.detail.clone(),
        next_step: c.next_step.clone(),
    }
}

pub(crate) fn incident(i: &incident::Incident) -> v1::Incident {
    let f = &i.facts;
    v1::Incident {
        id: f.id.0,
        subject: f.subject.clone(),
        title: i.title.clone(),
        code: i.code.to_string(),
        state: f.state.to_string(),
        page: f.page,
        opened_at: f.opened_at.to_string(),
        quiet_until: maybe(f.quiet_until),
        acknowledged_by: some(&i.acknowledged_by),
        until: maybe(f.until),
        ended_at: maybe(i.ended_at),
        open_lines: f.open_lines,
        proven_lines: f.proven_lines,
        retired_lines: f.retired_lines,
        teams: i.teams.clone(),
        services: i.services.clone(),
        repeats: i.repeats.map(|r| r.0),
        root_cause: maybe(i.root_cause),
    }
}

pub(crate) fn line(l: &incident::Line, secret: String, target: Option<String>) -> v1::Line {
    v1::Line {
        id: l.id,
        secret,
        target,
        code: l.code.to_string(),
        detail: l.detail.clone(),
        opened_at: l.opened_at.to_string(),
        closed_at: maybe(l.closed_at),
        how: some(&l.how),
        evidence: some(&l.evidence),
    }
}

pub(crate) fn action(a: &incident::Action) -> v1::Action {
    v1::Action {
        id: a.id,
        what: pki::text::escape(&a.what),
        owner: a.owner.clone(),
        due_at: a.due_at.to_string(),
        done_at: maybe(a.done_at),
    }
}

pub(crate) fn notice(n: &notice::Notice, secret: String) -> v1::Notice {
    v1::Notice {
        id: n.id,
        secret,
        code: n.code.clone(),
        rung: n.rung,
        team: n.team.clone(),
        at: n.at.to_string(),
        until: maybe(n.until),
        detail: n.detail.clone(),
    }
}

pub(crate) fn ending(e: &secret::Ending) -> v1::Ending {
    v1::Ending {
        secret: e.secret.clone(),
        version: e.version,
        scope: e.scope.clone(),
        not_after: e.not_after.to_string(),
        fingerprint_sha256: e.leaf.to_string(),
    }
}

/// `year × 100 + week` → `2027-W08` (ISO 8601 §5.2.3).
pub(crate) fn week((region, week, count): &(String, i64, i64)) -> v1::WeekCount {
    v1::WeekCount { region: region.clone(), week: format!("{:04}-W{:02}", week.div_euclid(100), week.rem_euclid(100)), count: *count }
}

pub(crate) fn stored(s: vault::Stored, done: bool) -> v1::Stored {
    v1::Stored {
        secret: s.name,
        version: s.version,
        done,
        instances: s
            .leaves
            .into_iter()
            .map(|(scope, key_type, leaf)| v1::StoredInstance { scope, key_type, fingerprint_sha256: leaf.to_string() })
            .collect(),
        differences: s
            .differences
            .into_iter()
            .map(|d| v1::Difference { field: d.field.to_owned(), before: d.before, after: d.after, ordinary: d.ordinary })
            .collect(),
    }
}

pub(crate) fn token(t: &Token) -> v1::Token {
    v1::Token {
        id: t.id,
        name: t.name.clone(),
        role: t.role.clone(),
        teams: t.teams.clone(),
        vantage: some(&t.vantage),
        services: t.services.clone(),
        created_at: t.created_at.to_string(),
        expires_at: maybe(t.expires_at),
        revoked_at: maybe(t.revoked_at),
    }
}

pub(crate) fn sweep(s: &Sweep) -> v1::Sweep {
    v1::Sweep {
        id: s.id,
        started_at: s.started_at.to_string(),
        finished_at: maybe(s.finished_at),
        secrets: s.secrets,
        instances: s.instances,
        targets: s.targets,
        missed: s.missed,
        report: s.report.lines().map(str::to_owned).collect(),
    }
}

pub(crate) fn applied(a: engine::inventory::Applied) -> v1::Applied {
    let field = |(field, before, after): (String, String, String)| v1::FieldChange {
        field,
        before: pki::text::escape(&before),
        after: pki::text::escape(&after),
    };
    v1::Applied {
        plan: a.plan,
        done: a.done,
        changes: a
            .changes
            .into_iter()
            .map(|c| v1::InventoryChange {
                what: c.what.into(),
                kind: c.kind.into(),
                name: c.name,
                fields: c.fields.into_iter().map(field).collect(),
            })
            .collect(),
    }
}

pub(crate) fn look(l: engine::ports::Look) -> v1::Look {
    v1::Look {
        target: l.target.0,
        host: l.host,
        port: l.port,
        server_name: l.server_name,
        protocol: l.protocol,
        also: l.also,
        offers: l.offers.iter().map(ToString::to_string).collect(),
        unnamed: l.unnamed.iter().map(ToString::to_string).collect(),
        handshakes: l.handshakes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_as_iso_writes_them() {
        for (number, text) in [(202_708, "2027-W08"), (202_653, "2026-W53"), (20_001, "0200-W01")] {
            assert_eq!(week(&(String::new(), number, 1)).week, text);
        }
    }
}
