//! A fresh database per test, on both kinds, and a visible word when one cannot be had.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use domain::Time;
use store::{Actor, Result, Store, Tx};

/// URL of a PostgreSQL server that the tests may fill.
pub(crate) const POSTGRES: &str = "PERENNIAL_TEST_POSTGRES";
/// `1`: a missing peer fails the test instead of skipping it.
const REQUIRE: &str = "PERENNIAL_REQUIRE_PEERS";

pub(crate) const NOW: Time = Time::from_unix(1_800_000_000);

/// A database that goes away with this value.
pub(crate) struct Database {
    pub(crate) url: String,
    _gone: Gone,
}

/// What is left to remove; held for its drop.
enum Gone {
    Folder { _folder: tempfile::TempDir },
    Postgres { server: String, name: String },
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        Self { url, _gone: Gone::Folder { _folder: folder } }
    }

    pub(crate) fn postgres(test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Ok(server) = std::env::var(POSTGRES) else {
            skipped(&format!("store postgres::{test}: {POSTGRES} is not set; scripts/test starts a server and sets it"));
            return None;
        };
        let name = format!("perennial_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // A linguistic collation by default, as on many a production server: columns must bring their own.
        sql(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        sql(
            &server,
            &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"),
        );
        let (base, options) =
            server.split_once('?').map_or((server.as_str(), String::new()), |(base, options)| (base, format!("?{options}")));
        let host = base.rsplit_once('/').unwrap().0;
        let url = format!("{host}/{name}{options}");
        Some(Self { url, _gone: Gone::Postgres { server, name } })
    }

    /// Opens it; the entropy is fixed.
    pub(crate) fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    pub(crate) fn try_open(&self) -> Result<Store> {
        Store::open(&self.url, NOW, || [0xab; 16])
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        if let Self::Postgres { server, name } = self {
            sql(server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        }
    }
}

fn sql(server: &str, text: &str) {
    postgres::Client::connect(server, postgres::NoTls).unwrap().batch_execute(text).unwrap();
}

/// Says that a test did not run; written past the capture of the test runner, which keeps what a passing test prints.
pub(crate) fn skipped(what: &str) {
    assert!(std::env::var_os(REQUIRE).is_none_or(|value| value != "1"), "{REQUIRE}=1, but skipped {what}");
    std::io::stderr().write_all(format!("SKIPPED {what}\n").as_bytes()).unwrap();
}

pub(crate) fn actor() -> Actor {
    Actor::new("local", "tester")
}

/// A write in the name of the tester.
pub(crate) fn write<T>(store: &Store, f: impl FnMut(&mut Tx<'_>) -> Result<T>) -> T {
    store.write(&actor(), NOW, f).unwrap()
}

/// The next number of a kind, without gaps, from a row that stays taken until commit.
pub(crate) fn count_up(tx: &mut Tx<'_>, kind: &str) -> Result<i64> {
    let sql = "INSERT INTO counter (name, n) VALUES ($1, 1) ON CONFLICT (name) DO UPDATE SET n = counter.n + 1 RETURNING n";
    tx.query_one(sql, &[kind.into()])?.int(0)
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Lcg(pub(crate) u64);

impl Lcg {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX constants; the low bits are poor, so the high ones are used.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
