//! Leases: one holder at a time, and fences that tell a late one.

use domain::Span;
use store::lease::{self, Fence};

use crate::harness::{Database, NOW, write};

const TTL: Span = Span::seconds(30);

pub(crate) fn one_holder_at_a_time_and_fences_grow(database: &Database) {
    let store = database.open();
    let acquire = |holder: &str, after: i64| write(&store, |tx| lease::acquire(tx, "observe", holder, NOW + Span::seconds(after), TTL));
    let guard = |fence, after: i64| write(&store, |tx| lease::guard(tx, "observe", fence, NOW + Span::seconds(after)));
    let renew = |fence, after: i64| write(&store, |tx| lease::renew(tx, "observe", fence, NOW + Span::seconds(after), TTL));

    let first = acquire("a", 0).unwrap();
    assert_eq!(first, Fence(1));
    assert_eq!(acquire("b", 0), None);
    assert_eq!(acquire("b", 29), None, "one second before the end");
    assert!(guard(first, 29));
    assert!(!guard(first, 30), "the end is exclusive");
    assert!(renew(first, 29), "to second 59");
    assert_eq!(acquire("b", 58), None);
    let second = acquire("b", 59).unwrap();
    assert!(second > first);
    assert!(!renew(first, 59) && !guard(first, 59), "the first holder was late");
    // Giving back what is lost takes nothing from the one who has it.
    write(&store, |tx| lease::release(tx, "observe", first));
    assert!(guard(second, 60));
    write(&store, |tx| lease::release(tx, "observe", second));
    assert!(!guard(second, 60));
    let third = acquire("a", 61).unwrap();
    assert!(third > second);
    let fourth = acquire("a", 62).unwrap();
    assert!(fourth > third && !guard(third, 62), "the same name after a restart is a new holding");
    assert!(write(&store, |tx| lease::acquire(tx, "deliver", "b", NOW, TTL)).is_some(), "leases are apart");
}

pub(crate) fn two_processes_never_hold_together(database: &Database) {
    let stores = [database.open(), database.open()];
    let fences: Vec<Option<Fence>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let store = &stores[n % 2];
                scope.spawn(move || write(store, |tx| lease::acquire(tx, "sweep", &format!("holder {n}"), NOW, TTL)))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(fences.iter().flatten().count(), 1, "{fences:?}");
}
