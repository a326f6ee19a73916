//! A fresh database per test, on both kinds.

use std::sync::atomic::{AtomicU32, Ordering};

/// URL of a PostgreSQL server that the tests may fill.
const POSTGRES: &str = "PERENNIAL_TEST_POSTGRES";

/// What the store remembers in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The embedded default, in the data folder.
    Sqlite,
    /// A server.
    Postgres,
}

/// A database that goes away with this value.
pub(crate) enum Database {
    /// Lies in the data folder.
    Embedded,
    /// A database of a server.
    Served { server: String, name: String, url: String },
    /// One that belongs to another.
    Shared { url: String },
}

impl Database {
    /// `None` where the peer is missing, which was said.
    pub(crate) fn new(kind: Kind, test: &str) -> Option<Database> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if kind == Kind::Sqlite {
            return Some(Database::Embedded);
        }
        let Ok(server) = std::env::var(POSTGRES) else {
            super::skipped(&format!("perennial {test} on PostgreSQL: postgresql missing ({POSTGRES} is not set; scripts/test sets it)"));
            return None;
        };
        let name = format!("perennial_e2e_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        sql(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        sql(&server, &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"));
        let (base, options) =
            server.split_once('?').map_or((server.as_str(), String::new()), |(base, options)| (base, format!("?{options}")));
        let url = format!("{}/{name}{options}", base.rsplit_once('/').unwrap().0);
        Some(Database::Served { server, name, url })
    }

    pub(crate) fn arguments(&self) -> Vec<String> {
        match self {
            Database::Embedded => Vec::new(),
            Database::Served { url, .. } | Database::Shared { url } => vec!["--database".into(), url.clone()],
        }
    }

    /// Where it is, for whoever asks it past the server; only of a served one.
    pub(crate) fn url(&self) -> &str {
        match self {
            Database::Embedded => panic!("it lies in the data folder"),
            Database::Served { url, .. } | Database::Shared { url } => url,
        }
    }

    /// The server that it lies in, for whoever may do everything there.
    pub(crate) fn server(&self) -> (&str, &str) {
        match self {
            Database::Served { server, name, .. } => (server, name),
            Database::Embedded | Database::Shared { .. } => panic!("it is not ours to move"),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Database::Served { server, name, .. } = self {
            sql(server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        }
    }
}

fn sql(server: &str, text: &str) {
    postgres::Client::connect(server, postgres::NoTls).unwrap().batch_execute(text).unwrap();
}
