#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::csr::{self, Csr, Rules};
use crate::der::Writer;
use crate::issue::{self, AuthorityTemplate, Issuer, Names, Profile, Template, extension};
use crate::sign::Signer;
use crate::{KeyType, PrivateKey, San};

fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

struct House {
    root: Issuer,
    signer: Signer,
    leaf: Certificate,
}

fn house() -> House {
    let none = Constraints::default();
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let template = AuthorityTemplate {
        common_name: "Root",
        organization: None,
        not_before: time("2026-01-01"),
        not_after: time("2036-01-01"),
        serial: [0x11; 16],
        path_length: Some(1),
        constraints: &none,
        crl: None,
    };
    let root = Issuer::new(issue::root(&key, &template).unwrap(), &key).unwrap();
    let leaf_key = crate::detached::generate(&[1; 32]).unwrap();
    let names = [San::dns("a.example.com").unwrap()];
    let csr = Csr::parse(&csr::build(&leaf_key, None, &names).unwrap()).unwrap();
    let checked = csr::check(&csr, &Rules { permitted: &names, ..Rules::default() }).unwrap();
    let template = Template {
        profile: Profile::Server,
        names: Names::Permitted,
        common_name: false,
        not_before: time("2026-06-01"),
        not_after: time("2026-09-01"),
        serial: [0x22; 16],
        crl: None,
        policies: &[],
    };
    let linted = root.rehearse(root.prepare(&checked, &template).unwrap()).unwrap();
    assert!(linted.findings().is_empty(), "{:?}", linted.findings());
    let leaf = root.sign(&linted).unwrap();
    House { root, signer: Signer::new(&leaf_key).unwrap(), leaf }
}

/// One extension as encoded.
fn encoded(which: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(64);
    extension(&mut writer, which, critical, |w| w.raw(value));
    writer.into_bytes()
}

/// The leaf with some of its parts exchanged, and the codes of what is found then, at warning or above.
fn found(house: &House, part: Part, exchange: &[u8]) -> Vec<&'static str> {
    let view = View::of(house.leaf.der()).unwrap();
    let der = |element: der::Element<'_>| element.raw.to_vec();
    let mut fields = [
        vec![0xa0, 3, 2, 1, 2],
        der::element(der::INTEGER, view.serial),
        view.inner_algorithm.to_vec(),
        view.issuer.to_vec(),
        der::element(der::SEQUENCE, &[der(view.not_before), der(view.not_after)].concat()),
        view.subject.to_vec(),
        house.leaf.spki_der().to_vec(),
    ];
    let mut extensions: Vec<Vec<u8>> = view.extensions.iter().map(|e| encoded(e.oid[2], e.critical, e.value)).collect();
    match part {
        Part::Field(index) => fields[index] = exchange.to_vec(),
        Part::Extension(which) => {
            let index = view.extensions.iter().position(|e| e.oid[2] == which).unwrap();
            extensions[index] = exchange.to_vec();
        }
        Part::More => extensions.push(exchange.to_vec()),
        Part::Outer | Part::Nothing => {}
    }
    let extensions = der::element(0xa3, &der::element(der::SEQUENCE, &extensions.concat()));
    let tbs = der::element(der::SEQUENCE, &[fields.concat(), extensions].concat());
    let outer = if part == Part::Outer { exchange.to_vec() } else { fields[2].clone() };
    let signature = der::element(der::BIT_STRING, &[&[0], house.signer.sign(&tbs).unwrap().as_slice()].concat());
    let changed = Certificate::parse(der::element(der::SEQUENCE, &[tbs, outer, signature].concat())).unwrap();
    let context = Context::of(house.root.certificate()).unwrap();
    let findings = certificate(&changed, Some(&context));
    findings.iter().filter(|finding| finding.severity >= Severity::Warning).map(|finding| finding.code).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Nothing,
    Field(usize),
    Extension(u8),
    More,
    Outer,
}

