//! The loop over releases: by when each must be built, whether production shows what it carries, and who must hear of it.

use super::{difference, trains, turn_of};
use crate::{Engine, Result, Tick, concern, loops, rules, services};
use domain::{
    Span, Time,
    release::{
        Deadline, Release, Serves, Status,
        assess::{Behind, Carries, Finds, View, assess},
        deadline, lead,
    },
    schedule,
    words::{ReleaseId, SecretId},
};
use std::collections::{BTreeMap, btree_map};
use store::{
    Tx,
    journal::Entry,
    model::{
        calendar, inventory,
        release::{self, Carry, What},
        secret, target,
    },
    timer,
};

/// How many releases one round assesses.
pub(super) const BATCH: i64 = 100;
/// How long after its departure a release that nobody called built is planned for the next one.
pub(super) const GRACE_BUILT: Span = Span::hours(1);
/// How many targets that are behind are counted; beyond that it is "more than".
const COUNTED: i64 = 1000;
/// How many of them are named, and how many finds in a build.
const NAMED: i64 = 5;

impl Engine {
    /// Assesses the releases that are due. Says how many there were.
    pub fn releases_once(&self, tick: &Tick) -> Result<usize> {
        let claims =
            self.store.write(&rules(), tick.now, |tx| timer::claim(tx, loops::RELEASE, tick.now, &self.holder, schedule::LEASE, BATCH))?;
        for claim in &claims {
            self.store.try_write(&rules(), tick.now, |tx| {
                let id = ReleaseId(claim.subject);
                missed(tx, id, tick.now)?;
                let next = one(tx, id, tick)?;
                timer::done(tx, loops::RELEASE, claim, next)?;
                Ok::<_, crate::Error>(())
            })?;
        }
        Ok(claims.len())
    }
}

/// Assesses a release in the transaction that changed it, and plans when time alone will change the answer.
pub(super) fn now(tx: &mut Tx<'_>, id: ReleaseId, tick: &Tick) -> Result<()> {
    let mark = timer::mark(tx, loops::RELEASE, id.0)?;
    let next = one(tx, id, tick)?;
    Ok(timer::plan(tx, loops::RELEASE, id.0, next, mark)?)
}

/// A release that its train left without waits for the next one, and so does everybody behind it.
fn missed(tx: &mut Tx<'_>, id: ReleaseId, now: Time) -> Result<()> {
    let Some(r) = release::get(tx, id)?.map(|s| s.facts) else { return Ok(()) };
    if r.waits() && !r.train.is_empty() && now >= r.planned_at + GRACE_BUILT {
        tx.turn(&turn_of(&r.train))?;
        trains::plan(tx, &r.train, now)?;
    }
    Ok(())
}

fn one(tx: &mut Tx<'_>, id: ReleaseId, tick: &Tick) -> Result<Option<Time>> {
    let now = tick.now;
    let Some(stored) = release::lock(tx, id)? else { return Ok(None) };
    let before = stored.facts;
    let carried = kept(tx, id)?;
    let view = view(tx, &before, &carried)?;
    let standing = assess(&view, now);
    let mut r = before.clone();
    // What was over before stays so, unless it went back while somebody still waits for the release.
    if before.ended_at.is_none() {
        observe(tx, &mut r, &carried, &standing.items_over, now)?;
        if standing.over {
            r.ended_at = Some(now);
        }
    }
    if r != before {
        release::update(tx, &r)?;
        // How long releases of the service take may have changed with it.
        release::wake_carried_for(tx, &r.service, loops::SECRET, now)?;
        let (action, reason) = match (r.ended_at, r.deployed_at) {
            (Some(_), _) if carried.is_empty() => ("release.ended", "it is deployed, and carries no certificate of ours"),
            (Some(_), _) => ("release.ended", "production was observed serving what it carries"),
            (None, None) => ("release.observed", "production was observed serving what it carries, and nobody said that it was deployed"),
            (None, Some(_)) => ("release.observed", "production was observed serving what it carries"),
        };
        tx.journal(Entry::new(action, r.subject(), reason, &difference(&before, &r)))?;
        // How long its releases take, and how far apart they are, is known better now.
        secret::wake_release_bound(tx, &r.service, loops::SECRET, now)?;
        services::wake(tx, &r.service, now)?;
    }
    let ended = r.ended_at.is_some();
    // What stands of a release that has ended was settled when it did.
    let settled = before.ended_at.is_some() && before.status != Status::Cancelled;
    let again = if settled { None } else { concern::replace(tx, &r.subject(), &standing.concerns, now)? };
    if ended && before.ended_at.is_none() && r.deployed_at.is_some() {
        // Its build is in production in the place of those before it, and so is what was found in theirs.
        for subject in release::replaced(tx, &r.service, id)? {
            concern::replace(tx, &subject, &[], now)?;
        }
    }
    let deadline = if ended { Deadline::Never } else { standing.deadline };
    release::update_standing(tx, id, deadline, standing.ship_by.filter(|_| !ended), &standing.reason, now)?;
    let departs = (r.waits() && !r.train.is_empty() && !r.planned_at.is_no_expiry())
        .then(|| (r.planned_at + GRACE_BUILT).max(now + Span::seconds(1)));
    Ok(if ended { None } else { [standing.next, again, departs].into_iter().flatten().min() })
}

