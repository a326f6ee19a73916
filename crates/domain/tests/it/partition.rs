//! A plan for a service: what it promises holds, counted by the blast radius and by looking at every pair.

use crate::fleet::{Fleet, NOW, fleet, name, print};
use domain::{
    Span, Time,
    blast::{Builder, By, Place, Snapshot, groups, windows},
    calendar::{Calendar, Freeze, When},
    partition::{Ask, Breach, Proposal, Rules, Short, breaches, measure, propose, with},
    target::Served,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const DAY: Span = Span::days(1);

/// The fleet as if all of it were one service.
fn one_service(f: &Fleet) -> Snapshot {
    let mut f = f.clone();
    f.targets.iter_mut().for_each(|t| t.place[0] = 1);
    f.snapshot()
}

fn secrets() -> BTreeMap<i64, String> {
    (0..5).map(|n| (n, format!("secret{n}"))).collect()
}

fn plan(s: &Snapshot, rules: &Rules, calendar: &Calendar, now: Time) -> Proposal {
    propose(&Ask { service: "s1", snapshot: s, secrets: &secrets(), rules, calendar }, now)
}

fn weekend_and_christmas() -> Calendar {
    let range = When::Range { from: "2027-12-15".into(), until: Some("2028-01-04".into()) };
    let weekly = When::Weekly("fri 16:00 - mon 08:00".into());
    let freeze = |why: &str, when| Freeze { why: why.into(), when };
    Calendar::parse("Europe/Dublin", &[freeze("Christmas", range), freeze("weekend", weekly)]).unwrap()
}

fn rules() -> impl Strategy<Value = Rules> {
    let days = prop_oneof![3 => Just(None), 1 => (1u32..4).prop_map(Some)];
    let most = prop_oneof![2 => Just(None), 1 => (1u64..6).prop_map(Some)];
    let listed =
        prop_oneof![Just(vec![]), Just(vec!["sat".to_owned(), "sun".to_owned()]), Just(vec!["tue".to_owned(), "2027-02-01".to_owned()])];
    (5u32..60, 1i64..72, days, most, listed).prop_map(|(percent, hours, min_days_between, max_targets_per_certificate, no_expiry_on)| {
        Rules {
            one_region_per_certificate: true,
            max_targets_per_certificate,
            no_expiry_in_freeze: true,
            no_expiry_on,
            min_days_between,
            max_share_percent: Some(percent),
            window: Some(Span::hours(hours)),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_a_plan_promises_holds(f in fleet(40), rules in rules(), frozen in any::<bool>()) {
        let s = one_service(&f);
        let calendar = if frozen { weekend_and_christmas() } else { Calendar::open() };
        let it = plan(&s, &rules, &calendar, NOW);
        prop_assert_eq!(&it, &plan(&s, &rules, &calendar, NOW), "the same fleet gives the same plan");
        prop_assert_eq!(it.before, measure(&s, &rules, &calendar, NOW));
        if it.certificates.is_empty() {
            prop_assert_eq!(it.before, it.after);
            return Ok(());
        }

        let mut covered: Vec<u32> = it.certificates.iter().flat_map(|c| c.targets.iter().copied()).collect();
        covered.sort_unstable();
        let all: Vec<u32> = (0..s.len()).filter(|t| !it.left.contains(&s.secret(*t))).collect();
        prop_assert_eq!(covered, all, "every target once");
        prop_assert_eq!(it.certificates.iter().map(|c| &c.name).collect::<BTreeSet<_>>().len(), it.certificates.len(), "names are names");

        for c in &it.certificates {
            let places: BTreeSet<(i64, u32)> = c.targets.iter().map(|t| (s.secret(*t), s.place(*t).region)).collect();
            prop_assert_eq!(places.len(), 1, "one secret, one region");
            prop_assert!(c.not_after < NOW + c.lifetime, "no longer than today's");
            prop_assert!(c.not_after - NOW >= Span::seconds(c.lifetime.as_secs() / 2), "no shorter than half of it");
            prop_assert!(calendar.frozen(c.not_after).is_none() && rules.listed_day(&calendar, c.not_after).is_none(), "{}", c.not_after);
            prop_assert!(c.targets.len() as u64 <= rules.max_targets_per_certificate.unwrap_or(u64::MAX));
        }
        // Counted without the blast radius: whatever moment a window begins at, it holds no more than promised.
        let window = rules.window();
        let widest = it.certificates.iter().map(|c| {
            let within = it.certificates.iter().filter(|o| o.not_after >= c.not_after && o.not_after - c.not_after < window);
            within.map(|o| o.targets.len() as u32).sum::<u32>()
        }).max().unwrap_or(0);
        let percent = u64::from(rules.share_percent());
        if it.short.is_none() {
            prop_assert!(u64::from(widest) * 100 <= percent * u64::from(s.len()), "{widest} of {}", s.len());
        }
        let after = with(&s, &it.certificates);
        prop_assert_eq!(after.len(), s.len());
        let blast = windows(&after, window, NOW, Time::NO_EXPIRY).all.first().map_or(0, |w| w.reach.targets);
        prop_assert_eq!(it.after.worst, blast);
        if it.left.is_empty() {
            prop_assert_eq!(blast, widest);
            prop_assert!(groups(&after, By::Leaf).all.iter().all(|g| g.reach.regions <= 1));
            if it.short.is_none() {
                prop_assert_eq!(breaches(&after, &rules, &calendar, NOW), vec![]);
            }
        }
        prop_assert!(it.after.worst <= it.before.worst || it.after.across_regions < it.before.across_regions || it.after.breaches < it.before.breaches);
    }

    #[test]
    fn where_there_is_room_the_share_is_reached(f in fleet(40), percent in 1u32..100) {
        let mut f = f;
        f.paths.iter_mut().for_each(|p| p.ends = 8000);
        let s = one_service(&f);
        let rules = Rules { max_share_percent: Some(percent), ..Rules::default() };
        let it = plan(&s, &rules, &Calendar::open(), NOW);
        let reachable = u64::from(s.len()) * u64::from(percent) >= 100;
        let enough = |targets: u32| u64::from(targets) * 100 <= u64::from(percent) * u64::from(s.len());
        match it.short {
            None => prop_assert!(enough(it.after.worst)),
            Some(why) => {
                prop_assert!(!reachable && why == Short::Targets && it.after.worst <= 1.max(it.before.worst), "{why:?} {:?}", it.after);
            }
        }
    }

    #[test]
    fn breaches_are_what_a_look_at_every_pair_says(f in fleet(25), rules in rules()) {
        let s = one_service(&f);
        let calendar = weekend_and_christmas();
        let found = breaches(&s, &rules, &calendar, NOW);
        let f = &f;
        let of_leaf = |leaf: u8| f.targets.iter().filter(move |t| t.paths.iter().any(|p| f.paths[*p].parts[0] == Some(leaf)));
        // A leaf's dates: those of the first path of it that is served by any target, as groups name it.
        let served: BTreeSet<u8> = f.targets.iter().flat_map(|t| &t.paths).filter_map(|p| f.paths[*p].parts[0]).collect();
        for leaf in served {
            let regions: BTreeSet<u8> = of_leaf(leaf).map(|t| t.place[1]).filter(|r| *r != 0).collect();
            let is = found.iter().any(|b| matches!(b, Breach::SharedAcrossRegions { certificate, .. } if certificate.leaf == print(0, leaf)));
            prop_assert_eq!(is, regions.len() > 1);
            let is = found.iter().any(|b| matches!(b, Breach::TooManyTargets { certificate, .. } if certificate.leaf == print(0, leaf)));
            prop_assert_eq!(is, rules.max_targets_per_certificate.is_some_and(|most| of_leaf(leaf).count() as u64 > most));
        }
        let wide = found.iter().any(|b| matches!(b, Breach::WindowTooWide { .. }));
        let window = |from: Time| f.targets.iter().filter(|t| matches!(t.served(), Served::Until(at) if at > NOW && at >= from && at - from < rules.window())).count();
        let too_wide = f.targets.iter().filter_map(|t| match t.served() { Served::Until(at) if at > NOW => Some(window(at)), _ => None })
            .any(|n| n > 1 && n as u64 * 100 > u64::from(rules.share_percent()) * u64::from(s.len()));
        prop_assert_eq!(wide, too_wide);
    }
}

/// One secret, `targets` in each region, all ending together.
fn together(secrets: u8, regions: u8, targets: u32) -> Snapshot {
    let mut it = Builder::default();
    let mut serves = Vec::new();
    let end = Time::parse("2027-02-22T20:29:53Z").unwrap();
    for secret in 0..secrets {
        let leaf = print(0, secret);
        let until = end + Span::seconds(89 * i64::from(secret));
        let path = it.path(secret.into(), [Some(leaf), Some(leaf), None, None], until - Span::days(365), until);
        for region in 1..=regions {
            for n in 0..targets {
                let stamp = it.stamp(&format!("r{region}-{n}"));
                let place = Place { service: it.service("storage"), region: it.region(&name('r', region)), stamp };
                let number = it.ids().len() as u32;
                it.target(number.into(), secret.into(), place, Served::Until(until));
                serves.push((number, path));
            }
        }
    }
    it.finish(serves)
}

#[test]
fn the_fleet_of_2013_falls_in_one_window_and_would_not_by_the_plan() {
    let now = Time::parse("2027-01-07T10:00:00Z").unwrap();
    let s = together(3, 4, 5);
    let wide = windows(&s, Span::minutes(3), now, Time::NO_EXPIRY);
    assert_eq!((wide.all.len(), wide.all[0].reach.targets, (wide.all[0].last - wide.all[0].from).as_secs()), (1, 60, 178));
    let it = plan(&s, &Rules::default(), &weekend_and_christmas(), now);
    assert_eq!((it.before.worst, it.before.across_regions, it.before.widest), (60, 3, 20));
    assert_eq!((it.short, it.after.across_regions, it.left.len()), (None, 0, 0));
    assert!(it.after.worst <= 6 && it.certificates.len() == 12, "{:?}", it.after);
    let named: Vec<_> = it.certificates.iter().filter(|c| c.secret == 0).map(|c| (c.name.as_str(), c.targets.len())).collect();
    assert_eq!(named, [("secret0-r1-1", 5), ("secret0-r2-1", 5), ("secret0-r3-1", 5), ("secret0-r4-1", 5)]);
    // Once it serves there is nothing left to propose.
    let done = plan(&with(&s, &it.certificates), &Rules::default(), &weekend_and_christmas(), now + DAY);
    assert_eq!((done.certificates.len(), done.short), (0, None));
}

#[test]
fn what_cannot_be_reached_is_said_with_what_can() {
    let now = Time::parse("2027-01-07T10:00:00Z").unwrap();
    let rules = Rules::default();
    let few = plan(&together(1, 2, 2), &rules, &Calendar::open(), now);
    assert_eq!((few.short, few.after.worst, few.certificates.len()), (Some(Short::Targets), 1, 4));
    let done = plan(&with(&together(1, 2, 2), &few.certificates), &rules, &Calendar::open(), now);
    assert_eq!((done.short, done.certificates.len()), (Some(Short::Targets), 0), "it is as good as it gets");

    // Half a year holds two slots that are 80 days apart.
    let rare = Rules { window: Some(Span::days(80)), ..rules.clone() };
    let it = plan(&together(1, 1, 100), &rare, &Calendar::open(), now);
    assert_eq!((it.short, it.after.worst), (Some(Short::Slots), 50));
    let apart = Rules { min_days_between: Some(60), ..rules.clone() };
    let it = plan(&together(1, 30, 1), &apart, &Calendar::open(), now);
    assert_eq!((it.short, it.after.worst <= 30 / 3 + 1), (Some(Short::DaysBetween), true), "{:?}", it.after);

    let never = Freeze { why: "for ever".into(), when: When::Range { from: "2020-01-01".into(), until: None } };
    let it = plan(&together(2, 2, 5), &rules, &Calendar::parse("UTC", &[never]).unwrap(), now);
    assert_eq!((it.left.as_slice(), it.certificates.len()), (&[0, 1][..], 0));
}

#[test]
fn an_end_stays_where_it_is_until_it_is_too_soon() {
    let s = together(1, 1, 1);
    let two_regions = together(1, 2, 1);
    assert!(plan(&s, &Rules::default(), &Calendar::open(), NOW).certificates.is_empty(), "one target cannot be divided");
    let start = Time::parse("2026-06-01T00:00:00Z").unwrap();
    let mut ends: Vec<Time> = Vec::new();
    for day in 0..120 {
        let now = start + Span::days(day);
        let it = plan(&two_regions, &Rules::default(), &Calendar::open(), now + Span::hours(7));
        assert_eq!(it, plan(&two_regions, &Rules::default(), &Calendar::open(), now + Span::hours(23)), "all day the same");
        let end = it.certificates[0].not_after;
        if ends.last().is_some_and(|last| *last != end) {
            let last = ends.last().unwrap();
            assert!(*last - now < Span::hours(24 + 24 + 365 * 12), "it was not too soon: {last} on {now}");
        }
        ends.push(end);
    }
    ends.dedup();
    assert!(ends.len() <= 2, "it moved once at most: {ends:?}");
}
