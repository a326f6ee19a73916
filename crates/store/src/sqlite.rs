//! SQLite: one writer, a few readers on the write-ahead log, on the caller's thread.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags};

use crate::error::Rule;
use crate::pool::Pool;
use crate::{Result, Row, StoreError, Value};

/// Readers at once; each is a file handle and a page cache.
const READERS: usize = 4;
/// Page cache of a reader, in KiB. Four of them, the writer's and a bulk import together stay below 256 MiB.
const READER_CACHE: i64 = 16 << 10;
/// Page cache of the writer, in KiB: the inner pages of every index of a million certificates, and most leaves of the two whose
/// keys are random.
const WRITER_CACHE: i64 = 64 << 10;
/// Pages in the log before they are copied into the database: 64 MB. A page that many commits change is then copied once.
const CHECKPOINT_PAGES: i64 = 16 << 10;
/// Statements kept prepared per connection.
const STATEMENTS: usize = 256;
/// How long to wait for another process that writes the same file.
const BUSY_WAIT: Duration = Duration::from_secs(10);
/// How often, and after which pause each time, the write-ahead log is asked for while others make the same database.
const WAL_TRIES: u32 = 200;
const WAL_PAUSE: Duration = Duration::from_millis(20);
/// The log is cut back to this after a checkpoint, in bytes.
const WAL_KEEP: i64 = 64 << 20;
/// Set to `1` by tests: rows without ORDER BY come in reverse, so that code that relies on their order fails.
const REVERSE_SELECTS: &str = "PERENNIAL_REVERSE_SELECTS";

pub(crate) struct Sqlite {
    /// None: a database in memory, which lives in the writer and has no other connections.
    path: Option<PathBuf>,
    /// None after a failed disk: what SQLite holds in memory is then not what is on disk, and it is opened anew.
    writer: Mutex<Option<Connection>>,
    readers: Pool<Connection>,
}

impl Sqlite {
    /// Opens or creates the file.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self> {
        let writer = connect(path.as_ref(), false)?;
        Ok(Self { path, writer: Mutex::new(Some(writer)), readers: Pool::new(READERS) })
    }

    fn lock(&self) -> Result<(MutexGuard<'_, Option<Connection>>, bool)> {
        // A panic in a transaction is rolled back by `Session::drop` before the lock is poisoned.
        let mut guard = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let reopened = guard.is_none();
        if reopened {
            *guard = Some(connect(self.path.as_ref(), false)?);
        }
        Ok((guard, reopened))
    }

    pub(crate) fn begin_write(&self) -> Result<Session<'_>> {
        let session = Session { held: Held::Writer(self.lock()?.0), store: self, broken: false, open: true };
        session.batch("BEGIN IMMEDIATE")?;
        Ok(session)
    }

    pub(crate) fn begin_read(&self) -> Result<Session<'_>> {
        let held = match &self.path {
            None => Held::Writer(self.lock()?.0),
            Some(_) => Held::Reader(Some(self.readers.take(|| connect(self.path.as_ref(), true))?)),
        };
        let session = Session { held, store: self, broken: false, open: true };
        session.batch("BEGIN DEFERRED")?;
        Ok(session)
    }

    /// Empties the log into the file, as far as nobody reads from it.
    pub(crate) fn shed(&self) -> Result<()> {
        let guard = self.lock()?.0;
        guard.as_ref().ok_or_else(gone)?.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").map_err(fault)
    }

    /// Writes a consistent, compact copy to `file`, which must be empty or not exist.
    pub(crate) fn copy_to(&self, file: &str) -> Result<()> {
        // Not a reader: query_only would also forbid to write the copy.
        let connection = connect(self.path.as_ref(), false);
        let guard;
        let connection = match (&self.path, &connection) {
            (Some(_), Ok(connection)) => connection,
            (Some(_), Err(error)) => return Err(error.clone()),
            (None, _) => {
                guard = self.lock()?.0;
                guard.as_ref().ok_or_else(gone)?
            }
        };
        connection.execute("VACUUM INTO $1", [file]).map_err(fault)?;
        Ok(())
    }
}

