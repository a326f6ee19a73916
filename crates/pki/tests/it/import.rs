//! What is refused before it is stored, and what is shown as different.

use pki::{
    Authority, Candidate, Certificate, ImportCode, KeyType, LeafOptions, PrivateKey, Purpose, Usage, check_chain, check_import,
    differences, sort_chain,
};

use crate::support::{House, exchanged, time};

fn candidate(chain: &[Certificate]) -> Candidate<'_> {
    Candidate { chain, key: None, stray_keys: 0, verifier: None, purpose: Purpose::Server, is_ca: false }
}

fn codes(candidate: Candidate<'_>, names: &[&str], now: &str) -> Vec<ImportCode> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    match check_import(candidate, &names, None, time(now)) {
        Ok(_) => vec![],
        Err(problems) => {
            for problem in &problems {
                assert!(!problem.detail.is_empty() && !problem.detail.chars().any(char::is_control));
            }
            problems.iter().map(|problem| problem.code).collect()
        }
    }
}

const NOW: &str = "2026-06-01";

#[test]
fn a_good_one_passes() {
    let house = House::new(&["*.blob.test", "*.queue.test"]);
    let verifier = house.verifier();
    let chain = house.chain();
    let good = Candidate { key: Some(&house.key), verifier: Some(&verifier), ..candidate(&chain) };
    assert_eq!(codes(good, &["a.blob.test", "*.queue.test"], NOW), []);
    let checked = check_import(good, &[], Some(&house.leaf), time(NOW)).unwrap();
    assert_eq!(checked.chain, chain);
    assert!(checked.differences.is_empty());
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let house = House::new(&["example.com"]);
    let stranger = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let mut chain = house.chain();
    chain.insert(1, house.root.certificate().clone());
    let bad = Candidate { key: Some(&stranger), stray_keys: 1, ..candidate(&chain) };
    let expected = [ImportCode::Disordered, ImportCode::KeyMismatch, ImportCode::StrayKey, ImportCode::Expired, ImportCode::NameNotCovered];
    assert_eq!(codes(bad, &["example.com", "example.org"], "2027-01-01"), expected);
}

#[test]
fn chains_by_what_is_wrong_with_them() {
    let house = House::new(&["example.com"]);
    let (leaf, middle, root) = (&house.leaf, house.intermediate.certificate(), house.root.certificate());
    let verifier = house.verifier();
    let check = |chain: &[&Certificate], with: bool, expected: &[ImportCode]| {
        let chain: Vec<Certificate> = chain.iter().map(|c| (*c).clone()).collect();
        let candidate = Candidate { verifier: with.then_some(&verifier), ..candidate(&chain) };
        assert_eq!(codes(candidate, &[], NOW), expected, "{chain:?}");
    };
    for with in [false, true] {
        check(&[leaf, middle], with, &[]);
        check(&[leaf, middle, root], with, &[]);
        check(&[leaf, root, middle], with, &[ImportCode::Disordered]);
        check(&[], with, &[ImportCode::ChainSize]);
    }
    check(&[leaf], false, &[]);
    check(&[leaf], true, &[ImportCode::MissingIntermediate]);
    check(&[leaf, root], false, &[ImportCode::MissingIntermediate]);
    check(&[leaf, leaf], false, &[ImportCode::MissingIntermediate]);
    check(&[middle, root], false, &[ImportCode::LeafIsCa]);
    check(&[middle, root], true, &[ImportCode::LeafIsCa]);
    let other = House::new(&["example.com"]);
    check(&[leaf, other.intermediate.certificate()], false, &[ImportCode::BadSignature]);
    check(&[leaf, other.intermediate.certificate()], true, &[ImportCode::BadSignature]);
    check(&[leaf, other.intermediate.certificate(), middle], false, &[ImportCode::Disordered]);
    check(&[&other.leaf, other.intermediate.certificate(), other.root.certificate()], true, &[ImportCode::BadSignature]);
}

#[test]
fn a_root_that_has_expired_is_not_passed_over() {
    let root = Authority::new("Root", time("2010-01-01"), time("2026-01-01")).unwrap();
    let (leaf, _) = root.leaf(&["a.test"], KeyType::EcdsaP256, time("2026-02-01"), time("2027-01-01")).unwrap();
    let verifier = crate::support::verifier(&[&root]);
    let chain = [leaf];
    assert_eq!(codes(Candidate { verifier: Some(&verifier), ..candidate(&chain) }, &[], NOW), [ImportCode::Untrusted]);
}

#[test]
fn dates_to_the_second() {
    let house = House::new(&["example.com"]);
    let chain = house.chain();
    for (now, expected) in [
        ("2025-12-31T23:59:59Z", vec![ImportCode::NotYetValid]),
        ("2026-01-01T00:00:00Z", vec![]),
        ("2026-12-31T23:59:59Z", vec![]),
        ("2027-01-01T00:00:00Z", vec![ImportCode::Expired]),
        ("2030-01-01T00:00:00Z", vec![ImportCode::Expired, ImportCode::Expired]),
    ] {
        assert_eq!(codes(candidate(&chain), &[], now), expected, "{now}");
        let verifier = house.verifier();
        assert_eq!(codes(Candidate { verifier: Some(&verifier), ..candidate(&chain) }, &[], now), expected, "{now}");
    }
    let (never, _) = house.root.leaf(&["a.test"], KeyType::EcdsaP256, time("2026-07-01"), time("2026-05-01")).unwrap();
    assert_eq!(codes(candidate(&[never]), &[], NOW), [ImportCode::NeverValid]);
}

