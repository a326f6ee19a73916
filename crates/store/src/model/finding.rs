//! What the rules said at the latest assessment. The rows of a subject are replaced as a whole.

use super::{fingerprint, word};
use crate::{Result, Row, Tx, Value};
use domain::{
    Fingerprint, Time,
    finding::{Code, Finding},
    ladder::Ending,
    policy::Level,
    secret::Tally,
    words::{SecretId, TargetId},
};
use std::collections::{BTreeMap, BTreeSet};

/// A finding as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingRow {
    /// Of which secret.
    pub secret: SecretId,
    /// Of which target; none for a finding of the secret itself.
    pub target: Option<TargetId>,
    /// What tells two of them apart.
    pub key: String,
    /// Which rule.
    pub code: Code,
    /// What it asks for.
    pub level: Level,
    /// The subject, as text.
    pub subject: String,
    /// Whether a service is already broken by it.
    pub broken: bool,
    /// The certificate that it is about.
    pub about: Option<Fingerprint>,
    /// Since when, where known.
    pub since: Option<Time>,
    /// When it becomes an outage, where known.
    pub until: Option<Time>,
    /// The sentence.
    pub detail: String,
}

const COLUMNS: &str = "secret_id, target_id, key, code, level, subject, broken, about, since, until, detail";
/// What is written besides: of these the ladder is made, in sums over targets.
const END: &str = "end_position, end_notice, end_incident, end_lifetime";

fn from_row(r: &Row) -> Result<FindingRow> {
    Ok(FindingRow {
        secret: SecretId(r.int(0)?),
        target: Some(r.int(1)?).filter(|t| *t != 0).map(TargetId),
        key: r.text(2)?.into(),
        code: word(r, 3, Code::parse)?,
        level: word(r, 4, Level::parse)?,
        subject: r.text(5)?.into(),
        broken: r.bool(6)?,
        about: fingerprint(r, 7)?,
        since: r.opt_time(8)?,
        until: r.opt_time(9)?,
        detail: r.text(10)?.into(),
    })
}

/// Replaces the findings of a target, or of a secret itself (`target` none). Says whether anything but sentences changed.
pub fn replace(tx: &mut Tx<'_>, secret: SecretId, target: Option<TargetId>, findings: &[Finding]) -> Result<bool> {
    let t = target.map_or(0, |t| t.0);
    let sql = format!(
        "SELECT {COLUMNS}, {END} FROM finding WHERE secret_id = CAST($1 AS BIGINT) AND target_id = CAST($2 AS BIGINT) ORDER BY key"
    );
    let rows = tx.query(&sql, &[secret.0.into(), t.into()])?;
    let before: Vec<FindingRow> = rows.iter().map(from_row).collect::<Result<_>>()?;
    // What an end's thresholds are decides what its owner is told, so they count as well.
    let shape = |key: &str, level: Level, subject: &str, ends: [Option<i64>; 2]| (key.to_owned(), level, subject.to_owned(), ends);
    let mut old = Vec::with_capacity(rows.len());
    for (f, r) in before.iter().zip(&rows) {
        old.push(shape(&f.key, f.level, &f.subject, [r.opt_int(12)?, r.opt_int(13)?]));
    }
    let ends = |f: &Finding| [f.end.map(|e| e.thresholds.notice.as_secs()), f.end.map(|e| e.thresholds.incident.as_secs())];
    let mut new: Vec<_> = findings.iter().map(|f| shape(&f.key(), f.level, &f.subject.to_string(), ends(f))).collect();
    old.sort();
    new.sort();
    let unchanged =
        old == new && findings.iter().all(|f| before.iter().any(|b| b.key == f.key() && b.detail == f.detail && b.level == f.level));
    if !unchanged {
        if target.is_some() {
            // As they will lie there: of two with one key the first.
            let mut keys = BTreeSet::new();
            let is = findings.iter().filter(|f| keys.insert(f.key())).map(|f| (f.subject.to_string(), f.code, f.level));
            tally(tx, secret, before.iter().map(|f| (f.subject.clone(), f.code, f.level)), is)?;
        }
        tx.execute(
            "DELETE FROM finding WHERE secret_id = CAST($1 AS BIGINT) AND target_id = CAST($2 AS BIGINT)",
            &[secret.0.into(), t.into()],
        )?;
        for f in findings {
            insert(tx, secret, t, f)?;
        }
    }
    Ok(old != new)
}

