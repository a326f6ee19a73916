//! How wide one expiry reaches, how production could be divided up, and what was decided.

use api::v1;
use axum::extract::State;
use domain::{
    Fingerprint, Span, Time,
    blast::{self, By, per_mille},
    partition::{Measure, Short},
};
use engine::{
    blast::{After, HOUR, Item, Kind, Question},
    partition::{NARROWEST, Plan, ServicePlan, WIDEST, Wanted},
};
use serde::Deserialize;
use store::model::intent;

use super::{
    Answer,
    body::{Asked, Id, Json},
    gate::{Call, Caller, Scope, Shared},
    json,
    page::{Cursor, Paging},
    problem::Problem,
    reason,
};

/// Most services of one item that are named.
const SERVICES_SHOWN: usize = 20;
/// Most names, and most targets, of a planned certificate that are listed.
const NAMES_SHOWN: usize = 20;
/// Most services of a plan that are listed.
const PLANS_SHOWN: usize = 1_000;
/// The furthest that windows are looked for.
const FURTHEST: Span = Span::days(36_525);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asking {
    by: Option<String>,
    service: Option<String>,
    window: Option<String>,
    within: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

impl Asking {
    fn kind(&self) -> Result<Option<Kind>, Problem> {
        let window = span("window", self.window.as_deref(), NARROWEST, WIDEST)?;
        match self.by.as_deref() {
            None if window.is_some() || self.after.is_some() => {
                Err(Problem::bad("bad-query", "`window` and `after` are for lists: say by=window, or what else to list"))
            }
            None => Ok(None),
            Some("window") => Ok(Some(Kind::Window(window.unwrap_or(blast::WINDOW)))),
            Some(_) if window.is_some() => Err(Problem::bad("bad-query", "a window is asked for with by=window")),
            Some(word) => match By::ALL.into_iter().find(|by| by.as_str() == word) {
                Some(by) => Ok(Some(Kind::On(by))),
                None => Err(Problem::bad("bad-query", "by can be leaf, key, intermediate, root or window")),
            },
        }
    }
}

/// A length of time in a query, within its limits.
fn span(what: &str, text: Option<&str>, least: Span, most: Span) -> Result<Option<Span>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let span = Span::parse(text).map_err(|e| Problem::bad("bad-query", format!("{what}: {}", pki::text::escape(&e.to_string()))))?;
    if !(least..=most).contains(&span) {
        return Err(Problem::bad("bad-query", format!("{what} is {span}; it can be {least} to {most}")));
    }
    Ok(Some(span))
}

