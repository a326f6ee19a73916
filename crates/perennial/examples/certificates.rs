//! Certificates for benchmarks, one JSON object per line as a bulk import takes them: `certificates COUNT [PREFIX]` writes them to
//! standard output.
//!
//! Each has a P-256 key of its own and is signed by one intermediate. Lives are 90, 365 and 730 days, each certificate at some point
//! of its life: some end within hours, every fifth within 30 days, two of three within 180.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{self, BufWriter, Write as _},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use api::v1::BulkImport;
use pki::{Authority, KeyType, Span, Time};

/// Lines that are made together.
const BATCH: u64 = 8192;
/// Lives in days; two of the short ones for one of each long one.
const LIVES: [i64; 4] = [90, 90, 365, 730];
/// How long each is still valid at least.
const LEFT_AT_LEAST: Span = Span::hours(12);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().and_then(|count| count.parse().ok()).expect("certificates COUNT [PREFIX]");
    let prefix = arguments.next().unwrap_or_else(|| String::from("cert"));
    #[expect(clippy::disallowed_methods, reason = "an example makes certificates for today")]
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
    let now = Time::from_unix(i64::try_from(seconds).expect("a clock before the end of time"));

    let root = Authority::new("Benchmark Root", now - Span::days(3650), now + Span::days(3650)).unwrap();
    let issuer = root.intermediate("Benchmark Issuing CA", now - Span::days(1825), now + Span::days(1825)).unwrap();
    let above = issuer.certificate().to_pem();

    let threads = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    let mut first = 0;
    while first < count {
        let batch: Vec<u64> = (first..count.min(first + BATCH)).collect();
        let share = batch.len().div_ceil(threads as usize);
        let parts: Vec<Vec<u8>> = thread::scope(|scope| {
            let make = |numbers: &[u64]| numbers.iter().flat_map(|n| line(*n, &prefix, &issuer, &above, now)).collect();
            let running: Vec<_> = batch.chunks(share).map(|numbers| scope.spawn(move || make(numbers))).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for part in parts {
            out.write_all(&part).unwrap();
        }
        first += BATCH;
    }
    out.flush().unwrap();
}

fn line(n: u64, prefix: &str, issuer: &Authority, above: &str, now: Time) -> Vec<u8> {
    let mixed = mix(n);
    let life = Span::days(LIVES[(mixed % 4) as usize]);
    // Anywhere in its life but the last hours: what has ended by the time it is imported is refused.
    let age = Span::seconds(((mixed >> 2) % (life - LEFT_AT_LEAST).as_secs().unsigned_abs()) as i64);
    let not_before = now - age;
    let name = format!("{prefix}-{n:07}");
    let host = format!("{name}.bench.example");
    let (leaf, key) = issuer.leaf(&[host], KeyType::EcdsaP256, not_before, not_before + life - Span::seconds(1)).unwrap();
    let line = BulkImport { name, chain_pem: leaf.to_pem() + above, key_pem: Some(key.expose_pem().to_string()) };
    let mut text = serde_json::to_vec(&line).unwrap();
    text.push(b'\n');
    text
}

/// SplitMix64: numbers that look random and are the same every time.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
