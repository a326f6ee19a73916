//! Which target belongs to which wave: an immutable list with a hash, made from the plan before it.

use super::policy::{Policy, Rule, Scope};
use crate::{
    Fingerprint, Span,
    words::{TargetId, word},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt::Write;

/// A target and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The target.
    pub id: TargetId,
    /// Its region, empty for none.
    pub region: String,
    /// Its stamp, empty for none.
    pub stamp: String,
    /// Whether every node behind it is a canary.
    pub canary: bool,
    /// How many nodes with an agent stand behind it; 0 where a release or a person has to bring the version.
    pub nodes: usize,
}

word!(
    /// What a wave is.
    What {
        /// The canaries.
        Canary = "canary",
        /// One stamp.
        Stamp = "stamp",
        /// One region, or what is left of it.
        Region = "region",
        /// All that was left.
        All = "all",
        /// What no agent carries anything to. Nothing waits for it but the end.
        Others = "others",
    }
);

/// One wave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// What it is.
    pub what: What,
    /// Of which stamp or region, empty for neither.
    pub of: String,
    /// The most of the service's targets that may be on their way at once, in percent.
    pub share: u32,
    /// For how long it is watched.
    pub soak: Span,
    /// Its targets, in the order in which they are told.
    pub targets: Vec<TargetId>,
}

impl Wave {
    /// "canary", "stamp eu-1", "region eu": for people, escaped.
    pub fn title(&self) -> String {
        match (self.what, self.of.as_str()) {
            (What::Region, "") => String::from("targets without a region"),
            (What::Others, _) => String::from("targets without an agent"),
            (what, "") => what.to_string(),
            (what, of) => format!("{what} {}", pki::text::escape(of)),
        }
    }
}

/// All waves of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The hash of the plan that this one was made from; none for the first.
    pub parent: Option<Fingerprint>,
    /// The version that goes out.
    pub version: i64,
    /// In the order in which they go.
    pub waves: Vec<Wave>,
}

impl Plan {
    /// The first plan of a rollout.
    pub fn first(version: i64, policy: &Policy, targets: &[Placed]) -> Plan {
        Plan { parent: None, version, waves: waves(policy, targets) }
    }

    /// The plan that follows this one, now that these are the targets; none where nothing changes. What is gone is left out. What is new
    /// goes to the wave that it belongs to, if that has not begun (`begun` waves have), else to one of its own behind them.
    pub fn next(&self, begun: usize, policy: &Policy, targets: &[Placed]) -> Option<Plan> {
        let there: BTreeMap<TargetId, &Placed> = targets.iter().map(|t| (t.id, t)).collect();
        let mut waves = self.waves.clone();
        for (at, wave) in waves.iter_mut().enumerate() {
            // What got an agent meanwhile need not wait for a person.
            let waits = |t: &Placed| at < begun || wave.what != What::Others || t.nodes == 0;
            wave.targets.retain(|id| there.get(id).is_some_and(|t| waits(t)));
        }
        let settled: BTreeSet<TargetId> = waves.iter().flat_map(|w| w.targets.iter().copied()).collect();
        for new in there.values().filter(|t| !settled.contains(&t.id)) {
            place(&mut waves, begun, policy, new);
        }
        // A wave that has begun stays where it is, even empty: its place is what the rollout counts by.
        let mut at = 0;
        waves.retain(|w| {
            at += 1;
            at <= begun || !w.targets.is_empty()
        });
        (waves != self.waves).then(|| Plan { parent: Some(self.hash()), version: self.version, waves })
    }

    /// SHA-256 of what it says and of its parent.
    pub fn hash(&self) -> Fingerprint {
        let mut text = String::from("perennial/plan/1\n");
        let parent = self.parent.map(|p| p.to_string()).unwrap_or_default();
        let _ = writeln!(text, "parent {parent}\nversion {}", self.version);
        for wave in &self.waves {
            // Names may hold anything but are counted, so that no two plans read the same.
            let _ = writeln!(text, "wave {} {}:{} {} {}", wave.what, wave.of.len(), wave.of, wave.share, wave.soak.as_secs());
            for target in &wave.targets {
                let _ = writeln!(text, "{target}");
            }
        }
        Fingerprint::of(text.as_bytes())
    }

    /// In which wave a target is.
    pub fn wave_of(&self, target: TargetId) -> Option<usize> {
        self.waves.iter().position(|w| w.targets.contains(&target))
    }

    /// All targets, wave by wave.
    pub fn targets(&self) -> impl Iterator<Item = TargetId> + '_ {
        self.waves.iter().flat_map(|w| w.targets.iter().copied())
    }
}

