//! Who may speak for a node: the right to join once, and the certificates that agents live on. And by whom agents believe the store.

use super::fingerprint;
use crate::{Result, Row, StoreError, Tx};
use domain::{Fingerprint, Time, words::NodeId};

/// The right to join once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Its number.
    pub id: i64,
    /// For which node.
    pub node: NodeId,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: Time,
    /// When it ends; exclusive.
    pub expires_at: Time,
    /// When it was used, or taken back.
    pub ended_at: Option<Time>,
    /// SHA-256 of the public key that used it.
    pub key: Option<Fingerprint>,
}

/// Adds a token.
pub fn insert_token(tx: &mut Tx<'_>, t: &JoinToken) -> Result<()> {
    tx.execute(
        "INSERT INTO join_token (id, node_id, hash, created_at, expires_at) VALUES ($1,$2,$3,$4,$5)",
        &[t.id.into(), t.node.0.into(), t.hash.into(), t.created_at.into(), t.expires_at.into()],
    )?;
    Ok(())
}

const TOKEN: &str = "id, node_id, hash, created_at, expires_at, ended_at, key";

fn token_row(r: &Row) -> Result<JoinToken> {
    Ok(JoinToken {
        id: r.int(0)?,
        node: NodeId(r.int(1)?),
        hash: r.bytes(2)?.try_into().map_err(|_| StoreError::Corrupt { what: String::from("the hash of a join token") })?,
        created_at: r.time(3)?,
        expires_at: r.time(4)?,
        ended_at: r.opt_time(5)?,
        key: fingerprint(r, 6)?,
    })
}

/// A token by its number.
pub fn token(tx: &mut Tx<'_>, id: i64) -> Result<Option<JoinToken>> {
    tx.query_opt(&format!("SELECT {TOKEN} FROM join_token WHERE id = $1"), &[id.into()])?.as_ref().map(token_row).transpose()
}

/// Takes the row of a token.
pub fn lock_token(tx: &mut Tx<'_>, id: i64) -> Result<Option<JoinToken>> {
    let sql = format!("UPDATE join_token SET id = id WHERE id = $1 RETURNING {TOKEN}");
    tx.query_opt(&sql, &[id.into()])?.as_ref().map(token_row).transpose()
}

/// A token was used, by this key.
pub fn use_token(tx: &mut Tx<'_>, id: i64, key: &Fingerprint, now: Time) -> Result<()> {
    let sql = "UPDATE join_token SET ended_at = $2, key = $3 WHERE id = $1 AND ended_at IS NULL";
    tx.execute(sql, &[id.into(), now.into(), (*key.as_bytes()).into()])?;
    Ok(())
}

/// Takes back whatever tokens of a node are still good.
pub fn end_tokens(tx: &mut Tx<'_>, node: NodeId, now: Time) -> Result<u64> {
    tx.execute("UPDATE join_token SET ended_at = $2 WHERE node_id = $1 AND ended_at IS NULL", &[node.0.into(), now.into()])
}

/// When the good token of a node ends, where it has one.
pub fn token_until(tx: &mut Tx<'_>, node: NodeId, now: Time) -> Result<Option<Time>> {
    let sql = "SELECT expires_at FROM join_token WHERE node_id = $1 AND ended_at IS NULL AND expires_at > $2 ORDER BY id DESC LIMIT 1";
    tx.query_opt(sql, &[node.0.into(), now.into()])?.map_or(Ok(None), |r| r.opt_time(0))
}

/// Forgets tokens that ended or expired before a moment. Says how many.
pub fn prune_tokens(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<u64> {
    let sql = "DELETE FROM join_token WHERE id IN (SELECT id FROM join_token WHERE expires_at < $1 ORDER BY id LIMIT $2)";
    tx.execute(sql, &[before.into(), limit.into()])
}

/// Why a certificate is no longer good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its successor was presented.
    Superseded,
    /// Somebody took the node's identity back.
    Revoked,
}

/// A certificate that an agent lives on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of it.
    pub fingerprint: Fingerprint,
    /// For which node.
    pub node: NodeId,
    /// SHA-256 of its public key.
    pub key: Fingerprint,
    /// In hexadecimal.
    pub serial: String,
    /// The life of the store in which it was issued.
    pub epoch: i64,
    /// From when on.
    pub not_before: Time,
    /// Until when, exclusive.
    pub not_after: Time,
    /// When it was first presented.
    pub used_at: Option<Time>,
    /// When it ended before its time, and why.
    pub ended: Option<(Time, Ended)>,
}

const CERTIFICATE: &str = "fingerprint, node_id, key, serial, epoch, not_before, not_after, used_at, ended_at, ended";