fn connect(path: Option<&PathBuf>, reader: bool) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match path {
        Some(path) => Connection::open_with_flags(path, flags).map_err(|error| at(path, fault(error)))?,
        None => Connection::open_in_memory_with_flags(flags).map_err(fault)?,
    };
    let set_up = || -> rusqlite::Result<()> {
        connection.busy_timeout(BUSY_WAIT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // A plan that depends on what is bound is made anew for every other value, which costs more than most of these statements do.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        write_ahead(&connection)?;
        // NORMAL would let an answered write disappear with the power.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "journal_size_limit", WAL_KEEP)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        // Negative: KiB, not pages.
        connection.pragma_update(None, "cache_size", if reader { -READER_CACHE } else { -WRITER_CACHE })?;
        connection.pragma_update(None, "trusted_schema", false)?;
        if std::env::var_os(REVERSE_SELECTS).is_some_and(|value| value == "1") {
            connection.pragma_update(None, "reverse_unordered_selects", true)?;
        }
        // A key that was forgotten is gone from the file as well.
        connection.pragma_update(None, "secure_delete", true)?;
        if reader {
            connection.pragma_update(None, "query_only", true)?;
        }
        Ok(())
    };
    set_up().map_err(|error| match path {
        Some(path) => at(path, fault(error)),
        None => fault(error),
    })?;
    Ok(connection)
}

/// Turns the write-ahead log on. SQLite does not wait for others here, as it does elsewhere: where several processes make one database at
/// the same moment, all but one are told that it is locked, and ask again.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let mut tries = 0;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) && tries < WAL_TRIES => tries += 1,
            other => return other,
        }
        std::thread::sleep(WAL_PAUSE);
    }
}

/// One transaction; dropped without [`Session::commit`] it is rolled back.
pub(crate) struct Session<'s> {
    held: Held<'s>,
    store: &'s Sqlite,
    broken: bool,
    open: bool,
}

enum Held<'s> {
    Writer(MutexGuard<'s, Option<Connection>>),
    Reader(Option<Connection>),
}

impl Session<'_> {
    fn connection(&self) -> Result<&Connection> {
        match &self.held {
            Held::Writer(guard) => guard.as_ref(),
            Held::Reader(connection) => connection.as_ref(),
        }
        .ok_or_else(gone)
    }

    pub(crate) fn batch(&self, sql: &str) -> Result<()> {
        self.connection()?.execute_batch(sql).map_err(fault)
    }

    pub(crate) fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        let result = self.bound(sql, params).and_then(|mut statement| statement.raw_execute().map_err(fault));
        Ok(self.watch(result)? as u64)
    }

    pub(crate) fn for_each(&mut self, sql: &str, params: &[Value], each: &mut dyn FnMut(Row) -> Result<()>) -> Result<(), Fault> {
        let result = self.bound(sql, params).map_err(Fault::Database).and_then(|mut statement| {
            let width = statement.column_count();
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next().map_err(|error| Fault::Database(fault(error)))? {
                let values = (0..width).map(|i| value(row.get_ref(i).map_err(fault)?)).collect::<Result<_>>();
                each(Row::new(values.map_err(Fault::Database)?)).map_err(Fault::Caller)?;
            }
            Ok(())
        });
        match result {
            Err(Fault::Database(error)) => Err(Fault::Database(self.watch::<()>(Err(error)).err().unwrap_or_else(gone))),
            other => other,
        }
    }

    /// `$n` is a *name* for SQLite, numbered by first appearance, so parameters are bound by what the name says.
    fn bound(&self, sql: &str, params: &[Value]) -> Result<CachedStatement<'_>> {
        let mut statement = self.connection()?.prepare_cached(sql).map_err(fault)?;
        let count = statement.parameter_count();
        if count != params.len() {
            return Err(StoreError::other(format!("{} parameters given for {count} in: {sql}", params.len())));
        }
        for index in 1..=count {
            let number = statement.parameter_name(index).and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok());
            let given = number.and_then(|number| params.get(number.checked_sub(1)?));
            let given = given.ok_or_else(|| StoreError::other(format!("parameters are not $1 to ${count} in: {sql}")))?;
            statement.raw_bind_parameter(index, given).map_err(fault)?;
        }
        Ok(statement)
    }

    fn watch<T>(&mut self, result: Result<T>) -> Result<T> {
        self.broken |= matches!(result, Err(StoreError::Disk { full: false, .. } | StoreError::Corrupt { .. }));
        result
    }

    pub(crate) fn commit(mut self) -> Result<()> {
        let result = self.batch("COMMIT");
        self.open = result.is_err();
        self.watch(result)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // Some errors roll back by themselves, and then there is nothing left to do.
        let left = self.open && self.connection().is_ok_and(|connection| !connection.is_autocommit());
        let bad = self.broken || (left && self.batch("ROLLBACK").is_err());
        match &mut self.held {
            Held::Writer(guard) if bad && self.store.path.is_some() => **guard = None,
            Held::Writer(_) => {}
            Held::Reader(connection) => match connection.take() {
                Some(connection) if !bad => self.store.readers.put(connection),
                _ => self.store.readers.forget(),
            },
        }
    }
}

