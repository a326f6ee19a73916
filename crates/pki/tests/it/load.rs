//! Files as people have them.

use std::io::Write as _;

use p12_keystore::{EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKeyChain};
use pki::{KeyType, Limits, LoadError, PrivateKey, load};
use proptest::prelude::*;

use crate::support::{House, exchanged, openssl};

fn pem(house: &House) -> String {
    house.chain().iter().map(pki::Certificate::to_pem).collect()
}

#[test]
fn pem_with_anything_around_it() {
    let house = House::new(&["example.com"]);
    let check = |text: String| {
        let loaded = load(text.as_bytes(), None, Limits::default()).unwrap();
        assert_eq!(loaded.certificates, house.chain());
        assert_eq!(loaded.keys.len(), 1);
        assert!(loaded.keys[0].fits(&house.leaf));
    };
    let both = format!("{}{}", pem(&house), house.key.expose_pem().as_str());
    check(both.clone());
    check(both.replace('\n', "\r\n"));
    check(format!("\u{feff}{both}"));
    check(both.replace("-----BEGIN CERT", "subject=CN = x\nissuer: y\n\n-----BEGIN CERT"));
    check(both.replace('\n', "  \n"));
    check(both.trim_end().to_owned());
    check(format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{both}"));
    check(both.replace("=\n-----END", "\n-----END").replace("=\n-----END", "\n-----END"));
}

#[test]
fn der_is_detected() {
    let house = House::new(&["example.com"]);
    let loaded = load(house.leaf.der(), None, Limits::default()).unwrap();
    assert_eq!(loaded.certificates, std::slice::from_ref(&house.leaf));
    let loaded = load(house.key.expose_pkcs8(), None, Limits::default()).unwrap();
    assert!(loaded.keys[0].fits(&house.leaf));
}

#[test]
fn broken_pem_says_where() {
    let house = House::new(&["example.com"]);
    let text = pem(&house);
    let check = |text: String, words: &str| {
        let error = load(text.as_bytes(), None, Limits::default()).unwrap_err().to_string();
        assert!(error.contains(words), "{error} / {words}");
    };
    check(format!("\n\n{}", &text[..200]), "line 3: the block `CERTIFICATE` has no matching END");
    check(text.replacen("-----END CERTIFICATE-----\n", "", 1), "line 1: the block");
    check(text.replacen("MII", "M!I", 1), "line 1: the block `CERTIFICATE` is not base64");
    check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(), "line 1, block CERTIFICATE: not a DER");
    check("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n".into(), "must be signed");
    check("-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n".into(), "openssl pkcs7");
    check("-----BEGIN \x1b[31m-----\nAAAA\n-----END \x1b[31m-----\n".into(), "\\u{1b}[31m");
    check("-----BEGIN ".into(), "no complete block");
    check("hello".into(), "neither PEM");
    check(String::new(), "neither PEM");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    check(encrypted.into(), "openssl pkey -in KEY -out PLAIN");
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    check(old.into(), "is encrypted");
}

#[test]
fn limits_have_names() {
    let house = House::new(&["example.com"]);
    let limits = Limits { bytes: 100, ..Limits::default() };
    assert_eq!(load(&[0; 101], None, limits).unwrap_err(), LoadError::TooLarge { bytes: 101, limit: 100 });
    let many = house.leaf.to_pem().repeat(201);
    let error = load(many.as_bytes(), None, Limits::default()).unwrap_err();
    assert_eq!(error, LoadError::TooMany { what: "certificates", limit: 200 });
    let many = house.key.expose_pem().repeat(17);
    assert!(load(many.as_bytes(), None, Limits::default()).is_err());
    let many = "-----BEGIN X-----\nAAAA\n-----END X-----\n".repeat(100_000);
    assert!(load(many.as_bytes(), None, Limits::default()).is_err());
}

