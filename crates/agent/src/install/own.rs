//! Writing into a folder that is the agent's own although the folder around it may belong to whom the certificate is for.
//!
//! Whoever may write to the folder around can at any time put a link where the agent just looked. So everything here happens below one
//! handle, opened through no link and judged once: no path is walked a second time between a check and an act.

use std::{
    fs::{File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, symlinkat, unlinkat};

use crate::files;

/// A folder that only this process's user writes to.
pub(super) struct Own {
    handle: File,
    path: PathBuf,
}

/// Who may read a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
    pub(super) mode: u32,
}

/// How a folder is opened: through no link.
fn folder() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

impl Own {
    /// Opens it, if it is the agent's own.
    pub(super) fn open(path: &Path) -> io::Result<Own> {
        let wrong = |why: &str| io::Error::other(format!("{} {why}", path.display()));
        let handle = match openat(CWD, path, folder(), Mode::empty()) {
            Ok(handle) => File::from(handle),
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                return Err(wrong("is a link or no folder; the agent writes through none, move it away"));
            }
            Err(error) => return Err(files::at(path, &error.into())),
        };
        let meta = handle.metadata().map_err(|error| files::at(path, &error))?;
        let own = rustix::process::geteuid().as_raw();
        if meta.uid() != own {
            return Err(wrong(&format!(
                "belongs to user {}, and the agent is user {own}: whoever owns it could lead what is written there elsewhere; `chown {own}` it, or name another place",
                meta.uid()
            )));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(wrong("may be written to by others, who could lead what is written there elsewhere; `chmod go-w` it"));
        }
        Ok(Own { handle, path: path.to_owned() })
    }

    fn at(&self, name: &str, error: rustix::io::Errno) -> io::Error {
        files::at(&self.path.join(name), &error.into())
    }

    /// A new folder in it, which everybody may pass: the files say themselves who may read them.
    pub(super) fn create_folder(&self, name: &str) -> io::Result<Own> {
        mkdirat(&self.handle, name, Mode::from_raw_mode(0o755)).map_err(|error| self.at(name, error))?;
        let handle = openat(&self.handle, name, folder(), Mode::empty()).map_err(|error| self.at(name, error))?;
        let (handle, path) = (File::from(handle), self.path.join(name));
        // The mask of this process does not decide who may pass.
        handle.set_permissions(Permissions::from_mode(0o755)).map_err(|error| files::at(&path, &error))?;
        Ok(Own { handle, path })
    }

    /// A new file in it, synced. It has its owner before it gets its mode: nobody reads it in between.
    pub(super) fn create(&self, name: &str, bytes: &[u8], owner: Owner) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.handle, name, flags, Mode::from_raw_mode(0o600)).map_err(|error| self.at(name, error))?;
        let mut file = File::from(file);
        let mut fill = || {
            file.write_all(bytes)?;
            let meta = file.metadata()?;
            if owner.user.is_some_and(|user| user != meta.uid()) || owner.group.is_some_and(|group| group != meta.gid()) {
                fchown(&file, owner.user, owner.group)?;
            }
            file.set_permissions(Permissions::from_mode(owner.mode))?;
            file.sync_all()
        };
        fill().map_err(|error| files::at(&self.path.join(name), &error))
    }

    /// Makes a link in it lead elsewhere, in one step.
    pub(super) fn point(&self, name: &str, target: &str) -> io::Result<()> {
        let beside = format!(".{name}.new");
        self.remove(&beside)?;
        symlinkat(target, &self.handle, &beside).map_err(|error| self.at(&beside, error))?;
        if let Err(error) = renameat(&self.handle, &beside, &self.handle, name) {
            let _ = self.remove(&beside);
            return Err(self.at(name, error));
        }
        self.sync()
    }

    /// Gives a file in it another path.
    pub(super) fn rename(&self, name: &str, path: &Path) -> io::Result<()> {
        renameat(&self.handle, name, CWD, path).map_err(|error| files::at(path, &error.into()))
    }

    /// Removes a file that need not be there.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(self.at(name, error)),
        }
    }

    /// Makes the names in it durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all().map_err(|error| files::at(&self.path, &error))
    }
}
