//! The forecast of everything: one pass over what targets were observed to serve, held against what is planned.
//!
//! What a page needs is kept and nothing else, so that a million targets cost no more memory than a thousand. The rules are those of
//! [`domain::forecast`], for one target as for all of them; [`kept`] asks them again whenever an observation or a plan has changed.

mod coming;
pub(crate) mod kept;

use crate::{Engine, Error, Result, Tick};
use domain::{
    Fingerprint, Span, Time,
    forecast::{Breaks, Coming, Missed, Outlook, Serves, Serving, WhatIf, outlook},
    words::{SecretId, TargetId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use store::{
    Tx,
    model::{forecast, inventory, secret},
};

/// Most lines or groups of one page.
pub const MOST: usize = 10_000;
/// Secrets that are read together.
const BATCH: i64 = 2_000;
/// Targets and secrets of a group that are named.
const NAMED: usize = 3;
/// Targets that were never observed and are named.
const UNKNOWN_NAMED: usize = 10;
/// Most releases and regions that one question may treat differently.
pub const MOST_CHANGES: usize = 100;
/// Longest delay that makes sense in a question.
pub const LONGEST_DELAY: Span = Span::days(3660);

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// Breaks before then; none for a year from now.
    pub until: Option<Time>,
    /// Releases that come later: what names each of them, and how much.
    pub delay: Vec<(String, Span)>,
    /// Releases that do not come.
    pub cancel: Vec<String>,
    /// Regions that nothing planned reaches.
    pub silence: Vec<String>,
    /// Only targets of this secret.
    pub secret: Option<String>,
    /// Only targets of this service.
    pub service: Option<String>,
    /// Targets one by one, or those of one certificate, date and rescue together.
    pub grouped: bool,
    /// Where the page before ended.
    pub after: Option<Place>,
    /// Lines or groups of the page, at most [`MOST`].
    pub limit: usize,
}

/// The place of a line or group: when it breaks, and what tells those of one second apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Unix seconds; [`BROKEN`] for what is broken now.
    pub at: i64,
    /// The target's number; of a group that of the release that misses it, 0 for none.
    pub number: i64,
    /// Of a group the certificate.
    pub about: Option<Fingerprint>,
    /// Of a group when that release arrives, in Unix seconds.
    pub arrives: i64,
}

/// Where what is broken now stands: before everything else.
pub const BROKEN: i64 = i64::MIN;

/// One target that breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its place in the list.
    pub place: Place,
    /// Its name.
    pub target: String,
    /// Its secret's name.
    pub secret: Arc<str>,
    /// Its service, or its secret's.
    pub service: Arc<str>,
    /// Its region, empty for none.
    pub region: String,
    /// Its stamp, empty for none.
    pub stamp: String,
    /// The answer.
    pub outlook: Outlook,
}

/// Targets that break at one second because of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its place in the list.
    pub place: Place,
    /// When.
    pub breaks: Breaks,
    /// The certificate.
    pub about: Option<Fingerprint>,
    /// Its place in the chain.
    pub position: Option<usize>,
    /// What would have saved them.
    pub missed: Option<Missed>,
    /// How many targets.
    pub targets: u64,
    /// Where they are.
    pub regions: BTreeSet<String>,
    /// How many secrets they belong to, and the names of the first.
    pub secrets: (u64, Vec<Arc<str>>),
    /// The names of the first targets.
    pub first: Vec<String>,
}

/// All of it in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Production targets that were looked at.
    pub production: u64,
    /// Those that break before `until`, the broken ones too.
    pub breaking: u64,
    /// Those that are broken now.
    pub broken: u64,
    /// Those that were never observed: nobody can say.
    pub unknown: u64,
    /// The names of the first of these.
    pub unknown_first: Vec<String>,
    /// Targets that do not count for runway, of all secrets; none where only some were asked for.
    pub others: Option<u64>,
    /// The first break; that of what is broken is now.
    pub first: Option<Time>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Breaks before then.
    pub until: Time,
    /// In numbers.
    pub totals: Totals,
    /// The page, where targets were asked for one by one.
    pub lines: Vec<Line>,
    /// The page, where they were asked for together.
    pub groups: Vec<Group>,
    /// Whether there are more behind the page.
    pub more: bool,
}

impl Engine {
    /// When production breaks if all goes as planned, or as asked.
    ///
    /// # Errors
    /// A release, region, secret or service that is not known, `release-ended`, `bad-forecast`, or whatever the database says.
    pub fn forecast(&self, ask: &Ask, tick: &Tick) -> Result<Forecast> {
        self.store.try_read(|tx| scan(tx, ask, tick.now))
    }
}

