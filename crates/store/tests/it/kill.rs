//! SIGKILL at any moment: what was answered is there, and the journal is whole.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::json;
use store::Store;
use store::journal::{self, Entry};

use crate::harness::{Database, Lcg, NOW, actor, count_up, write};

/// Set in the child: the database it fills.
const CHILD: &str = "PERENNIAL_TEST_KILL_CHILD";
const ROUNDS: u64 = 25;

/// Commits numbered rows, and says each number only after its commit was answered.
fn fill(store: &Store, rows: Option<i64>, mut say: impl FnMut(i64)) {
    let mut left = rows.unwrap_or(i64::MAX);
    while left > 0 {
        let n = write(store, |tx| {
            let n = count_up(tx, "numbered")?;
            tx.execute("INSERT INTO numbered (n, body) VALUES ($1, $2)", &[n.into(), "x".repeat(700).into()])?;
            tx.journal(Entry::new("numbered.added", format!("numbered/{n}"), "", &json!({ "n": n })))?;
            Ok(n)
        });
        say(n);
        left -= 1;
    }
}

fn create(store: &Store) {
    write(store, |tx| tx.execute("CREATE TABLE numbered (n BIGINT PRIMARY KEY, body VARCHAR(999) NOT NULL)", &[]));
}

/// In a process of its own this is the victim; otherwise it tries what the victim does.
#[test]
fn a_row_is_said_after_it_is_there() {
    if let Ok(url) = std::env::var(CHILD) {
        let store = Store::open(&url, NOW, || [0; 16]).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| fill(&store, None, |n| std::io::stdout().write_all(format!("committed {n}\n").as_bytes()).unwrap()));
            }
        });
    }
    let database = Database::sqlite();
    let store = database.open();
    create(&store);
    let mut said = Vec::new();
    fill(&store, Some(3), |n| {
        assert_eq!(store.read(|tx| tx.query_one("SELECT MAX(n) FROM numbered", &[])?.int(0)).unwrap(), n);
        said.push(n);
    });
    assert_eq!(said, [1, 2, 3]);
}

pub(crate) fn nothing_answered_is_lost(database: &Database) {
    create(&database.open());
    let mut chance = Lcg(2013);
    let mut answered = Vec::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::a_row_is_said_after_it_is_there", "--nocapture", "--test-threads=1"])
            .env(CHILD, &database.url)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // A moment between two answers, anywhere within a transaction; the first ones also hit start-up work.
        let mut wanted = chance.below(40);
        while wanted > 0 {
            let line = lines.next().expect("the child ended by itself").unwrap();
            // The test runner's own words share the pipe, also on the first line.
            if let Some((_, n)) = line.split_once("committed ") {
                answered.push(n.parse::<i64>().unwrap());
                wanted -= 1;
            }
        }
        for _ in 0..chance.below(20_000) {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What was in the pipe was answered too; a line that was cut off was not.
        for line in lines.map_while(Result::ok) {
            if let Some((_, n)) = line.split_once("committed ")
                && let Ok(n) = n.parse::<i64>()
            {
                answered.push(n);
            }
        }
        check(&database.open(), &answered, round);
    }
    assert!(answered.len() > 100, "only {} rows were answered", answered.len());
}

fn check(store: &Store, answered: &[i64], round: u64) {
    // One moment for all: the server may still be at the last commit of a client that is gone.
    store
        .read(|tx| {
            let rows = tx.query("SELECT n FROM numbered ORDER BY n", &[])?;
            let rows: Vec<i64> = rows.iter().map(|row| row.int(0)).collect::<Result<_, _>>()?;
            assert_eq!(rows, (1..=rows.len() as i64).collect::<Vec<_>>(), "round {round}: a hole");
            let missing: Vec<_> = answered.iter().filter(|n| rows.binary_search(n).is_err()).collect();
            assert!(missing.is_empty(), "round {round}: answered and lost: {missing:?}");
            let report = journal::verify(tx, &[])?;
            assert_eq!((report.entries, report.problems), (rows.len() as u64, vec![]), "round {round}");
            Ok(())
        })
        .unwrap();
    assert_eq!(store.write(&actor(), NOW, |tx| count_up(tx, "alive")).unwrap(), round as i64 + 1);
}
