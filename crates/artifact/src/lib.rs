//! Finds certificates and keys in what was built: bytes of a build in, findings out; reads only what it is given, writes nothing, connects nowhere.
//!
//! [`scan`] looks into folders, archives, packages, container images and keystores, inside each other. What a thing is packed in is
//! known by its content. Everything that is read may be hostile: nothing is unpacked to disk, memory does not follow the size of what is read,
//! every limit has a name ([`Limits`]), and whatever is not looked at is told.
//!
//! The crate tells facts. Whether a certificate ends too soon is for the caller to say.

mod ar;
mod armour;
mod cpio;
mod finding;
mod image;
mod item;
mod leaf;
mod limits;
mod meter;
mod packed;
mod place;
mod rpm;
mod scan;
mod sniff;
mod sparse;
mod stream;
mod tar;
mod walk;
mod zip;

use std::io::Read;
use std::path::Path;
use std::time::Duration;

pub use finding::{Code, Finding, Form, Key, KeyState, Layer, Problem, What};
pub use limits::Limits;
pub use zeroize::Zeroizing;

/// Something to look into.
pub enum Source<'s> {
    /// A file or a folder.
    Path(&'s Path),
    /// Bytes from elsewhere.
    Stream {
        /// What the path of findings begins with.
        name: &'s str,
        /// The bytes.
        bytes: &'s mut dyn Read,
    },
}

/// The caller's clock and progress.
pub trait Watch {
    /// The time since the scan began, held against [`Limits::time`].
    fn elapsed(&self) -> Duration;

    /// So many bytes were read and unpacked until now. Called often.
    fn read(&self, _bytes: u64) {}
}

/// What a scan amounted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes that were read and unpacked.
    pub bytes: u64,
    /// Files that were searched, those inside of others too, containers not.
    pub files: u64,
    /// Findings, problems and notes; more than were told if there were more than [`Limits::findings`].
    pub found: u64,
    /// False where the scan ended before all was looked at: the time was over, it was too much in all, there were more findings than
    /// [`Limits::findings`], or nobody listened any more. Parts that could not be looked into are problems of their own.
    pub complete: bool,
}

/// Looks into everything and tells what is found, in the same order each time.
///
/// `passwords` are tried on PKCS#12 files. `tell` says whether anybody still listens; if not, the scan ends.
pub fn scan(
    sources: &mut [Source<'_>],
    limits: &Limits,
    passwords: &[Zeroizing<String>],
    watch: &dyn Watch,
    tell: &mut dyn FnMut(Finding) -> bool,
) -> Summary {
    scan::scan(sources, limits, passwords, watch, tell)
}
