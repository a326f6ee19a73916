//! How the store stands: for people, for machines that watch, and what a person can say about the clock.

use api::v1;
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use domain::{Time, clock::Belief};
use engine::Tick;
use store::{journal, meta, model::sweep};

use super::{
    Answer,
    body::Json,
    convert,
    gate::{Call, Caller, Scope, Shared},
    json,
    metrics::Standing,
    problem::Problem,
    read, reason,
};

pub(crate) async fn show(State(shared): State<Shared>, caller: Caller) -> Answer<v1::Status> {
    shared.run(caller, Scope::Store, |_, call| status(call)).await.map(json)
}

/// `GET /v1/status`, and the answer of what changes the store as a whole.
pub(crate) fn status(call: &Call) -> Result<v1::Status, Problem> {
    let engine = call.engine();
    let now = call.tick.now;
    let findings = engine.own_findings(&call.tick)?;
    let initialised = engine.is_initialised()?;
    call.read(|tx| {
        let identity = meta::identity(tx)?;
        let counts = read::count(tx)?;
        Ok(v1::Status {
            version: call.shared.app.version.to_owned(),
            store_id: identity.store_id,
            epoch: identity.epoch,
            now: now.to_string(),
            sealed: !engine.is_open(),
            initialised,
            clock_doubts: doubts(&call.tick.clock),
            secrets: counts.secrets,
            targets: counts.targets,
            open_incidents: counts.open_incidents,
            outbox_waiting: counts.outbox_waiting,
            outbox_stuck: counts.outbox_stuck,
            last_sweep: last_sweep(tx)?.map(|t| t.to_string()),
            findings: findings.iter().map(convert::own_finding).collect(),
        })
    })
}

fn doubts(clock: &Belief) -> Vec<String> {
    match clock {
        Belief::Believed => Vec::new(),
        Belief::Doubted(reasons) => reasons.iter().map(ToString::to_string).collect(),
    }
}

fn last_sweep(tx: &mut store::Tx<'_>) -> store::Result<Option<Time>> {
    // The one before is finished where the newest is under way.
    Ok(sweep::list(tx, 2)?.into_iter().find_map(|s| s.finished_at))
}

/// `POST /v1/clock/confirm`: a person has looked at another clock.
pub(crate) async fn confirm_clock(State(shared): State<Shared>, caller: Caller, Json(body): Json<v1::Reason>) -> Answer<v1::Status> {
    reason(&body.reason)?;
    if body.reason.trim().is_empty() {
        return Err(Problem::unprocessable("reason-missing", "confirming the clock needs a reason: which clock did you compare it with?"));
    }
    let work = move |permitted: &super::permission::Permitted, call: &Call| {
        let doubts = call.tick.clock.clone();
        (call.shared.app.confirm_clock)();
        // Read again: the time that was confirmed is the clock's, not the one that went on while it was doubted.
        let tick = (call.shared.app.tick)();
        call.engine().confirm_clock(&body.reason, &permitted.actor(), &Tick { now: tick.now, clock: doubts })?;
        status(&Call { shared: call.shared.clone(), tick })
    };
    shared.run(caller, Scope::Store, work).await.map(json)
}

/// `GET /healthz`: the process answers. It asks nobody, so that no database takes the process down with it.
pub(crate) async fn healthy() -> impl IntoResponse {
    plain("ok\n")
}

/// `GET /readyz`: the database answers. A sealed store is ready: it observes, assesses and pages.
pub(crate) async fn ready(State(shared): State<Shared>) -> Result<impl IntoResponse, Problem> {
    let answers = shared.blocking(|call| call.read(|tx| Ok(journal::head(tx)?))).await;
    match answers {
        Ok(_) => Ok(plain("ready\n")),
        Err(problem) => {
            tracing::warn!(code = problem.code, "not ready");
            Err(Problem { status: StatusCode::SERVICE_UNAVAILABLE, ..problem })
        }
    }
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(shared): State<Shared>) -> Result<impl IntoResponse, Problem> {
    let text = shared
        .blocking(|call| {
            let standing = call.read(|tx| {
                Ok(Standing {
                    counts: read::count(tx)?,
                    sealed: !call.engine().is_open(),
                    clock_believed: call.tick.clock.is_believed(),
                    last_sweep: last_sweep(tx)?.map_or(0, Time::unix),
                })
            })?;
            call.shared.app.metrics.encode(&standing).map_err(|e| Problem::internal(&e))
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

fn plain(text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text)
}
