//! One transaction, the same on both databases.

use domain::Time;

use crate::journal::{self, Entry};
use crate::sqlite::{self, Fault};
use crate::{Actor, Result, Row, StoreError, Value, postgres};

/// A transaction that is open; made by [`crate::Store::read`] and [`crate::Store::write`].
///
/// A statement that fails dooms the transaction: PostgreSQL would refuse the rest, so both databases behave like that.
pub struct Tx<'s> {
    session: Session<'s>,
    writes: bool,
    journal: Vec<Entry>,
    doomed: Option<StoreError>,
}

pub(crate) enum Session<'s> {
    Sqlite(sqlite::Session<'s>),
    Postgres(Box<postgres::Session<'s>>),
}

impl<'s> Tx<'s> {
    pub(crate) fn new(session: Session<'s>, writes: bool) -> Self {
        Self { session, writes, journal: Vec::new(), doomed: None }
    }

    /// Runs a statement that returns no rows; answers how many rows it changed.
    ///
    /// # Errors
    /// Whatever the database refuses.
    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        check(params)?;
        let result = match &mut self.session {
            Session::Sqlite(session) => session.execute(sql, params),
            Session::Postgres(session) => session.execute(sql, params),
        };
        self.note(result)
    }

    /// All rows of a query. For results that may be large use [`Tx::for_each`].
    ///
    /// # Errors
    /// Whatever the database refuses.
    pub fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        self.for_each(sql, params, |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    /// The only row of a query, or None.
    ///
    /// # Errors
    /// More than one row, or whatever the database refuses.
    pub fn query_opt(&mut self, sql: &str, params: &[Value]) -> Result<Option<Row>> {
        let mut rows = self.query(sql, params)?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            n => Err(StoreError::other(format!("{n} rows where at most one was expected, from: {sql}"))),
        }
    }

    /// The only row of a query.
    ///
    /// # Errors
    /// No row or more than one, or whatever the database refuses.
    pub fn query_one(&mut self, sql: &str, params: &[Value]) -> Result<Row> {
        self.query_opt(sql, params)?.ok_or_else(|| StoreError::other(format!("no row where one was expected, from: {sql}")))
    }

    /// Hands over the rows one by one, in bounded memory; an error of `each` ends the query and is returned.
    ///
    /// # Errors
    /// The error of `each`, or whatever the database refuses.
    pub fn for_each(&mut self, sql: &str, params: &[Value], mut each: impl FnMut(Row) -> Result<()>) -> Result<()> {
        check(params)?;
        let result = match &mut self.session {
            Session::Sqlite(session) => session.for_each(sql, params, &mut each),
            Session::Postgres(session) => session.for_each(sql, params, &mut each),
        };
        match result {
            Ok(()) => Ok(()),
            Err(Fault::Caller(error)) => Err(error),
            Err(Fault::Database(error)) => self.note(Err(error)),
        }
    }

    /// What to append to a SELECT of rows to claim, so that claimants do not wait for each other.
    ///
    /// Empty on SQLite, where the transaction that writes is the only one.
    pub fn skip_locked(&self) -> &'static str {
        match &self.session {
            Session::Sqlite(_) => "",
            Session::Postgres(_) => "FOR UPDATE SKIP LOCKED",
        }
    }

    /// Adds an entry to the journal, in the name of the actor of this transaction; it is written just before commit.
    ///
    /// # Errors
    /// The transaction only reads, or a field is over its limit.
    pub fn journal(&mut self, entry: Entry) -> Result<()> {
        if !self.writes {
            return Err(StoreError::other(format!("journal entry {:?} in a transaction that only reads", entry.action)));
        }
        entry.check()?;
        self.journal.push(entry);
        Ok(())
    }

    /// The next id of a kind, from 1 upward without reuse; gaps do not occur, since a rollback takes the id back.
    ///
    /// # Errors
    /// Whatever the database refuses.
    pub fn next_id(&mut self, kind: &str) -> Result<i64> {
        self.next_ids(kind, 1)
    }

    /// Takes `count` ids of a kind at once and answers the first.
    ///
    /// # Errors
    /// `count` is not positive, or whatever the database refuses.
    pub fn next_ids(&mut self, kind: &str, count: i64) -> Result<i64> {
        if count < 1 {
            return Err(StoreError::other(format!("{count} ids of kind {kind} asked for")));
        }
        let row = self.query_one(
            "INSERT INTO counter (name, n) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET n = counter.n + $2 RETURNING n",
            &[kind.into(), count.into()],
        )?;
        Ok(row.int(0)? - count + 1)
    }

    pub(crate) fn batch(&mut self, sql: &str) -> Result<()> {
        let result = match &mut self.session {
            Session::Sqlite(session) => session.batch(sql),
            Session::Postgres(session) => session.batch(sql),
        };
        self.note(result)
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.session, Session::Postgres(_))
    }

    fn note<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.doomed.get_or_insert_with(|| error.clone());
        }
        result
    }

    pub(crate) fn commit(mut self, actor: &Actor, now: Time) -> Result<()> {
        let entries = std::mem::take(&mut self.journal);
        if self.doomed.is_none() && !entries.is_empty() {
            journal::append(&mut self, actor, now, &entries)?;
        }
        self.finish()
    }

    /// Ends a transaction without journal.
    pub(crate) fn finish(self) -> Result<()> {
        if let Some(error) = self.doomed {
            return Err(StoreError::other(format!("rolled back, because a failed statement was passed over: {error}")));
        }
        match self.session {
            Session::Sqlite(session) => session.commit(),
            Session::Postgres(session) => session.commit(),
        }
    }
}

/// PostgreSQL cannot store NUL in text; refused here so that SQLite does not accept what cannot be moved over.
fn check(params: &[Value]) -> Result<()> {
    for (index, value) in params.iter().enumerate() {
        if let Value::Text(text) = value
            && text.contains('\0')
        {
            return Err(StoreError::other(format!("parameter ${} is text with a NUL character", index + 1)));
        }
    }
    Ok(())
}