pub(crate) async fn blast(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Asking>) -> Answer<v1::Blast> {
    let kind = q.kind()?;
    let list = match kind {
        Some(Kind::Window(_)) => "blast-window",
        Some(Kind::On(by)) => by.as_str(),
        None => "blast",
    };
    let paging = Paging::new(list, q.after.as_deref(), q.limit)?;
    let within = span("within", q.within.as_deref(), Span::seconds(1), FURTHEST)?;
    let after = paging.after.as_ref().and_then(|c| {
        let width = u32::try_from(c.0).ok()?;
        match kind? {
            Kind::Window(_) => Some(After::Window(width, Time::from_unix(c.1))),
            Kind::On(_) => Some(After::Group(width, Fingerprint::parse(&c.2).ok()?)),
        }
    });
    let limit = usize::try_from(paging.limit).unwrap_or(usize::MAX);
    let question = Question { service: q.service, kind, within, after, limit };
    let work = move |call: &Call| {
        let (totals, items) = call.engine().blast(&question, &call.tick)?;
        let place = |i: &Item| {
            let from = i.falls.map_or(0, |(from, _)| from.unix());
            Cursor(i.reach.targets.into(), from, i.print.map(|p| p.to_string()).unwrap_or_default())
        };
        let page = if kind.is_some() {
            paging.page(&items, place, |i| Ok(reach(i, totals.targets)))?
        } else {
            v1::Page { items: items.iter().map(|i| reach(i, totals.targets)).collect(), next: None }
        };
        Ok(v1::Blast {
            now: call.tick.now.to_string(),
            service: question.service.clone(),
            targets: totals.targets,
            services: totals.services,
            regions: totals.regions,
            stamps: totals.stamps,
            unknown: totals.unknown,
            broken: totals.broken,
            items: page.items,
            next: page.next,
        })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

fn reach(i: &Item, of: u32) -> v1::Reach {
    let (by, window) = match i.kind {
        Kind::On(by) => (by.as_str(), None),
        Kind::Window(width) => ("window", Some(if width == HOUR { String::from("1 h") } else { width.to_string() })),
    };
    let service = |(name, x): &(String, blast::ServiceShare)| v1::ServiceReach {
        service: name.clone(),
        targets: x.targets,
        of: x.of,
        share_per_mille: per_mille(x.targets, x.of),
    };
    v1::Reach {
        by: by.to_owned(),
        window,
        fingerprint_sha256: i.print.map(|p| p.to_string()),
        name: i.name.clone(),
        not_after: i.not_after.map(|t| t.to_string()),
        from: i.falls.map(|(from, _)| from.to_string()),
        last: i.falls.map(|(_, last)| last.to_string()),
        targets: i.reach.targets,
        share_per_mille: per_mille(i.reach.targets, of),
        services: i.reach.services,
        regions: i.reach.regions,
        stamps: i.reach.stamps,
        per_service: i.services.iter().take(SERVICES_SHOWN).map(service).collect(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Planning {
    service: Option<String>,
    max_share: Option<u32>,
    window: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

pub(crate) async fn plan(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Planning>) -> Answer<v1::Partition> {
    let paging = Paging::new("partition", q.after.as_deref(), q.limit)?;
    let window = span("window", q.window.as_deref(), NARROWEST, WIDEST)?;
    let wanted = Wanted { service: q.service, max_share: q.max_share, window };
    let work = move |call: &Call| {
        let plan = call.engine().partition(&wanted, &call.tick)?;
        let hash = plan.hash.to_string();
        let from = match &paging.after {
            Some(c) if c.2 != hash => {
                return Err(Problem::bad("bad-cursor", "the plan changed since its last page; begin again without `after`"));
            }
            Some(c) => usize::try_from(c.0).unwrap_or(usize::MAX),
            None => 0,
        };
        let all = plan.services.iter().flat_map(|s| s.certificates.iter().map(move |c| (s, c)));
        let limit = usize::try_from(paging.limit).unwrap_or(usize::MAX);
        let rows: Vec<_> = all.enumerate().skip(from).take(limit).collect();
        let place = |row: &(usize, _)| Cursor(row.0 as i64 + 1, 0, hash.clone());
        let page = paging.page(&rows, place, |(_, (service, c))| Ok(planned(service, c)))?;
        Ok(shown(&plan, page, call.tick.now))
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

fn shown(plan: &Plan, page: v1::Page<v1::PlannedCertificate>, now: Time) -> v1::Partition {
    let mut services: Vec<&ServicePlan> = plan.services.iter().collect();
    let worst = |s: &ServicePlan| per_mille(s.proposal.before.worst, s.targets);
    services.sort_by(|a, b| worst(b).cmp(&worst(a)).then(a.service.cmp(&b.service)));
    v1::Partition {
        now: now.to_string(),
        plan: plan.hash.to_string(),
        certificates: plan.services.iter().map(|s| s.certificates.len() as u64).sum(),
        services: services.into_iter().take(PLANS_SHOWN).map(service).collect(),
        items: page.items,
        next: page.next,
    }
}

fn service(s: &ServicePlan) -> v1::PartitionService {
    let measure = |m: &Measure| v1::PartitionMeasure {
        worst: m.worst,
        worst_per_mille: per_mille(m.worst, s.targets),
        worst_from: m.worst_from.map(|t| t.to_string()),
        across_regions: m.across_regions,
        widest: m.widest,
        certificates: m.certificates,
        breaches: m.breaches,
    };
    let (p, share) = (&s.proposal, s.max_share);
    let short = p.short.map(|why| match why {
        Short::Targets => format!(
            "one of its {} targets is more than {share} % of it: {share} % needs {} targets",
            s.targets,
            100u32.div_ceil(share.max(1))
        ),
        Short::Slots => {
            format!("its certificates live too short for {share} % in windows of {}, or freezes leave too few days open", s.window)
        }
        Short::DaysBetween => {
            String::from("so many certificates do not fit so many days apart: allow fewer days between two, or wider certificates")
        }
    });
    v1::PartitionService {
        service: s.service.clone(),
        targets: s.targets,
        max_share_percent: share,
        window: s.window.to_string(),
        certificates: s.certificates.len() as u64,
        before: measure(&p.before),
        after: measure(&p.after),
        short,
        left: s.left.clone(),
    }
}

fn planned(s: &ServicePlan, c: &engine::partition::Certificate) -> v1::PlannedCertificate {
    let some = |all: &[String]| all.iter().take(NAMES_SHOWN).cloned().collect();
    v1::PlannedCertificate {
        name: c.planned.name.clone(),
        service: s.service.clone(),
        secret: c.secret.clone(),
        region: c.planned.region.clone(),
        not_after: c.planned.not_after.to_string(),
        names: some(&c.names),
        name_count: c.names.len() as u64,
        targets: some(&c.targets),
        target_count: c.targets.len() as u64,
    }
}

pub(crate) async fn apply(
    State(shared): State<Shared>,
    caller: Caller,
    Json(body): Json<v1::ApplyPartition>,
) -> Answer<v1::AppliedPartition> {
    reason(&body.reason)?;
    let window = span("window", body.window.as_deref(), NARROWEST, WIDEST)?;
    let plan = Fingerprint::parse(&body.plan)
        .map_err(|_| Problem::bad("bad-query", "plan is not a hash; look at the plan first, and name the one that it shows"))?;
    let wanted = Wanted { service: body.service, max_share: body.max_share_percent, window };
    let work = move |permitted: &super::permission::Permitted, call: &Call| {
        let n = call.engine().apply_partition(&wanted, &plan, &body.reason, &permitted.actor(), &call.tick)?;
        Ok(v1::AppliedPartition { intents: n as u64 })
    };
    shared.run(caller, Scope::Store, work).await.map(json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decided {
    state: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

pub(crate) async fn intents(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Decided>) -> Answer<v1::Page<v1::Intent>> {
    let paging = Paging::new("intents", q.after.as_deref(), q.limit)?;
    if q.state.as_ref().is_some_and(|s| !intent::STATES.contains(&s.as_str())) {
        return Err(Problem::bad("bad-query", format!("state can be {}", intent::STATES.join(", "))));
    }
    let work = move |call: &Call| {
        let rows = call.read(|tx| Ok(intent::list(tx, q.state.as_deref(), paging.first(), paging.limit)?))?;
        paging.page(&rows, |i| Cursor(i.id, 0, String::new()), |i| Ok(decided(i)))
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

pub(crate) async fn intent(State(shared): State<Shared>, caller: Caller, Id(id): Id) -> Answer<v1::IntentDetail> {
    let work = move |call: &Call| {
        let it = call.read(|tx| intent::get(tx, id)?.ok_or_else(|| Problem::not_found("intent", &id.to_string())))?;
        let content = serde_json::from_str(&it.content).map_err(|e| Problem::internal(&e))?;
        Ok(v1::IntentDetail { intent: decided(&it), content })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

fn decided(i: &intent::Intent) -> v1::Intent {
    v1::Intent {
        id: i.id,
        what: i.what.clone(),
        subject: i.subject.clone(),
        state: i.state.clone(),
        hash: i.hash.to_string(),
        approvals: i.approvals,
        approved_by: pki::text::escape(&i.approved_by),
        reason: pki::text::escape(&i.reason),
        created_at: i.created_at.to_string(),
        done_at: i.done_at.map(|t| t.to_string()),
    }
}
