//! Sweeps over everything that is stored.

use crate::{Result, Row, Tx};
use domain::Time;
use std::collections::BTreeMap;

/// A sweep, under way or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// Its number.
    pub id: i64,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// The last secret that it looked at, so that a restart goes on there.
    pub cursor: i64,
    /// Secrets looked at.
    pub secrets: i64,
    /// Instances looked at.
    pub instances: i64,
    /// Targets looked at.
    pub targets: i64,
    /// What the schedule had missed.
    pub missed: i64,
    /// The first of these, one sentence a line.
    pub report: String,
}

const COLUMNS: &str = "id, started_at, finished_at, cursor, secrets, instances, targets, missed, report";

fn from_row(r: &Row) -> Result<Sweep> {
    Ok(Sweep {
        id: r.int(0)?,
        started_at: r.time(1)?,
        finished_at: r.opt_time(2)?,
        cursor: r.int(3)?,
        secrets: r.int(4)?,
        instances: r.int(5)?,
        targets: r.int(6)?,
        missed: r.int(7)?,
        report: r.text(8)?.into(),
    })
}

/// When a loop has to look at subjects between two numbers; those that nobody waits for are left out.
pub fn due_between(tx: &mut Tx<'_>, loop_name: &str, first: i64, last: i64) -> Result<BTreeMap<i64, Time>> {
    let sql = "SELECT subject, due_at FROM timer WHERE loop = $1 AND subject >= $2 AND subject <= $3 AND due_at IS NOT NULL \
               ORDER BY subject";
    let mut all = BTreeMap::new();
    tx.for_each(sql, &[loop_name.into(), first.into(), last.into()], |r| {
        all.insert(r.int(0)?, r.time(1)?);
        Ok(())
    })?;
    Ok(all)
}

/// Creates a sweep or writes it whole.
pub fn put(tx: &mut Tx<'_>, s: &Sweep) -> Result<()> {
    tx.execute(
        &format!(
            "INSERT INTO sweep ({COLUMNS}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9) ON CONFLICT (id) DO UPDATE SET \
             finished_at=excluded.finished_at, cursor=excluded.cursor, secrets=excluded.secrets, instances=excluded.instances, \
             targets=excluded.targets, missed=excluded.missed, report=excluded.report"
        ),
        &[
            s.id.into(),
            s.started_at.into(),
            s.finished_at.into(),
            s.cursor.into(),
            s.secrets.into(),
            s.instances.into(),
            s.targets.into(),
            s.missed.into(),
            (&s.report).into(),
        ],
    )?;
    Ok(())
}

/// Sweeps, the newest first.
pub fn list(tx: &mut Tx<'_>, limit: i64) -> Result<Vec<Sweep>> {
    let sql = format!("SELECT {COLUMNS} FROM sweep ORDER BY id DESC LIMIT $1");
    tx.query(&sql, &[limit.into()])?.iter().map(from_row).collect()
}
