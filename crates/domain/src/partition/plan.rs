//! A proposal: which certificates a service would have to have, for which targets, and when each of them would end, so that no window
//! takes more than a share of it and none lives in two regions.
//!
//! Ends lie in *slots* that are one window apart, so that no window, wherever it begins, touches two of them. Which slot a certificate
//! would like is a function of its identity; where that one is full or closed it takes the next one. Nothing is drawn, so the same
//! fleet gives the same plan, and what another service does changes nothing.

use super::{Rules, breaches};
use crate::{
    Fingerprint, Span, Time,
    blast::{Builder, By, Place, Snapshot, groups, windows},
    calendar::Calendar,
};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

/// A proposed lifetime is at least today's divided by this: shorter ones would turn a plan against outages into more renewals.
pub const SHORTEST_PART: i64 = 2;
/// The lifetime that is assumed of what nobody has observed.
pub const ASSUMED_LIFETIME: Span = crate::target::ASSUMED_LIFETIME;
/// Most slots between the shortest and the longest lifetime; with narrower windows the slots lie further apart than they would have to.
pub const MAX_SLOTS: i64 = 400;
/// A plan is the same for a day, so that what was shown is what is applied; for an hour where certificates live shorter than this.
pub const LONG_LIVED: Span = Span::days(10);
/// Times of the day that are tried for the slots of a service, where freezes close the one that its name gives.
const PHASES: i64 = 24;

/// What is to be divided up, and by which rules.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The service.
    pub service: &'a str,
    /// Its production targets, and nothing else.
    pub snapshot: &'a Snapshot,
    /// What its secrets are called, by their number in the store.
    pub secrets: &'a BTreeMap<i64, String>,
    /// Window, share, and whatever else is asked for.
    pub rules: &'a Rules,
    /// When nothing may end.
    pub calendar: &'a Calendar,
}

/// A certificate that does not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Secret, region and part: `blob-eu-1`.
    pub name: String,
    /// The secret whose certificate it takes over from, by its number in the store.
    pub secret: i64,
    /// Its only region; empty for targets of none.
    pub region: String,
    /// Which part of that region's targets, from 1.
    pub part: u32,
    /// For which targets of the snapshot.
    pub targets: Vec<u32>,
    /// When it ends.
    pub not_after: Time,
    /// How long those certificates live today that it takes over from; it lives no longer.
    pub lifetime: Span,
}

/// How a service stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measure {
    /// Targets that the worst window takes down.
    pub worst: u32,
    /// When that window begins.
    pub worst_from: Option<Time>,
    /// Certificates that are served in more than one region.
    pub across_regions: u32,
    /// Targets of the widest certificate.
    pub widest: u32,
    /// Certificates.
    pub certificates: u32,
    /// Ways in which the rules are broken.
    pub breaches: u32,
}

/// Why a share cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Short {
    /// One target is more than that share.
    Targets,
    /// Too few slots are open within the lifetime of the certificates.
    Slots,
    /// So many certificates do not fit so many days apart.
    DaysBetween,
}

/// What is proposed for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// What there should be; nothing where that would be no better than what there is.
    pub certificates: Vec<Planned>,
    /// Why the share, or the distance, that was asked for is not reached; `after` says what is.
    pub short: Option<Short>,
    /// Secrets whose certificates live too short to be staggered, or for which no slot is open: they stay as they are.
    pub left: Vec<i64>,
    /// Today.
    pub before: Measure,
    /// When all of it serves.
    pub after: Measure,
}

/// How a service's targets stand, counted as the blast radius is.
pub fn measure(s: &Snapshot, rules: &Rules, calendar: &Calendar, now: Time) -> Measure {
    let leaves = groups(s, By::Leaf).all;
    let worst = windows(s, rules.window(), now, Time::NO_EXPIRY).all.first().copied();
    Measure {
        worst: worst.map_or(0, |w| w.reach.targets),
        worst_from: worst.map(|w| w.from),
        across_regions: leaves.iter().filter(|g| g.reach.regions > 1).count() as u32,
        widest: leaves.first().map_or(0, |g| g.reach.targets),
        certificates: leaves.len() as u32,
        breaches: breaches(s, rules, calendar, now).len() as u32,
    }
}

