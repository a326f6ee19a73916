//! Letting go of what is old, a few rows at a time. What belongs to an incident that is open or not reviewed stays, whatever its age;
//! the journal has no function here.

use crate::{Result, Tx, Value};
use domain::{Fingerprint, Time};
use std::collections::BTreeMap;

/// Deletes messages that were done before a moment, with the attempts to deliver them. Says how many messages.
pub fn messages(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<u64> {
    let sql = "SELECT o.id FROM outbox o WHERE o.done_at < $1 AND o.state <> 'waiting' AND NOT EXISTS (\
               SELECT 1 FROM incident i WHERE i.id = o.incident_id AND i.state <> 'reviewed') ORDER BY o.done_at, o.id LIMIT $2";
    let ids = tx.query(sql, &[before.into(), limit.into()])?;
    for r in &ids {
        let id = Value::from(r.int(0)?);
        tx.execute("DELETE FROM delivery WHERE outbox_id = $1", std::slice::from_ref(&id))?;
        tx.execute("DELETE FROM outbox WHERE id = $1", &[id])?;
    }
    Ok(ids.len() as u64)
}

/// Deletes notices whose findings were gone before a moment.
pub fn notices(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<u64> {
    tx.execute(
        "DELETE FROM notice WHERE id IN (SELECT n.id FROM notice n WHERE n.ended_at < $1 AND NOT EXISTS (\
         SELECT 1 FROM incident_line l JOIN incident i ON i.id = l.incident_id WHERE l.secret_id = n.secret_id AND n.secret_id <> 0 \
         AND i.state <> 'reviewed') ORDER BY n.ended_at, n.id LIMIT $2)",
        &[before.into(), limit.into()],
    )
}

/// Deletes changes of observations from before a moment.
pub fn changes(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<u64> {
    tx.execute(
        "DELETE FROM observation_change WHERE id IN (SELECT c.id FROM observation_change c WHERE c.at < $1 AND NOT EXISTS (\
         SELECT 1 FROM incident_line l JOIN incident i ON i.id = l.incident_id WHERE l.target_id = c.target_id \
         AND i.state <> 'reviewed') ORDER BY c.at, c.id LIMIT $2)",
        &[before.into(), limit.into()],
    )
}

/// Deletes lines of reviewed incidents that closed before a moment. The incident itself stays, with the numbers of its lines: repeats
/// are found by it.
pub fn lines(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<u64> {
    let sql = "SELECT l.id, l.incident_id, l.how FROM incident_line l JOIN incident i ON i.id = l.incident_id \
               WHERE l.closed_at < $1 AND i.state = 'reviewed' ORDER BY l.closed_at, l.id LIMIT $2";
    let old = tx.query(sql, &[before.into(), limit.into()])?;
    // In the order of the counts that are kept of what is there, so that two never wait for each other.
    let mut counts = BTreeMap::<(i64, String), i64>::new();
    for r in &old {
        *counts.entry((r.int(1)?, r.text(2)?.to_owned())).or_default() += 1;
    }
    for ((incident, how), n) in counts {
        let sql = "UPDATE incident_line_tally SET n = n - $3 WHERE incident_id = $1 AND how = $2";
        tx.execute(sql, &[incident.into(), how.into(), n.into()])?;
    }
    for r in &old {
        tx.execute("DELETE FROM incident_line WHERE id = $1", &[r.int(0)?.into()])?;
    }
    Ok(old.len() as u64)
}

/// Deletes reports of sweeps that ended before a moment, except the last ones.
pub fn sweeps(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<u64> {
    tx.execute(
        "DELETE FROM sweep WHERE id IN (SELECT s.id FROM sweep s WHERE s.finished_at < $1 AND s.id < (SELECT max(id) FROM sweep) - 1 \
         ORDER BY s.id LIMIT $2)",
        &[before.into(), limit.into()],
    )
}

/// Deletes what became of each target of rollouts that ended before a moment and have a successor that was not taken back: what production
/// has, and what brought it there, stays known.
pub fn rollout_targets(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<u64> {
    tx.execute(
        "DELETE FROM rollout_target WHERE (rollout_id, target_id) IN (SELECT p.rollout_id, p.target_id FROM rollout r \
         JOIN rollout_target p ON p.rollout_id = r.id WHERE r.ended_at < $1 AND EXISTS (SELECT 1 FROM rollout n \
         WHERE n.secret_id = r.secret_id AND n.id > r.id AND n.state <> 'rolled-back' AND n.state <> 'waiting') \
         ORDER BY p.rollout_id, p.target_id LIMIT $2)",
        &[before.into(), limit.into()],
    )
}

/// Nothing that was observed names the chain, and nobody has presented it since a moment.
const UNUSED: &str = "kept_at < $2 AND NOT EXISTS (SELECT 1 FROM observation o WHERE o.good_chain = chain.hash) \
                      AND NOT EXISTS (SELECT 1 FROM observation_change c WHERE c.chain = chain.hash)";

/// A page of the presented chains behind `after`: the last of it, and those that nothing names any more.
pub fn unused_chains(tx: &mut Tx<'_>, after: &[u8], before: Time, limit: i64) -> Result<Option<(Vec<u8>, Vec<Fingerprint>)>> {
    let sql = format!("SELECT hash, CASE WHEN {UNUSED} THEN 1 ELSE 0 END FROM chain WHERE hash > $1 ORDER BY hash LIMIT $3");
    let page = tx.query(&sql, &[after.to_vec().into(), before.into(), limit.into()])?;
    let Some(last) = page.last() else { return Ok(None) };
    let mut unused = Vec::new();
    for r in &page {
        if r.bool(1)? {
            unused.extend(super::fingerprint(r, 0)?);
        }
    }
    Ok(Some((last.bytes(0)?.to_vec(), unused)))
}

/// Deletes a chain, where that still holds and no observation names it among those that were seen before.
pub fn chain(tx: &mut Tx<'_>, hash: &Fingerprint, before: Time) -> Result<u64> {
    let seen_before = "NOT EXISTS (SELECT 1 FROM observation o WHERE o.others <> '' AND o.others LIKE $3)";
    let sql = format!("DELETE FROM chain WHERE hash = $1 AND {UNUSED} AND {seen_before}");
    tx.execute(&sql, &[(*hash.as_bytes()).into(), before.into(), format!("%{hash}%").into()])
}

/// Paths behind a number that no target may answer with any more.
pub fn unnamed_paths(tx: &mut Tx<'_>, after: i64, limit: i64) -> Result<Vec<i64>> {
    super::path::unnamed(tx, after, limit)
}

/// Deletes a path, where that still holds.
pub fn path(tx: &mut Tx<'_>, id: i64) -> Result<u64> {
    super::path::forget(tx, id)
}
