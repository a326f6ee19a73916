//! How wide one expiry would reach: what production serves, grouped by what it hangs on and by when it ends.
//!
//! Everything counts *targets of production that are observed*, a target once for each certificate that it may answer with. A million
//! of them are a few columns of integers ([`Snapshot`]); grouping is sorting and one scan.

mod groups;
mod snapshot;
mod windows;

pub use groups::{By, Group, Groups, groups};
pub use snapshot::{Builder, Place, Snapshot, Totals};
pub use windows::{Window, Windows, windows};

use crate::{Fingerprint, Span, Time};
use alloc::{string::String, vec::Vec};

/// How long a window is, where nobody says: certificates that end within a day of each other keep the same people busy.
pub const WINDOW: Span = Span::days(1);
/// In 2013 three certificates ended within 179 seconds.
pub const NARROW_WINDOW: Span = Span::minutes(3);
/// The worst hour is looked for within the coming year.
pub const YEAR: Span = Span::days(365);

/// What a target hangs on when it answers with a certificate: once for all the targets that answer alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// The certificate in front.
    pub leaf: Fingerprint,
    /// SHA-256 of its public key: certificates of one key are lost together.
    pub leaf_key: Fingerprint,
    /// The certificate that issued it, where that is known and no root.
    pub intermediate: Option<Fingerprint>,
    /// The root that it was validated against; none where it does not validate.
    pub root: Option<Fingerprint>,
    /// The leaf's subject, escaped.
    pub leaf_name: String,
    /// Its issuer, escaped.
    pub issuer_name: String,
    /// The root's subject, escaped.
    pub root_name: String,
    /// Dates of the leaf.
    pub not_before: Time,
    /// Dates of the leaf.
    pub not_after: Time,
}

/// How far something reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Production targets.
    pub targets: u32,
    /// Services that have one of them.
    pub services: u32,
    /// Regions that have one of them.
    pub regions: u32,
    /// Stamps that have one of them.
    pub stamps: u32,
}

/// What of one service something touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceShare {
    /// Its number in [`Snapshot::services`]; 0 for targets of no service.
    pub service: u32,
    /// Targets of it that are touched.
    pub targets: u32,
    /// Of how many.
    pub of: u32,
}

/// A share in tenths of a percent, rounded down: 1000 is all of it and nothing less.
pub const fn per_mille(part: u32, whole: u32) -> u32 {
    if whole == 0 { 0 } else { (part as u64 * 1000 / whole as u64) as u32 }
}

/// Counts how many of a service, region and stamp are in a set, and knows when one of them is new to it.
struct Tally {
    services: Vec<u32>,
    regions: Vec<u32>,
    stamps: Vec<u32>,
    reach: Reach,
}

impl Tally {
    fn new(s: &Snapshot) -> Tally {
        let zeros = |n: usize| alloc::vec![0u32; n];
        Tally {
            services: zeros(s.services().len()),
            regions: zeros(s.regions().len()),
            stamps: zeros(s.stamps().len()),
            reach: Reach::default(),
        }
    }

    fn add(&mut self, place: Place) {
        self.reach.targets += 1;
        self.reach.services += enter(&mut self.services, place.service);
        self.reach.regions += enter(&mut self.regions, place.region);
        self.reach.stamps += enter(&mut self.stamps, place.stamp);
    }

    fn remove(&mut self, place: Place) {
        self.reach.targets -= 1;
        self.reach.services -= leave(&mut self.services, place.service);
        self.reach.regions -= leave(&mut self.regions, place.region);
        self.reach.stamps -= leave(&mut self.stamps, place.stamp);
    }
}

/// One more; says whether it is the first. What has no name (0) is nowhere.
fn enter(counts: &mut [u32], at: u32) -> u32 {
    let n = &mut counts[at as usize];
    *n += 1;
    u32::from(*n == 1 && at != 0)
}

fn leave(counts: &mut [u32], at: u32) -> u32 {
    let n = &mut counts[at as usize];
    *n -= 1;
    u32::from(*n == 0 && at != 0)
}

/// What the targets touch of each service; the largest share first.
fn shares(s: &Snapshot, targets: impl Iterator<Item = u32>) -> Vec<ServiceShare> {
    let mut counts = alloc::vec![0u32; s.services().len()];
    targets.for_each(|t| counts[s.place(t).service as usize] += 1);
    let touched = counts.iter().zip(s.per_service()).enumerate().filter(|(_, (n, _))| **n > 0);
    let mut shares: Vec<ServiceShare> =
        touched.map(|(service, (n, of))| ServiceShare { service: service as u32, targets: *n, of: *of }).collect();
    // a/b > c/d ⇔ a·d > c·b, in 64 bits without loss.
    let product = |a: u32, b: u32| u64::from(a) * u64::from(b);
    shares.sort_by(|a, b| product(b.targets, a.of).cmp(&product(a.targets, b.of)).then(a.service.cmp(&b.service)));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_rounded_up() {
        for (part, whole, tenths) in [(0, 0, 0), (0, 5, 0), (1, 3, 333), (2, 3, 666), (999_999, 1_000_000, 999), (7, 7, 1000)] {
            assert_eq!(per_mille(part, whole), tenths, "{part}/{whole}");
        }
        assert_eq!(per_mille(u32::MAX, u32::MAX), 1000);
    }
}
