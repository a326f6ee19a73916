//! What the forecast reads and keeps.

use domain::{
    Fingerprint, Span, Time,
    finding::End,
    forecast::{
        Cause,
        breach::{Breach, Remembered},
    },
    policy::Thresholds,
    release::{Release, Status},
    target::{Served, Standing},
    words::{ReleaseId, SecretId, TargetId, TargetState},
};
use store::{
    Store,
    model::{
        forecast,
        release::{self, Item, What},
        secret, target,
    },
};

use crate::{
    harness::{Database, NOW, write},
    model::{a_target, blank},
};

fn fp(n: u8) -> Fingerprint {
    Fingerprint::from_bytes([n; 32])
}

fn standing(served: Served, position: usize) -> Standing {
    let end =
        End { about: fp(position as u8), position, until: NOW, thresholds: Thresholds::for_leaf(Span::days(90)), lifetime: Span::days(90) };
    Standing {
        served,
        worst: None,
        ends: (position < 9).then_some(end),
        current: 1,
        required: 1,
        shows: 0,
        settled_since: None,
        evidence: Vec::new(),
        findings: Vec::new(),
        lifetime: None,
        next: None,
        paths: Default::default(),
    }
}

/// Targets of two secrets: (number, secret, region, served, place of what ends).
fn filled(store: &Store) {
    let at = |days| Served::Until(NOW + Span::days(days));
    let all = [
        (1, 1, "eu", at(30), 0),
        (2, 1, "eu", at(20), 1),
        (3, 1, "us", Served::Broken, 0),
        (4, 1, "us", at(10), 9),
        (5, 1, "", Served::Unknown, 9),
        (6, 2, "eu", at(5), 0),
        (7, 1, "eu", at(20), 1),
        // Not production, standby, and retired.
        (8, 1, "asia", at(1), 0),
        (9, 1, "asia", at(1), 0),
        (10, 1, "asia", at(1), 0),
    ];
    write(store, |tx| (1..=3).try_for_each(|id| secret::insert(tx, &blank(id))));
    write(store, |tx| {
        for (id, secret, region, served, position) in all {
            let mut t = a_target(id, secret);
            t.facts.region = region.into();
            t.facts.production = id != 8;
            t.retired_at = (id == 10).then_some(NOW);
            if id == 9 {
                t.facts.state = TargetState::Standby;
            }
            target::put(tx, &t)?;
            target::update_standing(tx, TargetId(id), &standing(served, position), 0, None)?;
        }
        Ok(())
    });
}

pub(crate) fn the_first_of_each_region_and_all_in_order(database: &Database) {
    let store = database.open();
    filled(&store);
    store
        .read(|tx| {
            let mut regions = Vec::new();
            while let Some(next) = forecast::region_after(tx, SecretId(1), regions.last().map(String::as_str))? {
                regions.push(next);
            }
            assert_eq!(regions, ["", "eu", "us"]);
            let mut first = |region: &str, kind, behind| -> store::Result<Option<(i64, Option<Cause>)>> {
                Ok(forecast::first_in_region(tx, SecretId(1), region, kind, behind)?.map(|s| (s.id.0, s.cause)))
            };
            let cause = |n: u8| Some(Cause { about: fp(n), position: n.into(), lifetime: Span::days(90) });
            assert_eq!(first("eu", 2, NOW)?, Some((2, cause(1))));
            assert_eq!(first("eu", 2, NOW + Span::days(20))?, Some((1, cause(0))));
            assert_eq!(first("eu", 2, NOW + Span::days(30))?, None);
            assert_eq!(first("eu", 0, NOW)?, None);
            assert_eq!(first("us", 1, NOW)?, Some((3, cause(0))));
            assert_eq!(first("us", 2, NOW)?, Some((4, None)));
            assert_eq!(first("", 0, NOW)?, Some((5, None)));
            assert_eq!(first("asia", 2, NOW)?, None);

            let mut all = Vec::new();
            forecast::each_between(tx, SecretId(i64::MIN), SecretId(i64::MAX), |s| {
                assert!(s.current);
                all.push((s.id.0, s.served));
                Ok(())
            })?;
            assert_eq!(all.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [5, 2, 7, 1, 3, 4, 6]);
            let mut some = Vec::new();
            forecast::each_between(tx, SecretId(1), SecretId(2), |s| {
                some.push(s.id.0);
                Ok(())
            })?;
            assert_eq!(some, [6]);
            assert_eq!(forecast::production(tx)?, (7, 2));
            assert_eq!(
                forecast::owners(tx, SecretId(1), 5)?.iter().map(|o| (o.id.0, o.automatic)).collect::<Vec<_>>(),
                [(2, false), (3, false)]
            );
            if database.url.starts_with("sqlite") {
                // A million targets are read from the index alone.
                let plan = tx.query(&format!("EXPLAIN QUERY PLAN {}", forecast::EACH), &[1.into(), 2.into()])?;
                let plan: Vec<_> = plan.iter().map(|r| r.text(3).unwrap().to_owned()).collect();
                assert!(plan.len() == 1 && plan[0].contains("USING COVERING INDEX target_by_region"), "{plan:?}");
            }
            Ok(())
        })
        .unwrap();
}

