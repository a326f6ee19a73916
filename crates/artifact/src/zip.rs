//! zip and jar (PKWARE APPNOTE 6.3.10). Where the whole is at hand, its directory says what there is, and every entry must agree with it: readers
//! differ in which of the two they believe, and what only one of them sees is a place to hide. Otherwise entries are read one after the other.

use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};

use flate2::bufread::DeflateDecoder;
use lzma_rust2::XzReader;
use memchr::memmem;
use zeroize::Zeroizing;

use crate::finding::Code;
use crate::meter::{Decoded, Fed, bytes};
use crate::packed::Zstd;
use crate::place::{self, Place};
use crate::scan::{Depth, Scan};
use crate::stream::Stream;
use crate::tar::Part;

/// Largest directory that is read into memory.
const MAX_DIRECTORY: u64 = 256 * 1024 * 1024;
/// The end of the directory, with the longest comment, and zip64's locator before it.
pub(crate) const MAX_END: u64 = 22 + 65_535 + 20;
/// What may follow an entry's data without being listed: a data descriptor of zip64 (§4.3.9).
const DESCRIPTOR: u64 = 24;

const LOCAL: &[u8; 4] = b"PK\x03\x04";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const END: &[u8; 4] = b"PK\x05\x06";
const END64: &[u8; 4] = b"PK\x06\x06";
const LOCATOR64: &[u8; 4] = b"PK\x06\x07";

/// True if a zip ends here, whatever its file begins with: nothing follows the comment of its directory (§4.3.16).
pub(crate) fn is_end(tail: &[u8]) -> bool {
    let from = tail.len().saturating_sub(MAX_END as usize);
    // Forwards, which is vectorised; backwards is not, and every file is asked.
    memmem::find_iter(&tail[from..], END)
        .filter_map(|at| tail[from + at..].split_at_checked(22))
        .any(|(end, comment)| usize::from(number16(end, 20)) == comment.len())
}

/// A file, or memory.
pub(crate) trait Seekable: Read + Seek {}

impl<T: Read + Seek> Seekable for T {}

/// One entry, as the directory or its own header describes it.
struct Entry {
    name: Vec<u8>,
    /// From the beginning of the zip, which need not be that of the file.
    offset: u64,
    method: u16,
    flags: u16,
    packed: u64,
    size: u64,
}

impl Entry {
    fn is_encrypted(&self) -> bool {
        self.flags & 1 != 0 || self.method == 99
    }

    /// Sizes follow the data (§4.4.4, bit 3).
    fn has_descriptor(&self) -> bool {
        self.flags & 8 != 0
    }
}

/// What is told once for a zip and not for each entry.
#[derive(Default)]
struct Tally {
    encrypted: Option<(Vec<u8>, u64)>,
    disagree: Option<(Vec<u8>, u64)>,
    overlap: Option<(Vec<u8>, u64)>,
    odd: Option<(Vec<u8>, u64)>,
}

fn count(slot: &mut Option<(Vec<u8>, u64)>, name: &[u8]) {
    slot.get_or_insert_with(|| (name.to_vec(), 0)).1 += 1;
}

impl Scan<'_, '_> {
    /// A zip that comes as a stream: held in memory if it is small enough, else read in one pass.
    pub(crate) fn zip_in_stream(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        let limit = self.limits().buffered_zip_bytes >> depth.zips.min(4);
        let mut held = Zeroizing::new(Vec::new());
        let read = stream.by_ref().take(limit + 1).read_to_end(&mut held);
        if held.len() as u64 <= limit {
            let length = held.len() as u64;
            // After a failure this is the part that could be read.
            if read.is_err() && !held.starts_with(LOCAL) {
                return;
            }
            return self.zip(&mut Cursor::new(held.as_slice()), length, place, Depth { zips: depth.zips + 1, ..depth });
        }
        self.meter.tell(place, Code::NotCompared, format!("the zip is larger than {} (limit buffered_zip_bytes) and lies inside of something else: it was read in one pass, and its directory was not compared with its entries", bytes(limit)));
        let mut all = held.as_slice().chain(stream);
        let mut chained = Stream::new(&mut all, self.buffer());
        self.entries_in_order(&mut chained, place, depth);
        self.keep(chained.into_buffer());
    }

