//! Any bytes as a request: no panic, nothing shown that could deceive, and nothing certified but what was permitted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pki::csr::{self, Csr, Rules};
use pki::{Crl, San};

fuzz_target!(|bytes: &[u8]| {
    let _ = Crl::parse(bytes);
    let csr = match Csr::parse(bytes) {
        Ok(csr) => csr,
        Err(error) => return assert!(!error.to_string().chars().any(char::is_control)),
    };
    let permitted = [San::dns("example.com").unwrap(), San::dns("*.example.com").unwrap()];
    match csr::check(&csr, &Rules { permitted: &permitted, ..Rules::default() }) {
        Ok(checked) => assert!(!csr.asks_to_be_ca() && checked.asked().iter().all(|name| permitted.contains(name))),
        Err(problems) => assert!(problems.iter().all(|problem| !problem.detail.chars().any(char::is_control))),
    }
    assert!(!csr.subject().chars().any(char::is_control));
    assert!(Csr::parse(csr.to_pem().as_bytes()).is_ok_and(|again| again.der() == csr.der()));
});
