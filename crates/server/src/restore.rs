//! Putting a backup in place: a new life of the store begins, and says so in the journal.

use crate::{
    clock::wall,
    run::{StartError, entropy},
};
use std::path::{Path, PathBuf};
use store::{Actor, Store, journal};

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Where the database lies now.
    pub database: PathBuf,
    /// The number of the life that begins.
    pub epoch: i64,
    /// Entries of the journal that was restored.
    pub entries: u64,
}

/// Copies the backup `from` into `data`. The copy is verified and given its new epoch beside its place, and takes that place
/// only when it is whole; a database that lies there already is never overwritten.
///
/// # Errors
/// A database lies there, the backup cannot be read, its journal does not verify, or the disk refuses.
pub fn restore(data: &Path, from: &Path, reason: &str) -> Result<Restored, StartError> {
    let io = |what: String| move |error| StartError::Io { what, error };
    let database = data.join("perennial.db");
    if database.exists() {
        let text = format!("{} exists; stop the server and move it away first (with its -wal and -shm)", database.display());
        return Err(StartError::Setup(text));
    }
    std::fs::create_dir_all(data).map_err(io(format!("making {}", data.display())))?;
    let staged = data.join("perennial.db.restoring");
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(data.join(format!("perennial.db.restoring{suffix}")));
    }
    std::fs::copy(from, &staged).map_err(io(format!("copying {}", from.display())))?;
    let now = wall();
    let (epoch, entries) = {
        let store = Store::open(&format!("sqlite:{}", staged.display()), now, || {
            let mut id = [0; 16];
            entropy(&mut id);
            id
        })?;
        let report = store.read(|tx| journal::verify(tx, &[]))?;
        if let Some(first) = report.problems.first() {
            return Err(StartError::Setup(format!("the journal of {} does not verify: {first:?}; use another backup", from.display())));
        }
        let epoch = store.write(&Actor::new("local", "restore"), now, |tx| {
            store::timer::wake_everything(tx, now)?;
            journal::begin_epoch(tx, reason)
        })?;
        (epoch, report.entries)
    };
    // Closing the last connection has emptied the write-ahead log into the file.
    std::fs::File::open(&staged).and_then(|f| f.sync_all()).map_err(io(format!("flushing {}", staged.display())))?;
    std::fs::rename(&staged, &database).map_err(io(format!("putting {} in place", database.display())))?;
    Ok(Restored { database, epoch, entries })
}
