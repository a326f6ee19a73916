//! Which database this is, which life it lives, and the latest time it was sure of.

use domain::Time;

use crate::journal;
use crate::{Result, Row, Store, Tx};

/// The identity of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// 32 lower-case hex digits, drawn when the database was created; a restored backup keeps it.
    pub store_id: String,
    /// Which life: 1, and one more after every restore.
    pub epoch: i64,
    /// When the database was created.
    pub created_at: Time,
}

/// Writes the identity of a new database; draws no entropy for one that has it.
pub(crate) fn create(store: &Store, now: Time, new_id: impl FnOnce() -> [u8; 16]) -> Result<()> {
    let mut tx = store.begin_write()?;
    if tx.query_opt("SELECT one FROM store_head", &[])?.is_none() {
        let id: String = new_id().iter().map(|byte| format!("{byte:02x}")).collect();
        // Two processes may create one database at the same moment: the first one's id stays.
        tx.execute(
            "INSERT INTO store_head (one, store_id, created_at, epoch, seq, hash, high_water) VALUES (1, $1, $2, 1, 0, $3, $2)
             ON CONFLICT (one) DO NOTHING",
            &[id.into(), now.into(), journal::GENESIS.into()],
        )?;
    }
    tx.finish()
}

/// Which database this is.
///
/// # Errors
/// Whatever the database refuses.
pub fn identity(tx: &mut Tx<'_>) -> Result<Identity> {
    let row = tx.query_one("SELECT store_id, epoch, created_at FROM store_head WHERE one = 1", &[])?;
    Ok(Identity { store_id: row.text(0)?.to_owned(), epoch: row.int(1)?, created_at: row.time(2)? })
}

/// The latest time that was believed; a clock behind it is not to be believed.
///
/// # Errors
/// Whatever the database refuses.
pub fn high_water(tx: &mut Tx<'_>) -> Result<Time> {
    tx.query_one("SELECT high_water FROM store_head WHERE one = 1", &[]).and_then(|row: Row| row.time(0))
}

/// Raises the mark to `now`, never lowers it. Only for a clock that is believed: a mark in the future makes every right
/// clock look wrong.
///
/// # Errors
/// Whatever the database refuses.
pub fn raise_high_water(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    tx.execute("UPDATE store_head SET high_water = $1 WHERE one = 1 AND high_water < $1", &[now.into()])?;
    Ok(())
}

/// Sets the mark to `now`, also backwards, and answers what it was; whoever decides that journals it.
///
/// # Errors
/// Whatever the database refuses.
pub fn set_high_water(tx: &mut Tx<'_>, now: Time) -> Result<Time> {
    let before = high_water(tx)?;
    tx.execute("UPDATE store_head SET high_water = $1 WHERE one = 1", &[now.into()])?;
    Ok(before)
}

/// The time that the database's server reads from its own clock, where that server is another machine; None for SQLite, and where both
/// ends of the connection have one address, or none (a Unix socket): such a clock is our own.
///
/// # Errors
/// Whatever the database refuses.
pub fn clock_of_server(tx: &mut Tx<'_>) -> Result<Option<Time>> {
    if !tx.is_postgres() {
        return Ok(None);
    }
    let row = tx.query_one(
        "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS BIGINT),
                CASE WHEN inet_server_addr() = inet_client_addr() OR inet_server_addr() IS NULL THEN 0 ELSE 1 END",
        &[],
    )?;
    Ok(if row.int(1)? == 1 { Some(row.time(0)?) } else { None })
}
