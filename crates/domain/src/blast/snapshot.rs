//! Production at one moment, in columns.

use super::Path;
use crate::{Fingerprint, Time, target::Served};
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};

/// No such certificate.
pub(super) const NONE: u32 = u32::MAX;
/// [`Served::Unknown`] and [`Served::Broken`] in a column of moments.
const UNKNOWN: i64 = i64::MIN;
const BROKEN: i64 = i64::MIN + 1;

/// Where a target is: numbers into the lists of names, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In [`Snapshot::services`].
    pub service: u32,
    /// In [`Snapshot::regions`].
    pub region: u32,
    /// In [`Snapshot::stamps`].
    pub stamp: u32,
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Production targets.
    pub targets: u32,
    /// Services that have one.
    pub services: u32,
    /// Regions that have one.
    pub regions: u32,
    /// Stamps that have one.
    pub stamps: u32,
    /// Targets that were never observed: nobody knows what takes them down.
    pub unknown: u32,
    /// Targets that do not serve now: no expiry takes them down any more.
    pub broken: u32,
}

/// Production targets (active or drained, not retired) and the paths that they may answer with. Targets and paths are numbers from 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    services: Vec<String>,
    regions: Vec<String>,
    stamps: Vec<String>,
    per_service: Vec<u32>,
    id: Vec<i64>,
    secret: Vec<i64>,
    place: Vec<Place>,
    until: Vec<i64>,
    /// Where each target's paths begin in `path`, and where the last ones end.
    first: Vec<u32>,
    path: Vec<u32>,
    path_id: Vec<i64>,
    not_before: Vec<i64>,
    not_after: Vec<i64>,
    /// Of each path: leaf, key, intermediate, root, as numbers into `prints`.
    pub(super) parts: [Vec<u32>; 4],
    pub(super) prints: [Vec<Fingerprint>; 4],
}

impl Snapshot {
    /// Number of targets.
    pub fn len(&self) -> u32 {
        self.id.len() as u32
    }

    /// Whether there is no target.
    pub fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    /// Names of services; the first is empty, for none.
    pub fn services(&self) -> &[String] {
        &self.services
    }

    /// Names of regions; the first is empty, for none.
    pub fn regions(&self) -> &[String] {
        &self.regions
    }

    /// Names of stamps; the first is empty, for none.
    pub fn stamps(&self) -> &[String] {
        &self.stamps
    }

    /// How many targets each service has.
    pub fn per_service(&self) -> &[u32] {
        &self.per_service
    }

    /// A target's number in the store.
    pub fn id(&self, target: u32) -> i64 {
        self.id[target as usize]
    }

    /// The number of a target's secret in the store.
    pub fn secret(&self, target: u32) -> i64 {
        self.secret[target as usize]
    }

    /// Where a target is.
    pub fn place(&self, target: u32) -> Place {
        self.place[target as usize]
    }

    /// Until when a target serves.
    pub fn served(&self, target: u32) -> Served {
        match self.until[target as usize] {
            UNKNOWN => Served::Unknown,
            BROKEN => Served::Broken,
            t => Served::Until(Time::from_unix(t)),
        }
    }

    /// The moment at which a target falls, where it is known, still to come after `now`, and not "never".
    pub fn falls(&self, target: u32, now: Time) -> Option<Time> {
        let t = self.until[target as usize];
        (t > now.unix().max(BROKEN) && t < Time::NO_EXPIRY.unix()).then(|| Time::from_unix(t))
    }

    /// The paths that a target may answer with, as numbers.
    pub fn paths(&self, target: u32) -> &[u32] {
        let target = target as usize;
        &self.path[self.first[target] as usize..self.first[target + 1] as usize]
    }

    /// Number of paths.
    pub fn path_count(&self) -> u32 {
        self.path_id.len() as u32
    }

    /// A path's number in the store, where its names are.
    pub fn path_id(&self, path: u32) -> i64 {
        self.path_id[path as usize]
    }

    /// The leaf of a path.
    pub fn leaf(&self, path: u32) -> Fingerprint {
        self.prints[0][self.parts[0][path as usize] as usize]
    }

    /// The dates of a path's leaf: notBefore and notAfter.
    pub fn dates(&self, path: u32) -> (Time, Time) {
        (Time::from_unix(self.not_before[path as usize]), Time::from_unix(self.not_after[path as usize]))
    }

    /// How much there is of everything at `now`.
    pub fn totals(&self, now: Time) -> Totals {
        let mut tally = super::Tally::new(self);
        let (mut unknown, mut broken) = (0, 0);
        for t in 0..self.len() {
            tally.add(self.place(t));
            match self.served(t) {
                Served::Unknown => unknown += 1,
                Served::Broken => broken += 1,
                Served::Until(until) => broken += u32::from(until <= now),
            }
        }
        let super::Reach { targets, services, regions, stamps } = tally.reach;
        Totals { targets, services, regions, stamps, unknown, broken }
    }
}

