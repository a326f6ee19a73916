use super::Column::{Left, Right};
use super::*;
use insta::assert_snapshot;

const NOW: Time = Time::from_unix(1_795_465_793);

#[test]
fn moments_have_their_zone_and_what_is_left() {
    let check = |text: &str, expected: &str| assert_eq!(moment(text, NOW), expected, "{text}");
    assert_eq!(NOW.to_string(), "2026-11-23T20:29:53Z");
    check("2027-02-22T20:29:53Z", "2027-02-22 20:29:53Z, in 91 d");
    check("2026-11-23T20:29:54Z", "2026-11-23 20:29:54Z, in 1 s");
    check("2026-11-23T20:29:53Z", "2026-11-23 20:29:53Z, now");
    check("2026-11-20T16:29:53Z", "2026-11-20 16:29:53Z, 3 d 4 h ago");
    check("2027-02-22T21:29:53+01:00", "2027-02-22 20:29:53Z, in 91 d");
    check("9999-12-31T23:59:59Z", "no expiry");
    check("\u{1b}[31msoon", "\\u{1b}[31msoon");
    assert_eq!(served("broken", NOW), "broken now");
    assert_eq!(served("unknown", NOW), "unknown");
}

#[test]
fn columns_are_aligned_by_characters_and_cells_are_escaped() {
    let mut table = Table::new(&[Left("NAME"), Right("COUNT"), Left("DETAIL")]);
    table.add(vec![Cell::new("büro"), Cell::number(7), Cell::new("a\nb")]);
    table.add(vec![Cell::new("a-long-name"), Cell::number(1234), Cell::new("")]);
    let mut out = Vec::new();
    assert!(table.write(&mut out, false).is_ok());
    assert_snapshot!(String::from_utf8_lossy(&out), @r#"
    NAME         COUNT  DETAIL
    büro             7  a\u{a}b
    a-long-name   1234  -
    "#);
    // Colours change nothing about the widths.
    let mut coloured = Vec::new();
    assert!(table.write(&mut coloured, true).is_ok());
    let bare = String::from_utf8_lossy(&coloured).replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
    assert_eq!(bare, String::from_utf8_lossy(&out));
}
