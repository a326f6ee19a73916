//! What happened, with actor and reason, each entry bound to the one before by a hash.
//!
//! The chain proves that nothing inside it was changed, removed or moved. Somebody who may write the database can compute a
//! whole new chain; only a head that was noted elsewhere ([`head`]) and is shown to [`verify`] finds that.

use aws_lc_rs::digest::{Context, SHA256};
use domain::Time;
use serde_json::Value as Json;

use crate::{Actor, Result, Row, StoreError, Tx, Value};

/// What the first entry is bound to.
pub(crate) const GENESIS: [u8; 32] = [0; 32];
/// Longest action, subject and reason, in bytes.
pub const MAX_FIELD: usize = 4096;
/// Longest body, in bytes of its canonical text.
pub const MAX_BODY: usize = 256 << 10;
/// Action of the entry that begins a new life of the store.
pub const EPOCH_BEGUN: &str = "epoch.begun";
/// Says which encoding is hashed, and that it is a journal entry.
const HASH_DOMAIN: &[u8] = b"perennial journal entry 1";

/// Something to be written down; the transaction adds actor, time and place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What was done: `kind.verb`, for instance `secret.stored`.
    pub action: String,
    /// What it was done to: `kind/name`.
    pub subject: String,
    /// Why, in the words of who did it; empty when none was asked for.
    pub reason: String,
    /// The details, as canonical JSON.
    pub body: String,
}

impl Entry {
    /// An entry; `body` is written with sorted keys and without spaces, so that equal details have equal text.
    pub fn new(action: impl Into<String>, subject: impl Into<String>, reason: impl Into<String>, body: &Json) -> Self {
        let mut text = String::new();
        canonical(body, &mut text);
        Self { action: action.into(), subject: subject.into(), reason: reason.into(), body: text }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let fields = [("action", &self.action), ("subject", &self.subject), ("reason", &self.reason)];
        for (name, field) in fields {
            if field.len() > MAX_FIELD {
                return Err(StoreError::other(format!("the {name} of a journal entry has {} of {MAX_FIELD} bytes", field.len())));
            }
        }
        if self.body.len() > MAX_BODY {
            return Err(StoreError::other(format!("the body of a journal entry has {} of {MAX_BODY} bytes", self.body.len())));
        }
        Ok(())
    }
}

