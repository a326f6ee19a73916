//! PEM and base64 as they stand in other texts: indented in YAML, with `\n` in JSON, in quotes in source code, in comments.
//!
//! Stricter readers exist for files that are PEM; here the question is only whether somebody could make a key or certificate of it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem;
use zeroize::Zeroizing;

pub(crate) const BEGIN: &[u8] = b"-----BEGIN ";
const DASHES: &[u8] = b"-----";
/// Longest label that is looked at; "PKCS #7 SIGNED DATA" has 19.
const MAX_LABEL: usize = 48;
/// Fewer characters than these are no key and no certificate: an Ed25519 key takes 64.
pub(crate) const LEAST: usize = 60;
/// Lines of wrapped base64 are at most this long.
const WRAPPED: usize = 80;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// What stands behind a BEGIN.
pub(crate) enum Block<'t> {
    /// The answer lies in bytes that are not here yet.
    NeedMore,
    /// Nothing for this many bytes: a mention in a text, a constant in a program.
    Nothing(usize),
    /// A block; of this many bytes.
    Found { label: &'t str, der: Zeroizing<Vec<u8>>, encrypted: bool, length: usize },
    /// It begins like a block of substance, and is cut off or damaged.
    Broken { label: &'t str, why: &'static str, length: usize },
}

/// Reads a block; `text` begins with [`BEGIN`], and `whole` says that nothing follows it.
pub(crate) fn block(text: &[u8], whole: bool) -> Block<'_> {
    let head = &text[BEGIN.len()..];
    let window = &head[..head.len().min(MAX_LABEL + DASHES.len())];
    let Some(label) = memmem::find(window, DASHES) else {
        return if window.len() < MAX_LABEL + DASHES.len() && !whole { Block::NeedMore } else { Block::Nothing(BEGIN.len()) };
    };
    let upper = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b' ' | b'#');
    let Some(label) = std::str::from_utf8(&head[..label]).ok().filter(|label| !label.is_empty() && label.bytes().all(|b| upper(&b))) else {
        return Block::Nothing(BEGIN.len());
    };
    let start = BEGIN.len() + label.len() + DASHES.len();
    let rest = &text[start..];
    let found = memmem::find(rest, DASHES);
    let body = &rest[..found.unwrap_or(rest.len())];
    if !body.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..0x7f)) {
        return Block::Nothing(start);
    }
    let ended = match found {
        None if !whole => return Block::NeedMore,
        None => false,
        Some(at) => {
            let end = &rest[at + DASHES.len()..];
            let parts: [&[u8]; 3] = [b"END ", label.as_bytes(), DASHES];
            let wanted = parts.concat();
            if end.len() < wanted.len() && !whole && wanted.starts_with(end) {
                return Block::NeedMore;
            }
            end.starts_with(&wanted)
        }
    };
    let length = start + body.len();
    let Body { characters, encrypted, foreign } = Body::of(body);
    let substance = characters.len() >= LEAST && (characters.starts_with(b"MI") || characters.starts_with(b"b3BlbnNz"));
    let broken = |why| if substance { Block::Broken { label, why, length } } else { Block::Nothing(length) };
    if !ended {
        return broken("it has no END line");
    }
    if foreign {
        return broken("there is something else than base64 in it");
    }
    if characters.len() < LEAST {
        return Block::Nothing(length);
    }
    match decode(&characters) {
        Some(der) => Block::Found { label, der, encrypted, length: length + DASHES.len() },
        None => broken("it is not base64"),
    }
}

/// The characters of a block's body.
struct Body {
    characters: Zeroizing<Vec<u8>>,
    /// RFC 1421: a header says so.
    encrypted: bool,
    /// Characters that are neither base64 nor what texts put around it.
    foreign: bool,
}