/// Writes down what production shows of what a release carries, and how long that took.
fn observe(tx: &mut Tx<'_>, r: &mut Release, carried: &[Carry], over: &[(SecretId, i64)], now: Time) -> Result<()> {
    let mut waited = false;
    for c in carried {
        let shown = over.contains(&(c.secret, c.version));
        let at = if shown { c.observed_at.or(Some(now)) } else { None };
        // What was in production before it was built says nothing about how long releases take.
        let waits = c.waited || (!shown && r.built_at.is_some());
        waited |= waits;
        if (at, waits) != (c.observed_at, c.waited) {
            release::observed(tx, r.id, c.secret, c.version, at, waits)?;
            // Its forecast rests on what is still waited for.
            timer::set_earlier(tx, loops::SECRET, c.secret.0, now)?;
        }
    }
    let all = !carried.is_empty() && carried.iter().all(|c| over.contains(&(c.secret, c.version)));
    if all && r.observed_at.is_none() && r.status != Status::Cancelled {
        r.observed_at = Some(now);
        if let Some(built) = r.built_at.filter(|built| waited && *built <= now) {
            release::put_lead(tx, r.id, now - built)?;
        }
    }
    Ok(())
}

/// What a release carries of what is still kept: nobody waits for a secret that left the inventory.
fn kept(tx: &mut Tx<'_>, id: ReleaseId) -> Result<Vec<Carry>> {
    Ok(release::carries(tx, id)?.into_iter().filter(|c| c.kept).collect())
}

fn view(tx: &mut Tx<'_>, r: &Release, carried: &[Carry]) -> Result<View> {
    let samples = release::lead_samples(tx, &r.service)?;
    let plan = calendar::service(tx, &r.service)?;
    let mut carries = Vec::with_capacity(carried.len());
    // Names are asked for only where they are said; each costs a look at another page of the database.
    let named = if r.status == Status::Deployed { NAMED } else { 0 };
    let mut owners: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for c in carried {
        let owner = match owners.entry((&c.team, &c.service)) {
            btree_map::Entry::Occupied(known) => known.get().clone(),
            btree_map::Entry::Vacant(new) => new.insert(crate::assess::team_of(tx, &c.team, &c.service, None)?).clone(),
        };
        let aggregate = target::ends(tx, c.secret)?;
        let (count, first) = target::not_showing(tx, c.secret, c.version, COUNTED + 1, named)?;
        carries.push(Carries {
            secret: c.secret,
            name: pki::text::escape(&c.name),
            owner,
            version: c.version,
            newest: c.newest,
            scanned_older: c.older,
            brought: store::model::rollout::brought(tx, c.secret)?.map(|(version, _)| version),
            serves: Serves { served: aggregate.served, worst: aggregate.worst.filter(|_| aggregate.production > 0) },
            production: aggregate.production,
            behind: Behind {
                count: count.min(COUNTED) as u64,
                more: count > COUNTED,
                first: first.iter().map(|n| pki::text::escape(n)).collect(),
            },
            observed_at: c.observed_at,
        });
    }
    Ok(View {
        owner: owner(tx, &r.service)?,
        lead: lead(&samples),
        measured: samples.len(),
        calendar: calendar::calendar(tx, plan.as_ref().map_or("", |p| &p.calendar))?,
        carries,
        keys: finds(tx, r.id, What::Key)?,
        strangers: finds(tx, r.id, What::Unknown)?,
        release: r.clone(),
    })
}

fn finds(tx: &mut Tx<'_>, id: ReleaseId, what: What) -> Result<Finds> {
    let (count, first) = release::finds(tx, id, what, NAMED)?;
    let place = |(path, subject): (String, String)| if subject.is_empty() { path } else { format!("{path} ({subject})") };
    Ok(Finds { count: count as u64, first: first.into_iter().map(place).collect() })
}

/// Who answers for the releases of a service; empty for nobody.
pub(super) fn owner(tx: &mut Tx<'_>, service: &str) -> Result<String> {
    let team = inventory::service_team(tx, service)?.filter(|t| !t.is_empty());
    Ok(team.map_or_else(|| inventory::setting(tx, "default_owner").map(Option::unwrap_or_default), Ok)?)
}

/// By when a release must be built for the sake of one secret.
pub(super) fn deadline_for(tx: &mut Tx<'_>, r: &Release, id: SecretId, now: Time) -> Result<Deadline> {
    let aggregate = target::ends(tx, id)?;
    let serves = Serves { served: aggregate.served, worst: aggregate.worst.filter(|_| aggregate.production > 0) };
    let plan = calendar::service(tx, &r.service)?;
    let open = calendar::calendar(tx, plan.as_ref().map_or("", |p| &p.calendar))?;
    Ok(match deadline(&serves, lead(&release::lead_samples(tx, &r.service)?)) {
        Deadline::By(by) => Deadline::By(open.latest_open(by).unwrap_or(by.min(now))),
        other => other,
    })
}
