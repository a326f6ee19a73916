//! A file that holds nothing but itself: DER and keystores at its beginning, PEM and base64 anywhere.
//!
//! Nearly all of a build is searched and never looked at, so searching is all that costs: a few vectorised passes over a buffer that
//! lies in the cache.

use std::io::BufRead as _;
use std::rc::Rc;

use memchr::memmem::Finder;
use pki::recognise::{self, Shape, recognise};

use crate::armour::{self, Block, Run};
use crate::finding::{Code, Finding, Form};
use crate::item::{self, Told};
use crate::meter::bytes;
use crate::place::Place;
use crate::scan::{Depth, Scan};
use crate::stream::{CHUNK, Stream};
use crate::zip;

/// PEM as base64 lies in one of three ways to the groups of four characters; these are the parts that do not depend on what
/// stands before, and how many characters before them their group begins.
const PEM_IN_BASE64: [(&[u8], usize); 3] = [(b"LS0tLS1CRUdJTi", 0), (b"0tLS0tQkVHSU4g", 2), (b"tLS0tLUJFR0lOI", 3)];
/// All that is searched for: PEM, the three of above, and DER in base64, which is a SEQUENCE of more than 127 bytes, SEC 1 on P-256,
/// PKCS#8 with P-256 or Ed25519 in their shortest forms, or a Java keystore.
const NEEDLES: [&[u8]; 10] = [
    armour::BEGIN,
    PEM_IN_BASE64[0].0,
    PEM_IN_BASE64[1].0,
    PEM_IN_BASE64[2].0,
    b"MI",
    b"MHcCAQEE",
    b"MEECAQAw",
    b"MC4CAQAwBQYDK2Vw",
    b"MFECAQEwBQYDK2Vw",
    b"/u3+7QAAAA",
];
/// Bytes that are kept when a buffer moves on: more than any of these, what is looked back to, and the end of a zip without comment.
const KEPT: usize = 32;
/// base64 inside of base64 is followed this far.
const MOST_ROUNDS: usize = 3;

