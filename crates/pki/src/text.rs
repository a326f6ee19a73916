//! Everything that a certificate says about itself is hostile text until it went through here.

use std::fmt::Write as _;

/// Longest text that `escape` returns, in characters of its input; the rest is counted, not shown.
pub const MAX_SHOWN: usize = 512;

/// Makes foreign text safe to show on a terminal, in a log line and in a page's text.
///
/// Control characters (so ANSI sequences and line breaks too), bidirectional overrides, zero-width
/// and other invisible characters, and blanks that only look like a space become `\u{…}`. What is
/// longer than [`MAX_SHOWN`] characters ends in `…(+n)`. Escaping twice changes nothing more.
/// Markup is left alone: a page escapes for its own syntax.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_SHOWN));
    push_escaped(&mut out, text);
    out
}

/// The same, appended to `out`.
pub(crate) fn push_escaped(out: &mut String, text: &str) {
    // Nearly all names are short printable ASCII: one pass over bytes and one copy.
    if text.len() <= MAX_SHOWN && text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        out.push_str(text);
        return;
    }
    let mut characters = text.chars();
    for c in characters.by_ref().take(MAX_SHOWN) {
        if is_deceptive(c) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    let more = characters.count();
    if more > 0 {
        let _ = write!(out, "…(+{more})");
    }
}

/// True for what a person would not see, or would see as something else.
fn is_deceptive(c: char) -> bool {
    if c == ' ' {
        return false;
    }
    c.is_control()
        || c.is_whitespace()
        || matches!(u32::from(c),
            0x00ad                      // soft hyphen
            | 0x034f                    // combining grapheme joiner
            | 0x061c                    // Arabic letter mark
            | 0x115f | 0x1160           // Hangul fillers
            | 0x17b4 | 0x17b5           // Khmer inherent vowels
            | 0x180b..=0x180f           // Mongolian selectors and vowel separator
            | 0x200b..=0x200f           // zero width, directional marks
            | 0x2028..=0x202e           // separators, embeddings and overrides
            | 0x2060..=0x206f           // word joiner, isolates, deprecated format characters
            | 0x2800                    // blank Braille pattern
            | 0x3164 | 0xffa0           // Hangul fillers
            | 0xe000..=0xf8ff           // private use: no agreed look
            | 0xfe00..=0xfe0f           // variation selectors
            | 0xfeff                    // byte order mark
            | 0xfff0..=0xffff           // interlinear annotation, specials, replacement
            | 0x1_d173..=0x1_d17a       // musical format characters
            | 0xe_0000..=0x10_ffff) // tags, selectors, private planes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table() {
        let check = |input: &str, expected: &str| assert_eq!(escape(input), expected);
        check("", "");
        check("example.com", "example.com");
        check("Zürich 東京 Ω", "Zürich 東京 Ω");
        check("<script>alert(1)</script>", "<script>alert(1)</script>");
        check("a\nb\r\tc\0", "a\\u{a}b\\u{d}\\u{9}c\\u{0}");
        check("\x1b[31mred\x1b[0m", "\\u{1b}[31mred\\u{1b}[0m");
        check("moc.\u{202e}elgoog", "moc.\\u{202e}elgoog");
        check("pay\u{200b}pal", "pay\\u{200b}pal");
        check("a\u{a0}b\u{3000}c", "a\\u{a0}b\\u{3000}c");
        check("\u{9b}31m", "\\u{9b}31m"); // C1 CSI
        check("\u{feff}x\u{2066}y\u{e0041}", "\\u{feff}x\\u{2066}y\\u{e0041}");
    }

    #[test]
    fn length_is_bounded() {
        let long = "é".repeat(100_000);
        let shown = escape(&long);
        assert!(shown.ends_with("…(+99488)"), "{}", &shown[shown.len() - 20..]);
        assert_eq!(escape(&"a".repeat(MAX_SHOWN)).len(), MAX_SHOWN);
        assert!(escape(&"\0".repeat(100_000)).len() < 10 * MAX_SHOWN);
    }

    proptest! {
        #[test]
        fn nothing_deceptive_comes_out(text in any::<String>()) {
            let shown = escape(&text);
            prop_assert!(!shown.chars().any(is_deceptive));
        }

        #[test]
        fn twice_is_once(text in ".{0,60}") {
            let once = escape(&text);
            prop_assert_eq!(escape(&once), once);
        }
    }
}