fn insert(tx: &mut Tx<'_>, secret: SecretId, target: i64, f: &Finding) -> Result<()> {
    tx.execute(
        &format!(
            "INSERT INTO finding ({COLUMNS}, {END}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15) \
             ON CONFLICT (secret_id, target_id, key) DO NOTHING"
        ),
        &[
            secret.0.into(),
            target.into(),
            f.key().into(),
            f.code.as_str().into(),
            f.level.as_str().into(),
            f.subject.to_string().into(),
            f.broken.into(),
            f.about.map(|a| *a.as_bytes()).map_or(Value::Null, Value::from),
            f.since.into(),
            f.until.into(),
            (&f.detail).into(),
            f.end.map(|e| e.position as i64).into(),
            f.end.map(|e| e.thresholds.notice.as_secs()).into(),
            f.end.map(|e| e.thresholds.incident.as_secs()).into(),
            f.end.map(|e| e.lifetime.as_secs()).into(),
        ],
    )?;
    Ok(())
}

/// What the subjects of ends begin with; they are counted at every level, since a renewal may be overdue before anybody is told.
const CERTIFICATE: &str = "certificate/";

/// What a finding is counted under.
type Kind = (String, Code, Level);

/// Keeps the counts of findings of a secret's targets, in the order of their keys.
fn tally(tx: &mut Tx<'_>, secret: SecretId, was: impl Iterator<Item = Kind>, is: impl Iterator<Item = Kind>) -> Result<()> {
    let mut changes = BTreeMap::<(String, &str, &str), i64>::new();
    for (kind, by) in was
        .map(|k| (k, -1))
        .chain(is.map(|k| (k, 1)))
        .filter(|((subject, _, level), _)| *level != Level::Info || subject.starts_with(CERTIFICATE))
    {
        *changes.entry((kind.0, kind.1.as_str(), kind.2.as_str())).or_default() += by;
    }
    for ((subject, code, level), by) in changes.into_iter().filter(|(_, by)| *by != 0) {
        let mut params: Vec<Value> = vec![secret.0.into(), subject.into(), code.into(), level.into(), by.into()];
        tx.execute(
            "INSERT INTO finding_tally (secret_id, subject, code, level, n) VALUES ($1,$2,$3,$4,$5) \
             ON CONFLICT (secret_id, subject, code, level) DO UPDATE SET n = finding_tally.n + excluded.n",
            &params,
        )?;
        if by < 0 {
            params.pop();
            tx.execute("DELETE FROM finding_tally WHERE secret_id = $1 AND subject = $2 AND code = $3 AND level = $4 AND n = 0", &params)?;
        }
    }
    Ok(())
}

/// Findings of a secret's targets at notice level or above, counted, each with a sentence of one of them.
pub(super) fn tallies(tx: &mut Tx<'_>, secret: SecretId) -> Result<Vec<Tally>> {
    // A count without any finding can only be left behind by whoever changed rows by hand: it says nothing.
    let sql = "SELECT t.subject, t.code, t.level, t.n, (SELECT f.detail FROM finding f WHERE f.secret_id = t.secret_id \
               AND f.subject = t.subject AND f.code = t.code AND f.level = t.level AND f.target_id <> 0 AND f.level <> 'info' \
               ORDER BY f.target_id, f.key LIMIT 1) FROM finding_tally t WHERE t.secret_id = $1 AND t.level <> 'info' \
               ORDER BY t.subject, t.code, t.level";
    tx.query(sql, &[secret.0.into()])?
        .iter()
        .filter(|r| r.values()[4] != Value::Null)
        .map(|r| {
            Ok(Tally {
                subject: r.text(0)?.into(),
                code: word(r, 1, Code::parse)?,
                level: word(r, 2, Level::parse)?,
                targets: r.int(3)? as u64,
                detail: r.text(4)?.into(),
            })
        })
        .collect()
}

