//! PostgreSQL: a small pool of connections, each used by one transaction at a time.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use postgres::config::{Host, SslMode, TargetSessionAttrs};
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, NoTls, Statement};

use crate::error::Rule;
use crate::pool::Pool;
use crate::sqlite::Fault;
use crate::tls::{self, Tls};
use crate::{Result, Row, StoreError, Value};

/// Connections at once, of this process.
const CONNECTIONS: usize = 8;
/// Statements kept prepared per connection.
const STATEMENTS: usize = 256;
/// For reaching one host of the URL, unless it says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For unacknowledged data on a connection, so that a host that vanished does not hold a transaction for a quarter of an hour.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Said to the server once per connection. An answered write must be on its disk even if the server's default is laxer.
/// Times in milliseconds: waiting for another transaction's row, one statement, a transaction that stands idle.
const SESSION: &str = "SET synchronous_commit = on; SET lock_timeout = 10000; SET statement_timeout = 120000; \
     SET idle_in_transaction_session_timeout = 60000; SET client_encoding = 'UTF8'";

pub(crate) struct Postgres {
    config: Config,
    tls: Option<Tls>,
    pool: Pool<Connection>,
}

struct Connection {
    client: Client,
    statements: HashMap<String, Statement>,
}

impl Postgres {
    pub(crate) fn open(url: &str) -> Result<Self> {
        let (url, verification) = tls::take_options(url)?;
        // The text of the parser's error repeats no value of the URL.
        let mut config: Config = url.parse().map_err(|error| StoreError::other(format!("the database URL: {}", told(&error))))?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(TCP_USER_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("perennial");
        }
        // Of several hosts one is a standby, and nothing works there.
        if config.get_hosts().len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let remote = config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(_)));
        // What the driver does where nothing is said, whoever stands between can talk it out of: it would send the password in clear.
        if verification.required || (remote && !verification.said) {
            config.ssl_mode(SslMode::Require);
        }
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            _ if !remote => None,
            _ => Some(tls::connector(&verification)?),
        };
        let postgres = Self { config, tls, pool: Pool::new(CONNECTIONS) };
        let first = postgres.pool.take(|| postgres.connect())?;
        postgres.pool.put(first);
        Ok(postgres)
    }

    fn connect(&self) -> Result<Connection> {
        let client = match &self.tls {
            Some(tls) => self.config.connect(tls.clone()),
            None => self.config.connect(NoTls),
        };
        let mut client = client.map_err(|error| StoreError::unavailable(format!("{}: {}", self.place(), told(&error))))?;
        client.batch_execute(SESSION).map_err(fault)?;
        let encoding = client.query_one("SHOW server_encoding", &[]).map_err(fault)?;
        let encoding: &str = encoding.try_get(0).map_err(fault)?;
        if encoding != "UTF8" {
            return Err(StoreError::other(format!("{} stores text as {encoding}; create the database with ENCODING 'UTF8'", self.place())));
        }
        Ok(Connection { client, statements: HashMap::new() })
    }

    /// Hosts and database, without user and password.
    fn place(&self) -> String {
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        format!("PostgreSQL database {:?} at {}", self.config.get_dbname().unwrap_or("(of the user)"), hosts.join(", "))
    }

    pub(crate) fn begin_write(&self) -> Result<Session<'_>> {
        self.begin("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
    }

    pub(crate) fn begin_read(&self) -> Result<Session<'_>> {
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    }

    /// An idle connection may have died with its server; BEGIN changes nothing, so it may be said again on the next one.
    fn begin(&self, sql: &str) -> Result<Session<'_>> {
        for _ in 0..CONNECTIONS {
            let mut fresh = false;
            let connection = self.pool.take(|| {
                fresh = true;
                self.connect()
            })?;
            let mut session = Session { connection: Some(connection), pool: &self.pool, broken: false, open: true };
            match session.batch(sql) {
                Ok(()) => return Ok(session),
                Err(error) if fresh => return Err(error),
                Err(_) => session.broken = true,
            }
        }
        Err(StoreError::unavailable(format!("{}: every connection broke", self.place())))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        close(self.pool.drain());
    }
}

/// Closing a connection waits for the network, which panics on a thread of an asynchronous runtime: so it is done on another one,
/// and nobody waits for it. Whatever was said on these connections is over.
fn close(connections: Vec<Connection>) {
    if !connections.is_empty() {
        std::thread::spawn(move || drop(connections));
    }
}

/// One transaction; dropped without [`Session::commit`] it is rolled back.
pub(crate) struct Session<'s> {
    connection: Option<Connection>,
    pool: &'s Pool<Connection>,
    broken: bool,
    open: bool,
}

