//! What owners were told.

use crate::{Result, Row, Tx};
use domain::{
    Time,
    told::{AGAIN_AFTER, Told},
    words::SecretId,
};
use std::collections::BTreeMap;

/// A notice that went out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its number.
    pub id: i64,
    /// About which secret.
    pub secret: SecretId,
    /// [`domain::secret::Telling::key`].
    pub key: String,
    /// Which rule.
    pub code: String,
    /// The rung of the ladder.
    pub rung: Option<i64>,
    /// Whether it was told before, and has stood ever since.
    pub again: bool,
    /// To whom.
    pub team: String,
    /// When.
    pub at: Time,
    /// When it becomes an outage.
    pub until: Option<Time>,
    /// The sentence.
    pub detail: String,
    /// When what it is about was gone.
    pub ended_at: Option<Time>,
}

const COLUMNS: &str = "id, secret_id, key, code, rung, again, team, at, until, detail, ended_at";

/// Adds a notice.
pub fn insert(tx: &mut Tx<'_>, n: &Notice) -> Result<()> {
    tx.execute(
        &format!("INSERT INTO notice ({COLUMNS}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)"),
        &[
            n.id.into(),
            n.secret.0.into(),
            (&n.key).into(),
            (&n.code).into(),
            n.rung.into(),
            n.again.into(),
            (&n.team).into(),
            n.at.into(),
            n.until.into(),
            (&n.detail).into(),
            n.ended_at.into(),
        ],
    )?;
    Ok(())
}

/// Of which notices the rules ask: those that stand, those of the last while, and the rungs of ends that are still to come.
const ASKED: &str = "(ended_at IS NULL OR at > $3 OR (rung IS NOT NULL AND until > $4))";

fn asked(from: i64, to: i64, now: Time) -> [crate::Value; 4] {
    [from.into(), to.into(), (now - AGAIN_AFTER).into(), now.into()]
}

fn told_row(r: &Row) -> Result<Told> {
    Ok(Told { key: r.text(1)?.into(), at: r.time(2)?, stands: r.opt_time(3)?.is_none() })
}

/// What was told about a secret: the latest notice of each key of which the rules ask, in the order of keys.
pub fn told(tx: &mut Tx<'_>, secret: SecretId, now: Time) -> Result<Vec<Told>> {
    Ok(told_between(tx, secret, secret, now)?.remove(&secret).unwrap_or_default())
}

/// What was told about secrets between two numbers.
pub fn told_between(tx: &mut Tx<'_>, first: SecretId, last: SecretId, now: Time) -> Result<BTreeMap<SecretId, Vec<Told>>> {
    // The latest is the last that was written, whatever the clock said then.
    let sql = format!(
        "SELECT secret_id, key, at, ended_at FROM notice WHERE id IN (SELECT max(id) FROM notice \
         WHERE secret_id >= $1 AND secret_id <= $2 AND {ASKED} GROUP BY secret_id, key) ORDER BY secret_id, key"
    );
    let mut all: BTreeMap<SecretId, Vec<Told>> = BTreeMap::new();
    tx.for_each(&sql, &asked(first.0, last.0, now), |r| {
        all.entry(SecretId(r.int(0)?)).or_default().push(told_row(&r)?);
        Ok(())
    })?;
    Ok(all)
}

/// What the notices of a key are about is gone.
pub fn end(tx: &mut Tx<'_>, secret: SecretId, key: &str, now: Time) -> Result<()> {
    let sql = "UPDATE notice SET ended_at = $3 WHERE secret_id = $1 AND key = $2 AND ended_at IS NULL";
    tx.execute(sql, &[secret.0.into(), key.into(), now.into()])?;
    Ok(())
}

/// Whatever was told of a secret is gone.
pub fn end_all(tx: &mut Tx<'_>, secret: SecretId, now: Time) -> Result<()> {
    tx.execute("UPDATE notice SET ended_at = $2 WHERE secret_id = $1 AND ended_at IS NULL", &[secret.0.into(), now.into()])?;
    Ok(())
}

