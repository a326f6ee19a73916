//! Keys of contacts, sealed a second time under a key that lies with one server.

use super::secret::Sealed;
use crate::{Result, Tx};
use domain::{Time, words::SecretId};

/// The key-encryption keys of servers, as records: (id, record), in the order of ids.
pub fn keks(tx: &mut Tx<'_>) -> Result<Vec<(String, String)>> {
    tx.query("SELECT id, record FROM delivery_kek ORDER BY id", &[])?.iter().map(|r| Ok((r.text(0)?.into(), r.text(1)?.into()))).collect()
}

/// Adds the key-encryption key of a server.
pub fn insert_kek(tx: &mut Tx<'_>, id: &str, record: &str, now: Time) -> Result<()> {
    tx.execute("INSERT INTO delivery_kek (id, record, used_at) VALUES ($1, $2, $3)", &[id.into(), record.into(), now.into()])?;
    Ok(())
}

/// When a server last noted that it uses its key.
pub fn used_at(tx: &mut Tx<'_>, id: &str) -> Result<Option<Time>> {
    tx.query_opt("SELECT used_at FROM delivery_kek WHERE id = $1", &[id.into()])?.map(|r| r.time(0)).transpose()
}

/// Notes that a server uses its key.
pub fn used(tx: &mut Tx<'_>, id: &str, now: Time) -> Result<()> {
    tx.execute("UPDATE delivery_kek SET used_at = $2 WHERE id = $1", &[id.into(), now.into()])?;
    Ok(())
}

/// Forgets the keys of servers that have not used them since a moment, with what lies under them. Says how many servers.
pub fn forget_unused(tx: &mut Tx<'_>, before: Time) -> Result<u64> {
    tx.execute("DELETE FROM delivery_key WHERE kek_id IN (SELECT id FROM delivery_kek WHERE used_at < $1)", &[before.into()])?;
    tx.execute("DELETE FROM delivery_kek WHERE used_at < $1", &[before.into()])
}

/// Which secrets lie under a server's key, with the version of each.
pub fn kept(tx: &mut Tx<'_>, kek: &str) -> Result<Vec<(SecretId, i64)>> {
    let sql = "SELECT secret_id, version FROM delivery_key WHERE kek_id = $1 ORDER BY secret_id";
    tx.query(sql, &[kek.into()])?.iter().map(|r| Ok((SecretId(r.int(0)?), r.int(1)?))).collect()
}

/// Keeps a copy of a secret's version, instead of an earlier one.
pub fn put(tx: &mut Tx<'_>, secret: SecretId, version: i64, s: &Sealed) -> Result<()> {
    tx.execute(
        "INSERT INTO delivery_key (kek_id, secret_id, version, instance_id, wrapped, ciphertext) VALUES ($1,$2,$3,$4,$5,$6) \
         ON CONFLICT (kek_id, secret_id) DO UPDATE SET version=excluded.version, instance_id=excluded.instance_id, \
         wrapped=excluded.wrapped, ciphertext=excluded.ciphertext",
        &[(&s.kek).into(), secret.0.into(), version.into(), s.instance.into(), s.wrapped.clone().into(), s.ciphertext.clone().into()],
    )?;
    Ok(())
}

/// The copy of a secret under a server's key, and of which version.
pub fn get(tx: &mut Tx<'_>, kek: &str, secret: SecretId) -> Result<Option<(i64, Sealed)>> {
    let sql = "SELECT version, instance_id, wrapped, ciphertext FROM delivery_key WHERE kek_id = $1 AND secret_id = $2";
    tx.query_opt(sql, &[kek.into(), secret.0.into()])?
        .map(|r| {
            let sealed = Sealed {
                instance: r.int(1)?,
                purpose: String::new(),
                kek: kek.into(),
                wrapped: r.bytes(2)?.to_vec(),
                ciphertext: r.bytes(3)?.to_vec(),
            };
            Ok((r.int(0)?, sealed))
        })
        .transpose()
}

/// Forgets a copy.
pub fn forget(tx: &mut Tx<'_>, kek: &str, secret: SecretId) -> Result<()> {
    tx.execute("DELETE FROM delivery_key WHERE kek_id = $1 AND secret_id = $2", &[kek.into(), secret.0.into()])?;
    Ok(())
}
