//! What targets hang on: kept once each, and read as columns.

use crate::{
    harness::{Database, NOW, write},
    model::{a_target, blank},
};
use domain::{
    Fingerprint, Span, Time,
    blast::{By, Path, groups},
    target::Served,
    words::{TargetId, TargetState},
};
use std::collections::BTreeSet;
use store::{
    Store, Tx,
    model::{path, prune, secret, target},
};

fn print(n: u8) -> Fingerprint {
    Fingerprint::from_bytes([n; 32])
}

fn a_path(leaf: u8, issuer: Option<u8>) -> Path {
    Path {
        leaf: print(leaf),
        leaf_key: print(100 + leaf),
        intermediate: issuer.map(print),
        root: None,
        leaf_name: format!("CN=leaf {leaf}"),
        issuer_name: "CN=issuer".into(),
        root_name: String::new(),
        not_before: NOW - Span::days(1),
        not_after: NOW + Span::days(i64::from(leaf)),
    }
}

fn set(store: &Store, target: i64, paths: &[Path]) {
    write(store, |tx| path::replace(tx, TargetId(target), &paths.iter().cloned().collect::<BTreeSet<_>>()));
}

fn of(store: &Store, target: i64) -> Vec<Path> {
    store.read(|tx| path::of_target(tx, TargetId(target))).unwrap()
}

fn count(tx: &mut Tx<'_>, table: &str) -> store::Result<i64> {
    tx.query_one(&format!("SELECT COUNT(*) FROM {table}"), &[])?.int(0)
}

pub(crate) fn a_path_is_kept_once_and_let_go_when_nobody_names_it(database: &Database) {
    let store = database.open();
    let (a, b) = (a_path(1, Some(50)), a_path(2, None));
    set(&store, 1, &[a.clone(), b.clone()]);
    set(&store, 2, std::slice::from_ref(&a));
    assert_eq!((of(&store, 1), of(&store, 2)), (vec![a.clone(), b.clone()], vec![a.clone()]));
    assert_eq!(store.read(|tx| count(tx, "path")).unwrap(), 2);
    let renamed = Path { issuer_name: "CN=other".into(), ..a.clone() };
    set(&store, 1, std::slice::from_ref(&renamed));
    assert_eq!(of(&store, 1), [renamed]);

    let let_go = || {
        let unnamed = store.read(|tx| prune::unnamed_paths(tx, 0, 10)).unwrap();
        write(&store, |tx| unnamed.iter().try_fold(0, |n, id| Ok(n + prune::path(tx, *id)?)))
    };
    assert_eq!(let_go(), 1, "the one without issuer");
    set(&store, 1, &[]);
    set(&store, 2, &[]);
    let unnamed = store.read(|tx| prune::unnamed_paths(tx, 0, 10)).unwrap();
    set(&store, 2, std::slice::from_ref(&a));
    assert_eq!(write(&store, |tx| unnamed.iter().try_fold(0, |n, id| Ok(n + prune::path(tx, *id)?))), 1, "one was named again meanwhile");
    assert_eq!(of(&store, 2), [a]);
}

