//! Tokens: hashed at rest, bound to a role.

use super::list;
use crate::{Result, Row, Tx};
use domain::Time;

/// A token as stored; what was shown once cannot be had again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub name: String,
    /// `viewer`, `owner`, `admin`, `vantage` or `build`.
    pub role: String,
    /// The teams of an owner.
    pub teams: Vec<String>,
    /// The vantage that it speaks for.
    pub vantage: String,
    /// The services whose builds it speaks for.
    pub services: Vec<String>,
    /// When it was made.
    pub created_at: Time,
    /// When it ends.
    pub expires_at: Option<Time>,
    /// When it was taken back.
    pub revoked_at: Option<Time>,
}

const COLUMNS: &str = "id, name, role, teams, vantage, services, created_at, expires_at, revoked_at";

fn from_row(r: &Row) -> Result<Token> {
    Ok(Token {
        id: r.int(0)?,
        name: r.text(1)?.into(),
        role: r.text(2)?.into(),
        teams: list(r.text(3)?)?,
        vantage: r.text(4)?.into(),
        services: list(r.text(5)?)?,
        created_at: r.time(6)?,
        expires_at: r.opt_time(7)?,
        revoked_at: r.opt_time(8)?,
    })
}

/// Adds a token.
pub fn insert(tx: &mut Tx<'_>, t: &Token, hash: [u8; 32]) -> Result<()> {
    tx.execute(
        &format!("INSERT INTO token ({COLUMNS}, hash) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)"),
        &[
            t.id.into(),
            (&t.name).into(),
            (&t.role).into(),
            super::list_column(&t.teams).into(),
            (&t.vantage).into(),
            super::list_column(&t.services).into(),
            t.created_at.into(),
            t.expires_at.into(),
            t.revoked_at.into(),
            hash.into(),
        ],
    )?;
    Ok(())
}

/// The token with this hash. The look-up goes by the hash of a long random value, so its time tells nothing about the value.
pub fn by_hash(tx: &mut Tx<'_>, hash: [u8; 32]) -> Result<Option<Token>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM token WHERE hash = $1"), &[hash.into()])?.as_ref().map(from_row).transpose()
}

/// All tokens.
pub fn list_all(tx: &mut Tx<'_>) -> Result<Vec<Token>> {
    tx.query(&format!("SELECT {COLUMNS} FROM token ORDER BY id"), &[])?.iter().map(from_row).collect()
}

/// Takes a token back; false where there is none that is still good.
pub fn revoke(tx: &mut Tx<'_>, id: i64, now: Time) -> Result<bool> {
    Ok(tx.execute("UPDATE token SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL", &[id.into(), now.into()])? == 1)
}