/// Proposes how to divide a service up.
pub fn propose(ask: &Ask<'_>, now: Time) -> Proposal {
    let s = ask.snapshot;
    let before = measure(s, ask.rules, ask.calendar, now);
    let grid = Grid::new(ask, now);
    let (lines, left) = lines(ask, &grid, now);
    let percent = u64::from(ask.rules.share_percent());
    let allowed = (u64::from(s.len()) * percent / 100) as u32;

    let mut short = (allowed == 0 && !s.is_empty()).then_some(Short::Targets);
    let mut alone = ask.rules.min_days_between.is_some();
    let mut cap = allowed.max(1);
    let certificates = loop {
        match place(ask, &lines, &grid, cap, alone) {
            Some(placed) => break placed,
            // Fewer, larger certificates fit where many small ones do not; then neither.
            None if alone && cap >= s.len() => {
                (alone, cap, short) = (false, allowed.max(1), Some(Short::DaysBetween));
            }
            // With all of it in one slot everything has room.
            None if cap >= s.len() => break Vec::new(),
            None => {
                cap = (cap + (cap / 8).max(1)).min(s.len().max(1));
                short = short.or(Some(Short::Slots));
            }
        }
    };
    let after = measure(&with(s, &certificates), ask.rules, ask.calendar, now);
    let better = after.worst < before.worst || after.across_regions < before.across_regions || after.breaches < before.breaches;
    if better {
        return Proposal { certificates, short, left, before, after };
    }
    // What is reached today is what counts.
    let enough = u64::from(before.worst) * 100 <= percent * u64::from(s.len());
    Proposal { certificates: Vec::new(), short: short.filter(|_| !enough), left, before, after: before }
}

/// The targets of one secret in one region, and the slots that are open to its certificates.
struct Line {
    secret: i64,
    region: u32,
    targets: Vec<u32>,
    lifetime: Span,
    first: i64,
    slots: i64,
}

/// Where ends may lie: slot `k` is at `phase + k · step`.
struct Grid {
    phase: i64,
    step: i64,
    open: BTreeMap<i64, bool>,
}

impl Grid {
    fn new(ask: &Ask<'_>, now: Time) -> Grid {
        let longest = lifetimes(ask.snapshot).into_values().max().unwrap_or(ASSUMED_LIFETIME);
        let between = Span::days(ask.rules.min_days_between.unwrap_or(0).into()).as_secs();
        let room = longest.as_secs() - longest.as_secs() / SHORTEST_PART;
        let step = ask.rules.window().as_secs().max(between).max(room / MAX_SLOTS).max(1);
        let wish = (identity(&["slots", ask.service]) % step as u64) as i64;
        let mut best = Grid { phase: wish, step, open: BTreeMap::new() };
        for n in 0..PHASES {
            let mut it = Grid { phase: (wish + n * step / PHASES) % step, step, open: BTreeMap::new() };
            let (first, slots) = it.range(longest, now);
            for k in first..first + slots {
                let at = it.at(k);
                it.open.insert(k, !ask.calendar.is_frozen(at) && ask.rules.listed_day(ask.calendar, at).is_none());
            }
            let open = |g: &Grid| g.open.values().filter(|o| **o).count() as i64;
            if n == 0 || open(&it) > open(&best) {
                best = it;
            }
            if open(&best) * 4 >= slots {
                break;
            }
        }
        // Certificates that live shorter have slots before these.
        let shortest = lifetimes(ask.snapshot).into_values().min().unwrap_or(ASSUMED_LIFETIME);
        let (first, slots) = best.range(shortest, now);
        for k in first..first + slots {
            let at = best.at(k);
            let open = || !ask.calendar.is_frozen(at) && ask.rules.listed_day(ask.calendar, at).is_none();
            best.open.entry(k).or_insert_with(open);
        }
        best
    }

