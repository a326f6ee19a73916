//! What is planned, and how it would be if something went otherwise.

use super::{Plan, Rescue};
use crate::{Fingerprint, Span, Time};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

/// What would be different.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WhatIf {
    /// Releases by number, and how much later each of them arrives. The others of its train stay where they are.
    pub delays: BTreeMap<i64, Span>,
    /// Releases that do not come.
    pub cancelled: BTreeSet<i64>,
    /// Regions that nothing planned reaches from now on.
    pub silenced: BTreeSet<String>,
}

/// A version of a secret that is on its way with a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coming {
    /// The release's number.
    pub release: i64,
    /// `SERVICE/BUILD`, escaped.
    pub name: String,
    /// The version.
    pub version: i64,
    /// For each scope (`all`, or a region) the leaf that ends first, and when that is.
    pub brings: BTreeMap<String, (Time, Fingerprint)>,
    /// When it is planned to be observed in the regions that it has stages for; none where it was cancelled there.
    pub arrives: BTreeMap<String, Option<Time>>,
    /// The same in regions that no stage names.
    pub elsewhere: Time,
}

impl WhatIf {
    /// What is planned for a secret in a region, where `automatic` says whether it renews itself on a proven way.
    pub fn plan(&self, region: &str, coming: &[Coming], automatic: bool) -> Plan {
        if self.silenced.contains(region) {
            return Plan::default();
        }
        let rescues = coming.iter().filter(|c| !self.cancelled.contains(&c.release)).filter_map(|c| self.rescue(region, c));
        Plan { automatic, rescues: rescues.collect::<Vec<_>>() }
    }

    fn rescue(&self, region: &str, c: &Coming) -> Option<Rescue> {
        // As for what a target should serve: what is for its region, where there is any, else what is for all.
        let (until, leaf) = *c.brings.get(region).filter(|_| !region.is_empty()).or_else(|| c.brings.get("all"))?;
        let planned = c.arrives.get(region).copied().unwrap_or(Some(c.elsewhere))?;
        let arrives_at = planned + self.delays.get(&c.release).copied().unwrap_or(Span::ZERO);
        Some(Rescue { release: c.release, name: c.name.clone(), version: c.version, arrives_at, until, leaf })
    }
}
