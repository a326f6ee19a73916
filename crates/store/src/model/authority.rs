//! Internal CAs: their own certificates, every certificate that was to be signed, and their lists of what was revoked.

use super::{fingerprint, list, list_column, word};
use crate::{Result, Row, StoreError, Tx};
use domain::{
    Fingerprint, Time,
    issuing::{AuthorityRole, AuthorityState, IssuedState},
    words::SecretId,
};

/// A certificate of an internal CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its number.
    pub id: i64,
    /// Of which issuer.
    pub issuer: String,
    /// Root or issuing.
    pub role: AuthorityRole,
    /// How it stands.
    pub state: AuthorityState,
    /// Its common name, escaped.
    pub subject: String,
    /// DER; empty while it is requested.
    pub certificate: Vec<u8>,
    /// SHA-256 of that.
    pub fingerprint: Fingerprint,
    /// SHA-256 of its public key.
    pub key: Fingerprint,
    /// Its held key, 0 where it was put away.
    pub held: i64,
    /// The request that waits for the root (PKCS#10, DER); empty for none.
    pub csr: Vec<u8>,
    /// The root above it, 0 for a root.
    pub root: i64,
    /// DNS subtrees that it may certify; all if empty.
    pub permitted: Vec<String>,
    /// Valid from.
    pub not_before: Time,
    /// Valid until, inclusive.
    pub not_after: Time,
    /// When it was made.
    pub created_at: Time,
    /// The number of its next CRL.
    pub crl_number: i64,
}

const COLUMNS: &str = "id, issuer, role, state, subject, certificate, fingerprint, key, held, csr, root, permitted, not_before, not_after, \
     created_at, crl_number";

fn print(r: &Row, column: usize) -> Result<Fingerprint> {
    fingerprint(r, column)?.ok_or_else(|| StoreError::Corrupt { what: String::from("a row without a fingerprint") })
}

fn from_row(r: &Row) -> Result<Authority> {
    Ok(Authority {
        id: r.int(0)?,
        issuer: r.text(1)?.into(),
        role: word(r, 2, AuthorityRole::parse)?,
        state: word(r, 3, AuthorityState::parse)?,
        subject: r.text(4)?.into(),
        certificate: r.bytes(5)?.to_vec(),
        fingerprint: print(r, 6)?,
        key: print(r, 7)?,
        held: r.int(8)?,
        csr: r.bytes(9)?.to_vec(),
        root: r.int(10)?,
        permitted: list(r.text(11)?)?,
        not_before: r.time(12)?,
        not_after: r.time(13)?,
        created_at: r.time(14)?,
        crl_number: r.int(15)?,
    })
}

/// Adds one.
pub fn insert(tx: &mut Tx<'_>, a: &Authority) -> Result<()> {
    tx.execute(
        &format!("INSERT INTO authority ({COLUMNS}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16)"),
        &[
            a.id.into(),
            (&a.issuer).into(),
            a.role.as_str().into(),
            a.state.as_str().into(),
            (&a.subject).into(),
            a.certificate.clone().into(),
            (*a.fingerprint.as_bytes()).into(),
            (*a.key.as_bytes()).into(),
            a.held.into(),
            a.csr.clone().into(),
            a.root.into(),
            list_column(&a.permitted).into(),
            a.not_before.into(),
            a.not_after.into(),
            a.created_at.into(),
            a.crl_number.into(),
        ],
    )?;
    Ok(())
}

/// Writes what changes of one: its state, and its certificate once the root has signed it.
pub fn update(tx: &mut Tx<'_>, a: &Authority) -> Result<()> {
    tx.execute(
        "UPDATE authority SET state=$2, certificate=$3, fingerprint=$4, csr=$5, root=$6, not_before=$7, not_after=$8, held=$9 WHERE id=$1",
        &[
            a.id.into(),
            a.state.as_str().into(),
            a.certificate.clone().into(),
            (*a.fingerprint.as_bytes()).into(),
            a.csr.clone().into(),
            a.root.into(),
            a.not_before.into(),
            a.not_after.into(),
            a.held.into(),
        ],
    )?;
    Ok(())
}

/// Forgets one that never signed.
pub fn remove(tx: &mut Tx<'_>, id: i64) -> Result<()> {
    tx.execute("DELETE FROM authority WHERE id = $1 AND state = 'requested'", &[id.into()])?;
    Ok(())
}

