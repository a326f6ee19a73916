//! Any text: what comes out is harmless, bounded, and stays as it is when escaped again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pki::text::{MAX_SHOWN, escape};

fuzz_target!(|text: &str| {
    let shown = escape(text);
    assert!(!shown.chars().any(|c| c.is_control() || ('\u{200b}'..='\u{200f}').contains(&c) || ('\u{202a}'..='\u{202e}').contains(&c)));
    assert!(shown.len() <= 11 * MAX_SHOWN);
    if shown.chars().count() <= MAX_SHOWN {
        assert_eq!(escape(&shown), shown);
    }
    let _ = (pki::Time::parse(text), pki::Span::parse(text), pki::Fingerprint::parse(text));
});