impl Body {
    fn of(text: &[u8]) -> Body {
        // The size that is never exceeded: a vector that grows leaves copies.
        let mut body = Body { characters: Zeroizing::new(Vec::with_capacity(text.len())), encrypted: false, foreign: false };
        let mut line = Zeroizing::new(Vec::with_capacity(text.len()));
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            let next = text.get(at + 1).copied();
            let step = match (byte, next) {
                (b'\n' | b'\r', _) => {
                    body.end_of(&mut line);
                    1
                }
                (b'\\', Some(b'n' | b'r')) => {
                    body.end_of(&mut line);
                    2
                }
                (b'\\', Some(b'/')) => 1, // JSON may write a slash so
                (b'\\', Some(b't')) => 2,
                (b'\\', Some(b'u')) => {
                    let code = text.get(at + 2..at + 6).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
                    match code {
                        Some(b'\n' | b'\r') => body.end_of(&mut line),
                        Some(code) => line.push(code),
                        None => body.foreign = true,
                    }
                    if code.is_some() { 6 } else { 2 }
                }
                (b'\\', _) => 1, // doubled, or at the end of a line
                _ => {
                    line.push(byte);
                    1
                }
            };
            at += step;
        }
        body.end_of(&mut line);
        body
    }

    fn end_of(&mut self, line: &mut Zeroizing<Vec<u8>>) {
        self.take(line);
        // What the line held is overwritten by the next one, and the whole is wiped at the end.
        line.clear();
    }

    fn take(&mut self, line: &[u8]) {
        let mut line = line.trim_ascii();
        if line == b"//" {
            return; // a comment whose text is the END that follows
        }
        for comment in [&b"// "[..], b"# ", b"* ", b"; "] {
            line = line.strip_prefix(comment).unwrap_or(line).trim_ascii_start();
        }
        if line.contains(&b':') {
            self.encrypted |= memmem::find(line, b"Proc-Type:").is_some() && memmem::find(line, b"ENCRYPTED").is_some();
            return;
        }
        let loose = |byte: Option<&u8>| byte.is_none_or(|byte| matches!(byte, b' ' | b'"' | b'\'' | b'`'));
        for (at, &byte) in line.iter().enumerate() {
            match byte {
                // Between strings it joins them, inside it is a digit.
                b'+' if loose(at.checked_sub(1).and_then(|before| line.get(before))) && loose(line.get(at + 1)) => {}
                byte if is_base64(byte) => self.characters.push(byte),
                b' ' | b'\t' | b'"' | b'\'' | b'`' | b',' | b';' | b'(' | b')' | b'&' | b'#' | b'*' | b'|' | b'>' => {}
                _ => self.foreign = true,
            }
        }
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Decodes, with or without padding.
pub(crate) fn decode(characters: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let end = characters.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    // One character too many is what an editor or a cut leaves.
    let end = if end % 4 == 1 { end - 1 } else { end };
    let mut out = Zeroizing::new(vec![0; base64::decoded_len_estimate(end)]);
    let length = BASE64.decode_slice(&characters[..end], &mut out).ok()?;
    out.truncate(length);
    Some(out)
}

/// A stretch of base64 inside of a text.
pub(crate) enum Run {
    /// Its end is not here yet.
    NeedMore,
    /// Its characters, and how many bytes of the text they took.
    Is(Zeroizing<Vec<u8>>, usize),
}

/// The stretch that begins with `text`: one long line, or lines of the same length and a shorter one, indented or not.
pub(crate) fn run(text: &[u8], whole: bool) -> Run {
    let Some(end) = end_of_run(text, whole) else { return Run::NeedMore };
    // The size that is not exceeded, so that no unwiped copy stays behind.
    let mut characters = Zeroizing::new(Vec::with_capacity(end));
    let mut rest = text[..end].iter();
    while let Some(&byte) = rest.next() {
        if is_base64(byte) {
            characters.push(byte);
        } else if byte == b'\\' && matches!(rest.as_slice(), [b'n' | b'r', ..]) {
            rest.next();
        }
    }
    Run::Is(characters, end)
}

/// Where the stretch ends; `None` if that lies in what is not here yet.
fn end_of_run(text: &[u8], whole: bool) -> Option<usize> {
    let (mut at, mut width) = (0, 0);
    loop {
        let line = at;
        while let Some(&byte) = text.get(at) {
            if is_base64(byte) || byte == b'\\' && text.get(at + 1) == Some(&b'/') {
                at += 1;
            } else {
                break;
            }
        }
        let length = at - line;
        if at == text.len() && !whole {
            return None;
        }
        if line == 0 {
            width = length;
        }
        if width > WRAPPED || length < width || text[line..at].ends_with(b"=") {
            return Some(at);
        }
        // Over the line's end and the next one's indentation.
        let mut next = at;
        while let Some(byte) = text.get(next) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => next += 1,
                b'\\' if matches!(text.get(next + 1), Some(b'n' | b'r')) => next += 2,
                b'\\' if text.get(next + 1) == Some(&b'\\') => next += 1,
                _ => break,
            }
        }
        if next == at {
            return Some(at);
        }
        // The next line must be base64 to its end, and not longer.
        let following = text[next..].iter().take(WRAPPED + 1).take_while(|byte| is_base64(**byte)).count();
        let after = text.get(next + following);
        if after.is_none() && !whole {
            return None;
        }
        let closes = after.is_none_or(|byte| matches!(byte, b'\n' | b'\r' | b' ' | b'\\' | b'"' | b'\'' | b'<'));
        if following == 0 || following > width || !closes {
            return Some(at);
        }
        at = next;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    fn secret() -> Vec<u8> {
        (0..120u8)
            .map(|n| {
                if n == 0 {
                    0x30
                } else if n == 1 {
                    0x82
                } else {
                    n.wrapping_mul(7)
                }
            })
            .collect()
    }

    fn wrapped(before: &str, after: &str) -> String {
        let encoded = STANDARD.encode(secret());
        let lines: Vec<String> =
            encoded.as_bytes().chunks(64).map(|line| format!("{before}{}{after}", std::str::from_utf8(line).unwrap())).collect();
        lines.concat()
    }

    /// What a block is, in a word.
    fn word(text: &str) -> String {
        match block(text.as_bytes(), true) {
            Block::NeedMore => "more".into(),
            Block::Nothing(_) => "nothing".into(),
            Block::Found { label, der, encrypted, .. } => {
                assert_eq!(*der, secret(), "{text}");
                format!("{label}{}", if encrypted { " encrypted" } else { "" })
            }
            Block::Broken { why, .. } => why.into(),
        }
    }

    #[test]
    fn blocks_in_all_kinds_of_texts() {
        let check = |text: String, expected: &str| assert_eq!(word(&text), expected, "{text}");
        let around = |body: String| format!("-----BEGIN X-----{body}-----END X-----");
        check(around(wrapped("\n", "") + "\n"), "X");
        check(around(wrapped("\r\n", "") + "\r\n"), "X");
        check(around(wrapped("\n      ", "") + "\n      "), "X");
        check(around(wrapped("\\n", "") + "\\n"), "X");
        check(around(wrapped("\\\\n", "") + "\\\\n"), "X");
        check(around(wrapped("\\r\\n", "") + "\\r\\n"), "X");
        check(around(wrapped("\\u000a", "") + "\\u000A"), "X");
        check(around(wrapped("", "\\n").replace('/', "\\/").replace('+', "\\u002b")), "X");
        check(around("\\n\" +\n".to_owned() + &wrapped("  \"", "\\n\" +\n") + "  \""), "X");
        check(around("\\n\"\n".to_owned() + &wrapped("  \"", "\\n\"\n") + "  \""), "X");
        check(around("\\n'\n".to_owned() + &wrapped("  + '", "\\n'\n") + "  + '"), "X");
        check(around("\n".to_owned() + &wrapped("// ", "\n") + "// "), "X");
        check(around("\n".to_owned() + &wrapped("# ", "\n") + "# "), "X");
        check(around("\\\n".to_owned() + &wrapped("", "\\\n")), "X");
        check(around(format!(" {} ", STANDARD.encode(secret()))), "X");
        check(around(wrapped("\n", "").trim_end_matches('=').to_owned() + "\n"), "X");
        check(around("\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n".to_owned() + &wrapped("", "\n")), "X encrypted");
        // Mentions and constants.
        check("-----BEGIN X-----".into(), "nothing");
        check(around("\n...\n".into()), "nothing");
        check(around("\" + body + \"".into()), "nothing");
        check(around("\n<paste your key here, all of it, with every line that belongs to it, please>\n".into()), "nothing");
        check("-----BEGIN %s-----\nMIIx".into(), "nothing");
        check("-----BEGIN X\n".into(), "nothing");
        check(format!("-----BEGIN X-----\0\u{1}{}", wrapped("\n", "")), "nothing");
        // Damage.
        check(format!("-----BEGIN X-----{}", wrapped("\n", "")), "it has no END line");
        check(format!("-----BEGIN X-----{}-----END Y-----", wrapped("\n", "")), "it has no END line");
        check(format!("-----BEGIN X-----{}-----BEGIN X-----", wrapped("\n", "")), "it has no END line");
        check(around(wrapped("\n", "") + "~~"), "there is something else than base64 in it");
        check(around(wrapped("\n", "") + "==AAAA\n"), "it is not base64");
    }

    #[test]
    fn what_is_not_here_yet_is_waited_for() {
        let text = format!("-----BEGIN X-----{}\n-----END X-----", wrapped("\n", ""));
        for cut in BEGIN.len()..text.len() {
            assert!(matches!(block(&text.as_bytes()[..cut], false), Block::NeedMore), "{cut}");
        }
        assert!(matches!(block(text.as_bytes(), false), Block::Found { .. }));
    }

    #[test]
    fn stretches_end_where_others_begin() {
        let check = |text: &str, expected: Option<&str>| {
            let got = match run(text.as_bytes(), expected.is_some()) {
                Run::NeedMore => None,
                Run::Is(characters, _) => Some(String::from_utf8(characters.to_vec()).unwrap()),
            };
            assert_eq!(got.as_deref(), expected, "{text}");
        };
        let long = "A".repeat(100);
        check(&format!("{long}\n  tls.key: BBBB"), Some(&long));
        check(&format!("{long}\n  BBBB"), Some(&long));
        check("AAAA\n  AAAA\n  BB==\n  CCCC", Some("AAAAAAAABB=="));
        check("AAAA\\nAAAA\\nBB\",", Some("AAAAAAAABB"));
        check("AAAA\n  key: BBBB", Some("AAAA"));
        check("AA\\/A\"", Some("AA/A"));
        check("AAAA\nAAAA</x>", Some("AAAAAAAA"));
        check("AAAA", None);
        check("AAAA\n", None);
    }
}
