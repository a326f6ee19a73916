//! Drills: what is declared, what was rehearsed and what it took; running and ending one.

use api::v1;
use axum::extract::State;
use domain::{Span, drill::Kind};
use engine::drills::{self, Ask, Declared, standing};
use serde::Deserialize;
use store::model::drill::Run;

use super::{
    Answer,
    body::{Asked, Id, Json},
    convert,
    gate::{Call, Caller, Scope, Shared},
    json,
    page::{Cursor, Paging},
    problem::Problem,
    read::Names,
    reason,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pages {
    after: Option<String>,
    limit: Option<i64>,
}

/// `GET /v1/drills`: those of the inventory, by name.
pub(crate) async fn list(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Pages>) -> Answer<v1::Page<v1::Drill>> {
    let paging = Paging::new("drills", q.after.as_deref(), q.limit)?;
    let work = move |call: &Call| {
        let after = paging.after.as_ref().map(|c| c.2.clone()).unwrap_or_default();
        call.read(|tx| {
            let rows = drills::declared(tx, &after, paging.limit, call.tick.now)?;
            let mut names = Names::default();
            paging.page(&rows, |d| Cursor(0, 0, d.drill.name.clone()), |d| declared(tx, &mut names, d))
        })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Runs {
    name: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

/// `GET /v1/drills/runs`: the newest first, of one drill or of all.
pub(crate) async fn runs(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Runs>) -> Answer<v1::Page<v1::DrillRun>> {
    let paging = Paging::new("drill-runs", q.after.as_deref(), q.limit)?;
    let work = move |call: &Call| {
        call.read(|tx| {
            let rows = store::model::drill::runs(tx, q.name.as_deref(), paging.first(), paging.limit)?;
            let mut names = Names::default();
            paging.page(&rows, |r| Cursor(r.id, 0, String::new()), |r| line(tx, &mut names, r))
        })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

/// `GET /v1/drills/runs/{id}`.
pub(crate) async fn show(State(shared): State<Shared>, caller: Caller, Id(id): Id) -> Answer<v1::DrillRunDetail> {
    shared.run(caller, Scope::Store, move |_, call| detail(call, id)).await.map(json)
}

/// `POST /v1/drills/run`.
pub(crate) async fn run(State(shared): State<Shared>, caller: Caller, Json(wanted): Json<v1::RunDrill>) -> Answer<v1::DrillRunDetail> {
    reason(&wanted.reason)?;
    let possible = "rotation, alert, node-down, stale-reload and region-cut";
    let bad =
        |text: &str| Problem::unprocessable("bad-drill", format!("{} is no kind of drill; there are {possible}", pki::text::escape(text)));
    let kind = wanted.kind.as_deref().map(|text| Kind::parse(text).ok_or_else(|| bad(text))).transpose()?;
    let ask = Ask {
        name: wanted.name,
        secret: wanted.secret,
        kind,
        node: wanted.node,
        region: wanted.region,
        within: wanted.within_seconds.map(Span::seconds),
    };
    shared
        .run(caller, Scope::Store, move |permitted, call| {
            let run = call.engine().run_drill(&ask, &wanted.reason, &permitted.actor(), &call.tick)?;
            detail(call, run.id)
        })
        .await
        .map(json)
}

/// `POST /v1/drills/runs/{id}/abort`.
pub(crate) async fn abort(
    State(shared): State<Shared>,
    caller: Caller,
    Id(id): Id,
    Json(wanted): Json<v1::Reason>,
) -> Answer<v1::DrillRunDetail> {
    reason(&wanted.reason)?;
    shared
        .run(caller, Scope::Store, move |permitted, call| {
            call.engine().abort_drill(id, &wanted.reason, &permitted.actor(), &call.tick)?;
            detail(call, id)
        })
        .await
        .map(json)
}

fn detail(call: &Call, id: i64) -> Result<v1::DrillRunDetail, Problem> {
    call.read(|tx| {
        let (run, paths) = drills::detail(tx, id, call.tick.now)?;
        let steps = standing::measured(&run.steps).into_iter().map(|m| v1::DrillStep {
            wave: m.wave.map(|w| w + 1),
            step: m.step.to_string(),
            targets: m.spread.n,
            p50_seconds: m.spread.p50.as_secs(),
            p95_seconds: m.spread.p95.as_secs(),
            max_seconds: m.spread.max.as_secs(),
        });
        let steps = steps.collect();
        let paths = paths.into_iter().map(|(service, path)| v1::CriticalPath {
            service,
            p95_seconds: path.map(|(p95, _)| p95.as_secs()),
            until: path.filter(|(_, until)| !until.is_no_expiry()).map(|(_, until)| until.to_string()),
        });
        let paths = paths.collect();
        Ok(v1::DrillRunDetail { run: line(tx, &mut Names::default(), &run)?, steps, paths })
    })
}

fn declared(tx: &mut store::Tx<'_>, names: &mut Names, d: &Declared) -> Result<v1::Drill, Problem> {
    let maybe = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let latest = match &d.latest {
        Some(run) => Some(line(tx, names, run)?),
        None => None,
    };
    Ok(v1::Drill {
        name: d.drill.name.clone(),
        secret: d.drill.secret.clone(),
        kind: d.drill.kind.to_string(),
        every_seconds: d.drill.every.as_secs(),
        within_seconds: d.drill.within.as_secs(),
        team: d.team.clone(),
        node: maybe(&d.drill.node),
        region: maybe(&d.drill.region),
        declared_at: d.drill.declared_at.to_string(),
        due_at: d.past.due_at(d.drill.every).map(|t| t.to_string()),
        overdue_at: d.past.overdue_at(d.drill.every).to_string(),
        passed_at: d.past.passed_at.map(|t| t.to_string()),
        standing: d.standing.to_owned(),
        latest,
        findings: d.concerns.iter().map(convert::concern).collect(),
    })
}

fn line(tx: &mut store::Tx<'_>, names: &mut Names, r: &Run) -> Result<v1::DrillRun, Problem> {
    let maybe = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let time = |at: Option<domain::Time>| at.map(|t| t.to_string());
    let number = |n: i64| (n > 0).then_some(n);
    Ok(v1::DrillRun {
        id: r.id,
        name: r.name.clone(),
        secret: names.secret(tx, r.secret)?,
        kind: r.kind.to_string(),
        node: maybe(&r.node),
        region: maybe(&r.region),
        within_seconds: r.within.as_secs(),
        actor: r.actor.clone(),
        reason: r.reason.clone(),
        phase: r.phase.to_string(),
        awaits: maybe(&r.awaits),
        detail: maybe(&r.detail),
        started_at: r.started_at.to_string(),
        version: number(r.version),
        issued_at: time(r.issued_at),
        rollout: number(r.rollout),
        incident: number(r.incident),
        fault_at: time(r.fault_at),
        noticed_at: time(r.noticed_at),
        lifted_at: time(r.lifted_at),
        ended_at: time(r.ended_at),
        reasons: standing::reasons(&r.reasons)
            .into_iter()
            .map(|r| v1::DrillReason { why: r.why.to_string(), about: maybe(&r.about), detail: r.detail })
            .collect(),
        observed: r.observed,
        left_behind: r.quarantined,
        left: r.left,
        p50_seconds: r.p50,
        p95_seconds: r.p95,
        max_seconds: r.max,
    })
}
