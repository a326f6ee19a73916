//! The journal: what is written, and what is found when it is not what was written.

use domain::Span;
use serde_json::json;
use store::journal::{self, Entry, Head, Problem, Report};
use store::{Actor, Store, StoreError, Value};

use crate::harness::{Database, NOW, actor, write};

fn note(store: &Store, n: i64) {
    write(store, |tx| tx.journal(Entry::new("item.added", format!("item/{n}"), "because", &json!({ "n": n }))));
}

fn verify(store: &Store, noted: &[Head]) -> Report {
    store.read(|tx| journal::verify(tx, noted)).unwrap()
}

fn head(store: &Store) -> Head {
    store.read(journal::head).unwrap()
}

pub(crate) fn entries_carry_who_when_what_and_why(database: &Database) {
    let store = database.open();
    assert_eq!(verify(&store, &[]).entries, 0);
    let who = Actor::new("https://login.example", "ada");
    store
        .write(&who, NOW + Span::seconds(1), |tx| {
            tx.journal(Entry::new("secret.stored", "secret/web", "renewed", &json!({"b": 1, "a": "ü"})))?;
            tx.journal(Entry::new("target.added", "target/7", "", &json!({})))
        })
        .unwrap();
    let rows = store
        .read(|tx| {
            tx.query(
                "SELECT epoch, seq, at, actor_issuer, actor_subject, action, subject, reason, body FROM journal ORDER BY epoch, seq",
                &[],
            )
        })
        .unwrap();
    let entry = |seq: i64, action: &str, subject: &str, reason: &str, body: &str| -> Vec<Value> {
        let texts = [who.issuer.as_str(), &who.subject, action, subject, reason, body];
        [1.into(), seq.into(), (NOW + Span::seconds(1)).into()].into_iter().chain(texts.map(Value::from)).collect()
    };
    assert_eq!(rows[0].values(), entry(1, "secret.stored", "secret/web", "renewed", r#"{"a":"ü","b":1}"#));
    assert_eq!(rows[1].values(), entry(2, "target.added", "target/7", "", "{}"));
    let report = verify(&store, &[head(&store)]);
    assert_eq!((report.entries, report.problem_count, report.head.seq), (2, 0, 2));

    let long = Entry::new("a", "b", "x".repeat(journal::MAX_FIELD + 1), &json!(null));
    let error = store.write(&who, NOW, |tx| tx.journal(long.clone())).unwrap_err();
    assert!(error.to_string().contains("reason"), "{error}");
    let long = Entry::new("a", "b", "", &json!("x".repeat(journal::MAX_BODY)));
    store.write(&who, NOW, |tx| tx.journal(long.clone())).unwrap_err();
}

pub(crate) fn a_rollback_leaves_no_entry(database: &Database) {
    let store = database.open();
    note(&store, 1);
    let before = head(&store);
    let undone: Result<(), StoreError> = store.write(&actor(), NOW, |tx| {
        tx.journal(Entry::new("a", "b", "", &json!(null)))?;
        Err(StoreError::other("undo"))
    });
    undone.unwrap_err();
    assert_eq!(head(&store), before);
    assert_eq!(verify(&store, &[]).problems, []);
}

pub(crate) fn concurrent_writers_make_one_chain(database: &Database) {
    let store = database.open();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || (0..15).for_each(|n| note(store, thread * 100 + n)));
        }
    });
    let report = verify(&store, &[]);
    assert_eq!((report.entries, report.problems), (60, vec![]));
}

