//! The smallest strict DER reader and writer that the crate needs beside the X.509 parser: to find
//! where a field lies, to look at what a file is before it is parsed, and to wrap keys.

/// Tags used in this crate (X.690 §8.1.2), low-tag-number form only.
pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OID: u8 = 0x06;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// One element: its tag, its content, and the whole of it with tag and length.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) value: &'a [u8],
    pub(crate) raw: &'a [u8],
}

/// Reads elements one after the other; `None` means "not DER, or at the end".
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever it is. Lengths must be definite and minimal (X.690 §10.1).
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None; // high-tag-number form does not occur in what is read here
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 || rest.len() < count {
                return None;
            }
            let (digits, rest) = rest.split_at(count);
            let length = digits.iter().fold(0usize, |sum, &digit| (sum << 8) | usize::from(digit));
            if digits.first() == Some(&0) || length < 0x80 {
                return None;
            }
            (length, rest)
        };
        if rest.len() < length {
            return None;
        }
        let (value, after) = rest.split_at(length);
        let raw = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Some(Element { tag, value, raw })
    }

    /// The next element if it has this tag; otherwise the reader does not move.
    pub(crate) fn tagged(&mut self, tag: u8) -> Option<Element<'a>> {
        if *self.0.first()? != tag {
            return None;
        }
        self.any()
    }

    /// A reader over the content of the next element, which must have this tag.
    pub(crate) fn inside(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.tagged(tag).map(|element| Reader(element.value))
    }

    /// The next element as a non-negative integer that fits 64 bits; larger ones saturate, because
    /// every use compares against a limit.
    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        let digits = self.tagged(INTEGER)?.value;
        let first = *digits.first()?;
        if first & 0x80 != 0 {
            return None;
        }
        let digits = if first == 0 { &digits[1..] } else { digits };
        if digits.len() > 8 {
            return Some(u64::MAX);
        }
        Some(digits.iter().fold(0, |sum, &d| (sum << 8) | u64::from(d)))
    }
}

/// Writes elements inside elements; what is inside is written first, and its length put before it.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// What is encoded already.
    pub(crate) fn raw(&mut self, encoded: &[u8]) {
        self.0.extend_from_slice(encoded);
    }

    /// One element with this content.
    pub(crate) fn put(&mut self, tag: u8, content: &[u8]) {
        push_head(&mut self.0, tag, content.len());
        self.0.extend_from_slice(content);
    }

    /// One element around whatever `inside` writes.
    pub(crate) fn nest(&mut self, tag: u8, inside: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[tag, 0]);
        inside(self);
        let length = self.0.len() - start - 2;
        if length < 0x80 {
            self.0[start + 1] = length.to_le_bytes()[0];
        } else {
            let mut head = Vec::with_capacity(10);
            push_head(&mut head, tag, length);
            self.0.splice(start..start + 2, head);
        }
    }

    /// A non-negative INTEGER from big-endian digits, as short as it can be (X.690 §8.3.2).
    pub(crate) fn unsigned(&mut self, digits: &[u8]) {
        let digits = &digits[digits.iter().take_while(|&&digit| digit == 0).count()..];
        let sign = usize::from(digits.first().is_none_or(|first| first & 0x80 != 0));
        push_head(&mut self.0, INTEGER, digits.len() + sign);
        self.0.extend_from_slice(&[0][..sign]);
        self.0.extend_from_slice(digits);
    }

    /// A BIT STRING of whole octets.
    pub(crate) fn octet_aligned_bits(&mut self, octets: &[u8]) {
        push_head(&mut self.0, BIT_STRING, octets.len() + 1);
        self.0.push(0);
        self.0.extend_from_slice(octets);
    }

    /// A BIT STRING of named bits, bit 0 lowest in `bits`, without zeros at its end (X.690 §11.2.2).
    pub(crate) fn named_bits(&mut self, bits: u16) {
        let octets = bits.reverse_bits().to_be_bytes();
        let unused = bits.reverse_bits().trailing_zeros();
        match unused {
            16 => self.put(BIT_STRING, &[0]),
            8.. => self.put(BIT_STRING, &[unused.to_le_bytes()[0] - 8, octets[0]]),
            _ => self.put(BIT_STRING, &[unused.to_le_bytes()[0], octets[0], octets[1]]),
        }
    }

    /// BOOLEAN TRUE; FALSE is the default wherever it occurs here and is left out (X.690 §11.5).
    pub(crate) fn yes(&mut self) {
        self.put(BOOLEAN, &[0xff]);
    }
}

