//! Counts that are kept, held against the rows that they count. Only the sweep asks: it trusts no count.

use super::target::PRODUCTION;
use crate::{Result, Tx};
use domain::words::{IncidentId, SecretId};
use std::collections::{BTreeMap, BTreeSet};

/// Secrets between two numbers for whose targets or findings the kept counts differ from the rows.
///
/// # Errors
/// Whatever the database refuses.
pub fn miscounted_secrets(tx: &mut Tx<'_>, first: SecretId, last: SecretId) -> Result<BTreeSet<SecretId>> {
    let between = [first.0.into(), last.0.into()];
    let mut wrong = BTreeSet::new();
    let pairs = [
        (format!("{} AND secret_id >= $1 AND secret_id <= $2 GROUP BY secret_id ORDER BY secret_id", targets()), KEPT_TARGETS.to_owned()),
        (format!("{FINDINGS} AND secret_id >= $1 AND secret_id <= $2 {BY_KIND}"), KEPT_FINDINGS.to_owned()),
    ];
    for (rows, kept) in pairs {
        let mut sums = BTreeMap::<String, (i64, Vec<i64>)>::new();
        for (sql, sign) in [(rows, 1), (kept, -1)] {
            tx.for_each(&sql, &between, |r| {
                let sum = sums.entry(r.text(1)?.to_owned()).or_insert_with(|| (0, vec![0; 4]));
                sum.0 = r.int(0)?;
                for (at, part) in sum.1.iter_mut().enumerate() {
                    *part += sign * r.int(2 + at)?;
                }
                Ok(())
            })?;
        }
        wrong.extend(sums.into_values().filter(|(_, parts)| parts.iter().any(|p| *p != 0)).map(|(secret, _)| SecretId(secret)));
    }
    Ok(wrong)
}

/// Counts the targets of a secret and their findings again.
///
/// # Errors
/// Whatever the database refuses.
pub fn recount_secret(tx: &mut Tx<'_>, secret: SecretId) -> Result<()> {
    let id = [secret.0.into()];
    // Whoever changes a row writes its count first: once the counts are taken, the rows hold still.
    tx.execute("DELETE FROM target_tally WHERE secret_id = $1", &id)?;
    tx.execute("DELETE FROM finding_tally WHERE secret_id = $1", &id)?;
    let (targets, findings) = (targets(), FINDINGS);
    tx.execute(
        &format!(
            "INSERT INTO target_tally (secret_id, n, production, current, required) \
             SELECT secret_id, n, production, current, required FROM ({targets} AND secret_id = $1 GROUP BY secret_id) AS counted"
        ),
        &id,
    )?;
    tx.execute(
        &format!(
            "INSERT INTO finding_tally (secret_id, subject, code, level, n) \
             SELECT secret_id, subject, code, level, n FROM ({findings} AND secret_id = $1 GROUP BY secret_id, subject, code, level) AS counted"
        ),
        &id,
    )?;
    Ok(())
}

/// The next incidents after one, at most `limit`, and which of them have kept counts of lines that differ from the lines.
///
/// # Errors
/// Whatever the database refuses.
pub fn miscounted_incidents(tx: &mut Tx<'_>, after: IncidentId, limit: i64) -> Result<(Option<IncidentId>, BTreeSet<IncidentId>)> {
    let page = tx.query("SELECT id FROM incident WHERE id > $1 ORDER BY id LIMIT $2", &[after.0.into(), limit.into()])?;
    let ids = page.iter().map(|r| r.int(0)).collect::<Result<Vec<i64>>>()?;
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok((None, BTreeSet::new())) };
    let between = [(*first).into(), (*last).into()];
    let mut sums = BTreeMap::<(i64, String), i64>::new();
    let rows = "SELECT incident_id, how, count(*) FROM incident_line WHERE incident_id >= $1 AND incident_id <= $2 \
                GROUP BY incident_id, how ORDER BY incident_id, how";
    let kept = "SELECT incident_id, how, n FROM incident_line_tally WHERE incident_id >= $1 AND incident_id <= $2 \
                ORDER BY incident_id, how";
    for (sql, sign) in [(rows, 1), (kept, -1)] {
        tx.for_each(sql, &between, |r| {
            *sums.entry((r.int(0)?, r.text(1)?.to_owned())).or_default() += sign * r.int(2)?;
            Ok(())
        })?;
    }
    let wrong = sums.into_iter().filter(|(_, n)| *n != 0).map(|((incident, _), _)| IncidentId(incident)).collect();
    Ok((Some(IncidentId(*last)), wrong))
}

/// Counts the lines of an incident again.
///
/// # Errors
/// Whatever the database refuses.
pub fn recount_incident(tx: &mut Tx<'_>, incident: IncidentId) -> Result<()> {
    let id = [incident.0.into()];
    tx.execute("DELETE FROM incident_line_tally WHERE incident_id = $1", &id)?;
    tx.execute(
        "INSERT INTO incident_line_tally (incident_id, how, n) \
         SELECT incident_id, how, count(*) FROM incident_line WHERE incident_id = $1 GROUP BY incident_id, how",
        &id,
    )?;
    Ok(())
}

/// Brings the numbers of all secrets and targets to what there is. Says whether one was wrong.
///
/// # Errors
/// Whatever the database refuses.
pub fn recount_all(tx: &mut Tx<'_>) -> Result<bool> {
    let mut wrong = false;
    for (what, table) in [(super::SECRETS, "secret"), (super::TARGETS, "target")] {
        let there = tx.query_one(&format!("SELECT count(*) FROM {table} WHERE retired_at IS NULL"), &[])?.int(0)?;
        let by = there - tx.counted(what)?;
        if by != 0 {
            tx.count(what, by)?;
            wrong = true;
        }
    }
    Ok(wrong)
}

const KEPT_TARGETS: &str = "SELECT secret_id, CAST(secret_id AS TEXT) AS kind, n, production, current, required FROM target_tally \
                            WHERE secret_id >= $1 AND secret_id <= $2 ORDER BY secret_id";
const FINDINGS: &str = "SELECT secret_id, CAST(secret_id AS TEXT) || '/' || subject || '/' || code || '/' || level AS kind, count(*) AS n, \
                        0 AS b, 0 AS c, 0 AS d, subject, code, level FROM finding WHERE target_id <> 0 \
                        AND (level <> 'info' OR subject LIKE 'certificate/%')";
const BY_KIND: &str = "GROUP BY secret_id, subject, code, level ORDER BY secret_id, subject, code, level";
const KEPT_FINDINGS: &str = "SELECT secret_id, CAST(secret_id AS TEXT) || '/' || subject || '/' || code || '/' || level AS kind, n, 0, 0, 0 \
                             FROM finding_tally WHERE secret_id >= $1 AND secret_id <= $2 ORDER BY secret_id, subject, code, level";

fn targets() -> String {
    format!(
        "SELECT secret_id, CAST(secret_id AS TEXT) AS kind, count(*) AS n, \
         CAST(sum(CASE WHEN {PRODUCTION} THEN 1 ELSE 0 END) AS BIGINT) AS production, CAST(sum(current) AS BIGINT) AS current, \
         CAST(sum(required) AS BIGINT) AS required FROM target WHERE retired_at IS NULL"
    )
}
