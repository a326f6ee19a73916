//! Any bytes: no panic, and within the limits.

use std::time::Duration;

use artifact::{Limits, Source, scan};
use proptest::prelude::*;

use crate::support::{Steps, cert_pem, gzip, header, key_pem, paper, tar, zip, zipped};

fn small() -> Limits {
    Limits {
        depth: 4,
        entries: 50,
        total_bytes: 4 * 1024 * 1024,
        stream_bytes: 1024 * 1024,
        ratio: 20,
        ratio_free_bytes: 64 * 1024,
        buffered_zip_bytes: 16 * 1024,
        item_bytes: 64 * 1024,
        findings: 40,
        pkcs12_iterations: 5_000,
        ..Limits::default()
    }
}

/// Scans as a stream; says how much was read.
fn look(bytes: &[u8]) -> u64 {
    let limits = small();
    let (mut count, mut input) = (0, bytes);
    let summary = scan(&mut [Source::Stream { name: "x", bytes: &mut input }], &limits, &[], &Steps::of(Duration::ZERO), &mut |finding| {
        count += 1;
        assert!(!finding.path.chars().any(char::is_control), "{:?}", finding.path);
        true
    });
    assert!(count <= limits.findings + 1);
    // One more read than the limit may end beyond it.
    assert!(summary.bytes <= limits.total_bytes + 1024 * 1024, "{summary:?}");
    summary.bytes
}

/// Something that is worth being damaged.
fn seed() -> impl Strategy<Value = Vec<u8>> {
    let pem = cert_pem().into_bytes();
    let key = key_pem().into_bytes();
    let archive = tar(&[("a", &pem), ("b", &key)]);
    prop_oneof![
        Just(pem.clone()),
        Just(key.clone()),
        Just(paper().certificate.der().to_vec()),
        Just(archive.clone()),
        Just(gzip(&archive)),
        Just(zip(&[zipped("a", &pem), zipped("b", &archive)])),
        Just([header("x", b'x', 30), b"30 GNU.sparse.major=1\n".to_vec(), vec![0; 490], archive].concat()),
        Just([b"!<arch>\n".to_vec(), b"a/              0           0     0     644     10        `\n0123456789".to_vec()].concat()),
        Just(b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\x01a\0\0\0\0\0\0\0\0\0\x05X.509\0\0\0\x10".to_vec()),
        Just(b"\x28\xb5\x2f\xfd\x24\x05\x29\0\0hello\x01\x02\x03\x04".to_vec()),
        Just(b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        look(&bytes);
    }

    #[test]
    fn any_bytes_behind_a_magic(seed in seed(), from in 0usize..64, bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let head = &seed[..from.min(seed.len())];
        look(&[head, &bytes].concat());
    }

    #[test]
    fn real_things_with_damage(seed in seed(), changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..12), cut in any::<proptest::sample::Index>(), cuts in any::<bool>()) {
        let mut bytes = seed;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        look(&bytes);
        look(&gzip(&bytes));
        look(&tar(&[("x", &bytes), ("y", &bytes)]));
        look(&zip(&[zipped("x", &bytes)]));
    }
}
