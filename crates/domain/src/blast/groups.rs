//! What production hangs on: one group per leaf, public key, issuing intermediate or root.

use super::{Reach, ServiceShare, Snapshot, Tally, shares, snapshot::NONE};
use crate::Fingerprint;
use alloc::vec::Vec;

/// By what targets are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The certificate in front.
    Leaf,
    /// Its public key.
    Key,
    /// The certificate that issued it.
    Intermediate,
    /// The root above it.
    Root,
}

impl By {
    /// Every way to group.
    pub const ALL: [By; 4] = [By::Leaf, By::Key, By::Intermediate, By::Root];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            By::Leaf => "leaf",
            By::Key => "key",
            By::Intermediate => "intermediate",
            By::Root => "root",
        }
    }
}

/// Targets that hang on one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// What they hang on.
    pub print: Fingerprint,
    /// A path through it, for names and dates.
    pub path: u32,
    /// How many it takes down.
    pub reach: Reach,
    /// Its place in `starts`.
    at: u32,
}

/// All groups of one kind, the widest first; those that are equally wide in the order of their fingerprints.
#[derive(Debug, Clone)]
pub struct Groups<'a> {
    snapshot: &'a Snapshot,
    /// The groups.
    pub all: Vec<Group>,
    starts: Vec<u32>,
    members: Vec<u32>,
}

impl Groups<'_> {
    /// The targets of a group, in their order.
    pub fn targets(&self, group: &Group) -> &[u32] {
        let at = group.at as usize;
        let (from, to) = (self.starts[at] as usize, self.starts[at + 1] as usize);
        // A group's part may be longer than its members: who was counted twice leaves a gap at its end.
        &self.members[from..to][..group.reach.targets as usize]
    }

    /// What a group touches of each service, the largest share first.
    pub fn services(&self, group: &Group) -> Vec<ServiceShare> {
        shares(self.snapshot, self.targets(group).iter().copied())
    }

    /// Those behind a place in the list: `after` is the width and the fingerprint of the last one before.
    pub fn after(&self, after: Option<(u32, Fingerprint)>) -> &[Group] {
        let from = after.map_or(0, |(width, print)| {
            self.all.partition_point(|g| g.reach.targets > width || (g.reach.targets == width && g.print <= print))
        });
        &self.all[from..]
    }
}

/// Groups production by what it hangs on. What is served without a known certificate of that kind is in no group.
pub fn groups(s: &Snapshot, by: By) -> Groups<'_> {
    let part = &s.parts[by as usize];
    let prints = &s.prints[by as usize];
    // Counting sort: targets come in their order, so those of a group stay in it, and one that comes twice comes in a row.
    let mut starts = alloc::vec![0u32; prints.len() + 1];
    let each = |mut f: &mut dyn FnMut(u32, u32, u32)| {
        let f = &mut f;
        for target in 0..s.len() {
            for path in s.paths(target) {
                let group = part[*path as usize];
                if group != NONE {
                    f(target, *path, group);
                }
            }
        }
    };
    each(&mut |_, _, group| starts[group as usize + 1] += 1);
    for n in 1..starts.len() {
        starts[n] += starts[n - 1];
    }
    let mut members = alloc::vec![0u32; starts.last().copied().unwrap_or(0) as usize];
    let mut filled = alloc::vec![0u32; prints.len()];
    let mut a_path = alloc::vec![NONE; prints.len()];
    each(&mut |target, path, group| {
        let (group, start) = (group as usize, starts[group as usize]);
        let n = filled[group];
        if n == 0 || members[(start + n - 1) as usize] != target {
            members[(start + n) as usize] = target;
            filled[group] += 1;
        }
        a_path[group] = a_path[group].min(path);
    });
    let mut tally = Tally::new(s);
    let mut all = Vec::new();
    for (group, print) in prints.iter().enumerate().filter(|(g, _)| filled[*g] > 0) {
        let of = &members[starts[group] as usize..][..filled[group] as usize];
        of.iter().for_each(|t| tally.add(s.place(*t)));
        all.push(Group { print: *print, path: a_path[group], reach: tally.reach, at: group as u32 });
        of.iter().for_each(|t| tally.remove(s.place(*t)));
    }
    // Stable: they came in the order of their fingerprints.
    all.sort_by_key(|g| core::cmp::Reverse(g.reach.targets));
    Groups { snapshot: s, all, starts, members }
}
