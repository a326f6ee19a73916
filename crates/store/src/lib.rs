//! What we remember: sees sealed bytes only; SQLite and PostgreSQL behind one conformance suite.
//!
//! [`Store::write`] is one transaction: state, journal and outgoing messages are committed together or not at all, and what
//! it answered with success is durable. [`Store::read`] sees one moment of the database. SQL is one text for both databases:
//! `$1` parameters, `ON CONFLICT … DO UPDATE`, `RETURNING`, and the column types INTEGER (64 bit), TEXT and BLOB.
//!
//! A transaction that changes a subject starts by taking its row with `UPDATE … SET generation = generation + 1 … RETURNING`:
//! that locks on both databases. What PostgreSQL ends because of a deadlock nevertheless is done again by [`Store::write`].
//!
//! The calls block. In an asynchronous program they belong on a thread of their own (`spawn_blocking`), also the drop of
//! transactions; a transaction opened inside another one waits for itself.

mod backup;
mod error;
pub mod journal;
pub mod lease;
pub mod meta;
mod migrate;
pub mod model;
mod pool;
mod postgres;
mod sqlite;
pub mod timer;
mod tls;
mod tx;
mod value;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::Time;

pub use error::{Result, Rule, StoreError};
pub use tx::Tx;
pub use value::{Row, Value};

/// Who does something: issuer (`local`, an OIDC issuer, `system`) and subject within it. There is no default.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor {
    /// Who vouches for the subject.
    pub issuer: String,
    /// Who it is, unique within the issuer.
    pub subject: String,
}

impl Actor {
    /// An actor of both parts.
    pub fn new(issuer: impl Into<String>, subject: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), subject: subject.into() }
    }
}

/// How long a transaction that others stood in the way of rests before it is done again, times the number of tries.
const AGAIN: Duration = Duration::from_millis(10);

/// An open database; cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Store {
    backend: Arc<Backend>,
}

enum Backend {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

impl Store {
    /// Opens a database, creates it or brings its schema up to date.
    ///
    /// `url` is `sqlite:PATH`, `sqlite::memory:`, or `postgres://user:password@host[:port][,host…]/database?…` with the options
    /// that [`postgres`'s documentation](https://docs.rs/postgres/latest/postgres/config/struct.Config.html) lists, and
    /// `sslmode=verify-full` and `sslrootcert=FILE`. `new_id` is entropy, drawn once when the database is created.
    ///
    /// # Errors
    /// An unknown kind of URL, no connection, a newer schema, or a schema that differs from what this program wrote.
    pub fn open(url: &str, now: Time, new_id: impl FnOnce() -> [u8; 16]) -> Result<Self> {
        let backend = if let Some(path) = url.strip_prefix("sqlite:") {
            let path = (path != ":memory:").then(|| PathBuf::from(path.strip_prefix("//").unwrap_or(path)));
            if path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
                return Err(StoreError::other("the database URL names no file; write sqlite:/path/to/perennial.db"));
            }
            Backend::Sqlite(sqlite::Sqlite::open(path)?)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Backend::Postgres(postgres::Postgres::open(url)?)
        } else {
            // The URL itself may hold a password and is not repeated.
            return Err(StoreError::other("the database URL must start with sqlite: or postgres://"));
        };
        let store = Self { backend: Arc::new(backend) };
        migrate::run(&store, now)?;
        meta::create(&store, now, new_id)?;
        Ok(store)
    }

    /// Reads from one consistent moment; many readers run at a time, also beside a writer.
    ///
    /// # Errors
    /// Whatever `f` or the database says.
    pub fn read<T>(&self, f: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        self.try_read(f)
    }

    /// [`Store::read`] for a closure with an error type of its own.
    ///
    /// # Errors
    /// Whatever `f` or the database says.
    pub fn try_read<T, E: From<StoreError>>(&self, f: impl FnOnce(&mut Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        let session = match &*self.backend {
            Backend::Sqlite(sqlite) => tx::Session::Sqlite(sqlite.begin_read()?),
            Backend::Postgres(postgres) => tx::Session::Postgres(Box::new(postgres.begin_read()?)),
        };
        let mut tx = Tx::new(session, false);
        let value = f(&mut tx)?;
        tx.finish()?;
        Ok(value)
    }

    /// Changes the database in one transaction, in the name of `actor`; the journal entries of `f` go with it.
    ///
    /// Committed and durable when this returns Ok; rolled back when `f` fails or panics. Where transactions of others stand in the
    /// way (a deadlock), all of it is rolled back and done again, a few times: `f` leaves no trace but in the database and in
    /// what it returns.
    ///
    /// # Errors
    /// Whatever `f` or the database says; [`StoreError::OutcomeUnknown`] when the connection broke during the commit.
    pub fn write<T>(&self, actor: &Actor, now: Time, f: impl FnMut(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        self.try_write(actor, now, f)
    }

    /// [`Store::write`] for a closure with an error type of its own.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn try_write<T, E: From<StoreError>>(
        &self,
        actor: &Actor,
        now: Time,
        mut f: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        for attempt in 1.. {
            let mut tx = self.begin_write()?;
            let met = match f(&mut tx) {
                Ok(value) => match tx.commit(actor, now) {
                    Ok(()) => return Ok(value),
                    Err(error) if attempt >= error.attempts() => return Err(error.into()),
                    Err(error) => error,
                },
                // Its own error type may not show what the database said; the transaction knows.
                Err(error) => match tx.doomed() {
                    Some(met) if attempt < met.attempts() => met,
                    _ => return Err(error),
                },
            };
            tracing::debug!(attempt, %met, "a transaction is done again");
            // Whoever waited for what this one held goes first, or both would meet again.
            std::thread::sleep(AGAIN * attempt);
        }
        Err(StoreError::other("a transaction was tried without end").into())
    }

    /// A transaction that has no actor, for the schema alone.
    pub(crate) fn begin_write(&self) -> Result<Tx<'_>> {
        let session = match &*self.backend {
            Backend::Sqlite(sqlite) => tx::Session::Sqlite(sqlite.begin_write()?),
            Backend::Postgres(postgres) => tx::Session::Postgres(Box::new(postgres.begin_write()?)),
        };
        Ok(Tx::new(session, true))
    }
}
