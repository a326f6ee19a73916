//! Files that are whole or not there: written beside, synced, renamed.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
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
            // The mask of this process does not decide who may pass. By handle: whoever may write beside it could put a link in its place.
            let set = || open(path, OFlags::DIRECTORY | OFlags::NOFOLLOW)?.set_permissions(Permissions::from_mode(mode));
            set().map_err(|error| at(path, &error))?;
            path.parent().map_or(Ok(()), sync_folder)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(at(path, &error)),
    }
}

/// Opens for reading, never waiting for whoever else has it open.
fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = (flags | OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    OpenOptions::new().read(true).custom_flags(i32::try_from(flags).map_err(io::Error::other)?).open(path)
}

/// A new file with these bytes, mode 0600, not synced; nothing may be there before.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        Ok(file)
    };
    write().map_err(|error| at(path, &error))
}

/// A new file with these bytes, synced; nothing may be there before.
fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let file = write_new(path, bytes)?;
    file.set_permissions(Permissions::from_mode(mode)).and_then(|()| file.sync_all()).map_err(|error| at(path, &error))
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
    write_new(&beside, bytes).and_then(|_| fs::rename(&beside, path).map_err(|error| at(path, &error))).inspect_err(|_| {
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

/// The bytes of a file, wiped when they go; `None` where there is none. Whoever owns it: a FIFO does not hold this up, nor does a huge file.
pub(crate) fn read(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    Ok(read_with_owner(path, true)?.map(|(bytes, _)| bytes))
}

/// The bytes of a file, wiped when they go, with what the file system says of it.
pub(crate) type Found = (Zeroizing<Vec<u8>>, Metadata);

/// The same with what the file system says of the very file that was read; where `links` are not followed, only a file itself is read.
pub(crate) fn read_with_owner(path: &Path, links: bool) -> io::Result<Option<Found>> {
    let read = || {
        let file = open(path, if links { OFlags::empty() } else { OFlags::NOFOLLOW })?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let length = usize::try_from(meta.len()).unwrap_or(usize::MAX);
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.min(MOST_BYTES) + 1));
        file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > MOST_BYTES {
            return Err(io::Error::other(format!("it is larger than {MOST_BYTES} bytes")));
        }
        Ok((bytes, meta))
    };
    match read() {
        Ok(found) => Ok(Some(found)),
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
    fn what_is_no_file_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, expected: &str| {
            let said = read(&folder.path().join(name)).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        };
        assert!(std::process::Command::new("mkfifo").arg(folder.path().join("fifo")).status().unwrap().success());
        check("fifo", "no regular file");
        fs::create_dir(folder.path().join("folder")).unwrap();
        check("folder", "no regular file");
        File::create(folder.path().join("huge")).unwrap().set_len(MOST_BYTES as u64 + 1).unwrap();
        check("huge", "larger than");
        std::os::unix::fs::symlink("huge", folder.path().join("link")).unwrap();
        assert!(read_with_owner(&folder.path().join("link"), false).is_err(), "a link where a file itself is meant");
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