pub(crate) fn every_kind_of_tampering_is_found(database: &Database) {
    let store = database.open();
    (1..=6).for_each(|n| note(&store, n));
    let first = head(&store);
    assert_eq!(verify(&store, &[]).problems, []);

    // Each is done by somebody who can write the database, and taken back before the next one.
    let tampered = |sql: &[&str]| -> Vec<Problem> {
        let found = store.write(&actor(), NOW, |tx| {
            for statement in sql {
                assert_ne!(tx.execute(statement, &[])?, 0, "{statement} changed nothing");
            }
            let report = journal::verify(tx, std::slice::from_ref(&first))?;
            assert_eq!(report.problem_count, report.problems.len() as u64);
            Err::<(), _>(StoreError::other(format!("{:?}", report.problems)))
        });
        let told = found.unwrap_err().to_string();
        // The report comes out of the rolled back transaction as text; what it must hold is compared below.
        ALL.iter().filter(|problem| told.contains(&format!("{problem:?}"))).cloned().collect()
    };
    const ALL: &[Problem] = &[
        Problem::Changed { epoch: 1, seq: 3 },
        Problem::Changed { epoch: 1, seq: 4 },
        Problem::Changed { epoch: 1, seq: 6 },
        Problem::Missing { epoch: 1, first: 1, last: 1 },
        Problem::Missing { epoch: 1, first: 3, last: 4 },
        Problem::Reordered { epoch: 1, seq: 3 },
        Problem::Reordered { epoch: 1, seq: 4 },
        Problem::Reordered { epoch: 1, seq: 5 },
        Problem::Truncated { found: 4, written: 6 },
        Problem::Truncated { found: 0, written: 6 },
        Problem::Head,
        Problem::NotAsNoted { epoch: 1, seq: 6 },
        Problem::Fork { epoch: 2, seq: 7, why: "no restore was written down there" },
        Problem::Fork { epoch: 2, seq: 5, why: "the epoch before goes on beside it" },
    ];
    let changed = [Problem::Changed { epoch: 1, seq: 3 }];
    for field in ["actor_issuer", "actor_subject", "action", "subject", "reason", "body"] {
        assert_eq!(tampered(&[&format!("UPDATE journal SET {field} = 'x' WHERE seq = 3")]), changed, "{field}");
    }
    assert_eq!(tampered(&["UPDATE journal SET at = at + 1 WHERE seq = 3"]), changed);
    // Body and reason moved against each other.
    assert_eq!(tampered(&["UPDATE journal SET reason = reason || body, body = '' WHERE seq = 3"]), changed);
    assert_eq!(
        tampered(&["UPDATE journal SET hash = prev WHERE seq = 3"]),
        [Problem::Changed { epoch: 1, seq: 3 }, Problem::Reordered { epoch: 1, seq: 4 }]
    );
    assert_eq!(tampered(&["DELETE FROM journal WHERE seq IN (3, 4)"]), [Problem::Missing { epoch: 1, first: 3, last: 4 }]);
    assert_eq!(tampered(&["DELETE FROM journal WHERE seq = 1"]), [Problem::Missing { epoch: 1, first: 1, last: 1 }]);
    assert_eq!(
        tampered(&["DELETE FROM journal WHERE seq > 4"]),
        [Problem::Truncated { found: 4, written: 6 }, Problem::NotAsNoted { epoch: 1, seq: 6 }]
    );
    assert_eq!(tampered(&["DELETE FROM journal"]), [Problem::Truncated { found: 0, written: 6 }, Problem::NotAsNoted { epoch: 1, seq: 6 }]);
    // Three and four change places.
    assert_eq!(
        tampered(&[
            "UPDATE journal SET seq = -3 WHERE seq = 3",
            "UPDATE journal SET seq = 3 WHERE seq = 4",
            "UPDATE journal SET seq = 4 WHERE seq = -3",
        ]),
        [
            Problem::Changed { epoch: 1, seq: 3 },
            Problem::Changed { epoch: 1, seq: 4 },
            Problem::Reordered { epoch: 1, seq: 3 },
            Problem::Reordered { epoch: 1, seq: 4 },
            Problem::Reordered { epoch: 1, seq: 5 },
        ]
    );
    // A gap that is closed by numbering anew: nothing fits any more from there.
    let closed = tampered(&["DELETE FROM journal WHERE seq = 3", "UPDATE journal SET seq = 3 WHERE seq = 4"]);
    assert!(closed.contains(&Problem::Changed { epoch: 1, seq: 3 }) && closed.contains(&Problem::Reordered { epoch: 1, seq: 3 }));
    // The tail is cut off and the head set back to fit: the head that was noted elsewhere knows.
    assert_eq!(
        tampered(&["DELETE FROM journal WHERE seq > 4", "UPDATE store_head SET seq = 4, hash = (SELECT hash FROM journal WHERE seq = 4)",]),
        [Problem::NotAsNoted { epoch: 1, seq: 6 }]
    );
    assert_eq!(tampered(&["UPDATE store_head SET hash = (SELECT hash FROM journal WHERE seq = 5)"]), [Problem::Head]);
    // An entry of a new epoch that no restore began, and one beside the end of the epoch before.
    let copy = |seq: i64| {
        format!(
            "INSERT INTO journal (epoch, seq, at, actor_issuer, actor_subject, action, subject, reason, body, prev, hash)
             SELECT 2, {seq}, at, actor_issuer, actor_subject, action, subject, reason, body, prev, hash FROM journal WHERE seq = 6"
        )
    };
    assert!(tampered(&[&copy(7)]).contains(&ALL[12]));
    assert!(tampered(&[&copy(5)]).contains(&ALL[13]));

    assert_eq!(verify(&store, &[first]).problems, [], "the tampering was taken back");
}

pub(crate) fn an_older_backup_is_found_and_a_declared_restore_is_not_blamed(database: &Database) {
    let store = database.open();
    (1..=3).for_each(|n| note(&store, n));
    let at_backup = head(&store);
    (4..=5).for_each(|n| note(&store, n));
    let lost = head(&store);
    // What a backup of back then looks like when it is put in place.
    write(&store, |tx| {
        tx.execute("DELETE FROM journal WHERE seq > 3", &[])?;
        tx.execute("UPDATE store_head SET seq = 3, hash = $1", &[at_backup.hash.into()])
    });
    let noted = [at_backup.clone(), lost.clone()];
    assert_eq!(verify(&store, &noted).problems, [Problem::NotAsNoted { epoch: 1, seq: 5 }]);

    let epoch = write(&store, |tx| journal::begin_epoch(tx, "restored after the fire"));
    assert_eq!(epoch, 2);
    note(&store, 6);
    let report = verify(&store, &noted);
    assert_eq!((report.problems, report.given_up, report.entries), (vec![], vec![lost], 5));
    assert_eq!((report.head.epoch, report.head.seq), (2, 5));

    // Somebody goes on writing the former life into the same table: two branches from entry 3.
    write(&store, |tx| {
        tx.execute(
            "INSERT INTO journal (epoch, seq, at, actor_issuer, actor_subject, action, subject, reason, body, prev, hash)
             SELECT 1, 4, at, actor_issuer, actor_subject, action, subject, reason, body, prev, hash FROM journal WHERE seq = 4",
            &[],
        )
    });
    let problems = verify(&store, &[]).problems;
    assert!(problems.iter().any(|problem| matches!(problem, Problem::Fork { epoch: 2, seq: 4, .. })), "{problems:?}");
}
