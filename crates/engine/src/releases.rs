//! Releases: what people and pipelines say of them, and what the rules make of it.
//!
//! Whatever is said is committed together with what the rules say then: who creates a release that will be late reads so in the answer,
//! and the owners are told by the same transaction. What carries a certificate is over only when production was observed.

mod assess;
mod carry;
mod read;
mod trains;

pub use carry::{Found, MAX_ITEMS, MAX_TEXT, Thing};
pub(crate) use read::fix;
pub use read::{Detail, Item, MAX_PAGE};
pub(crate) use trains::plan_all;

use crate::{Engine, Error, Refusal, Result, Tick, loops, services};
use domain::{
    Span, Time,
    release::{Release, Stage, Status, change},
    words::{ReleaseId, SecretId},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use store::{
    Actor, Tx,
    journal::Entry,
    model::{calendar, inventory, release, target},
};

/// Longest name of a build, in bytes: commit hashes, image digests and versions are shorter.
pub const MAX_BUILD: usize = 200;
/// Most stages of one release: one per region.
pub const MAX_STAGES: usize = 200;
/// Most releases that wait for one train: putting one before another plans all of them anew.
pub const MAX_WAITING: i64 = 1000;
/// Most secrets that one release is declared to carry by hand.
pub const MAX_DECLARED: usize = 1000;
/// How far from now a release may be planned.
pub const FURTHEST: Span = Span::days(3660);

/// When a release is to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Then, by no train.
    At(Time),
    /// With the first train that has room.
    Train {
        /// Which; none for the service's own.
        name: Option<String>,
        /// Before another release that waits for it; none for the end of the line.
        before: Option<ReleaseId>,
        /// Not before then; none for as soon as may be.
        earliest: Option<Time>,
    },
}

/// A release to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New<'a> {
    /// The service that it belongs to; it must be declared.
    pub service: &'a str,
    /// What its builders call it; unique for the service.
    pub build: &'a str,
    /// When it is to be built; none for the service's train.
    pub when: Option<When>,
    /// Secrets whose newest version it carries, by name, where no scan says so.
    pub carries: &'a [String],
    /// Regions, and when it is planned there.
    pub stages: &'a [(String, Option<Time>)],
    /// Why, for the journal.
    pub reason: &'a str,
}

/// For how long a release is delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// To a date.
    To(Time),
    /// By so much, counted from its planned date.
    By(Span),
}

impl Engine {
    /// Creates a release. The same service, build, date, stages and secrets again are the release that exists; a build that exists with
    /// another content is refused.
    ///
    /// # Errors
    /// `unknown-service`, `unknown-secret`, `unknown-region`, `unknown-train`, `bad-release`, `release-exists`.
    pub fn create_release(&self, new: &New<'_>, actor: &Actor, tick: &Tick) -> Result<Detail> {
        self.store.try_write(actor, tick.now, |tx| {
            let id = create(tx, new, tick)?;
            read::detail(tx, id, tick.now)
        })
    }

    /// Gives a release that is not built another date, or another place in a train. Whoever is overtaken is planned anew, and told, in
    /// the same transaction.
    ///
    /// # Errors
    /// `unknown-train`, `not-in-train`, `train-is-full`, `train-ends`, or what [`change`] says.
    pub fn plan_release(&self, id: ReleaseId, when: &When, reason: &str, actor: &Actor, tick: &Tick) -> Result<Detail> {
        self.changed(id, "release.planned", reason, actor, tick, |tx, r| {
            allowed(r, Status::Planned)?;
            r.status = Status::Planned;
            schedule(tx, r, when, tick.now)
        })
    }

    /// Delays a release. In a train it loses its place on every departure before the new date, and keeps its place in the line.
    ///
    /// # Errors
    /// `bad-date`, or what [`change`] says.
    pub fn delay_release(&self, id: ReleaseId, delay: Delay, reason: &str, actor: &Actor, tick: &Tick) -> Result<Detail> {
        self.changed(id, "release.delayed", reason, actor, tick, |tx, r| {
            allowed(r, Status::Delayed)?;
            let from = r.builds_at().max(tick.now);
            let to = match delay {
                Delay::To(at) => at,
                Delay::By(span) if span > Span::ZERO && span <= FURTHEST => from + span,
                Delay::By(span) => return Err(Error::refused("bad-date", format!("a delay of {span} is not between 1 s and {FURTHEST}"))),
            };
            in_reach(to, tick.now)?;
            if to <= r.planned_at {
                let problem = format!("{} is planned {}, and {to} is no later; plan it instead", r.title(), r.planned_at);
                return Err(Error::refused("bad-date", problem));
            }
            r.status = Status::Delayed;
            r.earliest_at = to;
            if r.train.is_empty() || r.built_at.is_some() {
                r.planned_at = to;
                return Ok(());
            }
            release::update(tx, r)?;
            trains::plan(tx, &r.train, tick.now)?;
            reread(tx, r)?;
            trains::seated(r)
        })
    }