/// Collects a [`Snapshot`]: first all paths, then the targets.
#[derive(Debug, Default)]
pub struct Builder {
    it: Snapshot,
    names: [Names; 3],
    prints: [Vec<Fingerprint>; 4],
    parts: [Vec<u32>; 4],
}

#[derive(Debug, Default)]
struct Names {
    last: u32,
    numbers: BTreeMap<String, u32>,
}

impl Names {
    /// Neighbours are mostly alike, so the map is rarely asked.
    fn number(&mut self, list: &mut Vec<String>, name: &str) -> u32 {
        if list.is_empty() {
            list.push(String::new());
        }
        if name.is_empty() {
            return 0;
        }
        if list[self.last as usize] != name {
            self.last = *self.numbers.entry(name.to_string()).or_insert_with(|| {
                list.push(name.to_string());
                list.len() as u32 - 1
            });
        }
        self.last
    }
}

impl Builder {
    /// Adds a path with its number in the store; gives its number here.
    pub fn path(&mut self, id: i64, prints: [Option<Fingerprint>; 4], not_before: Time, not_after: Time) -> u32 {
        self.it.path_id.push(id);
        self.it.not_before.push(not_before.unix());
        self.it.not_after.push(not_after.unix());
        for ((print, parts), all) in prints.into_iter().zip(&mut self.parts).zip(&mut self.prints) {
            parts.push(print.map_or(NONE, |p| {
                all.push(p);
                all.len() as u32 - 1
            }));
        }
        self.it.path_count() - 1
    }

    /// Adds a path as the rules have it.
    pub fn whole_path(&mut self, id: i64, p: &Path) -> u32 {
        self.path(id, [Some(p.leaf), Some(p.leaf_key), p.intermediate, p.root], p.not_before, p.not_after)
    }

    /// The number of a service, for [`Builder::target`].
    pub fn service(&mut self, name: &str) -> u32 {
        self.names[0].number(&mut self.it.services, name)
    }

    /// The number of a region.
    pub fn region(&mut self, name: &str) -> u32 {
        self.names[1].number(&mut self.it.regions, name)
    }

    /// The number of a stamp.
    pub fn stamp(&mut self, name: &str) -> u32 {
        self.names[2].number(&mut self.it.stamps, name)
    }

    /// Adds a target without paths.
    pub fn target(&mut self, id: i64, secret: i64, place: Place, served: Served) {
        self.it.id.push(id);
        self.it.secret.push(secret);
        self.it.place.push(place);
        self.it.until.push(match served {
            Served::Unknown => UNKNOWN,
            Served::Broken => BROKEN,
            Served::Until(t) => t.unix(),
        });
    }

    /// The numbers of all targets so far in the store, in the order in which they were added.
    pub fn ids(&self) -> &[i64] {
        &self.it.id
    }

    /// Done: which paths the targets may answer with, as (target, path), in any order; what is said twice counts once.
    pub fn finish(mut self, mut serves: Vec<(u32, u32)>) -> Snapshot {
        for kind in 0..3 {
            // So that there is always one for "none".
            let list = [&mut self.it.services, &mut self.it.regions, &mut self.it.stamps];
            list.into_iter().filter(|l| l.is_empty()).for_each(|l| l.push(String::new()));
            self.names[kind].numbers.clear();
        }
        let mut it = self.it;
        it.per_service = alloc::vec![0; it.services.len()];
        it.place.iter().for_each(|p| it.per_service[p.service as usize] += 1);
        serves.sort_unstable();
        serves.dedup();
        let mut of = serves.iter().peekable();
        for target in 0..it.len() {
            it.first.push(it.path.len() as u32);
            while let Some((_, path)) = of.next_if(|(t, _)| *t <= target) {
                it.path.push(*path);
            }
        }
        it.first.push(it.path.len() as u32);
        for (kind, (parts, prints)) in self.parts.into_iter().zip(self.prints).enumerate() {
            (it.parts[kind], it.prints[kind]) = distinct(parts, prints);
        }
        it
    }
}

/// Equal fingerprints get one number, in their order.
fn distinct(mut parts: Vec<u32>, prints: Vec<Fingerprint>) -> (Vec<u32>, Vec<Fingerprint>) {
    let mut order: Vec<u32> = (0..prints.len() as u32).collect();
    order.sort_unstable_by_key(|n| prints[*n as usize]);
    let mut number = alloc::vec![0u32; prints.len()];
    let mut all: Vec<Fingerprint> = Vec::new();
    for n in order {
        let print = prints[n as usize];
        if all.last() != Some(&print) {
            all.push(print);
        }
        number[n as usize] = all.len() as u32 - 1;
    }
    parts.iter_mut().filter(|p| **p != NONE).for_each(|p| *p = number[*p as usize]);
    (parts, all)
}