#[test]
fn weak_and_misplaced() {
    // The RSA one, because its SHA-1 identifier has the same length.
    let root = Authority::new("Root", time("2020-01-01"), time("2040-01-01")).unwrap();
    let key = PrivateKey::generate(KeyType::Ed25519).unwrap();
    let options = pki::AuthorityOptions { key_type: KeyType::Rsa2048, ..Default::default() };
    let rsa = Authority::new_with("RSA Root", time("2020-01-01"), time("2040-01-01"), &options).unwrap();
    let leaf = rsa.issue(&key, &["a.test"], time("2026-01-01"), time("2027-01-01"), &LeafOptions::default()).unwrap();
    let rsa_sha256 = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
    let rsa_sha1 = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
    let weak = Certificate::parse(exchanged(leaf.der(), &rsa_sha256, &rsa_sha1)).unwrap();
    assert!(weak.has_weak_signature());
    assert_eq!(codes(candidate(&[weak]), &[], NOW), [ImportCode::WeakSignature]);
    // A root's own signature may be SHA-1: it is trusted for what it is.
    let weak_root = Certificate::parse(exchanged(rsa.certificate().der(), &rsa_sha256, &rsa_sha1)).unwrap();
    assert_eq!(codes(candidate(&[leaf, weak_root]), &[], NOW), []);

    let signer = root
        .issue(
            &key,
            &["a.test"],
            time("2026-01-01"),
            time("2027-01-01"),
            &LeafOptions { usages: vec![Usage::CodeSigning], ..Default::default() },
        )
        .unwrap();
    assert_eq!(codes(candidate(&[signer]), &[], NOW), [ImportCode::WrongPurpose]);
    let ca = [root.certificate().clone()];
    assert_eq!(codes(candidate(&ca), &[], NOW), [ImportCode::LeafIsCa]);
    assert_eq!(codes(Candidate { is_ca: true, ..candidate(&ca) }, &[], NOW), []);
}

#[test]
fn a_key_of_another_certificate_of_the_chain_is_recognised() {
    let house = House::new(&["example.com"]);
    let chain = house.chain();
    let wrong = Candidate { key: Some(house.intermediate.key()), ..candidate(&chain) };
    let problems = check_import(wrong, &[], None, time(NOW)).unwrap_err();
    assert_eq!(problems[0].detail, "the private key belongs to CN=Intermediate, not to the leaf CN=example.com");
}

#[test]
fn renewals_differ_in_the_ordinary_alone() {
    let house = House::new(&["example.com", "www.example.com"]);
    let (from, until) = (time("2026-12-01"), time("2027-12-01"));
    let fields = |after: &Certificate, ordinary: bool| -> Vec<&'static str> {
        let found = differences(&house.leaf, after);
        found.iter().filter(|d| d.ordinary == ordinary).map(|d| d.field).collect()
    };
    let issue = |issuer: &Authority, names: &[&str], key_type| issuer.leaf(names, key_type, from, until).unwrap().0;
    let renewal = issue(&house.intermediate, &["www.example.com", "example.com"], KeyType::EcdsaP256);
    assert_eq!(fields(&renewal, true), ["key", "serial", "not before", "not after"]);
    assert_eq!(fields(&renewal, false), ["subject"], "the common name follows the first name");

    let options = LeafOptions { common_name: Some("example.com".into()), ..Default::default() };
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let same =
        |names: &[&str], until: &str, options: &LeafOptions| house.intermediate.issue(&key, names, from, time(until), options).unwrap();
    let names = ["www.example.com", "example.com"];
    assert_eq!(fields(&same(&names, "2027-12-01", &options), false), [""; 0]);
    assert_eq!(fields(&same(&names[1..], "2027-12-01", &options), false), ["names"]);
    assert_eq!(fields(&same(&names, "2027-03-01", &options), false), ["lifetime"]);
    assert_eq!(fields(&same(&names, "2027-11-01", &options), false), [""; 0], "a month less of a year is the same policy");
    let usages = LeafOptions { usages: vec![Usage::ServerAuth], ..options.clone() };
    assert_eq!(fields(&same(&names, "2027-12-01", &usages), false), ["extended key usage"]);
    let ca = LeafOptions { is_ca: true, ..options };
    assert_eq!(fields(&same(&names, "2027-12-01", &ca), false), ["CA"]);
    let other = issue(&house.root, &["example.com", "www.example.com"], KeyType::EcdsaP384);
    assert_eq!(fields(&other, false), ["issuer", "key type"]);
    let rsa = issue(&house.intermediate, &["example.com", "www.example.com"], KeyType::Rsa2048);
    assert_eq!(fields(&rsa, false), ["key type", "key usage"]);
}

#[test]
fn any_order_is_sorted() {
    let house = House::new(&["example.com"]);
    let other = House::new(&["other.test"]);
    let mut chain = house.chain();
    chain.push(house.root.certificate().clone());
    let mut mixed = chain.clone();
    mixed.reverse();
    mixed.insert(1, other.intermediate.certificate().clone());
    mixed.push(house.leaf.clone());
    let sorted = sort_chain(&mixed, None);
    assert_eq!(sorted.chain, chain);
    assert_eq!(sorted.superfluous, [other.intermediate.certificate().clone()]);
    check_chain(&sorted.chain).unwrap();
    mixed.insert(0, other.leaf.clone());
    assert_eq!(sort_chain(&mixed, Some(&house.key)).chain, chain);
    assert!(sort_chain(&[], None).chain.is_empty());
}
