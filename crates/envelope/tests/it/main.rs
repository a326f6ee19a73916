//! What the envelope promises, from the outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod place;
mod rotation;
mod unlock;

use envelope::{Cost, Keeper, KekRecord, KeyFile, Passphrase, Place};

/// As cheap as a new record may be, because a test derives a dozen of them.
const CHEAP: Cost = Cost { memory_kib: envelope::MIN_MEMORY_KIB, passes: 1, lanes: 1 };

const STORE: &str = "store-1";
const HERE: Place<'static> = Place { store: STORE, secret: 7, version: 2, instance: 41, purpose: "private-key" };

/// A stream that is reproducible and never repeats: what is tested here must not depend on luck.
fn stream(seed: u64) -> impl FnMut(&mut [u8]) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    move |out| {
        for byte in out {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = (state >> 24) as u8;
        }
    }
}

fn key_file(seed: u64) -> KeyFile {
    KeyFile::parse(&KeyFile::generate(&mut stream(seed)).unwrap()).unwrap()
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.as_bytes().to_vec()).with_cost(CHEAP)
}

fn keeper(seed: u64) -> Keeper {
    KekRecord::create(&key_file(seed), STORE, 0, &mut stream(seed + 1)).unwrap().1
}
