//! What must be replaced by a deadline: an issuer says that it revokes, a key has leaked, a person says so.

use super::{fingerprint, list, list_column};
use crate::{Result, Row, StoreError, Tx};
use domain::{
    Fingerprint, Time,
    words::{SecretId, TargetId},
};
use std::collections::BTreeSet;

/// A revocation as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Its number.
    pub id: i64,
    /// What it was asked for, for people.
    pub asked: Vec<String>,
    /// By when everything must be replaced.
    pub deadline_at: Time,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub actor: String,
    /// When.
    pub created_at: Time,
    /// When every target was observed without what is to be replaced, or when it was withdrawn.
    pub ended_at: Option<Time>,
    /// Who withdrew it, empty for nobody.
    pub withdrawn_by: String,
    /// Why.
    pub withdrawn_for: String,
}

const COLUMNS: &str = "id, asked, deadline_at, reason, actor, created_at, ended_at, withdrawn_by, withdrawn_for";

fn from_row(r: &Row) -> Result<Revocation> {
    Ok(Revocation {
        id: r.int(0)?,
        asked: list(r.text(1)?)?,
        deadline_at: r.time(2)?,
        reason: r.text(3)?.into(),
        actor: r.text(4)?.into(),
        created_at: r.time(5)?,
        ended_at: r.opt_time(6)?,
        withdrawn_by: r.text(7)?.into(),
        withdrawn_for: r.text(8)?.into(),
    })
}

/// Adds a revocation.
pub fn insert(tx: &mut Tx<'_>, r: &Revocation) -> Result<()> {
    tx.execute(
        &format!("INSERT INTO revocation ({COLUMNS}, generation) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,0)"),
        &[
            r.id.into(),
            list_column(&r.asked).into(),
            r.deadline_at.into(),
            (&r.reason).into(),
            (&r.actor).into(),
            r.created_at.into(),
            r.ended_at.into(),
            (&r.withdrawn_by).into(),
            (&r.withdrawn_for).into(),
        ],
    )?;
    Ok(())
}

/// Takes its row.
pub fn lock(tx: &mut Tx<'_>, id: i64) -> Result<Option<Revocation>> {
    let sql = format!("UPDATE revocation SET generation = generation + 1 WHERE id = $1 RETURNING {COLUMNS}");
    tx.query_opt(&sql, &[id.into()])?.as_ref().map(from_row).transpose()
}

/// A revocation.
pub fn get(tx: &mut Tx<'_>, id: i64) -> Result<Option<Revocation>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM revocation WHERE id = $1"), &[id.into()])?.as_ref().map(from_row).transpose()
}

/// Revocations, the latest first, before `before`.
pub fn page(tx: &mut Tx<'_>, before: Option<i64>, limit: i64) -> Result<Vec<Revocation>> {
    let sql = format!("SELECT {COLUMNS} FROM revocation WHERE id < $1 ORDER BY id DESC LIMIT $2");
    tx.query(&sql, &[before.unwrap_or(i64::MAX).into(), limit.into()])?.iter().map(from_row).collect()
}

/// It is over.
pub fn end(tx: &mut Tx<'_>, id: i64, now: Time) -> Result<()> {
    tx.execute("UPDATE revocation SET ended_at = $2 WHERE id = $1", &[id.into(), now.into()])?;
    Ok(())
}

/// It was a mistake: nothing of it is to be replaced any more.
pub fn withdraw(tx: &mut Tx<'_>, id: i64, by: &str, reason: &str, now: Time) -> Result<()> {
    let sql = "UPDATE revocation SET withdrawn_by = $2, withdrawn_for = $3, withdrawn_at = $4, ended_at = $4 WHERE id = $1";
    tx.execute(sql, &[id.into(), by.into(), reason.into(), now.into()])?;
    Ok(())
}

