//! One buffer over a reader: containers look ahead in it, files are searched in it.

use std::io::{self, BufRead, Read};

use zeroize::Zeroizing;

/// Bytes that are read at once. Large enough that a call costs nothing, small enough for the second-level cache.
pub(crate) const CHUNK: usize = 256 * 1024;

/// A buffer that is used again and again, and wiped at the end, since keys pass through it.
pub(crate) type Buffer = Zeroizing<Vec<u8>>;

/// A reader with its buffer.
pub(crate) struct Stream<'s> {
    source: &'s mut dyn Read,
    buffer: Buffer,
    start: usize,
    end: usize,
    /// Bytes before `start`.
    before: u64,
    /// There is no more: the end, or a failure that was told.
    ended: bool,
    failed: bool,
}

impl<'s> Stream<'s> {
    pub(crate) fn new(source: &'s mut dyn Read, mut buffer: Buffer) -> Stream<'s> {
        if buffer.len() < CHUNK {
            buffer.resize(CHUNK, 0);
        }
        Stream { source, buffer, start: 0, end: 0, before: 0, ended: false, failed: false }
    }

    /// The buffer, for the next stream.
    pub(crate) fn into_buffer(self) -> Buffer {
        self.buffer
    }

    /// What is there and not yet consumed.
    pub(crate) fn here(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Bytes consumed until now.
    pub(crate) fn position(&self) -> u64 {
        self.before
    }

    /// True if what is here is all that will come.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// True if the reader below failed; why was told there.
    pub(crate) fn is_failed(&self) -> bool {
        self.failed
    }

    /// Reads once, more if nothing comes and it is not the end. The buffer grows if it is full.
    pub(crate) fn more(&mut self) {
        if self.ended {
            return;
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.buffer.len() - self.end < CHUNK / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            // A vector that grows by itself would leave an unwiped copy.
            let mut larger = Zeroizing::new(vec![0; self.buffer.len() * 2]);
            larger[..self.end].copy_from_slice(&self.buffer[..self.end]);
            self.buffer = larger;
        }
        match self.source.read(&mut self.buffer[self.end..]) {
            Ok(0) => self.ended = true,
            Ok(count) => self.end += count,
            Err(_) => (self.ended, self.failed) = (true, true),
        }
    }

    /// What is here once it is this much, or all there is.
    pub(crate) fn peek(&mut self, count: usize) -> &[u8] {
        while self.end - self.start < count && !self.ended {
            self.more();
        }
        self.here()
    }

    /// Fills `into`, or says how much there was.
    pub(crate) fn fill(&mut self, into: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < into.len() {
            match self.read(&mut into[filled..]) {
                Ok(0) | Err(_) => break,
                Ok(count) => filled += count,
            }
        }
        filled
    }

    /// Passes over this many; says how many there were.
    pub(crate) fn skip(&mut self, count: u64) -> u64 {
        let mut left = count;
        while left > 0 {
            if self.start == self.end {
                self.more();
                if self.start == self.end {
                    break;
                }
            }
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(self.end - self.start);
            self.consume(step);
            left -= step as u64;
        }
        count - left
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            if self.ended {
                return if self.failed { self.source.read(into) } else { Ok(0) };
            }
            // Large reads need no copy.
            if into.len() >= CHUNK / 2 {
                return match self.source.read(into) {
                    Ok(count) => {
                        self.ended = count == 0;
                        self.before += count as u64;
                        Ok(count)
                    }
                    Err(error) => {
                        (self.ended, self.failed) = (true, true);
                        Err(error)
                    }
                };
            }
        }
        let here = self.fill_buf()?;
        let count = here.len().min(into.len());
        into[..count].copy_from_slice(&here[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Stream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.more();
            if self.start == self.end && self.failed {
                // The reader below fails again in the same way, so that its failure is counted.
                self.source.read(&mut [0]).map(|_| ())?;
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.before += count as u64;
    }
}
