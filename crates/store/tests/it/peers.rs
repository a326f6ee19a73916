//! What only one of the two databases has: copies of a file, connections that break.

use store::{Store, StoreError, journal, meta};

use crate::harness::{Database, NOW, actor, count_up, write};

#[test]
fn a_backup_is_one_moment_of_a_busy_store() {
    let database = Database::sqlite();
    let store = database.open();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.db");
    let add = |n: i64| {
        write(&store, |tx| {
            count_up(tx, "backed")?;
            tx.journal(journal::Entry::new("backed.added", "backed", "", &serde_json::json!(n)))
        });
    };
    add(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (1..60).for_each(add));
        store.backup(&file).unwrap();
        writer.join().unwrap();
    });
    assert!(matches!(store.backup(&file), Err(StoreError::Other { what }) if what.contains("exists")));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the backup");

    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions()) & 0o777, 0o600);
    let copy = Store::open(&format!("sqlite:{}", file.display()), NOW, || panic!("a backup has its id")).unwrap();
    let (counted, report) =
        copy.read(|tx| Ok((tx.query_one("SELECT n FROM counter WHERE name = 'backed'", &[])?.int(0)?, journal::verify(tx, &[])?))).unwrap();
    assert_eq!((report.entries as i64, report.problems), (counted, vec![]));
    assert_eq!(copy.read(meta::identity).unwrap(), store.read(meta::identity).unwrap());

    // The copy is put to use: another life, and the head of the first one's end is told as given up.
    let original = store.read(journal::head).unwrap();
    copy.write(&actor(), NOW, |tx| journal::begin_epoch(tx, "restored")).unwrap();
    let report = copy.read(|tx| journal::verify(tx, std::slice::from_ref(&original))).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(report.head.epoch, 2);
}

#[test]
fn a_backup_to_a_bad_place_leaves_nothing() {
    let store = Database::sqlite();
    let store = store.open();
    let error = store.backup("/nowhere/at/all/backup.db".as_ref()).unwrap_err();
    assert!(!matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn a_broken_connection_is_replaced() {
    let Some(database) = Database::postgres("a_broken_connection_is_replaced") else {
        return;
    };
    let store = database.open();
    assert_eq!(write(&store, |tx| count_up(tx, "x")), 1);
    let kill = |store: &Store| {
        store.read(|tx| {
            tx.query(
                "SELECT CAST(count(pg_terminate_backend(pid)) AS BIGINT) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
                &[],
            )
        })
    };
    let second = database.open();
    kill(&second).unwrap();
    assert_eq!(write(&store, |tx| count_up(tx, "x")), 2, "idle connections that died are not used");
    // One that dies in the middle of a transaction: told, rolled back, and the next one works.
    let error = store
        .write(&actor(), NOW, |tx| {
            count_up(tx, "x")?;
            kill(&second)?;
            count_up(tx, "x")
        })
        .unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert_eq!(write(&store, |tx| count_up(tx, "x")), 3);
    // One that dies before its commit: whether that arrived cannot be known.
    let error = store.write(&actor(), NOW, |tx| count_up(tx, "x").and_then(|_| kill(&second))).unwrap_err();
    assert!(matches!(error, StoreError::OutcomeUnknown { .. } | StoreError::Unavailable { .. }), "{error}");
    assert_eq!(write(&store, |tx| count_up(tx, "x")), 4);
    assert!(store.backup("x.db".as_ref()).unwrap_err().to_string().contains("pg_dump"));
}

/// Servers hold their store in tasks: the last of them may let go of it on a thread of the runtime, where nobody may wait.
#[test]
fn a_store_may_be_let_go_on_a_thread_of_a_runtime() {
    let Some(database) = Database::postgres("a_store_may_be_let_go_on_a_thread_of_a_runtime") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = database.open();
    assert_eq!(write(&store, |tx| count_up(tx, "x")), 1);
    runtime.block_on(async move { drop(store) });
    // And one whose connections broke.
    let (store, second) = (database.open(), database.open());
    let kill = "SELECT CAST(count(pg_terminate_backend(pid)) AS BIGINT) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    second.read(|tx| tx.query(kill, &[])).unwrap();
    runtime.block_on(async move { drop((store, second)) });
}

#[test]
fn a_server_that_demands_tls_unverified_is_refused() {
    let Some(database) = Database::postgres("a_server_that_demands_tls_unverified_is_refused") else {
        return;
    };
    let url = database.url.replace("sslmode=disable", "sslmode=verify-full");
    assert_ne!(url, database.url, "the URL of the test server must say sslmode=disable");
    // This server has no TLS at all: going on in the clear would be the wrong answer.
    let error = Store::open(&url, NOW, || [0; 16]).err().unwrap();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}
