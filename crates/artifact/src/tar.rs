//! tar: POSIX ustar and pax, GNU's long names and sparse files, and what was before (POSIX.1-2001, pax; GNU tar manual, "Basic Tar Format").
//! One pass, nothing is held but a header.

use std::io::{self, Read};

use crate::finding::Code;
use crate::image::Notes;
use crate::meter::Meter;
use crate::place::{self, Place};
use crate::scan::{Depth, Scan};
use crate::sniff::{checksum_fits, octal};
use crate::stream::Stream;

const BLOCK: usize = 512;
/// Largest header that belongs to an entry: a long name, pax records.
const MAX_EXTENSION: u64 = 1024 * 1024;
/// Most maps of a sparse file, 512 bytes each.
const MAX_SPARSE_BLOCKS: u64 = 1_000_000;

/// What headers before an entry say about it.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    /// GNU's sparse format 1.0: a map stands before the data.
    sparse_map: bool,
}

impl Scan<'_, '_> {
    pub(crate) fn tar(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        let mut notes = Notes::default();
        self.entries_of_tar(stream, place, depth, &mut notes);
        if let Some((from, layers)) = notes.finish() {
            self.release(from, |finding| layers.note(finding, place, '!'));
        }
    }

    fn entries_of_tar(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth, notes: &mut Notes) {
        let mut extensions = Extensions::default();
        let (mut entries, mut odd, mut ended) = (0u64, false, false);
        loop {
            let at = stream.position();
            let mut block = [0; BLOCK];
            let got = stream.fill(&mut block);
            // The two empty blocks of the end may be missing: GNU tar accepts that, and others write so.
            if got == 0 || stream.is_failed() || self.meter.is_over() {
                return;
            }
            if block[..got].iter().all(|&byte| byte == 0) {
                ended = true;
                continue;
            }
            if got < BLOCK {
                return self.meter.tell(
                    place,
                    Code::Truncated,
                    format!("the tar ends within the header at byte {at}; the {entries} entries before it were looked at"),
                );
            }
            if !checksum_fits(&block) {
                return self.rest_of_tar(stream, &block, place, at, ended);
            }
            if ended {
                self.meter.tell(
                    place,
                    Code::TrailingBytes,
                    format!("another tar follows the end of the first one at byte {at}; it was looked at as well"),
                );
                ended = false;
            }
            entries += 1;
            if entries > self.limits().entries {
                let limit = self.limits().entries;
                return self.meter.tell(
                    place,
                    Code::TooMany,
                    format!("the tar has more than {limit} entries (limit entries); the rest was not looked at"),
                );
            }
            let Some(written) = size(&block[124..136]) else {
                return self.meter.tell(
                    place,
                    Code::Damaged,
                    format!("the tar's header at byte {at} gives no size that can be; nothing behind it can be found"),
                );
            };
            let kind = block[156];
            match kind {
                b'L' | b'K' | b'x' | b'g' | b'X' => {
                    let Some(text) = self.extension(stream, place, at, written) else { return };
                    match kind {
                        b'L' => extensions.name = Some(text.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()),
                        b'x' | b'X' => extensions.read(&text),
                        _ => {}
                    }
                    continue;
                }
                _ => {}
            }
            let extensions = std::mem::take(&mut extensions);
            // Links, devices, folders and pipes have no data, whatever they say.
            let empty = matches!(kind, b'1'..=b'6');
            let size = if empty { 0 } else { extensions.size.unwrap_or(written) };
            let name = extensions.name.unwrap_or_else(|| name(&block));
            if !odd && place::leads_out(&name) {
                odd = true;
                self.meter.tell(
                    &place.inside(&name),
                    Code::OddName,
                    "the name leads out of the folder that the tar is unpacked in; nothing is unpacked here",
                );
            }
            if kind == b'S' && block[482] != 0 && !self.sparse_blocks(stream, place) {
                return;
            }
            if !empty && size > 0 {
                notes.entry(&name, || self.hold());
                let inside = place.inside(&name);
                let mut part = Part { stream, left: size, place, meter: self.meter, failed: false };
                if extensions.sparse_map {
                    part.skip_map();
                }
                if notes.wants(&name, size) {
                    let text = notes.keep(&name, &mut part);
                    self.contents(&mut text.as_slice(), &inside, depth);
                } else {
                    self.contents(&mut part, &inside, depth);
                }
                if !part.drain() {
                    return;
                }
            }
            let padding = size.wrapping_neg() % BLOCK as u64;
            stream.skip(padding);
        }
    }