/// One by its number.
pub fn get(tx: &mut Tx<'_>, id: i64) -> Result<Option<Authority>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM authority WHERE id = $1"), &[id.into()])?.as_ref().map(from_row).transpose()
}

/// All certificates of an issuer, the newest first.
pub fn of_issuer(tx: &mut Tx<'_>, issuer: &str) -> Result<Vec<Authority>> {
    let sql = format!("SELECT {COLUMNS} FROM authority WHERE issuer = $1 ORDER BY id DESC LIMIT 1000");
    tx.query(&sql, &[issuer.into()])?.iter().map(from_row).collect()
}

/// The one that signs for an issuer now.
pub fn current(tx: &mut Tx<'_>, issuer: &str) -> Result<Option<Authority>> {
    let sql =
        format!("SELECT {COLUMNS} FROM authority WHERE issuer = $1 AND role = 'issuing' AND state = 'current' ORDER BY id DESC LIMIT 1");
    tx.query_opt(&sql, &[issuer.into()])?.as_ref().map(from_row).transpose()
}

/// A certificate that was to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Its number.
    pub id: i64,
    /// By which authority.
    pub authority: i64,
    /// Its serial number, big-endian.
    pub serial: Vec<u8>,
    /// For which secret, 0 for none.
    pub secret: SecretId,
    /// For which version, 0 for none.
    pub version: i64,
    /// `all`, a region, or a node.
    pub scope: String,
    /// SHA-256 of its public key.
    pub key: Fingerprint,
    /// SHA-256 of what was to be signed.
    pub tbs_hash: Fingerprint,
    /// While it is intended what was to be signed, then the certificate (DER).
    pub der: Vec<u8>,
    /// How far it is.
    pub state: IssuedState,
    /// Valid until, inclusive.
    pub not_after: Time,
    /// Whether it can be revoked.
    pub revocable: bool,
    /// When it was to be signed.
    pub intended_at: Time,
    /// When it was signed, or ended.
    pub done_at: Option<Time>,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
    /// Why it was revoked (RFC 5280 §5.3.1), or ended.
    pub reason: String,
}

const ISSUED: &str = "id, authority_id, serial, secret_id, version, scope, key, tbs_hash, der, state, not_after, revocable, intended_at, \
     done_at, revoked_at, reason";

fn issued_row(r: &Row) -> Result<Issued> {
    Ok(Issued {
        id: r.int(0)?,
        authority: r.int(1)?,
        serial: r.bytes(2)?.to_vec(),
        secret: SecretId(r.int(3)?),
        version: r.int(4)?,
        scope: r.text(5)?.into(),
        key: print(r, 6)?,
        tbs_hash: print(r, 7)?,
        der: r.bytes(8)?.to_vec(),
        state: word(r, 9, IssuedState::parse)?,
        not_after: r.time(10)?,
        revocable: r.bool(11)?,
        intended_at: r.time(12)?,
        done_at: r.opt_time(13)?,
        revoked_at: r.opt_time(14)?,
        reason: r.text(15)?.into(),
    })
}

/// Writes what is to be signed.
pub fn intend(tx: &mut Tx<'_>, i: &Issued) -> Result<()> {
    tx.execute(
        &format!("INSERT INTO issued ({ISSUED}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16)"),
        &[
            i.id.into(),
            i.authority.into(),
            i.serial.clone().into(),
            i.secret.0.into(),
            i.version.into(),
            (&i.scope).into(),
            (*i.key.as_bytes()).into(),
            (*i.tbs_hash.as_bytes()).into(),
            i.der.clone().into(),
            i.state.as_str().into(),
            i.not_after.into(),
            i.revocable.into(),
            i.intended_at.into(),
            i.done_at.into(),
            i.revoked_at.into(),
            (&i.reason).into(),
        ],
    )?;
    Ok(())
}

/// What was intended is signed; false where it is not intended any more.
pub fn signed(tx: &mut Tx<'_>, id: i64, certificate: &[u8], now: Time) -> Result<bool> {
    let sql = "UPDATE issued SET state = 'signed', der = $2, done_at = $3 WHERE id = $1 AND state = 'intended'";
    Ok(tx.execute(sql, &[id.into(), certificate.into(), now.into()])? == 1)
}

/// What was intended will never be signed.
pub fn end(tx: &mut Tx<'_>, id: i64, reason: &str, now: Time) -> Result<bool> {
    let sql = "UPDATE issued SET state = 'ended', reason = $2, done_at = $3 WHERE id = $1 AND state = 'intended'";
    Ok(tx.execute(sql, &[id.into(), reason.into(), now.into()])? == 1)
}