    fn at(&self, k: i64) -> Time {
        Time::from_unix(self.phase + k * self.step)
    }

    /// The first slot that is not too soon for certificates of a lifetime, and how many follow until it would be too late.
    fn range(&self, lifetime: Span, now: Time) -> (i64, i64) {
        let grain = if lifetime < LONG_LIVED { Span::hours(1) } else { Span::days(1) }.as_secs();
        let as_of = now.unix() - now.unix().rem_euclid(grain);
        // Whenever within this grain it is issued, it lives long enough and not too long.
        let soonest = as_of + grain + lifetime.as_secs() / SHORTEST_PART;
        let latest = as_of + lifetime.as_secs() - 1;
        let first = (soonest - self.phase).div_euclid(self.step) + i64::from((soonest - self.phase).rem_euclid(self.step) != 0);
        // As many on every day, or what is preferred would change from day to day.
        let always = (latest - soonest).max(0) / self.step;
        let sometimes = i64::from(self.phase + first * self.step <= latest);
        (first, always.max(sometimes))
    }
}

/// The first eight bytes of a hash of names.
fn identity(parts: &[&str]) -> u64 {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&Fingerprint::of(&bytes).as_bytes()[..8]);
    u64::from_be_bytes(first)
}

/// How long the certificates of each secret live: the shortest that is served.
fn lifetimes(s: &Snapshot) -> BTreeMap<i64, Span> {
    let mut all = BTreeMap::new();
    for t in 0..s.len() {
        let shortest = s.paths(t).iter().map(|p| s.dates(*p)).map(|(from, to)| to - from + Span::seconds(1)).min();
        let known = all.entry(s.secret(t)).or_insert(None::<Span>);
        *known = [*known, shortest].into_iter().flatten().min();
    }
    all.into_iter().map(|(secret, lifetime)| (secret, lifetime.unwrap_or(ASSUMED_LIFETIME))).collect()
}

/// What is divided up, and the secrets that cannot be.
fn lines(ask: &Ask<'_>, grid: &Grid, now: Time) -> (Vec<Line>, Vec<i64>) {
    let s = ask.snapshot;
    let mut by: BTreeMap<(i64, u32), Vec<u32>> = BTreeMap::new();
    for t in 0..s.len() {
        by.entry((s.secret(t), s.place(t).region)).or_default().push(t);
    }
    let lifetimes = lifetimes(s);
    let (mut lines, mut left) = (Vec::new(), Vec::new());
    for ((secret, region), mut targets) in by {
        let lifetime = lifetimes.get(&secret).copied().unwrap_or(ASSUMED_LIFETIME);
        let (first, slots) = grid.range(lifetime, now);
        let usable = ask.secrets.contains_key(&secret) && (first..first + slots).any(|k| grid.open.get(&k) == Some(&true));
        if !usable {
            left.push(secret);
            continue;
        }
        // Stamps stay together where they can.
        targets.sort_by_key(|t| (&s.stamps()[s.place(*t).stamp as usize], s.id(*t)));
        lines.push(Line { secret, region, targets, lifetime, first, slots });
    }
    left.dedup();
    (lines, left)
}