/// Adds a leaf that is to be replaced, of a version of a secret; 0 for one that was only seen.
pub fn insert_leaf(tx: &mut Tx<'_>, id: i64, leaf: &Fingerprint, secret: SecretId, version: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO revoked_leaf (revocation_id, leaf, secret_id, version) VALUES ($1,$2,$3,$4) \
         ON CONFLICT (revocation_id, secret_id, version, leaf) DO NOTHING",
        &[id.into(), (*leaf.as_bytes()).into(), secret.0.into(), version.into()],
    )?;
    Ok(())
}

/// The leaves of a revocation, with the secret and version that each is of.
pub fn leaves(tx: &mut Tx<'_>, id: i64) -> Result<Vec<(Fingerprint, SecretId, i64)>> {
    let sql = "SELECT leaf, secret_id, version FROM revoked_leaf WHERE revocation_id = $1 ORDER BY secret_id, version, leaf";
    let leaf = |r: &Row| Ok((leaf(r)?, SecretId(r.int(1)?), r.int(2)?));
    tx.query(sql, &[id.into()])?.iter().map(leaf).collect()
}

/// The leaves of a revocation that are of one secret, each once.
pub fn leaves_of(tx: &mut Tx<'_>, id: i64, secret: SecretId) -> Result<BTreeSet<Fingerprint>> {
    let sql = "SELECT DISTINCT leaf FROM revoked_leaf WHERE revocation_id = $1 AND secret_id = $2 ORDER BY leaf";
    tx.query(sql, &[id.into(), secret.0.into()])?.iter().map(leaf).collect()
}

fn leaf(r: &Row) -> Result<Fingerprint> {
    fingerprint(r, 0)?.ok_or_else(|| StoreError::Corrupt { what: String::from("a revoked leaf") })
}

/// How many certificates a revocation is about.
pub fn count_leaves(tx: &mut Tx<'_>, id: i64) -> Result<i64> {
    tx.query_one("SELECT COUNT(DISTINCT leaf) FROM revoked_leaf WHERE revocation_id = $1", &[id.into()])?.int(0)
}

/// The revocations that a leaf is of and that were not withdrawn: number, deadline and reason, the earliest deadline first.
pub fn of_leaf(tx: &mut Tx<'_>, leaf: &Fingerprint) -> Result<Vec<(i64, Time, String)>> {
    let sql = "SELECT DISTINCT v.id, v.deadline_at, v.reason FROM revoked_leaf l JOIN revocation v ON v.id = l.revocation_id \
               WHERE l.leaf = $1 AND v.withdrawn_at IS NULL ORDER BY v.deadline_at, v.id";
    tx.query(sql, &[(*leaf.as_bytes()).into()])?.iter().map(|r| Ok((r.int(0)?, r.time(1)?, r.text(2)?.to_owned()))).collect()
}

/// The revocation that a version is of, where it is of one that was not withdrawn: by its number, or since one of its certificates is of it.
pub fn of_version(tx: &mut Tx<'_>, secret: SecretId, version: i64) -> Result<Option<i64>> {
    let by_number = "SELECT MIN(v.id) FROM revoked_leaf l JOIN revocation v ON v.id = l.revocation_id AND v.withdrawn_at IS NULL \
                     WHERE l.secret_id = $1 AND l.version = $2";
    if let Some(id) = tx.query_one(by_number, &[secret.0.into(), version.into()])?.opt_int(0)? {
        return Ok(Some(id));
    }
    let by_leaf = "SELECT MIN(v.id) FROM instance i JOIN revoked_leaf l ON l.leaf = i.leaf \
                   JOIN revocation v ON v.id = l.revocation_id AND v.withdrawn_at IS NULL WHERE i.secret_id = $1 AND i.version = $2";
    tx.query_one(by_leaf, &[secret.0.into(), version.into()])?.opt_int(0)
}