/// Whose error ended a `for_each`.
pub(crate) enum Fault {
    Database(StoreError),
    Caller(StoreError),
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(value) => ValueRef::Integer(*value),
            Value::Text(value) => ValueRef::Text(value.as_bytes()),
            Value::Bytes(value) => ValueRef::Blob(value),
        }))
    }
}

fn value(column: ValueRef<'_>) -> Result<Value> {
    Ok(match column {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Real(_) => {
            return Err(StoreError::other("a result is a fraction; only integers are stored and asked for"));
        }
        ValueRef::Text(value) => {
            let text = std::str::from_utf8(value).map_err(|_| StoreError::corrupt("a text column is not UTF-8"))?;
            Value::Text(text.to_owned())
        }
        ValueRef::Blob(value) => Value::Bytes(value.to_vec()),
    })
}

fn gone() -> StoreError {
    StoreError::unavailable("the connection was closed after an error")
}

fn at(path: &std::path::Path, error: StoreError) -> StoreError {
    let place = |what: String| format!("{}: {what}", path.display());
    match error {
        StoreError::Unavailable { what } => StoreError::Unavailable { what: place(what) },
        StoreError::Corrupt { what } => StoreError::Corrupt { what: place(what) },
        StoreError::Disk { full, what } => StoreError::Disk { full, what: place(what) },
        other => other,
    }
}

fn fault(error: rusqlite::Error) -> StoreError {
    let rusqlite::Error::SqliteFailure(code, message) = &error else {
        return StoreError::other(error.to_string());
    };
    let what = message.clone().unwrap_or_else(|| code.to_string());
    match code.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::CannotOpen => StoreError::unavailable(what),
        ErrorCode::DiskFull => StoreError::Disk { full: true, what },
        ErrorCode::SystemIoFailure | ErrorCode::ReadOnly => {
            StoreError::Disk { full: false, what: format!("{what} (SQLite code {})", code.extended_code) }
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::corrupt(what),
        ErrorCode::ConstraintViolation => {
            use rusqlite::ffi;
            let kind = match code.extended_code {
                ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => Rule::Unique,
                ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Rule::Reference,
                ffi::SQLITE_CONSTRAINT_CHECK | ffi::SQLITE_CONSTRAINT_NOTNULL => Rule::Check,
                _ => return StoreError::other(what),
            };
            // "UNIQUE constraint failed: secret.name, secret.team"
            let constraint = what.split_once("constraint failed: ").map_or(what.as_str(), |(_, names)| names);
            StoreError::Conflict { kind, constraint: constraint.to_owned() }
        }
        _ => StoreError::other(what),
    }
}
