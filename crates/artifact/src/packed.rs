//! Single streams: gzip (RFC 1952), bzip2, zstd (RFC 8878), xz. What they hold is looked into as if it lay in their place.

use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::finding::Code;
use crate::meter::{Decoded, Fed, bytes};
use crate::place::Place;
use crate::scan::{Depth, Scan};
use crate::stream::Stream;

impl Scan<'_, '_> {
    pub(crate) fn gzip(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        let (fed, count) = Fed::new(&mut *stream);
        let mut decoded = Decoded::new(Gzip(Some(GzDecoder::new(fed))), count, "gzip", self.meter, place);
        self.contents(&mut decoded, place, depth.decoded());
        if decoded.is_ended() {
            self.trailing(stream, place, depth);
        }
    }

    pub(crate) fn bzip2(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        let (fed, count) = Fed::new(&mut *stream);
        let mut decoded = Decoded::new(Bzip2(Some(BzDecoder::new(fed))), count, "bzip2", self.meter, place);
        self.contents(&mut decoded, place, depth.decoded());
        if decoded.is_ended() {
            self.trailing(stream, place, depth);
        }
    }

    pub(crate) fn zstd(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        let window = self.limits().window_at(depth.decoders);
        let (fed, count) = Fed::new(&mut *stream);
        let mut decoded = Decoded::new(Zstd::new(fed, window), count, "zstd", self.meter, place);
        self.contents(&mut decoded, place, depth.decoded());
        if decoded.is_ended() {
            self.trailing(stream, place, depth);
        }
    }

    pub(crate) fn xz(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        let window = u32::try_from(self.limits().window_at(depth.decoders) / 1024).unwrap_or(u32::MAX);
        let (fed, count) = Fed::new(&mut *stream);
        // Its memory beside the dictionary is a few hundred KiB.
        let decoder = XzReader::new_mem_limit(fed, true, window.saturating_add(1024));
        let mut decoded = Decoded::new(decoder, count, "xz", self.meter, place);
        self.contents(&mut decoded, place, depth.decoded());
        if decoded.is_ended() {
            self.trailing(stream, place, depth);
        }
    }

    /// What follows a stream: padding, or something that is looked into as well.
    pub(crate) fn trailing(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        if stream.is_failed() || self.meter.is_over() {
            return;
        }
        loop {
            let zeros = stream.peek(1).iter().take_while(|byte| **byte == 0).count();
            if zeros == 0 {
                break;
            }
            stream.consume(zeros);
        }
        if !stream.peek(1).is_empty() {
            let at = stream.position();
            self.meter.tell(place, Code::TrailingBytes, format!("other bytes follow its end at byte {at}; they were looked at as well"));
            self.contents(stream, &place.inside(b"(trailing bytes)"), depth);
        }
    }
}

/// One member after the other.
struct Gzip<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let count = decoder.read(into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            if let Some(mut source) = self.0.take().map(GzDecoder::into_inner)
                && source.fill_buf()?.starts_with(&[0x1f])
            {
                self.0 = Some(GzDecoder::new(source));
            }
        }
        Ok(0)
    }
}

/// One stream after the other, as parallel packers write them.
struct Bzip2<R>(Option<BzDecoder<R>>);

impl<R: BufRead> Read for Bzip2<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let count = decoder.read(into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            if let Some(mut source) = self.0.take().map(BzDecoder::into_inner)
                && source.fill_buf()?.starts_with(b"B")
            {
                self.0 = Some(BzDecoder::new(source));
            }
        }
        Ok(0)
    }
}

/// One frame after the other.
pub(crate) struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    state: Frames,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Frames {
    Between,
    Inside,
    Over,
}

impl<R: BufRead> Zstd<R> {
    pub(crate) fn new(source: R, window: u64) -> Zstd<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(window);
        Zstd { source, decoder, state: Frames::Between }
    }

    /// Begins the next frame, if there is one.
    fn begin(&mut self) -> io::Result<()> {
        // Padding and other bytes are left to whoever looks at what follows; frames that are skipped begin with 5x.
        if !matches!(self.source.fill_buf()?.first(), Some(0x28 | 0x50..=0x5f)) {
            self.state = Frames::Over;
            return Ok(());
        }
        match self.decoder.init(&mut self.source) {
            Ok(()) => self.state = Frames::Inside,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let length = u64::from(length);
                if io::copy(&mut self.source.by_ref().take(length), &mut io::sink())? < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(FrameDecoderError::WindowSizeTooBig { requested, max }) => {
                let why = format!("it looks back {} (limit window_bytes, {} here)", bytes(requested), bytes(max));
                return Err(io::Error::new(io::ErrorKind::OutOfMemory, why));
            }
            Err(error) => return Err(io::Error::other(error)),
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !into.is_empty() {
            match self.state {
                Frames::Over => return Ok(0),
                Frames::Between => self.begin()?,
                Frames::Inside => {
                    let count = self.decoder.read(into)?;
                    if count > 0 {
                        return Ok(count);
                    }
                    if !self.decoder.is_finished() {
                        self.decoder.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1)).map_err(io::Error::other)?;
                        continue;
                    }
                    let (written, real) = (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum());
                    if written.is_some() && written != real {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum does not fit"));
                    }
                    self.state = Frames::Between;
                }
            }
        }
        Ok(0)
    }
}
