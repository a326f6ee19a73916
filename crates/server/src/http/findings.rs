//! What the rules say, what owners were told, and what ends when.

use api::v1;
use axum::extract::State;
use domain::{
    Span, Time,
    words::{SecretId, TargetId},
};
use serde::Deserialize;
use store::model::{concern, finding, notice, secret};

use super::{
    Answer,
    body::Asked,
    convert,
    gate::{Call, Caller, Scope, Shared},
    json,
    page::{Cursor, Paging},
    problem::Problem,
    read::Names,
    targets::secret_id,
};

/// How far ahead, where nothing is said: the notice threshold of a one-year certificate.
const WITHIN: Span = Span::days(180);
/// The same for counts per week.
const WEEKS_WITHIN: Span = Span::days(365);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfSecret {
    secret: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

pub(crate) async fn findings(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<OfSecret>) -> Answer<v1::Page<v1::Finding>> {
    let paging = Paging::new("findings", q.after.as_deref(), q.limit)?;
    let work = move |call: &Call| {
        call.read(|tx| {
            let of = q.secret.map(|name| secret_id(tx, &name)).transpose()?;
            let after = paging.after.clone().map(|c| (c.0, c.1, c.2));
            let rows = finding::list(tx, of, after, paging.limit)?;
            let mut names = Names::default();
            let place = |f: &finding::FindingRow| Cursor(f.secret.0, f.target.map_or(0, |TargetId(id)| id), f.key.clone());
            paging.page(&rows, place, |f| {
                let secret = Some(names.secret(tx, f.secret)?).filter(|_| f.secret != SecretId(0));
                Ok(convert::finding(f, secret, names.target(tx, f.target)?))
            })
        })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paged {
    after: Option<String>,
    limit: Option<i64>,
}

impl Paged {
    pub(crate) fn paging(&self, list: &'static str) -> Result<Paging, Problem> {
        Paging::new(list, self.after.as_deref(), self.limit)
    }
}

/// `GET /v1/plan/findings`: what stands.
pub(crate) async fn plan(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Paged>) -> Answer<v1::Page<v1::PlanFinding>> {
    let paging = q.paging("plan-findings")?;
    let work = move |call: &Call| {
        // No subject holds a line end.
        let after = paging.after.as_ref().and_then(|c| c.2.split_once('\n'));
        let rows = call.read(|tx| Ok(concern::standing(tx, after, paging.limit)?))?;
        paging.page(&rows, |c| Cursor(0, 0, format!("{}\n{}", c.subject, c.key)), |c| Ok(convert::concern(c)))
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

pub(crate) async fn notices(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Paged>) -> Answer<v1::Page<v1::Notice>> {
    let paging = q.paging("notices")?;
    let work = move |call: &Call| {
        call.read(|tx| {
            let rows = notice::list(tx, paging.first(), paging.limit)?;
            let mut names = Names::default();
            paging.page(&rows, |n| Cursor(n.id, 0, String::new()), |n| Ok(convert::notice(n, names.secret(tx, n.secret)?)))
        })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ahead {
    within: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

pub(crate) async fn expiring(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Ahead>) -> Answer<v1::Page<v1::Ending>> {
    let paging = Paging::new("expiring", q.after.as_deref(), q.limit)?;
    let within = ahead(q.within.as_deref(), WITHIN)?;
    let work = move |call: &Call| {
        let rows = call.read(|tx| Ok(secret::ending(tx, call.tick.now + within, paging.pair(), paging.limit)?))?;
        paging.page(&rows, |e| Cursor(e.not_after.unix(), e.id, String::new()), |e| Ok(convert::ending(e)))
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Within {
    within: Option<String>,
}

pub(crate) async fn weeks(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Within>) -> Answer<Vec<v1::WeekCount>> {
    let within = ahead(q.within.as_deref(), WEEKS_WITHIN)?;
    let work = move |call: &Call| {
        let week = |t: Time| secret::week_number(t);
        let (from, to) = (week(call.tick.now), week(call.tick.now + within));
        Ok(call.read(|tx| Ok(secret::expiry_counts(tx, from, to)?))?.iter().map(convert::week).collect())
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

fn ahead(text: Option<&str>, otherwise: Span) -> Result<Span, Problem> {
    let Some(text) = text else { return Ok(otherwise) };
    let span = Span::parse(text).map_err(|e| Problem::bad("bad-query", format!("within: {}", pki::text::escape(&e.to_string()))))?;
    if span.as_secs() < 0 {
        return Err(Problem::bad("bad-query", "within: what ended already is listed anyway; ask for a length of time ahead"));
    }
    Ok(span)
}