fn scan(tx: &mut Tx<'_>, ask: &Ask, now: Time) -> Result<Forecast> {
    let until = ask.until.unwrap_or_else(|| now.add_years_clamped(1));
    if ask.limit == 0 || ask.limit > MOST {
        return Err(Error::refused("bad-forecast", format!("a page holds 1 to {MOST} lines, not {}", ask.limit)));
    }
    let what_if = what_if(tx, ask)?;
    let only = ask.secret.as_ref().map(|name| secret::by_name(tx, name)?.ok_or_else(|| Error::not_found("secret", name))).transpose()?;
    if let Some(service) = &ask.service
        && inventory::service_team(tx, service)?.is_none()
    {
        return Err(Error::not_found("service", service));
    }
    let mut releases = coming::Releases::default();
    let mut it = Scan { ask, now, until, totals: Totals::default(), kept: BTreeMap::new(), unknown: Vec::new(), more: false };
    let mut after = only.as_ref().map_or(SecretId(i64::MIN), |s| SecretId(s.id.0 - 1));
    loop {
        let owners = forecast::owners(tx, after, if only.is_some() { 1 } else { BATCH })?;
        // Behind the last secret there may still be targets that belong to none of them.
        let full = owners.len() as i64 == BATCH;
        let last = match owners.last() {
            Some(o) if full || only.is_some() => o.id,
            _ => SecretId(i64::MAX),
        };
        let coming = releases.between(tx, after, last)?;
        let mut batch = Batch { owners: &owners, at: 0, coming: &coming, what_if: &what_if, latest: None };
        forecast::each_between(tx, after, last, |seen| {
            it.take(&mut batch, seen);
            Ok(())
        })?;
        if !full || only.is_some() {
            break;
        }
        after = last;
    }
    if only.is_none() && ask.service.is_none() {
        it.totals.others = Some(forecast::production(tx)?.1.max(0) as u64);
    }
    it.finish(tx)
}

/// What is asked to be otherwise, with the numbers of what it names.
fn what_if(tx: &mut Tx<'_>, ask: &Ask) -> Result<WhatIf> {
    let changes = ask.delay.len() + ask.cancel.len() + ask.silence.len();
    if changes > MOST_CHANGES {
        return Err(Error::refused("bad-forecast", format!("{changes} things are to be otherwise; at most {MOST_CHANGES} can be")));
    }
    let mut it = WhatIf::default();
    for (name, by) in &ask.delay {
        if *by <= Span::ZERO || *by > LONGEST_DELAY {
            let detail = format!("release {} is delayed by {by}; it can be 1 s to {LONGEST_DELAY}", pki::text::escape(name));
            return Err(Error::refused("bad-forecast", detail));
        }
        *it.delays.entry(coming::release_named(tx, name)?).or_insert(Span::ZERO) = *by;
    }
    for name in &ask.cancel {
        it.cancelled.insert(coming::release_named(tx, name)?);
    }
    for region in &ask.silence {
        if inventory::row(tx, inventory::REGION, region)?.is_none() {
            return Err(Error::not_found("region", region));
        }
        it.silenced.insert(region.clone());
    }
    Ok(it)
}

/// The plans of the secrets that are read together.
struct Batch<'a> {
    owners: &'a [forecast::Owner],
    /// Where the owner of the latest target stands.
    at: usize,
    coming: &'a BTreeMap<SecretId, Vec<Coming>>,
    what_if: &'a WhatIf,
    /// The latest target and the answer for it.
    latest: Option<(forecast::Seen, Arc<Answer>)>,
}

/// The answer for a target, and whose it is.
struct Answer {
    outlook: Outlook,
    secret: Arc<str>,
    service: Arc<str>,
}

impl Batch<'_> {
    fn answer(&mut self, seen: &forecast::Seen, now: Time) -> Arc<Answer> {
        // Targets of a secret that were seen to serve the same follow each other, and have the same answer.
        if let Some((s, answer)) = &self.latest
            && s.serves_as(seen)
        {
            return answer.clone();
        }
        while self.owners.get(self.at).is_some_and(|o| o.id < seen.secret) {
            self.at += 1;
        }
        let owner = self.owners.get(self.at).filter(|o| o.id == seen.secret);
        let coming = self.coming.get(&seen.secret);
        let plan = self.what_if.plan(&seen.region, coming.map_or(&[], Vec::as_slice), owner.is_some_and(|o| o.automatic));
        let version = serves(seen, owner.map_or(0, |o| o.newest));
        let before = self.latest.as_ref().filter(|(s, _)| s.secret == seen.secret).map(|(_, a)| a.secret.clone());
        let service = if seen.service.is_empty() { owner.map_or("", |o| &o.service) } else { &seen.service };
        let answer = Arc::new(Answer {
            outlook: outlook(&Serving { served: seen.served, cause: seen.cause, version }, &plan, now),
            secret: before.unwrap_or_else(|| owner.map_or("", |o| &o.name).into()),
            service: service.into(),
        });
        self.latest = Some((seen.clone(), answer.clone()));
        answer
    }
}

/// Which version a target was seen to serve.
pub(crate) fn serves(seen: &forecast::Seen, newest: i64) -> Serves {
    match seen.shows {
        _ if seen.current => Serves::Version(newest),
        0 => Serves::NotYet(newest),
        version => Serves::Version(version),
    }
}