    /// A program or script that comes as a stream, and that a zip may follow: held in memory if it is small enough, since that stands at its end.
    pub(crate) fn program(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        let limit = self.limits().buffered_zip_bytes >> depth.zips.min(4);
        let mut held = std::mem::take(&mut self.programs);
        held.clear();
        let read = stream.by_ref().take(limit + 1).read_to_end(&mut held);
        let length = held.len() as u64;
        if read.is_ok() && length <= limit && is_end(&held) {
            if !self.is_too_deep(place, depth) {
                self.zip(&mut Cursor::new(held.as_slice()), length, place, Depth { zips: depth.zips + 1, ..depth.inside() });
            }
        } else {
            // Behind a failure the stream fails again, so that what is cut off is known to be.
            let mut all = held.as_slice().chain(stream);
            let mut chained = Stream::new(&mut all, self.buffer());
            self.leaf(&mut chained, place, depth);
            let buffer = chained.into_buffer();
            self.keep(buffer);
        }
        self.programs = held;
    }

    /// A zip of which all is at hand.
    pub(crate) fn zip(&mut self, file: &mut dyn Seekable, length: u64, place: &Place, depth: Depth) {
        let (base, start, entries) = match self.directory(file, length) {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.meter.tell(
                    place,
                    Code::Truncated,
                    "the zip's directory, which stands at its end, is missing or damaged; the entries before it were looked at",
                );
                let mut rest = from_to(file, 0, length);
                let mut stream = Stream::new(&mut rest, self.buffer());
                self.entries_in_order(&mut stream, place, depth);
                let buffer = stream.into_buffer();
                return self.keep(buffer);
            }
            Err(error) => {
                return self.meter.tell(place, Code::Unreadable, format!("it cannot be read: {}", pki::text::escape(&error.to_string())));
            }
        };
        let complete = entries.len() as u64 <= self.limits().entries;
        if !complete {
            let limit = self.limits().entries;
            self.meter.tell(
                place,
                Code::TooMany,
                format!("the zip has more than {limit} entries (limit entries); the rest was not looked at"),
            );
        }
        let mut tally = Tally::default();
        let (mut cursor, mut descriptor) = (0, false);
        for entry in entries.iter().take(usize::try_from(self.limits().entries).unwrap_or(usize::MAX)) {
            if self.meter.is_over() {
                return;
            }
            let at = base.saturating_add(entry.offset);
            if at < cursor {
                count(&mut tally.overlap, &entry.name);
                continue;
            }
            // Of what was not listed to the end nobody can say that something is missing in it.
            if complete {
                self.gap(file, cursor, at, descriptor, place, depth);
            }
            let data = match local_header(file, at) {
                Ok(Some((local, data))) => {
                    let sizes = local.has_descriptor() || (local.packed, local.size) == (entry.packed, entry.size);
                    if local.name != entry.name || local.method != entry.method || local.is_encrypted() != entry.is_encrypted() || !sizes {
                        count(&mut tally.disagree, &entry.name);
                    }
                    data
                }
                _ => {
                    self.meter.tell(
                        &place.inside(&entry.name),
                        Code::Damaged,
                        "the zip's directory lists it, and where it should be there is no entry",
                    );
                    continue;
                }
            };
            let end = data.saturating_add(entry.packed);
            if end > start {
                self.meter.tell(
                    &place.inside(&entry.name),
                    Code::Truncated,
                    "the entry reaches beyond the zip's data; what is there was looked at",
                );
            }
            cursor = end.min(start).max(data);
            descriptor = entry.has_descriptor();
            let mut part = from_to(file, data, cursor);
            self.entry(entry, &mut part, place, depth, &mut tally);
        }
        if complete {
            self.gap(file, cursor, start, descriptor, place, depth);
        }
        self.tell_tally(&tally, place);
    }

    /// Bytes that no entry claims: what stands before the zip, padding, or something hidden.
    fn gap(&mut self, file: &mut dyn Seekable, from: u64, to: u64, descriptor: bool, place: &Place, depth: Depth) {
        if to <= from || descriptor && to - from <= DESCRIPTOR {
            return;
        }
        let hidden = {
            let mut range = from_to(file, from, to);
            let mut stream = Stream::new(&mut range, self.buffer());
            let hidden = find_entry(&mut stream).map(|at| from + at);
            self.keep(stream.into_buffer());
            hidden
        };
        let plain = hidden.unwrap_or(to);
        if plain > from {
            let mut range = from_to(file, from, plain);
            let mut stream = Stream::new(&mut range, self.buffer());
            // As a part of something it has no end that could mean anything.
            self.leaf(&mut stream, place, Depth::default());
            self.keep(stream.into_buffer());
        }
        if let Some(at) = hidden {
            self.meter.tell(
                place,
                Code::HiddenEntry,
                format!("there are entries at byte {at} that the zip's directory does not list; they were looked at"),
            );
            let mut range = from_to(file, at, to);
            let mut stream = Stream::new(&mut range, self.buffer());
            self.entries_in_order(&mut stream, place, depth);
            self.keep(stream.into_buffer());
        }
    }

    /// Entries by their own headers, up to the directory or the end.
    fn entries_in_order(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        let mut tally = Tally::default();
        let mut entries = 0u64;
        if stream.peek(4).starts_with(b"PK\x07\x08") {
            stream.skip(4); // one part of several, all of which are here
        }
        loop {
            let at = stream.position();
            let head = stream.peek(30);
            let directory =
                head.is_empty() || [CENTRAL, END, END64].iter().any(|magic| head.starts_with(*magic)) || head.iter().all(|byte| *byte == 0);
            let local = head.starts_with(LOCAL);
            if stream.is_failed() || self.meter.is_over() || directory {
                break;
            }
            if !local {
                self.meter.tell(place, Code::Damaged, format!("the zip is damaged at byte {at}: there is neither an entry nor its directory; the {entries} entries before it were looked at"));
                break;
            }
            let Some(entry) = parse_local(stream) else {
                self.meter.tell(
                    place,
                    Code::Truncated,
                    format!("the zip ends within the header at byte {at}; the {entries} entries before it were looked at"),
                );
                break;
            };
            entries += 1;
            if entries > self.limits().entries {
                let limit = self.limits().entries;
                self.meter.tell(
                    place,
                    Code::TooMany,
                    format!("the zip has more than {limit} entries (limit entries); the rest was not looked at"),
                );
                break;
            }
            if !entry.has_descriptor() {
                let mut part = Part { stream: &mut *stream, left: entry.packed, place, meter: self.meter, failed: false };
                self.entry(&entry, &mut part, place, depth, &mut tally);
                if !part.drain() {
                    break;
                }
                continue;
            }
            if entry.method != 8 || entry.is_encrypted() {
                if entry.is_encrypted() {
                    count(&mut tally.encrypted, &entry.name);
                }
                self.meter.tell(&place.inside(&entry.name), Code::Unsupported, "the entry does not say how long it is, so what follows it in this zip cannot be found; unpack the zip, and scan what it holds");
                break;
            }
            let inside = place.inside(&entry.name);
            let (fed, eaten) = Fed::new(&mut *stream);
            let mut decoded = Decoded::new(DeflateDecoder::new(fed), eaten.clone(), "deflate", self.meter, &inside);
            self.contents(&mut decoded, &inside, depth.decoded());
            // To its end, which is the only thing that says where the next one begins.
            if io::copy(&mut decoded, &mut io::sink()).is_err() {
                break;
            }
            skip_descriptor(stream, eaten.get());
        }
        self.tell_tally(&tally, place);
    }

    /// Looks into one entry, whose packed bytes are `data`.
    fn entry(&mut self, entry: &Entry, data: &mut dyn Read, place: &Place, depth: Depth, tally: &mut Tally) {
        if place::leads_out(&entry.name) {
            count(&mut tally.odd, &entry.name);
        }
        if entry.is_encrypted() {
            return count(&mut tally.encrypted, &entry.name);
        }
        if entry.packed == 0 {
            return;
        }
        let inside = place.inside(&entry.name);
        let window = self.limits().window_at(depth.decoders);
        let method = entry.method;
        if method == 0 {
            return self.contents(data, &inside, depth);
        }
        let mut stream = Stream::new(data, self.buffer());
        let (fed, eaten) = Fed::new(&mut stream);
        match method {
            8 => {
                let inner = Deflate { inner: DeflateDecoder::new(fed), size: entry.size };
                self.contents(&mut Decoded::new(inner, eaten, "deflate", self.meter, &inside), &inside, depth.decoded());
            }
            93 => self.contents(&mut Decoded::new(Zstd::new(fed, window), eaten, "zstd", self.meter, &inside), &inside, depth.decoded()),
            95 => {
                let window = u32::try_from(window / 1024).unwrap_or(u32::MAX).saturating_add(1024);
                let inner = XzReader::new_mem_limit(fed, false, window);
                self.contents(&mut Decoded::new(inner, eaten, "xz", self.meter, &inside), &inside, depth.decoded());
            }
            _ => self.meter.tell(
                &inside,
                Code::Unsupported,
                format!("it is packed by method {method} of zip, which is not read; unpack the zip, and scan what it holds"),
            ),
        }
        let buffer = stream.into_buffer();
        self.keep(buffer);
    }

    fn tell_tally(&mut self, tally: &Tally, place: &Place) {
        let tell = |slot: &Option<(Vec<u8>, u64)>, code, one: &str| {
            if let Some((name, count)) = slot {
                let more = if *count > 1 { format!("; {count} entries of this zip are so") } else { String::new() };
                self.meter.tell(&place.inside(name), code, format!("{one}{more}"));
            }
        };
        tell(&tally.encrypted, Code::Encrypted, "the entry is encrypted, so nobody can say what it holds");
        tell(
            &tally.disagree,
            Code::Disagreement,
            "the zip's directory and the entry's own header contradict each other; the directory was followed",
        );
        tell(&tally.overlap, Code::Disagreement, "the entry shares bytes with another one, as those of bombs do; it was not looked at");
        tell(&tally.odd, Code::OddName, "the name leads out of the folder that the zip is unpacked in; nothing is unpacked here");
    }

    /// Where the zip begins in the file, where its directory does, and the entries in the order of their data. `None` without a directory.
    fn directory(&self, file: &mut dyn Seekable, length: u64) -> io::Result<Option<(u64, u64, Vec<Entry>)>> {
        let Some(end) = End::find(file, length)? else { return Ok(None) };
        if end.size > MAX_DIRECTORY {
            return Ok(None);
        }
        let Some(start) = end.at.checked_sub(end.size) else { return Ok(None) };
        // What stands before the zip moves all of it.
        let Some(base) = start.checked_sub(end.offset) else { return Ok(None) };
        let mut reader = BufReader::with_capacity(64 * 1024, from_to(file, start, end.at));
        let mut entries = Vec::new();
        while !reader.fill_buf()?.is_empty() {
            let mut fixed = [0; 46];
            if reader.read_exact(&mut fixed).is_err() || !fixed.starts_with(CENTRAL) {
                // A signature of the directory may follow it.
                if fixed.starts_with(b"PK\x05\x05") || entries.len() as u64 == end.entries {
                    break;
                }
                return Ok(None);
            }
            let variable = [28, 30, 32].map(|at| usize::from(number16(&fixed, at)));
            let mut text = vec![0; variable.iter().sum()];
            if reader.read_exact(&mut text).is_err() {
                return Ok(None);
            }
            let (name, rest) = text.split_at(variable[0]);
            let mut entry = Entry {
                name: name.to_vec(),
                offset: u64::from(number32(&fixed, 42)),
                method: number16(&fixed, 10),
                flags: number16(&fixed, 8),
                packed: u64::from(number32(&fixed, 20)),
                size: u64::from(number32(&fixed, 24)),
            };
            wide(&rest[..variable[1]], [&mut entry.size, &mut entry.packed, &mut entry.offset]);
            entries.push(entry);
            if entries.len() as u64 > self.limits().entries {
                break;
            }
        }
        entries.sort_by_key(|entry| entry.offset);
        Ok(Some((base, start, entries)))
    }
}