fn certificate_row(r: &Row) -> Result<Certificate> {
    let print = |column| fingerprint(r, column)?.ok_or_else(|| StoreError::Corrupt { what: String::from("an agent's certificate") });
    let why = match r.text(9)? {
        "superseded" => Some(Ended::Superseded),
        "revoked" => Some(Ended::Revoked),
        _ => None,
    };
    Ok(Certificate {
        fingerprint: print(0)?,
        node: NodeId(r.int(1)?),
        key: print(2)?,
        serial: r.text(3)?.into(),
        epoch: r.int(4)?,
        not_before: r.time(5)?,
        not_after: r.time(6)?,
        used_at: r.opt_time(7)?,
        ended: r.opt_time(8)?.zip(why),
    })
}

/// Adds a certificate that is good.
pub fn insert_certificate(tx: &mut Tx<'_>, c: &Certificate) -> Result<()> {
    tx.execute(
        &format!("INSERT INTO node_certificate ({CERTIFICATE}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,NULL,'')"),
        &[
            (*c.fingerprint.as_bytes()).into(),
            c.node.0.into(),
            (*c.key.as_bytes()).into(),
            (&c.serial).into(),
            c.epoch.into(),
            c.not_before.into(),
            c.not_after.into(),
            c.used_at.into(),
        ],
    )?;
    Ok(())
}

/// A certificate by its fingerprint.
pub fn certificate(tx: &mut Tx<'_>, fingerprint: &Fingerprint) -> Result<Option<Certificate>> {
    let sql = format!("SELECT {CERTIFICATE} FROM node_certificate WHERE fingerprint = $1");
    tx.query_opt(&sql, &[(*fingerprint.as_bytes()).into()])?.as_ref().map(certificate_row).transpose()
}

/// A certificate, and of its node what decides whether somebody may speak for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The certificate.
    pub certificate: Certificate,
    /// The node's name.
    pub name: String,
    /// The number of its manifest.
    pub generation: i64,
    /// Whether it left the inventory.
    pub retired: bool,
    /// Whether it has an identity.
    pub joined: bool,
    /// When it was last heard of, to some minutes.
    pub seen_at: Option<Time>,
    /// The start of its agent that was heard last, and those before it, as in [`super::node::Node`].
    pub instance: String,
    /// Starts before it.
    pub earlier: Vec<(String, Time)>,
    /// Whether its identity was seen in two places.
    pub cloned: bool,
}

/// Many certificates in one question, each with its node; those that nobody knows are missing.
pub fn standings(tx: &mut Tx<'_>, presented: &[Fingerprint]) -> Result<Vec<Standing>> {
    let columns: Vec<String> = CERTIFICATE.split(',').map(|c| format!("c.{}", c.trim())).collect();
    let mut all = Vec::with_capacity(presented.len());
    for some in presented.chunks(MANY) {
        let mut params = Vec::with_capacity(some.len());
        let places: Vec<String> = some
            .iter()
            .map(|f| {
                params.push((*f.as_bytes()).into());
                format!("${}", params.len())
            })
            .collect();
        let sql = format!(
            "SELECT {}, n.name, n.generation, n.retired_at, n.key, n.revoked_at, n.seen_at, n.instance, n.earlier, n.cloned_at \
             FROM node_certificate c \
             JOIN node n ON n.id = c.node_id WHERE c.fingerprint IN ({}) ORDER BY c.fingerprint",
            columns.join(", "),
            places.join(",")
        );
        tx.for_each(&sql, &params, |r| {
            all.push(Standing {
                certificate: certificate_row(&r)?,
                name: r.text(10)?.into(),
                generation: r.int(11)?,
                retired: r.opt_time(12)?.is_some(),
                joined: r.opt_bytes(13)?.is_some() && r.opt_time(14)?.is_none(),
                seen_at: r.opt_time(15)?,
                instance: r.text(16)?.into(),
                earlier: super::node::earlier(r.text(17)?)?,
                cloned: r.opt_time(18)?.is_some(),
            });
            Ok(())
        })?;
    }
    Ok(all)
}

/// How many are asked for in one statement.
const MANY: usize = 250;

/// Whether a good certificate of a node was presented yet.
pub fn is_used(tx: &mut Tx<'_>, node: NodeId) -> Result<bool> {
    let sql = "SELECT fingerprint FROM node_certificate WHERE node_id = $1 AND ended = '' AND used_at IS NOT NULL \
               ORDER BY fingerprint LIMIT 1";
    Ok(tx.query_opt(sql, &[node.0.into()])?.is_some())
}

/// The certificates of a node, the longest-lived first.
pub fn certificates(tx: &mut Tx<'_>, node: NodeId, limit: i64) -> Result<Vec<Certificate>> {
    let sql = format!("SELECT {CERTIFICATE} FROM node_certificate WHERE node_id = $1 ORDER BY not_after DESC, fingerprint LIMIT $2");
    tx.query(&sql, &[node.0.into(), limit.into()])?.iter().map(certificate_row).collect()
}

