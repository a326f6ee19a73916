//! What breaks if all goes as planned, and what production hangs on besides its certificates.

use api::v1;
use axum::extract::State;
use domain::{Fingerprint, Span, Time, forecast::Missed};
use engine::forecast::{Ask, BROKEN, Forecast, MOST, Place};
use serde::Deserialize;

use super::{
    Answer,
    body::Asked,
    gate::{Call, Caller, Scope, Shared},
    json,
    page::{Cursor, Paging},
    problem::Problem,
};

/// Several of something are separated by commas, which no number and no name of a region has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    until: Option<String>,
    delay: Option<String>,
    cancel: Option<String>,
    silence: Option<String>,
    secret: Option<String>,
    service: Option<String>,
    grouped: Option<bool>,
    after: Option<String>,
    limit: Option<i64>,
}

pub(crate) async fn show(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Query>) -> Answer<v1::Forecast> {
    let grouped = q.grouped.unwrap_or(false);
    let list = if grouped { "forecast-groups" } else { "forecast" };
    let paging = Paging::within(list, q.after.as_deref(), q.limit, MOST as i64)?;
    let until =
        q.until.as_deref().map(|text| Time::parse(text).map_err(|e| Problem::bad("bad-query", format!("until: {e}")))).transpose()?;
    let delay = several(q.delay.as_deref()).map(|text| delay(&text)).collect::<Result<Vec<_>, Problem>>()?;
    let ask = Ask {
        until,
        delay,
        cancel: several(q.cancel.as_deref()).collect(),
        silence: several(q.silence.as_deref()).collect(),
        secret: q.secret,
        service: q.service,
        grouped,
        after: paging.after.as_ref().map(place).transpose()?,
        limit: usize::try_from(paging.limit).unwrap_or(MOST),
    };
    let work = move |call: &Call| -> Result<v1::Forecast, Problem> {
        let it = call.engine().forecast(&ask, &call.tick)?;
        let last = if grouped { it.groups.last().map(|g| g.place) } else { it.lines.last().map(|l| l.place) };
        let next = last.filter(|_| it.more).map(|place| paging.next(&cursor(place)));
        Ok(shown(it, next, call.tick.now))
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

fn several(text: Option<&str>) -> impl Iterator<Item = String> {
    text.into_iter().flat_map(|t| t.split(',')).map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// `RELEASE=SPAN`. A build's name may hold `=` too, a span never.
fn delay(text: &str) -> Result<(String, Span), Problem> {
    let wrong = || Problem::bad("bad-query", format!("delay: {} is not RELEASE=SPAN, such as 12=14d", pki::text::escape(text)));
    let (release, span) = text.rsplit_once('=').ok_or_else(wrong)?;
    Ok((release.to_owned(), Span::parse(span).map_err(|_| wrong())?))
}

fn cursor(place: Place) -> Cursor {
    let about = place.about.map_or_else(|| String::from("-"), |a| a.to_string());
    Cursor(place.at, place.number, format!("{about} {}", place.arrives))
}

fn place(cursor: &Cursor) -> Result<Place, Problem> {
    let wrong = || Problem::bad("bad-cursor", "`after` is not what a page of this list gave as `next`; begin again without it");
    let (about, arrives) = cursor.2.split_once(' ').ok_or_else(wrong)?;
    let about = match about {
        "-" => None,
        text => Some(Fingerprint::parse(text).map_err(|_| wrong())?),
    };
    Ok(Place { at: cursor.0, number: cursor.1, about, arrives: arrives.parse().map_err(|_| wrong())? })
}

fn shown(it: Forecast, next: Option<String>, now: Time) -> v1::Forecast {
    let totals = it.totals;
    let escaped = |names: &[String]| names.iter().map(|n| pki::text::escape(n)).collect::<Vec<_>>();
    let at = |place: Place| if place.at == BROKEN { now.to_string() } else { Time::from_unix(place.at).to_string() };
    let targets = it.lines.iter().map(|l| v1::Break {
        target: pki::text::escape(&l.target),
        secret: pki::text::escape(&l.secret),
        service: pki::text::escape(&l.service),
        region: pki::text::escape(&l.region),
        stamp: pki::text::escape(&l.stamp),
        breaks_at: at(l.place),
        broken: l.place.at == BROKEN,
        certificate: l.outlook.about.map(|a| a.to_string()),
        position: l.outlook.position.map(|p| p as u64),
        rests_on: l.outlook.rests_on,
        rescue: l.outlook.missed.as_ref().map(missed),
    });
    let groups = it.groups.iter().map(|g| v1::BreakGroup {
        breaks_at: at(g.place),
        broken: g.place.at == BROKEN,
        certificate: g.about.map(|a| a.to_string()),
        position: g.position.map(|p| p as u64),
        targets: g.targets,
        share_basis_points: (g.targets * 10_000).checked_div(totals.production).unwrap_or(0),
        regions: g.regions.iter().map(|r| pki::text::escape(r)).collect(),
        secrets: g.secrets.0,
        first_secrets: g.secrets.1.iter().map(|s| pki::text::escape(s)).collect(),
        first_targets: escaped(&g.first),
        rescue: g.missed.as_ref().map(missed),
    });
    v1::Forecast {
        until: it.until.to_string(),
        production: totals.production,
        breaking: totals.breaking,
        broken: totals.broken,
        first: totals.first.map(|t| t.to_string()),
        unknown: totals.unknown,
        unknown_first: escaped(&totals.unknown_first),
        others: totals.others,
        targets: targets.collect(),
        groups: groups.collect(),
        next,
    }
}

fn missed(m: &Missed) -> v1::Missed {
    v1::Missed { release: m.release, name: m.name.clone(), arrives_at: m.arrives_at.to_string(), late_seconds: m.late.map(Span::as_secs) }
}

pub(crate) async fn single_points(State(shared): State<Shared>, caller: Caller) -> Answer<v1::SinglePoints> {
    let work = move |call: &Call| -> Result<v1::SinglePoints, Problem> {
        let it = call.engine().single_points()?;
        let items = it.lines.iter().map(|l| v1::SinglePoint {
            kind: l.kind.to_string(),
            what: pki::text::escape(&l.what),
            unknown: l.unknown,
            targets: l.targets,
            of: l.of,
            services: l.services.iter().map(|s| pki::text::escape(s)).collect(),
            detail: l.detail.clone(),
            next_step: l.kind.next_step().to_owned(),
        });
        Ok(v1::SinglePoints { production: it.production, items: items.collect(), more: it.more as u64 })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}
