//! Small random fleets: few names, few moments, so that there are ties, shared keys and several paths per target.

use domain::{
    Fingerprint, Span, Time,
    blast::{Builder, Place, Snapshot},
    target::Served,
};
use proptest::prelude::*;

pub(crate) const NOW: Time = Time::from_unix(1_800_000_000);

/// A path: which leaf, key, issuer and root; the leaf ends so many hours from now.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) parts: [Option<u8>; 4],
    pub(crate) ends: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) secret: u8,
    /// Service, region, stamp; 0 is none.
    pub(crate) place: [u8; 3],
    /// Minutes from now; none: never observed, or broken.
    pub(crate) until: Result<i64, bool>,
    pub(crate) paths: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) paths: Vec<Path>,
    pub(crate) targets: Vec<Target>,
}

impl Target {
    pub(crate) fn served(&self) -> Served {
        match self.until {
            Ok(minutes) => Served::Until(NOW + Span::minutes(minutes)),
            Err(true) => Served::Unknown,
            Err(false) => Served::Broken,
        }
    }
}

pub(crate) fn print(kind: usize, n: u8) -> Fingerprint {
    Fingerprint::of(&[kind as u8, n])
}

pub(crate) fn name(kind: char, n: u8) -> String {
    if n == 0 { String::new() } else { format!("{kind}{n}") }
}

impl Fleet {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut it = Builder::default();
        for (n, p) in self.paths.iter().enumerate() {
            let prints = [0, 1, 2, 3].map(|kind| p.parts[kind].map(|n| print(kind, n)));
            it.path(n as i64 + 10, prints, NOW - Span::days(10), NOW + Span::hours(p.ends));
        }
        let mut serves = Vec::new();
        for (n, t) in self.targets.iter().enumerate() {
            let [service, region, stamp] = t.place;
            let place = Place {
                service: it.service(&name('s', service)),
                region: it.region(&name('r', region)),
                stamp: it.stamp(&name('t', stamp)),
            };
            it.target(n as i64 + 100, t.secret.into(), place, t.served());
            serves.extend(t.paths.iter().map(|p| (n as u32, *p as u32)));
        }
        it.finish(serves)
    }
}

pub(crate) fn fleet(most: usize) -> impl Strategy<Value = Fleet> {
    let above = || prop_oneof![1 => Just(None), 4 => (0u8..3).prop_map(Some)];
    let path = ((0u8..6).prop_map(Some), (0u8..4).prop_map(Some), above(), above(), 30i64..9000);
    let path = path.prop_map(|(leaf, key, issuer, root, ends)| Path { parts: [leaf, key, issuer, root], ends });
    prop::collection::vec(path, 1..8).prop_flat_map(move |paths| {
        let until =
            prop_oneof![8 => (-3i64..40).prop_map(Ok), 4 => (0i64..3000).prop_map(|n| Ok(n * 60)), 1 => any::<bool>().prop_map(Err)];
        let place = [0u8..4, 0..4, 0..5];
        let target = (0u8..4, place, until, prop::collection::vec(0..paths.len(), 0..4));
        let target = target.prop_map(|(secret, place, until, paths)| Target { secret, place, until, paths });
        let paths = Just(paths);
        (paths, prop::collection::vec(target, 0..most)).prop_map(|(paths, targets)| Fleet { paths, targets })
    })
}
