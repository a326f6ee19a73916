//! Targets: lists, details with what was observed, looking at once, and retiring.

use api::v1;
use axum::extract::State;
use engine::inventory;
use serde::Deserialize;
use store::{
    Tx,
    model::{finding, observation, secret, target},
};

use super::{
    Answer,
    body::{Asked, Json, Name},
    convert,
    gate::{Call, Caller, Scope, Shared},
    json,
    limits::PARTS_SHOWN,
    openapi::Done,
    page::{Cursor, Paging},
    problem::Problem,
    read::Names,
    reason,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    secret: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

pub(crate) async fn list(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Query>) -> Answer<v1::Page<v1::Target>> {
    let paging = Paging::new("targets", q.after.as_deref(), q.limit)?;
    let work = move |call: &Call| {
        call.read(|tx| {
            let of = q.secret.map(|name| secret_id(tx, &name)).transpose()?;
            let rows = target::by_margin(tx, of, paging.pair(), paging.limit)?;
            let mut names = Names::default();
            paging.page(&rows, |(margin, t)| Cursor(*margin, t.facts.id.0, String::new()), |(_, t)| shown(tx, &mut names, t, call))
        })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

/// The number of a secret that a query names.
pub(crate) fn secret_id(tx: &mut Tx<'_>, name: &str) -> Result<domain::words::SecretId, Problem> {
    Ok(secret::by_name(tx, name)?.ok_or_else(|| Problem::not_found("secret", name))?.id)
}

fn shown(tx: &mut Tx<'_>, names: &mut Names, t: &target::Target, call: &Call) -> Result<v1::Target, Problem> {
    let team = inventory::owner_of(tx, t)?;
    Ok(convert::target(t, &names.secret(tx, t.secret)?, team, call.tick.now))
}

pub(crate) async fn show(State(shared): State<Shared>, caller: Caller, Name(name): Name) -> Answer<v1::TargetDetail> {
    let work = move |call: &Call| {
        call.read(|tx| {
            let t = target::by_name(tx, &name)?.ok_or_else(|| Problem::not_found("target", &name))?;
            let id = t.facts.id;
            let mut names = Names::default();
            let secret = names.secret(tx, t.secret)?;
            let findings = finding::of_target(tx, id)?;
            Ok(v1::TargetDetail {
                target: shown(tx, &mut names, &t, call)?,
                observations: observation::of_target(tx, id)?.iter().map(convert::observation).collect(),
                history: observation::changes(tx, id, None, PARTS_SHOWN)?.iter().map(convert::change).collect(),
                findings: findings.iter().map(|f| convert::finding(f, Some(secret.clone()), Some(name.clone()))).collect(),
            })
        })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

pub(crate) async fn look(State(shared): State<Shared>, caller: Caller, Name(name): Name, Json(body): Json<v1::Reason>) -> Answer<Done> {
    reason(&body.reason)?;
    shared
        .run(caller, Scope::Target(name.clone()), move |permitted, call| {
            let found = call.read(|tx| Ok(target::by_name(tx, &name)?))?.ok_or_else(|| Problem::not_found("target", &name))?;
            call.engine().look_now(found.facts.id, &permitted.actor(), &call.tick)?;
            Ok(Done {})
        })
        .await
        .map(json)
}

pub(crate) async fn retire(State(shared): State<Shared>, caller: Caller, Name(name): Name, Json(body): Json<v1::Reason>) -> Answer<Done> {
    reason(&body.reason)?;
    shared
        .run(caller, Scope::Target(name.clone()), move |permitted, call| {
            call.engine().retire_target(&name, &body.reason, &permitted.actor(), &call.tick)?;
            Ok(Done {})
        })
        .await
        .map(json)
}
