#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

#[test]
fn reasons_have_names_and_numbers() {
    for (reason, code, name) in Reason::ALL {
        assert_eq!((reason.code(), reason.as_str()), (code, name));
        assert_eq!((Reason::from_code(code), Reason::parse(name)), (Some(reason), Some(reason)));
    }
    for code in [0, 7, 8, 11, 255] {
        assert_eq!(Reason::from_code(code), None);
    }
}

#[test]
fn what_is_no_list() {
    for bytes in [&b""[..], &[0x30, 0], &[0x30, 0x80, 0, 0], b"-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n", &[0x30, 3, 0x30, 1, 0]]
    {
        assert!(Crl::parse(bytes).is_err(), "{bytes:?}");
    }
}