/// Searches prepared once.
#[derive(Clone)]
pub(crate) struct Finders(Rc<[Finder<'static>; NEEDLES.len()]>);

impl Finders {
    pub(crate) fn new() -> Finders {
        Finders(Rc::new(NEEDLES.map(Finder::new)))
    }
}

/// The next place of each needle, searched again only when it was passed.
struct Hits<'f> {
    finders: &'f Finders,
    next: [Option<usize>; NEEDLES.len()],
}

impl<'f> Hits<'f> {
    fn new(finders: &'f Finders, text: &[u8], from: usize) -> Hits<'f> {
        let mut hits = Hits { finders, next: [None; NEEDLES.len()] };
        for which in 0..NEEDLES.len() {
            hits.next[which] = hits.find(which, text, from);
        }
        hits
    }

    fn find(&self, which: usize, text: &[u8], from: usize) -> Option<usize> {
        self.finders.0[which].find(text.get(from..)?).map(|at| from + at)
    }

    /// The first one at `from` or later: its place and which it is.
    fn first(&mut self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        for which in 0..NEEDLES.len() {
            if self.next[which].is_some_and(|at| at < from) {
                self.next[which] = self.find(which, text, from);
            }
        }
        self.next.iter().enumerate().filter_map(|(which, at)| at.map(|at| (at, which))).min()
    }
}

/// What came of a place that was looked at.
enum Looked {
    /// This many bytes are done.
    Past(usize),
    /// More of the file is needed.
    NeedMore,
}

/// A part of a file.
struct Part<'p> {
    place: &'p Place,
    /// Where in the file the text begins.
    offset: u64,
    /// How often base64 was undone on the way. Then offsets are those of the base64.
    rounds: usize,
}

impl Scan<'_, '_> {
    /// Searches a file to its end.
    pub(crate) fn leaf(&mut self, stream: &mut Stream<'_>, place: &Place, depth: Depth) {
        self.beginning(stream, place);
        let ends_as_zip = self.search(stream, &Part { place, offset: 0, rounds: 0 });
        if ends_as_zip && depth.streamed {
            self.meter.tell(
                place,
                Code::Unsupported,
                "it ends as a zip and begins as something else; unpack what is around it, and scan the file by itself",
            );
        }
    }

    /// DER and keystores, of which one may follow the other.
    fn beginning(&mut self, stream: &mut Stream<'_>, place: &Place) {
        let limit = self.limits().item_bytes;
        let mut number = 0u64;
        while let Some(found) = recognise(stream.peek(recognise::HEAD)) {
            let wanted = found.length.and_then(|length| usize::try_from(length).ok());
            let certain = matches!(found.shape, Shape::Certificate | Shape::Pkcs12 | Shape::JavaKeystore);
            if number > 0 && !certain || number > self.limits().entries {
                return;
            }
            if wanted.is_some_and(|wanted| wanted > limit) {
                if certain {
                    self.meter.tell(place, Code::TooLarge, too_large(limit));
                }
                return;
            }
            let here = stream.peek(wanted.unwrap_or(limit + 1));
            let length = wanted.unwrap_or(here.len());
            if here.len() < length {
                if certain && !stream.is_failed() {
                    let detail =
                        format!("it begins as {} of {length} bytes, and only {} are there", name(found.shape), stream.here().len());
                    self.meter.tell(place, Code::BrokenItem, detail);
                }
                return;
            }
            if length > limit {
                return self.meter.tell(place, Code::TooLarge, too_large(limit));
            }
            let Some(told) = item::from_der(found.shape, &here[..length], Form::Der, &self.passwords()) else { return };
            let offset = stream.position();
            stream.consume(length);
            self.tell_all(place, (offset > 0).then_some(offset), told);
            number += 1;
        }
    }

    fn tell_all(&mut self, place: &Place, offset: Option<u64>, told: Vec<Told>) {
        for Told { alias, form, what } in told {
            self.emit(Finding { path: place.0.clone(), layer: None, offset, alias, form, what });
        }
    }

    /// Searches to the end; true if the last bytes are those of a zip.
    fn search(&mut self, stream: &mut Stream<'_>, part: &Part<'_>) -> bool {
        let mut from = 0;
        if stream.here().is_empty() {
            stream.more();
        }
        let finders = self.finders.clone();
        loop {
            let (here, ended, before) = (stream.here(), stream.is_ended(), stream.position());
            // Where the reader failed, what is cut off is told there.
            let whole = ended && !stream.is_failed();
            let mut waits = None;
            let mut hits = Hits::new(&finders, here, from);
            while let Some((at, which)) = hits.first(here, from) {
                match self.look(here, at, which, whole, before, part) {
                    Looked::Past(count) => from = (at + count.max(1)).min(here.len()),
                    Looked::NeedMore => {
                        waits = Some(at);
                        break;
                    }
                }
            }
            if ended {
                return zip::is_end(here);
            }
            let length = here.len();
            let keep_from = waits.unwrap_or(length).saturating_sub(KEPT);
            stream.consume(keep_from);
            from = waits.unwrap_or(from).saturating_sub(keep_from);
            // Twice as much, so that a long block is not looked at again with every read.
            let left = length - keep_from;
            stream.peek(if waits.is_some() { 2 * left + 1 } else { (left + 1).max(CHUNK / 2) });
        }
    }

    /// Looks at one hit.
    fn look(&mut self, text: &[u8], at: usize, which: usize, whole: bool, before: u64, part: &Part<'_>) -> Looked {
        match which {
            0 => self.pem(text, at, whole, before, part),
            1..=3 => {
                let (needle, back) = PEM_IN_BASE64[which - 1];
                // Base64 of something else that happens to look so has no group before it.
                let Some(start) = at.checked_sub(back) else { return Looked::Past(needle.len()) };
                self.base64(text, start, whole, before, part, None).plus(at - start)
            }
            _ => {
                // Inside of a longer stretch these are anything.
                let inside = at
                    .checked_sub(1)
                    .and_then(|before| text.get(before))
                    .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
                // But an escaped line end is no part of it.
                let escaped = at >= 2 && text[at - 2] == b'\\' && matches!(text[at - 1], b'n' | b'r' | b't');
                if inside && !escaped {
                    return Looked::Past(2);
                }
                let window = &text[at..];
                if window.len() < 44 && !whole {
                    return Looked::NeedMore;
                }
                let head =
                    window.iter().take(44).take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')).count();
                let shape = armour::decode(&window[..head]).and_then(|head| recognise(&head));
                match shape {
                    Some(found) => self.base64(text, at, whole, before, part, Some(found.shape)),
                    None => Looked::Past(2),
                }
            }
        }
    }

    fn pem(&mut self, text: &[u8], at: usize, whole: bool, before: u64, part: &Part<'_>) -> Looked {
        let offset = if part.rounds == 0 { before + at as u64 } else { part.offset };
        match armour::block(&text[at..], whole) {
            Block::NeedMore if text.len() - at > self.limits().item_bytes => Looked::Past(armour::BEGIN.len()),
            Block::NeedMore => Looked::NeedMore,
            Block::Nothing(count) => Looked::Past(count),
            Block::Found { label, der, encrypted, length } => {
                let told = item::from_pem(label, &der, encrypted);
                self.tell_all(part.place, Some(offset), told);
                Looked::Past(length)
            }
            Block::Broken { label, why, length } => {
                let told = item::broken_pem(label, why).into_iter().collect();
                self.tell_all(part.place, Some(offset), told);
                Looked::Past(length)
            }
        }
    }

    /// A stretch of base64 that holds DER of this shape, or else PEM.
    fn base64(&mut self, text: &[u8], at: usize, whole: bool, before: u64, part: &Part<'_>, shape: Option<Shape>) -> Looked {
        let limit = self.limits().item_bytes;
        let offset = if part.rounds == 0 { before + at as u64 } else { part.offset };
        let (characters, length) = match armour::run(&text[at..], whole) {
            Run::NeedMore if text.len() - at > limit => {
                self.meter.tell(
                    part.place,
                    Code::TooLarge,
                    format!(
                        "the base64 at byte {offset} goes on for more than {} (limit item_bytes) and was not read",
                        bytes(limit as u64)
                    ),
                );
                return Looked::Past(text.len() - at);
            }
            Run::NeedMore => return Looked::NeedMore,
            Run::Is(characters, length) => (characters, length),
        };
        let Some(decoded) = armour::decode(&characters) else { return Looked::Past(length) };
        match shape {
            Some(shape) => {
                let size = recognise(&decoded).and_then(|found| found.length).and_then(|size| usize::try_from(size).ok());
                // What is shorter than it says is no certificate but a picture of one.
                if let Some(whole) = decoded.get(..size.unwrap_or(decoded.len()))
                    && let Some(told) = item::from_der(shape, whole, Form::Base64Der, &self.passwords())
                {
                    // Of what cannot be read nobody knows that it was meant as DER, except PKCS#12, which nothing else looks like.
                    let told = told.into_iter().filter(|told| told.form.is_some() || shape == Shape::Pkcs12).collect();
                    self.tell_all(part.place, Some(offset), told);
                }
            }
            None if part.rounds < MOST_ROUNDS && characters.len() >= armour::LEAST => {
                let mut bytes = decoded.as_slice();
                let mut inner = Stream::new(&mut bytes, self.buffer());
                // The place in the decoded text is not one in the file.
                let inside = Part { place: part.place, offset, rounds: part.rounds + 1 };
                self.search(&mut inner, &inside);
                self.keep(inner.into_buffer());
            }
            None => {}
        }
        Looked::Past(length)
    }
}

impl Looked {
    /// The place that was hit lies this far behind the one that was looked at.
    fn plus(self, back: usize) -> Looked {
        match self {
            Looked::Past(count) => Looked::Past(count.saturating_sub(back).max(1)),
            Looked::NeedMore => Looked::NeedMore,
        }
    }
}

fn too_large(limit: usize) -> String {
    format!("it is larger than {} (limit item_bytes) and was not read", bytes(limit as u64))
}

fn name(shape: Shape) -> &'static str {
    match shape {
        Shape::Pkcs12 => "a PKCS#12 file",
        Shape::JavaKeystore => "a Java keystore",
        _ => "a certificate",
    }
}
