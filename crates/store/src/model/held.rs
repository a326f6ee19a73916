//! Keys that belong to no certificate of a secret: of authorities, ACME accounts, requests by hand, manifests. What is sealed of them
//! lies beside what is sealed of secrets.

use super::fingerprint;
use crate::{Result, Row, StoreError, Tx};
use domain::{Fingerprint, Time};

/// A held key. It names a key and cannot hold one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its number, from the sequence of instances.
    pub id: i64,
    /// What it is for: `ca-key`, `account-key`, `request-key`, `manifest-key`, …
    pub purpose: String,
    /// Whose it is.
    pub subject: i64,
    /// SHA-256 of its public half.
    pub fingerprint: Fingerprint,
    /// Its public half (SubjectPublicKeyInfo, DER).
    pub spki: Vec<u8>,
    /// When it was made.
    pub created_at: Time,
}

const COLUMNS: &str = "id, purpose, subject, fingerprint, spki, created_at";

fn from_row(r: &Row) -> Result<Held> {
    Ok(Held {
        id: r.int(0)?,
        purpose: r.text(1)?.into(),
        subject: r.int(2)?,
        fingerprint: fingerprint(r, 3)?.ok_or_else(|| StoreError::Corrupt { what: String::from("a key without a fingerprint") })?,
        spki: r.bytes(4)?.to_vec(),
        created_at: r.time(5)?,
    })
}

/// Adds one; its sealed bytes go beside it.
pub fn insert(tx: &mut Tx<'_>, h: &Held) -> Result<()> {
    tx.execute(
        &format!("INSERT INTO held_key ({COLUMNS}) VALUES ($1,$2,$3,$4,$5,$6)"),
        &[
            h.id.into(),
            (&h.purpose).into(),
            h.subject.into(),
            (*h.fingerprint.as_bytes()).into(),
            h.spki.clone().into(),
            h.created_at.into(),
        ],
    )?;
    Ok(())
}

/// One by its number.
pub fn get(tx: &mut Tx<'_>, id: i64) -> Result<Option<Held>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM held_key WHERE id = $1"), &[id.into()])?.as_ref().map(from_row).transpose()
}

/// The keys of a purpose and a subject, the newest first.
pub fn of(tx: &mut Tx<'_>, purpose: &str, subject: i64, limit: i64) -> Result<Vec<Held>> {
    let sql = format!("SELECT {COLUMNS} FROM held_key WHERE purpose = $1 AND subject = $2 ORDER BY id DESC LIMIT $3");
    tx.query(&sql, &[purpose.into(), subject.into(), limit.into()])?.iter().map(from_row).collect()
}

/// Whether a key of a purpose and a subject is held, by its public half.
pub fn has(tx: &mut Tx<'_>, purpose: &str, subject: i64, key: &Fingerprint) -> Result<bool> {
    let sql = "SELECT 1 FROM held_key WHERE purpose = $1 AND subject = $2 AND fingerprint = $3 LIMIT 1";
    Ok(tx.query_opt(sql, &[purpose.into(), subject.into(), (*key.as_bytes()).into()])?.is_some())
}

/// Forgets keys for requests that were made before a moment, where nothing that is open names them: neither an order or a request by hand,
/// nor a certificate that waits to become a version.
pub fn prune_requests(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<u64> {
    let sql = "SELECT h.id FROM held_key h WHERE h.purpose = 'request-key' AND h.created_at < $1 \
               AND NOT EXISTS (SELECT 1 FROM signing_order o WHERE o.secret_id = h.subject AND o.held = h.id AND (o.state = 'open' \
                 OR (o.state = 'issued' AND o.version > (SELECT s.newest_version FROM secret s WHERE s.id = h.subject)))) \
               AND NOT EXISTS (SELECT 1 FROM hand_request q WHERE q.secret_id = h.subject AND q.held = h.id AND q.state = 'open') \
               AND NOT EXISTS (SELECT 1 FROM issued i WHERE i.secret_id = h.subject AND i.secret_id <> 0 AND i.key = h.fingerprint \
                 AND i.state <> 'ended' AND i.version > (SELECT s.newest_version FROM secret s WHERE s.id = h.subject)) \
               ORDER BY h.created_at, h.id LIMIT $2";
    let old = tx.query(sql, &[before.into(), limit.into()])?;
    for r in &old {
        remove(tx, r.int(0)?)?;
    }
    Ok(old.len() as u64)
}

/// Forgets one, with what is sealed of it.
pub fn remove(tx: &mut Tx<'_>, id: i64) -> Result<()> {
    tx.execute("DELETE FROM sealed WHERE instance_id = $1", &[id.into()])?;
    tx.execute("DELETE FROM held_key WHERE id = $1", &[id.into()])?;
    Ok(())
}