/// The end of the directory, zip64's if there is one (§4.3.14 to §4.3.16).
struct End {
    /// Where the directory ends.
    at: u64,
    size: u64,
    offset: u64,
    entries: u64,
}

impl End {
    fn find(file: &mut dyn Seekable, length: u64) -> io::Result<Option<End>> {
        let from = length.saturating_sub(MAX_END);
        let mut tail = Vec::new();
        from_to(file, from, length).read_to_end(&mut tail)?;
        let fits =
            |at: &usize| tail.get(at + 20..at + 22).is_some_and(|n| at + 22 + usize::from(u16::from_le_bytes([n[0], n[1]])) <= tail.len());
        let Some(at) = memmem::rfind_iter(&tail, END).find(fits) else { return Ok(None) };
        let end = &tail[at..];
        let mut found = End {
            at: from + at as u64,
            size: u64::from(number32(end, 12)),
            offset: u64::from(number32(end, 16)),
            entries: u64::from(number16(end, 10)),
        };
        let locator = at.checked_sub(20).map(|before| &tail[before..at]).filter(|locator| locator.starts_with(LOCATOR64));
        if let Some(locator) = locator {
            let mut end64 = [0; 56];
            // Where it says, or right before its locator if something stands before the zip.
            let (said, before) = (number64(locator, 8), (from + at as u64).saturating_sub(20 + 56));
            for place in [said, before] {
                if from_to(file, place, length).read_exact(&mut end64).is_ok() && end64.starts_with(END64) {
                    found = End { at: place, size: number64(&end64, 40), offset: number64(&end64, 48), entries: number64(&end64, 32) };
                    break;
                }
            }
        }
        Ok(Some(found))
    }
}

