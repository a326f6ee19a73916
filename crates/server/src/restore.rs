//! Putting a backup in place: a new life of the store begins, and says so in the journal.

use crate::{
    clock::wall,
    run::{StartError, entropy, private_folder},
    tls::private_file,
};
use engine::intent::Intent;
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
    private_folder(data)?;
    let staged = data.join("perennial.db.restoring");
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(data.join(format!("perennial.db.restoring{suffix}")));
    }
    // Not a copy with the backup's mode: what is put in place is its owner's alone.
    std::fs::File::open(from)
        .and_then(|mut backup| std::io::copy(&mut backup, &mut private_file(&staged)?))
        .map_err(io(format!("copying {}", from.display())))?;
    let (epoch, entries) = begin(&format!("sqlite:{}", staged.display()), &from.display().to_string(), reason)?;
    // Closing the last connection has emptied the write-ahead log into the file.
    std::fs::File::open(&staged).and_then(|f| f.sync_all()).map_err(io(format!("flushing {}", staged.display())))?;
    std::fs::rename(&staged, &database).map_err(io(format!("putting {} in place", database.display())))?;
    Ok(Restored { database, epoch, entries })
}

/// A database that its own tools have put in place: verifies it and begins its new epoch there. Answers epoch and journal entries.
///
/// # Errors
/// It cannot be opened, holds no store, or its journal does not verify.
pub fn restored(url: &str, reason: &str) -> Result<(i64, u64), StartError> {
    begin(url, "the database", reason)
}

fn begin(url: &str, what: &str, reason: &str) -> Result<(i64, u64), StartError> {
    let now = wall();
    let store = Store::open(url, now, || {
        let mut id = [0; 16];
        entropy(&mut id);
        id
    })?;
    let report = store.read(|tx| journal::verify(tx, &[]))?;
    if let Some(first) = report.problems.first() {
        return Err(StartError::Setup(format!("the journal of {what} does not verify: {first:?}; use another backup")));
    }
    if report.entries == 0 {
        return Err(StartError::Setup(format!(
            "{what} holds no store that anything was ever done with; restore the backup first, into an empty database"
        )));
    }
    let actor = Actor::new("local", "restore");
    let epoch = store.write(&actor, now, |tx| {
        let head = journal::head(tx)?;
        let hash = pki::Fingerprint::from_bytes(head.hash).to_string();
        store::timer::wake_everything(tx, now)?;
        let epoch = journal::begin_epoch(tx, reason)?;
        let content = serde_json::json!({ "epoch": head.epoch, "seq": head.seq, "head": hash });
        Intent::new("restore", "store", content).approved(tx, reason, &actor)?;
        Ok(epoch)
    })?;
    Ok((epoch, report.entries))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use engine::Tick;
    use store::{journal::Entry, meta};

    #[test]
    fn a_restore_is_an_intent_and_begins_an_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new, copy) = (folder.path().join("old.db"), folder.path().join("new"), folder.path().join("copy.db"));
        let store = Store::open(&format!("sqlite:{}", old.display()), wall(), || [1; 16]).unwrap();
        let actor = Actor::new("test", "somebody");
        let write =
            |what: &str| store.write(&actor, wall(), |tx| tx.journal(Entry::new("test", what, "", &serde_json::json!({})))).unwrap();
        write("before");
        let head = store.read(journal::head).unwrap();
        store.backup(&copy).unwrap();
        write("after");

        let done = restore(&new, &copy, "the disk died").unwrap();
        assert_eq!((done.epoch, done.entries), (2, 1));
        let restored = Store::open(&format!("sqlite:{}", done.database.display()), wall(), || [2; 16]).unwrap();
        assert_eq!(restored.read(meta::identity).unwrap().store_id, store.read(meta::identity).unwrap().store_id);
        assert!(restored.read(|tx| journal::verify(tx, std::slice::from_ref(&head))).unwrap().problems.is_empty());
        let sql = "SELECT reason, body FROM journal WHERE action = 'intent.approved' AND epoch = 2";
        let row = restored.read(|tx| tx.query_one(sql, &[])).unwrap();
        assert_eq!(row.text(0).unwrap(), "the disk died");
        let body: serde_json::Value = serde_json::from_str(row.text(1).unwrap()).unwrap();
        let hash = pki::Fingerprint::from_bytes(head.hash).to_string();
        assert_eq!(
            (&body["what"], &body["content"]["head"], &body["approved_by"][0]),
            (&"restore".into(), &hash.into(), &"local/restore".into())
        );
        // The server that starts on it goes on as usual.
        engine::Engine::new(restored, "x", Vec::new()).note_time(&Tick::at(wall())).unwrap();

        let refused = restore(&new, &copy, "again").unwrap_err().to_string();
        assert!(refused.contains("exists"), "{refused}");
    }
}