#[test]
fn keys_in_every_form_that_openssl_writes() {
    for (arguments, kind) in [
        (vec!["genrsa", "2048"], "RSA-2048"),
        (vec!["genrsa", "-traditional", "2048"], "RSA-2048"),
        (vec!["ecparam", "-genkey", "-name", "prime256v1"], "ECDSA-P256"),
        (vec!["ecparam", "-genkey", "-noout", "-name", "secp384r1"], "ECDSA-P384"),
        (vec!["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"], "ECDSA-P521"),
        (vec!["genpkey", "-algorithm", "ED25519"], "Ed25519"),
    ] {
        let pem = openssl(&arguments, b"");
        let loaded = load(&pem, None, Limits::default()).unwrap();
        let key = &loaded.keys[0];
        assert_eq!(key.kind().to_string(), kind, "{arguments:?}");
        // Normalised: what we hold is PKCS#8 that reads as the same key.
        let again = PrivateKey::from_der(key.expose_pkcs8()).unwrap();
        assert_eq!(again.spki_fingerprint(), key.spki_fingerprint());
        let public = openssl(&["pkey", "-pubout", "-outform", "DER"], &pem);
        assert_eq!(pki::Fingerprint::of(&public), key.spki_fingerprint(), "{arguments:?}");
    }
    let weak = openssl(&["genrsa", "1024"], b"");
    assert!(load(&weak, None, Limits::default()).unwrap_err().to_string().contains("RSA-1024"));
    let odd = openssl(&["ecparam", "-genkey", "-noout", "-name", "secp256k1"], b"");
    assert!(load(&odd, None, Limits::default()).unwrap_err().to_string().contains("not supported"));
    let locked = openssl(&["genpkey", "-algorithm", "ED25519", "-aes256", "-pass", "pass:x"], b"");
    assert!(load(&locked, None, Limits::default()).unwrap_err().to_string().contains("is encrypted"));
}

fn p12(house: &House, password: &str, iterations: u32, algorithm: EncryptionAlgorithm, mac: MacAlgorithm) -> Vec<u8> {
    let certificate = |c: &pki::Certificate| p12_keystore::Certificate::from_der(c.der()).unwrap();
    let key = p12_keystore::PrivateKey::from_der(house.key.expose_pkcs8()).unwrap();
    let chain = PrivateKeyChain::new("id", key, house.chain().iter().map(certificate));
    let mut store = KeyStore::new();
    store.add_entry("name", KeyStoreEntry::PrivateKeyChain(chain));
    let writer = store.writer(password).encryption_algorithm(algorithm).mac_algorithm(mac);
    writer.encryption_iterations(iterations).mac_iterations(iterations).write().unwrap()
}

#[test]
fn pkcs12_opens_with_its_password_alone() {
    let house = House::new(&["example.com"]);
    for (algorithm, mac) in [
        (EncryptionAlgorithm::PbeWithHmacSha256AndAes256, MacAlgorithm::HmacSha256),
        (EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc, MacAlgorithm::HmacSha1),
        (EncryptionAlgorithm::PbeWithShaAnd40BitRc4Cbc, MacAlgorithm::HmacSha1),
    ] {
        let file = p12(&house, "s3cret", 100, algorithm, mac);
        let loaded = load(&file, Some("s3cret"), Limits::default()).unwrap();
        assert_eq!(loaded.keys.len(), 1);
        assert!(loaded.keys[0].fits(&house.leaf));
        let sorted = pki::sort_chain(&loaded.certificates, loaded.keys.first());
        assert_eq!(sorted.chain, house.chain());
        assert_eq!(load(&file, Some("wrong"), Limits::default()).unwrap_err(), LoadError::WrongPassword);
        assert_eq!(load(&file, Some(""), Limits::default()).unwrap_err(), LoadError::WrongPassword);
        assert_eq!(load(&file, None, Limits::default()).unwrap_err(), LoadError::PasswordNeeded);
        // Damage behind the password has the same words.
        let mut damaged = file.clone();
        let place = damaged.len() / 2;
        damaged[place] ^= 0x55;
        let error = load(&damaged, Some("s3cret"), Limits::default()).unwrap_err();
        assert!(matches!(error, LoadError::WrongPassword | LoadError::BadPkcs12), "{error}");
    }
}