/// Deflate, which does not notice by itself that its input is cut off.
struct Deflate<R> {
    inner: DeflateDecoder<R>,
    size: u64,
}

impl<R: BufRead> Read for Deflate<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        if count == 0 && !into.is_empty() && self.inner.total_out() < self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}

/// A part of a file; an error while seeking becomes one of reading.
fn from_to(file: &mut dyn Seekable, from: u64, to: u64) -> io::Take<Located<'_>> {
    Located { file, from: Some(from) }.take(to.saturating_sub(from))
}

struct Located<'f> {
    file: &'f mut dyn Seekable,
    from: Option<u64>,
}

impl Read for Located<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(from) = self.from {
            self.file.seek(SeekFrom::Start(from))?;
            self.from = None;
        }
        self.file.read(into)
    }
}

/// The header of an entry at this place, and where its data begins.
fn local_header(file: &mut dyn Seekable, at: u64) -> io::Result<Option<(Entry, u64)>> {
    let mut fixed = [0; 30];
    let mut reader = BufReader::with_capacity(512, from_to(file, at, u64::MAX));
    if reader.read_exact(&mut fixed).is_err() || !fixed.starts_with(LOCAL) {
        return Ok(None);
    }
    let (name, extra) = (usize::from(number16(&fixed, 26)), usize::from(number16(&fixed, 28)));
    let mut text = vec![0; name + extra];
    if reader.read_exact(&mut text).is_err() {
        return Ok(None);
    }
    Ok(Some((from_local(&fixed, &text, name), at + 30 + (name + extra) as u64)))
}

