//! What was decided and is to be done. Whoever does it reads it back from here.

use super::fingerprint;
use crate::{Result, Row, StoreError, Tx, Value};
use domain::{Fingerprint, Time};

/// An intent as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its number.
    pub id: i64,
    /// What is to be done: `issue`.
    pub what: String,
    /// To what: `service/storage/blob-eu-1`.
    pub subject: String,
    /// Exactly what, as JSON.
    pub content: String,
    /// SHA-256 over what, subject and content.
    pub hash: Fingerprint,
    /// How many people had to approve.
    pub approvals: i64,
    /// Who did.
    pub approved_by: String,
    /// Why.
    pub reason: String,
    /// `open`, `done` or `superseded`.
    pub state: String,
    /// When it was decided.
    pub created_at: Time,
    /// When it was done, or another one took its place.
    pub done_at: Option<Time>,
}

/// The states of an intent.
pub const STATES: [&str; 3] = ["open", "done", "superseded"];

const COLUMNS: &str = "id, what, subject, content, hash, approvals, approved_by, reason, state, created_at, done_at";

fn from_row(r: &Row) -> Result<Intent> {
    Ok(Intent {
        id: r.int(0)?,
        what: r.text(1)?.into(),
        subject: r.text(2)?.into(),
        content: r.text(3)?.into(),
        hash: fingerprint(r, 4)?.ok_or_else(|| StoreError::Corrupt { what: String::from("an intent without a hash") })?,
        approvals: r.int(5)?,
        approved_by: r.text(6)?.into(),
        reason: r.text(7)?.into(),
        state: r.text(8)?.into(),
        created_at: r.time(9)?,
        done_at: r.opt_time(10)?,
    })
}

/// Writes a new one that is open. Where one is open for the same subject, [`supersede`] comes first.
pub fn insert(tx: &mut Tx<'_>, i: &Intent) -> Result<()> {
    tx.execute(
        &format!("INSERT INTO intent ({COLUMNS}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)"),
        &[
            i.id.into(),
            (&i.what).into(),
            (&i.subject).into(),
            (&i.content).into(),
            (*i.hash.as_bytes()).into(),
            i.approvals.into(),
            (&i.approved_by).into(),
            (&i.reason).into(),
            (&i.state).into(),
            i.created_at.into(),
            i.done_at.into(),
        ],
    )?;
    Ok(())
}

/// Another decision takes the place of what is open for the subjects under one, such as `service/storage`. Says how many.
pub fn supersede(tx: &mut Tx<'_>, what: &str, under: &str, now: Time) -> Result<u64> {
    // '0' is the character behind '/', and text is compared by its bytes on both databases.
    tx.execute(
        "UPDATE intent SET state = 'superseded', done_at = $4 WHERE what = $1 AND state = 'open' AND subject > $2 AND subject < $3",
        &[what.into(), format!("{under}/").into(), format!("{under}0").into(), now.into()],
    )
}

/// One by its number.
pub fn get(tx: &mut Tx<'_>, id: i64) -> Result<Option<Intent>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM intent WHERE id = $1"), &[id.into()])?.as_ref().map(from_row).transpose()
}

/// Intents below a number, the newest first; of one state, or all.
pub fn list(tx: &mut Tx<'_>, state: Option<&str>, below: Option<i64>, limit: i64) -> Result<Vec<Intent>> {
    let mut params: Vec<Value> = vec![below.unwrap_or(i64::MAX).into(), limit.into()];
    let of = state.map_or("", |_| "AND state = $3");
    params.extend(state.map(Value::from));
    let sql = format!("SELECT {COLUMNS} FROM intent WHERE id < $1 {of} ORDER BY id DESC LIMIT $2");
    tx.query(&sql, &params)?.iter().map(from_row).collect()
}

/// What was decided is done. False where it is not open any more.
pub fn done(tx: &mut Tx<'_>, id: i64, now: Time) -> Result<bool> {
    Ok(tx.execute("UPDATE intent SET state = 'done', done_at = $2 WHERE id = $1 AND state = 'open'", &[id.into(), now.into()])? == 1)
}

/// Nobody needs it any more. False where it is not open.
pub fn drop_one(tx: &mut Tx<'_>, id: i64, now: Time) -> Result<bool> {
    let sql = "UPDATE intent SET state = 'superseded', done_at = $2 WHERE id = $1 AND state = 'open'";
    Ok(tx.execute(sql, &[id.into(), now.into()])? == 1)
}

/// What is open for the subjects under one, such as `service/storage`, in the order of subjects.
pub fn open_under(tx: &mut Tx<'_>, what: &str, under: &str, limit: i64) -> Result<Vec<Intent>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM intent WHERE what = $1 AND state = 'open' AND subject > $2 AND subject < $3 ORDER BY subject LIMIT $4"
    );
    let params = [what.into(), format!("{under}/").into(), format!("{under}0").into(), limit.into()];
    tx.query(&sql, &params)?.iter().map(from_row).collect()
}

/// What is open for one subject.
pub fn open_for(tx: &mut Tx<'_>, what: &str, subject: &str) -> Result<Option<Intent>> {
    let sql = format!("SELECT {COLUMNS} FROM intent WHERE what = $1 AND state = 'open' AND subject = $2");
    tx.query_opt(&sql, &[what.into(), subject.into()])?.as_ref().map(from_row).transpose()
}
