//! Parsing: fields, dates at their edges, hostile text, many names.

use pki::{Authority, Certificate, KeyKind, KeyType, LeafOptions, Name, ParseError, PrivateKey, Span, Time, Usage};
use proptest::prelude::*;

use crate::support::{House, exchanged, time};

#[test]
fn fields_of_a_leaf() {
    let house = House::new(&["example.com", "*.Example.com", "192.0.2.7", "2001:db8::7"]);
    let leaf = &house.leaf;
    assert_eq!(leaf.subject(), "CN=example.com");
    assert_eq!(leaf.issuer(), "CN=Intermediate");
    assert_eq!(leaf.names().len(), 4);
    assert_eq!(leaf.names()[0], Name::Dns("example.com".into()));
    assert_eq!(leaf.names()[2], Name::Ip("192.0.2.7".parse().unwrap()));
    for (name, covered) in [
        ("example.com", true),
        ("www.example.com", true),
        ("a.b.example.com", false),
        ("192.0.2.7", true),
        ("[2001:db8:0::7]", true),
        ("192.0.2.8", false),
    ] {
        assert_eq!(leaf.covers(name), covered, "{name}");
    }
    assert_eq!(leaf.lifetime(), Span::days(365) + Span::seconds(1));
    assert_eq!(leaf.key().to_string(), "ECDSA-P256");
    assert_eq!(leaf.key_type(), "ecdsa");
    assert_eq!(leaf.signature_algorithm(), "ecdsa-with-SHA256");
    assert!(!leaf.is_ca() && !leaf.self_issued() && !leaf.has_weak_signature());
    assert_eq!(leaf.key_usage().unwrap().to_string(), "digitalSignature");
    assert_eq!(leaf.extended_key_usage(), ["serverAuth", "clientAuth"]);
    assert_eq!(leaf.serial().len(), 32);
    assert_eq!(leaf.fingerprint(), pki::Fingerprint::of(leaf.der()));
    assert_eq!(leaf.spki_fingerprint(), house.key.spki_fingerprint());
    let root = house.root.certificate();
    assert!(root.is_ca() && root.self_issued());
    assert_eq!(root.key_usage().unwrap().to_string(), "keyCertSign, cRLSign");
    assert!(root.extended_key_usage().is_empty());
}

#[test]
fn all_kinds_of_keys() {
    let root = Authority::new("Root", time("2020-01-01"), time("2040-01-01")).unwrap();
    for (key_type, shown, kind) in [
        (KeyType::EcdsaP256, "ECDSA-P256", "ecdsa"),
        (KeyType::EcdsaP384, "ECDSA-P384", "ecdsa"),
        (KeyType::EcdsaP521, "ECDSA-P521", "ecdsa"),
        (KeyType::Rsa2048, "RSA-2048", "rsa"),
        (KeyType::Ed25519, "Ed25519", "ed25519"),
    ] {
        let (leaf, key) = root.leaf(&["a.test"], key_type, time("2026-01-01"), time("2027-01-01")).unwrap();
        assert_eq!((leaf.key().to_string().as_str(), leaf.key_type()), (shown, kind));
        assert_eq!(key.kind(), leaf.key());
        assert!(key.fits(&leaf));
        assert!(!key.fits(root.certificate()));
        assert_eq!(format!("{key:?}"), format!("PrivateKey({shown})"));
        leaf.check_signature(root.certificate()).unwrap();
        assert!(root.certificate().check_signature(&leaf).is_err());
        // As an issuer, too.
        let options = pki::AuthorityOptions { key_type, ..Default::default() };
        let other = Authority::new_with("Other", time("2020-01-01"), time("2040-01-01"), &options).unwrap();
        other.certificate().check_signature(other.certificate()).unwrap();
    }
}

