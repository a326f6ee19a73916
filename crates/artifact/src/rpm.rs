//! rpm packages (RPM Package File Format, version 3 and 4): a lead, two headers, and a packed cpio archive.

use crate::finding::Code;
use crate::place::Place;
use crate::scan::{Depth, Scan};
use crate::sniff::{self, sniff};
use crate::stream::Stream;
use crate::tar::Part;

/// The lead, of which nothing is used any more.
const LEAD: u64 = 96;
/// What a header begins with.
const MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];

impl Scan<'_, '_> {
    pub(crate) fn rpm(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        stream.skip(LEAD);
        // The signatures, filled up to eight bytes, and the header itself, with the scripts that run at the installation.
        for align in [8, 1] {
            let at = stream.position();
            let Some(head) = stream.peek(16).first_chunk::<16>().copied() else {
                if !stream.is_failed() {
                    self.meter.tell(place, Code::Truncated, format!("the rpm package ends within the header at byte {at}"));
                }
                return;
            };
            if head[..4] != MAGIC {
                let detail =
                    format!("the rpm package is damaged at byte {at}: there should be a header; what follows was searched, not unpacked");
                self.meter.tell(place, Code::Damaged, detail);
                return self.leaf(stream, place, Depth::default());
            }
            let number = |at: usize| u64::from(u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
            let length = 16 + 16 * number(8) + number(12);
            let mut part = Part { stream: &mut *stream, left: length, place, meter: self.meter, failed: false };
            let mut header = Stream::new(&mut part, self.buffer());
            self.leaf(&mut header, &place.inside(b"(header)"), Depth::default());
            let buffer = header.into_buffer();
            self.keep(buffer);
            if !part.drain() {
                return;
            }
            stream.skip(length.next_multiple_of(align) - length);
        }
        // There is a payload in every package, even in one without files, and it is packed in something.
        let head = stream.peek(sniff::HEAD);
        if sniff(head).is_none() {
            let short = head.len() < sniff::HEAD;
            if stream.is_failed() {
                return;
            }
            let (code, why) =
                if short { (Code::Truncated, "ends where it begins") } else { (Code::Unsupported, "is packed in an unknown way") };
            self.meter.tell(place, code, format!("the rpm package's payload {why}; what there is was searched, not unpacked"));
        }
        self.contents(stream, place, depth);
    }
}
