//! Any bytes as an upload, with limits small enough to fuzz quickly.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pki::{Limits, load};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { pkcs12_iterations: 5_000, ..Limits::default() };
    for password in [None, Some("x")] {
        match load(bytes, password, limits) {
            Ok(loaded) => {
                assert!(loaded.certificates.len() <= limits.certificates && loaded.keys.len() <= limits.keys);
                let _ = pki::sort_chain(&loaded.certificates, loaded.keys.first());
            }
            Err(error) => assert!(!error.to_string().chars().any(char::is_control)),
        }
    }
});
