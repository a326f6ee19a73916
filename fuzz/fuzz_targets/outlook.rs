//! Any certificates as roots and a presented chain: bounded work, no panic, and memory changes nothing.
//!
//! Input: a moment (8 bytes), how many are roots (1 byte), then certificates with a length of 2 bytes each.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pki::path::CacheLimits;
use pki::{Certificate, Roots, Span, Time, Verifier};

fuzz_target!(|bytes: &[u8]| {
    let Some((moment, rest)) = bytes.split_first_chunk::<8>() else { return };
    let Some((&roots, mut rest)) = rest.split_first() else { return };
    let now = Time::from_unix(i64::from_le_bytes(*moment));
    let mut certificates = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (der, after) = after.split_at(length);
        certificates.extend(Certificate::parse(der));
        rest = after;
    }
    let (roots, chain) = certificates.split_at(usize::from(roots).min(certificates.len()));
    let (roots, _) = Roots::lenient(roots.iter().map(Certificate::der));
    let roots = Arc::new(roots);
    let spans = [Span::days(30), Span::days(365)];
    let verifier = Verifier::new(Arc::clone(&roots));
    let first = verifier.outlook(chain, Some("example.com"), now, &spans);
    assert_eq!(first, verifier.outlook(chain, Some("example.com"), now, &spans));
    let forgetful = Verifier::with_limits(roots, CacheLimits::NONE);
    assert_eq!(first, forgetful.outlook(chain, Some("example.com"), now, &spans));
    if let Some((until, _, _)) = first.best_until {
        assert!(until >= now);
    }
});
