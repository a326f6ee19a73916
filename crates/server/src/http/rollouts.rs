//! Rollouts and revocations: how versions go out, and what must be replaced by a deadline.

use api::v1;
use axum::extract::State;
use domain::{Fingerprint, Span, Time, rollout::Kind, words::RolloutId};
use engine::{
    revocations::{self, Ask},
    rollouts::{self, Detail},
};
use serde::Deserialize;
use store::model::{revocation, rollout};

use super::{
    Answer,
    body::{Asked, Id, Json, Name},
    convert,
    gate::{Call, Caller, Scope, Shared},
    json,
    page::{Cursor, Paging},
    permission::Permitted,
    problem::Problem,
    reason,
};

/// Most rollouts of one page: each is shown with what became of its waves.
const MAX_PAGE: i64 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    open: Option<bool>,
    after: Option<String>,
    limit: Option<i64>,
}

/// `GET /v1/rollouts`: the newest first.
pub(crate) async fn list(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Query>) -> Answer<v1::Page<v1::Rollout>> {
    let paging = Paging::within("rollouts", q.after.as_deref(), q.limit, MAX_PAGE)?;
    let work = move |call: &Call| {
        let rows = call.read(|tx| {
            let found = rollout::page(tx, q.open == Some(true), paging.first().map(RolloutId), paging.limit)?;
            found.into_iter().map(|r| Ok(rollouts::detail_of(tx, r)?)).collect::<Result<Vec<_>, Problem>>()
        })?;
        paging.page(&rows, |d| Cursor(d.rollout.id.0, 0, String::new()), |d| Ok(line(d)))
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

pub(crate) async fn show(State(shared): State<Shared>, caller: Caller, Id(id): Id) -> Answer<v1::RolloutDetail> {
    shared.run(caller, Scope::Store, move |_, call| detail(call, RolloutId(id))).await.map(json)
}

/// `POST /v1/secrets/{name}/rollouts`.
pub(crate) async fn start(
    State(shared): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Json(body): Json<v1::StartRollout>,
) -> Answer<v1::RolloutDetail> {
    begin(shared, caller, name, body, Kind::Ordinary).await
}

/// `POST /v1/secrets/{name}/rollouts/critical`.
pub(crate) async fn critical(
    State(shared): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Json(body): Json<v1::StartRollout>,
) -> Answer<v1::RolloutDetail> {
    begin(shared, caller, name, body, Kind::Critical).await
}

async fn begin(shared: Shared, caller: Caller, name: String, body: v1::StartRollout, kind: Kind) -> Answer<v1::RolloutDetail> {
    reason(&body.reason)?;
    let scope = Scope::Secret(name.clone());
    let work = move |permitted: &Permitted, call: &Call| {
        let id = call.engine().start_rollout(&name, body.version, kind, &body.reason, &permitted.actor(), &call.tick)?;
        detail(call, id)
    };
    shared.run(caller, scope, work).await.map(json)
}

pub(crate) async fn halt(s: State<Shared>, caller: Caller, id: Id, Json(body): Json<v1::Reason>) -> Answer<v1::RolloutDetail> {
    step(s, caller, id, body.reason, |call, id, reason, by| {
        call.engine().halt_rollout(id, reason, by, &call.tick)?;
        Ok(id)
    })
    .await
}

pub(crate) async fn resume(s: State<Shared>, caller: Caller, id: Id, Json(body): Json<v1::ResumeRollout>) -> Answer<v1::RolloutDetail> {
    let despite = body.despite;
    step(s, caller, id, body.reason, move |call, id, reason, by| {
        call.engine().resume_rollout(id, despite, reason, by, &call.tick)?;
        Ok(id)
    })
    .await
}

/// `POST /v1/rollouts/{id}/rollback`: what takes it back.
pub(crate) async fn rollback(s: State<Shared>, caller: Caller, id: Id, Json(body): Json<v1::Reason>) -> Answer<v1::RolloutDetail> {
    step(s, caller, id, body.reason, |call, id, reason, by| Ok(call.engine().roll_back(id, reason, by, &call.tick)?)).await
}

/// Something that a person does with a rollout; answers with the one that is named by what was done.
async fn step(
    State(shared): State<Shared>,
    caller: Caller,
    Id(id): Id,
    why: String,
    does: impl Fn(&Call, RolloutId, &str, &store::Actor) -> Result<RolloutId, Problem> + Send + 'static,
) -> Answer<v1::RolloutDetail> {
    reason(&why)?;
    let work = move |permitted: &Permitted, call: &Call| detail(call, does(call, RolloutId(id), &why, &permitted.actor())?);
    shared.run(caller, Scope::Rollout(id), work).await.map(json)
}

fn detail(call: &Call, id: RolloutId) -> Result<v1::RolloutDetail, Problem> {
    let d = call.read(|tx| Ok(rollouts::detail(tx, id)?))?;
    let r = &d.rollout;
    let text = |text: &str| (!text.is_empty()).then(|| pki::text::escape(text));
    Ok(v1::RolloutDetail {
        rollout: line(&d),
        reason: pki::text::escape(&r.reason),
        actor: pki::text::escape(&r.actor),
        begun_at: r.begun_at.map(|t| t.to_string()),
        halted_by: text(&r.halted_by),
        halted_reason: text(&r.halted_reason),
        halted_at: r.halted_at.map(|t| t.to_string()),
        policy: rollouts::policy_title(&r.policy),
        plan: r.plan.map(|p| p.to_string()),
        waves: d.waves.iter().map(wave).collect(),
        waits: d
            .waits
            .iter()
            .map(|w| v1::RolloutWaits {
                code: w.code.clone(),
                target: w.target.clone(),
                until: w.until.map(|t| t.to_string()),
                text: w.text.clone(),
            })
            .collect(),
        more_waits: r.more,
        left_behind_targets: d.left_behind.1.clone(),
        revocation: (r.revocation != 0).then_some(r.revocation),
        takes_back: (r.takes_back != 0).then_some(r.takes_back),
        taken_back_by: d.taken_back_by.map(|t| t.0),
    })
}

fn wave(w: &rollouts::WaveDetail) -> v1::RolloutWave {
    v1::RolloutWave {
        title: w.title.clone(),
        what: w.what.to_string(),
        share_percent: w.share,
        soak_seconds: w.soak.as_secs(),
        targets: w.count.targets,
        begun: w.count.begun,
        observed: w.count.observed,
        left_behind: w.count.left_behind,
    }
}

fn line(d: &Detail) -> v1::Rollout {
    let r = &d.rollout;
    let sum = |f: fn(&rollout::Count) -> i64| d.waves.iter().map(|w| f(&w.count)).sum();
    let begun = r.wave.and_then(|w| usize::try_from(w).ok()).and_then(|w| d.waves.get(w));
    let says = match d.waits.as_slice() {
        [] => pki::text::escape(&r.said),
        [one] => one.text.clone(),
        [first, rest @ ..] => format!("{} (and {} more)", first.text, rest.len() as i64 + r.more),
    };
    v1::Rollout {
        id: r.id.0,
        secret: d.secret.clone(),
        version: r.version,
        from_version: (r.from_version != 0).then_some(r.from_version),
        kind: r.kind.to_string(),
        state: r.state.to_string(),
        halted: r.halted_at.is_some() && r.state.is_open(),
        targets: sum(|c| c.targets),
        begun: sum(|c| c.begun),
        observed: sum(|c| c.observed),
        left_behind: d.left_behind.0,
        wave: begun.map(|w| w.title.clone()),
        says,
        needs_a_person: d.needs_a_person,
        created_at: r.created_at.to_string(),
        ended_at: r.ended_at.map(|t| t.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revocations {
    after: Option<String>,
    limit: Option<i64>,
}

/// `GET /v1/revocations`: the newest first.
pub(crate) async fn revocations(
    State(shared): State<Shared>,
    caller: Caller,
    Asked(q): Asked<Revocations>,
) -> Answer<v1::Page<v1::Revocation>> {
    let paging = Paging::new("revocations", q.after.as_deref(), q.limit)?;
    let work = move |call: &Call| {
        let rows = call.read(|tx| Ok(revocation::page(tx, paging.first(), paging.limit)?))?;
        paging.page(&rows, |r| Cursor(r.id, 0, String::new()), |r| Ok(revoked(r)))
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

pub(crate) async fn revocation(State(shared): State<Shared>, caller: Caller, Id(id): Id) -> Answer<v1::RevocationDetail> {
    shared.run(caller, Scope::Store, move |_, call| revocation_detail(call, id)).await.map(json)
}

/// `POST /v1/revocations`.
pub(crate) async fn open(
    State(shared): State<Shared>,
    caller: Caller,
    Json(body): Json<v1::NewRevocation>,
) -> Answer<v1::RevocationDetail> {
    reason(&body.reason)?;
    let at = body.deadline.as_deref().map(|d| convert::time("deadline", d)).transpose()?;
    if at.is_some() && body.within_seconds.is_some() {
        return Err(Problem::bad("bad-revocation", "a deadline is a moment or a time from now, not both: deadline or within_seconds"));
    }
    let within = body.within_seconds.map(Span::seconds);
    if within.is_some_and(|w| w <= Span::ZERO || w > revocations::FURTHEST) {
        return Err(Problem::bad("bad-revocation", "within_seconds is a time from now, of 90 days at most"));
    }
    let bad = |_| Problem::bad("bad-revocation", "a certificate is named by its SHA-256: 64 hexadecimal digits");
    let certificates = body.certificates.iter().map(|c| Fingerprint::parse(c)).collect::<Result<Vec<_>, _>>().map_err(bad)?;
    let work = move |permitted: &Permitted, call: &Call| {
        let deadline: Option<Time> = at.or(within.map(|w| call.tick.now + w));
        let ask = Ask { issuer: body.issuer.clone(), certificates: certificates.clone(), secrets: body.secrets.clone(), deadline };
        let opened = call.engine().open_revocation(&ask, body.dry_run, &body.reason, &permitted.actor(), &call.tick)?;
        Ok(shown(opened))
    };
    shared.run(caller, Scope::Store, work).await.map(json)
}

/// `POST /v1/revocations/{id}/withdraw`.
pub(crate) async fn withdraw(
    State(shared): State<Shared>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json<v1::Reason>,
) -> Answer<v1::RevocationDetail> {
    reason(&body.reason)?;
    let work = move |permitted: &Permitted, call: &Call| {
        call.engine().withdraw_revocation(id, &body.reason, &permitted.actor(), &call.tick)?;
        revocation_detail(call, id)
    };
    shared.run(caller, Scope::Store, work).await.map(json)
}

/// `GET /v1/revocations/{id}/secrets`: in the order of risk.
pub(crate) async fn revoked_secrets(
    State(shared): State<Shared>,
    caller: Caller,
    Id(id): Id,
    Asked(q): Asked<Revocations>,
) -> Answer<v1::Page<v1::RevokedSecret>> {
    let paging = Paging::new("revoked-secrets", q.after.as_deref(), q.limit)?;
    let work = move |call: &Call| {
        let rows = call.read(|tx| Ok(revocations::secrets(tx, id, paging.first(), paging.limit)?))?;
        paging.page(&rows, |(_, a, ..)| Cursor(a.place, 0, String::new()), |one| Ok(revoked_secret(one.clone())))
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

fn revoked(r: &revocation::Revocation) -> v1::Revocation {
    v1::Revocation {
        id: r.id,
        asked: r.asked.iter().map(|a| pki::text::escape(a)).collect(),
        deadline: r.deadline_at.to_string(),
        reason: pki::text::escape(&r.reason),
        actor: pki::text::escape(&r.actor),
        created_at: r.created_at.to_string(),
        ended_at: r.ended_at.map(|t| t.to_string()),
        withdrawn_by: (!r.withdrawn_by.is_empty()).then(|| pki::text::escape(&r.withdrawn_by)),
        withdrawn_for: (!r.withdrawn_by.is_empty()).then(|| pki::text::escape(&r.withdrawn_for)),
    }
}

fn revocation_detail(call: &Call, id: i64) -> Result<v1::RevocationDetail, Problem> {
    Ok(shown(call.read(|tx| Ok(revocations::detail(tx, id)?))?))
}

fn shown(d: revocations::Detail) -> v1::RevocationDetail {
    v1::RevocationDetail {
        revocation: revoked(&d.revocation),
        certificates: d.certificates,
        incident: d.incident,
        secrets_total: d.count.0,
        secrets_replaced: d.count.1,
        secrets: d.secrets.into_iter().map(revoked_secret).collect(),
    }
}

fn revoked_secret((name, a, still_serving, targets): revocations::One) -> v1::RevokedSecret {
    v1::RevokedSecret {
        name,
        rollout: (a.rollout != 0).then_some(a.rollout),
        detail: pki::text::escape(&a.detail),
        done_at: a.done_at.map(|t| t.to_string()),
        still_serving,
        targets,
    }
}