/// Divides targets up into waves: each rule takes its share of what those before it left.
fn waves(policy: &Policy, targets: &[Placed]) -> Vec<Wave> {
    let (mut left, others): (Vec<&Placed>, Vec<&Placed>) = targets.iter().partition(|t| t.nodes > 0);
    let mut all = Vec::new();
    for rule in &policy.waves {
        match rule.of {
            Scope::Canary => take(&mut all, &mut left, rule, What::Canary, "", |t| t.canary),
            Scope::Stamp => {
                if let Some(stamp) = first_stamp(policy, &left) {
                    take(&mut all, &mut left, rule, What::Stamp, &stamp, |t| t.stamp == stamp);
                }
            }
            Scope::Region => {
                if let Some(region) = regions(policy, &left).into_iter().next() {
                    take(&mut all, &mut left, rule, What::Region, &region, |t| t.region == region);
                }
            }
            Scope::Rest => {
                for region in regions(policy, &left) {
                    take(&mut all, &mut left, rule, What::Region, &region, |t| t.region == region);
                }
            }
            Scope::All => take(&mut all, &mut left, rule, What::All, "", |_| true),
        }
    }
    // A policy ends with a rule that takes all; one that does not still reaches everything.
    let rest = Rule { of: Scope::All, share: 1, soak: Span::ZERO };
    take(&mut all, &mut left, &rest, What::All, "", |_| true);
    let mut others = others;
    let by_hand = Rule { of: Scope::All, share: 100, soak: Span::ZERO };
    take(&mut all, &mut others, &by_hand, What::Others, "", |_| true);
    all
}

/// Puts a target that came later into a wave that has not begun.
fn place(waves: &mut Vec<Wave>, begun: usize, policy: &Policy, new: &Placed) {
    let fits = |w: &Wave| match w.what {
        What::Others => new.nodes == 0,
        _ if new.nodes == 0 => false,
        What::Canary => new.canary,
        What::Stamp => w.of == new.stamp,
        What::Region => w.of == new.region,
        What::All => true,
    };
    if let Some(wave) = waves.iter_mut().skip(begun).find(|w| fits(w)) {
        wave.targets.push(new.id);
        return;
    }
    let targets = alloc::vec![new.id];
    if new.nodes == 0 {
        waves.push(Wave { what: What::Others, of: String::new(), share: 100, soak: Span::ZERO, targets });
        return;
    }
    let (share, soak) = policy.waves.last().map_or((1, Span::ZERO), |r| (r.share, r.soak));
    let wave = Wave { what: What::Region, of: new.region.clone(), share, soak, targets };
    // Nothing with an agent waits for what has none.
    let behind = waves.iter().position(|w| w.what == What::Others).unwrap_or(waves.len()).max(begun.min(waves.len()));
    waves.insert(behind, wave);
}

fn take(all: &mut Vec<Wave>, left: &mut Vec<&Placed>, rule: &Rule, what: What, of: &str, wanted: impl Fn(&Placed) -> bool) {
    let (mut taken, rest): (Vec<&Placed>, Vec<&Placed>) = left.iter().copied().partition(|t| wanted(t));
    *left = rest;
    if taken.is_empty() {
        return;
    }
    // What fewer nodes stand behind goes first: an address that many share is only served when the last of them is.
    taken.sort_by_key(|t| (t.nodes, t.id));
    let targets = taken.iter().map(|t| t.id).collect();
    all.push(Wave { what, of: of.to_string(), share: rule.share, soak: rule.soak, targets });
}

/// The regions of what is left: those that the policy names, in its order; the others by name, what has none last.
fn regions(policy: &Policy, left: &[&Placed]) -> Vec<String> {
    let there: BTreeSet<&str> = left.iter().map(|t| t.region.as_str()).collect();
    let named = policy.regions.iter().map(String::as_str).filter(|r| there.contains(r));
    let others = there.iter().copied().filter(|r| !r.is_empty() && !policy.regions.iter().any(|p| p == r));
    let mut seen = BTreeSet::new();
    named.chain(others).chain(there.contains("").then_some("")).filter(|r| seen.insert(*r)).map(ToString::to_string).collect()
}

/// The stamp with the fewest targets in the first region that has stamps.
fn first_stamp(policy: &Policy, left: &[&Placed]) -> Option<String> {
    for region in regions(policy, left) {
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        for t in left.iter().filter(|t| t.region == region && !t.stamp.is_empty()) {
            *sizes.entry(&t.stamp).or_default() += 1;
        }
        if let Some((stamp, _)) = sizes.into_iter().min_by_key(|(name, n)| (*n, *name)) {
            return Some(stamp.to_string());
        }
    }
    None
}
