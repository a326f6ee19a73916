//! What a scan has cost so far, and readers that stop when it was enough.
//!
//! Readers lie on top of each other: a file, a decoder, an entry of a tar. The one in which something goes wrong tells it, once, with
//! its place; those above only learn that there is nothing more, and the one below goes on behind the damage where it can.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::Watch;
use crate::finding::{Code, Finding, Problem, What};
use crate::limits::Limits;
use crate::place::Place;

/// Shared by all readers of a scan.
pub(crate) struct Meter<'a> {
    pub(crate) limits: &'a Limits,
    watch: &'a dyn Watch,
    read: Cell<u64>,
    /// What readers have to tell; the scan passes it on.
    told: RefCell<Vec<Finding>>,
    /// How often a reader has failed, so that one above knows whether the failure is its own.
    faults: Cell<u64>,
    over: Cell<bool>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(limits: &'a Limits, watch: &'a dyn Watch) -> Meter<'a> {
        Meter { limits, watch, read: Cell::new(0), told: RefCell::default(), faults: Cell::new(0), over: Cell::new(false) }
    }

    /// Bytes read and unpacked.
    pub(crate) fn read(&self) -> u64 {
        self.read.get()
    }

    /// True when nothing more is to be read, and that was told.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Nobody listens any more.
    pub(crate) fn end(&self) {
        self.over.set(true);
    }

    pub(crate) fn tell(&self, place: &Place, code: Code, detail: impl Into<String>) {
        self.told.borrow_mut().push(problem(place, code, detail));
    }

    pub(crate) fn take_told(&self) -> Vec<Finding> {
        std::mem::take(&mut *self.told.borrow_mut())
    }

    pub(crate) fn anything_told(&self) -> bool {
        !self.told.borrow().is_empty()
    }

    /// How often a reader has failed until now.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.get()
    }

    /// What a reader returns that has told why, or lies above one that has.
    pub(crate) fn failed(&self) -> io::Error {
        self.faults.set(self.faults.get() + 1);
        io::Error::other("told already")
    }

    /// Checks the clock and the total; true if the scan may go on.
    pub(crate) fn allows(&self, place: &Place) -> bool {
        if self.over.get() {
            return false;
        }
        let limits = self.limits;
        let why = if self.read.get() > limits.total_bytes {
            (
                Code::TooLarge,
                format!(
                    "{} were read and unpacked in all (limit total_bytes); nothing from here on was looked at",
                    bytes(limits.total_bytes)
                ),
            )
        } else if self.watch.elapsed() > limits.time {
            (Code::TimeOver, format!("{} s are over (limit time); nothing from here on was looked at", limits.time.as_secs()))
        } else {
            return true;
        };
        self.over.set(true);
        self.tell(place, why.0, why.1);
        false
    }

    fn count(&self, bytes: usize) {
        let total = self.read.get().saturating_add(bytes as u64);
        self.read.set(total);
        self.watch.read(total);
    }
}

pub(crate) fn problem(place: &Place, code: Code, detail: impl Into<String>) -> Finding {
    let what = What::Problem(Problem { code, detail: detail.into() });
    Finding { path: place.0.clone(), layer: None, offset: None, alias: None, form: None, what }
}

/// "16 MiB", for messages.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} bytes"),
        1024..0x10_0000 => format!("{} KiB", count >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", count >> 20),
        _ => format!("{} GiB", count >> 30),
    }
}

/// A reader at the bottom: what it reads is counted, and what goes wrong is the system's word.
pub(crate) struct Bottom<'m, 'a, R> {
    inner: R,
    meter: &'m Meter<'a>,
    place: Place,
    failed: bool,
}

impl<'m, 'a, R: Read> Bottom<'m, 'a, R> {
    pub(crate) fn new(inner: R, meter: &'m Meter<'a>, place: &Place) -> Self {
        Self { inner, meter, place: place.clone(), failed: false }
    }
}

impl<R: Read> Read for Bottom<'_, '_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.failed || !self.meter.allows(&self.place) {
            self.failed = true;
            return Err(self.meter.failed());
        }
        loop {
            match self.inner.read(into) {
                Ok(count) => {
                    self.meter.count(count);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    self.meter.tell(&self.place, Code::Unreadable, format!("it cannot be read: {}", pki::text::escape(&error.to_string())));
                    return Err(self.meter.failed());
                }
            }
        }
    }
}

