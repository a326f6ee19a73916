//! What the rules say about what is neither a secret nor a target: releases, services, certificates that many share.

use super::{list, list_column, word};
use crate::{Result, Row, Tx};
use domain::{
    Time,
    concern::{Concern, Remembered},
    finding::Code,
    policy::Level,
};

/// A concern as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// `release/12`, `service/storage`, …
    pub subject: String,
    /// [`Concern::key`].
    pub key: String,
    /// Which rule.
    pub code: Code,
    /// What it asks for.
    pub level: Level,
    /// Whose it is.
    pub teams: Vec<String>,
    /// When it becomes an outage.
    pub until: Option<Time>,
    /// The sentence.
    pub detail: String,
    /// What to do next.
    pub next_step: String,
    /// Since when it stands.
    pub since: Time,
    /// When it was told last.
    pub told_at: Option<Time>,
    /// Who heard of this episode.
    pub told: Vec<String>,
    /// When it was gone.
    pub gone_at: Option<Time>,
}

impl Stored {
    /// What the rules need of it.
    pub fn remembered(&self) -> Remembered {
        Remembered { key: self.key.clone(), stands: self.gone_at.is_none(), told_at: self.told_at, told: self.told.clone() }
    }
}

const COLUMNS: &str = "subject, key, code, level, teams, until, detail, next_step, since, told_at, told, gone_at";

fn from_row(r: &Row) -> Result<Stored> {
    Ok(Stored {
        subject: r.text(0)?.into(),
        key: r.text(1)?.into(),
        code: word(r, 2, Code::parse)?,
        level: word(r, 3, Level::parse)?,
        teams: list(r.text(4)?)?,
        until: r.opt_time(5)?,
        detail: r.text(6)?.into(),
        next_step: r.text(7)?.into(),
        since: r.time(8)?,
        told_at: r.opt_time(9)?,
        told: list(r.text(10)?)?,
        gone_at: r.opt_time(11)?,
    })
}

/// Everything that is remembered about a subject, what is gone included.
pub fn of(tx: &mut Tx<'_>, subject: &str) -> Result<Vec<Stored>> {
    let sql = format!("SELECT {COLUMNS} FROM concern WHERE subject = $1 ORDER BY key");
    tx.query(&sql, &[subject.into()])?.iter().map(from_row).collect()
}

/// What stands, in the order of (subject, key), behind `after`.
pub fn standing(tx: &mut Tx<'_>, after: Option<(&str, &str)>, limit: i64) -> Result<Vec<Stored>> {
    let (subject, key) = after.unwrap_or(("", ""));
    let sql = format!(
        "SELECT {COLUMNS} FROM concern WHERE gone_at IS NULL AND (subject, key) > (CAST($1 AS TEXT), CAST($2 AS TEXT)) \
         ORDER BY subject, key LIMIT $3"
    );
    tx.query(&sql, &[subject.into(), key.into(), limit.into()])?.iter().map(from_row).collect()
}

/// Writes what the rules say now.
pub fn put(tx: &mut Tx<'_>, subject: &str, c: &Concern, since: Time, told_at: Option<Time>, told: &[String]) -> Result<()> {
    tx.execute(
        &format!(
            "INSERT INTO concern ({COLUMNS}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,NULL) ON CONFLICT (subject, key) DO UPDATE SET \
             code=excluded.code, level=excluded.level, teams=excluded.teams, until=excluded.until, detail=excluded.detail, \
             next_step=excluded.next_step, since=excluded.since, told_at=excluded.told_at, told=excluded.told, gone_at=NULL"
        ),
        &[
            subject.into(),
            c.key().into(),
            c.code.as_str().into(),
            c.level.as_str().into(),
            list_column(&c.teams).into(),
            c.until.into(),
            (&c.detail).into(),
            (&c.next_step).into(),
            since.into(),
            told_at.into(),
            list_column(told).into(),
        ],
    )?;
    Ok(())
}

/// It is gone.
pub fn gone(tx: &mut Tx<'_>, subject: &str, key: &str, now: Time) -> Result<()> {
    tx.execute("UPDATE concern SET gone_at = $3 WHERE subject = $1 AND key = $2", &[subject.into(), key.into(), now.into()])?;
    Ok(())
}

/// Forgets what was gone before a moment. Says how many.
pub fn prune(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<u64> {
    tx.execute(
        "DELETE FROM concern WHERE (subject, key) IN (SELECT subject, key FROM concern WHERE gone_at < $1 \
         ORDER BY gone_at, subject, key LIMIT $2)",
        &[before.into(), limit.into()],
    )
}
