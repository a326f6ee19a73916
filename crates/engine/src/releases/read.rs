//! What people read of releases.

use super::assess;
use crate::{Engine, Error, Result, Tick};
use domain::{
    Span, Time,
    release::{Deadline, lead},
    words::{ReleaseId, SecretId},
};
use store::{
    Tx,
    model::{concern, release},
};

pub use store::model::release::Item;

/// Most releases or items that one page has.
pub const MAX_PAGE: i64 = 500;

/// A release, with what the rules say of it now.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    /// The release, as stored.
    pub stored: release::Stored,
    /// Ship-by minus when it was built or is to be, as of now; negative: it is late already. None where nobody can say, or nothing hangs
    /// on it.
    pub slack: Option<Span>,
    /// Whether somebody must hear that it misses a deadline, or that nobody can say by when it must be built.
    pub late: bool,
    /// The team of its service, empty for none.
    pub owner: String,
    /// What it carries of ours: name of the secret, version, and since when production shows it.
    pub carries: Vec<(String, i64, Option<Time>)>,
    /// What stands of it.
    pub concerns: Vec<concern::Stored>,
}

impl Engine {
    /// One release.
    pub fn release(&self, id: ReleaseId, tick: &Tick) -> Result<Detail> {
        self.store.try_read(|tx| detail(tx, id, tick.now))
    }

    /// One release, by what its builders call it.
    pub fn release_by_build(&self, service: &str, build: &str, tick: &Tick) -> Result<Detail> {
        self.store.try_read(|tx| {
            let found = release::by_build(tx, service, build)?;
            let found = found.ok_or_else(|| Error::not_found("release", &format!("{service} {build}")))?;
            detail(tx, found.facts.id, tick.now)
        })
    }

    /// Releases, of one service or all, the newest first, before `before`; [`MAX_PAGE`] at most.
    pub fn releases(&self, service: Option<&str>, before: Option<ReleaseId>, limit: i64, tick: &Tick) -> Result<Vec<Detail>> {
        self.store.try_read(|tx| {
            let page = release::list(tx, service, before, limit.clamp(1, MAX_PAGE))?;
            page.into_iter().map(|s| of(tx, s, tick.now)).collect()
        })
    }

    /// Releases that have not ended, of one train or service or all, in the order in which they should ship, behind `after`
    /// ([`release::queue_key`]); [`MAX_PAGE`] at most.
    pub fn release_queue(
        &self,
        train: Option<&str>,
        service: Option<&str>,
        after: Option<release::QueueKey>,
        limit: i64,
        tick: &Tick,
    ) -> Result<Vec<Detail>> {
        self.store.try_read(|tx| {
            let page = release::queue(tx, train, service, after, limit.clamp(1, MAX_PAGE))?;
            page.into_iter().map(|s| of(tx, s, tick.now)).collect()
        })
    }

    /// What the build of a release carries, in the order of its numbers, behind `after`; [`MAX_PAGE`] at most.
    pub fn release_items(&self, id: ReleaseId, after: i64, limit: i64) -> Result<Vec<Item>> {
        self.store.try_read(|tx| {
            if release::get(tx, id)?.is_none() {
                return Err(Error::not_found("release", &id.to_string()));
            }
            Ok(release::items(tx, id, after, limit.clamp(1, MAX_PAGE))?)
        })
    }
}

pub(super) fn detail(tx: &mut Tx<'_>, id: ReleaseId, now: Time) -> Result<Detail> {
    let stored = release::get(tx, id)?.ok_or_else(|| Error::not_found("release", &id.to_string()))?;
    of(tx, stored, now)
}

fn of(tx: &mut Tx<'_>, stored: release::Stored, now: Time) -> Result<Detail> {
    let mut carries = Vec::new();
    for c in release::carries(tx, stored.facts.id)? {
        carries.push((c.name, c.version, c.observed_at));
    }
    let all = concern::of(tx, &stored.facts.subject())?;
    let concerns: Vec<concern::Stored> = all.into_iter().filter(|c| c.gone_at.is_none()).collect();
    let late = concerns.iter().any(|c| matches!(c.code, domain::finding::Code::ReleaseLate | domain::finding::Code::ReleaseUndated));
    let r = &stored.facts;
    let builds_at = if r.builds_from_now() { r.builds_at().max(now) } else { r.builds_at() };
    let slack = stored.ship_by.map(|by| by - builds_at);
    Ok(Detail { slack, late, owner: assess::owner(tx, &r.service)?, carries, concerns, stored })
}

/// Which release would put what production serves right, and when: for messages about a secret.
pub(crate) fn fix(tx: &mut Tx<'_>, id: SecretId, now: Time) -> Result<Option<String>> {
    let carried = release::carried(tx, id)?;
    let Some(newest) = carried.first() else { return Ok(None) };
    // Of those with the newest version the one that comes first.
    let best = carried.iter().filter(|c| c.version == newest.version).min_by_key(|c| (c.release.facts.builds_at(), c.release.facts.id));
    let Some(c) = best else { return Ok(None) };
    let r = &c.release.facts;
    let when = match (r.built_at, r.deployed_at) {
        (_, Some(at)) => format!("said to be deployed since {at}"),
        (Some(at), _) if r.builds_at() == at => {
            format!("built {at}, and observed by about {}", at + lead(&release::lead_samples(tx, &r.service)?))
        }
        _ if r.planned_at.is_no_expiry() => String::from("without a departure of its train"),
        _ => format!("planned {}", r.planned_at),
    };
    let by = assess::deadline_for(tx, r, id, now)?;
    let builds_at = if r.builds_from_now() { r.builds_at().max(now) } else { r.builds_at() };
    let by = match by {
        _ if r.deployed_at.is_some() => String::new(),
        Deadline::By(by) if builds_at > by => format!(", must be built by {by}, {} late", builds_at - by),
        Deadline::By(by) => format!(", must be built by {by}"),
        Deadline::Now => String::from(", must be built at once"),
        Deadline::Undated => String::from(", by when it must be built nobody can say"),
        Deadline::Never => String::new(),
    };
    let more = carried.len().saturating_sub(1);
    let more = if more > 0 { format!("; {more} more carry it or an older version") } else { String::new() };
    Ok(Some(format!("{} carries version {}, {when}{by}{more}", r.title(), c.version)))
}
