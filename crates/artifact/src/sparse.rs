//! Files with holes: a terabyte of nothing is not read.

use std::fs::{File, Metadata};
use std::io::{self, Read};

/// A reader that passes over the holes of a file, or nothing if it has none, or the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn skipping_holes<'f>(file: &'f File, found: &Metadata) -> Option<Sparse<'f>> {
    use std::os::unix::fs::MetadataExt as _;
    // The system counts blocks of 512 bytes, whatever the file system's are.
    let stored = found.blocks().saturating_mul(512);
    (stored < found.len() / 2).then_some(Sparse { file, at: 0, until: 0 })
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn skipping_holes<'f>(_file: &'f File, _found: &Metadata) -> Option<Sparse<'f>> {
    None
}

/// Gives the data of a file without its holes; a line end stands for each, so that nothing grows together.
pub(crate) struct Sparse<'f> {
    file: &'f File,
    at: u64,
    /// The end of the data that is being read.
    until: u64,
}

#[cfg(target_os = "linux")]
impl Read for Sparse<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        use rustix::fs::{SeekFrom, seek};
        use rustix::io::Errno;
        use std::os::unix::fs::FileExt as _;
        if into.is_empty() {
            return Ok(0);
        }
        if self.at >= self.until {
            let data = match seek(self.file, SeekFrom::Data(self.at)) {
                Ok(data) => data,
                Err(Errno::NXIO) => return Ok(0), // only a hole is left
                Err(error) => return Err(error.into()),
            };
            self.until = seek(self.file, SeekFrom::Hole(data))?;
            let hole = data > self.at;
            self.at = data;
            if hole {
                into[0] = b'\n';
                return Ok(1);
            }
        }
        let wanted = into.len().min(usize::try_from(self.until - self.at).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut into[..wanted], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(not(target_os = "linux"))]
impl Read for Sparse<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let _ = self.until;
        self.file.read(into)
    }
}