/// The newest version of a secret that a revocation is of which was not withdrawn; 0 for none.
pub fn newest_revoked(tx: &mut Tx<'_>, secret: SecretId) -> Result<i64> {
    let sql = "SELECT MAX(l.version) FROM revoked_leaf l JOIN revocation v ON v.id = l.revocation_id AND v.withdrawn_at IS NULL \
               WHERE l.secret_id = $1";
    Ok(tx.query_one(sql, &[secret.0.into()])?.opt_int(0)?.unwrap_or_default())
}

/// How many targets still answer with something of a revocation, of whichever secret.
pub fn open_lines(tx: &mut Tx<'_>, id: i64) -> Result<i64> {
    let sql = "SELECT COUNT(*) FROM incident i JOIN incident_line l ON l.incident_id = i.id AND l.closed_at IS NULL WHERE i.subject = $1";
    tx.query_one(sql, &[format!("revocation/{id}").as_str().into()])?.int(0)
}

/// A secret of a revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affected {
    /// Which.
    pub secret: SecretId,
    /// The least goes first.
    pub place: i64,
    /// The newest version when it was opened.
    pub version: i64,
    /// The rollout that brings its replacement, 0 for none yet.
    pub rollout: i64,
    /// What is waited for.
    pub detail: String,
    /// When its issuer was asked for a new one.
    pub asked_at: Option<Time>,
    /// When all of its targets were observed without what is to be replaced.
    pub done_at: Option<Time>,
}

/// Writes what became of a secret.
pub fn put_affected(tx: &mut Tx<'_>, id: i64, a: &Affected) -> Result<()> {
    tx.execute(
        "INSERT INTO revocation_secret (revocation_id, secret_id, place, version, rollout_id, detail, done_at, asked_at) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8) ON CONFLICT (revocation_id, secret_id) \
         DO UPDATE SET rollout_id = $5, detail = $6, done_at = $7, asked_at = $8",
        &[
            id.into(),
            a.secret.0.into(),
            a.place.into(),
            a.version.into(),
            a.rollout.into(),
            (&a.detail).into(),
            a.done_at.into(),
            a.asked_at.into(),
        ],
    )?;
    Ok(())
}

const AFFECTED: &str = "secret_id, place, version, rollout_id, detail, done_at, asked_at FROM revocation_secret WHERE revocation_id = $1";

fn affected_row(r: &Row) -> Result<Affected> {
    Ok(Affected {
        secret: SecretId(r.int(0)?),
        place: r.int(1)?,
        version: r.int(2)?,
        rollout: r.int(3)?,
        detail: r.text(4)?.into(),
        done_at: r.opt_time(5)?,
        asked_at: r.opt_time(6)?,
    })
}

/// Secrets of a revocation behind a place, in the order of risk; only those that are still to be replaced, where that is asked.
pub fn affected(tx: &mut Tx<'_>, id: i64, only_open: bool, after: Option<i64>, limit: i64) -> Result<Vec<Affected>> {
    let open = if only_open { "AND done_at IS NULL" } else { "" };
    let sql = format!("SELECT {AFFECTED} {open} AND place > $2 ORDER BY place, secret_id LIMIT $3");
    tx.query(&sql, &[id.into(), after.unwrap_or(-1).into(), limit.into()])?.iter().map(affected_row).collect()
}

/// How many secrets a revocation has, and how many of them are replaced.
pub fn count_affected(tx: &mut Tx<'_>, id: i64) -> Result<(i64, i64)> {
    let row = tx.query_one("SELECT COUNT(*), COUNT(done_at) FROM revocation_secret WHERE revocation_id = $1", &[id.into()])?;
    Ok((row.int(0)?, row.int(1)?))
}

/// Wakes a loop for every open revocation that a secret is part of.
pub fn wake(tx: &mut Tx<'_>, secret: SecretId, loop_name: &str, at: Time) -> Result<u64> {
    tx.execute(
        "INSERT INTO timer (loop, subject, due_at, wakes, claimed_until, claimed_by, fence) \
         SELECT $1, v.id, $3, 1, 0, '', 0 FROM revocation_secret s JOIN revocation v ON v.id = s.revocation_id \
         WHERE s.secret_id = $2 AND v.ended_at IS NULL ORDER BY v.id \
         ON CONFLICT (loop, subject) DO UPDATE SET wakes = timer.wakes + 1, \
         due_at = CASE WHEN timer.due_at < excluded.due_at THEN timer.due_at ELSE excluded.due_at END",
        &[loop_name.into(), secret.0.into(), at.into()],
    )
}

