//! Values, rules, isolation and rollback.

use std::panic::{AssertUnwindSafe, catch_unwind};

use store::{Rule, Store, StoreError, Value};

use crate::harness::{Database, NOW, actor, count_up, write};

/// A table whose types both databases know.
fn table(store: &Store) {
    write(store, |tx| {
        tx.execute(
            "CREATE TABLE item (id BIGINT PRIMARY KEY, name VARCHAR(99) NOT NULL UNIQUE, n BIGINT CHECK (n < 1000000),
             parent BIGINT REFERENCES item (id))",
            &[],
        )
    });
}

fn insert(store: &Store, id: i64, name: &str, n: i64) -> Result<u64, StoreError> {
    store.write(&actor(), NOW, |tx| tx.execute("INSERT INTO item (id, name, n) VALUES ($1, $2, $3)", &[id.into(), name.into(), n.into()]))
}

fn count(store: &Store) -> i64 {
    store.read(|tx| tx.query_one("SELECT count(*) FROM item", &[])?.int(0)).unwrap()
}

pub(crate) fn values_come_back_as_they_were(database: &Database) {
    let store = database.open();
    let texts = ["", "plain", "zwölf Boxkämpfer ✓ 🦀", "'; DROP TABLE lease; --", "\u{202e}right to left\u{1b}[31m"];
    let numbers = [i64::MIN, -1, 0, 1, i64::MAX];
    let all: Vec<u8> = (0..=255).collect();
    for (i, text) in texts.into_iter().enumerate() {
        let n = numbers[i];
        write(&store, |tx| {
            tx.execute("INSERT INTO lease (name, holder, held_until, fence) VALUES ($1, $1, $2, $2)", &[text.into(), n.into()])
        });
        let row = store.read(|tx| tx.query_one("SELECT holder, held_until FROM lease WHERE name = $1", &[text.into()])).unwrap();
        assert_eq!(row.values(), [Value::from(text), n.into()]);
    }
    let bytes = |bytes: &[u8]| {
        write(&store, |tx| tx.execute("UPDATE store_head SET hash = $1", &[bytes.into()]));
        store.read(|tx| Ok(tx.query_one("SELECT hash FROM store_head", &[])?.bytes(0)?.to_vec())).unwrap()
    };
    assert_eq!(bytes(&all), all);
    assert_eq!(bytes(&[]), [0u8; 0]);
    let nul = store.read(|tx| tx.query("SELECT 1 FROM lease WHERE name = $1", &["a\0b".into()])).unwrap_err();
    assert!(nul.to_string().contains("NUL"), "{nul}");
    let null = store.read(|tx| tx.query_one("SELECT MAX(due_at) FROM timer", &[])?.opt_int(0)).unwrap();
    assert_eq!(null, None);
}

pub(crate) fn parameters_go_by_number(database: &Database) {
    let store = database.open();
    let row = store
        .read(|tx| {
            tx.query_one(
                "SELECT CAST($2 AS BIGINT) - CAST($1 AS BIGINT), CAST($3 AS TEXT), CAST($1 AS BIGINT)",
                &[1.into(), 10.into(), "three".into()],
            )
        })
        .unwrap();
    assert_eq!(row.values(), [Value::Int(9), "three".into(), Value::Int(1)]);
    for params in [vec![], vec![Value::Int(1), Value::Int(2)]] {
        let error = store.read(|tx| tx.query("SELECT n FROM counter WHERE n = $1", &params)).unwrap_err();
        assert!(error.to_string().contains("parameters"), "{error}");
    }
}

pub(crate) fn aggregates_are_integers(database: &Database) {
    let store = database.open();
    table(&store);
    for i in 1..=3 {
        insert(&store, i, &format!("item {i}"), 100_000 + i).unwrap();
    }
    let row =
        store.read(|tx| tx.query_one("SELECT SUM(n), COUNT(*), MIN(n), SUM(-n), SUM(n) FILTER (WHERE n < 0) FROM item", &[])).unwrap();
    assert_eq!(row.values(), [Value::Int(300_006), Value::Int(3), Value::Int(100_001), Value::Int(-300_006), Value::Null]);
    let there = store.read(|tx| tx.query_one("SELECT EXISTS (SELECT 1 FROM item WHERE n < 0)", &[])?.bool(0)).unwrap();
    assert!(!there);
}

