//! ar, as deb packages and static libraries are (deb(5); ar(5) of GNU and BSD).

use std::io::Read as _;

use crate::finding::Code;
use crate::place::Place;
use crate::scan::{Depth, Scan};
use crate::stream::Stream;
use crate::tar::Part;

const HEADER: usize = 60;
/// Largest table of long names.
const MAX_NAMES: u64 = 16 * 1024 * 1024;
/// Longest name that BSD writes before a member's data.
const MAX_NAME: u64 = 4096;

impl Scan<'_, '_> {
    pub(crate) fn ar(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        stream.skip(8);
        let mut names = Vec::new();
        let mut entries = 0u64;
        loop {
            let at = stream.position();
            let mut header = [0; HEADER];
            let got = stream.fill(&mut header);
            if got == 0 || stream.is_failed() || self.meter.is_over() {
                return;
            }
            // Some pad the end.
            if header[..got].iter().all(|byte| matches!(byte, b'\n' | 0)) {
                continue;
            }
            if got < HEADER {
                return self.meter.tell(
                    place,
                    Code::Truncated,
                    format!("the ar archive ends within the header at byte {at}; the {entries} members before it were looked at"),
                );
            }
            let number = |field: &[u8]| std::str::from_utf8(field).ok()?.trim_end().parse::<u64>().ok();
            let (Some(size), b"`\n") = (number(&header[48..58]), &header[58..]) else {
                return self.meter.tell(place, Code::Damaged, format!("the ar archive is damaged at byte {at}: what should be a header is none; the {entries} members before it were looked at"));
            };
            entries += 1;
            if entries > self.limits().entries {
                let limit = self.limits().entries;
                return self.meter.tell(
                    place,
                    Code::TooMany,
                    format!("the ar archive has more than {limit} members (limit entries); the rest was not looked at"),
                );
            }
            let short = header[..16].trim_ascii_end();
            let mut part = Part { stream: &mut *stream, left: size, place, meter: self.meter, failed: false };
            match short {
                b"//" if size <= MAX_NAMES => {
                    names = vec![0; usize::try_from(size).unwrap_or(0)];
                    if part.read_exact(&mut names).is_err() {
                        return;
                    }
                }
                // Indexes of symbols.
                b"/" | b"/SYM64/" | b"__.SYMDEF" | b"__.SYMDEF SORTED" => {}
                _ => {
                    let name = match short {
                        [b'/', digits @ ..] if digits.first().is_some_and(u8::is_ascii_digit) => {
                            let from = number(digits).and_then(|from| usize::try_from(from).ok()).unwrap_or(usize::MAX);
                            let rest = names.get(from..).unwrap_or(digits);
                            rest.split(|byte| matches!(byte, b'\n' | 0)).next().unwrap_or_default().to_vec()
                        }
                        [b'#', b'1', b'/', digits @ ..] => {
                            let length = number(digits).unwrap_or(0).min(MAX_NAME).min(size);
                            let mut name = vec![0; usize::try_from(length).unwrap_or(0)];
                            if part.read_exact(&mut name).is_err() {
                                return;
                            }
                            name.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
                        }
                        short => short.to_vec(),
                    };
                    let name = name.strip_suffix(b"/").unwrap_or(&name);
                    self.contents(&mut part, &place.inside(name), depth);
                }
            }
            if !part.drain() {
                return;
            }
            stream.skip(size % 2);
        }
    }
}