fn push_head(out: &mut Vec<u8>, tag: u8, length: usize) {
    out.push(tag);
    if length < 0x80 {
        out.push(length.to_le_bytes()[0]);
    } else {
        let digits = length.to_be_bytes();
        let skip = digits.iter().take_while(|&&d| d == 0).count();
        out.push(0x80 | (digits.len() - skip).to_le_bytes()[0]);
        out.extend_from_slice(&digits[skip..]);
    }
}

/// Encodes one element around `content`.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    push_head(&mut out, tag, content.len());
    out.extend_from_slice(content);
    out
}

/// Bits of a positive integer's encoding: 2048 for an RSA-2048 modulus.
pub(crate) fn bit_length(digits: &[u8]) -> usize {
    let skip = digits.iter().take_while(|&&d| d == 0).count();
    match digits.get(skip) {
        None => 0,
        Some(first) => {
            let leading = usize::try_from(first.leading_zeros()).unwrap_or(0);
            (digits.len() - skip) * 8 - leading
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn lengths_are_strict() {
        let check = |bytes: &[u8], ok: bool| {
            assert_eq!(Reader::new(bytes).any().is_some(), ok, "{bytes:02x?}");
        };
        check(&[0x04, 0x01, 0xff], true);
        check(&[0x04, 0x02, 0xff], false); // cut off
        check(&[0x04, 0x81, 0x01, 0xff], false); // not minimal
        check(&[0x30, 0x80, 0x00, 0x00], false); // indefinite
        check(&[0x04, 0x85, 1, 1, 1, 1, 1], false); // absurd
        check(&[0x1f, 0x01, 0xff], false);
        check(&[0x04], false);
        check(&[], false);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for size in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; size];
            let encoded = element(OCTET_STRING, &content);
            let mut reader = Reader::new(&encoded);
            let read = reader.tagged(OCTET_STRING).unwrap();
            assert_eq!(read.value, content);
            assert_eq!(read.raw, encoded);
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn nesting_puts_lengths_before() {
        for size in [0usize, 1, 125, 126, 127, 128, 253, 254, 255, 256, 65_535] {
            let mut writer = Writer::with_capacity(16);
            writer.nest(SEQUENCE, |w| w.nest(SET, |w| w.put(OCTET_STRING, &vec![7; size])));
            let expected = element(SEQUENCE, &element(SET, &element(OCTET_STRING, &vec![7; size])));
            assert_eq!(writer.into_bytes(), expected, "{size}");
        }
    }

    #[test]
    fn integers_and_bits_are_as_short_as_they_can_be() {
        let written = |write: &dyn Fn(&mut Writer)| {
            let mut writer = Writer::with_capacity(8);
            write(&mut writer);
            writer.into_bytes()
        };
        for (digits, expected) in [
            (&[0u8, 0][..], &[2u8, 1, 0][..]),
            (&[], &[2, 1, 0]),
            (&[0, 0x7f], &[2, 1, 0x7f]),
            (&[0x80], &[2, 2, 0, 0x80]),
            (&[0, 0, 1, 0], &[2, 2, 1, 0]),
        ] {
            assert_eq!(written(&|w| w.unsigned(digits)), expected);
        }
        for (bits, expected) in [
            (0u16, &[3u8, 1, 0][..]),
            (1, &[3, 2, 7, 0x80]),
            (0b101, &[3, 2, 5, 0xa0]),
            (0b110_0000, &[3, 2, 1, 0x06]),
            (0x80, &[3, 2, 0, 0x01]),
            (0x101, &[3, 3, 7, 0x80, 0x80]),
        ] {
            assert_eq!(written(&|w| w.named_bits(bits)), expected, "{bits:b}");
        }
    }

    #[test]
    fn integers_saturate_and_bits_are_counted() {
        let read = |digits: &[u8]| Reader::new(&element(INTEGER, digits)).unsigned();
        assert_eq!(read(&[0x00]), Some(0));
        assert_eq!(read(&[0x07, 0xd0]), Some(2000));
        assert_eq!(read(&[0x00, 0xff]), Some(255));
        assert_eq!(read(&[0x7f; 9]), Some(u64::MAX));
        assert_eq!(read(&[0x80]), None);
        assert_eq!(bit_length(&[0x00, 0x80, 0x00]), 16);
        assert_eq!(bit_length(&[0x01]), 1);
        assert_eq!(bit_length(&[]), 0);
    }
}
