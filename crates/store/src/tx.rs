//! One transaction, the same on both databases.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
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
    counts: BTreeMap<&'static str, i64>,
    doomed: Option<StoreError>,
}

pub(crate) enum Session<'s> {
    Sqlite(sqlite::Session<'s>),
    Postgres(Box<postgres::Session<'s>>),
}

impl<'s> Tx<'s> {
    pub(crate) fn new(session: Session<'s>, writes: bool) -> Self {
        Self { session, writes, journal: Vec::new(), counts: BTreeMap::new(), doomed: None }
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

    /// What to append to a SELECT of one row that must not be deleted before the end of this transaction; others may do the same.
    ///
    /// Empty on SQLite, where the transaction that writes is the only one.
    pub(crate) fn keep_row(&self) -> &'static str {
        if self.is_postgres() { "FOR KEY SHARE" } else { "" }
    }

    /// What to append to a SELECT of one row that is to be deleted: it waits for [`Tx::keep_row`] of others.
    pub(crate) fn take_row(&self) -> &'static str {
        if self.is_postgres() { "FOR UPDATE" } else { "" }
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

    /// The next id of a kind, which is the name of a table with such ids: from 1 upward, without reuse.
    ///
    /// On PostgreSQL a rollback leaves a gap and a lower id may be committed after a higher one, so that transactions that take
    /// ids do not wait for each other. Where the order matters, take the [`Tx::turn`] first.
    ///
    /// # Errors
    /// There is no such table, or whatever the database refuses.
    pub fn next_id(&mut self, kind: &str) -> Result<i64> {
        let taken = self.next_ids(kind, 1)?;
        taken.first().copied().ok_or_else(|| StoreError::other(format!("no id of kind {kind} came")))
    }

    /// Takes `count` ids of a kind in one round, in rising order; others may have taken some between them.
    ///
    /// # Errors
    /// `count` is not positive, or as [`Tx::next_id`].
    pub fn next_ids(&mut self, kind: &str, count: i64) -> Result<Vec<i64>> {
        if count < 1 {
            return Err(StoreError::other(format!("{count} ids of kind {kind} asked for")));
        }
        if self.is_postgres() {
            // The sequence that BIGSERIAL made for the table.
            let sql = "SELECT nextval(CAST($1 AS TEXT)::regclass) FROM generate_series(1, $2)";
            let mut ids = Vec::new();
            self.for_each(sql, &[format!("{kind}_id_seq").into(), count.into()], |row| {
                ids.push(row.int(0)?);
                Ok(())
            })?;
            ids.sort_unstable();
            return Ok(ids);
        }
        let row = self.query_one(
            "INSERT INTO counter (name, n) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET n = counter.n + $2 RETURNING n",
            &[kind.into(), count.into()],
        )?;
        let last = row.int(0)?;
        if last == count && self.query_opt("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1", &[kind.into()])?.is_none() {
            return Err(StoreError::other(format!("ids of kind {kind} asked for, and there is no table of that name")));
        }
        Ok((last - count + 1..=last).collect())
    }

    /// Waits until no other transaction holds this turn, and holds it until the end of this one: for what has no row yet that
    /// could be taken. Transactions that take several take them in the order of their names.
    ///
    /// # Errors
    /// Others held it too long, or this transaction only reads.
    pub fn turn(&mut self, name: &str) -> Result<()> {
        if !self.writes {
            return Err(StoreError::other(format!("the turn {name:?} asked for in a transaction that only reads")));
        }
        // On SQLite the transaction that writes is the only one.
        if self.is_postgres() {
            let digest = digest(&SHA256, name.as_bytes());
            let mut key = [0; 8];
            key.copy_from_slice(&digest.as_ref()[..8]);
            self.query("SELECT CAST(pg_advisory_xact_lock($1) AS TEXT)", &[i64::from_be_bytes(key).into()])?;
        }
        Ok(())
    }

    /// There are so many more of something; written just before commit, as its row is one for all.
    pub(crate) fn count(&mut self, what: &'static str, by: i64) -> Result<()> {
        if !self.writes {
            return Err(StoreError::other(format!("{what:?} counted in a transaction that only reads")));
        }
        *self.counts.entry(what).or_default() += by;
        Ok(())
    }

    /// How many there are of something that is counted, as of the last commit: [`crate::model::SECRETS`] and the like.
    ///
    /// # Errors
    /// Whatever the database refuses.
    pub fn counted(&mut self, what: &str) -> Result<i64> {
        self.query_opt("SELECT n FROM counter WHERE name = $1", &[what.into()])?.map_or(Ok(0), |row| row.int(0))
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

    /// What the database refused, if it did: the transaction cannot be committed any more.
    pub(crate) fn doomed(self) -> Option<StoreError> {
        self.doomed
    }

    fn note<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.doomed.get_or_insert_with(|| error.clone());
        }
        result
    }

    pub(crate) fn commit(mut self, actor: &Actor, now: Time) -> Result<()> {
        let (entries, counts) = (std::mem::take(&mut self.journal), std::mem::take(&mut self.counts));
        for (what, by) in counts.into_iter().filter(|(_, by)| *by != 0) {
            if self.doomed.is_none() {
                let sql = "INSERT INTO counter (name, n) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET n = counter.n + $2";
                self.execute(sql, &[what.into(), by.into()])?;
            }
        }
        if self.doomed.is_none() && !entries.is_empty() {
            journal::append(&mut self, actor, now, &entries)?;
        }
        self.finish()
    }

    /// Ends a transaction without journal.
    pub(crate) fn finish(self) -> Result<()> {
        if let Some(error) = self.doomed {
            // What was only in the way is said as it is: all of it may be done again.
            if error.attempts() > 1 {
                return Err(error);
            }
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
