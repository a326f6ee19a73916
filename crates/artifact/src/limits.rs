//! What one scan may cost. Everything that comes in was made by somebody else.

use std::time::Duration;

/// KiB, MiB, GiB in bytes.
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// What one scan may cost. What goes beyond is told with its place, and the scan goes on with the rest wherever there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Containers inside each other; a compressed tar counts as two. A jar in a package in a compressed layer of an image takes nine.
    pub depth: usize,
    /// Entries of one archive or directory tree.
    pub entries: u64,
    /// Bytes that are read and unpacked in all.
    pub total_bytes: u64,
    /// Bytes that one compressed stream may unpack to.
    pub stream_bytes: u64,
    /// How many times larger than itself a compressed stream may become, once it is beyond `ratio_free_bytes`. Deflate reaches
    /// 1,032 with zeros alone; programs and texts stay below 20.
    pub ratio: u64,
    /// Unpacked bytes of one stream that are not held against its ratio: images do hold files of zeros.
    pub ratio_free_bytes: u64,
    /// Memory that one decoder may take for what it looks back to; each one that it feeds gets half, 8 MiB at least.
    pub window_bytes: u64,
    /// Largest zip inside of another container that is held in memory to compare its directory; larger ones are read in one pass.
    pub buffered_zip_bytes: u64,
    /// Largest certificate, key, keystore or message that is read, and longest PEM block, in bytes.
    pub item_bytes: usize,
    /// Findings in all; further ones are counted only.
    pub findings: u64,
    /// Time that the whole may take.
    pub time: Duration,
    /// Iterations of key derivation that one PKCS#12 file may ask for, for each password tried.
    pub pkcs12_iterations: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 16,
            entries: 2_000_000,
            total_bytes: 256 * GIB,
            stream_bytes: 64 * GIB,
            ratio: 200,
            ratio_free_bytes: GIB,
            window_bytes: 128 * MIB,
            buffered_zip_bytes: 64 * MIB,
            item_bytes: 16 * 1024 * 1024,
            findings: 100_000,
            time: Duration::from_secs(3600),
            pkcs12_iterations: 2_000_000,
        }
    }
}

impl Limits {
    /// What a decoder may look back to when this many others feed it.
    pub(crate) fn window_at(&self, decoders: u32) -> u64 {
        (self.window_bytes >> decoders.min(4)).max(8 * MIB)
    }
}
