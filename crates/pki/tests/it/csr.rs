//! Requests: what is read, and everything that is refused, from OpenSSL's hands and from an attacker's.

use std::collections::BTreeSet;

use pki::csr::{self, Checked, Csr, CsrCode, CsrProblem, MAX_CSR_BYTES, MAX_CSR_NAMES, Rules};
use pki::{CsrError, KeyType, PrivateKey, San};
use proptest::prelude::*;

use crate::support::{exchanged, openssl};

fn sans(names: &[&str]) -> Vec<San> {
    names.iter().map(|name| San::parse(name).unwrap()).collect()
}

fn codes(result: Result<Checked, Vec<CsrProblem>>) -> Vec<CsrCode> {
    match result {
        Ok(_) => vec![],
        Err(problems) => {
            for problem in &problems {
                assert!(!problem.detail.is_empty() && problem.detail.len() < 20_000 && !problem.detail.chars().any(char::is_control));
            }
            problems.iter().map(|problem| problem.code).collect()
        }
    }
}

/// A request by the openssl program with this key and configuration.
fn by_openssl(key: &[&str], subject: &str, extensions: &[&str]) -> Vec<u8> {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("key.pem");
    let path = path.to_str().unwrap();
    openssl(&[&["genpkey", "-out", path][..], key].concat(), b"");
    let mut arguments = vec!["req", "-new", "-key", path, "-subj", subject, "-outform", "DER"];
    for extension in extensions {
        arguments.extend(["-addext", extension]);
    }
    openssl(&arguments, b"")
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

#[test]
fn openssl_in_many_shapes() {
    let permitted = sans(&["www.example.com", "*.example.com", "192.0.2.1", "2001:db8::1", "spiffe://example.org/web"]);
    let rules = Rules { permitted: &permitted, ..Rules::default() };
    let check = |key: &[&str], subject: &str, extensions: &[&str], expected: &[CsrCode]| {
        let csr = Csr::parse(&by_openssl(key, subject, extensions)).unwrap();
        assert_eq!(codes(csr::check(&csr, &rules)), expected, "{key:?} {subject} {extensions:?}");
    };
    let names = "subjectAltName=DNS:www.example.com,DNS:*.Example.com,IP:192.0.2.1,IP:2001:db8::1,URI:spiffe://example.org/web";
    for curve in ["P-256", "P-384", "P-521"] {
        let curve = format!("ec_paramgen_curve:{curve}");
        check(&["-algorithm", "EC", "-pkeyopt", &curve], "/CN=www.example.com", &[names], &[]);
    }
    check(&["-algorithm", "ED25519"], "/", &[names], &[]);
    for bits in ["2048", "3072"] {
        check(&["-algorithm", "RSA", "-pkeyopt", &format!("rsa_keygen_bits:{bits}")], "/O=Acme/CN=www.example.com", &[names], &[]);
    }
    check(P256, "/CN=www.example.com", &[], &[]);
    check(P256, "/CN=192.0.2.1", &[], &[]);
    check(
        P256,
        "/O=Acme",
        &["keyUsage=critical,digitalSignature", "extendedKeyUsage=serverAuth", "basicConstraints=CA:FALSE", "tlsfeature=status_request"],
        &[],
    );

    use CsrCode::*;
    check(P256, "/CN=www.example.org", &[names], &[NameNotPermitted]);
    check(P256, "/CN=www.example.com/CN=evil.test", &[names], &[NameNotPermitted]);
    check(P256, "/", &["subjectAltName=DNS:a.example.com"], &[NameNotPermitted]); // the wildcard permits itself alone
    check(P256, "/", &["subjectAltName=IP:192.0.2.2,URI:spiffe://example.org/db"], &[NameNotPermitted]);
    check(P256, "/", &["subjectAltName=email:a@example.com"], &[BadName]);
    check(P256, "/", &["basicConstraints=critical,CA:TRUE"], &[AsksToBeCa]);
    check(P256, "/", &["basicConstraints=CA:FALSE,pathlen:0"], &[AsksToBeCa]);
    check(P256, "/", &["keyUsage=keyCertSign"], &[AsksToBeCa]);
    check(P256, "/", &["keyUsage=cRLSign"], &[AsksToBeCa]);
    check(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], "/", &[], &[WeakKey]);
    check(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"], "/", &[], &[UnsupportedKey]);
    check(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp224r1"], "/", &[], &[UnsupportedKey]);
    check(&[P256, &["-pkeyopt", "ec_param_enc:explicit"]].concat(), "/", &[], &[UnsupportedKey]);
    check(&["-algorithm", "ED448"], "/", &[], &[UnsupportedKey]);
    check(&["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"], "/", &[], &[WeakSignature, OddKeyEncoding]);
    let all = ["subjectAltName=DNS:evil.test,email:a@b.test", "basicConstraints=CA:TRUE"];
    check(
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
        "/CN=evil.test",
        &all,
        &[AsksToBeCa, BadName, NameNotPermitted, WeakKey],
    );
}

#[test]
fn sha1_is_not_accepted() {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("key.pem");
    let path = path.to_str().unwrap();
    openssl(&["genrsa", "-out", path, "2048"], b"");
    let der = openssl(&["req", "-new", "-key", path, "-subj", "/", "-sha1", "-outform", "DER"], b"");
    assert_eq!(codes(csr::check(&Csr::parse(&der).unwrap(), &Rules::default())), [CsrCode::WeakSignature]);
}

#[test]
fn what_was_changed_or_belongs_to_somebody_else() {
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let names = sans(&["www.example.com"]);
    let der = csr::build(&key, None, &names).unwrap();
    let rules = Rules { permitted: &names, ..Rules::default() };
    let check = |der: &[u8], rules: &Rules<'_>, expected: &[CsrCode]| {
        assert_eq!(codes(csr::check(&Csr::parse(der).unwrap(), rules)), expected);
    };
    check(&der, &rules, &[]);
    let changed = exchanged(&der, b"www.example.com", b"xxx.example.com");
    check(&changed, &rules, &[CsrCode::BadSignature, CsrCode::NameNotPermitted]);
    let stranger = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    check(&exchanged(&der, key.spki_der(), stranger.spki_der()), &rules, &[CsrCode::BadSignature]);
    // A point that is not on the curve.
    let mut off = key.spki_der().to_vec();
    *off.last_mut().unwrap() ^= 1;
    check(&exchanged(&der, key.spki_der(), &off), &rules, &[CsrCode::BadSignature]);

    let fingerprint = key.spki_fingerprint();
    check(&der, &Rules { issuer_keys: &[fingerprint], ..rules }, &[CsrCode::IssuerKey]);
    let known = BTreeSet::from([fingerprint]);
    check(&der, &Rules { known_keys: Some(&known), ..rules }, &[CsrCode::KnownKey]);
    check(&der, &Rules { key_type: Some(KeyType::EcdsaP256), ..rules }, &[]);
    check(&der, &Rules { key_type: Some(KeyType::Rsa2048), ..rules }, &[CsrCode::WrongKeyType]);
    let named = csr::build(&key, Some("web-1"), &names).unwrap();
    check(&named, &rules, &[CsrCode::NameNotPermitted]);
    check(&named, &Rules { common_names: &["web-1"], ..rules }, &[]);
}

#[test]
fn only_public_key_and_permitted_names_get_out() {
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let permitted = sans(&["b.test", "a.test", "b.test", "192.0.2.1"]);
    let csr = Csr::parse(&csr::build(&key, None, &sans(&["A.test", "a.test"])).unwrap()).unwrap();
    let checked = csr::check(&csr, &Rules { permitted: &permitted, ..Rules::default() }).unwrap();
    assert_eq!(checked.asked(), sans(&["a.test"]));
    assert_eq!(checked.permitted(), sans(&["b.test", "a.test", "192.0.2.1"]));
    assert_eq!(checked.spki_der(), key.spki_der());
}

/// A request with this content, signed with an Ed25519 key: what our own builder would not write.
fn forged(info: &dyn Fn(&PrivateKey) -> Vec<u8>) -> Vec<u8> {
    let key = pki::detached::generate(&[9; 32]).unwrap();
    let info = tlv(0x30, &info(&key));
    // The cryptographic library signs a PKCS#8 key of ours through openssl, so that nothing of the crate's own is trusted here.
    let work = tempfile::tempdir().unwrap();
    let (message, pem) = (work.path().join("message"), work.path().join("key.pem"));
    std::fs::write(&message, &info).unwrap();
    std::fs::write(&pem, key.expose_pem().as_bytes()).unwrap();
    let signature = openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", pem.to_str().unwrap(), "-in", message.to_str().unwrap()], b"");
    tlv(0x30, &[info, vec![0x30, 5, 6, 3, 0x2b, 0x65, 0x70], tlv(3, &[&[0], signature.as_slice()].concat())].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let octet = |shift: usize| u8::try_from(length >> shift & 0xff).unwrap();
    let head = match length {
        0..0x80 => vec![tag, octet(0)],
        0x80..0x100 => vec![tag, 0x81, octet(0)],
        0x100..0x10000 => vec![tag, 0x82, octet(8), octet(0)],
        _ => vec![tag, 0x83, octet(16), octet(8), octet(0)],
    };
    [head, content.to_vec()].concat()
}

/// A request for these GeneralNames as encoded, and this common name's bytes.
fn with_names(names: &[u8], common_name: Option<&[u8]>) -> Vec<u8> {
    forged(&|key| {
        let san = [tlv(6, &[0x55, 0x1d, 17]), tlv(4, &tlv(0x30, names))].concat();
        let request = [tlv(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14]), tlv(0x31, &tlv(0x30, &tlv(0x30, &san)))].concat();
        let subject = common_name.map_or(vec![], |cn| tlv(0x31, &tlv(0x30, &[tlv(6, &[0x55, 4, 3]), tlv(0x0c, cn)].concat())));
        [vec![2, 1, 0], tlv(0x30, &subject), key.spki_der().to_vec(), tlv(0xa0, &tlv(0x30, &request))].concat()
    })
}

#[test]
fn names_that_lie() {
    let permitted = sans(&["example.com"]);
    let rules = Rules { permitted: &permitted, ..Rules::default() };
    let check = |der: &[u8], expected: &[CsrCode]| assert_eq!(codes(csr::check(&Csr::parse(der).unwrap(), &rules)), expected);
    use CsrCode::*;
    check(&with_names(&tlv(0x82, b"example.com"), None), &[]);
    check(&with_names(&tlv(0x82, b"example.com\0.evil.test"), None), &[BadName]);
    check(&with_names(&tlv(0x82, b"example.com\n"), None), &[BadName]);
    check(&with_names(&tlv(0x82, b"example.com."), None), &[BadName]);
    check(&with_names(&tlv(0x82, b""), None), &[BadName]);
    check(&with_names(&tlv(0x82, "exämple.com".as_bytes()), None), &[BadName]);
    check(&with_names(&tlv(0x82, b"ex\xffmple.com"), None), &[BadName]);
    check(&with_names(&tlv(0x82, b"*.com"), None), &[BadName]);
    check(&with_names(&tlv(0x82, b"a_b.example.com"), None), &[BadName]);
    check(&with_names(&tlv(0x82, b"192.0.2.1"), None), &[BadName]); // an address as a DNS name
    check(&with_names(&tlv(0x87, &[192, 0, 2]), None), &[BadName]);
    check(&with_names(&tlv(0x87, &[10, 0, 0, 0, 255, 0, 0, 0]), None), &[BadName]); // a network
    check(&with_names(&tlv(0x86, b"spiffe://example.org/../x"), None), &[BadName]);
    check(&with_names(&tlv(0x88, &[0x2a, 3]), None), &[BadName]);
    check(&with_names(&tlv(0x99, b"x"), None), &[BadName]);
    check(&with_names(&tlv(0xa4, &tlv(0x30, b"")), None), &[BadName]);
    check(&with_names(&tlv(0x82, b"example.com"), Some(b"example.com\0.evil.test")), &[NameNotPermitted]);
    check(&with_names(&tlv(0x82, b"example.com"), Some(b"example.com\n")), &[NameNotPermitted]);
    check(&with_names(&tlv(0x82, b"example.com"), Some(b"\x1b[31m")), &[NameNotPermitted]);
    check(&with_names(&tlv(0x82, b"example.com"), Some(b"")), &[NameNotPermitted]);
}

#[test]
fn too_many_too_large_too_odd() {
    let name = tlv(0x82, b"a.test");
    let many = Csr::parse(&with_names(&name.repeat(MAX_CSR_NAMES), None)).unwrap();
    assert_eq!(many.names().len(), MAX_CSR_NAMES);
    let problems = csr::check(&many, &Rules::default()).unwrap_err();
    assert!(problems[0].detail.contains("and 980 more"), "{}", problems[0].detail);
    assert_eq!(Csr::parse(&with_names(&name.repeat(MAX_CSR_NAMES + 1), None)).unwrap_err(), CsrError::TooManyNames);
    assert_eq!(Csr::parse(&with_names(&name.repeat(10_000), None)).unwrap_err(), CsrError::TooManyNames);
    let large = with_names(&name.repeat(20_000), None);
    assert_eq!(Csr::parse(&large).unwrap_err(), CsrError::TooLarge(large.len()));
    assert!(matches!(Csr::parse(&vec![b'\n'; MAX_CSR_BYTES + 1]), Err(CsrError::TooLarge(_))));

    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let good = csr::build(&key, None, &sans(&["a.test"])).unwrap();
    let refused = |bytes: &[u8], word: &str| {
        let error = Csr::parse(bytes).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(&[&good[..], &[0]].concat(), "other bytes follow");
    refused(&[&[0x30, 0x80], &good[4..], &[0, 0]].concat(), "in DER");
    refused(&good[..good.len() - 1], "in DER");
    refused(b"", "in DER");
    refused(b"hello", "in DER");
    let unknown = Csr::parse(&exchanged(&good, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1], &[0xff; 7])).unwrap();
    assert_eq!(codes(csr::check(&unknown, &Rules::default())), [CsrCode::NameNotPermitted, CsrCode::UnsupportedKey]);
    let twice = forged(&|key| {
        let san = tlv(0x30, &[tlv(6, &[0x55, 0x1d, 17]), tlv(4, &tlv(0x30, &name))].concat());
        let request = [tlv(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14]), tlv(0x31, &tlv(0x30, &san.repeat(2)))].concat();
        [vec![2, 1, 0, 0x30, 0], key.spki_der().to_vec(), tlv(0xa0, &tlv(0x30, &request))].concat()
    });
    refused(&twice, "twice");
    refused(&forged(&|key| [vec![2, 1, 1, 0x30, 0], key.spki_der().to_vec(), vec![0xa0, 0]].concat()), "version");
    refused(&forged(&|key| [vec![2, 1, 0, 0x30, 0], key.spki_der().to_vec(), tlv(0xa0, &tlv(0x30, &[]).repeat(65))].concat()), "broken");
}

