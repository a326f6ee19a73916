//! Releases: what people and pipelines say of them, and what the rules make of it. What a build carries is registered as a whole or not at all.

use api::v1;
use axum::extract::State;
use domain::{
    Fingerprint, Span, Time,
    finding::Code,
    release::Status,
    words::{ReleaseId, SecretId},
};
use engine::releases::{self, Delay, Detail, Found, New, Thing, When};
use serde::Deserialize;
use store::{
    Tx,
    model::{
        release::{self, Item, What},
        secret,
    },
};

use super::{
    Answer,
    body::{Asked, Id, Json},
    convert,
    gate::{Call, Caller, Scope, Shared},
    json,
    page::{Cursor, Paging},
    permission::Permitted,
    problem::Problem,
    read::Names,
    reason,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    service: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

/// `GET /v1/releases`: the newest first.
pub(crate) async fn list(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Query>) -> Answer<v1::Page<v1::Release>> {
    let paging = Paging::new("releases", q.after.as_deref(), q.limit)?.at_most(releases::MAX_PAGE);
    let work = move |call: &Call| {
        let before = paging.first().map(ReleaseId);
        let rows = call.engine().releases(q.service.as_deref(), before, paging.limit, &call.tick)?;
        paging.page(&rows, |d| Cursor(d.stored.facts.id.0, 0, String::new()), |d| Ok(line(d)))
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Queue {
    train: Option<String>,
    service: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

/// `GET /v1/releases/queue`: in the order in which they should ship.
pub(crate) async fn queue(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Queue>) -> Answer<v1::Page<v1::Release>> {
    let paging = Paging::new("release-queue", q.after.as_deref(), q.limit)?.at_most(releases::MAX_PAGE);
    let work = move |call: &Call| {
        let bad = || Problem::bad("bad-cursor", "`after` is not what a page of this list gave as `next`; begin again without it");
        let after = match &paging.after {
            None => None,
            Some(c) => Some((c.0, c.1, c.2.parse::<i64>().map_err(|_| bad())?)),
        };
        let rows = call.engine().release_queue(q.train.as_deref(), q.service.as_deref(), after, paging.limit, &call.tick)?;
        let place = |d: &Detail| {
            let (urgency, place, id) = release::queue_key(&d.stored);
            Cursor(urgency, place, id.to_string())
        };
        paging.page(&rows, place, |d| Ok(line(d)))
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

pub(crate) async fn show(State(shared): State<Shared>, caller: Caller, Id(id): Id) -> Answer<v1::ReleaseDetail> {
    let work = move |call: &Call| detail(call, &call.engine().release(ReleaseId(id), &call.tick)?);
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Items {
    after: Option<String>,
    limit: Option<i64>,
}

/// `GET /v1/releases/{id}/items`: everything that was found in the build.
pub(crate) async fn items(
    State(shared): State<Shared>,
    caller: Caller,
    Id(id): Id,
    Asked(q): Asked<Items>,
) -> Answer<v1::Page<v1::ReleaseItem>> {
    let paging = Paging::new("release-items", q.after.as_deref(), q.limit)?.at_most(releases::MAX_PAGE);
    let work = move |call: &Call| {
        let rows = call.engine().release_items(ReleaseId(id), paging.first().unwrap_or(0), paging.limit)?;
        call.read(|tx| {
            let mut names = Names::default();
            paging.page(&rows, |i| Cursor(i.id, 0, String::new()), |i| item(tx, &mut names, i))
        })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

pub(crate) async fn create(State(shared): State<Shared>, caller: Caller, Json(wanted): Json<v1::NewRelease>) -> Answer<v1::ReleaseDetail> {
    reason(&wanted.reason)?;
    let mut stages = Vec::new();
    for stage in &wanted.stages {
        stages.push((stage.region.clone(), stage.planned_at.as_deref().map(|t| convert::time("planned_at", t)).transpose()?));
    }
    let when = when(&wanted.when)?;
    let scope = Scope::Service(wanted.service.clone());
    change(&shared, caller, scope, move |permitted, call| {
        let new =
            New { service: &wanted.service, build: &wanted.build, when, carries: &wanted.carries, stages: &stages, reason: &wanted.reason };
        Ok(call.engine().create_release(&new, &permitted.actor(), &call.tick)?)
    })
    .await
}

pub(crate) async fn plan(
    State(shared): State<Shared>,
    caller: Caller,
    Id(id): Id,
    Json(wanted): Json<v1::PlanRelease>,
) -> Answer<v1::ReleaseDetail> {
    reason(&wanted.reason)?;
    let when = when(&wanted.when)?.unwrap_or(When::Train { name: None, before: None, earliest: None });
    change(&shared, caller, Scope::Release(id), move |permitted, call| {
        Ok(call.engine().plan_release(ReleaseId(id), &when, &wanted.reason, &permitted.actor(), &call.tick)?)
    })
    .await
}

pub(crate) async fn delay(
    State(shared): State<Shared>,
    caller: Caller,
    Id(id): Id,
    Json(wanted): Json<v1::DelayRelease>,
) -> Answer<v1::ReleaseDetail> {
    reason(&wanted.reason)?;
    let delay = match (&wanted.to, wanted.by_seconds) {
        (Some(to), None) => Delay::To(convert::time("to", to)?),
        (None, Some(seconds)) => Delay::By(Span::seconds(seconds)),
        _ => return Err(Problem::unprocessable("bad-date", "a delay has either `to`, a date, or `by_seconds`")),
    };
    change(&shared, caller, Scope::Release(id), move |permitted, call| {
        Ok(call.engine().delay_release(ReleaseId(id), delay, &wanted.reason, &permitted.actor(), &call.tick)?)
    })
    .await
}

pub(crate) async fn stage(
    State(shared): State<Shared>,
    caller: Caller,
    Id(id): Id,
    Json(wanted): Json<v1::StageRelease>,
) -> Answer<v1::ReleaseDetail> {
    reason(&wanted.reason)?;
    let planned = wanted.planned_at.as_deref().map(|t| convert::time("planned_at", t)).transpose()?;
    let status = wanted.status.as_deref().map(status).transpose()?;
    if planned.is_none() && status.is_none() {
        return Err(Problem::unprocessable("bad-release", "a stage is given a date (`planned_at`), a `status`, or both"));
    }
    change(&shared, caller, Scope::Release(id), move |permitted, call| {
        let (engine, id) = (call.engine(), ReleaseId(id));
        Ok(engine.stage_release(id, &wanted.region, planned, status, &wanted.reason, &permitted.actor(), &call.tick)?)
    })
    .await
}

pub(crate) async fn is(
    State(shared): State<Shared>,
    caller: Caller,
    Id(id): Id,
    Json(wanted): Json<v1::ReleaseIs>,
) -> Answer<v1::ReleaseDetail> {
    reason(&wanted.reason)?;
    let status = status(&wanted.status)?;
    change(&shared, caller, Scope::Release(id), move |permitted, call| {
        Ok(call.engine().release_is(ReleaseId(id), status, &wanted.reason, &permitted.actor(), &call.tick)?)
    })
    .await
}

async fn change(
    shared: &Shared,
    caller: Caller,
    scope: Scope,
    work: impl FnOnce(&Permitted, &Call) -> Result<Detail, Problem> + Send + 'static,
) -> Answer<v1::ReleaseDetail> {
    shared.run(caller, scope, move |permitted, call| detail(call, &work(permitted, call)?)).await.map(json)
}

/// `POST /v1/releases/carry`.
pub(crate) async fn carry(State(shared): State<Shared>, caller: Caller, Json(wanted): Json<v1::CarryRelease>) -> Answer<v1::Carried> {
    let when = when(&wanted.when)?;
    let found = wanted.found.iter().map(found).collect::<Result<Vec<_>, _>>()?;
    let scope = Scope::Service(wanted.service.clone());
    shared
        .run(caller, scope, move |permitted, call| {
            let new =
                New { service: &wanted.service, build: &wanted.build, when, carries: &[], stages: &[], reason: "its build was scanned" };
            let (registered, created) = call.engine().register_build(&new, &found, &permitted.actor(), &call.tick)?;
            carried(call, &registered, created)
        })
        .await
        .map(json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfBuild {
    service: String,
    build: String,
}

/// `GET /v1/releases/carry`: the same answer once more.
pub(crate) async fn carries(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<OfBuild>) -> Answer<v1::Carried> {
    let scope = Scope::Service(q.service.clone());
    let work = move |call: &Call| carried(call, &call.engine().release_by_build(&q.service, &q.build, &call.tick)?, false);
    shared.run(caller, scope, move |_, call| work(call)).await.map(json)
}

fn when(wanted: &v1::When) -> Result<Option<When>, Problem> {
    let v1::When { planned_at, train, before, not_before } = wanted;
    match (planned_at, train, before, not_before) {
        (None, None, None, None) => Ok(None),
        (Some(at), None, None, None) => Ok(Some(When::At(convert::time("planned_at", at)?))),
        (Some(_), ..) => Err(Problem::unprocessable(
            "bad-release",
            "`planned_at` is a date without a train; leave out `train`, `before` and `not_before`",
        )),
        (None, name, before, not_before) => Ok(Some(When::Train {
            name: name.clone(),
            before: before.map(ReleaseId),
            earliest: not_before.as_deref().map(|t| convert::time("not_before", t)).transpose()?,
        })),
    }
}

fn status(text: &str) -> Result<Status, Problem> {
    let possible = "planned, built, deploying, deployed, delayed and cancelled";
    let bad = || Problem::unprocessable("bad-release", format!("{} is no status; there are {possible}", pki::text::escape(text)));
    Status::parse(text).ok_or_else(bad)
}

fn found(f: &v1::FoundInBuild) -> Result<Found, Problem> {
    let bad = |why: &str| Problem::unprocessable("bad-item", format!("{}: {why}", pki::text::escape(&f.path)));
    let thing = match (&f.fingerprint_sha256, f.private_key) {
        (None, true) => Thing::KeyInTheClear,
        (Some(hex), false) => Thing::Certificate {
            fingerprint: Fingerprint::parse(hex).map_err(|_| bad("fingerprint_sha256 is no SHA-256 in hexadecimal"))?,
            subject: f.subject.clone().unwrap_or_default(),
            not_after: f.not_after.as_deref().map(|t| convert::time("not_after", t)).transpose()?,
        },
        _ => return Err(bad("it is either a certificate with its fingerprint_sha256, or a private_key")),
    };
    Ok(Found { thing, path: f.path.clone() })
}

fn line(d: &Detail) -> v1::Release {
    let r = &d.stored.facts;
    let dated = |t: Time| (!t.is_no_expiry()).then(|| t.to_string());
    let stands = |code: Code| d.concerns.iter().any(|c| c.code == code);
    let verdict = match () {
        () if r.ended_at.is_some() => "over",
        () if stands(Code::ReleaseLate) => "late",
        () if stands(Code::ReleaseUndated) => "undated",
        () if d.carries.is_empty() => "carries-nothing",
        () => "in-time",
    };
    v1::Release {
        id: r.id.0,
        service: r.service.clone(),
        team: d.owner.clone(),
        build: pki::text::escape(&r.build),
        train: (!r.train.is_empty()).then(|| r.train.clone()),
        status: r.status.to_string(),
        created_at: r.created_at.to_string(),
        planned_at: dated(r.planned_at),
        first_planned_at: dated(r.first_planned_at),
        built_at: r.built_at.map(|t| t.to_string()),
        deployed_at: r.deployed_at.map(|t| t.to_string()),
        observed_at: r.observed_at.map(|t| t.to_string()),
        ended_at: r.ended_at.map(|t| t.to_string()),
        ship_by: d.stored.ship_by.map(|t| t.to_string()),
        slack_seconds: d.slack.map(Span::as_secs),
        verdict: verdict.to_owned(),
        reason: d.stored.reason.clone(),
        stages: r
            .stages
            .iter()
            .map(|s| v1::Stage {
                region: s.region.clone(),
                planned_at: s.planned_at.map(|t| t.to_string()),
                status: s.status.to_string(),
                changed_at: s.changed_at.to_string(),
            })
            .collect(),
    }
}

fn detail(call: &Call, d: &Detail) -> Result<v1::ReleaseDetail, Problem> {
    call.read(|tx| {
        let mut carries = Vec::new();
        for (name, version, observed_at) in &d.carries {
            carries.push(v1::CarriedVersion {
                secret: name.clone(),
                version: *version,
                newest_version: secret::by_name(tx, name)?.map_or(*version, |s| s.newest_version),
                observed_at: observed_at.map(|t| t.to_string()),
            });
        }
        Ok(v1::ReleaseDetail { release: line(d), carries, findings: d.concerns.iter().map(convert::concern).collect() })
    })
}

fn carried(call: &Call, d: &Detail, created: bool) -> Result<v1::Carried, Problem> {
    let kinds = [What::Version, What::Older, What::Unknown, What::Key];
    let counts = call.read(|tx| {
        kinds.map(|what| Ok(release::finds(tx, d.stored.facts.id, what, 1)?.0)).into_iter().collect::<Result<Vec<i64>, Problem>>()
    })?;
    let of = |what: What| kinds.iter().zip(&counts).find(|(kind, _)| **kind == what).map_or(0, |(_, n)| *n);
    Ok(v1::Carried {
        detail: detail(call, d)?,
        created,
        versions: of(What::Version),
        older: of(What::Older),
        unknown: of(What::Unknown),
        keys: of(What::Key),
    })
}

fn item(tx: &mut Tx<'_>, names: &mut Names, i: &Item) -> Result<v1::ReleaseItem, Problem> {
    Ok(v1::ReleaseItem {
        id: i.id,
        what: i.what.as_str().to_owned(),
        secret: i.secret.map(|id: SecretId| names.secret(tx, id)).transpose()?,
        version: (i.version > 0).then_some(i.version),
        fingerprint_sha256: i.leaf.map(|l| l.to_string()),
        subject: i.subject.clone(),
        not_after: i.not_after.map(|t| t.to_string()),
        path: i.path.clone(),
        observed_at: i.observed_at.map(|t| t.to_string()),
    })
}
