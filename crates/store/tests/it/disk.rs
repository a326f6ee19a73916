//! A disk that is full or fails: it is told, nothing is half there, and the store goes on when there is room again.

use std::path::Path;
use std::process::Command;

use store::{Result, Store, StoreError, journal};

use crate::harness::{Database, NOW, actor, count_up, skipped};

/// Set in the child: the database that it may not write far.
const CHILD: &str = "PERENNIAL_TEST_DISK_CHILD";

/// Writes rows from number `first` on until it fails; answers the number that failed.
fn fill(store: &Store, first: i64) -> (i64, StoreError) {
    let body = vec![7u8; 64 << 10];
    for n in first.. {
        let written: Result<()> = store.write(&actor(), NOW, |tx| {
            count_up(tx, "filled")?;
            tx.execute("INSERT INTO filler (n, body) VALUES ($1, $2)", &[n.into(), body.clone().into()])?;
            tx.journal(journal::Entry::new("filler.added", "filler", "", &serde_json::json!(n)))
        });
        if let Err(error) = written {
            return (n, error);
        }
    }
    unreachable!("a disk without end")
}

fn create(store: &Store) {
    store.write(&actor(), NOW, |tx| tx.execute("CREATE TABLE filler (n BIGINT PRIMARY KEY, body BLOB)", &[])).unwrap();
}

/// Rows, counter and journal agree with what was answered.
fn check(store: &Store, rows: i64) {
    store
        .read(|tx| {
            assert_eq!(tx.query_one("SELECT COUNT(*) FROM filler", &[])?.int(0)?, rows);
            let counted = tx.query_opt("SELECT n FROM counter WHERE name = 'filled'", &[])?;
            assert_eq!(counted.map_or(Ok(0), |row| row.int(0))?, rows);
            let report = journal::verify(tx, &[])?;
            assert_eq!((report.entries as i64, report.problems), (rows, vec![]));
            assert_eq!(tx.query_one("PRAGMA integrity_check", &[])?.text(0)?, "ok");
            Ok(())
        })
        .unwrap();
}

/// A file system of its own, taken away with this value.
struct Tmpfs<'p>(&'p Path);

impl<'p> Tmpfs<'p> {
    fn mount(folder: &'p Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "perennial-test"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).output();
    }
}

#[test]
fn a_full_disk_is_told_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Tmpfs::mount(folder.path()) else {
        skipped("store disk::a_full_disk_is_told_and_survived: a small file system cannot be mounted here; run as root");
        return;
    };
    let ballast = folder.path().join("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    let store = Store::open(&url, NOW, || [0; 16]).unwrap();
    create(&store);
    let (rows, error) = fill(&store, 0);
    assert!(rows > 2, "{error}");
    assert!(matches!(error, StoreError::Disk { full: true, .. }), "{error}");
    assert!(error.to_string().contains("free or add disk space"), "{error}");
    check(&store, rows);
    // The same store goes on when somebody made room; nobody has to restart it.
    std::fs::remove_file(&ballast).unwrap();
    store
        .write(&actor(), NOW, |tx| {
            count_up(tx, "filled")?;
            tx.journal(journal::Entry::new("filler.added", "filler", "", &serde_json::json!(rows)))?;
            tx.execute("INSERT INTO filler (n, body) VALUES ($1, $2)", &[rows.into(), vec![7u8; 99].into()])
        })
        .unwrap();
    check(&store, rows + 1);
    drop(store);
    check(&Store::open(&url, NOW, || [0; 16]).unwrap(), rows + 1);
    drop(mounted);
}

/// In a process of its own, with a limit on the size of its files, this meets a disk that fails in the middle of a write.
#[test]
fn a_failing_disk_is_told_and_survived() {
    if let Ok(url) = std::env::var(CHILD) {
        let store = Store::open(&url, NOW, || [0; 16]).unwrap();
        let mut rows = 0;
        // It fails again and again without ever leaving half of it, and goes on where the file still has room.
        for attempt in 0..4 {
            let (reached, error) = fill(&store, rows);
            assert!(reached > 2 && reached >= rows, "attempt {attempt}: {reached} rows after {rows}");
            assert!(matches!(error, StoreError::Disk { .. }), "attempt {attempt}: {error}");
            rows = reached;
            check(&store, rows);
        }
        return;
    }
    let database = Database::sqlite();
    create(&database.open());
    // In blocks of 1024 bytes. The signal that goes with the limit would end the process; ignored, the write fails.
    let output = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "disk::a_failing_disk_is_told_and_survived", "--nocapture", "--test-threads=1"])
        .env(CHILD, &database.url)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let store = database.open();
    let rows = store.read(|tx| tx.query_one("SELECT COUNT(*) FROM filler", &[])?.int(0)).unwrap();
    assert!(rows > 2);
    check(&store, rows);
    store.write(&actor(), NOW, |tx| count_up(tx, "alive")).unwrap();
}
