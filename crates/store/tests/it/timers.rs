//! Timers: claimed once, never lost.

use domain::Span;
use store::{Store, timer};

use crate::harness::{Database, NOW, write};

const TTL: Span = Span::seconds(30);

fn claim_one(store: &Store, after: i64) -> Option<timer::Claim> {
    let claims = write(store, |tx| timer::claim(tx, "assess", NOW + Span::seconds(after), "me", TTL, 1));
    claims.first().copied()
}

fn due(store: &Store, subject: i64) -> Option<i64> {
    store.read(|tx| timer::get(tx, "assess", subject)).unwrap().map(|at| (at - NOW).as_secs())
}

pub(crate) fn a_subject_is_claimed_once(database: &Database) {
    const SUBJECTS: i64 = 200;
    let stores = [database.open(), database.open()];
    write(&stores[0], |tx| {
        timer::set(tx, "other", 1, NOW)?;
        timer::set(tx, "assess", SUBJECTS + 1, NOW + Span::seconds(1))?;
        (1..=SUBJECTS).try_for_each(|subject| timer::set(tx, "assess", subject, NOW))
    });
    let mut subjects: Vec<i64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let store = &stores[n % 2];
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    // SKIP LOCKED may hand out nothing while others hold the rest, so an empty answer is not the end.
                    loop {
                        let claims = write(store, |tx| timer::claim(tx, "assess", NOW, &format!("holder {n}"), TTL, 7));
                        assert!(claims.len() <= 7);
                        mine.extend(claims.iter().map(|claim| claim.subject));
                        if store.read(|tx| timer::next_due(tx, "assess", NOW)).unwrap() != Some(NOW) {
                            return mine;
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    subjects.sort_unstable();
    assert_eq!(subjects, (1..=SUBJECTS).collect::<Vec<_>>());
}

pub(crate) fn a_wake_up_during_work_is_not_lost(database: &Database) {
    let store = database.open();
    let set = |after: i64| write(&store, |tx| timer::set_earlier(tx, "assess", 1, NOW + Span::seconds(after)));
    let done = |claim: &timer::Claim, next: Option<i64>| {
        write(&store, |tx| timer::done(tx, "assess", claim, next.map(|after| NOW + Span::seconds(after))))
    };
    set(0);
    let claim = claim_one(&store, 0).unwrap();
    assert_eq!(claim_one(&store, 0), None, "it is claimed");
    assert!(done(&claim, Some(100)));
    assert_eq!(due(&store, 1), Some(100), "undisturbed work decides when it is next");

    for (next, expected) in [(None, 120), (Some(1000), 120), (Some(110), 110)] {
        write(&store, |tx| timer::set(tx, "assess", 1, NOW + Span::seconds(100)));
        let claim = claim_one(&store, 100).unwrap();
        write(&store, |tx| timer::set(tx, "assess", 1, NOW + Span::seconds(120)));
        assert!(done(&claim, next));
        assert_eq!(due(&store, 1), Some(expected), "{next:?}");
    }
    // A wake-up that is no earlier than what was claimed counts too: the work may have read its input before.
    write(&store, |tx| timer::set(tx, "assess", 1, NOW + Span::seconds(100)));
    let claim = claim_one(&store, 105).unwrap();
    set(105);
    assert!(done(&claim, Some(5000)));
    assert_eq!(due(&store, 1), Some(100));
    let claim = claim_one(&store, 105).unwrap();
    assert!(done(&claim, None));
    assert_eq!(due(&store, 1), None);
    assert_eq!(claim_one(&store, 1_000_000), None, "nothing wakes it");
    set(7);
    assert_eq!(due(&store, 1), Some(7), "somebody wakes it again");
    write(&store, |tx| timer::clear(tx, "assess", 1));
    assert_eq!(due(&store, 1), None);
}

pub(crate) fn a_claim_that_ran_out_changes_nothing(database: &Database) {
    let store = database.open();
    write(&store, |tx| timer::set(tx, "assess", 1, NOW));
    let late = claim_one(&store, 0).unwrap();
    assert_eq!(claim_one(&store, 29), None);
    let current = claim_one(&store, 30).unwrap();
    assert!(!write(&store, |tx| timer::done(tx, "assess", &late, None)));
    assert_eq!(due(&store, 1), Some(0));
    assert!(write(&store, |tx| timer::done(tx, "assess", &current, None)));
    assert!(!write(&store, |tx| timer::done(tx, "assess", &late, Some(NOW))));
    assert_eq!(due(&store, 1), None);
}

pub(crate) fn a_plan_forgets_no_wake_up(database: &Database) {
    let store = database.open();
    let at = |after: i64| NOW + Span::seconds(after);
    let mark = || store.read(|tx| timer::mark(tx, "assess", 1)).unwrap();
    // What decides first and hears of nothing, plans as it likes: earlier, later, never.
    let first = mark();
    write(&store, |tx| timer::plan(tx, "assess", 1, Some(at(50)), first));
    for (next, expected) in [(Some(10), Some(10)), (Some(90), Some(90)), (None, None), (Some(40), Some(40))] {
        let undisturbed = mark();
        write(&store, |tx| timer::plan(tx, "assess", 1, next.map(at), undisturbed));
        assert_eq!(due(&store, 1), expected);
    }
    // What is woken while it decides stays due, and is never planned later than it decided.
    for (next, expected) in [(Some(30), 20), (None, 20), (Some(10), 10)] {
        let before = mark();
        write(&store, |tx| timer::set(tx, "assess", 1, at(20)));
        write(&store, |tx| timer::plan(tx, "assess", 1, next.map(at), before));
        assert_eq!(due(&store, 1), Some(expected), "{next:?}");
    }
    // Who holds the claim is not disturbed by a plan: it is no wake-up.
    let claim = claim_one(&store, 20).unwrap();
    let inside = mark();
    write(&store, |tx| timer::plan(tx, "assess", 1, Some(at(70)), inside));
    assert!(write(&store, |tx| timer::done(tx, "assess", &claim, Some(at(500)))));
    assert_eq!(due(&store, 1), Some(500));
}

pub(crate) fn a_holder_that_keeps_no_claim_loses_no_wake_up(database: &Database) {
    let store = database.open();
    let at = |after: i64| NOW + Span::seconds(after);
    let done = |next: Option<i64>| write(&store, |tx| timer::done_by(tx, "assess", 1, "me", next.map(at)));
    write(&store, |tx| timer::set(tx, "assess", 1, at(0)));
    claim_one(&store, 0).unwrap();
    done(Some(100));
    assert_eq!(due(&store, 1), Some(100), "undisturbed");
    assert!(claim_one(&store, 100).is_some(), "and free again");
    write(&store, |tx| timer::set_earlier(tx, "assess", 1, at(101)));
    done(Some(5000));
    assert_eq!(due(&store, 1), Some(100), "somebody woke it while it was claimed");
    done(Some(9000));
    assert_eq!(due(&store, 1), Some(100), "a second report of a claim that is over makes nothing later");
    done(None);
    assert_eq!(due(&store, 1), Some(100));
    claim_one(&store, 100).unwrap();
    done(None);
    assert_eq!(due(&store, 1), None);
}

pub(crate) fn the_longest_due_comes_first(database: &Database) {
    let store = database.open();
    for (subject, after) in [(5, 3), (4, 1), (3, 1), (2, 2), (1, 9)] {
        write(&store, |tx| timer::set(tx, "assess", subject, NOW + Span::seconds(after)));
    }
    let next =
        |after: i64| store.read(|tx| timer::next_due(tx, "assess", NOW + Span::seconds(after))).unwrap().map(|at| (at - NOW).as_secs());
    assert_eq!(next(0), Some(1));
    let claims = write(&store, |tx| timer::claim(tx, "assess", NOW + Span::seconds(5), "me", TTL, 3));
    assert_eq!(claims.iter().map(|claim| claim.subject).collect::<Vec<_>>(), [3, 4, 2]);
    assert_eq!(next(5), Some(3), "what is claimed does not count");
    assert_eq!(next(35), Some(1), "unless its claim ran out");
}
