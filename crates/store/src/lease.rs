//! Who runs a loop. A holder that was paused may believe longer than it should; its fence tells.

use domain::{Span, Time};

use crate::{Result, Tx};

/// Number of a holding; every later one of the same lease has a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub i64);

/// Takes the lease for `ttl` if it is free, ran out (its end is exclusive) or is held by the same `holder`.
///
/// # Errors
/// Whatever the database refuses.
pub fn acquire(tx: &mut Tx<'_>, name: &str, holder: &str, now: Time, ttl: Span) -> Result<Option<Fence>> {
    let row = tx.query_opt(
        "INSERT INTO lease (name, holder, held_until, fence) VALUES ($1, $2, $4, 1)
         ON CONFLICT (name) DO UPDATE SET holder = $2, held_until = $4, fence = lease.fence + 1
         WHERE lease.held_until <= $3 OR lease.holder = $2
         RETURNING fence",
        &[name.into(), holder.into(), now.into(), (now + ttl).into()],
    )?;
    row.map(|row| row.int(0).map(Fence)).transpose()
}

/// Extends a holding to `now + ttl`; false when it was lost.
///
/// # Errors
/// Whatever the database refuses.
pub fn renew(tx: &mut Tx<'_>, name: &str, fence: Fence, now: Time, ttl: Span) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE lease SET held_until = $4 WHERE name = $1 AND fence = $2 AND held_until > $3",
        &[name.into(), fence.0.into(), now.into(), (now + ttl).into()],
    )?;
    Ok(changed == 1)
}

/// Whether the holding is still valid, and keeps others from taking the lease until this transaction ends: a write that is
/// made under the lease begins with this.
///
/// # Errors
/// Whatever the database refuses.
pub fn guard(tx: &mut Tx<'_>, name: &str, fence: Fence, now: Time) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE lease SET fence = fence WHERE name = $1 AND fence = $2 AND held_until > $3",
        &[name.into(), fence.0.into(), now.into()],
    )?;
    Ok(changed == 1)
}

/// Gives a holding back, so that others need not wait for its end. The fence goes on from where it was.
///
/// # Errors
/// Whatever the database refuses.
pub fn release(tx: &mut Tx<'_>, name: &str, fence: Fence) -> Result<()> {
    tx.execute("UPDATE lease SET held_until = 0, holder = '' WHERE name = $1 AND fence = $2", &[name.into(), fence.0.into()])?;
    Ok(())
}