pub(crate) fn what_was_said_comes_back(database: &Database) {
    let store = database.open();
    let full = Remembered {
        breaks_at: Some(NOW),
        about: Some(fp(7)),
        position: Some(1),
        rests_on: Some(4),
        served_until: Some(NOW - Span::days(1)),
        first_at: NOW,
        unknown: true,
        breach: Some(Breach { instead_of: None, rescue: "nothing".into() }),
        next: Some(NOW + Span::days(1)),
    };
    let empty = Remembered {
        breaks_at: None,
        about: None,
        position: None,
        rests_on: None,
        served_until: None,
        unknown: false,
        breach: None,
        next: None,
        ..full.clone()
    };
    write(&store, |tx| {
        forecast::put(tx, SecretId(1), "us", &empty, NOW)?;
        forecast::put(tx, SecretId(1), "eu", &empty, NOW)?;
        forecast::put(tx, SecretId(1), "eu", &full, NOW)?;
        forecast::put(tx, SecretId(3), "", &full, NOW)
    });
    let of = |first, last| store.read(|tx| forecast::of_between(tx, SecretId(first), SecretId(last))).unwrap();
    assert_eq!(of(1, 2)[&SecretId(1)], [("eu".to_owned(), full.clone()), ("us".to_owned(), empty)]);
    assert_eq!(of(1, 3).len(), 2);
    write(&store, |tx| forecast::forget(tx, SecretId(1), "us"));
    assert_eq!(of(1, 1)[&SecretId(1)].len(), 1);
    write(&store, |tx| forecast::forget_all(tx, SecretId(1)));
    assert!(of(1, 2).is_empty());
}

pub(crate) fn what_is_on_its_way(database: &Database) {
    let store = database.open();
    write(&store, |tx| {
        for id in 1..=3 {
            secret::insert(tx, &blank(id))?;
            for version in 1..=3 {
                let n = id * 10 + version;
                secret::insert_instance(
                    tx,
                    &secret::Instance {
                        id: n,
                        secret: SecretId(id),
                        version,
                        scope: "all".into(),
                        key_type: "ecdsa".into(),
                        leaf: fp(n as u8),
                        key: fp(n as u8),
                        not_before: NOW,
                        not_after: NOW + Span::days(n),
                        subject: String::new(),
                        issuer: String::new(),
                        chain: Vec::new(),
                    },
                )?;
            }
        }
        Ok(())
    });
    // Release 1 goes on, 2 has ended; of release 1 secret 2 is observed, and of 3 only a key was found.
    let item = |id, release, secret, version, observed| Item {
        id,
        release: ReleaseId(release),
        what: if version > 0 { What::Version } else { What::Key },
        secret: Some(SecretId(secret)),
        version,
        leaf: None,
        not_after: None,
        subject: String::new(),
        path: String::new(),
        added_at: NOW,
        observed_at: observed,
        waited: true,
    };
    write(&store, |tx| {
        for id in [1, 2] {
            let release = Release {
                id: ReleaseId(id),
                service: "storage".into(),
                build: id.to_string(),
                train: String::new(),
                place: 0,
                status: Status::Planned,
                created_at: NOW,
                earliest_at: NOW,
                planned_at: NOW,
                first_planned_at: NOW,
                built_at: None,
                deployed_at: None,
                observed_at: None,
                ended_at: None,
                stages: Vec::new(),
            };
            release::insert(tx, &release)?;
            let items: [(i64, i64, Option<Time>); 3] = [(1, 2, None), (2, 2, Some(NOW)), (3, 0, None)];
            for (secret, version, observed) in items {
                release::insert_item(tx, &item(id * 10 + secret, id, secret, version, observed))?;
            }
            // Said twice: found at two places of the build.
            release::insert_item(tx, &item(id * 10 + 4, id, 1, 2, None))?;
            if id == 2 {
                release::update(tx, &Release { ended_at: Some(NOW), ..release })?;
            }
        }
        Ok(())
    });
    store
        .read(|tx| {
            let items = forecast::carried_between(tx, SecretId(0), SecretId(9))?;
            assert_eq!(items.iter().map(|i| (i.secret.0, i.release, i.version)).collect::<Vec<_>>(), [(1, 1, 2)]);
            let leaves = forecast::leaves_between(tx, SecretId(0), SecretId(9))?;
            let shape: Vec<_> = leaves.iter().map(|l| (l.secret.0, l.version, l.leaf, l.not_after)).collect();
            assert_eq!(shape, [(1, 2, fp(12), NOW + Span::days(12))]);
            assert_eq!(forecast::carried_between(tx, SecretId(1), SecretId(9))?, []);
            Ok(())
        })
        .unwrap();
}

pub(crate) fn what_hangs_on_the_same_is_counted_together(database: &Database) {
    let store = database.open();
    filled(&store);
    write(&store, |tx| {
        let mut s = secret::get(tx, SecretId(2))?.unwrap();
        (s.validation, s.dns_provider, s.service) = ("dns-01".into(), "example-dns".into(), "mail".into());
        secret::update_declaration(tx, &s)
    });
    store
        .read(|tx| {
            let alike = store::model::spof::alike(tx)?;
            let shape: Vec<_> =
                alike.iter().map(|a| (a.service.as_str(), a.region.as_str(), a.validation.as_str(), a.vantages.len(), a.targets)).collect();
            assert_eq!(shape, [("", "", "", 1, 1), ("", "eu", "", 1, 3), ("", "us", "", 1, 2), ("mail", "eu", "dns-01", 1, 1)]);
            let under = store::model::spof::under(tx)?;
            let shape: Vec<_> = under.iter().map(|u| (u.service.as_str(), u.issuer.as_str(), u.targets)).collect();
            assert_eq!(shape, [("", "", 6), ("mail", "", 1)]);
            Ok(())
        })
        .unwrap();
}
