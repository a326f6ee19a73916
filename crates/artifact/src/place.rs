//! Where something lies: the path that findings bear.

use pki::text::escape;

/// Longest name of an entry, in bytes; archives limit none.
const MAX_NAME: usize = 4096;

/// A path through files and containers, escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) String);

impl Place {
    /// A file on disk, or whatever the caller calls its input.
    pub(crate) fn outside(path: &str) -> Place {
        Place(shown(path.as_bytes()))
    }

    /// An entry of the container that lies here.
    pub(crate) fn inside(&self, name: &[u8]) -> Place {
        let name = if name.is_empty() { b"?" } else { name };
        Place(format!("{}!{}", self.0, shown(name)))
    }
}

/// Each part is escaped by itself: together they may be longer than what is shown of one text.
fn shown(name: &[u8]) -> String {
    let more = name.len().saturating_sub(MAX_NAME);
    let mut out = String::with_capacity(name.len().min(MAX_NAME) + 8);
    for (index, part) in name[..name.len() - more].split(|&byte| byte == b'/').enumerate() {
        if index > 0 {
            out.push('/');
        }
        for chunk in part.utf8_chunks() {
            out.push_str(&escape(chunk.valid()).replace('!', "\\u{21}"));
            for byte in chunk.invalid() {
                out.push_str(&format!("\\x{byte:02x}"));
            }
        }
    }
    if more > 0 {
        out.push_str(&format!("…(+{more})"));
    }
    out
}

/// True for a name that would be unpacked outside of the folder that it is unpacked in.
pub(crate) fn leads_out(name: &[u8]) -> bool {
    name.split(|&byte| matches!(byte, b'/' | b'\\')).any(|part| part == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let check = |name: &[u8], expected: &str| assert_eq!(Place::outside("a.tar").inside(name).0, format!("a.tar!{expected}"));
        check(b"etc/ssl/x.pem", "etc/ssl/x.pem");
        check(b"../../etc/passwd", "../../etc/passwd");
        check(b"wow!/x", "wow\\u{21}/x");
        check(b"\x1b[2J/\xff\xfe", "\\u{1b}[2J/\\xff\\xfe");
        check("a\u{202e}b".as_bytes(), "a\\u{202e}b");
        check(b"", "?");
        let long = [b"d/".repeat(2047).as_slice(), b"0123456789"].concat();
        let shown = Place::outside("x").inside(&long).0;
        assert!(shown.ends_with("/01…(+8)"), "{}", &shown[shown.len() - 20..]);
    }

    #[test]
    fn only_steps_up_lead_out() {
        let check = |name: &str, expected: bool| assert_eq!(leads_out(name.as_bytes()), expected, "{name}");
        check("../x", true);
        check("a/../../x", true);
        check("a\\..\\x", true);
        check("a..b/x", false);
        check("./x", false);
    }
}
