//! The scan: what a thing is decides how it is looked into, until there is nothing inside any more.

use std::io::Read;

use zeroize::Zeroizing;

use crate::finding::{Code, Finding};
use crate::item::Passwords;
use crate::leaf::Finders;
use crate::limits::Limits;
use crate::meter::{Meter, problem};
use crate::place::Place;
use crate::sniff::{self, Packing, sniff};
use crate::stream::{Buffer, CHUNK, Stream};
use crate::{Source, Summary, Watch};

/// Buffers that are kept for the next stream, and how large one may have become.
const KEPT_BUFFERS: usize = 24;
const KEPT_BUFFER_BYTES: usize = 8 * CHUNK;

/// How deep something lies.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Depth {
    /// Containers around it.
    pub(crate) containers: usize,
    /// Decoders that its bytes come through.
    pub(crate) decoders: u32,
    /// Zips around it that are held in memory.
    pub(crate) zips: u32,
    /// It comes as a stream, of which nobody has seen the end.
    pub(crate) streamed: bool,
}

impl Depth {
    /// Inside of an archive.
    pub(crate) fn inside(self) -> Depth {
        Depth { containers: self.containers + 1, streamed: true, ..self }
    }

    /// Behind a decoder; `inside` was counted already.
    pub(crate) fn decoded(self) -> Depth {
        Depth { decoders: self.decoders + 1, ..self }
    }
}

/// One scan.
pub(crate) struct Scan<'m, 'a> {
    pub(crate) meter: &'m Meter<'a>,
    pub(crate) finders: Finders,
    passwords: &'a [Zeroizing<String>],
    tell: &'a mut dyn FnMut(Finding) -> bool,
    /// What waits for the end of an image, whose manifest may come last.
    held: Vec<Finding>,
    holding: usize,
    found: u64,
    pub(crate) files: u64,
    buffers: Vec<Buffer>,
    /// What holds programs in memory, one after the other.
    pub(crate) programs: Buffer,
}