/// Whether a rule was told of a secret since a moment.
pub fn was_told(tx: &mut Tx<'_>, secret: SecretId, code: &str, since: Time) -> Result<bool> {
    let sql = "SELECT id FROM notice WHERE secret_id = $1 AND code = $2 AND at >= $3 ORDER BY id LIMIT 1";
    Ok(tx.query_opt(sql, &[secret.0.into(), code.into(), since.into()])?.is_some())
}

/// Notices, the newest first.
pub fn list(tx: &mut Tx<'_>, before: Option<i64>, limit: i64) -> Result<Vec<Notice>> {
    let sql = format!("SELECT {COLUMNS} FROM notice WHERE id < $1 ORDER BY id DESC LIMIT $2");
    tx.query(&sql, &[before.unwrap_or(i64::MAX).into(), limit.into()])?
        .iter()
        .map(|r| {
            Ok(Notice {
                id: r.int(0)?,
                secret: SecretId(r.int(1)?),
                key: r.text(2)?.into(),
                code: r.text(3)?.into(),
                rung: r.opt_int(4)?,
                again: r.bool(5)?,
                team: r.text(6)?.into(),
                at: r.time(7)?,
                until: r.opt_time(8)?,
                detail: r.text(9)?.into(),
                ended_at: r.opt_time(10)?,
            })
        })
        .collect()
}

/// Up to which notice those that are told together were told, and the number of the last notice there is.
///
/// Another transaction may still hold a lower number, unless who writes such notices and who asks this take the same turn.
pub fn digested(tx: &mut Tx<'_>) -> Result<(i64, i64)> {
    let n = |r: Option<Row>| r.map_or(Ok(0), |r| r.int(0));
    let done = n(tx.query_opt("SELECT n FROM counter WHERE name = $1", &[DIGESTED.into()])?)?;
    let last = n(tx.query_opt("SELECT id FROM notice ORDER BY id DESC LIMIT 1", &[])?)?;
    // Old notices are pruned: what was told stays told.
    Ok((done, last.max(done)))
}

/// Moves that on. False where somebody else has done so meanwhile.
pub fn set_digested(tx: &mut Tx<'_>, from: i64, to: i64) -> Result<bool> {
    tx.execute("INSERT INTO counter (name, n) VALUES ($1, 0) ON CONFLICT (name) DO NOTHING", &[DIGESTED.into()])?;
    Ok(tx.execute("UPDATE counter SET n = $3 WHERE name = $1 AND n = $2", &[DIGESTED.into(), from.into(), to.into()])? == 1)
}

/// The row of `counter` that says so.
const DIGESTED: &str = "notice/digested";

/// Notices of one rule and team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The team, empty for nobody.
    pub team: String,
    /// How many.
    pub count: i64,
    /// Whether one of them was told before.
    pub again: bool,
    /// The secrets of the first of them.
    pub secrets: Vec<String>,
}

/// The notices of a rule behind `from` and up to `to`, grouped by team, each with the names of at most `names` secrets.
pub fn groups(tx: &mut Tx<'_>, code: &str, from: i64, to: i64, names: i64) -> Result<Vec<Group>> {
    let sql = "SELECT team, count(*), max(again) FROM notice WHERE code = $1 AND id > $2 AND id <= $3 \
               GROUP BY team ORDER BY team";
    let rows = tx.query(sql, &[code.into(), from.into(), to.into()])?;
    rows.iter()
        .map(|r| {
            let sql = "SELECT s.name FROM notice n JOIN secret s ON s.id = n.secret_id \
                       WHERE n.code = $1 AND n.id > $2 AND n.id <= $3 AND n.team = $4 ORDER BY n.id LIMIT $5";
            let first = tx.query(sql, &[code.into(), from.into(), to.into(), r.text(0)?.into(), names.into()])?;
            Ok(Group {
                team: r.text(0)?.into(),
                count: r.int(1)?,
                again: r.bool(2)?,
                secrets: first.iter().map(|r| Ok(r.text(0)?.to_owned())).collect::<Result<_>>()?,
            })
        })
        .collect()
}
