//! Any bytes as a build, with limits small enough to fuzz quickly.
#![no_main]

use std::time::Duration;

use artifact::{Limits, Source, Watch, scan};
use libfuzzer_sys::fuzz_target;

/// A clock that stands still.
struct Still;

impl Watch for Still {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        depth: 4,
        entries: 100,
        total_bytes: 8 << 20,
        stream_bytes: 1 << 20,
        ratio: 20,
        ratio_free_bytes: 64 << 10,
        buffered_zip_bytes: 16 << 10,
        item_bytes: 64 << 10,
        findings: 100,
        pkcs12_iterations: 5_000,
        ..Limits::default()
    };
    let (mut input, mut count) = (bytes, 0);
    let summary = scan(&mut [Source::Stream { name: "x", bytes: &mut input }], &limits, &[], &Still, &mut |finding| {
        count += 1;
        assert!(!finding.path.chars().any(char::is_control));
        true
    });
    assert!(count <= limits.findings + 1 && summary.bytes <= limits.total_bytes + (1 << 20));
});