    /// What stands where a header should be.
    fn rest_of_tar(&mut self, stream: &mut Stream<'_>, block: &[u8; BLOCK], place: &Place, at: u64, ended: bool) {
        let what = if ended {
            (Code::TrailingBytes, format!("other bytes follow the end of the tar at byte {at}; they were looked at as well"))
        } else {
            (
                Code::Damaged,
                format!("the tar is damaged at byte {at}: what should be a header is none; what follows was searched, not unpacked"),
            )
        };
        self.meter.tell(place, what.0, what.1);
        let mut rest = block.as_slice().chain(&mut *stream);
        let mut buffered = Stream::new(&mut rest, self.buffer());
        self.leaf(&mut buffered, &place.inside(b"(trailing bytes)"), Depth::default());
        let buffer = buffered.into_buffer();
        self.keep(buffer);
    }

    /// The data of a header that belongs to the next entry.
    fn extension(&mut self, stream: &mut Stream<'_>, place: &Place, at: u64, size: u64) -> Option<Vec<u8>> {
        if size > MAX_EXTENSION {
            self.meter.tell(place, Code::Damaged, format!("the tar's header at byte {at} has {size} bytes, more than the limit of {MAX_EXTENSION}; nothing behind it was looked at"));
            return None;
        }
        let mut text = vec![0; usize::try_from(size).ok()?];
        let mut part = Part { stream: &mut *stream, left: size, place, meter: self.meter, failed: false };
        part.read_exact(&mut text).ok()?;
        stream.skip(size.wrapping_neg() % BLOCK as u64);
        Some(text)
    }

    /// Passes over the maps of GNU's old sparse format: what is stored follows them.
    fn sparse_blocks(&mut self, stream: &mut Stream<'_>, place: &Place) -> bool {
        for _ in 0..MAX_SPARSE_BLOCKS {
            let mut block = [0; BLOCK];
            let mut part = Part { stream: &mut *stream, left: BLOCK as u64, place, meter: self.meter, failed: false };
            if part.read_exact(&mut block).is_err() {
                return false;
            }
            if block[504] == 0 {
                return true;
            }
        }
        self.meter.tell(place, Code::Damaged, "the tar describes a sparse file without end; nothing behind it was looked at");
        false
    }
}

/// The name of a header: ustar splits it, GNU and older ones do not.
fn name(block: &[u8; BLOCK]) -> Vec<u8> {
    let text = |field: &[u8]| field.split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
    let name = text(&block[..100]);
    let prefix = text(&block[345..500]);
    // GNU writes "ustar  " and uses the prefix for other things.
    if block[257..263] != *b"ustar\0" || prefix.is_empty() {
        return name;
    }
    [prefix, name].join(&b'/')
}

/// A size: octal, or in base 256 if the first bit is set; negative ones and those beyond 63 bits are none.
fn size(field: &[u8]) -> Option<u64> {
    let first = *field.first()?;
    if first & 0x80 == 0 {
        return octal(field).or_else(|| field.iter().all(|byte| matches!(byte, 0 | b' ')).then_some(0));
    }
    let start = u64::from(first & 0x7f);
    if first & 0x40 != 0 {
        return None;
    }
    field[1..]
        .iter()
        .try_fold(start, |sum, &byte| sum.checked_mul(256)?.checked_add(u64::from(byte)))
        .filter(|size| *size <= i64::MAX as u64)
}