/// The pass over all targets.
struct Scan<'a> {
    ask: &'a Ask,
    now: Time,
    until: Time,
    totals: Totals,
    /// The page: the first so many places behind that where the page before ended.
    kept: BTreeMap<Place, Kept>,
    unknown: Vec<TargetId>,
    more: bool,
}

enum Kept {
    Line { target: TargetId, region: String, answer: Arc<Answer> },
    Group(Collected),
}

struct Collected {
    answer: Arc<Answer>,
    targets: u64,
    regions: BTreeSet<String>,
    /// Targets come secret by secret.
    latest: SecretId,
    secrets: (u64, Vec<Arc<str>>),
    first: Vec<TargetId>,
}

impl Scan<'_> {
    fn take(&mut self, batch: &mut Batch<'_>, seen: forecast::Seen) {
        let answer = batch.answer(&seen, self.now);
        if self.ask.service.as_ref().is_some_and(|s| **s != *answer.service) {
            return;
        }
        self.totals.production += 1;
        let outlook = &answer.outlook;
        let at = match outlook.breaks {
            Breaks::Never => return,
            Breaks::Unknown => {
                self.totals.unknown += 1;
                if self.unknown.len() < UNKNOWN_NAMED {
                    self.unknown.push(seen.id);
                }
                return;
            }
            Breaks::At(t) if t >= self.until => return,
            Breaks::At(t) => t.unix(),
            Breaks::Now => {
                self.totals.broken += 1;
                BROKEN
            }
        };
        self.totals.breaking += 1;
        let breaks_at = outlook.breaks.at(self.now);
        self.totals.first = [self.totals.first, breaks_at].into_iter().flatten().min();
        let place = match (self.ask.grouped, &outlook.missed) {
            (false, _) => Place { at, number: seen.id.0, about: None, arrives: 0 },
            (true, Some(m)) => Place { at, number: m.release, about: outlook.about, arrives: m.arrives_at.unix() },
            (true, None) => Place { at, number: 0, about: outlook.about, arrives: 0 },
        };
        if self.ask.after.is_none_or(|after| place > after) {
            self.keep(place, seen, answer);
        }
    }

    fn keep(&mut self, place: Place, seen: forecast::Seen, answer: Arc<Answer>) {
        if let Some(Kept::Group(group)) = self.kept.get_mut(&place) {
            return group.add(seen, &answer);
        }
        let full = self.kept.len() >= self.ask.limit;
        self.more |= full;
        if full && self.kept.last_key_value().is_some_and(|(last, _)| place > *last) {
            return;
        }
        let kept = if self.ask.grouped {
            let mut group = Collected {
                answer: answer.clone(),
                targets: 0,
                regions: BTreeSet::new(),
                latest: SecretId(i64::MIN),
                secrets: (0, Vec::new()),
                first: Vec::new(),
            };
            group.add(seen, &answer);
            Kept::Group(group)
        } else {
            Kept::Line { target: seen.id, region: seen.region, answer }
        };
        self.kept.insert(place, kept);
        // What falls out never comes back, as so many stand before it: what is counted in a group is counted from its first target.
        if full {
            self.kept.pop_last();
        }
    }

    fn finish(self, tx: &mut Tx<'_>) -> Result<Forecast> {
        let mut it = Forecast { until: self.until, totals: self.totals, lines: Vec::new(), groups: Vec::new(), more: self.more };
        for id in self.unknown {
            it.totals.unknown_first.push(forecast::name_of(tx, id)?.0);
        }
        for (place, kept) in self.kept {
            match kept {
                Kept::Line { target, region, answer } => {
                    let (target, stamp) = forecast::name_of(tx, target)?;
                    let (secret, service, outlook) = (answer.secret.clone(), answer.service.clone(), answer.outlook.clone());
                    it.lines.push(Line { place, target, secret, service, region, stamp, outlook });
                }
                Kept::Group(g) => {
                    let first = g.first.into_iter().map(|id| Ok(forecast::name_of(tx, id)?.0)).collect::<Result<_>>()?;
                    let o = &g.answer.outlook;
                    it.groups.push(Group {
                        place,
                        breaks: o.breaks,
                        about: o.about,
                        position: o.position,
                        missed: o.missed.clone(),
                        targets: g.targets,
                        regions: g.regions,
                        secrets: g.secrets,
                        first,
                    });
                }
            }
        }
        Ok(it)
    }
}

impl Collected {
    fn add(&mut self, seen: forecast::Seen, answer: &Answer) {
        self.targets += 1;
        if self.first.len() < NAMED {
            self.first.push(seen.id);
        }
        if self.latest != seen.secret {
            self.latest = seen.secret;
            self.secrets.0 += 1;
            if self.secrets.1.len() < NAMED {
                self.secrets.1.push(answer.secret.clone());
            }
        }
        if !self.regions.contains(&seen.region) {
            self.regions.insert(seen.region);
        }
    }
}
