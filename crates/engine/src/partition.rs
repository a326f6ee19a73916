//! How a service is divided up: what breaks its rules, a plan that would not, and the intents that issuance follows.

mod concerns;

pub use concerns::MOST_TOLD;
pub(crate) use concerns::{concerns, wake};

use crate::{Engine, Error, Result, Tick, intent::Intent};
use domain::{
    Fingerprint, Span, Time,
    partition::{Ask, Measure, Planned, Proposal, Rules, propose},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use store::{
    Actor, Tx,
    model::{calendar, intent, path, secret, target},
};

/// Most certificates that one plan may put in place; beyond it, one service is planned at a time.
pub const MOST_CERTIFICATES: usize = 10_000;
/// Services that are looked at in one piece.
const PAGE: i64 = 500;
/// What an intent asks for.
pub const ISSUE: &str = "issue";

/// What is asked of a plan. What is absent is as the service's own rules say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only this service.
    pub service: Option<String>,
    /// Most of a service that one window may take, in per cent: 1 to 100.
    pub max_share: Option<u32>,
    /// How wide a window is: at least a minute.
    pub window: Option<Span>,
}

/// The narrowest window that can be asked for.
pub const NARROWEST: Span = Span::minutes(1);
/// The widest one.
pub const WIDEST: Span = Span::days(90);

impl Wanted {
    /// The rules of a service as they are to be for this plan.
    fn rules(&self, own: Option<Rules>) -> Rules {
        let own = own.unwrap_or_default();
        Rules {
            max_share_percent: self.max_share.or(Some(own.share_percent())),
            window: self.window.or(own.window),
            one_region_per_certificate: true,
            ..own
        }
    }

    fn check(&self) -> Result<()> {
        if let Some(percent) = self.max_share.filter(|p| !(1..=100).contains(p)) {
            return Err(Error::refused("bad-share", format!("the share is {percent} %; it can be 1 to 100")));
        }
        if let Some(window) = self.window.filter(|w| !(NARROWEST..=WIDEST).contains(w)) {
            return Err(Error::refused("bad-window", format!("the window is {window}; it can be {NARROWEST} to {WIDEST}")));
        }
        Ok(())
    }
}

/// A certificate that is planned, with the names of things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// What was decided.
    pub planned: Planned,
    /// The secret that it takes over from.
    pub secret: String,
    /// Names that it must cover.
    pub names: Vec<String>,
    /// Its targets.
    pub targets: Vec<String>,
}

/// What is proposed for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePlan {
    /// Which.
    pub service: String,
    /// Its production targets.
    pub targets: u32,
    /// How much one window may take, in per cent.
    pub max_share: u32,
    /// How wide it is.
    pub window: Span,
    /// What there should be.
    pub certificates: Vec<Certificate>,
    /// Secrets that stay as they are.
    pub left: Vec<String>,
    /// Before, after, and what is not reached.
    pub proposal: Proposal,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// For each service that has production targets.
    pub services: Vec<ServicePlan>,
    /// SHA-256 over everything that it would put in place.
    pub hash: Fingerprint,
}

impl Engine {
    /// Proposes how to divide production up. Nothing is changed.
    ///
    /// # Errors
    /// No such service, or a share or a window out of its range.
    pub fn partition(&self, wanted: &Wanted, tick: &Tick) -> Result<Plan> {
        wanted.check()?;
        self.store.try_read(|tx| plan(tx, wanted, tick.now))
    }

    /// Puts a plan that was shown in place: an intent for each certificate, over those that were open for the same services. Says how
    /// many.
    ///
    /// # Errors
    /// No reason; nothing to do; the plan is not the one that was shown; or it is too large for one piece.
    pub fn apply_partition(&self, wanted: &Wanted, hash: &Fingerprint, reason: &str, by: &Actor, tick: &Tick) -> Result<usize> {
        if reason.trim().is_empty() {
            return Err(Error::refused("reason-missing", "a plan is put in place for a reason: --reason \"…\""));
        }
        let plan = self.partition(wanted, tick)?;
        if plan.hash != *hash {
            let problem = "production, its rules or the day changed since the plan was shown: look at it again with `perennial partition`";
            return Err(Error::refused("plan-changed", problem));
        }
        let count: usize = plan.services.iter().map(|s| s.certificates.len()).sum();
        if count == 0 {
            return Err(Error::refused("nothing-to-do", "the plan proposes no certificate"));
        }
        if count > MOST_CERTIFICATES {
            let problem =
                format!("the plan has {count} certificates, and {MOST_CERTIFICATES} at most are put in place at once: --service NAME");
            return Err(Error::refused("plan-too-large", problem));
        }
        self.store.try_write(by, tick.now, |tx| {
            for service in plan.services.iter().filter(|s| !s.certificates.is_empty()) {
                // One plan of a service at a time, so that what is superseded is all that was open.
                tx.turn(&format!("partition {}", service.service))?;
                intent::supersede(tx, ISSUE, &format!("service/{}", service.service), tick.now)?;
                for certificate in &service.certificates {
                    let (intent, shown) = to_issue(&service.service, certificate);
                    intent.kept(tx, &shown, reason, by, tick.now)?;
                }
            }
            Ok(count)
        })
    }
}

