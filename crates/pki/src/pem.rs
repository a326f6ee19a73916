//! PEM (RFC 7468), as lenient as files in the field need: text around the blocks, CRLF, a byte
//! order mark, blank lines and spaces inside.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Longest label that is a label.
const MAX_LABEL: usize = 64;

/// One block. The bytes may be a private key, so they are wiped.
pub(crate) struct Block<'a> {
    pub(crate) label: &'a str,
    /// Line of its BEGIN, from 1.
    pub(crate) line: usize,
    /// It has the `Proc-Type: 4,ENCRYPTED` header of RFC 1421.
    pub(crate) encrypted: bool,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

/// Why text with a BEGIN line is not PEM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// A block has no END line of its own.
    #[error("line {line}: the block `{label}` has no matching END line; is the file cut off?")]
    NoEnd {
        /// Line of the BEGIN, from 1.
        line: usize,
        /// The label, escaped.
        label: String,
    },
    /// The text between is not base64.
    #[error("line {line}: the block `{label}` is not base64")]
    NotBase64 {
        /// Line of the BEGIN, from 1.
        line: usize,
        /// The label, escaped.
        label: String,
    },
    /// Too many blocks.
    #[error("more than {0} PEM blocks")]
    TooMany(usize),
}

/// True if there is a BEGIN line.
pub(crate) fn looks_like_pem(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|window| window == b"-----BEGIN ")
}

/// All blocks in their order, at most `limit`.
pub(crate) fn blocks(text: &[u8], limit: usize) -> Result<Vec<Block<'_>>, PemError> {
    // Certificates often need no padding; tools differ in writing it.
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let base64 = GeneralPurpose::new(&alphabet::STANDARD, config);
    let mut found = Vec::new();
    let mut lines = text.split(|&byte| byte == b'\n').enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(label) = marker(line, b"-----BEGIN ") else { continue };
        if found.len() == limit {
            return Err(PemError::TooMany(limit));
        }
        let (line, shown) = (index + 1, || crate::text::escape(label));
        let mut body = Zeroizing::new(Vec::with_capacity(4096));
        let mut encrypted = false;
        loop {
            let Some((_, next)) = lines.next() else {
                return Err(PemError::NoEnd { line, label: shown() });
            };
            if let Some(end) = marker(next, b"-----END ") {
                if end == label {
                    break;
                }
                return Err(PemError::NoEnd { line, label: shown() });
            }
            if marker(next, b"-----BEGIN ").is_some() {
                return Err(PemError::NoEnd { line, label: shown() });
            }
            if next.contains(&b':') {
                encrypted |= next.starts_with(b"Proc-Type:") && next.windows(9).any(|w| w == b"ENCRYPTED");
                continue;
            }
            push_wiped(&mut body, next.iter().copied().filter(|byte| !byte.is_ascii_whitespace()));
        }
        let not_base64 = |_| PemError::NotBase64 { line, label: shown() };
        // An encrypted block is refused by its label or header, whatever its body.
        let bytes = base64.decode(body.as_slice()).map(Zeroizing::new).map_err(not_base64)?;
        found.push(Block { label, line, encrypted, bytes });
    }
    Ok(found)
}

/// Appends without leaving unwiped copies behind when the buffer has to grow.
fn push_wiped(body: &mut Zeroizing<Vec<u8>>, bytes: impl Iterator<Item = u8>) {
    for byte in bytes {
        if body.len() == body.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(body.capacity() * 2));
            larger.extend_from_slice(body);
            *body = larger;
        }
        body.push(byte);
    }
}

/// The label of `-----BEGIN LABEL-----`.
fn marker<'a>(line: &'a [u8], begin: &[u8]) -> Option<&'a str> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
    let label = line.strip_prefix(begin)?.strip_suffix(b"-----")?;
    let label = std::str::from_utf8(label).ok()?;
    (label.len() <= MAX_LABEL).then_some(label)
}

/// One block with lines of 64 characters (RFC 7468 §2). Wiped, because it may be a private key.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(der));
    let mut out = Zeroizing::new(String::with_capacity(encoded.len() + encoded.len() / 64 + 2 * label.len() + 40));
    for part in ["-----BEGIN ", label, "-----\n"] {
        out.push_str(part);
    }
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    for part in ["-----END ", label, "-----\n"] {
        out.push_str(part);
    }
    out
}
