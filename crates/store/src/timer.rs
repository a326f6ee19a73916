//! When a loop has to look at a subject, and who is doing so. No wake-up is lost, also not one that comes while somebody works.

use domain::{Span, Time};

use crate::{Result, Tx, Value};

/// Most subjects that one call of [`claim`] hands out.
pub const MAX_CLAIM: i64 = 10_000;

/// A subject that is due and was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// When it was due.
    pub due_at: Time,
    /// Id of the subject.
    pub subject: i64,
    fence: i64,
    wakes: i64,
}

/// Wakes the loop for the subject at `due_at`, whatever was set before.
///
/// # Errors
/// Whatever the database refuses.
pub fn set(tx: &mut Tx<'_>, loop_name: &str, subject: i64, due_at: Time) -> Result<()> {
    tx.execute(
        "INSERT INTO timer (loop, subject, due_at, wakes, claimed_until, claimed_by, fence) VALUES ($1, $2, $3, 1, 0, '', 0)
         ON CONFLICT (loop, subject) DO UPDATE SET due_at = $3, wakes = timer.wakes + 1",
        &[loop_name.into(), subject.into(), due_at.into()],
    )?;
    Ok(())
}

/// Wakes the loop for the subject at `due_at`, or earlier if that was set before.
///
/// # Errors
/// Whatever the database refuses.
pub fn set_earlier(tx: &mut Tx<'_>, loop_name: &str, subject: i64, due_at: Time) -> Result<()> {
    tx.execute(
        "INSERT INTO timer (loop, subject, due_at, wakes, claimed_until, claimed_by, fence) VALUES ($1, $2, $3, 1, 0, '', 0)
         ON CONFLICT (loop, subject) DO UPDATE SET wakes = timer.wakes + 1,
             due_at = CASE WHEN timer.due_at < $3 THEN timer.due_at ELSE $3 END",
        &[loop_name.into(), subject.into(), due_at.into()],
    )?;
    Ok(())
}

/// Does not wake the loop for the subject any more.
///
/// # Errors
/// Whatever the database refuses.
pub fn clear(tx: &mut Tx<'_>, loop_name: &str, subject: i64) -> Result<()> {
    tx.execute("UPDATE timer SET due_at = NULL, wakes = wakes + 1 WHERE loop = $1 AND subject = $2", &[loop_name.into(), subject.into()])?;
    Ok(())
}

/// Wakes every loop for every subject that it had to look at some time: after a restore nothing that was planned is believed.
///
/// # Errors
/// Whatever the database refuses.
pub fn wake_everything(tx: &mut Tx<'_>, now: Time) -> Result<u64> {
    tx.execute(
        "UPDATE timer SET due_at = $1, wakes = wakes + 1, claimed_until = 0, claimed_by = '' WHERE due_at IS NOT NULL",
        &[now.into()],
    )
}

/// As [`set_earlier`] for every row with an `id` of `rows`, a table with its condition.
pub(crate) fn set_earlier_for(tx: &mut Tx<'_>, loop_name: &str, rows: &'static str, due_at: Time) -> Result<()> {
    tx.execute(
        &format!(
            "INSERT INTO timer (loop, subject, due_at, wakes, claimed_until, claimed_by, fence) \
             SELECT $1, id, $2, 1, 0, '', 0 FROM {rows} ORDER BY id \
             ON CONFLICT (loop, subject) DO UPDATE SET wakes = timer.wakes + 1, \
             due_at = CASE WHEN timer.due_at < excluded.due_at THEN timer.due_at ELSE excluded.due_at END"
        ),
        &[loop_name.into(), due_at.into()],
    )?;
    Ok(())
}

/// When the loop has to look at the subject next.
///
/// # Errors
/// Whatever the database refuses.
pub fn get(tx: &mut Tx<'_>, loop_name: &str, subject: i64) -> Result<Option<Time>> {
    let row = tx.query_opt("SELECT due_at FROM timer WHERE loop = $1 AND subject = $2", &[loop_name.into(), subject.into()])?;
    row.map_or(Ok(None), |row| row.opt_time(0))
}

/// Claims up to `limit` subjects that are due (`due_at <= now`), the longest due first, until `now + ttl`.
///
/// # Errors
/// Whatever the database refuses.
pub fn claim(tx: &mut Tx<'_>, loop_name: &str, now: Time, holder: &str, ttl: Span, limit: i64) -> Result<Vec<Claim>> {
    let sql = format!(
        "WITH due AS MATERIALIZED (
             SELECT subject FROM timer WHERE loop = $1 AND due_at <= $2 AND claimed_until <= $2
             ORDER BY due_at, subject LIMIT $5 {})
         UPDATE timer SET claimed_until = $3, claimed_by = $4, fence = fence + 1, claimed_wakes = wakes
         WHERE loop = $1 AND subject IN (SELECT subject FROM due)
         RETURNING subject, due_at, fence, wakes",
        tx.skip_locked()
    );
    let params: [Value; 5] = [loop_name.into(), now.into(), (now + ttl).into(), holder.into(), limit.clamp(0, MAX_CLAIM).into()];
    let mut claims = Vec::new();
    tx.for_each(&sql, &params, |row| {
        claims.push(Claim { subject: row.int(0)?, due_at: row.time(1)?, fence: row.int(2)?, wakes: row.int(3)? });
        Ok(())
    })?;
    claims.sort_unstable();
    Ok(claims)
}