impl Extensions {
    /// pax records: "LENGTH KEY=VALUE\n".
    fn read(&mut self, mut text: &[u8]) {
        while let Some(space) = text.iter().position(|&byte| byte == b' ') {
            let length = std::str::from_utf8(&text[..space]).ok().and_then(|digits| digits.parse::<usize>().ok());
            let Some(record) = length.and_then(|length| text.get(space + 1..length)) else { return };
            text = &text[space + 1 + record.len()..];
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            let Some(equals) = record.iter().position(|&byte| byte == b'=') else { continue };
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" | b"GNU.sparse.name" => self.name = Some(value.to_vec()),
                b"size" => self.size = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()),
                b"GNU.sparse.major" => self.sparse_map = value == b"1",
                _ => {}
            }
        }
    }
}

/// The data of an entry.
pub(crate) struct Part<'p, 's, 'm, 'a> {
    pub(crate) stream: &'p mut Stream<'s>,
    pub(crate) left: u64,
    /// The archive.
    pub(crate) place: &'p Place,
    pub(crate) meter: &'m Meter<'a>,
    pub(crate) failed: bool,
}

impl Part<'_, '_, '_, '_> {
    /// Passes over what nobody read; false if there is no more.
    pub(crate) fn drain(&mut self) -> bool {
        self.left -= self.stream.skip(self.left);
        if self.left > 0 && !self.failed && !self.stream.is_failed() {
            self.cut_off();
        }
        self.left == 0
    }

    fn cut_off(&mut self) {
        self.failed = true;
        let missing = self.left;
        self.meter.tell(
            self.place,
            Code::Truncated,
            format!("the archive is cut off: {missing} bytes are missing from its last entry; what is there was looked at"),
        );
    }

    /// GNU's sparse format 1.0: a number of pairs, then the pairs, each number on a line, filled up to a block.
    fn skip_map(&mut self) {
        let (mut lines, mut wanted, mut number, mut read) = (0u64, None, 0u64, 0u64);
        let mut byte = [0];
        while wanted.is_none_or(|wanted| lines < wanted) && read < MAX_EXTENSION {
            if self.read_exact(&mut byte).is_err() {
                return;
            }
            read += 1;
            match byte[0] {
                digit @ b'0'..=b'9' => number = number.saturating_mul(10).saturating_add(u64::from(digit - b'0')),
                _ => {
                    match wanted {
                        None => wanted = Some(number.saturating_mul(2)),
                        Some(_) => lines += 1,
                    }
                    number = 0;
                }
            }
        }
        let padding = read.wrapping_neg() % BLOCK as u64;
        self.left -= self.stream.skip(padding.min(self.left));
    }
}

impl Read for Part<'_, '_, '_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(self.meter.failed());
        }
        let wanted = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.stream.read(&mut into[..wanted])?;
        if count == 0 {
            self.cut_off();
            return Err(self.meter.failed());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn sizes() {
        let check = |field: &[u8], expected| assert_eq!(size(field), expected, "{field:?}");
        check(b"00000001750\0", Some(1000));
        check(b"            ", Some(0));
        check(&[0; 12], Some(0));
        check(&[0x80, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0], Some(3 << 32));
        check(&[0xff; 12], None);
        check(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], None);
        check(b"12345x", None);
    }

    #[test]
    fn records() {
        let mut read = Extensions::default();
        read.read(b"14 path=a/b/c\n12 size=900\n22 GNU.sparse.major=1\n");
        assert_eq!((read.name.as_deref(), read.size, read.sparse_map), (Some(&b"a/b/c"[..]), Some(900), true));
        for broken in ["", "x", "5", "999 path=a\n", "0 path=a\n", "3 path\n", "18446744073709551615 a=b\n", "2 \n"] {
            let mut read = Extensions::default();
            read.read(broken.as_bytes());
            assert!(read.name.is_none(), "{broken}");
        }
    }
}