/// Reads a header out of a stream.
fn parse_local(stream: &mut Stream<'_>) -> Option<Entry> {
    let mut fixed = [0; 30];
    (stream.fill(&mut fixed) == 30).then_some(())?;
    let (name, extra) = (usize::from(number16(&fixed, 26)), usize::from(number16(&fixed, 28)));
    let mut text = vec![0; name + extra];
    (stream.fill(&mut text) == text.len()).then_some(())?;
    Some(from_local(&fixed, &text, name))
}

fn from_local(fixed: &[u8; 30], text: &[u8], name: usize) -> Entry {
    let mut entry = Entry {
        name: text[..name].to_vec(),
        offset: 0,
        method: number16(fixed, 8),
        flags: number16(fixed, 6),
        packed: u64::from(number32(fixed, 18)),
        size: u64::from(number32(fixed, 22)),
    };
    wide(&text[name..], [&mut entry.size, &mut entry.packed, &mut 0]);
    entry
}

/// zip64's extra field: numbers for those that did not fit, in this order (§4.5.3).
fn wide(mut extra: &[u8], numbers: [&mut u64; 3]) {
    while let Some((head, rest)) = extra.split_first_chunk::<4>() {
        let (id, length) = (number16(head, 0), usize::from(number16(head, 2)));
        let Some((field, after)) = rest.split_at_checked(length) else { return };
        if id == 1 {
            let mut values = field.chunks_exact(8);
            for number in numbers {
                if *number == u64::from(u32::MAX)
                    && let Some(value) = values.next()
                {
                    *number = number64(value, 0);
                }
            }
            return;
        }
        extra = after;
    }
}