/// The ends that findings of a secret's targets are about, each certificate once. What one target says of a certificate all say: it has
/// one date, one lifetime, and the thresholds of the secret.
pub(super) fn endings(tx: &mut Tx<'_>, secret: SecretId) -> Result<Vec<Ending>> {
    let sql = "SELECT subject, CAST(sum(n) AS BIGINT) FROM finding_tally WHERE secret_id = $1 AND subject LIKE 'certificate/%' \
               GROUP BY subject ORDER BY subject";
    let one = "SELECT about, end_position, until, end_notice, end_incident, end_lifetime FROM finding WHERE secret_id = $1 AND subject = $2 \
               AND target_id <> 0 AND end_lifetime IS NOT NULL ORDER BY code, level, target_id, key LIMIT 1";
    let active = "SELECT EXISTS (SELECT 1 FROM finding f JOIN target t ON t.id = f.target_id WHERE f.secret_id = $1 AND f.subject = $2 \
                  AND f.target_id <> 0 AND t.state <> 'standby')";
    let mut all = Vec::new();
    for r in tx.query(sql, &[secret.0.into()])? {
        let of: [Value; 2] = [secret.0.into(), r.text(0)?.into()];
        let Some(end) = tx.query_opt(one, &of)?.map(|r| super::target::end(&r, 0, 5)).transpose()?.flatten() else { continue };
        all.push(Ending { end, targets: r.int(1)? as u64, active: tx.query_one(active, &of)?.bool(0)? });
    }
    Ok(all)
}

/// A target that changed hands takes its findings along.
pub fn forget_target(tx: &mut Tx<'_>, target: TargetId) -> Result<()> {
    let sql = format!("SELECT {COLUMNS} FROM finding WHERE target_id = $1 ORDER BY secret_id, key");
    for f in tx.query(&sql, &[target.0.into()])?.iter().map(from_row).collect::<Result<Vec<_>>>()? {
        tally(tx, f.secret, std::iter::once((f.subject, f.code, f.level)), std::iter::empty())?;
    }
    tx.execute("DELETE FROM finding WHERE target_id = $1", &[target.0.into()])?;
    Ok(())
}

/// Findings of one secret and its targets, or of everything, in pages.
pub fn list(tx: &mut Tx<'_>, secret: Option<SecretId>, after: Option<(i64, i64, String)>, limit: i64) -> Result<Vec<FindingRow>> {
    let (s, t, k) = after.unwrap_or((i64::MIN, 0, String::new()));
    let of = if secret.is_some() { "AND secret_id = $5" } else { "" };
    let sql = format!(
        "SELECT {COLUMNS} FROM finding WHERE (secret_id, target_id, key) > ($1, $2, $3) {of} ORDER BY secret_id, target_id, key LIMIT $4"
    );
    let mut params: Vec<Value> = vec![s.into(), t.into(), k.into(), limit.into()];
    params.extend(secret.map(|s| Value::from(s.0)));
    tx.query(&sql, &params)?.iter().map(from_row).collect()
}

/// Findings of one target.
pub fn of_target(tx: &mut Tx<'_>, target: TargetId) -> Result<Vec<FindingRow>> {
    let sql = format!("SELECT {COLUMNS} FROM finding WHERE target_id = $1 ORDER BY key");
    tx.query(&sql, &[target.0.into()])?.iter().map(from_row).collect()
}