/// Targets of a secret that may still answer with one of a revocation's leaves, or were never seen, by their finding or for want of an
/// observation; how many, and the names of some.
pub fn still_serving(tx: &mut Tx<'_>, id: i64, secret: SecretId, named: i64) -> Result<(i64, Vec<String>)> {
    let sql = "FROM target t WHERE t.secret_id = $1 AND t.retired_at IS NULL AND EXISTS (SELECT 1 FROM incident_line l \
               JOIN incident i ON i.id = l.incident_id WHERE l.target_id = t.id AND l.closed_at IS NULL AND i.subject = $2)";
    let subject = format!("revocation/{id}");
    let n = tx.query_one(&format!("SELECT COUNT(*) {sql}"), &[secret.0.into(), subject.as_str().into()])?.int(0)?;
    let rows =
        tx.query(&format!("SELECT t.name {sql} ORDER BY t.id LIMIT $3"), &[secret.0.into(), subject.as_str().into(), named.into()])?;
    Ok((n, rows.iter().map(|r| Ok(r.text(0)?.to_owned())).collect::<Result<_>>()?))
}

/// What targets were last seen to answer with: secret, leaf, and the chain (concatenated DER), each once.
pub fn observed(tx: &mut Tx<'_>) -> Result<Vec<(SecretId, Fingerprint, Vec<u8>)>> {
    let sql = "SELECT s.secret_id, c.leaf, c.der FROM (SELECT DISTINCT t.secret_id, o.good_chain FROM observation o \
               JOIN target t ON t.id = o.target_id WHERE t.retired_at IS NULL AND o.good_chain IS NOT NULL) s \
               JOIN chain c ON c.hash = s.good_chain ORDER BY s.secret_id, c.hash";
    let mut all = Vec::new();
    tx.for_each(sql, &[], |r| {
        let leaf = fingerprint(&r, 1)?.ok_or_else(|| StoreError::Corrupt { what: String::from("a chain without a leaf") })?;
        all.push((SecretId(r.int(0)?), leaf, r.bytes(2)?.to_vec()));
        Ok(())
    })?;
    Ok(all)
}

/// Whether every target of a secret was successfully looked at after `since` in every combination that is remembered and answers with none
/// of these leaves; where a replacement is stored, every required one must show it or a later version.
pub fn all_replaced(tx: &mut Tx<'_>, secret: SecretId, since: Time, leaves: &BTreeSet<Fingerprint>, replacement: bool) -> Result<bool> {
    if replacement {
        // The oldest version that is none of these: what targets show is settled by the same evidence as their lines.
        let revoked = newest_revoked(tx, secret)?;
        let behind = "SELECT COUNT(*) FROM target WHERE secret_id = $1 AND retired_at IS NULL AND (required = 0 OR shows <= $2)";
        if tx.query_one(behind, &[secret.0.into(), revoked.into()])?.int(0)? > 0 {
            return Ok(false);
        }
    }
    let ids = tx.query("SELECT id FROM target WHERE secret_id = $1 AND retired_at IS NULL ORDER BY id", &[secret.0.into()])?;
    for id in ids {
        let id = TargetId(id.int(0)?);
        let records = super::observation::of_target(tx, id)?;
        let unseen = |o: &super::observation::Observation| o.record.good.is_none_or(|g| g.at < since);
        let serves = |o: &super::observation::Observation| o.record.may_serve().any(|s| leaves.contains(&s.leaf));
        if records.is_empty() || records.iter().any(|o| unseen(o) || serves(o)) {
            return Ok(false);
        }
    }
    Ok(true)
}
