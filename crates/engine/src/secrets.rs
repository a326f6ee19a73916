//! The loop over secrets: what their targets add up to, the ladder of notices, incidents of the secret itself.

use crate::{
    Engine, Result, Tick,
    assess::{Place, open_line, secret_policy, team_of},
    forecast::kept::{self, Kept},
    loops, rules,
    tell::{self, digest},
};
use domain::{
    Time,
    finding::Code,
    policy::Level,
    release::lead,
    renewal::Trouble,
    schedule,
    secret::{Rides, Standing, Targets, View},
    target::Served,
    told::Told,
    words::{Kind, SecretId},
};
use serde_json::json;
use std::collections::BTreeMap;
use store::{
    Tx,
    journal::Entry,
    model::{NO_MARGIN, UNKNOWN_MARGIN, finding, forecast, incident, issuance, notice, release, secret, target},
    timer,
};

/// How many secrets one round assesses.
pub const BATCH: i64 = 500;

impl Engine {
    /// Assesses the secrets that are due, and tells together what was collected for that. Says how many secrets there were.
    pub fn secrets_once(&self, tick: &Tick) -> Result<usize> {
        self.digest_once(tick)?;
        let claims =
            self.store.write(&rules(), tick.now, |tx| timer::claim(tx, loops::SECRET, tick.now, &self.holder, schedule::LEASE, BATCH))?;
        // One transaction for a handful of them: a commit costs more than an assessment.
        for some in claims.chunks(50) {
            self.store.try_write(&rules(), tick.now, |tx| {
                let mut owners = Owners::default();
                for claim in some {
                    let next = assess(tx, SecretId(claim.subject), &mut owners, tick)?;
                    timer::done(tx, loops::SECRET, claim, next)?;
                }
                Ok::<_, crate::Error>(())
            })?;
        }
        Ok(claims.len())
    }
}

/// Who answers for secrets, remembered within one transaction: a million of them have a few owners.
#[derive(Default)]
pub(crate) struct Owners(BTreeMap<(String, String), String>);

impl Owners {
    fn of(&mut self, tx: &mut Tx<'_>, s: &secret::Secret) -> Result<String> {
        let key = (s.team.clone(), s.service.clone());
        if let Some(team) = self.0.get(&key) {
            return Ok(team.clone());
        }
        let team = team_of(tx, "", "", Some(s))?;
        self.0.insert(key, team.clone());
        Ok(team)
    }
}

/// What hangs on a secret, beyond its own row.
struct Around {
    targets: Targets,
    shares: Vec<String>,
    forecast: Kept,
    trouble: Option<Trouble>,
    told: Vec<Told>,
}

/// What the rules say about secrets in the order of their numbers, without changing anything: the sweep's way. Where nothing hangs
/// on most of them, a page costs a few questions and not a few for each.
pub(crate) fn stand_all(tx: &mut Tx<'_>, page: &[secret::Secret], now: Time) -> Result<Vec<Standing>> {
    let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(Vec::new()) };
    let aggregated = target::aggregated_between(tx, first.id, last.id)?;
    let sharing = secret::sharing_between(tx, first.id, last.id)?;
    let mut told = notice::told_between(tx, first.id, last.id, now)?;
    let mut said = forecast::of_between(tx, first.id, last.id)?;
    let mut troubles = issuance::troubles(tx, first.id, last.id)?;
    let mut owners = Owners::default();
    let mut all = Vec::with_capacity(page.len());
    for s in page {
        let around = Around {
            targets: if aggregated.contains(&s.id) { target::aggregate(tx, s.id)? } else { target::no_targets() },
            shares: if sharing.contains(&s.id) { shares(tx, s)? } else { Vec::new() },
            forecast: Kept::of(&said.remove(&s.id).unwrap_or_default()),
            trouble: troubles.remove(&s.id),
            told: told.remove(&s.id).unwrap_or_default(),
        };
        let team = owners.of(tx, s)?;
        all.push(domain::secret::assess(&view(tx, s, around, &team)?, now));
    }
    Ok(all)
}

fn shares(tx: &mut Tx<'_>, s: &secret::Secret) -> Result<Vec<String>> {
    Ok(if s.newest_version > 0 { secret::sharing_key(tx, s.id, s.newest_version)? } else { Vec::new() })
}

fn view(tx: &mut Tx<'_>, s: &secret::Secret, around: Around, team: &str) -> Result<View> {
    let attested = if s.kind == Kind::Certificate { None } else { secret::attested_at(tx, s.id)? };
    let known_since = attested.unwrap_or(s.declared_at);
    Ok(View {
        id: s.id,
        kind: s.kind,
        management: s.management,
        renewal: s.renewal,
        release_bound: s.release_bound,
        completed_unaided: s.completed_unaided,
        owned: !team.is_empty(),
        declared_at: s.declared_at,
        policy: secret_policy(tx, s)?,
        // Its lifetime runs from when production was last said to use it, not from when the line of versions began.
        expires: s.expires_at.filter(|_| s.kind != Kind::Certificate).map(|e| (e, known_since)),
        rides: rides(tx, s)?,
        shares_key_with: around.shares.iter().map(|n| pki::text::escape(n)).collect(),
        targets: around.targets,
        breaches: around.forecast.breaches,
        forecast_next: around.forecast.next,
        trouble: around.trouble,
        told: around.told,
    })
}

/// What a secret that is bound to releases rides: their lead time, held against its lifetime.
fn rides(tx: &mut Tx<'_>, s: &secret::Secret) -> Result<Option<Rides>> {
    if !s.release_bound || s.kind != Kind::Certificate {
        return Ok(None);
    }
    let Some(lifetime) = crate::services::lifetime(tx, s)? else { return Ok(None) };
    let samples = release::lead_samples(tx, &s.service)?;
    Ok(Some(Rides { service: pki::text::escape(&s.service), lead: lead(&samples), measured: samples.len(), lifetime }))
}