    /// Says what becomes of a release in one region: a date, a status, or both.
    ///
    /// # Errors
    /// `unknown-region`, `too-many-stages`, `release-ended`, `release-cancelled`.
    #[expect(clippy::too_many_arguments, reason = "who, why and when come with every operation")]
    pub fn stage_release(
        &self,
        id: ReleaseId,
        region: &str,
        planned: Option<Time>,
        status: Option<Status>,
        reason: &str,
        actor: &Actor,
        tick: &Tick,
    ) -> Result<Detail> {
        self.changed(id, "release.stage", reason, actor, tick, |tx, r| {
            if r.status == Status::Cancelled || r.ended_at.is_some() {
                allowed(r, Status::Delayed)?;
            }
            put_stages(tx, r, &[(region.to_owned(), planned)], status, tick.now)
        })
    }

    /// Says that a release is built, on its way, or deployed; or that it will not happen. "Deployed" is a claim: whoever serves what the
    /// release carries is looked at at once.
    ///
    /// # Errors
    /// What [`change`] says; `bad-release` for a status that is a plan.
    pub fn release_is(&self, id: ReleaseId, status: Status, reason: &str, actor: &Actor, tick: &Tick) -> Result<Detail> {
        let action = match status {
            Status::Built => "release.built",
            Status::Deploying => "release.deploying",
            Status::Deployed => "release.deployed",
            Status::Cancelled => "release.cancelled",
            Status::Planned | Status::Delayed => {
                return Err(Error::refused("bad-release", format!("{status} needs a date: plan it, or delay it")));
            }
        };
        self.changed(id, action, reason, actor, tick, |tx, r| {
            allowed(r, status)?;
            if r.status == status {
                return Ok(());
            }
            let train = r.waits().then(|| r.train.clone()).filter(|t| !t.is_empty());
            r.status = status;
            match status {
                Status::Built => r.built_at = r.built_at.or(Some(tick.now)),
                Status::Deployed => {
                    r.deployed_at = Some(tick.now);
                    look(tx, r.id, tick.now)?;
                }
                Status::Cancelled => r.ended_at = Some(tick.now),
                _ => {}
            }
            if matches!(status, Status::Deployed | Status::Cancelled) {
                services::wake(tx, &r.service, tick.now)?;
            }
            if let Some(train) = train {
                // Its room is another's.
                release::update(tx, r)?;
                trains::plan(tx, &train, tick.now)?;
            }
            Ok(())
        })
    }