pub(crate) fn production_as_columns_in_whole_and_for_one_service(database: &Database) {
    let store = database.open();
    let until = |days: i64| Served::Until(NOW + Span::days(days));
    write(&store, |tx| {
        for (id, service) in [(1, "blob"), (2, "queue"), (3, "")] {
            secret::insert(tx, &secret::Secret { service: service.into(), ..blank(id) })?;
        }
        // Number, secret, own service, stamp, state, production, served.
        for (id, secret, service, stamp, state, production, served) in [
            (1, 1, "", "eu-1", TargetState::Active, true, until(10)),
            (2, 1, "table", "eu-1", TargetState::Drained, true, until(20)),
            (3, 2, "", "us-1", TargetState::Active, true, Served::Unknown),
            (4, 1, "", "us-1", TargetState::Standby, true, until(10)),
            (5, 1, "", "us-1", TargetState::Active, false, until(10)),
            (6, 2, "blob", "", TargetState::Active, true, Served::Broken),
            (7, 3, "", "us-2", TargetState::Active, true, until(30)),
            (8, 1, "blob", "us-2", TargetState::Retired, true, until(30)),
        ] {
            let region = stamp.split('-').next().unwrap_or_default().to_owned();
            let mut t = target::Target { service: service.into(), stamp: stamp.into(), served, ..a_target(id, secret) };
            t.facts = domain::words::Target { state, production, region, ..t.facts };
            t.retired_at = (state == TargetState::Retired).then_some(NOW);
            target::put(tx, &t)?;
            let standing = domain::target::Standing { served, ..nothing() };
            target::update_standing(tx, TargetId(id), &standing, 0, None)?;
        }
        Ok(())
    });
    for (target, paths) in [
        (1, vec![a_path(1, Some(50)), a_path(2, Some(50))]),
        (2, vec![a_path(1, Some(50))]),
        (6, vec![a_path(3, None)]),
        (4, vec![a_path(4, None)]),
    ] {
        set(&store, target, &paths);
    }
    let shown = |service: Option<&str>| {
        let s = store.read(|tx| path::snapshot(tx, service)).unwrap();
        let mut targets: Vec<_> = (0..s.len())
            .map(|t| {
                let place = s.place(t);
                let name = |list: &[String], n: u32| list[n as usize].clone();
                let leaves: Vec<u8> = s.paths(t).iter().map(|p| s.leaf(*p).as_bytes()[0]).collect();
                let place =
                    format!("{}/{}/{}", name(s.services(), place.service), name(s.regions(), place.region), name(s.stamps(), place.stamp));
                (s.id(t), s.secret(t), place, s.served(t), leaves)
            })
            .collect();
        targets.sort_by_key(|t| t.0);
        (targets, s)
    };
    let t = |id: i64, secret: i64, place: &str, served: Served, leaves: &[u8]| (id, secret, place.to_owned(), served, leaves.to_vec());
    let (all, s) = shown(None);
    let one = t(1, 1, "blob/eu/eu-1", until(10), &[1, 2]);
    let six = t(6, 2, "blob//", Served::Broken, &[3]);
    let rest = [t(2, 1, "table/eu/eu-1", until(20), &[1]), t(3, 2, "queue/us/us-1", Served::Unknown, &[])];
    assert_eq!(all, [one.clone(), rest[0].clone(), rest[1].clone(), six.clone(), t(7, 3, "/us/us-2", until(30), &[])]);
    let leaves = groups(&s, By::Leaf);
    assert_eq!(leaves.all.iter().map(|g| (g.print, g.reach.targets)).collect::<Vec<_>>(), [(print(1), 2), (print(2), 1), (print(3), 1)]);
    let first = leaves.all[0].path;
    let named = store.read(|tx| path::get(tx, s.path_id(first))).unwrap().unwrap();
    assert_eq!((named.leaf_name.as_str(), s.dates(first)), ("CN=leaf 1", (NOW - Span::days(1), NOW + Span::days(1))));

    let (blob, s) = shown(Some("blob"));
    assert_eq!(blob, [one, six]);
    assert_eq!((s.path_count(), s.services().len()), (3, 2), "nothing of other services is read");
    assert_eq!(shown(Some("table")).0, [rest[0].clone()]);
    assert_eq!(shown(Some("queue")).0, [rest[1].clone()]);
    assert_eq!((shown(Some("none")).0, shown(Some("")).0.len()), (vec![], 0));
}

/// SQLite's plan for what a service's snapshot asks must not walk over the whole table.
#[test]
fn a_service_is_read_by_index() {
    let database = Database::sqlite();
    let store = database.open();
    for half in
        ["t.service = 'blob'", "t.service = '' AND t.secret_id IN (SELECT s.id FROM secret s WHERE s.service <> '' AND s.service = 'blob')"]
    {
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT t.id, t.secret_id, t.service, t.region, t.stamp, t.served_kind, t.served_until FROM target t \
             WHERE t.production = 1 AND t.state IN ('active', 'drained') AND t.retired_at IS NULL AND {half} \
             ORDER BY t.service, t.region, t.stamp, t.id"
        );
        let plan: Vec<String> = store.read(|tx| tx.query(&sql, &[])?.iter().map(|r| Ok(r.text(3)?.to_owned())).collect()).unwrap();
        assert!(plan.iter().all(|step| !step.starts_with("SCAN")), "{plan:?}");
    }
}

fn nothing() -> domain::target::Standing {
    domain::target::Standing {
        served: Served::Unknown,
        ends: None,
        worst: None,
        current: 0,
        required: 0,
        shows: 0,
        settled_since: None::<Time>,
        evidence: Vec::new(),
        findings: Vec::new(),
        lifetime: None,
        next: None,
        paths: BTreeSet::new(),
    }
}
