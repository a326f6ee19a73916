//! How wide one expiry reaches, equal to maps of sets and to looking at every pair.

use crate::fleet::{Fleet, NOW, Target, fleet, name, print};
use domain::{
    Fingerprint, Span, Time,
    blast::{By, Reach, groups, windows},
    target::Served,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn reach<'a>(targets: impl Iterator<Item = &'a Target> + Clone) -> Reach {
    let places = |n: usize| targets.clone().map(|t| t.place[n]).filter(|p| *p != 0).collect::<BTreeSet<u8>>().len() as u32;
    Reach { targets: targets.clone().count() as u32, services: places(0), regions: places(1), stamps: places(2) }
}

/// Per service: how many of them, of how many in all.
fn per_service<'a>(f: &Fleet, targets: impl Iterator<Item = &'a Target>) -> BTreeMap<String, (u32, u32)> {
    let mut shares = BTreeMap::new();
    for t in targets {
        let all = f.targets.iter().filter(|o| o.place[0] == t.place[0]).count() as u32;
        shares.entry(name('s', t.place[0])).or_insert((0, all)).0 += 1;
    }
    shares
}

fn naive_groups(f: &Fleet, kind: usize) -> Vec<(Fingerprint, BTreeSet<usize>)> {
    let mut groups: BTreeMap<Fingerprint, BTreeSet<usize>> = BTreeMap::new();
    for (n, t) in f.targets.iter().enumerate() {
        for part in t.paths.iter().filter_map(|p| f.paths[*p].parts[kind]) {
            groups.entry(print(kind, part)).or_default().insert(n);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(print, members)| (std::cmp::Reverse(members.len()), *print));
    groups
}

fn falls(t: &Target) -> Option<Time> {
    match t.served() {
        Served::Until(at) if at > NOW => Some(at),
        _ => None,
    }
}

/// The widest window among all that do not overlap with one that was taken, again and again.
fn naive_windows(f: &Fleet, width: Span, before: Time) -> Vec<(Time, BTreeSet<usize>)> {
    let starts: BTreeSet<Time> = f.targets.iter().filter_map(falls).filter(|t| *t < before).collect();
    let members = |from: Time| {
        let inside = |t: &&Target| falls(t).is_some_and(|at| from <= at && at - from < width);
        f.targets.iter().enumerate().filter(|(_, t)| inside(t)).map(|(n, _)| n).collect::<BTreeSet<usize>>()
    };
    let mut taken: Vec<(Time, BTreeSet<usize>)> = Vec::new();
    loop {
        let apart = |a: Time, b: Time| a - b >= width || b - a >= width;
        let free = starts.iter().filter(|s| taken.iter().all(|(t, _)| apart(**s, *t)));
        let best = free.map(|s| (*s, members(*s))).max_by_key(|(s, m)| (m.len(), std::cmp::Reverse(*s)));
        match best {
            Some(best) => taken.push(best),
            None => return taken,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn groups_are_what_maps_of_sets_say(f in fleet(40)) {
        let s = f.snapshot();
        for (kind, by) in By::ALL.into_iter().enumerate() {
            let fast = groups(&s, by);
            let slow = naive_groups(&f, kind);
            let is: Vec<_> = fast.all.iter().map(|g| (g.print, fast.targets(g).iter().map(|t| *t as usize).collect::<BTreeSet<_>>())).collect();
            prop_assert_eq!(&is, &slow, "{:?}", by);
            for (g, (_, members)) in fast.all.iter().zip(&slow) {
                let of = || members.iter().map(|n| &f.targets[*n]);
                prop_assert_eq!(g.reach, reach(of()));
                let shares = fast.services(g);
                let is: BTreeMap<_, _> = shares.iter().map(|x| (s.services()[x.service as usize].clone(), (x.targets, x.of))).collect();
                prop_assert_eq!(is, per_service(&f, of()));
                prop_assert!(shares.windows(2).all(|w| w[0].targets * w[1].of >= w[1].targets * w[0].of), "the largest share first");
                prop_assert!(f.paths[g.path as usize].parts[kind].is_some_and(|p| print(kind, p) == g.print), "named by a path of its own");
            }
            for n in 0..fast.all.len() {
                let g = &fast.all[n];
                prop_assert_eq!(fast.after(Some((g.reach.targets, g.print))).len(), fast.all.len() - n - 1, "a page goes on behind the last");
            }
        }
    }

    #[test]
    fn windows_are_what_a_look_at_every_pair_says(f in fleet(40), minutes in prop_oneof![Just(1i64), Just(3), Just(60), Just(1440)]) {
        let s = f.snapshot();
        let width = Span::minutes(minutes);
        for before in [NOW + Span::minutes(20), NOW + Span::days(365)] {
            let fast = windows(&s, width, NOW, before);
            let is: Vec<_> = fast.all.iter().map(|w| (w.from, fast.targets(w).map(|t| t as usize).collect::<BTreeSet<_>>())).collect();
            let slow = naive_windows(&f, width, before);
            prop_assert_eq!(&is, &slow);
            for (w, (_, members)) in fast.all.iter().zip(&slow) {
                let of = || members.iter().map(|n| &f.targets[*n]);
                prop_assert_eq!(w.reach, reach(of()));
                prop_assert_eq!(Some(w.last), of().filter_map(falls).max());
                let is: BTreeMap<_, _> =
                    fast.services(w).iter().map(|x| (s.services()[x.service as usize].clone(), (x.targets, x.of))).collect();
                prop_assert_eq!(is, per_service(&f, of()));
            }
            for n in 0..fast.all.len() {
                let w = &fast.all[n];
                prop_assert_eq!(fast.after(Some((w.reach.targets, w.from))).len(), fast.all.len() - n - 1);
            }
        }
    }

    #[test]
    fn what_is_not_observed_is_counted_apart(f in fleet(40)) {
        let totals = f.snapshot().totals(NOW);
        let all = reach(f.targets.iter());
        prop_assert_eq!((totals.targets, totals.services, totals.regions, totals.stamps), (all.targets, all.services, all.regions, all.stamps));
        prop_assert_eq!(totals.unknown as usize, f.targets.iter().filter(|t| t.served() == Served::Unknown).count());
        let down = |t: &&Target| t.served() != Served::Unknown && falls(t).is_none();
        prop_assert_eq!(totals.broken as usize, f.targets.iter().filter(down).count());
    }
}