/// Objects with keys in byte order, whatever order the map keeps; the rest as serde_json writes it.
fn canonical(value: &Json, out: &mut String) {
    match value {
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        Json::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            out.push('{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Json::from(key.as_str()).to_string());
                out.push(':');
                canonical(&map[key], out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// The end of the journal at some moment; noted outside of the database it proves the journal up to there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Which life of the store.
    pub epoch: i64,
    /// Number of the last entry; 0 when there is none. Numbers go on over epochs.
    pub seq: i64,
    /// SHA-256 of the last entry.
    pub hash: [u8; 32],
}

/// Where the journal ends now.
///
/// # Errors
/// Whatever the database refuses.
pub fn head(tx: &mut Tx<'_>) -> Result<Head> {
    let row = tx.query_one("SELECT epoch, seq, hash FROM store_head WHERE one = 1", &[])?;
    Ok(Head { epoch: row.int(0)?, seq: row.int(1)?, hash: hash_at(&row, 2)? })
}

/// Begins a new life of the store, after a backup was restored: what the former life wrote after the backup is not here, and
/// the two must never be taken for one.
///
/// # Errors
/// Whatever the database refuses.
pub fn begin_epoch(tx: &mut Tx<'_>, reason: &str) -> Result<i64> {
    let before = head(tx)?;
    let row = tx.query_one("UPDATE store_head SET epoch = epoch + 1 WHERE one = 1 RETURNING epoch", &[])?;
    let body = serde_json::json!({ "after_epoch": before.epoch, "after_seq": before.seq });
    tx.journal(Entry::new(EPOCH_BEGUN, "store", reason, &body))?;
    row.int(0)
}

/// Writes the entries at the end of the journal. The head row is locked last of all, so that no two transactions can wait for
/// each other, and for as short as can be.
pub(crate) fn append(tx: &mut Tx<'_>, actor: &Actor, now: Time, entries: &[Entry]) -> Result<()> {
    let count = i64::try_from(entries.len()).map_err(|_| StoreError::other("too many journal entries"))?;
    let row = tx.query_one("UPDATE store_head SET seq = seq + $1 WHERE one = 1 RETURNING store_id, epoch, seq, hash", &[count.into()])?;
    let (store_id, epoch, last) = (row.text(0)?.to_owned(), row.int(1)?, row.int(2)?);
    let mut prev = hash_at(&row, 3)?;
    for (seq, entry) in (last - count + 1..).zip(entries) {
        let fields = Fields {
            store_id: &store_id,
            epoch,
            seq,
            at: now.unix(),
            texts: [&actor.issuer, &actor.subject, &entry.action, &entry.subject, &entry.reason, &entry.body],
            prev: &prev,
        };
        let hash = fields.hash();
        let mut params: Vec<Value> = vec![epoch.into(), seq.into(), now.into()];
        params.extend(fields.texts.map(Value::from));
        params.extend([prev.into(), hash.into()]);
        tx.execute(
            "INSERT INTO journal (epoch, seq, at, actor_issuer, actor_subject, action, subject, reason, body, prev, hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            &params,
        )?;
        prev = hash;
    }
    tx.execute("UPDATE store_head SET hash = $1 WHERE one = 1", &[prev.into()])?;
    Ok(())
}

/// Everything that the hash of an entry binds.
struct Fields<'e> {
    store_id: &'e str,
    epoch: i64,
    seq: i64,
    at: i64,
    /// Issuer, subject, action, subject acted on, reason, body.
    texts: [&'e str; 6],
    prev: &'e [u8],
}

impl Fields<'_> {
    /// SHA-256 over the fields, each with its length before it, so that no two entries have the same bytes.
    fn hash(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        let mut field = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        field(HASH_DOMAIN);
        field(self.store_id.as_bytes());
        field(&self.epoch.to_be_bytes());
        field(&self.seq.to_be_bytes());
        field(&self.at.to_be_bytes());
        for text in self.texts {
            field(text.as_bytes());
        }
        field(self.prev);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }
}

fn hash_at(row: &Row, column: usize) -> Result<[u8; 32]> {
    row.bytes(column)?.try_into().map_err(|_| StoreError::corrupt("a journal hash is not 32 bytes long"))
}

mod verify;
pub use verify::{MAX_PROBLEMS, Problem, Report, verify};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_details_have_equal_text() {
        let body: Json = serde_json::json!({ "b": [1, {"z": null, "a": "\u{1}\""}], "a": true });
        let entry = Entry::new("a", "b", "", &body);
        assert_eq!(entry.body, r#"{"a":true,"b":[1,{"a":"\u0001\"","z":null}]}"#);
    }

    #[test]
    fn the_hash_binds_every_field_and_its_borders() {
        let base = || Fields { store_id: "s", epoch: 1, seq: 2, at: 3, texts: ["a", "b", "c", "d", "e", "f"], prev: &GENESIS };
        let mut hashes = vec![base().hash()];
        hashes.push(Fields { store_id: "t", ..base() }.hash());
        hashes.push(Fields { epoch: 9, ..base() }.hash());
        hashes.push(Fields { seq: 9, ..base() }.hash());
        hashes.push(Fields { at: 9, ..base() }.hash());
        hashes.push(Fields { prev: &[1; 32], ..base() }.hash());
        for i in 0..6 {
            let mut texts = base().texts;
            texts[i] = "x";
            hashes.push(Fields { texts, ..base() }.hash());
        }
        hashes.push(Fields { texts: ["ab", "", "c", "d", "e", "f"], ..base() }.hash());
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count, "two different entries have one hash");
    }
}
