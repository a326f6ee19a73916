//! cpio in ASCII (cpio(5)): the payload of rpm packages and what kernels boot with. "newc" has hexadecimal fields and fills up to four bytes,
//! "odc" of POSIX has octal ones and fills up nothing.

use std::io::Read as _;

use crate::finding::Code;
use crate::place::{self, Place};
use crate::scan::{Depth, Scan};
use crate::stream::Stream;
use crate::tar::Part;

/// Longest name, with the zero byte at its end.
const MAX_NAME: u64 = 1024 * 1024;
/// The name of the entry that ends the archive.
const END: &[u8] = b"TRAILER!!!";
/// Kinds of files in a mode, and the one that has contents.
const KIND: u64 = 0o170_000;
const REGULAR: u64 = 0o100_000;

/// What a header says.
struct Header {
    mode: u64,
    name: u64,
    size: u64,
    /// What name and data are filled up to.
    align: u64,
    length: u64,
}

impl Scan<'_, '_> {
    pub(crate) fn cpio(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        let (mut entries, mut odd) = (0u64, false);
        loop {
            let at = stream.position();
            let mut head = [0; 110];
            let length = stream.peek(head.len()).len().min(head.len());
            head[..length].copy_from_slice(&stream.here()[..length]);
            if stream.is_failed() || self.meter.is_over() {
                return;
            }
            let Some(header) = parse(&head[..length]) else {
                let (code, why) = if length < head.len() { (Code::Truncated, "ends within") } else { (Code::Damaged, "is damaged in") };
                return self.meter.tell(
                    place,
                    code,
                    format!("the cpio archive {why} the header at byte {at}; the {entries} entries before it were looked at"),
                );
            };
            stream.skip(header.length);
            let mut name = vec![0; usize::try_from(header.name).unwrap_or(0)];
            let mut part = Part { stream: &mut *stream, left: header.name, place, meter: self.meter, failed: false };
            if part.read_exact(&mut name).is_err() {
                return;
            }
            let fill = |length: u64| length.next_multiple_of(header.align) - length;
            stream.skip(fill(header.length + header.name));
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            if name == END {
                break;
            }
            entries += 1;
            if entries > self.limits().entries {
                let limit = self.limits().entries;
                return self.meter.tell(
                    place,
                    Code::TooMany,
                    format!("the cpio archive has more than {limit} entries (limit entries); the rest was not looked at"),
                );
            }
            let inside = place.inside(name);
            if !odd && place::leads_out(name) {
                odd = true;
                let detail = "the name leads out of the folder that the cpio archive is unpacked in; nothing is unpacked here";
                self.meter.tell(&inside, Code::OddName, detail);
            }
            let mut part = Part { stream: &mut *stream, left: header.size, place, meter: self.meter, failed: false };
            // The data of a link is where it leads to.
            if header.mode & KIND == REGULAR && header.size > 0 {
                self.contents(&mut part, &inside, depth);
            }
            if !part.drain() {
                return;
            }
            stream.skip(fill(header.size));
        }
        // Kernels read one archive after the other, of which the next may be packed.
        self.trailing(stream, place, depth);
    }
}

fn parse(head: &[u8]) -> Option<Header> {
    let field = |from: usize, length: usize, radix: u32| {
        let digits = head.get(from..from + length).filter(|digits| digits.iter().all(u8::is_ascii_alphanumeric))?;
        u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
    };
    let header = match head.get(..6)? {
        b"070701" | b"070702" if head.len() == 110 => {
            Header { mode: field(14, 8, 16)?, name: field(94, 8, 16)?, size: field(54, 8, 16)?, align: 4, length: 110 }
        }
        b"070707" => Header { mode: field(18, 6, 8)?, name: field(59, 6, 8)?, size: field(65, 11, 8)?, align: 1, length: 76 },
        _ => return None,
    };
    (1..=MAX_NAME).contains(&header.name).then_some(header)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn headers() {
        let newc = |name: &str, size: &str| {
            let zero = "00000000";
            format!("070701{zero}000081A4{zero}{zero}{zero}{zero}{size}{}{name}{zero}", zero.repeat(4))
        };
        let check = |text: &str, expected: Option<(u64, u64)>| {
            assert_eq!(parse(text.as_bytes()).map(|header| (header.name, header.size)), expected, "{text}");
        };
        check(&newc("0000000A", "FFFFFFFF"), Some((10, 0xffff_ffff)));
        check(&newc("0000000a", "00000001"), Some((10, 1)));
        check(&newc("00000000", "00000001"), None);
        check(&newc("FFFFFFFF", "00000001"), None);
        check(&newc("+000000A", "00000001"), None);
        check(&newc("0000000A", "00000001")[..109], None);
        check("0707070000000000001006440000000000000000010000000000000000000000050000000000012", None);
        check(&format!("070707{}100644{}{}{}{}", "0".repeat(12), "0".repeat(24), "0".repeat(11), "000005", "00000000012"), Some((5, 10)));
    }
}