/// What is intended since before a moment, in the order of time: a crash left it behind.
pub fn intended(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<Vec<Issued>> {
    let sql = format!("SELECT {ISSUED} FROM issued WHERE state = 'intended' AND intended_at < $1 ORDER BY intended_at, id LIMIT $2");
    tx.query(&sql, &[before.into(), limit.into()])?.iter().map(issued_row).collect()
}

/// One by its number.
pub fn issued(tx: &mut Tx<'_>, id: i64) -> Result<Option<Issued>> {
    tx.query_opt(&format!("SELECT {ISSUED} FROM issued WHERE id = $1"), &[id.into()])?.as_ref().map(issued_row).transpose()
}

/// What may still be used of what was to be signed for a version of a secret: neither ended nor revoked, in the order of numbers.
pub fn usable_for(tx: &mut Tx<'_>, secret: SecretId, version: i64, after: i64, limit: i64) -> Result<Vec<Issued>> {
    let sql = format!(
        "SELECT {ISSUED} FROM issued WHERE secret_id = $1 AND secret_id <> 0 AND version = $2 AND id > $3 AND state <> 'ended' \
         AND revoked_at IS NULL ORDER BY id LIMIT $4"
    );
    tx.query(&sql, &[secret.0.into(), version.into(), after.into(), limit.into()])?.iter().map(issued_row).collect()
}

/// What was to be signed for a version of a secret, the newest first.
pub fn issued_for(tx: &mut Tx<'_>, secret: SecretId, version: i64, limit: i64) -> Result<Vec<Issued>> {
    let sql = format!("SELECT {ISSUED} FROM issued WHERE secret_id = $1 AND secret_id <> 0 AND version = $2 ORDER BY id DESC LIMIT $3");
    tx.query(&sql, &[secret.0.into(), version.into(), limit.into()])?.iter().map(issued_row).collect()
}

/// The latest that was signed, or is to be, for exactly this: the same key asks again and gets the same answer.
pub fn issued_to(tx: &mut Tx<'_>, secret: SecretId, version: i64, scope: &str, key: &Fingerprint) -> Result<Option<Issued>> {
    let sql = format!(
        "SELECT {ISSUED} FROM issued WHERE secret_id = $1 AND secret_id <> 0 AND version = $2 AND scope = $3 AND key = $4 \
         AND state <> 'ended' AND revoked_at IS NULL ORDER BY id DESC LIMIT 1"
    );
    let params = [secret.0.into(), version.into(), scope.into(), (*key.as_bytes()).into()];
    tx.query_opt(&sql, &params)?.as_ref().map(issued_row).transpose()
}

/// Whether something that was signed for a version and one of these scopes is revoked.
pub fn is_revoked(tx: &mut Tx<'_>, secret: SecretId, version: i64, scopes: &[&str]) -> Result<bool> {
    let sql = "SELECT DISTINCT scope FROM issued WHERE secret_id = $1 AND secret_id <> 0 AND version = $2 AND revoked_at IS NOT NULL \
               ORDER BY scope";
    let revoked = tx.query(sql, &[secret.0.into(), version.into()])?;
    revoked.iter().map(|r| r.text(0)).try_fold(false, |any, scope| Ok(any || scopes.contains(&scope?)))
}

/// Whether a key belongs to something that was revoked because it leaked.
pub fn is_compromised(tx: &mut Tx<'_>, key: &Fingerprint) -> Result<bool> {
    Ok(tx.query_opt("SELECT 1 FROM leaked_key WHERE key = $1", &[(*key.as_bytes()).into()])?.is_some())
}

/// Remembers for good that a key leaked.
pub fn leaked(tx: &mut Tx<'_>, key: &Fingerprint, now: Time) -> Result<()> {
    tx.execute("INSERT INTO leaked_key (key, at) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING", &[(*key.as_bytes()).into(), now.into()])?;
    Ok(())
}

/// When the certificate was intended that is the `n`th newest of an issuer's: what a budget of so many counts.
pub fn nth_newest(tx: &mut Tx<'_>, issuer: &str, n: i64) -> Result<Option<Time>> {
    let sql = "SELECT intended_at FROM issued WHERE authority_id IN (SELECT id FROM authority WHERE issuer = $1) ORDER BY id DESC \
               LIMIT 1 OFFSET $2";
    tx.query_opt(sql, &[issuer.into(), (n - 1).max(0).into()])?.map(|r| r.time(0)).transpose()
}

/// Deletes what was ended before a moment.
pub fn prune_ended(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<u64> {
    tx.execute(
        "DELETE FROM issued WHERE id IN (SELECT id FROM issued WHERE state = 'ended' AND done_at < $1 ORDER BY done_at, id LIMIT $2)",
        &[before.into(), limit.into()],
    )
}

/// Deletes what expired before a moment. That a key leaked is remembered elsewhere.
pub fn prune_expired(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<u64> {
    tx.execute(
        "DELETE FROM issued WHERE id IN (SELECT id FROM issued WHERE state = 'signed' AND not_after < $1 ORDER BY not_after, id LIMIT $2)",
        &[before.into(), limit.into()],
    )
}

/// Writes down that one is revoked, and for good that its key leaked where that is why; false where it was before.
pub fn revoke(tx: &mut Tx<'_>, id: i64, reason: &str, now: Time) -> Result<bool> {
    if reason == "key-compromise" {
        tx.execute(
            "INSERT INTO leaked_key (key, at) SELECT key, $2 FROM issued WHERE id = $1 AND state = 'signed' ON CONFLICT (key) DO NOTHING",
            &[id.into(), now.into()],
        )?;
    }
    let sql = "UPDATE issued SET revoked_at = $3, reason = $2 WHERE id = $1 AND state = 'signed' AND revoked_at IS NULL";
    Ok(tx.execute(sql, &[id.into(), reason.into(), now.into()])? == 1)
}

/// What of an authority is revoked and has not expired: (serial, when, why), in the order of numbers.
pub fn revoked(tx: &mut Tx<'_>, authority: i64, now: Time, limit: i64) -> Result<Vec<(Vec<u8>, Time, String)>> {
    let sql = "SELECT serial, revoked_at, reason FROM issued WHERE authority_id = $1 AND revoked_at IS NOT NULL AND not_after >= $2 \
               ORDER BY id LIMIT $3";
    tx.query(sql, &[authority.into(), now.into(), limit.into()])?
        .iter()
        .map(|r| Ok((r.bytes(0)?.to_vec(), r.time(1)?, r.text(2)?.to_owned())))
        .collect()
}

/// A published list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// Of which authority.
    pub authority: i64,
    /// Its number (RFC 5280 §5.2.3).
    pub number: i64,
    /// DER.
    pub der: Vec<u8>,
    /// When it was made.
    pub this_update: Time,
    /// When the next one is there at the latest.
    pub next_update: Time,
}

/// Publishes a list, and counts on.
pub fn put_crl(tx: &mut Tx<'_>, c: &Crl) -> Result<()> {
    tx.execute(
        "INSERT INTO crl (authority_id, number, der, this_update, next_update) VALUES ($1,$2,$3,$4,$5) ON CONFLICT (authority_id) \
         DO UPDATE SET number = excluded.number, der = excluded.der, this_update = excluded.this_update, next_update = excluded.next_update",
        &[c.authority.into(), c.number.into(), c.der.clone().into(), c.this_update.into(), c.next_update.into()],
    )?;
    tx.execute("UPDATE authority SET crl_number = $2 WHERE id = $1", &[c.authority.into(), (c.number + 1).into()])?;
    Ok(())
}

/// When the first list ends of those of an issuer whose authorities have not.
pub fn first_next_update(tx: &mut Tx<'_>, issuer: &str, now: Time) -> Result<Option<Time>> {
    let sql = "SELECT MIN(c.next_update) FROM crl c JOIN authority a ON a.id = c.authority_id WHERE a.issuer = $1 AND a.not_after > $2";
    tx.query_one(sql, &[issuer.into(), now.into()])?.opt_time(0)
}

/// The published list of an authority.
pub fn crl(tx: &mut Tx<'_>, authority: i64) -> Result<Option<Crl>> {
    let row =
        tx.query_opt("SELECT authority_id, number, der, this_update, next_update FROM crl WHERE authority_id = $1", &[authority.into()])?;
    row.map(|r| {
        Ok(Crl { authority: r.int(0)?, number: r.int(1)?, der: r.bytes(2)?.to_vec(), this_update: r.time(3)?, next_update: r.time(4)? })
    })
    .transpose()
}