#[test]
fn each_finding_is_found() {
    use Part::{Extension, Field, More, Nothing, Outer};
    let house = house();
    let check = |part: Part, exchange: &[u8], expected: &[&str]| assert_eq!(found(&house, part, exchange), expected, "{exchange:02x?}");
    let serial = |digits: &[u8]| der::element(der::INTEGER, digits);
    check(Nothing, &[], &[]);

    check(Field(0), &[], &["version"]);
    check(Field(1), &serial(&[0x80; 16]), &["serial-negative"]);
    check(Field(1), &serial(&[0; 1]), &["serial-zero"]);
    check(Field(1), &serial(&[1; 21]), &["serial-long"]);
    check(Field(1), &serial(&[1; 20]), &[]);
    check(Field(1), &serial(&[1; 7]), &["serial-short"]);
    check(Field(1), &serial(&[0, 0x7f, 1, 1, 1, 1, 1, 1, 1]), &["serial-padded"]);
    check(Outer, &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70], &["algorithm-mismatch"]);
    check(Field(3), &issue::subject(Some("Rood"), None), &["issuer-mismatch"]);
    check(Field(3), &[0x30, 0], &["issuer-mismatch", "issuer-empty"]);

    let dates = |from: (u8, &str), until: (u8, &str)| {
        der::element(der::SEQUENCE, &[der::element(from.0, from.1.as_bytes()), der::element(until.0, until.1.as_bytes())].concat())
    };
    let (utc, general) = (der::UTC_TIME, der::GENERALIZED_TIME);
    check(Field(4), &dates((utc, "260601000000Z"), (utc, "360101000000Z")), &[]);
    check(Field(4), &dates((utc, "260601000000Z"), (utc, "360101000001Z")), &["outlives-issuer"]);
    check(Field(4), &dates((utc, "260601000000Z"), (utc, "260531235959Z")), &["never-valid"]);
    check(Field(4), &dates((utc, "260601000000Z"), (general, "20260901000000Z")), &["date-form"]);
    check(Field(4), &dates((general, "20260601000000Z"), (utc, "260901000000Z")), &["date-form"]);
    check(Field(4), &dates((utc, "370601000000Z"), (utc, "370901000000Z")), &["outlives-issuer", "begins-after-issuer"]);

    check(Field(5), &issue::subject(Some("b.example.com"), None), &["common-name-not-in-san"]);
    check(Field(5), &issue::subject(Some("A.example.com"), None), &[]);
    check(Field(5), &issue::subject(Some(&"a".repeat(65)), None), &["common-name-length", "common-name-not-in-san"]);

    check(Extension(19), &encoded(19, true, &[0x30, 3, 1, 1, 0]), &["path-length-of-leaf"]);
    check(Extension(19), &encoded(99, false, &[0x30, 0]), &["basic-constraints-missing"]);
    check(Extension(15), &encoded(15, true, &[3, 2, 5, 0x20]), &["key-usage-and-key"]);
    check(Extension(15), &encoded(15, true, &[3, 2, 2, 0x84]), &["key-usage-and-ca"]);
    check(Extension(15), &encoded(15, true, &[3, 2, 1, 0x82]), &["key-usage-and-ca"]);
    check(Extension(15), &encoded(15, true, &[3, 2, 6, 0x40]), &["key-usage-and-purpose"]);
    check(Extension(15), &encoded(15, false, &[3, 2, 7, 0x80]), &["key-usage-not-critical"]);
    check(Extension(15), &encoded(99, false, &[5, 0]), &["key-usage-missing"]);
    check(Extension(37), &encoded(99, false, &[5, 0]), &["extended-key-usage-missing"]);
    check(Extension(37), &encoded(37, false, &[0x30, 0]), &["extended-key-usage-empty"]);
    check(Extension(37), &encoded(37, false, &[0x30, 6, 6, 4, 0x55, 0x1d, 0x25, 0]), &["extended-key-usage-any"]);
    check(Extension(14), &encoded(99, false, &[5, 0]), &["subject-key-identifier-missing"]);
    check(Extension(14), &encoded(14, false, &[4, 0]), &["subject-key-identifier-empty"]);
    check(Extension(35), &encoded(99, false, &[5, 0]), &["authority-key-identifier-missing"]);
    check(Extension(35), &encoded(35, false, &[0x30, 3, 0x80, 1, 1]), &["authority-key-identifier-mismatch"]);

    let san = |names: &[u8]| encoded(17, true, &der::element(der::SEQUENCE, names));
    let dns = |name: &[u8]| san(&der::element(0x82, name));
    check(Extension(17), &encoded(99, false, &[5, 0]), &["san-missing"]);
    check(Extension(17), &encoded(17, false, &[0x30, 3, 0x82, 1, b'a']), &["san-not-critical"]);
    check(Extension(17), &san(&[]), &["san-form"]);
    for name in
        [&b"a_b.test"[..], b"a..test", b"*.test", b"x*.example.com", b"a.test\0", b"\xc3\xa9.test", b"xn--\xff", b"1.2.3.4", &[b'a'; 300]]
    {
        check(Extension(17), &dns(name), &["san-dns"]);
    }
    check(Extension(17), &dns(b"*.example.com"), &[]);
    check(Extension(17), &san(&[0x87, 3, 1, 2, 3]), &["san-ip"]);
    check(Extension(17), &san(&[0x86, 1, b'a']), &["san-uri"]);
    check(Extension(17), &san(&[0x81, 1, b'a']), &["san-kind"]);
    check(Extension(17), &san(&[0x82, 1, b'a', 0x82, 1, b'a']), &["san-repeated"]);
    let spiffe = der::element(0x86, b"spiffe://td/a");
    check(Extension(17), &san(&spiffe), &[]);
    check(Extension(17), &san(&[spiffe, der::element(0x86, b"https://a/")].concat()), &["spiffe-not-alone"]);

    check(More, &encoded(14, false, &[4, 1, 1]), &["extension-repeated"]);
    check(More, &encoded(99, true, &[5, 0]), &["critical-unknown"]);
    check(More, &encoded(99, false, &[5]), &["extension-broken"]);
    check(More, &[0x30, 12, 6, 3, 0x55, 0x1d, 99, 1, 1, 0, 4, 2, 5, 0], &["critical-form"]);
    check(More, &encoded(30, true, &[0x30, 0]), &["name-constraints-of-leaf", "name-constraints-empty"]);
    check(More, &encoded(31, false, &[0x30, 0x80]), &["extension-broken", "crl-distribution-point-form"]);
    check(More, &encoded(32, false, &[0x30, 0]), &["policies-form"]);
}