#[test]
fn pem_and_what_else_comes_in_it() {
    let key = PrivateKey::generate(KeyType::Ed25519).unwrap();
    let csr = Csr::parse(&csr::build(&key, None, &sans(&["a.test"])).unwrap()).unwrap();
    let pem = csr.to_pem();
    let read = |text: &str| Csr::parse(text.as_bytes()).map(|read| read.der() == csr.der());
    assert_eq!(read(&pem), Ok(true));
    assert_eq!(read(&pem.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")), Ok(true));
    assert_eq!(read(&format!("some words\r\n{}", pem.replace('\n', "\r\n"))), Ok(true));
    let refused = |text: &str, word: &str| {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(word) && !error.contains(&pem[40..60]), "{error}");
    };
    refused(&format!("{pem}{}", key.expose_pem().as_str()), "a private key");
    refused(&format!("{pem}{pem}"), "2 PEM blocks");
    refused(&pem.replace("CERTIFICATE REQUEST", "CERTIFICATE"), "a block `CERTIFICATE`");
    refused(&pem[..80], "no matching END");
}

#[test]
fn rsa_keys_that_can_be_factored() {
    let check = |name: &str, word: &str| {
        let pem = std::fs::read(format!("{}/tests/it/weak/{name}.csr", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let problems = csr::check(&Csr::parse(&pem).unwrap(), &Rules::default()).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [CsrCode::WeakKey], "{name}: {problems:?}");
        assert!(problems[0].detail.contains(word), "{name}: {}", problems[0].detail);
    };
    check("roca", "ROCA");
    check("close", "close together");
    check("small", "below 752");
    check("odd-exponent", "exponent of more than 32 bits");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Csr::parse(&bytes);
    }

    #[test]
    fn no_change_of_a_byte_passes(at in any::<prop::sample::Index>(), by in 1..=255u8) {
        let key = pki::detached::generate(&[3; 32]).unwrap();
        let names = sans(&["www.example.com", "192.0.2.1"]);
        let mut der = csr::build(&key, Some("www.example.com"), &names).unwrap();
        let at = at.index(der.len());
        der[at] ^= by;
        if let Ok(csr) = Csr::parse(&der) {
            let passed = csr::check(&csr, &Rules { permitted: &names, ..Rules::default() }).is_ok();
            prop_assert!(!passed);
        }
    }

    #[test]
    fn what_is_asked_for_is_what_is_read(labels in proptest::collection::vec("[a-z0-9]{1,20}", 1..20), address in any::<[u8; 16]>(), four in any::<[u8; 4]>()) {
        let key = pki::detached::generate(&[4; 32]).unwrap();
        let mut names: Vec<San> = labels.iter().map(|label| San::dns(&format!("{label}.x.test")).unwrap()).collect();
        names.extend([San::ip(address.into()), San::ip(four.into())]);
        let csr = Csr::parse(&csr::build(&key, None, &names).unwrap()).unwrap();
        prop_assert_eq!(csr.names(), names.as_slice());
        prop_assert!(csr.unusable_names().is_empty() && !csr.asks_to_be_ca());
        let passes = |permitted: &[San]| csr::check(&csr, &Rules { permitted, ..Rules::default() }).is_ok();
        prop_assert!(passes(&names));
        prop_assert_eq!(passes(&names[1..]), names[1..].contains(&names[0]));
    }
}