/// A certificate was presented for the first time: the others of its node, but those that were issued since, are superseded.
pub fn first_use(tx: &mut Tx<'_>, c: &Certificate, now: Time) -> Result<()> {
    let print = *c.fingerprint.as_bytes();
    tx.execute("UPDATE node_certificate SET used_at = $2 WHERE fingerprint = $1 AND used_at IS NULL", &[print.into(), now.into()])?;
    tx.execute(
        "UPDATE node_certificate SET ended_at = $3, ended = 'superseded' \
         WHERE node_id = $2 AND fingerprint <> $1 AND not_before <= $4 AND ended = ''",
        &[print.into(), c.node.0.into(), now.into(), c.not_before.into()],
    )?;
    Ok(())
}

/// Every certificate of a node is taken back. Says how many were good.
pub fn revoke_all(tx: &mut Tx<'_>, node: NodeId, now: Time) -> Result<u64> {
    let sql = "UPDATE node_certificate SET ended_at = $2, ended = 'revoked' WHERE node_id = $1 AND ended = ''";
    tx.execute(sql, &[node.0.into(), now.into()])
}

/// Good certificates of earlier lives of the store become ones of this life. Says how many.
pub fn readmit(tx: &mut Tx<'_>, epoch: i64) -> Result<u64> {
    tx.execute("UPDATE node_certificate SET epoch = $1 WHERE epoch <> $1 AND ended = ''", &[epoch.into()])
}

/// Forgets certificates that ended before a moment, but the latest of each node, by whose key it may come back. Says how many.
pub fn prune_certificates(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<u64> {
    let sql = "DELETE FROM node_certificate WHERE fingerprint IN (SELECT c.fingerprint FROM node_certificate c \
               WHERE c.not_after < $1 AND EXISTS (SELECT 1 FROM node_certificate d WHERE d.node_id = c.node_id AND d.not_after > c.not_after) \
               ORDER BY c.fingerprint LIMIT $2)";
    tx.execute(sql, &[before.into(), limit.into()])
}

/// What signs for agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// `manifest-key`, `manifest-key-next` or `agent-ca-key`.
    pub purpose: String,
    /// Its held key.
    pub held: i64,
    /// Its public half (SubjectPublicKeyInfo, DER).
    pub spki: Vec<u8>,
    /// Its certificate (DER); empty for a key alone.
    pub certificate: Vec<u8>,
}

/// The authority for a purpose.
pub fn authority(tx: &mut Tx<'_>, purpose: &str) -> Result<Option<Authority>> {
    tx.query_opt("SELECT purpose, held, spki, certificate FROM node_authority WHERE purpose = $1", &[purpose.into()])?
        .map(|r| {
            Ok(Authority { purpose: r.text(0)?.into(), held: r.int(1)?, spki: r.bytes(2)?.to_vec(), certificate: r.bytes(3)?.to_vec() })
        })
        .transpose()
}

/// Writes the authority for a purpose.
pub fn put_authority(tx: &mut Tx<'_>, a: &Authority) -> Result<()> {
    tx.execute(
        "INSERT INTO node_authority (purpose, held, spki, certificate) VALUES ($1,$2,$3,$4) ON CONFLICT (purpose) DO UPDATE SET \
         held = excluded.held, spki = excluded.spki, certificate = excluded.certificate",
        &[(&a.purpose).into(), a.held.into(), a.spki.clone().into(), a.certificate.clone().into()],
    )?;
    Ok(())
}

/// Removes the authority for a purpose.
pub fn remove_authority(tx: &mut Tx<'_>, purpose: &str) -> Result<()> {
    tx.execute("DELETE FROM node_authority WHERE purpose = $1", &[purpose.into()])?;
    Ok(())
}

/// A server's authority was seen at work.
pub fn put_root(tx: &mut Tx<'_>, fingerprint: &Fingerprint, pem: &str, now: Time) -> Result<()> {
    tx.execute(
        "INSERT INTO server_root (fingerprint, pem, seen_at) VALUES ($1,$2,$3) \
         ON CONFLICT (fingerprint) DO UPDATE SET pem = excluded.pem, seen_at = excluded.seen_at",
        &[(*fingerprint.as_bytes()).into(), pem.into(), now.into()],
    )?;
    Ok(())
}

/// The authorities of all servers that were at work since a moment, as PEM.
pub fn roots(tx: &mut Tx<'_>, since: Time, limit: i64) -> Result<String> {
    let sql = "SELECT pem FROM server_root WHERE seen_at >= $1 ORDER BY seen_at DESC, fingerprint LIMIT $2";
    let rows = tx.query(sql, &[since.into(), limit.into()])?;
    rows.iter().map(|r| Ok(r.text(0)?.to_owned())).collect()
}