/// Looks into everything and tells what is found, in an order that is the same each time.
///
/// `tell` says whether anybody still listens.
pub(crate) fn scan(
    sources: &mut [Source<'_>],
    limits: &Limits,
    passwords: &[Zeroizing<String>],
    watch: &dyn Watch,
    tell: &mut dyn FnMut(Finding) -> bool,
) -> Summary {
    let meter = Meter::new(limits, watch);
    let mut scan = Scan {
        meter: &meter,
        finders: Finders::new(),
        passwords,
        tell,
        held: Vec::new(),
        holding: 0,
        found: 0,
        files: 0,
        buffers: Vec::new(),
        programs: Buffer::default(),
    };
    for source in sources {
        match source {
            Source::Path(path) => scan.path(path),
            Source::Stream { name, bytes } => scan.bottom(*bytes, &Place::outside(name)),
        }
        scan.pass_on();
    }
    let complete = !meter.is_over() && scan.found <= limits.findings;
    Summary { bytes: meter.read(), files: scan.files, found: scan.found, complete }
}

impl<'m> Scan<'m, '_> {
    pub(crate) fn limits(&self) -> &'m Limits {
        self.meter.limits
    }

    pub(crate) fn passwords(&self) -> Passwords<'_> {
        Passwords { given: self.passwords, limits: self.meter.limits }
    }

    /// Looks at bytes that come from outside.
    fn bottom(&mut self, bytes: &mut dyn Read, place: &Place) {
        let mut bottom = crate::meter::Bottom::new(bytes, self.meter, place);
        self.contents(&mut bottom, place, Depth { streamed: true, ..Depth::default() });
    }

    /// Looks into whatever this is.
    pub(crate) fn contents(&mut self, source: &mut dyn Read, place: &Place, depth: Depth) {
        let mut stream = Stream::new(source, self.buffer());
        self.unpack(&mut stream, place, depth);
        self.keep(stream.into_buffer());
        self.pass_on();
    }

    /// A buffer for a stream.
    pub(crate) fn buffer(&mut self) -> Buffer {
        self.buffers.pop().unwrap_or_default()
    }

    /// A buffer that is no longer needed.
    pub(crate) fn keep(&mut self, buffer: Buffer) {
        if buffer.len() <= KEPT_BUFFER_BYTES && self.buffers.len() < KEPT_BUFFERS {
            self.buffers.push(buffer);
        }
    }

    pub(crate) fn unpack(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        let head = stream.peek(sniff::HEAD);
        let Some(packing) = sniff(head) else {
            self.files += 1;
            if depth.streamed && sniff::is_program(head) {
                return self.program(stream, place, depth);
            }
            return self.leaf(stream, place, depth);
        };
        match packing {
            Packing::Unsupported(what) => {
                self.meter.tell(place, Code::Unsupported, format!("{what} is not read; unpack it, and scan what it holds"));
                return self.leaf(stream, place, depth);
            }
            Packing::Encrypted(what) => {
                return self.meter.tell(place, Code::Encrypted, format!("it is encrypted ({what}), so nobody can say what it holds"));
            }
            _ if self.is_too_deep(place, depth) => return,
            _ => {}
        }
        let depth = depth.inside();
        match packing {
            Packing::Gzip => self.gzip(stream, place, depth),
            Packing::Zstd => self.zstd(stream, place, depth),
            Packing::Xz => self.xz(stream, place, depth),
            Packing::Tar => self.tar(stream, place, depth),
            Packing::Ar => self.ar(stream, place, depth),
            Packing::Zip => self.zip_in_stream(stream, place, depth),
            Packing::Bzip2 => self.bzip2(stream, place, depth),
            Packing::Cpio => self.cpio(stream, place, depth),
            Packing::Rpm => self.rpm(stream, place, depth),
            Packing::Unsupported(_) | Packing::Encrypted(_) => {}
        }
    }

    /// True if no further container is looked into, which is told.
    pub(crate) fn is_too_deep(&self, place: &Place, depth: Depth) -> bool {
        let limit = self.limits().depth;
        if depth.containers < limit {
            return false;
        }
        self.meter.tell(
            place,
            Code::TooDeep,
            format!("more than {limit} containers lie inside each other (limit depth); this one was not looked into"),
        );
        true
    }

    /// Tells a finding, after what the readers had to tell.
    pub(crate) fn emit(&mut self, finding: Finding) {
        self.pass_on();
        self.hand_over(finding);
    }

    /// Passes on what the readers have to tell.
    pub(crate) fn pass_on(&mut self) {
        if self.meter.anything_told() {
            for finding in self.meter.take_told() {
                self.hand_over(finding);
            }
        }
    }

    fn hand_over(&mut self, finding: Finding) {
        self.found += 1;
        let limit = self.limits().findings;
        if self.found > limit {
            if self.found == limit + 1 {
                let place = Place(finding.path);
                let last = problem(
                    &place,
                    Code::TooMany,
                    format!("there are more than {limit} findings (limit findings); the rest is only counted"),
                );
                self.deliver(last);
            }
            return;
        }
        self.deliver(finding);
    }

    fn deliver(&mut self, finding: Finding) {
        if self.holding > 0 {
            self.held.push(finding);
        } else if !(self.tell)(finding) {
            self.meter.end();
        }
    }

    /// From here on findings wait; gives back where they begin.
    pub(crate) fn hold(&mut self) -> usize {
        self.pass_on();
        self.holding += 1;
        self.held.len()
    }

    /// What waits since `from` is completed and goes on.
    pub(crate) fn release(&mut self, from: usize, complete: impl Fn(&mut Finding)) {
        self.pass_on();
        self.held.iter_mut().skip(from).for_each(complete);
        self.holding = self.holding.saturating_sub(1);
        if self.holding == 0 {
            for finding in std::mem::take(&mut self.held) {
                self.deliver(finding);
            }
        }
    }
}
