//! Incidents, and what people do with them. Nothing here closes one: only observation does.

use api::v1;
use axum::extract::State;
use domain::{incident::RootCause, words::IncidentId};
use engine::incidents::{NewAction, Review};
use serde::Deserialize;
use store::model::incident;

use super::{
    Answer,
    body::{Asked, Id, Json},
    convert,
    gate::{Call, Caller, Scope, Shared},
    json,
    limits::{ACTIONS, PARTS_SHOWN, REVIEW_BYTES, TEXT_BYTES},
    openapi::Done,
    page::{Cursor, Paging},
    problem::Problem,
    read::Names,
    reason, text,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    all: Option<bool>,
    after: Option<String>,
    limit: Option<i64>,
}

pub(crate) async fn list(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Query>) -> Answer<v1::Page<v1::Incident>> {
    let paging = Paging::new("incidents", q.after.as_deref(), q.limit)?;
    let only_open = !q.all.unwrap_or(false);
    let work = move |call: &Call| {
        let rows = call.read(|tx| Ok(incident::list_page(tx, only_open, paging.first(), paging.limit)?))?;
        paging.page(&rows, |i| Cursor(i.facts.id.0, 0, String::new()), |i| Ok(convert::incident(i)))
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

pub(crate) async fn show(State(shared): State<Shared>, caller: Caller, Id(id): Id) -> Answer<v1::IncidentDetail> {
    let work = move |call: &Call| {
        call.read(|tx| {
            let id = IncidentId(id);
            let it = incident::get(tx, id)?.ok_or_else(|| Problem::not_found("incident", &id.to_string()))?;
            let mut names = Names::default();
            let mut lines = Vec::new();
            for l in incident::lines(tx, id, false, i64::MIN, PARTS_SHOWN)? {
                lines.push(convert::line(&l, names.secret(tx, l.secret)?, names.target(tx, l.target)?));
            }
            let actions = incident::actions(tx, id)?.iter().map(convert::action).collect();
            Ok(v1::IncidentDetail { incident: convert::incident(&it), lines, actions, review: it.review })
        })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

pub(crate) async fn acknowledge(
    State(shared): State<Shared>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json<v1::Reason>,
) -> Answer<v1::Incident> {
    reason(&body.reason)?;
    shared
        .run(caller, Scope::Incident(id), move |permitted, call| {
            let it = call.engine().acknowledge(IncidentId(id), permitted.acts_for(), &body.reason, &permitted.actor(), &call.tick)?;
            Ok(convert::incident(&it))
        })
        .await
        .map(json)
}

pub(crate) async fn mitigate(
    State(shared): State<Shared>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json<v1::Reason>,
) -> Answer<v1::Incident> {
    reason(&body.reason)?;
    shared
        .run(caller, Scope::WholeIncident(id), move |permitted, call| {
            let it = call.engine().mitigate(IncidentId(id), &body.reason, &permitted.actor(), &call.tick)?;
            Ok(convert::incident(&it))
        })
        .await
        .map(json)
}

pub(crate) async fn review(State(shared): State<Shared>, caller: Caller, Id(id): Id, Json(body): Json<v1::Review>) -> Answer<v1::Incident> {
    let review = checked(body)?;
    shared
        .run(caller, Scope::WholeIncident(id), move |permitted, call| {
            let it = call.engine().review(IncidentId(id), &review, &permitted.actor(), &call.tick)?;
            Ok(convert::incident(&it))
        })
        .await
        .map(json)
}

fn checked(body: v1::Review) -> Result<Review, Problem> {
    text("text", &body.text, REVIEW_BYTES)?;
    text("own_cause", &body.own_cause, TEXT_BYTES)?;
    let Some(cause) = RootCause::parse(&body.cause) else {
        let all = RootCause::ALL.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", ");
        let detail = format!("{} is no root cause; possible are {all}", pki::text::escape(&body.cause));
        return Err(Problem::unprocessable("bad-cause", detail));
    };
    if body.actions.len() > ACTIONS {
        return Err(Problem::unprocessable("too-many-actions", format!("a review has at most {ACTIONS} actions")));
    }
    let action = |a: v1::NewAction| {
        text("what", &a.what, TEXT_BYTES)?;
        Ok(NewAction { what: a.what, owner: a.owner, due_at: convert::time("due_at", &a.due_at)? })
    };
    let actions = body.actions.into_iter().map(action).collect::<Result<_, Problem>>()?;
    Ok(Review { cause, own_cause: body.own_cause, text: body.text, actions })
}

pub(crate) async fn action_done(State(shared): State<Shared>, caller: Caller, Id(id): Id, Json(body): Json<v1::Reason>) -> Answer<Done> {
    reason(&body.reason)?;
    shared
        .run(caller, Scope::Action(id), move |permitted, call| {
            call.engine().action_done(id, &body.reason, &permitted.actor(), &call.tick)?;
            Ok(Done {})
        })
        .await
        .map(json)
}