impl<R: io::Seek> io::Seek for Bottom<'_, '_, R> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// Counts what a decoder was fed with.
pub(crate) struct Fed<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R> Fed<R> {
    pub(crate) fn new(inner: R) -> (Self, Rc<Cell<u64>>) {
        let count = Rc::new(Cell::new(0));
        (Self { inner, count: Rc::clone(&count) }, count)
    }
}

impl<R: Read> Read for Fed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

impl<R: io::BufRead> io::BufRead for Fed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.count.set(self.count.get() + count as u64);
        self.inner.consume(count);
    }
}

/// Bytes that a decoder is asked for at once.
const STEP: usize = 32 * 1024;

/// What comes out of a decoder, within the limits.
pub(crate) struct Decoded<'m, 'a, R> {
    inner: R,
    fed: Rc<Cell<u64>>,
    out: u64,
    name: &'static str,
    meter: &'m Meter<'a>,
    place: Place,
    failed: bool,
    ended: bool,
}

impl<'m, 'a, R: Read> Decoded<'m, 'a, R> {
    /// `name` is that of the packing.
    pub(crate) fn new(inner: R, fed: Rc<Cell<u64>>, name: &'static str, meter: &'m Meter<'a>, place: &Place) -> Self {
        Self { inner, fed, out: 0, name, meter, place: place.clone(), failed: false, ended: false }
    }

    /// True if all was read, to the end that the stream itself names.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    fn fail(&mut self, code: Code, detail: String) -> io::Error {
        self.meter.tell(&self.place, code, detail);
        self.meter.failed()
    }
}

impl<R: Read> Read for Decoded<'_, '_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.failed || !self.meter.allows(&self.place) {
            self.failed = true;
            return Err(self.meter.failed());
        }
        let before = self.meter.faults();
        // In small steps: what a decoder had ready when it failed is lost with the call.
        let step = into.len().min(STEP);
        let into = &mut into[..step];
        // A defect of a decoder is a defect of this one stream, not the end of the scan.
        let read = catch_unwind(AssertUnwindSafe(|| self.inner.read(into)));
        let count = match read {
            Ok(Ok(count)) => count,
            other => {
                self.failed = true;
                if self.meter.faults() > before {
                    return Err(self.meter.failed());
                }
                let unpacked = bytes(self.out);
                let (code, why) = match other {
                    Ok(Err(error)) => match innermost(&error) {
                        (io::ErrorKind::UnexpectedEof, _) => (Code::Truncated, "it is cut off".to_owned()),
                        (io::ErrorKind::OutOfMemory, why) => (Code::TooLarge, pki::text::escape(&why)),
                        (_, why) => (Code::Damaged, pki::text::escape(&why)),
                    },
                    _ => (Code::Damaged, "the decoder broke off".to_owned()),
                };
                return Err(self.fail(code, format!("the {} stream does not unpack beyond its first {unpacked}: {why}", self.name)));
            }
        };
        self.ended |= count == 0 && step > 0;
        self.out += count as u64;
        self.meter.count(count);
        let limits = self.meter.limits;
        if self.out > limits.stream_bytes {
            self.failed = true;
            let limit = bytes(limits.stream_bytes);
            return Err(self.fail(
                Code::TooLarge,
                format!("the {} stream unpacks to more than {limit} (limit stream_bytes); the rest was not looked at", self.name),
            ));
        }
        let allowed = self.fed.get().saturating_mul(limits.ratio).max(limits.ratio_free_bytes);
        if self.out > allowed {
            self.failed = true;
            let (from, to, limit) = (bytes(self.fed.get()), bytes(self.out), limits.ratio);
            return Err(self.fail(
                Code::Bomb,
                format!(
                    "{from} of {} unpack to {to} and more, beyond {limit} times their size (limit ratio); the rest was not looked at",
                    self.name
                ),
            ));
        }
        Ok(count)
    }
}

/// The innermost error: libraries wrap them.
fn innermost(error: &io::Error) -> (io::ErrorKind, String) {
    let mut found = (error.kind(), error.to_string());
    let mut source = error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
    while let Some(deeper) = source {
        let kind = deeper.downcast_ref::<io::Error>().map_or(found.0, io::Error::kind);
        found = (kind, deeper.to_string());
        source = deeper.source();
    }
    found
}