/// Assesses a secret. Says when time alone will change the answer.
pub(crate) fn assess(tx: &mut Tx<'_>, id: SecretId, owners: &mut Owners, tick: &Tick) -> Result<Option<Time>> {
    let now = tick.now;
    let Some(s) = secret::lock(tx, id)? else { return Ok(None) };
    if s.retired_at.is_some() {
        forecast::forget_all(tx, id)?;
        crate::releases::wake(tx, id, now)?;
        return Ok(None);
    }
    let team = owners.of(tx, &s)?;
    let targets = target::aggregate(tx, id)?;
    // What was only stored breaks nowhere, and most of a large store is only stored.
    let forecast = if targets.count > 0 || s.target_count > 0 { kept::assess(tx, &s, now)? } else { Kept::default() };
    let trouble = issuance::troubles(tx, id, id)?.remove(&id);
    let around = Around { targets, shares: shares(tx, &s)?, forecast, trouble, told: notice::told(tx, id, now)? };
    let view = view(tx, &s, around, &team)?;
    let standing = domain::secret::assess(&view, now);
    let changed = finding::replace(tx, id, None, &standing.findings)?;
    let margin_at = match (standing.served, standing.margin) {
        (Served::Unknown, _) if view.targets.count > 0 => UNKNOWN_MARGIN,
        (_, Some(margin)) => (now + margin).unix().min(NO_MARGIN),
        _ => NO_MARGIN,
    };
    // What was just written of the secret itself, and what stands of its targets.
    let own = standing.findings.iter().filter(|f| f.level != Level::Info).count() as u64;
    let open_findings = (own + view.targets.findings.iter().map(|t| t.targets).sum::<u64>()) as i64;
    let count = view.targets.count as i64;
    let (current, required) = if count > 0 { target::currency(tx, id)? } else { (0, 0) };
    let assessed =
        secret::Assessed { served: standing.served, margin_at, target_count: count, open_findings, owner: team.clone(), current, required };
    secret::update_standing(tx, id, &assessed, now)?;

    for key in &standing.over {
        notice::end(tx, id, key, now)?;
    }
    for telling in &standing.tell {
        if digest::collects(telling.code) {
            digest::collect(tx, &s, telling, &team, now)?;
            continue;
        }
        tell::notice(tx, &s, telling, &team, now)?;
        let body = json!({ "code": telling.code.as_str(), "rung": telling.rung, "until": telling.until.map(|t| t.to_string()),
            "detail": telling.detail, "team": team, "escalate": telling.escalate });
        tx.journal(Entry::new("notice.sent", format!("secret/{}", s.name), "", &body))?;
    }
    own_lines(tx, &s, &standing, &team, tick)?;
    rotation(tx, &s)?;
    crate::releases::wake(tx, id, now)?;
    if changed || s.served != standing.served {
        let body = json!({
            "served": tell::served_text(standing.served),
            "findings": standing.findings.iter().map(|f| format!("{} ({})", f.key(), f.level)).collect::<Vec<_>>(),
        });
        tx.journal(Entry::new("secret.assessed", format!("secret/{}", s.name), "", &body))?;
    }
    Ok(standing.next)
}

/// Incidents of the secret itself: an opaque or tracked one that ends. They close on an attestation that production uses what
/// ends later; a new version in the store is no evidence.
fn own_lines(tx: &mut Tx<'_>, s: &secret::Secret, standing: &Standing, team: &str, tick: &Tick) -> Result<()> {
    let open = incident::open_lines_of_secret(tx, s.id)?;
    for f in standing.findings.iter().filter(|f| f.level == Level::Incident) {
        if !open.iter().any(|l| l.key == f.key()) {
            let place = Place { secret: s.id, target: None, name: &s.name, team, service: &s.service };
            let id = open_line(tx, &f.subject, f, &place, &s.name, tick)?;
            timer::set_earlier(tx, loops::INCIDENT, id.0, tick.now)?;
        }
    }
    if open.is_empty() {
        return Ok(());
    }
    let attested = secret::attested_at(tx, s.id)?;
    for line in &open {
        let gone = !standing.findings.iter().any(|f| f.level == Level::Incident && f.key() == line.key);
        if gone && attested.is_some_and(|at| at > line.opened_at) && tick.clock.is_believed() {
            let closed = incident::Line { closed_at: Some(tick.now), how: "observed".into(), evidence: "attested".into(), ..line.clone() };
            incident::put_line(tx, &closed)?;
            timer::set_earlier(tx, loops::INCIDENT, line.incident.0, tick.now)?;
        }
    }
    Ok(())
}

/// Remembers whether the newest version was observed everywhere without anybody's help: the proof that its way to production works.
/// Where somebody had to be told that it is late, or an incident was opened meanwhile, it is none.
fn rotation(tx: &mut Tx<'_>, s: &secret::Secret) -> Result<()> {
    if s.newest_version < 2 || s.completed_unaided {
        return Ok(());
    }
    let versions = secret::versions(tx, s.id, 2)?;
    let [newest, before] = versions.as_slice() else { return Ok(()) };
    if !target::all_current(tx, s.id)?
        || incident::any_line_since(tx, s.id, newest.stored_at)?
        || notice::was_told(tx, s.id, Code::RenewalOverdue.as_str(), before.stored_at)?
    {
        return Ok(());
    }
    secret::update_declaration(tx, &secret::Secret { completed_unaided: true, ..s.clone() })?;
    tx.journal(Entry::new("rotation.completed", format!("secret/{}", s.name), "", &json!({ "version": s.newest_version })))?;
    Ok(())
}
