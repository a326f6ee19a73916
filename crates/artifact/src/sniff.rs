//! What a file is packed in, by its first bytes and never by its name.

/// Bytes that [`sniff`] wants to see; fewer only if there are no more.
pub(crate) const HEAD: usize = 512;

/// A packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstd,
    Xz,
    Zip,
    Ar,
    Tar,
    Bzip2,
    Cpio,
    Rpm,
    /// Recognised and not read.
    Unsupported(&'static str),
    /// Under a password or key, as a whole.
    Encrypted(&'static str),
}

/// First bytes, and what they mean.
const MAGIC: &[(&[u8], Packing)] = &[
    (b"\x1f\x8b\x08", Packing::Gzip),
    (b"\x28\xb5\x2f\xfd", Packing::Zstd),
    (b"\xfd7zXZ\0", Packing::Xz),
    (b"PK\x03\x04", Packing::Zip),
    // Empty, or one of several parts.
    (b"PK\x05\x06", Packing::Zip),
    (b"PK\x07\x08PK\x03\x04", Packing::Zip),
    (b"!<arch>\n", Packing::Ar),
    (b"7z\xbc\xaf\x27\x1c", Packing::Unsupported("7z")),
    (b"Rar!\x1a\x07", Packing::Unsupported("rar")),
    (b"\xed\xab\xee\xdb", Packing::Rpm),
    (b"070701", Packing::Cpio),
    (b"070702", Packing::Cpio),
    (b"070707", Packing::Cpio),
    // Its names and sizes stand in the package's header alone.
    (b"07070X", Packing::Unsupported("the cpio of an rpm beyond 4 GiB")),
    (b"MSCF\0\0\0\0", Packing::Unsupported("cab")),
    (b"hsqs", Packing::Unsupported("squashfs")),
    (b"\x04\x22\x4d\x18", Packing::Unsupported("lz4")),
    (b"LZIP\x01", Packing::Unsupported("lzip")),
    (b"\x89LZO\0\r\n\x1a\n", Packing::Unsupported("lzop")),
    (b"xar!\0", Packing::Unsupported("xar")),
    (b"!<thin>\n", Packing::Unsupported("thin ar")),
    (b"Salted__", Packing::Encrypted("openssl enc")),
    (b"age-encryption.org/v1\n", Packing::Encrypted("age")),
    (b"LUKS\xba\xbe", Packing::Encrypted("LUKS")),
];

/// Says what these first bytes are packed in.
pub(crate) fn sniff(head: &[u8]) -> Option<Packing> {
    if let Some((_, packing)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(*packing);
    }
    // A frame that is skipped may stand before the first one (RFC 8878 §3.1.2).
    if matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) {
        return Some(Packing::Zstd);
    }
    if let [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..] = head
        && (rest.starts_with(b"1AY&SY") || rest.starts_with(&[0x17, 0x72, 0x45, 0x38]))
    {
        return Some(Packing::Bzip2);
    }
    is_tar(head).then_some(Packing::Tar)
}

/// A program or a script, which may unpack itself: a zip may follow it.
pub(crate) fn is_program(head: &[u8]) -> bool {
    [&b"#!"[..], b"MZ", b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"].iter().any(|magic| head.starts_with(magic))
}

/// A header of tar has its own checksum; before POSIX it had no magic.
pub(crate) fn is_tar(head: &[u8]) -> bool {
    head.first_chunk().is_some_and(|block: &[u8; 512]| block[0] != 0 && checksum_fits(block))
}

/// The sum of all bytes, those of the checksum itself counted as spaces; some tars added them as signed.
pub(crate) fn checksum_fits(block: &[u8; 512]) -> bool {
    let Some(written) = octal(&block[148..156]) else { return false };
    let (mut sum, mut signed) = (0i64, 0i64);
    for (at, &byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { byte };
        sum += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    i64::try_from(written).is_ok_and(|written| written == sum || written == signed)
}

/// A number of tar: octal digits between spaces and zero bytes. None without a digit.
pub(crate) fn octal(field: &[u8]) -> Option<u64> {
    let field = field.trim_ascii_start();
    let digits = field.iter().take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    let ended = field.get(digits).is_none_or(|byte| matches!(byte, 0 | b' '));
    if digits == 0 || digits > 21 || !ended {
        return None;
    }
    Some(field[..digits].iter().fold(0, |sum, digit| (sum << 3) | u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn table() {
        let check = |head: &[u8], expected| assert_eq!(sniff(head), expected, "{head:?}");
        check(b"", None);
        check(b"\x1f\x8b", None);
        check(b"\x1f\x8b\x08\x00", Some(Packing::Gzip));
        check(b"\x28\xb5\x2f\xfd\x24", Some(Packing::Zstd));
        check(b"\x50\x2a\x4d\x18\0\0\0\0", Some(Packing::Zstd));
        check(b"BZh91AY&SY", Some(Packing::Bzip2));
        check(b"070701", Some(Packing::Cpio));
        check(b"BZhello", None);
        check(b"PKG", None);
        check(b"Salted__12345678", Some(Packing::Encrypted("openssl enc")));
        check(&[0; 512], None);
        check(&[b'7'; 512], None);
    }

    #[test]
    fn numbers_of_tar() {
        let check = |field: &[u8], expected| assert_eq!(octal(field), expected, "{field:?}");
        check(b"0000644\0", Some(0o644));
        check(b" 12 \0\0\0\0", Some(0o12));
        check(b"\0\0\0\0", None);
        check(b"    ", None);
        check(b"12x", None);
        check(b"777777777777", Some((1 << 36) - 1));
        check(b"7777777777777777777777", None);
    }
}