impl Session<'_> {
    fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(|| StoreError::unavailable("the connection was closed after an error"))
    }

    pub(crate) fn batch(&mut self, sql: &str) -> Result<()> {
        let result = self.connection()?.client.batch_execute(sql);
        self.watch(result)
    }

    pub(crate) fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        let (connection, statement) = self.prepared(sql, params)?;
        let bound: Vec<Parameter<'_>> = params.iter().map(Parameter).collect();
        let bound: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|parameter| parameter as _).collect();
        let result = connection.client.execute(&statement, &bound);
        self.watch(result)
    }

    pub(crate) fn for_each(&mut self, sql: &str, params: &[Value], each: &mut dyn FnMut(Row) -> Result<()>) -> Result<(), Fault> {
        let (connection, statement) = self.prepared(sql, params).map_err(Fault::Database)?;
        let streamed = stream(&mut connection.client, &statement, params, each);
        streamed.map_err(|ended| match ended {
            Ended::Rows(fault) => fault,
            Ended::Driver(error) => Fault::Database(self.watch::<()>(Err(error)).err().unwrap_or_else(gone)),
        })
    }

    fn prepared(&mut self, sql: &str, params: &[Value]) -> Result<(&mut Connection, Statement)> {
        let cached = self.connection()?.statements.get(sql).cloned();
        let statement = match cached {
            Some(statement) => statement,
            None => {
                let result = self.connection()?.client.prepare(sql);
                let statement = self.watch(result)?;
                let statements = &mut self.connection()?.statements;
                if statements.len() >= STATEMENTS {
                    statements.clear();
                }
                statements.insert(sql.to_owned(), statement.clone());
                statement
            }
        };
        let wanted = statement.params().len();
        if wanted != params.len() {
            return Err(StoreError::other(format!("{} parameters given for {wanted} in: {sql}", params.len())));
        }
        Ok((self.connection()?, statement))
    }

    fn watch<T>(&mut self, result: Result<T, postgres::Error>) -> Result<T> {
        result.map_err(|error| {
            // A standby that was the primary, and a plan from before a change of schema, heal with a new connection.
            self.broken |=
                error.is_closed() || matches!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION | &SqlState::FEATURE_NOT_SUPPORTED));
            fault(error)
        })
    }

    pub(crate) fn commit(mut self) -> Result<()> {
        let result = self.connection()?.client.batch_execute("COMMIT");
        self.open = result.is_err();
        match result {
            Err(error) if error.code().is_none() => {
                self.broken = true;
                Err(StoreError::OutcomeUnknown { what: told(&error) })
            }
            other => self.watch(other),
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let bad = self.broken || (self.open && connection.client.batch_execute("ROLLBACK").is_err());
        if bad || connection.client.is_closed() {
            self.pool.forget();
            close(vec![connection]);
        } else {
            self.pool.put(connection);
        }
    }
}

/// Why a stream of rows ended early.
enum Ended {
    Driver(postgres::Error),
    Rows(Fault),
}

fn stream(client: &mut Client, statement: &Statement, params: &[Value], each: &mut dyn FnMut(Row) -> Result<()>) -> Result<(), Ended> {
    let mut rows = client.query_raw(statement, params.iter().map(Parameter)).map_err(Ended::Driver)?;
    while let Some(row) = rows.next().map_err(Ended::Driver)? {
        let row = plain(&row).map_err(|error| Ended::Rows(Fault::Database(error)))?;
        each(row).map_err(|error| Ended::Rows(Fault::Caller(error)))?;
    }
    Ok(())
}

/// A value on its way to the column or expression type that the server inferred.
#[derive(Debug)]
struct Parameter<'v>(&'v Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Int(value) => match *ty {
                Type::INT8 => out.put_i64(*value),
                Type::INT4 => out.put_i32(i32::try_from(*value)?),
                Type::INT2 => out.put_i16(i16::try_from(*value)?),
                Type::BOOL => out.put_u8((*value != 0).into()),
                _ => return Err(format!("an integer was given where {ty} is expected").into()),
            },
            Value::Text(value) => match *ty {
                Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => out.put_slice(value.as_bytes()),
                _ => return Err(format!("text was given where {ty} is expected").into()),
            },
            Value::Bytes(value) => match *ty {
                Type::BYTEA => out.put_slice(value),
                _ => return Err(format!("bytes were given where {ty} is expected").into()),
            },
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

struct Column(Value);