#[test]
fn pkcs12_work_is_counted_before_it_is_done() {
    let house = House::new(&["example.com"]);
    let modern = (EncryptionAlgorithm::PbeWithHmacSha256AndAes256, MacAlgorithm::HmacSha256);
    let file = p12(&house, "x", 1000, modern.0, modern.1);
    let limits = Limits { pkcs12_iterations: 2999, ..Limits::default() };
    let error = load(&file, Some("x"), limits).unwrap_err();
    assert_eq!(error, LoadError::TooManyIterations { iterations: 3000, limit: 2999 });
    assert!(load(&file, Some("x"), Limits { pkcs12_iterations: 3000, ..limits }).is_ok());

    // 1000 is 02 02 03 e8; make one of them 02 02 7f ff and see it counted, and all of them absurd.
    let larger = exchanged(&file, &[0x02, 0x02, 0x03, 0xe8], &[0x02, 0x02, 0x7f, 0xff]);
    let limits = Limits { pkcs12_iterations: 50_000, ..Limits::default() };
    assert_eq!(load(&larger, Some("x"), limits).unwrap_err(), LoadError::TooManyIterations { iterations: 98_301, limit: 50_000 });

    let limits = Limits { pkcs12_bytes: 100, ..Limits::default() };
    assert!(matches!(load(&file, Some("x"), limits), Err(LoadError::TooLarge { limit: 100, .. })));
}

#[test]
fn pkcs12_as_openssl_writes_it() {
    let house = House::new(&["example.com"]);
    let both = format!("{}{}", pem(&house), house.key.expose_pem().as_str());
    let mut input = tempfile::NamedTempFile::new().unwrap();
    input.write_all(both.as_bytes()).unwrap();
    let path = input.path().to_str().unwrap();
    for extra in [vec![], vec!["-legacy"], vec!["-keypbe", "NONE", "-certpbe", "NONE"], vec!["-nomac"]] {
        let mut arguments = vec!["pkcs12", "-export", "-in", path, "-passout", "pass:s3cret"];
        arguments.extend(&extra);
        let file = openssl(&arguments, b"");
        let loaded = load(&file, Some("s3cret"), Limits::default()).unwrap();
        assert!(loaded.keys[0].fits(&house.leaf), "{extra:?}");
        assert_eq!(pki::sort_chain(&loaded.certificates, None).chain, house.chain());
    }
    let file = openssl(&["pkcs12", "-export", "-in", path, "-iter", "700000", "-passout", "pass:x"], b"");
    assert!(matches!(load(&file, Some("x"), Limits::default()), Err(LoadError::TooManyIterations { .. })));
}

#[test]
fn cut_off_files_are_errors() {
    let house = House::new(&["example.com"]);
    let file = p12(&house, "x", 1, EncryptionAlgorithm::PbeWithHmacSha256AndAes256, MacAlgorithm::HmacSha256);
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    for file in [file.as_slice(), house.leaf.der(), key.expose_pkcs8()] {
        for length in 0..file.len() {
            assert!(load(&file[..length], Some("x"), Limits::default()).is_err(), "{length}");
        }
    }
    let text = pem(&house);
    for length in 0..text.len() - 1 {
        let loaded = load(&text.as_bytes()[..length], None, Limits::default());
        assert!(loaded.map_or(0, |l| l.certificates.len()) < 2);
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "(-----(BEGIN|END) (CERTIFICATE|PRIVATE KEY)-----|[A-Za-z0-9+/=]{0,9}|\n|:){0,12}") {
        let _ = load(&bytes, Some(""), Limits::default());
        let _ = load(text.as_bytes(), None, Limits::default());
    }
}
