//! A consistent copy while the store is in use.

use std::path::Path;

use crate::{Backend, Result, Store, StoreError};

impl Store {
    /// Lets go of what was deleted or overwritten: on SQLite it is then neither in the database file nor in its log, unless somebody
    /// reads at this moment. On PostgreSQL nothing is done: dead rows go with the next vacuum, and archived logs are the operator's.
    ///
    /// # Errors
    /// The database fails.
    pub fn shed(&self) -> Result<()> {
        match &*self.backend {
            Backend::Sqlite(sqlite) => sqlite.shed(),
            Backend::Postgres(_) => Ok(()),
        }
    }

    /// Writes a copy of the database, as of one moment, to `file`, which must not exist; it is on disk when this returns.
    ///
    /// The copy holds sealed bytes only, as the database does. It begins its own life when it is used: see
    /// [`crate::journal::begin_epoch`].
    ///
    /// # Errors
    /// The file exists or cannot be written; a PostgreSQL database, which has a tool of its own.
    pub fn backup(&self, file: &Path) -> Result<()> {
        let Backend::Sqlite(sqlite) = &*self.backend else {
            return Err(StoreError::other(
                "a PostgreSQL database is backed up with its own tool: pg_dump --format=custom, or continuous archiving",
            ));
        };
        let name = file.to_str().ok_or_else(|| StoreError::other("the name of the backup file is not UTF-8"))?;
        let failed = |error: std::io::Error| StoreError::Disk {
            full: error.kind() == std::io::ErrorKind::StorageFull,
            what: format!("{name}: {error}"),
        };
        if file.exists() {
            return Err(StoreError::other(format!("{name} exists already; name a new file for the backup")));
        }
        // Under another name until it is whole: half a backup must not look like one.
        let partial = format!("{name}.partial");
        if Path::new(&partial).exists() {
            std::fs::remove_file(&partial).map_err(failed)?;
        }
        // Made before, so that it is its owner's alone from its first byte on.
        let mut private = std::fs::OpenOptions::new();
        private.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut private, 0o600);
        private.open(&partial).map_err(failed)?;
        sqlite.copy_to(&partial)?;
        std::fs::File::open(&partial).and_then(|file| file.sync_all()).map_err(failed)?;
        std::fs::rename(&partial, file).map_err(failed)?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}