pub(crate) fn text_is_ordered_by_its_bytes(database: &Database) {
    let store = database.open();
    let mut names = vec!["a", "B", "_", "Z", "ä", "z", "A", "-", "10", "9", "a-b", "ab", "🦀"];
    for name in &names {
        write(&store, |tx| count_up(tx, name));
    }
    let listed = store.read(|tx| tx.query("SELECT name FROM counter ORDER BY name", &[])).unwrap();
    names.sort_unstable();
    assert_eq!(listed.iter().map(|row| row.text(0).unwrap()).collect::<Vec<_>>(), names);
    let after = store.read(|tx| tx.query_one("SELECT COUNT(*) FROM counter WHERE name > $1", &["a".into()])?.int(0)).unwrap();
    assert_eq!(after, names.iter().filter(|name| **name > "a").count() as i64);
}

pub(crate) fn big_blobs_are_kept(database: &Database) {
    let store = database.open();
    let blob: Vec<u8> = (0..16 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    write(&store, |tx| tx.execute("UPDATE store_head SET hash = $1", &[blob.clone().into()]));
    let same = store.read(|tx| Ok(tx.query_one("SELECT hash FROM store_head", &[])?.bytes(0)? == blob)).unwrap();
    assert!(same);
}

pub(crate) fn an_error_rolls_back(database: &Database) {
    let store = database.open();
    table(&store);
    let result: Result<(), StoreError> = store.write(&actor(), NOW, |tx| {
        tx.execute("INSERT INTO item (id, name) VALUES (1, 'a')", &[])?;
        Err(StoreError::other("changed my mind"))
    });
    assert_eq!(result, Err(StoreError::other("changed my mind")));
    assert_eq!(count(&store), 0);
    insert(&store, 1, "a", 1).unwrap();
    assert_eq!(count(&store), 1);
}

pub(crate) fn a_panic_rolls_back(database: &Database) {
    let store = database.open();
    table(&store);
    for _ in 0..20 {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            store.write(&actor(), NOW, |tx| -> store::Result<()> {
                tx.execute("INSERT INTO item (id, name) VALUES (1, 'a')", &[])?;
                std::panic::resume_unwind(Box::new("a defect"))
            })
        }));
        assert!(panicked.is_err());
    }
    assert_eq!(count(&store), 0);
    insert(&store, 1, "a", 1).unwrap();
    assert_eq!(count(&store), 1);
}

pub(crate) fn a_failed_statement_dooms_its_transaction(database: &Database) {
    let store = database.open();
    table(&store);
    insert(&store, 1, "a", 1).unwrap();
    let result = store.write(&actor(), NOW, |tx| {
        tx.execute("INSERT INTO item (id, name) VALUES (2, 'b')", &[])?;
        let failed = tx.execute("INSERT INTO item (id, name) VALUES (3, 'a')", &[]);
        assert!(failed.unwrap_err().is_unique_violation());
        Ok(())
    });
    assert!(result.unwrap_err().to_string().contains("item.name"));
    assert_eq!(count(&store), 1, "the insert before the failure stayed");
}

pub(crate) fn a_broken_rule_is_named(database: &Database) {
    let store = database.open();
    table(&store);
    insert(&store, 1, "a", 1).unwrap();
    let broken = |sql: &str| match store.write(&actor(), NOW, |tx| tx.execute(sql, &[])) {
        Err(StoreError::Conflict { kind, constraint }) => (kind, constraint),
        other => panic!("{sql}: {other:?}"),
    };
    assert_eq!(broken("INSERT INTO item (id, name) VALUES (2, 'a')"), (Rule::Unique, "item.name".into()));
    assert_eq!(broken("INSERT INTO item (id, name) VALUES (1, 'x')"), (Rule::Unique, "item.id".into()));
    let pair = "INSERT INTO timer (loop, subject, wakes, claimed_until, claimed_by, fence) VALUES ('l', 1, 0, 0, '', 0)";
    write(&store, |tx| tx.execute(pair, &[]));
    assert_eq!(broken(pair), (Rule::Unique, "timer.loop, timer.subject".into()));
    assert_eq!(broken("INSERT INTO item (id) VALUES (2)"), (Rule::Check, "item.name".into()));
    assert_eq!(broken("INSERT INTO item (id, name, n) VALUES (2, 'b', 1000000)").0, Rule::Check);
    assert_eq!(broken("INSERT INTO item (id, name, parent) VALUES (2, 'b', 77)").0, Rule::Reference);
    let error = store.write(&actor(), NOW, |tx| tx.execute("UPDATE nowhere SET x = 1", &[])).unwrap_err();
    assert!(matches!(&error, StoreError::Other { what } if what.contains("nowhere")), "{error}");
}