/// Where the first header stands that can be one of an entry.
fn find_entry(stream: &mut Stream<'_>) -> Option<u64> {
    loop {
        let here = stream.here();
        let known = |method: u16| matches!(method, 0..=20 | 93..=99);
        let found = memmem::find_iter(here, LOCAL).find(|&at| {
            here.get(at..at + 30)
                .is_none_or(|head| number16(head, 4) & 0xff < 100 && known(number16(head, 8)) && (1..=4096).contains(&number16(head, 26)))
        });
        match found {
            Some(at) if here.len() >= at + 30 => return Some(stream.position() + at as u64),
            Some(_) if stream.is_ended() => return None,
            Some(at) => stream.consume(at),
            None if stream.is_ended() => return None,
            None => stream.consume(here.len().saturating_sub(3)),
        }
        let wanted = stream.here().len() + 1;
        stream.peek(wanted);
    }
}

/// Passes over what follows data of unknown length: with or without signature, with numbers of four or eight bytes (§4.3.9).
fn skip_descriptor(stream: &mut Stream<'_>, packed: u64) {
    let here = stream.peek(24);
    let signed = if here.starts_with(b"PK\x07\x08") { 4 } else { 0 };
    let wide = here.get(signed + 4..signed + 12).is_some_and(|field| number64(field, 0) == packed);
    let narrow = here.get(signed + 4..signed + 8).is_some_and(|field| u64::from(number32(field, 0)) == packed & 0xffff_ffff);
    // Sizes below 4 GiB look the same in both: the next header decides.
    let next = |at: usize| here.get(at..).is_none_or(|rest| rest.is_empty() || rest.starts_with(b"PK"));
    let length = match (narrow, wide) {
        (_, true) if !next(signed + 12) => signed + 20,
        (true, _) => signed + 12,
        _ => 0,
    };
    stream.skip(length as u64);
}

fn number16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |field| u16::from_le_bytes([field[0], field[1]]))
}

fn number32(bytes: &[u8], at: usize) -> u32 {
    u32::from(number16(bytes, at)) | u32::from(number16(bytes, at + 2)) << 16
}

fn number64(bytes: &[u8], at: usize) -> u64 {
    u64::from(number32(bytes, at)) | u64::from(number32(bytes, at + 4)) << 32
}