/// Ends a claim: the subject is due again at `next`, or not until somebody wakes it. If somebody did so while it was claimed,
/// that stays due. False when the claim had run out and somebody else took it; nothing is changed then.
///
/// # Errors
/// Whatever the database refuses.
pub fn done(tx: &mut Tx<'_>, loop_name: &str, claim: &Claim, next: Option<Time>) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE timer SET claimed_until = 0, claimed_by = '',
             due_at = CASE WHEN wakes = $4 THEN CAST($5 AS BIGINT)
                           WHEN due_at IS NULL OR due_at > CAST($5 AS BIGINT) THEN CAST($5 AS BIGINT)
                           ELSE due_at END
         WHERE loop = $1 AND subject = $2 AND fence = $3",
        &[loop_name.into(), claim.subject.into(), claim.fence.into(), claim.wakes.into(), next.into()],
    )?;
    Ok(changed == 1)
}

/// How often a subject has been woken. Whoever reads it *before* the inputs of a decision may [`plan`] by it afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(i64);

/// Remembers how often the loop was woken for the subject, before the inputs of a decision are read.
///
/// # Errors
/// Whatever the database refuses.
pub fn mark(tx: &mut Tx<'_>, loop_name: &str, subject: i64) -> Result<Mark> {
    let row = tx.query_opt("SELECT wakes FROM timer WHERE loop = $1 AND subject = $2", &[loop_name.into(), subject.into()])?;
    row.map_or(Ok(Mark(0)), |row| row.int(0).map(Mark))
}

/// Says when a decision is due again, or that it is not until somebody wakes it. Who was woken since `mark` stays due: the
/// decision may have read its inputs before. A plan is no wake-up itself.
///
/// # Errors
/// Whatever the database refuses.
pub fn plan(tx: &mut Tx<'_>, loop_name: &str, subject: i64, next: Option<Time>, mark: Mark) -> Result<()> {
    let Some(next) = next else {
        let sql = "UPDATE timer SET due_at = NULL WHERE loop = $1 AND subject = $2 AND wakes = $3";
        tx.execute(sql, &[loop_name.into(), subject.into(), mark.0.into()])?;
        return Ok(());
    };
    tx.execute(
        "INSERT INTO timer (loop, subject, due_at, wakes, claimed_until, claimed_by, fence) VALUES ($1, $2, $3, 0, 0, '', 0)
         ON CONFLICT (loop, subject) DO UPDATE SET
             due_at = CASE WHEN timer.wakes = $4 OR timer.due_at IS NULL OR timer.due_at > excluded.due_at THEN excluded.due_at
                           ELSE timer.due_at END",
        &[loop_name.into(), subject.into(), next.into(), mark.0.into()],
    )?;
    Ok(())
}

/// Ends the claim of a holder that does not keep it, such as a vantage: the subject is due again at `next`, or not until somebody
/// wakes it. If somebody did so since it was claimed, that stays due. Of what `holder` has not claimed, only an earlier due time
/// is taken.
///
/// # Errors
/// Whatever the database refuses.
pub fn done_by(tx: &mut Tx<'_>, loop_name: &str, subject: i64, holder: &str, next: Option<Time>) -> Result<()> {
    let ended = tx.execute(
        "UPDATE timer SET claimed_until = 0, claimed_by = '',
             due_at = CASE WHEN wakes = claimed_wakes THEN CAST($4 AS BIGINT)
                           WHEN due_at IS NULL OR due_at > CAST($4 AS BIGINT) THEN CAST($4 AS BIGINT)
                           ELSE due_at END
         WHERE loop = $1 AND subject = $2 AND claimed_by = $3",
        &[loop_name.into(), subject.into(), holder.into(), next.into()],
    )?;
    match next {
        Some(next) if ended == 0 => set_earlier(tx, loop_name, subject, next),
        _ => Ok(()),
    }
}

/// When the earliest subject that nobody has claimed is due. A claim whose holder died comes back at its end, which this does
/// not tell: a loop also looks once per claim length.
///
/// # Errors
/// Whatever the database refuses.
pub fn next_due(tx: &mut Tx<'_>, loop_name: &str, now: Time) -> Result<Option<Time>> {
    let row = tx.query_opt(
        "SELECT due_at FROM timer WHERE loop = $1 AND due_at IS NOT NULL AND claimed_until <= $2
         ORDER BY due_at, subject LIMIT 1",
        &[loop_name.into(), now.into()],
    )?;
    row.map(|row| row.time(0)).transpose()
}