pub(crate) fn a_reader_cannot_write(database: &Database) {
    let store = database.open();
    store.read(|tx| tx.next_id("token")).unwrap_err();
    store.read(|tx| tx.turn("x")).unwrap_err();
    let entry = store::journal::Entry::new("a", "b", "", &serde_json::Value::Null);
    store.read(|tx| tx.journal(entry.clone())).unwrap_err();
    assert_eq!(write(&store, |tx| count_up(tx, "x")), 1);
}

pub(crate) fn a_reader_sees_one_moment(database: &Database) {
    let store = database.open();
    table(&store);
    insert(&store, 1, "a", 1).unwrap();
    let seen = store
        .read(|tx| {
            let before = tx.query_one("SELECT count(*) FROM item", &[])?.int(0)?;
            insert(&store, 2, "b", 2)?;
            assert_eq!(count(&store), 2, "a later reader sees the new row");
            Ok((before, tx.query_one("SELECT count(*) FROM item", &[])?.int(0)?))
        })
        .unwrap();
    assert_eq!(seen, (1, 1));
}

pub(crate) fn writers_serialise_on_the_row_of_their_subject(database: &Database) {
    const WRITERS: i64 = 6;
    const ROUNDS: i64 = 30;
    let store = database.open();
    table(&store);
    insert(&store, 1, "subject", 0).unwrap();
    insert(&store, 2, "input", 0).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    write(&store, |tx| {
                        tx.query_one("UPDATE item SET n = n + 1 WHERE id = 1 RETURNING n", &[])?;
                        // Read, think, write back: lost unless the row above is a lock.
                        let n = tx.query_one("SELECT n FROM item WHERE id = 2", &[])?.int(0)?;
                        std::thread::yield_now();
                        tx.execute("UPDATE item SET n = $1 WHERE id = 2", &[(n + 1).into()])
                    });
                }
            });
        }
    });
    let rows = store.read(|tx| tx.query("SELECT n FROM item ORDER BY id", &[])).unwrap();
    assert_eq!(rows.iter().map(|row| row.int(0).unwrap()).collect::<Vec<_>>(), [WRITERS * ROUNDS; 2]);
}

