//! Opening: identity, schema, the high-water mark.

use domain::Span;
use store::{Store, StoreError, meta};

use crate::harness::{Database, NOW, actor, count_up, write};

pub(crate) fn identity_is_drawn_once(database: &Database) {
    let store = database.open();
    let first = store.read(meta::identity).unwrap();
    assert_eq!(first.store_id, "ab".repeat(16));
    assert_eq!((first.epoch, first.created_at), (1, NOW));
    drop(store);
    let again = Store::open(&database.url, NOW + Span::days(1), || panic!("entropy was drawn for a database that has its id"));
    assert_eq!(again.unwrap().read(meta::identity).unwrap(), first);
}

pub(crate) fn many_may_create_one_database(database: &Database) {
    let ids: Vec<String> = std::thread::scope(|scope| {
        let open = |n: u8| Store::open(&database.url, NOW, || [n; 16]).unwrap().read(meta::identity).unwrap().store_id;
        let threads: Vec<_> = (1..=4).map(|n| scope.spawn(move || open(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

pub(crate) fn a_newer_schema_is_refused(database: &Database) {
    let store = database.open();
    write(&store, |tx| {
        tx.execute("INSERT INTO schema_migration (number, name, checksum, applied_at) VALUES (999, 'future', $1, 0)", &[vec![0u8].into()])
    });
    drop(store);
    let error = database.try_open().err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 999, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("999") && text.contains("install") && text.contains("backup"), "{text}");
}

pub(crate) fn a_schema_that_was_altered_is_refused(database: &Database) {
    let store = database.open();
    write(&store, |tx| tx.execute("UPDATE schema_migration SET checksum = $1 WHERE number = 1", &[vec![0u8].into()]));
    drop(store);
    assert!(matches!(database.try_open(), Err(StoreError::Corrupt { .. })));
}

pub(crate) fn the_high_water_mark_only_rises(database: &Database) {
    let store = database.open();
    let mark = || store.read(meta::high_water).unwrap();
    assert_eq!(mark(), NOW);
    write(&store, |tx| meta::raise_high_water(tx, NOW + Span::hours(1)));
    write(&store, |tx| meta::raise_high_water(tx, NOW));
    assert_eq!(mark(), NOW + Span::hours(1));
    assert_eq!(write(&store, |tx| meta::set_high_water(tx, NOW)), NOW + Span::hours(1));
    assert_eq!(mark(), NOW);
}

#[test]
fn a_url_that_cannot_be_used_says_so_without_its_password() {
    for (url, expected) in [
        ("mysql://root:hunter2@h/d", "sqlite: or postgres:"),
        ("sqlite:", "names no file"),
        ("postgres://root:hunter2@h/d?nonsense=1", "nonsense"),
        ("postgres://root:hunter2@127.0.0.1:1/d?sslmode=disable", "127.0.0.1"),
        ("postgres://root:hunter2@h/d?sslrootcert=/nowhere.pem", "/nowhere.pem"),
        ("sqlite:/nowhere/at/all/store.db", "/nowhere/at/all/store.db"),
    ] {
        let error = Store::open(url, NOW, || [0; 16]).err().unwrap().to_string();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{url}: {error}");
    }
}

/// Whoever stands between says that there is no TLS here.
#[test]
fn tls_is_left_out_only_where_the_url_says_so() {
    use std::io::{Read, Write};
    for (query, may_speak) in [("", false), ("?sslmode=require", false), ("?sslmode=verify-full", false), ("?sslmode=disable", true)] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("postgres://root:hunter2@{}/d{query}", listener.local_addr().unwrap());
        let between = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 8];
            stream.read_exact(&mut asked).unwrap();
            // SSLRequest, from PostgreSQL's protocol: length 8, code 80877103.
            if asked != [0, 0, 0, 8, 4, 210, 22, 47] {
                return true;
            }
            stream.write_all(b"N").unwrap();
            matches!(stream.read(&mut asked), Ok(1..))
        });
        assert!(Store::open(&url, NOW, || [0; 16]).is_err());
        assert_eq!(between.join().unwrap(), may_speak, "{query}");
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "dear diary, ".repeat(1000)).unwrap();
    let error = Store::open(&format!("sqlite:{}", file.display()), NOW, || [0; 16]).err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("notes.txt"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "dear diary, ".repeat(1000));
}

#[test]
fn a_database_in_memory_works_with_one_connection() {
    let store = Store::open("sqlite::memory:", NOW, || [1; 16]).unwrap();
    assert_eq!(write(&store, |tx| count_up(tx, "x")), 1);
    assert_eq!(store.clone().write(&actor(), NOW, |tx| count_up(tx, "x")).unwrap(), 2);
    assert_eq!(store.read(|tx| tx.query_one("SELECT n FROM counter", &[])?.int(0)).unwrap(), 2);
}
