//! Files that are whole or not there: written beside, synced, renamed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Largest file that is ever read here, in bytes: a chain, a key, a manifest of a thousand installs.
pub(crate) const MOST_BYTES: usize = 16 << 20;

/// An error with the path that it is about.
pub(crate) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| at(folder, &error))
}

/// A folder with this mode; whatever is there already keeps its own.
pub(crate) fn folder(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            // The mask of this process does not decide who may pass.
            fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|error| at(path, &error))?;
            path.parent().map_or(Ok(()), sync_folder)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(at(path, &error)),
    }
}

/// A new file with these bytes, mode 0600, not synced; nothing may be there before.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let write = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes);
    write().map_err(|error| at(path, &error))
}

/// A new file with these bytes, synced; nothing may be there before.
fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let finish = || {
        let file = File::open(path)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    };
    write_new(path, bytes)?;
    finish().map_err(|error| at(path, &error))
}

/// Puts bytes where readers see the old file or the new one, and after a crash too.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let beside = beside(path);
    remove(&beside)?;
    let done = create(&beside, bytes, mode).and_then(|()| fs::rename(&beside, path).map_err(|error| at(path, &error)));
    if done.is_err() {
        // What is left of it is nothing that anybody reads, but on a full disk its room is needed.
        let _ = remove(&beside);
    }
    done?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Puts bytes where readers see the old file or the new one; a crash may lose them.
pub(crate) fn note(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    remove(&beside)?;
    write_new(&beside, bytes).and_then(|()| fs::rename(&beside, path).map_err(|error| at(path, &error))).inspect_err(|_| {
        let _ = remove(&beside);
    })
}

/// Makes `link` lead to `target` in one step, whatever it was before (a folder excepted).
pub(crate) fn point(link: &Path, target: &Path) -> io::Result<()> {
    if fs::read_link(link).is_ok_and(|now| now == target) {
        return Ok(());
    }
    let beside = beside(link);
    remove(&beside)?;
    std::os::unix::fs::symlink(target, &beside).map_err(|error| at(&beside, &error))?;
    if let Err(error) = fs::rename(&beside, link) {
        let _ = remove(&beside);
        return Err(at(link, &error));
    }
    link.parent().map_or(Ok(()), sync_folder)
}

/// Removes a file that need not be there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path, &error)),
        _ => Ok(()),
    }
}

/// Removes a folder that need not be there.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path, &error)),
        _ => Ok(()),
    }
}

/// The bytes of a file, wiped when they go; `None` where there is none.
pub(crate) fn read(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let read = || {
        let file = File::open(path)?;
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if length > MOST_BYTES {
            return Err(io::Error::other(format!("{length} bytes, more than {MOST_BYTES}")));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
        file.take(MOST_BYTES as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path, &error)),
    }
}

/// Where a file is written before it gets its name.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{}.new", name.trim_start_matches('.')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        // What a crash left behind does not stand in the way.
        fs::write(folder.path().join(".a.new"), b"half").unwrap();
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o640).unwrap();
        assert_eq!(**read(&path).unwrap().unwrap(), *b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(read(&folder.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn a_link_changes_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("current");
        for target in ["one", "two", "two"] {
            point(&link, Path::new(target)).unwrap();
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
        }
    }
}
