//! The loop over services: what stands about one as a whole, whichever rules say so.

use crate::{Engine, Result, Tick, assess::secret_policy, concern, loops, rules};
use domain::{
    Span, Time,
    concern::Concern,
    policy::Policy,
    release::{
        cadence::{self, Bound, Gap},
        lead,
    },
    schedule,
    words::SecretId,
};
use store::{
    Tx,
    model::{
        calendar::{self, ServicePlan},
        release, secret, target,
    },
    timer,
};

/// How many services one round assesses.
const BATCH: i64 = 100;
/// Every service is looked at again after this long: a year ahead is another year then.
const AT_LEAST: Span = Span::days(7);
/// How far ahead departures are looked at.
const AHEAD: Span = Span::days(365);
/// How many deployments show how far apart they are.
const DEPLOYMENTS: i64 = 50;
/// How many certificates that ride releases are looked at in one piece.
const PAGE: i64 = 500;
/// Most of them that are looked at for one service; what lies beyond is held against the rules secret by secret.
const MOST_BOUND: usize = 10_000;

/// What one set of rules says about a service, and when time alone changes that.
type Says = (Vec<Concern>, Option<Time>);
type Rule = fn(&mut Tx<'_>, &ServicePlan, Time) -> Result<Says>;
/// The sets of rules, one function each.
const RULES: [Rule; 2] = [too_slow, crate::partition::concerns];

impl Engine {
    /// Assesses the services that are due. Says how many there were.
    pub fn services_once(&self, tick: &Tick) -> Result<usize> {
        let now = tick.now;
        let claims = self.store.write(&rules(), now, |tx| timer::claim(tx, loops::SERVICE, now, &self.holder, schedule::LEASE, BATCH))?;
        for claim in &claims {
            self.store.try_write(&rules(), now, |tx| {
                let next = match calendar::service_by_id(tx, claim.subject)? {
                    Some(service) => Some(one(tx, &service, now)?),
                    None => None,
                };
                timer::done(tx, loops::SERVICE, claim, next)?;
                Ok::<_, crate::Error>(())
            })?;
        }
        Ok(claims.len())
    }
}

/// Whoever leaves the inventory leaves nothing behind that stands.
pub(crate) fn retired(tx: &mut Tx<'_>, name: &str, now: Time) -> Result<()> {
    concern::replace(tx, &subject(name), &[], now)?;
    Ok(())
}

fn subject(name: &str) -> String {
    format!("service/{name}")
}

fn one(tx: &mut Tx<'_>, service: &ServicePlan, now: Time) -> Result<Time> {
    tx.turn(&subject(&service.name))?;
    let (mut concerns, mut next) = (Vec::new(), now + AT_LEAST);
    for rule in RULES {
        let (said, again) = rule(tx, service, now)?;
        concerns.extend(said);
        next = next.min(again.unwrap_or(next));
    }
    let again = concern::replace(tx, &subject(&service.name), &concerns, now)?;
    Ok(next.min(again.unwrap_or(next)))
}

/// A service by name has other certificates, or other releases than before.
pub(crate) fn wake(tx: &mut Tx<'_>, name: &str, now: Time) -> Result<()> {
    if let Some(service) = calendar::service(tx, name)? {
        timer::set_earlier(tx, loops::SERVICE, service.id, now)?;
    }
    Ok(())
}

/// Whether its releases leave often enough for the certificates that ride them.
fn too_slow(tx: &mut Tx<'_>, service: &ServicePlan, now: Time) -> Result<Says> {
    let mut bound = Vec::new();
    let mut after = SecretId(i64::MIN);
    while bound.len() < MOST_BOUND {
        let page = secret::release_bound(tx, &service.name, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for s in &page {
            let Some(lifetime) = lifetime(tx, s)? else { continue };
            let policy: Policy = secret_policy(tx, s)?;
            bound.push(Bound {
                name: pki::text::escape(&s.name),
                owner: crate::assess::team_of(tx, "", "", Some(s))?,
                lifetime,
                incident: policy.thresholds(lifetime).incident,
            });
        }
    }
    if bound.is_empty() {
        return Ok((Vec::new(), None));
    }
    let gap = match calendar::train(tx, &service.train)? {
        Some((train, open)) => Some(Gap::Train { name: service.train.clone(), widest: train.widest_gap(&open, now, AHEAD) }),
        None => cadence::measured(&release::deployments(tx, &service.name, DEPLOYMENTS)?),
    };
    let lead = lead(&release::lead_samples(tx, &service.name)?);
    Ok((cadence::assess(&service.name, &service.team, gap.as_ref(), lead, &bound).into_iter().collect(), None))
}

/// The lifetime of what a secret's next renewal replaces: the shortest of its newest version, or what is served of what is none of ours.
pub(crate) fn lifetime(tx: &mut Tx<'_>, s: &secret::Secret) -> Result<Option<Span>> {
    if s.newest_version > 0 {
        return Ok(secret::shortest_life(tx, s.id, s.newest_version)?);
    }
    Ok(target::ends(tx, s.id)?.worst.filter(|w| w.position == 0).map(|w| w.lifetime))
}
