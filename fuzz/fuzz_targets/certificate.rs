//! Any bytes as a certificate: no panic, and nothing shown that could deceive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pki::Certificate;

fuzz_target!(|bytes: &[u8]| {
    let Ok(certificate) = Certificate::parse(bytes) else { return };
    let mut shown = format!("{} {} {}", certificate.subject(), certificate.issuer(), certificate.key());
    for name in certificate.names() {
        shown.push_str(&name.to_string());
    }
    assert!(!shown.chars().any(char::is_control));
    assert_eq!(certificate.der(), bytes);
    let _ = (certificate.covers("www.example.com"), certificate.covers("192.0.2.1"), certificate.lifetime());
    let _ = (certificate.check_signature(&certificate), certificate.serial(), certificate.spki_fingerprint());
    let _ = pki::differences(&certificate, &certificate).is_empty();
});