    /// One change of one release: takes its row, lets it be changed, writes and journals what differs, and assesses it.
    fn changed(
        &self,
        id: ReleaseId,
        action: &'static str,
        reason: &str,
        actor: &Actor,
        tick: &Tick,
        alter: impl Fn(&mut Tx<'_>, &mut Release) -> Result<()>,
    ) -> Result<Detail> {
        self.store.try_write(actor, tick.now, |tx| {
            let mut r = taken(tx, id)?;
            let before = r.clone();
            alter(tx, &mut r)?;
            if r != before {
                release::update(tx, &r)?;
                release::wake_carried(tx, id, loops::SECRET, tick.now)?;
                tx.journal(Entry::new(action, r.subject(), reason, &difference(&before, &r)))?;
            }
            // What the rules say of it is told by the transaction that changed it.
            assess::now(tx, id, tick)?;
            read::detail(tx, id, tick.now)
        })
    }
}

/// Takes a release's row. Whoever changes one that rides a train takes the train's turn before it.
fn taken(tx: &mut Tx<'_>, id: ReleaseId) -> Result<Release> {
    if let Some(train) = release::get(tx, id)?.map(|s| s.facts.train).filter(|t| !t.is_empty()) {
        tx.turn(&turn_of(&train))?;
    }
    release::lock(tx, id)?.map(|s| s.facts).ok_or_else(|| Error::not_found("release", &id.to_string()))
}

fn turn_of_service(service: &str) -> String {
    format!("releases of {service}")
}

fn turn_of(train: &str) -> String {
    format!("train {train}")
}

fn allowed(r: &Release, to: Status) -> Result<()> {
    change(r, to).map_err(|no| Error::refused(no.code, no.problem))
}

fn create(tx: &mut Tx<'_>, new: &New<'_>, tick: &Tick) -> Result<ReleaseId> {
    let now = tick.now;
    let mut problems = Vec::new();
    let build = new.build;
    if build.is_empty() || build.len() > MAX_BUILD || build.chars().any(char::is_control) {
        problems.push(format!("a build's name has 1 to {MAX_BUILD} bytes and no control characters"));
    }
    if new.stages.len() > MAX_STAGES || new.carries.len() > MAX_DECLARED {
        problems.push(format!("a release has at most {MAX_STAGES} stages, and at most {MAX_DECLARED} secrets declared by hand"));
    }
    if !problems.is_empty() {
        return Err(Error::Refused(Refusal { code: "bad-release", problems }));
    }
    let Some(service) = calendar::service(tx, new.service)? else { return Err(unknown_service(tx, new.service)?) };
    // One at a time, so that the same build is not created twice, nor refused because it was.
    tx.turn(&turn_of_service(&service.name))?;
    if let Some(there) = release::by_build(tx, new.service, build)? {
        return same(tx, there.facts, new);
    }
    let when = new.when.clone().unwrap_or(When::Train { name: None, before: None, earliest: None });
    let mut r = Release {
        id: ReleaseId(tx.next_id("release")?),
        service: service.name,
        build: build.to_owned(),
        train: String::new(),
        place: 0,
        status: Status::Planned,
        created_at: now,
        earliest_at: now,
        planned_at: now,
        first_planned_at: now,
        built_at: None,
        deployed_at: None,
        observed_at: None,
        ended_at: None,
        stages: Vec::new(),
    };
    release::insert(tx, &r)?;
    schedule(tx, &mut r, &when, now)?;
    put_stages(tx, &mut r, new.stages, None, now)?;
    release::set_first_plan(tx, r.id, r.planned_at)?;
    release::update(tx, &r)?;
    let declared = carry::declare(tx, r.id, new.carries, now)?;
    let body = json!({ "service": r.service, "build": r.build, "planned_at": r.planned_at.to_string(), "train": r.train, "place": r.place,
        "carries": declared, "stages": stages_json(&r) });
    tx.journal(Entry::new("release.created", r.subject(), new.reason, &body))?;
    release::wake_carried(tx, r.id, loops::SECRET, now)?;
    assess::now(tx, r.id, tick)?;
    Ok(r.id)
}

/// The release that exists already, where it was created by the same words.
fn same(tx: &mut Tx<'_>, there: Release, new: &New<'_>) -> Result<ReleaseId> {
    let declared: Vec<String> = carry::declared(tx, there.id)?;
    let mut wanted = new.carries.to_vec();
    wanted.sort();
    wanted.dedup();
    let stages =
        new.stages.iter().all(|(region, at)| there.stages.iter().any(|s| s.region == *region && (at.is_none() || s.planned_at == *at)));
    let date = match &new.when {
        Some(When::At(at)) => there.first_planned_at == *at,
        // Where it stands in a train is what others made of it since.
        Some(When::Train { .. }) | None => true,
    };
    if date && stages && declared == wanted {
        return Ok(there.id);
    }
    let problem =
        format!("{} exists already with other dates or contents; change that one: perennial release show {}", there.title(), there.id);
    Err(Error::refused("release-exists", problem))
}

/// What exists instead of an unknown service.
fn unknown_service(tx: &mut Tx<'_>, name: &str) -> Result<Error> {
    const SHOWN: usize = 10;
    let known: Vec<String> = inventory::rows(tx, inventory::SERVICE)?.into_keys().collect();
    let (some, more) = (known.iter().take(SHOWN).map(|n| pki::text::escape(n)).collect::<Vec<_>>(), known.len().saturating_sub(SHOWN));
    let list = match (some.is_empty(), more) {
        (true, _) => String::from("none is declared: perennial apply"),
        (_, 0) => format!("there are {}", some.join(", ")),
        _ => format!("there are {}, and {more} more", some.join(", ")),
    };
    Ok(Error::refused("unknown-service", format!("there is no service {}; {list}", pki::text::escape(name))))
}

fn in_reach(at: Time, now: Time) -> Result<()> {
    if at > now + FURTHEST || at < now - FURTHEST {
        return Err(Error::refused("bad-date", format!("{at} is more than {FURTHEST} from now")));
    }
    Ok(())
}

/// Gives a release its date, by itself or by a train.
fn schedule(tx: &mut Tx<'_>, r: &mut Release, when: &When, now: Time) -> Result<()> {
    let left = r.train.clone();
    match when {
        When::At(at) => {
            in_reach(*at, now)?;
            (r.train, r.place, r.planned_at, r.earliest_at) = (String::new(), 0, *at, *at);
        }
        When::Train { name, before, earliest } => {
            earliest.map_or(Ok(()), |at| in_reach(at, now))?;
            let train = match name {
                Some(name) => name.clone(),
                None => calendar::service(tx, &r.service)?.map(|s| s.train).unwrap_or_default(),
            };
            if train.is_empty() {
                let problem = format!("the service {} has no train; give a date, or the name of a train", pki::text::escape(&r.service));
                return Err(Error::refused("unknown-train", problem));
            }
            r.earliest_at = earliest.unwrap_or(now);
            trains::board(tx, r, &train, *before, now)?;
        }
    }
    if !left.is_empty() && left != r.train {
        release::update(tx, r)?;
        trains::plan(tx, &left, now)?;
    }
    Ok(())
}

/// What others, or the train, made of a release meanwhile.
fn reread(tx: &mut Tx<'_>, r: &mut Release) -> Result<()> {
    if let Some(stored) = release::get(tx, r.id)? {
        *r = stored.facts;
    }
    Ok(())
}

fn put_stages(tx: &mut Tx<'_>, r: &mut Release, stages: &[(String, Option<Time>)], status: Option<Status>, now: Time) -> Result<()> {
    for (region, planned) in stages {
        if inventory::row(tx, inventory::REGION, region)?.is_none() {
            return Err(Error::refused(
                "unknown-region",
                format!("there is no region {}; declare it: perennial apply", pki::text::escape(region)),
            ));
        }
        planned.map_or(Ok(()), |at| in_reach(at, now))?;
        let known = r.stages.iter().position(|s| s.region == *region);
        if known.is_none() && r.stages.len() >= MAX_STAGES {
            return Err(Error::refused("too-many-stages", format!("a release has at most {MAX_STAGES} stages")));
        }
        let before = known.and_then(|n| r.stages.get(n));
        let stage = Stage {
            region: region.clone(),
            planned_at: planned.or(before.and_then(|s| s.planned_at)),
            status: status.or(before.map(|s| s.status)).unwrap_or(Status::Planned),
            changed_at: now,
        };
        let same = before.is_some_and(|b| (b.planned_at, b.status) == (stage.planned_at, stage.status));
        if same {
            continue;
        }
        release::put_stage(tx, r.id, &stage)?;
        match known.and_then(|n| r.stages.get_mut(n)) {
            Some(place) => *place = stage,
            None => r.stages.push(stage),
        }
    }
    r.stages.sort_by(|a, b| a.region.cmp(&b.region));
    Ok(())
}

/// Somebody says that production has changed: every target of what the release carries is looked at, from everywhere.
fn look(tx: &mut Tx<'_>, id: ReleaseId, now: Time) -> Result<()> {
    let mut secrets: Vec<SecretId> = release::carries(tx, id)?.iter().map(|c| c.secret).collect();
    secrets.dedup();
    for secret in secrets {
        target::wake_observers(tx, secret, loops::observe, loops::TARGET, now)?;
    }
    Ok(())
}

/// Wakes the releases that carry a secret: what is known of it has changed.
pub(crate) fn wake(tx: &mut Tx<'_>, secret: SecretId, now: Time) -> Result<()> {
    release::wake_carriers(tx, secret, loops::RELEASE, now)?;
    Ok(())
}

fn stages_json(r: &Release) -> Value {
    let one = |s: &Stage| (s.region.clone(), json!({ "planned_at": s.planned_at.map(|t| t.to_string()), "status": s.status.as_str() }));
    Value::Object(r.stages.iter().map(one).collect())
}

/// What differs, as the journal keeps it: each field with what it was and what it is.
fn difference(before: &Release, after: &Release) -> Value {
    let fields = |r: &Release| {
        let time = |t: Option<Time>| t.map(|t| t.to_string()).unwrap_or_default();
        BTreeMap::from([
            ("status", json!(r.status.as_str())),
            ("train", json!(r.train)),
            ("place", json!(r.place)),
            ("earliest_at", json!(r.earliest_at.to_string())),
            ("planned_at", json!(r.planned_at.to_string())),
            ("built_at", json!(time(r.built_at))),
            ("deployed_at", json!(time(r.deployed_at))),
            ("observed_at", json!(time(r.observed_at))),
            ("ended_at", json!(time(r.ended_at))),
            ("stages", stages_json(r)),
        ])
    };
    let (was, is) = (fields(before), fields(after));
    let changes = is.iter().filter(|(k, v)| was.get(*k) != Some(v)).map(|(k, v)| ((*k).to_owned(), json!({ "was": was.get(k), "is": v })));
    Value::Object(changes.collect())
}