pub(crate) fn ids_are_unique_and_rise(database: &Database) {
    let store = database.open();
    let mut ids: Vec<i64> = std::thread::scope(|scope| {
        let take = || (0..10).map(|_| write(&store, |tx| tx.next_id("secret"))).collect::<Vec<i64>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    ids.sort_unstable();
    assert_eq!(ids, (1..=40).collect::<Vec<_>>());
    assert_eq!(write(&store, |tx| tx.next_ids("secret", 5)), [41, 42, 43, 44, 45]);
    let undone: Result<(), StoreError> = store.write(&actor(), NOW, |tx| {
        assert_eq!(tx.next_id("secret")?, 46);
        Err(StoreError::other("undo"))
    });
    undone.unwrap_err();
    assert!(write(&store, |tx| tx.next_id("secret")) > 45, "a rollback may leave a gap, and never gives an id twice");
    assert_eq!(write(&store, |tx| tx.next_id("target")), 1, "each kind counts for itself");
    store.write(&actor(), NOW, |tx| tx.next_ids("secret", 0)).unwrap_err();
    let error = store.write(&actor(), NOW, |tx| tx.next_id("nothing")).unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
}

/// Two transactions that take ids of one kind do not wait for each other: on PostgreSQL a row that counts would make them.
pub(crate) fn who_takes_an_id_keeps_nobody_waiting(database: &Database) {
    if database.url.starts_with("sqlite:") {
        return; // one writer at a time by nature
    }
    let store = database.open();
    let (first, second) = write(&store, |tx| {
        let first = tx.next_id("secret")?;
        let other = store.write(&actor(), NOW, |tx| tx.next_id("secret"))?;
        Ok((first, other))
    });
    assert_eq!((first, second), (1, 2));
}

pub(crate) fn who_waits_for_a_turn_sees_what_was_done_before(database: &Database) {
    let store = database.open();
    table(&store);
    let created: Vec<bool> = std::thread::scope(|scope| {
        let create = |n: i64| {
            write(&store, |tx| {
                tx.turn("the only item")?;
                if tx.query_one("SELECT count(*) FROM item", &[])?.int(0)? > 0 {
                    return Ok(false);
                }
                std::thread::yield_now();
                tx.execute("INSERT INTO item (id, name) VALUES ($1, $2)", &[n.into(), format!("item {n}").into()])?;
                Ok(true)
            })
        };
        let threads: Vec<_> = (0..6).map(|n| scope.spawn(move || create(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(created.iter().filter(|made| **made).count(), 1);
    assert_eq!(count(&store), 1);
}

/// Two transactions that take two rows in opposite orders: PostgreSQL ends one of them, and both must succeed in the end.
pub(crate) fn a_deadlock_is_tried_again(database: &Database) {
    let store = database.open();
    table(&store);
    insert(&store, 1, "one", 0).unwrap();
    insert(&store, 2, "two", 0).unwrap();
    let both = std::sync::Barrier::new(2);
    let postgres = database.url.starts_with("postgres");
    let change = |first: i64, second: i64| {
        let mut tries = 0;
        write(&store, |tx| {
            tries += 1;
            tx.execute("UPDATE item SET n = n + 1 WHERE id = $1", &[first.into()])?;
            // Each holds its first row before either asks for its second.
            if postgres && tries == 1 {
                both.wait();
            }
            tx.journal(store::journal::Entry::new("item.changed", format!("item/{first}"), "", &serde_json::json!(tries)))?;
            tx.execute("UPDATE item SET n = n + 1 WHERE id = $1", &[second.into()])
        });
        tries
    };
    let tried: Vec<u32> = std::thread::scope(|scope| {
        let change = &change;
        let threads = [(1, 2), (2, 1)].map(|(first, second)| scope.spawn(move || change(first, second)));
        threads.map(|thread| thread.join().unwrap()).into()
    });
    assert!(if postgres { tried.iter().sum::<u32>() > 2 } else { tried == [1, 1] }, "one of them was the victim: {tried:?}");
    let rows = store.read(|tx| tx.query("SELECT n FROM item ORDER BY id", &[])).unwrap();
    assert_eq!(rows.iter().map(|row| row.int(0).unwrap()).collect::<Vec<_>>(), [2, 2], "each change counts once");
    let report = store.read(|tx| store::journal::verify(tx, &[])).unwrap();
    assert_eq!((report.entries, report.problems), (2, vec![]), "each entry is there once");
}

pub(crate) fn a_long_result_is_streamed_and_may_be_left(database: &Database) {
    const ROWS: i64 = 20_000;
    let store = database.open();
    let numbers = "WITH RECURSIVE k(n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM k WHERE n < $1) SELECT n FROM k";
    store
        .read(|tx| {
            let mut sum = 0;
            tx.for_each(numbers, &[ROWS.into()], |row| {
                sum += row.int(0)?;
                Ok(())
            })?;
            assert_eq!(sum, ROWS * (ROWS + 1) / 2);
            let mut seen = 0;
            let left = tx.for_each(numbers, &[ROWS.into()], |_| {
                seen += 1;
                if seen == 3 { Err(StoreError::other("enough")) } else { Ok(()) }
            });
            assert_eq!((left, seen), (Err(StoreError::other("enough")), 3));
            // The transaction goes on: it was the caller who left.
            assert_eq!(tx.query_one("SELECT COUNT(*) FROM counter", &[])?.int(0)?, 0);
            let many = tx.query_opt(numbers, &[2.into()]);
            assert!(many.unwrap_err().to_string().contains("2 rows"));
            assert!(tx.query_one("SELECT n FROM counter", &[]).unwrap_err().to_string().contains("no row"));
            Ok(())
        })
        .unwrap();
}