impl<'a> FromSql<'a> for Column {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(match *ty {
            Type::INT8 => Value::Int(i64::from_sql(ty, raw)?),
            Type::INT4 => Value::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT2 => Value::Int(i16::from_sql(ty, raw)?.into()),
            Type::BOOL => Value::Int(bool::from_sql(ty, raw)?.into()),
            Type::NUMERIC => Value::Int(whole_number(raw)?),
            Type::BYTEA => Value::Bytes(raw.to_vec()),
            _ => Value::Text(<&str>::from_sql(ty, raw)?.to_owned()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(
            *ty,
            Type::INT8
                | Type::INT4
                | Type::INT2
                | Type::BOOL
                | Type::NUMERIC
                | Type::BYTEA
                | Type::TEXT
                | Type::VARCHAR
                | Type::BPCHAR
                | Type::NAME
        )
    }
}

/// A NUMERIC, which is what PostgreSQL makes of `sum(bigint)`: 16-bit groups of four decimal digits, the first worth
/// 10000^weight.
fn whole_number(raw: &[u8]) -> Result<i64, Box<dyn Error + Sync + Send>> {
    let words: Vec<i16> = raw.chunks_exact(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect();
    let [_, weight, sign, _, digits @ ..] = words.as_slice() else {
        return Err("a NUMERIC without header".into());
    };
    let mut value: i128 = 0;
    for place in 0..=(*weight).clamp(-1, 5) {
        value = value * 10_000 + i128::from(digits.get(usize::try_from(place)?).copied().unwrap_or(0));
    }
    let fraction = digits.iter().skip(usize::try_from(i32::from(*weight) + 1).unwrap_or(0)).any(|digit| *digit != 0);
    if fraction || *weight > 5 || ![0, 0x4000].contains(sign) {
        return Err("a NUMERIC that is no 64-bit integer; only integers are stored and asked for".into());
    }
    Ok(i64::try_from(if *sign == 0 { value } else { -value })?)
}

fn plain(row: &postgres::Row) -> Result<Row> {
    let values = (0..row.len()).map(|i| row.try_get::<_, Column>(i).map(|column| column.0));
    Ok(Row::new(values.collect::<Result<_, _>>().map_err(fault)?))
}

fn gone() -> StoreError {
    StoreError::unavailable("the connection was closed after an error")
}

/// The whole chain of causes: the driver's own text is often no more than "db error".
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

fn fault(error: postgres::Error) -> StoreError {
    let what = told(&error);
    let Some(db) = error.as_db_error() else {
        return if error.is_closed() || what.contains("error communicating with the server") {
            StoreError::unavailable(what)
        } else {
            StoreError::other(what)
        };
    };
    let code = db.code();
    let kind = match *code {
        SqlState::UNIQUE_VIOLATION => Rule::Unique,
        SqlState::FOREIGN_KEY_VIOLATION => Rule::Reference,
        SqlState::CHECK_VIOLATION | SqlState::NOT_NULL_VIOLATION => Rule::Check,
        SqlState::DISK_FULL => return StoreError::Disk { full: true, what },
        SqlState::IO_ERROR => return StoreError::Disk { full: false, what },
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => return StoreError::corrupt(what),
        SqlState::T_R_DEADLOCK_DETECTED | SqlState::T_R_SERIALIZATION_FAILURE => return StoreError::Contended { what, waited: false },
        SqlState::LOCK_NOT_AVAILABLE => return StoreError::Contended { what, waited: true },
        SqlState::READ_ONLY_SQL_TRANSACTION | SqlState::FEATURE_NOT_SUPPORTED | SqlState::QUERY_CANCELED => {
            return StoreError::unavailable(what);
        }
        // Classes: connection, insufficient resources, operator intervention.
        _ if ["08", "53", "57"].iter().any(|class| code.code().starts_with(class)) => {
            return StoreError::unavailable(what);
        }
        _ => return StoreError::other(format!("{what} (SQLSTATE {})", code.code())),
    };
    StoreError::Conflict { kind, constraint: constraint(db) }
}

/// Columns as SQLite names them, from the detail "Key (name, team)=(…) already exists."; its words may be translated,
/// its parentheses are not.
fn constraint(db: &postgres::error::DbError) -> String {
    let table = db.table().unwrap_or("?");
    let keys = db.detail().and_then(|detail| Some(detail.split_once('(')?.1.split_once(")=(")?.0));
    match (keys, db.column()) {
        (Some(keys), _) if *db.code() == SqlState::UNIQUE_VIOLATION => {
            keys.split(", ").map(|key| format!("{table}.{key}")).collect::<Vec<_>>().join(", ")
        }
        (_, Some(column)) => format!("{table}.{column}"),
        _ => db.constraint().unwrap_or(table).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn sums_are_read_from_numeric() {
        let numeric = |weight: i16, sign: i16, digits: &[i16]| {
            let mut words = vec![digits.len() as i16, weight, sign, 0];
            words.extend(digits);
            whole_number(&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>()).ok()
        };
        assert_eq!(numeric(0, 0, &[]), Some(0));
        assert_eq!(numeric(0, 0, &[42]), Some(42));
        assert_eq!(numeric(1, 0, &[1]), Some(10_000));
        assert_eq!(numeric(2, 0x4000, &[3, 0, 7]), Some(-300_000_007));
        assert_eq!(numeric(4, 0, &[922, 3372, 368, 5477, 5807]), Some(i64::MAX));
        assert_eq!(numeric(4, 0, &[922, 3372, 368, 5477, 5808]), None, "one more than fits");
        assert_eq!(numeric(5, 0, &[1]), None);
        assert_eq!(numeric(-1, 0, &[5000]), None, "one half");
        assert_eq!(numeric(0, 0, &[1, 5000]), None, "one and a half");
        assert_eq!(numeric(0, -0x4000, &[]), None, "NaN");
    }
}