#[test]
fn dates_at_their_edges() {
    for (from, until) in [
        ("2012-02-29T00:00:00Z", "2016-02-29T23:59:59Z"),
        ("2038-01-19T03:14:07Z", "2038-01-19T03:14:08Z"),
        ("2049-12-31T23:59:59Z", "2050-01-01T00:00:00Z"),
        ("1970-01-01T00:00:00Z", "2100-02-28T23:59:59Z"),
        ("1950-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
        ("2026-01-01T00:00:01Z", "2026-01-01T00:00:00Z"),
    ] {
        let root = Authority::new("Root", time(from), time(until)).unwrap();
        let certificate = root.certificate();
        assert_eq!(certificate.not_before(), time(from));
        assert_eq!(certificate.not_after(), time(until));
        assert_eq!(certificate.lifetime(), time(until) - time(from) + Span::seconds(1));
    }
    let forever = Authority::new("Root", time("2026-01-01"), Time::NO_EXPIRY).unwrap();
    assert!(forever.certificate().not_after().is_no_expiry());
    let never = Authority::new("Root", time("2026-01-02"), time("2026-01-01")).unwrap();
    assert!(never.certificate().lifetime() < Span::ZERO);
}

#[test]
fn dates_that_do_not_exist_are_said() {
    let root = Authority::new("Root", time("2012-02-28T01:02:03Z"), time("2051-02-28T04:05:06Z")).unwrap();
    let check = |from: &[u8], to: &[u8], field: &str, words: &str| {
        let error = Certificate::parse(exchanged(root.certificate().der(), from, to)).unwrap_err();
        let ParseError::BadDate { field: found, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*found, field);
        assert!(error.to_string().contains(words), "{error}");
    };
    let first = b"120228010203Z";
    check(first, b"130229010203Z", "notBefore", "does not exist");
    check(first, b"121328010203Z", "notBefore", "does not exist");
    check(first, b"120028010203Z", "notBefore", "does not exist");
    check(first, b"120431010203Z", "notBefore", "does not exist");
    check(first, b"120228240203Z", "notBefore", "does not exist");
    check(first, b"120228010260Z", "notBefore", "does not exist");
    check(first, b"1202280102+01", "notBefore", "YYMMDDHHMMSSZ");
    check(first, b"12022801020\x1bZ", "notBefore", "\\u{1b}");
    let last = b"20510228040506Z";
    check(last, b"20510229040506Z", "notAfter", "does not exist");
    check(last, b"21000229040506Z", "notAfter", "does not exist");
    check(last, b"205102280405.5Z", "notAfter", "YYYYMMDDHHMMSSZ");
    let leap = exchanged(root.certificate().der(), first, b"120229010203Z");
    assert_eq!(Certificate::parse(leap).unwrap().not_before(), time("2012-02-29T01:02:03Z"));
}

#[test]
fn the_certificate_of_2012_cannot_be_made() {
    let created = time("2012-02-29T00:00:00Z");
    assert!(created.add_years(1).is_err());
    assert_eq!(created.add_years_clamped(1), time("2013-02-28T00:00:00Z"));
}

#[test]
fn hostile_text_is_escaped_and_bounded() {
    let root = Authority::new("\x1b[2J\u{202e}moc,O=Bank\0", time("2020-01-01"), time("2040-01-01")).unwrap();
    assert_eq!(root.certificate().subject(), "CN=\\u{1b}[2J\\u{202e}moc\\,O=Bank\\u{0}");
    let key = PrivateKey::generate(KeyType::Ed25519).unwrap();
    let options = LeafOptions {
        common_name: Some("<script>alert(1)</script>".into()),
        organization: Some("x".repeat(100_000)),
        usages: vec![Usage::CodeSigning],
        ..Default::default()
    };
    let leaf = root.issue(&key, &["a\x1b[31m.test", "b\n.test"], time("2026-01-01"), time("2027-01-01"), &options).unwrap();
    assert!(leaf.subject().starts_with("CN=\\<script\\>alert(1)\\</script\\>,O=xxx"), "{}", leaf.subject());
    assert!(leaf.subject().len() < 1000);
    assert_eq!(leaf.names()[0].to_string(), "a\\u{1b}[31m.test");
    assert_eq!(leaf.names()[1].to_string(), "b\\u{a}.test");
    assert!(!leaf.covers("a\x1b[31m.test"));
    for text in [format!("{leaf:?}"), leaf.subject().to_owned(), leaf.issuer().to_owned()] {
        assert!(!text.chars().any(char::is_control), "{text}");
    }
}

#[test]
fn ten_thousand_names() {
    let root = Authority::new("Root", time("2020-01-01"), time("2040-01-01")).unwrap();
    let names: Vec<String> = (0..10_000).map(|i| format!("host-{i}.some.longer.domain.example")).collect();
    let (leaf, _) = root.leaf(&names, KeyType::EcdsaP256, time("2026-01-01"), time("2027-01-01")).unwrap();
    assert_eq!(leaf.names().len(), 10_000);
    assert!(leaf.covers("host-9999.some.longer.domain.example"));
    assert!(!leaf.covers("host-10000.some.longer.domain.example"));
    let names: Vec<String> = (0..20_001).map(|i| format!("{i}.test")).collect();
    let error = root.leaf(&names, KeyType::EcdsaP256, time("2026-01-01"), time("2027-01-01")).unwrap_err();
    assert!(error.to_string().contains("more than 20000 entries"), "{error}");
}

#[test]
fn size_is_limited_and_nothing_may_follow() {
    let house = House::new(&["example.com"]);
    let mut longer = house.leaf.der().to_vec();
    longer.push(0);
    assert!(matches!(Certificate::parse(longer), Err(ParseError::NotDer(_))));
    assert!(matches!(Certificate::parse(vec![0x30; 2_000_000]), Err(ParseError::TooLarge(2_000_000))));
}

#[test]
fn an_authority_is_taken_up_again() {
    let root = Authority::new("Röot, of <all>", time("2020-01-01"), time("2040-01-01")).unwrap();
    let key = PrivateKey::from_der(root.key().expose_pkcs8()).unwrap();
    let again = Authority::resume(root.certificate().clone(), key).unwrap();
    let (leaf, leaf_key) = again.leaf(&["a.test"], KeyType::EcdsaP256, time("2026-01-01"), time("2027-01-01")).unwrap();
    leaf.check_signature(root.certificate()).unwrap();
    assert_eq!(leaf.issuer_der(), root.certificate().subject_der());
    let other = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    assert!(Authority::resume(root.certificate().clone(), other).is_err());
    assert!(Authority::resume(leaf, leaf_key).is_err());
}

#[test]
fn coverage_agrees_with_webpki() {
    let presented = ["example.com", "*.example.com", "*.com", "a_b.example.com", "192.0.2.1", "xn--bcher-kva.example", "*.a.b.c"];
    let asked = [
        "example.com",
        "EXAMPLE.com",
        "www.example.com",
        "a.www.example.com",
        "com",
        "x.com",
        "a_b.example.com",
        "192.0.2.1",
        "192.0.2.2",
        "xn--bcher-kva.example",
        "z.a.b.c",
        "a.b.c",
        "y.z.a.b.c",
        "example.com.",
    ];
    let root = Authority::new("Root", time("2020-01-01"), time("2040-01-01")).unwrap();
    for name in presented {
        let (leaf, _) = root.leaf(&[name], KeyType::Ed25519, time("2026-01-01"), time("2027-01-01")).unwrap();
        let der = rustls_pki_types::CertificateDer::from(leaf.der());
        let theirs = webpki::EndEntityCert::try_from(&der).unwrap();
        for name in asked {
            let reference = rustls_pki_types::ServerName::try_from(name).unwrap();
            let expected = theirs.verify_is_valid_for_subject_name(&reference).is_ok();
            assert_eq!(leaf.covers(name), expected, "{:?} for {name}", leaf.names());
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Certificate::parse(bytes.clone());
        let _ = PrivateKey::from_der(&bytes);
    }
}

#[test]
fn truncated_and_flipped_certificates_never_panic() {
    let house = House::new(&["example.com", "192.0.2.1"]);
    let der = house.leaf.der();
    for length in 0..der.len() {
        assert!(Certificate::parse(&der[..length]).is_err());
    }
    for place in 0..der.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut changed = der.to_vec();
            changed[place] ^= mask;
            if let Ok(certificate) = Certificate::parse(changed) {
                let _ = (certificate.subject().len(), certificate.issuer().len(), certificate.covers("example.com"));
                let _ = (certificate.lifetime(), certificate.serial(), certificate.key_usage().map(|u| u.to_string()));
                assert!(certificate.check_signature(house.intermediate.certificate()).is_err(), "byte {place}");
            }
        }
    }
}

#[test]
fn weak_kinds() {
    assert!(KeyKind::Rsa { bits: 2047 }.is_weak());
    assert!(!KeyKind::Rsa { bits: 2048 }.is_weak());
    assert!(!KeyKind::Ed25519.is_weak());
}