/// Places every target, at most `cap` in one slot; `alone`: no two certificates in one. None where that does not work out.
fn place(ask: &Ask<'_>, lines: &[Line], grid: &Grid, cap: u32, alone: bool) -> Option<Vec<Planned>> {
    let s = ask.snapshot;
    let most = ask.rules.max_targets_per_certificate.unwrap_or(u64::MAX).max(1).min(cap.into()) as usize;
    // Those with the fewest slots and the most targets are placed first; what is left over finds gaps.
    let mut parts: Vec<(&Line, &[u32], u32)> = Vec::new();
    let mut next: BTreeMap<(i64, u32), u32> = BTreeMap::new();
    for line in lines {
        let count = line.targets.len().div_ceil(most);
        let (size, extra) = (line.targets.len() / count, line.targets.len() % count);
        let mut rest = line.targets.as_slice();
        for n in 0..count {
            let (part, others) = rest.split_at(size + usize::from(n < extra));
            parts.push((line, part, n as u32 + 1));
            rest = others;
        }
        next.insert((line.secret, line.region), count as u32 + 1);
    }
    let region = |line: &Line| s.regions()[line.region as usize].as_str();
    let name_of = |line: &Line| ask.secrets.get(&line.secret).map_or("", String::as_str);
    let id = |line: &Line, part: u32| identity(&[ask.service, name_of(line), region(line), &part.to_string()]);
    parts.sort_by_key(|(line, targets, part)| (line.slots, core::cmp::Reverse(targets.len()), id(line, *part)));

    let mut used: BTreeMap<i64, u32> = BTreeMap::new();
    let mut placed = Vec::new();
    let mut todo = parts;
    todo.reverse();
    while let Some((line, targets, part)) = todo.pop() {
        let wish = (id(line, part) % line.slots as u64) as i64;
        let preferred = line.first + (wish - line.first).rem_euclid(line.slots);
        let probes = (0..line.slots).map(|n| line.first + (preferred - line.first + n) % line.slots);
        let room = |k: i64| match (grid.open.get(&k), used.get(&k)) {
            (Some(true), None) => cap,
            (Some(true), Some(n)) if !alone => cap - n,
            _ => 0,
        };
        let fits = probes.clone().find(|k| room(*k) as usize >= targets.len());
        // Cut to what is free, where it fits nowhere whole.
        let slot = fits.or_else(|| if alone { None } else { probes.clone().find(|k| room(*k) > 0) })?;
        let (now, later) = targets.split_at(targets.len().min(room(slot) as usize));
        if !later.is_empty() {
            let number = next.entry((line.secret, line.region)).or_insert(1);
            todo.push((line, later, *number));
            *number += 1;
        }
        *used.entry(slot).or_insert(0) += now.len() as u32;
        let suffix = if region(line).is_empty() { String::from("anywhere") } else { region(line).to_string() };
        placed.push(Planned {
            name: format!("{}-{suffix}-{part}", name_of(line)),
            secret: line.secret,
            region: region(line).to_string(),
            part,
            targets: now.to_vec(),
            not_after: grid.at(slot),
            lifetime: line.lifetime,
        });
    }
    placed.sort_by(|a, b| (&a.name, a.part).cmp(&(&b.name, b.part)));
    Some(placed)
}

/// The same targets once they serve what is planned.
pub fn with(s: &Snapshot, planned: &[Planned]) -> Snapshot {
    let mut it = Builder::default();
    let mut of: Vec<Option<u32>> = alloc::vec![None; s.len() as usize];
    for p in planned {
        let leaf = Fingerprint::of(format!("{}\n{}\n{}", p.secret, p.region, p.part).as_bytes());
        let path = it.path(0, [Some(leaf), Some(leaf), None, None], p.not_after - p.lifetime, p.not_after);
        p.targets.iter().for_each(|t| of[*t as usize] = Some(path));
    }
    // What is left as it is keeps its paths.
    let mut kept: BTreeMap<u32, u32> = BTreeMap::new();
    let mut serves = Vec::new();
    for t in 0..s.len() {
        let place = s.place(t);
        let place = Place {
            service: it.service(&s.services()[place.service as usize]),
            region: it.region(&s.regions()[place.region as usize]),
            stamp: it.stamp(&s.stamps()[place.stamp as usize]),
        };
        match of[t as usize] {
            Some(path) => {
                serves.push((t, path));
                it.target(s.id(t), s.secret(t), place, crate::target::Served::Until(planned[path as usize].not_after));
            }
            None => {
                it.target(s.id(t), s.secret(t), place, s.served(t));
                for p in s.paths(t) {
                    let (from, to) = s.dates(*p);
                    let path = *kept.entry(*p).or_insert_with(|| it.path(s.path_id(*p), [Some(s.leaf(*p)), None, None, None], from, to));
                    serves.push((t, path));
                }
            }
        }
    }
    it.finish(serves)
}