/// What is to be issued, and what of it the journal shows: a certificate may have more targets than an entry has room for.
fn to_issue(service: &str, c: &Certificate) -> (Intent, Value) {
    let p = &c.planned;
    let mut content = json!({
        "certificate": p.name,
        "secret": c.secret,
        "service": service,
        "region": p.region,
        "part": p.part,
        "not_after": p.not_after.to_string(),
        "lifetime_at_most_seconds": p.lifetime.as_secs(),
        "names": c.names.len(),
        "targets": c.targets.len(),
    });
    let shown = content.clone();
    content["names"] = json!(c.names);
    content["targets"] = json!(c.targets);
    (Intent::new(ISSUE, format!("service/{service}/{}", p.name), content), shown)
}

fn plan(tx: &mut Tx<'_>, wanted: &Wanted, now: Time) -> Result<Plan> {
    let mut services = Vec::new();
    match &wanted.service {
        Some(name) => {
            let service = calendar::service(tx, name)?.ok_or_else(|| Error::not_found("service", name))?;
            services.push(service);
        }
        None => loop {
            let page = calendar::services(tx, services.last().map_or(0, |s: &calendar::ServicePlan| s.id), PAGE)?;
            let last = (page.len() as i64) < PAGE;
            services.extend(page);
            if last {
                break;
            }
        },
    }
    services.sort_by(|a, b| a.name.cmp(&b.name));
    let mut plans = Vec::new();
    for service in &services {
        plans.extend(of_service(tx, service, wanted, now)?);
    }
    let all: Vec<String> = plans.iter().flat_map(|s| s.certificates.iter().map(|c| to_issue(&s.service, c).0.hash().to_string())).collect();
    Ok(Plan { hash: Fingerprint::of(all.join("\n").as_bytes()), services: plans })
}

fn of_service(tx: &mut Tx<'_>, service: &calendar::ServicePlan, wanted: &Wanted, now: Time) -> Result<Option<ServicePlan>> {
    let snapshot = path::snapshot(tx, Some(&service.name))?;
    if snapshot.is_empty() {
        return Ok(None);
    }
    let rules = wanted.rules(calendar::partition_rules(tx, &service.partition)?);
    let calendar = calendar::calendar(tx, &service.calendar)?;
    let ids: BTreeSet<i64> = (0..snapshot.len()).map(|t| snapshot.secret(t)).collect();
    let (mut names, mut covers) = (BTreeMap::new(), BTreeMap::new());
    for id in ids {
        let Some(s) = secret::get(tx, domain::words::SecretId(id))? else { continue };
        // What serves two services has a certificate for each of them, and they need two names.
        let own = s.service.is_empty() || s.service == service.name;
        names.insert(id, if own { s.name.clone() } else { format!("{}-{}", s.name, service.name) });
        covers.insert(id, (s.name, s.names));
    }
    let ask = Ask { service: &service.name, snapshot: &snapshot, secrets: &names, rules: &rules, calendar: &calendar };
    let proposal = propose(&ask, now);
    let mut certificates = Vec::new();
    for planned in &proposal.certificates {
        let (secret, declared) = covers.get(&planned.secret).cloned().unwrap_or_default();
        let ids: Vec<i64> = planned.targets.iter().map(|t| snapshot.id(*t)).collect();
        let mut targets = Vec::with_capacity(ids.len());
        let mut asked = BTreeSet::new();
        for t in target::names(tx, &ids)? {
            asked.insert(if t.server_name.is_empty() { t.host } else { t.server_name });
            targets.push(t.name);
        }
        // What the secret is declared to cover; where nothing is declared, what its targets are asked for.
        let names = if declared.is_empty() { asked.into_iter().collect() } else { declared };
        certificates.push(Certificate { planned: planned.clone(), secret, names, targets });
    }
    Ok(Some(ServicePlan {
        service: service.name.clone(),
        targets: snapshot.len(),
        max_share: rules.share_percent(),
        window: rules.window(),
        certificates,
        left: proposal.left.iter().filter_map(|id| covers.get(id)).map(|(name, _)| name.clone()).collect(),
        proposal,
    }))
}

/// What of a measure is worth a number: the share of the worst window in tenths of a percent.
pub fn worst_share(m: &Measure, of: u32) -> u32 {
    domain::blast::per_mille(m.worst, of)
}
